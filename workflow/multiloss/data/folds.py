"""Folds of patients: the runs of a pass take turns in testing on them, so that all are tested on.

Each pass draws folds of its own, by whole groups and with every class in its share. What a run does
not test on is divided into train, val and ensemble.
"""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd

from multiloss.data import splits
from multiloss.data.layouts import SHIPPED_TEST
from multiloss.data.tables import REDRAWN_SPLITS, is_external
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive

logger = logging.getLogger(__name__)


def draw(
    groups: pd.Series, labels: pd.Series, count: int, number: int, seed: int, classes: Sequence[str]
) -> pd.Series:
    """The fold, 0 to `count` - 1, of each row in pass `number`.

    `groups`, `labels`: text, one a row, same index. Groups are whole, classes in their share as
    well as these allow (see `splits.divide`); the order of the rows has no influence.

    Raises `UserError` where a class has fewer groups than there are folds.
    """
    for name in classes:
        patients = groups[labels == name].nunique()
        if patients < count:
            raise UserError(
                f"splits.folds: class '{name}' has {patients} patient{'s' * (patients != 1)}, too "
                f"few for {count} folds: set splits.folds to {max(patients, 2)} or fewer, or add "
                "patients of the class"
            )
    shares = {f"fold {fold}": 1 / count for fold in range(count)}
    found = splits.divide(groups, labels, shares, derive(seed, "folds", number), classes)
    return found.str.removeprefix("fold ").astype(int)


def divide(
    manifest: pd.DataFrame,
    ratios: Mapping[str, float],
    count: int,
    run: int,
    seed: int,
    classes: Sequence[str],
) -> pd.DataFrame:
    """The manifest with the splits of one run, whatever splits it had.

    `test` is fold `run` % `count` of pass `run` // `count`; the other patients are divided into
    train, val and ensemble by `ratios`. Rows of external tests, and the order of all rows, stay.
    The labels of the test fold have a say in which patients are in it, and in nothing else.

    Raises `UserError` naming the run for too few patients of a class, or one to train on.
    """
    divided = manifest.copy()
    own = divided[~is_external(divided)]
    number, fold = divmod(run, count)
    in_test = draw(own["group"], own["label"], count, number, seed, classes) == fold
    divided.loc[own.index[in_test], "split"] = "test"
    rest = own[~in_test]
    total = sum(float(ratios[name]) for name in REDRAWN_SPLITS)
    shares = {name: float(ratios[name]) / total for name in REDRAWN_SPLITS}
    try:
        divided.loc[rest.index, "split"] = splits.divide(
            rest["group"], rest["label"], shares, derive(seed, "splits", run), classes
        )
        splits.refuse_lone_training(divided)
    except UserError as error:
        raise UserError(f"splits.folds: run {run}, outside its test fold: {error}") from None
    told = divided.loc[own.index, "split"].value_counts()
    logger.info(
        "run %d tests on fold %d of pass %d: %s images",
        *(
            run,
            fold,
            number,
            ", ".join(f"{name} {told[name]}" for name in (*REDRAWN_SPLITS, "test")),
        ),
    )
    return divided


def assign(
    manifest: pd.DataFrame,
    ratios: Mapping[str, float],
    test: str | float,
    count: int,
    seed: int,
    classes: Sequence[str],
) -> pd.DataFrame:
    """The splits of the first run, told and checked as those of `splits.assign`.

    `test`: the config's `splits.test`; any share says that shipped folders do not matter, and is
    not otherwise used, since a fold holds 1 / `count` of the patients.

    Raises `UserError` as `divide` does, and for a shipped test split that folds would mix in.
    """
    shipped = manifest.loc[manifest["shipped_split"] == SHIPPED_TEST, "source"]
    if test == "shipped" and len(shipped):
        raise UserError(
            f"splits.folds: source '{shipped.iloc[0]}' ships a test split ({len(shipped)} images), "
            "which folds would train on: set splits.folds to null, or splits.test to "
            f"{1 / count:.2g} to divide all patients whatever folder they are in"
        )
    if test != "shipped" and abs(float(test) - 1 / count) > 0.01:
        logger.info(
            "splits.test: the share of %g is not used, since each of %d folds holds %.3g of the "
            "patients",
            *(test, count, 1 / count),
        )
    splits.refuse_few(manifest, len(REDRAWN_SPLITS) + 1)
    divided = divide(manifest, ratios, count, 0, seed, classes)
    splits.tell(divided, classes)
    return divided
