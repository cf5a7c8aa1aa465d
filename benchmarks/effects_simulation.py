"""Is the stated power 80%, is equivalence rarely wrong, and are claims as often false as stated?

    python benchmarks/effects_simulation.py --out docs/effects-simulation.md
    python benchmarks/effects_simulation.py --quick --out /dev/stdout

Simulates studies whose truth is known, judges them by the functions that write
tables/verdicts.csv and tables/planning.csv, and writes the result as a Markdown page. Exits with 1
if a claim does not hold.
"""

import sys
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.job.seeds import derive
from multiloss.statistics import bootstrap, claims, effects, metrics, paired, planning
from multiloss.statistics.mcc import mcc_of_confusion
from simulation import SEED, main, percent, table, tell, written_by

Array = npt.NDArray[np.float64]

ALPHA = 0.05
FAMILY = 11
CLUSTER_SIZES, CLUSTER_SHARES = (1, 2, 3, 4, 6), (0.45, 0.25, 0.15, 0.10, 0.05)
CLASS_SHARES = np.array([0.375, 0.388, 0.237])  # of the test folder of the public pneumonia set
SHARED = 0.6  # correlation of two models' scores beyond the class
WITHIN = 0.5  # and of a model's scores of two images of a patient
SIGNAL = 2.0  # the better model's, an MCC of about 0.79


@dataclass(frozen=True)
class Size:
    """How much is simulated: studies drawn from distributions, and from whole predictions."""

    drawn: int
    predicted: int
    claimed: int
    resamples: int
    permutations: int


FULL = Size(drawn=40_000, predicted=2000, claimed=6000, resamples=400, permutations=2200)
QUICK = Size(drawn=4000, predicted=60, claimed=300, resamples=200, permutations=2200)


def rng_of(*keys: str | int) -> np.random.Generator:
    return np.random.default_rng(derive(SEED, *keys))


# ---- studies drawn from the distributions of difference and error ---------------------------
def estimated(
    rng: np.random.Generator, truth: float, se: float, df: float, studies: int
) -> tuple[Array, Array]:
    """Differences around the truth, and standard errors that are estimated with `df`."""
    return rng.normal(truth, se, studies), se * np.sqrt(rng.chisquare(df, studies) / df)


def p_values(difference: Array, se: Array, df: npt.ArrayLike) -> Array:
    from scipy.special import stdtr

    return 2 * stdtr(df, -np.abs(difference) / se)


def power_of_t(df: float, level: float, studies: int) -> float:
    """How often a true difference of the detectable size is found."""
    se = 0.06
    truth = float(effects.detectable_difference(se, df, level))
    found = estimated(rng_of("power", str(df), str(level)), truth, se, df, studies)
    return float((p_values(*found, df) <= level).mean())


def equivalence_of_t(df: float, ratio: float, studies: int) -> float:
    """How often models that differ by just the margin are called equivalent."""
    margin = 0.05
    difference, se = estimated(
        rng_of("equivalence", str(df), str(ratio)), margin, margin / ratio, df, studies
    )
    p_value = effects.equivalence_p_value(difference, se, df, margin)
    told = [
        effects.verdict(d, bool(r), p, ALPHA)
        for d, r, p in zip(difference, p_values(difference, se, df) <= ALPHA, p_value, strict=True)
    ]
    return float(np.mean([name == effects.EQUIVALENT for name in told]))


def power_of_plan(seeds: int, truth: float, studies: int) -> tuple[float, float]:
    """Patients that are planned, and how often a study of so many finds the difference."""
    of_patients, of_seeds, losses = 0.5, 0.03**2, FAMILY + 1
    level = ALPHA / FAMILY
    n = planning.patients_needed(truth, seeds, of_patients, of_seeds, losses, level)
    if np.isnan(n):
        return n, n
    rng = rng_of("plan", seeds, str(truth))
    df_seeds = losses * (seeds - 1)
    difference = rng.normal(truth, sqrt(of_patients / n + 2 * of_seeds / seeds), studies)
    patients = of_patients / n * rng.chisquare(n - 1, studies) / (n - 1)
    parts = 2 * of_seeds / seeds * rng.chisquare(df_seeds, studies) / df_seeds
    df = (patients + parts) ** 2 / (patients**2 / (n - 1) + parts**2 / df_seeds)
    return n, float((p_values(difference, np.sqrt(patients + parts), df) <= level).mean())


