"""Each layout on a small tree of its kind, and the public ones on real archives."""

import os
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from multiloss import references
from multiloss.data import layouts
from multiloss.data.sources import archives
from multiloss.job.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def source(layout: str, role: str = "classification", **more) -> dict:
    return {"name": "own", "layout": layout, "role": role, "url": "somewhere"} | more


def summary(found: layouts.Found) -> list[tuple]:
    return [
        (record.image_id, record.label, record.patient_id, record.shipped_split)
        for record in found.records
    ]


def masks_of(found: layouts.Found, root: Path) -> dict[str, list[str]]:
    return {
        record.image_id: [path.relative_to(root).as_posix() for path in record.mask_paths]
        for record in found.records
    }


def reasons(found: layouts.Found) -> dict[str, str]:
    return {rejection.path.name: rejection.reason for rejection in found.rejections}


def test_names_are_the_modules_and_cost_nothing():
    assert set(layouts.names()) >= {
        "kermany",
        "shenzhen",
        "montgomery",
        "folders",
        "table",
        "phantom",
    }
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from multiloss.data import layouts;"
        "layouts.names(); print({'cv2', 'pandas', 'numpy'} & set(sys.modules))"
    )
    package = Path(layouts.__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, package], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_every_layout_tells_what_it_is():
    for name in layouts.names():
        layout = layouts.get(name)
        assert layout.__doc__ and layout.title, name
    for name in ("kermany", "shenzhen", "montgomery"):
        layout = layouts.get(name)
        assert "doi:" in layout.citation and layout.license and layout.homepage, name
        assert set(layout.cites) <= set(references.known())
    assert layouts.get("kermany").citation == references.cited("kermany2018")


def test_unknown_layout():
    with pytest.raises(UserError, match="unknown layout 'kermani'.*kermany"):
        layouts.get("kermani")


def test_layout_without_the_role(tmp_path):
    with pytest.raises(UserError, match="layout 'kermany' has nothing for role 'lungs_train'"):
        layouts.records(tmp_path, source("kermany", "lungs_train"))


def test_nothing_found(tmp_path):
    touch(tmp_path, "a/b.dcm", "a/c.DCM", "a/notes.txt")
    with pytest.raises(
        UserError, match="source 'own': no images in layout 'kermany'.*2 files not read: 2 .dcm"
    ):
        layouts.records(tmp_path, source("kermany"))


def test_kermany(tmp_path):
    touch(
        tmp_path,
        "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
        "chest_xray/train/NORMAL/NORMAL2-IM-0343-0001-0002.jpeg",
        "chest_xray/train/PNEUMONIA/person1000_bacteria_2931.jpeg",
        "chest_xray/train/PNEUMONIA/person1000_virus_1681.jpeg",
        "chest_xray/test/PNEUMONIA/person1_virus_6.jpeg",
        "chest_xray/test/PNEUMONIA/nobody.jpeg",
        "chest_xray/train/NORMAL/.DS_Store",
        "__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg",
    )
    found = layouts.records(tmp_path, source("kermany"))
    assert summary(found) == [
        ("IM-0115-0001", "normal", "IM-0115", "train"),
        ("NORMAL2-IM-0343-0001-0002", "normal", "NORMAL2-IM-0343", "train"),
        ("person1000_bacteria_2931", "bacterial", "person1000", "train"),
        ("person1000_virus_1681", "viral", "person1000", "train"),
        ("person1_virus_6", "viral", "person1", "test"),
    ]
    assert reasons(found) == {"nobody.jpeg": "neither bacteria nor virus in the file name"}
    apart = layouts.records(tmp_path, source("kermany", patients="number_and_kind"))
    assert [record.patient_id for record in apart.records] == [
        "IM-0115", "NORMAL2-IM-0343", "person1000_bacteria", "person1000_virus", "person1_virus",
    ]  # fmt: skip


def test_shenzhen(tmp_path):
    touch(
        tmp_path,
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png",
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0002_0.png",
        "ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0001_0.txt",
        "ChinaSet_AllFiles/mask/CHNCXR_0001_0_mask.png",
        "ChinaSet_AllFiles/mask/CHNCXR_0009_1_mask.png",
    )
    found = layouts.records(tmp_path, source("shenzhen", "lungs_train"))
    assert masks_of(found, tmp_path) == {
        "CHNCXR_0001_0": ["ChinaSet_AllFiles/mask/CHNCXR_0001_0_mask.png"]
    }
    assert found.records[0].patient_id == "CHNCXR_0001"
    assert reasons(found) == {
        "CHNCXR_0002_0.png": "no mask for this image",
        "CHNCXR_0009_1_mask.png": "no image for this mask",
    }


def test_shenzhen_masks_in_an_archive_of_their_own(tmp_path):
    touch(
        tmp_path,
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png",
        "part2/some folder/CHNCXR_0001_0_mask.png",
    )
    found = layouts.records(tmp_path, source("shenzhen", "lungs_train"))
    assert masks_of(found, tmp_path) == {
        "CHNCXR_0001_0": ["part2/some folder/CHNCXR_0001_0_mask.png"]
    }


BUNDLE = (
    "set/Shenzhen/img/CHNCXR_0001_0.png",
    "set/Shenzhen/mask/CHNCXR_0001_0.png",
    "set/Montgomery/img/MCUCXR_0001_0.png",
    "set/Montgomery/mask/MCUCXR_0001_0.png",
    "set/Darwin/img/person1_virus_6.jpeg",
    "set/Darwin/mask/person1_virus_6.png",
)


