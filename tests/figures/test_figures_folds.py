"""Each fold and the differences over folds: what is drawn is what the tables hold."""

from pathlib import Path
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
        tmp_path_factory.mktemp("folds"), losses=["cce", "focal", "hinge"], folds=3, replicates=3,
        test_images=100, save_images=False, with_tables=False, gradcam=False,
    )  # fmt: skip
    wanted = ["folds", "fold_comparisons", "verdicts", "degenerate"]
    synthetic_results.tables(made.results, made.config, 20, only=wanted)
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


def test_dots_and_intervals_are_those_of_the_tables(study, monkeypatch) -> None:
    found = paint(study, "folds", monkeypatch)
    table = pd.read_csv(study.results / "tables/folds.csv")
    table = table[(table["metric"] == "mcc") & (table["kind"] == "single")]
    compared = pd.read_csv(study.results / "tables/fold_comparisons.csv").set_index("a")
    losses, differences = found.canvas.axes[:2]
    labels = [tick.get_text() for tick in losses.get_yticklabels()]
    order = table.groupby("family")["value"].mean().sort_values(ascending=False).index
    words = {"cce": "cross-entropy", "focal": "focal loss", "hinge": "hinge loss"}
    assert labels == [words[name] for name in order]
    dots = [line for line in losses.lines if line.get_marker() == "o" and len(line.get_xdata()) > 1]
    for name, line in zip(order, dots, strict=True):
        own = table[table["family"] == name].sort_values("run")["value"]
        assert np.asarray(line.get_xdata()) == pytest.approx(own.to_numpy())
    marks = {line.get_ydata()[0]: line for line in differences.lines if line.get_marker() == "o"}
    assert len(marks) == 2
    for place, name in enumerate(order):
        if name != "cce":
            row, line = compared.loc[name], marks[place]
            assert line.get_xdata()[0] == pytest.approx(row["difference"])
            assert (line.get_markerfacecolor() != "white") == bool(row["reject"])
    images = len(pd.read_csv(study.results / "data/manifest.csv"))
    assert found.facts.startswith(f"3 folds, n = {images} images of ")
    assert "n = " + f"{images} images" in found.canvas.axes[-2].get_xlabel()


def test_verdicts_say_that_they_are_of_all_folds(study, monkeypatch) -> None:
    found = paint(study, "verdicts", monkeypatch)
    images = len(pd.read_csv(study.results / "data/manifest.csv"))
    assert f"all folds, n = {images} images" in found.canvas.axes[-1].get_xlabel()
    assert "(folds; alpha over 2)" in found.canvas.axes[0].get_title(loc="left")


def test_studies_without_folds_have_no_such_figure(study) -> None:
    config = synthetic_results.configuration()
    assert "folds" not in catalog.figures(config)
    # With folds every other figure is that of one run.
    figures = catalog.figures(study.config)
    assert "replicates" not in figures
    histories = figures["learning_curves"].inputs["histories"]
    assert histories == [f"models/{loss}/0.history.csv" for loss in ("cce", "focal", "hinge")]


def test_no_result_at_all_is_said(study, monkeypatch, tmp_path: Path) -> None:
    figure = catalog.figures(study.config)["folds"]
    files = figure.files(study.results)
    empty = pd.read_csv(study.results / "tables/folds.csv").assign(value=np.nan)
    empty.to_csv(tmp_path / "folds.csv", index=False)
    inputs = drawing.Inputs({**files, "folds": [str(tmp_path / "folds.csv")]})
    look = style.Style.of(study.config["figures"])
    found = drawing.drawing_function(figure.draw)(inputs, figure.params, look)
    assert found.facts == "MCC is not defined for any run."
