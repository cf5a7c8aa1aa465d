"""What it changes who is taken for one patient, where the publishers of images leave it open."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from multiloss.data import layouts

logger = logging.getLogger(__name__)

COLUMNS = [
    "source",
    "reading",
    "used",
    "images",
    "patients",
    "test_patients",
    "recurring_patients",
    "recurring_images",
]


def compare(images: pd.DataFrame, sources: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each source and reading of its layout (`Layout.patient_readings`).

    `images` is the list of `manifest.build` before any division. Columns: `used`, whether the study
    reads so; `images` and `patients` of the source; `test_patients` of its shipped test folder;
    `recurring_patients`, those of them who are in another folder too, and `recurring_images`, their
    images there, which a shipped test split makes useless. An image whose patient is not known
    counts as a patient of its own.
    """
    rows = []
    for source in sources:
        own = images[images["source"] == source["name"]]
        readings = layouts.get(source["layout"]).patient_readings
        in_test = own["shipped_split"] == layouts.SHIPPED_TEST
        for reading, patient_of in readings.items():
            read = own["path"].map(lambda path, of=patient_of: of(Path(path)))
            patients = read.where(read != "", own["image_id"])
            recurs = ~in_test & patients.isin(patients[in_test])
            rows.append(
                {
                    "source": source["name"],
                    "reading": reading,
                    "used": reading == source["patients"],
                    "images": len(own),
                    "patients": patients.nunique(),
                    "test_patients": patients[in_test].nunique(),
                    "recurring_patients": patients[recurs].nunique(),
                    "recurring_images": int(recurs.sum()),
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def tell(readings: pd.DataFrame) -> None:
    """Log what each reading finds, where readings differ."""
    for source, own in readings.groupby("source", sort=False):
        if len(own["recurring_images"].unique()) > 1:
            for row in own.itertuples():
                logger.info(
                    "%s, patients by %s%s: %d of %d patients of the test folder recur, with %d "
                    "images in other folders",
                    *(source, row.reading.replace("_", " "), " (as used here)" if row.used else ""),
                    *(row.recurring_patients, row.test_patients, row.recurring_images),
                )
