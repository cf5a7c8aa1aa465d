"""Reading radiographs and masks of any common kind as 8-bit grey, and writing PNG files."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from multiloss.errors import UserError
from multiloss.files import atomic

# The pixel grid as stored: a mask drawn on it must not be turned away by an EXIF tag.
_GREY = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


class ImageError(Exception):
    """An image that cannot be used; the text is the reason, without the file's name."""


def decode_grey(content: bytes) -> np.ndarray:
    """The bytes of an image file as grey values: uint8 (H, W).

    Colour (RGB, palette, CMYK) becomes luminance, an alpha channel is ignored, 16-bit values
    are divided by 257 and rounded, the EXIF orientation is ignored.

    Raises `ImageError` if the content is empty, no image, incomplete, or not of 8 or 16 bits.
    """
    if not content:
        raise ImageError("the file is empty")
    # The decoder fills in what is missing at the end of a JPEG scan; its end marker cannot lie.
    if content.startswith(b"\xff\xd8") and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise ImageError("truncated (a JPEG file without its end)")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), _GREY)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded ({error.err})") from None
    if image is None:
        raise ImageError("unreadable, truncated or not an image")
    if image.ndim != 2 or image.size == 0:
        raise ImageError(f"no picture elements (shape {image.shape})")
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ImageError(f"pixels of type {image.dtype}; 8 or 16 bits are needed")
    return image


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; raises `ImageError` where it is missing or cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be opened ({error.strerror})") from None


def read_grey(path: str | Path) -> np.ndarray:
    """An image file as grey values: uint8 (H, W). See `decode_grey`."""
    return decode_grey(read_bytes(path))


def read_unchanged(path: str | Path, sha256: str) -> np.ndarray:
    """`read_grey` of a listed file; raises `UserError` unless it has the listed digest."""
    try:
        content = read_bytes(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ImageError("has changed since it was checked")
        return decode_grey(content)
    except ImageError as error:
        raise UserError(
            f"{path}: {error}: put the file back, or take the images as they are now with "
            "`snakemake --forcerun download`"
        ) from None


def read_mask(paths: Iterable[str | Path]) -> np.ndarray:
    """The union of one or more mask files: bool (H, W), true inside.

    A pixel is inside from half of the 8-bit range on; a mask stored as 0 and 1 (or with any
    other maximum below 128) is inside wherever it is not 0.

    Raises `ImageError` (with the name of the file) if a file is unreadable or the files differ
    in size.
    """
    union: np.ndarray | None = None
    for path in paths:
        try:
            grey = read_grey(path)
        except ImageError as error:
            raise ImageError(f"mask {Path(path).name}: {error}") from None
        inside = grey >= 128 if grey.max() >= 128 else grey > 0
        if union is None:
            union = inside
        elif union.shape != inside.shape:
            raise ImageError(
                f"mask {Path(path).name} has size {_size(inside)}, its partner {_size(union)}"
            )
        else:
            union |= inside
    if union is None:
        raise ImageError("no mask file")
    return union


def read_mask_for(shape: tuple[int, int], paths: Iterable[str | Path]) -> np.ndarray:
    """`read_mask`, refused with `ImageError` unless it has the (H, W) of its image."""
    mask = read_mask(paths)
    if mask.shape != tuple(shape):
        raise ImageError(f"mask has size {_size(mask)}, its image {shape[1]}x{shape[0]}")
    return mask


def resize(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Stretch to `size` pixels square, or to (height, width); same dtype.

    Averages over areas where both sides shrink, interpolates linearly otherwise.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(
        image,
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )


def write_png(array: np.ndarray, path: str | Path) -> None:
    """Write uint8 (H, W) or RGB (H, W, 3), or bool (H, W) as 0/255: same array, same bytes.

    The file is there whole or not at all.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise TypeError(f"PNG files are written from uint8 or bool arrays, not {array.dtype}")
    if array.ndim == 3:
        array = array[:, :, ::-1]
    done, content = cv2.imencode(".png", np.ascontiguousarray(array))
    if not done:
        raise ValueError(f"an array of shape {array.shape} cannot be written as PNG")
    with atomic(path) as temporary:
        temporary.write_bytes(content.tobytes())


def in_threads(function: Callable[[Any], Any], items: Iterable[Any], threads: int) -> Iterator[Any]:
    """`map(function, items)` on several threads, results in the order of the items.

    Decoding releases the interpreter lock, so threads are enough.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
