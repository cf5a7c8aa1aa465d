"""Who is on an image: from the list `patients.csv`, or from a pattern in the path."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from multiloss.data.layouts import Found, ImageRecord, LungRecord, is_unknown_patient
from multiloss.data.layouts._scan import read_table
from multiloss.data.sources.listing import IMAGE_ENDINGS, composed, files, is_image
from multiloss.job.errors import UserError

# What a list may have been made for, whatever the files are now.
_ENDINGS = IMAGE_ENDINGS | {".dcm", ".dicom"}

_Parts = tuple[str, ...]


def with_patients(found: Found, root: Path, top: Path, source: Mapping[str, Any]) -> None:
    """Fill in the patients of the records: from the lists `patients.csv` below `root`, or else by
    the source's `patient_pattern`, searched in the path from `top`.

    Raises `UserError` if neither a row nor the pattern fits any image, if a row fits several, or
    if rows contradict each other. What is left without a partner becomes a note.
    """
    tables = [path for path in files(root) if not is_image(path)]
    lists = [path for path in tables if path.name.lower() == "patients.csv"]
    pattern = source.get("patient_pattern")
    if lists:
        patients = _listed(found.records, lists, root, source["name"], found.notes)
        if pattern:
            found.notes.append("patients come from patients.csv; patient_pattern is not used")
    elif pattern and found.records:
        patients = _searched(found.records, pattern, top, source["name"], found.notes)
    else:
        alike = [path.name for path in tables if re.search("patient", path.stem, re.IGNORECASE)]
        if alike:
            found.notes.append(
                f"not read for patients: {', '.join(alike[:5])}; a list of them is called "
                "patients.csv"
            )
        return
    found.records = [
        replace(record, patient_id=patients.get(record.path, "")) for record in found.records
    ]


def _searched(
    records: Sequence[ImageRecord | LungRecord],
    pattern: str,
    top: Path,
    source: str,
    notes: list[str],
) -> dict[Path, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"source '{source}': patient_pattern '{pattern}' is no regular expression ({error})"
        ) from None
    patients = {}
    for record in records:
        match = compiled.search(record.path.relative_to(top).as_posix())
        patient = match and match.group(1 if compiled.groups else 0)
        if patient:
            patients[record.path] = patient
    alone = [
        record.path.relative_to(top).as_posix() for record in records if record.path not in patients
    ]
    if not patients:
        raise UserError(
            f"source '{source}': patient_pattern '{pattern}' fits none of {len(alone)} images, "
            f"such as '{alone[0]}': correct it, or leave it out if the patients are not known"
        )
    if alone:
        notes.append(_alone(alone, len(records), f"patient_pattern '{pattern}' does not fit"))
    return patients


def _listed(
    records: Sequence[ImageRecord | LungRecord],
    lists: Sequence[Path],
    root: Path,
    source: str,
    notes: list[str],
) -> dict[Path, str]:
    exact = _Index(records, root, str)
    any_case = _Index(records, root, str.casefold)
    patients: dict[Path, str] = {}
    unmatched, rows = [], 0
    for path in lists:
        above = path.parent.relative_to(root).parts
        for row in read_table(path, ("image", "patient")):
            name, patient = row["image"], row["patient"]
            if not name:
                continue
            rows += 1
            own = exact.find(name, above, path) or any_case.find(name, above, path)
            if own is None:
                unmatched.append(name)
                continue
            patient = "" if is_unknown_patient(patient) else patient
            if patients.setdefault(own, patient) != patient:
                raise UserError(
                    f"source '{source}': {path.name} gives image '{name}' to the patients "
                    f"'{patients[own]}' and '{patient}': keep one row for each image"
                )
    alone = [
        record.path.relative_to(root).as_posix()
        for record in records
        if not patients.get(record.path)
    ]
    if not patients and records:
        raise UserError(
            f"source '{source}': no row of patients.csv fits an image: it names "
            f"'{unmatched[0] if unmatched else ''}', the images are called '{alone[0]}': write "
            "their paths, file names or names without ending"
        )
    if unmatched:
        notes.append(
            f"{len(unmatched)} of {rows} rows of patients.csv fit no image, such as "
            f"'{unmatched[0]}'"
        )
    if alone:
        notes.append(_alone(alone, len(records), "patients.csv has no patient for"))
    return patients


def _alone(names: Sequence[str], total: int, reason: str) -> str:
    return (
        f"{reason} {len(names)} of {total} images, such as '{names[0]}': each of them counts as a "
        "patient of its own"
    )


class _Index:
    """Images by all ends of their paths: `a/b/c` can be found as `a/b/c`, `b/c` and `c`."""

    def __init__(
        self,
        records: Sequence[ImageRecord | LungRecord],
        root: Path,
        spelling: Callable[[str], str],
    ) -> None:
        self._spelling = spelling
        self._images: dict[_Parts, set[Path]] = defaultdict(set)
        self._whole: dict[Path, _Parts] = {}
        for record in records:
            parts = self._parts(record.path.relative_to(root).as_posix(), record.path.suffix)
            self._whole[record.path] = parts
            for start in range(len(parts)):
                self._images[parts[start:]].add(record.path)
        # How many folders all images have in common at the top.
        self._wrapped = len(os.path.commonprefix([own[:-1] for own in self._whole.values()]))

    def _parts(self, name: str, ending: str = "") -> _Parts:
        name = os.path.normpath(composed(name).replace("\\", "/"))
        ending = ending or os.path.splitext(name)[1]
        if ending.lower() in _ENDINGS:
            name = name.removesuffix(ending)
        return tuple(
            self._spelling(part) for part in name.split("/") if part not in ("", ".", "..")
        )

    def find(self, name: str, above: _Parts, csv: Path) -> Path | None:
        """The one image that a row means, None if there is none.

        A row may start at the folder of the list, leave out folders above the image, or have
        further ones before those of the image, as when the list was made elsewhere.

        Raises `UserError` if it can mean several.
        """
        row = self._parts(name)
        from_list = (*map(self._spelling, map(composed, above)), *row)
        fitting = {
            path for path in self._images.get(from_list, ()) if self._whole[path] == from_list
        }
        fitting = fitting or self._images.get(row, set())
        for start in range(1, len(row)):
            if fitting:
                break
            # The folders that remain must be all those of the image.
            fitting = {
                path
                for path in self._images.get(row[start:], ())
                if self._whole[path][self._wrapped :] == row[start:]
            }
        if len(fitting) > 1:
            first, second = sorted(path.as_posix() for path in fitting)[:2]
            raise UserError(
                f"{csv.name}: '{name}' fits {len(fitting)} images, such as {first} and {second}: "
                "write the path from the folder of the list"
            )
        return next(iter(fitting), None)
