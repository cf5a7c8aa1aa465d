"""Which ranks of models the data leave possible, by tests of all pairs.

The rank of a model is 1 + the number of models that are truly better. With all pairs tested at a
family-wise level, those shown to be better than it are surely before it and those shown to be
worse surely behind it (Mogstad, Romano, Shaikh and Wilhelm 2024, doi:10.1093/restud/rdad006).
Unlike the share of resamples in which a model is best, which leans towards the observed winner,
the intervals hold the true ranks of all models together with the stated confidence; of models
that are truly equal, every rank that they share. docs/optimism-simulation.md shows that.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multiloss.statistics.paired import holm

Array = npt.NDArray[np.float64]


def pairwise_t_tests(values: npt.ArrayLike, drawn: npt.ArrayLike, df: float) -> Array:
    """Two-sided p of every pair of M models, (M, M): difference over the SD of its resamples.

    `values` (M,), `drawn` (R, M): the same resamples of patients for all, `df`: degrees of freedom
    of Student's t, those of the patients. Pairs whose difference never varies have p 1; all are
    NaN below one degree of freedom.
    """
    from scipy.stats import t

    values, drawn = np.asarray(values, float), np.asarray(drawn, float)
    if df < 1 or len(drawn) < 2:
        return np.full((len(values), len(values)), np.nan)
    covariance = np.atleast_2d(np.cov(drawn, rowvar=False))
    own = np.diag(covariance)
    spread = np.sqrt(np.maximum(own[:, None] + own - 2 * covariance, 0.0))
    varies = spread > 1e-9
    statistic = np.abs(values[:, None] - values) / np.where(varies, spread, 1.0)
    return np.where(varies, 2 * t.sf(statistic, df), 1.0)


@dataclass(frozen=True)
class RankIntervals:
    """`better`, `worse` (M,): how many models are shown to be better or worse than each; its rank
    lies between `first` and `last`, both (M,). `hypotheses`: pairs that were tested."""

    better: npt.NDArray[np.intp]
    worse: npt.NDArray[np.intp]
    hypotheses: int

    @property
    def first(self) -> npt.NDArray[np.intp]:
        return 1 + self.better

    @property
    def last(self) -> npt.NDArray[np.intp]:
        return len(self.worse) - self.worse


def rank_intervals(values: npt.ArrayLike, p_values: npt.ArrayLike, alpha: float) -> RankIntervals:
    """Simultaneous intervals of the ranks of M models, where a larger value is better.

    `values` (M,), `p_values` (M, M) two-sided, of which those above the diagonal are read; NaN
    where a pair could not be tested. Holm's correction over the pairs, rejecting at p <= alpha.
    """
    values, tested = np.asarray(values, float), np.asarray(p_values, float)
    upper = np.triu_indices(len(values), 1)
    adjusted = np.full(tested.shape, np.nan)
    adjusted[upper] = holm(tested[upper])
    rejected = adjusted <= alpha
    shown = rejected | rejected.T
    ahead = values[None, :] > values[:, None]
    behind = values[None, :] < values[:, None]
    return RankIntervals(
        (shown & ahead).sum(axis=1),
        (shown & behind).sum(axis=1),
        int((~np.isnan(tested[upper])).sum()),
    )
