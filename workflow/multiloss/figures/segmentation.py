"""Figures of the lung masks: Dice by loss, and the best, median and worst cases."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from multiloss.evaluation.segmentation_scores import label as segmenter
from multiloss.figures.data import outline, show
from multiloss.figures.drawing import Drawing, Inputs, parts
from multiloss.figures.style import INK, MUTED, Style, bare, count, interval


def dice(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Box plot of the Dice of each test image, by loss and for the combined mask."""
    table = inputs.table("per_image", ["dice"], text=["loss", "split", "image_id"])
    scores = inputs.table("scores", ["dice"], text=["loss", "split"])
    table = table[table["split"] == "test"]
    scores = scores[scores["split"] == "test"].set_index("loss")
    present = list(dict.fromkeys(table["loss"]))
    names = [name for name in params["losses"] if name in present]
    names += [name for name in present if name not in names]
    selected = scores["selected"].astype(str).str.lower().eq("true") if "selected" in scores else {}
    canvas = style.figure(22 + 8.5 * len(names), double=False)
    axes = canvas.subplots()
    means = []
    for place, name in enumerate(names):
        values = table.loc[table["loss"] == name, "dice"].dropna().to_numpy()
        combined = name not in params["losses"]
        chosen = bool(selected.get(name, False)) and not combined
        colour = style.colours[1] if combined else style.colours[0]
        box = axes.boxplot(
            [values],
            positions=[place],
            widths=0.62,
            orientation="horizontal",
            patch_artist=True,
            showfliers=False,
            medianprops={"color": INK, "linewidth": 1.0},
            whiskerprops={"color": MUTED, "linewidth": 0.8},
            capprops={"color": MUTED, "linewidth": 0.8},
        )
        filled = chosen or combined
        box["boxes"][0].set(
            facecolor=(colour, 0.35) if filled else "white", edgecolor=colour, linewidth=0.9
        )
        # Points are spread by their rank, evenly: no random jitter that would change the file.
        spread = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.44
        axes.plot(values, place + spread, ".", color=INK, alpha=0.35, markersize=2, zorder=3)
        if name in scores.index:
            row = scores.loc[name]
            low, high = row.get("dice_ci_low", np.nan), row.get("dice_ci_high", np.nan)
            if low == low:
                axes.plot([low, high], [place, place], color=colour, linewidth=1.6, zorder=4)
            axes.plot(row["dice"], place, "D", color=colour, mec="white", mew=0.5, ms=4.5, zorder=5)
            means.append(f"{segmenter(name)} {interval(row['dice'], low, high, 3)}")
    axes.set_yticks(range(len(names)), [segmenter(name) for name in names])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    number = table["image_id"].nunique()
    axes.set_xlabel("Dice coefficient")
    axes.set_title(f"segmentation test set, n = {count(number, 'image')}", loc="left")
    axes.set_xlim(right=min(1.0, axes.get_xlim()[1]))
    handles = [
        axes.plot(
            [], [], "s", ms=6, mfc=(style.colours[0], 0.35), mec=style.colours[0], label="combined"
        )[0],
        axes.plot([], [], "s", ms=6, mfc="white", mec=style.colours[0], label="not combined")[0],
        axes.plot([], [], "D", ms=4.5, color=MUTED, label=f"mean, {params['percent']} interval")[0],
    ]
    canvas.legend(handles=handles, loc="outside lower center", ncols=2)
    facts = f"n = {count(number, 'image')}. Mean Dice: {'; '.join(means)}."
    return Drawing(canvas, facts, parts(images=table, mean=scores.reset_index()))


def overlays(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Image, reference outline and predicted outline of the best, median and worst cases."""
    cases = inputs.table("cases", ["dice", "index"], text=["case", "image_id"]).rename(
        columns={"index": "number"}
    )
    source = inputs.table("lungs", text=["image_id", "source"]).set_index("image_id")["source"]
    # One column for each kind of case; further examples of a kind stand below each other.
    scores = inputs.table("scores", ["n"], text=["loss", "split"])
    total = int(scores.loc[scores["split"] == "test", "n"].max())
    columns = max(1, cases["case"].nunique())
    cases = cases.assign(row=cases.groupby("case").cumcount()).sort_values("row", kind="stable")
    rows = -(-len(cases) // columns)
    canvas = style.figure(rows * (5 + 80 / columns) + 9 + style.line_mm)
    axes = canvas.subplots(rows, 2 * columns, squeeze=False).reshape(-1, 2)
    truth_line = {"color": style.colours[4], "linewidth": 1.0}
    predicted_line = {"color": style.colours[5], "linewidth": 1.0, "linestyle": (0, (3, 1.5))}
    with np.load(inputs.path("examples")) as arrays:
        for (plain, lined), case in zip(axes, cases.itertuples(), strict=False):
            image = arrays[f"image_{case.number}"]
            look = (style.pixels(2 * columns), style, source[case.image_id] in params["phantoms"])
            show(plain, image, *look)
            factor = show(lined, image, *look)
            outline(lined, arrays[f"truth_{case.number}"], factor, **truth_line)
            outline(lined, arrays[f"prediction_{case.number}"], factor, **predicted_line)
            plain.set_title(f"{case.case}: Dice {case.dice:.3f}", loc="left")
    for pair in axes[len(cases) :]:
        for unused in pair:
            bare(unused)
    handles = [
        axes[0, 0].plot([], [], label="reference outline", **truth_line)[0],
        axes[0, 0].plot([], [], label="predicted outline (combined mask)", **predicted_line)[0],
    ]
    shown = f"{len(cases)} of {count(total, 'image')} of the segmentation test set"
    canvas.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        title=shown,
        title_fontsize=style.small,
    )
    facts = "; ".join(
        f"{case.case}: {case.image_id} ({case.dice:.3f})" for case in cases.itertuples()
    )
    return Drawing(canvas, f"{shown}. Image and Dice: {facts}.", cases)
