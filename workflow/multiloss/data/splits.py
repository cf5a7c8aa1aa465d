"""Which patient goes where: whole groups, every class in its share, the same each time."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from multiloss.data.layouts import SHIPPED_TEST
from multiloss.data.tables import SPLITS
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive

logger = logging.getLogger(__name__)

DROPPED_COLUMNS = ["image_id", "patient_id", "label", "source", "shipped_split", "reason"]
# Below so many patients a split, or a class in it, tells little whatever the number of its images.
FEW_PATIENTS = 10
# A patient with more than this share of the images of a split is most of what it tells.
LARGE_SHARE = 0.2


def assign(
    manifest: pd.DataFrame,
    ratios: Mapping[str, float],
    test: str | float,
    recurring: str,
    seed: int,
    classes: Sequence[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fill the column `split` of a manifest (see `manifest.build`).

    Groups (column `group`) are never divided. `ratios` gives the shares of train, val and
    ensemble among the patients outside the test split. `test` is 'shipped' (rows with
    `shipped_split` test) or the share of all to draw. With a shipped test, `recurring` says what
    happens to other rows of a group that is in it: 'drop' leaves them out; 'resplit' ignores the
    shipped folders and draws a test split of the same size. Otherwise the labels of test rows
    have no influence on where any other row goes.

    Images and patients of each split and class are logged, and few patients or one with many
    images warned of.

    Returns (manifest without the dropped rows, dropped rows with `DROPPED_COLUMNS`).

    Raises `UserError` if there are fewer patients than splits, no shipped test, a class that
    cannot be in every split, or a split `train` of one patient only.
    """
    manifest = manifest.copy()
    refuse_few(manifest, len(SPLITS))
    shares = {name: float(ratios[name]) for name in SPLITS[:3]}
    total = sum(shares.values())
    shares = {name: share / total for name, share in shares.items()}
    shipped = manifest["shipped_split"] == SHIPPED_TEST
    dropped = manifest.iloc[:0]
    if test == "shipped":
        if not shipped.any():
            raise UserError(
                "splits.test is 'shipped', but no source has a test folder (or `split` column with "
                "test): set splits.test to a share, such as 0.2"
            )
        recurs = ~shipped & manifest["group"].isin(manifest.loc[shipped, "group"])
        if recurring == "resplit":
            test = float(shipped.mean())
            logger.info(
                "%d images recur in the shipped test: everything is divided anew", recurs.sum()
            )
        else:
            dropped = manifest[recurs]
            manifest, shipped = manifest[~recurs].copy(), shipped[~recurs]
            logger.info("%d images left out: their patients are in the test split", len(dropped))
    if test == "shipped":
        manifest.loc[shipped, "split"] = "test"
        pool = manifest[~shipped]
    else:
        shares = {name: share * (1 - test) for name, share in shares.items()} | {"test": test}
        pool = manifest
    missing = [name for name in classes if not (pool["label"] == name).any()]
    if missing:
        raise UserError(
            f"class '{missing[0]}' has no image outside the test split: add patients of it, or "
            "set splits.test to a share"
        )
    manifest.loc[pool.index, "split"] = divide(
        pool["group"], pool["label"], shares, derive(seed, "splits"), classes
    )
    for name in classes:
        if not ((manifest["split"] == "test") & (manifest["label"] == name)).any():
            raise UserError(
                f"class '{name}' has no image in split 'test': set splits.test to a share, or "
                "leave the class out of `classes`"
            )
    tell(manifest, classes)
    in_test = manifest.loc[manifest["split"] == "test", "patient_id"]
    return manifest.reset_index(drop=True), _dropped(dropped, in_test)


def tell(manifest: pd.DataFrame, classes: Sequence[str]) -> None:
    """Log images and patients of each split and class, and warn where patients are few.

    Raises `UserError` for a split `train` of one patient only.
    """
    _tell_patients(manifest, classes)
    _warn_of_lone_patients(manifest, classes)
    refuse_lone_training(manifest)


def refuse_lone_training(manifest: pd.DataFrame) -> None:
    """Raise `UserError` where all images of the split `train` are of one patient."""
    train = manifest[manifest["split"] == "train"]
    if train["group"].nunique() == 1:
        raise UserError(
            f"split 'train' has {len(train)} images of one patient, '{train['group'].iloc[0]}': "
            "nothing general can be learned from them; add patients, or correct the patient ids "
            "(`patient_pattern`, patients.csv, column `patient`)"
        )