# ---- studies of whole predictions -----------------------------------------------------------
class World:
    """Test sets of `n` images, with several images for some patients."""

    def __init__(self, n: int, resamples: int) -> None:
        rng = rng_of("patients", n)
        sizes = np.round(CLASS_SHARES * n).astype(int)
        sizes[-1] = n - sizes[:-1].sum()
        self.y = np.repeat(np.arange(3), sizes)
        self.patients = np.concatenate(
            [k * n + np.sort(_divided(rng, size)) for k, size in enumerate(sizes)]
        )
        self.patients = bootstrap.patient_codes(self.patients)[0]
        strata = bootstrap.label_strata(self.patients, self.y)
        self.weights = bootstrap.patient_weights(self.patients, strata, resamples, rng)
        self.df = self.patients.max() + 1 - len(set(strata.tolist()))

    def _noise(self, rng: np.random.Generator) -> Array:
        together = rng.standard_normal((self.patients.max() + 1, 3))[self.patients]
        return sqrt(WITHIN) * together + sqrt(1 - WITHIN) * rng.standard_normal((len(self.y), 3))

    def predicted(self, rng: np.random.Generator, signals: tuple[float, float]) -> list[Array]:
        """Predicted classes of two models whose scores are alike beyond the class."""
        shared = self._noise(rng)
        return [
            (
                signal * np.eye(3)[self.y]
                + sqrt(SHARED) * shared
                + sqrt(1 - SHARED) * self._noise(rng)
            ).argmax(axis=1)
            for signal in signals
        ]

    def compared(
        self, rng: np.random.Generator, signals: tuple[float, float], permutations: int
    ) -> tuple[paired.Result, float]:
        """The bootstrap's difference, and the p of the permutation test."""
        a, b = self.predicted(rng, signals)
        values = [
            metrics.compute_many(["mcc"], metrics.Sample(self.y, np.eye(3)[p]), w)[:, 0]
            for p in (a, b)
            for w in (None, self.weights)
        ]
        estimate = float(values[0][0] - values[2][0])
        tested = paired.bootstrap_test(values[1] - values[3], estimate, self.df, "auto")
        permuted = (
            paired.permutation_test(self.y, a, b, self.patients, 3, permutations, rng, ("mcc",))[
                "mcc"
            ].p_value
            if permutations
            else np.nan
        )
        return tested, permuted


def _divided(rng: np.random.Generator, images: int) -> npt.NDArray[np.intp]:
    """The patient of each of so many images."""
    sizes: list[int] = []
    while (left := images - sum(sizes)) > 0:
        sizes.append(min(left, int(rng.choice(CLUSTER_SIZES, p=CLUSTER_SHARES))))
    return np.repeat(np.arange(len(sizes)), sizes)


def true_mcc(signal: float) -> float:
    """The MCC of a model on very many images."""
    rng = rng_of("truth")
    y = rng.choice(3, 1_000_000, p=CLASS_SHARES)
    predicted = (signal * np.eye(3)[y] + rng.standard_normal((len(y), 3))).argmax(axis=1)
    return float(mcc_of_confusion(np.bincount(3 * y + predicted, minlength=9).reshape(3, 3)))


def error_of(test: paired.Result) -> float:
    """The standard error behind a result."""
    return abs(test.difference / test.statistic) if test.statistic else np.nan


def worse_signal(world: World, level: float) -> tuple[float, float]:
    """The signal of a model that is worse by what studies of this size call detectable."""
    signal = SIGNAL - 0.3
    for turn in range(4):
        rng = rng_of("detectable", len(world.y), turn)
        errors = [error_of(world.compared(rng, (SIGNAL, signal), 0)[0]) for _ in range(100)]
        target = float(
            effects.detectable_difference(sqrt(np.mean(np.square(errors))), world.df, level)
        )
        signal = _signal_of(true_mcc(SIGNAL) - target)
    return signal, target


def _signal_of(mcc: float) -> float:
    """The signal of that MCC, to 0.001."""
    low, high = 0.0, 4.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if true_mcc(middle) < mcc else (low, middle)
    return (low + high) / 2


