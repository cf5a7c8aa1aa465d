"""A user's own images, sorted into folders."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from multiloss.archives import is_litter
from multiloss.errors import UserError
from multiloss.layouts import Found, ImageRecord, Layout, Rejection
from multiloss.layouts._scan import SPLIT_NAMES, images, paired, read_table


class Folders(Layout):
    """`class/*.png` or `split/class/*.png` (jpg, tif...); for lungs `images/` and `masks/`.

    `split` is a folder named train, val, test or the like; `test` is the shipped test folder.
    Patients: `patients.csv` at the top (`image,patient`; image as path, file name or stem), or
    the source's `patient_pattern` (a regular expression searched in the path; its first group,
    or all of it, is the patient). Otherwise unknown: each image then counts as a patient.
    """

    counts = "any"
    labels = "the folders' names"

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        root = _top(root)
        parts = {path: path.relative_to(root).parts for path in images(root)}
        # What lies at the top, such as a preview, is in no class.
        parts = {path: own for path, own in parts.items() if len(own) > 1}
        split_level = all(own[0].lower() in SPLIT_NAMES for own in parts.values()) and any(
            len(own) > 2 for own in parts.values()
        )
        patient = _patients(root, source)
        found = Found()
        for path, own in parts.items():
            relative = path.relative_to(root)
            if split_level and len(own) == 2:
                found.rejections.append(Rejection(path.stem, path, "lies in no class folder"))
                continue
            found.records.append(
                ImageRecord(
                    image_id="__".join(relative.with_suffix("").parts),
                    path=path,
                    label=own[1] if split_level else own[0],
                    patient_id=patient(relative),
                    shipped_split=own[0].lower() if split_level else "",
                )
            )
        return found

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        root = _top(root)
        patient = _patients(root, source)
        return paired(images(root), root, lambda path: patient(path.relative_to(root)))


def _top(root: Path) -> Path:
    """Below folders that only wrap another one, as archives and links often do."""
    while True:
        inside = [path for path in root.iterdir() if not is_litter(path.name)]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in SPLIT_NAMES:
            return root
        root = inside[0]


def _patients(root: Path, source: Mapping[str, Any]) -> Callable[[Path], str]:
    """The function from an image's path (relative to `root`) to its patient, '' if unknown."""
    listed = root / "patients.csv"
    if listed.is_file():
        table = read_table(listed, ("image", "patient"))
        known = dict(zip(table["image"], table["patient"], strict=True))
        return lambda path: next(
            (known[key] for key in (path.as_posix(), path.name, path.stem) if key in known),
            "",
        )
    pattern = source.get("patient_pattern")
    if not pattern:
        return lambda path: ""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"source '{source['name']}': patient_pattern '{pattern}' is no regular expression "
            f"({error})"
        ) from None

    def searched(path: Path) -> str:
        match = compiled.search(path.as_posix())
        return "" if match is None else match.group(1 if compiled.groups else 0) or ""

    return searched
