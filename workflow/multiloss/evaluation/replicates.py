"""Losses over several seeds: means, spread, and comparisons for new seeds and new patients."""

from math import nan
from typing import Any

import numpy as np
import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.comparisons import adjust
from multiloss.evaluation.resamples import (
    Models,
    Options,
    failed,
    resample,
    resampled_values,
)
from multiloss.predictions import Predictions
from multiloss.statistics.crossed import (
    Crossed,
    Spread,
    crossed_comparison,
    spread,
    warning_of,
)
from multiloss.statistics.mcc import mcc_or_chance

METRICS = ("mcc", "accuracy", "auroc", "log_loss", "brier", "ece")


def replicate_tables(
    found: Predictions,
    models: Models,
    significance: Options,
    options: Options,
    seed: int,
    variants: families.Variants | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """tables/replicates.csv and tables/replicate_comparisons.csv, on the test split.

    First: family, kind, split, metric, replicates (runs that count), mean, sd, minimum, maximum,
    runs (each run's value, by replicate, joined by ';', nothing between for a failed one),
    seed_sd, loss_sd, seed_to_loss, means_sd (of the single models together, see
    `crossed.Spread`), warning, reason, n, n_patients. Second: crossed comparisons of every loss
    with the baseline, of the ablations, and of the pairs with the same objective (noise floor).
    Failed runs are left out of the means; where a metric is undefined for a run, so is the mean,
    but in comparisons an undefined MCC counts as 0. Both are said in `reason`. `variants`: as in
    `families.pairs`.
    """
    part = found.only("test")
    resamples = resample(part, options, seed, "test")
    values, drawn = resampled_values(part, resamples, METRICS, options)
    groups: dict[tuple[str, str], list[int]] = {}
    for place, model in enumerate(part.models):
        kind = models[model]["kind"]
        if kind in ("single", "ablation", "ensemble"):
            groups.setdefault((models[model]["family"], kind), []).append(place)
    lost = [failed(p) for p in part.p]
    runs_of = {
        group: [place for place in places if not lost[place]] for group, places in groups.items()
    }
    size = {"n": len(part.rows), "n_patients": resamples.n_patients}

    def reason_of(group: tuple[str, str], column: int) -> str:
        places, runs = groups[group], runs_of[group]
        gone, undefined = len(places) - len(runs), int(np.isnan(values[runs, column]).sum())
        said = [f"{gone} of {len(places)} runs failed" if gone else ""]
        said.append(
            f"{METRICS[column]} is undefined for {undefined} of {len(places)} runs"
            if undefined
            else ""
        )
        return "; ".join(filter(None, said))

    rows: list[dict[str, Any]] = []
    for column, metric in enumerate(METRICS):
        of_losses = {
            name: values[places, column]
            for (name, kind), places in runs_of.items()
            if kind == "single" and places and not np.isnan(values[places, column]).any()
        }
        overall = spread(of_losses) if of_losses else Spread(nan, nan, nan, nan)
        unknown = ""
        if np.isnan(overall.loss_sd):
            lack = "two runs of one loss" if np.isnan(overall.seed_sd) else "two losses"
            unknown = f"loss_sd is unknown: it takes {lack} with a value"
        for (name, kind), places in runs_of.items():
            runs = values[places, column]
            single = kind == "single"
            count = len(runs)
            every = values[groups[name, kind], column]
            rows.append(
                {
                    "family": name,
                    "kind": kind,
                    "split": "test",
                    "metric": metric,
                    "replicates": count,
                    "mean": runs.mean() if count else nan,
                    "sd": runs.std(ddof=1) if count > 1 else nan,
                    "minimum": runs.min() if count else nan,
                    "maximum": runs.max() if count else nan,
                    "runs": ";".join("" if np.isnan(run) else f"{run:.6g}" for run in every),
                    "seed_sd": overall.seed_sd if single else nan,
                    "loss_sd": overall.loss_sd if single else nan,
                    "seed_to_loss": overall.ratio if single else nan,
                    "means_sd": overall.means_sd if single else nan,
                    "warning": warning_of(count),
                    "reason": "; ".join(
                        filter(None, [reason_of((name, kind), column), unknown if single else ""])
                    ),
                    **size,
                }
            )
    summary = pd.DataFrame(rows)

    trained = {name: (name, kind) for name, kind in groups if kind != "ensemble"}
    baseline = significance["baseline"]
    named = [
        (families.ABLATIONS if kind == "ablation" else families.BASELINE, name, baseline)
        for name, kind in trained.values()
        if name != baseline and baseline in trained
    ]
    if variants is None:
        variants = families.named(name for name, kind in groups if kind == "single")
    for a, b in families.same_objective(variants):
        if a in trained and b in trained:
            named.append((families.NOISE_FLOOR, a, b))
    mcc, ran = METRICS.index("mcc"), [place for place, gone in enumerate(lost) if not gone]
    # Before these count as 0.
    reasons = [
        {name: reason_of(group, column) for name, group in trained.items()}
        for column in range(len(METRICS))
    ]
    values, drawn = values.copy(), drawn.copy()
    values[ran, mcc] = mcc_or_chance(values[ran, mcc])
    drawn[ran, :, mcc] = mcc_or_chance(drawn[ran, :, mcc])
    compared: list[dict[str, Any]] = []
    for family, a, b in named:
        first, second = runs_of[trained[a]], runs_of[trained[b]]
        for column, metric in enumerate(METRICS):
            reason = "; ".join(
                f"{loss}: {why}" for loss, why in reasons[column].items() if loss in (a, b) and why
            )
            if not first or not second or np.isnan(values[[*first, *second], column]).any():
                few = warning_of(min(len(first), len(second)))
                result = Crossed(nan, nan, nan, nan, nan, nan, few)
            else:
                usable = ~np.isnan(drawn[[*first, *second], :, column]).any(axis=0)
                result = crossed_comparison(
                    values[first, column],
                    values[second, column],
                    drawn[first, :, column].T[usable],
                    drawn[second, :, column].T[usable],
                    resamples.df,
                    options["confidence"],
                )
                if np.isnan(result.p_value):
                    reason = "; ".join(filter(None, [reason, "the same in every resample"]))
            compared.append(
                {
                    "loss_a": a,
                    "loss_b": b,
                    "metric": metric,
                    "difference": result.difference,
                    "ci_low": result.ci_low,
                    "ci_high": result.ci_high,
                    "se_seed": result.se_seed,
                    "se_patient": result.se_patient,
                    "p_value": result.p_value,
                    "family": families.column(family, metric),
                    "replicates_a": len(first),
                    "replicates_b": len(second),
                    **size,
                    "warning": result.warning,
                    "reason": reason,
                }
            )
    columns = "loss_a loss_b metric difference ci_low ci_high se_seed se_patient p_value"
    columns += " p_adjusted reject family replicates_a replicates_b n n_patients warning reason"
    second_table = adjust(pd.DataFrame(compared), significance["alpha"])
    return summary, second_table.reindex(columns=columns.split())
