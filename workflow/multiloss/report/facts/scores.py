"""Metrics of the models, models that tell no classes apart, and what was chosen."""

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import pandas as pd

from multiloss.evaluation import NEAR_ONE
from multiloss.evaluation.scores import FEW_EFFECTIVE
from multiloss.methods import Method, ensemble_methods
from multiloss.report.facts.images import ImageFacts
from multiloss.report.facts.values import (
    Degenerate,
    Estimate,
    ends_of,
)
from multiloss.statistics.bootstrap import INTERVALS, PUBLISHED
from multiloss.statistics.metrics import (
    CLASS_METRICS,
    MACRO,
    MAIN,
    OF_CLASS,
    PRIMARY,
    Row,
    lookup,
    shown,
)
from multiloss.study import ANY_FINDING, KINDS


class ScoreFacts(ImageFacts):
    """Metrics of the models, models that tell no classes apart, and what was chosen."""

    def metric(self, name: str) -> Row:
        """What a value of the column `metric` means. Raises UserError for an unknown one."""
        return lookup(name, self.classes)

    @cached_property
    def all_metrics(self) -> pd.DataFrame:
        words = ("model", "kind", "split", "metric", "ci_method", "reason")
        numbers = ("value", "ci_low", "ci_high", "n_effective")
        table = self.results.table("tables/metrics.csv", (*words, *numbers))
        if table.file is None:
            for column in (*words, *numbers):
                table[column] = pd.Series(dtype=float if column in numbers else str)
        return table

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per model, split and metric: the published interval has its own place."""
        table = self.all_metrics
        table = table[table["ci_method"] != PUBLISHED]
        return table.drop_duplicates(["model", "split", "metric"])

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], Estimate]:
        table = self.metrics
        if table.empty:
            return {}
        keys = zip(table["model"], table["split"], table["metric"], strict=True)
        values = zip(table["value"], table["ci_low"], table["ci_high"], strict=True)
        return {key: Estimate(*value) for key, value in zip(keys, values, strict=True)}

    def value(self, model: str, metric: str = PRIMARY, split: str = "test") -> Estimate:
        return self._values.get((model, split, metric), Estimate(math.nan, math.nan, math.nan))

    def models(self, *kinds: str, split: str = "test") -> list[str]:
        """Models of those kinds that have metrics on the split, best MCC first, ties by name."""
        return [name for name, kind in self._ranked.get(split, ()) if kind in kinds]

    @cached_property
    def _ranked(self) -> dict[str, list[tuple[str, str]]]:
        """By split the models that have metrics, with their kinds, best MCC first, then by name."""
        table = self.metrics
        table = table[table["value"].notna()].drop_duplicates(["split", "model", "kind"])
        found: dict[str, list[tuple[str, str]]] = {}
        for split, model, kind in zip(table["split"], table["model"], table["kind"], strict=True):
            found.setdefault(split, []).append((model, kind))

        def best_first(split: str, name: str) -> tuple[float, str]:
            value = self.value(name, split=split).value
            return (math.inf if math.isnan(value) else -value, name)

        return {
            split: sorted(models, key=lambda model: best_first(split, model[0]))
            for split, models in found.items()
        }

    def scores(self, model: str, split: str = "test") -> dict[str, Estimate]:
        """The metrics of a model that the report has tables of, by their names."""
        names = [*shown(MAIN), *shown(MACRO)]
        return {name: self.value(model, name, split) for name in names}

    def class_scores(self, model: str, label: str) -> dict[str, Estimate]:
        """The same of one class on the test split, by the names that they have for any class."""
        return {name: self.value(model, CLASS_METRICS[name].of(label)) for name in shown(OF_CLASS)}

    @cached_property
    def published(self) -> dict[str, Estimate]:
        """Test MCC with the interval of the original publication, which assumes independence."""
        table = self.all_metrics
        keep = (table["ci_method"] == PUBLISHED) & (table["metric"] == PRIMARY)
        return {
            row["model"]: Estimate(row["value"], row["ci_low"], row["ci_high"])
            for row in table[keep & (table["split"] == "test")].records()
        }

    @cached_property
    def _over_runs(self) -> pd.DataFrame:
        needed = (
            "family",
            "kind",
            "metric",
            "replicates",
            "mean",
            "sd",
            "minimum",
            "maximum",
            "runs",
        )
        return self.results.table("tables/replicates.csv", needed)

    def over_runs(self, kind: str, metric: str = PRIMARY) -> dict[str, dict[str, Any]]:
        """Rows of replicates.csv by family, highest mean first; empty where each has one run."""
        table = self._over_runs
        if self.replicates == 1 or table.empty:
            return {}
        table = table[(table["kind"] == kind) & (table["metric"] == metric)]
        table = table[table["mean"].notna()].sort_values(
            ["mean", "family"], ascending=[False, True]
        )
        return {str(row["family"]): row for row in table.records()}

    def mean_scores(self, kind: str, family: str) -> dict[str, Estimate]:
        """By metric the mean over the runs of a family, with the lowest and the highest of them."""
        metrics = self._over_runs["metric"].unique()
        rows = {metric: self.over_runs(kind, metric).get(family) for metric in metrics}
        return {
            metric: Estimate(row["mean"], row["minimum"], row["maximum"])
            for metric, row in rows.items()
            if row is not None
        }

    def twin(self, name: str) -> str:
        """The loss that a loss, or that of a run, has the objective of; "" without one."""
        own = self.family(name)
        return next((b for a, b in self.same_objective if a == own), "")

    def undefined(self, *kinds: str) -> list[dict[str, Any]]:
        """Test metrics without a value: titles of the `metrics` of each `model` and `reason`."""
        table = self.all_metrics
        keep = table["value"].isna() & table["reason"].notna() & (table["split"] == "test")
        table = table[keep & table["kind"].isin(kinds)].drop_duplicates(["model", "metric"])
        return [
            {
                "model": model,
                "reason": reason,
                "metrics": [self.metric(name).title for name in part["metric"]],
            }
            for (model, reason), part in table.groupby(["model", "reason"], sort=False)
        ]

    def trainings(self) -> list[dict[str, Any]]:
        """Each training that has a history, in the config's order: `model`, `epochs`, `failed`
        (the loss was not a number), `best` epoch by validation MCC and that `val_mcc`, and the
        `loss` and `val_loss` of the last epoch."""
        found = []
        for model in self.planned.values():
            if not model.trained:
                continue
            history = self.results.table(f"models/{model.variant}/{model.replicate}.history.csv")
            if history.empty:
                continue
            loss, scores = history["loss"].iloc[-1], history["val_mcc"]
            row = {"model": model.name, "epochs": len(history), "failed": pd.isna(loss)}
            row |= {"loss": loss, "val_loss": history["val_loss"].iloc[-1]}
            if scores.notna().any():
                best = scores.idxmax()
                row |= {"best": history["epoch"][best], "val_mcc": scores[best]}
            found.append(row)
        return found

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What trainings keep ('best' or 'last' epoch) and monitor, each way once."""
        listed_ = [variant.training for variant in self.study.listed.values()]
        return list(dict.fromkeys((each["keep"], each["monitor"]) for each in listed_))

    @cached_property
    def singles(self) -> list[str]:
        return self.models("single")

    @cached_property
    def ensembles(self) -> list[str]:
        return self.models("ensemble")

    @cached_property
    def seed_ensembles(self) -> list[str]:
        return self.models("seed_ensemble")

    @cached_property
    def further_seeds(self) -> list[str]:
        """Trainings of one loss beyond the replicates, made for its ensembles of seeds."""
        table = self.metrics[self.metrics["kind"] == "seed"]
        return list(dict.fromkeys(table["model"]))

    @cached_property
    def seed_values(self) -> list[float]:
        """Test MCC of every run of the loss that was trained further times; empty without one.

        The runs of the study stand first; an MCC that is not defined counts as 0.
        """
        if not self.further_seeds:
            return []
        found = [self.planned[name] for name in self.models("single", "seed")]
        runs = [model for model in found if model.variant == self.study.repeated]
        runs.sort(key=lambda model: model.replicate)
        values = [self.value(model.name).value for model in runs]
        return [0.0 if math.isnan(value) else value for value in values]

    @cached_property
    def missing_models(self) -> list[str]:
        """Models that the config asks for and the tables do not have: failed trainings."""
        # A failed training has rows, all of them empty.
        have = set(self.metrics["model"][self.metrics["value"].notna()])
        return [name for name in self.planned if name not in have]

    def without_probabilities(self, models: Iterable[str]) -> list[Method]:
        """Ensemble methods of those models whose outputs are no probabilities."""
        used = {self.planned[name].method for name in models if name in self.planned}
        return [m for name, m in ensemble_methods().items() if name in used and m.caveat]

    def level(self, ensemble: str) -> str:
        """'losses', 'seeds' or 'ensembles': what the members of an ensemble are."""
        model = self.planned[ensemble]
        if model.kind == "seed_ensemble":
            return "seeds"
        return "ensembles" if model.level == "model_average" else "losses"

    def level_of_family(self, family: str) -> str:
        """The same of a kind of ensembles, which is known by one of them."""
        return self.level(self.planned.families[family][0].name)

    def degenerate(self, split: str = "test") -> dict[str, Degenerate]:
        """What tables/degenerate.csv says of each model on a split, and undefined MCCs."""
        return self._degenerate.get(split, {})

    @cached_property
    def _degenerate(self) -> dict[str, dict[str, Degenerate]]:
        found: dict[str, dict[str, Degenerate]] = {"test": {}, "ensemble": {}}

        def of(split: str, model: str) -> Degenerate:
            return found.setdefault(split, {}).setdefault(model, Degenerate(model))

        for row in self.results.table("tables/degenerate.csv").records():
            entry, name = of(row["split"], row["model"]), str(row["class"])
            if row["problem"] == "class_never_predicted":
                entry.never[name] = int(row["value"])
            elif row["problem"] == "one_class_dominates":
                entry.dominant, entry.share = name, float(row["value"])
            else:
                entry.chance = float(row["value"])
        for split in ("test", "ensemble"):
            for model in self.models(*KINDS, split=split):
                if math.isnan(self.value(model, split=split).value):
                    of(split, model).chance = 0.0
        return found

    @property
    def degenerate_first(self) -> list[str]:
        """The models that `degenerate` knows on the test split, collapsed ones first."""
        found = self.degenerate()
        return sorted(found, key=lambda name: (not found[name].collapsed, name))

    @property
    def collapsed_singles(self) -> list[str]:
        """Single models that tell no classes apart on the test split."""
        return [name for name in self.singles if self.collapsed(name)]

    def collapsed(self, name: str) -> bool:
        """Whether a model, or all runs of a loss, tell no classes apart on the test split."""
        return bool(self.runs(name)) and all(
            name in self.degenerate() and self.degenerate()[name].collapsed
            for name in self.runs(name)
        )

    def runs(self, name: str) -> list[str]:
        """The evaluated runs of a loss (or of ensembles of one kind), or the model itself."""
        models = self.models(*KINDS)
        further = self.further_seeds  # they take no part in the comparisons of losses
        return [
            model
            for model in models
            if name == model or (name == self.family(model) and model not in further)
        ]

    @cached_property
    def interval_methods(self) -> list[str]:
        """How the intervals of MCC were made; several where models differ."""
        table = self.metrics[(self.metrics["metric"] == PRIMARY)]
        used = table["ci_method"][table["split"] == "test"].dropna().unique()
        return [INTERVALS.get(name, str(name)) for name in sorted(used)] or ["bootstrap"]

    @cached_property
    def near_one(self) -> dict[str, int]:
        """By metric how many models have a test value whose interval is known to be too narrow."""
        table = self.metrics
        if table.empty:
            return {}
        table = table[(table["split"] == "test") & table["kind"].isin(["single", "ensemble"])]
        told = table["reason"].astype(str).str.contains(NEAR_ONE, regex=False)
        return table["metric"][told].value_counts(sort=False).to_dict()

    @cached_property
    def few_patients(self) -> float | None:
        """Of how many test patients of equal size intervals know, where these are few."""
        table = self.metrics
        if table.empty:
            return None
        known = table["n_effective"][table["split"] == "test"].dropna()
        return None if known.empty or known.min() >= FEW_EFFECTIVE else float(known.min())

    def detectable(self, question: str) -> tuple[float, float] | None:
        """Least and largest difference that its tests would have found with 80% power."""
        table = self.results.table("tables/verdicts.csv")
        if table.empty:
            return None
        found = table["detectable_corrected"][table["question"] == question].dropna()
        return None if found.empty else (float(found.min()), float(found.max()))

    def operating_points(self, model: str) -> list[dict[str, Any]]:
        """What a model does on the test split at the thresholds of the ensemble split.

        For each class against the rest: `class`, `threshold`, `sensitivity` and `specificity` by
        image, `of_patients` and `spared_patients` the same by patient (NaN where each patient has
        one image), `images` and `patients` with the class. Of more than two classes with one
        without a finding, first any finding: called where that class is not, by image alone.
        """
        needed = ("model", "class", "split", "threshold")
        table = self.results.table("tables/operating_points.csv", needed)
        if table.empty:
            return []
        table = table[table["model"] == model]
        patients = {row["class"]: row for row in table[table["split"] == "test"].records()}
        found: list[dict[str, Any]] = []
        for row in table[table["split"] != "test"].records():
            name, own = str(row["class"]), patients.get(row["class"], {})

            def by_patient(what: str, own: Mapping[str, Any] = own) -> Estimate:
                ends = (what, *ends_of(what))
                return Estimate(*(own[key] if own else math.nan for key in ends))

            point = {
                "class": name,
                "threshold": row["threshold"],
                "sensitivity": self.value(model, CLASS_METRICS["sensitivity"].of(name)),
                "specificity": self.value(model, CLASS_METRICS["specificity"].of(name)),
                "of_patients": by_patient("sensitivity"),
                "spared_patients": by_patient("specificity"),
                "images": int((self._part("test")["label"] == name).sum()),
                "patients": own["n_positive"] if own else None,
            }
            if name == self.study.negative_class and len(self.classes) > 2:
                turned = {
                    "class": ANY_FINDING,
                    "threshold": 1 - row["threshold"],
                    "sensitivity": point["specificity"],
                    "specificity": point["sensitivity"],
                    "images": self.images("test") - point["images"],
                }
                found.insert(0, turned)
            found.append(point)
        return found

    @cached_property
    def chosen_table(self) -> pd.DataFrame:
        return self.results.table("ensembles/chosen.csv")

    def chosen(self, what: str) -> str | None:
        """The model chosen on the ensemble split: 'single', 'ensemble' or 'overall'."""
        table = self.chosen_table
        if table.empty:
            return None
        names = table["model"][table["what"] == what]
        return str(names.iloc[0]) if len(names) else None

    @cached_property
    def members(self) -> pd.DataFrame:
        return self.results.table("ensembles/members.csv", ("ensemble", "member", "rank"))

    def best_member(self, ensemble: str) -> str | None:
        """The first member by rank, that is by its score on the ensemble split."""
        if self.members.empty:
            return None
        part = self.members[self.members["ensemble"] == ensemble]
        return (
            None if part.empty else str(part.sort_values("rank", kind="stable")["member"].iloc[0])
        )

    def members_of(self, ensemble: str) -> list[str]:
        """Members of an ensemble, the best first; of an average of seeds its runs."""
        if ensemble in self.planned and self.planned[ensemble].members:
            return list(self.planned[ensemble].members)
        if self.members.empty:
            return []
        part = self.members[self.members["ensemble"] == ensemble]
        return list(part.sort_values("rank", kind="stable")["member"])

    @property
    def methods(self) -> list[Method]:
        """What is known of the ensemble methods of the config."""
        return [ensemble_methods()[name] for name in self.config["ensembles"]["methods"]]
