"""Figures within the page: SVG drawings, cleaned, made small, and each with ids of its own."""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import cv2
import numpy as np
from markupsafe import Markup, escape

from multiloss.job.errors import UserError

# Pixels of panels that show images: more are not seen on a screen, and the page is mailed.
DPI = 200
WEBP_QUALITY = 80
# Smaller ones are drawings, whose colours mean something: kept as they are.
MAX_PNG_BYTES = 6_000
MM_PER_INCH = 25.4
# What a mark of a model has as its gid in Matplotlib, before the model's name.
MODEL = "model:"
# Signs that figures put behind the name of a model.
_SIGNS = re.compile(r"\s*(\[[^\]]*\]|[†‡*§])")

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_SHAPES = {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "use", "image"}
_GROUPS = {"svg", "g", "defs", "clipPath", "pattern", "linearGradient", "stop"}
_WORDS = {"text", "tspan"}
# Matplotlib's style sheet would be that of the whole page; what it says is said by the page's own.
_DROPPED = {"metadata", "style", "title", "desc"}
_NUMBERS = {
    *("d", "points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry"),
    *("width", "height"),
}
_ATTRIBUTES = _NUMBERS | {
    *(
        "transform",
        "viewBox",
        "style",
        "clip-path",
        "preserveAspectRatio",
        "offset",
        "gradientUnits",
    ),
    *("gradientTransform", "patternUnits", "patternTransform", "textLength", "lengthAdjust"),
}
_DATA = re.compile("data:image/(?:png|jpeg);base64,")
_REFERENCE = re.compile(r"url\(\s*#([^)\s]+)\s*\)")
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
# Of `rotate(-0 x y)`, which turns nothing.
_UNTURNED = re.compile(r"rotate\(-?0(?:\.0+)? [^)]*\)\s*")


@dataclass(frozen=True)
class Picture:
    """A drawing for the page, and its size on paper."""

    markup: Markup
    width_mm: float
    height_mm: float


