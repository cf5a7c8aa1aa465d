"""Figures of calibration: reliability diagrams and the calibration error of each loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from multiloss.figures.degenerate import Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message
from multiloss.figures.performance import chosen_models, metrics_of, no_mark
from multiloss.figures.selection import calibration_pairs
from multiloss.figures.sizes import sizes
from multiloss.figures.style import INK, MUTED, Style, gap, interval, panels
from multiloss.losses import calibrated

# Bins of fewer images are not joined by a line.
LINE_FROM = 20
_RAW, _CORRECTED = "raw", "prior_corrected"


def reliability(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Accuracy against confidence in bins of equal mass for the chosen models."""
    bins = inputs.table(
        "bins",
        ["confidence", "accuracy", "ci_low", "ci_high", "n"],
        text=["model", "split", "scaled_from"],
    )
    bins = bins[bins["split"] == "test"]
    metrics = metrics_of(inputs)
    errors = metrics[metrics["metric"] == "ece"].set_index(["own", "kind"])
    models = inputs.models
    chosen = chosen_models(inputs, params, bins)
    if not chosen:
        return message(style, "No model has reliability bins.")
    weak = Degenerate.of(inputs, params["replicates"])
    columns = len(chosen)
    side = min(style.double_column_mm / columns, 72.0)
    canvas = style.figure(side + 8 + 6 * style.line_mm)
    axes = panels(canvas, columns, columns, sharex=True, sharey=True)
    for number, (model, why) in enumerate(chosen.items()):
        top = axes[number]
        part = bins[bins["model"] == model].sort_values("confidence")
        colour = style.colours[number]
        top.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=0.8, zorder=1)
        top.vlines(part["confidence"], part["ci_low"], part["ci_high"], color=colour, linewidth=1.0)
        # Between bins of a few images a line would only show chance.
        joined = part["n"].min() >= LINE_FROM
        line = 0.8 if joined else 0.0
        top.plot(part["confidence"], part["accuracy"], "o-", color=colour, linewidth=line, ms=3.2)
        scaled = bins[bins["scaled_from"] == model].sort_values("confidence")
        if len(scaled):
            look = {"color": colour, "mfc": "white", "ms": 3.0, "mew": 0.7}
            look["linewidth"] = 0.5 if joined else 0.0
            top.plot(scaled["confidence"], scaled["accuracy"], "o:", zorder=1.5, **look)
        top.set_xlabel("confidence")
        text = []
        for kind, short in ((models[model].kind, "ECE"), ("temperature", "ECE scaled")):
            if (model, kind) in errors.index:
                row = errors.loc[(model, kind)]
                text.append(f"{short}: {interval(row['value'], row['ci_low'], row['ci_high'], 3)}")
        head = [f"{why[0].upper()}{why[1:]}:", weak.mark(models[model].label, model)]
        top.set_title("\n".join(head + text), loc="left")
        top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        top.set_aspect("equal", anchor="S")
    axes[0].set_ylabel("share of right answers")
    kept = metrics[metrics["model"].isin(chosen)]
    per_bin = bins.loc[bins["model"].isin(chosen), "n"]
    handles = [
        axes[0].plot([], [], "o-", color=MUTED, linewidth=0.8, label="as trained")[0],
        axes[0].plot([], [], "--", color=MUTED, linewidth=0.8, label="perfect calibration")[0],
    ]
    if bins["scaled_from"].isin(chosen).any():
        look = {"color": MUTED, "mfc": "white", "linewidth": 0.5}
        scaled_line = axes[0].plot([], [], "o:", label="after temperature scaling", **look)[0]
        handles.insert(1, scaled_line)
    few, many = int(per_bin.min()), int(per_bin.max())
    if few < LINE_FROM:
        for handle in handles[:-1]:  # all but the diagonal
            handle.set_linewidth(0)
    spread = f"{few} to {many}" if few < many else f"{few}"
    size = f"est split, {sizes(inputs, kept)}, {spread} in a bin; lines and brackets: "
    size += f"{params['percent']} intervals"
    handles += [no_mark()] * weak.any
    canvas.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        title=f"t{size}",
        title_fontsize=style.font_size - 0.5,
    )
    return Drawing(canvas, f"T{size}.{weak.note()}")


