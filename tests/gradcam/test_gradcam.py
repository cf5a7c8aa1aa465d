"""Grad-CAM against cases by hand, an independent computation, saturation, nesting and files."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from multiloss.gradcam import maps as gradcam
from multiloss.job.errors import UserError

SCRIPT = """
import json, runpy, sys
sys.path.insert(0, sys.argv[2])
from jobs import Named
job = json.loads(sys.argv[1])
fake = Named(**{k: Named(**v) for k, v in job.items() if isinstance(v, dict)}, log=[job["log"]],
             rule="gradcam", threads=1, resources=Named(gpu=0))
fake.wildcards = ["model"]
runpy.run_path(job["script"], init_globals={"snakemake": fake})
"""


def by_hand(
    kernel: list[list[float]], bias: tuple[float, ...] = (0.0, 0.0), activation="softmax"
) -> keras.Model:
    """A 2x2 image, two feature maps x and 1 - x, global average, dense layer as given."""
    image = keras.Input((2, 2, 1))
    features = keras.layers.Conv2D(2, 1, name="conv")
    dense = keras.layers.Dense(len(kernel[0]), activation=activation)
    outputs = dense(keras.layers.GlobalAveragePooling2D()(features(image)))
    model = keras.Model(image, outputs)
    features.set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 1.0])])
    dense.set_weights([np.array(kernel), np.array(bias)])
    return model


def network(seed: int, channels: int = 1, size: int = 8, classes: int = 3) -> keras.Model:
    """A small classifier with random weights and a hidden layer behind the pooling."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, channels))
    x = keras.layers.Conv2D(4, 3, activation="relu", padding="same", name="first")(image)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Conv2D(6, 3, activation="relu", padding="same", name="dcl")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(5, activation="tanh", name="hidden")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(image, keras.layers.Activation("softmax", name="probabilities")(x))


X = np.array([[1.0, 0.5], [0.25, 0.0]], np.float32)


def test_two_classes_by_hand():
    # dz_c/dA_k = W_kc / 4 at every place; the log-odds of class 0 weigh map k with
    # (W_k0 - W_k1) / 4: 3/4 for x and 1/4 for 1 - x. The sum is (3x + 1 - x) / 4.
    model = by_hand([[2.0, -1.0], [1.0, 0.0]])
    expected = (2 * X + 1) / 3
    np.testing.assert_allclose(gradcam.heatmap(model, X, "conv", 0), expected, atol=1e-6)
    # For class 1 all evidence is negative: nothing to show, and nothing is stretched.
    found = gradcam.heatmaps(model, X[None], "conv", 1)
    assert found.flat.tolist() == [True]
    assert not found.maps.any()


