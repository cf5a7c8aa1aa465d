"""Sections on data, lung masks, crops and heat maps: what they say is what their tables say."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import report_studies
import yaml
from multiloss import config as study_config
from multiloss.job.errors import UserError
from multiloss.report import blocks, templates
from multiloss.report.facts import Facts
from multiloss.report.results import Results
from report_studies import complete
from synthetic_results import make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    study = make(
        tmp_path_factory.mktemp("data"), losses=["cce", "focal"], ensembles=False, with_tables=False
    )
    return study.results, complete(study.config)


@pytest.fixture
def changed(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of its results folder, free to be changed."""
    shutil.copytree(made[0], tmp_path / "fake")
    return tmp_path / "fake", copy.deepcopy(made[1])


def section(results: Path, config: dict[str, Any], name: str) -> blocks.Section:
    return report_studies.sections(Facts(Results(results), config))[name]


def plain(text: Any) -> str:
    return " ".join(re.sub("<[^>]*>", "", str(text)).replace("&#39;", "'").split())


def words(own: blocks.Section) -> str:
    """Its finding, text and notes, and the titles and captions of its tables."""
    said = [own.finding]
    for block in own.blocks:
        if isinstance(block, blocks.Table):
            said += [block.title, block.caption, block.how]
        elif isinstance(block, blocks.Html | blocks.Note):
            said.append(block.text)
    return plain(" ".join(map(str, said)))


def table(own: blocks.Section, name: str) -> list[list[str]]:
    """The rows of one of its tables, as read."""
    found = next(b for b in own.blocks if isinstance(b, blocks.Table) and b.id == name)
    return [[plain(cell.text) for cell in row] for row in found.rows]


def columns(own: blocks.Section, name: str) -> list[str]:
    found = next(b for b in own.blocks if isinstance(b, blocks.Table) and b.id == name)
    return [column.label for column in found.columns]


# ---- data and leakage --------------------------------------------------------------------------
def test_data_opens_with_images_patients_classes_and_the_audit(
    made: tuple[Path, dict[str, Any]],
) -> None:
    own = section(*made, "data")
    manifest = pd.read_csv(made[0] / "data/manifest.csv")
    test = manifest[manifest["split"] == "test"]
    counts = manifest["label"].value_counts()
    normal, bacterial, viral = (counts[name] for name in ("normal", "bacterial", "viral"))
    assert plain(own.finding) == (
        f"{len(manifest)} images of {manifest['patient_id'].nunique()} patients ({normal} normal, "
        f"{bacterial} bacterial and {viral} viral) were divided by patient; {len(test)} images of "
        f"{test['patient_id'].nunique()} patients are the test split. No leakage check found a "
        "leak: 2 of 3 passed, 1 found something to note (near-duplicates across splits)."
    )
    rows = table(own, "splits")
    assert [row[0] for row in rows] == ["train", "val", "ensemble", "test"]
    assert columns(own, "splits")[-3:] == ["normal", "bacterial", "viral"]
    assert [int(cell) for cell in rows[-1][-3:]] == [
        int((test["label"] == name).sum()) for name in ("normal", "bacterial", "viral")
    ]
    # What was found comes first.
    assert [row[1] for row in table(own, "leakage")] == ["note", "pass", "pass"]


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (["pass", "pass"], "All 2 leakage checks passed."),
        (["pass"], "The leakage check passed."),
        (["pass", "leak"], "1 of 2 leakage checks found a leak (patients in two splits): test"),
        (["unknown", "pass"], "1 of 2 passed, 1 could not tell because patients are unknown."),
    ],
)
def test_the_audit_is_told_as_it_is(
    changed: tuple[Path, dict[str, Any]], verdicts: list[str], told: str
) -> None:
    names = ["images_without_patient_id", "patients_in_two_splits"]
    found = [(name, "image", verdict == "leak", 9, "images", verdict)
             for name, verdict in zip(names, verdicts, strict=False)]  # fmt: skip
    keys = ["check", "level", "count", "n", "detail", "verdict"]
    pd.DataFrame(found, columns=keys).to_csv(changed[0] / "tables/leakage.csv", index=False)
    own = section(*changed, "data")
    assert told.replace("patients across", "patients across ") in str(own.finding).replace(
        "\n", " "
    )
    warned = [b for b in own.blocks if isinstance(b, blocks.Note) and b.level == "warning"]
    assert bool(warned) == ("leak" in verdicts)
    assert all("results on the test split are optimistic" in note.text for note in warned)
    for verdict in ("Pass: nothing", "Leak: test", "Note: worth", "Unknown: nothing"):
        assert verdict in words(own)


