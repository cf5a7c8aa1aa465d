"""Faults of the place where a study runs: what the user sees, and that nothing is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests/studies/smallest.yaml"
DATA = "results/smallest/data"
MANIFEST = f"{DATA}/manifest.csv"


def command(folder: Path, config: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(ROOT / "Snakefile"),
        "--configfile", str(config), "--directory", str(folder), *options,
    ]  # fmt: skip


def snakemake(folder: Path, config: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(folder, config, *options), capture_output=True, text=True, timeout=300
    )


def is_complete(folder: Path, config: Path, target: str) -> bool:
    done = snakemake(folder, config, target, "--dry-run")
    return "Nothing to be done" in done.stdout + done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    """The data of a study by path; the manifest and the images that it lists."""
    found = sorted((folder / DATA).rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


def study(folder: Path, **changes: object) -> Path:
    content = yaml.safe_load(SMALLEST.read_text(encoding="utf-8")) | changes
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@contextlib.contextmanager
def stopped(process: subprocess.Popen, once: Callable[[], object]) -> Iterator[None]:
    """A run that stands still from the moment the condition holds, on a machine of any speed."""
    while not once():
        assert process.poll() is None, "it ended before anything could be seen"
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_second_run_in_one_folder_is_refused_and_the_first_undisturbed(tmp_path: Path) -> None:
    first, alone = tmp_path / "first", tmp_path / "alone"
    first.mkdir()
    locks = first / ".snakemake/locks"
    with subprocess.Popen(
        command(first, SMALLEST, MANIFEST), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        with stopped(process, once=lambda: locks.is_dir() and any(locks.iterdir())):
            second = snakemake(first, SMALLEST, MANIFEST)
        assert process.wait(timeout=300) == 0
    assert second.returncode != 0
    assert "LockException" in second.stdout + second.stderr
    assert snakemake(alone, SMALLEST, MANIFEST).returncode == 0
    assert contents(first) == contents(alone)
    assert is_complete(first, SMALLEST, MANIFEST)


def test_config_edited_while_it_runs_is_put_right_by_the_next_run(tmp_path: Path) -> None:
    config = study(tmp_path)
    edited, straight = tmp_path / "edited", tmp_path / "straight"
    edited.mkdir()
    with subprocess.Popen(
        command(edited, config, MANIFEST), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        with stopped(process, once=lambda: list((edited / DATA).glob("downloads/*.json"))):
            ratios = {"train": 0.5, "val": 0.25, "ensemble": 0.25}
            config = study(tmp_path, splits={"ratios": ratios})
        assert process.wait(timeout=300) == 0
    assert snakemake(edited, config, MANIFEST).returncode == 0
    assert snakemake(straight, config, MANIFEST).returncode == 0
    assert contents(edited) == contents(straight)


@pytest.fixture
def archived(tmp_path: Path) -> tuple[Path, Path]:
    """A study whose lung images lie in an archive on this machine; (config, archive)."""
    made = tmp_path / "made"
    assert snakemake(made, SMALLEST, f"{DATA}/downloads/lungs-test.json").returncode == 0
    source = made / DATA / "sources/lungs-test"
    archive = tmp_path / "lungs-test.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(source.rglob("*")):
            packed.write(path, path.relative_to(source))
    sources = yaml.safe_load(SMALLEST.read_text(encoding="utf-8"))["data"]["sources"]
    sources[2] = {"name": "lungs-test", "role": "lungs_test", "layout": "montgomery"}
    sources[2]["url"] = str(archive)
    return study(tmp_path, data={"sources": sources}), archive


def test_archive_from_a_machine_whose_clock_is_ahead(archived, tmp_path: Path) -> None:
    config, archive = archived
    target = f"{DATA}/downloads/lungs-test.json"
    now = time.time()
    os.utime(archive, (now + 3600, now + 3600))
    assert snakemake(tmp_path, config, target).returncode == 0
    assert is_complete(tmp_path, config, target)
    os.utime(archive)
    assert is_complete(tmp_path, config, target)


def test_tables_with_dates_out_of_order_are_known_by_their_content(tmp_path: Path) -> None:
    """A file server's clock an hour ahead, and files copied without their dates."""
    target = "results/smallest/tables/leakage.csv"
    assert snakemake(tmp_path, SMALLEST, target).returncode == 0
    ahead = time.time() + 3600
    os.utime(tmp_path / MANIFEST, (ahead, ahead))
    assert is_complete(tmp_path, SMALLEST, target)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written, not even by root."""
    folder = tmp_path / "read only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_folder_that_cannot_be_written(read_only: Path) -> None:
    done = snakemake(read_only, SMALLEST, MANIFEST)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "Read-only file system" in text or "Permission denied" in text
    assert not os.listdir(read_only)
