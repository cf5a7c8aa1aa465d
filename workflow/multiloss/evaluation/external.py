"""How the chosen models do on external tests: tables/external.csv, external_comparisons.csv.

External tests report and decide nothing: models, members, weights and thresholds are those of the
study, and these tables are the only ones that set an external test against the test split.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from multiloss.data.tables import external_source
from multiloss.evaluation.resamples import (
    Models,
    Options,
    failed,
    missing,
    splits_of,
)
from multiloss.job.seeds import derive
from multiloss.predictions import Predictions
from multiloss.statistics import metrics, paired
from multiloss.statistics.bootstrap import PUBLISHED
from multiloss.statistics.independent import difference
from multiloss.statistics.mcc import mcc
from multiloss.statistics.metrics import PRIMARY

OF_ALL = (PRIMARY, "balanced_accuracy", "auroc_macro", "log_loss", "brier", "ece")
OF_CLASS = ("sensitivity", "specificity")
# Of metrics whose expected value depends on the number of images, so that two sets differ by that.
BY_SIZE = {"ece": "depends on the number of images: not compared between sets"}
FAMILY = "chosen_vs_baseline_external"
SHARE = "share_"

COLUMNS = [
    "model", "kind", "role", "source", "split", "metric", "value", "ci_low", "ci_high",
    "test_value", "test_ci_low", "test_ci_high", "difference", "difference_ci_low",
    "difference_ci_high", "n", "n_patients", "test_n", "test_n_patients", "reason",
]  # fmt: skip
COMPARISON_COLUMNS = [
    "model_a", "model_b", "source", "split", "metric", "difference", "ci_low", "ci_high", "test",
    "statistic", "p_value", "p_adjusted", "reject", "family", "hypotheses", "correction", "primary",
    "permutations", "n", "n_patients", "reason",
]  # fmt: skip


def external_roles(chosen: pd.DataFrame, models: Models, baseline: str) -> dict[str, str]:
    """The models that are looked at outside, with what they are in words.

    The chosen single model, the chosen ensemble (`chosen`: ensembles/chosen.csv), and the variant
    `baseline`, its run of the replicate of the model that was chosen of all.
    """
    names = dict(zip(chosen["what"], chosen["model"], strict=True))
    said = {"single": "chosen single model", "ensemble": "chosen ensemble"}
    wanted = [(names[what], words) for what, words in said.items() if what in names]
    overall = names.get("overall", names.get("single", names.get("ensemble")))
    replicate = (models[overall]["replicate"] if overall in models else None) or 0
    wanted += [
        (model, "baseline")
        for model, entry in models.items()
        if entry["kind"] == "single"
        and (entry["variant"], entry["replicate"]) == (baseline, replicate)
    ]
    found: dict[str, list[str]] = {}
    for model, words in wanted:
        if model in models:
            found.setdefault(model, []).append(words)
    return {model: ", ".join(words) for model, words in found.items()}


def external_table(
    found: Predictions, table: pd.DataFrame, models: Models, of: Mapping[str, str]
) -> pd.DataFrame:
    """The values of some models on every external test, beside those on the test split.

    `table`: tables/metrics.csv, whose values and intervals these are; `of`: as `external_roles`.
    `difference` is external minus test, its interval that of two independent groups of patients
    (`statistics.independent.difference`). A value that is not defined on a set, such as one that
    needs a class without images, is NaN with the reason. Rows without a model tell the shares of
    the classes (`share_CLASS`), which are counts and have no interval.
    """
    classes = found.classes
    wanted = [*OF_ALL, *(metrics.CLASS_METRICS[m].of(c) for m in OF_CLASS for c in classes)]
    table = table[(table["ci_method"] != PUBLISHED) & table["model"].isin(of)]
    rows_of = {
        (row["model"], row["split"], row["metric"]): row
        for row in table[table["metric"].isin(wanted)].to_dict("records")
    }
    test, rows = found.only("test"), []
    for split in _external(found):
        part = found.only(split)
        about = {"source": external_source(split), "split": split} | _sizes(part, test)
        for label in classes:
            shares = [float((own.rows["label"] == label).mean()) for own in (part, test)]
            rows.append(
                {"model": "", "kind": "", "role": "class share", "metric": SHARE + label, **about}
                | {"value": shares[0], "test_value": shares[1]}
                | {"difference": shares[0] - shares[1], "reason": "a count: no interval"}
            )
        for model, role in of.items():
            known = {"model": model, "kind": models[model]["kind"], "role": role}
            for metric in wanted:
                here, there = (rows_of[model, name, metric] for name in (split, "test"))
                rows.append(known | {"metric": metric} | about | _side_by_side(here, there))
    return pd.DataFrame(rows, columns=COLUMNS)


def _side_by_side(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """One metric of one model on an external test and on the test split."""
    ends = ("value", "ci_low", "ci_high")
    values = {end: here[end] for end in ends} | {f"test_{end}": there[end] for end in ends}
    metric, reasons = here["metric"], []
    if not np.isfinite(here["value"]):
        reasons.append(here["reason"])
    if not np.isfinite(there["value"]):
        reasons.append(f"test: {there['reason']}")
    apart = (nan, nan, nan)
    if metric in BY_SIZE:
        reasons.append(BY_SIZE[metric])
    else:
        sides = [tuple(row[end] for end in ends) for row in (here, there)]
        apart = tuple(float(end) for end in difference(*sides))
    if np.isfinite(apart[0]) and not np.isfinite(apart[1:]).all():
        reasons.append("one of the two has no interval")
    names = ("difference", "difference_ci_low", "difference_ci_high")
    return values | dict(zip(names, apart, strict=True)) | {"reason": "; ".join(reasons)}


def external_comparisons(
    found: Predictions,
    models: Models,
    chosen: pd.DataFrame,
    of: Mapping[str, str],
    options: Options,
    significance: Options,
    seed: int,
) -> pd.DataFrame:
    """The model that was chosen of all against the baseline, on each external test by itself.

    Secondary: the study's question is answered on the test split. One hypothesis a set, by
    `significance.metric` and sign flips by patient, with the interval of that test; Holm over the
    sets. No row where the baseline itself was chosen.
    """
    names = dict(zip(chosen["what"], chosen["model"], strict=True))
    first = names.get("overall", names.get("single", names.get("ensemble")))
    second = next((model for model, role in of.items() if "baseline" in role), None)
    splits = _external(found)
    if first is None or second is None or first == second:
        return pd.DataFrame(columns=COMPARISON_COLUMNS)
    permutations = paired.permutations_needed(
        len(splits), significance["alpha"], significance["permutations"]
    )
    metric, rows = significance.get("metric", PRIMARY), []
    for split in splits:
        part = found.only(split).subset([first, second])
        result = _compare(part, models, split, metric, options, permutations, seed)
        rows.append(
            {
                "model_a": first,
                "model_b": second,
                "source": external_source(split),
                "split": split,
                "metric": metric,
                "difference": result.difference,
                "ci_low": result.ci_low,
                "ci_high": result.ci_high,
                "test": "permutation",
                "statistic": result.statistic,
                "p_value": result.p_value,
                "family": FAMILY,
                "correction": "Holm",
                "primary": False,
                "permutations": getattr(result, "permutations", ""),
                "n": len(part.rows),
                "n_patients": len(set(part.patients)),
                "reason": result.reason,
            }
        )
    table = pd.DataFrame(rows, columns=COMPARISON_COLUMNS)
    table["p_adjusted"] = paired.holm(table["p_value"].to_numpy(float))
    known = table["p_adjusted"].notna()
    table["hypotheses"] = int(known.sum())
    table["reject"] = (table["p_adjusted"] <= significance["alpha"]).astype(object).where(known, "")
    return table


def _compare(
    part: Predictions,
    models: Models,
    split: str,
    metric: str,
    options: Options,
    permutations: int,
    seed: int,
) -> paired.Result:
    """The first of two models minus the second on one external test."""
    first, second = part.models
    for model, p in zip(part.models, part.p, strict=True):
        if failed(p):
            why = f"{model} has {missing(models[model])}"
            return paired.Result(nan, nan, nan, reason=why)
    # What is defined with one class alone: the accuracy, which is then that class's recall.
    if metric != "accuracy" and len(set(part.y.tolist())) == 1:
        why = f"all images are of one class: {metrics.title(metric, part.classes)} is undefined"
        return paired.Result(nan, nan, nan, reason=why)
    a, b = part.p.argmax(axis=2)
    rng = np.random.default_rng(derive(seed, "permutation", split, first, second))
    tested = paired.permutation_test(
        part.y,
        a,
        b,
        part.patients,
        len(part.classes),
        permutations,
        rng,
        (metric,),
        options["confidence"],
    )[metric]
    if metric == PRIMARY and any(np.isnan(mcc(part.y, p)) for p in part.p):
        return replace(tested, reason="one model predicts one class only: its MCC counts as 0")
    return tested


def _external(found: Predictions) -> list[str]:
    return [split for split in splits_of(found) if external_source(split) is not None]


def _sizes(part: Predictions, test: Predictions) -> dict[str, int]:
    return {
        "n": len(part.rows),
        "n_patients": len(set(part.patients)),
        "test_n": len(test.rows),
        "test_n_patients": len(set(test.patients)),
    }
