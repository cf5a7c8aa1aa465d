"""The configuration: complete schema, defaults, and one helpful line for every mistake."""

import copy
import datetime
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from multiloss import config, losses
from multiloss.config import messages, reference
from multiloss.job.errors import UserError
from multiloss.networks import backbones
from multiloss.study import Study
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted([*(ROOT / "workflow/studies").glob("*.yaml"), *ROOT.glob("tests/studies/*.yaml")])


def default() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path: str, value: Any) -> dict[str, Any]:
    """The default study with one value changed; parts of a path are keys or list positions."""
    study = default()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = study
    for part in parents:
        place = place[part]
    place[last] = value
    return study


def complaint(study: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        config.validate(study)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("config: ")
    assert len(message) < 300
    return message


SOURCE = {"name": "mine", "role": "classification", "layout": "folders", "url": "images"}
LUNGS_TRAIN = SOURCE | {"name": "lungs", "role": "lungs_train"}
LUNGS_TEST = SOURCE | {"name": "lungs2", "role": "lungs_test"}


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        # unknown keys, with what was probably meant
        ("sed", 1, ["unknown key 'sed'", "'seed'"]),
        ("segmentation.backbon", "x", ["'segmentation.backbon'", "'backbone'"]),
        ("classification.training.epoch", 3, ["'classification.training.epoch'", "'epochs'"]),
        ("classification.training.optimizer.lr", 0.1, ["optimizer.lr'", "learning_rate"]),
        ("classification.augmentation.rotation", 5, ["'rotation_degrees'"]),
        ("classification.training.early_stopping", {"patient": 3}, ["patient'", "'patience'"]),
        ("ensembles.options", {"weighted_average": {"start": 3}}, ["start'", "'starts'"]),
        ("gradcam.images_per_outcom", 1, ["'images_per_outcome'"]),
        ("figures.dpii", 1, ["'figures.dpii'", "'dpi'"]),
        ("resources.training.thread", 1, ["'threads'"]),
        ("resources.gpu", 1, ["'resources.gpu'", "training"]),
        ("data.sources.0.phantom", {"trian": 3}, ["phantom.trian'", "'train'"]),
        ("splits.ratios", {"train": 0.7, "val": 0.1, "ensemle": 0.2}, ["'ensemble'"]),
        ("splits.folds", 1, ["splits.folds: 1"]),
        ("splits.folds", 5, ["replicates: 1 cannot", "splits.folds: 5", "set replicates to 5"]),
        # losses and their parameters
        ("classification.losses", ["cce", "focl"], ["'focl'", "did you mean 'focal'"]),
        (
            "classification.losses",
            ["cce", {"name": "focl", "gamma": 3}],
            ["losses.1: 'focl' is not known", "did you mean 'focal'"],
        ),
        ("segmentation.losses", ["bce", "tverski", "focal"], ["'tverski'", "'tversky'"]),
        ("segmentation.losses", ["bce", "hinge", "focal"], ["segmentation.losses", "'hinge'"]),
        ("classification.losses", ["cce", {"name": "focal", "gama": 2}], ["'gama'", "'gamma'"]),
        (
            "classification.losses",
            ["cce", {"name": "hinge", "gamma": 2}],
            ["'hinge'", "no parameters"],
        ),
        ("classification.losses", ["cce", {"name": "focal", "gamma": -1}], ["'gamma'", "-1"]),
        ("classification.losses", ["cce", {"name": "focal", "gamma": "two"}], ["gamma", "'two'"]),
        ("segmentation.losses", [{"name": "tversky", "alpha": 2}], ["'alpha'", "[0, 1]"]),
        ("classification.losses", ["cce", {"gamma": 2}], ["losses.1.name", "missing"]),
        ("classification.losses", ["cce", 3], ["losses.1", "3"]),
        ("classification.losses", "cce", ["classification.losses", "array"]),
        ("classification.losses", [], ["classification.losses", "non-empty"]),
        ("classification.losses", ["cce", "focal", "cce"], ["'cce'", "twice"]),
        ("ensembles.model_level.loss", "focl", ["ensembles.model_level.loss", "'focal'"]),
        ("ensembles.seed_ensemble", {"loss": "focl"}, ["seed_ensemble.loss", "'focal'"]),
        ("significance.baseline", "ccee", ["significance.baseline", "did you mean 'cce'"]),
        # methods, rules and choices
        ("ensembles.methods", ["simple_averag"], ["'simple_averag'", "'simple_average'"]),
        ("ensembles.methods", ["stacking", "stacking"], ["ensembles.methods", "unique"]),
        ("ensembles.top_k", [3, 50], ["ensembles.top_k", "50", "12"]),
        ("ensembles.top_k", [1], ["ensembles.top_k.0", "minimum of 2"]),
        ("ensembles.top_k", 3, ["ensembles.top_k", "array"]),
        ("ensembles.folds", 1, ["ensembles.folds"]),
        ("evaluation.interval", "bac", ["evaluation.interval", "'bca'"]),
        ("evaluation.operating_point", "youdn", ["operating_point", "'youden'"]),
        ("evaluation.resamples", "many", ["evaluation.resamples", "integer"]),
        ("evaluation.resamples", 5, ["evaluation.resamples", "100"]),
        ("negative_class", "norml", ["negative_class", "did you mean 'normal'"]),
        ("evaluation.prevalences", {"vral": [0.1]}, ["prevalences", "did you mean 'viral'"]),
        ("evaluation.prevalences", {"viral": [2]}, ["evaluation.prevalences.viral.0"]),
        ("evaluation.prevalences", {"viral": 0.1}, ["evaluation.prevalences.viral", "array"]),
        ("evaluation.set_coverage", [1.0], ["evaluation.set_coverage.0"]),
        ("evaluation.cost_ratios", [0], ["evaluation.cost_ratios.0"]),
        ("evaluation.cost_ratios", [], ["evaluation.cost_ratios", "non-empty"]),
        ("classes", ["normal", "any finding", "x"], ["'any finding'", "negative_class: none"]),
        ("significance.alpha", 2, ["significance.alpha"]),
        ("significance.equivalence_margin", 1, ["significance.equivalence_margin"]),
        ("significance.equivalence_margin", 1.5, ["significance.equivalence_margin"]),
        ("significance.equivalence_margin", -0.01, ["significance.equivalence_margin"]),
        ("significance.equivalence_margin", True, ["significance.equivalence_margin"]),
        ("significance.permutations", 10, ["significance.permutations", "1000"]),
        ("ablations", ["without_crops"], ["'without_crop'"]),
        ("classification.class_weights", "balance", ["'balanced'"]),
        ("classification.training.schedule", "cosin", ["'cosine'"]),
        ("classification.training.monitor", "val_dice", ["monitor", "'val_dice'"]),
        ("segmentation.training.monitor", "val_mcc", ["monitor", "'val_mcc'"]),
        ("segmentation.backbone", "densenet121", ["'densenet121'", "efficientnetb0"]),
        ("segmentation.ensemble_size", 9, ["ensemble_size", "5"]),
        ("segmentation.image_size", 50, ["segmentation.image_size", "multiple of 32"]),
        ("images", {"channels": "gray"}, ["images.channels", "did you mean 'grey'"]),
        ("images", {"chanels": "grey"}, ["'images.chanels'", "'channels'"]),
        ("classification.encoder_weights", "w{x}.h5", ["classification.encoder_weights", "curly"]),
        ("classification.encoder_weights", "none.h5", ["encoder_weights", "/none.h5 is no file"]),
        ("classification.encoder_weights", "s3://b/x", ["classification.encoder_weights", "http"]),
        ("classification.encoder_weights", 3, ["classification.encoder_weights", "'string'"]),
        ("ensembles.model_level.training.monitor", "val_dice", ["model_level", "'val_dice'"]),
        # the generator
        ("data.sources.0.phantom", {"train": 0}, ["phantom.train", "minimum of 1"]),
        ("data.sources.0.phantom", {"images": 2.5}, ["phantom.images", "integer"]),
        ("data.sources.0.phantom", {"mimics": 1.5}, ["phantom.mimics", "maximum of 1"]),
        ("data.sources.0.phantom", {"size": [32, 64]}, ["phantom.size.0", "minimum of 64"]),
        ("data.sources.0.phantom", {"size": [200, 100]}, ["phantom.size", "[lowest, highest]"]),
        ("data.sources.0.phantom", {"size": [200]}, ["phantom.size", "too short"]),
        ("data.sources.0.phantom", {"severity": [0.5, 1.2]}, ["phantom.severity.1", "maximum"]),
        ("data.sources.0.phantom", {"noise": -1}, ["phantom.noise", "minimum of 0"]),
        ("data.sources.0.phantom", {"quality": 101}, ["phantom.quality", "maximum of 100"]),
        ("data.sources.0.phantom", {"repeats": []}, ["phantom.repeats", "non-empty"]),
        ("data.sources.0.phantom", {"repeats": [0, 0]}, ["phantom.repeats: [0, 0] gives no"]),
        (
            "data.sources.0.phantom",
            {"shares": {"train": {"normal": 1}}},
            ["'phantom-cxr'", "phantom.shares.train.bacterial' is missing"],
        ),
        (
            "data.sources.0.phantom",
            {"shares": {"test": {"normal": 0, "bacterial": 0, "viral": 0}}},
            ["phantom.shares.test", "no class a share"],
        ),
        # names of files
        ("study", "con", ["study", "'con'", "Windows"]),
        ("study", "a.", ["study", "'a.'", "an end"]),
        ("study", "a" * 101, ["study", "longer than 100"]),
        ("data.sources.0.name", "nul.2", ["data.sources.0.name", "Windows"]),
        ("data.sources.0.name", "Phantom-Lungs-Test", ["two sources"]),
        ("classification.losses", ["cce", {"name": "focal", "as": "aux"}], ["'aux'", "Windows"]),
        ("classification.losses", ["cce", {"name": "focal", "as": "f."}], ["'f.'", "an end"]),
        # data
        ("data.sources", [], ["data.sources", "non-empty"]),
        ("data.sources", [LUNGS_TRAIN], ["no source with role 'classification'"]),
        ("data.sources", [SOURCE, LUNGS_TRAIN], ["no source with role 'lungs_test'", "both roles"]),
        ("data.sources", [SOURCE, LUNGS_TEST], ["no source with role 'lungs_train'", "both roles"]),
        ("data.sources.0", "kermany", ["data.sources.0", "object"]),
        ("data.sources.0.layout", "kermani", ["'phantom-cxr'", "did you mean 'kermany'"]),
        ("data.sources.0.layout", "kermany", ["layout and url", "'phantom'"]),
        ("data.sources.0.url", "https://example.org/x.zip", ["layout and url", "'phantom'"]),
        ("data.sources.0.patients", "number_and_kind", ["patients", "layout kermany alone"]),
        ("data.sources.0.url", "", ["data.sources.0.url"]),
        ("data.sources.0.role", "lung_train", ["'lungs_train'"]),
        ("data.sources.0.sha256", "abc", ["data.sources.0.sha256", "abc"]),
        ("data.sources.0", SOURCE | {"url": "ftp://host/x.zip"}, ["'mine': url", "use http"]),
        ("data.sources.0", SOURCE | {"masks_url": "s3://b/x"}, ["'mine': masks_url", "use http"]),
        ("data.sources.0", SOURCE | {"url": "~nobody-known/x"}, ["'mine': url", "whole path"]),
        ("data.sources.0.masks_sha256", "0" * 64, ["'phantom-cxr'", "without a masks_url"]),
        ("data.sources.0.name", "phantom-lungs-test", ["two sources"]),
        ("data.sources.0.name", "../elsewhere", ["data.sources.0.name"]),
        ("splits.test", "shiped", ["splits.test", "'shiped'", "shipped"]),
        ("splits.test", 1.5, ["splits.test", "1.5"]),
        ("splits.ratios", [0.7, 0.15, 0.15], ["splits.ratios", "object"]),
        ("splits.ratios.val", 0, ["splits.ratios.val"]),
        # the study itself
        ("study", "my study", ["study", "my study"]),
        ("study", "../elsewhere", ["study", "../elsewhere"]),
        ("study", None, ["study", "string"]),
        ("seed", -1, ["seed", "-1"]),
        ("seed", "x", ["seed", "integer"]),
        ("replicates", 0, ["replicates", "minimum of 1"]),
        ("replicates", True, ["replicates", "integer"]),
        ("classes", ["normal"], ["classes", "too short"]),
        ("classes", ["normal", "normal"], ["classes", "unique"]),
        ("classes", [1, 2], ["classes.0", "string"]),
        ("classes", [True, False], ["classes.0", "'string'", "quotes"]),
        # Control characters, line ends and wildcards of Snakemake are in no name.
        ("classes", ["a\n", "b"], ["classes.0", "one line"]),
        ("classes", ["a", "b\n\n.. raw:: html"], ["classes.1", "one line"]),
        ("classes", ["a", "b\u2028c"], ["classes.1", "one line"]),
        ("classes", ["a", "micro"], ["classes.1", "'micro'", "all classes together"]),
        ("classes", ["a", "{loss}"], ["classes.1", "curly brackets"]),
        ("study", "a\n", ["study", "letters, digits"]),
        ("data.sources.0.name", "a\n", ["data.sources.0.name", "letters, digits"]),
        ("data.sources.0.sha256", "0" * 64 + "\n", ["sha256", "64 hexadecimal digits"]),
        ("figures", {"background": "#f7f7f7\n"}, ["figures.background", "a colour"]),
        ("segmentation.encoder_weights", "w{x}.h5", ["encoder_weights", "w{x}.h5", "curly"]),
        ("segmentation.encoder_weights", "none.h5", ["encoder_weights", "/none.h5 is no file"]),
        # What quotes, or none, make of --config study=2021_12 and --config 'figures={"dpi": 100}'.
        ("study", 202112, ["study: 202112", "--config 'study=\"2021_12\"'"]),
        ("study", datetime.date(2021, 12, 1), ["study", "quotes"]),
        ("figures", {"dpi": "100"}, ["figures.dpi: '100'", "without quotes", "--configfile"]),
        ("ensembles.top_k", ["3"], ["ensembles.top_k.0: '3'", "without quotes"]),
        ("gradcam", {"enabled": "false"}, ["gradcam.enabled: 'false'", "without quotes"]),
        ("data", None, ["data", "object"]),
        ("classification.training", None, ["classification.training", "object"]),
        ("classification.training.batch_size", 1.5, ["batch_size", "integer"]),
        ("resources.training.mem_mb", "2 GB", ["resources.training.mem_mb", "'2 GB'"]),
        ("crop.margin", -1, ["crop.margin"]),
        ("crop.margin", float("inf"), ["crop.margin", "finite"]),
        ("classification.training.optimizer.learning_rate", float("nan"), ["rate", "finite"]),
        ("evaluation.subgroups", "sex", ["evaluation.subgroups", "'sex'", "'array'"]),
        ("evaluation.subgroups", ["sex", "SEX"], ["evaluation.subgroups", "listed twice"]),
        ("evaluation.subgroups", [3], ["evaluation.subgroups.0", "3"]),
        ("evaluation.subgroups", [{"colum": "age"}], ["did you mean 'column'?"]),
        (
            "evaluation.subgroups",
            [{"column": "age", "bands": [65, 18]}],
            ["evaluation.subgroups.0.bands", "[65, 18] must rise from one to the next"],
        ),
        (
            "evaluation.subgroups",
            [{"column": "age", "bands": [18, 18]}],
            ["must rise from one to the next"],
        ),
        ("evaluation.subgroups", [{"column": "age", "bands": []}], ["should be non-empty"]),
        ("evaluation.subgroup_minimum", 1, ["evaluation.subgroup_minimum", "minimum of 2"]),
    ],
)
def test_mistake_is_told_in_one_line(path: str, value: Any, parts: list[str]) -> None:
    message = complaint(changed(path, value))
    for part in parts:
        assert part in message


