"""The simulation of seeds: its worlds are as described, and its page is written and current."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    path = root / "benchmarks" / "seeds_simulation.py"
    spec = importlib.util.spec_from_file_location("seeds_simulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_models_have_the_stated_mcc_and_share_difficulty(simulation: ModuleType) -> None:
    world = simulation.World(624, 3)
    patients, weights, df, inflation = world.sets[0]
    assert len(world.y) == len(patients) == 624 and weights[0].all()
    assert df < patients.max() + 1 < 624 and inflation > 1
    true = np.array([[0.6, 0.6], [0.8, 0.8]])
    drawn, right = [], []
    for number in range(12):
        rng = np.random.default_rng(number)
        predicted = world.scores(rng, patients, true).argmax(axis=-1).reshape(4, -1)
        drawn.append(world.mcc(predicted, patients, weights)[0])
        right.append(predicted == world.y)
    assert np.mean(drawn, axis=0) == pytest.approx(true.ravel(), abs=0.03)
    # Two losses' runs are right on the same images more often than by chance.
    first, other = np.concatenate(right, axis=1)[[0, 2]].astype(float)
    assert np.corrcoef(first, other)[0, 1] > 0.2


def test_a_tiny_run_writes_a_page_and_repeats_itself(simulation: ModuleType) -> None:
    size = simulation.Size(losses=3, ensembles=3, resamples=30, draws=50)
    world = simulation.World(110, size.resamples)
    null = simulation.of_losses(world, 0.04, [0.0] * simulation.LOSSES, size, "null")
    again = simulation.of_losses(world, 0.04, [0.0] * simulation.LOSSES, size, "null")
    assert str(null) == str(again) and {seeds for seeds, _ in null} == set(simulation.SEEDS)
    gains = simulation.of_ensembles(world, 0.04, size)
    unequal = {
        (seeds, method): null[seeds, "pooled"]
        for method in simulation.OF_METHODS
        for seeds in simulation.UNEQUAL_SEEDS
    }
    of = {"null": null, "real": null, "ensembles": gains, "unequal": unequal}
    found = {cell: of[cell[0]] for cell in simulation.cells()}
    page = simulation.report(size, found, ["one"], quick=True)
    assert "- does not hold: one" in page and "Against the seed average:" in page


def test_failing_claims_are_named(simulation: ModuleType) -> None:
    row = {"coverage": 0.95, "any Holm": 0.03, "any max-T": 0.05}
    cell = ("null", 110, 0.04)
    assert simulation.claims({cell: {(2, "pooled"): row}}, simulation.FULL) == []
    high = simulation.claims({cell: {(2, "pooled"): row | {"any max-T": 0.07}}}, simulation.FULL)
    assert high == ["any max-T 7.0% (null, 110 images, seed SD 0.04, 2 seeds, pooled)"]
    low = simulation.claims({cell: {(2, "pooled"): row | {"coverage": 0.92}}}, simulation.FULL)
    assert low == ["coverage 92.0% (null, 110 images, seed SD 0.04, 2 seeds, pooled)"]


def test_the_committed_page_is_of_a_full_run(root: Path, simulation: ModuleType) -> None:
    page = (root / "docs" / "seeds-simulation.md").read_text(encoding="utf-8")
    full = simulation.FULL
    assert f"percent of {full.losses} data sets ({full.ensembles} for ensembles)" in page
    assert f"{full.resamples} resamples" in page and " --quick" not in page
