"""Models that have learned one class, or nothing: told from labels and predicted classes alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multiloss.statistics.mcc import mcc_of_confusion, mcc_or_chance

NEVER, DOMINATES, CHANCE = (
    "class_never_predicted",
    "one_class_dominates",
    "no_better_than_chance",
)
# A class dominates when it gets more than the first share of the predictions while it truly has
# at most the second: otherwise a good model of rare findings would look like a collapsed one.
PREDICTED_SHARE, TRUE_SHARE = 0.9, 0.8


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a model.

    `value`: images of the class that is never predicted; share of the predictions of the class
    that dominates; the MCC, undefined counted as 0, where it is at most 0 (`label` is None).
    """

    problem: str
    label: int | None
    value: float

    def describe(self, classes: Sequence[str]) -> str:
        """In words, after a model's name."""
        if self.problem == NEVER:
            return f"never predicts '{classes[self.label]}'"
        if self.problem == DOMINATES:
            return f"predicts '{classes[self.label]}' for {self.value:.0%} of the images"
        return f"is no better than chance (MCC {self.value:.2f})"


def problems(y: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> list[Problem]:
    """What is wrong with predicted classes (N,) of images with labels `y` (N,), both in [0, K).

    Images of one class alone, as an external test may have them, say nothing of chance.
    """
    y, predicted = np.asarray(y), np.asarray(predicted)
    true, called = (np.bincount(values, minlength=n_classes) for values in (y, predicted))
    found = [Problem(NEVER, k, int(true[k])) for k in range(n_classes) if true[k] and not called[k]]
    share = called / len(y)
    found += [
        Problem(DOMINATES, k, float(share[k]))
        for k in range(n_classes)
        if share[k] > PREDICTED_SHARE and true[k] / len(y) <= TRUE_SHARE
    ]
    cells = np.bincount(y * n_classes + predicted, minlength=n_classes**2)
    mcc = float(mcc_or_chance(mcc_of_confusion(cells.reshape(n_classes, n_classes))))
    if mcc <= 0 and np.count_nonzero(true) > 1:
        found.append(Problem(CHANCE, None, mcc))
    return found
