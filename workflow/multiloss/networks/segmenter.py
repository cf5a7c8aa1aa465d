"""Lung segmentation: one U-Net per loss, scored per image, the best combined by AND."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd

from multiloss.backend import keras, tf
from multiloss.data.images import read_grey, read_mask_for
from multiloss.job.progress import progress
from multiloss.networks.augmentation import augment_pairs
from multiloss.networks.prediction import forward, network_input
from multiloss.networks.training import TrainingSet

# A pixel is lung from this probability on.
LUNG_THRESHOLD = 0.5


def training_set(
    images: np.ndarray, masks: np.ndarray, rows: np.ndarray, augmentation: Mapping[str, Any]
) -> TrainingSet:
    """uint8 (N, S, S) images with uint8 0/1 (N, S, S) masks, augmented together."""

    def gather(batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.asarray(images[batch]), np.asarray(masks[batch])

    def prepare(raw: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        grey = tf.cast(raw[0], tf.float32)[..., None] / 255.0
        lung = tf.cast(raw[1], tf.float32)[..., None]
        grey, lung = augment_pairs(grey, lung, augmentation, seed)
        return tf.repeat(grey, 3, axis=-1), lung

    return TrainingSet(rows, gather, prepare)


def validation(
    model: keras.Model,
    loss: keras.losses.Loss,
    images: np.ndarray,
    masks: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
) -> Callable[[], dict[str, float]]:
    """A function that returns val_loss and val_dice (at network size) of the model as it is."""

    # One graph for whole batches and the short last one: to trace a U-Net takes a second.
    run = forward(model, batch_size)

    def validate() -> dict[str, float]:
        values, scores, counts = [], [], []
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            truth = np.asarray(masks[batch])
            probability = run(np.asarray(images[batch]))
            values.append(float(loss(truth[..., None].astype(np.float32), probability)))
            predicted = probability[..., 0] >= LUNG_THRESHOLD
            counts.append(len(batch))
            scores += [dice(p, t) for p, t in zip(predicted, truth > 0, strict=True)]
        return {
            "val_loss": float(np.average(values, weights=counts)),
            "val_dice": float(np.mean(scores)),
        }

    return validate


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|) of two boolean masks; 1 if both are empty."""
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two boolean masks; 1 if both are empty."""
    union = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / union if union else 1.0


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


class Segmenter:
    """Several U-Nets of one architecture run over images of any size.

    `models` maps names to loaded models. The graph is traced once, for all their weights.
    """

    def __init__(self, models: Mapping[str, keras.Model], image_size: int, batch_size: int):
        self.image_size = image_size
        self.batch_size = batch_size
        self._weights = {
            name: [
                [tf.constant(variable.value) for variable in part]
                for part in (model.trainable_variables, model.non_trainable_variables)
            ]
            for name, model in models.items()
        }
        network = next(iter(models.values()))

        @tf.function(autograph=False)
        def run(images: tf.Tensor, weights: list[list[tf.Tensor]]) -> tf.Tensor:
            return network.stateless_call(*weights, network_input(images), training=False)[0]

        self._run = run

    def probabilities(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Per model the (B, S, S) lung probabilities of uint8 (B, S, S) images."""
        missing = self.batch_size - len(images)
        padded = tf.constant(np.pad(images, [(0, missing), (0, 0), (0, 0)]))
        return {
            name: self._run(padded, weights).numpy()[: len(images), ..., 0]
            for name, weights in self._weights.items()
        }

    def masks(
        self, images: np.ndarray, rows: np.ndarray, sizes: list[tuple[int, int]]
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Row and, per model, the boolean mask at the image's own (height, width).

        `images` is the stored uint8 (N, S, S) array, `sizes` the original sizes of all its
        rows. One batch is in memory at a time.
        """
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            found = self.probabilities(np.asarray(images[batch]))
            for position, row in enumerate(batch):
                yield (
                    int(row),
                    {name: mask_at(p[position], *sizes[row]) for name, p in found.items()},
                )


def name_of_and(chosen: Sequence[str]) -> str:
    """What the AND of the chosen segmenters is called in tables."""
    return f"and_top{len(chosen)}"


def scores(
    segmenter: Segmenter,
    images: np.ndarray,
    lungs: pd.DataFrame,
    split: str,
    chosen: Sequence[str] = (),
) -> pd.DataFrame:
    """Dice and IoU of every segmenter, and of the AND of those `chosen`, on a split's images.

    `images`: uint8 (N, S, S), in the order of `lungs` (data/lungs.csv); the scores are taken at
    the image's own size. Columns: loss, dice, iou, split, image_id, patient_id, row (of `lungs`).
    """
    rows = np.flatnonzero(lungs["split"] == split)
    sizes, found = _sizes(lungs), []
    segmented = segmenter.masks(images, rows, sizes)
    for row, masks in progress(segmented, len(rows), f"scoring {split} images"):
        if chosen:
            masks[name_of_and(chosen)] = combine_by_and([masks[loss] for loss in chosen])
        image = lungs.iloc[row]
        table = pd.DataFrame(score(masks, _true_mask(image)))
        found.append(
            table.assign(
                split=split, image_id=image["image_id"], patient_id=image["patient_id"], row=row
            )
        )
    return pd.concat(found)


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
    segmenter: Segmenter,
    images: np.ndarray,
    lungs: pd.DataFrame,
    rows: Sequence[int],
    chosen: Sequence[str],
) -> dict[str, np.ndarray]:
    """What the overlay figure shows of some rows of `lungs`, numbered from 0 in their order.

    image_N: uint8 (H, W); truth_N and prediction_N (the AND of the chosen): bool (H, W).
    """
    arrays = {}
    for index, row in enumerate(rows):
        image = lungs.loc[row]
        _, masks = next(segmenter.masks(images, np.array([row]), _sizes(lungs)))
        arrays[f"image_{index}"] = read_grey(image["path"], int(image["bits"]))
        arrays[f"truth_{index}"] = _true_mask(image)
        arrays[f"prediction_{index}"] = combine_by_and([masks[loss] for loss in chosen])
    return arrays


def _sizes(lungs: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(lungs["height"], lungs["width"], strict=True))


def _true_mask(image: pd.Series) -> np.ndarray:
    return read_mask_for((image["height"], image["width"]), image["mask_paths"].split(";"))


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
