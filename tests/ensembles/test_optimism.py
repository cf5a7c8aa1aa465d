"""The published protocol's optimism: what it is, and that it leaves the study alone."""

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import study
from multiloss.ensembles import build, optimism, selection
from multiloss.job.seeds import derive
from multiloss.predictions import Predictions
from multiloss.statistics import metrics
from sklearn.metrics import log_loss, matthews_corrcoef

FEW = optimism.Settings(resamples=6, network_resamples=4)
# Less regularised than by default: on pure noise the default stacker rightly says one class.
OPTIONS = {"weighted_average": {"starts": 3}, "stacking": {"alpha": 0.3}}


@pytest.fixture(autouse=True)
def few_restarts(monkeypatch):
    monkeypatch.setattr(optimism, "RESTARTS", 3)


def table(data, entries=None, settings=FEW, seed=1):
    entries = simulated.entries(top_k=[3]) if entries is None else entries
    return optimism.table(data, entries, OPTIONS, seed, settings)


def test_ours_are_the_studys_own_values():
    data = simulated.predictions(0)
    entries = simulated.entries(top_k=[4])
    found = table(data, entries).set_index(["ensemble", "metric"])
    ranking = simulated.ranked(data)
    made = build.build(data, ranking, None, entries, OPTIONS, 4, 1, build.Interval(20))
    test = (data.rows["split"] == "test").to_numpy()
    probabilities = {name: p[test] for name, p in made.p.items()}
    probabilities["best_single-r0"] = data.of([ranking["model"][0]])[0, test]
    y = data.only("test").y
    assert len(found) == 5 * len(optimism.METRICS)
    for (name, metric), row in found.iterrows():
        want = metrics.compute(metric, y, probabilities[name])
        assert row["ours"] == pytest.approx(want), (name, metric)


def test_as_published_is_our_protocol_with_the_test_split_in_both_roles():
    data = simulated.predictions(3)
    found = table(data).set_index(["ensemble", "metric"])["as_published"]
    test = data.only("test")
    twice = test.rows.assign(split="ensemble"), test.rows
    both = Predictions(
        pd.concat(twice, ignore_index=True),
        data.models,
        data.classes,
        np.concatenate([test.p, test.p], axis=1),
    )
    other = table(both).set_index(["ensemble", "metric"])
    for method in ("best_single", "majority_vote-top3", "simple_average-top3", "stacking-top3"):
        for metric in ("mcc", "accuracy", "log_loss"):
            assert found[f"{method}-r0", metric] == pytest.approx(
                other["ours"][f"{method}-r0", metric]
            )
            assert other["difference"][f"{method}-r0", metric] == pytest.approx(0, abs=1e-9)


def test_the_published_way_takes_the_best_restart_by_the_test_score(monkeypatch):
    data = simulated.predictions(0)
    # Solutions a poor optimiser might end in: one member each.
    monkeypatch.setattr(
        "multiloss.ensembles.combiners.WeightedAverage.solutions",
        lambda self, p, y, first=None: (np.array([0.1, 0.2, 0.3]), np.eye(3)),
    )
    found = table(data, simulated.entries(["weighted_average"], [3]))
    found = found[found["metric"] == "mcc"].set_index("method")["as_published"]
    assert found["weighted_average"] == pytest.approx(found["best_single"])


@pytest.fixture(scope="module")
def of_noise():
    """Optimism on models that know nothing, one table for each of some studies."""
    sizes = {"ensemble": 45, "test": 45}
    settings = optimism.Settings(resamples=1, network_resamples=1)
    return [
        table(simulated.predictions(seed, sizes, 8, signal=0.0), settings=settings, seed=seed)
        for seed in range(16)
    ]


@pytest.mark.parametrize(
    "ensemble", ["best_single", "majority_vote", "simple_average", "weighted_average", "stacking"]
)
def test_on_pure_noise_the_published_way_finds_skill_that_is_not_there(of_noise, ensemble):
    values = [
        found[(found["method"] == ensemble) & (found["metric"] == "mcc")].iloc[0]
        for found in of_noise
    ]
    ours, difference = (np.array([row[key] for row in values]) for key in ("ours", "difference"))
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert difference.mean() > 2 * error
    # All of it is flattery: chosen on others, nothing is found on those left out.
    unseen = np.array([row["out_of_bag"] for row in values])
    assert abs(unseen.mean()) < 3 * unseen.std(ddof=1) / np.sqrt(len(unseen))
    assert np.mean([row["optimism"] for row in values]) > 2 * error
    assert abs(ours.mean()) < 3 * ours.std(ddof=1) / np.sqrt(len(ours))


