"""A GPU, or a place on one, for each job of a machine that no scheduler divides among them.

Snakemake counts GPUs but does not number them, and TensorFlow takes all that it sees.
"""

import getpass
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from multiloss.job import locks

logger = logging.getLogger(__name__)

# Kept open until the process ends.
_held = []

# Within a job of a scheduler GPUs may be numbered from 0 again: GPU 0 of one job is not that of
# another. These variables tell the jobs apart (Slurm, PBS, LSF, Grid Engine).
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
SECONDS_BETWEEN_TRIES = 5.0
# Of a GPU's memory, what jobs may divide: the driver and each process take the rest.
SHARED_MEMORY = 0.9


def names(count: int, environment: Mapping[str, str]) -> list[str]:
    """What the `count` GPUs that this process sees are called on the machine.

    Under a scheduler, or where CUDA_VISIBLE_DEVICES is set, each job's first GPU is another one.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    listed = [name.strip() for name in visible.split(",") if name.strip()]
    found = listed if len(listed) == count else [str(index) for index in range(count)]
    job = next((environment[key] for key in SCHEDULERS if environment.get(key)), None)
    return [f"{job}-{name}" for name in found] if job else found


def claim(gpus: Sequence[str], folder: str | Path | None = None, places: int = 1) -> int | None:
    """Index of the first of these GPUs with a place that no other process has; None if all have.

    Each GPU has so many `places`; the second of one is taken when the first of each is. `folder`
    holds the lock files, by default the temporary folder of this machine.
    """
    folder = Path(folder or tempfile.gettempdir())
    for place in range(places):
        for index, gpu in enumerate(gpus):
            name = gpu.replace("/", "-") + (f"-{place}" if place else "")
            lock = locks.claim(folder / f"multiloss-{_user()}-gpu-{name}.lock")
            if lock:
                _held.append(lock)
                return index
    return None


def wait(gpus: Sequence[str], folder: str | Path | None = None, places: int = 1) -> int:
    """`claim`, as soon as another job gives one of the places back."""
    index = claim(gpus, folder, places)
    if index is None:
        logger.warning(
            "waiting: other jobs of multiloss hold all %d GPUs%s. Start no more than that at a "
            "time: snakemake --resources gpu=%d",
            *(len(gpus), f", {places} each" if places > 1 else "", len(gpus) * places),
        )
    while index is None:
        time.sleep(SECONDS_BETWEEN_TRIES)
        index = claim(gpus, folder, places)
    return index


def memory_mb() -> int | None:
    """Memory of the smallest GPU of this machine in MB as the driver tells; None if it does not."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return min(int(line) for line in told.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have them
        return str(os.getuid())
