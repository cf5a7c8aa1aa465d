"""The section on calibration says what its tables say, whatever they say."""

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
from multiloss.report.calibration import Calibration
from multiloss.report.facts import Facts
from report_studies import cells, facts_of, said, section, tables_of
from synthetic_results import Study, make, tables

FILE = "16_calibration"
NEEDED = ["metrics", "calibration_scores", "calibration_comparisons", "calibration_curves"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make(
        tmp_path_factory.mktemp("calibration"),
        losses=["cce", "focal", "calibrated_cce", "calibrated_focal", "hinge"],
        save_images=False,
        with_tables=False,
        gradcam=False,
    )
    tables(made.results, made.config, 50, only=[*NEEDED, "degenerate"])
    return made


def compared(study: Study, **columns: Any) -> pd.DataFrame:
    """The comparisons with these values in the rows of the two pairs by the primary measure."""
    table = pd.read_csv(study.results / "tables/calibration_comparisons.csv")
    rows = (table["metric"] == "abs_log_slope") & (table["version"] == "raw")
    assert list(table.loc[rows, "loss"]) == ["calibrated_cce", "calibrated_focal"]
    other = table["metric"] == "log_loss_miscalibration_root"
    table["reject"] = table["reject"].astype(object)
    table.loc[rows | other, "reject"] = False
    for column, values in columns.items():
        table.loc[rows, column] = values
    return table


@pytest.mark.parametrize(
    ("differences", "rejects", "told"),
    [
        ([-0.1, 0.1], [False, False],
         "none of the 2 calibrated losses is significantly better calibrated than its plain "
         "form ("),
        ([-0.1, 0.1], [True, True],
         "calibrated cross-entropy is significantly better calibrated than its plain form in these "
         "runs, 1 of 2 calibrated losses; calibrated focal loss is significantly worse ("),
        ([-0.1, -0.2], [True, True],
         "every calibrated loss is significantly better calibrated than its plain form in "
         "these runs ("),
        ([0.1, 0.2], [True, False],
         "none of the 2 calibrated losses is significantly better calibrated than its plain form; "
         "calibrated cross-entropy is significantly worse in these runs ("),
        ([np.nan, -0.1], [False, True],
         "By the calibration slope, calibrated focal loss is significantly better calibrated than "
         "its plain form in these runs ("),
        ([np.nan, np.nan], [False, False],
         "Whether the calibration term helps cannot be told here"),
    ],
    ids=["none", "both-ways", "all", "worse", "one-compared", "none-compared"],
)  # fmt: skip
def test_the_finding_counts_what_the_adjusted_tests_reject(
    study: Study, differences: list[float], rejects: list[bool], told: str
) -> None:
    table = compared(study, difference=differences, reject=rejects, p_adjusted=[0.0012, 0.049])
    facts = facts_of(study.results, study.config, calibration_comparisons=table)
    found = section(facts, FILE)
    text = said(found)
    assert told in text
    assert ("Holm-adjusted over 2 objectives" in str(found.finding)) == any(
        value == value for value in differences
    )
    assert ("Another run may differ as much." in text) == any(
        reject and value == value for value, reject in zip(differences, rejects, strict=True)
    )
    lacking = [value != value for value in differences]
    assert ("No slope could be compared for calibrated cross-entropy" in text) == lacking[0]
    shown = tables_of(found)["calibration-pairs"]
    assert cells(shown, "p, Holm") == ["0.001", "0.049"]
    assert len([column for column in shown.columns if not column.more]) <= 6


def test_the_second_measure_and_left_out_losses_are_told(study: Study) -> None:
    table = compared(study)
    rows = (table["metric"] == "log_loss_miscalibration_root") & (table["version"] == "raw")
    table.loc[rows, "difference"] = [-0.2, 0.2]
    table.loc[rows, "reject"] = True
    text = said(section(facts_of(study.results, study.config, calibration_comparisons=table), FILE))
    assert (
        "calibration is significantly better for calibrated cross-entropy and significantly worse "
        "for calibrated focal loss (Holm-adjusted over 2 objectives)"
    ) in text
    flat = pd.DataFrame(
        [("focal-r0", "single", "test", "one_class_dominates", "normal", 0.95, 120, 100)],
        columns=["model", "kind", "split", "problem", "class", "value", "n", "n_patients"],
    )
    facts = facts_of(study.results, study.config, calibration_comparisons=table, degenerate=flat)
    told = Calibration(facts).compared()
    assert told is not None and (told.losses, told.void) == (
        ["calibrated_cce"],
        ["calibrated_focal"],
    )
    text = said(section(facts, FILE))
    assert (
        "Left out: calibrated focal loss, since a run of it or of its plain form tells no classes "
        "apart"
    ) in text


def test_key_models_are_told_by_their_scores(study: Study) -> None:
    scores = pd.read_csv(study.results / "tables/calibration_scores.csv")
    facts = facts_of(study.results, study.config)
    single = facts.chosen("single")
    own = (scores["model"] == single) & (scores["version"] == "raw")
    for metric, values in {
        "mean_confidence": [0.564, 0.5, 0.6],
        "overconfidence": [-0.14, -0.22, -0.05],
        "calibration_slope": [2.737, 1.723, 3.751],
    }.items():
        columns = ["value", "ci_low", "ci_high"]
        scores.loc[own & (scores["metric"] == metric), columns] = values
    found = section(facts_of(study.results, study.config, calibration_scores=scores), FILE)
    text = said(found)
    accuracy = facts.value(single, "accuracy").value
    assert f"has a mean confidence of 56% and is correct in {100 * accuracy:.0f}%" in text
    assert "of the images: underconfident." in text
    told = "slope is 2.74 (95% CI 1.72 to 3.75): probabilities not extreme enough"
    assert told in text
    shown = tables_of(found)["calibration-models"]
    assert len(shown.rows) == len([*facts.singles, *facts.ensembles, *facts.seed_ensembles])
    ece = scores[(scores["metric"] == "ece") & (scores["version"] == "raw")].set_index("model")
    order = [*facts.singles, *facts.ensembles, *facts.seed_ensembles]
    limits = [f"{ece.loc[name, 'expected_p95']:.3f}" for name in order]
    assert cells(shown, "ECE limit if perfect") == limits
    inside = (ece.loc[order, "range"] == "inside").sum()
    assert f"{inside} of {len(order)} models" in text
    assert "shares of votes" in str(shown.caption)


def test_without_a_calibrated_loss_nothing_is_compared(study: Study) -> None:
    facts = facts_of(study.results, study.config, calibration_comparisons=pd.DataFrame())
    found = section(facts, FILE)
    assert str(found.finding).startswith(
        "No loss was trained with and without its calibration term"
    )
    assert "calibration-pairs" not in tables_of(found)


def test_class_weights_are_blamed_only_where_there_are_any(study: Study) -> None:
    weights = "Class weights bias the probabilities"
    assert weights in said(section(facts_of(study.results, study.config), FILE))
    config = copy.deepcopy(study.config)
    config["classification"]["class_weights"] = "none"
    assert weights not in said(section(facts_of(study.results, config), FILE))


def test_votes_are_told_where_they_stand_for_probabilities(study: Study) -> None:
    facts: Facts = facts_of(study.results, study.config)
    votes = [name for name in facts.ensembles if name.startswith("majority_vote")]
    told = Calibration(facts).not_probabilities(votes)
    assert list(told) == ["majority vote"] and told["majority vote"].startswith("shares of votes")
    assert Calibration(facts).not_probabilities(["cce-r0", "unknown"]) == {}
