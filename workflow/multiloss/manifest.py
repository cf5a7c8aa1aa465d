"""The list of all images: every file decoded once, what cannot be used named with its reason."""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from multiloss import bit_depth
from multiloss.errors import ImageError, UserError
from multiloss.images import decode, in_threads, read_bytes, read_mask_for
from multiloss.layouts import Found, ImageRecord, LungRecord
from multiloss.leakage import perceptual_hash
from multiloss.progress import progress

logger = logging.getLogger(__name__)

MANIFEST_COLUMNS = [
    "image_id",
    "path",
    "label",
    "patient_id",
    "split",
    "width",
    "height",
    "bits",
    "sha256",
    "source",
    "shipped_split",
    "group",
    "lung_mask",
    "lesion_mask",
    "patient_known",
    "phash",
]
LUNG_COLUMNS = [
    "image_id",
    "path",
    "mask_paths",
    "patient_id",
    "split",
    "width",
    "height",
    "bits",
    "sha256",
    "source",
    "group",
    "phash",
]
REJECTED_COLUMNS = ["image_id", "path", "source", "reason"]
# A phantom or scan smaller than this shows no lung.
SMALLEST_SIDE = 16
# File systems take names of 255 bytes; masks and crops are named so, with a little around it.
LONGEST_ID = 220


