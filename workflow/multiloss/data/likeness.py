"""How alike two images are: a fingerprint that finds candidates, a correlation that judges."""

import cv2
import numpy as np
import scipy.fft


def perceptual_hash(image: np.ndarray) -> str:
    """A 64-bit fingerprint that survives recompression and small changes of size or exposure.

    The image (uint8, (H, W)) is averaged to 32x32 and transformed by a two-dimensional DCT-II;
    each of the 8x8 lowest frequencies gives one bit: above their median or not. Returned as 16
    hexadecimal digits, row by row. (The usual 'pHash', Zauner 2010.)
    """
    low = scipy.fft.dctn(_thumbnail(image), type=2)[:8, :8]
    return np.packbits(low > np.median(low)).tobytes().hex()


def likeness(image: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation of two images (uint8, (H, W), any sizes) averaged to 32x32 pixels.

    In [-1, 1]; of two constant images 1, of a constant and another image 0.
    """
    one, two = (small - small.mean() for small in (_thumbnail(image), _thumbnail(other)))
    norms = np.linalg.norm(one), np.linalg.norm(two)
    if not all(norms):
        return float(norms[0] == norms[1])
    return float((one * two).sum() / (norms[0] * norms[1]))


def _thumbnail(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
