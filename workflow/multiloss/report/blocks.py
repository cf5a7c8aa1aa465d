"""The building blocks of the page: paragraphs, tables, figures, and notes on what is missing."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from multiloss.report.pictures import Picture
from multiloss.statistics.metrics import Metric

# Of a table of at least so many rows the script shows the first ones and a button for the rest.
LONG_TABLE, ROWS_SHOWN = 25, 12
# Beside the name of a model that never names some class, or is no better than chance.
DAGGER = "\N{DAGGER}"
# Digests and paths.
LONG_NAME = 56
# A column with a text longer than this is kept wide enough to be read on a phone.
LONG_TEXT = 40
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def number(value: Any, digits: int = 3) -> str:
    """A number for reading: fixed digits, a true minus sign, a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return DASH
    if isinstance(value, str):
        return value
    if math.isinf(value):
        return "infinite" if value > 0 else f"{MINUS}infinite"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """A difference: its sign is always shown."""
    text = number(value, digits)
    return text if text == DASH or text[0] == MINUS or float(text) == 0 else f"+{text}"


def count(value: Any) -> str:
    """A whole number, a dash for nothing."""
    return DASH if value is None or pd.isna(value) else f"{int(value):,}"


def p_value(value: Any, alpha: float = 0.05, digits: int = 3) -> str:
    """A p value: never 0, and with more digits where rounding would make it that or alpha."""
    if value is None or pd.isna(value):
        return DASH
    if value < 0.001:
        return "< 0.001"
    while digits < 6 and (float(f"{value:.{digits}f}") in (0, alpha) and value != alpha):
        digits += 1
    return f"{value:.{digits}f}"


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """The ends of an interval, or nothing when there is none."""
    if pd.isna(low) or pd.isna(high):
        return ""
    # Spaces that do not break: the two ends stay on one line.
    return f"{number(low, digits)}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{number(high, digits)}"


def yes(value: Any) -> str:
    """A truth value in words."""
    return DASH if pd.isna(value) else "yes" if is_true(value) else "no"


def is_true(value: Any) -> bool:
    """True for True and 'True', as CSV columns with gaps hold them."""
    return str(value).strip().lower() in ("true", "1", "1.0")


def plural(amount: int, noun: str, nouns: str | None = None) -> str:
    """'1 image', '2 images', '4,000 images'."""
    return f"{amount:,} {noun if amount == 1 else nouns or noun + 's'}"


def percent(share: float) -> str:
    """'12%'; never 0% for some nor 100% for not all."""
    if 0 < share < 0.01 or 0.99 < share < 1:
        return "less than 1%" if share < 0.5 else "more than 99%"
    return f"{100 * share:.0f}%"


