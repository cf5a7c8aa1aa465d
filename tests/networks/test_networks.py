"""The networks: whose weights they start from, where they are cut, what they may load."""

import json
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
import simulated
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format
from multiloss.data.tables import prediction_rows, prediction_table
from multiloss.job.errors import UserError
from multiloss.losses import classification_loss
from multiloss.networks import (
    augmentation,
    backbones,
    classifier,
    model_level,
    optimizers,
    prediction,
    training,
)
from multiloss.networks import segmenter as segmentation
from multiloss.networks.training import TrainingSet

SIZE = 32
FILTERS = (8, 8, 8, 8, 8)


@pytest.fixture(scope="module")
def segmenter():
    keras.utils.set_random_seed(1)
    return backbones.unet("efficientnetb0", SIZE, None, FILTERS)


@pytest.fixture(scope="module")
def network(segmenter):
    return classifier.build_classifier(segmenter, "efficientnetb0", 3, SIZE, seed=2)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (7, SIZE, SIZE), np.uint8)


def test_backbones_are_known_without_keras(root):
    code = (
        "import sys; from multiloss.networks import backbones, encoder_weights;"
        "known = backbones.get('efficientnetb0'); assert list(backbones.known()) == [known.name];"
        "assert known.title == 'EfficientNet-B0' and known.cut_layer == 'block5c_add';"
        "assert encoder_weights.address(known.name, 'imagenet') == known.imagenet;"
        "assert not {'keras', 'tensorflow', 'segmentation_models'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root / "workflow")


def test_unet_has_one_sigmoid_channel(segmenter):
    assert segmenter.output_shape == (None, SIZE, SIZE, 1)
    assert segmenter.layers[-1].activation is keras.activations.sigmoid


def test_classifier_starts_from_the_segmenters_encoder(segmenter, network):
    shared = 0
    for layer in network.layers:
        if layer.name.startswith(("stem", "block")):
            for mine, theirs in zip(
                layer.get_weights(), segmenter.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(mine, theirs)
                shared += mine.size
    assert shared > 800_000
    cut = segmenter.get_layer("block5c_add").output
    features = keras.Model(segmenter.input, cut)
    mine = keras.Model(network.input, network.get_layer("block5c_add").output)
    x = tf.random.stateless_uniform((2, SIZE, SIZE, 3), (1, 2))
    np.testing.assert_allclose(features(x, training=False), mine(x, training=False), atol=1e-6)


def test_head_is_the_published_one(network):
    names = [layer.name for layer in network.layers]
    tail = ["block5c_add", "dcl_padding", "dcl", "pooling", "logits", "probabilities"]
    assert names[-6:] == tail
    convolution = network.get_layer("dcl")
    assert (convolution.filters, convolution.kernel_size) == (512, (3, 3))
    assert convolution.activation is keras.activations.relu
    # Padded before, so that the map keeps the size of the encoder's.
    assert convolution.output.shape[1:3] == network.get_layer("block5c_add").output.shape[1:3]
    assert all(layer.trainable for layer in network.layers)
    assert not any(isinstance(layer, keras.Model) for layer in network.layers)


def test_encoder_moves_to_another_size_with_its_weights(segmenter):
    larger = classifier.build_classifier(segmenter, "efficientnetb0", 2, 64, seed=2)
    assert larger.input_shape == (None, 64, 64, 3) and larger.output_shape == (None, 2)
    np.testing.assert_array_equal(
        larger.get_layer("block5c_project_conv").get_weights()[0],
        segmenter.get_layer("block5c_project_conv").get_weights()[0],
    )


def test_balanced_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(classifier.class_weights(labels, 3), expected, rtol=1e-6)


def test_labels_of_other_rows_are_never_read(images):
    labels = np.array([0, 1, 2, -99, -99, 1, 0])
    weights = np.ones(3, np.float32)
    data = classifier.training_set(images, labels, np.array([0, 1, 2, 5, 6]), weights, {})
    assert isinstance(data, TrainingSet)
    x, y, w = data.gather(np.array([0, 5]))
    np.testing.assert_array_equal(y, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(x, images[[0, 5]])
    with pytest.raises(IndexError):
        data.gather(np.array([3]))


def test_validation_scores_by_hand():
    p = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2]], np.float32)
    labels = np.array([0, 1, 2])
    scores = classifier.validation_scores(
        p, labels, classification_loss("cce"), np.array([1, 1, 2], np.float32)
    )
    expected = (-np.log(0.8) - np.log(0.7) - 2 * np.log(0.2)) / 3
    assert scores["val_loss"] == pytest.approx(expected, rel=1e-5)
    assert scores["val_accuracy"] == pytest.approx(2 / 3)


