"""The default study on two cores, installed and with nothing made: wall time, cores that are busy
from the start of the first training to the end of the last, and where the CPU goes, by rule and
within one training.

Each process tells its CPU as it ends; that of a job is spread evenly over its time. What
Snakemake's process uses itself, beside its jobs, counts among the busy cores, too. The rest are
shells, and what processes do after their last line of Python.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from speed import ROOT, Measurement, at_least, at_most

CORES = 2
TRAININGS = ("train_segmenter", "train")
# Snakemake's process among the jobs.
ITSELF = "snakemake"
PHASES = ("import", "build", "trace and first step", "steps", "validation", "writing", "the rest")


@dataclass(frozen=True)
class Job:
    """A job that ran, by the name of its script; times of the clock and `cpu` in seconds."""

    script: str
    start: float
    end: float
    cpu: float


def measure() -> list[Measurement]:
    """The default study, then one of its trainings again, phase by phase."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, begun = os.times(), time.monotonic()
        jobs = _study(folder)
        wall, after = time.monotonic() - begun, os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        phases = _phases(folder)
    by_script: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        by_script[job.script].append(job.cpu)
    rest = cpu - sum(map(sum, by_script.values()))
    itself = sum(by_script.pop(ITSELF))
    return [
        at_most("the default study from start to report", wall, "s of wall time", 360),
        at_least("busy between the first training and the last", busy(jobs), "cores", 1.8),
        Measurement("all processes", cpu, "s of CPU"),
        Measurement("busy over the whole study, all processes", cpu / wall, "cores"),
        *(
            Measurement(f"{script}, {len(seconds)} job{'s' * (len(seconds) > 1)}", sum(seconds),
                        "s of CPU")
            for script, seconds in sorted(by_script.items(), key=lambda item: -sum(item[1]))
            if sum(seconds) >= 0.5
        ),
        Measurement("Snakemake itself", itself, "s of CPU"),
        Measurement("shells, and the ends of processes", rest, "s of CPU"),
        *(Measurement(f"one training of cce: {name}", phases[name], "s of CPU") for name in PHASES),
    ]  # fmt: skip


def busy(jobs: list[Job]) -> float:
    """Cores that are busy on average from the first start of a training to the last end of one."""
    trainings = [job for job in jobs if job.script in TRAININGS]
    first, last = min(job.start for job in trainings), max(job.end for job in trainings)
    used = 0.0
    for job in jobs:
        within = min(job.end, last) - max(job.start, first)
        if within > 0:
            used += job.cpu * within / (job.end - job.start)
    return used / (last - first)


def _study(folder: Path) -> list[Job]:
    """Run the default study; its jobs, and Snakemake itself."""
    accounts = folder / "accounts.jsonl"
    told = {"PYTHONPATH": Path(__file__).with_name("_accounts"), "ACCOUNTS": accounts}
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", str(CORES)]
    done = subprocess.run(
        command, env=os.environ | told, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the default study failed: {done.stderr[-3000:]}")
    return jobs_of(accounts.read_text(encoding="utf-8"))


def jobs_of(accounts: str) -> list[Job]:
    """The jobs that have told of themselves, a line of JSON each, and Snakemake itself.

    Snakemake runs a copy of NAME.py called tmpxyz.NAME.py. What the processes that a job starts
    use is the job's.
    """
    jobs = []
    for told in map(json.loads, accounts.splitlines()):
        path = Path(told["script"])
        if path.name == ITSELF:
            jobs.append(Job(ITSELF, told["start"], told["end"], told["own"]))
        elif path.parent.name == "scripts":
            name = path.stem.split(".", 1)[1]
            jobs.append(Job(name, told["start"], told["end"], told["own"] + told["children"]))
    return jobs


def _phases(folder: Path) -> dict[str, float]:
    """Where the CPU of one training goes, in a process as a job has it."""
    script = Path(__file__).with_name("_training_job.py")
    done = subprocess.run(
        [sys.executable, script, ROOT, folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a training by itself failed: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
