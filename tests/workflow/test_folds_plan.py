"""The plan of a study with folds: which division goes to which run, and what is of the first."""

import re
from pathlib import Path

import pytest
from test_workflow import planned, snakemake, study

RESULTS = "results/smallest"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("folds")
    return folder, study(folder, replicates=4, splits={"folds": 2, "test": 0.5})


def test_each_run_has_its_division_and_all_else_is_of_the_first(plan: tuple[Path, Path]) -> None:
    folder, path = plan
    jobs = planned(folder, "--configfile", path)
    assert (jobs["splits"], jobs["redraw"], jobs["folds"]) == (1, 3, 1)
    # Four runs of three losses, and no further seeds; their ensembles, run by run.
    assert (jobs["train"], jobs["predict"], jobs["rank"], jobs["ensemble"]) == (12, 12, 4, 4)
    assert "seed_ensemble" not in jobs
    # Heat maps of three models and the model-level ensemble of the first run.
    assert jobs["gradcam"] == 4


def test_the_manifest_of_a_run_goes_to_its_jobs(plan: tuple[Path, Path]) -> None:
    folder, path = plan
    done = snakemake(folder, "--dry-run", "--configfile", path)
    assert done.returncode == 0, done.stderr
    jobs = re.findall(r"Job \d+: Training .*replicate (\d)\nReason: (.*)", done.stdout)
    # Three classifiers and a model-level ensemble.
    assert len(jobs) == 4 * (3 + 1)
    for run, reason in jobs:
        manifests = re.findall(rf"{RESULTS}/(data/manifest\S*?\.csv)", reason)
        assert manifests == ["data/manifest.csv" if run == "0" else f"data/manifests/{run}.csv"]


def test_runs_that_do_not_fill_a_pass_are_refused(tmp_path: Path) -> None:
    path = study(tmp_path, replicates=3, splits={"folds": 2, "test": 0.5})
    done = snakemake(tmp_path, "--dry-run", "--configfile", path)
    assert done.returncode != 0
    assert "replicates: 3 cannot take turns with splits.folds: 2" in done.stdout + done.stderr
