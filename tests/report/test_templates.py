"""Sections of the report that are templates: found by being there, placed by their numbers."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from multiloss.job.errors import UserError
from multiloss.report import results, templates
from multiloss.report.blocks import Html, Note, Section, Table

RANKS = pd.DataFrame({"model": ["b-r0", "a-r0"], "mcc": [0.25, 0.5], "n": [3, 12], "why": "<b>"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(templates, "FOLDER", tmp_path)
    return tmp_path


def sections(folder: Path, **files: str) -> dict[int, Section]:
    for name, text in files.items():
        (folder / f"{name.strip('_')}.html.j2").write_text(text, encoding="utf-8")
    known = {"tables/rank.csv": results.Table(RANKS)}
    read = SimpleNamespace(table=lambda name: known.get(name, results.Table()))
    facts = SimpleNamespace(config={"study": "a & b"}, results=read)
    figures = SimpleNamespace(of=lambda category: [Note(f"figures of {category}")])
    return templates.sections(facts, figures, {"given": 7})


def test_text_and_blocks_keep_their_order(folder: Path) -> None:
    found = sections(
        folder,
        _40_ranks="""
{% set title = "Ranks of " ~ config.study %}
<p>{{ config.study }}, {{ given }}, {{ 1234 | plural("image") }}, {{ -0.5 | number(1) }}</p>
{{ table("tables/rank.csv", {"model": "Model", "mcc": "MCC", "n": "n", "why": "Why"}, "Ranks") }}
<p>between</p>{{ figures("Extra") }}{{ note("<i>", "warning") }}
""",
        _35_times='{% set title = "T" %}{% set varies = true %}{{ code("All", "x") }}',
    )
    assert list(found) == [35, 40]
    assert (found[35].id, found[35].exempt, found[40].exempt) == ("times", True, False)
    assert (found[40].id, found[40].title) == ("ranks", "Ranks of a & b")
    first, table, second, third, last = found[40].blocks
    assert isinstance(first, Html)
    assert first.text.strip() == "<p>a &amp; b, 7, 1,234 images, \N{MINUS SIGN}0.5</p>"
    assert isinstance(table, Table)
    assert [column.label for column in table.columns] == ["Model", "MCC", "n", "Why"]
    assert [[cell.sort for cell in row] for row in table.rows] == [
        [None, "0.25", "3", None],
        [None, "0.5", "12", None],
    ]
    assert [row[1].text for row in table.rows] == ["0.250", "0.500"]
    assert [row[2].text for row in table.rows] == ["3", "12"]
    assert (table.source, table.columns[0].model) == ("tables/rank.csv", True)
    assert second.text.strip() == "<p>between</p>"
    assert (third.text, last.text, last.level) == ("figures of Extra", "<i>", "warning")


def test_what_says_nothing_is_no_section(folder: Path) -> None:
    text = '{% set title = "None" %}{% if rows("tables/none.csv") %}<p>x</p>{% endif %}'
    assert sections(folder, _10_none=text) == {}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"_10_a": '{% set title = "A" %}{{ unknown }}'}, "10_a.html.j2: 'unknown' is undefined"),
        ({"_10_a": "{% set title = %}"}, "10_a.html.j2: Expected an expression"),
        ({"_10_a": "<p>x</p>"}, "10_a.html.j2: it sets no `title`"),
        ({"answer": '{% set title = "A" %}x'}, "answer.html.j2: the name is not NUMBER_name"),
        (
            {"_10_a": '{% set title = "A" %}x', "_10_b": '{% set title = "B" %}x'},
            "10_b.html.j2: 'a' has this number",
        ),
    ],
)
def test_faults_name_the_file(folder: Path, files: dict[str, str], told: str) -> None:
    with pytest.raises(UserError) as error:
        sections(folder, **files)
    assert str(error.value).startswith("report/sections/")
    assert told in str(error.value)
