"""The sections on usefulness and on prediction sets say what their tables say."""

import pandas as pd
import pytest
import synthetic_results
from multiloss.evaluation import prediction_sets, usefulness
from multiloss.job.errors import UserError
from report_studies import cells, facts_of, said, section, tables_of, words


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


def words_of(study: synthetic_results.Study, file: str, **replaced: pd.DataFrame) -> str:
    return said(section(facts_of(study.results, study.config, **replaced), file))


def test_it_opens_with_the_finding_and_names_the_four_essentials(made) -> None:
    found = section(facts_of(made.results, made.config), "18_usefulness")
    table = pd.read_csv(made.results / "tables/useful_thresholds.csv")
    chosen = pd.read_csv(made.results / "ensembles/chosen.csv").set_index("what")["model"]
    row = table[
        (table["model"] == chosen["overall"])
        & (table["class"] == "any finding")
        & (table["version"] == "raw")
    ]
    low, high = row.loc[(row["high"] - row["low"]).idxmax(), ["low", "high"]]
    opening = words(found.finding)
    assert f"{100 * low:.0f}% to {100 * high:.0f}%" in opening
    assert "for the probability of any finding, acting on" in opening
    assert opening.endswith("is worth more than calling all images or none positive.")
    text = said(found)
    for essential in (
        "area under the ROC curve",
        "calibration plot",
        "net benefit and the distrib",
    ):
        assert essential in text
    for reference in ("improper", "Lancet Digit Health 2025;7(12):100916", "Med Decis Making 2006"):
        assert reference in text
    values = pd.read_csv(made.results / "tables/predictive_values.csv")
    own = values[(values["model"] == chosen["overall"]) & (values["class"] == "any finding")]
    here = own[own["source"] == "test"].set_index("measure")
    shown = tables_of(found)["predictive-values"]
    assert cells(shown, "Prevalence")[0] == f"{here.loc['ppv', 'prevalence']:.3f}"
    for measure, label in (("ppv", "Positive"), ("npv", "Negative")):
        value = here.loc[measure]
        told = f"{value['value']:.3f} ({value['ci_low']:.3f} to {value['ci_high']:.3f})"
        assert cells(shown, f"{label} predictive value")[0] == told
    fixed = own.set_index("measure").loc["sensitivity"]
    told = f"{fixed['value']:.3f} ({fixed['ci_low']:.3f} to {fixed['ci_high']:.3f})"
    assert cells(shown, "Sensitivity")[0] == told
    for shown in tables_of(found).values():
        assert len([column for column in shown.columns if not column.more]) <= 6


def test_it_says_where_nothing_is_shown_and_where_nothing_is_known(made) -> None:
    table = pd.read_csv(made.results / "tables/useful_thresholds.csv")
    none = table.assign(low=float("nan"), high=float("nan"), reason="x")
    text = words_of(made, "18_usefulness", useful_thresholds=none)
    assert "At no threshold for the probability of any finding is acting on" in text
    text = words_of(made, "18_usefulness", useful_thresholds=table[:0])
    assert "has no rows of the chosen model" in text


def test_a_table_without_a_column_is_named(made) -> None:
    table = pd.read_csv(made.results / "tables/net_benefit.csv").drop(columns="threshold")
    with pytest.raises(UserError, match=r"tables/net_benefit\.csv has no column 'threshold'"):
        words_of(made, "18_usefulness", net_benefit=table)


def test_sets_and_abstention_open_with_what_was_measured(made) -> None:
    text = words_of(made, "19_prediction_sets")
    table = pd.read_csv(made.results / "tables/prediction_sets.csv")
    chosen = pd.read_csv(made.results / "ensembles/chosen.csv").set_index("what")["model"]
    row = table[
        (table["model"] == chosen["overall"]) & (table["coverage"] == 0.9) & table["label"].isna()
    ].squeeze()
    assert f"in 90% of the cases of each class contained it for {row['covered']:.0%}" in text
    assert f"were a single class for {row['one_class']:.0%} of the images" in text
    few = table.query("coverage == 0.9 and limit == 0").loc[lambda t: t["model"] == row["model"]]
    assert ("has too few patients of" in text) == bool(len(few))
    text = words_of(made, "19_prediction_sets", prediction_sets=table[:0])
    assert "has no rows of the chosen model" in text
