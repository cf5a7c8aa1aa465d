"""The list of all images: every file decoded once, what cannot be used named with its reason."""

import hashlib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from multiloss.data import bit_depth
from multiloss.data.images import decode, in_threads, is_grey, luminance, read_bytes, read_mask_for
from multiloss.data.layouts import SHIPPED_TEST, Found, ImageRecord, LungRecord
from multiloss.data.likeness import perceptual_hash
from multiloss.data.sources.listing import composed
from multiloss.data.tables import external_split
from multiloss.job.errors import ImageError, UserError
from multiloss.job.progress import progress

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
    "patient_known",
]
REJECTED_COLUMNS = ["image_id", "path", "source", "reason", "label"]
# A picture has dozens of grey values, and no two of them cover nearly all of it, be its border
# as wide as it may; masks and maps of labels do.
FEWEST_GREYS = 7
SHARE_OF_TWO_GREYS = 0.97
# An image whose pixels nearly all lie within so many grey values shows nothing. Those of real
# radiographs take 80 and more; a 12-bit one with a burnt-in letter of 65535 comes down to these.
FLAT = 16
# Reasons of rejection that are told one by one.
_REASONS_TOLD = 12
# The reason of a further copy of an image.
COPY = "identical copy of an image that is used"
# Part of the reason of an image of a class that is not asked for.
FOREIGN = "is not in the config"
# How the reason of an image of an external test begins that is the study's own.
KNOWN = "known to the study"
# How the reason of an image begins that is used nevertheless.
KEPT = "image kept"
# An image smaller than this shows next to nothing.
SMALLEST_SIDE = 16
# File systems take names of 255 bytes; masks and crops are named so, with a little around it.
LONGEST_ID = 220


