"""Walking through the folders of a source: what is a radiograph, what a mask, and which pair."""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from multiloss.data.layouts import Found, LungRecord, Rejection
from multiloss.data.sources.listing import composed, files, is_image
from multiloss.job.errors import UserError

# Words in names of folders and files that hold something drawn or computed, no radiograph.
_DRAWN_WORDS = {
    *("segmentation", "segmentations", "groundtruth", "contour", "contours"),
    *("labelmap", "labelmaps", "annotation", "annotations", "annotated", "boundingboxes"),
    *("overlay", "overlays", "heatmap", "heatmaps", "gradcam", "gradcams", "saliency"),
    *("thumbnail", "thumbnails", "thumbs"),
}
# Words that say so of a folder, or at the end of a file's name, but may mean else within one.
_DRAWN_AT_END = {
    *("seg", "segs", "gt", "label", "labels", "bbox", "bboxes", "annot", "annots", "cam"),
    *("thumb", "preview", "previews", "marked", "drawn", "drawing", "drawings", "boxes", "roi"),
    *("rois", "segmented", "pred", "prediction", "predictions", "visualization", "visualisation"),
}
_IMAGE_WORDS = {"image", "images", "img", "imgs"}
_LUNG_WORDS = {"lung", "lungs", "lungmask", "lungmasks"}
_SIDES = ("left", "right")
# All that the folder of a lung mask may be called; an infection or heart mask is none.
_LUNG_MASK_WORDS = {
    *("mask", "masks", "lungmask", "lungmasks", "leftmask", "rightmask"),
    *("lung", "lungs", "left", "right", "manual", "binary", "png", "cxr"),
    *("segmentation", "segmentations", "train", "training", "val", "validation", "test"),
}
_BUNDLE = {"shenzhen", "montgomery", "darwin"}
# What a published split may be called; all but `test` are divided anew.
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "ensemble": "ensemble",
    "test": "test",
    "testing": "test",
}

# One child or adult of the public sets: all images of `person12`, `IM-0115`, `CHNCXR_0001`;
# phantoms have `phantom-` before all of these, and after it the number of another hospital.
_PATIENT = re.compile(
    r"((?:phantom-(?:[0-9a-f]{6}-)?)?(?:person\d+|(?:NORMAL2-)?IM-\d+|(?:CHN|MCU)CXR_\d+))(?=[_-])"
)


def images(root: Path) -> list[Path]:
    """All files below `root` whose ending is one of an image, sorted by path."""
    return [path for path in files(root) if is_image(path)]


def public_patient(path: Path) -> str:
    """The patient in a file name of the public sets; '' where the name follows none of them."""
    match = _PATIENT.match(path.stem)
    return match.group(1) if match else ""


def split_of(name: str) -> str:
    """The shipped split that a folder or cell names: train, val, ensemble, test, or ''.

    In any case, also `Training`, `Testing`, `validate`, `test_set` and the like.
    """
    return _SPLITS.get(re.sub(r"[ _-]?(set|data|split|images)$", "", name.strip().lower()), "")


def known_split(name: str, where: str) -> str:
    """`split_of` a name, '' where that is empty; raises `UserError` for an unknown one."""
    if name and not split_of(name):
        raise UserError(
            f"{where}: split '{name}' is not known: use train, val, ensemble or test, or leave it "
            "empty"
        )
    return split_of(name)