def test_bundle_gives_each_layout_its_own_part(tmp_path):
    touch(tmp_path, *BUNDLE)
    found = layouts.records(tmp_path, source("shenzhen", "lungs_train"))
    assert masks_of(found, tmp_path) == {"CHNCXR_0001_0": ["set/Shenzhen/mask/CHNCXR_0001_0.png"]}
    found = layouts.records(tmp_path, source("montgomery", "lungs_test"))
    assert masks_of(found, tmp_path) == {"MCUCXR_0001_0": ["set/Montgomery/mask/MCUCXR_0001_0.png"]}
    assert found.records[0].patient_id == "MCUCXR_0001"


def test_image_that_is_there_twice_is_taken_from_beside_its_mask(tmp_path):
    touch(tmp_path, "ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png")
    touch(tmp_path / "part2", *BUNDLE)
    (record,) = layouts.records(tmp_path, source("shenzhen", "lungs_train")).records
    assert record.path == tmp_path / "part2" / BUNDLE[0]


def test_montgomery(tmp_path):
    folder = "MontgomerySet/ManualMask"
    touch(
        tmp_path,
        *(f"MontgomerySet/CXR_png/MCUCXR_000{i}_0.png" for i in (1, 2, 3)),
        f"{folder}/leftMask/MCUCXR_0001_0.png",
        f"{folder}/rightMask/MCUCXR_0001_0.png",
        f"{folder}/leftMask/MCUCXR_0002_0.png",
        f"{folder}/rightMask/MCUCXR_0009_0.png",
    )
    found = layouts.records(tmp_path, source("montgomery", "lungs_test"))
    assert masks_of(found, tmp_path) == {
        "MCUCXR_0001_0": [
            f"{folder}/leftMask/MCUCXR_0001_0.png",
            f"{folder}/rightMask/MCUCXR_0001_0.png",
        ]
    }
    assert reasons(found) == {
        "MCUCXR_0002_0.png": "left or right mask missing",
        "MCUCXR_0003_0.png": "no mask for this image",
        "MCUCXR_0009_0.png": "no image for this mask",
    }


def test_phantom_has_masks_beside(tmp_path):
    touch(
        tmp_path,
        "chest_xray/train/NORMAL/IM-0001-0001.jpeg",
        "chest_xray/train/PNEUMONIA/person2_virus_3.jpeg",
        "chest_xray/lung_masks/IM-0001-0001.png",
        "chest_xray/lung_masks/person2_virus_3.png",
        "chest_xray/lesion_masks/person2_virus_3.png",
    )
    normal, viral = layouts.records(tmp_path, source("phantom")).records
    assert normal.lung_mask and normal.lesion_mask is None
    assert viral.lesion_mask == tmp_path / "chest_xray/lesion_masks/person2_virus_3.png"


def test_folders_with_splits_and_class_names_with_spaces(tmp_path):
    touch(
        tmp_path,
        "my set/train/no finding/a.png",
        "my set/train/no finding/deep/b.jpg",
        "my set/Test/ground glass/a.TIF",
        "my set/preview.png",
        "my set/train/no finding/notes.txt",
    )
    found = layouts.records(tmp_path, source("folders"))
    assert summary(found) == [
        ("Test__ground glass__a", "ground glass", "", "test"),
        ("train__no finding__a", "no finding", "", "train"),
        ("train__no finding__deep__b", "no finding", "", "train"),
    ]


def test_image_beside_the_class_folders_of_a_split(tmp_path):
    touch(tmp_path, "train/ill/a.png", "test/well/b.png", "train/preview.png")
    found = layouts.records(tmp_path, source("folders"))
    assert summary(found) == [
        ("test__well__b", "well", "", "test"),
        ("train__ill__a", "ill", "", "train"),
    ]
    assert reasons(found) == {"preview.png": "lies in no class folder"}


def test_file_name_that_is_not_utf8(tmp_path):
    touch(tmp_path, "ill/a.png", "well/b.png")
    os.rename(tmp_path / "ill/a.png", os.fsencode(tmp_path / "ill") + b"/gr\xf6\xdfe.png")
    with pytest.raises(UserError, match=r"source 'own'.*gr\\xf6\\xdfe\.png.*is not UTF-8"):
        layouts.records(tmp_path, source("folders"))


def test_folders_without_splits_and_by_link(tmp_path):
    data = touch(tmp_path / "data", "healthy/a.png", "test/b.png", "ill/c.png")
    root = tmp_path / "sources" / "own"
    root.mkdir(parents=True)
    (root / "linked").symlink_to(data)
    found = layouts.records(root, source("folders"))
    assert summary(found) == [
        ("healthy__a", "healthy", "", ""),
        ("ill__c", "ill", "", ""),
        ("test__b", "test", "", ""),
    ]


def test_link_that_leads_back_ends(tmp_path):
    touch(tmp_path, "healthy/a.png", "ill/b.png")
    (tmp_path / "ill" / "again").symlink_to(tmp_path)
    assert len(layouts.records(tmp_path, source("folders")).records) == 2


def test_folders_with_a_list_of_patients(tmp_path):
    touch(tmp_path, "x/a.png", "x/b.png", "x/c.png", "y/d.png")
    (tmp_path / "patients.csv").write_text("image,patient\nx/a.png, P1\nb.png,P1\nc,007\n")
    found = layouts.records(tmp_path, source("folders"))
    assert [record.patient_id for record in found.records] == ["P1", "P1", "007", ""]


