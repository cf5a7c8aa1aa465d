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
Indices = npt.NDArray[np.intp]

CURVE_GRID = np.linspace(0.0, 1.0, 101)


def curve_on_grid(weighted: metrics.Weighted, which: int | str, curve: str) -> Array:
    """A ROC or precision-recall curve at the 101 points of CURVE_GRID, (R, 101).

    `which`: as for `Sample.ranking`. ROC: sensitivity at a false positive rate, linear between
    thresholds and the upper end of vertical steps. PR: precision where that recall is first
    reached, as in the average precision. NaN without positives (or negatives, for ROC).
    """
    ranking = weighted.sample.ranking(which)
    true, false = (weighted.running(which, of) for of in ("positives", "negatives"))
    # How many positives and negatives lie above each falling threshold, the first above all.
    positives = np.append(0, ranking.positives_upto)
    negatives = np.append(ranking.first_of_group, len(ranking.image)) - positives
    all_true, all_false = (sums[-1].astype(np.float64) for sums in (true, false))
    grid, defined = CURVE_GRID[:, None], all_true > 0
    if curve == "roc":
        defined &= all_false > 0
        # The last threshold with no more than that rate above it, and the next one.
        right = _thresholds(negatives, false, (grid + 1e-9) * all_false)
        left, right = right - 1, np.minimum(right, len(negatives) - 1)
        x, following = (_divide(_at(false, negatives, k), all_false) for k in (left, right))
        low, high = (_divide(_at(true, positives, k), all_true) for k in (left, right))
        gap = following - x
        share = np.divide(grid - x, gap, out=np.zeros(gap.shape), where=gap > 1e-12)
        result = low + np.clip(share, 0, 1) * (high - low)
    else:
        place = _thresholds(positives, true, (grid - 1e-9) * all_true)
        # A recall of 0 is reached by the first threshold that has any weight above it.
        any_weight = np.full((1, len(all_true)), 1e-9)
        place[0] = np.minimum(
            _thresholds(positives, true, any_weight), _thresholds(negatives, false, any_weight)
        )
        found, wrong = _at(true, positives, place), _at(false, negatives, place)
        result = _divide(found, found + wrong)
    result[:, ~defined] = nan
    return result.T


def _thresholds(above: Indices, sums: metrics.Counts, least: Array) -> Indices:
    """The first of the thresholds above which the running sums (M, R) are at least `least` (G, R),
    beyond the last where none is. `above`: how many of what is summed lie above each."""
    return np.searchsorted(above, np.arange(len(sums) + 1)).take(
        metrics.first_reaching(sums, least)
    )


def _at(sums: metrics.Counts, above: Indices, thresholds: Indices) -> Array:
    """The running sums (M, R) above each of the thresholds (G, R)."""
    width = sums.shape[1]
    return sums.take((above * width).take(thresholds) + np.arange(width)).astype(np.float64)


def _divide(part: Array, whole: Array) -> Array:
    """Quotient, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


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
            for curve, values in drawn.items():
                values.append(curve_on_grid(weighted, which, curve))
        once = metrics.Weighted(sample, np.ones((1, sample.n)))
        for curve, values in drawn.items():
            line = curve_on_grid(once, which, curve)[0]
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
