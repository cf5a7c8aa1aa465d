"""From a lung mask to the crop that the classifier sees."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Box:
    """A crop box in pixels of the original image, and how it came about."""

    xmin: int
    ymin: int
    width: int
    height: int
    lung_fraction: float
    fallback: bool


def bounding_box(mask: np.ndarray, margin: float = 0.05) -> Box:
    """Box around the lungs of a boolean (H, W) mask, widened and clipped to the image.

    On each side it is widened by `margin` of the lungs' own height and width. A mask without
    lung gives the whole image and `fallback`. `lung_fraction` is the mask's share of the whole
    image.
    """
    image_height, image_width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(columns):
        return Box(0, 0, image_width, image_height, 0.0, True)
    rows = np.flatnonzero(mask.any(axis=1))
    left, right = int(columns[0]), int(columns[-1]) + 1
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    wider, taller = round(margin * (right - left)), round(margin * (bottom - top))
    xmin, ymin = max(0, left - wider), max(0, top - taller)
    xmax, ymax = min(image_width, right + wider), min(image_height, bottom + taller)
    return Box(xmin, ymin, xmax - xmin, ymax - ymin, float(mask.mean()), False)


def crop(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The box of a uint8 (H, W) or (H, W, 3) image stretched to (size, size), channels kept.

    Averages over pixels when shrinking and interpolates linearly when growing.
    """
    inside = image[box.ymin : box.ymin + box.height, box.xmin : box.xmin + box.width]
    shrinks = size < min(inside.shape[:2])
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(inside, (size, size), interpolation=interpolation)
