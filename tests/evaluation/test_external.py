"""External tests beside the test split: values, planted drops, absent classes, and no say."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation
from multiloss.data.tables import external_split
from multiloss.evaluation import external
from multiloss.predictions import Predictions
from multiloss.statistics.independent import difference
from scipy.stats import binomtest
from sklearn.metrics import matthews_corrcoef
from statsmodels.stats.multitest import multipletests

CLASSES = ["normal", "bacterial", "viral"]
OPTIONS = {
    "resamples": 300,
    "interval": "auto",
    "confidence": 0.95,
    "ece_bins": 10,
    "operating_point": "youden",
    "temperature_scaling": True,
}
SIGNIFICANCE = {"alpha": 0.05, "permutations": 999}
B, C = external_split("b"), external_split("c")


def predictions(
    sets: dict[str, list[int]], skill: dict[str, tuple[float, ...]], seed: int = 0
) -> tuple[Predictions, dict[str, dict[str, Any]]]:
    """Images of each class in each split, one for each patient; `skill`: by split and model."""
    rng, rows, scores = np.random.default_rng(seed), [], []
    names = ("cce", "focal", "hinge")
    for split, counts in sets.items():
        for k, size in enumerate(counts):
            for number in range(size):
                rows.append((f"{split}-{k}-{number}", f"{split}-p{k}-{number}", split, CLASSES[k]))
                known = np.outer(skill.get(split, (1.5, 2.0, 1.0)), np.eye(3)[k])
                scores.append(known + 0.7 * rng.normal(size=3) + 0.7 * rng.normal(size=(3, 3)))
    columns = ["image_id", "patient_id", "split", "label"]
    p = np.exp(np.stack(scores, axis=1))
    models = {f"{name}-r0": simulated.entry(variant=name) for name in names}
    rows = pd.DataFrame(rows, columns=columns)
    return Predictions(rows, list(models), CLASSES, p / p.sum(axis=2, keepdims=True)), models


SETS = {"val": [8, 8, 8], "ensemble": [20, 20, 20], "test": [40, 30, 30]}
CHOSEN = pd.DataFrame({"what": ["single", "overall"], "model": ["focal-r0", "focal-r0"]})


def tables(found: Predictions, models: dict, chosen: pd.DataFrame = CHOSEN):
    _, thresholds = evaluation.operating_points(found, models, OPTIONS)
    metrics = evaluation.metrics_table(found, models, OPTIONS, 1, thresholds)
    roles = evaluation.external_roles(chosen, models, "cce")
    compared = evaluation.external_comparisons(
        found, models, chosen, roles, OPTIONS, SIGNIFICANCE, 1
    )
    return metrics, evaluation.external_table(found, metrics, models, roles), compared


def of(table: pd.DataFrame, **wanted: Any) -> pd.Series:
    for key, value in wanted.items():
        table = table[table[key] == value]
    assert len(table) == 1, (wanted, len(table))
    return table.iloc[0]


def test_planted_drop_is_found_and_none_where_none_is() -> None:
    sets = SETS | {B: [60, 60, 60], C: [60, 60, 60]}
    found, models = predictions(sets, {C: (0.3, 0.4, 0.2)})
    metrics, table, compared = tables(found, models)
    assert table.columns.tolist() == external.COLUMNS
    for split, drops in ((B, False), (C, True)):
        part = found.only(split)
        row = of(table, model="focal-r0", split=split, metric="mcc")
        mcc = matthews_corrcoef(part.y, part.of(["focal-r0"])[0].argmax(axis=1))
        assert row["value"] == pytest.approx(mcc)
        assert (row["n"], row["n_patients"], row["test_n"]) == (180, 180, 100)
        assert row["role"] == "chosen single model" and row["source"] == split[-1]
        known = metrics[metrics["ci_method"] != "binomial"]
        sides = [
            of(known, model="focal-r0", split=name, metric="mcc")[["value", "ci_low", "ci_high"]]
            for name in (split, "test")
        ]
        ends = ["difference", "difference_ci_low", "difference_ci_high"]
        np.testing.assert_allclose(row[ends].astype(float), difference(*sides))
        assert (row["difference_ci_high"] < 0) == drops
        assert row["reason"] == ""
    assert of(table, model="cce-r0", split=B, metric="mcc")["role"] == "baseline"
    assert "hinge-r0" not in set(table["model"])
    shares = of(table, split=B, metric="share_normal")
    assert (shares["value"], shares["test_value"]) == (pytest.approx(1 / 3), 0.4)
    # The size of a set moves the calibration error, so that two sets are not compared by it.
    ece = of(table, model="focal-r0", split=B, metric="ece")
    assert ece["value"] > 0 and np.isnan(ece["difference"]) and "number of images" in ece["reason"]
    assert compared["source"].tolist() == ["b", "c"]
    assert (compared["hypotheses"] == 2).all() and not compared["primary"].any()
    adjusted = multipletests(compared["p_value"], method="holm")[1]
    np.testing.assert_allclose(compared["p_adjusted"], adjusted)
    assert compared.columns.tolist() == external.COMPARISON_COLUMNS


def test_comparison_is_the_exact_sign_flip_test() -> None:
    """Two classes and accuracy-like MCC: few patients differ, so that all swaps are looked at."""
    found, models = predictions(SETS | {B: [10, 10, 10]}, {B: (9.0, 9.0, 9.0)})
    place = (found.rows["split"] == B).to_numpy().nonzero()[0]
    p = found.p.copy()
    wrong = place[:6]  # the baseline alone errs, on six patients
    p[0, wrong] = p[0, wrong][:, [1, 0, 2]]
    found = Predictions(found.rows, found.models, CLASSES, p)
    _, _, compared = tables(found, models)
    row = compared.iloc[0]
    assert row["permutations"] == 2**6 and row["model_a"] == "focal-r0"
    assert row["p_value"] == pytest.approx(binomtest(6, 6).pvalue)
    assert row["difference"] > 0 and row["ci_low"] < row["difference"] < row["ci_high"]


def test_absent_class_is_empty_with_its_reason() -> None:
    found, models = predictions(SETS | {B: [30, 30, 0]}, {})
    metrics, table, _ = tables(found, models)
    part = table[(table["model"] == "focal-r0")].set_index("metric")
    for metric in ("sensitivity_viral", "auroc_macro", "balanced_accuracy"):
        row = part.loc[metric]
        assert np.isnan(row["value"]) and row["reason"] == "no image of class 'viral'", metric
        assert np.isnan(row["difference"]) and np.isfinite(row["test_value"])
    assert np.isfinite(part.loc["mcc", "difference"])
    assert np.isfinite(part.loc["specificity_viral", "difference"])
    assert of(table, metric="share_viral")["value"] == 0
    counts = evaluation.confusion_table(found)
    assert counts.loc[counts["split"] == B, "count"].sum() == 3 * 60
    undefined = metrics[(metrics["split"] == B) & metrics["value"].isna()]
    assert (undefined["reason"] != "").all()


def test_set_of_one_class() -> None:
    found, models = predictions(SETS | {B: [0, 12, 0]}, {})
    _, table, compared = tables(found, models)
    assert of(table, model="focal-r0", metric="mcc")["reason"] == "all images are of one class"
    row = compared.iloc[0]
    assert np.isnan(row["p_value"]) and "one class" in row["reason"]
    assert row["hypotheses"] == 0 and row["reject"] == ""
    weak = evaluation.degenerate_table(found, models)
    assert "no_better_than_chance" not in set(weak.loc[weak["split"] == B, "problem"])


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ("accuracy", ""),
        ("kappa", "Cohen's kappa is undefined"),
        ("f1_macro", "F1 (macro) is undefined"),
    ],
)
def test_one_class_leaves_the_accuracy_alone(metric: str, why: str) -> None:
    found, models = predictions(SETS | {B: [0, 12, 0]}, {})
    roles = evaluation.external_roles(CHOSEN, models, "cce")
    (row,) = evaluation.external_comparisons(
        found, models, CHOSEN, roles, OPTIONS, SIGNIFICANCE | {"metric": metric}, 1
    ).to_dict("records")
    assert row["metric"] == metric and np.isnan(row["p_value"]) == bool(why)
    assert row["reason"] == (f"all images are of one class: {why}" if why else "")


def test_failed_and_collapsed_models_are_gaps() -> None:
    found, models = predictions(SETS | {B: [20, 20, 20]}, {})
    p = found.p.copy()
    p[0] = [0.8, 0.1, 0.1]
    _, table, compared = tables(Predictions(found.rows, found.models, CLASSES, p), models)
    assert "one class only" in of(table, model="cce-r0", metric="mcc")["reason"]
    assert "counts as 0" in compared.iloc[0]["reason"] and compared.iloc[0]["difference"] > 0
    p[0] = np.nan
    _, table, compared = tables(Predictions(found.rows, found.models, CLASSES, p), models)
    assert "training failed" in of(table, model="cce-r0", metric="mcc")["reason"]
    assert "training failed" in compared.iloc[0]["reason"] and np.isnan(compared.iloc[0]["p_value"])


def test_without_external_tests_or_with_the_baseline_chosen_there_is_nothing() -> None:
    found, models = predictions(SETS, {})
    _, table, compared = tables(found, models)
    assert table.empty and compared.empty and table.columns.tolist() == external.COLUMNS
    found, models = predictions(SETS | {B: [9, 9, 9]}, {})
    chosen = CHOSEN.assign(model="cce-r0")
    _, table, compared = tables(found, models, chosen)
    assert compared.empty and set(table["role"]) == {"class share", "chosen single model, baseline"}


def test_roles_of_models() -> None:
    models = {f"{name}-r{run}": simulated.entry(variant=name, replicate=run)
              for run in (0, 1) for name in ("cce", "focal")}  # fmt: skip
    models["average-top2-r1"] = simulated.entry("ensemble", replicate=1, family="average-top2")
    chosen = pd.DataFrame(
        {"what": ["single", "ensemble", "overall"],
         "model": ["focal-r0", "average-top2-r1", "average-top2-r1"]}
    )  # fmt: skip
    # The baseline is of the replicate of what was chosen of all.
    assert evaluation.external_roles(chosen, models, "cce") == {
        "focal-r0": "chosen single model",
        "average-top2-r1": "chosen ensemble",
        "cce-r1": "baseline",
    }


def test_external_labels_reach_nothing_of_the_study() -> None:
    sets = SETS | {B: [20, 20, 20]}
    found, models = predictions(sets, {})
    rows = found.rows.copy()
    own = rows["split"] == B
    rows.loc[own, "label"] = rows.loc[own, "label"].to_numpy()[::-1]
    other = Predictions(rows, found.models, CLASSES, found.p)
    alone = found.rows["split"] != B
    without = Predictions(found.rows[alone], found.models, CLASSES, found.p[:, alone.to_numpy()])
    expected = _of_the_study(without, models)
    for each in (found, other):
        for before, after in zip(expected, _of_the_study(each, models), strict=True):
            pd.testing.assert_frame_equal(before, after, check_dtype=False)


def _of_the_study(found: Predictions, models: dict) -> list[pd.DataFrame]:
    """The tables that may not know of external tests, or their rows that are of the study."""
    everything, entries = evaluation.with_scaled(found, models, OPTIONS)
    points, thresholds = evaluation.operating_points(everything, entries, OPTIONS)
    metrics = evaluation.metrics_table(everything, entries, OPTIONS, 1, thresholds)
    temperatures = evaluation.with_temperatures(found, models)[2]
    assert set(metrics["split"]) >= {"val", "ensemble", "test"}
    own = [table[table["split"] != B].reset_index(drop=True) for table in (
        metrics,
        evaluation.confusion_table(everything),
        evaluation.degenerate_table(found, models),
    )]  # fmt: skip
    return [
        *own,
        points,
        pd.DataFrame([temperatures]),
        evaluation.curves_table(found, OPTIONS, 1),
        evaluation.rank_table(found, models, OPTIONS, 1),
        evaluation.reliability_table(everything, entries, OPTIONS),
    ]


def test_the_metric_of_the_study_compares_on_external_tests_too() -> None:
    found, models = predictions(SETS | {B: [20, 20, 20]}, {})
    roles = evaluation.external_roles(CHOSEN, models, "cce")
    compared = evaluation.external_comparisons(
        found, models, CHOSEN, roles, OPTIONS, SIGNIFICANCE | {"metric": "accuracy"}, 1
    )
    part = found.only(B)
    right = {
        name: (part.of([name])[0].argmax(axis=1) == part.y).mean()
        for name in ("focal-r0", "cce-r0")
    }
    row = of(compared, split=B)
    assert row["metric"] == "accuracy"
    assert row["difference"] == pytest.approx(right["focal-r0"] - right["cce-r0"])
    # The interval is that of the test, so that the two cannot contradict each other.
    assert (row["ci_low"] > 0 or row["ci_high"] < 0) == (row["p_value"] <= 0.05)
