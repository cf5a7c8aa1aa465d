"""Tests of whether two models differ on the same images, where images come in patients.

Those of scipy and statsmodels take images as independent; where that is meant, they are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes, percentile_interval
from multiloss.statistics.metrics import OF_CONFUSION, of_confusion
from multiloss.statistics.permutation import (
    EXACT_UP_TO,
    TIE,
    exchange,
    permutations_needed,
)

__all__ = ["EXACT_UP_TO", "TIE", "permutations_needed"]

Array = npt.NDArray[np.float64]

# Numbers that are shuffled at a time: few enough to stay in a core's cache.
SHUFFLED_ELEMENTS = 2**18

# What models are tested by, as functions of confusion matrices (..., K, K).
STATISTICS = {name: partial(of_confusion, name) for name in OF_CONFUSION}


@dataclass(frozen=True)
class Result:
    """One comparison of two models: `difference` is first minus second.

    `se`, `df`: standard error of the difference and its degrees of freedom, where it has one.
    """

    difference: float
    statistic: float
    p_value: float
    ci_low: float = nan
    ci_high: float = nan
    reason: str = ""
    se: float = nan
    df: float = nan


@dataclass(frozen=True)
class Permutation(Result):
    """`permutations`: how many were looked at; `exact`: whether these are all there are;
    `p_adjusted`: over the family of the test."""

    p_adjusted: float = nan
    permutations: int = 0
    exact: bool = False
    patients_that_differ: int = 0


def permutation_test(
    y: npt.ArrayLike,
    predicted_a: npt.ArrayLike,
    predicted_b: npt.ArrayLike,
    patients: npt.ArrayLike,
    n_classes: int,
    permutations: int,
    rng: np.random.Generator,
    statistics: Sequence[str] = ("mcc", "accuracy"),
    confidence: float = 0.95,
) -> dict[str, Permutation]:
    """Sign-flip permutation by patient of one pair of models: `permutation_tests` of it."""
    (found,) = permutation_tests(
        y,
        [predicted_a, predicted_b],
        [(0, 1)],
        patients,
        n_classes,
        permutations,
        rng,
        statistics,
        confidence,
    )
    return found


def permutation_tests(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    pairs: Sequence[tuple[int, int]],
    patients: npt.ArrayLike,
    n_classes: int,
    permutations: int,
    rng: np.random.Generator,
    statistics: Sequence[str] = ("mcc", "accuracy"),
    confidence: float = 0.95,
) -> list[dict[str, Permutation]]:
    """Sign-flip permutation by patient of a family of pairs, by each statistic.

    Arguments as of `permutation.exchange`. Two-sided p = (1 + #{|d*| >= |d|}) / (B + 1), or over
    all exchanges where at most 13 patients differ; `p_adjusted` by step-down max-T over the
    pairs, each statistic for itself; the interval holds what the exchange does not reject, so
    that it leaves out 0 exactly where p <= 1 - `confidence`.
    """
    found = exchange(y, predicted, pairs, patients, n_classes, permutations, rng, statistics)
    tests: list[dict[str, Permutation]] = [{} for _ in pairs]
    for name, one in found.items():
        low, high = one.intervals(confidence)
        columns = one.observed, one.p_values(), one.step_down(), low, high, one.differing
        for place, values in enumerate(zip(*columns, strict=True)):
            difference, p_value, adjusted, start, end, differing = values
            reason = ""
            if np.isnan(p_value):
                reason = "undefined on these images, or after some exchanges"
            elif not differing:
                reason, start, end = "both models predict the same classes", 0.0, 0.0
            elif np.isnan(start):
                reason = "too few patients for an interval"
            tests[place][name] = Permutation(
                difference=float(difference),
                statistic=float(difference),
                p_value=float(p_value),
                ci_low=float(start),
                ci_high=float(end),
                reason=reason,
                p_adjusted=float(adjusted),
                permutations=one.permutations,
                exact=one.exact,
                patients_that_differ=int(differing),
            )
    return tests


def bootstrap_p_value(differences: npt.ArrayLike) -> float:
    """Two-sided p from resampled differences (R,): twice the smaller share beyond zero.

    (1 + #) / (R + 1) on each side, so never 0; 1 if no resample differs. NaNs are left out.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return nan
    sides = min((values <= TIE).sum(), (values >= -TIE).sum())
    return float(min(1.0, 2 * (sides + 1) / (len(values) + 1)))


def bootstrap_test(
    resampled: npt.ArrayLike, estimate: float, df: float, method: str, confidence: float = 0.95
) -> Result:
    """A difference with interval and p-value from its paired resamples (R,).

    Interval methods `percentile` and `bca` take percentiles, and p by inverting them, which
    cannot be less than 2 / (R + 1). Otherwise estimate +- t * SD and the p of that t: it does
    not move with the bias that resampling adds to calibration errors.
    """
    drawn = np.asarray(resampled, dtype=np.float64)
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < 2 or df < 1:
        return Result(estimate, nan, nan, reason="too few patients for an interval")
    spread = float(drawn.std(ddof=1))
    if spread < TIE:
        if abs(estimate) < TIE:
            why = "no difference in any resample"
            return Result(0.0, 0.0, 1.0, 0.0, 0.0, why, se=0.0, df=df)
        return Result(estimate, nan, nan, reason="the same in every resample")
    if method in ("percentile", "bca"):
        low, high = percentile_interval(drawn[:, None], confidence)
        p_value = bootstrap_p_value(drawn)
        return Result(estimate, estimate, p_value, float(low[0]), float(high[0]), se=spread, df=df)
    from scipy.special import stdtr, stdtrit

    statistic = estimate / spread
    margin = float(stdtrit(df, (1 + confidence) / 2)) * spread
    p_value = float(2 * stdtr(df, -abs(statistic)))
    return Result(
        estimate, statistic, p_value, estimate - margin, estimate + margin, se=spread, df=df
    )


def _placements(scores: Array, positive: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Share of negatives below each positive, and of positives above each negative."""
    up, down = scores[positive], scores[~positive]
    ranked_up, ranked_down = np.sort(up), np.sort(down)
    below = np.searchsorted(ranked_down, up, "left") + np.searchsorted(ranked_down, up, "right")
    above = np.searchsorted(ranked_up, down, "left") + np.searchsorted(ranked_up, down, "right")
    return below / (2 * len(down)), 1 - above / (2 * len(up))


def auroc_standard_error(
    positive: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    minus: npt.ArrayLike | None = None,
) -> tuple[float, float, int]:
    """AUROC (or the difference to that of the scores `minus`), standard error, degrees of freedom.

    DeLong (1988) without `patients`; with them the cluster-adjusted form of Obuchowski
    (1997, doi:10.2307/2533958): sums of placement values over each patient's positive and
    negative images replace those of single images, and their covariance within patients who
    have both enters. The same where every patient has one image. Degrees of freedom are
    those of Welch and Satterthwaite over the patients with and without the class.
    NaN where there are fewer than two such patients on one side.
    """
    positive = np.asarray(positive, dtype=bool)
    values_up, values_down = _placements(np.asarray(scores, float), positive)
    if minus is not None:
        other_up, other_down = _placements(np.asarray(minus, float), positive)
        values_up, values_down = values_up - other_up, values_down - other_down
    area = float(values_up.mean())
    codes, count = patient_codes(np.arange(len(positive)) if patients is None else patients)
    parts = []
    for values, side in ((values_up, positive), (values_down, ~positive)):
        sums = np.bincount(codes[side], values - area, minlength=count)
        images = np.bincount(codes[side], minlength=count)
        parts.append((sums, images > 0, images.sum()))
    (up, has_up, m), (down, has_down, n) = parts
    clusters_up, clusters_down = int(has_up.sum()), int(has_down.sum())
    if min(clusters_up, clusters_down) < 2:
        return area, nan, 0
    variance_up = clusters_up / (clusters_up - 1) * (up**2).sum() / m**2
    variance_down = clusters_down / (clusters_down - 1) * (down**2).sum() / n**2
    shared = count / (count - 1) * (up * down).sum() / (m * n)
    variance = max(variance_up + variance_down + 2 * shared, 0.0)
    spread = variance_up**2 / (clusters_up - 1) + variance_down**2 / (clusters_down - 1)
    df = (variance_up + variance_down) ** 2 / spread if spread > 0 else 0.0
    return area, float(np.sqrt(variance)), int(df)


def delong_test(
    positive: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Result:
    """Difference of two correlated AUROCs: DeLong's test, adjusted for patients if given.

    Arrays are (N,); `positive` says which images have the class. Plain DeLong refers z to the
    normal distribution; the adjusted form to Student's t, since patients are fewer than images.
    """
    from scipy.special import stdtr, stdtrit
    from scipy.stats import norm

    positive = np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        side = "all" if positive.all() else "no"
        return Result(nan, nan, nan, reason=f"{side} images are of the class")
    difference, error, df = auroc_standard_error(positive, scores_a, patients, scores_b)
    if abs(difference) < TIE and (np.isnan(error) or error < TIE):
        return Result(0.0, 0.0, 1.0, 0.0, 0.0, "both models rank the images alike")
    if np.isnan(error):
        return Result(difference, nan, nan, reason="too few patients for a standard error")
    if error < TIE:
        return Result(difference, nan, nan, reason="all images agree: the standard error is 0")
    statistic, level = difference / error, (1 + confidence) / 2
    used = np.inf if patients is None else max(df, 1)
    if patients is None:
        margin, p_value = float(norm.ppf(level)) * error, float(2 * norm.sf(abs(statistic)))
    else:
        margin = float(stdtrit(used, level)) * error
        p_value = float(2 * stdtr(used, -abs(statistic)))
    ends = difference - margin, difference + margin
    return Result(difference, statistic, p_value, *ends, se=error, df=used)


def mcnemar_test(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> Result:
    """Exact McNemar test (statsmodels) on booleans (N,): takes images as independent.

    `statistic` is the smaller count of images that only one of the models gets right.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    difference = float(a.mean() - b.mean())
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return Result(0.0, 0.0, 1.0, reason="both models are right on the same images")
    table = [[int((a & b).sum()), only_a], [only_b, int((~a & ~b).sum())]]
    found = mcnemar(table, exact=True)
    return Result(difference, float(found.statistic), float(min(found.pvalue, 1.0)))


@dataclass(frozen=True)
class Cochran:
    """Cochran's Q with the chi-square p of independent images and the p by patient."""

    statistic: float
    p_image_level: float
    p_value: float
    permutations: int
    reason: str = ""


def cochran_test(
    right: npt.ArrayLike,
    patients: npt.ArrayLike,
    permutations: int,
    rng: np.random.Generator,
) -> Cochran:
    """Cochran's Q over M models from booleans (N, M), with a permutation p by patient.

    Under no difference the models' columns may be exchanged within a patient, all images of
    the patient together. That keeps each image's number of right models, so Q grows with the
    sum of squares of the models' totals alone, which is what is permuted.
    """
    from statsmodels.stats.contingency_tables import cochrans_q

    right = np.asarray(right, dtype=np.float64)
    models = right.shape[1]
    if models < 2:
        return Cochran(nan, nan, nan, 0, "fewer than two models")
    varies = (right.sum(axis=1) % models != 0).any()
    if not varies:
        return Cochran(0.0, 1.0, 1.0, 0, "all models are right on the same images")
    found = cochrans_q(right)
    codes, count = patient_codes(patients)
    sums = np.stack([np.bincount(codes, right[:, k], minlength=count) for k in range(models)], 1)
    sums = sums[(sums != sums[:, :1]).any(axis=1)]
    observed = ((sums.sum(axis=0)) ** 2).sum() if len(sums) else 0.0
    hits, first_of_patient = 0, models * np.arange(len(sums))[:, None]
    rows = max(1, SHUFFLED_ELEMENTS // max(sums.size, 1))
    for start in range(0, permutations, rows):
        number = min(rows, permutations - start)
        keys = rng.random((number, *sums.shape), dtype=np.float32).argsort(axis=-1)
        keys += first_of_patient
        totals = sums.take(keys).sum(axis=1)
        hits += int(((totals**2).sum(axis=-1) >= observed - TIE * max(observed, 1.0)).sum())
    return Cochran(
        float(found.statistic),
        float(found.pvalue),
        (hits + 1) / (permutations + 1),
        permutations,
    )


def holm(p_values: npt.ArrayLike) -> Array:
    """Holm-adjusted p-values (Holm 1979); those that are NaN stay so and count for nothing.

    The smallest times m, the next times m - 1, never falling, at most 1. `multipletests` of
    statsmodels gives the same, but collects all garbage first: 0.1 s a family.
    """
    adjusted = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(adjusted))
    order = known[np.argsort(adjusted[known], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(adjusted[order] * steps), 1.0)
    return adjusted
