"""Scores of masks by hand, the choice of segmenters, AND, and masks as they are kept."""

import shutil

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss.data.images import write_png
from multiloss.evaluation import segmentation_scores
from multiloss.job.errors import UserError
from multiloss.segmentation import masks, scores


def test_dice_and_iou_by_hand():
    a = np.array([[1, 1, 0], [0, 0, 0]], bool)
    b = np.array([[1, 0, 0], [1, 0, 0]], bool)
    assert masks.dice(a, b) == pytest.approx(2 * 1 / 4)
    assert masks.iou(a, b) == pytest.approx(1 / 3)
    assert masks.dice(a, a) == masks.iou(a, a) == 1.0
    empty = np.zeros_like(a)
    assert masks.dice(empty, empty) == masks.iou(empty, empty) == 1.0
    assert masks.dice(a, empty) == masks.iou(a, empty) == 0.0


def test_iou_follows_from_dice():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 20, 20)) < 0.4
    d = masks.dice(a, b)
    assert masks.iou(a, b) == pytest.approx(d / (2 - d))


def test_and_is_lung_only_where_all_agree():
    found = [np.array([True, True, False]), np.array([True, False, False]), np.ones(3, bool)]
    np.testing.assert_array_equal(masks.combine_by_and(found), [True, False, False])


def test_probabilities_are_enlarged_before_they_are_cut():
    probability = np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(masks.mask_at(probability, 1, 4), [[False, False, True, True]])


def table_of(**dice_of):
    rows = []
    for loss, values in dice_of.items():
        for split, patients in (("val", "abc"), ("test", "xyz")):
            for patient, value in zip(patients, values[split], strict=True):
                rows.append((loss, split, patient, value, value / (2 - value)))
    return pd.DataFrame(rows, columns=["loss", "split", "patient_id", "dice", "iou"])


def test_choice_looks_at_validation_images_only():
    table = table_of(
        bce={"val": [0.5, 0.5, 0.5], "test": [1, 1, 1]},
        focal={"val": [0.75, 0.75, 0.75], "test": [0, 0, 0]},
        tversky={"val": [0.5, 0.75, 1.0], "test": [0, 0, 0]},
    )
    # Equal means stay in the order of the config.
    chosen = scores.choose(table, ["bce", "focal", "tversky"], 2)
    assert chosen["loss"].tolist() == ["focal", "tversky"]
    assert chosen["score"].tolist() == [0.75, 0.75]
    chosen = scores.choose(table, ["bce", "tversky", "focal"], 2)
    assert chosen["loss"].tolist() == ["tversky", "focal"]


def test_summary_by_hand():
    table = table_of(bce={"val": [0.5, 0.7, 0.9], "test": [0.6, 0.6, 0.6]})
    summary = segmentation_scores.summarise(table, ["bce"], ["bce"], 500, seed=1, confidence=0.95)
    summary = summary.set_index("split")
    assert summary.loc["val", "dice"] == pytest.approx(0.7)
    assert summary.loc["val", "dice_sd"] == pytest.approx(0.2)
    assert summary.loc["val", "dice_ci_low"] < 0.7 < summary.loc["val", "dice_ci_high"]
    assert summary.loc["val", "dice_ci_low"] >= 0.5
    assert summary.loc["test", "dice_ci_low"] == pytest.approx(0.6)
    assert list(summary["n"]) == [3, 3] and summary["selected"].all()


def test_failed_segmenters_come_last_in_the_summary():
    table = table_of(bce={"val": [0.5, 0.7, 0.9], "test": [0.6, 0.6, 0.6]})
    summary = segmentation_scores.summarise(table, ["focal", "bce"], ["bce"], 10, 1, 0.95)
    assert list(zip(summary["loss"], summary["split"], summary["n"], strict=True)) == [
        ("bce", "val", 3),
        ("bce", "test", 3),
        ("focal", "val", 0),
        ("focal", "test", 0),
    ]
    assert summary["dice"].isna().tolist() == [False, False, True, True]
    assert summary["selected"].tolist() == [True, True, False, False]


def test_cases_are_the_best_the_median_and_the_worst_of_the_test_images():
    dice_of = {"a": 0.9, "b": 0.5, "c": 0.9, "d": 0.1, "e": 0.7}
    table = pd.DataFrame(
        [("and_top2", "test", name, dice, row) for row, (name, dice) in enumerate(dice_of.items())]
        + [("and_top2", "val", "v", 1.0, 7), ("bce", "test", "a", 1.0, 0)],
        columns=["loss", "split", "image_id", "dice", "row"],
    )
    found = scores.cases(table, scores.name_of_and(["bce", "focal"]), 2)
    # Best first: a, c (equal, by image_id), e, b, d.
    assert found.to_dict("list") == {
        "case": ["best", "best", "median", "median", "worst", "worst"],
        "image_id": ["a", "c", "e", "b", "d", "b"],
        "dice": [0.9, 0.9, 0.7, 0.5, 0.1, 0.5],
        "index": [0, 1, 2, 3, 4, 5],
        "row": [0, 2, 4, 1, 3, 1],
    }
    one = scores.cases(table[table["image_id"] == "b"], "and_top2", 2)
    assert one["case"].tolist() == ["best", "median", "worst"]


