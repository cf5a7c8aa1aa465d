"""Reading images and masks of any common kind as 8-bit grey or RGB, and writing PNG files."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from multiloss.data import bit_depth, headers, jpeg
from multiloss.job.errors import ImageError, UserError
from multiloss.job.files import atomic

# What is decoded here goes by content; these are the usual endings of it.
DECODABLE_ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2"}
)
# The pixel grid as stored: a mask drawn on it must not be turned away by an EXIF tag.
_GREY = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_COLOUR = cv2.IMREAD_COLOR | _GREY

# Values of a mask this near to its smallest or largest one (in shares of their distance) are
# those two: lossy compression and soft borders make them.
_NEAR = 1 / 8
# So many other values are no border any more.
_MOST_BETWEEN = 1 / 4
# With no more values than these, nothing was smeared: one that fills more than this is a label.
_FEW_VALUES, _LABEL_SHARE = 8, 0.02
_VALUES_NAMED = 6
# Of each thread, so many items are at work, wait for it or wait to be taken.
_WAITING = 8


@dataclass(frozen=True)
class Stored:
    """An image as its file holds it, and how to read its `values`.

    These are uint8 or uint16, (H, W) grey or (H, W, 3) RGB.

    `bits` is the depth that the file states for 16-bit values, if any; with `negative`, 0 is
    white (8-bit values are turned already, when they are decoded).
    """

    values: np.ndarray
    bits: int | None = None
    negative: bool = False

    def pixels(self, bits: int | None = None) -> np.ndarray:
        """As uint8 of the same shape, 0 is black; 16-bit values read with `bits` bits.

        Raises `ImageError` if a value needs more bits.
        """
        if self.values.dtype == np.uint8:
            return self.values
        if bits is None:
            reach = bit_depth.Reach(int(self.values.max()), self.bits)
            (bits,) = bit_depth.agree([reach])
        pixels = bit_depth.to_8_bits(self.values, bits)
        return 255 - pixels if self.negative else pixels


def luminance(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or RGB (H, W, 3) as grey (H, W): 0.299 R + 0.587 G + 0.114 B, rounded."""
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def is_grey(values: np.ndarray) -> bool:
    """Whether an image (H, W) or (H, W, 3) has no colour: one channel, or three equal ones."""
    return values.ndim == 2 or bool((values == values[..., :1]).all())


def decode(content: bytes, verified: bool = False, rgb: bool = False) -> Stored:
    """The bytes of an image file as stored values: grey, or with `rgb` colour.

    Colour (RGB, palette, CMYK) becomes luminance where grey is asked for; a grey file becomes three
    equal channels where colour is. An alpha channel and the EXIF orientation are ignored, a TIFF
    file whose zero is white is turned. `verified` leaves out the second look for damage at a JPEG
    file that has had it.

    Raises `ImageError` if the content is empty, no image, incomplete or damaged, too large, of
    several pages, or not of 8 or 16 bits without sign.
    """
    if not content:
        raise ImageError("the file is empty")
    header = headers.read(content)
    if rgb and header.colour_fault:
        raise ImageError(header.colour_fault)
    if header.jpeg:
        alone = content.startswith(jpeg.START)
        if not verified:
            jpeg.refuse_damaged(content) if alone else jpeg.refuse_damaged_tiff(content)
        if alone:  # the end marker alone may be missing, and the decoder insists on it
            content += jpeg.END
    buffer = np.frombuffer(content, np.uint8)
    try:
        if header.page:
            one = (header.page, header.page + 1)
            pages = cv2.imdecodemulti(buffer, _COLOUR if rgb else _GREY, range=one)[1]
            values = pages[0] if pages else None
        else:
            values = cv2.imdecode(buffer, _COLOUR if rgb else _GREY)
    except cv2.error as error:
        raise ImageError(
            f"cannot be decoded ({error.err}): save it as PNG, of at most "
            f"{headers.LARGEST_AREA // 10**6} megapixels"
        ) from None
    if values is None:
        raise ImageError("unreadable, truncated or not an image")
    if values.ndim != 2 + rgb or values.size == 0:
        raise ImageError(f"no picture elements (shape {values.shape})")
    if values.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"pixels of type {values.dtype}; 8 or 16 bits are needed")
    if rgb:
        values = cv2.cvtColor(values, cv2.COLOR_BGR2RGB)
    return Stored(values, header.bits, header.white_is_zero)


