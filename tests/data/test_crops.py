"""Boxes and crops by hand, and what holds for any mask."""

import hashlib
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs import Named
from multiloss.data.crops import Box, bounding_box, crop
from multiloss.data.images import read_grey, write_png
from multiloss.data.tables import SPLITS


def test_box_is_widened_by_its_own_size():
    mask = np.zeros((100, 200), bool)
    mask[20:60, 50:150] = True  # 40 high, 100 wide: 2 and 5 more on each side
    assert bounding_box(mask) == Box(45, 18, 110, 44, 4000 / 20000, False)


def test_box_is_clipped_to_the_image():
    mask = np.zeros((100, 100), bool)
    mask[0:80, 60:100] = True
    assert bounding_box(mask, margin=0.5) == Box(40, 0, 60, 100, 0.32, False)


def test_empty_mask_falls_back_to_the_whole_image():
    assert bounding_box(np.zeros((30, 40), bool)) == Box(0, 0, 40, 30, 0.0, True)


def test_crop_takes_the_box_and_nothing_else():
    image = np.zeros((40, 60), np.uint8)
    image[10:30, 20:40] = 200
    inside = crop(image, Box(20, 10, 20, 20, 0.1, False), 10)
    assert inside.shape == (10, 10) and inside.dtype == np.uint8
    assert (inside == 200).all()


def test_shrinking_averages_over_pixels():
    image = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (8, 8))
    assert (crop(image, Box(0, 0, 16, 16, 1.0, False), 8) == 100).all()


@given(
    st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.floats(0, 1),
)  # fmt: skip
def test_box_holds_all_lung_and_stays_inside(height, width, seed, margin):
    mask = np.random.default_rng(seed).random((height, width)) < 0.1
    box = bounding_box(mask, margin)
    assert box.xmin >= 0 and box.xmin + box.width <= width and box.width > 0
    assert box.ymin >= 0 and box.ymin + box.height <= height and box.height > 0
    assert box.fallback == (not mask.any())
    inside = mask[box.ymin : box.ymin + box.height, box.xmin : box.xmin + box.width]
    assert inside.sum() == mask.sum()


@pytest.fixture
def study(root, tmp_path, monkeypatch):
    """Runs the rule's script on four images, one of them called NA, another without lung."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:40] = True
    rows = []
    lungs = {"NA": mask, "b": mask & False, "c": mask, "d": mask}
    for (image_id, lung), split in zip(lungs.items(), SPLITS, strict=True):
        path = Path(f"{image_id}.png")
        write_png(rng.integers(0, 256, mask.shape).astype(np.uint8), path)
        write_png(lung, Path("masks") / path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        row = {"image_id": image_id, "path": path, "label": "x", "patient_id": image_id}
        size = {"width": 80, "height": 60, "bits": 8}
        rows.append(row | size | {"split": split, "sha256": digest})
    pd.DataFrame(rows).to_csv("manifest.csv", index=False)
    snakemake = SimpleNamespace(
        rule="crop",
        wildcards=[],
        log=["crop.log"],
        input=Named(manifest="manifest.csv", masks="masks"),
        output=Named(boxes="crops/boxes.csv", images="crops/images.npy"),
        params=SimpleNamespace(margin=0.05, png_size=32, image_size=16, rgb=False),
    )
    script = str(root / "workflow" / "scripts" / "crop.py")
    return lambda: runpy.run_path(script, {"snakemake": snakemake})


def test_script_writes_boxes_crops_and_arrays(study):
    Path("crops").mkdir()
    (Path("crops") / "of an earlier manifest.png").touch()
    study()
    boxes = pd.read_csv("crops/boxes.csv", keep_default_na=False)
    assert boxes.head(2).to_dict("records") == [
        {"image_id": "NA", "xmin": 19, "ymin": 8, "width": 22, "height": 44}
        | {"lung_fraction": pytest.approx(1 / 6), "fallback": False},
        {"image_id": "b", "xmin": 0, "ymin": 0, "width": 80, "height": 60}
        | {"lung_fraction": 0.0, "fallback": True},
    ]
    names = sorted(path.name for path in Path("crops").glob("*.png"))
    assert names == ["NA.png", "b.png", "c.png", "d.png"]
    assert np.load("crops/images.npy").shape == (4, 16, 16)
    assert (
        read_grey("crops/b.png") == crop(read_grey("b.png"), Box(0, 0, 80, 60, 0, True), 32)
    ).all()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda: Path("masks/b.png").unlink(), "masks/b.png: mask b.png: cannot be opened"),
        (lambda: Path("masks/b.png").write_bytes(b""), "masks/b.png: mask b.png: the file is empt"),
        (
            lambda: write_png(np.ones((5, 5), bool), Path("masks/b.png")),
            "masks/b.png: mask has size 5x5, its image 80x60: make the masks again",
        ),
        (lambda: Path("b.png").write_bytes(b"x"), "b.png: has changed since it was checked: put"),
    ],
)
def test_script_names_what_was_harmed_and_writes_no_table(study, harm, message, capsys):
    harm()
    with pytest.raises(SystemExit):
        study()
    shown = capsys.readouterr().err
    assert message in shown and shown.strip().count("\n") == 0
    assert not list(Path("crops").glob("*.csv")) and not list(Path("crops").glob("*.npy"))
