"""Every metric of the study, each in one place, as a kernel over resample weights.

A kernel takes the images once and many weightings of them: `weights` is (R, N), and row r
says how often each image counts in resample r. Sorting and binning orders do not depend on
the weights, so 2,000 resamples cost little more than one evaluation. With integer weights
the result equals that of the images repeated so often.

Undefined values (0/0) are NaN, never 0; `undefined_reason` says why in words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from multiloss.errors import UserError
from multiloss.mcc import mcc_of_confusion

Array = npt.NDArray[np.float64]

# Elements of the largest temporary array; small enough to stay in a core's cache.
CHUNK_ELEMENTS = 2**18
EQUAL_MASS_BINS = 15


@dataclass(frozen=True)
class _Ranking:
    """Images in the order of a score, with the places where a new value of it begins."""

    image: npt.NDArray[np.intp]
    positive: npt.NDArray[np.bool_]
    score: Array
    first_of_group: npt.NDArray[np.intp]


def _rank(score: Array, positive: npt.NDArray[np.bool_], image: npt.NDArray[np.intp]) -> _Ranking:
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    return _Ranking(image[order], positive[order], ranked, first)


class Sample:
    """Labels and probabilities of N images, with all that no resampling changes.

    `y`: (N,) integers in [0, K); `p`: (N, K), rows sum to 1. `bins`: number of equal-mass
    bins of the calibration errors. `thresholds`: (K,) operating points, of which class k is
    called present where p_k >= threshold; NaN where none could be chosen.
    Raises ValueError on wrong shapes, labels out of range or non-finite probabilities.
    """

    def __init__(
        self,
        y: npt.ArrayLike,
        p: npt.ArrayLike,
        *,
        bins: int = EQUAL_MASS_BINS,
        thresholds: npt.ArrayLike | None = None,
    ) -> None:
        self.y = np.asarray(y)
        self.p = np.asarray(p, dtype=np.float64)
        if self.p.ndim != 2 or self.y.shape != self.p.shape[:1] or not len(self.y):
            raise ValueError(f"want y (N,) and p (N, K), got {self.y.shape} and {self.p.shape}")
        if not np.issubdtype(self.y.dtype, np.integer):
            raise ValueError(f"labels are class indices, got {self.y.dtype}")
        if not np.isfinite(self.p).all():
            raise ValueError("probabilities must be finite")
        self.n, self.n_classes = self.p.shape
        if self.y.min() < 0 or self.y.max() >= self.n_classes:
            raise ValueError(f"labels must be in [0, {self.n_classes})")
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}")
        self.bins = bins
        self.thresholds = (
            np.full(self.n_classes, np.nan) if thresholds is None else np.asarray(thresholds, float)
        )
        self.predicted = self.p.argmax(axis=1)
        self._rankings: dict[int | str, _Ranking] = {}

    @cached_property
    def truth(self) -> Array:
        """One-hot labels, (N, K)."""
        return np.eye(self.n_classes)[self.y]

    @cached_property
    def cells(self) -> Array:
        """One-hot cell of the confusion matrix, (N, K * K), true class first."""
        return np.eye(self.n_classes**2)[self.y * self.n_classes + self.predicted]

    @cached_property
    def surprise(self) -> Array:
        """-log of the true class's probability, clipped as scikit-learn does, (N,)."""
        chosen = self.p[np.arange(self.n), self.y]
        smallest = np.finfo(np.float64).eps
        return -np.log(np.clip(chosen, smallest, 1 - smallest))

    @cached_property
    def called(self) -> Array:
        """1 where class k is called at its operating point, (N, K)."""
        return (self.p >= self.thresholds).astype(np.float64)

    def ranking(self, which: int | str) -> _Ranking:
        """Images by falling score: of class `which`, of all classes ('micro'), or of the
        predicted class, where a right prediction is the positive ('top')."""
        if which not in self._rankings:
            images = np.arange(self.n)
            if which == "micro":
                ranked = _rank(
                    self.p.ravel(),
                    self.truth.ravel().astype(bool),
                    np.repeat(images, self.n_classes),
                )
            elif which == "top":
                ranked = _rank(self.p.max(axis=1), self.predicted == self.y, images)
            else:
                ranked = _rank(self.p[:, int(which)], self.y == which, images)
            self._rankings[which] = ranked
        return self._rankings[which]


