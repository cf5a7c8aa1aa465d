"""Every metric of the study, each in one place: words, range, direction and kernel.

A new metric is one function here under `@metric("name", "Title")`, whose docstring begins with a
sentence on what it is; tables/metrics.csv and the report's tables then have it.

A kernel works on resample weights: it takes the images once and many weightings of them, `weights`
(R, N), whose row r says how often each image counts in resample r. Sorting and binning orders do
not depend on the weights, so 2,000 resamples cost little more than one evaluation. With integer
weights the result equals that of the images repeated so often. The metrics of scikit-learn, which
the tests compare with, take one weighting in a call: hours for the intervals of one study.

Undefined values (0/0) are NaN, never 0; `undefined_reason` says why in words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from multiloss.job.errors import UserError
from multiloss.registry import first_sentence
from multiloss.statistics.mcc import mcc_of_confusion

Array = npt.NDArray[np.float64]
# Weights and their sums: whole numbers where they are.
Counts = npt.NDArray[Any]

# Elements of the largest temporary array, most of them of two bytes.
CHUNK_ELEMENTS = 2**21
# But of so many resamples at least, whatever the number of images: fewer are not worth the calls.
FEWEST_RESAMPLES = 8
# Rows of so many numbers are quicker added one to the other than down the columns.
WIDE = 200
EQUAL_MASS_BINS = 15
PRIMARY = "mcc"
# The place of a class's name in the tables of curves where all classes count together.
ALL_CLASSES = "micro"


@dataclass(frozen=True)
class _Ranking:
    """Images in the order of a score, with the places where a new value of it begins.

    Positives and negatives also apart, each in that order: a running sum over one kind is as long
    as the kind.
    """

    image: npt.NDArray[np.intp]
    positive: npt.NDArray[np.bool_]
    score: Array
    first_of_group: npt.NDArray[np.intp]

    @cached_property
    def positives(self) -> npt.NDArray[np.intp]:
        """Images that are positive, (P,)."""
        return self.image[self.positive]

    @cached_property
    def negatives(self) -> npt.NDArray[np.intp]:
        """Images that are negative, (Q,)."""
        return self.image[~self.positive]

    @property
    def tied(self) -> bool:
        """Whether any two scores are equal."""
        return len(self.first_of_group) < len(self.image)

    @cached_property
    def positives_upto(self) -> npt.NDArray[np.intp]:
        """How many positives have the score of each group or a higher one, (G,)."""
        return np.add.reduceat(self.positive, self.first_of_group, dtype=np.intp).cumsum()

    @cached_property
    def _groups_of_positives(self) -> npt.NDArray[np.intp]:
        sizes = np.diff(self.first_of_group, append=len(self.image))
        return np.repeat(np.arange(len(sizes)), sizes)[self.positive]

    @cached_property
    def true_upto(self) -> npt.NDArray[np.intp]:
        """For each positive, how many positives have its score or a higher one, (P,)."""
        return self.positives_upto[self._groups_of_positives]

    @cached_property
    def images_upto(self) -> npt.NDArray[np.intp]:
        """For each positive, how many images have its score or a higher one, (P,)."""
        ends = np.append(self.first_of_group[1:], len(self.image))
        return ends[self._groups_of_positives]

    @property
    def images_above(self) -> npt.NDArray[np.intp]:
        """For each positive, how many images have a higher score, (P,)."""
        return self.first_of_group[self._groups_of_positives]


def _rank(score: Array, positive: npt.NDArray[np.bool_], image: npt.NDArray[np.intp]) -> _Ranking:
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    return _Ranking(image[order], positive[order], ranked, first)


def _add_up(sums: Counts) -> None:
    """Make rows (M, R) the sums of the first 1, 2, ... of them, added one after the other."""
    if sums.shape[1] < WIDE:
        np.cumsum(sums, axis=0, dtype=sums.dtype, out=sums)
        return
    rows = list(sums)
    for before, row in zip(rows, rows[1:], strict=False):
        np.add(before, row, out=row)


def _by_image(weights: Array, classes: int) -> Counts:
    """Weightings (R, N) image by image, (N, R): those of an image lie together, so that putting
    images in another order is quick.

    As short whole numbers where they are some and all their sums fit, in which an image counts
    once for each of the `classes`, and twice: less memory to move is less time.
    """
    most = 2 * classes * weights.sum(axis=1).max()
    for kind in (np.int16, np.int32):
        if most <= np.iinfo(kind).max:
            counts = np.ascontiguousarray(weights.T).astype(kind)
            if np.array_equal(counts.T, weights):
                return counts
            break
    return np.ascontiguousarray(weights.T)


class Sample:
    """Labels and probabilities of N images, with all that no resampling changes.

    `y_true`: (N,) integers in [0, K); `y_prob`: (N, K), rows sum to 1. `bins`: number of
    equal-mass bins of the calibration errors. `thresholds`: (K,) operating points: class k is
    predicted where p_k >= threshold; NaN where none could be chosen.
    Raises ValueError on wrong shapes, labels out of range or non-finite probabilities.
    """

    def __init__(
        self,
        y_true: npt.ArrayLike,
        y_prob: npt.ArrayLike,
        *,
        bins: int = EQUAL_MASS_BINS,
        thresholds: npt.ArrayLike | None = None,
    ) -> None:
        self.y = np.asarray(y_true)
        self.p = np.asarray(y_prob, dtype=np.float64)
        if self.p.ndim != 2 or self.y.shape != self.p.shape[:1] or not len(self.y):
            raise ValueError(
                "expected y_true of shape (N,) and y_prob of shape (N, K), "
                f"got {self.y.shape} and {self.p.shape}"
            )
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
    def negative_log_likelihood(self) -> Array:
        """-log of the true class's probability, clipped as scikit-learn does, (N,)."""
        chosen = self.p[np.arange(self.n), self.y]
        smallest = np.finfo(np.float64).eps
        return -np.log(np.clip(chosen, smallest, 1 - smallest))

    @cached_property
    def squared_error(self) -> Array:
        """Squared error of the probabilities, summed over the classes, (N,)."""
        return ((self.p - self.truth) ** 2).sum(axis=1)

    @cached_property
    def predicted_positive(self) -> Array:
        """1 where class k is predicted at its operating point, (N, K)."""
        return (self.p >= self.thresholds).astype(np.float64)

    def ranking(self, which: int | str) -> _Ranking:
        """Images by falling score: of class `which`, of all classes ('micro'), or of the
        predicted class, where a right prediction is the positive ('top')."""
        if which not in self._rankings:
            images = np.arange(self.n)
            if which == ALL_CLASSES:
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

    def __init__(self, sample: Sample, weights: Array, by_image: Counts | None = None) -> None:
        self.sample = sample
        self.weights = weights
        # (N, R), as from `_by_image`.
        self.by_image = _by_image(weights, sample.n_classes) if by_image is None else by_image
        self._running: dict[tuple[int | str, str], Counts] = {}
        self._kept: dict[tuple[Any, ...], Any] = {}

    def counted(self, columns: Array) -> Array:
        """Weight of the images that M columns (N, M) mark with 1, (R, M)."""
        if self._floating is None:
            return self.weights @ columns
        marks = np.ascontiguousarray(columns.T, np.float32)
        return np.ascontiguousarray((marks @ self._floating).T, np.float64)

    @cached_property
    def _floating(self) -> npt.NDArray[np.float32] | None:
        """Whole numbers as single precision, which holds their sums exactly if they are short."""
        return self.by_image.astype(np.float32) if self.by_image.dtype == np.int16 else None

    @cached_property
    def total(self) -> Array:
        """Sum of weights, (R,)."""
        return self.weights.sum(axis=1)

    @cached_property
    def confusion(self) -> Array:
        """Confusion matrices, (R, K, K), true class first."""
        k = self.sample.n_classes
        return self.counted(self.sample.cells).reshape(-1, k, k)

    @cached_property
    def true_positives(self) -> Array:
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

    @cached_property
    def called(self) -> tuple[Array, Array]:
        """Weight of those of each class that its operating point finds, and of those not of it
        that it spares, each (R, K)."""
        positive, truth = self.sample.predicted_positive, self.sample.truth
        return self.counted(positive * truth), self.counted((1 - positive) * (1 - truth))

    def running(self, which: int | str, of: str) -> Counts:
        """Running sums from 0 on (M + 1, R) of the weights by falling score, of the type of
        `by_image`; `of`: every `image` of the ranking, its `positives` or its `negatives`."""
        if (which, of) not in self._running:
            images = getattr(self.sample.ranking(which), of)
            sums = np.zeros((len(images) + 1, self.by_image.shape[1]), self.by_image.dtype)
            self.by_image.take(images, axis=0, out=sums[1:], mode="clip")
            _add_up(sums)
            self._running[which, of] = sums
        return self._running[which, of]

    def binned(self, which: int | str) -> tuple[Array, Array, Array]:
        """Weight, sum of scores and sum of positives in equal-mass bins, each (R, bins).

        A value's bin is that of the middle of its share of the total weight, so equal
        scores stay together and a repeated image is the same as a doubled weight.
        """
        bins, ranking = self.sample.bins, self.sample.ranking(which)
        true, mass = self.running(which, "positives"), self.running(which, "image")
        if ranking.tied:
            mass = mass.take(np.append(ranking.first_of_group, len(ranking.image)), axis=0)
        scores = np.empty(mass.shape)
        scores[0] = 0.0
        np.subtract(mass[1:], mass[:-1], out=scores[1:])
        scores[1:] *= ranking.score[ranking.first_of_group, None]
        _add_up(scores)
        # Bins follow each other along the ranking, so that their sums are differences of the
        # running sums at their ends.
        groups, width = len(mass) - 1, mass.shape[1]
        column = np.arange(width)
        at = np.empty((bins + 1, width), np.intp)
        at[0], at[1:-1], at[-1] = column, self._ends(mass), groups * width + column
        positives = np.append(0, ranking.positives_upto * width)[at // width] + column
        at_ends = mass.take(at), scores.take(at), true.take(positives)
        return tuple(
            np.subtract(sums[1:], sums[:-1], dtype=np.float64).T.copy() for sums in at_ends
        )

    def _ends(self, mass: Counts) -> npt.NDArray[np.intp]:
        """Where the running sums of the groups' weights (G + 1, R) are, in the flat array, at the
        beginning of each equal-mass bin but the first, (bins - 1, R)."""
        width = mass.shape[1]
        # Whether the middle of a group lies in a bin before.
        twice, least = (mass[1:] + mass[:-1]).ravel(), self._least
        return _bisected(lambda at: twice.take(at) < least, len(mass) - 1, (len(least), width))

    @cached_property
    def _least(self) -> Counts:
        """Twice the weight up to its middle that a group has at least in each equal-mass bin but
        the first, (bins - 1, R), of the type of `by_image`."""
        inner, half = np.arange(1.0, self.sample.bins)[:, None], self.sample.bins / self.total / 2
        least = inner / half
        if self.by_image.dtype.kind != "i":
            return least
        # The smallest whole number whose product with `half`, as it is rounded, reaches `inner`.
        least = np.ceil(least)
        least -= (least - 1) * half >= inner
        least += least * half < inner
        return least.astype(self.by_image.dtype)


def _bisected(
    before: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.bool_]],
    rows: int,
    shape: tuple[int, int],
) -> npt.NDArray[np.intp]:
    """Places (L, R), in the flat array of `rows` rows of R numbers, of the first of each column
    that is not `before` something; beyond the last row where all are. By bisection."""
    width = shape[1]
    place = np.tile(np.arange(width), (shape[0], 1))
    while rows > 1:
        step = rows // 2
        place += before(place + (step - 1) * width) * (step * width)
        rows -= step
    place += before(place) * width
    return place


