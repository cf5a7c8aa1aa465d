"""The tables of groups of patients: values, counts, gaps, corrections, and what is not given."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation
from multiloss.evaluation import subgroups
from multiloss.job.errors import UserError
from multiloss.predictions import Predictions
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef, recall_score
from statsmodels.stats.multitest import multipletests

OPTIONS = {"resamples": 200, "interval": "auto", "confidence": 0.95, "ece_bins": 10}
SIGNIFICANCE = {"alpha": 0.05, "permutations": 999, "metric": "mcc"}
OF = {"loss1-r0": "chosen single model", "loss0-r0": "baseline"}
MODELS = {name: simulated.entry(variant=name[:5]) for name in OF}


def study(seed: int = 0, size: int = 240, signal: float = 1.5) -> Predictions:
    return simulated.predictions(seed, {"ensemble": 30, "test": size}, 2, signal)


def attributes_of(found: Predictions, **columns: Any) -> pd.DataFrame:
    """data/attributes.csv; each column a function of the number of the patient."""
    patients = pd.factorize(found.rows["patient_id"])[0]
    told = {name: [value(number) for number in patients] for name, value in columns.items()}
    return pd.DataFrame({"image_id": found.rows["image_id"], **told})


def tables(
    found: Predictions, attributes: pd.DataFrame, minimum: int = 10, **bands: list[float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    wanted = [{"column": name, "bands": bands.get(name)} for name in attributes.columns[1:]]
    options = OPTIONS | {"subgroups": wanted, "subgroup_minimum": minimum}
    made = evaluation.subgroup_tables(found, MODELS, OF, attributes, options, SIGNIFICANCE, 1)
    return made["subgroups"], made["subgroup_gaps"]


def sex(number: int) -> str:
    return ["F", "M", "M", ""][number % 4]


def test_values_are_those_of_the_images_of_the_group() -> None:
    found = study()
    told = attributes_of(found, sex=sex)
    table, _ = tables(found, told)
    assert table.columns.tolist() == subgroups.COLUMNS
    test = found.only("test")
    of = told.set_index("image_id")["sex"].reindex(test.rows["image_id"]).to_numpy()
    for group in ("F", "M"):
        inside = of == group
        for model in OF:
            rows = table[(table["model"] == model) & (table["group"] == group)]
            values = rows.set_index("metric")
            predicted = test.of([model])[0].argmax(axis=1)[inside]
            y = test.y[inside]
            assert values["value"]["mcc"] == pytest.approx(matthews_corrcoef(y, predicted))
            assert values["value"]["balanced_accuracy"] == pytest.approx(
                balanced_accuracy_score(y, predicted)
            )
            recalls = recall_score(y, predicted, average=None)
            for name, recall in zip(found.classes, recalls, strict=True):
                assert values["value"][f"recall_{name}"] == pytest.approx(recall)
            assert (values["n"] == inside.sum()).all()
            assert (values["n_patients"] == len(set(test.patients[inside]))).all()
            known = rows[rows["ci_low"].notna()]
            assert len(known) == len(rows)
            assert (known["ci_low"] <= known["value"]).all()
            assert (known["value"] <= known["ci_high"]).all()
        shares = table[(table["group"] == group) & (table["model"] == "")]
        assert shares["value"].sum() == pytest.approx(1)
        assert shares["metric"].tolist() == [f"share_{name}" for name in found.classes]
    unknown = table[table["group"] == "unknown"]
    assert unknown["value"].isna().all() and (unknown["n"] == (of == "").sum()).all()
    assert set(unknown["reason"]) == {"not known: counted, not compared"}


def test_intervals_are_those_of_the_metrics_table() -> None:
    found = study()
    table, _ = tables(found, attributes_of(found, all=lambda number: "x"))
    alone = found.only("test")
    whole = evaluation.metrics_table(alone, MODELS, OPTIONS, 1)
    for metric in ("balanced_accuracy", "recall_viral"):
        ours = table[(table["model"] == "loss1-r0") & (table["metric"] == metric)].iloc[0]
        theirs = whole[(whole["model"] == "loss1-r0") & (whole["metric"] == metric)].iloc[0]
        assert ours["value"] == theirs["value"] and ours["ci_method"] == theirs["ci_method"]
        for end in ("ci_low", "ci_high"):
            # Other draws.
            assert ours[end] == pytest.approx(theirs[end], abs=0.02)


def test_a_patient_whose_value_changes_counts_in_both_groups() -> None:
    found = study()
    told = attributes_of(found, age=lambda number: "70")
    # The second images of patients, a year of the band earlier.
    again = found.rows["patient_id"].duplicated()
    told.loc[again.to_numpy(), "age"] = "10"
    table, gaps = tables(found, told, age=[18])
    rows = table[(table["model"] == "loss1-r0") & (table["metric"] == "mcc")]
    test = found.only("test")
    assert rows["group"].tolist() == ["under 18", "18 and over"]
    assert rows["n"].sum() == len(test.rows)
    assert rows["n_patients"].sum() > len(set(test.patients))
    assert gaps["p_value"].notna().all()


def test_corrections() -> None:
    found = study(3, signal=0.8)
    told = attributes_of(found, sex=sex, site=lambda number: "abc"[number % 3])
    _, gaps = tables(found, told)
    assert gaps.columns.tolist() == subgroups.GAP_COLUMNS
    largest = gaps[gaps["comparison"] == "largest gap"]
    assert len(largest) == 4 and (largest["hypotheses"] == 4).all()
    wanted = multipletests(largest["p_value"], method="holm")[1]
    assert largest["p_adjusted"].to_numpy() == pytest.approx(wanted)
    rest = gaps[gaps["comparison"] == "against the rest"]
    assert len(rest) == 2 * (2 + 3) and (rest["hypotheses"] == 10).all()
    assert (rest["p_adjusted"] >= np.minimum(1, 4 * rest["p_value"]) - 1e-12).all()
    two = rest[rest["column"] == "sex"]
    assert two["p_adjusted"].to_numpy() == pytest.approx(np.minimum(1, 4 * two["p_value"]))
    assert not gaps["primary"].any()
    assert set(gaps["family"]) == {"subgroup_gap", "subgroup_against_rest"}
    assert (gaps["reject"] == (gaps["p_adjusted"] <= 0.05)).all()


def test_a_planted_gap_is_told_with_its_groups() -> None:
    found = study(5, 400, 3.0)
    told = attributes_of(found, site=lambda number: "abc"[number % 3])
    bad = ((told["site"] == "b") & (np.arange(len(told)) % 2 > 0)).to_numpy()
    # Site b is shown the wrong way round by both models.
    p = found.p.copy()
    p[:, bad] = np.roll(p[:, bad], 1, axis=2)
    found = Predictions(found.rows, found.models, found.classes, p)
    _, gaps = tables(found, told)
    largest = gaps[gaps["comparison"] == "largest gap"]
    assert (largest["other"] == "b").all() and largest["reject"].all()
    assert (largest["ci_low"] > 0.1).all()
    against = gaps[(gaps["comparison"] == "against the rest") & (gaps["group"] == "b")]
    assert against["reject"].all() and (against["ci_high"] < 0).all()


def test_one_patient_is_counted_and_nothing_more() -> None:
    found = study()
    told = attributes_of(found, sex=lambda number: "X" if number == 60 else "FM"[number % 2])
    table, gaps = tables(found, told)
    rows = table[table["group"] == "X"]
    assert (rows["n_patients"] == 1).all() and (rows["n"] >= 1).all()
    assert rows[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert set(rows["reason"]) == {"1 patient, fewer than 10: no value is given"}
    assert gaps["p_value"].notna().all()
    assert set(gaps["reason"]) == {"too few patients, not compared: X"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda number: "F", "one group only"),
        (lambda number: "", "no value is known"),
        (lambda number: f"id{number % 45:02d}", "no group of 45 has 10 test patients or more"),
        (
            lambda number: "F" if number % 40 else "M",
            "one group of 2 has 10 test patients or more",
        ),
    ],
)
def test_nothing_to_compare_is_one_row_with_its_reason(value: Any, reason: str) -> None:
    found = study()
    table, gaps = tables(found, attributes_of(found, x=value, sex=sex), 10)
    rows = gaps[gaps["column"] == "x"]
    assert set(rows["reason"]) == {reason} and rows["model"].tolist() == list(OF)
    assert rows["p_value"].isna().all() and (rows["reject"] == "").all()
    # They are no hypotheses.
    assert (gaps[gaps["comparison"] == "largest gap"]["hypotheses"] == 2).all()
    assert table[table["column"] == "x"]["n"].notna().all()


def test_a_group_without_one_class() -> None:
    found = study(size=400)
    told = attributes_of(found, site=lambda number: "abc"[number % 3])
    kept = ~((told["site"] == "c") & (found.rows["label"] == "viral")).to_numpy()
    found, told = found.where(kept), told[kept]
    table, gaps = tables(found, told)
    rows = table[(table["group"] == "c") & (table["model"] == "loss1-r0")].set_index("metric")
    why = "0 patients of class 'viral', fewer than 5: no value is given"
    for metric in ("balanced_accuracy", "auroc_macro", "recall_viral"):
        assert np.isnan(rows["value"][metric]) and rows["reason"][metric] == why
    assert rows["value"][["mcc", "brier", "recall_normal"]].notna().all()
    assert set(gaps["reason"]) == {"too few patients, not compared: c"}
    assert set(gaps["classes"]) == {"normal; bacterial; viral"}
    assert not gaps[["group", "other"]].isin(["c"]).any(axis=None)


def test_odd_names_stay_as_they_are() -> None:
    found = study()
    names = ["<b>x</b>", "\N{HEBREW LETTER ALEF} $1$", "a" * 200]
    told = attributes_of(found, site=lambda number: names[number % 3])
    table, gaps = tables(found, told)
    assert set(table["group"]) == set(names)
    assert gaps["p_value"].notna().all()


def test_a_failed_model_has_its_reason_and_is_no_hypothesis() -> None:
    found = study()
    p = found.p.copy()
    p[found.models.index("loss0-r0")] = np.nan
    found = Predictions(found.rows, found.models, found.classes, p)
    table, gaps = tables(found, attributes_of(found, sex=sex))
    lost = gaps[gaps["model"] == "loss0-r0"]
    assert len(lost) == 1 and lost["reason"].iloc[0] == evaluation.FAILED
    assert (gaps[gaps["comparison"] == "largest gap"]["hypotheses"] == 1).all()
    rows = table[(table["model"] == "loss0-r0") & (table["group"] == "F")]
    assert set(rows["reason"]) == {evaluation.FAILED} and rows["value"].isna().all()


def test_order_and_seed() -> None:
    found = study()
    told = attributes_of(found, sex=sex)
    first, second = tables(found, told), tables(found, told.sample(frac=1, random_state=0))
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, other)
    order = np.random.default_rng(0).permutation(len(found.rows))
    mixed = Predictions(
        found.rows.iloc[order].reset_index(drop=True), found.models, found.classes,
        found.p[:, order],
    )  # fmt: skip
    third = tables(mixed, told)
    fixed = ["model", "column", "group", "metric", "value", "n", "n_patients"]
    pd.testing.assert_frame_equal(first[0][fixed], third[0][fixed])
    fixed = ["model", "group", "other", "difference", "statistic", "hypotheses"]
    pd.testing.assert_frame_equal(first[1][fixed], third[1][fixed])


def test_an_image_without_attributes_is_an_error() -> None:
    found = study()
    told = attributes_of(found, sex=sex).iloc[:-1]
    with pytest.raises(UserError, match=r"data/attributes.csv has no image 'test-239'"):
        tables(found, told)
