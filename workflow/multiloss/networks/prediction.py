"""Running trained networks over stored image arrays."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from multiloss.backend import keras, tf
from multiloss.job.files import atomic
from multiloss.networks.backbones import load_model as load_model


def scaled(images: tf.Tensor) -> tf.Tensor:
    """uint8 (B, S, S) or (B, S, S, 3) images as float32 in [0, 1] with their 1 or 3 channels."""
    images = tf.cast(images, tf.float32)
    return (images if images.shape.rank == 4 else images[..., None]) / 255.0


def network_channels(images: tf.Tensor) -> tf.Tensor:
    """(B, S, S, 1) repeated to the (B, S, S, 3) that networks take; three channels as they are."""
    return images if images.shape[-1] == 3 else tf.repeat(images, 3, axis=-1)


def network_input(images: tf.Tensor) -> tf.Tensor:
    """uint8 (B, S, S) or (B, S, S, 3) images to the float32 (B, S, S, 3) in [0, 1] of networks."""
    return network_channels(scaled(images))


def batches(images: np.ndarray, rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """uint8 batches of the chosen rows of a stored array of images, in order."""
    for start in range(0, len(rows), batch_size):
        yield np.asarray(images[rows[start : start + batch_size]])


def forward(model: keras.Model, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """A graph-mode function from uint8 images to model outputs.

    It takes (B, S, S) or (B, S, S, 3), B <= batch_size. A short last batch is padded to full size,
    so that the graph is traced once and each image's output does not depend on how many came with
    it.
    """

    @tf.function(autograph=False)
    def run(images: tf.Tensor) -> tf.Tensor:
        return model(network_input(images), training=False)

    def call(images: np.ndarray) -> np.ndarray:
        missing = batch_size - len(images)
        others = [(0, 0)] * (images.ndim - 1)
        padded = np.pad(images, [(0, missing), *others]) if missing else images
        return run(tf.constant(padded)).numpy()[: len(images)]

    return call


def predictor(
    model: keras.Model, images: np.ndarray, batch_size: int = 32
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from rows of a stored uint8 array of images to float32 model outputs."""
    run = forward(model, batch_size)

    def predict(rows: np.ndarray) -> np.ndarray:
        outputs = [run(batch) for batch in batches(images, rows, batch_size)]
        return np.concatenate(outputs).astype(np.float32)

    return predict


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write a `.keras` file, whole or not at all."""
    with atomic(path) as temporary:
        model.save(temporary)