def first_reaching(sums: Counts, least: Array) -> npt.NDArray[np.intp]:
    """The first row of running sums (M, R) that is not below each of `least` (L, R), (L, R); M
    where all are."""
    if sums.dtype.kind == "i":
        least = np.ceil(least).astype(sums.dtype)
    flat, width = sums.ravel(), sums.shape[1]
    return _bisected(lambda at: flat.take(at) < least, len(sums), least.shape) // width


Kernel = Callable[[Weighted], Array]
ClassKernel = Callable[[Weighted, int], Array]
# Which images a proportion is of, and which of them count as a success, each bool (N,).
Members = Callable[[Sample, int | None], tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]
# Places in the report: the table of all models, that of macro averages, that of each class, and
# that of the Brier score's parts.
MAIN, MACRO, OF_CLASS, BRIER = "main", "macro", "class", "brier"


def _clipped(ends: tuple[float, float], least: float, most: float) -> tuple[float, float]:
    low, high = (float(end) for end in np.clip(ends, least, most))
    return low, high


@dataclass(frozen=True)
class Metric:
    """One metric: its words, range and direction, and the function that computes it.

    `title`: short name for people; `long`: written out; `sentence`: what it is. `low`, `high`: its
    range; `chance`: the value of a model that tells nothing apart, None where it depends on the
    images. `per_class`: one class against the rest; `of_probabilities`: whether it takes
    probabilities at their word, so that a temperature changes it; `at_threshold`: whether it needs
    operating points; `proportion`: of which images it is the proportion, if it is one, which
    decides on its interval where resampling cannot vary. `show`: the report's table that it stands
    in; `cites`: keys of report/references.yaml. `biased`: above 0 even for a perfect model, by an
    amount that resampling raises, so that it has no interval. `kernel` is None for what is computed
    elsewhere.
    """

    name: str
    title: str
    sentence: str
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    chance: float | None = None
    long: str = ""
    per_class: bool = False
    of_probabilities: bool = False
    at_threshold: bool = False
    proportion: Members | None = None
    show: str = ""
    cites: tuple[str, ...] = ()
    biased: bool = False
    kernel: Kernel | ClassKernel | None = None

    @property
    def best(self) -> float:
        """The value of a perfect model."""
        return self.high if self.higher_is_better else self.low

    @property
    def worst(self) -> float:
        """The other end of the range."""
        return self.low if self.higher_is_better else self.high

    def within(self, low: float, high: float) -> tuple[float, float]:
        """The ends of an interval of values, none beyond the range; NaN stays.

        Student's t knows no range, least of all on one degree of freedom. What is cut off holds no
        possible value, so that the interval covers the true one as often as before.
        """
        return _clipped((low, high), self.low, self.high)

    def difference_within(self, low: float, high: float) -> tuple[float, float]:
        """The same of an interval of differences of two values."""
        return _clipped((low, high), self.low - self.high, self.high - self.low)

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def help(self) -> str:
        """What it is, which way is better and what chance gives, on one line."""
        chance = "" if self.chance is None else f"; {self.chance:g} is chance"
        long = f"{self.long}. " if self.long else ""
        return f"{long}{self.sentence}; {self.direction}{chance}"

    def of(self, label: str) -> str:
        """The name that tables give this metric of one class: auroc_viral."""
        return f"{self.name}_{label}"


