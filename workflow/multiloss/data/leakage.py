"""Does anything of the test images reach the training? An audit of the split."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from multiloss.data.images import read_grey
from multiloss.data.likeness import likeness
from multiloss.data.tables import is_external
from multiloss.job.errors import UserError

# Of 64 bits; from 4 on, radiographs of different children collide.
NEAR = 2
# Few bits can agree by chance. Copies (recompressed, halved, noisy, other exposure) correlate by
# 0.98 and more at 32x32 pixels; radiographs of different children with near hashes by at most
# 0.95 (real and phantom ones, measured with this code).
CONFIRMED = 0.97
COLUMNS = ["check", "level", "count", "n", "detail", "verdict"]
ACROSS = "across_splits"
# From nothing to tell to the worst.
VERDICTS = ("pass", "unknown", "note", "leak")
_EXAMPLES = 5
_ROWS_AT_ONCE = 512


def near_pairs(
    left: Sequence[str], right: Sequence[str], distance: int = NEAR
) -> Iterator[tuple[int, int, int]]:
    """(row in left, row in right, differing bits) for all pairs of hashes within `distance`."""
    rows = np.array([int(text, 16) for text in left], dtype=np.uint64)
    columns = np.array([int(text, 16) for text in right], dtype=np.uint64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        apart = np.bitwise_count(rows[start : start + _ROWS_AT_ONCE, None] ^ columns)
        for row, column in np.argwhere(apart <= distance):
            yield start + int(row), int(column), int(apart[row, column])


def audit(
    manifest: pd.DataFrame,
    lungs: pd.DataFrame | None,
    dropped: pd.DataFrame,
    further: Sequence[pd.DataFrame] = (),
) -> pd.DataFrame:
    """One row a check: how many patients or images are where they should not be.

    Takes the manifest, the lungs of `splits.assign_lungs` (None without lungs) and what both left
    out, and reads those images again whose hashes are near each other, to compare them. `further`:
    the manifests of further runs that divide the patients anew, whose splits are checked, too
    (`further_runs_...`, the run that fares worst). Images of external tests have checks of their
    own; the others are of the study alone. Columns: `check`;
    `level` (patient or image: what is counted); `count` of `n`; `detail` in words with up to five
    examples; `verdict`: `pass`, `leak` (results may flatter), `note` (to know, no leak by
    itself), or `unknown` (nothing found, but the patients of some images are not known). Checks of
    patients count those who are known.
    """
    outside = is_external(manifest)
    external, manifest = manifest[outside], manifest[~outside]
    rows = [
        *_sides("", manifest),
        *([] if lungs is None else _sides("lung_", lungs)),
        *([] if lungs is None else [_lungs_against("test", manifest, lungs)]),
        _unknown_patients(manifest),
        *_labels_differ(manifest),
        *_recurrence(manifest, dropped),
        *_further(manifest, further, lungs),
    ]
    if len(external):
        rows += _external(manifest, external)
        rows += [] if lungs is None else [_lungs_against("external", external, lungs)]
    return pd.DataFrame(rows, columns=COLUMNS)


def refuse(table: pd.DataFrame) -> None:
    """Raise `UserError` with the first leak of an audit; nothing if there is none."""
    leaks = table[table["verdict"] == "leak"]
    if len(leaks):
        first = leaks.iloc[0]
        raise UserError(
            f"data.strict_leakage: {first['check']}: {first['count']} of {first['n']} "
            f"({first['detail']}), {len(leaks)} leaking checks in all: mend the data or patient "
            "ids, or set data.strict_leakage to false"
        )


def _row(check: str, level: str, count: int, n: int, detail: str, bad: str) -> dict:
    return {
        "check": check,
        "level": level,
        "count": count,
        "n": n,
        "detail": detail,
        "verdict": bad if count else "pass",
    }


def _known(table: pd.DataFrame) -> pd.Series:
    """Whether the patient of each image is known."""
    return table["patient_known"].astype(str) == "True"


def _unless_unknown(row: dict, known: pd.Series) -> dict:
    """The row of a check of patients, which cannot pass where some are not known."""
    if known.all():
        return row
    row["detail"] += f"; the patient is known for {int(known.sum())} of {len(known)} images only"
    if row["verdict"] == "pass":
        row["verdict"] = "unknown"
    return row


def _sides(prefix: str, table: pd.DataFrame) -> list[dict]:
    """Patients and images of one table that are on two sides of its split."""
    known = _known(table)
    splits_of = table[known].groupby("patient_id")["split"].unique()
    torn = splits_of[splits_of.map(len) > 1]
    examples = [f"{patient} in {' and '.join(sorted(own))}" for patient, own in torn.items()]
    rows = [
        _unless_unknown(
            _row(
                f"{prefix}patients_across_splits",
                "patient",
                len(torn),
                len(splits_of),
                _told("patients with images in more than one split", examples),
                "leak",
            ),
            known,
        )
    ]
    places = table.groupby("sha256")["split"].transform("nunique")
    twins = table[places > 1].sort_values(["sha256", "image_id"])
    rows.append(
        _row(
            f"{prefix}identical_images_across_splits",
            "image",
            len(twins),
            len(table),
            _told(
                "images with a byte-identical copy in another split",
                [f"{row.image_id} in {row.split}" for row in twins.itertuples()],
            ),
            "leak",
        )
    )
    copies = table.duplicated(["sha256", "split"], keep="first")
    near, confirmed, examples = _near(table, table)
    rows += [
        _row(
            f"{prefix}near_identical_images_across_splits",
            "image",
            near,
            len(table),
            _told(
                f"images whose perceptual hash differs by at most {NEAR} of 64 bits from one in "
                f"another split, {confirmed} of them with a correlation of at least {CONFIRMED} "
                "(the others only look alike)",
                examples,
            ),
            "leak" if confirmed else "note",
        ),
        _row(
            f"{prefix}identical_images_within_split",
            "image",
            int(copies.sum()),
            len(table),
            _told(
                "further copies of an image in the same split, which count more than once",
                table.loc[copies, "image_id"].tolist(),
            ),
            "note",
        ),
    ]
    return rows


def _further(
    manifest: pd.DataFrame, further: Sequence[pd.DataFrame], lungs: pd.DataFrame | None
) -> list[dict]:
    """The checks between splits in the divisions of further runs: of each the worst run's row.

    Images that look alike under two patients may be in one split of the first division and in two
    of another. Folds also test on other images than the first run.
    """
    found: dict[str, list[tuple[int, dict]]] = {}
    tested = set(manifest.loc[manifest["split"] == "test", "image_id"])
    for run, table in enumerate(further, start=1):
        own = table[~is_external(table)]
        rows = [row for row in _sides("", own) if row["check"].endswith(ACROSS)]
        if lungs is not None and set(own.loc[own["split"] == "test", "image_id"]) != tested:
            rows.append(_lungs_against("test", own, lungs))
        for row in rows:
            found.setdefault(row["check"], []).append((run, row))
    rows = []
    for check, of_runs in found.items():
        run, row = max(
            of_runs, key=lambda own: (VERDICTS.index(own[1]["verdict"]), own[1]["count"], -own[0])
        )
        if row["count"]:
            hit = sum(own["count"] > 0 for _, own in of_runs)
            row["detail"] += f"; this is run {run}, {hit} of {len(of_runs)} further runs have any"
        rows.append(row | {"check": f"further_runs_{check}"})
    return rows


def _near(
    left: pd.DataFrame, right: pd.DataFrame, column: str = "split"
) -> tuple[int, int, list[str]]:
    """Images of `left` with a near hash in another split of `right` (or of another label, by
    `column`); how many of them really look the same; example pairs, the most alike first.
    Byte-identical pairs are counted elsewhere.
    """
    near, confirmed, examples = set(), set(), {}
    columns = ["image_id", column, "sha256", "path", "bits"]
    ours = list(left[columns].itertuples(index=False, name=None))
    theirs = list(right[columns].itertuples(index=False, name=None))
    read = functools.lru_cache(maxsize=64)(read_grey)
    for row, other_row, apart in near_pairs(left["phash"], right["phash"]):
        one, side, digest, path, bits = ours[row]
        other, other_side, other_digest, other_path, other_bits = theirs[other_row]
        if side == other_side or digest == other_digest:
            continue
        near.add(row)
        alike = likeness(read(path, int(bits)), read(other_path, int(other_bits)))
        if alike >= CONFIRMED:
            confirmed.add(row)
        examples.setdefault(
            frozenset((one, other)),
            (
                -alike,
                f"{one} in {side} and {other} in {other_side} ({apart} bits, correlation "
                f"{alike:.3f})",
            ),
        )
    return len(near), len(confirmed), [text for _, text in sorted(examples.values())]


def _external(manifest: pd.DataFrame, external: pd.DataFrame) -> list[dict]:
    """What external tests share with the study, and with each other."""
    known, ours = _known(external), _known(manifest)
    patients = external.loc[known, "patient_id"]
    shared = sorted(set(patients) & set(manifest.loc[ours, "patient_id"]))
    same = external["sha256"].isin(manifest["sha256"])
    near, confirmed, examples = _near(external, manifest)
    sets = external[known].groupby("patient_id")["split"].nunique()
    places = external.groupby("sha256")["split"].transform("nunique")
    near_sets, confirmed_sets, pairs = _near(external, external)
    copies = external.duplicated(["sha256", "split"], keep="first")
    return [
        _unless_unknown(
            _row(
                "external_patients_in_the_study",
                "patient",
                len(shared),
                patients.nunique(),
                _told("patients of an external test with images in a split of the study", shared),
                "leak",
            ),
            pd.concat([known, ours]),
        ),
        _row(
            "external_images_in_the_study",
            "image",
            int(same.sum()) + near,
            len(external),
            _told(
                "images of an external test that are identical, or near by hash, to one of the "
                f"study; {int(same.sum()) + confirmed} of them identical or with a correlation of "
                f"at least {CONFIRMED}",
                external.loc[same, "image_id"].tolist() + examples,
            ),
            "leak" if same.any() or confirmed else "note",
        ),
        _row(
            "external_patients_in_several_sets",
            "patient",
            int((sets > 1).sum()),
            len(sets),
            _told(
                "patients in more than one external test, whose results are then not independent",
                sets.index[sets > 1].tolist(),
            ),
            "note",
        ),
        _row(
            "external_images_in_several_sets",
            "image",
            int((places > 1).sum()) + near_sets,
            len(external),
            _told(
                "images in more than one external test, identical or near by hash; "
                f"{int((places > 1).sum()) + confirmed_sets} of them identical or with a "
                f"correlation of at least {CONFIRMED}",
                external.loc[places > 1, "image_id"].tolist() + pairs,
            ),
            "note",
        ),
        _row(
            "external_identical_images_within_set",
            "image",
            int(copies.sum()),
            len(external),
            _told(
                "further copies of an image in the same external test, which count more than once",
                external.loc[copies, "image_id"].tolist(),
            ),
            "note",
        ),
    ]


def _lungs_against(what: str, test: pd.DataFrame, lungs: pd.DataFrame) -> dict:
    """The classifier starts from the segmenter's encoder: has that seen the test images?"""
    test = test[test["split"] == "test"] if what == "test" else test
    trained = lungs[lungs["split"].isin(["train", "val"])]
    # The splits of the two tables mean different images, so a name tells them apart.
    trained = trained.assign(split="lungs " + trained["split"].astype(str))
    same = test["sha256"].isin(trained["sha256"])
    near, confirmed, examples = _near(test, trained)
    return _row(
        f"{what}_images_seen_by_the_segmenter",
        "image",
        int(same.sum()) + near,
        len(test),
        _told(
            f"{what} images that are identical, or near by hash, to one with which the segmenter "
            f"was trained; {int(same.sum()) + confirmed} of them identical or with a correlation "
            f"of at least {CONFIRMED}",
            test.loc[same, "image_id"].tolist() + examples,
        ),
        "leak" if same.any() or confirmed else "note",
    )