def test_masks_come_back_as_they_were_written(tmp_path):
    rng = np.random.default_rng(5)
    written = {name: rng.random((7, width)) < 0.5 for name, width in (("a.b", 8), ("ü", 13))}
    masks.write_masks(written.items(), tmp_path / "one.npz")
    stored = masks.StoredMasks(tmp_path / "one.npz")
    assert len(stored) == 2
    for name, mask in written.items():
        found = stored(name, mask.shape[1])
        assert found.dtype == bool
        np.testing.assert_array_equal(found, mask)
    shutil.copy(tmp_path / "one.npz", tmp_path / "two.npz")
    masks.write_masks(written.items(), tmp_path / "one.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_masks_are_written_whole_or_not_at_all(tmp_path):
    def failing():
        yield "a", np.ones((2, 2), bool)
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        masks.write_masks(failing(), tmp_path / "masks.npz")
    assert list(tmp_path.iterdir()) == []


SIZE = 8


@pytest.fixture
def scored(root, tmp_path, monkeypatch):
    """Runs the rule's script on six images whose lungs are the columns 2 to 5, with segmenters
    that find some of the columns in all val and in all test images; None: it failed."""
    truth = np.zeros((SIZE, SIZE), bool)
    truth[:, 2:6] = True
    write_png(truth, tmp_path / "mask.png")
    write_png(np.full((SIZE, SIZE), 7, np.uint8), tmp_path / "image.png")
    rows = [("train", "a"), ("test", "d"), ("val", "b"), ("test", "e"), ("val", "c"), ("test", "f")]
    lungs = pd.DataFrame(rows, columns=["split", "image_id"]).assign(
        path=tmp_path / "image.png", patient_id="p", width=SIZE, height=SIZE, bits=8,
        sha256="0" * 64, mask_paths=tmp_path / "mask.png",
    )  # fmt: skip
    lungs.to_csv(tmp_path / "lungs.csv", index=False)

    def run(**found):
        files = {"lungs": tmp_path / "lungs.csv"}
        for loss, columns in found.items():
            files[f"{loss}.masks"] = tmp_path / f"{loss}.masks.npz"
            files[f"{loss}.encoder"] = tmp_path / f"{loss}.encoder.keras"
            files[f"{loss}.encoder"].write_text(loss)
            predicted = {}
            for split, image_id in rows if columns else []:
                if split != "train":
                    predicted[image_id] = np.zeros((SIZE, SIZE), bool)
                    predicted[image_id][:, columns[split]] = True
            masks.write_masks(predicted.items(), files[f"{loss}.masks"])
        outputs = {
            name: tmp_path / f"{name}.out"
            for name in ("chosen", "encoder", "per_image", "examples", "example_arrays")
        }
        outputs["example_arrays"] = tmp_path / "examples.npz"
        params = {"losses": list(found), "ensemble_size": 2, "examples": 1}
        simulated.run_script(
            root, monkeypatch, "score_segmenters", input=files, output=outputs, params=params
        )
        return outputs

    return run


def test_the_best_on_validation_images_are_chosen_and_combined(scored):
    outputs = scored(
        bce={"val": [2], "test": [2, 3, 4, 5]},  # Dice 2 * 1 / (1 + 4) = 0.4
        failed=None,
        focal={"val": [2, 3, 4, 5], "test": [1, 2, 3]},
        tversky={"val": [4, 5], "test": [3, 4, 5, 6]},  # Dice 2 * 2 / (2 + 4)
    )
    chosen = pd.read_csv(outputs["chosen"])
    assert chosen["loss"].tolist() == ["focal", "tversky"]
    assert chosen["score"].tolist() == pytest.approx([1.0, 2 / 3])
    assert outputs["encoder"].read_text() == "focal"

    per_image = pd.read_csv(outputs["per_image"])
    assert per_image["image_id"].drop_duplicates().tolist() == list("bcdef")
    assert per_image["loss"].tolist() == ["bce", "focal", "tversky", "and_top2"] * 5
    dice = per_image.groupby(["split", "loss"])["dice"].agg(["min", "max"])
    assert (dice["min"] == dice["max"]).all()
    expected = {
        ("val", "bce"): 0.4, ("val", "focal"): 1, ("val", "tversky"): 2 / 3,
        ("val", "and_top2"): 2 / 3, ("test", "bce"): 1, ("test", "focal"): 4 / 7,
        ("test", "tversky"): 0.75, ("test", "and_top2"): 0.4,  # column 3 alone
    }  # fmt: skip
    assert dice["min"].to_dict() == pytest.approx(expected)
    # IoU = Dice / (2 - Dice).
    np.testing.assert_allclose(per_image["iou"], per_image["dice"] / (2 - per_image["dice"]))

    examples = pd.read_csv(outputs["examples"])
    assert examples["image_id"].tolist() == ["d", "e", "f"]
    arrays = np.load(outputs["example_arrays"])
    assert (arrays["image_1"] == 7).all()
    assert arrays["truth_1"].any(axis=0).nonzero()[0].tolist() == [2, 3, 4, 5]
    assert arrays["prediction_1"].any(axis=0).nonzero()[0].tolist() == [3]


def test_fewer_segmenters_than_are_combined_are_all_chosen(scored):
    outputs = scored(bce=None, focal={"val": [2], "test": [2]})
    assert pd.read_csv(outputs["chosen"])["loss"].tolist() == ["focal"]
    assert set(pd.read_csv(outputs["per_image"])["loss"]) == {"focal", "and_top1"}


def test_without_a_trained_segmenter_the_study_ends(scored):
    with pytest.raises(UserError, match="the training of every segmenter failed"):
        scored(bce=None, focal=None)
