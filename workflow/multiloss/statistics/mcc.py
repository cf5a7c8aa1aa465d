"""The Matthews correlation coefficient, by which models are chosen.

Apart from the other metrics, since trainings depend on it and on none of those.
"""

import numpy as np
import numpy.typing as npt


def mcc(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """MCC of class indices y (N,) and probabilities (N, K) or predicted classes (N,).

    NaN when all images have one true or one predicted class.
    """
    y, p = np.asarray(y), np.asarray(p)
    predicted = p.argmax(axis=1) if p.ndim == 2 else p
    classes = p.shape[1] if p.ndim == 2 else int(max(p.max(), y.max())) + 1
    cells = np.bincount(y * classes + predicted, minlength=classes**2)
    return float(mcc_of_confusion(cells.reshape(classes, classes)))


def mcc_of_confusion(confusion: npt.ArrayLike) -> np.ndarray:
    """MCC of confusion matrices (..., K, K), true class first; NaN where a side is constant.

    (s c - sum_k t_k p_k) / sqrt((s^2 - sum t_k^2)(s^2 - sum p_k^2)), with s the total, c the
    diagonal sum, t and p the row and column sums (Gorodkin 2004, doi:10.1016/j.compbiolchem.
    2004.09.006).
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    # Sums over so few classes are several times faster this way than with sum().
    true = np.einsum("...ij->...i", confusion)
    predicted = np.einsum("...ij->...j", confusion)
    total = np.einsum("...i->...", true)
    right = np.einsum("...ii->...", confusion)
    spread_true = total**2 - np.einsum("...i,...i->...", true, true)
    spread_predicted = total**2 - np.einsum("...i,...i->...", predicted, predicted)
    # With fractional weights a constant side leaves rounding noise, not zero.
    floor = 1e-12 * total**2
    defined = (spread_true > floor) & (spread_predicted > floor)
    scale = np.sqrt(np.where(defined, spread_true * spread_predicted, 0.0))
    agreement = right * total - np.einsum("...i,...i->...", true, predicted)
    return np.divide(agreement, scale, out=np.full(np.shape(scale), np.nan), where=scale > 0)


def mcc_or_chance(values: npt.ArrayLike) -> np.ndarray:
    """MCC values with 0, what chance gives, where the MCC is undefined (one class predicted).

    For whatever chooses, ranks or tests models: there a model must not be better or worse for
    having no value. Tables of metrics keep NaN with its reason.
    """
    return np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