def test_prediction_does_not_depend_on_the_batch(network, images):
    alone = prediction.predictor(network, images, 4)(np.array([6]))
    together = prediction.predictor(network, images, 4)(np.arange(7))
    np.testing.assert_array_equal(alone[0], together[6])
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    direct = network(prediction.network_input(tf.constant(images)), training=False)
    np.testing.assert_allclose(together, direct, atol=1e-5)


def test_network_input_is_grey_in_three_channels():
    image = np.array([[[0, 255], [51, 102]]], np.uint8)
    x = prediction.network_input(tf.constant(image)).numpy()
    assert x.shape == (1, 2, 2, 3) and x.dtype == np.float32
    np.testing.assert_allclose(x[0, :, :, 0], [[0, 1], [0.2, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(x[..., 0], x[..., 2])


def test_prediction_table_has_val_ensemble_and_test_only():
    manifest = pd.DataFrame(
        {
            "image_id": list("abcde"),
            "patient_id": list("vwxyz"),
            "split": ["train", "test", "val", "ensemble", "test"],
            "label": ["n"] * 5,
        }
    )
    rows = prediction_rows(manifest)
    assert list(rows) == [2, 3, 1, 4]
    p = np.array([[0.3, 0.7]] * 4, np.float32)
    table = prediction_table(manifest, rows, p, ["n", "b c"])
    assert list(table["image_id"]) == list("cdbe")
    assert list(table.columns) == ["image_id", "patient_id", "split", "label", "p_n", "p_b c"]
    np.testing.assert_allclose(table[["p_n", "p_b c"]].sum(axis=1), 1, atol=1e-15)


def test_model_level_ensemble_is_its_members_and_its_head(segmenter, network, images, tmp_path):
    copy = keras.models.clone_model(segmenter)  # layers of its own, as a loaded member has
    other = classifier.build_classifier(copy, "efficientnetb0", 3, SIZE, seed=9)
    members = [network, other]
    extractors = [model_level.feature_extractor(model) for model in members]
    rows = np.arange(len(images))
    features = [
        prediction.predictor(extractor, images, 4)(rows).astype(np.float16)
        for extractor in extractors
    ]
    head = model_level.build_head([f.shape[1:] for f in features], 16, 3, seed=4)
    stored = model_level.predictor(head, features, 4)(rows)
    whole = model_level.assemble(members, ["a-r0", "b-r0"], head)
    prediction.save_model(whole, tmp_path / "ensemble.keras")
    loaded = prediction.load_model(tmp_path / "ensemble.keras")
    assert loaded.get_layer(model_level.ENSEMBLE_CONVOLUTION).filters == 16
    # Half-precision features cost no more than the third digit.
    np.testing.assert_allclose(prediction.predictor(loaded, images, 4)(rows), stored, atol=2e-3)


def test_a_model_level_ensemble_of_a_failed_member_is_a_gap(root, network, tmp_path, monkeypatch):
    manifest = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "patient_id": list("abcdef"),
            "split": ["train", "train", "val", "ensemble", "test", "test"],
            "label": list("xyzxyz"),
            "path": [f"{name}.png" for name in "abcdef"],
            "width": 8,
            "height": 8,
            "sha256": "0" * 64,
        }
    )
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    ranking = pd.DataFrame({"model": ["a-r0", "b-r0"], "rank": [1, 2], "log_loss": [0.5, np.nan]})
    ranking.to_csv(tmp_path / "ranking.csv", index=False)
    shape = model_level.feature_extractor(network).output_shape[1:]
    for model in ranking["model"]:
        np.save(tmp_path / f"{model}.npy", np.zeros((len(manifest), *shape), np.float16))
        # Members are loaded one by one, so that each has layers of its own.
        prediction.save_model(network, tmp_path / f"{model}.keras")
    monkeypatch.setattr("multiloss.networks.training.configure_tensorflow", lambda *_, **__: None)
    parts = {
        "input": {
            "manifest": tmp_path / "manifest.csv", "ranking": tmp_path / "ranking.csv",
            "features": tmp_path, **{m: tmp_path / f"{m}.keras" for m in ranking["model"]},
        },
        "params": {
            "training": {"mixed_precision": False, "batch_size": 2}, "classes": list("xyz"),
            "class_weights": "none", "seed": 1, "filters": 4, "loss": {"name": "cce"},
            "tensorflow_threads": 1, "get": lambda _: None,
        },
        "output": {
            "model": tmp_path / "model_level-top2-r0.keras", "history": tmp_path / "history.csv",
            "predictions": tmp_path / "predictions.csv", "versions": tmp_path / "versions.json",
        },
        "wildcards": {"k": "2", "replicate": "0"}, "resources": {"gpu": 0},
    }  # fmt: skip
    simulated.run_script(root, monkeypatch, "model_level", **parts)
    assert training.diverged(pd.read_csv(tmp_path / "history.csv"))
    stored = pd.read_csv(tmp_path / "predictions.csv")
    assert list(stored["image_id"]) == list("cdef")
    assert stored[["p_x", "p_y", "p_z"]].isna().all().all()
    whole = prediction.load_model(tmp_path / "model_level-top2-r0.keras")
    assert whole.get_layer(model_level.ENSEMBLE_CONVOLUTION).filters == 4


def test_weights_that_cannot_be_had_are_an_error(tmp_path):
    missing = tmp_path / "missing.h5"
    with pytest.raises(UserError, match="no file .*missing.h5.*'none' or to the path"):
        backbones.unet("efficientnetb0", SIZE, missing, FILTERS)
    missing.write_text("<html>Not found</html>")
    with pytest.raises(UserError, match="missing.h5' is no weights file of efficientnetb0"):
        backbones.unet("efficientnetb0", SIZE, missing, FILTERS)
    with pytest.raises(UserError, match="^classification.encoder_weights: .* is no weights file"):
        backbones.encoder("efficientnetb0", SIZE, missing)


def test_encoder_normalises_by_imagenet_and_is_one_flat_network(tmp_path):
    encoder = backbones.encoder("efficientnetb0", 40)
    found = classifier.build_classifier(encoder, "efficientnetb0", 3, 40, seed=2)
    normalise = keras.Model(found.input, found.get_layer("imagenet_normalisation").output)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = np.zeros((1, 40, 40, 3), np.float32)
    pixels[0, 0, 0], pixels[0, 0, 1], pixels[0, 0, 2] = mean, mean + deviation, 0
    seen = normalise(pixels).numpy()[0, 0, :3]
    np.testing.assert_allclose(seen, [[0] * 3, [1] * 3, -mean / deviation], atol=1e-5)
    # The layer has no weights, and those of the backbone are on the outer level.
    assert not found.get_layer("imagenet_normalisation").weights
    norms = [layer for layer in found.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 30
    prediction.save_model(found, tmp_path / "a.keras")
    again = prediction.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(again(pixels), found(pixels), atol=1e-6)


@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
def test_weights_file_is_taken_in_both_formats(segmenter, tmp_path, ending):
    encoder = keras.Model(
        segmenter.input, segmenter.get_layer("top_activation").output, name="efficientnet-b0"
    )
    path = tmp_path / f"encoder{ending}"
    if ending == ".h5":  # that of Keras 2, in which the published weights are
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, encoder)
    else:
        encoder.save_weights(path)
    for again in (
        backbones.unet("efficientnetb0", SIZE, str(path), FILTERS),
        backbones.encoder("efficientnetb0", 48, str(path)),
    ):
        for layer in encoder.layers:
            for mine, theirs in zip(
                again.get_layer(layer.name).get_weights() if layer.weights else [],
                layer.get_weights(),
                strict=True,
            ):
                np.testing.assert_array_equal(mine, theirs)


@pytest.fixture
def half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def test_classifier_computes_in_the_precision_of_its_own_training(segmenter, half_precision):
    """Also where the segmenter was trained in another one, as loaded layers keep theirs."""
    half = classifier.build_classifier(segmenter, "efficientnetb0", 3, SIZE, seed=2)
    assert half.get_layer("block3a_expand_conv").compute_dtype == "float16"
    assert half.get_layer("block3a_expand_conv").variable_dtype == "float32"
    assert half.get_layer("dcl").compute_dtype == "float16"
    np.testing.assert_array_equal(
        half.get_layer("block3a_expand_conv").get_weights()[0],
        segmenter.get_layer("block3a_expand_conv").get_weights()[0],
    )
    assert half(np.zeros((1, SIZE, SIZE, 3), np.float32)).dtype == tf.float32
    keras.mixed_precision.set_global_policy("float32")
    whole = classifier.build_classifier(
        keras.Model(half.input, half.get_layer("block5c_add").output), "efficientnetb0", 3, SIZE, 2
    )
    assert {layer.compute_dtype for layer in whole.layers} == {"float32"}


def test_unet_in_half_precision_gives_single_precision_also_when_loaded(
    half_precision, images, tmp_path
):
    model = backbones.unet("efficientnetb0", SIZE, None, FILTERS)
    assert model.get_layer("final_conv").compute_dtype == "float16"
    prediction.save_model(model, tmp_path / "model.keras")
    keras.mixed_precision.set_global_policy("float32")
    again = prediction.load_model(tmp_path / "model.keras")
    assert again.get_layer("final_conv").compute_dtype == "float16"
    for network in (model, again):
        assert network(np.zeros((1, SIZE, SIZE, 3), np.float32)).dtype == tf.float32


def test_saved_model_loads_with_the_same_outputs(network, images, tmp_path):
    prediction.save_model(network, tmp_path / "model.keras")
    loaded = prediction.load_model(tmp_path / "model.keras")
    rows = np.arange(3)
    np.testing.assert_array_equal(
        prediction.predictor(network, images, 4)(rows),
        prediction.predictor(loaded, images, 4)(rows),
    )


def test_damaged_and_hostile_models_are_refused(tmp_path):
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="damaged.keras: not a model that can be loaded safely"):
        prediction.load_model(damaged)
    pickled = tmp_path / "model.h5"
    pickled.write_bytes(b"")
    with pytest.raises(UserError, match="from .keras files alone"):
        prediction.load_model(pickled)

    inputs = keras.Input((1,))
    hostile = tmp_path / "hostile.keras"
    marker = tmp_path / "executed"
    code = f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]"
    model = keras.Model(inputs, keras.layers.Lambda(eval(code))(inputs))
    model.save(hostile)
    marker.unlink(missing_ok=True)
    with pytest.raises(UserError, match="hostile.keras"):
        prediction.load_model(hostile)
    assert not marker.exists()
    with zipfile.ZipFile(hostile) as archive:
        assert "Lambda" in json.dumps(json.loads(archive.read("config.json")))


