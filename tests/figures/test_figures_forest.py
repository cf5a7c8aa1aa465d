"""The main figures (forest, gains, recall, participants).

Every mark is a row of its table, in order, and the footnotes count right.
"""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT
from multiloss.config.models import Significance
from multiloss.figures import catalog, drawing, flow, forest, style
from multiloss.job.errors import UserError
from multiloss.statistics.metrics import lookup
from multiloss.study import Study

LOSSES = ["cce", "kl_divergence", "focal", "calibrated_cce", "calibrated_kl_divergence"]
STUDIES = {
    "one run": {},
    "further seeds, two classes": {"classes": 2, "further_seeds": True, "lesions": False},
    "three runs, seven classes": {"classes": 7, "replicates": 3, "further_seeds": True},
    "no ensembles": {"ensembles": False},
}
TABLES = [
    *("metrics", "confusion", "significance", "replicate_comparisons", "ensemble_comparisons"),
    *("against_baseline", "degenerate"),
]
MINUS, DAGGER = "\N{MINUS SIGN}", "\N{DAGGER}"
# What stands behind a model's name.
SIGNS = r" \(| ?\N{DAGGER}| \N{DOUBLE DAGGER}|, \d+ runs?$|: ".replace(" ?", "\N{NO-BREAK SPACE}")


@pytest.fixture(scope="module", params=STUDIES)
def study(request, tmp_path_factory) -> synthetic_results.Study:
    folder = tmp_path_factory.mktemp("forest")
    options = STUDIES[request.param]
    made = synthetic_results.make(
        folder, test_images=60, losses=LOSSES, gradcam=False, with_tables=False, **options
    )
    synthetic_results.tables(made.results, made.config, only=TABLES)
    return made


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> synthetic_results.Study:
    folder = tmp_path_factory.mktemp("one")
    made = synthetic_results.make(
        folder, test_images=60, losses=LOSSES, gradcam=False, with_tables=False, further_seeds=True
    )
    synthetic_results.tables(made.results, made.config, only=TABLES)
    return made


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def paint(study, name, monkeypatch, **files) -> drawing.Drawing:
    monkeypatch.chdir(study.folder)
    figure = catalog.figures(study.config)[name]
    look = style.Style()
    look.apply()
    inputs = drawing.Inputs(figure.files(study.results) | files)
    result = drawing.drawing_function(figure.draw)(inputs, figure.params, look)
    result.canvas.draw_without_rendering()
    return result


def table(study, name: str) -> pd.DataFrame:
    return pd.read_csv(study.results / name, keep_default_na=False, na_values=[""])


def rows_of(axes: Axes) -> list[tuple[str, float]]:
    """Labels without their signs, and places, from above."""
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    places = axes.get_yticks()
    found = [(re.split(SIGNS, text)[0], place) for text, place in zip(labels, places, strict=True)]
    return sorted(found, key=lambda pair: pair[1])


def at(axes: Axes, place: float) -> tuple[list[float], list[tuple[float, float]], bool]:
    """Values, intervals and whether a mark is filled, of the large marks in a row."""
    values, ends, filled = [], [], False
    for line in axes.lines:
        x, y = (np.asarray(part, float) for part in line.get_data())
        if line.get_transform() != axes.transData or not np.allclose(y, place):
            continue
        if line.get_marker() == "None":
            ends.append(tuple(x))
        elif line.get_markersize() > 3:
            values += list(x)
            filled |= line.get_markerfacecolor() != "white"
    return values, ends, filled


def column(canvas: Figure) -> list[str]:
    """The numbers at the right, from above."""
    axes = canvas.axes[-1]
    pairs = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    return [label.get_text() for _, label in sorted(pairs, key=lambda pair: pair[0])]


def signed(value: float) -> str:
    text = format(round(value, 2) + 0.0, "+.2f")
    return "0.00" if float(text) == 0 else text.replace("-", MINUS)


def labels_of(study) -> dict[str, str]:
    models = Study(study.config).models.values()
    return {key: model.label for model in models for key in (model.name, model.family)}


def chosen(study) -> set[str]:
    names = table(study, "ensembles/chosen.csv").query("what != 'overall'")["model"]
    models = Study(study.config).models
    return {models[name].family for name in names}


def note(canvas: Figure) -> str:
    return canvas._supxlabel.get_text().replace("\n", " ")


