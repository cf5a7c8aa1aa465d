"""The list of images: facts, reasons of rejection, groups, and the script that writes it."""

import hashlib
import os
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from jobs import Named
from multiloss import manifest
from multiloss.errors import UserError
from multiloss.images import read_unchanged, write_png
from multiloss.layouts import Found, ImageRecord, LungRecord, Rejection
from multiloss.leakage import perceptual_hash


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image(path: Path, seed: int, shape=(40, 50)) -> Path:
    rng = np.random.default_rng(seed)
    write_png(rng.integers(0, 256, shape).astype(np.uint8), path)
    return path


def records(folder: Path, *rows: tuple) -> list[ImageRecord]:
    """One record a row of (image_id, label, patient, seed of its content)."""
    return [
        ImageRecord(name, image(folder / f"{name}.png", seed), label, patient)
        for name, label, patient, seed in rows
    ]


def test_facts(folder):
    found = Found(records(folder, ("b", "x", "P1", 1), ("a", "y", "", 2)))
    table, rejected = manifest.build({"own": found}, ["x", "y"], threads=2)
    assert table.columns.tolist() == manifest.MANIFEST_COLUMNS
    assert rejected.empty and rejected.columns.tolist() == manifest.REJECTED_COLUMNS
    first, second = table.to_dict("records")
    assert (first["image_id"], first["path"], first["label"]) == ("b", "b.png", "x")
    assert (first["width"], first["height"]) == (50, 40)
    assert first["sha256"] == hashlib.sha256((folder / "b.png").read_bytes()).hexdigest()
    assert first["patient_id"] == first["group"] == "P1" and first["patient_known"]
    # An unknown patient is the image itself.
    assert second["patient_id"] == "a" and not second["patient_known"]
    content = np.random.default_rng(2).integers(0, 256, (40, 50)).astype(np.uint8)
    assert second["phash"] == perceptual_hash(content)


def test_unusable_images_are_listed_with_the_reason(folder):
    own = records(folder, ("fine", "x", "P1", 1), ("empty", "x", "P2", 2), ("cut", "x", "P3", 3))
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-20])
    own.append(ImageRecord("gone", folder / "gone.png", "x", "P4"))
    own.append(ImageRecord("tiny", image(folder / "tiny.png", 1, (8, 50)), "x", "P5"))
    found = Found(own, [Rejection("odd", folder / "odd.png", "odd name")])
    table, rejected = manifest.build({"own": found}, ["x"])
    assert table["image_id"].tolist() == ["fine"]
    reasons = rejected.set_index("image_id")["reason"]
    assert reasons.index.tolist() == ["cut", "empty", "gone", "odd", "tiny"]
    assert "truncated" in reasons["cut"] and "empty" in reasons["empty"]
    assert "cannot be opened" in reasons["gone"] and reasons["odd"] == "odd name"
    assert reasons["tiny"] == "only 50x8 pixels"
    assert rejected["path"].tolist()[1] == "empty.png"


def test_classes_that_are_not_asked_for_are_counted(folder, caplog):
    own = records(folder, ("a", "x", "1", 1), ("b", "covid 19", "2", 2), ("c", "covid 19", "3", 3))
    with caplog.at_level("INFO", logger="multiloss"):
        table, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert len(table) == 1 and rejected.empty
    assert "own: 2 images left out" in caplog.text and "covid 19" in caplog.text


def test_class_without_images(folder):
    own = records(folder, ("a", "x", "1", 1))
    with pytest.raises(UserError, match="class 'viral'.*the sources have: x"):
        manifest.build({"own": Found(own)}, ["x", "viral"])


def test_class_whose_images_are_all_unreadable(folder):
    own = records(folder, ("a", "x", "1", 1), ("b", "y", "2", 2))
    (folder / "b.png").write_bytes(b"")
    with pytest.raises(UserError, match="no usable image of class 'y'"):
        manifest.build({"own": Found(own)}, ["x", "y"])


def test_image_id_that_is_there_twice(folder):
    one = records(folder, ("a", "x", "1", 1))
    two = [ImageRecord("a", image(folder / "sub" / "a.png", 2), "x", "2")]
    with pytest.raises(UserError, match=r"image_id 'a' is there twice: a\.png and sub/a\.png"):
        manifest.build({"one": Found(one), "two": Found(two)}, ["x"])


