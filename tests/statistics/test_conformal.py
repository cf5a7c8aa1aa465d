"""Sets of classes: hand-computed limits, the usual rule as a special case, coverage on average."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import conformal


def test_limits_by_hand() -> None:
    """Nine patients of class 0 and coverage 0.8: the eighth of ten places."""
    p0 = np.array([0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.5, 0.4, 0.1])
    p = np.stack([p0, 1 - p0], axis=1)
    limits, counts = conformal.class_limits(p, np.zeros(9, int), np.arange(9), 0.8)
    # Class 1 has no patient: in every set.
    assert limits.tolist() == [0.4, 0.0] and counts.tolist() == [9, 0]
    assert conformal.class_limits(p, np.zeros(9, int), np.arange(9), 0.9)[0][0] == 0.1
    # One patient too few for 0.95, which takes 19.
    assert conformal.class_limits(p, np.zeros(9, int), np.arange(9), 0.95)[0][0] == 0.0
    many = np.full((19, 2), 0.5)
    assert conformal.class_limits(many, np.zeros(19, int), np.arange(19), 0.95)[0][0] == 0.5
    assert conformal.class_limits(many[:18], np.zeros(18, int), np.arange(18), 0.95)[0][0] == 0.0


def test_a_patient_counts_once_however_many_images() -> None:
    """Three patients, one with four images: places 1/4 each, his images 1/16."""
    p = np.array([[0.9], [0.8], [0.3], [0.25], [0.2], [0.1]])
    patients = np.array(["a", "b", "c", "c", "c", "c"])
    limit = [
        conformal.class_limits(p, np.zeros(6, int), patients, coverage)[0][0]
        for coverage in (0.25, 0.5, 0.5625, 0.75, 0.76)
    ]
    assert limit == [0.9, 0.8, 0.3, 0.1, 0.0]
    assert conformal.image_shares(patients).tolist() == [1, 1, 0.25, 0.25, 0.25, 0.25]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 0.8, 0.9]))
def test_with_one_image_a_patient_it_is_the_usual_rule(seed: int, coverage: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    y, p = rng.integers(0, 2, n), rng.random((n, 2))
    limits, counts = conformal.class_limits(p, y, np.arange(n), coverage)
    for k in range(2):
        score = np.sort(1 - p[y == k, k])
        place = int(np.ceil((len(score) + 1) * coverage - 1e-9))
        wanted = 1 - score[place - 1] if place <= len(score) else 0.0
        assert limits[k] == pytest.approx(wanted) and counts[k] == len(score)
    # Neither the order of the images nor copies of a patient's images change a limit.
    order = rng.permutation(n)
    assert np.array_equal(conformal.class_limits(p[order], y[order], order, coverage)[0], limits)
    twice = np.repeat(np.arange(n), 2)
    np.testing.assert_array_equal(
        conformal.class_limits(p[twice], y[twice], twice, coverage)[0], limits
    )


def test_coverage_of_a_rare_class_on_average() -> None:
    """19 patients: the sets hold a new one with a probability of 18/20 exactly."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        p = rng.random((20, 1))
        limits, _ = conformal.class_limits(p[:19], np.zeros(19, int), np.arange(19), 0.9)
        found.append(bool(conformal.prediction_sets(p[19:], limits)[0, 0]))
    assert np.mean(found) == pytest.approx(0.9, abs=0.015)


def test_confidence_limits() -> None:
    top = np.array([0.9, 0.5, 0.7, 0.6])
    p = np.stack([top, 1 - top], axis=1)
    assert conformal.confidence_limits(p, [0.25, 0.5, 0.6, 1.0]).tolist() == [0.9, 0.7, 0.6, 0.0]
