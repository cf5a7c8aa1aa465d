"""Grad-CAM: where in the image the evidence for a class lies, and whether the map can be trusted.

Selvaraju RR et al. (2017), Grad-CAM: visual explanations from deep networks via gradient-based
localization, ICCV, arXiv:1610.02391.

Which score is differentiated: the study takes the softmax probability p_c of the class. Its
gradient carries the factor p_c (1 - p_c) and rounds to 0 once the network is certain, so that
the clearest images would have no map. Here the log-odds z_c - log sum_{j != c} exp z_j are
differentiated, z being the input of the softmax. The two gradients differ by that positive
factor alone, so after scaling to [0, 1] the maps are the same, and this one does not vanish. A
network that does not end in a softmax is differentiated at its output.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from multiloss.backend import keras, tf
from multiloss.data.images import resize
from multiloss.gradcam.heat import upsample
from multiloss.job.errors import UserError
from multiloss.job.progress import progress

# A map that is positive only at this share of its summands' size is rounding noise.
ROUNDING = 1e-6
# Gradients in half precision are lifted out of its denormal range; the scale cancels later.
HALF_PRECISION_SCALE = 1024.0
# What replaces deleted pixels: the image blurred by this share of its side. Black or grey
# patches would be signs of disease or of air of their own.
BLUR = 0.1

CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv2DTranspose,
)


# From images (B, H, W, C) and classes (B,) to maps, classes, flat and output: see `explainer`.
Explainer = Callable[[np.ndarray, np.ndarray], tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]]


class Heatmaps(NamedTuple):
    """Grad-CAM maps of N images at the resolution of the layer.

    maps: float32 (N, h, w) in [0, 1]; the largest value of each is 1, or it is all 0.
    class_index: int64 (N,), the class explained.
    flat: bool (N,), true where no place speaks for the class: the map is 0 everywhere, and
    was not stretched.
    """

    maps: np.ndarray
    class_index: np.ndarray
    flat: np.ndarray


def no_evidence(found: Heatmaps) -> Heatmaps:
    """The maps of a model whose training failed: all flat, since it decides nothing."""
    return Heatmaps(np.zeros_like(found.maps), found.class_index, np.ones_like(found.flat))


class Faithfulness(NamedTuple):
    """Probability of the explained class while pixels go or come, each float32 (n, steps + 1).

    Column s belongs to the share s / steps of the pixels. `deletion` blurs the hottest pixels
    first, `insertion` uncovers the hottest first in the blurred image, `random` uncovers in
    the order of a random map of the same resolution.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    random: np.ndarray


def heatmap(
    model: keras.Model, image: np.ndarray, layer: str, class_index: int | None = None
) -> np.ndarray:
    """Grad-CAM map of one image, float32 (H, W) in [0, 1], resized linearly to the image.

    `image` is (H, W) or (H, W, C), in [0, 1] as float or in 0..255 as integers; grey is
    repeated to the channels of the network, and another size is resized to the network's.
    `layer` names a convolutional layer on the outer level of `model`; `class_index` None is
    the predicted class. A map without positive evidence is all 0.

    Raises UserError for a layer that is not there, ValueError for a wrong shape or class.
    """
    image = np.asarray(image)
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim not in (2, 3):
        raise ValueError(f"an image of shape {image.shape}: (H, W) or (H, W, C) is needed")
    height, width = image.shape[:2]
    wanted = model.input_shape[1:3]
    if None not in wanted and (height, width) != tuple(wanted):
        scaled = image if image.dtype == np.uint8 else image.astype(np.float32)
        image = resize(scaled, tuple(wanted))
    found = heatmaps(model, image[None], layer, class_index)
    return upsample(found.maps[0], (height, width))


def heatmaps(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    class_index: int | np.ndarray | None = None,
    rows: np.ndarray | None = None,
    batch_size: int = 32,
    explain: Explainer | None = None,
) -> Heatmaps:
    """Grad-CAM maps of many images at the layer's own resolution, computed in graph mode.

    `images` is (N, S, S) or (N, S, S, C), float in [0, 1] or integers in 0..255, and may be a
    memory map, of which `rows` are taken. `class_index` is one class, one for each image, or
    None for the predicted ones. `explain` is this layer's `explainer`, if it was made before.

    Raises UserError for a layer that is not there, ValueError for a wrong shape or class.
    """
    if explain is None:
        explain = explainer(model, layer)
        batch_size = min(batch_size, len(images if rows is None else rows))
    return _in_batches(explain, model, images, class_index, rows, batch_size)


