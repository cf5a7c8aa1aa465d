"""The spread between seeds against the spread between losses: tables/seed_spread.csv."""

from math import nan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.resamples import Options
from multiloss.evaluation.runs import Runs, primary_of
from multiloss.statistics.crossed import (
    EQUAL_LEVEL,
    f_of_means,
    prediction,
    sd_interval,
)

COLUMNS = " ".join(
    [
        "metric row variant replicates runs mean sd sd_low sd_high low high test statistic df",
        "df_seeds p_value equal_p reason n n_patients",
    ]
).split()
SEEDS, POOLED, LOSSES, LOSS = "seeds", "pooled", "losses", "loss"
ONE = "the baseline was trained once: its spread between runs is unknown"
UNEQUAL = f"the losses' runs vary by unequal amounts (Bartlett's test, p < {EQUAL_LEVEL:g})"


def repeated_of(runs: Runs, baseline: str) -> str:
    """The loss whose seeds the others are held against: the one with further seeds, if any."""
    further = [entry["family"] for entry in runs.models.values() if entry["kind"] == "seed"]
    return further[0] if further else baseline


def seed_spread_table(
    runs: Runs, significance: Options, variants: families.Variants | None = None
) -> pd.DataFrame:
    """tables/seed_spread.csv: how far apart runs lie by luck, and losses beside that.

    All on these test patients: what is asked is how the runs differ here. For each metric, the
    primary one first, rows (column `row`)

    - `seeds`: the runs of the repeated loss, their mean and standard deviation `sd` (df_seeds
      degrees of freedom) with its interval, and from `low` to `high` the prediction interval of one
      further run of it, mean +- t sd sqrt(1 + 1/k);
    - `pooled`: the standard deviation between seeds pooled over all ways of training with two runs,
      and `equal_p`, the p value of Bartlett's test that they are equal;
    - `losses`: the standard deviation of the losses' means (distinct objectives), and the F test of
      whether they differ by more than seeds make them (`statistic`, `df`, `df_seeds`, `p_value`);
    - `loss`: each other loss's mean, where the mean of as many further runs of the repeated loss
      would lie, and the t test of that prediction (`statistic`, `df_seeds`, uncorrected `p_value`).

    An undefined MCC counts as 0. What cannot be known is empty, and `reason` says why.
    """
    baseline, primary = significance["baseline"], primary_of(significance)
    repeated, confidence = repeated_of(runs, baseline), runs.options["confidence"]
    if variants is None:
        kinds = {e["family"]: e["kind"] for e in runs.models.values()}
        variants = families.named(name for name in runs.trained if kinds[name] != "ablation")
    again = dict(families.same_objective(variants))
    rows: list[dict[str, Any]] = []
    for metric in sorted(runs.metrics, key=lambda name: name != primary):
        values, _ = runs.tested(metric)
        pool = runs.seeds(metric)
        of = {
            name: values[places]
            for name, places in runs.ran.items()
            if name in variants and places and not np.isnan(values[places]).any()
        }
        common = {"metric": metric, **runs.size}
        base = of.get(repeated, np.empty(0))
        count = len(base)
        sd = float(base.std(ddof=1)) if count > 1 else nan
        low, high, _, _ = prediction(base, [nan], confidence)
        why = runs.reason(runs.trained.get(repeated, []), metric)
        rows.append(
            common
            | {
                "row": SEEDS,
                "variant": repeated,
                "replicates": count,
                "runs": ";".join(f"{value:.6g}" for value in base),
                "mean": float(base.mean()) if count else nan,
                "sd": sd,
                **dict(
                    zip(("sd_low", "sd_high"), sd_interval(sd, count - 1, confidence), strict=True)
                ),
                "low": low,
                "high": high,
                "df_seeds": max(count - 1, 0),
                "reason": "; ".join(filter(None, [why, ONE if count < 2 else ""])),
            }
        )
        pooled_sd = sqrt(pool.variance) if pool.df else nan
        rows.append(
            common
            | {
                "row": POOLED,
                "replicates": pool.df + pool.variants,
                "sd": pooled_sd,
                **dict(
                    zip(
                        ("sd_low", "sd_high"),
                        sd_interval(pooled_sd, pool.df, confidence),
                        strict=True,
                    )
                ),
                "df_seeds": pool.df,
                "equal_p": pool.equal_p,
                "reason": pool.reason,
            }
        )
        distinct = {name: own for name, own in of.items() if name not in again}
        statistic, df, p_value = f_of_means(distinct, pool)
        means = [float(own.mean()) for own in distinct.values()]
        reason = pool.reason if not pool.df else "" if pool.pooled else UNEQUAL
        rows.append(
            common
            | {
                "row": LOSSES,
                "replicates": len(distinct),
                "mean": float(np.mean(means)) if means else nan,
                "sd": float(np.std(means, ddof=1)) if len(means) > 1 else nan,
                "test": "F",
                "statistic": statistic,
                "df": df,
                "df_seeds": pool.df,
                "p_value": p_value,
                "reason": reason if len(means) > 1 else "one loss alone",
            }
        )
        for name in variants:
            if name == repeated or name not in runs.trained:
                continue
            own = of.get(name, np.empty(0))
            low, high, statistic, p_value = prediction(base, own, confidence)
            reasons = [runs.reason(runs.trained[name], metric), ONE if count < 2 else ""]
            if again.get(name, name) == again.get(repeated, repeated):
                reasons.append("the same objective: it differs by luck alone")
            elif name in again:
                reasons.append(f"the objective of {again[name]} again")
            rows.append(
                common
                | {
                    "row": LOSS,
                    "variant": name,
                    "replicates": len(own),
                    "runs": ";".join(f"{value:.6g}" for value in own),
                    "mean": float(own.mean()) if len(own) else nan,
                    "low": low,
                    "high": high,
                    "test": "prediction t",
                    "statistic": statistic,
                    "df_seeds": max(count - 1, 0),
                    "p_value": p_value,
                    "reason": "; ".join(filter(None, reasons)),
                }
            )
    return pd.DataFrame(rows).reindex(columns=COLUMNS)
