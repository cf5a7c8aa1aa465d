"""External tests on the page: told in numbers where there are some, and nowhere else."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import report_studies
from multiloss.data.tables import external_split
from multiloss.figures import catalog, drawing
from multiloss.report import templates
from multiloss.report.blocks import Section
from multiloss.report.facts import Facts
from multiloss.report.results import Results
from multiloss.report.results import Table as Read
from synthetic_results import configuration, make, tables

SPLIT = external_split("hospital-b")
NEEDED = ["metrics", "degenerate", "operating_points", "external", "external_comparisons"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    study = make(
        tmp_path_factory.mktemp("external"),
        losses=["focal", "hinge", "cce"],
        test_images=110,
        gradcam=False,
        external=("hospital-b",),
        with_tables=False,
    )
    tables(study.results, study.config, 100, 999, NEEDED)
    return study.results, study.config


@pytest.fixture
def facts(made: tuple[Path, dict[str, Any]]) -> Facts:
    return Facts(Results(made[0], None), made[1])


def section(facts: Facts) -> Section:
    return report_studies.section(facts, "24_external")


def words(text: Any) -> str:
    return report_studies.words(text).replace("\N{MINUS SIGN}", "-")


def test_the_first_sentence_is_the_table(facts: Facts, made: tuple[Path, dict[str, Any]]) -> None:
    table = pd.read_csv(made[0] / "tables/external.csv")
    chosen = facts.chosen("overall")
    row = table[(table["model"] == chosen) & (table["metric"] == "mcc")].iloc[0]
    told = section(facts)
    assert words(told.finding) == (
        f"The MCC of {words(facts.label(chosen))}, the overall choice, is {row['value']:.2f} "
        f"(95% CI {row['ci_low']:.2f} to {row['ci_high']:.2f}) on hospital-b, against "
        f"{row['test_value']:.2f} on the test split."
    )
    text = words(told.blocks[0].text)
    assert text.startswith(
        f"hospital-b, {report_studies.size(facts, SPLIT)}: "
        f"difference from the test split {row['difference']:+.2f} "
        f"(95% CI {row['difference_ci_low']:.2f} to {row['difference_ci_high']:.2f})."
    )
    share = table[table["metric"] == "share_viral"].iloc[0]
    assert f"viral {100 * share['value']:.0f}% ({100 * share['test_value']:.0f}%)." in text
    compared = pd.read_csv(made[0] / "tables/external_comparisons.csv").iloc[0]
    assert f"Difference from the baseline there: {compared['difference']:+.2f} (" in text
    assert text.count("secondary") == 1
    models = table["model"].nunique()
    (shown,) = report_studies.tables_of(told).values()
    assert len(shown.rows) == models * 12
    assert [column.label for column in shown.columns if not column.more] == [
        "External test", "Model", "Metric", "External", "Test split", "Difference",
    ]  # fmt: skip


def test_a_value_that_is_not_defined_says_why(
    facts: Facts, made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(made[0] / "tables/external.csv")
    own = table["metric"] == "mcc"
    table.loc[own, ["value", "ci_low", "ci_high", "difference"]] = float("nan")
    table.loc[own, "reason"] = "one class only is predicted"
    given = facts.results.table
    stub = Read(table)

    def table(name: str, needed: tuple[str, ...] = ()) -> Read:
        return stub if name == "tables/external.csv" else given(name, needed)

    monkeypatch.setattr(facts.results, "table", table)
    text = words(section(facts).finding) + words(section(facts).blocks[0].text)
    assert "is not defined on hospital-b (one class only is predicted)" in text
    assert "nan" not in text


def test_what_is_said_elsewhere(facts: Facts) -> None:
    said = report_studies.said(report_studies.section(facts, "10_answer"))
    assert "Performance elsewhere than in hospital-b, the external test, is unknown" in said
    assert "another hospital" not in said
    text = templates.words("_methods.html.j2", "images", facts)
    assert "1 external test, without an image or known patient of the study, was" in text
    assert f"hospital-b {report_studies.size(facts, SPLIT)}." in text
    # What was divided is the study.
    assert text.index(report_studies.size(facts)) < text.index("were divided by patient")
    counted = sum(facts.images(split) for split in ("train", "val", "ensemble", "test"))
    assert report_studies.size(facts).startswith(f"{counted} images")
    found = report_studies.checklist_of(facts)["Testing on external data"]
    assert (
        found.status == "answered"
        and f"{report_studies.size(facts, SPLIT)} in hospital-b, evaluated" in (found.answer)
    )
    blocks = report_studies.section(facts, "30_data").blocks
    splits = next(block for block in blocks if getattr(block, "id", "") == "splits")
    assert [words(row[0].text) for row in splits.rows] == [
        "train",
        "val",
        "ensemble",
        "test",
        SPLIT,
    ]
    assert "decides nothing" in splits.rows[-1][1].text


def test_figures(made: tuple[Path, dict[str, Any]], facts: Facts, tmp_path: Path) -> None:
    results, config = made
    figures = catalog.figures(config)
    told = {}
    for name in ("external", "splits"):
        files = [tmp_path / f"{name}.{ending}" for ending in ("png", "svg", "json")]
        figure = figures[name]
        drawing.draw(figure.draw, figure.params, figure.files(results), config["figures"], *files)
        told[name] = files[2].read_text(encoding="utf-8")
    size = report_studies.size(facts, SPLIT)
    assert (
        f"Test split, {report_studies.size(facts, 'test')}; external: hospital-b, {size}."
        in told["external"]
    )
    assert f"; external: hospital-b {size}." in told["splits"]


def test_nothing_is_said_without_external_tests() -> None:
    config = configuration(losses=["focal", "hinge", "cce"])
    assert "external" not in catalog.figures(config)
    assert "External" not in catalog.figures(config)["splits"].caption
    facts = Facts(Results(Path("nowhere"), []), config)
    assert facts.external == [] and section(facts).blocks == []
