"""Sections on what went in: data and provenance, lung masks, crops."""

import math

import pandas as pd

from multiloss.data.tables import SPLITS
from multiloss.evaluation.segmentation_scores import COMBINED, SCORES
from multiloss.report.blocks import (
    Block,
    Column,
    Note,
    Section,
    Text,
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
from multiloss.report.facts import Estimate, Facts, watched
from multiloss.report.figures import Figures


def _watched(facts: Facts) -> str:
    """What the validation images of the lung masks decide beside the choice of networks."""
    does = watched(facts.config["segmentation"]["training"])
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