@pytest.mark.parametrize("margin", [None, 0, 0.5])
def test_a_margin_may_be_nothing_or_0(margin: float | None) -> None:
    study = changed("significance.equivalence_margin", margin)
    assert config.validate(study)["significance"]["equivalence_margin"] == margin


def test_a_column_of_groups_is_its_name_or_a_mapping() -> None:
    bands = {"column": "age", "bands": [18, 65.5]}
    given = changed("evaluation.subgroups", ["sex", bands])
    found = config.validate(given)["evaluation"]["subgroups"]
    assert found == [{"column": "sex", "bands": None}, bands]


@pytest.mark.parametrize("key", ["study", "seed", "classes", "data"])
def test_missing_key_is_named(key: str) -> None:
    study = default()
    del study[key]
    assert f"key '{key}' is missing" in complaint(study)


def test_whole_configuration_that_is_not_there_is_told_with_its_place() -> None:
    assert "key 'study' is missing: give it in" in complaint({})
    assert "`config:` of the module" in complaint({})
    assert "not of type 'object'" in complaint(None)


@pytest.mark.parametrize(
    "path",
    [
        "study",
        "seed",
        "classes",
        "images.channels",
        "splits.test",
        "classification.losses",
        "classification.training.monitor",
        "classification.class_weights",
        "data.sources.0",
        "data.sources.0.name",
        "data.sources.0.role",
        "data.sources.0.layout",
        "data.sources.0.sha256",
        "data.sources.0.phantom.train",
        "figures",
        "ablations",
        "ensembles.methods",
        "ensembles.top_k",
        "ensembles.model_level.loss",
        "significance.baseline",
    ],
)
@pytest.mark.parametrize(
    "value", ["https://u:hunter2@h/x", ["https://u:hunter2@h/x"], {"url": "ftp://u:hunter2@h/x"}]
)
def test_no_message_shows_a_password(path: str, value: Any) -> None:
    assert "hunter2" not in complaint(changed(path, value))


