"""References within the page: 'Figure 3' is known once all sections are there."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from markupsafe import Markup, escape

from multiloss.figures import catalog
from multiloss.report import tables
from multiloss.report.blocks import Block, Figure, Gallery, Section, Table

_WORDS = {"figure": "Figure", "table": "Table"}
_MARK = re.compile("\x01(figure|table)-([^\x01]*)\x01")


def figure(name: str) -> Markup:
    """A reference to the figure `name` of the catalogue."""
    return Markup("\x01figure-{}\x01").format(name)


def table(name: str) -> Markup:
    """A reference to the table `name` of tables.yaml."""
    return Markup("\x01table-{}\x01").format(name)


def enumerate_blocks(sections: Iterable[Section]) -> None:
    """Number figures and tables, each kind from 1 on, in the order of the page."""
    counts = dict.fromkeys(_WORDS, 0)
    for block in _numbered(sections):
        counts[block.kind] += 1
        block.number = counts[block.kind]


def resolve(page: str, sections: Iterable[Section], titles: Mapping[str, str]) -> str:
    """The page with its references and DOIs as links; `titles`: of the figures, by name.

    What this page does not show is told by its title.
    """
    numbers = {(block.kind, _name(block)): block.number for block in _numbered(sections)}
    described = {name: str(entry["title"]) for name, entry in tables.described().items()}

    def link(found: re.Match[str]) -> str:
        kind, name = found.groups()
        if (kind, name) in numbers:
            return f'<a href="#{kind}-{name}">{_WORDS[kind]} {numbers[kind, name]}</a>'
        return str(escape((titles if kind == "figure" else described).get(name, name)))

    return with_dois(_MARK.sub(link, page))


# A link, or any other tag, or a DOI or number of arXiv in the text.
_DOI = re.compile(r"<a\b.*?</a>|<[^>]*>|\b(doi|arXiv):([\w./():;-]*\w)", re.DOTALL)


def with_dois(page: str) -> str:
    """The page with its DOIs and numbers of arXiv as links, the only ones that lead elsewhere."""

    def link(found: re.Match[str]) -> str:
        kind, name = found.groups()
        if kind is None or (kind == "doi" and not name.startswith("10.")):
            return found[0]
        doi = name if kind == "doi" else f"10.48550/arXiv.{name}"
        return f'<a href="https://doi.org/{doi}" rel="noreferrer">{found[0]}</a>'

    return _DOI.sub(link, page)


def titles(config: Mapping[str, Any]) -> dict[str, str]:
    """The titles of the study's figures by their names."""
    return {name: figure.title for name, figure in catalog.figures(config).items()}


def _name(block: Figure | Table) -> str:
    return block.id.removeprefix("figure-")


def _numbered(sections: Iterable[Section]) -> Iterator[Figure | Table]:
    def within(blocks: Iterable[Block]) -> Iterator[Figure | Table]:
        for block in blocks:
            if isinstance(block, Gallery):
                yield from within([*block.shown, *block.folded])
            elif isinstance(block, Figure | Table):
                yield block

    for section in sections:
        yield from within(section.blocks)
