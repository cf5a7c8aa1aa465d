"""Does the test of gaps between groups of patients hold its level, and do its intervals cover?

    python benchmarks/subgroups_simulation.py --out docs/subgroups-simulation.md
    python benchmarks/subgroups_simulation.py --quick --out /dev/stdout

Simulates test sets with several images of a patient whose groups differ in size, in their class
shares and in their numbers of images, judged by models that are fair or recognise one group less
well, and writes the result as a Markdown page. Exits with 1 if a claim of the documentation does
not hold.
"""

import sys
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.evaluation.intervals import intervals
from multiloss.evaluation.resamples import Resamples
from multiloss.job.seeds import derive
from multiloss.statistics import bootstrap, metrics, paired, subgroups
from multiloss.statistics.mcc import mcc_of_confusion
from simulation import SEED, main, percent, table, tell, written_by

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

RECALLS = np.array([0.9, 0.8, 0.6])  # of a fair model, by class
CLASSES = tuple(range(len(RECALLS)))
MIX = (0.40, 0.35, 0.25)  # class shares of the patients
OTHER_MIX = (0.15, 0.30, 0.55)
WORSE = 0.2  # what the recalls of the smallest group lack where the model is not fair
SHARED = 0.6  # correlation of two models' scores
CLUSTERS, CLUSTER_SHARES = (1, 2, 4, 8), (0.6, 0.2, 0.15, 0.05)
MINIMUM, OF_CLASS = 10, 5
ALPHA = 0.05
LEVEL = 0.95


@dataclass(frozen=True)
class World:
    """Test patients: shares of their groups, the mixes of these, images a patient."""

    name: str
    patients: int
    shares: tuple[float, ...]
    mixes: tuple[tuple[float, ...], ...] = (MIX,)
    within: float = 0.0  # correlation of the scores of a patient's images
    of_first: bool = False  # only patients of the first group have several images

    def mix(self, group: int) -> tuple[float, ...]:
        return self.mixes[min(group, len(self.mixes) - 1)]


