"""Folders of PNG files from an archive of arrays: `npz_to_folders.py FILE.npz FOLDER [NAME...]`.

FILE holds `{split}_images`, uint8 (N, H, W) or (N, H, W, 3), and `{split}_labels`, (N,) or (N, 1),
for the splits train, val and test; NAMEs are the classes in the order of their numbers.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def write(archive: str | Path, folder: str | Path, names: Sequence[str] = ()) -> None:
    """`folder/split/class/00000.png` of every image; a class without a name is its number.

    Folders cannot have a slash in their names; it becomes an underscore.
    """
    with np.load(archive, allow_pickle=False) as file:
        for split in ("train", "val", "test"):
            images, labels = file[f"{split}_images"], file[f"{split}_labels"].ravel()
            for row, (image, label) in enumerate(zip(images, labels, strict=True)):
                name = names[label].replace("/", "_") if names else str(label)
                path = Path(folder, split, name, f"{row:05}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    write(*sys.argv[1:3], sys.argv[3:])
