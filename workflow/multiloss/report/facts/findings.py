"""What further tables found: noise, ranks, optimism, heat maps, calibration."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import pandas as pd

from multiloss.evaluation import families
from multiloss.figures import selection
from multiloss.gradcam.localisation import AGAINST_BASELINE, GAIN, UNIFORM
from multiloss.report.blocks import is_true
from multiloss.report.facts.comparisons import ComparisonFacts
from multiloss.report.facts.values import (
    Estimate,
    Floor,
    Heat,
    Hit,
    Optimism,
    Ranking,
    Spread,
    count_of,
)
from multiloss.statistics import calibration_measures
from multiloss.statistics.metrics import (
    PRIMARY,
)
from multiloss.study import BEST_SINGLE as BEST_SINGLE_METHOD


class FindingFacts(ComparisonFacts):
    """What further tables found: noise, ranks, optimism, heat maps, calibration."""

    @cached_property
    def spread(self) -> Spread | None:
        """How far runs of one loss lie apart, and losses; None where nothing was trained twice."""
        table = self.results.table("tables/seed_spread.csv")
        if table.empty:
            return None
        table = table[table["metric"] == self.tested]
        rows = {row["row"]: row for row in table.records()}
        pooled, losses_row = rows["pooled"], rows["losses"]
        if math.isnan(pooled["sd"]):
            return None
        means = table[table["row"] == "loss"]
        beyond = means[(means["mean"] < means["low"]) | (means["mean"] > means["high"])]
        return Spread(
            seeds=pooled["sd"],
            df=count_of(pooled["df_seeds"]),
            losses=losses_row["sd"],
            count=count_of(losses_row["replicates"]),
            statistic=losses_row["statistic"],
            p_value=losses_row["p_value"],
            remark="" if pd.isna(losses_row["reason"]) else str(losses_row["reason"]),
            outside=dict(zip(beyond["variant"], beyond["mean"], strict=True)),
            expected=(means["low"].min(), means["high"].max()),
        )

    @cached_property
    def optimism(self) -> Optimism | None:
        """What choosing on the test split does to the test MCC of ensembles, if that was told."""
        table = self.results.table("tables/optimism.csv")
        if table.empty:
            return None
        told = table["optimism"].notna() & table["choice_gain"].notna()
        table = table[told & (table["metric"] == PRIMARY) & (table["method"] != BEST_SINGLE_METHOD)]
        if table.empty:
            return None
        names = ["as_published", "out_of_bag", "ours", "optimism"]
        published, unseen, ours, optimism = table[names].mean()
        least, most = table["optimism"].min(), table["optimism"].max()
        gain = table["choice_gain"].mean()
        return Optimism(len(table), published, unseen, ours, optimism, least, most, gain)

    def heat(self, measure: str) -> Heat | None:
        """Where heat lies by a share of it; None where that, or a uniform map's, is not known."""
        table = self.results.table("tables/localisation.csv")
        if table.empty:
            return None
        part = table[(table["metric"] == measure) & table["value"].notna()]
        uniform = part["value"][part["model"] == UNIFORM]
        shares = part["value"][part["model"] != UNIFORM]
        if uniform.empty or shares.empty:
            return None
        gains = self._rejected(table, measure + GAIN)
        others = self._rejected(table, measure + AGAINST_BASELINE)
        return Heat(
            models=len(shares),
            least=shares.min(),
            largest=shares.max(),
            uniform=uniform.iloc[0],
            tests=gains[0],
            above=int((gains[1] > 0).sum()),
            below=int((gains[1] < 0).sum()),
            gain=gains[1].max(),
            others=others[0],
            more=int((others[1] > 0).sum()),
            less=int((others[1] < 0).sum()),
        )

    def _rejected(self, table: pd.DataFrame, metric: str) -> tuple[int, pd.Series]:
        """How many paired tests of a metric were made, and the differences that reject."""
        made = table[(table["metric"] == metric) & table["p_adjusted"].notna()]
        return len(made), made["value"][made["p_adjusted"] <= self.alpha]

    def ranking(self, model: str | None) -> Ranking | None:
        """The rank interval of a model; None where no pair was tested."""
        table = self.results.table("tables/rank.csv")
        if model is None or table.empty:
            return None
        own = table[(table["model"] == model) & (table["hypotheses"] > 0)]
        if own.empty:
            return None
        row = own.records()[0]
        twins = "" if pd.isna(row["same_objective"]) else str(row["same_objective"])
        ends = (int(row[key]) for key in ("rank_first", "rank_last", "models", "hypotheses"))
        return Ranking(model, *ends, twins)

    def calibration_pairs(
        self, version: str = "raw", measure: str = calibration_measures.DISTANCE.name
    ) -> pd.DataFrame:
        """Calibrated losses against their plain forms by a measure; empty where there are none."""
        needed = ("loss", "plain", "version", "metric", "reject", "primary", "hypotheses", "reason")
        needed += ("replicate", "difference", "ci_low", "ci_high", "p_adjusted")
        table = self.results.table("tables/calibration_comparisons.csv", needed)
        if table.empty:
            return pd.DataFrame()
        return selection.calibration_pairs(table, version, measure)

    def without_plain_form(self) -> dict[str, str]:
        """Calibrated losses that are compared with no plain form, and why."""
        variants = {name: asdict(variant) for name, variant in self.study.listed.items()}
        return families.plain_forms(variants)[1]

    def uncalibrated(self, pairs: pd.DataFrame) -> list[str]:
        """Of calibration pairs, by loss, those with a run that tells no classes apart."""
        return [
            str(loss)
            for loss, plain in pairs["plain"].items()
            if any(
                run in self.degenerate() and self.degenerate()[run].collapsed
                for name in (str(loss), plain)
                for run in self.runs(name)
            )
        ]

    @cached_property
    def floor(self) -> Floor | None:
        """How far models of one objective differ; None where no objective was trained twice."""
        if self.crossed_floor and self.replicates > 1:
            pairs, tests = self.crossed_floor, self.crossed
        else:
            pairs, tests = self.noise_floor(), self.against_baseline(self.singles)
        if not pairs:
            return None
        baseline, largest = self.baseline_loss, max(abs(pair.difference) for pair in pairs)
        sizes = [
            abs(test.difference)
            for test in tests
            if self.tells(test) and not self.is_same_objective(self.family(test.a), baseline)
        ]
        return Floor(pairs, largest, len(sizes), sum(size <= largest for size in sizes))

    @cached_property
    def hits(self) -> list[Hit]:
        """Secondary tests that reject, smallest corrected p first.

        Two models that tell no classes apart may differ, say in calibration, but no loss deserves
        it: such tests are left out here.
        """
        table = self.secondary
        if table.empty:
            return []
        table = table[table["reject"].map(is_true)].sort_values("p_adjusted", kind="stable")
        found = []
        for row in table.records():
            other = "" if pd.isna(row["model_b"]) else str(row["model_b"])
            if not (other and self.collapsed(row["model_a"]) and self.collapsed(other)):
                # Of all models at once, the family says which.
                model = row["model_a"] if other else self._family_in_words(row["family"])
                found.append(Hit(model, other, row["metric"], row["test"], row["p_adjusted"]))
        return found

    @cached_property
    def key_models(self) -> dict[str, list[str]]:
        """The models that the answer speaks of, by name, with what each is there: `baseline`,
        `single`, `ensemble` and `overall` as they were chosen, `member` (the best of the chosen
        ensemble), `seeds` (averaged, as many as that ensemble has models)."""
        chosen, roles = self.chosen("ensemble"), {}
        for role, model in (
            ("baseline", self.baseline),
            ("single", self.chosen("single")),
            ("member", self.best_member(chosen) if chosen else None),
            ("ensemble", chosen),
            ("seeds", self.as_many_seeds(chosen)),
            ("overall", self.chosen("overall")),
        ):
            if model and self.runs(model):
                roles.setdefault(model, []).append(role)
        return roles

    @property
    def overall_rule(self) -> str:
        """Why the overall choice fell as it did, as chosen.csv has it; empty where unknown."""
        rows = self.chosen_table
        if rows.empty:
            return ""
        rules = rows["rule"][rows["what"] == "overall"].dropna()
        return str(rules.iloc[0]) if len(rules) else ""

    @cached_property
    def all_tests(self) -> list[dict[str, Any]]:
        """Every paired test: the primary ones first, then by their adjusted p values.

        Rows of significance.csv, and those over seeds that could be made, as `a`, `b`, `metric`,
        `comparison` (families.label), `test` ('' over seeds), `difference`, `statistic`, `p`,
        `adjusted`, `hypotheses`, `correction`, `significant`, `primary`, `reason`.
        """
        needed = ("family", "metric", "difference", "ci_low", "ci_high", "p_value", "p_adjusted")
        needed += ("hypotheses", "correction", "reject", "primary", "reason")
        found = []
        for name, a, b in (
            ("tables/replicate_comparisons.csv", "loss_a", "loss_b"),
            ("tables/ensemble_comparisons.csv", "ensemble", "opponent"),
            ("tables/significance.csv", "model_a", "model_b"),
        ):
            between_runs = a == "model_a"
            own = ("test", "statistic") if between_runs else ()
            for row in self.results.table(name, (a, b, *needed, *own)).records():
                test = row["test"] if between_runs else ""
                if not test and pd.isna(row["p_value"]):
                    continue
                found.append(
                    {
                        "comparison": self._family_in_words(row["family"]),
                        "family": str(row["family"]),
                        # A test of all models at once names none.
                        "a": "" if pd.isna(row[b]) else row[a],
                        # Best members over seeds may be of several kinds.
                        "b": [] if pd.isna(row[b]) else row[b].split(";"),
                        "metric": self.metric(row["metric"]).title,
                        "test": families.test_label(test) if test else "",
                        "difference": Estimate(row["difference"], row["ci_low"], row["ci_high"]),
                        "statistic": row["statistic"] if between_runs else math.nan,
                        "p": row["p_value"],
                        "adjusted": row["p_adjusted"],
                        "hypotheses": row["hypotheses"],
                        "correction": row["correction"],
                        "significant": is_true(row["reject"]),
                        "primary": is_true(row["primary"]),
                        "reason": row["reason"],
                    }
                )

        def order(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
            unknown = pd.isna(row["adjusted"])
            return not row["primary"], unknown, 0.0 if unknown else row["adjusted"]

        return sorted(found, key=order)

    def _family_in_words(self, family: Any) -> str:
        """Without the test and the metric, which are told beside it."""
        return families.label(str(family).partition(" (")[0], self.unit)

    @cached_property
    def test_families(self) -> list[dict[str, Any]]:
        """By family of significance.csv: `label`, `comparisons` planned, tests `made`,
        `hypotheses`, `correction`, `significant` ones, and whether it is `primary`."""
        table = self.significance
        if table.empty:
            return []
        return [
            {
                "label": families.label(str(name), self.unit),
                "comparisons": len(part),
                "made": int(part["p_value"].notna().sum()),
                "hypotheses": part["hypotheses"].iloc[0],
                "correction": part["correction"].iloc[0],
                "significant": int(part["reject"].map(is_true).sum()),
                "primary": is_true(part["primary"].iloc[0]),
            }
            for name, part in table.groupby("family", sort=False)
        ]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Rows of diversity.csv on the test split, most disagreement first."""
        table = self.results.table("tables/diversity.csv", ("split", "differs", "disagreement"))
        if table.empty:
            return table
        table = table[table["split"] == "test"]
        return table.sort_values("disagreement", ascending=False, kind="stable")

    @property
    def disagreement(self) -> dict[str, float]:
        """Mean disagreement of the pairs that differ in their losses, or in their seeds."""
        pairs = self.pairs
        if pairs.empty:
            return {}
        means = pairs.groupby("differs", sort=False)["disagreement"].mean()
        return {what: means[what] for what in ("losses", "seeds") if what in means}