def test_every_mark_of_the_forest_is_its_row(study, monkeypatch):
    rows, label = table(study, "tables/against_baseline.csv"), labels_of(study)
    canvas = paint(study, "forest_mcc", monkeypatch).canvas
    left, right = canvas.axes[:2]
    order = ["baseline", "loss", "ablation", "ensemble", "seed_ensemble"]
    rows = rows.assign(group=rows["row"].map(order.index), down=-rows["value"])
    rows = rows.sort_values(["group", "down"], kind="stable", na_position="last")
    places = rows_of(left)
    assert [text for text, _ in places] == [label[name] for name in rows["family"]]
    picked = chosen(study)
    for (_, place), row in zip(places, rows.itertuples(), strict=True):
        values, ends, filled = at(left, place)
        assert values == pytest.approx([row.value])
        assert ends == [pytest.approx((row.ci_low, row.ci_high))]
        assert filled == (row.family in picked)
        values, ends, filled = at(right, place)
        if row.row == "baseline":
            assert not values and not ends
            continue
        assert values == pytest.approx([row.difference])
        assert ends == [pytest.approx((row.difference_low, row.difference_high))]
        assert filled == (row.family in picked)
    numbers = [
        "reference"
        if row.row == "baseline"
        else f"{signed(row.difference)} "
        f"({signed(row.difference_low)} to {signed(row.difference_high)})"
        + (" *" if str(row.reject) == "True" else "")
        for row in rows.itertuples()
    ]
    assert column(canvas) == numbers
    runs = [line for line in left.lines if 0 < line.get_markersize() < 3]
    runs = [line for line in runs if line.get_marker() == "o" and len(line.get_xdata()) > 1]
    several = rows[rows["replicates"] > 1]
    assert [np.round(line.get_xdata(), 6).tolist() for line in runs] == [
        [float(value) for value in text.split(";")] for text in several["runs"]
    ]


def test_the_band_is_that_of_the_baseline(study, monkeypatch):
    base = table(study, "tables/against_baseline.csv").iloc[0]
    canvas = paint(study, "forest_mcc", monkeypatch).canvas
    bands = [patch for patch in canvas.axes[1].patches if patch.get_width() > 0]
    said = [text.get_text() for legend in canvas.legends for text in legend.get_texts()]
    if pd.isna(base["band_low"]):
        assert not bands and "trained once" in note(canvas)
        return
    (band,) = bands
    assert band.get_x() == pytest.approx(base["band_low"])
    assert band.get_x() + band.get_width() == pytest.approx(base["band_high"])
    of = "one further run" if base["band_runs"] == 1 else "the mean of 3 further runs"
    assert f"{of} of cross-entropy (95% prediction interval)" in said


@pytest.mark.parametrize(
    ("column", "value"), [("difference_low", -2.0), ("difference_high", 2.0), ("band_high", 1.0)]
)
def test_an_interval_that_was_cut_is_said(one, monkeypatch, tmp_path, column, value):
    rows = table(one, "tables/against_baseline.csv")
    assert "end where MCC does" not in note(paint(one, "forest_mcc", monkeypatch).canvas)
    value -= rows.loc[0, "value"] if column == "band_high" else 0.0
    rows.loc[0 if column == "band_high" else 1, column] = value
    path = tmp_path / "cut.csv"
    rows.to_csv(path, index=False)
    said = note(paint(one, "forest_mcc", monkeypatch, beside=str(path)).canvas)
    assert f"Intervals and band end where MCC does: {MINUS}1 and 1." in said


def test_the_footnote_counts_the_primary_differences_alone(study, monkeypatch):
    rows = table(study, "tables/against_baseline.csv")
    primary = rows[rows["primary"].astype(str) == "True"]
    # Focal and calibrated CCE: the other losses have the objective of another one.
    assert sorted(primary["family"]) == ["calibrated_cce", "focal"]
    found = int((primary["reject"].astype(str) == "True").sum())
    text = note(paint(study, "forest_mcc", monkeypatch).canvas)
    number = {0: "None", 2: "All"}.get(found, str(found))
    start = f"{number} 2" if found == 2 else f"{number} of the 2"
    assert f"{start} primary differences from cross-entropy" in text
    n = rows["n"].iloc[0]
    assert f"n = {n} images of {rows['n_patients'].iloc[0]} patients." in text
    smallest = primary["p_adjusted"].min()
    assert forest.p_value(smallest) in text
    assert "cross-entropy; calibrated KL divergence as calibrated cross-entropy" in text


