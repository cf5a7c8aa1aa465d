"""Figures of what acting on a model is worth: decision curves, distributions of probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from multiloss.figures.degenerate import Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, parts
from multiloss.figures.performance import chosen_models, no_mark
from multiloss.figures.sizes import sizes
from multiloss.figures.style import INK, MUTED, Style, fold, lines_of, text_mm
from multiloss.study import ANY_FINDING

# More outcomes than this have no room on one page.
MOST = 7
# Lines of histograms that one page has room for.
LINES = 49
_RAW = "raw"
_LINES = ("-", "--", "-.")


def _shown(table: pd.DataFrame, negative: str | None, most: int = MOST) -> tuple[list[str], int]:
    """The outcomes to show, and how many have no room.

    Without the class that any finding is the mirror image of, and of many classes those with the
    most images.
    """
    images = table.groupby("class", sort=False)["n_positive"].max()
    names = [name for name in images.index if name != negative]
    first = [name for name in names if name == ANY_FINDING]
    rest = [name for name in names if name != ANY_FINDING]
    common = sorted(rest, key=lambda name: -images[name])[: most - len(first)]
    kept = first + [name for name in rest if name in common]
    return kept, len(names) - len(kept)


def ranges_in_words(rows: pd.DataFrame) -> str:
    """Thresholds of rows of tables/useful_thresholds.csv: '12% to 40% and 45%'."""
    parts = []
    for low, high in rows[["low", "high"]].dropna().itertuples(index=False):
        parts.append(f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}")
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def decision_curves(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Net benefit of the chosen models against the threshold, and their differences."""
    text = ["model", "version", "class"]
    table = inputs.table(
        "net_benefit",
        ["threshold", "net_benefit", "ci_low", "ci_high", "treat_all", "n", "n_positive"],
        text=text,
    )
    table = table[(table["version"] == _RAW) & table["net_benefit"].notna()]
    chosen = chosen_models(inputs, params, table)
    if not chosen:
        return message(style, "No model has a decision curve.")
    table = table[table["model"].isin(chosen)]
    useful = inputs.table("useful", ["low", "high"], text=text)
    useful = useful[useful["version"] == _RAW]
    differences = inputs.table(
        "differences", ["threshold", "difference", "ci_low", "ci_high"], text=["against", *text[1:]]
    )
    differences = differences[
        (differences["version"] == _RAW)
        & differences["model_a"].isin(chosen)
        & differences["model_b"].isin(chosen)
    ]
    weak = Degenerate.of(inputs, params["replicates"])
    outcomes, left_out = _shown(table, params["negative"])
    looks = dict(zip(chosen, zip(style.colours, _LINES, strict=False), strict=False))
    pairs = _pairs(differences)
    columns = min(len(outcomes), 4 if len(outcomes) > 3 else 3)
    rows = -(-len(outcomes) // columns)
    side = style.double_column_mm / columns - 8
    names = style.class_names(params["classes"], side, 3, bold=True)
    titles = {
        name: name
        if name == ANY_FINDING
        else names.in_text(name)
        if names.key
        else names.short[name]
        for name in outcomes
    }
    size = f"est split, {sizes(inputs, table)}"
    foot, foot_mm = names.note(
        f"t{size}; numbers: images with the finding; {params['percent']} intervals"
    )
    heads = max(map(lines_of, titles.values())) + 1
    tall = min(side, 48.0)
    heights = [tall, 0.55 * tall] if pairs else [tall]
    canvas = style.figure(
        rows * (sum(heights) + 8 + 6 * bool(pairs) + heads * style.line_mm)
        + (4 + len(chosen) + len(pairs)) * style.line_mm
        + foot_mm
    )
    grid = canvas.subplots(
        rows * len(heights), columns, squeeze=False, sharex=True, height_ratios=heights * rows
    )
    for place, name in enumerate(outcomes):
        row, column = divmod(place, columns)
        axes = grid[row * len(heights), column]
        part = table[table["class"] == name]
        _curves(axes, part, useful[useful["class"] == name], looks)
        total, positive = int(part["n"].max()), int(part["n_positive"].max())
        axes.set_title(titles[name], loc="left", fontweight="bold")
        axes.annotate(
            f"{positive:,} of {total:,}",
            (0.97, 0.97),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=style.small,
        )
        last = axes
        if pairs:
            last = grid[row * 2 + 1, column]
            _differences(last, differences[differences["class"] == name], pairs, looks)
            if column == 0:
                last.set_ylabel("difference")
        if column == 0:
            axes.set_ylabel("net benefit")
        if place + columns >= len(outcomes):
            last.tick_params(labelbottom=True)
            last.set_xlabel("threshold probability")
    for unused in range(len(outcomes), rows * columns):
        row, column = divmod(unused, columns)
        for k in range(len(heights)):
            grid[row * len(heights) + k, column].set_axis_off()
    handles = [
        grid[0, 0].plot(
            [],
            [],
            line,
            color=colour,
            label=f"{weak.mark(inputs.models[model].label, model)} ({chosen[model]})",
        )[0]
        for model, (colour, line) in looks.items()
    ]
    handles.append(grid[0, 0].plot([], [], ":", color=INK, lw=0.9, label="all called positive")[0])
    handles.append(grid[0, 0].plot([], [], "-", color=INK, lw=0.9, label="none called positive")[0])
    handles += [
        grid[-1, 0].plot([], [], line, color=colour, lw=0.9, label=f"difference: {label}")[0]
        for (colour, line), label in (
            (looks[pair[0]], f"{chosen[pair[0]]} minus {chosen[pair[1]]}") for pair in pairs
        )
    ]
    handles += [no_mark()] * weak.any
    canvas.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        title=foot,
        title_fontsize=style.small,
    )
    facts = f"T{size}.{_range_facts(inputs, useful, chosen, outcomes)}"
    if left_out:
        facts += f" Left out: the {left_out} rarest class{'es' * (left_out > 1)}."
    own = [
        part[part["class"].isin(outcomes)]
        for part in (table, differences, useful[useful["model"].isin(chosen)])
    ]
    data = parts(curve=own[0], difference=own[1], useful=own[2])
    return Drawing(canvas, f"{facts}{weak.note()}", data)


