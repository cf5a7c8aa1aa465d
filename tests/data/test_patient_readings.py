"""Who is one patient where the publishers leave it open: counted by hand, and on real names."""

import logging
import zipfile
from pathlib import PurePosixPath

import pandas as pd
from multiloss.data import patient_readings

SOURCE = {"name": "own", "layout": "kermany", "patients": "number"}
COUNTS = ["images", "patients", "test_patients", "recurring_patients", "recurring_images"]


def images(*paths: str, source: str = "own") -> pd.DataFrame:
    split = [PurePosixPath(path).parent.parent.name for path in paths]
    names = [PurePosixPath(path).stem for path in paths]
    return pd.DataFrame(
        {"image_id": names, "path": paths, "source": source, "shipped_split": split}
    )


def test_counts_by_hand(caplog):
    table = images(
        "x/train/PNEUMONIA/person1_bacteria_1.jpeg",  # 1 and 2 recur by number alone
        "x/train/PNEUMONIA/person1_bacteria_2.jpeg",
        "x/train/PNEUMONIA/person2_virus_3.jpeg",  # recurs by number and kind, too
        "x/train/PNEUMONIA/person3_virus_4.jpeg",
        "x/train/NORMAL/IM-1-1.jpeg",
        "x/train/NORMAL/nobody.jpeg",  # not known: a patient of its own
        "x/test/PNEUMONIA/person1_virus_5.jpeg",
        "x/test/PNEUMONIA/person2_virus_6.jpeg",
        "x/test/PNEUMONIA/person2_bacteria_7.jpeg",
        "x/test/NORMAL/IM-2-1.jpeg",
    )
    other = images("y/train/NORMAL/IM-2-1.jpeg", source="another")
    caplog.set_level(logging.INFO)
    found = patient_readings.compare(pd.concat([table, other]), [SOURCE])
    assert list(found.columns) == patient_readings.COLUMNS
    number, kind = found.to_dict("records")
    assert [number[key] for key in COUNTS] == [10, 6, 3, 2, 3] and number["used"]
    assert [kind[key] for key in COUNTS] == [10, 8, 4, 1, 1] and not kind["used"]
    patient_readings.tell(found)
    assert "own, patients by number (as used here): 2 of 3 patients of the test" in caplog.text


def test_layouts_without_a_question_have_no_row():
    table = images("x/train/a/1.png")
    assert patient_readings.compare(table, [SOURCE | {"layout": "folders"}]).empty


def test_published_names(shared_data):
    """The published set, of whose test folder no patient recurs by number and kind."""
    with zipfile.ZipFile(shared_data / "ChestXRay2017-224.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpeg")]
    table = images(*(name for name in names if "__MACOSX" not in name))
    number, kind = patient_readings.compare(table, [SOURCE]).to_dict("records")
    assert (number["recurring_patients"], number["recurring_images"]) == (170, 457)
    assert (kind["test_patients"], kind["recurring_patients"], kind["recurring_images"]) == (
        428, 0, 0,
    )  # fmt: skip
