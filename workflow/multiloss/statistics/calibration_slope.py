"""Logistic recalibration: calibration slopes and intercepts, with errors that respect patients.

Labels are regressed on the logarithms of the predicted probabilities, with one slope for all
classes and an intercept for each,

    P(y = k) = exp(a_k + b log p_k) / sum_j exp(a_j + b log p_j),

the multinomial recalibration of Van Hoorde et al. (2014, doi:10.1002/sim.6114) with a common slope.
b = 1 and equal a_k are what perfect calibration gives. b < 1 means probabilities that are too
extreme (overconfident); where the intercepts are 0, 1 / b is the temperature that would mend them.
With two classes it is logistic recalibration (Cox 1958; Van Calster et al. 2019,
doi:10.1186/s12916-019-1466-7), which also serves for one class against the rest.

Probabilities below 1e-12 count as 1e-12. Classes without an image have no part in the fit, which is
the limit that the likelihood goes to. Where no finite slope exists the value is NaN with a reason.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

SMALLEST = 1e-12
# Slopes outside [1 / MOST, MOST] are not told from those of separated classes.
MOST = 20.0
CHUNK_ELEMENTS = 2**18
# Log odds beyond this count as this, so that their exponentials are finite.
MOST_LOG = 700.0
NEWTON_STEPS, HALVINGS = 60, 30

ONE_CLASS = "all images are of one class"
ABSENT = "no image of the class"
CONSTANT = "the probabilities are the same for all images"
SEPARATED = "the probabilities separate the classes: no finite slope"
FLAT = f"the slope is below 1/{MOST:g}: the probabilities hardly go with the labels"
ONE_PATIENT = "one patient: no standard error"


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error over patients; NaN where there is none, with the reason."""

    value: float
    error: float
    reason: str = ""


def normalised(scores: Array) -> Array:
    """Scores (..., K) less the logarithm of the sum of their exponentials."""
    top, rest = _logarithms(np.moveaxis(scores, -1, 0))
    return scores - top[..., None] - rest[..., None]


def _logarithms(scores: Iterable[Array]) -> tuple[Array, Array]:
    """The largest of K scores, each an array, and the logarithm of the sum of the exponentials of
    what they are less that: quicker class by class than along a last axis of few."""
    scores = list(scores)
    top = functools.reduce(np.maximum, scores)
    return top, np.log(functools.reduce(np.add, (np.exp(one - top) for one in scores)))


def solve(matrices: Array, vectors: Array) -> Array:
    """Solutions (..., Q) of symmetric systems, with a ridge that only singular ones notice."""
    ridge = 1e-12 * np.trace(matrices, axis1=-2, axis2=-1) + 1e-300
    steady = matrices + ridge[..., None, None] * np.eye(matrices.shape[-1])
    return np.linalg.solve(steady, vectors[..., None])[..., 0]


@dataclass(frozen=True)
class Fit:
    """Maximum of the likelihood of P(y_i = k) proportional to exp(offset_ik + x_ik theta).

    `x` (N, K, Q), `y` (N,) in [0, K), `theta` (Q,), `log_p` (N, K); `decrement`: by how much one
    more step of Newton's would still raise twice the log likelihood.
    """

    x: Array
    y: Indices
    theta: Array
    log_p: Array
    decrement: float

    @cached_property
    def _weighted(self) -> list[Array]:
        """The design of each class, (N, Q), times its probability: class by class, since `einsum`
        is slow over few."""
        p = np.exp(self.log_p)
        return [p[:, k, None] * self.x[:, k] for k in range(p.shape[1])]

    @cached_property
    def _mean(self) -> Array:
        return functools.reduce(np.add, self._weighted)

    @cached_property
    def scores(self) -> Array:
        """Each image's part of the gradient, (N, Q)."""
        return self.x[np.arange(len(self.y)), self.y] - self._mean

    @cached_property
    def information(self) -> Array:
        """Each image's part of the information, (N, Q, Q)."""
        squares = functools.reduce(
            np.add,
            (own[:, :, None] * self.x[:, k, None, :] for k, own in enumerate(self._weighted)),
        )
        return squares - self._mean[:, :, None] * self._mean[:, None, :]

    def covariance(self, patients: npt.ArrayLike) -> Array:
        """Covariance (Q, Q) of theta by the jackknife over patients, NaN for one patient.

        What leaving out a patient does is taken from one step of Newton's. It errs less in small
        samples than the sandwich, which is its limit: docs/calibration-simulation.md.
        """
        codes, count = patient_codes(patients)
        q = len(self.theta)
        if count < 2:
            return np.full((q, q), nan)
        scores, information = np.zeros((count, q)), np.zeros((count, q, q))
        np.add.at(scores, codes, self.scores)
        np.add.at(information, codes, self.information)
        moved = solve(information.sum(axis=0) - information, scores)
        moved -= moved.mean(axis=0)
        return (count - 1) / count * moved.T @ moved

    def resampled(self, weights: Array) -> Array:
        """theta under weightings (R, N) of the images, (R, Q), by one step of Newton's.

        The one-step bootstrap (Schucany & Wang 1991): as good as fits to the end, since it starts
        at a root of the sample's own equations.
        """
        count, q = len(weights), len(self.theta)
        gradient = weights @ self.scores
        information = weights @ self.information.reshape(-1, q * q)
        return self.theta + solve(information.reshape(count, q, q), gradient)

    @property
    def vague(self) -> bool:
        """Whether the likelihood has no maximum at a finite first parameter, the slope."""
        unit = np.eye(len(self.theta))[0]
        variance = solve(self.information.sum(axis=0), unit)[0]
        slope = abs(self.theta[0])
        sure = variance < (10 * max(slope, 1.0)) ** 2
        return not sure or slope > MOST or self.decrement > 1e-6


