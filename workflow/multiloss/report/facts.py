"""What the tables say, asked in the words of the study. Nothing here writes sentences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from multiloss import losses
from multiloss.figures import selection
from multiloss.report import words
from multiloss.report.blocks import is_true, listed, plural
from multiloss.report.results import Results

PRIMARY_METRIC = "mcc"
# The primary test is the sign-flip permutation by patient, whatever its exact name in the table.
PRIMARY_TEST = "permut|sign"
PUBLISHED_INTERVAL = "binomial"
# Families of paired tests, as tables/significance.csv names them.
BEST_MEMBER, SEED_ENSEMBLE = "against_best_member", "against_seed_ensemble"
BASELINE, NOISE_FLOOR = "against_baseline", "noise_floor"
ENSEMBLE_KINDS = ("ensemble", "model_level", "model_level_average")
FEW_SEEDS = 5
INTERVALS = {
    "percentile": "percentile bootstrap",
    "bca": "bias-corrected and accelerated bootstrap",
    "transformed": "bootstrap on a transformed scale",
    "wilson": "Wilson",
}
# Intervals are known to fall short of their level beyond this accuracy (docs of the statistics).
HIGH_ACCURACY = 0.98
SMALL_SPLIT = 300


@dataclass(frozen=True)
class Estimate:
    """A metric of one model with its interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A paired test of a against b; `difference` is a minus b."""

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    reject: bool
    family: str

    @property
    def verdict(self) -> str:
        """'better', 'worse' or 'open'; the first two only when the test rejects after Holm."""
        if not self.reject or not self.difference:
            return "open"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Spread:
    """Standard deviation between seeds and between losses, their ratio, and what limits it."""

    seed: float
    loss: float
    ratio: float
    warning: str


def loss_name(entry: str | Mapping[str, Any]) -> str:
    """The name of a loss in the config, which is a name or a mapping with one."""
    return entry if isinstance(entry, str) else str(entry["name"])


def loss_parameters(kind: str, entry: str | Mapping[str, Any]) -> dict[str, float | None]:
    """The parameters that were used for a loss of the config, defaults included."""
    given = {} if isinstance(entry, str) else {k: v for k, v in entry.items() if k != "name"}
    return losses.catalog(kind).get(loss_name(entry), {}) | given


def split_model(model: str) -> tuple[str, int | None]:
    """'focal-r2' -> ('focal', 2)."""
    stem, mark, replicate = model.rpartition("-r")
    return (stem, int(replicate)) if mark and replicate.isdigit() else (model, None)


class Facts:
    """One study's config and tables."""

    def __init__(self, results: Results, config: Mapping[str, Any]) -> None:
        self.results = results
        self.config = config

    # ---- config ---------------------------------------------------------------------------
    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.config["classes"]]

    @cached_property
    def losses(self) -> list[str]:
        return [loss_name(entry) for entry in self.config["classification"]["losses"]]

    @property
    def replicates(self) -> int:
        return int(self.config.get("replicates", 1))

    @property
    def baseline_loss(self) -> str:
        return str(self.config.get("significance", {}).get("baseline", "cce"))

    @property
    def baseline(self) -> str:
        return f"{self.baseline_loss}-r0"

    @property
    def alpha(self) -> float:
        return float(self.config.get("significance", {}).get("alpha", 0.05))

    @property
    def confidence(self) -> str:
        level = 100 * float(self.config.get("evaluation", {}).get("confidence", 0.95))
        return f"{level:g}%"

    def sources(self, role: str | None = None) -> list[Mapping[str, Any]]:
        return [s for s in self.config["data"]["sources"] if role in (None, s["role"])]

    def provenance(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """What the config says of a source, completed by what its download recorded."""
        record = self.results.json(f"data/downloads/{source['name']}.json")
        terms = {key: source.get(key) for key in ("license", "citation", "homepage")}
        known = [*record.items(), *terms.items()]
        return {**source, **{key: value for key, value in known if value}}

    @property
    def phantom(self) -> bool:
        """True when any image that is classified comes from the generator."""
        return any(s["layout"] == "phantom" for s in self.sources("classification"))

    # ---- images ---------------------------------------------------------------------------
    @cached_property
    def manifest(self) -> pd.DataFrame:
        return self.results.table("data/manifest.csv")

    def images(self, split: str) -> int:
        return 0 if self.manifest.empty else int((self.manifest["split"] == split).sum())

    def patients(self, split: str) -> int:
        if self.manifest.empty:
            return 0
        part = self.manifest[self.manifest["split"] == split]
        return int(part["patient_id"].nunique())

    def size(self, split: str) -> str:
        """'4,000 images of 3,500 patients'."""
        patients = plural(self.patients(split), "patient")
        return f"{plural(self.images(split), 'image')} of {patients}"

    def role(self, split: str) -> str:
        """What a split is for, as this study uses it."""
        if split != "val":
            return words.SPLITS[split]
        training = self.config["classification"].get("training", {})
        does = []
        if training.get("early_stopping"):
            does.append("stops the trainings")
        if training.get("schedule") == "plateau":
            does.append("lowers their learning rate")
        if training.get("keep") == "best":
            does.append("picks the best epoch")
        ensembles = self.config.get("ensembles", {})
        head = ensembles.get("model_level", {}).get("training", {})
        if "model_level" in ensembles.get("methods", []) and head.get("keep") == "best":
            does.append("picks the epoch of the model-level heads")
        return listed(does) if does else words.SPLITS[split]

    # ---- metrics --------------------------------------------------------------------------
    @cached_property
    def all_metrics(self) -> pd.DataFrame:
        table = self.results.table("tables/metrics.csv")
        for column in ("model", "kind", "split", "metric", "ci_method", "value"):
            if column not in table.columns:
                table[column] = pd.Series(dtype=float if column == "value" else str)
        return table

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per model, split and metric: the published interval has its own place."""
        table = self.all_metrics
        table = table[table["ci_method"] != PUBLISHED_INTERVAL]
        return table.drop_duplicates(["model", "split", "metric"])

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], Estimate]:
        table = self.metrics
        if table.empty:
            return {}
        low = table.get("ci_low", pd.Series(math.nan, table.index))
        high = table.get("ci_high", pd.Series(math.nan, table.index))
        keys = zip(table["model"], table["split"], table["metric"], strict=True)
        values = zip(table["value"], low, high, strict=True)
        return {key: Estimate(*value) for key, value in zip(keys, values, strict=True)}

    def value(self, model: str, metric: str = PRIMARY_METRIC, split: str = "test") -> Estimate:
        return self._values.get((model, split, metric), Estimate(math.nan, math.nan, math.nan))

    def models(self, *kinds: str) -> list[str]:
        """Models of those kinds that have test metrics, best MCC first, ties by name."""
        table = self.metrics[(self.metrics["split"] == "test") & self.metrics["kind"].isin(kinds)]
        table = table[table["value"].notna()]

        def best_first(name: str) -> tuple[float, str]:
            value = self.value(name).value
            return (math.inf if math.isnan(value) else -value, name)

        return sorted(set(table["model"]), key=best_first)

    @cached_property
    def singles(self) -> list[str]:
        return self.models("single")

    @cached_property
    def ensembles(self) -> list[str]:
        return self.models(*ENSEMBLE_KINDS)

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
        """Test MCC of every run of the loss that was trained further times; empty without one."""
        if not self.further_seeds:
            return []
        loss = self.further_seeds[0].rpartition("-r")[0]
        runs = [f"{loss}-r{replicate}" for replicate in range(self.replicates)]
        values = [self.value(name).value for name in [*runs, *self.further_seeds]]
        return [value for value in values if not math.isnan(value)]

    @cached_property
    def missing_models(self) -> list[str]:
        """Models that the config asks for and the tables do not have: failed trainings."""
        # A failed training has rows, all of them empty.
        have = set(self.metrics.loc[self.metrics["value"].notna(), "model"])
        settings = self.config.get("ensembles", {})
        expected = []
        for replicate in range(self.replicates):
            expected += [f"{loss}-r{replicate}" for loss in self.losses]
            for method in settings.get("methods", []):
                expected += [f"{method}-top{k}-r{replicate}" for k in settings.get("top_k", [])]
        expected += [name for name in self.further_seeds if name not in expected]
        return [name for name in expected if name not in have]

    @cached_property
    def interval_method(self) -> str:
        """How the intervals of MCC were made, in words; several where models differ."""
        table = self.metrics[(self.metrics["metric"] == PRIMARY_METRIC)]
        used = table.loc[table["split"] == "test", "ci_method"].dropna().unique()
        names = [INTERVALS.get(name, str(name)) for name in sorted(used)]
        return " or ".join(names) or "bootstrap"

    # ---- choices --------------------------------------------------------------------------
    @cached_property
    def chosen_table(self) -> pd.DataFrame:
        return self.results.table("ensembles/chosen.csv")

    def chosen(self, what: str) -> str | None:
        """The model chosen on the ensemble split: 'single', 'ensemble' or 'overall'."""
        table = self.chosen_table
        if "what" not in table.columns:
            return None
        names = table.loc[table["what"] == what, "model"]
        return str(names.iloc[0]) if len(names) else None

    @cached_property
    def members(self) -> pd.DataFrame:
        return self.results.table("ensembles/members.csv")

    def best_member(self, ensemble: str) -> str | None:
        """The first member by rank, that is by its score on the ensemble split."""
        if "ensemble" not in self.members.columns:
            return None
        part = self.members[self.members["ensemble"] == ensemble]
        return (
            None if part.empty else str(part.sort_values("rank", kind="stable")["member"].iloc[0])
        )

    # ---- comparisons ----------------------------------------------------------------------
    @cached_property
    def significance(self) -> pd.DataFrame:
        return self.results.table("tables/significance.csv")

    @property
    def permutations(self) -> int:
        """The most sign flips of any test, 0 if not told; Holm's correction can ask for more."""
        told = self.significance.get("permutations", pd.Series(dtype=float))
        most = pd.to_numeric(told, errors="coerce").max()
        return 0 if pd.isna(most) else int(most)

    @cached_property
    def primary(self) -> pd.DataFrame:
        """Rows of the primary test on the primary metric."""
        table = self.significance
        if "test" not in table.columns:
            return table
        keep = (table["metric"] == PRIMARY_METRIC) & table["model_b"].notna()
        return table[keep & table["test"].astype(str).str.contains(PRIMARY_TEST, case=False)]

    @cached_property
    def _comparisons(self) -> dict[tuple[str, str, str], Comparison]:
        """Primary tests by family and models, both ways round."""
        found: dict[tuple[str, str, str], Comparison] = {}
        for row in self.primary.to_dict("records"):
            family = str(row.get("family", ""))
            for sign, a, b in ((1, "model_a", "model_b"), (-1, "model_b", "model_a")):
                ends = sorted((sign * row["ci_low"], sign * row["ci_high"]))
                test = Comparison(
                    a=row[a],
                    b=row[b],
                    metric=row["metric"],
                    difference=sign * row["difference"],
                    low=ends[0],
                    high=ends[1],
                    p_value=row["p_value"],
                    p_adjusted=row.get("p_adjusted", math.nan),
                    reject=is_true(row.get("reject", False)),
                    family=family,
                )
                found.setdefault((family, test.a, test.b), test)
        return found

    def compare(self, a: str | None, b: str | None, family: str) -> Comparison | None:
        """The primary test of a against b in that family, whichever way round the table has it."""
        return None if a is None or b is None else self._comparisons.get((family, a, b))

    def against_baseline(self, models: Sequence[str]) -> list[Comparison]:
        """Primary tests of those models against the baseline of the same replicate."""
        found = []
        for model in models:
            _, replicate = split_model(model)
            test = self.compare(model, f"{self.baseline_loss}-r{replicate or 0}", BASELINE)
            if test is not None and not math.isnan(test.difference):
                found.append(test)
        return found

    @cached_property
    def crossed(self) -> list[Comparison]:
        """Losses against the baseline with seeds and patients as crossed factors, by MCC."""
        return self._crossed(BASELINE)

    @cached_property
    def crossed_floor(self) -> list[Comparison]:
        """The pairs with the same objective in the same way."""
        return self._crossed(NOISE_FLOOR)

    def _crossed(self, family: str) -> list[Comparison]:
        table = self.results.table("tables/replicate_comparisons.csv")
        if self.replicates < 2 or "loss_a" not in table.columns:
            return []
        keep = (table["metric"] == PRIMARY_METRIC) & (table["family"] == family)
        return [
            Comparison(
                a=row["loss_a"],
                b=row["loss_b"],
                metric=row["metric"],
                difference=row["difference"],
                low=row["ci_low"],
                high=row["ci_high"],
                p_value=row["p_value"],
                p_adjusted=row["p_adjusted"],
                reject=is_true(row["reject"]),
                family=row["family"],
            )
            for row in table[keep & table["difference"].notna()].to_dict("records")
        ]

    def seed_spread(self) -> Spread | None:
        """How test MCC differs between seeds, and between the losses' true means."""
        table = self.results.table("tables/replicates.csv")
        columns = ["seed_sd", "loss_sd", "seed_to_loss", "warning"]
        if self.replicates < 2 or not set(columns) <= set(table.columns):
            return None
        table = table[(table["metric"] == PRIMARY_METRIC) & table["seed_sd"].notna()]
        table = table[table["loss_sd"].notna()]
        if table.empty:
            return None
        warnings = table["warning"].dropna().astype(str)
        seed, loss, ratio = table[columns[:3]].iloc[0]
        return Spread(seed, loss, ratio, warnings.iloc[0] if len(warnings) else "")

    def calibration_pairs(self, version: str) -> pd.DataFrame:
        """Calibrated losses against their plain forms by ECE; empty where there are none."""
        table = self.results.table("tables/calibration_comparisons.csv")
        if table.empty:
            return table
        found = selection.calibration_pairs(table, version)
        return found[found["difference"].notna()]

    def against_best_member(self) -> list[Comparison]:
        """Primary tests of each ensemble against its best member, best MCC first."""
        tests = [
            self.compare(name, self.best_member(name), BEST_MEMBER)
            for name in [*self.ensembles, *self.seed_ensembles]
        ]
        return [test for test in tests if test is not None and not math.isnan(test.difference)]

    def noise_floor(self) -> list[tuple[str, str, float, Comparison | None]]:
        """For both pairs of equal objectives and each replicate: names, MCC difference, test."""
        found = []
        for a, b in words.SAME_OBJECTIVE:
            for replicate in range(self.replicates):
                first, second = f"{a}-r{replicate}", f"{b}-r{replicate}"
                difference = self.value(first).value - self.value(second).value
                if not math.isnan(difference):
                    found.append(
                        (first, second, difference, self.compare(first, second, NOISE_FLOOR))
                    )
        return found
