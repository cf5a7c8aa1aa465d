"""What do comparisons over runs say where each run divides the patients anew, and where none does?

    python benchmarks/redraw_simulation.py --out docs/redraw-simulation.md
    python benchmarks/redraw_simulation.py --quick --out /dev/stdout

First a learner whose accuracy is known exactly is trained on divisions of one pool of patients and
on other pools: how much of what training data change do divisions show? Then losses without a true
difference are compared over runs, with and without `splits.redraw`. Exits with 1 if a claim of the
documentation does not hold.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.data import splits
from multiloss.job.seeds import derive
from multiloss.statistics import bootstrap
from multiloss.statistics.crossed import crossed_comparison, seed_variance
from simulation import SEED, main, tell

Array = npt.NDArray[np.float64]

RATIOS = {"train": 0.70, "val": 0.15, "ensemble": 0.15}
LOSSES, RUNS = 12, (2, 3, 5, 10)
TEST = 200  # images, one of each patient
ACCURACY = 0.75
SEED_SD = 0.03  # of a run's true accuracy
# Of what a run gets right on an image, how much all runs, all runs of a loss, and no others share.
SHARED, OF_LOSS = 0.6, 0.2
POOL, FEATURES = 300, 20  # images of the learner's pool, and their features


@dataclass(frozen=True)
class Scenario:
    """Standard deviations of a run's true accuracy, besides that of the seed.

    `division`: what the division does to all losses alike; `own`: what it does to each loss by
    itself; `pool`: what the pool of patients does to each loss by itself, in all runs.
    """

    name: str
    division: float = 0.0
    own: float = 0.0
    pool: float = 0.0


NOTHING = Scenario("the division changes nothing")
ALIKE = Scenario("it changes all losses alike, SD 0.04", division=0.04)
OWN = Scenario("and each by itself, SD 0.03", division=0.04, own=0.03)
# As measured with the learner: half of a loss's own part is between divisions of one pool.
POOLED = Scenario("also new pools, SD 0.03", division=0.04, own=0.03, pool=0.03)
SCENARIOS = (NOTHING, ALIKE, OWN, POOLED)


@dataclass(frozen=True)
class Size:
    """How much is simulated: studies per cell with resamples in each; pools with divisions."""

    studies: int
    resamples: int
    pools: int
    divisions: int


FULL = Size(studies=1000, resamples=200, pools=400, divisions=5)
QUICK = Size(studies=40, resamples=100, pools=25, divisions=3)


# ---- a learner on divisions and pools ----------------------------------------------------------
def true_accuracy(weights: Array, offset: Array, means: Array) -> Array:
    """Accuracy of the rule w x > c for two classes N(means[k], 1), by w (..., D) and c (...)."""
    scale = np.linalg.norm(weights, axis=-1)
    first, second = (weights @ mean for mean in means)
    return (ndtr((offset - first) / scale) + ndtr((second - offset) / scale)) / 2


def learned(x: Array, y: npt.NDArray[np.intp], ridge: float, means: Array) -> float:
    """True accuracy of a ridge discriminant that is fitted on x (N, D), y (N,) of 0 and 1."""
    centres = np.stack([x[y == label].mean(axis=0) for label in (0, 1)])
    rest = x - centres[y]
    covariance = rest.T @ rest / len(x) + ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(covariance, centres[1] - centres[0])
    return float(true_accuracy(weights, weights @ centres.mean(axis=0), means))


def shares_of_variance(size: Size) -> dict[str, tuple[float, float]]:
    """Share of the variance over training data that is between divisions of one pool, and its
    Monte Carlo standard error: of a discriminant, of another, and of their difference."""
    means = np.zeros((2, FEATURES))
    means[1, :5] = 0.6
    found = np.empty((size.pools, size.divisions, 2))
    for pool in range(size.pools):
        rng = np.random.default_rng(derive(SEED, "pool", pool))
        y = np.arange(POOL) % 2
        x = rng.standard_normal((POOL, FEATURES)) + means[y]
        images, labels = pd.Series(np.arange(POOL)), pd.Series(np.array(["a", "b"])[y])
        for run in range(size.divisions):
            seed = derive(SEED, "division", pool, run)
            train = splits.divide(images, labels, RATIOS, seed, ["a", "b"]).to_numpy() == "train"
            for learner, ridge in enumerate((0.0, 100.0)):
                found[pool, run, learner] = learned(x[train], y[train], ridge, means)
    names = ("linear discriminant", "nearest centroid (nearly)", "difference of the two")
    values = [found[..., 0], found[..., 1], found[..., 0] - found[..., 1]]
    return {name: _within(value) for name, value in zip(names, values, strict=True)}


def _within(values: Array) -> tuple[float, float]:
    """Share of the variance of values (pools, divisions) that is within pools, and its error."""

    def share(own: Array) -> float:
        within = own.var(axis=1, ddof=1).mean()
        between = max(0.0, own.mean(axis=1).var(ddof=1) - within / own.shape[1])
        return float(within / (within + between))

    rng = np.random.default_rng(derive(SEED, "share"))
    again = [share(values[rng.integers(len(values), size=len(values))]) for _ in range(200)]
    return share(values), float(np.std(again, ddof=1))


# ---- comparisons over runs ---------------------------------------------------------------------
def right(rng: np.random.Generator, scenario: Scenario, runs: int, redraw: bool) -> Array:
    """Whether each run of each loss is right on each image, (losses, runs, images) of 0 and 1.

    All losses have the same expected accuracy over what the scenario draws at random.
    """
    drawn = runs if redraw else 1
    accuracy = (
        ACCURACY
        + scenario.pool * rng.standard_normal((LOSSES, 1))
        + scenario.division * rng.standard_normal((1, drawn))
        + scenario.own * rng.standard_normal((LOSSES, drawn))
        + SEED_SD * rng.standard_normal((LOSSES, runs))
    )
    difficulty = (
        np.sqrt(SHARED) * rng.standard_normal(TEST)
        + np.sqrt(OF_LOSS) * rng.standard_normal((LOSSES, 1, TEST))
        + np.sqrt(1 - SHARED - OF_LOSS) * rng.standard_normal((LOSSES, runs, TEST))
    )
    return (difficulty < ndtri(np.clip(accuracy, 0.01, 0.99))[..., None]).astype(float)


@dataclass(frozen=True)
class Found:
    """Per cent of comparisons that reject, of studies with a rejection after Holm, and of
    intervals that hold 0; median half width; and how much narrower pairing by run would be."""

    rejected: float
    family: float
    covered: float
    width: float
    paired: float


def compared(size: Size, scenario: Scenario, runs: int, redraw: bool) -> Found:
    """Each loss against the first over runs, by the workflow's own comparison."""
    rejected, family, covered, widths, ratios = [], [], [], [], []
    # Patients are alike before their images are drawn: one set of resamples serves all studies.
    rng = np.random.default_rng(derive(SEED, "resamples"))
    strata = np.zeros(TEST, dtype=int)
    weights = bootstrap.patient_weights(np.arange(TEST), strata, size.resamples, rng)
    for number in range(size.studies):
        rng = np.random.default_rng(derive(SEED, scenario.name, runs, str(redraw), number))
        images = right(rng, scenario, runs, redraw)
        values, drawn = images.mean(axis=2), np.moveaxis(images @ weights.T / TEST, 2, 1)
        seeds = seed_variance(dict(enumerate(values)), dict(enumerate(drawn)))
        results = [
            crossed_comparison(own, values[0], boot, drawn[0], TEST - 1, seeds=seeds)
            for own, boot in zip(values[1:], drawn[1:], strict=True)
        ]
        p = np.array([result.p_value for result in results])
        rejected.append((p <= 0.05).mean())
        family.append(p.min() * len(p) <= 0.05)  # when Holm's method rejects any
        covered.append(np.mean([result.ci_low <= 0 <= result.ci_high for result in results]))
        widths.append(np.median([(result.ci_high - result.ci_low) / 2 for result in results]))
        # The mean square of losses and runs together: what is left of it for a difference that is
        # paired by run.
        rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
        ratios.append((rest**2).sum() / (LOSSES - 1) / (runs - 1) / seeds.variance)
    return Found(
        100 * float(np.mean(rejected)),
        100 * float(np.mean(family)),
        100 * float(np.mean(covered)),
        float(np.median(widths)),
        float(np.mean(ratios)),
    )


