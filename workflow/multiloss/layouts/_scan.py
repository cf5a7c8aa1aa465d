"""Walking through the folders of a source, and pairing of images with masks."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from multiloss.errors import UserError
from multiloss.layouts import Found, LungRecord, Rejection
from multiloss.listing import files, is_image

_IMAGE_FOLDERS = {"cxr_png", "img", "images", "image"}
_MASK_FOLDERS = {"mask", "masks"}
# What a published split may be called; all but `test` are divided anew.
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "ensemble", "test"}
_BUNDLE = {"shenzhen", "montgomery", "darwin"}

# One child or adult of the public sets: all images of `person12`, `IM-0115`, `CHNCXR_0001`;
# phantoms have `phantom-` before all of these.
_PATIENT = re.compile(
    r"((?:phantom-)?(?:person\d+|(?:NORMAL2-)?IM-\d+|(?:CHN|MCU)CXR_\d+))(?=[_-])"
)


def images(root: Path) -> list[Path]:
    """All files below `root` whose ending is one of an image, sorted by path."""
    return [path for path in files(root) if is_image(path)]


def public_patient(path: Path) -> str:
    """The patient in a file name of the public sets; '' where the name follows none of them."""
    match = _PATIENT.match(path.stem)
    return match.group(1) if match else ""


def mask_owner(name: str) -> str:
    """The image that a mask belongs to, both without ending: `X_mask` and `X` mean X."""
    return re.sub(r"[_-]mask$", "", name, flags=re.IGNORECASE)


def in_folder(paths: Iterable[Path], folder: str) -> dict[str, Path]:
    """The paths whose folder has that name in any case, by stem."""
    return {path.stem: path for path in paths if path.parent.name.lower() == folder.lower()}


def paired(paths: Iterable[Path], root: Path, patient: Callable[[Path], str]) -> Found:
    """Images with their mask files; what stays alone is a rejection.

    Masks lie in folders named `mask` or `masks` or end in `_mask`, images in folders named
    `CXR_png`, `img`, `image` or `images` (if there are none, all else are images). Partners have
    the same name and the same subfolders below such a folder; these make the image_id. An image
    that is there twice is taken from beside its mask.
    """
    masks: dict[str, list[Path]] = {}
    pictures: dict[str, list[Path]] = {}
    others: dict[str, list[Path]] = {}
    home_of: dict[Path, Path] = {}
    for path in paths:
        folder, key, home_of[path] = _place(path.relative_to(root))
        owner = mask_owner(key)
        if folder in _MASK_FOLDERS or (folder not in _IMAGE_FOLDERS and owner != key):
            masks.setdefault(owner, []).append(path)
        else:
            kind = pictures if folder in _IMAGE_FOLDERS else others
            kind.setdefault(key, []).append(path)
    found = Found()
    for key, twins in (pictures or others).items():
        own = masks.pop(key, [])
        homes = {home_of[mask] for mask in own}
        path = next((twin for twin in twins if home_of[twin] in homes), twins[0])
        if own:
            found.records.append(LungRecord(key, path, tuple(own), patient(path)))
        else:
            found.rejections.append(Rejection(key, path, "no mask for this image"))
    found.rejections += [
        Rejection(key, path, "no image for this mask") for key, own in masks.items() for path in own
    ]
    return found


def _place(relative: Path) -> tuple[str, str, Path]:
    """The nearest image or mask folder above a file ('' if none), the name below it, its home."""
    parts = relative.with_suffix("").parts
    for depth in range(len(parts) - 2, -1, -1):
        folder = parts[depth].lower()
        if folder in _IMAGE_FOLDERS | _MASK_FOLDERS:
            return folder, "__".join(parts[depth + 1 :]), Path(*parts[:depth])
    return "", parts[-1], Path(*parts[:-1])


def bundle_part(paths: list[Path], root: Path, own: str) -> list[Path]:
    """Without the other parts of doi:10.17632/8gf9vpkhgy.2, which bundles several sets.

    Montgomery is the usual test set for a segmenter trained on Shenzhen, and Darwin holds images
    of the classification set.
    """
    others = _BUNDLE - {own}

    def folders(path: Path) -> set[str]:
        return {part.lower() for part in path.relative_to(root).parts[:-1]}

    if not any(own in folders(path) for path in paths):
        return paths
    return [path for path in paths if not folders(path) & others]


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV file as text, '' where empty; raises `UserError` unless it has the columns."""
    try:
        # Never the first column as index, as rows with a comma at their end would have it.
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
        )
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read as CSV ({reason}): mend that line, and save it as UTF-8 with "
            "commas between the columns"
        ) from None
    table = table.rename(columns=str.strip).map(str.strip)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}: its first line must name the columns "
            f"{','.join(columns)}, with commas between them (it begins with '{table.columns[0]}')"
        )
    # Spreadsheets leave empty rows behind.
    return table[(table != "").any(axis=1)]


def known_split(name: str, where: str) -> str:
    """The name of a shipped split in small letters; raises `UserError` for an unknown one."""
    if name and name.lower() not in SPLIT_NAMES:
        raise UserError(
            f"{where}: split '{name}' is not known: use train, val, ensemble or test, or leave it "
            "empty"
        )
    return name.lower()
