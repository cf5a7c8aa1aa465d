"""Unpacking of archives that nobody here has made: nothing outside, no links, no bombs."""

import errno
import logging
import lzma
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from multiloss.errors import UserError
from multiloss.progress import SECONDS_BETWEEN_LINES, clock

logger = logging.getLogger(__name__)

# The largest public set here unpacks to 3.8 GB in a few thousand files.
MAX_BYTES = 200 * 10**9
MAX_FILES = 500_000
# Deflate reaches about 1,000:1 on constant data; radiographs and masks stay far below 100:1,
# but a small archive may hold a few empty bitmaps.
MAX_RATIO = 100
RATIO_COUNTS_FROM = 512 * 10**6
# What must stay free beside the unpacked files.
SPARE_BYTES = 50 * 10**6
_CHUNK = 1 << 20
_BY_HAND = "if it is meant, unpack it yourself and give the folder as url"
# Hidden names (.DS_Store, .ipynb_checkpoints, Snakemake's own .snakemake_timestamp), and what
# systems, file servers and Python put into folders.
_LITTER = re.compile(
    r"(\..+|__MACOSX|__pycache__|(eh)?Thumbs\.db|desktop\.ini|@eaDir|#recycle|\$RECYCLE\.BIN"
    r"|System Volume Information|lost\+found)",
    re.IGNORECASE,
)
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,  # how zipfile says that a password is needed
)


class ArchiveError(UserError):
    """An archive whose content is at fault: another attempt with the same bytes is in vain."""


def is_litter(name: str) -> bool:
    """Whether a path is what programs leave behind and no one means to publish."""
    return any(_LITTER.fullmatch(part) for part in PurePosixPath(name).parts)


def unpack(archives: Path | Sequence[Path], folder: Path) -> int:
    """Unpack zip or tar archives into `folder`, which appears whole or not at all.

    The first archive goes to the top of the folder, each further one to `part2`, `part3`...
    Litter (`__MACOSX`, `.DS_Store`, ...) is skipped. An older or half-made folder is replaced.

    Returns the number of files.

    Raises `ArchiveError` for a damaged or encrypted archive, for one that is no archive, holds a
    link, a device, an absolute path or `..`, holds a name twice, or grows beyond `MAX_BYTES`,
    `MAX_FILES` or `MAX_RATIO`; `UserError` where the disk has no room for the content.
    """
    archives = [archives] if isinstance(archives, Path) else list(archives)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        files = 0
        for number, archive in enumerate(archives, start=1):
            target = temporary if number == 1 else temporary / f"part{number}"
            target.mkdir(parents=True)
            files += _unpack_one(archive, target)
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return files


def _unpack_one(archive: Path, folder: Path) -> int:
    start = last = time.monotonic()
    files = written = 0
    packed = archive.stat().st_size
    with _opened(archive) as (members, total):
        if total is not None:
            _refuse_bomb(archive, total, packed)
            free = shutil.disk_usage(folder).free
            if total + SPARE_BYTES > free:
                raise UserError(
                    f"{archive.name} unpacks to {total / 1e6:.0f} MB, but only {free / 1e6:.0f} MB "
                    f"are free in {folder.parent}: make room or choose another results folder"
                )
        for name, member in members:
            with member as content:
                for chunk in _written(archive, folder, name, content):
                    written += chunk
                    _refuse_bomb(archive, written, packed)
            files += 1
            if files > MAX_FILES:
                raise _too_many(archive)
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES:
                left = (now - start) / max(written, 1) * ((total or written) - written)
                logger.info(
                    "unpacking %s: %d files, %.0f MB, %s left",
                    archive.name,
                    files,
                    written / 1e6,
                    clock(left) if total is not None else "unknown time",
                )
                last = now
    if files == 0:
        raise ArchiveError(f"{archive.name} holds no files: check the url of the source")
    logger.info("unpacked %s: %d files, %.1f MB", archive.name, files, written / 1e6)
    return files


