"""Figures of the ensembles: whether members err together, and the published way's optimism."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from multiloss.figures.degenerate import IN_THE_PICTURE, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message
from multiloss.figures.sizes import sizes
from multiloss.figures.style import INK, NO_RESULT, Style, ink_on, offsets
from multiloss.statistics.metrics import title
from multiloss.study import BEST_SINGLE

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
    return f"{params['percent']} intervals reach to either side by about: {', '.join(parts)}."


def optimism(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Optimism of each ensemble, and as published minus ours with its interval."""
    columns = ["difference", "optimism", "ci_low", "ci_high", "n"]
    table = inputs.table("optimism", columns, text=["ensemble", "method", "metric"])
    # A metric that is undefined for every ensemble has no panel.
    table = table.dropna(subset=["difference"])
    metrics = [metric for metric in ("mcc", "accuracy") if (table["metric"] == metric).any()]
    table = table[table["metric"].isin(metrics)]
    if table.empty:
        return message(style, "No ensemble whose optimism can be told.")
    # The best single model is a row for comparison and no ensemble.
    labels = {BEST_SINGLE: "best single model"}
    own = []
    for row in table.itertuples():
        model = None if row.method == BEST_SINGLE else inputs.models[row.ensemble]
        own.append(model.family if model else BEST_SINGLE)
        labels |= {model.family: model.label} if model else {}
    table = table.assign(family=own)
    names = list(dict.fromkeys(table["family"]))
    runs = int(table.groupby(["family", "metric"]).size().max())
    canvas = style.figure(22 + len(names) * style.line_mm * (1.4 if runs < 4 else 1.9))
    axes = canvas.subplots(1, len(metrics), squeeze=False, sharey=True).ravel()
    for place, metric in zip(axes, metrics, strict=True):
        place.axvline(0, color=INK, linewidth=0.8)
        for y, name in enumerate(names):
            part = table[(table["family"] == name) & (table["metric"] == metric)]
            for offset, row in zip(offsets(len(part), 0.28), part.itertuples(), strict=True):
                look = {"color": style.colours[1], "alpha": 1.0 if runs == 1 else 0.6}
                size = 4.0 if runs == 1 else 2.2
                if row.ci_low == row.ci_low:
                    ends = [row.ci_low, row.ci_high]
                    place.plot(ends, [y + offset] * 2, lw=1.1 if runs < 4 else 0.6, **look)
                place.plot(row.difference, y + offset, "o", ms=size, mfc="white", **look)
                look["color"] = style.colours[0]
                place.plot(row.optimism, y + offset, "D", ms=size, **look)
            if len(part) > 1:
                for column, colour, mark in (("difference", 1, "o"), ("optimism", 0, "D")):
                    mean, fill = part[column].mean(), style.colours[colour]
                    place.plot(mean, y, mark, color=fill, ms=4.0, mec="white", mew=0.6, zorder=4)
        place.set_xlabel(f"change of {title(metric)}")
        place.grid(axis="y", visible=False)
        place.locator_params(axis="x", nbins=5)
    weak = Degenerate.of(inputs, params["replicates"])
    marked = [
        weak.mark(labels[name], *table.loc[table["family"] == name, "ensemble"]) for name in names
    ]
    axes[0].set_yticks(range(len(names)), marked)
    axes[0].invert_yaxis()
    for other in axes[1:]:
        other.tick_params(left=False)
    more = f"{runs} training runs" if runs > 1 else f"{params['percent']} intervals"
    axes[0].set_title(f"test split, {sizes(inputs, table)}; {more}", loc="left")
    handles = [
        axes[0].plot([], [], "D", color=style.colours[0], ms=4.0, label="optimism")[0],
        axes[0].plot(
            [],
            [],
            "o-",
            color=style.colours[1],
            ms=4.0,
            mfc="white",
            label="as published minus ours",
        )[0],
    ]
    place = {"title": IN_THE_PICTURE, "title_fontsize": style.font_size} if weak.any else {}
    canvas.legend(handles=handles, loc="outside lower center", ncols=2, **place)
    ensembles = table[table["family"] != BEST_SINGLE]
    mean = ensembles.groupby("metric")[["optimism", "difference"]].mean().reindex(metrics).dropna()
    facts = ", ".join(
        f"{title(metric)} {row.optimism:+.3f} of {row.difference:+.3f}"
        for metric, row in zip(mean.index, mean.itertuples(), strict=True)
    )
    said = f" Mean optimism of the ensembles, of the whole difference: {facts}." if facts else ""
    return Drawing(canvas, f"Test split, {sizes(inputs, table)}.{said}{weak.note()}", table)