def build(
    found: Mapping[str, Found],
    classes: Sequence[str],
    threads: int = 1,
    bits: Mapping[str, int | None] | None = None,
    rgb: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every classification image of the sources, given as {source name: `Found`}.

    Returns (manifest, rejected): the manifest has `MANIFEST_COLUMNS` with `split` empty, one row
    an image, by source and image_id; `group` is the patient, or the first of several patients
    who share a byte-identical image (all of them then stay on one side of any split). Paths are
    relative to the working directory. What is left out has a row in `rejected`, with the reason:
    images of classes that are not asked for, unusable ones, and further copies of an image (equal
    bytes, name, label and, where known, patient; the one in the fewest folders stays). So has what
    is used with a remark: an image with a faulty mask, and one whose equal has another label. An
    image_id that two sources have gets the source's name in front. `bits` is the depth of the
    16-bit images of sources (by name) for which it is given; that of the others is told by
    `bit_depth.agree`, and logged. With `rgb` the classifiers see colour: an image is then unusable
    if it is so in every channel, and images without colour are counted in the log.

    Raises `UserError` for an image_id that is there twice in one source, with different content.
    """
    records: list[tuple[str, ImageRecord]] = []
    rejected = _layout_rejections(found)
    for source, own in found.items():
        for record in own.records:
            label = _class_of(record.label, classes)
            if label is None:
                reason = _foreign_class(record.label, classes)
                rejected.append(_rejection(record, record.path, source, reason, record.label))
            else:
                records.append((source, replace(record, label=label)))
    rows, grey = [], 0
    checked = in_threads(lambda item: _check_image(item[1], rgb), records, threads)
    settled = _settle(records, progress(checked, len(records), "images"), bits or {})
    for (source, record), (facts, problems) in zip(records, settled, strict=True):
        rejected += [
            _rejection(record, record.path, source, problem, record.label) for problem in problems
        ]
        if facts is None:
            continue
        grey += facts.pop("grey", False)
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
    if grey:
        logger.warning("%d of %d images have no colour: three equal channels", grey, len(rows))
    rows = _without_copies(rows, rejected, ("label",))
    _make_ids_unique(rows)
    manifest = pd.DataFrame(rows, columns=MANIFEST_COLUMNS)
    rejected += _two_labels(manifest)
    _tell_shared_patients(manifest)
    _tell_alike_patients(manifest)
    manifest["group"] = join_groups(manifest)
    return manifest, _rejected_table(rejected)


def build_external(
    found: Mapping[str, Found],
    own: pd.DataFrame,
    classes: Sequence[str],
    threads: int = 1,
    bits: Mapping[str, int | None] | None = None,
    rgb: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check the images of sources of role external_test, each source by itself.

    `own`: the manifest of the study's own images, as from `build`, of which nothing changes.
    Returns (manifest, rejected) as `build` does, with `split` filled in. All images of a source
    count, whatever split it was shipped in. Left out, since a test on them would not be external,
    are images with the bytes of one of `own`, those of its known patients, and those of patients
    who own such an image (reasons begin with `KNOWN`). An image_id that the study or another
    external test has gets the source's name in front.

    Raises `UserError` as `build` does.
    """
    tables, rejections = [], []
    for source, images in found.items():
        table, rejected = build({source: images}, classes, threads, bits, rgb)
        reasons = _reasons_to_know(own, table)
        _tell_known(source, table, reasons)
        known = table[reasons != ""].assign(reason=reasons[reasons != ""])
        tables.append(table[reasons == ""].assign(split=external_split(source)))
        rejections += [rejected, known[REJECTED_COLUMNS]]
    if not tables:
        return own.iloc[:0], pd.DataFrame(columns=REJECTED_COLUMNS)
    external = pd.concat(tables, ignore_index=True)
    names = pd.concat([own["image_id"], external["image_id"]])
    shared = external["image_id"].isin(names[names.duplicated()])
    external.loc[shared, "image_id"] = external["source"] + "__" + external["image_id"]
    alone = shared & ~external["patient_known"].astype(bool)
    external.loc[alone, "patient_id"] = external["image_id"]
    together = pd.concat([own, external])
    twice = together[together["image_id"].duplicated(keep=False)]
    _refuse_duplicates(rows.to_dict("records") for _, rows in twice.groupby("image_id"))
    for _, rows in external.groupby("source"):
        external.loc[rows.index, "group"] = join_groups(rows)
    return external, _rejected_table(pd.concat(rejections).to_dict("records"))


def _reasons_to_know(own: pd.DataFrame, external: pd.DataFrame) -> pd.Series:
    """For each image of an external test why it is the study's own, '' if it is not."""
    tables = []
    for place, table in enumerate((own, external)):
        # A patient who is not known is nobody else's, whatever the image is called.
        alone = f"\0{place}\0" + table["image_id"].astype(str)
        known = table["patient_known"].astype(bool)
        tables.append(table.assign(patient_id=table["patient_id"].where(known, alone)))
    groups = join_groups(pd.concat(tables, ignore_index=True))
    reasons = pd.Series("", external.index, dtype=object)
    linked = groups[len(own) :].isin(groups[: len(own)]).to_numpy()
    reasons[linked] = f"{KNOWN}: its patient owns an image that the study has"
    patients = tables[1]["patient_id"].isin(tables[0]["patient_id"])
    reasons[patients] = f"{KNOWN}: its patient is in the study"
    reasons[external["sha256"].isin(own["sha256"])] = f"{KNOWN}: the study has an identical image"
    return reasons


def _tell_known(source: str, table: pd.DataFrame, reasons: pd.Series) -> None:
    """Say which patients' ids keep images out of an external test: hospitals number alike."""
    own = table.loc[reasons.str.endswith("is in the study"), "patient_id"]
    if len(own):
        logger.warning(
            "%s: %d of %d images are of patients of the study (%d in all, such as '%s'): left out "
            "of the external test; if equal ids mean different people, give them different ones",
            source,
            len(own),
            len(table),
            own.nunique(),
            own.iloc[0],
        )


def build_lungs(
    found: Mapping[str, Found], threads: int = 1, bits: Mapping[str, int | None] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every image of the sources of lung masks, given as {source name: `Found`}.

    Returns (lungs, rejected) as `build` does, with `LUNG_COLUMNS`; an image whose mask is
    unreadable, of other proportions or black all over is rejected. Copies are looked for within one
    source, and have equal masks.
    """
    rejected = _layout_rejections(found)
    records = [(source, record) for source, own in found.items() for record in own.records]
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
                "patient_known": bool(record.patient_id),
                **facts,
            }
        )
    rows = _without_copies(rows, rejected, ("source", "mask_paths"))
    _make_ids_unique(rows)
    lungs = pd.DataFrame(rows, columns=LUNG_COLUMNS)
    lungs["group"] = join_groups(lungs)
    return lungs, _rejected_table(rejected)


def refuse_empty(
    manifest: pd.DataFrame,
    lungs: pd.DataFrame,
    rejected: pd.DataFrame,
    classes: Sequence[str],
    lung_sources: Sequence[str],
    external_sources: Sequence[str] = (),
) -> None:
    """Raise `UserError` for a class without images, a source without a pair of image and mask, or
    an external test without images.

    `manifest`: all images, of which those without a split are the study's own.

    The line says what was left out and why, since that is most often the cause.
    """
    for source in external_sources:
        if not (manifest["source"] == source).any():
            own = rejected[rejected["source"] == source]
            raise UserError(
                f"source '{source}': no usable image for an external test"
                + (f" ({_all_left_out(own)}): data/rejected.csv lists them" if len(own) else "")
            )
    manifest = manifest[manifest["split"] == ""]
    elsewhere = [*lung_sources, *external_sources]
    for name in classes:
        if (manifest["label"] == name).any():
            continue
        own = rejected[(rejected["label"] == name) & ~rejected["source"].isin(external_sources)]
        if len(own):
            raise UserError(
                f"classes: no usable image of class '{name}' ({_all_left_out(own)}): correct the "
                "data; data/rejected.csv lists them"
            )
        others = rejected[~rejected["source"].isin(elsewhere)]
        labels = {*manifest["label"], *others["label"]} - {""}
        others = others[others["label"] == ""]
        more = f"; {_all_left_out(others)}" if len(others) else ""
        raise UserError(
            f"classes: no usable image of class '{name}' (the sources have: "
            f"{', '.join(sorted(labels)) or 'none'}{more}): correct `classes` or the data"
        )
    for source in lung_sources:
        if not (lungs["source"] == source).any():
            own = rejected[rejected["source"] == source]
            raise UserError(
                f"source '{source}': no usable pair of image and lung mask"
                + (f" ({_all_left_out(own)}): data/rejected.csv lists them" if len(own) else "")
            )


def _all_left_out(rejected: pd.DataFrame) -> str:
    first = rejected.iloc[0]
    return f"{len(rejected)} left out, such as {first['path']}: {first['reason']}"


def tell(rejected: pd.DataFrame) -> None:
    """Log how many files are listed for which reason, the most frequent reasons first.

    Reasons that differ in numbers or in the name of a mask are one.
    """
    kinds = rejected["reason"].map(kind_of_reason).rename("kind")
    groups = rejected.groupby(["source", kinds], sort=True)
    counts = groups.agg(size=("path", "size"), path=("path", "first"), reason=("reason", "first"))
    counts = counts.sort_values("size", ascending=False, kind="stable")
    for (source, _), row in counts.head(_REASONS_TOLD).iterrows():
        what = "with a remark" if row["reason"].startswith(KEPT) else "left out"
        logger.warning(
            "%s: %d %s: %s; such as %s", source, row["size"], what, row["reason"], row["path"]
        )
    left = counts.iloc[_REASONS_TOLD:]
    if len(left):
        logger.warning(
            "%d more left out or with a remark, for %d other reasons: see data/rejected.csv",
            left["size"].sum(),
            len(left),
        )


def kind_of_reason(reason: str) -> str:
    """The reason without numbers, and without the name of the mask that it tells of."""
    alike = re.sub(r"\bmask [^:]+: ", "mask: ", reason)
    # What is quoted is a name.
    return re.sub(r"'[^']*'|\d+", lambda found: found[0] if "'" in found[0] else "0", alike)


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

    A 16-bit image has its `reach`, and for each depth that it may turn out to have a `phash` and
    whether it is `flat` then. `resized` names sizes of masks that are not the image's.
    """

    facts: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    reach: bit_depth.Reach | None = None
    phashes: dict[int, str] = field(default_factory=dict)
    flat: dict[int, str] = field(default_factory=dict)
    resized: list[str] = field(default_factory=list)


def _check_image(record: ImageRecord, rgb: bool) -> _Checked:
    try:
        if len(os.fsencode(record.image_id)) > LONGEST_ID:
            raise ImageError(f"its image_id has more than {LONGEST_ID} bytes: shorten its path")
        checked, shape = _look(record.path, rgb)
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
                checked.problems.append(f"{KEPT}, {kind} not used: {error}")
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


def _look(path: Path, rgb: bool = False) -> tuple[_Checked, tuple[int, int]]:
    content = read_bytes(path)
    stored = decode(content, rgb=rgb)
    height, width = stored.values.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise ImageError(f"only {width}x{height} pixels")
    low, high = int(stored.values.min()), int(stored.values.max())
    if low == high:
        raise ImageError(f"all its pixels have one value ({low}): nothing to see")
    _refuse_mask_like(stored.values)
    # Likeness is that of the luminance: two exposures of one scene differ in colour, too.
    checked = _Checked(
        {
            "width": width,
            "height": height,
            "bits": 8,
            "sha256": hashlib.sha256(content).hexdigest(),
            "phash": "",
        }
    )
    if rgb:
        checked.facts["grey"] = is_grey(stored.values)
    if stored.values.dtype == np.uint8:
        if flat := _flat(stored.values):
            raise ImageError(flat)
        checked.facts["phash"] = perceptual_hash(luminance(stored.values))
    else:
        checked.reach = bit_depth.Reach(high, stored.bits)
        for bits in {*bit_depth.DEPTHS, stored.bits or 16}:
            if not high >> bits:
                pixels = stored.pixels(bits)
                checked.phashes[bits] = perceptual_hash(luminance(pixels))
                checked.flat[bits] = _flat(pixels)
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
            elif look.flat[bits] and not given.get(source):
                look.facts = None
                look.problems = [
                    f"read as {bits}-bit, {look.flat[bits]}; are a few values far from all others, "
                    "such as burnt-in letters? Store it with the range of the picture, or give "
                    f"the source's `bits: {bits}` to take it as it is"
                ]
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
                "%s: of %d images of 16 bits %d are left out for the range of their values",
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


def _channels(image: np.ndarray) -> list[np.ndarray]:
    """The channels (H, W) of an image; the one of a grey one."""
    return [image] if image.ndim == 2 else list(np.moveaxis(image, -1, 0))


def _refuse_mask_like(image: np.ndarray) -> None:
    """Raise `ImageError` if values (uint8 or uint16) are those of a mask or of labels.

    That is, in each channel: 1 to `FEWEST_GREYS` - 1 different values in all, or two that cover
    `SHARE_OF_TWO_GREYS` of the pixels, as JPEG files of masks have them.
    """
    found = []
    for channel in _channels(image):
        counts = np.bincount(channel.ravel())
        greys = np.count_nonzero(counts)
        two = np.sort(counts)[-2:].sum() / channel.size
        if greys >= FEWEST_GREYS and two < SHARE_OF_TWO_GREYS:
            return
        found.append((greys, two))
    greys, two = max(found)
    values = "grey values" if image.ndim == 2 else "values in a channel"
    raise ImageError(
        f"looks like a mask, not a picture ({greys} {values}, two of them on {two:.0%} of the "
        "pixels)"
    )


def _flat(pixels: np.ndarray) -> str:
    """What is wrong with a uint8 image that hardly varies in any channel; '' if it does.

    That is: of the pixels between the smallest and the largest value, 98% lie within `FLAT` values.
    """
    varied = [channel for channel in _channels(pixels) if channel.min() < channel.max()]
    told = [_flat_channel(channel) for channel in varied]
    return told[0] if told and all(told) else ""


def _flat_channel(grey: np.ndarray) -> str:
    counts = np.bincount(grey.ravel(), minlength=256)
    counts[[grey.min(), grey.max()]] = 0
    if not counts.any():
        return ""
    shares = np.cumsum(counts) / counts.sum()
    apart = int(np.searchsorted(shares, 0.99) - np.searchsorted(shares, 0.01)) + 1
    if apart > FLAT:
        return ""
    return f"nearly all its pixels lie within {apart} of 256 grey values: hardly anything to see"


def _class_of(label: str, classes: Sequence[str]) -> str | None:
    """The class of the config that a label names, accents stored in either way; None if none."""
    return next((name for name in classes if composed(name) == composed(label)), None)


def _foreign_class(label: str, classes: Sequence[str]) -> str:
    def plain(name: str) -> str:
        return " ".join(composed(name).casefold().replace("_", " ").replace("-", " ").split())

    near = next((name for name in classes if plain(name) == plain(label)), None)
    more = f", which has '{near}': give both one spelling" if near else ""
    return f"class '{label}' {FOREIGN}{more}"


def _without_copies(
    rows: list[dict[str, Any]], rejected: list[dict[str, str]], alike: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows without further copies of an image, each of which is added to `rejected`.

    Copies have equal bytes, names and values in the columns `alike`, are both in the shipped test
    or both not, and have one patient or one that is not known. The first with the fewest folders
    above stays, and takes over patient and masks that only its copies have.
    """
    groups = defaultdict(list)
    for row in rows:
        name = composed(Path(row["path"]).stem).casefold()
        in_test = row.get("shipped_split") == SHIPPED_TEST
        groups[row["sha256"], name, in_test].append(row)
    dropped = set()
    for own in groups.values():
        kept: list[dict[str, Any]] = []
        for row in sorted(own, key=lambda row: (row["path"].count("/"), row["path"])):
            first = next((one for one in kept if _is_copy(row, one, alike)), None)
            if first is None:
                kept.append(row)
                continue
            if row["patient_known"] and not first["patient_known"]:
                first |= {"patient_id": row["patient_id"], "patient_known": True}
            for kind in ("lung_mask", "lesion_mask"):
                first |= {kind: first.get(kind) or row[kind]} if kind in row else {}
            dropped.add(id(row))
            rejected.append(
                {
                    "image_id": row["image_id"],
                    "path": row["path"],
                    "source": row["source"],
                    "reason": COPY,
                    "label": row.get("label", ""),
                }
            )
    return [row for row in rows if id(row) not in dropped]


def _is_copy(row: Mapping[str, Any], first: Mapping[str, Any], alike: Sequence[str]) -> bool:
    if row["patient_known"] and first["patient_known"] and row["patient_id"] != first["patient_id"]:
        return False
    return all(
        _mask_digests(row) == _mask_digests(first)
        if column == "mask_paths"
        else row[column] == first[column]
        for column in alike
    )


def _mask_digests(row: Mapping[str, Any]) -> list[str]:
    paths = row["mask_paths"].split(";")
    return sorted(hashlib.sha256(read_bytes(path)).hexdigest() for path in paths)


def _make_ids_unique(rows: Sequence[dict[str, Any]]) -> None:
    """Put the source in front of an image_id that several sources have.

    Raises `UserError` for one that is there twice in a source.
    """
    owners: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        owners[row["image_id"]].append(row)
    shared = {name: own for name, own in owners.items() if len(own) > 1}
    _refuse_duplicates(
        own for own in shared.values() if len({row["source"] for row in own}) < len(own)
    )
    for name, own in shared.items():
        for row in own:
            row["image_id"] = f"{row['source']}__{name}"
            if not row["patient_known"]:
                row["patient_id"] = row["image_id"]
    if shared:
        logger.warning(
            "%d image_ids are in several sources, such as '%s': the source's name stands in front",
            len(shared),
            next(iter(shared)),
        )
        names = defaultdict(list)
        for row in rows:
            names[row["image_id"]].append(row)
        _refuse_duplicates(own for own in names.values() if len(own) > 1)


def _refuse_duplicates(clashes: Iterable[Sequence[Mapping[str, Any]]]) -> None:
    clashes = list(clashes)
    if clashes:
        first, second = clashes[0][:2]
        more = f" (and {len(clashes) - 1} more)" if len(clashes) > 1 else ""
        raise UserError(
            f"image_id '{first['image_id']}'{more} is there twice: {first['path']} and "
            f"{second['path']}, with different content, label or patient: rename one of the files, "
            "or give a `url` that holds only one of the two folders"
        )


def _tell_shared_patients(manifest: pd.DataFrame) -> None:
    known = manifest[manifest["patient_known"].astype(bool)]
    sources = known.groupby("patient_id")["source"].nunique()
    shared = sources.index[sources > 1]
    if len(shared):
        logger.warning(
            "%d patients are in several sources, such as '%s': equal ids are taken for one person",
            len(shared),
            shared[0],
        )


def _tell_alike_patients(table: pd.DataFrame) -> None:
    """Warn of patients whose names differ only as spreadsheets change them: 7, 007, 7.0, P7, p7."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for name in table.loc[table["patient_known"].astype(bool), "patient_id"].unique():
        plain = re.sub(r"\.0$", "", "".join(name.casefold().split()))
        spellings[re.sub(r"(?<!\d)0+(?=\d)", "", plain)].add(name)
    alike = [sorted(own) for own in spellings.values() if len(own) > 1]
    if alike:
        logger.warning(
            "%d patients differ from another only in capitals, spaces, leading zeros or '.0', such "
            "as '%s' and '%s': taken for different people; if they are not, write them alike",
            sum(map(len, alike)) - len(alike),
            *alike[0][:2],
        )


def _two_labels(manifest: pd.DataFrame) -> list[dict[str, str]]:
    """Remarks on images that are there under several labels."""
    labels = manifest.groupby("sha256")["label"].transform("nunique")
    remarks = []
    for _, own in manifest[labels > 1].groupby("sha256", sort=False):
        told = ", ".join(f"'{label}'" for label in sorted(set(own["label"])))
        remarks += [
            {
                "image_id": row.image_id,
                "path": row.path,
                "source": row.source,
                "reason": f"{KEPT}, but the very same image has several labels: {told}",
                "label": row.label,
            }
            for row in own.itertuples()
        ]
    return remarks


def _layout_rejections(found: Mapping[str, Found]) -> list[dict[str, str]]:
    return [
        _rejection(rejection, rejection.path, source, rejection.reason, rejection.label)
        for source, own in found.items()
        for rejection in own.rejections
    ]


def _rejection(owner: Any, path: Path, source: str, reason: str, label: str = "") -> dict[str, str]:
    return {
        "image_id": owner.image_id,
        "path": relative(path),
        "source": source,
        "reason": reason,
        "label": label,
    }


def _rejected_table(rows: list[dict[str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=REJECTED_COLUMNS)
    return table.sort_values(["source", "image_id", "path"], ignore_index=True)
