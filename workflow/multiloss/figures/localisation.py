"""Where the heat of Grad-CAM lies, and whether it shows what a model uses, as numbers."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from multiloss.figures.degenerate import IN_THE_PICTURE, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.performance import no_mark
from multiloss.figures.sizes import test_patients
from multiloss.figures.style import (
    INK,
    MUTED,
    NO_RESULT,
    Style,
    count,
    fold,
    gap,
    lines_of,
    offsets,
    panels,
)
from multiloss.gradcam.localisation import MEASURES, UNIFORM
from multiloss.study import KINDS

# One measure for each question: is the heat where the finding is, and does it depend on what the
# network has learned? The others are in the table.
_CORRELATION = "randomised_weights_correlation"
_SHOWN = ("energy_pointing_game", "pointing_game", "lung_share", _CORRELATION)
_UNIFORM_LABEL = "uniform map (no preference)"

_KINDS = ("single", "ensemble", "ablation")


def localisation(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Each localisation measure of each model, with intervals and the value of a uniform map."""
    table = inputs.table("localisation", ["threshold", "value", "ci_low", "ci_high", "n"],
                         text=["model", "kind", "metric"])  # fmt: skip
    models = inputs.models
    table = table[table["metric"].isin(_SHOWN)]
    everyone = [name for name in dict.fromkeys(table["model"]) if name != UNIFORM]
    names = page_of(list(dict.fromkeys(models[name].family for name in everyone)), params)
    kinds = {models[name].family: models[name].kind for name in everyone}
    table = table[table["value"].notna()]
    if table.empty:
        return message(style, "No heat map could be measured.")
    table = table.assign(threshold=table["threshold"].fillna(-1.0))
    order = {metric: place for place, metric in enumerate(_SHOWN)}
    arms = sorted(
        set(zip(table["metric"], table["threshold"], strict=True)),
        key=lambda arm: (order[arm[0]], arm[1]),
    )
    chance = table[table["model"] == UNIFORM].set_index(["metric", "threshold"])
    table = table[table["model"] != UNIFORM]
    table = table.assign(
        family=[models[name].family for name in table["model"]],
        run=[models[name].replicate for name in table["model"]],
    )
    table = table[table["family"].isin(names)]
    weak = Degenerate.of(inputs, int(table["run"].nunique()))
    runs = int(table["run"].nunique())
    columns = min(2, len(arms))
    rows = math.ceil(len(arms) / columns)
    step = style.line_mm * (1.2 if runs < 4 else 1.6)
    canvas = style.figure(rows * ((len(names) + 1) * step + 4 * style.line_mm + 5) + 15)
    axes = canvas.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for number, (place, arm) in enumerate(zip(axes, arms, strict=False)):
        part = table[(table["metric"] == arm[0]) & (table["threshold"] == arm[1])]
        if arm in chance.index:
            known = chance.loc[arm]
            place.axvline(known["value"], color=INK, linestyle="--", linewidth=0.8)
            if known["ci_low"] == known["ci_low"]:
                place.plot([known["ci_low"], known["ci_high"]], [0, 0], color=INK, lw=1.1)
            place.plot(known["value"], 0, "o", color=INK, ms=3.4)
        elif arm[0] == _CORRELATION:
            place.axvline(0, color=INK, linestyle="--", linewidth=0.8)
        for y, name in enumerate(names, start=1):
            found = part[part["family"] == name]
            if found.empty:
                gap(place, y)
            colour = style.colours[_KINDS.index(kinds[name])]
            for offset, row in zip(offsets(len(found), 0.28), found.itertuples(), strict=True):
                if row.ci_low == row.ci_low:
                    ends = [row.ci_low, row.ci_high]
                    place.plot(ends, [y + offset] * 2, color=colour, lw=1.1 if runs < 4 else 0.6)
                size = 3.4 if runs == 1 else 2.0
                place.plot(row.value, y + offset, "o", color=colour, ms=size)
        measure = MEASURES[arm[0]]
        text = measure.title + ("" if arm[1] < 0 else f"\nat heat from {arm[1]:g}")
        text += "" if measure.higher_is_better else f"\n({measure.direction})"
        place.set_title(text, loc="left")
        images = int(part["n"].max()) if len(part) else 0
        place.set_xlabel(f"n = {count(images, 'image')}")
        place.grid(axis="y", visible=False)
        if arm[0] != _CORRELATION:
            place.set_xlim(left=0)
        if number % columns:
            place.tick_params(left=False)
    models_of = {name: part["model"].unique() for name, part in table.groupby("family")}
    labels = [weak.mark(models.label_of(name), *models_of.get(name, ())) for name in names]
    # Only regions, lungs or lesions, have a value for a uniform map.
    uniform = any(arm in chance.index for arm in arms)
    first = 0 if uniform else 1
    axes[0].set_yticks(range(first, len(names) + 1), [_UNIFORM_LABEL, *labels][first:])
    axes[0].set_ylim(len(names) + 0.6, first - 0.6)
    for unused in axes[len(arms) :]:
        unused.set_axis_off()
    percent = f"{params['percent']} interval"
    lines = [
        axes[0].plot([], [], "o-", color=colour, label=f"{KINDS[kind].one}, {percent}")[0]
        for kind, colour in zip(_KINDS, style.colours, strict=False)
        if kind in kinds.values()
    ]
    text = f"equal heat all over the {params['seen']}; correlation: 0" if uniform else "0"
    lines += axes[0].plot([], [], "--", color=INK, lw=0.8, label=text)
    lines += [no_mark()] * weak.any
    canvas.legend(handles=lines, loc="outside lower center", ncols=2)
    facts = f"Up to {count(int(table['n'].max()), 'test image')} of {test_patients(inputs)}."
    return Drawing(canvas, facts + weak.note(), pd.concat([chance.reset_index(), table]))


