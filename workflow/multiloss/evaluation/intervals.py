"""The interval of each metric by the method that the config names, or why there is none."""

from collections.abc import Sequence
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss import metrics
from multiloss.evaluation.resamples import Options, Resamples
from multiloss.statistics import bootstrap

Array = npt.NDArray[np.float64]

# Where all images agree, resampling cannot vary, but a proportion still has an interval.
PROPORTIONS = ("accuracy", "recall", "precision", "sensitivity", "specificity")


def _members(name: str, sample: metrics.Sample, classes: Sequence[str]) -> Array | None:
    """Which images a proportion is of, and whether each counts as a success: (2, N) or None."""
    metric, k = metrics.lookup(name, classes)
    if metric.name not in PROPORTIONS or (metric.name == "precision" and k is None):
        return None
    right = sample.predicted == sample.y
    if k is None:
        return np.stack([np.ones(sample.n), right]).astype(bool)
    truth, called = sample.y == k, sample.called[:, k] > 0
    return {
        "recall": lambda: np.stack([truth, right]),
        "precision": lambda: np.stack([sample.predicted == k, right]),
        "sensitivity": lambda: np.stack([truth, called]),
        "specificity": lambda: np.stack([~truth, ~called]),
    }[metric.name]()


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
        out = bootstrap.leave_one_out_weights(resamples.patients)
        speed = bootstrap.acceleration(
            metrics.compute_many(wanted, sample, out, classes),
            resamples.patients,
            resamples.strata,
        )
        low, high = bootstrap.bca_interval(resampled, values, speed, confidence)
    else:
        bounds = [metrics.lookup(name, classes)[0] for name in wanted]
        low, high = bootstrap.transformed_interval(
            resampled,
            values,
            [metric.low for metric in bounds],
            [metric.high for metric in bounds],
            resamples.freedom,
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
        drawn = resampled[:, place]
        drawn = drawn[~np.isnan(drawn)]
        if resamples.n_patients < 2:
            low[place] = high[place] = nan
            methods[place], reasons[place] = "", "one patient: no interval"
        elif not len(drawn) or np.ptp(drawn) <= 1e-12:
            methods[place], reasons[place] = "", "the same in every resample: no interval"
            low[place] = high[place] = nan
            pair = _members(name, sample, classes)
            if pair is not None and pair[0].any():
                inside, success = pair
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
