"""External tests on the page: told in numbers where there are some, and nowhere else."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markupsafe import Markup
from multiloss.data.tables import external_split
from multiloss.figures import catalog, drawing
from multiloss.report import answer, checklist, methods, templates
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.results import Results
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


def section(facts: Facts, name: str = "external") -> Any:
    found = templates.sections(facts, Figures(facts), {})
    return next((own for own in found.values() if own.id == name), None)


def words(text: str) -> str:
    return " ".join(re.sub("<[^>]*>", "", str(text)).replace("\N{MINUS SIGN}", "-").split())


def test_the_first_sentence_is_the_table(facts: Facts, made: tuple[Path, dict[str, Any]]) -> None:
    table = pd.read_csv(made[0] / "tables/external.csv")
    chosen = facts.chosen("overall")
    row = table[(table["model"] == chosen) & (table["metric"] == "mcc")].iloc[0]
    assert row["difference_ci_high"] < 0
    told = section(facts)
    text = words(told.blocks[0].text)
    assert text.startswith(
        f"On the {facts.size(SPLIT)} of hospital-b the chosen model's MCC is {row['value']:.3f} "
        f"({row['ci_low']:.3f} to {row['ci_high']:.3f}), {-row['difference']:.3f} lower than on "
        f"the test split (95% interval {-row['difference_ci_high']:.3f} to "
        f"{-row['difference_ci_low']:.3f} lower)."
    )
    share = table[table["metric"] == "share_viral"].iloc[0]
    assert f"viral {100 * share['value']:.0f}% ({100 * share['test_value']:.0f}%)." in text
    compared = pd.read_csv(made[0] / "tables/external_comparisons.csv").iloc[0]
    side = "lower" if compared["difference"] < 0 else "higher"
    assert f"MCC is {abs(compared['difference']):.3f} {side} than the baseline's" in text
    assert text.count("secondary") == 1
    models = table["model"].nunique()
    assert len(told.blocks[-1].rows) == models * 12


def test_a_value_that_is_not_defined_says_why(
    facts: Facts, made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(made[0] / "tables/external.csv")
    own = table["metric"] == "mcc"
    table.loc[own, ["value", "ci_low", "ci_high", "difference"]] = float("nan")
    table.loc[own, "reason"] = "one class only is predicted"
    given = facts.results.table
    monkeypatch.setattr(
        facts.results, "table", lambda name: table if name == "tables/external.csv" else given(name)
    )
    text = words(section(facts).blocks[0].text)
    assert "chosen model's MCC is not defined: one class only is predicted." in text
    assert "nan" not in text


def test_what_is_said_elsewhere(facts: Facts) -> None:
    caveats = [words(text) for text in answer.answer(facts).caveats]
    told = "Performance elsewhere than in hospital-b, the external test, is unknown"
    assert any(text.startswith(told) for text in caveats)
    assert not any("another hospital" in text for text in caveats)
    text = methods._data(facts, lambda *_: Markup(""))
    assert "1 external test, without an image or known patient of the study, was" in text
    assert f"{SPLIT} {facts.size(SPLIT)}." in text
    # What was divided is the study.
    assert text.index(facts.size()) < text.index("were divided by patient")
    counted = sum(facts.images(split) for split in ("train", "val", "ensemble", "test"))
    assert facts.size().startswith(f"{counted} images")
    items = {item.topic: item for item in checklist.items(facts)}
    found = items["Testing on external data"]
    assert found.status == "answered" and f"{facts.size(SPLIT)} in hospital-b" in found.answer
    blocks = section(facts, "data").blocks
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
    size = facts.size(SPLIT)
    assert f"Test split, {facts.size('test')}; external: hospital-b, {size}." in told["external"]
    assert f"{SPLIT} {size}" in told["splits"]


def test_nothing_is_said_without_external_tests() -> None:
    config = configuration(losses=["focal", "hinge", "cce"])
    assert "external" not in catalog.figures(config)
    assert "External" not in catalog.figures(config)["splits"].caption
    facts = Facts(Results(Path("nowhere"), []), config)
    assert facts.external == [] and section(facts) is None
