"""Figures of how well models classify: recalls, confusion matrices, ROC and PR curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D

from multiloss.figures.degenerate import IN_THE_PICTURE, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.forest import Rows, chosen_families, chosen_handle, mark
from multiloss.figures.sizes import sizes
from multiloss.figures.style import (
    INK,
    MUTED,
    Style,
    count,
    for_letters,
    gap,
    ink_on,
    interval,
    lines_of,
    of_model,
    offsets,
    panels,
    text_mm,
    wrap,
)
from multiloss.statistics.bootstrap import PUBLISHED
from multiloss.statistics.metrics import ALL_CLASSES, CLASS_METRICS
from multiloss.study import KINDS

_TEXT = ["model", "kind", "split", "metric", "ci_method", "scaled_from"]
# Lines of the chosen models, and signs like them before numbers.
_SAMPLES = {"-": "\N{EM DASH}", "--": "- -", "-.": "-\N{MIDDLE DOT}-"}
# Matrices with more classes than this have no room for percentages beside the counts.
_CLASSES_WITH_PERCENT = 4
# Panels side by side that leave room for the labels of the rows.
_PANELS = 15
# Panels narrower than this in mm have their number of images in a line of its own.
_NARROW = 14
# What each further run adds to the height of its row, and the part of it, to either side, that
# runs are spread over: they stand closer to each other than to those of the next row.
PER_RUN, SPREAD = 0.25, 0.26
# Rows of the figure of recalls: the kinds of models in each group, and its colour.
_GROUPS = {
    "single": ("single", "seed"),
    "ablation": ("ablation",),
    "ensemble": ("ensemble",),
    "seed_ensemble": ("seed_ensemble",),
}
_HEADINGS = {"seed_ensemble": "Averages of seeds"}
# Numbers of the colours of kinds of models, in every figure that has several of them.
COLOURS = {"single": 0, "seed": 0, "ablation": 3, "ensemble": 1, "seed_ensemble": 2}


def metrics_of(inputs: Inputs, split: str = "test") -> pd.DataFrame:
    """The metrics table of one split, with the resampled interval of each value.

    Joined to the models: `own` is the model, of a scaled row the one that was scaled, `family` and
    `run` are that one's.
    """
    table = inputs.table("metrics", ["value", "ci_low", "ci_high", "n"], text=_TEXT)
    table = table[(table["split"] == split) & (table["ci_method"] != PUBLISHED)]
    table = table.assign(own=table["model"].where(table["scaled_from"] == "", table["scaled_from"]))
    models = [inputs.models[name] for name in table["own"]]
    return table.assign(
        family=[model.family for model in models],
        run=[model.replicate or 0 for model in models],
    )


def no_mark() -> Line2D:
    """The handle of a legend entry that explains a sign in the labels."""
    return Line2D([], [], linestyle="none", label=IN_THE_PICTURE)


def chosen_models(inputs: Inputs, params: Mapping[str, Any], table: pd.DataFrame) -> dict[str, str]:
    """Models to show in detail and why: the chosen single, the chosen ensemble, the baseline."""
    chosen = inputs.table("chosen", text=["what", "model"])
    present = set(table["model"])
    wanted = [
        (row.model, f"chosen {'single model' if row.what == 'single' else row.what}")
        for row in chosen.itertuples()
        if row.what in ("single", "ensemble")
    ]
    wanted += [
        (model.name, "baseline")
        for model in inputs.models.families[params["baseline"]]
        if model.replicate == 0
    ]
    found: dict[str, str] = {}
    for model, why in wanted:
        if model in present:
            found[model] = f"{found[model]} and {why}" if model in found else why
    return found


def _matrix(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    counts = table.pivot_table(
        index="label", columns="predicted", values="count", aggfunc="sum", fill_value=0
    )
    return counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy(dtype=float)


def _shares(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def _right_and_wrong(style: Style) -> list[LinearSegmentedColormap]:
    """Colours of shares on the diagonal and off it; both begin at white."""
    ends = {"right": style.colours[0], "wrong": style.colours[1]}
    return [LinearSegmentedColormap.from_list(name, ["white", end]) for name, end in ends.items()]


def _draw_matrix(axes: Axes, counts: np.ndarray, style: Style, write: str) -> None:
    shares = _shares(counts)
    right, wrong = (colours(shares) for colours in _right_and_wrong(style))
    cells = np.where(np.eye(len(shares), dtype=bool)[..., None], right, wrong)
    axes.imshow(cells, aspect="equal")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    for (i, j), share in np.ndenumerate(shares):
        text = {
            "both": f"{counts[i, j]:.0f}\n{share:.0%}",
            # Many empty cells with a 0 in each would hide where the errors are.
            "count": f"{counts[i, j]:.0f}" if counts[i, j] else "",
            "percent": f"{100 * share:.0f}",
            "": "",
        }[write]
        ink = ink_on(cells[i, j])
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=style.small)


def _share_bar(canvas: Any, axes: Any, style: Style, **options: Any) -> None:
    colours = LinearSegmentedColormap.from_list("", [style.colours[1], "white", style.colours[0]])
    bar = canvas.colorbar(plt.cm.ScalarMappable(Normalize(-100, 100), colours), ax=axes, **options)
    bar.set_ticks([-100, -50, 0, 50, 100], labels=["100", "50", "0", "50", "100"])
    bar.set_label("% of the true class:\nwrong below, right above 0")
    bar.outline.set_visible(False)


def confusion_chosen(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Confusion matrices of the chosen models with counts, side by side."""
    table = inputs.table("confusion", ["count"], text=["model", "split", "label", "predicted"])
    table = table[table["split"] == "test"]
    metrics = metrics_of(inputs)
    metrics = metrics[metrics["metric"] == "mcc"].set_index("model")
    classes = params["classes"]
    chosen = chosen_models(inputs, params, table)
    if not chosen:
        return message(style, "No model has a confusion matrix.")
    weak = Degenerate.of(inputs, params["replicates"])
    small = len(classes) <= _CLASSES_WITH_PERCENT
    columns = 3 if small else 2
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    # Turned names of many classes have a line each, upright ones the width of a cell.
    names = style.class_names(classes, 38 / len(classes) if small else 30, 2 if small else 1)
    labels = [names.short[name] for name in classes]
    lines = max(map(lines_of, labels)) if small or names.key else 5
    titles = [
        wrap(f"{why[0].upper()}{why[1:]}:", 36)
        + f"\n{weak.mark(inputs.models[model].label, model)}"
        for model, why in chosen.items()
    ]
    kept = metrics[metrics.index.isin(chosen)]
    words = f"test split, {sizes(inputs, kept)}; {params['percent']} intervals"
    foot, foot_mm = names.note(words + (f"; {IN_THE_PICTURE}" if weak.any else ""))
    tall = (54 if small else 82) + (lines + max(map(lines_of, titles)) + 1) * style.line_mm
    canvas = style.figure(rows * tall + 2 + foot_mm)
    places = panels(canvas, len(chosen), columns)
    for number, (axes, model) in enumerate(zip(places, chosen, strict=True)):
        _draw_matrix(
            axes,
            _matrix(table[table["model"] == model], classes),
            style,
            "both" if small else "count",
        )
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        upright = small or bool(names.key)
        axes.set_xticks(range(len(classes)), labels, **({} if upright else turned))
        first = number % columns == 0
        axes.set_yticks(range(len(classes)), labels if first else [""] * len(classes))
        if first:
            axes.set_ylabel("true class")
        axes.set_xlabel("predicted class")
        title = titles[number]
        if model in metrics.index:
            row = metrics.loc[model]
            title += f"\nMCC {interval(row['value'], row['ci_low'], row['ci_high'])}"
        axes.set_title(title, loc="left")
    _share_bar(canvas, places, style, shrink=0.6, aspect=25)
    canvas.supxlabel(foot, fontsize=style.font_size)
    total = int(table.loc[table["model"] == next(iter(chosen)), "count"].sum())
    shown = table[table["model"].isin(chosen)]
    return Drawing(canvas, f"Test split, n = {count(total, 'image')}.{weak.note()}", shown)


