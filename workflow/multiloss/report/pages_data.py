"""Sections on what went in: data and provenance, lung masks, crops."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from multiloss.data.manifest import COPY, FOREIGN, KEPT, KNOWN
from multiloss.data.sources.addresses import public
from multiloss.data.tables import SPLITS
from multiloss.evaluation.segmentation_scores import COMBINED, SCORES
from multiloss.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Note,
    Section,
    Text,
    code,
    count,
    is_true,
    listed,
    metric_columns,
    number,
    plural,
    table,
    value_cell,
    yes,
)
from multiloss.report.facts import Estimate, Facts, percent, watched
from multiloss.report.figures import Figures

VERIFIED = {
    "known": "digest given in the config and matched",
    "recorded": "digest recorded at the first download and matched since",
    "folder": "a folder of the user's own, not a file with a digest",
    "generated": "made by the built-in generator",
}


def data(facts: Facts, figures: Figures) -> Section:
    """Where every image came from, how patients were divided, and what the audit found."""
    blocks: list[Block] = []
    rows = []
    for source in facts.sources():
        merged: dict[str, Any] = facts.provenance(source)
        merged["verified"] = VERIFIED.get(
            str(merged.get("verified", "")), str(merged.get("verified", "") or "not recorded")
        )
        merged["role"] = str(source["role"]).replace("_", " ")
        merged = {key: "" if value is None else value for key, value in merged.items()}
        rows.append(_source(merged))
        if merged.get("masks_url"):
            apart = {key: merged.get(f"masks_{key}", "") for key in ("url", "sha256", "size")}
            checked = VERIFIED.get(str(merged.get("masks_verified", "")), "not recorded")
            rows.append(_source({**merged, **apart, "role": "its masks", "verified": checked}))
    blocks.append(
        table(
            "sources",
            "Sources",
            "Each data source: what it is for, where it was fetched from and in which layout, its "
            "size, the SHA-256 digest of the file that was used and how that was checked, and "
            "the licence and citation that go with it. Two runs with the same digests read the "
            "same images.",
            pd.DataFrame(rows),
            [
                Column("name", "Source", code=True),
                Column("role", "Used for"),
                Column("origin", "From"),
                Column("digest", "SHA-256"),
                Column("terms", "Licence and citation"),
            ],
            source="data/downloads/",
        )
    )
    manifest = facts.manifest
    if manifest.empty:
        blocks.append(Note("The manifest of the images is not there yet."))
        return Section("data", "Data and provenance", blocks)
    blocks += [Heading("Splits"), Text([_splits_text(facts)])]
    rows = []
    anyone = max(map(facts.unknown, [None, *facts.external]))
    for split in [*SPLITS, *facts.external]:
        role = facts.role(split)
        part = manifest[manifest["split"] == split]
        row = {"split": split, "role": role, "images": len(part)}
        row["patients"] = facts.patients(split) if facts.unknown(split) < 1 else pd.NA
        row["unknown"] = percent(facts.unknown(split)) if anyone else pd.NA
        for name in facts.classes:
            row[f"class {name}"] = int((part["label"].astype(str) == name).sum())
        rows.append(row)
    unknown = facts.unknown()
    if unknown:
        which = f" for {percent(unknown)} of the images" if unknown < 1 else ""
        blocks.append(
            Note(
                f"Patients are unknown{which}. Each {'such ' if which else ''}image was "
                "taken as a patient of its own: images of one patient may lie in several splits, "
                "which flatters the results, and intervals may be too narrow.",
                "warning",
            )
        )
    known = "A known patient is in one split only; patients" if unknown < 1 else "Images"
    known = known if facts.shipped_test is False else f"{known} outside the test split"
    blocks.append(
        table(
            "splits",
            "Images and patients of each split" if unknown < 1 else "Images of each split",
            f"n = {facts.size()}. {known} were divided at random with the study's seed, stratified "
            "by class. The columns on the right count the images of each class."
            + (" External tests had no part in the division." if facts.external else "")
            + (
                " These are the splits of run 0; each further run divides what is outside the test "
                "split anew, in the same shares (data/manifests/)."
                if facts.redrawn
                else ""
            ),
            pd.DataFrame(rows),
            [
                Column("split", "Split", code=True),
                Column("role", "What it does"),
                Column("images", "Images", count),
                Column("patients", "Patients" if not anyone else "Patients, at most", count),
                Column("unknown", "Images of unknown patients"),
                *(Column(f"class {name}", name, count) for name in facts.classes),
            ],
            source="data/manifest.csv",
        )
    )
    blocks += figures.take("splits", "samples")
    blocks += _left_out(facts)
    blocks += _leakage(facts)
    return Section("data", "Data and provenance", blocks)


def _source(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of sources, each cell with its detail below."""
    size = f", {count(record['size'])} bytes" if record.get("size") else ""
    digest = str(record.get("sha256") or "none")

    def cell(main: str | Markup, under: str) -> Cell:
        return Cell(Markup('{} <span class="under">{}</span>').format(main, under))

    return {
        "name": record["name"],
        "role": record["role"],
        "origin": cell(code(public(str(record["url"]))), f"layout {record['layout']}{size}"),
        "digest": cell(code(digest), record["verified"]),
        "terms": cell(
            record.get("license") or "licence not stated",
            record.get("citation") or "citation not stated",
        ),
    }


