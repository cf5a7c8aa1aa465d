"""The test images that the page shows one by one: what the script gets is what files hold."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup
from multiloss import cases
from multiloss.cases import Heat
from multiloss.job.errors import UserError
from multiloss.job.files import digest_of
from multiloss.predictions import Predictions
from multiloss.report import templates

CLASSES = ["normal", "viral"]


def unpacked(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)


@pytest.fixture
def images(tmp_path: Path) -> pd.DataFrame:
    """Five test images of 40 x 60 pixels, a bright square in each; the second has a lesion."""
    rows = []
    for number in range(5):
        pixels = np.full((40, 60), 30, np.uint8)
        pixels[10:20, 5 * number : 5 * number + 10] = 220
        path = tmp_path / f"secret-name-{number}.png"
        cv2.imwrite(str(path), pixels)
        rows.append(
            {
                "image_id": f"secret-name-{number}",
                "path": str(path),
                "sha256": digest_of(path),
                "bits": 8,
                "label": CLASSES[number % 2],
                "patient_id": f"p{number}",
                "split": "test",
                "lesion_mask": "",
            }
        )
    lesion = np.zeros((40, 60), np.uint8)
    lesion[20:30, 30:45] = 255
    cv2.imwrite(str(tmp_path / "lesion.png"), lesion)
    rows[1]["lesion_mask"] = str(tmp_path / "lesion.png")
    return pd.DataFrame(rows)


def predicted(images: pd.DataFrame) -> Predictions:
    right = images["label"].map(CLASSES.index).to_numpy()
    sound = np.where(np.arange(2) == right[:, None], 0.8, 0.2)
    failed = np.full_like(sound, np.nan)
    rows = images[["image_id", "patient_id", "split", "label"]].iloc[::-1].reset_index(drop=True)
    return Predictions(rows, ["a-r0", "b-r0"], CLASSES, np.array([sound[::-1], failed]))


def made(images: pd.DataFrame, most: int = 10, **given: object) -> dict:
    options = {"heat": {}, "boxes": None, "masks": None, **given}
    labels = {"a-r0": "loss a", "b-r0": "loss b"}
    return cases.cases(images, predicted(images), labels, **options, most=most, seed=7, rgb=False)


def test_pictures_and_probabilities_belong_together(images: pd.DataFrame) -> None:
    found = made(images)
    assert (found["all"], found["number"]) == (5, [1, 2, 3, 4, 5])
    assert [one["label"] for one in found["images"]] == [0, 1, 0, 1, 0]
    p = unpacked(found["p"]["a-r0"], 5, 2)
    assert p.tolist() == [[204, 51], [51, 204], [204, 51], [51, 204], [204, 51]]
    assert found["failed"] == ["b-r0"] and not unpacked(found["p"]["b-r0"], 5, 2).any()
    assert found["models"][0] == {"name": "a-r0", "label": "loss a"}
    for number, one in enumerate(found["images"]):
        small = cv2.imdecode(unpacked(one["picture"], -1), cv2.IMREAD_GRAYSCALE)
        assert small.shape == (40, 60) and one["shape"] == [60, 40]
        assert small[15, 5 * number + 5] > 180 and small[35, 55] < 60
    # Whoever passes the page on passes on no names.
    assert "secret" not in json.dumps(found) and "p3" not in json.dumps(found)


def test_boxes_outlines_and_heat_are_in_the_coordinates_of_the_image(
    images: pd.DataFrame, tmp_path: Path
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = np.zeros((40, 60), np.uint8)
    mask[8:32, 12:48] = 255
    cv2.imwrite(str(masks / "secret-name-0.png"), mask)
    boxes = pd.DataFrame({"image_id": images["image_id"], "xmin": [5, np.nan, 5, 5, 5],
                          "ymin": 4, "width": 50, "height": 30})  # fmt: skip
    maps = np.zeros((5, 2, 3), np.float16)
    maps[0, 1, 2] = 1
    heat = {"a-r0": Heat(images["image_id"].tolist()[::-1], maps[::-1])}
    found = made(images, heat=heat, boxes=boxes, masks=masks)
    first, second = found["images"][:2]
    assert first["box"] == [5, 4, 50, 30] and "box" not in second
    ((x0, y0, *_),) = ([min(line[::2]), min(line[1::2])] for line in first["mask"])
    assert (x0, y0) == (round(12.5 / 60 * 255), round(8.5 / 40 * 255))
    assert max(first["mask"][0][::2]) == round(47.5 / 60 * 255)
    assert "mask" not in second and len(second["lesion"]) == 1 and "lesion" not in first
    assert found["heat"]["a-r0"]["grid"] == [2, 3]
    pairs = unpacked(found["heat"]["a-r0"]["maps"], 15)  # 30 cells, two a byte
    assert pairs[2] == 15 and pairs.sum() == 15
    maps[0, 1, 1:] = 0.5, 0.2
    # Of an odd number of cells the last byte is half empty.
    odd = {"a-r0": Heat(images["image_id"].tolist()[:1], maps[:1, 1:])}
    found = made(images.iloc[:1], heat=odd)["heat"]["a-r0"]
    assert (found["grid"], unpacked(found["maps"], 2).tolist()) == ([1, 3], [0x08, 0x30])
    with pytest.raises(UserError, match="gradcam/a-r0.npz has no map of image 'secret-name-0'"):
        made(images, heat={"a-r0": Heat(images["image_id"].tolist()[1:], maps[1:])})


def test_heat_maps_decide_how_many_images_have_room(
    images: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two models of 2 x 3 cells: six bytes an image."""
    heat = Heat(images["image_id"].tolist(), np.zeros((5, 2, 3)))
    both = {"a-r0": heat, "b-r0": heat}
    monkeypatch.setattr(cases, "MAPS_BUDGET", 30)
    assert len(made(images, heat=both)["images"]) == 5 and not caplog.messages
    monkeypatch.setattr(cases, "MAPS_BUDGET", 29)
    found = made(images, heat=both)
    assert found["all"] == 5 and len(found["images"]) == 4
    assert [len(unpacked(one["maps"], -1)) for one in found["heat"].values()] == [12, 12]
    assert caplog.messages == [
        "the page shows 4 test images, not 5: heat maps of more would make it too large"
    ]
    assert len(made(images)["images"]) == 5
    # 400 images of the published size, with as many models as it has: none is left out.
    monkeypatch.undo()
    assert cases._room([Heat([], np.zeros((0, 32, 32)))] * 14) >= 400


