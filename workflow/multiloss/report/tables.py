"""Tables of the page as `tables.yaml` describes them: file, words, and how each column is shown."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from multiloss.job.errors import UserError
from multiloss.job.progress import clock
from multiloss.report import blocks
from multiloss.report.blocks import Cell, Column, Table
from multiloss.report.facts import Estimate
from multiloss.report.names import Names
from multiloss.statistics import metrics

PATH = Path(__file__).parent / "tables.yaml"
_KEYS = {"file", "title", "caption", "how", "columns", "folded", "metrics"}
_COLUMN_KEYS = {"label", "as", "digits", "low", "high", "help", "more"}
_NUMBERS: dict[str, Callable[..., str]] = {
    "number": blocks.number,
    "signed": blocks.signed,
    "estimate": blocks.number,
    "difference": blocks.signed,
}
# With the ends of its interval behind the value, from two other columns.
_WITH_INTERVAL = ("estimate", "difference")
_KINDS = ("auto", "text", "remark", "count", "duration", "p", "yes", "model", "code", *_NUMBERS)


@dataclass(frozen=True)
class Shown:
    """How one column is shown; `kind`: see the head of tables.yaml."""

    key: str
    label: str
    kind: str = "auto"
    digits: int = 3
    low: str = "ci_low"
    high: str = "ci_high"
    help: str = ""
    more: bool = False


@cache
def described() -> Mapping[str, Mapping[str, Any]]:
    """The entries of tables.yaml. Raises UserError for one that is not as its head says."""
    entries = yaml.safe_load(PATH.read_text(encoding="utf-8")) or {}
    for name, entry in entries.items():
        lacking = {"title", "columns"} - entry.keys()
        unknown = entry.keys() - _KEYS
        if lacking or unknown:
            what = f"lacks '{min(lacking)}'" if lacking else f"does not know '{min(unknown)}'"
            raise UserError(f"report/tables.yaml: table '{name}' {what}")
        for key, column in entry["columns"].items():
            given = {} if isinstance(column, str) else column
            unknown = given.keys() - _COLUMN_KEYS
            if unknown or given.get("as", "auto") not in _KINDS:
                what = min(unknown) if unknown else given["as"]
                raise UserError(
                    f"report/tables.yaml: column '{key}' of table '{name}' does not know '{what}'"
                )
    return entries


def make(
    name: str,
    frame: pd.DataFrame | None,
    read: Callable[[str], pd.DataFrame],
    names: Names,
    environment: jinja2.Environment,
    known: Mapping[str, Any],
) -> Table:
    """The table `name` of tables.yaml: of its file, or of the frame if one is given.

    `known`: what its words may use. Raises UserError for a name without entry, and, naming file
    and column, for a file without a column that the table shows.
    """
    if name not in described():
        raise UserError(f"report/tables.yaml: there is no table '{name}'")
    entry = described()[name]

    def said(text: str) -> Markup:
        return Markup(_compiled(environment, text).render(known).strip())

    columns = [_column(key, column, said) for key, column in entry["columns"].items()]
    columns += _metrics(entry.get("metrics", ()), entry["columns"])
    source = entry.get("file", "")
    if frame is not None:
        columns = [one for column in columns for one in _of_prefix(column, frame)]
    else:
        frame = read(source)
        needed = [key for column in columns for key in _needed(column)]
        for key in needed if len(frame.columns) else ():
            if key not in frame.columns:
                raise UserError(f"{source} has no column '{key}': delete it and run again")
    shown = frame.copy()
    for column in columns:
        if column.kind in _WITH_INTERVAL and column.key in shown:
            shown[column.key] = _with_interval(shown, column)
        elif column.kind == "model" and column.key in shown:
            shown[column.key] = [_named(value, names) for value in shown[column.key]]
        elif column.kind == "remark" and column.key in shown:
            shown[column.key] = [
                names.within(value) if isinstance(value, str) else value
                for value in shown[column.key]
            ]
    return blocks.table(
        name,
        said(entry["title"]),
        said(entry.get("caption", "")),
        shown,
        [_shown(column, shown, names) for column in columns],
        source=source,
        how=said(entry.get("how", "")),
        folded=bool(entry.get("folded", False)),
    )


@cache
def _compiled(environment: jinja2.Environment, text: str) -> jinja2.Template:
    return environment.from_string(" ".join(text.split()))


def needed(name: str) -> list[str]:
    """The columns that a file must have whose rows the table `name` shows as they are."""
    given = described()[name]["columns"] if name in described() else {}
    columns = [_column(key, column, Markup) for key, column in given.items()]
    return [key for column in columns for key in _needed(column) if not key.endswith("*")]


def _column(key: str, given: str | Mapping[str, Any], said: Callable[[str], Markup]) -> Shown:
    given = {"label": given} if isinstance(given, str) else dict(given)
    kind = given.pop("as", "auto")
    label, help = said(str(given.pop("label"))), said(str(given.pop("help", "")))
    return Shown(key, str(label.unescape()), kind, help=str(help.unescape()), **given)


def _of_prefix(column: Shown, frame: pd.DataFrame) -> list[Shown]:
    """For a key that ends in `*` one column for each of the frame's with that beginning."""
    beginning = column.key.removesuffix("*")
    if beginning == column.key:
        return [column]
    return [
        replace(column, key=key, label=column.label.replace("*", key.removeprefix(beginning)))
        for key in map(str, frame)
        if key.startswith(beginning)
    ]


