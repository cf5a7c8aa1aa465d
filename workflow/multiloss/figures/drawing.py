"""From a catalogue entry and files to a picture: the frame around every drawing function."""

import importlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from multiloss.figures.style import BACK, Style, cut_names, save
from multiloss.job.errors import UserError
from multiloss.job.files import write_csv, write_text
from multiloss.study import ModelTable, read_models


@dataclass(frozen=True)
class Drawing:
    """What a drawing function returns.

    The canvas; what its caption can say of the data; and the rows that are drawn, as they stand
    in their tables, or the images that are shown.
    """

    canvas: Canvas
    facts: str = ""
    data: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Inputs:
    """The files of one figure by the names of its catalogue entry."""

    files: Mapping[str, str | Sequence[str]]

    def path(self, name: str) -> Path:
        """The only file under this name."""
        files = self.paths(name)
        if len(files) != 1:
            raise ValueError(f"input '{name}' has {len(files)} files, not one")
        return files[0]

    def paths(self, name: str) -> list[Path]:
        """All files under this name."""
        files = self.files[name]
        return [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]

    @cached_property
    def models(self) -> ModelTable:
        """data/models.csv, where the entry names it."""
        return read_models(self.path("models"))

    def table(
        self, name: str, columns: Sequence[str] = (), text: Sequence[str] = ()
    ) -> pd.DataFrame:
        """A CSV file; `columns` must be in it, `text` are read as they stand.

        Raises UserError naming the file and the missing column.
        """
        path = self.path(name)
        # A class or an image may be called NA or None: only nothing at all is a missing value.
        table = pd.read_csv(
            path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""]
        )
        missing = [column for column in (*columns, *text) if column not in table]
        if missing:
            raise UserError(f"{path}: no column '{missing[0]}'; remove the file and run again")
        for column in text:
            table[column] = table[column].fillna("")
        return table


def drawing_function(name: str) -> Callable[[Inputs, Mapping[str, Any], Style], Drawing]:
    """`performance.forest` is the function `forest` of multiloss.figures.performance."""
    module, function = name.split(".")
    return getattr(importlib.import_module(f"multiloss.figures.{module}"), function)


def draw(
    function: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, str | Sequence[str]],
    style: Mapping[str, Any],
    *outputs: str | Path,
) -> None:
    """Draw one figure of the catalogue by its entry's `draw` (module.function) and `params`.

    `inputs` maps the entry's input names to existing files, `style` is the config's `figures`.
    Writes each output in the format of its ending: the picture as png, tif, svg or pdf, its
    data as csv, and as json the facts that the report adds to the caption (numbers of images,
    patients and the like, taken from the data).
    """
    look = Style.of(style)
    look.apply()
    painter = drawing_function(function)
    paths = {path.suffix: path for path in map(Path, outputs)}
    with warnings.catch_warnings(record=True) as warned, np.errstate(invalid="ignore"):
        warnings.simplefilter("always")
        drawing = painter(Inputs(inputs), params, look)
        pictures = [path for ending, path in paths.items() if ending not in (".csv", ".json")]
        save(drawing.canvas, *pictures, thinnest=look.preset.thinnest)
    said = drawing.facts + _names_in_full(params.get("classes", []))
    if any(_MISSING_LETTER in str(warning.message) for warning in warned):
        said += " Letters that the fonts lack are drawn as boxes."
    for warning in warned:
        # An empty group (a metric that is undefined for all) is drawn as empty.
        if not any(known in str(warning.message) for known in (_MISSING_LETTER, "empty slice")):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if ".csv" in paths:
        write_csv(drawing.data, paths[".csv"])
    if ".json" in paths:
        text = json.dumps({"facts": said.strip()}, ensure_ascii=False)
        write_text(f"{text}\n", paths[".json"])


_MISSING_LETTER = "missing from font"


def _names_in_full(classes: Sequence[str]) -> str:
    """The classes whose names the picture cuts, for the caption."""
    shown = {name: text.removesuffix(BACK) for name, text in cut_names(classes).items()}
    cut = [f"{text}: {name}" for name, text in shown.items() if text != name]
    return f" Names in full: {'; '.join(cut)}." if cut else ""


def parts(**tables: pd.DataFrame) -> pd.DataFrame:
    """Several tables as one for `Drawing.data`; the column `part` has their names."""
    named = [table.assign(part=name) for name, table in tables.items() if len(table)]
    data = pd.concat(named)
    return data[["part", *(name for name in data if name != "part")]]


def page_of(items: Sequence[Any], params: Mapping[str, Any]) -> list[Any]:
    """The rows or panels of this page of a figure, of all that its pages show."""
    page, pages = params.get("page", (1, 1))
    size = -(-len(items) // pages)
    # A page whose rows turn out to be missing repeats the last one.
    return list(items[(page - 1) * size : page * size]) or list(items[-1:])


def message(style: Style, text: str) -> Drawing:
    """A figure that says why there is nothing to draw."""
    canvas = style.figure(20, double=False)
    canvas.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return Drawing(canvas, text, pd.DataFrame({"message": [text]}))
