"""Which variance between runs is safe where the losses' runs vary by unequal amounts?

    python benchmarks/unequal_seeds_simulation.py --out docs/unequal-seeds-simulation.md
    python benchmarks/unequal_seeds_simulation.py --quick --out /dev/stdout

Simulates the values of runs, not their predictions, and writes the result as a Markdown page. Exits
with 1 if a claim does not hold.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.job.seeds import derive
from multiloss.statistics.crossed import (
    EQUAL_LEVEL,
    OWN,
    POOLED,
    Crossed,
    Part,
    bartlett_p,
    combine,
    crossed_comparison,
    f_of_means,
    mean_square,
    seed_variance,
)
from seeds_simulation import holm
from simulation import SEED, main, percent, table, tell, written_by

Array = npt.NDArray[np.float64]
Runs = Mapping[int, Array]

LOSSES, BASELINE_RUNS = 12, 5
RUN_NUMBERS = (2, 3, 5)
RESAMPLES, PATIENTS_DF = 200, 400
PATIENTS_SD = 0.025  # of a run's MCC over test patients
# Of the variance over patients: common to all models, to the runs of a loss, a run's own.
COMMON, OF_LOSS, OF_RUN = 0.5, 0.1, 0.4
SD = 0.02  # between the runs of a loss
APART = "outliers apart"
RULES = (POOLED, OWN, "auto", APART)
LEVEL = 0.05


@dataclass(frozen=True)
class World:
    """`sd` (losses,) between runs; `collapse`: losses of which a run in three loses 0.3 of MCC,
    their mean with it, so that they are no null hypotheses."""

    name: str
    sd: tuple[float, ...] = (SD,) * LOSSES
    collapse: tuple[int, ...] = ()
    null: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "null", ~np.isin(np.arange(1, LOSSES), self.collapse))


WORLDS = (
    World("all alike"),
    World("two losses vary five times as much", (SD,) * 10 + (5 * SD,) * 2),
    World("half of them three times as much", (SD,) * 6 + (3 * SD,) * 6),
    World("the baseline five times as much", (5 * SD,) + (SD,) * 11),
    World("a loss collapses in a third of its runs", collapse=(11,)),
    World("two losses do", collapse=(10, 11)),
)


def drawn_study(world: World, runs: Sequence[int], rng: np.random.Generator) -> tuple[Runs, Runs]:
    """MCC of the runs of each loss, and the same in resamples of the patients."""
    most = max(runs)
    true = rng.standard_normal((LOSSES, most)) * np.array(world.sd)[:, None]
    for loss in world.collapse:
        true[loss] -= 0.3 * (rng.random(most) < 1 / 3)

    def patients(number: int) -> Array:
        parts = ((COMMON, (number, 1, 1)), (OF_LOSS, (number, LOSSES, 1)))
        found = np.sqrt(OF_RUN) * rng.standard_normal((number, LOSSES, most))
        for share, shape in parts:
            found = found + np.sqrt(share) * rng.standard_normal(shape)
        return PATIENTS_SD * found

    values = true + patients(1)[0]
    boot = values + patients(RESAMPLES)
    return (
        {loss: values[loss, :count] for loss, count in enumerate(runs)},
        {loss: boot[:, loss, :count] for loss, count in enumerate(runs)},
    )


def alike(squares: Array, degrees: Array) -> list[int]:
    """The losses that Bartlett's test leaves together, the largest variances taken out in turn."""
    kept = list(np.argsort(squares, kind="stable"))
    while len(kept) > 1 and bartlett_p(squares[kept], degrees[kept]) < EQUAL_LEVEL:
        kept.pop()
    return kept


def apart(values: Runs, boot: Runs) -> list[Crossed]:
    """Comparisons with the baseline that pool the variance over the losses that are alike."""
    found = [mean_square(values[loss], boot[loss]) for loss in values]
    squares, mixed = (np.array(column) for column in zip(*found, strict=True))
    degrees = np.array([len(own) - 1.0 for own in values.values()])
    kept = alike(squares, degrees)
    square, interaction = (np.average(own[kept], weights=degrees[kept]) for own in (squares, mixed))
    results = []
    for loss in range(1, LOSSES):
        parts, share = [], 0.0
        for side in (loss, 0):
            if side in kept:
                share += 1 / len(values[side])
            else:
                parts.append(Part(*found[side], 1 / len(values[side]), degrees[side]))
        if share:
            parts.append(Part(square, interaction, share, degrees[kept].sum()))
        means = boot[loss].mean(axis=1) - boot[0].mean(axis=1)
        difference = float(values[loss].mean() - values[0].mean())
        variance = float(means.var(ddof=1))
        results.append(combine(difference, variance, parts, PATIENTS_DF, resamples=len(means)))
    return results


def compared(values: Runs, boot: Runs, rule: str) -> list[Crossed]:
    if rule == APART:
        return apart(values, boot)
    seeds = seed_variance(values, boot)
    return [
        crossed_comparison(
            *(values[loss], values[0], boot[loss], boot[0], PATIENTS_DF), seeds=seeds, method=rule
        )
        for loss in range(1, LOSSES)
    ]


