"""Every metric of every model with its interval, and the confusion counts."""

import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.intervals import depend_on_mix, intervals, near_one
from multiloss.evaluation.resamples import (
    CHOICE_SPLIT,
    SCALED_FROM,
    Models,
    Options,
    Resamples,
    drawn_values,
    failed,
    missing,
    parts_of,
    resample,
)
from multiloss.methods import ensemble_methods
from multiloss.predictions import Predictions
from multiloss.statistics import metrics
from multiloss.statistics.bootstrap import (
    PUBLISHED,
    binomial_interval,
    effective_patients,
    largest_share,
)
from multiloss.study import TEMPERATURE

Array = npt.NDArray[np.float64]
logger = logging.getLogger(__name__)

FLATTERED = "fitted or chosen on this split, so it flatters"
# What the column `conditional_on` says.
CONDITIONAL, CLASS_MIX = "conditional_on", "class mix"
# Fewer effective patients, or one patient with a larger share of the images, are warned of.
FEW_EFFECTIVE, LARGE_SHARE = 30, 0.05


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


def _warn_of_few(patients: Mapping[str, npt.NDArray[Any]]) -> None:
    """One line on the splits where few patients, or one, decide on the intervals."""
    told = []
    for split, own in patients.items():
        share, effective = largest_share(own), effective_patients(own)
        if effective < FEW_EFFECTIVE or share > LARGE_SHARE:
            told.append(
                f"{split} ({len(set(own.tolist()))} patients tell as much as {effective:.1f} of "
                f"equal size, one has {share:.0%} of the images)"
            )
    if told:
        logger.warning("Few patients decide on the intervals of: %s", "; ".join(told))


def method_note(of_probabilities: bool, entry: Mapping[str, Any]) -> str:
    """What is to be said of a metric of probabilities that are none, such as shares of votes."""
    method = ensemble_methods().get(entry.get("method"))
    return method.caveat if method and of_probabilities else ""


def _rows_of_model(
    model: str,
    p: Array,
    y: npt.NDArray[np.intp],
    split: str,
    entry: Mapping[str, Any],
    resamples: Resamples,
    thresholds: Array | None,
    flattered: bool,
    mixed: bool,
    options: Options,
    classes: Sequence[str],
    wanted: Sequence[str],
) -> pd.DataFrame:
    size = {"n": len(y), "n_patients": resamples.n_patients}
    last = {SCALED_FROM: entry.get(SCALED_FROM, ""), "n_effective": resamples.n_effective}
    conditional = depend_on_mix(tuple(classes)) if mixed else frozenset()
    described = _describe(model, entry) | {"split": split}
    if failed(p):
        empty = dict.fromkeys(("value", "ci_low", "ci_high"), nan) | {"ci_method": ""}
        empty |= size | {"reason": missing(entry), **last, CONDITIONAL: ""}
        return pd.DataFrame([described | {"metric": name} | empty for name in wanted])
    sample = metrics.Sample(y, p, bins=options["ece_bins"], thresholds=thresholds)
    values = metrics.compute_many(wanted, sample, None, classes)[0]
    # Biased metrics have no interval.
    resampled = drawn_values(wanted, sample, resamples, classes, biased=False)
    low, high, methods, reasons = intervals(
        wanted, sample, values, resampled, resamples, options, classes
    )
    for place, name in enumerate(wanted):
        known, value = metrics.lookup(name, classes), values[place]
        if not np.isnan(value):
            # Thresholds are chosen on that split.
            told = flattered or (split == CHOICE_SPLIT and known.metric.at_threshold)
            drawn = methods[place] in ("transformed", "percentile", "bca")
            notes = [
                near_one(known, value, y, resamples.patients) if drawn else "",
                FLATTERED if told else "",
                method_note(known.metric.of_probabilities, entry),
            ]
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
            **last,
            CONDITIONAL: CLASS_MIX if name in conditional and methods[place] else "",
        }
        rows.append(row)
        if name == "mcc" and not np.isnan(values[place]):
            ends = binomial_interval(values[place], len(y), options["confidence"])
            flattered = FLATTERED if FLATTERED in reasons[place] else ""
            reason = "not defined for a negative MCC" if np.isnan(ends[0]) else flattered
            published = {"ci_low": ends[0], "ci_high": ends[1], "ci_method": PUBLISHED}
            # It resamples nothing, so it holds nothing fixed.
            published[CONDITIONAL] = ""
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
    mixed: Collection[str] = (),
) -> pd.DataFrame:
    """Every metric of every model and split with its interval: tables/metrics.csv.

    `models`: by name what `study.entries` tells of a model; `scaled_from` is
    the model of a temperature-scaled row; `options`: the config's `evaluation`;
    `thresholds`: operating points as from `operating_points`. MCC has a second row with the
    published study's interval (`ci_method` binomial). Undefined values are NaN with a reason.
    `flattered`: by split, models as from `flattered_models`; without it those of `ensemble` that
    can be told from `models`. `reason` also holds what must be known beside a value: fitted or
    chosen on its own split, interval of a value close to 1, votes that are no probabilities.
    `mixed`: splits whose class shares are themselves random; there `conditional_on` marks the
    intervals that hold for test sets of the same shares alone. `n_effective`: as many patients
    with equally many images as tell as much; few of them, or one patient with many images, are
    warned of.
    """
    if flattered is None:
        flattered = flattered_models(models, (), ())
    wanted = metrics.names(found.classes)
    _warn_of_few({split: part.patients for split, part in parts_of(found)})
    tables: list[pd.DataFrame] = []
    # The resamples of one split at a time: those of a large one take hundreds of megabytes.
    for split, part in parts_of(found):
        resamples, y = resample(part, options, seed, split), part.y
        jobs = []
        for model, p in zip(part.models, part.p, strict=True):
            points = None if thresholds is None else thresholds.get(model)
            told = model in flattered.get(split, ())
            jobs.append(
                (model, p, y, split, models[model], resamples, points, told, split in mixed)
            )
        with ThreadPoolExecutor(threads) as pool:
            tables += pool.map(
                lambda job: _rows_of_model(*job, options, found.classes, wanted), jobs
            )
        del resamples, jobs
    table = pd.concat(tables, ignore_index=True)
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
