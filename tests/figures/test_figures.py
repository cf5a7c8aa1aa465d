"""Figures: the catalogue, what is drawn, and whether a reader can read it."""

import json
import re
import subprocess
import sys
import warnings
from functools import cache
from typing import get_args

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pytest
import synthetic_results
from drawn import few, paint, unreadable
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from multiloss import study as study_models
from multiloss.config.models import Figures
from multiloss.evaluation import segmentation_scores
from multiloss.figures import (
    catalog,
    comparisons,
    degenerate,
    drawing,
    heat_maps,
    style,
)
from multiloss.figures.data import steps
from multiloss.figures.sizes import sizes
from multiloss.gradcam.heat import cut, to_original
from multiloss.job.errors import UserError

LONG = "Pleural effusion or haemothorax of the left costophrenic angle, Grade II/III (post-op)"
NIH = [
    *("No Finding", "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule"),
    *("Pneumonia", "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis"),
    *("Pleural_Thickening", "Hernia"),
]
ODD = ['_<b>5 & $x^$y$ "mm"', "None", "'s_1'", "_", "a" * 70, "$", "nan"]
# Names that are long, many, or special to the libraries that draw or read them.
NAMES = {
    "two long": ["_normal", LONG],
    "seven odd": ODD,
    "seven long": [f"{LONG}, {word}" for word in NIH[:7]],
    "fifteen": NIH,
    "fifteen long": [f"{LONG}, {name}" for name in NIH],
    "twenty": [f"class number {number}" for number in range(20)],
}


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> synthetic_results.Study:
    folder = tmp_path_factory.mktemp("values")
    losses = ["cce", "focal", "calibrated_cce"]
    return synthetic_results.make(folder, test_images=60, losses=losses)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def label_of(study: synthetic_results.Study, model: str) -> str:
    return study_models.read_models(study.results / "data/models.csv")[model].label


# -- catalogue ---------------------------------------------------------------------------


CONFIGS = {
    "default": {},
    "two runs": {"replicates": 2, "ablations": ("without_crop", "without_class_weights")},
    "one loss": {"losses": ["cce"], "ensembles": False},
    "further seeds": {"further_seeds": True},
    "no Grad-CAM": {"gradcam": False, "ensembles": False, "classes": 2},
}


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_every_entry_can_be_drawn_and_read(options):
    config = synthetic_results.configuration(**options)
    for name, figure in catalog.figures(config).items():
        assert figure.name == name
        assert callable(drawing.drawing_function(figure.draw))
        json.dumps([figure.draw, figure.params])  # what Snakemake stores as parameters
        for text in (figure.title, figure.category, figure.caption):
            assert text and not re.search(r"[{}]|  |\n| [,;.]", text), (name, text)


def test_switched_off_steps_have_no_figures():
    full = catalog.figures(synthetic_results.configuration(replicates=2))
    assert {"replicates", "optimism", "gradcam_cce-r1", "gradcam_model_level-top5-r0"} <= set(full)
    plain = catalog.figures(synthetic_results.configuration(gradcam=False, ensembles=False))
    missing = {"replicates", "optimism", "localisation", "gradcam_montage", "gradcam_cce-r0"}
    assert not missing & set(plain)
    assert {"forest_mcc", "roc", "segmentation_overlays"} <= set(plain)
    for figure in plain.values():
        assert "ensemble," not in figure.caption.replace("ensemble split", "")
        assert not any("gradcam" in str(path) for path in figure.inputs.values())
    one = catalog.figures(synthetic_results.configuration(losses=["cce"], ensembles=False))
    assert not {"rank", "diversity"} & set(one)


@pytest.mark.parametrize(
    ("name", "sentence", "options"),
    [
        ("learning_curves", "Thin lines are the single training runs.", {"replicates": 2}),
        ("forest_mcc", "Small dots are the training runs", {"replicates": 2}),
        ("forest_mcc", "Small dots are the training runs", {"further_seeds": True}),
        (
            "forest_mcc",
            "intervals over patients (single images where patients are unknown) and training runs",
            {"replicates": 2},
        ),
        ("recall", "A row with several training runs", {"further_seeds": True}),
        ("gradcam_montage", "but the one without the crop", {"ablations": ("without_crop",)}),
        ("gradcam_montage", "Models of training run 0.", {"replicates": 2}),
    ],
)
def test_captions_say_what_only_some_studies_have(name, sentence, options):
    def caption(**options):
        return catalog.figures(synthetic_results.configuration(**options))[name].caption

    assert sentence in caption(**options)
    assert sentence not in caption()


