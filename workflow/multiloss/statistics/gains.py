"""Gains of ensembles over seeds: paired by replicate, members shared, patients crossed."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.statistics.crossed import (
    ENOUGH_SEEDS,
    FEW,
    UNKNOWN,
    Crossed,
    Part,
    combine,
    mean_square,
)

Array = npt.NDArray[np.float64]

ONE = "one replicate: the interval holds for the ensemble of this run alone"
ONE_RUN = "one replicate: the spread between runs is unknown; this run is tested in significance"


def _warned(found: Crossed, replicates: int) -> Crossed:
    if replicates < 2:
        reason = ONE_RUN if found.reason == UNKNOWN else found.reason
        return replace(found, warning=ONE, reason=reason)
    return replace(found, warning=FEW if replicates < ENOUGH_SEEDS else "")


def paired_gain(
    gains: npt.ArrayLike,
    drawn: npt.ArrayLike,
    df_patients: float,
    confidence: float = 0.95,
    inflation: float = 1.0,
) -> Crossed:
    """Mean over replicates of a difference of two models of one replicate.

    `gains` (R,): on all patients; `drawn` (B, R): in resamples of the patients. Pairing leaves in
    the differences only what the two do not share; replicates are independent of each other, so
    the variance is that of `crossed` with one mean square, R - 1 degrees of freedom.
    """
    values, boot = np.asarray(gains, float), np.asarray(drawn, float)
    count = len(values)
    parts = [Part(*mean_square(values, boot), 1 / count, count - 1)] if count > 1 else []
    means = boot.mean(axis=1)
    mean, patients = float(values.mean()), float(means.var(ddof=1))
    found = combine(mean, patients, parts, df_patients, confidence, len(means), inflation)
    return _warned(found, count)


def seed_sets(runs: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Sets of `size` neighbours of a ring of runs: each run is in as many sets as any other.

    All runs in one set where there are no more than that.
    """
    if len(runs) <= size:
        return [tuple(runs)]
    ring = [*runs, *runs]
    return [tuple(ring[start : start + size]) for start in range(len(runs))]


def sets_of_jackknife(
    runs: Sequence[int], size: int
) -> tuple[list[tuple[int, ...]], list[list[tuple[int, ...]]]]:
    """The sets of seeds to be averaged: with all runs, and with each run left out in turn."""
    return seed_sets(runs, size), [
        seed_sets([other for other in runs if other != run], size) for run in runs
    ]


def pseudo_values(whole: npt.ArrayLike, left_out: npt.ArrayLike) -> Array:
    """Jackknife pseudo-values T * whole - (T - 1) * left_out of T runs, (..., T).

    `whole` (...,): the statistic of all runs; `left_out` (..., T): without each. Their variance
    over T is the jackknife's of the statistic, which on average is not too small (Efron & Stein
    1981, doi:10.1214/aos/1176345462).
    """
    without = np.asarray(left_out, float)
    count = without.shape[-1]
    return count * np.asarray(whole, float)[..., None] - (count - 1) * without


def gain_over_average(
    ensembles: npt.ArrayLike,
    drawn_ensembles: npt.ArrayLike,
    average: float,
    drawn_average: npt.ArrayLike,
    pseudo: npt.ArrayLike,
    drawn_pseudo: npt.ArrayLike,
    shared: Sequence[tuple[int, int]],
    df_patients: float,
    confidence: float = 0.95,
    inflation: float = 1.0,
) -> Crossed:
    """Mean of ensembles over replicates minus one average of seeds that is common to all.

    `ensembles` (R,), drawn (B, R): the metric of each replicate's ensemble; `average`, drawn (B,):
    that of the averages of seeds; `pseudo` (T,), drawn (B, T): its `pseudo_values` over the T runs
    of the loss; `shared`: places (replicate, run) in both that were trained as one replicate.

    A run that both sides hold may be a member of its replicate's ensemble, so what it adds to the
    difference is taken as a whole, E_r - (R / T) h_r; the other replicates and runs add on their
    own. The seeds' variance is the sum over these groups; fewer than two shared are taken as not
    shared, which is careful since members in common make the two sides alike.
    """
    first, boot_first = np.asarray(ensembles, float), np.asarray(drawn_ensembles, float)
    second, boot_second = np.asarray(pseudo, float), np.asarray(drawn_pseudo, float)
    count, runs = len(first), len(second)
    pairs = list(shared) if len(shared) > 1 else []
    parts = []
    if count > 1 and runs > 1:
        if pairs:
            at, of = (list(side) for side in zip(*pairs, strict=True))
            joint = first[at] / count - second[of] / runs
            boot = boot_first[:, at] / count - boot_second[:, of] / runs
            parts.append(Part(*mean_square(joint, boot), len(pairs), len(pairs) - 1))
        alone, other = count - len(pairs), runs - len(pairs)
        if alone:
            parts.append(Part(*mean_square(first, boot_first), alone / count**2, count - 1))
        if other:
            parts.append(Part(*mean_square(second, boot_second), other / runs**2, runs - 1))
    drawn = boot_first.mean(axis=1) - np.asarray(drawn_average, float)
    difference, patients = float(first.mean() - average), float(drawn.var(ddof=1))
    found = combine(difference, patients, parts, df_patients, confidence, len(drawn), inflation)
    return _warned(found, count)


NONE = Crossed(nan, nan, nan, nan, nan, nan, "")
