"""Sections of the page that are templates: one file in `sections/`, found by being there.

`sections/26_prevalence.html.j2` is the section `prevalence`; the number is its place among the
others and gives its level (`LEVELS`). It sets `title`, and `finding`: what it found, in one
sentence that is computed; it opens the section. It sets `varies = true` where it differs from run
to run. What it may use:

- `config`, `facts` (`report.facts.Facts`) and what the page was built with (`build`);
- `rows(path)`: a table of the study as a list of mappings, empty where there is none;
- `table(name, rows)`: a table that tables.yaml describes; without `rows`, all rows of its file;
- `figures(category)`: the figures of a category of the catalogue, `figure(name)` one of them;
- `figure_ref(name)`, `table_ref(name)`: 'Figure 3', as a link; its title where it is not shown;
- `name(model)`, `names(models)`: models in words, marked where they tell no classes apart;
- `estimate(value, low, high)`: a cell with a value and its interval;
- `term(key)`, `term(key, words)`: a term of glossary.yaml, explained where a reader asks for it;
- `cited(key)`: an entry of references.yaml in words;
- `calibration`: what the tables of calibration say (`report.calibration.Calibration`);
- `note(text, level)`, `code(title, text)`; the filters `number`, `signed`, `count`, `plural`,
  `listed`.

Words to copy in several formats stand in `<div class="copies" data-name="methods">`, each format
in a `<pre data-copy="LaTeX" data-file="methods.tex">` of its own: the script makes tabs and buttons
of them. DOIs (`doi:10...`) become links by themselves.

Files that begin with `_` hold what several sections say, as macros. A section that says nothing is
left out. Undefined names are errors.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from multiloss import references
from multiloss.job.errors import UserError
from multiloss.report import blocks, glossary, references_to, tables
from multiloss.report.blocks import Block, Cell, Code, Column, Html, Note, Section
from multiloss.report.calibration import Calibration
from multiloss.report.facts import Estimate, Facts
from multiloss.report.figures import Figures
from multiloss.report.names import Names

FOLDER = Path(__file__).parent / "sections"
ENDING = ".html.j2"
_NAME = re.compile(rf"(?P<place>\d+)_(?P<name>\w+){re.escape(ENDING)}")
# By the first number that no longer belongs to it; the page has the words of each.
LEVELS = {30: "result", 60: "trust", 80: "paper", 100: "appendix"}
# Where a block stands in the text that a template gives.
_PLACE = re.compile(r"\x00(\d+)\x00")
_MODELS = ("model", "ensemble", "loss", "variant", "member")


def environment(folder: Path) -> jinja2.Environment:
    """Jinja as the page uses it: names are escaped, and undefined ones are errors."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "number": blocks.number,
        "signed": blocks.signed,
        "count": blocks.count,
        "plural": blocks.plural,
        "listed": blocks.listed,
        "css_string": css_string,
    }
    return made


def css_string(text: str) -> Markup:
    """A string of CSS: what is neither letter nor digit by its code point."""
    plain = (c if c.isascii() and c.isalnum() else f"\\{ord(c):x} " for c in text)
    return Markup('"{}"').format(Markup("".join(plain)))


def sections(facts: Facts, figures: Figures, given: Mapping[str, Any]) -> dict[int, Section]:
    """The sections that are templates, by their place; `given`: further names for them.

    Raises UserError naming the file of a template that cannot be shown.
    """
    made = environment(FOLDER)
    found: dict[int, Section] = {}
    for path in sorted(FOLDER.glob(f"[!_]*{ENDING}")):
        named = _NAME.fullmatch(path.name)
        if not named:
            raise UserError(f"report/sections/{path.name}: the name is not NUMBER_name{ENDING}")
        taken = _Taken(facts, figures, made, given)
        try:
            module = made.get_template(path.name).make_module(taken.known)
        except jinja2.TemplateError as error:
            raise UserError(f"report/sections/{path.name}: {error}") from None
        if not hasattr(module, "title"):
            raise UserError(f"report/sections/{path.name}: it sets no `title`")
        content = taken.blocks(str(module))
        place = int(named["place"])
        if place in found:
            raise UserError(f"report/sections/{path.name}: '{found[place].id}' has this number")
        if content:
            varies = bool(getattr(module, "varies", False))
            found[place] = Section(
                named["name"],
                module.title,
                content,
                exempt=varies,
                finding=Markup(str(getattr(module, "finding", "")).strip()),
                level=level(place),
            )
    return found