def _metrics(places: Iterable[str], listed: Iterable[str]) -> list[Shown]:
    """The metrics of some tables of the registry that are not listed by name."""
    found = []
    for place in places:
        registry = metrics.CLASS_METRICS if place == metrics.OF_CLASS else metrics.METRICS
        for name in metrics.shown(place):
            if name not in listed:
                known = registry[name]
                found.append(Shown(name, known.title, "estimate", help=known.help, more=True))
    return found


def _needed(column: Shown) -> Iterable[str]:
    yield column.key
    if column.kind in _WITH_INTERVAL:
        yield from (column.low, column.high)


def _with_interval(frame: pd.DataFrame, column: Shown) -> list[Cell | None]:
    """Cells of the `Estimate`s that a column holds, or of its numbers and their interval's ends."""

    def show(value: Any) -> str:
        return _NUMBERS[column.kind](value, column.digits)

    ends = (frame.get(key, [math.nan] * len(frame)) for key in (column.low, column.high))
    found = [
        value if isinstance(value, Estimate) else Estimate(value, low, high)
        for value, low, high in zip(frame[column.key], *ends, strict=True)
    ]
    return [
        None if pd.isna(one.value) else blocks.value_cell(one, show, column.digits) for one in found
    ]


def _named(value: Any, names: Names) -> Any:
    if isinstance(value, str):
        # Names of models have no blanks: 'the best single model' is words already.
        value = value if " " in value or not value else value.split(";")
    if isinstance(value, list):
        return Cell(names.listed(value), ", ".join(map(names.label, value))) if value else None
    return value


def _shown(column: Shown, frame: pd.DataFrame, names: Names) -> Column:
    """How the page shows a column; `auto` by what it holds."""

    def numeric(show: Callable[[Any], str]) -> Column:
        return Column(column.key, column.label, show, help=column.help, more=column.more)

    kind = column.kind
    if kind == "auto" and column.key in frame:
        kind = _kind(frame[column.key])
    if kind == "count":
        return numeric(blocks.count)
    if kind == "duration":
        return numeric(lambda value: blocks.number(None) if pd.isna(value) else clock(value))
    if kind == "p":
        return numeric(lambda value: blocks.p_value(value, names.alpha))
    if kind in _NUMBERS:
        return numeric(lambda value: _NUMBERS[kind](value, column.digits))
    return Column(
        column.key,
        column.label,
        blocks.yes if kind == "yes" else None,
        code=kind == "code",
        help=column.help,
        model=kind == "model",
        more=column.more,
    )


def _kind(values: pd.Series) -> str:
    cells = [value for value in values if isinstance(value, Cell)]
    if cells:
        return "number" if all(cell.sort is not None for cell in cells) else "text"
    if pd.api.types.is_bool_dtype(values):
        return "yes"
    if not pd.api.types.is_numeric_dtype(values):
        return "text"
    filled = values.dropna()
    return "count" if (filled == filled.round()).all() else "number"
