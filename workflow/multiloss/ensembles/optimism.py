"""Optimism of the published protocol: the same predictions, judged its way and ours.

As published, the top K are chosen, weights and stackers fitted and the best of 50 restarts
picked on the test split, and the same test split then gives the score. Ours does all that on
the `ensemble` split. The difference (as published minus ours) measures a mistake: it is no
result, and nothing else of the study reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from multiloss.ensembles import combiners, selection
from multiloss.ensembles.build import make
from multiloss.job.progress import progress
from multiloss.job.seeds import derive
from multiloss.methods import ensemble_methods
from multiloss.predictions import Predictions
from multiloss.statistics import metrics
from multiloss.statistics.bootstrap import (
    label_strata,
    patient_codes,
    patient_weights,
    percentile_interval,
)
from multiloss.study import BEST_SINGLE, Model, entries, of_replicate

METRICS = ("mcc", "accuracy", "precision", "recall", "f1", "auroc", "auprc", "log_loss")
RESTARTS = 50
# The weights' problem is convex: in a resample a few starts find what fifty find.
RESAMPLE_STARTS = 2
UNMADE = np.full(len(METRICS), np.nan)
LABEL = "not a result: what choosing and fitting on the test split would add"


@dataclass(frozen=True)
class Settings:
    """Resamples of the interval, fewer where a network is fitted in each; its confidence."""

    resamples: int = 200
    network_resamples: int = 50
    confidence: float = 0.95


@dataclass(frozen=True)
class _Images:
    """Labelled probabilities of one split, p (M, N, K) and y (N,), in one resample: how often
    each image counts (N,), and the models from best to worst on it (M,)."""

    p: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    order: np.ndarray

    def repeated(self) -> tuple[np.ndarray, np.ndarray]:
        """Each image as often as its weight says."""
        rows = np.repeat(np.arange(len(self.y)), self.weights.astype(int))
        return self.p[:, rows], self.y[rows]


def tables(
    singles: Predictions,
    models: Mapping[str, Model],
    ensembles: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    seed: int,
    settings: Settings = Settings(),
) -> pd.DataFrame:
    """`table` of each replicate, one below the other: tables/optimism.csv.

    `models`: what the single models and the ensembles, which are named, are.
    """
    replicates = sorted({models[name].replicate for name in singles.models})
    found = []
    for replicate in replicates:
        own = [name for name in singles.models if models[name].replicate == replicate]
        made = entries(models[name] for name in ensembles if models[name].replicate == replicate)
        found.append(table(singles.subset(own), made, options, seed, settings, replicate))
    return pd.concat(found, ignore_index=True)


def table(
    singles: Predictions,
    ensembles: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Mapping[str, Any]],
    seed: int,
    settings: Settings = Settings(),
    replicate: int = 0,
) -> pd.DataFrame:
    """Optimism of each prediction-level ensemble of one replicate, and of its best single model.

    `singles`: single models of `replicate`; `ensembles`: by name `method`, `k`, `replicate`;
    `options`: by method, as for `ensembles.build`, so that `ours` are the study's own values.
    What cannot be made, for want of members or of a class, has empty rows with the reason.

    Columns: ensemble, method, k, replicate, metric, ours, as_published, difference, ci_low,
    ci_high, n (test images), n_patients, resamples, reason, label. The interval is for the
    expected difference. Every resample draws patients of both splits anew and repeats choice
    and fitting under both protocols. Choosing among resampled images is more optimistic than among
    new ones, so the resampled differences are centred on the observed one: (d + q_low,
    d + q_high), q percentiles of d* - mean(d*). Simulated with eight models, 135 and 240 images,
    this covers the expected difference in MCC and accuracy in 98% or more: a cautious interval.
    """
    usable = [m for m, p in zip(singles.models, singles.p, strict=True) if np.isfinite(p).all()]
    parts = [next(singles.parts(split)) for split in (selection.SPLIT, "test")]
    entries = {
        of_replicate(BEST_SINGLE, replicate): {
            "method": BEST_SINGLE,
            "k": 1,
            "replicate": replicate,
        },
        **ensembles,
    }
    count = max(settings.resamples, settings.network_resamples)
    own, test = (
        _resampled(part.subset(usable), count, derive(seed, "optimism", replicate, name))
        for part, name in zip(parts, ("ensemble", "test"), strict=True)
    )
    gaps = {name: _gap(entry, own[0], test[0], singles.classes) for name, entry in entries.items()}
    point = {
        name: (UNMADE, UNMADE)
        if gaps[name]
        else _both(name, entry, own[0], test[0], options, seed, RESTARTS)
        for name, entry in entries.items()
    }
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in entries}
    quick = {**options, "weighted_average": {"starts": RESAMPLE_STARTS}}
    for row in progress(range(count), count, "optimism of the published protocol"):
        for name, entry in entries.items():
            if row < _resamples(entry["method"], settings) and not gaps[name]:
                draws = own[row + 1], test[row + 1]
                ours, published = _both(name, entry, *draws, quick, seed, RESAMPLE_STARTS)
                resampled[name].append(published - ours)
    return pd.DataFrame(
        [
            row
            for name, entry in entries.items()
            for row in _rows(
                name,
                entry,
                *point[name],
                np.array(resampled[name]).reshape(-1, len(METRICS)),
                settings,
                gaps[name],
            )
        ]
    ).assign(n=len(test[0].y), n_patients=patient_codes(parts[1].patients)[1], label=LABEL)


def _gap(entry: Mapping[str, Any], own: _Images, test: _Images, classes: Sequence[str]) -> str:
    """Why an ensemble cannot be made under either protocol, or an empty text."""
    usable = len(own.p)
    if usable < entry["k"]:
        return f"{entry['k']} members are needed, {usable} single models have probabilities"
    if entry["method"] != BEST_SINGLE:
        method = combiners.COMBINERS[entry["method"]]
        for images, split in ((own, selection.SPLIT), (test, "test")):
            if not method.fits(images.y, len(classes)):
                absent = next(k for k in range(len(classes)) if k not in images.y)
                return f"cannot be fitted: no image of class '{classes[absent]}' in split `{split}`"
    return ""


def _resampled(part: Predictions, count: int, seed: int) -> list[_Images]:
    """The images of a split as they are, and then in each resample of its patients."""
    p, y = part.p, part.y
    drawn = patient_weights(
        part.patients, label_strata(part.patients, y), count, np.random.default_rng(seed)
    )
    weights = np.concatenate([np.ones((1, len(y))), drawn])
    found = selection.scores(p, y, weights)
    return [
        _Images(p, y, row, selection.order(found[:, number])) for number, row in enumerate(weights)
    ]


def _resamples(method: str, settings: Settings) -> int:
    if method != BEST_SINGLE and ensemble_methods()[method].fits_a_network:
        return settings.network_resamples
    return settings.resamples


def _rows(
    name: str,
    entry: Mapping[str, Any],
    ours: np.ndarray,
    published: np.ndarray,
    resampled: np.ndarray,
    settings: Settings,
    gap: str,
) -> list[dict[str, Any]]:
    difference = published - ours
    defined = np.isfinite(resampled)
    mean = np.where(defined, resampled, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    centred = np.where(defined, resampled - mean, np.nan)
    low, high = UNMADE, UNMADE
    if len(resampled):
        low, high = percentile_interval(centred, settings.confidence)
    return [
        {
            "ensemble": name,
            "method": entry["method"],
            "k": entry["k"],
            "replicate": entry["replicate"],
            "metric": metric,
            "ours": ours[column],
            "as_published": published[column],
            "difference": difference[column],
            "ci_low": difference[column] + low[column],
            "ci_high": difference[column] + high[column],
            "resamples": len(resampled),
            "reason": gap or _reason(metric, entry, difference[column], defined[:, column]),
        }
        for column, metric in enumerate(METRICS)
    ]


def _reason(metric: str, entry: Mapping[str, Any], difference: float, defined: np.ndarray) -> str:
    if not np.isfinite(difference):
        known = metric == "mcc"
        why = "one class is predicted for all images" if known else "a class is never predicted"
        return f"{metric} is undefined: {why}"
    said = []
    if entry["method"] != BEST_SINGLE and metrics.METRICS[metric].of_probabilities:
        said.append(ensemble_methods()[entry["method"]].caveat)
    if not defined.all():
        said.append(f"undefined in {1 - defined.mean():.0%} of the resamples, which were left out")
    return "; ".join(filter(None, said))


def _both(
    name: str,
    entry: Mapping[str, Any],
    own: _Images,
    test: _Images,
    options: Mapping[str, Mapping[str, Any]],
    seed: int,
    restarts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The test metrics (len(METRICS),) under our protocol and under the published one."""
    return tuple(
        _evaluate(
            test, _combine(name, entry, images, test.p, options, seed, restarts if bad else 0)
        )
        for images, bad in ((own, False), (test, True))
    )


def _combine(
    name: str,
    entry: Mapping[str, Any],
    chosen_on: _Images,
    p: np.ndarray,
    options: Mapping[str, Mapping[str, Any]],
    seed: int,
    restarts: int,
) -> np.ndarray:
    """Probabilities (N, K) of an ensemble chosen and fitted on some images; with restarts, of
    that many solutions the one with the best MCC on those images."""
    members = chosen_on.order[: entry["k"]]
    if entry["method"] == BEST_SINGLE:
        return p[members[0]]
    fit_p, fit_y = chosen_on.repeated()
    fit_p = fit_p[members]
    if restarts and entry["method"] == combiners.WeightedAverage.name:
        search = make(name, entry["method"], seed, {entry["method"]: {"starts": restarts}})
        _, weights = search.solutions(fit_p, fit_y)
        found = selection.scores(np.tensordot(weights, fit_p, axes=1), fit_y)[:, 0]
        return np.tensordot(weights[selection.order(found)[0]], p[members], axes=1)
    return make(name, entry["method"], seed, options).fit(fit_p, fit_y).predict(p[members])


def _evaluate(test: _Images, p: np.ndarray) -> np.ndarray:
    return metrics.compute_many(METRICS, metrics.Sample(test.y, p), test.weights[None])[0]
