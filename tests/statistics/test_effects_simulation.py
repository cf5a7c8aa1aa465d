"""The simulation of power, equivalence and claims: small runs, and the page that it wrote."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    path = root / "benchmarks" / "effects_simulation.py"
    spec = importlib.util.spec_from_file_location("effects_simulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_power_equivalence_and_plans_hold_in_a_small_run(simulation: ModuleType) -> None:
    assert simulation.power_of_t(12, 0.05 / 11, 5000) == pytest.approx(0.8, abs=0.02)
    assert simulation.equivalence_of_t(80, 10, 5000) <= 0.06
    assert simulation.equivalence_of_t(80, 1, 2000) < 0.01
    patients, power = simulation.power_of_plan(5, 0.15, 5000)
    assert patients > 100 and power == pytest.approx(0.8, abs=0.02)
    assert np.isnan(simulation.power_of_plan(2, 0.02, 10)).all()


def test_worlds_have_patients_of_one_class_and_the_stated_mcc(simulation: ModuleType) -> None:
    world = simulation.World(300, 10)
    for patient in set(world.patients.tolist()):
        assert len(set(world.y[world.patients == patient].tolist())) == 1
    assert len(world.y) == 300 > world.patients.max() + 1
    rng = np.random.default_rng(0)
    right = [p == world.y for _ in range(40) for p in world.predicted(rng, (2.0, 2.0))]
    # The chance that the true class's score is the largest of three.
    assert np.mean(right) == pytest.approx(0.865, abs=0.02)
    assert simulation.true_mcc(2.0) == pytest.approx(0.79, abs=0.01)


def test_claims_of_patients_who_are_alike_are_false_more_often_than_published(
    simulation: ModuleType,
) -> None:
    found = simulation.claimed(simulation.FLAT, 60, 1.0, 400, 200)
    published, wrong = found["published"]
    by_patient, _ = found["by patient"]
    assert published.mean() < wrong.mean() and published.mean() < by_patient.mean()
    again = simulation.claimed(simulation.FLAT, 60, 1.0, 400, 200)
    assert (again["by patient"][0] == by_patient).all()


def test_the_page_says_what_does_not_hold(simulation: ModuleType, root: Path) -> None:
    page = simulation.report(["| a |"], ["power is 12.0%"], quick=True)
    assert "- does not hold: power is 12.0%" in page and simulation.HOLDS not in page
    committed = (root / "docs" / "effects-simulation.md").read_text(encoding="utf-8")
    assert "--quick" not in committed
    assert simulation.HOLDS in committed or "does not hold" in committed