@pytest.mark.parametrize(
    ("module", "name"),
    [("posix", "system"), ("subprocess", "Popen"), ("keras.utils", "get_file"),
     ("keras.config", "enable_unsafe_deserialization")],
)  # fmt: skip
def test_model_that_names_a_function_to_call_is_refused(tmp_path, module, name):
    """Without a Lambda layer: the description of the model asks for a call of its own."""
    marker = tmp_path / "executed"
    inputs = keras.Input((1,))
    whole, hostile = tmp_path / "whole.keras", tmp_path / "hostile.keras"
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(whole)
    call = {"module": module, "class_name": name, "registered_name": name}
    call["config"] = {"command": f"touch {marker}", "args": ["touch", str(marker)]}
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(hostile, "w") as copy:
        description = json.loads(archive.read("config.json"))
        description["config"]["layers"][1]["config"]["activation"] = call
        copy.writestr("config.json", json.dumps(description))
        for part in ("metadata.json", "model.weights.h5"):
            copy.writestr(part, archive.read(part))
    with pytest.raises(UserError, match="not a model that can be loaded safely"):
        prediction.load_model(hostile)
    assert not marker.exists()
    assert prediction.load_model(whole).count_params() == 2


STILL = {
    "rotation_degrees": 0, "shift": 0, "shear": 0, "zoom": 0, "horizontal_flip": False,
    "contrast": 0, "brightness": 0, "gamma": 0,
}  # fmt: skip


