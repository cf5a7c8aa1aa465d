"""One look for every figure: sizes of a printed column, colours that colour-blind readers
tell apart, and files whose bytes depend on the data alone."""

import dataclasses
import functools
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox
from PIL import Image

from multiloss.figures import photographs
from multiloss.figures.journals import JOURNALS, Journal
from multiloss.job.files import atomic

MM = 1 / 25.4
INK = "#222222"
MUTED = "#6b6b6b"
GRID = "#dddddd"
NO_RESULT = "no result"
# A category beyond the last colour has the first again, under another hatch.
HATCHES = ["", "/////", ".....", "xxxxx", "-----", "ooo", "+++++"]
PHANTOM = "PHANTOM"
# Letters of a class's name that a picture shows; the caption has all of them.
LONGEST_NAME = 60
# Behind letters that run from right to left: what follows runs from left to right again.
BACK = "\N{LEFT-TO-RIGHT MARK}"

# Okabe & Ito (2008), "Color Universal Design"; Tol (2021), "Colour schemes", set bright. Those too
# faint for thin lines are darkened until their contrast on white is 3 (WCAG 2.1), vermilion until
# a reader without red or green tells it from orange; the yellow of either is left out.
_OKABE_ITO = "#0072B2 #C25600 #009E73 #CC79A7 #4A9BC8 #C68900 #000000 #AA3377"
_TOL_BRIGHT = "#4477AA #EE6677 #228833 #AA3377 #4E9EB7 #939393 #000000 #C25600"
PALETTES = {"okabe_ito": _OKABE_ITO.split(), "tol_bright": _TOL_BRIGHT.split()}
# Beyond eight: of Tol's and Krzywinski's sets for colour-blind readers, one after the other that
# lies farthest from all before it (CIE Lab, as seen without red, without green and with both).
FURTHER = ["#9400E6", "#222255", "#225522", "#225555", "#332288", "#009AF2", "#9E9255"]
MARKS = ["o", "s", "D", "^", "v", "P", "X", "*"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]