def _splits_text(facts: Facts) -> str:
    splits = facts.config["splits"]
    test = splits["test"]
    if facts.shipped_test:
        text = (
            "The test split is the one that the sources name, by a folder or in a column of their "
            "table."
        )
    elif test == "shipped":
        text = (
            "The test folders of the sources were not kept, since patients recur in them: a test "
            "split of their size was drawn anew."
            if splits["recurring_patients"] == "resplit"
            else ""
        )
    else:
        text = f"The test split is a share of {number(test, 2)} of the {facts.unit}s."
    shares = ", ".join(f"{name} {number(share, 2)}" for name, share in splits["ratios"].items())
    text += f" The other {facts.unit}s are divided into {shares}."
    return text


def left_out_text(facts: Facts) -> str:
    """How many files were left out and why, in words; empty where none was."""
    left = facts.left_out
    if left.empty:
        return ""
    copies = int((left["reason"] == COPY).sum())
    reasons = left["reason"].astype(str)
    foreign = int(reasons.str.contains(FOREIGN, regex=False).sum())
    known = int(reasons.str.startswith(KNOWN).sum())
    kinds = [
        (copies, "a further copy of an image", "further copies of images"),
        (foreign, "of a class that is not asked for", "of classes that are not asked for"),
        (
            known,
            "of an external test since its image or patient is the study's own",
            "of external tests since their images or patients are the study's own",
        ),
        (len(left) - copies - foreign - known, "unusable", "unusable"),
    ]
    told = [f"{n:,} {one if n == 1 else many}" for n, one, many in kinds if n]
    was = "was" if len(left) == 1 else "were"
    return f"{plural(len(left), 'file')} {was} left out ({listed(told)})."


def dropped_text(facts: Facts) -> str:
    """How many training images were left out since their patients are tested on."""
    said = []
    for lungs, what, where in (
        (False, "image", "test split"),
        (True, "image with a lung mask", "segmentation test set"),
    ):
        dropped = facts.dropped(lungs)
        if len(dropped):
            number = plural(len(dropped), what, what.replace("image", "images", 1))
            was, their = ("was", "its patient is") if len(dropped) == 1 else (
                "were", "their patients are")  # fmt: skip
            said.append(f"{number} {was} left out of training, since {their} in the {where}, too.")
    return " ".join(said)


def _left_out(facts: Facts) -> list[Block]:
    blocks: list[Block] = [Heading("Images that were left out")]
    rejected, remarks = facts.left_out, facts.remarks
    dropped = pd.concat([facts.dropped(), facts.dropped(lungs=True)])
    said = [left_out_text(facts) or "No file was left out as unusable, foreign or a copy."]
    kept = remarks["path"].nunique() if len(remarks) else 0
    if kept:
        are = "image is" if kept == 1 else "images are"
        said.append(f"{kept:,} {are} used with a remark.")
    if len(dropped):
        said.append(dropped_text(facts))
    elif facts.shipped_test and facts.unknown() < 1:
        said.append("No image was left out because its patient occurs in the test split.")
    blocks.append(Text([" ".join(said)]))
    if len(rejected) + len(remarks):
        blocks.append(
            table(
                "rejected",
                "Files left out, and images used with a remark",
                f"n = {plural(len(rejected) + len(remarks), 'row')}, each with its reason: files "
                "that cannot be read, are damaged or no pictures, lack a partner, repeat an "
                "image, or belong to no class of this study. Where the reason begins with "
                f"'{KEPT}', the image is used all the same.",
                pd.concat([rejected, remarks]),
                [
                    Column("image_id", "Image", code=True),
                    Column("source", "Source", code=True),
                    Column("reason", "Reason"),
                    Column("path", "File", code=True),
                ],
                source="data/rejected.csv",
            )
        )
    if len(dropped):
        kermany = any(s["layout"] == "kermany" for s in facts.sources("classification"))
        blocks.append(
            table(
                "dropped",
                "Images of recurring patients",
                f"n = {plural(len(dropped), 'image')} left out of training, each with "
                "the reason: its patient, or one with an identical image, is tested on."
                + (
                    " Whether the same number is the same child is not published."
                    if kermany
                    else ""
                ),
                dropped,
                [
                    Column("image_id", "Image", code=True),
                    Column("patient_id", "Patient", code=True),
                    Column("label", "Class"),
                    Column("reason", "Reason"),
                ],
                source="data/dropped.csv",
                folded=True,
            )
        )
    return blocks