def test_augmentation_without_options_changes_nothing():
    x = tf.random.stateless_uniform((4, 16, 16, 1), (1, 2))
    seed = tf.constant([3, 4])
    np.testing.assert_allclose(augmentation.augment_images(x, STILL, seed), x, atol=1e-6)


def test_flip_mirrors_whole_images_and_is_repeatable():
    x = tf.random.stateless_uniform((16, 8, 8, 1), (1, 2))
    options = STILL | {"horizontal_flip": True}
    seen = augmentation.augment_images(x, options, tf.constant([3, 4])).numpy()
    kept = np.isclose(seen, x, atol=1e-6).all(axis=(1, 2, 3))
    mirrored = np.isclose(seen, x[:, :, ::-1], atol=1e-6).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all() and kept.any() and mirrored.any()
    again = augmentation.augment_images(x, options, tf.constant([3, 4]))
    np.testing.assert_array_equal(seen, again)
    other = augmentation.augment_images(x, options, tf.constant([3, 5])).numpy()
    assert not np.array_equal(seen, other)


def test_image_and_mask_move_together():
    rng = np.random.default_rng(0)
    mask = (rng.random((6, 24, 24, 1)) < 0.3).astype(np.float32)
    options = STILL | {"rotation_degrees": 10, "shift": 0.1, "zoom": 0.1, "horizontal_flip": True}
    image, moved = augmentation.augment_pairs(
        tf.constant(mask), tf.constant(mask), options, tf.constant([1, 1])
    )
    np.testing.assert_array_equal(moved, np.round(image))
    assert set(np.unique(moved)) <= {0.0, 1.0}
    assert not np.array_equal(moved, mask)


