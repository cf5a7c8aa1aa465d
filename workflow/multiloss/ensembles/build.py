"""All ensembles of one replicate: members, weights, probabilities, and how good they look.

Labels are read of the `ensemble` split only; every other image is merely predicted.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from multiloss.ensembles import combiners, selection
from multiloss.ensembles.crossfit import crossfit, folds, obstacle
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive
from multiloss.methods import MODEL_LEVEL, ensemble_methods
from multiloss.predictions import Predictions
from multiloss.statistics.bootstrap import label_strata, patient_weights, percentile_interval
from multiloss.statistics.degenerate import CHANCE, DOMINATES, NEVER, problems
from multiloss.study import SEED_AVERAGE

logger = logging.getLogger(__name__)

CANDIDATE_COLUMNS = [
    "model", "kind", "method", "k", "replicate", "metric", "score", "ci_low", "ci_high",
    "log_loss", "split", "folds", "n", "n_patients", "complexity", "reason",
]  # fmt: skip
WEIGHT_COLUMNS = ["ensemble", "replicate", "member", "weight"]


@dataclass(frozen=True)
class Interval:
    """How the intervals of scores are made: patient bootstrap, percentiles."""

    resamples: int = 2000
    confidence: float = 0.95


@dataclass(frozen=True)
class Ensembles:
    """Of each prediction-level ensemble the probabilities (N, K); fitted weights; candidates.

    Probabilities are NaN where an ensemble cannot be made. `reason` of the candidates says that,
    why one could not be judged and so not be chosen, and what speaks against choosing one.
    """

    p: dict[str, np.ndarray]
    weights: pd.DataFrame
    candidates: pd.DataFrame


def make(
    name: str, method: str, seed: int, options: Mapping[str, Mapping[str, Any]]
) -> combiners.Combiner:
    """The combiner of one ensemble; its random choices depend on the ensemble's name alone."""
    return combiners.combiner(
        method, derive(seed, "ensemble", name), **dict(options.get(method, {}))
    )


def build(
    singles: Predictions,
    ranking: pd.DataFrame,
    model_level: Predictions | None,
    ensembles: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Mapping[str, Any]],
    fold_count: int,
    seed: int,
    interval: Interval,
) -> Ensembles:
    """Fit and cross-fit the ensembles of one replicate.

    `singles`: the replicate's single models, all rows; `ranking` as from `selection.rank`;
    `model_level`: the model-level ensembles, None if there are none; `ensembles`: by name
    `method`, `k`, `replicate`, `members` (where they are not the top k) and `level`, which is
    `prediction`, `model` (made elsewhere, only judged here) or `model_average` (of the model-level
    ensembles). `options`: by method.
    An ensemble with a failed member, or of a fitted method where the split lacks a class, is a
    gap; where a class has one patient alone, fitted methods are fitted but not judged.
    Raises UserError for models on different images.
    """
    if model_level is not None and not model_level.rows.equals(singles.rows):
        raise UserError(
            f"predictions of {model_level.models[0]}: images differ from those of "
            f"{singles.models[0]}; delete both files and run again"
        )
    fitting = singles.only(selection.SPLIT)
    y, patients = fitting.y, fitting.patients
    alone = obstacle(patients, y, fitting.classes)
    fold = folds(patients, y, fold_count, derive(seed, "ensemble", "folds"))
    rng = np.random.default_rng(derive(seed, "ensemble", "interval"))
    resamples = patient_weights(patients, label_strata(patients, y), interval.resamples, rng)
    on_split = (singles.rows["split"] == selection.SPLIT).to_numpy()
    combined: dict[str, np.ndarray] = {}
    weights, candidates = [], []
    on_features = ensemble_methods()[MODEL_LEVEL].complexity

    def judge(
        model: str, judged: np.ndarray, whole: np.ndarray, reason: str = "", **values: Any
    ) -> None:
        """`judged` (N, K) gives the score; `whole` are the stored probabilities on the split."""
        scored = selection.scores(judged[None], y)[0, 0]
        spread = selection.scores(judged[None], y, resamples)[0, :, :1]
        low, high = (end[0] for end in percentile_interval(spread, interval.confidence))
        reasons = [reason] if reason else _against(*scored, y, whole, fitting.classes)
        candidates.append(
            {"model": model, "metric": selection.METRIC, "score": scored[0], "ci_low": low,
             "ci_high": high, "log_loss": scored[1], "split": selection.SPLIT, "n": len(y),
             "n_patients": len(np.unique(patients)), "reason": "; ".join(reasons), **values}
        )  # fmt: skip

    run_of = dict(zip(ranking["model"], ranking["replicate"], strict=True))
    nothing = np.full(fitting.p.shape[1:], np.nan)
    for model, p in zip(fitting.models, fitting.p, strict=True):
        reason = "" if np.isfinite(p).all() else selection.FAILED
        judge(model, p, p, reason, kind="single", replicate=run_of[model], folds=0, complexity=0)
    for name, entry in ensembles.items():
        about = {key: entry[key] for key in ("method", "k", "replicate")} | {"kind": "ensemble"}
        average = entry["level"] == "model_average"
        members = _members(entry, ranking)
        stored = (model_level if average else singles).of(members)
        lost = [m for m, p in zip(members, stored, strict=True) if not np.isfinite(p).all()]
        reason = f"no probabilities: its member {lost[0]} has none" if lost else ""
        if entry["level"] == "model":
            p = model_level.of([name])[0, on_split]
            if not reason and not np.isfinite(p).all():
                reason = selection.FAILED
            judge(name, p, p, reason, **about, folds=0, complexity=on_features)
            continue
        combiner = make(name, entry["method"], seed, options)
        if not reason and not combiner.fits(y, len(fitting.classes)):
            reason = f"no probabilities: {alone}"
        folded = combiner.fitted and not alone
        if reason:
            combined[name] = np.full(singles.p.shape[1:], np.nan)
            whole = judged = nothing
        else:
            combiner.fit(stored[:, on_split], y)
            combined[name] = combiner.predict(stored)
            whole = judged = combined[name][on_split]
            if combiner.weights is not None:
                found = zip(members, combiner.weights, strict=True)
                weights += [(name, entry["replicate"], member, weight) for member, weight in found]
            if folded:
                judged = crossfit(
                    lambda name=name, method=entry["method"]: make(name, method, seed, options),
                    stored[:, on_split],
                    y,
                    fold,
                )
            elif combiner.fitted:
                judged, reason = nothing, alone
        judge(
            name,
            judged,
            whole,
            reason,
            **about,
            folds=int(fold.max()) + 1 if folded else 0,
            complexity=combiner.complexity + (on_features if average else 0),
        )
        if not reason:
            logger.info("%s: MCC %.3f (cross-fitted)", name, candidates[-1]["score"])
    _tell(candidates)
    return Ensembles(
        combined,
        pd.DataFrame(weights, columns=WEIGHT_COLUMNS),
        pd.DataFrame(candidates, columns=CANDIDATE_COLUMNS),
    )