def power_of_predictions(n: int, level: float, size: Size) -> dict[str, float]:
    world = World(n, size.resamples)
    signal, target = worse_signal(world, level)
    tests, permuted, stated = [], [], []
    for number in range(size.predicted):
        rng = rng_of("predicted", n, number)
        tested, p_value = world.compared(rng, (SIGNAL, signal), size.permutations)
        tests.append(tested.p_value <= level)
        permuted.append(p_value <= level)
        stated.append(effects.detectable_difference(error_of(tested), world.df, level))
    return {
        "patients": float(world.patients.max() + 1),
        "difference": target,
        "stated": float(np.nanmedian(stated)),
        "low": float(np.nanquantile(stated, 0.05)),
        "high": float(np.nanquantile(stated, 0.95)),
        "t": float(np.mean(tests)),
        "permutation": float(np.mean(permuted)),
    }


def equivalence_of_predictions(n: int, signal: float, size: Size) -> tuple[float, float]:
    """The margin, and how often models that differ by it are called equivalent."""
    world = World(n, size.resamples)
    margin = true_mcc(SIGNAL) - true_mcc(signal)
    wrong = []
    for number in range(size.predicted):
        tested, _ = world.compared(rng_of("equivalent", n, number), (SIGNAL, signal), 0)
        p_value = float(
            effects.equivalence_p_value(tested.difference, error_of(tested), world.df, margin)
        )
        told = effects.verdict(tested.difference, tested.p_value <= ALPHA, p_value, ALPHA)
        wrong.append(told == effects.EQUIVALENT)
    return margin, float(np.mean(wrong))


# ---- claims -------------------------------------------------------------------------------
BINS = ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5))
FLAT, CLOSE = "any difference alike (flat)", "models are alike"


def shares_of(truth: str, rng: np.random.Generator) -> Array:
    """True shares of (A alone right, B alone right, both, neither)."""
    # The second: 10% each on average, their difference with a standard deviation of 0.02.
    return rng.dirichlet(np.ones(4) if truth == FLAT else 500 * np.array([0.1, 0.1, 0.6, 0.2]))


def claimed(
    truth: str, n: int, alike: float, studies: int, draws: int
) -> dict[str, tuple[Array, npt.NDArray[np.bool_]]]:
    """Stated probabilities by method, and whether each claim was false.

    `alike`: chance that an image has the pattern of its patient and not one of its own.
    """
    stated: dict[str, list[float]] = {"published": [], "by patient": []}
    false = []
    for number in range(studies):
        rng = rng_of("claims", truth, n, str(alike), number)
        shares = shares_of(truth, rng)
        patients = _divided(rng, n) if alike else np.arange(n)
        of_patient = rng.choice(4, patients.max() + 1, p=shares)[patients]
        pattern = np.where(rng.random(n) < alike, of_patient, rng.choice(4, n, p=shares))
        only_a, only_b = int((pattern == 0).sum()), int((pattern == 1).sum())
        if only_a == only_b:
            continue
        if only_a < only_b:
            shares, pattern = shares[[1, 0, 2, 3]], np.array([1, 0, 2, 3])[pattern]
            only_a, only_b = only_b, only_a
        false.append(shares[0] <= shares[1])
        stated["published"].append(float(claims.false_claim(only_a, only_b)))
        # Two classes; wrong is the other one.
        y = rng.integers(0, 2, n)
        a = np.where(np.isin(pattern, (0, 2)), y, 1 - y)
        b = np.where(np.isin(pattern, (1, 2)), y, 1 - y)
        stated["by patient"].append(
            claims.false_claim_by_patient(y, a, b, patients, 2, draws, rng, "accuracy")
        )
    wrong = np.array(false)
    return {name: (np.array(values), wrong) for name, values in stated.items()}


# ---- the page -----------------------------------------------------------------------------
def error(share: float, count: int) -> float:
    return sqrt(max(share * (1 - share), 0.0) / max(count, 1))


