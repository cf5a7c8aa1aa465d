"""Better probabilities after training, and curves that show how good they are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.statistics.bootstrap import proportion_interval
from multiloss.statistics.calibration_error import bins_of
from multiloss.statistics.calibration_slope import SMALLEST
from multiloss.statistics.metrics import Sample

Array = npt.NDArray[np.float64]

# Beyond these the predictions are constant, or right and wrong with certainty.
TEMPERATURES = (0.05, 20.0)


def apply_temperature(p: npt.ArrayLike, temperature: float) -> Array:
    """softmax(log p / T) of probabilities (N, K): T above 1 makes them less sure."""
    logits = np.log(np.maximum(np.asarray(p, dtype=np.float64), SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """The temperature in [0.05, 20] with the smallest log loss (Guo et al. 2017).

    `y` (N,) class indices, `p` (N, K) probabilities. The log loss is convex in 1 / T.
    """
    from scipy.optimize import minimize_scalar

    y, p = np.asarray(y), np.asarray(p, dtype=np.float64)

    def log_loss(inverse: float) -> float:
        chosen = apply_temperature(p, 1 / inverse)[np.arange(len(y)), y]
        return float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean())

    bounds = (1 / TEMPERATURES[1], 1 / TEMPERATURES[0])
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    # The search never tries the ends themselves, and at constant loss its place is arbitrary.
    best = min((found.x, *bounds), key=log_loss)
    return 1.0 if log_loss(1.0) <= log_loss(best) else float(1 / best)


def adjust_to_prevalence(
    p: npt.ArrayLike, train_prior: npt.ArrayLike, test_prior: npt.ArrayLike
) -> Array:
    """Probabilities (N, K) for another prevalence: p * test_prior / train_prior, scaled to sum 1.

    Saerens et al. (2002). `train_prior` (K,): class prevalence that training saw, uniform under
    balanced class weights; `test_prior` (K,): class prevalence where the model is used. A class
    with a prevalence of 0 in training keeps its probability's weight.
    """
    train_prior, test_prior = np.asarray(train_prior, float), np.asarray(test_prior, float)
    seen = train_prior > 0
    ratio = np.where(seen, test_prior / np.where(seen, train_prior, 1.0), 1.0)
    changed = np.maximum(np.asarray(p, float), SMALLEST) * ratio
    return changed / changed.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Threshold:
    """The operating point of one class: predicted where p >= value."""

    value: float
    sensitivity: float
    specificity: float
    reason: str = ""


def choose_threshold(positive: npt.ArrayLike, score: npt.ArrayLike, rule: str) -> Threshold:
    """The threshold of one class by a rule, on labels and scores (N,).

    `youden`: largest sensitivity + specificity; `sensitivity_90`: the highest that reaches a
    sensitivity of 0.90; `specificity_90`: the lowest that reaches a specificity of 0.90
    (any whole percentage). Ties go to the higher threshold. It lies half-way to the next
    lower score, so that small changes of a probability do not cross it.
    """
    positive, score = np.asarray(positive, bool), np.asarray(score, float)
    if positive.all() or not positive.any():
        which = "all images are" if positive.all() else "no image is"
        return Threshold(np.nan, np.nan, np.nan, f"{which} of the class where it is chosen")
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    # The first point predicts it nowhere.
    sensitivity = np.r_[0.0, positive[order].cumsum()[last] / positive.sum()]
    specificity = np.r_[1.0, 1 - (~positive[order]).cumsum()[last] / (~positive).sum()]
    kind, _, percent = rule.partition("_")
    if kind == "youden":
        place = int(np.argmax(np.round(sensitivity + specificity, 12)))
    elif kind == "sensitivity":
        place = int(np.flatnonzero(sensitivity >= int(percent) / 100 - 1e-12)[0])
    elif kind == "specificity":
        place = int(np.flatnonzero(specificity >= int(percent) / 100 - 1e-12)[-1])
    else:
        raise ValueError(f"unknown rule for the operating point: {rule}")
    steps = np.r_[np.inf, ranked[last], -np.inf]
    upper, lower = steps[place], steps[place + 1]
    if np.isinf(upper):
        value = float(np.nextafter(lower, np.inf))
    else:
        value = float(upper if np.isinf(lower) else (upper + lower) / 2)
    return Threshold(value, float(sensitivity[place]), float(specificity[place]))


def reliability_bins(sample: Sample, patients: npt.ArrayLike, confidence: float) -> pd.DataFrame:
    """Reliability curve of the predicted class in the bins of the ECE.

    Columns: bin, n, n_patients, confidence (mean of the bin), accuracy, ci_low, ci_high
    (Wilson, with the number of images reduced by the design effect of the patients). Empty
    bins are left out.
    """
    top = sample.p.max(axis=1)
    right = sample.predicted == sample.y
    patients = np.asarray(patients)
    place = bins_of(top, sample.bins)
    rows = []
    for number in np.unique(place):
        inside = place == number
        low, high = proportion_interval(right[inside], patients[inside], confidence)
        rows.append(
            {
                "bin": int(number),
                "n": int(inside.sum()),
                "n_patients": len(set(patients[inside].tolist())),
                "confidence": float(top[inside].mean()),
                "accuracy": float(right[inside].mean()),
                "ci_low": low,
                "ci_high": high,
            }
        )
    return pd.DataFrame(rows)
