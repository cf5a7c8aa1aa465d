"""Sections on how sure the results are: paired tests, calibration, heat maps."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from multiloss.evaluation import families
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
    number,
    plural,
    signed,
    table,
    value_cell,
    yes,
)
from multiloss.report.facts import Estimate, Facts
from multiloss.report.figures import Figures


def _comparison_columns(facts: Facts) -> list[Column]:
    return [
        Column("model_a", "Model", code=True, model=True),
        Column("model_b", "against", code=True, model=True),
        Column("metric", "Metric"),
        Column("difference", "Difference", signed),
        Column("test", "Test"),
        Column("statistic", "Statistic", number),
        Column("p_value", "p", facts.p),
        Column("p_adjusted", "p, corrected", facts.p),
        Column("hypotheses", "of", count),
        Column("correction", "Correction"),
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
                + " They speak of two trained networks, not of the losses behind them: those are "
                "compared over seeds, in the section on seeds. Within each family, p values are "
                "corrected for the number of its hypotheses, as the table says; a test rejects "
                f"where the corrected value is at most {facts.alpha:g}."
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
                "corrected": test.p_adjusted,
                "of": test.hypotheses,
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
                f"n = {facts.size('test')}. Difference in {facts.metric(facts.tested).title} "
                f"(ensemble minus member) with its {facts.confidence} interval, the p value of the "
                f"permutation test by {facts.unit}, and the same corrected for the hypotheses of "
                "its family. 'Not shown' means that the "
                "data cannot tell, not that the two are equal. The interval is of each difference "
                "alone, so it can leave out 0 where the corrected test does not reject.",
                pd.DataFrame(rows),
                [
                    Column("ensemble", "Ensemble", code=True, model=True),
                    Column("member", "Best member", code=True, model=True),
                    Column("difference", "Difference", signed),
                    Column("p", "p", facts.p),
                    Column("corrected", "p, corrected", facts.p),
                    Column("of", "of", count),
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
                f"{'rejects' if rejected < 2 else 'reject'} after correction within this family."
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


def _difference_cell(row: Mapping[str, Any]) -> Cell:
    return value_cell(Estimate(row["difference"], row["ci_low"], row["ci_high"]), show=signed)
