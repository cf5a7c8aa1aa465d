"""Optimism of the published protocol: the same predictions, judged its way and ours.

As published, the top K are chosen, weights and stackers fitted and the best of 50 restarts
picked on the test split, and the same test split then gives the score. Ours does all that on
the `ensemble` split. The difference between the protocols (as published minus ours) has two parts:

- optimism: the score where the choice was made minus what the same way of choosing scores on
  patients that it has not seen. All of it is flattery.
- gain from choosing: that score on unseen patients minus ours. A choice on the test split, which
  often has more patients than `ensemble`, may be a better one.

The second score is that of repeated cross-validation of the whole choice (Varma and Simon 2006,
doi:10.1186/1471-2105-7-91): all is chosen and fitted without each tenth of the test patients in
turn, and the tenths' predictions are scored together. Bootstrap resamples hold fewer different
patients, so choices on them are worse ones and what they score where they were made is flattered
more; docs/optimism-simulation.md has the estimators side by side.

None of this is a result, and nothing else of the study reads it.
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
LABEL = "not a result: what choosing and fitting on the test split would report"
# Tenths: with fewer parts choices are made on too few patients, with more the noise grows.
FOLDS = 10


COLUMNS = [
    "ensemble", "method", "k", "replicate", "metric", "ours", "as_published", "difference",
    "ci_low", "ci_high", "resamples", "reason", "n", "n_patients", "label", "out_of_bag",
    "optimism", "choice_gain", "folds", "divisions",
]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Resamples of the interval, fewer where a network is fitted in each; its confidence.

    As many choices as resamples are cross-validated, in resamples / FOLDS divisions of the
    patients.
    """

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

    def repeated(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some models' probabilities and the labels, each image as often as its weight says."""
        rows = np.repeat(np.arange(len(self.y)), self.weights.astype(int))
        return self.p[members][:, rows], self.y[rows]


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
    ci_high, n (test images), n_patients, resamples, reason, label, out_of_bag, optimism,
    choice_gain, folds, divisions. difference = optimism + choice_gain: see the module's head.
    `out_of_bag` is the mean over `divisions` of the test patients into `folds`; where a metric
    needs fitted scales (AUROC, AUPRC) it mixes those of the folds' choices. Optimism is right on
    average, but of one study it is rough, and no interval that was tried holds its level.

    The interval is for the expected difference. Every resample draws patients of both splits anew
    and repeats choice and fitting under both protocols. Choosing among resampled images is more
    optimistic than among new ones, so the resampled differences are centred on the observed one:
    (d + q_low, d + q_high), q percentiles of d* - mean(d*). Simulated with eight models, 135 and
    240 images, this covers the expected difference in MCC and accuracy in 98% or more: a cautious
    interval.
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
    unseen = out_of_bag(
        parts[1].subset(usable),
        {name: entry for name, entry in entries.items() if not gaps[name]},
        options,
        derive(seed, "left out", replicate),
        settings,
    )
    return pd.DataFrame(
        [
            row
            for name, entry in entries.items()
            for row in _rows(
                name,
                entry,
                *point[name],
                np.array(resampled[name]).reshape(-1, len(METRICS)),
                unseen.get(name, np.empty((0, len(METRICS)))),
                settings,
                gaps[name],
            )
        ]
    ).assign(
        n=len(test[0].y),
        n_patients=patient_codes(parts[1].patients)[1],
        label=LABEL,
        folds=_folds(parts[1]),
    )[COLUMNS]


def _gap(entry: Mapping[str, Any], own: _Images, test: _Images, classes: Sequence[str]) -> str:
    """Why an ensemble cannot be made under either protocol, or an empty text."""
    usable = len(own.p)
    if usable < entry["k"]:
        return f"{entry['k']} members are needed, {usable} single models have probabilities"
    for images, split in ((own, selection.SPLIT), (test, "test")):
        if not _fits(entry, images.y, len(classes)):
            absent = next(k for k in range(len(classes)) if k not in images.y)
            return f"cannot be fitted: no image of class '{classes[absent]}' in split `{split}`"
    return ""


def _fits(entry: Mapping[str, Any], y: np.ndarray, classes: int) -> bool:
    """Whether what an ensemble fits can be fitted on these labels (N,)."""
    method = entry["method"]
    return method == BEST_SINGLE or combiners.COMBINERS[method].fits(y, classes)


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


def out_of_bag(
    part: Predictions,
    ensembles: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Mapping[str, Any]],
    seed: int,
    settings: Settings = Settings(),
) -> dict[str, np.ndarray]:
    """What each way of choosing scores on patients of a split that it has not seen.

    By ensemble (D, len(METRICS)): in each of D divisions of the patients into folds of like shares
    of each stratum, all is chosen and fitted the published way without each fold in turn, and the
    predictions of the images left out are scored together. NaN where a fit would not see every
    class. Arguments as for `table`, `part` of one split, without failed models.
    """
    p, y = part.p, part.y
    codes, patients = patient_codes(part.patients)
    stratum = np.empty(patients, dtype=int)
    stratum[codes] = label_strata(part.patients, y)
    folds, rng = _folds(part), np.random.default_rng(seed)
    quick = {**options, "weighted_average": {"starts": RESAMPLE_STARTS}}
    found: dict[str, list[np.ndarray]] = {name: [] for name in ensembles}
    count = max((_divisions(entry["method"], settings) for entry in ensembles.values()), default=0)
    count = count if folds > 1 else 0
    fold_of = np.empty((count, 1, patients), dtype=int)
    for own in fold_of[:, 0]:
        # Dealt out like cards, stratum by stratum.
        own[np.lexsort((rng.random(patients), stratum))] = np.arange(patients) % folds
    # Of each division and fold, (D, F, N).
    all_left_out = fold_of[..., codes] == np.arange(folds)[:, None]
    all_weights = (~all_left_out).astype(float)
    # Of all at once: of few it takes as long.
    judged = selection.scores(p, y, all_weights.reshape(-1, len(y)))
    judged = judged.reshape(len(p), count, folds, 2)
    for number in progress(range(count), count, "optimism: patients left out"):
        left_out = all_left_out[number]
        others = [
            _Images(p, y, row, selection.order(judged[:, number, fold]))
            for fold, row in enumerate(all_weights[number])
        ]
        for name, entry in ensembles.items():
            if number >= _divisions(entry["method"], settings):
                continue
            combined = np.empty(p.shape[1:])
            for images, out in zip(others, left_out, strict=True):
                if not _fits(entry, y[~out], p.shape[2]):
                    combined[:] = np.nan
                    break
                combined[out] = _combine(
                    name, entry, images, p[:, out], quick, seed, RESAMPLE_STARTS
                )
            sample = None if np.isnan(combined).any() else metrics.Sample(y, combined)
            found[name].append(metrics.compute_many(METRICS, sample)[0] if sample else UNMADE)
    return {name: np.reshape(values, (-1, len(METRICS))) for name, values in found.items()}


