"""The page that explains a study: one self-contained HTML file from its tables and figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from multiloss import __version__
from multiloss.data.sources import addresses
from multiloss.report import frame, references_to, templates
from multiloss.report.blocks import Note, Section
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.methods import Citation
from multiloss.report.results import Results
from multiloss.report.software import Software

HERE = Path(__file__).parent


def sections(
    results: Path,
    config: Mapping[str, Any],
    *,
    files: Iterable[str | Path] | None = None,
    versions: Mapping[str, str] | None = None,
    locked: Mapping[str, Sequence[str]] | None = None,
    citation: str = "",
) -> list[Section]:
    """The parts of the page in the order of the study; arguments as for `build`."""
    facts = Facts(Results(results, files), addresses.without_secrets(config))
    facts.results.need_rows(facts.decisive)
    figures = Figures(facts)
    given = {
        "software": Software(facts.results, versions or {}, locked or {}),
        "citation": Citation(citation),
    }
    parts = templates.sections(facts, figures, given)
    if facts.results.bare:
        parts[0].blocks.append(Note(templates.words("study.html.j2", "bare", facts)))
    figures.show_rest(parts)
    references_to.enumerate_blocks(parts)
    return parts


@dataclass(frozen=True)
class Report:
    """The page, and its finding as one line of plain text."""

    page: str
    finding: str


def build(
    results: Path,
    config: Mapping[str, Any],
    *,
    files: Iterable[str | Path] | None = None,
    versions: Mapping[str, str] | None = None,
    locked: Mapping[str, Sequence[str]] | None = None,
    citation: str = "",
) -> str:
    """The page alone; as `write`."""
    given = {"files": files, "versions": versions, "locked": locked, "citation": citation}
    return write(results, config, **given).page


def write(
    results: Path,
    config: Mapping[str, Any],
    *,
    files: Iterable[str | Path] | None = None,
    versions: Mapping[str, str] | None = None,
    locked: Mapping[str, Sequence[str]] | None = None,
    citation: str = "",
) -> Report:
    """The report of one study: the HTML text of its page, and its finding.

    `results` is the folder of the study, `config` the validated config with its defaults.
    `files` are the tables and figures that the study makes (paths as `results / name`); others
    in the folder are ignored, None takes all. `versions` are those of the packages that the
    analysis and this page are computed with, `locked` those of the lock file, both by package;
    the trainings' own lie beside their models. `citation` is the text of CITATION.cff.
    What the study does not make, and a table without rows, is said to be missing.
    The same inputs give the same text, but for the section on run times.
    Raises UserError for a damaged table or image, one of `files` that is not there, and a table
    without the rows that the answer rests on.
    """
    parts = sections(
        Path(results),
        config,
        files=files,
        versions=versions,
        locked=locked,
        citation=citation,
    )
    text = (
        templates.of_page(HERE)
        .get_template("page.html.j2")
        .render(
            study=config["study"],
            version=__version__,
            ensembles=bool(config["ensembles"]["methods"] and config["ensembles"]["top_k"]),
            sections=parts,
            **frame.around(parts, config, Results(results, files)),
        )
    )
    page = references_to.resolve(text, parts, references_to.titles(config))
    return Report(page, Markup(parts[0].finding).striptags())