def test_a_caption_is_that_of_the_study():
    config = synthetic_results.configuration(losses=["focal", "cce"])
    config["evaluation"]["confidence"] = 0.9
    config["significance"] |= {"baseline": "focal", "alpha": 0.01}
    config["figures"]["diverging"] = "RdBu"
    assert catalog.figures(config)["significance_heatmap"].caption == (
        "Each model against the baseline, on the same test images; further blocks where the study "
        "has them. The noise floor compares two trainings with the same objective, which differ by "
        "luck alone. Colour: difference of the metric named above the column (red: worse, blue: "
        "better). Number: p value of the paired test, adjusted over its family, by step-down max-T "
        "for the permutation test and by Holm's method for the others; bold with a frame where it "
        "is at most 0.01. McNemar's test treats images as independent and is shown for comparison "
        "only."
    )
    config["replicates"] = 2
    caption = catalog.figures(config, "images")["replicates"].caption
    assert "Right: difference of the mean MCC to focal loss, with a 90% interval" in caption
    assert "the choice of seeds and the choice of images as chance" in caption


def test_a_colour_scale_has_its_own_words():
    """Each scale that a config may name, by the colours of its two ends."""
    words = {"PuOr": ("orange", "purple"), "RdBu": ("red", "blue"), "BrBG": ("brown", "blue-green")}
    allowed = get_args(Figures.model_fields["diverging"].annotation)
    assert set(allowed) == set(words)
    for scale, (worse, better) in words.items():
        config = synthetic_results.configuration()
        config["figures"]["diverging"] = scale
        caption = catalog.figures(config)["significance_heatmap"].caption
        assert f"({worse}: worse, {better}: better)" in caption


ENTRY = """
sentences: {scale: "from {{ low }} to {{ high }}"}
figures:
  - name: "{{ model.name }}"
    title: A title
    category: Ensembles
    draw: performance.forest
    for: model in study.select(["single"])
    inputs:
      one: tables/a.csv
      never: "{% if not study.models %}tables/b.csv{% endif %}"
      several: {for: loss in config.segmentation.losses, path: "b/{{ loss.name }}.csv"}
    params: {names: "{{ study.listed | list }}", run: "{{ model.replicate }}", said: as it is}
    caption: >-
      Of {{ percent }}{# a remark #}
      {% if config.replicates > 1 %}
      and more
      {% endif %}
      here.
"""


def entries(monkeypatch, tmp_path, text):
    """The figures of a catalogue with this text."""
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    for function in (catalog._catalog, catalog._environment, catalog._template, catalog._compiled):
        monkeypatch.setattr(catalog, function.__name__, cache(function.__wrapped__))
    monkeypatch.setattr(catalog, "CATALOG", path)
    return catalog.figures(synthetic_results.configuration(losses=["cce", "focal"]))


def test_an_entry_is_read_as_it_says(monkeypatch, tmp_path):
    figures = entries(monkeypatch, tmp_path, ENTRY)
    assert list(figures) == ["cce-r0", "focal-r0"]
    assert figures["focal-r0"] == catalog.Figure(
        "focal-r0",
        "A title",
        "Ensembles",
        "performance.forest",
        {
            "one": "tables/a.csv",
            "several": [f"b/{name}.csv" for name in synthetic_results.SEGMENTATION_LOSSES],
        },
        {"names": ["cce", "focal"], "run": 0, "said": "as it is"},
        "Of 95% here.",
    )
    assert figures["focal-r0"].files("results/x")["one"] == ["results/x/tables/a.csv"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{{ percent }}", "{{ per_cent }}", "'per_cent' is undefined"),
        ("{{ percent }}", '{% include "scale" %}', "'low' is undefined"),
        ("config.replicates > 1", "config.replicas > 1", "has no attribute 'replicas'"),
        ("study.listed | list", "study.lists", "has no attribute 'lists'"),
        ("study.select", "studies.select", "'studies' is undefined"),
        ("{% endif %}", "", "Unexpected end of template"),
        ("{{ model.name }}", "twice", "another figure has this name"),
        ("title:", "tilte:", "no 'title'"),
        ("    for: model", "    unless: x\n    for: model", "unknown key 'unless'"),
    ],
)
def test_a_faulty_entry_is_named(monkeypatch, tmp_path, old, new, message):
    assert old in ENTRY
    with pytest.raises(UserError, match=r"catalog\.yaml: figure '.*': ") as caught:
        entries(monkeypatch, tmp_path, ENTRY.replace(old, new))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_changed_loss_parameter_leaves_other_models_figures_alone():
    before = synthetic_results.configuration()
    after = synthetic_results.configuration()
    after["classification"]["losses"][3]["gamma"] = 3.0
    assert catalog.figures(before) == catalog.figures(after)


def test_a_model_trained_without_crop_has_its_heat_on_the_whole_image():
    figures = catalog.figures(synthetic_results.configuration(ablations=("without_crop",)))
    assert not figures["gradcam_cce_without_crop-r0"].params["cropped"]
    assert figures["gradcam_cce-r0"].params["cropped"]


