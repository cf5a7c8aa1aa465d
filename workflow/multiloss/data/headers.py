"""What an image file says of itself, read before any of its pixels is."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, TiffImagePlugin

from multiloss.job.errors import ImageError

LARGEST_AREA = 200_000_000
# OpenCV's decoders end at a million pixels a side or below; no radiograph comes near.
LARGEST_SIDE = 2**16
# The limit is this module's, and on broken files the decoder has the last word.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

_JPEG = b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_DEPTHS = {1, 8, 10, 12, 14, 16, 32, 64}
_PACKED_DEPTHS = {10, 12, 14}
_UNCOMPRESSED, _JPEG_IN_TIFF = 1, {6, 7}
# The tags of a TIFF file that matter here.
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _DEPTH, _COMPRESSION = 254, 255, 256, 257, 258, 259
_PHOTOMETRIC, _CHANNELS, _STRIP_BYTES, _MOST, _FURTHER = 262, 277, 279, 281, 338
_WHITE_IS_ZERO, _RGB, _LAB = 0, 2, {8, 9, 10}
_ALPHA_APART = 2


@dataclass(frozen=True)
class Header:
    """The facts that decide how the pixels are to be read.

    `page` is the one to decode; `white_is_zero` tells of a TIFF file whose value 0 is white;
    `bits` is the depth that the file states for values stored in 16 bits, None where it states
    none; `jpeg` tells that libjpeg decodes it, alone or inside of a TIFF file; `colour_fault` says
    why its colours, if these are asked for, would not be decoded as they are.
    """

    page: int = 0
    white_is_zero: bool = False
    bits: int | None = None
    jpeg: bool = False
    colour_fault: str = ""


def read(content: bytes) -> Header:
    """The header of an image file; a default one for what is no image, or too broken to tell.

    Raises `ImageError` for more than `LARGEST_AREA` pixels or `LARGEST_SIDE` a side, several
    pages or frames, and depths that cannot be decoded. A TIFF file whose further pages are all
    marked as reduced copies, and are smaller, is its one full page.
    """
    if content.startswith(_TIFF):
        return _tiff(content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind, size, frames = image.format, image.size, getattr(image, "n_frames", 1)
            transparent = kind == "GIF" and "transparency" in image.info
    except Exception:  # whatever a broken file brings about: the decoder has the last word
        return Header(jpeg=content.startswith(_JPEG))
    _refuse_large(*size)
    # What cameras put behind the picture of a JPEG file (format MPO) are previews.
    if frames > 1 and kind != "MPO":
        raise ImageError(f"{frames} frames in one file: save the one that is meant by itself")
    bits = {"PNG": _png_bits, "JPEG2000": _jpeg2000_bits}.get(kind or "", lambda content: None)
    fault = "a GIF file with a transparent colour: save it as PNG" if transparent else ""
    return Header(bits=bits(content), jpeg=kind in ("JPEG", "MPO"), colour_fault=fault)


def _refuse_large(width: int, height: int) -> None:
    if width * height > LARGEST_AREA or max(width, height) > LARGEST_SIDE:
        raise ImageError(
            f"{width}x{height} pixels; at most {LARGEST_AREA // 10**6} megapixels are read, and "
            f"{LARGEST_SIDE} a side: make it smaller"
        )


def _png_bits(content: bytes) -> int | None:
    """The significant bits (chunk sBIT) of a 16-bit PNG file."""
    if content[24:25] != b"\x10":
        return None
    place = 8
    while (kind := content[place + 4 : place + 8]) not in (b"IDAT", b"IEND", b""):
        if kind == b"sBIT":
            return content[place + 8] or None
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return None


def _jpeg2000_bits(content: bytes) -> int | None:
    """The precision in a JPEG 2000 codestream's SIZ segment where that is above 8 bits."""
    start = content.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 42 >= len(content):
        return None
    precision = content[start + 42]
    if precision & 0x80:
        raise ImageError("pixels with a sign; 8 or 16 bits without one are needed")
    return precision + 1 if precision + 1 > 8 else None