def level(place: int) -> str:
    """The level of the page that the section with this number belongs to."""
    return next(name for end, name in LEVELS.items() if place < end)


class _Taken:
    """The blocks that one template asks for, in its order."""

    def __init__(
        self,
        facts: Facts,
        figures: Figures,
        environment: jinja2.Environment,
        given: Mapping[str, Any],
    ) -> None:
        self._facts, self._figures, self._environment = facts, figures, environment
        self._blocks: list[Block] = []
        self._names = Names(facts)
        self.known = {**given, **self._offered()}

    def _offered(self) -> dict[str, Any]:
        return {
            "config": self._facts.config,
            "calibration": Calibration(self._facts),
            "facts": self._facts,
            "rows": self.rows,
            "table": self.table,
            "estimate": lambda *ends: blocks.value_cell(Estimate(*ends)),
            "cited": references.cited,
            "figures": lambda category: self._put(*self._figures.of(category)),
            "figure": lambda *names: self._put(*self._figures.take(*names)),
            "figure_ref": lambda name: references_to.figure(name),
            "table_ref": lambda name: references_to.table(name),
            "name": self._names,
            "names": self._names.listed,
            "glossary": glossary.known(),
            "term": glossary.term,
            "note": lambda text, level="missing": self._put(Note(text, level)),
            "code": lambda title, text: self._put(Code(title, text)),
        }

    def rows(self, path: str) -> list[dict[str, Any]]:
        return self._facts.results.table(path).to_dict("records")

    def table(
        self,
        data: str,
        columns: Mapping[str, str] | list[dict[str, Any]] | None = None,
        title: str = "",
        caption: str = "",
        source: str = "",
        folded: bool = False,
    ) -> Markup:
        if not isinstance(columns, Mapping):
            frame = None if columns is None else pd.DataFrame(columns)
            read = self._facts.results.table
            return self._put(
                tables.make(data, frame, read, self._names, self._environment, self.known)
            )
        if isinstance(data, str):
            source, data = source or data, self.rows(data)
        frame = pd.DataFrame(data, columns=list(columns))
        name = f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}-table"
        shown = [_column(key, label, frame[key]) for key, label in columns.items()]
        return self._put(
            blocks.table(name, title, caption, frame, shown, source=source, folded=folded)
        )

    def _put(self, *added: Block) -> Markup:
        first = len(self._blocks)
        self._blocks += added
        return Markup("".join(f"\0{first + number}\0" for number in range(len(added))))

    def blocks(self, text: str) -> list[Block]:
        """What the template gave, in parts: its own text, and the blocks between."""
        parts: list[Block] = []
        for number, part in enumerate(_PLACE.split(text)):
            if number % 2:
                parts.append(self._blocks[int(part)])
            elif part.strip():
                parts.append(Html(Markup(part)))
        return parts


def _column(key: str, label: str, values: pd.Series) -> Column:
    """How a column is shown, by what it holds."""
    if key in _MODELS:
        return Column(key, label, code=True, model=True)
    cells = values.map(lambda value: isinstance(value, Cell)).any()
    if not cells and not pd.api.types.is_numeric_dtype(values):
        return Column(key, label)
    whole = not cells and (values.dropna() == values.dropna().round()).all()
    return Column(key, label, blocks.count if whole else blocks.number)
