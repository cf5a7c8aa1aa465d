"""The corrected resampled t test: by hand, by other code, and where it says nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics.resampled_t import (
    NO_SPREAD,
    ONE_FOLD,
    corrected_resampled_t,
    factor,
)
from scipy import stats


def test_by_hand() -> None:
    """Differences 0.02, 0.04, 0.00, 0.06, 0.03 with 20 patients tested on to 56 trained on.

    Mean 0.03; squares of the deviations sum to 0.002, so s^2 = 0.0005. V = (1/5 + 20/56) s^2
    = 0.000278571, its root 0.0166905; t = 1.79743 on 4 degrees of freedom, whose 97.5% quantile is
    2.776445.
    """
    found = corrected_resampled_t([0.02, 0.04, 0.00, 0.06, 0.03], 20 / 56)
    assert found.difference == pytest.approx(0.03, abs=1e-12)
    assert found.se == pytest.approx(0.0166905, abs=1e-7)
    assert found.statistic == pytest.approx(1.79743, abs=1e-5)
    assert found.df == 4
    half = 2.776445 * 0.0166905
    assert (found.ci_low, found.ci_high) == pytest.approx((0.03 - half, 0.03 + half), abs=1e-6)
    assert found.p_value == pytest.approx(2 * stats.t(4).sf(1.797434), abs=1e-6)


@settings(deadline=None)
@given(
    differences=st.lists(st.floats(-1, 1), min_size=2, max_size=30).filter(
        lambda own: np.std(own) > 1e-6
    ),
    ratio=st.floats(0, 2),
)
def test_against_another_implementation(differences: list[float], ratio: float) -> None:
    """The plain one-sample test of scipy, its statistic shrunk by sqrt(1 / (1 + J ratio))."""
    plain, runs = stats.ttest_1samp(differences, 0.0), len(differences)
    statistic = plain.statistic / np.sqrt(1 + runs * ratio)
    found = corrected_resampled_t(differences, ratio)
    assert found.statistic == pytest.approx(statistic, rel=1e-6, abs=1e-9)
    assert found.p_value == pytest.approx(2 * stats.t(runs - 1).sf(abs(statistic)), rel=1e-6)
    # The interval leaves 0 out where the test rejects, and the other way round nothing changes.
    assert (found.p_value <= 0.05) == (not found.ci_low <= 0 <= found.ci_high)
    turned = corrected_resampled_t([-d for d in differences], ratio)
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.p_value == pytest.approx(found.p_value)


def test_without_shared_data_it_is_the_plain_test() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    found, plain = corrected_resampled_t(values, 0.0, 0.9), stats.ttest_1samp(values, 0.0)
    assert (found.statistic, found.p_value) == pytest.approx((plain.statistic, plain.pvalue))
    assert (found.ci_low, found.ci_high) == pytest.approx(plain.confidence_interval(0.9))
    assert factor(10, 1 / 9) == pytest.approx(0.1 + 1 / 9)


def test_runs_without_a_value_are_left_out() -> None:
    found = corrected_resampled_t([0.1, np.nan, 0.3, 0.2], 0.25)
    assert found == corrected_resampled_t([0.1, 0.3, 0.2], 0.25)
    assert found.df == 2


def test_what_cannot_be_tested_says_why() -> None:
    one = corrected_resampled_t([0.1, np.nan], 0.25)
    assert (one.difference, one.reason) == (pytest.approx(0.1), ONE_FOLD)
    assert np.isnan([one.p_value, one.ci_low, one.se]).all()
    none = corrected_resampled_t([], 0.25)
    assert np.isnan(none.difference) and none.reason == ONE_FOLD
    same = corrected_resampled_t([0.1, 0.1, 0.1], 0.25)
    assert (same.difference, same.reason) == (pytest.approx(0.1), NO_SPREAD)
    assert np.isnan(same.p_value)
    nothing = corrected_resampled_t([0.0, 0.0], 0.25)
    assert (nothing.p_value, nothing.ci_low, nothing.ci_high) == (1.0, 0.0, 0.0)
    for ratio in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="n_test / n_train"):
            corrected_resampled_t([0.1, 0.2], ratio)
