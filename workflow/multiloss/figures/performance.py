"""Figures of how well models classify: forest plots, confusion matrices, ROC and PR curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from multiloss.figures.degenerate import IN_THE_PICTURE, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.sizes import sizes
from multiloss.figures.style import (
    INK,
    MUTED,
    NO_RESULT,
    Style,
    bare,
    count,
    fold,
    for_letters,
    ink_on,
    interval,
    lines_of,
    offsets,
    panels,
    wrap,
)
from multiloss.statistics.bootstrap import PUBLISHED
from multiloss.statistics.metrics import ALL_CLASSES, CLASS_METRICS
from multiloss.statistics.metrics import title as metric_title
from multiloss.study import KINDS

_TEXT = ["model", "kind", "split", "metric", "ci_method", "scaled_from"]
# Lines of the chosen models, and signs like them before numbers.
_SAMPLES = {"-": "\N{EM DASH}", "--": "- -", "-.": "-\N{MIDDLE DOT}-"}
# Matrices with more classes than this have no room for percentages beside the counts.
_CLASSES_WITH_PERCENT = 4


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


def forest(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """One metric of every model with its interval, grouped by kind, and the baseline as a band."""
    metric, models = params["metric"], inputs.models
    table = metrics_of(inputs)
    weak = Degenerate.of(inputs, params["replicates"])
    table = table[(table["metric"] == metric) & table["kind"].isin(KINDS)]
    if table["value"].notna().sum() == 0:
        return message(style, f"{metric_title(metric)} is not defined for any model.")
    runs = params["replicates"]
    rows: list[tuple[str, str, pd.DataFrame]] = []
    for kind in KINDS:
        # The seeds of a loss are all its seeds, the first included.
        kinds = ["single", "seed"] if kind == "seed" else [kind]
        of_kind = table[table["kind"].isin(kinds)]
        own = of_kind["family"].isin(table.loc[table["kind"] == kind, "family"])
        groups = [(name, part) for name, part in of_kind[own].groupby("family")]
        groups.sort(key=lambda pair: -pair[1]["value"].fillna(-9.0).mean())
        rows += [(kind, name, part.sort_values("run")) for name, part in groups]
    step = style.line_mm * (1.25 if runs < 4 else 1.6)
    canvas = style.figure(26 + step * (len(rows) + 1.6 * table["kind"].nunique()))
    axes = canvas.subplots()
    place, places, names, labels, last = 0.0, [], [], [], ""
    for kind, name, part in rows:
        if kind != last:
            # Runs of one row stand above its middle too.
            room = 0.25 if len(part) > 1 else 0.0
            place += (1.4 if last else 0.4) + room
            axes.annotate(
                KINDS[kind].many,
                (0, place - 0.75 - room),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
                fontstyle="italic",
            )
            last = kind
        _forest_row(axes, place, part, kind, name == params["baseline"], style)
        places.append(place)
        names.append(name)
        text = models.label_of(name)
        text += f", {count(len(part), 'seed')}" if kind == "seed" else ""
        labels.append(weak.mark(text, *part["model"]))
        place += 1
    baseline = table[(table["kind"] == "single") & (table["family"] == params["baseline"])]
    if len(baseline):
        middle = baseline["value"].mean()
        axes.axvline(middle, color=INK, linewidth=0.8, linestyle="--", zorder=1)
        # The mean of several runs has no interval of its own.
        if len(baseline) == 1 and baseline["ci_low"].notna().all():
            ends = baseline["ci_low"].iloc[0], baseline["ci_high"].iloc[0]
            axes.axvspan(*ends, color=INK, alpha=0.06, linewidth=0, zorder=0)
    axes.set_yticks(places, labels)
    for tick, name in zip(axes.get_yticklabels(), names, strict=True):
        if name == params["baseline"]:
            tick.set_fontweight("bold")
    axes.set_ylim(place - 0.3, -1.0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{metric_title(metric)} on the test split")
    _values_at_the_right(axes, places, [part for _, _, part in rows])
    facts, reference = f"Test split, {sizes(inputs, table)}", models.label_of(params["baseline"])
    title = facts if runs == 1 else f"{facts}; {runs} runs of each loss"
    axes.set_title(f"{title}; {params['percent']} intervals", loc="left")
    handles = [
        axes.plot([], [], "--", color=INK, lw=0.8, label=f"{reference}, baseline")[0],
    ]
    if len(baseline) == 1:
        handles.append(Patch(color=INK, alpha=0.1, linewidth=0, label="its interval"))
    handles += [no_mark()] * weak.any
    canvas.legend(handles=handles, loc="outside lower center", ncols=3)
    rows = [row for row in rows if row[0] != "seed"]
    best = max(rows, key=lambda row: row[2]["value"].fillna(-9.0).mean())
    return Drawing(
        canvas,
        f"{title}. Highest: {models.label_of(best[1])}, {_summary(best[2])}"
        + (f"; baseline {reference} {_summary(baseline)}." if len(baseline) else ".")
        + weak.note(),
        table,
    )


def _forest_row(
    axes: Axes, place: float, part: pd.DataFrame, kind: str, is_baseline: bool, style: Style
) -> None:
    colour = {"single": style.colours[0], "ensemble": style.colours[1]}.get(kind, style.colours[2])
    colour = INK if is_baseline else colour
    number = len(part)
    for offset, row in zip(offsets(number, 0.3), part.itertuples(), strict=True):
        wide = {"linewidth": 1.3 if number == 1 else 0.7, "alpha": 1.0 if number == 1 else 0.55}
        if row.ci_low == row.ci_low:
            axes.plot([row.ci_low, row.ci_high], [place + offset] * 2, color=colour, **wide)
        size = 4.0 if number == 1 else 2.2
        axes.plot(row.value, place + offset, "o", color=colour, ms=size, alpha=wide["alpha"])
    if number > 1:
        mean = part["value"].mean()
        axes.plot(mean, place, "D", color=colour, ms=4.2, mec="white", mew=0.6, zorder=4)


def _summary(part: pd.DataFrame) -> str:
    if len(part) == 1:
        row = part.iloc[0]
        return interval(row["value"], row["ci_low"], row["ci_high"], 3)
    defined = int(part["value"].notna().sum())
    if not defined:
        return "not defined"
    text = f"{part['value'].mean():.3f} \N{PLUS-MINUS SIGN} {part['value'].std():.3f}"
    return text if defined == len(part) else f"{text} ({defined} of {len(part)} runs)"


def _values_at_the_right(
    axes: Axes, places: Sequence[float], parts: Sequence[pd.DataFrame]
) -> None:
    twin = axes.twinx()
    twin.set_ylim(axes.get_ylim())
    twin.set_yticks(places, [_summary(part) for part in parts])
    twin.tick_params(length=0)
    twin.grid(False)


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


def confusion_all(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Confusion matrices of all models in small; runs of a loss are counted together."""
    table = inputs.table("confusion", ["count"], text=["model", "split", "label", "predicted"])
    models = inputs.models
    # The other rows are of temperature-scaled models, whose classes are those of the model.
    table = table[(table["split"] == "test") & table["model"].isin(models)]
    # Further seeds of one loss would give it more images than the others have.
    further = [models[name].kind == "seed" for name in table["model"]]
    left_out = table.loc[further, "model"].nunique()
    table = table[~np.array(further, bool)]
    table = table.assign(family=[models[name].family for name in table["model"]])
    # A loss whose training failed has no counts; its place says so.
    names = list(dict.fromkeys([*table["family"], *params["losses"]]))
    names.sort(key=lambda name: params["losses"].index(name) if name in params["losses"] else 99)
    classes = params["classes"]
    columns = min(6, max(3, len(names)))
    rows = -(-len(names) // columns)
    letters = [str(k + 1) for k in range(len(classes))]
    if table.empty:
        return message(style, "No model has a confusion matrix.")
    weak = Degenerate.of(inputs, params["replicates"])
    models_of = {name: part["model"].unique() for name, part in table.groupby("family")}
    titles = [weak.mark(models.label_of(name), *models_of.get(name, ())) for name in names]
    first = _matrix(table[table["model"] == table["model"].iloc[0]], classes).sum(axis=1)
    trios = zip(letters, classes, first, strict=True)
    key = "; ".join(
        f"{letter}:\N{NO-BREAK SPACE}{name} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{size:,.0f})"
        for letter, name, size in trios
    )
    # A matrix is read with its key at hand, so the key is part of the picture.
    foot = f"rows true, columns predicted class. {key}"
    foot += f"; {IN_THE_PICTURE}" if weak.any else ""
    foot = fold(foot, style.double_column_mm - 6, style.font_size)
    canvas = style.figure(
        rows * (27 + 3.3 * style.line_mm) + 4 + (lines_of(foot) + 1) * style.line_mm
    )
    places = panels(canvas, len(names), columns)
    write = "percent" if len(classes) <= _CLASSES_WITH_PERCENT else ""
    sparse = -(-len(classes) // 7)
    for number, (axes, name, title) in enumerate(zip(places, names, titles, strict=True)):
        part = table[table["family"] == name]
        if part.empty:
            axes.text(0.5, 0.5, NO_RESULT, transform=axes.transAxes, ha="center", color=MUTED)
            axes.set_box_aspect(1)
            bare(axes)
        else:
            _draw_matrix(axes, _matrix(part, classes), style, write)
            # Where numbers would touch, every other one is written.
            ticks = range(0, len(classes), sparse)
            axes.set_xticks(ticks, letters[::sparse])
            axes.set_yticks(
                ticks, letters[::sparse] if number % columns == 0 else [""] * len(ticks)
            )
        axes.set_title(wrap(title, 19), fontsize=style.small)
    _share_bar(canvas, places, style, shrink=0.5, aspect=30)
    canvas.supxlabel(foot, fontsize=style.font_size)
    total = int(table.groupby("family")["count"].sum().max()) if len(table) else 0
    facts = f"{count(table['model'].nunique(), 'model')}, n = {count(total, 'image')} each"
    facts += f" ({count(left_out, 'further seed')} of one loss left out)" if left_out else ""
    return Drawing(canvas, f"{facts}. Classes: {key}.{weak.note()}", table)


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
                    axes.plot(points["x"], points["y"], **faint)
        of = f"{positives[name]:,} of {total:,}" if name in positives else count(total, "image")
        texts = [(INK, of)]
        for model, (colour, line) in looks.items():
            points = part[part["model"] == model]
            if points["y_low"].notna().any():
                axes.fill_between(
                    points["x"],
                    points["y_low"],
                    points["y_high"],
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
            drawn = axes.plot(points["x"], points["y"], line, color=colour, linewidth=1.1)[0]
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
