"""Which single models an ensemble takes: the best by MCC on the `ensemble` split."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.job.errors import UserError
from multiloss.predictions import Predictions
from multiloss.statistics import metrics
from multiloss.statistics.mcc import mcc_or_chance

SPLIT = "ensemble"
METRIC = "mcc"
RULE = "highest MCC on the ensemble split; ties: lower log loss, then the order in the config"
# Scores that differ only by rounding are ties.
DIGITS = 12
FAILED = "no probabilities: training failed"
UNDEFINED = "one class is predicted for all images: its MCC counts as 0"


def scores(p: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """MCC and log loss of M models, (M, R, 2), for p (M, N, K), y (N,), weights (R, N) or None.

    An undefined MCC (one class predicted throughout) stays NaN; a model without probabilities
    is NaN in both.
    """
    rows = 1 if weights is None else len(weights)
    found = np.full((len(p), rows, 2), np.nan)
    for model in np.flatnonzero(np.isfinite(p).all(axis=(1, 2))):
        sample = metrics.Sample(y, p[model])
        found[model] = metrics.compute_many([METRIC, "log_loss"], sample, weights)
    return found


def compared(mcc: npt.ArrayLike, log_loss: npt.ArrayLike) -> np.ndarray:
    """The MCC (M,) by which models are compared: undefined is 0, without probabilities -inf.

    A model without probabilities, or one that could not be judged, has no log loss either.
    """
    judged = ~np.isnan(np.asarray(log_loss, dtype=float))
    return np.where(judged, mcc_or_chance(mcc), -np.inf)


def order(found: np.ndarray) -> np.ndarray:
    """Models from best to worst, (M,), for their (MCC, log loss), (M, 2).

    Ties go by log loss, then to the earlier; models without probabilities come last.
    """
    mcc, log_loss = np.round(found, DIGITS).T
    last = np.arange(len(found))
    return np.lexsort((last, np.nan_to_num(log_loss, nan=np.inf), -compared(mcc, log_loss)))


def rank(predictions: Predictions, models: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Rank the single models of one replicate; other splits' rows are not looked at.

    `predictions` are in the order of the config; `models`: by name their `variant` and
    `replicate`. Columns: model, loss (the variant), replicate, metric, score,
    log_loss, rank (1 is best), split, reason (why a score is empty, and what it counts as).
    """
    chosen_on = predictions.only(SPLIT)
    found = scores(chosen_on.p, chosen_on.y)[:, 0]
    ranking = pd.DataFrame(
        {
            "model": predictions.models,
            "loss": [models[model]["variant"] for model in predictions.models],
            "replicate": [models[model]["replicate"] for model in predictions.models],
            "metric": METRIC,
            "score": found[:, 0],
            "log_loss": found[:, 1],
            "rank": np.argsort(order(found)) + 1,
            "split": SPLIT,
            "reason": [_reason(values) for values in found],
        }
    )
    return ranking.sort_values("rank", ignore_index=True)


def _reason(found: np.ndarray) -> str:
    if np.isnan(found[1]):
        return FAILED
    return UNDEFINED if np.isnan(found[0]) else ""


def members(ranking: pd.DataFrame, k: int) -> list[str]:
    """The top k models, best first, failed ones last; what has one of these is a gap itself.

    Raises UserError for fewer than k models, which the config's check refuses before any job.
    """
    if len(ranking) < k:
        raise UserError(
            f"ensembles.top_k: {k} members are asked for, but there are only {len(ranking)} "
            "single models; lower it or add losses to classification.losses"
        )
    return list(ranking.sort_values("rank")["model"].iloc[:k])


def failed(ranking: pd.DataFrame, models: list[str]) -> list[str]:
    """Those of some ranked models that have no probabilities, since their training failed."""
    lost = set(ranking.loc[ranking["log_loss"].isna(), "model"])
    return [model for model in models if model in lost]