def simulate(size: Size) -> tuple[list[str], list[str]]:
    """The parts of the page, and the claims that do not hold."""
    lines: list[str] = []
    failures: list[str] = []

    def log(what: str) -> None:
        tell("%s", what)

    def power_holds(power: float, count: int, what: str) -> None:
        slack = 2 * error(0.8, count)
        if not 0.78 - slack <= power <= 0.82 + slack:
            failures.append(f"power is {percent(power)}% where 80% is stated ({what})")

    levels = {"alpha": ALPHA, f"alpha / {FAMILY}": ALPHA / FAMILY}
    rows = []
    for df in (2, 4, 12, 80, 400):
        cells = [power_of_t(df, level, size.drawn) for level in levels.values()]
        for name, cell in zip(levels, cells, strict=True):
            power_holds(cell, size.drawn, f"{df} degrees of freedom, {name}")
        rows.append([str(df), *map(percent, cells)])
    lines += [
        "## A difference of the detectable size is found in 80%",
        "",
        f"Percent of {size.drawn:,} studies whose difference is normal around the detectable one "
        "and whose standard error is estimated with the stated degrees of freedom. Few degrees of "
        "freedom are those of two or three seeds.",
        "",
        *table(["degrees of freedom", *levels], rows),
    ]
    log("power of t")

    rows = []
    for n in (110, 624):
        for name, level in levels.items():
            found = power_of_predictions(n, level, size)
            power_holds(found["t"], size.predicted, f"{n} images, bootstrap t, {name}")
            if found["permutation"] < 0.75 - 2 * error(0.75, size.predicted):
                shown = percent(found["permutation"])
                failures.append(f"the permutation test's power is {shown}% ({n} images, {name})")
            rows.append(
                [
                    f"{n} ({found['patients']:.0f})",
                    name,
                    f"{found['difference']:.3f}",
                    f"{found['stated']:.3f} ({found['low']:.3f} to {found['high']:.3f})",
                    percent(found["t"]),
                    percent(found["permutation"]),
                ]
            )
            log(f"power, {n} images, {name}: {found}")
    lines += [
        "The same with whole predictions of two networks: MCC on a test split in three classes, "
        f"patients of 1 to 6 images. Percent of {size.predicted} test splits, Monte Carlo standard "
        f"error {percent(error(0.8, size.predicted))}. What a single study states varies (median, "
        "5th and 95th percentile), since its standard error is estimated. The detectable "
        "difference is that of the t test; the permutation test, by which networks are compared, "
        "is shown beside it.",
        "",
        *table(
            ["images (patients)", "level", "true difference", "stated as detectable",
             "found by bootstrap t", "found by permutation"],
            rows,
        ),
    ]  # fmt: skip

    rows = []
    for truth in (0.1, 0.15, 0.2):
        cells = []
        for seeds in (2, 3, 5, 10):
            n, power = power_of_plan(seeds, truth, size.drawn)
            if not np.isnan(n):
                power_holds(power, size.drawn, f"planned, {seeds} seeds, {truth:g}")
            cells.append("not reached" if np.isnan(n) else f"{n:,.0f}: {percent(power)}")
        rows.append([f"{truth:g}", *cells])
    lines += [
        "## A planned study finds its difference in 80%",
        "",
        "Patients that are planned for a true difference of two losses' means, and how often "
        f"{size.drawn:,} such studies find it at alpha / {FAMILY}: seeds with a standard deviation "
        f"of 0.03, pooled over {FAMILY + 1} losses.",
        "",
        *table(["true difference", *(f"{seeds} seeds" for seeds in (2, 3, 5, 10))], rows),
    ]
    log("plans")

    rows, ratios = [], (1, 2, 4, 10)
    for df in (4, 12, 80):
        cells = [equivalence_of_t(df, ratio, size.drawn) for ratio in ratios]
        for ratio, cell in zip(ratios, cells, strict=True):
            # The largest of twelve whose true size is close to 5%.
            if cell > ALPHA + 3 * error(ALPHA, size.drawn):
                failures.append(f"equivalence is wrong in {percent(cell)}% ({df} df, {ratio})")
        rows.append([str(df), *map(percent, cells)])
    lines += [
        "## Equivalence is wrong in at most 5%",
        "",
        f"Percent of {size.drawn:,} studies that call two models equivalent whose true difference "
        "is just the margin, by the margin in standard errors. Where the error is not much smaller "
        "than the margin, nearly no study says it.",
        "",
        *table(["degrees of freedom", *(f"margin / error {ratio}" for ratio in ratios)], rows),
    ]
    rows = []
    for n, signal in ((624, 1.8), (2500, 1.9)):
        margin, wrong = equivalence_of_predictions(n, signal, size)
        if wrong > ALPHA + 2 * error(ALPHA, size.predicted):
            failures.append(f"equivalence is wrong in {percent(wrong)}% ({n} images)")
        rows.append([str(n), f"{margin:.3f}", percent(wrong)])
        log(f"equivalence, {n} images: {wrong}")
    lines += [
        f"With whole predictions, {size.predicted} test splits, Monte Carlo standard error "
        f"{percent(error(ALPHA, size.predicted))}:",
        "",
        *table(["images", "margin and true difference of MCC", "called equivalent"], rows),
    ]

    scenarios = (
        ("one image a patient", FLAT, 110, 0.0),
        ("several images, half alike", FLAT, 110, 0.5),
        ("several images, all alike", FLAT, 110, 1.0),
        ("several images, all alike", FLAT, 624, 1.0),
        ("one image a patient", CLOSE, 110, 0.0),
        ("several images, all alike", CLOSE, 110, 1.0),
    )
    rows = []
    for name, truth, n, alike in scenarios:
        found = claimed(truth, n, alike, size.claimed, size.resamples)
        for method, (stated, wrong) in found.items():
            cells = [percent(stated.mean()), percent(wrong.mean())]
            for low, high in BINS:
                inside = (stated >= low) & (stated < high)
                share = wrong[inside].mean() if inside.any() else np.nan
                cells.append(f"{percent(share)} of {inside.sum()}")
            rows.append([name, truth, str(n), method, *cells])
            gap = stated.mean() - wrong.mean()
            slack = 0.01 + 2 * error(float(wrong.mean()), len(wrong))
            sound = method == "by patient" or not alike
            if truth == FLAT and sound and abs(gap) > slack:
                failures.append(
                    f"claims are false in {percent(wrong.mean())}% where {percent(stated.mean())}% "
                    f"is stated ({name}, {n} images, {method})"
                )
            if truth == FLAT and alike == 1 and method == "published" and gap > -0.01:
                failures.append(f"the published formula is not too sure of itself ({name}, {n})")
        log(f"claims: {name}, {truth}, {n}")
    lines += [
        "## Claims are as often false as stated",
        "",
        f"{size.claimed} studies of two models a row (those with no difference left out). Truth is "
        "drawn first: flat, every pattern of right and wrong alike, as the formula assumes; or two "
        "models that are nearly alike (each alone right in 10%, their true difference with a "
        "standard deviation of 0.02). Mean of the stated probability that the claim of the higher "
        "accuracy is false, share of claims that are false, and that share where so much is "
        "stated. Images of a patient: in half of them, or in all, the models are right and wrong "
        "alike.",
        "",
        *table(
            ["patients", "truth", "images", "formula", "stated", "false",
             *(f"false where {low:g} to {high:g} is stated" for low, high in BINS)],
            rows,
        ),
    ]  # fmt: skip
    return lines, failures


