"""How often models are right where they say so: bins, smooth curves and distributions."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.resamples import SCALED_FROM, Models, Options, failed
from multiloss.predictions import Predictions
from multiloss.statistics import calibration, metrics
from multiloss.statistics.calibration_curve import calibration_curve

# Of equal width, of the distributions of probabilities.
HISTOGRAM_BINS = 20


def reliability_table(found: Predictions, models: Models, options: Options) -> pd.DataFrame:
    """Reliability bins of the predicted class on the test split: tables/calibration.csv.

    Columns: model, kind, split, bin, n, n_patients, confidence, accuracy, ci_low, ci_high,
    scaled_from (of a temperature-scaled row, the model).
    """
    part, frames = found.only("test"), []
    for model, p in zip(part.models, part.p, strict=True):
        if not failed(p):
            sample = metrics.Sample(part.y, p, bins=options["ece_bins"])
            bins = calibration.reliability_bins(sample, part.patients, options["confidence"])
            for place, (key, value) in enumerate(
                {"model": model, "kind": models[model]["kind"], "split": "test"}.items()
            ):
                bins.insert(place, key, value)
            frames.append(bins.assign(scaled_from=models[model].get(SCALED_FROM, "")))
    columns = "model kind split bin n n_patients confidence accuracy ci_low ci_high scaled_from"
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns.split())


def _events(
    found: Predictions, p: npt.NDArray[np.float64]
) -> list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.float64]]]:
    """What has a probability: that the predicted class is right (''), and each class."""
    right = ("", p.argmax(axis=1) == found.y, p.max(axis=1))
    return [right, *((label, found.y == k, p[:, k]) for k, label in enumerate(found.classes))]


def curve_tables(
    found: Predictions, models: Models, options: Options
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """tables/calibration_curves.csv and tables/calibration_histograms.csv, on the test split.

    Curves: model, kind, split, class (empty: that the predicted class is right), p, observed,
    ci_low, ci_high (pointwise, over patients), expected_low, expected_high (where the curve of a
    perfectly calibrated model would lie), knots, n, n_patients, reason, scaled_from; one row
    with a reason where there is no curve. Histograms: model, kind, split, class, p_low, p_high, n,
    events (of those n images), scaled_from.
    """
    part = found.only("test")
    curves, histograms = [], []
    edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    size = {"n": len(part.rows), "n_patients": len(set(part.patients.tolist()))}
    for model, p in zip(part.models, part.p, strict=True):
        if failed(p):
            continue
        entry = models[model]
        origin = {SCALED_FROM: entry.get(SCALED_FROM, "")}
        for label, event, score in _events(part, p):
            head = {"model": model, "kind": entry["kind"], "split": "test", "class": label}
            curve = calibration_curve(event, score, part.patients, options["confidence"])
            points = {
                "p": curve.p,
                "observed": curve.observed,
                "ci_low": curve.low,
                "ci_high": curve.high,
                "expected_low": curve.expected_low,
                "expected_high": curve.expected_high,
            }
            if curve.reason:
                points = dict.fromkeys(points, [np.nan])
            after = {"knots": curve.knots, **size, "reason": curve.reason, **origin}
            curves.append(pd.DataFrame(head | points | after))
            place = np.minimum((score * HISTOGRAM_BINS).astype(int), HISTOGRAM_BINS - 1)
            counts = {
                "p_low": edges[:-1],
                "p_high": edges[1:],
                "n": np.bincount(place, minlength=HISTOGRAM_BINS),
                "events": np.bincount(place[event], minlength=HISTOGRAM_BINS),
            }
            histograms.append(pd.DataFrame(head | counts | origin))
    columns = "model kind split class p observed ci_low ci_high expected_low expected_high"
    columns += " knots n n_patients reason scaled_from"
    empty = "model kind split class p_low p_high n events scaled_from"
    return (
        pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns.split()),
        pd.concat(histograms, ignore_index=True)
        if histograms
        else pd.DataFrame(columns=empty.split()),
    )
