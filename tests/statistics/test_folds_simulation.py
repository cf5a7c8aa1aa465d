"""The simulation of folds: runs are as described, its page is written and current."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    path = root / "benchmarks" / "folds_simulation.py"
    spec = importlib.util.spec_from_file_location("folds_simulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_divisions_are_the_workflows(simulation: ModuleType) -> None:
    (own,) = simulation.divisions(110, 5, 2, 1)
    assert own.test.shape == own.train.shape == (10, 110)
    assert (own.test[:5].sum(axis=0) == 1).all() and (own.test[5:].sum(axis=0) == 1).all()
    assert not (own.test & own.train).any()
    assert own.ratio == pytest.approx(22 / (0.7 * 88), rel=0.03)


def test_training_patients_make_runs_alike_by_what_they_share(simulation: ModuleType) -> None:
    """Without seeds, in the limit of a lenient test, runs correlate as their training sets do."""
    (own,) = simulation.divisions(60, 3, 1, 1)
    shared = own.train.astype(float) @ own.train.T
    size = np.sqrt(np.diag(shared))
    rng = np.random.default_rng(0)
    trained = rng.standard_normal((20_000, 60)) @ own.train.T / np.sqrt(own.train.sum(axis=1))
    assert np.corrcoef(trained.T) == pytest.approx(shared / np.outer(size, size), abs=0.03)


def test_both_generators_are_fair_and_a_difference_shows(simulation: ModuleType) -> None:
    (own,) = simulation.divisions(110, 5, 1, 1)
    rng = np.random.default_rng(1)
    made = np.array([simulation.made_up(rng, own, 0.03).mean() for _ in range(2000)])
    assert abs(made.mean()) < 3 * made.std() / np.sqrt(len(made))
    better = np.array([simulation.made_up(rng, own, 0.03, 0.1).mean() for _ in range(2000)])
    assert better.mean() == pytest.approx(0.1, abs=0.006)
    learned = np.array([simulation.learned(rng, own).mean() for _ in range(600)])
    assert abs(learned.mean()) < 3 * learned.std() / np.sqrt(len(learned))


def test_broken_claims_are_told(simulation: ModuleType) -> None:
    cells = {
        (scenario.name, patients, *layout): simulation.Found(3.0, 12.0, 97.0, 0.1, {})
        for scenario in simulation.SCENARIOS
        for patients in simulation.PATIENTS
        for layout in simulation.LAYOUTS
    }
    hard = (simulation.STEADY.name, 624, 10, 1)
    cells[hard] = simulation.Found(8.0, 25.0, 91.0, 0.1, {})
    assert simulation.claims(cells, simulation.FULL) == []
    worse = simulation.Found(9.0, 8.0, 90.0, 0.1, {})
    failures = simulation.claims(
        cells
        | {(simulation.OWN.name, 110, 5, 1): worse, hard: cells[simulation.OWN.name, 110, 5, 1]},
        simulation.FULL,
    )
    where = f"{simulation.OWN.name}, n = 110, 5 folds"
    assert failures == [
        f"{where}: type I error 9.0%",
        f"{where}: intervals cover 90.0%",
        f"{where}: the plain test rejects no more often",
        f"{simulation.STEADY.name}: the correction is enough",
    ]


def test_few_studies_fail_by_what_is_no_noise(simulation: ModuleType) -> None:
    """Three standard errors of 150 studies are 5.3 points; equal tests may reject equally often."""
    at = [(one.name, 110, *layout) for one in simulation.SOUND for layout in simulation.LAYOUTS]
    at += [(simulation.OWN.name, 624, *layout) for layout in simulation.LAYOUTS]
    hard = (simulation.STEADY.name, 624, 10, 1)
    cells = dict.fromkeys([*at, hard], simulation.Found(10.0, 10.0, 90.0, 0.1, {}))
    assert simulation.claims(cells, simulation.QUICK) == []
    cells[at[0]] = simulation.Found(10.7, 10.0, 89.3, 0.1, {})
    where = f"{at[0][0]}, n = 110, 5 folds"
    assert simulation.claims(cells, simulation.QUICK) == [
        f"{where}: type I error 10.7%",
        f"{where}: intervals cover 89.3%",
        f"{where}: the plain test rejects no more often",
    ]


def test_the_page_is_of_this_simulation(simulation: ModuleType, root: Path) -> None:
    page = (root / "docs" / "folds-simulation.md").read_text(encoding="utf-8")
    assert f"in {simulation.FULL.studies:,} studies a cell" in page
    assert "All hold." in page and "does not hold" not in page
    for patients in simulation.PATIENTS:
        for layout in simulation.LAYOUTS:
            assert f"n = {patients}, {simulation.told(*layout)}" in page
