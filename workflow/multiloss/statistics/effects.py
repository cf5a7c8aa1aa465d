"""What a difference with its standard error says: verdict, what could have been seen, probability.

All take a difference of two models (or of two losses' means over seeds), its standard error and
the degrees of freedom of that, as the comparisons give them, and work on arrays of them alike.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BETTER, EQUIVALENT, WORSE, INCONCLUSIVE = "better", "equivalent", "worse", "inconclusive"
VERDICTS = (BETTER, EQUIVALENT, WORSE, INCONCLUSIVE)
POWER = 0.8


def equivalence_p_value(
    difference: npt.ArrayLike, se: npt.ArrayLike, df: npt.ArrayLike, margin: float
) -> Array:
    """The p value of two one-sided t tests that a difference lies within +-margin.

    The larger of P(T >= (d + m) / se) and P(T <= (d - m) / se), at most alpha where the interval
    of confidence 1 - 2 alpha lies within +-margin
    (Schuirmann 1987, doi:10.1007/BF01068419). At least 0.5 for a margin of 0. NaN without an error.
    """
    from scipy.special import stdtr

    d, se = np.asarray(difference, float), _positive(se)
    df = np.asarray(df, float)
    return np.maximum(stdtr(df, -(d + margin) / se), stdtr(df, (d - margin) / se))


def verdict(difference: float, reject: bool, p_equivalence: float, alpha: float) -> str:
    """One of VERDICTS for a first model (or loss) against a second.

    Where the difference is within the margin by both one-sided tests it is `equivalent`, also if
    it is not 0 by the other test: readers of equivalence trials (Piaggio 2012,
    doi:10.1001/jama.2012.87802) and of regions of practical equivalence (Benavoli 2017) take an
    interval inside the margin for that wherever 0 lies. Else `better` or `worse` where the
    adjusted test rejects, and `inconclusive` where nothing is shown. `p_equivalence`: NaN where
    the study states no margin.
    """
    # At a level of 0.5 a margin of 0 would do for a difference of exactly 0.
    if p_equivalence <= alpha and p_equivalence < 0.5:
        return EQUIVALENT
    if not reject or not difference:
        return INCONCLUSIVE
    return BETTER if difference > 0 else WORSE


def detectable_difference(
    se: npt.ArrayLike, df: npt.ArrayLike, alpha: float = 0.05, power: float = POWER
) -> Array:
    """The smallest true difference that a two-sided t test finds with that power.

    se times the noncentrality at which T' (df) exceeds the central t's 1 - alpha/2 quantile with
    probability `power`. That beyond the other quantile is left out; it is below 1e-5 for a power
    of 0.8. NaN without an error, or with fewer than one degree of freedom.
    """
    from scipy.special import nctdtrinc, stdtrit

    se, df = _positive(se), np.asarray(df, float)
    known = np.where(df >= 1, df, nan)
    found = nctdtrinc(known, 1 - power, stdtrit(known, 1 - np.asarray(alpha) / 2)) * se
    return np.where(np.isnan(known), nan, found)


@dataclass(frozen=True)
class Posterior:
    """Of the true difference: above 0, above the margin, within it, below minus the margin."""

    positive: Array
    better: Array
    equivalent: Array
    worse: Array


def posterior(
    difference: npt.ArrayLike, se: npt.ArrayLike, df: npt.ArrayLike, margin: float = 0.0
) -> Posterior:
    """Probabilities of the true difference under a flat prior.

    The difference plus se times Student's t: the correlated Bayesian t test (Benavoli et al. 2017,
    J Mach Learn Res 18(77)) with the standard error in place of that of its folds. `better`,
    `equivalent` and `worse` sum to 1.
    """
    from scipy.special import stdtr

    d, se, df = np.asarray(difference, float), _positive(se), np.asarray(df, float)
    better, worse = stdtr(df, (d - margin) / se), stdtr(df, (-d - margin) / se)
    return Posterior(stdtr(df, d / se), better, np.maximum(1 - better - worse, 0.0), worse)


def _positive(se: npt.ArrayLike) -> Array:
    """Standard errors, NaN for those that are no error at all."""
    found = np.asarray(se, float)
    return np.where(found > 0, found, nan)


@dataclass(frozen=True)
class Outperformance:
    """Probability that a run of one loss has the higher value than one of another."""

    probability: float
    ci_low: float = nan
    ci_high: float = nan


def outperformance(
    values_a: npt.ArrayLike,
    values_b: npt.ArrayLike,
    drawn_a: npt.ArrayLike,
    drawn_b: npt.ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    paired: bool = False,
) -> Outperformance:
    """P(A > B) that one further run of A beats one of B on the same patients.

    The share of pairs of runs in which A's value is higher, ties half (Bouthillier et al. 2021,
    Proc MLSys 3:747-769, who call A better where the interval is above 0.5 and reaches above
    0.75). `values` (runs,); `drawn` (R, runs): in resamples of the patients, common to both.
    Seeds of two losses are independent, so every run of A meets every run of B; `paired` runs
    (an ensemble and its member of the same replicate) meet their own alone. The interval takes
    percentiles over resamples of runs and patients together. NaN with fewer than two runs.
    """
    a, b = np.asarray(values_a, float), np.asarray(values_b, float)
    boot_a, boot_b = np.asarray(drawn_a, float), np.asarray(drawn_b, float)
    if min(len(a), len(b)) < 2 or np.isnan(a).any() or np.isnan(b).any():
        return Outperformance(nan)
    if paired and len(a) != len(b):
        raise ValueError("paired runs must be as many of A as of B")

    def share(first: Array, second: Array) -> Array:
        if not paired:
            first, second = first[..., :, None], second[..., None, :]
        wins = (first > second) + 0.5 * (first == second)
        return wins.mean(axis=-1) if paired else wins.mean(axis=(-2, -1))

    count = len(boot_a)
    of_a = rng.integers(0, len(a), (count, len(a)))
    of_b = of_a if paired else rng.integers(0, len(b), (count, len(b)))
    shares = share(
        np.take_along_axis(boot_a, of_a, axis=1), np.take_along_axis(boot_b, of_b, axis=1)
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return Outperformance(float(share(a, b)), float(low), float(high))
