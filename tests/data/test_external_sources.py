"""External tests: of their own, below the study's rows, without what the study has itself."""

import logging
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from jobs import Named
from multiloss.data import layouts, leakage, manifest, tables
from multiloss.data.images import write_png
from multiloss.data.layouts import Found, ImageRecord
from multiloss.data.tables import prediction_rows
from multiloss.job.errors import UserError
from multiloss.job.files import write_csv

CLASSES = ["x", "y"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image(path: Path, seed: int) -> Path:
    """A smooth picture that no other seed resembles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 5), np.uint8)
    write_png(np.kron(coarse, np.ones((8, 8), np.uint8)), path)
    return path


def records(source: str, *rows: tuple) -> Found:
    """One record a row of (image_id, label, patient, seed of its content[, shipped split])."""
    return Found([
        ImageRecord(name, image(Path(source, f"{name}.png"), seed), label, patient, *split)
        for name, label, patient, seed, *split in rows
    ])  # fmt: skip


def own(*rows: tuple) -> pd.DataFrame:
    return manifest.build({"own": records("own", *rows)}, CLASSES)[0]


def build(study: pd.DataFrame, **found: Found) -> tuple[pd.DataFrame, pd.DataFrame]:
    return manifest.build_external(found, study, CLASSES)


def test_all_images_whatever_their_shipped_split(folder):
    study = own(("a", "x", "P1", 1), ("b", "y", "P2", 2))
    table, rejected = build(
        study,
        b=records("b", ("c", "x", "Q1", 3, "train"), ("d", "y", "Q2", 4, "test")),
        c=records("c", ("e", "x", "R1", 5), ("f", "z", "R2", 6)),
    )
    assert table.columns.tolist() == manifest.MANIFEST_COLUMNS
    assert table["image_id"].tolist() == ["c", "d", "e"]
    assert table["split"].tolist() == ["external_b", "external_b", "external_c"]
    assert table["shipped_split"].tolist() == ["train", "test", ""]
    assert rejected["reason"].tolist() == ["class 'z' is not in the config"]
    assert rejected.columns.tolist() == manifest.REJECTED_COLUMNS


def test_what_the_study_has_is_left_out_with_its_reason(folder, caplog):
    study = own(("a", "x", "P1", 1), ("b", "y", "P2", 2), ("c", "y", "", 3))
    before = study.copy()
    table, rejected = build(
        study,
        b=records(
            "b",
            ("same", "x", "Q1", 1),  # bytes of a
            ("other", "y", "Q1", 11),  # another image of that patient
            ("known", "x", "P2", 12),  # an id of the study
            ("c", "x", "", 13),  # unknown patients are nobody else's, whatever images are called
            ("P2", "x", "", 14),
            ("new", "y", "Q2", 15),
        ),
    )
    pd.testing.assert_frame_equal(study, before)
    assert table["image_id"].tolist() == ["b__c", "P2", "new"]
    assert rejected.set_index("image_id")["reason"].to_dict() == {
        "same": "known to the study: the study has an identical image",
        "other": "known to the study: its patient owns an image that the study has",
        "known": "known to the study: its patient is in the study",
    }
    assert "b: 1 of 6 images are of patients of the study (1 in all, such as 'P2')" in caplog.text
    with caplog.at_level(logging.WARNING):
        manifest.tell(rejected)
    assert "b: 1 left out: known to the study: its patient is in the study" in caplog.text
    assert table.set_index("image_id")["patient_id"].to_dict() == {
        "P2": "P2", "b__c": "b__c", "new": "Q2",
    }  # fmt: skip
    assert table["group"].tolist() == table["patient_id"].tolist()


def test_two_patients_of_the_study_are_not_joined_by_one_outside(folder):
    study = own(("a", "x", "P1", 1), ("b", "y", "P2", 2))
    table, rejected = build(study, b=records("b", ("c", "x", "Q", 1), ("d", "y", "Q", 2)))
    assert table.empty and len(rejected) == 2
    assert study["group"].tolist() == ["P1", "P2"]


def test_ids_that_others_have_get_the_source_in_front(folder):
    study = own(("a", "x", "P1", 1))
    table, _ = build(
        study,
        b=records("b", ("a", "x", "Q1", 2), ("n", "x", "Q2", 3)),
        c=records("c", ("n", "x", "R1", 4), ("m", "x", "R2", 5)),
    )
    assert table["image_id"].tolist() == ["b__a", "b__n", "c__n", "m"]
    with pytest.raises(UserError, match="image_id 'b__a' is there twice"):
        build(own(("a", "x", "P1", 1), ("b__a", "x", "P2", 9)), b=records("b", ("a", "x", "Q", 2)))


def test_copies_and_two_labels_within_an_external_test(folder):
    study = own(("a", "x", "P1", 1))
    found = records("b", ("c", "x", "Q1", 2), ("d", "y", "Q2", 2))
    table, rejected = build(study, b=found)
    assert table["group"].tolist() == ["Q1", "Q1"]
    assert rejected["reason"].str.contains("several labels: 'x', 'y'").all()


# ---- scripts ---------------------------------------------------------------------------------
ROLES = {"own": "classification", "b": "external_test"}
CHECKED = {"images": "data/checked/images.csv", "lungs": [], "rejected": "data/rejected.csv"}
DIVIDED = {"manifest": "data/manifest.csv", "lungs": [], "dropped": "data/dropped.csv"}


def run(root: Path, name: str, inputs: dict, outputs: dict, **params) -> None:
    snakemake = SimpleNamespace(
        rule=name,
        wildcards=[],
        log=[f"logs/{name}.log"],
        threads=1,
        input=Named(**inputs),
        output=Named(**outputs),
        params=SimpleNamespace(**params),
    )
    runpy.run_path(str(root / "workflow" / "scripts" / f"{name}.py"), {"snakemake": snakemake})


def divided(root: Path, roles: dict[str, str] = ROLES) -> str:
    """The text of the manifest of a study with these sources."""
    sources = [
        {"name": name, "role": role, "layout": "folders", "url": name, "patient_pattern": "(p.+)_"}
        for name, role in roles.items()
    ]
    how = {"sources": sources, "classes": CLASSES, "rgb": False}
    run(root, "manifest", {"sources": list(roles)}, CHECKED, **how)
    division = {"train": 0.5, "val": 0.25, "ensemble": 0.25}
    division = {"test": 0.25, "ratios": division, "recurring_patients": "drop", "folds": None}
    more = {"classes": CLASSES, "splits": division, "val_fraction": 0.25, "seed": 1}
    run(root, "splits", CHECKED, DIVIDED, roles=roles, **more)
    return Path(DIVIDED["manifest"]).read_text(encoding="utf-8")


@pytest.fixture
def sources(folder) -> Path:
    for k, label in enumerate(CLASSES):
        for number in range(12):
            image(Path("own", label, f"p{number}{label}_1.png"), 100 * k + number)
            if number < 4 - 3 * k:
                image(Path("b", label, f"pb{number}{label}_1.png"), 1000 + 100 * k + number)
    return folder


def test_the_study_is_the_same_with_and_without_external_tests(sources, root):
    with_external = divided(root)
    alone = divided(root, {"own": "classification"})
    assert with_external.startswith(alone)
    rest = with_external.removeprefix(alone).splitlines()
    assert len(rest) == 5 and all(",external_b," in line for line in rest)
    # Exchanged, and listed first: nothing else moves.
    Path("b/x").rename("b/z")
    Path("b/y").rename("b/x")
    Path("b/z").rename("b/y")
    turned = divided(root, dict(reversed(ROLES.items())))
    assert turned.startswith(alone) and turned != with_external
    log = Path("logs/splits.log").read_text(encoding="utf-8")
    assert "external test b: 1 x of 1 patient, 4 y of 4 patients; 5 patients in all" in log


def test_a_class_that_is_not_there_is_told_and_an_empty_test_refused(sources, root, capsys):
    for path in Path("b/y").iterdir():
        path.unlink()
    divided(root)
    log = Path("logs/splits.log").read_text(encoding="utf-8")
    assert "external test b: no image of 'y': metrics that need it are not defined there" in log
    for path in Path("b/x").iterdir():
        path.write_bytes(Path("own/x/p0x_1.png").read_bytes())
    with pytest.raises(SystemExit, match="1"):
        divided(root)
    log = Path("logs/splits.log").read_text(encoding="utf-8")
    told = "Error: source 'b': no usable image for an external test (4 left out, such as b/x/"
    assert told in log
    assert "known to the study" in log


def test_a_class_that_the_external_test_alone_has_is_missing(sources, root):
    for path in Path("own/y").iterdir():
        path.unlink()
    with pytest.raises(SystemExit, match="1"):
        divided(root)
    log = Path("logs/splits.log").read_text(encoding="utf-8")
    assert "classes: no usable image of class 'y' (the sources have: x)" in log


def test_splits_of_a_table_and_rows_that_are_predicted(sources, root):
    divided(root)
    table = tables.read_manifest(DIVIDED["manifest"], CLASSES)
    assert tables.splits_of(table) == ["train", "val", "ensemble", "test", "external_b"]
    assert tables.predicted_splits(table) == ["val", "ensemble", "test", "external_b"]
    rows = table["split"].iloc[prediction_rows(table)]
    assert rows.drop_duplicates().tolist() == ["val", "ensemble", "test", "external_b"]
    assert len(rows) == (table["split"] != "train").sum()
    assert tables.external_source(tables.external_split("a_b.c")) == "a_b.c"
    assert [tables.external_source(split) for split in tables.SPLITS] == [None] * 4
    write_csv(table.assign(split=table["split"].str.replace("external_b", "outside")), "m.csv")
    with pytest.raises(UserError, match="split 'outside' is none of train, val, ensemble, test"):
        tables.read_manifest("m.csv", CLASSES)


def test_roles_of_layouts(folder):
    source = {"name": "b", "role": "external_test", "layout": "folders"}
    layouts.get("folders").refuse_other_roles(source)
    with pytest.raises(UserError, match="layout 'shenzhen' has nothing for role 'external_test'"):
        layouts.get("shenzhen").refuse_other_roles(source | {"layout": "shenzhen"})


# ---- audit -----------------------------------------------------------------------------------
def audit(table: pd.DataFrame, lungs: pd.DataFrame | None = None) -> pd.DataFrame:
    dropped = pd.DataFrame(columns=["patient_id", "label", "shipped_split"])
    return leakage.audit(table.astype({"bits": str}), lungs, dropped).set_index("check")


def test_the_audit_looks_across_external_tests(sources, root):
    divided(root)
    table = pd.read_csv(DIVIDED["manifest"], dtype=str, keep_default_na=False)
    ours = audit(table[table["split"] != "external_b"])
    found = audit(table)
    assert (found.loc[ours.index] == ours).all(axis=None)
    added = found.drop(ours.index)
    assert len(added) == 5 and (added["verdict"] == "pass").all()
    where = table.index[table["split"] == "external_b"]
    # A patient of the study, and an image of it, found in the finished manifest.
    patient = table.copy()
    patient.loc[where[0], "patient_id"] = table["patient_id"][0]
    row = audit(patient).loc["external_patients_in_the_study"]
    assert (row["count"], row["verdict"]) == (1, "leak") and table["patient_id"][0] in row["detail"]
    copy = table.copy()
    copy.loc[where[0], ["sha256", "phash", "path"]] = table.loc[0, ["sha256", "phash", "path"]]
    row = audit(copy).loc["external_images_in_the_study"]
    assert (row["count"], row["verdict"]) == (1, "leak")
    # The same in two external tests is to know, but flatters nothing.
    two = table.copy()
    two.loc[where[1], "split"] = "external_c"
    two.loc[where[1], ["sha256", "patient_id"]] = two.loc[where[0], ["sha256", "patient_id"]]
    found = audit(two)
    for check in ("external_patients_in_several_sets", "external_images_in_several_sets"):
        assert found.loc[check, "verdict"] == "note" and found.loc[check, "count"] > 0
    assert found.loc["external_images_in_the_study", "verdict"] == "pass"
    lungs = copy.iloc[[where[0]]].assign(split="train", mask_paths="m.png")
    row = audit(copy, lungs).loc["external_images_seen_by_the_segmenter"]
    assert (row["count"], row["n"], row["verdict"]) == (1, 5, "leak")
