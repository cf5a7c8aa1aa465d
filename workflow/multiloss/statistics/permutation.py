"""Exchange of models' predictions by patient: p values, step-down max-T, intervals.

`scipy.stats.permutation_test` exchanges one pair of samples; here many pairs of models are
exchanged by the same draws, since only so are their dependences known to the correction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multiloss.statistics import metrics
from multiloss.statistics.bootstrap import patient_codes

Array = npt.NDArray[np.float64]

# With so few patients who can be swapped, all swaps are enumerated: at most 2^13 of them.
EXACT_UP_TO = 13
# Differences closer than rounding noise are ties, which count against rejecting.
TIE = 1e-12
CHUNK_ELEMENTS = 2**21


def permutations_needed(hypotheses: int, alpha: float, wanted: int) -> int:
    """Enough permutations for a p value to fall below alpha / hypotheses.

    The smallest p value of B random permutations is 1 / (B + 1). Holm's first threshold is
    alpha / m; step-down max-T has alpha itself, so one hypothesis. Ten times the bare minimum, so
    that one unlucky draw does not decide.
    """
    return max(wanted, int(np.ceil(10 * max(hypotheses, 1) / alpha)))


@dataclass(frozen=True)
class Exchanged:
    """One statistic of m pairs of models, observed and after B exchanges common to all pairs.

    `observed` (m,): first minus second; `drawn` (B, m): the same after each exchange; `shift`
    (B,): what a difference of 1 that all images share becomes by it, the share of images in
    patients not exchanged minus that of those exchanged. `exact`: the exchanges are all there are
    (each as often as the others); `permutations`: how many different ones are looked at;
    `differing` (m,): patients whose exchange changes anything. NaN where the statistic has no
    value.
    """

    observed: Array
    drawn: Array
    shift: Array
    exact: bool
    permutations: int
    differing: npt.NDArray[np.intp]

    def _share(self, hits: Array) -> Array:
        """A count of exchanges as a p value: the data themselves count as one random exchange."""
        draws = len(self.drawn)
        return hits / draws if self.exact else (hits + 1) / (draws + 1)

    def p_values(self) -> Array:
        """Two-sided p of each pair, (m,): how often |d*| >= |d|."""
        hits = (np.abs(self.drawn) >= np.abs(self.observed) - TIE).sum(axis=0)
        return np.where(self._known, self._share(hits), np.nan)

    @property
    def _known(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.observed) & ~np.isnan(self.drawn).any(axis=0)

    def step_down(self) -> Array:
        """p values adjusted by step-down max-T over the pairs, (m,); NaN counts for nothing.

        Westfall & Young 1993; Romano & Wolf 2005 (doi:10.1198/016214504000000539). T is |d| over
        its root mean square after exchange, so that no pair rules for varying more than others.
        From the largest T on, p = share of exchanges in which the largest T* of this and all
        smaller pairs is at least T, and not less than the p before. One pair: its own p value.
        """
        adjusted = np.full(len(self.observed), np.nan)
        known = np.flatnonzero(self._known)
        if not len(known) or not len(self.drawn):
            adjusted[known] = 1.0
            return adjusted
        drawn, observed = np.abs(self.drawn[:, known]), np.abs(self.observed[known])
        scale = np.sqrt((drawn**2).mean(axis=0))
        # No exchange changes anything: no evidence.
        scale[scale <= TIE] = np.inf
        drawn, observed = drawn / scale, observed / scale
        order = np.argsort(-observed, kind="stable")
        largest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
        hits = (largest >= observed[order] - TIE).sum(axis=0)
        adjusted[known[order]] = np.maximum.accumulate(self._share(hits))
        return adjusted

    def intervals(self, confidence: float = 0.95) -> tuple[Array, Array]:
        """The differences that the exchange does not reject, two (m,): low and high.

        The models are taken to differ by a constant in every image, d0. Taken off, the difference
        is d - d0 and after an exchange d* - d0 w, with w the `shift`; d0 is kept where
        p(d0) > 1 - confidence, and p(0) is the p value, so that an interval excludes 0 exactly
        where p <= 1 - confidence. In closed form: each exchange keeps d0 between
        (d + d*) / (1 + w) and (d - d*) / (1 - w), the means of the two parts of the patients
        (typical values of Hartigan 1969, doi:10.1080/01621459.1969.10501057). NaN where too few
        patients leave an end open.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            up = (self.observed + self.drawn) / (1 + self.shift)[:, None]
            down = (self.observed - self.drawn) / (1 - self.shift)[:, None]
        draws, level = len(self.drawn), 1 - confidence
        own = 0 if self.exact else 1
        # So many exchanges must keep a value.
        needed = int(np.floor(level * (draws + own) - own + 1e-9)) + 1
        if needed > draws or needed < 1:
            return (np.full(len(self.observed), np.nan),) * 2
        # Where nobody is exchanged, or everybody, every value is kept.
        everybody = (np.abs(self.shift) > 1 - TIE)[:, None]
        low = np.where(everybody, -np.inf, np.minimum(up, down))
        high = np.where(everybody, np.inf, np.maximum(up, down))
        low = np.partition(low, needed - 1, axis=0)[needed - 1]
        high = np.partition(high, draws - needed, axis=0)[draws - needed]
        open_end = ~np.isfinite(low) | ~np.isfinite(high) | ~self._known
        # A tie with the data is an end at 0 but for rounding, which must not exclude 0.
        low, high = (np.where(np.abs(end) < TIE, 0.0, end) for end in (low, high))
        return np.where(open_end, np.nan, low), np.where(open_end, np.nan, high)