class Weighted:
    """A sample under R weightings; what several metrics need is computed once.

    `weights`: (R, N), non-negative, each row with a positive sum.
    """

    def __init__(self, sample: Sample, weights: Array) -> None:
        self.sample = sample
        self.weights = weights
        self._grouped: dict[int | str, tuple[Array, Array]] = {}
        self._curves: dict[int | str, tuple[Array, Array]] = {}
        self._binned: dict[int | str, tuple[Array, Array, Array]] = {}

    @cached_property
    def total(self) -> Array:
        """Sum of weights, (R,)."""
        return self.weights.sum(axis=1)

    @cached_property
    def confusion(self) -> Array:
        """Confusion matrices, (R, K, K), true class first."""
        k = self.sample.n_classes
        return (self.weights @ self.sample.cells).reshape(-1, k, k)

    @cached_property
    def hits(self) -> Array:
        """Weight of each class's true positives, (R, K)."""
        return np.diagonal(self.confusion, axis1=1, axis2=2)

    @cached_property
    def support(self) -> Array:
        """Weight of each true class, (R, K)."""
        return self.confusion.sum(axis=2)

    @cached_property
    def predicted(self) -> Array:
        """Weight of each predicted class, (R, K)."""
        return self.confusion.sum(axis=1)

    def grouped(self, which: int | str) -> tuple[Array, Array]:
        """Weight of the positives and of the negatives at each distinct score, falling."""
        if which not in self._grouped:
            ranking = self.sample.ranking(which)
            weights = self.weights[:, ranking.image]
            positive = weights * ranking.positive
            negative = weights - positive
            if len(ranking.first_of_group) < len(ranking.image):
                positive = np.add.reduceat(positive, ranking.first_of_group, axis=1)
                negative = np.add.reduceat(negative, ranking.first_of_group, axis=1)
            self._grouped[which] = (positive, negative)
        return self._grouped[which]

    def curve(self, which: int | str) -> tuple[Array, Array]:
        """True and false positives (weights) at each distinct threshold, falling, (R, G)."""
        if which not in self._curves:
            positive, negative = self.grouped(which)
            self._curves[which] = (positive.cumsum(axis=1), negative.cumsum(axis=1))
        return self._curves[which]

    def binned(self, which: int | str) -> tuple[Array, Array, Array]:
        """Weight, sum of scores and sum of positives in equal-mass bins, each (R, bins).

        A value's bin is that of the middle of its share of the total weight, so equal
        scores stay together and a repeated image is the same as a doubled weight.
        """
        if which not in self._binned:
            bins, ranking = self.sample.bins, self.sample.ranking(which)
            positive, negative = self.grouped(which)
            true, false = self.curve(which)
            mass, upto = positive + negative, true + false
            middle = mass * -0.5
            middle += upto
            middle *= bins / self.total[:, None]
            # Bins follow each other along the ranking, so their sums are differences of the
            # running sums at their ends, and their ends are found by bisection.
            ends = np.full((len(middle), bins), middle.shape[1])
            inner = np.arange(1.0, bins)
            for row, found in zip(middle, ends, strict=True):
                found[:-1] = row.searchsorted(inner)
            mass *= ranking.score[ranking.first_of_group]
            score = mass.cumsum(axis=1)
            last, empty = np.maximum(ends - 1, 0), ends == 0
            self._binned[which] = tuple(
                np.diff(np.where(empty, 0.0, np.take_along_axis(sums, last, axis=1)), prepend=0)
                for sums in (upto, score, true)
            )
        return self._binned[which]


Kernel = Callable[[Weighted], Array]
ClassKernel = Callable[[Weighted, int], Array]


@dataclass(frozen=True)
class Metric:
    """One metric: its kernel, its name for people, its range, and which way is better."""

    name: str
    title: str
    kernel: Kernel | ClassKernel
    per_class: bool
    higher_is_better: bool
    low: float = 0.0
    high: float = 1.0


METRICS: dict[str, Metric] = {}
CLASS_METRICS: dict[str, Metric] = {}


