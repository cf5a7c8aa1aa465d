"""Reading a results folder: its files, each only if this study declares it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from multiloss.job.errors import UserError

# Columns of names, which are no numbers even where all of them look so: class '1', patient '007'.
NAMES = (
    *("image_id", "path", "patient_id", "group", "label", "predicted", "class", "source"),
    *("shipped_split", "sha256", "phash"),
)

# Tables of which to have no row says something: nothing was dropped, no model is degenerate; or
# there was nothing to compare, as of one loss (`need_rows` where there was).
MAY_BE_BARE = frozenset(
    {
        *("data/rejected.csv", "data/dropped.csv", "tables/degenerate.csv"),
        *("ensembles/members.csv", "ensembles/weights.csv", "tables/ensemble_comparisons.csv"),
        *("tables/significance.csv", "tables/replicate_comparisons.csv", "tables/verdicts.csv"),
        *("tables/calibration_comparisons.csv", "tables/net_benefit_differences.csv"),
        *("tables/diversity.csv", "tables/patient_readings.csv"),
    }
)


class Table(pd.DataFrame):
    """A table that names its file where it lacks a column."""

    _metadata = ["file"]
    file: Path | None = None

    @property
    def _constructor(self) -> type["Table"]:
        return Table

    def __getitem__(self, key: Any) -> Any:
        if self.file is not None:
            for name in key if isinstance(key, list) else [key]:
                if isinstance(name, str) and name not in self.columns:
                    raise UserError(f"{self.file} has no column '{name}': delete it and run again")
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """The column; `default` only where the study has no such table."""
        return default if self.file is None and key not in self.columns else self[key]

    def records(self) -> list["Record"]:
        """The rows by their columns; one that a row lacks is an error of the file."""
        return [Record(row, self.file) for row in self.to_dict("records")]


class Record(dict[str, Any]):
    """A row of a table that names its file where it lacks a column."""

    def __init__(self, row: Mapping[str, Any], file: Path | None = None) -> None:
        super().__init__(row)
        self.file = file

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.file} has no column '{key}': delete it and run again")


class Results:
    """Tables and figures of one study.

    With `declared`, files outside that list do not exist for the report: what an earlier
    config left in the folder must not slip into the page. What the list has must be there.
    """

    def __init__(self, root: Path, declared: Iterable[str | Path] | None = None) -> None:
        self.root = Path(root)
        # Tables that were read and have a head alone, beside `MAY_BE_BARE`.
        self.bare: set[str] = set()
        self._due = {Path(path) for path in declared or ()}
        self._declared: set[Path] | None = None
        if declared is not None:
            # What is written with a figure.
            self._declared = self._due | {
                path.with_suffix(ending)
                for path in self._due
                if path.suffix == ".png"
                for ending in (".json", ".svg", ".pdf", ".csv")
            }

    def path(self, name: str) -> Path | None:
        """The file's path, or None when the study does not make it.

        Raises UserError if the study makes it and it is not there.
        """
        path = self.root / name
        if self._declared is not None and path not in self._declared:
            return None
        return path if self._is_there(path) else None

    def _is_there(self, path: Path) -> bool:
        if path in self._due and not path.is_file():
            raise UserError(f"{path} is not there: run again")
        return path.is_file()

    def names(self, pattern: str) -> list[str]:
        """Names below the folder that match the pattern, sorted."""
        if self._declared is None:
            paths = [path for path in self.root.glob(pattern) if path.is_file()]
        else:
            paths = [
                path
                for path in self._declared
                if path.is_relative_to(self.root)
                and path.relative_to(self.root).match(pattern)
                and len(path.relative_to(self.root).parts) == len(Path(pattern).parts)
                and self._is_there(path)
            ]
        return sorted(path.relative_to(self.root).as_posix() for path in paths)

    def table(self, name: str, needed: Iterable[str] = ()) -> Table:
        """The table, or one without columns where the study does not make it.

        Text stands as it is in columns of `NAMES`. Asking it for a column that it lacks is a
        UserError that names the file. Raises UserError if it is damaged, empty, or is there
        without a column that is `needed`.
        """
        path = self.path(name)
        if path is None:
            return Table()
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty, without even a head: delete it and run again")
        try:
            table = Table(
                pd.read_csv(
                    path,
                    dtype=dict.fromkeys(NAMES, str),
                    keep_default_na=False,
                    na_values=[""],
                    low_memory=False,
                )
            )
            table.file = path
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} is not a readable table ({error}); delete it and run again"
            ) from None
        for column in needed:
            if column not in table.columns:
                raise UserError(f"{path} has no column '{column}': delete it and run again")
        if table.empty and name not in MAY_BE_BARE:
            self.bare.add(name)
        return table

    def need_rows(self, names: Iterable[str]) -> None:
        """Raises UserError for one of these tables that the study makes and that has no rows."""
        for name in names:
            table = self.table(name)
            if table.file is not None and table.empty:
                raise UserError(f"{table.file} has no rows: delete it and run again")

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object, or an empty one. Raises UserError if it is damaged."""
        path = self.path(name)
        if path is None:
            return {}
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"{path} is not readable JSON ({error}); delete it and run again"
            ) from None
