"""All paired tests of the study on the test split: tables/significance.csv."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.families import (
    CALIBRATION,
    CALIBRATION_FAMILY,
    PRIMARY,
    SEED_ENSEMBLE,
    SINGLES,
    Variants,
    column,
    pairs,
    without_seed_ensemble,
)
from multiloss.evaluation.resamples import (
    Models,
    Options,
    Resamples,
    failed,
    missing,
    resample,
    resampled_values,
)
from multiloss.job.seeds import derive
from multiloss.predictions import Predictions
from multiloss.statistics import metrics, paired

Array = npt.NDArray[np.float64]
logger = logging.getLogger(__name__)


class _Comparer:
    """Everything about the test split that several comparisons share."""

    def __init__(
        self, found: Predictions, models: Models, evaluate: Options, permutations: int, seed: int
    ) -> None:
        self.part, self.models = found.only("test"), models
        self.y, self.options, self.seed = self.part.y, evaluate, seed
        self.permutations = permutations
        self.place = {model: k for k, model in enumerate(self.part.models)}
        self.resamples: Resamples = resample(self.part, evaluate, seed, "test")
        self._resampled: dict[tuple[str, tuple[str, ...]], tuple[Array, Array]] = {}
        self.predicted = self.part.p.argmax(axis=2)

    def failed(self, *models: str) -> str:
        """Why a comparison cannot be made, or an empty text."""
        for model in models:
            if failed(self.part.p[self.place[model]]):
                return f"{model} has {missing(self.models[model])}"
        return ""

    def resampled(self, model: str, metric: str) -> tuple[float, Array]:
        """A metric's value and its values in the resamples (R,).

        Computed when first asked for: the calibration errors cost the most, and few need them.
        """
        wanted = CALIBRATION if metric in CALIBRATION else PRIMARY
        if (model, wanted) not in self._resampled:
            values, drawn = resampled_values(
                self.part.subset([model]), self.resamples, wanted, self.options
            )
            self._resampled[model, wanted] = values[0], drawn[0]
        values, drawn = self._resampled[model, wanted]
        column = wanted.index(metric)
        return float(values[column]), drawn[:, column]

    def bootstrap(self, a: str, b: str, metric: str) -> paired.Result:
        """The paired difference of one metric with its bootstrap interval and p-value."""
        (first, of_first), (second, of_second) = (self.resampled(m, metric) for m in (a, b))
        value, drawn = first - second, of_first - of_second
        if np.isnan(value):
            constant = a if np.isnan(first) else b
            sample = metrics.Sample(self.y, self.part.p[self.place[constant]])
            why = metrics.undefined_reason(metric, sample, self.part.classes)
            return paired.Result(nan, nan, nan, reason=f"{constant}: {why}")
        return paired.bootstrap_test(
            drawn,
            value,
            self.resamples.df,
            self.options["interval"],
            self.options["confidence"],
        )

    def permutation(self, a: str, b: str) -> dict[str, paired.Permutation]:
        """The primary test, with the interval of the paired bootstrap beside it."""
        found = paired.permutation_test(
            self.y,
            self.predicted[self.place[a]],
            self.predicted[self.place[b]],
            self.part.patients,
            len(self.part.classes),
            self.permutations,
            np.random.default_rng(derive(self.seed, "permutation", a, b)),
            PRIMARY,
        )
        for metric, result in found.items():
            beside = self.bootstrap(a, b, metric)
            reason = result.reason
            if np.isnan(beside.difference):
                reason = f"{beside.reason}; its MCC counts as 0"
            elif np.isnan(beside.ci_low):
                reason = "; ".join(filter(None, [reason, beside.reason]))
            found[metric] = replace(
                result, ci_low=beside.ci_low, ci_high=beside.ci_high, reason=reason
            )
        return found

    def delong(self, a: str, b: str, k: int) -> paired.Result:
        """Cluster-adjusted DeLong for class k against the rest."""
        return paired.delong_test(
            self.y == k,
            self.part.p[self.place[a]][:, k],
            self.part.p[self.place[b]][:, k],
            self.part.patients,
            self.options["confidence"],
        )

    def mcnemar(self, a: str, b: str) -> paired.Result:
        """Exact McNemar, which takes images as independent; the row says so."""
        right = [self.predicted[self.place[model]] == self.y for model in (a, b)]
        found = paired.mcnemar_test(*right)
        note = "image level: takes images as independent"
        return replace(found, reason="; ".join(filter(None, [note, found.reason])))

    def rows(self, family: str, a: str, b: str) -> list[dict[str, Any]]:
        """All tests of one pair."""
        why = self.failed(a, b)
        results: list[tuple[str, str, paired.Result]] = []
        undone = paired.Result(nan, nan, nan, reason=why)
        if family == CALIBRATION_FAMILY:
            for metric in CALIBRATION:
                done = undone if why else self.bootstrap(a, b, metric)
                results.append((metric, "bootstrap", done))
        else:
            primary = None if why else self.permutation(a, b)
            for metric in PRIMARY:
                results.append((metric, "permutation", primary[metric] if primary else undone))
            for metric in PRIMARY:
                done = undone if why else self.bootstrap(a, b, metric)
                results.append((metric, "bootstrap", done))
            auroc = metrics.CLASS_METRICS["auroc"]
            for k, label in enumerate(self.part.classes):
                done = undone if why else self.delong(a, b, k)
                results.append((auroc.of(label), "delong", done))
            results.append(("accuracy", "mcnemar", undone if why else self.mcnemar(a, b)))
        return [self.row(family, a, b, metric, test, result) for metric, test, result in results]

    def row(
        self, family: str, a: str, b: str, metric: str, test: str, result: paired.Result
    ) -> dict[str, Any]:
        """One line of the table; the primary test's family has the plain name."""
        return {
            "model_a": a,
            "model_b": b,
            "metric": metric,
            "difference": result.difference,
            "ci_low": result.ci_low,
            "ci_high": result.ci_high,
            "test": test,
            "statistic": result.statistic,
            "p_value": result.p_value,
            "family": column(family, test),
            "reason": result.reason,
            "permutations": getattr(result, "permutations", ""),
            "n": len(self.y),
            "n_patients": self.resamples.n_patients,
        }

    def cochran(self, models: Sequence[str], replicate: int) -> dict[str, Any] | None:
        """Cochran's Q over the single models of one replicate."""
        models = [model for model in models if not self.failed(model)]
        if len(models) < 2:
            return None
        right = np.stack([self.predicted[self.place[model]] == self.y for model in models], 1)
        rng = np.random.default_rng(derive(self.seed, "cochran", replicate))
        found = paired.cochran_test(right, self.part.patients, self.permutations, rng)
        reason = found.reason or f"chi-square p of independent images {found.p_image_level:.3g}"
        result = paired.Permutation(
            nan, found.statistic, found.p_value, reason=reason, permutations=found.permutations
        )
        name = f"{len(models)} single models, r{replicate}"
        return self.row(SINGLES, name, "", "accuracy", "cochran_q", result)


