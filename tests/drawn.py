"""Figures drawn for a test, and what a reader would find wrong with them."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from multiloss.figures import catalog, drawing, style
from synthetic_results import Study


def paint(study: Study, name: str, monkeypatch, files=None, **options) -> drawing.Drawing:
    """The canvas of one figure, laid out but not written.

    `files` replace its inputs, `options` those of the config's `figures`.
    """
    monkeypatch.chdir(study.folder)
    figure = catalog.figures(study.config)[name]
    look = style.Style.of(study.config["figures"] | options)
    look.apply()
    files = files or figure.files(study.results)
    result = drawing.drawing_function(figure.draw)(drawing.Inputs(files), figure.params, look)
    result.canvas.draw_without_rendering()
    return result


def few(figures: dict[str, catalog.Figure]) -> list[str]:
    """One figure of each function: what differs between the others are their numbers."""
    return list({figure.draw: name for name, figure in reversed(figures.items())}.values())


def drawn_texts(canvas: Figure) -> list[Text]:
    """Texts on the page; matplotlib also keeps labels of ticks beyond the limits."""
    hidden = set()
    for axes in canvas.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not (axes.axison and low - 1e-9 <= tick.get_loc() <= high + 1e-9):
                    hidden |= {tick.label1, tick.label2}
    return [
        text
        for text in canvas.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text not in hidden
    ]


def overlaps(texts: list[Text]) -> list[tuple[str, str]]:
    """Pairs of upright texts that lie on each other by more than a hair (in points)."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    hair = 0.7 * texts[0].figure.dpi / 72 if texts else 0.0
    found = []
    for number, (first, a) in enumerate(boxes):
        for second, b in boxes[number + 1 :]:
            width = min(a.x1, b.x1) - max(a.x0, b.x0)
            height = min(a.y1, b.y1) - max(a.y0, b.y0)
            if width > hair and height > hair:
                found.append((first, second))
    return found


def unreadable(canvas: Figure, smallest: float = 7.0, largest: float = 14.0) -> list[str]:
    """What is wrong with the texts of a figure at its final size."""
    drawn, page, found = drawn_texts(canvas), canvas.bbox, []
    hair = 0.7 * canvas.dpi / 72
    for text in drawn:
        if not smallest <= text.get_fontsize() <= largest:
            found.append(f"{text.get_text()!r} has {text.get_fontsize():g} points")
        box = text.get_window_extent()
        inside = box.x0 > -hair and box.y0 > -hair
        if not (inside and box.x1 < page.x1 + hair and box.y1 < page.y1 + hair):
            found.append(f"{text.get_text()!r} is cut off")
    upright = [text for text in drawn if text.get_rotation() % 90 == 0]
    return found + [f"{a!r} lies on {b!r}" for a, b in overlaps(upright)]
