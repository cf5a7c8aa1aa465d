"""Figures of verdicts and plans: what is drawn from tables made by hand, and whether it is read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT
from multiloss import study as study_models
from multiloss.evaluation import planning as plan
from multiloss.figures import drawing, style, verdicts
from multiloss.job.errors import UserError
from multiloss.job.files import write_csv
from test_figures import unreadable

PARAMS = {
    "baseline": "cce",
    "baseline_label": "CCE",
    "replicates": 1,
    "percent": "95%",
    "alpha": 0.05,
}
LOSSES = [f"loss_{k}" for k in range(11)]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def comparison(question: str, a: str, difference: float = 0.05, **more) -> dict:
    return {
        "question": question,
        "a": a,
        "b": "cce-r0",
        "metric": "mcc",
        "basis": "these runs",
        "difference": difference,
        "ci_low": difference - 0.04,
        "ci_high": difference + 0.04,
        "hypotheses": 11,
        "margin": 0.02,
        "verdict": "inconclusive",
        "p_positive": 0.9,
        "detectable_corrected": 0.06,
        "n": 110,
        **more,
    }


def inputs(folder: Path, **tables: pd.DataFrame) -> drawing.Inputs:
    names = ["cce", *LOSSES]
    known = [
        study_models.Model(f"{name}-r0", "single", name, name.replace("_", " "), name, name, 0)
        for name in names
    ]
    known += [
        study_models.Model(f"vote-top{k}-r0", "ensemble", f"vote-top{k}", f"majority vote {k}",
                           replicate=0, method="majority_vote", k=k)
        for k in range(11)
    ]  # fmt: skip
    (folder / "models.csv").write_text(study_models.models_text(known))
    manifest = {"patient_known": [True] * 2, "split": ["test"] * 2, "patient_id": ["a", "b"]}
    tables = {"manifest": pd.DataFrame(manifest), **tables}
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv")
    return drawing.Inputs({name: str(folder / f"{name}.csv") for name in (*tables, "models")})


def drawn(function, given: drawing.Inputs) -> tuple[Figure, str]:
    look = style.Style()
    look.apply()
    result = function(given, PARAMS, look)
    result.canvas.draw_without_rendering()
    return result.canvas, result.facts


def test_eleven_losses_and_eleven_ensembles_are_readable(tmp_path: Path) -> None:
    rows = [comparison("loss", f"{name}-r0") for name in LOSSES]
    rows += [
        comparison("ensemble", f"vote-top{k}-r0", basis="seeds and patients") for k in range(11)
    ]
    rows[0] |= {"verdict": "better", "difference": 0.2}
    rows[1] |= {"verdict": "equivalent", "difference": 0.001}
    rows[2] |= {"difference": np.nan, "ci_low": np.nan, "ci_high": np.nan, "verdict": ""}
    rows[3] |= {"detectable_corrected": np.nan, "p_positive": np.nan}
    rows.append(comparison("claim", "loss_0-r0"))
    canvas, facts = drawn(verdicts.verdicts, inputs(tmp_path, verdicts=pd.DataFrame(rows)))
    assert not unreadable(canvas)
    first, second = canvas.axes
    # Differences: a point each, but for that which could not be made.
    points = [line for axes in (first, second) for line in axes.lines if line.get_marker() == "o"]
    assert sorted(x for line in points for x in line.get_xdata()) == pytest.approx(
        sorted([0.2, 0.001, *[0.05] * 19])
    )
    told = [text.get_text() for text in first.texts]
    assert (told.count("better"), told.count("equivalent"), told.count("inconclusive")) == (1, 1, 8)
    assert "no result" in told
    assert facts == (
        "22 comparisons: 1 better, 1 equivalent, 19 inconclusive. With a power of 80% each would "
        "have found a difference of 0.06."
    )
    assert first.get_title(loc="left") == "losses against cce (these runs; alpha over 11)"


def arrows(canvas: Figure) -> list[list[list[float]]]:
    """Where the tips of intervals that leave their panel are, in each panel."""
    tips = (CARETLEFT, CARETRIGHT)
    return [
        [line.get_xydata().ravel().tolist() for line in axes.lines if line.get_marker() in tips]
        for axes in canvas.axes
    ]


def test_one_interval_that_is_far_wider_leaves_its_panel(tmp_path: Path) -> None:
    """The others keep their room, in both panels; a difference is always in view."""
    rows = [comparison("loss", f"{name}-r0") for name in LOSSES[:4]]
    rows += [comparison("ensemble", f"vote-top{k}-r0", detectable_corrected=0.3) for k in range(3)]
    # Far is more than six times as wide as usual, which is 0.08 here.
    rows[1] |= {"ci_low": -0.24, "ci_high": 0.239}
    canvas, facts = drawn(verdicts.verdicts, inputs(tmp_path, verdicts=pd.DataFrame(rows)))
    assert arrows(canvas) == [[], []] and "Arrows" not in facts
    rows[1] |= {"difference": -0.4, "ci_low": -1.2, "ci_high": 0.4, "detectable_corrected": 1.9}
    canvas, facts = drawn(verdicts.verdicts, inputs(tmp_path, verdicts=pd.DataFrame(rows)))
    first, second = canvas.axes
    # The difference is further out than what the others could have found.
    low = -1.06 * 0.4
    assert first.get_xlim()[0] == second.get_xlim()[0] == pytest.approx(low)
    assert arrows(canvas) == [[pytest.approx([low, 1])], []]
    assert facts.endswith("0.06 to more than 1. Arrows: the interval goes on beyond the panel.")
    rows[1] |= {"difference": 0.1, "ci_low": -1.2, "ci_high": 1.4}
    canvas, _ = drawn(verdicts.verdicts, inputs(tmp_path, verdicts=pd.DataFrame(rows)))
    ends = pytest.approx([-1.06 * 0.3, 1]), pytest.approx([1.06 * 0.3, 1])
    assert arrows(canvas) == [list(ends), []]
    # No line runs into the words at the right.
    reach = max(max(line.get_xdata()) for line in canvas.axes[0].lines if len(line.get_xdata()) > 1)
    assert reach == pytest.approx(1.06 * 0.3)
    assert not unreadable(canvas)


def test_an_interval_wider_than_any_difference_ends_in_arrows(tmp_path: Path) -> None:
    """Alone, nothing is squeezed; but panels end where nothing is left to be found."""
    rows = [comparison("loss", "loss_0-r0", ci_low=-1.5, ci_high=0.2)]
    canvas, facts = drawn(verdicts.verdicts, inputs(tmp_path, verdicts=pd.DataFrame(rows)))
    assert arrows(canvas) == [[pytest.approx([-1.06, 0])]]
    assert "Arrows" in facts


def test_no_margin_no_band(tmp_path: Path) -> None:
    rows = [comparison("loss", "loss_0-r0", margin=margin) for margin in (np.nan,)]
    canvas, _ = drawn(verdicts.verdicts, inputs(tmp_path, verdicts=pd.DataFrame(rows)))
    said = [text.get_text() for text in canvas.findobj(plt.Text)]
    assert not any("does not matter" in text for text in said)


@pytest.mark.parametrize("rows", [[], [comparison("claim", "loss_0-r0")]])
def test_nothing_planned_is_said(tmp_path: Path, rows: list[dict]) -> None:
    table = pd.DataFrame(rows, columns=[*comparison("claim", "x")])
    _, facts = drawn(verdicts.verdicts, inputs(tmp_path, verdicts=table))
    assert facts == "No primary comparison was planned."


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    table = pd.DataFrame([comparison("loss", "loss_0-r0")]).drop(columns="verdict")
    with pytest.raises(UserError, match=r"verdicts.csv: no column 'verdict'"):
        drawn(verdicts.verdicts, inputs(tmp_path, verdicts=table))


def plans(question: str, seeds: list[float]) -> list[dict]:
    return [
        {
            "kind": "detectable",
            "question": question,
            "metric": "mcc",
            "seeds": number,
            "hypotheses": hypotheses,
            "patients": patients,
            "value": (1 + (number != number)) / np.sqrt(patients) / hypotheses,
            "n": 110,
            "n_patients": 86,
        }
        for hypotheses in (1, 11)
        for number in seeds
        for patients in plan.PATIENTS
    ]


def test_plans_have_a_line_for_each_number_of_seeds(tmp_path: Path) -> None:
    rows = plans("loss", [1, 2, 3, 5, 10]) + plans("ensemble", [np.nan])
    canvas, facts = drawn(verdicts.planning, inputs(tmp_path, planning=pd.DataFrame(rows)))
    assert not unreadable(canvas)
    first, second = canvas.axes
    lines = [line for line in first.lines if len(line.get_xdata()) == len(plan.PATIENTS)]
    assert len(lines) == 5
    # The level over the family, not the plain one.
    expected = 1 / np.sqrt(plan.PATIENTS) / 11
    for line in lines:
        assert line.get_ydata() == pytest.approx(expected)
    assert [line.get_label() for line in second.lines[1:]] == ["fixed networks"]
    assert "n = 110 images of 2 patients" in facts


def test_no_spread_no_plan(tmp_path: Path) -> None:
    table = pd.DataFrame(plans("loss", [1.0])).assign(value=np.nan)
    _, facts = drawn(verdicts.planning, inputs(tmp_path, planning=table))
    assert "nothing can be planned" in facts
