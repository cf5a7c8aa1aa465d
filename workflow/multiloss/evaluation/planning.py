"""How many patients and seeds a next study takes, from the spread that this one shows."""

from collections.abc import Sequence
from math import ceil, isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from multiloss.evaluation.resamples import Models, Options, failed
from multiloss.evaluation.verdicts import (
    ENSEMBLE,
    FOLDS,
    LOSS,
    SEEDS,
    Comparison,
    chosen_models,
    run_of,
)
from multiloss.predictions import Predictions
from multiloss.statistics import effects, paired, planning
from multiloss.statistics.metrics import CLASS_METRICS

DIFFERENCES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2)
SEED_NUMBERS = (1, 2, 3, 5, 10)
HALF_WIDTH = 0.05
PATIENTS = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
DIFFERENCE, DETECTABLE, PRECISION = "difference", "detectable", "precision"
TOO_MANY = f"no number of patients up to {planning.MOST_PATIENTS:,} will do"
TOO_FEW_SEEDS = f"{TOO_MANY} with so few runs"
KNOWN_SPREAD = "takes the spread between runs as known from elsewhere"
UNKNOWN_SPREAD = "the spread between runs is unknown: for fixed networks, not for losses"
COLUMNS = [
    *("kind", "question", "model", "metric", "target", "seeds", "hypotheses", "value"),
    *("design_effect", "images", "patients", "n", "n_patients", "reason"),
]


def planning_table(
    found: Predictions,
    models: Models,
    comparisons: Sequence[Comparison],
    chosen: pd.DataFrame,
    significance: Options,
    options: Options,
) -> pd.DataFrame:
    """tables/planning.csv: what so many patients and seeds find, and how many it takes.

    kind `difference`: for a true difference `target` of the primary metric to be found with 80%
    power at level alpha over `hypotheses` (1, and those of its family), with `seeds` runs of each
    loss (or replicates of an ensemble). Variances are the medians of the comparisons; that of the
    patients holds a part that more seeds would lessen, so more seeds may do with fewer patients.
    kind `detectable`: the other way round, the `value` that is found with `patients`.
    kind `precision`: test images and patients for an interval of half width `target` around the
    `value` of `model` (the chosen one, else the baseline); `design_effect`: how many times as many
    images it takes since they come in patients. n and n_patients: what the study has. What is
    empty is told in `reason`.
    """
    part = found.only("test")
    n, n_patients = len(part.rows), len(set(part.patients.tolist()))
    rows = []
    for question in (LOSS, ENSEMBLE):
        # What folds differ by cannot be told apart into patients and seeds.
        asked = [made for made in comparisons if made.question == question and made.se > 0
                 and made.basis != FOLDS]  # fmt: skip
        if asked:
            alpha = float(significance["alpha"])
            rows += _differences(question, asked, n_patients, n / n_patients, alpha)
    model = chosen_models(chosen).get("overall") or run_of(models, significance["baseline"], 0)
    if model in part.models and not failed(part.of([model])[0]):
        rows += _precision(part, model, n_patients, options["confidence"])
    sizes = {"n": n, "n_patients": n_patients}
    return pd.DataFrame([row | sizes for row in rows], columns=COLUMNS)


def _differences(
    question: str, asked: Sequence[Comparison], n_patients: int, images: float, alpha: float
) -> list[dict[str, Any]]:
    crossed = [made for made in asked if made.basis == SEEDS]
    # Fixed networks have patients alone to differ by.
    errors = [made.se_patient for made in crossed] or [made.se for made in asked]
    of_patients = float(np.median(np.square(errors))) * n_patients
    of_seeds = float(np.median([_seed_variance(made) for made in crossed])) if crossed else nan
    # Their spread is pooled over losses; an ensemble's gain has its own replicates alone.
    losses = len(crossed) + 1 if question == LOSS else 1
    mixed = float(np.median([_interaction(made, n_patients, losses) for made in crossed] or [0.0]))
    most = max(float(made.values["hypotheses"]) for made in asked)
    rows = []
    for hypotheses in sorted({1, int(most) if isfinite(most) and most >= 1 else 1}):
        level = alpha / hypotheses
        for seeds in SEED_NUMBERS if crossed else (nan,):
            spread = (int(seeds), of_patients, of_seeds) if crossed else (1, of_patients, 0.0)
            reason = KNOWN_SPREAD if seeds == 1 else "" if crossed else UNKNOWN_SPREAD
            shared = {
                "question": question,
                "metric": asked[0].values["metric"],
                "seeds": seeds,
                "hypotheses": hypotheses,
            }
            for difference in DIFFERENCES:
                needed = planning.patients_needed(
                    difference, *spread, losses, level, interaction=mixed
                )
                unmet = TOO_FEW_SEEDS if crossed else TOO_MANY
                rows.append(
                    {
                        "kind": DIFFERENCE,
                        **shared,
                        "target": difference,
                        "images": nan if np.isnan(needed) else ceil(needed * images),
                        "patients": needed,
                        "reason": unmet if np.isnan(needed) else reason,
                    }
                )
            for patients in PATIENTS:
                error = planning.comparison_error(patients, *spread, losses, mixed)
                rows.append(
                    {
                        "kind": DETECTABLE,
                        **shared,
                        "value": float(effects.detectable_difference(*error, level)),
                        "images": ceil(patients * images),
                        "patients": patients,
                        "reason": reason,
                    }
                )
    return rows


