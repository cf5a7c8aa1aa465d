"""The simulation of groups of patients: its worlds are as described, its page is written."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    return importlib.import_module("subgroups_simulation")


def test_recalls_are_as_described_and_only_the_last_group_is_worse(simulation: ModuleType) -> None:
    rng = np.random.default_rng(0)
    world = simulation.World("x", 20_000, (0.7, 0.3), (simulation.MIX, simulation.OTHER_MIX), 0.6)
    data = simulation.Images.of(rng, world)
    for worse in (0.0, simulation.WORSE):
        right = data.predicted(rng, worse, 2) == data.y
        for k, recall in enumerate(simulation.RECALLS):
            for group in (0, 1):
                own = right[:, (data.y == k) & (data.groups == group)].mean()
                assert own == pytest.approx(recall - worse * group, abs=0.02)
    first = np.unique(data.patients, return_index=True)[1]
    for group, mix in ((0, simulation.MIX), (1, simulation.OTHER_MIX)):
        labels = data.y[first][data.groups[first] == group]
        assert np.bincount(labels) / len(labels) == pytest.approx(mix, abs=0.02)


def test_images_of_a_patient_are_of_one_group_and_class(simulation: ModuleType) -> None:
    for world in simulation.WORLDS:
        data = simulation.Images.of(np.random.default_rng(1), world)
        pairs = set(zip(data.patients.tolist(), data.y.tolist(), data.groups.tolist(), strict=True))
        assert len(pairs) == world.patients
        if world.of_first:
            assert (np.bincount(data.patients[data.groups > 0])[-1:] <= 1).all()


def test_a_tiny_run_makes_a_page_and_faults_fail(simulation: ModuleType) -> None:
    size = simulation.Size(4, 3, 2, 2, 99, 50)
    null = {w.name: simulation.judged(w, size, 0.0, size.null) for w in simulation.WORLDS}
    unfair = {w.name: simulation.judged(w, size, 0.2, size.unfair) for w in simulation.WORLDS}
    family = {"x": simulation.families(simulation.WORLDS[0], size)}
    covered = {30: simulation.coverage(30, size)}
    page = simulation.report(size, null, unfair, family, covered, ["a claim"], quick=True)
    assert "- does not hold: a claim" in page and "five unequal groups (400)" in page
    sound = {"gap": 0.05, "gap_covers": 0.95, "against": 0.05, "against_cover": 0.95, "sets": 2000}
    big = simulation.Size(2000, 600, 1000, 1, 1, 1)
    assert simulation.failures_of({"x": sound}, {"x": sound}, {"x": 0.05}, big, 2.0) == []
    for change in ({"gap": 0.061}, {"against": 0.07}, {"gap_covers": 0.93}, {"against_cover": 0.9}):
        assert len(simulation.failures_of({"x": sound | change}, {}, {}, big, 2.0)) == 1
    assert len(simulation.failures_of({}, {"x": sound | {"gap_covers": 0.9}}, {}, big, 2.0)) == 1
    assert len(simulation.failures_of({}, {}, {"x": 0.08}, big, 2.0)) == 1


def test_the_page_is_there_and_all_claims_hold(root: Path) -> None:
    page = (root / "docs/subgroups-simulation.md").read_text(encoding="utf-8")
    assert "All hold" in page and "does not hold" not in page
    assert "Percent of 1,000 test sets of a world" in page
