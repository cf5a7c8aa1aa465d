"""Quicker arithmetic for the layers that take most of a training step.

Keras 3 normalises batches by a dozen operations, each of which goes through all of an activation;
TensorFlow has one for it. And for a normalisation with a swish behind it, four arrays are kept for
the gradient, where two do: of large arrays the others are made again. On a CPU, the gradient of a
depthwise 5 x 5 kernel takes two to four times as long in oneDNN, which treats it as a dense
convolution, as in TensorFlow itself. The results are the same but for rounding. What is saved of a
model knows nothing of it.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from multiloss.backend import keras, tf

Normalization = keras.layers.BatchNormalization
Depthwise = keras.layers.DepthwiseConv2D
# Up to so many elements of an array, 8 MB, what the gradient needs is kept: to make it again takes
# a tenth of a step. Networks on 224 x 224 pixels have most of their memory in larger ones.
KEPT_UP_TO = 2**21
# oneDNN has a quick gradient of depthwise kernels up to this side.
WIDE_FROM = 4


@contextlib.contextmanager
def quick(model: keras.Model) -> Iterator[None]:
    """Let the layers of `model` learn by quicker arithmetic within the block.

    Outputs without `training` stay what they are to the last digit.
    """
    changed = []
    on_cpu = not tf.config.get_visible_devices("GPU")
    for layer in model.layers:
        if isinstance(layer, Normalization) and _by_channel(layer):
            behind = _swish_behind(layer)
            if behind is not None:
                changed.append((behind, "activation", behind.activation))
                behind.activation = tf.identity
            changed.append((layer, "call", layer.call))
            layer.call = partial(_normalised, layer, layer.call, behind is not None)
        if isinstance(layer, Depthwise) and _is_wide(layer) and on_cpu:
            changed.append((layer, "call", layer.call))
            layer.call = partial(_convolved, layer)
    try:
        yield
    finally:
        for layer, name, plain in changed:
            setattr(layer, name, plain)


def _by_channel(layer: Normalization) -> bool:
    rank = len(layer.input.shape)
    plain = layer.center and layer.scale and layer.trainable and not layer.synchronized
    return plain and rank == 4 and layer.axis in (-1, 3)


def _swish_behind(layer: Normalization) -> keras.layers.Activation | None:
    """The swish that alone takes what a layer puts out."""
    takers = [node.operation for node in layer._outbound_nodes]
    if len(takers) != 1 or not isinstance(takers[0], keras.layers.Activation):
        return None
    return takers[0] if takers[0].activation.__name__ == "swish" else None


def _normalised(
    layer: Normalization, plain: Any, swish: bool, inputs: tf.Tensor, training=None, mask=None
) -> tf.Tensor:
    """`BatchNormalization.call`, in training by TensorFlow's own operation, then the swish."""
    if not training or mask is not None:
        x = plain(inputs, training=training, mask=mask)
        return x * tf.sigmoid(x) if swish else x
    gamma, beta = tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
    outputs, mean, variance = _learning(inputs, gamma, beta, layer.epsilon, swish)
    for moving, own in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + own * (1 - layer.momentum))
    return outputs


def _learning(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, swish: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalised (B, H, W, C) `inputs`, with the swish if asked for, and mean and variance (C,).

    For the gradient of large inputs these alone are kept.
    """
    size = inputs.shape.num_elements()
    small = size is not None and size <= KEPT_UP_TO

    @tf.custom_gradient
    def of(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple:
        x, mean, variance, *kept = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon,
            is_training=True,
        )  # fmt: skip
        s = tf.sigmoid(x) if swish else None
        # It tells the variance of the population, where Keras follows that of the batch.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
        variance *= (count - 1) / count

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
            if swish and small:
                upstream *= s + tf.raw_ops.SigmoidGrad(y=s, dy=x)
            elif swish:
                # Not before it is asked for: it would be made, and kept, in the forward pass.
                with tf.control_dependencies([upstream]):
                    again = tf.raw_ops.FusedBatchNormV3(
                        x=inputs, scale=gamma, offset=beta, mean=mean, variance=variance,
                        epsilon=epsilon, is_training=False,
                    ).y  # fmt: skip
                rising = tf.sigmoid(again)
                upstream *= rising + tf.raw_ops.SigmoidGrad(y=rising, dy=again)
            found = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream, x=inputs, scale=gamma, reserve_space_1=kept[0],
                reserve_space_2=kept[1], reserve_space_3=kept[2], epsilon=epsilon,
                is_training=True,
            )  # fmt: skip
            return found.x_backprop, found.scale_backprop, found.offset_backprop

        return (x * s if swish else x, mean, variance), gradient

    return of(inputs, gamma, beta)


def _is_wide(layer: Depthwise) -> bool:
    plain = layer.data_format == "channels_last" and set(layer.dilation_rate) == {1}
    bare = not layer.use_bias and layer.activation is keras.activations.linear
    sized = None not in layer.input.shape[1:] and len(set(layer.strides)) == 1
    return plain and bare and sized and max(layer.kernel_size) >= WIDE_FROM


def _convolved(layer: Depthwise, inputs: tf.Tensor) -> tf.Tensor:
    """`DepthwiseConv2D.call` of (B, H, W, C) `inputs`, with the gradient of its kernel by
    TensorFlow's own operation."""
    strides, padding = [1, *layer.strides, 1], layer.padding.upper()

    @tf.custom_gradient
    def of(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple:
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, padding)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            around = [
                _around(padding, *sizes)
                for sizes in zip(
                    inputs.shape[1:3], outputs.shape[1:3], kernel.shape[:2], layer.strides,
                    strict=True,
                )
            ]  # fmt: skip
            of_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=inputs, filter_sizes=kernel.shape, out_backprop=upstream, strides=strides,
                # Where the padding is told in numbers, oneDNN does not take it over.
                padding="EXPLICIT", explicit_paddings=[0, 0, *around[0], *around[1], 0, 0],
            )  # fmt: skip
            of_inputs = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(inputs), kernel, upstream, strides, padding
            )
            return of_inputs, of_kernel

        return outputs, gradient

    return of(inputs, tf.convert_to_tensor(layer.kernel))


def _around(padding: str, length: int, outputs: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind one side of an image that give as many `outputs` as `padding`."""
    needed = max((outputs - 1) * stride + kernel - length, 0) if padding == "SAME" else 0
    return needed // 2, needed - needed // 2
