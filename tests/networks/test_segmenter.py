"""Scores of masks by hand, the choice of segmenters, and AND."""

import numpy as np
import pandas as pd
import pytest
from multiloss.evaluation import segmentation_scores
from multiloss.losses import segmentation_loss
from multiloss.networks import segmenter


def test_dice_and_iou_by_hand():
    a = np.array([[1, 1, 0], [0, 0, 0]], bool)
    b = np.array([[1, 0, 0], [1, 0, 0]], bool)
    assert segmenter.dice(a, b) == pytest.approx(2 * 1 / 4)
    assert segmenter.iou(a, b) == pytest.approx(1 / 3)
    assert segmenter.dice(a, a) == segmenter.iou(a, a) == 1.0
    empty = np.zeros_like(a)
    assert segmenter.dice(empty, empty) == segmenter.iou(empty, empty) == 1.0
    assert segmenter.dice(a, empty) == segmenter.iou(a, empty) == 0.0


def test_iou_follows_from_dice():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 20, 20)) < 0.4
    d = segmenter.dice(a, b)
    assert segmenter.iou(a, b) == pytest.approx(d / (2 - d))


def test_and_is_lung_only_where_all_agree():
    masks = [np.array([True, True, False]), np.array([True, False, False]), np.ones(3, bool)]
    np.testing.assert_array_equal(segmenter.combine_by_and(masks), [True, False, False])


def test_probabilities_are_enlarged_before_they_are_cut():
    probability = np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(
        segmenter.mask_at(probability, 1, 4), [[False, False, True, True]]
    )


def scores(**dice_of):
    rows = []
    for loss, values in dice_of.items():
        for split, patients in (("val", "abc"), ("test", "xyz")):
            for patient, value in zip(patients, values[split], strict=True):
                rows.append((loss, split, patient, value, value / (2 - value)))
    return pd.DataFrame(rows, columns=["loss", "split", "patient_id", "dice", "iou"])


def test_choice_looks_at_validation_images_only():
    table = scores(
        bce={"val": [0.5, 0.5, 0.5], "test": [1, 1, 1]},
        focal={"val": [0.75, 0.75, 0.75], "test": [0, 0, 0]},
        tversky={"val": [0.5, 0.75, 1.0], "test": [0, 0, 0]},
    )
    # Equal means stay in the order of the config.
    chosen = segmenter.choose(table, ["bce", "focal", "tversky"], 2)
    assert chosen["loss"].tolist() == ["focal", "tversky"]
    assert chosen["score"].tolist() == [0.75, 0.75]
    chosen = segmenter.choose(table, ["bce", "tversky", "focal"], 2)
    assert chosen["loss"].tolist() == ["tversky", "focal"]


def test_summary_by_hand():
    table = scores(bce={"val": [0.5, 0.7, 0.9], "test": [0.6, 0.6, 0.6]})
    summary = segmentation_scores.summarise(table, ["bce"], ["bce"], 500, seed=1, confidence=0.95)
    summary = summary.set_index("split")
    assert summary.loc["val", "dice"] == pytest.approx(0.7)
    assert summary.loc["val", "dice_sd"] == pytest.approx(0.2)
    assert summary.loc["val", "dice_ci_low"] < 0.7 < summary.loc["val", "dice_ci_high"]
    assert summary.loc["val", "dice_ci_low"] >= 0.5
    assert summary.loc["test", "dice_ci_low"] == pytest.approx(0.6)
    assert list(summary["n"]) == [3, 3] and summary["selected"].all()


def test_failed_segmenters_come_last_in_the_summary():
    table = scores(bce={"val": [0.5, 0.7, 0.9], "test": [0.6, 0.6, 0.6]})
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
    found = segmenter.cases(table, segmenter.name_of_and(["bce", "focal"]), 2)
    # Best first: a, c (equal, by image_id), e, b, d.
    assert found.to_dict("list") == {
        "case": ["best", "best", "median", "median", "worst", "worst"],
        "image_id": ["a", "c", "e", "b", "d", "b"],
        "dice": [0.9, 0.9, 0.7, 0.5, 0.1, 0.5],
        "index": [0, 1, 2, 3, 4, 5],
        "row": [0, 2, 4, 1, 3, 1],
    }
    one = segmenter.cases(table[table["image_id"] == "b"], "and_top2", 2)
    assert one["case"].tolist() == ["best", "median", "worst"]


def test_validation_traces_the_network_once_and_counts_each_image_once() -> None:
    traced = []

    def network(images, training):
        """An image's own values as probabilities."""
        traced.append(images.shape)
        return images[..., :1]

    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (5, 8, 8), np.uint8)
    masks = rng.integers(0, 2, (5, 8, 8), np.uint8)
    rows = np.array([0, 1, 3])
    loss = segmentation_loss("bce")
    validate = segmenter.validation(network, loss, images, masks, rows, batch_size=2)
    found = validate()
    assert validate() == found and traced == [(2, 8, 8, 3)]
    p, t = images[rows] / 255, masks[rows]
    p = np.clip(p, 1e-7, 1 - 1e-7)
    assert found["val_loss"] == pytest.approx(
        -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p)), rel=1e-4
    )
    by_hand = [segmenter.dice(a, b) for a, b in zip(p >= 0.5, t > 0, strict=True)]
    assert found["val_dice"] == pytest.approx(np.mean(by_hand))
