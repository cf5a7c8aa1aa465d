"""Whole files or none: everything is written under a temporary name and then renamed.

Snakemake removes the outputs of a job that failed, but not before the next run what a killed one
left, nor anything that is no output: checkpoints, downloads, records.
"""

import contextlib
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

# Enough digits that probabilities read back are the ones written, in both float32 and float64.
FLOAT_FORMAT = "%.10g"
# What is turned into text at a time, so that a table of many images takes no more memory for it.
ROWS_AT_ONCE = 1000


@contextlib.contextmanager
def atomic(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    The ending is kept, since libraries choose the format by it. On an error the temporary
    file goes and an older `path` stays as it was. `durable` waits until the disk has the bytes,
    which guards against power cuts; a killed process needs no such wait.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def by_name(paths: Iterable[str | Path]) -> dict[str, Path]:
    """Files by their names without the ending, where those are the names of models."""
    return {path.stem: path for path in map(Path, paths)}


def digest_of(path: str | Path) -> str:
    """The sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(outputs: Iterable[str | Path]) -> None:
    """Remove the temporary files that killed attempts at these outputs left beside them."""
    for path in map(Path, outputs):
        for litter in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp*"):
            litter.unlink(missing_ok=True)


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table without index, with fixed digits and line ends, whole or not at all."""
    with atomic(path) as temporary:
        table.to_csv(
            temporary, index=False, float_format=FLOAT_FORMAT, lineterminator="\n",
            chunksize=ROWS_AT_ONCE,
        )  # fmt: skip


def write_text(text: str, path: str | Path) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