def test_folders_with_a_pattern(tmp_path):
    touch(tmp_path, "x/p1-a.png", "x/p1-b.png", "y/p23-a.png", "y/other.png")
    found = layouts.records(tmp_path, source("folders", patient_pattern=r"(p\d+)-"))
    assert [record.patient_id for record in found.records] == ["p1", "p1", "", "p23"]
    found = layouts.records(tmp_path, source("folders", patient_pattern=r"p\d+"))
    assert found.records[0].patient_id == "p1"
    with pytest.raises(UserError, match=r"patient_pattern '\(' is no regular expression"):
        layouts.records(tmp_path, source("folders", patient_pattern="("))


def test_folders_of_lungs(tmp_path):
    touch(
        tmp_path,
        "images/a.jpg",
        "images/s1/b.png",
        "images/s2/b.png",
        "masks/a.png",
        "masks/s1/b_mask.png",
        "masks/c.png",
    )
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert masks_of(found, tmp_path) == {"a": ["masks/a.png"], "s1__b": ["masks/s1/b_mask.png"]}
    assert [(own.image_id, own.reason) for own in found.rejections] == [
        ("c", "no image for this mask"),
        ("s2__b", "no mask for this image"),
    ]


def test_flat_folder_of_lungs(tmp_path):
    touch(tmp_path, "a.png", "a_mask.png", "b.png")
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert masks_of(found, tmp_path) == {"a": ["a_mask.png"]}


def test_table(tmp_path):
    touch(tmp_path, "set/img/a.png", "set/img/b.png", "set/m/l.png")
    (tmp_path / "set" / "all.csv").write_text(
        "\ufeffpath, label ,patient,split,lesion_mask\n"
        "img/a.png,no finding,007,Test,\n"
        "./img/b.png,ill,,train,m/l.png\n"
        "img/c.png,,1,,\n",
        encoding="utf-8",
    )
    found = layouts.records(tmp_path, source("table"))
    assert summary(found) == [
        ("img__a", "no finding", "007", "test"),
        ("img__b", "ill", "", "train"),
    ]
    assert found.records[1].lesion_mask == tmp_path / "set/m/l.png"
    assert reasons(found) == {"c.png": "no label in the table"}


def test_table_as_spreadsheets_write_it(tmp_path):
    """Commas at the ends of rows, empty rows, a row without a path."""
    rows = ["path,label,patient", "a.png,ill,1,,", ",,,,", '"b, 2.png",well,2,,', ",ill,3,,"]
    (tmp_path / "all.csv").write_text("\r\n".join(rows) + "\r\n")
    found = layouts.records(tmp_path, source("table"))
    assert summary(found) == [("a", "ill", "1", ""), ("b, 2", "well", "2", "")]
    assert reasons(found) == {"all.csv": "a row without a path"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x/a.png,ill,1,\n./x/../x/a.png,ill,2,", r"all\.csv names 'x/a\.png' twice"),
        ("a.png,ill,1,tset", r"all\.csv: a\.png: split 'tset' is not known: use train, val"),
        (
            "a.png,ill,1,\nb.png,ill,2,,x,",
            r"all\.csv cannot be read as CSV \(line 3 has 6 values, the header 4 names.*\): mend",
        ),
        ("a.png,ill, zone 1,p1,", r"split 'p1' is not known"),
        ("a.png,ill, zone 1,p1,train", r"line 2 has 5 values, the header 4 names"),
        ('a.png,"ill,1,\nb.png,ill,2,', r"cannot be read as CSV \(line 3: unexpected end of data"),
        ('a.png,"ill"s,1,', r"cannot be read as CSV \(line 2: .*expected after"),
        ('a.png,ill,"1,\nb.png,ill",2', r"all\.csv: a line break in '1,.*\(column patient\)"),
        ("D:\\set\\a.png,ill,1,", r"path 'D:\\set\\a\.png' leaves the folder of the table"),
        ("\\\\server\\a.png,ill,1,", r"leaves the folder of the table"),
    ],
)
def test_tables_with_wrong_rows(tmp_path, rows, message):
    (tmp_path / "all.csv").write_text(f"path,label,patient,split\n{rows}\n")
    with pytest.raises(UserError, match=f"(?s){message}") as caught:
        layouts.records(tmp_path, source("table"))
    assert "\n" not in str(caught.value)


def test_table_with_semicolons(tmp_path):
    (tmp_path / "all.csv").write_text("path;label;patient\na.png;ill;1\n")
    with pytest.raises(UserError, match="with commas between them .it begins with 'path;label"):
        layouts.records(tmp_path, source("table"))


def test_table_of_lungs(tmp_path):
    (tmp_path / "all.csv").write_text("path,mask,patient\na.png,l.png; r.png,P1\nb.png,,P2\n")
    found = layouts.records(tmp_path, source("table", "lungs_test"))
    assert masks_of(found, tmp_path) == {"a": ["l.png", "r.png"]}
    assert reasons(found) == {"b.png": "no mask for this image"}


@pytest.mark.parametrize("path", ["../a.png", "/etc/a.png", "x/../../a.png", "..\\a.png"])
def test_table_that_leaves_its_folder(tmp_path, path):
    (tmp_path / "all.csv").write_text(f"path,label,patient\n{path},x,1\n")
    with pytest.raises(UserError, match="leaves the folder"):
        layouts.records(tmp_path, source("table"))