def test_misspelt_key_is_told_before_the_one_that_is_missing_and_deep_ones_first() -> None:
    study = default()
    study["clases"] = study.pop("classes")
    assert complaint(study) == "config: unknown key 'clases'; did you mean 'classes'?"
    study = changed("replicates", 0)
    study["classification"]["training"]["optimizer"]["momentum"] = 2
    assert "optimizer.momentum: 2 is greater than the maximum of 1" in complaint(study)


@pytest.mark.parametrize("key", [1, True, None, "a\nb"])
def test_key_that_is_no_word_is_unknown(key: Any) -> None:
    assert "unknown key" in complaint(default() | {key: 1})
    assert "unknown key 'crop." in complaint(changed("crop", {key: 1}))


def test_key_of_an_older_version_is_refused_with_its_new_place(monkeypatch) -> None:
    moved = {"crop.png_sise": "crop.png_size", "data.sources[].kind": "data.sources[].role"}
    monkeypatch.setattr(messages, "MOVED", moved)
    message = complaint(changed("crop.png_sise", 3))
    assert "'crop.png_sise' is 'crop.png_size' in this version" in message
    message = complaint(changed("data.sources.1.kind", "lungs_train"))
    assert "'data.sources.1.kind' is 'data.sources[].role' in this version" in message
    config.validate(default())


