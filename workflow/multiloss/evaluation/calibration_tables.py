"""How far probabilities can be trusted: raw, temperature-scaled, corrected for class shares."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.comparisons import adjust
from multiloss.evaluation.intervals import intervals
from multiloss.evaluation.resamples import (
    CHOICE_SPLIT,
    SCALED_FROM,
    Models,
    Options,
    failed,
    resample,
    resampled_values,
)
from multiloss.evaluation.scores import method_note
from multiloss.evaluation.thresholds import NO_DIVISION, with_temperatures
from multiloss.methods import ensemble_methods
from multiloss.predictions import Predictions
from multiloss.statistics import calibration, metrics, paired
from multiloss.statistics.crossed import crossed_comparison
from multiloss.study import scaled as scaled_name

Array = npt.NDArray[np.float64]


CALIBRATION_METRICS = (
    "ece",
    "classwise_ece",
    "brier",
    "brier_reliability",
    "brier_resolution",
    "brier_uncertainty",
    "brier_within_bin",
    "log_loss",
)
RAW, SCALED, CORRECTED, BOTH = (
    "raw",
    "temperature",
    "prior_corrected",
    "temperature_prior_corrected",
)


def class_shares(labels: npt.ArrayLike, classes: Sequence[str]) -> Array:
    """The share (K,) of each class among labels."""
    return np.array([np.mean(np.asarray(labels) == label) for label in classes])


def trained_shares(
    models: Models,
    members: Mapping[str, Sequence[str]],
    class_weights: Mapping[str | None, str],
    train: Mapping[int, Array],
    ensemble: Mapping[int, Array],
) -> dict[str, Array]:
    """By model the class shares (K,) that its probabilities assume.

    Uniform after balanced class weights, those of `train` without, those of `ensemble` for a
    method that learns them there, such as stacking; both by the number of the run. Averages assume
    the mean of what their `members` do. `class_weights`: by variant, and for None those of
    model-level heads.
    """

    def of(model: str) -> Array:
        entry = models[model]
        method = ensemble_methods().get(entry["method"])
        if method and method.trained_on == CHOICE_SPLIT:
            return ensemble[entry["replicate"]]
        if entry["kind"] in ("ensemble", "seed_ensemble") and entry["level"] != "model":
            parts = [of(member) for member in members[model]]
            # Equal shares stay what they are to the last digit.
            same = all(np.array_equal(part, parts[0]) for part in parts)
            return parts[0] if same else np.mean(parts, axis=0)
        balanced = class_weights[entry["variant"]] == "balanced"
        shares = train[entry["replicate"]]
        return np.full(len(shares), 1 / len(shares)) if balanced else shares

    return {model: of(model) for model in models}


def _versions(
    found: Predictions,
    models: Models,
    options: Options,
    assumed: Mapping[str, Array],
) -> tuple[dict[str, Predictions], dict[str, float]]:
    """The test predictions raw, temperature-scaled, prior-corrected, and both.

    `assumed`: as from `trained_shares`. Prior correction moves probabilities from those class
    shares to those of the test split, which a user would know as prevalence;
    it is the one place where test labels change probabilities, so it is for description only.
    """
    test = found.only("test")
    size = len(found.classes)
    shares = np.bincount(test.y, minlength=size) / len(test.y)
    scaled, _, temperatures = with_temperatures(found, models)
    by_name = dict(zip(scaled.models, scaled.only("test").p, strict=True))
    unscaled = np.full(test.p.shape[1:], nan)
    after = np.stack([by_name.get(scaled_name(model), unscaled) for model in test.models])

    def corrected(arrays: Array) -> Array:
        return np.stack(
            [
                calibration.adjust_to_prevalence(p, assumed[m], shares)
                for m, p in zip(test.models, arrays, strict=True)
            ]
        )

    versions = {RAW: test.p, CORRECTED: corrected(test.p)}
    if options["temperature_scaling"]:
        versions |= {SCALED: after, BOTH: corrected(after)}
    return {
        name: Predictions(test.rows, test.models, test.classes, p) for name, p in versions.items()
    }, temperatures


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


def calibration_tables(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    assumed: Mapping[str, Array],
    plain_of: Mapping[str, str],
    threads: int = 1,
    alpha: float = 0.05,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """tables/calibration_scores.csv and tables/calibration_comparisons.csv, on the test split.

    Scores: model, kind, version, split, metric, value, ci_low, ci_high, ci_method,
    temperature, n, n_patients, reason. Comparisons: calibrated loss minus its plain form
    (`plain_of`: plain variant by calibrated one), for each replicate with the paired interval over
    patients, and for the mean over replicates (replicate 'mean') over patients and seeds. Of each
    loss the row of the mean, or else of its only replicate, has `p_adjusted`, by Holm's method over
    the losses within a version and metric, and `reject` (p_adjusted <= alpha).
    `assumed`: class shares by model, as from `trained_shares`.
    """
    versions, temperatures = _versions(found, models, options, assumed)
    test = versions[RAW]
    resamples = resample(test, options, seed, "test")
    size = {"n": len(test.rows), "n_patients": resamples.n_patients}
    rows, compared = [], []
    for version, part in versions.items():
        values, drawn = resampled_values(part, resamples, CALIBRATION_METRICS, options, threads)
        for place, model in enumerate(part.models):
            if failed(part.p[place]):
                if not failed(test.p[place]):
                    rows += [
                        {"model": model, "kind": models[model]["kind"], "version": version,
                         "split": "test", "metric": metric, **size,
                         "reason": f"no temperature: {NO_DIVISION}"}
                        for metric in CALIBRATION_METRICS
                    ]  # fmt: skip
                continue
            sample = metrics.Sample(part.y, part.p[place], bins=options["ece_bins"])
            low, high, methods, reasons = intervals(
                CALIBRATION_METRICS,
                sample,
                values[place],
                drawn[place],
                resamples,
                options,
                part.classes,
            )
            scaled = version in (SCALED, BOTH)
            for column, metric in enumerate(CALIBRATION_METRICS):
                rows.append(
                    {
                        "model": model,
                        "kind": models[model]["kind"],
                        "version": version,
                        "split": "test",
                        "metric": metric,
                        "value": values[place, column],
                        "ci_low": low[column],
                        "ci_high": high[column],
                        "ci_method": methods[column],
                        "temperature": temperatures[scaled_name(model)] if scaled else nan,
                        **size,
                        "reason": "; ".join(
                            filter(
                                None,
                                [
                                    reasons[column],
                                    method_note(metrics.METRICS[metric], models[model]),
                                ],
                            )
                        ),
                    }
                )
        places = {
            (models[model]["variant"], models[model]["replicate"]): place
            for place, model in enumerate(part.models)
            if models[model]["kind"] == "single" and not failed(part.p[place])
        }
        for loss, plain in plain_of.items():
            pairs = [
                (replicate, place, places[plain, replicate])
                for (name, replicate), place in places.items()
                if name == loss and (plain, replicate) in places
            ]
            groups: list[tuple[Any, list[int], list[int]]] = [(r, [a], [b]) for r, a, b in pairs]
            if len(pairs) > 1:
                groups.append(("mean", [a for _, a, _ in pairs], [b for _, _, b in pairs]))
            for replicate, first, second in groups:
                answers = replicate == groups[-1][0]
                for column, metric in enumerate(CALIBRATION_METRICS):
                    if not metrics.METRICS[metric].of_probabilities:
                        continue  # the same for all models
                    result = _difference(
                        values[first, column],
                        values[second, column],
                        drawn[first, :, column],
                        drawn[second, :, column],
                        resamples.df,
                        options,
                    )
                    compared.append(
                        {
                            "loss": loss,
                            "plain": plain,
                            "replicate": replicate,
                            "version": version,
                            "metric": metric,
                            "difference": result.difference,
                            "ci_low": result.ci_low,
                            "ci_high": result.ci_high,
                            "p_value": result.p_value,
                            "reason": result.reason,
                            **size,
                            "family": f"{version} {metric}" if answers else None,
                        }
                    )
    scores = "model kind version split metric value ci_low ci_high ci_method temperature"
    scores += " n n_patients reason"
    columns = "loss plain replicate version metric difference ci_low ci_high p_value reason"
    columns += " n n_patients p_adjusted reject"
    return (
        pd.DataFrame(rows, columns=scores.split()),
        adjust(pd.DataFrame(compared), alpha).reindex(columns=columns.split()),
    )


def _difference(
    first: Array,
    second: Array,
    drawn_first: Array,
    drawn_second: Array,
    df: float,
    options: Options,
) -> paired.Result:
    """Difference of two losses' means over runs, values (runs,) and resampled (runs, R).

    For one run each the paired bootstrap over patients; for several the chance of the seeds
    counts too, and `reason` says if they are few.
    """
    if len(first) > 1:
        found = crossed_comparison(
            first, second, drawn_first.T, drawn_second.T, df, options["confidence"]
        )
        return paired.Result(
            found.difference,
            found.difference,
            found.p_value,
            found.ci_low,
            found.ci_high,
            "the same in every resample" if np.isnan(found.p_value) else found.warning,
        )
    return paired.bootstrap_test(
        drawn_first[0] - drawn_second[0],
        float(first[0] - second[0]),
        df,
        options["interval"],
        options["confidence"],
    )
