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
# Of the combined mask from a network on the same images.
DIFFERENCE = ("dice_difference", "dice_difference_ci_low", "dice_difference_ci_high")
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

    `scores` has the columns loss, split, image_id, patient_id, dice, iou; `selected` marks the
    chosen losses. `dice_difference` is the mean over the images of the Dice of the combined mask
    less that of the network, with the interval of the same resamples; without, where the images
    have no combined mask and in its own row. Those of `losses` that have no scores, since their
    training failed, come last, empty.
    """
    tail = 100 * (1 - confidence) / 2
    combined = scores[scores["loss"].astype(str).str.startswith(COMBINED)]
    if len(combined):
        combined = combined.set_index(["split", "image_id"])["dice"]
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
        row |= dict.fromkeys(DIFFERENCE, np.nan)
        if len(combined) and not str(loss).startswith(COMBINED):
            ours = combined.loc[list(zip(group["split"], group["image_id"], strict=True))]
            gains = ours.to_numpy() - group["dice"].to_numpy()
            ends = np.percentile(weights @ gains / weights.sum(axis=1), [tail, 100 - tail])
            row |= dict(zip(DIFFERENCE, (gains.mean(), *ends), strict=True))
        rows.append(row)
    rows += [
        {"loss": loss, "split": split, "n": 0, "n_patients": 0, "selected": False}
        for split in ("val", "test")
        for loss in losses
        if loss not in set(scores["loss"])
    ]
    return pd.DataFrame(rows)