def _written(archive: Path, folder: Path, name: str, content: IO[bytes]) -> Iterator[int]:
    """Write one file of an archive, yielding the size of each piece."""
    target = folder.joinpath(*PurePosixPath(name).parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as sink:
            while chunk := content.read(_CHUNK):
                sink.write(chunk)
                yield len(chunk)
    except (FileExistsError, NotADirectoryError):
        raise ArchiveError(f"{archive.name} holds '{name}' twice: make the archive again") from None


@contextmanager
def _opened(
    archive: Path,
) -> Iterator[tuple[Iterator[tuple[str, IO[bytes]]], int | None]]:
    """(safe name, readable) of every file that counts, and the total size where it is known."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                infos = [info for info in opened.infolist() if _wanted_zip(archive, info)]
                if len(infos) > MAX_FILES:
                    raise _too_many(archive)
                members = ((_safe(archive, info.filename), opened.open(info)) for info in infos)
                yield members, sum(info.file_size for info in infos)
        elif _is_tar(archive):
            with tarfile.open(archive, "r|*") as opened:
                # One pass: a compressed tar tells its size only to who has read it all.
                yield _tar_members(archive, opened), None
        else:
            with open(archive, "rb") as handle:
                begin = handle.read(40)
            raise ArchiveError(
                f"{archive.name} is neither a zip nor a tar archive (it begins with {begin!r}): "
                "check the url; a site may have answered with a web page"
            )
    except (OSError, *_DAMAGED) as error:
        # A damaged bzip2 stream has no number, a place before the start of the file this one; all
        # others are the disk's.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(
            f"{archive.name} cannot be unpacked ({error}): it is damaged, encrypted or packed in "
            "an unknown way; get it again, or correct the url"
        ) from None


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except (OSError, *_DAMAGED):
        return False


def _wanted_zip(archive: Path, info: zipfile.ZipInfo) -> bool:
    name = _safe(archive, info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _link(archive, info.filename)
    return not info.is_dir() and not info.filename.endswith("\\") and not is_litter(name)


def _tar_members(archive: Path, opened: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for info in opened:
        name = _safe(archive, info.name)
        if not (info.isreg() or info.isdir()):
            raise _link(archive, info.name)
        if info.isreg() and not is_litter(name):
            handle = opened.extractfile(info)
            if handle is not None:
                yield name, handle


def _safe(archive: Path, name: str) -> str:
    """The name with forward slashes, if it stays inside the folder it is unpacked to."""
    slashed = name.replace("\\", "/")
    parts = slashed.split("/")
    if (
        slashed.startswith("/")
        or ".." in parts
        or re.match(r"[A-Za-z]:", slashed)
        or any(ord(letter) < 32 for letter in slashed)
    ):
        raise ArchiveError(
            f"{archive.name} holds an unsafe path, {name!r}: refused; pack it again with paths "
            "that stay inside"
        )
    return slashed


def _refuse_bomb(archive: Path, unpacked: int, packed: int) -> None:
    if unpacked > MAX_BYTES:
        raise ArchiveError(
            f"{archive.name} unpacks to more than {MAX_BYTES / 1e9:.0f} GB: refused; {_BY_HAND}"
        )
    if unpacked > RATIO_COUNTS_FROM and unpacked > MAX_RATIO * packed:
        raise ArchiveError(
            f"{archive.name} unpacks to more than {MAX_RATIO} times its size "
            f"({unpacked / 1e6:.0f} MB from {packed / 1e6:.1f} MB): refused as an archive bomb; "
            f"{_BY_HAND}"
        )


def _too_many(archive: Path) -> ArchiveError:
    return ArchiveError(f"{archive.name} holds more than {MAX_FILES:,} files: refused; {_BY_HAND}")


def _link(archive: Path, name: str) -> ArchiveError:
    return ArchiveError(
        f"{archive.name} holds a link or device, '{name}': refused; pack it again without"
    )
