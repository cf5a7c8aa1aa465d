"""Grad-CAM on the original images: of one model, and of all models side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.pyplot import get_cmap

from multiloss.data.images import read_mask_for, read_unchanged
from multiloss.figures.data import outline, show, shrink, steps
from multiloss.figures.degenerate import IN_THE_PICTURE, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.style import (
    MUTED,
    ClassNames,
    Style,
    bare,
    count,
    fold,
    for_letters,
    lines_of,
    stamp,
    wrap,
)
from multiloss.gradcam.heat import cut, to_original, upsample
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive

# The overlay shows the image through the heat; where there is no heat, only the image.
STRONGEST_TINT = 0.4
# Its contour surrounds at least this heat.
CONTOUR = 0.5
# Maps of fewer cells on their longer side are drawn as cells: smooth clouds would look like
# anatomy that the map does not know of.
SMOOTH_FROM = 7
# With many classes a figure shows fewer images of each, so that it still fits a page.
ROWS_PER_FIGURE = 8
# Lines of text that the foot is high.
FOOT_LINES = 4.7
# Pictures shrink where a figure would not fit on a page, down to this.
SMALLEST_MM = 18.0
NO_ANSWER = "training failed"
BOX = ["xmin", "ymin", "width", "height"]


@dataclass(frozen=True)
class Maps:
    """Grad-CAM of one model on the test images, by image id."""

    image_ids: list[str]
    maps: np.ndarray
    flat: np.ndarray

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each image."""
        return {image_id: row for row, image_id in enumerate(self.image_ids)}


def read_maps(path: Path, test_ids: Sequence[str]) -> Maps:
    """The maps of one model; without ids in the file the rows are the manifest's test rows.

    Raises UserError when their number is not that of the test images.
    """
    with np.load(path, allow_pickle=False) as stored:
        maps = stored["maps"]
        flat = stored["flat"]
        ids = [str(name) for name in stored["image_id"]] if "image_id" in stored else test_ids
    if not len(maps) == len(flat) == len(ids) == len(test_ids):
        sizes = f"{len(maps)} maps for {len(test_ids)} test images"
        raise UserError(f"{path}: {sizes}; remove the file and run again")
    return Maps(list(ids), maps, flat.astype(bool))


def grid_of(maps: np.ndarray) -> str:
    """The true resolution of maps (n, h, w) in words: 4 × 4 cells, or interpolated."""
    height, width = maps.shape[1:]
    size = f"{height} \N{MULTIPLICATION SIGN} {width}"
    return f"{size} grid, interpolated" if max(height, width) >= SMOOTH_FROM else f"{size} cells"


def stretched(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map (h, w) as it is drawn in a box of `shape`: float32, in cells where they are few."""
    if max(heat.shape) >= SMOOTH_FROM:
        return upsample(heat, shape)
    size = (shape[1], shape[0])
    return cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)


def _test_images(inputs: Inputs) -> pd.DataFrame:
    """Manifest rows of the test split, with crop boxes if there are any, indexed by image id."""
    text = ["image_id", "path", "label", "split", "patient_id", "sha256", "source"]
    manifest = inputs.table("manifest", text=text)
    if "lesion_mask" not in manifest:
        manifest["lesion_mask"] = ""
    manifest["lesion_mask"] = manifest["lesion_mask"].fillna("")
    manifest = manifest.rename(columns={"width": "image_width", "height": "image_height"})
    columns = ["image_id", "path", "bits", "sha256", "label", "patient_id", "lesion_mask", "source"]
    columns += ["image_width", "image_height"]
    test = manifest.loc[manifest["split"] == "test", columns]
    if "boxes" not in inputs.files:
        return test.assign(**dict.fromkeys(BOX, np.nan)).set_index("image_id")
    boxes = inputs.table("boxes", BOX, text=["image_id"])
    return test.merge(boxes[["image_id", *BOX]], on="image_id", how="left").set_index("image_id")


def _predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Predicted class, its probability, and whether it is right, of each test image."""
    text = dict.fromkeys(("image_id", "label", "split"), str)
    table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    table = table[table["split"] == "test"]
    p = table[[f"p_{name}" for name in classes]].to_numpy()
    best = p.argmax(axis=1)
    said = np.where(np.isnan(p).any(axis=1), NO_ANSWER, np.array(classes, dtype=object)[best])
    return pd.DataFrame(
        {
            "label": table["label"].to_numpy(),
            "said": said,
            "p": p[np.arange(len(p)), best],
            "right": said == table["label"].to_numpy(),
        },
        index=table["image_id"].to_numpy(),
    )


def choose(table: pd.DataFrame, wanted: int) -> pd.DataFrame:
    """Up to `wanted` images at equal steps of confidence, the rule of the caption.

    Sorted from most to least confident and divided in `wanted` equal parts, the middle image of
    each part is taken; ties are in the order of the ids.
    """
    ordered = table.rename_axis("image_id").reset_index()
    ordered = ordered.sort_values(["p", "image_id"], ascending=[False, True], kind="stable")
    return ordered.iloc[steps(len(ordered), wanted)]


def overlay(image: np.ndarray, heat: np.ndarray, colours: str) -> np.ndarray:
    """An image (H, W) or RGB (H, W, 3) tinted by its heat (H, W) in [0, 1]: float RGB (H, W, 3)."""
    tint = get_cmap(colours)(heat)[..., :3]
    share = STRONGEST_TINT * np.clip(heat, 0, 1)[..., None] ** 0.7
    below = (image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)) / 255.0
    return below * (1 - share) + tint * share