@dataclasses.dataclass(frozen=True)
class Style:
    """The `figures` part of the config, with what it leaves to the journal filled in."""

    journal: str = "none"
    dpi: int = JOURNALS["none"].dpi
    font_size: float = JOURNALS["none"].font_size
    single_column_mm: float = JOURNALS["none"].single_column_mm
    double_column_mm: float = JOURNALS["none"].double_column_mm
    palette: str = "okabe_ito"
    sequential: str = "cividis"
    diverging: str = "PuOr"
    heat: str = "inferno"
    background: str = "#f7f7f7"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Style":
        """The style of a config's `figures` mapping; what it leaves out has its default."""
        journal = JOURNALS[options.get("journal", "none")]
        values = {}
        for field in dataclasses.fields(cls):
            given = options.get(field.name)
            if given is None:
                given = getattr(journal, field.name, field.default)
            values[field.name] = given
        return cls(**values)

    @property
    def preset(self) -> Journal:
        """What the journal asks."""
        return JOURNALS[self.journal]

    @property
    def small(self) -> float:
        """Size of tick labels and remarks."""
        return max(min(self.preset.smallest, self.font_size), self.font_size - 0.5)

    @property
    def large(self) -> float:
        """Size of headings."""
        return min(max(self.preset.largest, self.font_size), self.font_size + 1)

    @property
    def font(self) -> str:
        """The font that is drawn with: the first of the journal's that this machine has."""
        return _first_present(self.preset.fonts)

    @property
    def colours(self) -> list[str]:
        """Fifteen colours for categories, strongest first."""
        return PALETTES[self.palette] + FURTHER

    @property
    def good(self) -> str:
        """Colour of what is right, selected or true."""
        return self.colours[2]

    @property
    def bad(self) -> str:
        """Colour of what is wrong, marked or predicted."""
        return self.colours[1]

    def pixels(self, columns: int) -> int:
        """Pixels that the longer side of a picture has, `columns` of them side by side.

        As many as the PNG can show, and some for pictures that are taller than wide.
        """
        return round(1.25 * self.double_column_mm / columns * MM * self.dpi)

    def apply(self) -> None:
        """Make this style matplotlib's own."""
        size, small = self.font_size, self.small
        # What DejaVu Sans is to letters that the others lack, Verdana, as wide, is to readers of
        # the SVG.
        families = dict.fromkeys([self.font, "DejaVu Sans", "sans-serif"])
        plt.rcdefaults()
        plt.rcParams.update(
            {
                "font.family": list(families),
                "font.sans-serif": [*self.preset.fonts, "Verdana", "sans-serif"],
                # A class may be named with dollar signs.
                "text.parse_math": False,
                "font.size": size,
                "axes.titlesize": size,
                "axes.labelsize": size,
                "xtick.labelsize": small,
                "ytick.labelsize": small,
                "legend.fontsize": small,
                "figure.titlesize": self.large,
                "axes.titlepad": 3.0,
                "axes.labelpad": 2.0,
                "axes.linewidth": 0.6,
                "hatch.linewidth": 0.6,
                "axes.edgecolor": MUTED,
                "axes.facecolor": self.background,
                "axes.labelcolor": INK,
                "axes.titlecolor": INK,
                "text.color": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "xtick.major.size": 2.0,
                "ytick.major.size": 2.0,
                "xtick.major.width": 0.6,
                "ytick.major.width": 0.6,
                "xtick.major.pad": 2.0,
                "ytick.major.pad": 2.0,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": self.preset.grid,
                "axes.axisbelow": True,
                "grid.color": GRID,
                "grid.linewidth": 0.5,
                "lines.linewidth": 1.2,
                "lines.markersize": 3.0,
                "legend.frameon": False,
                "legend.handlelength": 1.4,
                "legend.handletextpad": 0.5,
                "legend.borderaxespad": 0.2,
                "legend.labelspacing": 0.3,
                "figure.facecolor": "white",
                "figure.dpi": self.dpi,
                "savefig.dpi": self.dpi,
                "image.interpolation": "nearest",
                "axes.prop_cycle": matplotlib.cycler(color=self.colours),
                # Same input, same bytes: ids of clip paths come from this salt.
                "svg.hashsalt": "multiloss",
                # Letters stay text, which can be searched, read aloud and edited.
                "svg.fonttype": "none",
                # TrueType, which journals take and editors can edit.
                "pdf.fonttype": 42,
                # By this one Matplotlib 3.11 splits fonts of PDFs, too: type 3 after 256 letters.
                "ps.fonttype": 42,
                "pdf.compression": 9,
            }
        )

    def figure(self, height_mm: float, double: bool = True) -> Figure:
        """An empty figure of one or two columns' width, laid out without overlaps.

        It is no higher than a page of the journal: what is on it then stands closer together.
        """
        width = self.double_column_mm if double else self.single_column_mm
        height_mm = min(height_mm, self.preset.max_height_mm)
        figure = plt.figure(figsize=(width * MM, height_mm * MM), layout="constrained")
        figure.get_layout_engine().set(w_pad=1.2 * MM, h_pad=1.2 * MM, wspace=0.01, hspace=0.01)
        return figure

    @property
    def line_mm(self) -> float:
        """Height of a line of text."""
        return self.font_size * 1.25 * 25.4 / 72

    def category(self, number: int) -> dict[str, Any]:
        """How the bars of the category with this number look; 49 of them differ."""
        face = self.colours[number % len(self.colours)]
        hatch = HATCHES[number // 7 % len(HATCHES)]
        look = {"facecolor": face, "linewidth": 0, "hatch": hatch}
        return look | {"edgecolor": "white" if ink_on(to_rgb(face)) == "white" else INK}

    def look(self, number: int) -> dict[str, Any]:
        """Colour, mark and line of the category with this number; 15 differ in colour and mark.

        Marks are filled for the first eight and hollow for the others.
        """
        colour = self.colours[number % len(self.colours)]
        fill = colour if number // len(MARKS) % 2 == 0 else "white"
        look = {"color": colour, "marker": MARKS[number % len(MARKS)], "markerfacecolor": fill}
        return look | {"linestyle": LINES[number % len(LINES)]}

    def class_names(
        self, classes: Sequence[str], mm: float, lines: int = 2, bold: bool = False
    ) -> "ClassNames":
        """The names of classes for places `mm` wide and `lines` high.

        Where one does not fit there, all are shown as their numbers, which `key` explains.
        """
        known = cut_names(classes)
        folded = {name: fold(text, mm, self.font_size, bold) for name, text in known.items()}
        words = (word for text in known.values() for word in text.split())
        fit = all(text_mm(word, self.font_size, bold) <= mm for word in words)
        if fit and max(text.count("\n") for text in folded.values()) < lines:
            return ClassNames(folded, known, "", self)
        numbers = {name: str(number) for number, name in enumerate(classes, start=1)}
        pairs = (f"{numbers[name]}:\N{NO-BREAK SPACE}{text}" for name, text in known.items())
        return ClassNames(numbers, known, f"Classes: {'; '.join(pairs)}", self)


@dataclasses.dataclass(frozen=True)
class ClassNames:
    """Class names as one figure shows them: folded, or as numbers with a key."""

    short: Mapping[str, str]
    known: Mapping[str, str]
    key: str
    style: Style

    def full(self, name: str) -> str:
        """The name in a place with room for all of it, with its number where it has one."""
        known = self.known[name]
        return f"{self.short[name]}: {known}" if self.key else known

    def in_text(self, name: str) -> str:
        """The name within a line of text: `class 3` where numbers stand for names."""
        return f"class {self.short[name]}" if self.key else self.known[name]

    def note(self, *before: str, double: bool = True) -> tuple[str, float]:
        """Lines for the foot of the figure, each folded to its width, and their height in mm.

        They are what stands in `before` and the key, as far as there is any.
        """
        width = self.style.double_column_mm if double else self.style.single_column_mm
        parts = [text for text in (*before, self.key) if text]
        text = "\n".join(fold(part, width - 6, self.style.font_size) for part in parts)
        return text, (text.count("\n") + 1) * self.style.line_mm if text else 0.0


def freeze(figure: Figure) -> None:
    """Find the layout once, not for each file, and round it.

    The solver's last digits depend on where objects lie in memory, and ids in the SVG are
    made of all digits.
    """
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    for part in figure.findobj(SubFigure):
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 6))
    for axes in figure.findobj(Axes):
        axes.set_position(Bbox(np.round(axes.get_position(original=True).get_points(), 6)))


