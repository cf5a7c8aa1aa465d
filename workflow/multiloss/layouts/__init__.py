"""How the files of a data source are laid out: one module and one small class a layout.

A new layout is one file here: a module whose name is the layout's name in the config, with one
subclass of `Layout`. It is found by being there.
"""

import importlib
import os
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from multiloss.errors import UserError

# The key `role` of a source.
CLASSIFICATION, LUNGS_TRAIN, LUNGS_TEST = "classification", "lungs_train", "lungs_test"


@dataclass(frozen=True)
class ImageRecord:
    """One radiograph with a class. An unknown patient is the empty string."""

    image_id: str
    path: Path
    label: str
    patient_id: str
    shipped_split: str = ""
    lung_mask: Path | None = None
    lesion_mask: Path | None = None


@dataclass(frozen=True)
class LungRecord:
    """One radiograph with the files of its lung mask, whose union counts."""

    image_id: str
    path: Path
    mask_paths: tuple[Path, ...]
    patient_id: str


@dataclass(frozen=True)
class Rejection:
    """A file that cannot be used, and why."""

    image_id: str
    path: Path
    reason: str


@dataclass
class Found:
    """What a layout finds in a source: records in the order of their image_id."""

    records: list[ImageRecord] | list[LungRecord] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


class Layout:
    """Base of the layouts; the facts are for the documentation and the report."""

    counts: ClassVar[str] = ""
    labels: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    license: ClassVar[str] = ""
    homepage: ClassVar[str] = ""
    # What the publishers of an archive say of it, by topic of the reporting checklist
    # (`report/checklist.yaml`). Nothing may be said there of a user's own images.
    published: ClassVar[Mapping[str, str]] = {}

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        """The radiographs with their classes below `root`."""
        raise NotImplementedError

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        """The radiographs with their lung masks below `root`."""
        raise NotImplementedError

    def refuse_other_roles(self, source: Mapping[str, Any]) -> None:
        """Raise `UserError` if the layout has nothing for the source's role."""
        method = "classification" if source["role"] == CLASSIFICATION else "lungs"
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
    """What the source's layout finds below `root` for the source's role.

    Raises `UserError` if that is nothing at all.
    """
    layout = get(source["layout"])
    layout.refuse_other_roles(source)
    read = layout.classification if source["role"] == CLASSIFICATION else layout.lungs
    found = read(root, source)
    if not found.records:
        raise UserError(
            f"source '{source['name']}': no images in layout '{source['layout']}' in {root}"
            + (f" ({found.rejections[0].reason})" if found.rejections else "")
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
