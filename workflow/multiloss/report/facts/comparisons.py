"""Paired tests between models, and what they say together."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.families import (
    BASELINE,
    BEST_MEMBER,
    BEST_SINGLE,
    NOISE_FLOOR,
    SEED_ENSEMBLE,
)
from multiloss.report.blocks import is_true
from multiloss.report.facts.scores import ScoreFacts
from multiloss.report.facts.values import (
    PRIMARY_TEST,
    Comparison,
    PrimaryFamily,
    count_of,
)
from multiloss.statistics.metrics import (
    PRIMARY,
)


class ComparisonFacts(ScoreFacts):
    """Paired tests between models, and what they say together."""

    @property
    def tested(self) -> str:
        """The metric by which the primary hypotheses are tested."""
        return str(self.config["significance"].get("metric", PRIMARY))

    @cached_property
    def significance(self) -> pd.DataFrame:
        needed = (
            "family",
            "metric",
            "test",
            "model_a",
            "model_b",
            "p_value",
            "p_adjusted",
            "primary",
        )
        return self.results.table("tables/significance.csv", needed)

    @property
    def permutations(self) -> int:
        """The most sign flips of any test, 0 if not told; the correction can ask for more."""
        told = self.significance.get("permutations", pd.Series(dtype=float))
        most = pd.to_numeric(told, errors="coerce").max()
        return 0 if pd.isna(most) else int(most)

    @cached_property
    def run_tests(self) -> pd.DataFrame:
        """Rows of the test between two runs by the metric that is tested."""
        table = self.significance
        if table.empty:
            return table
        keep = (table["metric"] == self.tested) & table["model_b"].notna()
        return table[keep & (table["test"] == PRIMARY_TEST)]

    @cached_property
    def made(self) -> pd.DataFrame:
        """Rows of the paired tests that could be made."""
        table = self.significance
        return table if table.empty else table[table["p_value"].notna()]

    @cached_property
    def secondary(self) -> pd.DataFrame:
        """Tests that were made between two runs beside the primary ones."""
        made = self.made
        return made if made.empty else made[~made["primary"].map(is_true)]

    @cached_property
    def primary_families(self) -> list[PrimaryFamily]:
        """The families that carry the answer, with what their tests say."""
        found = []
        for name, seeds in (
            ("tables/replicate_comparisons.csv", True),
            ("tables/ensemble_comparisons.csv", True),
            ("tables/fold_comparisons.csv", True),
            ("tables/significance.csv", False),
        ):
            table = self.results.table(name, ("family", "hypotheses", "reject", "correction"))
            if table.empty:
                continue
            table = table[table["primary"].map(is_true) & table["p_value"].notna()]
            for family, part in table.groupby("family", sort=False):
                found.append(
                    PrimaryFamily(
                        str(family),
                        int(part["hypotheses"].iloc[0]),
                        int(part["reject"].map(is_true).sum()),
                        str(part["correction"].iloc[0]),
                        seeds,
                    )
                )
        return found

    @cached_property
    def _comparisons(self) -> dict[tuple[str, str, str], Comparison]:
        """Tests between two runs by kind of comparison and models, both ways round."""
        found: dict[tuple[str, str, str], Comparison] = {}
        for row in self.run_tests.records():
            kind = families.of_column(str(row["family"]))[0]
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
                    p_adjusted=row["p_adjusted"],
                    reject=is_true(row["reject"]),
                    family=str(row["family"]),
                    hypotheses=count_of(row["hypotheses"]),
                    correction=str(row["correction"]),
                )
                found.setdefault((kind, test.a, test.b), test)
        return found

    def compare(self, a: str | None, b: str | None, family: str) -> Comparison | None:
        """The test of run a against run b of that kind, whichever way round the table has it."""
        if a is None or b is None:
            return None
        found = (self._comparisons.get((one, a, b)) for one in families.ALSO.get(family, (family,)))
        return next(filter(None, found), None)

    def against_baseline(self, models: Sequence[str]) -> list[Comparison]:
        """Tests of those runs against the baseline's of the same replicate."""
        found = []
        for model in models:
            own = self.study.run(self.baseline_loss, self.planned[model].replicate or 0)
            test = self.compare(model, own.name, BASELINE)
            if test is not None and not math.isnan(test.difference):
                found.append(test)
        return found

    @cached_property
    def loss_tests(self) -> list[Comparison]:
        """Each other objective against the baseline, which are the hypotheses of the study.

        Over seeds where these are known, else by run.
        """
        if self.crossed:
            return self.crossed
        tests = self.against_baseline([name for name in self.singles if name != self.baseline])
        return [test for test in tests if families.of_column(test.family)[0] == BASELINE]

    def loss_test(self, loss: str) -> Comparison | None:
        """One loss against the baseline, also one whose objective another loss stands for."""
        tests = self.crossed + self.crossed_repeated
        if not tests:
            tests = self.against_baseline(self.runs(loss))
        return next((test for test in tests if self.family(test.a) == loss), None)

    @cached_property
    def crossed(self) -> list[Comparison]:
        """Losses against the baseline with seeds and patients as crossed factors."""
        return self._crossed(BASELINE)

    @cached_property
    def crossed_repeated(self) -> list[Comparison]:
        """The same of losses whose objective another one stands for."""
        return self._crossed(families.REPEATED_BASELINE)

    @cached_property
    def crossed_floor(self) -> list[Comparison]:
        """The pairs with the same objective in the same way."""
        return self._crossed(NOISE_FLOOR)

    def fold_tests(self, family: str) -> list[Comparison]:
        """Comparisons over folds of one family of fold_comparisons.csv that could be tested."""
        table = self.results.table("tables/fold_comparisons.csv")
        if table.empty:
            return []
        table = table[(table["family"] == family) & table["p_value"].notna()]
        return [
            self._over_seeds(row, row["a"], row["b"], "folds", "folds") for row in table.records()
        ]

    def _crossed(self, family: str) -> list[Comparison]:
        if self.folds:
            return self.fold_tests(family)
        table = self.results.table("tables/replicate_comparisons.csv")
        if table.empty:
            return []
        keep = (table["metric"] == self.tested) & table["p_value"].notna()
        keep &= table["family"].map(lambda name: families.of_column(str(name))[0]) == family
        return [
            self._over_seeds(row, row["loss_a"], row["loss_b"], "replicates_a", "replicates_b")
            for row in table[keep].records()
        ]

    @staticmethod
    def _over_seeds(row: Mapping[str, Any], a: str, b: str, runs_a: str, runs_b: str) -> Comparison:
        return Comparison(
            a=a,
            b=b,
            metric=row["metric"],
            difference=row["difference"],
            low=row["ci_low"],
            high=row["ci_high"],
            p_value=row["p_value"],
            p_adjusted=row["p_adjusted"],
            reject=is_true(row["reject"]),
            family=str(row["family"]),
            hypotheses=count_of(row["hypotheses"]),
            correction=str(row["correction"]),
            seeds=True,
            runs_a=count_of(row[runs_a]),
            runs_b=count_of(row[runs_b]),
        )

    @cached_property
    def _gains(self) -> dict[tuple[str, str], Comparison]:
        """Gains of ensembles over seeds or folds, by family and what they are compared with."""
        if self.folds:
            families_of = {"best_member": BEST_MEMBER, "best_single": BEST_SINGLE}
            return {
                (test.a, against): test
                for against, family in families_of.items()
                for test in self.fold_tests(family)
            }
        table = self.results.table("tables/ensemble_comparisons.csv")
        if table.empty:
            return {}
        table = table[(table["metric"] == self.tested) & table["p_value"].notna()]
        return {
            (row["ensemble"], row["against"]): self._over_seeds(
                row, row["ensemble"], row["opponent"], "replicates", "replicates"
            )
            for row in table.records()
        }

    def gain(self, ensemble: str, against: str) -> Comparison | None:
        """What a kind of ensemble gains over seeds; `against` as in ensemble_comparisons.csv."""
        return self._gains.get((self.family(ensemble), against))

    def gains(self, against: str) -> list[Comparison]:
        """Those gains of all kinds of ensembles; empty where seeds are not known."""
        return [test for (_, other), test in self._gains.items() if other == against]

    def against_best_member(self) -> list[Comparison]:
        """Primary tests of each ensemble against its best member, best MCC first."""
        tests = [
            self.compare(name, self.best_member(name), BEST_MEMBER)
            for name in [*self.ensembles, *self.seed_ensembles]
        ]
        return [test for test in tests if test is not None and not math.isnan(test.difference)]

    @cached_property
    def same_objective(self) -> list[tuple[str, str]]:
        """Pairs of losses that the tables compare as two names of one objective.

        Whether two losses are one objective depends on their parameters, which the steps that
        write the tables look at.
        """
        pairs: dict[tuple[str, str], None] = {}
        for name, columns in (
            ("tables/significance.csv", ["model_a", "model_b"]),
            ("tables/replicate_comparisons.csv", ["loss_a", "loss_b"]),
        ):
            table = self.results.table(name, ("family", *columns))
            if not table.empty:
                kinds = table["family"].map(lambda name: families.of_column(str(name))[0])
                rows = table.loc[kinds == NOISE_FLOOR, columns]
                for a, b in rows.itertuples(index=False):
                    pairs[self.family(a), self.family(b)] = None
        return list(pairs)

    def is_same_objective(self, a: str, b: str) -> bool:
        """Whether two losses are one function under two names."""
        return (a, b) in self.same_objective or (b, a) in self.same_objective

    def noise_floor(self) -> list[Comparison]:
        """The primary tests of two runs with the same objective, run by run.

        Pairs of models that tell no classes apart are left out: they differ by nothing.
        """
        tests = [
            self.compare(row["model_a"], row["model_b"], NOISE_FLOOR)
            for row in self.run_tests.records()
            if families.of_column(str(row["family"]))[0] == NOISE_FLOOR
        ]
        return [test for test in tests if test is not None and self.tells(test)]

    def against_single(self, ensemble: str) -> Comparison | None:
        """An ensemble of ensembles against the best single model."""
        tests = (self.compare(ensemble, name, BEST_SINGLE) for name in self.singles)
        return next((test for test in tests if test is not None), None)

    def as_many_seeds(self, ensemble: str | None) -> str | None:
        """Of the ensembles of seeds, the one of as many models as the ensemble, or any."""
        return min(
            sorted(self.seed_ensembles),
            key=lambda name: self.compare(ensemble, name, SEED_ENSEMBLE) is None,
            default=None,
        )

    def tells(self, test: Comparison) -> bool:
        """Whether a comparison has a difference, and not of two models that tell nothing apart."""
        return not math.isnan(test.difference) and not (
            self.collapsed(test.a) and self.collapsed(test.b)
        )

    def verdicts(self, tests: Sequence[Comparison]) -> dict[str, list[Comparison]]:
        """Comparisons by their verdict; as `neither` those of two models that tell nothing."""
        found: dict[str, list[Comparison]] = {
            "better": [],
            "worse": [],
            "open": [],
            "neither": [],
        }
        for test in tests:
            found[test.verdict if self.tells(test) else "neither"].append(test)
        return found

    def from_baseline(self, name: str) -> Comparison | None:
        """A loss, or a run of an ablation, against the baseline, whatever family has the test."""
        if name in self.planned and self.planned[name].kind == "ablation":
            own = self.study.run(self.baseline_loss, self.planned[name].replicate or 0).name
            return self.compare(name, own, families.ABLATIONS)
        floor = (
            test if test.b == self.baseline_loss else test.turned
            for test in self.crossed_floor
            if self.baseline_loss in (test.a, test.b)
        )
        own_loss = self.family(name)
        return next((test for test in floor if test.a == own_loss), self.loss_test(own_loss))

    @cached_property
    def ensemble_tests(self) -> list[Comparison]:
        """Each kind of ensemble against its best member: over seeds where known, else by run."""
        by_run, gains = self.against_best_member(), self.gains("best_member")
        return gains + [test for test in by_run if not gains or test.a in self.seed_ensembles]

    def ensembles_of(self, level: str) -> list[Comparison]:
        """Of these the ensembles whose members are of one `level`."""
        return [
            test
            for test in self.ensemble_tests
            if (self.level if test.a in self.planned else self.level_of_family)(test.a) == level
        ]

    def ensemble_test(self, name: str, against: str) -> Comparison | None:
        """The same of one ensemble, or of its kind; `against` as in ensemble_comparisons.csv."""
        if against == "best_member":
            tests = self.ensemble_tests
        else:
            tests = self.gains(against) or [
                test
                for (kind, a, _), test in self._comparisons.items()
                if (kind, a) == (SEED_ENSEMBLE, name)
            ]
        return next((t for t in tests if t.a in (name, self.family(name))), None)
