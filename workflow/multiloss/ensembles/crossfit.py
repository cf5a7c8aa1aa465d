"""Which ensemble is best, judged on images that its weights were not fitted on.

Members are fixed; what is fitted on the `ensemble` split (weights, stackers) is fitted again
without each fold of patients in turn and scored on the fold left out.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from multiloss.ensembles import selection
from multiloss.ensembles.combiners import Combiner
from multiloss.ensembles.selection import DIGITS, RULE, SPLIT
from multiloss.statistics.bootstrap import patient_codes

logger = logging.getLogger(__name__)


def obstacle(patients: Sequence[str], y: np.ndarray, classes: Sequence[str]) -> str:
    """Why fitted methods cannot be cross-fitted on images (N,) of these patients; "" if they can.

    Each fit must see every class, also without the patients whom it is judged on: two patients
    of each class are needed.
    """
    groups, _ = patient_codes(patients)
    for label, name in enumerate(classes):
        count = len(np.unique(groups[np.asarray(y) == label]))
        if count < 2:
            return (
                f"cannot be cross-fitted: class '{name}' has {count} "
                f"patient{'s' * (count != 1)} in the split `{SPLIT}`, two are needed"
            )
    return ""


def folds(patients: Sequence[str], y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Fold of each image (N,): a patient's images share one, classes are spread evenly.

    Without any one fold, patients of every class remain, since each fit must see every class.
    Fewer folds than `count` are made where the rarest class has fewer patients, and more in the
    rare case that patients of several classes cannot be arranged otherwise. Where a class has one
    patient alone nothing can be left out (see `obstacle`): all are of fold 0.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups, _ = patient_codes(patients)
    of_class = [np.unique(groups[y == label]) for label in np.unique(y)]
    rarest = min(len(members) for members in of_class)
    if rarest < 2:
        return np.zeros(len(y), dtype=int)
    possible = min(count, rarest)
    if possible < count:
        logger.warning(
            "cross-fitting with %d folds, not %d: a class has only %d patients in the split "
            "`ensemble`",
            possible,
            count,
            rarest,
        )
    fold = np.empty(len(y), dtype=int)
    splitter = StratifiedGroupKFold(n_splits=possible, shuffle=True, random_state=seed)
    for number, (_, left_out) in enumerate(splitter.split(np.zeros(len(y)), y, groups)):
        fold[left_out] = number
    of_patient = np.empty(groups.max() + 1, dtype=int)
    of_patient[groups] = fold
    # Numbered without gaps, also where the splitter has left a fold empty.
    return np.unique(_part(of_patient, of_class)[groups], return_inverse=True)[1]


def _part(fold: np.ndarray, of_class: Sequence[np.ndarray]) -> np.ndarray:
    """Folds of patients (P,) in which no class has all its patients (indices) in one fold.

    The splitter spreads classes evenly but promises no more. Of a class that lies in one fold, a
    patient moves to the first fold where that gathers no other class. A new fold never gathers
    one, so that each move mends one class and harms none.
    """

    def gathered(fold: np.ndarray) -> list[int]:
        return [k for k, own in enumerate(of_class) if np.ptp(fold[own]) == 0]

    while bad := gathered(fold):
        places = range(fold.max() + 2)
        moves = ((patient, place) for place in places for patient in of_class[bad[0]])
        for patient, place in moves:
            moved = fold.copy()
            moved[patient] = place
            if len(gathered(moved)) < len(bad):
                fold = moved
                break
    return fold


def crossfit(
    make: Callable[[], Combiner], p: np.ndarray, y: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Probabilities (N, K), each from a combiner fitted without the image's fold.

    `make` returns a fresh combiner; `p` (M, N, K), `y` (N,), `fold` (N,) as from `folds`. NaN
    throughout where a fit would not see every class.
    """
    combined = np.empty(p.shape[1:])
    for number in np.unique(fold):
        left_out = fold == number
        fitted = make()
        if not fitted.fits(y[~left_out], p.shape[2]):
            return np.full(p.shape[1:], np.nan)
        fitted.fit(p[:, ~left_out], y[~left_out])
        combined[left_out] = fitted.predict(p[:, left_out])
    return combined


