"""What is the loss and what is the seed: trained runs and patients as crossed factors."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss import evaluation
from multiloss.ensembles.predictions import Predictions
from multiloss.evaluation import Models, Options
from multiloss.statistics import comparisons

Array = npt.NDArray[np.float64]

METRICS = ("mcc", "accuracy", "auroc", "log_loss", "brier", "ece")
ENOUGH_SEEDS = 5
FEW = f"fewer than {ENOUGH_SEEDS} seeds: the spread between seeds is poorly known"
ONE = "one seed: the spread between seeds is unknown, so the interval holds for these runs alone"


@dataclass(frozen=True)
class Crossed:
    """Difference of two losses' means over seeds, first minus second, and where its error
    comes from; the interval is for new seeds and new patients together."""

    difference: float
    se_seed: float
    se_patient: float
    ci_low: float
    ci_high: float
    p_value: float
    warning: str


def _seed_parts(values: Array, drawn: Array) -> tuple[float, float]:
    """Variance of a loss's mean due to its seeds, and degrees of freedom.

    Runs differ by seed, and by how each seed's errors fall on these patients. The second part
    is already in the patients' resamples of the mean, so it is taken off here.
    """
    runs = len(values)
    if runs < 2:
        return 0.0, 0.0
    own = drawn - drawn.mean(axis=1, keepdims=True)
    interaction = float(own.var(axis=0, ddof=1).mean()) * runs / (runs - 1)
    return max(0.0, (float(values.var(ddof=1)) - interaction) / runs), runs - 1.0


def crossed_comparison(
    values_a: npt.ArrayLike,
    values_b: npt.ArrayLike,
    drawn_a: npt.ArrayLike,
    drawn_b: npt.ArrayLike,
    freedom: float,
    confidence: float = 0.95,
) -> Crossed:
    """Compare two losses over seeds (random) and patients (random, the same for both).

    `values` (runs,): the metric of each run on all patients; `drawn` (R, runs): in resamples
    of the patients, common to all. With s^2 the variance between runs, the error of the mean
    difference is split into that of the patients (variance of the resampled mean difference)
    and that of the seeds ((s^2 - interaction of seed and patient) / runs for each loss, not
    below 0, the interaction estimated from the resamples). Student's t with Satterthwaite's
    degrees of freedom; `freedom` are those of the patients.
    """
    from scipy.stats import t

    a, b = np.asarray(values_a, float), np.asarray(values_b, float)
    boot_a, boot_b = np.asarray(drawn_a, float), np.asarray(drawn_b, float)
    difference = float(a.mean() - b.mean())
    fewest = min(len(a), len(b))
    warning = ONE if fewest < 2 else FEW if fewest < ENOUGH_SEEDS else ""
    patients = float((boot_a.mean(axis=1) - boot_b.mean(axis=1)).var(ddof=1))
    parts = [_seed_parts(a, boot_a), _seed_parts(b, boot_b)]
    seeds = sum(part for part, _ in parts)
    total = patients + seeds
    se_seed = float(np.sqrt(seeds)) if fewest > 1 else nan
    if total <= 1e-24 or freedom < 1:
        same = abs(difference) < 1e-12
        ends, p_value = ((0.0, 0.0), 1.0) if same else ((nan, nan), nan)
        return Crossed(difference, se_seed, np.sqrt(patients), *ends, p_value, warning)
    spread = patients**2 / freedom + sum(part**2 / own for part, own in parts if own)
    df = total**2 / spread
    half = float(t.ppf((1 + confidence) / 2, df)) * np.sqrt(total)
    return Crossed(
        difference,
        se_seed,
        float(np.sqrt(patients)),
        difference - half,
        difference + half,
        float(2 * t.sf(abs(difference) / np.sqrt(total), df)),
        warning,
    )


@dataclass(frozen=True)
class Spread:
    """Standard deviation between seeds (pooled over losses) and between the losses' means.

    `loss_sd` is corrected for what the seeds alone make the means differ by; `ratio` is
    seed over loss: above 1, a single run says more about its seed than about its loss.
    """

    seed_sd: float
    loss_sd: float
    ratio: float


def spread(values: Mapping[str, npt.ArrayLike]) -> Spread:
    """Split the spread of one metric's runs (by loss) into seed and loss."""
    runs = [np.asarray(v, float) for v in values.values()]
    within = [(len(v) - 1, v.var(ddof=1)) for v in runs if len(v) > 1]
    freedom = sum(df for df, _ in within)
    seed = sum(df * var for df, var in within) / freedom if freedom else nan
    between = np.var([v.mean() for v in runs], ddof=1) if len(runs) > 1 else nan
    noise = seed * float(np.mean([1 / len(v) for v in runs]))
    loss_sd = float(np.sqrt(max(between - (0.0 if np.isnan(noise) else noise), 0.0)))
    seed_sd = float(np.sqrt(seed))
    ratio = seed_sd / loss_sd if loss_sd > 0 else (np.inf if seed_sd > 0 else nan)
    return Spread(seed_sd, nan if np.isnan(between) else loss_sd, float(ratio))


