"""The files below a folder of images. Read by the Snakefile: the standard library only."""

import csv
import hashlib
import os
from pathlib import Path

from multiloss.archives import is_litter

# A digest of so much takes a hundredth of a second.
READ_AT_EVERY_START = 16 * 2**20
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def files(root: Path) -> list[Path]:
    """All files below `root` but litter, sorted by path; links are followed, loops are not."""
    found: list[Path] = []
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_litter(name))
        found += [Path(folder, name) for name in names if not is_litter(name)]
    return sorted(found)


def is_image(path: Path) -> bool:
    """Whether the ending is one of an image."""
    return path.suffix.lower() in IMAGE_ENDINGS


def fingerprint(source: Path) -> str:
    """What changes when a folder or an archive becomes another one.

    A folder: a digest of the names and sizes of all images below it, and of its CSV files'
    content. A file: its content, or above `READ_AT_EVERY_START` bytes its size and date. Places
    and, but for large files, dates do not count, so what was copied or touched stays the same.
    """
    digest = hashlib.sha256()
    if source.is_file():
        about = source.stat()
        if about.st_size > READ_AT_EVERY_START:
            return f"{about.st_size} bytes, {about.st_mtime_ns}"
        digest.update(source.read_bytes())
    for path in files(source):
        try:
            if is_image(path):
                told = str(path.stat().st_size)
            elif path.suffix.lower() == ".csv":
                told = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                continue
        except OSError:
            told = "unreadable"
        digest.update(os.fsencode(f"{path.relative_to(source).as_posix()}\0{told}\n"))
    return digest.hexdigest()


def missing(folder: Path, manifest: Path) -> list[str]:
    """Images of a manifest that have no `{image_id}.png` in a folder made from it.

    Empty, too, where the folder is not made yet or is older than the manifest.
    """
    made = folder / ".snakemake_timestamp"
    if not made.exists():
        made = folder / "boxes.csv"
    if not made.exists() or not manifest.exists() or _date(made) < _date(manifest):
        return []
    there = set(os.listdir(folder))
    with open(manifest, encoding="utf-8", newline="") as handle:
        wanted = [row["image_id"] for row in csv.DictReader(handle)]
    return [image_id for image_id in wanted if f"{image_id}.png" not in there]


def _date(path: Path) -> float:
    return path.stat().st_mtime
