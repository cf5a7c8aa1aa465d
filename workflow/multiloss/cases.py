"""The test images that the page shows one by one, with what the models say of each, as JSON.

Everything that the page draws is here: a small picture of the whole image, the crop box, outlines
of the lung mask and of a known lesion, the probabilities of each model and its heat map.
"""

import base64
import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from multiloss.data.images import read_mask_for, read_own_mask, read_unchanged
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive
from multiloss.predictions import Predictions

logger = logging.getLogger(__name__)

# Pictures have the largest of these sizes (pixels of the longer side) at which all of them take
# about so many bytes; WebP takes about so many bytes a pixel.
SIZES, BUDGET, BYTES_PER_PIXEL, QUALITY = (224, 160, 112, 80, 56), 1_000_000, 0.11, 60
# Heat maps of all images and models take at most so many bytes, each two cells of 0 to `LEVELS`:
# finer tints cannot be told apart. Where they would take more, fewer images are shown.
MAPS_BUDGET, LEVELS = 3_000_000, 15
# Outlines are rounded to so many steps across the image.
STEPS = 255
# Corners closer to a straight line than this share of the longer side are left out.
STRAIGHT = 0.006


@dataclass(frozen=True)
class Heat:
    """Grad-CAM maps of one model: `image_id` of each, `maps` (n, h, w) in [0, 1]."""

    image_id: Sequence[str]
    maps: np.ndarray


def read_heat(path: str | Path) -> Heat:
    """The maps of gradcam/{model}.npz."""
    with np.load(path, allow_pickle=False) as stored:
        return Heat([str(name) for name in stored["image_id"]], stored["maps"])


def draw(images: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """At most `most` of the rows, at random with the study's seed, in their order."""
    if len(images) <= most:
        return images
    order = np.random.default_rng(derive(seed, "cases")).permutation(len(images))
    return images.iloc[np.sort(order[:most])]


def cases(
    images: pd.DataFrame,
    predictions: Predictions,
    labels: Mapping[str, str],
    heat: Mapping[str, Heat],
    boxes: pd.DataFrame | None,
    masks: str | Path | None,
    *,
    most: int,
    seed: int,
    rgb: bool,
) -> dict[str, Any]:
    """What the page shows of the test images.

    `images`: the manifest's rows of the test split; `predictions` of all models to choose from,
    `labels` their names in words; `heat` by model, where there are maps; `boxes` (crops/boxes.csv)
    and the folder `masks` where lungs were segmented. At most `most` images are drawn, and no more
    than have room for their heat maps.
    Raises UserError for an image that has changed, and for maps that lack one of the images.
    """
    chosen = draw(images, min(most, _room(heat.values())), seed)
    if len(chosen) < min(most, len(images)):
        logger.warning(
            "the page shows %d test images, not %d: heat maps of more would make it too large",
            *(len(chosen), min(most, len(images))),
        )
    own = predictions.only("test")
    classes = list(own.classes)
    place = {name: row for row, name in enumerate(own.rows["image_id"])}
    rows = [place[name] for name in chosen["image_id"]]
    size, numbers = _size(len(chosen)), {n: row for row, n in enumerate(images["image_id"], 1)}
    crops = None if boxes is None else boxes.set_index("image_id")
    return {
        "all": len(images),
        "classes": classes,
        "models": [{"name": name, "label": labels[name]} for name in own.models],
        "images": [
            _case(row, classes, size, crops, masks, rgb) for row in chosen.to_dict("records")
        ],
        # Rows of the test split: a page is passed on more freely than names of files.
        "number": [numbers[name] for name in chosen["image_id"]],
        # Thousandths would be no more exact than the pictures are: 255 stands for 1.
        "p": {
            name: _packed(np.nan_to_num(own.p[model][rows] * 255))
            for model, name in enumerate(own.models)
        },
        "failed": [name for model, name in enumerate(own.models) if np.isnan(own.p[model]).any()],
        "heat": {name: _heat(found, chosen["image_id"], name) for name, found in heat.items()},
    }


def _size(images: int) -> int:
    fits = [side for side in SIZES if images * side**2 * BYTES_PER_PIXEL <= BUDGET]
    return fits[0] if fits else SIZES[-1]


def _room(heat: Iterable[Heat]) -> int:
    """Of how many images the heat maps of all models fit into their budget."""
    cells = sum(math.prod(one.maps.shape[1:]) for one in heat)
    return 2 * MAPS_BUDGET // cells if cells else sys.maxsize


def _case(
    row: Mapping[str, Any],
    classes: Sequence[str],
    size: int,
    crops: pd.DataFrame | None,
    masks: str | Path | None,
    rgb: bool,
) -> dict[str, Any]:
    pixels = read_unchanged(row["path"], row["sha256"], row["bits"], rgb)
    height, width = pixels.shape[:2]
    case = {
        "label": classes.index(row["label"]),
        "picture": _picture(pixels, size),
        "shape": [width, height],
    }
    if crops is not None and row["image_id"] in crops.index:
        box = crops.loc[row["image_id"]]
        if not pd.isna(box["xmin"]):
            case["box"] = [int(box[key]) for key in ("xmin", "ymin", "width", "height")]
    if masks is not None:
        path = Path(masks) / f"{row['image_id']}.png"
        if path.is_file():
            case["mask"] = _outlines(read_own_mask((height, width), path))
    if row.get("lesion_mask"):
        case["lesion"] = _outlines(read_mask_for((height, width), [row["lesion_mask"]]))
    return case


def _picture(pixels: np.ndarray, size: int) -> str:
    """The image as WebP of at most `size` pixels on its longer side, in base64."""
    height, width = pixels.shape[:2]
    factor = min(1.0, size / max(height, width))
    shape = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    good, packed = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not good:
        raise UserError("a picture of a test image could not be packed as WebP")
    return base64.b64encode(packed.tobytes()).decode("ascii")


def _outlines(mask: np.ndarray) -> list[list[int]]:
    """The borders of a mask (H, W): x, y, x, y ... each from 0 to `STEPS` across the image."""
    height, width = mask.shape
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([STEPS / width, STEPS / height])
    lines = []
    for line in found:
        corners = cv2.approxPolyDP(line, STRAIGHT * max(height, width), closed=True)[:, 0]
        if len(corners) > 2:
            # The middle of a pixel stands for it.
            lines.append(np.rint((corners + 0.5) * scale).astype(int).ravel().tolist())
    return lines


def _packed(values: np.ndarray) -> str:
    """Numbers from 0 to 255 as bytes, in base64."""
    return base64.b64encode(np.rint(values).astype(np.uint8).tobytes()).decode("ascii")


def _heat(found: Heat, image_ids: Iterable[str], name: str) -> dict[str, Any]:
    place = {image_id: row for row, image_id in enumerate(found.image_id)}
    try:
        maps = found.maps[[place[image_id] for image_id in image_ids]]
    except KeyError as error:
        raise UserError(
            f"gradcam/{name}.npz has no map of image {error}; delete it and run again"
        ) from None
    return {"grid": list(maps.shape[1:]), "maps": _halves(maps.astype(np.float32) * LEVELS)}


def _halves(values: np.ndarray) -> str:
    """Numbers from 0 to 15 as half bytes, the first of each two higher, in base64."""
    whole = np.rint(values).astype(np.uint8).ravel()
    whole = np.append(whole, np.zeros(whole.size % 2, np.uint8))
    return base64.b64encode((whole[::2] << 4 | whole[1::2]).tobytes()).decode("ascii")