def test_tables_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="0 CSV files"):
        layouts.records(tmp_path, source("table"))
    (tmp_path / "a.csv").write_text("path,class\na.png,x\n")
    with pytest.raises(UserError, match=r"a\.csv has no column label, patient"):
        layouts.records(tmp_path, source("table"))
    (tmp_path / "b.csv").write_text("path,label,patient\na.png,x,1\n")
    with pytest.raises(UserError, match="2 CSV files"):
        layouts.records(tmp_path, source("table"))
    assert len(layouts.records(tmp_path, source("table", table="b.csv")).records) == 1
    assert len(layouts.records(tmp_path, source("table", url="x/b.csv")).records) == 1
    (tmp_path / "a.csv").write_bytes(b"path,label,patient\n\xff\xfe,x,1\n")
    with pytest.raises(UserError, match="cannot be read as CSV"):
        layouts.records(tmp_path, source("table", table="a.csv"))


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("real")
    for name in ("ChestXRay2017-mini", "lungs-train", "lungs-test"):
        archives.unpack(shared_data / f"{name}.zip", root / name)
    return root


def test_real_kermany(real):
    found = layouts.records(real / "ChestXRay2017-mini", source("kermany"))
    assert not found.rejections
    assert Counter((record.shipped_split, record.label) for record in found.records) == {
        ("train", "normal"): 232,
        ("train", "bacterial"): 436,
        ("train", "viral"): 232,
        ("test", "normal"): 90,
        ("test", "bacterial"): 93,
        ("test", "viral"): 57,
    }
    assert all(record.patient_id for record in found.records)


def test_real_lungs(real):
    train = layouts.records(real / "lungs-train", source("shenzhen", "lungs_train"))
    test = layouts.records(real / "lungs-test", source("montgomery", "lungs_test"))
    assert not train.rejections and not test.rejections
    assert {len(record.mask_paths) for record in train.records} == {1}
    assert {len(record.mask_paths) for record in test.records} == {2}
    assert (len(train.records), len(test.records)) == (240, 60)
    patients = [{record.patient_id for record in found.records} for found in (train, test)]
    assert all(patients[0]) and not patients[0] & patients[1]


def everything(found: layouts.Found) -> list[Path]:
    """Every file that a layout accounts for, as often as it does."""
    files = [rejection.path for rejection in found.rejections]
    for record in found.records:
        files.append(record.path)
        if isinstance(record, layouts.LungRecord):
            files += record.mask_paths
        else:
            files += [path for path in (record.lung_mask, record.lesion_mask) if path]
    return sorted(files)


# No radiographs, wherever they lie below a class.
DRAWN = (
    *("masks/a.png", "mask/a.png", "Lung_Mask/b.png", "infection masks/a.png", "a_mask.png"),
    *("segmentation/a.png", "Segmentations/a.png", "leftMask/a.png", "annotated/a.png"),
    *("Annotations/x.png", "overlays/a.png", "heat maps/a.png", "GradCAM/a.png", "labels/a.png"),
    *(
        "ground_truth/a.png",
        "groundtruth/a.png",
        "GT/a.png",
        "thumbnails/a.png",
        "a (1)_mask_1.png",
    ),
    *("infectionmasks/a.png", "label_maps/a.png", "a_lungmask.png", "a_cam.png", "annot/a.png"),
    *("a-overlay.png", "mask-a.png", "a_seg.png", "a_GT.png", "p1/deep/masks/a.png"),
)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("place", ["", "images/"])
def test_folders_take_no_mask_or_drawing_for_a_radiograph(tmp_path, name, place):
    touch(tmp_path, f"ill/{place}a.png", f"ill/{name}", f"well/{place}b.png")
    found = layouts.records(tmp_path, source("folders"))
    assert [record.path for record in found.records] == [
        tmp_path / f"ill/{place}a.png",
        tmp_path / f"well/{place}b.png",
    ]
    (rejection,) = found.rejections
    assert rejection.path == tmp_path / f"ill/{name}" and rejection.label == "ill"
    assert "no radiograph" in rejection.reason or rejection.reason == "no image for this lung mask"


@pytest.mark.parametrize(
    "name",
    [
        "p1/a.png",
        "PA/a.png",
        "unmasked_a.png",
        "labelled-3_a.png",
        "segment 2/a.png",
        "masked/a.png",
    ],
)
def test_folders_below_a_class_may_be_patients_or_views(tmp_path, name):
    touch(tmp_path, f"ill/{name}", "well/b.png")
    found = layouts.records(tmp_path, source("folders"))
    assert len(found.records) == 2 and not found.rejections


def test_classes_may_be_called_after_masks_and_images(tmp_path):
    names = ("with mask/a.png", "no mask/b.png", "COVID images/c.png", "lung_opacity labels/d.png")
    found = layouts.records(touch(tmp_path, *names), source("folders"))
    assert {record.label for record in found.records} == {Path(name).parts[0] for name in names}


def test_only_the_folder_of_images_counts_beside_others(tmp_path):
    """COVID-19 Radiography, COVID-QU-Ex, and a folder of which nothing is known."""
    touch(
        tmp_path,
        "set/Train/COVID/images/a.png",
        "set/Train/COVID/lung masks/a.png",
        "set/Train/COVID/lung masks/b.png",
        "set/Train/COVID/infection masks/a.png",
        "set/Train/COVID/processed/a.png",
        "set/Train/COVID/other.png",
        "set/Test/Normal/images/p1/a.png",
        "set/Test/Normal/lung_masks/p1/a_mask.png",
    )
    found = layouts.records(tmp_path, source("folders"))
    assert [
        (own.image_id, own.label, own.shipped_split, own.lung_mask.relative_to(tmp_path / "set"))
        for own in found.records
    ] == [
        (
            "Test__Normal__images__p1__a",
            "Normal",
            "test",
            Path("Test/Normal/lung_masks/p1/a_mask.png"),
        ),
        ("Train__COVID__images__a", "COVID", "train", Path("Train/COVID/lung masks/a.png")),
    ]
    assert [
        (own.path.relative_to(tmp_path / "set/Train/COVID").as_posix(), own.reason)
        for own in found.rejections
    ] == [
        (
            "infection masks/a.png",
            "a mask or drawing by the name of its folder 'infection masks', no radiograph",
        ),
        ("lung masks/b.png", "no image for this lung mask"),
        ("other.png", "in 'COVID', beside the folder of radiographs 'images'"),
        ("processed/a.png", "in 'processed', beside the folder of radiographs 'images'"),
    ]
    assert everything(found) == sorted(tmp_path.rglob("*.png"))