def test_style_defaults_are_the_configurations():
    assert style.Style.of(Figures().model_dump()) == style.Style()


# -- every figure, drawn -----------------------------------------------------------------


# Kinds of names drawn in every run of the tests; the journals' tests have odd names and fifteen.
QUICK = ("two long",)
# Functions that write names of classes; what others draw does not depend on them.
OF_CLASSES = {
    *(
        "flow.participants",
        "data.samples",
        "data.crop_overview",
        "heat_maps.model",
        "heat_maps.montage",
    ),
    *("performance.confusion_chosen", "performance.recall", "performance.roc"),
    *("performance.pr", "comparisons.significance", "calibration.by_class"),
}


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param(classes, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, classes in NAMES.items()
    ],
)
def test_class_names_of_any_kind_are_readable(classes, tmp_path, monkeypatch):
    losses = ["cce", "calibrated_cce"]
    made = synthetic_results.make(
        tmp_path, test_images=90, classes=classes, losses=losses, with_tables=False
    )
    wanted = ("metrics", "confusion", "curves", "significance", "degenerate")
    wanted += ("calibration_curves", "calibration_histograms")
    synthetic_results.tables(made.results, made.config, only=wanted)
    problems = {}
    figures = catalog.figures(made.config)
    for name in few(figures):
        if figures[name].draw not in OF_CLASSES:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a legend entry that is left out, a missing letter
            canvas = paint(made, name, monkeypatch).canvas
        problems[name] = unreadable(canvas)
        plt.close(canvas)
    assert [(name, found[:3]) for name, found in problems.items() if found] == []


def test_draw_writes_picture_vector_and_facts(three, monkeypatch, tmp_path):
    monkeypatch.chdir(three.folder)
    figure = catalog.figures(three.config)["segmentation_dice"]
    paths = [tmp_path / f"dice.{end}" for end in ("png", "svg", "json")]
    inputs = figure.files(three.results)
    drawing.draw(figure.draw, figure.params, inputs, {"dpi": 150}, *paths)
    image = cv2.imread(str(paths[0]))
    assert image.shape[1] == pytest.approx(85 / 25.4 * 150, abs=1)
    vector = paths[1].read_text(encoding="utf-8")
    assert "<dc:date>" not in vector
    # Letters are text and no outlines, in a font that most readers have one of.
    assert re.search(r"'DejaVu Sans', [^>]*sans-serif[^>]*>Dice coefficient</text>", vector)
    record = json.loads(paths[2].read_text(encoding="utf-8"))
    assert "n = 20 images" in record["facts"]


def test_the_same_input_gives_the_same_bytes(three, tmp_path, root):
    """In another process, with other hashes of strings."""
    code = """
import json, sys
from multiloss.figures import drawing
for name, function, params, inputs in json.loads(sys.argv[1]):
    ends = ("png", "tif", "svg", "pdf", "csv", "json")
    outputs = [f"{sys.argv[2]}/{name}.{end}" for end in ends]
    drawing.draw(function, params, inputs, {}, *outputs)
"""
    figures = [catalog.figures(three.config)[name] for name in ("splits", "gradcam_cce-r0")]
    jobs = json.dumps(
        [[each.name, each.draw, each.params, each.files(three.results)] for each in figures]
    )
    written = []
    for number in (1, 2):
        out = tmp_path / str(number)
        out.mkdir()
        environment = {"PYTHONHASHSEED": str(number), "PYTHONPATH": str(root / "workflow")}
        command = [sys.executable, "-c", code, jobs, str(out)]
        subprocess.run(command, cwd=three.folder, env=environment, check=True)
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(written[0]) == 12 and written[0].keys() == written[1].keys()
    assert [name for name in written[0] if written[0][name] != written[1][name]] == []


def test_a_class_named_with_dollar_signs_is_no_formula(tmp_path, monkeypatch):
    made = synthetic_results.make(
        tmp_path, test_images=30, classes=["a$x_1$", "b"], losses=["cce"], ensembles=False
    )
    canvas = paint(made, "splits", monkeypatch).canvas
    texts = [text for text in canvas.findobj(Text) if text.get_text() == "a$x_1$"]
    assert texts and not any(text.get_parse_math() for text in texts)


def test_a_table_without_its_column_is_named(three, monkeypatch, tmp_path):
    figure = catalog.figures(three.config)["recall"]
    broken = tmp_path / "metrics.csv"
    pd.read_csv(three.results / "tables/metrics.csv").drop(columns="ci_low").to_csv(broken)
    outputs = [tmp_path / f"x.{end}" for end in ("png", "svg", "json")]
    files = {"metrics": str(broken), "models": str(three.results / "data/models.csv")}
    with pytest.raises(UserError, match=r"metrics\.csv: no column 'ci_low'"):
        drawing.draw(figure.draw, figure.params, files, {}, *outputs)
    assert not any(path.exists() for path in outputs)


