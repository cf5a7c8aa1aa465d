"""Phantoms as archives in the layouts of the public sets, so that they take the same path."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from multiloss.job.errors import UserError
from multiloss.job.files import atomic
from multiloss.job.progress import progress
from multiloss.job.seeds import derive

from phantom.acquisition import draw_acquisition
from phantom.anatomy import draw_anatomy
from phantom.pathology import KINDS, draw_finding
from phantom.picture import Phantom, render

# The two folders of a classification archive.
SPLITS = ("train", "test")
LUNG_IMAGES = {"lungs_train": 60, "lungs_test": 24}
EXTERNAL_IMAGES = 80
# A ZIP entry needs a date; a fixed one keeps the bytes the same.
DATE = (2018, 1, 6, 0, 0, 0)
# No phantom has the name of a file of the public sets: a picture or table that leaves the study
# is not taken for theirs. One prefix for all keeps the order of the names, so that the study
# itself does not depend on it. Another hospital adds a number of its own: see `_prefix`.
PREFIX = "phantom-"
LITTER = b"\x00\x00\x00\x01Bud1" + bytes(56)


@dataclass(frozen=True)
class Patient:
    """One child: its diagnosis, the seed of its body, and how many images there are of it."""

    split: str
    kind: str
    seed: int
    images: int


def class_counts(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """`total` divided by `shares`, whole numbers by largest remainder (ties: class order)."""
    exact = np.array([total * shares[kind] / sum(shares.values()) for kind in KINDS])
    counts = np.floor(exact + 1e-9).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return dict(zip(KINDS, counts.tolist(), strict=True))


def _patients(
    options: Mapping[str, Any], role: str, seed: int, counts: Mapping[str, Mapping[str, int]]
) -> list[Patient]:
    """Patients with the wanted numbers of images, in the order of splits and classes."""
    chances = np.array(options["repeats"], float) / sum(options["repeats"])
    patients = []
    for split, by_kind in counts.items():
        for kind, wanted in by_kind.items():
            rng = np.random.default_rng(derive(seed, role, split, kind))
            index = 0
            while wanted:
                images = min(wanted, 1 + int(rng.choice(len(chances), p=chances)))
                body = derive(seed, role, split, kind, index)
                patients.append(Patient(split, kind, body, images))
                wanted -= images
                index += 1
    return patients


def photograph(patient: Patient, options: Mapping[str, Any]) -> Iterator[Phantom]:
    """The images of one patient: the same body and disease, another pose and exposure each."""
    rng = np.random.default_rng(patient.seed)
    anatomy = draw_anatomy(rng)
    severity = rng.uniform(*options["severity"])
    mimic = rng.uniform(0.4, 1.0) if rng.random() < options["mimics"] else 0.0
    finding = draw_finding(rng, patient.kind, anatomy, severity, mimic)
    low, high = options["size"]
    for number in range(patient.images):
        rng = np.random.default_rng(derive(patient.seed, number))
        height = int(rng.integers(low, int(0.4 * low + 0.6 * high) + 1))
        width = int(np.clip(height * rng.uniform(0.95, 1.35), low, high))
        hard = rng.random() < options["confounders"]
        gain = rng.uniform(1.2, 1.7) if rng.random() < options["confounders"] else 1.0
        acquisition = draw_acquisition(
            rng, options["noise"], hard, options["blur"], options["contrast"]
        )
        yield render(anatomy, finding, acquisition, rng, height, width, gain)


def write_archive(options: Mapping[str, Any], role: str, seed: int, destination: Path) -> None:
    """Write the phantoms of one `role` as a ZIP, whole or not at all; same input, same bytes.

    Files have the names of the public sets behind `phantom-`. Role `classification`: Kermany's
    layout, with `chest_xray/lung_masks/X.png` for each image
    and `chest_xray/lesion_masks/X.png` for each pneumonia. Role `external_test`: the same for
    another hospital, all in the folder `test`, its children and files called otherwise. Roles
    `lungs_train` and `lungs_test`: Shenzhen's and Montgomery's layouts. `options`: all that
    `multiloss.config.generator_options` gives. Raises UserError for another role.
    """
    if role == "classification":
        counts = {split: class_counts(options[split], options["shares"][split]) for split in SPLITS}
        write = _classification
    elif role == "external_test":
        total = options["images"] or EXTERNAL_IMAGES
        counts = {"test": class_counts(total, options["shares"]["test"])}
        write = _classification
    elif role in LUNG_IMAGES:
        total = options["images"] or LUNG_IMAGES[role]
        split = "train" if role == "lungs_train" else "test"
        counts = {split: class_counts(total, options["shares"][split])}
        write = _lungs
    else:
        raise UserError(f"phantom: no archive for the role '{role}'; see data.sources")
    patients = _patients(options, role, seed, counts)
    with (
        atomic(destination) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        write(archive, patients, options, role, seed)


def _prefix(role: str, seed: int) -> str:
    """How the names of a source's files begin: no two hospitals have a child in common."""
    if role != "external_test":
        return PREFIX
    return f"{PREFIX}{derive(seed, role, 'hospital') % 16**6:06x}-"


