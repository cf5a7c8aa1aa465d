"""Stored predictions of several models, read together and checked to be about the same images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from multiloss.data.tables import REDRAWN_SPLITS
from multiloss.job.errors import UserError

KEYS = ["image_id", "patient_id", "split", "label"]
# Files hold ten digits: rows miss 1 by less than this.
SUM_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Predictions:
    """Probabilities of M models for the same N images.

    `rows`: N rows of image_id, patient_id, split, label (text); `models`: M names; `p`:
    (M, N, K) float64. A model without any probability (its training failed) has NaN for all.

    Where each run has a division of its own, these are the images that all models have in common
    (test and external splits), and `divisions` holds of each division its models with its images
    of val and ensemble. A model of several runs (an average of seeds) is in none of them.
    """

    rows: pd.DataFrame
    models: list[str]
    classes: list[str]
    p: np.ndarray
    divisions: tuple["Predictions", ...] = ()

    @property
    def splits(self) -> set[str]:
        """The splits that any model has images of."""
        return set(self.rows["split"]).union(*(own.splits for own in self.divisions))

    def only(self, split: str) -> "Predictions":
        """The images of one split, which all models have in common."""
        keep = (self.rows["split"] == split).to_numpy()
        if not keep.any():
            raise UserError(f"predictions of {self.models[0]}: no image in split '{split}'")
        return self.where(keep)

    def parts(self, split: str) -> Iterator["Predictions"]:
        """The images of one split: of all models at once, or division by division.

        Raises UserError where no model has any.
        """
        if any(split in own.splits for own in self.divisions):
            yield from (own.only(split) for own in self.divisions if split in own.splits)
        else:
            yield self.only(split)

    def of_model(self, model: str, split: str) -> "Predictions | None":
        """What one model says of the images of a split; None where it has seen none of them."""
        for own in (self, *self.divisions):
            if model in own.models and split in set(own.rows["split"]):
                return own.subset([model]).only(split)
        return None

    def subset(self, models: Sequence[str]) -> "Predictions":
        """The same images for some of the models."""
        wanted = [[m for m in models if m in own.models] for own in self.divisions]
        divisions = tuple(
            own.subset(some) for own, some in zip(self.divisions, wanted, strict=True) if some
        )
        return Predictions(self.rows, list(models), self.classes, self.of(models), divisions)

    def where(self, keep: np.ndarray) -> "Predictions":
        """The images (N,) that are marked, without the divisions."""
        rows = self.rows[keep].reset_index(drop=True)
        return Predictions(rows, self.models, self.classes, self.p[:, keep])

    def of(self, models: Sequence[str]) -> np.ndarray:
        """Probabilities (len(models), N, K) in the order asked for."""
        unknown = [model for model in models if model not in self.models]
        if unknown:
            raise UserError(f"no predictions of model '{unknown[0]}' are at hand")
        return self.p[[self.models.index(model) for model in models]]

    @cached_property
    def y(self) -> np.ndarray:
        """Class indices (N,) of the labels. Raises UserError for a label not in `classes`."""
        index = {name: k for k, name in enumerate(self.classes)}
        unknown = sorted(set(self.rows["label"]) - set(index))
        if unknown:
            raise UserError(
                f"predictions of {self.models[0]}: label '{unknown[0]}' is not in config key "
                f"classes ({', '.join(self.classes)})"
            )
        return self.rows["label"].map(index).to_numpy(dtype=int)

    @cached_property
    def patients(self) -> np.ndarray:
        return self.rows["patient_id"].to_numpy()


def read(
    paths: Sequence[str | Path],
    classes: Sequence[str],
    splits: Sequence[str] | None = None,
    divisions: Mapping[str, int | None] | None = None,
) -> Predictions:
    """Read predictions/{model}.csv files; the model's name is the file's name.

    With `splits`, rows of other splits are dropped as soon as they are read. `divisions`: by model
    the number of its division, as from `Study.divisions`, where runs have divisions of their own;
    None for a model of several runs, of which the common splits alone are read. Raises UserError
    naming the file for a missing column, a value that is no probability, a row that does not
    sum to 1, an image listed twice, or images other than those of the first file (of its division,
    and of all files in the common splits).
    """
    if divisions is not None:
        return _read_divisions(paths, classes, splits, divisions)
    first: pd.DataFrame | None = None
    arrays = []
    for path in map(Path, paths):
        rows, p = _read_one(path, classes, splits)
        if first is None:
            first = rows
        elif not rows.equals(first):
            raise UserError(
                f"{path}: images, splits or labels differ from those in {paths[0]}; delete both "
                "files and run again"
            )
        arrays.append(p)
    if first is None:
        raise UserError("no prediction files were given")
    return Predictions(first, [Path(p).stem for p in paths], list(classes), np.stack(arrays))


def _read_divisions(
    paths: Sequence[str | Path],
    classes: Sequence[str],
    splits: Sequence[str] | None,
    divisions: Mapping[str, int | None],
) -> Predictions:
    groups: dict[int | None, list[Path]] = {}
    for path in map(Path, paths):
        groups.setdefault(divisions[path.stem], []).append(path)
    parts, common = [], []
    for division, own in groups.items():
        part = read(own, classes, splits)
        redrawn = part.rows["split"].isin(REDRAWN_SPLITS).to_numpy()
        common.append(part.where(~redrawn))
        if not common[-1].rows.equals(common[0].rows):
            raise UserError(
                f"{own[0]}: images or labels of the common splits differ from those in "
                f"{paths[0]}; delete both files and run again"
            )
        if division is not None and redrawn.any():
            parts.append(part.where(redrawn))
    order = [Path(path).stem for path in paths]
    whole = Predictions(
        common[0].rows,
        [model for part in common for model in part.models],
        list(classes),
        np.concatenate([part.p for part in common]),
    )
    return Predictions(whole.rows, order, whole.classes, whole.of(order), tuple(parts))


def _read_one(
    path: Path, classes: Sequence[str], splits: Sequence[str] | None
) -> tuple[pd.DataFrame, np.ndarray]:
    columns = [f"p_{name}" for name in classes]
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(KEYS, str), keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not a readable table ({error}); delete it and run again"
        ) from None
    missing = [name for name in KEYS + columns if name not in table]
    if missing:
        raise UserError(f"{path}: column '{missing[0]}' is missing; delete it and run again")
    if splits is not None:
        table = table[table["split"].isin(splits)].reset_index(drop=True)
    twice = table["image_id"][table["image_id"].duplicated()]
    if len(twice):
        raise UserError(f"{path}: image '{twice.iloc[0]}' is listed twice")
    # Empty fields are a failed model's; anything else that is no number is damage.
    values = table[columns].replace("", np.nan).apply(pd.to_numeric, errors="coerce")
    p = values.to_numpy(dtype=float)
    if np.isnan(p).all() and (table[columns] == "").to_numpy().all():
        return table[KEYS], p
    bad = ~np.isfinite(p).all(axis=1) | ((p < 0) | (p > 1)).any(axis=1)
    bad |= ~(np.abs(p.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if bad.any():
        image = table["image_id"][bad].iloc[0]
        raise UserError(
            f"{path}: the probabilities of image '{image}' are not numbers from 0 to 1 that "
            f"sum to 1 to within {SUM_TOLERANCE:g}; delete it and run again"
        )
    return table[KEYS], p / p.sum(axis=1, keepdims=True)


def table(rows: pd.DataFrame, p: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """A prediction file's table: keys of the images and one column p_<class> per class."""
    columns = pd.DataFrame(p, columns=[f"p_{name}" for name in classes])
    return pd.concat([rows[KEYS].reset_index(drop=True), columns], axis=1)
