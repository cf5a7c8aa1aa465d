"""Groups of patients by the values of a column: its bands, its numbers, its words."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.data.layouts import is_unknown_patient
from multiloss.job.errors import UserError

KEY = "evaluation.subgroups"
UNKNOWN = "unknown"
# More different numbers ask for bands; more different texts are no groups.
MOST_NUMBERS, MOST_TEXTS = 12, 50
# What `is_unknown_patient` knows and a column may mean: no device is a device.
_NONE = {"none", "nil"}


@dataclass(frozen=True)
class Groups:
    """The groups of a column in their order, and that of each image (N,), -1 where not known."""

    names: tuple[str, ...]
    of: npt.NDArray[np.intp]


def groups(values: Sequence[str] | pd.Series, column: str, bands: Sequence[float] | None) -> Groups:
    """The groups that the values of a column make, (N,) text.

    With `bands` b_1 < b_2 < ... the groups of numbers below b_1, from b_1 to below b_2 and so on.
    Without them each value is a group; numbers are ordered as such. What is empty or says so
    (`nan`, `N/A`, `unknown`) is not known.

    Raises `UserError` for a value that is no number where there are bands, for more than
    `MOST_NUMBERS` different numbers without bands, and for more than `MOST_TEXTS` different texts.
    """
    texts = ["" if _not_known(value) else " ".join(str(value).split()) for value in values]
    numbers = {text: _number(text) for text in set(texts) - {""}}
    if bands is not None:
        for text in texts:
            if text and numbers[text] is None:
                raise UserError(
                    f"{KEY}: column '{column}' has bands, but '{short(text)}' is no number: "
                    "correct the table, or leave the bands out"
                )
        names = band_names(bands)
        places = {text: int(np.searchsorted(bands, x, "right")) for text, x in numbers.items()}
    elif numbers and all(number is not None for number in numbers.values()):
        if len(numbers) > MOST_NUMBERS:
            raise UserError(
                f"{KEY}: column '{column}' has {len(numbers)} different numbers: give it bands, "
                f"such as {{column: {column}, bands: [18, 65]}}"
            )
        # 1 and 1.0 are one group, called as the first in the order of their texts.
        called = {numbers[text]: text for text in sorted(numbers, reverse=True)}
        ordered = sorted(called)
        names = [called[number] for number in ordered]
        places = {text: ordered.index(number) for text, number in numbers.items()}
    else:
        if len(numbers) > MOST_TEXTS:
            raise UserError(
                f"{KEY}: column '{column}' has {len(numbers)} different values, such as "
                f"'{short(min(numbers))}': name a column with groups of patients"
            )
        names = sorted(numbers)
        places = {text: place for place, text in enumerate(names)}
    of = np.array([places[text] if text else -1 for text in texts], dtype=np.intp)
    return Groups(tuple(names), of)


def band_names(bands: Sequence[float]) -> list[str]:
    """[18, 65] is under 18, 18 to 65, 65 and over; a band holds its beginning, not its end."""
    ends = [f"{end:g}" for end in bands]
    between = [f"{low} to {high}" for low, high in zip(ends, ends[1:], strict=False)]
    return [f"under {ends[0]}", *between, f"{ends[-1]} and over"]


def _not_known(value: object) -> bool:
    text = str(value).strip()
    return not text or (is_unknown_patient(text) and text.casefold() not in _NONE)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def short(text: str) -> str:
    """A value within a line."""
    return text if len(text) <= 40 else f"{text[:37]}..."
