"""The manifest, the table of lungs and the arrays: nothing unknown, doubled, cut or misspelt."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from multiloss.data.tables import read_array, read_lungs, read_manifest
from multiloss.job.errors import UserError
from multiloss.job.files import write_csv

CLASSES = ["normal", "NA"]


def good() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": ["001", "NA", "c", "d"],
            "path": [f"data/{k}.png" for k in range(4)],
            "label": ["normal", "NA", "normal", "NA"],
            "patient_id": ["1e3", "007", "P,1", "P2"],
            "split": ["train", "val", "ensemble", "test"],
            "width": [64, 65, 1024, 96],
            "height": [80, 81, 2048, 96],
            "sha256": ["0" * 64, "12e4" * 16, "af" * 32, "9" * 64],
            "group": ["1e3", "007", "P,1", "P2"],
            "lung_mask": "",
        }
    )


def test_values_are_read_as_they_stand(tmp_path):
    """Names like NA, leading zeros and digits with an e in them are text."""
    write_csv(good(), tmp_path / "manifest.csv")
    table = read_manifest(tmp_path / "manifest.csv", CLASSES)
    pd.testing.assert_frame_equal(table, good(), check_dtype=False)
    assert table["width"].dtype == table["height"].dtype == np.int64


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("split", "tset", "line 4 (image 'c'): split 'tset' is none of train, val, ensemble, test"),
        ("split", "", "line 4 (image 'c'): split '' is none of train"),
        ("label", "nornal", "line 4 (image 'c'): label 'nornal' is none of normal, NA (1 such in"),
        ("label", "", "label '' is none of normal, NA"),
        ("image_id", "001", "line 4 (image '001'): image_id '001' is there twice"),
        ("image_id", "", "image_id '' is empty"),
        ("path", "", "path '' is empty"),
        ("patient_id", "", "patient_id '' is empty"),
        ("sha256", "0" * 63, "is not 64 hexadecimal digits"),
        ("sha256", "0" * 63 + "g", "is not 64 hexadecimal digits"),
        ("width", 0, "width '0' is no number of pixels"),
        ("width", -64, "width '-64' is no number of pixels"),
        ("height", 64.5, "height '64.5' is no number of pixels"),
        ("height", "6O", "height '6O' is no number of pixels"),
        ("height", 10**6, "height '1000000' is no number of pixels"),
    ],
)
def test_faulty_row_is_refused_by_name(tmp_path, column, value, message):
    table = pd.concat([good(), good().assign(image_id=list("efgh"))], ignore_index=True)
    table = table.astype({"width": object, "height": object})
    table.loc[2, column] = value
    path = tmp_path / "manifest.csv"
    write_csv(table, path)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_manifest(path, CLASSES)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    assert text.endswith("correct it, or delete the file and run again to have it made anew")


def test_columns_not_asked_for_are_left_out(tmp_path):
    path = tmp_path / "manifest.csv"
    write_csv(good().assign(bits=8), path)
    found = read_manifest(path, CLASSES, columns=["bits"])
    assert found.columns.tolist() == [*good().columns.drop(["group", "lung_mask"]), "bits"]
    pd.testing.assert_frame_equal(found, read_manifest(path)[found.columns])
    with pytest.raises(UserError, match="column 'phash' is missing"):
        read_manifest(path, columns=["phash"])


GROWTH = """
import sys
from multiloss.data.tables import read_manifest

def most():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