def maximise(x: Array, y: Indices, offset: Array | float = 0.0) -> Fit:
    """Newton's method from theta = 0; `x` (N, K, Q), `y` (N,) in [0, K), `offset` (N, K).

    The log likelihood is concave, and steps are halved until it does not fall, so that it
    converges wherever there is a maximum. Without a maximum it ends far out: see `Fit.vague`.
    """
    images = np.arange(len(y))

    def at(theta: Array, decrement: float = np.inf) -> tuple[Fit, float]:
        log_p = normalised(x @ theta + offset)
        return Fit(x, y, theta, log_p, decrement), float(log_p[images, y].sum())

    fit, height = at(np.zeros(x.shape[2]))
    for _ in range(NEWTON_STEPS):
        gradient = fit.scores.sum(axis=0)
        step = solve(fit.information.sum(axis=0), gradient)
        decrement = float(gradient @ step)
        size = 1.0
        for _ in range(HALVINGS):
            moved, reached = at(fit.theta + size * step, decrement)
            if reached >= height - 1e-9:
                break
            size /= 2
        fit, height = moved, reached
        if decrement < 1e-12:
            break
    return fit


@dataclass(frozen=True)
class _Problem:
    """What a recalibration needs: log probabilities of the classes that have images."""

    log_p: Array  # (N, K), of those classes, less their mean over the classes
    y: Indices  # (N,), counted among them
    classes: Indices

    @classmethod
    def of(cls, y: npt.ArrayLike, p: npt.ArrayLike) -> "_Problem":
        classes, own = np.unique(np.asarray(y), return_inverse=True)
        log_p = np.log(np.maximum(np.asarray(p, dtype=np.float64), SMALLEST))[:, classes]
        return cls(log_p - log_p.mean(axis=1, keepdims=True), own, classes)

    @property
    def intercepts(self) -> Array:
        """Their part of the design, (N, K, K - 1): the first class is the reference."""
        n, k = self.log_p.shape
        return np.broadcast_to(np.eye(k)[:, 1:], (n, k, k - 1))

    def slope(self) -> tuple[Fit | None, str]:
        """The fit with the common slope first and then the intercepts, or why there is none."""
        if len(self.classes) < 2:
            return None, ONE_CLASS
        if np.ptp(self.log_p, axis=0).max() < 1e-9:
            return None, CONSTANT
        fit = maximise(np.concatenate([self.log_p[:, :, None], self.intercepts], axis=2), self.y)
        return (None, SEPARATED) if fit.vague else (fit, "")


# With the reason where there is none.
Fitted = tuple[Fit | None, str]


def _patients(patients: npt.ArrayLike | None, y: npt.ArrayLike) -> npt.NDArray:
    return np.arange(len(np.asarray(y))) if patients is None else np.asarray(patients)


def _estimate(value: float, variance: float) -> Estimate:
    return Estimate(
        float(value), float(np.sqrt(variance)), ONE_PATIENT if np.isnan(variance) else ""
    )


def fitted_slope(y: npt.ArrayLike, p: npt.ArrayLike) -> Fitted:
    """The recalibration behind `calibration_slope` and `recalibrated`, for callers of both."""
    return _Problem.of(y, p).slope()


def calibration_slope(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    fitted: Fitted | None = None,
) -> Estimate:
    """The slope b that all classes have in common: below 1 overconfident, above 1 too timid.

    `y` (N,) class indices, `p` (N, K) probabilities, `patients` (N,), each image alone if None;
    `fitted`: as from `fitted_slope`, where it is known.
    """
    fit, reason = fitted or fitted_slope(y, p)
    if fit is None:
        return Estimate(nan, nan, reason)
    return _estimate(fit.theta[0], fit.covariance(_patients(patients, y))[0, 0])


