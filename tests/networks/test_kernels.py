"""Quicker arithmetic of layers against Keras' own."""

import contextlib

import numpy as np
import pytest
from multiloss.backend import keras, tf
from multiloss.networks import backbones, classifier, kernels


def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.8)(x)

    def swish(x):
        return x * keras.ops.sigmoid(x)

    x = keras.layers.Activation(swish)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.BatchNormalization()(x)  # of rank 2: as Keras has it
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def learned(model: keras.Model, x: tf.Tensor) -> tuple[np.ndarray, list[np.ndarray]]:
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        value = tf.reduce_sum(outputs**3)
    gradients = tape.gradient(value, model.trainable_variables)
    return outputs.numpy(), [np.asarray(own) for own in gradients]


@pytest.mark.parametrize("kept_up_to", [0, 10**6])
def test_outputs_gradients_and_moving_statistics_are_those_of_keras(monkeypatch, kept_up_to):
    monkeypatch.setattr(kernels, "KEPT_UP_TO", kept_up_to)
    x = tf.constant(np.random.default_rng(0).normal(1, 2, (5, 6, 6, 3)).astype(np.float32))
    plain, quick = network(), network()
    expected = learned(plain, x)
    with kernels.quick(quick):
        found = learned(quick, x)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)
    for own, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)
    moved = [np.asarray(v) for v in quick.non_trainable_variables]
    assert any((own != 0).any() for own in moved)
    for own, other in zip(moved, plain.non_trainable_variables, strict=True):
        np.testing.assert_allclose(own, np.asarray(other), rtol=1e-5, atol=1e-6)


def test_predictions_stay_to_the_last_digit_and_layers_as_they_were():
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 3)).astype(np.float32)
    model = network()
    before = np.asarray(model(x))
    activation = model.layers[3].activation
    with kernels.quick(model):
        assert model.layers[3].activation is tf.identity
        assert (np.asarray(model(x, training=False)) == before).all()
    assert model.layers[3].activation is activation
    assert (np.asarray(model(x)) == before).all()
    normalised = model.layers[2]
    assert normalised.call.__func__ is keras.layers.BatchNormalization.call


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "size"), [((5, 5), (9, 12)), ((7, 4), (10, 7)), ((5, 3), 5)])
def test_gradients_of_wide_depthwise_kernels_are_those_of_keras(padding, stride, kernel, size):
    height, width = (size, size) if isinstance(size, int) else size
    keras.utils.set_random_seed(5)
    inputs = keras.Input((height, width, 3))
    layer = keras.layers.DepthwiseConv2D(
        kernel, stride, padding, depth_multiplier=2, use_bias=False
    )
    model = keras.Model(inputs, layer(inputs))
    x = tf.constant(np.random.default_rng(2).normal(size=(2, height, width, 3)), tf.float32)

    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(model(x, training=True) ** 2)
        return tape.gradient(value, [x, *model.trainable_variables])

    expected = gradients()
    with kernels.quick(model):
        assert layer.call.func is kernels._convolved
        found = gradients()
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-4)


def test_depthwise_layers_that_oneDNN_learns_quickly_or_that_do_more_are_left_alone():
    inputs = keras.Input((8, 8, 3))
    layers = [
        keras.layers.DepthwiseConv2D(3, use_bias=False),
        keras.layers.DepthwiseConv2D(5, use_bias=True),
        keras.layers.DepthwiseConv2D(5, use_bias=False, activation="relu"),
        keras.layers.DepthwiseConv2D(5, use_bias=False, dilation_rate=2, padding="same"),
    ]
    model = keras.Model(inputs, [layer(inputs) for layer in layers])
    with kernels.quick(model):
        assert all(layer.call.__func__ is type(layer).call for layer in layers)


def step_memory(plain: bool) -> int:
    """Bytes that a training step of EfficientNet-B0 holds at most."""
    source = backbones.encoder("efficientnetb0", 64, None)
    model = classifier.build_classifier(source, "efficientnetb0", 2, 64, 1)

    @tf.function(autograph=False)
    def step(x: tf.Tensor) -> list[tf.Tensor]:
        quick = contextlib.nullcontext() if plain else kernels.quick(model)
        with tf.GradientTape() as tape, quick:
            value = tf.reduce_sum(model(x, training=True)[:, 0])
        return [tf.reduce_sum(own) for own in tape.gradient(value, model.trainable_variables)]

    x = tf.zeros((32, 64, 64, 3))
    step(x)
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    tf.config.experimental.reset_memory_stats("CPU:0")
    step(x)
    return tf.config.experimental.get_memory_info("CPU:0")["peak"] - before


def test_a_step_holds_less_memory(monkeypatch):
    """For the gradient, two arrays of each block of convolution, normalisation and swish."""
    monkeypatch.setattr(kernels, "KEPT_UP_TO", 0)
    try:
        tf.config.experimental.get_memory_info("CPU:0")
    except ValueError:
        pytest.skip("this TensorFlow does not count the memory of a CPU")
    assert step_memory(plain=False) < 0.7 * step_memory(plain=True)
