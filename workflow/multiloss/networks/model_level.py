"""Model-level ensembles: members cut at their deepest convolution, a new head on all of them."""

from collections.abc import Callable, Sequence

import numpy as np

from multiloss.backend import keras, tf
from multiloss.networks.classifier import DEEPEST_CONVOLUTION, validation_scores
from multiloss.networks.training import TrainingSet

# The 1x1 convolution of the head, where Grad-CAM looks in a model-level ensemble.
ENSEMBLE_CONVOLUTION = "ensemble_conv"


def feature_extractor(model: keras.Model) -> keras.Model:
    """A classifier cut at its deepest convolutional layer: (B, S, S, 3) to (B, h, w, 512)."""
    return keras.Model(model.input, model.get_layer(DEEPEST_CONVOLUTION).output)


def build_head(
    shapes: Sequence[tuple[int, int, int]], filters: int, classes: int, seed: int
) -> keras.Model:
    """Concatenation -> 1x1 convolution (ReLU) -> global average pooling -> dense softmax.

    `shapes` are the (h, w, channels) of the members' features, the model's inputs in order.
    """
    keras.utils.set_random_seed(seed)
    inputs = [keras.Input(shape, name=f"features_{i}") for i, shape in enumerate(shapes)]
    x = keras.layers.Concatenate(name="concatenation")(inputs)
    x = keras.layers.Conv2D(filters, 1, activation="relu", name=ENSEMBLE_CONVOLUTION)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    outputs = keras.layers.Activation("softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="head")


def assemble(models: Sequence[keras.Model], names: Sequence[str], head: keras.Model) -> keras.Model:
    """The whole ensemble from images to probabilities: members inside, the head's layers outside.

    The head's layers are part of the outer graph, so that Grad-CAM finds the 1x1 convolution
    there.
    """
    image = keras.Input(models[0].input_shape[1:], name="image")
    x = []
    for model, name in zip(models, names, strict=True):
        member = feature_extractor(model)
        member.name = f"member_{name}"
        x.append(member(image))
    for layer in head.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            x = layer(x)
    return keras.Model(image, x, name="model_level")


def _gather(features: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """float16 (len(rows), h, w, all channels) from the members' stored features."""
    return np.concatenate([np.asarray(array[rows]) for array in features], axis=-1)


def _split(stacked: tf.Tensor, features: Sequence[np.ndarray]) -> list[tf.Tensor]:
    return tf.split(tf.cast(stacked, tf.float32), [a.shape[-1] for a in features], axis=-1)


def training_set(
    features: Sequence[np.ndarray], labels: np.ndarray, rows: np.ndarray, weights: np.ndarray
) -> TrainingSet:
    """Stored features (each float16 (N, h, w, c)), one-hot labels and per-image weights."""
    one_hot = np.eye(len(weights), dtype=np.float32)

    def gather(batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return _gather(features, batch), one_hot[labels[batch]], weights[labels[batch]]

    def prepare(raw: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        return _split(raw[0], features), raw[1]

    return TrainingSet(rows, gather, prepare)


def predictor(
    head: keras.Model, features: Sequence[np.ndarray], batch_size: int
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from rows of the stored features to class probabilities (len(rows), K)."""

    @tf.function(autograph=False)
    def run(stacked: tf.Tensor) -> tf.Tensor:
        return head(_split(stacked, features), training=False)

    def predict(rows: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(rows), batch_size):
            batch = _gather(features, rows[start : start + batch_size])
            missing = batch_size - len(batch)
            padded = np.pad(batch, [(0, missing), (0, 0), (0, 0), (0, 0)])
            parts.append(run(tf.constant(padded)).numpy()[: len(batch)])
        return np.concatenate(parts)

    return predict


def validation(
    head: keras.Model,
    loss: keras.losses.Loss,
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    batch_size: int,
) -> Callable[[], dict[str, float]]:
    """A function that returns the validation values of the head as it is then."""
    predict = predictor(head, features, batch_size)
    return lambda: validation_scores(predict(rows), labels[rows], loss, weights)
