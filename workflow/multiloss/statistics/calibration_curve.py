"""Smooth calibration curves: how often an event happens where it is given a probability."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multiloss.statistics.calibration_slope import (
    CONSTANT,
    ONE_PATIENT,
    SEPARATED,
    SMALLEST,
    maximise,
    solve,
)

Array = npt.NDArray[np.float64]

POINTS = 30
# Of a curve's ends: beyond these quantiles of the predictions, and these probabilities, it rests on
# single images, which lie far out on the scale of logits.
TAIL, FURTHEST = 0.01, 0.01
# Images of the rarer outcome that a curve asks for, and each parameter beyond the intercept.
FEWEST, EVENTS_PER_PARAMETER, MOST_PARAMETERS = 10, 15, 4
# Quantiles of the knots by their number (Harrell 2015, Regression Modeling Strategies, table 2.3).
KNOTS = {
    3: (0.1, 0.5, 0.9),
    4: (0.05, 0.35, 0.65, 0.95),
    5: (0.05, 0.275, 0.5, 0.725, 0.95),
}
TOO_FEW = f"fewer than {FEWEST} images with or without the event: no curve"


@dataclass(frozen=True)
class Curve:
    """A calibration curve at M predicted probabilities `p`, each field (M,), empty with a reason.

    `observed` with the pointwise band `low` to `high`; `expected_low` to `expected_high` is where
    the curve of a perfectly calibrated model would lie. `knots`: of its spline, 2 for a line.
    """

    p: Array
    observed: Array
    low: Array
    high: Array
    expected_low: Array
    expected_high: Array
    knots: int
    reason: str = ""


def _nothing(reason: str) -> Curve:
    return Curve(*[np.empty(0)] * 6, 0, reason)


def _logit(p: Array) -> Array:
    return np.log(np.maximum(p, SMALLEST)) - np.log(np.maximum(1 - p, SMALLEST))


def _expit(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


def natural_spline(x: npt.ArrayLike, knots: npt.ArrayLike) -> Array:
    """Basis (N, J) of natural cubic splines with J knots: 1, x, and J - 2 that bend between them.

    Restricted cubic splines in Harrell's form: linear beyond the outer knots, with continuous
    second derivatives. With two knots a straight line.
    """
    x, knots = np.asarray(x, dtype=np.float64), np.asarray(knots, dtype=np.float64)
    first, before, last = knots[0], knots[-2], knots[-1]

    def cube(knot: float) -> Array:
        return np.maximum(x - knot, 0.0) ** 3

    bends = [
        (
            cube(knot)
            - cube(before) * (last - knot) / (last - before)
            + cube(last) * (before - knot) / (last - before)
        )
        / (last - first) ** 2
        for knot in knots[:-2]
    ]
    return np.stack([np.ones_like(x), x, *bends], axis=1)


def calibration_curve(
    event: npt.ArrayLike, p: npt.ArrayLike, patients: npt.ArrayLike, confidence: float = 0.95
) -> Curve:
    """Frequency of an event by its predicted probability, smooth, with bands.

    `event` (N,) truth values, `p` (N,) probabilities. Logistic regression of the event on a
    natural cubic spline of logit p (Harrell 2015; Van Calster et al. 2019,
    doi:10.1186/s12916-019-1466-7): at most 5 knots, one parameter for each 15 images of the rarer
    outcome, a straight line in logit p where there are fewer than 30. The band is pointwise, on
    the logit scale, with patients as clusters. Perfect calibration is one of these curves (the
    line with slope 1), so that the range of what it would show comes from the information there;
    it takes images as independent given p.
    """
    from scipy.stats import norm

    event, p = np.asarray(event, dtype=bool), np.asarray(p, dtype=np.float64)
    rare = int(min(event.sum(), (~event).sum()))
    if rare < FEWEST:
        return _nothing(TOO_FEW)
    if len(set(np.asarray(patients).tolist())) < 2:
        return _nothing(ONE_PATIENT)
    x = _logit(p)
    if np.ptp(x) < 1e-9:
        return _nothing(CONSTANT)
    level = float(norm.ppf((1 + confidence) / 2))
    ends = np.quantile(p, [TAIL, 1 - TAIL])
    inner = np.clip(ends, FURTHEST, 1 - FURTHEST)
    grid = np.linspace(*(inner if inner[0] < inner[1] else ends), POINTS)
    wanted = min(max(rare // EVENTS_PER_PARAMETER, 1), MOST_PARAMETERS) + 1
    for number in range(wanted, 1, -1):
        knots = np.quantile(x, KNOTS[number]) if number > 2 else np.array([x.min(), x.max()])
        if np.diff(knots).min() < 1e-6:
            continue  # many equal predictions: fewer knots
        basis, at = natural_spline(x, knots), natural_spline(_logit(grid), knots)
        design = np.stack([np.zeros_like(basis), basis], axis=1)
        fit = maximise(design, event.astype(np.intp))
        spread = fit.covariance(patients)
        error = np.sqrt(np.maximum(((at @ spread) * at).sum(axis=1), 0.0))
        if fit.decrement > 1e-6 or not (error < 10).all():
            continue
        middle = at @ fit.theta
        information = (basis * (p * (1 - p))[:, None]).T @ basis
        null = np.sqrt(np.maximum((at * solve(information, at)).sum(axis=1), 0.0))
        return Curve(
            grid,
            _expit(middle),
            _expit(middle - level * error),
            _expit(middle + level * error),
            _expit(_logit(grid) - level * null),
            _expit(_logit(grid) + level * null),
            number,
        )
    return _nothing(SEPARATED)