def test_equal_images_join_their_patients_and_links_chain(folder):
    own = records(
        folder,
        ("a", "x", "P3", 1),
        ("b", "x", "P2", 1),  # the image of a
        ("c", "x", "P2", 2),
        ("d", "y", "P1", 2),  # the image of c, under another label
        ("e", "x", "P4", 3),
    )
    table, _ = manifest.build({"own": Found(own)}, ["x", "y"])
    assert table["group"].tolist() == ["P1", "P1", "P1", "P1", "P4"]
    assert table["patient_id"].tolist() == ["P3", "P2", "P2", "P1", "P4"]


def test_groups_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "patient_id": rng.integers(0, 30, 80).astype(str),
            "sha256": rng.integers(0, 60, 80).astype(str),
        }
    )
    groups = manifest.join_groups(table)
    shuffled = table.sample(frac=1, random_state=1)
    assert manifest.join_groups(shuffled).sort_index().equals(groups)
    # Rows that share a patient or an image share the group.
    for column in ("patient_id", "sha256"):
        assert (groups.groupby(table[column]).nunique() == 1).all()
    # And no group is larger than it must be: union-find by hand.
    parent = {name: name for name in table["patient_id"]}

    def root(name: str) -> str:
        return name if parent[name] == name else root(parent[name])

    for _, own in table.groupby("sha256")["patient_id"]:
        for other in own:
            parent[max(root(own.iloc[0]), root(other))] = min(root(own.iloc[0]), root(other))
    assert groups.tolist() == [root(name) for name in table["patient_id"]]


def test_masks_of_classified_images(folder):
    (own,) = records(folder, ("a", "x", "1", 1))
    good, small = folder / "good.png", folder / "small.png"
    inside = np.zeros((40, 50), bool)
    inside[10:30, 10:40] = True
    write_png(inside, good)
    write_png(inside[:, :20], small)
    own = ImageRecord("a", own.path, "x", "1", lung_mask=good, lesion_mask=small)
    table, rejected = manifest.build({"own": Found([own])}, ["x"])
    assert table.loc[0, "lung_mask"] == "good.png" and table.loc[0, "lesion_mask"] == ""
    assert rejected.loc[0, "reason"] == (
        "image kept, lesion_mask not used: mask has size 20x40, its image 50x40: of other "
        "proportions"
    )


def deep(folder: Path, name: str, seed: int, largest: int, label: str = "x") -> ImageRecord:
    """A 16-bit image whose largest value that is."""
    path = folder / f"{name}.png"
    values = np.random.default_rng(seed).integers(0, largest, (40, 50)).astype(np.uint16)
    values[3, 4] = largest
    cv2.imwrite(str(path), values)
    return ImageRecord(name, path, label, name)


def test_16_bit_images_of_a_source_share_their_depth(folder, caplog):
    own = [deep(folder, "a", 1, 4080), deep(folder, "b", 2, 2500), deep(folder, "c", 3, 1900)]
    own += records(folder, ("d", "x", "P4", 4))
    other = [deep(folder, "e", 5, 65535), deep(folder, "f", 6, 40000)]
    with caplog.at_level("INFO", logger="multiloss"):
        table, rejected = manifest.build({"own": Found(own), "other": Found(other)}, ["x"])
    assert rejected.empty
    assert table["bits"].tolist() == [12, 12, 12, 8, 16, 16]
    assert "own: 3 images of 16 bits reach at most 4080: read as 12-bit" in caplog.text
    assert "other: 2 images of 16 bits reach at most 65535: read as 16-bit" in caplog.text
    # What is read later is what was fingerprinted.
    for row in table.itertuples():
        grey = read_unchanged(row.path, row.sha256, row.bits)
        assert perceptual_hash(grey) == row.phash
    assert read_unchanged("b.png", table["sha256"][1], 12).max() == round(2500 / 4095 * 255)


