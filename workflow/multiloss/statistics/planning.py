"""How many patients and seeds a study takes: to find a difference, or for a narrow interval."""

from math import ceil, inf, nan, sqrt

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes
from multiloss.statistics.effects import POWER, detectable_difference

# Beyond this no test set of images will go.
MOST_PATIENTS = 1_000_000


def comparison_error(
    patients: float,
    seeds: int,
    patient_variance: float,
    seed_variance: float,
    losses: int,
    interaction: float = 0.0,
) -> tuple[float, float]:
    """Standard error and degrees of freedom of the difference of two losses' means over seeds.

    se^2 = c / P + 2 s^2 / R for P patients and R seeds of each loss, with c the variance that the
    patients give (of one patient) and s^2 that between seeds, pooled over L losses; degrees of
    freedom by Satterthwaite's formula from P - 1 and L (R - 1), where what is known so well is not
    s^2 but the runs' mean square, s^2 + `interaction` / P; at least 1. With one seed the spread
    between seeds is taken as known from elsewhere.
    """
    of_patients, of_seeds = patient_variance / patients, 2 * seed_variance / seeds
    known = losses * (seeds - 1) if seeds > 1 else inf
    total = of_patients + of_seeds
    measured = 2 * (seed_variance + interaction / patients) / seeds
    spread = of_patients**2 / (patients - 1) + measured**2 / known
    return sqrt(total), max(1.0, total**2 / spread) if spread > 0 else inf


def patients_needed(
    difference: float,
    seeds: int,
    patient_variance: float,
    seed_variance: float,
    losses: int = 2,
    alpha: float = 0.05,
    power: float = POWER,
    interaction: float = 0.0,
) -> float:
    """Patients with whom a true difference of two losses is found with that power.

    See `comparison_error` and `effects.detectable_difference`. NaN where no number up to
    MOST_PATIENTS will do, as the seeds alone differ too much.
    """

    def found(patients: int) -> bool:
        error = comparison_error(
            patients, seeds, patient_variance, seed_variance, losses, interaction
        )
        return bool(detectable_difference(*error, alpha, power) <= difference)

    low, high = 2, MOST_PATIENTS
    if np.isnan(patient_variance) or np.isnan(seed_variance) or not found(high):
        return nan
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle + 1, high)
    return float(low)


def images_for_proportion(
    proportion: float, half_width: float, share: float = 1.0, confidence: float = 0.95
) -> float:
    """Independent images for an interval of a proportion with that half width.

    z^2 p (1 - p) / (h^2 share), where only a share of the images counts, as those of a class for
    its sensitivity (Riley et al. 2021, doi:10.1002/sim.9025; Buderer 1996). NaN at 0 and 1, where
    the formula would ask for none, and for a class without images.
    """
    if not 0 < proportion < 1 or not share > 0:
        return nan
    return float(ceil(_z(confidence) ** 2 * proportion * (1 - proportion) / half_width**2 / share))


def auroc_error(auroc: float, images: float, share: float) -> float:
    """Standard error of the AUROC of independent images, a share of which has the class.

    Hanley and McNeil's in Newcombe's form, as Riley et al. 2021 (doi:10.1002/sim.9025) have it:
    C (1 - C) [1 + (n/2 - 1) (1 - C) / (2 - C) + (n/2 - 1) C / (1 + C)] / (n^2 share (1 - share)).
    """
    half = images / 2 - 1
    inner = 1 + half * (1 - auroc) / (2 - auroc) + half * auroc / (1 + auroc)
    return sqrt(auroc * (1 - auroc) * inner / (images**2 * share * (1 - share)))


def images_for_auroc(
    auroc: float, half_width: float, share: float, confidence: float = 0.95
) -> float:
    """Independent images for an interval of the AUROC with that half width; NaN at 0 and 1."""
    if not 0 < auroc < 1 or not 0 < share < 1:
        return nan
    wanted = half_width / _z(confidence)
    low, high = 2, 4
    while auroc_error(auroc, high, share) > wanted:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        small = auroc_error(auroc, middle, share) <= wanted
        low, high = (low, middle) if small else (middle + 1, high)
    return float(low)


def design_effect(values: npt.ArrayLike, patients: npt.ArrayLike) -> float:
    """Variance of a mean of values (N,) that come in patients, over that of independent ones.

    Of the ratio of sums: P / (P - 1) sum (s_i - m_i mean)^2 over sum (x - mean)^2, with s_i and
    m_i the sum and number of a patient's values (Rao and Scott 1992, doi:10.2307/2532311). Not
    below 1: fewer images than patients are not promised. NaN with fewer than two patients or
    values that do not vary.
    """
    values = np.asarray(values, float)
    codes, count = patient_codes(patients)
    off = values - values.mean() if len(values) else values
    spread = float((off**2).sum())
    if count < 2 or spread <= 0:
        return nan
    sums = np.bincount(codes, off, minlength=count)
    return max(1.0, count / (count - 1) * float((sums**2).sum()) / spread)


def _z(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))
