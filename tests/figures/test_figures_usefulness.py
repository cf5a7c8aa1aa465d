"""Decision curves and distributions of probabilities: what is drawn is what the tables hold."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from matplotlib import pyplot as plt
from multiloss.figures import catalog, drawing, style, usefulness
from multiloss.figures.usefulness import ranges_in_words

TABLES = [
    "net_benefit",
    "net_benefit_differences",
    "useful_thresholds",
    "probabilities",
    "degenerate",
]
LOSSES = ["cce", "focal", "calibrated_cce"]


def made(folder: Any, **options: Any) -> synthetic_results.Study:
    study = synthetic_results.make(
        folder, losses=LOSSES, save_images=False, with_tables=False, gradcam=False, **options
    )
    synthetic_results.tables(study.results, study.config, 100, only=TABLES)
    return study


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> synthetic_results.Study:
    return made(tmp_path_factory.mktemp("three"), test_images=150)


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


def titled(canvas: Any) -> list[Any]:
    return [axes for axes in canvas.axes if axes.get_title(loc="left")]


def test_decision_curves_are_those_of_the_table(three, monkeypatch) -> None:
    found = paint(three, "decision_curves", monkeypatch)
    table = pd.read_csv(three.results / "tables/net_benefit.csv")
    table = table[table["version"] == "raw"]
    useful = pd.read_csv(three.results / "tables/useful_thresholds.csv")
    panels = titled(found.canvas)
    names = [axes.get_title(loc="left") for axes in panels]
    assert names == ["any finding", "bacterial", "viral"]
    for axes, name in zip(panels, names, strict=True):
        drawn = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 99]
        part = table[table["class"] == name]
        close = part.groupby("model").filter(lambda rows: len(rows) == 99)
        wanted = [rows["net_benefit"].to_numpy() for _, rows in close.groupby("model")]
        wanted.append(close["treat_all"].to_numpy()[:99])
        assert len(drawn) == len(wanted)
        for line in wanted:
            assert min(np.abs(np.asarray(other) - line).max() for other in drawn) < 1e-12
        bars = [line for line in axes.lines if line.get_linewidth() == 2.2]
        rows = useful[
            (useful["class"] == name) & (useful["version"] == "raw") & useful["low"].notna()
        ]
        rows = rows[rows["model"].isin(close["model"])]
        ends = sorted(tuple(np.round(line.get_xdata(), 3)) for line in bars)
        # The best member may be none of the three that are shown.
        assert set(ends) <= {(round(r.low - 0.005, 3), round(r.high + 0.005, 3)) for r in
                             rows.itertuples()}  # fmt: skip
    for words in ("n = 150 images", "any finding: at thresholds of"):
        assert words in found.facts


def test_differences_are_those_of_the_table(three, monkeypatch) -> None:
    found = paint(three, "decision_curves", monkeypatch)
    table = pd.read_csv(three.results / "tables/net_benefit_differences.csv")
    table = table[table["version"] == "raw"]
    below = [axes for axes in found.canvas.axes if not axes.get_title(loc="left")]
    for axes, name in zip(below, ["any finding", "bacterial", "viral"], strict=True):
        part = table[table["class"] == name]
        wanted = [rows["difference"] for _, rows in part.groupby(["model_a", "model_b"])]
        for line in axes.lines:
            if len(line.get_xdata()) == 99:
                assert min(np.abs(line.get_ydata() - w.to_numpy()).max() for w in wanted) < 1e-12


def test_distributions_are_those_of_the_table(three, monkeypatch) -> None:
    found = paint(three, "probability_distributions", monkeypatch)
    table = pd.read_csv(three.results / "tables/probabilities.csv")
    bins = [name for name in table if name.startswith("from_")]
    first = found.canvas.axes[0]
    chosen = pd.read_csv(three.results / "ensembles/chosen.csv").set_index("what")["model"]
    rows = table[
        (table["model"] == chosen["single"])
        & (table["class"] == "any finding")
        & (table["version"] == "raw")
    ]
    assert rows["label"].tolist() == three.config["classes"]
    for container, (_, row) in zip(first.containers, rows.iterrows(), strict=True):
        heights = -np.array([bar.get_height() for bar in container])
        shares = row[bins].to_numpy(float)
        assert heights == pytest.approx(0.82 * shares / shares.max())
    assert "Median probability of any finding by" in found.facts
    median = rows.set_index("label")["q50"]
    assert f"normal {median['normal']:.0%}, bacterial {median['bacterial']:.0%}" in found.facts


def test_at_most_seven_panels_of_many_classes(tmp_path, monkeypatch) -> None:
    names = ["normal", *(f"finding number {k}" for k in range(9))]
    study = made(tmp_path, test_images=200, classes=names)
    found = paint(study, "decision_curves", monkeypatch)
    panels = [axes.get_title(loc="left").replace("\n", " ") for axes in titled(found.canvas)]
    assert len(panels) == 7 and panels[0] == "any finding" and "normal" not in panels
    assert "Left out: the 3 rarest classes." in found.facts
    table = pd.read_csv(study.results / "tables/net_benefit.csv")
    sizes = table.groupby("class")["n_positive"].max()
    shown = sizes[panels[1:]]
    assert shown.min() >= sizes.drop([*panels, "normal"]).max()
    found = paint(study, "probability_distributions", monkeypatch)
    assert len(found.canvas.axes) <= 3 * usefulness.LINES // len(names)
    height = found.canvas.get_size_inches()[1] * 25.4
    assert height < 270  # of a page


def test_ranges_in_words() -> None:
    table = pd.DataFrame({"low": [0.1, 0.5, np.nan], "high": [0.4, 0.5, np.nan]})
    assert ranges_in_words(table) == "10% to 40% and 50%"
    assert ranges_in_words(table[2:]) == ""
