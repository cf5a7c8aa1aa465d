"""A user's own images, listed in a CSV file."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multiloss.data.layouts import Found, ImageRecord, Layout, LungRecord, Rejection
from multiloss.data.layouts._scan import known_split, on_disk, read_table
from multiloss.data.sources.addresses import is_remote, local_path
from multiloss.data.sources.listing import composed, files
from multiloss.job.errors import UserError

_ON_ONE_LINE = {"path", "patient", "split", "mask", "lung_mask", "lesion_mask"}
_OWN = _ON_ONE_LINE | {"label", "image_id", ""}


class Table(Layout):
    """A CSV file with one row an image, UTF-8, with the columns
    `path,label,patient[,split,lung_mask,lesion_mask]`, for lungs `path,mask,patient`.

    Names of columns in any case. Paths start at the folder of the CSV and stay inside it; several
    mask files are joined by `;`. `split` may be empty; `test` is the shipped test folder. An empty
    `patient` is unknown. Images that no row names are no part of the study. Further columns, such
    as sex or age, may tell groups of patients apart. The file is the only CSV of the source, or the
    one that the source's key `table` names.
    """

    title = "Images listed in a table"
    reads_folders = False

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        csv = _csv(root, source)
        found = Found()
        for row in _rows(csv, ("path", "label", "patient"), found):
            path = _inside(csv, row["path"])
            if not row["label"]:
                found.rejections.append(
                    Rejection(_image_id(row["path"]), path, "no label in the table")
                )
                continue
            found.records.append(
                ImageRecord(
                    image_id=_image_id(row["path"]),
                    path=path,
                    label=row["label"],
                    patient_id=row["patient"],
                    shipped_split=known_split(row.get("split", ""), f"{csv.name}: {row['path']}"),
                    lung_mask=_optional(csv, row.get("lung_mask", "")),
                    lesion_mask=_optional(csv, row.get("lesion_mask", "")),
                    further={key: value for key, value in row.items() if key not in _OWN},
                )
            )
        return found

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        csv = _csv(root, source)
        found = Found()
        for row in _rows(csv, ("path", "mask"), found):
            path = _inside(csv, row["path"])
            image_id = _image_id(row["path"])
            masks = tuple(_inside(csv, mask) for mask in row["mask"].split(";") if mask.strip())
            if masks:
                found.records.append(LungRecord(image_id, path, masks, row.get("patient", "")))
            else:
                found.rejections.append(Rejection(image_id, path, "no mask for this image"))
        return found


def _csv(root: Path, source: Mapping[str, Any]) -> Path:
    wanted, url = source.get("table"), source["url"]
    if not wanted and not is_remote(url) and local_path(url).suffix.lower() == ".csv":
        wanted = local_path(url).name
        # The folder around it is linked.
        if (root / "linked" / wanted).is_file():
            return root / "linked" / wanted
    tables = [path for path in files(root) if path.suffix.lower() == ".csv"]
    if wanted:
        tables = [path for path in tables if f"/{path.as_posix()}".endswith(f"/{wanted}")]
    if len(tables) != 1:
        raise UserError(
            f"source '{source['name']}': {len(tables)} CSV files"
            + (f" named '{wanted}'" if wanted else "")
            + ", one is needed: name it by the source's key `table`"
        )
    return tables[0]


def _rows(csv: Path, columns: tuple[str, ...], found: Found) -> Iterator[dict[str, str]]:
    """The rows that name an image, each once."""
    seen = set()
    for row in read_table(csv, columns):
        for column in _ON_ONE_LINE & row.keys():
            if "\n" in row[column] or "\r" in row[column]:
                raise UserError(
                    f"{csv.name}: a line break in {row[column]!r} (column {column}): a quote "
                    "before it is not closed"
                )
        name = composed(_normal(row["path"]))
        if name == ".":
            found.rejections.append(Rejection("", csv, "a row without a path"))
            continue
        if name in seen:
            raise UserError(f"{csv.name} names '{name}' twice: keep one row for each image")
        seen.add(name)
        yield row


def _normal(name: str) -> str:
    """The path with forward slashes and without detours, '.' where it is empty."""
    return os.path.normpath(name.strip().replace("\\", "/"))


def _inside(csv: Path, name: str) -> Path:
    relative = _normal(name)
    if (
        os.path.isabs(relative)
        or re.match(r"[A-Za-z]:", relative)
        or relative.split("/")[0] == ".."
    ):
        raise UserError(
            f"{csv.name}: path '{name}' leaves the folder of the table: put table and images "
            "into one folder and write paths relative to it"
        )
    return on_disk(csv.parent / relative)


def _optional(csv: Path, name: str) -> Path | None:
    return _inside(csv, name) if name else None


def _image_id(name: str) -> str:
    return "__".join(Path(_normal(name)).with_suffix("").parts)
