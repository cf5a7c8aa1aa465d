"""Lung masks: from probabilities, combined by AND, compared, and kept in few bytes."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from multiloss.job.files import atomic

# A pixel is lung from this probability on.
LUNG_THRESHOLD = 0.5


def mask_at(probability: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boolean mask (height, width) from a float probability map of another size.

    The probabilities are interpolated and then cut, which gives smoother and truer borders
    than enlarging a mask.
    """
    enlarged = cv2.resize(
        probability.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return enlarged >= LUNG_THRESHOLD


def combine_by_and(masks: list[np.ndarray]) -> np.ndarray:
    """Lung where every one of the masks says lung (bitwise AND)."""
    return np.logical_and.reduce(masks)


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|) of two boolean masks; 1 if both are empty."""
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two boolean masks; 1 if both are empty."""
    union = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / union if union else 1.0


def write_masks(masks: Iterable[tuple[str, np.ndarray]], path: str | Path) -> None:
    """Write boolean (H, W) masks by the ids of their images, one in memory at a time.

    A `.npz` file, whole or not at all; same masks, same bytes. Eight pixels are one byte, and
    compressed: the probabilities at the size of the network would take a hundred times as much.
    """
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for image_id, mask in masks:
            with file.open(f"{image_id}.npy", "w") as member:
                np.lib.format.write_array(member, np.packbits(mask, axis=1))


class StoredMasks:
    """The file of `write_masks`: `masks(image_id, width)` reads one mask, boolean (H, width)."""

    def __init__(self, path: str | Path) -> None:
        self._file = np.load(path)

    def __len__(self) -> int:
        return len(self._file.files)

    def __call__(self, image_id: str, width: int) -> np.ndarray:
        return np.unpackbits(self._file[image_id], axis=1, count=width).astype(bool)
