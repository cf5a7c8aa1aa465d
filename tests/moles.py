"""Made-up pictures of skin with a spot: `moles.py FOLDER PATIENTS` draws them as PNG files.

Seven unequal classes, of which two pairs differ in colour alone.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

# Name, share of the patients, RGB of the spot, points of its star, border in pixels of blur.
# The first two pairs of spots have one luminance and one shape.
CLASSES = {
    "naevus": (0.42, (150, 80, 60), 0, 1.0),
    "Kaposi's": (0.14, (60, 111, 138), 0, 1.0),
    "keratosis (benign)": (0.12, (180, 110, 60), 6, 1.0),
    "blue-grey": (0.10, (70, 140, 197), 6, 1.0),
    "melanoma": (0.09, (70, 40, 35), 9, 0.6),
    "carcinoma, basal": (0.07, (205, 150, 150), 0, 2.5),
    "50% vascular": (0.06, (200, 30, 50), 4, 1.0),
}


def picture(rng: np.random.Generator, name: str, size: int = 40) -> np.ndarray:
    """uint8 RGB (size, size, 3): skin of a random tone and grain, the spot of the class on it."""
    _, colour, points, blur = CLASSES[name]
    tone = np.array([224, 180, 160]) * rng.uniform(0.85, 1.08)
    grain = cv2.GaussianBlur(rng.normal(0, 14, (size, size)), (0, 0), 1.2) * 2
    skin = tone + grain[..., None]
    y, x = np.mgrid[:size, :size] - (size / 2 + rng.uniform(-4, 4, (2, 1, 1)))
    wave = 1 + 0.35 * np.cos(points * np.arctan2(y, x) + rng.uniform(0, 6)) * (points > 0)
    spot = (np.hypot(x, y * rng.uniform(0.8, 1.2)) < size * rng.uniform(0.2, 0.3) * wave) * 1.0
    spot = cv2.GaussianBlur(spot, (0, 0), blur)[..., None]
    drawn = skin * (1 - spot) + (np.array(colour) + grain[..., None]) * spot
    return np.clip(drawn + rng.normal(0, 3, skin.shape), 0, 255).round().astype(np.uint8)


def write(folder: str | Path, patients: int, seed: int = 0, size: int = 40) -> None:
    """`folder/class/patient_number.png`: one or two pictures of each patient."""
    rng = np.random.default_rng(seed)
    number = 0
    for name, (share, *_) in CLASSES.items():
        path = Path(folder, name)
        path.mkdir(parents=True)
        for _ in range(max(8, round(share * patients))):
            for image in range(rng.integers(1, 3)):
                rgb = picture(rng, name, size)
                cv2.imwrite(str(path / f"p{number:04}_{image}.png"), rgb[..., ::-1])
            number += 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(sys.argv[1], int(sys.argv[2]))