def _warn_of_lone_patients(manifest: pd.DataFrame, classes: Sequence[str]) -> None:
    """Say before anything is trained what one patient of a class will not allow."""
    patients = manifest.groupby(["split", "label"])["patient_id"].nunique()
    for split, follows in (
        (
            "ensemble",
            "fitted ensembles (weighted average, stacking) cannot be cross-fitted and so not be "
            "chosen; add patients, or raise splits.ratios.ensemble",
        ),
        (
            "test",
            "what is said of such a class rests on that patient, and no interval can tell how much "
            "another would change",
        ),
    ):
        lone = [f"'{name}'" for name in classes if patients.get((split, name), 0) < 2]
        if lone:
            logger.warning(
                "%s %s one patient in split '%s': %s",
                f"class {lone[0]}" if len(lone) == 1 else f"classes {', '.join(lone)}",
                "has" if len(lone) == 1 else "have each",
                split,
                follows,
            )


def assign_lungs(
    lungs: pd.DataFrame, roles: Mapping[str, str], val_fraction: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fill the column `split` of a table of lung masks (see `manifest.build_lungs`).

    `roles` maps the name of each source to lungs_train or lungs_test. Rows of the latter are
    `test`; groups of the former are divided into `train` and `val`, `val_fraction` of the images
    to val. Training rows of a group that is in the test are dropped, whatever the config says of
    recurring patients: nothing is gained from them.

    Returns (lungs without the dropped rows, dropped rows with `DROPPED_COLUMNS`).
    """
    lungs = lungs.copy()
    test = lungs["source"].map(roles) == "lungs_test"
    recurs = ~test & lungs["group"].isin(lungs.loc[test, "group"])
    dropped = lungs[recurs].assign(label="", shipped_split="train")
    lungs, test = lungs[~recurs].copy(), test[~recurs]
    pool = lungs[~test]
    if pool["group"].nunique() < 2:
        raise UserError(
            f"{_patients(pool['group'].nunique())} with lung masks to train on, at least 2 are "
            "needed (train and val): add images to the source with role lungs_train"
        )
    _tell_unknown(lungs, "lung images")
    lungs.loc[test, "split"] = "test"
    lungs.loc[pool.index, "split"] = divide(
        pool["group"],
        pd.Series("lungs", pool.index),
        {"train": 1 - val_fraction, "val": val_fraction},
        derive(seed, "lung splits"),
        ["lungs"],
    )
    in_test = lungs.loc[lungs["split"] == "test", "patient_id"]
    return lungs.reset_index(drop=True), _dropped(dropped, in_test)


def divide(
    groups: pd.Series,
    labels: pd.Series,
    shares: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
) -> pd.Series:
    """Divide rows into splits by whole groups, each class in the given shares.

    With n[s, k] images of class k in split s, target t[s, k] = share[s] N[k], the groups go,
    largest first and in random order among equals, each to the split where it lowers
    sum_k (n[s, k] - t[s, k])^2 / (t[s, k] N[k]) most. Large groups thus come while there is
    room, and the many small ones even out the rest. Where that leaves a class out of a split,
    it is done again with one small group of each class set down in each split first.

    groups, labels: one value a row, same index. Returns the split of each row.

    Raises `UserError` naming class and split if a class has no group for every split.
    """
    table = pd.crosstab(groups.astype(str), labels).reindex(columns=list(classes), fill_value=0)
    counts = table.to_numpy(dtype=float)
    names = list(shares)
    targets = np.outer([shares[name] for name in names], counts.sum(axis=0))
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    chosen = _fill(counts, targets, order, {})
    if _vacant(chosen, counts, len(names)).any():
        chosen = _fill(counts, targets, order, _forerunners(counts, order, names, classes))
    vacant = np.argwhere(_vacant(chosen, counts, len(names)))
    if len(vacant):
        split, label = vacant[0]
        raise UserError(_missing(classes[label], names[split], counts[:, label], len(names)))
    split_of = dict(zip(table.index, np.array(names, dtype=object)[chosen], strict=True))
    return groups.astype(str).map(split_of)


def _fill(
    counts: np.ndarray, targets: np.ndarray, order: np.ndarray, fixed: Mapping[int, int]
) -> np.ndarray:
    """The split (row of `targets`) of each group (row of `counts`)."""
    # A class without images has nothing to share out; 1 keeps its zeros zeros.
    scale = np.where(targets > 0, targets * counts.sum(axis=0), 1.0)
    filled = np.zeros_like(targets)
    chosen = np.empty(len(counts), dtype=int)
    for group, split in fixed.items():
        chosen[group] = split
        filled[split] += counts[group]
    for group in order:
        if group in fixed:
            continue
        own = counts[group]
        change = (own * (2 * (filled - targets) + own) / scale).sum(axis=1)
        chosen[group] = int(np.argmin(np.round(change, 12)))
        filled[chosen[group]] += own
    return chosen


def _vacant(chosen: np.ndarray, counts: np.ndarray, splits: int) -> np.ndarray:
    """(splits, classes): whether a split has no image of a class."""
    return np.stack([counts[chosen == split].sum(axis=0) == 0 for split in range(splits)])


def _forerunners(
    counts: np.ndarray, order: np.ndarray, names: Sequence[str], classes: Sequence[str]
) -> dict[int, int]:
    """One group of each class for each split, rare classes first, small groups first."""
    fixed: dict[int, int] = {}
    for label in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        for split in range(len(names)):
            if any(counts[group, label] for group, at in fixed.items() if at == split):
                continue
            free = [group for group in order[::-1] if group not in fixed and counts[group, label]]
            if not free:
                raise UserError(
                    _missing(classes[label], names[split], counts[:, label], len(names))
                )
            fixed[int(free[0])] = split
    return fixed


def _missing(label: str, split: str, column: np.ndarray, splits: int) -> str:
    patients = _patients(int((column > 0).sum()))
    return (
        f"class '{label}' has no image in split '{split}': it has {patients}, too few for {splits} "
        "splits; add patients of it, or leave it out of `classes`"
    )


def tell_external(external: pd.DataFrame, classes: Sequence[str]) -> None:
    """Log images and patients of each external test; warn of classes that are not in it, or few."""
    for source, own in external.groupby("source", sort=False):
        told, absent, short = [], [], []
        for name in classes:
            part = own[own["label"] == name]
            patients = part["group"].nunique()
            told.append(f"{len(part)} {name} of {_patients(patients)}")
            if not patients:
                absent.append(f"'{name}'")
            elif patients < FEW_PATIENTS:
                short.append(f"{name} {patients}")
        total = _patients(own["group"].nunique())
        logger.info("external test %s: %s; %s in all", source, ", ".join(told), total)
        if absent:
            logger.warning(
                "external test %s: no image of %s: metrics that need it are not defined there",
                source,
                ", ".join(absent),
            )
        if short:
            logger.warning(
                "external test %s: fewer than %d patients of a class, so that its scores are "
                "uncertain: %s",
                source,
                FEW_PATIENTS,
                ", ".join(short),
            )
        _tell_unknown(own, f"images of external test {source}")


def _tell_patients(manifest: pd.DataFrame, classes: Sequence[str]) -> None:
    """Log images and patients of each split and class; warn where patients are few or unequal."""
    few = []
    for split in SPLITS:
        own = manifest[manifest["split"] == split]
        total = own["group"].nunique()
        told, short = [], []
        for name in classes:
            part = own[own["label"] == name]
            patients = part["group"].nunique()
            told.append(f"{len(part)} {name} of {_patients(patients)}")
            if patients < FEW_PATIENTS:
                short.append(f"{name} {patients}")
        logger.info("split %s: %s; %s in all", split, ", ".join(told), _patients(total))
        if short:
            few.append(f"{split} ({', '.join(short)})")
        images_of = own["group"].value_counts()
        if images_of.iloc[0] > max(2, LARGE_SHARE * len(own)):
            logger.warning(
                "split %s: patient '%s' has %d of its %d images",
                split,
                images_of.index[0],
                images_of.iloc[0],
                len(own),
            )
    if few:
        logger.warning(
            "fewer than %d patients of a class in a split, so that its scores are uncertain: %s",
            FEW_PATIENTS,
            "; ".join(few),
        )
    _tell_unknown(manifest, "images")


def _tell_unknown(table: pd.DataFrame, what: str) -> None:
    if "patient_known" in table:
        unknown = int((table["patient_known"].astype(str) != "True").sum())
        if unknown:
            logger.warning(
                "the patient of %d of %d %s is not known: each of them counts as one",
                unknown,
                len(table),
                what,
            )


def _patients(number: int) -> str:
    return f"{number} patient{'s' * (number != 1)}"


def refuse_few(manifest: pd.DataFrame, splits: int) -> None:
    """Raise `UserError` where there are fewer patients than splits."""
    patients = manifest["group"].nunique()
    if patients < splits:
        raise UserError(
            f"{_patients(patients)} in all, but {splits} splits must not share "
            "any: add patients, or correct the patient ids (`patient_pattern`, patients.csv, "
            "column `patient`)"
        )


def _dropped(rows: pd.DataFrame, in_test: pd.Series) -> pd.DataFrame:
    reason = np.where(
        rows["patient_id"].isin(in_test),
        "patient is in the shipped test set",
        "patient shares an identical image with a patient of the shipped test set",
    )
    return rows.assign(reason=reason)[DROPPED_COLUMNS].reset_index(drop=True)