def test_shift_moves_by_pixels():
    x = np.zeros((1, 20, 20, 1), np.float32)
    x[0, 10, 10] = 1
    options = STILL | {"shift": 0.25}
    moved = augmentation.augment_images(tf.constant(x), options, tf.constant([1, 2])).numpy()[0]
    weights = moved[..., 0] / moved.sum()
    centre = np.array(
        [(weights.sum(1) * np.arange(20)).sum(), (weights.sum(0) * np.arange(20)).sum()]
    )
    assert 0 < np.abs(centre - 10).max() <= 5 + 1e-3


def test_segmenters_share_one_graph_and_keep_their_own_weights(segmenter, images, tmp_path):
    other = keras.models.clone_model(segmenter)
    other.set_weights([0.5 * weight for weight in segmenter.get_weights()])
    models = {"bce": segmenter, "focal": other}
    paths = {name: tmp_path / f"{name}.keras" for name in models}
    for name, model in models.items():
        prediction.save_model(model, paths[name])
    batch = images[:3]
    found = segmentation.Segmenter(paths, batch_size=4).probabilities(batch)
    assert list(found) == ["bce", "focal"]
    for name, model in models.items():
        alone = prediction.forward(model, 4)(batch)[..., 0]
        np.testing.assert_array_equal(found[name], alone)
    assert not np.array_equal(found["bce"], found["focal"])


