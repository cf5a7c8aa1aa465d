"""Tables of folds: every value again from the stored predictions, and what is left to one fold."""

import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from multiloss import evaluation, predictions
from multiloss import study as identity
from multiloss.evaluation import families
from multiloss.evaluation import folds as of_folds
from multiloss.job.errors import UserError
from scipy import stats
from sklearn.metrics import matthews_corrcoef

FOLDS, RUNS = 3, 6
LOSSES = ["cce", "focal", "kl_divergence", "hinge"]
WANTED = [
    *("folds", "folds_pooled", "fold_comparisons", "significance", "replicate_comparisons"),
    *("ensemble_comparisons", "seed_spread", "replicates", "rank", "verdicts", "planning"),
]


def made(folder: Path, **options: Any) -> synthetic_results.Study:
    return synthetic_results.make(
        folder, losses=LOSSES, folds=FOLDS, replicates=RUNS, test_images=100, save_images=False,
        with_tables=False, gradcam=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> synthetic_results.Study:
    found = made(tmp_path_factory.mktemp("folds"), ablations=("without_crop",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        synthetic_results.tables(found.results, found.config, 50, 199, only=WANTED)
    return found


def table(study: synthetic_results.Study, name: str) -> pd.DataFrame:
    path = study.results / "tables" / f"{name}.csv"
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def on_test(study: synthetic_results.Study, model: str) -> pd.DataFrame:
    frame = pd.read_csv(study.results / "predictions" / f"{model}.csv")
    return frame[frame["split"] == "test"].reset_index(drop=True)


def score(frame: pd.DataFrame, classes: list[str]) -> float:
    said = frame[[f"p_{name}" for name in classes]].to_numpy().argmax(axis=1)
    return float(matthews_corrcoef(frame["label"], np.array(classes)[said]))


def by_hand(study: synthetic_results.Study, family: str) -> np.ndarray:
    classes = study.config["classes"]
    return np.array([score(on_test(study, f"{family}-r{run}"), classes) for run in range(RUNS)])


def sizes(study: synthetic_results.Study) -> tuple[float, float]:
    """Patients tested on and trained on, summed over the runs."""
    found = np.zeros(2)
    for run in range(RUNS):
        name = f"data/manifests/{run}.csv" if run else "data/manifest.csv"
        manifest = pd.read_csv(study.results / name)
        of_split = manifest.groupby("split")["patient_id"].nunique()
        found += [of_split["test"], of_split["train"]]
    return found[0], found[1]


def test_each_fold_is_that_of_its_run(study: synthetic_results.Study) -> None:
    rows = table(study, "folds")
    rows = rows[(rows["family"] == "focal") & (rows["metric"] == "mcc")]
    assert list(rows["model"]) == [f"focal-r{run}" for run in range(RUNS)]
    assert list(zip(rows["pass"], rows["fold"], strict=True)) == [divmod(r, 3) for r in range(RUNS)]
    assert rows["value"].to_numpy() == pytest.approx(by_hand(study, "focal"), abs=1e-9)
    assert (rows["n_patients"].sum(), rows["n_train_patients"].sum()) == sizes(study)
    for _, own in rows.groupby("pass"):
        assert own["n"].sum() == len(pd.read_csv(study.results / "data/manifest.csv"))


def test_pooled_predictions_are_those_of_all_folds(study: synthetic_results.Study) -> None:
    classes, rows = study.config["classes"], table(study, "folds_pooled")
    row = rows[(rows["family"] == "hinge") & (rows["metric"] == "mcc")].iloc[0]
    passes = [
        pd.concat([on_test(study, f"hinge-r{run}") for run in range(first, first + FOLDS)])
        for first in (0, FOLDS)
    ]
    assert row["value"] == pytest.approx(np.mean([score(own, classes) for own in passes]), abs=1e-9)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    values = by_hand(study, "hinge")
    found = row[["fold_mean", "fold_sd", "fold_minimum", "fold_maximum"]].astype(float)
    assert list(found) == pytest.approx(
        [values.mean(), values.std(ddof=1), values.min(), values.max()], abs=1e-9
    )
    assert (row["folds"], row["passes"], row["n"]) == (RUNS, 2, len(passes[0]))
    areas = rows[rows["metric"] == "auroc"]
    assert areas["value"].isna().all() and areas["fold_mean"].notna().all()
    assert (areas["reason"] == of_folds.NOT_POOLED).all()


def test_a_loss_is_compared_by_the_corrected_test(study: synthetic_results.Study) -> None:
    rows = table(study, "fold_comparisons").set_index("a")
    row = rows.loc["focal"]
    differences = by_hand(study, "focal") - by_hand(study, "cce")
    n_test, n_train = sizes(study)
    se = np.sqrt((1 / RUNS + n_test / n_train) * differences.var(ddof=1))
    assert row["difference"] == pytest.approx(differences.mean(), abs=1e-9)
    assert row["test_to_train"] == pytest.approx(n_test / n_train)
    assert (row["se"], row["df"]) == pytest.approx((se, RUNS - 1))
    half = stats.t(RUNS - 1).ppf(0.975) * se
    assert row["ci_low"] == pytest.approx(differences.mean() - half)
    assert row["p_value"] == pytest.approx(2 * stats.t(RUNS - 1).sf(abs(differences.mean() / se)))
    assert row["wins"] == (differences > 0).mean()
    assert (row["folds"], row["passes"]) == (RUNS, 2)


def test_families_are_corrected_and_two_are_primary(study: synthetic_results.Study) -> None:
    rows = table(study, "fold_comparisons")
    kinds = dict(zip(rows["a"], rows["family"], strict=True))
    assert kinds["focal"] == kinds["hinge"] == families.BASELINE
    assert kinds["kl_divergence"] == families.NOISE_FLOOR
    assert kinds["cce_without_crop"] == families.ABLATIONS
    assert kinds["chosen ensemble"] == families.CHOSEN
    assert set(rows.loc[rows["primary"], "family"]) == {families.BASELINE, families.BEST_MEMBER}
    for _, own in rows.groupby("family"):
        assert (own["hypotheses"] == len(own)).all()
        order = own.sort_values("p_value")
        steps = order["p_value"].to_numpy() * np.arange(len(own), 0, -1)
        holm = np.minimum(np.maximum.accumulate(steps), 1)
        assert order["p_adjusted"].to_numpy() == pytest.approx(holm)


def test_ensembles_meet_the_best_member_of_their_run(study: synthetic_results.Study) -> None:
    rows = table(study, "fold_comparisons")
    row = rows[(rows["a"] == "simple_average-top3")].iloc[0]
    classes, differences, opponents = study.config["classes"], [], []
    for run in range(RUNS):
        ranked = pd.read_csv(study.results / f"ensembles/r{run}/ranking.csv")
        best = ranked.loc[ranked["rank"] == 1, "model"].iloc[0]
        opponents.append(best.rpartition("-r")[0])
        own = score(on_test(study, f"simple_average-top3-r{run}"), classes)
        differences.append(own - score(on_test(study, best), classes))
    assert row["difference"] == pytest.approx(np.mean(differences), abs=1e-9)
    assert row["b"] == ";".join(dict.fromkeys(opponents))
    average = rows[rows["a"] == "weighted_average-model_level"].set_index("family")
    assert set(average.index) == {families.BEST_MEMBER, families.BEST_SINGLE}
    member = average.loc[families.BEST_MEMBER]
    assert (member["b"], member["difference"], member["p_value"]) == ("model_level-top3", 0, 1)


def test_all_other_tables_are_of_the_first_run_and_answer_nothing(
    study: synthetic_results.Study,
) -> None:
    shown = set(identity.Study(study.config).shown.models)
    assert all(name.endswith("-r0") for name in shown)
    significance = table(study, "significance")
    assert not significance["primary"].any()
    assert set(significance["model_a"][significance["test"] != "cochran_q"]) <= shown
    assert set(table(study, "rank")["model"]) <= shown
    for name in ("replicate_comparisons", "ensemble_comparisons"):
        rows = table(study, name)
        assert not rows["primary"].any() and rows["p_value"].isna().all()
        assert rows["reason"].str.endswith(of_folds.ELSEWHERE).all()
    assert (table(study, "replicates")["replicates"] == 1).all()
    empty = significance[significance["model_b"].isna() & (significance["test"] == "permutation")]
    assert empty["reason"].str.contains("with splits.folds no two runs").all() and len(empty)


def test_verdicts_are_on_the_comparisons_of_folds(study: synthetic_results.Study) -> None:
    compared = table(study, "fold_comparisons")
    compared = compared[compared["primary"]]
    rows = table(study, "verdicts")
    rows = rows[rows["question"] != "claim"]
    assert (rows["basis"] == "folds").all()
    assert set(zip(rows["a"], rows["difference"], strict=True)) == set(
        zip(compared["a"], compared["difference"], strict=True)
    )
    # The average of one ensemble is that ensemble, in every run.
    assert set(rows.loc[rows["detectable"].isna(), "a"]) == {"weighted_average-model_level"}
    assert rows["p_false_claim"].isna().all()
    row = rows[rows["a"] == "focal"].iloc[0]
    # The correlated Bayesian t test of Benavoli et al. (2017).
    t = row["difference"] / row["se"]
    assert row["p_positive"] == pytest.approx(stats.t(RUNS - 1).cdf(t))
    assert set(table(study, "planning")["kind"]) == {"precision"}


def read(study: synthetic_results.Study) -> of_folds.Folds:
    return synthetic_results.folds_of(
        study.results, identity.Study(study.config),
        study.config["evaluation"] | {"resamples": 50}, study.config["significance"],
    )  # fmt: skip


def test_a_failed_run_is_left_out_and_told(tmp_path: Path) -> None:
    study = made(tmp_path)
    path = study.results / "predictions/focal-r4.csv"
    frame = pd.read_csv(path)
    frame[[name for name in frame if name.startswith("p_")]] = np.nan
    frame.to_csv(path, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = read(study)
        rows = evaluation.folds_table(folds).set_index(["family", "run", "metric"])
        pooled = evaluation.pooled_table(folds, 1).set_index(["family", "metric"])
        compared = evaluation.fold_comparisons_table(folds, study.config["significance"])
    lost = rows.loc[("focal", 4, "mcc")]
    assert np.isnan(lost["value"]) and lost["reason"] == evaluation.FAILED
    # Of the first pass alone; the mean of folds is of all runs but that one.
    classes = study.config["classes"]
    first = pd.concat([on_test(study, f"focal-r{run}") for run in range(FOLDS)])
    own = pooled.loc[("focal", "mcc")]
    assert own["value"] == pytest.approx(score(first, classes), abs=1e-9)
    assert (own["folds"], own["passes"]) == (RUNS - 1, 1)
    assert own["reason"].startswith("1 of 6 runs have no probabilities")
    row = compared[(compared["a"] == "focal")].iloc[0]
    assert (row["folds"], row["df"]) == (RUNS - 1, RUNS - 2)
    assert row["reason"] == "1 of 6 runs left out: no value"
    kept = np.delete(np.arange(RUNS), 4)
    differences = [
        score(on_test(study, f"focal-r{run}"), classes)
        - score(on_test(study, f"cce-r{run}"), classes)
        for run in kept
    ]
    assert row["difference"] == pytest.approx(np.mean(differences), abs=1e-9)


def test_models_that_name_one_class_count_as_chance(tmp_path: Path) -> None:
    study = made(tmp_path, collapsed=("hinge",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = read(study)
        rows = evaluation.folds_table(folds).set_index(["family", "run", "metric"])
        pooled = evaluation.pooled_table(folds, 1).set_index(["family", "metric"])
        compared = evaluation.fold_comparisons_table(folds, study.config["significance"])
    assert np.isnan(rows.loc[("hinge", 0, "mcc"), "value"])
    assert "one class" in rows.loc[("hinge", 0, "mcc"), "reason"]
    assert pooled.loc[("hinge", "mcc"), "fold_mean"] == 0
    assert "MCC is undefined in 6 folds, where it is 0" in pooled.loc[("hinge", "mcc"), "reason"]
    row = compared[compared["a"] == "hinge"].iloc[0]
    assert row["difference"] == pytest.approx(-by_hand(study, "cce").mean(), abs=1e-9)


def test_labels_of_a_test_fold_change_no_choice_of_its_run(
    study: synthetic_results.Study, tmp_path: Path
) -> None:
    """Exchanged in the predictions of run 1: what runs chose, and their members, stay."""
    before = read(study)
    results = tmp_path / "results"
    shutil.copytree(study.results, results)
    rng = np.random.default_rng(0)
    images = on_test(study, "cce-r1")
    exchanged = dict(zip(images["image_id"], rng.permutation(images["label"]), strict=True))
    for path in results.glob("predictions/*-r1.csv"):
        frame = pd.read_csv(path)
        frame["label"] = frame["image_id"].map(exchanged).fillna(frame["label"])
        frame.to_csv(path, index=False)
    after = read(dataclasses.replace(study, results=results))
    assert [run.chosen for run in before.runs] == [run.chosen for run in after.runs]
    assert [run.best for run in before.runs] == [run.best for run in after.runs]
    changed = before.tested("cce") != after.tested("cce")
    assert list(changed) == [run == 1 for run in range(RUNS)]


def test_folds_that_do_not_add_up_are_refused(study: synthetic_results.Study) -> None:
    runs = read(study).runs
    parts = [run.part for run in runs]
    manifests = [pd.DataFrame({"split": ["train"], "patient_id": ["p"]})] * RUNS
    members = pd.DataFrame({"ensemble": [], "member": [], "rank": []})
    chosen = [pd.DataFrame({"what": [], "model": []})] * RUNS
    part = parts[4]
    short = predictions.Predictions(part.rows.iloc[1:], part.models, part.classes, part.p[:, 1:])
    with pytest.raises(UserError, match="runs 3 to 5: their test splits are not all images once"):
        evaluation.fold_runs([*parts[:4], short, parts[5]], manifests, members, chosen, FOLDS)
