"""From a catalogue entry and files to a picture: the frame around every drawing function."""

import importlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from multiloss.figures.style import Style, save
from multiloss.job.errors import UserError
from multiloss.job.files import write_text
from multiloss.study import ModelTable, read_models


@dataclass(frozen=True)
class Drawing:
    """What a drawing function returns: the canvas, and what its caption can say of the data."""

    canvas: Canvas
    facts: str = ""


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
    png: str | Path,
    svg: str | Path,
    facts: str | Path,
) -> None:
    """Draw one figure of the catalogue by its entry's `draw` (module.function) and `params`.

    `inputs` maps the entry's input names to existing files, `style` is the config's `figures`.
    Writes the PNG, the SVG, and as JSON the facts that the report adds to the caption (numbers
    of images, patients and the like, taken from the data).
    """
    look = Style.of(style)
    look.apply()
    painter = drawing_function(function)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # An empty group (a metric that is undefined for all) is drawn as empty, not warned of.
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        drawing = painter(Inputs(inputs), params, look)
    save(drawing.canvas, png, svg)
    write_text(json.dumps({"facts": drawing.facts}, ensure_ascii=False) + "\n", facts)


def message(style: Style, text: str) -> Drawing:
    """A figure that says why there is nothing to draw."""
    canvas = style.figure(20, double=False)
    canvas.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return Drawing(canvas, text)
