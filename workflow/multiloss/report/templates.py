"""Sections of the page that are templates: one file in `sections/`, found by being there.

`sections/26_prevalence.html.j2` is the section `prevalence`; the number is its place among the
others and gives its level (`LEVELS`). It sets `title`, and `finding`: what it found, in one
sentence that is computed; it opens the section. It sets `varies = true` where it differs from run
to run. What it may use:

- `config`, `facts` (`report.facts.Facts`) and `software` (`report.software.Software`);
- `say.size(split)`, `say.losses()`, `say.shared()`, `say.chance()`, `say.setting(name, value)`: the
  study in words (`study.html.j2`);
- `rows(path)`: a table of the study as a list of mappings, empty where there is none;
- `table(name, rows, **words)`: a table that tables.yaml describes, with what its words need beside
  all this; without `rows`, all rows of its file;
- `figures(category)`: the figures of a category of the catalogue, `figure(name)` one of them;
  `gallery(title, category)`: those not shown yet, behind a fold;
- `figure_ref(name)`, `table_ref(name)`: 'Figure 3', as a link; its title where it is not shown;
- `name(model)`, `names(models)`: models in words, marked where they tell no classes apart;
- `estimate(value, low, high)`: a cell with a value and its interval; `cell(text)`: one with markup;
- `term(key)`, `term(key, words)`: a term of glossary.yaml, explained where a reader asks for it;
- `cited(key)`: an entry of references.yaml in words, `linked(text)`: text with its DOIs as links;
- `cited_text(text)`: paragraphs with numbered references, which `cite(*keys)` puts into them, in
  several formats (`report.citations.Cited`);
- `calibration`, `methods`: what tables and registries say of these (`report.calibration`,
  `report.methods`); `checklist()`: the items of the reporting checklists; `version` of multiloss;
- `family_label(family)`, `test_label(test)`, `corrections`: the words of the tables of tests;
- `data(name, value)`: a value for the page's script;
- `note(text, level)`, `code(title, text)`; the filters `number`, `signed`, `count`, `plural` (of a
  number or of what has a length), `percent`, `listed`, `sentence` (its first letter is capital),
  `lowered` (a sentence within another), `number_text` (a parameter of the config).

Words to copy in several formats stand in `<div class="copies" data-name="methods">`, each format
in a `<pre data-copy="LaTeX" data-file="methods.tex">` of its own: the script makes tabs and buttons
of them. DOIs (`doi:10...`) become links by themselves.

Files that begin with `_` hold what several sections say, as macros. A section that says nothing is
left out. Undefined names are errors.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from multiloss import __version__, references
from multiloss.evaluation import families
from multiloss.job.errors import UserError
from multiloss.report import blocks, checklist, citations, glossary, references_to, tables
from multiloss.report.blocks import Block, Cell, Code, Html, Note, Section
from multiloss.report.calibration import Calibration
from multiloss.report.facts import Estimate, Facts
from multiloss.report.figures import Figures
from multiloss.report.methods import Methods
from multiloss.report.names import Names
from multiloss.report.results import Record

HERE = Path(__file__).parent
FOLDER = HERE / "sections"
ENDING = ".html.j2"
_NAME = re.compile(rf"(?P<place>\d+)_(?P<name>\w+){re.escape(ENDING)}")
# By the first number that no longer belongs to it; the page has the words of each.
LEVELS = {30: "result", 60: "trust", 80: "paper", 100: "appendix"}
# Where a block stands in the text that a template gives.
_PLACE = re.compile(r"\x00(\d+)\x00")


@cache
def of_page(folder: Path) -> jinja2.Environment:
    """The environment of the page's own templates, each of which is compiled once."""
    return environment(folder)


def environment(folder: Path | Sequence[Path], escape: bool = True) -> jinja2.Environment:
    """Jinja as the page uses it: names are escaped, and undefined ones are errors.

    Of several folders the first that has a template gives it.
    """
    folders = [folder] if isinstance(folder, Path) else folder
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, HERE]),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "number": blocks.number,
        "percent": blocks.percent,
        "signed": blocks.signed,
        "count": blocks.count,
        "plural": lambda amount, *nouns: blocks.plural(
            amount if isinstance(amount, int | float) else len(amount), *nouns
        ),
        "sentence": lambda text: Markup(text[:1].upper()) + Markup(text[1:]),
        "listed": _listed,
        "lowered": blocks.lowered,
        "number_text": blocks.number_text,
        "css_string": css_string,
    }
    made.globals["dict"] = _dict
    return made


def _dict(given: Any = (), **more: Any) -> dict[str, Any]:
    """What `dict` makes; of a row of a file one that still names it."""
    made = dict(given, **more)
    return Record(made, given.file) if isinstance(given, Record) else made


def _listed(items: Iterable[Any]) -> str:
    """`blocks.listed`; what is markup stays so."""
    items = list(items)
    if not any(isinstance(item, Markup) for item in items):
        return blocks.listed(items)
    return Markup(blocks.listed([str(escape(item)) for item in items]))


def css_string(text: str) -> Markup:
    """A string of CSS: what is neither letter nor digit by its code point."""
    plain = (c if c.isascii() and c.isalnum() else f"\\{ord(c):x} " for c in text)
    return Markup('"{}"').format(Markup("".join(plain)))