def significance_table(
    found: Predictions,
    models: Models,
    members: pd.DataFrame,
    options: Options,
    evaluate: Options,
    seed: int,
    variants: Variants | None = None,
) -> pd.DataFrame:
    """All paired tests on the test split with Holm's correction: tables/significance.csv.

    `options`: the config's `significance`, `evaluate`: its `evaluation`. Each value of
    `family` is one Holm family: the primary tests (permutation, MCC and accuracy together)
    have the plain name of the comparison, each other test a family of its own. `variants`: as in
    `families.pairs`.
    """
    models = {model: models[model] for model in found.models}
    planned = [
        pair
        for pair in pairs(models, members, options["baseline"], variants)
        if pair[1] in models and pair[2] in models
    ]
    sizes = pd.Series([family for family, _, _ in planned], dtype=str).value_counts()
    largest = len(PRIMARY) * int(sizes.max()) if len(sizes) else 0
    permutations = paired.permutations_needed(largest, options["alpha"], options["permutations"])
    if permutations > options["permutations"]:
        logger.info(
            "Permutations raised from %d to %d, so that Holm's correction over %d tests can reject",
            options["permutations"],
            permutations,
            largest,
        )
    comparer = _Comparer(found, models, evaluate, permutations, seed)
    rows = [row for family, a, b in planned for row in comparer.rows(family, a, b)]
    for model, reason in without_seed_ensemble(models):
        missing = paired.Result(nan, nan, nan, reason=reason)
        rows.append(comparer.row(SEED_ENSEMBLE, model, "", PRIMARY[0], "permutation", missing))
    of_replicate: dict[int, list[str]] = {}
    for model, entry in models.items():
        if entry["kind"] == "single":
            of_replicate.setdefault(entry["replicate"], []).append(model)
    for replicate, names in of_replicate.items():
        row = comparer.cochran(names, replicate)
        if row is not None:
            rows.append(row)
    columns = "model_a model_b metric difference ci_low ci_high test statistic p_value p_adjusted"
    columns += " reject family reason permutations n n_patients"
    return adjust(pd.DataFrame(rows), options["alpha"]).reindex(columns=columns.split())


def adjust(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Add p_adjusted and reject (p_adjusted <= alpha): Holm within each value of `family`.

    Both are empty where p is, and where `family` is.
    """
    if table.empty:
        return table
    table = table.copy()
    table["p_adjusted"] = nan
    for _, part in table.groupby("family", sort=False):
        table.loc[part.index, "p_adjusted"] = paired.holm(part["p_value"].to_numpy(float))
    known = table["p_adjusted"].notna()
    table["reject"] = (table["p_adjusted"] <= alpha).astype(object).where(known, "")
    return table
