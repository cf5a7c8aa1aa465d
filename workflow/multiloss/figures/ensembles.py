"""Figures of the ensembles: whether members err together, and the published way's optimism."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from multiloss.figures.degenerate import DAGGER, IN_THE_PICTURE, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.forest import (
    DELTA,
    MINUS,
    NOT_DEFINED,
    Rows,
    chosen_families,
    chosen_handle,
    difference,
    foot,
    foot_text,
    mark,
    number_column,
    say,
    signed,
)
from multiloss.figures.sizes import sizes
from multiloss.figures.style import INK, MUTED, NO_RESULT, Style, ink_on, of_model, offsets
from multiloss.statistics.metrics import title
from multiloss.study import BEST_SINGLE

# The metric whose optimism is drawn: the first that is defined.
_OPTIMISM = ("mcc", "accuracy")
_OF_WHICH = "of which optimism"
# Cells of more models have no room for numbers.
_WITH_NUMBERS = 20


def diversity(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Correlation of the errors of all pairs of losses."""
    columns = ["error_correlation", "disagreement", "n"]
    table = inputs.table("diversity", columns, text=["model_a", "model_b"])
    if "split" in table:
        table = table[table["split"] == "test"]
    models = inputs.models
    table = table.assign(
        a=[models[name].family for name in table["model_a"]],
        b=[models[name].family for name in table["model_b"]],
        run=[models[name].replicate for name in table["model_a"]],
        other=[models[name].replicate for name in table["model_b"]],
    )
    table = table[(table["run"] == table["other"]) & (table["a"] != table["b"])]
    names, compared = list(params["losses"]), {*table["a"], *table["b"]}
    if not compared & set(names):
        return message(style, "Too few single models to compare.")
    size = len(names)
    table = table[table["a"].isin(names) & table["b"].isin(names)]
    means = table.groupby(["a", "b"])[["error_correlation", "disagreement"]].mean()
    correlation = np.full((size, size), np.nan)
    for (a, b), row in means.iterrows():
        i, j = sorted((names.index(a), names.index(b)))
        correlation[j, i] = row["error_correlation"]
    # One triangle: the first has no row, the last no column.
    values, many = correlation[1:, :-1], size > _WITH_NUMBERS
    cell = min(9.5, 110 / size)
    canvas = style.figure(max(50, max(cell, style.line_mm) * size + 38))
    axes = canvas.subplots()
    scale = Normalize(min(0.0, float(np.nanmin(values, initial=0))), 1)
    colours = plt.get_cmap(style.sequential)
    shape = "auto" if many else "equal"
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=scale, aspect=shape)
    for (i, j), value in np.ndenumerate(values):
        if value == value and not many:
            axes.text(
                j,
                i,
                f"{value + 0.0:.2f}".replace("0.", ".").replace("-.00", ".00"),
                ha="center",
                va="center",
                color=ink_on(colours(scale(value))),
                fontsize=style.small,
            )
    axes.grid(False)
    axes.set_facecolor("white")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    weak = Degenerate.of(inputs, params["replicates"])
    pairs = pd.concat(
        [table[["a", "model_a"]].set_axis(["family", "model"], axis=1),
         table[["b", "model_b"]].set_axis(["family", "model"], axis=1)]
    ).drop_duplicates()  # fmt: skip
    labels = [
        weak.mark(models.label_of(name), *pairs.loc[pairs["family"] == name, "model"])
        if name in compared
        else f"{models.label_of(name)}: {NO_RESULT}"
        for name in names
    ]
    places = range(size - 1)
    if many:
        # No room for names below: numbers, every fifth of them.
        labels = [f"{text}  {number}" for number, text in enumerate(labels, start=1)]
        axes.set_xticks(places[::5], [str(place + 1) for place in places[::5]])
    else:
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(places, labels[:-1], **turned)
    axes.set_yticks(places, labels[1:])
    bar = canvas.colorbar(
        plt.cm.ScalarMappable(scale, colours), ax=axes, shrink=0.5, aspect=20, pad=0.02
    )
    bar.set_label("correlation of errors")
    bar.outline.set_visible(False)
    sign = f"\n{IN_THE_PICTURE}" if weak.any else ""
    axes.set_title(f"test split, {sizes(inputs, table)}{sign}", loc="left")
    facts = f"Test split, {sizes(inputs, table)}. Mean correlation of errors "
    both = [means[column].mean() for column in ("error_correlation", "disagreement")]
    facts += f"{both[0]:.2f}, mean disagreement {both[1]:.2f}. "
    facts += _widths(table, params)
    return Drawing(canvas, facts.strip() + weak.note(), table)


def _widths(table: pd.DataFrame, params: Mapping[str, Any]) -> str:
    """How wide the pairs' intervals are: a matrix has no room for each of them."""
    parts = []
    names = (("error_correlation", "correlation"), ("disagreement", "disagreement"))
    for column, text in names:
        ends = f"{column}_ci_low", f"{column}_ci_high"
        if set(ends) <= set(table) and table[ends[0]].notna().any():
            half = float((table[ends[1]] - table[ends[0]]).median()) / 2
            parts.append(f"{text} {half:.2f}")
    if not parts:
        return ""
    return f"Half-width of the {params['percent']} intervals, median: {', '.join(parts)}."