def of_world(world: World, number: int, count: int) -> dict[str, float]:
    """By rule: how often a loss that is no worse is called different (`any`), the coverage of the
    worst covered comparison (`lowest`), median half width of the first (`width`); how often
    Bartlett's test and the F test of the losses' means reject."""
    runs = [max(number, BASELINE_RUNS), *[number] * (LOSSES - 1)]
    rejected: dict[str, list[bool]] = {rule: [] for rule in RULES}
    inside: dict[str, list[Array]] = {rule: [] for rule in RULES}
    width: dict[str, list[float]] = {rule: [] for rule in RULES}
    unequal, f_rejects = 0, 0
    for place in range(count):
        rng = np.random.default_rng(derive(SEED, "unequal", world.name, number, place))
        values, boot = drawn_study(world, runs, rng)
        seeds = seed_variance(values, boot)
        unequal += not seeds.pooled
        f_rejects += f_of_means(values, seeds)[2] <= LEVEL
        for rule in RULES:
            results = compared(values, boot, rule)
            adjusted = holm(np.array([own.p_value for own in results]))
            rejected[rule].append(bool((adjusted[world.null] <= LEVEL).any()))
            inside[rule].append(np.array([own.ci_low <= 0 <= own.ci_high for own in results]))
            width[rule].append((results[0].ci_high - results[0].ci_low) / 2)
    found = {"unequal": unequal / count, "F": f_rejects / count}
    for rule in RULES:
        found[f"any {rule}"] = float(np.mean(rejected[rule]))
        found[f"lowest {rule}"] = float(np.mean(inside[rule], axis=0)[world.null].min())
        found[f"width {rule}"] = float(np.median(width[rule]))
    return found


Found = dict[tuple[str, int], dict[str, float]]


def claims(found: Found, count: int) -> list[str]:
    """Claims of the page that do not hold."""
    failures = []
    most = LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / count)
    for (name, number), row in found.items():
        where = f"{name}, {number} runs"
        if name in (WORLDS[0].name, *(world.name for world in WORLDS if world.collapse)):
            for rule in ("auto", APART):
                if row[f"any {rule}"] > most:
                    failures.append(f"{rule} {percent(row[f'any {rule}'])}% ({where})")
        elif row[f"any {APART}"] < row["any auto"] - 2 * np.sqrt(LEVEL * (1 - LEVEL) / count):
            failures.append(f"{APART} errs less than what the study does ({where})")
    return failures


def report(found: Found, count: int, failures: Sequence[str], quick: bool) -> str:
    """The Markdown page."""

    def rows(names: Sequence[str]) -> list[list[str]]:
        return [
            [world.name, str(number), *(percent(found[world.name, number][name]) for name in names)]
            for world in WORLDS
            for number in RUN_NUMBERS
        ]

    error = percent(np.sqrt(LEVEL * (1 - LEVEL) / count))
    header = ["losses", "runs", *RULES]
    lines = [
        "# Where the losses' runs vary by unequal amounts",
        "",
        written_by(__file__, quick),
        "",
        f"{LOSSES} losses of the stated number of runs are compared with a baseline of "
        f"{BASELINE_RUNS}. A run's MCC has a standard deviation of {SD:g} between runs, where "
        f"nothing else is said, and one of {PATIENTS_SD:g} over test patients, {COMMON:.0%} of "
        f"whose variance is common to all models and {OF_LOSS:.0%} to the runs of a loss. Runs "
        "that collapse lose 0.3. Values of runs are drawn, not predictions; else as "
        "[the simulation of seeds](seeds-simulation.md). `pooled`: one variance between runs for "
        "all losses; `own`: that of the two losses; `auto`, what the study does: own where "
        f"Bartlett's test rejects equal variances at {LEVEL:.0%}; `{APART}`: where it rejects, the "
        "losses with the largest variances are taken out until it no longer does, the others are "
        f"pooled. Percent of {count} studies; Monte Carlo standard error at 5%: {error}.",
        "",
        "## How often some loss is called different that is not (Holm's method, 5%)",
        "",
        "Losses that collapse do differ and are not counted.",
        "",
        *table(header, rows([f"any {rule}" for rule in RULES])),
        "## How often the 95% interval of the worst covered of these comparisons holds 0",
        "",
        *table(header, rows([f"lowest {rule}" for rule in RULES])),
        "## Median half width for a loss that varies as most do, in points of MCC",
        "",
        *table(header, rows([f"width {rule}" for rule in RULES])),
        "## How often Bartlett's test rejects, and the F test of all losses' means",
        "",
        "The F test asks whether losses differ on these very test images and takes their patients "
        "for no chance: what the runs of a loss have in common on them is a difference. So it "
        "rejects in more than 5% also where new patients would show none, the more often the more "
        "runs there are, and report and table say what it is of. Noisy losses make it worse, which "
        "is why its row names unequal variances.",
        "",
        *table(["losses", "runs", "Bartlett", "F"], rows(["unequal", "F"])),
        "## Claims",
        "",
    ]
    lines += (
        [f"- does not hold: {failure}" for failure in failures]
        if failures
        else [
            "All hold: where all are alike, or some collapse, what the study does calls a loss "
            "that is no different so in at most 5% plus two Monte Carlo standard errors. To take "
            "the noisy losses out and to pool the others errs no less anywhere, within two such "
            "errors, and more where some losses are noisy: one whose few runs lie close by luck is "
            "then judged by the small variance of the others. It makes the intervals of the others "
            "hardly narrower, since most of their width is of patients. Not claimed: that any of "
            "this is at its level where losses are noisy and two or three runs do not show it; "
            "only more runs help."
        ]
    )
    return "\n".join(lines) + "\n"


def simulate_all(quick: bool) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    count, found = (40 if quick else 1000), {}
    for world in WORLDS:
        for number in RUN_NUMBERS:
            found[world.name, number] = of_world(world, number, count)
            tell("%s, %s runs: %s", world.name, number, found[world.name, number])
    failures = claims(found, count)
    return report(found, count, failures, quick), failures


if __name__ == "__main__":
    main(__doc__, simulate_all)
