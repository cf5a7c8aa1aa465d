"""Paired tests against explicit loops, published examples and other implementations."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import paired
from scipy import stats
from sklearn import metrics as reference
from statsmodels.stats.multitest import multipletests


def two_models(
    seed: int, n: int = 40, patients: int = 12, skill: float = 0.6
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    a, b = (np.where(rng.random(n) < skill, y, rng.integers(0, 3, n)) for _ in range(2))
    return y, a, b, rng.integers(0, patients, n)


def test_exact_permutation_equals_explicit_enumeration() -> None:
    y, a, b, patients = two_models(1, n=30, patients=6)
    found = paired.permutation_test(y, a, b, patients, 3, 100, np.random.default_rng(0))
    for name, score in (
        ("mcc", reference.matthews_corrcoef),
        ("accuracy", reference.accuracy_score),
    ):
        observed = score(y, a) - score(y, b)
        hits = 0
        groups = [patients == p for p in np.unique(patients)]
        for swaps in itertools.product([False, True], repeat=len(groups)):
            mixed_a, mixed_b = a.copy(), b.copy()
            for swap, inside in zip(swaps, groups, strict=True):
                if swap:
                    mixed_a[inside], mixed_b[inside] = b[inside], a[inside]
            hits += abs(score(y, mixed_a) - score(y, mixed_b)) >= abs(observed) - 1e-12
        assert found[name].exact
        assert found[name].difference == pytest.approx(observed)
        assert found[name].p_value == pytest.approx(hits / 2 ** len(groups))


def test_random_permutations_approach_the_sign_test() -> None:
    """One image a patient: swaps of accuracy are the exact McNemar test."""
    rng = np.random.default_rng(2)
    y = np.zeros(200, int)
    a, b = np.zeros(200, int), np.zeros(200, int)
    a[:10], b[10:34] = 1, 1
    found = paired.permutation_test(y, a, b, np.arange(200), 2, 40_000, rng, ["accuracy"])
    exact = stats.binomtest(10, 34).pvalue
    assert not found["accuracy"].exact
    assert found["accuracy"].p_value == pytest.approx(exact, abs=0.002)
    assert paired.mcnemar_test(a == y, b == y).p_value == pytest.approx(exact)


def test_clusters_that_move_together_count_once() -> None:
    y, a, b, _ = two_models(3, n=30)
    single = paired.permutation_test(y, a, b, np.arange(30), 3, 0, np.random.default_rng(0))
    patients = np.repeat(np.arange(30), 4)
    wide = [np.repeat(values, 4) for values in (y, a, b)]
    repeated = paired.permutation_test(*wide, patients, 3, 5000, np.random.default_rng(0))
    many = paired.permutation_test(y, a, b, np.arange(30), 3, 5000, np.random.default_rng(0))
    assert single["mcc"].patients_that_differ == repeated["mcc"].patients_that_differ
    assert repeated["mcc"].p_value == many["mcc"].p_value


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_permutation_properties(seed: int) -> None:
    y, a, b, patients = two_models(seed)

    def run(*arguments: np.ndarray) -> dict[str, paired.Permutation]:
        return paired.permutation_test(*arguments, 3, 300, np.random.default_rng(seed))

    forward, backward = run(y, a, b, patients), run(y, b, a, patients)
    renamed = run(y, a, b, np.array([f"p{(5 * p) % 13}" for p in patients]))
    swap = np.array([2, 0, 1])
    relabelled = run(swap[y], swap[a], swap[b], patients)
    for name in ("mcc", "accuracy"):
        assert 0 < forward[name].p_value <= 1
        assert forward[name].difference == pytest.approx(-backward[name].difference)
        assert forward[name].p_value == backward[name].p_value
        assert forward[name].p_value == renamed[name].p_value
        assert forward[name].difference == pytest.approx(relabelled[name].difference)
        assert forward[name].p_value == relabelled[name].p_value


def test_identical_models_and_tiny_samples() -> None:
    y, a, _, patients = two_models(4)
    rng = np.random.default_rng(0)
    same = paired.permutation_test(y, a, a, patients, 3, 100, rng)["mcc"]
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert same.reason == "both models predict the same classes"
    one = paired.permutation_test([0, 1], [0, 1], [0, 0], ["x", "x"], 2, 100, rng)["mcc"]
    assert one.p_value == 1.0 and one.difference == 1.0  # a constant model counts as MCC 0
    assert paired.mcnemar_test([True, False], [True, False]).p_value == 1.0
    assert paired.delong_test([True, False], [0.9, 0.1], [0.9, 0.1]).p_value == 1.0
    lone = paired.delong_test([True, False], [0.9, 0.1], [0.1, 0.9])
    assert lone.difference == 1.0 and np.isnan(lone.p_value) and "too few" in lone.reason
    turned = paired.delong_test([True, True, False, False], [4, 3, 2, 1], [1, 2, 3, 4])
    assert turned.difference == 1.0 and "standard error is 0" in turned.reason
    assert "no images" in paired.delong_test([False] * 3, [1, 2, 3], [3, 2, 1]).reason


def test_more_permutations_for_a_larger_family() -> None:
    assert paired.permutations_needed(10, 0.05, 10_000) == 10_000
    needed = paired.permutations_needed(90, 0.05, 10_000)
    assert needed == 18_000
    assert 1 / (needed + 1) < 0.05 / 90


# Ratings of 109 CT images, definitely normal to definitely abnormal, by true state (Hanley &
# McNeil 1982, Radiology 143:29, table I). Area 0.893 there; the DeLong standard error 0.0307
# and interval (0.83295, 0.95339) are those of Stata's manual, [R] roctab, on the same data.
NORMAL, ABNORMAL = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]


def test_delong_standard_error_of_hanley_and_mcneil() -> None:
    scores = np.r_[np.repeat(np.arange(5), NORMAL), np.repeat(np.arange(5), ABNORMAL)]
    positive = np.r_[np.zeros(58, bool), np.ones(51, bool)]
    area, error, _ = paired.auroc_standard_error(positive, scores)
    assert round(area, 4) == 0.8932
    assert round(error, 4) == 0.0307
    ends = area - 1.959964 * error, area + 1.959964 * error
    assert ends == pytest.approx((0.83295, 0.95339), abs=1e-5)


def naive_obuchowski(
    positive: np.ndarray, scores: np.ndarray, other: np.ndarray, patients: np.ndarray
) -> tuple[float, float]:
    """Obuchowski (1997), section 3, pair by pair: difference of areas and its variance."""

    def kernel(up: float, down: float) -> float:
        return float(up > down) + 0.5 * float(up == down)

    parts = []
    for values in (scores, other):
        ups, downs = values[positive], values[~positive]
        area = np.mean([[kernel(u, d) for d in downs] for u in ups])
        sums = []
        for patient in np.unique(patients):
            inside = patients == patient
            mine_up, mine_down = values[inside & positive], values[inside & ~positive]
            v10 = sum(np.mean([kernel(u, d) for d in downs]) - area for u in mine_up)
            v01 = sum(np.mean([kernel(u, d) for u in ups]) - area for d in mine_down)
            sums.append((v10, v01))
        parts.append((area, np.array(sums)))
    (area_a, a), (area_b, b) = parts
    m, n = positive.sum(), (~positive).sum()
    with_up = len(set(patients[positive].tolist()))
    with_down = len(set(patients[~positive].tolist()))
    count = len(set(patients.tolist()))

    def covariance(first: np.ndarray, second: np.ndarray) -> float:
        s10 = with_up / ((with_up - 1) * m) * (first[:, 0] * second[:, 0]).sum()
        s01 = with_down / ((with_down - 1) * n) * (first[:, 1] * second[:, 1]).sum()
        s11 = count / (count - 1) * (first[:, 0] * second[:, 1]).sum()
        s11_back = count / (count - 1) * (second[:, 0] * first[:, 1]).sum()
        return s10 / m + s01 / n + (s11 + s11_back) / (m * n)

    return area_a - area_b, covariance(a, a) + covariance(b, b) - 2 * covariance(a, b)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_adjusted_delong_equals_the_published_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 40
    positive = np.r_[True, True, False, False, rng.random(n - 4) < 0.4]
    patients = np.r_[0, 1, 2, 3, rng.integers(0, 15, n - 4)]
    shared = positive + rng.normal(size=n)
    a, b = (np.round(shared + rng.normal(size=n), 1) for _ in range(2))
    difference, variance = naive_obuchowski(positive, a, b, patients)
    found = paired.delong_test(positive, a, b, patients)
    assert found.difference == pytest.approx(difference)
    assert found.statistic == pytest.approx(difference / np.sqrt(variance))
    renamed = paired.delong_test(positive, a, b, [f"x{(4 * p) % 17}" for p in patients])
    assert renamed.p_value == pytest.approx(found.p_value)
    assert paired.delong_test(positive, b, a, patients).p_value == pytest.approx(found.p_value)
    monotone = paired.delong_test(positive, np.exp(a), b, patients)
    assert monotone.statistic == pytest.approx(found.statistic)


def test_adjusted_delong_without_clusters_is_delong_and_copies_change_nothing() -> None:
    rng = np.random.default_rng(5)
    positive = rng.random(80) < 0.4
    scores = positive + rng.normal(size=80)
    plain = paired.auroc_standard_error(positive, scores)
    alone = paired.auroc_standard_error(positive, scores, np.arange(80))
    wide = paired.auroc_standard_error(
        np.repeat(positive, 3), np.repeat(scores, 3), np.repeat(np.arange(80), 3)
    )
    assert alone == plain
    assert wide[:2] == pytest.approx(plain[:2])
    assert plain[0] == pytest.approx(reference.roc_auc_score(positive, scores))


def test_cochran_against_its_chi_square() -> None:
    rng = np.random.default_rng(6)
    right = rng.random((300, 4)) < np.array([0.80, 0.76, 0.74, 0.72])
    found = paired.cochran_test(right, np.arange(300), 20_000, rng)
    k, totals, rows = 4, right.sum(axis=0), right.sum(axis=1)
    q = (k - 1) * (k * (totals**2).sum() - totals.sum() ** 2) / (k * rows.sum() - (rows**2).sum())
    assert found.statistic == pytest.approx(q)
    assert found.p_image_level == pytest.approx(stats.chi2.sf(q, k - 1))
    assert found.p_value == pytest.approx(found.p_image_level, abs=0.01)
    # Copies of a patient's images inflate the image-level test alone.
    wide = paired.cochran_test(np.repeat(right, 3, 0), np.repeat(np.arange(300), 3), 20_000, rng)
    assert wide.p_image_level < found.p_image_level / 3
    assert wide.p_value == pytest.approx(found.p_value, abs=0.01)


def test_cochran_of_equal_models() -> None:
    right = np.repeat(np.array([[True], [False], [True]]), 3, axis=1)
    found = paired.cochran_test(right, [1, 2, 3], 100, np.random.default_rng(0))
    assert (found.statistic, found.p_value) == (0.0, 1.0) and found.reason
    assert "fewer" in paired.cochran_test(right[:, :1], [1, 2, 3], 10, None).reason


def test_holm_by_hand_and_with_gaps() -> None:
    """Holm (1979): smallest times m, next times m - 1, never falling."""
    p = np.array([0.01, np.nan, 0.04, 0.03])
    assert paired.holm(p) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert np.isnan(paired.holm([np.nan])).all()


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_holm_is_monotone_and_never_below_p(seed: int) -> None:
    p = np.random.default_rng(seed).random(1 + seed % 9) ** 2
    adjusted = paired.holm(p)
    assert (adjusted >= p - 1e-15).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= -1e-15).all()
    shuffled = np.random.default_rng(1).permutation(len(p))
    assert paired.holm(p[shuffled]) == pytest.approx(adjusted[shuffled])
    assert adjusted == pytest.approx(multipletests(p, method="holm")[1])


def test_bootstrap_p_value() -> None:
    assert paired.bootstrap_p_value(np.zeros(99)) == 1.0
    assert paired.bootstrap_p_value(np.ones(99)) == pytest.approx(0.02)
    assert paired.bootstrap_p_value(np.r_[-np.ones(10), np.ones(89)]) == pytest.approx(0.22)
