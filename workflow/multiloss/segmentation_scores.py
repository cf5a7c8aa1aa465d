"""Scores of the lung segmenters over all images, with intervals by patient."""

from typing import Any

import numpy as np
import pandas as pd

from multiloss.seeds import derive
from multiloss.statistics.bootstrap import patient_weights


def summarise(
    scores: pd.DataFrame, chosen: list[str], resamples: int, seed: int, confidence: float
) -> pd.DataFrame:
    """Mean, standard deviation and patient-bootstrap interval of Dice and IoU per loss and split.

    `scores` has the columns loss, split, patient_id, dice, iou; `selected` marks the chosen
    losses.
    """
    tail = 100 * (1 - confidence) / 2
    rows = []
    for (split, loss), group in scores.groupby(["split", "loss"], sort=False):
        row: dict[str, Any] = {"loss": loss, "split": split, "n": len(group)}
        row["n_patients"] = group["patient_id"].nunique()
        rng = np.random.default_rng(derive(seed, "segmentation", "interval", split))
        weights = patient_weights(group["patient_id"], None, resamples, rng)
        for metric in ("dice", "iou"):
            values = group[metric].to_numpy()
            low, high = np.percentile(weights @ values / weights.sum(axis=1), [tail, 100 - tail])
            row |= {
                metric: values.mean(),
                f"{metric}_sd": values.std(ddof=1) if len(values) > 1 else 0,
            }
            row |= {f"{metric}_ci_low": low, f"{metric}_ci_high": high}
        row["selected"] = loss in chosen
        rows.append(row)
    return pd.DataFrame(rows)
