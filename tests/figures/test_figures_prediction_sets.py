"""Coverage of sets and errors at abstention: what is drawn is what the tables hold."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from matplotlib import pyplot as plt
from multiloss.figures import catalog, drawing, style


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> synthetic_results.Study:
    made = synthetic_results.make(
        tmp_path_factory.mktemp("sets"), losses=["cce", "focal", "calibrated_cce"],
        test_images=120, save_images=False, with_tables=False, gradcam=False,
    )  # fmt: skip
    wanted = ["prediction_sets", "abstention", "degenerate"]
    synthetic_results.tables(made.results, made.config, 100, only=wanted)
    return made


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def paint(study: synthetic_results.Study, name: str, monkeypatch: Any) -> drawing.Drawing:
    monkeypatch.chdir(study.folder)
    figure = catalog.figures(study.config)[name]
    look = style.Style.of(study.config["figures"])
    look.apply()
    inputs = drawing.Inputs(figure.files(study.results))
    found = drawing.drawing_function(figure.draw)(inputs, figure.params, look)
    found.canvas.draw_without_rendering()
    return found


def shown(study: synthetic_results.Study, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the models that figures show in detail."""
    chosen = pd.read_csv(study.results / "ensembles/chosen.csv")["model"]
    return table[table["model"].isin([*chosen, "cce-r0"])]


def test_coverage_is_that_of_the_table(study, monkeypatch) -> None:
    found = paint(study, "prediction_sets", monkeypatch)
    table = shown(study, pd.read_csv(study.results / "tables/prediction_sets.csv"))
    levels = sorted(table["coverage"].unique())
    assert levels == [0.8, 0.9, 0.95]
    for axes, level in zip(found.canvas.axes[:3], levels, strict=True):
        assert axes.get_title(loc="left") == f"coverage asked for: {level:.0%}"
        points = [
            line.get_xdata()[0] for line in axes.lines
            if line.get_marker() == "o" and len(line.get_xdata()) == 1
        ]  # fmt: skip
        wanted = table.loc[table["coverage"] == level, "covered"]
        assert sorted(points) == pytest.approx(sorted(wanted))
    ticks = [text.get_text() for text in found.canvas.axes[0].get_yticklabels()]
    assert ticks == ["all images", *study.config["classes"]]


def test_errors_are_those_of_the_table(study, monkeypatch) -> None:
    found = paint(study, "abstention", monkeypatch)
    table = shown(study, pd.read_csv(study.results / "tables/abstention.csv"))
    for axes, column in zip(found.canvas.axes, ("error", "balanced_error"), strict=True):
        drawn = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 20]
        wanted = [rows.sort_values("kept")[column] for _, rows in table.groupby("model")]
        assert len(drawn) == len(wanted)
        for line in wanted:
            assert any(np.allclose(line, other, equal_nan=True) for other in drawn)
    assert "wrong of all images" in found.facts