def test_the_wrong_rows_would_be_seen(one, monkeypatch, tmp_path):
    """With secondary rows counted, or runs of one loss in its place, the tests above fail."""
    rows = table(one, "tables/against_baseline.csv")
    path = tmp_path / "beside.csv"
    rows.assign(primary=rows["row"] != "baseline").to_csv(path, index=False)
    text = note(paint(one, "forest_mcc", monkeypatch, beside=str(path)).canvas)
    assert "of the 2 primary" not in text
    moved = rows.assign(value=rows["value"].where(rows["family"] != "focal", 0.123))
    moved.to_csv(path, index=False)
    left = paint(one, "forest_mcc", monkeypatch, beside=str(path)).canvas.axes[0]
    place = dict(rows_of(left))["focal loss"]
    assert at(left, place)[0] == [0.123]


def test_failed_and_undefined_models_say_so(one, monkeypatch, tmp_path):
    rows = table(one, "tables/against_baseline.csv").set_index("family")
    numbers = ["value", "ci_low", "ci_high"]
    gone = [*numbers, "difference", "difference_low", "difference_high"]
    rows.loc["focal", gone] = np.nan
    rows.loc["focal", "replicates"] = 0
    rows.loc["calibrated_cce", numbers] = np.nan  # one class for all images: MCC undefined
    path = tmp_path / "beside.csv"
    rows.reset_index().to_csv(path, index=False)
    canvas = paint(one, "forest_mcc", monkeypatch, beside=str(path)).canvas
    places = dict(rows_of(canvas.axes[0]))
    said = {text.xy[1]: text.get_text() for text in canvas.axes[0].texts}
    assert said[places["focal loss"]] == style.NO_RESULT
    assert said[places["calibrated cross-entropy"]] == "not defined"
    losses = [text for text, _ in rows_of(canvas.axes[0])][1:5]
    assert set(losses[2:]) == {"focal loss", "calibrated cross-entropy"}
    assert style.NO_RESULT in column(canvas)
    assert "An undefined MCC counts as 0" in note(canvas)
    assert at(canvas.axes[1], places["calibrated cross-entropy"])[0] == pytest.approx(
        [rows.loc["calibrated_cce", "difference"]]
    )


def test_one_interval_that_is_far_wider_leaves_its_panel(one, monkeypatch, tmp_path):
    """The others stay readable, and the column has the ends."""
    rows = table(one, "tables/against_baseline.csv").set_index("family")
    rows.loc["focal", ["difference_low", "difference_high"]] = -1.4, 0.9
    path = tmp_path / "beside.csv"
    rows.reset_index().to_csv(path, index=False)
    canvas = paint(one, "forest_mcc", monkeypatch, beside=str(path)).canvas
    right, place = canvas.axes[1], dict(rows_of(canvas.axes[0]))["focal loss"]
    others = rows.drop("focal").filter(["difference", "difference_low", "difference_high"])
    low, high = right.get_xlim()
    assert -1 < low < others.min().min() and others.max().max() < high < 0.9
    assert low < rows.loc["focal", "difference"] < high
    tips = [line for line in right.lines if line.get_marker() in (CARETLEFT, CARETRIGHT)]
    assert [line.get_xydata().tolist() for line in tips] == [[[low, place]], [[high, place]]]
    assert f"({MINUS}1.40 to +0.90)" in " ".join(column(canvas))
    assert "Arrows: the interval goes on beyond the panel." in note(canvas)
    assert "Arrows" not in note(paint(one, "forest_mcc", monkeypatch).canvas)


def test_a_study_of_one_loss_has_nothing_to_compare(one, monkeypatch, tmp_path):
    path = tmp_path / "beside.csv"
    table(one, "tables/against_baseline.csv").iloc[:1].to_csv(path, index=False)
    result = paint(one, "forest_mcc", monkeypatch, beside=str(path))
    assert "No difference from cross-entropy is a primary comparison" in result.facts
    assert not result.canvas.axes[1].get_xticks().size


def test_a_missing_column_is_named(one, monkeypatch, tmp_path):
    path = tmp_path / "against_baseline.csv"
    rows = table(one, "tables/against_baseline.csv").drop(columns="band_low")
    rows.to_csv(path, index=False)
    with pytest.raises(UserError, match=r"against_baseline\.csv: no column 'band_low'"):
        paint(one, "forest_mcc", monkeypatch, beside=str(path))


