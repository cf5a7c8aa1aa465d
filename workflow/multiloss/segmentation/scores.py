"""Segmenters scored per image at the image's own size, and the choice of the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from multiloss.data.images import in_threads, read_grey, read_mask_for
from multiloss.job.progress import progress
from multiloss.segmentation.masks import StoredMasks, combine_by_and, dice, iou


def name_of_and(chosen: Sequence[str]) -> str:
    """What the AND of the chosen segmenters is called in tables."""
    return f"and_top{len(chosen)}"


def scores(
    segmenters: Mapping[str, StoredMasks],
    lungs: pd.DataFrame,
    split: str,
    chosen: Sequence[str] = (),
    threads: int = 1,
) -> pd.DataFrame:
    """Dice and IoU of every segmenter, and of the AND of those `chosen`, on a split's images.

    `segmenters`: by loss, the masks of the images of that split of `lungs` (data/lungs.csv).
    Columns: loss, dice, iou, split, image_id, patient_id, row (of `lungs`).
    """

    def of_image(row: int) -> pd.DataFrame:
        image = lungs.iloc[row]
        masks = {
            loss: stored(image["image_id"], image["width"]) for loss, stored in segmenters.items()
        }
        if chosen:
            masks[name_of_and(chosen)] = combine_by_and([masks[loss] for loss in chosen])
        return pd.DataFrame(score(masks, _true_mask(image))).assign(
            split=split, image_id=image["image_id"], patient_id=image["patient_id"], row=row
        )

    rows = np.flatnonzero(lungs["split"] == split)
    scored = in_threads(of_image, rows, threads)
    return pd.concat(progress(scored, len(rows), f"scoring {split} images"))


def score(masks: Mapping[str, np.ndarray], truth: np.ndarray) -> list[dict[str, Any]]:
    """Rows (loss, dice, iou) of several masks of one image against its true mask."""
    return [
        {"loss": loss, "dice": dice(mask, truth), "iou": iou(mask, truth)}
        for loss, mask in masks.items()
    ]


def choose(scores: pd.DataFrame, losses: list[str], count: int) -> pd.DataFrame:
    """The `count` losses of largest mean Dice on validation images, best first, ties as listed.

    Columns: loss, split, metric, score.
    """
    mean = scores[scores["split"] == "val"].groupby("loss")["dice"].mean()
    chosen = sorted(losses, key=lambda loss: (-mean[loss], losses.index(loss)))[:count]
    return pd.DataFrame(
        {"loss": chosen, "split": "val", "metric": "dice", "score": [mean[x] for x in chosen]}
    )


def cases(scores: pd.DataFrame, loss: str, count: int) -> pd.DataFrame:
    """The `count` best, median and worst test images of one segmenter by Dice, ties by image_id.

    From the best and the median downwards, from the worst upwards, as many as there are. Columns:
    case, image_id, dice, index (their place), row (as in `scores`).
    """
    test = scores[(scores["split"] == "test") & (scores["loss"] == loss)]
    ranked = test.sort_values(["dice", "image_id"], ascending=[False, True])
    last = len(ranked) - 1
    places = [("best", n) for n in range(count)]
    places += [("median", last // 2 + n) for n in range(count)]
    places += [("worst", last - n) for n in range(count)]
    places = [(case, place) for case, place in places if 0 <= place <= last]
    found = ranked.iloc[[place for _, place in places]].reset_index(drop=True)
    found.insert(0, "case", [case for case, _ in places])
    return found.assign(index=found.index)[["case", "image_id", "dice", "index", "row"]]


def overlays(
    chosen: Sequence[StoredMasks], lungs: pd.DataFrame, rows: Sequence[int]
) -> dict[str, np.ndarray]:
    """What the overlay figure shows of some rows of `lungs`, numbered from 0 in their order.

    image_N: uint8 (H, W); truth_N and prediction_N (the AND of the chosen): bool (H, W).
    """
    arrays = {}
    for index, row in enumerate(rows):
        image = lungs.loc[row]
        masks = [stored(image["image_id"], image["width"]) for stored in chosen]
        arrays[f"image_{index}"] = read_grey(image["path"], int(image["bits"]))
        arrays[f"truth_{index}"] = _true_mask(image)
        arrays[f"prediction_{index}"] = combine_by_and(masks)
    return arrays


def _true_mask(image: pd.Series) -> np.ndarray:
    return read_mask_for((image["height"], image["width"]), image["mask_paths"].split(";"))
