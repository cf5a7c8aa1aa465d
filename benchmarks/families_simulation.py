"""Do corrections over a family hold their level, and intervals where one patient has many images?

    python benchmarks/families_simulation.py --out docs/families-simulation.md
    python benchmarks/families_simulation.py --quick --out /dev/stdout

Simulates test sets on which the losses of a study are tested against the baseline, and ensembles
of them against their best members, and writes the result as a Markdown page. Exits with 1 if a
claim of the documentation does not hold.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.job.seeds import derive
from multiloss.statistics import bootstrap, metrics, paired
from simulation import SEED, main, percent, table, tell, written_by
from statistics_simulation import probabilities

Array = npt.NDArray[np.float64]

CLASSES = 3
LOSSES, BETTER, ENSEMBLES = 11, 3, 11
SHARED = 0.6  # correlation of two models' scores beyond the class
# Signals, in standard deviations of a score, of MCC 0.757 and 0.828 at the first scenario's shares.
SIGNAL, BETTER_SIGNAL = 1.854, 2.137
GAIN = 1.5  # of power over Holm's correction of everything
HEAVY_COVERAGE = 0.92
EDGE_SIGNAL = 3.6  # accuracy 0.99


@dataclass(frozen=True)
class Scenario:
    """A test set: images of each patient by class, and the correlation of scores within one.

    `together`: the first patients of the classes are one patient.
    """

    name: str
    patients: tuple[tuple[int, ...], ...]
    rho: float = 0.0
    together: bool = False

    @property
    def y(self) -> npt.NDArray[np.intp]:
        return np.repeat(np.arange(CLASSES), [sum(sizes) for sizes in self.patients])

    @property
    def ids(self) -> npt.NDArray[np.intp]:
        sizes = [size for of_class in self.patients for size in of_class]
        found = np.repeat(np.arange(len(sizes)), sizes)
        firsts = np.cumsum([0, *map(len, self.patients[:-1])])
        if self.together:
            found[np.isin(found, firsts)] = 0
        return found


def _ones(*counts: int) -> tuple[tuple[int, ...], ...]:
    return tuple((1,) * count for count in counts)


CLUSTERS = tuple((1, 1, 2, 2, 3, 5) * groups for groups in (8, 8, 5))
HEAVY = (
    Scenario("one patient with 36 of 120 images", ((36, *(1,) * 10), *_ones(46, 28)), 0.5),
    Scenario(
        "one patient with 36 of 120 images, of all classes",
        ((12, *(1,) * 33), (12, *(1,) * 34), (12, *(1,) * 17)),
        0.5,
        together=True,
    ),
)
SCENARIOS = (
    Scenario("300 patients, one image each", _ones(113, 116, 71)),
    Scenario("110 patients, one image each", _ones(41, 43, 26)),
    Scenario("126 patients, 294 images", CLUSTERS, 0.5),
    Scenario("20 patients, 60 images", ((3,) * 7, (3,) * 7, (3,) * 6), 0.5),
    HEAVY[0],
    Scenario("120 patients, a class of 6", _ones(60, 54, 6)),
)
EDGES = (
    Scenario("110 patients, 16 of the class", _ones(47, 47, 16)),
    Scenario("155 patients, 620 images", ((4,) * 60, (4,) * 60, (4,) * 35), 0.9),
    Scenario("620 patients, 150 of the class", _ones(230, 240, 150)),
)


@dataclass(frozen=True)
class Size:
    """Data sets of each kind of cell, and permutations and resamples in each."""

    null: int
    power: int
    coverage: int
    edge: int
    permutations: int
    resamples: int


FULL = Size(null=1000, power=1000, coverage=1500, edge=600, permutations=1999, resamples=400)
QUICK = Size(null=30, power=30, coverage=40, edge=20, permutations=499, resamples=200)
# Permutations where no power is at stake.
FEWER = 2


def noise(rng: np.random.Generator, ids: npt.NDArray[np.intp], rho: float) -> Array:
    """Standard normal scores (N, classes), correlated within patients."""
    together = rng.standard_normal((ids.max() + 1, CLASSES))[ids]
    return np.sqrt(rho) * together + np.sqrt(1 - rho) * rng.standard_normal((len(ids), CLASSES))


def trained(
    rng: np.random.Generator, scenario: Scenario, signals: tuple[float, ...]
) -> list[Array]:
    """Probabilities (N, classes) of models that share a part of their scores."""
    y, ids = scenario.y, scenario.ids
    shared = np.sqrt(SHARED) * noise(rng, ids, scenario.rho)
    return [
        probabilities(y, signal, shared + np.sqrt(1 - SHARED) * noise(rng, ids, scenario.rho))
        for signal in signals
    ]


def study(
    rng: np.random.Generator, scenario: Scenario, better: int
) -> tuple[npt.NDArray[np.intp], list[tuple[int, int]], list[tuple[int, int]]]:
    """Predicted classes of a study's models, and pairs of its two families.

    The baseline, the losses (`better` of them better) and ensembles that are as good as their
    members: for each image one member decides, drawn once for all ensembles. Members are losses
    that are equally good; an ensemble's best member, chosen elsewhere, is any of them.
    """
    signals = (SIGNAL, *(BETTER_SIGNAL,) * better, *(SIGNAL,) * (LOSSES - better))
    singles = np.stack([p.argmax(axis=1) for p in trained(rng, scenario, signals)])
    equal = np.r_[0, 1 + better : 1 + LOSSES]
    lot, images = rng.random(singles.shape[1]), np.arange(singles.shape[1])
    ensembles, best = [], []
    for number in range(ENSEMBLES):
        members = rng.permutation(equal)[: 2 + number % 6]
        ensembles.append(singles[members[(lot * len(members)).astype(int)], images])
        best.append(int(members[0]))
    against_baseline = [(1 + k, 0) for k in range(LOSSES)]
    against_member = [(1 + LOSSES + k, member) for k, member in enumerate(best)]
    return np.concatenate([singles, np.stack(ensembles)]), against_baseline, against_member


CORRECTIONS = (
    "Holm over losses and ensembles, MCC and accuracy",
    "Holm over the losses, MCC",
    "step-down max-T over the losses, MCC",
    "Holm over the ensembles, MCC",
    "step-down max-T over the ensembles, MCC",
)
EVERYTHING, HOLM, MAX_T, _, MAX_T_ENSEMBLES = CORRECTIONS


def families(scenario: Scenario, size: Size, better: int, count: int) -> dict[str, dict]:
    """By correction: share of data sets with any false rejection, and power for a better loss."""
    found: dict[str, dict[str, list[float]]] = {
        name: {"fwer": [], "power": []} for name in CORRECTIONS
    }
    permutations = size.permutations if better else size.permutations // FEWER
    for number in range(count):
        rng = np.random.default_rng(derive(SEED, "families", scenario.name, better, number))
        predicted, losses, ensembles = study(rng, scenario, better)
        tests = paired.permutation_tests(
            scenario.y, predicted, losses, scenario.ids, CLASSES, permutations, rng
        )
        others = paired.permutation_tests(
            scenario.y, predicted, ensembles, scenario.ids, CLASSES, permutations, rng
        )
        p = {
            metric: np.array([one[metric].p_value for one in [*tests, *others]])
            for metric in ("mcc", "accuracy")
        }
        adjusted = {
            EVERYTHING: paired.holm(np.concatenate(list(p.values()))),
            HOLM: paired.holm(p["mcc"][:LOSSES]),
            MAX_T: np.array([one["mcc"].p_adjusted for one in tests]),
            CORRECTIONS[3]: paired.holm(p["mcc"][LOSSES:]),
            MAX_T_ENSEMBLES: np.array([one["mcc"].p_adjusted for one in others]),
        }
        for name, values in adjusted.items():
            rejected = values <= 0.05
            is_true = np.zeros(len(values), bool)
            if name in (EVERYTHING, HOLM, MAX_T):
                is_true[:better] = True
            if name == EVERYTHING:
                is_true[LOSSES + ENSEMBLES : LOSSES + ENSEMBLES + better] = True
            found[name]["fwer"].append(float(rejected[~is_true].any()))
            if better and name in (EVERYTHING, HOLM, MAX_T):
                # By MCC, whatever else is in the family.
                found[name]["power"].append(float(rejected[:better].mean()))
    return {
        name: {what: float(np.mean(values)) if values else np.nan for what, values in one.items()}
        for name, one in found.items()
    }


def truth(scenario: Scenario, wanted: list[str], signal: float, copies: int = 2000) -> Array:
    """The metrics of a model on a test set `copies` times as large, (M,)."""
    rng = np.random.default_rng(derive(SEED, "truth"))
    y = np.repeat(scenario.y, copies)
    sample = metrics.Sample(y, probabilities(y, signal, rng.standard_normal((len(y), CLASSES))))
    return metrics.compute_many(wanted, sample)[0]


INTERVALS = (
    "accuracy",
    "MCC",
    "accuracy difference, paired bootstrap",
    "MCC difference, paired bootstrap",
    "accuracy difference, permutation",
    "MCC difference, permutation",
)


def coverage(scenario: Scenario, size: Size, signals: tuple[float, float]) -> dict[str, dict]:
    """Share of 95% intervals that hold the true value, by degrees of freedom and interval.

    Also the share of data sets in which the permutation's interval leaves out 0 while its test
    does not reject, or the reverse.
    """
    y, ids, wanted = scenario.y, scenario.ids, ["accuracy", "mcc"]
    strata = bootstrap.label_strata(ids, y)
    rng = np.random.default_rng(derive(SEED, "resamples", scenario.name))
    weights = bootstrap.patient_weights(ids, strata, size.resamples, rng)
    patients = len(set(ids.tolist())) - len(set(strata.tolist()))
    freedom = {"patients": patients, "effective": bootstrap.degrees_of_freedom(ids, strata)}
    true = [truth(scenario, wanted, signal) for signal in signals]
    hits: dict[str, dict[str, list[bool]]] = {name: defaultdict(list) for name in freedom}
    contradictions = []
    for number in range(size.coverage):
        rng = np.random.default_rng(derive(SEED, "coverage", scenario.name, *signals, number))
        samples = [metrics.Sample(y, p) for p in trained(rng, scenario, signals)]
        values = [metrics.compute_many(wanted, sample)[0] for sample in samples]
        drawn = [metrics.compute_many(wanted, sample, weights) for sample in samples]
        tests = paired.permutation_test(
            y, *(s.predicted for s in samples), ids, CLASSES, size.permutations // FEWER, rng
        )
        for name, df in freedom.items():
            low, high = bootstrap.transformed_interval(drawn[0], values[0], [0, -1], [1, 1], df)
            for column, metric in enumerate(wanted):
                title = ("accuracy", "MCC")[column]
                difference = true[0][column] - true[1][column]
                within = low[column] <= true[0][column] <= high[column]
                hits[name][title].append(bool(within))
                tested = paired.bootstrap_test(
                    drawn[0][:, column] - drawn[1][:, column],
                    float(values[0][column] - values[1][column]),
                    df,
                    "auto",
                )
                for kind, result in (("paired bootstrap", tested), ("permutation", tests[metric])):
                    inside = result.ci_low <= difference <= result.ci_high
                    hits[name][f"{title} difference, {kind}"].append(bool(inside))
        contradictions += [
            (one.ci_low > 0 or one.ci_high < 0) != (one.p_value <= 0.05) for one in tests.values()
        ]
    found = {
        name: {kind: float(np.mean(values)) for kind, values in one.items()}
        for name, one in hits.items()
    }
    return found | {"df": freedom, "contradictions": {"share": float(np.mean(contradictions))}}


EDGE_METRICS = ("accuracy", "mcc", "recall_2", "f1_2", "auroc", "auroc_macro", "auprc_macro")
EDGE_TITLES = (
    "accuracy",
    "MCC",
    "recall, smallest class",
    "F1, smallest class",
    "AUROC (micro)",
    "AUROC (macro)",
    "AUPRC (macro)",
)


def edge(scenario: Scenario, size: Size) -> list[float]:
    """Coverage of the default interval of each metric close to 1, where it has one."""
    y, ids, wanted = scenario.y, scenario.ids, list(EDGE_METRICS)
    strata = bootstrap.label_strata(ids, y)
    rng = np.random.default_rng(derive(SEED, "resamples", scenario.name))
    weights = bootstrap.patient_weights(ids, strata, size.resamples, rng)
    df, true = bootstrap.degrees_of_freedom(ids, strata), truth(scenario, wanted, EDGE_SIGNAL, 400)
    low_end = [metrics.lookup(name, ["0", "1", "2"]).metric.low for name in wanted]
    hits = []
    for number in range(size.edge):
        rng = np.random.default_rng(derive(SEED, "edge", scenario.name, number))
        sample = metrics.Sample(y, trained(rng, scenario, (EDGE_SIGNAL,))[0])
        value = metrics.compute_many(wanted, sample)[0]
        drawn = metrics.compute_many(wanted, sample, weights)
        low, high = bootstrap.transformed_interval(drawn, value, low_end, [1] * len(wanted), df)
        hits.append(np.where(np.isnan(low), np.nan, (low <= true) & (true <= high)))
    return np.nanmean(hits, axis=0).tolist()


def claims_of_families(
    null: dict[str, dict], power: dict[str, dict], allowance: float, quick: bool
) -> list[str]:
    """Claims about the corrections that do not hold."""
    failures = [
        f"{name} has a family-wise error of {percent(found[name]['fwer'])}% ({scenario})"
        for scenario, found in {**null, "three losses better": power}.items()
        for name in (MAX_T, MAX_T_ENSEMBLES)
        if found[name]["fwer"] > 0.05 + allowance
    ]
    gain = power[MAX_T]["power"] / max(power[EVERYTHING]["power"], 1e-9)
    if gain < GAIN and not quick:
        failures.append(f"step-down max-T has {gain:.2f} times the power of Holm over everything")
    return failures


def claims_of_coverage(heavy: dict[str, dict], slack: float) -> list[str]:
    """Claims about intervals that do not hold."""
    failures = []
    for scenario, found in heavy.items():
        failures += [
            f"{kind} is covered in {percent(share)}% ({scenario})"
            for kind, share in found["effective"].items()
            if share < HEAVY_COVERAGE - slack
        ]
        if found["contradictions"]["share"]:
            failures.append(f"interval and p value contradict each other ({scenario})")
    return failures


def report(
    size: Size,
    null: dict[str, dict],
    power: dict[str, dict],
    heavy: dict[str, dict],
    edges: dict[str, list[float]],
    failures: list[str],
    quick: bool,
) -> str:
    """The Markdown page."""

    def error(share: float, count: int) -> str:
        return percent(np.sqrt(share * (1 - share) / count))

    gain = power[MAX_T]["power"] / max(power[EVERYTHING]["power"], 1e-9)
    df = next(iter(heavy.values()))["df"]
    lines = [
        "# Families of tests, and patients with many images",
        "",
        written_by(__file__, quick),
        "",
        "Simulated test sets have three classes; a model's score of a class is normal, raised for "
        f"the true class, and two models' scores are correlated ({SHARED}). Where patients have "
        "several images, a model's scores of two images of a patient have a correlation of 0.5 "
        f"beyond the class. {LOSSES} losses are tested against the baseline, and {ENSEMBLES} "
        "ensembles of these losses against a member. An ensemble lets one member, drawn by lot, "
        "decide on each image: it shares its members' errors and is exactly as good. All claims "
        "are of trained runs; that seeds differ is another question.",
        "",
        "## Power",
        "",
        f"{BETTER} of {LOSSES} losses are better (MCC 0.757 to 0.828), "
        f"{SCENARIOS[0].name}, {size.power} data sets, {size.permutations} permutations; percent. "
        "Power: chance that a better loss is found; error: of at least one false rejection. Monte "
        f"Carlo standard error of 5%: {error(0.05, size.power)}. Step-down max-T has {gain:.1f} "
        "times the power of Holm's correction over all tests that were once made.",
        "",
        *table(
            ["correction", "family-wise error", "power"],
            [
                [
                    name,
                    percent(power[name]["fwer"]),
                    "" if np.isnan(power[name]["power"]) else percent(power[name]["power"]),
                ]
                for name in CORRECTIONS
            ],
        ),
        "## Family-wise error when nothing differs",
        "",
        f"Percent of {size.null} data sets with at least one rejection at 5%, "
        f"{size.permutations // FEWER} permutations; Monte Carlo standard error of 5%: "
        f"{error(0.05, size.null)}. A sound correction has at most 5% plus twice that error.",
        "",
        *table(
            ["test set", *CORRECTIONS],
            [
                [name, *(percent(found[kind]["fwer"]) for kind in CORRECTIONS)]
                for name, found in null.items()
            ],
        ),
        "## One patient with many images",
        "",
        f"Percent of {size.coverage} data sets whose 95% intervals hold the true value; the two "
        "models' MCC is 0.76 (equal) or 0.76 and 0.83 (different). Monte Carlo standard error of "
        f"95%: {error(0.95, size.coverage)}. The paired bootstrap and the intervals of one model "
        f"have the degrees of freedom of patients ({df['patients']:.0f}) or, as the workflow has "
        f"them, of effective patients ({df['effective']:.1f}); the permutation's interval needs "
        "none. It left out 0 exactly where its test rejects, in all data sets.",
        "",
        *table(
            ["test set", "degrees of freedom", *INTERVALS],
            [
                [name, kind, *(percent(found[kind][interval]) for interval in INTERVALS)]
                for name, found in heavy.items()
                for kind in ("patients", "effective")
            ],
        ),
        "## Close to 1",
        "",
        f"Percent of {size.edge} data sets whose default 95% interval holds the true value, at "
        f"accuracy 0.99, where the interval is defined; Monte Carlo standard error of 95%: "
        f"{error(0.95, size.edge)}; scores within a patient are correlated by {EDGES[1].rho}. "
        "Metrics by rank are covered too seldom where the images of few patients hang together; "
        "metrics by counts are not. `tables/metrics.csv` marks the former from 0.98 on, below 100 "
        "patients of the class.",
        "",
        *table(
            ["test set", *EDGE_TITLES],
            [[name, *(percent(share) for share in shares)] for name, shares in edges.items()],
        ),
        "## Claims",
        "",
    ]
    lines += (
        [f"- does not hold: {failure}" for failure in failures]
        if failures
        else [
            "All hold: the family-wise error of step-down max-T is at most 5% plus two Monte Carlo "
            f"standard errors for losses and for ensembles in every test set; its power is at "
            f"least {GAIN} times that of Holm's correction over everything; with one patient who "
            f"has 30% of the images all intervals cover in at least {HEAVY_COVERAGE:.0%}; no "
            "interval contradicts the p value beside it."
        ]
    )
    return "\n".join(lines) + "\n"


def simulate_all(quick: bool) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    size = QUICK if quick else FULL
    power = families(SCENARIOS[0], size, BETTER, size.power)
    tell("%s: %s", "power", power)
    heavy = {}
    for scenario in HEAVY:
        for name, signals in (
            ("equal", (SIGNAL, SIGNAL)),
            ("different", (SIGNAL, BETTER_SIGNAL)),
        ):
            cell = f"{scenario.name}; {name}"
            heavy[cell] = coverage(scenario, size, signals)
            tell("%s: %s", cell, heavy[cell])
    edges = {}
    for scenario in EDGES:
        edges[scenario.name] = edge(scenario, size)
        tell("%s: %s", scenario.name, edges[scenario.name])
    null = {}
    for scenario in SCENARIOS:
        null[scenario.name] = families(scenario, size, 0, size.null)
        tell("%s: %s", scenario.name, null[scenario.name])
    errors = 3 if quick else 2
    allowance = errors * np.sqrt(0.05 * 0.95 / size.null)
    slack = 3 * np.sqrt(0.08 * 0.92 / size.coverage) if quick else 0.0
    failures = claims_of_families(null, power, allowance, quick)
    failures += claims_of_coverage(heavy, slack)
    return report(size, null, power, heavy, edges, failures, quick), failures


if __name__ == "__main__":
    main(__doc__, simulate_all)
