"""The flow of images and patients from the sources to the splits."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from multiloss.data.manifest import KEPT, kind_of_reason
from multiloss.data.tables import SPLITS, external_split
from multiloss.figures.drawing import Drawing, Inputs, page_of
from multiloss.figures.drawing import parts as together
from multiloss.figures.sizes import patients
from multiloss.figures.style import INK, MUTED, Style, count, fold, lines_of

# The most frequent reasons have a line each.
REASONS_SHOWN = 6
GAP, PAD, NAMES = 5.0, 1.5, 38.0
# The part of a line's height that is above the letters' base line.
BASE = 0.76


class _Page:
    """A figure that is drawn in millimetres from its upper left corner."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.boxes: list[tuple[float, float, float, float, str]] = []
        self.words: list[tuple[float, float, str, dict[str, Any]]] = []
        self.arrows: list[tuple[float, float, float, float]] = []

    def height(self, lines: Sequence[str]) -> float:
        """Height of a box with these lines, each perhaps folded."""
        return sum(map(lines_of, lines)) * self.style.line_mm + 2 * PAD

    def box(
        self, x: float, y: float, width: float, lines: Sequence[str], least: float = 0, face="white"
    ) -> float:
        """A box whose first line is bold; returns its lower end."""
        height = max(self.height(lines), least)
        self.boxes.append((x, y, width, height, face))
        down = y + PAD
        for number, line in enumerate(lines):
            self.words.append((x + PAD, down, line, {"fontweight": "normal" if number else "bold"}))
            down += lines_of(line) * self.style.line_mm
        return y + height

    def fold(self, text: str, width: float, bold: bool = False) -> str:
        return fold(text, width - 2 * PAD, self.style.font_size, bold)

    def draw(self, height: float) -> Any:
        canvas = self.style.figure(height)
        # Places are given, none are to be found.
        canvas.set_layout_engine("none")
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.style.double_column_mm), ylim=(height, 0))
        axes.set_axis_off()
        for x, y, width, tall, face in self.boxes:
            look = {"facecolor": face, "edgecolor": MUTED, "linewidth": 0.7}
            axes.add_patch(Rectangle((x, y), width, tall, **look))
        for x, y, text, look in self.words:
            # Each line on its own base line: Matplotlib's distances depend on the letters.
            for number, line in enumerate(text.split("\n")):
                base = y + (number + BASE) * self.style.line_mm
                axes.text(x, base, line, va="baseline", **look)
        for arrow in self.arrows:
            _arrow(axes, *arrow)
        return canvas


def _arrow(axes: Axes, x0: float, y0: float, x1: float, y1: float) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "mutation_scale": 6}
    axes.annotate("", (x1, y1), (x0, y0), arrowprops=look | {"shrinkA": 0, "shrinkB": 0})