def tables(
    found: Predictions,
    models: Models,
    significance: Options,
    options: Options,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """tables/replicates.csv and tables/replicate_comparisons.csv, on the test split.

    First: family, kind, split, metric, replicates, mean, sd, minimum, maximum, runs (each
    run's value, by replicate, joined by ';'), seed_sd, loss_sd, seed_to_loss (of the single
    models together), warning, n, n_patients. Second: crossed comparisons of every loss with
    the baseline, of the ablations, and of the pairs with the same objective (noise floor).
    """
    part = found.only("test")
    resamples = evaluation.resample(part, options, seed, "test")
    values, drawn = evaluation.resampled_values(part, resamples, METRICS, options)
    groups: dict[tuple[str, str], list[int]] = {}
    for place, model in enumerate(part.models):
        entry = models[model]
        if (
            entry["kind"] in ("single", "ablation", "ensemble")
            and not np.isnan(part.p[place]).any()
        ):
            groups.setdefault((evaluation.family(model), entry["kind"]), []).append(place)
    size = {"n": len(part.rows), "n_patients": resamples.n_patients}
    rows: list[dict[str, Any]] = []
    for column, metric in enumerate(METRICS):
        of_losses = {
            name: values[places, column]
            for (name, kind), places in groups.items()
            if kind == "single" and not np.isnan(values[places, column]).any()
        }
        overall = spread(of_losses) if of_losses else Spread(nan, nan, nan)
        for (name, kind), places in groups.items():
            runs = values[places, column]
            single = kind == "single"
            count = len(runs)
            rows.append(
                {
                    "family": name,
                    "kind": kind,
                    "split": "test",
                    "metric": metric,
                    "replicates": count,
                    "mean": runs.mean(),
                    "sd": runs.std(ddof=1) if count > 1 else nan,
                    "minimum": runs.min(),
                    "maximum": runs.max(),
                    "runs": ";".join("" if np.isnan(run) else f"{run:.6g}" for run in runs),
                    "seed_sd": overall.seed_sd if single else nan,
                    "loss_sd": overall.loss_sd if single else nan,
                    "seed_to_loss": overall.ratio if single else nan,
                    "warning": ONE if count < 2 else FEW if count < ENOUGH_SEEDS else "",
                    **size,
                }
            )
    summary = pd.DataFrame(rows)

    trained = {name: places for (name, kind), places in groups.items() if kind != "ensemble"}
    kinds = {name: kind for name, kind in groups}
    baseline = significance["baseline"]
    planned = [
        (comparisons.ABLATIONS if kinds[name] == "ablation" else comparisons.BASELINE, name)
        for name in trained
        if name != baseline and baseline in trained
    ]
    named = [(family, name, baseline) for family, name in planned]
    for a, b in comparisons.SAME_OBJECTIVE:
        if a in trained and b in trained:
            named.append((comparisons.NOISE_FLOOR, a, b))
    compared: list[dict[str, Any]] = []
    for family, a, b in named:
        for column, metric in enumerate(METRICS):
            first, second = trained[a], trained[b]
            if np.isnan(values[[*first, *second], column]).any():
                continue
            usable = ~np.isnan(drawn[[*first, *second], :, column]).any(axis=0)
            result = crossed_comparison(
                values[first, column],
                values[second, column],
                drawn[first, :, column].T[usable],
                drawn[second, :, column].T[usable],
                resamples.freedom,
                options["confidence"],
            )
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
                    "family": family if metric in comparisons.PRIMARY else f"{family} ({metric})",
                    "replicates_a": len(first),
                    "replicates_b": len(second),
                    **size,
                    "warning": result.warning,
                }
            )
    columns = "loss_a loss_b metric difference ci_low ci_high se_seed se_patient p_value"
    columns += " p_adjusted reject family replicates_a replicates_b n n_patients warning"
    second_table = comparisons.adjust(pd.DataFrame(compared), significance["alpha"])
    return summary, second_table.reindex(columns=columns.split())
