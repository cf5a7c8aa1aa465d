"""A real Slurm, what clusters do to jobs, and the same bytes as an undisturbed run here.

Needs the cluster testbed beside the checkout and the right to start daemons; `make test-slurm`.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TESTBED = ROOT.parent / "shared" / "slurm-testbed"
PREDICTIONS = "results/smallest/predictions/cce-r0.csv"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (TESTBED / "up").exists() or os.geteuid() != 0, reason="no Slurm testbed, or not root"
    ),
]


def snakemake(folder: Path, config: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
        "--configfile", str(config), "--directory", str(folder), *options,
    ]  # fmt: skip


SLURM = (
    "--profile", str(ROOT / "profiles/slurm"), "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "6", "--latency-wait", "10",
    "--printshellcmds",  # prints Snakemake's own words, too
)  # fmt: skip


def study(folder: Path, **changes: object) -> Path:
    """The smallest study with other resources or replicates."""
    config = yaml.safe_load((ROOT / "tests/studies/smallest.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    """The predictions of a local run."""
    folder = tmp_path_factory.mktemp("local")
    command = snakemake(folder, study(folder), "--cores", "2", PREDICTIONS)
    subprocess.run(command, check=True, capture_output=True)
    return (folder / PREDICTIONS).read_bytes()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    state = tmp_path_factory.mktemp("cluster") / "state"
    for parent in state.parents[:4]:
        parent.chmod(0o755)  # its authentication refuses a socket in a closed folder
    subprocess.run([TESTBED / "up", state], check=True)
    yield
    subprocess.run([TESTBED / "down", state], check=True)


def running(kind: str, shown: str = "%i") -> str:
    """Waits for a running job of this kind, by its comment; what `squeue` shows of it."""
    # All that comes before it goes through the queue, too, slowly on a busy machine.
    for _ in range(1800):
        jobs = subprocess.run(
            ["squeue", "--noheader", "--states=RUNNING", f"--format=%k|{shown}"],
            capture_output=True,
            text=True,
        ).stdout
        for line in jobs.splitlines():
            comment, _, asked = line.partition("|")
            if comment.startswith(kind):
                return asked.strip()
        time.sleep(0.5)
    raise AssertionError(f"no job of {kind} ever ran")


def processes(folder: Path, ending: bytes) -> list[int]:
    """Numbers of the processes that run a script of this ending below the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if any(word.startswith(os.fsencode(folder)) and word.endswith(ending) for word in words):
            found.append(int(path.parent.name))
    return found


def interfere(
    folder: Path, config: Path, fault: Callable[[subprocess.Popen], None], *targets: str
) -> str:
    """Run on the cluster while `fault` does its worst; what Snakemake printed."""
    with open(folder / "printed", "w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            snakemake(folder, config, *SLURM, *targets), stdout=printed, stderr=printed
        )
        try:
            fault(process)
            process.wait(timeout=900)
        finally:
            process.kill()
        printed.seek(0)
        text = printed.read()
    assert process.returncode in (0, -signal.SIGKILL), text[-3000:]
    return text


def test_job_cancelled_in_flight(cluster, undisturbed, tmp_path):
    def cancel(process: subprocess.Popen) -> None:
        number = running("rule_train_wildcards")
        time.sleep(1)
        subprocess.run(["scancel", number], check=True)

    text = interfere(tmp_path, study(tmp_path), cancel, PREDICTIONS)
    assert "Trying to restart job" in text
    assert (tmp_path / PREDICTIONS).read_bytes() == undisturbed


def test_job_over_its_memory(cluster, undisturbed, tmp_path):
    config = study(tmp_path, resources={"prediction": {"mem_mb": 600, "runtime": 15}})
    text = interfere(tmp_path, config, lambda process: None, PREDICTIONS)
    assert "Trying to restart job" in text
    assert (tmp_path / PREDICTIONS).read_bytes() == undisturbed


def test_job_over_its_time(cluster, undisturbed, tmp_path):
    def freeze(process: subprocess.Popen) -> None:
        running("rule_train_wildcards")
        while not (trainings := processes(tmp_path, b".train.py")):
            time.sleep(0.2)
        for number in trainings:
            os.kill(number, signal.SIGSTOP)

    config = study(tmp_path, resources={"training": {"runtime": 1}})
    text = interfere(tmp_path, config, freeze, PREDICTIONS)
    assert "Trying to restart job" in text
    assert (tmp_path / PREDICTIONS).read_bytes() == undisturbed


def test_group_of_short_jobs_asks_for_one_of_them_and_the_time_of_all(cluster, tmp_path):
    asked = []
    targets = [f"results/smallest/gradcam/{loss}-r0.npz" for loss in ("cce", "focal")]
    interfere(
        tmp_path,
        study(tmp_path),
        lambda process: asked.append(running("rule_heat_maps_gradcam", "%C %m %l")),
        *targets,
    )
    assert asked == ["1 2500M 30:00"]
    assert all((tmp_path / target).exists() for target in targets)


def test_killed_main_process(cluster, undisturbed, tmp_path):
    def kill(process: subprocess.Popen) -> None:
        running("rule_train_wildcards")
        process.kill()

    config = study(tmp_path)
    interfere(tmp_path, config, kill, PREDICTIONS)
    while subprocess.run(["squeue", "--noheader"], capture_output=True).stdout.strip():
        time.sleep(1)  # orphans go on and finish
    locked = subprocess.run(
        snakemake(tmp_path, config, *SLURM, PREDICTIONS), capture_output=True, text=True
    )
    assert locked.returncode != 0 and "LockException" in locked.stderr
    subprocess.run(snakemake(tmp_path, config, "--unlock"), check=True)
    interfere(tmp_path, config, lambda process: None, PREDICTIONS)
    assert (tmp_path / PREDICTIONS).read_bytes() == undisturbed


def test_two_more_replicates_run_only_the_new_jobs(cluster, undisturbed, tmp_path):
    interfere(tmp_path, study(tmp_path), lambda process: None, PREDICTIONS)
    before = shutil.copy2(tmp_path / PREDICTIONS, tmp_path / "before.csv")
    more = [PREDICTIONS.replace("-r0", f"-r{replicate}") for replicate in (1, 2)]
    config = study(tmp_path, replicates=3)
    text = interfere(tmp_path, config, lambda process: None, PREDICTIONS, *more)
    # The table of jobs to do; the summary at the end counts those of earlier runs, too.
    rows = [line.split() for line in text.splitlines() if not line.startswith(" ")]
    planned = {row[0]: row[1] for row in rows if len(row) == 2 and row[1].isdigit()}
    assert planned["train"] == "2"
    assert not {"download", "train_segmenter", "mask", "crop"} & set(planned)
    assert (tmp_path / PREDICTIONS).stat().st_mtime == before.stat().st_mtime
    assert (tmp_path / PREDICTIONS).read_bytes() == undisturbed