def save(figure: Figure, *paths: str | Path, thinnest: float = 0.0) -> None:
    """Write the figure in the formats of the paths' endings: png, tif, svg, pdf.

    Pictures are opaque RGB, lines at least `thinnest` points wide; no file has a date or a
    version in it.
    """
    for line in figure.findobj(Line2D):
        if 0 < line.get_linewidth() < thinnest:
            line.set_linewidth(thinnest)
    freeze(figure)
    for image in figure.findobj(AxesImage):
        image.make_image = _made_once(image.make_image)
    pixels = None
    for path in map(Path, paths):
        with atomic(path) as temporary:
            if path.suffix in (".png", ".tif"):
                pixels = _pixels(figure) if pixels is None else pixels
                png = path.suffix == ".png"
                # Level 6 takes twice as long for a twentieth fewer bytes.
                look = {"compress_level": 3} if png else {"compression": "tiff_lzw"}
                pixels.save(temporary, dpi=(figure.dpi, figure.dpi), **look)
            elif path.suffix == ".svg":
                photographs.write_svg(figure, temporary)
            else:
                photographs.write_pdf(figure, temporary)
    plt.close(figure)


def _made_once(make_image: Callable[..., Any]) -> Callable[..., Any]:
    """Resamples a picture for the first file; all have the same layout and the same pixels."""
    made: list[Any] = []

    def kept(renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> Any:
        if not made:
            pixels, x, y, way = make_image(renderer, magnification, unsampled)
            made.extend((pixels, x * magnification, y * magnification, way))
        pixels, x, y, way = made
        return pixels, x / magnification, y / magnification, way

    return kept


def _pixels(figure: Figure) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())


def wrap(text: str, width: int) -> str:
    """Text in lines of at most `width` letters; longer words stay whole."""
    return (
        "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))
        or text
    )


def cut_names(names: Sequence[str]) -> dict[str, str]:
    """Names of classes as pictures show them: long ones without their middle, all distinct."""
    most = LONGEST_NAME
    cut = {
        name: name
        if len(name) <= most
        else f"{name[: most // 2]}\N{HORIZONTAL ELLIPSIS}{name[1 - most // 2 :]}"
        for name in names
    }
    shown = list(cut.values())
    found = {
        name: text if shown.count(text) == 1 else f"{text} ({number})"
        for number, (name, text) in enumerate(cut.items(), start=1)
    }
    return {name: text + BACK * _runs_left(text) for name, text in found.items()}


