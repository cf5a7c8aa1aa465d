"""Resampling of patients, and intervals from the resamples.

`scipy.stats.bootstrap` draws single images, not all of a patient, and has no strata.
"""

from collections.abc import Sequence
from math import nan

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]

# What the column `ci_method` says, in words.
INTERVALS = {
    "percentile": "percentile bootstrap",
    "bca": "bias-corrected and accelerated bootstrap",
    "transformed": "bootstrap on a transformed scale",
    "wilson": "Wilson",
    "binomial": "binomial normal approximation, as published",
}
# So many patients are left out one by one for the BCa interval; of more, some at a time.
MOST_LEFT_OUT = 1000
# Numbers that are drawn or copied at a time: 16 MB.
BLOCK_ELEMENTS = 2**21
# That of the published study, which takes MCC for a proportion.
PUBLISHED = "binomial"


def patient_codes(patients: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], int]:
    """Patients as integers (N,) in order of first appearance, and how many there are.

    The order of appearance, not of the names, so that renaming patients changes nothing.
    """
    codes, seen = pd.factorize(np.asarray(patients), use_na_sentinel=False)
    return codes.astype(np.intp, copy=False), len(seen)


def label_strata(patients: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The stratum of each image (N,): the set of labels that its patient has.

    Resampling within these strata keeps every class in every resample. A stratum of one
    patient could never vary, so it joins the largest stratum that shares a class with it,
    unless some class would then no longer be certain to be drawn.
    """
    codes, count = patient_codes(patients)
    labels = np.asarray(y)
    sets: list[set[int]] = [set() for _ in range(count)]
    for code, label in zip(codes.tolist(), labels.tolist(), strict=True):
        sets[code].add(label)
    strata: dict[frozenset[int], list[int]] = {}
    for code, found in enumerate(sets):
        strata.setdefault(frozenset(found), []).append(code)
    ordered = sorted(strata.items(), key=lambda item: (-len(item[1]), sorted(item[0])))
    groups = [(set(found), list(members)) for found, members in ordered]
    classes = set().union(*sets)

    def certain(candidate: list[tuple[set[int], list[int]]]) -> bool:
        return set().union(*(found for found, _ in candidate)) == classes

    for found, members in [group for group in groups if len(group[1]) == 1]:
        for home in range(len(groups)):
            home_found, home_members = groups[home]
            if home_members is members or not home_found & found:
                continue
            # What every patient of the merged stratum has is what it is sure to contribute.
            merged = [group for k, group in enumerate(groups) if k != home]
            merged = [group for group in merged if group[1] is not members]
            merged.insert(min(home, len(merged)), (home_found & found, home_members + members))
            if certain(merged):
                groups = merged
                break
    of_patient = np.empty(count, dtype=np.intp)
    for stratum, (_, members) in enumerate(groups):
        of_patient[members] = stratum
    return of_patient[codes]


def _members(
    codes: npt.NDArray[np.intp], count: int, strata: npt.ArrayLike | None
) -> list[npt.NDArray[np.intp]]:
    """Patients of each stratum."""
    of_patient = np.zeros(count, dtype=np.intp)
    if strata is not None:
        of_image, _ = patient_codes(strata)
        of_patient[codes] = of_image
        if not np.array_equal(of_patient[codes], of_image):
            raise ValueError("the images of one patient must lie in one stratum")
    return [np.flatnonzero(of_patient == s) for s in range(of_patient.max() + 1)]


def patient_weights(
    patients: npt.ArrayLike,
    strata: npt.ArrayLike | None,
    resamples: int,
    rng: np.random.Generator,
) -> Array:
    """How often each image counts in each resample of the patients, (R, N) float64.

    Patients are drawn with replacement within strata (N,), all images of a patient
    together; every stratum keeps its number of patients. Raises ValueError when a patient
    lies in two strata.
    """
    codes, count = patient_codes(patients)
    drawn = np.zeros((resamples, count), dtype=np.int32)
    for members in _members(codes, count, strata):
        size = len(members)
        share = np.full(size, 1 / size)
        for part in _blocks(resamples, size):
            drawn[part, members] = rng.multinomial(size, share, size=part.stop - part.start)
    weights = np.empty((resamples, len(codes)))
    for part in _blocks(resamples, len(codes)):
        weights[part] = drawn[part].take(codes, axis=1)
    return weights


def _blocks(rows: int, width: int) -> list[slice]:
    """Some rows at a time of an array (rows, width), so that no copy of all is ever held."""
    at_once = max(1, BLOCK_ELEMENTS // width)
    return [slice(start, min(start + at_once, rows)) for start in range(0, rows, at_once)]


def effective_patients(patients: npt.ArrayLike) -> float:
    """As many patients of equal size as tell as much: (sum m)^2 / sum m^2 for m images each.

    Kish's effective sample size (1965) of images (N,) whose patients carry the information; the
    number of patients where all have as many images.
    """
    codes, _ = patient_codes(patients)
    images = np.bincount(codes)
    return float(len(codes) ** 2 / (images**2).sum())


def largest_share(patients: npt.ArrayLike) -> float:
    """The share of the images (N,) that are of one patient, at most."""
    codes, _ = patient_codes(patients)
    return float(np.bincount(codes).max() / len(codes))


def degrees_of_freedom(patients: npt.ArrayLike, strata: npt.ArrayLike) -> float:
    """Of a variance between patients within strata (N,): effective patients minus strata.

    A patient with many images contributes most of the variance and of its uncertainty, and the
    number of patients does not tell: with contributions of variance proportional to m images,
    Satterthwaite's degrees of freedom are (sum m)^2 / sum m^2. At least 1 where there are more
    patients than strata; patients minus strata where all have as many images.
    """
    _, count = patient_codes(patients)
    spent = len(set(np.asarray(strata).tolist()))
    return min(count - spent, max(1.0, effective_patients(patients) - spent))


def leave_one_out_weights(patients: npt.ArrayLike, part: slice = slice(None)) -> Array:
    """Unit weights with one patient's images at 0 in each row, (P, N).

    `part`: of the patients, in order of first appearance; all at once are P x N numbers.
    """
    codes, count = patient_codes(patients)
    return (codes[None, :] != np.arange(count)[part, None]).astype(np.float64)


def jackknife_groups(
    patients: npt.ArrayLike, strata: npt.ArrayLike | None = None, most: int = MOST_LEFT_OUT
) -> npt.NDArray[np.intp]:
    """What is left out at a time, by image (N,): a patient, or some where there are many.

    Up to `most` patients each is a group of its own. Of more, those of a stratum are dealt into
    groups in proportion to its size (20 at least): leaving one after the other out of a large split
    takes patients times images. The influence of a group is the mean of its patients', so that the
    sums in `acceleration` are on average what they were (the delete-a-group jackknife).
    """
    codes, count = patient_codes(patients)
    group_of, taken = np.arange(count), 0
    for members in _members(codes, count, strata):
        size = len(members)
        groups = size if count <= most else min(size, max(20, -(-most * size // count)))
        group_of[members] = taken + np.arange(size) % groups
        taken += groups
    return group_of[codes]


def acceleration(
    jackknife: npt.ArrayLike, patients: npt.ArrayLike, strata: npt.ArrayLike | None = None
) -> Array:
    """The BCa acceleration of M statistics from leave-one-patient-out values (P, M).

    For stratified samples: sum_h n_h^-3 sum l^3 / (6 (sum_h n_h^-2 sum l^2)^1.5), with l the
    jackknife influence values within stratum h of n_h patients (Davison & Hinkley 1997,
    section 5.4). 0 where the statistic does not vary.
    """
    values = np.asarray(jackknife, dtype=np.float64)
    codes, count = patient_codes(patients)
    cubes = squares = np.zeros(values.shape[1:])
    for members in _members(codes, count, strata):
        size = len(members)
        if size < 2:
            continue
        part = values[members]
        influence = (size - 1) * (_mean(part) - part)
        cubes = cubes + np.nansum(influence**3, axis=0) / size**3
        squares = squares + np.nansum(influence**2, axis=0) / size**2
    scale = 6 * squares**1.5
    return np.divide(cubes, scale, out=np.zeros_like(scale), where=scale > 0)


def percentile_interval(resampled: npt.ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Equal-tailed percentiles of resampled values (R, M) -> two (M,); NaNs are left out."""
    values = np.asarray(resampled, dtype=np.float64)
    tail = (1 - confidence) / 2
    low, high = _quantiles(values, (tail, 1 - tail))
    return low, high


def bca_interval(
    resampled: npt.ArrayLike,
    estimate: npt.ArrayLike,
    accelerated: npt.ArrayLike,
    confidence: float = 0.95,
) -> tuple[Array, Array]:
    """Bias-corrected and accelerated interval (Efron 1987) of M statistics, two (M,).

    `resampled` (R, M), `estimate` (M,), `accelerated` (M,) as from `acceleration`. Resampled
    values equal to the estimate count half for the bias, as discrete statistics need.
    """
    from scipy.stats import norm

    values = np.asarray(resampled, dtype=np.float64)
    observed, accelerated = np.asarray(estimate, float), np.asarray(accelerated, float)
    unknown = np.isnan(values)
    below = _mean(np.where(unknown, np.nan, (values < observed) + 0.5 * (values == observed)))
    count = len(values)
    bias = norm.ppf(np.clip(below, 0.5 / count, 1 - 0.5 / count))
    levels = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        shifted = bias + norm.ppf(tail)
        levels.append(norm.cdf(bias + shifted / (1 - accelerated * shifted)))
    low, high = _quantiles(values, levels)
    return low, high


def transformed_interval(
    resampled: npt.ArrayLike,
    estimate: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    df: float,
    confidence: float = 0.95,
) -> tuple[Array, Array]:
    """Interval estimate +- t * SD on a scale without bounds, where SD is that of the resamples.

    `resampled` (R, M), `estimate`, `low`, `high` (M,): the scale of a statistic between two
    bounds is the logit of its place between them (for a correlation this is Fisher's z), that
    of one bounded below alone the logarithm. `df`: degrees of freedom of Student's t.
    Near a bound, where percentiles fall short, its coverage is the best of the methods in
    docs/statistics-simulation.md. Resamples on or next to the bound count as a tenth of the
    estimate's distance from it. NaN where the estimate lies on a bound (but for rounding) or
    does not vary.
    """
    from scipy.special import stdtrit

    values = np.asarray(resampled, dtype=np.float64)
    observed, low, high = (np.asarray(array, float) for array in (estimate, low, high))
    bounded = np.isfinite(high)
    top = np.where(bounded, high, 0.0)
    inside = (observed - low > 1e-12) & ((high - observed > 1e-12) | ~bounded)

    def free(x: Array) -> Array:
        below = np.log(np.maximum(x - low, (observed - low) / 10))
        above = np.log(
            np.maximum(top - x, (top - observed) / 10), where=bounded, out=np.zeros(x.shape)
        )
        return below - above

    with np.errstate(divide="ignore", invalid="ignore"):
        middle = free(observed)
        spread = _sd(free(values))
        margin = float(stdtrit(max(df, 1.0), (1 + confidence) / 2)) * spread
        bounds = []
        for end in (middle - margin, middle + margin):
            odds = np.exp(end)
            share = np.where(bounded, low + (top - low) / (1 + 1 / odds), low + odds)
            bounds.append(np.where(inside & (spread > 1e-12), share, np.nan))
    return bounds[0], bounds[1]


def proportion_interval(
    success: npt.ArrayLike, patients: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson interval of a proportion of images (N,), as if of as many as the patients allow.

    The number of images is divided by the design effect: the variance of the proportion with
    patients as clusters over that of independent images, at least 1. Where all succeed or all
    fail it is not known, and patients are counted instead, which is the most careful.
    """
    from statsmodels.stats.proportion import proportion_confint

    success = np.asarray(success, dtype=np.float64)
    codes, count = patient_codes(patients)
    n, rate = len(success), float(success.mean())
    effective = float(count)
    if 0 < rate < 1 and count > 1:
        residual = np.bincount(codes, success - rate)
        clustered = count / (count - 1) * (residual**2).sum() / n**2
        effective = n / max(1.0, clustered / (rate * (1 - rate) / (n - 1)))
    found = proportion_confint(rate * effective, effective, 1 - confidence, method="wilson")
    return float(found[0]), float(found[1])


def binomial_interval(value: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The published study's interval of MCC: value +- z sqrt(value (1 - value) / n).

    It takes MCC for a proportion and images for independent; kept so that the published ends
    can be checked. NaN outside [0, 1].
    """
    from scipy.stats import norm

    if not 0 <= value <= 1:
        return nan, nan
    margin = float(norm.ppf((1 + confidence) / 2)) * np.sqrt(value * (1 - value) / n)
    return value - margin, value + margin


def _mean(values: Array) -> Array:
    """Mean of each column, NaNs left out; NaN where nothing is left."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _sd(values: Array) -> Array:
    """Standard deviation of each column, NaNs left out; NaN where fewer than two are left."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    squares = (np.where(known, values - _mean(values), 0.0) ** 2).sum(axis=0)
    variance = np.divide(squares, count - 1, out=np.full(squares.shape, np.nan), where=count > 1)
    return np.sqrt(variance)


def _quantiles(values: Array, levels: Sequence[float | Array]) -> list[Array]:
    """Quantiles of the columns (R, M), each level one for all or one for each, NaNs left out."""
    # Sorted where the numbers of a column lie together, once for all levels.
    ordered = np.sort(np.ascontiguousarray(values.T), axis=1)
    defined = (~np.isnan(ordered)).sum(axis=1)
    columns, found = np.arange(len(ordered)), []
    for level in levels:
        place = np.clip(np.nan_to_num(level), 0, 1) * (defined - 1)
        low = np.floor(np.maximum(place, 0)).astype(np.intp)
        high = np.minimum(low + 1, np.maximum(defined - 1, 0))
        # Interpolated as numpy's default does.
        result = ordered[columns, low] + (place - low) * (
            ordered[columns, high] - ordered[columns, low]
        )
        found.append(np.where(defined > 0, result, np.nan))
    return found
