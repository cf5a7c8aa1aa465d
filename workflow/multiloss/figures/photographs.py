"""SVG and PDF files whose photographs are JPEG where that is far smaller.

Matplotlib writes pictures without loss, as many pixels as the figure's resolution has. For the
grain of a radiograph that takes four times as many bytes as a JPEG that nobody tells from it;
drawings, such as maps of a few colours, stay as they are.
"""

import base64
import io
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_pdf import Name, PdfFile, RendererPdf
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from PIL import Image

QUALITY = 90
# Smaller gains are not worth a loss, however small.
WORTH = 0.5
# Grain deflated at level 1 has so many times the bytes of level 9, which takes seven times as long.
QUICK = 1.4
POINTS = 72


def write_svg(figure: Figure, path: Path) -> None:
    """Write the figure as SVG; neither a date nor a version is in it."""
    width, height = figure.get_size_inches() * POINTS
    undated = {"Date": None, "Creator": None}
    with path.open("w", encoding="utf-8", newline="\n") as file:
        _draw(figure, _Svg(width, height, file, image_dpi=figure.dpi, metadata=undated))


def write_pdf(figure: Figure, path: Path) -> None:
    """Write the figure as PDF; neither a date nor a version is in it."""
    width, height = figure.get_size_inches()
    undated = {"CreationDate": None, "Creator": None, "Producer": None}
    file = _Pdf(path, metadata=undated)
    try:
        file.newPage(width, height)
        _draw(figure, RendererPdf(file, figure.dpi, height, width))
        file.finalize()
    finally:
        file.close()


def _draw(figure: Figure, vectors: RendererSVG | RendererPdf) -> None:
    """As `Figure.savefig`, which first draws all for a layout that is already there."""
    dpi = figure.dpi
    renderer = MixedModeRenderer(figure, *figure.get_size_inches(), dpi, vectors)
    try:
        figure.dpi = POINTS
        figure.draw(renderer)
        renderer.finalize()
    finally:
        figure.dpi = dpi


@lru_cache
def as_jpeg(pixels: bytes, size: tuple[int, int]) -> bytes:
    """A picture, RGB of `size` (width, height), as JPEG; nothing where that is hardly smaller.

    An SVG and a PDF of one figure have the same pictures.
    """
    rgb = Image.frombytes("RGB", size, pixels)
    red, green, blue = rgb.split()
    grey = red.tobytes() == green.tobytes() == blue.tobytes()
    file = io.BytesIO()
    # Full resolution of colours: half of it would smear the edges of heat.
    look = {"quality": QUALITY, "subsampling": 0, "optimize": True}
    (red if grey else rgb).save(file, "JPEG", **look)
    most = WORTH * len(zlib.compress(pixels, 1)) / QUICK
    return file.getvalue() if file.tell() <= most else b""


class _Svg(RendererSVG):
    """Embeds photographs as JPEG."""

    def draw_image(
        self, gc: Any, x: float, y: float, im: np.ndarray, transform: Any = None
    ) -> None:
        height, width = im.shape[:2]
        jpeg = b""
        if transform is None and (im[..., 3] == 255).all():
            # Here rows run upwards, in files downwards.
            jpeg = as_jpeg(im[::-1, :, :3].tobytes(), (width, height))
        if not jpeg:
            super().draw_image(gc, x, y, im, transform)
            return
        points = POINTS / self.image_dpi
        place = {"x": x, "y": self.height - y - height * points}
        place |= {"width": width * points, "height": height * points}
        clip = self._get_clip_attrs(gc)
        if clip:
            self.writer.start("g", **clip)
        self.writer.element(
            "image",
            attrib={
                "xlink:href": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}",
                "id": self._make_id("image", jpeg),
                **{name: f"{value:f}" for name, value in place.items()},
            },
        )
        if clip:
            self.writer.end("g")


class _Pdf(PdfFile):
    """Embeds photographs as JPEG."""

    def _writeImg(self, data: np.ndarray, id: int, smask: Any = None) -> None:
        height, width, channels = data.shape
        opaque = channels == 3 and smask is None
        jpeg = as_jpeg(data.tobytes(), (width, height)) if opaque else b""
        if not jpeg:
            super()._writeImg(data, id, smask)
            return
        with Image.open(io.BytesIO(jpeg)) as picture:
            space = {"L": "DeviceGray", "RGB": "DeviceRGB"}[picture.mode]
        about = {
            "Type": Name("XObject"),
            "Subtype": Name("Image"),
            "Width": width,
            "Height": height,
            "ColorSpace": Name(space),
            "BitsPerComponent": 8,
            "Filter": Name("DCTDecode"),
        }
        # It is compressed already.
        with matplotlib.rc_context({"pdf.compression": 0}):
            self.beginStream(id, None, about)
            self.currentstream.write(jpeg)
            self.endStream()
