"""Tables as tables.yaml describes them: values with intervals, several models, further metrics."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markupsafe import Markup
from multiloss.report import blocks, tables, templates
from multiloss.report.blocks import DASH, Table
from multiloss.report.facts import Estimate
from multiloss.statistics import metrics


class Plain:
    """Names that are themselves."""

    alpha = 0.05

    def __call__(self, name: str) -> Markup:
        return Markup("<i>{}</i>").format(name)

    def label(self, name: str) -> str:
        return name

    def listed(self, names: list[str]) -> Markup:
        return Markup(" and ").join(map(self, names))


def made(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], **entry: Any) -> Table:
    described = {"t": {"title": "T", **entry}}
    monkeypatch.setattr(tables, "described", lambda: described)
    environment = templates.environment(templates.FOLDER)
    return tables.make("t", pd.DataFrame(rows), lambda name: rows, Plain(), environment, {})


def test_values_bring_their_own_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    rows = [
        {"a": Estimate(0.5, 0.25, 0.75), "b": Estimate(-0.1, -0.2, 0.0), "c": nothing, "d": 0.1},
        {"a": nothing, "b": None, "c": None, "d": 0.2},
    ]
    columns = {
        "a": {"label": "A", "as": "estimate"},
        "b": {"label": "B", "as": "difference", "digits": 2},
        "c": {"label": "C", "as": "estimate"},
        "d": {"label": "D", "as": "estimate", "low": "l", "high": "h"},
    }
    table = made(monkeypatch, rows, columns=columns)
    # A column that holds nothing is left out.
    assert [column.key for column in table.columns] == ["a", "b", "d"]
    first, second = table.rows
    assert Markup(first[0].text).striptags() == "0.500 (0.250 to 0.750)"
    assert Markup(first[1].text).striptags() == "\N{MINUS SIGN}0.10 (\N{MINUS SIGN}0.20 to 0.00)"
    assert (first[0].sort, second[0].text, second[0].sort) == ("0.5", DASH, "")
    assert Markup(first[2].text).striptags() == "0.100"


def test_numbers_take_the_columns_of_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": 0.5, "l": 0.25, "h": 0.75}]
    columns = {"a": {"label": "A", "as": "estimate", "low": "l", "high": "h"}}
    ((cell,),) = made(monkeypatch, rows, columns=columns).rows
    assert Markup(cell.text).striptags() == "0.500 (0.250 to 0.750)"


def test_a_column_may_name_several_models(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"m": ["b", "a"]}, {"m": []}, {"m": "c"}, {"m": ""}]
    table = made(monkeypatch, rows, columns={"m": {"label": "M", "as": "model"}})
    texts = [str(row[0].text) for row in table.rows]
    assert texts == ["<i>b</i> and <i>a</i>", "", "<i>c</i>", ""]
    assert table.rows[0][0].sort == "b, a"


def test_metrics_that_are_not_listed_are_further_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{name: Estimate(0.5, 0.4, 0.6) for name in metrics.shown(metrics.MACRO)}]
    columns = {"recall_macro": {"label": "Mean recall", "as": "estimate"}}
    table = made(monkeypatch, rows, columns=columns, metrics=["main", "macro"])
    first, *others = table.columns
    assert (first.label, first.more) == ("Mean recall", False)
    assert [column.key for column in others] == [
        name for name in metrics.shown(metrics.MACRO) if name != "recall_macro"
    ]
    for column in others:
        known = metrics.METRICS[column.key]
        assert (column.label, column.help, column.more) == (known.title, known.help, True)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b, c"], "a and b, c"),
        (["a", "b", "c"], "a, b and c"),
        (["stacking, top 2", "vote, top 2", "focal"], "stacking, top 2; vote, top 2; and focal"),
    ],
)
def test_items_with_commas_are_told_apart(items: list[str], said: str) -> None:
    assert blocks.listed(items) == said


def test_a_caption_stands_once() -> None:
    """What Snakemake's own report says of a file are its columns, not the page's captions."""

    def runs_of_words(path: Path, length: int = 8) -> set[tuple[str, ...]]:
        text = re.sub(r"{%.*?%}|{{.*?}}", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        words = re.findall(r"[a-z0-9]+", text.lower())
        return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}

    report = Path(tables.__file__).parent
    page = runs_of_words(report / "tables.yaml")
    files = sorted((report.parents[1] / "report").glob("*.rst"))
    assert len(files) > 20
    for file in files:
        assert not page & runs_of_words(file), file.name