WORLDS = (
    World("two equal groups, one image a patient", 200, (0.5, 0.5)),
    World("two unequal groups, other class shares", 200, (0.8, 0.2), (MIX, OTHER_MIX)),
    World("the same, several images a patient", 200, (0.8, 0.2), (MIX, OTHER_MIX), 0.6),
    World("the same, one group alone with several", 200, (0.5, 0.5), (MIX, OTHER_MIX), 0.6, True),
    World("three groups of a small test split", 86, (0.4, 0.3, 0.3), (MIX,), 0.6),
    World(
        "five unequal groups", 400, (0.4, 0.25, 0.15, 0.1, 0.1), (MIX, OTHER_MIX, MIX), 0.6
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How many test sets of each world, and how many draws in each."""

    null: int
    unfair: int
    families: int
    intervals: int
    permutations: int
    resamples: int


FULL = Size(null=1000, unfair=400, families=500, intervals=400, permutations=399, resamples=400)
QUICK = Size(null=60, unfair=30, families=30, intervals=20, permutations=199, resamples=200)


@dataclass(frozen=True)
class Images:
    """Labels, patients and groups (N,) of one test set."""

    y: Integers
    patients: Integers
    groups: Integers
    within: float

    @classmethod
    def of(cls, rng: np.random.Generator, world: World) -> "Images":
        group = rng.choice(len(world.shares), world.patients, p=world.shares)
        label = np.array([rng.choice(len(MIX), p=world.mix(g)) for g in group])
        sizes = np.ones(world.patients, dtype=int)
        if world.within:
            sizes = rng.choice(CLUSTERS, world.patients, p=CLUSTER_SHARES)
        if world.of_first:
            sizes[group > 0] = 1
        patients = np.repeat(np.arange(world.patients), sizes)
        return cls(label[patients], patients, group[patients], world.within)

    def predicted(self, rng: np.random.Generator, worse: float, models: int) -> Integers:
        """Class indices (M, N); the recalls of the last group are smaller by `worse`."""

        def noise(number: int) -> Array:
            alike = rng.normal(size=(number, self.patients.max() + 1))[:, self.patients]
            own = rng.normal(size=(number, len(self.y)))
            return np.sqrt(self.within) * alike + np.sqrt(1 - self.within) * own

        score = np.sqrt(SHARED) * noise(1) + np.sqrt(1 - SHARED) * noise(models)
        recall = RECALLS[self.y] - worse * (self.groups == self.last)
        other = (self.y + rng.integers(1, len(MIX), (models, len(self.y)))) % len(MIX)
        return np.where(score < ndtri(recall), self.y, other)

    @property
    def last(self) -> int:
        return int(self.groups.max())

    def gaps(
        self, predicted: Integers, groups: Integers, draws: int, rng: np.random.Generator
    ) -> tuple[list[subgroups.Gap], list[int]]:
        """The tests as the workflow makes them, none where no two groups can be compared."""
        size = len(MIX), int(groups.max()) + 1
        compared, classes = subgroups.comparable(
            self.y, self.patients, groups, *size, MINIMUM, OF_CLASS
        )
        if len(compared) < 2:
            return [], compared
        return subgroups.gap_tests(
            self.y, predicted, self.patients, groups, compared, classes, draws, rng, LEVEL
        ), compared


def free_mcc(data: Images, predicted: Integers, draws: int, rng: np.random.Generator) -> float:
    """p of the largest gap of MCC if any patients exchange their groups: what is not done."""
    size, count = len(MIX) ** 2, data.patients.max() + 1
    cells = np.bincount(
        data.patients * size + data.y * len(MIX) + predicted, minlength=count * size
    ).reshape(count, size)
    group = np.zeros(count, dtype=int)
    group[data.patients] = data.groups
    own = np.stack([group, *(rng.permutation(group) for _ in range(draws))])
    matrices = np.stack([(own == g).astype(float) @ cells for g in range(data.last + 1)], axis=1)
    values = np.nan_to_num(
        mcc_of_confusion(matrices.reshape(-1, len(MIX), len(MIX))).reshape(len(own), -1)
    )
    apart = values.max(axis=1) - values.min(axis=1)
    return float((apart >= apart[0] - 1e-9).sum() / len(apart))


def judged(world: World, size: Size, worse: float, count: int) -> dict[str, float]:
    """Shares of the test sets in which the tests reject and the intervals cover, in one world."""
    found: dict[str, list[float]] = {
        name: [] for name in ("gap", "gap_covers", "against", "against_cover", "free", "width")
    }
    for number in range(count):
        rng = np.random.default_rng(derive(SEED, "subgroups", world.name, str(worse), number))
        data = Images.of(rng, world)
        predicted = data.predicted(rng, worse, 1)
        gaps, compared = data.gaps(predicted, data.groups, size.permutations, rng)
        if not gaps:
            continue
        # Of an unfair model, where the group in question can be compared at all.
        if worse and len(world.shares) - 1 not in compared:
            continue
        (gap,) = gaps
        found["gap"].append(gap.p_value <= ALPHA)
        found["gap_covers"].append(gap.gap_low <= worse <= gap.gap_high)
        found["width"].append(gap.gap_high - gap.gap_low)
        found["against"].append((gap.against_adjusted <= ALPHA).any())
        if not worse:
            found["against_cover"].append(
                bool(((gap.against_low <= 0) & (gap.against_high >= 0)).all())
            )
            found["free"].append(free_mcc(data, predicted[0], size.permutations, rng) <= ALPHA)
    shares = {name: float(np.mean(values)) if values else nan for name, values in found.items()}
    return shares | {"sets": float(len(found["gap"])), "compared": len(found["gap"]) / count}


def families(world: World, size: Size) -> float:
    """Share of the test sets of fair models in which the family of two columns and three models
    has a rejection after Holm's correction."""
    rejected = []
    for number in range(size.families):
        rng = np.random.default_rng(derive(SEED, "families", world.name, number))
        data = Images.of(rng, world)
        predicted = data.predicted(rng, 0.0, 3)
        second = rng.integers(0, 2, data.patients.max() + 1)[data.patients]
        p_values = [
            gap.p_value
            for groups in (data.groups, second)
            for gap in data.gaps(predicted, groups, size.permutations, rng)[0]
        ]
        rejected.append(bool((paired.holm(p_values) <= ALPHA).any()))
    return float(np.mean(rejected))


MEASURED = ("balanced_accuracy", "recall_2", "mcc")
TITLES = ("balanced accuracy", "recall of the third class", "MCC")
GROUP_SIZES = (15, 30, 60, 120)


def coverage(patients: int, size: Size) -> Array:
    """Coverage of the intervals of one group's values, (M,), where the table has values."""
    truth = np.array([RECALLS.mean(), RECALLS[2], nan])
    confusion = np.array(
        [[MIX[k] * (RECALLS[k] if k == j else (1 - RECALLS[k]) / 2) for j in CLASSES]
         for k in CLASSES]
    )  # fmt: skip
    truth[2] = mcc_of_confusion(confusion[None])[0]
    world = World("one group", patients, (1.0,), (MIX,), 0.6)
    covered = []
    options = {"confidence": LEVEL, "interval": "auto"}
    number = 0
    while len(covered) < size.intervals:
        rng = np.random.default_rng(derive(SEED, "coverage", patients, number))
        number += 1
        data = Images.of(rng, world)
        counts = subgroups.patient_counts(
            data.y, data.patients, np.zeros(len(data.y), np.intp), len(MIX), 1
        )[0]
        # As the workflow's minimum asks.
        if counts[:-1].min() < min(OF_CLASS, patients // 5):
            continue
        strata = bootstrap.label_strata(data.patients, data.y)
        weights = bootstrap.patient_weights(data.patients, strata, size.resamples, rng)
        predicted = data.predicted(rng, 0.0, 1)[0]
        sample = metrics.Sample(data.y, np.eye(len(MIX))[predicted])
        names = [str(k) for k in CLASSES]
        values = metrics.compute_many(MEASURED, sample, None, names)[0]
        drawn = metrics.compute_many(MEASURED, sample, weights, names)
        low, high, _, _ = intervals(
            MEASURED, sample, values, drawn, Resamples(data.patients, strata, weights), options,
            names,
        )  # fmt: skip
        covered.append((low <= truth) & (truth <= high))
    return np.mean(covered, axis=0)


def failures_of(
    null: dict[str, dict[str, float]],
    unfair: dict[str, dict[str, float]],
    family: dict[str, float],
    size: Size,
    errors: float,
) -> list[str]:
    """The claims that do not hold, by more than so many Monte Carlo errors."""

    def error(share: float, count: float) -> float:
        return float(np.sqrt(share * (1 - share) / max(count, 1)))

    found = []
    for name, cell in null.items():
        for what in ("gap", "against"):
            if cell[what] > ALPHA + errors * error(ALPHA, cell["sets"]):
                found.append(f"{what} rejects in {percent(cell[what])}% ({name})")
        for what in ("gap_covers", "against_cover"):
            if cell[what] < LEVEL - errors * error(LEVEL, cell["sets"]):
                found.append(f"{what} in {percent(cell[what])}% ({name})")
    for name, cell in unfair.items():
        if cell["gap_covers"] < LEVEL - errors * error(LEVEL, cell["sets"]):
            found.append(f"gap covered in {percent(cell['gap_covers'])}% where it is real ({name})")
    for name, share in family.items():
        if share > ALPHA + errors * error(ALPHA, size.families):
            found.append(f"a family has a rejection in {percent(share)}% ({name})")
    return found


def report(
    size: Size,
    null: dict[str, dict[str, float]],
    unfair: dict[str, dict[str, float]],
    family: dict[str, float],
    covered: dict[int, Array],
    failures: list[str],
    quick: bool,
) -> str:
    """The Markdown page."""

    def error(share: float, count: int) -> str:
        return percent(np.sqrt(share * (1 - share) / count))

    recalls = ", ".join(f"{recall:g}" for recall in RECALLS)
    clusters = ", ".join(f"{share:.0%}" for share in CLUSTER_SHARES)
    lines = [
        "# Are gaps between groups of patients found where they are, and only there?",
        "",
        written_by(__file__, quick),
        "",
        f"Test sets of three classes, which a fair model recognises with recalls of {recalls} in "
        "every group of patients. Patients have one image, or 1, 2, 4 or 8 "
        f"({clusters} of them) whose scores are correlated by 0.6. Where class shares differ, the "
        f"three classes make up {', '.join(f'{share:.0%}' for share in MIX)} of the patients in "
        f"some groups and {', '.join(f'{share:.0%}' for share in OTHER_MIX)} in the others. Groups "
        f"of fewer than {MINIMUM} patients, and those with fewer than {OF_CLASS} of a class, are "
        "left out, as the workflow does.",
        "",
        "## Fair models",
        "",
        f"Percent of {size.null:,} test sets of a world; {size.permutations} permutations. `gap`: "
        "the largest gap of balanced accuracy is called different from 0; `a group`: some group is "
        "said to differ from all others, after correction over the groups. `covers`: the intervals "
        "hold the truth, which is 0, those of all groups at once. Monte Carlo standard error "
        f"{error(ALPHA, size.null)}. `MCC, exchanged freely` is what is not done: the gap of MCC, "
        "tested by exchanging the groups of any two patients. It takes other class shares for "
        "other performance.",
        "",
        *table(
            ["patients", "gap", "covers", "a group", "cover", "MCC, exchanged freely"],
            [
                [f"{world.name} ({world.patients})"]
                + [
                    percent(null[world.name][key])
                    for key in ("gap", "gap_covers", "against", "against_cover", "free")
                ]
                for world in WORLDS
            ],
        ),
        "Two columns (the second splits the patients at random) and three models that share much "
        f"of their errors, six hypotheses, Holm-corrected: some gap is called real in the percent "
        f"of {size.families:,} test sets (Monte Carlo standard error "
        f"{error(ALPHA, size.families)}):",
        "",
        *table(["patients", "any"], [[name, percent(share)] for name, share in family.items()]),
        "## Models that recognise one group less well",
        "",
        f"In the last group every recall is smaller by {WORSE:g}. `compared`: percent of "
        f"{size.unfair:,} test sets in which that group has enough patients; the rest is in "
        "percent of these. `mean width` is that of the interval of the gap.",
        "",
        *table(
            ["patients", "compared", "gap found", "a group found", "covers", "mean width"],
            [
                [f"{world.name} ({world.patients})"]
                + [
                    percent(unfair[world.name][key])
                    for key in ("compared", "gap", "against", "gap_covers")
                ]
                + [f"{unfair[world.name]['width']:.2f}"]
                for world in WORLDS
            ],
        ),
        "## Intervals of one group's values",
        "",
        f"Percent of {size.intervals:,} groups, of patients with several images, whose "
        f"{LEVEL:.0%} interval holds the true value (Monte Carlo standard error "
        f"{error(LEVEL, size.intervals)}).",
        "",
        *table(
            ["patients of the group", *TITLES],
            [[str(n), *(percent(share) for share in values)] for n, values in covered.items()],
        ),
        "## Claims",
        "",
    ]
    lines += [f"- does not hold: {failure}" for failure in failures] or [
        "All hold: a gap of fair models is called real in at most 5% of the test sets, after "
        "correction over columns and models as well, and the intervals of gaps hold the truth in "
        "at least 95%, within two Monte Carlo errors. Nothing is claimed of the power, nor of the "
        "intervals in small groups, which the last table shows as they are."
    ]
    return "\n".join(lines) + "\n"


def simulate_all(quick: bool) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    size = QUICK if quick else FULL
    null, unfair, family = {}, {}, {}
    for world in WORLDS:
        null[world.name] = judged(world, size, 0.0, size.null)
        tell("%s, fair: %s", world.name, null[world.name])
        unfair[world.name] = judged(world, size, WORSE, size.unfair)
        tell("%s, unfair: %s", world.name, unfair[world.name])
    for world in (WORLDS[2], WORLDS[4]):
        family[f"{world.name} ({world.patients})"] = families(world, size)
        tell("%s, family: %s", world.name, family)
    covered = {patients: coverage(patients, size) for patients in GROUP_SIZES}
    tell("coverage: %s", covered)
    failures = failures_of(null, unfair, family, size, 3.0 if quick else 2.0)
    return report(size, null, unfair, family, covered, failures, quick), failures


if __name__ == "__main__":
    main(__doc__, simulate_all)
