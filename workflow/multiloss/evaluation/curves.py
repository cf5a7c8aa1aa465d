"""ROC and precision-recall curves with pointwise bands."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import nan

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.resamples import Options, Resamples, failed, resample
from multiloss.predictions import Predictions
from multiloss.statistics import bootstrap, metrics

Array = npt.NDArray[np.float64]

CURVE_GRID = np.linspace(0.0, 1.0, 101)
# Resamples whose curves are read off together: few enough to stay in a core's cache.
AT_ONCE = 128


def curve_on_grid(true: Array, false: Array, curve: str) -> Array:
    """A ROC or precision-recall curve at the 101 points of CURVE_GRID, (R, 101).

    `true`, `false` (R, G): counts above each falling threshold. ROC: sensitivity at a false
    positive rate, linear between thresholds and the upper end of vertical steps. PR: precision
    where that recall is first reached, as in the average precision. NaN without positives (or
    negatives, for ROC).
    """
    result = np.full((len(true), len(CURVE_GRID)), nan)
    defined = true[:, -1] > 0
    if curve == "roc":
        defined &= false[:, -1] > 0
    keep = np.flatnonzero(defined)
    if not len(keep):
        return result
    true, false = (np.pad(counts[keep], ((0, 0), (1, 0))) for counts in (true, false))
    x = false / false[:, -1:] if curve == "roc" else true / true[:, -1:]
    width = x.shape[1]
    # One search for all rows: each is shifted beyond the one before.
    at = np.arange(len(keep))[:, None]
    shift, start = 2.0 * at, width * at
    if curve == "roc":
        where = np.searchsorted((x + shift).ravel(), (CURVE_GRID + shift + 1e-9).ravel(), "right")
        left = np.clip(where.reshape(len(keep), -1) - 1 - start, 0, width - 1)
        right = np.minimum(left + 1, width - 1)
        gap = x[at, right] - x[at, left]
        share = np.divide(CURVE_GRID - x[at, left], gap, out=np.zeros(gap.shape), where=gap > 1e-12)
        share = np.clip(share, 0, 1)
        low, high = (true[at, place] / true[:, -1:] for place in (left, right))
        result[keep] = low + share * (high - low)
    else:
        where = np.searchsorted((x + shift).ravel(), (CURVE_GRID + shift - 1e-9).ravel(), "left")
        place = np.clip(where.reshape(len(keep), -1) - start, 1, width - 1)
        # Thresholds that nothing in this resample reaches have no precision: take the next.
        place = np.maximum(place, (true + false == 0).sum(axis=1, keepdims=True))
        found = true[at, place]
        result[keep] = found / (found + false[at, place])
    return result


def _curves_of_model(
    model: str,
    p: Array,
    y: npt.NDArray[np.intp],
    resamples: Resamples,
    classes: Sequence[str],
    confidence: float,
) -> list[pd.DataFrame]:
    sample, parts = metrics.Sample(y, p), []
    tail = (1 - confidence) / 2
    for which, label in [(metrics.ALL_CLASSES, metrics.ALL_CLASSES), *enumerate(classes)]:
        drawn: dict[str, list[Array]] = {"roc": [], "pr": []}
        for _, weighted in metrics.chunks(sample, resamples.weightings):
            true, false = weighted.curve(which)
            for start in range(0, len(true), AT_ONCE):
                rows = slice(start, start + AT_ONCE)
                for curve, values in drawn.items():
                    values.append(curve_on_grid(true[rows], false[rows], curve))
        once = metrics.Weighted(sample, np.ones((1, sample.n))).curve(which)
        for curve, values in drawn.items():
            line = curve_on_grid(*once, curve)[0]
            if np.isnan(line).all():
                continue
            band = np.concatenate(values)
            low, high = bootstrap.percentile_interval(band, 1 - 2 * tail)
            frame = {"model": model, "split": "test", "curve": curve, "class": label}
            frame |= {"x": CURVE_GRID, "y": line, "y_low": low, "y_high": high}
            parts.append(pd.DataFrame(frame))
    return parts


def curves_table(found: Predictions, options: Options, seed: int, threads: int = 1) -> pd.DataFrame:
    """ROC and precision-recall curves of the test split with pointwise bands.

    Columns: model, split, curve (roc, pr), class (micro or a class), x (false positive rate or
    recall), y, y_low, y_high. A curve that is not defined (class absent) is left out.
    """
    metrics.rows(found.classes)  # refuses a class that is called like all of them together
    part = found.only("test")
    resamples, y = resample(part, options, seed, "test"), part.y
    jobs = [(m, p) for m, p in zip(part.models, part.p, strict=True) if not failed(p)]
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(
            lambda job: _curves_of_model(*job, y, resamples, found.classes, options["confidence"]),
            jobs,
        )
        frames = [frame for frames in parts for frame in frames]
    columns = ["model", "split", "curve", "class", "x", "y", "y_low", "y_high"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
