"""Sets of classes with a stated coverage, and errors where a model may leave images unanswered.

Limits are set on the `ensemble` split and judged on `test`.
"""

from collections.abc import Mapping
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.resamples import CHOICE_SPLIT, Models, Options, failed, resample
from multiloss.methods import ensemble_methods
from multiloss.predictions import Predictions
from multiloss.statistics import conformal, usefulness

Array = npt.NDArray[np.float64]

ALL = ""  # of the column `label`: images of all classes
KEPT = np.arange(1, 21) / 20
FITTED = "fitted on the images that set its limits: it may cover less than it says"
COLUMNS = {
    "prediction_sets": ["role", "model", "kind", "coverage", "label", "limit", "patients_of_limit"]
    + ["covered", "ci_low", "ci_high", "mean_size", "one_class", "empty", "every_class"]
    + ["n", "n_patients", "reason"],
    "abstention": ["role", "model", "kind", "asked", "limit", "kept", "error", "ci_low", "ci_high"]
    + ["balanced_error", "n_kept", "n", "n_patients", "reason"],
}


def prediction_set_tables(
    found: Predictions, models: Models, options: Options, seed: int, close: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """tables/prediction_sets.csv and tables/abstention.csv of some models, by name (`COLUMNS`).

    `close`: the models by their role, as from `usefulness.roles`. Coverage counts every patient
    once, as its guarantee does; sizes and errors count images. Errors at abstention: of the images
    whose largest probability reaches a limit that a share `asked` of `ensemble` reaches.
    """
    from scipy.special import ndtri

    test = found.only("test")
    resamples = resample(test, options, seed, "test")
    z = float(ndtri((1 + options["confidence"]) / 2))
    sets: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for model in dict.fromkeys(close.values()):
        choice, p = found.of_model(model, CHOICE_SPLIT), test.of([model])[0]
        # An average over runs with divisions of their own has no images to set limits on.
        if choice is None or failed(p) or failed(choice.p[0]):
            continue
        fitting = choice.p[0]
        role = ";".join(role for role, name in close.items() if name == model)
        told = {"role": role, "model": model, "kind": models[model]["kind"]}
        method = ensemble_methods().get(models[model]["method"])
        note = FITTED if method and method.fitted else ""
        for coverage in options["set_coverage"]:
            limits, counts = conformal.class_limits(fitting, choice.y, choice.patients, coverage)
            inside = conformal.prediction_sets(p, limits)
            size = inside.sum(axis=1)
            for k, label in [(None, ALL), *enumerate(found.classes)]:
                of = np.ones(len(p), bool) if k is None else test.y == k
                known = {} if k is None else {"limit": limits[k], "patients_of_limit": counts[k]}
                few = k is not None and limits[k] == 0
                covered = inside[np.arange(len(p)), test.y]
                sets.append(
                    told
                    | {"coverage": coverage, "label": label, **known}
                    | _shares(covered, of, test.patients, resamples.weights, z)
                    | _sizes(size[of], len(found.classes))
                    | {"reason": _told(few and _too_few(counts[k], coverage), note)}
                )
        limits = conformal.confidence_limits(fitting, KEPT)
        for asked, limit in zip(KEPT, limits, strict=True):
            answers.append(told | {"asked": asked} | _errors(test, p, limit, resamples.weights, z))
    rows = {"prediction_sets": sets, "abstention": answers}
    return {name: pd.DataFrame(rows[name], columns=columns) for name, columns in COLUMNS.items()}


def _told(*reasons: str | bool) -> str:
    return "; ".join(str(reason) for reason in reasons if reason)


def _too_few(count: int, coverage: float) -> str:
    wanted = int(np.ceil(coverage / (1 - coverage) - 1e-9))
    return (
        f"{count} patients with it in the split ensemble, where {wanted} are needed: it is in "
        "every set"
    )


def _shares(
    covered: npt.NDArray[np.bool_],
    of: npt.NDArray[np.bool_],
    patients: npt.NDArray[Any],
    weights: Array,
    z: float,
) -> dict[str, Any]:
    """The share of some images that is covered, every patient counted once, with its interval."""
    if not of.any():
        return {"covered": nan, "ci_low": nan, "ci_high": nan, "n": 0, "n_patients": 0}
    shares = conformal.image_shares(patients[of])
    count = round(shares.sum())
    rate = float((shares * covered[of]).sum() / shares.sum())
    drawn = np.asarray(weights[:, of], float)
    resampled = (drawn @ (shares * covered[of])) / (drawn @ shares)
    size = usefulness.effective_size(rate, resampled, count, count)
    low, high = usefulness.wilson(rate, size, z)
    return {
        "covered": rate,
        "ci_low": float(low),
        "ci_high": float(high),
        "n": int(of.sum()),
        "n_patients": count,
    }


def _sizes(size: npt.NDArray[np.intp], classes: int) -> dict[str, float]:
    if not len(size):
        return dict.fromkeys(("mean_size", "one_class", "empty", "every_class"), nan)
    return {
        "mean_size": float(size.mean()),
        "one_class": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
        "every_class": float((size == classes).mean()),
    }


def _errors(test: Predictions, p: Array, limit: float, weights: Array, z: float) -> dict[str, Any]:
    """Errors among the images that are answered, with the interval over patients."""
    answered = p.max(axis=1) >= limit
    wrong = p.argmax(axis=1) != test.y
    found = {
        "limit": limit,
        "kept": float(answered.mean()),
        "n_kept": int(answered.sum()),
        "n": len(p),
        "n_patients": len(set(test.patients[answered].tolist())),
    }
    if not answered.any():
        nothing = dict.fromkeys(("error", "ci_low", "ci_high", "balanced_error"), nan)
        return found | nothing | {"reason": "no test image is as sure"}
    rate = float(wrong[answered].mean())
    drawn = np.asarray(weights[:, answered], float)
    total = drawn.sum(axis=1)
    resampled = (drawn @ wrong[answered])[total > 0] / total[total > 0]
    size = usefulness.effective_size(rate, resampled, found["n_kept"], found["n_patients"])
    low, high = usefulness.wilson(rate, size, z)
    of_class = [wrong[answered & (test.y == k)] for k in range(p.shape[1])]
    absent = [name for name, part in zip(test.classes, of_class, strict=True) if not len(part)]
    reason = f"no image of {', '.join(absent)} is answered" if absent else ""
    return found | {
        "error": rate,
        "ci_low": float(low),
        "ci_high": float(high),
        "balanced_error": nan if absent else float(np.mean([part.mean() for part in of_class])),
        "reason": reason,
    }