def _folds(part: Predictions) -> int:
    return min(FOLDS, patient_codes(part.patients)[1])


def _resamples(method: str, settings: Settings) -> int:
    if method != BEST_SINGLE and ensemble_methods()[method].fits_a_network:
        return settings.network_resamples
    return settings.resamples


def _divisions(method: str, settings: Settings) -> int:
    return max(1, _resamples(method, settings) // FOLDS)


def _rows(
    name: str,
    entry: Mapping[str, Any],
    ours: np.ndarray,
    published: np.ndarray,
    resampled: np.ndarray,
    left_out: np.ndarray,
    settings: Settings,
    gap: str,
) -> list[dict[str, Any]]:
    difference = published - ours
    defined = np.isfinite(resampled)
    mean = _mean(resampled)
    out_of_bag = np.where(np.isfinite(published), _mean(left_out), np.nan)
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
            "reason": gap
            or _reason(metric, entry, difference[column], defined[:, column], left_out[:, column]),
            "out_of_bag": out_of_bag[column],
            "optimism": published[column] - out_of_bag[column],
            "choice_gain": out_of_bag[column] - ours[column],
            "divisions": len(left_out),
        }
        for column, metric in enumerate(METRICS)
    ]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of each column (R, M), undefined values left out; NaN where nothing is left."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _reason(
    metric: str,
    entry: Mapping[str, Any],
    difference: float,
    defined: np.ndarray,
    left_out: np.ndarray,
) -> str:
    if not np.isfinite(difference):
        known = metric == "mcc"
        why = "one class is predicted for all images" if known else "a class is never predicted"
        return f"{metrics.title(metric)} is undefined: {why}"
    said = []
    if entry["method"] != BEST_SINGLE and metrics.METRICS[metric].of_probabilities:
        said.append(ensemble_methods()[entry["method"]].caveat)
    if not defined.all():
        said.append(f"undefined in {1 - defined.mean():.0%} of the resamples, which were left out")
    undefined = ~np.isfinite(left_out)
    if undefined.all():
        said.append("no out-of-bag score: undefined wherever patients are left out")
    elif undefined.any():
        said.append(f"undefined in {undefined.mean():.0%} of the divisions, which were left out")
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
    fit_p, fit_y = chosen_on.repeated(members)
    if restarts and entry["method"] == combiners.WeightedAverage.name:
        search = make(name, entry["method"], seed, {entry["method"]: {"starts": restarts}})
        _, weights = search.solutions(fit_p, fit_y)
        found = selection.scores(np.tensordot(weights, fit_p, axes=1), fit_y)[:, 0]
        return np.tensordot(weights[selection.order(found)[0]], p[members], axes=1)
    return make(name, entry["method"], seed, options).fit(fit_p, fit_y).predict(p[members])


def _evaluate(test: _Images, p: np.ndarray) -> np.ndarray:
    return metrics.compute_many(METRICS, metrics.Sample(test.y, p), test.weights[None])[0]