def _exchanges(
    movable: npt.NDArray[np.intp], patients: int, permutations: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int8]]:
    """Chunks (draws, patients) of 0 and 1: whether a patient is exchanged.

    Where few are `movable` all their exchanges occur, each with several draws of the others. The
    draws depend on the number of patients alone, so that a pair has the same beside any others.
    """
    exact = len(movable) <= EXACT_UP_TO
    every = 2 ** len(movable)
    draws = every * max(1, -(-permutations // every)) if exact else permutations
    rows = max(1, CHUNK_ELEMENTS // max(patients, 1))
    for start in range(0, draws, rows):
        number = min(rows, draws - start)
        swapped = rng.integers(0, 2, (number, patients), dtype=np.int8)
        if exact:
            bits = np.arange(start, start + number)[:, None] >> np.arange(len(movable))
            swapped[:, movable] = bits & 1
        yield swapped


def exchange(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    pairs: Sequence[tuple[int, int]],
    patients: npt.ArrayLike,
    n_classes: int,
    permutations: int,
    rng: np.random.Generator,
    statistics: Sequence[str] = ("mcc", "accuracy"),
) -> dict[str, Exchanged]:
    """Exchange the predictions of pairs of models by patient, the same patients for all pairs.

    `y` (N,), `predicted` (M, N): class indices in [0, n_classes); `pairs`: m rows of `predicted`,
    first and second; `patients` (N,); `statistics`: names in `metrics.OF_CONFUSION`. Under no
    difference the two models' predictions of one patient may be exchanged, all images of the
    patient together; each statistic is recomputed from both confusion matrices. All exchanges are
    made where at most 13 patients differ in any pair. Nothing depends on the order of patients or
    images beyond the draws; exchanging first and second changes signs alone.
    """
    from scipy import sparse

    y, predicted = np.asarray(y, dtype=np.intp), np.asarray(predicted, dtype=np.intp)
    codes, count = patient_codes(patients)
    size = n_classes**2
    tables = np.stack(
        [
            np.bincount(codes * size + y * n_classes + of_model, minlength=count * size)
            for of_model in predicted
        ]
    ).reshape(len(predicted), count, size)
    first, second = np.asarray(pairs, dtype=np.intp).reshape(-1, 2).T
    # (m * K^2, patients): what each patient's exchange moves between the pair's matrices. Counts
    # of images are exact in single precision.
    change = sparse.vstack(
        [
            sparse.csr_array((tables[b] - tables[a]).T.astype(np.float32))
            for a, b in zip(first, second, strict=True)
        ],
        format="csr",
    )
    totals = tables.sum(axis=1, dtype=np.float64)
    of_pair = [change[k * size : (k + 1) * size].indices for k in range(len(first))]
    differing = np.array([len(np.unique(patients)) for patients in of_pair])
    movable = np.unique(change.indices).astype(np.intp)
    images = np.bincount(codes, minlength=count).astype(np.float32)
    drawn: dict[str, list[Array]] = {name: [] for name in statistics}
    shifts = []

    def differences(name: str, moved: Array, of: slice) -> Array:
        """(draws, pairs) from what was moved, (pairs, K^2, draws)."""
        values = []
        for total, sign in ((totals[first[of]], 1), (totals[second[of]], -1)):
            matrices = (total[:, :, None] + sign * moved).transpose(2, 0, 1)
            found = metrics.of_confusion(name, matrices.reshape(-1, n_classes, n_classes))
            values.append(found.reshape(matrices.shape[:2]))
        return values[0] - values[1]

    for swapped in _exchanges(movable, count, permutations, rng):
        columns = swapped.T.astype(np.float32)
        shifts.append(1 - 2 * (images @ columns).astype(np.float64) / len(y))
        chunk = {name: np.empty((len(swapped), len(first))) for name in statistics}
        block = max(1, CHUNK_ELEMENTS // (size * len(swapped)))
        for start in range(0, len(first), block):
            of = slice(start, start + block)
            part = change[start * size : (start + block) * size] @ columns
            moved = part.reshape(-1, size, len(swapped)).astype(np.float64)
            for name in statistics:
                chunk[name][:, of] = differences(name, moved, of)
        for name in statistics:
            drawn[name].append(chunk[name])
    none = np.zeros((len(first), size, 1))
    exact = len(movable) <= EXACT_UP_TO
    return {
        name: Exchanged(
            observed=differences(name, none, slice(None))[0],
            drawn=np.concatenate(drawn[name]) if drawn[name] else np.empty((0, len(first))),
            shift=np.concatenate(shifts) if shifts else np.empty(0),
            exact=exact,
            permutations=2 ** len(movable) if exact else permutations,
            differing=differing,
        )
        for name in statistics
    }
