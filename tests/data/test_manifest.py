"""The list of images: facts, reasons of rejection, groups, and the script that writes it."""

import hashlib
import os
import runpy
import unicodedata
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from jobs import Named
from multiloss.data import layouts, manifest, splits
from multiloss.data.images import read_unchanged, write_png
from multiloss.data.layouts import Found, ImageRecord, LungRecord, Rejection
from multiloss.data.likeness import perceptual_hash
from multiloss.job.errors import UserError


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


def test_classes_that_are_not_asked_for_are_listed_and_counted(folder, caplog):
    own = records(
        folder,
        ("a", "x", "1", 1),
        ("b", "covid 19", "2", 2),
        ("c", "covid 19", "3", 3),
        ("d", "X", "4", 4),
    )
    table, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert table["image_id"].tolist() == ["a"]
    assert rejected[["image_id", "label"]].to_numpy().tolist() == [
        ["b", "covid 19"],
        ["c", "covid 19"],
        ["d", "X"],
    ]
    manifest.tell(rejected)
    assert "own: 2 left out: class 'covid 19' is not in the config; such as b.png" in caplog.text
    assert (
        "own: 1 left out: class 'X' is not in the config, which has 'x': give both one spelling"
        in caplog.text
    )


def test_reasons_beyond_the_most_frequent_are_counted_together(caplog):
    rows = [(f"{n}", f"{n}.png", "own", f"reason '{n}'", "x") for n in range(20)]
    rows += [("q", "q.png", "own", "often", "x")] * 3
    manifest.tell(pd.DataFrame(rows, columns=manifest.REJECTED_COLUMNS))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "own: 3 left out: often; such as q.png" and len(lines) == 13
    assert (
        lines[-1] == "9 more left out or with a remark, for 9 other reasons: see data/rejected.csv"
    )


def test_reasons_that_differ_in_numbers_are_one(caplog):
    reasons = [f"image kept, lung_mask not used: mask {n} b.png: holds {n} values" for n in "345"]
    reasons += ["class '1' is not in the config", "class '2' is not in the config"]
    rows = [(f"{n}", f"{n}.png", "own", reason, "x") for n, reason in enumerate(reasons)]
    manifest.tell(pd.DataFrame(rows, columns=manifest.REJECTED_COLUMNS))
    assert [record.getMessage() for record in caplog.records] == [
        f"own: 3 with a remark: {reasons[0]}; such as 0.png",
        f"own: 1 left out: {reasons[3]}; such as 3.png",
        f"own: 1 left out: {reasons[4]}; such as 4.png",
    ]


def test_12_bit_images_with_letters_of_65535_are_listed(folder):
    """Read as 16-bit, for the letters, the picture itself has 16 grey values left."""
    picture = np.arange(64 * 64).reshape(64, 64).astype(np.uint16)
    for n in range(3):
        values = picture.copy()
        values[:4, : 8 + n] = 65535
        cv2.imwrite(str(folder / f"{n}.png"), values)
    own = [ImageRecord(f"{n}", folder / f"{n}.png", "x", f"{n}") for n in range(3)]
    table, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert table.empty
    assert "read as 16-bit, nearly all its pixels lie within 16 of" in rejected["reason"][0]
    table, rejected = manifest.build({"own": Found(own)}, ["x"], bits={"own": 16})
    assert table["bits"].tolist() == [16] * 3 and rejected.empty


def test_patients_that_differ_as_spreadsheets_change_them_are_told(folder, caplog):
    names = ["7", "007", "7.0", "P1", "p 1", "10", "100", "1.5", "1.50"]
    own = records(folder, *((f"i{n}", "x", name, n) for n, name in enumerate(names)))
    table, _ = manifest.build({"own": Found(own)}, ["x"])
    assert table["patient_id"].nunique() == 9
    assert (
        "3 patients differ from another only in capitals, spaces, leading zeros or '.0', such as "
        "'007' and '7'" in caplog.text
    )


def test_label_with_accents_stored_in_another_way(folder):
    own = records(folder, ("a", unicodedata.normalize("NFD", "fièvre"), "1", 1))
    table, _ = manifest.build({"own": Found(own)}, [unicodedata.normalize("NFC", "fièvre")])
    assert table["label"].tolist() == [unicodedata.normalize("NFC", "fièvre")]


def refuse(table, rejected, classes, lungs=None, lung_sources=()) -> None:
    lungs = pd.DataFrame(columns=manifest.LUNG_COLUMNS) if lungs is None else lungs
    manifest.refuse_empty(table, lungs, rejected, classes, lung_sources)