class Row(NamedTuple):
    """What one value of the column `metric` means: a metric, and the class that it is of."""

    metric: Metric
    index: int | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """As tables have it."""
        return self.metric.name if self.label is None else self.metric.of(self.label)

    @property
    def title(self) -> str:
        """As a reader sees it: the class stands as it is."""
        return self.metric.title if self.label is None else f"{self.metric.title}, {self.label}"


# Of all classes together, and of one class against the rest.
METRICS: dict[str, Metric] = {}
CLASS_METRICS: dict[str, Metric] = {}


@cache
def _rows(classes: tuple[str, ...]) -> dict[str, Row]:
    found = [Row(metric) for metric in METRICS.values()] + [
        Row(metric, index, label)
        for metric in CLASS_METRICS.values()
        for index, label in enumerate(classes)
    ]
    by_name: dict[str, Row] = {}
    for row in found:
        if row.name in by_name:
            raise UserError(f"classes: a class name makes metric '{row.name}' ambiguous; rename it")
        by_name[row.name] = row
    if ALL_CLASSES in classes:
        raise UserError(
            f"classes: '{ALL_CLASSES}' is what tables of curves call all classes together; "
            "rename it"
        )
    return by_name


def metric(
    name: str,
    title: str,
    *,
    per_class: bool = False,
    show: str | None = None,
    higher_is_better: bool = True,
    **words: Any,
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Make a kernel known as a metric; `words` are fields of `Metric`.

    Without `show` it stands in the report's table of all models, or of each class.
    """

    def register(kernel: Callable[..., Array]) -> Callable[..., Array]:
        registry = CLASS_METRICS if per_class else METRICS
        registry[name] = Metric(
            name,
            title,
            first_sentence(kernel.__doc__),
            higher_is_better,
            per_class=per_class,
            show=(OF_CLASS if per_class else MAIN) if show is None else show,
            kernel=kernel,
            **words,
        )
        _rows.cache_clear()
        return kernel

    return register


def _right(sample: Sample, k: int | None) -> tuple[Any, Any]:
    return np.ones(sample.n, bool), sample.predicted == sample.y


def _right_of_class(sample: Sample, k: int | None) -> tuple[Any, Any]:
    return sample.y == k, sample.predicted == sample.y


def _right_of_predicted(sample: Sample, k: int | None) -> tuple[Any, Any]:
    return sample.predicted == k, sample.predicted == sample.y


def _found(sample: Sample, k: int | None) -> tuple[Any, Any]:
    return sample.y == k, sample.predicted_positive[:, k] > 0


def _spared(sample: Sample, k: int | None) -> tuple[Any, Any]:
    return sample.y != k, sample.predicted_positive[:, k] == 0


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


@metric("accuracy", "Accuracy", proportion=_right)
def _accuracy(r: Weighted) -> Array:
    """Proportion of images classified correctly."""
    return r.true_positives.sum(axis=1) / r.total


@metric("balanced_accuracy", "Balanced accuracy")
def _balanced_accuracy(r: Weighted) -> Array:
    """Mean of the sensitivities of the classes."""
    return _class_mean(_divide(r.true_positives, r.support))


@metric("precision", "Precision (weighted)")
def _precision(r: Weighted) -> Array:
    """Positive predictive value, weighted by class size."""
    return _class_mean(_divide(r.true_positives, r.predicted), r.support)


@metric("recall", "Recall (weighted)", proportion=_right)
def _recall(r: Weighted) -> Array:
    """Sensitivity, weighted by class size, which is the accuracy."""
    return _class_mean(_divide(r.true_positives, r.support), r.support)


@metric("f1", "F1 (weighted)")
def _f1(r: Weighted) -> Array:
    """Harmonic mean of precision and recall, weighted by class size."""
    return _class_mean(_divide(2 * r.true_positives, r.support + r.predicted), r.support)


@metric("precision_macro", "Precision (macro)", show=MACRO)
def _precision_macro(r: Weighted) -> Array:
    """Mean of the classes."""
    return _class_mean(_divide(r.true_positives, r.predicted))


@metric("recall_macro", "Recall (macro)", show=MACRO)
def _recall_macro(r: Weighted) -> Array:
    """Mean of the classes."""
    return _class_mean(_divide(r.true_positives, r.support))


@metric("f1_macro", "F1 (macro)", show=MACRO)
def _f1_macro(r: Weighted) -> Array:
    """Mean of the classes."""
    return _class_mean(_divide(2 * r.true_positives, r.support + r.predicted))


@metric(
    "mcc",
    "MCC",
    long="Matthews correlation coefficient",
    low=-1.0,
    chance=0.0,
    cites=("gorodkin2004",),
)
def _mcc(r: Weighted) -> Array:
    """Correlation of true and predicted class, for any number of classes (Gorodkin 2004)."""
    return mcc_of_confusion(r.confusion)


@metric("kappa", "Cohen's kappa", low=-1.0, chance=0.0, cites=("cohen1960",))
def _kappa(r: Weighted) -> Array:
    """Agreement beyond chance."""
    expected = (r.support * r.predicted).sum(axis=1) / r.total**2
    observed = r.true_positives.sum(axis=1) / r.total
    return _divide(observed - expected, np.where(expected < 1 - 1e-12, 1 - expected, 0.0))


@metric("precision", "Precision", per_class=True, proportion=_right_of_predicted)
def _class_precision(r: Weighted, k: int) -> Array:
    """Positive predictive value."""
    return _divide(r.true_positives[:, k], r.predicted[:, k])


@metric("recall", "Recall", per_class=True, proportion=_right_of_class)
def _class_recall(r: Weighted, k: int) -> Array:
    """Proportion of the class that is predicted as such."""
    return _divide(r.true_positives[:, k], r.support[:, k])


@metric("f1", "F1", per_class=True)
def _class_f1(r: Weighted, k: int) -> Array:
    """Harmonic mean of precision and recall."""
    return _divide(2 * r.true_positives[:, k], r.support[:, k] + r.predicted[:, k])


# -- from the ranking of probabilities ---------------------------------------------------


def _once(of: Callable[..., Any]) -> Callable[..., Any]:
    """What several metrics need, such as of one ranking, is computed once for each weighted
    sample."""

    @wraps(of)
    def kept(r: Weighted, *which: int | str) -> Any:
        if (of, *which) not in r._kept:
            r._kept[of, *which] = of(r, *which)
        return r._kept[of, *which]

    return kept


@_once
def _positives(r: Weighted, which: int | str) -> tuple[Counts, Counts]:
    """Weight of each positive, and of all images with its score or a higher one, each (P, R)."""
    ranking, every = r.sample.ranking(which), r.running(which, "image")
    return (
        r.by_image.take(ranking.positives, axis=0),
        every.take(ranking.images_upto, axis=0),
    )


@_once
def _area_under_roc(r: Weighted, which: int | str) -> Array:
    ranking, every = r.sample.ranking(which), r.running(which, "image")
    positive, upto = _positives(r, which)
    # Within a group of equal scores a positive and a negative count half.
    above = every.take(ranking.images_above, axis=0)
    above += upto
    true = positive.sum(axis=0, dtype=positive.dtype).astype(np.float64)
    pairs = true * (every[-1] - true)
    # Twice the pairs in the wrong order, with those of positives among themselves, true * true.
    twice = np.einsum("pr,pr->r", positive, above, dtype=np.float64) - true * true
    return _divide(pairs - twice / 2, pairs)


@_once
def _average_precision(r: Weighted, which: int | str) -> Array:
    ranking, true = r.sample.ranking(which), r.running(which, "positives")
    positive, reached = _positives(r, which)
    found = true.take(ranking.true_upto, axis=0) if ranking.tied else true[1:]
    with np.errstate(invalid="ignore"):
        precision = np.divide(found, reached, dtype=np.float64)
    # Where nothing counts above a threshold, nothing is found there either: 0 for 0 / 0. Sums
    # grow from positive to positive, so that this is of the first ones alone.
    none = precision[: np.count_nonzero(reached.min(axis=1) <= 0)]
    none[np.isnan(none)] = 0.0
    return _divide(np.einsum("pr,pr->r", positive, precision), true[-1])


def _over_classes(r: Weighted, kernel: Callable[[Weighted, int], Array]) -> Array:
    return np.stack([kernel(r, k) for k in range(r.sample.n_classes)], axis=1)


@metric("auroc", "AUROC (micro)", long="Area under the ROC curve", chance=0.5)
def _auroc(r: Weighted) -> Array:
    """Over all pairs of image and class."""
    return _area_under_roc(r, ALL_CLASSES)


@metric("auroc", "AUROC", per_class=True, long="Area under the ROC curve", chance=0.5)
def _class_auroc(r: Weighted, k: int) -> Array:
    """The class against the rest."""
    return _area_under_roc(r, k)


@metric("auroc_macro", "AUROC (macro)", chance=0.5, show=MACRO)
def _auroc_macro(r: Weighted) -> Array:
    """Mean of the classes."""
    return _class_mean(_over_classes(r, _class_auroc))


@metric("auprc", "AUPRC (micro)", long="Area under the precision-recall curve")
def _auprc(r: Weighted) -> Array:
    """Average precision over all pairs of image and class, without interpolation."""
    return _average_precision(r, ALL_CLASSES)


@metric("auprc", "AUPRC", per_class=True, long="Area under the precision-recall curve")
def _class_auprc(r: Weighted, k: int) -> Array:
    """Average precision of the class against the rest."""
    return _average_precision(r, k)


@metric("auprc_macro", "AUPRC (macro)", show=MACRO)
def _auprc_macro(r: Weighted) -> Array:
    """Mean of the classes."""
    return _class_mean(_over_classes(r, _class_auprc))


@metric("sensitivity", "Sensitivity", per_class=True, at_threshold=True, proportion=_found)
def _class_sensitivity(r: Weighted, k: int) -> Array:
    """At the operating point chosen on the ensemble split, the class against the rest."""
    value = _divide(r.called[0][:, k], r.support[:, k])
    return value if np.isfinite(r.sample.thresholds[k]) else np.full(len(value), np.nan)


@metric("specificity", "Specificity", per_class=True, at_threshold=True, proportion=_spared)
def _class_specificity(r: Weighted, k: int) -> Array:
    """At the operating point chosen on the ensemble split, the class against the rest."""
    value = _divide(r.called[1][:, k], r.total - r.support[:, k])
    return value if np.isfinite(r.sample.thresholds[k]) else np.full(len(value), np.nan)


# -- from the probabilities themselves ---------------------------------------------------


@metric("log_loss", "Log loss", higher_is_better=False, high=np.inf, of_probabilities=True)
def _log_loss(r: Weighted) -> Array:
    """Mean negative log probability of the true class, in nats."""
    return r.weights @ r.sample.negative_log_likelihood / r.total


@metric(
    "brier",
    "Brier score",
    higher_is_better=False,
    high=2.0,
    of_probabilities=True,
    cites=("brier1950",),
)
@_once
def _brier(r: Weighted) -> Array:
    """Squared error of the probabilities, summed over the classes, so 0 to 2 (Brier 1950)."""
    return r.weights @ r.sample.squared_error / r.total


@_once
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


@metric(
    "brier_reliability",
    "Reliability",
    higher_is_better=False,
    high=2.0,
    of_probabilities=True,
    show=BRIER,
    biased=True,
)
@_once
def _brier_reliability(r: Weighted) -> Array:
    """Miscalibration part of the Brier score (Murphy 1973).

    One class against the rest in equal-mass bins, summed over classes.
    """
    return _over_classes(r, _class_reliability).sum(axis=1)


@metric("brier_resolution", "Resolution", of_probabilities=True, show=BRIER)
@_once
def _brier_resolution(r: Weighted) -> Array:
    """Part of the Brier score that tells how far cases are told apart."""
    return _over_classes(r, _class_resolution).sum(axis=1)


@metric("brier_uncertainty", "Uncertainty", higher_is_better=False, show=BRIER)
@_once
def _brier_uncertainty(r: Weighted) -> Array:
    """Part of the Brier score that is of the classes themselves, the same for all models."""
    share = r.support / r.total[:, None]
    return (share * (1 - share)).sum(axis=1)


@metric(
    "brier_within_bin",
    "Within bins",
    higher_is_better=False,
    low=-2.0,
    high=2.0,
    of_probabilities=True,
    show="",
)
def _brier_within_bin(r: Weighted) -> Array:
    """Part of the Brier score that the bins hide (Stephenson 2008).

    With it the parts add up: Brier = reliability - resolution + uncertainty + within bins.
    """
    return _brier(r) - _brier_reliability(r) + _brier_resolution(r) - _brier_uncertainty(r)


def _calibration_error(r: Weighted, which: int | str) -> Array:
    share, score, rate = _bin_rates(r, which)
    return (share * np.abs(score - rate)).sum(axis=1)


@metric(
    "ece",
    "ECE",
    long="Expected calibration error",
    higher_is_better=False,
    of_probabilities=True,
    cites=("guo2017",),
    biased=True,
)
def _ece(r: Weighted) -> Array:
    """Mean over equal-mass bins of |accuracy - mean confidence| of the predicted class."""
    return _calibration_error(r, "top")


@metric(
    "ece",
    "Calibration error",
    per_class=True,
    higher_is_better=False,
    of_probabilities=True,
    show="",
    biased=True,
)
def _class_ece(r: Weighted, k: int) -> Array:
    """Mean over equal-mass bins of |frequency - mean probability| of the class."""
    return _calibration_error(r, k)


@metric(
    "classwise_ece",
    "Classwise ECE",
    higher_is_better=False,
    of_probabilities=True,
    show="",
    biased=True,
)
def _classwise_ece(r: Weighted) -> Array:
    """Mean of the classes' calibration errors."""
    return _class_mean(_over_classes(r, _class_ece))


# -- by name -----------------------------------------------------------------------------


def rows(classes: Sequence[str] = ()) -> dict[str, Row]:
    """What every value of the column `metric` means, overall metrics first.

    The only place that makes names of metrics of a class, and so the only one that takes them
    apart. Raises UserError for a class name that makes two of them, or two curves, the same.
    """
    return _rows(tuple(classes))


def names(classes: Sequence[str] = ()) -> list[str]:
    """All metric names, overall ones first, then `<metric>_<class>` for each class.

    Raises UserError as `rows` does.
    """
    return list(rows(classes))


def lookup(name: str, classes: Sequence[str] = ()) -> Row:
    """The metric behind a name, and the class that it is of. Raises UserError for another name."""
    found = rows(classes)
    if name not in found:
        raise UserError(f"unknown metric '{name}': choose one of {', '.join(found)}")
    return found[name]


def title(name: str, classes: Sequence[str] = ()) -> str:
    """The metric's name for people: AUROC, viral."""
    return lookup(name, classes).title


def shown(place: str) -> list[str]:
    """Names of the metrics of one of the report's tables, the primary metric first."""
    registry = CLASS_METRICS if place == OF_CLASS else METRICS
    found = [metric.name for metric in registry.values() if metric.show == place]
    return sorted(found, key=lambda name: name != PRIMARY)


class Weightings:
    """R weightings (R, N) of the same images in the form that metrics take, made once for many
    samples of as many classes."""

    def __init__(self, weights: Array, classes: int) -> None:
        self.weights, self.classes = weights, classes
        self.parts = [
            (part, _by_image(weights[part], classes))
            for part in _parts(len(weights), weights.shape[1] * classes)
        ]


def _parts(resamples: int, width: int) -> Iterator[slice]:
    rows = max(FEWEST_RESAMPLES, CHUNK_ELEMENTS // width)
    return (slice(start, start + rows) for start in range(0, resamples, rows))


def chunks(sample: Sample, weights: Array | Weightings) -> Iterator[tuple[slice, Weighted]]:
    """The sample under the weightings (R, N), some rows at a time, and which rows they are."""
    if isinstance(weights, Weightings):
        if weights.classes != sample.n_classes:
            raise ValueError(f"weightings for {weights.classes} classes, not {sample.n_classes}")
        for part, by_image in weights.parts:
            yield part, Weighted(sample, weights.weights[part], by_image)
        return
    for part in _parts(len(weights), sample.n * sample.n_classes):
        yield part, Weighted(sample, weights[part])


def compute_many(
    wanted: Sequence[str],
    sample: Sample,
    sample_weight: npt.ArrayLike | Weightings | None = None,
    classes: Sequence[str] | None = None,
) -> Array:
    """Values (R, M) of M named metrics under the weightings (R, N); unit weights if None.

    `classes` names the columns of p ('0', '1', ... if None). Undefined values are NaN.
    """
    classes = [str(k) for k in range(sample.n_classes)] if classes is None else classes
    found = [lookup(name, classes) for name in wanted]
    given = sample_weight if isinstance(sample_weight, Weightings) else None
    if given:
        weights = given.weights
    elif sample_weight is None:
        weights = np.ones((1, sample.n))
    else:
        weights = np.asarray(sample_weight, float)
    if weights.ndim != 2 or weights.shape[1] != sample.n:
        raise ValueError(f"expected sample_weight of shape (R, {sample.n}), got {weights.shape}")
    values = np.empty((len(weights), len(wanted)))
    for part, weighted in chunks(sample, given or weights):
        for column, row in enumerate(found):
            which = () if row.index is None else (row.index,)
            values[part, column] = row.metric.kernel(weighted, *which)
    return values


def compute(
    name: str,
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
    *,
    classes: Sequence[str] | None = None,
    bins: int = EQUAL_MASS_BINS,
    thresholds: npt.ArrayLike | None = None,
) -> float | Array:
    """One metric: a float for no weights or weights (N,), an array (R,) for weights (R, N).

    `y_true` (N,) class indices, `y_prob` (N, K) probabilities. NaN where the metric is undefined.
    Raises UserError for an unknown name, ValueError for wrong shapes.
    """
    sample = Sample(y_true, y_prob, bins=bins, thresholds=thresholds)
    weights = None if sample_weight is None else np.atleast_2d(np.asarray(sample_weight, float))
    values = compute_many([name], sample, weights, classes)[:, 0]
    return values if np.ndim(sample_weight) == 2 else float(values[0])


# The metrics of the confusion matrix alone that models are tested by.
OF_CONFUSION = ("mcc", "accuracy", "balanced_accuracy", "f1_macro", "kappa")


class _Counted(Weighted):
    """Confusion matrices without the images that they are of."""

    def __init__(self, confusion: Array) -> None:
        self.confusion = confusion
        self.total = confusion.sum(axis=(1, 2))


def of_confusion(name: str, confusion: npt.ArrayLike) -> Array:
    """One of the metrics `OF_CONFUSION` of confusion matrices (..., K, K), true class first, (...).

    What is undefined has the value of chance, where the metric has one, as for an MCC with one
    class predicted; else NaN.
    """
    known = METRICS[name]
    matrices = np.asarray(confusion, dtype=np.float64)
    values = known.kernel(_Counted(matrices.reshape(-1, *matrices.shape[-2:])))
    values = values.reshape(matrices.shape[:-2])
    return values if known.chance is None else np.where(np.isnan(values), known.chance, values)


def undefined_reason(name: str, sample: Sample, classes: Sequence[str]) -> str:
    """Why a metric has no value on these images, in words for the `reason` column."""
    metric, index, _ = lookup(name, classes)
    absent = [label for k, label in enumerate(classes) if not (sample.y == k).any()]
    unused = [label for k, label in enumerate(classes) if not (sample.predicted == k).any()]
    if index is not None:
        absent = [label for label in absent if label == classes[index]]
        unused = [label for label in unused if label == classes[index]]
        if metric.at_threshold and np.isnan(sample.thresholds[index]):
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
