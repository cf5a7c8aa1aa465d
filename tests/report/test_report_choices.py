"""What the report says of ranks, of optimism and of votes, against the tables."""

from typing import Any

import pandas as pd
import pytest
import report_studies
from multiloss.report.blocks import Table
from multiloss.report.facts import Facts
from report_studies import cells, said, section, tables_of
from synthetic_results import Study, make, tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make(
        tmp_path_factory.mktemp("choices"),
        losses=["cce", "kl_divergence", "focal"],
        test_images=60,
        gradcam=False,
        save_images=False,
        with_tables=False,
    )
    tables(made.results, made.config, only=["optimism", "rank", "metrics"])
    return made


def facts_of(study: Study, **replaced: pd.DataFrame) -> Facts:
    return report_studies.facts_of(study.results, study.config, **replaced)


def optimism_section(facts: Facts) -> tuple[str, Table]:
    found = section(facts, "44_optimism")
    (table,) = tables_of(found).values()
    return said(found), table


def test_optimism_leads_with_what_flatters(study: Study) -> None:
    rows = pd.read_csv(study.results / "tables/optimism.csv")
    ensembles = (rows["metric"] == "mcc") & (rows["method"] != "best_single")
    count = int(ensembles.sum())
    told: dict[str, Any] = {"as_published": 0.7, "out_of_bag": 0.66, "ours": 0.61}
    for column, value in told.items():
        rows.loc[ensembles, column] = value
    rows.loc[ensembles, "optimism"] = 0.04
    rows.loc[rows.index[ensembles][0], "optimism"] = 0.01
    rows.loc[rows.index[ensembles][1], "optimism"] = 0.07
    rows.loc[ensembles, "choice_gain"] = 0.05
    facts = facts_of(study, optimism=rows)
    assert facts.optimism is not None
    assert (facts.optimism.ensembles, facts.optimism.lowest, facts.optimism.highest) == (
        count,
        0.01,
        0.07,
    )
    assert facts.optimism.optimism == pytest.approx(0.04)
    text, table = optimism_section(facts)
    assert "(not a result)" in section(facts, "44_optimism").title
    assert "These numbers are not results." in text
    assert "would have inflated the test MCC of an ensemble by 0.04 on average over" in text
    assert f"on average over {count} ensembles (0.01 to 0.07)" in text
    assert (
        "An ensemble scores 0.70 where it was selected. The same procedure scores 0.66 on" in text
    )
    assert (
        "choice on the ensemble split 0.61. The first step is optimism; the second (+0.05)" in text
    )
    assert "60 images instead of 30" in text
    labels = [column.label for column in table.columns if not column.more]
    assert labels == ["Ensemble", "Metric", "As published", "As here", "Difference", "Optimism"]
    assert [row[1].text for row in table.rows[: count + 1]] == ["MCC"] * (count + 1)
    assert cells(table, "Ensemble")[0] == "best single model"
    assert len(table.rows) == len(rows)
    # Chosen by chance alone, nothing inflates.
    rows.loc[ensembles, "optimism"] = -0.002
    text, _ = optimism_section(facts_of(study, optimism=rows))
    assert "would not have inflated the test MCC of an ensemble here: it changes by 0.00 on" in text
    # Without an out-of-bag score nothing is said.
    rows["optimism"] = float("nan")
    facts = facts_of(study, optimism=rows)
    assert facts.optimism is None and "inflated the" not in optimism_section(facts)[0]


def test_ranks_are_said_as_intervals(study: Study) -> None:
    rank = pd.read_csv(study.results / "tables/rank.csv")
    facts = facts_of(study, rank=rank)
    chosen = facts.chosen("single")
    own = rank["model"] == chosen

    def told(*places: int) -> str:
        rank.loc[own, ["rank_first", "rank_last"]] = places
        return said(section(facts_of(study, rank=rank), "10_answer"))

    tests = "By tests of all 3 pairs (patients resampled, Holm-adjusted),"
    assert (
        f"{tests} {facts.label(chosen)} may rank anywhere from 1 to 2 of 3 single models by MCC. "
        "This holds for these training runs only."
    ) in told(1, 2)
    assert "by MCC: the test split does not tell its rank." in told(1, 3)
    assert f"{facts.label(chosen)} ranks 2 of 3 single models" in told(2, 2)
    everything = told(1, 2)
    assert "This is one data set." in everything
    assert "most often" not in everything and "resamples" not in everything
    rank.loc[own, "hypotheses"] = 0
    assert "By tests of all" not in told(1, 2)


def test_the_first_table_tells_of_votes_alone_where_they_are_chosen(study: Study) -> None:
    for name, told in (("majority_vote-top3-r0", True), ("simple_average-top3-r0", False)):
        chosen = facts_of(study).chosen_table.copy()
        chosen.loc[chosen["what"].isin(["ensemble", "overall"]), "model"] = name
        facts = facts_of(study, chosen=chosen)
        key = tables_of(section(facts, "10_answer"))["key"]
        assert ("shares of votes" in key.how) == told
