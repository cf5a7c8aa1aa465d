"""How the files of a data source are laid out: one module and one small class a layout.

A new layout is one file here: a module whose name is the layout's name in the config, with one
subclass of `Layout`. It is found by being there.
"""

import importlib
import logging
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from multiloss import references
from multiloss.data.sources.listing import unread
from multiloss.job.errors import UserError

logger = logging.getLogger(__name__)

# The key `role` of a source.
CLASSIFICATION, EXTERNAL_TEST = "classification", "external_test"
LUNGS_TRAIN, LUNGS_TEST = "lungs_train", "lungs_test"
# Those of images with a class, and what reads them in a layout.
CLASSIFIED = (CLASSIFICATION, EXTERNAL_TEST)
# The shipped split of images that stay the test split.
SHIPPED_TEST = "test"
# What tables write for a patient whom nobody knows, without spaces and signs.
_UNKNOWN_PATIENT = {
    *("", "na", "nk", "nan", "nat", "null", "nil", "none", "undefined", "missing", "unknown"),
    *("unk", "notknown", "notavailable", "notapplicable", "notrecorded", "notprovided", "notgiven"),
    *("nonegiven", "unspecified", "notspecified", "unidentified", "tbd", "nopatient", "noid"),
    *("anon", "anonymous", "anonymised", "anonymized", "deidentified", "noname"),
    *("unbekannt", "inconnu", "desconocido", "sconosciuto"),
}
# What a spreadsheet shows in an empty group, and where a formula failed: `#REF!`, `#DIV/0!`.
_SPREADSHEET = re.compile(r"\(blank\)|#[A-Z]+(/0)?[!?]", re.IGNORECASE)
# Words beside these that change nothing: `patient unknown`, `missing ID`.
_OF_PATIENTS = {"patient", "patients", "subject", "case", "id"}


@dataclass(frozen=True)
class ImageRecord:
    """One radiograph with a class. An unknown patient is the empty string.

    `further`: what else the source says of it, by the name of its column.
    """

    image_id: str
    path: Path
    label: str
    patient_id: str
    shipped_split: str = ""
    lung_mask: Path | None = None
    lesion_mask: Path | None = None
    further: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class LungRecord:
    """One radiograph with the files of its lung mask, whose union counts."""

    image_id: str
    path: Path
    mask_paths: tuple[Path, ...]
    patient_id: str


@dataclass(frozen=True)
class Rejection:
    """A file that cannot be used, and why; the label where it has one."""

    image_id: str
    path: Path
    reason: str
    label: str = ""


@dataclass
class Found:
    """What a layout finds in a source: records in the order of their image_id.

    Every image file of the source is a record's image or mask, or a rejection. `notes` say what
    was left unmatched or taken for granted; each becomes a line on the screen.
    """

    records: list[ImageRecord] | list[LungRecord] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Layout:
    """Base of the layouts; the words are for the report.

    `title`: the images in a few words; `cites`: keys of report/references.yaml, of what the
    publishers ask to cite; `license` and `homepage`: theirs.
    """

    title: ClassVar[str] = ""
    cites: ClassVar[tuple[str, ...]] = ()
    license: ClassVar[str] = ""
    homepage: ClassVar[str] = ""
    # What the publishers of an archive say of it, by topic of the reporting checklist
    # (`report/checklist.yaml`). Nothing may be said there of a user's own images.
    published: ClassVar[Mapping[str, str]] = {}
    # How patients can be read from the paths of files where the publishers leave it open, by the
    # source's key `patients`: the first is the safe one, which keeps most images together.
    patient_readings: ClassVar[Mapping[str, Callable[[Path], str]]] = {}
    # Whether all files of the source count, not only those that a table names.
    reads_folders: ClassVar[bool] = True

    @property
    def citation(self) -> str:
        """What to cite, written out."""
        return "; ".join(map(references.cited, self.cites))

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        """The radiographs with their classes below `root`."""
        raise NotImplementedError

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        """The radiographs with their lung masks below `root`."""
        raise NotImplementedError

    def refuse_other_roles(self, source: Mapping[str, Any]) -> None:
        """Raise `UserError` if the layout has nothing for the source's role."""
        method = "classification" if source["role"] in CLASSIFIED else "lungs"
        if getattr(type(self), method) is getattr(Layout, method):
            raise UserError(
                f"source '{source['name']}': layout '{source['layout']}' has nothing for role "
                f"'{source['role']}': choose another layout or role"
            )


