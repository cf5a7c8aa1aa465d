"""Which models predict one class, miss a class, or know nothing: tables/degenerate.csv."""

from typing import Any

import pandas as pd

from multiloss.evaluation.resamples import Models, failed, parts_of
from multiloss.predictions import Predictions
from multiloss.statistics.bootstrap import patient_codes
from multiloss.statistics.degenerate import problems

COLUMNS = ["model", "kind", "split", "problem", "class", "value", "n", "n_patients"]


def degenerate_table(found: Predictions, models: Models) -> pd.DataFrame:
    """One row for each problem of each model on `ensemble`, `test` and every external test.

    Columns: model, kind, split, problem (`class_never_predicted`, `one_class_dominates`,
    `no_better_than_chance`; see `statistics.degenerate`), class (empty for the last), value, n,
    n_patients. Models without probabilities are left out. A model is called degenerate where it
    has a row: of the test split for results, of the ensemble split for choices.
    """
    rows: list[dict[str, Any]] = []
    for split, part in parts_of(found):
        if split == "val":
            continue  # it decides nothing that a collapsed model could win
        y, patients = part.y, patient_codes(part.patients)[1]
        for model, p in zip(part.models, part.p, strict=True):
            if failed(p):
                continue
            rows += [
                {
                    "model": model,
                    "kind": models[model]["kind"],
                    "split": split,
                    "problem": one.problem,
                    "class": "" if one.label is None else part.classes[one.label],
                    "value": one.value,
                    "n": len(y),
                    "n_patients": patients,
                }
                for one in problems(y, p.argmax(axis=1), len(part.classes))
            ]
    return pd.DataFrame(rows, columns=COLUMNS)