class _Painter:
    """Draws one test image with a map; every image is read once."""

    def __init__(
        self,
        images: pd.DataFrame,
        params: Mapping[str, Any],
        columns: int,
        style: Style,
    ) -> None:
        self.images, self.threshold, self.style = images, params["threshold"], style
        self.phantoms, self.rgb = params["phantoms"], params["rgb"]
        self.longest = style.pixels(columns)
        self.pixels: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}

    def read(self, image_id: str) -> tuple[np.ndarray, np.ndarray | None]:
        if image_id not in self.pixels:
            row = self.images.loc[image_id]
            image = read_unchanged(row["path"], row["sha256"], row["bits"], self.rgb)
            mask = row["lesion_mask"]
            lesion = read_mask_for(image.shape[:2], [mask]) if mask else None
            self.pixels[image_id] = image, lesion
        return self.pixels[image_id]

    def box(self, image_id: str, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """What the network saw of the image: its crop box, or all of it where it has none."""
        values = self.images.loc[image_id, BOX]
        if values.isna().any():
            return 0, 0, shape[1], shape[0]
        x, y, width, height = (int(value) for value in values)
        return x, y, width, height

    def heat(self, image_id: str, heat: np.ndarray) -> np.ndarray:
        """Heat on the original image, (H, W) in [0, 1]; what is below the threshold is 0."""
        image, _ = self.read(image_id)
        box = self.box(image_id, image.shape[:2])
        whole = to_original(stretched(heat, (box[3], box[2])), box, image.shape[:2])
        return cut(whole, self.threshold)

    def is_phantom(self, image_id: str) -> bool:
        return self.images.at[image_id, "source"] in self.phantoms

    def original(self, axes: Axes, image_id: str) -> None:
        image, lesion = self.read(image_id)
        factor = show(axes, image, self.longest, self.style, self.is_phantom(image_id))
        self.marks(axes, image_id, image, lesion, factor, self.style.colours[4])

    def heat_map(self, axes: Axes, image_id: str, heat: np.ndarray, flat: bool) -> None:
        image, lesion = self.read(image_id)
        small = shrink(self.heat(image_id, heat), self.longest)
        axes.imshow(small, cmap=self.style.heat, vmin=0, vmax=1, interpolation="antialiased")
        bare(axes)
        axes.set_anchor("N")
        factor = small.shape[1] / image.shape[1]
        self.marks(axes, image_id, image, None, factor, "white")
        if flat:
            middle = (small.shape[1] / 2, small.shape[0] / 2)
            axes.text(*middle, "flat map:\nno heat", ha="center", va="center", color="white")

    def overlay(self, axes: Axes, image_id: str, heat: np.ndarray, flat: bool) -> None:
        image, lesion = self.read(image_id)
        small = shrink(image, self.longest)
        size = (small.shape[1], small.shape[0])
        whole = self.heat(image_id, heat)
        shrunk = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
        axes.imshow(overlay(small, shrunk, self.style.heat), interpolation="antialiased")
        bare(axes)
        axes.set_anchor("N")
        if self.is_phantom(image_id):
            stamp(axes, self.style)
        factor = small.shape[1] / image.shape[1]
        # The contour says where the heat is, so that the veil may leave the lesion visible.
        outline(axes, whole >= CONTOUR, factor, color=self.style.colours[5], linewidth=0.9)
        self.marks(axes, image_id, image, lesion, factor, self.style.colours[4])
        if flat:
            axes.text(size[0] / 2, size[1] / 2, "flat", ha="center", va="center", color="white")

    def marks(
        self,
        axes: Axes,
        image_id: str,
        image: np.ndarray,
        lesion: np.ndarray | None,
        factor: float,
        colour: str,
    ) -> None:
        if not self.images.loc[image_id, BOX].isna().any():
            x, y, width, height = (side * factor for side in self.box(image_id, image.shape[:2]))
            frame = Rectangle((x - 0.5, y - 0.5), width, height, fill=False, ec=colour, lw=0.7)
            frame.set_clip_on(False)
            axes.add_patch(frame)
        if lesion is not None and lesion.shape == image.shape[:2]:
            outline(axes, lesion, factor, color="white", linewidth=0.8, linestyle=(0, (2, 1.2)))


def model(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Right and wrong images of each class: original, heat map, overlay."""
    classes = params["classes"]
    images = _test_images(inputs)
    if not params["cropped"]:
        images[BOX] = np.nan
    predictions = _predictions(inputs.path("predictions"), classes)
    maps = read_maps(inputs.path("maps"), list(images.index))
    if (predictions["said"] == NO_ANSWER).all():
        return message(style, "The training of this model failed: there is nothing to explain.")
    here = page_of(classes, params)
    # Beside `- predicted` and the probability, over the three panels of a case.
    names = style.class_names(classes, style.double_column_mm / 2 - 36, 1)
    parts = {name: predictions[predictions["label"] == name] for name in here}
    headings = {}
    for name, part in parts.items():
        text = f"true class {names.full(name)}: {part['right'].sum():,} of {len(part):,} correct"
        headings[name] = _wide(text, style)
    title = f"{params['label']}: heat of the predicted class, "
    title += grid_of(maps.maps)
    signs = "left to right: original, heat map, overlay;  + correct, \N{MINUS SIGN} incorrect"
    head_mm, text_mm = 1.6 * style.line_mm, style.line_mm + 2.5
    more = {name: (lines_of(headings[name]) - 1) * style.line_mm for name in here}
    foot_mm = FOOT_LINES * style.line_mm
    most = min(params["images_per_outcome"], max(1, ROWS_PER_FIGURE // len(here)))
    # As many images as fit on a page of the journal.
    for per_outcome in range(most, 0, -1):
        chosen = {
            name: [choose(part[part["right"] == right], per_outcome) for right in (True, False)]
            for name, part in parts.items()
        }
        shapes = {name: _shapes(chosen[name], images, per_outcome) for name in here}
        letters = head_mm + foot_mm + sum(more.values())
        letters += sum((len(rows) + 1) * text_mm for rows in shapes.values())
        tallest = (style.preset.max_height_mm - letters) / sum(map(sum, shapes.values()))
        if tallest >= SMALLEST_MM:
            break
    side = min(style.double_column_mm / 6 - 2.5, max(tallest, SMALLEST_MM))
    heights = [
        side * sum(rows) + (len(rows) + 1) * text_mm + more[name] for name, rows in shapes.items()
    ]
    canvas = style.figure(head_mm + sum(heights) + foot_mm)
    head, *sections, foot = canvas.subfigures(
        len(here) + 2, 1, squeeze=False, hspace=0.0, height_ratios=[head_mm, *heights, foot_mm]
    ).ravel()
    head.text(0.008, 0.5, title, va="center", fontsize=min(style.font_size + 0.5, style.large))
    painter = _Painter(images, params, 6, style)
    for section, name in zip(sections, here, strict=True):
        _heading(section, headings[name], style)
        axes = section.subplots(per_outcome, 6, squeeze=False, height_ratios=shapes[name])
        halves = (axes[:, :3], axes[:, 3:])
        empty = ("none correct", "none incorrect")
        for block, cases, none in zip(halves, chosen[name], empty, strict=True):
            for panel, image in zip(block, cases.itertuples(), strict=False):
                _case(panel, painter, maps, image, names, style)
            for panel in block[len(cases) :]:
                for unused in panel:
                    bare(unused)
            if cases.empty:
                middle = {"ha": "center", "va": "center", "color": MUTED}
                block[0, 1].text(0.5, 0.5, none, transform=block[0, 1].transAxes, **middle)
    _key(foot, style, images, signs)
    flat = int(maps.flat.sum())
    right = int(predictions["right"].sum())
    facts = (
        f"Test split, n = {count(len(predictions), 'image')}, {right:,} correct; "
        f"{count(flat, 'flat map')}. Shown: up to {per_outcome} correct and {per_outcome} "
        f"incorrect of each class. Maps of {grid_of(maps.maps)}."
    )
    data = pd.concat([part for name in here for part in chosen[name]])
    return Drawing(canvas, facts, data)


def _case(
    panel: Sequence[Axes],
    painter: _Painter,
    maps: Maps,
    image: Any,
    names: ClassNames,
    style: Style,
) -> None:
    row = maps.rows[image.image_id]
    heat, flat = maps.maps[row], bool(maps.flat[row])
    painter.original(panel[0], image.image_id)
    painter.heat_map(panel[1], image.image_id, heat, flat)
    painter.overlay(panel[2], image.image_id, heat, flat)
    sign, colour = ("+", style.good) if image.right else ("\N{MINUS SIGN}", style.bad)
    said = image.said if image.said == NO_ANSWER else names.in_text(image.said)
    text = f"{sign} predicted {said} {image.p:.2f}"
    look = {"color": for_letters(colour), "fontsize": style.small}
    panel[0].set_title(text, loc="left", **look)


def _shapes(groups: Sequence[pd.DataFrame], images: pd.DataFrame, rows: int) -> list[float]:
    """Height over width of each row of panels: that of its tallest image, within reason."""
    shapes = []
    for row in range(rows):
        ids = [group["image_id"].iloc[row] for group in groups if row < len(group)]
        sizes = images.loc[ids]
        tallest = (sizes["image_height"] / sizes["image_width"]).max() if ids else 0.3
        shapes.append(float(np.clip(tallest, 0.3, 1.4)))
    return shapes


def _wide(text: str, style: Style) -> str:
    """A heading in lines of the figure's width."""
    return fold(text, style.double_column_mm - 8, style.font_size, bold=True)


def _heading(section: Any, text: str, style: Style) -> None:
    section.suptitle(text, fontweight="bold", fontsize=style.font_size, x=0.008, ha="left")


def _key(foot: Any, style: Style, shown: pd.DataFrame, words_above: str) -> None:
    """What lines mean and the scale of the heat, at the foot of a figure."""
    words, scale = foot.subplots(1, 2, width_ratios=[2.2, 1])
    bare(words)
    lines = []
    if shown["xmin"].notna().any():
        lines += words.plot([], [], color=style.colours[4], linewidth=0.9, label="crop box")
    half = f"{CONTOUR:.0%} of the strongest heat"
    lines += words.plot([], [], color=style.colours[5], linewidth=0.9, label=half)
    if shown["lesion_mask"].ne("").any():
        look = {"color": MUTED, "linewidth": 0.9, "linestyle": (0, (2, 1.2))}
        lines += words.plot([], [], label="known lesion (white)", **look)
    words.legend(
        handles=lines,
        loc="center left",
        ncols=3,
        title=words_above,
        title_fontsize=style.small,
        alignment="left",
    )
    scale.imshow(np.linspace(0, 1, 128)[None], aspect="auto", cmap=style.heat, extent=(0, 1, 0, 1))
    scale.set(yticks=[], xticks=[0, 0.5, 1], xlabel="heat")
    scale.set_box_aspect(0.06)
    scale.grid(False)


def montage(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """One random test image of each class under the heat of every model."""
    classes, models = params["classes"], page_of(params["models"], params)
    images = _test_images(inputs)
    ids = list(images.index)
    maps = [read_maps(path, ids) for path in page_of(inputs.paths("maps"), params)]
    predictions = [
        _predictions(path, classes) for path in page_of(inputs.paths("predictions"), params)
    ]
    columns = min(8, len(models) + 1)
    rows = math.ceil((len(models) + 1) / columns)
    present = [name for name in classes if (images["label"] == name).any()]
    chosen = {}
    for name in present:
        part = images.index[images["label"] == name].sort_values()
        rng = np.random.default_rng(derive(params["seed"], "figure", "gradcam_montage", name))
        chosen[name] = str(part[rng.integers(len(part))])
    names = style.class_names(classes, style.double_column_mm / columns - 3, 2)
    answers = {
        name: [_answer(said.loc[image_id], names) for said in predictions]
        for name, image_id in chosen.items()
    }
    lines = {name: max(map(lines_of, texts)) for name, texts in answers.items()}
    weak = Degenerate.of(inputs)
    headings = {}
    for name, image_id in chosen.items():
        of = count(int((images["label"] == name).sum()), "test image")
        text = f"true class {names.full(name)} ({image_id}, 1 of {of})"
        headings[name] = _wide(text, style)
    grids = " or ".join(dict.fromkeys(grid_of(found.maps) for found in maps))
    titles = [wrap(weak.mark(inputs.models[who].label, who), 16) for who in models]
    above = max(2, *map(lines_of, titles))
    text_mm = np.array([(above + max(lines[name], 2)) * style.line_mm + 3 for name in present])
    signs = f"heat in {grids}; + correct, \N{MINUS SIGN} incorrect, with the probability\nof the"
    signs += " predicted class"
    signs += f"; {IN_THE_PICTURE}" if weak.any else ""
    sizes = images.loc[list(chosen.values())]
    shapes = (sizes["image_height"] / sizes["image_width"]).clip(0.5, 1.4)
    head_mm = np.array([lines_of(headings[name]) * style.line_mm + 3 for name in present])
    # As many classes as a page has room for.
    foot_mm = FOOT_LINES * style.line_mm
    room = style.preset.max_height_mm - foot_mm
    least = np.cumsum(rows * (SMALLEST_MM * shapes.to_numpy() + text_mm) + head_mm)
    fit = max(1, int((least <= room).sum()))
    present, left_out = present[:fit], len(present) - fit
    text_mm, shapes, head_mm = text_mm[:fit], shapes[:fit], head_mm[:fit]
    letters = rows * text_mm.sum() + head_mm.sum()
    side = min(30.0, style.double_column_mm / columns - 2)
    side = min(side, max((room - letters) / (rows * shapes.sum()), SMALLEST_MM))
    heights = (rows * (side * shapes.to_numpy() + text_mm) + head_mm).tolist()
    canvas = style.figure(sum(heights) + foot_mm)
    *sections, foot = canvas.subfigures(
        len(present) + 1, 1, squeeze=False, hspace=0.0, height_ratios=[*heights, foot_mm]
    ).ravel()
    painter = _Painter(images, params, columns, style)
    small = style.small
    shown = []
    for section, name in zip(sections, present, strict=True):
        image_id = chosen[name]
        shown.append(f"{name}: {image_id}")
        _heading(section, headings[name], style)
        axes = section.subplots(rows, columns, squeeze=False).ravel()
        painter.original(axes[0], image_id)
        axes[0].set_title("original", fontsize=small)
        columns_of = zip(axes[1:], titles, maps, predictions, answers[name], strict=False)
        for place, title, heats, said, text in columns_of:
            row = heats.rows[image_id]
            answer = said.loc[image_id]
            failed = answer["said"] == NO_ANSWER
            painter.overlay(place, image_id, heats.maps[row], bool(heats.flat[row]) and not failed)
            place.set_title(title, fontsize=small)
            colour = style.good if answer["right"] else style.bad
            place.set_xlabel(text, color=for_letters(colour), fontsize=small)
            for spine in place.spines.values():
                spine.set(visible=True, edgecolor=colour, linewidth=1.4)
                spine.set_linestyle("-" if answer["right"] else "--")
        for unused in axes[1 + len(models) :]:
            unused.set_axis_off()
    _key(foot, style, images.loc[list(chosen.values())], signs)
    # Labels below pictures whose height, not width, is bounded are seen by a second pass only.
    canvas.get_layout_engine().execute(canvas)
    facts = f"Images: {'; '.join(shown)}. {count(len(models), 'model')}; maps of {grids}."
    facts += f" Left out: {count(left_out, 'class', 'classes')}." if left_out else ""
    data = [
        said.loc[[chosen[label] for label in present]]
        .rename_axis("image_id")
        .reset_index()
        .assign(model=name)
        for name, said in zip(models, predictions, strict=True)
    ]
    return Drawing(canvas, facts + weak.note(), pd.concat(data))


def _answer(answer: pd.Series, names: ClassNames) -> str:
    """What a model says of an image: right or wrong, its probability, and its class if wrong."""
    sign = "+" if answer["right"] else "\N{MINUS SIGN}"
    text = sign if answer["said"] == NO_ANSWER else f"{sign} {answer['p']:.2f}"
    if answer["right"]:
        return text
    if answer["said"] == NO_ANSWER:
        return f"{text}\n{NO_ANSWER}"
    said = names.in_text(answer["said"]) if names.key else names.short[answer["said"]]
    return f"{text}\n{said}"