def _unknown_patients(manifest: pd.DataFrame) -> dict:
    unknown = manifest[~_known(manifest)]
    return _row(
        "images_without_patient_id",
        "image",
        len(unknown),
        len(manifest),
        _told(
            "images whose patient is not known; each counts as a patient of its own, which "
            "overlooks several images of one patient",
            unknown["image_id"].tolist(),
        ),
        "note",
    )


def _labels_differ(manifest: pd.DataFrame) -> list[dict]:
    """Images that are there under several labels, one of which must be wrong."""
    labels = manifest.groupby("sha256")["label"].transform("nunique")
    same = manifest[labels > 1].sort_values(["sha256", "image_id"])
    near, confirmed, examples = _near(manifest, manifest, "label")
    return [
        _row(
            "labels_differ_of_identical_images",
            "image",
            len(same),
            len(manifest),
            _told(
                "images with a byte-identical copy under another label; data/rejected.csv lists "
                "all of them",
                [f"{row.image_id} in {row.label}" for row in same.itertuples()],
            ),
            "note",
        ),
        _row(
            "labels_differ_of_near_identical_images",
            "image",
            confirmed,
            len(manifest),
            _told(
                f"images whose perceptual hash differs by at most {NEAR} of 64 bits from one under "
                f"another label, with a correlation of at least {CONFIRMED} ({near} are near by "
                "hash alone)",
                examples if confirmed else [],
            ),
            "note",
        ),
    ]


