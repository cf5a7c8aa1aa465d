"""Figure of what each fold shows, and of mean differences over the folds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from multiloss.evaluation import families
from multiloss.evaluation.folds import CHOICE, CHOICES
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.drawing import parts as together
from multiloss.figures.sizes import all_sizes
from multiloss.figures.style import INK, MUTED, Style, count, gap, of_model, offsets
from multiloss.statistics.metrics import lookup
from multiloss.study import ModelTable

# The blocks of rows: what is in them, by which family they are compared, and with what.
BLOCKS = {
    "single": (families.BASELINE, families.REPEATED_BASELINE, families.NOISE_FLOOR),
    "ensemble": (families.BEST_MEMBER,),
    CHOICE: (families.CHOSEN,),
}
AGAINST = {
    "single": "minus {baseline}",
    "ensemble": "minus best member",
    CHOICE: "minus chosen single",
}
TITLES = {"single": "losses", "ensemble": "ensembles", CHOICE: "what each run chose"}
CHOSEN = {name: f"{name} model" if name != CHOICES["ensemble"] else name
          for name in CHOICES.values()}  # fmt: skip


def folds(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """The metric in each fold, and mean differences with their corrected intervals."""
    table = inputs.table(
        "folds", ["run", "fold", "pass", "value", "n"], text=["family", "kind", "metric"]
    )
    compared = inputs.table(
        "comparisons",
        ["difference", "ci_low", "ci_high", "p_value", "folds"],
        text=["a", "b", "metric", "family", "reject"],
    )
    table = table[(table["metric"] == params["metric"]) & table["kind"].isin(BLOCKS)]
    title = lookup(params["metric"]).metric.title
    if table["value"].isna().all():
        return message(style, f"{title} is not defined for any run.")
    models = inputs.models
    blocks = [(kind, table[table["kind"] == kind]) for kind in BLOCKS]
    blocks = [(kind, _ordered(part), part) for kind, part in blocks if len(part)]
    here = page_of([(kind, name) for kind, names, _ in blocks for name in names], params)
    blocks = [
        (kind, [name for name in names if (kind, name) in here], part)
        for kind, names, part in blocks
        if any(of == kind for of, _ in here)
    ]
    rows = sum(len(names) for _, names, _ in blocks)
    canvas = style.figure(rows * style.line_mm * 1.35 + 9 * len(blocks) + 20)
    heights = [len(names) + 0.5 for _, names, _ in blocks]
    grid = canvas.subplots(
        len(blocks), 2, squeeze=False, sharex="col", sharey="row",
        height_ratios=heights, width_ratios=[1.25, 1],
    )  # fmt: skip
    passes = int(table["pass"].max()) + 1
    rejected = 0
    for (left, right), (kind, names, part) in zip(grid, blocks, strict=True):
        own = compared[compared["family"].isin(BLOCKS[kind])]
        for place, name in enumerate(names):
            before = len(left.lines), len(right.lines)
            _dots(left, place, part[part["family"] == name], name == params["baseline"], style)
            rejected += _difference(right, place, own[own["a"] == name], style)
            of_model(name, *left.lines[before[0] :], *right.lines[before[1] :])
        left.set_yticks(range(len(names)), [_label(name, kind, models) for name in names])
        for tick, name in zip(left.get_yticklabels(), names, strict=True):
            if name == params["baseline"] and kind == "single":
                tick.set_fontweight("bold")
        left.set_ylim(len(names) - 0.4, -0.6)
        left.set_title(TITLES[kind], loc="left")
        against = AGAINST[kind].format(baseline=models.label_of(params["baseline"]))
        right.set_title(against, loc="left")
        right.axvline(0, color=INK, linewidth=0.8, zorder=1)
        right.tick_params(left=False)
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
            axes.locator_params(axis="x", nbins=6)
    # Two lines: in a wide font, the one would be longer than its panel.
    grid[-1, 0].set_xlabel(f"{title} in each fold\n{all_sizes(inputs)}")
    grid[-1, 1].set_xlabel(f"mean difference\n{params['percent']} intervals, corrected")
    dot = {"color": style.colours[0], "ms": 3.4, "mec": "white", "mew": 0.4}
    handles = [
        *left.plot([], [], "o", label="one run on its test fold", **dot),
        *left.plot([], [], color=MUTED, linewidth=1.6, label="mean"),
        *left.plot([], [], "o", color=style.colours[0], ms=4, label="corrected test rejects"),
        *left.plot([], [], "o", color=style.colours[0], ms=4, mfc="white", label="it does not"),
    ]
    canvas.legend(handles=handles, loc="outside lower center", ncols=4)
    runs = int(table["run"].nunique())
    lost = table[table["value"].isna() & table["kind"].isin(["single", "ensemble"])]
    turns = f"{count(runs // passes, 'fold')}" + (f" in {passes} passes" if passes > 1 else "")
    facts = f"{turns}, {all_sizes(inputs)}; {_times(rejected)} of the comparisons shown reject."
    if len(lost):
        facts += f" {count(len(lost), 'run')} without a value."
    return Drawing(canvas, facts, together(run=table, comparison=compared))


def _ordered(part: pd.DataFrame) -> list[str]:
    """Families from the highest mean to the lowest, those without one last."""
    mean = part.groupby("family", sort=False)["value"].mean()
    return list(mean.sort_values(ascending=False, kind="stable", na_position="last").index)


def _dots(axes: Axes, place: int, part: pd.DataFrame, baseline: bool, style: Style) -> None:
    colour = INK if baseline else style.colours[0]
    values = part.sort_values("run")["value"].to_numpy(float)
    if np.isnan(values).all():
        gap(axes, place)
        return
    axes.plot([np.nanmean(values)] * 2, [place - 0.33, place + 0.33], color=colour, linewidth=1.6)
    look = {"color": colour, "ms": 3.4, "mec": "white", "mew": 0.4}
    axes.plot(values, place + offsets(len(values), 0.22), "o", **look)


def _difference(axes: Axes, place: int, rows: pd.DataFrame, style: Style) -> int:
    """Draw the comparison of a row; 1 where its corrected test rejects."""
    known = rows[rows["difference"].notna()]
    if known.empty:
        return 0
    row = known.iloc[0]
    rejects, colour = row["reject"] == "True", style.colours[0]
    axes.plot([row["ci_low"], row["ci_high"]], [place] * 2, color=colour, linewidth=1.3)
    fill = colour if rejects else "white"
    axes.plot(row["difference"], place, "o", color=colour, ms=4, mfc=fill, mew=0.9, zorder=4)
    return int(rejects)


def _label(name: str, kind: str, models: ModelTable) -> str:
    return CHOSEN[name] if kind == CHOICE else models.label_of(name)


def _times(number: int) -> str:
    return str(number) if number else "none"
