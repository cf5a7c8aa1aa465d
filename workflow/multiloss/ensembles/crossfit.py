"""Which ensemble is best, judged on images that its weights were not fitted on.

Members are fixed; what is fitted on the `ensemble` split (weights, stackers) is fitted again
without each fold of patients in turn and scored on the fold left out.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from multiloss.ensembles.combiners import Combiner
from multiloss.ensembles.selection import DIGITS, RULE
from multiloss.errors import UserError
from multiloss.statistics.bootstrap import patient_codes

logger = logging.getLogger(__name__)


def folds(patients: Sequence[str], y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Fold of each image (N,): a patient's images share one, classes are spread evenly.

    Fewer folds are made where the rarest class has fewer patients than `count`, since each
    fit must see every class. Raises UserError where not even two can be made.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups, total = patient_codes(patients)
    per_class = [len(np.unique(groups[y == label])) for label in np.unique(y)]
    possible = min(count, max(min(per_class), 2))
    if total < 2:
        raise UserError(
            "splits.ratios.ensemble: cross-fitting needs two patients or more in the split "
            f"`ensemble`, which has {total}; enlarge it"
        )
    if possible < count:
        logger.warning(
            "cross-fitting with %d folds, not %d: a class has only %d patients in the split "
            "`ensemble`",
            possible,
            count,
            min(per_class),
        )
    fold = np.empty(len(y), dtype=int)
    splitter = StratifiedGroupKFold(n_splits=possible, shuffle=True, random_state=seed)
    for number, (_, left_out) in enumerate(splitter.split(np.zeros(len(y)), y, groups)):
        fold[left_out] = number
    return fold


def crossfit(
    make: Callable[[], Combiner], p: np.ndarray, y: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Probabilities (N, K), each from a combiner fitted without the image's fold.

    `make` returns a fresh combiner; `p` (M, N, K), `y` (N,), `fold` (N,).
    """
    combined = np.empty(p.shape[1:])
    for number in np.unique(fold):
        left_out = fold == number
        fitted = make().fit(p[:, ~left_out], y[~left_out])
        combined[left_out] = fitted.predict(p[:, left_out])
    return combined


def choose(candidates: pd.DataFrame) -> pd.DataFrame:
    """The best single model, the best ensemble, and the better of the two.

    `candidates`: rows with kind (single|ensemble), model, score, log_loss, complexity and k, in
    the order of the config. Ties: among singles the lower log loss, among ensembles the smaller
    complexity, then the smaller k, and then the earlier row; an ensemble must beat the single
    model to be the overall choice. An undefined score never wins over a defined one.
    """
    table = candidates.assign(
        compared=-candidates["score"].fillna(-np.inf).round(DIGITS),
        log_loss_compared=candidates["log_loss"].round(DIGITS),
        row=np.arange(len(candidates)),
    )
    ties = {"single": ["log_loss_compared"], "ensemble": ["complexity", "k"]}
    best = {}
    for kind, keys in ties.items():
        part = table[table["kind"] == kind].sort_values(["compared", *keys, "row"])
        if len(part):
            best[kind] = part.iloc[0]
    if not best:
        raise UserError("ensembles: there is no single model and no ensemble to choose from")
    rows = [
        ("single", best.get("single"), RULE),
        (
            "ensemble",
            best.get("ensemble"),
            "highest MCC on the ensemble split, cross-fitted by patient; ties: the simpler method, "
            "the fewer members",
        ),
    ]
    if len(best) == 2:
        wins = best["ensemble"]["compared"] < best["single"]["compared"]
        rows.append(
            (
                "overall",
                best["ensemble" if wins else "single"],
                "the ensemble, since it beats the best single model's score"
                if wins
                else "the single model, since no ensemble beats its score",
            )
        )
    else:
        only = next(iter(best))
        rows.append(("overall", best[only], f"the only kind in this study: {only}"))
    columns = [name for name in candidates if name not in ("kind", "complexity")]
    return pd.DataFrame(
        [
            {"what": what, **row[columns].to_dict(), "rule": rule}
            for what, row, rule in rows
            if row is not None
        ]
    )
