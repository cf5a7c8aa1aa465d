"""Each layout on a small tree of its kind, and the public ones on real archives."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from multiloss import archives, layouts
from multiloss.errors import UserError


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
        "import sys; sys.path.insert(0, sys.argv[1]); from multiloss import layouts;"
        "layouts.names(); print({'cv2', 'pandas', 'numpy'} & set(sys.modules))"
    )
    package = Path(layouts.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, package], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_every_layout_tells_what_it_is():
    for name in layouts.names():
        layout = layouts.get(name)
        assert layout.__doc__ and layout.counts and layout.labels, name
    for name in ("kermany", "shenzhen", "montgomery"):
        layout = layouts.get(name)
        assert "doi:" in layout.citation and layout.license and layout.homepage, name


def test_unknown_layout():
    with pytest.raises(UserError, match="unknown layout 'kermani'.*kermany"):
        layouts.get("kermani")


def test_layout_without_the_role(tmp_path):
    with pytest.raises(UserError, match="layout 'kermany' has nothing for role 'lungs_train'"):
        layouts.records(tmp_path, source("kermany", "lungs_train"))


def test_nothing_found(tmp_path):
    with pytest.raises(UserError, match="source 'own': no images in layout 'kermany'"):
        layouts.records(touch(tmp_path, "a/b.png"), source("kermany"))


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


@pytest.mark.filterwarnings("ignore:Length of header")
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
        ("a.png,ill,1,\nb.png,ill,2,,,", r"all\.csv cannot be read as CSV \(.*line 3.*\): mend"),
    ],
)
def test_tables_with_wrong_rows(tmp_path, rows, message):
    (tmp_path / "all.csv").write_text(f"path,label,patient,split\n{rows}\n")
    with pytest.raises(UserError, match=message) as caught:
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
