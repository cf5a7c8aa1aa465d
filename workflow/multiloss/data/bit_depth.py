"""How many bits the values of a 16-bit file use: 12 are common, and black if read as 16.

The depth is decided for all 16-bit images of a source together, never for one image by its own
largest value, which would brighten each by another factor.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multiloss.job.errors import ImageError

DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class Reach:
    """The largest value of a 16-bit image, and the depth that its file states (or None)."""

    largest: int
    stated: int | None = None


def smallest(largest: int) -> int:
    """The smallest of `DEPTHS` that holds a value in 0...65535."""
    return next(depth for depth in DEPTHS if largest < 2**depth)


def to_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """uint16 values of `bits` bits as uint8: value * 255 / (2^bits - 1), rounded (16: by 257).

    Raises `ImageError` if a value needs more bits.
    """
    most = 2**bits - 1
    if values.max() > most:
        raise ImageError(f"values up to {values.max()} do not fit in {bits} bits")
    return ((values.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)


def agree(images: Sequence[Reach], given: int | None = None) -> list[int | ImageError]:
    """For each 16-bit image of one source its depth in bits, or why that cannot be told.

    A depth `given` for the source holds for all. Else a depth that files state holds for them;
    where a value of theirs is larger, they are stretched to the whole 16 bits, as the PNG
    standard has it. All others have one depth, the smallest that holds the largest of their
    values. Some may reach so much less or more that they cannot be of that kind: where the
    largest values, sorted, jump to the double or more and to another depth, the source falls
    apart; its largest part stays (of equal ones the brighter), and the others are refused.
    """
    if given:
        return [_within(image, given) for image in images]
    stretched = {image.stated for image in images if image.stated and image.largest >> image.stated}
    part = _main_part([image.largest for image in images if not image.stated])
    found: list[int | ImageError] = []
    for image in images:
        if image.stated:
            found.append(DEPTHS[-1] if image.stated in stretched else image.stated)
        elif part[0] <= image.largest <= part[-1]:
            found.append(smallest(part[-1]))
        else:
            found.append(
                ImageError(
                    f"its 16-bit values reach {image.largest}, those of most images of its source "
                    f"{part[0]} to {part[-1]}: of another bit depth? Give the source's `bits`, or "
                    "store all with one depth"
                )
            )
    return found


def _within(image: Reach, given: int) -> int | ImageError:
    if image.largest >> given:
        return ImageError(
            f"values up to {image.largest} do not fit in the source's `bits: {given}`"
        )
    return given


def _main_part(largest: list[int]) -> list[int]:
    """The values, sorted, of the part that most images belong to."""
    counts = Counter(largest)
    parts: list[list[int]] = [[]]
    for value in sorted(counts):
        last = parts[-1][-1] if parts[-1] else value
        if value >= 2 * last and smallest(value) != smallest(last):
            parts.append([])
        parts[-1].append(value)
    return max(reversed(parts), key=lambda part: sum(counts[value] for value in part))