def test_every_new_place_of_a_moved_key_exists_and_no_old_one_does() -> None:
    known = reference.keys(reference.schema())
    assert set(messages.MOVED.values()) <= set(known)
    assert not set(messages.MOVED) & set(known)


@pytest.mark.parametrize(
    ("sources", "given", "resolved"),
    [
        ([SOURCE, LUNGS_TRAIN, LUNGS_TEST], None, "segmenter"),
        ([SOURCE, LUNGS_TRAIN, LUNGS_TEST], "none", "none"),
        ([SOURCE], None, "imagenet"),
        ([SOURCE], "none", "none"),
        ([SOURCE], "LICENSE", "LICENSE"),
    ],
)
def test_classifiers_start_from_the_segmenter_where_there_is_one(sources, given, resolved) -> None:
    study = default()
    study["data"]["sources"] = sources
    study["classification"]["encoder_weights"] = given
    complete = config.validate(study)
    assert complete["classification"]["encoder_weights"] == resolved
    assert config.load(study).classification.encoder_weights == resolved
    assert config.load(study).has_lungs is (len(sources) == 3)
    assert config.validate(complete) == complete


def test_without_lungs_nothing_is_cropped_and_no_segmenter_lends_its_encoder() -> None:
    study = default()
    study["data"]["sources"] = [SOURCE]
    message = complaint(study | {"ablations": ["without_crop"]})
    assert "ablations: 'without_crop'" in message and "crops nothing" in message
    config.validate(study | {"ablations": ["without_class_weights"]})
    # Of no use, so of no harm.
    study["segmentation"]["encoder_weights"] = "none.h5"
    config.validate(study)
    study["classification"]["encoder_weights"] = "segmenter"
    message = complaint(study)
    assert "classification.encoder_weights: 'segmenter' needs sources of lungs" in message