def build(
    found: Mapping[str, Found],
    classes: Sequence[str],
    threads: int = 1,
    bits: Mapping[str, int | None] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every classification image of the sources, given as {source name: `Found`}.

    Returns (manifest, rejected): the manifest has `MANIFEST_COLUMNS` with `split` empty, one row
    an image, by source and image_id; `group` is the patient, or the first of several patients
    who share a byte-identical image (all of them then stay on one side of any split). Paths are
    relative to the working directory. Images of classes that are not asked for are left out and
    counted in the log. A faulty mask is left out with a row in `rejected`; its image stays.
    `bits` is the depth of the 16-bit images of sources (by name) for which it is given; that of
    the others is told by `bit_depth.agree`, and logged.

    Raises `UserError` for an image_id that is there twice and for a class without images.
    """
    records: list[tuple[str, ImageRecord]] = []
    rejected = _layout_rejections(found)
    for source, own in found.items():
        wanted = [record for record in own.records if record.label in classes]
        others = sorted({record.label for record in own.records} - set(classes))
        if others:
            logger.info(
                "%s: %d images left out, their classes are not in the config: %s",
                source,
                len(own.records) - len(wanted),
                ", ".join(others),
            )
        records += [(source, record) for record in wanted]
    _refuse_duplicates(records)
    rows = []
    checked = in_threads(lambda item: _check_image(item[1]), records, threads)
    settled = _settle(records, progress(checked, len(records), "images"), bits or {})
    for (source, record), (facts, problems) in zip(records, settled, strict=True):
        rejected += [_rejection(record, record.path, source, problem) for problem in problems]
        if facts is None:
            continue
        rows.append(
            {
                "image_id": record.image_id,
                "path": relative(record.path),
                "label": record.label,
                "patient_id": record.patient_id or record.image_id,
                "split": "",
                "source": source,
                "shipped_split": record.shipped_split,
                "patient_known": bool(record.patient_id),
                **facts,
            }
        )
    manifest = pd.DataFrame(rows, columns=MANIFEST_COLUMNS)
    for name in classes:
        if not (manifest["label"] == name).any():
            there = sorted({record.label for own in found.values() for record in own.records})
            raise UserError(
                f"classes: no usable image of class '{name}' (the sources have: "
                f"{', '.join(there) or 'none'}): correct `classes` or the data"
            )
    manifest["group"] = join_groups(manifest)
    return manifest, _rejected_table(rejected)


def build_lungs(
    found: Mapping[str, Found], threads: int = 1, bits: Mapping[str, int | None] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every image of the sources of lung masks, given as {source name: `Found`}.

    Returns (lungs, rejected) as `build` does, with `LUNG_COLUMNS`; an image whose mask is
    unreadable, of other proportions or black all over is rejected.
    """
    rejected = _layout_rejections(found)
    records = [(source, record) for source, own in found.items() for record in own.records]
    _refuse_duplicates(records)
    rows = []
    checked = in_threads(lambda item: _check_lungs(item[1]), records, threads)
    settled = _settle(records, progress(checked, len(records), "lung masks"), bits or {})
    for (source, record), (facts, problems) in zip(records, settled, strict=True):
        rejected += [_rejection(record, record.path, source, problem) for problem in problems]
        if facts is None:
            continue
        rows.append(
            {
                "image_id": record.image_id,
                "path": relative(record.path),
                "mask_paths": ";".join(relative(path) for path in record.mask_paths),
                "patient_id": record.patient_id or record.image_id,
                "split": "",
                "source": source,
                **facts,
            }
        )
    lungs = pd.DataFrame(rows, columns=LUNG_COLUMNS)
    for source in found:
        if not (lungs["source"] == source).any():
            raise UserError(f"source '{source}': no usable pair of image and lung mask")
    lungs["group"] = join_groups(lungs)
    return lungs, _rejected_table(rejected)


def relative(path: Path) -> str:
    """The path from the working directory, with forward slashes, links kept as they are."""
    return Path(os.path.relpath(path)).as_posix()


def join_groups(table: pd.DataFrame) -> pd.Series:
    """For each row the first (by name) of all patients linked to its patient by equal images.

    Two patients are linked if they own images with the same `sha256`; links chain.
    """
    patients, patient_of = np.unique(table["patient_id"].astype(str), return_inverse=True)
    digests, digest_of = np.unique(table["sha256"].astype(str), return_inverse=True)
    size = len(patients) + len(digests)
    links = coo_array(
        (np.ones(len(table), np.int8), (patient_of, digest_of + len(patients))), (size, size)
    )
    _, component = connected_components(links, directed=False)
    # Patients are sorted, so the first of each component is its smallest name.
    _, first = np.unique(component[: len(patients)], return_index=True)
    name_of = dict(zip(component[first], patients[first], strict=True))
    return pd.Series([name_of[component[own]] for own in patient_of], table.index, dtype=object)


@dataclass
class _Checked:
    """What a look at one image tells; `facts` is None if it cannot be used.

    A 16-bit image has its `reach` and range, and a `phash` for each depth that it may turn out
    to have. `resized` names sizes of masks that are not the image's.
    """

    facts: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    reach: bit_depth.Reach | None = None
    phashes: dict[int, str] = field(default_factory=dict)
    resized: list[str] = field(default_factory=list)


def _check_image(record: ImageRecord) -> _Checked:
    try:
        if len(os.fsencode(record.image_id)) > LONGEST_ID:
            raise ImageError(f"its image_id has more than {LONGEST_ID} bytes: shorten its path")
        checked, shape = _look(record.path)
    except ImageError as error:
        return _Checked(problems=[str(error)])
    for kind in ("lung_mask", "lesion_mask"):
        path = getattr(record, kind)
        checked.facts[kind] = ""
        if path is not None:
            try:
                mask = _check_masks(checked, shape, [path])
                if kind == "lung_mask" and not mask.any():
                    raise ImageError("it is black all over: no lung")
                checked.facts[kind] = relative(path)
            except ImageError as error:
                checked.problems.append(f"image kept, {kind} not used: {error}")
    return checked


def _check_lungs(record: LungRecord) -> _Checked:
    try:
        if any(";" in relative(path) for path in record.mask_paths):
            raise ImageError("its mask's path holds a ';', which separates masks: rename it")
        checked, shape = _look(record.path)
        if not _check_masks(checked, shape, record.mask_paths).any():
            raise ImageError("the mask is black all over: no lung")
    except ImageError as error:
        return _Checked(problems=[str(error)])
    return checked


def _check_masks(checked: _Checked, shape: tuple[int, int], paths: Sequence[Path]) -> np.ndarray:
    sizes: list[str] = []
    mask = read_mask_for(shape, paths, sizes)
    checked.resized += [f"{size} for {shape[1]}x{shape[0]}" for size in sizes]
    return mask


def _look(path: Path) -> tuple[_Checked, tuple[int, int]]:
    content = read_bytes(path)
    stored = decode(content)
    height, width = stored.values.shape
    if min(height, width) < SMALLEST_SIDE:
        raise ImageError(f"only {width}x{height} pixels")
    low, high = int(stored.values.min()), int(stored.values.max())
    if low == high:
        raise ImageError(f"all its pixels have one value ({low}): nothing to see")
    checked = _Checked(
        {
            "width": width,
            "height": height,
            "bits": 8,
            "sha256": hashlib.sha256(content).hexdigest(),
            "phash": "",
        }
    )
    if stored.values.dtype == np.uint8:
        checked.facts["phash"] = perceptual_hash(stored.values)
    else:
        checked.reach = bit_depth.Reach(high, stored.bits)
        possible = {*bit_depth.DEPTHS, stored.bits or 16}
        checked.phashes = {
            bits: perceptual_hash(stored.grey(bits)) for bits in possible if not high >> bits
        }
    return checked, (height, width)


def _settle(
    records: Sequence[tuple[str, ImageRecord | LungRecord]],
    checked: Iterable[_Checked],
    given: Mapping[str, int | None],
) -> list[tuple[dict[str, Any] | None, list[str]]]:
    """(facts, problems) of all images, once the 16-bit ones of each source have their depth."""
    looks = list(checked)
    by_source: dict[str, list[_Checked]] = {}
    for (source, _), look in zip(records, looks, strict=True):
        by_source.setdefault(source, []).append(look)
    for source, own in by_source.items():
        deep = [look for look in own if look.reach]
        depths = bit_depth.agree([look.reach for look in deep], given.get(source))
        for look, bits in zip(deep, depths, strict=True):
            if isinstance(bits, ImageError):
                look.facts, look.problems = None, [str(bits)]
            else:
                look.facts |= {"bits": bits, "phash": look.phashes[bits]}
        read = [look for look in deep if look.facts]
        for bits in sorted({look.facts["bits"] for look in read}):
            reaches = [look.reach.largest for look in read if look.facts["bits"] == bits]
            logger.info(
                "%s: %d images of 16 bits reach at most %d: read as %d-bit",
                source,
                len(reaches),
                max(reaches),
                bits,
            )
        if len(read) < len(deep):
            logger.warning(
                "%s: of %d images of 16 bits %d are left out, their values are of another depth",
                source,
                len(deep),
                len(deep) - len(read),
            )
        resized = [size for look in own if look.facts for size in look.resized]
        if resized:
            logger.info(
                "%s: %d masks have another size than their image, and are brought to it by nearest "
                "pixels, such as %s",
                source,
                len(resized),
                resized[0],
            )
    return [(look.facts, look.problems) for look in looks]


def _refuse_duplicates(records: Sequence[tuple[str, ImageRecord | LungRecord]]) -> None:
    seen: dict[str, Path] = {}
    for _, record in records:
        if record.image_id in seen:
            raise UserError(
                f"image_id '{record.image_id}' is there twice: {relative(seen[record.image_id])} "
                f"and {relative(record.path)}: rename one of the files"
            )
        seen[record.image_id] = record.path


def _layout_rejections(found: Mapping[str, Found]) -> list[dict[str, str]]:
    return [
        _rejection(rejection, rejection.path, source, rejection.reason)
        for source, own in found.items()
        for rejection in own.rejections
    ]


def _rejection(owner: Any, path: Path, source: str, reason: str) -> dict[str, str]:
    return {
        "image_id": owner.image_id,
        "path": relative(path),
        "source": source,
        "reason": reason,
    }


def _rejected_table(rows: list[dict[str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=REJECTED_COLUMNS)
    return table.sort_values(["source", "image_id", "path"], ignore_index=True)
