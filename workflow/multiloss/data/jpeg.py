"""Is a JPEG file whole? libjpeg knows, and says so on the standard error of its process only.

`refuse_damaged` therefore shows a file to a decoder in a process of its own and reads what that
says. libjpeg does not complain about scans that are not there at all; those are counted here.
"""

import atexit
import contextlib
import os
import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from multiloss.job.errors import ImageError

START, END = b"\xff\xd8", b"\xff\xd9"
_DAMAGE = re.compile(r"(Corrupt JPEG data: (?!bad ICC).*|Premature end of .*)")
# Scans end at a marker that is neither an escaped FF nor a restart.
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_START_OF_SCAN, _END_OF_IMAGE, _COMMENT = 0xDA, 0xD9, 0xFE
_APPLICATION = range(0xE0, 0xF0)
# Frames of 8x8 blocks of coefficients (baseline, extended, progressive; Huffman or arithmetic).
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_COEFFICIENTS = 64
_EMPTY_COMMENT = b"\xff\xfe\0\2"
_NO_IMAGE, _DONE = "no image", b"\0"


def refuse_damaged(content: bytes) -> None:
    """Raise `ImageError` if a JPEG file has lost any of its picture.

    That is: entropy-coded data that end early, are left over or hold codes that do not exist,
    restart intervals out of order, and scans that never come. A missing end marker loses
    nothing, nor does what stands behind it, or in application segments and comments.
    """
    segments = list(_segments(content))
    try:
        _refuse_missing_scans(segments)
    except (IndexError, ValueError):  # a segment shorter than it says
        raise ImageError("truncated or damaged: a header is cut short") from None
    # Only its first complaint is told: let it not be about an odd remark in the file's head.
    kept = [segment.whole for segment in segments if not segment.remark]
    # OpenCV knows a JPEG file by the marker behind its first.
    _refuse_complaint(START + _EMPTY_COMMENT + b"".join(kept) + END)


def refuse_damaged_tiff(content: bytes) -> None:
    """The same for a TIFF file whose strips or tiles are JPEG, as far as libjpeg tells."""
    _refuse_complaint(content)


@dataclass(frozen=True)
class _Segment:
    """A marker with its fields; `whole` has what stands before it, too, and its scan data."""

    marker: int
    fields: bytes
    whole: bytes
    remark: bool


def _segments(content: bytes) -> Iterator[_Segment]:
    """All segments up to the end of the first picture."""
    place, scanned = len(START), False
    while match := _SCAN_END.search(content, place):
        marker, start = content[match.end() - 1], match.end()
        # A start is that of a second picture, before the first one has ended.
        if marker in (_END_OF_IMAGE, START[1]):
            return
        end = start + int.from_bytes(content[start : start + 2], "big")
        fields = content[start + 2 : end]
        if marker == _START_OF_SCAN:
            scanned = True
            after = _SCAN_END.search(content, end)
            end = after.start() if after else len(content)
        remark = not scanned and (marker in _APPLICATION or marker == _COMMENT)
        yield _Segment(marker, fields, content[place:end], remark)
        place = end


def _refuse_missing_scans(segments: list[_Segment]) -> None:
    frames = [segment.fields for segment in segments if segment.marker in _FRAMES]
    scans = [segment.fields for segment in segments if segment.marker == _START_OF_SCAN]
    if not scans:
        raise ImageError("truncated (a JPEG file without its picture)")
    if not frames:
        return
    # A frame: depth, height, width, count of components, then of each: id, sampling, table.
    frame = frames[0]
    if frame[0] != 8:
        raise ImageError(f"a JPEG file of {frame[0]} bits: save it as PNG or TIFF")
    # Each component's coefficients whose last bit has come.
    whole: dict[int, set[int]] = {identity: set() for identity in frame[6 : 6 + 3 * frame[5] : 3]}
    for scan in scans:
        # Count of components, of each (id, tables), then the first and last coefficient, and in
        # one byte which bits came before and which is the last to come now.
        parts = scan[1 : 1 + 2 * scan[0] : 2]
        first, last, bits = scan[1 + 2 * len(parts) : 4 + 2 * len(parts)]
        if bits & 0x0F == 0:
            for identity in parts:
                whole.setdefault(identity, set()).update(range(first, last + 1))
    if any(len(coefficients) < _COEFFICIENTS for coefficients in whole.values()):
        raise ImageError("truncated or damaged: scans are missing")


class _Decoder:
    """A process that decodes what it is sent, and whose standard error is read."""

    def __init__(self) -> None:
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "multiloss.data.jpeg"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    def says(self, content: bytes) -> str:
        """What the decoder writes about a file, '' for nothing."""
        stdin, stderr = self.process.stdin, self.process.stderr
        assert stdin and stderr
        stdin.write(len(content).to_bytes(8, "big") + content)
        stdin.flush()
        said = b""
        while not said.endswith(_DONE):
            more = os.read(stderr.fileno(), 2**16)
            if not more:
                raise BrokenPipeError
            said += more
        return said[: -len(_DONE)].decode("utf-8", "replace")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


_idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()


def _refuse_complaint(content: bytes) -> None:
    """Raise `ImageError` with the first thing that libjpeg says to be lost. For any thread."""
    try:
        decoder = _idle.get_nowait()
    except queue.Empty:
        decoder = _Decoder()
    try:
        said = decoder.says(content)
    except BrokenPipeError:
        decoder.close()
        raise ImageError("truncated or damaged: the decoder broke down on it") from None
    _idle.put(decoder)
    if match := _DAMAGE.search(said):
        lost = match.group(1).strip()
        raise ImageError(f"truncated or damaged: {lost[:1].lower()}{lost[1:]}")
    if said.endswith(_NO_IMAGE):
        raise ImageError("unreadable, truncated or not an image")


@atexit.register
def _close() -> None:
    while not _idle.empty():
        _idle.get_nowait().close()


def _serve() -> None:
    """Decode files from standard input, each behind its length, until that ends."""
    while length := sys.stdin.buffer.read(8):
        content = sys.stdin.buffer.read(int.from_bytes(length, "big"))
        # All coefficients are read, few are transformed.
        image = None
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        said = "" if image is not None else _NO_IMAGE
        os.write(sys.stderr.fileno(), said.encode() + _DONE)


if __name__ == "__main__":
    _serve()
