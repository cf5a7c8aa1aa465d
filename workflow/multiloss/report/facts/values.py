"""What facts are made of: estimates, comparisons and the like, without a word of English."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from multiloss import losses
from multiloss.data.manifest import KEPT
from multiloss.study import OWN_KEYS, Variant

# The primary test: sign flips by patient.
PRIMARY_TEST = "permutation"


@dataclass(frozen=True)
class Estimate:
    """A metric of one model with its interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A paired test of a against b; `difference` is a minus b.

    `hypotheses`: how many its family has, over which `correction` goes; `seeds`: whether it counts
    the chance of the training runs, of which a has `runs_a` and b `runs_b`, and so speaks of losses
    or methods; otherwise it speaks of two runs.
    """

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
    hypotheses: int = 0
    correction: str = "Holm"
    seeds: bool = False
    runs_a: int = 1
    runs_b: int = 1

    @property
    def verdict(self) -> str:
        """'better', 'worse' or 'open'; the first two only when the corrected test rejects."""
        if not self.reject or not self.difference:
            return "open"
        return "better" if self.difference > 0 else "worse"

    @property
    def estimate(self) -> Estimate:
        """The difference with its interval."""
        return Estimate(self.difference, self.low, self.high)

    @property
    def size(self) -> float:
        """How large the difference is, either way."""
        return abs(self.difference)

    @property
    def turned(self) -> "Comparison":
        """The same of b against a."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            runs_a=self.runs_b,
            runs_b=self.runs_a,
        )


@dataclass(frozen=True)
class Floor:
    """Differences between two names of one objective, which the training run alone makes.

    `largest` of them in size; `within` of the `others`, differences between another loss and the
    baseline, are no larger.
    """

    pairs: list[Comparison]
    largest: float
    others: int
    within: int


@dataclass(frozen=True)
class Hit:
    """A secondary test that rejects: of `model` against `other` (empty: of many at once)."""

    model: str
    other: str
    metric: str
    test: str
    p_value: float


@dataclass
class Degenerate:
    """What is wrong with the classes that a model names on one split.

    `never`: classes with images there that it never names, with the number of their images;
    `dominant`: the class that it names for a share `share` of all images; `chance`: its MCC,
    where that is no better than chance. An undefined MCC counts as 0.
    """

    model: str
    never: dict[str, int] = field(default_factory=dict)
    dominant: str = ""
    share: float = math.nan
    chance: float = math.nan

    @property
    def collapsed(self) -> bool:
        """Whether it tells classes apart so little that its scores say nothing of its loss."""
        return bool(self.dominant) or not math.isnan(self.chance)


@dataclass(frozen=True)
class Spread:
    """Standard deviation between the runs of one loss (`seeds`, on `df` degrees of freedom) and
    between the means of `count` losses of different objectives, with the F test of whether these
    differ by more than seeds make them. `outside`: losses whose mean lies outside of `expected`,
    where the mean of as many further runs of the baseline would, in 95 of 100 cases each."""

    seeds: float
    df: int
    losses: float
    count: int
    statistic: float
    p_value: float
    remark: str
    outside: dict[str, float]
    expected: tuple[float, float]


@dataclass(frozen=True)
class PrimaryFamily:
    """A family of hypotheses that was said before any result: how many, and how many reject."""

    name: str
    hypotheses: int
    rejected: int
    correction: str
    seeds: bool


@dataclass(frozen=True)
class Optimism:
    """Means over the ensembles of their test MCC as published, on patients left out of the choice
    and as chosen here; of optimism and of the gain from the other choice; the extremes of optimism.
    """

    ensembles: int
    published: float
    unseen: float
    ours: float
    optimism: float
    lowest: float
    highest: float
    gain: float


@dataclass(frozen=True)
class Heat:
    """The share of heat in a region: least and largest of `models`, and of a uniform map.

    `tests` paired tests against the uniform map were made; `above` and `below` are those that
    reject, `gain` is the largest difference of those above. `others`, `more` and `less` are the
    same against the baseline's maps.
    """

    models: int
    least: float
    largest: float
    uniform: float
    tests: int
    above: int
    below: int
    gain: float
    others: int
    more: int
    less: int


@dataclass(frozen=True)
class Ranking:
    """Between which ranks a model may lie by the tests of all pairs, among how many models."""

    model: str
    first: int
    last: int
    models: int
    pairs: int
    same_objective: str


def loss_parameters(kind: str, entry: Mapping[str, Any]) -> dict[str, float | None]:
    """The parameters that were used for a loss of the config, defaults included."""
    given = {key: value for key, value in entry.items() if key not in ("name", *OWN_KEYS)}
    return losses.catalog(kind).get(entry["name"], {}) | given


def count_of(value: Any) -> int:
    """A whole number of a table; 0 where it has none."""
    return 0 if value is None or pd.isna(value) else int(value)


def ends_of(key: str) -> tuple[str, str]:
    """The columns of the ends of a value's interval."""
    return f"{key}_low", f"{key}_high"


def watched(training: Mapping[str, Any]) -> list[str]:
    """What the validation images of a training decide: 'stop', 'rate' and 'epoch', or nothing."""
    does = {
        "stop": training["early_stopping"],
        "rate": training["reduce_on_plateau"],
        "epoch": training["keep"] == "best",
    }
    return [name for name, so in does.items() if so]


def is_remark(reason: Any) -> bool:
    return str(reason).startswith(KEPT)


def differences(variant: Variant, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the training of a variant has otherwise than `classification` says, by its keys."""
    found = {}
    if variant.class_weights != settings["class_weights"]:
        found["class_weights"] = variant.class_weights
    for part in ("training", "augmentation"):
        found |= _changes(getattr(variant, part), settings[part])
    return found


def _changes(given: Mapping[str, Any], usual: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found = {}
    for key, value in given.items():
        was = usual.get(key)
        if value == was:
            continue
        if isinstance(value, Mapping):
            found |= _changes(value, was if isinstance(was, Mapping) else {}, f"{key} ")
        else:
            found[f"{above}{key}"] = value
    return found