def losses(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Expected calibration error of each loss, calibrated losses beside their parents."""
    table = metrics_of(inputs)
    table = table[table["metric"] == "ece"]
    table = table.assign(scaled=table["scaled_from"] != "")
    # Further seeds and ensembles have their scaled forms too: only those of the runs that are
    # shown as trained belong here.
    single = table[(table["kind"] == "single") & table["family"].isin(params["losses"])]
    table = table[table["own"].isin(single["model"])]
    models = inputs.models
    weak = Degenerate.of(inputs, params["replicates"])
    if table["value"].notna().sum() == 0:
        return message(style, "The calibration error is not defined for any model.")
    present = [loss for loss in params["losses"] if (table["family"] == loss).any()]
    compared = inputs.table("pairs", text=["loss", "plain"])
    plain_of = dict(zip(compared["loss"], compared["plain"], strict=True))
    pairs = [(plain_of[loss], loss) for loss in present if plain_of.get(loss) in present]
    paired = {loss for pair in pairs for loss in pair}
    groups = [
        [parent, *(child for other, child in pairs if other == parent)]
        for parent in dict.fromkeys(parent for parent, _ in pairs)
    ]
    rest = [loss for loss in present if loss not in paired]
    if rest:
        groups.append(rest)
    rows = sum(len(group) for group in groups)
    canvas = style.figure(26 + style.line_mm * (1.5 * rows + 0.8 * len(groups)))
    shown = canvas.subplots(
        1, 2 if pairs else 1, squeeze=False, width_ratios=[1.6, 1][: 1 + bool(pairs)]
    )
    axes = shown[0, 0]
    place, places = 0.0, {}
    for group in groups:
        for loss in group:
            colour = style.colours[1 if models.families[loss][0].loss in calibrated() else 0]
            part = table[table["family"] == loss]
            _mark(axes, place - 0.12, part[~part["scaled"]], colour, False)
            _mark(axes, place + 0.24, part[part["scaled"]], colour, True)
            if part["value"].isna().all():
                gap(axes, place)
            places[loss] = place
            place += 1
        place += 0.5
        if group is not groups[-1]:
            for column in shown[0]:
                column.axhline(place - 0.75, color="white", linewidth=2.5, zorder=0.5)
    labels = [
        weak.mark(models.label_of(loss), *table.loc[table["family"] == loss, "model"])
        for loss in places
    ]
    axes.set_yticks(list(places.values()), labels)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_xlabel("expected calibration error, ECE (0 is perfect)")
    axes.set_title(f"test split, {sizes(inputs, table)}; {params['percent']} intervals", loc="left")
    facts = []
    if pairs:
        facts = _differences(shown[0, 1], inputs, pairs, places, style)
    for column in shown[0]:
        column.set_ylim(place - 0.9, -0.7)
        column.grid(axis="y", visible=False)
    handles = [
        axes.plot([], [], "o-", color=style.colours[0], label="loss without calibration term")[0],
        axes.plot([], [], "o-", color=style.colours[1], label="calibrated loss")[0],
    ]
    if table["scaled"].any():
        look = {"color": MUTED, "mfc": "white"}
        handles += axes.plot([], [], "o-", label="after temperature scaling", **look)
    if pairs:
        look = {"color": MUTED, "mfc": "white"}
        handles += axes.plot([], [], "s-", label="class shares corrected", **look)
    handles += [no_mark()] * weak.any
    canvas.legend(handles=handles, loc="outside lower center", ncols=4 if len(handles) < 5 else 3)
    facts = f" Difference in ECE: {'; '.join(facts)}." if facts else ""
    return Drawing(canvas, f"Test split, {sizes(inputs, table)}.{facts}{weak.note()}")


def _differences(
    axes: Axes,
    inputs: Inputs,
    pairs: Sequence[tuple[str, str]],
    places: Mapping[str, float],
    style: Style,
) -> list[str]:
    """Calibrated minus plain with paired intervals, on the calibrated loss's row; in words."""
    columns = ["difference", "ci_low", "ci_high", "p_adjusted"]
    table = inputs.table("pairs", columns, text=["loss", "replicate", "version", "metric"])
    axes.axvline(0, color=INK, linewidth=0.8)
    facts = []
    for version, offset, mark in ((_RAW, -0.14, "o"), (_CORRECTED, 0.22, "s")):
        found = calibration_pairs(table, version)
        for _, child in pairs:
            if child not in found.index or pd.isna(found.at[child, "difference"]):
                continue
            row = found.loc[child]
            place = places[child] + offset
            first = version == _RAW
            colour = style.colours[1] if first else MUTED
            ends = [row["ci_low"], row["ci_high"]]
            if ends[0] == ends[0]:
                axes.plot(ends, [place] * 2, color=colour, linewidth=1.3 if first else 0.7)
            fill = {} if first else {"mfc": "white", "mew": 0.8}
            axes.plot(row["difference"], place, mark, color=colour, ms=4 if first else 3, **fill)
            if first:
                words = interval(row["difference"], *ends, 3)
                facts.append(f"{inputs.models.label_of(child)} {words}{_p_text(row['p_adjusted'])}")
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("difference in ECE")
    axes.set_title("calibrated minus plain, paired", loc="left")
    return facts


def _p_text(p: float) -> str:
    if p != p:
        return ""
    return ", adjusted p < 0.001" if p < 0.001 else f", adjusted p = {p:.3f}"


def _mark(axes: Axes, place: float, part: pd.DataFrame, colour: str, hollow: bool) -> None:
    if part.empty:
        return
    low, high = part["ci_low"].min(), part["ci_high"].max()
    if low == low:
        axes.plot([low, high], [place] * 2, color=colour, linewidth=0.7 if hollow else 1.2)
    look = {"mfc": "white", "ms": 3.2, "mew": 0.8} if hollow else {"ms": 4.0}
    axes.plot(part["value"].mean(), place, "o", color=colour, **look)