def test_cut_by_the_relu_by_hand():
    # Weights 1/4 and -1/4: the sum is (2x - 1) / 4, negative below x = 1/2.
    model = by_hand([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(gradcam.heatmap(model, X, "conv", 0), [[1, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(gradcam.heatmap(model, X, "conv", 1), [[0, 0], [0.5, 1]], atol=1e-6)


def test_output_without_softmax_is_differentiated_itself_by_hand():
    # Class 0: weights 2/4 and 1/4, (2x + 1 - x) / 4.
    model = by_hand([[2.0, -1.0], [1.0, 0.0]], activation="linear")
    np.testing.assert_allclose(gradcam.heatmap(model, X, "conv", 0), (X + 1) / 2, atol=1e-6)


def test_class_by_default_is_the_predicted_one():
    model = by_hand([[1.0, 0.0], [0.0, 1.0]])
    found = gradcam.heatmaps(model, np.stack([X, 1 - X, X / 4]), "conv")
    # Mean of x is 0.4375 and 0.5625, so the classes are 1, 0 and 1.
    assert found.class_index.tolist() == [1, 0, 1]
    assert found.class_index.dtype == np.int64
    single = gradcam.heatmap(model, X, "conv")
    np.testing.assert_array_equal(single, gradcam.heatmap(model, X, "conv", 1))


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_certain_network_still_has_its_map(scale):
    model = by_hand([[2.0 * scale, -scale], [scale, 0.0]])
    if scale > 1:
        assert model(X[None, ..., None]).numpy()[0, 0] == 1
    np.testing.assert_allclose(gradcam.heatmap(model, X, "conv", 0), (2 * X + 1) / 3, atol=1e-6)


def independent(model: keras.Model, image: np.ndarray, chosen: int) -> np.ndarray:
    """The published recipe in numpy: gradient of the class's probability by differences."""
    features = keras.Model(model.input, model.get_layer("dcl").output)(image[None]).numpy()
    features = features[0].astype(np.float64)
    hidden, logits = (
        [w.astype(np.float64) for w in model.get_layer(name).get_weights()]
        for name in ("hidden", "logits")
    )

    def probability(a: np.ndarray) -> float:
        z = np.tanh(a.mean(axis=(0, 1)) @ hidden[0] + hidden[1]) @ logits[0] + logits[1]
        return float(np.exp(z[chosen]) / np.exp(z).sum())

    slope = np.empty_like(features)
    for index in np.ndindex(features.shape):
        step = np.zeros_like(features)
        step[index] = 1e-4
        slope[index] = (probability(features + step) - probability(features - step)) / 2e-4
    heat = np.maximum((slope.mean(axis=(0, 1)) * features).sum(axis=-1), 0)
    return heat / heat.max() if heat.max() > 0 else heat


def test_agrees_with_an_independent_computation_for_every_class():
    rng = np.random.default_rng(1)
    seen = 0
    for seed in range(3):
        model = network(seed)
        images = rng.random((4, 8, 8, 1), dtype=np.float32)
        for chosen in range(3):
            found = gradcam.heatmaps(model, images, "dcl", chosen)
            assert found.maps.shape == (4, 4, 4)
            for image, heat, flat in zip(images, found.maps, found.flat, strict=True):
                expected = independent(model, image, chosen)
                np.testing.assert_allclose(heat, expected, atol=2e-4)
                assert flat == (not expected.any())
                seen += not flat
    assert seen > 10


def test_maps_lie_in_0_1_and_the_batch_size_is_of_no_consequence():
    model = network(4)
    images = np.random.default_rng(2).random((7, 8, 8), dtype=np.float32)
    whole = gradcam.heatmaps(model, images, "dcl")
    parts = gradcam.heatmaps(model, images, "dcl", batch_size=3)
    np.testing.assert_allclose(whole.maps, parts.maps, atol=1e-5)
    assert whole.maps.dtype == np.float32
    tops = whole.maps.max(axis=(1, 2))
    assert np.array_equal(tops == 0, whole.flat)
    assert np.array_equal(tops == 1, ~whole.flat)
    assert whole.maps.min() >= 0
    rows = gradcam.heatmaps(model, images, "dcl", whole.class_index[[5, 1]], rows=[5, 1])
    np.testing.assert_allclose(rows.maps, whole.maps[[5, 1]], atol=1e-5)
    assert rows.class_index.tolist() == whole.class_index[[5, 1]].tolist()


def test_image_is_fitted_to_the_network_and_the_map_to_the_image():
    model = network(4, channels=3)
    grey = np.random.default_rng(3).integers(0, 256, (8, 8), dtype=np.uint8)
    heat = gradcam.heatmap(model, grey, "dcl", 1)
    assert heat.shape == (8, 8) and heat.dtype == np.float32
    as_float = gradcam.heatmap(model, grey.astype(np.float32) / 255, "dcl", 1)
    colour = gradcam.heatmap(model, np.repeat(grey[..., None], 3, axis=-1), "dcl", 1)
    np.testing.assert_array_equal(heat, as_float)
    np.testing.assert_array_equal(heat, colour)
    wide = gradcam.heatmap(model, np.kron(grey, np.ones((5, 3), np.uint8)), "dcl", 1)
    assert wide.shape == (40, 24)
    assert 0 <= wide.min() <= wide.max() <= 1


def test_nested_members_with_the_layer_on_the_outer_level(tmp_path):
    members = [network(seed) for seed in (7, 8)]
    image = keras.Input((8, 8, 1))
    features = []
    for number, member in enumerate(members):
        cut = keras.Model(member.input, member.get_layer("dcl").output, name=f"member_{number}")
        cut.trainable = False
        features.append(cut(image))
    # The head is built on stored features and its layers are then called once more.
    inputs = [keras.Input((4, 4, 6)) for _ in members]
    layers = [
        keras.layers.Concatenate(),
        keras.layers.Conv2D(5, 1, activation="relu", name="ensemble_conv"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax"),
    ]
    x, y = inputs, features
    for layer in layers:
        x, y = layer(x), layer(y)
    head, model = keras.Model(inputs, x), keras.Model(image, y)
    images = np.random.default_rng(4).random((3, 8, 8, 1), dtype=np.float32)
    found = gradcam.heatmaps(model, images, "ensemble_conv")
    assert not found.flat.all()

    # By another way: the tape through the head alone.
    inner = [keras.Model(m.input, m.get_layer("dcl").output)(images) for m in members]
    with tf.GradientTape() as tape:
        maps = layers[1](layers[0](inner))
        tape.watch(maps)
        logits = tf.math.log(layers[3](layers[2](maps)))
        others = tf.where(tf.one_hot(found.class_index, 3) == 1, -np.inf, logits)
        score = tf.reduce_max(logits, axis=1) - tf.reduce_logsumexp(others, axis=1)
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()
    top = heat.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found.maps, np.divide(heat, top, out=heat, where=top > 0), atol=1e-4)
    assert np.array_equal(found.class_index, head([*inner]).numpy().argmax(axis=1))

    model.save(tmp_path / "ensemble.keras")
    again = keras.models.load_model(tmp_path / "ensemble.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(
        gradcam.heatmaps(again, images, "ensemble_conv").maps, found.maps, atol=1e-5
    )
    with pytest.raises(UserError, match="no layer 'dcl' .* layers are ensemble_conv$"):
        gradcam.heatmap(model, images[0], "dcl")


def test_half_precision_network_has_nearly_the_same_maps():
    model = network(4)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = network(4)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    assert half.get_layer("dcl").compute_dtype == "float16"
    images = np.random.default_rng(6).random((4, 8, 8, 1), dtype=np.float32)
    exact = gradcam.heatmaps(model, images, "dcl", 0)
    rough = gradcam.heatmaps(half, images, "dcl", 0)
    np.testing.assert_allclose(rough.maps, exact.maps, atol=0.02)


def test_sequential_model_and_softmax_layer():
    plain = network(5)
    model = keras.Sequential([keras.Input((8, 8, 1)), *plain.layers[1:-1], keras.layers.Softmax()])
    image = np.random.default_rng(8).random((8, 8), dtype=np.float32)
    for chosen in range(3):
        np.testing.assert_allclose(
            gradcam.heatmap(model, image, "dcl", chosen),
            gradcam.heatmap(plain, image, "dcl", chosen),
            atol=1e-5,
        )


def test_wrong_layers_shapes_and_classes():
    model = network(0)
    image = np.zeros((8, 8), np.float32)
    with pytest.raises(UserError, match="no layer 'dlc' .* layers are first, dcl$"):
        gradcam.heatmap(model, image, "dlc")
    with pytest.raises(UserError, match="'hidden' gives .* needs a layer with height"):
        gradcam.heatmap(model, image, "hidden")
    for wrong in (3, -1):
        with pytest.raises(ValueError, match="classes are 0 to 2"):
            gradcam.heatmap(model, image, "dcl", wrong)
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        gradcam.heatmap(model, np.zeros(8, np.float32), "dcl")
    with pytest.raises(ValueError, match="the network takes"):
        gradcam.heatmaps(model, np.zeros((2, 4, 4), np.float32), "dcl")
    with pytest.raises(ValueError, match="the network takes"):
        gradcam.heatmap(model, np.zeros((8, 8, 3), np.float32), "dcl")


def test_layer_without_influence_on_the_first_output():
    image = keras.Input((4, 4, 1))
    pooled = [
        keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 1, name=name)(image))
        for name in ("main", "aside")
    ]
    model = keras.Model(image, [keras.layers.Softmax()(pooled[0]), pooled[1]])
    with pytest.raises(UserError, match="'aside' has no influence"):
        gradcam.explainer(model, "aside")(np.ones((1, 4, 4, 1), np.float32), np.array([0]))


def test_the_graph_of_maps_gives_the_outputs_of_the_model():
    model = network(1, channels=3)
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8), np.uint8)
    expected = model.predict(gradcam.network_input(model, images), verbose=0)
    outputs = gradcam.outputs_of(gradcam.explainer(model, "dcl"), model, 5)
    np.testing.assert_allclose(outputs(images), expected, atol=1e-6)
    # A short batch is filled up and cut again.
    np.testing.assert_array_equal(outputs(images[:2]), outputs(images)[:2])


def test_nan_weights_give_flat_maps():
    model = network(0)
    model.get_layer("dcl").bias.assign(np.full(6, np.nan))
    found = gradcam.heatmaps(model, np.ones((1, 8, 8), np.float32), "dcl")
    assert found.flat.all() and not found.maps.any()


def test_deletion_and_insertion_of_what_matters():
    images = np.zeros((2, 16, 16), np.uint8)
    images[:, 2:6, 2:6] = 255
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 0, 0], maps[0, 1, 1], maps[0, 0, 1], maps[0, 1, 0] = 1, 0.9, 0.9, 0.9
    maps[1, 3, 3] = 1

    def brightness(batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.uint8 and len(batch) <= 4
        share = batch[:, 2:6, 2:6].mean(axis=(1, 2)) / 255
        return np.stack([1 - share, share], axis=1)

    found = gradcam.faithfulness(brightness, images, maps, np.array([1, 1]), 8, 3, batch_size=4)
    assert found.deletion.shape == (2, 9)
    blurred = found.deletion[:, -1]
    np.testing.assert_allclose(found.deletion[:, 0], 1)
    np.testing.assert_allclose(found.insertion[:, -1], 1)
    np.testing.assert_allclose(found.random[:, -1], 1)
    np.testing.assert_allclose(found.insertion[:, 0], blurred)
    assert (blurred < 0.9).all()
    right, wrong = 0, 1
    assert found.deletion[right].sum() < found.random[right].sum() < found.insertion[right].sum()
    assert found.deletion[wrong].sum() > found.deletion[right].sum()
    assert found.insertion[wrong].sum() < found.insertion[right].sum()
    again = gradcam.faithfulness(brightness, images, maps, np.array([1, 1]), 8, 3, batch_size=4)
    for curve, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(curve, other)


def test_randomised_weights_change_the_maps_and_come_back():
    model = network(4)
    before = [weight.copy() for weight in model.get_weights()]
    images = np.random.default_rng(2).random((6, 8, 8), dtype=np.float32)
    learnt = gradcam.heatmaps(model, images, "dcl")
    rows = np.array([1, 2, 4])
    classes = learnt.class_index[rows]
    found = gradcam.randomised_heatmaps(model, images, "dcl", classes, rows, seed=1)
    assert list(found) == ["head", "weights"]
    for stage in found.values():
        assert stage.maps.shape == (3, 4, 4)
        assert stage.class_index.tolist() == classes.tolist()
        assert not np.allclose(stage.maps, learnt.maps[rows])
    for weight, stored in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, stored)
    # The seed decides, and a fault on the way does not leave a broken model behind.
    again = gradcam.randomised_heatmaps(model, images, "dcl", classes, rows, seed=1)
    np.testing.assert_array_equal(found["weights"].maps, again["weights"].maps)
    with pytest.raises(ValueError), gradcam._shuffled(model.layers, np.random.default_rng(0)):
        raise ValueError
    for weight, stored in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, stored)
    none = gradcam.randomised_heatmaps(model, images, "dcl", classes[:0], rows[:0], seed=1)
    assert len(none["head"].maps) == 0


