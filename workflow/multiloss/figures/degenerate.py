"""Models that hardly tell the classes apart: marked in every figure, named in its caption."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

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


class Reason(NamedTuple):
    """What is wrong with a model: a row of tables/degenerate.csv."""

    problem: str
    label: str
    value: float


class Degenerate:
    """The degenerate models of a study (tables/degenerate.csv, split test).

    `mark` puts a dagger after the name of such a model; `note` explains the daggers put so far.
    """

    def __init__(
        self,
        reasons: Mapping[str, Sequence[Reason]],
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
        found = {model: _reasons(rows) for model, rows in table.groupby("model", sort=False)}
        return cls(found, inputs.models, replicates > 1)

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
        alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for name in self._shown:
            kinds = tuple((reason.problem, reason.label) for reason in self._reasons[name])
            alike.setdefault(kinds, []).append(name)
        said = "; ".join(map(self._said, alike.values()))
        return f" {DAGGER} Degenerate on the test split: {said}."

    def _said(self, names: Sequence[str]) -> str:
        """What is wrong with these models, all of them in the same way."""
        models = [self._models[name] for name in names]
        labels = [model.label_of_run if self._several_runs else model.label for model in models]
        each = list(zip(*(self._reasons[name] for name in names), strict=True))
        never = [reasons[0] for reasons in each if reasons[0].problem == NEVER]
        named = [f"'{one.label}' ({count(int(one.value), 'image')})" for one in never]
        wrong = [f"never predict{'' if names[1:] else 's'} {_listed(named)}"] if named else []
        wrong += [_in_words(reasons) for reasons in each if reasons[0].problem != NEVER]
        return f"{_listed(labels)} {_listed(wrong)}"


def _reasons(rows: pd.DataFrame) -> list[Reason]:
    """What is wrong with one model, classes that it never predicts first."""
    order = sorted(rows["problem"].unique(), key=lambda name: (*_KNOWN, name).index(name))
    return [
        Reason(row["problem"], row["class"], row["value"])
        for problem in order
        for _, row in rows[rows["problem"] == problem].iterrows()
    ]


def _in_words(reasons: Sequence[Reason]) -> str:
    """One thing that is wrong with one model, or with several: their values as a range."""
    first, several = reasons[0], len(reasons) > 1
    ends = sorted({min(reason.value for reason in reasons), max(r.value for r in reasons)})
    if first.problem == DOMINATES:
        share = " to ".join(dict.fromkeys(f"{end:.0%}" for end in ends))
        return f"predict{'' if several else 's'} '{first.label}' for {share} of the images"
    if first.problem == CHANCE:
        mcc = " to ".join(dict.fromkeys(f"{end:.3f}" for end in ends))
        return f"{'are' if several else 'is'} no better than chance (MCC {mcc})"
    return f"({first.problem})"


_KNOWN = (NEVER, DOMINATES, CHANCE)


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