def test_images_and_masks_above_the_classes(tmp_path):
    touch(tmp_path, "set/images/ill/a.png", "set/images/well/b.png", "set/masks/ill/a.png")
    found = layouts.records(tmp_path, source("folders"))
    assert [record.label for record in found.records] == ["ill", "well"]
    assert everything(found) == sorted(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("folders", [("original", "enhanced"), ("p1", "p2"), ("", "extra")])
def test_folders_of_equal_names_are_refused_where_the_patients_are_not_known(tmp_path, folders):
    for folder in folders:
        touch(tmp_path / "ill" / folder, "1.png", "2.png", "3.png")
    touch(tmp_path, "well/x.png")
    first, second = (folder or "." for folder in folders)
    with pytest.raises(UserError, match="below 'ill' the folders .* hold 3 files of equal names"):
        layouts.records(tmp_path, source("folders"))
    found = layouts.records(tmp_path, source("folders", patient_pattern=r"(\d)\.png"))
    assert [record.patient_id for record in found.records if record.label == "ill"] == list(
        "123123"
    )


def test_folders_of_patients_may_hold_equal_names(tmp_path):
    touch(
        tmp_path, *(f"{label}/p{n}/{view}.png" for label in "xy" for n in range(4) for view in "ab")
    )
    found = layouts.records(tmp_path, source("folders"))
    assert len(found.records) == 16 and not found.rejections


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "TESTING"),
        ("validate", "Test_set"),
        ("valid", "test data"),
    ],
)
def test_names_of_splits(tmp_path, train, test):
    found = layouts.records(
        touch(tmp_path, f"{train}/x/a.png", f"{test}/y/b.png"), source("folders")
    )
    splits = {record.label: record.shipped_split for record in found.records}
    assert splits["y"] == "test" and splits["x"] in ("train", "val")
    (tmp_path / "all.csv").write_text(f"path,label,patient,split\na,x,1,{train}\nb,y,2,{test}\n")
    found = layouts.records(tmp_path, source("table"))
    assert [record.shipped_split for record in found.records] == [splits["x"], "test"]
    touch(tmp_path, f"{train}/NORMAL/IM-1-1.jpeg", f"{test}/NORMAL/IM-2-1.jpeg")
    found = layouts.records(tmp_path, source("kermany"))
    assert [record.shipped_split for record in found.records] == [splits["x"], "test"]


def test_splits_within_the_classes(tmp_path):
    touch(tmp_path, "ill/train/a.png", "ill/test/b.png", "well/train/c.png", "well/test/d.png")
    found = layouts.records(tmp_path, source("folders"))
    assert summary(found) == [
        ("ill__test__b", "ill", "", "test"),
        ("ill__train__a", "ill", "", "train"),
        ("well__test__d", "well", "", "test"),
        ("well__train__c", "well", "", "train"),
    ]


def test_folder_beside_those_of_the_splits(tmp_path):
    touch(tmp_path, "train/ill/a.png", "test/ill/b.png", "docs/figure.png", "docs/more/c.png")
    found = layouts.records(tmp_path, source("folders"))
    assert [record.label for record in found.records] == ["ill", "ill"]
    assert set(reasons(found).values()) == {"'docs' lies beside the folders of splits"}
    assert everything(found) == sorted(tmp_path.rglob("*.png"))


def kaggle(root: Path, *tops: str) -> Path:
    names = ("train/NORMAL/IM-1-1", "test/PNEUMONIA/person1_virus_1", "val/NORMAL/IM-2-1")
    return touch(root, *(f"{top}/{name}.jpeg" for top in tops for name in names))


@pytest.mark.parametrize(
    "tops",
    [("chest_xray", "chest_xray/chest_xray"), ("chest_xray/chest_xray",), ("a/b", "a/b/c/d")],
)
def test_set_that_is_there_twice_one_within_the_other(tmp_path, tops):
    kaggle(tmp_path, *tops)
    touch(tmp_path, "chest_xray/__MACOSX/train/NORMAL/._IM-1-1.jpeg")
    for layout, labels in (
        ("folders", {"NORMAL", "PNEUMONIA"}),
        ("kermany", {"normal", "viral"}),
    ):
        found = layouts.records(tmp_path, source(layout))
        assert not found.rejections and len(found.records) == 3 * len(tops)
        assert {record.label for record in found.records} == labels
        splits = Counter(record.shipped_split for record in found.records)
        assert splits == dict.fromkeys(("train", "test", "val"), len(tops))


def test_litter_is_no_image_and_no_class(tmp_path):
    touch(
        tmp_path,
        *("train/ill/a.png", "test/well/b.png", ".ipynb_checkpoints/c-checkpoint.png"),
        *("train/ill/.ipynb_checkpoints/a-checkpoint.png", "@eaDir/a.png", "lost+found/b.png"),
        *("train/.Trash-0/x/a.png", "train/ill/.a.png", "__pycache__/c.png"),
    )
    found = layouts.records(tmp_path, source("folders"))
    assert [record.image_id for record in found.records] == ["test__well__b", "train__ill__a"]
    assert not found.rejections


