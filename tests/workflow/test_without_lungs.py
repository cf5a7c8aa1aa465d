"""Studies without lung masks: nothing of segmentation is planned, drawn or spoken of."""

import copy
import re
from pathlib import Path

import moles
import npz_to_folders
import numpy as np
import pandas as pd
import pytest
import yaml
from multiloss import config
from multiloss.data import leakage, manifest, splits
from multiloss.data.images import read_pixels
from multiloss.data.layouts import records
from multiloss.figures import catalog
from multiloss.gradcam import localisation
from multiloss.job.errors import UserError
from multiloss.study import Study
from snakemake.utils import update_config
from test_workflow import planned, snakemake

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "tests/studies"
OF_LUNGS = {"lungs", "train_segmenter", "score_segmenters", "segmentation_scores", "mask", "crop"}
OF_LUNGS |= {"check_masks"}
# What a study that has no lungs must not speak of.
FOREIGN_WORDS = re.compile(r"\b(lungs?|chest|crop\w*|segment\w*|radiograph\w*|x-rays?)\b", re.I)


def validated(name: str, **changes) -> dict:
    """A study of tests/studies with its defaults, and some sections extended."""
    found = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(found, yaml.safe_load((STUDIES / f"{name}.yaml").read_text()))
    update_config(found, copy.deepcopy(changes))
    return config.validate(found)


def with_lungs(**classification) -> dict:
    return validated("smallest", classification=classification)


@pytest.mark.parametrize("name", ["pneumonia-28", "moles"])
def test_nothing_of_lungs_is_planned(tmp_path, name):
    assert len((STUDIES / f"{name}.yaml").read_text().splitlines()) <= 15
    options = ("--configfile", STUDIES / f"{name}.yaml")
    done = snakemake(tmp_path, "--summary", *options)
    assert done.returncode == 0, done.stderr
    rows = [row.split("\t") for row in done.stdout.splitlines()[1:]]
    rules = {row[2] for row in rows}
    assert not OF_LUNGS & rules and "encoder_weights" not in rules
    assert {"pack", "train", "predict", "features", "gradcam", "report"} <= rules
    files = {row[0] for row in rows}
    assert f"results/{name}/data/images.npy" in files
    assert not [file for file in files if re.search("lung|mask|crop|segment|boxes", file)]


def test_study_knows_whether_there_are_lungs():
    moles_study, smallest = Study(validated("moles")), Study(with_lungs())
    assert (moles_study.segmented, moles_study.rgb) == (False, True)
    assert (smallest.segmented, smallest.rgb) == (True, False)
    assert not any(model.cropped for model in moles_study.models.values())
    assert all(model.cropped for model in smallest.models.values())
    assert not any(variant.crop for variant in moles_study.variants.values())


@pytest.mark.parametrize("segmented", [True, False])
def test_what_the_classifiers_start_from(segmented):
    name = "smallest" if segmented else "moles"
    default = validated(name, classification={"encoder_weights": None})
    assert Study(default).encoder_weights == ("segmenter" if segmented else "imagenet")
    assert Study(default).from_segmenter == segmented
    for word in ("none", "imagenet", "https://example.org/b0.h5"):
        found = Study(validated(name, classification={"encoder_weights": word}))
        assert (found.encoder_weights, found.from_segmenter) == (word, False)


