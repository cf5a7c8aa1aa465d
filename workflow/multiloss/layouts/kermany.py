"""Pediatric chest radiographs of Kermany 2018."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiloss.layouts import Found, ImageRecord, Layout, Rejection
from multiloss.layouts._scan import images, public_patient

_PNEUMONIA = re.compile(r"(?:phantom-)?person\d+_(bacteria|virus)_", re.IGNORECASE)


class Kermany(Layout):
    """`{train,test}/{NORMAL,PNEUMONIA}/*.jpeg`, at any depth.

    The kind of a pneumonia is in the file's name (`person1_bacteria_1.jpeg`). Patients are the
    number behind `person`, whatever the kind, and `IM-0115` or `NORMAL2-IM-0343`: whether
    `person1_bacteria` and `person1_virus`, or equal numbers in train and test, are one child is
    not published, so one number is taken for one child, the reading that cannot leak.
    """

    counts = "5,856 images: train 1349 / 2538 / 1345, test 234 / 242 / 148 (by label)"
    labels = "normal, bacterial, viral"
    citation = (
        "Kermany D, Zhang K, Goldbaum M (2018). Labeled Optical Coherence Tomography (OCT) and "
        "Chest X-Ray Images for Classification. Mendeley Data, v2. doi:10.17632/rscbjbr9sj.2"
    )
    license = "CC BY 4.0"
    homepage = "https://doi.org/10.17632/rscbjbr9sj.2"

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        found = Found()
        for path in images(root):
            folder, split = path.parent.name.upper(), path.parent.parent.name.lower()
            if folder not in ("NORMAL", "PNEUMONIA"):
                continue
            label = "normal" if folder == "NORMAL" else _kind(path.stem)
            if label is None:
                found.rejections.append(
                    Rejection(path.stem, path, "neither bacteria nor virus in the file name")
                )
                continue
            patient = public_patient(path)
            found.records.append(ImageRecord(path.stem, path, label, patient, split))
        return found


def _kind(stem: str) -> str | None:
    match = _PNEUMONIA.match(stem)
    if match is None:
        return None
    return "bacterial" if match.group(1).lower() == "bacteria" else "viral"