def _runs_left(text: str) -> bool:
    return any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)


def text_mm(text: str, size: float, bold: bool = False) -> float:
    """Width in mm of one line of text in letters of `size` points."""
    return _text_mm(text, size, bold, tuple(plt.rcParams["font.family"]))


@functools.lru_cache(4096)
def _text_mm(text: str, size: float, bold: bool, family: tuple[str, ...]) -> float:
    font = FontProperties(family=family, size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) * 25.4 / 72


@functools.cache
def _first_present(fonts: tuple[str, ...]) -> str:
    present = {font.name for font in fontManager.ttflist}
    return next(name for name in fonts if name in present)


def fold(text: str, mm: float, size: float, bold: bool = False) -> str:
    """Text in lines no wider than `mm`; a word that is wider by itself is broken."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if text_mm(longer, size, bold) <= mm:
            line = longer
            continue
        if line:
            lines.append(line)
        while text_mm(word, size, bold) > mm and len(word) > 1:
            end = next(
                (n for n in range(len(word) - 1, 1, -1) if text_mm(word[:n], size, bold) <= mm), 1
            )
            lines.append(word[:end])
            word = word[end:]
        line = word
    return "\n".join([*lines, line])


def lines_of(text: str) -> int:
    """Number of lines of a text."""
    return text.count("\n") + 1


def legend(
    canvas: Figure | Axes, handles: Sequence[Any], texts: Sequence[str], **options: Any
) -> Legend:
    """A legend that shows every entry: Matplotlib leaves out those that begin with '_'."""
    drawn = canvas.legend(handles, [str(n) for n in range(len(texts))], **options)
    for entry, text in zip(drawn.get_texts(), texts, strict=True):
        entry.set_text(text)
    return drawn


def stamp(axes: Axes, style: Style) -> None:
    """Burn into the corner of a panel that its picture is of no patient."""
    axes.text(
        0.98,
        0.02,
        PHANTOM,
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        color="white",
        fontsize=style.small,
        fontweight="bold",
        zorder=10,
        bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 0.8},
    )


def interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A value with its interval, as in 0.91 (0.88 to 0.93); the value alone where none exists."""
    if value != value:
        return "not defined"
    if low != low or high != high:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def count(number: int, noun: str, several: str = "") -> str:
    """A count with its noun: 1 image, 4,000 images; `several` where that is no mere -s."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def ink_on(colour: Sequence[float]) -> str:
    """Black or white, whichever stands out more on a colour (r, g, b in [0, 1]).

    At a relative luminance of 0.179 both have the same contrast.
    """
    return "black" if _luminance(colour) > 0.179 else "white"


def for_letters(colour: str) -> str:
    """A colour, darkened until letters in it stand out on white: contrast of at least 4.5."""
    rgb = np.array(to_rgb(colour))
    while (1.05 / (_luminance(rgb) + 0.05)) < 4.5:
        rgb = rgb * 0.97
    return to_hex(rgb)


def _luminance(rgb: Sequence[float]) -> float:
    """Relative luminance as in WCAG 2.1 of a colour (r, g, b in [0, 1])."""
    red, green, blue = (
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb[:3]
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def of_model(name: str, *artists: Any) -> None:
    """Say whose marks these are: where a reader of the page picks that model, they stand out.

    An empty name is no model's.
    """
    for artist in artists if name else ():
        artist.set_gid(f"model:{name}")


def gap(axes: Axes, place: float) -> None:
    """Say in a row that its model has no result: its training failed."""
    axes.annotate(
        NO_RESULT,
        (0, place),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        color=MUTED,
        fontstyle="italic",
    )


def offsets(number: int, reach: float) -> np.ndarray:
    """Places of the runs of one row, from -reach to reach; a single run stands at 0."""
    return np.linspace(-reach, reach, number) if number > 1 else np.zeros(number)


def panels(figure: Figure, number: int, columns: int, **options: Any) -> list[Axes]:
    """The first `number` axes of a grid with `columns` columns; unused cells stay empty."""
    rows = -(-number // columns)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for unused in axes[number:]:
        unused.set_axis_off()
    return list(axes[:number])


def bare(axes: Axes) -> None:
    """Axes for a picture: no frame, ticks or grid."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor("white")
