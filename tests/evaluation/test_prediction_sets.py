"""Tables of sets and of abstention: direct counts, no say of the test split, awkward input."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation, study
from multiloss.evaluation import prediction_sets
from multiloss.predictions import Predictions
from multiloss.statistics import conformal

CLASSES = list(simulated.CLASSES)
OPTIONS = {"resamples": 200, "confidence": 0.95, "set_coverage": [0.8, 0.9]}
CLOSE = {"chosen_single": "loss0-r0", "baseline": "loss1-r0"}


def made(**options: Any) -> tuple[Predictions, dict[str, dict[str, Any]]]:
    found = simulated.predictions(models=2, **options)
    return found, study.entries(simulated.models_of(found).values())


def tables(found: Predictions, models: Any, **options: Any) -> dict[str, pd.DataFrame]:
    return evaluation.prediction_set_tables(found, models, OPTIONS | options, 1, CLOSE)


def test_coverage_counts_every_patient_once() -> None:
    found, models = made()
    table = tables(found, models)["prediction_sets"]
    assert list(table) == prediction_sets.COLUMNS["prediction_sets"]
    assert len(table) == 2 * 2 * (1 + len(CLASSES))
    choice, test = found.only("ensemble"), found.only("test")
    limits, _ = conformal.class_limits(choice.of(["loss0-r0"])[0], choice.y, choice.patients, 0.8)
    inside = test.of(["loss0-r0"])[0] >= limits
    part = table[(table["model"] == "loss0-r0") & (table["coverage"] == 0.8)]
    for label, of in [("", test.y >= 0), *((n, test.y == k) for k, n in enumerate(CLASSES))]:
        row = part[part["label"] == label].squeeze()
        frame = pd.DataFrame(
            {"patient": test.patients, "held": inside[np.arange(len(test.y)), test.y]}
        )[of]
        assert row["covered"] == pytest.approx(frame.groupby("patient")["held"].mean().mean())
        assert row["ci_low"] <= row["covered"] <= row["ci_high"]
        sizes = inside[of].sum(axis=1)
        assert row["mean_size"] == pytest.approx(sizes.mean())
        assert row["one_class"] == pytest.approx((sizes == 1).mean())
        assert (row["n"], row["n_patients"]) == (of.sum(), frame["patient"].nunique())


def test_errors_at_abstention_are_those_of_the_surest() -> None:
    found, models = made()
    table = tables(found, models)["abstention"]
    choice, test = (found.only(split) for split in ("ensemble", "test"))
    p = test.of(["loss1-r0"])[0]
    part = table[table["model"] == "loss1-r0"]
    assert part["asked"].tolist() == pytest.approx(prediction_sets.KEPT)
    assert part["limit"].is_monotonic_decreasing and part["kept"].is_monotonic_increasing
    row = part[np.isclose(part["asked"], 0.5)].squeeze()
    top = np.sort(choice.of(["loss1-r0"])[0].max(axis=1))[::-1]
    answered = p.max(axis=1) >= top[len(top) // 2 - 1]
    wrong = p.argmax(axis=1) != test.y
    assert row["kept"] == pytest.approx(answered.mean())
    assert row["error"] == pytest.approx(wrong[answered].mean())
    wanted = np.mean([wrong[answered & (test.y == k)].mean() for k in range(3)])
    assert row["balanced_error"] == pytest.approx(wanted)
    whole = part[part["asked"] == 1].squeeze()
    assert whole["kept"] == 1 and whole["error"] == pytest.approx(wrong.mean())


def test_test_labels_set_no_limit() -> None:
    found, models = made()
    turned = found.rows["label"].map(dict(zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True)))
    labels = turned.where(found.rows["split"] == "test", found.rows["label"])
    other = dataclasses.replace(found, rows=found.rows.assign(label=labels))
    for name, table in tables(found, models).items():
        pd.testing.assert_series_equal(table["limit"], tables(other, models)[name]["limit"])


def test_awkward_studies_have_values_or_reasons() -> None:
    # Six patients of a class behind the limit, and none in the test split.
    found, models = made(sizes={"val": 12, "ensemble": 18, "test": 40})
    rows = found.rows[(found.rows["split"] != "test") | (found.rows["label"] != "viral")]
    p = found.p[:, rows.index].copy()
    p[1] = np.nan
    found = Predictions(rows.reset_index(drop=True), found.models, CLASSES, p)
    models["loss0-r0"]["method"] = "stacking"
    table = tables(found, models)["prediction_sets"]
    assert table["model"].unique().tolist() == ["loss0-r0"]
    absent = table[table["label"] == "viral"]
    assert absent["covered"].isna().all() and (absent["n"] == 0).all()
    few = table[(table["coverage"] == 0.9) & (table["label"] == "normal")].squeeze()
    assert few["limit"] == 0 and few["covered"] == 1
    assert "where 9 are needed: it is in every set" in few["reason"]
    assert few["reason"].endswith(prediction_sets.FITTED)


def test_an_answer_to_nothing_has_a_reason() -> None:
    found, models = made()
    p = found.p.copy()
    unsure = (found.rows["split"] == "test").to_numpy()
    p[:, unsure] = 0.5 * p[:, unsure] + 0.5 / 3
    table = tables(dataclasses.replace(found, p=p), models)["abstention"]
    nothing = table[table["n_kept"] == 0]
    assert len(nothing) and nothing["error"].isna().all()
    assert (nothing["reason"] == "no test image is as sure").all()


def test_the_script_writes_both_tables(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = made()
    models = study.models_text(simulated.models_of(found).values())
    (tmp_path / "models.csv").write_text(models, encoding="utf-8")
    (tmp_path / "chosen.csv").write_text("what,model\nsingle,loss0-r0\noverall,loss0-r0\n")
    (tmp_path / "members.csv").write_text("ensemble,member,rank\n")
    outputs = {name: str(tmp_path / f"out_{name}.csv") for name in prediction_sets.COLUMNS}
    simulated.run_script(
        root,
        monkeypatch,
        "prediction_sets",
        input={
            "predictions": simulated.write(found, tmp_path / "predictions"),
            **{name: str(tmp_path / f"{name}.csv") for name in ("models", "chosen", "members")},
        },
        output=outputs,
        params={
            "classes": CLASSES,
            "divisions": None,
            "baseline": "loss1",
            "evaluation": OPTIONS,
            "seed": 1,
        },
    )
    for name, path in outputs.items():
        assert list(pd.read_csv(path)) == prediction_sets.COLUMNS[name]
