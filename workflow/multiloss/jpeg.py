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
from pathlib import Path

import cv2
import numpy as np

from multiloss.errors import ImageError

START, END = b"\xff\xd8", b"\xff\xd9"
_DAMAGE = re.compile(r"(Corrupt JPEG data: (?!bad ICC).*|Premature end of .*)")
# Scans end at a marker that is neither an escaped FF nor a restart.
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_START_OF_SCAN, _END_OF_IMAGE, _COMMENT = 0xDA, 0xD9, 0xFE
_APPLICATION = range(0xE0, 0xF0)
# Frames of 8x8 blocks of coefficients (baseline, extended, progressive; Huffman or arithmetic).
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_COEFFICIENTS = 64
_DONE = b"\0"


def refuse_damaged(content: bytes) -> None:
    """Raise `ImageError` if a JPEG file has lost any of its picture.

    That is: entropy-coded data that end early, are left over or hold codes that do not exist,
    restart intervals out of order, and scans that never come. A missing end marker loses
    nothing. What stands in segments that do not bear on the picture is not looked at.
    """
    segments = list(_segments(content))
    _refuse_missing_scans(segments)
    said = _complaint(START + b"".join(segment for _, segment in segments) + END)
    if said:
        raise ImageError(f"truncated or damaged: {said[:1].lower()}{said[1:]}")


def refuse_damaged_tiff(content: bytes) -> None:
    """The same for a TIFF file whose strips or tiles are JPEG, as far as libjpeg tells."""
    said = _complaint(content)
    if said:
        raise ImageError(f"truncated or damaged: {said[:1].lower()}{said[1:]}")


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, bytes with marker and scan data) of all that bears on the picture."""
    place = len(START)
    while True:
        match = _SCAN_END.search(content, place)
        if match is None or content[match.end() - 1] == _END_OF_IMAGE:
            return
        marker, start = content[match.end() - 1], match.end()
        if marker == START[1]:  # a second picture begins before the first has ended
            return
        end = start + int.from_bytes(content[start : start + 2], "big")
        if marker == _START_OF_SCAN:
            after = _SCAN_END.search(content, end)
            end = after.start() if after else len(content)
        if marker not in _APPLICATION and marker != _COMMENT:
            yield marker, bytes((0xFF, marker)) + content[start:end]
        place = end


def _refuse_missing_scans(segments: list[tuple[int, bytes]]) -> None:
    frames = [segment for marker, segment in segments if marker in _FRAMES]
    scans = [segment for marker, segment in segments if marker == _START_OF_SCAN]
    if not scans:
        raise ImageError("truncated (a JPEG file without its picture)")
    if not frames:
        return
    # A frame: marker, length, depth, height, width, then the components: id, sampling, table.
    frame = frames[0]
    if frame[4] != 8:
        raise ImageError(f"a JPEG file of {frame[4]} bits: save it as PNG or TIFF")
    # Each component's coefficients whose last bit has come.
    whole: dict[int, set[int]] = {identity: set() for identity in frame[10 : 10 + 3 * frame[9] : 3]}
    for scan in scans:
        # Marker, length, count, then (component, tables) each, first and last coefficient,
        # and in one byte which bits came before and which is the last to come now.
        parts = scan[5 : 5 + 2 * scan[4] : 2]
        first, last, bits = scan[5 + 2 * len(parts) : 8 + 2 * len(parts)]
        if bits & 0x0F == 0:
            for identity in parts:
                whole.setdefault(identity, set()).update(range(first, last + 1))
    lost = sum(len(coefficients) < _COEFFICIENTS for coefficients in whole.values())
    if lost:
        raise ImageError("truncated or damaged: scans are missing")


class _Decoder:
    """A process that decodes what it is sent, and whose standard error is read."""

    def __init__(self) -> None:
        package = str(Path(__file__).resolve().parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "multiloss.jpeg"],
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


def _complaint(content: bytes) -> str:
    """The first thing that libjpeg says to have been lost, '' for nothing. For any thread."""
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
    match = _DAMAGE.search(said)
    return match.group(1).strip() if match else ""


@atexit.register
def _close() -> None:
    while not _idle.empty():
        _idle.get_nowait().close()


def _serve() -> None:
    """Decode files from standard input, each behind its length, until that ends."""
    while length := sys.stdin.buffer.read(8):
        content = sys.stdin.buffer.read(int.from_bytes(length, "big"))
        # All coefficients are read, few are transformed. Errors are the caller's own to meet.
        with contextlib.suppress(cv2.error):
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        os.write(sys.stderr.fileno(), _DONE)


if __name__ == "__main__":
    _serve()
