"""What ensembles gain, over seeds and patients: tables/ensemble_comparisons.csv."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.replicates import corrected
from multiloss.evaluation.resamples import Options, resampled_values
from multiloss.evaluation.runs import Runs, family_of, primary_of
from multiloss.predictions import Predictions
from multiloss.statistics import gains
from multiloss.statistics.crossed import Crossed
from multiloss.statistics.mcc import mcc_or_chance
from multiloss.statistics.metrics import lookup, title

Array = npt.NDArray[np.float64]

# What the column `against` calls the other side, and the family of such comparisons.
BEST_MEMBER, SEED_AVERAGE, BEST_SINGLE = "best_member", "seed_average", "best_single"
FAMILIES = {
    BEST_MEMBER: families.BEST_MEMBER,
    SEED_AVERAGE: families.SEED_ENSEMBLE,
    BEST_SINGLE: families.BEST_SINGLE,
}
COLUMNS = " ".join(
    [
        "ensemble against opponent metric difference ci_low ci_high se_seed se_patient se df",
        "p_value p_adjusted reject family hypotheses correction primary replicates n",
        "n_patients warning reason",
    ]
).split()


def ensemble_comparisons_table(
    runs: Runs, members: pd.DataFrame, significance: Options
) -> pd.DataFrame:
    """tables/ensemble_comparisons.csv: one hypothesis a method and K, not one a replicate.

    `members`: ensembles/members.csv, where rank 1 is the best member on the `ensemble` split.
    `against` is `best_member` (of the same replicate), `best_single` (of averages of ensembles, the
    best single model of the replicate), or `seed_average`: averages of K runs of the repeated loss,
    over sets of neighbours in the ring of all its runs, so that all runs count alike. `opponent`:
    their families in the order of the replicates. Metrics: MCC (0 where undefined), accuracy and
    the primary one. With one replicate the interval is for this run and there is no p value.
    """
    primary = primary_of(significance)
    metrics = tuple(dict.fromkeys((primary, "mcc", "accuracy")))
    best = members.sort_values("rank", kind="stable").drop_duplicates("ensemble")
    best_of = dict(zip(best["ensemble"], best["member"], strict=True))
    ensembles: dict[str, dict[int, str]] = {}
    for model, entry in runs.models.items():
        if entry["kind"] == "ensemble":
            ensembles.setdefault(entry["family"], {})[entry["replicate"] or 0] = model
    best_single = {
        runs.models[ensemble]["replicate"]: member
        for ensemble, member in best_of.items()
        if runs.models.get(ensemble, {}).get("kind") == "ensemble"
        and runs.models.get(member, {}).get("kind") == "single"
    }
    averages: dict[int, _Averages | None] = {}
    rows = []
    for family, of in ensembles.items():
        entry = runs.models[next(iter(of.values()))]
        pairs = [(own, best_of[own]) for own in of.values() if own in best_of]
        rows += _paired(runs, family, BEST_MEMBER, pairs, len(of), metrics, primary)
        if any(runs.models.get(other, {}).get("kind") == "ensemble" for _, other in pairs):
            pairs = [
                (own, best_single[replicate])
                for replicate, own in of.items()
                if replicate in best_single
            ]
            rows += _paired(runs, family, BEST_SINGLE, pairs, len(of), metrics, primary)
        if entry["level"] != "model_average":
            size = entry["k"]
            if size not in averages:
                averages[size] = _averages(runs, size, metrics)
            rows += _against_average(runs, family, of, averages[size], size, metrics, primary)
    table = corrected(pd.DataFrame(rows), significance["alpha"])
    return table.reindex(columns=COLUMNS)


def _row(
    runs: Runs,
    family: str,
    against: str,
    opponent: str,
    metric: str,
    result: Crossed,
    replicates: int,
    primary: str,
    reasons: Sequence[str],
) -> dict[str, Any]:
    low, high = lookup(metric).metric.difference_within(result.ci_low, result.ci_high)
    return {
        "ensemble": family,
        "against": against,
        "opponent": opponent,
        "metric": metric,
        "difference": result.difference,
        "ci_low": low,
        "ci_high": high,
        "se_seed": result.se_seed,
        "se_patient": result.se_patient,
        "se": result.se,
        "df": result.df,
        "p_value": result.p_value,
        "family": family_of(FAMILIES[against], metric, primary),
        "primary": (against, metric) == (BEST_MEMBER, primary),
        "replicates": replicates,
        **runs.size,
        "warning": result.warning,
        "reason": "; ".join(filter(None, [*reasons, result.reason])),
    }


def _left_out(kept: int, planned: int) -> str:
    lack = planned - kept
    return f"{lack} of {planned} replicates left out: no probabilities" if lack else ""


def _paired(
    runs: Runs,
    family: str,
    against: str,
    pairs: Sequence[tuple[str, str]],
    replicates: int,
    metrics: Sequence[str],
    primary: str,
) -> list[dict[str, Any]]:
    """Rows of an ensemble against one model of each replicate."""
    opponents = ";".join(dict.fromkeys(runs.models[other]["family"] for _, other in pairs))
    places = [(runs.place[own], runs.place[other]) for own, other in pairs]
    places = [pair for pair in places if not any(runs.lost[place] for place in pair)]
    rows = []
    for metric in metrics:
        values, drawn = runs.tested(metric)
        usable = [pair for pair in places if not np.isnan(values[list(pair)]).any()]
        result = gains.NONE
        if usable:
            first, second = (list(side) for side in zip(*usable, strict=True))
            result = gains.paired_gain(
                values[first] - values[second],
                (drawn[first] - drawn[second]).T,
                runs.resamples.df,
                runs.options["confidence"],
                runs.inflation,
            )
        left_out = [_left_out(len(usable), replicates)]
        rows.append(
            _row(runs, family, against, opponents, metric, result, len(usable), primary, left_out)
        )
    return rows


class _Averages(NamedTuple):
    """Averages of K runs of the repeated loss, by metric: over all sets, and pseudo-values."""

    name: str
    replicates: list[int]
    whole: dict[str, Array]  # (1 + B,), the first on all patients
    pseudo: dict[str, Array]  # (1 + B, T)


def _averages(runs: Runs, size: int, metrics: Sequence[str]) -> _Averages | None:
    """None where the study has no average of so many seeds, or too few of them ran."""
    found = [
        (model, entry)
        for model, entry in runs.models.items()
        if entry["kind"] == "seed_ensemble" and entry["k"] == size
    ]
    if not found:
        return None
    name, entry = found[0]
    places = runs.ran.get(entry["variant"], [])
    if len(places) < max(size, 2):
        return None
    whole, without = gains.sets_of_jackknife(places, size)
    sets = list(dict.fromkeys([*whole, *(one for group in without for one in group)]))
    part = runs.part
    p = np.stack([part.p[list(chosen)].mean(axis=0) for chosen in sets])
    names = [str(number) for number in range(len(sets))]
    values, drawn = resampled_values(
        Predictions(part.rows, names, part.classes, p), runs.resamples, metrics, runs.options
    )
    every = np.concatenate([values[:, None], drawn], axis=1)
    place = {chosen: number for number, chosen in enumerate(sets)}

    def mean(group: Sequence[tuple[int, ...]], column: int) -> Array:
        of_group = every[[place[chosen] for chosen in group], :, column]
        if metrics[column] == "mcc":
            of_group = mcc_or_chance(of_group)
        return of_group.mean(axis=0)

    means = {metric: mean(whole, column) for column, metric in enumerate(metrics)}
    pseudo = {
        metric: gains.pseudo_values(
            means[metric], np.stack([mean(group, column) for group in without], axis=-1)
        )
        for column, metric in enumerate(metrics)
    }
    numbers = [runs.models[part.models[at]]["replicate"] or 0 for at in places]
    return _Averages(entry["family"], numbers, means, pseudo)


def _against_average(
    runs: Runs,
    family: str,
    of: dict[int, str],
    average: _Averages | None,
    size: int,
    metrics: Sequence[str],
    primary: str,
) -> list[dict[str, Any]]:
    """Rows of an ensemble against averages of as many seeds."""
    rows = []
    kept = {r: runs.place[own] for r, own in of.items() if not runs.lost[runs.place[own]]}
    for metric in metrics:
        result, reasons = gains.NONE, [_left_out(len(kept), len(of))]
        if average is None:
            seeds = "seed" if size == 1 else "seeds"
            reasons.append(f"no average of {size} {seeds} of one loss to compare with")
        elif kept:
            column = runs.metrics.index(metric)
            places = list(kept.values())
            values, drawn = runs.values[places, column], runs.drawn[places, :, column]
            if metric == "mcc":
                values, drawn = mcc_or_chance(values), mcc_or_chance(drawn)
            whole, pseudo = average.whole[metric], average.pseudo[metric]
            shared = [
                (at, average.replicates.index(replicate))
                for at, replicate in enumerate(kept)
                if replicate in average.replicates
            ]
            usable = ~(np.isnan(drawn).any(axis=0) | np.isnan(pseudo[1:]).any(axis=1))
            if np.isnan(values).any() or np.isnan(pseudo[0]).any():
                reasons.append(f"{title(metric)} is undefined for a run")
            else:
                result = gains.gain_over_average(
                    values,
                    drawn[:, usable].T,
                    float(whole[0]),
                    whole[1:][usable],
                    pseudo[0],
                    pseudo[1:][usable],
                    shared,
                    runs.resamples.df,
                    runs.options["confidence"],
                    runs.inflation,
                )
        opponent = average.name if average else ""
        rows.append(
            _row(runs, family, SEED_AVERAGE, opponent, metric, result, len(kept), primary, reasons)
        )
    return rows