def _against(
    mcc: float, log_loss: float, y: np.ndarray, p: np.ndarray, classes: Sequence[str]
) -> list[str]:
    """What speaks against choosing a model of this score, with probabilities (N, K) as stored."""
    at_chance = selection.compared([mcc], [log_loss])[0] <= 0
    found = [selection.UNDEFINED] if np.isnan(mcc) else []
    against = problems(y, p.argmax(axis=1), len(classes))
    # What one class for all images, or a score at chance, says already.
    told = {NEVER} if any(own.problem == DOMINATES and own.value == 1 for own in against) else set()
    told |= {CHANCE} if at_chance else set()
    return found + [f"it {own.describe(classes)}" for own in against if own.problem not in told]


def _tell(candidates: Sequence[Mapping[str, Any]]) -> None:
    """Say how many models cannot be chosen, by reason."""
    counts: dict[str, list[str]] = {}
    for row in candidates:
        if np.isnan(row["log_loss"]):
            counts.setdefault(row["reason"], []).append(row["model"])
    for reason, models in counts.items():
        logger.warning(
            "%d of %d models left out of the choice (%s): %s",
            *(len(models), len(candidates), ", ".join(models), reason),
        )


def _members(entry: Mapping[str, Any], ranking: pd.DataFrame) -> list[str]:
    """The members of one ensemble: those it has from the start, or the top k."""
    return list(entry["members"]) or selection.members(ranking, entry["k"])


MEMBER_COLUMNS = [
    "ensemble", "method", "k", "replicate", "member", "rank", "score", "score_metric", "split",
]  # fmt: skip


def member_table(
    ensembles: Mapping[str, Mapping[str, Any]],
    rankings: pd.DataFrame,
    candidates: pd.DataFrame,
    seed_ensembles: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Who is in which ensemble, by which score: one row for each member, best first.

    `ensembles` as in `build`, of all replicates; `rankings` and `candidates` of all replicates,
    one below the other, the rankings with the further seeds; `seed_ensembles`: by name `members`
    and `k` of each ensemble of the first k seeds of one variant, which nothing was chosen for.
    """
    score, compared = {}, {}
    for table in (rankings, candidates):
        score |= dict(zip(table["model"], table["score"], strict=True))
        values = selection.compared(table["score"], table["log_loss"])
        compared |= dict(zip(table["model"], values, strict=True))
    rows = []
    for name, entry in ensembles.items():
        ranking = rankings[rankings["replicate"] == entry["replicate"]]
        members = _members(entry, ranking)
        if entry["level"] == "model_average":
            members = _by_score(members, compared)
        rows += [
            (name, entry["method"], entry["k"], entry["replicate"], member, rank + 1)
            for rank, member in enumerate(members)
        ]
    for name, entry in seed_ensembles.items():
        members = _by_score(list(entry["members"]), compared)
        rows += [
            (name, SEED_AVERAGE, entry["k"], None, member, rank + 1)
            for rank, member in enumerate(members)
        ]
    table = pd.DataFrame(rows, columns=MEMBER_COLUMNS[:6])
    table["replicate"] = table["replicate"].astype("Int64")
    return table.assign(
        score=table["member"].map(score), score_metric=selection.METRIC, split=selection.SPLIT
    )


def _by_score(models: list[str], score: Mapping[str, float]) -> list[str]:
    """Best first; equal scores stay in order."""
    return sorted(models, key=lambda model: -score[model])