def test_backbones_must_agree_only_where_the_encoder_is_shared(monkeypatch) -> None:
    known = backbones.known()
    other = replace(known["efficientnetb0"], name="other")
    monkeypatch.setattr(backbones, "known", lambda: known | {"other": other})
    study = changed("classification.backbone", "other")
    assert "classification.backbone: must be segmentation.backbone" in complaint(study)
    study["classification"]["encoder_weights"] = "imagenet"
    assert config.validate(study)["classification"]["backbone"] == "other"
    without = replace(other, imagenet=None)
    monkeypatch.setattr(backbones, "known", lambda: known | {"other": without})
    told = "classification.encoder_weights: no ImageNet weights of other are known"
    assert told in complaint(study)
    study["classification"]["encoder_weights"] = "none"
    config.validate(study)


def test_configuration_as_an_object() -> None:
    study = changed("classification.losses", ["cce", {"name": "focal", "gamma": 3, "as": "f3"}])
    study["classification"]["losses"][1]["training"] = {"optimizer": {"learning_rate": 0.5}}
    study["ensembles"]["top_k"] = [2]
    found = config.load(study)
    assert found.classification.training.epochs == 8
    assert found.variants == ["cce", "f3"]
    own = found.classification.losses[1]
    assert own.parameters == {"gamma": 3.0}
    # What the entry leaves out is the study's, down to the single key.
    assert own.training.epochs == 8 and own.training.optimizer.momentum == 0.9
    assert own.training.optimizer.learning_rate == 0.5
    with pytest.raises(AttributeError):
        _ = found.classification.training.epoch
    entry = config.validate(study)["classification"]["losses"][1]
    assert entry == {
        "name": "focal",
        "gamma": 3,
        "as": "f3",
        "training": {
            "optimizer": default()["classification"]["training"]["optimizer"]
            | {"learning_rate": 0.5, "decay": 0.0}
        },
    }