def _seed_variance(made: Comparison) -> float:
    """Variance between the runs of one loss, from the part of the error that seeds have.

    For an ensemble against its member half the variance of their difference, so that 2 s^2 / R
    is the same formula.
    """
    a, b = made.runs
    return made.se_seed**2 / (1 / max(a, 1) + 1 / max(b, 1))


def _interaction(made: Comparison, n_patients: int, losses: int) -> float:
    """What each run's errors fall otherwise on the patients, as a variance of one patient.

    Told by the degrees of freedom: few replicates leave few even where their own part of the
    error is 0.
    """
    a, b = made.runs
    own, df = losses * (a + b - 2) / 2, float(made.values["df"])
    if own <= 0 or not df > 0:
        return 0.0
    rest = made.se**4 / df - made.se_patient**4 / (n_patients - 1)
    square = float(np.sqrt(max(rest, 0.0) * own)) / (1 / a + 1 / b)
    return max(square - _seed_variance(made), 0.0) * n_patients


def _precision(
    part: Predictions, model: str, n_patients: int, confidence: float
) -> list[dict[str, Any]]:
    y, p, patients = part.y, part.of([model])[0], part.patients
    right = (p.argmax(axis=1) == y).astype(float)
    per_patient = n_patients / len(y)

    def row(metric: str, value: float, effect: float, images: float) -> dict[str, Any]:
        needed = ceil(images * (effect if isfinite(effect) else 1.0)) if isfinite(images) else nan
        reason = ""
        if not isfinite(images):
            reason = "at 0 or 1 the formula has no answer" if isfinite(value) else "no such images"
        elif not isfinite(effect):
            reason = "too few patients for a design effect: images taken as independent"
        return {
            "kind": PRECISION,
            "model": model,
            "metric": metric,
            "target": HALF_WIDTH,
            "value": value,
            "design_effect": effect,
            "images": needed,
            "patients": ceil(needed * per_patient) if isfinite(needed) else nan,
            "reason": reason,
        }

    accuracy = float(right.mean())
    whole = planning.images_for_proportion(accuracy, HALF_WIDTH, confidence=confidence)
    rows = [row("accuracy", accuracy, planning.design_effect(right, patients), whole)]
    for k, label in enumerate(part.classes):
        own = y == k
        share = float(own.mean())
        recall = float(right[own].mean()) if own.any() else nan
        images = planning.images_for_proportion(recall, HALF_WIDTH, share, confidence)
        effect = planning.design_effect(right[own], patients[own])
        rows.append(row(CLASS_METRICS["recall"].of(label), recall, effect, images))
    for k, label in enumerate(part.classes):
        own, name = y == k, CLASS_METRICS["auroc"].of(label)
        if own.all() or not own.any():
            rows.append(row(name, nan, nan, nan))
            continue
        area, error, _ = paired.auroc_standard_error(own, p[:, k], patients)
        plain = paired.auroc_standard_error(own, p[:, k])[1]
        effect = max(1.0, (error / plain) ** 2) if plain > 0 and error > 0 else nan
        share = float(own.mean())
        images = planning.images_for_auroc(area, HALF_WIDTH, share, confidence)
        rows.append(row(name, area, effect, images))
    return rows