def test_ways_of_training_are_not_called_losses(one, monkeypatch):
    config = synthetic_results.configuration(losses=LOSSES)
    config["classification"]["losses"].append(
        config["classification"]["losses"][2] | {"as": "focal_long"}
    )
    variants = Study(config).select(["single"])
    assert any(model.variant != model.loss for model in variants)
    rows = pd.DataFrame({"row": ["loss", "loss"], "family": ["focal", "focal_long"]})
    models = forest.ModelTable(variants)
    assert forest._headings(rows, models) == {"loss": "Other ways of training"}
    assert forest._headings(rows.iloc[:1], models) == {"loss": "Other losses"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.094, "+0.09"), (-0.155, f"{MINUS}0.15"), (0.004, "0.00"), (-0.004, "0.00"), (1, "+1.00")],
)
def test_signed(value, text):
    assert forest.signed(value) == text


def test_differences_in_words():
    assert forest.difference(0.1, -0.2, 0.3) == f"+0.10 ({MINUS}0.20 to +0.30)"
    assert forest.difference(0.1, np.nan, np.nan) == "+0.10 (no interval)"
    assert forest.difference(np.nan, np.nan, np.nan) == ""
    assert [forest.p_value(p) for p in (0.0002, 0.0497, 0.29)] == [
        *("p < 0.001", "p = 0.050", "p = 0.29")
    ]


@pytest.mark.parametrize(
    ("differences", "rejects", "said"),
    [
        ([0.1, -0.2, 0.3], ["False"] * 3, "None of the 3 primary differences from X is"),
        ([0.1, -0.2, 0.3], ["True", "True", "False"], "2 of the 3 primary differences from X are"),
        ([0.1, -0.2], ["True", "True"], "All 2 primary differences from X are"),
        ([0.1], ["True"], "The only primary difference from X is significant"),
        ([0.1], ["False"], "The only primary difference from X is not significant"),
    ],
)
def test_verdicts_are_counted(differences, rejects, said):
    rows = pd.DataFrame(
        {"difference": differences, "reject": rejects, "p_adjusted": 0.01, "correction": "Holm"}
    )
    text = forest.counted(rows, "X")
    assert text.startswith(said)
    if rejects.count("True") == 2:
        assert "(1 better, 1 worse;" in text
    none = forest.counted(rows.assign(p_adjusted=np.nan), "X")
    assert none == "No test of the primary differences from X could be made."


def test_every_gain_is_its_row(study, monkeypatch):
    if "gains" not in catalog.figures(study.config):
        assert not Study(study.config).select(["ensemble"])
        return
    label, runs = labels_of(study), study.config["replicates"]
    models = Study(study.config).models
    paired = table(study, "tables/significance.csv")
    paired = paired[(paired["metric"] == "mcc") & (paired["test"] == "permutation")]
    paired = paired[paired["model_b"].notna()]
    paired = paired.assign(ensemble=[models[name].family for name in paired["model_a"]])
    over = table(study, "tables/ensemble_comparisons.csv").query("metric == 'mcc'")
    groups = []
    for family, against in (
        ("against_best_member", "best_member"),
        ("against_best_single", "best_single"),
        ("against_seed_ensemble", "seed_average"),
    ):
        part = over[over["against"] == against] if runs > 1 else paired[paired["family"] == family]
        groups.append(part[part["difference"].notna()])
    groups.append(paired[paired["family"] == "seed_averages_against_best_member"])
    expected = []
    for part in groups:
        for row in part.sort_values("difference", ascending=False, kind="stable").itertuples():
            expected.append((label[row.ensemble], row))
    canvas = paint(study, "gains", monkeypatch).canvas
    (axes, _) = canvas.axes
    assert [text for text, _ in rows_of(axes)] == [text for text, _ in expected]
    picked = chosen(study)
    for (_, place), (_, row) in zip(rows_of(axes), expected, strict=True):
        values, ends, filled = at(axes, place)
        assert values == pytest.approx([row.difference])
        assert ends == [pytest.approx((row.ci_low, row.ci_high))]
        assert filled == (row.ensemble in picked)
    primary = groups[0]
    found = (primary["reject"].astype(str) == "True").sum()
    assert len(primary) == 11
    number = "None" if not found else str(found)
    assert f"{number} of the 11 primary differences from the best member" in note(canvas)
    labels = [tick.get_text().replace("\n", " ") for tick in axes.get_yticklabels()]
    assert any(text.endswith("5 trainings, 1 head") for text in labels)
    assert any(text.endswith("5 trainings, 2 heads") for text in labels)
    if Study(study.config).select(["seed_ensemble"]):
        assert any(text.endswith("averaged: 3 trainings") for text in labels)
    else:
        assert "no ensemble of 3 seeds of one loss to compare with" in note(canvas)


