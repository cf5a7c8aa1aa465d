"""Every metric of every model with its interval, and the confusion counts."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss import metrics
from multiloss.ensembles.predictions import Predictions
from multiloss.evaluation.intervals import intervals
from multiloss.evaluation.resamples import (
    CHOICE_SPLIT,
    FAILED,
    Models,
    Options,
    Resamples,
    failed,
    family,
    resample,
    splits_of,
)
from multiloss.statistics.bootstrap import binomial_interval

Array = npt.NDArray[np.float64]

FLATTERED = "fitted or chosen on this split, so it flatters"


def _describe(model: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "kind": entry["kind"],
        "family": family(model),
        "loss": entry.get("loss") or "",
        "replicate": "" if entry.get("replicate") is None else entry["replicate"],
    }


def _flattered(name: str, entry: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """Whether the `ensemble` split has fitted the probabilities, or chosen members or threshold."""
    chosen = entry["kind"] in ("temperature", "ensemble")
    return chosen or metrics.lookup(name, classes)[0].name in ("sensitivity", "specificity")


def _rows_of_model(
    model: str,
    p: Array,
    y: npt.NDArray[np.intp],
    split: str,
    entry: Mapping[str, Any],
    resamples: Resamples,
    thresholds: Array | None,
    options: Options,
    classes: Sequence[str],
    wanted: Sequence[str],
) -> pd.DataFrame:
    size = {"n": len(y), "n_patients": resamples.n_patients}
    described = _describe(model, entry) | {"split": split}
    if failed(p):
        empty = dict.fromkeys(("value", "ci_low", "ci_high"), nan) | {"ci_method": ""}
        rows = [described | {"metric": name} | empty | size | {"reason": FAILED} for name in wanted]
        return pd.DataFrame(rows)
    sample = metrics.Sample(y, p, bins=options["ece_bins"], thresholds=thresholds)
    values = metrics.compute_many(wanted, sample, None, classes)[0]
    resampled = metrics.compute_many(wanted, sample, resamples.weights, classes)
    low, high, methods, reasons = intervals(
        wanted, sample, values, resampled, resamples, options, classes
    )
    if split == CHOICE_SPLIT:
        reasons = [
            "; ".join(filter(None, [reason, FLATTERED]))
            if _flattered(name, entry, classes) and not np.isnan(value)
            else reason
            for name, reason, value in zip(wanted, reasons, values, strict=True)
        ]
    rows = []
    for place, name in enumerate(wanted):
        row = described | {
            "metric": name,
            "value": values[place],
            "ci_low": low[place],
            "ci_high": high[place],
            "ci_method": methods[place],
            **size,
            "reason": reasons[place],
        }
        rows.append(row)
        if name == "mcc" and not np.isnan(values[place]):
            ends = binomial_interval(values[place], len(y), options["confidence"])
            flattered = FLATTERED if FLATTERED in reasons[place] else ""
            reason = "not defined for a negative MCC" if np.isnan(ends[0]) else flattered
            published = {"ci_low": ends[0], "ci_high": ends[1], "ci_method": "binomial"}
            rows.append(row | published | {"reason": reason})
    return pd.DataFrame(rows)


def metrics_table(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    thresholds: Mapping[str, Array] | None = None,
    threads: int = 1,
) -> pd.DataFrame:
    """Every metric of every model and split with its interval: tables/metrics.csv.

    `models`: kind, loss and replicate by model name; `options`: the config's `evaluation`;
    `thresholds`: operating points as from `operating_points`. MCC has a second row with the
    published study's interval (`ci_method` binomial). Undefined values are NaN with a reason.
    Values of the `ensemble` split that were fitted or chosen there say so in `reason`.
    """
    wanted = metrics.names(found.classes)
    jobs = []
    for split in splits_of(found):
        part = found.only(split)
        resamples, y = resample(part, options, seed, split), part.y
        for model, p in zip(part.models, part.p, strict=True):
            points = None if thresholds is None else thresholds.get(model)
            jobs.append((model, p, y, split, models[model], resamples, points))
    with ThreadPoolExecutor(threads) as pool:
        tables = pool.map(
            lambda job: _rows_of_model(*job, options, found.classes, wanted),
            jobs,
        )
        table = pd.concat(list(tables), ignore_index=True)
    order = {model: place for place, model in enumerate(found.models)}
    return table.sort_values("model", key=lambda names: names.map(order), kind="stable")


def confusion_table(found: Predictions) -> pd.DataFrame:
    """Images by true and predicted class: model, split, label, predicted, count."""
    size, rows = len(found.classes), []
    for split in splits_of(found):
        part = found.only(split)
        for model, p in zip(part.models, part.p, strict=True):
            if failed(p):
                continue
            cells = np.bincount(part.y * size + p.argmax(axis=1), minlength=size**2)
            for cell, count in enumerate(cells.tolist()):
                label, predicted = part.classes[cell // size], part.classes[cell % size]
                rows.append((model, split, label, predicted, count))
    return pd.DataFrame(rows, columns=["model", "split", "label", "predicted", "count"])
