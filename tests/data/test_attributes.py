"""Columns that tell groups of patients apart: read as they stand, grouped, refused in one line."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from multiloss.data import attributes, layouts
from multiloss.data.groups import band_names, groups
from multiloss.job.errors import UserError


def named(values: list[str], bands: list[float] | None = None) -> list[str]:
    found = groups(values, "age", bands)
    return [found.names[place] if place >= 0 else "unknown" for place in found.of]


def test_bands_hold_their_beginning_and_not_their_end() -> None:
    values = ["17.9", "18", "64", "65", "120", "-1", "", "n/a", "0"]
    wanted = ["under 18", "18 to 65", "18 to 65", "65 and over", "65 and over", "under 18"]
    assert named(values, [18, 65]) == [*wanted, "unknown", "unknown", "under 18"]
    assert band_names([40.5]) == ["under 40.5", "40.5 and over"]
    # Bands without a patient are groups, too.
    assert groups(["20"], "age", [18, 65]).names == ("under 18", "18 to 65", "65 and over")


def test_values_are_groups_in_their_order() -> None:
    assert groups(["10", "9", "1.0", "1"], "x", None).names == ("1", "9", "10")
    assert named(["1.0", "1"]) == ["1", "1"]
    assert groups(["b", "a", "10", "b"], "x", None).names == ("10", "a", "b")
    for value in ("", " ", "nan", "N/A", "<NA>", "Unknown", "not known", "?"):
        assert named([value, "F"]) == ["unknown", "F"], value
    # A device that is none is a device.
    assert named(["none", "F"]) == ["none", "F"]
    assert named(["a\nb", "a  b"]) == ["a b", "a b"]
    assert groups(["", ""], "x", None).names == ()


@pytest.mark.parametrize(
    ("values", "bands", "parts"),
    [
        (["45", "045Y"], [18.0], ["'age' has bands", "'045Y' is no number"]),
        (["45", "nan", "inf"], [18.0], ["'inf' is no number"]),
        ([str(n) for n in range(13)], None, ["13 different numbers", "bands: [18, 65]"]),
        ([f"id{n}" for n in range(51)], None, ["51 different values", "'id0'"]),
        (["x" * 300] + [f"id{n}" for n in range(51)], None, ["52 different values"]),
    ],
)
def test_what_makes_no_groups(values: list[str], bands: list | None, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        groups(values, "age", bands)
    text = str(error.value)
    assert text.startswith("evaluation.subgroups: column 'age' ")
    assert all(part in text for part in parts) and "\n" not in text and len(text) < 250


def test_twelve_numbers_and_fifty_texts_are_groups() -> None:
    assert len(groups([str(n) for n in range(12)], "x", None).names) == 12
    assert len(groups([f"site {n}" for n in range(50)], "x", None).names) == 50


def table(folder: Path, name: str, rows: list[str]) -> layouts.Found:
    folder.mkdir(parents=True)
    (folder / "all.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    source = {"name": name, "role": "classification", "layout": "table", "url": str(folder)}
    return layouts.records(folder, source)


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, layouts.Found]:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"")
    rows = ["path,label,patient,Sex,age,source", "a.png,ill,1,F,70,theirs", "b.png,well,2,,8,x"]
    return {
        "north": table(tmp_path / "n", "north", rows),
        "south": table(tmp_path / "s", "south", ["path,label,patient,AGE", "c.png,ill,3,33"]),
    }


MANIFEST = pd.DataFrame(
    {
        "image_id": ["north__a", "b", "c"],
        "path": ["n/a.png", "n/b.png", "s/c.png"],
        "source": ["north", "north", "south"],
    }
)


def entries(*columns: str, bands: list[float] | None = None) -> list[dict]:
    return [{"column": column, "bands": bands} for column in columns]


def test_columns_as_they_stand_by_image(found: dict[str, layouts.Found]) -> None:
    table = attributes.collect(MANIFEST, found, entries("sex", "Age", "source"))
    assert table.to_dict("list") == {
        "image_id": ["north__a", "b", "c"],
        # A source without the column leaves it empty; any case will do; `source` is the study's.
        "sex": ["F", "", ""],
        "Age": ["70", "8", "33"],
        "source": ["north", "north", "south"],
    }
    only = attributes.collect(MANIFEST.iloc[::-1].reset_index(drop=True), found, entries("age"))
    assert only["age"].tolist() == ["33", "8", "70"]


def test_only_further_columns_are_further(found: dict[str, layouts.Found]) -> None:
    first = found["north"].records[0]
    assert first.further == {"sex": "F", "age": "70", "source": "theirs"}
    assert first.label == "ill" and first.patient_id == "1"


@pytest.mark.parametrize("column", ["sxe", "label", "path", "<b>\N{HEBREW LETTER ALEF}</b>"])
def test_column_that_no_source_has(found: dict[str, layouts.Found], column: str) -> None:
    with pytest.raises(UserError, match="no source has a column") as error:
        attributes.collect(MANIFEST, found, entries(column))
    assert f"'{column}' (there are: age, sex, source)" in str(error.value)


def test_values_that_differ_in_capitals_are_told(
    found: dict[str, layouts.Found], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["path,label,patient,sex", "c.png,ill,3,f"]
    found = found | {"south": table(tmp_path / "t", "south", rows)}
    manifest = MANIFEST.assign(path=["n/a.png", "n/b.png", "t/c.png"])
    with caplog.at_level(logging.WARNING):
        attributes.collect(manifest, found, entries("sex"))
    assert "'F' and 'f', taken for two groups" in caplog.text


def test_bands_are_checked_before_anything_is_trained(found: dict[str, layouts.Found]) -> None:
    with pytest.raises(UserError, match="column 'sex' has bands, but 'F' is no number"):
        attributes.collect(MANIFEST, found, entries("sex", bands=[18]))
    of = groups(attributes.collect(MANIFEST, found, entries("age"))["age"], "age", [40]).of
    assert np.array_equal(of, [1, 0, 0])
