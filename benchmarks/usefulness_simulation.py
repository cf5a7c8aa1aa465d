"""Do the intervals of net benefit cover, and is a useless model ever called useful?

    python benchmarks/usefulness_simulation.py --out docs/usefulness-simulation.md
    python benchmarks/usefulness_simulation.py --quick --out /dev/stdout

Simulates one finding among images of patients, judged by models with right probabilities and by
noise, and writes the result as a Markdown table. Exits with 1 if a claim of the documentation does
not hold.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.job.seeds import derive
from multiloss.statistics import bootstrap, usefulness
from multiloss.statistics.usefulness import TIE, Decisions, Rates
from simulation import SEED, main, percent, table, tell, written_by

Array = npt.NDArray[np.float64]

SIZES = (110, 200, 624)
PREVALENCES = (0.1, 0.4)
CLUSTERS, CLUSTER_SHARES = (1, 2, 3, 4, 6), (0.45, 0.25, 0.15, 0.10, 0.05)
SHIFT, SHARED = 1.5, 0.6  # of the scores of images with the finding; correlation of two models
POINTS = np.array([0.05, 0.1, 0.2, 0.5])
GRID = np.arange(1, 100) / 100
STATED = 0.05  # prevalence of the predictive values
CONFIDENCE = 0.95
Z = float(norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Scenario:
    """Patients with one image each, or with several whose scores correlate by `rho`.

    `least`: the coverage that is claimed.
    """

    name: str
    clustered: bool
    rho: float
    least: float


SCENARIOS = (
    Scenario("one image per patient", False, 0.0, 0.93),
    Scenario("clusters, correlation 0.5", True, 0.5, 0.92),
    Scenario("clusters, correlation 0.9", True, 0.9, 0.90),
)


@dataclass(frozen=True)
class Size:
    """Data sets in each cell, and resamples in each data set."""

    coverage: int
    null: int
    resamples: int


FULL = Size(coverage=300, null=300, resamples=300)
QUICK = Size(coverage=60, null=60, resamples=200)


class TestSet:
    """Images of patients of which a share has the finding, and their resamples."""

    __test__ = False

    def __init__(
        self, rng: np.random.Generator, scenario: Scenario, n: int, prevalence: float, size: Size
    ) -> None:
        self.rng, self.rho = rng, scenario.rho
        sizes = np.ones(n, dtype=int)
        if scenario.clustered:
            sizes = rng.choice(CLUSTERS, n, p=CLUSTER_SHARES)
        self.patients = np.repeat(np.arange(n), sizes)[:n]
        count = int(self.patients[-1]) + 1
        self.y = (np.arange(count) < round(prevalence * count))[self.patients]
        strata = bootstrap.label_strata(self.patients, self.y.astype(int))
        self.weights = bootstrap.patient_weights(self.patients, strata, size.resamples, rng)
        self.counts = [[len(set(self.patients[~self.y])), len(set(self.patients[self.y]))]]
        self.q = float(self.y.mean())

    def noise(self) -> Array:
        together = self.rng.normal(size=self.patients[-1] + 1)[self.patients]
        own = self.rng.normal(size=len(self.patients))
        return np.sqrt(self.rho) * together + np.sqrt(1 - self.rho) * own

    def judge(self, p: Array, at: Array) -> tuple[Rates, Decisions]:
        """Rates at thresholds, and the resampled decisions."""
        args = self.y[:, None], p[:, None], at[None]
        drawn = usefulness.decisions(*args, self.weights)
        return Rates.of(usefulness.decisions(*args), drawn, self.counts), drawn


def probability(score: Array, prevalence: float, shift: float = SHIFT) -> Array:
    """Right probability of the finding where scores are normal, `shift` higher with it."""
    logit = shift * score - shift**2 / 2 + np.log(prevalence / (1 - prevalence))
    return 1 / (1 + np.exp(-logit))


def true_rates(at: Array, prevalence: float) -> tuple[Array, Array]:
    """Sensitivity and specificity of that probability at thresholds."""
    logit = np.log(at / (1 - at)) - np.log(prevalence / (1 - prevalence))
    cut = (logit + SHIFT**2 / 2) / SHIFT
    return norm.sf(cut - SHIFT), norm.cdf(cut)


def benefit_of(decided: Decisions, at: Array, q: float) -> Array:
    return usefulness.net_benefit(decided.sensitivity, decided.specificity, at, q)[:, 0]


def coverage(scenario: Scenario, n: int, prevalence: float, size: Size) -> dict[str, Array]:
    """Share of intervals that hold the true value, by what they are of, at each of POINTS."""
    held: dict[str, list[Array]] = defaultdict(list)
    found, spared = true_rates(POINTS, prevalence)
    for number in range(size.coverage):
        rng = np.random.default_rng(derive(SEED, "coverage", scenario.name, n, prevalence, number))
        images = TestSet(rng, scenario, n, prevalence, size)
        true = usefulness.net_benefit(found, spared, POINTS, images.q)
        shared, models = images.noise(), []
        for _ in range(2):
            score = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * images.noise()
            p = probability(score + SHIFT * images.y, prevalence)
            rates, drawn = images.judge(p, POINTS)
            value = usefulness.net_benefit(rates.sensitivity, rates.specificity, POINTS, images.q)
            ends = usefulness.net_benefit_interval(rates, POINTS, images.q, Z)
            models.append((value[0], ends[0][0], ends[1][0], benefit_of(drawn, POINTS, images.q)))
        low, high = models[0][1:3]
        held["net benefit"].append((low <= true + TIE) & (true <= high + TIE))
        low, high = bootstrap.percentile_interval(models[0][3])
        held["net benefit, percentiles"].append((low <= true) & (true <= high))
        together = usefulness.correlated(models[0][3], models[1][3])
        low, high = usefulness.difference_interval(models[0][:3], models[1][:3], together)
        held["difference of two models"].append((low <= TIE) & (high >= -TIE))
        low, high = bootstrap.percentile_interval(models[0][3] - models[1][3])
        held["difference, percentiles"].append((low <= TIE) & (high >= -TIE))
        # `rates` are the second model's, which is as good.
        wanted = usefulness.predictive_values(found, spared, STATED)
        for name, value, (low, high) in zip(
            ("positive predictive value", "negative predictive value"),
            wanted,
            usefulness.predictive_intervals(rates, STATED, Z),
            strict=True,
        ):
            known = ~np.isnan(low[0])
            inside = (low[0] <= value) & (value <= high[0])
            held[name].append(np.where(known, inside, np.nan))
    return {name: np.nanmean(values, axis=0) for name, values in held.items()}


def shown_useful(
    scenario: Scenario, n: int, prevalence: float, size: Size, shift: float
) -> dict[str, float]:
    """Share of data sets where a model is shown to be worth more at any threshold at all.

    A shift of 0 is a useless model whose probabilities vary all the same.
    """
    hits: dict[str, list[bool]] = defaultdict(list)
    for number in range(size.null):
        name = "null" if shift == 0 else "power"
        rng = np.random.default_rng(derive(SEED, name, scenario.name, n, prevalence, number))
        images = TestSet(rng, scenario, n, prevalence, size)
        score = images.noise() + shift * images.y
        p = probability(score if shift else score / SHIFT + SHIFT / 2, prevalence)
        rates, drawn = images.judge(p, GRID)
        best = np.maximum(usefulness.treat_all(GRID, images.q), 0.0)
        value = usefulness.net_benefit(rates.sensitivity, rates.specificity, GRID, images.q)[0]
        resampled = benefit_of(drawn, GRID, images.q)
        z = usefulness.simultaneous_z(value, resampled, CONFIDENCE)
        for label, width in (("simultaneous", z), ("pointwise", Z)):
            low, _ = usefulness.net_benefit_interval(rates, GRID, images.q, width)
            hits[label].append(bool((low[0] - best > TIE).any()))
        low, _ = bootstrap.percentile_interval(resampled)
        hits["percentiles"].append(bool((low - best > TIE).any()))
    return {label: float(np.mean(found)) for label, found in hits.items()}


Cell = tuple[Scenario, int, float]
CLAIMED = (
    "net benefit",
    "difference of two models",
    "positive predictive value",
    "negative predictive value",
)


def failures_of(
    covered: dict[Cell, dict[str, Array]], null: dict[Cell, dict[str, float]], size: Size
) -> list[str]:
    """Claims that do not hold."""
    allowance = 2 * np.sqrt(0.05 * 0.95 / size.null)
    failures = []
    for (scenario, n, prevalence), found in covered.items():
        where = f"n = {n}, prevalence {prevalence:g}, {scenario.name}"
        least = scenario.least
        # Of a few hundred shares some lie two standard errors off by chance.
        slack = 3 * np.sqrt(least * (1 - least) / size.coverage)
        failures += [
            f"{name} at {at:g} is covered in {percent(share)}% ({where})"
            for name in CLAIMED
            for at, share in zip(POINTS, found[name], strict=True)
            if share < least - slack
        ]
    for (scenario, n, prevalence), shares in null.items():
        if shares["simultaneous"] > 0.05 + allowance:
            failures.append(
                f"a useless model is called useful in {percent(shares['simultaneous'])}% "
                f"(n = {n}, prevalence {prevalence:g}, {scenario.name})"
            )
    return failures


def report(
    size: Size,
    covered: dict[Cell, dict[str, Array]],
    null: dict[Cell, dict[str, float]],
    power: dict[Cell, dict[str, float]],
    failures: list[str],
    quick: bool,
) -> str:
    """The Markdown page."""
    shares = ", ".join(f"{100 * share:.0f}%" for share in CLUSTER_SHARES)
    cells = list(covered)
    names = [f"{scenario.name}; n = {n}; {100 * q:g}%" for scenario, n, q in cells]
    lines = [
        "# Is what is called useful useful?",
        "",
        written_by(__file__, quick),
        "",
        "One finding in n images, in the stated share of the patients. A model's score is normal, "
        f"{SHIFT} standard deviations higher with the finding, and its probability the right one "
        f"for that; two models share a part of their scores (correlation {SHARED}). In clusters "
        f"patients have 1, 2, 3, 4 or 6 images ({shares} of the patients), all with the finding "
        "or all without, whose scores have the stated correlation beyond it. True values are at "
        "the share of images with the finding in the data set, as the intervals are.",
        "",
        "## How often 95% intervals hold the true value",
        "",
        f"Percent of {size.coverage} data sets at the thresholds "
        f"{', '.join(f'{100 * at:g}%' for at in POINTS)}; {size.resamples} resamples of the "
        f"patients; Monte Carlo standard error at 95%: "
        f"{percent(np.sqrt(0.05 * 0.95 / size.coverage))}. Predictive values are at a prevalence "
        f"of {STATED:.0%}. `percentiles`, for comparison, are those of the resamples: they cannot "
        "know what resampling cannot vary, such as false alarms where none was seen.",
        "",
    ]
    listed = ", ".join(f"{s.least:.0%} ({s.name})" for s in SCENARIOS)
    kinds = list(next(iter(covered.values())))
    lines += table(
        ["patients; images; finding", *kinds],
        [
            [name, *(" / ".join(percent(share) for share in covered[cell][kind]) for kind in kinds)]
            for name, cell in zip(names, cells, strict=True)
        ],
    )
    lines += [
        "## How often a model is called useful at some threshold",
        "",
        f"Percent of {size.null} data sets in which the net benefit of a useless model (its "
        "probabilities vary, and have nothing to do with the finding), or of the one above, is "
        "above that of calling all or none positive at one or more of 99 thresholds by the lower "
        "end of its interval. `simultaneous` is what `tables/useful_thresholds.csv` does.",
        "",
        *table(
            ["patients; images; finding"]
            + [f"useless, {label}" for label in next(iter(null.values()))]
            + ["good, simultaneous"],
            [
                [
                    name,
                    *(percent(share) for share in null[cell].values()),
                    percent(power[cell]["simultaneous"]),
                ]
                for name, cell in zip(names, cells, strict=True)
            ],
        ),
        "## Claims",
        "",
    ]
    lines += (
        [f"- does not hold: {failure}" for failure in failures]
        if failures
        else [
            "All hold: intervals of net benefit, of differences and of predictive values cover in "
            f"at least {listed}, within three Monte Carlo standard errors; a useless model is "
            "called useful in at most 5% of the data sets plus two Monte Carlo standard errors."
        ]
    )
    return "\n".join(lines) + "\n"


def simulate_all(quick: bool) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    size = QUICK if quick else FULL
    covered, null, power = {}, {}, {}
    for scenario in SCENARIOS:
        for n in SIZES:
            for prevalence in PREVALENCES:
                cell = scenario, n, prevalence
                covered[cell] = coverage(*cell, size)
                null[cell] = shown_useful(*cell, size, 0.0)
                power[cell] = shown_useful(*cell, size, SHIFT)
                shares = {k: np.round(v, 3).tolist() for k, v in covered[cell].items()}
                tell("%s, %d, %g: %s", scenario.name, n, prevalence, shares)
                tell("%s %s", null[cell], power[cell])
    failures = failures_of(covered, null, size)
    return report(size, covered, null, power, failures, quick), failures


if __name__ == "__main__":
    main(__doc__, simulate_all)
