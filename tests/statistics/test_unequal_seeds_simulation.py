"""The simulation of runs that vary by unequal amounts: its rules, and its page is current."""

from pathlib import Path

import numpy as np
import pytest
import unequal_seeds_simulation as simulation
from multiloss.statistics.crossed import crossed_comparison, seed_variance


def test_the_largest_variances_are_taken_out() -> None:
    degrees = np.full(5, 4.0)
    assert sorted(simulation.alike(np.array([1.0, 1.5, 0.8, 1.2, 1.1]), degrees)) == [0, 1, 2, 3, 4]
    assert sorted(simulation.alike(np.array([1.0, 60.0, 0.8, 1.2, 90.0]), degrees)) == [0, 2, 3]


def test_with_nothing_apart_the_variance_is_that_of_all() -> None:
    world, rng = simulation.WORLDS[0], np.random.default_rng(3)
    values, boot = simulation.drawn_study(world, [5] + [3] * 11, rng)
    seeds = seed_variance(values, boot)
    assert seeds.pooled and seeds.df == 4 + 11 * 2
    pooled = crossed_comparison(values[4], values[0], boot[4], boot[0], 400, seeds=seeds)
    found = simulation.apart(values, boot)[3]
    for name in ("difference", "se", "df", "ci_low", "p_value"):
        assert getattr(found, name) == pytest.approx(getattr(pooled, name))


def test_runs_that_collapse_are_no_null_hypothesis() -> None:
    world = simulation.WORLDS[-1]
    assert world.null.tolist() == [True] * 9 + [False] * 2
    values, _ = simulation.drawn_study(world, [30] * 12, np.random.default_rng(0))
    assert values[11].mean() - values[3].mean() == pytest.approx(-0.1, abs=0.06)


def test_failing_claims_are_named() -> None:
    row = {"any auto": 0.04, "any outliers apart": 0.05}
    cell = ("all alike", 2)
    assert simulation.claims({cell: row}, 1000) == []
    high = simulation.claims({cell: row | {"any auto": 0.08}}, 1000)
    assert high == ["auto 8.0% (all alike, 2 runs)"]


def test_the_committed_page_is_of_a_full_run(root: Path) -> None:
    page = (root / "docs" / "unequal-seeds-simulation.md").read_text(encoding="utf-8")
    assert "Percent of 1000 studies" in page and " --quick" not in page and "All hold" in page
