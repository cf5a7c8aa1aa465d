"""The section on what the study could have seen says what tables/verdicts.csv says."""

import copy
from typing import Any

import pandas as pd
import pytest
from multiloss.report.blocks import number
from report_studies import cells, facts_of, said, section, tables_of, words
from report_studies import size as size_of
from synthetic_results import Study, make, tables

FILE = "40_verdicts"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make(
        tmp_path_factory.mktemp("verdicts"),
        losses=["cce", "focal", "hinge", "cce_entropy"],
        replicates=2,
        save_images=False,
        with_tables=False,
        gradcam=False,
    )
    tables(made.results, made.config, 50, only=["verdicts", "planning", "metrics"])
    return made


def seen(study: Study, ensembles: bool = False, **values: Any) -> tuple[str, str]:
    """The finding and all words, after comparisons of losses got these values."""
    table = pd.read_csv(study.results / "tables/verdicts.csv")
    table = table if ensembles else table[table["question"] != "ensemble"].copy()
    rows = table["question"] == "loss"
    assert rows.sum() == 3
    for column, value in values.items():
        table[column] = table[column].astype(object)
        table.loc[rows, column] = value
    found = section(facts_of(study.results, study.config, verdicts=table), FILE)
    return words(found.finding), said(found)


def test_the_finding_is_what_could_have_been_found(study: Study) -> None:
    shared = {"detectable_corrected": 0.3, "hypotheses": 11, "basis": "these runs"}
    finding, text = seen(study, verdict="inconclusive", **shared)
    assert finding == (
        "With a power of 80%, this study would have found MCC differences of 0.30 between a loss "
        "and the baseline. None of the 3 comparisons shows a difference; smaller ones may have "
        "been missed."
    )
    size = size_of(facts_of(study.results, study.config), "test")
    assert (
        f"That holds for {size} and 2 training runs of each loss, at a level of 0.05 over 11 "
        "hypotheses on losses (for these training runs alone)."
    ) in text
    shared |= {"detectable_corrected": [0.2, 0.3, 0.1], "basis": "seeds and patients"}
    finding, text = seen(study, verdict=["better", "inconclusive", "equivalent"], **shared)
    assert "MCC differences of 0.10 to 0.30 between" in finding
    assert "Of 3 comparisons, 1 shows a difference and 1 is equivalent; in the others" in finding
    assert "(seeds and patients counted as chance)" in text
    finding, _ = seen(study, verdict="worse", detectable_corrected=1.4)
    assert "would have found no MCC difference between a loss and the baseline." in finding
    assert finding.endswith("Of 3 comparisons, 3 show a difference.")
    finding, _ = seen(study, ensembles=True, verdict="inconclusive")
    assert ", and no MCC difference between an ensemble and its best member." in finding
    finding, text = seen(study, detectable_corrected=float("nan"))
    assert "With a power" not in finding and "That holds for" not in text


def test_tables_show_every_comparison_and_what_a_next_study_takes(study: Study) -> None:
    found = section(facts_of(study.results, study.config), FILE)
    table = pd.read_csv(study.results / "tables/verdicts.csv")
    shown = tables_of(found)
    assert list(shown) == ["verdicts", "claims", "planning", "precision"]
    for one in shown.values():
        assert len([column for column in one.columns if not column.more]) <= 6
    compared = table[table["question"] != "claim"]
    assert cells(shown["verdicts"], "Verdict") == list(compared["verdict"])
    detectable = [number(value, 2) for value in compared["detectable_corrected"]]
    assert cells(shown["verdicts"], "Detectable") == detectable
    assert "P(next run wins)" in str(shown["verdicts"].how)
    assert len(shown["claims"].rows) == (table["question"] == "claim").sum()


def test_without_a_margin_nothing_is_called_equivalent(study: Study) -> None:
    config = copy.deepcopy(study.config)
    shown = tables_of(section(facts_of(study.results, config), FILE))["verdicts"]
    assert "within 0.02" in str(shown.how)
    assert "P(within margin)" in [column.label for column in shown.columns]
    config["significance"]["equivalence_margin"] = None
    shown = tables_of(section(facts_of(study.results, config), FILE))["verdicts"]
    assert "No margin of equivalence was stated." in str(shown.how)
    assert "P(within margin)" not in [column.label for column in shown.columns]


def test_a_study_without_verdicts_says_so(study: Study) -> None:
    found = section(facts_of(study.results, study.config, verdicts=pd.DataFrame()), FILE)
    assert "not available" in said(found) and not tables_of(found)
