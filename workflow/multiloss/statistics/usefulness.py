"""What a model is worth to who acts on its probabilities: net benefit, predictive values, cost.

A class is called present where its probability reaches a threshold. Vickers & Elkin (2006,
doi:10.1177/0272989X06295361) weigh the false alarms of that against the cases found: who acts from
a probability of t on takes (1 - t) / t false alarms for one missed case.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# A value with its low and high end.
Interval = tuple[Array, Array, Array]

# Numbers held at a time while images are counted under many weightings.
CHUNK_ELEMENTS = 4_000_000
TIE = 1e-12


@dataclass(frozen=True)
class Decisions:
    """Images called present at G thresholds of O outcomes under R weightings, all (R, O, G).

    `true`, `false`: those with and without the outcome; `positives`, `negatives` (R, O, 1): all
    images with and without it. The rates are NaN where there are none.
    """

    true: Array
    false: Array
    positives: Array
    negatives: Array

    @property
    def sensitivity(self) -> Array:
        return _divide(self.true, self.positives)

    @property
    def specificity(self) -> Array:
        return 1 - _divide(self.false, self.negatives)

    @property
    def prevalence(self) -> Array:
        """Share of the images with the outcome, (R, O, 1)."""
        return _divide(self.positives, self.positives + self.negatives)


def decisions(
    positive: npt.ArrayLike,
    score: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> Decisions:
    """Who is called present: score >= threshold, counted under the weightings (R, N).

    `positive` (N, O) bool, `score` (N, O), `thresholds` (O, G) ascending. Unit weights, so R = 1,
    if None. Memory does not grow with N * R beyond the weights themselves.
    """
    from scipy.sparse import csr_matrix

    positive, score = np.asarray(positive, bool), np.asarray(score, float)
    thresholds = np.asarray(thresholds, float)
    n, outcomes = score.shape
    size = thresholds.shape[1] + 1
    # An image is counted once for each outcome: by the number of thresholds that it reaches.
    reached = np.stack(
        [np.searchsorted(thresholds[k], score[:, k], "right") for k in range(outcomes)], axis=1
    )
    cell = (2 * np.arange(outcomes) + positive) * size + reached
    width = 2 * outcomes * size
    shape = (n, width)
    image = np.arange(0, n * outcomes + 1, outcomes)
    places = csr_matrix((np.ones(n * outcomes), cell.ravel(), image), shape).T.tocsr()
    rows = np.ones((1, n)) if weights is None else np.asarray(weights)
    counted = np.empty((len(rows), width))
    step = max(1, CHUNK_ELEMENTS // max(n, width))
    for start in range(0, len(rows), step):
        part = np.asarray(rows[start : start + step], dtype=np.float64)
        counted[start : start + step] = (places @ part.T).T
    # From the highest threshold down, so that each holds all images at or above it.
    above = counted.reshape(len(rows), outcomes, 2, size)[..., ::-1].cumsum(axis=-1)[..., ::-1]
    without, with_it = above[:, :, 0], above[:, :, 1]
    return Decisions(with_it[..., 1:], without[..., 1:], with_it[..., :1], without[..., :1])


def net_benefit(
    sensitivity: npt.ArrayLike,
    specificity: npt.ArrayLike,
    threshold: npt.ArrayLike,
    prevalence: npt.ArrayLike,
) -> Array:
    """NB = q * sensitivity - (1 - q) * (1 - specificity) * t / (1 - t), q the prevalence.

    With the prevalence of the images themselves it is TP / n - FP / n * t / (1 - t). In units of
    cases found for each image, with no false alarm. All arguments broadcast; thresholds in [0, 1).
    """
    t, q = np.asarray(threshold, float), np.asarray(prevalence, float)
    found, alarms = np.asarray(sensitivity, float), 1 - np.asarray(specificity, float)
    return q * found - (1 - q) * alarms * t / (1 - t)


def treat_all(threshold: npt.ArrayLike, prevalence: npt.ArrayLike) -> Array:
    """Net benefit of calling every image positive; that of calling none is 0."""
    return net_benefit(1.0, 0.0, threshold, prevalence)


def predictive_values(
    sensitivity: npt.ArrayLike, specificity: npt.ArrayLike, prevalence: npt.ArrayLike
) -> tuple[Array, Array]:
    """Positive and negative predictive value at a prevalence q, by Bayes' theorem.

    q sens / (q sens + (1 - q) (1 - spec)) and (1 - q) spec / ((1 - q) spec + q (1 - sens)); NaN
    where no image is called positive, or none negative. All arguments broadcast.
    """
    q = np.asarray(prevalence, float)
    sensitivity, specificity = np.asarray(sensitivity, float), np.asarray(specificity, float)
    found, alarms = q * sensitivity, (1 - q) * (1 - specificity)
    spared, missed = (1 - q) * specificity, q * (1 - sensitivity)
    return _divide(found, found + alarms), _divide(spared, spared + missed)


def cost_threshold(ratio: npt.ArrayLike) -> Array:
    """The threshold 1 / (1 + r) above which acting is cheaper, where a missed case costs r alarms.

    Pauker & Kassirer (1975, doi:10.1056/NEJM197507312930501).
    """
    return 1 / (1 + np.asarray(ratio, float))


def expected_cost(
    sensitivity: npt.ArrayLike,
    specificity: npt.ArrayLike,
    prevalence: npt.ArrayLike,
    ratio: npt.ArrayLike,
) -> Array:
    """Cost of an image in false alarms: r q (1 - sens) + (1 - q) (1 - spec), q the prevalence.

    At the threshold of `cost_threshold` it is r (q - NB).
    """
    q, ratio = np.asarray(prevalence, float), np.asarray(ratio, float)
    missed, alarms = 1 - np.asarray(sensitivity, float), 1 - np.asarray(specificity, float)
    return ratio * q * missed + (1 - q) * alarms


@dataclass(frozen=True)
class Rates:
    """Sensitivity and specificity with what resampling patients tells of their chance, each (O, G).

    `size_of_*`: the number of independent images that they are worth (`effective_size`);
    `correlation`: of both over the resamples, near 0 where no patient has images of both kinds.
    """

    sensitivity: Array
    specificity: Array
    size_of_sensitivity: Array
    size_of_specificity: Array
    correlation: Array

    @classmethod
    def of(cls, once: Decisions, drawn: Decisions, patients: npt.ArrayLike) -> "Rates":
        """`once`: under unit weights; `drawn`: in the resamples; `patients` (O, 2): how many have
        images without and with each outcome."""
        counts = np.asarray(patients, float)
        found, spared = drawn.sensitivity, drawn.specificity
        return cls(
            once.sensitivity[0],
            once.specificity[0],
            effective_size(once.sensitivity[0], found, once.positives[0], counts[:, 1:]),
            effective_size(once.specificity[0], spared, once.negatives[0], counts[:, :1]),
            correlated(found, spared),
        )

    def limits(self, z: float | Array) -> tuple[Array, Array, Array, Array]:
        """Wilson's limits: of the sensitivity low, high, of the specificity low, high."""
        return (
            *wilson(self.sensitivity, self.size_of_sensitivity, z),
            *wilson(self.specificity, self.size_of_specificity, z),
        )


