"""Tests of whether two models differ on the same images, where images come in patients.

Those of scipy and statsmodels take images as independent; where that is meant, they are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes, percentile_interval
from multiloss.statistics.mcc import mcc_of_confusion, mcc_or_chance

Array = npt.NDArray[np.float64]

# With so few patients who can be swapped, all swaps are enumerated: at most 2^13 of them.
EXACT_UP_TO = 13
# Differences closer than rounding noise are ties, which count against rejecting.
TIE = 1e-12
CHUNK_ELEMENTS = 2**21


@dataclass(frozen=True)
class Result:
    """One comparison of two models: `difference` is first minus second."""

    difference: float
    statistic: float
    p_value: float
    ci_low: float = nan
    ci_high: float = nan
    reason: str = ""


def _accuracy(confusion: Array) -> Array:
    return np.einsum("...ii->...", confusion) / np.einsum("...ij->...", confusion)


def _mcc(confusion: Array) -> Array:
    return mcc_or_chance(mcc_of_confusion(confusion))


STATISTICS = {"mcc": _mcc, "accuracy": _accuracy}


@dataclass(frozen=True)
class Permutation(Result):
    """`permutations`: how many were looked at; `exact`: whether these are all there are."""

    permutations: int = 0
    exact: bool = False
    patients_that_differ: int = 0


def permutations_needed(hypotheses: int, alpha: float, wanted: int) -> int:
    """Enough permutations for Holm over that many hypotheses to be able to reject.

    The smallest p-value of B random permutations is 1 / (B + 1) and Holm's first threshold
    alpha / m. Ten times the bare minimum, so that one unlucky draw does not decide.
    """
    return max(wanted, int(np.ceil(10 * max(hypotheses, 1) / alpha)))


def permutation_test(
    y: npt.ArrayLike,
    predicted_a: npt.ArrayLike,
    predicted_b: npt.ArrayLike,
    patients: npt.ArrayLike,
    n_classes: int,
    permutations: int,
    rng: np.random.Generator,
    statistics: Sequence[str] = ("mcc", "accuracy"),
) -> dict[str, Permutation]:
    """Sign-flip permutation by patient of the difference in MCC and in accuracy.

    Under no difference the two models' predictions of one patient may be exchanged, all
    images of the patient together. The statistic is recomputed from the two confusion
    matrices after each exchange. Two-sided p = (1 + #{|d*| >= |d|}) / (B + 1), or over all
    2^m exchanges where at most 13 patients differ. Arrays are (N,): class indices in
    [0, n_classes) and patient ids. The test depends on no order of patients or images beyond
    the random draws, and exchanging a and b changes only the signs.
    """
    y, a, b = (np.asarray(values, dtype=np.intp) for values in (y, predicted_a, predicted_b))
    codes, count = patient_codes(patients)
    size = n_classes**2

    def tables(predicted: npt.NDArray[np.intp]) -> Array:
        flat = codes * size + y * n_classes + predicted
        return np.bincount(flat, minlength=count * size).reshape(count, size).astype(float)

    of_a, of_b = tables(a), tables(b)
    change = of_b - of_a
    change = change[(change != 0).any(axis=1)]
    total_a, total_b = of_a.sum(axis=0), of_b.sum(axis=0)
    differing = len(change)
    exact = differing <= EXACT_UP_TO
    draws = 2**differing if exact else permutations

    def both(moved: Array) -> tuple[Array, Array]:
        shape = (-1, n_classes, n_classes)
        return (total_a + moved).reshape(shape), (total_b - moved).reshape(shape)

    observed = {name: float(np.subtract(*map(STATISTICS[name], both(np.zeros((1, size)))))[0])
                for name in statistics}  # fmt: skip
    hits = dict.fromkeys(statistics, 0)
    rows = max(1, CHUNK_ELEMENTS // max(differing, size))
    for start in range(0, draws, rows):
        number = min(rows, draws - start)
        if exact:
            bits = np.arange(start, start + number)[:, None] >> np.arange(differing)
            swapped = (bits & 1).astype(np.float64)
        else:
            swapped = rng.integers(0, 2, (number, differing), dtype=np.int8).astype(np.float64)
        pair = both(swapped @ change)
        for name in statistics:
            shuffled = np.subtract(*map(STATISTICS[name], pair))
            hits[name] += int((np.abs(shuffled) >= abs(observed[name]) - TIE).sum())
    return {
        name: Permutation(
            difference=observed[name],
            statistic=observed[name],
            p_value=hits[name] / draws if exact else (hits[name] + 1) / (draws + 1),
            permutations=draws,
            exact=exact,
            patients_that_differ=differing,
            reason="" if differing else "both models predict the same classes",
        )
        for name in statistics
    }


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
            return Result(0.0, 0.0, 1.0, 0.0, 0.0, "no difference in any resample")
        return Result(estimate, nan, nan, reason="the same in every resample")
    if method in ("percentile", "bca"):
        low, high = percentile_interval(drawn[:, None], confidence)
        p_value = bootstrap_p_value(drawn)
        return Result(estimate, estimate, p_value, float(low[0]), float(high[0]))
    from scipy.stats import t

    statistic = estimate / spread
    margin = float(t.ppf((1 + confidence) / 2, df)) * spread
    p_value = float(2 * t.sf(abs(statistic), df))
    return Result(estimate, statistic, p_value, estimate - margin, estimate + margin)


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
    from scipy.stats import norm, t

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
    if patients is None:
        margin, p_value = float(norm.ppf(level)) * error, float(2 * norm.sf(abs(statistic)))
    else:
        margin = float(t.ppf(level, max(df, 1))) * error
        p_value = float(2 * t.sf(abs(statistic), max(df, 1)))
    return Result(difference, statistic, p_value, difference - margin, difference + margin)


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
    hits = 0
    rows = max(1, CHUNK_ELEMENTS // max(sums.size, 1))
    for start in range(0, permutations, rows):
        number = min(rows, permutations - start)
        keys = rng.random((number, *sums.shape), dtype=np.float32).argsort(axis=-1)
        totals = np.take_along_axis(sums[None], keys, axis=-1).sum(axis=1)
        hits += int(((totals**2).sum(axis=-1) >= observed - TIE * max(observed, 1.0)).sum())
    return Cochran(
        float(found.statistic),
        float(found.pvalue),
        (hits + 1) / (permutations + 1),
        permutations,
    )


def holm(p_values: npt.ArrayLike) -> Array:
    """Holm-adjusted p-values (Holm 1979); those that are NaN stay so and count for nothing."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.array(p_values, dtype=np.float64)
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = multipletests(adjusted[known], method="holm")[1]
    return adjusted