def error(size: Size) -> float:
    """Monte Carlo standard error in per cent at 5%, as if the losses of a study were one."""
    return 100 * float(np.sqrt(0.05 * 0.95 / size.studies))


# ---- the page ----------------------------------------------------------------------------------
Cells = dict[tuple[str, int, bool], Found]


def claims(shares: dict[str, tuple[float, float]], cells: Cells, size: Size) -> list[str]:
    """What does not hold of what the documentation says."""
    failures = []
    for name, (share, own_error) in shares.items():
        if abs(share - 0.5) > 0.1 + 2 * own_error:
            failures.append(f"{name}: {share:.0%} of the variance is between divisions, not half")
    most = 5 + 2 * error(size)
    for (scenario, runs, redraw), found in cells.items():
        told = f"{scenario}, {runs} runs, {'redraw' if redraw else 'one division'}"
        sound = redraw and scenario != POOLED.name or scenario in (NOTHING.name, ALIKE.name)
        for what, value in (("type I error", found.rejected), ("family-wise", found.family)):
            if sound and value > most:
                failures.append(f"{told}: {what} {value:.1f}%")
        if sound and found.covered < 95 - 2 * error(size):
            failures.append(f"{told}: intervals cover {found.covered:.1f}%")
    for runs in RUNS:
        one, redrawn = (cells[OWN.name, runs, redraw].rejected for redraw in (False, True))
        if one <= redrawn:
            failures.append(f"{runs} runs: one division rejects no more often than redraw")
        one, redrawn = (cells[POOLED.name, runs, redraw].rejected for redraw in (False, True))
        if not one > redrawn > most:
            failures.append(
                f"{runs} runs, new pools: {redrawn:.1f}% with redraw, {one:.1f}% without"
            )
    return failures


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def report(
    size: Size, shares: dict[str, tuple[float, float]], cells: Cells, failures: list[str]
) -> str:
    columns = [(runs, redraw) for redraw in (True, False) for runs in RUNS]
    header = [
        "true accuracy of a run",
        *(f"{'redraw' if redraw else 'one division'}, {runs} runs" for runs, redraw in columns),
    ]

    def by(field: str, digits: int = 1) -> list[str]:
        rows = []
        for scenario in SCENARIOS:
            found = [cells[scenario.name, runs, redraw] for runs, redraw in columns]
            rows.append([scenario.name, *(f"{getattr(cell, field):.{digits}f}" for cell in found)])
        return table(header, rows)

    lines = [
        "# Comparisons over runs that divide the patients anew",
        "",
        "Written by `benchmarks/redraw_simulation.py`. Losses without a true difference are "
        f"compared over runs by the workflow's own test, in {size.studies:,} studies a cell of "
        f"{LOSSES} losses and {TEST} test patients; {size.resamples} resamples; seeds move the "
        f"true accuracy of a run, {ACCURACY:g}, by an SD of {SEED_SD:g}. Monte Carlo standard "
        f"error at 5%: {error(size):.1f}.",
        "",
        "## What divisions show of the chance of training data",
        "",
        f"A linear discriminant and one that is nearly the nearest centroid, trained on {POOL} x "
        f"0.7 images of {size.pools} pools, each divided {size.divisions} times by the workflow: "
        "share of the variance of the true accuracy over training data that is between divisions "
        "of one pool. Two divisions have 70% of their training patients in common, and what is "
        "in common is what does not vary. Near its best the accuracy falls with the squared error "
        "of what was learned, so that 1 - 0.7^2 = 51% is to be expected between divisions.",
        "",
        *table(
            ["true accuracy of", "between divisions", "Monte Carlo SE"],
            [[name, f"{share:.0%}", f"{own:.0%}"] for name, (share, own) in shares.items()],
        ),
        "## How often a comparison rejects at 5%",
        "",
        "In the first three rows the null hypothesis is of new seeds, new divisions of the same "
        "pool and new test patients; in the last also of new pools. With one division, what it "
        "does to a loss by itself is the same in all runs, as if it were the loss's.",
        "",
        *by("rejected"),
        "## How many studies call some loss different, Holm over 11",
        "",
        *by("family"),
        "## How often 95% intervals hold the true difference, 0",
        "",
        *by("covered"),
        "## Median half width of these intervals",
        "",
        *by("width", 3),
        "## Mean square of a difference that is paired by run, over the one that is used",
        "",
        "Losses share their division within a run. What it does to all alike is no part of their "
        "differences, yet part of the spread between runs that the comparison uses: below 1 the "
        "intervals are wider than they need be, and never too narrow.",
        "",
        *by("paired", 2),
        "## Claims",
        "",
    ]
    lines += [f"- does not hold: {failure}" for failure in failures]
    if not failures:
        lines += [
            "All hold. With `splits.redraw` the comparison rejects at most 5%, and calls some loss "
            "different in at most 5% of studies, and its intervals cover at least 95%, each within "
            "two Monte Carlo standard errors, for 2, 3, 5 and 10 runs and all three ways in which "
            "new divisions act; where they do much to all losses alike the test is cautious. With "
            "one division it says more than it may wherever that favours a loss, and the more runs "
            "the more so. Divisions of one pool show about half of what other training data would "
            "change: over new pools the test rejects too often with `splits.redraw`, too, though "
            "less often than without, and more runs do not mend that."
        ]
    return "\n".join(lines) + "\n"


def simulate_all(quick: bool) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    size = QUICK if quick else FULL
    shares = shares_of_variance(size)
    tell("%s", shares)
    cells = {}
    for scenario in SCENARIOS:
        for runs in RUNS:
            for redraw in (True, False):
                found = compared(size, scenario, runs, redraw)
                cells[scenario.name, runs, redraw] = found
                tell("%s, %d, %s: %s", scenario.name, runs, redraw, found)
    failures = claims(shares, cells, size)
    return report(size, shares, cells, failures), failures


if __name__ == "__main__":
    main(__doc__, simulate_all)