def test_what_is_given_stays_as_it_is_written_and_where_it_stands() -> None:
    study = {key: default()[key] for key in ("data", "classes", "seed", "study")}
    study["crop"] = {"png_size": 64, "margin": 0}
    study["figures"] = {"font_size": 7}
    shares = {"test": {"viral": 1, "normal": 2, "bacterial": 0}}
    study["data"]["sources"][2]["phantom"] = {"shares": shares}
    complete = config.validate(study)
    assert list(complete)[:6] == ["data", "classes", "seed", "study", "crop", "figures"]
    assert repr(complete["crop"]) == "{'png_size': 64, 'margin': 0}"
    assert repr(complete["figures"]["font_size"]) == "7"
    # The generator's own defaults are left to it.
    assert complete["data"]["sources"][1]["phantom"] == {"images": 64}
    assert repr(complete["data"]["sources"][2]["phantom"]) == repr({"shares": shares})


def test_generator_gets_its_defaults() -> None:
    options = config.generator_options({"images": 64, "shares": {}})
    assert options["images"] == 64 and options["size"] == [192, 320]
    assert options["shares"]["train"] == {"normal": 1349, "bacterial": 2538, "viral": 1345}


def test_validation_leaves_what_it_was_given_alone() -> None:
    study = default()
    before = copy.deepcopy(study)
    config.validate(study)
    assert study == before


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_that_comes_along_is_valid_and_named_after_its_file(path: Path) -> None:
    study = default()
    update_config(study, yaml.safe_load(path.read_text()))
    assert config.validate(study)["study"] == path.stem


