"""Calibration errors in bins: what perfect calibration would show, and without their bias.

The expected calibration error (ECE) of a perfectly calibrated model is not 0 in a finite sample: it
is about the noise of a bin. `expected_errors` gives what it would be; `debiased_error` is an error
whose expectation is 0 then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes

Array = npt.NDArray[np.float64]

CHUNK_ELEMENTS = 2**18
TOO_FEW = "no bin with images of two patients"


def bins_of(score: npt.ArrayLike, bins: int) -> npt.NDArray[np.intp]:
    """The equal-mass bin (N,) of each score, 0 the lowest; equal scores share a bin.

    Counted from the highest down, as the metrics of `statistics.metrics` do, so that halves fall
    alike.
    """
    falling = -np.asarray(score, dtype=np.float64)
    order = np.sort(falling)
    middle = (
        np.searchsorted(order, falling, "left") + np.searchsorted(order, falling, "right")
    ) / 2
    place = np.minimum((middle * (bins / len(falling))).astype(int), bins - 1)
    return bins - 1 - place


@dataclass(frozen=True)
class Expected:
    """Errors of labels drawn from the model's own probabilities, each (draws,)."""

    ece: Array
    classwise_ece: Array
    brier_reliability: Array


def expected_errors(
    p: npt.ArrayLike, bins: int, draws: int, rng: np.random.Generator | Array
) -> Expected:
    """What the binned calibration errors would be if probabilities (N, K) were perfect.

    Labels are drawn from `p` itself, image by image (Broecker & Smith 2007,
    doi:10.1175/WAF993.1; Vaicenavicius et al. 2019, arXiv:1902.06977), in the bins of the metrics.
    Images of a patient are drawn independently of each other: where their errors go together, the
    range of such errors is a little wider than this. `rng`: what draws the labels, or the uniform
    numbers (draws, N) that it gave, which serve for many models.
    """
    p = np.asarray(p, dtype=np.float64)
    n, size = p.shape
    upper, top = p.cumsum(axis=1)[:, :-1], p.argmax(axis=1)
    # The last group is the predicted class.
    scores = [*p.T, p.max(axis=1)]
    # Single precision counts fewer than 2^24 images exactly.
    member = np.zeros((size + 1, n, bins), dtype=np.float32)
    for held, score in zip(member, scores, strict=True):
        held[np.arange(n), bins_of(score, bins)] = 1.0
    right = [member[-1] * (top == k)[:, None] for k in range(size)]
    sums = np.stack([score @ held for score, held in zip(scores, member, strict=True)])
    masses = np.maximum(member[:-1].sum(axis=1), 1.0)
    # The hits of all groups if every label were the first class, and by how much a label beyond
    # class k moves those of this class, of the next one and of the predicted class.
    first = np.zeros((size + 1, bins), dtype=np.float32)
    first[0], first[-1] = member[0].sum(axis=0), right[0].sum(axis=0)
    moves = [
        np.concatenate([-member[k], member[k + 1], right[k + 1] - right[k]], axis=1)
        for k in range(size - 1)
    ]
    errors, squares = np.empty((size + 1, draws)), np.empty((size, draws))
    step = max(1, CHUNK_ELEMENTS // n)
    for start in range(0, draws, step):
        part = slice(start, min(start + step, draws))
        uniform = rng[part] if isinstance(rng, np.ndarray) else rng.random((part.stop - start, n))
        beyond = np.empty(uniform.shape, dtype=np.float32)
        hits = np.tile(first, (len(uniform), 1, 1))
        for k in range(size - 1):
            np.greater_equal(uniform, upper[:, k], out=beyond)
            hits[:, [k, k + 1, size]] += (beyond @ moves[k]).reshape(-1, 3, bins)
        gap = hits - sums
        errors[:, part] = np.abs(gap).sum(axis=2).T / n
        squares[:, part] = (gap[:, :-1] ** 2 / masses).sum(axis=2).T / n
    return Expected(errors[-1], errors[:-1].mean(axis=0), squares.sum(axis=0))


@dataclass(frozen=True)
class Debiased:
    """A squared calibration error without bias, and its interval; NaN with a reason.

    `square` may lie below 0, as an unbiased estimate of 0 must now and then; `low` and `high` are
    not below 0.
    """

    square: float
    low: float
    high: float
    reason: str = ""

    @property
    def root(self) -> float:
        """Root of the squared error, 0 where that is below 0: on the scale of probabilities."""
        return float(np.sqrt(max(self.square, 0.0))) if self.square == self.square else nan


def debiased_error(
    scores: Sequence[Array],
    outcomes: Sequence[Array],
    patients: npt.ArrayLike,
    bins: int,
    confidence: float = 0.95,
) -> Debiased:
    """Mean square over bins of (frequency - mean probability), without the bias of small bins.

    `scores` and `outcomes`: (N,) for each of M groups, such as the classes against the rest, over
    which the mean goes. With d = outcome - score, a bin's square is the mean of d_i d_j over pairs
    of images of *different patients*, whose expectation is the square of the bin's true mean: for
    one image a patient and one score a bin the debiased estimate of Kumar et al. (2019,
    arXiv:1909.10155), see also Ferro & Fricker (2012, doi:10.1002/qj.1924). Bins without such a
    pair are left out.

    Interval: the sum of squares is taken for a multiple of a noncentral chi-square with the mean
    and the variance that patients as clusters give (Satterthwaite), and its noncentrality is
    inverted, so that the lower end is 0 where the data agree with no error at all.
    """
    from scipy.optimize import brentq
    from scipy.special import chndtr

    codes, count = patient_codes(patients)
    square, used, columns = 0.0, 0.0, []
    for score, outcome in zip(scores, outcomes, strict=True):
        gap = np.asarray(outcome, dtype=np.float64) - np.asarray(score, dtype=np.float64)
        place = bins_of(score, bins)
        shape = (count, bins)
        cell = codes * bins + place
        sums = np.bincount(cell, gap, minlength=count * bins).reshape(shape)
        images = np.bincount(cell, minlength=count * bins).reshape(shape)
        mass = images.sum(axis=0).astype(np.float64)
        pairs = mass**2 - (images**2).sum(axis=0)
        whole = pairs > 0
        if not whole.any():
            continue
        sums, images, mass, pairs = sums[:, whole], images[:, whole], mass[whole], pairs[whole]
        products = sums.sum(axis=0) ** 2 - (sums**2).sum(axis=0)
        square += float((mass * products / pairs).sum())
        used += float(mass.sum())
        centred = sums - images * (sums.sum(axis=0) / mass)
        columns.append(centred / np.sqrt(mass))
    if not used:
        return Debiased(nan, nan, nan, TOO_FEW)
    square /= used
    parts = np.concatenate(columns, axis=1) / np.sqrt(used)
    # The smaller of the two products has the same trace and sum of squares.
    product = parts.T @ parts if parts.shape[1] < count else parts @ parts.T
    product *= count / (count - 1)
    spread, spread_of_squares = float(np.trace(product)), float((product**2).sum())
    if spread < max(1e-24, 1e-9 * square):
        # Also where rounding is all that differs: the interval would be the value.
        return Debiased(square, nan, nan, "all images of a bin agree: no interval")
    scale, df = spread_of_squares / spread, spread**2 / spread_of_squares
    observed = max((square + spread) / scale, 1e-12)
    ends = []
    for level in ((1 + confidence) / 2, (1 - confidence) / 2):
        if chndtr(observed, df, 1e-9) <= level:
            ends.append(0.0)
            continue
        most = 2 * observed + 100
        root = brentq(lambda nc, level=level: chndtr(observed, df, nc) - level, 1e-9, most)
        ends.append(scale * root)
    return Debiased(square, *ends)
