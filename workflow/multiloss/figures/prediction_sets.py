"""Figures of sets of classes with a stated coverage, and of errors where images stay unanswered."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from multiloss.figures.degenerate import Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message
from multiloss.figures.performance import chosen_models, no_mark
from multiloss.figures.sizes import sizes
from multiloss.figures.style import INK, Style, offsets

ALL = "all images"
_LINES = ("-", "--", "-.")


def coverage(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """How often the sets hold the true class, of each class, and how many classes they name."""
    table = inputs.table(
        "sets", ["coverage", "covered", "ci_low", "ci_high", "mean_size", "n"], ["model", "label"]
    )
    chosen = chosen_models(inputs, params, table)
    if not chosen:
        return message(style, "No model has sets of classes.")
    table = table[table["model"].isin(chosen)]
    weak = Degenerate.of(inputs, params["replicates"])
    labels, levels = ["", *params["classes"]], sorted(table["coverage"].unique())
    names = style.class_names(params["classes"], 32, 1)
    texts = [ALL, *(names.short[name] for name in params["classes"])]
    foot, foot_mm = names.note(
        f"test split, {sizes(inputs, table)}; {params['percent']} intervals; every patient counts "
        "once in the upper row"
    )
    step = style.line_mm * (0.9 + 0.45 * len(chosen) if len(labels) < 9 else 1.3)
    canvas = style.figure(
        2 * (step * len(labels) + 3 * style.line_mm) + 4 * style.line_mm + foot_mm
    )
    grid = canvas.subplots(2, len(levels), squeeze=False, sharex="row", sharey=True)
    for column, level in enumerate(levels):
        top, bottom = grid[:, column]
        top.axvline(level, color=INK, linewidth=0.9, linestyle="--")
        for offset, colour, model in zip(
            offsets(len(chosen), 0.24), style.colours, chosen, strict=False
        ):
            part = table[(table["coverage"] == level) & (table["model"] == model)]
            for place, label in enumerate(labels):
                row = part[part["label"] == label].squeeze()
                at = place + offset
                if row["covered"] == row["covered"]:
                    top.plot([row["ci_low"], row["ci_high"]], [at] * 2, color=colour, linewidth=1.1)
                    top.plot(row["covered"], at, "o", color=colour)
                    bottom.plot([0, row["mean_size"]], [at] * 2, color=colour, linewidth=0.8)
                    bottom.plot(row["mean_size"], at, "o", color=colour)
        top.set_title(f"coverage asked for: {level:.0%}", loc="left")
        top.set_xlabel("share of true classes in the set")
        bottom.set_xlabel("classes in a set, mean")
        bottom.set_xlim(0, len(params["classes"]) * 1.05)
        for axes in (top, bottom):
            axes.set_yticks(range(len(labels)), texts)
            axes.set_ylim(len(labels) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
    handles = [
        grid[0, 0].plot(
            [], [], "o-", color=colour,
            label=f"{weak.mark(inputs.models[model].label, model)} ({chosen[model]})",
        )[0]
        for colour, model in zip(style.colours, chosen, strict=False)
    ]  # fmt: skip
    handles += [no_mark()] * weak.any
    canvas.legend(
        handles=handles, loc="outside lower center", ncols=2,
        title=foot,
        title_fontsize=style.small,
    )  # fmt: skip
    return Drawing(canvas, f"Test split, {sizes(inputs, table)}.{weak.note()}", table)


def abstention(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Errors among the images that a model answers, against the share that it answers."""
    table = inputs.table(
        "abstention", ["kept", "error", "ci_low", "ci_high", "balanced_error", "n"], ["model"]
    )
    chosen = chosen_models(inputs, params, table)
    if not chosen:
        return message(style, "No model has errors at abstention.")
    table = table[table["model"].isin(chosen)]
    weak = Degenerate.of(inputs, params["replicates"])
    canvas = style.figure(62 + (3 + len(chosen)) * style.line_mm)
    left, right = canvas.subplots(1, 2, sharex=True)
    handles = []
    for colour, line, model in zip(style.colours, _LINES, chosen, strict=False):
        part = table[table["model"] == model].sort_values("kept")
        band = {"color": colour, "alpha": 0.13, "linewidth": 0}
        left.fill_between(part["kept"], part["ci_low"], part["ci_high"], **band)
        left.plot(part["kept"], part["error"], line, color=colour)
        drawn = right.plot(part["kept"], part["balanced_error"], line, color=colour)[0]
        drawn.set_label(f"{weak.mark(inputs.models[model].label, model)} ({chosen[model]})")
        handles.append(drawn)
    left.set_ylabel("share of wrong answers")
    right.set_ylabel("mean of the classes' shares")
    right.set_title("every class counts alike", loc="left")
    left.set_title("every image counts alike", loc="left")
    for axes in (left, right):
        axes.set(xlim=(0, 1.01), xlabel="share of the images that is answered")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
        axes.set_ylim(bottom=0)
    left.set_ylim(top=min(1.0, 1.6 * max(table["error"].max(), table["ci_high"].median())))
    canvas.legend(
        handles=[*handles, *[no_mark()] * weak.any], loc="outside lower center", ncols=2,
        title=f"test split, {sizes(inputs, table)}; bands: {params['percent']} intervals",
        title_fontsize=style.small,
    )  # fmt: skip
    facts = f"Test split, {sizes(inputs, table)}.{_facts(inputs, table, next(iter(chosen)))}"
    return Drawing(canvas, f"{facts}{weak.note()}", table)


def _facts(inputs: Inputs, table: pd.DataFrame, model: str) -> str:
    part = table[table["model"] == model].sort_values("kept")
    whole = part.iloc[-1]
    most = part[part["kept"] <= 0.8]
    if most.empty or whole["error"] != whole["error"]:
        return ""
    fewer = most.iloc[-1]
    return (
        f" {inputs.models[model].label}: {whole['error']:.0%} wrong of all images, "
        f"{fewer['error']:.0%} of the {fewer['kept']:.0%} that it is surest of."
    )
