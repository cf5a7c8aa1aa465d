"""Studies in colour: what is decoded, drawn at random, shown to networks and explained."""

import hashlib
import io
import runpy
from pathlib import Path

import cv2
import keras
import moles
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from jobs import Named
from multiloss.data import manifest
from multiloss.data.crops import Box, crop
from multiloss.data.images import (
    ImageError,
    decode,
    decode_pixels,
    is_grey,
    luminance,
    read_grey,
    resize,
    write_png,
)
from multiloss.data.layouts import Found, ImageRecord
from multiloss.data.tables import SPLITS
from multiloss.figures.heat_maps import overlay
from multiloss.gradcam import maps as gradcam
from multiloss.losses import classification_loss
from multiloss.networks import augmentation, classifier, prediction, training
from PIL import Image


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth RGB picture of 30 by 40 pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (7, 7), 0)


def content(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_channels_are_red_green_and_blue():
    three = np.zeros((20, 3, 3), np.uint8)
    three[:, 0] = 255, 0, 0
    three[:, 1] = 0, 200, 10
    three[:, 2] = 1, 2, 3
    found = decode_pixels(content(Image.fromarray(three)), rgb=True)
    assert found[0].tolist() == [[255, 0, 0], [0, 200, 10], [1, 2, 3]]
    # 0.299 * 255 = 76.2; 0.587 * 200 + 0.114 * 10 = 118.5; 0.3 + 1.2 + 0.3 = 1.8.
    assert luminance(found)[0].tolist() == [76, 119, 2]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG2000", "WEBP", "GIF", "JPEG"])
def test_every_kind_has_the_colours_that_another_library_reads(picture, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = content(Image.fromarray(picture), kind, **options)
    theirs = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
    assert np.array_equal(decode_pixels(stored, rgb=True), theirs)
    assert np.array_equal(decode_pixels(stored, 8), decode_pixels(stored, 8, rgb=False))


def test_palette_alpha_cmyk_and_bilevel(picture):
    image = Image.fromarray(picture)
    palette = image.quantize(64)
    theirs = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode_pixels(content(palette), rgb=True), theirs)
    assert np.array_equal(decode_pixels(content(palette, transparency=3), rgb=True), theirs)
    clear = np.dstack([picture, np.arange(picture.shape[0] * 30).reshape(40, 30) % 256])
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        stored = content(Image.fromarray(clear.astype(np.uint8), "RGBA"), kind, **options)
        assert np.array_equal(decode_pixels(stored, rgb=True), picture)
    stored = content(image.convert("CMYK"), "JPEG", quality=95)
    theirs = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB")).astype(int)
    assert np.abs(decode_pixels(stored, rgb=True) - theirs).max() <= 1
    black = decode_pixels(content(Image.fromarray(picture[..., 0] > 128)), rgb=True)
    assert black.shape == picture.shape and set(np.unique(black)) == {0, 255}


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_16_bit_colour_is_divided_as_grey_is(ending):
    deep = np.zeros((20, 20, 3), np.uint16)
    deep[...] = 65535, 257 * 90, 129  # of which 0.502 of a level is left
    stored = cv2.imencode(ending, deep[..., ::-1])[1].tobytes()
    assert decode_pixels(stored, 16, rgb=True)[0, 0].tolist() == [255, 90, 1]
    deep[...] = 4095, 2048, 0
    stored = cv2.imencode(ending, deep[..., ::-1])[1].tobytes()
    assert decode_pixels(stored, 12, rgb=True)[0, 0].tolist() == [255, 128, 0]
    assert decode(stored, rgb=True).values.dtype == np.uint16


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("RGBA", "TIFF", "TIFF file of RGB with transparency"),
        ("LAB", "TIFF", "L.a.b. colours"),
        ("P", "GIF", "GIF file with a transparent colour"),
    ],
)
def test_colours_that_would_be_read_wrong_are_refused_by_name(picture, mode, kind, message):
    image = Image.fromarray(picture)
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    stored = content(image, kind, **({"transparency": 0} if mode == "P" else {}))
    with pytest.raises(ImageError, match=message):
        decode_pixels(stored, rgb=True)
    assert decode_pixels(stored).shape == (40, 30)  # grey is read as ever


