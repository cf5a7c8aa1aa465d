"""The phantoms: same seed, same bytes; layouts of the public sets; masks that tell the truth."""

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from multiloss.config import generator_options
from multiloss.data.layouts.phantom import Phantom as PhantomLayout
from multiloss.job.errors import UserError
from phantom import KINDS, Phantom, generate, render, write_archive
from phantom.acquisition import draw_acquisition
from phantom.anatomy import draw_anatomy
from phantom.archive import Patient, class_counts, photograph
from phantom.pathology import draw_finding
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SMALL = generator_options({"train": 30, "test": 14, "images": 9, "size": [64, 96], "colour": 0.3})
PUBLISHED = generator_options({})["shares"]
STEM = {
    "normal": re.compile(r"(?P<patient>phantom-(NORMAL2-)?IM-\d{4})-0001(-\d{4})?"),
    "bacterial": re.compile(r"(?P<patient>phantom-person\d+)_bacteria_\d+"),
    "viral": re.compile(r"(?P<patient>phantom-person\d+)_virus_\d+"),
}
FILE = re.compile(r"chest_xray/(train|test)/(NORMAL|PNEUMONIA)/([\w-]+)\.jpeg")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small archive of each role."""
    folder = tmp_path_factory.mktemp("phantoms")
    paths = {
        role: folder / f"{role}.zip" for role in ("classification", "lungs_train", "lungs_test")
    }
    for role, path in paths.items():
        write_archive(SMALL, role, 5, path)
    return paths


@pytest.fixture(scope="module")
def gallery() -> dict[str, list[Phantom]]:
    """Children of each kind, with the default range of severity and without mimicry."""
    return {
        kind: [
            generate(
                kind, np.random.default_rng([number, seed]), 96, 112, severity=0.45 + 0.0125 * seed
            )
            for seed in range(44)
        ]
        for number, kind in enumerate(KINDS)
    }


def decode(archive: zipfile.ZipFile, name: str, mode: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """One image of an archive."""
    return cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), mode)


def kind_of(stem: str) -> tuple[str, str]:
    """Class and patient that a file name tells."""
    for kind, pattern in STEM.items():
        if match := pattern.fullmatch(stem):
            return kind, match["patient"]
    raise AssertionError(f"{stem} follows no pattern of the layout")


def test_same_seed_same_bytes_whatever_the_threads(
    archives: dict[str, Path], tmp_path: Path
) -> None:
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2 if threads == 1 else 1)
        for role, path in archives.items():
            write_archive(SMALL, role, 5, tmp_path / "again.zip")
            assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()
    finally:
        cv2.setNumThreads(threads)
    write_archive(SMALL, "lungs_test", 6, tmp_path / "other.zip")
    assert (tmp_path / "other.zip").read_bytes() != archives["lungs_test"].read_bytes()
    dates = {entry.date_time for entry in zipfile.ZipFile(archives["lungs_test"]).infolist()}
    assert len(dates) == 1


@pytest.mark.parametrize(
    ("split", "total", "expected"),
    [
        ("train", 5232, (1349, 2538, 1345)),
        ("test", 624, (234, 242, 148)),
        # 300 * (1349, 2538, 1345) / 5232 = 77.35, 145.53, 77.12
        ("train", 300, (77, 146, 77)),
        # 120 * (234, 242, 148) / 624 = 45, 46.54, 28.46
        ("test", 120, (45, 47, 28)),
        ("test", 1, (0, 1, 0)),
    ],
)
def test_class_counts(split: str, total: int, expected: tuple[int, ...]) -> None:
    assert tuple(class_counts(total, PUBLISHED[split]).values()) == expected


def test_classification_archive_has_kermany_layout(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["classification"]) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        found = [match for name in names if (match := FILE.fullmatch(name))]
        stems = [match[3] for match in found]
        assert len(set(stems)) == len(stems) == 44
        patients: dict[str, set[tuple[str, str]]] = {}
        counts: dict[str, dict[str, int]] = {"train": {}, "test": {}}
        for split, folder, stem in (match.groups() for match in found):
            kind, patient = kind_of(stem)
            assert (folder == "NORMAL") == (kind == "normal")
            counts[split][kind] = counts[split].get(kind, 0) + 1
            number = re.findall(r"\d+", patient)[-1].lstrip("0")
            patients.setdefault(number, set()).add((split, kind))
        for split, total in (("train", 30), ("test", 14)):
            assert counts[split] == class_counts(total, PUBLISHED[split])
        # One number is one child, of one kind, in one folder; some have several images.
        assert all(len(places) == 1 for places in patients.values())
        assert len(patients) < len(stems)
        masks = {name for name in names if name.endswith(".png")}
        ill = [stem for stem in stems if stem.startswith("phantom-person")]
        assert masks == {f"chest_xray/lung_masks/{stem}.png" for stem in stems} | {
            f"chest_xray/lesion_masks/{stem}.png" for stem in ill
        }
        assert "chest_xray/.DS_Store" in names
        assert any(name.startswith("__MACOSX/chest_xray/") for name in names)
        shapes, channels = set(), set()
        for match in found:
            image = decode(archive, match.group())
            assert image.dtype == np.uint8
            shapes.add(image.shape[:2])
            channels.add(image.ndim)
            mask = decode(archive, f"chest_xray/lung_masks/{match[3]}.png")
            assert mask.shape == image.shape[:2]
            assert set(np.unique(mask)) == {0, 255}
        assert len(shapes) > 20
        assert all(64 <= side <= 96 for shape in shapes for side in shape)
        assert channels == {2, 3}


def test_lung_archives_have_the_layouts_of_the_public_sets(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["lungs_train"]) as archive:
        images = [name for name in archive.namelist() if "/CXR_png/" in name]
        assert len(images) == 9
        for name in images:
            stem = Path(name).stem
            mask = decode(archive, f"ChinaSet_AllFiles/mask/{stem}_mask.png")
            assert mask.shape == decode(archive, name).shape
        assert len(archive.namelist()) == 18
    with zipfile.ZipFile(archives["lungs_test"]) as archive:
        images = [name for name in archive.namelist() if "/CXR_png/" in name]
        assert len(images) == 9
        assert len(archive.namelist()) == 27
        for name in images:
            left, right = (
                decode(archive, f"MontgomerySet/ManualMask/{side}Mask/{Path(name).name}") > 0
                for side in ("left", "right")
            )
            assert not (left & right).any()
            # The patient's left lung lies on the right of the picture.
            assert np.nonzero(left)[1].mean() > np.nonzero(right)[1].mean() + 0.2 * left.shape[1]


def test_the_layout_reader_understands_the_archives(
    archives: dict[str, Path], tmp_path: Path
) -> None:
    for role, path in archives.items():
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / role)
    found = PhantomLayout().classification(tmp_path / "classification", {"role": "classification"})
    assert len(found.records) == 44
    assert not found.rejections
    for record in found.records:
        assert (record.label, record.patient_id) == kind_of(record.image_id)
        assert record.lung_mask is not None
        assert (record.lesion_mask is None) == (record.label == "normal")
    for role in ("lungs_train", "lungs_test"):
        lungs = PhantomLayout().lungs(tmp_path / role, {"role": role})
        assert len(lungs.records) == 9
        assert not lungs.rejections
        place = "CHN" if role == "lungs_train" else "MCU"
        for record in lungs.records:
            assert re.fullmatch(rf"phantom-{place}CXR_\d{{4}}", record.patient_id)
            assert record.image_id.startswith(record.patient_id)


def test_another_hospital_has_children_of_its_own(
    archives: dict[str, Path], tmp_path: Path
) -> None:
    options = SMALL | {"images": 20, "shares": SMALL["shares"] | {"test": dict.fromkeys(KINDS, 1)}}
    found = {}
    for seed in (5, 6):
        write_archive(options, "external_test", seed, tmp_path / "x.zip")
        with zipfile.ZipFile(tmp_path / "x.zip") as archive:
            archive.extractall(tmp_path / str(seed))
        source = {"role": "external_test"}
        found[seed] = PhantomLayout().classification(tmp_path / str(seed), source).records
    with zipfile.ZipFile(archives["classification"]) as archive:
        archive.extractall(tmp_path / "study")
    study = PhantomLayout().classification(tmp_path / "study", {}).records
    for records in found.values():
        labels = [record.label for record in records]
        assert sorted(labels.count(kind) for kind in KINDS) == [6, 7, 7]
        assert {record.shipped_split for record in records} == {"test"}
        for record in records:
            pattern = r"phantom-[0-9a-f]{6}-(person\d+|(NORMAL2-)?IM-\d{4})"
            assert re.fullmatch(pattern, record.patient_id), record.patient_id
            assert record.image_id.startswith(record.patient_id) and record.lung_mask
    sets = [study, *found.values()]
    for key in (lambda record: record.patient_id, lambda record: record.path.read_bytes()):
        assert sum(len(set(map(key, own))) for own in sets) == len(
            {key(r) for s in sets for r in s}
        )


def test_blur_and_contrast_change_the_picture_and_no_draw() -> None:
    usual, blurred, flat = (
        draw_acquisition(np.random.default_rng(1), 1.0, False, *more)
        for more in ((), (2.0, 1.0), (1.0, 0.5))
    )
    assert blurred.blur == 2 * usual.blur and flat.window[1] == 2 * usual.window[1]
    assert replace(blurred, blur=usual.blur) == usual == replace(flat, window=usual.window)


def test_shares_of_the_configuration_are_those_of_the_kinds() -> None:
    assert [list(shares) for shares in PUBLISHED.values()] == [list(KINDS), list(KINDS)]


def test_unknown_role_and_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="role 'lungs'"):
        write_archive(SMALL, "lungs", 1, tmp_path / "x.zip")
    with pytest.raises(ValueError, match="fungal"):
        generate("fungal", np.random.default_rng(0))


def test_a_failure_leaves_the_older_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"older")

    def full_disk(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("phantom.archive._png", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_archive(SMALL, "lungs_test", 5, path)
    assert path.read_bytes() == b"older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.zip"]


def test_lungs_are_where_the_picture_is_dark(gallery: dict[str, list[Phantom]]) -> None:
    darker = []
    for phantom in gallery["normal"]:
        image, lungs = phantom.image.astype(float), phantom.lungs > 0
        assert 0.15 < lungs.mean() < 0.5
        assert not (phantom.lung_left & phantom.lung_right).any()
        # Mediastinum and spine: between the lungs, halfway down.
        rows = np.nonzero(lungs.any(axis=1))[0]
        row = rows[len(rows) // 2]
        inner_right = np.nonzero(phantom.lung_right[row])[0].max()
        inner_left = np.nonzero(phantom.lung_left[row])[0].min()
        middle = image[row - 5 : row + 5, inner_right + 1 : inner_left]
        darker.append(np.median(middle) - np.median(image[lungs]))
        for side in (phantom.lung_left, phantom.lung_right):
            assert ndimage.label(side)[1] == 1
    assert min(darker) > 15
    assert np.median(darker) > 60


def test_bacterial_is_focal_and_viral_is_on_both_sides(gallery: dict[str, list[Phantom]]) -> None:
    assert not any(phantom.lesion.any() for phantom in gallery["normal"])
    largest = []
    for phantom in gallery["bacterial"]:
        lesion = phantom.lesion > 0
        assert lesion.any()
        assert not (lesion & (phantom.lungs == 0)).any()
        sides = [(lesion & (side > 0)).sum() for side in (phantom.lung_left, phantom.lung_right)]
        assert min(sides) == 0
        assert lesion.sum() < 0.5 * (phantom.lungs > 0).sum()
        labels, _ = ndimage.label(lesion, structure=np.ones((3, 3)))
        largest.append(np.bincount(labels.ravel())[1:].max() / lesion.sum())
    assert min(largest) > 0.5
    assert np.median(largest) > 0.95
    shares = []
    for phantom in gallery["viral"]:
        lesion = phantom.lesion > 0
        assert not (lesion & (phantom.lungs == 0)).any()
        shares.append([lesion[side > 0].mean() for side in (phantom.lung_left, phantom.lung_right)])
    assert np.min(shares) > 0.05
    assert np.median(shares) > 0.4


def pairs(kind: str, severity: float) -> list[tuple[Phantom, Phantom]]:
    """Pictures of the same children, in the same pose and exposure, ill and well."""
    result = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        anatomy = draw_anatomy(rng)
        finding = draw_finding(rng, kind, anatomy, severity)
        acquisition = replace(draw_acquisition(rng), wires=(), marker="")
        well = replace(finding, patches=(), interstitium=None)
        result.append(
            tuple(
                render(anatomy, what, acquisition, np.random.default_rng(1), 128, 128)
                for what in (finding, well)
            )
        )
    return result


@pytest.mark.parametrize("kind", ["bacterial", "viral"])
def test_lesion_is_where_the_disease_whitens(kind: str) -> None:
    weak, strong = [], []
    for severity, rises in ((0.3, weak), (0.9, strong)):
        for ill, well in pairs(kind, severity):
            change = ill.image.astype(float) - well.image
            assert np.array_equal(ill.lungs, well.lungs)
            outside = (ill.lungs > 0) & (ill.lesion == 0)
            rises.append(change[ill.lesion > 0].mean() - change[outside].mean())
    assert np.median(weak) > 2
    assert np.median(strong) > 1.4 * np.median(weak)


def test_mimics_show_but_are_no_lesion() -> None:
    rng = np.random.default_rng(3)
    anatomy, acquisition = draw_anatomy(rng), draw_acquisition(rng)
    plain = draw_finding(np.random.default_rng(4), "normal", anatomy, 0.8)
    mimic = draw_finding(np.random.default_rng(4), "normal", anatomy, 0.8, mimic=1.0)
    one, other = (
        render(anatomy, finding, acquisition, np.random.default_rng(5), 128, 128)
        for finding in (plain, mimic)
    )
    inside = one.lungs > 0
    assert np.abs(one.image.astype(int) - other.image)[inside].mean() > 1.5
    assert not other.lesion.any()


def test_noise_follows_the_knob() -> None:
    grain = []
    for noise in (0.0, 1.0, 4.0):
        phantom = generate("normal", np.random.default_rng(11), 128, 128, noise=noise)
        image = phantom.image.astype(np.float32)
        grain.append((image - cv2.GaussianBlur(image, (0, 0), 1.0))[phantom.lungs > 0].std())
    assert grain[0] < grain[1] < 0.8 * grain[2]


def normalised(phantom: Phantom) -> np.ndarray:
    """The lungs' shape, cut out and brought to one size."""
    rows, columns = np.nonzero(phantom.lungs)
    cut = phantom.lungs[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return cv2.resize(cut, (96, 96), interpolation=cv2.INTER_AREA) > 127


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_images_of_a_patient_share_the_anatomy(monkeypatch: pytest.MonkeyPatch) -> None:
    # Stand every child straight, at the same depth of breath; scale, shift and film still vary.
    monkeypatch.setattr(
        "phantom.archive.draw_acquisition",
        lambda *args: replace(draw_acquisition(*args), tilt=0.0, turn=0.0, breath=0.0),
    )
    options = generator_options({"size": [128, 160]})
    children = [list(photograph(Patient("train", "viral", seed, 2), options)) for seed in range(8)]
    same, different = [], []
    for index, (first, second) in enumerate(children):
        assert first.image.shape != second.image.shape
        same.append(overlap(normalised(first), normalised(second)))
        other = children[(index + 1) % len(children)][0]
        different.append(overlap(normalised(first), normalised(other)))
    assert min(same) > 0.95
    assert np.median(different) < 0.92


def test_repeats_give_the_wanted_images(tmp_path: Path) -> None:
    options = {**SMALL, "repeats": [0, 0, 1], "images": 8}
    write_archive(options, "lungs_train", 1, tmp_path / "x.zip")
    names = zipfile.ZipFile(tmp_path / "x.zip").namelist()
    patients = {re.search(r"CHNCXR_\d{4}", name).group() for name in names}
    # 8 images by shares are 2 / 4 / 2: at three a patient, 1 + 2 + 1 patients.
    assert len(names) == 16
    assert len(patients) == 4


def band_energies(phantom: Phantom) -> np.ndarray:
    """Energy of detail at four widths, and grey, on a grid over the lungs' box."""
    rows, columns = np.nonzero(phantom.lungs)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    image = cv2.resize(phantom.image[box], (64, 64), interpolation=cv2.INTER_AREA)
    image = image.astype(np.float32)
    image = (image - image.mean()) / image.std()
    inside = cv2.resize(phantom.lungs[box], (64, 64)).astype(np.float32) / 255
    features, previous = [], image
    for width in (1, 2, 4, 8):
        blurred = cv2.GaussianBlur(image, (0, 0), width)
        energy = cv2.resize(
            (previous - blurred) ** 2 * inside, (8, 8), interpolation=cv2.INTER_AREA
        )
        features.append(np.log(energy + 1e-4).ravel())
        previous = blurred
    grid = cv2.resize(image * inside, (8, 8), interpolation=cv2.INTER_AREA)
    return np.concatenate([*features, grid.ravel(), (grid - grid[:, ::-1]).ravel()])


def test_grey_alone_does_not_tell_the_classes_but_pattern_does(
    gallery: dict[str, list[Phantom]],
) -> None:
    phantoms = [phantom for kind in KINDS for phantom in gallery[kind]]
    labels = np.repeat(np.arange(len(KINDS)), [len(gallery[kind]) for kind in KINDS])
    grey = np.array([[p.image[p.lungs > 0].mean(), p.image.mean()] for p in phantoms])
    by_grey = make_pipeline(StandardScaler(), LogisticRegression())
    assert cross_val_score(by_grey, grey, labels, cv=5).mean() < 0.6
    forest = RandomForestClassifier(100, random_state=0)
    pattern = np.stack([band_energies(phantom) for phantom in phantoms])
    assert 0.6 < cross_val_score(forest, pattern, labels, cv=5).mean() < 0.95
