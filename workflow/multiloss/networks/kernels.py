"""Quicker arithmetic for the layers that take most of a training step.

Keras 3 normalises batches by a dozen operations, each of which goes through all of an activation;
TensorFlow has one for it. And it keeps three arrays for the gradient of a swish, where two do. The
results are the same but for rounding. What is saved of a model knows nothing of it.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

from multiloss.backend import keras, tf


@contextlib.contextmanager
def quick(model: keras.Model) -> Iterator[None]:
    """Let the layers of `model` learn by quicker arithmetic within the block.

    Outputs without `training` stay what they are to the last digit.
    """
    changed = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and _by_channel(layer):
            changed.append((layer, "call", layer.call))
            layer.call = partial(_normalised, layer, layer.call)
        elif isinstance(layer, keras.layers.Activation) and layer.activation.__name__ == "swish":
            changed.append((layer, "activation", layer.activation))
            layer.activation = swish
    try:
        yield
    finally:
        for layer, name, plain in changed:
            setattr(layer, name, plain)


def swish(x: tf.Tensor) -> tf.Tensor:
    """x * sigmoid(x), whose gradient s + y * (1 - s) needs the sigmoid s and the result y alone."""

    @tf.custom_gradient
    def of(x: tf.Tensor) -> tuple:
        s = tf.sigmoid(x)
        y = x * s

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # Not before it is asked for: all would be computed, and kept, in the forward pass.
            with tf.control_dependencies([upstream]):
                rest = 1 - s
            return upstream * (s + y * rest)

        return y, gradient

    return of(x)


def _by_channel(layer: keras.layers.BatchNormalization) -> bool:
    rank = len(layer.input.shape)
    plain = layer.center and layer.scale and not layer.synchronized
    return plain and rank == 4 and layer.axis in (-1, 3)


def _normalised(layer, plain, inputs, training=None, mask=None):
    """`BatchNormalization.call`, in training by TensorFlow's own operation."""
    if not training or not layer.trainable or mask is not None:
        return plain(inputs, training=training, mask=mask)
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma, layer.beta, epsilon=layer.epsilon, is_training=True
    )
    # It tells the variance of the population, where Keras follows that of the batch.
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
    variance *= (count - 1) / count
    for moving, own in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + own * (1 - layer.momentum))
    return outputs