def test_class_without_images(folder):
    own = records(folder, ("a", "x", "1", 1), ("b", "z", "2", 2))
    table, rejected = manifest.build({"own": Found(own)}, ["x", "viral"])
    refuse(table, rejected, ["x"])
    with pytest.raises(UserError, match="class 'viral' .the sources have: x, z.: correct"):
        refuse(table, rejected, ["x", "viral"])


def test_class_whose_images_are_all_unusable_is_refused_for_the_true_reason(folder):
    own = records(folder, ("a", "x", "1", 1), ("b", "y", "2", 2), ("c", "y", "3", 3))
    (folder / "b.png").write_bytes(b"")
    found = Found(own, [Rejection("m", folder / "masks/m.png", "a mask", "y")])
    (folder / "c.png").unlink()
    table, rejected = manifest.build({"own": found}, ["x", "y"])
    with pytest.raises(
        UserError,
        match=r"no usable image of class 'y' \(3 left out, such as b\.png: the file is empty\): .*"
        r"data/rejected\.csv lists them",
    ):
        refuse(table, rejected, ["x", "y"])


def test_class_that_none_of_the_files_left_out_has(folder):
    found = Found([], [Rejection("odd", folder / "odd.png", "odd name")])
    table, rejected = manifest.build({"own": found}, ["x"])
    with pytest.raises(
        UserError, match=r"\(the sources have: none; 1 left out, such as odd\.png: odd name\)"
    ):
        refuse(table, rejected, ["x"])


def copied(folder: Path, one: ImageRecord, name: str, **changes) -> ImageRecord:
    """A record with a byte-identical file of that name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(one.path.read_bytes())
    return replace(one, path=path, **changes)


def test_further_copies_of_an_image_are_left_out_and_listed(folder):
    one, two = records(folder, ("a", "x", "", 1), ("b", "x", "P2", 2))
    mask = folder / "mask.png"
    write_png(np.tri(40, 50, dtype=bool), mask)
    own = [
        copied(folder, one, "in/in/a.png", patient_id="P1", lung_mask=mask),
        copied(folder, two, "in/b.png"),
        one,
        two,
    ]
    table, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert table["path"].tolist() == ["a.png", "b.png"]
    # What only the copy tells is kept.
    assert table["patient_id"].tolist() == ["P1", "P2"] and table["patient_known"].all()
    assert table["lung_mask"].tolist() == ["mask.png", ""]
    assert rejected["path"].tolist() == ["in/in/a.png", "in/b.png"]
    assert set(rejected["reason"]) == {"identical copy of an image that is used"}


KAGGLE = {"train": 12, "test": 4, "val": 2}


@pytest.mark.parametrize("layout", ["kermany", "folders", "table"])
@pytest.mark.parametrize(
    "tops", [["chest_xray", "chest_xray/chest_xray"], ["chest_xray/chest_xray"]]
)
def test_archive_that_holds_the_set_twice(folder, layout, tops):
    """As Kaggle's chest-xray-pneumonia does, with a val of its own; right counts and splits."""
    rows = ["path,label,patient,split"]
    for top in tops:
        seed = 0
        for split, number in KAGGLE.items():
            for n in range(number):
                for place, name in (
                    ("NORMAL", f"IM-{split}{n}-0001"),
                    ("PNEUMONIA", f"person{len(split)}{n}_bacteria_{n}"),
                    ("PNEUMONIA", f"person{len(split)}{n}9_virus_{n}"),
                ):
                    seed += 1
                    path = image(folder / f"set/{top}/{split}/{place}/{name}.png", seed)
                    rows.append(f"{path.relative_to(folder / 'set')},{place},,{split}")
    if layout == "table":
        (folder / "set/all.csv").write_text("\n".join(rows))
    source = {"name": "own", "role": "classification", "layout": layout, "url": "set"}
    found = {"own": layouts.records(Path("set"), source)}
    classes = {"kermany": ["normal", "bacterial", "viral"]}.get(layout, ["NORMAL", "PNEUMONIA"])
    table, rejected = manifest.build(found, classes)
    assert len(table) == 54 and table["sha256"].nunique() == 54
    counts = table["label"].value_counts()
    assert counts[classes].tolist() == ([18, 18, 18] if layout == "kermany" else [18, 36])
    assert table["shipped_split"].value_counts().to_dict() == {"train": 36, "test": 12, "val": 6}
    # The copy in the fewest folders stays.
    assert {path.split("/")[1:-3][0] for path in table["path"]} == {"chest_xray"}
    assert {path.count("chest_xray") for path in table["path"]} == {3 - len(tops)}
    assert len(rejected) == 54 * (len(tops) - 1)
    divided, dropped = splits.assign(
        table, {"train": 0.7, "val": 0.15, "ensemble": 0.15}, "shipped", "drop", 1, classes
    )
    assert dropped.empty and (divided["split"] == "test").sum() == 12


