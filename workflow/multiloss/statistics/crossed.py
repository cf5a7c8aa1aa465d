"""What is the loss and what is the seed: trained runs and patients as crossed factors."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ENOUGH_SEEDS = 5
FEW = f"fewer than {ENOUGH_SEEDS} seeds: the spread between seeds is poorly known"
ONE = "one seed: the spread between seeds is unknown, so the interval holds for these runs alone"


@dataclass(frozen=True)
class Crossed:
    """Difference of two losses' means over seeds, first minus second, and where its error
    comes from; the interval is for new seeds and new patients together."""

    difference: float
    se_seed: float
    se_patient: float
    ci_low: float
    ci_high: float
    p_value: float
    warning: str


def warning_of(runs: int) -> str:
    """What so few runs of a loss cannot tell; nothing for enough of them."""
    return ONE if runs < 2 else FEW if runs < ENOUGH_SEEDS else ""


def _seed_parts(values: Array, drawn: Array) -> tuple[float, float]:
    """Variance of a loss's mean due to its seeds, and degrees of freedom.

    Runs differ by seed, and by how each seed's errors fall on these patients. The second part
    is already in the patients' resamples of the mean, so it is taken off here.
    """
    runs = len(values)
    if runs < 2:
        return 0.0, 0.0
    own = drawn - drawn.mean(axis=1, keepdims=True)
    interaction = float(own.var(axis=0, ddof=1).mean()) * runs / (runs - 1)
    return max(0.0, (float(values.var(ddof=1)) - interaction) / runs), runs - 1.0


def crossed_comparison(
    values_a: npt.ArrayLike,
    values_b: npt.ArrayLike,
    drawn_a: npt.ArrayLike,
    drawn_b: npt.ArrayLike,
    df_patients: float,
    confidence: float = 0.95,
) -> Crossed:
    """Compare two losses over seeds (random) and patients (random, the same for both).

    `values` (runs,): the metric of each run on all patients; `drawn` (R, runs): in resamples
    of the patients, common to all. With s^2 the variance between runs, the error of the mean
    difference is split into that of the patients (variance of the resampled mean difference)
    and that of the seeds ((s^2 - interaction of seed and patient) / runs for each loss, not
    below 0, the interaction estimated from the resamples). Student's t with Satterthwaite's
    degrees of freedom; `df_patients` are those of the patients.
    """
    from scipy.stats import t

    a, b = np.asarray(values_a, float), np.asarray(values_b, float)
    boot_a, boot_b = np.asarray(drawn_a, float), np.asarray(drawn_b, float)
    difference = float(a.mean() - b.mean())
    fewest = min(len(a), len(b))
    warning = warning_of(fewest)
    patients = float((boot_a.mean(axis=1) - boot_b.mean(axis=1)).var(ddof=1))
    parts = [_seed_parts(a, boot_a), _seed_parts(b, boot_b)]
    seeds = sum(part for part, _ in parts)
    total = patients + seeds
    se_seed = float(np.sqrt(seeds)) if fewest > 1 else nan
    if total <= 1e-24 or df_patients < 1:
        same = abs(difference) < 1e-12
        ends, p_value = ((0.0, 0.0), 1.0) if same else ((nan, nan), nan)
        return Crossed(difference, se_seed, np.sqrt(patients), *ends, p_value, warning)
    spread = patients**2 / df_patients + sum(part**2 / own for part, own in parts if own)
    df = total**2 / spread
    margin = float(t.ppf((1 + confidence) / 2, df)) * np.sqrt(total)
    return Crossed(
        difference,
        se_seed,
        float(np.sqrt(patients)),
        difference - margin,
        difference + margin,
        float(2 * t.sf(abs(difference) / np.sqrt(total), df)),
        warning,
    )


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