def _leakage(facts: Facts) -> list[Block]:
    blocks: list[Block] = [Heading("Leakage audit")]
    audit = facts.results.table("tables/leakage.csv")
    if audit.empty:
        return [*blocks, Note("The leakage audit was not part of this study.")]
    leaks = audit[audit["verdict"] == "leak"] if "verdict" in audit else audit[:0]
    if len(leaks):
        found = listed([str(name).replace("_", " ") for name in leaks["check"]])
        blocks.append(
            Note(f"The audit found a leak ({found}): results on the test split flatter.", "warning")
        )
    blocks.append(
        table(
            "leakage",
            "What the test images share with the others",
            "Each row is one check of the final splits: patients on two sides, byte-identical "
            "images, near-identical images (perceptual hash, at most 2 of 64 bits apart), images "
            "without a patient, one image under two labels. A count of 0 is what one hopes for; "
            "anything else is named, so that it can be judged. Verdicts: pass, nothing was found; "
            "leak, test images may be known from training; note, worth knowing but no leak by "
            "itself; unknown, nothing was found, but patients are not known for all images, so "
            "that the check says little. Rows on the shipped folders describe the source, before "
            "anything was left out.",
            audit.assign(check=audit["check"].astype(str).str.replace("_", " ")),
            [
                Column("check", "Check"),
                Column("verdict", "Verdict"),
                Column("count", "Found", count),
                Column("n", "Of", count),
                Column("level", "Counted"),
                Column("detail", "What it means"),
            ],
            source="tables/leakage.csv",
        )
    )
    return blocks


def _watched(facts: Facts) -> str:
    """What the validation images of the lung masks decide beside the choice of networks."""
    does = watched(facts.config["segmentation"]["training"], "each training")
    return f"The split val of the images with lung masks {listed(does)}. " if does else ""


def _combined(number: int) -> str:
    """How many networks make the mask."""
    if number == 1:
        return "The one with the best mean Dice on the validation images makes the masks."
    return (
        f"The {number} with the best mean Dice on the validation images were combined: a pixel is "
        "lung where all of them say so."
    )


def lungs(facts: Facts, figures: Figures) -> list[Section]:
    """The sections of studies with lung masks."""
    return [segmentation(facts, figures), crops(facts, figures)]


