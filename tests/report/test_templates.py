"""Sections of the report that are templates: found by being there, placed by their numbers."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from markupsafe import Markup
from multiloss.job.errors import UserError
from multiloss.report import references_to, tables, templates
from multiloss.report.blocks import Cell, Figure, Gallery, Html, Note, Section, Table
from multiloss.report.facts import Facts
from multiloss.report.names import Names
from multiloss.report.pictures import Picture
from multiloss.report.results import Results
from multiloss.report.results import Table as Read
from report_studies import cells, words
from synthetic_results import configuration

RANKS = pd.DataFrame(
    {"model": ["focal-r0", "cce-r0"], "mcc": [0.25, 0.5], "low": [0.1, None], "high": [0.4, None],
     "p": [0.0004, 0.0497], "n": [3, 1200], "won": [True, False], "why": ["<b>", None],
     "key": ["a_b", "c"], "none": [None, None]}
)  # fmt: skip
# Without its memory of the real file.
READ = tables.described.__wrapped__
DESCRIBED = """
ranks:
  file: tables/rank.csv
  title: Ranks of {{ config.study }}
  caption: n = {{ 1200 | count }}
  how: <b>Higher</b> is better than {{ config.study }}.
  columns:
    model: {label: Model, as: model, help: Which}
    mcc: {label: MCC, as: estimate, low: low, high: high, digits: 2}
    p: {label: p, as: p}
    n: n
    won: Won
    why: {label: Why, as: text}
    key: {label: Key, as: code, more: true}
    none: None
