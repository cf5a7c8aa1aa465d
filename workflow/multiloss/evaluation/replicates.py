"""Losses over several seeds: means, spread, and comparisons for new seeds and new patients."""

from math import nan
from typing import Any

import numpy as np
import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.comparisons import adjust
from multiloss.evaluation.resamples import Models, Options
from multiloss.evaluation.runs import Runs, family_of, primary_of
from multiloss.job.seeds import derive
from multiloss.statistics.crossed import (
    POOLED,
    Crossed,
    Spread,
    correlation,
    crossed_comparison,
    spread,
    step_down,
    warning_of,
)
from multiloss.statistics.metrics import lookup


def replicates_table(runs: Runs) -> pd.DataFrame:
    """tables/replicates.csv, on the test split.

    Columns: family, kind, split, metric, replicates (runs that count), mean, sd, minimum, maximum,
    runs (each run's value, by replicate, joined by ';', nothing between for a failed one),
    seed_sd, loss_sd, seed_to_loss, means_sd (of the single models together, see
    `crossed.Spread`), warning, reason, n, n_patients. Failed runs are left out of the means; where
    a metric is undefined for a run, so is the mean. Further seeds of one loss are not counted here.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for place, model in enumerate(runs.part.models):
        entry = runs.models[model]
        if entry["kind"] in ("single", "ablation", "ensemble"):
            groups.setdefault((entry["family"], entry["kind"]), []).append(place)
    runs_of = {
        group: [place for place in places if not runs.lost[place]]
        for group, places in groups.items()
    }
    values = runs.values
    rows: list[dict[str, Any]] = []
    for column, metric in enumerate(runs.metrics):
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
            own = values[places, column]
            single = kind == "single"
            count = len(own)
            every = values[groups[name, kind], column]
            rows.append(
                {
                    "family": name,
                    "kind": kind,
                    "split": "test",
                    "metric": metric,
                    "replicates": count,
                    "mean": own.mean() if count else nan,
                    "sd": own.std(ddof=1) if count > 1 else nan,
                    "minimum": own.min() if count else nan,
                    "maximum": own.max() if count else nan,
                    "runs": ";".join("" if np.isnan(run) else f"{run:.6g}" for run in every),
                    "seed_sd": overall.seed_sd if single else nan,
                    "loss_sd": overall.loss_sd if single else nan,
                    "seed_to_loss": overall.ratio if single else nan,
                    "means_sd": overall.means_sd if single else nan,
                    "warning": warning_of(count),
                    "reason": "; ".join(
                        filter(
                            None,
                            [runs.reason(groups[name, kind], metric), unknown if single else ""],
                        )
                    ),
                    **runs.size,
                }
            )
    return pd.DataFrame(rows)


def planned(
    models: Models, baseline: str, variants: families.Variants | None = None
) -> list[tuple[str, str, str]]:
    """All comparisons of losses (family, loss_a, loss_b).

    Distinct objectives against the baseline, ablations against it, and pairs with one objective
    (noise floor). A loss with the objective of the baseline is in the last alone; one with that of
    another loss meets the baseline in a family of its own.
    """
    kinds = {entry["family"]: entry["kind"] for entry in models.values()
             if entry["kind"] in ("single", "ablation")}  # fmt: skip
    if variants is None:
        variants = families.named(name for name, kind in kinds.items() if kind == "single")
    same = families.same_objective(variants)
    objective = dict(same)
    named = []
    for name, kind in kinds.items():
        if name == baseline or baseline not in kinds:
            continue
        if kind == "ablation":
            named.append((families.ABLATIONS, name, baseline))
        elif objective.get(name, name) != objective.get(baseline, baseline):
            family = families.REPEATED_BASELINE if name in objective else families.BASELINE
            named.append((family, name, baseline))
    named += [(families.NOISE_FLOOR, a, b) for a, b in same if a in kinds and b in kinds]
    return named


def replicate_comparisons_table(
    runs: Runs,
    significance: Options,
    seed: int,
    variants: families.Variants | None = None,
    method: str = "auto",
) -> pd.DataFrame:
    """tables/replicate_comparisons.csv: losses with seeds and patients as crossed factors.

    Columns: loss_a, loss_b, metric, difference, ci_low, ci_high, se_seed, se_patient, p_value,
    p_adjusted, reject, family, replicates_a, replicates_b, n, n_patients, warning, reason, se, df,
    method (`pooled` or `own`, see `crossed.crossed_comparison`; empty where seeds are unknown),
    hypotheses (with a p value, in the family), correction, primary. The further seeds of the
    repeated loss count. An undefined MCC counts as 0, and `reason` says so. `variants`: as in
    `families.pairs`; `method`: as in `crossed_comparison`.
    """
    primary = primary_of(significance)
    named = planned(runs.models, significance["baseline"], variants)
    compared: list[dict[str, Any]] = []
    tested = {metric: runs.tested(metric) for metric in runs.metrics}
    for family, a, b in named:
        first, second = runs.ran[a], runs.ran[b]
        for metric in runs.metrics:
            values, drawn = tested[metric]
            reasons = [
                f"{loss}: {why}"
                for loss in (a, b)
                if (why := runs.reason(runs.trained[loss], metric))
            ]
            if not first or not second or np.isnan(values[[*first, *second]]).any():
                few = warning_of(min(len(first), len(second)))
                result = Crossed(nan, nan, nan, nan, nan, nan, few)
            else:
                result = crossed_comparison(
                    values[first],
                    values[second],
                    drawn[first].T,
                    drawn[second].T,
                    runs.resamples.df,
                    runs.options["confidence"],
                    runs.seeds(metric),
                    method,
                    runs.inflation,
                )
                reasons.append(result.reason)
            low, high = lookup(metric).metric.difference_within(result.ci_low, result.ci_high)
            compared.append(
                {
                    "loss_a": a,
                    "loss_b": b,
                    "metric": metric,
                    "difference": result.difference,
                    "ci_low": low,
                    "ci_high": high,
                    "se_seed": result.se_seed,
                    "se_patient": result.se_patient,
                    "p_value": result.p_value,
                    "family": family_of(family, metric, primary),
                    "replicates_a": len(first),
                    "replicates_b": len(second),
                    **runs.size,
                    "warning": result.warning,
                    "reason": "; ".join(filter(None, reasons)),
                    "se": result.se,
                    "df": result.df,
                    "method": result.method,
                    "primary": (family, metric) == (families.BASELINE, primary),
                }
            )
    table = corrected(pd.DataFrame(compared), significance["alpha"])
    if len(table):
        table = _step_down(table, runs, significance, seed)
    columns = "loss_a loss_b metric difference ci_low ci_high se_seed se_patient p_value"
    columns += " p_adjusted reject family replicates_a replicates_b n n_patients warning reason"
    columns += " se df method hypotheses correction primary"
    return table.reindex(columns=columns.split())


def corrected(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Holm's p values within each family, and how many hypotheses these are."""
    if table.empty:
        return table
    known = table["p_value"].notna().groupby(table["family"], sort=False).transform("sum")
    return adjust(table, alpha).assign(hypotheses=known, correction=families.HOLM)


def _step_down(table: pd.DataFrame, runs: Runs, significance: Options, seed: int) -> pd.DataFrame:
    """The primary family by step-down max-T, where its seeds are pooled."""
    rows = table[table["primary"] & table["p_value"].notna()]
    if rows.empty or (rows["method"] != POOLED).any() or rows["df"].isna().any():
        return table
    losses = list(dict.fromkeys([*rows["loss_a"], *rows["loss_b"]]))
    metric = primary_of(significance)
    _, drawn = runs.tested(metric)
    means = np.stack([drawn[runs.ran[loss]].mean(axis=0) for loss in losses], axis=1)
    correlations = correlation(
        means,
        [len(runs.ran[loss]) for loss in losses],
        [
            (losses.index(a), losses.index(b))
            for a, b in zip(rows["loss_a"], rows["loss_b"], strict=True)
        ],
        runs.seeds(metric),
    )
    adjusted = step_down(
        rows["p_value"], rows["df"], correlations, np.random.default_rng(derive(seed, "max-T"))
    )
    table = table.copy()
    table.loc[rows.index, "p_adjusted"] = adjusted
    table.loc[rows.index, "reject"] = adjusted <= significance["alpha"]
    table.loc[table["primary"], "correction"] = families.MAX_T
    return table