def test_every_recall_is_its_row(study, monkeypatch):
    metrics = table(study, "tables/metrics.csv").query("split == 'test'")
    models, picked = Study(study.config).models, table(study, "ensembles/chosen.csv")
    picked = set(picked.query("what != 'overall'")["model"])
    canvas = paint(study, "recall", monkeypatch).canvas
    panels = [axes for axes in canvas.axes if axes.get_title(loc="left")]
    manifest = table(study, "data/manifest.csv").query("split == 'test'")
    for axes, name in zip(panels, study.config["classes"], strict=True):
        part = metrics[(metrics["metric"] == f"recall_{name}") & metrics["scaled_from"].isna()]
        part = part[part["model"].isin(models)]
        marks = [line for line in axes.lines if line.get_marker() in ("o", "D")]
        assert sorted(float(line.get_xdata()[0]) for line in marks) == pytest.approx(
            sorted(part["value"])
        )
        filled = [float(m.get_xdata()[0]) for m in marks if m.get_markerfacecolor() != "white"]
        assert sorted(filled) == pytest.approx(
            sorted(part.loc[part["model"].isin(picked), "value"])
        )
        ends = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"]
        assert sorted(ends) == [
            pytest.approx(pair)
            for pair in sorted(zip(part["ci_low"], part["ci_high"], strict=True))
        ]
        size = int((manifest["label"] == name).sum())
        assert " ".join(axes.get_title(loc="left").split()).endswith(f"n = {size}")


def test_a_collapsed_model_is_at_0_in_every_panel_but_one(tmp_path, monkeypatch):
    made = synthetic_results.make(
        tmp_path,
        test_images=40,
        losses=["cce", "focal"],
        collapsed=("cce", "focal"),
        ensembles=False,
        gradcam=False,
        with_tables=False,
    )
    synthetic_results.tables(made.results, made.config, only=TABLES)
    panels = paint(made, "recall", monkeypatch).canvas.axes[:3]
    for number, axes in enumerate(panels):
        marks = [line for line in axes.lines if line.get_marker() in ("o", "D")]
        assert [float(mark.get_xdata()[0]) for mark in marks] == [float(number == 0)] * 2
    canvas = paint(made, "forest_mcc", monkeypatch).canvas
    assert [text.get_text() for text in canvas.axes[0].texts].count("not defined") == 2
    assert column(canvas) == ["reference", "0.00 (0.00 to 0.00)"]
    assert canvas.axes[1].get_xlim() == pytest.approx((-0.1, 0.1))
    assert all(DAGGER in tick.get_text() for tick in canvas.axes[0].get_yticklabels())


@pytest.mark.parametrize("metric", Significance.model_fields["metric"].annotation.__args__)
def test_the_figure_is_named_by_its_metric(metric):
    config = synthetic_results.configuration(losses=["cce", "focal"])
    config["significance"]["metric"] = metric
    figures = catalog.figures(config)
    assert f"forest_{metric}" in figures and not {"forest_accuracy"} & {*figures} - {
        f"forest_{metric}"
    }
    word = figures[f"forest_{metric}"].title.partition(" of every model")[0]
    # The catalogue, which the Snakefile reads, cannot import the metrics' own titles.
    assert word.lower() == lookup(metric).metric.title.lower()


def test_the_flow_counts_every_image_once(study, monkeypatch):
    manifest = table(study, "data/manifest.csv")
    canvas = paint(study, "splits", monkeypatch).canvas
    said = [text.get_text() for text in canvas.axes[0].texts]
    joined = " ".join(said)
    assert f"Found: {len(manifest) + 2} images" in joined
    assert "Left out: 2 images 1: " in joined
    assert {"1: not readable", "1: patient is in the shipped test set"} <= {*said}
    patients = manifest["patient_id"].nunique()
    assert f"Used: {len(manifest)} images of {patients} patients" in joined
    cells = [text for text in said if re.fullmatch(r"[\d,]+ \([\d,]+\)", text)]
    of = manifest.groupby(["label", "split"])["patient_id"]
    assert cells == [
        f"{of.size()[label, split]} ({of.nunique()[label, split]})"
        for label in study.config["classes"]
        for split in ("train", "val", "ensemble", "test")
    ]
    for split in ("train", "val", "ensemble", "test"):
        part = manifest[manifest["split"] == split]
        assert f"{len(part)} images of {part['patient_id'].nunique()} patients" in joined


