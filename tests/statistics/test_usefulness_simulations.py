"""The simulations of usefulness and of sets: tiny runs, and worlds as described."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


def module(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


def test_net_benefit_world_has_its_true_values(root: Path) -> None:
    sim = module(root, "usefulness_simulation")
    rng = np.random.default_rng(0)
    images = sim.TestSet(rng, sim.SCENARIOS[0], 40_000, 0.4, sim.Size(1, 1, 2))
    p = sim.probability(images.noise() + sim.SHIFT * images.y, 0.4)
    # The probabilities are the right ones.
    for low in (0.1, 0.5, 0.8):
        inside = (p >= low) & (p < low + 0.1)
        assert images.y[inside].mean() == pytest.approx(p[inside].mean(), abs=0.03)
    rates, _ = images.judge(p, sim.POINTS)
    wanted = sim.true_rates(sim.POINTS, 0.4)
    assert rates.sensitivity[0] == pytest.approx(wanted[0], abs=0.01)
    assert rates.specificity[0] == pytest.approx(wanted[1], abs=0.01)
    size = sim.Size(coverage=3, null=3, resamples=30)
    cell = sim.SCENARIOS[1], 110, 0.4
    covered = {cell: sim.coverage(*cell, size)}
    null = {cell: sim.shown_useful(*cell, size, 0.0)}
    power = {cell: sim.shown_useful(*cell, size, sim.SHIFT)}
    page = sim.report(size, covered, null, power, ["a claim"], quick=True)
    assert (
        "- does not hold: a claim" in page and "| clusters, correlation 0.5; n = 110; 40% |" in page
    )
    covered[cell]["net benefit"] = np.array([0.2, 1, 1, 1])
    null[cell]["simultaneous"] = 0.5
    failures = sim.failures_of(covered, null, sim.Size(1000, 1000, 30))
    assert failures[0].startswith("net benefit at 0.05 is covered in 20.0%")
    assert "a useless model is called useful in 50.0%" in failures[-1]


def test_a_tiny_run_of_sets(root: Path) -> None:
    sim = module(root, "prediction_sets_simulation")
    labels = np.repeat([0, 1, 2], 300)
    p, y, patients = sim.images(np.random.default_rng(0), labels, sim.SCENARIOS[1], 1)
    assert p.shape == (1, len(y), 3) and len(set(patients.tolist())) == 900
    sizes = np.bincount(patients)
    assert set(sizes) == set(sim.CLUSTERS)
    right = p[0].argmax(axis=1) == y
    assert right[sizes[patients] == 8].mean() > right[sizes[patients] == 1].mean() + 0.1
    found = sim.covered(sim.SCENARIOS[0], 150, 0)
    assert set(found) == set(sim.RULES) and all(value.shape == (3,) for value in found.values())
    cells = {
        (scenario, 40): {rule: (np.full(3, 0.5), np.full(3, 0.01)) for rule in sim.RULES}
        for scenario in sim.SCENARIOS
    }
    failures = sim.failures_of(cells)
    assert len(failures) == 6 and failures[0].startswith("class 1 is covered in 50.0%")
    assert "- does not hold: class 1" in sim.report(cells, 2, failures, quick=True)


@pytest.mark.parametrize("name", ["usefulness", "prediction-sets"])
def test_the_pages_are_of_full_runs_whose_claims_hold(root: Path, name: str) -> None:
    page = (root / "docs" / f"{name}-simulation.md").read_text(encoding="utf-8")
    assert "--quick" not in page and "does not hold" not in page and "All hold" in page
