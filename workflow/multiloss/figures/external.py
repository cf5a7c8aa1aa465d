"""How the chosen models do outside the study, beside the test split."""

import math
from collections.abc import Mapping
from typing import Any

from multiloss.data.tables import external_split
from multiloss.figures.degenerate import Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.performance import no_mark
from multiloss.figures.sizes import patients
from multiloss.figures.style import (
    INK,
    Style,
    count,
    fold,
    gap,
    lines_of,
    of_model,
    offsets,
    panels,
)
from multiloss.statistics.metrics import METRICS

SHOWN = ("mcc", "balanced_accuracy", "auroc_macro", "log_loss")
_ENDS = ("value", "ci_low", "ci_high")
_MARKS = "sD^vPX"


def external(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Test and external values of the chosen models and the baseline, one panel a metric."""
    columns = [*_ENDS, *(f"test_{end}" for end in _ENDS)]
    text = ["model", "role", "source", "metric"]
    table = inputs.table("external", columns, text=text)
    table = table[table["metric"].isin(SHOWN)]
    if table.empty:
        return message(style, "No chosen model could be tested on other images.")
    weak = Degenerate.of(inputs)
    models = list(dict.fromkeys(table["model"]))
    sources = page_of(list(dict.fromkeys(table["source"])), params)
    table = table[table["source"].isin(sources)]
    roles = dict(zip(table["model"], table["role"], strict=True))
    names = [
        fold(
            f"{weak.mark(inputs.models[model].label, model)} ({roles[model]})", 42, style.font_size
        )
        for model in models
    ]
    lines = max(1.0 + len(sources), *(lines_of(name) for name in names))
    rows = math.ceil(len(SHOWN) / 2)
    tall = len(models) * (lines + 0.6) * style.line_mm + 3.5 * style.line_mm
    canvas = style.figure(rows * tall + 10 + 3 * len(sources))
    axes = panels(canvas, len(SHOWN), 2, sharey=True)
    places = offsets(1 + len(sources), 0.3)
    for number, (place, metric) in enumerate(zip(axes, SHOWN, strict=True)):
        part = table[table["metric"] == metric].set_index(["model", "source"])
        for y, model in enumerate(models):
            first = part.loc[model, sources[0]]
            rows_of = [[first[f"test_{end}"] for end in _ENDS]]
            rows_of += [[part.loc[model, source][end] for end in _ENDS] for source in sources]
            if all(value != value for value, _, _ in rows_of):
                gap(place, y)
            for k, (offset, (value, low, high)) in enumerate(zip(places, rows_of, strict=True)):
                look = _look(k, style)
                if low == low and high == high:
                    line = place.plot([low, high], [y + offset] * 2, color=look["color"], lw=1.1)
                    of_model(model, *line)
                of_model(model, *place.plot(value, y + offset, **look))
        title = METRICS[metric].title
        better = "" if METRICS[metric].higher_is_better else " (smaller is better)"
        place.set_title(title + better, loc="left")
        place.grid(axis="y", visible=False)
        place.margins(x=0.08)
        if number % 2:
            place.tick_params(left=False)
    for place in axes[::2]:
        place.set_yticks(range(len(models)), names)
        place.set_ylim(len(models) - 0.4, -0.6)
    manifest = inputs.table("manifest", ["patient_known"], text=["split", "patient_id"])
    sets = {"test split": "test"}
    sets |= {f"external: {source}": external_split(source) for source in sources}
    rows_of_set = {name: manifest[manifest["split"] == split] for name, split in sets.items()}
    shown = [
        f"{name}, {count(len(rows), 'image')} of {patients(rows)}"
        for name, rows in rows_of_set.items()
    ]
    handles = [
        axes[0].plot([], [], **_look(k, style), label=fold(text, 80, style.font_size))[0]
        for k, text in enumerate(shown)
    ]
    handles += [no_mark()] * weak.any
    canvas.legend(handles=handles, loc="outside lower center", ncols=2)
    facts = f"{'; '.join(shown)}.".replace("test", "Test", 1)
    return Drawing(canvas, facts + weak.note(), table)


def _look(number: int, style: Style) -> dict[str, Any]:
    """The mark of the test split (0) or of an external test."""
    if not number:
        return {"color": INK, "marker": "o", "ms": 4.0, "mfc": "white", "linestyle": "none"}
    colour = style.colours[(number - 1) % len(style.colours)]
    mark = _MARKS[(number - 1) % len(_MARKS)]
    return {"color": colour, "marker": mark, "ms": 4.0, "linestyle": "none"}
