"""Which single models an ensemble takes: the best by MCC on the `ensemble` split."""

import numpy as np
import pandas as pd

from multiloss import metrics
from multiloss.ensembles.predictions import Predictions
from multiloss.errors import UserError

SPLIT = "ensemble"
METRIC = "mcc"
RULE = "highest MCC on the ensemble split; ties: lower log loss, then the order in the config"
# Scores that differ only by rounding are ties.
DIGITS = 12


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


def order(found: np.ndarray) -> np.ndarray:
    """Models from best to worst, (M,), for their (MCC, log loss), (M, 2).

    Ties go by log loss, then to the earlier; an undefined MCC comes after every defined one.
    """
    mcc, log_loss = np.round(found, DIGITS).T
    last = np.arange(len(found))
    return np.lexsort((last, np.nan_to_num(log_loss, nan=np.inf), np.nan_to_num(-mcc, nan=np.inf)))


def rank(predictions: Predictions) -> pd.DataFrame:
    """Rank the single models of one replicate; other splits' rows are not looked at.

    `predictions` are in the order of the config. Columns: model, loss, replicate, metric, score,
    log_loss, rank (1 is best), split, reason (why a score is empty).
    """
    chosen_on = predictions.only(SPLIT)
    found = scores(chosen_on.p, chosen_on.y)[:, 0]
    names = [name.rpartition("-r") for name in predictions.models]
    ranking = pd.DataFrame(
        {
            "model": predictions.models,
            "loss": [loss for loss, _, _ in names],
            "replicate": [int(replicate) for _, _, replicate in names],
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
        return "no probabilities: training failed"
    return "one class is predicted for all images" if np.isnan(found[0]) else ""


def members(ranking: pd.DataFrame, k: int) -> list[str]:
    """The top k models, best first. Raises UserError if fewer than k have predictions."""
    usable = ranking[ranking["log_loss"].notna()].sort_values("rank")["model"]
    if len(usable) < k:
        raise UserError(
            f"ensembles.top_k: {k} members are asked for, but only {len(usable)} single models "
            "are at hand; lower it or add losses to classification.losses"
        )
    return list(usable.iloc[:k])
