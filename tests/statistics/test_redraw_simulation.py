"""The simulation of divisions: studies are as described, its page is written and current."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from multiloss.statistics import crossed
from scipy.stats import multivariate_normal, norm


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    if not hasattr(crossed, "seed_variance"):
        pytest.skip("the comparison with pooled seeds is not there yet")
    path = root / "benchmarks" / "redraw_simulation.py"
    spec = importlib.util.spec_from_file_location("redraw_simulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_runs_vary_as_stated(simulation: ModuleType) -> None:
    """The variance between runs of a loss is that of seeds, with redraw of divisions too."""
    scenario = simulation.Scenario("", division=0.04, own=0.03)
    for redraw, expected in ((False, 0.03**2), (True, 0.03**2 + 0.04**2 + 0.03**2)):
        rng = np.random.default_rng(0)
        rates = [simulation.right(rng, scenario, 4, redraw).mean(axis=2) for _ in range(200)]
        # And the chance of 200 images, less what two runs of a loss have of it in common.
        common = simulation.SHARED + simulation.OF_LOSS
        both = multivariate_normal([0, 0], [[1, common], [common, 1]]).cdf([norm.ppf(0.75)] * 2)
        images = (0.75 - both) / simulation.TEST
        found = np.var(rates, axis=2, ddof=1).mean()
        assert found == pytest.approx(expected + images, rel=0.08)
        assert np.mean(rates) == pytest.approx(0.75, abs=0.01)


def test_accuracy_of_a_rule_is_the_share_that_it_gets_right(simulation: ModuleType) -> None:
    rng = np.random.default_rng(1)
    means = np.array([[0.0, 0.0], [1.0, 0.5]])
    weights, offset = np.array([1.0, 0.2]), 0.7
    y = np.arange(200_000) % 2
    x = rng.standard_normal((len(y), 2)) + means[y]
    said = (x @ weights > offset) == y
    exact = simulation.true_accuracy(weights, np.float64(offset), means)
    assert exact == pytest.approx(said.mean(), abs=0.003)


def test_a_tiny_run_writes_a_page_and_failures_are_named(simulation: ModuleType) -> None:
    size = simulation.Size(studies=2, resamples=30, pools=3, divisions=2)
    found = simulation.compared(size, simulation.OWN, 2, True)
    assert simulation.compared(size, simulation.OWN, 2, True) == found
    shares = simulation.shares_of_variance(size)
    cells = {
        (scenario.name, runs, redraw): simulation.Found(5.0, 5.0, 95.0, 0.1, 1.0)
        for scenario in simulation.SCENARIOS
        for runs in simulation.RUNS
        for redraw in (True, False)
    }
    name = simulation.ALIKE.name
    cells[name, 2, True] = simulation.Found(60.0, 5.0, 30.0, 0.1, 1.0)
    failures = simulation.claims(shares, cells, size)
    assert f"{name}, 2 runs, redraw: type I error 60.0%" in failures
    assert f"{name}, 2 runs, redraw: intervals cover 30.0%" in failures
    page = simulation.report(size, shares, cells, failures)
    assert "- does not hold: " in page and "All hold" not in page


def test_the_committed_page_is_of_a_full_run_that_holds(root: Path, simulation: ModuleType) -> None:
    page = (root / "docs" / "redraw-simulation.md").read_text(encoding="utf-8")
    assert f"in {simulation.FULL.studies:,} studies a cell" in page
    assert f"{simulation.FULL.resamples} resamples" in page
    assert "All hold" in page and "does not hold" not in page
    for scenario in simulation.SCENARIOS:
        assert page.count(f"| {scenario.name} |") == 5