def _words(name: str) -> list[str]:
    """The words of `leftMask`, `lung_masks`, `Heat maps`, in small letters."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _says(name: str, wanted: set[str]) -> bool:
    """Whether one of the words, or two neighbours taken as one, are in the name."""
    words = _words(name)
    return not wanted.isdisjoint(
        words + [one + two for one, two in zip(words, words[1:], strict=False)]
    )


def _says_mask(name: str) -> bool:
    """Whether a word is mask or ends so: `Masks`, `lungmask`, but not `masked` or `unmask`."""
    return any(re.search(r"(?<!un)masks?$", word) for word in _words(name))


def is_drawn_folder(name: str) -> bool:
    """Whether a folder holds masks, annotations, overlays, heat maps or thumbnails by its name."""
    return _says_mask(name) or _says(name, _DRAWN_WORDS | _DRAWN_AT_END)


def is_drawn_file(stem: str) -> bool:
    """Whether a file is such a thing by its name: `X_mask`, `X_mask_1`, `overlay-3`, `X_gt`."""
    words = [word for word in _words(stem) if not word.isdigit()]
    at_end = bool(words) and words[-1] in _DRAWN_AT_END
    return _says_mask(stem) or _says(stem, _DRAWN_WORDS) or at_end


def is_mask_folder(name: str) -> bool:
    """Whether a folder may hold lung masks: `masks`, `leftMask`, not `heart masks`."""
    return _says_mask(name) and set(_words(name)) <= _LUNG_MASK_WORDS


def is_lung_mask_folder(name: str) -> bool:
    """Whether a folder plainly holds lung masks: `is_mask_folder`, and its name says lung."""
    return is_mask_folder(name) and _says(name, _LUNG_WORDS)


def is_image_folder(name: str) -> bool:
    """Whether a folder is called after the images in it: `images`, `img`, `CXR_png`..."""
    named_so = _says(name, _IMAGE_WORDS) or name.lower() == "cxr_png"
    return named_so and not is_drawn_folder(name)


def mask_owner(name: str) -> str:
    """The image that a mask belongs to, both without ending: `X_mask`, `mask_X`, `X` mean X."""
    mask = r"(lungs?[ _-]*)?masks?"
    # mask_1 and mask_2 are two masks of one image rather than those of images 1 and 2.
    in_front = rf"^{mask}[ _-]+(?!\d{{1,2}}$)(?=.)"
    return re.sub(rf"{in_front}|[ _-]+{mask}$", "", name, flags=re.IGNORECASE)


def in_folder(paths: Iterable[Path], folder: str) -> dict[str, Path]:
    """The paths whose folder has that name in any case, by stem."""
    return {path.stem: path for path in paths if path.parent.name.lower() == folder.lower()}


def paired(paths: Iterable[Path], root: Path, patient: Callable[[Path], str]) -> Found:
    """Images with their mask files; what stays alone is a rejection.

    Masks lie in folders like `mask`, `lung_masks`, `leftMask` or `masks/left lung`, or are called
    `X_mask` (`mask` alone belongs to the only image of its folder). An image has one mask, or one
    of its left and one of its right lung by the names of their folders. Images lie in
    folders like `CXR_png`, `img` or `images` (if there are none, all else are images). Such
    folders side by side are one home. Partners have one home, the same name, and the same
    subfolders below those folders: equal names in two homes (train and test, one folder a
    patient) are different images. Only where all masks are in one home and all images in
    another, as in archives of their own, partners are found across.

    The image_id is the name below the image's folder; where that is there twice, the folders above
    are part of it. Raises `UserError` where two images of one home have the same name.
    """
    found = Found()
    masks: dict[_Key, list[Path]] = defaultdict(list)
    pictures: dict[_Key, list[Path]] = defaultdict(list)
    others: dict[_Key, list[Path]] = defaultdict(list)
    for path in paths:
        kind, key = _place(path.relative_to(root))
        if kind == "drawn":
            found.rejections.append(_other(path, root, "no lung mask by the name of its folder"))
        else:
            {"mask": masks, "image": pictures}.get(kind, others)[key].append(path)
    if pictures:
        found.rejections += [
            _other(path, root, "lies in no folder of images or masks")
            for own in others.values()
            for path in own
        ]
    chosen = {key: _only(own) for key, own in (pictures or others).items()}
    pairs = {key: (chosen.pop(key), masks.pop(key)) for key in [*chosen] if key in masks}
    alone, apart = ({home for home, _ in keys} for keys in (chosen, masks))
    if len(alone) == len(apart) == 1 and not (alone | apart) & {home for home, _ in pairs}:
        (home,) = apart
        for key in [key for key in chosen if (home, key[1]) in masks]:
            pairs[key] = (chosen.pop(key), masks.pop((home, key[1])))
    for home in [home for home, name in masks if not name]:
        own = [key for key in chosen if key[0] == home]
        if len(own) == 1:
            pairs[own[0]] = (chosen.pop(own[0]), masks.pop((home, "")))
    for key in [*pairs]:
        path, own = pairs[key]
        if reason := _not_one_mask(own):
            del pairs[key]
            found.rejections += [_other(each, root, reason) for each in (path, *own)]
    ids = _ids(pairs)
    found.records += [
        LungRecord(ids[key], path, tuple(own), patient(path)) for key, (path, own) in pairs.items()
    ]
    beside = {name: path for (_, name), (path, _) in pairs.items()}
    for (_, name), path in chosen.items():
        reason = "no mask for this image"
        if name in beside:
            other = beside[name].relative_to(root).as_posix()
            reason += f"; another image of this name has one: {other}"
        found.rejections.append(Rejection(name, path, reason))
    found.rejections += [
        Rejection(name or path.stem, path, "no image for this mask")
        for (_, name), own in masks.items()
        for path in own
    ]
    return found


# The folders above those of images and masks, and the name below.
_Key = tuple[tuple[str, ...], str]


def _place(relative: Path) -> tuple[str, _Key]:
    """What a file is (image, mask, drawn, or '' where no folder tells), and where."""
    *folders, stem = relative.with_suffix("").parts
    kind, above, below, part = "", len(folders), len(folders), ()
    for depth in range(len(folders) - 1, -1, -1):
        name = folders[depth]
        if is_image_folder(name):
            kind = "image"
        elif is_mask_folder(name):
            kind = "mask"
        elif is_drawn_folder(name) and not set(_words(name)) <= _LUNG_MASK_WORDS:
            kind = "drawn"
        if kind:
            above, below = depth, depth + 1
            # train_images and train_masks, beside test_images
            part = tuple(filter(split_of, _words(name)))
            break
    # ManualMask/leftMask: both are folders of masks.
    while kind == "mask" and above and is_mask_folder(folders[above - 1]):
        above -= 1
    # masks/left lung, beside masks/heart
    while kind == "mask" and below < len(folders) and _is_lung_folder(folders[below]):
        below += 1
    owner = mask_owner(stem)
    if not kind and not mask_owner(f"_{stem}"):
        kind, owner = "mask", ""
    elif kind in ("", "image"):
        if owner != stem:
            kind = "mask"
        elif is_drawn_file(stem):
            kind = "drawn"
    name = "__".join([*folders[below:], owner if kind == "mask" else stem])
    return kind, ((*folders[:above], *part), name)


def _is_lung_folder(name: str) -> bool:
    return _says(name, _LUNG_WORDS) and set(_words(name)) <= _LUNG_MASK_WORDS


def _side(path: Path) -> str:
    """The side that a mask's folder names: left, right, or ''."""
    words = _words(path.parent.name)
    return next((side for side in _SIDES if any(word.startswith(side) for word in words)), "")