def participants(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """A flow diagram: images found, those left out by reason, and the splits by class."""
    manifest = inputs.table(
        "manifest", ["patient_known"], ["label", "split", "patient_id", "source"]
    )
    rejected = inputs.table("rejected", text=["source", "reason"])
    dropped = inputs.table("dropped", text=["source", "reason", "label"])
    outside = {external_split(name): name for name in params["external"]}
    sources = _sources(manifest, outside)
    # Lungs to learn masks from have rows there as well, and some images are used all the same.
    left = rejected[~rejected["reason"].str.startswith(KEPT) & (rejected["source"] != "")]
    left = left[left["source"].isin([*sources, *outside.values()])]
    own = manifest[~manifest["split"].isin(outside)]
    mine = left[left["source"].isin(sources)]
    dropped = dropped[dropped["label"] != ""] if len(dropped) else dropped
    page, full = _Page(style), style.double_column_mm - 4
    wide = full * 0.47

    found = len(own) + len(mine) + len(dropped)
    lines = [page.fold(f"Found: {count(found, 'image')}", wide, True)]
    if len(sources) > 1:
        for source in sources:
            of = sum(int((part["source"] == source).sum()) for part in (own, mine, dropped))
            lines.append(page.fold(f"{source}: {of:,}", wide))
    else:
        lines += [page.fold(source, wide) for source in sources]
    after = page.box(2, 2, wide, lines)

    reasons = pd.concat([mine["reason"], dropped["reason"]])
    lines = [page.fold(f"Left out: {count(len(reasons), 'image')}", wide, True)]
    lines += [page.fold(text, wide) for text in _reasons(reasons)]
    top = after + GAP * 0.6
    side = page.box(2 + full - wide, top, wide, lines)
    middle = 2 + wide / 2
    level = top + PAD + style.line_mm / 2
    page.arrows.append((middle, level, 2 + full - wide, level))

    down = side + GAP * 0.6
    lines = [
        page.fold(f"Used: {count(len(own), 'image')} of {patients(own)}", wide, True),
        page.fold("No known patient is in two splits.", wide),
        page.fold(f"Test split: {params['test_split']}.", wide),
    ]
    if params["redrawn"]:
        anew = "The others are drawn anew for each training run; those of run 0 are shown."
        lines.append(page.fold(anew, wide))
    page.arrows.append((middle, after, middle, down))
    below = page.box(2, down, wide, lines)

    shown = [*SPLITS, *outside]
    width = (full - NAMES) / len(shown)
    start = below + 2 * GAP
    titles = [f"external: {outside[split]}" if split in outside else split for split in shown]
    boxes = []
    for split, title in zip(shown, titles, strict=True):
        part = manifest[manifest["split"] == split]
        role = params["elsewhere"] if split in outside else params[split]
        lines = [title, f"{count(len(part), 'image')} of {patients(part)}", role]
        if split in outside:
            gone = left[left["source"] == outside[split]]
            lines[1:1] = [f"{count(len(part) + len(gone), 'image')} found, {len(gone):,} left out"]
        boxes.append([page.fold(text, width - 2, not k) for k, text in enumerate(lines)])
    least = max(map(page.height, boxes))
    for number, (split, lines) in enumerate(zip(shown, boxes, strict=True)):
        x = 2 + NAMES + number * width
        page.box(x + 1, start, width - 2, lines, least)
        if split not in outside:
            # From one line above the boxes down to each of them.
            page.arrows.append((x + width / 2, start - GAP, x + width / 2, start))
    centres = [2 + NAMES + (number + 0.5) * width for number in range(len(SPLITS))]
    of_patients = manifest["patient_known"].astype(str) == "True"
    known = bool(of_patients.any())
    most = "" if of_patients.all() else "at most "
    unit = f"images ({most}patients)" if known else "images"
    page.words.append((2, start + least + PAD, unit, {"color": MUTED}))
    y = start + least + PAD + style.line_mm * 1.3
    parts = manifest.groupby(["split", "label"])
    images, people = parts.size(), parts["patient_id"].nunique()
    names = style.class_names(params["classes"], NAMES - 2, 2, bold=True)
    classes = page_of(params["classes"], params)
    for name in classes:
        text = names.short[name]
        page.words.append((2, y, text, {"fontweight": "bold"}))
        for number, split in enumerate(shown):
            number_of = int(images.get((split, name), 0))
            said = f"{number_of:,}" + (f" ({int(people.get((split, name), 0)):,})" if known else "")
            page.words.append((2 + NAMES + number * width + 1 + PAD, y, said, {}))
        y += lines_of(text) * style.line_mm + 0.8
    note, note_mm = names.note()
    if note:
        page.words.append((2, y + 1, note, {}))
        y += note_mm + 1
    canvas = page.draw(y + 2)
    line = canvas.axes[0]
    line.plot([min(*centres, middle), centres[-1]], [start - GAP] * 2, color=INK, linewidth=0.8)
    line.plot([middle] * 2, [below, start - GAP], color=INK, linewidth=0.8)
    told = [
        f"{title} {count(int((manifest['split'] == split).sum()), 'image')} of "
        f"{patients(manifest[manifest['split'] == split])}"
        for split, title in zip(shown, titles, strict=True)
    ]
    left_out = reasons.value_counts().rename_axis("reason").rename("images").reset_index()
    in_splits = parts["patient_id"].agg(images="size", patients="nunique").reset_index()
    in_splits = in_splits[in_splits["label"].isin(classes)]
    facts = f"{'; '.join(told)}. Left out: {count(len(reasons), 'image')}."
    return Drawing(canvas, facts, together(split=in_splits, left_out=left_out))


def _sources(manifest: pd.DataFrame, outside: Mapping[str, str]) -> list[str]:
    """Names of the sources whose images are divided, those of external tests left out."""
    return list(dict.fromkeys(manifest.loc[~manifest["split"].isin(outside), "source"]))


def _reasons(reasons: pd.Series) -> list[str]:
    """How many images were left out for each kind of reason, the most frequent first."""
    if reasons.empty:
        return ["none"]
    groups = reasons.groupby(reasons.map(kind_of_reason), sort=False)
    found = sorted(groups, key=lambda pair: -len(pair[1]))
    told = []
    for _, part in found[:REASONS_SHOWN]:
        alike = part.nunique() == 1
        # Reasons of one kind differ by their numbers.
        text = part.iloc[0] if alike else f"such as: {part.iloc[0]}"
        told.append(f"{len(part):,}: {text}")
    rest = sum(len(part) for _, part in found[REASONS_SHOWN:])
    return [*told, f"{rest:,}: other reasons, see data/rejected.csv"] if rest else told
