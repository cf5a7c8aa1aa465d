"""A user's own images, sorted into folders."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiloss.data.layouts import Found, ImageRecord, Layout, Rejection
from multiloss.data.layouts._patients import with_patients
from multiloss.data.layouts._scan import (
    images,
    is_drawn_file,
    is_drawn_folder,
    is_image_folder,
    is_lung_mask_folder,
    is_mask_folder,
    mask_owner,
    paired,
    split_of,
)
from multiloss.job.errors import UserError

_Parts = tuple[str, ...]
# A folder above the classes that is called so tells nothing but that images are in it.
_IMAGES = {"images", "image", "img", "imgs", "cxr_png"}

# A name and a word added to it. Numbers and letters count views and patients, and `COVID-1` has
# nothing to do with `1`.
_BEHIND = re.compile(r"(?P<name>.+?)[ _.-]+(?P<word>[^\W\d_]{3,})")
_IN_FRONT = re.compile(r"(?P<word>[^\W\d_]{3,})[ _.-]+(?P<name>.*[^\W\d_].*)")
# So many files with one word are no coincidence.
_SAME_WORD = 3


@dataclass(frozen=True)
class _Placed:
    """An image file in a class: `above` are the folders down to the class, `below` those after."""

    path: Path
    split: str
    label: str
    above: _Parts
    below: _Parts


class Folders(Layout):
    """`class/*.png` or `split/class/*.png` (jpg, tif...); for lungs `images/` and `masks/`.

    `split` is a folder named train, val, test or the like; `test` is the shipped test folder.
    Folders below a class may be patients, views and so on. Where one of them is called `images`,
    its siblings hold no radiographs; folders and files called after masks, annotations, overlays,
    heat maps or thumbnails never do. `lung masks/X.png` beside X is its `lung_mask`.

    Patients: `patients.csv` (`image,patient`; image as path, file name or stem), or the source's
    `patient_pattern` (a regular expression searched in the path; its first group, or all of it,
    is the patient). Otherwise unknown: each image then counts as a patient.
    """

    title = "Images in folders"

    def classification(self, root: Path, source: Mapping[str, Any]) -> Found:
        found = Found()
        parts = {path: path.relative_to(root).parts for path in images(root)}
        top = root.joinpath(*_wrappers(parts.values()))
        radiographs, lung_masks = _radiographs(list(_placed(parts, (), found)), top, found)
        used = set()
        for own in radiographs:
            mask = lung_masks.get(_partner(own, is_image_folder, own.path.stem))
            used.add(mask)
            found.records.append(
                ImageRecord(
                    image_id=_image_id(own.path, top),
                    path=own.path,
                    label=own.label,
                    patient_id="",
                    shipped_split=own.split,
                    lung_mask=mask,
                )
            )
        found.rejections = [own for own in found.rejections if own.path not in used]
        with_patients(found, root, top, source)
        unknown = {record.path for record in found.records if not record.patient_id}
        alone = [own for own in radiographs if own.path in unknown]
        _refuse_parallel_folders(alone, source["name"])
        _refuse_parallel_files(alone, source["name"])
        return found

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        paths = images(root)
        top = Path(os.path.commonpath([path.parent for path in paths] or [root]))
        found = paired(paths, root, lambda path: "")
        with_patients(found, root, top, source)
        return found


def _wrappers(parts: Iterable[_Parts]) -> _Parts:
    """The folders at the top that only wrap another one, as archives and links often do."""
    above: _Parts = ()
    parts = [own for own in parts if len(own) > 1]
    while len({own[0] for own in parts}) == 1 and any(len(own) > 2 for own in parts):
        # class/images/X.png: the class is no wrapper; set/images/class/X.png has one.
        in_images = [own for own in parts if len(own) > 2 and own[1].lower() in _IMAGES]
        if split_of(parts[0][0]) or any(len(own) < 4 for own in in_images):
            break
        above += parts[0][:1]
        parts = [own[1:] for own in parts if len(own) > 2]
    return above


def _placed(parts: dict[Path, _Parts], above: _Parts, found: Found) -> Iterator[_Placed]:
    """Split and class of each image, given the parts of its path below the folders `above`.

    What has no class is a rejection. A whole set with levels of splits that lies beside folders of
    splits, as a copy of it does in some archives, is read like them.
    """

    def reject(own: Iterable[Path], reason: str) -> None:
        found.rejections += [Rejection(path.stem, path, reason) for path in own]

    wrappers = _wrappers(parts.values())
    above, depth = (*above, *wrappers), len(wrappers)
    # What lies at the top, such as a preview, is in no class.
    reject((path for path, own in parts.items() if len(own) < depth + 2), _NO_CLASS)
    parts = {path: own[depth:] for path, own in parts.items() if len(own) > depth + 1}
    branches: dict[str, dict[Path, _Parts]] = defaultdict(dict)
    for path, own in parts.items():
        branches[own[0]][path] = own
    # images/class/X.png beside masks/class/X.png.
    kinds = [name for name in branches if name.lower() in _IMAGES]
    if kinds and all(len(own) > 2 for name in kinds for own in branches[name].values()):
        for name, own in branches.items():
            if name in kinds:
                yield from _placed(_below(own), (*above, name), found)
            else:
                reject(own, _BESIDE.format(folder=name, images=kinds[0]))
        return
    splits = [name for name in branches if split_of(name)]
    deep = {
        split_of(name) for name in splits if any(len(own) > 2 for own in branches[name].values())
    }
    others = [name for name in branches if name not in splits]
    nested = [name for name in others if _has_splits(branches[name])]
    if deep and (nested == others or len(deep) > 1):
        for name in nested:
            yield from _placed(_below(branches[name]), (*above, name), found)
        for name in splits:
            for path, own in branches[name].items():
                if len(own) == 2:
                    reject([path], _NO_CLASS)
                else:
                    yield _Placed(path, split_of(name), own[1], (*above, *own[:2]), own[2:-1])
        for name in set(others) - set(nested):
            reject(branches[name], f"'{name}' lies beside the folders of splits")
        return
    # class/split/X.png
    level = 2 if all(len(own) > 2 and split_of(own[1]) for own in parts.values()) else 1
    for path, own in parts.items():
        split = split_of(own[1]) if level == 2 else ""
        yield _Placed(path, split, own[0], (*above, *own[:level]), own[level:-1])


_NO_CLASS = "lies in no class folder"
_BESIDE = "in '{folder}', beside the folder of radiographs '{images}'"


def _below(parts: dict[Path, _Parts]) -> dict[Path, _Parts]:
    return {path: own[1:] for path, own in parts.items()}


def _has_splits(parts: Mapping[Path, _Parts]) -> bool:
    """Whether there is a level of splits below a folder, wrappers aside."""
    inner = [own[1:] for own in parts.values()]
    depth = len(_wrappers(inner))
    firsts = {own[depth] for own in inner if len(own) > depth + 2}
    return bool(firsts) and all(map(split_of, firsts))


def _radiographs(
    placed: list[_Placed], top: Path, found: Found
) -> tuple[list[_Placed], dict[tuple, Path]]:
    """The radiographs among the files of the classes, and lung masks by the place of their image.

    All others are rejections, the lung masks too.
    """
    image_folders: dict[tuple[_Parts, _Parts], str] = {}
    for own in placed:
        for depth, folder in enumerate(own.below):
            if is_image_folder(folder):
                image_folders.setdefault((own.above, own.below[:depth]), folder)
    radiographs, masks = [], defaultdict(list)
    for own in placed:
        reason = _no_radiograph(own, image_folders)
        if not reason:
            radiographs.append(own)
            continue
        found.rejections.append(Rejection(_image_id(own.path, top), own.path, reason, own.label))
        if any(map(is_lung_mask_folder, own.below)):
            key = _partner(own, is_lung_mask_folder, mask_owner(own.path.stem))
            masks[key].append(own.path)
    return radiographs, {key: paths[0] for key, paths in masks.items() if len(paths) == 1}


def _no_radiograph(own: _Placed, image_folders: Mapping[tuple[_Parts, _Parts], str]) -> str:
    """Why a file is no radiograph; '' if it is one as far as names tell."""
    for folder in own.below:
        if is_drawn_folder(folder):
            if is_lung_mask_folder(folder):
                return "no image for this lung mask"
            reason = f"a mask or drawing by the name of its folder '{folder}', no radiograph"
            if is_mask_folder(folder):
                reason += "; lung masks are used if their folder is called 'lung masks'"
            return reason
    if is_drawn_file(own.path.stem):
        return "a mask or drawing by its name, no radiograph"
    for depth, folder in enumerate((*own.below, own.path.name)):
        beside = image_folders.get((own.above, own.below[:depth]))
        if beside and (depth == len(own.below) or not is_image_folder(folder)):
            where = own.below[-1] if own.below else own.above[-1]
            return _BESIDE.format(folder=where, images=beside)
    return ""


def _partner(own: _Placed, is_kind: Callable[[str], bool], stem: str) -> tuple:
    """What an image and its mask have in common: the folders but those named after the kind."""
    return own.above, tuple(folder for folder in own.below if not is_kind(folder)), stem


def _refuse_parallel_folders(radiographs: list[_Placed], source: str) -> None:
    """Raise `UserError` where folders of a class look like versions of the same images.

    That is where more names are there twice than there are folders with them, as with
    `original/` and `enhanced/`; patients' folders hold few equal names each. Asked of images of
    unknown patients only: of known ones both ways of reading keep a person on one side.
    """
    places: dict[tuple[_Parts, str], set[_Parts]] = defaultdict(set)
    for own in radiographs:
        places[own.above, own.path.stem].add(own.below)
    shared: dict[_Parts, list[str]] = defaultdict(list)
    for (above, stem), folders in places.items():
        if len(folders) > 1:
            shared[above].append(stem)
    for above, stems in shared.items():
        folders = sorted({"/".join(own) for stem in stems for own in places[above, stem]})
        if len(stems) > len(folders):
            told = " and ".join(f"'{folder or '.'}'" for folder in folders[:2])
            raise UserError(
                f"source '{source}': below '{'/'.join(above)}' the folders {told} hold "
                f"{len(stems)} files of equal names, such as '{stems[0]}': if one holds masks, "
                "maps or other versions, call the one with the radiographs `images`, or take the "
                "other out; if all are radiographs, tell the patients (`patient_pattern` or "
                "patients.csv)"
            )


def _refuse_parallel_files(radiographs: list[_Placed], source: str) -> None:
    """The same for files of one folder: `X` and `X_enhanced` in three places and more."""
    stems: dict[tuple[_Parts, _Parts], set[str]] = defaultdict(set)
    for own in radiographs:
        stems[own.above, own.below].add(own.path.stem)
    versions: dict[tuple[_Parts, str], list[str]] = defaultdict(list)
    for (above, _), names in stems.items():
        for name in sorted(names):
            for found in filter(None, (_BEHIND.fullmatch(name), _IN_FRONT.fullmatch(name))):
                if found["name"] in names:
                    versions[above, found["word"].casefold()].append(name)
    for (above, word), names in versions.items():
        if len(names) >= _SAME_WORD:
            raise UserError(
                f"source '{source}': in '{'/'.join(above)}' {len(names)} files have the name of "
                f"another one with '{word}', such as '{names[0]}': if these are drawings or other "
                "versions, take them out; if all are radiographs, tell the patients "
                "(`patient_pattern` or patients.csv)"
            )


def _image_id(path: Path, top: Path) -> str:
    return "__".join(path.relative_to(top).with_suffix("").parts)