def effective_size(
    rate: npt.ArrayLike, resampled: npt.ArrayLike, images: npt.ArrayLike, patients: npt.ArrayLike
) -> Array:
    """How many independent images the variance of a rate is worth, (O, G).

    rate (1 - rate) / variance over the resamples (R, O, G), at most the number of images; that of
    patients where the rate is 0 or 1, since resampling cannot vary it then.
    """
    rate, drawn = np.asarray(rate, float), np.asarray(resampled, float)
    images, patients = np.asarray(images, float), np.asarray(patients, float)
    # Resampling n patients has (n - 1) / n of their variance.
    variance = drawn.var(axis=0) * patients / np.maximum(patients - 1, 1)
    varies = variance > TIE
    size = np.divide(rate * (1 - rate), variance, out=np.zeros(rate.shape), where=varies)
    return np.where(varies, np.minimum(size, images), np.broadcast_to(patients, rate.shape))


def wilson(rate: npt.ArrayLike, size: npt.ArrayLike, z: float | Array) -> tuple[Array, Array]:
    """Wilson's interval of rates among `size` independent images, z standard errors wide."""
    rate, size = np.asarray(rate, float), np.asarray(size, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 + z**2 / size
        middle = (rate + z**2 / (2 * size)) / scale
        reach = z / scale * np.sqrt(rate * (1 - rate) / size + z**2 / (4 * size**2))
    # At the ends of the range but for rounding.
    low = np.where(rate <= 0, 0.0, np.maximum(middle - reach, 0.0))
    high = np.where(rate >= 1, 1.0, np.minimum(middle + reach, 1.0))
    return np.minimum(low, rate), np.maximum(high, rate)


def net_benefit_interval(
    rates: Rates, threshold: npt.ArrayLike, prevalence: npt.ArrayLike, z: float | Array
) -> tuple[Array, Array]:
    """Interval of the net benefit at a fixed prevalence, (O, G), z standard errors wide.

    The limits of sensitivity and specificity put together by their distances from the estimates
    (method of variance estimates recovery; Zou & Donner 2008, doi:10.1002/sim.3095), so that it
    also tells what may happen where no case was missed or no false alarm raised.
    """
    t, q = np.asarray(threshold, float), np.asarray(prevalence, float)
    value = net_benefit(rates.sensitivity, rates.specificity, t, q)
    low, high, low_spared, high_spared = rates.limits(z)
    of_found, of_spared = q, (1 - q) * t / (1 - t)
    down = of_found * (rates.sensitivity - low), of_spared * (rates.specificity - low_spared)
    up = of_found * (high - rates.sensitivity), of_spared * (high_spared - rates.specificity)
    return value - _joined(*down, rates.correlation), value + _joined(*up, rates.correlation)


def difference_interval(
    first: Interval, second: Interval, correlation: npt.ArrayLike
) -> tuple[Array, Array]:
    """Interval of first - second, each a value with its low and high end.

    The ends put together as in `net_benefit_interval`; `correlation`: of the two over resamples
    that they share (`correlated`), which makes the comparison a paired one.
    """
    (value, low, high), (other, other_low, other_high) = first, second
    against = -np.asarray(correlation, float)
    difference = value - other
    down = _joined(value - low, other_high - other, against)
    return difference - down, difference + _joined(high - value, other - other_low, against)


def predictive_intervals(
    rates: Rates, prevalence: npt.ArrayLike, z: float
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Intervals of the positive and the negative predictive value at a prevalence.

    The odds of the positive one are the prevalence's times sens / (1 - spec), whose interval joins
    those of both rates on the logarithmic scale, as in `net_benefit_interval`; (1 - spec) / sens
    likewise for the negative one.
    """
    q = np.asarray(prevalence, float)
    low, high, low_spared, high_spared = rates.limits(z)
    found = (rates.sensitivity, low, high)
    missed = (1 - rates.sensitivity, 1 - high, 1 - low)
    spared = (rates.specificity, low_spared, high_spared)
    alarms = (1 - rates.specificity, 1 - high_spared, 1 - low_spared)
    positive = _log_ratio(found, alarms, rates.correlation)
    negative = _log_ratio(spared, missed, rates.correlation)
    with np.errstate(over="ignore", divide="ignore"):
        prior = np.log(q) - np.log1p(-q)
        ends = [1 / (1 + np.exp(-(end + prior))) for end in positive]
        others = [1 / (1 + np.exp(-(end - prior))) for end in negative]
    return (ends[0], ends[1]), (others[0], others[1])


def _log_ratio(above: Interval, below: Interval, correlation: Array) -> tuple[Array, Array]:
    """Ends of log(above / below), each a rate with its limits; infinite where a rate is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        (top, top_low, top_high), (bottom, bottom_low, bottom_high) = np.log(above), np.log(below)
        ratio = top - bottom
        down = ratio - _joined(top - top_low, bottom_high - bottom, correlation)
        up = ratio + _joined(top_high - top, bottom - bottom_low, correlation)
    # Their limits as a rate goes to 0.
    down = np.where(
        np.isneginf(bottom), top - bottom_high, np.where(np.isneginf(top), -np.inf, down)
    )
    up = np.where(np.isneginf(top), top_high - bottom, np.where(np.isneginf(bottom), np.inf, up))
    undefined = np.isneginf(top) & np.isneginf(bottom)
    return np.where(undefined, np.nan, down), np.where(undefined, np.nan, up)


def _joined(first: Array, second: Array, correlation: Array) -> Array:
    """Reach of a sum whose parts reach that far."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.maximum(first**2 + second**2 + 2 * correlation * first * second, 0.0))


def simultaneous_z(values: npt.ArrayLike, resampled: npt.ArrayLike, confidence: float) -> float:
    """How many standard errors wide a band is that holds G statistics together.

    The quantile over the resamples (R, G) of the largest standardised distance from the values
    (G,), of those that vary at all; never less than for one.
    """
    from scipy.stats import norm

    values, drawn = np.asarray(values, float), np.asarray(resampled, float)
    single = float(norm.ppf((1 + confidence) / 2))
    spread = drawn.std(axis=0, ddof=1)
    varies = spread > TIE
    if not varies.any():
        return single
    distance = np.abs(drawn[:, varies] - values[varies]) / spread[varies]
    return max(single, float(np.quantile(distance.max(axis=1), confidence)))


def runs(inside: npt.ArrayLike) -> list[tuple[int, int]]:
    """First and last place of each unbroken run of True in (G,)."""
    padded = np.r_[False, np.asarray(inside, bool), False]
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(a), int(b) - 1) for a, b in zip(changes[::2], changes[1::2], strict=True)]


def _divide(above: Array, below: Array) -> Array:
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def correlated(first: Array, second: Array) -> Array:
    """Correlation over the first axis, 0 where one does not vary."""
    centred = first - first.mean(axis=0), second - second.mean(axis=0)
    scale = np.sqrt((centred[0] ** 2).sum(axis=0) * (centred[1] ** 2).sum(axis=0))
    product = (centred[0] * centred[1]).sum(axis=0)
    return np.divide(product, scale, out=np.zeros(scale.shape), where=scale > TIE)
