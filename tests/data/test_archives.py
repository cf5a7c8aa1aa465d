"""Unpacking: what is kept, what is skipped, and every way to harm that is refused."""

import bz2
import gzip
import io
import lzma
import random
import resource
import stat
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from multiloss.data.sources import archives
from multiloss.job.errors import UserError


def zip_of(path: Path, content: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def tar_of(path: Path, content: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


PNG = b"\x89PNG\r\n\x1a\n and so on"
CONTENT = {"set/a.png": b"one", "set/deep/ä b.png": b"two" * 1000, "empty.txt": b""}
LITTER = {
    "__MACOSX/set/._a.png": b"x",
    "set/.DS_Store": b"x",
    "set/._b.png": b"x",
    "Thumbs.db": b"x",
    "set/DESKTOP.INI": b"x",
}


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_content_without_litter(tmp_path, make):
    archive = make(tmp_path / "set.archive", CONTENT | LITTER)
    assert archives.unpack(archive, tmp_path / "out" / "set") == 3
    assert tree(tmp_path / "out" / "set") == CONTENT
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["set"]


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_other_tars(tmp_path, mode):
    archives.unpack(tar_of(tmp_path / "set", CONTENT, mode), tmp_path / "out")
    assert tree(tmp_path / "out") == CONTENT


@pytest.mark.parametrize("old", [False, True], ids=["ustar", "before ustar"])
@pytest.mark.parametrize("packed", [False, True])
def test_tar_that_ends_in_a_zip_is_the_tar(tmp_path, old, packed):
    """What lies at a file's end does not decide: this tar closes with a spreadsheet."""
    book = zip_of(tmp_path / "book.xlsx", {"xl/media/image1.png": b"a picture"}).read_bytes()
    content = {f"set/ill/p{number}.png": b"%d" % number for number in range(12)}
    content["set/zz_metadata.xlsx"] = book
    path = tar_of(tmp_path / "set.tar", content, "w")
    raw = bytearray(path.read_bytes())
    if old:
        for start in range(0, len(raw) - 512, 512):
            if raw[start + 257 : start + 262] == b"ustar":
                raw[start + 257 : start + 265] = bytes(8)
                raw[start + 148 : start + 156] = b" " * 8
                raw[start + 148 : start + 155] = b"%06o\0" % sum(raw[start : start + 512])
    raw = raw.rstrip(b"\0") + bytes(1024 + -len(raw.rstrip(b"\0")) % 512)
    path.write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
    assert packed or zipfile.is_zipfile(path)
    assert archives.unpack(path, tmp_path / "out") == 13
    assert tree(tmp_path / "out") == content


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_archive_of_an_archive(tmp_path, make):
    inner = zip_of(tmp_path / "inner.zip", {"a.png": PNG}).read_bytes()
    lone = make(tmp_path / "lone", {"set/inner.zip": inner, "readme.txt": b"unpack me"})
    refused(lone, r"no images but packed files, such as 'set/inner\.zip'.*inner archive")


def test_archives_beside_images_are_counted(tmp_path, caplog):
    inner = zip_of(tmp_path / "inner.zip", {"a.png": PNG}).read_bytes()
    content = {
        "a.png": PNG,
        "more.zip": inner,
        "rest": gzip.compress(b"x", mtime=0),
        "table.xlsx": inner,
    }
    assert archives.unpack(zip_of(tmp_path / "set.zip", content), tmp_path / "out") == 4
    (line,) = warnings_of(caplog)
    assert "archives themselves and stay packed" in line and ": 2, such as 'more.zip'" in line


def test_arrays_and_spreadsheets_are_no_archives_to_unpack(tmp_path, caplog):
    inner = zip_of(tmp_path / "inner.zip", {"x.npy": b"1"}).read_bytes()
    archives.unpack(zip_of(tmp_path / "set.zip", {"images.npz": inner}), tmp_path / "out")
    assert not warnings_of(caplog)


def test_second_archive_has_a_folder_of_its_own(tmp_path):
    first = zip_of(tmp_path / "images.zip", {"img/a.png": b"image"})
    second = zip_of(tmp_path / "masks.zip", {"img/a.png": b"mask"})
    assert archives.unpack([first, second], tmp_path / "out") == 2
    assert tree(tmp_path / "out") == {"img/a.png": b"image", "part2/img/a.png": b"mask"}


def test_older_folder_and_remains_of_a_killed_run_are_replaced(tmp_path):
    out = tmp_path / "out"
    for folder in (out, tmp_path / ".out.unpacking"):
        folder.mkdir()
        (folder / "old.png").write_bytes(b"old")
    archives.unpack(zip_of(tmp_path / "a.zip", CONTENT), out)
    assert tree(out) == CONTENT
    assert not (tmp_path / ".out.unpacking").exists()


def refused(archive: Path, words: str) -> None:
    """The archive is refused with these words, and nothing of it is left anywhere."""
    out = archive.parent / "place" / "out"
    with pytest.raises(UserError, match=words) as caught:
        archives.unpack(archive, out)
    assert archive.name in str(caught.value) and "\n" not in str(caught.value)
    assert list(out.parent.iterdir()) == []
    assert not (archive.parent / "evil.png").exists()


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/evil.png", "..\\evil.png", "C:\\evil.png", "a\nb"]
)
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_paths_outside(tmp_path, make, name):
    refused(make(tmp_path / "bad.archive", {"fine.png": b"1", name: b"2"}), "unsafe path")


def test_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("link.png")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "bad.zip", "link or device")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_link_or_device_in_a_tar(tmp_path, kind):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        info = tarfile.TarInfo("thing.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    refused(tmp_path / "bad.tar", "link or device")


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_bomb_by_ratio(tmp_path, monkeypatch, make):
    monkeypatch.setattr(archives, "RATIO_COUNTS_FROM", 10**6)
    refused(make(tmp_path / "bomb", {"zeros.png": bytes(5 * 10**6)}), "archive bomb")


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_bomb_by_size(tmp_path, monkeypatch, make):
    monkeypatch.setattr(archives, "MAX_BYTES", 10**6)
    refused(make(tmp_path / "bomb", {f"{i}.png": bytes(300_000) for i in range(4)}), "more than")


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_bomb_by_number(tmp_path, monkeypatch, make):
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    refused(make(tmp_path / "bomb", {f"{i}.png": b"" for i in range(11)}), "more than 10 files")


def test_declared_size_that_lies(tmp_path):
    """A zip whose directory understates a file: no byte beyond the declared size is written."""
    path = zip_of(tmp_path / "bad.zip", {"a.png": b"A" * 100_000})
    raw = bytearray(path.read_bytes())
    directory = raw.rindex(b"PK\x01\x02")
    raw[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    path.write_bytes(raw)
    refused(path, "damaged")


def test_limits_admit_the_largest_public_set():
    assert archives.MAX_BYTES > 10 * 3.8e9
    archives._refuse_bomb(Path("ChinaSet_AllFiles.zip"), 3_800_000_000, 3_770_000_000)


def test_no_room(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 50_001_000})()
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage)
    refused(
        zip_of(tmp_path / "a.zip", {"a.png": bytes(2000)}),
        "unpacks to 0.0 MB, and 50 MB are kept in reserve, but only .* MB are free",
    )


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("place", ["first", "second"])
def test_bomb_in_a_header(tmp_path, kind, place):
    """A header that says to be 2 GB long, of which 300 MB follow: refused after the first one."""
    start = time.monotonic()
    header = tarfile.TarInfo("bomb")
    header.type, header.size = kind, 2 * 10**9
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as archive:
        if place == "second":
            info = tarfile.TarInfo("a.png")
            info.size = 512
            archive.write(info.tobuf() + bytes(512))
        archive.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            archive.write(b"9" * 10**6)
    packed = time.monotonic() - start
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    refused(tmp_path / "bomb.tar.gz", "more than 1 MB of name and attributes.*archive bomb")
    assert time.monotonic() - start < max(packed / 4, 0.5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_bomb_of_many_headers(tmp_path):
    """Global headers of half a megabyte, each before the next."""
    header = tarfile.TarInfo("global")
    text = b"500000 comment=" + b"x" * (500_000 - 16) + b"\n"
    header.type, header.size = tarfile.XGLTYPE, len(text)
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as archive:
        for _ in range(20):
            archive.write(header.tobuf() + text + bytes(-len(text) % 512))
    refused(tmp_path / "bomb.tar.gz", "archive bomb")


def test_bomb_of_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    with tarfile.open(tmp_path / "bomb.tar", "w") as archive:
        for number in range(41):
            info = tarfile.TarInfo(f"folder{number}")
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
    refused(tmp_path / "bomb.tar", "more than 10 files")


def test_long_names_and_attributes_of_usual_length(tmp_path):
    name = "/".join("x" * 200 for _ in range(9)) + "/ä.png"
    for number, style in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        with tarfile.open(tmp_path / "set.tar", "w", format=style) as archive:
            info = tarfile.TarInfo(name)
            info.size = 3
            if style == tarfile.PAX_FORMAT:
                info.pax_headers = {"comment": "x" * 500_000}
            archive.addfile(info, io.BytesIO(b"one"))
        archives.unpack(tmp_path / "set.tar", tmp_path / f"out{number}")
        assert tree(tmp_path / f"out{number}") == {name: b"one"}


def test_litter_that_claims_to_be_endless(tmp_path):
    info = tarfile.TarInfo(".DS_Store")
    info.size = 2**60
    (tmp_path / "bad.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    refused(tmp_path / "bad.tar", "cannot be unpacked")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_cut_off_anywhere_is_an_error(tmp_path, mode):
    """Also between two files, where tarfile takes it for whole."""
    whole = tar_of(tmp_path / "set", {f"{i}.png": bytes([i]) * 600 for i in range(4)}, "w")
    raw = whole.read_bytes()
    for end in range(512, 4 * 1536 + 1, 256):
        cut = raw[:end]
        (tmp_path / "cut.tar").write_bytes(gzip.compress(cut, mtime=0) if mode == "w:gz" else cut)
        refused(tmp_path / "cut.tar", "cannot be unpacked.*incomplete")


def test_damaged_header_within_a_tar(tmp_path):
    """Not the end of the archive, as tarfile takes it."""
    path = tar_of(tmp_path / "set", {f"{i}.png": bytes([i]) * 600 for i in range(4)}, "w")
    raw = bytearray(path.read_bytes())
    raw[2 * 1536 + 3] ^= 1
    path.write_bytes(raw)
    refused(path, "cannot be unpacked.*bad checksum")


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_joined_archives(tmp_path, make):
    """The readers of both formats see one of the two only."""
    one = make(tmp_path / "one", {"a.png": b"1"}).read_bytes()
    two = make(tmp_path / "two", {"b.png": b"2"}).read_bytes()
    (tmp_path / "both").write_bytes(one + two)
    refused(tmp_path / "both", "two archives were joined")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_damage_anywhere_in_a_tar_is_an_archive_error(tmp_path, pack):
    content = {"set/a.png": bytes(range(256)) * 3, "set/b.png": b"two"}
    whole = pack(tar_of(tmp_path / "set", content, "w").read_bytes())
    draw = random.Random(1)
    for place in draw.sample(range(min(len(whole), 4000)), min(len(whole), 200)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        (tmp_path / "bad").write_bytes(damaged)
        try:
            archives.unpack(tmp_path / "bad", tmp_path / "out")
        except archives.ArchiveError as error:
            assert "\n" not in str(error)
        else:
            assert set(tree(tmp_path / "out")) == set(content)


def test_damaged_zip(tmp_path):
    path = zip_of(tmp_path / "bad.zip", {"a.png": bytes(range(256)) * 400})
    raw = bytearray(path.read_bytes())
    raw[60] ^= 0xFF
    path.write_bytes(raw)
    refused(path, "damaged")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_anywhere_in_a_zip_is_an_archive_error(tmp_path, method):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", bytes(range(256)) * 2)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            archives.unpack(path, tmp_path / "out")
        except archives.ArchiveError as error:
            refused += 1
            assert "\n" not in str(error)
    # Some bytes, such as those of the dates, mean nothing to the content.
    assert refused > len(whole) / 6


def test_truncated_archives(tmp_path):
    for make in (zip_of, tar_of):
        path = make(tmp_path / f"bad.{make.__name__}", {"a.png": bytes(range(256)) * 400})
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        refused(path, "damaged|neither")


def test_web_page_instead_of_an_archive(tmp_path):
    path = tmp_path / "set.archive"
    path.write_text("<!DOCTYPE html><title>Log in</title>")
    refused(path, "neither a zip nor a tar archive but a web page: check the url")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(50), "a 7z archive: unpack it yourself"),
        (b"Rar!\x1a\x07\x01\0" + bytes(50), "a RAR archive: unpack it yourself"),
        (b"Rar!\x1a\x07\0" + bytes(50), "a RAR archive: unpack it yourself"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "a Zstandard file: unpack it yourself"),
        (b"\x04\x22\x4d\x18" + bytes(50), "an LZ4 file: unpack it yourself"),
        (bytes(32769) + b"CD001" + bytes(50), "the image of a CD: unpack it yourself"),
        (b"MZ" + bytes(50), "a program, perhaps an archive that unpacks itself: unpack it with"),
        (bytes(128) + b"DICM" + bytes(50), "a DICOM file: give the folder"),
        (PNG, "a PNG image: give the folder"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file: write its images to files"),
        (b"\xef\xbb\xbf\n<!-- x --><HTML>", "a web page: check the url"),
        (b"<!doctype html><a href='/l.zip?token=hunter2'>", "a web page: check the url"),
        (b'{"error": "token=hunter2"}', "something unknown that begins with b'{\"error\"': check"),
        (b"<?xml version='1.0'?><Error>", "an XML file, as a server sends.*: check the url"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer: fetch the file"),
        (b"", "an empty file: check the url"),
        (b"path,label\n", "something unknown that begins with b'path,lab': check the url"),
        (bytes(9000), "something unknown that begins with"),
        (
            gzip.compress(b"just text", mtime=0),
            "a gzip file that holds something else: unpack it yourself",
        ),
        (gzip.compress(PNG, mtime=0), "a gzip file that holds a PNG image: unpack it yourself"),
        (lzma.compress(b"PK\3\4"), "an xz file that holds a zip archive: unpack it yourself"),
    ],
)
def test_other_formats_are_named_with_the_remedy(tmp_path, content, words):
    (tmp_path / "set.archive").write_bytes(content)
    refused(tmp_path / "set.archive", "neither a zip nor a tar archive but " + words)


def test_zip_behind_something_else_is_refused(tmp_path):
    """A reader that looks at the end only would take the part for the whole."""
    whole = zip_of(tmp_path / "set.zip", CONTENT).read_bytes()
    (tmp_path / "bad").write_bytes(b"an unknown container" + whole)
    refused(
        tmp_path / "bad", "only ends as a zip archive does.*unpacks itself.*split one.*: unpack"
    )
    (tmp_path / "bad").write_bytes(b"7z\xbc\xaf\x27\x1c" + whole)
    refused(tmp_path / "bad", "a 7z archive")


def test_parts_of_a_split_zip(tmp_path):
    whole = zip_of(tmp_path / "set.zip", CONTENT).read_bytes()
    for begin in (whole[:-60], b"PK\7\x08" + whole[:-60]):
        (tmp_path / "set.z01").write_bytes(begin)
        refused(tmp_path / "set.z01", "without its end.*join the parts of a split one")
    # The sign that a split archive has in the end come to one part only.
    (tmp_path / "set.zip").write_bytes(b"PK00" + whole)
    assert archives.unpack(tmp_path / "set.zip", tmp_path / "out") == 3


@pytest.mark.parametrize(
    ("method", "name"), [(9, "Deflate64"), (93, "Zstandard"), (98, "PPMd"), (1, "Shrink")]
)
def test_unread_compression_is_named(tmp_path, method, name):
    path = zip_of(tmp_path / "set.zip", {"a/b.png": b"x" * 100})
    raw = bytearray(path.read_bytes())
    for sign, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        raw[raw.index(sign) + offset] = method
    path.write_bytes(raw)
    refused(path, f"'a/b.png' is compressed by {name}.*: unpack it yourself")


def renamed(path: Path, names: dict[bytes, bytes]) -> Path:
    """The archive with other bytes of the same number for some of its names."""
    raw = path.read_bytes()
    for old, new in names.items():
        assert len(old) == len(new)
        raw = raw.replace(old, new)
    path.write_bytes(raw)
    return path


def test_names_in_utf8_without_the_flag(tmp_path, caplog):
    path = zip_of(tmp_path / "set.zip", {"AAAA/1.png": PNG, "BBBBBB/2.png": PNG})
    renamed(path, {b"AAAA": "sän".encode(), b"BBBBBB": "正常".encode()})
    archives.unpack(path, tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {"sän/1.png", "正常/2.png"}
    assert not warnings_of(caplog)


def test_names_in_another_encoding_are_counted(tmp_path, caplog):
    path = zip_of(tmp_path / "set.zip", {"AAAA/1.png": PNG, "AAAA/2.png": PNG, "BBB/3.png": PNG})
    renamed(path, {b"AAAA": "正常".encode("gbk"), b"BBB": "gäs".encode("cp437")})
    archives.unpack(path, tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {"╒²│ú/1.png", "╒²│ú/2.png", "gäs/3.png"}
    (line,) = warnings_of(caplog)
    assert line.startswith("set.zip: entries that are not named in UTF-8")
    assert "pack the archive again with UTF-8 names" in line
    assert line.endswith(": 3, such as '╒²│ú/1.png'")


def test_names_in_another_encoding_in_a_tar(tmp_path, caplog):
    """Nor may they come out as text that no table can be written with."""
    with tarfile.open(
        tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT, encoding="gbk"
    ) as archive:
        info = tarfile.TarInfo("正常/1.png")
        info.size = len(PNG)
        archive.addfile(info, io.BytesIO(PNG))
    archives.unpack(tmp_path / "set.tar", tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {"╒²│ú/1.png"}
    assert "such as '╒²│ú/1.png'" in warnings_of(caplog)[0]


def test_unicode_name_in_the_extra_field(tmp_path, caplog):
    """As WinRAR and 7-Zip write it beside a name in the system's own encoding."""
    name, plain = "正常/1.png", b"AAAA/1.png"
    text = b"\1" + zlib.crc32(plain).to_bytes(4, "little") + name.encode()
    info = zipfile.ZipInfo(plain.decode())
    info.extra = struct.pack("<HHH", 0x9999, 2, 0) + struct.pack("<HH", 0x7075, len(text)) + text
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(info, PNG)
    archives.unpack(tmp_path / "set.zip", tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {name}
    assert not warnings_of(caplog)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_name_that_no_disk_takes_is_left_out_and_counted(tmp_path, caplog, make):
    long = "set/" + "x" * 300 + ".png"
    path = make(
        tmp_path / "set.archive", {"a.png": PNG, long: PNG * 9, "ä" * 200 + "/b": b"", "z": PNG}
    )
    assert archives.unpack(path, tmp_path / "out") == 2
    assert set(tree(tmp_path / "out")) == {"a.png", "z"}
    (line,) = warnings_of(caplog)
    assert "left out, since the name is longer" in line and f": 2, such as '{long}'" in line


def test_encrypted_zip(tmp_path):
    path = zip_of(tmp_path / "bad.zip", {"a.png": b"secret"})
    raw = bytearray(path.read_bytes())
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(sign) + offset] |= 1
    path.write_bytes(raw)
    refused(path, "'a.png' is encrypted: unpack it yourself")


def test_empty_archive(tmp_path):
    refused(zip_of(tmp_path / "bad.zip", {"__MACOSX/x": b"x"}), "no files")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    refused(tmp_path / "bad.zip", "'a.png' twice, with different content")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_twice_with_equal_bytes_is_one_file(tmp_path, caplog):
    for name in ("set.zip", "set.tar"):
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for data in (PNG, b"other", PNG):
                archive.writestr("b.png" if data == b"other" else "a.png", data)
        with tarfile.open(tmp_path / "set.tar", "w") as archive:
            for _ in range(2):
                info = tarfile.TarInfo("a.png")
                info.size = len(PNG)
                archive.addfile(info, io.BytesIO(PNG))
                info = tarfile.TarInfo("b.png")
                info.size = 5
                archive.addfile(info, io.BytesIO(b"other"))
        assert archives.unpack(tmp_path / name, tmp_path / "out") == 2
        assert tree(tmp_path / "out") == {"a.png": PNG, "b.png": b"other"}
    first, second = warnings_of(caplog)
    assert "there twice with equal bytes, taken once: 1, such as 'a.png'" in first
    assert ": 2, such as 'a.png'" in second
    # Neither the longer nor the shorter of two is the same.
    for data in (PNG + b"x", PNG[:-1]):
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            archive.writestr("a.png", PNG)
            archive.writestr("a.png", data)
        with pytest.raises(UserError, match="with different content"):
            archives.unpack(tmp_path / "bad.zip", tmp_path / "out")


def test_file_that_is_also_a_folder(tmp_path):
    refused(zip_of(tmp_path / "bad.zip", {"a": b"1", "a/b.png": b"2"}), "twice")


def test_full_disk_while_writing(tmp_path):
    """The error is the system's, and no half folder stays. A size limit stands in for the disk."""
    archive = zip_of(tmp_path / "a.zip", {"a.png": bytes(1000), "b.png": bytes(500_000)})
    code = (
        "import sys, resource; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from multiloss.data.sources import archives\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: archives.unpack(Path(sys.argv[2]), Path(sys.argv[3]))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    package = Path(archives.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, package, archive, tmp_path / "place" / "out"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "File too large"
    assert list((tmp_path / "place").iterdir()) == []


def test_real_archives(shared_data, tmp_path):
    """Litter as in the published archive: 1,140 images and nothing else."""
    archives.unpack(shared_data / "ChestXRay2017-mini.zip", tmp_path / "out")
    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(names) == 1140 and all(name.endswith(".jpeg") for name in names)


def test_folders_are_linked_and_not_mixed_with_archives(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    packed = zip_of(tmp_path / "x.zip", {"a.png": b"one"})
    for _ in range(2):  # again over what is there
        archives.place("mine", [tmp_path / "images", tmp_path / "masks"], tmp_path / "out")
    assert (tmp_path / "out/linked").resolve() == tmp_path / "images"
    assert (tmp_path / "out/linked_masks").resolve() == tmp_path / "masks"
    with pytest.raises(UserError, match="^source 'mine': .* both be archives or both be folders"):
        archives.place("mine", [tmp_path / "images", packed], tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()
    archives.place("mine", [packed], tmp_path / "unpacked")
    assert (tmp_path / "unpacked/a.png").read_bytes() == b"one"
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(archives.ArchiveError, match="^source 'mine': bad.zip"):
        archives.place("mine", [tmp_path / "bad.zip"], tmp_path / "bad")