# Metric of the table, what a reader calls it, colour index and line.
_CURVES = {
    "insertion_curve": ("insertion, hottest pixels first", 0, "-"),
    "random_curve": ("insertion in random order", 5, ":"),
    "deletion_curve": ("deletion, hottest pixels first", 1, "--"),
}


def faithfulness(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Deletion and insertion curves of each model with their intervals, one panel a model."""
    table = inputs.table(
        "localisation",
        ["threshold", "value", "ci_low", "ci_high", "n"],
        text=["model", "metric"],
    )
    models = inputs.models
    own = {name: models[name].family for name in table["model"] if name != UNIFORM}
    names = page_of(list(dict.fromkeys(own.values())), params)
    table = table[table["metric"].isin(_CURVES) & table["value"].notna()]
    table = table.assign(family=table["model"].map(own))
    table = table[table["family"].isin(names)]
    if table.empty:
        return message(style, "No deletion or insertion curve was measured.")
    runs = int(table.groupby("family")["model"].nunique().max())
    weak = Degenerate.of(inputs, runs)
    models_of = {name: part["model"].unique() for name, part in table.groupby("family")}
    titles = [weak.mark(models.label_of(name), *models_of.get(name, ())) for name in names]
    columns = min(5, len(names))
    rows = math.ceil(len(names) / columns)
    width = style.double_column_mm / columns - 6
    titles = [fold(title, width, style.font_size, bold=True) for title in titles]
    canvas = style.figure(rows * (22 + max(map(lines_of, titles)) * style.line_mm) + 20)
    places = panels(canvas, len(names), columns, sharex=True, sharey=True)
    for number, (axes, name) in enumerate(zip(places, names, strict=True)):
        part = table[table["family"] == name]
        if part.empty:
            middle = {"ha": "center", "va": "center", "color": MUTED, "fontstyle": "italic"}
            axes.text(0.5, 0.5, NO_RESULT, transform=axes.transAxes, **middle)
        for (_, metric), points in part.groupby(["model", "metric"], sort=False):
            _, index, line = _CURVES[metric]
            colour, points = style.colours[index], points.sort_values("threshold")
            thin = {"linewidth": 1.2} if runs == 1 else {"linewidth": 0.6, "alpha": 0.6}
            axes.plot(points["threshold"], points["value"], line, color=colour, **thin)
            if runs == 1:
                # Where no value varies there is no interval.
                ends = (points[end].fillna(points["value"]) for end in ("ci_low", "ci_high"))
                axes.fill_between(points["threshold"], *ends, color=colour, alpha=0.15, lw=0)
        axes.set_title(titles[number], loc="left", fontweight="bold")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.tick_params(labelbottom=True)
        if number + columns >= len(names):
            axes.set_xlabel("share of the pixels")
        if number % columns == 0:
            axes.set_ylabel("probability")
    lines = [
        places[0].plot([], [], line, color=style.colours[index], label=text)[0]
        for text, index, line in _CURVES.values()
    ]
    few, many = int(table["n"].min()), int(table["n"].max())
    size = f"{few:,} to {count(many, 'test image')}" if few < many else count(many, "test image")
    said = f"n = {size}"
    bands = "thin lines: training runs" if runs > 1 else f"bands: {params['percent']} intervals"
    bands += f"; {IN_THE_PICTURE}" if weak.any else ""
    canvas.legend(
        handles=lines,
        loc="outside lower center",
        ncols=3,
        title=f"{said}; {bands}",
        title_fontsize=style.small,
    )
    return Drawing(canvas, f"{said}.{weak.note()}", table)