def _not_one_mask(masks: list[Path]) -> str:
    """Why the files are no mask of both lungs; '' if they are."""
    sides = sorted(map(_side, masks))
    if sides == [""] or sides == [*_SIDES]:
        return ""
    if set(sides) < {*_SIDES}:
        return "left or right mask missing"
    return (
        f"{len(masks)} mask files for one image: keep the one of the lungs, or one of the left and "
        "one of the right lung, in folders called so"
    )


def _only(twins: list[Path]) -> Path:
    """The first of images with one name in one place, which must have equal bytes."""
    first, *others = twins
    for other in others:
        if first.read_bytes() != other.read_bytes():
            raise UserError(
                f"{first} and {other} have the same name, but different content: which one "
                "belongs to the mask? Rename or remove one"
            )
    return first


def _ids(keys: Iterable[_Key]) -> dict[_Key, str]:
    keys = list(keys)
    names = [name for _, name in keys]
    if len(set(names)) == len(names):
        return {key: key[1] for key in keys}
    homes = [home for home, _ in keys]
    shared = len(os.path.commonprefix(homes))
    return {(home, name): "__".join([*home[shared:], name]) for home, name in keys}


def _other(path: Path, root: Path, reason: str) -> Rejection:
    return Rejection("__".join(path.relative_to(root).with_suffix("").parts), path, reason)