def test_16_bit_images_that_cannot_be_of_their_source_are_listed(folder, caplog):
    own = [deep(folder, f"a{n}", n, 65535 - n) for n in range(4)] + [deep(folder, "dark", 9, 4080)]
    with caplog.at_level("INFO", logger="multiloss"):
        table, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert table["image_id"].tolist() == ["a0", "a1", "a2", "a3"]
    assert rejected["image_id"].tolist() == ["dark"]
    assert "reach 4080, those of most images of its source 65532 to" in rejected["reason"][0]
    assert "own: of 5 images of 16 bits 1 are left out" in caplog.text
    table, rejected = manifest.build({"own": Found(own)}, ["x"], bits={"own": 16})
    assert table["bits"].tolist() == [16] * 5 and rejected.empty
    table, rejected = manifest.build({"own": Found(own)}, ["x"], bits={"own": 12})
    assert table["image_id"].tolist() == ["dark"]
    assert "do not fit in the source's `bits: 12`" in rejected["reason"][0]


def test_constant_images_are_listed(folder):
    own = records(folder, ("a", "x", "1", 1))
    for value in (0, 128, 255):
        write_png(np.full((40, 50), value, np.uint8), folder / f"v{value}.png")
        own.append(ImageRecord(f"v{value}", folder / f"v{value}.png", "x", ""))
    table, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert table["image_id"].tolist() == ["a"]
    reasons = rejected.set_index("image_id")["reason"]
    assert reasons["v128"] == "all its pixels have one value (128): nothing to see"
    assert reasons.index.tolist() == ["v0", "v128", "v255"]


def test_masks_of_another_size_are_resized_and_counted(folder, caplog):
    inside = np.zeros((20, 25), bool)
    inside[5:15, 5:20] = True
    own = [lung(folder, "a", 1, inside), lung(folder, "b", 2, inside)]
    with caplog.at_level("INFO", logger="multiloss"):
        table, rejected = manifest.build_lungs({"own": Found(own)})
    assert len(table) == 2 and rejected.empty
    assert "own: 2 masks have another size than their image" in caplog.text
    assert "such as 25x20 for 50x40" in caplog.text


def test_masks_that_mark_nothing_or_everything_are_not_used(folder):
    black, whole = folder / "black.png", folder / "whole.png"
    write_png(np.zeros((40, 50), bool), black)
    write_png(np.ones((40, 50), bool), whole)
    (own,) = records(folder, ("a", "x", "1", 1))
    both = [
        replace(own, lung_mask=black, lesion_mask=black),
        replace(own, image_id="b", lung_mask=whole, lesion_mask=whole),
    ]
    table, rejected = manifest.build({"own": Found(both)}, ["x"])
    # A black lesion mask tells of no lesion.
    assert table["lesion_mask"].tolist() == ["black.png", ""]
    assert table["lung_mask"].tolist() == ["", ""]
    assert rejected["image_id"].tolist() == ["a", "b", "b"]
    assert "lung_mask not used: it is black all over" in rejected["reason"][0]
    assert rejected["reason"].str.contains("all four corners").tolist() == [False, True, True]


def lung(folder: Path, name: str, seed: int, *masks: np.ndarray) -> LungRecord:
    paths = []
    for number, mask in enumerate(masks):
        paths.append(folder / f"{name}_{number}.png")
        write_png(mask, paths[-1])
    return LungRecord(name, image(folder / f"{name}.png", seed), tuple(paths), "")


def test_lungs(folder):
    inside = np.zeros((40, 50), bool)
    inside[10:30, 10:40] = True
    own = [
        lung(folder, "fine", 1, inside, inside),
        lung(folder, "black", 2, ~inside & inside),
        lung(folder, "small", 3, inside[:20]),
        lung(folder, "uneven", 4, inside, inside[:20]),
        lung(folder, "torn", 5, inside),
    ]
    (folder / "torn_0.png").write_bytes(b"no image")
    table, rejected = manifest.build_lungs({"own": Found(own)})
    assert table.columns.tolist() == manifest.LUNG_COLUMNS
    assert table["image_id"].tolist() == ["fine"]
    assert table.loc[0, "mask_paths"] == "fine_0.png;fine_1.png"
    assert dict(zip(rejected["image_id"], rejected["reason"], strict=True)) == {
        "black": "the mask is black all over: no lung",
        "small": "mask has size 50x20, its image 50x40: of other proportions",
        "uneven": "mask has size 50x20, its image 50x40: of other proportions",
        "torn": "mask torn_0.png: unreadable, truncated or not an image",
    }


