"""Exchange of many pairs by the same draws: max-T by hand, intervals by explicit inversion."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import metrics, paired
from multiloss.statistics.permutation import Exchanged, exchange, permutations_needed
from sklearn import metrics as reference


def family(
    seed: int, n: int = 40, patients: int = 12, models: int = 4, skill: float = 0.6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    predicted = np.where(rng.random((models, n)) < skill, y, rng.integers(0, 3, (models, n)))
    return y, predicted, rng.integers(0, patients, n)


def made(observed: list[float], drawn: list[list[float]], exact: bool = True) -> Exchanged:
    values = np.array(drawn, float)
    return Exchanged(
        np.array(observed),
        values,
        np.zeros(len(values)),
        exact,
        len(values),
        np.ones(len(observed), int),
    )


def test_max_t_by_hand() -> None:
    """Two pairs, four exchanges; T is d over its root mean square."""
    found = made([3.0, 2.0], [[3, 2], [-3, -2], [1, 2], [-1, -2]])
    scale = np.sqrt(5)
    assert found.p_values() == pytest.approx([2 / 4, 4 / 4])
    # T = 3 / 5^.5 = 1.34 against largest 1.34, 1.34, 1, 1; then T = 1 against 1 throughout.
    assert 3 / scale > 1
    assert found.step_down() == pytest.approx([2 / 4, 4 / 4])
    # A second pair that varies less in the same exchanges: its T* of 2 counts for the first too.
    wild = made([3.0, 1.0], [[3, 1], [-3, -1], [1, 0.1], [-1, 0.1], [1, 4], [1, -4]], exact=False)
    t = np.array([3.0, 1.0]) / np.sqrt(np.mean(np.square(wild.drawn), axis=0))
    largest = np.abs(wild.drawn / np.sqrt(np.mean(np.square(wild.drawn), axis=0))).max(axis=1)
    first = (1 + (largest >= t[0] - 1e-12).sum()) / 7
    assert wild.step_down()[0] == pytest.approx(first) and first > wild.p_values()[0]
    assert wild.step_down()[1] >= first


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_step_down_is_monotone_between_p_and_bonferroni(seed: int) -> None:
    y, predicted, patients = family(seed, models=5)
    pairs = [(k, 0) for k in range(1, 5)]
    found = exchange(y, predicted, pairs, patients, 3, 200, np.random.default_rng(seed))["mcc"]
    p, adjusted = found.p_values(), found.step_down()
    assert found.exact and (adjusted >= p - 1e-12).all() and (adjusted <= 1).all()
    t = np.abs(found.observed) / np.sqrt((found.drawn**2).mean(axis=0))
    assert (np.diff(adjusted[np.argsort(-t)]) >= -1e-15).all()
    order = np.random.default_rng(1).permutation(4)
    shuffled = exchange(
        y, predicted, [pairs[k] for k in order], patients, 3, 200, np.random.default_rng(seed)
    )["mcc"]
    assert shuffled.step_down() == pytest.approx(adjusted[order])
    # One pair alone needs no correction; twice the same pair is one hypothesis.
    for same in ([(1, 0)], [(1, 0), (1, 0)]):
        alone = exchange(y, predicted, same, patients, 3, 200, np.random.default_rng(seed))["mcc"]
        assert alone.step_down() == pytest.approx(alone.p_values())


def test_few_patients_are_exact_for_the_whole_family() -> None:
    """All exchanges of six patients, by explicit loops over scikit-learn's MCC."""
    y, predicted, patients = family(3, n=30, patients=6, models=3)
    groups = [patients == p for p in np.unique(patients)]
    drawn = []
    for swaps in itertools.product([False, True], repeat=len(groups)):
        chosen = np.any([g for s, g in zip(swaps, groups, strict=True) if s] + [y < 0], axis=0)
        row = []
        for k in (1, 2):
            a = np.where(chosen, predicted[0], predicted[k])
            b = np.where(chosen, predicted[k], predicted[0])
            row.append(reference.matthews_corrcoef(y, a) - reference.matthews_corrcoef(y, b))
        drawn.append(row)
    naive = made(drawn[0], drawn)
    found = exchange(y, predicted, [(1, 0), (2, 0)], patients, 3, 500, np.random.default_rng(0))
    assert found["mcc"].exact and found["mcc"].permutations == 2 ** len(groups)
    assert found["mcc"].p_values() == pytest.approx(naive.p_values())
    assert found["mcc"].step_down() == pytest.approx(naive.step_down())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), patients=st.sampled_from([12, 40]))
