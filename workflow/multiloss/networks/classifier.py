"""The classifier: an encoder with a small head, all layers trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from multiloss.backend import keras, tf
from multiloss.losses import classification_loss
from multiloss.networks import backbones
from multiloss.networks.augmentation import augment_images
from multiloss.networks.prediction import network_channels, scaled
from multiloss.networks.training import TrainingSet
from multiloss.statistics.mcc import mcc, mcc_or_chance

# The deepest convolutional layer, where Grad-CAM looks and where model-level ensembles cut.
DEEPEST_CONVOLUTION = "dcl"


def build_classifier(
    source: keras.Model, backbone: str, classes: int, image_size: int, seed: int
) -> keras.Model:
    """Encoder of `source`, cut at its backbone's `cut_layer` -> zero padding -> 3x3 convolution
    (512, ReLU) -> global average pooling -> dense softmax over `classes`.

    `source`: a trained segmenter, its encoder, or one of `backbones.encoder`. The encoder's weights
    are those of `source`; the head starts from `seed`. One flat functional model on (image_size,
    image_size, 3) inputs, as Grad-CAM needs it. All of it computes under the precision in force,
    whichever `source` was trained in.
    """
    encoder = backbones.cut(source, backbone)
    precision = keras.mixed_precision.dtype_policy().name
    alike = all(layer.dtype_policy.name == precision for layer in encoder.layers[1:])
    if source.inputs[0].shape[1] != image_size or not alike:
        encoder = _rebuilt(encoder, image_size, precision)
    keras.utils.set_random_seed(seed)
    x = keras.layers.ZeroPadding2D(1, name="dcl_padding")(encoder.output)
    x = keras.layers.Conv2D(512, 3, activation="relu", name=DEEPEST_CONVOLUTION)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    outputs = keras.layers.Activation("softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(encoder.input, outputs, name="classifier")


def _rebuilt(encoder: keras.Model, image_size: int, precision: str) -> keras.Model:
    """The same convolutional encoder with the same weights, for another size or precision."""

    def layer(old: keras.layers.Layer) -> keras.layers.Layer:
        return type(old).from_config(old.get_config() | {"dtype": precision})

    rebuilt = keras.models.clone_model(
        encoder, input_tensors=keras.Input((image_size, image_size, 3)), clone_function=layer
    )
    rebuilt.set_weights(encoder.get_weights())
    return rebuilt


def training_labels(
    manifest: pd.DataFrame, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class indices (N,) of a manifest's images, and the rows of its train and val splits.

    Images of other splits have the index -1: nothing can learn from their labels.
    """
    known = manifest["split"].isin(["train", "val"])
    labels = manifest["label"].where(known).map(list(classes).index, na_action="ignore")
    train, val = (np.flatnonzero(manifest["split"] == split) for split in ("train", "val"))
    return labels.fillna(-1).astype(int).to_numpy(), train, val


def weights_of(setting: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 weights (K,) of the classes: `balanced`, or all 1 (`none`)."""
    return class_weights(labels, classes) if setting == "balanced" else np.ones(classes, np.float32)


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Balanced weights n / (K * n_k) as float32, as scikit-learn's `balanced` has them."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


def training_loss(entry: Mapping[str, Any], labels: np.ndarray, classes: int) -> keras.losses.Loss:
    """The loss of an entry of the config, told how many images of each class it will learn from.

    `labels` (n,): class indices of the rows to learn from, all of the train split.
    """
    loss = classification_loss(**entry)
    loss.see_class_counts(np.bincount(labels, minlength=classes))
    return loss


def training_set(
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    augmentation: Mapping[str, Any],
) -> TrainingSet:
    """Images, one-hot labels and per-image weights of the rows to learn from.

    `images` is the stored uint8 (N, S, S) or (N, S, S, 3) array; `labels` (N,) class indices, of
    which those of `rows` alone are read; `weights` (K,) per class.
    """
    one_hot = np.eye(len(weights), dtype=np.float32)

    def gather(batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.asarray(images[batch]), one_hot[labels[batch]], weights[labels[batch]]

    def prepare(raw: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        augmented = augment_images(scaled(raw[0]), augmentation, seed)
        return network_channels(augmented), raw[1]

    return TrainingSet(rows, gather, prepare)


def validation_scores(
    probabilities: np.ndarray, labels: np.ndarray, loss: keras.losses.Loss, weights: np.ndarray
) -> dict[str, float]:
    """val_loss, val_accuracy and val_mcc of (N, K) probabilities.

    The loss is taken once over all rows, with the class weights of training, so that a batch
    term (the calibration gap) is that of the whole split.
    """
    one_hot = np.eye(len(weights), dtype=np.float32)[labels]
    predicted = probabilities.argmax(axis=1)
    return {
        "val_loss": float(loss(one_hot, probabilities, sample_weight=weights[labels])),
        "val_accuracy": float(np.mean(predicted == labels)),
        "val_mcc": float(mcc_or_chance(mcc(labels, probabilities))),
    }


def validation(
    predict: Callable[[np.ndarray], np.ndarray],
    loss: keras.losses.Loss,
    labels: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
) -> Callable[[], dict[str, float]]:
    """A function that returns the validation values of a model as it is then.

    `predict`: from `prediction.predictor`, rows to probabilities; `rows`: of the val split.
    """
    return lambda: validation_scores(predict(rows), labels[rows], loss, weights)