def test_mask_whose_path_cannot_be_listed(folder):
    inside = np.zeros((40, 50), bool)
    inside[10:30, 10:40] = True
    own = [lung(folder, "fine", 1, inside), lung(folder, "a;b", 2, inside)]
    table, rejected = manifest.build_lungs({"own": Found(own)})
    assert table["image_id"].tolist() == ["fine"]
    assert rejected["image_id"].tolist() == ["a;b"] and "';'" in rejected.loc[0, "reason"]


def test_image_id_too_long_for_the_files_named_after_it(folder):
    own = records(folder, ("a", "x", "1", 1), ("b", "x", "2", 2))
    own[1] = replace(own[1], image_id="ä" * 111)
    table, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert table["image_id"].tolist() == ["a"]
    assert rejected.loc[0, "reason"] == "its image_id has more than 220 bytes: shorten its path"


def test_source_of_lungs_without_any(folder):
    own = [lung(folder, "black", 2, np.zeros((40, 50), bool))]
    with pytest.raises(UserError, match="source 'own': no usable pair"):
        manifest.build_lungs({"own": Found(own)})


def test_same_table_on_any_number_of_threads(folder):
    own = records(folder, *((f"i{n}", "x", f"P{n % 7}", n) for n in range(40)))
    one, _ = manifest.build({"own": Found(own)}, ["x"], threads=1)
    four, _ = manifest.build({"own": Found(own)}, ["x"], threads=4)
    assert one.equals(four)


def test_script_writes_the_four_tables(folder, root):
    """Names with blanks and letters beyond ASCII, a 16-bit image and a wrong one among them."""
    rng = np.random.default_rng(0)
    for label in ("no finding", "grau-weiß"):
        for number in range(12):
            image(folder / "own set" / "x" / label / f"p{number}-a.png", rng.integers(10**6))
    (folder / "own set" / "x" / "no finding" / "p99-a.png").write_bytes(b"")
    inside = np.zeros((40, 50), bool)
    inside[10:30, 10:40] = True
    for part in ("lungs", "lungs2"):
        for number in range(4):
            image(folder / part / "images" / f"{part}{number}.png", rng.integers(10**6))
            write_png(inside, folder / part / "masks" / f"{part}{number}.png")
    roles = {"own set": "classification", "lungs": "lungs_train", "lungs2": "lungs_test"}
    snakemake = SimpleNamespace(
        rule="splits",
        wildcards=[],
        log=["logs/splits.log"],
        threads=2,
        input=Named(sources=list(roles)),
        output=Named(
            **{name: f"data/{name}.csv" for name in ("manifest", "lungs", "rejected", "dropped")}
        ),
        params=SimpleNamespace(
            sources=[
                {"name": name, "role": role, "layout": "folders", "url": name}
                for name, role in roles.items()
            ],
            classes=["no finding", "grau-weiß"],
            splits={
                "test": 0.25,
                "ratios": {"train": 0.5, "val": 0.25, "ensemble": 0.25},
                "recurring_patients": "drop",
            },
            val_fraction=0.25,
            seed=1,
        ),
    )
    script = root / "workflow" / "scripts" / "splits.py"
    runpy.run_path(str(script), {"snakemake": snakemake})
    tables = {path.stem: pd.read_csv(path) for path in Path("data").iterdir()}
    table = tables["manifest"]
    assert len(table) == 24 and set(table["split"]) == {"train", "val", "ensemble", "test"}
    assert all(os.path.exists(path) for path in table["path"])
    assert table["path"][0] == "own set/x/grau-weiß/p0-a.png"
    assert table["image_id"][0] == "grau-weiß__p0-a"
    assert tables["rejected"]["image_id"].tolist() == ["no finding__p99-a"]
    assert tables["lungs"]["split"].value_counts().to_dict() == {"train": 3, "val": 1, "test": 4}
    assert tables["dropped"].empty
    first = Path("data/manifest.csv").read_bytes()
    runpy.run_path(str(script), {"snakemake": snakemake})
    assert Path("data/manifest.csv").read_bytes() == first
