"""Whether a model recognises the classes equally well in all groups of patients.

The measure is the balanced accuracy, the mean of the classes' recalls: MCC, accuracy and predictive
values of a fair classifier differ between groups as soon as their class shares do. The tests
exchange group membership between patients who have the same classes, and their statistics are
studentised, so that they hold their level also where groups differ in size, in images per patient
or in how alike a patient's images are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

# Statistics closer than rounding noise are ties, which count against rejecting.
TIE = 1e-9
# Elements of the largest array of permutations that is held at once.
CHUNK_ELEMENTS = 2**21


@dataclass(frozen=True)
class Gap:
    """One model in G groups of one column.

    `values` (G,): balanced accuracies; `best`, `worst`: the groups with the largest and smallest
    one; `gap`: their difference, with the interval of the largest difference between any two
    groups. `statistic`: the largest |difference| over its standard error of all pairs; `p_value`:
    of no difference between any groups. `against` (G,): each group minus all others together, with
    `against_low` and `against_high` (simultaneous over the groups), `against_statistic`,
    `against_p`, and `against_adjusted` by max-T over the groups. `movable`: patients whose group
    can be exchanged with another's.
    """

    values: Array
    best: int
    worst: int
    gap: float
    gap_low: float
    gap_high: float
    statistic: float
    p_value: float
    against: Array
    against_low: Array
    against_high: Array
    against_statistic: Array
    against_p: Array
    against_adjusted: Array
    movable: int


def comparable(
    y: npt.ArrayLike,
    patients: npt.ArrayLike,
    groups: npt.ArrayLike,
    n_classes: int,
    n_groups: int,
    minimum: int,
    of_class: int,
) -> tuple[list[int], list[int]]:
    """The groups that can be compared, and the classes in which: two ascending lists.

    `y`, `patients`, `groups` (N,), -1 where the group is not known. A group needs `minimum`
    patients. Of the classes, those count of which at least two groups have `of_class` patients;
    a group that has fewer of one of these is left out.
    """
    y, groups = np.asarray(y), np.asarray(groups)
    counts = patient_counts(y, patients, groups, n_classes, n_groups)
    large = [g for g in range(n_groups) if counts[g, -1] >= minimum]
    enough = counts[:, :n_classes] >= of_class
    classes = [k for k in range(n_classes) if enough[large, k].sum() >= 2]
    return [g for g in large if classes and enough[g, classes].all()], classes


def patient_counts(
    y: npt.ArrayLike,
    patients: npt.ArrayLike,
    groups: npt.ArrayLike,
    n_classes: int,
    n_groups: int,
) -> Integers:
    """Patients of each group with images of each class and, last, of any: (G, K + 1)."""
    y, groups = np.asarray(y), np.asarray(groups)
    codes, count = patient_codes(patients)
    known = groups >= 0
    seen = np.zeros((n_groups, n_classes, count), dtype=bool)
    seen[groups[known], y[known], codes[known]] = True
    return np.column_stack([seen.sum(axis=2), seen.any(axis=1).sum(axis=1)])


def gap_tests(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    patients: npt.ArrayLike,
    groups: npt.ArrayLike,
    compared: Sequence[int],
    classes: Sequence[int],
    permutations: int,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> list[Gap]:
    """Gaps between the groups of one column, for each of M models by the same permutations.

    `y` (N,) class indices, `predicted` (M, N), `patients` (N,), `groups` (N,) with -1 where not
    known; `compared` (two or more groups) and `classes` as from `comparable`: images of other
    groups and classes have no part. Raises ValueError for fewer than two groups, and where a
    compared group lacks one of the classes.

    A balanced accuracy is (1/K) sum_k x_k / n_k, with n_k images of class k and x_k right ones. Its
    standard error is by patient: se^2 = sum_i (1/K sum_k (x_ik - r_k n_ik) / n_k)^2, where each
    class has two more patients of average size, one all right and one all wrong (after Agresti and
    Coull 1998), so that it is not 0 where all are right. A difference of two has the root of the
    sum of squares (a patient with images in both makes that a little too large).

    Under no difference between groups, given the classes, membership can be exchanged between
    patients with the same set of classes. Patients with images in several groups keep them. With
    T = |d| / se the test is exact under exchangeability, and holds asymptotically where only the
    balanced accuracies are equal (Chung and Romano 2013, Annals of Statistics 41:484-507,
    doi:10.1214/13-AOS1090). Adjusted p of a difference = (1 + #{max T* >= T}) / (B + 1), the
    largest T* being that of all pairs of groups, or of all groups against the rest; that of the
    gap is the smallest over the pairs. Where groups are so unlike that the exchanged ones are no
    guide, T must also be large for a normal deviate: of the two p values the larger counts, and an
    interval is d +- max(c, z) se with c the quantile of max T* and z that of the normal one. So an
    interval leaves out 0 exactly where p <= 1 - `confidence`. Intervals are simultaneous over all
    pairs, so that the true largest difference lies between the largest lower and the largest upper
    end at least as often. Nothing depends on the order of images, patients or models beyond the
    draws.
    """
    if len(compared) < 2:
        raise ValueError("two groups are needed")
    data = _Patients.of(y, predicted, patients, groups, compared, classes)
    observed = data.judged(data.own[None])
    if not (data.counts(data.own[None]) > 0).all():
        raise ValueError("a compared group lacks one of the classes")
    largest, against = [], []
    for own in data.exchanged(permutations, rng):
        drawn = data.judged(own)
        largest.append(np.stack([pairs.largest for _, pairs, _ in drawn], axis=1))
        against.append(np.stack([rest.statistic for _, _, rest in drawn], axis=1))
    largest_t, against_t = np.concatenate(largest), np.concatenate(against)
    return [
        _gap(found, largest_t[:, m], against_t[:, m], data.movable, confidence)
        for m, found in enumerate(observed)
    ]


@dataclass(frozen=True)
class _Differences:
    """Differences of balanced accuracies under B memberships, (B, D), and their standard errors."""

    value: Array
    se: Array

    @classmethod
    def between(cls, first: "_Accuracies", second: "_Accuracies") -> "_Differences":
        return cls(first.value - second.value, np.sqrt(first.square + second.square))

    @property
    def statistic(self) -> Array:
        return np.abs(self.value) / self.se

    @property
    def largest(self) -> Array:
        return self.statistic.max(axis=1)


@dataclass(frozen=True)
class _Accuracies:
    """Balanced accuracies under B memberships, (B, G), and their squared standard errors."""

    value: Array
    square: Array

    def of(self, groups: Integers) -> "_Accuracies":
        return _Accuracies(self.value[:, groups], self.square[:, groups])


@dataclass(frozen=True)
class _Patients:
    """Sums over each patient's images, of which every membership's values are made.

    `sums` (M, P, F): by model the counts n and x of each class and their products; `fixed`
    (M, G, F): of patients whose images lie in several groups; `own` (P,): the group of the others;
    `strata` (P,): those with the same classes.
    """

    sums: Array
    fixed: Array
    own: Integers
    strata: Integers
    groups: int
    classes: int

    @classmethod
    def of(
        cls,
        y: npt.ArrayLike,
        predicted: npt.ArrayLike,
        patients: npt.ArrayLike,
        groups: npt.ArrayLike,
        compared: Sequence[int],
        classes: Sequence[int],
    ) -> "_Patients":
        y, predicted = np.asarray(y, np.intp), np.asarray(predicted, np.intp)
        groups = np.asarray(groups, np.intp)
        keep = np.isin(groups, compared) & np.isin(y, classes)
        place = {g: number for number, g in enumerate(compared)}
        group = np.array([place[g] for g in groups[keep].tolist()], dtype=np.intp)
        label = np.searchsorted(classes, y[keep])
        codes, count = patient_codes(np.asarray(patients)[keep])
        # A patient in several groups is as many pieces.
        pieces, piece = np.unique(codes * len(compared) + group, return_inverse=True)
        patient, of_piece = np.divmod(pieces, len(compared))
        alone = np.bincount(patient, minlength=count)[patient] == 1
        k = len(classes)

        def counted(weights: Array | None) -> Array:
            cells = np.bincount(piece * k + label, weights, minlength=len(pieces) * k)
            return cells.reshape(-1, k).astype(np.float64)

        n = counted(None)
        right = (predicted[:, keep] == y[keep]).astype(np.float64)
        sums = []
        for of_model in right:
            x = counted(of_model)
            products = [(a[:, :, None] * b[:, None, :]) for a, b in ((n, n), (x, x), (x, n))]
            sums.append(np.hstack([n, x, *(each.reshape(-1, k * k) for each in products)]))
        sums = np.stack(sums)
        fixed = np.zeros((len(sums), len(compared), sums.shape[2]))
        np.add.at(fixed, (slice(None), of_piece[~alone]), sums[:, ~alone])
        _, strata = np.unique(n[alone] > 0, axis=0, return_inverse=True)
        return cls(sums[:, alone], fixed, of_piece[alone], strata.ravel(), len(compared), k)

    @property
    def movable(self) -> int:
        """Patients in whose stratum there is another group."""
        mixed = [len(set(self.own[self.strata == s].tolist())) > 1 for s in set(self.strata)]
        return sum(
            int((self.strata == s).sum())
            for s, exchanges in zip(set(self.strata), mixed, strict=True)
            if exchanges
        )

    def exchanged(self, permutations: int, rng: np.random.Generator) -> Iterator[Integers]:
        """Memberships (rows, P) with each stratum's shuffled, `permutations` in all."""
        order = np.argsort(self.strata, kind="stable")
        members = self.own[order]
        rows = max(1, CHUNK_ELEMENTS // max(len(order), self.groups**2, 1))
        for start in range(0, permutations, rows):
            number = min(rows, permutations - start)
            places = np.argsort(self.strata + rng.random((number, len(order))), axis=1)
            shuffled = np.empty((number, len(order)), dtype=np.intp)
            np.put_along_axis(shuffled, places, members[None], axis=1)
            yield shuffled

    def _sums(self, own: Integers, model: int) -> Array:
        """Sums over the patients of each group under each membership, (B, G, F)."""
        return np.stack(
            [
                (own == g).astype(np.float64) @ self.sums[model] + self.fixed[model, g]
                for g in range(self.groups)
            ],
            axis=1,
        )

    def counts(self, own: Integers) -> Array:
        """Images of each class in each group under each membership, (B, G, K)."""
        return self._sums(own, 0)[:, :, : self.classes]

    def judged(self, own: Integers) -> list[tuple[_Accuracies, _Differences, _Differences]]:
        """Of every model under memberships (B, P): the groups' values, the differences of all pairs
        of groups, and those of each group and all others together."""
        first, second = np.triu_indices(self.groups, 1)
        found = []
        for model in range(len(self.sums)):
            of_groups = self._sums(own, model)
            of_rest = of_groups.sum(axis=1, keepdims=True) - of_groups
            each, rest = self._accuracies(of_groups), self._accuracies(of_rest)
            pairs = _Differences.between(each.of(first), each.of(second))
            found.append((each, pairs, _Differences.between(each, rest)))
        return found

    def _accuracies(self, sums: Array) -> _Accuracies:
        """Balanced accuracies from sums (..., F)."""
        k = self.classes
        n, x = sums[..., :k], sums[..., k : 2 * k]
        nn, xx, xn = (
            sums[..., 2 * k + i * k * k : 2 * k + (i + 1) * k * k].reshape(*n.shape, k)
            for i in range(3)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            # The size of the patient whom an average image is of.
            size = np.diagonal(nn, axis1=-2, axis2=-1) / n
            rate = (x + size) / (n + 2 * size)
            of_first, of_second = rate[..., :, None], rate[..., None, :]
            products = xx - of_second * xn - of_first * np.swapaxes(xn, -1, -2)
            products = products + of_first * of_second * nn
            # Squares add up over n + 2 sizes of images, and the mean is over n of them.
            scale = np.sqrt(n * (n + 2 * size))
            covariance = products / (scale[..., :, None] * scale[..., None, :])
            added = size**2 * (rate**2 + (1 - rate) ** 2) / scale**2
            square = np.maximum(covariance.sum(axis=(-2, -1)), 0.0) + added.sum(axis=-1)
            return _Accuracies((x / n).mean(axis=-1), square / k**2)


def _judge(found: _Differences, largest: Array, confidence: float) -> tuple[Array, Array, Array]:
    """Ends of the simultaneous intervals of D observed differences, and their adjusted p, (D,).

    `largest` (B,): of the largest statistic under each permutation.
    """
    from scipy.special import ndtr, ndtri

    value, se, t = (each[0] for each in (found.value, found.se, found.statistic))
    factor = np.maximum(_critical(largest, confidence), ndtri((1 + confidence) / 2))
    adjusted = _share(largest[:, None] >= t - TIE)
    ends = (np.clip(value - factor * se, -1.0, 1.0), np.clip(value + factor * se, -1.0, 1.0))
    return *ends, np.maximum(adjusted, 2 * ndtr(-t))


def _share(hits: npt.NDArray[np.bool_]) -> Array:
    """p from permutations (B, ...), the data themselves counted as one."""
    return (1 + hits.sum(axis=0)) / (len(hits) + 1)


def _gap(
    observed: tuple[_Accuracies, _Differences, _Differences],
    largest: Array,
    against: Array,
    movable: int,
    confidence: float,
) -> Gap:
    """The observed values beside those of the permutations: (B,) of pairs, (B, G) of groups."""
    from scipy.special import ndtr

    each, pairs, of_rest = observed
    value = each.value[0]
    low, high, p_values = _judge(pairs, largest, confidence)
    rest_low, rest_high, adjusted = _judge(of_rest, against.max(axis=1), confidence)
    t = of_rest.statistic[0]
    best, worst = int(np.argmax(value)), int(np.argmin(value))
    return Gap(
        values=value,
        best=best,
        worst=worst,
        gap=float(value[best] - value[worst]),
        # Either group of a pair may be the better one.
        gap_low=float(max(0.0, low.max(), -high.min())) if np.isfinite(low).all() else nan,
        gap_high=float(max(high.max(), -low.min())) if np.isfinite(low).all() else nan,
        statistic=float(pairs.largest[0]),
        p_value=float(p_values.min()),
        against=of_rest.value[0],
        against_low=rest_low,
        against_high=rest_high,
        against_statistic=of_rest.value[0] / of_rest.se[0],
        against_p=np.maximum(_share(against >= t - TIE), 2 * ndtr(-t)),
        against_adjusted=adjusted,
        movable=movable,
    )


def _critical(drawn: Array, confidence: float) -> float:
    """What T must exceed for p <= 1 - confidence; NaN where no T could."""
    allowed = int(np.floor((1 - confidence) * (len(drawn) + 1) + 1e-9)) - 1
    if allowed < 0:
        return nan
    return float(np.sort(drawn)[::-1][allowed])
