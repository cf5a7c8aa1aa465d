"""Figures of calibration: smooth reliability curves, slopes and errors of all models, pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from multiloss.figures.degenerate import Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of, parts
from multiloss.figures.forest import Rows, difference
from multiloss.figures.performance import COLOURS, PER_RUN, SPREAD, chosen_models, no_mark
from multiloss.figures.selection import calibration_pairs
from multiloss.figures.sizes import sizes
from multiloss.figures.style import (
    INK,
    MUTED,
    Style,
    cut_names,
    fold,
    gap,
    interval,
    lines_of,
    of_model,
    offsets,
)
from multiloss.statistics.calibration_measures import DISTANCE, ROOT, SLOPE
from multiloss.study import KINDS

_RAW, _CORRECTED = "raw", "prior_corrected"
_BAND, _EXPECTED = 0.2, "#c8c8c8"
# Panels of classes that stand side by side.
_COLUMNS = 4
# Slopes further out are drawn at the edge, with an arrow.
_SLOPES = (0.1, 10.0)


def scores_of(inputs: Inputs, version: str = _RAW) -> pd.DataFrame:
    """tables/calibration_scores.csv of one version, joined to the models."""
    table = inputs.table(
        "scores",
        ["value", "ci_low", "ci_high", "expected", "expected_p95", "n"],
        text=["model", "kind", "version", "metric"],
    )
    table = table[table["version"] == version]
    models = [inputs.models[name] for name in table["model"]]
    return table.assign(
        family=[model.family for model in models],
        run=[model.replicate or 0 for model in models],
    )


def _curves(inputs: Inputs) -> pd.DataFrame:
    columns = ["p", "observed", "ci_low", "ci_high", "expected_low", "expected_high", "n"]
    return inputs.table("curves", columns, text=["model", "class", "scaled_from"])


def _histogram(axes: Axes, part: pd.DataFrame, colour: str, outline: bool = False) -> None:
    """The distribution of the predictions as shares of the images."""
    share = part["n"] / max(part["n"].sum(), 1)
    if outline:
        edges = [*part["p_low"], part["p_high"].iloc[-1]]
        axes.stairs(share, edges, color=colour, linewidth=0.9)
        return
    width = part["p_high"] - part["p_low"]
    axes.bar(part["p_low"], share, width, align="edge", color=colour, linewidth=0)


def _curve(axes: Axes, part: pd.DataFrame, colour: str, band: bool, line: str = "-") -> None:
    if band:
        ends = part["ci_low"], part["ci_high"]
        axes.fill_between(part["p"], *ends, color=colour, alpha=_BAND, linewidth=0, zorder=2)
    axes.plot(part["p"], part["observed"], line, color=colour, linewidth=1.4, zorder=3)


def _diagonal(axes: Axes, part: pd.DataFrame) -> None:
    """Where perfect calibration lies, and the range in which it would show."""
    ends = part["expected_low"], part["expected_high"]
    axes.fill_between(part["p"], *ends, color=_EXPECTED, linewidth=0, zorder=1)
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=0.8, zorder=1.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def reliability(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """How often the chosen models are right where they are so sure: curve, band, distribution."""
    curves, scores = _curves(inputs), scores_of(inputs)
    curves = curves[curves["class"] == ""]
    counts = inputs.table("histograms", ["p_low", "p_high", "n"], text=["model", "class"])
    counts = counts[counts["class"] == ""]
    bins = inputs.table("bins", ["confidence", "accuracy"], text=["model", "split"])
    chosen = chosen_models(inputs, params, curves)
    if not chosen:
        return message(style, "No model has predictions that can be looked at.")
    own_bins = bins[bins["model"].isin(chosen) & (bins["split"] == "test")]
    weak = Degenerate.of(inputs, params["replicates"])
    by_metric = scores.set_index(["model", "metric"])
    columns = len(chosen)
    width = style.double_column_mm / columns
    side = min(width, 72.0)
    heads = {
        model: "\n".join(
            [
                fold(f"{why[0].upper()}{why[1:]}:", width - 12, style.font_size),
                fold(weak.mark(inputs.models[model].label, model), width - 12, style.font_size),
                *_in_numbers(by_metric, model),
            ]
        )
        for model, why in chosen.items()
    }
    lines = max(map(lines_of, heads.values()))
    square, low = side - 9, 13.0
    canvas = style.figure(square + low + (lines + 8) * style.line_mm)
    grid = canvas.subplots(
        2, columns, squeeze=False, sharex=True, sharey="row", height_ratios=[square, low]
    )
    scaled = False
    for number, model in enumerate(chosen):
        top, below = grid[:, number]
        part, colour = curves[curves["model"] == model], style.colours[number]
        _diagonal(top, part)
        own = own_bins[own_bins["model"] == model]
        dots = {"mfc": "white", "mew": 0.7, "ms": 3.0, "zorder": 2.5}
        top.plot(own["confidence"], own["accuracy"], "o", color=colour, **dots)
        before = len(top.lines), len(top.collections)
        _curve(top, part, colour, band=True)
        after = curves[curves["scaled_from"] == model]
        if len(after):
            _curve(top, after, colour, band=False, line=":")
            scaled = True
        of_model(model, *top.lines[before[0] :], *top.collections[before[1] :])
        top.set_title(heads[model], loc="left")
        _histogram(below, counts[counts["model"] == model], colour)
        below.set_xlabel("confidence")
    grid[0, 0].set_ylabel("share of right answers")
    grid[1, 0].set_ylabel("images")
    percent = params["percent"]
    size = sizes(inputs, curves)
    handles = [
        *grid[0, 0].plot([], [], "-", color=MUTED, label=f"smooth curve, {percent} band"),
        *grid[0, 0].plot([], [], "o", color=MUTED, mfc="white", mew=0.7, ms=3, label="bins"),
        *(
            [grid[0, 0].plot([], [], ":", color=MUTED, label="after temperature scaling")[0]]
            * scaled
        ),
        Patch(color=_EXPECTED, linewidth=0, label=f"if perfect, {percent} range"),
        *[no_mark()] * weak.any,
    ]
    canvas.legend(handles=handles, loc="outside lower center", ncols=4)
    missing = curves[curves["model"].isin(chosen) & curves["p"].isna()]
    told = "".join(
        f" {inputs.models[row.model].label} has no curve: {row.reason}."
        for row in missing.itertuples()
    )
    shown = curves[curves["model"].isin(chosen) | curves["scaled_from"].isin(chosen)]
    return Drawing(
        canvas,
        f"Test split, {size}.{told}{weak.note()}",
        parts(curve=shown, bins=own_bins, histogram=counts[counts["model"].isin(chosen)]),
    )


def _in_numbers(scores: pd.DataFrame, model: str) -> list[str]:
    """Slope and ECE of a model in words."""
    found = []
    if (model, SLOPE.name) in scores.index:
        row = scores.loc[(model, SLOPE.name)]
        found.append(f"slope {interval(row['value'], row['ci_low'], row['ci_high'])}")
    if (model, "ece") in scores.index:
        row = scores.loc[(model, "ece")]
        found.append(f"ECE {row['value']:.3f}; perfect: {row['expected']:.3f}")
        found.append(f"on average, 95% below {row['expected_p95']:.3f}")
    return found


def by_class(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Frequency of each class by its probability, for the chosen models."""
    curves = _curves(inputs)
    curves = curves[(curves["class"] != "") & (curves["scaled_from"] == "")]
    counts = inputs.table("histograms", ["p_low", "p_high", "n"], text=["model", "class"])
    chosen = chosen_models(inputs, params, curves)
    if not chosen:
        return message(style, "No model has predictions that can be looked at.")
    weak = Degenerate.of(inputs, params["replicates"])
    shown_names = cut_names(params["classes"])
    classes = page_of(params["classes"], params)
    curves, counts = (
        table[table["class"].isin(classes) & table["model"].isin(chosen)]
        for table in (curves, counts)
    )
    columns = min(_COLUMNS, len(classes))
    rows = -(-len(classes) // columns)
    width = style.double_column_mm / columns
    side = min(width, 66.0)
    square, low = side - 8, 10.0
    canvas = style.figure(rows * (square + low + 5 * style.line_mm) + 5 * style.line_mm)
    grid = canvas.subplots(
        2 * rows, columns, squeeze=False, sharex=True, height_ratios=[square, low] * rows
    )
    for place in range(rows * columns):
        top, below = (grid[2 * (place // columns) + k, place % columns] for k in (0, 1))
        if place >= len(classes):
            top.set_axis_off()
            below.set_axis_off()
            continue
        label = classes[place]
        of_class = curves[curves["class"] == label]
        for number, model in reversed(list(enumerate(chosen))):
            part = of_class[of_class["model"] == model]
            if not number:
                _diagonal(top, part)
            before = len(top.lines), len(top.collections)
            _curve(top, part, style.colours[number], band=not number)
            of_model(model, *top.lines[before[0] :], *top.collections[before[1] :])
            here = counts[(counts["model"] == model) & (counts["class"] == label)]
            _histogram(below, here, style.colours[number], outline=True)
        top.set_title(fold(shown_names[label], width - 10, style.font_size), loc="left")
        top.tick_params(labelbottom=False)
        below.tick_params(labelbottom=True)
        below.set_xlabel("probability of the class")
        if not place % columns:
            top.set_ylabel("share of the class")
            below.set_ylabel("images")
    names = [weak.mark(inputs.models[model].label, model) for model in chosen]
    handles = [
        grid[0, 0].plot([], [], color=style.colours[number], label=f"{name} ({why})")[0]
        for number, (name, why) in enumerate(zip(names, chosen.values(), strict=True))
    ]
    percent = params["percent"]
    handles += [
        Patch(
            color=style.colours[0], alpha=_BAND, linewidth=0, label=f"{percent} band of the first"
        ),
        Patch(color=_EXPECTED, linewidth=0, label="the first if perfectly calibrated"),
        *[no_mark()] * weak.any,
    ]
    canvas.legend(handles=handles, loc="outside lower center", ncols=2)
    missing = curves[curves["model"].isin(chosen) & curves["p"].isna()]
    told = "".join(f" No curve of {label}: {reason}." for label, reason in _reasons(missing))
    facts = f"Test split, {sizes(inputs, curves)}.{told}{weak.note()}"
    return Drawing(canvas, facts, parts(curve=curves, histogram=counts))


def _reasons(table: pd.DataFrame) -> list[tuple[str, str]]:
    pairs = zip(table["class"], table["reason"].fillna(""), strict=True)
    return list(dict.fromkeys((f"'{label}'", str(reason)) for label, reason in pairs))


def every_model(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Calibration slopes of all models, and their ECE against what perfect calibration shows."""
    scores = scores_of(inputs)
    scores = scores[scores["kind"].isin(KINDS)]
    slopes = scores[scores["metric"] == SLOPE.name].set_index("model")
    errors = scores[scores["metric"] == "ece"].set_index("model")
    if errors["value"].notna().sum() == 0:
        return message(style, "Calibration is not defined for any model.")
    weak = Degenerate.of(inputs, params["replicates"])
    shown, listed, last = page_of(_rows(slopes), params), Rows(style), ""
    for kind, family, part in shown:
        if kind != last:
            listed.heading(KINDS[kind].many.capitalize())
            last = kind
        text = inputs.models.label_of(family)
        text += f", {len(part)} runs" if kind == "seed" else ""
        model = part.index[0] if len(part) == 1 else family
        tall = 1.0 + PER_RUN * (len(part) - 1)
        listed.row(weak.mark(text, *part.index), model, family == params["baseline"], tall)
    canvas = style.figure(listed.height_mm + 26)
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    left.axvline(1, color=INK, linewidth=0.8, zorder=1)
    for place, (kind, family, part) in zip(listed.places, shown, strict=True):
        colour = INK if family == params["baseline"] else style.colours[COLOURS[kind]]
        tall = 1.0 + PER_RUN * (len(part) - 1)
        _slope_row(left, place, part, colour, tall)
        _error_row(right, place, errors.loc[part.index], colour, tall)
    left.set_xscale("log")
    left.set_xlim(_SLOPES[0] * 0.93, _SLOPES[1] * 1.07)
    left.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    left.minorticks_off()
    left.set_xlabel("calibration slope: too sure < 1 < too timid")
    listed.limits(left)
    listed.label(left)
    right.set_xlim(left=0)
    right.set_xlabel("expected calibration error, ECE")
    right.grid(axis="y", visible=False)
    right.tick_params(axis="y", length=0)
    size = sizes(inputs, errors)
    left.set_title(f"test split, {size}; {params['percent']} intervals", loc="left")
    handles = [
        Patch(color=_EXPECTED, linewidth=0, label="ECE of perfect calibration, 95% lie here"),
        *right.plot([], [], "|", color=INK, ms=5, label="its mean"),
        *right.plot([], [], "o", color=MUTED, mfc="white", mew=0.9, label="inside that range"),
        *right.plot([], [], "o", color=MUTED, label="above it"),
        *[no_mark()] * weak.any,
    ]
    canvas.legend(handles=handles, loc="outside lower center", ncols=4)
    names = [name for _, _, part in shown for name in part.index]
    above = int((errors["value"] > errors["expected_p95"]).sum())
    facts = f" ECE above that range: {above} of {int(errors['value'].notna().sum())} models."
    drawn = scores["metric"].isin([SLOPE.name, "ece"]) & scores["model"].isin(names)
    return Drawing(canvas, f"Test split, {size}.{facts}{weak.note()}", scores[drawn])


def _rows(slopes: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Families by kind, the slope nearest to 1 first; the seeds of a loss are all its seeds."""
    rows = []
    for kind in KINDS:
        own = slopes.loc[slopes["kind"] == kind, "family"]
        with_first = ["single", "seed"] if kind == "seed" else [kind]
        part = slopes[slopes["kind"].isin(with_first) & slopes["family"].isin(own)]
        groups = [(name, group.sort_values("run")) for name, group in part.groupby("family")]

        def far(pair: tuple[str, pd.DataFrame]) -> float:
            values = pair[1]["value"].where(pair[1]["value"] > 0).dropna()
            return float(np.abs(np.log(values)).mean()) if len(values) else np.inf

        rows += [(kind, name, group) for name, group in sorted(groups, key=far)]
    return rows


def _slope_row(axes: Axes, place: float, part: pd.DataFrame, colour: str, tall: float) -> None:
    number = len(part)
    if part["value"].isna().all():
        gap(axes, place)
    for offset, row in zip(offsets(number, SPREAD * tall), part.itertuples(), strict=True):
        alone = number == 1
        thick = 1.3 if alone else 0.7
        if row.value != row.value:
            continue
        if row.ci_low == row.ci_low:
            ends = np.clip([row.ci_low, row.ci_high], *_SLOPES)
            line = axes.plot(ends, [place + offset] * 2, color=colour, linewidth=thick)
            of_model(row.Index, *line)
        inside = _SLOPES[0] <= row.value <= _SLOPES[1]
        mark = "o" if inside else "<" if row.value < _SLOPES[0] else ">"
        at = float(np.clip(row.value, *_SLOPES))
        size = 4.0 if alone else 2.4
        of_model(row.Index, *axes.plot(at, place + offset, mark, color=colour, ms=size))


def _error_row(axes: Axes, place: float, part: pd.DataFrame, colour: str, tall: float) -> None:
    number = len(part)
    height = 0.62 if number == 1 else 1.7 * SPREAD * tall / (number - 1)
    for offset, row in zip(offsets(number, SPREAD * tall), part.itertuples(), strict=True):
        if row.value != row.value:
            continue
        middle = place + offset
        axes.barh(middle, row.expected_p95, height, color=_EXPECTED, linewidth=0, zorder=1)
        axes.plot(row.expected, middle, "|", color=INK, ms=5 if number == 1 else 3, zorder=2)
        fill = {} if row.value > row.expected_p95 else {"mfc": "white", "mew": 0.9}
        size = 4.0 if number == 1 else 2.4
        dot = axes.plot(row.value, middle, "o", color=colour, ms=size, zorder=3, **fill)
        of_model(row.Index, *dot)


def pairs(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Calibrated losses minus their plain forms by slope and by the log loss saved."""
    columns = ["difference", "ci_low", "ci_high", "p_adjusted", "hypotheses", "n"]
    text = ["loss", "plain", "replicate", "version", "metric", "reject"]
    table = inputs.table("pairs", columns, text=text)
    models = inputs.models
    raw = calibration_pairs(table, _RAW, DISTANCE.name)
    losses = page_of([loss for loss in params["losses"] if loss in raw.index], params)
    if not losses:
        return message(style, "This study compares no loss with its calibrated form.")
    weak = Degenerate.of(inputs, params["replicates"])
    canvas = style.figure(26 + 2.1 * style.line_mm * len(losses))
    shown = canvas.subplots(1, 2, sharey=True)
    facts = []
    measures = ((DISTANCE, "|log slope|"), (ROOT, "root of the log loss saved"))
    for axes, (measure, label) in zip(shown, measures, strict=True):
        axes.axvline(0, color=INK, linewidth=0.8)
        for version, offset, mark in ((_RAW, -0.13, "o"), (_CORRECTED, 0.2, "s")):
            if (version, measure) == (_CORRECTED, DISTANCE):
                continue  # class shares move the intercepts alone
            found = calibration_pairs(table, version, measure.name)
            for place, loss in enumerate(losses):
                if loss not in found.index:
                    continue
                row = found.loc[loss]
                _pair_mark(axes, place + offset, row, version == _RAW, mark, style)
                if pd.isna(row["difference"]) and version == _RAW:
                    gap(axes, place)
                elif version == _RAW and measure is DISTANCE:
                    facts.append(
                        f"{models.label_of(loss)} "
                        f"{difference(row['difference'], row['ci_low'], row['ci_high'])}"
                        f"{_p_text(row['p_adjusted'], row['hypotheses'])}"
                    )
        axes.set_xlabel(f"difference in {label}")
        axes.grid(axis="y", visible=False)
    labels = []
    for loss in losses:
        plain = raw.at[loss, "plain"]
        runs = [m.name for name in (loss, plain) for m in models.families[name]]
        text = f"{models.label_of(loss)}\nminus {models.label_of(plain)}"
        labels.append(weak.mark(text, *runs))
    shown[0].set_yticks(range(len(losses)), labels)
    shown[0].set_ylim(len(losses) - 0.5, -0.5)
    size = sizes(inputs, raw)
    shown[0].set_title(f"test split, {size}; paired {params['percent']} intervals", loc="left")
    grey = {"color": MUTED, "ms": 4}
    hollow = {"mfc": "white", "mew": 0.9}
    handles = [
        *shown[0].plot([], [], "o", **grey, label="shown to differ"),
        *shown[0].plot([], [], "o", **grey, **hollow, label="not shown to differ"),
        *shown[0].plot([], [], "s", **grey, **hollow, label="class shares corrected"),
        *[no_mark()] * weak.any,
    ]
    canvas.legend(handles=handles, loc="outside lower center", ncols=4)
    said = f" Difference in |log slope|: {'; '.join(facts)}." if facts else ""
    shown = [
        found.loc[found.index.isin(losses)].reset_index()
        for found in (
            calibration_pairs(table, _RAW, DISTANCE.name),
            calibration_pairs(table, _RAW, ROOT.name),
            calibration_pairs(table, _CORRECTED, ROOT.name),
        )
    ]
    return Drawing(canvas, f"Test split, {size}.{said}{weak.note()}", pd.concat(shown))


def _pair_mark(
    axes: Axes, place: float, row: pd.Series, first: bool, mark: str, style: Style
) -> None:
    colour = style.colours[1] if first else MUTED
    if row["ci_low"] == row["ci_low"]:
        ends = [row["ci_low"], row["ci_high"]]
        axes.plot(ends, [place] * 2, color=colour, linewidth=1.3 if first else 0.7)
    rejected = first and str(row["reject"]) == "True"
    fill = {} if rejected else {"mfc": "white", "mew": 0.9}
    axes.plot(row["difference"], place, mark, color=colour, ms=4 if first else 3, **fill)


def _p_text(p: float, hypotheses: float) -> str:
    if p != p:
        return ""
    said = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f", {said} after Holm over {hypotheses:.0f}"