def test_files_that_are_not_read_are_counted_by_ending(tmp_path, caplog):
    endings = ("dcm", "DCM", "nii.gz", "png_", "png")
    touch(tmp_path, *(f"ill/a.{ending}" for ending in endings), "well/b.jfif", "well/c", "README")
    touch(tmp_path, "meta.xlsx", "ill/a.xml", "ill/a.txt", "well/d.GIF", "well/e.jp2", "well/f.jpe")
    found = layouts.records(tmp_path, source("folders"))
    assert len(found.records) == 5
    assert (
        "own: 5 files not read: 2 .dcm, 1 without ending, 1 .gz, 1 .png_; write DICOM"
        in caplog.text
    )


def test_kermany_lists_what_lies_elsewhere(tmp_path):
    touch(tmp_path, "train/NORMAL/IM-1-1.jpeg", "train/NORMAL/masks/IM-1-1.png", "a.png")
    touch(tmp_path, "train/NORMAL/IM-1-1_mask.png")
    found = layouts.records(tmp_path, source("kermany"))
    assert [record.path.name for record in found.records] == ["IM-1-1.jpeg"]
    assert reasons(found) == {
        "IM-1-1.png": "lies in no folder NORMAL or PNEUMONIA",
        "a.png": "lies in no folder NORMAL or PNEUMONIA",
        "IM-1-1_mask.png": "a mask or drawing by its name, no radiograph",
    }


CASES = [f"case{n}" for n in range(3)]


@pytest.mark.parametrize("name", ["{}_enhanced", "{} enhanced", "Enhanced-{}"])
def test_versions_of_images_in_one_folder_are_refused(tmp_path, name):
    touch(tmp_path, *(f"{c}/{c}{n}.png" for c in "xy" for n in range(3)))
    touch(tmp_path, *(f"x/{name.format(f'x{n}')}.png" for n in range(3)))
    with pytest.raises(UserError, match="in 'x' 3 files have the name of another one with 'enh"):
        layouts.records(tmp_path, source("folders"))
    # Known patients are on one side, whichever of their images count.
    found = layouts.records(tmp_path, source("folders", patient_pattern=r"[xy]\d"))
    assert len(found.records) == 9
    # Numbers and views of one letter are further images.
    (tmp_path / "more").mkdir()
    for name in ("{}", "{}_1", "{}-0002", "{}_a", "{} PA", "COVID-{}"):
        touch(tmp_path / "more", *(f"x/{name.format(n)}.png" for n in range(5)))
    assert len(layouts.records(tmp_path / "more", source("folders")).records) == 30


@pytest.mark.parametrize("layout", ["folders", "shenzhen", "montgomery"])
def test_half_a_mask_and_several_masks_are_refused(tmp_path, layout):
    touch(tmp_path, *(f"images/{n}.png" for n in "abcd"))
    touch(tmp_path, "leftMask/a.png", "rightMask/a.png", "leftMask/b.png")
    touch(tmp_path, "masks/c.png", "masks/c_mask.png", "masks/d.png", "rightMask/d.png")
    found = layouts.records(tmp_path, source(layout, "lungs_train"))
    assert masks_of(found, tmp_path) == {"a": ["leftMask/a.png", "rightMask/a.png"]}
    told = reasons(found)
    assert told["b.png"] == "left or right mask missing"
    for name in ("c.png", "c_mask.png", "d.png"):
        assert told[name].startswith("2 mask files for one image")
    assert len(found.rejections) == 2 + 3 + 3


def test_parts_in_the_names_of_folders_of_images_and_masks(tmp_path):
    touch(tmp_path, "train_images/1.png", "train_masks/1.png", "train_masks/2.png")
    touch(tmp_path, "test_images/1.png", "test_images/2.png", "test_masks/1.png")
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert masks_of(found, tmp_path) == {
        "test__1": ["test_masks/1.png"],
        "train__1": ["train_masks/1.png"],
    }
    assert {own.path.parent.name for own in found.rejections} == {"train_masks", "test_images"}


def test_numbered_masks_of_one_image_are_no_masks_of_others(tmp_path):
    touch(tmp_path, *(f"{n}/{name}.png" for n in "12" for name in (n, "mask_1", "mask_2")))
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert not found.records and len(found.rejections) == 6


def test_organ_masks_in_folders_of_masks(tmp_path):
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    touch(tmp_path, "masks/left lung/a.gif", "masks/right lung/a.gif", "masks/heart/a.gif")
    touch(tmp_path, "masks/lungs/b.gif", "masks/mask_c.png", "masks/heart/b.gif")
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert masks_of(found, tmp_path) == {
        "a": ["masks/left lung/a.gif", "masks/right lung/a.gif"],
        "b": ["masks/lungs/b.gif"],
        "c": ["masks/mask_c.png"],
    }
    assert {own.reason for own in found.rejections} == {"no image for this mask"}
    assert len(found.rejections) == 2