# -- numbers in the pictures -------------------------------------------------------------


def test_confusion_matrix_shows_the_counts_of_the_table(three, monkeypatch):
    result = paint(three, "confusion_matrices", monkeypatch)
    table = pd.read_csv(three.results / "tables/confusion.csv")
    chosen = pd.read_csv(three.results / "ensembles/chosen.csv").set_index("what")["model"]
    part = table[(table["model"] == chosen["single"]) & (table["split"] == "test")]
    axes = result.canvas.axes[0]
    shown = [int(text.get_text().split("\n")[0]) for text in axes.texts]
    assert shown == part["count"].tolist()
    counts = np.array(shown).reshape(3, 3)
    percent = [text.get_text().split("\n")[1] for text in axes.texts]
    assert percent[0] == f"{counts[0, 0] / counts[0].sum():.0%}"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("calibration", "calibration_scores"),
        ("rank", "rank"),
        ("diversity", "diversity"),
        ("recall", "metrics"),
        ("localisation", "localisation"),
        ("faithfulness", "localisation"),
    ],
)
def test_every_figure_says_where_a_model_has_no_result(three, monkeypatch, tmp_path, name, table):
    """As the tables of a study with a failed training are: rows missing, or values empty."""
    rows = pd.read_csv(three.results / f"tables/{table}.csv")
    if "value" in rows and table != "rank":
        rows.loc[rows["model"].str.startswith("focal-"), ["value", "ci_low", "ci_high"]] = np.nan
    else:
        for column in {"model", "model_a", "model_b"} & set(rows):
            rows = rows[~rows[column].str.startswith("focal-")]
    rows.to_csv(tmp_path / "table.csv", index=False)
    figure = catalog.figures(three.config)[name]
    real = [str(three.results / f"tables/{table}.csv")]
    files = {
        key: [str(tmp_path / "table.csv")] if paths == real else paths
        for key, paths in figure.files(three.results).items()
    }
    assert files != figure.files(three.results)
    result = paint(three, name, monkeypatch, files)
    said = [text.get_text() for text in result.canvas.findobj(Text)]
    assert any(style.NO_RESULT in text for text in said)
    assert any(text.startswith("focal") for text in said)
    complete = paint(three, name, monkeypatch)
    assert not any(style.NO_RESULT in t.get_text() for t in complete.canvas.findobj(Text))


def test_failed_runs_are_counted_in_the_spread(tmp_path, monkeypatch):
    losses = ["cce", "focal"]
    made = synthetic_results.make(tmp_path, losses=losses, replicates=3, test_images=60)
    path = made.results / "tables/replicates.csv"
    table = pd.read_csv(path)
    table.loc[table["metric"] == "mcc", ["seed_sd", "loss_sd"]] = 0.0123, 0.0456
    first = table.index[table["metric"] == "mcc"][0]
    runs = table.loc[first, "runs"].split(";")
    table.loc[first, "runs"] = ";".join(["", *runs[1:]])
    table.to_csv(path, index=False)
    result = paint(made, "replicates", monkeypatch)
    assert "; 1 run failed." in result.facts
    assert "between the runs of a loss 0.012 (pooled), between the losses 0.046" in result.facts
    # On the right, the interval of each crossed comparison.
    crossed = pd.read_csv(made.results / "tables/replicate_comparisons.csv")
    crossed = crossed[crossed["metric"] == "mcc"]
    drawn = [line.get_xdata() for line in result.canvas.axes[1].lines]
    assert len(crossed) == 1
    for row in crossed.itertuples():
        assert any(len(x) == 2 and x == pytest.approx([row.ci_low, row.ci_high]) for x in drawn)


def test_learning_curves_hold_the_histories(three, monkeypatch):
    result = paint(three, "learning_curves", monkeypatch)
    history = pd.read_csv(three.results / "models/cce/0.history.csv")
    lines = [line.get_ydata() for line in result.canvas.axes[0].lines]
    assert any(np.array_equal(line, history["val_mcc"]) for line in lines)


def test_rank_shows_each_rank_with_its_interval(three, monkeypatch):
    table = pd.read_csv(three.results / "tables/rank.csv")
    table = table[table["kind"] == "single"].sort_values("rank_observed")
    result = paint(three, "rank", monkeypatch)
    (axes,) = result.canvas.axes
    shown = [
        tick.get_text().split("\N{NO-BREAK SPACE}\N{DAGGER}")[0] for tick in axes.get_yticklabels()
    ]
    assert shown == [label_of(three, name) for name in table["model"]]
    lines = [line.get_xydata().tolist() for line in axes.lines]
    for place, row in enumerate(table.itertuples()):
        assert [[row.rank_observed, place]] in lines
        assert [[row.rank_first, place], [row.rank_last, place]] in lines
    best = int((table["rank_first"] == 1).sum())
    assert result.facts.startswith(f"By tests of 3 pairs, {best} of 3 models may be the best, and ")


