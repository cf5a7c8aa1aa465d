"""What is chosen or fitted on the `ensemble` split: operating points and temperatures."""

from collections.abc import Iterator
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss import study
from multiloss.evaluation.resamples import (
    CHOICE_SPLIT,
    SCALED_FROM,
    Models,
    Options,
    failed,
    missing,
)
from multiloss.predictions import Predictions
from multiloss.statistics import bootstrap, calibration

Array = npt.NDArray[np.float64]

NO_DIVISION = "its members have different images in the split `ensemble`, and it has none"


def operating_points(
    found: Predictions, models: Models, options: Options
) -> tuple[pd.DataFrame, dict[str, Array]]:
    """Thresholds of each model and class, chosen on the `ensemble` split alone.

    Returns the table (model, kind, class, rule, split, threshold, sensitivity, specificity, n,
    n_positive, reason, scaled_from; the rates are those where it was chosen) and thresholds (K,)
    by model. A model that has no images of its own there, since its members had different ones, has
    none: NaN with the reason.
    """
    rule = options["operating_point"]
    rows, thresholds = [], {}
    for model, p, y in _chosen_on(found):
        chosen = []
        for k, label in enumerate(found.classes):
            if not len(y):
                point = calibration.Threshold(nan, nan, nan, NO_DIVISION)
            elif failed(p):
                point = calibration.Threshold(nan, nan, nan, missing(models[model]))
            else:
                point = calibration.choose_threshold(y == k, p[:, k], rule)
            chosen.append(point.value)
            rows.append(
                {
                    "model": model,
                    "kind": models[model]["kind"],
                    "class": label,
                    "rule": rule,
                    "split": CHOICE_SPLIT,
                    "threshold": point.value,
                    "sensitivity": point.sensitivity,
                    "specificity": point.specificity,
                    "n": len(y),
                    "n_positive": int((y == k).sum()),
                    "reason": point.reason,
                    SCALED_FROM: models[model].get(SCALED_FROM, ""),
                }
            )
        thresholds[model] = np.array(chosen)
    return pd.DataFrame(rows), thresholds


def by_patient(points: pd.DataFrame, found: Predictions, options: Options) -> pd.DataFrame:
    """Operating points as `operating_points` gives them, with what they do by patient below.

    A patient has a class if any image of the patient's is labelled so, and is called if any image
    reaches the threshold: what one sees who looks at all images of a patient. Sensitivity is the
    share of the patients with the class who are called, specificity that of the others who are
    not. One row for each model and class where some test patient has several images, with `unit`
    'patient', split 'test', patients counted in n and n_positive, and Wilson intervals
    sensitivity_low to specificity_high; rows of images have the `unit` 'image' and no intervals.
    """
    part, ends = found.only("test"), ["sensitivity", "specificity"]
    codes, count = bootstrap.patient_codes(part.patients)
    rows = []
    if count < len(codes):
        for point in points.to_dict("records"):
            p = part.of([point["model"]])[0]
            k = part.classes.index(point["class"])
            has, called = np.zeros(count, bool), np.zeros(count, bool)
            has[codes[part.y == k]] = True
            called[codes[p[:, k] >= point["threshold"]]] = True
            row = {**point, "split": "test", "unit": "patient", "n": count}
            row |= {"n_positive": int(has.sum()), **dict.fromkeys(ends, nan)}
            for name, right in zip(ends, (called[has], ~called[~has]), strict=True):
                if point["reason"]:
                    continue
                if not len(right):
                    row["reason"] = f"{'no' if name == ends[0] else 'every'} patient has the class"
                    continue
                row[name] = float(right.mean())
                row[f"{name}_low"], row[f"{name}_high"] = bootstrap.proportion_interval(
                    right, np.arange(len(right)), options["confidence"]
                )
            rows.append(row)
    intervals = [f"{name}_{end}" for name in ends for end in ("low", "high")]
    below = pd.DataFrame(rows).reindex(columns=[*points.columns, "unit", *intervals])
    above = points.assign(unit="image").reindex(columns=below.columns)
    return pd.concat([above, below], ignore_index=True) if rows else above


def with_temperatures(
    found: Predictions, models: Models
) -> tuple[Predictions, dict[str, dict[str, Any]], dict[str, float]]:
    """Scale each model by a temperature of its own, fitted on `ensemble`.

    Returns the predictions of the scaled models alone, their entries (kind `temperature`,
    `scaled_from` the model, the rest as the model's) and the temperatures by scaled model.
    """
    entries, temperatures = {}, {}
    for model, p, y in _chosen_on(found):
        if not failed(p) and len(y):
            name = study.scaled(model)
            temperatures[name] = calibration.fit_temperature(y, p)
            entries[name] = {**models[model], "kind": study.TEMPERATURE, SCALED_FROM: model}

    def scale(part: Predictions) -> Predictions:
        names = [study.scaled(model) for model in part.models]
        kept = [
            (name, calibration.apply_temperature(p, temperatures[name]))
            for name, p in zip(names, part.p, strict=True)
            if name in temperatures
        ]
        stacked = np.stack([p for _, p in kept]) if kept else np.empty((0, *part.p.shape[1:]))
        divisions = tuple(scale(own) for own in part.divisions)
        return Predictions(part.rows, [name for name, _ in kept], part.classes, stacked, divisions)

    return scale(found), entries, temperatures


def _chosen_on(found: Predictions) -> Iterator[tuple[str, Array, npt.NDArray[np.intp]]]:
    """Each model with its probabilities (N, K) and the labels (N,) of its `ensemble` split.

    N is 0 for a model that has no such images (see `Predictions.divisions`).
    """
    own = {
        model: (p, part.y)
        for part in found.parts(CHOICE_SPLIT)
        for model, p in zip(part.models, part.p, strict=True)
    }
    nothing = np.empty((0, len(found.classes))), np.empty(0, dtype=int)
    for model in found.models:
        yield model, *own.get(model, nothing)


def with_scaled(
    found: Predictions, models: Models, options: Options
) -> tuple[Predictions, dict[str, dict[str, Any]]]:
    """The models with those scaled by a temperature below them, where the study asks for it."""
    if not options["temperature_scaling"]:
        return found, dict(models)
    scaled, added, _ = with_temperatures(found, models)
    return join(found, scaled), dict(models) | added


def join(first: Predictions, second: Predictions) -> Predictions:
    """Both sets of models on the same images, of the same divisions."""
    return Predictions(
        first.rows,
        [*first.models, *second.models],
        first.classes,
        np.concatenate([first.p, second.p]),
        tuple(map(join, first.divisions, second.divisions)),
    )