@pytest.mark.parametrize(
    "changes", [{"label": "y"}, {"patient_id": "P9"}, {"shipped_split": "test"}]
)
def test_copies_that_differ_in_what_they_mean_both_stay(folder, changes):
    (one,) = records(folder, ("a", "x", "P1", 1))
    two = copied(folder, one, "in/a.png", image_id="in__a", **changes)
    table, rejected = manifest.build({"own": Found([one, two])}, ["x", "y"])
    assert table["image_id"].tolist() == ["a", "in__a"] and table["group"].nunique() == 1
    two = copied(folder, one, "in/b.png", image_id="b")  # another name
    assert len(manifest.build({"own": Found([one, two])}, ["x", "y"])[0]) == 2


def test_same_image_under_two_labels_is_listed(folder):
    own = records(folder, ("a", "x", "1", 1), ("b", "y", "2", 1), ("c", "x", "3", 3))
    table, rejected = manifest.build({"own": Found(own)}, ["x", "y"])
    assert len(table) == 3
    assert rejected["image_id"].tolist() == ["a", "b"]
    assert set(rejected["reason"]) == {
        "image kept, but the very same image has several labels: 'x', 'y'"
    }


def test_image_id_that_is_there_twice_in_a_source(folder):
    own = records(folder, ("a", "x", "1", 1))
    own.append(ImageRecord("a", image(folder / "sub" / "a.png", 2), "x", "1"))
    with pytest.raises(
        UserError, match=r"image_id 'a' is there twice: a\.png and sub/a\.png, with different.*url"
    ):
        manifest.build({"one": Found(own)}, ["x"])


def test_image_id_that_two_sources_have(folder, caplog):
    one = records(folder, ("a", "x", "", 1), ("b", "x", "", 3))
    two = [ImageRecord("a", image(folder / "sub" / "a.png", 2), "x", "P")]
    table, _ = manifest.build({"one": Found(one), "two": Found(two)}, ["x"])
    assert table["image_id"].tolist() == ["one__a", "b", "two__a"]
    assert table["patient_id"].tolist() == ["one__a", "b", "P"]
    assert "1 image_ids are in several sources, such as 'a'" in caplog.text
    assert "equal ids" not in caplog.text
    one = records(folder, ("c", "x", "P", 4))
    manifest.build({"one": Found(one), "two": Found(two)}, ["x"])
    assert "1 patients are in several sources, such as 'P': equal ids" in caplog.text


def drawn(shape=(64, 64), *values: int) -> np.ndarray:
    """Vertical stripes of equal width."""
    return np.repeat(np.array(values, np.uint8), -(-shape[1] // len(values)))[
        None, : shape[1]
    ].repeat(shape[0], axis=0)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (drawn((64, 64), 0, 255), "2 grey values, two of them on 100% of the pixels"),
        (drawn((64, 64), 0, 85, 170), "3 grey values"),
        (drawn((64, 66), 0, 1, 2, 3, 4, 5), "6 grey values"),
        (drawn((64, 63), *range(0, 241, 40)), None),
        (drawn((64, 64), *range(100, 116)), "lie within 14 of 256 grey values"),
        (drawn((64, 64), *range(100, 132)), None),
        (drawn((64, 64), *range(64)), None),
        (np.where(np.arange(4096) % 41 == 0, np.arange(4096) % 256, 0), "looks like a mask"),
        (np.where(np.arange(4096) % 20 == 0, np.arange(4096) % 256, 0), None),
    ],
)
def test_picture_of_a_mask_is_no_radiograph(folder, picture, reason):
    write_png(picture.astype(np.uint8).reshape(64, -1), folder / "m.png")
    own = [ImageRecord("m", folder / "m.png", "x", "1")]
    table, rejected = manifest.build({"own": Found(own)}, ["x"])
    if reason is None:
        assert len(table) == 1
    else:
        assert table.empty and reason in rejected.loc[0, "reason"]


