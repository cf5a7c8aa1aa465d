"""The section on heat maps."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from multiloss.gradcam.localisation import AGAINST_BASELINE, GAIN, MEASURES, PAIRED, UNIFORM
from multiloss.report.blocks import (
    Block,
    Cell,
    Column,
    Note,
    Section,
    Text,
    count,
    number,
    plural,
    signed,
    table,
    value_cell,
)
from multiloss.report.facts import Estimate, Facts
from multiloss.report.figures import Figures


def _difference_cell(row: Mapping[str, Any]) -> Cell:
    return value_cell(Estimate(row["difference"], row["ci_low"], row["ci_high"]), show=signed)


# Shares of heat that a uniform map has, too, in words; all of an image are measured alike.
HEAT_SHARES = {
    "energy_pointing_game": "in lesions",
    "lung_share": "inside the lungs",
}


def heat_verdict(facts: Facts) -> str:
    """Whether the heat lies in lesions and lungs more than a uniform map's, and the baseline's."""
    measures = facts.results.table("tables/localisation.csv")
    said = []
    for metric, where in HEAT_SHARES.items():
        part = measures[(measures["metric"] == metric) & measures["value"].notna()]
        chance = part[part["model"] == UNIFORM]
        shares = part[part["model"] != UNIFORM]
        if chance.empty or shares.empty:
            continue
        lowest, highest = number(shares["value"].min()), number(shares["value"].max())
        span = lowest if lowest == highest else f"{lowest} to {highest}"
        text = (
            f"The share of heat {where} is {span} over {plural(len(shares), 'model')}, against "
            f"{number(chance.iloc[0]['value'])} for a map of the same heat everywhere"
        )
        above, below, tests = _shown(facts, measures, metric + GAIN)
        if not tests:
            said.append(f"{text}; the two could not be compared image by image.")
            continue
        said.append(
            f"{text}; image by image it is shown to be larger for {above or 'none'} of them and "
            f"smaller for {below or 'none'} (t tests by {facts.unit}, Holm-corrected over "
            f"{plural(tests, 'model')})."
        )
        if not above:
            said.append(
                f"The maps are not shown to point {where.replace('in lesions', 'at lesions')} more "
                "than chance does, and should not be read as showing what the models use."
            )
        above, below, tests = _shown(facts, measures, metric + AGAINST_BASELINE)
        if tests:
            said.append(
                f"Compared with the baseline {facts.baseline_loss} in the same way, it is shown to "
                f"be larger for {above or 'none'} of {plural(tests, 'model')} and smaller for "
                f"{below or 'none'}."
            )
    return " ".join(said)


def _shown(facts: Facts, measures: pd.DataFrame, metric: str) -> tuple[int, int, int]:
    """Models whose paired difference is shown to be above 0, and below; tests that were made."""
    rows = measures[measures["metric"] == metric]
    rows = rows[rows["p_adjusted"].notna()] if "p_adjusted" in rows else rows.head(0)
    found = rows[rows["p_adjusted"] <= facts.alpha] if len(rows) else rows
    return int((found["value"] > 0).sum()), int((found["value"] < 0).sum()), len(rows)


def _paired_table(facts: Facts, measures: pd.DataFrame) -> list[Block]:
    """The paired differences of shares of heat from the uniform map's and the baseline's."""
    suffixes = {GAIN: "a uniform map", AGAINST_BASELINE: f"the baseline {facts.baseline_loss}"}
    rows = [
        {
            "model": row["model"],
            "measure": f"{MEASURES[metric].title}, minus {against}",
            "difference": _difference_cell({**row, "difference": row["value"]}),
            "p": row["p_value"],
            "holm": row["p_adjusted"],
            "n": row["n"],
            "reason": row["reason"],
        }
        for metric in HEAT_SHARES
        for suffix, against in suffixes.items()
        for row in measures[measures["metric"] == metric + suffix].to_dict("records")
        if "p_adjusted" in row and not pd.isna(row["value"])
    ]
    if not rows:
        return []
    return [
        table(
            "localisation-paired",
            "Shares of heat, image by image",
            f"Mean difference of each model's share of heat from that of a map of the same heat "
            f"everywhere and from the baseline's map of the same image, with {facts.confidence} "
            f"intervals and p values of Student's t by {facts.unit}; Holm's correction over the "
            "models of each comparison. Intervals are of each difference alone.",
            pd.DataFrame(rows),
            [
                Column("model", "Model", code=True, model=True),
                Column("measure", "Measure"),
                Column("difference", "Difference", signed),
                Column("p", "p", facts.p),
                Column("holm", "p, Holm", facts.p),
                Column("n", "Images", count),
                Column("reason", "Remark"),
            ],
            source="tables/localisation.csv",
            folded=True,
        )
    ]


def _grids(explained: pd.DataFrame) -> str:
    """Of how many cells the maps really are."""
    if "grid" not in explained:
        return ""
    grids = list(dict.fromkeys(explained["grid"].dropna().astype(str)))
    if not grids:
        return ""
    return (
        f" The maps are of {' or '.join(grids)} cells; what looks smooth in the figures is "
        "interpolated between them."
    )


def gradcam(facts: Facts, figures: Figures) -> Section:
    """Heat maps, and measures of where the heat lies."""
    measures = facts.results.table("tables/localisation.csv")
    blocks: list[Block] = []
    front = [name for name in (facts.chosen("single"), facts.baseline) if name]
    gallery = figures.take("gradcam_montage")
    if measures.empty and not gallery:
        gallery += figures.gallery("Heat maps", "gradcam_", [f"gradcam_{n}" for n in front])
        if not gallery:
            blocks.append(Note("Grad-CAM is switched off in this study's config, or not done yet."))
            return Section("gradcam", "Grad-CAM and localisation", blocks)
    if len(measures):
        frame = measures.copy()
        # Those over the correctly classified images alone, and each point of the curves, are in
        # the table's file.
        frame = frame[~frame["metric"].astype(str).str.endswith(("_correct", "_curve", *PAIRED))]
        triples = zip(frame["value"], frame["ci_low"], frame["ci_high"], strict=True)
        frame["cell"] = [value_cell(Estimate(*triple)) for triple in triples]
        frame["measure"] = [
            MEASURES[metric].title
            + ("" if pd.isna(threshold) else f", heat above {number(threshold, 2)}")
            for metric, threshold in zip(
                frame["metric"], frame.get("threshold", pd.Series(math.nan, frame.index)),
                strict=True,
            )
        ]  # fmt: skip
        wide = frame.pivot_table(
            index="model", columns="measure", values="cell", aggfunc="first", sort=False
        ).reset_index()
        numbers = frame.drop_duplicates("model").set_index("model")
        if "n_flat" in numbers:
            wide["n_flat"] = wide["model"].map(numbers["n_flat"])
        order = {name: place for place, name in enumerate([*facts.singles, *facts.ensembles])}
        order[UNIFORM] = -1
        wide["order"] = wide["model"].map(order).fillna(len(order))
        wide = wide.sort_values(["order", "model"], kind="stable")
        measured = [name for name in dict.fromkeys(frame["measure"]) if name in wide]
        explained = numbers.drop(index=UNIFORM, errors="ignore")
        flat = int(explained["n_flat"].fillna(0).sum()) if "n_flat" in explained else 0
        images = len(explained) * facts.images("test")
        verdict = heat_verdict(facts)
        if verdict:
            blocks.append(Note(verdict, "verdict"))
        text = (
            "A heat map shows where the last convolutional layer speaks for the predicted class; "
            "it says nothing on whether the prediction was right." + _grids(explained)
        )
        if images:
            text += (
                f" {plural(flat, 'map')} of {images:,} over all models are flat: no place spoke "
                "for the class. They are marked, not stretched to full heat."
            )
        blocks.append(Text([text]))
        inside = "Pointing game, IoU and Dice need known lesions. "
        if facts.study.segmented:
            inside = (
                "Heat inside the lungs can be measured in any study; pointing game, IoU and Dice "
                "need known lesions. "
            )
        blocks.append(
            table(
                "localisation",
                "Grad-CAM localisation",
                "Measures of the heat maps of the test images for each model, with "
                f"{facts.confidence} intervals over {facts.unit}s. {inside}Under "
                "deletion low is good, under insertion high. Similarity to the maps of a network "
                "with random weights should be low. The first row, uniform, is a map of the same "
                "heat everywhere in the "
                f"{'crop' if facts.study.segmented else 'image'}: what chance gives. Models in the "
                "order of their test MCC.",
                wide,
                [
                    Column("model", "Model", code=True, model=True),
                    *(Column(name, name, number) for name in measured),
                    Column("n_flat", "Flat maps", count),
                ],
                source="tables/localisation.csv",
            )
        )
        blocks += _paired_table(facts, measures)
        if not measures["metric"].astype(str).str.contains("pointing").any():
            blocks.append(
                Note("Lesion masks are not known in this study, so nothing was scored on them.")
            )
    blocks += figures.take("localisation", "faithfulness")
    blocks += gallery
    blocks += figures.gallery(
        "Heat maps of each model", "gradcam_", [f"gradcam_{name}" for name in front]
    )
    return Section("gradcam", "Grad-CAM and localisation", blocks)
