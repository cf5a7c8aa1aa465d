"""Figures of the images themselves: splits, examples, masks and crop boxes."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from multiloss.figures.drawing import Drawing, Inputs, message
from multiloss.figures.style import INK, Style, bare, count, for_letters, panels, wrap
from multiloss.images import read_grey
from multiloss.seeds import derive

SPLITS = ["train", "val", "ensemble", "test"]
FALLBACKS_SHOWN = 4
BOXES_SHOWN = 12


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """An image (H, W) no longer than `longest` pixels on either side, its proportions kept."""
    factor = longest / max(image.shape)
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def show(axes: Axes, image: np.ndarray, longest: int) -> float:
    """Draw a grey image shrunk; return the factor from its pixels to the drawn ones."""
    small = shrink(image, longest)
    axes.imshow(small, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    bare(axes)
    axes.set_anchor("N")
    return small.shape[1] / image.shape[1]


def outline(axes: Axes, mask: np.ndarray, factor: float, **line: Any) -> None:
    """Draw the borders of a mask (H, W; non-zero inside) as lines."""
    borders, _ = cv2.findContours(
        (mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    for border in borders:
        points = (np.vstack([border[:, 0], border[:1, 0]]) + 0.5) * factor - 0.5
        axes.plot(points[:, 0], points[:, 1], **line)


def splits(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Images and patients per class and split as bars with their numbers."""
    table = inputs.table("manifest", text=["label", "split", "patient_id"])
    classes = params["classes"]
    rows = len(SPLITS) * len(classes)
    canvas = style.figure(18 + rows * style.line_mm * 1.05 + 4 * len(SPLITS))
    height = 0.86 / len(classes)
    left, right = canvas.subplots(1, 2, sharey=True)
    parts = table.groupby(["split", "label"])
    for axes, unit, numbers in (
        (left, "images", parts.size()),
        (right, "patients", parts["patient_id"].nunique()),
    ):
        for k, name in enumerate(classes):
            values = [int(numbers.get((split, name), 0)) for split in SPLITS]
            places = np.arange(len(SPLITS)) + (k - (len(classes) - 1) / 2) * height
            colour = style.colours[k % len(style.colours)]
            bars = axes.barh(places, values, height * 0.9, color=colour, label=name)
            axes.bar_label(
                bars, [f"{v:,}" for v in values], padding=2, fontsize=style.font_size - 0.5
            )
        axes.set_xlabel(f"number of {unit}")
        axes.margins(x=0.14)
        axes.grid(axis="y", visible=False)
    right.tick_params(left=False)
    left.set_yticks(range(len(SPLITS)), SPLITS)
    left.invert_yaxis()
    left.set_title(count(len(table), "image"), loc="left")
    right.set_title(count(table["patient_id"].nunique(), "patient"), loc="left")
    handles, names = left.get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside upper center", ncols=min(4, len(names)))
    sizes = [
        f"{split} {count(int((table['split'] == split).sum()), 'image')} of "
        f"{count(table.loc[table['split'] == split, 'patient_id'].nunique(), 'patient')}"
        for split in SPLITS
    ]
    return Drawing(canvas, f"{'; '.join(sizes)}.")


def samples(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Training images drawn at random, one row for each class."""
    table = inputs.table("manifest", text=["image_id", "path", "label", "split", "patient_id"])
    train = table[table["split"] == "train"].sort_values("image_id", kind="stable")
    classes, columns = params["classes"], 6
    canvas = style.figure(len(classes) * 33 + 2)
    axes = np.array(panels(canvas, len(classes) * columns, columns)).reshape(-1, columns)
    for row, name in zip(axes, classes, strict=True):
        part = train[train["label"] == name].drop_duplicates("patient_id")
        draws = np.random.default_rng(derive(params["seed"], "figure", "samples", name))
        chosen = part.iloc[draws.permutation(len(part))[:columns]]
        for place, image in zip(row, chosen.itertuples(), strict=False):
            show(place, read_grey(image.path, int(image.bits)), style.pixels(columns))
        for place in row[len(chosen) :]:
            bare(place)
        total = int((train["label"] == name).sum())
        row[0].set_title(f"{name} ({count(total, 'training image')})", loc="left")
    return Drawing(canvas, f"Drawn from {count(len(train), 'training image')}.")


def crop_overview(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Images with mask outline and crop box, at equal steps of the lung share."""
    manifest = inputs.table("manifest", text=["image_id", "path", "label", "split"])
    boxes = inputs.table("boxes", ["lung_fraction"], text=["image_id", "fallback"])
    boxes["fallback"] = boxes["fallback"].str.lower().isin(["true", "1"])
    manifest = manifest.rename(columns={"width": "image_width", "height": "image_height"})
    columns = ["image_id", "path", "bits", "label", "split", "image_width", "image_height"]
    table = manifest[columns].merge(boxes, on="image_id")
    if table.empty:
        return message(style, "No image has a crop box.")
    failed = table[table["fallback"]]
    good = table[~table["fallback"]].sort_values(["lung_fraction", "image_id"])
    shown = failed.iloc[steps(len(failed), FALLBACKS_SHOWN)]
    rest = BOXES_SHOWN - len(shown)
    chosen = pd.concat([shown, good.iloc[steps(len(good), rest, ends=True)]])
    columns = 6
    taller = chosen["image_height"] / chosen["image_width"]
    side = style.double_column_mm / columns - 2.4
    tall = float(taller.clip(0.5, 1.4).max()) * side + 2.6 * style.line_mm + 2
    canvas = style.figure(-(-len(chosen) // columns) * tall + 10)
    for axes, image in zip(panels(canvas, len(chosen), columns), chosen.itertuples(), strict=True):
        factor = show(axes, read_grey(image.path, int(image.bits)), style.pixels(columns))
        mask = inputs.path("masks") / f"{image.image_id}.png"
        outline(axes, read_grey(mask), factor, color=style.colours[4], linewidth=0.9)
        corner = (image.xmin * factor - 0.5, image.ymin * factor - 0.5)
        colour = style.bad if image.fallback else style.colours[5]
        line = "--" if image.fallback else "-"
        size = (image.width * factor, image.height * factor)
        frame = Rectangle(*(corner, *size), fill=False, edgecolor=colour, linewidth=1.2)
        frame.set(linestyle=line, clip_on=False)
        axes.add_patch(frame)
        text = (
            "no lung found:\nwhole image" if image.fallback else f"{image.lung_fraction:.0%} lung"
        )
        axes.set_title(
            f"{wrap(image.label, 20)}\n{text}", color=for_letters(colour) if image.fallback else INK
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
        title=f"{len(chosen)} of {count(len(table), 'image')}",
        title_fontsize=style.font_size - 0.5,
    )
    facts = (
        f"{count(len(table), 'image')}, of which {len(failed):,} "
        f"({len(failed) / len(table):.1%}) fell back to the whole image; median share of lung "
        f"{good['lung_fraction'].median():.0%}."
    )
    return Drawing(canvas, facts)


def steps(total: int, wanted: int, ends: bool = False) -> list[int]:
    """Up to `wanted` positions at equal steps among `total`, first and last included if `ends`.

    Without the ends they are the middles of equal parts: steps(8, 2) is [2, 6].
    """
    if total <= wanted:
        return list(range(total))
    if ends:
        return [round(position) for position in np.linspace(0, total - 1, wanted)]
    return [int((2 * k + 1) * total / (2 * wanted)) for k in range(wanted)]
