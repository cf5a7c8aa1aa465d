"""Runs with divisions of their own: read together, judged on their own images, named if unfit."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation, predictions, study
from multiloss.evaluation.calibration_tables import CALIBRATION_METRICS
from multiloss.job.errors import UserError
from multiloss.predictions import Predictions
from multiloss.statistics import calibration

OPTIONS = {
    "resamples": 100,
    "interval": "auto",
    "confidence": 0.95,
    "ece_bins": 10,
    "operating_point": "youden",
    "temperature_scaling": True,
}
AVERAGE = "seed_average-loss0-top2"
Entries = dict[str, dict[str, Any]]


def runs(count: int = 2, models: int = 2) -> list[Predictions]:
    """Each run's models: other val and ensemble images in each run, one test split."""
    found = [simulated.predictions(run, models=models, replicate=run) for run in range(count)]
    test = (found[0].rows["split"] == "test").to_numpy()
    for place, own in enumerate(found[1:], 1):
        # As in every run, the common images come last and in the same order.
        pool = own.rows[~test].assign(image_id=lambda t, r=place: f"r{r}-" + t["image_id"])
        rows = pd.concat([pool, found[0].rows[test]], ignore_index=True)
        found[place] = Predictions(rows, own.models, own.classes, own.p)
    return found


@pytest.fixture
def written(tmp_path: Path) -> tuple[list[Predictions], list[str], Entries, dict[str, int | None]]:
    """Two runs, their files with an average over both, what they are, and whose division."""
    own = runs()
    paths = [path for run in own for path in simulated.write(run, tmp_path)]
    models = {name: model for run in own for name, model in simulated.models_of(run).items()}
    divisions: dict[str, int | None] = {name: model.replicate for name, model in models.items()}
    members = [path for path in paths if Path(path).stem.startswith("loss0")]
    shared = predictions.read(members, own[0].classes, divisions=divisions)
    average = Predictions(shared.rows, [AVERAGE], shared.classes, shared.p.mean(axis=0)[None])
    paths += simulated.write(average, tmp_path)
    entries = study.entries(models.values())
    entries[AVERAGE] = simulated.entry(
        "seed_ensemble", "loss0", None, family=AVERAGE, method="seed_average", k=2
    )
    return own, paths, entries, divisions | {AVERAGE: None}


def test_reading_keeps_divisions_apart(written) -> None:
    own, paths, _, divisions = written
    with pytest.raises(UserError, match="images, splits or labels differ"):
        predictions.read(paths, own[0].classes)
    found = predictions.read(paths, own[0].classes, divisions=divisions)
    assert found.models == [Path(path).stem for path in paths]
    assert found.splits == {"val", "ensemble", "test"}
    assert set(found.rows["split"]) == {"test"}
    test = own[0].only("test")
    assert found.rows.equals(test.rows)
    np.testing.assert_allclose(found.p[:2], test.p, atol=1e-9)
    np.testing.assert_allclose(
        found.of([AVERAGE]), found.of(["loss0-r0", "loss0-r1"]).mean(0)[None]
    )
    for split in ("val", "ensemble"):
        for part, run in zip(found.parts(split), own, strict=True):
            assert part.models == run.models
            assert part.rows.equals(run.only(split).rows)
            np.testing.assert_allclose(part.p, run.only(split).p, atol=1e-9)
    with pytest.raises(UserError, match="no image in split 'ensemble'"):
        found.only("ensemble")
    # The order of files is that of the models, whatever their runs.
    backwards = predictions.read(paths[::-1], own[0].classes, divisions=divisions)
    assert backwards.models == found.models[::-1]
    np.testing.assert_array_equal(backwards.p, found.p[::-1])
    some = found.subset(["loss1-r1"])
    assert [part.models for part in some.parts("val")] == [["loss1-r1"]]


def test_other_test_images_in_one_run_are_refused(written) -> None:
    own, paths, _, divisions = written
    table = pd.read_csv(paths[2])
    for path in paths[2:4]:
        table = pd.read_csv(path)
        table[table["image_id"] != "test-3"].to_csv(path, index=False)
    with pytest.raises(UserError, match="loss0-r1.csv: images or labels of the common splits"):
        predictions.read(paths, own[0].classes, divisions=divisions)


def test_a_run_with_two_divisions_is_refused(written) -> None:
    own, paths, _, divisions = written
    with pytest.raises(UserError, match="loss1-r1.csv: images, splits or labels differ"):
        predictions.read(paths, own[0].classes, divisions=divisions | {"loss1-r1": 0})


