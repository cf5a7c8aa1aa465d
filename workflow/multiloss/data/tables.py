"""The tables of images and the arrays made from them, read and checked in one place."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from multiloss.data.stored import StoredArray
from multiloss.job.errors import UserError

# The four that the study's own patients are divided into; a table may have external ones besides.
SPLITS = ("train", "val", "ensemble", "test")
# Not predicted: the networks have learned it.
TRAIN = "train"
_EXTERNAL = "external_"
# Those that `splits.redraw` divides anew for each run; all others are the same in every run.
REDRAWN_SPLITS = ("train", "val", "ensemble")
LUNG_SPLITS = ("train", "val", "test")
COMMON = ["image_id", "path", "patient_id", "split", "width", "height", "sha256"]
# A column of so many different values, or more, repeats few of them.
_MANY_VALUES = 1000
REMEDY = "delete the file and run again to have it made anew"


def external_split(source: str) -> str:
    """The split of all images of a source of role external_test."""
    return _EXTERNAL + source


def external_source(split: str) -> str | None:
    """The source whose images an external split holds, None for one of the study's own.

    No split of the study begins like an external one, whatever sources are called.
    """
    return split.removeprefix(_EXTERNAL) if split.startswith(_EXTERNAL) else None


def is_external(table: pd.DataFrame) -> "pd.Series[bool]":
    """By row of a table with a column `split`, whether it is of an external test."""
    return table["split"].astype(str).str.startswith(_EXTERNAL)


def splits_of(table: pd.DataFrame) -> list[str]:
    """The splits that the rows of a table name: the study's, then the external ones as they come.

    Splits of the study without a row are left out.
    """
    present = [str(split) for split in table["split"].unique()]
    external = [split for split in present if external_source(split) is not None]
    return [split for split in SPLITS if split in present] + external


def predicted_splits(table: pd.DataFrame) -> list[str]:
    """Those of `splits_of` that models predict: all but `train`."""
    return [split for split in splits_of(table) if split != TRAIN]


def read_manifest(
    path: str | Path, classes: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """data/manifest.csv, one row an image: text as it stands, `width` and `height` int64.

    `columns`: those that are asked for besides `COMMON` and `label`; all others then take no
    memory. None reads them all.

    Raises UserError naming the file, the image and the remedy for a missing column, an incomplete
    row, an image_id that is empty or there twice, a split that is unknown (an external one is
    known by its name) or of the study and without images, a label that is none of `classes` (where
    they are given), a digest that is not 64 hexadecimal digits, and a width or height that is no
    number of pixels.
    """
    table = _read(path, [*COMMON, "label"], SPLITS, external=True, besides=columns)
    for split in SPLITS:
        if not (table["split"] == split).any():
            raise UserError(f"{path}: no image in split '{split}': {REMEDY}")
    if classes is not None:
        _refuse(path, table, ~table["label"].isin(classes), "label", f"none of {_any_of(classes)}")
    return table


def read_lungs(path: str | Path) -> pd.DataFrame:
    """data/lungs.csv, read and checked as `read_manifest` does; `mask_paths` is never empty."""
    table = _read(path, [*COMMON, "mask_paths"], LUNG_SPLITS)
    _refuse(path, table, table["mask_paths"] == "", "mask_paths", "empty")
    return table


def read_array(path: str | Path, rows: int | None = None) -> StoredArray:
    """An array of images, read from its file by rows; it has `rows` of them, if given.

    Raises UserError naming the file where it is no whole array, or of another number of images.
    """
    try:
        array = StoredArray(path)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not a whole array ({error}): {REMEDY}") from None
    if rows is not None and len(array) != rows:
        raise UserError(
            f"{path}: {len(array)} images, but the table that it was made from has {rows}: {REMEDY}"
        )
    return array


def packed_shape(count: int, size: int, rgb: bool) -> tuple[int, ...]:
    """The shape of the array of all images; only colour has an axis of channels."""
    return (count, size, size, 3) if rgb else (count, size, size)


def prediction_rows(manifest: pd.DataFrame) -> np.ndarray:
    """Rows of val, ensemble, test and the external tests, by split, in manifest order within."""
    return np.concatenate(
        [np.flatnonzero(manifest["split"] == split) for split in predicted_splits(manifest)]
    )


def prediction_table(
    manifest: pd.DataFrame, rows: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """The predictions of one model as they are stored, one row per image."""
    table = manifest.loc[rows, ["image_id", "patient_id", "split", "label"]].reset_index(drop=True)
    columns = [f"p_{name}" for name in classes]
    # As doubles that sum to 1 to the last digits written.
    values = probabilities.astype(np.float64)
    values /= values.sum(axis=1, keepdims=True)
    return table.join(pd.DataFrame(values, columns=columns))


def _read(
    path: str | Path,
    columns: Sequence[str],
    splits: Sequence[str],
    external: bool = False,
    besides: Sequence[str] | None = None,
) -> pd.DataFrame:
    # By hand: pandas fills up a line that was cut, and moves the columns of one that is too long.
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, None)
            if header is None:
                raise UserError(f"{path}: not a readable table (it is empty): {REMEDY}")
            asked = header if besides is None else [*columns, *besides]
            found = {name: _Column(header.index(name)) for name in header if name in asked}
            for line, row in enumerate(lines, 2):
                if len(row) != len(header):
                    raise UserError(
                        f"{path}: line {line} has {len(row)} fields instead of {len(header)}: "
                        f"{REMEDY}"
                    )
                for column in found.values():
                    column.take(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable table ({error}): {REMEDY}") from None
    table = pd.DataFrame({name: column.values for name, column in found.items()}, dtype=str)
    missing = [name for name in [*columns, *(besides or [])] if name not in table]
    if missing:
        raise UserError(f"{path}: column '{missing[0]}' is missing: {REMEDY}")
    _refuse(path, table, table["image_id"] == "", "image_id", "empty")
    _refuse(path, table, table["image_id"].duplicated(), "image_id", "there twice")
    _refuse(path, table, table["path"] == "", "path", "empty")
    _refuse(path, table, table["patient_id"] == "", "patient_id", "empty")
    known = table["split"].isin(splits)
    if external:
        known |= is_external(table)
    _refuse(path, table, ~known, "split", f"none of {_any_of(splits)}")
    digest = table["sha256"].str.fullmatch("[0-9a-f]{64}")
    _refuse(path, table, ~digest, "sha256", "not 64 hexadecimal digits")
    for side in ("width", "height"):
        pixels = table[side].str.fullmatch("[1-9][0-9]{0,5}")
        _refuse(path, table, ~pixels, side, "no number of pixels")
    return table.astype({"width": int, "height": int})


class _Column:
    """The fields at one place of all rows; equal ones are one string in memory."""

    def __init__(self, place: int) -> None:
        self._place = place
        self._known: dict[str, str] = {}
        self.values: list[str] = []

    def take(self, row: Sequence[str]) -> None:
        value = row[self._place]
        known = self._known.get(value)
        if known is None:
            known = value
            if len(self._known) < _MANY_VALUES:
                self._known[value] = value
        self.values.append(known)


def _refuse(
    path: str | Path, table: pd.DataFrame, bad: pd.Series, column: str, reason: str
) -> None:
    """Raise UserError naming the first row that is bad, and how many there are."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise UserError(
            f"{path}: line {row + 2} (image '{table['image_id'].iloc[row]}'): {column} "
            f"'{table[column].iloc[row]}' is {reason} ({bad.sum()} such in all): correct it, or "
            f"{REMEDY}"
        )


def _any_of(names: Sequence[str]) -> str:
    return ", ".join(names)
