"""The files below a folder of images. Read by the Snakefile: the standard library only."""

import csv
import hashlib
import os
import unicodedata
from collections import Counter
from pathlib import Path

from multiloss.data.sources.archives import is_litter

# A digest of so much takes a hundredth of a second.
READ_AT_EVERY_START = 16 * 2**20
IMAGE_ENDINGS = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2"),
    *(".tif", ".tiff", ".bmp", ".gif", ".webp"),
}
# Tables, notes and descriptions that come along with images; nobody takes them for one.
_BESIDE_IMAGES = {
    *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".txt", ".md", ".rst", ".rtf", ".doc", ".docx"),
    *(".pdf", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".py", ".ipynb", ".m"),
    *(".log", ".bib", ".license", ".cff", ".ini", ".cfg", ".sha256", ".md5"),
}
_PLAIN_NAMES = {"readme", "license", "licence", "copying", "citation", "changelog", "authors"}


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


def unread(root: Path) -> Counter[str]:
    """How many files below `root` are not read, by ending in small letters ('' without one).

    Tables and texts beside the images do not count.
    """
    endings = Counter(path.suffix.lower() for path in files(root) if not _is_expected(path))
    return Counter(dict(sorted(endings.items(), key=lambda item: (-item[1], item[0]))))


def _is_expected(path: Path) -> bool:
    return (
        is_image(path) or path.suffix.lower() in _BESIDE_IMAGES or path.stem.lower() in _PLAIN_NAMES
    )


def composed(name: str) -> str:
    """The name with each accented letter as one sign, however a system or program stores it."""
    return unicodedata.normalize("NFC", name)


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
