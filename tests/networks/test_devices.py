"""One GPU per job without a scheduler: claims are exclusive and end with the process."""

import subprocess
import sys
import threading

from multiloss.networks import devices

HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from multiloss.networks import devices
print(devices.claim(["0", "1"], sys.argv[2], int(sys.argv[3])), flush=True)
sys.stdin.read()
"""


def other_job(root, folder, places=1):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root / "workflow"), str(folder), str(places)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_jobs_get_different_gpus_and_a_killed_one_frees_its_own(root, tmp_path):
    first = other_job(root, tmp_path)
    assert first.stdout.readline() == "0\n"
    second = other_job(root, tmp_path)
    assert second.stdout.readline() == "1\n"
    third = other_job(root, tmp_path)
    assert third.stdout.readline() == "None\n"
    first.kill()
    first.wait()
    assert devices.claim(["0", "1"], tmp_path) == 0
    for job in (second, third):
        job.communicate()


def test_job_waits_for_the_gpu_of_another(root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(devices, "SECONDS_BETWEEN_TRIES", 0.05)
    other = other_job(root, tmp_path)
    assert other.stdout.readline() == "0\n"
    threading.Timer(0.5, other.kill).start()
    assert devices.wait(["0"], tmp_path) == 0
    assert other.wait() != 0, "it did not wait"
    assert "hold all 1 GPUs" in caplog.text and "--resources gpu=1" in caplog.text


def test_gpus_with_several_places_are_filled_in_turn(root, tmp_path):
    jobs = [other_job(root, tmp_path, places=2) for _ in range(1)]
    assert jobs[0].stdout.readline() == "0\n"
    for expected in ("1", "0", "1", "None"):
        jobs.append(other_job(root, tmp_path, places=2))
        assert jobs[-1].stdout.readline() == f"{expected}\n"
    jobs[2].kill()
    jobs[2].wait()
    assert devices.claim(["0", "1"], tmp_path, 2) == 0
    for job in jobs:
        if job.poll() is None:
            job.communicate()


def test_memory_is_that_of_the_smallest_gpu(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '81559\\n24576\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert devices.memory_mb() == 24576
    program.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert devices.memory_mb() is None
    monkeypatch.setenv("PATH", "")
    assert devices.memory_mb() is None


def test_gpus_go_by_the_names_that_a_scheduler_gave_them():
    def names(count, **environment):
        return devices.names(count, environment)

    assert names(2) == ["0", "1"]
    assert names(1, CUDA_VISIBLE_DEVICES="3") == ["3"]
    assert names(2, CUDA_VISIBLE_DEVICES="2, 5") == ["2", "5"]
    # A list that does not match what TensorFlow sees says nothing.
    assert names(2, CUDA_VISIBLE_DEVICES="") == ["0", "1"]
    assert names(1, CUDA_VISIBLE_DEVICES="0,1") == ["0"]
    # Slurm numbers the GPUs of each job from 0: two jobs on one node have different ones.
    one, other = (names(1, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID=job) for job in ("17", "18"))
    assert one == ["17-0"] and other == ["18-0"]
    # Without a scheduler's job within a job, the four of one allocation are still told apart.
    assert names(4, SLURM_JOB_ID="17") == ["17-0", "17-1", "17-2", "17-3"]