def recall(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Recall of every class (panels) of every model (rows) with its interval."""
    classes, models = params["classes"], inputs.models
    wanted = {f"recall_{name}": name for name in classes}
    table = metrics_of(inputs)
    table = table[table["metric"].isin(wanted) & table["kind"].isin(KINDS)]
    if table["value"].isna().all():
        return message(style, "No model has a result.")
    weak, chosen = Degenerate.of(inputs, params["replicates"]), chosen_families(inputs, models)
    groups = {
        kind: list(dict.fromkeys(table.loc[table["kind"].isin(kinds), "family"]))
        for kind, kinds in _GROUPS.items()
    }
    rows, families, last = Rows(style), [], ""
    for kind, name in page_of([(k, name) for k, names in groups.items() for name in names], params):
        if kind != last:
            rows.heading(_HEADINGS.get(kind, KINDS[kind].many.capitalize()))
            last = kind
        own = table.loc[(table["family"] == name) & table["kind"].isin(_GROUPS[kind]), "model"]
        text = weak.mark(models.label_of(name), *own.unique())
        bold = name in chosen or name == params["baseline"]
        # Several runs of a row stand above each other.
        tall = 1.0 + PER_RUN * (own.nunique() - 1)
        text = f"{text} (chosen)" if name in chosen else text
        rows.row(text, models.name_of(name), bold, tall)
        families.append((name, _GROUPS[kind], tall))
    shown = table[table["family"].isin([name for name, _, _ in families])]
    lines = -(-len(classes) // _PANELS)
    columns = -(-len(classes) // lines)
    label_mm = max(text_mm(text, style.font_size, True) for text in rows.labels)
    side = (style.double_column_mm - label_mm - 6) / columns - 2
    names = style.class_names(classes, side, 3)
    words = f"Test split, {sizes(inputs, table)}; {params['percent']} intervals"
    note, note_mm = names.note(words + (f"; {IN_THE_PICTURE}" if weak.any else ""))
    narrow = side < _NARROW
    head = (max(map(lines_of, names.short.values())) + 1.5 + narrow) * style.line_mm
    canvas = style.figure(lines * (rows.height_mm + head + 9) + note_mm + 14)
    places = panels(canvas, len(classes), columns, sharey=True, sharex=True)
    manifest = inputs.table("manifest", text=["split", "label"])
    images = manifest.loc[manifest["split"] == "test", "label"].value_counts()
    images = images.reindex(classes, fill_value=0)
    for number, (axes, name) in enumerate(zip(places, classes, strict=True)):
        part = table[table["metric"] == f"recall_{name}"]
        for place, (family, kinds, tall) in zip(rows.places, families, strict=True):
            own = part[(part["family"] == family) & part["kind"].isin(kinds)].sort_values("run")
            if own["value"].isna().all():
                gap(axes, place)
            colour = INK if family == params["baseline"] else style.colours[COLOURS[kinds[0]]]
            reach = offsets(len(own), SPREAD * tall)
            for offset, row in zip(reach, own.itertuples(), strict=True):
                at = [row.value, row.ci_low, row.ci_high]
                filled = chosen.get(family) == row.model
                mark(axes, place + offset, at, colour, row.model, filled, small=len(own) > 1)
        rows.limits(axes)
        room = 0.05 if columns < 4 else 0.22 if narrow else 0.12
        axes.set_xlim(-room, 1 + room)
        axes.set_xticks([0, 0.5, 1], ["0", "" if narrow else "0.5", "1"])
        axes.tick_params(labelbottom=True)
        size = f"n =\n{images[name]:,}" if narrow else f"n = {images[name]:,}"
        axes.set_title(f"{names.short[name]}\n{size}", loc="left")
        if number % columns == 0:
            rows.label(axes)
        else:
            axes.tick_params(axis="y", length=0, labelleft=False)
    canvas.supxlabel(f"recall\n{note}", fontsize=style.font_size)
    if chosen:
        canvas.legend(handles=[chosen_handle()], loc="outside upper right")
    return Drawing(canvas, f"{words}.{weak.note()}", shown)


def roc(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """ROC curves of the chosen models per class and micro, with bands."""
    return _curves(inputs, params, style, "roc", "auroc")


def pr(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Precision-recall curves of the chosen models per class and micro, with bands."""
    return _curves(inputs, params, style, "pr", "auprc")


def _curves(
    inputs: Inputs, params: Mapping[str, Any], style: Style, curve: str, area: str
) -> Drawing:
    table = inputs.table(
        "curves", ["x", "y", "y_low", "y_high"], text=["model", "split", "curve", "class"]
    )
    table = table[(table["split"] == "test") & (table["curve"] == curve)]
    metrics = metrics_of(inputs)
    chosen = chosen_models(inputs, params, table)
    if not chosen:
        return message(style, "No model has a curve.")
    weak = Degenerate.of(inputs, params["replicates"])
    classes = page_of([ALL_CLASSES, *params["classes"]], params)
    positives = _images_of_classes(inputs, params["classes"])
    total = max(sum(positives.values()), 1)
    shares = {name: number / total for name, number in positives.items()}
    shares[ALL_CLASSES] = 1 / len(params["classes"])
    columns = min(4, len(classes)) if len(classes) != 3 else 3
    rows = -(-len(classes) // columns)
    side = style.double_column_mm / columns - 3
    names = style.class_names(params["classes"], side - 9, 2, bold=True)
    title_lines = max(map(lines_of, names.short.values()))
    metrics_of_chosen = metrics[metrics["model"].isin(chosen)]
    size = f"est split, {sizes(inputs, metrics_of_chosen)}"
    numbers = f"{CLASS_METRICS[area].title} with its {params['percent']} interval"
    foot, foot_mm = names.note(f"t{size}; numbers: images of the class, {numbers}")
    canvas = style.figure(rows * (side + 4 + title_lines * style.line_mm) + 14 + foot_mm)
    # A curve that is undefined is none of the lines.
    drawn_models = table.loc[(table["class"] == ALL_CLASSES) & table["y"].notna(), "model"]
    others = len(set(drawn_models) - set(chosen))
    looks = dict(zip(chosen, zip(style.colours, _SAMPLES, strict=False), strict=False))
    places = panels(canvas, len(classes), columns, sharex=True, sharey=True)
    lines = []
    for number, (axes, name) in enumerate(zip(places, classes, strict=True)):
        part = table[table["class"] == name]
        if name == ALL_CLASSES:
            faint = {
                "color": MUTED,
                "linewidth": 0.5,
                "alpha": max(0.05, min(0.3, 6 / max(1, others))),
            }
            for model, points in part.groupby("model", sort=False):
                if model not in chosen:
                    of_model(model, *axes.plot(points["x"], points["y"], **faint))
        of = f"{positives[name]:,} of {total:,}" if name in positives else count(total, "image")
        texts = [(INK, of)]
        for model, (colour, line) in looks.items():
            points = part[part["model"] == model]
            if points["y_low"].notna().any():
                band = axes.fill_between(
                    points["x"],
                    points["y_low"],
                    points["y_high"],
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
                of_model(model, band)
            drawn = axes.plot(points["x"], points["y"], line, color=colour, linewidth=1.1)[0]
            of_model(model, drawn)
            if number == 0:
                drawn.set_label(f"{weak.mark(inputs.models[model].label, model)} ({chosen[model]})")
                lines.append(drawn)
            metric = area if name == ALL_CLASSES else f"{area}_{name}"
            row = metrics[(metrics["model"] == model) & (metrics["metric"] == metric)]
            if len(row):
                first = row.iloc[0]
                value = interval(first["value"], first["ci_low"], first["ci_high"])
                texts.append((colour, f"{_SAMPLES[line]} {value}"))
        _guess(axes, shares, name, curve)
        for k, (colour, text) in enumerate(reversed(texts)):
            axes.annotate(
                text,
                (0.97, 0.03) if curve == "roc" else (0.03, 0.03),
                xycoords="axes fraction",
                xytext=(0, k * style.font_size * 1.2),
                textcoords="offset points",
                ha="right" if curve == "roc" else "left",
                color=for_letters(colour),
                fontsize=style.small,
                bbox={"facecolor": style.background, "alpha": 0.75, "linewidth": 0, "pad": 0.5},
            )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        pooled = name == ALL_CLASSES
        title = "micro (all classes pooled)" if pooled else names.in_text(name)
        title = title if pooled or names.key else names.short[name]
        axes.set_title(title, loc="left", fontweight="bold")
        axes.tick_params(labelbottom=True)
        x, y = ("false positive rate", "sensitivity") if curve == "roc" else ("recall", "precision")
        if number + columns >= len(classes):
            axes.set_xlabel(x)
        if number % columns == 0:
            axes.set_ylabel(y)
    if others and ALL_CLASSES in classes:
        grey = places[0].plot([], [], color=MUTED, alpha=0.6, linewidth=0.6)[0]
        grey.set_label(f"{count(others, 'other model')} (micro only)")
        lines.append(grey)
    lines += [no_mark()] * weak.any
    canvas.legend(
        handles=lines,
        loc="outside lower center",
        ncols=2,
        title=foot,
        title_fontsize=style.small,
    )
    facts = f"T{size}. Numbers: images of the class, and {numbers}."
    shown = table["model"].isin(chosen) | (table["class"] == ALL_CLASSES)
    shown = table[shown & table["class"].isin(classes)]
    return Drawing(canvas, f"{facts}{weak.note()}", shown)


def _images_of_classes(inputs: Inputs, classes: Sequence[str]) -> dict[str, int]:
    """Number of test images of each class."""
    table = inputs.table("confusion", ["count"], text=["model", "split", "label", "predicted"])
    table = table[(table["split"] == "test") & (table["model"] == table["model"].iloc[0])]
    counts = table.groupby("label")["count"].sum()
    return {name: int(counts.get(name, 0)) for name in classes}


def _guess(axes: Axes, shares: Mapping[str, float], name: str, curve: str) -> None:
    """What guessing reaches: the diagonal of a ROC curve, the share of the class in PR."""
    if curve == "roc":
        axes.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=0.8, zorder=1)
    else:
        axes.axhline(shares[name], linestyle=":", color=MUTED, linewidth=0.8, zorder=1)
