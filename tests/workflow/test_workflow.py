"""The plan: which jobs a study has, and which run again after a change. Nothing is computed."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import docutils.nodes
import jinja2
import pytest
import yaml
from multiloss import config, losses
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests/studies/smallest.yaml"


def snakemake(
    folder: Path, *options: str | Path, checkout: Path = ROOT
) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", folder]
    command += ["--snakefile", checkout / "Snakefile", *options]
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=300
    )


def planned(folder: Path, *options: str | Path, checkout: Path = ROOT) -> dict[str, int]:
    """Jobs by rule that a dry run would start."""
    done = snakemake(folder, "--dry-run", *options, "--quiet", "rules", checkout=checkout)
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
    gpus = {"data": 0, "training": 1, "prediction": 1, "analysis": 0}
    assert {step: study["resources"][step]["gpu"] for step in gpus} == gpus


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


@pytest.mark.parametrize("name", ["roc", "gradcam_montage"])
def test_one_figure_again_is_one_job(complete: Path, name: str) -> None:
    target = f"{RESULTS}/figures/{name}.png"
    (complete / target).with_suffix(".svg").unlink()
    assert planned(complete, "--configfile", SMALLEST) == {"figure": 1, "report": 1, "all": 1}
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


def test_training_starts_from_one_encoder_file(finished: Path) -> None:
    done = snakemake(finished, "--detailed-summary", "--configfile", SMALLEST)
    head, *rows = (line.split("\t") for line in done.stdout.splitlines())
    of_file = {row[0]: row[head.index("input-file(s)")].split(",") for row in rows}
    networks = [name for name in of_file[f"{RESULTS}/models/cce/0.keras"] if ".keras" in name]
    assert networks == [f"{RESULTS}/segmentation/encoder.keras"]


def test_changed_look_draws_figures_and_report_only(complete: Path) -> None:
    jobs = planned(complete, "--configfile", study(complete, figures={"dpi": 100}))
    figures = len(list((complete / RESULTS / "figures").glob("*.png")))
    assert set(jobs) == {"figure", "report", "all"}
    assert jobs["figure"] == figures


# What has intervals, with the ensembles that are judged by them as they are built.
BY_RESAMPLING = {
    *("segmentation_scores", "ensemble", "ensemble_tables", "evaluate", "significance"),
    *("calibration", "replicates", "diversity", "localisation", "cases"),
    *("usefulness", "prediction_sets", "verdicts", "against_baseline"),
}


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"optimism_resamples": 30}, {"optimism"}),
        ({"optimism_stacking_resamples": 25}, {"optimism"}),
        ({"operating_point": "sensitivity_90"}, {"evaluate", "usefulness", "against_baseline"}),
        (
            {"interval": "bca"},
            {"evaluate", "significance", "calibration", "verdicts", "against_baseline"},
        ),
        # No network is trained again for other intervals.
        ({"resamples": 500}, BY_RESAMPLING),
        ({"confidence": 0.9}, BY_RESAMPLING | {"optimism"}),
        # Kept apart from the manifest, other columns train nothing again.
        ({"subgroups": ["source"]}, {"attributes", "subgroups"}),
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
    assert set(jobs) - {"figure", "report", "all"} == {
        *("significance", "verdicts", "against_baseline")
    }


def test_added_replicate_runs_nothing_of_the_earlier_one(complete: Path) -> None:
    before = planned(complete.parent, "--configfile", SMALLEST)
    jobs = planned(complete, "--configfile", study(complete, replicates=2))
    for rule in ("rank", "ensemble", "model_level"):
        assert jobs[rule] == before[rule], rule
    # The second seed of the baseline was there, for the average of two.
    assert (before["train"], jobs["train"]) == (4, 2)
    assert (before["predict"], jobs["predict"]) == (4, 2)
    assert not {"download", "splits", "train_segmenter", "mask", "crop"} & set(jobs)


def test_divisions_of_their_own_train_further_runs_alone_again(complete: Path) -> None:
    redrawn = study(complete, splits={"redraw": True})
    jobs = planned(complete, "--configfile", redrawn)
    # The second seed of the baseline, for the average of two, has now other training images.
    assert (jobs["redraw"], jobs["train"], jobs["predict"], jobs["seed_ensemble"]) == (1, 1, 1, 1)
    kept = {"download", "manifest", "splits", "train_segmenter", "mask", "crop", "rank"}
    # The audit looks at every division.
    assert jobs["leakage"] == 1
    assert not (kept | {"features", "model_level", "ensemble", "gradcam", "localisation"}) & set(
        jobs
    )
    done = snakemake(complete, "--dry-run", "--configfile", redrawn)
    reasons = dict(re.findall(r": (\w+) .*replicate 1\nReason: (.*)", done.stdout))
    for job in ("Training", "Listing"):
        assert f"{RESULTS}/data/manifests/1.csv" in reasons[job]


def test_deleted_prediction_is_made_without_a_training(complete: Path) -> None:
    target = f"{RESULTS}/predictions/focal-r0.csv"
    (complete / target).unlink()
    assert planned(complete, target, "--configfile", SMALLEST) == {"predict": 1}


def test_more_memory_or_cores_compute_nothing_again(complete: Path) -> None:
    options = ("--configfile", SMALLEST, "--cores", "8", "--resources", "mem_mb=64000")
    assert planned(complete, *options) == {}
    changed = study(complete, resources={"data": {"threads": 1, "mem_mb": 9000, "runtime": 9}})
    # The report shows the configuration.
    assert set(planned(complete, "--configfile", changed)) == {"report", "all"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The checkout again, elsewhere and with other dates."""
    folder = tmp_path / "another place"
    ignored = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored, copy_function=shutil.copyfile)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_new_clone_and_edits_without_effect_compute_nothing_again(
    finished: Path, clone: Path
) -> None:
    edit(clone / "workflow/scripts/train.py", "\n\n", "\n# why\n\n")
    edit(clone / "workflow/multiloss/networks/training.py", '"""', '"""Also: ')
    for profile in (["--workflow-profile", clone / "profiles/slurm"], []):
        assert planned(finished, "--configfile", SMALLEST, *profile, checkout=clone) == {}
    # The report knows the words of all losses.
    edit(clone / "workflow/multiloss/losses/classification.py", '@loss("cce"',
         '@loss("new")\nclass New(ClassificationLoss):\n    pass\n\n\n@loss("cce"')  # fmt: skip
    plan = planned(finished, "--configfile", SMALLEST, checkout=clone)
    assert plan == {"report": 1, "all": 1}


