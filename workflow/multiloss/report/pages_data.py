"""Sections on what went in: data and provenance, lung masks, crops."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from multiloss.addresses import public
from multiloss.report import words
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
    for split in words.SPLITS:
        role = facts.role(split)
        part = manifest[manifest["split"] == split]
        row = {"split": split, "role": role, "images": len(part)}
        row["patients"] = facts.patients(split) if facts.unknown(split) < 1 else pd.NA
        row["unknown"] = percent(facts.unknown(split)) if facts.unknown() else pd.NA
        for name in facts.classes:
            row[f"class {name}"] = int((part["label"].astype(str) == name).sum())
        rows.append(row)
    unknown = facts.unknown()
    if unknown:
        blocks.append(
            Note(
                f"Patients are unknown for {percent(unknown)} of the images. Each such image was "
                "taken as a patient of its own: images of one patient may lie in several splits, "
                "which flatters the results, and intervals may be too narrow.",
                "warning",
            )
        )
    known = "A patient is in one split only; patients" if unknown < 1 else "Images"
    blocks.append(
        table(
            "splits",
            "Images and patients of each split",
            f"n = {facts.size()}. {known} were divided at random with the study's seed, stratified "
            "by class. The columns on the right count the images of each class.",
            pd.DataFrame(rows),
            [
                Column("split", "Split", code=True),
                Column("role", "What it does"),
                Column("images", "Images", count),
                Column("patients", "Patients" if not unknown else "Patients, at most", count),
                Column("unknown", "Images of unknown patients"),
                *(Column(f"class {name}", name, count) for name in facts.classes),
            ],
            source="data/manifest.csv",
        )
    )
    blocks += figures.take("splits", "samples")
    blocks += _left_out(facts)
    blocks += _leakage(facts)
    blocks += figures.rest("Data")
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
    if test == "shipped":
        text = "The test split is the test folder that the source ships."
    else:
        text = f"The test split is a share of {number(test, 2)} of the {facts.unit}s."
    shares = ", ".join(f"{name} {number(share, 2)}" for name, share in splits["ratios"].items())
    text += f" The other {facts.unit}s are divided into {shares}."
    return text


def _left_out(facts: Facts) -> list[Block]:
    blocks: list[Block] = [Heading("Images that were left out")]
    rejected = facts.results.table("data/rejected.csv")
    dropped = facts.results.table("data/dropped.csv")
    said = [
        f"{plural(len(rejected), 'file')} could not be used and "
        f"{'was' if len(rejected) == 1 else 'were'} rejected."
        if len(rejected)
        else "No file was rejected.",
        f"{plural(len(dropped), 'image')} of {plural(dropped['patient_id'].nunique(), 'patient')} "
        "left out of training because the patient number occurs in the shipped test folder too."
        if len(dropped)
        else "No image was left out because its patient occurs in the test folder."
        if facts.config["splits"]["test"] == "shipped" and facts.unknown() < 1
        else "",
    ]
    blocks.append(Text([" ".join(said)]))
    if len(rejected):
        blocks.append(
            table(
                "rejected",
                "Rejected files",
                f"n = {plural(len(rejected), 'file')} that the layouts found but that could not be "
                "read or did not belong to a class, each with the reason.",
                rejected,
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
        blocks.append(
            table(
                "dropped",
                "Images of recurring patients",
                f"n = {plural(len(dropped), 'image')} whose patient number occurs in the shipped "
                "train and test folders. Whether the same number is the same child is not "
                "published, so they were dropped from training.",
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
            "without a patient. A count of 0 is what one hopes for; anything else is named, so "
            "that it can be judged. Rows on the shipped folders describe the source, before "
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


def segmentation(facts: Facts, figures: Figures) -> Section:
    """How well the lung masks agree with drawn ones."""
    scores = facts.results.table("segmentation/scores.csv")
    blocks: list[Block] = []
    if scores.empty:
        blocks.append(Note("The lung segmenters of this study have no scores yet."))
    else:
        combined = scores[scores["loss"].astype(str).str.startswith("and_")]
        single = scores[~scores["loss"].astype(str).str.startswith("and_")]
        chosen = single[single["selected"].map(is_true)] if "selected" in single else single[:0]
        text = (
            f"One U-Net was trained for each segmentation loss. {_watched(facts)}"
            f"The {chosen['loss'].nunique()} with the best mean Dice on the validation images were "
            "combined: a pixel is lung where all of them say so."
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
                .where(~frame["loss"].astype(str).str.startswith("and_"), pd.NA)
            )
        for metric in ("dice", "iou"):
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
                "split test only reports. The row that begins with and_ is the combined mask.",
                frame,
                [
                    Column("loss", "Loss", code=True),
                    Column("split", "Split", code=True),
                    Column("n", "Images", count),
                    Column("dice", "Dice", number, help=words.metric_help("dice")),
                    Column("dice_sd", "SD of Dice", number),
                    Column("iou", "IoU", number, help=words.metric_help("iou")),
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
            f"Each of the {len(boxes)} images was cut to the box around its lungs, widened on "
            "each side and stretched to a square; pixels outside the lungs stay. "
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
        for split in sorted(parts, key=[*words.SPLITS, *parts].index):
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
    blocks += figures.rest("Lung masks and crops")
    return Section("crops", "Crops", blocks)