def test_reasons_are_grouped_and_what_is_kept_is_not_left_out(one, monkeypatch, tmp_path):
    rejected = pd.DataFrame(
        [("a", "phantom-cxr", f"only {n} pixels wide") for n in (3, 4, 5)]
        + [("b", "phantom-cxr", "identical copy of an image that is used")] * 2
        + [("c", "phantom-cxr", "image kept, lesion_mask not used: damaged")]
        + [("d", "phantom-lungs-train", "not readable")],
        columns=["image_id", "source", "reason"],
    )
    path = tmp_path / "rejected.csv"
    rejected.to_csv(path, index=False)
    canvas = paint(one, "splits", monkeypatch, rejected=str(path)).canvas
    said = [text.get_text().replace("\n", " ") for text in canvas.axes[0].texts]
    assert "Left out: 6 images" in said
    assert "3: such as: only 3 pixels wide" in said
    assert "2: identical copy of an image that is used" in said
    reasons = pd.Series(list("abcdefgh") * 2)
    assert flow._reasons(reasons)[-1] == "4: other reasons, see data/rejected.csv"
    assert flow._reasons(reasons.iloc[:0]) == ["none"]


def test_divisions_that_are_drawn_anew_are_said_to_be(one, monkeypatch):
    monkeypatch.setitem(one.config["splits"], "redraw", True)
    canvas = paint(one, "splits", monkeypatch).canvas
    said = " ".join(text.get_text().replace("\n", " ") for text in canvas.axes[0].texts)
    assert "drawn anew for each training run; those of run 0 are shown" in said


def test_external_tests_have_their_own_box(tmp_path, monkeypatch):
    made = synthetic_results.make(
        tmp_path,
        test_images=30,
        losses=["cce"],
        ensembles=False,
        gradcam=False,
        with_tables=False,
        external=("elsewhere",),
    )
    result = paint(made, "splits", monkeypatch)
    said = [text.get_text().replace("\n", " ") for text in result.canvas.axes[0].texts]
    assert "external: elsewhere" in " ".join(said)
    assert "80 images found, 0 left out" in " ".join(said)
    manifest = table(made, "data/manifest.csv")
    own = manifest[~manifest["split"].str.startswith("external")]
    assert f"Found: {len(own) + 2} images" in said
    assert "external: elsewhere 80 images" in result.facts


def test_optimism_is_sorted_and_told(study, monkeypatch):
    figures = catalog.figures(study.config)
    if "optimism" not in figures or study.config["replicates"] > 1:
        pytest.skip("one run with ensembles")
    if not (study.results / "tables/optimism.csv").exists():
        synthetic_results.tables(study.results, study.config, only=["optimism"])
    rows = table(study, "tables/optimism.csv").query("metric == 'mcc'")
    rows = rows.assign(last=rows["method"] == "best_single", down=-rows["difference"])
    rows = rows.sort_values(["last", "down"], kind="stable")
    canvas = paint(study, "optimism", monkeypatch).canvas
    expected = [
        f"{signed(row.difference)} ({signed(row.ci_low)} to {signed(row.ci_high)})"
        if pd.notna(row.ci_low)
        else f"{signed(row.difference)} (no interval)"
        for row in rows.itertuples()
    ]
    assert column(canvas) == expected


def test_the_figures_of_a_paper_are_at_most_six():
    everything = catalog.figures(synthetic_results.configuration())
    main = {figure.main: name for name, figure in everything.items() if figure.main}
    assert main == {
        1: "splits",
        2: "forest_mcc",
        3: "gains",
        4: "optimism",
        5: "recall",
        6: "reliability",
    }
    plain = synthetic_results.configuration(ensembles=False, gradcam=False, losses=["cce"])
    left = {figure.main for figure in catalog.figures(plain).values() if figure.main}
    assert left == {1, 2, 5, 6}


def test_a_page_holds_recalls_of_fifteen_classes(tmp_path, monkeypatch):
    """Twelve losses and their ensembles: nothing taller than 220 mm."""
    names = [f"class {number}" for number in range(15)]
    made = synthetic_results.make(
        tmp_path, test_images=60, classes=names, gradcam=False, with_tables=False
    )
    synthetic_results.tables(made.results, made.config, resamples=5, only=["metrics", "degenerate"])
    canvas = paint(made, "recall", monkeypatch).canvas
    assert canvas.get_size_inches()[1] * 25.4 <= 220
