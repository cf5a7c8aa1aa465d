"""The simulation of families: its studies are as described, its page is written and current."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from multiloss.statistics import bootstrap, metrics


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    path = root / "benchmarks" / "families_simulation.py"
    spec = importlib.util.spec_from_file_location("families_simulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_studies_are_as_described(simulation: ModuleType) -> None:
    first, heavy = simulation.SCENARIOS[0], simulation.HEAVY
    for signal, mcc in ((simulation.SIGNAL, 0.757), (simulation.BETTER_SIGNAL, 0.828)):
        assert simulation.truth(first, ["mcc"], signal, 300)[0] == pytest.approx(mcc, abs=0.01)
    for scenario in heavy:
        assert len(scenario.y) == len(scenario.ids) == 120
        assert len(set(scenario.ids.tolist())) == 85
        assert bootstrap.largest_share(scenario.ids) == pytest.approx(0.3)
    assert len(set(heavy[1].y[heavy[1].ids == 0].tolist())) == 3
    # Ensembles are as good as their members, whatever losses are better.
    scores = []
    for seed in range(60):
        predicted, losses, members = simulation.study(np.random.default_rng(seed), first, 3)
        right = (predicted == first.y).mean(axis=1)
        scores.append([right[1:4].mean(), right[[0, *range(4, 12)]].mean(), right[12:].mean()])
        assert all(member in (0, *range(4, 12)) for _, member in members)
    better, equal, ensembles = np.mean(scores, axis=0)
    assert better - equal > 0.03 and ensembles == pytest.approx(equal, abs=0.005)
    assert losses == [(1 + k, 0) for k in range(11)]


def test_a_tiny_run_writes_a_page(simulation: ModuleType) -> None:
    size = simulation.Size(
        null=2, power=2, coverage=2, edge=2, permutations=99, resamples=30
    )  # fmt: skip
    power = simulation.families(simulation.SCENARIOS[0], size, 3, 2)
    assert power == simulation.families(simulation.SCENARIOS[0], size, 3, 2)
    null = {s.name: power for s in simulation.SCENARIOS}
    signals = simulation.SIGNAL, simulation.SIGNAL
    heavy = {"x; equal": simulation.coverage(simulation.HEAVY[1], size, signals)}
    edges = {"y": simulation.edge(simulation.EDGES[0], size)}
    page = simulation.report(size, null, power, heavy, edges, [], quick=True)
    assert "step-down max-T over the losses, MCC" in page and "| x; equal | effective |" in page
    assert set(simulation.EDGE_METRICS) <= set(metrics.names(["0", "1", "2"]))


def test_failing_claims_are_named(simulation: ModuleType) -> None:
    fine = {name: {"fwer": 0.05, "power": 0.3} for name in simulation.CORRECTIONS}
    power = fine | {simulation.EVERYTHING: {"fwer": 0.01, "power": 0.1}}
    assert simulation.claims_of_families({"x": fine}, power, 0.01, quick=False) == []
    bad = fine | {simulation.MAX_T: {"fwer": 0.08, "power": 0.1}}
    assert simulation.claims_of_families({"x": bad}, power, 0.01, quick=False) == [
        "step-down max-T over the losses, MCC has a family-wise error of 8.0% (x)"
    ]
    weak = power | {simulation.MAX_T: {"fwer": 0.05, "power": 0.12}}
    assert "1.20 times the power" in simulation.claims_of_families({}, weak, 0.01, quick=False)[0]
    heavy = {"x": {"effective": {"MCC": 0.9}, "contradictions": {"share": 0.1}}}
    assert len(simulation.claims_of_coverage(heavy, 0.0)) == 2


def test_the_committed_page_is_of_a_full_run_that_holds(root: Path, simulation: ModuleType) -> None:
    page = (root / "docs" / "families-simulation.md").read_text(encoding="utf-8")
    full = simulation.FULL
    assert f"Percent of {full.null} data sets with" in page
    assert f"Percent of {full.coverage} data sets whose 95%" in page
    assert "All hold" in page and "does not hold" not in page
    for scenario in simulation.SCENARIOS:
        assert scenario.name in page
