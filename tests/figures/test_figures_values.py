"""Every mark and number of a figure is a row of its table: what is drawn, looked up there.

The artists of each figure are read back (points, intervals, bars, texts) and compared with
what its tables hold, both ways: nothing else is drawn, and nothing is missing. The expected
values are taken from the files by plain look-ups that share no code with the figures.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from multiloss.figures import catalog, comparisons, drawing, style
from multiloss.gradcam.localisation import MEASURES
from multiloss.study import Study

LOSSES = ["cce", "kl_divergence", "focal", "calibrated_cce", "calibrated_kl_divergence"]
STUDIES = {
    # Seeds of the baseline beside one run of each loss, a step left out, a failed training.
    "one run": {"further_seeds": True, "ablations": ("without_crop",), "failed": "focal"},
    "three runs": {"replicates": 3, "further_seeds": True, "failed": "focal"},
    "two classes": {"classes": 2, "lesions": False, "failed": None},
}


def fail(made: synthetic_results.Study, loss: str) -> None:
    """Leave a study as a failed first training of a loss leaves it: without probabilities."""
    dead = f"{loss}-r0"
    path = made.results / f"predictions/{dead}.csv"
    table = pd.read_csv(path)
    table.loc[:, table.columns.str.startswith("p_")] = np.nan
    table.to_csv(path, index=False)
    synthetic_results.tables(made.results, made.config)
    # What is measured on its heat maps is made up.
    path = made.results / "tables/localisation.csv"
    table = pd.read_csv(path)
    table.loc[table["model"] == dead, ["value", "ci_low", "ci_high"]] = np.nan
    table.to_csv(path, index=False)


def weaken(made: synthetic_results.Study, loss: str) -> None:
    """As though the first model of a loss never predicted the first class."""
    path = made.results / "tables/degenerate.csv"
    table = pd.read_csv(path)
    row = (f"{loss}-r0", "single", "test", "class_never_predicted", made.config["classes"][0], 7)
    table.loc[len(table), list(table)[:6]] = row
    table.loc[len(table) - 1, ["n", "n_patients"]] = 60, 51
    table.to_csv(path, index=False)


class Read:
    """A made-up study and its files."""

    def __init__(self, study: synthetic_results.Study) -> None:
        self.study, self.config, self.results = study, study.config, study.results
        self.runs = study.config["replicates"]

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.results / name, keep_default_na=False, na_values=[""])

    def metric(self, name: str) -> pd.DataFrame:
        """Rows of one metric on the test split by model."""
        table = self.table("tables/metrics.csv")
        table = table[(table["metric"] == name) & (table["split"] == "test")]
        return table[table["ci_method"] != "binomial"].set_index("model")

    def label(self, name: str) -> str:
        """A model, or what its runs have in common, as a reader sees it."""
        if name == "best_single":
            return "best single model"
        models = Study(self.config).models.values()
        return {key: model.label for model in models for key in (model.name, model.family)}[name]

    def draw(self, name: str) -> drawing.Drawing:
        figure = catalog.figures(self.config)[name]
        look = style.Style()
        look.apply()
        inputs = drawing.Inputs(figure.files(self.results))
        result = drawing.drawing_function(figure.draw)(inputs, figure.params, look)
        result.canvas.draw_without_rendering()
        return result


@pytest.fixture(scope="module", params=STUDIES)
def read(request, tmp_path_factory) -> Read:
    options = dict(STUDIES[request.param])
    failed = options.pop("failed")
    made = synthetic_results.make(
        tmp_path_factory.mktemp("values"), test_images=60, losses=LOSSES, **options
    )
    if failed:
        fail(made, failed)
    weaken(made, LOSSES[-1])
    return Read(made)


@pytest.fixture(autouse=True)
def closed(read, monkeypatch):
    monkeypatch.chdir(read.study.folder)
    yield
    plt.close("all")


# -- what is drawn -----------------------------------------------------------------------


def rounded(*values: float) -> tuple[float, ...]:
    return tuple(round(float(value), 7) for value in values)


def row_at(axes: Axes, y: float) -> str:
    """The label of the row that a mark stands in."""
    distance, text = min((abs(place - y), label) for place, label in row_labels(axes))
    assert distance <= 0.45, f"a mark between the rows, at {y}"
    return text


def row_labels(axes: Axes) -> list[tuple[float, str]]:
    """Places and labels of the rows, which panels side by side share."""
    for own in (axes, axes.figure.axes[0]):
        labels = [label.get_text() for label in own.get_yticklabels()]
        if any(labels):
            return list(zip(own.get_yticks(), labels, strict=True))
    raise AssertionError("rows without labels")


def in_rows(axes: Axes) -> Counter:
    """Marks of a figure whose rows have labels: (label, point or interval, values)."""
    found = Counter()
    for line in axes.lines:
        x, y = (np.asarray(values, float) for values in line.get_data())
        if line.get_transform() != axes.transData or not np.isfinite(x).any():
            continue  # a line across all rows; a mark of nothing
        if line.get_marker() == "None":
            assert len(x) == 2
            if y[0] == y[1]:
                found[row_at(axes, y[0]), "interval", rounded(*x)] += 1
            else:
                found[row_at(axes, y.mean()), "bar", rounded(x[0])] += 1
            continue
        kind = "random" if line.get_marker() == "|" else "point"
        for a, b in zip(x, y, strict=True):
            if np.isfinite(a):
                found[row_at(axes, b), kind, rounded(a)] += 1
    return found


def texts(canvas: Figure) -> list[str]:
    return [text.get_text() for axes in canvas.axes for text in axes.texts]


def marks_of(label: str, rows: pd.DataFrame, value: str = "value") -> Counter:
    """The point and the interval of each row, and the mean of several."""
    found = Counter()
    for row in rows.to_dict("records"):
        if pd.notna(row[value]):
            found[label, "point", rounded(row[value])] += 1
        if pd.notna(row["ci_low"]):
            found[label, "interval", rounded(row["ci_low"], row["ci_high"])] += 1
    if len(rows) > 1 and rows[value].notna().any():
        found[label, "point", rounded(rows[value].mean())] += 1
    return found


def families(models: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for model in models:
        found.setdefault(model.rpartition("-r")[0] or model, []).append(model)
    return found


def named(label: str, read: Read, models: list[str]) -> str:
    """A label with its dagger, if one of its models is degenerate."""
    table = read.table("tables/degenerate.csv")
    weak = set(table.loc[table["split"] == "test", "model"])
    return f"{label}\N{NO-BREAK SPACE}\N{DAGGER}" if weak & set(models) else label


# -- what the tables hold ----------------------------------------------------------------


def check_forest(read: Read, canvas: Figure) -> None:
    """Of a study in which trainings failed; test_figures_forest.py looks at the others."""
    table, picked = read.table("tables/against_baseline.csv"), chosen_families(read)
    for axes, value, ends in (
        (canvas.axes[0], "value", ("ci_low", "ci_high")),
        (canvas.axes[1], "difference", ("difference_low", "difference_high")),
    ):
        drawn: dict[str, Counter] = {}
        for (text, kind, values), number in in_rows(axes).items():
            drawn.setdefault(text, Counter())[kind, values] += number
        labels = [text for _, text in row_labels(axes)]
        for row in table.to_dict("records"):
            label = named(read.label(row["family"]), read, models_of(read, row["family"]))
            (text,) = [
                text
                for text in labels
                if re.fullmatch(
                    re.escape(label) + r"( \N{DOUBLE DAGGER})?(, \d+ runs?)?( \(.*\))?", text
                )
            ]
            expected = Counter()
            if pd.notna(row[value]):
                expected["point", rounded(row[value])] += 1
                expected["interval", rounded(*(row[name] for name in ends))] += 1
            runs = [] if pd.isna(row["runs"]) else str(row["runs"]).split(";")
            if value == "value" and len(runs) > 1:
                expected += Counter(("point", rounded(run)) for run in runs if run)
            assert drawn.pop(text, Counter()) == expected, text
            assert (row["family"] in picked) == ("chosen" in text)
        assert not drawn
    failed = table[table["replicates"] == 0]
    said = [text.get_text() for text in canvas.axes[0].texts]
    assert said.count("no result") == len(failed)


def models_of(read: Read, family: str) -> list[str]:
    return [m.name for m in Study(read.config).models.values() if m.family == family]


def chosen_families(read: Read) -> set[str]:
    names = read.table("ensembles/chosen.csv").query("what != 'overall'")["model"]
    return {Study(read.config).models[name].family for name in names}


def same(drawn: set[float], expected: set[float]) -> bool:
    """Whether each has a value of the other beside it, but for rounding."""
    one, other = (np.array(sorted(values)) for values in (drawn, expected))
    near = np.abs(one[:, None] - other[None, :]) < 1e-6
    return bool(near.any(axis=0).all() and near.any(axis=1).all())


def check_calibration(read: Read, canvas: Figure) -> None:
    left, right = canvas.axes[:2]
    scores = read.table("tables/calibration_scores.csv")
    scores = scores[scores["version"] == "raw"]
    slopes = scores[(scores["metric"] == "calibration_slope") & scores["value"].notna()]
    errors = scores[scores["metric"] == "ece"]
    # The first run of a loss with further seeds stands among these, too.
    again = int((slopes["kind"] == "seed").any()) * read.runs
    dots = [line for line in left.lines if line.get_marker() in ("o", "<", ">")]
    assert len(dots) == len(slopes) + again
    drawn = {float(line.get_xdata()[0]) for line in dots}
    assert same(drawn, set(slopes["value"].clip(0.1, 10)))
    assert same({bar.get_width() for bar in right.patches}, set(errors["expected_p95"].dropna()))
    filled = [
        float(line.get_xdata()[0])
        for line in right.lines
        if line.get_marker() == "o" and len(line.get_xdata()) and line.get_mfc() != "white"
    ]
    above = errors[errors["value"] > errors["expected_p95"]]
    assert same(set(filled), set(above["value"]))
    assert (errors["range"] == "above").sum() == len(above)


def check_calibration_pairs(read: Read, canvas: Figure) -> None:
    pairs = read.table("tables/calibration_comparisons.csv")
    pairs = pairs[pairs["replicate"].astype(str) == ("mean" if read.runs > 1 else "0")]
    for axes, metric, versions in (
        (canvas.axes[0], "abs_log_slope", ["raw"]),
        (canvas.axes[1], "log_loss_miscalibration_root", ["raw", "prior_corrected"]),
    ):
        part = pairs[(pairs["metric"] == metric) & pairs["version"].isin(versions)]
        assert len(part) == 2 * len(versions)
        drawn = [
            float(line.get_xdata()[0])
            for line in axes.lines
            if line.get_marker() in ("o", "s") and len(line.get_xdata())
        ]
        assert sorted(drawn) == pytest.approx(sorted(part["difference"]))


def check_reliability(read: Read, canvas: Figure) -> None:
    bins = read.table("tables/calibration.csv")
    bins = bins[bins["split"] == "test"]
    curves = read.table("tables/calibration_curves.csv")
    curves = curves[curves["class"].isna()]
    scores = read.table("tables/calibration_scores.csv")
    scores = scores[scores["version"] == "raw"].set_index(["model", "metric"])
    panels = [axes for axes in canvas.axes if axes.get_title(loc="left")]
    chosen = chosen_of(read, set(bins["model"]))
    assert len(panels) == len(chosen)
    for axes, model in zip(panels, chosen, strict=True):
        drawn = [line.get_xydata() for line in axes.lines if len(line.get_xdata()) > 2]
        part = bins[bins["model"] == model]
        assert np.allclose(drawn[0], part[["confidence", "accuracy"]])
        parts = [curves[curves["model"] == model + end] for end in ("", "-temperature")]
        parts = [part for part in parts if part["p"].notna().all()]
        for own, part in zip(drawn[1:], parts, strict=True):
            assert np.allclose(own, part[["p", "observed"]])
        row = scores.loc[(model, "ece")]
        title = axes.get_title(loc="left")
        assert f"ECE {row['value']:.3f}; perfect: {row['expected']:.3f}" in title
        assert f"below {row['expected_p95']:.3f}" in title


def check_calibration_curves(read: Read, canvas: Figure) -> None:
    curves = read.table("tables/calibration_curves.csv")
    curves = curves[curves["class"].notna() & curves["scaled_from"].isna()]
    chosen = chosen_of(read, set(curves["model"]))
    panels = [axes for axes in canvas.axes if axes.get_title(loc="left")]
    assert len(panels) == len(read.config["classes"])
    for axes, label in zip(panels, read.config["classes"], strict=True):
        drawn = [line.get_xydata() for line in axes.lines if len(line.get_xdata()) > 2]
        parts = [curves[(curves["model"] == m) & (curves["class"] == label)] for m in chosen]
        parts = [part for part in reversed(parts) if part["p"].notna().any()]
        for own, part in zip(drawn, parts, strict=True):
            assert np.allclose(own, part[["p", "observed"]])


def chosen_of(read: Read, present: set[str]) -> list[str]:
    chosen = read.table("ensembles/chosen.csv").set_index("what")["model"]
    wanted = [chosen[what] for what in ("single", "ensemble") if what in chosen] + ["cce-r0"]
    return list(dict.fromkeys(model for model in wanted if model in present))


def check_curves(read: Read, canvas: Figure, name: str) -> None:
    table = read.table("tables/curves.csv")
    table = table[(table["split"] == "test") & (table["curve"] == name)]
    chosen = chosen_of(read, set(table["model"]))
    area = {"roc": "auroc", "pr": "auprc"}[name]
    for axes, label in zip(canvas.axes, ["micro", *read.config["classes"]], strict=False):
        part = table[table["class"] == label]
        grid = part["x"].nunique()
        drawn = [line.get_xydata() for line in axes.lines if len(line.get_xdata()) == grid]
        drawn = [points for points in drawn if np.isfinite(points).all()]
        wanted = set(part["model"]) if label == "micro" else set(chosen)
        curves = {
            model: points[["x", "y"]].to_numpy()
            for model, points in part.groupby("model")
            if model in wanted and points["y"].notna().all()
        }
        assert len(drawn) == len(curves)
        for points in curves.values():
            assert any(np.array_equal(points, own) for own in drawn)
        metric = read.metric(area if label == "micro" else f"{area}_{label}")
        said = [text.get_text() for text in axes.texts]
        for model in chosen:
            row = metric.loc[model]
            ends = f" ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
            text = f"{row['value']:.2f}{ends if pd.notna(row['ci_low']) else ''}"
            assert any(own.endswith(f" {text}") for own in said)
        assert len(said) == len(chosen) + 1
    legend = [text.get_text() for text in canvas.legends[0].get_texts()]
    lost = table.loc[table["y"].isna(), "model"].nunique()
    others = table["model"].nunique() - len(chosen) - lost
    assert f"{others} other models (micro only)" in legend


def check_confusion(read: Read, canvas: Figure) -> None:
    table = read.table("tables/confusion.csv")
    table = table[(table["split"] == "test") & ~table["model"].str.endswith("-temperature")]
    classes, expected = read.config["classes"], Counter()
    for model in chosen_of(read, set(table["model"])):
        part = table[table["model"] == model]
        counts = part.groupby(["label", "predicted"])["count"].sum()
        counts = np.array([[counts[a, b] for b in classes] for a in classes])
        share = counts / counts.sum(axis=1, keepdims=True)
        cells = [f"{n}\n{s:.0%}" for n, s in zip(counts.ravel(), share.ravel(), strict=True)]
        expected[tuple(cells)] += 1
    found = Counter(
        tuple(text.get_text() for text in axes.texts)
        for axes in canvas.axes
        if axes.images and len(axes.texts) == len(classes) ** 2
    )
    assert found == expected


def check_rank(read: Read, canvas: Figure) -> None:
    table = read.table("tables/rank.csv")
    table = table[(table["kind"] == "single") & (table["metric"] == "mcc")]
    table = table.assign(ci_low=table["rank_first"], ci_high=table["rank_last"])
    table = table.set_index("model", drop=False)
    expected = Counter()
    for family, models in families(list(table["model"])).items():
        part = table.loc[models]
        expected += marks_of(named(read.label(family), read, models), part, "rank_observed")
    assert in_rows(canvas.axes[0]) == expected


def check_replicates(read: Read, canvas: Figure) -> None:
    table = read.table("tables/replicates.csv")
    table = table[(table["metric"] == "mcc") & (table["kind"] == "single")]
    expected = Counter()
    labels = {}
    for row in table.itertuples():
        models = [f"{row.family}-r{r}" for r in range(read.runs)]
        label = labels[row.family] = named(read.label(row.family), read, models)
        expected[label, "interval", rounded(row.mean - row.sd, row.mean + row.sd)] += 1
        expected[label, "bar", rounded(row.mean)] += 1
        for value in filter(None, str(row.runs).split(";")):
            expected[label, "point", rounded(float(value))] += 1
    assert in_rows(canvas.axes[0]) == expected
    expected = Counter()
    crossed = read.table("tables/replicate_comparisons.csv")
    crossed = crossed[(crossed["metric"] == "mcc") & (crossed["family"] == "against_baseline")]
    for row in crossed.to_dict("records"):
        if pd.notna(row["difference"]):
            label = labels[row["loss_a"]]
            expected += marks_of(label, pd.DataFrame([row]), "difference")
    assert in_rows(canvas.axes[1]) == expected


def check_seed_spread(read: Read, canvas: Figure) -> None:
    table, expected = read.table("tables/seed_spread.csv"), Counter()
    table = table[table["metric"] == "mcc"].set_index("row")
    trained = {
        m.name: m for m in Study(read.config).models.values() if m.kind in ("single", "seed")
    }
    rows = table.loc[["seeds", "loss"]]
    for row in rows.itertuples():
        models = [name for name, model in trained.items() if model.variant == row.variant]
        label = named(read.label(row.variant), read, models)
        runs = [float(value) for value in str(row.runs).split(";") if value not in ("", "nan")]
        for run in runs:
            expected[label, "point", rounded(run)] += 1
        if len(runs) > 1:
            expected[label, "bar", rounded(row.mean)] += 1
    axes = canvas.axes[0]
    assert in_rows(axes) == expected
    base = table.loc["seeds"]
    bands = [rounded(b.get_x(), b.get_x() + b.get_width()) for b in axes.patches]
    # Seeds are unknown where the baseline was trained once.
    assert bands == ([] if pd.isna(base.low) else [rounded(base.low, base.high)])


def check_optimism(read: Read, canvas: Figure) -> None:
    table, expected = read.table("tables/optimism.csv"), Counter()
    table = table[table["metric"] == "mcc"].set_index("ensemble", drop=False)
    picked = chosen_families(read)
    for family, models in families(list(table["ensemble"])).items():
        label = named(read.label(family), read, models)
        label += " (chosen)" if family in picked else ""
        for row in table.loc[models].itertuples():
            if pd.isna(row.difference):
                continue
            expected[label, "point", rounded(row.difference)] += 1
            expected[label, "random", rounded(row.optimism)] += 1
            if pd.notna(row.ci_low):
                expected[label, "interval", rounded(row.ci_low, row.ci_high)] += 1
    assert in_rows(canvas.axes[0]) == expected
    lost = table.assign(family=table.index.str.replace(r"-r\d+$", "", regex=True))
    lost = lost.groupby("family")["difference"].apply(lambda own: own.isna().all()).sum()
    assert texts(canvas).count("not defined") == lost


def check_diversity(read: Read, canvas: Figure) -> None:
    table, expected = read.table("tables/diversity.csv"), Counter()
    table = table[(table["split"] == "test") & (table["differs"] == "losses")]
    pairs = [
        tuple(sorted((a.rpartition("-r")[0], b.rpartition("-r")[0])))
        for a, b in zip(table["model_a"], table["model_b"], strict=True)
    ]
    correlations = table["error_correlation"].groupby(pd.Series(pairs, index=table.index))
    for value in correlations.mean():
        expected[f"{value + 0.0:.2f}".replace("0.", ".").replace("-.00", ".00")] += 1
    assert Counter(texts(canvas)) == expected


def check_significance(read: Read, canvas: Figure) -> None:
    table = read.table("tables/significance.csv")
    everything = table[table["p_value"].notna()]
    shown = ~table["family"].str.startswith("calibrated_against_plain")
    table = table[table["model_b"].notna() & shown]
    family = table["model_a"].str.replace(r"-r\d+$", "", regex=True)
    several = read.runs > 1
    expected, framed = Counter(), 0
    compared = table["family"].str.replace(r", r\d+", "", regex=True)
    for _, cell in table.groupby([compared, family, "metric", "test"], sort=False):
        rejected = (cell["reject"].astype(str).str.lower() == "true").sum()
        if len(cell) > 1:
            assert several
            expected[f"{rejected}/{len(cell)}"] += 1
        else:
            expected[comparisons.p_text(cell["p_adjusted"].iloc[0], 0.05)] += 1
        framed += rejected / len(cell) > 0.5
    assert Counter(texts(canvas)) == expected
    bold = [t for axes in canvas.axes for t in axes.texts if t.get_fontweight() == "bold"]
    assert len(bold) == framed
    facts = read.draw("significance_heatmap").facts
    made = table["p_value"].notna().sum()
    assert facts.startswith(f"{made:,} tests, of which ")
    left = len(everything) - made
    numbers = [int(word) for word in facts.replace(",", "").split() if word.isdigit()]
    assert left == 0 or f"Of all {len(everything):,} tests" in facts
    told = numbers[numbers.index(len(everything)) + 1 :] if left else []
    assert sum(told[: 1 + ("Cochran" in facts and "plain ones" in facts)]) == left


def check_localisation(read: Read, canvas: Figure) -> None:
    table = read.table("tables/localisation.csv")
    titles = {}
    for name, measure in MEASURES.items():
        worse = "" if measure.higher_is_better else f" ({measure.direction})"
        titles[name] = f"{measure.title}{worse}"
    panels = [axes for axes in canvas.axes if axes.get_title(loc="left")]
    seen = set()
    for axes in panels:
        title = axes.get_title(loc="left").replace("\n", " ")
        head, _, heat = title.partition(" at heat from ")
        (metric,) = [name for name, text in titles.items() if text == head]
        seen.add((metric, heat))
        part = table[table["metric"] == metric]
        part = part[part["threshold"] == float(heat)] if heat else part
        uniform = part[part["model"] == "uniform"]
        expected = marks_of("uniform map (no preference)", uniform)
        part = part[part["model"] != "uniform"].set_index("model", drop=False)
        for family, models in families(list(part["model"])).items():
            label = named(read.label(family), read, list(part.loc[models, "model"]))
            rows = part.loc[models]
            expected += marks_of(label, rows)
            if len(rows) > 1:  # no mean of the runs here
                expected[label, "point", rounded(rows["value"].mean())] -= 1
        assert in_rows(axes) == +expected, title
        lines = [line for line in axes.lines if line.get_transform() != axes.transData]
        known = uniform["value"].tolist() or [0.0] * metric.endswith("correlation")
        assert [line.get_xdata()[0] for line in lines] == pytest.approx(known)
    assert panels and len(seen) == len(panels)


def check_faithfulness(read: Read, canvas: Figure) -> None:
    table = read.table("tables/localisation.csv")
    table = table[table["metric"].str.endswith("_curve") & table["value"].notna()]
    drawn = [
        line.get_xydata() for axes in canvas.axes for line in axes.lines if len(line.get_xdata())
    ]
    curves = [
        part.sort_values("threshold")[["threshold", "value"]].to_numpy()
        for _, part in table.groupby(["model", "metric"])
    ]
    assert len(drawn) == len(curves)
    for curve in curves:
        assert any(curve.shape == own.shape and np.allclose(curve, own) for own in drawn)


def check_histories(read: Read, canvas: Figure, paths: list[str], columns: list[str]) -> None:
    drawn = [
        line.get_xydata() for axes in canvas.axes for line in axes.lines if len(line.get_xdata())
    ]
    curves = []
    for path in paths:
        history = read.table(path)
        curves += [history[["epoch", name]].to_numpy() for name in columns]
    assert len(drawn) == len(curves)
    for curve in curves:
        assert any(np.array_equal(curve, own) for own in drawn)


def check_dice(read: Read, canvas: Figure) -> None:
    scores = read.table("segmentation/scores.csv").query("split == 'test'")
    images = read.table("segmentation/scores_per_image.csv").query("split == 'test'")
    axes = canvas.axes[0]
    points = [np.sort(line.get_xdata()) for line in axes.lines if line.get_marker() == "."]
    assert len(points) == len(scores)
    means = {
        rounded(line.get_xdata()[0])
        for line in axes.lines
        if line.get_marker() == "D" and len(line.get_xdata())
    }
    assert means == {rounded(value) for value in scores["dice"]}
    ends = {rounded(*line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2}
    for row in scores.itertuples():
        own = np.sort(images.loc[images["loss"] == row.loss, "dice"])
        assert any(np.allclose(own, drawn) for drawn in points)
        assert rounded(row.dice_ci_low, row.dice_ci_high) in ends


def check_overlays(read: Read, canvas: Figure) -> None:
    cases = read.table("segmentation/examples.csv")
    titles = Counter(axes.get_title(loc="left") for axes in canvas.axes)
    titles.pop("", None)
    assert titles == Counter(f"{row.case}: Dice {row.dice:.3f}" for row in cases.itertuples())


def check_crops(read: Read, canvas: Figure) -> None:
    table = read.table("crops/boxes.csv").merge(read.table("data/manifest.csv"), on="image_id")
    failed = table["fallback"].astype(str).str.lower() == "true"
    shares = {
        (row.label, f"{row.lung_fraction:.0%} lung", round(row.width_x / row.width_y, 2))
        for row in table[~failed].itertuples()
    }
    for axes in canvas.axes:
        label, text, *flags = axes.get_title().split("\n")
        assert len(flags) < 2
        if "no lung found" not in text:
            box, width = axes.patches[0], axes.images[0].get_array().shape[1]
            assert (label, text, round(box.get_width() / width, 2)) in shares


def check_predictions(read: Read, canvas: Figure, models: list[str]) -> None:
    """Texts of the Grad-CAM figures: the predicted class and its probability, model by model."""
    columns = [f"p_{name}" for name in read.config["classes"]]
    known = set()
    for model in models:
        table = read.table(f"predictions/{model}.csv").query("split == 'test'")
        if table[columns].isna().all(axis=None):
            known.add("\N{MINUS SIGN}\ntraining failed")
            continue
        best = table[columns].to_numpy().argmax(axis=1)
        for row, p, k in zip(table.itertuples(), table[columns].max(axis=1), best, strict=True):
            said = read.config["classes"][k]
            sign = "+" if said == row.label else "\N{MINUS SIGN}"
            known |= {f"{sign} predicted {said} {p:.2f}", f"{sign} {p:.2f}"}
            known.add(f"{sign} {p:.2f}\n{said}")
    titles = [axes.get_title(loc="left") for axes in canvas.axes]
    said = [text for text in titles if "predicted" in text]
    said += [axes.get_xlabel() for axes in canvas.axes if axes.get_xlabel() not in ("", "heat")]
    assert said and set(said) <= known


CHECKS: dict[str, Callable[[Read, Figure], None]] = {
    "forest_mcc": check_forest,
    "calibration": check_calibration,
    "calibration_pairs": check_calibration_pairs,
    "calibration_curves": check_calibration_curves,
    "reliability": check_reliability,
    "roc": lambda read, canvas: check_curves(read, canvas, "roc"),
    "pr": lambda read, canvas: check_curves(read, canvas, "pr"),
    "confusion_matrices": check_confusion,
    "rank": check_rank,
    "replicates": check_replicates,
    "seed_spread": check_seed_spread,
    "optimism": check_optimism,
    "diversity": check_diversity,
    "significance_heatmap": check_significance,
    "localisation": check_localisation,
    "faithfulness": check_faithfulness,
    "learning_curves": lambda read, canvas: check_histories(
        read,
        canvas,
        [f"models/{loss}/{r}.history.csv" for loss in LOSSES for r in range(read.runs)],
        ["val_mcc", "val_accuracy", "val_loss", "loss"],
    ),
    "learning_curves_segmentation": lambda read, canvas: check_histories(
        read,
        canvas,
        [f"segmentation/models/{n}.history.csv" for n in synthetic_results.SEGMENTATION_LOSSES],
        ["val_dice", "dice", "val_loss", "loss"],
    ),
    "segmentation_dice": check_dice,
    "segmentation_overlays": check_overlays,
    "crop_overview": check_crops,
    "gradcam_montage": lambda read, canvas: check_predictions(
        read, canvas, catalog.figures(read.config)["gradcam_montage"].params["models"]
    ),
    "gradcam_cce-r0": lambda read, canvas: check_predictions(read, canvas, ["cce-r0"]),
}
WITHOUT_NUMBERS = {"samples"}
# Whose numbers tests beside this file check.
ELSEWHERE = {
    "splits": "test_figures_forest.py",
    "gains": "test_figures_forest.py",
    "recall": "test_figures_forest.py",
    "verdicts": "test_figures_verdicts.py",
    "planning": "test_figures_verdicts.py",
    "decision_curves": "test_figures_usefulness.py",
    "probability_distributions": "test_figures_usefulness.py",
    "prediction_sets": "test_figures_prediction_sets.py",
    "abstention": "test_figures_prediction_sets.py",
}


def test_every_figure_of_the_catalogue_is_checked(read):
    functions = {figure.draw for figure in catalog.figures(read.config).values()}
    figures = catalog.figures(read.config)
    checked = {figures[name].draw for name in CHECKS if name in figures}
    checked |= {figures[name].draw for name in WITHOUT_NUMBERS}
    for name, beside in ELSEWHERE.items():
        text = (Path(__file__).parent / beside).read_text(encoding="utf-8")
        assert figures[name].draw.partition(".")[2] in text, name
        checked.add(figures[name].draw)
    assert functions == checked


@pytest.mark.parametrize("name", CHECKS)
def test_marks_and_numbers_are_those_of_the_tables(read, name):
    if name not in catalog.figures(read.config):
        pytest.skip("this study has no such figure")
    result = read.draw(name)
    CHECKS[name](read, result.canvas)
    if read.runs == 1:
        assert not_in(result.data, result.canvas) == []


# Marks at the edge stand for values beyond it.
CLIPPED = {0.1, 10.0}


def not_in(data: pd.DataFrame, canvas: Figure) -> list[float]:
    """Marks of a figure, means of several runs aside, that the data beside it do not have."""
    known = data.select_dtypes("number").to_numpy(float).ravel()
    listed = [float(x) for text in data.get("runs", []) for x in str(text).split(";") if x]
    known = np.unique(np.round([*known[np.isfinite(known)], *listed, *CLIPPED], 7))
    marks = [
        line.get_xydata()
        for axes in canvas.axes
        for line in axes.lines
        if line.get_marker() not in ("None", "", "D") and line.get_transform() == axes.transData
    ]
    points = np.round(np.vstack([np.empty((0, 2)), *marks]), 7)
    points = points[np.isfinite(points).all(axis=1)]
    return points[~np.isin(points, known).any(axis=1)].tolist()


def test_degenerate_models_are_named_in_the_caption(read):
    table = read.table("tables/degenerate.csv")
    (model,) = table["model"]
    name, first = read.label(model), read.config["classes"][0]
    run = " (run 0)" if read.runs > 1 else ""
    note = (
        f"\N{DAGGER} Degenerate on the test split: {name}{run} never predicts '{first}' (7 images)."
    )
    for figure in ("forest_mcc", "calibration", "rank", "significance_heatmap", "localisation"):
        result = read.draw(figure)
        assert result.facts.endswith(note), figure
        assert json.dumps(result.facts)
    # No table, an empty one, and rows of another split mean that there is none.
    path = read.results / "tables/degenerate.csv"
    text = path.read_text()
    try:
        for content in (None, text.splitlines()[0] + "\n", text.replace(",test,", ",ensemble,")):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content)
            result = read.draw("forest_mcc")
            labels = [label.get_text() for label in result.canvas.axes[0].get_yticklabels()]
            assert "\N{DAGGER}" not in result.facts + "".join(labels)
    finally:
        path.write_text(text)