def test_every_table_has_the_values_of_each_run_by_itself(written) -> None:
    own, paths, models, divisions = written
    classes = own[0].classes
    found = predictions.read(paths, classes, divisions=divisions)
    everything, entries = evaluation.with_scaled(found, models, OPTIONS)
    points, thresholds = evaluation.operating_points(everything, entries, OPTIONS)
    together = {
        "metrics": evaluation.metrics_table(everything, entries, OPTIONS, 1, thresholds),
        "points": points,
        "confusion": evaluation.confusion_table(everything),
        "curves": evaluation.curves_table(found, OPTIONS, 1),
        "degenerate": evaluation.degenerate_table(found, models),
        "reliability": evaluation.reliability_table(everything, entries, OPTIONS),
    }
    assert set(together["metrics"]["split"]) == {"val", "ensemble", "test"}
    for run in own:
        files = [path for path in paths if Path(path).stem in run.models]
        alone = predictions.read(files, classes)
        scaled, named = evaluation.with_scaled(alone, models, OPTIONS)
        its_points, its_thresholds = evaluation.operating_points(scaled, named, OPTIONS)
        apart = {
            "metrics": evaluation.metrics_table(scaled, named, OPTIONS, 1, its_thresholds),
            "points": its_points,
            "confusion": evaluation.confusion_table(scaled),
            "curves": evaluation.curves_table(alone, OPTIONS, 1),
            "degenerate": evaluation.degenerate_table(alone, models),
            "reliability": evaluation.reliability_table(scaled, named, OPTIONS),
        }
        for name, table in apart.items():
            part = together[name]
            part = part[part["model"].isin(scaled.models)]
            keys = [key for key in ("model", "split", "curve") if key in part]
            pd.testing.assert_frame_equal(
                part.sort_values(keys, kind="stable").reset_index(drop=True),
                table.sort_values(keys, kind="stable").reset_index(drop=True),
                check_dtype=False,
                obj=name,
            )


def test_average_over_divisions_has_no_thresholds_nor_temperature(written) -> None:
    own, paths, models, divisions = written
    found = predictions.read(paths, own[0].classes, divisions=divisions)
    everything, entries = evaluation.with_scaled(found, models, OPTIONS)
    assert study.scaled("loss0-r1") in entries
    assert study.scaled(AVERAGE) not in everything.models
    points, thresholds = evaluation.operating_points(everything, entries, OPTIONS)
    its = points[points["model"] == AVERAGE]
    assert its["threshold"].isna().all() and (its["n"] == 0).all()
    assert its["reason"].str.contains("different images in the split `ensemble`").all()
    table = evaluation.metrics_table(everything, entries, OPTIONS, 1, thresholds)
    its = table[table["model"] == AVERAGE].set_index("metric")
    assert set(its["split"]) == {"test"}
    assert np.isfinite(its.loc["accuracy", "value"])
    gap = its.loc["sensitivity_viral"]
    assert np.isnan(gap["value"])
    assert gap["reason"] == "no operating point for class 'viral'"


def test_calibration_of_runs_with_their_own_temperatures_and_shares(written) -> None:
    own, paths, models, divisions = written
    classes = own[0].classes
    found = predictions.read(paths, classes, divisions=divisions)
    train = {0: np.array([0.2, 0.3, 0.5]), 1: np.array([0.4, 0.3, 0.3])}
    assumed = evaluation.trained_shares(
        models,
        {AVERAGE: ["loss0-r0", "loss0-r1"]},
        {"loss0": "none", "loss1": "none"},
        train,
        train,
    )
    assert assumed["loss1-r1"].tolist() == train[1].tolist()
    np.testing.assert_allclose(assumed[AVERAGE], [0.3, 0.3, 0.4])
    scores, _ = evaluation.calibration_tables(found, models, OPTIONS, 1, assumed, {})
    for run in own:
        part = run.only("ensemble")
        for model, p in zip(part.models, part.p, strict=True):
            its = scores[(scores["model"] == model) & (scores["version"] == "temperature")]
            np.testing.assert_allclose(
                its["temperature"], calibration.fit_temperature(part.y, p), rtol=1e-6
            )
            assert its.loc[its["metric"].isin(CALIBRATION_METRICS), "value"].notna().all()
    scores = scores[scores["metric"].isin(CALIBRATION_METRICS)]
    gaps = scores[(scores["model"] == AVERAGE)].groupby("version")
    assert gaps["value"].apply(lambda values: values.notna().all()).to_dict() == {
        "prior_corrected": True, "raw": True,
        "temperature": False, "temperature_prior_corrected": False,
    }  # fmt: skip
    reasons = scores.loc[scores["value"].isna(), "reason"]
    assert reasons.str.startswith("no temperature: its members have different images").all()
    assert len(reasons) == 16
