"""The configuration: complete schema, defaults, and one helpful line for every mistake."""

import copy
import datetime
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from multiloss import config, losses
from multiloss.errors import UserError
from multiloss.study import Study
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[1]
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
        # losses and their parameters
        ("classification.losses", ["cce", "focl"], ["'focl'", "did you mean 'focal'"]),
        ("segmentation.losses", ["bce", "tverski", "focal"], ["'tverski'", "'tversky'"]),
        ("segmentation.losses", ["bce", "hinge", "focal"], ["segmentation.losses", "'hinge'"]),
        ("classification.losses", ["cce", {"name": "focal", "gama": 2}], ["'gama'", "'gamma'"]),
        ("classification.losses", ["cce", {"name": "hinge", "gamma": 2}], ["'hinge'", "none"]),
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
        ("significance.alpha", 2, ["significance.alpha"]),
        ("significance.permutations", 10, ["significance.permutations", "1000"]),
        ("ablations", ["without_crops"], ["'without_crop'"]),
        ("classification.class_weights", "balance", ["'balanced'"]),
        ("classification.training.schedule", "cosin", ["'cosine'"]),
        ("classification.training.monitor", "val_dice", ["monitor", "'val_dice'"]),
        ("segmentation.training.monitor", "val_mcc", ["monitor", "'val_mcc'"]),
        ("segmentation.backbone", "densenet121", ["'densenet121'", "efficientnetb0"]),
        ("segmentation.ensemble_size", 9, ["ensemble_size", "5"]),
        ("segmentation.image_size", 50, ["segmentation.image_size", "multiple of 32"]),
        # data
        ("data.sources", [], ["data.sources", "non-empty"]),
        ("data.sources", [SOURCE | {"role": "lungs_test"}], ["no source with role 'classificat"]),
        ("data.sources.0", "kermany", ["data.sources.0", "object"]),
        ("data.sources.0.layout", "kermani", ["'phantom-cxr'", "did you mean 'kermany'"]),
        ("data.sources.0.layout", "kermany", ["layout and url", "'phantom'"]),
        ("data.sources.0.url", "https://example.org/x.zip", ["layout and url", "'phantom'"]),
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
    ],
)
def test_mistake_is_told_in_one_line(path: str, value: Any, parts: list[str]) -> None:
    message = complaint(changed(path, value))
    for part in parts:
        assert part in message


@pytest.mark.parametrize("key", ["study", "seed", "classes", "data"])
def test_missing_key_is_named(key: str) -> None:
    study = default()
    del study[key]
    assert f"key '{key}' is missing" in complaint(study)


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


def schema_keys(schema: dict[str, Any], root: dict[str, Any], at: str = "") -> Iterator[tuple]:
    """(path, schema) of every key that the schema knows, references and alternatives resolved."""
    if "$ref" in schema:
        referred = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        schema = referred | {key: value for key, value in schema.items() if key != "$ref"}
    for name, part in schema.get("properties", {}).items():
        path = f"{at}.{name}".lstrip(".")
        yield path, part
        yield from schema_keys(part, root, path)
    for part in schema.get("oneOf", []):
        yield from schema_keys(part, root, at)
    if isinstance(schema.get("items"), dict):
        yield from schema_keys(schema["items"], root, f"{at}[]")


def test_every_key_is_described_and_every_optional_key_has_a_default() -> None:
    schema = config.load_schema()
    required = {"study", "seed", "classes", "data", "data.sources"}
    required |= {f"data.sources[].{key}" for key in ("name", "role", "layout", "url")}
    # A loss's own parameters have their defaults in its class; generator options in the generator.
    # What a variant leaves out is the study's.
    free = re.compile(r"losses\[\]\.|\.phantom\.")
    seen = 0
    for path, part in schema_keys(schema, schema):
        if free.search(path) and path.endswith("losses[].name"):
            continue
        seen += 1
        assert part.get("description", "").endswith((".", "`")), f"{path} has no description"
        if path not in required and not free.search(path):
            assert "default" in part, f"{path} has no default"
    assert seen > 100


def test_unknown_keys_are_refused_at_every_level() -> None:
    schema = config.load_schema()

    def objects(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            if "properties" in part:
                yield part
            for value in part.values():
                yield from objects(value)
        elif isinstance(part, list):
            for value in part:
                yield from objects(value)

    for part in objects(schema):
        assert "additionalProperties" in part, part.get("description")


def config_keys(study: Any, at: str = "") -> Iterator[str]:
    if isinstance(study, dict):
        for name, value in study.items():
            path = f"{at}.{name}".lstrip(".")
            yield path
            yield from config_keys(value, path)
    elif isinstance(study, list):
        for value in study:
            yield from config_keys(value, f"{at}[]")


def test_config_and_schema_know_the_same_keys() -> None:
    schema = config.load_schema()
    known = {path for path, _ in schema_keys(schema, schema)}
    listed = set(config_keys(default()))
    assert listed <= known, sorted(listed - known)
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