def listed(items: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'; 'stacking, top 2; majority vote, top 2; and c'."""
    items = [str(item) for item in items]
    if len(items) < 2:
        return "".join(items)
    if len(items) > 2 and any(", " in item for item in items):
        return f"{'; '.join(items[:-1])}; and {items[-1]}"
    return f"{', '.join(items[:-1])} and {items[-1]}"


@dataclass(frozen=True)
class Cell:
    """One cell: what is read and, if that does not sort, what it is sorted by."""

    text: str | Markup
    sort: str | None = None


@dataclass(frozen=True)
class Column:
    """How one column of a frame is shown."""

    key: str
    label: str
    show: Callable[[Any], str] | None = None  # None: text as it is
    code: bool = False  # names that the machine knows, set in a fixed-width face
    help: str = ""
    wordy: bool = False  # holds sentences
    model: bool = False  # names models, or losses for all their runs: they may bear a mark
    more: bool = False  # shown after a click only

    @property
    def numeric(self) -> bool:
        return self.show is not None and self.show is not yes


@dataclass
class Table:
    """A table with its caption. `rows` hold cells in the order of `columns`."""

    id: str
    title: str
    caption: str | Markup
    columns: list[Column]
    rows: list[list[Cell]]
    source: str = ""  # file the numbers come from, below the results folder
    shown: int = ROWS_SHOWN  # rows that the script leaves of a long table
    kind: str = "table"
    folded: bool = False  # wholly inside a fold, whatever its length
    how: str | Markup = ""  # how to read it, inside a fold
    number: int = 0  # among the tables of the page
    note: str | Markup = ""  # what marks beside names mean

    @property
    def long(self) -> bool:
        return not self.folded and len(self.rows) >= max(LONG_TABLE, self.shown + 1)


@dataclass
class Figure:
    """A drawing with its caption."""

    id: str
    title: str
    caption: str | Markup
    picture: Picture
    source: str  # its file below the results folder
    how: str | Markup = ""  # how to read it, inside a fold
    supplement: bool = False  # left out of paper, where not all is printed
    kind: str = "figure"
    number: int = 0  # among the figures of the page


@dataclass
class Gallery:
    """Many figures of one kind: a few are shown, the others are folded away."""

    title: str
    shown: list[Figure]
    folded: list[Figure]
    kind: str = "gallery"


@dataclass
class Text:
    """Paragraphs."""

    paragraphs: list[str | Markup]
    kind: str = "text"


@dataclass
class Heading:
    """A heading inside a section."""

    title: str
    kind: str = "heading"


@dataclass
class Bullets:
    """A list; `ordered` for references."""

    entries: list[str | Markup]
    ordered: bool = False
    kind: str = "bullets"


@dataclass
class Note:
    """A boxed remark: 'missing' for a step that this study leaves out, 'warning', 'verdict'."""

    text: str | Markup
    level: str = "missing"
    kind: str = "note"


@dataclass
class Code:
    """Text in a fixed-width face, folded away."""

    title: str
    text: str
    kind: str = "code"


@dataclass
class Html:
    """What a template of a section says between its tables and figures."""

    text: Markup
    kind: str = "html"


Block = Table | Figure | Gallery | Text | Heading | Bullets | Note | Code | Html


@dataclass
class Section:
    """One part of the page; `finding` opens it. `exempt`: its content differs from run to run.

    `level`: `result`, `trust`, `paper` or `appendix`.
    """

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    exempt: bool = False
    finding: str | Markup = ""
    level: str = "appendix"


def sort_key(value: Any) -> str:
    """What a script sorts a numeric cell by; empty for nothing, which sorts last."""
    if value is None or pd.isna(value):
        return ""
    return f"{float(value):.10g}".replace("inf", "Infinity")


def code(name: str) -> Markup:
    """A name that the machine knows; it may break after its punctuation, long ones anywhere."""
    if len(name) > LONG_NAME:
        return Markup('<code class="long">{}</code>').format(name)
    pieces = [escape(piece) for piece in re.split(r"(?<=[_/-])", name)]
    return Markup("<code>{}</code>").format(Markup("<wbr>").join(pieces))


def mark(table: Table, names: Mapping[str, str], note: str | Markup) -> None:
    """Put a dagger beside those of the names that the table's columns of models hold.

    `names` gives for each name what a pointer on the dagger tells; `note` is shown below a
    table that got one.
    """
    signs = {
        code(name): Markup('<abbr title="{}">{}</abbr>').format(text, DAGGER)
        for name, text in names.items()
    }
    for place, column in enumerate(table.columns):
        if not column.model:
            continue
        for row in table.rows:
            text = Markup(row[place].text)
            for name, sign in signs.items():
                text = text.replace(name, name + sign)
            if text != row[place].text:
                row[place] = Cell(text, Markup(row[place].text).striptags())
                table.note = note


def value_cell(found: Any, show: Callable[[Any], str] = number, digits: int = 3) -> Cell:
    """A cell with a value and its interval that sorts by the value."""
    # On the screen a cell does not wrap, by its style; on paper it may, to be narrower.
    ends = interval(found.low, found.high, digits).replace("\N{NO-BREAK SPACE}", " ")
    text = Markup(' <span class="ci">({})</span>').format(ends) if ends else Markup("")
    return Cell(escape(show(found.value)) + text, sort_key(found.value))


def number_text(value: float | Sequence[float]) -> str:
    """A parameter as a config would have it: 2, 0.001, or a list [1, 0.5]."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(f'{one:g}' for one in value)}]"
    return f"{value:g}"


def metric_columns(metrics: Iterable[Metric]) -> list[Column]:
    """One column for each metric, under its title and with its help."""
    return [Column(m.name, m.title, number, help=m.help) for m in metrics]


def lowered(sentence: str) -> str:
    """A sentence within another: it begins with a small letter, unless it begins with a name."""
    name = sentence[1:2].isupper() or "-" in sentence.split(" ")[0]
    return sentence if name else sentence[:1].lower() + sentence[1:]


def table(
    id: str,
    title: str,
    caption: str | Markup,
    frame: pd.DataFrame,
    columns: Iterable[Column],
    **options: Any,
) -> Table:
    """A table of those columns that the frame has, in the order given.

    Columns of the frame that hold nothing at all are left out.
    """
    kept = [
        column
        for column in columns
        if column.key in frame.columns and (len(frame) == 0 or frame[column.key].notna().any())
    ]
    rows = []
    for record in frame.to_dict("records"):
        cells = []
        for column in kept:
            value = record[column.key]
            if isinstance(value, Cell):
                cells.append(value)
            elif column.show is None or column.show is yes:
                shown = column.show(value) if column.show else "" if pd.isna(value) else value
                shown = shown if isinstance(shown, Markup) else str(shown)
                cells.append(Cell(code(shown) if column.code and shown else shown))
            else:
                cells.append(Cell(column.show(value), sort_key(value)))
        rows.append(cells)
    kept = [
        replace(column, wordy=True)
        if not column.code
        and not column.numeric
        and any(len(Markup(row[place].text).striptags()) > LONG_TEXT for row in rows)
        else column
        for place, column in enumerate(kept)
    ]
    return Table(id, title, caption, kept, rows, **options)