@pytest.mark.parametrize("layout", ["folders", "shenzhen", "montgomery"])
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}/images/frontal.png", "{}/masks/frontal.png"),
        ("{}/CXR_png/frontal.png", "{}/mask/frontal_mask.png"),
        ("{}/frontal.png", "{}/frontal_mask.png"),
        ("{}/image.png", "{}/mask.png"),
        ("{}/x.png", "{}/lung_mask.png"),
        ("set/{}/img/p/frontal.jpg", "set/{}/lung masks/p/frontal.png"),
    ],
)
def test_masks_of_equal_names_stay_with_their_own_images(tmp_path, layout, image, mask):
    touch(tmp_path, *(name.format(case) for case in CASES for name in (image, mask)))
    found = layouts.records(tmp_path, source(layout, "lungs_test"))
    assert [(own.path, own.mask_paths) for own in found.records] == [
        (tmp_path / image.format(case), (tmp_path / mask.format(case),)) for case in CASES
    ]
    assert [own.image_id.split("__")[0] for own in found.records] == CASES
    assert not found.rejections


def test_mask_of_one_patient_is_not_lent_to_another(tmp_path):
    touch(tmp_path, "a/images/x.png", "b/masks/x.png", "c/images/x.png", "c/masks/x.png")
    touch(tmp_path, "d/images/y.png", "e/masks/y.png", "f/images/z.png")
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert [record.path for record in found.records] == [tmp_path / "c/images/x.png"]
    told = [(own.path.relative_to(tmp_path).as_posix(), own.reason) for own in found.rejections]
    assert sorted(told) == [
        (
            "a/images/x.png",
            "no mask for this image; another image of this name has one: c/images/x.png",
        ),
        ("b/masks/x.png", "no image for this mask"),
        ("d/images/y.png", "no mask for this image"),
        ("e/masks/y.png", "no image for this mask"),
        ("f/images/z.png", "no mask for this image"),
    ]


def test_two_images_for_one_mask_are_refused_unless_equal(tmp_path):
    touch(tmp_path, "images/a.png", "img/a.jpg", "masks/a.png")
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert [record.path for record in found.records] == [tmp_path / "images/a.png"]
    (tmp_path / "img/a.jpg").write_bytes(b"other")
    with pytest.raises(UserError, match=r"images/a\.png and .*img/a\.jpg have the same name"):
        layouts.records(tmp_path, source("folders", "lungs_train"))


def test_masks_of_other_things_are_no_lung_masks(tmp_path):
    touch(tmp_path, "images/a.png", "lung masks/a.png", "infection masks/a.png", "overlays/a.png")
    touch(tmp_path, "more/b.png")
    found = layouts.records(tmp_path, source("folders", "lungs_train"))
    assert masks_of(found, tmp_path) == {"a": ["lung masks/a.png"]}
    assert [(own.path.parent.name, own.reason) for own in found.rejections] == [
        ("infection masks", "no lung mask by the name of its folder"),
        ("more", "lies in no folder of images or masks"),
        ("overlays", "no lung mask by the name of its folder"),
    ]


def test_bundle_tells_what_is_left_out(tmp_path, caplog):
    layouts.records(touch(tmp_path, *BUNDLE), source("shenzhen", "lungs_train"))
    assert "own: 4 files of the bundle's other sets left out" in caplog.text


LISTED = {
    "right": "{path}",
    "backslashes": "{windows}",
    "other ending": "{bare}.jpg",
    "without ending": "{bare}",
    "wrapper": "old place/set/{path}",
    "another machine": "C:\\data\\{windows}",
    "capitals": "{upper}",
    "dot-slash": "./{path}",
    "file name": "{name}",
    "stem": "{stem}",
}


@pytest.mark.parametrize("style", LISTED.values(), ids=list(LISTED))
@pytest.mark.parametrize("role", ["classification", "lungs_train"])
def test_patients_are_found_however_the_list_writes_the_images(tmp_path, style, role):
    names = ("x/images/p1.a.png", "x/images/P1_2.png", "y/images/Grö.PNG")
    touch(tmp_path, *names, *(name.replace("images", "masks") for name in names))
    rows = "".join(
        style.format(
            path=name,
            windows=name.replace("/", "\\"),
            bare=name[:-4],
            upper=name.upper(),
            name=Path(name).name,
            stem=Path(name).stem,
        )
        + f",P{number}\n"
        for number, name in enumerate(names)
    )
    (tmp_path / "Patients.CSV").write_text(f"Image,Patient\n{rows}", encoding="utf-8")
    found = layouts.records(tmp_path, source("folders", role))
    patients = {
        record.path.relative_to(tmp_path).as_posix(): record.patient_id for record in found.records
    }
    assert patients == {name: f"P{number}" for number, name in enumerate(names)}
    assert not found.notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("q.png,1\nr.png,2", "no row of patients.csv fits an image: it names 'q.png'.*'x/a.png'"),
        ("z/a.png,1", "no row of patients.csv fits an image"),
        ("b.png,1", r"patients\.csv: 'b\.png' fits 2 images, such as .*x/b\.png and .*y/b\.png"),
        ("x/a.png,1\na,2", "gives image 'a' to the patients '1' and '2': keep one row"),
    ],
)
def test_patients_that_cannot_be_told_are_refused(tmp_path, rows, message):
    touch(tmp_path, "x/a.png", "x/b.png", "y/b.png")
    (tmp_path / "patients.csv").write_text(f"image,patient\n{rows}\n")
    with pytest.raises(UserError, match=message):
        layouts.records(tmp_path, source("folders"))


