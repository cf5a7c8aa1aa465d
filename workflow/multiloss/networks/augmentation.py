"""Random changes of training images, inside the graph and from stateless seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from multiloss.backend import keras, tf


def _uniform(shape: tuple, seed: tf.Tensor, key: int) -> tf.Tensor:
    """Uniform values in [-1, 1] from the step's seed and a key for the purpose."""
    mixed = tf.stack([seed[0], seed[1] * 16 + key])
    return tf.random.stateless_uniform(shape, mixed, -1.0, 1.0)


def affine_matrices(
    count: tf.Tensor, size: int, options: Mapping[str, Any], seed: tf.Tensor
) -> tf.Tensor:
    """(count, 8) projective transforms, output to input, about the image centre.

    Rotation in degrees, shifts, shear and zoom as fractions, each uniform in +-its option, and
    a horizontal flip with probability one half if asked for.
    """
    values = _uniform((count, 6), seed, 0)
    angle = values[:, 0] * (options["rotation_degrees"] * np.pi / 180)
    shear = values[:, 1] * options["shear"]
    zoom_x = zoom_y = 1 + values[:, 2] * options["zoom"]
    if options["horizontal_flip"]:
        zoom_x = zoom_x * tf.where(values[:, 3] < 0, -1.0, 1.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    a0, a1 = zoom_x * cos, zoom_x * (shear * cos - sin)
    b0, b1 = zoom_y * sin, zoom_y * (shear * sin + cos)
    centre = (size - 1) / 2
    a2 = centre - a0 * centre - a1 * centre + values[:, 4] * options["shift"] * size
    b2 = centre - b0 * centre - b1 * centre + values[:, 5] * options["shift"] * size
    zero = tf.zeros_like(a0)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def warp(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Apply (B, 8) transforms to (B, H, W, C) images; outside is the nearest edge pixel."""
    return keras.ops.image.affine_transform(
        images, matrices, fill_mode="nearest", data_format="channels_last"
    )


def jitter(images: tf.Tensor, options: Mapping[str, Any], seed: tf.Tensor) -> tf.Tensor:
    """Contrast about 0.5, brightness and gamma of [0, 1] images, each uniform in +-its option.

    All channels of an image change alike: its hue may tell the class, and is not drawn at random.
    """
    values = _uniform((tf.shape(images)[0], 3, 1, 1, 1), seed, 1)
    images = (images - 0.5) * (1 + values[:, 0] * options["contrast"]) + 0.5
    images = tf.clip_by_value(images + values[:, 1] * options["brightness"], 0.0, 1.0)
    return images if not options["gamma"] else images ** tf.exp(values[:, 2] * options["gamma"])


def _moves(options: Mapping[str, Any]) -> bool:
    geometry = ("rotation_degrees", "shift", "shear", "zoom", "horizontal_flip")
    return any(options[key] for key in geometry)


def _jitters(options: Mapping[str, Any]) -> bool:
    return any(options[key] for key in ("contrast", "brightness", "gamma"))


def augment_images(images: tf.Tensor, options: Mapping[str, Any], seed: tf.Tensor) -> tf.Tensor:
    """Random geometry and exposure of (B, S, S, C) images in [0, 1], the same for all channels.

    What is switched off costs nothing: no operation stands in the graph for it.
    """
    if _moves(options):
        images = warp(images, affine_matrices(tf.shape(images)[0], images.shape[1], options, seed))
    return jitter(images, options, seed) if _jitters(options) else images


def augment_pairs(
    images: tf.Tensor, masks: tf.Tensor, options: Mapping[str, Any], seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The same geometry for images and their masks; grey values change in the images alone."""
    if _moves(options):
        matrices = affine_matrices(tf.shape(images)[0], images.shape[1], options, seed)
        images, masks = warp(images, matrices), tf.round(warp(masks, matrices))
    return (jitter(images, options, seed) if _jitters(options) else images), masks
