"""Figures of the images themselves: examples, masks and crop boxes."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from multiloss.data.images import read_grey, read_unchanged
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.style import (
    INK,
    Style,
    bare,
    count,
    cut_names,
    fold,
    for_letters,
    lines_of,
    panels,
    stamp,
)
from multiloss.job.seeds import derive

# Of the lung masks, the most suspicious ones and as many at random.
MASKS_SHOWN = 6
# Why a mask is implausible, in a few letters below a picture.
FLAG_WORDS = {
    "empty": "empty",
    "border": "at the border",
    "parts": "{parts} parts",
    "sides": "left/right",
    "shape": "shape",
    "area": "area",
}


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """An image (H, W) or (H, W, 3) of at most `longest` pixels a side, its proportions kept."""
    factor = longest / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def show(axes: Axes, image: np.ndarray, longest: int, style: Style, phantom: bool = False) -> float:
    """Draw a grey or RGB image shrunk; return the factor from its pixels to the drawn ones.

    A picture of a phantom says so in its corner.
    """
    small = shrink(image, longest)
    axes.imshow(small, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    bare(axes)
    axes.set_anchor("N")
    if phantom:
        stamp(axes, style)
    return small.shape[1] / image.shape[1]


def outline(axes: Axes, mask: np.ndarray, factor: float, **line: Any) -> None:
    """Draw the borders of a mask (H, W; non-zero inside) as lines."""
    borders, _ = cv2.findContours(
        (mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    for border in borders:
        points = (np.vstack([border[:, 0], border[:1, 0]]) + 0.5) * factor - 0.5
        axes.plot(points[:, 0], points[:, 1], **line)


def samples(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Training images drawn at random, one row for each class."""
    text = ["image_id", "path", "label", "split", "patient_id", "sha256", "source"]
    table = inputs.table("manifest", text=text)
    train = table[table["split"] == "train"].sort_values("image_id", kind="stable")
    classes, columns = page_of(params["classes"], params), 6
    heads, shown = {}, []
    for name, known in cut_names(params["classes"]).items():
        total = int((train["label"] == name).sum())
        head = f"{known} ({count(total, 'training image')})"
        heads[name] = fold(head, style.double_column_mm - 6, style.font_size)
    lines = max(lines_of(heads[name]) for name in classes)
    canvas = style.figure(len(classes) * (33 + (lines - 1) * style.line_mm) + 2)
    axes = np.array(panels(canvas, len(classes) * columns, columns)).reshape(-1, columns)
    for row, name in zip(axes, classes, strict=True):
        part = train[train["label"] == name].drop_duplicates("patient_id")
        draws = np.random.default_rng(derive(params["seed"], "figure", "samples", name))
        chosen = part.iloc[draws.permutation(len(part))[:columns]]
        shown.append(chosen)
        for place, image in zip(row, chosen.itertuples(), strict=False):
            phantom = image.source in params["phantoms"]
            pixels = read_unchanged(image.path, image.sha256, image.bits, params["rgb"])
            show(place, pixels, style.pixels(columns), style, phantom)
        for place in row[len(chosen) :]:
            bare(place)
        row[0].set_title(heads[name], loc="left")
    facts = f"Drawn from {count(len(train), 'training image')}."
    return Drawing(canvas, facts, pd.concat(shown))


