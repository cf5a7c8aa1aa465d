"""The sections on usefulness and on prediction sets say what their tables say."""

import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic_results
from multiloss import report
from multiloss.evaluation import prediction_sets, usefulness
from multiloss.job.files import write_csv


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> synthetic_results.Study:
    study = synthetic_results.make(
        tmp_path_factory.mktemp("useful"),
        losses=["cce", "focal", "calibrated_cce"],
        test_images=150,
        save_images=False,
        with_tables=False,
        gradcam=False,
        placeholder_figures=True,
    )
    synthetic_results.tables(
        study.results, study.config, 100, only=[*usefulness.COLUMNS, *prediction_sets.COLUMNS]
    )
    return study


def section(results: Path, config: dict[str, Any], name: str = "usefulness") -> str:
    page = report.build(results, config)
    found = page[page.index(f'<section id="{name}"') :]
    text = re.sub(r"<[^>]+>", " ", found[: found.index("</section>")])
    return re.sub(r"\s+", " ", html.unescape(text))


def test_it_opens_with_the_finding_and_names_the_four_essentials(made) -> None:
    said = section(made.results, made.config)
    table = pd.read_csv(made.results / "tables/useful_thresholds.csv")
    chosen = pd.read_csv(made.results / "ensembles/chosen.csv").set_index("what")["model"]
    row = table[
        (table["model"] == chosen["overall"])
        & (table["class"] == "any finding")
        & (table["version"] == "raw")
    ]
    low, high = row.loc[(row["high"] - row["low"]).idxmax(), ["low", "high"]]
    opening = said[: said.index("worth more than")]
    assert f"{100 * low:.0f}% to {100 * high:.0f}%" in opening
    assert "of the probability of any finding, acting on" in opening
    for words in ("area under the ROC curve", "calibration plot", "net benefit, and the distrib"):
        assert words in said
    for words in ("improper", "Lancet Digit Health 2025;7(12):100916", "Med Decis Making 2006"):
        assert words in said
    values = pd.read_csv(made.results / "tables/predictive_values.csv")
    own = values[
        (values["model"] == chosen["overall"])
        & (values["class"] == "any finding")
        & (values["measure"] == "ppv")
        & (values["source"] == "test")
    ].squeeze()
    assert f"{100 * own['prevalence']:.1f}%, as here" in said
    assert f"{own['value']:.3f} ({own['ci_low']:.3f} to {own['ci_high']:.3f})" in said


def test_it_says_where_nothing_is_shown_and_where_nothing_is_known(made) -> None:
    path = made.results / "tables/useful_thresholds.csv"
    kept = path.read_text(encoding="utf-8")
    table = pd.read_csv(path)
    write_csv(table.assign(low=None, high=None, reason="x"), path)
    said = section(made.results, made.config)
    assert "At no threshold of the probability of any finding is acting on" in said
    write_csv(table[:0], path)
    assert "has no rows of the chosen model" in section(made.results, made.config)
    path.write_text(kept, encoding="utf-8")


def test_sets_and_abstention_open_with_what_was_measured(made) -> None:
    said = section(made.results, made.config, "prediction_sets")
    table = pd.read_csv(made.results / "tables/prediction_sets.csv")
    chosen = pd.read_csv(made.results / "ensembles/chosen.csv").set_index("what")["model"]
    row = table[
        (table["model"] == chosen["overall"]) & (table["coverage"] == 0.9) & table["label"].isna()
    ].squeeze()
    assert f"in 90% of the cases of each class held it for {row['covered']:.0%}" in said
    assert f"named a single class for {row['one_class']:.0%} of the images" in said
    few = table.query("coverage == 0.9 and limit == 0").loc[lambda t: t["model"] == row["model"]]
    assert ("Too few patients of" in said) == bool(len(few))
    path = made.results / "tables/prediction_sets.csv"
    write_csv(table[:0], path)
    said = section(made.results, made.config, "prediction_sets")
    assert "has no rows of the chosen model" in said
    write_csv(table, path)
