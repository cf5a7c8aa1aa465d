"""The plan: which jobs a study has, and which run again after a change. Nothing is computed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from multiloss import config, losses
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[1]
SMALLEST = ROOT / "tests/studies/smallest.yaml"


def snakemake(folder: Path, *options: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", folder]
    command += ["--snakefile", ROOT / "Snakefile", *options]
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=300
    )


def planned(folder: Path, *options: str | Path) -> dict[str, int]:
    """Jobs by rule that a dry run would start."""
    done = snakemake(folder, "--dry-run", *options, "--quiet", "rules")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    if "Nothing to be done" in text:
        return {}
    table = text[text.index("Job stats:") :].split("total", 1)[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def study(folder: Path, **changes: object) -> Path:
    """A study file: the smallest one with sections replaced or extended."""
    content = yaml.safe_load(SMALLEST.read_text())
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            content[key] = content[key] | value
        else:
            content[key] = value
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Snakemake believes that the smallest study is complete."""
    folder = tmp_path_factory.mktemp("finished")
    options = ("--configfile", SMALLEST)
    done = snakemake(folder, "--summary", *options)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    for name, _, rule, _, status, _ in rows:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if status == "removed temp file":
            continue
        if (rule == "download" and path.suffix != ".json") or name.endswith("/masks"):
            path.mkdir()
        else:
            path.touch()
    done = snakemake(folder, "--touch", "--quiet", "all", *options)
    assert done.returncode == 0, done.stderr
    # `--touch` records nothing for rules without inputs; Snakemake then goes by dates alone there.
    assert planned(folder, *options) == {}
    return folder


@pytest.fixture
def complete(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder to change."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    return folder


RESULTS = "results/smallest"


def test_default_study_trains_each_loss_once_and_builds_all_ensembles(tmp_path: Path) -> None:
    jobs = planned(tmp_path)
    assert (jobs["download"], jobs["splits"], jobs["mask"], jobs["crop"]) == (3, 1, 1, 1)
    assert jobs["train_segmenter"] == 5
    # The baseline four times more, for the ensembles of 3 and 5 seeds.
    assert jobs["train"] == jobs["predict"] == 12 + 4
    assert jobs["seed_ensemble"] == 2
    # The prediction-level ensembles of a replicate are one job, the model-level ones one each.
    assert (jobs["ensemble"], jobs["model_level"]) == (1, 2)
    assert jobs["gradcam"] == 14
    assert (jobs["evaluate"], jobs["significance"], jobs["report"]) == (1, 1, 1)


def test_published_study_plans_the_same_jobs_with_gpus(tmp_path: Path) -> None:
    paper = ROOT / "workflow/studies/paper.yaml"
    jobs = planned(tmp_path, "--configfile", paper)
    assert jobs.pop("encoder_weights") == 1
    assert jobs == planned(tmp_path)
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(study, yaml.safe_load(paper.read_text()))
    study = config.validate(study)
    assert {step: part["gpu"] for step, part in study["resources"].items()} == {
        "data": 0,
        "training": 1,
        "prediction": 1,
        "analysis": 0,
    }


def test_published_study_has_the_published_settings() -> None:
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(study, yaml.safe_load((ROOT / "workflow/studies/paper.yaml").read_text()))
    study = config.validate(study)
    segmentation, classification = study["segmentation"], study["classification"]
    assert (segmentation["image_size"], segmentation["training"]["batch_size"]) == (512, 2)
    assert segmentation["training"]["optimizer"]["name"] == "adam"
    assert segmentation["encoder_weights"] == "imagenet"
    assert len(segmentation["losses"]) == 5
    assert (classification["image_size"], classification["training"]["batch_size"]) == (512, 16)
    assert len(classification["losses"]) == 12
    # Losses keep their published parameters.
    named = {loss.pop("name"): loss for loss in classification["losses"]}
    assert named == losses.catalog("classification")
    for training in (classification["training"], study["ensembles"]["model_level"]["training"]):
        assert training["optimizer"] == {
            "name": "sgd",
            "learning_rate": 1e-4,
            "momentum": 0.9,
            "nesterov": True,
            "decay": 1e-6,
        }
        assert training["epochs"] == 64
        assert training["reduce_on_plateau"]["min_learning_rate"] == 1e-5
        # With equal patience, as published, training would end before the rate ever fell.
        assert training["early_stopping"]["patience"] > training["reduce_on_plateau"]["patience"]
    # Nothing of the demo's own augmentation shines through.
    assert not any(classification["augmentation"].values())
    assert segmentation["augmentation"]["rotation_degrees"] == 0.2
    assert segmentation["augmentation"]["contrast"] == 0


def test_replicates_multiply_what_depends_on_them_alone(tmp_path: Path) -> None:
    once = planned(tmp_path, "--configfile", study(tmp_path, replicates=1))
    thrice = planned(tmp_path, "--configfile", study(tmp_path, replicates=3))
    for rule in ("rank", "ensemble", "model_level"):
        assert thrice[rule] == 3 * once[rule], rule
    # Once, the baseline has a second seed, for an average as large as the ensembles.
    for rule in ("train", "predict"):
        assert (once[rule], thrice[rule]) == (3 + 1, 3 * 3), rule
    for rule in ("download", "splits", "train_segmenter", "mask", "crop", "evaluate", "report"):
        assert thrice[rule] == once[rule], rule
    assert once["seed_ensemble"] == thrice["seed_ensemble"] == 1


@pytest.mark.parametrize("name", ["roc", "forest_mcc", "gradcam_focal-r0", "gradcam_montage"])
def test_one_figure_again_is_one_job(complete: Path, name: str) -> None:
    target = f"{RESULTS}/figures/{name}.png"
    (complete / target).unlink()
    assert planned(complete, target, "--configfile", SMALLEST) == {"figure": 1}


def test_changed_loss_parameter_trains_that_loss_alone(complete: Path) -> None:
    changed = study(complete)
    content = yaml.safe_load(changed.read_text())
    content["classification"]["losses"] = ["cce", {"name": "focal", "gamma": 3}, "calibrated_cce"]
    changed.write_text(yaml.safe_dump(content, sort_keys=False))
    jobs = planned(complete, "--configfile", changed)
    assert (jobs["train"], jobs["predict"]) == (1, 1)
    # The ranking may change by it, so ensembles and tables are made anew, and their maps.
    assert jobs["rank"] == jobs["ensemble"] == jobs["model_level"] == jobs["evaluate"] == 1
    assert not {"download", "splits", "lungs", "train_segmenter", "mask", "crop"} & set(jobs)
    assert jobs["gradcam"] == 2  # of that loss and of the model-level ensemble
    # Left as they are: the figures of data, lungs and crops, and the other losses' heat maps.
    untouched = {"splits", "samples", "crop_overview", "learning_curves_segmentation"}
    untouched |= {"segmentation_dice", "segmentation_overlays"}
    untouched |= {"gradcam_cce-r0", "gradcam_calibrated_cce-r0"}
    drawn = {path.stem for path in (complete / RESULTS / "figures").glob("*.png")}
    assert untouched < drawn
    assert jobs["figure"] == len(drawn - untouched)


def test_changed_look_draws_figures_and_report_only(complete: Path) -> None:
    jobs = planned(complete, "--configfile", study(complete, figures={"dpi": 100}))
    figures = len(list((complete / RESULTS / "figures").glob("*.png")))
    assert set(jobs) == {"figure", "report", "all"}
    assert jobs["figure"] == figures


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"optimism_resamples": 30}, {"optimism"}),
        ({"optimism_stacking_resamples": 25}, {"optimism"}),
        ({"operating_point": "sensitivity_90"}, {"evaluate"}),
        ({"interval": "bca"}, {"evaluate", "significance", "calibration"}),
    ],
)
def test_changed_evaluation_runs_the_rules_that_use_it(
    complete: Path, changes: dict[str, object], first: set[str]
) -> None:
    content = yaml.safe_load(SMALLEST.read_text())["evaluation"]
    jobs = planned(complete, "--configfile", study(complete, evaluation=content | changes))
    assert set(jobs) - {"figure", "report", "all"} == first


