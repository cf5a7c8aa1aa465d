"""How often each model is the best, over resampled patients."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.resamples import Models, Options, failed, resample, resampled_values
from multiloss.predictions import Predictions
from multiloss.statistics.mcc import mcc_or_chance

Array = npt.NDArray[np.float64]


def rank_shares(values: Array, top: int) -> Array:
    """Chance of each model (R, M) to be among the first `top` when ties are broken by lot."""
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    tied = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.clip((top - better) / np.maximum(tied, 1), 0, 1)


def rank_table(found: Predictions, models: Models, options: Options, seed: int) -> pd.DataFrame:
    """How often each model is best by MCC, and in the top 3, over resampled test patients.

    Ranked among the models of its kind and replicate that have probabilities; ties share a place,
    an undefined MCC counts as 0 and its `value` is empty. Columns: model,
    kind, replicate, split, metric, value, p_best, p_top3, rank (mean), rank_low, rank_high,
    models, resamples, n, n_patients.
    """
    part = found.only("test")
    resamples = resample(part, options, seed, "test")
    values, drawn = resampled_values(part, resamples, ["mcc"], options)
    groups: dict[tuple[str, Any], list[int]] = {}
    for place, model in enumerate(part.models):
        if not failed(part.p[place]):
            entry = models[model]
            groups.setdefault((entry["kind"], entry.get("replicate")), []).append(place)
    tail, rows = (1 - options["confidence"]) / 2, []
    for (kind, replicate), places in groups.items():
        if kind not in ("single", "ensemble"):
            continue
        of_group = mcc_or_chance(drawn[places, :, 0].T)
        higher = (of_group[:, None, :] > of_group[:, :, None]).sum(axis=2)
        ranks = 1 + higher + ((of_group[:, None, :] == of_group[:, :, None]).sum(axis=2) - 1) / 2
        best, top = rank_shares(of_group, 1).mean(axis=0), rank_shares(of_group, 3).mean(axis=0)
        for column, place in enumerate(places):
            low, high = np.quantile(ranks[:, column], [tail, 1 - tail])
            rows.append(
                {
                    "model": part.models[place],
                    "kind": kind,
                    "replicate": "" if replicate is None else replicate,
                    "split": "test",
                    "metric": "mcc",
                    "value": values[place, 0],
                    "p_best": best[column],
                    "p_top3": top[column],
                    "rank": ranks[:, column].mean(),
                    "rank_low": low,
                    "rank_high": high,
                    "models": len(places),
                    "resamples": len(of_group),
                    "n": len(part.rows),
                    "n_patients": resamples.n_patients,
                }
            )
    columns = "model kind replicate split metric value p_best p_top3 rank rank_low rank_high"
    columns += " models resamples n n_patients"
    return pd.DataFrame(rows, columns=columns.split())