def _pairs(differences: pd.DataFrame) -> list[tuple[str, str]]:
    """The first two pairs of models, each against what the study would have without it."""
    found = differences[["model_a", "model_b"]].drop_duplicates()
    return list(found.itertuples(index=False, name=None))[:2]


def _curves(
    axes: Axes,
    table: pd.DataFrame,
    useful: pd.DataFrame,
    looks: Mapping[str, tuple[str, str]],
) -> None:
    prevalence = float((table["n_positive"] / table["n"]).max())
    floor, top = -0.25 * prevalence, 1.12 * prevalence
    reference = table[table["model"] == table["model"].iloc[0]]
    axes.plot(reference["threshold"], reference["treat_all"], ":", color=INK, linewidth=0.9)
    axes.axhline(0, color=INK, linewidth=0.9)
    for number, (model, (colour, line)) in enumerate(looks.items()):
        part = table[table["model"] == model]
        band = {"color": colour, "alpha": 0.13, "linewidth": 0}
        axes.fill_between(part["threshold"], part["ci_low"], part["ci_high"], **band)
        axes.plot(part["threshold"], part["net_benefit"], line, color=colour, linewidth=1.1)
        height = floor + (0.04 + 0.05 * number) * (top - floor)
        for low, high in useful.loc[useful["model"] == model, ["low", "high"]].dropna().to_numpy():
            # Half a step to each side, so that a single threshold is seen.
            ends = [low - 0.005, high + 0.005]
            axes.plot(ends, [height] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.set(xlim=(0, 1), ylim=(floor, top))
    # Labels of the quarters would touch where panels are narrow.
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50%", "", "100%"])


def _differences(
    axes: Axes,
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    looks: Mapping[str, tuple[str, str]],
) -> None:
    axes.axhline(0, color=INK, linewidth=0.8)
    reach = 0.0
    for pair in pairs:
        part = table[(table["model_a"] == pair[0]) & (table["model_b"] == pair[1])]
        colour, line = looks[pair[0]]
        band = {"color": colour, "alpha": 0.13, "linewidth": 0}
        axes.fill_between(part["threshold"], part["ci_low"], part["ci_high"], **band)
        axes.plot(part["threshold"], part["difference"], line, color=colour, linewidth=0.9)
        # At high thresholds one false alarm outweighs everything: they do not set the scale.
        inner = part.loc[part["threshold"] <= 0.6, ["ci_low", "ci_high"]].abs().to_numpy()
        reach = max(reach, float(np.nanmax(inner, initial=0.0)))
    axes.set_ylim(-1.1 * (reach or 1.0), 1.1 * (reach or 1.0))
    axes.locator_params(axis="y", nbins=5)


def _range_facts(
    inputs: Inputs, useful: pd.DataFrame, chosen: Mapping[str, str], outcomes: Sequence[str]
) -> str:
    """For each outcome, where the first of the chosen models is worth more than all or none."""
    model = next(iter(chosen))
    parts = []
    for name in outcomes:
        words = ranges_in_words(useful[(useful["model"] == model) & (useful["class"] == name)])
        parts.append(f"{name}: {f'at thresholds of {words}' if words else 'nowhere'}")
    label = inputs.models[model].label
    return f" {label} is shown to be worth more than calling all or none: {'; '.join(parts)}."


def probability_distributions(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """How probable the chosen models hold each outcome for the images of each true class."""
    table = inputs.table(
        "probabilities", ["n", "q25", "q50", "q75"], text=["model", "version", "class", "label"]
    )
    table = table[table["version"] == _RAW]
    bins = [name for name in table if name.startswith("from_")]
    chosen = chosen_models(inputs, params, table)
    if not chosen:
        return message(style, "No model has probabilities.")
    weak = Degenerate.of(inputs, params["replicates"])
    classes, negative = params["classes"], params["negative"]
    of = {name: int(table.loc[table["label"] == name, "n"].max()) for name in classes}
    with_count = pd.DataFrame(
        [
            (name, sum(of.values()) - of[negative] if name == ANY_FINDING else of[name])
            for name in table["class"].unique()
        ],
        columns=["class", "n_positive"],
    )
    # With many classes each outcome takes more of the page.
    most = max(1, min(MOST, LINES // len(classes)))
    outcomes, left_out = _shown(with_count, negative, most)
    names = style.class_names(classes, 30, 1)
    # Names of classes stand at the left of the first panel, folded heads above each.
    labels = [f"{names.short[label]} ({of[label]:,})" for label in classes]
    beside = max(text_mm(label, style.small) for label in labels) + 4
    width = (style.double_column_mm - beside) / len(chosen) - 7
    row_mm = style.line_mm * (1.25 if len(classes) < 5 else 1.0)
    titles = [
        fold(f"{why[0].upper()}{why[1:]}:", width, style.font_size)
        + f"\n{fold(weak.mark(inputs.models[model].label, model), width, style.font_size)}"
        for model, why in chosen.items()
    ]
    heads = {
        name: fold(
            f"probability of {name if name == ANY_FINDING else names.in_text(name)}",
            width,
            style.font_size,
        )
        for name in outcomes
    }
    foot, foot_mm = names.note(
        f"test split, {sizes(inputs, pd.DataFrame({'n': [sum(of.values())]}))}; bars: share of the "
        "images of the true class on the left; lines: quartiles; coloured: images with the finding"
    )
    canvas = style.figure(
        len(outcomes) * (row_mm * len(classes) + 0.6 * style.line_mm + 4)
        + sum(map(lines_of, heads.values())) * style.line_mm
        + (max(map(lines_of, titles)) + 2) * style.line_mm
        + foot_mm
    )
    grid = canvas.subplots(len(outcomes), len(chosen), squeeze=False, sharex=True, sharey=True)
    for row, name in enumerate(outcomes):
        for column, model in enumerate(chosen):
            axes = grid[row, column]
            part = table[(table["class"] == name) & (table["model"] == model)].set_index("label")
            for place, label in enumerate(classes):
                within = label != negative if name == ANY_FINDING else label == name
                colour = style.colours[column] if within else MUTED
                _ridge(axes, place, part.loc[label], bins, colour)
            axes.set_ylim(len(classes) - 0.05, -0.05)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
            axes.set_yticks(np.arange(len(classes)) + 0.6, labels)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
            above = f"{titles[column]}\n" if row == 0 else ""
            axes.set_title(above + heads[name], loc="left")
    canvas.supxlabel(foot, fontsize=style.font_size)
    facts = f"Test split, {sizes(inputs, pd.DataFrame({'n': [sum(of.values())]}))}."
    facts += _median_facts(inputs, table, next(iter(chosen)), outcomes[0], params)
    if left_out:
        facts += f" Left out: the {left_out} rarest class{'es' * (left_out > 1)}."
    shown = table[table["class"].isin(outcomes) & table["model"].isin(chosen)]
    return Drawing(canvas, f"{facts}{weak.note()}", shown)


def _ridge(axes: Axes, place: int, row: pd.Series, bins: Sequence[str], colour: str) -> None:
    """The histogram of one group on a line of its own, the tallest bar as high as the line."""
    shares = row[list(bins)].to_numpy(dtype=float)
    base = place + 0.95
    axes.axhline(base, color=MUTED, linewidth=0.4)
    if not shares.sum():
        return
    heights = 0.82 * shares / shares.max()
    edges = np.linspace(0, 1, len(bins) + 1)
    # Drawn downwards from the axis's point of view, since the first row is on top.
    axes.bar(edges[:-1], -heights, np.diff(edges), base, align="edge", color=colour, linewidth=0)
    for quantile, length in (("q25", 0.3), ("q50", 0.82), ("q75", 0.3)):
        axes.plot([row[quantile]] * 2, [base, base - length], color=INK, linewidth=0.8)


def _median_facts(
    inputs: Inputs, table: pd.DataFrame, model: str, name: str, params: Mapping[str, Any]
) -> str:
    part = table[(table["model"] == model) & (table["class"] == name)].set_index("label")["q50"]
    words = [f"{label} {part[label]:.0%}" for label in params["classes"] if part.notna()[label]]
    label = inputs.models[model].label
    return f" Median probability of {name} by {label}, by true class: {', '.join(words)}."
