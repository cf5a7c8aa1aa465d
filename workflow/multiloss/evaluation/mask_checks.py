"""Are lung masks plausible, and do the crops keep lungs and lesions? This decides nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from multiloss.data.images import ImageError, in_threads, read_mask_for, read_own_mask
from multiloss.data.tables import splits_of
from multiloss.job.errors import UserError

# A part of a mask smaller than this share of it is a speck that no crop box depends on.
SPECK = 0.01
# Modified z scores beyond this are outliers (Iglewicz and Hoaglin 1993, How to detect and handle
# outliers, ASQC). The study's own masks are the measure, so that it holds for any body part.
OUTLIER = 3.5
# Below this share of its pixels a lesion counts as cut.
CUT = 0.9
# Row of the summary for all images together.
ALL = "all"
MEASURES = {"sides": "left_share", "shape": "height_width", "area": "area"}
FLAGS = ("empty", "border", "parts", *MEASURES)


@dataclass(frozen=True)
class Shape:
    """`parts`: connected parts that are no specks; `border`: whether the mask reaches the image's;
    `left_share`: share of the mask left of the middle of its box; `height_width` of that box;
    `area`: share of the image. NaN where an empty mask has none."""

    parts: int
    border: bool
    left_share: float
    height_width: float
    area: float


def shape(mask: np.ndarray) -> Shape:
    """What is measured of a mask, bool (H, W)."""
    if not mask.any():
        return Shape(0, False, nan, nan, 0.0)
    sizes = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2][1:, -1]
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    middle = (columns[0] + columns[-1]) / 2
    place = np.arange(mask.shape[1])
    left = (place < middle) + 0.5 * (place == middle)
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return Shape(
        parts=int((sizes >= SPECK * sizes.sum()).sum()),
        border=any(edge.any() for edge in edges),
        left_share=float(mask.sum(axis=0) @ left / mask.sum()),
        height_width=float((rows[-1] - rows[0] + 1) / (columns[-1] - columns[0] + 1)),
        area=float(mask.mean()),
    )


def kept(region: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Share of a region, bool (H, W), in a box (xmin, ymin, width, height); NaN for none."""
    x, y, width, height = box
    total = region.sum()
    return float(region[y : y + height, x : x + width].sum() / total) if total else nan


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two masks, bool (H, W); NaN where both are empty."""
    total = mask.sum() + reference.sum()
    return float(2 * (mask & reference).sum() / total) if total else nan


def outliers(values: np.ndarray) -> np.ndarray:
    """Modified z scores 0.6745 |x - median| / MAD of values (n,): (n,).

    0 where x is NaN, and everywhere where more than half of the values are the same.
    """
    if not np.isfinite(values).any():
        return np.zeros(len(values))
    away = np.abs(values - np.nanmedian(values))
    spread = np.nanmedian(away)
    return np.nan_to_num(0.6745 * away / spread) if spread > 0 else np.zeros(len(values))


def table(
    manifest: pd.DataFrame, boxes: pd.DataFrame, masks: Path, threads: int = 1
) -> pd.DataFrame:
    """One row an image of the manifest, in its order: shape of its mask, and what the crop keeps.

    Columns: `image_id`, `split`, those of `Shape`; `reference_dice` of the mask with a known lung
    mask and `reference_kept`, `lesion_kept`: shares of known lungs and lesion that lie in the crop
    box, NaN where none is known; `outlier`: the largest modified z score of `MEASURES`; `flags`:
    which of `FLAGS` hold, with blanks between. `parts` is a flag where their number is not the
    usual one of the study, `sides`, `shape` and `area` where the measure is an outlier.
    `suspicion`: 1 for the most suspicious mask, by flags, then `outlier`, then name.

    Raises UserError naming a mask that cannot be used or an image without a box.
    """
    places = boxes.set_index("image_id")[["xmin", "ymin", "width", "height"]]
    missing = set(manifest["image_id"]) - set(places.index)
    if missing:
        raise UserError(
            f"crops/boxes.csv has no box of '{min(missing)}'; make the crops again: "
            "snakemake --forcerun crop"
        )
    found = {image_id: tuple(map(int, box)) for image_id, *box in places.itertuples()}

    def work(record: Mapping[str, Any]) -> dict[str, Any]:
        return _image(record, found[record["image_id"]], masks)

    return judged(pd.DataFrame(list(in_threads(work, manifest.to_dict("records"), threads))))


def judged(measured: pd.DataFrame) -> pd.DataFrame:
    """What is measured of each image, with `outlier`, `flags` and `suspicion` of `table`."""
    filled = measured["parts"] > 0
    values = measured.where(filled)
    scores = {name: outliers(values[key].to_numpy(float)) for name, key in MEASURES.items()}
    usual = values["parts"].mode().min()
    flagged = {
        "empty": ~filled,
        "border": measured["border"],
        "parts": filled & (measured["parts"] != usual),
        **{name: score > OUTLIER for name, score in scores.items()},
    }
    flags = pd.DataFrame(flagged).loc[:, list(FLAGS)].to_numpy()
    named = [" ".join(np.array(FLAGS)[row]) for row in flags]
    found = measured.assign(outlier=np.max(list(scores.values()), axis=0), flags=named)
    order = found.assign(many=-flags.sum(axis=1), far=-found["outlier"])
    order = order.sort_values(["many", "far", "image_id"], kind="stable").index
    return found.assign(suspicion=pd.Series(range(1, len(found) + 1), order))


def summarise(checks: pd.DataFrame) -> pd.DataFrame:
    """One row a split, and one of `ALL`: images, flags, area of the masks and what crops keep.

    `n_lesions` have a known lesion, and of `lesions_cut` less than `CUT` of it lies in the crop;
    `n_reference` have a known lung mask. Medians, percentiles and smallest values are over images
    that have the measure; `area` over masks that are not empty.
    """
    parts = {name: checks[checks["split"] == name] for name in splits_of(checks)}
    return pd.DataFrame([_summary(name, part) for name, part in {**parts, ALL: checks}.items()])


def _summary(split: str, part: pd.DataFrame) -> dict[str, Any]:
    flags = part["flags"].fillna("").str.split()
    area = part.loc[part["area"] > 0, "area"]
    lesions = part["lesion_kept"].dropna()
    return {
        "split": split,
        "n": len(part),
        "flagged": int((flags.str.len() > 0).sum()),
        **{flag: int(flags.map(lambda own, flag=flag: flag in own).sum()) for flag in FLAGS},
        "area_median": area.median(),
        "area_p05": area.quantile(0.05),
        "area_p95": area.quantile(0.95),
        "n_reference": int(part["reference_kept"].notna().sum()),
        "dice_median": part["reference_dice"].median(),
        "dice_worst": part["reference_dice"].min(),
        "kept_median": part["reference_kept"].median(),
        "kept_worst": part["reference_kept"].min(),
        "n_lesions": len(lesions),
        "lesions_cut": int((lesions < CUT).sum()),
        "lesions_worst": lesions.min(),
    }


def _image(
    record: Mapping[str, Any], box: tuple[int, int, int, int], masks: Path
) -> dict[str, Any]:
    size = int(record["height"]), int(record["width"])
    path = masks / f"{record['image_id']}.png"
    try:
        mask = read_own_mask(size, path)
    except ImageError as error:
        raise UserError(
            f"{path}: {error}: make the masks again with `snakemake --forcerun mask`"
        ) from None
    known = {}
    for kind in ("lung_mask", "lesion_mask"):
        try:
            known[kind] = read_mask_for(size, [record[kind]]) if record[kind] else None
        except ImageError as error:
            raise UserError(f"{record[kind]}: {error}; mend the file") from None
    lungs, lesion = known["lung_mask"], known["lesion_mask"]
    return {
        "image_id": record["image_id"],
        "split": record["split"],
        **asdict(shape(mask)),
        "reference_dice": nan if lungs is None else dice(mask, lungs),
        "reference_kept": nan if lungs is None else kept(lungs, box),
        "lesion_kept": nan if lesion is None else kept(lesion, box),
    }
