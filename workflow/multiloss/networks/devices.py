"""One GPU for each job, also where several jobs share a machine that no scheduler divides.

Snakemake counts GPUs but does not number them, and TensorFlow takes all that it sees.
"""

import getpass
import logging
import os
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


def names(count: int, environment: Mapping[str, str]) -> list[str]:
    """What the `count` GPUs that this process sees are called on the machine.

    Under a scheduler, or where CUDA_VISIBLE_DEVICES is set, each job's first GPU is another one.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    listed = [name.strip() for name in visible.split(",") if name.strip()]
    found = listed if len(listed) == count else [str(index) for index in range(count)]
    job = next((environment[key] for key in SCHEDULERS if environment.get(key)), None)
    return [f"{job}-{name}" for name in found] if job else found


def claim(gpus: Sequence[str], folder: str | Path | None = None) -> int | None:
    """Index of the first of these GPUs that no other process has claimed; None if all are.

    `folder` holds the lock files, by default the temporary folder of this machine.
    """
    folder = Path(folder or tempfile.gettempdir())
    for index, gpu in enumerate(gpus):
        lock = locks.claim(folder / f"multiloss-{_user()}-gpu-{gpu.replace('/', '-')}.lock")
        if lock:
            _held.append(lock)
            return index
    return None


def wait(gpus: Sequence[str], folder: str | Path | None = None) -> int:
    """`claim`, as soon as another job gives one of the GPUs back."""
    index = claim(gpus, folder)
    if index is None:
        logger.warning(
            "waiting: other jobs of multiloss hold all %d GPUs. Start no more than that at a time: "
            "snakemake --resources gpu=%d",
            *(len(gpus), len(gpus)),
        )
    while index is None:
        time.sleep(SECONDS_BETWEEN_TRIES)
        index = claim(gpus, folder)
    return index


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have them
        return str(os.getuid())