def _classification(
    archive: zipfile.ZipFile,
    patients: list[Patient],
    options: Mapping[str, Any],
    role: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(derive(seed, role, "names"))
    # One numbering for all, so that no number stands for two children.
    numbers = rng.permutation(len(patients)) + 1
    colour = np.random.default_rng(derive(seed, role, "colour"))
    running = {"bacterial": 0, "viral": 0}
    prefix = _prefix(role, seed)
    for folder in ("chest_xray", "chest_xray/train", "chest_xray/test"):
        _add(archive, f"{folder}/.DS_Store", LITTER)
    for patient, number in zip(
        progress(patients, len(patients), "phantom patients"), numbers, strict=True
    ):
        place = "NORMAL" if patient.kind == "normal" else "PNEUMONIA"
        for index, phantom in enumerate(photograph(patient, options)):
            if patient.kind == "normal":
                stem = f"{prefix}{'NORMAL2-' if number % 2 else ''}IM-{number:04d}-0001"
                stem += f"-{index + 1:04d}" if index else ""
            else:
                running[patient.kind] += 1
                word = "bacteria" if patient.kind == "bacterial" else "virus"
                stem = f"{prefix}person{number}_{word}_{running[patient.kind]}"
            name = f"chest_xray/{patient.split}/{place}/{stem}.jpeg"
            _add(archive, name, _jpeg(phantom.image, options, colour))
            if place == "NORMAL" and index == 0 and number <= 10:
                _add(archive, f"__MACOSX/chest_xray/{patient.split}/NORMAL/._{stem}.jpeg", LITTER)
            _add(archive, f"chest_xray/lung_masks/{stem}.png", _png(phantom.lungs))
            if place == "PNEUMONIA":
                _add(archive, f"chest_xray/lesion_masks/{stem}.png", _png(phantom.lesion))


def _lungs(
    archive: zipfile.ZipFile,
    patients: list[Patient],
    options: Mapping[str, Any],
    role: str,
    seed: int,
) -> None:
    order = np.random.default_rng(derive(seed, role, "names")).permutation(len(patients))
    for number, chosen in enumerate(progress(order, len(order), "phantom patients"), start=1):
        patient = patients[chosen]
        ill = int(patient.kind != "normal")
        for index, phantom in enumerate(photograph(patient, options)):
            place = "CHNCXR" if role == "lungs_train" else "MCUCXR"
            stem = f"{PREFIX}{place}_{number:04d}_{ill}" + (f"_{index}" if index else "")
            if role == "lungs_train":
                _add(archive, f"ChinaSet_AllFiles/CXR_png/{stem}.png", _png(phantom.image))
                _add(archive, f"ChinaSet_AllFiles/mask/{stem}_mask.png", _png(phantom.lungs))
            else:
                top = "MontgomerySet"
                _add(archive, f"{top}/CXR_png/{stem}.png", _png(phantom.image))
                for side, mask in (("left", phantom.lung_left), ("right", phantom.lung_right)):
                    _add(archive, f"{top}/ManualMask/{side}Mask/{stem}.png", _png(mask))


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, DATE)
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _jpeg(image: np.ndarray, options: Mapping[str, Any], rng: np.random.Generator) -> bytes:
    if rng.random() < options["colour"]:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return cv2.imencode(".jpeg", image, [cv2.IMWRITE_JPEG_QUALITY, options["quality"]])[1].tobytes()


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()
