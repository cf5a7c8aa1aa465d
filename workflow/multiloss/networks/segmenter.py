"""The U-Nets that find lungs: what they learn from, how they are watched, and their masks."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multiloss.backend import keras, tf
from multiloss.networks.augmentation import augment_pairs
from multiloss.networks.backbones import load_model, load_weights
from multiloss.networks.prediction import network_input
from multiloss.networks.training import TrainingSet
from multiloss.segmentation.masks import LUNG_THRESHOLD, dice, mask_at

# From a network and a batch of uint8 (B, S, S) images to their float32 (B, S, S, 1) probabilities.
Run = Callable[[np.ndarray], np.ndarray]


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
    run: Run,
    loss: keras.losses.Loss,
    images: np.ndarray,
    masks: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
) -> Callable[[], dict[str, float]]:
    """A function that returns val_loss and val_dice (at network size) of the network as it is."""

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


def predicted_masks(
    run: Run, images: np.ndarray, lungs: pd.DataFrame, rows: np.ndarray, batch_size: int
) -> Iterator[tuple[str, np.ndarray]]:
    """The image_id of some rows of `lungs` (data/lungs.csv), and the boolean mask that the network
    finds, at the image's own size.

    `images` is the stored uint8 (N, S, S) array of all rows. One batch is in memory at a time.
    """
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        found = run(np.asarray(images[batch]))[..., 0]
        for probability, image in zip(found, lungs.iloc[batch].itertuples(), strict=True):
            yield image.image_id, mask_at(probability, image.height, image.width)


class Segmenter:
    """Several saved U-Nets of one architecture, by name, run over batches of `batch_size` images.

    The architecture is built once, and its graph traced once, for all their weights.
    """

    def __init__(self, paths: Mapping[str, str | Path], batch_size: int):
        self.batch_size = batch_size
        self._weights: dict[str, list[list[tf.Tensor]]] = {}
        network = None
        for name, path in paths.items():
            if network is None:
                network = load_model(path)
            else:
                load_weights(network, path)
            self._weights[name] = [
                [tf.constant(variable.numpy()) for variable in part]
                for part in (network.trainable_variables, network.non_trainable_variables)
            ]

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
