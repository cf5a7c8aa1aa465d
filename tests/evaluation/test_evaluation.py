"""The tables: their columns, their numbers against direct computation, and awkward input."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation
from multiloss.data.tables import SPLITS
from multiloss.job.errors import UserError
from multiloss.losses import calibrated
from multiloss.predictions import Predictions
from multiloss.statistics import degenerate, metrics
from multiloss.statistics.bootstrap import binomial_interval
from sklearn.metrics import matthews_corrcoef, precision_recall_curve, roc_curve
from statsmodels.stats.proportion import proportion_confint

CLASSES = ["normal", "bacterial", "viral"]
OPTIONS = {
    "resamples": 200,
    "interval": "auto",
    "confidence": 0.95,
    "ece_bins": 10,
    "operating_point": "youden",
    "temperature_scaling": True,
}


def study(
    losses: tuple[str, ...] = ("cce", "focal"),
    sizes: tuple[int, int, int] = (30, 40, 60),
    seed: int = 0,
    skill: float = 1.5,
) -> tuple[Predictions, dict[str, dict[str, Any]]]:
    """Predictions of some single models on three splits, two images for each patient."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    split = np.repeat(SPLITS[1:], sizes)
    y = np.arange(n) // 2 % 3
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(n)],
            "patient_id": [f"p{k // 2}" for k in range(n)],
            "split": split,
            "label": [CLASSES[k] for k in y],
        }
    )
    scores = rng.normal(size=(len(losses), n, 3)) + skill * np.eye(3)[y]
    p = np.exp(scores)
    models = {f"{loss}-r0": simulated.entry(variant=loss) for loss in losses}
    return Predictions(rows, list(models), CLASSES, p / p.sum(axis=2, keepdims=True)), models


def row(table: pd.DataFrame, **wanted: Any) -> pd.Series:
    part = table
    for key, value in wanted.items():
        part = part[part[key] == value]
    assert len(part) == 1, (wanted, len(part))
    return part.iloc[0]


def test_metrics_table_has_every_metric_of_every_model_and_split() -> None:
    found, models = study()
    points, thresholds = evaluation.operating_points(found, models, OPTIONS)
    table = evaluation.metrics_table(found, models, OPTIONS, 1, thresholds)
    keys = table[table["ci_method"] != "binomial"][["model", "split", "metric"]]
    assert not keys.duplicated().any()
    assert len(keys) == 2 * 3 * len(metrics.names(CLASSES))
    test = found.only("test")
    for model, p in zip(test.models, test.p, strict=True):
        values = row(table, model=model, split="test", metric="accuracy")
        assert values["value"] == pytest.approx((p.argmax(1) == test.y).mean())
        assert values["ci_low"] < values["value"] < values["ci_high"]
        assert (values["n"], values["n_patients"]) == (60, 30)
        both = table[(table["model"] == model) & (table["split"] == "test")]
        both = both[both["metric"] == "mcc"]
        assert list(both["ci_method"]) == ["transformed", "binomial"]
        assert both["value"].nunique() == 1
        assert both["value"].iloc[0] == pytest.approx(matthews_corrcoef(test.y, p.argmax(1)))
        point = row(points, model=model, **{"class": "viral"})
        called = p[:, 2] >= point["threshold"]
        sensitivity = row(table, model=model, split="test", metric="sensitivity_viral")["value"]
        assert sensitivity == pytest.approx(called[test.y == 2].mean())
    assert (points["split"] == "ensemble").all() and (points["n"] == 40).all()


def test_operating_points_by_patient_are_of_any_image() -> None:
    found, models = study(("cce", "failed"))
    # Some patients have images of two classes.
    test = np.flatnonzero(found.rows["split"] == "test")
    found.rows.loc[test[:10:2], "label"] = "viral"
    found.p[1] = np.nan
    points, thresholds = evaluation.operating_points(found, models, OPTIONS)
    table = evaluation.by_patient(points, found, OPTIONS)
    images = table[table["unit"] == "image"]
    pd.testing.assert_frame_equal(images[points.columns], points, check_dtype=False)
    assert images["sensitivity_low"].isna().all()
    patients = table[table["unit"] == "patient"].set_index(["model", "class"])
    assert len(patients) == 6 and (patients["split"] == "test").all()
    part = found.only("test")
    for k, name in enumerate(CLASSES):
        own, hits, calls = patients.loc["cce-r0", name], [], []
        for patient in dict.fromkeys(part.patients):
            rows = part.patients == patient
            hits.append((part.y[rows] == k).any())
            calls.append((part.p[0][rows, k] >= thresholds["cce-r0"][k]).any())
        hits, calls = np.array(hits), np.array(calls)
        assert (own["n"], own["n_positive"]) == (30, hits.sum())
        for rate, right in (("sensitivity", calls[hits]), ("specificity", ~calls[~hits])):
            assert own[rate] == pytest.approx(right.mean())
            ends = proportion_confint(right.sum(), len(right), method="wilson")
            assert (own[f"{rate}_low"], own[f"{rate}_high"]) == pytest.approx(ends)
    gone = patients.loc["failed-r0"]
    assert gone["sensitivity"].isna().all() and (gone["reason"] == evaluation.FAILED).all()
    # With one image of each patient there is nothing to add.
    alone = found.rows.assign(patient_id=[f"q{k}" for k in range(len(found.rows))])
    same = evaluation.by_patient(
        points, Predictions(alone, found.models, CLASSES, found.p), OPTIONS
    )
    assert list(same["unit"].unique()) == ["image"] and list(same.columns) == list(table.columns)