def _recurrence(manifest: pd.DataFrame, dropped: pd.DataFrame) -> list[dict]:
    """Patients in both shipped folders, before anything was dropped or divided anew."""
    columns = ["patient_id", "label", "shipped_split"]
    known = _known(manifest)
    shipped = pd.concat([manifest.loc[known, columns], dropped[columns]])
    shipped = shipped[shipped["label"].astype(str) != ""]
    in_test = shipped["shipped_split"] == "test"
    test, rest = shipped[in_test], shipped[~in_test]
    rows = []
    for check, keys, meaning in (
        (
            "shipped_patients_recurring",
            ["patient_id"],
            "patients of the shipped test folder whose id occurs in the other folders too, by id "
            "alone (the safe reading: an upper bound where one id can mean two patients)",
        ),
        (
            "shipped_patients_recurring_same_class",
            ["patient_id", "label"],
            "the same by id and class together (a lower bound where each class numbers its own "
            "patients)",
        ),
    ):
        ours = pd.MultiIndex.from_frame(test[keys].drop_duplicates())
        theirs = pd.MultiIndex.from_frame(rest[keys].drop_duplicates())
        both = sorted(" ".join(entry) for entry in ours.intersection(theirs))
        left_out = int((dropped["label"].astype(str) != "").sum())
        told = _told(meaning, both)
        if both:
            told += (
                f"; {left_out} images of theirs are left out"
                if left_out
                else "; everything was divided anew"
            )
        row = _row(check, "patient", len(both), len(ours), told, "note")
        rows.append(_unless_unknown(row, known))
    return rows


def _told(meaning: str, examples: Sequence[str]) -> str:
    if not len(examples):
        return meaning
    more = f", and {len(examples) - _EXAMPLES} more" if len(examples) > _EXAMPLES else ""
    return f"{meaning}: {', '.join(examples[:_EXAMPLES])}{more}"
