"""Models that hardly tell the classes apart: marked in every figure, named in its caption."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import pandas as pd

from multiloss.figures.drawing import Inputs
from multiloss.figures.style import count
from multiloss.study import Model

DAGGER = "\N{DAGGER}"
NEVER, DOMINATES, CHANCE = (
    "class_never_predicted",
    "one_class_dominates",
    "no_better_than_chance",
)
SPLIT = "test"
IN_THE_PICTURE = f"{DAGGER} degenerate model, see the caption"


class Degenerate:
    """The degenerate models of a study (tables/degenerate.csv, split test).

    `mark` puts a dagger after the name of such a model; `note` explains the daggers put so far.
    """

    def __init__(
        self,
        reasons: Mapping[str, str],
        models: Mapping[str, Model] = MappingProxyType({}),
        several_runs: bool = False,
    ) -> None:
        self._reasons, self._models, self._several_runs = reasons, models, several_runs
        self._shown: dict[str, None] = {}

    @classmethod
    def of(cls, inputs: Inputs, replicates: int = 1) -> "Degenerate":
        """As the input `degenerate` says; no such input, or an empty table, means none."""
        if "degenerate" not in inputs.files or not inputs.path("degenerate").exists():
            return cls({})
        text = ["model", "split", "problem", "class"]
        table = inputs.table("degenerate", ["value"], text=text)
        table = table[table["split"] == SPLIT]
        parts = {model: _reason(rows) for model, rows in table.groupby("model", sort=False)}
        return cls(parts, inputs.models, replicates > 1)

    def mark(self, text: str, *models: str) -> str:
        """The text, with a dagger where one of the models that it stands for is degenerate."""
        found = dict.fromkeys(model for model in models if model in self._reasons)
        self._shown |= found
        return f"{text}\N{NO-BREAK SPACE}{DAGGER}" if found else text

    @property
    def any(self) -> bool:
        """Whether a dagger was put."""
        return bool(self._shown)

    def note(self) -> str:
        """A sentence for the caption, with a space before it; empty where no dagger was put."""
        if not self._shown:
            return ""
        shown = [(self._models[name], self._reasons[name]) for name in self._shown]
        named = [
            f"{model.label_of_run if self._several_runs else model.label} {reason}"
            for model, reason in shown
        ]
        return f" {DAGGER} Degenerate on the test split: {'; '.join(named)}."


def _reason(rows: pd.DataFrame) -> str:
    """What is wrong with one model, in words."""
    parts = []
    never = rows[rows["problem"] == NEVER]
    if len(never):
        named = [
            f"'{row['class']}' ({count(int(row['value']), 'image')})" for _, row in never.iterrows()
        ]
        parts.append(f"never predicts {_listed(named)}")
    for _, row in rows[rows["problem"] == DOMINATES].iterrows():
        parts.append(f"predicts '{row['class']}' for {row['value']:.0%} of the images")
    for value in rows.loc[rows["problem"] == CHANCE, "value"]:
        parts.append(f"is no better than chance (MCC {value:.3f})")
    parts += [f"({problem})" for problem in rows["problem"].unique() if problem not in _KNOWN]
    return _listed(parts)


_KNOWN = (NEVER, DOMINATES, CHANCE)


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
