"""Unpacking of archives that nobody here has made: nothing outside, no links, no bombs.

zipfile and tarfile read the formats; their `extractall`, data filter included, bounds neither size
nor number of files, lets a later entry replace an earlier one of its name, repairs unsafe names
silently where a refusal tells the user, and takes a damaged tar header for the archive's end.
"""

import bz2
import errno
import gzip
import logging
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from multiloss.job.errors import UserError
from multiloss.job.progress import SECONDS_BETWEEN_LINES, clock

logger = logging.getLogger(__name__)

# The largest public set here unpacks to 3.8 GB in a few thousand files.
MAX_BYTES = 200 * 10**9
MAX_FILES = 500_000
# Deflate reaches about 1,000:1 on constant data; radiographs and masks stay far below 100:1,
# but a small archive may hold a few empty bitmaps.
MAX_RATIO = 100
RATIO_COUNTS_FROM = 512 * 10**6
# The name and attributes of a file in a tar archive take a few hundred bytes.
MAX_TAR_HEADER = 1 << 20
# What must stay free beside the unpacked files.
SPARE_BYTES = 50 * 10**6
_CHUNK = 1 << 20
_UNPACK = "unpack it yourself and give the folder as url"
_BY_HAND = f"if it is meant, {_UNPACK}"
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
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,  # a number or a name that cannot be read
)
# Methods of compression that zipfile does not read.
_UNREAD_METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "xz", 96: "JPEG",
    97: "WavPack", 98: "PPMd", 99: "AES",
}  # fmt: skip

# What is done with some entries, as the line on the screen says it.
_TOO_LONG = "left out, since the name is longer than the disk takes (shorten it)"
_TWIN = "there twice with equal bytes, taken once"
_FOREIGN = (
    "not named in UTF-8, so that the name is read as CP437 (if it looks wrong, pack the archive "
    f"again with UTF-8 names, or {_UNPACK})"
)
_NESTED = f"archives themselves and stay packed (if they are wanted, {_UNPACK})"


class ArchiveError(UserError):
    """An archive whose content is at fault: another attempt with the same bytes is in vain."""


class _Format(NamedTuple):
    """A kind of file that a pattern tells by the first bytes."""

    sign: bytes
    name: str
    remedy: str = _UNPACK
    # Reads the tar archive in it.
    opened: Callable[..., IO[bytes]] | None = None


