"""Groups of patients on the page and in their figure: told in numbers where the study asks."""

import copy
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import report_studies
from markupsafe import Markup
from matplotlib import pyplot as plt
from multiloss.figures import catalog, drawing, style
from multiloss.report.facts import Facts
from multiloss.report.results import Results
from synthetic_results import GROUPS, configuration, make, tables

ODD = "<b>site</b> & $x_1$"
COLUMNS = ("sex", {"column": "age", "bands": [18, 65]}, "view", "source", ODD)
NEEDED = ["degenerate", "subgroups", "subgroup_gaps"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    study = make(
        tmp_path_factory.mktemp("subgroups"),
        losses=["focal", "hinge", "cce"],
        test_images=240,
        gradcam=False,
        save_images=False,
        subgroups=COLUMNS,
        with_tables=False,
    )
    tables(study.results, study.config, 100, 999, NEEDED)
    return study.results, study.config


def section(results: Path, config: dict[str, Any]) -> Any:
    return report_studies.sections(Facts(Results(results, None), config)).get("subgroups")


def words(text: str) -> str:
    return " ".join(Markup(re.sub("<[^>]*>", "", str(text))).unescape().split())


def test_the_finding_is_the_table(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    results, config = made
    facts = Facts(Results(results, None), config)
    gaps = pd.read_csv(results / "tables/subgroup_gaps.csv", keep_default_na=False, na_values=[""])
    chosen = facts.chosen("overall")
    own = gaps[(gaps["model"] == chosen) & (gaps["comparison"] == "largest gap")]
    text = report_studies.said(section(results, config))
    for row in own.to_dict("records"):
        if row["reason"] == "one group only":
            assert f"By {row['column']} nothing could be compared: one group only." in text
            continue
        told = (
            f"largest gap {row['difference']:.2f} (95% CI {row['ci_low']:.2f} to "
            f"{row['ci_high']:.2f}), “{row['group']}” above “{row['other']}”, adjusted p = "
            f"{facts.p(row['p_adjusted'], 2)}"
        )
        if row["column"] == "view":
            told += " (too few patients, not compared: lateral)."
        assert told in text
        real = row["p_adjusted"] <= 0.05
        said = "differs" if real else "is not shown to differ"
        assert re.search(rf"By {re.escape(row['column'])} [a-z ]*{said}: {re.escape(told)}", text)
    shown = report_studies.tables_of(section(results, config))
    assert "Holm-adjusted for 12 hypotheses" in words(shown["subgroup-gaps"].how)
    how = words(shown["subgroups"].how)
    assert "Groups of fewer than 10 patients have no values" in how
    assert "with fewer than 5 patients of such a class" in how


def test_a_gap_that_is_real_is_said_first(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    results, config = made
    for name in ("data", "ensembles", "tables"):
        (tmp_path / name).mkdir()
        for path in (results / name).glob("*.csv"):
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "tables/subgroup_gaps.csv"
    gaps = pd.read_csv(path, keep_default_na=False, na_values=[""])
    gaps.loc[gaps["column"] == "view", ["p_adjusted", "ci_low"]] = [0.0012, 0.01]
    gaps.loc[gaps["column"] == "sex", "classes"] = "normal; viral"
    gaps.to_csv(path, index=False)
    text = report_studies.said(section(tmp_path, config))
    assert text.startswith(
        "By view the balanced accuracy of the chosen model differs: largest gap "
    )
    assert "Against all others of its column" in text
    assert re.search(
        r"By sex it is [^.]*(\.\d[^.]*)*, of the classes normal and viral alone\. By", text
    )
    assert re.search(r"“(AP|PA)” \(view\) is 0\.\d\d (lower|higher) \(p = 0\.001", text)


def test_names_are_escaped(made: tuple[Path, dict[str, Any]]) -> None:
    finding = str(section(*made).finding)
    assert "&lt;b&gt;site&lt;/b&gt; &amp; $x_1$" in finding
    assert "<b>site" not in finding


def test_the_checklist_says_by_what_groups_were_judged(made: tuple[Path, dict[str, Any]]) -> None:
    results, config = made[0], copy.deepcopy(made[1])
    config["data"]["sources"][0].update(layout="table", url="/data/mine.csv")
    for columns, status in ((["sex", "age"], "in part"), ([], "for the authors")):
        config["evaluation"]["subgroups"] = [{"column": name, "bands": None} for name in columns]
        items = report_studies.checklist_of(Facts(Results(results, None), config))
        fairness = items["Fairness"]
        assert fairness.status == status
        assert ("by sex and age" in fairness.answer) == bool(columns)
        assert fairness.section == ("subgroups" if columns else "")
        told = (
            "those by sex and age are read"
            in items["Differences between hospitals or devices"].answer
        )
        assert told == bool(columns)


def test_no_section_and_no_figure_without_columns() -> None:
    config = configuration(gradcam=False)
    assert "subgroups" not in catalog.figures(config)
    assert section(Path("nowhere"), config) is None


@pytest.fixture
def drawn(made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    results, config = made
    monkeypatch.chdir(results.parents[1])
    figure = catalog.figures(config)["subgroups"]
    look = style.Style.of(config["figures"])
    look.apply()
    inputs = drawing.Inputs(figure.files(results))
    found = drawing.drawing_function(figure.draw)(inputs, figure.params, look)
    found.canvas.draw_without_rendering()
    yield (
        found,
        pd.read_csv(results / "tables/subgroups.csv", keep_default_na=False, na_values=[""]),
    )
    plt.close("all")


def test_marks_are_the_values_and_small_groups_are_named(drawn: Any) -> None:
    picture, table = drawn
    titles = ["balanced_accuracy", *(f"recall_{name}" for name in ("normal", "bacterial", "viral"))]
    axes = picture.canvas.axes
    assert len(axes) == len(titles)
    # Further groups are on further pages.
    shown = picture.data
    assert 0 < len(shown) <= len(table[table["model"].notna() & table["value"].notna()])
    for panel, metric in zip(axes, titles, strict=True):
        marks = [
            line.get_xdata()[0]
            for line in panel.lines
            if line.get_marker() in "osD^vP" and len(line.get_xdata()) == 1
        ]
        wanted = shown.loc[shown["metric"] == metric, "value"]
        assert sorted(marks) == pytest.approx(sorted(wanted))
    labels = [text.get_text() for text in axes[0].get_yticklabels()]
    assert any(label.startswith("age: 65 and over") for label in labels)
    foot = picture.canvas.legends[0].get_title().get_text()
    few = table[table["n_patients"] < 10].drop_duplicates(["column", "group"])
    assert len(few)
    for row in few.itertuples():
        assert f"{row.column}: {row.group} ({row.n_patients})" in " ".join(foot.split())
    assert "2 groups without values" in picture.facts
    longest = GROUPS[ODD][0]
    assert all(longest not in label for label in labels)
