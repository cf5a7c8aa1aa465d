"""The five segmentation losses: values by hand, limits, gradients, independence of images."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from multiloss.job.errors import UserError
from multiloss.losses import SEGMENTATION_LOSSES, catalog, segmentation_loss

FIVE = ["bce", "bce_dice", "focal", "tversky", "focal_tversky"]
RATIOS = ["tversky", "focal_tversky"]

# One image of four pixels, two of them lung: TP 0.9 + 0.6, FN 0.1 + 0.4, FP 0.2 + 0.1.
Y = np.array([1, 1, 0, 0], np.float32).reshape(1, 2, 2, 1)
P = np.array([0.9, 0.6, 0.2, 0.1], np.float32).reshape(1, 2, 2, 1)
LN = math.log
BCE = -(LN(0.9) + LN(0.6) + LN(0.8) + LN(0.9)) / 4
DICE = (2 * 1.5 + 1) / (2 + 1.8 + 1)
TI = (1.5 + 1) / (1.5 + 0.7 * 0.5 + 0.3 * 0.3 + 1)
BY_HAND = {
    "bce": BCE,
    "bce_dice": BCE + 1 - DICE,
    "focal": -(
        0.25 * (0.1**2 * LN(0.9) + 0.4**2 * LN(0.6)) + 0.75 * (0.2**2 * LN(0.8) + 0.1**2 * LN(0.9))
    )
    / 4,
    "tversky": 1 - TI,
    "focal_tversky": (1 - TI) ** 0.75,
}


def value(loss, y=Y, p=P, weights=None) -> float:
    return float(loss(y, p, sample_weight=weights))


def gradient(loss, y, p) -> np.ndarray:
    with tf.GradientTape() as tape:
        variable = tf.Variable(p)
        result = loss(y, variable)
    return tape.gradient(result, variable).numpy()


@pytest.fixture(scope="module")
def random_masks() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    y = (rng.random((3, 5, 4, 1)) < 0.4).astype(np.float32)
    return y, rng.uniform(0.02, 0.98, y.shape).astype(np.float32)


def test_every_loss_has_a_value_by_hand():
    assert set(SEGMENTATION_LOSSES) == set(BY_HAND)
    assert [name for name in SEGMENTATION_LOSSES if name in FIVE] == FIVE


@pytest.mark.parametrize("name", BY_HAND)
def test_values_by_hand(name):
    assert value(segmentation_loss(name)) == pytest.approx(BY_HAND[name], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("bce_dice", {"bce_weight": 0}, 1 - DICE),
        ("bce_dice", {"dice_weight": 0}, BCE),
        ("bce_dice", {"bce_weight": 2, "dice_weight": 3}, 2 * BCE + 3 * (1 - DICE)),
        ("focal", {"gamma": 0, "alpha": 0.5}, BCE / 2),
        ("focal_tversky", {"gamma": 1}, 1 - TI),
        ("tversky", {"alpha": 0.7, "beta": 0.3}, 1 - TI),
        ("tversky", {"alpha": 1, "beta": 1}, 1 - 2.5 / (1.5 + 0.5 + 0.3 + 1)),
        ("tversky", {"alpha": 0.2}, 1 - 2.5 / (1.5 + 0.2 * 0.5 + 0.8 * 0.3 + 1)),
    ],
)
def test_parameters_by_hand(name, parameters, expected):
    assert value(segmentation_loss(name, **parameters)) == pytest.approx(expected, rel=1e-5)


def test_tversky_with_equal_halves_is_dice(random_masks):
    y, p = random_masks
    tversky = segmentation_loss("tversky", alpha=0.5, beta=0.5, smoothing=1)
    dice = segmentation_loss("bce_dice", bce_weight=0, smoothing=2)
    assert value(tversky, y, p) == pytest.approx(value(dice, y, p), rel=1e-6)


def test_agrees_with_keras(random_masks):
    y, p = random_masks
    assert value(segmentation_loss("bce"), y, p) == pytest.approx(
        float(keras.losses.BinaryCrossentropy()(y, p)), rel=1e-5
    )
    focal = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=0.25, gamma=2.0)
    assert value(segmentation_loss("focal"), y, p) == pytest.approx(float(focal(y, p)), rel=1e-5)


def independent(name, y, p) -> float:
    """The formulas with the published defaults, image by image in double precision."""
    results = []
    for mask, q in zip(y.astype(float), p.astype(float), strict=True):
        mask, q = mask.ravel(), q.ravel()
        bce = np.mean([-LN(b) if a else -LN(1 - b) for a, b in zip(mask, q, strict=True)])
        if name == "bce":
            results.append(bce)
        elif name == "bce_dice":
            results.append(bce + 1 - (2 * mask @ q + 1) / (mask.sum() + q.sum() + 1))
        elif name == "focal":
            terms = [
                -0.25 * (1 - b) ** 2 * LN(b) if a else -0.75 * b**2 * LN(1 - b)
                for a, b in zip(mask, q, strict=True)
            ]
            results.append(np.mean(terms))
        else:
            hit, missed, false = mask @ q, mask @ (1 - q), (1 - mask) @ q
            index = (hit + 1) / (hit + 0.7 * missed + 0.3 * false + 1)
            results.append((1 - index) ** (0.75 if name == "focal_tversky" else 1))
    return float(np.mean(results))


@given(
    p=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.just(1)),
        elements=st.floats(0.0009765625, 0.9990234375, width=32),
    ),
    name=st.sampled_from(FIVE),
    seed=st.integers(0, 10),
)
@settings(max_examples=50, deadline=None)
def test_agrees_with_the_independent_formulas(p, name, seed):
    y = (np.random.default_rng(seed).random(p.shape) < 0.5).astype(np.float32)
    result = value(segmentation_loss(name), y, p)
    assert result == pytest.approx(independent(name, y, p), rel=1e-4, abs=1e-6)
    assert result >= 0
    flipped = value(segmentation_loss(name), y[:, ::-1], p[:, ::-1])
    assert flipped == pytest.approx(result, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", FIVE)
def test_gradient_is_that_of_finite_differences(name, random_masks):
    y, p = (array[:2, :2, :3].astype(np.float64) for array in random_masks)
    numeric = np.empty_like(p)
    for index in np.ndindex(p.shape):
        step = np.zeros_like(p)
        step[index] = 1e-6
        numeric[index] = (independent(name, y, p + step) - independent(name, y, p - step)) / 2e-6
    exact = gradient(segmentation_loss(name), y, p.astype(np.float32))
    np.testing.assert_allclose(exact, numeric, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", FIVE)
def test_every_image_counts_for_itself(name, random_masks):
    y, p = random_masks
    loss = segmentation_loss(name)
    together = loss.call(y, p).numpy()
    alone = [value(loss, y[i : i + 1], p[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    weights = np.array([1.0, 0.0, 5.0], np.float32)
    assert value(loss, y, p, weights) == pytest.approx((alone[0] + 5 * alone[2]) / 3, rel=1e-5)


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize("content", [0.0, 1.0, "mixed"])
def test_perfect_prediction_is_zero_with_finite_gradient(name, content):
    y = np.zeros((1, 128, 128, 1), np.float32)
    if content == "mixed":
        y[:, :64] = 1
    else:
        y += content
    loss = segmentation_loss(name)
    # The gap of 1e-7 that the clip leaves is all that remains of a logarithm.
    assert value(loss, y, y) == pytest.approx(0, abs=2e-7)
    assert np.isfinite(gradient(loss, y, y)).all()


@pytest.mark.parametrize("exponent", range(1, 9))
def test_gradient_of_focal_tversky_stays_finite_on_the_way_to_a_perfect_overlap(exponent):
    y = np.ones((1, 8, 8, 1), np.float32)
    p = (y - np.float32(10.0**-exponent)).astype(np.float32)
    steps = gradient(segmentation_loss("focal_tversky"), y, p)
    assert np.isfinite(steps).all()
    assert np.abs(steps).max() < 1


@pytest.mark.parametrize("name", FIVE)
def test_opposite_prediction_is_finite(name):
    loss = segmentation_loss(name)
    assert np.isfinite(value(loss, Y, 1 - Y))
    assert value(loss, Y, 1 - Y) > value(loss, Y, P)
    assert np.isfinite(gradient(loss, Y, 1 - Y)).all()


@pytest.mark.parametrize("name", RATIOS)
def test_missed_lung_costs_more_than_false_lung(name):
    missed, false = Y.copy(), Y.copy()
    missed[0, 0, 0] = 0
    false[0, 1, 1] = 1
    loss = segmentation_loss(name)
    assert value(loss, Y, missed) > value(loss, Y, false)


@pytest.mark.parametrize("name", FIVE)
def test_graph_mode_equals_eager_mode_with_unknown_sizes(name, random_masks):
    y, p = random_masks
    loss = segmentation_loss(name)
    spec = tf.TensorSpec((None, None, None, 1), tf.float32)
    graph = tf.function(lambda a, b: loss(a, b), input_signature=[spec, spec])
    assert float(graph(y, p)) == pytest.approx(value(loss, y, p), rel=1e-6)


@pytest.mark.parametrize("name", FIVE)
def test_half_precision_is_computed_in_single_precision(name):
    # 256 x 256 lung pixels: their count overflows float16.
    y = np.ones((1, 256, 256, 1), np.uint8)
    p = np.full(y.shape, 0.5, np.float16)
    loss = segmentation_loss(name)
    result = loss(y, tf.constant(p))
    assert result.dtype == tf.float32
    assert float(result) == pytest.approx(value(loss, y, p.astype(np.float32)), rel=1e-6)


@pytest.mark.parametrize("name", FIVE)
def test_survives_being_stored(name):
    loss = segmentation_loss(name, **{key: 0.4 for key in catalog("segmentation")[name]})
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is SEGMENTATION_LOSSES[name]
    assert again.get_config() == loss.get_config()
    assert value(again) == value(loss)


@pytest.mark.parametrize(
    ("y", "p"), [(Y[..., 0], P[..., 0]), (Y, P[:, :1]), (np.ones((1, 2, 2, 2)),) * 2]
)
def test_wrong_shapes_are_refused(y, p):
    for name in FIVE:
        with pytest.raises(ValueError, match=f"segmentation loss '{name}' expects masks"):
            segmentation_loss(name)(y, p)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("dice", {}, "unknown segmentation loss 'dice'.*: it is one of bce, bce_dice"),
        ("tversky", {"gamma": 1}, "'tversky' has no parameter 'gamma'.*alpha, beta, smoothing"),
        ("tversky", {"alpha": 1.5}, r"'alpha' .* is 1.5: it must be a number in \[0, 1\]"),
        ("bce_dice", {"smoothing": 0}, "'smoothing' .* is 0: it must be a number above 0"),
    ],
)
def test_wrong_names_and_values_are_told_in_one_line(name, parameters, message):
    with pytest.raises(UserError, match=message):
        segmentation_loss(name, **parameters)
