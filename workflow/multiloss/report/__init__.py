"""The page that explains a study: one self-contained HTML file from its tables and figures."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiloss import __version__
from multiloss.data.sources import addresses
from multiloss.job.errors import UserError
from multiloss.report import (
    answer,
    checklist,
    faults,
    frame,
    methods,
    pages_data,
    pages_models,
    pages_record,
    pages_tests,
    references_to,
    templates,
)
from multiloss.report.blocks import Section, Table
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.results import Results

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
    figures = Figures(facts)
    # Sections that are templates stand between these by the number in their file's name.
    placed = {
        10: answer.section(facts),
        12: pages_models.singles(facts, figures),
        14: pages_models.ensembles(facts, figures),
        20: pages_tests.gradcam(facts, figures),
        30: pages_data.data(facts, figures),
        36: pages_models.training(facts, figures),
        38: pages_models.replicates(facts, figures),
        62: methods.section(facts),
        64: checklist.section(facts),
        66: methods.citation(facts, citation),
        80: pages_tests.significance(facts, figures),
        82: pages_models.diversity(facts, figures),
        86: pages_record.versions(facts.results, versions or {}, locked or {}),
    }
    if facts.study.segmented:
        placed[32] = pages_data.segmentation(facts, figures)
        placed[34] = pages_data.crops(facts, figures)
    record = {"configuration": pages_record.configuration(facts)}
    for place, section in placed.items():
        section.level = templates.level(place)
    record |= pages_record.run_times(facts.results.root)
    for place, section in templates.sections(facts, figures, record).items():
        if place in placed:
            raise UserError(
                f"report/sections: '{section.id}' has the number of '{placed[place].id}'"
            )
        placed[place] = section
    parts = [placed[place] for place in sorted(placed)]
    figures.show_rest(parts)
    blocks = [block for part in parts for block in part.blocks]
    faults.mark_all(facts, [block for block in blocks if isinstance(block, Table)])
    references_to.enumerate_blocks(parts)
    return parts


def build(
    results: Path,
    config: Mapping[str, Any],
    *,
    files: Iterable[str | Path] | None = None,
    versions: Mapping[str, str] | None = None,
    locked: Mapping[str, Sequence[str]] | None = None,
    citation: str = "",
) -> str:
    """The HTML text of the report of one study.

    `results` is the folder of the study, `config` the validated config with its defaults.
    `files` are the tables and figures that the study makes (paths as `results / name`); others
    in the folder are ignored, None takes all. `versions` are those of the packages that the
    analysis and this page are computed with, `locked` those of the lock file, both by package;
    the trainings' own lie beside their models. `citation` is the text of CITATION.cff.
    What is not there is said to be missing.
    The same inputs give the same text, but for the section on run times.
    Raises UserError for a damaged table or image.
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
        templates.environment(HERE)
        .get_template("page.html.j2")
        .render(
            study=config["study"],
            version=__version__,
            ensembles=bool(config["ensembles"]["methods"] and config["ensembles"]["top_k"]),
            sections=parts,
            **frame.around(parts, config, Results(results, files)),
        )
    )
    return references_to.resolve(text, parts, references_to.titles(config))