def test_faithfulness_shows_the_curves_of_the_table(three, monkeypatch):
    table = pd.read_csv(three.results / "tables/localisation.csv")
    result = paint(three, "faithfulness", monkeypatch)
    first = result.canvas.axes[0]
    assert first.get_title(loc="left") == label_of(three, table["model"].iloc[0])
    drawn = [line.get_xydata() for line in first.lines]
    for curve in ("deletion", "insertion", "random"):
        points = table[(table["model"] == "cce-r0") & (table["metric"] == f"{curve}_curve")]
        assert len(points) == 6
        expected = points[["threshold", "value"]].to_numpy()
        assert any(len(xy) == 6 and np.allclose(xy, expected) for xy in drawn)


def test_significance_marks_what_holm_rejects(three, monkeypatch):
    table = pd.read_csv(three.results / "tables/significance.csv")
    table = table[(table["family"] != "calibrated_against_plain") & table["model_b"].notna()]
    result = paint(three, "significance_heatmap", monkeypatch)
    cells = [t for axes in result.canvas.axes for t in axes.texts]
    bold = [t for t in cells if t.get_fontweight() == "bold"]
    assert len(cells) == len(table)
    assert len(bold) == table["reject"].sum() > 0


@pytest.mark.parametrize(
    ("known", "said", "head"),
    [
        ([False, False, False], "of unknown patients", "images"),
        ([True, False, True], "of at most 2 patients", "images (at most patients)"),
        ([True, True, True], "of 2 patients", "images (patients)"),
    ],
)
def test_figures_count_no_patients_that_are_not_known(
    three, monkeypatch, tmp_path, known, said, head
):
    manifest = pd.read_csv(three.results / "data/manifest.csv")
    rows = manifest[manifest["split"] == "test"].head(3)
    rows = rows.assign(patient_known=known, patient_id=["a", "b", "b"])
    path = tmp_path / "manifest.csv"
    rows.to_csv(path, index=False)
    figures = catalog.figures(three.config)
    files = figures["splits"].files(three.results) | {"manifest": str(path)}
    result = paint(three, "splits", monkeypatch, files)
    assert f"test 3 images {said}." in result.facts
    assert head in [text.get_text() for text in result.canvas.axes[0].texts]
    files = figures["forest_mcc"].files(three.results) | {"manifest": str(path)}
    assert sizes(drawing.Inputs(files), pd.DataFrame({"n": [3]})) == f"n = 3 images {said}"


def test_captions_name_what_is_resampled():
    config = synthetic_results.configuration()
    for units in ("patients", "images"):
        figures = catalog.figures(config, units)
        assert f"95% intervals over {units}, not corrected" in figures["forest_mcc"].caption
        assert f"({units} drawn with replacement)" in figures["rank"].caption
    captions = [figure.caption for figure in catalog.figures(config, "images").values()]
    left = {text for text in captions if "patient" in text.replace("no patient", "")}
    assert left == {figures[name].caption for name in ("splits", "samples")}


def test_a_network_of_whole_images_is_not_said_to_see_crops():
    config = synthetic_results.configuration(ablations=("without_crop",))
    figures = catalog.figures(config)
    assert "of which the network saw all" in figures["gradcam_cce_without_crop-r0"].caption
    assert "inside the crop box" in figures["gradcam_cce-r0"].caption
    assert "of every model but the one without the crop" in figures["gradcam_montage"].caption


# -- images ------------------------------------------------------------------------------


def test_heat_lies_in_the_box_of_the_original(three, monkeypatch):
    heat = np.array([[0.0, 1.0]], np.float16)
    whole = to_original(heat, (10, 20, 8, 4), (50, 60))
    assert whole.shape == (50, 60) and whole[20:24, 17].min() == 1.0
    whole[20:24, 10:18] = 0
    assert whole.max() == 0
    assert cut(np.array([0.1, 0.2, 0.9], np.float32), 0.2).tolist() == pytest.approx([0, 0.2, 0.9])


def test_overlay_leaves_pixels_without_heat_as_they_are():
    image = np.full((2, 2), 100, np.uint8)
    heat = np.array([[0.0, 1.0], [0.0, 0.0]], np.float32)
    shown = heat_maps.overlay(image, heat, "inferno")
    assert shown[0, 0] == pytest.approx([100 / 255] * 3)
    tint = np.array(plt.get_cmap("inferno")(1.0)[:3])
    share = heat_maps.STRONGEST_TINT
    assert shown[0, 1] == pytest.approx((1 - share) * 100 / 255 + share * tint)


