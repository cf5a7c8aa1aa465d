"""Do comparisons of losses and of ensembles over seeds keep their level and cover?

    python benchmarks/seeds_simulation.py --out docs/seeds-simulation.md
    python benchmarks/seeds_simulation.py --quick --out /dev/stdout

Simulates studies of twelve losses with several seeds each, on test sets whose patients have several
images, and writes the result as a Markdown page. Exits with 1 if a claim does not hold.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.job.seeds import derive
from multiloss.statistics import bootstrap, crossed, gains
from multiloss.statistics.mcc import mcc_of_confusion, mcc_or_chance
from simulation import SEED, main, percent, table, tell, written_by

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

CLASSES = 3
CLASS_SHARES = (0.375, 0.388, 0.237)  # of the test folder of the public pneumonia set
CLUSTER_SIZES, CLUSTER_SHARES = (1, 2, 3, 4, 6), (0.45, 0.25, 0.15, 0.10, 0.05)
WITHIN_PATIENT = 0.5  # correlation of a model's scores beyond the class
# What a score beyond the class is made of: the images' difficulty, common to all models; a loss's
# way with them; a seed's.
COMMON, OF_LOSS, OF_RUN = 0.5, 0.1, 0.4
MIDDLE = 0.7  # true MCC
SHARPNESS = 2.0
LOSSES, MOST_SEEDS, BASELINE_SEEDS = 12, 10, 5
SEEDS = (1, 2, 3, 5, 10)
SEED_SDS = (0.0, 0.02, 0.04, 0.08)
SIZES = (110, 200, 624)
REAL = tuple(np.linspace(-0.06, 0.06, LOSSES))  # true differences between losses, where there are
STRUCTURES = 4  # divisions into patients, used in turn
LEVEL = 0.05


@dataclass(frozen=True)
class Size:
    """How much is simulated: data sets a cell for losses and for ensembles, and resamples."""

    losses: int
    ensembles: int
    resamples: int
    draws: int


FULL = Size(losses=1000, ensembles=500, resamples=400, draws=1000)
QUICK = Size(losses=30, ensembles=20, resamples=200, draws=500)


class World:
    """Test sets of one number of images."""

    def __init__(self, n: int, resamples: int) -> None:
        sizes = np.floor(np.array(CLASS_SHARES) * n).astype(int)
        sizes[0] += n - sizes.sum()
        self.y = np.repeat(np.arange(CLASSES), sizes)
        self.sets = []
        for number in range(STRUCTURES):
            rng = np.random.default_rng(derive(SEED, "patients", n, number))
            patients = self._patients(rng, sizes)
            strata = bootstrap.label_strata(patients, self.y)
            weights = bootstrap.patient_weights(patients, strata, resamples, rng)
            first = np.unique(patients, return_index=True)[1]
            df = len(first) - len(set(strata.tolist()))
            # Images of a patient count as often as the patient; the first row is the test itself.
            weights = np.vstack([np.ones(len(first)), weights[:, first]])
            self.sets.append((patients, weights, df, len(first) / df))

    def _patients(self, rng: np.random.Generator, sizes: Integers) -> Integers:
        found: list[int] = []
        for images in sizes:
            left = int(images)
            while left:
                found.append(min(left, int(rng.choice(CLUSTER_SIZES, p=CLUSTER_SHARES))))
                left -= found[-1]
        return np.repeat(np.arange(len(found)), found)

    def noise(self, rng: np.random.Generator, patients: Integers, models: int) -> Array:
        """Standard normal scores (models, N, K), correlated within patients."""
        shape = (models, int(patients.max()) + 1, CLASSES)
        together = rng.standard_normal(shape, np.float32)[:, patients]
        alone = rng.standard_normal((models, len(patients), CLASSES), np.float32)
        together *= np.float32(np.sqrt(WITHIN_PATIENT))
        alone *= np.float32(np.sqrt(1 - WITHIN_PATIENT))
        return together + alone

    def scores(self, rng: np.random.Generator, patients: Integers, true_mcc: Array) -> Array:
        """Scores (losses, runs, N, K) of models with these true MCCs (losses, runs)."""
        losses, runs = true_mcc.shape
        found = self.noise(rng, patients, losses * runs) * np.float32(np.sqrt(OF_RUN))
        found = found.reshape(losses, runs, *found.shape[1:])
        found += np.float32(np.sqrt(COMMON)) * self.noise(rng, patients, 1)
        found += np.float32(np.sqrt(OF_LOSS)) * self.noise(rng, patients, losses)[:, None]
        found[..., np.arange(len(patients)), self.y] += signal_of(true_mcc)[..., None]
        return found

    def mcc(self, predicted: Integers, patients: Integers, weights: Array) -> Array:
        """MCC (1 + resamples, models) of predicted classes (models, N); the first is the test's."""
        models, count = len(predicted), int(patients.max()) + 1
        cell = self.y * CLASSES + predicted
        place = (patients * models + np.arange(models)[:, None]) * CLASSES**2 + cell
        cells = np.bincount(place.ravel(), minlength=count * models * CLASSES**2)
        tables = weights @ cells.reshape(count, -1).astype(np.float64)
        return mcc_or_chance(mcc_of_confusion(tables.reshape(-1, models, CLASSES, CLASSES)))