def bundle_part(paths: list[Path], root: Path, own: str) -> tuple[list[Path], list[str]]:
    """Without the other parts of doi:10.17632/8gf9vpkhgy.2, which bundles several sets.

    Montgomery is the usual test set for a segmenter trained on Shenzhen, and Darwin holds images
    of the classification set. Returns the paths, and a note of what was left out.
    """
    others = _BUNDLE - {own}

    def folders(path: Path) -> set[str]:
        return {part.lower() for part in path.relative_to(root).parts[:-1]}

    if not any(own in folders(path) for path in paths):
        return paths, []
    part = [path for path in paths if not folders(path) & others]
    left = len(paths) - len(part)
    return part, [f"{left} files of the bundle's other sets left out"] if left else []


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file by column name, '' where empty; rows without any value left out.

    Names of columns are found in any case where that is unambiguous, and given in small letters
    then. Raises `UserError` for a file that is no UTF-8 or has a fault in its quotes, a missing
    or doubled column, and a row with more values than the header has names.
    """
    try:
        # Line ends within quotes stay as they are.
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (csv.Error, ValueError, OSError) as error:
        where = f"line {reader.line_num}: " if isinstance(error, csv.Error) else ""
        raise _not_csv(path, f"{where}{' '.join(str(error).split())}") from None
    names = _column_names(path, header, columns)
    table = []
    for line, row in rows:
        if any("\0" in cell for cell in row):
            raise _not_csv(path, f"line {line}: a null byte")
        if any(row[len(names) :]):
            raise _not_csv(
                path,
                f"line {line} has {len(row)} values, the header {len(names)} names; a value with a "
                "comma in it needs quotes",
            )
        # Spreadsheets leave empty rows behind.
        if any(row):
            values = row[: len(names)] + [""] * (len(names) - len(row))
            table.append(dict(zip(names, values, strict=True)))
    return table


def _not_csv(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} cannot be read as CSV ({reason}): mend that line, and save it as UTF-8 with "
        "commas between the columns"
    )


def _column_names(path: Path, header: list[str], columns: tuple[str, ...]) -> list[str]:
    """The header with its names in small letters, where no other name is the same then."""
    small = [name.lower() for name in header]
    names = [
        low if small.count(low) == 1 else name for name, low in zip(header, small, strict=True)
    ]
    missing = [column for column in columns if column not in names]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}: its first line must name the columns "
            f"{','.join(columns)}, with commas between them (it begins with "
            f"'{header[0] if header else ''}')"
        )
    doubled = [name for name in names if name and names.count(name) > 1]
    if doubled:
        raise UserError(f"{path} has two columns '{doubled[0]}': rename or remove one")
    return names


def on_disk(path: Path) -> Path:
    """The path as it is spelt on the disk, where accents are stored in another way there."""
    if str(path).isascii() or path.exists():
        return path
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        step = found / part
        if not os.path.lexists(step):
            try:
                twins = [name for name in os.listdir(found) if composed(name) == composed(part)]
            except OSError:
                return path
            if len(twins) != 1:
                return path
            step = found / twins[0]
        found = step
    return found