def test_images_are_chosen_by_the_rule_of_the_caption():
    table = pd.DataFrame({"p": np.arange(8) / 10}, index=list("abcdefgh"))
    # From most to least confident h..a, in two halves: the middle of each.
    assert heat_maps.choose(table, 2)["image_id"].tolist() == ["f", "b"]
    assert heat_maps.choose(table, 9)["image_id"].tolist() == list("hgfedcba")
    assert heat_maps.choose(table.iloc[:0], 2).empty
    same = pd.DataFrame({"p": [0.5] * 3}, index=["b", "c", "a"])
    assert heat_maps.choose(same, 1)["image_id"].tolist() == ["b"]


def test_steps():
    assert steps(8, 2) == [2, 6]
    assert steps(3, 5) == [0, 1, 2]
    assert steps(0, 4) == []


def test_gradcam_shows_right_and_wrong_of_each_class_and_marks_flat_maps(three, monkeypatch):
    result = paint(three, "gradcam_cce-r0", monkeypatch)
    texts = [text.get_text() for text in result.canvas.findobj(Text)]
    predictions = pd.read_csv(three.results / "predictions/cce-r0.csv")
    test = predictions[predictions["split"] == "test"]
    columns = [f"p_{name}" for name in three.config["classes"]]
    said = np.array(three.config["classes"])[test[columns].to_numpy().argmax(axis=1)]
    for name in three.config["classes"]:
        right, total = (said[test["label"] == name] == name).sum(), (test["label"] == name).sum()
        assert f"true class {name}: {right} of {total} correct" in texts
        assert sum(t.startswith(f"+ predicted {name} ") for t in texts) == min(2, right)
    wrong = sum(t.startswith("\N{MINUS SIGN} predicted") for t in texts)
    expected = [(said[test["label"] == name] != name).sum() for name in three.config["classes"]]
    assert wrong == sum(min(2, int(number)) for number in expected)


def stamped(canvas: Figure) -> list[bool]:
    """For each panel with a grey image or an overlay, whether it says PHANTOM."""
    pictures = [axes for axes in canvas.findobj(Axes) if axes.images and not axes.get_xlabel()]
    return [any(text.get_text() == "PHANTOM" for text in axes.texts) for axes in pictures]


@pytest.mark.parametrize(
    ("name", "panels"),
    [("samples", 18), ("crop_overview", 12), ("segmentation_overlays", 12)],
)
def test_every_picture_of_a_phantom_says_so(three, monkeypatch, tmp_path, name, panels):
    marks = stamped(paint(three, name, monkeypatch).canvas)
    assert marks == [True] * panels
    # The same pictures as one's own, with lungs from the phantoms and without any.
    for sources in (("phantom-cxr",), ("phantom-lungs-train", "phantom-lungs-test")):
        config = json.loads(json.dumps(three.config))
        for source in config["data"]["sources"]:
            if source["name"] in sources:
                source["layout"] = "folders"
        own = synthetic_results.Study(three.folder, three.results, config, [], [])
        is_phantom = ("phantom-cxr" not in sources) == (name != "segmentation_overlays")
        assert stamped(paint(own, name, monkeypatch).canvas) == [is_phantom] * panels