@cache
def _signals() -> tuple[Array, Array]:
    """Signals, and the MCC that each gives on a very large test set."""
    rng = np.random.default_rng(derive(SEED, "truth"))
    shares = np.array(CLASS_SHARES) / sum(CLASS_SHARES)
    y = np.repeat(np.arange(CLASSES), np.round(shares * 300_000).astype(int))
    noise, grid, found = rng.standard_normal((len(y), CLASSES)), np.linspace(0, 4.5, 46), []
    for signal in grid:
        predicted = (signal * np.eye(CLASSES)[y] + noise).argmax(axis=1)
        cells = np.bincount(y * CLASSES + predicted, minlength=CLASSES**2)
        found.append(float(mcc_of_confusion(cells.reshape(CLASSES, CLASSES))))
    return grid, np.array(found)


def signal_of(true_mcc: Array) -> Array:
    """By how much the true class's score is raised for a true MCC."""
    grid, found = _signals()
    return np.interp(true_mcc, found, grid).astype(np.float32)


def holm(p_values: Array) -> Array:
    """Holm's p values; as `paired.holm`, whose statsmodels collects garbage in every call."""
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def compare(
    values: Array,
    drawn: Array,
    seeds: int,
    df: int,
    inflation: float,
    rng: np.random.Generator,
    draws: int,
    method: str,
) -> dict[str, Array]:
    """Every loss against the first, from the MCC (losses, runs), drawn (resamples, losses, runs).

    With one seed the baseline has BASELINE_SEEDS.
    """
    runs = [seeds] * LOSSES
    if seeds == 1:
        runs[0] = BASELINE_SEEDS
    own = {loss: values[loss, :count] for loss, count in enumerate(runs)}
    boot = {loss: drawn[:, loss, :count] for loss, count in enumerate(runs)}
    pooled = crossed.seed_variance(own, boot)
    results = [
        crossed.crossed_comparison(
            own[loss], own[0], boot[loss], boot[0], df, 0.95, pooled, method, inflation
        )
        for loss in range(1, LOSSES)
    ]
    p_values = np.array([result.p_value for result in results])
    found = {
        "low": [result.ci_low for result in results],
        "high": [result.ci_high for result in results],
        "p": p_values,
        "Holm": holm(p_values) if np.isfinite(p_values).all() else p_values,
        "unequal": [not pooled.pooled],
    }
    if method == crossed.POOLED:
        means = np.stack([boot[loss].mean(axis=1) for loss in range(LOSSES)], axis=1)
        found["max-T"] = crossed.step_down(
            p_values,
            [result.df for result in results],
            crossed.correlation(means, runs, [(loss, 0) for loss in range(1, LOSSES)], pooled),
            rng,
            draws,
        )
    return {name: np.asarray(row, float) for name, row in found.items()}