def test_changed_permutations_leave_replicates_and_calibration(complete: Path) -> None:
    jobs = planned(complete, "--configfile", study(complete, significance={"permutations": 2000}))
    assert set(jobs) - {"figure", "report", "all"} == {"significance"}


def test_added_replicate_runs_nothing_of_the_earlier_one(complete: Path) -> None:
    before = planned(complete.parent, "--configfile", SMALLEST)
    jobs = planned(complete, "--configfile", study(complete, replicates=2))
    for rule in ("rank", "ensemble", "model_level"):
        assert jobs[rule] == before[rule], rule
    # The second seed of the baseline was there, for the average of two.
    assert (before["train"], jobs["train"]) == (4, 2)
    assert (before["predict"], jobs["predict"]) == (4, 2)
    assert not {"download", "splits", "train_segmenter", "mask", "crop"} & set(jobs)


def test_deleted_prediction_is_made_from_the_model_that_is_there(complete: Path) -> None:
    (complete / RESULTS / "predictions/focal-r0.csv").unlink()
    jobs = planned(complete, "--configfile", SMALLEST)
    assert jobs["predict"] == 1
    assert "train" not in jobs


def test_more_memory_or_cores_compute_nothing_again(complete: Path) -> None:
    options = ("--configfile", SMALLEST, "--cores", "8", "--resources", "mem_mb=64000")
    assert planned(complete, *options) == {}
    changed = study(complete, resources={"data": {"threads": 1, "mem_mb": 9000, "runtime": 9}})
    # The report shows the configuration.
    assert set(planned(complete, "--configfile", changed)) == {"report", "all"}


def test_misspelt_target_says_so(tmp_path: Path) -> None:
    target = f"{RESULTS}/models/focl/0.keras"
    done = snakemake(tmp_path, "--dry-run", target, "--configfile", SMALLEST)
    assert done.returncode != 0
    assert target in done.stderr + done.stdout


def test_plan_writes_no_results(tmp_path: Path) -> None:
    planned(tmp_path, "--configfile", SMALLEST)
    assert not (tmp_path / "results").exists()