def test_columns_label_and_resamples():
    data = simulated.predictions(0)
    found = table(data)
    assert found.columns.tolist() == [
        "ensemble", "method", "k", "replicate", "metric", "ours", "as_published", "difference",
        "ci_low", "ci_high", "resamples", "reason", "n", "n_patients", "label", "out_of_bag",
        "optimism", "choice_gain", "folds", "divisions",
    ]  # fmt: skip
    np.testing.assert_allclose(found["difference"], found["optimism"] + found["choice_gain"])
    np.testing.assert_allclose(found["optimism"], found["as_published"] - found["out_of_bag"])
    assert set(found["folds"]) == {10} and set(found["divisions"]) == {1}
    np.testing.assert_allclose(found["difference"], found["as_published"] - found["ours"])
    assert (found["ci_low"] <= found["ci_high"]).all()
    assert found["label"].str.startswith("not a result").all()
    resamples = found.groupby("method")["resamples"].first()
    assert resamples["stacking"] == 4 and resamples["simple_average"] == 6
    assert set(found["n"]) == {90} and found["n_patients"][0] < 90


def of_patients(count: int, seed: int = 0, models: int = 5) -> Predictions:
    """A test split of so many patients of two images, three classes in turn, and an `ensemble`."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(4 * count)],
            "patient_id": [f"p{k // 2}" for k in range(4 * count)],
            "split": np.repeat(["test", "ensemble"], 2 * count),
            "label": [simulated.CLASSES[k // 2 % 3] for k in range(4 * count)],
        }
    )
    y = rows["label"].map(simulated.CLASSES.index).to_numpy()
    p = np.exp(rng.normal(size=(models, len(y), 3)) + np.eye(3)[y])
    names = [f"loss{model}-r0" for model in range(models)]
    return Predictions(rows, names, list(simulated.CLASSES), p / p.sum(axis=2, keepdims=True))


@pytest.mark.parametrize(("method", "k"), [("best_single", 1), ("simple_average", 3)])
def test_out_of_bag_is_the_choice_without_the_patient_on_the_patient(method, k):
    """Of nine patients each is left out once, however they are dealt out."""
    part = of_patients(9).only("test")
    found = optimism.out_of_bag(part, {"x": {"method": method, "k": k}}, OPTIONS, 1, FEW)["x"]
    y, patients = part.y, part.patients
    combined = np.empty((len(y), 3))
    for patient in set(patients):
        out = patients == patient
        scores = [matthews_corrcoef(y[~out], p[~out].argmax(axis=1)) for p in part.p]
        losses = [log_loss(y[~out], p[~out]) for p in part.p]
        order = sorted(range(len(scores)), key=lambda m: (-round(scores[m], 12), losses[m]))
        combined[out] = part.p[order[:k]].mean(axis=0)[out]
    assert found.shape == (1, len(optimism.METRICS))
    mcc, accuracy = found[0, :2]
    assert mcc == pytest.approx(matthews_corrcoef(y, combined.argmax(axis=1)))
    assert accuracy == pytest.approx((combined.argmax(axis=1) == y).mean())
    assert found[0, -1] == pytest.approx(log_loss(y, combined))


def test_out_of_bag_does_not_look_at_the_order_of_images_nor_at_names():
    part = of_patients(9).only("test")
    mixed = np.random.default_rng(1).permutation(len(part.rows))
    rows = part.rows.iloc[mixed].reset_index(drop=True)
    rows["patient_id"] = "x" + rows["patient_id"]
    other = Predictions(rows, part.models, part.classes, part.p[:, mixed])
    entries = {"x": {"method": "weighted_average", "k": 3}}
    one, two = (optimism.out_of_bag(each, entries, OPTIONS, 1, FEW)["x"] for each in (part, other))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_without_a_choice_there_is_no_optimism():
    data = simulated.predictions(0, models=3)
    data.p[1:] = data.p[0]
    found = table(data, simulated.entries(["simple_average", "majority_vote"], [3]))
    np.testing.assert_allclose(found["optimism"], 0, atol=1e-12)
    np.testing.assert_allclose(found["choice_gain"], 0, atol=1e-12)


def test_divisions_go_with_the_resamples_and_with_the_networks():
    data = of_patients(12)
    settings = optimism.Settings(resamples=40, network_resamples=20)
    found = optimism.out_of_bag(
        data.only("test"), simulated.entries(["simple_average", "stacking"], [3]), OPTIONS, 1,
        settings,
    )  # fmt: skip
    assert {name.split("-")[0]: len(values) for name, values in found.items()} == {
        "simple_average": 4,
        "stacking": 2,
    }


def test_patients_who_cannot_be_left_out_are_told():
    data = of_patients(12)
    # All patients of class 2 but one are of class 0 now: nothing can be fitted without that one.
    rare = data.rows["label"] == "viral"
    alone = data.rows["patient_id"].isin(["p2", "p14"])
    data.rows.loc[rare & ~alone, "label"] = "normal"
    found = table(data).set_index(["method", "metric"])
    for method in ("weighted_average", "stacking"):
        row = found.loc[(method, "accuracy")]
        assert np.isnan(row["out_of_bag"]) and np.isnan(row["optimism"])
        assert np.isfinite(row["difference"])
        assert "no out-of-bag score: undefined wherever patients are left out" in row["reason"]
    assert np.isfinite(found.loc[("simple_average", "accuracy"), "optimism"])
    # One patient alone cannot be left out.
    part = of_patients(1).only("test")
    found = optimism.out_of_bag(part, {"x": {"method": "best_single", "k": 1}}, OPTIONS, 1, FEW)
    assert found["x"].shape == (0, len(optimism.METRICS))


def test_the_same_seed_gives_the_same_table_and_another_the_same_point():
    data = simulated.predictions(0)
    entries = simulated.entries(["simple_average"], [3])
    one, again, other = (table(data, entries, seed=seed) for seed in (1, 1, 2))
    assert one.equals(again)
    assert one["difference"].equals(other["difference"])
    assert not one["ci_low"].equals(other["ci_low"])


def test_resamples_repeat_the_choice():
    data = simulated.predictions(0)
    images = optimism._resampled(data.only("test"), 30, derive(1, "x"))
    assert (images[0].weights == 1).all()
    assert len({tuple(part.order[:3]) for part in images}) > 3
    for part in images[:5]:
        p, y = part.repeated(np.arange(len(part.p)))
        assert p.shape[1] == len(y) == part.weights.sum()
        np.testing.assert_array_equal(part.order, selection.order(selection.scores(p, y)[:, 0]))


def test_an_undefined_metric_is_empty_with_a_reason():
    data = simulated.predictions(0, models=3)
    data.p[:] = [0.8, 0.1, 0.1]
    found = table(data, simulated.entries(["simple_average"], [3])).set_index(["method", "metric"])
    row = found.loc[("simple_average", "mcc")]
    assert np.isnan(row["difference"]) and np.isnan(row["ci_low"])
    assert row["reason"].startswith("MCC is undefined")
    never = found.loc[("simple_average", "precision")]["reason"]
    assert never == "Precision (weighted) is undefined: a class is never predicted"
    assert found.loc[("simple_average", "accuracy")]["reason"] == ""


def test_resamples_without_a_value_are_told():
    data = simulated.predictions(0, models=3)
    # Class 2 is predicted for one patient alone, whom some resamples do not draw.
    alone = data.rows["image_id"].isin(["test-2", "ensemble-2"]).to_numpy()
    data.p[:] = np.where(
        data.p.argmax(axis=2, keepdims=True) == 0, [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]
    )
    data.p[:, alone] = [0.1, 0.1, 0.8]
    settings = optimism.Settings(resamples=20, network_resamples=1)
    found = table(data, simulated.entries(["simple_average"], [3]), settings)
    found = found.set_index(["method", "metric"])
    row = found.loc[("simple_average", "precision")]
    assert np.isfinite(row["difference"]) and "of the resamples" in row["reason"]
    assert found.loc[("simple_average", "accuracy")]["reason"] == ""


def test_a_failed_model_is_left_out():
    data = simulated.predictions(0, models=4)
    without = data.subset(data.models[1:])
    data.p[0] = np.nan
    entries = simulated.entries(["simple_average"], [3])
    assert table(data, entries)["ours"].equals(table(without, entries)["ours"])


def test_too_few_models_leave_a_gap_with_its_reason():
    data = simulated.predictions(0, models=4)
    data.p[1] = np.nan
    found = table(data, simulated.entries(["simple_average", "stacking"], [3, 4]))
    gap = found["k"] == 4
    assert found.loc[gap, ["ours", "as_published", "difference", "ci_low"]].isna().all().all()
    assert (found.loc[gap, "resamples"] == 0).all()
    told = "4 members are needed, 3 single models have probabilities"
    assert (found.loc[gap, "reason"] == told).all()
    assert found.loc[~gap & (found["metric"] == "accuracy"), "ours"].notna().all()
    data.p[:] = np.nan
    found = table(data, simulated.entries(["simple_average"], [3]))
    assert found["ours"].isna().all() and (found["reason"] != "").all()


def test_what_cannot_be_fitted_leaves_a_gap_with_its_reason():
    data = simulated.predictions(0)
    gone = (data.rows["split"] == "ensemble") & (data.rows["label"] == "viral")
    keep = ~gone.to_numpy()
    rows = data.rows[keep].reset_index(drop=True)
    found = table(Predictions(rows, data.models, data.classes, data.p[:, keep]))
    fitted = found["method"].isin(["weighted_average", "stacking"])
    told = "cannot be fitted: no image of class 'viral' in split `ensemble`"
    assert (found.loc[fitted, "reason"] == told).all()
    assert found.loc[~fitted & (found["metric"] == "accuracy"), "ours"].notna().all()


def test_the_log_loss_of_votes_is_marked():
    found = table(simulated.predictions(0)).set_index(["method", "metric"])["reason"]
    assert found["majority_vote", "log_loss"].startswith("shares of votes")
    assert found["majority_vote", "accuracy"] == found["simple_average", "log_loss"] == ""


def test_script_takes_each_replicate_apart(root, monkeypatch, tmp_path):
    runs = [simulated.predictions(0, models=3, replicate=r) for r in (0, 1)]
    both = simulated.entries(["simple_average", "model_level"], [3], 0)
    both |= simulated.entries(["simple_average", "model_level"], [3], 1)
    singles = [model for run in runs for model in simulated.models_of(run).values()]
    ensembles = [
        study.Model(name, "ensemble", name[:-3], name[:-3], **entry) for name, entry in both.items()
    ]
    (tmp_path / "models.csv").write_text(study.models_text([*singles, *ensembles]))
    simulated.run_script(
        root, monkeypatch, "optimism",
        input={
            "predictions": [p for run in runs for p in simulated.write(run, tmp_path)],
            "models": tmp_path / "models.csv",
        },
        params={
            "classes": runs[0].classes, "divisions": None,
            "ensembles": [name for name in both if "model_level" not in name],
            "options": OPTIONS, "seed": 1,
            "replicates": [0, 1], "resamples": 3, "stacking_resamples": 2, "confidence": 0.95,
        },
        output={"table": tmp_path / "optimism.csv"},
    )  # fmt: skip
    found = pd.read_csv(tmp_path / "optimism.csv", keep_default_na=False)
    assert found["ensemble"].unique().tolist() == [
        "best_single-r0", "simple_average-top3-r0", "best_single-r1", "simple_average-top3-r1",
    ]  # fmt: skip


def test_replicates_are_judged_apart_and_listed_one_below_the_other():
    runs = [simulated.predictions(0, models=4, replicate=replicate) for replicate in (0, 1)]
    models = {
        name: study.Model(name, "single", "loss", "loss", replicate=replicate)
        for replicate, run in enumerate(runs)
        for name in run.models
    }
    for replicate in (0, 1):
        name = f"simple_average-top3-r{replicate}"
        models[name] = study.Model(
            name, "ensemble", "simple_average-top3", "", replicate=replicate,
            method="simple_average", k=3, level="prediction",
        )  # fmt: skip
    # The same images; runs of one loss are neighbours, as in the config's order they need not be.
    p = np.concatenate([runs[0].p, runs[1].p])[[0, 4, 1, 5, 2, 6, 3, 7]]
    names = [name for pair in zip(*(run.models for run in runs), strict=True) for name in pair]
    singles = Predictions(runs[0].rows, names, runs[0].classes, p)
    ensembles = [name for name in models if models[name].kind == "ensemble"]
    found = optimism.tables(singles, models, ensembles, OPTIONS, 1, FEW)
    for replicate, run in enumerate(runs):
        made = study.entries([models[ensembles[replicate]]])
        alone = optimism.table(
            Predictions(singles.rows, run.models, run.classes, run.p), made, OPTIONS, 1, FEW,
            replicate,
        )  # fmt: skip
        part = found[found["replicate"] == replicate].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, alone)
    assert found["replicate"].is_monotonic_increasing
