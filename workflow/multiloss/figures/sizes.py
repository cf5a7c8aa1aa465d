"""How many images and patients a figure is about."""

import pandas as pd

from multiloss.data.tables import is_external
from multiloss.figures.drawing import Inputs
from multiloss.figures.style import count


def sizes(inputs: Inputs, table: pd.DataFrame) -> str:
    """The images that a table is about, and their patients: 'n = 240 images of 210 patients'."""
    if table.empty:
        return "n = 0 images"
    return f"n = {count(int(table['n'].max()), 'image')} of {test_patients(inputs)}"


def all_sizes(inputs: Inputs) -> str:
    """All images of the study that some fold holds, of figures that have the manifest."""
    manifest = inputs.table("manifest", ["patient_known"], text=["split", "patient_id"])
    own = manifest[~is_external(manifest)]
    return f"n = {count(len(own), 'image')} of {patients(own)}"


def patients(manifest: pd.DataFrame) -> str:
    """The patients of rows of the manifest: '210 patients', 'unknown patients'.

    An image without a known patient has one of its own there.
    """
    known = manifest["patient_known"].astype(str) == "True"
    if len(manifest) and not known.any():
        return "unknown patients"
    most = "" if known.all() else "at most "
    return most + count(manifest["patient_id"].nunique(), "patient")


def test_patients(inputs: Inputs) -> str:
    """The patients of the test split, of figures that have the manifest among their inputs."""
    manifest = inputs.table("manifest", ["patient_known"], text=["split", "patient_id"])
    return patients(manifest[manifest["split"] == "test"])