@pytest.mark.parametrize(
    ("file", "old", "new", "made"),
    [
        ("scripts/leakage.py", "def main", "EDITED = 1\n\n\ndef main", {"leakage"}),
        ("scripts/optimism.py", "def main", "EDITED = 1\n\n\ndef main", {"optimism", "figure"}),
        ("multiloss/ensembles/diversity.py", "import numpy", "EDITED = 1\nimport numpy",
         {"diversity", "figure"}),
        ("multiloss/figures/ensembles.py", "import numpy", "EDITED = 1\nimport numpy", {"figure"}),
        ("multiloss/report/page.html.j2", "<body", "<body class='edited'", set()),
        # Words on a figure are no reason to draw it again; what its picture depends on is.
        ("multiloss/figures/catalog.yaml", "of every model, and its difference", "EDITED", set()),
        ("multiloss/figures/catalog.yaml", "category: Performance", "category: Edited", set()),
        ("multiloss/figures/catalog.yaml", "The diagonal is right, ", "Edited. ", set()),
        ("multiloss/figures/catalog.yaml", "performance.roc", "performance.pr", {"figure"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:30],
)  # fmt: skip
def test_edit_of_the_code_computes_again_what_it_made(
    finished: Path, clone: Path, file: str, old: str, new: str, made: set[str]
) -> None:
    edit(clone / "workflow" / file, old, new)
    jobs = planned(finished, "--configfile", SMALLEST, checkout=clone)
    assert set(jobs) == {"report", "all"} | made
    # What its own code draws, or draws from its table; not all 27.
    assert jobs.get("figure", 0) <= 3


def test_local_archive_counts_by_content_and_not_by_place(tmp_path: Path, clone: Path) -> None:
    def pack(name: str, text: str) -> str:
        with zipfile.ZipFile(clone / name, "w") as archive:
            archive.writestr("normal/a.png", text)
        return hashlib.sha256((clone / name).read_bytes()).hexdigest()

    source = {"role": "classification", "layout": "folders"}
    sources = yaml.safe_load(SMALLEST.read_text())["data"]["sources"][1:]
    sources.append(source | {"name": "seen", "url": "seen.zip", "sha256": None})
    sources.append(source | {"name": "declared", "url": "declared.zip"})
    pack("seen.zip", "one")
    sources[-1]["sha256"] = pack("declared.zip", "one")
    options = ["--configfile", study(tmp_path, data={"sources": sources})]
    targets = [f"{RESULTS}/data/downloads/{name}.json" for name in ("seen", "declared")]
    done = snakemake(tmp_path, *targets, *options, checkout=clone)
    assert done.returncode == 0, done.stderr

    clone = clone.rename(tmp_path / "moved")
    for name in ("seen.zip", "declared.zip"):
        (clone / name).touch()
    assert planned(tmp_path, *targets, *options, checkout=clone) == {}
    pack("seen.zip", "two")
    # What its digest says was unpacked, whatever lies there now.
    pack("declared.zip", "two")
    assert planned(tmp_path, *targets, *options, checkout=clone) == {"download": 1}


def test_slurm_gets_short_jobs_together(tmp_path: Path) -> None:
    options = ("--dry-run", "--workflow-profile", ROOT / "profiles/slurm")
    done = snakemake(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    groups = re.findall(r"Group job (\w+)", text)
    assert {name: groups.count(name) for name in groups} == {
        "figures": 1,
        "heat_maps": 4,
    }
    table = text[text.index("Job stats:") :].split("total", 1)[0]
    jobs = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    for rule in (
        "figure",
        "predict",
        "gradcam",
        "all",
        "models",
        "rank",
        "ensemble_tables",
        "seed_ensemble",
        "segmentation_scores",
    ):
        del jobs[rule]
    assert len(groups) + sum(jobs.values()) == 54


def test_python_without_the_packages_is_refused_before_the_first_job(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['cv2'] = None\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        assert planned(tmp_path, "--configfile", SMALLEST)["report"] == 1
        done = snakemake(tmp_path, "--configfile", SMALLEST)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "lacks cv2: start .venv/bin/snakemake" in line and "--sdm conda" in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def rendered(template: str, **snakemake: object) -> str:
    """The text that a page shows of a caption, as Snakemake renders it, and what docutils says."""
    text = (ROOT / "workflow/report" / template).read_text(encoding="utf-8")
    filled = jinja2.Environment().from_string(text).render(snakemake=SimpleNamespace(**snakemake))
    tree = docutils.core.publish_doctree(filled, settings_overrides={"report_level": 5})
    assert not list(tree.findall(docutils.nodes.problematic)), filled
    return tree.astext()


def test_names_in_captions_of_snakemakes_report_stand_as_they_are() -> None:
    names = ["bacterial_", "*viral*", "|x|", "`a`", "b\\c", "__d__", "x_ y_", "[1]_", "a`__"]
    known = config.validate(yaml.safe_load((ROOT / "config.yaml").read_text()))
    assert f"({', '.join(names)})" in rendered("workflow.rst", config=known | {"classes": names})
    for name in names:
        assert rendered("figure.rst", params={"caption": name}) == name


def test_misspelt_target_says_so(tmp_path: Path) -> None:
    target = f"{RESULTS}/models/focl/0.keras"
    done = snakemake(tmp_path, "--dry-run", target, "--configfile", SMALLEST)
    assert done.returncode != 0
    assert target in done.stderr + done.stdout


def test_plan_writes_no_results(tmp_path: Path) -> None:
    planned(tmp_path, "--configfile", SMALLEST)
    assert not (tmp_path / "results").exists()