def test_a_table_without_a_column_is_named(changed: tuple[Path, dict[str, Any]]) -> None:
    path = changed[0] / "tables/leakage.csv"
    pd.read_csv(path).drop(columns="verdict").to_csv(path, index=False)
    with pytest.raises(UserError, match=r"tables/leakage\.csv has no column 'verdict'"):
        section(*changed, "data")


def test_provenance_shows_digest_licence_and_where_it_is_from(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    config["data"]["sources"][0] |= {"layout": "kermany", "license": "", "citation": ""}
    record = {
        "url": "https://example.org/a.zip",
        "sha256": "ab" * 32,
        "size": 1235512464,
        "verified": "recorded",
        "license": "CC BY 4.0",
        "citation": "Kermany 2018 <b>",
        "masks_url": "https://user:hunter2@example.org/masks.zip?token=hunter2",
        "masks_sha256": "cd" * 32,
        "masks_size": 7,
        "masks_verified": "known",
    }
    (results / "data/downloads/phantom-cxr.json").write_text(json.dumps(record))
    first, masks, *_ = table(section(results, config, "data"), "sources")
    assert first == [
        "phantom-cxr",
        "images to classify",
        "https://example.org/a.zip layout kermany, 1,235,512,464 bytes",
        f"{'ab' * 32} matches the digest recorded at the first download",
        "CC BY 4.0 Kermany 2018 &lt;b&gt;",
    ]
    assert masks[1:4] == [
        "their masks",
        "https://example.org/masks.zip layout kermany, 7 bytes",
        f"{'cd' * 32} matches the digest in the configuration",
    ]


def test_the_use_of_val_is_told_as_the_config_has_it(root: Path) -> None:
    """The published study and the default one, and every setting by itself."""
    default = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    paper = yaml.safe_load((root / "workflow/studies/paper.yaml").read_text(encoding="utf-8"))

    def merged(base: Any, more: Any) -> Any:
        if not isinstance(base, dict) or not isinstance(more, dict):
            return more
        keys = {**base, **more}
        return {k: merged(base[k], more[k]) if k in base and k in more else keys[k] for k in keys}

    def role(config: dict[str, Any]) -> str:
        facts = Facts(Results(Path("none")), config)
        macro = templates.environment(templates.FOLDER).get_template("_data.html.j2").module.role
        return " ".join(str(macro(facts, "val")).split())

    config = study_config.validate(default)
    assert role(config) == "picks the epoch of the model-level heads"
    assert role(study_config.validate(merged(default, paper))) == (
        "stops the training, lowers the learning rate and picks the epoch of the networks and of "
        "the model-level heads"
    )
    training = config["classification"]["training"]
    training |= {"keep": "last", "early_stopping": {"patience": 5, "min_delta": 0.0}}
    assert role(config) == (
        "stops the training of the networks; picks the epoch of the model-level heads"
    )
    training["early_stopping"] = None
    config["ensembles"]["model_level"]["training"]["keep"] = "last"
    assert role(config) == "monitors the training and decides nothing"
    training["keep"] = "best"
    assert role(config) == "picks the epoch of the networks"
    training |= {"keep": "last", "early_stopping": {"patience": 5, "min_delta": 0.0}}
    assert role(config) == "stops the training of the networks"
    training |= {"early_stopping": None, "reduce_on_plateau": {"factor": 0.5, "patience": 5,
                 "min_delta": 0.0, "min_learning_rate": 0.0}}  # fmt: skip
    assert role(config) == "lowers the learning rate of the networks"


# ---- heat maps ---------------------------------------------------------------------------------
HEAT = ["model", "kind", "metric", "value", "ci_low", "ci_high", "p_value", "p_adjusted"]
SHARE, GAIN, OTHER = (
    f"energy_pointing_game{end}" for end in ("", "_minus_uniform", "_minus_baseline")
)


def heat_maps(changed: tuple[Path, dict[str, Any]], rows: list[tuple[Any, ...]]) -> blocks.Section:
    rows = [
        ("uniform", "baseline", SHARE, 0.240, 0.218, 0.262, np.nan, np.nan),
        ("cce-r0", "single", SHARE, 0.254, 0.229, 0.280, np.nan, np.nan),
        ("focal-r0", "single", SHARE, 0.247, 0.224, 0.270, np.nan, np.nan),
        ("focal-r0", "single", "iou", 0.3, 0.2, 0.4, np.nan, np.nan),
        *rows,
    ]
    found = pd.DataFrame(rows, columns=HEAT)
    found = found.assign(threshold=np.nan, n=60, n_flat=0, grid="4 x 4", reason="")
    found.loc[found["metric"] == "iou", "threshold"] = 0.5
    found.to_csv(changed[0] / "tables/localisation.csv", index=False)
    return section(*changed, "gradcam")


def test_heat_maps_open_with_their_verdict_against_a_uniform_map(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    own = heat_maps(changed, [])
    assert plain(own.finding) == (
        "0.25 of the heat lies in lesions, against 0.24 for a uniform map; the two could not be "
        "compared image by image."
    )
    assert "Each map has 4 × 4 cells;" in words(own)
    assert "None of the 240 maps is flat" in words(own)
    rows = table(own, "localisation")
    assert [row[0] for row in rows] == ["uniform map", "cross-entropy", "focal loss"]
    labels = columns(own, "localisation")
    assert rows[2][labels.index("IoU with lesions, heat above 0.5")].startswith("0.300")
    assert labels.count("Flat maps") == 1


def test_the_verdict_on_heat_maps_is_that_of_the_paired_tests(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    """The differences image by image see what overlapping intervals hide; after correction."""
    cce = ("cce-r0", "single", GAIN, 0.014, 0.003, 0.025, 0.01, 0.02)
    focal = ("focal-r0", "single", GAIN, 0.01, 0.0, 0.018, 0.04, 0.06)
    other = ("focal-r0", "single", OTHER, -0.007, -0.01, 0.0, 0.03, 0.03)
    own = heat_maps(changed, [cce, focal, other])
    assert plain(own.finding) == (
        "The heat maps are hardly better than a uniform map: 0.25 of the heat lies in lesions, "
        "against 0.24 for a uniform map; the difference is significant for 1 of 2 models and at "
        "most 0.01. They should not be read as showing what the models use."
    )
    assert (
        "Compared with the maps of cross-entropy on the same images, none of 1 model places "
        "significantly more heat in lesions and 1 significantly less." in words(own)
    )
    paired = table(own, "localisation-paired")
    assert [row[:5] for row in paired] == [
        ["cross-entropy", "lesions", "a uniform map", "+0.014 (0.003 to 0.025)", "0.020"],
        ["focal loss", "lesions", "a uniform map", "+0.010 (0.000 to 0.018)", "0.060"],
        ["focal loss", "lesions", "the baseline", "−0.007 (−0.010 to 0.000)", "0.030"],
    ]
    own = heat_maps(changed, [(*cce[:6], 0.06, 0.12), focal])
    assert plain(own.finding).startswith(
        "The heat maps are no better than a uniform map: 0.25 of the heat lies in lesions, against "
        "0.24 for a uniform map; the difference is significant for none of 2 models. They should"
    )
    own = heat_maps(changed, [(*cce[:3], 0.2, *cce[4:]), (*focal[:3], 0.1, 0.1, 0.1, 0.01, 0.01)])
    assert plain(own.finding).startswith("The heat maps are better than a uniform map: 0.25")
    assert "at most 0.20" in plain(own.finding) and "should not be read" not in own.finding
    own = heat_maps(changed, [(*cce[:3], 0.2, *cce[4:]), (*focal[:3], -0.1, 0, 0, 0.01, 0.01)])
    assert plain(own.finding).startswith(
        "The heat maps are better than a uniform map for 1 of 2 models: 0.25"
    )
    assert plain(own.finding).endswith("at most 0.20 (1 significantly below).")


# ---- lung masks --------------------------------------------------------------------------------
def segmented(
    changed: tuple[Path, dict[str, Any]], chosen: list[str], **best: float
) -> blocks.Section:
    """With those networks in the mask, and these values of the best network on the test images."""
    path = changed[0] / "segmentation/scores.csv"
    scores = pd.read_csv(path)
    scores["selected"] = scores["loss"].isin(chosen)
    networks = (scores["split"] == "test") & ~scores["loss"].str.startswith("and")
    top = scores.loc[networks, "dice"].idxmax()
    for key, value in best.items():
        scores.loc[top, key] = value
    scores.to_csv(path, index=False)
    return section(*changed, "segmentation")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.03, -0.01, "worse"), (-0.03, 0.01, "no better"), (0.01, 0.03, "better")],
)
def test_masks_open_with_their_dice_against_the_best_network(
    changed: tuple[Path, dict[str, Any]], low: float, high: float, verdict: str
) -> None:
    scores = pd.read_csv(changed[0] / "segmentation/scores.csv")
    test = scores[scores["split"] == "test"].set_index("loss")
    mask = test.loc["and_top3"]
    networks = test.drop(index="and_top3")["dice"]
    names = list(networks.index)
    ends = {"dice_difference_ci_low": low, "dice_difference_ci_high": high}
    middle = (low + high) / 2
    own = segmented(changed, names[:3], dice_difference=middle, **ends)
    said = plain(own.finding).replace("−", "-")
    assert said.startswith(
        f"On 20 test images of phantom-lungs-test the combined lung mask has a mean Dice of "
        f"{mask['dice']:.2f} (95% CI {mask['dice_ci_low']:.2f} to {mask['dice_ci_high']:.2f}), "
        f"{verdict} than the best single network there ("
    )
    assert said.endswith(
        f", {networks.max():.2f}; difference {middle:+.3f}, 95% CI {low:.3f} to {high:.3f})."
    )
    first = scores[(scores["split"] == "val") & scores["loss"].isin(names)]
    first = first.loc[first["dice"].idxmax(), "loss"]
    assert ("is known only afterwards" in words(own)) == (first != networks.idxmax())
    assert "the 3 with the highest mean Dice" in words(own)
    rows = table(own, "segmentation-scores")
    assert [row[1] for row in rows] == ["test"] * (len(names) + 1) + ["val"] * (len(names) + 1)
    assert rows[len(names)][0] == "combined mask"