HOLDS = (
    "All hold: a difference of the detectable size is found in 78% to 82%, two Monte Carlo "
    "standard errors allowed, from two to hundreds of degrees of freedom, for networks by their "
    "predictions and for planned studies of seeds and patients; the permutation test, which is "
    "more cautious, finds it in at least 75%; models that differ by the margin are called "
    "equivalent in at most 5% plus two such errors (three for the largest of twelve cells); under "
    "the flat truth that they assume, claims are as often false as stated by the formula for one "
    "image a patient and by the one for whole patients, to a percentage point and two such errors; "
    "the published formula states too little where the images of a patient are alike."
)


def report(lines: list[str], failures: list[str], quick: bool) -> str:
    """The Markdown page."""
    top = [
        "# Could it have been seen, and is the claim true?",
        "",
        written_by(__file__, quick),
        "",
    ]
    end = [
        "## Claims",
        "",
        *([f"- does not hold: {failure}" for failure in failures] or [HOLDS]),
        "",
        "What they do not say: the probability of a false claim depends on what is taken for true "
        "beforehand. Where models are truly alike, as losses of one family are, claims are false "
        "more often than any of these formulas state; the corrected test is the safer guide.",
    ]
    return "\n".join([*top, *lines, *end]) + "\n"


def simulate_all(quick: bool) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    lines, failures = simulate(QUICK if quick else FULL)
    return report(lines, failures, quick), failures


if __name__ == "__main__":
    main(__doc__, simulate_all)