plain:
  title: Without a file
  folded: true
  columns: {a: A, b: {label: B, as: signed, digits: 1}, d: {label: D, as: difference}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "sections"
    made.mkdir()
    monkeypatch.setattr(templates, "FOLDER", made)
    described(DESCRIBED, made, monkeypatch)
    return made


def described(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tables.yaml with this text."""
    (folder / "tables.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(tables, "PATH", folder / "tables.yaml")
    monkeypatch.setattr(tables, "described", READ)


def study(ranks: pd.DataFrame = RANKS, **options: Any) -> Facts:
    """Facts of a study whose only table is the one of ranks."""
    config = configuration(losses=["cce", "focal"], ensembles=False, **options) | {"study": "a & b"}
    results = Results(Path("nowhere"), [])
    read = Read(ranks)
    read.file = Path("tables/rank.csv")
    results.table = lambda name, needed=(): read if name == "tables/rank.csv" else Read()
    return Facts(results, config)


def sections(folder: Path, facts: Facts | None = None, **files: str) -> dict[str, Section]:
    for name, text in files.items():
        (folder / f"{name.strip('_')}.html.j2").write_text(text, encoding="utf-8")
    figures = SimpleNamespace(of=lambda category: [Note(f"figures of {category}")])
    found = templates.sections(facts or study(), figures, {"given": 7})  # type: ignore[arg-type]
    return {own.id: own for own in found}


def shown(folder: Path, text: str, facts: Facts | None = None) -> Table:
    (section,) = sections(folder, facts, _20_a='{% set title = "A" %}' + text).values()
    (table,) = section.blocks
    assert isinstance(table, Table)
    return table


def test_text_and_blocks_keep_their_order(folder: Path) -> None:
    found = sections(
        folder,
        _40_ranks="""
{% set title = "Ranks of " ~ config.study %}
{% set finding %}<strong>{{ config.study }}</strong> was found. {% endset %}
<p>{{ config.study }}, {{ given }}, {{ 1234 | plural("image") }}, {{ -0.5 | number(1) }},
{{ 0.999 | percent }}</p>
{{ table("ranks") }}
<p>between</p>{{ figures("Extra") }}{{ note("<i>", "warning") }}
""",
        _35_times='{% set title = "T" %}{% set varies = true %}{{ code("All", "x") }}',
    )
    assert list(found) == ["times", "ranks"]
    times, ranks = found.values()
    assert (times.exempt, ranks.exempt) == (True, False)
    assert (ranks.title, ranks.level) == ("Ranks of a & b", "trust")
    assert ranks.finding == "<strong>A &amp; b</strong> was found."
    first, table, second, third, last = ranks.blocks
    assert isinstance(first, Html)
    assert words(first.text) == "a & b, 7, 1,234 images, \N{MINUS SIGN}0.5, more than 99%"
    assert isinstance(table, Table) and table.id == "ranks"
    assert second.text.strip() == "<p>between</p>"
    assert (third.text, last.text, last.level) == ("figures of Extra", "<i>", "warning")


def test_levels_follow_the_number() -> None:
    assert [templates.level(place) for place in (10, 29, 30, 59, 60, 79, 80, 99)] == [
        "result", "result", "trust", "trust", "paper", "paper", "appendix", "appendix",
    ]  # fmt: skip


def test_what_says_nothing_is_no_section(folder: Path) -> None:
    text = '{% set title = "None" %}{% if rows("tables/none.csv") %}<p>x</p>{% endif %}'
    assert sections(folder, _10_none=text) == {}


def test_files_with_an_underscore_are_shared_macros(folder: Path) -> None:
    (folder / "_own.html.j2").write_text(
        "{% macro said(n) %}{{ config.study }}   has {{ n }}\n<b>{% endmacro %}", encoding="utf-8"
    )
    found = sections(
        folder,
        _10_a='{% import "_own.html.j2" as o with context %}{% set title = "A" %}{{ o.said(2) }}',
    )
    assert found["a"].blocks[0].text == "a &amp; b   has 2\n<b>"
    assert templates.words("_own.html.j2", "said", study(), 3) == "a &amp; b has 3 <b>"


def test_a_table_is_shown_as_tables_yaml_describes_it(folder: Path) -> None:
    table = shown(folder, '{{ table("ranks") }}')
    assert (table.title, table.caption, table.source) == (
        "Ranks of a &amp; b",
        "n = 1,200",
        "tables/rank.csv",
    )
    assert table.how == "<b>Higher</b> is better than a &amp; b." and not table.folded
    # A column that holds nothing is left out.
    labels = ["Model", "MCC", "p", "n", "Won", "Why", "Key"]
    assert [column.label for column in table.columns] == labels
    assert [column.label for column in table.columns if column.more] == ["Key"]
    assert (table.columns[0].help, table.columns[0].model) == ("Which", True)
    assert cells(table, "Model") == ["focal loss", "cross-entropy"]
    assert 'data-model="focal-r0"' in table.rows[0][0].text
    assert cells(table, "MCC") == ["0.25 (0.10 to 0.40)", "0.50"]
    assert [row[1].sort for row in table.rows] == ["0.25", "0.5"]
    # Three digits would make it alpha.
    assert cells(table, "p") == ["< 0.001", "0.0497"]
    assert cells(table, "n") == ["3", "1,200"]
    assert cells(table, "Won") == ["yes", "no"]
    assert [row[5].text for row in table.rows] == ["<b>", ""]
    assert [row[6].text for row in table.rows] == [
        "<code>a_<wbr>b</code>",
        "<code>c</code>",
    ]


def test_rows_may_be_the_templates_own(folder: Path) -> None:
    rows = '[{"a": 1.5, "b": 0.25, "d": -0.5, "ci_low": -1, "ci_high": 0}, {"a": 2, "b": -1}]'
    table = shown(folder, '{{ table("plain", ' + rows + ") }}")
    assert (table.source, table.folded) == ("", True)
    assert cells(table, "A") == ["1.500", "2.000"]
    assert cells(table, "B") == ["+0.2", "\N{MINUS SIGN}1.0"]
    minus = "\N{MINUS SIGN}"
    assert cells(table, "D") == [f"{minus}0.500 ({minus}1.000 to 0.000)", "\N{EN DASH}"]
    assert shown(folder, '{{ table("plain", []) }}').rows == []


def test_a_column_of_models_may_hold_several_or_words(folder: Path) -> None:
    models = ["cce-r0;focal-r0", "the best of all", None]
    table = shown(folder, '{{ table("ranks") }}', study(RANKS.assign(model=[*models[:2]])))
    assert cells(table, "Model") == ["cross-entropy and focal loss", "the best of all"]
    table = shown(folder, '{{ table("ranks") }}', study(RANKS.assign(model=["cce-r0", None])))
    assert cells(table, "Model") == ["cross-entropy", ""]


def test_a_table_without_a_column_is_an_error_that_names_both(folder: Path) -> None:
    for column in ("mcc", "high", "model"):
        with pytest.raises(UserError) as error:
            shown(folder, '{{ table("ranks") }}', study(RANKS.drop(columns=column)))
        told = f"tables/rank.csv has no column '{column}': delete it and run again"
        assert str(error.value) == told
    text = '{% for row in rows("tables/rank.csv") %}{{ row.mmc }}{% endfor %}'
    with pytest.raises(UserError, match=r"tables/rank\.csv has no column 'mmc'"):
        shown(folder, text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"titel": "x"}, "table 'ranks' does not know 'titel'"),
        ({"columns": None}, "table 'ranks' lacks 'columns'"),
        ({"columns": {"n": {"label": "n", "digit": 2}}},
         "column 'n' of table 'ranks' does not know 'digit'"),
        ({"columns": {"n": {"label": "n", "as": "percent"}}},
         "column 'n' of table 'ranks' does not know 'percent'"),
    ],
    ids=["key", "lacking", "column-key", "kind"],
)  # fmt: skip
def test_faults_of_tables_yaml_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], told: str
) -> None:
    entries = copy.deepcopy(yaml.safe_load(DESCRIBED))
    entries["ranks"] |= change
    entries["ranks"] = {key: value for key, value in entries["ranks"].items() if value is not None}
    described(yaml.safe_dump(entries), folder, monkeypatch)
    with pytest.raises(UserError, match=r"^report/tables\.yaml: ") as error:
        shown(folder, '{{ table("ranks") }}')
    assert told in str(error.value)


def test_a_table_that_is_not_described_is_an_error(folder: Path) -> None:
    with pytest.raises(UserError, match=r"report/tables\.yaml: there is no table 'other'"):
        shown(folder, '{{ table("other") }}')


def test_every_entry_of_tables_yaml_is_shown_by_a_template() -> None:
    used = " ".join(path.read_text(encoding="utf-8") for path in templates.FOLDER.glob("*.j2"))
    for name, entry in tables.described().items():
        # The macro `undefined` shows a table by the name that it is given.
        assert f'table("{name}"' in used or re.search(rf'undefined\(.*"{name}"\)', used), name
        seen = [c for c in entry["columns"].values() if isinstance(c, str) or not c.get("more")]
        assert len(seen) <= 7, name


def test_models_are_named_in_words_and_marked() -> None:
    facts = study(replicates=1)
    assert words(Names(facts)("focal-r0")) == "focal loss"
    assert 'data-model="focal-r0" title="focal-r0"' in Names(facts)("focal-r0")
    facts.__dict__["faulty"] = frozenset({"cce-r0"})
    assert words(Names(facts)("cce-r0")) == "cross-entropy\N{DAGGER}"
    assert (
        words(Names(facts).listed(["cce-r0", "focal-r0"]))
        == "cross-entropy\N{DAGGER} and focal loss"
    )
    assert words(Names(facts).listed(["cce-r0"] * 3, most=2)).endswith("and 1 more")
    several = study(replicates=2)
    assert words(Names(several)("focal-r1")) == "focal loss (run 1)"
    assert words(Names(several)("focal")) == "focal loss"


def test_figures_and_tables_are_numbered_and_referred_to() -> None:
    def figure(name: str) -> Figure:
        return Figure(f"figure-{name}", name, "", Picture(Markup(""), 1, 1), "")

    def table(name: str) -> Table:
        return Table(name, name, "", [], [[Cell("1")]])

    gallery = Gallery("More", [figure("b")], [figure("c")])
    parts = [
        Section("one", "One", [figure("a"), table("t")]),
        Section("two", "Two", [gallery, table("u"), figure("d")]),
    ]
    references_to.enumerate_blocks(parts)
    numbers = [b.number for b in (parts[0].blocks[0], *gallery.shown, *gallery.folded)]
    assert [*numbers, parts[1].blocks[2].number] == [1, 2, 3, 4]
    assert [parts[0].blocks[1].number, parts[1].blocks[1].number] == [1, 2]
    text = f"See {references_to.figure('c')}, {references_to.table('u')}."
    assert references_to.resolve(text, parts, {}) == (
        'See <a href="#figure-c">Figure 3</a>, <a href="#table-u">Table 2</a>.'
    )
    # What is not on the page is told by its title.
    elsewhere = f"{references_to.figure('x')}, {references_to.table('claims')}"
    assert references_to.resolve(elsewhere, parts, {"x": "A & B"}) == (
        "A &amp; B, How likely the usual claims are false"
    )


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
