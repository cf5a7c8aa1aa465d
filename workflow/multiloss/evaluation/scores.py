"""Every metric of every model with its interval, and the confusion counts."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.intervals import intervals
from multiloss.evaluation.resamples import (
    CHOICE_SPLIT,
    SCALED_FROM,
    Models,
    Options,
    Resamples,
    failed,
    missing,
    parts_of,
    resample,
)
from multiloss.methods import ensemble_methods
from multiloss.predictions import Predictions
from multiloss.statistics import metrics
from multiloss.statistics.bootstrap import PUBLISHED, binomial_interval
from multiloss.study import TEMPERATURE

Array = npt.NDArray[np.float64]

FLATTERED = "fitted or chosen on this split, so it flatters"
# Few images decide there: see docs/statistics-simulation.md.
NEAR_ONE = "close to 1: the interval may be too narrow"
CLOSE_TO_ONE = 0.98


def _describe(model: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "kind": entry["kind"],
        "family": entry["family"],
        "loss": entry["variant"] or "",
        "replicate": "" if entry.get("replicate") is None else entry["replicate"],
    }


def flattered_models(
    models: Models, chosen: Collection[str], on_val: Collection[str]
) -> dict[str, set[str]]:
    """By split, the models whose values there are too good, since the split had a say in them.

    `ensemble` fits temperatures, chooses the members of ensembles, and has chosen the best single
    model (one of `chosen`). `val` has a say where it chose an epoch, stopped a training or lowered
    its learning rate: `on_val` names those models, as `Study.decided_on_val` does.
    """
    decided = {model for model, entry in models.items() if entry.get(SCALED_FROM, model) in on_val}
    on_ensemble = {
        model
        for model, entry in models.items()
        if entry["kind"] in (TEMPERATURE, "ensemble") or model in chosen
    }
    return {"val": decided, CHOICE_SPLIT: on_ensemble}


def _notes(
    metric: metrics.Metric, value: float, method: str, entry: Mapping[str, Any], flattered: bool
) -> list[str]:
    """What must be known beside a value that is defined."""
    notes = []
    if method in ("transformed", "percentile", "bca") and metric.high == 1:
        notes.append(NEAR_ONE if metric.higher_is_better and value >= CLOSE_TO_ONE else "")
    if flattered:
        notes.append(FLATTERED)
    notes.append(method_note(metric, entry))
    return notes


def method_note(metric: metrics.Metric, entry: Mapping[str, Any]) -> str:
    """What is to be said of a metric of probabilities that are none, such as shares of votes."""
    method = ensemble_methods().get(entry.get("method"))
    return method.caveat if method and metric.of_probabilities else ""


def _rows_of_model(
    model: str,
    p: Array,
    y: npt.NDArray[np.intp],
    split: str,
    entry: Mapping[str, Any],
    resamples: Resamples,
    thresholds: Array | None,
    flattered: bool,
    options: Options,
    classes: Sequence[str],
    wanted: Sequence[str],
) -> pd.DataFrame:
    size = {"n": len(y), "n_patients": resamples.n_patients}
    described = _describe(model, entry) | {"split": split}
    if failed(p):
        empty = dict.fromkeys(("value", "ci_low", "ci_high"), nan) | {"ci_method": ""}
        empty |= size | {"reason": missing(entry), SCALED_FROM: entry.get(SCALED_FROM, "")}
        return pd.DataFrame([described | {"metric": name} | empty for name in wanted])
    sample = metrics.Sample(y, p, bins=options["ece_bins"], thresholds=thresholds)
    values = metrics.compute_many(wanted, sample, None, classes)[0]
    resampled = metrics.compute_many(wanted, sample, resamples.weights, classes)
    low, high, methods, reasons = intervals(
        wanted, sample, values, resampled, resamples, options, classes
    )
    for place, name in enumerate(wanted):
        metric, value = metrics.lookup(name, classes).metric, values[place]
        if not np.isnan(value):
            # Thresholds are chosen on that split.
            told = flattered or (split == CHOICE_SPLIT and metric.at_threshold)
            notes = _notes(metric, value, methods[place], entry, told)
            reasons[place] = "; ".join(filter(None, [reasons[place], *notes]))
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
            SCALED_FROM: entry.get(SCALED_FROM, ""),
        }
        rows.append(row)
        if name == "mcc" and not np.isnan(values[place]):
            ends = binomial_interval(values[place], len(y), options["confidence"])
            flattered = FLATTERED if FLATTERED in reasons[place] else ""
            reason = "not defined for a negative MCC" if np.isnan(ends[0]) else flattered
            published = {"ci_low": ends[0], "ci_high": ends[1], "ci_method": PUBLISHED}
            rows.append(row | published | {"reason": reason})
    return pd.DataFrame(rows)


def metrics_table(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    thresholds: Mapping[str, Array] | None = None,
    threads: int = 1,
    flattered: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """Every metric of every model and split with its interval: tables/metrics.csv.

    `models`: by name what `study.entries` tells of a model; `scaled_from`, the last column, is
    the model of a temperature-scaled row; `options`: the config's `evaluation`;
    `thresholds`: operating points as from `operating_points`. MCC has a second row with the
    published study's interval (`ci_method` binomial). Undefined values are NaN with a reason.
    `flattered`: by split, models as from `flattered_models`; without it those of `ensemble` that
    can be told from `models`. `reason` also holds what must be known beside a value: fitted or
    chosen on its own split, interval of a value close to 1, votes that are no probabilities.
    """
    if flattered is None:
        flattered = flattered_models(models, (), ())
    wanted = metrics.names(found.classes)
    jobs = []
    for split, part in parts_of(found):
        resamples, y = resample(part, options, seed, split), part.y
        for model, p in zip(part.models, part.p, strict=True):
            points = None if thresholds is None else thresholds.get(model)
            told = model in flattered.get(split, ())
            jobs.append((model, p, y, split, models[model], resamples, points, told))
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
    for split, part in parts_of(found):
        for model, p in zip(part.models, part.p, strict=True):
            if failed(p):
                continue
            cells = np.bincount(part.y * size + p.argmax(axis=1), minlength=size**2)
            for cell, count in enumerate(cells.tolist()):
                label, predicted = part.classes[cell // size], part.classes[cell % size]
                rows.append((model, split, label, predicted, count))
    return pd.DataFrame(rows, columns=["model", "split", "label", "predicted", "count"])
