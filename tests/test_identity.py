"""What a study trains and judges: names made in one place, looked up everywhere else."""

import copy
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import simulated
import yaml
from multiloss import config as configuration
from multiloss import study
from multiloss.evaluation import families
from multiloss.job.errors import UserError
from multiloss.study import Model, Study

ROOT = Path(__file__).parents[1]
FOCAL_3 = {
    "name": "focal",
    "gamma": 3,
    "as": "focal_3",
    "class_weights": "none",
    "training": {"epochs": 2, "optimizer": {"learning_rate": 0.5}},
    "augmentation": {"zoom": 0.3},
}


def validated(losses: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    if losses is not None:
        config["classification"]["losses"] = copy.deepcopy(losses)
        config["ensembles"]["top_k"] = [2]
    return configuration.validate(config | changes)


def names(models: list[Model]) -> list[str]:
    return [model.name for model in models]


def test_models_of_the_demo() -> None:
    demo = Study(validated())
    losses = [entry["name"] for entry in demo.config["classification"]["losses"]]
    assert len(losses) == 12
    methods = ["majority_vote", "simple_average", "weighted_average", "stacking", "model_level"]
    assert list(demo.models) == [
        *(f"{loss}-r0" for loss in losses),
        *(f"{method}-top{k}-r0" for method in methods for k in (3, 5)),
        "weighted_average-model_level-r0",
        *(f"cce-r{run}" for run in (1, 2, 3, 4)),
        "seed_average-cce-top3",
        "seed_average-cce-top5",
    ]
    assert names(demo.explained) == [
        *(f"{loss}-r0" for loss in losses),
        "model_level-top3-r0",
        "model_level-top5-r0",
    ]


def test_models_of_two_focal_variants_in_three_runs_with_ablations() -> None:
    config = validated(
        ["cce", "focal", FOCAL_3],
        replicates=3,
        ablations=["without_crop", "without_class_weights"],
    )
    config["ensembles"]["methods"] = ["stacking", "model_level"]
    found = Study(config)
    variants = ["cce", "focal", "focal_3", "cce_without_crop", "cce_without_class_weights"]
    assert list(found.listed) == variants[:3] and list(found.variants) == variants
    trained = [f"{variant}-r{run}" for variant in variants for run in range(3)]
    assert list(found.models) == [
        *trained,
        *(f"{method}-top2-r{run}" for run in range(3) for method in ("stacking", "model_level")),
        "seed_average-cce-top2",
    ]
    assert names(found.select(["single"], 1)) == ["cce-r1", "focal-r1", "focal_3-r1"]
    assert names(found.select(["ensemble"], levels=["model"])) == [
        f"model_level-top2-r{run}" for run in range(3)
    ]
    assert names(found.explained)[:6] == [
        *(f"{variant}-r0" for variant in variants),
        "model_level-top2-r0",
    ]
    assert found.models["focal_3-r2"] == Model(
        "focal_3-r2", "single", "focal_3", "focal loss 3", "focal_3", "focal", 2
    )
    assert found.models["cce_without_crop-r1"] == Model(
        *("cce_without_crop-r1", "ablation", "cce_without_crop", "cross-entropy without crop"),
        *("cce_without_crop", "cce", 1),
        cropped=False,
    )
    average = found.models["seed_average-cce-top2"]
    assert (average.label, average.k, average.replicate) == (
        "2 seeds of cross-entropy averaged",
        2,
        None,
    )
    assert average.members == ("cce-r0", "cce-r1")
    head = found.models["model_level-top2-r1"]
    assert (head.label_of_run, head.explained_layer) == (
        "model-level ensemble, top\N{NO-BREAK SPACE}2 (run 1)",
        "ensemble_conv",
    )
    assert found.models["focal-r0"].explained_layer == "dcl"


def test_the_average_of_model_level_ensembles_has_members() -> None:
    model = Study(validated()).models["weighted_average-model_level-r0"]
    assert model.members == ("model_level-top3-r0", "model_level-top5-r0")
    assert (model.label, model.level) == (
        "weighted average of model-level ensembles",
        "model_average",
    )


def test_a_variant_changes_single_keys_of_the_study() -> None:
    found = Study(validated(["cce", FOCAL_3]))
    usual, own = found.variants["cce"], found.variants["focal_3"]
    assert own.loss == {"name": "focal", "gamma": 3}
    assert (usual.class_weights, own.class_weights) == ("balanced", "none")
    assert own.training["optimizer"] == usual.training["optimizer"] | {"learning_rate": 0.5}
    assert own.training == usual.training | {"epochs": 2, "optimizer": own.training["optimizer"]}
    assert own.augmentation == usual.augmentation | {"zoom": 0.3}
    # As it is read back by jobs: nothing changes.
    assert configuration.validate(found.config) == found.config


def test_a_null_may_become_a_mapping_with_its_defaults_and_the_other_way_round() -> None:
    stops = {"name": "focal", "training": {"early_stopping": {"patience": 3}}}
    config = validated(["cce", stops])
    assert config["classification"]["losses"][1]["training"] == {
        "early_stopping": {"patience": 3, "min_delta": 0.0}
    }
    config["classification"]["training"]["early_stopping"] = {"patience": 9, "min_delta": 0.0}
    never = {"name": "focal", "training": {"early_stopping": None}}
    config["classification"]["losses"] = ["cce", never]
    found = Study(configuration.validate(config))
    assert found.variants["focal"].training["early_stopping"] is None
    assert found.variants["cce"].training["early_stopping"]["patience"] == 9


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (["cce", "focal", {"name": "focal", "gamma": 3}], ["'focal' is listed twice", "`as`"]),
        (["cce", FOCAL_3, FOCAL_3], ["'focal_3' is listed twice"]),
        (["cce", "focal", {"name": "focal", "as": "Focal"}], ["'Focal' is listed twice"]),
        *(
            (["cce", {"name": "focal", "as": name}], [repr(name), reason])
            for name, reason in (
                ("focal-r0", "'-r0' is what names of models add"),
                ("focal-top3", "'-top3' is what names of models add"),
                ("seed_average-focal", "'seed_average' is an ensemble"),
                ("stacking", "'stacking' is an ensemble"),
                ("weighted_average-model_level", "'weighted_average' is an ensemble"),
                ("focal_without_crop", "'_without_crop' is what names of models add"),
                ("focal-temperature", "'-temperature' is what names of models add"),
                ("uniform", "another row of that name"),
                ("cce_entropy", "the name of another loss"),
                ("focal/3", "letters, digits"),
                ("focal loss 3", "letters, digits"),
                ("", "letters, digits"),
                (".focal", "letters, digits"),
                ("focal\n", "letters, digits"),
                ("{focal}", "letters, digits"),
            )
        ),
        (["cce", {"name": "focal", "as": 3}], ["as", "3"]),
        (
            ["cce", FOCAL_3 | {"training": {"epocs": 2}}],
            ["'focal_3'", "'training.epocs'", "did you mean 'epochs'"],
        ),
        (["cce", FOCAL_3 | {"training": {"epochs": 0}}], ["'focal_3'", "training.epochs", "0"]),
        (["cce", FOCAL_3 | {"training": {"monitor": "val_dice"}}], ["'focal_3'", "val_dice"]),
        (["cce", FOCAL_3 | {"augmentation": {"zoom": 2}}], ["'focal_3'", "augmentation.zoom"]),
        (["cce", FOCAL_3 | {"class_weights": "some"}], ["class_weights", "'some'"]),
        (["cce", FOCAL_3 | {"backbone": "resnet"}], ["losses.1", "no parameter 'backbone'"]),
        ([FOCAL_3, "focal"], ["significance.baseline", "'cce'"]),
    ],
)
def test_a_variant_that_cannot_be_is_refused_in_one_line(losses, words) -> None:
    with pytest.raises(UserError) as refusal:
        validated(losses)
    message = str(refusal.value)
    assert "\n" not in message and all(word in message for word in words), message


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "a\\b", "a:b", "a\nb", "a\x7f", "a?", "{a}", ".a", "a.", "a ", " a", "con", "NUL.x"]
    + ["lpt1", "a" * 101],
)
def test_a_name_that_some_file_system_cannot_keep(name) -> None:
    assert study.fault_of_file_name(name)
    assert study.fault_of_name(name, "focal", ["focal"]) == study.fault_of_file_name(name)


