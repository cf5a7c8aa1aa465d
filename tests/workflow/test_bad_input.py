"""Bad input as a user meets it: through `snakemake`, one line, a non-zero exit, no half file."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["no finding", "bacterial pneumonia", "viral"]
TO_SPLITS = ("results/mine/data/manifest.csv", "results/mine/tables/leakage.csv")


def snakemake(folder: Path, *options: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", ROOT / "Snakefile"]
    return subprocess.run(
        [str(part) for part in (*command, "--directory", folder, *options)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def error_of(done: subprocess.CompletedProcess) -> str:
    """The one line that tells the user what is wrong."""
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    lines = dict.fromkeys(re.findall(r"^(?:\[[^\]]*\] )?Error: .*$", text, re.MULTILINE))
    assert len(lines) == 1, text
    return next(iter(lines))


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> np.ndarray:
    """A smooth grey image that no other seed resembles."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 5), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def write_classification(folder: Path, patients: int = 12) -> None:
    """`split/class/patient_image.png` for three classes, two of them with a space in the name."""
    for number, label in enumerate(CLASSES):
        for patient in range(patients):
            split = "test" if patient % 4 == 0 else "train"
            path = folder / split / label / f"p{number}{patient:02d}_1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture(100 * number + patient))


def write_lungs(folder: Path, seed: int, images: int = 8) -> None:
    mask = np.zeros((48, 40), np.uint8)
    mask[10:40, 6:34] = 255
    for number in range(images):
        for kind, content in (("images", picture(seed + number)), ("masks", mask)):
            path = folder / kind / f"lung{seed + number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), content)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images and lung masks of a user's own, below a folder with spaces and other letters."""
    folder = tmp_path / "meine Bilder ä"
    write_classification(folder / "cxr")
    write_lungs(folder / "lungs train", seed=1000)
    write_lungs(folder / "lungs test", seed=2000)
    return folder


