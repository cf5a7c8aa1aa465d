"""Sets of classes that hold the true one as often as they say, whatever the model.

Split conformal prediction with a limit for each class, so that rare classes are covered too, and
with patients, not images, as what is exchangeable.
"""

import numpy as np
import numpy.typing as npt

from multiloss.statistics.bootstrap import patient_codes

Array = npt.NDArray[np.float64]


def image_shares(patients: npt.ArrayLike) -> Array:
    """The weight of each image (N,) where every patient counts once: 1 / its number of images."""
    codes, count = patient_codes(patients)
    return 1 / np.bincount(codes, minlength=count)[codes]


def class_limits(
    p: npt.ArrayLike, y: npt.ArrayLike, patients: npt.ArrayLike, coverage: float
) -> tuple[Array, npt.NDArray[np.intp]]:
    """From which probability on a class belongs to the set of an image, (K,), and patients, (K,).

    `p` (N, K), `y` (N,), `patients` (N,): images that neither trained the model nor are judged. Of
    the patients with images of a class each has the weight 1 / (m + 1), shared by these images,
    and a further one, whose images are unknown, has the rest. The limit is the largest that a share
    of `coverage` of the weight reaches. So a random image of the class, of a new patient who has
    such images, has its class in the set with at least that probability over such patients (Lee,
    Barber & Willett 2023, arXiv:2306.06342; conditional on the class: Vovk 2012,
    arXiv:1209.2673). With one image a patient it is the usual (m + 1) rule. 0, so that the class is
    in every set,
    where there are too few patients: fewer than coverage / (1 - coverage).
    """
    p, y, patients = np.asarray(p, float), np.asarray(y), np.asarray(patients)
    limits, counts = np.zeros(p.shape[1]), np.zeros(p.shape[1], dtype=np.intp)
    for k in range(p.shape[1]):
        inside = y == k
        if not inside.any():
            continue
        of_class = patients[inside]
        counts[k] = len(set(of_class.tolist()))
        weights = image_shares(of_class) / (counts[k] + 1)
        # The likeliest first: those below them are the ones that may be missed.
        order = np.argsort(-p[inside, k], kind="stable")
        reached = weights[order].cumsum() >= coverage - 1e-9
        if reached.any():
            limits[k] = p[inside, k][order][np.argmax(reached)]
    return limits, counts


def prediction_sets(p: npt.ArrayLike, limits: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which classes belong to the set of each image, (N, K): p at or above the class's limit."""
    return np.asarray(p, float) >= np.asarray(limits, float)


def confidence_limits(p: npt.ArrayLike, kept: npt.ArrayLike) -> Array:
    """The largest probability from which on a share (G,) of the images (N, K) is answered.

    0 where all are. Labels are not looked at.
    """
    top = np.sort(np.asarray(p, float).max(axis=1))[::-1]
    share = np.asarray(kept, float)
    count = np.clip(np.ceil(share * len(top) - 1e-9).astype(int), 1, len(top))
    return np.where(share >= 1, 0.0, top[count - 1])
