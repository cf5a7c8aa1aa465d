"""The interval of each metric by the method that the config names, or why there is none."""

from collections.abc import Sequence
from functools import cache
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.evaluation.resamples import Options, Resamples
from multiloss.statistics import bootstrap, metrics

Array = npt.NDArray[np.float64]

# Weights of images with one patient left out that are held at once: 16 MB.
JACKKNIFE_ELEMENTS = 2**21


# From this value on, and below so many patients of the class, intervals of metrics by rank are
# short: see docs/families-simulation.md and docs/statistics-simulation.md. Those of metrics by
# counts are not.
CLOSE_TO_ONE, MANY_PATIENTS = 0.98, 100
BY_RANK = ("auroc", "auroc_macro", "auprc", "auprc_macro")
NEAR_ONE = "near the edge of its range"


def near_one(row: metrics.Row, value: float, y: npt.ArrayLike, patients: npt.ArrayLike) -> str:
    """What is to be said of a bootstrap interval known to be too short, or an empty text.

    `value`: of the metric on images with labels `y` (N,) of `patients` (N,). A metric of one
    class depends on the patients who have it, an average on those of the smallest class.
    """
    if row.metric.name not in BY_RANK or not value >= CLOSE_TO_ONE:
        return ""
    y, patients = np.asarray(y), np.asarray(patients)
    labels = np.unique(y) if row.index is None else [row.index]
    fewest = min(len(set(patients[y == label].tolist())) for label in labels)
    if fewest >= MANY_PATIENTS:
        return ""
    whose = "the smallest class" if row.index is None else "the class"
    return f"{NEAR_ONE} with {fewest} patients of {whose}: the interval may be too narrow"


@cache
def depend_on_mix(classes: tuple[str, ...]) -> frozenset[str]:
    """The metrics whose value changes with the shares of the classes, all else being equal.

    Resamples keep the number of patients of each class, so that the intervals of these metrics
    are for test sets of the same mix. Told by counting one class twice.
    """
    count = len(classes)
    y = np.repeat(np.arange(count), 40)
    scores = np.random.default_rng(0).random((len(y), count)) + np.eye(count)[y] / 2
    sample = metrics.Sample(
        y, scores / scores.sum(axis=1, keepdims=True), thresholds=np.full(count, 1 / count)
    )
    names = metrics.names(classes)
    weights = np.stack([np.ones(len(y)), *(1.0 + (y == k) for k in range(count))])
    values = metrics.compute_many(names, sample, weights, classes)
    moved = np.nanmax(np.abs(values - values[0]), axis=0) > 1e-9
    return frozenset(name for name, moves in zip(names, moved, strict=True) if moves)


BIASED = (
    "no interval: in a finite sample it cannot reach 0; see `expected` in calibration_scores.csv"
)


def intervals(
    wanted: Sequence[str],
    sample: metrics.Sample,
    values: Array,
    resampled: Array,
    resamples: Resamples,
    options: Options,
    classes: Sequence[str],
) -> tuple[Array, Array, list[str], list[str]]:
    """Ends, method and reason for the interval of each metric."""
    confidence, method = options["confidence"], options["interval"]
    if method == "percentile" or resamples.n_patients < 2:
        low, high = bootstrap.percentile_interval(resampled, confidence)
    elif method == "bca":
        groups = bootstrap.jackknife_groups(resamples.patients, resamples.strata)
        acceleration = bootstrap.acceleration(
            _jackknife(wanted, sample, groups, classes), groups, resamples.strata
        )
        low, high = bootstrap.bca_interval(resampled, values, acceleration, confidence)
    else:
        known = [metrics.lookup(name, classes).metric for name in wanted]
        low, high = bootstrap.transformed_interval(
            resampled,
            values,
            [metric.low for metric in known],
            [metric.high for metric in known],
            resamples.df,
            confidence,
        )
        method = "transformed"
    methods, reasons = [method] * len(wanted), [""] * len(wanted)
    for place, name in enumerate(wanted):
        if np.isnan(values[place]):
            low[place] = high[place] = nan
            methods[place] = ""
            reasons[place] = metrics.undefined_reason(name, sample, classes)
            continue
        if metrics.lookup(name, classes).metric.biased:
            low[place] = high[place] = nan
            methods[place], reasons[place] = "", BIASED
            continue
        drawn = resampled[:, place]
        drawn = drawn[~np.isnan(drawn)]
        if resamples.n_patients < 2:
            low[place] = high[place] = nan
            methods[place], reasons[place] = "", "one patient: no interval"
        elif not len(drawn) or np.ptp(drawn) <= 1e-12:
            methods[place], reasons[place] = "", "the same in every resample: no interval"
            low[place] = high[place] = nan
            # Where all images agree, resampling cannot vary, but a proportion has an interval.
            row = metrics.lookup(name, classes)
            of = row.metric.proportion
            inside, success = of(sample, row.index) if of else (np.zeros(sample.n, bool),) * 2
            if inside.any():
                low[place], high[place] = bootstrap.proportion_interval(
                    success[inside], resamples.patients[inside], confidence
                )
                methods[place], reasons[place] = "wilson", "the same in every resample"
        elif np.isnan(low[place]) or np.isnan(high[place]):
            # On the edge of its range the transformed scale ends: one side of the percentiles.
            ends = bootstrap.percentile_interval(drawn[:, None], confidence)
            low[place] = min(ends[0][0], values[place])
            high[place] = max(ends[1][0], values[place])
            methods[place], reasons[place] = "percentile", "the value is on the edge of its range"
        elif len(drawn) < 0.95 * len(resampled):
            share = 1 - len(drawn) / len(resampled)
            reasons[place] = f"undefined in {share:.0%} of the resamples, which were left out"
    return low, high, methods, reasons


def _jackknife(
    wanted: Sequence[str],
    sample: metrics.Sample,
    groups: npt.NDArray[np.intp],
    classes: Sequence[str],
) -> Array:
    """Values (G, M) without one group of patients each; some groups at a time, since their weights
    are groups times images."""
    at_once = max(1, JACKKNIFE_ELEMENTS // sample.n)
    return np.concatenate(
        [
            metrics.compute_many(
                wanted,
                sample,
                bootstrap.leave_one_out_weights(groups, slice(start, start + at_once)),
                classes,
            )
            for start in range(0, len(np.unique(groups)), at_once)
        ]
    )