def study(data: Path, /, **changes: Any) -> Path:
    """A study on that data, with top-level keys replaced."""
    sources = [
        {"name": "cxr", "role": "classification", "url": str(data / "cxr")},
        {"name": "lungs-train", "role": "lungs_train", "url": str(data / "lungs train")},
        {"name": "lungs-test", "role": "lungs_test", "url": str(data / "lungs test")},
    ]
    for source in sources:
        source["layout"] = "folders"
    sources[0]["patient_pattern"] = r"(p\d+)_"
    content = {"study": "mine", "classes": CLASSES, "data": {"sources": sources}} | changes
    path = data.parent / "my study.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"sed": 1}, ["unknown key 'sed'", "did you mean 'seed'?"]),
        ({"classification": {"losses": ["cce", "focl"]}}, ["'focl'", "did you mean 'focal'?"]),
        ({"evaluation": {"interval": "bac"}}, ["evaluation.interval", "did you mean 'bca'?"]),
    ],
)
def test_mistake_in_a_config_file(tmp_path: Path, content: dict, parts: list[str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    error = error_of(snakemake(tmp_path, "--dry-run", "--configfile", path))
    for part in parts:
        assert part in error
    assert not (tmp_path / "results").exists()


def test_mistake_on_the_command_line(tmp_path: Path) -> None:
    error = error_of(snakemake(tmp_path, "--dry-run", "--config", "replicates=none"))
    assert "replicates" in error


def test_odd_images_are_read_or_listed_and_the_rest_goes_on(data: Path) -> None:
    train = data / "cxr/train/viral"
    grey = picture(500)
    cv2.imwrite(str(train / "p300_deep.png"), picture(501).astype(np.uint16) * 257)
    Image.fromarray(picture(502)).convert("RGB").save(train / "p301_rgb.png")
    Image.fromarray(picture(503)).convert("RGBA").save(train / "p302_rgba.png")
    Image.fromarray(picture(504)).convert("CMYK").save(train / "p303_cmyk.jpg")
    Image.fromarray(grey).save(train / "p304_whole.jpg")
    whole = (train / "p304_whole.jpg").read_bytes()
    (train / "p305_truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (train / "p306_empty.png").write_bytes(b"")
    (train / "p307_text.png").write_text("no picture at all")
    (train / ".DS_Store").write_bytes(b"litter")
    lungs = data / "lungs train"
    cv2.imwrite(str(lungs / "images/alone.png"), picture(600))
    cv2.imwrite(str(lungs / "masks/ownerless.png"), np.full((48, 40), 255, np.uint8))
    cv2.imwrite(str(lungs / "images/black.png"), picture(601))
    cv2.imwrite(str(lungs / "masks/black.png"), np.zeros((48, 40), np.uint8))

    folder = data.parent / "results elsewhere ö"
    done = snakemake(folder, *TO_SPLITS, "--configfile", study(data))
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results/mine/data"
    manifest = pd.read_csv(results / "manifest.csv", dtype=str)
    read = set(manifest["image_id"].str.rsplit("_", n=1).str[-1])
    assert {"deep", "rgb", "rgba", "cmyk", "whole"} <= read
    assert set(manifest["label"]) == set(CLASSES)
    assert set(manifest["split"]) == {"train", "val", "ensemble", "test"}
    assert all((folder / path).is_file() for path in manifest["path"])

    rejected = pd.read_csv(results / "rejected.csv").set_index("image_id")["reason"]
    assert set(rejected.index) == {
        "train__viral__p305_truncated",
        "train__viral__p306_empty",
        "train__viral__p307_text",
        "alone",
        "ownerless",
        "black",
    }
    assert "no mask" in rejected["alone"]
    assert "no image" in rejected["ownerless"]
    assert "black" in rejected["black"] or "no lung" in rejected["black"]
    assert rejected.str.len().min() > 5


def test_image_on_two_sides_stops_a_strict_study(data: Path) -> None:
    source = data / "cxr/test/viral/p200_1.png"
    (data / "cxr/train/viral/p250_1.png").write_bytes(source.read_bytes())
    sources = yaml.safe_load(study(data).read_text(encoding="utf-8"))["data"]["sources"]
    changed = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
    changed[0, 0] ^= 1
    cv2.imwrite(str(data / "cxr/train/viral/p251_1.png"), changed)
    strict = study(data, data={"sources": sources, "strict_leakage": True})
    decoded = "results/mine/segmentation/images.npy"
    error = error_of(snakemake(data.parent, TO_SPLITS[0], decoded, "--configfile", strict))
    assert "near_identical_images_across_splits: 2 of" in error
    # Nothing is prepared for a training that the audit forbids.
    assert not (data.parent / decoded).exists()
    # The byte-identical copy joined the test patient and was dropped; the look-alike is the leak.
    dropped = pd.read_csv(data.parent / "results/mine/data/dropped.csv")
    assert list(dropped["image_id"]) == ["train__viral__p250_1"]


def test_one_patient_only(data: Path) -> None:
    for path in sorted((data / "cxr").rglob("*.png")):
        path.rename(path.with_name(path.name.replace("_1", "x_1").replace(path.name[:4], "p1_", 1)))
    for path in sorted((data / "cxr").rglob("*.png")):
        path.rename(path.with_name(f"p1_{path.stem}-{path.parent.parent.name}.png"))
    done = snakemake(data.parent, TO_SPLITS[0], "--configfile", study(data, splits={"test": 0.2}))
    assert "patient" in error_of(done)
    assert not (data.parent / "results/mine/data/manifest.csv").exists()


def test_class_without_images(data: Path) -> None:
    path = study(data, classes=[*CLASSES, "fungal"])
    error = error_of(snakemake(data.parent, TO_SPLITS[0], "--configfile", path))
    assert "'fungal'" in error
    assert "bacterial pneumonia" in error


def test_class_without_usable_images_is_told_with_the_reason(data: Path) -> None:
    for path in (data / "cxr").rglob("viral/*.png"):
        path.write_bytes(b"")
    error = error_of(snakemake(data.parent, TO_SPLITS[0], "--configfile", study(data)))
    assert "class 'viral' (12 left out, such as " in error and "the file is empty" in error
    # The list of reasons outlives the refusal.
    rejected = pd.read_csv(data.parent / "results/mine/data/rejected.csv")
    assert len(rejected) == 12 and set(rejected["label"]) == {"viral"}
    assert not (data.parent / TO_SPLITS[0]).exists()


def test_what_is_left_out_is_counted_on_the_screen(data: Path) -> None:
    train = data / "cxr/train"
    for name in ("masks/p999_1.png", "p998_1.dcm", ".ipynb_checkpoints/p100_1-checkpoint.png"):
        (train / "viral" / name).parent.mkdir(exist_ok=True)
        (train / "viral" / name).write_bytes((train / "viral/p201_1.png").read_bytes())
    (train / "other").mkdir()
    cv2.imwrite(str(train / "other/q.png"), picture(900))
    done = snakemake(data.parent, *TO_SPLITS, "--configfile", study(data))
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    for line in (
        "cxr: 1 left out: a mask or drawing by the name of its folder 'masks', no radiograph",
        "cxr: 1 left out: class 'other' is not in the config",
        "cxr: 1 files not read: 1 .dcm",
        r"cxr: patient_pattern '(p\d+)_' does not fit 1 of 37 images, such as 'train/other/q.png'",
        "split train: ",
    ):
        assert f"[manifest] {line}" in text or f"[splits] {line}" in text, line
    assert "checkpoint" not in text.replace("checkpoints", "")
    assert len(pd.read_csv(data.parent / TO_SPLITS[0])) == 36


def test_class_missing_in_a_split(data: Path) -> None:
    for path in sorted((data / "cxr/train/viral").glob("*.png"))[2:]:
        path.unlink()
    error = error_of(snakemake(data.parent, TO_SPLITS[0], "--configfile", study(data)))
    assert "viral" in error


def test_source_that_is_not_there(data: Path) -> None:
    path = study(data)
    (data / "lungs test").rename(data / "lungs moved")
    error = error_of(snakemake(data.parent, TO_SPLITS[0], "--configfile", path))
    assert "lungs-test" in error


def test_each_source_that_cannot_be_had_is_named_and_the_others_are_fetched(data: Path) -> None:
    def packed(name: str, *members: str) -> str:
        with zipfile.ZipFile(data / name, "w") as archive:
            for member in members:
                archive.writestr(member, "x")
        return str(data / name)

    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(data / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with (
        zipfile.ZipFile(data / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("bomb.png", "w", force_zip64=True) as member,
    ):
        for _ in range(600):
            member.write(bytes(10**6))
    good = packed("good.zip", "set/ILL/A.PNG", "__MACOSX/set/._A.PNG")
    bad = {
        "outside": ({"url": packed("x.zip", "a.png", "../../evil.png")}, "unsafe path"),
        "link": ({"url": str(data / "link.zip")}, "a link or device"),
        "bomb": ({"url": str(data / "bomb.zip")}, "archive bomb"),
        "other": ({"url": good, "sha256": "0" * 64}, "the config declares 000"),
        "folder": ({"url": str(data), "sha256": "0" * 64}, "is a folder, which has no sha256"),
        "gone": ({"url": str(data / "gone.zip")}, "does not exist: correct its url"),
        "page": ({"url": str(ROOT / "README.md")}, "neither a zip nor a tar archive"),
        "role": ({"url": good, "layout": "kermany", "role": "lungs_test"}, "nothing for role"),
    }
    sources = yaml.safe_load(study(data).read_text(encoding="utf-8"))["data"]["sources"]
    whole = {"layout": "folders", "role": "classification"}
    sources += [{"name": name} | whole | keys for name, (keys, _) in bad.items()]
    sources += [{"name": "good", "url": good} | whole]
    targets = [f"results/mine/data/downloads/{name}.json" for name in [*bad, "good"]]
    path = study(data, data={"sources": sources})
    done = snakemake(data.parent, *targets, "--configfile", path)
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in text
    for name, (_, reason) in bad.items():
        assert re.search(rf"^\[download/{name}\] Error: .*{reason}", text, re.MULTILINE), name
    made = data.parent / "results/mine/data"
    assert [path.name for path in (made / "sources").iterdir()] == ["good"]
    assert (made / "sources/good/set/ILL/A.PNG").exists()
    assert sorted(path.name for path in (made / "downloads").iterdir()) == [
        "good.json",
        "good.sha256",
    ]
    assert not list(data.parent.rglob("evil.png"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can mount a disk")
def test_full_disk_leaves_no_half_file_and_the_next_run_completes(data: Path) -> None:
    disk = data.parent / "small disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        phantom = ROOT / "tests/studies/smallest.yaml"
        target = "results/smallest/data/sources/cxr"
        filler = disk / "other people's files"
        done = snakemake(disk, "results/smallest/data/manifest.csv", "--configfile", phantom, "-n")
        assert done.returncode == 0
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler.write_bytes(b"x" * (free - 60_000))
        done = snakemake(disk, target, "--configfile", phantom)
        assert done.returncode != 0
        assert "No space left on device" in done.stdout + done.stderr
        left = [path for path in (disk / "results").rglob("*") if path.is_file()]
        assert all("logs" in path.parts or "benchmarks" in path.parts for path in left), left
        filler.unlink()
        again = snakemake(disk, target, "--configfile", phantom)
        assert again.returncode == 0, again.stdout + again.stderr
        assert len(list((disk / target).rglob("*.jpeg"))) >= 70
    finally:
        subprocess.run(["umount", disk], check=True)