def names() -> list[str]:
    """The layouts that exist, by name; imports none of them."""
    return sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )


def get(name: str) -> Layout:
    """The layout of that name; raises `UserError` with the known names."""
    if name not in names():
        raise UserError(f"unknown layout '{name}': use one of {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    (layout,) = (
        thing
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, Layout)
        and thing.__module__ == module.__name__
    )
    return layout()


def records(root: Path, source: Mapping[str, Any]) -> Found:
    """What the source's layout finds below `root` for the source's role, notes told in the log.

    A patient called `nan`, `unknown`, `?` or the like (`is_unknown_patient`) is unknown.

    Raises `UserError` if no file is there that could be an image.
    """
    layout = get(source["layout"])
    layout.refuse_other_roles(source)
    read = layout.classification if source["role"] in CLASSIFIED else layout.lungs
    found = read(root, source)
    if layout.reads_folders:
        found.notes += _unread(root)
    _forget_unknown_patients(found)
    for note in found.notes:
        logger.warning("%s: %s", source["name"], note)
    if not found.records and not found.rejections:
        raise UserError(
            f"source '{source['name']}': no images in layout '{source['layout']}' in {root}"
            + "".join(f" ({note})" for note in found.notes[:1])
            + ": check `url` and `layout`"
        )
    for thing in (*found.records, *found.rejections):
        try:
            str(thing.path).encode()
        except UnicodeEncodeError:
            raise UserError(
                f"source '{source['name']}': the name of {os.fsencode(thing.path)!r} is not UTF-8: "
                "rename the file"
            ) from None
    found.records.sort(key=lambda record: record.image_id)
    found.rejections.sort(key=lambda rejection: (rejection.image_id, str(rejection.path)))
    return found


def is_unknown_patient(name: str) -> bool:
    """Whether a patient's name says that the patient is not known.

    That is a name without a letter or digit (`-`, `?`), or words for it in any case, with or
    without signs: `nan`, `<NA>`, `#N/A`, `n.a.`, `null`, `None`, `patient unknown`, `#REF!`...
    """
    words = re.findall(r"[^\W_]+", name.casefold())
    told = {"".join(words), "".join(word for word in words if word not in _OF_PATIENTS)}
    return not _UNKNOWN_PATIENT.isdisjoint(told) or bool(_SPREADSHEET.fullmatch(name))


def _forget_unknown_patients(found: Found) -> None:
    names = [
        record.patient_id
        for record in found.records
        if record.patient_id and is_unknown_patient(record.patient_id)
    ]
    if names:
        found.records = [
            replace(record, patient_id="") if is_unknown_patient(record.patient_id) else record
            for record in found.records
        ]
        told = ", ".join(f"'{name}'" for name in sorted(set(names))[:5])
        found.notes.append(
            f"{len(names)} of {len(found.records)} images have {told} for a patient: taken as not "
            "known, each image then counts as a patient of its own"
        )


def _unread(root: Path) -> list[str]:
    endings = unread(root)
    if not endings:
        return []
    told = ", ".join(f"{number} {ending or 'without ending'}" for ending, number in endings.items())
    note = f"{endings.total()} files not read: {told}"
    if endings.keys() & {".dcm", ".dicom"}:
        note += "; write DICOM files as PNG first, windowed as you want them to be seen"
    return [note]
