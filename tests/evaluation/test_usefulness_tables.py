"""Tables of usefulness: direct computation, what they must not depend on, awkward input."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation, study
from multiloss.evaluation import usefulness
from multiloss.evaluation.usefulness import Outcomes
from multiloss.predictions import Predictions
from multiloss.study import ANY_FINDING

CLASSES = list(simulated.CLASSES)
OPTIONS: dict[str, Any] = {
    "resamples": 200,
    "confidence": 0.95,
    "operating_point": "youden",
    "temperature_scaling": True,
    "prevalences": {},
    "cost_ratios": [1, 5, 20],
}


def made(**options: Any) -> tuple[Predictions, dict[str, dict[str, Any]]]:
    found = simulated.predictions(**options)
    return found, study.entries(simulated.models_of(found).values())


def tables(
    found: Predictions,
    models: dict[str, dict[str, Any]],
    close: dict[str, str] | None = None,
    negative: str | None = "normal",
    threads: int = 1,
    **options: Any,
) -> dict[str, pd.DataFrame]:
    close = {"chosen_single": "loss0-r0", "baseline": "loss1-r0"} if close is None else close
    return evaluation.usefulness_tables(
        found, models, OPTIONS | options, 1, close, negative, threads
    )


@pytest.fixture(scope="module")
def plain() -> tuple[Predictions, dict[str, pd.DataFrame]]:
    found, models = made(models=3)
    return found, tables(found, models)


@pytest.mark.parametrize(
    ("classes", "given", "wanted"),
    [
        (["normal", "bacterial"], None, "normal"),
        (["x", "No_Finding"], None, "No_Finding"),
        (["benign", "malignant", "Normal"], None, "Normal"),
        (["benign", "malignant"], None, "benign"),
        (["Healthy ", "ill"], None, "Healthy "),
        (["abnormal", "covid-negative"], None, None),
        (["a", "b"], "b", "b"),
        (["normal", "b"], "none", None),
        (["none", "b"], "none", "none"),
    ],
)
def test_the_class_without_a_finding(
    classes: list[str], given: str | None, wanted: str | None
) -> None:
    assert study.negative_class(classes, given) == wanted


def test_outcomes_by_hand() -> None:
    p = np.array([[0.7, 0.1, 0.2], [0.1, 0.6, 0.3]])
    y = np.array([0, 2])
    three = Outcomes(CLASSES, "normal")
    assert three.names == [ANY_FINDING, *CLASSES]
    assert three.score(p)[:, 0] == pytest.approx([0.3, 0.9])
    assert three.positive(y).tolist() == [[False, True, False, False], [True, False, False, True]]
    assert Outcomes(CLASSES).names == CLASSES
    assert Outcomes(["normal", "ill"], "normal").names == ["ill", "normal"]


def test_every_table_has_its_columns_and_no_silent_gap(plain: Any) -> None:
    for name, table in plain[1].items():
        assert list(table) == usefulness.COLUMNS[name], name
        assert len(table), name
        values = table.select_dtypes("number").drop(columns=["prevalence"], errors="ignore")
        gaps = values.isna().any(axis=1)
        assert (table.loc[gaps, "reason"] != "").all(), name


def test_values_are_those_of_a_direct_count(plain: Any) -> None:
    found, made_tables = plain
    test = found.only("test")
    table = made_tables["net_benefit"]
    assert len(table) == 2 * 4 * (99 + 99 + 5)  # versions, outcomes, thresholds of three models
    for model, name, threshold in (
        ("loss0-r0", ANY_FINDING, 0.37),
        ("loss1-r0", "viral", 0.11),
        ("loss2-r0", "normal", 0.5),
    ):
        p = test.of([model])[0]
        k = CLASSES.index("normal" if name == ANY_FINDING else name)
        positive = test.y != 0 if name == ANY_FINDING else test.y == k
        called = (1 - p[:, 0] if name == ANY_FINDING else p[:, k]) >= threshold
        n, odds = len(test.y), threshold / (1 - threshold)
        row = table[
            (table["model"] == model)
            & (table["class"] == name)
            & (table["version"] == "raw")
            & np.isclose(table["threshold"], threshold)
        ].squeeze()
        wanted = (called & positive).sum() / n - (called & ~positive).sum() / n * odds
        q = positive.mean()
        assert row["net_benefit"] == pytest.approx(wanted, abs=1e-12)
        assert row["standardised"] == pytest.approx(wanted / q, abs=1e-12)
        assert row["treat_all"] == pytest.approx(q - (1 - q) * odds, abs=1e-12)
        assert row["gain"] == pytest.approx(wanted - max(row["treat_all"], 0), abs=1e-12)
        assert row["ci_low"] < row["net_benefit"] < row["ci_high"]
        assert row["gain_high"] - row["gain_low"] == pytest.approx(row["ci_high"] - row["ci_low"])
        assert (row["n"], row["n_positive"]) == (n, positive.sum())
        assert row["n_patients"] == test.rows["patient_id"].nunique()


def test_predictive_values_rest_on_thresholds_chosen_on_ensemble(plain: Any) -> None:
    found, made_tables = plain
    points, _ = evaluation.operating_points(
        found, study.entries(simulated.models_of(found).values()), OPTIONS
    )
    table = made_tables["predictive_values"]
    test = found.only("test")
    for (model, label), part in table.groupby(["model", "class"]):
        if label == ANY_FINDING:
            continue
        threshold = part["threshold"].unique().item()
        wanted = points[(points["model"] == model) & (points["class"] == label)]
        assert threshold == pytest.approx(wanted["threshold"].item())
        k = CLASSES.index(label)
        called, positive = test.of([model])[0][:, k] >= threshold, test.y == k
        values = part[part["source"] == "test"].set_index("measure")["value"]
        own = (values["ppv"], values["npv"])
        assert own == pytest.approx((positive[called].mean(), (~positive[~called]).mean()))
        assert sorted(part.loc[part["source"] == "stated", "prevalence"].unique()) == [
            0.05,
            0.1,
            0.3,
        ]


def test_prevalences_are_those_of_the_config() -> None:
    found, models = made(models=2)
    table = tables(found, models, prevalences={ANY_FINDING: [0.02], "viral": []})[
        "predictive_values"
    ]
    stated = table[table["source"] == "stated"].groupby("class")["prevalence"].unique()
    assert stated[ANY_FINDING].tolist() == [0.02] and "viral" not in stated
    assert sorted(stated["bacterial"]) == [0.05, 0.1, 0.3]


def test_test_labels_reach_no_threshold() -> None:
    found, models = made(models=2)
    before = tables(found, models)
    labels = found.rows["label"].where(
        found.rows["split"] != "test",
        found.rows["label"].map(dict(zip(CLASSES, CLASSES[::-1], strict=True))),
    )
    rows = found.rows.assign(label=labels)
    after = tables(dataclasses.replace(found, rows=rows), models)
    for name in ("net_benefit", "predictive_values", "expected_cost"):
        assert before[name]["threshold"].equals(after[name]["threshold"])
    # Probabilities scaled by a temperature neither: means over all labels stay.
    for table in (before["probabilities"], after["probabilities"]):
        table["sum"] = table["mean"] * table["n"]
    sums = [
        table.groupby(["model", "version", "class"])["sum"].sum()
        for table in (before["probabilities"], after["probabilities"])
    ]
    np.testing.assert_allclose(*sums)


def test_models_images_and_threads_change_no_value() -> None:
    found, models = made(models=3)
    whole = tables(found, models, threads=3)
    alone = found.subset(["loss2-r0"])
    part = tables(alone, {"loss2-r0": models["loss2-r0"]}, close={})
    keys = ["version", "class", "threshold"]
    first, second = (
        t[t["model"] == "loss2-r0"].sort_values(keys).reset_index(drop=True)
        for t in (whole["net_benefit"], part["net_benefit"])
    )
    pd.testing.assert_frame_equal(first, second)
    # Images in another order draw others, and have the same values.
    order = np.random.default_rng(0).permutation(len(found.rows))
    mixed = Predictions(
        found.rows.iloc[order].reset_index(drop=True), found.models, CLASSES, found.p[:, order]
    )
    again = tables(mixed, models)
    for name, column in (("net_benefit", "net_benefit"), ("expected_cost", "cost")):
        np.testing.assert_allclose(again[name][column], whole[name][column], atol=1e-12)


def test_expected_cost_is_least_for_the_cheaper_of_both_at_chance(plain: Any) -> None:
    table = plain[1]["expected_cost"]
    assert sorted(table["ratio"].unique()) == [1, 5, 20]
    assert table["threshold"].to_numpy() == pytest.approx(1 / (1 + table["ratio"].to_numpy()))
    cheaper = table[["treat_all", "treat_none"]].min(axis=1)
    assert table["relative"].to_numpy() == pytest.approx((table["cost"] / cheaper).to_numpy())
    assert (table["ci_low"] <= table["cost"]).all() and (table["cost"] <= table["ci_high"]).all()


def test_differences_are_paired_and_name_what_they_are_against() -> None:
    found, models = made(models=3)
    members = pd.DataFrame(
        {"ensemble": ["loss2-r0"] * 2, "member": ["loss1-r0", "loss0-r0"], "rank": [2, 1]}
    )
    chosen = pd.DataFrame(
        {"what": ["single", "ensemble", "overall"], "model": ["loss0-r0", "loss2-r0", "loss2-r0"]}
    )
    close = evaluation.roles(chosen, members, models, "loss1")
    assert close == {
        "chosen_single": "loss0-r0",
        "chosen_ensemble": "loss2-r0",
        "best_member": "loss0-r0",
        "baseline": "loss1-r0",
    }
    found_tables = tables(found, models, close)
    table = found_tables["net_benefit_differences"]
    pairs = table[["model_a", "model_b", "against"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [
        ["loss0-r0", "loss1-r0", "baseline"],
        ["loss2-r0", "loss0-r0", "chosen_single;best_member"],
        ["loss2-r0", "loss1-r0", "baseline"],
    ]
    benefit = found_tables["net_benefit"].set_index(["model", "version", "class", "threshold"])
    narrower = []
    for row in table[table["threshold"] == 0.25].to_dict("records"):
        at = (row["version"], row["class"], row["threshold"])
        a, b = benefit.loc[(row["model_a"], *at)], benefit.loc[(row["model_b"], *at)]
        assert row["difference"] == pytest.approx(a["net_benefit"] - b["net_benefit"])
        apart = np.hypot(a["ci_high"] - a["ci_low"], b["ci_high"] - b["ci_low"])
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]
        narrower.append((row["ci_high"] - row["ci_low"]) / apart)
    # Errors of all lie on the same images: narrower than for independent ones.
    assert np.mean(narrower) < 0.9


def test_where_a_model_is_of_use() -> None:
    rng = np.random.default_rng(0)
    sizes = {"val": 12, "ensemble": 300, "test": 600}
    found, models = made(models=2, sizes=sizes, signal=3.0)
    noise = rng.dirichlet([2, 2, 2], len(found.rows))
    found = dataclasses.replace(found, p=np.stack([found.p[0], noise]))
    table = tables(found, models)["useful_thresholds"]
    raw = table[table["version"] == "raw"]
    good = raw[(raw["role"] == "chosen_single") & (raw["class"] == ANY_FINDING)]
    assert (good["high"] - good["low"]).max() > 0.3 and (good["reason"] == "").all()
    useless = raw[raw["role"] == "baseline"]
    assert useless["low"].isna().all()
    assert useless["reason"].unique().tolist() == [usefulness.NO_THRESHOLD]


def test_overconfidence_costs_net_benefit_and_a_temperature_gives_it_back() -> None:
    found, models = made(models=1, sizes={"val": 12, "ensemble": 1500, "test": 3000}, signal=1.0)
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 1, 1], len(found.rows))
    y = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)
    rows = found.rows.assign(label=[CLASSES[k] for k in y], patient_id=found.rows["image_id"])
    sharp = p**4 / (p**4).sum(axis=1, keepdims=True)
    found = Predictions(rows, found.models, CLASSES, sharp[None])
    table = tables(found, models, close={}, resamples=100)["net_benefit"]
    honest = tables(dataclasses.replace(found, p=p[None]), models, close={}, resamples=100)
    at = ["class", "threshold"]
    raw, scaled = (table[table["version"] == v].set_index(at) for v in ("raw", "temperature"))
    best = honest["net_benefit"].query("version == 'raw'").set_index(at)["net_benefit"]
    low = [(name, 0.1) for name in CLASSES]
    assert (best[low] - raw.loc[low, "net_benefit"] > 0.01).all()
    assert (scaled.loc[low, "net_benefit"] - best[low]).abs().max() < 0.004


def test_distributions_count_every_image(plain: Any) -> None:
    found, made_tables = plain
    table, test = made_tables["probabilities"], found.only("test")
    bins = [name for name in table if name.startswith("from_")]
    assert (table[bins].sum(axis=1) == table["n"]).all() and len(bins) == 20
    row = table[
        (table["model"] == "loss0-r0")
        & (table["version"] == "raw")
        & (table["class"] == ANY_FINDING)
        & (table["label"] == "viral")
    ].squeeze()
    values = 1 - test.of(["loss0-r0"])[0][test.y == 2, 0]
    assert row["q50"] == pytest.approx(np.median(values))
    assert row["from_95"] == (values >= 0.95).sum() and row["n"] == len(values)


def test_awkward_studies_have_values_or_reasons() -> None:
    found, models = made(models=2)
    # A class that the test split lacks, a failed training, and no scaling.
    rows = found.rows[(found.rows["split"] != "test") | (found.rows["label"] != "viral")]
    p = found.p[:, rows.index].copy()
    p[1] = np.nan
    found = Predictions(rows.reset_index(drop=True), found.models, CLASSES, p)
    got = tables(found, models, {"baseline": "loss0-r0"}, temperature_scaling=False)
    table = got["net_benefit"]
    absent = table[(table["class"] == "viral") & (table["model"] == "loss0-r0")]
    assert absent["net_benefit"].isna().all()
    assert absent["reason"].unique().tolist() == ["no test image is of it"]
    failed = table[table["model"] == "loss1-r0"]
    assert failed["net_benefit"].isna().all() and (failed["reason"] != "").all()
    assert got["net_benefit_differences"].empty
    values = got["predictive_values"]
    gaps = values[values["value"].isna()]
    assert (gaps["reason"] != "").all() and (values["source"] != "test")[
        values["class"] == "viral"
    ].all()


def test_one_patient_and_one_class_of_two() -> None:
    found = simulated.predictions(models=2, classes=("normal", "ill"))
    models = study.entries(simulated.models_of(found).values())
    one = found.rows["patient_id"].where(found.rows["split"] != "test", "same")
    alone = dataclasses.replace(found, rows=found.rows.assign(patient_id=one))
    table = tables(alone, models)["net_benefit"]
    assert table["class"].unique().tolist() == ["ill", "normal"]
    assert table["net_benefit"].notna().all()
    assert (table["n_patients"] == 1).all()
    # One patient is worth one image: the interval is as wide as that.
    assert ((table["ci_high"] - table["ci_low"])[table["threshold"] == 0.5] > 0.3).all()


def test_large_studies_take_seconds() -> None:
    rng = np.random.default_rng(0)
    n = 25_000
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(n)],
            "patient_id": [f"p{k * 3 // 5}" for k in range(n)],
            "split": np.where(np.arange(n) % 5, "test", "ensemble"),
        }
    )
    y = rng.integers(0, 3, n)
    rows["label"] = [CLASSES[k] for k in y]
    p = np.exp(rng.normal(size=(2, n, 3)) + np.eye(3)[y])
    found = Predictions(rows, ["loss0-r0", "loss1-r0"], CLASSES, p / p.sum(axis=2, keepdims=True))
    models = study.entries(simulated.models_of(found).values())
    start = time.process_time()
    tables(found, models)
    assert time.process_time() - start < 20


def test_the_script_says_what_is_set_against_what(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = simulated.predictions(models=2)
    models = tmp_path / "models.csv"
    models.write_text(study.models_text(simulated.models_of(found).values()), encoding="utf-8")
    chosen, members = tmp_path / "chosen.csv", tmp_path / "members.csv"
    chosen.write_text("what,model\nsingle,loss0-r0\noverall,loss0-r0\n")
    members.write_text("ensemble,member,rank\n")
    outputs = {name: str(tmp_path / f"{name}.csv") for name in usefulness.COLUMNS}
    for negative, words in (("normal", "Any finding is set against 'normal'"), (None, "can name")):
        caplog.clear()
        with caplog.at_level("INFO"):
            simulated.run_script(
                root,
                monkeypatch,
                "usefulness",
                input={
                    "predictions": simulated.write(found, tmp_path / "predictions"),
                    "models": str(models),
                    "chosen": str(chosen),
                    "members": str(members),
                },
                output=outputs,
                params={
                    "classes": CLASSES,
                    "divisions": None,
                    "negative": negative,
                    "baseline": "loss1",
                    "evaluation": OPTIONS,
                    "seed": 1,
                },
            )
        assert words in caplog.text
        assert all(Path(path).is_file() for path in outputs.values())