def test_weights_come_from_a_whole_model_of_the_same_network(segmenter, tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    prediction.save_model(segmenter, tmp_path / "other.keras")
    (tmp_path / "damaged.keras").write_bytes(b"PK\x03\x04 cut off")
    for name in ("other", "damaged", "missing"):
        with pytest.raises(UserError, match=f"{name}.keras: not a model that can be loaded safely"):
            backbones.load_weights(model, tmp_path / f"{name}.keras")


def test_only_train_and_val_images_have_labels():
    manifest = pd.DataFrame(
        {"split": ["train", "test", "val", "ensemble", "train"], "label": list("babba")}
    )
    labels, train, val = classifier.training_labels(manifest, ["a", "b"])
    assert labels.tolist() == [1, -1, 1, -1, 0]
    assert (train.tolist(), val.tolist()) == ([0, 4], [2])
    balanced = classifier.weights_of("balanced", np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(balanced, [4 / 6, 2], rtol=1e-6)
    assert classifier.weights_of("none", np.array([0, 0, 0, 1]), 2).tolist() == [1, 1]
    assert balanced.dtype == np.float32


def five_steps(optimizer: keras.optimizers.Optimizer) -> list[np.ndarray]:
    """Kernel and bias of a convolution after five steps along drawn gradients."""
    layer = keras.layers.Conv2D(16, 3)
    layer.build((None, 9, 9, 8))
    variables = layer.trainable_variables
    rng = np.random.default_rng(3)
    layer.set_weights([rng.normal(size=variable.shape) for variable in variables])
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(gradients: list[tf.Tensor]) -> None:
        optimizer.apply(gradients, variables)

    for number in range(5):
        optimizer.learning_rate = 0.015 / (1 + number)
        step([tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables])
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_in_one_operation_takes_the_steps_of_keras(nesterov, momentum):
    options = {"momentum": momentum, "nesterov": nesterov}
    ours = five_steps(optimizers.make({"name": "sgd", "learning_rate": 0.015, **options}))
    theirs = five_steps(keras.optimizers.SGD(0.015, **options))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    others = five_steps(keras.optimizers.SGD(0.015, momentum=0.8, nesterov=not nesterov))
    assert not np.allclose(ours[0], others[0], atol=1e-4)


def test_adam_in_one_operation_takes_the_steps_of_keras():
    ours = five_steps(optimizers.make({"name": "adam", "learning_rate": 0.015}))
    theirs = five_steps(keras.optimizers.Adam(0.015))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    others = five_steps(keras.optimizers.Adam(0.015, beta_2=0.99))
    assert not np.allclose(ours[0], others[0], atol=1e-4)


def test_a_classifier_from_the_cut_encoder_is_that_from_the_segmenter(segmenter, tmp_path):
    prediction.save_model(backbones.cut(segmenter, "efficientnetb0"), tmp_path / "cut.keras")
    prediction.save_model(segmenter, tmp_path / "whole.keras")
    models = []
    for name in ("cut", "whole"):
        keras.utils.set_random_seed(5)
        source = prediction.load_model(tmp_path / f"{name}.keras")
        models.append(classifier.build_classifier(source, "efficientnetb0", 3, SIZE, seed=5))
    cut, whole = models
    # Weights and the states of the dropout layers' random streams.
    assert [v.shape for v in cut.variables] == [v.shape for v in whole.variables]
    for one, other in zip(cut.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert len(cut.variables) > len(cut.weights)