def test_values_fitted_on_their_own_split_say_so() -> None:
    found, models = study(("cce", "averaged"))
    # Nothing is fitted in an average, but its members were chosen.
    models["averaged-r0"] |= {"kind": "ensemble", "method": "simple_average", "k": 2}
    scaled, entries, _ = evaluation.with_temperatures(found, models)
    everything, entries = evaluation.join(found, scaled), entries | models
    _, thresholds = evaluation.operating_points(everything, entries, OPTIONS)
    table = evaluation.metrics_table(everything, entries, OPTIONS, 1, thresholds)
    told = table["reason"].str.contains(evaluation.FLATTERED)
    assert set(table.loc[told, "split"]) == {"ensemble"}
    own = table[told & (table["model"] == "cce-r0")]
    assert set(own["metric"].str.partition("_")[0]) == {"sensitivity", "specificity"}
    part = table[(table["split"] == "ensemble") & (table["model"] != "cce-r0")]
    assert told[part.index][part["value"].notna()].all()


def test_val_flatters_where_it_has_a_say_and_the_chosen_single_where_it_was_chosen() -> None:
    found, models = study(("cce", "focal", "head"))
    models["head-r0"] |= {"kind": "ensemble", "method": "model_level", "level": "model", "k": 2}
    assert evaluation.flattered_models(models, {"focal-r0"}, ()) == {
        "val": set(),
        "ensemble": {"focal-r0", "head-r0"},
    }
    scaled = {"head-r0-temperature": models["head-r0"] | {"scaled_from": "head-r0"}}
    heads = evaluation.flattered_models(models | scaled, (), ["head-r0"])
    assert heads["val"] == {"head-r0", "head-r0-temperature"}
    flattered = {"val": {"cce-r0"}, "ensemble": {"focal-r0"}}
    table = evaluation.metrics_table(found, models, OPTIONS, 1, flattered=flattered)
    told = table[table["value"].notna() & table["reason"].str.contains(evaluation.FLATTERED)]
    assert set(zip(told["model"], told["split"], strict=True)) == {
        ("cce-r0", "val"),
        ("focal-r0", "ensemble"),
    }
    part = table[(table["model"] == "cce-r0") & (table["split"] == "val") & table["value"].notna()]
    assert part["reason"].str.contains(evaluation.FLATTERED).all()


def test_intervals_by_rank_are_marked_close_to_one_where_few_patients_have_the_class() -> None:
    found, models = study(("cce",), sizes=(30, 40, 300), skill=3.0)
    table = evaluation.metrics_table(found.only("test"), models, OPTIONS, 1)
    table = table[(table["ci_method"] != "binomial") & table["value"].notna()]
    marked = table["reason"].str.contains(evaluation.NEAR_ONE)
    drawn = table["ci_method"].isin(["transformed", "percentile"])
    by_rank = table["metric"].str.match("auroc|auprc")
    assert (marked == ((table["value"] >= 0.98) & by_rank & drawn)).all()
    by_metric = table.set_index("metric")
    assert by_metric["value"]["auroc"] > 0.98 > by_metric["value"]["mcc"]
    text = "near the edge of its range with 50 patients of {}: the interval may be too narrow"
    assert by_metric["reason"]["auroc"] == text.format("the smallest class")
    of_class = table[marked & table["metric"].str.match("auroc_(normal|bacterial|viral)")]
    assert len(of_class) and (of_class["reason"] == text.format("the class")).all()
    # 110 patients of each class.
    many, models = study(("cce",), sizes=(30, 40, 660), skill=3.0)
    table = evaluation.metrics_table(many.only("test"), models, OPTIONS, 1)
    assert not table["reason"].str.contains(evaluation.NEAR_ONE).any()


def test_a_drawn_test_split_makes_intervals_conditional_on_its_class_mix() -> None:
    found, models = study(("cce",))
    _, thresholds = evaluation.operating_points(found, models, OPTIONS)
    arguments = found, models, OPTIONS, 1, thresholds
    assert (evaluation.metrics_table(*arguments)["conditional_on"] == "").all()
    table = evaluation.metrics_table(*arguments, mixed=["test"])
    assert (table.loc[table["split"] != "test", "conditional_on"] == "").all()
    told = table[table["conditional_on"] == "class mix"]
    assert {"accuracy", "mcc", "brier", "log_loss", "precision_viral", "auroc"} <= set(
        told["metric"]
    )
    # Of one class alone, or all classes alike: the shares of the classes do not matter.
    free = {"balanced_accuracy", "recall_macro", "recall_viral", "sensitivity_viral"}
    assert not free & set(told["metric"])
    assert set(told["ci_method"]) <= {"transformed", "percentile", "wilson"}


