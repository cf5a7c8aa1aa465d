"""Sections on how sure the results are: paired tests, calibration, heat maps."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from multiloss.evaluation import families
from multiloss.gradcam.localisation import AGAINST_BASELINE, GAIN, MEASURES, PAIRED, UNIFORM
from multiloss.report.answer import calibration_text, method_caveats
from multiloss.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Note,
    Section,
    Text,
    count,
    is_true,
    listed,
    metric_columns,
    number,
    plural,
    signed,
    table,
    value_cell,
    yes,
)
from multiloss.report.facts import Estimate, Facts
from multiloss.report.figures import Figures
from multiloss.statistics.metrics import BRIER, METRICS, shown


def _comparison_columns(facts: Facts) -> list[Column]:
    return [
        Column("model_a", "Model", code=True, model=True),
        Column("model_b", "against", code=True, model=True),
        Column("metric", "Metric"),
        Column("difference", "Difference", signed),
        Column("test", "Test"),
        Column("statistic", "Statistic", number),
        Column("p_value", "p", facts.p),
        Column("p_adjusted", "p, Holm", facts.p),
        Column("reject", "Rejects", yes),
        Column("reason", "Remark"),
    ]


def _independence(facts: Facts) -> str:
    """Whether the tests respect that images of one patient are alike."""
    if facts.unit == "image":
        return (
            ". Patients are unknown, so every test takes images as independent, and p values may "
            "be too small."
        )
    known = "a known" if facts.unknown("test") else "one"
    return (
        f", so that several images of {known} patient count as what they are. McNemar's test takes "
        "images for independent and is shown for comparison only."
    )


def significance(facts: Facts, figures: Figures) -> Section:
    """Every paired test, family by family."""
    tests = facts.significance
    blocks: list[Block] = []
    if tests.empty:
        blocks.append(Note("The paired tests of this study are not there."))
        return Section("significance", "Significance", blocks)
    blocks.append(
        Text(
            [
                "All tests compare two models on the same test images. The primary one flips the "
                f"sign of each {facts.unit}'s contribution to the difference"
                + (
                    f" (up to {facts.permutations:,} times, or in all ways there are)"
                    if facts.permutations
                    else ""
                )
                + _independence(facts)
                + " Within each "
                "family, p values are corrected by Holm's method; a test rejects where the "
                f"corrected value is at most {facts.alpha:g}."
            ]
        )
    )
    ensemble_tests = facts.against_best_member()
    if ensemble_tests:
        blocks.append(Heading("Ensembles against their best member"))
        rows = [
            {
                "ensemble": test.a,
                "member": test.b,
                "difference": value_cell(
                    Estimate(test.difference, test.low, test.high), show=signed
                ),
                "p": test.p_value,
                "holm": test.p_adjusted,
                "verdict": {"better": "better", "worse": "worse", "open": "not shown"}[test.verdict]
                if facts.tells(test)
                else "neither tells classes apart",
            }
            for test in ensemble_tests
        ]
        blocks.append(
            table(
                "ensemble-verdicts",
                "Is the ensemble better than its best member?",
                f"n = {facts.size('test')}. "
                "Difference in MCC on the test split (ensemble minus member) with its "
                f"{facts.confidence} interval, the p value of the permutation test by "
                f"{facts.unit}, and the same after Holm correction. 'Not shown' means that the "
                "data cannot tell, not that the two are equal. The interval is of each difference "
                "alone, so it can leave out 0 where the corrected test does not reject.",
                pd.DataFrame(rows),
                [
                    Column("ensemble", "Ensemble", code=True, model=True),
                    Column("member", "Best member", code=True, model=True),
                    Column("difference", "Difference in MCC", signed),
                    Column("p", "p", facts.p),
                    Column("holm", "p, Holm", facts.p),
                    Column("verdict", "Better?"),
                ],
                source="tables/significance.csv",
            )
        )
    blocks += figures.take("significance_heatmap")
    frame = tests.copy()
    if "family" not in frame:
        frame["family"] = "all tests"
    frame["difference"] = [_difference_cell(row) for row in frame.to_dict("records")]
    frame["family"] = frame["family"].astype(str)
    frame["metric"] = [facts.metric(name).title for name in frame["metric"]]
    frame["test"] = frame["test"].map(families.test_label)
    blocks += [
        Heading("All tests"),
        Text(
            [
                "Family by family, smallest p value first. Differences are of the first model "
                "minus the second; a row without a second model compares all models at once."
            ]
        ),
    ]
    columns = _comparison_columns(facts)
    for position, (family, part) in enumerate(frame.groupby("family", sort=False, dropna=False)):
        made = int(part["p_value"].notna().sum())
        rejected = int(part["reject"].map(is_true).sum())
        if made:
            verdict = (
                f"{plural(made, 'test')}; {rejected or 'none'} "
                f"{'rejects' if rejected < 2 else 'reject'} after Holm correction within this "
                "family."
            )
        else:
            verdict = (
                f"None of {plural(len(part), 'comparison')} could be made; the remark says why."
            )
        blocks.append(
            table(
                f"family-{position}",
                families.label(family, facts.unit),
                f"n = {facts.size('test')}. {verdict}",
                part.sort_values("p_value", kind="stable"),
                columns,
                source="tables/significance.csv",
                folded=True,
            )
        )
    return Section("significance", "Significance", blocks)


VERSIONS = {
    "temperature": "ECE, temperature-scaled",
    "prior_corrected": "ECE, class shares corrected",
    "temperature_prior_corrected": "ECE, both",
}


def calibration(facts: Facts, figures: Figures) -> Section:
    """Whether probabilities can be believed, and whether the calibrated losses help."""
    blocks: list[Block] = []
    if not facts.singles:
        blocks.append(Note("No model has been evaluated yet."))
        return Section("calibration", "Calibration", blocks)
    blocks += _calibration_answer(facts)
    blocks.append(Note(_shares_text(facts), "warning"))
    scores = facts.results.table("tables/calibration_scores.csv")
    versions: dict[tuple[str, str], Cell] = {}
    if "version" in scores.columns:
        for row in scores[scores["metric"] == "ece"].to_dict("records"):
            found = Estimate(row["value"], row["ci_low"], row["ci_high"])
            versions[row["model"], row["version"]] = value_cell(found)
    models = [*facts.singles, *facts.ensembles, *facts.seed_ensembles]
    rows = []
    for model in models:
        row: dict[str, Any] = {"model": model, "order": facts.value(model, "ece").value}
        for metric in families.CALIBRATION:
            found = facts.value(model, metric)
            row[metric] = pd.NA if math.isnan(found.value) else value_cell(found)
        row |= {version: versions.get((model, version), pd.NA) for version in VERSIONS}
        rows.append(row)
    frame = pd.DataFrame(rows).sort_values("order", kind="stable", na_position="last")
    columns = [Column("model", "Model", code=True, model=True)]
    columns += metric_columns(METRICS[metric] for metric in families.CALIBRATION)
    columns += [Column(version, label, number) for version, label in VERSIONS.items()]
    bins = facts.config.get("evaluation", {}).get("ece_bins", "")
    blocks.append(
        table(
            "calibration",
            "Calibration on the test split",
            f"n = {facts.size('test')}; "
            f"{facts.confidence} intervals over {facts.unit}s. ECE is the mean distance between "
            "confidence and the proportion of correct predictions"
            + (f" over {bins} bins with equal numbers of images" if bins else "")
            + "; in a finite sample it is never 0, even for a perfectly calibrated model. "
            "Temperatures are fitted on the ensemble split. All columns are better when smaller. "
            "Lowest raw ECE first." + method_caveats(facts, models),
            frame,
            columns,
            source="tables/calibration_scores.csv",
        )
    )
    blocks += figures.take("reliability", "calibration")
    blocks.append(_brier(facts, models))
    return Section("calibration", "Calibration", blocks)


def _shares_text(facts: Facts) -> str:
    """What of the class shares moves calibration in this study."""
    if facts.config["classification"]["class_weights"] == "none":
        text = (
            "Besides the loss, class shares move calibration: probabilities are tilted towards "
            "the classes that are more frequent in training than in the test split."
        )
    else:
        text = (
            "Two things besides the loss can move calibration. Class weights make rare classes "
            "count more in training, so probabilities are tilted towards them by design. And the "
            "class shares of the test split may differ from those that training saw."
        )
    return text + (
        " Values that are corrected for the class shares therefore stand beside the raw ones; the "
        "correction uses the test split's own shares, so it describes and is no result."
    )


def _brier(facts: Facts, models: list[str]) -> Block:
    rows, metrics = [], ["brier", *shown(BRIER)]
    for model in models:
        row: dict[str, Any] = {"model": model}
        for metric in metrics:
            found = facts.value(model, metric)
            row[metric] = pd.NA if math.isnan(found.value) else value_cell(found)
        rows.append(row)
    return table(
        "brier",
        "Parts of the Brier score",
        "Brier score = reliability (miscalibration, lower is better) - resolution (how far the "
        "model tells cases apart, higher is better) + uncertainty (of the classes themselves, the "
        "same for all models), up to a small rest within bins." + method_caveats(facts, models),
        pd.DataFrame(rows),
        [
            Column("model", "Model", code=True, model=True),
            *metric_columns(METRICS[metric] for metric in metrics),
        ],
        source="tables/metrics.csv",
        folded=True,
    )


def _calibration_answer(facts: Facts) -> list[Block]:
    """'Are the calibrated losses better calibrated?' by pairs of a loss and its plain form."""
    text = calibration_text(facts)
    raw = facts.calibration_pairs("raw")
    unpaired = [f"{loss} ({why})" for loss, why in facts.without_plain_form().items()]
    alone = f" Without a plain form to compare with: {listed(unpaired)}." if unpaired else ""
    if text is None:
        return [
            Note(
                "This study compares no loss with its calibrated form, so it cannot say whether "
                f"the calibration term helps.{alone}"
            )
        ]
    corrected = facts.calibration_pairs("prior_corrected")
    void = facts.uncalibrated(raw)
    rows = [
        {
            "loss": loss,
            "plain": row["plain"],
            "difference": _difference_cell(row),
            "p": row["p_value"],
            "holm": row["p_adjusted"],
            "corrected": _difference_cell(corrected.loc[loss])
            if loss in corrected.index
            else pd.NA,
            "remark": "left out: a run tells no classes apart" if loss in void else pd.NA,
        }
        for loss, row in raw.iterrows()
    ]
    return [
        Note(
            f"Are the calibrated losses better calibrated than their plain forms? {text}{alone}",
            "verdict",
        ),
        table(
            "calibration-pairs",
            "Each calibrated loss against its plain form",
            f"n = {facts.size('test')}. Difference "
            f"in ECE, calibrated minus plain, with its paired {facts.confidence} interval: "
            "negative where the calibration term helps."
            + (" Means over the seeds." if facts.replicates > 1 else "")
            + f" Holm's correction goes over the {len(raw)} rows; in the section Significance the "
            "same tests are corrected over all measures of calibration together."
            " On the right the same for probabilities that were corrected for the class shares.",
            pd.DataFrame(rows),
            [
                Column("loss", "Loss", code=True, model=True),
                Column("plain", "Plain form", code=True, model=True),
                Column("difference", "Difference in ECE", number),
                Column("p", "p", facts.p),
                Column("holm", "p, Holm", facts.p),
                Column("corrected", "Difference, class shares corrected", number),
                Column("remark", "Remark"),
            ],
            source="tables/calibration_comparisons.csv",
        ),
    ]


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