def test_defaults_are_filled_in_and_valid_config_stays_the_same() -> None:
    short = {key: default()[key] for key in ("study", "seed", "classes", "data")}
    complete = config.validate(short)
    assert complete["replicates"] == 1
    assert [loss["name"] for loss in complete["classification"]["losses"]] == list(
        losses.catalog("classification")
    )
    assert complete["classification"]["training"]["optimizer"]["momentum"] == 0.9
    assert complete["ensembles"]["top_k"] == [3, 5]
    assert config.validate(complete) == complete


def test_loss_gets_its_parameters_and_keeps_those_given() -> None:
    study = changed("classification.losses", ["cce", "focal", {"name": "cce_entropy", "beta": 0.5}])
    study["ensembles"]["top_k"] = [2]
    assert config.validate(study)["classification"]["losses"] == [
        {"name": "cce"},
        {"name": "focal", "gamma": 2},
        {"name": "cce_entropy", "beta": 0.5},
    ]


def test_option_that_may_be_null_or_a_mapping_gets_the_mappings_defaults() -> None:
    study = changed("classification.training.early_stopping", {"patience": 3})
    training = config.validate(study)["classification"]["training"]
    assert training["early_stopping"] == {"patience": 3, "min_delta": 0.0}
    assert training["reduce_on_plateau"] is None


def test_variants_and_models_of_a_study() -> None:
    study = default() | {"replicates": 3, "ablations": ["without_crop", "without_class_weights"]}
    study = config.validate(study)
    found = Study(study)
    assert len(found.variants) == 14
    assert found.variants["cce_without_crop"].crop is False
    assert found.variants["cce_without_crop"].class_weights == "balanced"
    assert found.variants["cce_without_class_weights"].class_weights == "none"
    kinds = [model.kind for model in found.models.values()]
    # 12 losses and 2 ablations in 3 runs; 5 methods x 2 sizes + the average of the model-level
    # ones in 3 runs; 3 seeds make a seed ensemble of 3, and two further ones that of 5.
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "single": 36,
        "ablation": 6,
        "ensemble": 33,
        "seed": 2,
        "seed_ensemble": 2,
    }


@pytest.mark.parametrize(
    ("replicates", "further", "methods", "seeds", "averages"),
    [
        (1, True, ["stacking"], ["cce-r1", "cce-r2", "cce-r3", "cce-r4"], [3, 5]),
        (5, True, ["stacking"], [], [3, 5]),
        (3, False, ["stacking"], [], [3]),
        (1, False, ["stacking"], [], []),
        (1, True, [], [], []),
    ],
)
def test_seeds_stand_beside_every_ensemble(replicates, further, methods, seeds, averages) -> None:
    study = default() | {"replicates": replicates}
    study["ensembles"]["seed_ensemble"] = {"loss": None, "further_seeds": further}
    study["ensembles"]["methods"] = methods
    models = Study(config.validate(study)).models
    found = {
        kind: [name for name in models if models[name].kind == kind]
        for kind in ("seed", "seed_ensemble")
    }
    assert found["seed"] == seeds
    assert [models[name].k for name in found["seed_ensemble"]] == averages


def test_every_key_is_described_and_every_optional_key_has_a_default() -> None:
    schema = reference.schema()
    for name in reference.sections(schema):
        part = schema["$defs"][name] if name else schema
        for key, value in part.get("properties", {}).items():
            assert value["description"].endswith((".", "`")), f"{name}.{key}"
            assert "\n" not in value["description"]
            assert ("default" in value) != (key in part.get("required", [])), f"{name}.{key}"
    known = reference.keys(schema)
    assert len(known) > 150
    assert known["data.sources[].phantom.shares.train.viral"]["minimum"] == 0
    assert known["ensembles.top_k"]["default"] == [3, 5]
    assert known["classification.losses[].training.optimizer.decay"]["default"] == 0


def test_schema_and_page_are_what_the_models_say() -> None:
    remedy = "run `make reference`"
    assert reference.SCHEMA.read_text(encoding="utf-8") == reference.schema_text(), remedy
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), remedy