@pytest.mark.parametrize("name", ["a", "a.b", "focal_3", "console", "com", "lpt10", "a b", "ä"])
def test_a_name_that_every_file_system_keeps(name) -> None:
    assert study.fault_of_file_name(name) == ""


def test_models_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    models = Study(validated(["cce", FOCAL_3], ablations=["without_crop"])).models
    path = tmp_path / "models.csv"
    path.write_text(study.models_text(models.values()), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        "model,kind,family,label,variant,loss,replicate,method,k,level,members,cropped"
    )
    assert "focal_3-r0,single,focal_3,focal loss 3,focal_3,focal,0,,,,,true" in lines
    assert (
        "cce_without_crop-r0,ablation,cce_without_crop,cross-entropy without crop,"
        "cce_without_crop,cce,0,,,,,false"
    ) in lines
    assert (
        "seed_average-cce-top2,seed_ensemble,seed_average-cce-top2,"
        "2 seeds of cross-entropy averaged,cce,cce,,seed_average,2,,cce-r0;cce-r1,true"
    ) in lines
    read = study.read_models(path, list(models))
    assert read == models and list(read) == list(models)
    assert read.label_of("focal_3") == "focal loss 3"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("members", "parts"), "column 'members' is missing"),
        (lambda text: text + text.splitlines()[1] + "\n", "'cce-r0' is listed twice"),
        (lambda text: text.replace("single", "singel"), "kind 'singel' is not known"),
        (lambda text: text.replace(",cce,0,", ",cce,x,"), "replicate 'x' is no number"),
        (lambda text: text + "focal-r7\n", "1 fields instead of 12"),
        (lambda text: text.replace("focal-r0", "focl-r0"), "no model 'focal-r0'"),
        (lambda text: "", "column 'model' is missing"),
    ],
)
def test_another_models_table_is_refused_by_name(tmp_path: Path, change, reason: str) -> None:
    models = Study(validated(["cce", "focal"])).models
    path = tmp_path / "models.csv"
    path.write_text(change(study.models_text(models.values())), encoding="utf-8")
    with pytest.raises(UserError, match=f"models.csv: .*{reason}"):
        study.read_models(path, list(models))
    path.write_text(study.models_text(models.values()), encoding="utf-8")
    with pytest.raises(UserError, match=r"model 'focal-r0' has no predictions \(1 such"):
        study.read_models(path, [name for name in models if name != "focal-r0"])


