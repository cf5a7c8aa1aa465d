"""Scores of the lung segmenters over all images, with intervals by patient."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from multiloss import losses
from multiloss.job.seeds import derive
from multiloss.statistics.bootstrap import patient_weights
from multiloss.statistics.metrics import Metric

SCORES = {
    "dice": Metric("dice", "Dice", "Overlap of predicted and reference (manual) mask"),
    "iou": Metric("iou", "IoU", "Intersection over union of predicted and reference mask"),
}
# Beginning of the name of the pixel-wise AND of the best segmenters, before their number.
COMBINED = "and_top"


def label(name: str) -> str:
    """A row of the scores as a reader sees it: a loss, or the combined segmenters."""
    known = losses.described("segmentation")
    return known[name].title if name in known else f"AND of the top {name.removeprefix(COMBINED)}"


def summarise(
    scores: pd.DataFrame,
    losses: Sequence[str],
    chosen: Sequence[str],
    resamples: int,
    seed: int,
    confidence: float,
) -> pd.DataFrame:
    """Mean, standard deviation and patient-bootstrap interval of Dice and IoU per loss and split.

    `scores` has the columns loss, split, patient_id, dice, iou; `selected` marks the chosen
    losses. Those of `losses` that have no scores, since their training failed, come last, empty.
    """
    tail = 100 * (1 - confidence) / 2
    rows = []
    for (split, loss), group in scores.groupby(["split", "loss"], sort=False):
        row: dict[str, Any] = {"loss": loss, "split": split, "n": len(group)}
        row["n_patients"] = group["patient_id"].nunique()
        rng = np.random.default_rng(derive(seed, "segmentation", "interval", split))
        weights = patient_weights(group["patient_id"], None, resamples, rng)
        for metric in SCORES:
            values = group[metric].to_numpy()
            low, high = np.percentile(weights @ values / weights.sum(axis=1), [tail, 100 - tail])
            row |= {
                metric: values.mean(),
                f"{metric}_sd": values.std(ddof=1) if len(values) > 1 else 0,
            }
            row |= {f"{metric}_ci_low": low, f"{metric}_ci_high": high}
        row["selected"] = loss in chosen
        rows.append(row)
    rows += [
        {"loss": loss, "split": split, "n": 0, "n_patients": 0, "selected": False}
        for split in ("val", "test")
        for loss in losses
        if loss not in set(scores["loss"])
    ]
    return pd.DataFrame(rows)
