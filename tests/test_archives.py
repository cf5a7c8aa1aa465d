"""Unpacking: what is kept, what is skipped, and every way to harm that is refused."""

import io
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from multiloss import archives
from multiloss.errors import UserError


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


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


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
    refused(zip_of(tmp_path / "a.zip", {"a.png": bytes(2000)}), "MB are free")


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
    refused(path, "neither a zip nor a tar.*DOCTYPE")


def test_encrypted_zip(tmp_path):
    path = zip_of(tmp_path / "bad.zip", {"a.png": b"secret"})
    raw = bytearray(path.read_bytes())
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(sign) + offset] |= 1
    path.write_bytes(raw)
    refused(path, "encrypted")


def test_empty_archive(tmp_path):
    refused(zip_of(tmp_path / "bad.zip", {"__MACOSX/x": b"x"}), "no files")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    refused(tmp_path / "bad.zip", "twice")


def test_file_that_is_also_a_folder(tmp_path):
    refused(zip_of(tmp_path / "bad.zip", {"a": b"1", "a/b.png": b"2"}), "twice")


def test_full_disk_while_writing(tmp_path):
    """The error is the system's, and no half folder stays. A size limit stands in for the disk."""
    archive = zip_of(tmp_path / "a.zip", {"a.png": bytes(1000), "b.png": bytes(500_000)})
    code = (
        "import sys, resource; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from multiloss import archives\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: archives.unpack(Path(sys.argv[2]), Path(sys.argv[3]))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    package = Path(archives.__file__).parents[1]
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