def test_a_step_refuses_a_models_table_of_other_predictions(root, monkeypatch, tmp_path) -> None:
    data = simulated.predictions(0, models=3)
    models = [*simulated.models_of(data).values(), Model("focal-r0", "single", "focal", "focal")]
    (tmp_path / "models.csv").write_text(study.models_text(models), encoding="utf-8")
    with pytest.raises(UserError, match="models.csv: model 'focal-r0' has no predictions"):
        simulated.run_script(
            root, monkeypatch, "replicates",
            input={
                "predictions": simulated.write(data, tmp_path), "models": tmp_path / "models.csv",
            },
            params={"classes": data.classes},
            output={},
        )  # fmt: skip


def test_variants_that_are_trained_otherwise_are_no_pair() -> None:
    def pairs(**changed: Any) -> tuple[list[tuple[str, str]], dict[str, str], dict[str, str]]:
        calibrated = {"name": "calibrated_cce", **changed}
        found = Study(validated(["cce", "kl_divergence", calibrated])).listed
        variants = {name: asdict(variant) for name, variant in found.items()}
        return families.same_objective(variants), *families.plain_forms(variants)

    same = [("kl_divergence", "cce")]
    assert pairs() == (same, {"calibrated_cce": "cce"}, {})
    for changed in ({"class_weights": "none"}, {"training": {"epochs": 3}}):
        assert pairs(**changed) == (same, {}, {"calibrated_cce": "cce is trained otherwise"})
    twice = Study(validated(["cce", {"name": "cce", "as": "again"}])).listed
    variants = {name: asdict(variant) for name, variant in twice.items()}
    assert families.same_objective(variants) == [("again", "cce")]


def test_val_flatters_what_it_decided() -> None:
    stops = {"name": "focal", "training": {"early_stopping": {"patience": 3}}}
    config = validated(["cce", "hinge", stops])
    config["ensembles"]["model_level"]["training"]["keep"] = "last"
    for key in ("early_stopping", "reduce_on_plateau"):
        config["ensembles"]["model_level"]["training"][key] = None
    decided = Study(config).decided_on_val
    assert {"focal-r0", "stacking-top2-r0", "model_level-top2-r0"} <= set(decided)
    assert not {"cce-r0", "hinge-r0", "seed_average-cce-top2"} & set(decided)


PLANNED = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings

snakefile, file, folder = map(Path, sys.argv[1:])
with SnakemakeApi() as api:
    planned = api.workflow(
        resource_settings=ResourceSettings(cores=1),
        config_settings=ConfigSettings(configfiles=[file]),
        snakefile=snakefile,
        workdir=folder,
    )
    params = planned._workflow.get_rule("train").params
    keys = ("loss", "class_weights", "training", "augmentation")
    for name in ("focal", "focal_3"):
        job = SimpleNamespace(variant=name)
        print("PLANNED", json.dumps({key: params.get(key)(job) for key in keys}))
"""


def test_own_settings_reach_the_job(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    changes = {"classification": {"losses": ["cce", "focal", FOCAL_3]}, "ensembles": {"top_k": [2]}}
    file.write_text(yaml.safe_dump(changes), encoding="utf-8")
    command = [sys.executable, "-c", PLANNED, ROOT / "Snakefile", file, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("PLANNED ")]
    usual, own = (json.loads(line.removeprefix("PLANNED ")) for line in lines)
    assert usual["loss"] == {"name": "focal", "gamma": 2} and usual["class_weights"] == "balanced"
    assert own["loss"] == {"name": "focal", "gamma": 3} and own["class_weights"] == "none"
    assert own["training"] == usual["training"] | {
        "epochs": 2,
        "optimizer": usual["training"]["optimizer"] | {"learning_rate": 0.5},
    }
    assert own["augmentation"] == usual["augmentation"] | {"zoom": 0.3}