def test_rows_and_images_that_stay_alone_are_counted(tmp_path, caplog):
    touch(tmp_path, "x/a.png", "x/b.png", "y/c.png", "y/d.png")
    (tmp_path / "patients.csv").write_text("image,patient\na,1\nx/b,nan\nq,2\n,\nc.png,1\n")
    found = layouts.records(tmp_path, source("folders", patient_pattern="x"))
    assert [record.patient_id for record in found.records] == ["1", "", "1", ""]
    assert found.notes == [
        "1 of 4 rows of patients.csv fit no image, such as 'q'",
        "patients.csv has no patient for 2 of 4 images, such as 'x/b.png': each of them counts as "
        "a patient of its own",
        "patients come from patients.csv; patient_pattern is not used",
    ]
    assert all(f"own: {note}" in caplog.text for note in found.notes)


def test_lists_of_patients_below_the_top_start_at_their_folder(tmp_path):
    touch(tmp_path, *(f"{split}/{label}/1.png" for split in ("train", "test") for label in "xy"))
    for split in ("train", "test"):
        (tmp_path / split / "patients.csv").write_text(
            f"image,patient\nx/1.png,{split} x\ny/1.png,{split} y\n"
        )
    found = layouts.records(tmp_path, source("folders"))
    assert [record.patient_id for record in found.records] == [
        "test x",
        "test y",
        "train x",
        "train y",
    ]


@pytest.mark.parametrize("role", ["classification", "lungs_train"])
def test_pattern_that_fits_nothing_or_not_all(tmp_path, role):
    touch(tmp_path, "images/x/p1-a.png", "images/y/q.png", "masks/x/p1-a.png", "masks/y/q.png")
    with pytest.raises(UserError, match=r"patient_pattern 'z' fits none of 2 images, such as '"):
        layouts.records(tmp_path, source("folders", role, patient_pattern="z"))
    (note,) = layouts.records(tmp_path, source("folders", role, patient_pattern=r"(p\d)-")).notes
    assert note.startswith(r"patient_pattern '(p\d)-' does not fit 1 of 2 images, such as '")


@pytest.mark.parametrize(
    "name",
    [
        "nan",
        "NaN",
        "NA",
        "<NA>",
        "n/a",
        "#N/A",
        "null",
        "None",
        "unknown",
        "(Unknown)",
        "-",
        "?",
        "--",
        "n.a.",
        "patient unknown",
        "missing ID",
        "Not recorded",
        "(blank)",
        "#REF!",
        "#DIV/0!",
    ],
)
def test_patient_that_says_unknown(tmp_path, name, caplog):
    rows = f"a.png,x,{name}\nNA.png,x,P1\nnull.png,None,{name}\nb.png,x,Nanette\n"
    (tmp_path / "all.csv").write_text(f"path,label,patient\n{rows}")
    found = layouts.records(tmp_path, source("table"))
    assert summary(found) == [
        ("NA", "x", "P1", ""),
        ("a", "x", "", ""),
        ("b", "x", "Nanette", ""),
        ("null", "None", "", ""),
    ]
    assert f"own: 2 of 4 images have '{name}' for a patient: taken as not known" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        *("0", "007", "N1", "Nan Goldin", "anna", "-1", "p?", "unknown7"),
        *("No", "#12", "patient 7", "case A", "P-NA", "Blank"),
    ],
)
def test_patient_that_only_looks_unknown(name):
    assert not layouts.is_unknown_patient(name)


def test_table_with_null_bytes_is_refused(tmp_path):
    (tmp_path / "all.csv").write_text("path,label,patient\na.png,x,1\nb\0.png,x,2\n")
    with pytest.raises(UserError, match=r"all\.csv cannot be read as CSV \(line 3: a null byte"):
        layouts.records(tmp_path, source("table"))


def test_lists_of_patients_that_are_not_read_are_named(tmp_path, caplog):
    touch(tmp_path, "x/a.png", "patients.xlsx", "Patient list.txt", "metadata.csv")
    layouts.records(tmp_path, source("folders"))
    assert "own: not read for patients: Patient list.txt, patients.xlsx" in caplog.text
    (tmp_path / "patients.csv").write_text("image,patient\na,1\n")
    caplog.clear()
    layouts.records(tmp_path, source("folders"))
    assert not caplog.text


def test_names_of_columns_in_any_case(tmp_path):
    (tmp_path / "all.csv").write_text("Path,LABEL,Patient,Split,Age\na.png,x,1,Test,7\n")
    assert summary(layouts.records(tmp_path, source("table"))) == [("a", "x", "1", "test")]
    (tmp_path / "all.csv").write_text("path,Path,label,patient\na.png,b.png,x,1\n")
    assert summary(layouts.records(tmp_path, source("table"))) == [("a", "x", "1", "")]
    (tmp_path / "all.csv").write_text("PATH,Path,label,patient\na.png,b.png,x,1\n")
    with pytest.raises(UserError, match="no column path"):
        layouts.records(tmp_path, source("table"))
    (tmp_path / "all.csv").write_text("path,path,label,patient\na.png,b.png,x,1\n")
    with pytest.raises(UserError, match="two columns 'path'"):
        layouts.records(tmp_path, source("table"))


@pytest.mark.parametrize(("disk", "listed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_stored_in_another_way(tmp_path, disk, listed):
    name = "Größe/Röntgen é.png"
    path = tmp_path / unicodedata.normalize(disk, name)
    path.parent.mkdir()
    path.touch()
    written = unicodedata.normalize(listed, name)
    (tmp_path / "all.csv").write_text(f"path,label,patient\n{written},x,1\n", encoding="utf-8")
    (record,) = layouts.records(tmp_path, source("table")).records
    assert record.path.exists()
    (tmp_path / "patients.csv").write_text(f"image,patient\n{written},P1\n", encoding="utf-8")
    (record,) = layouts.records(tmp_path, source("folders")).records
    assert record.patient_id == "P1"
