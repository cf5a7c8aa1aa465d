"""Locks that end with the process that holds them, however it ends.

The few lines of `fcntl` that filelock, which would be one more dependency, has for this, too.
"""

import fcntl
from pathlib import Path
from typing import TextIO


def claim(path: str | Path) -> TextIO | None:
    """The open file as long as no other process has claimed it, else None.

    The file is made where it is not there, and its content is kept. The claim lasts until the
    file is closed. Raises OSError on file systems without locks.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            return None
        raise
    return file
