"""One GPU per job without a scheduler: claims are exclusive and end with the process."""

import subprocess
import sys

from multiloss import devices

HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from multiloss import devices
print(devices.claim(["0", "1"], sys.argv[2]), flush=True)
sys.stdin.read()
"""


def other_job(root, folder):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root / "workflow"), str(folder)],
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


def test_gpus_go_by_the_names_that_a_scheduler_gave_them():
    assert devices.names(2, None) == ["0", "1"]
    assert devices.names(1, "3") == ["3"]
    assert devices.names(2, "2, 5") == ["2", "5"]
    # A list that does not match what TensorFlow sees says nothing.
    assert devices.names(2, "") == ["0", "1"]
    assert devices.names(1, "0,1") == ["0"]