SCHEMA = jsonschema.Draft202012Validator(yaml.safe_load(reference.SCHEMA.read_text("utf-8")))


def test_schema_takes_every_study_that_comes_along() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA.schema)
    for path in STUDIES:
        study = default()
        update_config(study, yaml.safe_load(path.read_text()))
        assert not list(SCHEMA.iter_errors(study)), path
    whole = config.validate(default())
    assert not list(SCHEMA.iter_errors(whole))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sed", 1),
        ("classification.training.optimizer.lr", 1),
        ("data.sources.0.phantom.trian", 1),
        ("classification.losses", [{"name": "hinge", "gamma": 2}]),
        ("classification.losses", [{"name": "focal", "gamma": -1}]),
        ("classification.losses", ["focl"]),
        ("classification.losses", [{"name": "focal", "training": {"epocs": 2}}]),
        ("segmentation.losses", [{"name": "tversky", "alpha": 2}]),
        ("ensembles.methods", ["simple_averag"]),
        ("data.sources.0.layout", "kermani"),
        ("segmentation.backbone", "resnet"),
        ("splits.test", 1.5),
        ("seed", -1),
        ("classes", ["a", "a"]),
        ("study", "a b"),
        ("images.channels", "gray"),
    ],
)
def test_schema_refuses_what_an_editor_should_mark(path: str, value: Any) -> None:
    assert list(SCHEMA.iter_errors(changed(path, value)))
    complaint(changed(path, value))


def config_keys(study: Any, at: str = "") -> Iterator[str]:
    if isinstance(study, dict):
        for name, value in study.items():
            path = f"{at}.{name}".lstrip(".")
            yield path
            yield from config_keys(value, path)
    elif isinstance(study, list):
        for value in study:
            yield from config_keys(value, f"{at}[]")


def test_config_and_reference_know_the_same_keys() -> None:
    known = reference.keys(reference.schema())
    listed = set(config_keys(default()))
    assert listed <= set(known), sorted(listed - set(known))
    # Every key is shown; a key of several sections, such as those of a training, once at least.
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    comments = " ".join(re.findall(r"#.*", text))
    shown = {path.rsplit(".", 1)[-1] for path in listed} | set(re.findall(r"\w+", comments))
    assert {path.rsplit(".", 1)[-1] for path in known} <= shown


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_config_shows_every_loss_with_its_parameters(kind: str) -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    for name, parameters in losses.catalog(kind).items():
        assert name in default()[kind]["losses"]
        for parameter, value in parameters.items():
            assert f"{parameter}: {'null' if value is None else value}" in text, (name, parameter)


def test_planning_a_study_needs_nothing_beyond_what_snakemake_brings() -> None:
    code = (
        "import sys, yaml; from multiloss import config; from multiloss.figures import catalog;"
        "from multiloss.study import Study;"
        "study = config.validate(yaml.safe_load(open('config.yaml')));"
        "assert Study(study).models and catalog.figures(study);"
        "heavy = {'numpy', 'pandas', 'tensorflow', 'keras', 'matplotlib', 'scipy', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "workflow")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("section", "change", "has_a_say"),
    [
        ("classification.training", {"keep": "last"}, False),
        ("classification.training", {"keep": "best"}, True),
        ("classification.training", {"keep": "last", "early_stopping": {"patience": 3}}, True),
        ("classification.training", {"keep": "last", "reduce_on_plateau": {}}, True),
        ("ensembles.model_level.training", {"keep": "last"}, False),
        ("ensembles.model_level.training", {"keep": "best"}, True),
    ],
)
def test_val_has_a_say_where_it_ends_or_picks(section: str, change: Any, has_a_say: bool) -> None:
    study = default()
    part = study
    for key in section.split("."):
        part = part[key]
    part.update(change)
    found = Study(config.validate(study))
    decided = found.decided_on_val
    if section.startswith("classification"):
        assert ("cce-r0" in decided) is has_a_say
    else:
        assert found.heads_decided_on_val is has_a_say
        assert ("model_level-top3-r0" in decided) is has_a_say
        assert "cce-r0" not in decided
