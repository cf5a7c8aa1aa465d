"""Net benefit, predictive values and cost: another package, hand counts, published formulas."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import bootstrap, usefulness
from multiloss.statistics.usefulness import Rates
from statsmodels.stats.proportion import proportion_confint

DCURVES = Path(__file__).parent / "dcurves"
GRID = np.arange(1, 100) / 100
Z = 1.959963984540054


def rates_of(
    y: np.ndarray, p: np.ndarray, thresholds: np.ndarray, patients: np.ndarray, resamples: int = 500
) -> tuple[Rates, np.ndarray]:
    """Rates of one outcome, and its prevalence (1, 1)."""
    strata = bootstrap.label_strata(patients, y.astype(int))
    weights = bootstrap.patient_weights(patients, strata, resamples, np.random.default_rng(0))
    once = usefulness.decisions(y[:, None], p[:, None], thresholds[None])
    drawn = usefulness.decisions(y[:, None], p[:, None], thresholds[None], weights)
    counts = [[len(set(patients[~y])), len(set(patients[y]))]]
    return Rates.of(once, drawn, counts), once.prevalence[0]


@pytest.mark.parametrize("prevalence", [None, 0.15])
def test_equal_to_dcurves_on_its_example(prevalence: float | None) -> None:
    data = pd.read_csv(DCURVES / "example.csv")
    reference = pd.read_csv(DCURVES / "reference.csv")
    of = reference["prevalence"].isna() if prevalence is None else reference["prevalence"].notna()
    reference = reference[of]
    y = data["cancer" if prevalence is None else "casecontrol"].to_numpy(bool)
    names = [name for name in reference["model"].unique() if name != "all"]
    assert len(names) == (2 if prevalence is None else 1) and len(data) == 750
    for name in names:
        wanted = reference[reference["model"] == name]
        thresholds = wanted["threshold"].to_numpy()
        found = usefulness.decisions(
            y[:, None], data[name].to_numpy(float)[:, None], thresholds[None]
        )
        q = found.prevalence if prevalence is None else prevalence
        value = usefulness.net_benefit(found.sensitivity, found.specificity, thresholds, q)
        np.testing.assert_allclose(value[0, 0], wanted["net_benefit"], rtol=0, atol=1e-12)
        everyone = reference.loc[reference["model"] == "all", "net_benefit"]
        np.testing.assert_allclose(
            usefulness.treat_all(thresholds, np.ravel(q)[0]), everyone, rtol=0, atol=1e-12
        )


def test_net_benefit_by_hand() -> None:
    """Ten images, four with the finding; at 0.2: three found, two false alarms."""
    y = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    p = np.array([0.9, 0.5, 0.2, 0.1, 0.6, 0.2, 0.1, 0.1, 0.0, 0.0])
    found = usefulness.decisions(y[:, None], p[:, None], np.array([[0.2, 0.5, 0.95]]))
    assert found.true[0, 0].tolist() == [3, 2, 0] and found.false[0, 0].tolist() == [2, 1, 0]
    value = usefulness.net_benefit(
        found.sensitivity, found.specificity, [0.2, 0.5, 0.95], found.prevalence
    )
    assert value[0, 0] == pytest.approx([0.3 - 0.2 * 0.25, 0.2 - 0.1, 0.0], abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_counts_are_those_of_a_double_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, outcomes, thresholds = rng.integers(1, 12), rng.integers(1, 4), rng.integers(1, 5)
    # Few values, so that scores meet thresholds.
    score = rng.integers(0, 5, (n, outcomes)) / 4
    at = np.sort(rng.integers(0, 5, (outcomes, thresholds)) / 4, axis=1)
    positive = rng.random((n, outcomes)) < 0.5
    weights = rng.integers(0, 3, (4, n))
    found = usefulness.decisions(positive, score, at, weights)
    for r in range(4):
        for k in range(outcomes):
            assert found.positives[r, k, 0] == weights[r, positive[:, k]].sum()
            assert found.negatives[r, k, 0] == weights[r, ~positive[:, k]].sum()
            for g in range(thresholds):
                called = score[:, k] >= at[k, g]
                assert found.true[r, k, g] == weights[r, called & positive[:, k]].sum()
                assert found.false[r, k, g] == weights[r, called & ~positive[:, k]].sum()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    positive, score = rng.random((40, 2)) < 0.4, rng.random((40, 2))
    weights = rng.integers(0, 4, (9, 40))
    at = np.tile(GRID, (2, 1))
    whole = usefulness.decisions(positive, score, at, weights)
    monkeypatch.setattr(usefulness, "CHUNK_ELEMENTS", 900)
    parts = usefulness.decisions(positive, score, at, weights)
    assert np.array_equal(whole.true, parts.true) and np.array_equal(whole.false, parts.false)


def test_predictive_values_at_the_own_prevalence_are_shares_of_the_calls() -> None:
    sensitivity, specificity, q = 30 / 40, 50 / 60, 0.4
    ppv, npv = usefulness.predictive_values(sensitivity, specificity, q)
    assert (float(ppv), float(npv)) == pytest.approx((30 / 40, 50 / 60), abs=1e-15)
    # Altman & Bland (1994, BMJ 309:102): liver scans, 231/258 and 54/86, also at 25%.
    ppv, npv = usefulness.predictive_values(231 / 258, 54 / 86, [258 / 344, 0.25])
    assert np.round(ppv, 2).tolist() == [0.88, 0.45]
    assert np.round(npv, 2).tolist() == [0.67, 0.95]
    assert np.isnan(usefulness.predictive_values(0.0, 1.0, 0.5)[0])
    assert np.isnan(usefulness.predictive_values(1.0, 0.0, 0.5)[1])


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99), st.floats(0.1, 50))
def test_cost_at_its_threshold_is_that_of_the_net_benefit(
    sensitivity: float, specificity: float, q: float, ratio: float
) -> None:
    at = usefulness.cost_threshold(ratio)
    cost = usefulness.expected_cost(sensitivity, specificity, q, ratio)
    benefit = usefulness.net_benefit(sensitivity, specificity, at, q)
    assert cost == pytest.approx(ratio * (q - benefit), abs=1e-9)
    assert usefulness.expected_cost(1, 0, q, ratio) == pytest.approx(1 - q)
    assert usefulness.expected_cost(0, 1, q, ratio) == pytest.approx(ratio * q)


@pytest.mark.parametrize(("count", "size"), [(0, 9), (3, 9), (9, 9), (1, 200)])
def test_wilson_is_that_of_statsmodels(count: int, size: int) -> None:
    low, high = usefulness.wilson(count / size, size, Z)
    wanted = proportion_confint(count, size, method="wilson")
    assert (float(low), float(high)) == pytest.approx(wanted, abs=1e-12)


def test_images_of_a_patient_are_worth_what_they_add() -> None:
    """Copies add nothing; independent images count in full, or as if of patients at an end."""
    rng = np.random.default_rng(3)
    y, p, at = np.repeat([True, False], 60), rng.random(120), np.array([0.4])
    alone, _ = rates_of(y, p, at, np.arange(120), 4000)
    assert alone.size_of_sensitivity[0, 0] == pytest.approx(60, rel=0.06)
    twice, _ = rates_of(np.repeat(y, 2), np.repeat(p, 2), at, np.repeat(np.arange(120), 2), 4000)
    assert twice.sensitivity == pytest.approx(alone.sensitivity)
    assert twice.size_of_sensitivity[0, 0] == pytest.approx(60, rel=0.06)
    never, _ = rates_of(y, np.zeros(120), at, np.arange(120) // 2)
    assert never.size_of_specificity[0, 0] == 30 and never.specificity[0, 0] == 1


def test_interval_of_the_net_benefit_joins_those_of_both_rates() -> None:
    rng = np.random.default_rng(4)
    y = np.arange(200) < 60
    p = np.clip(0.3 + 0.4 * y + 0.25 * rng.normal(size=200), 0, 1)
    at = np.array([0.2, 0.5])
    rates, q = rates_of(y, p, at, np.arange(200))
    # Independent, since no patient has images of both kinds; by chance not in these resamples.
    assert np.abs(rates.correlation).max() < 0.15
    rates = dataclasses.replace(rates, correlation=np.zeros((1, 2)))
    value = usefulness.net_benefit(rates.sensitivity, rates.specificity, at, q)
    low, high = usefulness.net_benefit_interval(rates, at, q, Z)
    for g, t in enumerate(at):
        called = p >= t
        ends = [
            proportion_confint(rate * size, size, method="wilson")
            for rate, size in (
                (called[y].mean(), rates.size_of_sensitivity[0, g]),
                ((~called[~y]).mean(), rates.size_of_specificity[0, g]),
            )
        ]
        weight = 0.7 * t / (1 - t)
        down = np.hypot(
            0.3 * (called[y].mean() - ends[0][0]), weight * ((~called[~y]).mean() - ends[1][0])
        )
        up = np.hypot(
            0.3 * (ends[0][1] - called[y].mean()), weight * (ends[1][1] - (~called[~y]).mean())
        )
        assert low[0, g] == pytest.approx(value[0, g] - down, abs=1e-9)
        assert high[0, g] == pytest.approx(value[0, g] + up, abs=1e-9)


def test_no_false_alarm_seen_is_not_none_to_come() -> None:
    """Where resampling cannot vary, the interval still reaches down, the more the dearer."""
    y, p = np.arange(40) < 20, np.where(np.arange(40) < 20, 0.97, 0.01)
    rates, q = rates_of(y, p, np.array([0.1, 0.5, 0.95]), np.arange(40))
    assert rates.sensitivity.tolist() == rates.specificity.tolist() == [[1, 1, 1]]
    low, high = usefulness.net_benefit_interval(rates, np.array([0.1, 0.5, 0.95]), q, Z)
    assert high == pytest.approx(0.5)
    assert 0.4 < low[0, 0] < 0.43 and low[0, 2] < -0.5


def test_intervals_of_predictive_values() -> None:
    rng = np.random.default_rng(5)
    y = np.arange(300) < 100
    p = np.clip(0.3 + 0.4 * y + 0.2 * rng.normal(size=300), 0, 1)
    rates, q = rates_of(y, p, np.array([0.5]), np.arange(300))
    for prevalence in (0.01, float(q[0, 0]), 0.9):
        values = usefulness.predictive_values(rates.sensitivity, rates.specificity, prevalence)
        for value, (low, high) in zip(
            values, usefulness.predictive_intervals(rates, prevalence, Z), strict=True
        ):
            assert 0 < low[0, 0] < value[0, 0] < high[0, 0] < 1
    # The larger part of the delta method's standard error of the log odds, as a check of its size.
    low, high = usefulness.predictive_intervals(rates, 0.5, Z)[0]
    found, alarms = rates.sensitivity[0, 0], 1 - rates.specificity[0, 0]
    error = np.sqrt((1 - found) / (100 * found) + (1 - alarms) / (200 * alarms))
    width = np.diff(np.log([low[0, 0] / (1 - low[0, 0]), high[0, 0] / (1 - high[0, 0])]))[0]
    assert width == pytest.approx(2 * Z * error, rel=0.15)


def test_predictive_value_of_one_has_a_lower_end() -> None:
    """No false alarm: the end is that of the rate of false alarms, the other rate as estimated."""
    y = np.arange(60) < 20
    p = np.where(y, np.where(np.arange(60) < 15, 0.9, 0.1), 0.1)
    rates, _ = rates_of(y, p, np.array([0.5]), np.arange(60))
    (low, high), (low_npv, high_npv) = usefulness.predictive_intervals(rates, 0.1, Z)
    worst = 1 - proportion_confint(40, 40, method="wilson")[0]
    assert low[0, 0] == pytest.approx(0.1 * 0.75 / (0.1 * 0.75 + 0.9 * worst))
    assert high[0, 0] == 1 and 0 < low_npv[0, 0] < high_npv[0, 0] < 1


def test_difference_takes_the_shared_images_into_account() -> None:
    first = (np.array(0.4), np.array(0.3), np.array(0.5))
    low, high = usefulness.difference_interval(first, first, 0.0)
    assert (float(low), float(high)) == pytest.approx((-np.hypot(0.1, 0.1), np.hypot(0.1, 0.1)))
    assert usefulness.difference_interval(first, first, 1.0) == pytest.approx((0, 0), abs=1e-12)


def test_a_band_for_many_is_wider_than_for_one() -> None:
    rng = np.random.default_rng(6)
    many = rng.normal(size=(4000, 40))
    same = np.repeat(many[:, :1], 40, axis=1)
    assert usefulness.simultaneous_z(np.zeros(40), same, 0.95) == pytest.approx(Z, abs=0.08)
    # Of 40 independent ones: the quantile of the largest of 40 normal ones.
    wanted = 3.22
    assert usefulness.simultaneous_z(np.zeros(40), many, 0.95) == pytest.approx(wanted, abs=0.12)
    assert usefulness.simultaneous_z(np.zeros(3), np.zeros((50, 3)), 0.95) == pytest.approx(Z)


def test_runs() -> None:
    assert usefulness.runs([True, True, False, True]) == [(0, 1), (3, 3)]
    assert usefulness.runs([False]) == [] and usefulness.runs([]) == []