def _tiff(content: bytes) -> Header:
    pages = list(_tiff_pages(content))
    if not pages:
        return Header()
    for page in pages:
        _refuse_large(_first(page, _WIDTH, 0), _first(page, _HEIGHT, 0))
    full = [place for place, page in enumerate(pages) if not _is_reduced(page)]
    areas = [_first(page, _WIDTH, 0) * _first(page, _HEIGHT, 0) for page in pages]
    if not full:
        raise ImageError("marked as a reduced copy (NewSubfileType 1): use the full image")
    (place, *others) = full
    if others or any(areas[k] >= areas[place] for k in range(len(pages)) if k != place):
        raise ImageError(f"{len(pages)} pages in one file: save the one that is meant by itself")
    page = pages[place]
    depth = _first(page, _DEPTH, 1)
    if depth not in _TIFF_DEPTHS:
        raise ImageError(f"a TIFF file of {depth} bits a pixel: save it with 8 or 16")
    most = _first(page, _MOST, 0)
    if depth in _PACKED_DEPTHS and _first(page, _COMPRESSION, 1) == _UNCOMPRESSED:
        _refuse_unpacked(page, depth)
    # Other values than 1023, 4095 and the like are the largest of this one image.
    states = depth == 16 and most.bit_count() == most.bit_length() and 8 < most.bit_length() < 16
    return Header(
        page=place,
        white_is_zero=_first(page, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO,
        bits=most.bit_length() if states else None,
        jpeg=_first(page, _COMPRESSION, 1) in _JPEG_IN_TIFF,
        colour_fault=_tiff_colour_fault(page),
    )


def _tiff_colour_fault(page: TiffImagePlugin.ImageFileDirectory_v2) -> str:
    kind = _first(page, _PHOTOMETRIC, 1)
    if kind in _LAB:
        return "a TIFF file of L*a*b* colours: save it as RGB"
    # The decoder multiplies the colours by alpha.
    alpha = _first(page, _FURTHER, 0) == _ALPHA_APART and _first(page, _DEPTH, 1) == 8
    if kind == _RGB and alpha:
        return "a TIFF file of RGB with transparency: save it without, or as PNG"
    return ""


def _refuse_unpacked(page: TiffImagePlugin.ImageFileDirectory_v2, depth: int) -> None:
    """Some writers state 12 bits and store 16; the decoder would make noise of that."""
    row = -(-_first(page, _WIDTH, 0) * _first(page, _CHANNELS, 1) * depth // 8)
    packed, stored = row * _first(page, _HEIGHT, 0), page.get(_STRIP_BYTES, 0)
    stored = sum(stored) if isinstance(stored, tuple) else stored
    if stored not in (0, packed):  # 0: in tiles
        raise ImageError(
            f"a TIFF file of {depth} bits a pixel with {stored} bytes of pixels, not {packed}: "
            "save it with 16"
        )


def _tiff_pages(content: bytes) -> Iterator[TiffImagePlugin.ImageFileDirectory_v2]:
    stream = io.BytesIO(content)
    prefix = stream.read(16 if content[2:4] in (b"+\0", b"\0+") else 8)
    seen = set()
    try:
        offset = TiffImagePlugin.ImageFileDirectory_v2(prefix).next
        while offset and offset not in seen and offset < len(content):
            seen.add(offset)
            stream.seek(offset)
            page = TiffImagePlugin.ImageFileDirectory_v2(prefix)
            page.load(stream)
            yield page
            offset = page.next
    except Exception:  # as in `read`: the decoder has the last word on a broken file
        return


def _is_reduced(page: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    return bool(_first(page, _SUBFILE, 0) & 1) or _first(page, _OLD_SUBFILE, 1) == 2


def _first(page: TiffImagePlugin.ImageFileDirectory_v2, tag: int, default: int) -> int:
    """A tag's first number; the default where a broken file has something else."""
    value: Any = page.get(tag, default)
    if isinstance(value, tuple):
        value = value[0] if value else default
    return value if isinstance(value, int) else default