def test_script_writes_maps_of_the_test_images(tmp_path, root):
    model = network(4, channels=3)
    model.save(tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    splits = ["train", "test", "test", "val", "test", "test", "ensemble", "test", "train"]
    manifest = pd.DataFrame({"image_id": [f"i{k}" for k in range(9)], "split": splits})
    manifest = manifest.assign(path="x.png", label="x", patient_id="p", width=8, height=8)
    manifest["sha256"] = "0" * 64
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    pd.DataFrame({"epoch": [1], "loss": [0.5]}).to_csv(tmp_path / "history.csv", index=False)
    job = {
        "script": str(root / "workflow/scripts/gradcam.py"),
        "log": str(tmp_path / "log"),
        "input": {
            name: str(tmp_path / file)
            for name, file in {
                "model": "model.keras",
                "images": "images.npy",
                "manifest": "manifest.csv",
                "history": "history.csv",
            }.items()
        },
        "output": {"maps": str(tmp_path / "maps.npz")},
        "params": {
            "layer": "dcl",
            "seed": 5,
            "tensorflow_threads": 1,
            "gradcam": {
                "batch_size": 2,
                "faithfulness_images": 0,
                "faithfulness_steps": 4,
                "randomised_images": 3,
            },
        },
    }
    subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(job), str(root / "tests")],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root / "workflow")},
    )
    rows = np.array([1, 2, 4, 5, 7])
    expected = gradcam.heatmaps(model, images, "dcl", rows=rows)
    with np.load(tmp_path / "maps.npz") as found:
        assert found["image_id"].tolist() == [f"i{k}" for k in rows]
        assert found["maps"].dtype == np.float16
        np.testing.assert_allclose(found["maps"], expected.maps, atol=2e-3)
        assert np.array_equal(found["class_index"], expected.class_index)
        assert np.array_equal(found["flat"], expected.flat)
        assert len(found["randomised_rows"]) == len(found["randomised_weights"]) == 3
        assert len(found["faithfulness_rows"]) == 0
        assert found["deletion"].shape == (0, 5)
