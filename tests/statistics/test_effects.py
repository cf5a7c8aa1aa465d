"""Verdicts, what could have been seen, and probabilities: against other implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiloss.statistics import effects
from scipy import integrate, stats
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import DescrStatsW


def test_two_one_sided_tests_are_those_of_statsmodels() -> None:
    values = np.random.default_rng(0).normal(0.01, 0.05, 40)
    reference = DescrStatsW(values).ttost_mean(-0.03, 0.03)[0]
    se = values.std(ddof=1) / np.sqrt(40)
    found = effects.equivalence_p_value(values.mean(), se, 39, 0.03)
    assert found == pytest.approx(reference, rel=1e-10)


@given(st.floats(-0.2, 0.2), st.floats(0.001, 0.2), st.floats(1, 200), st.floats(0.001, 0.3))
def test_equivalence_is_the_interval_within_the_margin(
    difference: float, se: float, df: float, margin: float
) -> None:
    reach = stats.t.ppf(0.95, df) * se
    inside = max(abs(difference - reach), abs(difference + reach)) - margin
    if abs(inside) > 1e-9:
        p_value = effects.equivalence_p_value(difference, se, df, margin)
        assert (p_value <= 0.05) == (inside < 0)


@pytest.mark.parametrize(
    "difference, reject, p_equivalence, verdict",
    [
        (0.1, True, 0.9, "better"),
        (-0.1, True, 0.9, "worse"),
        (0.1, False, 0.9, "inconclusive"),
        (0.001, False, 0.01, "equivalent"),
        # It is not 0, but too small to matter.
        (0.01, True, 0.04, "equivalent"),
        (0.01, True, 0.05, "equivalent"),
        (0.01, True, 0.051, "better"),
        (0.0, False, np.nan, "inconclusive"),
        (0.1, True, np.nan, "better"),
        (np.nan, False, np.nan, "inconclusive"),
    ],
)
def test_verdicts(difference: float, reject: bool, p_equivalence: float, verdict: str) -> None:
    assert effects.verdict(difference, reject, p_equivalence, 0.05) == verdict


@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_a_margin_of_0_never_makes_models_equivalent(alpha: float) -> None:
    for difference in (0.0, 0.01, -0.3):
        p_value = float(effects.equivalence_p_value(difference, 0.001, 80, 0.0))
        assert p_value >= 0.5
        assert effects.verdict(difference, False, p_value, alpha) == "inconclusive"


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 22])
@pytest.mark.parametrize("n", [5, 20, 200])
def test_detectable_differences_are_those_of_statsmodels(n: int, alpha: float) -> None:
    effect = TTestIndPower().solve_power(nobs1=n, alpha=alpha, power=0.8)
    found = effects.detectable_difference(np.sqrt(2 / n), 2 * n - 2, alpha)
    assert found == pytest.approx(effect, rel=1e-4)
    found = effects.detectable_difference(1 / np.sqrt(n), n - 1, alpha, power=0.9)
    # Its search ends too early for five values at the lower level, scipy's distribution decides.
    critical = stats.t.isf(alpha / 2, n - 1)
    assert stats.nct.sf(critical, n - 1, found * np.sqrt(n)) == pytest.approx(0.9, abs=1e-5)
    if n > 5:
        effect = TTestPower().solve_power(nobs=n, alpha=alpha, power=0.9)
        assert found == pytest.approx(effect, rel=1e-4)


@pytest.mark.parametrize("df", [2, 5, 80])
def test_the_detectable_difference_is_found_in_four_of_five_studies(df: int) -> None:
    rng = np.random.default_rng(df)
    delta, n = effects.detectable_difference(0.07, df), 40_000
    difference = rng.normal(delta, 0.07, n)
    se = 0.07 * np.sqrt(rng.chisquare(df, n) / df)
    p_values = 2 * stats.t.sf(np.abs(difference) / se, df)
    assert (p_values <= 0.05).mean() == pytest.approx(0.8, abs=0.008)


def test_nothing_is_detectable_without_an_error() -> None:
    found = effects.detectable_difference([np.nan, 0.0, 0.1, 0.1], [80, 80, 0, np.nan])
    assert np.isnan(found).all()
    normal = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert effects.detectable_difference(0.1, np.inf) == pytest.approx(0.1 * normal, rel=1e-5)


def test_probabilities_are_areas_of_the_shifted_t_distribution() -> None:
    difference, se, df, margin = 0.03, 0.04, 12.0, 0.02
    posterior = stats.t(df, difference, se)
    found = effects.posterior(difference, se, df, margin)
    for value, low, high in (
        (found.positive, 0, 5),
        (found.better, margin, 5),
        (found.equivalent, -margin, margin),
        (found.worse, -5, -margin),
    ):
        area = integrate.quad(posterior.pdf, low, high, points=[difference] if low < 0.03 else None)
        assert value == pytest.approx(area[0], abs=1e-5)
    assert found.better + found.equivalent + found.worse == pytest.approx(1)
    other = effects.posterior(-difference, se, df, margin)
    assert (other.better, other.worse) == (found.worse, found.better)


def test_the_probability_of_a_difference_is_that_of_the_correlated_t_test() -> None:
    """Benavoli 2017, equation of section 2.2: mean and variance of the folds, corrected by rho."""
    folds = np.random.default_rng(4).normal(0.01, 0.02, 10)
    rho = 0.1
    variance = folds.var(ddof=1) * (1 / 10 + rho / (1 - rho))
    reference = stats.t.sf(0.01, 9, folds.mean(), np.sqrt(variance))
    found = effects.posterior(folds.mean(), np.sqrt(variance), 9, 0.01)
    assert found.better == pytest.approx(reference)


def test_without_a_margin_better_is_above_0() -> None:
    found = effects.posterior(0.05, 0.05, 30)
    assert found.better == found.positive == pytest.approx(1 - found.worse)
    assert found.equivalent == pytest.approx(0, abs=1e-12)
    assert np.isnan(effects.posterior(0.05, 0.0, 30).positive)


def test_outperformance_counts_pairs_of_runs() -> None:
    a, b = [0.5, 0.7, 0.6], [0.55, 0.6]
    drawn = np.tile(a, (50, 1)), np.tile(b, (50, 1))
    rng = np.random.default_rng(0)
    # 0.7 beats both, 0.6 beats one and ties with one, 0.5 beats none.
    found = effects.outperformance(a, b, *drawn, rng)
    assert found.probability == pytest.approx(3.5 / 6)
    assert found.ci_low <= found.probability <= found.ci_high
    swapped = effects.outperformance(b, a, *reversed(drawn), np.random.default_rng(0))
    assert swapped.probability == pytest.approx(1 - found.probability)


def test_paired_runs_meet_their_own_alone() -> None:
    a, b = [0.1, 0.5, 0.9], [0.0, 0.4, 0.8]
    drawn = np.tile(a, (20, 1)), np.tile(b, (20, 1))
    rng = np.random.default_rng(0)
    assert effects.outperformance(a, b, *drawn, rng, paired=True).probability == 1
    assert effects.outperformance(a, b, *drawn, rng).probability == pytest.approx(6 / 9)
    with pytest.raises(ValueError, match="as many"):
        effects.outperformance(a, b[:2], drawn[0], drawn[1][:, :2], rng, paired=True)


def test_one_run_says_nothing_of_further_ones() -> None:
    one, two = np.zeros((5, 1)), np.zeros((5, 2))
    rng = np.random.default_rng(0)
    assert np.isnan(effects.outperformance([0.5], [0.4, 0.3], one, two, rng).probability)
    assert np.isnan(effects.outperformance([0.5, np.nan], [0.4, 0.3], two, two, rng).probability)


def test_its_interval_holds_for_runs_and_patients() -> None:
    """Two losses whose runs are alike: the interval holds 0.5 in most studies."""
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(200):
        runs = rng.normal(0, 1, (2, 10))
        patients = rng.normal(0, 0.5, (300, 20)) + np.concatenate(runs)
        found = effects.outperformance(*runs, patients[:, :10], patients[:, 10:], rng)
        hits.append(found.ci_low <= 0.5 <= found.ci_high)
    assert np.mean(hits) > 0.9