def test_weights_are_fetched_once_for_whom_they_start(tmp_path):
    def jobs(**settings) -> dict[str, int]:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(settings))
        study = STUDIES / ("smallest.yaml" if "segmentation" in settings else "moles.yaml")
        return planned(tmp_path, "--configfile", study, path)

    imagenet = {"encoder_weights": "imagenet"}
    assert jobs(classification={"encoder_weights": None})["encoder_weights"] == 1
    both = jobs(segmentation=imagenet, classification=imagenet)
    assert (both["encoder_weights"], both["mask"], both["crop"]) == (1, 1, 1)
    other = {"encoder_weights": "https://example.org/b0.weights.h5"}
    assert jobs(segmentation=imagenet, classification=other)["encoder_weights"] == 2
    assert "encoder_weights" not in jobs(
        segmentation={}, classification={"encoder_weights": "none"}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classification": {"encoder_weights": "segmenter"}},
            "'segmenter' needs sources of lungs",
        ),
        ({"classification": {"encoder_weights": "no/b0.h5"}}, "no/b0.h5 is no file"),
        ({"ablations": ["without_crop"]}, "since a study without sources of lungs crops nothing"),
        ({"images": {"channels": "gray"}}, "images.channels: 'gray' is not known; did you mean"),
    ],
)
def test_what_needs_lungs_is_refused_without_them(changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        validated("moles", **changes)


def test_one_of_the_two_roles_of_lungs_is_not_enough():
    source = {"name": "a", "layout": "folders", "url": "a"}
    sources = [source | {"role": "classification"}]
    sources += [source | {"name": "b", "role": "lungs_train"}]
    with pytest.raises(UserError, match="no source with role 'lungs_test'"):
        validated("moles", data={"sources": sources})


def test_figures_are_those_without_lungs_and_say_nothing_of_them():
    study = validated("moles", evaluation={"temperature_scaling": True})
    found = catalog.figures(study)
    for figure in found.values():
        text = f"{figure.title} {figure.category} {figure.caption}"
        assert not FOREIGN_WORDS.search(text), figure.name
        files = [path for paths in figure.inputs.values() for path in np.atleast_1d(paths)]
        assert not [path for path in files if re.search("lung|mask|crop|segment", path)]
    lungs = set(catalog.figures(with_lungs())) - set(found)
    assert lungs == {
        "segmentation_dice",
        "segmentation_overlays",
        "crop_overview",
        "learning_curves_segmentation",
    }
    assert found["gradcam_montage"].params["models"]
    assert found["samples"].params["rgb"] and not found["gradcam_cce-r0"].params["cropped"]


def test_heat_is_measured_on_whole_images_without_lungs(tmp_path):
    count = 24
    maps = np.zeros((count, 4, 4), np.float16)
    maps[:, 0, 0] = 1
    own = localisation.Explained(
        "cce-r0", "single", False, maps, np.zeros(count, int), np.zeros(count, bool),
        np.array([f"i{k}" for k in range(count)]), np.arange(3),
        {curve: np.full((3, 3), 0.5) for curve in localisation.CURVES}, np.arange(2),
        {stage: np.random.default_rng(0).random((2, 4, 4)) for stage in localisation.STAGES},
    )  # fmt: skip
    images = pd.DataFrame({"image_id": own.image_id, "label": "a", "patient_id": own.image_id})
    images = images.assign(width=28, height=20, lung_mask="", lesion_mask="")
    options = localisation.Options([0.5], 0.0, 100, 0.95)
    table = localisation.table([own], images, None, None, ["a", "b"], options, 1)
    assert not table["metric"].str.contains("lung").any()
    values = table[table["model"] == "cce-r0"].set_index("metric")["value"]
    assert values["deletion_auc"] == 0.5 and values["flat_share"] == 0
    assert localisation.uniform(own).cropped is False


def test_audit_without_lungs_has_no_row_on_them():
    row = {"image_id": "a", "path": "a.png", "label": "x", "patient_id": "p", "split": "test"}
    more = {"sha256": "0" * 64, "phash": "0" * 16, "bits": 8, "shipped_split": ""}
    table = pd.DataFrame([row | more | {"patient_known": True, "source": "s"}])
    dropped = pd.DataFrame(columns=splits.DROPPED_COLUMNS)
    found = leakage.audit(table, None, dropped)
    assert len(found) and not found["check"].str.contains("lung|segmenter").any()


def test_pictures_of_28_pixels_are_listed_and_audited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": 60, "val": 10, "test": 20}.items():
        pictures = [moles.picture(rng, "naevus", 28) for _ in range(count)]
        arrays[f"{split}_images"] = np.stack(pictures)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None]
    # A copy with another exposure is found; at this size others only look alike.
    copied = arrays["test_images"][0].astype(float) * 0.9 + 10
    arrays["train_images"][0] = copied.round()
    np.savez("own.npz", **arrays)
    npz_to_folders.write("own.npz", "own", ["no finding", "n/a"])
    stored = read_pixels("own/test/n%2Fa/00001.png".replace("%2F", "_"), rgb=True)
    assert np.array_equal(stored, arrays["test_images"][1])
    source = {"name": "own", "role": "classification", "layout": "folders", "url": "own"}
    source |= {"patient_pattern": None, "table": None}
    found = {"own": records(tmp_path / "own", source)}
    table, rejected = manifest.build(found, ["no finding", "n_a"], rgb=True)
    assert len(table) == 90 and rejected.empty
    assert set(zip(table["width"], table["height"], strict=True)) == {(28, 28)}
    table, dropped = splits.assign(
        table, {"train": 0.7, "val": 0.15, "ensemble": 0.15}, "shipped", "drop", 1,
        ["no finding", "n_a"],
    )  # fmt: skip
    audit = leakage.audit(table, None, dropped).set_index("check")
    near = audit.loc["near_identical_images_across_splits"]
    assert near["verdict"] == "leak" and "train__no finding__00000" in near["detail"]
    assert "2 of them with a correlation" in near["detail"]
