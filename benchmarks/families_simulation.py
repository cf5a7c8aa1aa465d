"""Does the correction over a family hold its level, and do few patients with many images?

    python benchmarks/families_simulation.py --out docs/families-simulation.md
    python benchmarks/families_simulation.py --quick --out /dev/stdout

Simulates test sets on which the losses of a study, and ensembles of them, are tested against
the baseline and against their best members, and writes a Markdown page. Exits with 1 if a claim of
the documentation does not hold.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / "workflow"),
    str(Path(__file__).resolve().parent),
]


Array = npt.NDArray[np.float64]
logger = logging.getLogger("simulation")

SEED = 20211202
CLASSES = 3
LOSSES, BETTER, ENSEMBLES = 11, 3, 11
SHARED = 0.6  # correlation of two models' scores beyond the class
# MCC .757 and .828 in classes of the published shares: signals in standard deviations of a score.
SIGNAL, BETTER_SIGNAL = 1.97, 2.33
SHARES = (0.375, 0.388, 0.237)  # of the classes in the public test folder


@dataclass(frozen=True)
class Scenario:
    """A test set: images of each patient by class, and the correlation of scores within one."""

    name: str
    patients: tuple[tuple[int, ...], ...]
    rho: float = 0.0

    @property
    def y(self) -> npt.NDArray[np.intp]:
        return np.repeat(np.arange(CLASSES), [sum(sizes) for sizes in self.patients])

    @property
    def ids(self) -> npt.NDArray[np.intp]:
        sizes = [size for of_class in self.patients for size in of_class]
        return np.repeat(np.arange(len(sizes)), sizes)


def _ones(*counts: int) -> tuple[tuple[int, ...], ...]:
    return tuple((1,) * count for count in counts)


CLUSTERS = tuple((1, 1, 2, 2, 3, 5) * groups for groups in (8, 8, 5))
SCENARIOS = (
    Scenario("300 patients, one image each", _ones(113, 116, 71)),
    Scenario("110 patients, one image each", _ones(41, 43, 26)),
    Scenario("126 patients, 294 images", CLUSTERS, 0.5),
    Scenario("20 patients, 60 images", ((3,) * 7, (3,) * 7, (3,) * 6), 0.5),
    Scenario("one patient with 36 of 120 images", ((36, *(1,) * 10), (1,) * 46, (1,) * 28), 0.5),
    Scenario("120 patients, a class of 6", _ones(60, 54, 6)),
)


@dataclass(frozen=True)
class Size:
    """Data sets in each cell, and permutations and resamples in each."""

    null: int
    power: int
    coverage: int
    permutations: int
    resamples: int


FULL = Size(null=1000, power=600, coverage=2000, permutations=1999, resamples=500)
QUICK = Size(null=40, power=30, coverage=60, permutations=499, resamples=200)
