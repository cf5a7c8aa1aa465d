"""The audit must find every leak that is put in, and call nothing else one."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.fft
from jobs import Named
from multiloss.data import layouts, leakage, likeness, manifest, splits
from multiloss.data.images import read_grey, write_png
from multiloss.data.sources import archives
from multiloss.job.errors import UserError


def radiograph(seed: int, shape=(96, 80)) -> np.ndarray:
    """A smooth random field: neighbouring pixels alike, as in radiographs."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 8)
    return cv2.normalize(field, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture
def tables(tmp_path, monkeypatch) -> SimpleNamespace:
    """A clean study: 12 images of 12 patients over the four splits, lungs beside, none dropped."""
    monkeypatch.chdir(tmp_path)
    names = ("train", "val", "ensemble", "test")
    images = pd.DataFrame([row(f"i{n}", n, f"P{n}", names[n % 4]) for n in range(12)])
    images["label"] = ["x", "y"] * 6
    images["shipped_split"] = np.where(images["split"] == "test", "test", "train")
    lungs = pd.DataFrame(
        [row(f"l{n}", 100 + n, f"L{n}", ("train", "val", "test")[n % 3]) for n in range(6)]
    ).assign(mask_paths="mask.png")
    return SimpleNamespace(
        manifest=images, lungs=lungs, dropped=pd.DataFrame(columns=splits.DROPPED_COLUMNS)
    )


def row(name: str, seed: int, patient: str, split: str) -> dict:
    picture = radiograph(seed)
    write_png(picture, f"{name}.png")
    return {
        "image_id": name,
        "path": f"{name}.png",
        "patient_id": patient,
        "split": split,
        "width": picture.shape[1],
        "height": picture.shape[0],
        "bits": "8",
        "sha256": str(seed),
        "phash": likeness.perceptual_hash(picture),
        "patient_known": True,
    }


def audit(tables: SimpleNamespace) -> pd.DataFrame:
    return leakage.audit(tables.manifest, tables.lungs, tables.dropped).set_index("check")


def change(tables: SimpleNamespace, name: str, picture: np.ndarray, digest: str) -> None:
    """Give an image another content."""
    write_png(picture, f"{name}.png")
    for table in (tables.manifest, tables.lungs):
        own = table["image_id"] == name
        table.loc[own, ["sha256", "phash"]] = [digest, likeness.perceptual_hash(picture)]


def test_clean_study(tables):
    found = audit(tables)
    assert (found["verdict"] == "pass").all() and (found["count"] == 0).all()
    assert found.loc["patients_across_splits", "n"] == 12
    leakage.refuse(found.reset_index())


def test_columns(tables):
    table = leakage.audit(tables.manifest, tables.lungs, tables.dropped)
    assert table.columns.tolist() == ["check", "level", "count", "n", "detail", "verdict"]
    assert set(table["level"]) == {"patient", "image"}


def test_patient_on_two_sides(tables):
    tables.manifest.loc[0, "patient_id"] = "P3"  # i0 is in train, P3's image in test
    found = audit(tables).loc["patients_across_splits"]
    assert (found["count"], found["n"], found["verdict"]) == (1, 11, "leak")
    assert "P3 in test and train" in found["detail"]


def test_identical_images(tables):
    change(tables, "i0", radiograph(3), "3")
    found = audit(tables)
    across = found.loc["identical_images_across_splits"]
    assert (across["count"], across["verdict"]) == (2, "leak")
    assert "i0 in train" in across["detail"] and "i3 in test" in across["detail"]
    # Counted once, not again as nearly identical.
    assert found.loc["near_identical_images_across_splits", "count"] == 0


def test_identical_images_in_one_split_are_only_noted(tables):
    change(tables, "i0", radiograph(4), "4")  # i0 and i4 are in train
    found = audit(tables)
    assert found.loc["identical_images_across_splits", "count"] == 0
    within = found.loc["identical_images_within_split"]
    assert (within["count"], within["verdict"]) == (1, "note")


@pytest.mark.parametrize("kind", ["jpeg", "half", "noise", "brighter"])
def test_near_identical_images(tables, kind):
    original = radiograph(3)
    copy = {
        "jpeg": cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0),
        "half": cv2.resize(original, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "noise": np.clip(
            original + np.random.default_rng(0).normal(0, 4, original.shape), 0, 255
        ).astype(np.uint8),
        "brighter": (original * 0.8 + 50).astype(np.uint8),
    }[kind]
    change(tables, "i0", copy, "copy")
    found = audit(tables).loc["near_identical_images_across_splits"]
    assert (found["count"], found["verdict"]) == (2, "leak")
    assert "2 of them with a correlation" in found["detail"]
    assert "i0 in train and i3 in test" in found["detail"]


def test_hashes_that_agree_by_chance_are_noted_but_no_leak(tables):
    tables.manifest.loc[0, "phash"] = tables.manifest.loc[3, "phash"]
    table = leakage.audit(tables.manifest, tables.lungs, tables.dropped)
    found = table.set_index("check").loc["near_identical_images_across_splits"]
    assert (found["count"], found["verdict"]) == (2, "note")
    assert "0 of them with a correlation" in found["detail"]
    leakage.refuse(table)


def test_lungs_on_two_sides(tables):
    tables.lungs.loc[2, "patient_id"] = "L0"
    change(tables, "l4", radiograph(105), "105")  # l4 in val, l5 in test
    found = audit(tables)
    assert found.loc["lung_patients_across_splits", "verdict"] == "leak"
    assert found.loc["lung_identical_images_across_splits", "count"] == 2
    assert found.loc["patients_across_splits", "verdict"] == "pass"


def test_test_images_that_the_segmenter_has_seen(tables):
    change(tables, "l0", radiograph(3), "3")  # l0 trains the segmenter, i3 is a test image
    found = audit(tables).loc["test_images_seen_by_the_segmenter"]
    assert (found["count"], found["n"], found["verdict"]) == (1, 3, "leak")
    change(tables, "l0", (radiograph(3) * 0.8 + 50).astype(np.uint8), "other")
    assert audit(tables).loc["test_images_seen_by_the_segmenter", "verdict"] == "leak"
    change(tables, "l0", radiograph(0), "0")  # a training image of the classifier: no harm
    assert audit(tables).loc["test_images_seen_by_the_segmenter", "count"] == 0


@pytest.mark.parametrize("kind", [bool, str])
def test_images_without_patient(tables, kind):
    tables.manifest.loc[[1, 2], "patient_known"] = False
    tables.manifest["patient_known"] = tables.manifest["patient_known"].map(kind)
    found = audit(tables)
    unknown = found.loc["images_without_patient_id"]
    assert (unknown["count"], unknown["n"], unknown["verdict"]) == (2, 12, "note")
    # Nothing found is no proof then.
    for check in ("patients_across_splits", "shipped_patients_recurring"):
        assert found.loc[check, "verdict"] == "unknown"
        assert found.loc[check, "detail"].endswith(
            "; the patient is known for 10 of 12 images only"
        )
    assert found.loc["patients_across_splits", "n"] == 10
    assert found.loc["lung_patients_across_splits", "verdict"] == "pass"
    leakage.refuse(found.reset_index())


def test_leak_among_the_known_patients_stays_one(tables):
    tables.manifest.loc[1, "patient_known"] = False
    tables.manifest.loc[0, "patient_id"] = "P3"
    assert audit(tables).loc["patients_across_splits", "verdict"] == "leak"


def test_all_patients_unknown(tables):
    tables.manifest["patient_known"] = tables.lungs["patient_known"] = False
    found = audit(tables)
    patients = found[found["level"] == "patient"]
    assert set(patients["verdict"]) == {"unknown"} and (patients["n"] == 0).all()
    assert "known for 0 of 12 images" in patients.loc["patients_across_splits", "detail"]


def test_one_image_under_two_labels(tables):
    """i0 is x, i1 y; copies are told whatever the split they are in."""
    change(tables, "i1", radiograph(0), "0")
    change(tables, "i5", (radiograph(4) * 0.8 + 50).astype(np.uint8), "other")
    found = audit(tables)
    same = found.loc["labels_differ_of_identical_images"]
    assert (same["count"], same["n"], same["verdict"]) == (2, 12, "note")
    assert same["detail"].endswith("i0 in x, i1 in y")
    near = found.loc["labels_differ_of_near_identical_images"]
    assert (near["count"], near["verdict"]) == (2, "note")
    assert "i4 in x and i5 in y" in near["detail"]
    tables.manifest["label"] = "x"
    found = audit(tables)
    assert found.loc["labels_differ_of_identical_images", "count"] == 0
    assert found.loc["labels_differ_of_near_identical_images", "count"] == 0


def test_recurrence_between_the_shipped_folders_both_ways(tables):
    tables.dropped = pd.DataFrame(
        [
            ("d1", "P3", "y", "own", "train", "r"),  # P3 is y in the test: same class too
            ("d2", "P7", "x", "own", "train", "r"),  # P7 is y in the test: number only
            ("d3", "L2", "", "lungs", "train", "r"),  # a lung image is no shipped class
        ],
        columns=splits.DROPPED_COLUMNS,
    )
    found = audit(tables)
    by_number = found.loc["shipped_patients_recurring"]
    by_kind = found.loc["shipped_patients_recurring_same_class"]
    assert (by_number["count"], by_number["n"]) == (2, 3)
    assert by_kind["count"] == 1 and "P3 y" in by_kind["detail"]
    assert by_number["verdict"] == "note" and "2 images of theirs" in by_number["detail"]


def test_divisions_of_further_runs(tables):
    """i0 and i4 look alike: together in train first, and once apart."""
    original = radiograph(4)
    change(tables, "i0", np.clip(original.astype(int) + 1, 0, 255).astype(np.uint8), "copy")
    first = audit(tables)
    assert not first.index.str.startswith("further_runs").any()
    assert (first.filter(like="across", axis=0)["verdict"] == "pass").all()
    alike, apart = tables.manifest.copy(), tables.manifest.copy()
    apart.loc[[0, 1], "split"] = ["val", "train"]
    found = leakage.audit(tables.manifest, tables.lungs, tables.dropped, [alike, apart])
    told = found.set_index("check")
    pd.testing.assert_frame_equal(told.loc[first.index], first)
    near = told.loc["further_runs_near_identical_images_across_splits"]
    assert (near["count"], near["n"], near["verdict"]) == (2, 12, "leak")
    assert "i0 in val and i4 in train" in near["detail"]
    assert near["detail"].endswith("; this is run 2, 1 of 2 further runs have any")
    assert told.loc["further_runs_patients_across_splits", "verdict"] == "pass"
    # The same test images are not held against the segmenter's twice, those of a fold are.
    assert "further_runs_test_images_seen_by_the_segmenter" not in told.index
    with pytest.raises(
        UserError, match="further_runs_near_identical_images_across_splits: 2 of 12"
    ):
        leakage.refuse(found)
    fold = tables.manifest.copy()
    fold["split"] = fold["split"].replace({"test": "train", "train": "test"})
    tables.lungs.loc[0, "sha256"] = "4"
    told = leakage.audit(tables.manifest, tables.lungs, tables.dropped, [fold]).set_index("check")
    assert told.loc["test_images_seen_by_the_segmenter", "count"] == 0
    seen = told.loc["further_runs_test_images_seen_by_the_segmenter"]
    assert (seen["count"], seen["n"], seen["verdict"]) == (1, 3, "leak")


def test_refusal_names_the_first_leak(tables):
    tables.manifest.loc[0, "patient_id"] = "P3"
    table = leakage.audit(tables.manifest, tables.lungs, tables.dropped)
    with pytest.raises(UserError, match="strict_leakage: patients_across_splits: 1 of 11"):
        leakage.refuse(table)


@pytest.mark.parametrize("strict", [False, True])
def test_script(tables, root, strict, capsys):
    tables.manifest.loc[0, "patient_id"] = "P3"
    for table in (tables.manifest, tables.lungs):
        table["sha256"] = table["sha256"].str.zfill(64)
    for name, table in vars(tables).items():
        table.to_csv(f"{name}.csv", index=False)
    snakemake = SimpleNamespace(
        rule="leakage",
        wildcards=[],
        log=["leakage.log"],
        input=Named(
            checked="manifest.csv",
            redrawn=["manifest.csv"],
            **{name: f"{name}.csv" for name in vars(tables)},
        ),
        output=Named(table="leakage.csv", readings="readings.csv"),
        params=SimpleNamespace(strict=strict, sources=[]),
    )
    script = str(root / "workflow" / "scripts" / "leakage.py")
    if strict:
        with pytest.raises(SystemExit, match="1"):
            runpy.run_path(script, {"snakemake": snakemake})
        assert not Path("leakage.csv").exists()
        assert "strict_leakage" in Path("leakage.log").read_text()
    else:
        runpy.run_path(script, {"snakemake": snakemake})
        table = pd.read_csv("leakage.csv").set_index("check")
        assert table.loc["patients_across_splits", "count"] == 1
        assert table.loc["further_runs_patients_across_splits", "count"] == 1
        assert table.loc["images_without_patient_id", "count"] == 0


def test_hash_against_the_definition():
    """An independent computation: cosine sums by hand instead of a fast transform."""
    picture = radiograph(5, (32, 32))
    k, x = np.meshgrid(np.arange(8), np.arange(32), indexing="ij")
    cosines = np.cos(np.pi * k * (2 * x + 1) / 64)
    low = cosines @ picture.astype(float) @ cosines.T
    assert np.allclose(4 * low, scipy.fft.dctn(picture.astype(float))[:8, :8])
    bits = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
    assert likeness.perceptual_hash(picture) == f"{int(bits, 2):016x}"
    assert bits.count("1") == 32


def test_hash_of_a_constant_image():
    assert len(likeness.perceptual_hash(np.zeros((40, 40), np.uint8))) == 16


def test_near_pairs_against_counting_bits(monkeypatch):
    monkeypatch.setattr(leakage, "_ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 20)
    left = [f"{int(value):016x}" for value in base]
    right = [
        f"{int(value) ^ int(flip):016x}" for value, flip in zip(base, [0, 1, 3, 7] * 5, strict=True)
    ]
    expected = {
        (i, j, (int(a, 16) ^ int(b, 16)).bit_count())
        for i, a in enumerate(left)
        for j, b in enumerate(right)
        if (int(a, 16) ^ int(b, 16)).bit_count() <= 2
    }
    assert set(leakage.near_pairs(left, right)) == expected
    assert len(expected) == 15


def test_likeness():
    one, other = radiograph(1), radiograph(2)
    assert likeness.likeness(one, one) == pytest.approx(1)
    assert likeness.likeness(one, 255 - one) == pytest.approx(-1)
    assert likeness.likeness(one, other) == pytest.approx(likeness.likeness(other, one))
    flat = np.zeros((40, 40), np.uint8)
    assert likeness.likeness(flat, flat) == 1 and likeness.likeness(flat, one) == 0


def test_real_radiographs(shared_data, tmp_path, monkeypatch):
    """No leak in the real archives; a recompressed test image in the training is one."""
    monkeypatch.chdir(tmp_path)
    source = {"name": "own", "role": "classification", "layout": "kermany", "url": ""}
    archives.unpack(shared_data / "ChestXRay2017-mini.zip", Path("own"))
    test_file = sorted(Path("own").rglob("test/PNEUMONIA/*"))[0]
    # A part is enough, with the recorded duplicates of bacterial ones.
    for number, path in enumerate(sorted(Path("own").rglob("*.jpeg"))):
        if number % 5 and "bacteria_3" not in path.name and path != test_file:
            path.unlink()
    classes = ["normal", "bacterial", "viral"]
    ratios = {"train": 0.7, "val": 0.15, "ensemble": 0.15}

    def audited() -> pd.DataFrame:
        found = {"own": layouts.records(Path("own"), source)}
        table, _ = manifest.build(found, classes, threads=2)
        table, dropped = splits.assign(table, ratios, "shipped", "drop", 1, classes)
        lungs = table.iloc[:0]
        return leakage.audit(table, lungs, dropped).set_index("check")

    found = audited()
    assert not (found["verdict"] == "leak").any()
    assert found.loc["identical_images_within_split", "count"] == 3
    assert found.loc["shipped_patients_recurring", "count"] == 0
    copy = test_file.parents[2] / "train" / "PNEUMONIA" / "person99999_virus_1.jpeg"
    cv2.imwrite(str(copy), read_grey(test_file), [cv2.IMWRITE_JPEG_QUALITY, 60])
    found = audited()
    assert found.loc["near_identical_images_across_splits", "verdict"] == "leak"
    # The very file is worse: its two patients are then taken for one, and that one is dropped.
    copy.write_bytes(test_file.read_bytes())
    found = audited()
    assert found.loc["identical_images_across_splits", "count"] == 0
