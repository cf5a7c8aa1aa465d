"""A user's own images, listed in a CSV file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiloss.errors import UserError
from multiloss.layouts import Found, ImageRecord, Layout, LungRecord, Rejection
from multiloss.layouts._scan import files, read_table


class Table(Layout):
    """A CSV file with one row an image, UTF-8, with the columns
    `path,label,patient[,split,lung_mask,lesion_mask]`, for lungs `path,mask,patient`.

    Paths start at the folder of the CSV and stay inside it; several mask files are joined by
    `;`. `split` may be empty; `test` is the shipped test folder. An empty `patient` is unknown.
    The file is the only CSV of the source, or the one that the source's key `table` names.
    """

    counts = "any"
    labels = "column `label`"

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        csv = _csv(root, source)
        table = read_table(csv, ("path", "label", "patient"))
        found = Found()
        for row in table.to_dict("records"):
            path = _inside(csv, row["path"])
            if not row["label"]:
                found.rejections.append(Rejection(path.stem, path, "no label in the table"))
                continue
            found.records.append(
                ImageRecord(
                    image_id=_image_id(row["path"]),
                    path=path,
                    label=row["label"],
                    patient_id=row["patient"],
                    shipped_split=row.get("split", "").lower(),
                    lung_mask=_optional(csv, row.get("lung_mask", "")),
                    lesion_mask=_optional(csv, row.get("lesion_mask", "")),
                )
            )
        return found

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        csv = _csv(root, source)
        table = read_table(csv, ("path", "mask"))
        found = Found()
        for row in table.to_dict("records"):
            path = _inside(csv, row["path"])
            image_id = _image_id(row["path"])
            masks = tuple(_inside(csv, mask) for mask in row["mask"].split(";") if mask.strip())
            if masks:
                found.records.append(LungRecord(image_id, path, masks, row.get("patient", "")))
            else:
                found.rejections.append(Rejection(image_id, path, "no mask for this image"))
        return found


def _csv(root: Path, source: Mapping[str, Any]) -> Path:
    tables = [path for path in files(root) if path.suffix.lower() == ".csv"]
    wanted = source.get("table")
    if wanted is None and str(source.get("url", "")).lower().endswith(".csv"):
        wanted = Path(source["url"]).name
    if wanted:
        tables = [path for path in tables if path.relative_to(root).match(wanted)]
    if len(tables) != 1:
        raise UserError(
            f"source '{source['name']}': {len(tables)} CSV files"
            + (f" named '{wanted}'" if wanted else "")
            + ", one is needed: name it by the source's key `table`"
        )
    return tables[0]


def _inside(csv: Path, name: str) -> Path:
    relative = os.path.normpath(name.strip().replace("\\", "/"))
    if os.path.isabs(relative) or relative.split("/")[0] == "..":
        raise UserError(
            f"{csv.name}: path '{name}' leaves the folder of the table: put table and images "
            "into one folder and write paths relative to it"
        )
    return csv.parent / relative


def _optional(csv: Path, name: str) -> Path | None:
    return _inside(csv, name) if name else None


def _image_id(name: str) -> str:
    relative = os.path.normpath(name.strip().replace("\\", "/"))
    return "__".join(Path(relative).with_suffix("").parts)