def choose(candidates: pd.DataFrame, families: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The best single model, the best ensemble, and the better of the two.

    `candidates`: rows with kind (single|ensemble), model, score, log_loss, complexity, k and
    reason, in the order of the config. Ties: among singles the lower log loss, among ensembles
    the smaller complexity, then the smaller k, and then the earlier row; an ensemble must beat the
    single model to be the overall choice. An undefined score counts as 0, like chance; a model
    without log loss has no probabilities or could not be judged, and is not chosen. What speaks
    against a choice is said in `rule`: a score of chance or worse, and its `reason`. A kind of
    which nothing can be chosen has no row.

    `families`: by model what its runs share, where each run was judged on images of its own
    (`splits.redraw`). Scores of different images do not compare, but within a run all families
    have the same: so a family is chosen, by the mean of its score and log loss over all runs, and
    of its runs the first that is above chance and that nothing speaks against, or else the first
    above chance, or the first. A family that could not be
    judged in one of the runs is left out.
    """
    table = candidates.assign(
        compared=-selection.compared(candidates["score"], candidates["log_loss"]).round(DIGITS),
        log_loss_compared=candidates["log_loss"].round(DIGITS),
        row=np.arange(len(candidates)),
        reason=candidates.get("reason", pd.Series("", candidates.index)).fillna(""),
    )
    if families is not None:
        table = _of_families(table, families)
    table = table[table["log_loss"].notna()]
    ties = {"single": ["log_loss_compared"], "ensemble": ["complexity", "k"]}
    best = {}
    for kind, keys in ties.items():
        part = table[table["kind"] == kind].sort_values(["compared", *keys, "row"])
        if len(part):
            best[kind] = part.iloc[0]
    rules = {
        "single": RULE,
        "ensemble": "highest MCC on the ensemble split, cross-fitted by patient; ties: the simpler "
        "method, the fewer members",
    }
    if families is not None:
        rules = {
            kind: f"{rule}; by the mean over the runs of a family, each judged on its own division "
            f"({0 - best[kind]['compared']:.3f}), and of these runs the first that is fit"
            for kind, rule in rules.items()
            if kind in best
        }
    rows = [(kind, row, rules[kind]) for kind, row in best.items()]
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
    elif best:
        only = next(iter(best))
        rows.append(("overall", best[only], f"the only kind to choose from: {only}"))
    else:
        logger.warning("nothing is chosen: no model has probabilities")
    columns = [name for name in candidates if name not in ("kind", "complexity")]
    chosen = [
        {"what": what, **row[columns].to_dict(), "rule": _with_notes(rule, row)}
        for what, row, rule in rows
    ]
    return pd.DataFrame(chosen, columns=["what", *columns, "rule"])


def _of_families(table: pd.DataFrame, families: Mapping[str, str]) -> pd.DataFrame:
    """One row a family: that of the run which stands for it, with what is compared as means."""
    keys = ["kind", "family"]
    table = table.assign(
        family=table["model"].map(families),
        lost=table["log_loss"].isna(),
        at_chance=table["compared"] >= 0,
        against=table["reason"] != "",
    )
    groups = table.groupby(keys, sort=False)
    for column in ("compared", "log_loss_compared"):
        table[column] = groups[column].transform("mean").round(DIGITS)
    lost = groups["lost"].transform("any")
    left_out = table.loc[lost, "family"].unique()
    if len(left_out):
        logger.warning("left out of the choice, since a run could not be judged: %s",
                       ", ".join(left_out))  # fmt: skip
    first = table[~lost].sort_values(["at_chance", "against", "row"])
    return first.drop_duplicates(keys).sort_values("row")


def _with_notes(rule: str, row: pd.Series) -> str:
    at_chance = "its score is not above that of chance, 0" if row["compared"] >= 0 else ""
    notes = "; ".join(filter(None, [row["reason"], at_chance]))
    return f"{rule}. Note: {notes}" if notes else rule
