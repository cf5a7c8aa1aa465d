"""Boxes and crops by hand, and what holds for any mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from multiloss.crops import Box, bounding_box, crop


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