def test_grey_file_becomes_three_equal_channels(picture):
    found = decode_pixels(content(Image.fromarray(picture[..., 1])), rgb=True)
    assert np.array_equal(found, np.repeat(picture[..., 1:2], 3, axis=2))
    assert is_grey(found) and not is_grey(picture)
    deep = cv2.imencode(".png", picture[..., 1].astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(decode_pixels(deep, 16, rgb=True), found)


def records(**pictures: np.ndarray) -> dict[str, Found]:
    found = []
    for name, pixels in pictures.items():
        write_png(pixels, f"{name}.png")
        found.append(ImageRecord(name, Path(f"{name}.png").absolute(), "x", name))
    return {"own": Found(found)}


def test_what_colour_alone_shows_is_there_for_a_study_in_colour(picture, caplog):
    # Blue makes up for red: 0.299 R + 0.114 B stays 60, nearly.
    red = np.tile(np.arange(40, 200, 4, dtype=np.uint8), (40, 1))
    hue = np.dstack([red, np.full_like(red, 90), ((60 - 0.299 * red) / 0.114).clip(0, 255)])
    labels = np.zeros((40, 40, 3), np.uint8)
    labels[5:20, 5:20], labels[25:35, 5:35] = (255, 0, 0), (0, 255, 90)
    flat = np.full((40, 40, 3), (90, 120, 100), np.uint8) + picture[:40, :1] // 64
    found = records(
        colour=picture,
        grey=np.repeat(picture[..., :1], 3, axis=2),
        hue=hue.astype(np.uint8),
        labels=labels,
        flat=flat,
    )
    grey, _ = manifest.build(found, ["x"])
    table, rejected = manifest.build(found, ["x"], rgb=True)
    assert table["image_id"].tolist() == ["colour", "grey", "hue"]
    assert rejected["image_id"].tolist() == ["flat", "labels"]
    assert "a mask, not a picture (2 values in a channel" in rejected["reason"][1]
    assert "1 of 3 images have no colour" in caplog.text
    # The same list with the same fingerprints, by luminance, where a grey study uses the image.
    both = ["colour", "grey"]
    pd.testing.assert_frame_equal(
        table.set_index("image_id").loc[both].drop(columns="phash"),
        grey.set_index("image_id").loc[both].drop(columns="phash"),
    )
    near = [
        int(table["phash"][k], 16) ^ int(grey.set_index("image_id").phash[both[k]], 16)
        for k in (0, 1)
    ]
    assert all(bits.bit_count() <= 2 for bits in near)


@pytest.mark.parametrize("rgb", [False, True])
def test_whole_images_are_packed_in_the_order_of_the_manifest(root, picture, rgb):
    rows = []
    for place, split in enumerate(SPLITS):
        write_png(np.roll(picture, place, axis=0), f"{place}.png")
        digest = hashlib.sha256(Path(f"{place}.png").read_bytes()).hexdigest()
        row = {"image_id": place, "path": f"{place}.png", "label": "x", "patient_id": place}
        rows.append(row | {"split": split, "width": 30, "height": 40, "bits": 8, "sha256": digest})
    pd.DataFrame(rows).to_csv("manifest.csv", index=False)
    job = Named(
        rule="pack",
        wildcards=[],
        log=["log"],
        input=Named(manifest="manifest.csv"),
        output=Named(images="images.npy"),
        params=Named(image_size=16, rgb=rgb),
    )
    runpy.run_path(str(root / "workflow/scripts/pack.py"), {"snakemake": job})
    found = np.load("images.npy", mmap_mode="r")
    assert isinstance(found, np.memmap) and found.dtype == np.uint8
    for place in range(4):
        own = np.roll(picture, place, axis=0) if rgb else read_grey(f"{place}.png")
        assert np.array_equal(found[place], resize(own, 16))


def test_crop_of_colour_is_that_of_each_channel(picture):
    for size in (8, 64):
        found = crop(picture, Box(3, 5, 20, 30, 0.5, False), size)
        alone = [crop(picture[..., k], Box(3, 5, 20, 30, 0.5, False), size) for k in range(3)]
        assert np.array_equal(found, np.stack(alone, axis=-1))


AUGMENTATION = {
    **{"rotation_degrees": 10, "shift": 0.1, "shear": 0.1, "zoom": 0.1, "horizontal_flip": True},
    **{"contrast": 0.3, "brightness": 0.2, "gamma": 0.3},
}


def test_random_changes_are_the_same_for_all_channels():
    images = tf.random.stateless_uniform((5, 16, 16, 3), (1, 2))
    seed = tf.constant([3, 4])
    found = augmentation.augment_images(images, AUGMENTATION, seed).numpy()
    assert not np.allclose(found, images)
    for k in range(3):
        alone = augmentation.augment_images(images[..., k : k + 1], AUGMENTATION, seed)
        np.testing.assert_allclose(found[..., k : k + 1], alone, atol=1e-6)


def test_networks_get_three_channels_of_either_kind():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(prediction.network_input(tf.constant(rgb)), rgb / 255, atol=1e-7)
    grey = prediction.network_input(tf.constant(rgb[..., 0])).numpy()
    np.testing.assert_allclose(grey, np.repeat(rgb[..., :1], 3, -1) / 255, atol=1e-7)
    one_hot = np.ones(2, np.float32)
    still = dict.fromkeys(AUGMENTATION, 0.0)
    for images in (rgb, rgb[..., 0]):
        data = classifier.training_set(images, np.array([0, 1]), np.arange(2), one_hot, still)
        raw = tuple(map(tf.constant, data.gather(np.arange(2))))
        seen, _ = data.prepare(raw, tf.constant([1, 2]))
        np.testing.assert_allclose(seen, prediction.network_input(raw[0]), atol=1e-6)


def red_network() -> keras.Model:
    """Sees red alone: its one map is the red channel, its two classes are more and less of it."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(1, 1, use_bias=False, name="dcl")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    model.set_weights(
        [np.array([1.0, 0, 0]).reshape(1, 1, 3, 1), np.array([[-3.0, 3.0]]), np.zeros(2)]
    )
    return model


def test_heat_lies_where_the_colour_is_that_the_network_sees():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0, 2:4, 5:7] = 200, 0, 0
    images[0, 6, 1] = 0, 255, 255
    images[1, 0, 0] = 10, 255, 0
    found = gradcam.heatmaps(red_network(), images, "dcl", 1)
    expected = images[..., 0] / np.array([200, 10])[:, None, None]
    np.testing.assert_allclose(found.maps, expected, atol=1e-6)
    model = red_network()
    curves = gradcam.faithfulness(
        prediction.forward(model, 4), images, found.maps, np.array([1, 1]), 4, 3, batch_size=4
    )
    whole = prediction.forward(model, 2)(images)[:, 1]
    np.testing.assert_allclose(curves.deletion[:, 0], whole, atol=1e-6)
    np.testing.assert_allclose(curves.insertion[:, -1], whole, atol=1e-6)
    # A quarter of the 64 pixels holds all that is red.
    blurred = [cv2.GaussianBlur(image, (0, 0), 0.8) for image in images]
    kept = np.where(found.maps[0][..., None] > 0, images[0], blurred[0])
    order = np.argsort(-found.maps[0].ravel(), kind="stable")[:16]
    assert set(np.flatnonzero(found.maps[0].ravel())) <= set(order)
    assert curves.insertion[0, 1] >= prediction.forward(model, 1)(kept[None])[0, 1] - 0.02


def test_overlay_without_heat_is_the_picture(picture):
    cold = np.zeros(picture.shape[:2])
    np.testing.assert_allclose(overlay(picture, cold, "inferno"), picture / 255)
    grey = overlay(picture[..., 0], cold, "inferno")
    np.testing.assert_allclose(grey, np.repeat(picture[..., :1], 3, axis=2) / 255)


def test_classes_that_differ_in_colour_alone_need_it():
    rng = np.random.default_rng(1)
    names = ["naevus", "Kaposi's"]
    labels = np.arange(160) % 2
    colour = np.stack([moles.picture(rng, names[label], 16) for label in labels])
    rows, held_out = np.arange(100), np.arange(100, 160)
    ones = np.ones(2, np.float32)
    options = {
        **{"epochs": 12, "batch_size": 20, "schedule": "constant", "warmup_fraction": 0.0},
        **{"optimizer": {"name": "adam", "learning_rate": 0.02, "decay": 0.0}},
        **{"reduce_on_plateau": None, "early_stopping": None, "monitor": "val_loss"},
        **{"keep": "last", "batch_norm_momentum": None, "mixed_precision": False, "xla": False},
    }
    right = {}
    for channels, images in {
        "rgb": colour,
        "grey": np.stack([luminance(image) for image in colour]),
    }.items():
        keras.utils.set_random_seed(2)
        model = keras.Sequential(
            [
                keras.Input((16, 16, 3)),
                keras.layers.Conv2D(8, 3, activation="relu"),
                keras.layers.GlobalMaxPooling2D(),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
        loss = classification_loss("cce")
        predict = prediction.predictor(model, images, 20)
        training.fit(
            model,
            loss,
            classifier.training_set(images, labels, rows, ones, AUGMENTATION | {"gamma": 0.0}),
            classifier.validation(predict, loss, labels, held_out, ones),
            options,
            3,
            training.Checkpoint(Path(f"{channels}.checkpoint"), channels),
            channels,
        )
        found = predict(held_out).argmax(axis=1)
        right[channels] = (found == labels[held_out]).mean()
    assert right["rgb"] > 0.95
    assert right["grey"] < 0.75