_IMAGES = "give the folder that the images are in, or an archive of it"
_WEB = "check the url and whether the site asks for a login, or give the path of the file"
_RUN = "unpack it with its own program and give the folder as url"
_ARRAY = "write its images to files of their own"
_TAR = _Format(rb".{257}ustar", "a tar archive", opened=open)
_ZIP = _Format(rb"PK(\x03\x04|\x05\x06|(00|\x07\x08)PK\x03\x04)", "a zip archive")
_FORMATS = (
    _TAR,
    _ZIP,
    _Format(rb"\x1f\x8b\x08", "a gzip file", opened=gzip.open),
    _Format(rb"BZh[1-9]", "a bzip2 file", opened=bz2.open),
    _Format(rb"\xfd7zXZ\0|\x5d\0\0", "an xz file", opened=lzma.open),
    _Format(rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    _Format(rb"Rar!\x1a\x07", "a RAR archive"),
    _Format(rb"[\x50-\x5f]\x2a\x4d\x18|\x28\xb5\x2f\xfd", "a Zstandard file"),
    _Format(rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", "an LZ4 file"),
    _Format(rb"LZIP", "an lzip file"),
    _Format(rb"\x1f[\x9d\xa0]", "a file of compress"),
    _Format(rb"MSCF\0{4}", "a cabinet archive"),
    _Format(rb"07070[127]|\xc7\x71", "a cpio archive"),
    _Format(rb"!<arch>\n", "an ar archive"),
    _Format(rb".{32769}CD001", "the image of a CD"),
    _Format(rb"MZ|\x7fELF|#!", "a program, perhaps an archive that unpacks itself", _RUN),
    _Format(rb".{128}DICM", "a DICOM file", _IMAGES),
    _Format(rb"\x89PNG\r\n\x1a\n", "a PNG image", _IMAGES),
    _Format(rb"\xff\xd8\xff", "a JPEG image", _IMAGES),
    _Format(rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", "a TIFF image", _IMAGES),
    _Format(rb"GIF8[79]a", "a GIF image", _IMAGES),
    _Format(rb"RIFF.{4}WEBP", "a WebP image", _IMAGES),
    _Format(rb"BM.{4}\0{4}", "a BMP image", _IMAGES),
    _Format(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image", _IMAGES),
    _Format(rb"\x89HDF\r\n\x1a\n", "an HDF5 file", _ARRAY),
    _Format(rb"\x93NUMPY", "a NumPy array", _ARRAY),
    _Format(rb"%PDF-", "a PDF file", _WEB),
    _Format(rb"version https://git-lfs", "a Git LFS pointer", "fetch the file by `git lfs pull`"),
    _Format(rb"(?i)[\s\xef\xbb\xbf]*(<!--.{,2000}?-->\s*)?<(!doctype )?html", "a web page", _WEB),
    _Format(rb"[\s\xef\xbb\xbf]*<\?xml", "an XML file, as a server sends to report an error", _WEB),
)
# The first bytes that the signs look at.
_HEAD = 32_774
# Zip archives by their bytes, but nobody means to have them unpacked.
_DOCUMENTS = {".docx", ".jar", ".keras", ".npz", ".odp", ".ods", ".odt", ".pptx", ".pt", ".xlsx"}


def is_litter(name: str) -> bool:
    """Whether a path is what programs leave behind and no one means to publish."""
    return any(_LITTER.fullmatch(part) for part in PurePosixPath(name).parts)


def unpack(archives: Path | Sequence[Path], folder: Path) -> int:
    """Unpack zip or tar archives into `folder`, which appears whole or not at all.

    The first archive goes to the top of the folder, each further one to `part2`, `part3`...
    The first bytes decide on the kind of an archive. Litter (`__MACOSX`, `.DS_Store`, ...) is
    skipped. Entries that are left out for another reason, that are there twice with equal bytes,
    that are archives themselves, or whose names may be misread are counted in the log. An older
    or half-made folder is replaced.

    Returns the number of files.

    Raises `ArchiveError` for a damaged or encrypted archive, for one of another format, with an
    unknown compression or with nothing but further archives in it, for one that holds a link, a
    device, an absolute path or `..`, holds a name twice with other bytes, or grows beyond
    `MAX_BYTES`, `MAX_FILES`, `MAX_RATIO` or `MAX_TAR_HEADER`; `UserError` where the disk has no
    room for the content.
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


def place(name: str, parts: Sequence[Path], folder: str | Path) -> None:
    """Make the content of a source, archives or folders, available in a folder.

    Archives are unpacked (see `unpack`); folders stay where they are, `linked` and `linked_masks`
    lead to them. Raises `UserError` naming the source if one is an archive and one a folder, and
    `ArchiveError` for an archive at fault.
    """
    folder = Path(folder)
    if not any(part.is_dir() for part in parts):
        try:
            unpack(parts, folder)
        except ArchiveError as error:
            raise ArchiveError(f"source '{name}': {error}") from None
        return
    if not all(part.is_dir() for part in parts):
        raise UserError(
            f"source '{name}': `url` and `masks_url` must both be archives or both be folders"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for link, target in zip(("linked", "linked_masks"), parts, strict=False):
        (folder / link).unlink(missing_ok=True)
        os.symlink(target.resolve(), folder / link, target_is_directory=True)
        logger.info("%s: linked to the folder %s", name, target)


def _unpack_one(archive: Path, folder: Path) -> int:
    start = last = time.monotonic()
    entries = images = written = 0
    packed = archive.stat().st_size
    # The names of the entries that a line on the screen is about.
    noted: dict[str, list[str]] = defaultdict(list)
    with _opened(archive, noted) as (members, total):
        if total is not None:
            _refuse_bomb(archive, total, packed)
            free = shutil.disk_usage(folder).free
            if total + SPARE_BYTES > free:
                raise UserError(
                    f"{archive.name} unpacks to {total / 1e6:.1f} MB, and "
                    f"{SPARE_BYTES / 1e6:.0f} MB are kept in reserve, but only {free / 1e6:.1f} MB "
                    f"are free in {folder.parent}: make room or choose another results folder"
                )
        for name, member in members:
            head = b""
            with member as content:
                for chunk in _written(archive, folder, name, content, noted):
                    head = head or chunk[:_HEAD]
                    written += len(chunk)
                    _refuse_bomb(archive, written, packed)
            found = _format_of(head)
            if found and found.remedy == _IMAGES:
                images += 1
            elif found and found.remedy == _UNPACK and not _is_document(name):
                noted[_NESTED].append(name)
            entries += 1
            if entries > MAX_FILES:
                raise _too_many(archive)
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_LINES:
                left = (now - start) / max(written, 1) * ((total or written) - written)
                logger.info(
                    "unpacking %s: %d files, %.0f MB, %s left",
                    archive.name,
                    entries,
                    written / 1e6,
                    clock(left) if total is not None else "unknown time",
                )
                last = now
    for reason, names in noted.items():
        logger.warning(
            "%s: entries that are %s: %d, such as '%s'", archive.name, reason, len(names), names[0]
        )
    files = entries - len(noted[_TOO_LONG]) - len(noted[_TWIN])
    if files == 0:
        raise ArchiveError(f"{archive.name} holds no files: check the url of the source")
    if noted[_NESTED] and not images:
        raise ArchiveError(
            f"{archive.name} holds no images but packed files, such as '{noted[_NESTED][0]}': "
            "unpack it yourself and give the inner archive, or a folder with all unpacked, as url"
        )
    logger.info("unpacked %s: %d files, %.1f MB", archive.name, files, written / 1e6)
    return files


def _written(
    archive: Path, folder: Path, name: str, content: IO[bytes], noted: dict[str, list[str]]
) -> Iterator[bytes]:
    """Write one file of an archive, yielding each piece of it."""
    target = folder.joinpath(*PurePosixPath(name).parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as sink:
            while chunk := content.read(_CHUNK):
                sink.write(chunk)
                yield chunk
    except (FileExistsError, NotADirectoryError):
        yield from _compared(archive, target, name, content)
        noted[_TWIN].append(name)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        noted[_TOO_LONG].append(name)


def _compared(archive: Path, target: Path, name: str, content: IO[bytes]) -> Iterator[bytes]:
    """Read a file whose name is taken, yielding each piece, if it is the one that is there."""
    twice = ArchiveError(
        f"{archive.name} holds '{name}' twice, with different content: make the archive again"
    )
    if not target.is_file():
        raise twice from None
    with open(target, "rb") as there:
        while chunk := content.read(_CHUNK):
            if there.read(len(chunk)) != chunk:
                raise twice from None
            yield chunk
        if there.read(1):
            raise twice from None


@contextmanager
def _opened(
    archive: Path, noted: dict[str, list[str]]
) -> Iterator[tuple[Iterator[tuple[str, IO[bytes]]], int | None]]:
    """(safe name, readable) of every file that counts, and the total size where it is known."""
    with open(archive, "rb") as handle:
        head = handle.read(_HEAD)
    found = _format_of(head)
    try:
        if found is _ZIP:
            with _whole_zip(archive) as opened:
                wanted = _zip_members(archive, opened, noted)
                members = ((name, opened.open(info)) for name, info in wanted)
                yield members, sum(info.file_size for _, info in wanted)
        elif found and found.opened:
            with found.opened(archive, "rb") as content:
                inner = found if found is _TAR else _format_of(content.read(_HEAD))
                if inner is not _TAR:
                    held = inner.name if inner else "something else"
                    raise _unread(archive, f"{found.name} that holds {held}", _UNPACK)
                content.seek(0)
                # One pass: a compressed tar tells its size only to who has read it all.
                yield _tar_members(archive, content, noted), None
        else:
            raise _unread(archive, *_named(archive, head))
    except (OSError, *_DAMAGED) as error:
        # A damaged bzip2 stream has no number, a place before the start of the file this one; all
        # others are the disk's.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(
            f"{archive.name} cannot be unpacked ({error}): it is damaged, incomplete or packed in "
            "an unknown way; get it again, or correct the url"
        ) from None


def _format_of(head: bytes) -> _Format | None:
    """What a file is by its first bytes; None for what is not known here."""
    try:
        # Old tar archives have no sign but the sum of their first header.
        _TarHeader.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        return _TAR
    except tarfile.TarError:
        pass
    return next((kind for kind in _FORMATS if re.match(kind.sign, head, re.DOTALL)), None)


def _named(archive: Path, head: bytes) -> tuple[str, str]:
    """What a file that is not read here is, and what to do."""
    found = _format_of(head)
    if found:
        return found.name, found.remedy
    if not head:
        return "an empty file", _WEB
    if zipfile.is_zipfile(archive):
        parts = "one that unpacks itself, the last part of a split one, or two files in one"
        return f"something that only ends as a zip archive does ({parts})", _UNPACK
    # Few bytes tell a format; more of a server's answer may repeat a token of the address.
    return f"something unknown that begins with {head[:8]!r}", _WEB


def _is_document(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _DOCUMENTS


def _unread(archive: Path, what: str, remedy: str) -> ArchiveError:
    return ArchiveError(f"{archive.name} is neither a zip nor a tar archive but {what}: {remedy}")


def _whole_zip(archive: Path) -> zipfile.ZipFile:
    """The zip archive, if its table of contents is there and lists what the file begins with."""
    if not zipfile.is_zipfile(archive):
        raise ArchiveError(
            f"{archive.name} is a zip archive without its end: it is damaged or incomplete; get "
            "it again, and join the parts of a split one first"
        )
    opened = zipfile.ZipFile(archive)
    # A sign of four bytes may come first. What lies there beyond it is in no table.
    if min((info.header_offset for info in opened.infolist()), default=0) > 4:
        opened.close()
        raise ArchiveError(
            f"{archive.name} begins with files that its table of contents does not list, as where "
            f"two archives were joined: {_UNPACK}"
        )
    return opened


def _zip_members(
    archive: Path, opened: zipfile.ZipFile, noted: dict[str, list[str]]
) -> list[tuple[str, zipfile.ZipInfo]]:
    wanted = []
    for info in opened.infolist():
        name = _safe(archive, _zip_name(info, noted))
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _link(archive, name)
        if name.endswith("/") or is_litter(name):
            continue
        if info.flag_bits & 1:
            raise ArchiveError(f"{archive.name}: '{name}' is encrypted: {_UNPACK}")
        if info.compress_type in _UNREAD_METHODS:
            method = _UNREAD_METHODS[info.compress_type]
            raise ArchiveError(
                f"{archive.name}: '{name}' is compressed by {method}, which is not read here: "
                f"{_UNPACK}"
            )
        wanted.append((name, info))
        if len(wanted) > MAX_FILES:
            raise _too_many(archive)
    return wanted


def _zip_name(info: zipfile.ZipInfo, noted: dict[str, list[str]]) -> str:
    """The name of an entry, whose encoding a zip archive does not always tell."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")  # as zipfile has read it
    extra = info.extra
    while len(extra) >= 4:
        field, size = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        # Info-ZIP's Unicode path, which holds for the name with that checksum.
        if field == 0x7075 and data[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
            return data[5:].decode("utf-8")
    return _decoded(raw, noted)


def _decoded(raw: bytes, noted: dict[str, list[str]]) -> str:
    """A name as UTF-8, or, if it cannot be that, in the code page of DOS and zip."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        name = raw.decode("cp437")
        noted[_FOREIGN].append(name)
        return name


class _TarHeader(tarfile.TarInfo):
    """A header that is an error wherever it is damaged: tarfile takes it for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_TarHeader":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


class _TarBytes:
    """The bytes of a tar archive; of those that are no file's content only `left` are given."""

    def __init__(self, archive: Path, content: IO[bytes]):
        self.archive = archive
        self.content = content
        self.left: int | None = MAX_TAR_HEADER

    def read(self, size: int) -> bytes:
        data = self.content.read(size)
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                raise ArchiveError(
                    f"{self.archive.name} has more than {MAX_TAR_HEADER / 1e6:.0f} MB of name and "
                    "attributes for one file: refused as an archive bomb"
                )
            if not data:
                raise tarfile.ReadError("it ends before its mark of the end")
        return data


def _tar_members(
    archive: Path, content: IO[bytes], noted: dict[str, list[str]]
) -> Iterator[tuple[str, IO[bytes]]]:
    source = _TarBytes(archive, content)
    with tarfile.open(
        fileobj=source, mode="r|", bufsize=1 << 16, tarinfo=_TarHeader,
        encoding="utf-8", errors="surrogateescape",
    ) as opened:  # fmt: skip
        entries = 0
        while info := opened.next():
            opened.members.clear()
            entries += 1
            if entries > 4 * MAX_FILES:  # folders and litter count here
                raise _too_many(archive)
            source.left = None
            name = _safe(archive, _decoded(info.name.encode("utf-8", "surrogateescape"), noted))
            if not (info.isreg() or info.isdir()):
                raise _link(archive, name)
            if info.isreg() and not is_litter(name):
                yield name, opened.extractfile(info)
            # Up to the next file: the rest of this one and the headers.
            source.left = MAX_TAR_HEADER + max(0, opened.offset - opened.fileobj.tell())
        source.left = None
        if opened.fileobj.read(MAX_TAR_HEADER).strip(b"\0"):
            raise ArchiveError(
                f"{archive.name} goes on behind its mark of the end, as where two archives were "
                f"joined: {_UNPACK}"
            )


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
        f"{archive.name} holds a link or device, or what else is no file, '{name}': refused; pack "
        "it again without (`tar --dereference --hard-dereference` stores the files themselves)"
    )