def _metric(
    name: str,
    title: str,
    *,
    per_class: bool = False,
    higher: bool = True,
    low: float = 0.0,
    high: float = 1.0,
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    def register(kernel: Callable[..., Array]) -> Callable[..., Array]:
        registry = CLASS_METRICS if per_class else METRICS
        registry[name] = Metric(name, title, kernel, per_class, higher, low, high)
        return kernel

    return register


def _divide(numerator: Array, denominator: Array) -> Array:
    """Quotient, NaN where the denominator is zero."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0)


def _class_mean(values: Array, support: Array | None = None) -> Array:
    """Mean over classes, weighted by support if given; a class without weight is left out."""
    if support is None:
        return values.mean(axis=1)
    share = support / support.sum(axis=1, keepdims=True)
    return np.where(share > 0, share * values, 0.0).sum(axis=1)


# -- from the confusion matrix -----------------------------------------------------------


@_metric("accuracy", "Accuracy")
def _accuracy(r: Weighted) -> Array:
    return r.hits.sum(axis=1) / r.total


@_metric("balanced_accuracy", "Balanced accuracy")
def _balanced_accuracy(r: Weighted) -> Array:
    return _class_mean(_divide(r.hits, r.support))


@_metric("precision", "Precision (weighted)")
def _precision(r: Weighted) -> Array:
    return _class_mean(_divide(r.hits, r.predicted), r.support)


@_metric("recall", "Recall (weighted)")
def _recall(r: Weighted) -> Array:
    return _class_mean(_divide(r.hits, r.support), r.support)


@_metric("f1", "F1 (weighted)")
def _f1(r: Weighted) -> Array:
    return _class_mean(_divide(2 * r.hits, r.support + r.predicted), r.support)


@_metric("precision_macro", "Precision (macro)")
def _precision_macro(r: Weighted) -> Array:
    return _class_mean(_divide(r.hits, r.predicted))


@_metric("recall_macro", "Recall (macro)")
def _recall_macro(r: Weighted) -> Array:
    return _class_mean(_divide(r.hits, r.support))


@_metric("f1_macro", "F1 (macro)")
def _f1_macro(r: Weighted) -> Array:
    return _class_mean(_divide(2 * r.hits, r.support + r.predicted))


@_metric("mcc", "Matthews correlation", low=-1.0)
def _mcc(r: Weighted) -> Array:
    """Gorodkin (2004), for any number of classes."""
    return mcc_of_confusion(r.confusion)


@_metric("kappa", "Cohen's kappa", low=-1.0)
def _kappa(r: Weighted) -> Array:
    expected = (r.support * r.predicted).sum(axis=1) / r.total**2
    observed = r.hits.sum(axis=1) / r.total
    return _divide(observed - expected, np.where(expected < 1 - 1e-12, 1 - expected, 0.0))


@_metric("precision", "Precision", per_class=True)
def _class_precision(r: Weighted, k: int) -> Array:
    return _divide(r.hits[:, k], r.predicted[:, k])


@_metric("recall", "Recall", per_class=True)
def _class_recall(r: Weighted, k: int) -> Array:
    return _divide(r.hits[:, k], r.support[:, k])


@_metric("f1", "F1", per_class=True)
def _class_f1(r: Weighted, k: int) -> Array:
    return _divide(2 * r.hits[:, k], r.support[:, k] + r.predicted[:, k])


# -- from the ranking of probabilities ---------------------------------------------------


def _area_under_roc(r: Weighted, which: int | str) -> Array:
    positive, negative = r.grouped(which)
    true, false = r.curve(which)
    area = np.einsum("rg,rg->r", negative, true)
    if positive.shape[1] < len(r.sample.ranking(which).image):
        # Within a group of equal scores a positive and a negative count half.
        area -= np.einsum("rg,rg->r", negative, positive) / 2
    return _divide(area, true[:, -1] * false[:, -1])


def _average_precision(r: Weighted, which: int | str) -> Array:
    positive, _ = r.grouped(which)
    true, false = r.curve(which)
    # Where nothing counts above a threshold, nothing is found there either: 0 / 1 for 0 / 0.
    precision = true + false
    np.maximum(precision, 1e-300, out=precision)
    np.divide(true, precision, out=precision)
    found = np.einsum("rg,rg->r", positive, precision)
    return _divide(found, true[:, -1])


def _over_classes(r: Weighted, kernel: Callable[[Weighted, int], Array]) -> Array:
    return np.stack([kernel(r, k) for k in range(r.sample.n_classes)], axis=1)


@_metric("auroc", "AUROC (micro)")
def _auroc(r: Weighted) -> Array:
    return _area_under_roc(r, "micro")


@_metric("auroc", "AUROC", per_class=True)
def _class_auroc(r: Weighted, k: int) -> Array:
    return _area_under_roc(r, k)


@_metric("auroc_macro", "AUROC (macro)")
def _auroc_macro(r: Weighted) -> Array:
    return _class_mean(_over_classes(r, _class_auroc))


@_metric("auprc", "AUPRC (micro)")
def _auprc(r: Weighted) -> Array:
    """Average precision: the step-wise area, without interpolation."""
    return _average_precision(r, "micro")


@_metric("auprc", "AUPRC", per_class=True)
def _class_auprc(r: Weighted, k: int) -> Array:
    return _average_precision(r, k)


@_metric("auprc_macro", "AUPRC (macro)")
def _auprc_macro(r: Weighted) -> Array:
    return _class_mean(_over_classes(r, _class_auprc))


@_metric("sensitivity", "Sensitivity", per_class=True)
def _class_sensitivity(r: Weighted, k: int) -> Array:
    """At the operating point, one class against the rest."""
    called, truth = r.sample.called[:, k], r.sample.truth[:, k]
    value = _divide(r.weights @ (called * truth), r.support[:, k])
    return value if np.isfinite(r.sample.thresholds[k]) else np.full(len(value), np.nan)


@_metric("specificity", "Specificity", per_class=True)
def _class_specificity(r: Weighted, k: int) -> Array:
    """At the operating point, one class against the rest."""
    called, truth = r.sample.called[:, k], r.sample.truth[:, k]
    value = _divide(r.weights @ ((1 - called) * (1 - truth)), r.total - r.support[:, k])
    return value if np.isfinite(r.sample.thresholds[k]) else np.full(len(value), np.nan)


# -- from the probabilities themselves ---------------------------------------------------


@_metric("log_loss", "Log loss (nats)", higher=False, high=np.inf)
def _log_loss(r: Weighted) -> Array:
    return r.weights @ r.sample.surprise / r.total


@_metric("brier", "Brier score (sum over classes)", higher=False, high=2.0)
def _brier(r: Weighted) -> Array:
    """Brier (1950): sum over classes of the squared error, so 0 to 2."""
    error = ((r.sample.p - r.sample.truth) ** 2).sum(axis=1)
    return r.weights @ error / r.total


def _bin_rates(r: Weighted, which: int | str) -> tuple[Array, Array, Array]:
    """Share of the weight, mean score and rate of positives in each bin; 0 in empty bins."""
    mass, score, positive = r.binned(which)
    occupied = np.where(mass > 0, mass, 1.0)
    return mass / r.total[:, None], score / occupied, positive / occupied


def _class_reliability(r: Weighted, k: int) -> Array:
    share, score, rate = _bin_rates(r, k)
    return (share * (score - rate) ** 2).sum(axis=1)


def _class_resolution(r: Weighted, k: int) -> Array:
    share, _, rate = _bin_rates(r, k)
    return (share * (rate - (r.support[:, k] / r.total)[:, None]) ** 2).sum(axis=1)


@_metric("brier_reliability", "Brier: reliability", higher=False, high=2.0)
def _brier_reliability(r: Weighted) -> Array:
    """Murphy (1973), one class against the rest in equal-mass bins, summed over classes."""
    return _over_classes(r, _class_reliability).sum(axis=1)


@_metric("brier_resolution", "Brier: resolution")
def _brier_resolution(r: Weighted) -> Array:
    return _over_classes(r, _class_resolution).sum(axis=1)


@_metric("brier_uncertainty", "Brier: uncertainty", higher=False)
def _brier_uncertainty(r: Weighted) -> Array:
    share = r.support / r.total[:, None]
    return (share * (1 - share)).sum(axis=1)


@_metric("brier_within_bin", "Brier: within bins", higher=False, low=-2.0, high=2.0)
def _brier_within_bin(r: Weighted) -> Array:
    """What the bins hide (Stephenson 2008), so that the four parts add up to the score:
    Brier = reliability - resolution + uncertainty + within bins."""
    return _brier(r) - _brier_reliability(r) + _brier_resolution(r) - _brier_uncertainty(r)


def _calibration_error(r: Weighted, which: int | str) -> Array:
    share, score, rate = _bin_rates(r, which)
    return (share * np.abs(score - rate)).sum(axis=1)


@_metric("ece", "Expected calibration error", higher=False)
def _ece(r: Weighted) -> Array:
    """Of the predicted class: mean over equal-mass bins of |accuracy - mean confidence|."""
    return _calibration_error(r, "top")


@_metric("ece", "Calibration error", per_class=True, higher=False)
def _class_ece(r: Weighted, k: int) -> Array:
    return _calibration_error(r, k)


@_metric("classwise_ece", "Calibration error (mean over classes)", higher=False)
def _classwise_ece(r: Weighted) -> Array:
    return _class_mean(_over_classes(r, _class_ece))


# -- by name -----------------------------------------------------------------------------


def names(classes: Sequence[str] = ()) -> list[str]:
    """All metric names, overall ones first, then `<metric>_<class>` for each class.

    Raises UserError if a class name makes two metrics share a name (a class 'macro').
    """
    found = list(METRICS) + [f"{base}_{label}" for base in CLASS_METRICS for label in classes]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise UserError(f"classes: a class name makes metric '{twice[0]}' ambiguous; rename it")
    return found


def lookup(name: str, classes: Sequence[str] = ()) -> tuple[Metric, int | None]:
    """The metric behind a name and the class index it is about (None for overall ones).

    Raises UserError for an unknown name.
    """
    if name in METRICS:
        return METRICS[name], None
    for index, label in enumerate(classes):
        base = name.removesuffix(f"_{label}")
        if base != name and base in CLASS_METRICS:
            return CLASS_METRICS[base], index
    raise UserError(f"unknown metric '{name}': choose one of {', '.join(names(classes))}")


def title(name: str, classes: Sequence[str] = ()) -> str:
    """The metric's name for people, as on a figure's axis."""
    metric, index = lookup(name, classes)
    return metric.title if index is None else f"{metric.title}, {classes[index]}"


def chunks(sample: Sample, weights: Array) -> Iterator[tuple[slice, Weighted]]:
    """The sample under the weightings (R, N), some rows at a time, and which rows they are."""
    rows = max(1, CHUNK_ELEMENTS // (sample.n * sample.n_classes))
    for start in range(0, len(weights), rows):
        part = slice(start, start + rows)
        yield part, Weighted(sample, weights[part])


def compute_many(
    wanted: Sequence[str],
    sample: Sample,
    weights: npt.ArrayLike | None = None,
    classes: Sequence[str] | None = None,
) -> Array:
    """Values (R, M) of M named metrics under the weightings (R, N); unit weights if None.

    `classes` names the columns of p ('0', '1', ... if None). Undefined values are NaN.
    """
    classes = [str(k) for k in range(sample.n_classes)] if classes is None else classes
    found = [lookup(name, classes) for name in wanted]
    weights = np.ones((1, sample.n)) if weights is None else np.asarray(weights, np.float64)
    if weights.ndim != 2 or weights.shape[1] != sample.n:
        raise ValueError(f"want weights (R, {sample.n}), got {weights.shape}")
    values = np.empty((len(weights), len(wanted)))
    for part, weighted in chunks(sample, weights):
        for column, (metric, index) in enumerate(found):
            values[part, column] = (
                metric.kernel(weighted) if index is None else metric.kernel(weighted, index)
            )
    return values


def compute(
    name: str,
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    classes: Sequence[str] | None = None,
    bins: int = EQUAL_MASS_BINS,
    thresholds: npt.ArrayLike | None = None,
) -> float | Array:
    """One metric: a float for no weights or weights (N,), an array (R,) for weights (R, N).

    `y` (N,) class indices, `p` (N, K) probabilities. NaN where the metric is undefined.
    Raises UserError for an unknown name, ValueError for wrong shapes.
    """
    sample = Sample(y, p, bins=bins, thresholds=thresholds)
    rows = None if weights is None else np.atleast_2d(np.asarray(weights, np.float64))
    values = compute_many([name], sample, rows, classes)[:, 0]
    return values if np.ndim(weights) == 2 else float(values[0])


def undefined_reason(name: str, sample: Sample, classes: Sequence[str]) -> str:
    """Why a metric has no value on these images, in words for the `reason` column."""
    metric, index = lookup(name, classes)
    absent = [label for k, label in enumerate(classes) if not (sample.y == k).any()]
    unused = [label for k, label in enumerate(classes) if not (sample.predicted == k).any()]
    if index is not None:
        absent = [label for label in absent if label == classes[index]]
        unused = [label for label in unused if label == classes[index]]
        if metric.name in ("sensitivity", "specificity") and np.isnan(sample.thresholds[index]):
            return f"no operating point for class '{classes[index]}'"
        if (sample.y == index).all():
            return f"all images are of class '{classes[index]}'"
    if metric.name == "kappa" or (metric.name == "mcc" and len(absent) == len(classes) - 1):
        return "all images are of one class"
    if metric.name == "mcc":
        return "one class only is predicted"
    if absent:
        return f"no image of class '{absent[0]}'"
    if unused:
        return f"class '{unused[0]}' is never predicted"
    return "undefined on these images"
