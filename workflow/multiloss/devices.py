"""One GPU for each job, also where several jobs share a machine that no scheduler divides."""

import fcntl
import getpass
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Locks last as long as their files are open: until the process ends, however it ends.
_held = []


def names(count: int, visible: str | None) -> list[str]:
    """What the `count` GPUs that this process sees are called on the machine.

    `visible` is CUDA_VISIBLE_DEVICES: under a scheduler each job's first GPU is another one.
    """
    listed = [name.strip() for name in (visible or "").split(",") if name.strip()]
    return listed if len(listed) == count else [str(index) for index in range(count)]


def claim(gpus: Sequence[str], folder: str | Path | None = None) -> int | None:
    """Index of the first of these GPUs that no other process has claimed; None if all are.

    `folder` holds the lock files, by default the temporary folder of this machine.
    """
    folder = Path(folder or tempfile.gettempdir())
    for index, gpu in enumerate(gpus):
        lock = (folder / f"multiloss-{_user()}-gpu-{gpu.replace('/', '-')}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            _held.append(lock)
            return index
    return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have them
        return str(os.getuid())
