"""The estimate of a study's time, against values computed by hand."""

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def study_time(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_time", root / "benchmarks/study_time.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["study_time"] = module  # its data class looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A study of ten images in which trainings took 55 and 75 seconds, and evaluation 10."""
    (tmp_path / "data").mkdir()
    splits = ["train"] * 5 + ["val"] * 2 + ["ensemble"] + ["test"] * 2
    images = pd.DataFrame({"split": splits, "width": 1000, "height": 500})
    images.to_csv(tmp_path / "data/manifest.csv", index=False)
    lungs = pd.DataFrame({"split": ["train", "val", "test"], "width": 2000, "height": 500})
    lungs.to_csv(tmp_path / "data/lungs.csv", index=False)
    for name, seconds in {"train/cce-r0": 55, "train/focal-r0": 75, "evaluate": 10}.items():
        path = tmp_path / f"benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t100\n")
    return tmp_path


def test_longest_job_first_on_the_machine_that_is_free_first(study_time: ModuleType) -> None:
    assert study_time.makespan([2, 3, 5, 3], 1) == 13
    assert study_time.makespan([2, 3, 5, 3], 2) == 7
    assert study_time.makespan([2, 3, 5, 3], 16) == 5


def test_sizes_come_from_the_manifests(study_time: ModuleType, measured: Path) -> None:
    size = study_time.size_of(measured)
    assert (size.train, size.val, size.predicted, size.test, size.total) == (5, 2, 5, 2, 10)
    assert (size.megapixels, size.lungs_megapixels) == (0.5, 1.0)


def test_work_grows_and_the_start_of_a_job_does_not(
    root: Path, study_time: ModuleType, measured: Path
) -> None:
    config = study_time.load(root / "config.yaml")
    size = study_time.size_of(measured)
    same = study_time.seconds_of_jobs(measured, config, config, size)
    assert same == {"train": pytest.approx(65), "evaluate": pytest.approx(10)}
    longer = copy.deepcopy(config)
    longer["classification"]["training"]["epochs"] *= 3
    longer["classification"]["image_size"] *= 2
    grown = study_time.seconds_of_jobs(measured, config, longer, size)
    # 15 of the 65 seconds are TensorFlow's start. An epoch passes 5 images three times and 2 once;
    # in the end 5 are predicted. Three times the 8 epochs, four times the pixels.
    assert grown["train"] == pytest.approx(15 + 50 * 4 * (24 * 17 + 5) / (8 * 17 + 5))
    assert grown["evaluate"] == pytest.approx(10)


def test_trainings_on_one_and_on_more_gpus(root: Path, study_time: ModuleType) -> None:
    # Twelve losses, and four further seeds of the baseline.
    config = study_time.load(root / "config.yaml")
    seconds = {"train": 3600.0, "evaluate": 1800.0}
    expected = {1: 16.5, 4: 4.5, 5: 4.5, 16: 1.5}
    for gpus, hours in expected.items():
        assert study_time.hours(config, seconds, gpus, speedup=1) == pytest.approx(hours)
    assert study_time.hours(config, seconds, 1, speedup=16) == pytest.approx(1.5)