def test_one_network_alone_makes_no_combined_mask(changed: tuple[Path, dict[str, Any]]) -> None:
    own = segmented(changed, ["bce"])
    assert "the lung mask has a mean Dice of" in plain(own.finding)
    assert "best single" not in own.finding
    assert "the one with the highest mean Dice, BCE." in words(own)


def test_without_scores_and_without_lungs_nothing_is_claimed(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    (changed[0] / "segmentation/scores.csv").unlink()
    (changed[0] / "tables/crops.csv").unlink()
    own = section(*changed, "segmentation")
    assert own.finding == "" and "have no scores yet" in words(own)
    own = section(*changed, "crops")
    assert own.finding == "" and "has no crops yet" in words(own)


# ---- crops -------------------------------------------------------------------------------------
def cropped(changed: tuple[Path, dict[str, Any]], **values: float) -> blocks.Section:
    path = changed[0] / "tables/crops.csv"
    found = pd.read_csv(path)
    for key, value in values.items():
        found.loc[found["split"] == "all", key] = value
    found.to_csv(path, index=False)
    return section(*changed, "crops")


def test_crops_open_with_what_they_keep(changed: tuple[Path, dict[str, Any]]) -> None:
    results, _ = changed
    whole = pd.read_csv(results / "tables/crops.csv").set_index("split").loc["all"]
    checks = pd.read_csv(results / "tables/mask_checks.csv").sort_values("suspicion")
    assert whole["empty"] > 0 and whole["n_lesions"] > 0 and whole["lesions_cut"] > 1
    own = section(*changed, "crops")
    assert plain(own.finding) == (
        f"{whole['empty']:.0f} of {whole['n']:.0f} images fell back to the whole image; "
        f"{whole['lesions_cut']:.0f} of {whole['n_lesions']:.0f} lesions lose more than a tenth. "
        f"{whole['flagged']:.0f} masks look implausible, most of all {checks['image_id'].iloc[0]}."
    )
    assert "Reference lung masks are not known" in words(own)
    assert "have empty masks and were used whole" in words(own)
    assert [row[0] for row in table(own, "crops")][-1] == "all"
    flagged = checks[checks["flags"].notna()]
    assert [row[0] for row in table(own, "mask-checks")] == list(flagged["image_id"])
    assert table(own, "mask-checks")[-1][2] != ""


def test_crops_are_told_as_they_are(changed: tuple[Path, dict[str, Any]]) -> None:
    path = changed[0] / "tables/mask_checks.csv"
    pd.read_csv(path).assign(flags="").to_csv(path, index=False)
    known = {"n_reference": 9, "kept_median": 0.976, "kept_worst": 0.894}
    own = cropped(changed, empty=0, flagged=0, n_lesions=69, lesions_cut=1, **known)
    assert plain(own.finding) == (
        "None of 480 images fell back to the whole image; crops keep a median 97.6% of "
        "the reference lungs (worst 89%, 9 images); 1 of 69 lesions loses more than a tenth. "
        "No masks look implausible."
    )
    own = cropped(changed, n_lesions=0, n_reference=0, flagged=1, empty=1)
    assert plain(own.finding) == (
        "1 of 480 images fell back to the whole image. 1 mask looks implausible."
    )
    assert "what the crops lose was not measured" in words(own)


# ---- what lets someone repeat the study --------------------------------------------------------
def test_run_times_are_sums_of_the_benchmarks(changed: tuple[Path, dict[str, Any]]) -> None:
    shutil.rmtree(changed[0] / "benchmarks")
    own = section(*changed, "times")
    assert own.finding == "" and "No run times were recorded" in words(own)
    for rule, seconds in {"train/a": 3500, "train/b": 100.4, "crop": 65}.items():
        path = changed[0] / f"benchmarks/{rule}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t1234.5\n")
    own = section(*changed, "times")
    assert plain(own.finding) == (
        "3 jobs used 1 h 1 min of computing; the longest step was train (1 h 0 min)."
    )
    assert table(own, "times") == [
        ["train", "2", "1:00:00", "58:20", "1,234"],
        ["crop", "1", "1:05", "1:05", "1,234"],
    ]
    assert own.exempt
