"""Planned comparisons, their rows, and the families of the corrections."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.evaluation import families, significance_table
from multiloss.losses import catalog
from multiloss.predictions import Predictions
from multiloss.statistics import paired
from statsmodels.stats.multitest import multipletests

CLASSES = ["a", "b", "c"]
EVALUATION = {"resamples": 200, "interval": "auto", "confidence": 0.95, "ece_bins": 5}
SIGNIFICANCE = {"permutations": 500, "alpha": 0.05, "baseline": "cce"}
MEMBERS = pd.DataFrame(
    {
        "ensemble": ["simple_average-top2-r0"] * 2,
        "member": ["kl_divergence-r0", "cce-r0"],
        "rank": [2, 1],
    }
)


def single(loss: str, replicate: int = 0, kind: str = "single") -> dict[str, Any]:
    return simulated.entry(kind, loss, replicate)


MODELS = {
    "cce-r0": single("cce"),
    "kl_divergence-r0": single("kl_divergence"),
    "calibrated_cce-r0": single("calibrated_cce"),
    "cce_without_crop-r0": single("cce_without_crop", kind="ablation"),
    "simple_average-top2-r0": simulated.entry(
        "ensemble", family="simple_average-top2", method="simple_average", k=2
    ),
    "seed_average-cce-top2": simulated.entry(
        "seed_ensemble", "cce", None, family="seed_average-cce-top2", method="seed_average", k=2
    ),
}


def predictions(n: int = 120, seed: int = 0, models: dict[str, Any] = MODELS) -> Predictions:
    rng = np.random.default_rng(seed)
    y = np.arange(n) // 2 % 3
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(n)],
            "patient_id": [f"p{k // 2}" for k in range(n)],
            "split": "test",
            "label": [CLASSES[k] for k in y],
        }
    )
    p = np.exp(rng.normal(size=(len(models), n, 3)) + 1.5 * np.eye(3)[y])
    return Predictions(rows, list(models), CLASSES, p / p.sum(axis=2, keepdims=True))


def table(found: Predictions, models: dict[str, Any] = MODELS, **changed: Any) -> pd.DataFrame:
    options = SIGNIFICANCE | changed
    return significance_table(found, models, MEMBERS, options, EVALUATION, 1)


def test_planned_pairs() -> None:
    assert families.pairs(MODELS, MEMBERS, "cce") == [
        ("against_best_member", "simple_average-top2-r0", "cce-r0"),
        ("against_seed_ensemble", "simple_average-top2-r0", "seed_average-cce-top2"),
        ("against_baseline", "calibrated_cce-r0", "cce-r0"),
        ("ensembles_against_baseline", "simple_average-top2-r0", "cce-r0"),
        ("seed_averages_against_baseline", "seed_average-cce-top2", "cce-r0"),
        ("ablations", "cce_without_crop-r0", "cce-r0"),
        ("noise_floor", "kl_divergence-r0", "cce-r0"),
        ("calibrated_against_plain", "calibrated_cce-r0", "cce-r0"),
    ]


def entries(**losses: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"loss": {"name": name} | given} for name, given in losses.items()}


def test_the_same_objective_needs_the_same_parameters() -> None:
    def same(**losses: dict[str, Any]) -> list[tuple[str, str]]:
        return families.same_objective(entries(**losses))

    both = [("calibrated_kl_divergence", "calibrated_cce")]
    assert same(calibrated_cce={}, calibrated_kl_divergence={}) == both
    # A parameter that is not given has its default, which is 1.
    assert same(calibrated_cce={}, calibrated_kl_divergence={"beta": 1}) == both
    assert same(calibrated_kl_divergence={"beta": 2.0}, calibrated_cce={"beta": 2}) == both
    assert same(calibrated_cce={}, calibrated_kl_divergence={"beta": 2}) == []
    assert same(kl_divergence={}, cce={}) == [("kl_divergence", "cce")]


def test_special_cases_are_the_same_objective() -> None:
    zero = {
        "kl_divergence": {},
        "focal": {"gamma": 0},
        "cce_entropy": {"beta": 0},
        "label_smoothed_cce": {"s": 0},
        "label_smoothed_focal": {"s": 0, "gamma": 0},
        "calibrated_cce": {"beta": 0.0},
        "calibrated_focal": {"beta": 0, "gamma": 0},
        "calibrated_negative_entropy": {"beta": 0, "lambda": 0},
    }
    found = families.same_objective(entries(cce={}, **zero))
    assert found == [(name, "cce") for name in zero]
    assert families.objective({"name": "calibrated_focal", "beta": 0}) == (
        "focal",
        frozenset({("gamma", 2.0)}),
    )
    # An entropy term is left of this one.
    assert families.objective({"name": "calibrated_negative_entropy", "beta": 0})[0] != "cce"
    everything = families.named(catalog("classification"))
    assert families.same_objective(everything) == [
        ("kl_divergence", "cce"),
        ("calibrated_kl_divergence", "calibrated_cce"),
    ]


@pytest.mark.parametrize(
    ("losses", "plain", "reason"),
    [
        ({"calibrated_focal": {}, "focal": {}}, "focal", None),
        ({"calibrated_focal": {"gamma": 2, "beta": 7}, "focal": {}}, "focal", None),
        ({"calibrated_focal": {"gamma": 3}, "focal": {}}, None, "focal is there with other"),
        ({"calibrated_focal": {"gamma": 3}, "focal": {"gamma": 3}}, "focal", None),
        ({"calibrated_cce": {"beta": 0}, "cce": {}}, None, "gap is 0"),
        ({"calibrated_negative_entropy": {}, "cce": {}}, "cce", None),
        ({"calibrated_negative_entropy": {"lambda": 1}, "cce": {}}, None, "a weight of 1"),
        ({"calibrated_hinge": {}, "cce": {}}, None, "hinge is not in the study"),
    ],
)
def test_the_plain_form_differs_by_the_gap_alone(
    losses: dict[str, Any], plain: str | None, reason: str | None
) -> None:
    calibrated = next(iter(losses))
    plain_of, left_out = families.plain_forms(entries(**losses))
    assert plain_of == ({calibrated: plain} if plain else {})
    assert (reason or "") in left_out.get(calibrated, "")
    assert (calibrated in left_out) == (reason is not None)


def test_pairs_follow_the_parameters() -> None:
    losses = entries(cce={}, kl_divergence={}, calibrated_cce={"beta": 0})
    planned = families.pairs(MODELS, MEMBERS, "cce", losses)
    assert [pair for pair in planned if pair[0] in ("noise_floor", "calibrated_against_plain")] == [
        ("noise_floor", "kl_divergence-r0", "cce-r0"),
        ("noise_floor", "calibrated_cce-r0", "cce-r0"),
    ]


def test_an_ensemble_of_ensembles_also_meets_the_best_single_model() -> None:
    ensemble = {"kind": "ensemble", "loss": None, "method": "weighted_average", "k": 2}
    models = {f"{loss}-r{r}": single(loss, r) for loss in ("cce", "focal") for r in range(2)}
    models |= {
        f"{name}-r{r}": ensemble | {"replicate": r}
        for name in ("model_level-top2", "weighted_average-model_level")
        for r in range(2)
    }
    members = pd.DataFrame(
        [
            (f"{name}-r{r}", f"{member}-r{r}", rank)
            for r, best in ((0, "focal"), (1, "cce"))
            for name, member, rank in (
                ("weighted_average-model_level", "model_level-top2", 1),
                ("model_level-top2", best, 1),
                ("model_level-top2", "cce" if best == "focal" else "focal", 2),
            )
        ],
        columns=["ensemble", "member", "rank"],
    )
    planned = [pair for pair in families.pairs(models, members, "cce") if "best" in pair[0]]
    assert planned == [
        ("against_best_member", "model_level-top2-r0", "focal-r0"),
        ("against_best_member", "model_level-top2-r1", "cce-r1"),
        ("against_best_member", "weighted_average-model_level-r0", "model_level-top2-r0"),
        ("against_best_member", "weighted_average-model_level-r1", "model_level-top2-r1"),
        ("against_best_single", "weighted_average-model_level-r0", "focal-r0"),
        ("against_best_single", "weighted_average-model_level-r1", "cce-r1"),
    ]


def test_a_missing_ensemble_of_seeds_is_an_empty_row_with_its_reason() -> None:
    models = {name: entry for name, entry in MODELS.items() if entry["kind"] != "seed_ensemble"}
    found = table(predictions(models=models), models)
    (row,) = found[found["family"] == "against_seed_ensemble"].to_dict("records")
    assert (row["model_a"], row["model_b"]) == ("simple_average-top2-r0", "")
    assert np.isnan(row["p_value"]) and row["reject"] == ""
    assert (
        "takes 2 replicates, or ensembles.seed_ensemble.further_seeds; the study has 1"
        in row["reason"]
    )
    assert not table(predictions())["reason"].str.contains("seeds").any()


def test_runs_meet_the_baseline_of_their_own_replicate() -> None:
    models = {f"{loss}-r{r}": single(loss, r) for loss in ("cce", "focal") for r in range(3)}
    planned = families.pairs(models, MEMBERS[:0], "cce")
    assert planned == [("against_baseline", f"focal-r{r}", f"cce-r{r}") for r in range(3)]


def test_an_objective_is_one_hypothesis_whoever_is_the_baseline() -> None:
    names = ["cce", "kl_divergence", "calibrated_cce", "calibrated_kl_divergence", "focal"]
    models = {f"{name}-r0": single(name) for name in names}
    losses = entries(**{name: {} for name in names})
    for baseline, hypotheses, floor in (
        ("cce", {"calibrated_cce", "focal"}, {"calibrated_kl_divergence"}),
        ("kl_divergence", {"calibrated_cce", "focal"}, {"calibrated_kl_divergence"}),
        # All three that are left are different; the other name of the baseline is none.
        ("calibrated_kl_divergence", {"cce", "focal"}, {"kl_divergence"}),
    ):
        planned = families.pairs(models, MEMBERS[:0], baseline, losses)
        of = {
            family: {a.removesuffix("-r0") for name, a, _ in planned if name == family}
            for family in families.FAMILIES
        }
        assert of["against_baseline"] == hypotheses
        assert of["repeated_objectives_against_baseline"] == floor
        assert of["noise_floor"] == {"kl_divergence", "calibrated_kl_divergence"}
    # Where the one that stands for both is not there, the other is a hypothesis.
    del models["calibrated_cce-r0"]
    planned = families.pairs(models, MEMBERS[:0], "cce", losses)
    assert ("against_baseline", "calibrated_kl_divergence-r0", "cce-r0") in planned


def test_rows_and_families() -> None:
    found = table(predictions())
    columns = "model_a model_b metric difference ci_low ci_high test statistic p_value p_adjusted"
    assert list(found.columns[:11]) == [*columns.split(), "reject"]
    assert list(found.columns[16:]) == [
        *("se", "df", "hypotheses", "correction", "primary", "n_effective")
    ]
    for family, part in found.groupby("family"):
        assert len(set(part["test"])) == 1 and len(set(part["correction"])) == 1
        assert (part["hypotheses"] == len(part)).all()
        p, adjusted = part["p_value"].to_numpy(float), part["p_adjusted"].to_numpy(float)
        expected = multipletests(p, alpha=0.05, method="holm")
        if part["correction"].iloc[0] == "Holm":
            assert adjusted == pytest.approx(expected[1]), family
        else:
            # Max-T knows the dependence, so it is not below p; and one test needs no correction.
            assert (adjusted >= p - 1e-12).all()
            assert len(part) > 1 or adjusted == pytest.approx(p)
        assert (part["reject"].astype(bool) == (adjusted <= 0.05)).all()
    primary = found[found["primary"]]
    assert set(primary["family"]) == {"against_baseline", "against_best_member"}
    assert set(primary["test"]) == {"permutation"} and set(primary["metric"]) == {"mcc"}
    assert set(primary["correction"]) == {"max-T"} and len(primary) == 2
    assert set(found.loc[found["family"] == "against_baseline (accuracy)", "metric"]) == {
        "accuracy"
    }
    cochran = found[found["test"] == "cochran_q"].iloc[0]
    assert cochran["model_b"] == "" and "chi-square p" in cochran["reason"]
    mcnemar = found[found["test"] == "mcnemar"]
    assert mcnemar["reason"].str.startswith("image level").all()
    assert set(found.loc[found["test"] == "delong", "metric"]) == {"auroc_a", "auroc_b", "auroc_c"}
    answer = found[found["family"] == "calibrated_against_plain"]
    # Errors in bins are tested nowhere: their differences favour the sharper model.
    assert set(answer["metric"]) == {"brier", "log_loss"}
    assert (found["n"] == 120).all() and (found["n_patients"] == 60).all()
    assert (found["n_effective"] == 60).all()
    defined = found[found["ci_low"].notna()]
    assert (defined["ci_low"] <= defined["difference"]).all()
    assert (defined["difference"] <= defined["ci_high"]).all()
    permuted = defined[defined["test"] == "permutation"]
    outside = (permuted["ci_low"] > 0) | (permuted["ci_high"] < 0)
    assert (outside == (permuted["p_value"] <= 0.05)).all()
    beside = found[found["test"] == "bootstrap"].set_index(["model_a", "model_b", "metric"])["se"]
    for row in permuted.to_dict("records"):
        key = row["model_a"], row["model_b"], row["metric"]
        assert row["se"] == np.unique(beside[key])[0] and row["df"] == 57


def test_replicates_are_families_of_their_own_and_none_is_primary() -> None:
    models = {
        f"{loss}-r{r}": single(loss, r) for loss in ("cce", "focal", "hinge") for r in range(2)
    }
    found = table(predictions(models=models), models)
    assert not found["primary"].any()
    permuted = found[(found["test"] == "permutation") & (found["metric"] == "mcc")]
    assert list(permuted["family"]) == [
        *["against_baseline, r0"] * 2,
        *["against_baseline, r1"] * 2,
    ]
    assert (permuted["hypotheses"] == 2).all()
    assert set(found.loc[found["test"] == "cochran_q", "family"]) == {
        "single_models, r0",
        "single_models, r1",
    }
    assert families.of_column("against_baseline, r1 (accuracy, bootstrap)") == (
        "against_baseline",
        "accuracy, bootstrap",
    )
    label = families.label("against_baseline, r1 (accuracy, bootstrap)", "patient")
    assert label == (
        "Each loss against the baseline, replicate 1: Accuracy, paired bootstrap by patient"
    )


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro", "kappa"])
def test_the_primary_families_are_by_the_metric_of_the_config(metric: str) -> None:
    found = table(predictions(), metric=metric)
    primary = found[found["primary"]]
    assert set(primary["metric"]) == {metric} and len(primary) == 2
    assert set(primary["family"]) == {"against_baseline", "against_best_member"}
    assert (found["family"] == "against_baseline (mcc)").sum() == 1
    assert not found.loc[found["metric"] == "mcc", "primary"].any()


def test_same_seed_same_table_whatever_else_is_compared() -> None:
    found = predictions()
    first = table(found, permutations=2000)
    pd.testing.assert_frame_equal(first, table(found, permutations=2000))
    keep = ["cce-r0", "kl_divergence-r0"]
    fewer = table(found.subset(keep), {name: MODELS[name] for name in keep}, permutations=2000)
    key = (first["model_a"] == "kl_divergence-r0") & (first["test"] == "permutation")
    assert list(first[key]["p_value"])[:2] == list(fewer["p_value"])[:2]


def test_identical_constant_and_failed_models_give_sensible_rows() -> None:
    found = predictions()
    found.p[1] = found.p[0]
    found.p[2] = [0.5, 0.3, 0.2]
    found.p[4] = np.nan
    rows = table(found)
    same = rows[(rows["model_a"] == "kl_divergence-r0") & (rows["model_b"] == "cce-r0")]
    assert (same["difference"] == 0).all() and (same["p_value"] == 1).all()
    assert (same["reject"] == False).all() and (same["reason"] != "").all()  # noqa: E712
    constant = rows[(rows["model_a"] == "calibrated_cce-r0") & (rows["metric"] == "mcc")]
    by_test = constant.set_index("test")
    assert by_test.loc["permutation", "p_value"] < 0.05
    assert "one class only is predicted" in by_test.loc["permutation", "reason"]
    assert np.isnan(by_test.loc["bootstrap", "difference"])
    failed = rows[rows["model_a"] == "simple_average-top2-r0"]
    assert failed["p_value"].isna().all() and (failed["reject"] == "").all()
    assert failed["reason"].str.contains("has no probabilities: ensembles/candidates.csv").all()
    assert rows[rows["p_value"].isna()]["reason"].ne("").all()


@pytest.mark.parametrize("n", [2, 6])
def test_tiny_test_splits(n: int) -> None:
    rows = table(predictions(n))
    known = rows["p_value"].notna()
    assert rows.loc[known, "p_value"].between(0, 1).all()
    assert rows.loc[~known, "reason"].ne("").all()
    assert rows.loc[rows["ci_low"].isna(), "reason"].ne("").all()


def test_permutations_are_raised_for_a_small_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows = table(predictions(), permutations=100, alpha=0.01)
    assert rows.loc[rows["test"] == "permutation", "permutations"].max() == 1000
    assert "raised from 100 to 1000" in caplog.text


def test_a_real_difference_is_found() -> None:
    found = predictions(n=240)
    found.p[1] = 0.02 + 0.94 * np.eye(3)[found.y]
    rows = table(found)
    best = rows[(rows["model_a"] == "kl_divergence-r0") & (rows["metric"] == "mcc")]
    assert best["reject"].astype(bool).all() and (best["ci_low"] > 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_bootstrap_test_is_antisymmetric_and_agrees_with_its_interval(seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(0.02, 0.01, 400)
    forward = paired.bootstrap_test(drawn, 0.02, 80, "auto")
    backward = paired.bootstrap_test(-drawn, -0.02, 80, "auto")
    assert forward.p_value == pytest.approx(backward.p_value)
    assert (forward.ci_low, forward.ci_high) == pytest.approx((-backward.ci_high, -backward.ci_low))
    assert (forward.p_value <= 0.05) == (forward.ci_low > 0 or forward.ci_high < 0)
    percentile = paired.bootstrap_test(drawn, 0.02, 80, "percentile")
    assert percentile.p_value == paired.bootstrap_p_value(drawn)
