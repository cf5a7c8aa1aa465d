"""The page that explains a study: one self-contained HTML file from its tables and figures."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from multiloss import __version__, addresses
from multiloss.report import (
    answer,
    checklist,
    faults,
    methods,
    pages_data,
    pages_models,
    pages_record,
    pages_tests,
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
    rule_edges: Iterable[tuple[str, str]] = (),
    versions: Mapping[str, str] | None = None,
    locked: Mapping[str, Sequence[str]] | None = None,
) -> list[Section]:
    """The parts of the page in the order of the study; arguments as for `build`."""
    facts = Facts(Results(results, files), addresses.without_secrets(config))
    figures = Figures(facts)
    parts = [
        answer.section(facts),
        pages_data.data(facts, figures),
        *(pages_data.lungs(facts, figures) if facts.study.segmented else []),
        pages_models.training(facts, figures),
        pages_models.singles(facts, figures),
        pages_models.ensembles(facts, figures),
        pages_tests.significance(facts, figures),
        pages_tests.calibration(facts, figures),
        pages_tests.optimism(facts, figures),
        pages_models.replicates(facts, figures),
        pages_models.diversity(facts, figures),
        pages_tests.gradcam(facts, figures),
        pages_record.configuration(facts),
        pages_record.versions(facts.results, versions or {}, locked or {}),
        pages_record.rules(rule_edges),
        pages_record.run_times(facts.results.root, figures),
        checklist.section(facts),
        methods.section(facts),
        methods.citation(facts),
    ]
    blocks = [block for part in parts for block in part.blocks]
    faults.mark_all(facts, [block for block in blocks if isinstance(block, Table)])
    return parts


def build(
    results: Path,
    config: Mapping[str, Any],
    *,
    files: Iterable[str | Path] | None = None,
    rule_edges: Iterable[tuple[str, str]] = (),
    versions: Mapping[str, str] | None = None,
    locked: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The HTML text of the report of one study.

    `results` is the folder of the study, `config` the validated config with its defaults.
    `files` are the tables and figures that the study makes (paths as `results / name`); others
    in the folder are ignored, None takes all. `rule_edges` are pairs (rule, rule it depends
    on); `versions` are those of the packages that the analysis and this page are computed with,
    `locked` those of the lock file, both by package; the trainings' own lie beside their models.
    What is not there is said to be missing.
    The same inputs give the same text, but for the section on run times.
    Raises UserError for a damaged table or image.
    """
    parts = sections(
        Path(results),
        config,
        files=files,
        rule_edges=rule_edges,
        versions=versions,
        locked=locked,
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2").render(
        study=config["study"],
        version=__version__,
        ensembles=bool(config["ensembles"]["methods"] and config["ensembles"]["top_k"]),
        sections=parts,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )
