"""What is the loss and what is the seed: trained runs and patients as crossed factors.

A difference of means over runs errs because other patients could have been tested and because
other seeds could have been drawn. With P the variance over patients (of the difference itself, in
resamples of the patients), s2 the mean square between the runs of one way of training, and I the
part of s2 that is only how each run's errors fall on these patients (already in P),

    V = P + max(0, s2 - I) (1/Ra + 1/Rb).

Degrees of freedom as Satterthwaite (1946, doi:10.2307/3002019) has them, each part with the mean
square that it was estimated from: V^2 / (P^2 / df_P + (s2 (1/Ra + 1/Rb))^2 / df_s2). s2 and I are
pooled over all ways of training that have two runs or more: two or three seeds of one loss say next
to nothing about their spread, those of a dozen losses together do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ENOUGH_SEEDS = 5
# The level at which unequal variances of the losses' seeds are believed, and then not pooled.
EQUAL_LEVEL = 0.05
FEW = f"fewer than {ENOUGH_SEEDS} runs: the spread between runs is poorly known"
ONE = "one run: the spread between runs is unknown, so the interval holds for these runs alone"
POOLED, OWN = "pooled", "own"
UNKNOWN = (
    "the spread between runs is unknown: nothing was trained twice, so no p value can speak of "
    "a loss"
)


def warning_of(runs: int) -> str:
    """What so few runs of a loss cannot tell; nothing for enough of them."""
    return ONE if runs < 2 else FEW if runs < ENOUGH_SEEDS else ""


@dataclass(frozen=True)
class Part:
    """One source of chance that seeds are: it adds max(0, mean_square - interaction) * share.

    `mean_square`: variance between runs, on `df` degrees of freedom; `interaction`: what of it is
    in the resamples of the patients; `share`: 1/R for the mean of R runs.
    """

    mean_square: float
    interaction: float
    share: float
    df: float


@dataclass(frozen=True)
class Crossed:
    """A difference of means over seeds, first minus second, and where its error comes from.

    The interval is for new seeds and new patients together; where seeds are unknown it is for
    these runs and new patients, `p_value` is NaN and `reason` says so. `method`: whether the
    variance between seeds is that of all losses (`pooled`) or of the two alone (`own`).
    """

    difference: float
    se_seed: float
    se_patient: float
    ci_low: float
    ci_high: float
    p_value: float
    warning: str
    se: float = nan
    df: float = nan
    method: str = ""
    reason: str = ""


def mean_square(values: npt.ArrayLike, drawn: npt.ArrayLike) -> tuple[float, float]:
    """Variance between runs (R,), and the part of it that is chance of the patients.

    The second from resamples `drawn` (B, R) of the patients: the mean over runs of the variance of
    a run's distance from the mean of all, times R / (R - 1). NaN for one run.
    """
    values, drawn = np.asarray(values, float), np.asarray(drawn, float)
    runs = len(values)
    if runs < 2:
        return nan, nan
    own = drawn - drawn.mean(axis=1, keepdims=True)
    return float(values.var(ddof=1)), float(own.var(axis=0, ddof=1).mean()) * runs / (runs - 1)


@dataclass(frozen=True)
class SeedVariance:
    """What runs of one way of training differ by, pooled over several ways.

    `variance`: mean square between runs; `interaction`: what of it is chance of the patients;
    `df`: degrees of freedom, 0 where nothing was trained twice (the others are then NaN);
    `equal_p`: p value of Bartlett's test of equal variances, NaN with its `reason` where fewer than
    two ways of training have two runs; `variants`: how many are pooled.
    """

    variance: float
    interaction: float
    df: int
    equal_p: float
    variants: int
    reason: str = ""

    @property
    def sd(self) -> float:
        return sqrt(self.variance)

    @property
    def pooled(self) -> bool:
        """Whether nothing speaks against one variance for all."""
        return not self.equal_p < EQUAL_LEVEL


def seed_variance(
    values: Mapping[Any, npt.ArrayLike], drawn: Mapping[Any, npt.ArrayLike]
) -> SeedVariance:
    """Pool the variance between seeds over ways of training.

    `values`: by way of training, the metric of its runs (R,), any number; `drawn`: the same in B
    resamples of the patients common to all, (B, R). Those with one run, with an undefined run, or
    whose runs are the same in every resample (a loss that always says one class) tell nothing and
    are left out.

    Equality is tested by Bartlett's test, which keeps its level (2 to 5%) for 2, 3 and 5 normal
    runs of 12 losses. That of Levene or Brown and Forsythe has no use here: with two runs each
    distance from the median is the same and it always rejects; with three or five it rejects in
    under 1% whatever the truth. With few runs any test misses moderate differences.
    """
    squares, interactions, degrees = [], [], []
    for name, own in values.items():
        runs = np.asarray(own, float)
        if len(runs) < 2 or np.isnan(runs).any():
            continue
        square, interaction = mean_square(runs, drawn[name])
        if max(square, interaction) <= 1e-24:
            continue
        squares.append(square)
        interactions.append(interaction)
        degrees.append(len(runs) - 1)
    if not degrees:
        return SeedVariance(nan, nan, 0, nan, 0, UNKNOWN)
    equal_p = bartlett_p(squares, degrees)
    reason = "it takes two losses with two runs to test for equal variances"
    return SeedVariance(
        float(np.average(squares, weights=degrees)),
        float(np.average(interactions, weights=degrees)),
        int(sum(degrees)),
        equal_p,
        len(degrees),
        reason if np.isnan(equal_p) else "",
    )


def bartlett_p(variances: npt.ArrayLike, degrees: npt.ArrayLike) -> float:
    """p value of Bartlett's test (1937, doi:10.1098/rspa.1937.0109) that k variances are equal.

    `variances`, `degrees` (k,): of each, and on how many degrees of freedom. From the variances
    themselves, which `scipy.stats.bartlett` does not take. Variances of 0 have no logarithm (runs
    that tie by luck) and are left out; NaN for fewer than two others.
    """
    from scipy.special import chdtrc

    found, df = np.asarray(variances, float), np.asarray(degrees, float)
    found, df = found[found > 1e-24], df[found > 1e-24]
    if len(found) < 2:
        return nan
    ratio = df.sum() * np.log(np.average(found, weights=df)) - (df * np.log(found)).sum()
    correction = 1 + ((1 / df).sum() - 1 / df.sum()) / (3 * (len(found) - 1))
    return float(chdtrc(len(found) - 1, ratio / correction))


def combine(
    difference: float,
    patients: float,
    parts: Sequence[Part],
    df_patients: float,
    confidence: float = 0.95,
    resamples: float = inf,
    inflation: float = 1.0,
) -> Crossed:
    """Student's t for a difference with the variance `patients` and the parts of its seeds.

    Without parts, seeds are unknown: no p value. A mean square on few degrees of freedom may be
    small by luck, and then looks the surer for it: on two degrees or fewer it counts in the
    degrees of freedom with at least the interaction that it contains, and one that rests on two
    runs alone leaves one degree. `resamples`: how many the variance of the patients comes from;
    `inflation`: N / (N - strata) of N patients, by which resampling within strata makes it too
    small.
    """
    from scipy.special import stdtr, stdtrit

    patients *= inflation
    surplus = sum(part.share * (part.mean_square - inflation * part.interaction) for part in parts)
    seeds = max(0.0, surplus)
    total = patients + seeds
    found = Crossed(
        difference,
        sqrt(seeds) if parts else nan,
        sqrt(patients),
        nan,
        nan,
        nan,
        "",
        sqrt(total),
        reason="" if parts else UNKNOWN,
    )
    if total <= 1e-24 or df_patients < 1:
        if abs(difference) < 1e-12 and total <= 1e-24:
            p_value = 1.0 if parts else nan
            return replace(found, ci_low=0.0, ci_high=0.0, p_value=p_value)
        why = "the same in every resample" if total <= 1e-24 else "too few patients to resample"
        return replace(found, reason=why)
    # The resamples are finitely many, too.
    spread = patients**2 * (1 / df_patients + 1 / (resamples - 1))
    for part in parts:
        square = part.mean_square
        if part.df <= 2:
            square = max(square, inflation * part.interaction)
        spread += (part.share * square) ** 2 / part.df
    # What is subtracted from a mean square can leave a fraction of a degree, whose quantiles are
    # without end; one degree is as careful as two runs alone.
    df = max(total**2 / spread, 1.0)
    if any(part.df < 2 for part in parts):
        df = min(df, 1.0)
    margin = float(stdtrit(df, (1 + confidence) / 2)) * sqrt(total)
    return replace(
        found,
        ci_low=difference - margin,
        ci_high=difference + margin,
        p_value=float(2 * stdtr(df, -abs(difference) / sqrt(total))) if parts else nan,
        df=df,
    )


def crossed_comparison(
    values_a: npt.ArrayLike,
    values_b: npt.ArrayLike,
    drawn_a: npt.ArrayLike,
    drawn_b: npt.ArrayLike,
    df_patients: float,
    confidence: float = 0.95,
    seeds: SeedVariance | None = None,
    method: str = "auto",
    inflation: float = 1.0,
) -> Crossed:
    """Compare two losses over seeds (random) and patients (random, the same for both).

    `values` (runs,): the metric of each run on all patients, any number on either side; `drawn`
    (B, runs): in resamples of the patients, common to all; `df_patients`: degrees of freedom of
    those. `seeds`: `seed_variance` of all losses of the study; without it, of these two.
    `method`: `pooled` uses that; `own` adds the two losses' own variances with their own degrees
    of freedom, and has no p value where either has one run; `auto` is `pooled` unless the test of
    equal variances rejects at EQUAL_LEVEL. `inflation`: as in `combine`.
    """
    runs = [np.asarray(values, float) for values in (values_a, values_b)]
    boots = [np.asarray(drawn, float) for drawn in (drawn_a, drawn_b)]
    if seeds is None:
        seeds = seed_variance(dict(enumerate(runs)), dict(enumerate(boots)))
    if method == "auto":
        method = POOLED if seeds.pooled else OWN
    counts = [len(own) for own in runs]
    fewest, parts, reason = min(counts), [], ""
    if method == POOLED:
        share = sum(1 / count for count in counts)
        if seeds.df:
            parts = [Part(seeds.variance, seeds.interaction, share, seeds.df)]
    elif fewest < 2:
        reason = (
            "the losses' runs vary by unequal amounts, so those of others cannot stand in for "
            "the runs of a loss that has one"
        )
    else:
        parts = [
            Part(*mean_square(own, drawn), 1 / count, count - 1)
            for own, drawn, count in zip(runs, boots, counts, strict=True)
        ]
    means = boots[0].mean(axis=1) - boots[1].mean(axis=1)
    found = combine(
        float(runs[0].mean() - runs[1].mean()),
        float(means.var(ddof=1)),
        parts,
        df_patients,
        confidence,
        len(means),
        inflation,
    )
    warning = ""
    if not parts:
        warning = ONE
    elif fewest < ENOUGH_SEEDS:
        warning = FEW if method == OWN else _few_but_pooled(seeds)
    # What is known for sure (no difference in any resample) needs no seeds.
    identical = found.ci_low == found.ci_high == 0
    if identical:
        found = replace(found, p_value=1.0, reason="")
    elif reason:
        found = replace(found, reason=reason)
    return replace(found, warning=warning, method=method if parts else "")


def _few_but_pooled(seeds: SeedVariance) -> str:
    variants = f"{seeds.variants} losses together" if seeds.variants > 1 else "one loss"
    return (
        f"fewer than {ENOUGH_SEEDS} runs: the spread between runs is that of {variants}, "
        f"{seeds.df} degree{'' if seeds.df == 1 else 's'} of freedom"
    )


def correlation(
    means: npt.ArrayLike,
    counts: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    seeds: SeedVariance,
) -> Array:
    """Correlation (M, M) of M differences of means that share losses, patients and seeds.

    `means` (B, L): mean over runs of each of L losses in resamples of the patients; `counts` (L,):
    how many runs; `pairs`: the two losses of each difference.
    """
    contrasts = np.zeros((len(pairs), len(counts)))
    for row, (a, b) in enumerate(pairs):
        contrasts[row, a] += 1
        contrasts[row, b] -= 1
    variance = max(0.0, seeds.variance - seeds.interaction) if seeds.df else 0.0
    between = np.cov(np.asarray(means, float), rowvar=False).reshape(len(counts), -1)
    covariance = contrasts @ (between + np.diag(variance / np.asarray(counts))) @ contrasts.T
    sd = np.sqrt(np.diag(covariance))
    scale = np.where(sd > 0, sd, 1.0)
    result = covariance / np.outer(scale, scale)
    np.fill_diagonal(result, 1.0)
    return np.clip(result, -1, 1)


def step_down(
    p_values: npt.ArrayLike,
    df: npt.ArrayLike,
    correlations: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 20_000,
) -> Array:
    """p values (M,) of correlated t tests adjusted by step-down max-T; NaN stays NaN.

    Westfall and Young (1993) step down with the maximum of the statistics that are left, as
    Dunnett (1955, doi:10.1080/01621459.1955.10501294) has for comparisons with one control: t
    statistics with the given correlations, whose denominators have the fewest degrees of freedom of
    `df` (M,) and are taken as independent, which is careful: they share the seeds' variance. Each
    p value is looked up at its own `df` first, so tests with different degrees of freedom are put
    on one scale. Never above Holm's p nor below the unadjusted one; from `draws` random draws.
    """
    from scipy.special import stdtrit

    p_values, df = np.asarray(p_values, float), np.asarray(df, float)
    adjusted = np.full(len(p_values), nan)
    known = np.flatnonzero(~np.isnan(p_values))
    if not len(known):
        return adjusted
    order = known[np.argsort(p_values[known], kind="stable")]
    matrix = np.asarray(correlations, float)[np.ix_(order, order)]
    # Estimated from finitely many resamples, so perhaps not quite positive definite.
    roots, vectors = np.linalg.eigh(matrix)
    half = vectors * np.sqrt(np.maximum(roots, 0.0))
    # More degrees than this are as good as infinitely many.
    fewest = float(np.nanmin(np.append(df[order], 1e6)))
    normal = np.abs(rng.standard_normal((draws, len(order))) @ half.T)
    normal /= np.maximum(np.sqrt(np.diag(matrix)), 1e-12)
    normal /= np.sqrt(rng.chisquare(fewest, normal.shape) / fewest)
    # The largest of this one and all with a larger p value.
    largest = np.maximum.accumulate(normal[:, ::-1], axis=1)[:, ::-1]
    bound = -stdtrit(fewest, p_values[order] / 2)
    share = (1 + (largest >= bound).sum(axis=0)) / (draws + 1)
    holm = np.maximum.accumulate(np.arange(len(order), 0, -1) * p_values[order])
    found = np.clip(np.maximum.accumulate(share), p_values[order], np.minimum(holm, 1.0))
    adjusted[order] = np.maximum.accumulate(found)
    return adjusted


@dataclass(frozen=True)
class Spread:
    """Standard deviation between seeds (pooled over losses) and between the losses' means.

    `means_sd` is the plain one of the means; `loss_sd` is corrected for what the seeds alone make
    the means differ by, and NaN where no loss has two runs to know that from; `ratio` is seed
    over loss: above 1, a single run says more about its seed than about its loss.
    """

    seed_sd: float
    loss_sd: float
    ratio: float
    means_sd: float


def spread(values: Mapping[str, npt.ArrayLike]) -> Spread:
    """Split the spread of one metric's runs (by loss) into seed and loss."""
    runs = [np.asarray(v, float) for v in values.values()]
    within = [(len(v) - 1, v.var(ddof=1)) for v in runs if len(v) > 1]
    df_within = sum(df for df, _ in within)
    seed = sum(df * var for df, var in within) / df_within if df_within else nan
    between = np.var([v.mean() for v in runs], ddof=1) if len(runs) > 1 else nan
    # NaN where a part is unknown: maximum passes it on.
    noise = seed * float(np.mean([1 / len(v) for v in runs]))
    loss_sd = float(np.sqrt(np.maximum(between - noise, 0.0)))
    seed_sd = float(np.sqrt(seed))
    ratio = np.inf if loss_sd == 0 and seed_sd > 0 else seed_sd / loss_sd if loss_sd else nan
    return Spread(seed_sd, loss_sd, float(ratio), float(np.sqrt(between)))


def sd_interval(sd: float, df: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a normal standard deviation on `df` degrees of freedom; NaN without any."""
    from scipy.special import chdtri

    if not df > 0 or np.isnan(sd):
        return nan, nan
    tail = (1 - confidence) / 2
    return sd * sqrt(df / chdtri(df, tail)), sd * sqrt(df / chdtri(df, 1 - tail))


def prediction(
    runs: npt.ArrayLike, others: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float, float, float]:
    """Where the mean of m further runs would lie, and whether `others` (m,) could be these.

    mean +- t s sqrt(1/m + 1/k) from k `runs`, k - 1 degrees of freedom; then t of the mean of
    `others`, and its p value. NaN for fewer than two runs, or no others.
    """
    from scipy.special import stdtr, stdtrit

    first, second = np.asarray(runs, float), np.asarray(others, float)
    count = len(first)
    if count < 2 or not len(second):
        return nan, nan, nan, nan
    se = float(first.std(ddof=1)) * sqrt(1 / len(second) + 1 / count)
    middle, margin = float(first.mean()), float(stdtrit(count - 1, (1 + confidence) / 2)) * se
    statistic = (float(second.mean()) - middle) / se if se else nan
    return middle - margin, middle + margin, statistic, float(2 * stdtr(count - 1, -abs(statistic)))


def f_of_means(
    values: Mapping[Any, npt.ArrayLike], seeds: SeedVariance
) -> tuple[float, float, float]:
    """F test of whether losses differ by more than seeds make them: F, its first df, p value.

    The one-way analysis of variance: sum of R_l (mean_l - mean)^2 / (L - 1) over the variance
    between seeds, which losses with one run take from the others. Second df: those of `seeds`.
    NaN for one loss, or where nothing was trained twice.
    """
    from scipy.special import fdtrc

    runs = [np.asarray(own, float) for own in values.values()]
    if len(runs) < 2 or not seeds.df or not seeds.variance > 0:
        return nan, nan, nan
    counts = np.array([len(own) for own in runs])
    means = np.array([own.mean() for own in runs])
    between = counts @ (means - np.average(means, weights=counts)) ** 2 / (len(runs) - 1)
    statistic = float(between / seeds.variance)
    return statistic, len(runs) - 1.0, float(fdtrc(len(runs) - 1, seeds.df, statistic))
