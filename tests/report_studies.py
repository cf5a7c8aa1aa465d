"""Made-up studies whose statistics are computed by the real modules, for tests of the report."""

import copy
import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from multiloss import predictions
from multiloss import study as identity
from multiloss.job.files import write_csv
from multiloss.report import checklist, templates
from multiloss.report.blocks import Section, Table
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.methods import Citation
from multiloss.report.results import Results
from multiloss.report.results import Table as Read
from multiloss.report.software import Software
from synthetic_results import Study, tables

CITATION = (Path(__file__).resolve().parents[1] / "CITATION.cff").read_text(encoding="utf-8")
VERSIONS = {"python": "3.11.7", "numpy": "2.3.1"}


def facts_of(results: Path, config: dict[str, Any], **replaced: pd.DataFrame) -> Facts:
    """A study's facts, some of its tables (by the names of their files) replaced."""
    read = Results(results)
    found = read.table

    def table(name: str, needed: Iterable[str] = ()) -> Read:
        if Path(name).stem not in replaced:
            return found(name, needed)
        given = Read(replaced[Path(name).stem])
        given.file = results / name
        return given

    read.table = table  # type: ignore[method-assign]
    return Facts(read, config)


def sections(facts: Facts) -> dict[str, Section]:
    """All sections of a study by their names, in the order of the page."""
    given = {"software": Software(facts.results, {}, {}), "citation": Citation("")}
    return {own.id: own for own in templates.sections(facts, Figures(facts), given)}


def section(facts: Facts, file: str, **given: Any) -> Section:
    """The section of one template, `NUMBER_name`."""
    return templates.section(f"{file}{templates.ENDING}", facts, Figures(facts), given)


def size(facts: Facts, split: str | None = None) -> str:
    """Images and patients of a split, or of the study, as the page says it."""
    return str(templates.words("study.html.j2", "size", facts, split))


def words(text: Any) -> str:
    """Text without its tags, with single blanks."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", str(text))).split())


def said(found: Section) -> str:
    """What a section says outside its tables and figures, the finding first."""
    return words(" ".join([str(found.finding), *(getattr(b, "text", "") for b in found.blocks)]))


def tables_of(found: Section) -> dict[str, Table]:
    """The tables of a section by their names."""
    return {block.id: block for block in found.blocks if isinstance(block, Table)}


def cells(table: Table, column: str) -> list[str]:
    """The words in one column of a table, by its label."""
    place = [one.label for one in table.columns].index(column)
    return [words(row[place].text) for row in table.rows]


def checklist_of(facts: Facts) -> dict[str, checklist.Item]:
    """The items of the reporting checklists by topic."""
    environment = templates.environment(templates.FOLDER)
    found = checklist.items(facts, environment, templates.in_words(facts, environment))
    return {item.topic: item for item in found}


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a made-up study as the report gets it."""
    return copy.deepcopy(config)


def statistics(study: Study, config: dict[str, Any]) -> dict[str, Any]:
    """Add further seeds, and compute the tables of them all; returns the study's config."""
    config = complete(config)
    config["ensembles"]["seed_ensemble"]["further_seeds"] = True
    results, classes = study.results, config["classes"]
    planned = identity.Study(config)
    text = identity.models_text(planned.models.values())
    (results / "data" / "models.csv").write_text(text, encoding="utf-8")
    paths = {name: results / "predictions" / f"{name}.csv" for name in planned.models}
    members = [pd.read_csv(results / "ensembles" / "members.csv")]
    for number, model in enumerate(planned.models.values()):
        if model.kind == "seed":
            found = predictions.read([paths[planned.run(model.variant, 0).name]], classes)
            other = np.exp(np.random.default_rng(number).normal(0, 0.5, found.p[0].shape))
            p = found.p[0] * other / (found.p[0] * other).sum(axis=1, keepdims=True)
            write_csv(predictions.table(found.rows, p, found.classes), paths[model.name])
        if model.kind == "seed_ensemble":
            found = predictions.read([paths[member] for member in model.members], classes)
            averaged = predictions.table(found.rows, found.p.mean(axis=0), found.classes)
            write_csv(averaged, paths[model.name])
            rows = {"ensemble": model.name, "method": model.method, "k": model.k}
            more = pd.DataFrame(rows | {"member": model.members, "rank": range(1, model.k + 1)})
            members.append(more)
    write_csv(pd.concat(members).drop_duplicates(["ensemble", "member"]),
              results / "ensembles" / "members.csv")  # fmt: skip
    tables(results, config, 100, 1000)
    return config
