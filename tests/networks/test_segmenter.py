"""Lung segmenters: how they are watched, and the masks that they find."""

import numpy as np
import pandas as pd
import pytest
from multiloss.losses import segmentation_loss
from multiloss.networks import prediction, segmenter
from multiloss.segmentation.masks import dice


def network(images, training):
    """An image's own values as probabilities."""
    network.traced.append(images.shape)
    return images[..., :1]


def test_validation_and_masks_share_one_graph_and_count_each_image_once() -> None:
    network.traced = []
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (5, 8, 8), np.uint8)
    masks = rng.integers(0, 2, (5, 8, 8), np.uint8)
    rows = np.array([0, 1, 3])
    loss = segmentation_loss("bce")
    run = prediction.forward(network, 2)
    validate = segmenter.validation(run, loss, images, masks, rows, batch_size=2)
    found = validate()
    assert validate() == found
    p, t = images[rows] / 255, masks[rows]
    p = np.clip(p, 1e-7, 1 - 1e-7)
    assert found["val_loss"] == pytest.approx(
        -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p)), rel=1e-4
    )
    by_hand = [dice(a, b) for a, b in zip(p >= 0.5, t > 0, strict=True)]
    assert found["val_dice"] == pytest.approx(np.mean(by_hand))

    lungs = pd.DataFrame({"image_id": list("abcde"), "height": 8, "width": 8})
    predicted = dict(segmenter.predicted_masks(run, images, lungs, np.array([4, 1, 2]), 2))
    assert list(predicted) == ["e", "b", "c"]
    for image_id, row in zip("ebc", (4, 1, 2), strict=True):
        np.testing.assert_array_equal(predicted[image_id], images[row] >= 128)
    assert network.traced == [(2, 8, 8, 3)]


def test_masks_are_found_at_the_size_of_each_image() -> None:
    images = np.zeros((2, 4, 4), np.uint8)
    images[0, :, 2:], images[1, 2:] = 255, 255
    lungs = pd.DataFrame({"image_id": ["wide", "high"], "height": [8, 40], "width": [24, 4]})
    run = lambda batch: batch[..., None] / np.float32(255)  # noqa: E731
    found = dict(segmenter.predicted_masks(run, images, lungs, np.arange(2), 8))
    wide, high = np.zeros((8, 24), bool), np.zeros((40, 4), bool)
    wide[:, 12:], high[20:] = True, True
    np.testing.assert_array_equal(found["wide"], wide)
    np.testing.assert_array_equal(found["high"], high)
