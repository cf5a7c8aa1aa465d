"""Do models err on the same images? Pairwise measures on plain arrays.

For two models, a is the share of images both get right, d both wrong, b and c one alone
right (Kuncheva & Whitaker 2003, doi:10.1023/A:1022859003006):

- q_statistic (Yule's Q): (ad - bc) / (ad + bc); 0 for independent errors, 1 for errors on
  the same images, negative for errors on different ones;
- error_correlation: (ad - bc) / sqrt((a+b)(c+d)(a+c)(b+d)), the correlation of the errors;
- disagreement: b + c; double_fault: d.
"""

from collections.abc import Sequence

import numpy as np

MEASURES = ("q_statistic", "disagreement", "double_fault", "error_correlation")


def pairwise_agreement(
    right: np.ndarray, pairs: Sequence[tuple[int, int]], weights: np.ndarray | None = None
) -> np.ndarray:
    """The four measures of P pairs of models under R weightings, (P, R, 4), as in MEASURES.

    `right` (M, N) bool: does the model classify the image correctly; `weights` (R, N), unit
    weights if None. NaN where undefined: Q if ad + bc = 0, the correlation if a model makes no
    error or nothing else.
    """
    right = np.asarray(right, dtype=float)
    weights = np.ones((1, right.shape[1])) if weights is None else np.asarray(weights, float)
    first, second = (right[[pair[side] for pair in pairs]] for side in (0, 1))
    # Whole weights add up exactly, so that an empty cell is 0 and not rounding noise.
    total = weights.sum(axis=1)
    both = (first * second) @ weights.T
    one, other = first @ weights.T - both, second @ weights.T - both
    neither = total - both - one - other
    product, cross = both * neither, one * other
    q = _divide(product - cross, product + cross)
    spread = (both + one) * (other + neither) * (both + other) * (one + neither)
    correlation = _divide(product - cross, np.sqrt(np.maximum(spread, 0)))
    return np.stack([q, (one + other) / total, neither / total, correlation], axis=2)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
