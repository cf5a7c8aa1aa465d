"""The simulation of optimism and ranks: its worlds are as described, and its page is current."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    path = root / "benchmarks" / "optimism_simulation.py"
    spec = importlib.util.spec_from_file_location("optimism_simulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_models_have_the_stated_mcc_and_correlation(simulation: ModuleType) -> None:
    signal = np.interp(0.55, simulation.TRUE, simulation.SIGNALS)
    rng = np.random.default_rng(0)
    y, patients, p = simulation.images(rng, 60_000, np.array([signal, signal]))
    assert np.bincount(y) / len(y) == pytest.approx(simulation.SHARES, abs=1e-4)
    assert simulation.mcc_of(y, p)[0] == pytest.approx(0.55, abs=0.01)
    scores = np.log(p[:, :, 0]) - np.log(p[:, :, 1])
    within = scores[:, y == 2]
    assert np.corrcoef(within)[0, 1] == pytest.approx(simulation.SHARED, abs=0.03)
    assert len(set(patients.tolist())) == len(y)
    y, patients, _ = simulation.images(rng, 110, np.array([signal]), clustered=True)
    assert 75 <= len(set(patients.tolist())) <= 105
    assert all(len(set(y[patients == patient])) == 1 for patient in set(patients.tolist()))


def test_a_tiny_run_writes_a_page(simulation: ModuleType) -> None:
    size = simulation.Size(small=2, large=2, resamples=20)
    found = {w.name: simulation.simulate(w, size) for w in simulation.WORLDS[3:4]}
    page = simulation.page(found, size, quick=True)
    assert "| 39/110, several of a patient; SD 0.027 |" in page and "## Ranks" in page
    again = simulation.simulate(simulation.WORLDS[3], size)
    np.testing.assert_equal(found[simulation.WORLDS[3].name], again)


def test_failing_claims_are_named(simulation: ModuleType) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0.05, 0.01, 400)
    fine = {"truth": truth, "tenths": truth + rng.normal(0, 0.01, 400), "all ranks": np.ones(400)}
    fine |= {f"{name}, average": fine[name] for name in ("truth", "tenths")}
    assert simulation.failures({"w": fine}) == []
    bad = {**fine, "tenths": truth + 0.02 + rng.normal(0, 0.01, 400)}
    bad["all ranks"] = np.repeat([0.0, 1.0], [60, 340])
    first, second = simulation.failures({"w": bad})
    assert first.startswith("the optimism of the best single model is off by +0.0")
    assert second == "the ranks of all models are held in 85.0% (w)"


def test_the_committed_page_is_of_a_full_run_that_holds(root: Path, simulation: ModuleType) -> None:
    page = (root / "docs" / "optimism-simulation.md").read_text(encoding="utf-8")
    assert f"{simulation.FULL.small} studies where the test split has 110" in page
    assert f"t on {simulation.FULL.resamples} resamples" in page
    assert "All hold." in page and "does not hold" not in page and "--quick" not in page
    for world in simulation.WORLDS:
        assert f"| {world.name} |" in page