def test_of_many_images_some_are_drawn_with_the_seed(images: pd.DataFrame) -> None:
    few = made(images, most=3)
    assert few["all"] == 5 and len(few["images"]) == 3 == len(set(few["number"]))
    assert few["number"] == sorted(few["number"]) and few == made(images, most=3)
    labels = [CLASSES.index(images["label"].iloc[number - 1]) for number in few["number"]]
    assert [one["label"] for one in few["images"]] == labels
    p = unpacked(few["p"]["a-r0"], 3, 2)
    assert p.argmax(axis=1).tolist() == labels
    assert (
        cases.draw(images, 3, 8)["image_id"].tolist()
        != cases.draw(images, 3, 7)["image_id"].tolist()
        or cases.draw(images, 3, 9)["image_id"].tolist()
        != cases.draw(images, 3, 7)["image_id"].tolist()
    )


def test_pictures_of_many_images_are_smaller() -> None:
    sizes = [cases._size(count) for count in (1, 110, 400, 2000, 100_000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 224 and sizes[-1] == 56
    assert 400 * cases._size(400) ** 2 * cases.BYTES_PER_PIXEL <= cases.BUDGET


def test_a_changed_image_is_refused(images: pd.DataFrame) -> None:
    images.loc[2, "sha256"] = "0" * 64
    with pytest.raises(UserError, match="secret-name-2.png: has changed since it was checked"):
        made(images)


def test_names_of_classes_cannot_end_the_element() -> None:
    text = templates._data("cases", {"classes": ["</script><script>alert(1)</script>", "é"]})
    assert isinstance(text, Markup) and text.count("</script>") == 1
    inside = text.partition(">")[2].removesuffix("</script>")
    assert json.loads(inside) == {"classes": ["</script><script>alert(1)</script>", "é"]}
