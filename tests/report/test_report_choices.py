"""What the report says of ranks, of optimism and of votes, against the tables."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from multiloss.report import answer, calibration, templates
from multiloss.report.blocks import Html, Table
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.results import Results
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
    results = Results(study.results)
    known = {f"tables/{name}.csv": table for name, table in replaced.items()}
    read = results.table
    results.table = lambda name: known.get(name, read(name))  # type: ignore[method-assign]
    return Facts(results, study.config)


def optimism_section(facts: Facts) -> tuple[str, Table]:
    found = templates.sections(facts, Figures(facts), {})[60]
    said = " ".join(" ".join(b.text.split()) for b in found.blocks if isinstance(b, Html))
    (table,) = [block for block in found.blocks if isinstance(block, Table)]
    return said, table


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
    said, table = optimism_section(facts)
    assert "makes the test MCC of an ensemble look 0.040 better than it is" in said
    assert f"on average over {count} ensembles (0.010 to 0.070)" in said
    assert "an ensemble scores 0.700; what is chosen in the same way scores 0.660" in said
    assert "made on the ensemble split, score 0.610" in said
    assert "That from the second to the third, 0.050, is what choosing on other images" in said
    assert "on 60 images instead of 30" in said
    labels = [column.label for column in table.columns]
    assert labels[5:8] == ["Optimism", "Gain from the other choice", "Difference of the protocols"]
    assert [row[1].text for row in table.rows[: count + 1]] == ["MCC"] * (count + 1)
    assert len(table.rows) == len(rows)
    # Chosen by chance alone, nothing flatters.
    rows.loc[ensembles, "optimism"] = -0.002
    said, _ = optimism_section(facts_of(study, optimism=rows))
    assert "is not seen to make the test MCC of an ensemble look better than it is (" in said
    # Without an out-of-bag score nothing is said.
    rows["optimism"] = float("nan")
    facts = facts_of(study, optimism=rows)
    assert facts.optimism is None and "strong" not in optimism_section(facts)[0]


def test_ranks_are_said_as_intervals(study: Study) -> None:
    rank = pd.read_csv(study.results / "tables/rank.csv")
    facts = facts_of(study, rank=rank)
    chosen = facts.chosen("single")
    own = rank["model"] == chosen
    rank.loc[own, ["rank_first", "rank_last"]] = [1, 2]
    said = answer._rank(facts)
    assert said is not None and said.striptags() == (
        f"By tests of all 3 pairs (patients resampled, Holm-corrected), {chosen} may rank from "
        "1 to 2 of 3 single models by MCC. That is said of these training runs."
    )
    rank.loc[own, ["rank_first", "rank_last"]] = [1, 3]
    assert ": the test split does not tell its rank." in str(answer._rank(facts))
    rank.loc[own, ["rank_first", "rank_last"]] = [2, 2]
    assert "ranks 2 of 3 single models" in str(answer._rank(facts))
    rank.loc[own, "hypotheses"] = 0
    assert answer._rank(facts) is None
    found = answer.answer(facts_of(study))
    assert any("By tests of all 3 pairs" in text for text in found.certainty)
    assert any("This is one data set." in text for text in found.caveats)
    everything = " ".join(map(str, [*found.loss, *found.certainty, *found.headline]))
    assert "most often" not in everything and "resamples" not in everything


def test_votes_are_told_where_they_stand_for_probabilities(study: Study) -> None:
    facts = facts_of(study)
    votes = [name for name in facts.ensembles if name.startswith("majority_vote")]
    said = calibration.method_caveats(facts, votes)
    assert "shares of votes, not probabilities" in said and said.count("log loss") == 1
    assert calibration.method_caveats(facts, ["cce-r0", "unknown"]) == ""


def test_the_first_table_tells_of_votes_alone_where_they_are_chosen(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, told in (("majority_vote-top3-r0", True), ("simple_average-top3-r0", False)):
        facts = facts_of(study)
        chosen = facts.chosen_table.copy()
        chosen.loc[chosen["what"] == "ensemble", "model"] = name
        monkeypatch.setattr(facts.results, "table", _replace(facts.results.table, chosen))
        facts = Facts(facts.results, study.config)
        (key,) = [b for b in answer.section(facts).blocks if isinstance(b, Table)]
        assert ("shares of votes" in key.caption) == told


def _replace(read: Any, chosen: pd.DataFrame) -> Any:
    return lambda name: chosen if Path(name).name == "chosen.csv" else read(name)