def test_the_interval_is_what_the_exchange_does_not_reject(seed: int, patients: int) -> None:
    y, predicted, ids = family(seed, patients=patients, models=2)
    found = exchange(y, predicted, [(0, 1)], ids, 3, 499, np.random.default_rng(seed))
    for one in found.values():
        (low,), (high,) = one.intervals(0.9)
        if np.isnan(low):
            assert np.isnan(high)
            continue
        (d,), drawn, own = one.observed, one.drawn[:, 0], 0 if one.exact else 1

        def p(
            shift: float,
            d: float = d,
            drawn: np.ndarray = drawn,
            own: int = own,
            one: Exchanged = one,
        ) -> float:
            hits = (np.abs(drawn - shift * one.shift) >= abs(d - shift) - 1e-12).sum()
            return (hits + own) / (len(drawn) + own)

        for end, outward in ((low, -1), (high, 1)):
            assert p(end + outward * 1e-6) <= 0.1 + 1e-9
            assert p(end - outward * 1e-6) > 0.1 - 1e-9
        assert p(0) == pytest.approx(one.p_values()[0])
        assert (low > 0 or high < 0) == (one.p_values()[0] <= 0.1 + 1e-9)


def test_the_interval_of_independent_differences_is_students() -> None:
    """Many images, one a patient: the interval of accuracy is that of the paired t test."""
    rng = np.random.default_rng(5)
    y = np.zeros(2000, int)
    a, b = (rng.random(2000) < 0.2).astype(int), (rng.random(2000) < 0.3).astype(int)
    found = paired.permutation_test(y, a, b, np.arange(2000), 2, 20_000, rng, ["accuracy"])
    d = (a == 0).astype(float) - (b == 0)
    half = 1.961 * d.std(ddof=1) / np.sqrt(2000)
    ends = d.mean() - half, d.mean() + half
    assert (found["accuracy"].ci_low, found["accuracy"].ci_high) == pytest.approx(ends, abs=0.001)


def test_four_patients_have_no_interval() -> None:
    y, predicted, patients = family(1, n=16, patients=4, models=2)
    (found,) = paired.permutation_tests(
        y, predicted, [(0, 1)], patients, 3, 100, np.random.default_rng(0)
    )
    assert found["mcc"].exact and np.isnan(found["mcc"].ci_low)
    assert found["mcc"].reason == "too few patients for an interval"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_metrics_of_confusion_matrices_are_those_of_scikit_learn(seed: int) -> None:
    y, predicted, _ = family(seed, models=2)
    matrices = np.stack([reference.confusion_matrix(y, p, labels=range(3)) for p in predicted])
    for name, score in {
        "mcc": reference.matthews_corrcoef,
        "accuracy": reference.accuracy_score,
        "balanced_accuracy": reference.balanced_accuracy_score,
        "f1_macro": lambda y, p: reference.f1_score(y, p, average="macro"),
        "kappa": reference.cohen_kappa_score,
    }.items():
        expected = [score(y, p) for p in predicted]
        assert metrics.of_confusion(name, matrices) == pytest.approx(expected), name
    assert set(metrics.OF_CONFUSION) == set(paired.STATISTICS)
    constant = np.array([[3, 0], [2, 0]])
    assert metrics.of_confusion("mcc", constant) == 0 == metrics.of_confusion("kappa", constant)


def test_every_metric_of_the_config_can_be_exchanged() -> None:
    y, predicted, patients = family(2)
    pairs, rng = [(0, 1), (2, 3)], np.random.default_rng(0)
    found = exchange(y, predicted, pairs, patients, 3, 99, rng, metrics.OF_CONFUSION)
    for name, one in found.items():
        assert not np.isnan(one.step_down()).any(), name
        direct = [
            metrics.compute(name, y, np.eye(3)[predicted[a]])
            - metrics.compute(name, y, np.eye(3)[predicted[b]])
            for a, b in pairs
        ]
        assert one.observed == pytest.approx(direct)


def test_a_class_without_images_has_no_balanced_accuracy() -> None:
    y, predicted, patients = family(2)
    rng = np.random.default_rng(0)
    (found,) = paired.permutation_tests(
        np.minimum(y, 1), predicted, [(0, 1)], patients, 4, 99, rng, ["balanced_accuracy", "mcc"]
    )
    assert np.isnan(found["balanced_accuracy"].p_value) and found["balanced_accuracy"].reason
    assert found["mcc"].p_value > 0


def test_max_t_needs_no_more_permutations_for_more_hypotheses() -> None:
    assert permutations_needed(1, 0.05, 10_000) == 10_000
    assert permutations_needed(1, 0.0005, 10_000) == 20_000
