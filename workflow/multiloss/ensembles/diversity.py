"""Which pairs of models are worth comparing by their errors, and the table of agreement."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from multiloss.predictions import Predictions
from multiloss.statistics.agreement import MEASURES, pairwise_agreement
from multiloss.statistics.bootstrap import (
    degrees_of_freedom,
    label_strata,
    patient_codes,
    patient_weights,
    transformed_interval,
)
from multiloss.study import Model, Models

# Between which values each of MEASURES lies.
LOWEST, HIGHEST = (-1.0, 0.0, 0.0, -1.0), (1.0, 1.0, 1.0, 1.0)
# Pairs whose resampled errors are counted together.
AT_ONCE = 32


def model_pairs(models: Sequence[Model]) -> list[tuple[int, int, str]]:
    """Pairs of trained models that are worth comparing, by index, and what differs.

    `losses`: two variants, same replicate; `seeds`: two replicates of one variant. Pairs in which
    both differ say nothing that these do not.
    """
    found = []
    for i, j in combinations(range(len(models)), 2):
        if models[i].replicate == models[j].replicate:
            found.append((i, j, "losses"))
        elif models[i].variant == models[j].variant:
            found.append((i, j, "seeds"))
    return found


def table(
    predictions: Predictions,
    models: Models,
    split: str,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Measures of all pairs of single models on one split, with patient-bootstrap intervals.

    Intervals as those of metrics, on a scale without bounds (`bootstrap.transformed_interval`):
    percentiles of the resamples cover too seldom with few patients.

    Columns: split, model_a, model_b, differs (losses|seeds), each measure with its _ci_low and
    _ci_high, n, n_patients, reason (why a value is empty). Models without probabilities are
    left out.
    """
    part = predictions.only(split)
    usable = np.flatnonzero(np.isfinite(part.p).all(axis=(1, 2)))
    names = [part.models[k] for k in usable]
    y = part.y
    right = part.p[usable].argmax(axis=2) == y
    pairs = model_pairs([models[name] for name in names])
    strata = label_strata(part.patients, y)
    weights = patient_weights(part.patients, strata, resamples, rng)
    df = degrees_of_freedom(part.patients, strata)
    size = {"n": len(y), "n_patients": patient_codes(part.patients)[1]}
    places = [(i, j) for i, j, _ in pairs]
    found = pairwise_agreement(right, places)[:, 0]
    intervals = (
        transformed_interval(drawn, values, LOWEST, HIGHEST, df, confidence)
        for start in range(0, len(pairs), AT_ONCE)
        for drawn, values in zip(
            pairwise_agreement(right, places[start : start + AT_ONCE], weights),
            found[start : start + AT_ONCE],
            strict=True,
        )
    )
    rows = []
    for (i, j, differs), values, (low, high) in zip(pairs, found, intervals, strict=True):
        row = {"split": split, "model_a": names[i], "model_b": names[j], "differs": differs}
        for column, name in enumerate(MEASURES):
            row |= {
                name: values[column],
                f"{name}_ci_low": low[column] if np.isfinite(values[column]) else np.nan,
                f"{name}_ci_high": high[column] if np.isfinite(values[column]) else np.nan,
            }
        rows.append(row | size | {"reason": _reason(values, low)})
    columns = ["split", "model_a", "model_b", "differs"]
    columns += [f"{name}{end}" for name in MEASURES for end in ("", "_ci_low", "_ci_high")]
    return pd.DataFrame(rows, columns=[*columns, "n", "n_patients", "reason"])


def _reason(values: np.ndarray, low: np.ndarray) -> str:
    undefined = [name for name, value in zip(MEASURES, values, strict=True) if np.isnan(value)]
    bare = [
        name
        for name, value, end in zip(MEASURES, values, low, strict=True)
        if np.isfinite(value) and np.isnan(end)
    ]
    told = []
    if undefined:
        told.append(f"{' and '.join(undefined)} undefined: the four cells leave 0/0")
    if bare:
        told.append(f"no interval of {' and '.join(bare)}: at the end of the range, or constant")
    return "; ".join(told)