def inline(
    path: Path, prefix: str, alt: str, labels: Mapping[str, str] | None = None, dpi: int = DPI
) -> Picture:
    """The SVG file as markup for HTML; `prefix` makes its ids unique, `alt` describes it.

    Shapes, text and embedded PNGs and JPEGs are taken, nothing that runs or loads. Photographs are
    packed as WebP of at most `dpi`. Marks whose id begins with `MODEL`, and words that are one of
    `labels` (label to model), get the model as `data-model`.
    Raises UserError for a file that is no SVG, or holds an element that no drawing has.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not a readable SVG ({error}); delete it and run again"
        ) from None
    if root.tag != f"{_SVG}svg":
        raise UserError(f"{path} is no SVG; delete it and run again")
    width, height = (_points(root.get(side, "")) for side in ("width", "height"))
    writer = _Writer(path, prefix, labels or {}, dpi, _referenced(root))
    box = root.get("viewBox", f"0 0 {width:g} {height:g}")
    opening = Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(box, alt)
    text = opening + Markup("".join(writer.within(root))) + Markup("</svg>")
    return Picture(text, width / 72 * MM_PER_INCH, height / 72 * MM_PER_INCH)


def _points(length: str) -> float:
    """A length in points; a number without a unit counts pixels of 1/96 inch."""
    number = float(re.sub(r"[a-z%]+$", "", length) or 0)
    return number if length.endswith("pt") else number * 0.75


def _referenced(root: Element) -> set[str]:
    found = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == f"{_XLINK}href" and value.startswith("#"):
                found.add(value[1:])
            found.update(_REFERENCE.findall(value))
    return found


@dataclass
class _Writer:
    """Writes the elements of one drawing."""

    path: Path
    prefix: str
    labels: Mapping[str, str]
    dpi: int
    referenced: set[str]
    _short: dict[str, str] = field(default_factory=dict)

    def within(self, parent: Element) -> Iterator[str]:
        for child in parent:
            if isinstance(child.tag, str):
                yield from self.element(child)

    def element(self, element: Element) -> Iterator[str]:
        name = element.tag.removeprefix(_SVG)
        if name in _DROPPED:
            return
        if name not in _SHAPES | _GROUPS | _WORDS:
            raise UserError(f"{self.path} has an element '{name}', which the report does not show")
        attributes = "".join(
            f' {key}="{escape(value)}"' for key, value in self._attributes(element, name)
        )
        words = escape(element.text) if name in _WORDS and element.text else ""
        inner = words + "".join(self._inside(element, name in _WORDS))
        if name in ("g", "defs") and not inner:
            return
        if name == "g" and not attributes:
            yield inner
        elif inner:
            yield f"<{name}{attributes}>{inner}</{name}>"
        else:
            yield f"<{name}{attributes}/>"

    def _inside(self, element: Element, words: bool) -> Iterator[str]:
        for child in element:
            if isinstance(child.tag, str):
                yield from self.element(child)
            if words and child.tail:
                yield str(escape(child.tail))

    def _attributes(self, element: Element, name: str) -> Iterator[tuple[str, str]]:
        given = element.get("id", "")
        model = given.removeprefix(MODEL) if given.startswith(MODEL) else ""
        if name == "text":
            words = "".join(element.itertext()).replace("\N{NO-BREAK SPACE}", " ")
            model = self.labels.get(_SIGNS.sub("", words).strip(), model)
        if model:
            yield "data-model", model
        if given in self.referenced:
            yield "id", self._id(given)
        for key, value in element.attrib.items():
            if key == f"{_XLINK}href":
                yield from self._href(element, value)
            elif key in _ATTRIBUTES:
                short = self._value(key, value)
                if short:
                    yield key, short

    def _href(self, element: Element, value: str) -> Iterator[tuple[str, str]]:
        if value.startswith("#"):
            yield "xlink:href", f"#{self._id(value[1:])}"
        elif _DATA.match(value) and element.tag == f"{_SVG}image":
            inches = float(element.get("width", "0")) / 72
            yield "xlink:href", self._packed(value, max(1, round(inches * self.dpi)))

    def _packed(self, value: str, widest: int) -> str:
        start = _DATA.match(value)
        assert start
        raw = base64.b64decode(value[start.end() :])
        if len(raw) <= MAX_PNG_BYTES:
            return f"{start[0]}{base64.b64encode(raw).decode('ascii')}"
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise UserError(f"{self.path} holds a damaged image; delete it and run again")
        if pixels.ndim == 3 and pixels.shape[2] == 4 and (pixels[..., 3] == 255).all():
            pixels = pixels[..., :3]
        return f"data:image/webp;base64,{base64.b64encode(webp(pixels, widest)).decode('ascii')}"

    def _id(self, name: str) -> str:
        return self._short.setdefault(name, f"{self.prefix}{len(self._short)}")

    def _value(self, key: str, value: str) -> str:
        """The value in few letters; lengths to 0.01 points, which is 0.004 mm."""
        value = _REFERENCE.sub(lambda found: f"url(#{self._id(found[1])})", value)
        if key == "style":
            return re.sub(r"\s*([;:])\s+", r"\1", value)
        digits = 5
        if key == "transform":
            value = _UNTURNED.sub("", value)
        elif key in _NUMBERS:
            digits = 2
            value = re.sub(r"\s*\n\s*", "", re.sub(r"\s*([A-Za-z])\s*", r"\1", value))
        return _NUMBER.sub(lambda found: _rounded(found[0], digits), value).strip()


def _rounded(number: str, digits: int) -> str:
    text = f"{float(number):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def webp(pixels: np.ndarray, widest: int) -> bytes:
    """The image (height, width[, channels], uint8, BGR) as WebP, at most `widest` pixels across."""
    height, width = pixels.shape[:2]
    if width > widest:
        size = (widest, max(1, round(height * widest / width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    good, packed = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
    assert good
    return packed.tobytes()
