"""Quicker arithmetic of layers against Keras' own."""

import numpy as np
from multiloss.backend import keras, tf
from multiloss.networks import kernels


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


def test_outputs_gradients_and_moving_statistics_are_those_of_keras():
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
    before, layers = np.asarray(model(x)), [vars(layer).get("call") for layer in model.layers]
    activation = model.layers[3].activation
    with kernels.quick(model):
        assert model.layers[3].activation is kernels.swish
        assert (np.asarray(model(x, training=False)) == before).all()
    assert model.layers[3].activation is activation
    assert (np.asarray(model(x)) == before).all()
    assert len(layers) == len(model.layers)
    normalised = model.layers[2]
    assert normalised.call.__func__ is keras.layers.BatchNormalization.call


def test_gradient_of_swish_is_the_derivative():
    x = tf.constant([-3.0, -0.5, 0.0, 0.5, 4.0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = kernels.swish(x)
    step = 1e-6
    numeric = (kernels.swish(x + step) - kernels.swish(x - step)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(y, x), numeric, atol=1e-8)
