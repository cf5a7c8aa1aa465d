"""The choice where each run was judged on images of its own: families by their means."""

import math

import pandas as pd
import pytest
from multiloss.ensembles import crossfit


def candidates(scores: dict[str, list[float]], **reasons: str) -> pd.DataFrame:
    """Single models and, where the name says so, ensembles: one score a run, NaN if it failed."""
    rows = [
        {
            "model": f"{family}-r{run}",
            "kind": "ensemble" if "top" in family else "single",
            "method": "",
            "k": 3,
            "replicate": run,
            "metric": "mcc",
            "score": score,
            "log_loss": math.nan if math.isnan(score) else 1 - score,
            "complexity": 0,
            "reason": reasons.get(f"{family}_r{run}", ""),
        }
        for run in range(len(next(iter(scores.values()))))
        for family, own in scores.items()
        for score in [own[run]]
    ]
    return pd.DataFrame(rows)


def choose(table: pd.DataFrame) -> pd.DataFrame:
    families = {model: model[:-3] for model in table["model"]}
    return crossfit.choose(table, families).set_index("what")


def test_family_with_the_best_mean_and_not_the_run_with_the_easiest_images() -> None:
    # Run 1 has easy images: the best score there is of a loss that is worse in each run.
    table = candidates({"cce": [0.5, 0.8], "focal": [0.4, 0.7], "vote-top3": [0.55, 0.81]})
    found = choose(table)
    assert found["model"].to_dict() == {
        "single": "cce-r0",
        "ensemble": "vote-top3-r0",
        "overall": "vote-top3-r0",
    }
    # The row tells the run's own score, the rule the mean that decided.
    assert found.loc["single", "score"] == 0.5
    assert "(0.650)" in found.loc["single", "rule"]
    assert "(0.680)" in found.loc["ensemble", "rule"]
    # As for runs on the same images, the highest score of all would have been taken.
    assert crossfit.choose(table).set_index("what")["model"].to_dict() == {
        "single": "cce-r1",
        "ensemble": "vote-top3-r1",
        "overall": "vote-top3-r1",
    }


def test_of_the_runs_the_first_that_nothing_speaks_against() -> None:
    scores = {"cce": [0.5, 0.8, 0.7], "focal": [0.4, 0.7, 0.6]}
    found = choose(candidates(scores, cce_r0="it never predicts 'viral'"))
    assert found.loc["single", "model"] == "cce-r1"
    every = {f"cce_r{run}": "it never predicts 'viral'" for run in range(3)}
    found = choose(candidates(scores, **every))
    assert found.loc["single", "model"] == "cce-r0"
    assert "Note: it never predicts" in found.loc["single", "rule"]
    # One that says one class throughout does not stand for its loss where another run does not.
    collapsed = candidates({"cce": [0.0, 0.8, 0.7]}, **every)
    assert choose(collapsed).loc["single", "model"] == "cce-r1"
    nothing = choose(candidates({"cce": [0.0, 0.0], "vote-top3": [-0.1, 0.1]}))
    assert "(0.000)" in nothing.loc["ensemble", "rule"]


def test_family_with_a_failed_run_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    table = candidates({"cce": [math.nan, 0.9, 0.9], "focal": [0.4, 0.7, 0.6]})
    found = choose(table)
    assert found["model"].to_dict() == {"single": "focal-r0", "overall": "focal-r0"}
    assert "left out of the choice, since a run could not be judged: cce" in caplog.text


def test_ensemble_must_beat_the_single_models_mean() -> None:
    found = choose(candidates({"cce": [0.6, 0.6], "vote-top3": [0.9, 0.3]}))
    assert found.loc["overall", "model"] == "cce-r0"
    assert "no ensemble beats its score" in found.loc["overall", "rule"]


def test_ties_of_means_go_by_log_loss_and_then_by_the_order_of_the_config() -> None:
    table = candidates({"cce": [0.6, 0.4], "focal": [0.4, 0.6]})
    assert choose(table).loc["single", "model"] == "cce-r0"
    table.loc[table["model"] == "focal-r1", "log_loss"] -= 0.01
    assert choose(table).loc["single", "model"] == "focal-r0"