def test_few_effective_patients_are_told_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    found, models = study(("cce",), sizes=(120, 120, 120))
    assert evaluation.metrics_table(found, models, OPTIONS, 1)["n_effective"].unique() == [60.0]
    assert "Few patients" not in caplog.text
    rows = found.rows["patient_id"].to_numpy().copy()
    rows[240:276] = rows[240]
    heavy = Predictions(found.rows.assign(patient_id=rows), found.models, found.classes, found.p)
    table = evaluation.metrics_table(heavy, models, OPTIONS, 1)
    assert table.columns[-2:].to_list() == ["n_effective", "conditional_on"]
    # 36 images of one patient and 42 patients with two each.
    expected = 120**2 / (36**2 + 42 * 4)
    assert table.loc[table["split"] == "test", "n_effective"].unique() == pytest.approx(expected)
    (warned,) = [r.message for r in caplog.records if "Few patients" in r.message]
    assert warned == (
        "Few patients decide on the intervals of: test (43 patients tell as much as 9.8 of equal "
        "size, one has 30% of the images)"
    )


def test_bca_is_the_same_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    found, models = study(("cce",))
    options = OPTIONS | {"interval": "bca"}
    whole = evaluation.metrics_table(found, models, options, 1)
    monkeypatch.setattr("multiloss.evaluation.intervals.JACKKNIFE_ELEMENTS", 300)
    pd.testing.assert_frame_equal(whole, evaluation.metrics_table(found, models, options, 1))


def test_votes_are_marked_where_probabilities_are_judged() -> None:
    found, models = study(("cce", "vote"))
    models["vote-r0"] |= {"kind": "ensemble", "method": "majority_vote", "k": 2}
    table = evaluation.metrics_table(found.only("test"), models, OPTIONS, 1)
    marked = table[table["reason"].str.contains("shares of votes")]
    assert set(marked["model"]) == {"vote-r0"}
    assert set(marked["metric"]) == {
        "log_loss", "brier", "brier_reliability", "brier_resolution", "brier_within_bin", "ece",
        "classwise_ece", *(f"ece_{name}" for name in CLASSES),
    }  # fmt: skip
    uniform = np.full(3, 1 / 3)
    scores, _ = evaluation.calibration_tables(
        found, models, OPTIONS, 1, dict.fromkeys(models, uniform), {}
    )
    votes = scores["reason"].str.contains("shares of votes")
    assert set(scores.loc[votes, "model"]) == {"vote-r0"}
    assert votes[(scores["model"] == "vote-r0") & (scores["metric"] == "ece")].all()


def test_degenerate_models_by_hand() -> None:
    """Ten images a split: 8 of class 0, 1 of 1, 1 of 2 on the test; 7, 2, 1 on the ensemble."""
    labels = {"val": [0] * 10, "ensemble": [0] * 7 + [1] * 2 + [2], "test": [0] * 8 + [1, 2]}
    y = np.concatenate(list(labels.values()))
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(30)],
            "patient_id": [f"p{k // 2}" for k in range(30)],
            "split": np.repeat(list(labels), 10),
            "label": [CLASSES[k] for k in y],
        }
    )
    predicted = {
        "right-r0": y,
        "constant-r0": np.zeros(30, int),
        "misses-r0": np.where(y == 2, 1, y),
        "wrong-r0": (y + 1) % 3,
        "failed-r0": y,
    }
    p = np.stack([np.eye(3)[each] for each in predicted.values()])
    p[4] = np.nan
    models = {name: {"kind": "single"} for name in predicted} | {"wrong-r0": {"kind": "ensemble"}}
    found = Predictions(rows, list(predicted), CLASSES, p)
    table = evaluation.degenerate_table(found, models)
    assert list(table) == [
        "model", "kind", "split", "problem", "class", "value", "n", "n_patients",
    ]  # fmt: skip
    assert (table["n"] == 10).all() and (table["n_patients"] == 5).all()
    never, dominates, chance = (
        "class_never_predicted", "one_class_dominates", "no_better_than_chance",
    )  # fmt: skip
    told = table[["model", "split", "problem", "class", "value"]].to_numpy().tolist()
    # MCC of `wrong` by Gorodkin: of the ensemble split (0 - (7 1 + 2 7 + 1 2)) / 46 = -0.5, of the
    # test split (0 - (8 1 + 1 8 + 1 1)) / 34 = -0.5.
    assert told == [
        ["constant-r0", "ensemble", never, "bacterial", 2],
        ["constant-r0", "ensemble", never, "viral", 1],
        ["constant-r0", "ensemble", dominates, "normal", 1.0],
        ["constant-r0", "ensemble", chance, "", 0.0],
        ["misses-r0", "ensemble", never, "viral", 1],
        ["wrong-r0", "ensemble", chance, "", -0.5],
        ["constant-r0", "test", never, "bacterial", 1],
        ["constant-r0", "test", never, "viral", 1],
        ["constant-r0", "test", dominates, "normal", 1.0],
        ["constant-r0", "test", chance, "", 0.0],
        ["misses-r0", "test", never, "viral", 1],
        ["wrong-r0", "test", chance, "", -0.5],
    ]
    assert table.loc[table["model"] == "wrong-r0", "kind"].unique().tolist() == ["ensemble"]
    healthy = evaluation.degenerate_table(found.subset(["right-r0", "failed-r0"]), models)
    assert healthy.empty and list(healthy) == list(table)


def test_a_class_dominates_above_nine_tenths_where_it_is_at_most_eight() -> None:
    def dominating(true: int, called: int) -> list[str]:
        y, predicted = np.arange(100) >= true, np.arange(100) >= called
        found = degenerate.problems(y.astype(int), predicted.astype(int), 2)
        return [problem.problem for problem in found if problem.problem == degenerate.DOMINATES]

    assert dominating(80, 91) == ["one_class_dominates"]
    assert dominating(80, 90) == [] and dominating(81, 91) == []


