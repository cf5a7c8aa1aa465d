"""Photographs within SVG and PDF files, packed as JPEG where that is far smaller.

Matplotlib writes pictures without loss, as many pixels as the figure's resolution has. For the
grain of a radiograph that takes four times as many bytes as a JPEG that nobody tells from it;
drawings, such as maps of a few colours, stay as they are.
"""

import base64
import io
import re
import zlib
from pathlib import Path

from PIL import Image

QUALITY = 90
# Smaller gains are not worth a loss, however small.
WORTH = 0.5
# Grain deflated at level 1 has so many times the bytes of level 9, which takes seven times as long.
QUICK = 1.4

_PNG = re.compile(r'data:image/png;base64,([^"]+)"')
_STREAM = re.compile(rb"(\d+ 0 obj\n<<.*?)>>\nstream\n(.*)\nendstream\nendobj\n", re.DOTALL)
_LENGTH = re.compile(rb"/Length \d+(?: 0 R)?")


def pack(path: Path) -> None:
    """Pack the photographs of an SVG or PDF file that Matplotlib wrote, by its ending."""
    if path.suffix == ".svg":
        text = pack_svg(path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8", newline="\n")
    elif path.suffix == ".pdf":
        path.write_bytes(pack_pdf(path.read_bytes()))


def as_jpeg(picture: Image.Image, size: int) -> bytes:
    """The picture as JPEG; nothing where it is seen through or no smaller than `WORTH` * `size`."""
    if "A" in picture.mode and picture.getchannel("A").getextrema() != (255, 255):
        return b""
    rgb = picture.convert("RGB")
    red, green, blue = rgb.split()
    grey = red.tobytes() == green.tobytes() == blue.tobytes()
    file = io.BytesIO()
    # Full resolution of colours: half of it would smear the edges of heat.
    look = {"quality": QUALITY, "subsampling": 0, "optimize": True}
    (red if grey else rgb).save(file, "JPEG", **look)
    return file.getvalue() if file.tell() <= WORTH * size else b""


def pack_svg(text: str) -> str:
    """The SVG with its photographs as JPEG."""

    def packed(found: re.Match[str]) -> str:
        raw = base64.b64decode(found[1])
        with Image.open(io.BytesIO(raw)) as picture:
            jpeg = as_jpeg(picture, len(raw))
        if not jpeg:
            return found[0]
        return f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode("ascii")}"'

    return _PNG.sub(packed, text)


def pack_pdf(raw: bytes) -> bytes:
    """A PDF that Matplotlib wrote without compression: photographs as JPEG, all else deflated."""
    start = int(raw.rsplit(b"startxref\n", 1)[1].split()[0])
    table, trailer = raw[start:].split(b"trailer\n", 1)
    head, count, free, *places = table.splitlines(keepends=True)
    starts = dict(enumerate((int(place[:10]) for place in places), start=1))
    order = sorted(starts, key=starts.__getitem__)
    ends = dict(zip(order, [*(starts[number] for number in order[1:]), start], strict=True))
    body = [raw[: starts[order[0]]]]
    size, moved = len(body[0]), {}
    for number in order:
        moved[number] = size
        body.append(_packed(raw[starts[number] : ends[number]]))
        size += len(body[-1])
    rows = [b"%010d 00000 n \n" % moved[number] for number in sorted(moved)]
    trailer = trailer.replace(b"startxref\n%d\n" % start, b"startxref\n%d\n" % size)
    return b"".join([*body, head, count, free, *rows, b"trailer\n", trailer])


def _packed(thing: bytes) -> bytes:
    """An object of the PDF with its stream, if it has one, in fewer bytes."""
    found = _STREAM.fullmatch(thing)
    if not found:
        return thing
    about, stream = found.groups()
    jpeg = b""
    if b"/Subtype /Image" in about and b"/DeviceRGB" in about and b"/SMask" not in about:
        size = [int(found[1]) for found in re.finditer(rb"/(?:Width|Height) (\d+)", about)]
        picture = Image.frombytes("RGB", tuple(size), stream)
        jpeg = as_jpeg(picture, int(len(zlib.compress(stream, 1)) / QUICK))
        if jpeg and Image.open(io.BytesIO(jpeg)).mode == "L":
            about = about.replace(b"/DeviceRGB", b"/DeviceGray")
    short = jpeg or zlib.compress(stream, 9)
    way = b"/DCTDecode" if jpeg else b"/FlateDecode"
    about = _LENGTH.sub(b"/Filter %s /Length %d" % (way, len(short)), about)
    return about + b">>\nstream\n" + short + b"\nendstream\nendobj\n"
