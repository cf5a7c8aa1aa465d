"""Temperature, prior correction, operating points and reliability bins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import calibration, metrics
from sklearn.metrics import log_loss


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(seed: int, sharp: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(scores), and probabilities that are `sharp` times too sure."""
    rng = np.random.default_rng(seed)
    scores = 1.5 * rng.normal(size=(n, 3))
    y = (softmax(scores).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return y, softmax(sharp * scores)


def test_temperature_finds_how_much_too_sure() -> None:
    for sharp in (0.5, 1.0, 2.5):
        y, p = drawn(1, sharp)
        assert calibration.fit_temperature(y, p) == pytest.approx(sharp, rel=0.08)


def test_temperature_is_the_minimum_and_keeps_the_order() -> None:
    y, p = drawn(2, 2.0, n=300)
    best = calibration.fit_temperature(y, p)
    losses = {t: log_loss(y, calibration.apply_temperature(p, t)) for t in (best, 1.0, 1.5, 4.0)}
    assert losses[best] == min(losses.values())
    # A finer look around the minimum finds nothing better.
    for factor in (0.99, 1.01):
        assert log_loss(y, calibration.apply_temperature(p, best * factor)) > losses[best]
    scaled = calibration.apply_temperature(p, best)
    assert np.array_equal(scaled.argmax(axis=1), p.argmax(axis=1))
    assert scaled.sum(axis=1) == pytest.approx(1)
    assert calibration.apply_temperature(p, 1.0) == pytest.approx(p)


def test_temperature_at_the_edges() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    low, high = calibration.TEMPERATURES
    assert calibration.fit_temperature([0, 1], p) == pytest.approx(low)  # all right: surer still
    assert calibration.fit_temperature([1, 0], p) == pytest.approx(high)  # all wrong
    assert calibration.fit_temperature([0, 1], np.full((2, 2), 0.5)) == 1.0
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert np.isfinite(calibration.apply_temperature(certain, 2.0)).all()


def test_prior_correction_by_hand_and_back() -> None:
    p = np.array([[0.5, 0.3, 0.2]])
    uniform, target = np.full(3, 1 / 3), np.array([0.2, 0.2, 0.6])
    corrected = calibration.adjust_to_prevalence(p, uniform, target)
    assert corrected[0] == pytest.approx(np.array([0.10, 0.06, 0.12]) / 0.28)
    assert calibration.adjust_to_prevalence(corrected, target, uniform) == pytest.approx(p)
    assert calibration.adjust_to_prevalence(p, target, target) == pytest.approx(p)
    assert np.isfinite(calibration.adjust_to_prevalence(p, [0.5, 0.5, 0.0], target)).all()


def test_youden_by_hand() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.2])
    positive = np.array([1, 1, 0, 1, 0, 0], bool)
    point = calibration.choose_threshold(positive, score, "youden")
    # Calling two: 2/3 + 1; calling four: 1 + 2/3. Ties go to the higher threshold.
    assert point.value == pytest.approx(0.75)
    assert (point.sensitivity, point.specificity) == (pytest.approx(2 / 3), 1.0)


def test_thresholds_for_a_wanted_rate() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.2])
    positive = np.array([1, 1, 0, 1, 0, 0], bool)
    sensitive = calibration.choose_threshold(positive, score, "sensitivity_90")
    assert (sensitive.value, sensitive.sensitivity) == (pytest.approx(0.35), 1.0)
    specific = calibration.choose_threshold(positive, score, "specificity_95")
    assert (specific.value, specific.specificity) == (pytest.approx(0.75), 1.0)
    nothing = calibration.choose_threshold([False, True], [0.9, 0.1], "specificity_95")
    assert nothing.value > 0.9 and nothing.sensitivity == 0.0
    with pytest.raises(ValueError, match="unknown rule"):
        calibration.choose_threshold(positive, score, "best")


def test_no_threshold_without_both_sides() -> None:
    for labels, why in (([True, True], "all images"), ([False, False], "no image")):
        point = calibration.choose_threshold(labels, [0.1, 0.9], "youden")
        assert np.isnan(point.value) and why in point.reason


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["youden", "sensitivity_90"]))
def test_stated_rates_are_those_of_the_threshold(seed: int, rule: str) -> None:
    rng = np.random.default_rng(seed)
    positive = np.r_[True, False, rng.random(30) < 0.4]
    score = np.round(rng.random(32), 1)
    point = calibration.choose_threshold(positive, score, rule)
    called = score >= point.value
    assert point.sensitivity == pytest.approx(called[positive].mean())
    assert point.specificity == pytest.approx(1 - called[~positive].mean())
    if rule == "youden":
        for other in np.r_[score, 2.0]:
            rates = (score >= other)[positive].mean() - (score >= other)[~positive].mean()
            assert rates <= point.sensitivity + point.specificity - 1 + 1e-12


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), bins=st.integers(2, 9))
def test_reliability_bins_add_up_to_the_calibration_error(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.round(rng.dirichlet([1, 1, 1], 41), 1) + 0.1
    p /= p.sum(axis=1, keepdims=True)
    sample = metrics.Sample(rng.integers(0, 3, 41), p, bins=bins)
    curve = calibration.reliability_bins(sample, rng.integers(0, 20, 41), 0.95)
    assert curve["n"].sum() == 41
    error = (curve["n"] * (curve["accuracy"] - curve["confidence"]).abs()).sum() / 41
    assert error == pytest.approx(metrics.compute_many(["ece"], sample)[0, 0])
    assert (curve["confidence"].diff().dropna() >= -1e-12).all()
    assert (curve["ci_low"] <= curve["accuracy"] + 1e-12).all()
    assert (curve["accuracy"] <= curve["ci_high"] + 1e-12).all()
