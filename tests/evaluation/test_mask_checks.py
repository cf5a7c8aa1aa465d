"""Lung masks: what is implausible, and what the crops keep; every value by hand."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from jobs import Named
from multiloss.data.crops import bounding_box
from multiloss.evaluation import mask_checks
from multiloss.job.errors import UserError


def lungs(height: int = 40, width: int = 50) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[10:30, 10:18] = mask[10:30, 28:40] = True
    return mask


def test_shape_by_hand() -> None:
    found = mask_checks.shape(lungs())
    assert (found.parts, found.border) == (2, False)
    # The box spans columns 10 to 39, its middle is between 24 and 25.
    assert found.left_share == pytest.approx(8 / 20)
    assert found.height_width == pytest.approx(20 / 30)
    assert found.area == pytest.approx(400 / 2000)
    odd = np.zeros((3, 5), bool)
    odd[1] = True
    assert mask_checks.shape(odd).left_share == 0.5 and mask_checks.shape(odd).border


def test_specks_and_empty_masks() -> None:
    mask = lungs()
    mask[2, 2:5] = True  # 3 of 403 pixels
    assert mask_checks.shape(mask).parts == 2
    mask[2, 2:8] = True
    assert mask_checks.shape(mask).parts == 3
    # Touching at a corner is one part.
    assert mask_checks.shape(np.eye(4, dtype=bool)).parts == 1
    empty = mask_checks.shape(np.zeros((4, 4), bool))
    assert (empty.parts, empty.border, empty.area) == (0, False, 0.0)
    assert np.isnan([empty.left_share, empty.height_width]).all()


@pytest.mark.parametrize("edge", [(0, 20), (39, 20), (20, 0), (20, 49)])
def test_every_border_counts(edge: tuple[int, int]) -> None:
    mask = lungs()
    assert not mask_checks.shape(mask).border
    mask[edge] = True
    assert mask_checks.shape(mask).border


def test_what_a_box_keeps() -> None:
    region = lungs()
    assert mask_checks.kept(region, (0, 0, 50, 40)) == 1.0
    assert mask_checks.kept(region, (10, 10, 8, 10)) == pytest.approx(80 / 400)
    assert np.isnan(mask_checks.kept(np.zeros((4, 4), bool), (0, 0, 4, 4)))
    # The crop of a mask without margin keeps all of that mask.
    box = bounding_box(region, 0.0)
    assert mask_checks.kept(region, (box.xmin, box.ymin, box.width, box.height)) == 1.0
    assert mask_checks.dice(region, region) == 1.0
    half = region.copy()
    half[:, 28:] = False
    assert mask_checks.dice(half, region) == pytest.approx(2 * 160 / 560)
    assert np.isnan(mask_checks.dice(~region & region, ~region & region))


def test_outliers_are_modified_z_scores() -> None:
    # Median 3, deviations 2 1 0 1 97: their median is 1.
    found = mask_checks.outliers(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    assert found == pytest.approx(0.6745 * np.array([2, 1, 0, 1, 97]))
    assert (mask_checks.outliers(np.array([5.0, 5.0, 5.0, 9.0])) == 0).all()
    assert mask_checks.outliers(np.array([np.nan, 1.0, 2.0, 4.0]))[0] == 0
    assert (mask_checks.outliers(np.array([np.nan, np.nan])) == 0).all()


@pytest.fixture
def study(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame, Path]:
    """Nine images of which c has no lung, e a third part and i the mask at the border."""
    (tmp_path / "masks").mkdir()
    rows, boxes = [], []
    for number, name in enumerate("abcdefghi"):
        mask = lungs()
        mask[30 : 30 + number % 3, 10:18] = True  # areas that differ
        if name == "c":
            mask[:] = False
        if name == "e":
            mask[2:6, 2:8] = True
        if name == "i":
            mask[:, 10:18] = True
        known = ""
        if name in "ab":
            known = str(tmp_path / f"{name}.png")
            cv2.imwrite(known, lungs().astype(np.uint8) * 255)
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), mask.astype(np.uint8) * 255)
        split = ("train", "val", "ensemble", "test")[number % 4]
        rows.append((name, split, 40, 50, known, known if name == "b" else ""))
        box = (10, 10, 30, 20) if name != "b" else (20, 0, 30, 40)
        boxes.append((name, *box))
    keys = ["image_id", "split", "height", "width", "lung_mask", "lesion_mask"]
    manifest = pd.DataFrame(rows, columns=keys)
    places = pd.DataFrame(boxes, columns=["image_id", "xmin", "ymin", "width", "height"])
    return manifest, places[::-1], tmp_path / "masks"


@pytest.mark.parametrize("threads", [1, 2])
def test_table_and_summary(study: tuple[pd.DataFrame, pd.DataFrame, Path], threads: int) -> None:
    table = mask_checks.table(*study, threads)
    assert list(table["image_id"]) == list("abcdefghi")
    own = table.set_index("image_id")
    assert own.loc["a", "reference_kept"] == 1.0 and own.loc["a", "reference_dice"] == 1.0
    # Columns 28 to 39 of the lungs are in the box of b, not 10 to 17.
    assert own.loc["b", "reference_kept"] == own.loc["b", "lesion_kept"] == pytest.approx(0.6)
    assert own["reference_kept"].notna().sum() == 2 and own["lesion_kept"].notna().sum() == 1
    assert own.loc["c", "flags"] == "empty"
    assert "parts" in own.loc["e", "flags"].split() and "border" in own.loc["i", "flags"].split()
    assert own.loc["a", "flags"] == own.loc["d", "flags"] == ""
    # Most flags first.
    many = own["flags"].str.split().str.len()
    assert (many[own.sort_values("suspicion").index].diff().dropna() <= 0).all()
    assert sorted(own["suspicion"]) == list(range(1, 10))

    found = mask_checks.summarise(table).set_index("split")
    assert list(found.index) == ["train", "val", "ensemble", "test", "all"]
    assert list(found["n"]) == [3, 2, 2, 2, 9]
    assert found.loc["all", "flagged"] == 3 and found.loc["all", "empty"] == 1
    assert found.loc["ensemble", "empty"] == 1 and found.loc["train", "border"] == 1
    assert (found.loc["all", "n_reference"], found.loc["all", "n_lesions"]) == (2, 1)
    assert found.loc["all", "kept_median"] == pytest.approx(0.8)
    assert found.loc["all", "kept_worst"] == pytest.approx(0.6)
    assert found.loc["all", "lesions_cut"] == found.loc["val", "lesions_cut"] == 1
    assert found.loc["train", "n_lesions"] == 0 and np.isnan(found.loc["train", "lesions_worst"])
    filled = own.loc[own["area"] > 0, "area"]
    assert found.loc["all", "area_median"] == pytest.approx(np.median(filled))
    assert found.loc["all", "area_p95"] == pytest.approx(np.percentile(filled, 95))


def test_a_lesion_that_keeps_nine_tenths_is_not_cut() -> None:
    rows = [(0.9, "test"), (0.899, "test"), (1.0, "test"), (np.nan, "test")]
    checks = pd.DataFrame(rows, columns=["lesion_kept", "split"])
    checks = checks.assign(flags="", area=0.2, reference_dice=np.nan, reference_kept=np.nan)
    found = mask_checks.summarise(checks).iloc[-1]
    assert (found["n_lesions"], found["lesions_cut"]) == (3, 1)


def test_faults_are_named(study: tuple[pd.DataFrame, pd.DataFrame, Path]) -> None:
    manifest, boxes, masks = study
    with pytest.raises(UserError, match=r"boxes\.csv has no box of 'i'"):
        mask_checks.table(manifest, boxes[boxes["image_id"] != "i"], masks)
    cv2.imwrite(str(masks / "d.png"), np.zeros((3, 3), np.uint8))
    with pytest.raises(UserError, match=r"d\.png: .*3x3.*--forcerun mask"):
        mask_checks.table(manifest, boxes, masks)
    (masks / "d.png").unlink()
    with pytest.raises(UserError, match=r"d\.png: .*--forcerun mask"):
        mask_checks.table(manifest, boxes, masks)


def test_script_writes_both_tables(
    study: tuple[pd.DataFrame, pd.DataFrame, Path],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest, boxes, _ = study
    more = {"path": "x.png", "label": "x", "patient_id": "p", "bits": 8, "sha256": "0" * 64}
    manifest.assign(**more).to_csv("manifest.csv", index=False)
    boxes.to_csv("boxes.csv", index=False)
    job = SimpleNamespace(
        rule="check_masks",
        wildcards=[],
        threads=1,
        log=["check.log"],
        input=Named(manifest="manifest.csv", masks="masks", boxes="boxes.csv"),
        output=Named(checks="checks.csv", summary="crops.csv"),
        params=SimpleNamespace(),
    )
    script = str(root / "workflow/scripts/check_masks.py")
    runpy.run_path(script, {"snakemake": job}, run_name="__main__")  # whose lines the log takes
    checks = pd.read_csv("checks.csv", dtype={"flags": str}, keep_default_na=False)
    assert list(checks["image_id"]) == list("abcdefghi")
    assert checks.loc[checks["flags"] != "", "image_id"].tolist() == ["c", "e", "i"]
    assert pd.read_csv("crops.csv").set_index("split").loc["all", "flagged"] == 3
    assert "3 of 9 lung masks are implausible" in Path("check.log").read_text()
