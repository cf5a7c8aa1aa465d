"""Ranks of the models: what tests of all pairs leave possible, and the spread of resamples."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.resamples import Models, Options, failed, resample, resampled_values
from multiloss.predictions import Predictions
from multiloss.statistics.mcc import mcc_or_chance
from multiloss.statistics.ranks import pairwise_t_tests, rank_intervals

Array = npt.NDArray[np.float64]


def rank_shares(values: Array, top: int) -> Array:
    """Chance of each model (R, M) to be among the first `top` when ties are broken by lot."""
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    tied = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.clip((top - better) / np.maximum(tied, 1), 0, 1)


def rank_table(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    variants: families.Variants | None = None,
) -> pd.DataFrame:
    """Ranks of the models by MCC on the test split, among those of one kind and replicate.

    Models without probabilities are left out; an undefined MCC counts as 0 and its `value` is
    empty. Columns: model, kind, replicate, split, metric, value; over resampled patients p_best,
    p_top3, rank (mean), rank_low, rank_high (percentiles), models, resamples, n, n_patients;
    rank_observed (ties share the mean of their places); by tests of all pairs
    (`statistics.ranks`) rank_first, rank_last, better, worse (models shown to
    be so), hypotheses, correction; same_objective (other models of this group that minimise the
    same and are trained alike, joined by '; '), reason (of an interval that could not be tested).

    p_best and p_top3 describe the resamples alone. They lean towards the observed winner: of
    equal models one is best in half of them or more in a quarter of studies, and they are no
    chances of being the best. `variants`: as in `families.pairs`.
    """
    part = found.only("test")
    resamples = resample(part, options, seed, "test")
    values, drawn = resampled_values(part, resamples, ["mcc"], options)
    groups: dict[tuple[str, Any], list[int]] = {}
    for place, model in enumerate(part.models):
        if not failed(part.p[place]):
            entry = models[model]
            groups.setdefault((entry["kind"], entry.get("replicate")), []).append(place)
    from scipy.stats import rankdata

    if variants is None:
        singles = [entry for entry in models.values() if entry["kind"] == "single"]
        variants = families.named(entry["variant"] for entry in singles)
    alike = _same_objective(variants)
    tail, rows = (1 - options["confidence"]) / 2, []
    for (kind, replicate), places in groups.items():
        if kind not in ("single", "ensemble"):
            continue
        of_group = mcc_or_chance(drawn[places, :, 0].T)
        higher = (of_group[:, None, :] > of_group[:, :, None]).sum(axis=2)
        ranks = 1 + higher + ((of_group[:, None, :] == of_group[:, :, None]).sum(axis=2) - 1) / 2
        best, top = rank_shares(of_group, 1).mean(axis=0), rank_shares(of_group, 3).mean(axis=0)
        counted = mcc_or_chance(values[places, 0])
        tests = pairwise_t_tests(counted, of_group, resamples.df)
        tested = rank_intervals(counted, tests, 1 - options["confidence"])
        observed = rankdata(-counted)
        names = [part.models[place] for place in places]
        twins = [
            [
                other
                for other in names
                if other != name
                and models[other]["variant"] in alike.get(models[name]["variant"], ())
            ]
            for name in names
        ]
        untested = "too few patients to test pairs" if len(places) > 1 else "one model alone"
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
                    "rank_observed": observed[column],
                    "rank_first": tested.first[column],
                    "rank_last": tested.last[column],
                    "better": tested.better[column],
                    "worse": tested.worse[column],
                    "hypotheses": tested.hypotheses,
                    "correction": "Holm",
                    "same_objective": "; ".join(twins[column]),
                    "reason": "" if tested.hypotheses else untested,
                }
            )
    columns = "model kind replicate split metric value p_best p_top3 rank rank_low rank_high"
    columns += (
        " models resamples n n_patients rank_observed rank_first rank_last better worse hypotheses"
    )
    columns += " correction same_objective reason"
    return pd.DataFrame(rows, columns=columns.split())


def _same_objective(variants: families.Variants) -> dict[str, set[str]]:
    """The other variants that minimise what each does, trained alike."""
    groups: dict[str, set[str]] = {}
    for name, reference in families.same_objective(variants):
        groups.setdefault(reference, {reference}).add(name)
    return {name: group - {name} for group in groups.values() for name in group}
