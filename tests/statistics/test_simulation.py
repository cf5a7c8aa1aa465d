"""The simulation benchmark: its worlds are as described, and its page is written and current."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    path = root / "benchmarks" / "statistics_simulation.py"
    spec = importlib.util.spec_from_file_location("statistics_simulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_worlds_have_the_stated_accuracy_and_correlation(simulation: ModuleType) -> None:
    signal = simulation.signal_for(0.94)
    assert simulation.truth(signal, copies=30)[0] == pytest.approx(0.94, abs=0.006)
    for scenario in simulation.SCENARIOS:
        world = simulation.World(scenario, resamples=2)
        patients = world.sets[0][0]
        assert (len(set(patients.tolist())) < 400) == scenario.clustered
        rng = np.random.default_rng(0)
        noise = np.stack([world.noise(rng, patients)[:, 0] for _ in range(60)])
        first = np.flatnonzero(np.diff(patients) == 0)
        if scenario.clustered:
            pairs = np.corrcoef(noise[:, first].ravel(), noise[:, first + 1].ravel())[0, 1]
            assert pairs == pytest.approx(scenario.rho, abs=0.04)
        assert noise.std() == pytest.approx(1, abs=0.04)


def test_a_tiny_run_writes_a_page(simulation: ModuleType) -> None:
    size = simulation.Size(null=3, coverage=2, power=2, resamples=30, permutations=19)
    scenario = simulation.SCENARIOS[3]
    world = simulation.World(scenario, size.resamples)
    signal = simulation.signal_for(0.94)
    shares = simulation.rejections(world, size, (signal, signal), "null", size.null)
    covered = simulation.coverage(world, size, signal, simulation.truth(signal, 5), "coverage")
    assert set(covered) == {"transformed", "bca", "percentile", "binomial"}
    every = {s.name: shares for s in simulation.SCENARIOS}
    tables = {0.94: {s.name: covered for s in simulation.SCENARIOS}}
    page = simulation.report(size, every, every, tables, [], quick=True)
    assert "permutation, MCC" in page and "| binomial |" in page
    again = simulation.rejections(world, size, (signal, signal), "null", size.null)
    assert again == shares


def test_failing_claims_are_named(simulation: ModuleType) -> None:
    null = {"one image per patient": {"permutation, MCC": 0.09, "DeLong plain, x": 0.3}}
    assert simulation.claims_of_tests(null, 0.01) == [
        "permutation, MCC rejects 9.0% under no difference (one image per patient)"
    ]
    fine = dict.fromkeys(simulation.CLAIMED, 0.95)
    found = {s.name: {"transformed": dict(fine)} for s in simulation.SCENARIOS}
    assert simulation.claims_of_coverage(found, 0.0) == []
    found["clusters, correlation 0.5"]["transformed"]["mcc"] = 0.90
    assert len(simulation.claims_of_coverage(found, 0.0)) == 1


def test_the_committed_page_is_of_a_full_run_that_holds(root: Path, simulation: ModuleType) -> None:
    page = (root / "docs" / "statistics-simulation.md").read_text(encoding="utf-8")
    full = dataclasses.asdict(simulation.FULL)
    assert f"Percent of {full['null']} data sets" in page
    assert f"Percent of {full['coverage']} data sets; {full['resamples']} resamples" in page
    assert "All hold" in page and "does not hold" not in page
    for scenario in simulation.SCENARIOS:
        assert scenario.name in page
