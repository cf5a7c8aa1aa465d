"""The interval of each metric by the method that the config names, or why there is none."""

from collections.abc import Sequence
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.evaluation.resamples import Options, Resamples
from multiloss.statistics import bootstrap, metrics

Array = npt.NDArray[np.float64]

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
        out = bootstrap.leave_one_out_weights(resamples.patients)
        acceleration = bootstrap.acceleration(
            metrics.compute_many(wanted, sample, out, classes),
            resamples.patients,
            resamples.strata,
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
