"""What lies in a folder: changes are noticed when a study is planned, and gaps are told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from multiloss.data.sources.listing import files, fingerprint, missing, unread


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for name, content in {
        "ill/a.png": "one",
        "ill/deep/b.JPG": "two",
        "well/c.tif": "three",
        "patients.csv": "image,patient\na,1\n",
        "notes.txt": "",
        "ill/.DS_Store": "",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_files_are_sorted_without_litter_and_links_that_lead_back(folder: Path) -> None:
    (folder / "ill" / "again").symlink_to(folder)
    assert [path.relative_to(folder).as_posix() for path in files(folder)] == [
        "ill/a.png",
        "ill/deep/b.JPG",
        "notes.txt",
        "patients.csv",
        "well/c.tif",
    ]


def test_fingerprint_of_an_archive_is_its_content(tmp_path: Path, monkeypatch) -> None:
    archive, copy = tmp_path / "a.zip", tmp_path / "elsewhere.zip"
    archive.write_bytes(b"one")
    before = fingerprint(archive)
    assert fingerprint(shutil.copyfile(archive, copy)) == before
    archive.write_bytes(b"two")
    assert fingerprint(archive) != before
    # A large one is not read: size and date stand for it.
    monkeypatch.setattr("multiloss.data.sources.listing.READ_AT_EVERY_START", 2)
    assert fingerprint(archive) == f"3 bytes, {archive.stat().st_mtime_ns}"


def test_files_that_are_not_read_by_ending(folder: Path) -> None:
    names = ("a.dcm", "b.DCM", "c.nii", "d", "e.Gif", "LICENSE", "f.xlsx", "Thumbs.db")
    for name in names:
        (folder / name).touch()
    assert list(unread(folder).items()) == [(".dcm", 2), ("", 1), (".nii", 1)]


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (lambda folder: (folder / "ill/new.png").write_text("x"), True),
        (lambda folder: (folder / "ill/a.png").unlink(), True),
        (lambda folder: (folder / "ill/a.png").rename(folder / "well/a.png"), True),
        (lambda folder: (folder / "ill/a.png").write_text("other length"), True),
        (lambda folder: (folder / "patients.csv").write_text("image,patient\na,2\n"), True),
        (lambda folder: (folder / "broken.png").symlink_to("nowhere"), True),
        (lambda folder: (folder / "notes.txt").write_text("more"), False),
        (lambda folder: (folder / "Thumbs.db").write_text("x"), False),
        (lambda folder: os.utime(folder / "ill/a.png", (1, 1)), False),
    ],
)
def test_fingerprint_notices_what_changes_the_study(folder: Path, change, noticed: bool) -> None:
    before = fingerprint(folder)
    assert fingerprint(shutil.copytree(folder, folder.with_name("copy"))) == before
    change(folder)
    assert (fingerprint(folder) != before) == noticed


def test_missing_files_of_a_folder_made_from_a_manifest(tmp_path: Path) -> None:
    manifest, masks = tmp_path / "manifest.csv", tmp_path / "masks"
    manifest.write_text('image_id,path\na,x\n"b, ä",y\n', encoding="utf-8")
    assert missing(masks, manifest) == []
    masks.mkdir()
    (masks / "a.png").touch()
    assert missing(masks, manifest) == []
    stamp = masks / ".snakemake_timestamp"
    stamp.touch()
    assert missing(masks, manifest) == ["b, ä"]
    # Older than the manifest, it is made anew anyway.
    os.utime(stamp, (1, 1))
    assert missing(masks, manifest) == []


def plan(root: Path, folder: Path, config: Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile", "--cores", "1"]
    command += ["--directory", folder, *options, "--configfile", config]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_deleted_mask_and_crop_are_told_when_a_study_is_planned(root: Path, tmp_path: Path) -> None:
    results = tmp_path / "results/smallest"
    for name in ("data", "masks", "crops"):
        (results / name).mkdir(parents=True)
    (results / "data/manifest.csv").write_text("image_id\na\nb\nc\n")
    for path in ("masks/.snakemake_timestamp", "masks/a.png", "crops/boxes.csv", "crops/b.png"):
        (results / path).touch()
    told = plan(root, tmp_path, root / "tests/studies/smallest.yaml", "--dry-run", "--quiet")
    assert "results/smallest/masks lacks b.png (2 missing in all)" in told
    assert "`snakemake --force results/smallest/masks`" in told
    assert "results/smallest/crops lacks a.png (2 missing in all)" in told


def test_folder_with_a_new_image_is_read_again_but_not_for_a_citation(
    root: Path, folder: Path, tmp_path: Path
) -> None:
    study = yaml.safe_load((root / "tests/studies/smallest.yaml").read_text(encoding="utf-8"))
    source = {"name": "cxr", "role": "classification", "layout": "folders", "url": str(folder)}
    study["data"]["sources"][0] = source
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(study))
    target = "results/smallest/data/downloads/cxr.json"
    plan(root, tmp_path, config, target)
    source |= {"citation": "Somebody (2020)", "patient_pattern": "p"}
    config.write_text(yaml.safe_dump(study))
    assert "Nothing to be done" in plan(root, tmp_path, config, target, "--dry-run")
    (folder / "well" / "d.png").write_text("four")
    assert "Params have changed" in plan(root, tmp_path, config, target, "--dry-run")
