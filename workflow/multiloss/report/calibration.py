"""What the tables of calibration say, as values; the words are in sections/_calibration.html.j2."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from multiloss.evaluation.calibration_tables import ABOVE, CORRECTED, INSIDE, RAW
from multiloss.methods import ensemble_methods
from multiloss.report.blocks import is_true
from multiloss.report.facts import Facts, count_of
from multiloss.report.results import Record
from multiloss.statistics import calibration_measures as measures
from multiloss.statistics.metrics import BRIER, shown

# The confidence whose accuracy a sentence gives as an example.
EXAMPLE = 0.8
# Columns of calibration_scores.csv behind the name of a metric.
_ENDS = {"": "value", "_low": "ci_low", "_high": "ci_high", "_limit": "expected_p95"}
_OVERALL = ("ece", "log_loss", "brier", *(measure.name for measure in measures.OVERALL))


@dataclass(frozen=True)
class Compared:
    """Calibrated losses beside their plain forms by one measure, one for each objective.

    `losses`: those with a difference; `better`, `worse`: of these, where the corrected test
    rejects; `void`: a run tells no classes apart; `lacking`: no value for one of the two;
    `hypotheses`: over how many Holm's correction goes.
    """

    losses: list[str]
    better: list[str]
    worse: list[str]
    void: list[str]
    lacking: list[str]
    hypotheses: int


class Calibration:
    """The tables of calibration of one study."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def _pairs(self, measure: str, version: str = RAW) -> pd.DataFrame:
        return self._facts.calibration_pairs(version, measure)

    @cached_property
    def _answering(self) -> pd.DataFrame:
        """The pairs by the primary measure; of two names of one objective one."""
        pairs = self._pairs(measures.DISTANCE.name)
        return pairs[pairs["primary"].map(is_true)] if len(pairs) else pairs

    def compared(self, measure: str = measures.DISTANCE.name) -> Compared | None:
        """What a measure says of the pairs; None where no loss has its calibrated form."""
        primary, pairs = self._answering, self._pairs(measure)
        if primary.empty or pairs.empty:
            return None
        pairs = pairs[pairs.index.isin(primary.index)]
        # A model that names one class can look calibrated: its confidence is its prevalence.
        void = self._facts.uncalibrated(primary)
        told = pairs.drop(index=void, errors="ignore")
        known = told[told["difference"].notna()]
        rejects, difference = known["reject"].map(is_true).astype(bool), known["difference"]
        return Compared(
            losses=list(map(str, known.index)),
            better=list(map(str, known.index[rejects & (difference < 0)])),
            worse=list(map(str, known.index[rejects & (difference > 0)])),
            void=void,
            lacking=[str(loss) for loss in told.index if loss not in known.index],
            hypotheses=count_of(pairs["hypotheses"].max()),
        )

    def differences(self) -> list[dict[str, Any]]:
        """Rows of calibration_comparisons.csv by the primary measure, of those compared."""
        told = self.compared()
        if told is None:
            return []
        return self._answering.loc[told.losses].reset_index().to_dict("records")

    def scores(self, model: str, version: str = RAW) -> dict[str, dict[str, Any]]:
        """Rows of calibration_scores.csv of one model by metric."""
        return self._scores.get((model, version), {})

    @cached_property
    def _scores(self) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for row in self._facts.results.table("tables/calibration_scores.csv").records():
            found.setdefault((row["model"], row["version"]), {})[row["metric"]] = row
        return found

    @property
    def key_models(self) -> list[str]:
        """The chosen single model, the chosen ensemble and the baseline."""
        facts = self._facts
        names = (facts.chosen("single"), facts.chosen("ensemble"), facts.baseline)
        return [name for name in dict.fromkeys(names) if name]

    @property
    def all_models(self) -> list[str]:
        facts = self._facts
        return [*facts.singles, *facts.ensembles, *facts.seed_ensembles]

    def point(self, model: str) -> Mapping[str, Any] | None:
        """The point of the model's curve whose confidence is nearest to the example."""
        curves = self._facts.results.table("tables/calibration_curves.csv")
        if curves.empty:
            return None
        part = curves[(curves["model"] == model) & curves["class"].isna() & curves["p"].notna()]
        if part.empty or not part["p"].min() <= EXAMPLE <= part["p"].max():
            return None
        nearest = part.loc[(part["p"] - EXAMPLE).abs().idxmin()]
        return Record(nearest.to_dict(), curves.file)

    @property
    def errors(self) -> dict[str, int]:
        """How many models have an ECE 'inside' and 'above' what perfect calibration shows."""
        told = (self.scores(model).get("ece") for model in self.all_models)
        found = [row["range"] for row in told if row is not None]
        return {word: found.count(word) for word in (INSIDE, ABOVE)}

    def not_probabilities(self, models: Iterable[str]) -> dict[str, str]:
        """What methods give that are no probabilities, by title, where these models use them."""
        planned = self._facts.planned
        used = {planned[name].method for name in models if name in planned}
        return {
            method.title: method.caveat
            for name, method in ensemble_methods().items()
            if name in used and method.caveat
        }

    # ---- rows of tables: a metric's value, ends of its interval, limit if perfect ----------
    def pairs(self) -> list[dict[str, Any]]:
        """Each calibrated loss minus its plain form."""
        slope = self._pairs(measures.DISTANCE.name)
        if slope.empty:
            return []
        others = {
            "saved": self._pairs(measures.ROOT.name),
            "corrected": self._pairs(measures.ROOT.name, CORRECTED),
            "ece": self._pairs("ece"),
        }
        columns = {"": "difference", "_low": "ci_low", "_high": "ci_high", "_p": "p_adjusted"}
        void, rows = self._facts.uncalibrated(slope), []
        for loss, own in slope.iterrows():
            row = {"loss": loss, "plain": own["plain"], "reason": own["reason"]}
            row["void"] = True if loss in void else None
            for name, table in {"slope": slope, **others}.items():
                if loss in table.index:
                    found = table.loc[loss]
                    row |= {f"{name}{end}": found[key] for end, key in columns.items()}
            rows.append(row)
        return rows

    def models(self) -> list[dict[str, Any]]:
        """All models; `ece_VERSION`: of probabilities that were changed."""
        rows = []
        versions = {version for _, version in self._scores} - {RAW}
        for model in self.all_models:
            row = {"model": model} | _flat(self.scores(model), _OVERALL)
            for version in versions:
                told = self.scores(model, version).get("ece")
                row[f"ece_{version}"] = told["value"] if told else None
            rows.append(row)
        return rows

    def classes(self) -> list[dict[str, Any]]:
        """Each class against the rest, for the key models."""
        rows = []
        for model in self.key_models:
            scores = self.scores(model)
            for label in self._facts.classes:
                own = {m.name: scores[m.of(label)] for m in measures.OF_CLASS
                       if m.of(label) in scores}  # fmt: skip
                if own:
                    rows.append({"model": model, "class": label} | _flat(own, own))
        return rows

    def parts(self) -> list[dict[str, Any]]:
        """The Brier score of all models and its parts."""
        names = ["brier", *shown(BRIER)]
        return [{"model": model} | _flat(self.scores(model), names) for model in self.all_models]


def _flat(scores: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    return {
        f"{name}{end}": scores[name][column]
        for name in names
        if name in scores
        for end, column in _ENDS.items()
    }