def calibration_intercepts(
    y: npt.ArrayLike, p: npt.ArrayLike, patients: npt.ArrayLike | None = None
) -> list[Estimate]:
    """The intercepts a_k with the slope held at 1, one for each class: calibration in the large.

    Against the first class that has images, whose own is 0 by definition (so is its error).
    Above 0: the class is more frequent, against that one, than the probabilities say. NaN for a
    class without images. Arguments as for `calibration_slope`.
    """
    found = [Estimate(nan, nan, ABSENT)] * np.asarray(p).shape[1]
    problem = _Problem.of(y, p)
    if len(problem.classes) < 2:
        return [Estimate(nan, nan, ONE_CLASS)] * len(found)
    fit = maximise(problem.intercepts, problem.y, problem.log_p)
    variances = np.diag(fit.covariance(_patients(patients, y)))
    found[problem.classes[0]] = Estimate(0.0, 0.0)
    for place, k in enumerate(problem.classes[1:]):
        found[k] = _estimate(fit.theta[place], variances[place])
    return found


def against_the_rest(p: npt.ArrayLike, k: int) -> Array:
    """Probabilities (N, 2) of not being and of being of class `k`, from those of K classes."""
    p = np.asarray(p, dtype=np.float64)
    return np.stack([np.delete(p, k, axis=1).sum(axis=1), p[:, k]], axis=1)


@dataclass(frozen=True)
class Resampled:
    """What recalibration gives under R weightings of the images, each (R,).

    `slope` is held within [1 / MOST, MOST]; `miscalibration` is the log loss less that of the
    recalibrated probabilities, in nats, never below 0.
    """

    slope: Array
    miscalibration: Array

    @property
    def distance(self) -> Array:
        """|log slope|: 0 for a slope of 1, the same for a slope of 2 and of 1/2."""
        return np.abs(np.log(self.slope))

    @property
    def root(self) -> Array:
        """Root of the miscalibration, on whose scale it is as far from 0 as the slope from 1."""
        return np.sqrt(self.miscalibration)


def recalibrated(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    fitted: Fitted | None = None,
) -> tuple[Resampled, str]:
    """Slope and miscalibration part of the log loss under weightings (R, N), and what is wrong.

    With unit weights if None. The miscalibration part is the log loss of `p` less that of its
    recalibration with one slope and an intercept a class, fitted under the same weights
    (by `Fit.resampled`). For calibrated models it is about chi-squared with K degrees of freedom
    / (2 N) *whatever their sharpness*, so that its expectation cancels in a difference of two
    models, which that of the ECE does not. All NaN, with a reason, where the images as they are
    give no slope of at least 1 / MOST. `fitted`: as from `fitted_slope`, where it is known.
    """
    y, p = np.asarray(y), np.asarray(p, dtype=np.float64)
    rows = np.ones((1, len(y))) if weights is None else np.asarray(weights, dtype=np.float64)
    fit, reason = fitted or fitted_slope(y, p)
    if fit is not None and fit.theta[0] < 1 / MOST:
        fit, reason = None, FLAT
    if fit is None:
        return Resampled(np.full(len(rows), nan), np.full(len(rows), nan)), reason
    images = np.arange(len(y))
    before = normalised(np.log(np.maximum(p, SMALLEST)))[images, y]
    theta = fit.theta[None] if weights is None else fit.resampled(rows)
    theta = np.concatenate([np.clip(theta[:, :1], 1 / MOST, MOST), theta[:, 1:]], axis=1)
    after = np.empty(len(rows))
    n, k, _ = fit.x.shape
    # -log p of the true class is log(1 + sum of exp(score - own score) over the others).
    others = [fit.x[images, (fit.y + step) % k].T - fit.x[images, fit.y].T for step in range(1, k)]
    for start in range(0, len(rows), step := max(1, CHUNK_ELEMENTS // (n * k))):
        part = slice(start, start + step)
        total = np.ones((len(theta[part]), n))
        for other in others:
            odds = theta[part] @ other
            total += np.exp(np.minimum(odds, MOST_LOG, out=odds), out=odds)
        after[part] = -np.einsum("rn,rn->r", rows[part], np.log(total, out=total))
    parts = (after - rows @ before) / rows.sum(axis=1)
    return Resampled(theta[:, 0], np.maximum(parts, 0.0)), ""


def expected_miscalibration(n: int, classes: int, share: float = 0.95) -> tuple[float, float]:
    """Mean and quantile of the miscalibration part (nats) of calibrated models, N images.

    By Wilks' theorem, 2 N times it is chi-squared with as many degrees of freedom as classes that
    have images (a slope and the intercepts); for images that are independent given p.
    """
    from scipy.stats import chi2

    return classes / (2 * n), float(chi2.ppf(share, classes)) / (2 * n)


def mean_with_error(values: npt.ArrayLike, patients: npt.ArrayLike) -> Estimate:
    """Mean of values (N,) and its standard error with patients (N,) as clusters."""
    values = np.asarray(values, dtype=np.float64)
    codes, count = patient_codes(patients)
    middle = float(values.mean())
    if count < 2:
        return Estimate(middle, nan, ONE_PATIENT)
    sums = np.bincount(codes, values - middle)
    error = np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values)
    return Estimate(middle, float(error))