def crop_overview(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Images with mask outline and crop box: the most suspicious masks, then some at random."""
    text = ["image_id", "path", "label", "split", "sha256", "source"]
    manifest = inputs.table("manifest", text=text)
    boxes = inputs.table("boxes", ["lung_fraction"], text=["image_id", "fallback"])
    boxes["fallback"] = boxes["fallback"].str.lower().isin(["true", "1"])
    checks = inputs.table("checks", ["parts", "suspicion"], text=["image_id", "flags"])
    manifest = manifest.rename(columns={"width": "image_width", "height": "image_height"})
    columns = ["image_id", "path", "bits", "sha256", "label", "split", "source"]
    columns += ["image_width", "image_height"]
    table = manifest[columns].merge(boxes, on="image_id")
    table = table.merge(checks[["image_id", "parts", "flags", "suspicion"]], on="image_id")
    if table.empty:
        return message(style, "No image has a crop box.")
    failed = table[table["fallback"]]
    good = table[~table["fallback"]]
    ordered = table.sort_values("suspicion")
    first, rest = ordered.iloc[:MASKS_SHOWN], ordered.iloc[MASKS_SHOWN:].sort_values("image_id")
    draws = np.random.default_rng(derive(params["seed"], "figure", "crop_overview"))
    chosen = pd.concat([first, rest.iloc[draws.permutation(len(rest))[:MASKS_SHOWN]]])
    columns = MASKS_SHOWN
    taller = chosen["image_height"] / chosen["image_width"]
    side = style.double_column_mm / columns - 2.4
    names = style.class_names(params["classes"], side, 2)
    shown_lines = max(lines_of(names.short[label]) for label in chosen["label"])
    shown = f"above: the {len(first)} most suspicious of {count(len(table), 'mask')}"
    shown += f"; below: {len(chosen) - len(first)} at random" if len(rest) else ""
    foot, foot_mm = names.note(shown)
    # Where no lung was found, or the mask is implausible, the second line of a title is two.
    lines = shown_lines + 1 + bool((chosen["flags"].fillna("") != "").any())
    tall = float(taller.clip(0.5, 1.4).max()) * side + (lines + 0.6) * style.line_mm + 2
    canvas = style.figure(-(-len(chosen) // columns) * tall + 8 + foot_mm)
    for axes, image in zip(panels(canvas, len(chosen), columns), chosen.itertuples(), strict=True):
        phantom = image.source in params["phantoms"]
        pixels = read_unchanged(image.path, image.sha256, image.bits, params["rgb"])
        factor = show(axes, pixels, style.pixels(columns), style, phantom)
        mask = inputs.path("masks") / f"{image.image_id}.png"
        outline(axes, read_grey(mask), factor, color=style.colours[4], linewidth=0.9)
        corner = (image.xmin * factor - 0.5, image.ymin * factor - 0.5)
        colour = style.bad if image.fallback else style.colours[5]
        line = "--" if image.fallback else "-"
        size = (image.width * factor, image.height * factor)
        frame = Rectangle(*(corner, *size), fill=False, edgecolor=colour, linewidth=1.2)
        frame.set(linestyle=line, clip_on=False)
        axes.add_patch(frame)
        text = f"{image.lung_fraction:.0%} lung"
        if image.fallback:
            text = "no lung found:\nwhole image"
        elif isinstance(image.flags, str) and image.flags:
            why = ", ".join(FLAG_WORDS[flag] for flag in image.flags.split())
            text += f"\n{why.format(parts=image.parts)}"
        axes.set_title(
            f"{names.in_text(image.label) if names.key else names.short[image.label]}\n{text}",
            color=for_letters(colour) if image.fallback else INK,
        )
    lines = [
        canvas.axes[0].plot([], [], color=style.colours[4], label="predicted lung mask")[0],
        canvas.axes[0].plot([], [], color=style.colours[5], label="crop box")[0],
    ]
    if len(failed):
        lines += canvas.axes[0].plot([], [], "--", color=style.bad, label="fallback: no crop")
    canvas.legend(
        handles=lines,
        loc="outside lower center",
        ncols=3,
        title=foot,
        title_fontsize=style.small,
    )
    facts = (
        f"{count(len(table), 'image')}, of which {len(failed):,} "
        f"({len(failed) / len(table):.1%}) fell back to the whole image; median share of lung "
        f"{good['lung_fraction'].median():.0%}."
    )
    return Drawing(canvas, facts, chosen.drop(columns="sha256"))


def steps(total: int, wanted: int) -> list[int]:
    """Up to `wanted` positions among `total`, the middles of equal parts: steps(8, 2) is [2, 6]."""
    if total <= wanted:
        return list(range(total))
    return [int((2 * k + 1) * total / (2 * wanted)) for k in range(wanted)]