def decode_pixels(
    content: bytes, bits: int | None = None, verified: bool = False, rgb: bool = False
) -> np.ndarray:
    """The bytes of an image file as uint8 grey (H, W), with `rgb` (H, W, 3), see `decode`.

    16-bit values v become round(v * 255 / (2^bits - 1)), with the `bits` that all 16-bit images
    of a source share (column `bits` of the manifest). None reads the file as if it were alone:
    as of the depth that it states, or the smallest common one that holds its largest value.

    Raises `ImageError` as `decode` does, and if a value does not fit in `bits`.
    """
    return decode(content, verified, rgb).pixels(bits)


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; raises `ImageError` where it is missing or cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be opened ({error.strerror})") from None


def read_pixels(path: str | Path, bits: int | None = None, rgb: bool = False) -> np.ndarray:
    """An image file as uint8 grey (H, W), with `rgb` (H, W, 3). See `decode_pixels`."""
    return decode_pixels(read_bytes(path), bits, rgb=rgb)


def read_grey(path: str | Path, bits: int | None = None) -> np.ndarray:
    """An image file as grey values: uint8 (H, W). See `decode_pixels`."""
    return read_pixels(path, bits)


def read_unchanged(path: str | Path, sha256: str, bits: int | str, rgb: bool = False) -> np.ndarray:
    """`read_pixels` of a listed file; raises `UserError` unless it has the listed digest."""
    try:
        content = read_bytes(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ImageError("has changed since it was checked")
        return decode_pixels(content, int(bits), verified=True, rgb=rgb)
    except ImageError as error:
        raise UserError(
            f"{path}: {error}: put the file back, or take the images as they are now with "
            "`snakemake --forcerun download`"
        ) from None


def read_mask_for(
    shape: tuple[int, int], paths: Iterable[str | Path], resized: list[str] | None = None
) -> np.ndarray:
    """The union of the mask files of an image of `shape` (H, W): bool (H, W), true inside.

    A mask has two grey values, whichever; the larger one is inside (a mask of one value is
    inside everywhere, unless that is 0). Lossy compression and soft borders make more of them;
    the middle between the smallest and the largest then divides. Refused are masks where

    - a value in the middle three quarters between smallest and largest fills a square of 3x3
      pixels, as a label or an organ does and no border,
    - one of at most 8 values, other than the smallest and the largest, fills 2% of the image,
    - more than a quarter of the pixels have values in the middle three quarters: a picture,
    - all four corners or most of the border are inside: an inverted mask, or one of everything,
    - more pixels are enclosed by the inside than belong to it: an outline.

    A mask of another size is enlarged or shrunk to its nearest pixels if its sides are those of
    the image times one factor, rounded, and its size is appended to `resized`.

    Raises `ImageError` (with the name of the file) for a refused mask, one of another shape, an
    unreadable file, and if there is none.
    """
    union = np.zeros(shape, bool)
    found = False
    for path in paths:
        found = True
        inside = _named(path, lambda content: _inside(decode(content)))
        if inside.shape != tuple(shape):
            size, inside = _size(inside), _fit(inside, shape)
            if resized is not None:
                resized.append(size)
        union |= inside
    if not found:
        raise ImageError("no mask file")
    return union


def read_own_mask(shape: tuple[int, int], path: str | Path) -> np.ndarray:
    """A mask that `write_png` wrote for an image of `shape` (H, W): bool, true inside.

    Anything may be inside of it, or nothing. Raises `ImageError` if it is unreadable or has another
    size.
    """
    grey = _named(path, decode).values
    if grey.shape != tuple(shape):
        raise ImageError(f"mask has size {_size(grey)}, its image {shape[1]}x{shape[0]}")
    return grey > 127


def _named(path: str | Path, read: Callable[[bytes], Any]) -> Any:
    try:
        return read(read_bytes(path))
    except ImageError as error:
        raise ImageError(f"mask {Path(path).name}: {error}") from None


def _inside(mask: Stored) -> np.ndarray:
    """One mask file as bool (H, W), or `ImageError`: the rules of `read_mask_for`."""
    values = mask.values
    if mask.negative and values.dtype == np.uint16:
        values = np.iinfo(np.uint16).max - values
    counts = _counts(values)
    (found,) = np.nonzero(counts)
    low, high = int(found[0]), int(found[-1])
    if len(found) > 2:
        _refuse_other_values(values, counts)
    inside = values > ((low + high) // 2 if low < high else 0)
    corners = inside[[0, 0, -1, -1], [0, -1, 0, -1]]
    border = np.concatenate([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    if corners.all() or border.mean() > 0.5:
        raise ImageError(
            "its inside (the larger value) takes in "
            + ("all four corners" if corners.all() else "most of the border")
            + ": an inverted mask, or one of the whole image; the larger value must mark what is "
            "inside"
        )
    if _enclosed(inside) > inside.sum():
        raise ImageError("marks an outline only: fill it, so that all that is inside is marked")
    return inside


def _enclosed(inside: np.ndarray) -> int:
    """How many pixels outside cannot be reached from the border without crossing the inside."""
    reached = np.pad(inside.astype(np.uint8), 1)
    cv2.floodFill(reached, None, (0, 0), 1)
    return int((reached == 0).sum())


def _counts(values: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """How often each value (the index) occurs; sorting all pixels would take far longer."""
    most = np.iinfo(values.dtype).max + 1
    mask = None if where is None else where.astype(np.uint8)
    return cv2.calcHist([values], [0], mask, [most], [0, most]).ravel()


def _refuse_other_values(values: np.ndarray, counts: np.ndarray) -> None:
    (found,) = np.nonzero(counts)
    low, high = int(found[0]), int(found[-1])
    margin = _NEAR * (high - low)
    middle = found[(found > low + margin) & (found < high - margin)]
    square = np.ones((3, 3), np.uint8)
    flat = _counts(values, cv2.erode(values, square) == cv2.dilate(values, square))
    filled = flat[found] >= _LABEL_SHARE * values.size
    labels = set(middle[flat[middle] > 0].tolist())
    if len(found) <= _FEW_VALUES:
        labels |= set(found[filled].tolist())
    labels -= {low, high}
    if labels:
        named = sorted({low, high, *labels})
        more = "" if len(named) <= _VALUES_NAMED else f" and {len(named) - _VALUES_NAMED} more"
        raise ImageError(
            f"holds {len(named)} grey values ({', '.join(map(str, named[:_VALUES_NAMED]))}{more}); "
            "a mask has two: write what is inside as 255, all else as 0"
        )
    share = counts[middle].sum() / values.size
    if share > _MOST_BETWEEN:
        raise ImageError(
            f"{share:.0%} of its pixels are neither near its smallest value ({low}) nor its "
            f"largest ({high}): a picture, not a mask; write what is inside as 255, all else as 0"
        )


def _fit(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    (rows, columns), (height, width) = mask.shape, shape
    # Off by less than a pixel of the mask: rounded one way or the other. With one side as the
    # image's, nothing was rounded.
    off = min(abs(rows - height * columns / width), abs(columns - width * rows / height))
    if off >= 1 or rows == height or columns == width:
        raise ImageError(
            f"mask has size {_size(mask)}, its image {width}x{height}: of other proportions"
        )
    resized = cv2.resize(
        mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return resized.astype(bool)


def resize(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Stretch (H, W) or (H, W, C) to `size` pixels square, or to (height, width); same dtype.

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
        # Not `pool.map`, which holds a place for each of all items at once.
        waiting: deque[Future] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _WAITING * threads:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
