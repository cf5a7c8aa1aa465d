"""Pediatric chest radiographs of Kermany 2018."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiloss.data.layouts import Found, ImageRecord, Layout, Rejection
from multiloss.data.layouts._scan import images, is_drawn_file, public_patient, split_of

_PNEUMONIA = re.compile(r"(?:phantom-(?:[0-9a-f]{6}-)?)?person\d+_(bacteria|virus)_", re.IGNORECASE)


def _number_and_kind(path: Path) -> str:
    match, patient = _PNEUMONIA.match(path.stem), public_patient(path)
    return f"{patient}_{match.group(1).lower()}" if match else patient


class Kermany(Layout):
    """`{train,test}/{NORMAL,PNEUMONIA}/*.jpeg`, at any depth.

    The set may be there twice, as in an archive that holds `chest_xray` within `chest_xray`:
    `manifest.build` takes identical files of one name once.

    The kind of a pneumonia is in the file's name (`person1_bacteria_1.jpeg`). Patients are
    `IM-0115` or `NORMAL2-IM-0343` and the number behind `person`: whether `person1_bacteria` and
    `person1_virus` are one child is not published. With `patients: number` they are, the reading
    that cannot leak; with `number_and_kind` bacterial and viral patients are numbered apart, which
    is likely, since by number and kind no patient of the published test folder is in the other.
    """

    title = "Chest radiographs of children, Kermany 2018"
    cites = ("kermany2018",)
    license = "CC BY 4.0"
    homepage = "https://doi.org/10.17632/rscbjbr9sj.2"
    patient_readings = {"number": public_patient, "number_and_kind": _number_and_kind}
    # Kermany DS, Goldbaum M, Cai W et al. (2018). Cell 172(5):1122-1131.
    # doi:10.1016/j.cell.2018.02.010
    published = {
        "design": "Retrospective (doi:10.1016/j.cell.2018.02.010).",
        "eligibility": (
            "Children of one to five years at one hospital (Guangzhou Women and Children's Medical "
            "Center), unreadable images removed by the publishers (doi:10.1016/j.cell.2018.02.010)."
        ),
        "dates": "Not part of the archive.",
        "acquisition": (
            "Anterior-posterior chest radiographs of routine care "
            "(doi:10.1016/j.cell.2018.02.010); devices are not told in the archive."
        ),
        "reference": (
            "Graded by two physicians, as the publishers say (doi:10.1016/j.cell.2018.02.010); "
            "taken as it is."
        ),
        "test_reference": (
            "The publishers had a third expert check the images of their test folder "
            "(doi:10.1016/j.cell.2018.02.010)."
        ),
        "raters": "Not part of the archive.",
        "sites": "One hospital; devices are not told in the archive.",
        "demographics": "Age and sex are not part of the archive.",
    }

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        found = Found()
        for path in images(root):
            folder, split = path.parent.name.upper(), split_of(path.parent.parent.name)
            if folder not in ("NORMAL", "PNEUMONIA"):
                found.rejections.append(
                    Rejection(path.stem, path, "lies in no folder NORMAL or PNEUMONIA")
                )
                continue
            if is_drawn_file(path.stem):
                found.rejections.append(
                    Rejection(path.stem, path, "a mask or drawing by its name, no radiograph")
                )
                continue
            label = "normal" if folder == "NORMAL" else _kind(path.stem)
            if label is None:
                found.rejections.append(
                    Rejection(path.stem, path, "neither bacteria nor virus in the file name")
                )
                continue
            patient = self.patient_readings[source.get("patients") or "number"](path)
            found.records.append(ImageRecord(path.stem, path, label, patient, split))
        return found


def _kind(stem: str) -> str | None:
    match = _PNEUMONIA.match(stem)
    if match is None:
        return None
    return "bacterial" if match.group(1).lower() == "bacteria" else "viral"
