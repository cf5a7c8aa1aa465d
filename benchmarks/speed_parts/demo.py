"""The default study on two cores, installed and with nothing made: wall time, cores that are busy
from the start of the first training to the end of the last, and where the CPU goes, by rule and
within one training.

The CPU of a job is what Snakemake's benchmark of it says, spread evenly over the job. Snakemake
looks at a job at times up to half a minute apart: what it did after the last look is missing, so
that the CPU by rule and the busy cores are lower bounds, and what is missing is among the rest.
"""

import csv
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
PHASES = ("import", "build", "trace and first step", "steps", "validation", "writing", "the rest")


@dataclass(frozen=True)
class Job:
    """A job that ran; times in seconds of the clock, `cpu` in seconds."""

    rule: str
    start: float
    end: float
    cpu: float


def measure() -> list[Measurement]:
    """The default study, then one of its trainings again, phase by phase."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, begun = os.times(), time.monotonic()
        _study(folder)
        wall, after = time.monotonic() - begun, os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        jobs = _jobs(folder)
        phases = _phases(folder)
    by_rule: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        by_rule[job.rule].append(job.cpu)
    rest = cpu - sum(map(sum, by_rule.values()))
    return [
        at_most("the default study from start to report", wall, "s of wall time", 360),
        at_least("busy between the first training and the last", busy(jobs), "cores", 1.8),
        Measurement("all processes", cpu, "s of CPU"),
        Measurement("busy over the whole study, all processes", cpu / wall, "cores"),
        *(
            Measurement(f"{rule}, {len(seconds)} job{'s' * (len(seconds) > 1)}", sum(seconds),
                        "s of CPU")
            for rule, seconds in sorted(by_rule.items(), key=lambda item: -sum(item[1]))
            if sum(seconds) >= 0.5
        ),
        Measurement("Snakemake, and the start and end of processes", rest, "s of CPU"),
        *(Measurement(f"one training of cce: {name}", phases[name], "s of CPU") for name in PHASES),
    ]  # fmt: skip


def busy(jobs: list[Job]) -> float:
    """Cores that are busy on average from the first start of a training to the last end of one."""
    trainings = [job for job in jobs if job.rule in TRAININGS]
    first, last = min(job.start for job in trainings), max(job.end for job in trainings)
    used = 0.0
    for job in jobs:
        within = min(job.end, last) - max(job.start, first)
        if within > 0:
            used += job.cpu * within / (job.end - job.start)
    return used / (last - first)


def _study(folder: Path) -> None:
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", str(CORES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the default study failed: {done.stderr[-3000:]}")


def _jobs(folder: Path) -> list[Job]:
    """All jobs that have a benchmark, by what Snakemake recorded of their outputs."""
    found: dict[str, Job] = {}
    for path in (folder / ".snakemake" / "metadata").rglob("*"):
        if not path.is_file():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        for log in record["log"] or []:
            table = folder / log.replace("/logs/", "/benchmarks/").replace(".log", ".tsv")
            if table.is_file():
                [row] = csv.DictReader(table.open(encoding="utf-8"), delimiter="\t")
                cpu = 0.0 if row["cpu_time"] in ("NA", "-") else float(row["cpu_time"])
                found[log] = Job(record["rule"], record["starttime"], record["endtime"], cpu)
    return list(found.values())


def _phases(folder: Path) -> dict[str, float]:
    """Where the CPU of one training goes, in a process as a job has it."""
    script = Path(__file__).with_name("_training_job.py")
    done = subprocess.run(
        [sys.executable, script, ROOT, folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a training by itself failed: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