def of_losses(
    world: World,
    seed_sd: Array | float,
    effects: Sequence[float],
    size: Size,
    purpose: str,
    seeds: Sequence[int] = SEEDS,
    methods: Sequence[str] = (crossed.POOLED,),
) -> dict[tuple[int, str], dict[str, float]]:
    """By number of seeds and method: how often something is rejected, an interval covers."""
    rows: dict[tuple[int, str], dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    truth = (np.asarray(effects) - effects[0])[1:]
    spread = np.broadcast_to(np.asarray(seed_sd), (LOSSES,))[:, None]
    for number in range(size.losses):
        rng = np.random.default_rng(derive(SEED, purpose, len(world.y), str(seed_sd), number))
        patients, weights, df, inflation = world.sets[number % STRUCTURES]
        true = MIDDLE + np.asarray(effects)[:, None]
        true = true + spread * rng.standard_normal((LOSSES, max(*seeds, BASELINE_SEEDS)))
        predicted = world.scores(rng, patients, true).argmax(axis=-1)
        mcc = world.mcc(predicted.reshape(-1, len(world.y)), patients, weights)
        mcc = mcc.reshape(-1, *true.shape)
        for count in seeds:
            for method in methods:
                found = compare(mcc[0], mcc[1:], count, df, inflation, rng, size.draws, method)
                for name, row in found.items():
                    rows[count, method][name].append(row)
    return {cell: summary(found, truth) for cell, found in rows.items()}


def summary(rows: Mapping[str, list[Array]], truth: Array) -> dict[str, float]:
    """Shares over data sets and hypotheses; `truth` (hypotheses,): the true differences."""
    arrays = {name: np.stack(parts) for name, parts in rows.items()}
    low, high = arrays["low"], arrays["high"]
    null = np.isclose(truth, 0)
    inside = np.where(np.isfinite(low), (low <= truth) & (truth <= high), np.nan)
    found = {
        "coverage": float(np.nanmean(inside)),
        "lowest": float(np.nanmean(inside, axis=0).min()),
        "half width": float(np.nanmedian(high - low) / 2),
    }
    if "unequal" in arrays:
        found["unequal"] = float(arrays["unequal"].mean())
    for name in ("Holm", "max-T"):
        if name in arrays:
            rejected = arrays[name] <= LEVEL
            found[f"any {name}"] = float((rejected & null).any(axis=1).mean())
            found[f"power {name}"] = float(rejected[:, ~null].mean()) if (~null).any() else np.nan
    return found


METHODS, MEMBERS = ("average", "vote"), (3, 5)


def of_ensembles(
    world: World, seed_sd: float, size: Size, seeds: Sequence[int] = SEEDS[1:]
) -> dict[tuple[int, str], dict[str, float]]:
    """By number of replicates and opponent: as `summary`, for the true mean gain.

    Members are the best on a noisy measure of their own MCC, so the ensembles share them with one
    another, with the best member, and with the averages of the first loss's seeds. The true gain is
    the mean over all data sets, whose error is small beside that of one.
    """
    rows: dict[tuple[int, str], dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    most = max(seeds)
    for number in range(size.ensembles):
        rng = np.random.default_rng(derive(SEED, "ensembles", len(world.y), str(seed_sd), number))
        patients, weights, df, inflation = world.sets[number % STRUCTURES]
        true = MIDDLE + seed_sd * rng.standard_normal((LOSSES, most))
        scores = world.scores(rng, patients, true)
        p = np.exp(SHARPNESS * scores)
        p /= p.sum(axis=-1, keepdims=True)
        order = np.argsort(-(true + 0.05 * rng.standard_normal(true.shape)), axis=0)
        predicted: dict[tuple, Integers] = {}
        for r in range(most):
            predicted["best", r] = p[order[0, r], r].argmax(axis=-1)
            for k in MEMBERS:
                members = p[order[:k, r], r]
                mean = members.mean(axis=0)
                votes = np.eye(CLASSES)[members.argmax(axis=-1)].sum(axis=0)
                predicted["average", k, r] = mean.argmax(axis=-1)
                predicted["vote", k, r] = (votes + mean).argmax(axis=-1)
        sets = {}
        for count in seeds:
            for k in MEMBERS:
                runs = list(range(max(count, BASELINE_SEEDS)))
                sets[count, k] = gains.sets_of_jackknife(runs, k)
                for group in [sets[count, k][0], *sets[count, k][1]]:
                    for chosen in group:
                        predicted["seeds", chosen] = p[0, list(chosen)].mean(axis=0).argmax(-1)
        place = {key: column for column, key in enumerate(predicted)}
        mcc = world.mcc(np.stack(list(predicted.values())), patients, weights)

        def of(keys: Sequence[tuple], mcc: Array = mcc, place: dict = place) -> Array:
            return mcc[:, [place[key] for key in keys]]

        for count in seeds:
            best = of([("best", r) for r in range(count)])
            results: dict[str, list[crossed.Crossed]] = {"best member": [], "seed average": []}
            for method in METHODS:
                for k in MEMBERS:
                    own = of([(method, k, r) for r in range(count)])
                    gain = own - best
                    results["best member"].append(
                        gains.paired_gain(gain[0], gain[1:], df, 0.95, inflation)
                    )
                    all_of, without = (
                        [of([("seeds", s) for s in group]).mean(axis=1) for group in groups]
                        for groups in ([sets[count, k][0]], sets[count, k][1])
                    )
                    pseudo = gains.pseudo_values(all_of[0], np.stack(without, axis=1))
                    results["seed average"].append(
                        gains.gain_over_average(
                            own[0],
                            own[1:],
                            float(all_of[0][0]),
                            all_of[0][1:],
                            pseudo[0],
                            pseudo[1:],
                            [(r, r) for r in range(count)],
                            df,
                            0.95,
                            inflation,
                        )
                    )
            for opponent, row in results.items():
                kept = rows[count, opponent]
                kept["difference"].append(np.array([result.difference for result in row]))
                kept["se"].append(np.array([result.se for result in row]))
                kept["df"].append(np.array([result.df for result in row]))
                kept["low"].append(np.array([result.ci_low for result in row]))
                kept["high"].append(np.array([result.ci_high for result in row]))
    return {cell: summary_of_gains(found) for cell, found in rows.items()}


def summary_of_gains(rows: Mapping[str, list[Array]]) -> dict[str, float]:
    from scipy.stats import t

    arrays = {name: np.stack(parts) for name, parts in rows.items()}
    truth = arrays["difference"].mean(axis=0)
    p_values = 2 * t.sf(np.abs(arrays["difference"] - truth) / arrays["se"], arrays["df"])
    zero = 2 * t.sf(np.abs(arrays["difference"]) / arrays["se"], arrays["df"])
    found = summary({"low": rows["low"], "high": rows["high"]}, truth)
    found["gain"] = float(truth.mean())
    found["any Holm"] = float(np.mean([(holm(row) <= LEVEL).any() for row in p_values]))
    found["power Holm"] = float(np.mean([(holm(row) <= LEVEL).mean() for row in zero]))
    return found


# Two losses whose seeds vary five times as much as those of the others.
UNEQUAL = np.array([0.02] * (LOSSES - 2) + [0.10] * 2)
UNEQUAL_SEEDS = (2, 3, 5, 10)
OF_METHODS = (crossed.POOLED, crossed.OWN, "auto")
ENSEMBLE_SIZES, ENSEMBLE_SDS = (110, 624), (0.0, 0.04, 0.08)
Cell = tuple[str, int, float]


def cells() -> list[Cell]:
    """What is simulated: kind, number of images, standard deviation between seeds."""
    return [
        *(("ensembles", n, sd) for n in ENSEMBLE_SIZES for sd in ENSEMBLE_SDS),
        *(("null", n, sd) for n in SIZES for sd in SEED_SDS),
        *(("real", 200, sd) for sd in SEED_SDS),
        ("unequal", 200, 0.0),
    ]


def simulate(cell: Cell, size: Size) -> dict[tuple[int, str], dict[str, float]]:
    kind, n, sd = cell
    world = World(n, size.resamples)
    if kind == "ensembles":
        return of_ensembles(world, sd, size)
    if kind == "unequal":
        return of_losses(world, UNEQUAL, [0.0] * LOSSES, size, kind, UNEQUAL_SEEDS, OF_METHODS)
    return of_losses(world, sd, REAL if kind == "real" else [0.0] * LOSSES, size, kind)


Found = dict[Cell, dict[tuple[int, str], dict[str, float]]]


def claims(found: Found, size: Size) -> list[str]:
    """Claims of the page that do not hold."""
    failures = []

    def most(count: int) -> float:
        return LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / count)

    for (kind, n, sd), shares in found.items():
        for (seeds, method), row in shares.items():
            where = f"{kind}, {n} images, seed SD {sd:g}, {seeds} seeds, {method}"
            count = size.ensembles if kind == "ensembles" else size.losses
            if kind == "unequal" and method != crossed.OWN:
                continue  # shown for what it does
            for name in ("any Holm", "any max-T"):
                if row.get(name, 0.0) > most(count):
                    failures.append(f"{name} {percent(row[name])}% ({where})")
            # Where a variance near 0 rests on few degrees of freedom, it is estimated too high.
            careful = kind == "ensembles" or sd == 0 or seeds == 1 or method == crossed.OWN
            low, high = 0.93, 1.0 if careful else 0.97
            slack = 2 * np.sqrt(LEVEL * (1 - LEVEL) / count) if size is QUICK else 0.0
            if not low - slack <= row["coverage"] <= high + slack:
                failures.append(f"coverage {percent(row['coverage'])}% ({where})")
    return failures


def of_cells(found: Found, kind: str, names: Sequence[str], method: str) -> list[list[str]]:
    """Rows of a table: images, seed SD, and for each number of seeds the named shares."""
    rows = []
    for (of, n, sd), shares in found.items():
        if of == kind:
            own = {seeds: row for (seeds, by), row in shares.items() if by == method}
            texts = [" / ".join(percent(row[name]) for name in names) for row in own.values()]
            rows.append([str(n), f"{sd:g}", *texts])
    return rows


def report(size: Size, found: Found, failures: Sequence[str], quick: bool) -> str:
    """The Markdown page."""

    def error(share: float, count: int) -> str:
        return percent(np.sqrt(share * (1 - share) / count))

    losses = [f"{seeds} seed{'s' * (seeds > 1)}" for seeds in SEEDS]
    replicates = [f"{seeds} replicates" for seeds in SEEDS[1:]]
    pooled = crossed.POOLED
    lines = [
        "# Do comparisons over seeds do what they say?",
        "",
        written_by(__file__, quick),
        "",
        f"Simulated studies have {LOSSES} losses. A run's true MCC is that of its loss "
        f"({MIDDLE:g}) plus normal chance of the seed with the stated standard deviation. Its "
        f"score of a class is normal, raised for the true class; of its variance {OF_RUN:.0%} are "
        f"the run's own, {OF_LOSS:.0%} are common to the runs of a loss and {COMMON:.0%} to all "
        "models (hard images are hard for all). Patients have 1, 2, 3, 4 or 6 images ("
        + ", ".join(f"{share:.0%}" for share in CLUSTER_SHARES)
        + f" of the patients), whose scores are correlated by {WITHIN_PATIENT:g}. Class shares are "
        "those of the published study. The project's own functions compare the losses "
        "(`statistics/crossed.py`) and the ensembles (`statistics/gains.py`), from "
        f"{size.resamples} resamples of the patients. Numbers are percent of "
        f"{size.losses} data sets ({size.ensembles} for ensembles); Monte Carlo standard error at "
        f"5%: {error(0.05, size.losses)} and {error(0.05, size.ensembles)}. With one seed of each "
        f"loss the baseline has {BASELINE_SEEDS}.",
        "",
        "## How often some loss is called different when none is",
        "",
        f"Eleven losses against the baseline by Holm's method / by step-down max-T, at "
        f"{LEVEL:.0%} for the family. The study uses the second.",
        "",
        *table(
            ["images", "seed SD", *losses],
            of_cells(found, "null", ("any Holm", "any max-T"), pooled),
        ),
        "## How often 95% intervals of one comparison cover",
        "",
        "No loss differs:",
        "",
        *table(["images", "seed SD", *losses], of_cells(found, "null", ("coverage",), pooled)),
        "Where seeds differ by nothing, or by little beside what the patients make of it, the "
        "intervals cover somewhat too often (over 97%), most where five seeds of the baseline are "
        "all that is known: a variance cannot be estimated below 0, and one on four degrees of "
        "freedom is often estimated well above it.",
        "",
        f"Losses differ, true differences from {min(REAL):g} to {max(REAL):g} around the mean; "
        "coverage / median half width in points of MCC:",
        "",
        *table(
            ["images", "seed SD", *losses],
            of_cells(found, "real", ("coverage", "half width"), pooled),
        ),
        "How many of these differences are found, Holm / max-T:",
        "",
        *table(
            ["images", "seed SD", *losses],
            of_cells(found, "real", ("power Holm", "power max-T"), pooled),
        ),
        "## Where the losses' seeds vary by unequal amounts",
        "",
        f"200 images; seed SD {UNEQUAL[0]:g}, but {UNEQUAL[-1]:g} for two of the losses. `pooled`: "
        "one variance for all; `own`: each comparison with the two losses' own; `auto`, what the "
        "study does: own where Bartlett's test rejects equal variances. Family-wise error by "
        "Holm's method / coverage over all comparisons / of the worst covered loss / how often "
        "Bartlett's test rejects.",
        "",
    ]
    rows = []
    for method in OF_METHODS:
        own = [row for (kind, _, _), shares in found.items() if kind == "unequal"
               for (_, by), row in shares.items() if by == method]  # fmt: skip
        names = ("any Holm", "coverage", "lowest", "unequal")
        rows.append([method, *(" / ".join(percent(row[n]) for n in names) for row in own)])
    lines += table(["", *(f"{seeds} seeds" for seeds in UNEQUAL_SEEDS)], rows)
    lines += [
        "With two or three seeds no test sees much of this, and the intervals of a loss whose "
        "seeds vary far more than those of the others are too narrow. With two, Bartlett's test is "
        "all there is: Levene's always rejects then.",
        "",
        "## Ensembles over seeds",
        "",
        f"Averages and majority votes of the best {MEMBERS[0]} and {MEMBERS[1]} of the losses of a "
        "replicate (best by a noisy measure), so that ensembles share members with one another, "
        "with their best member, and with the averages of the baseline's seeds. The true gain is "
        "not 0, so what is tested is the true gain: family-wise error of the four ensembles by "
        "Holm's method / coverage / power against no gain.",
        "",
    ]
    for opponent in ("best member", "seed average"):
        lines += [f"Against the {opponent}:", ""]
        names = ("any Holm", "coverage", "power Holm")
        rows = of_cells(found, "ensembles", names, opponent)
        lines += table(["images", "seed SD", *replicates], rows)
    lines += [
        "Two replicates leave one degree of freedom: nothing can be shown with them. With three "
        "and five the intervals are wider than need be.",
        "",
        "## Claims",
        "",
    ]
    lines += (
        [f"- does not hold: {failure}" for failure in failures]
        if failures
        else [
            "All hold: the family-wise error is at most 5% plus two Monte Carlo standard errors in "
            "every cell of one seed variance, for losses by both methods and for ensembles; "
            "intervals cover in at least 93% there, those of losses with two seeds or more that do "
            "differ in at most 97%. Not claimed: at most 97% with one seed of each loss or seeds "
            "that do not differ, or for ensembles of two and three replicates, where they cover "
            "more; anything where variances are unequal and Bartlett's test does not see it."
        ]
    )
    return "\n".join(lines) + "\n"


def simulate_all(quick: bool, jobs: int) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    size, found = QUICK if quick else FULL, {}
    with ProcessPoolExecutor(jobs) as pool:
        for cell, shares in zip(
            cells(), pool.map(partial(simulate, size=size), cells()), strict=True
        ):
            found[cell] = shares
            tell("%s: %s", cell, shares)
    failures = claims(found, size)
    return report(size, found, failures, quick), failures


if __name__ == "__main__":
    jobs = {"type": int, "default": 1, "help": "cells at once; changes no number"}
    main(__doc__, simulate_all, {"--jobs": jobs})
