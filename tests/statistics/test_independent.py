"""The difference of two independent estimates, from their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiloss.statistics.independent import difference
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint


def wilson(successes: int, trials: int) -> tuple[float, float, float]:
    return (successes / trials, *proportion_confint(successes, trials, method="wilson"))


def test_newcombe_1998() -> None:
    # Method 10 of Newcombe RG (1998), Statistics in Medicine 17:873-890, table II.
    for first, second, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
    ):
        found = difference(wilson(*first), wilson(*second))
        np.testing.assert_allclose(found[1:], (low, high), atol=5e-5)


@given(
    st.tuples(st.integers(1, 60), st.integers(0, 60)),
    st.tuples(st.integers(1, 60), st.integers(0, 60)),
)
def test_statsmodels(one: tuple[int, int], two: tuple[int, int]) -> None:
    counts = [(min(successes, trials), trials) for trials, successes in (one, two)]
    (a, m), (b, n) = counts
    apart, low, high = difference(wilson(a, m), wilson(b, n))
    other = confint_proportions_2indep(a, m, b, n, method="newcomb", compare="diff")
    np.testing.assert_allclose((low, high), other, atol=1e-9)
    assert low - 1e-9 <= apart <= high + 1e-9


def test_symmetric_intervals_add_their_variances() -> None:
    found = difference((0.5, 0.5 - 0.3, 0.5 + 0.3), (0.1, 0.1 - 0.4, 0.1 + 0.4))
    np.testing.assert_allclose(found, (0.4, 0.4 - 0.5, 0.4 + 0.5))


def test_turned_round_it_changes_its_sign_and_an_unknown_end_stays_unknown() -> None:
    first, second = (0.5, 0.2, 0.6), (0.1, 0.05, 0.4)
    one, two = difference(first, second), difference(second, first)
    np.testing.assert_allclose(one, [-two[0], -two[2], -two[1]])
    apart, low, high = difference((0.5, np.nan, np.nan), second)
    assert apart == pytest.approx(0.4) and np.isnan(low) and np.isnan(high)


def test_coverage_of_means_with_intervals_of_their_own() -> None:
    # Two groups of different size and spread, each with Student's interval.
    from scipy.stats import t

    rng, hits, runs = np.random.default_rng(0), 0, 4000
    sides = []
    for size, spread, mean in ((12, 1.0, 0.3), (40, 3.0, 0.0)):
        drawn = rng.normal(mean, spread, (runs, size))
        half = t.ppf(0.975, size - 1) * drawn.std(axis=1, ddof=1) / np.sqrt(size)
        sides.append((drawn.mean(axis=1), drawn.mean(axis=1) - half, drawn.mean(axis=1) + half))
    _, low, high = difference(*sides)
    hits = ((low <= 0.3) & (high >= 0.3)).mean()
    assert 0.94 < hits < 0.97
