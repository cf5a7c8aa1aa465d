"""What each job wrote, compared where it is read; and that one job at a time writes it.

Snakemake goes by dates: a flipped bit, a file of another model or lost lines it does not notice.
Each output has a record below `.snakemake/digests`, beside Snakemake's own: the sha256 it was
written with, and while its job is at work the process. An output without a record, which was
put there by hand, is taken as it is.
"""

import csv
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from multiloss.job import locks
from multiloss.job.errors import UserError
from multiloss.job.files import digest_of

logger = logging.getLogger(__name__)

FOLDER = Path(".snakemake/digests")
SECONDS_BETWEEN_TRIES = 1.0
# Tables of images in which a person may decide otherwise, and the columns of such decisions;
# those of probabilities begin with `p_`.
IMAGE_TABLE = {"image_id", "split"}
DECISIONS = {"label", "split"}


def place(output: str | Path) -> Path:
    """Where the record of an output lies."""
    parts = Path(os.path.relpath(output)).parts
    inside = FOLDER.joinpath(*("__" if part == os.pardir else part for part in parts))
    return inside.with_name(f"{inside.name}.json")


def hold(outputs: Sequence[str | Path]) -> TextIO | None:
    """Wait until no other process makes these outputs; then they are this one's.

    Returns a file to keep open as long as that shall last: it also ends with the process.
    A killed Snakemake leaves its jobs at work, and the next run starts the same ones again.
    None where there is nothing to hold, or no lock on this file system.
    """
    if not outputs:
        return None
    path = place(outputs[0])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = locks.claim(path)
        if file is None:
            holder = {"process": "?", "host": "?"} | _read(path)
            logger.warning(
                "waiting: process %s on %s, left by an earlier run, is making %s. This job begins "
                "when that one ends; `kill %s` there ends it now",
                *(holder["process"], holder["host"], outputs[0], holder["process"]),
            )
        while file is None:
            time.sleep(SECONDS_BETWEEN_TRIES)
            file = locks.claim(path)
    except OSError as error:
        logger.warning(
            "%s cannot be locked (%s): nothing hinders two runs at a time here", path, error
        )
        return None
    file.truncate(0)
    file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname()}) + "\n")
    file.flush()
    return file


def write(outputs: Iterable[str | Path]) -> None:
    """Record these outputs as they are now. Folders have no record."""
    for output in map(Path, outputs):
        if output.is_file():
            path = place(output)
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {"sha256": digest_of(output), "facts": _facts(output)}
            path.write_text(json.dumps(record) + "\n", encoding="utf-8")


def check(inputs: Iterable[str | Path]) -> None:
    """Raise UserError naming the first file that is not as it was recorded.

    Said, and taken, is a table of images that was edited later than it was recorded, if only
    labels, splits or probabilities differ.
    """
    for path in map(Path, inputs):
        expected = _read(place(path))
        if "sha256" not in expected or not path.is_file() or digest_of(path) == expected["sha256"]:
            continue
        later = path.stat().st_mtime > place(path).stat().st_mtime
        if later and expected["facts"] and _facts(path) == expected["facts"]:
            logger.warning(
                "%s was edited after it was written: its labels, splits or probabilities are taken "
                "as they are now. Delete it and run again to have it made anew",
                path,
            )
            continue
        raise UserError(
            f"{path}: damaged or exchanged, its content is not what was written: delete it and run "
            f"again to have it made anew, or delete {place(path)} to use it as it is"
        )


def _read(record: Path) -> dict[str, Any]:
    """A record; empty where there is none, or only a part of one."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _facts(path: Path) -> str | None:
    """sha256 of a table of images without the columns of decisions; None for another file."""
    if path.suffix != ".csv":
        return None
    digest = hashlib.sha256()
    try:
        # Line by line: a table of many images is not held in memory.
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            if not set(header) >= IMAGE_TABLE:
                return None
            kept = {
                index
                for index, name in enumerate(header)
                if name not in DECISIONS and not name.startswith("p_")
            }
            digest.update(f"[{json.dumps(header)}, [".encode())
            for number, row in enumerate(lines):
                fact = [field for index, field in enumerate(row) if index in kept]
                digest.update((", " * bool(number) + json.dumps(fact)).encode())
            digest.update(b"]]")
    except (csv.Error, UnicodeDecodeError):
        return None
    return digest.hexdigest()