def optimism(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """As published minus ours of each ensemble with its interval, and the part of it that flatters,
    from the largest down."""
    columns = ["difference", "optimism", "ci_low", "ci_high", "n"]
    table = inputs.table("optimism", columns, text=["ensemble", "method", "metric"])
    defined = table.dropna(subset=["difference"])
    metric = next((name for name in _OPTIMISM if (defined["metric"] == name).any()), "")
    table = table[table["metric"] == metric]
    if table.empty:
        return message(style, "No ensemble whose optimism can be told.")
    models, weak = inputs.models, Degenerate.of(inputs, params["replicates"])
    chosen = chosen_families(inputs, models)
    # The best single model is a row for comparison and no ensemble.
    alone = table["method"] == BEST_SINGLE
    table = table.assign(
        family=[
            BEST_SINGLE if single else models[name].family
            for single, name in zip(alone, table["ensemble"], strict=True)
        ]
    )
    rows, drawn, numbers = Rows(style), [], []
    of_family = table.groupby("family", sort=False)["difference"].mean()
    names = of_family.sort_values(ascending=False, kind="stable").index
    names = page_of(sorted(names, key=lambda name: name == BEST_SINGLE), params)
    for heading, single in (("Ensembles", False), ("For comparison", True)):
        of_part = [name for name in names if (name == BEST_SINGLE) == single]
        if not of_part:
            continue
        rows.heading(heading)
        for name in of_part:
            own = table[table["family"] == name]
            label = "best single model" if name == BEST_SINGLE else models.label_of(name)
            label = weak.mark(label, *own["ensemble"])
            bold = name in chosen
            model = "" if name == BEST_SINGLE else models.name_of(name)
            place = rows.row(f"{label} (chosen)" if bold else label, model, bold)
            drawn.append((place, own, bold))
            numbers.append(_flattery(own))
    runs = int(table.groupby("family").size().max())
    notes = [f"Test split, {sizes(inputs, table)}. Not a result."]
    notes += [f"{DAGGER} degenerate model, see the caption."] * weak.any
    text = foot_text(style, notes)
    scale = 1.0 if runs == 1 else 1.3 if runs < 4 else 1.7
    canvas = style.figure(rows.height_mm * scale + 22 + (text.count("\n") + 1) * style.line_mm)
    axes = canvas.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, own, is_chosen in drawn:
        if own["difference"].isna().all():
            say(axes, place, NOT_DEFINED)
        small, alone = len(own) > 1, (own["method"] == BEST_SINGLE).any()
        for offset, row in zip(offsets(len(own), 0.28), own.itertuples(), strict=True):
            at = [row.difference, row.ci_low, row.ci_high]
            filled = is_chosen and chosen[models[row.ensemble].family] == row.ensemble
            # Which one is the best single model depends on the split: it is nobody's row.
            model = "" if alone else row.ensemble
            mark(axes, place + offset, at, style.colours[1], model, filled, small)
            look = {"color": style.colours[0], "ms": 3.5 if small else 6.0, "mew": 1.6, "zorder": 5}
            if row.optimism == row.optimism:
                stroke = axes.plot([row.optimism], [place + offset], "|", **look)
                of_model(model, *stroke)
    rows.limits(axes)
    rows.label(axes)
    axes.locator_params(axis="x", nbins=7)
    axes.set_title("flatters \N{RIGHTWARDS ARROW}", loc="right", color=MUTED)
    axes.set_xlabel(f"as published minus ours, {title(metric)} ({params['percent']} interval)")
    head = "mean, range" if runs > 1 else f"{params['percent']} interval"
    number_column(axes, rows, numbers, f"{DELTA}{title(metric)} ({head})")
    published = {"marker": "o", "ms": 4.0, "mfc": "white", "color": style.colours[1]}
    handles = [
        Line2D([], [], label="as published minus ours", lw=1.2, **published),
        Line2D([], [], color=style.colours[0], marker="|", ms=6.0, mew=1.6, lw=0, label=_OF_WHICH),
        *[chosen_handle()] * bool(chosen),
    ]
    canvas.legend(handles=handles, loc="outside upper center", ncols=3)
    foot(canvas, style, text)
    shown = table[table["family"].isin(names)]
    of_ensembles = table.loc[table["method"] != BEST_SINGLE, ["optimism", "difference"]].mean()
    said = (
        f" Mean optimism of the ensembles, of the whole difference: {title(metric)} "
        f"{of_ensembles['optimism']:+.3f} of {of_ensembles['difference']:+.3f}.".replace("-", MINUS)
        if of_ensembles.notna().all()
        else ""
    )
    return Drawing(canvas, f"Test split, {sizes(inputs, table)}.{said}{weak.note()}", shown)


def _flattery(own: pd.DataFrame) -> str:
    if own["difference"].isna().all():
        return NOT_DEFINED
    if len(own) == 1:
        return difference(*own.iloc[0][["difference", "ci_low", "ci_high"]])
    low, high = (signed(end) for end in (own["difference"].min(), own["difference"].max()))
    return f"{signed(own['difference'].mean())} ({low} to {high})"
