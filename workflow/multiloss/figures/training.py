"""Learning curves of segmenters and classifiers as small multiples."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from multiloss.evaluation.segmentation_scores import label as segmenter
from multiloss.figures.drawing import Drawing, Inputs, page_of
from multiloss.figures.style import MUTED, Style, count, wrap

# Columns of a history, how a reader knows them, colour index and line of each.
_SCORES = {
    "val_mcc": ("validation MCC", 0, "-"),
    "val_accuracy": ("validation accuracy", 4, "--"),
}
_DICE = {
    "val_dice": ("validation Dice", 0, "-"),
    "dice": ("training Dice", 4, "--"),
}
_LOSSES = {
    "val_loss": ("validation loss", 1, "-"),
    "loss": ("training loss", 5, "--"),
}


# Where a loss falls to less than this share of its highest value, losses have logarithmic scales.
LOG_BELOW = 0.05


def classification_curves(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Validation MCC and accuracy, and the losses, of every loss and run."""
    labels = params["labels"]
    groups: dict[str, list[Path]] = {text: [] for text in labels.values()}
    for path in inputs.paths("histories"):
        groups[labels[path.parent.name]].append(path)
    return _curves(groups, _SCORES, "score", _images(inputs), params, style)


def segmentation_curves(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Dice, and the losses, of every segmentation loss."""
    groups = {segmenter(path.name.partition(".")[0]): [path] for path in inputs.paths("histories")}
    return _curves(groups, _DICE, "Dice", _images(inputs), params, style)


def _images(inputs: Inputs) -> str:
    """How many images the networks learned on and were watched on."""
    split = inputs.table("images", text=["split"])["split"]
    train, val = (int((split == name).sum()) for name in ("train", "val"))
    return f"n = {train:,} training and {count(val, 'validation image')}"


def _curves(
    groups: Mapping[str, Sequence[Path]],
    scores: Mapping[str, tuple[str, int, str]],
    score_name: str,
    images: str,
    params: Mapping[str, Any],
    style: Style,
) -> Drawing:
    own = page_of(list(groups.items()), params)
    histories = {name: [pd.read_csv(path) for path in paths] for name, paths in own}
    shown = {
        column: look
        for column, look in scores.items()
        if any(column in history for runs in histories.values() for history in runs)
    }
    number = len(histories)
    columns = min(number, 4 if number > 6 or number == 4 else 3)
    rows = math.ceil(number / columns)
    canvas = style.figure(rows * 43 + 8 + style.line_mm)
    grid = canvas.add_gridspec(
        2 * rows, columns, height_ratios=[1.25, 1.0] * rows if shown else [0.01, 1.0] * rows
    )
    lines: dict[str, Any] = {}
    floor, ceiling, first = 1.0, 0.0, None
    tops: list[Axes] = []
    losses: dict[Axes, list[pd.Series]] = {}
    for index, (name, runs) in enumerate(histories.items()):
        row, column = divmod(index, columns)
        top = canvas.add_subplot(grid[2 * row, column], sharex=first, sharey=first)
        bottom = canvas.add_subplot(grid[2 * row + 1, column], sharex=top)
        first = first or top
        tops.append(top)
        for axes, looks in ((top, shown), (bottom, _LOSSES)):
            for key, (text, colour, line) in looks.items():
                for history in runs:
                    if key not in history:
                        continue
                    thin = {"linewidth": 1.1 if len(runs) == 1 else 0.6}
                    lines[text] = axes.plot(
                        history["epoch"],
                        history[key],
                        line,
                        color=style.colours[colour],
                        alpha=1.0 if len(runs) == 1 else 0.55,
                        **thin,
                    )[0]
                    if axes is top:
                        floor = min(floor, history[key].min())
                        ceiling = max(ceiling, history[key].max())
        losses[bottom] = [history[key] for history in runs for key in _LOSSES if key in history]
        top.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        top.tick_params(labelbottom=False)
        top.set_title(wrap(name, 26), loc="left", fontweight="bold")
        failed = [
            int(history["epoch"].iloc[-1]) for history in runs if history["loss"].isna().any()
        ]
        if failed:
            text = f"stopped, loss not finite\nin epoch {', '.join(map(str, failed))}"
            bottom.text(
                0.97,
                0.5,
                text,
                transform=bottom.transAxes,
                ha="right",
                va="center",
                bbox={"facecolor": style.background, "alpha": 0.85, "linewidth": 0, "pad": 1},
            )
        if column == 0:
            top.set_ylabel(score_name)
            bottom.set_ylabel("loss")
        else:
            top.tick_params(labelleft=False)
        if index + columns >= number:
            bottom.set_xlabel("epoch")
    _log_scales(losses)
    if shown and ceiling > floor:
        room = 0.04 * (ceiling - floor)
        tops[0].set_ylim(floor - room, min(ceiling + room, 1.0 + room))
    handles = [line for line in lines.values()]
    legend = canvas.legend(
        handles,
        list(lines),
        loc="outside lower center",
        ncols=4,
        title=images,
        title_fontsize=style.small,
    )
    for line in legend.get_lines():
        line.set(alpha=1.0, linewidth=1.2)
    epochs = [len(history) for runs in histories.values() for history in runs]
    few, many = min(epochs), max(epochs)
    length = f"{few} to {count(many, 'epoch')}" if few < many else count(many, "epoch")
    drawn = {"epoch", *shown, *_LOSSES}
    data = [
        history[[column for column in history if column in drawn]].assign(model=name, run=run)
        for name, runs in histories.items()
        for run, history in enumerate(runs)
    ]
    facts = f"{count(len(epochs), 'training run')} of {length}; {images}."
    return Drawing(canvas, facts, pd.concat(data))


def _log_scales(panels: Mapping[Axes, Sequence[pd.Series]]) -> None:
    """Logarithmic scales where one high epoch would press all others together.

    One panel that needs it gives it to all; one with values below 0 stays linear and says so.
    """
    ranges = {}
    for axes, columns in panels.items():
        values = np.concatenate([np.empty(0), *columns])
        values = values[np.isfinite(values)]
        ranges[axes] = (values.min(), values.max()) if len(values) else (1.0, 1.0)
    if not any(0 < low < LOG_BELOW * high for low, high in ranges.values()):
        return
    for axes, (low, high) in ranges.items():
        if low <= 0:
            look = {"transform": axes.transAxes, "ha": "right", "va": "top", "color": MUTED}
            axes.text(0.98, 0.95, "linear scale", fontstyle="italic", **look)
            continue
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(FixedLocator(_log_ticks(low, high)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        if axes.get_ylabel():
            axes.set_ylabel(f"{axes.get_ylabel()} (log)")


def _log_ticks(low: float, high: float) -> list[float]:
    """Two to five round values from low to high; the ends where there are no two."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 1:
            return ticks[:: math.ceil(len(ticks) / 5)]
    return [low, high]
