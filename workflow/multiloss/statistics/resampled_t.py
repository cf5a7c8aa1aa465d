"""The corrected resampled t test: differences over folds, whose training data overlap.

Two runs of a study with folds have most of their training patients in common, so that their
differences do not vary as freely as those of independent studies would, and the plain t test calls
too many of them real. Nadeau and Bengio (2003, doi:10.1023/A:1024068626366) estimate the
correlation of two runs by the share of the data that is tested on, n_test / (n_test + n_train),
which turns the variance s^2 / J of the mean of J differences into

    V = (1 / J + n_test / n_train) s^2.

Bouckaert and Frank (2004, doi:10.1007/978-3-540-24775-3_3) use it for k folds that are drawn m
times, J = m k, with J - 1 degrees of freedom.
"""

from math import isnan, nan, sqrt

import numpy as np
import numpy.typing as npt

from multiloss.statistics.paired import Result

ONE_FOLD = "fewer than two runs: nothing tells how far the difference varies"
NO_SPREAD = "the same in every run: nothing tells how far the difference varies"


def factor(runs: int, ratio: float) -> float:
    """By what the variance of `runs` differences is multiplied to be that of their mean.

    1 / J + n_test / n_train; `ratio` is n_test / n_train, 0 for independent runs.
    """
    return 1 / runs + ratio


def corrected_resampled_t(
    differences: npt.ArrayLike, ratio: float, confidence: float = 0.95
) -> Result:
    """Student's t test of the mean of `differences` (J,), one a run, against 0.

    `ratio`: n_test / n_train, in patients of the runs' test and train splits. NaN among the
    differences are runs without a value and are left out. `statistic` is t, `df` is J - 1. Where
    all differences are 0 the p value is 1; where they are otherwise all the same, or fewer than
    two, there is no test, and `reason` says why.

    Raises ValueError for a ratio below 0 or one that is no number.
    """
    from scipy.special import stdtr, stdtrit

    if isnan(ratio) or ratio < 0:
        raise ValueError(f"n_test / n_train cannot be {ratio}")
    found = np.asarray(differences, dtype=float)
    found = found[~np.isnan(found)]
    runs = len(found)
    mean = float(found.mean()) if runs else nan
    if runs < 2:
        return Result(mean, nan, nan, reason=ONE_FOLD)
    if np.ptp(found) <= 1e-12:
        if abs(mean) <= 1e-12:
            return Result(0.0, nan, 1.0, 0.0, 0.0, se=0.0, df=runs - 1)
        return Result(mean, nan, nan, reason=NO_SPREAD)
    se = sqrt(factor(runs, ratio) * float(found.var(ddof=1)))
    margin = float(stdtrit(runs - 1, (1 + confidence) / 2)) * se
    statistic = mean / se
    p_value = float(2 * stdtr(runs - 1, -abs(statistic)))
    ends = mean - margin, mean + margin
    return Result(mean, statistic, p_value, *ends, se=se, df=float(runs - 1))
