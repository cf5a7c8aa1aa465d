"""The key models in groups of the test patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from multiloss.figures.degenerate import Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.performance import no_mark
from multiloss.figures.style import Style, count, fold, lines_of, of_model, offsets, panels
from multiloss.statistics.metrics import CLASS_METRICS, METRICS

_MARKS = "osD^vP"
# Of more classes than this the recalls are in the table alone.
MOST_CLASSES = 3
# Groups that a page has room for.
MOST_GROUPS = 22
# So many groups without values are named.
MOST_NAMED = 6
NAME_MM = 38.0


def subgroups(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Values of each key model in each group, one panel a metric; recalls of a few classes."""
    ends = ["value", "ci_low", "ci_high"]
    text = ["model", "role", "column", "group", "metric", "reason"]
    table = inputs.table("subgroups", [*ends, "n", "n_patients"], text=text)
    table = table[table["model"] != ""]
    shown = table[table["metric"].isin(_titles(params)) & table["value"].notna()]
    if shown.empty:
        return message(style, "No group of test patients is large enough for a value.")
    weak = Degenerate.of(inputs)
    models = list(dict.fromkeys(table["model"]))
    columns = page_of(list(dict.fromkeys(shown["column"])), params)
    every = table[table["column"].isin(columns)].drop_duplicates(["column", "group"])
    drawn = shown.set_index(["column", "group"]).index
    rows = [row for row in every.itertuples() if (row.column, row.group) in drawn]
    # The smallest have no room.
    kept = sorted(rows, key=lambda row: -row.n_patients)[:MOST_GROUPS]
    beyond, rows = len(rows) - len(kept), [row for row in rows if row in kept]
    shown = shown[[pair in {(r.column, r.group) for r in rows}
                   for pair in zip(shown["column"], shown["group"], strict=True)]]  # fmt: skip
    left = [row for row in every.itertuples() if (row.column, row.group) not in drawn]
    names = [_name(row, style) for row in rows]
    # A gap of half a row between columns.
    places, place = [], 0.0
    for number, row in enumerate(rows):
        place += 0.6 if number and row.column != rows[number - 1].column else 0.0
        places.append(place)
        place += max(1.0, 0.5 * lines_of(names[number]))
    titles = {
        name: title for name, title in _titles(params).items() if name in set(shown["metric"])
    }
    step = style.line_mm * max(2.0, 0.9 * len(models))
    foot = fold(_foot(left, beyond, params), style.double_column_mm - 6, style.font_size)
    heads = max(lines_of(fold(title, 34, style.font_size)) for title in titles.values())
    tall = step * place + (3 + heads) * style.line_mm
    below = (len(models) + lines_of(foot) + 1) * style.line_mm
    canvas = style.figure(tall + below)
    axes = panels(canvas, len(titles), len(titles), sharey=True)
    for number, (panel, (metric, title)) in enumerate(zip(axes, titles.items(), strict=True)):
        part = shown[shown["metric"] == metric].set_index(["model", "column", "group"])
        for k, (model, offset) in enumerate(zip(models, offsets(len(models), 0.24), strict=True)):
            look = {"color": style.colours[k % len(style.colours)]}
            for row, y in zip(rows, places, strict=True):
                if (model, row.column, row.group) not in part.index:
                    continue
                value, low, high = part.loc[(model, row.column, row.group), ends]
                if low == low and high == high:
                    of_model(model, *panel.plot([low, high], [y + offset] * 2, lw=1.1, **look))
                shape = _MARKS[k % len(_MARKS)]
                of_model(model, *panel.plot(value, y + offset, shape, ms=4.0, **look))
        for row, before, y in zip(rows[1:], rows, places[1:], strict=False):
            if row.column != before.column:
                panel.axhline(y - 0.8, color="0.6", linewidth=0.6)
        panel.set_title(fold(title, 34, style.font_size), loc="left")
        panel.locator_params(axis="x", nbins=4)
        panel.grid(axis="y", visible=False)
        panel.margins(x=0.05)
        panel.set_yticks(places, names)
        panel.set_ylim(place - 0.4, -0.6)
        if number:
            panel.tick_params(left=False)
    roles = dict(zip(table["model"], table["role"], strict=True))
    handles = [
        axes[0].plot(
            [], [], f"{_MARKS[k % len(_MARKS)]}-", ms=4.0,
            color=style.colours[k % len(style.colours)],
            label=f"{weak.mark(inputs.models[model].label, model)} ({roles[model]})",
        )[0]
        for k, model in enumerate(models)
    ]  # fmt: skip
    canvas.legend(
        handles=[*handles, *[no_mark()] * weak.any], loc="outside lower center", ncols=1,
        title=foot, title_fontsize=style.small,
    )  # fmt: skip
    return Drawing(canvas, f"{_facts(rows, left)}{weak.note()}", shown)


def _titles(params: Mapping[str, Any]) -> dict[str, str]:
    """The metrics that are drawn and what they are called: they depend on no class shares."""
    found = {"balanced_accuracy": METRICS["balanced_accuracy"].title}
    if len(params["classes"]) <= MOST_CLASSES:
        recall = CLASS_METRICS["recall"]
        found |= {recall.of(name): f"{recall.title}, {name}" for name in params["classes"]}
    return found


def _name(row: Any, style: Style) -> str:
    """The group of a row with its column and patients, shortened where it is very long."""
    lines = fold(f"{row.column}: {row.group}", NAME_MM, style.font_size).split("\n")
    if len(lines) > 2:
        lines = [lines[0], f"{lines[1][:-1]}\N{HORIZONTAL ELLIPSIS}"]
    return "\n".join([*lines, f"({count(row.n_patients, 'patient')})"])


def _foot(left: Sequence[Any], beyond: int, params: Mapping[str, Any]) -> str:
    text = f"test split; {params['percent']} intervals by patient"
    if beyond:
        text += f"; in the table alone: the {count(beyond, 'smallest group')}"
    if not left:
        return text
    told = [f"{_short(row.column)}: {_short(row.group)} ({row.n_patients})" for row in left]
    more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return f"{text}; without values (patients): {', '.join(told[:MOST_NAMED])}{more}"


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:29]}\N{HORIZONTAL ELLIPSIS}"


def _facts(rows: Sequence[Any], left: Sequence[Any]) -> str:
    patients = pd.Series([row.n_patients for row in rows])
    told = f"{count(len(rows), 'group')} of {patients.min()} to {patients.max()} test patients"
    return f"{told}; {count(len(left), 'group')} without values." if left else f"{told}."
