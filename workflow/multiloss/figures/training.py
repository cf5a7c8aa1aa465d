"""Learning curves of segmenters and classifiers as small multiples."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from multiloss.figures.drawing import Drawing, Inputs
from multiloss.figures.style import Style, count, label, wrap

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


def classification_curves(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Validation MCC and accuracy, and the losses, of every loss and run."""
    groups: dict[str, list[Path]] = {loss: [] for loss in params["losses"]}
    for path in inputs.paths("histories"):
        groups[path.parent.name].append(path)
    return _curves(groups, _SCORES, "score", _images(inputs), style)


def segmentation_curves(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Dice, and the losses, of every segmentation loss."""
    groups = {path.name.partition(".")[0]: [path] for path in inputs.paths("histories")}
    return _curves(groups, _DICE, "Dice", _images(inputs), style)


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
    style: Style,
) -> Drawing:
    histories = {name: [pd.read_csv(path) for path in paths] for name, paths in groups.items()}
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
        top.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        top.tick_params(labelbottom=False)
        top.set_title(wrap(label(name), 26), loc="left", fontweight="bold")
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
        title_fontsize=style.font_size - 0.5,
    )
    for line in legend.get_lines():
        line.set(alpha=1.0, linewidth=1.2)
    epochs = [len(history) for runs in histories.values() for history in runs]
    few, many = min(epochs), max(epochs)
    length = f"{few} to {count(many, 'epoch')}" if few < many else count(many, "epoch")
    return Drawing(canvas, f"{count(len(epochs), 'training run')} of {length}; {images}.")