def test_published_interval_of_mcc() -> None:
    """Rajaraman et al. (2021), table of the best ensemble: 0.9068 (0.8839, 0.9297), n = 624."""
    low, high = binomial_interval(0.9068, 624)
    assert (round(low, 4), round(high, 4)) == (0.8840, 0.9296)
    assert low == pytest.approx(0.8839, abs=1.5e-4) and high == pytest.approx(0.9297, abs=1.5e-4)
    assert np.isnan(binomial_interval(-0.1, 624)[0])


@pytest.mark.parametrize("method", ["percentile", "bca", "auto"])
def test_interval_methods(method: str) -> None:
    found, models = study()
    table = evaluation.metrics_table(found.only("test"), models, OPTIONS | {"interval": method}, 1)
    part = table[table["metric"].isin(["accuracy", "mcc", "auroc"])]
    part = part[part["ci_method"] != "binomial"]
    assert (part["ci_method"] == ("transformed" if method == "auto" else method)).all()
    width = part["ci_high"] - part["ci_low"]
    assert width.between(0.05, 0.5).all()


def test_threads_and_other_models_do_not_change_a_row() -> None:
    found, models = study(("cce", "focal", "hinge"))
    alone = evaluation.metrics_table(found.subset(["focal-r0"]), models, OPTIONS, 1)
    among = evaluation.metrics_table(found, models, OPTIONS, 1, threads=3)
    among = among[among["model"] == "focal-r0"]
    pd.testing.assert_frame_equal(alone.reset_index(drop=True), among.reset_index(drop=True))
    other = evaluation.metrics_table(found.subset(["focal-r0"]), models, OPTIONS, 2)
    assert (other["value"].fillna(-1) == alone["value"].fillna(-1)).all()
    assert not np.array_equal(other["ci_low"], alone["ci_low"], equal_nan=True)


def test_awkward_models_have_values_or_reasons() -> None:
    found, models = study(("cce", "constant", "failed", "perfect"))
    found.p[1] = [0.5, 0.3, 0.2]
    found.p[2] = np.nan
    found.p[3] = 0.02 + 0.94 * np.eye(3)[found.y]
    points, thresholds = evaluation.operating_points(found, models, OPTIONS)
    table = evaluation.metrics_table(found, models, OPTIONS, 1, thresholds)
    table = table[table["split"] == "test"]
    assert (table[table["value"].isna()]["reason"] != "").all()
    assert (table[table["ci_low"].isna()]["reason"] != "").all()
    constant = table[table["model"] == "constant-r0"].set_index("metric")
    assert constant.loc["mcc", "reason"] == "one class only is predicted"
    assert constant.loc["auroc_viral", "value"] == 0.5
    assert constant.loc["f1_viral", "value"] == 0.0
    assert constant.loc["precision", "reason"] == "class 'bacterial' is never predicted"
    assert (table.loc[table["model"] == "failed-r0", "reason"] == evaluation.FAILED).all()
    assert (points.loc[points["model"] == "failed-r0", "reason"] == evaluation.FAILED).all()
    perfect = table[(table["model"] == "perfect-r0") & (table["ci_method"] != "binomial")]
    perfect = perfect.set_index("metric")
    assert perfect.loc["accuracy", "ci_method"] == "wilson"
    # 30 patients, all right: Wilson's lower end is n / (n + z^2).
    assert perfect.loc["accuracy", "ci_low"] == pytest.approx(30 / (30 + 1.959964**2))
    assert perfect.loc["mcc", "value"] == 1.0 and "no interval" in perfect.loc["mcc", "reason"]
    published = row(table, model="perfect-r0", metric="mcc", ci_method="binomial")
    assert (published["ci_low"], published["reason"]) == (1.0, "")
    rank = evaluation.rank_table(found, models, OPTIONS, 1)
    # A constant model is ranked as chance, though it has no MCC; a failed one not at all.
    assert list(rank["model"]) == ["cce-r0", "constant-r0", "perfect-r0"]
    assert list(rank["p_best"]) == [0.0, 0.0, 1.0] and list(rank["rank"]) == [2.0, 3.0, 1.0]
    assert list(rank["value"].isna()) == [False, True, False]
    curves = evaluation.curves_table(found, OPTIONS, 1)
    assert set(curves["model"]) == {"cce-r0", "constant-r0", "perfect-r0"}
    assert set(evaluation.confusion_table(found)["model"]) == set(curves["model"])


