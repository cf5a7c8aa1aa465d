"""How probable it is that "this model is better than that one" is false, given the test images.

For claims about single networks, as papers make them from one run; nothing here knows of seeds.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes
from multiloss.statistics.paired import STATISTICS
from multiloss.statistics.permutation import CHUNK_ELEMENTS

Array = npt.NDArray[np.float64]

# What the flat prior counts for: one patient for each pattern of right and wrong of two models.
PRIOR_PATIENTS = 4.0


def false_claim(only_a: npt.ArrayLike, only_b: npt.ArrayLike) -> Array:
    """P(p_A <= p_B | data) of two models' accuracies, images taken as independent.

    `only_a`, `only_b`: images that A alone, B alone gets right. With a flat prior on the four
    patterns, the shares of (A alone, B alone, rest) of n images are Dirichlet(x1 + 1, x2 + 1,
    n - x1 - x2 + 2) (Christodoulou et al. 2025, arXiv:2505.04720). The first over the sum of the
    first two is Beta(x1 + 1, x2 + 1) whatever the rest, so this is that distribution at 1/2.
    """
    from scipy.special import betainc

    return betainc(np.asarray(only_a, float) + 1, np.asarray(only_b, float) + 1, 0.5)


def posterior_values(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    patients: npt.ArrayLike,
    n_classes: int,
    draws: int,
    rng: np.random.Generator,
    metric: str = "mcc",
) -> Array:
    """Draws (draws, M) of the metric of M models over all patients, jointly.

    The Bayesian bootstrap (Rubin 1981, doi:10.1214/aos/1176345338) over patients: each weighs as
    much as a draw from Gamma(1), all images of it together. So that one patient who alone speaks
    against a claim, or none, does not settle it, the flat prior of `false_claim` is in it as
    imaginary patients of average size: one whom A alone gets right, one B alone, one both, one
    neither, divided over the classes as the images are, errors over the other classes alike; with
    M models one for each alone, together as heavy as those four. For accuracy with one image a
    patient it is the Dirichlet distribution of `false_claim` exactly. `y` (N,), `predicted`
    (M, N): class indices; `metric`: a name of `paired.STATISTICS`.
    """
    y, predicted = np.asarray(y, np.intp), np.asarray(predicted, np.intp)
    value: Callable[[Array], Array] = STATISTICS[metric]
    codes, count = patient_codes(patients)
    models, size = len(predicted), n_classes**2
    # Images of each patient by model, true and predicted class: (P, M * K * K).
    tables = np.concatenate(
        [
            np.bincount(codes * size + y * n_classes + row, minlength=count * size).reshape(
                count, size
            )
            for row in predicted
        ],
        axis=1,
    ).astype(np.float64)
    imaginary = _imaginary(np.bincount(y, minlength=n_classes) / count, models)
    shape = PRIOR_PATIENTS / len(imaginary)
    found = np.empty((draws, models))
    rows = max(1, CHUNK_ELEMENTS // max(count, models * size))
    for start in range(0, draws, rows):
        number = min(rows, draws - start)
        total = rng.standard_exponential((number, count)) @ tables
        total += rng.standard_gamma(shape, (number, len(imaginary))) @ imaginary
        found[start : start + number] = value(total.reshape(number, models, n_classes, n_classes))
    return found


def _imaginary(images: Array, models: int) -> Array:
    """Images of the prior's patients by model, true and predicted class, (M + 2, M * K * K).

    `images` (K,): of each class in a patient of average size.
    """
    classes = len(images)
    right = np.diag(images)
    wrong = images[:, None] * (1 - np.eye(classes)) / (classes - 1)
    patterns = np.vstack([np.eye(models), np.ones(models), np.zeros(models)])
    found = np.where(patterns[:, :, None, None] > 0, right, wrong)
    return found.reshape(len(patterns), -1)


def false_claim_by_patient(
    y: npt.ArrayLike,
    predicted_a: npt.ArrayLike,
    predicted_b: npt.ArrayLike,
    patients: npt.ArrayLike,
    n_classes: int,
    draws: int,
    rng: np.random.Generator,
    metric: str = "mcc",
) -> float:
    """P(A's metric <= B's | data), patients as the units: see `posterior_values`."""
    values = posterior_values(
        y, [predicted_a, predicted_b], patients, n_classes, draws, rng, metric
    )
    return float((values[:, 0] <= values[:, 1]).mean())


def not_best(values: npt.ArrayLike, model: int, others: Sequence[int] | None = None) -> float:
    """P(some other model is at least as good) from draws of `posterior_values` (draws, M).

    Nothing corrects for `model` having been picked as the highest: then this is too low.
    """
    drawn = np.asarray(values, float)
    rest = [k for k in range(drawn.shape[1]) if k != model] if others is None else list(others)
    return float((drawn[:, rest].max(axis=1) >= drawn[:, model]).mean())
