"""Heat maps brought to the size and place of images."""

import cv2
import numpy as np


def upsample(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map (h, w) stretched linearly to `shape` (height, width); float32, range kept."""
    height, width = shape
    return cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def cut(heat: np.ndarray, threshold: float) -> np.ndarray:
    """Heat below `threshold` set to 0, on a map in [0, 1]; the rest keeps its value."""
    return np.where(heat >= threshold, heat, heat.dtype.type(0))


def to_original(
    heat: np.ndarray, box: tuple[int, int, int, int], shape: tuple[int, int]
) -> np.ndarray:
    """A map (h, w) of a crop laid on its original image: float32 (height, width).

    `box` is (xmin, ymin, width, height) in pixels of the original, `shape` the original's
    (height, width). Outside the box the heat is 0. Raises ValueError for a box that is empty
    or reaches out of the image.
    """
    xmin, ymin, width, height = box
    inside = min(xmin, ymin) >= 0 and xmin + width <= shape[1] and ymin + height <= shape[0]
    if not inside or min(width, height) < 1:
        raise ValueError(f"crop box {box} does not lie in an image of {shape[1]}x{shape[0]}")
    image = np.zeros(shape, np.float32)
    image[ymin : ymin + height, xmin : xmin + width] = upsample(heat, (height, width))
    return image