def test_a_value_on_the_edge_of_its_range_has_one_side_of_the_percentiles() -> None:
    found, models = study(("cce",))
    # Both halves of each class have the same probabilities: nothing is told apart, but in some
    # resamples it seems so.
    test = np.flatnonzero(found.rows["split"] == "test")
    for k in range(3):
        of_class = test[found.y[test] == k]
        assert len(of_class) % 2 == 0
        found.p[0, of_class[: len(of_class) // 2]] = [0.5, 0.3, 0.2]
        found.p[0, of_class[len(of_class) // 2 :]] = [0.2, 0.3, 0.5]
    table = evaluation.metrics_table(found.only("test"), models, OPTIONS, 1)
    error = row(table, metric="brier_resolution")
    assert error["value"] == pytest.approx(0.0, abs=1e-12)
    assert 0 <= error["ci_low"] <= error["value"] + 1e-12 and 0.001 < error["ci_high"] < 0.25
    assert (error["ci_method"], error["reason"]) == (
        "percentile",
        "the value is on the edge of its range",
    )


def test_class_absent_from_the_test_split() -> None:
    found, models = study()
    gone = (found.rows["split"] == "test") & (found.rows["label"] == "viral")
    keep = ~gone.to_numpy()
    part = Predictions(
        found.rows[keep].reset_index(drop=True), found.models, CLASSES, found.p[:, keep]
    )
    table = evaluation.metrics_table(part, models, OPTIONS, 1)
    for metric in ("recall_viral", "auroc_viral", "balanced_accuracy"):
        values = row(table, model="cce-r0", split="test", metric=metric)
        assert np.isnan(values["value"]) and values["reason"] == "no image of class 'viral'"
    assert row(table, model="cce-r0", split="test", metric="accuracy")["value"] > 0
    curves = evaluation.curves_table(part, OPTIONS, 1)
    assert set(curves["class"]) == {"micro", "normal", "bacterial"}


def test_one_patient_has_values_without_intervals() -> None:
    found, models = study()
    found.rows.loc[found.rows["split"] == "test", "patient_id"] = "only"
    table = evaluation.metrics_table(found.only("test"), models, OPTIONS, 1)
    table = table[table["ci_method"] != "binomial"]
    assert table["ci_low"].isna().all()
    assert (table.loc[table["metric"] == "mcc", "reason"] == "one patient: no interval").all()


def test_a_missing_split_is_a_clear_error() -> None:
    found, models = study()
    with pytest.raises(UserError, match="no image in split 'test'"):
        evaluation.curves_table(found.only("val"), OPTIONS, 1)


def test_curves_pass_through_the_points_of_scikit_learn() -> None:
    found, _ = study()
    curves, test = evaluation.curves_table(found, OPTIONS, 1), found.only("test")
    for k, label in enumerate(CLASSES):
        part = curves[(curves["model"] == "cce-r0") & (curves["class"] == label)]
        roc = part[part["curve"] == "roc"].set_index("x")["y"]
        fall_out, recall, _ = roc_curve(test.y == k, test.p[0][:, k], drop_intermediate=False)
        for x in (0.0, 0.1, 0.25, 0.5, 1.0):
            expected = max(recall[fall_out <= x + 1e-12])
            below = fall_out <= x + 1e-12
            if not below.all() and abs(fall_out[below][-1] - x) > 1e-9:
                expected = np.interp(x, np.r_[fall_out[below][-1], fall_out[~below][0]],
                                     np.r_[expected, recall[~below][0]])  # fmt: skip
            assert roc[x] == pytest.approx(expected)
        pr = part[part["curve"] == "pr"].set_index("x")["y"]
        precision, recall, _ = precision_recall_curve(test.y == k, test.p[0][:, k])
        for x in (0.1, 0.5, 0.9, 1.0):
            assert pr[x] == pytest.approx(precision[np.flatnonzero(recall >= x - 1e-9)[-1]])
    assert (curves["y_low"] <= curves["y_high"]).all() and curves["y"].between(0, 1).all()


def test_ranks_share_ties() -> None:
    values = np.array([[0.5, 0.9, 0.9, 0.1]])
    assert evaluation.rank_shares(values, 1).tolist() == [[0.0, 0.5, 0.5, 0.0]]
    assert evaluation.rank_shares(values, 3).tolist() == [[1.0, 1.0, 1.0, 0.0]]
    found, models = study(("cce", "twin"))
    found.p[1] = found.p[0]
    rank = evaluation.rank_table(found, models, OPTIONS, 1)
    assert list(rank["p_best"]) == [0.5, 0.5] and list(rank["rank"]) == [1.5, 1.5]
    assert list(rank["rank_observed"]) == [1.5, 1.5]
    assert list(rank["rank_first"]) == [1, 1] and list(rank["rank_last"]) == [2, 2]


def test_ranks_are_intervals_by_tests_of_all_pairs() -> None:
    """The table's intervals are those of the paired tests of its own resamples."""
    losses = ("cce", "kl_divergence", "focal", "hinge", "failed")
    found, models = study(losses, sizes=(30, 40, 150))
    found.p[2] = 0.02 + 0.94 * np.eye(3)[(found.y + (np.arange(220) % 9 == 0)) % 3]
    found.p[4] = np.nan
    rank = evaluation.rank_table(found, models, OPTIONS, 1).set_index("model")
    assert list(rank.index) == ["cce-r0", "kl_divergence-r0", "focal-r0", "hinge-r0"]
    tests = evaluation.significance_table(
        found.subset(list(rank.index)), {name: models[name] for name in rank.index},
        pd.DataFrame(columns=["ensemble", "member", "rank"]),
        {"baseline": "focal", "alpha": 0.05, "permutations": 99}, OPTIONS, 1,
    )  # fmt: skip
    row = tests[(tests["test"] == "bootstrap") & (tests["metric"] == "mcc")]
    assert (row[row["family"].str.startswith("against_baseline")]["p_value"] < 0.05 / 6).all()
    assert (rank.loc["focal-r0", "rank_first"], rank.loc["focal-r0", "rank_last"]) == (1, 1)
    assert (rank.drop("focal-r0")["rank_first"] == 2).all()
    assert (rank.drop("focal-r0")["rank_last"] == 4).all()
    assert set(rank["hypotheses"]) == {6} and set(rank["correction"]) == {"Holm"}
    assert rank.loc["focal-r0", "worse"] == 3 and rank.loc["hinge-r0", "better"] == 1
    # One objective under two names is marked.
    assert rank.loc["cce-r0", "same_objective"] == "kl_divergence-r0"
    assert rank.loc["kl_divergence-r0", "same_objective"] == "cce-r0"
    assert rank.loc["hinge-r0", "same_objective"] == "" and (rank["reason"] == "").all()


def test_a_model_alone_has_a_rank_without_a_test() -> None:
    found, models = study(("cce",))
    alone = evaluation.rank_table(found, models, OPTIONS, 1).iloc[0]
    assert (alone["rank_first"], alone["rank_last"], alone["hypotheses"]) == (1, 1, 0)
    assert alone["reason"] == "one model alone"


def test_confusion_counts() -> None:
    found, _ = study()
    table = evaluation.confusion_table(found)
    test = found.only("test")
    part = table[(table["model"] == "cce-r0") & (table["split"] == "test")]
    assert part["count"].sum() == 60
    cell = row(part, label="normal", predicted="viral")["count"]
    assert cell == ((test.y == 0) & (test.p[0].argmax(1) == 2)).sum()


def test_temperature_rows_improve_the_log_loss_where_they_are_fitted() -> None:
    found, models = study(seed=3)
    found.p[:] = found.p**4 / (found.p**4).sum(axis=2, keepdims=True)
    scaled, entries, temperatures = evaluation.with_temperatures(found, models)
    assert list(entries) == ["cce-r0-temperature", "focal-r0-temperature"]
    assert all(entry["kind"] == "temperature" for entry in entries.values())
    assert all(t > 1 for t in temperatures.values())
    before, after = found.only("ensemble"), scaled.only("ensemble")
    for p, q in zip(before.p, after.p, strict=True):
        losses = [metrics.compute("log_loss", before.y, values) for values in (p, q)]
        assert losses[1] < losses[0]


def test_test_labels_do_not_reach_what_is_chosen_before() -> None:
    found, models = study()
    shuffled = found.rows.copy()
    test = shuffled["split"] == "test"
    shuffled.loc[test, "label"] = shuffled.loc[test, "label"].to_numpy()[::-1]
    other = Predictions(shuffled, found.models, CLASSES, found.p)
    one, two = (evaluation.operating_points(each, models, OPTIONS)[0] for each in (found, other))
    pd.testing.assert_frame_equal(one, two)
    assert (
        evaluation.with_temperatures(found, models)[2]
        == (evaluation.with_temperatures(other, models)[2])
    )


def test_threads_do_not_change_calibration() -> None:
    found, models = study(("cce", "calibrated_cce"))
    one, two = (
        evaluation.calibration_tables(
            found,
            models,
            OPTIONS,
            1,
            dict.fromkeys(models, np.full(3, 1 / 3)),
            calibrated(),
            threads,
        )
        for threads in (1, 2)
    )
    for alone, together in zip(one, two, strict=True):
        pd.testing.assert_frame_equal(alone, together)


def test_calibration_tables_answer_whether_calibrated_losses_are() -> None:
    found, models = study(("cce", "calibrated_cce"), sizes=(30, 200, 400))
    sharp = found.p[0] ** 4
    found.p[0] = sharp / sharp.sum(axis=1, keepdims=True)
    scores, compared = evaluation.calibration_tables(
        found, models, OPTIONS, 1, dict.fromkeys(models, np.full(3, 1 / 3)), calibrated()
    )
    assert set(scores["version"]) == {
        "raw",
        "temperature",
        "prior_corrected",
        "temperature_prior_corrected",
    }
    raw = row(compared, version="raw", metric="ece", loss="calibrated_cce")
    values = {
        model: row(scores, model=model, version="raw", metric="ece")["value"]
        for model in ("cce-r0", "calibrated_cce-r0")
    }
    assert raw["difference"] == pytest.approx(values["calibrated_cce-r0"] - values["cce-r0"])
    assert np.isnan([raw["ci_low"], raw["ci_high"], raw["p_value"]]).all()
    assert raw["reject"] == "" and "described only" in raw["reason"] and not raw["primary"]
    slope = row(compared, version="raw", metric="abs_log_slope", loss="calibrated_cce")
    slopes = [
        row(scores, model=model, version="raw", metric="calibration_slope")["value"]
        for model in ("calibrated_cce-r0", "cce-r0")
    ]
    assert slope["difference"] == pytest.approx(-np.diff(np.abs(np.log(slopes)))[0])
    assert slope["ci_high"] < 0 and slope["reject"] and slope["primary"]
    assert (slope["hypotheses"], slope["correction"]) == (1, "Holm")
    assert compared["primary"].sum() == 1
    saved = row(compared, version="raw", metric="log_loss_miscalibration_root")
    parts = [
        row(scores, model=model, version="raw", metric="log_loss_miscalibration")
        for model in ("calibrated_cce-r0", "cce-r0")
    ]
    assert saved["difference"] == pytest.approx(-np.diff([p["value"] ** 0.5 for p in parts])[0])
    assert parts[1]["range"] == "above" and parts[1]["expected"] == pytest.approx(3 / 800)
    # Class shares move the intercepts, not the common slope.
    corrected = row(compared, version="prior_corrected", metric="abs_log_slope")
    assert corrected["difference"] == pytest.approx(slope["difference"], abs=1e-6)
    ece = scores[(scores["metric"] == "ece") & (scores["version"] == "raw")]
    assert ece["ci_low"].isna().all() and ece["reason"].str.contains("cannot reach 0").all()
    assert ece.set_index("model").at["cce-r0", "range"] == "above"
    scaled = row(scores, model="cce-r0", version="temperature", metric="log_loss")["value"]
    assert scaled < row(scores, model="cce-r0", version="raw", metric="log_loss")["value"]
    parts = scores[(scores["model"] == "cce-r0") & (scores["version"] == "raw")]
    parts = parts.set_index("metric")["value"]
    assert parts["brier"] == pytest.approx(
        parts["brier_reliability"]
        - parts["brier_resolution"]
        + parts["brier_uncertainty"]
        + parts["brier_within_bin"]
    )
    bins = evaluation.reliability_table(found, models, OPTIONS)
    assert bins.groupby("model")["n"].sum().eq(400).all()


def test_the_mean_calibration_over_seeds_counts_the_seeds() -> None:
    found, models = study(("cce", "calibrated_cce", "a", "b"), sizes=(30, 40, 600))
    names = [f"{loss}-r{r}" for r in (0, 1) for loss in ("cce", "calibrated_cce")]
    models = {n: models["cce-r0"] | {"variant": n[:-3], "replicate": int(n[-1])} for n in names}
    # One seed of the calibrated loss is much too sure.
    sharp = found.p[1] ** 6
    found.p[1] = sharp / sharp.sum(axis=1, keepdims=True)
    found = Predictions(found.rows, names, CLASSES, found.p)
    compared = evaluation.calibration_tables(
        found, models, OPTIONS, 1, dict.fromkeys(models, np.full(3, 1 / 3)), calibrated()
    )[1]
    slope = compared[(compared["version"] == "raw") & (compared["metric"] == "abs_log_slope")]
    slope = slope.set_index("replicate")
    one, two, mean = (slope.loc[key] for key in (0, 1, "mean"))
    assert mean["difference"] == pytest.approx((one["difference"] + two["difference"]) / 2)
    width = {key: slope.at[key, "ci_high"] - slope.at[key, "ci_low"] for key in slope.index}
    assert width["mean"] > 2 * max(width[0], width[1])
    assert "fewer than 5 runs" in mean["reason"] and one["reason"] == ""


@pytest.mark.parametrize("runs", [1, 2])
def test_calibration_answers_once_for_each_loss_after_holm(runs: int) -> None:
    losses = ("cce", "calibrated_cce", "focal", "calibrated_focal", "hinge", "calibrated_hinge")
    found, models = study(tuple(f"{loss}{r}" for loss in losses for r in range(runs)))
    names = [f"{loss}-r{r}" for loss in losses for r in range(runs)]
    entry = next(iter(models.values()))
    models = {n: entry | {"variant": n[:-3], "replicate": int(n[-1])} for n in names}
    found = Predictions(found.rows, names, CLASSES, found.p)
    pairs = {f"calibrated_{loss}": loss for loss in ("cce", "focal", "hinge")}
    compared = evaluation.calibration_tables(
        found, models, OPTIONS, 1, dict.fromkeys(models, np.full(3, 1 / 3)), pairs, alpha=0.4
    )[1]
    assert list(compared)[-5:] == ["p_adjusted", "reject", "hypotheses", "correction", "primary"]
    answers = compared["replicate"] == ("mean" if runs > 1 else 0)
    assert compared["primary"].sum() == 3
    described = compared["metric"].isin(["ece", "classwise_ece", "brier_reliability"])
    assert compared.loc[described, "p_value"].isna().all()
    compared, answers = (part[compared["p_value"].notna()] for part in (compared, answers))
    assert compared.loc[answers, "hypotheses"].eq(3).all()
    assert compared.loc[~answers, "p_adjusted"].isna().all()
    assert compared.loc[~answers, "reject"].eq("").all()
    rejected = set()
    for _, part in compared[answers].groupby(["version", "metric"]):
        part = part.sort_values("p_value")
        first, second, third = part["p_value"]
        expected = np.minimum(np.maximum.accumulate([3 * first, 2 * second, third]), 1)
        assert part["p_adjusted"].to_numpy() == pytest.approx(expected)
        assert part["reject"].tolist() == (expected <= 0.4).tolist()
        rejected |= set(part["reject"])
    assert rejected == {True, False}


def test_seeds_of_one_loss_are_chance_for_calibrated_losses_with_one_run() -> None:
    """Not for each run, but for what is said of the losses."""
    names = ["cce-r0", "calibrated_cce-r0", *(f"cce-r{number}" for number in range(1, 5))]
    found, models = study(tuple(names))
    entry = next(iter(models.values()))
    models = {
        name: entry
        | {
            "variant": name[:-3],
            "replicate": int(name[-1]),
            "kind": "single" if name.endswith("r0") else "seed",
        }
        for name in names
    }
    found = Predictions(found.rows, names, CLASSES, found.p)
    shares = dict.fromkeys(models, np.full(3, 1 / 3))
    alone = found.subset(names[:2])

    def log_loss(part: Predictions) -> pd.Series:
        own = {name: models[name] for name in part.models}
        table = evaluation.calibration_tables(
            part, own, OPTIONS, 1, shares, {"calibrated_cce": "cce"}
        )[1]
        return table[(table["metric"] == "log_loss") & (table["version"] == "raw")].iloc[0]

    without, with_seeds = log_loss(alone), log_loss(found)
    assert with_seeds["difference"] == pytest.approx(without["difference"])
    assert "one loss, 4 degrees of freedom" in with_seeds["reason"]
    width = [row["ci_high"] - row["ci_low"] for row in (without, with_seeds)]
    assert width[1] > width[0]


def test_two_names_of_one_objective_answer_once() -> None:
    losses = ("cce", "calibrated_cce", "kl_divergence", "calibrated_kl_divergence")
    found, models = study(losses)
    same = [("kl_divergence", "cce"), ("calibrated_kl_divergence", "calibrated_cce")]
    compared = evaluation.calibration_tables(
        found,
        models,
        OPTIONS,
        1,
        dict.fromkeys(models, np.full(3, 1 / 3)),
        {"calibrated_kl_divergence": "kl_divergence", "calibrated_cce": "cce"},
        same=same,
    )[1]
    slopes = compared[(compared["metric"] == "abs_log_slope") & (compared["version"] == "raw")]
    slopes = slopes.set_index("loss")
    assert slopes["primary"].to_dict() == {
        "calibrated_kl_divergence": False,
        "calibrated_cce": True,
    }
    assert slopes.at["calibrated_cce", "hypotheses"] == 1
    other = slopes.loc["calibrated_kl_divergence"]
    assert np.isfinite(other["p_value"]) and np.isnan(other["p_adjusted"])
    assert "the same objective as calibrated_cce" in other["reason"]


def test_curves_and_histograms_of_every_model_and_class() -> None:
    found, models = study(("cce", "a"), sizes=(30, 40, 300))
    constant = found.p.copy()
    constant[1] = [0.5, 0.3, 0.2]
    found = Predictions(found.rows, found.models, CLASSES, constant)
    curves, histograms = evaluation.curve_tables(found, models, OPTIONS)
    names = curves.groupby(["model", "class"]).size()
    assert (names.loc["cce-r0"] == 30).all() and len(names.loc["cce-r0"]) == 4
    assert (names.loc["a-r0"] == 1).all()
    assert set(curves.loc[curves["model"] == "a-r0", "reason"]) == {
        "the probabilities are the same for all images"
    }
    sound = curves[curves["model"] == "cce-r0"]
    for low, middle, high in (
        ("ci_low", "observed", "ci_high"),
        ("expected_low", "p", "expected_high"),
    ):
        assert (sound[low] <= sound[middle] + 1e-9).all()
        assert (sound[middle] <= sound[high] + 1e-9).all()
    assert histograms.groupby(["model", "class"])["n"].sum().eq(300).all()
    right = histograms[(histograms["model"] == "cce-r0") & (histograms["class"] == "")]
    part = found.only("test")
    assert right["events"].sum() == (part.p[0].argmax(axis=1) == part.y).sum()


def test_shares_that_training_saw() -> None:
    train, chosen = np.array([0.2, 0.8]), np.array([0.4, 0.6])
    models = {
        "cce-r0": simulated.entry(variant="cce"),
        "focal_3-r0": simulated.entry(variant="focal_3"),
        "stacked": simulated.entry("ensemble", method="stacking", level="prediction"),
        "head": simulated.entry("ensemble", method="model_level", level="model"),
        "alike": simulated.entry("seed_ensemble", "cce", None),
        "mixed": simulated.entry("ensemble", method="simple_average", level="prediction"),
    }
    members = {
        "stacked": ["cce-r0"],
        "alike": ["cce-r0", "cce-r0"],
        "mixed": ["cce-r0", "focal_3-r0"],
    }
    weights = {"cce": "balanced", "focal_3": "none", None: "balanced"}
    found = evaluation.trained_shares(models, members, weights, {0: train}, {0: chosen})
    assert {name: shares.tolist() for name, shares in found.items()} == {
        "cce-r0": [0.5, 0.5],
        "focal_3-r0": [0.2, 0.8],
        "stacked": [0.4, 0.6],
        "head": [0.5, 0.5],
        "alike": [0.5, 0.5],
        "mixed": [0.35, 0.65],
    }


def test_speed_and_no_tensorflow() -> None:
    """25 models, 624 images, 2,000 resamples, all metrics: at most 60 s on two cores."""
    found, models = study(tuple(f"loss{k}" for k in range(3)), sizes=(9, 30, 624))
    start = time.process_time()
    evaluation.metrics_table(found.only("test"), models, OPTIONS | {"resamples": 2000}, 1)
    assert (time.process_time() - start) / 3 * 25 < 2 * 60
    code = "import sys, multiloss.evaluation, multiloss.statistics; "
    code += "print([m for m in ('tensorflow', 'keras', 'torch') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(evaluation.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_class_shares_and_scaled_models_where_they_are_asked_for() -> None:
    assert evaluation.class_shares(["b", "a", "b", "b"], ["a", "b", "c"]).tolist() == [
        0.25,
        0.75,
        0,
    ]
    found, models = study(("cce", "focal"))
    same, entries = evaluation.with_scaled(found, models, {"temperature_scaling": False})
    assert same.models == found.models and entries == models
    more, entries = evaluation.with_scaled(found, models, {"temperature_scaling": True})
    scaled, added, _ = evaluation.with_temperatures(found, models)
    assert more.models == [*found.models, *scaled.models] == list(entries)
    assert entries == models | added