def _in_batches(
    explain: Explainer,
    model: keras.Model,
    images: np.ndarray,
    class_index: int | np.ndarray | None,
    rows: np.ndarray | None,
    size: int,
) -> Heatmaps:
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    if not len(rows):
        return Heatmaps(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    classes = np.full(len(rows), -1, np.int64)
    if class_index is not None:
        classes[:] = class_index
        if classes.min() < 0 or classes.max() >= model.output_shape[-1]:
            raise ValueError(
                f"class_index {class_index}: classes are 0 to {model.output_shape[-1] - 1}"
            )
    parts = []
    starts = range(0, len(rows), size)
    for start in progress(starts, len(starts), "Grad-CAM, batches"):
        batch = network_input(model, np.asarray(images[rows[start : start + size]]))
        chosen = classes[start : start + size]
        # A short last batch is filled up: one graph, and an image's map is its own.
        missing = size - len(batch)
        outputs = explain(
            np.pad(batch, [(0, missing)] + [(0, 0)] * 3), np.pad(chosen, (0, missing))
        )
        parts.append([output.numpy()[: len(batch)] for output in outputs[:3]])
    return Heatmaps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def network_input(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) images as the float32 (N, H, W, C) in [0, 1] of the network.

    Integers are divided by 255; one channel is repeated to as many as the network has.
    """
    integers = np.issubdtype(images.dtype, np.integer)
    images = images.astype(np.float32) / np.float32(255) if integers else images.astype(np.float32)
    if images.ndim == 3:
        images = images[..., None]
    channels = model.input_shape[-1]
    if images.ndim == 4 and images.shape[-1] == 1:
        images = np.repeat(images, channels, axis=-1)
    wanted = tuple(model.input_shape[1:])
    fits = images.ndim == 4 and all(
        b in (None, a) for a, b in zip(images.shape[1:], wanted, strict=True)
    )
    if not fits:
        raise ValueError(f"images of shape {images.shape}, but the network takes {wanted}")
    return images


def explainer(model: keras.Model, layer: str) -> Explainer:
    """A graph-mode function (images float32 (B, H, W, C), classes int64 (B,)) -> maps, classes,
    flat, and the model's output; a class of -1 stands for the predicted one.

    Weights are read at each call, so that they may be changed in between.
    """
    graph = keras.Model(model.inputs, model.outputs)
    activations, before_softmax, dense = _tensors(graph, layer)
    probe = keras.Model(graph.inputs, [activations, before_softmax, graph.outputs[0]])

    @tf.function(autograph=False)
    def explain(images: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        features, hidden, output = probe(images, training=False)
        classes = tf.where(classes < 0, tf.argmax(output, axis=-1), classes)
        chosen = tf.one_hot(classes, output.shape[-1], on_value=True, off_value=False, dtype=bool)
        if before_softmax is graph.outputs[0]:
            score = tf.where(chosen, output, 0)
        else:
            logits = tf.cast(hidden, tf.float32)
            if dense is not None:
                logits = logits @ tf.cast(dense.kernel, tf.float32)
                logits = logits if dense.bias is None else logits + tf.cast(dense.bias, tf.float32)
            others = tf.reduce_logsumexp(tf.where(chosen, -np.inf, logits), axis=-1)
            score = tf.reduce_sum(tf.where(chosen, logits, 0), axis=-1) - others
        scale = HALF_PRECISION_SCALE if features.dtype == tf.float16 else 1.0
        # Symbolic gradients reach from the score back to the layer and no further.
        (gradient,) = tf.gradients(scale * tf.cast(score, tf.float32), features)
        if gradient is None:
            raise UserError(f"layer '{layer}' has no influence on the output of the model")
        features, gradient = tf.cast(features, tf.float32), tf.cast(gradient, tf.float32)
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        parts = weights * features
        evidence = tf.nn.relu(tf.reduce_sum(parts, axis=-1))
        top = tf.reduce_max(evidence, axis=(1, 2), keepdims=True)
        noise = ROUNDING * tf.reduce_max(
            tf.reduce_sum(tf.abs(parts), axis=-1), axis=(1, 2), keepdims=True
        )
        seen = tf.math.is_finite(top) & (top > noise)
        maps = tf.where(seen, evidence / tf.where(seen, top, 1.0), 0.0)
        return maps, classes, ~seen[:, 0, 0], output

    return explain


def outputs_of(
    explain: Explainer, model: keras.Model, batch_size: int
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from at most `batch_size` images, as `heatmaps` takes them, to model outputs.

    It uses the graph of the maps: the gradient behind the layer costs far less than to trace the
    network once more.
    """

    def call(images: np.ndarray) -> np.ndarray:
        batch = network_input(model, images)
        padded = np.pad(batch, [(0, batch_size - len(batch))] + [(0, 0)] * 3)
        return explain(padded, np.zeros(batch_size, np.int64))[3].numpy()[: len(batch)]

    return call


def _tensors(
    model: keras.Model, layer: str
) -> tuple[keras.KerasTensor, keras.KerasTensor, keras.layers.Dense | None]:
    """Output of the layer; input of the softmax, or of the dense layer that holds it, and that
    layer; the model's output in its place where there is no softmax."""
    # A layer may have been called in other models too, and `layer.output` be a tensor of
    # theirs: so the nodes of this graph are asked, from its inputs to its outputs.
    by_depth = sorted(model._nodes_by_depth.items(), reverse=True)
    nodes = {node.operation.name: node for _, level in by_depth for node in level}
    if layer not in nodes:
        names = [item.name for item in model.layers if isinstance(item, CONVOLUTIONS)]
        listed = ", ".join(names[-10:]) or "none"
        more = f" and {len(names) - 10} before them" if len(names) > 10 else ""
        raise UserError(
            f"the model has no layer '{layer}' on its outer level; its convolutional layers are "
            f"{listed}{more}"
        )
    activations = nodes[layer].output_tensors[0]
    if len(activations.shape) != 4:
        raise UserError(
            f"layer '{layer}' gives {tuple(activations.shape)}; Grad-CAM needs a layer with "
            "height, width and channels"
        )
    output = model.outputs[0]
    last = nodes[output._keras_history.operation.name]
    operation, before = last.operation, last.input_tensors[0]
    inside = getattr(operation, "activation", None) is keras.activations.softmax
    if isinstance(operation, keras.layers.Dense) and inside:
        return activations, before, operation
    if isinstance(operation, keras.layers.Softmax) or (
        isinstance(operation, keras.layers.Activation) and inside
    ):
        return activations, before, None
    return activations, output, None


def faithfulness(
    probabilities: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    maps: np.ndarray,
    class_index: np.ndarray,
    steps: int,
    seed: int,
    batch_size: int = 32,
) -> Faithfulness:
    """Deletion and insertion curves of maps: does what is hot carry the decision?

    `probabilities` takes at most `batch_size` uint8 images to (B, K); `images` uint8 (n, S, S) or
    (n, S, S, 3), whose pixels go or come with all their channels; `maps` (n, h, w) in [0, 1],
    `class_index` (n,). Pixels of equal heat go in random order.
    Petsiuk V, Das A, Saenko K (2018), RISE, BMVC, arXiv:1806.07421 (there the deleted pixels
    are black; here they are blurred in both curves).
    """
    rng = np.random.default_rng(seed)
    curves = [np.empty((len(images), steps + 1), np.float32) for _ in Faithfulness._fields]
    items = zip(images, maps, class_index, strict=True)
    for row, (image, heat, chosen) in enumerate(progress(items, len(images), "Faithfulness")):
        noise = rng.random(heat.shape, dtype=np.float32)
        shape = image.shape[:2]
        ranks = (_ranks(upsample(m, shape), rng) for m in (heat, noise))
        # One rank for all channels of a pixel.
        by_heat, by_chance = (rank[..., None] if image.ndim == 3 else rank for rank in ranks)
        blurred = cv2.GaussianBlur(image, (0, 0), BLUR * image.shape[0])
        counts = np.round(np.linspace(0, 1, steps + 1) * shape[0] * shape[1]).astype(int)
        counts = counts.reshape(-1, *[1] * image.ndim)
        variants = np.concatenate(
            [
                np.where(by_heat < counts, blurred, image),
                np.where(by_heat < counts, image, blurred),
                np.where(by_chance < counts, image, blurred),
            ]
        )
        found = np.concatenate(
            [
                probabilities(variants[start : start + batch_size])[:, chosen]
                for start in range(0, len(variants), batch_size)
            ]
        )
        for curve, values in zip(curves, found.reshape(3, -1), strict=True):
            curve[row] = values
    return Faithfulness(*curves)


def _ranks(heat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place of each pixel in falling order of heat, ties at random: 0 is the hottest."""
    order = np.lexsort((rng.random(heat.size), -heat.ravel()))
    ranks = np.empty(heat.size, np.int64)
    ranks[order] = np.arange(heat.size)
    return ranks.reshape(heat.shape)


def randomised_heatmaps(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    class_index: np.ndarray,
    rows: np.ndarray,
    seed: int,
    batch_size: int = 32,
    explain: Explainer | None = None,
) -> dict[str, Heatmaps]:
    """Maps of the same classes after the weights are randomised from the top down.

    Stage `head`: the layers behind `layer`; stage `weights`: every layer. In each weight
    tensor the values are shuffled, which keeps their distribution and destroys what was
    learnt. A map that stays the same shows the image, not the model.
    Adebayo J et al. (2018), Sanity checks for saliency maps, NeurIPS, arXiv:1810.03292.
    """
    explain = explain or explainer(model, layer)
    names = [item.name for item in model.layers]
    behind = model.layers[names.index(layer) + 1 :]
    found = {}
    for stage, layers in {"head": behind, "weights": model.layers}.items():
        with _shuffled(layers, np.random.default_rng(seed)):
            found[stage] = _in_batches(explain, model, images, class_index, rows, batch_size)
    return found


@contextlib.contextmanager
def _shuffled(layers: list[keras.layers.Layer], rng: np.random.Generator) -> Iterator[None]:
    variables = [variable for layer in layers for variable in layer.weights]
    learnt = [variable.numpy() for variable in variables]
    try:
        for variable, values in zip(variables, learnt, strict=True):
            variable.assign(rng.permutation(values.ravel()).reshape(values.shape))
        yield
    finally:
        for variable, values in zip(variables, learnt, strict=True):
            variable.assign(values)
