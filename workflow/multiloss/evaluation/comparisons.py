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
    BASELINE,
    CALIBRATION,
    CALIBRATION_FAMILY,
    HOLM,
    MAX_T,
    QUESTIONS,
    SEED_ENSEMBLE,
    SINGLES,
    TESTED,
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
from multiloss.statistics.permutation import permutations_needed

Array = npt.NDArray[np.float64]
logger = logging.getLogger(__name__)


class _Comparer:
    """Everything about the test split that several comparisons share.

    `metric`: by which the primary families are tested.
    """

    def __init__(
        self,
        found: Predictions,
        models: Models,
        evaluate: Options,
        permutations: int,
        seed: int,
        metric: str,
        folds: int,
    ) -> None:
        self.part, self.models = found.only("test"), models
        self.y, self.options, self.seed = self.part.y, evaluate, seed
        self.permutations, self.metric = permutations, metric
        self.tested = tuple(dict.fromkeys((metric, *TESTED)))
        self.place = {model: k for k, model in enumerate(self.part.models)}
        self.resamples: Resamples = resample(self.part, evaluate, seed, "test")
        self._resampled: dict[tuple[str, tuple[str, ...]], tuple[Array, Array]] = {}
        self.predicted = self.part.p.argmax(axis=2)
        singles = {e["replicate"] for e in models.values() if e["kind"] == "single"}
        # Replicates repeat the same hypotheses, so none of them answers for all.
        self.one_replicate = len(singles) < 2
        self.questions: tuple[str, ...] = QUESTIONS if self.one_replicate else ()
        if any(entry["kind"] == "seed" for entry in models.values()):
            # Seeds are known, so that losses are compared over them, not run by run.
            self.questions = tuple(name for name in self.questions if name != BASELINE)
        if folds:
            self.questions = ()  # the folds answer them, of which this is one

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
        wanted = CALIBRATION if metric in CALIBRATION else self.tested
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

    def permuted(
        self, pairs: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], dict[str, paired.Permutation]]:
        """The permutation tests of a family, with standard errors of the paired bootstrap."""
        pairs = [pair for pair in dict.fromkeys(pairs) if not self.failed(*pair)]
        if not pairs:
            return {}
        tests = paired.permutation_tests(
            self.y,
            self.predicted,
            [(self.place[a], self.place[b]) for a, b in pairs],
            self.part.patients,
            len(self.part.classes),
            self.permutations,
            # The same draws for every family, so that a pair has one p value.
            np.random.default_rng(derive(self.seed, "permutation")),
            self.tested,
            self.options["confidence"],
        )
        for (a, b), found in zip(pairs, tests, strict=True):
            for metric, result in found.items():
                beside = self.bootstrap(a, b, metric)
                reason = result.reason
                if np.isnan(beside.difference) and not np.isnan(result.difference):
                    reason = f"{beside.reason}; its {metrics.title(metric)} counts as 0"
                found[metric] = replace(result, se=beside.se, df=beside.df, reason=reason)
        return dict(zip(pairs, tests, strict=True))

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

    def rows(self, family: str, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """All tests of the pairs of one family."""
        permuted = {} if family == CALIBRATION_FAMILY else self.permuted(pairs)
        return [
            self.row(family, a, b, metric, test, result)
            for a, b in pairs
            for metric, test, result in self.results(family, a, b, permuted.get((a, b)))
        ]

    def results(
        self, family: str, a: str, b: str, permuted: dict[str, paired.Permutation] | None
    ) -> list[tuple[str, str, paired.Result]]:
        """Metric, test and result of every test of one pair."""
        why = self.failed(a, b)
        results: list[tuple[str, str, paired.Result]] = []
        undone = paired.Result(nan, nan, nan, reason=why)
        if family == CALIBRATION_FAMILY:
            for metric in CALIBRATION:
                done = undone if why else self.bootstrap(a, b, metric)
                results.append((metric, "bootstrap", done))
            return results
        for metric in self.tested:
            results.append((metric, "permutation", permuted[metric] if permuted else undone))
        for metric in self.tested:
            done = undone if why else self.bootstrap(a, b, metric)
            results.append((metric, "bootstrap", done))
        auroc = metrics.CLASS_METRICS["auroc"]
        for k, label in enumerate(self.part.classes):
            done = undone if why else self.delong(a, b, k)
            results.append((auroc.of(label), "delong", done))
        results.append(("accuracy", "mcnemar", undone if why else self.mcnemar(a, b)))
        return results

    def row(
        self,
        family: str,
        a: str,
        b: str,
        metric: str,
        test: str,
        result: paired.Result,
        replicate: int | None = None,
    ) -> dict[str, Any]:
        """One line of the table; the primary test's family has the plain name."""
        if replicate is None and a in self.models:
            replicate = self.models[a]["replicate"]
        replicate = None if self.one_replicate else replicate
        # DeLong's and McNemar's tests have one metric each.
        beside = (metric, test) if test in ("permutation", "bootstrap") else (test,)
        permuted = test == "permutation"
        known = metrics.lookup(metric, self.part.classes).metric
        low, high = known.difference_within(result.ci_low, result.ci_high)
        return {
            "model_a": a,
            "model_b": b,
            "metric": metric,
            "difference": result.difference,
            "ci_low": low,
            "ci_high": high,
            "test": test,
            "statistic": result.statistic,
            "p_value": result.p_value,
            "p_adjusted": getattr(result, "p_adjusted", nan),
            "family": column(family, *beside, replicate=replicate, metric=self.metric),
            "reason": result.reason,
            "permutations": getattr(result, "permutations", ""),
            "n": len(self.y),
            "n_patients": self.resamples.n_patients,
            "se": result.se,
            "df": result.df,
            "correction": MAX_T if permuted else HOLM,
            "primary": permuted and family in self.questions and metric == self.metric,
            "n_effective": self.resamples.n_effective,
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
        return self.row(SINGLES, name, "", "accuracy", "cochran_q", result, replicate)


def significance_table(
    found: Predictions,
    models: Models,
    members: pd.DataFrame,
    options: Options,
    evaluate: Options,
    seed: int,
    variants: Variants | None = None,
    folds: int = 0,
) -> pd.DataFrame:
    """All paired tests on the test split with their corrections: tables/significance.csv.

    `options`: the config's `significance`, `evaluate`: its `evaluation`, `variants`: as in
    `families.pairs`. Each value of `family` is one family: the permutation test by
    `significance.metric` has the plain name of the comparison, every other test and metric is a
    family of its own, and so is each replicate where there are several. `hypotheses`: tests that
    were made in the family; `correction`: step-down max-T for the permutation test, whose
    exchanges all pairs of a family share, else Holm. `primary`: the rows that answer the study's
    questions, which losses differ from the baseline and which ensembles from their best member;
    where something was trained several times the tables that compare over seeds have them, and
    where runs test on `folds` that of the folds. `se`, `df`: of the difference; for the permutation
    test those of the paired bootstrap.
    """
    models = {model: models[model] for model in found.models}
    planned = [
        pair
        for pair in pairs(models, members, options["baseline"], variants)
        if pair[1] in models and pair[2] in models
    ]
    permutations = permutations_needed(1, options["alpha"], options["permutations"])
    if permutations > options["permutations"]:
        logger.info(
            "Permutations raised from %d to %d, so that tests at level %g can reject",
            options["permutations"],
            permutations,
            options["alpha"],
        )
    metric = options.get("metric", metrics.PRIMARY)
    comparer = _Comparer(found, models, evaluate, permutations, seed, metric, folds)
    # Seed averages have no replicate: as for the first.
    groups: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for family, a, b in planned:
        groups.setdefault((family, models[a]["replicate"] or 0), []).append((a, b))
    rows = [row for (family, _), group in groups.items() for row in comparer.rows(family, group)]
    for model, reason in without_seed_ensemble(models, folds):
        missing = paired.Result(nan, nan, nan, reason=reason)
        rows.append(comparer.row(SEED_ENSEMBLE, model, "", metric, "permutation", missing))
    of_replicate: dict[int, list[str]] = {}
    for model, entry in models.items():
        if entry["kind"] == "single":
            of_replicate.setdefault(entry["replicate"], []).append(model)
    for replicate, names in of_replicate.items():
        row = comparer.cochran(names, replicate)
        if row is not None:
            rows.append(row)
    columns = "model_a model_b metric difference ci_low ci_high test statistic p_value p_adjusted"
    columns += " reject family reason permutations n n_patients se df hypotheses correction primary"
    return _corrected(pd.DataFrame(rows), options["alpha"]).reindex(
        columns=[*columns.split(), "n_effective"]
    )


def _corrected(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Holm's correction where the tests brought none, and how many hypotheses a family has."""
    if table.empty:
        return table
    stepped = table["correction"] == MAX_T
    together = table["p_adjusted"]
    table = adjust(table, alpha)
    table.loc[stepped, "p_adjusted"] = together[stepped]
    made = stepped & table["p_value"].notna()
    table.loc[made, "reject"] = (table.loc[made, "p_adjusted"] <= alpha).astype(object)
    table["hypotheses"] = table.groupby("family")["p_value"].transform("count")
    return table


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