few, many, *columns = sys.argv[1:]
read_manifest(few, columns=columns or None)
before = most()
assert len(read_manifest(many, columns=columns or None)) == 40_000
print(most() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="tells no peak of memory")
@pytest.mark.parametrize(
    ("columns", "kilobytes"),
    [pytest.param(["bits"], 32_000, id="some"), pytest.param([], 44_000, id="all")],
)
def test_memory_grows_little_with_the_images(tmp_path, columns, kilobytes):
    """Of 40,000 images, which take 52 MB where each field is a string of its own."""
    rows = np.arange(40_000)
    names = pd.Series(rows).map("train-normal-{:05}".format)
    table = pd.DataFrame(
        {
            "image_id": names, "path": "data/sources/own/" + names + ".jpeg",
            "label": np.where(rows % 2, "normal", "viral"), "patient_id": names,
            "split": np.array(["train", "val", "ensemble", "test"])[rows % 4],
            "width": 1024, "height": 768, "bits": 8,
            "sha256": pd.Series(rows).map("{:064x}".format), "source": "radiographs",
            "shipped_split": "train", "group": names, "lung_mask": "", "lesion_mask": "",
            "patient_known": False, "phash": pd.Series(rows).map("{:016x}".format),
        }
    )  # fmt: skip
    write_csv(table[:8], tmp_path / "few.csv")
    write_csv(table, tmp_path / "many.csv")
    command = [sys.executable, "-c", GROWTH, tmp_path / "few.csv", tmp_path / "many.csv", *columns]
    package = {"PYTHONPATH": str(Path(__file__).parents[2] / "workflow")}
    done = subprocess.run(command, env=os.environ | package, check=True, capture_output=True)
    assert int(done.stdout) < kilobytes


def test_split_without_images_is_refused(tmp_path):
    write_csv(good().assign(split=["train", "val", "val", "test"]), tmp_path / "manifest.csv")
    with pytest.raises(UserError, match="no image in split 'ensemble': delete the file and run"):
        read_manifest(tmp_path / "manifest.csv", CLASSES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable table (it is empty"),
        (b"image_id,path\n\xff,b\n", "not a readable table"),
        (b"image_id,path\na,b\n", "column 'patient_id' is missing"),
        (lambda text: text[:-2], "line 5 has 9 fields instead of 10"),
        (lambda text: text[:-30], "line 5 has 8 fields instead of 10"),
        (lambda text: text + "\n", "line 6 has 0 fields"),
        (lambda text: text.replace("64,80", "64,80,1"), "line 2 has 11 fields"),
        (lambda text: text.replace("\n", ",x\n").replace("mask,x", "mask"), "line 2 has 11 fields"),
        (lambda text: text.replace("sha256", "sha257"), "column 'sha256' is missing"),
        (lambda text: text.splitlines(keepends=True)[0], "no image in split 'train'"),
    ],
)
def test_damaged_table_is_refused(tmp_path, content, message):
    path = tmp_path / "manifest.csv"
    write_csv(good(), path)
    if callable(content):
        content = content(path.read_text()).encode()
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_manifest(path, CLASSES)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_lungs(tmp_path):
    lungs = good().drop(columns="label").assign(mask_paths="a.png;b.png")
    path = tmp_path / "lungs.csv"
    for splits, masks, message in (
        (["train", "val", "test", "test"], "a.png;b.png", None),
        (["train", "val", "ensemble", "test"], "a.png", "split 'ensemble' is none of train, val,"),
        (["train", "val", "test", "test"], "", "mask_paths '' is empty"),
    ):
        write_csv(lungs.assign(split=splits, mask_paths=masks), path)
        if message is None:
            assert read_lungs(path)["mask_paths"].tolist() == 4 * ["a.png;b.png"]
        else:
            with pytest.raises(UserError, match=message):
                read_lungs(path)


def test_array(tmp_path):
    path = tmp_path / "images.npy"
    array = np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3)
    np.save(path, array)
    found = read_array(path, 4)
    assert (found[:] == array).all()
    with pytest.raises(UserError, match="4 images, but the table that it was made from has 5"):
        read_array(path, 5)


@pytest.mark.parametrize("cut", [0, 4, 60, 128, 150])
def test_cut_array_is_refused_by_name(tmp_path, cut):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 3, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        UserError, match=f"^{path}: not a whole array .*: delete the file"
    ) as caught:
        read_array(path)
    assert "\n" not in str(caught.value)


def test_pickled_array_is_not_opened(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.array([Path("x")], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not a whole array"):
        read_array(path)