def test_heat_over_a_phantom_says_so(three, monkeypatch):
    canvas = paint(three, "gradcam_cce-r0", monkeypatch).canvas
    grids = [axes for axes in canvas.findobj(Axes) if axes.images]
    marked = [any(t.get_text() == "PHANTOM" for t in axes.texts) for axes in grids]
    # Original, heat map, overlay: the heat alone shows nothing of the picture.
    assert marked[:-1] == [True, False, True] * (len(marked) // 3)
    montage = paint(three, "gradcam_montage", monkeypatch).canvas
    pictures = [axes for axes in montage.findobj(Axes) if axes.images and axes.get_title()]
    assert pictures
    for axes in pictures:
        assert any(t.get_text() == "PHANTOM" for t in axes.texts)


def test_few_cells_are_drawn_as_cells(three, monkeypatch):
    heat = np.zeros((4, 4), np.float16)
    heat[1, 2] = 1
    drawn = heat_maps.stretched(heat, (40, 80))
    assert set(np.unique(drawn)) == {0, 1}
    assert drawn[10:20, 40:60].all() and drawn.sum() == 10 * 20
    smooth = heat_maps.stretched(np.pad(heat, 2), (40, 80))
    assert len(np.unique(smooth)) > 10
    sign = "\N{MULTIPLICATION SIGN}"
    assert heat_maps.grid_of(np.zeros((5, 4, 4))) == f"4 {sign} 4 cells"
    assert heat_maps.grid_of(np.zeros((5, 7, 7))) == f"7 {sign} 7 grid, interpolated"
    # 50% of the heat is surrounded by a line on the overlay.
    canvas = paint(three, "gradcam_cce-r0", monkeypatch).canvas
    colour = style.Style().colours[5]
    lined = [
        any(line.get_color() == colour and len(line.get_xdata()) > 2 for line in axes.lines)
        for axes in canvas.findobj(Axes)
        if axes.images
    ]
    assert any(lined)


def test_a_flat_map_is_marked_and_not_stretched(three, monkeypatch, tmp_path):
    flat = tmp_path / "flat.npz"
    with np.load(three.results / "gradcam/cce-r0.npz") as stored:
        ids = stored["image_id"]
    maps = np.zeros((len(ids), 4, 4), np.float16)
    np.savez(flat, maps=maps, flat=np.ones(len(ids), bool), image_id=ids)
    monkeypatch.chdir(three.folder)
    figure = catalog.figures(three.config)["gradcam_cce-r0"]
    files = {**figure.files(three.results), "maps": str(flat)}
    look = style.Style()
    look.apply()
    result = heat_maps.model(drawing.Inputs(files), figure.params, look)
    assert f"{len(ids)} flat maps" in result.facts
    marks = [t for t in result.canvas.findobj(Text) if t.get_text().startswith("flat map")]
    texts = [t.get_text() for t in result.canvas.findobj(Text)]
    shown = [text for text in texts if text[2:].startswith("predicted ")]
    assert "cross-entropy: heat of the predicted class, 4 \N{MULTIPLICATION SIGN} 4 cells" in texts
    assert len(marks) == len(shown) > 0
    plt.close(result.canvas)


def test_maps_of_other_images_are_refused(tmp_path):
    path = tmp_path / "maps.npz"
    np.savez(path, maps=np.zeros((2, 4, 4)), flat=np.zeros(2, bool), image_id=np.array(["a", "b"]))
    with pytest.raises(UserError, match=r"maps\.npz: 2 maps for 3 test images"):
        heat_maps.read_maps(path, ["a", "b", "c"])


def test_crop_overview_shows_the_most_suspicious_masks_first(three, monkeypatch):
    boxes = pd.read_csv(three.results / "crops/boxes.csv")
    result = paint(three, "crop_overview", monkeypatch)
    titles = [axes.get_title() for axes in result.canvas.axes]
    checks = pd.read_csv(three.results / "tables/mask_checks.csv", keep_default_na=False)
    checks = checks.merge(boxes, on="image_id").sort_values("suspicion").head(6)
    failed = int(boxes["fallback"].sum())
    assert failed > 0 and checks["fallback"].any()
    marked = ["no lung found" in title for title in titles]
    assert marked[:6] == checks["fallback"].tolist()
    assert len(titles) == 12
    assert f"of which {failed}" in result.facts


# -- marks of models, categories, p values -------------------------------------------------


@pytest.mark.parametrize(
    ("p", "crowded", "shown"),
    [
        (0.0497, False, ".0497"),
        (0.0497, True, ".0497"),
        (0.05, False, ".050"),
        (0.05004, False, ".05004"),
        (0.0502, False, ".0502"),
        (0.0123, False, ".012"),
        (0.0123, True, ".01"),
        (0.0004, False, "<.001"),
        (0.004, True, "<.01"),
        (0.1234, False, "0.12"),
        (1.0, False, "1.00"),
        (1.0, True, "1"),
        (float("nan"), False, "-"),
    ],
)
def test_a_p_value_is_written_on_its_side_of_alpha(p, crowded, shown):
    assert comparisons.p_text(p, 0.05, crowded) == shown


def test_degenerate_models_are_explained_once(tmp_path):
    path = tmp_path / "degenerate.csv"
    path.write_text(
        "model,kind,split,problem,class,value,n,n_patients\n"
        "stacking-top3-r0,ensemble,test,class_never_predicted,normal,41,110,86\n"
        "stacking-top3-r0,ensemble,test,class_never_predicted,None,1,110,86\n"
        "stacking-top3-r0,ensemble,ensemble,class_never_predicted,viral,9,39,29\n"
        "focal-r0,single,test,one_class_dominates,viral,0.934,110,86\n"
        "focal-r0,single,test,no_better_than_chance,,-0.0312,110,86\n"
        "hinge-r0,single,ensemble,no_better_than_chance,,0,39,29\n"
        "cce-r0,single,test,no_better_than_chance,,0.0512,110,86\n"
        "cce-r0,single,test,one_class_dominates,viral,0.97,110,86\n"
    )
    models = [
        study_models.Model("stacking-top3-r0", "ensemble", "x", "stacking, top\N{NO-BREAK SPACE}3"),
        study_models.Model("focal-r0", "single", "focal", "focal"),
        study_models.Model("cce-r0", "single", "cce", "cross-entropy"),
    ]
    listed = tmp_path / "models.csv"
    listed.write_text(study_models.models_text(models), encoding="utf-8")
    weak = degenerate.Degenerate.of(
        drawing.Inputs({"degenerate": str(path), "models": str(listed)})
    )
    assert weak.mark("hinge", "hinge-r0") == "hinge" and weak.note() == ""
    assert weak.mark("x", "stacking-top3-r0") == "x\N{NO-BREAK SPACE}\N{DAGGER}"
    weak.mark("focal", "focal-r0-temperature", "focal-r0")
    assert weak.note() == (
        " \N{DAGGER} Degenerate on the test split: stacking, top\N{NO-BREAK SPACE}3 never predicts "
        "'normal' (41 images) and 'None' (1 image); focal predicts 'viral' for 93% of the images "
        "and is no better than chance (MCC -0.031)."
    )
    # Models that are wrong in the same way share one sentence, their values become ranges.
    weak.mark("cross-entropy", "cce-r0")
    assert weak.note().endswith(
        "; focal and cross-entropy predict 'viral' for 93% to 97% of the images and are no better "
        "than chance (MCC -0.031 to 0.051)."
    )
    none = degenerate.Degenerate.of(drawing.Inputs({"degenerate": str(tmp_path / "absent.csv")}))
    assert none.mark("x", "focal-r0") == "x"


def test_every_class_has_a_look_of_its_own_and_a_row_in_the_flow(tmp_path, monkeypatch):
    looks = {str(sorted(style.Style().category(number).items())) for number in range(49)}
    assert len(looks) == 49
    classes = ["_other", "$x^$y$", "<b>&\"'", *NIH]
    made = synthetic_results.make(
        tmp_path, test_images=90, classes=classes, losses=["cce"], ensembles=False
    )
    said = []
    for name in ("splits", "splits_2"):
        canvas = paint(made, name, monkeypatch).canvas
        said.append([text.get_text() for text in canvas.axes[0].texts])
    # Nine on each page, in order, beside their numbers of images.
    assert len(classes) == 18
    assert [text for page in said for text in page if text in classes] == classes
    assert not set(said[0]) & set(classes[9:])


def test_folded_text_is_whole_and_no_wider_than_its_place():
    for text in (LONG, "a" * 200, "_", "x " * 60 + "y"):
        folded = style.fold(text, 30, 7.5)
        assert folded.replace("\n", "").replace(" ", "") == text.replace(" ", "")
        assert all(style.text_mm(line, 7.5) <= 30 for line in folded.split("\n"))
    names = style.Style().class_names(["normal", LONG], 20, 2)
    assert dict(names.short) == {"normal": "1", LONG: "2"}
    cut = f"{LONG[:30]}\N{HORIZONTAL ELLIPSIS}{LONG[-29:]}"
    assert f"2:\N{NO-BREAK SPACE}{cut}" in names.key
    assert names.in_text(LONG) == "class 2" and names.full(LONG) == f"2: {cut}"
    assert style.Style().class_names(["normal", "viral"], 20).key == ""


# -- names -------------------------------------------------------------------------------


@pytest.mark.parametrize("colours", ["cividis", "PuOr", "Oranges", "viridis", "Greys"])
def test_numbers_stand_out_on_every_colour(colours):
    """Contrast of at least 4.5 to 1 (WCAG 2.1), by an independent formula for sRGB."""

    def luminance(colour):
        values = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for value in np.linspace(0, 1, 101):
        ground = plt.get_cmap(colours)(value)
        pair = sorted([luminance(ground[:3]), luminance(style.ink_on(ground))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_class_names_stand_verbatim_in_the_headings_of_tests():
    look = style.Style()
    names = look.class_names(["Large_mass", "2"], 60, 1)
    head = comparisons._head("auroc_Large_mass", "delong", names, None, look)
    assert head == "AUROC, Large_mass (DeLong)"
    assert comparisons._head("f1_2", "bootstrap", names, None, look) == "F1, 2 (bootstrap)"
    assert comparisons._head("mcc", "permutation", names, None, look) == "MCC (permutation)"


def test_segmenters_have_the_titles_of_their_losses():
    labels = [segmentation_scores.label(name) for name in ("bce_dice", "focal_tversky", "and_top3")]
    assert labels == ["BCE + Dice", "focal Tversky", "AND of the top 3"]


def test_a_picture_that_is_not_the_listed_one_is_refused(tmp_path, monkeypatch):
    made = synthetic_results.make(
        tmp_path, test_images=30, losses=["cce"], ensembles=False, with_tables=False
    )
    for file in (made.folder / "results").glob("*/data/sources/*/train-*.png"):
        file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"train-\d+\.png: has changed since it was checked"):
        paint(made, "samples", monkeypatch)