def test_jpeg_of_a_mask_is_no_radiograph(folder):
    mask = np.zeros((256, 256), np.uint8)
    cv2.ellipse(mask, (90, 128), (40, 90), 0, 0, 360, 255, -1)
    cv2.imwrite(str(folder / "m.jpg"), mask)
    own = [ImageRecord("m", folder / "m.jpg", "x", "1")]
    _, rejected = manifest.build({"own": Found(own)}, ["x"])
    assert "looks like a mask" in rejected.loc[0, "reason"]


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
    one, two = records(folder, ("a", "x", "1", 1), ("b", "x", "1", 2))
    both = [
        replace(one, lung_mask=black, lesion_mask=black),
        replace(two, lung_mask=whole, lesion_mask=whole),
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
    lungs, rejected = manifest.build_lungs({"own": Found(own)})
    table = pd.DataFrame(columns=manifest.MANIFEST_COLUMNS)
    with pytest.raises(
        UserError,
        match=r"source 'own': no usable pair of image and lung mask \(1 left out, such as "
        "black.png: the mask is black all over",
    ):
        refuse(table, rejected, [], lungs, ["own"])


def test_copies_of_lungs_need_equal_masks(folder):
    inside = np.zeros((40, 50), bool)
    inside[10:30] = True
    one = lung(folder, "a", 1, inside)
    two = replace(lung(folder / "in", "a", 1, inside), image_id="in__a")
    three = replace(lung(folder / "other", "a", 1, np.roll(inside, 5, axis=0)), image_id="o")
    lungs, rejected = manifest.build_lungs({"own": Found([one, two, three])})
    assert lungs["image_id"].tolist() == ["a", "o"] and not lungs["patient_known"].any()
    assert rejected["path"].tolist() == ["in/a.png"]


def test_same_table_on_any_number_of_threads(folder):
    own = records(folder, *((f"i{n}", "x", f"P{n % 7}", n) for n in range(40)))
    one, _ = manifest.build({"own": Found(own)}, ["x"], threads=1)
    four, _ = manifest.build({"own": Found(own)}, ["x"], threads=4)
    assert one.equals(four)


def run(root: Path, name: str, inputs: dict, outputs: dict, **params) -> None:
    snakemake = SimpleNamespace(
        rule=name,
        wildcards=[],
        log=[f"logs/{name}.log"],
        threads=2,
        input=Named(**inputs),
        output=Named(**outputs),
        params=SimpleNamespace(**params),
    )
    runpy.run_path(str(root / "workflow" / "scripts" / f"{name}.py"), {"snakemake": snakemake})


ROLES = {"own set": "classification", "lungs": "lungs_train", "lungs2": "lungs_test"}
CHECKED = {
    "images": "data/checked/images.csv",
    "lungs": "data/checked/lungs.csv",
    "rejected": "data/rejected.csv",
}
DIVIDED = {name: f"data/{name}.csv" for name in ("manifest", "lungs", "dropped")}


def listed_and_divided(root: Path, classes: list[str]) -> None:
    sources = [
        {"name": name, "role": role, "layout": "folders", "url": name}
        for name, role in ROLES.items()
    ]
    how = {"sources": sources, "classes": classes, "rgb": False}
    run(root, "manifest", {"sources": list(ROLES)}, CHECKED, **how)
    splits = {
        "test": 0.25,
        "ratios": {"train": 0.5, "val": 0.25, "ensemble": 0.25},
        "recurring_patients": "drop",
        "folds": None,
    }
    more = {"classes": classes, "splits": splits, "val_fraction": 0.25, "seed": 1}
    run(root, "splits", CHECKED, DIVIDED, roles=ROLES, **more)


@pytest.fixture
def sources(folder) -> Path:
    """Names with blanks and letters beyond ASCII, and an empty image among them."""
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
    return folder


def test_scripts_write_the_tables(sources, root):
    listed_and_divided(root, ["no finding", "grau-weiß"])
    tables = {path.stem: pd.read_csv(path) for path in Path("data").glob("*.csv")}
    table = tables["manifest"]
    assert table.columns.tolist() == manifest.MANIFEST_COLUMNS
    assert len(table) == 24 and set(table["split"]) == {"train", "val", "ensemble", "test"}
    assert all(os.path.exists(path) for path in table["path"])
    assert table["path"][0] == "own set/x/grau-weiß/p0-a.png"
    assert table["image_id"][0] == "grau-weiß__p0-a" and not table["patient_known"].any()
    assert tables["rejected"]["image_id"].tolist() == ["no finding__p99-a"]
    assert tables["lungs"]["split"].value_counts().to_dict() == {"train": 3, "val": 1, "test": 4}
    assert tables["dropped"].empty
    first = Path("data/manifest.csv").read_bytes()
    listed_and_divided(root, ["no finding", "grau-weiß"])
    assert Path("data/manifest.csv").read_bytes() == first


def test_refusal_leaves_the_list_of_reasons_behind(sources, root, capsys):
    for path in Path("own set/x/no finding").iterdir():
        path.write_bytes(b"")
    with pytest.raises(SystemExit, match="1"):
        listed_and_divided(root, ["no finding", "grau-weiß"])
    told = Path("logs/splits.log").read_text(encoding="utf-8")
    assert "'no finding' (13 left out, such as own set/x/no finding/p0-a.png: the file is e" in told
    assert len(pd.read_csv("data/rejected.csv")) == 13
    assert not Path("data/manifest.csv").exists()
