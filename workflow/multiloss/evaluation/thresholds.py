"""What is chosen or fitted on the `ensemble` split: operating points and temperatures."""

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


def operating_points(
    found: Predictions, models: Models, options: Options
) -> tuple[pd.DataFrame, dict[str, Array]]:
    """Thresholds of each model and class, chosen on the `ensemble` split alone.

    Returns the table (model, kind, class, rule, split, threshold, sensitivity, specificity, n,
    n_positive, reason, scaled_from; the rates are those where it was chosen) and thresholds (K,)
    by model.
    """
    part = found.only(CHOICE_SPLIT)
    rule, y = options["operating_point"], part.y
    rows, thresholds = [], {}
    for model, p in zip(part.models, part.p, strict=True):
        chosen = []
        for k, label in enumerate(part.classes):
            if failed(p):
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
    part = found.only(CHOICE_SPLIT)
    y, names, arrays, entries, temperatures = part.y, [], [], {}, {}
    for model, p, everything in zip(part.models, part.p, found.p, strict=True):
        if failed(everything):
            continue
        name = study.scaled(model)
        temperatures[name] = calibration.fit_temperature(y, p)
        names.append(name)
        arrays.append(calibration.apply_temperature(everything, temperatures[name]))
        entries[name] = {**models[model], "kind": study.TEMPERATURE, SCALED_FROM: model}
    stacked = np.stack(arrays) if arrays else np.empty((0, *found.p.shape[1:]))
    return Predictions(found.rows, names, found.classes, stacked), entries, temperatures


def with_scaled(
    found: Predictions, models: Models, options: Options
) -> tuple[Predictions, dict[str, dict[str, Any]]]:
    """The models with those scaled by a temperature below them, where the study asks for it."""
    if not options["temperature_scaling"]:
        return found, dict(models)
    scaled, added, _ = with_temperatures(found, models)
    return join(found, scaled), dict(models) | added


def join(first: Predictions, second: Predictions) -> Predictions:
    """Both sets of models on the same images."""
    return Predictions(
        first.rows,
        [*first.models, *second.models],
        first.classes,
        np.concatenate([first.p, second.p]),
    )