def sections(facts: Facts, figures: Figures, given: Mapping[str, Any]) -> list[Section]:
    """The sections of the page in the order of their numbers; `given`: further names for them.

    Raises UserError naming the file of a template that cannot be shown.
    """
    found: dict[int, Section] = {}
    for path in sorted(FOLDER.glob(f"[!_]*{ENDING}")):
        named = _NAME.fullmatch(path.name)
        if not named:
            raise UserError(f"report/sections/{path.name}: the name is not NUMBER_name{ENDING}")
        place = int(named["place"])
        if place in found:
            raise UserError(f"report/sections/{path.name}: '{found[place].id}' has this number")
        found[place] = section(path.name, facts, figures, given)
    return [found[place] for place in sorted(found) if found[place].blocks]


def section(file: str, facts: Facts, figures: Figures, given: Mapping[str, Any]) -> Section:
    """The section of one template, `NUMBER_name.html.j2`; without blocks where it says nothing.

    Raises UserError naming a file that cannot be shown.
    """
    place, _, name = file.removesuffix(ENDING).partition("_")
    taken = _Taken(facts, figures, of_page(FOLDER), given)
    module = taken.module(file)
    if not hasattr(module, "title"):
        raise UserError(f"report/sections/{file}: it sets no `title`")
    return Section(
        name,
        module.title,
        taken.blocks(str(module)),
        exempt=bool(getattr(module, "varies", False)),
        finding=_sentence(str(getattr(module, "finding", ""))),
        level=level(int(place)),
    )


def in_words(facts: Facts, environment: jinja2.Environment) -> Any:
    """`say`: the study in words, the macros of `study.html.j2`."""
    return environment.get_template(f"study{ENDING}").make_module({"facts": facts})


def words(file: str, macro: str, facts: Facts, *arguments: Any) -> Markup:
    """What a macro of a template says, with single blanks between words."""
    taken = _Taken(facts, Figures(facts), of_page(FOLDER), {})
    return Markup(" ".join(getattr(taken.module(file), macro)(*arguments).split()))


def markdown(
    folder: Path | Sequence[Path],
    file: str,
    facts: Facts,
    filters: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> str:
    """The text of a template of Markdown, which knows what sections do; nothing is escaped.

    `given`: further names for it, and others for what sections know.
    """
    made = environment(folder, escape=False)
    made.filters |= filters
    taken = _Taken(facts, Figures(facts), made, {})
    taken.known |= {"name": facts.label, "cited": references.cited, **(given or {})}
    return str(taken.module(file))


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
        self._folder = Path(environment.loader.searchpath[0]).name  # type: ignore[union-attr]
        self.known = {**given, **self._offered()}
        self.known["say"] = in_words(facts, environment)

    def _offered(self) -> dict[str, Any]:
        return {
            "config": self._facts.config,
            "version": __version__,
            "corrections": families.CORRECTIONS,
            "family_label": lambda family: families.label(family, self._facts.unit),
            "test_label": families.test_label,
            "calibration": Calibration(self._facts),
            "methods": Methods(self._facts),
            "cite": citations.cite,
            "cited_text": citations.Cited.of,
            "linked": citations.linked,
            "facts": self._facts,
            "checklist": lambda: checklist.items(self._facts, self._environment, self.known["say"]),
            "cell": lambda text: Cell(text, Markup(text).striptags()),
            "rows": self.rows,
            "table": self.table,
            "estimate": lambda *ends: blocks.value_cell(Estimate(*ends)),
            "cited": lambda key: citations.linked(references.cited(key)),
            "figures": lambda category: self._put(*self._figures.of(category)),
            "figure": lambda *names: self._put(*self._figures.take(*names)),
            "gallery": lambda title, category: self._put(*self._figures.gallery(title, category)),
            "figure_ref": lambda name: references_to.figure(name),
            "table_ref": lambda name: references_to.table(name),
            "name": self._names,
            "names": self._names.listed,
            "data": _data,
            "glossary": glossary.known(),
            "term": glossary.term,
            "note": lambda text, level="missing": self._put(Note(text, level)),
            "code": lambda title, text: self._put(Code(title, text)),
        }

    def rows(self, path: str) -> list[Record]:
        return self._facts.results.table(path).records()

    def table(self, name: str, shown: list[dict[str, Any]] | None = None, **words: Any) -> Markup:
        frame = None if shown is None else pd.DataFrame(shown)
        # Rows as they stand in a file have every column that the table shows.
        for row in [row for row in shown or () if isinstance(row, Record)][:1]:
            for key in tables.needed(name):
                row[key]
        read = self._facts.results.table
        known = {**self.known, **words}
        return self._put(tables.make(name, frame, read, self._names, self._environment, known))

    def module(self, file: str) -> Any:
        """A template with what it sets. Raises UserError naming a file that is at fault."""
        try:
            return self._environment.get_template(file).make_module(self.known)
        except jinja2.TemplateError as error:
            raise UserError(f"report/{self._folder}/{file}: {error}") from None

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


def _sentence(markup: str) -> Markup:
    """Blanks made plain, and a capital letter first, behind any tags: names begin small."""
    text = " ".join(markup.split())
    return Markup(re.sub(r"^((?:<[^>]*>)*)([a-z])", lambda m: m[1] + m[2].upper(), text))


def _data(name: str, value: Any) -> Markup:
    """A value for the script, which finds it as the element `data-NAME`."""
    # Nothing in it can end the element.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Markup('<script type="application/json" id="data-{}">{}</script>').format(
        name, Markup(text)
    )