def segmentation(facts: Facts, figures: Figures) -> Section:
    """How well the lung masks agree with drawn ones."""
    scores = facts.results.table("segmentation/scores.csv")
    blocks: list[Block] = []
    if scores.empty:
        blocks.append(Note("The lung segmenters of this study have no scores yet."))
    else:
        combined = scores[scores["loss"].astype(str).str.startswith(COMBINED)]
        single = scores[~scores["loss"].astype(str).str.startswith(COMBINED)]
        chosen = single[single["selected"].map(is_true)] if "selected" in single else single[:0]
        text = (
            f"One U-Net was trained for each segmentation loss. {_watched(facts)}"
            f"{_combined(chosen['loss'].nunique())}"
        )
        test = combined[combined["split"] == "test"] if "split" in combined else combined
        if len(test):
            row = test.iloc[0]
            text += (
                f" On the {int(row['n'])} test images the combined mask reaches a mean Dice of "
                f"{number(row['dice'])}"
            )
            if not math.isnan(row.get("dice_ci_low", math.nan)):
                low, high = number(row["dice_ci_low"]), number(row["dice_ci_high"])
                text += f" ({facts.confidence} interval {low} to {high})"
            text += "."
        blocks.append(Text([text]))
        frame = scores.copy()
        if "selected" in frame:  # the combined mask is what the chosen ones make, not one of them
            frame["selected"] = (
                frame["selected"]
                .astype(object)
                .where(~frame["loss"].astype(str).str.startswith(COMBINED), pd.NA)
            )
        for metric in SCORES:
            columns = [metric, f"{metric}_ci_low", f"{metric}_ci_high"]
            if set(columns) <= set(frame.columns):
                triples = zip(*(frame[name] for name in columns), strict=True)
                frame[metric] = [value_cell(Estimate(*triple)) for triple in triples]
        blocks.append(
            table(
                "segmentation-scores",
                "Agreement of predicted and drawn lung masks",
                "Mean Dice and IoU over images (1 is perfect) with their intervals, and the "
                "standard deviation between images. The choice was made on the split val; the "
                "split test only reports. The row that begins with and_top is the combined mask.",
                frame,
                [
                    Column("loss", "Loss", code=True),
                    Column("split", "Split", code=True),
                    Column("n", "Images", count),
                    *metric_columns([SCORES["dice"]]),
                    Column("dice_sd", "SD of Dice", number),
                    *metric_columns([SCORES["iou"]]),
                    Column("iou_sd", "SD of IoU", number),
                    Column("selected", "Combined", yes),
                ],
                source="segmentation/scores.csv",
            )
        )
    blocks += figures.take(
        "segmentation_dice", "segmentation_overlays", "learning_curves_segmentation"
    )
    return Section("segmentation", "Lung segmentation", blocks)


def crops(facts: Facts, figures: Figures) -> Section:
    """The boxes around the lungs and where they had to fall back to the whole image."""
    boxes = facts.results.table("crops/boxes.csv")
    blocks: list[Block] = []
    if boxes.empty:
        blocks.append(Note("This study has no crops yet."))
    else:
        fallbacks = int(boxes["fallback"].map(is_true).sum())
        share = boxes["lung_fraction"].astype(float)
        text = (
            f"Each of the {len(boxes)} images was cut to the box around its lungs, widened by "
            f"{number(100 * facts.config['crop']['margin'], 0)}% on each side and stretched to a "
            "square; pixels outside the lungs stay. "
            f"The lungs cover {number(100 * share.median(), 0)}% of the median image "
            f"(smallest {number(100 * share.min(), 0)}%, largest {number(100 * share.max(), 0)}%)."
        )
        blocks.append(Text([text]))
        if fallbacks:
            blocks.append(
                Note(
                    f"{plural(fallbacks, 'image')} had an empty mask and "
                    f"{'was' if fallbacks == 1 else 'were'} used whole "
                    f"({number(100 * fallbacks / len(boxes), 1)}% of all).",
                    "warning",
                )
            )
        merged = boxes.merge(
            facts.manifest[["image_id", "split"]], on="image_id", how="left"
        ) if len(facts.manifest) else boxes.assign(split="all")  # fmt: skip
        rows = []
        parts = dict(list(merged.groupby("split", sort=False)))
        for split in sorted(parts, key=[*SPLITS, *parts].index):
            part = parts[split]
            area = part["lung_fraction"].astype(float)
            rows.append(
                {
                    "split": split,
                    "n": len(part),
                    "median": area.median(),
                    "low": area.quantile(0.05),
                    "high": area.quantile(0.95),
                    "fallback": int(part["fallback"].map(is_true).sum()),
                }
            )
        blocks.append(
            table(
                "crops",
                "Lung area and fallbacks of each split",
                f"n = {plural(len(boxes), 'image')}. "
                "Share of the image that the combined mask calls lung (median, 5th and 95th "
                "percentile of the images) and the number of images whose mask was empty. "
                "Splits that differ much here were not cropped alike.",
                pd.DataFrame(rows),
                [
                    Column("split", "Split", code=True),
                    Column("n", "Images", count),
                    Column("median", "Lung share, median", number),
                    Column("low", "5th percentile", number),
                    Column("high", "95th percentile", number),
                    Column("fallback", "Used whole", count),
                ],
                source="crops/boxes.csv",
            )
        )
    blocks += figures.take("crop_overview")
    return Section("crops", "Crops", blocks)
