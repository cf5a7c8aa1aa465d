"""Seeds and patients as crossed factors: against simulation, and in the tables."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss.evaluation import replicate_tables
from multiloss.predictions import Predictions
from multiloss.statistics import crossed as seeds

CLASSES = ["a", "b"]
EVALUATION = {"resamples": 300, "interval": "auto", "confidence": 0.95, "ece_bins": 5}
SIGNIFICANCE = {"permutations": 500, "alpha": 0.05, "baseline": "cce"}


def crossed(
    rng: np.random.Generator, runs: int, patients: int, effect: float = 0.0, seed_sd: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two losses' scores per run and patient, additive with interaction, and their resamples."""
    shared = rng.normal(0, 2, patients)
    scores = [
        shift + shared + rng.normal(0, seed_sd, (runs, 1)) + rng.normal(0, 1.5, (runs, patients))
        for shift in (effect, 0.0)
    ]
    weights = rng.multinomial(patients, np.full(patients, 1 / patients), 200) / patients
    return (*(s.mean(axis=1) for s in scores), *(weights @ s.T for s in scores))


def test_interval_for_new_seeds_and_new_patients_covers() -> None:
    rng = np.random.default_rng(0)
    found = [seeds.crossed_comparison(*crossed(rng, 6, 80), 79) for _ in range(400)]
    covered = np.mean([c.ci_low <= 0 <= c.ci_high for c in found])
    assert 0.92 <= covered <= 0.99
    # Seeds: two losses, variance 1 each, 6 runs; patients: interaction alone, as they are shared.
    assert np.mean([c.se_seed**2 for c in found]) == pytest.approx(2 / 6, rel=0.15)
    expected = 2 * 1.5**2 / 6 / 80
    assert np.mean([c.se_patient**2 for c in found]) == pytest.approx(expected, rel=0.15)


def test_patients_alone_would_not_cover() -> None:
    rng = np.random.default_rng(1)
    found = [seeds.crossed_comparison(*crossed(rng, 6, 80), 79) for _ in range(200)]
    naive = np.mean([abs(c.difference) <= 1.99 * c.se_patient for c in found])
    assert naive < 0.5


def test_few_seeds_warn_and_one_seed_says_what_it_cannot_know() -> None:
    rng = np.random.default_rng(2)
    one = seeds.crossed_comparison(*crossed(rng, 1, 40), 39)
    assert np.isnan(one.se_seed) and "one seed" in one.warning
    assert one.ci_low < one.difference < one.ci_high
    assert "fewer than 5" in seeds.crossed_comparison(*crossed(rng, 4, 40), 39).warning
    assert seeds.crossed_comparison(*crossed(rng, 5, 40), 39).warning == ""


def test_crossed_comparison_is_antisymmetric_and_knows_identity() -> None:
    a, b, boot_a, boot_b = crossed(np.random.default_rng(3), 5, 40, effect=1.0)
    forward = seeds.crossed_comparison(a, b, boot_a, boot_b, 39)
    backward = seeds.crossed_comparison(b, a, boot_b, boot_a, 39)
    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.p_value == pytest.approx(backward.p_value)
    order = np.array([4, 2, 0, 1, 3])
    shuffled = seeds.crossed_comparison(a[order], b, boot_a[:, order], boot_b, 39)
    assert shuffled.p_value == pytest.approx(forward.p_value)
    flat = np.full(5, 0.5), np.full((20, 5), 0.5)
    same = seeds.crossed_comparison(flat[0], flat[0], flat[1], flat[1], 39)
    assert (same.difference, same.p_value, same.ci_low, same.ci_high) == (0.0, 1.0, 0.0, 0.0)


def test_spread_by_hand() -> None:
    found = seeds.spread({"a": [1.0, 3.0], "b": [5.0, 7.0]})
    # Within: variance 2 each; means 2 and 6: variance 8, less 2 / 2 that the seeds explain.
    assert found.seed_sd == pytest.approx(np.sqrt(2))
    assert found.loss_sd == pytest.approx(np.sqrt(7))
    assert found.ratio == pytest.approx(np.sqrt(2 / 7))
    lost = seeds.spread({"a": [1.0, 9.0], "b": [2.0, 8.5]})
    assert lost.loss_sd == 0 and lost.ratio == np.inf
    # One run each: what the seeds alone do to the means is unknown, so what losses do is as well.
    once = seeds.spread({"a": [1.0], "b": [2.0]})
    assert np.isnan([once.seed_sd, once.loss_sd, once.ratio]).all()
    assert once.means_sd == pytest.approx(np.sqrt(0.5))
    alone = seeds.spread({"a": [1.0, 2.0]})
    assert np.isnan([alone.loss_sd, alone.ratio, alone.means_sd]).all()
    assert alone.seed_sd == pytest.approx(np.sqrt(0.5))


def study(losses: tuple[str, ...], runs: int) -> tuple[Predictions, dict[str, Any]]:
    rng = np.random.default_rng(4)
    y = np.arange(80) % 2
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(80)],
            "patient_id": [f"p{k}" for k in range(80)],
            "split": "test",
            "label": [CLASSES[k] for k in y],
        }
    )
    models = {
        f"{loss}-r{r}": simulated.entry(variant=loss, replicate=r)
        for loss in losses
        for r in range(runs)
    }
    p = np.exp(rng.normal(size=(len(models), 80, 2)) + np.eye(2)[y])
    return Predictions(rows, list(models), CLASSES, p / p.sum(axis=2, keepdims=True)), models


def test_failed_and_undefined_runs_are_told() -> None:
    found, models = study(("cce", "focal", "hinge"), 3)
    found.p[4] = np.nan  # focal-r1
    found.p[6:] = [0.9, 0.1]  # hinge says one class throughout
    summary, compared = replicate_tables(found, models, SIGNIFICANCE, EVALUATION, 1)
    summary = summary.set_index(["family", "metric"])
    focal, hinge = summary.loc[("focal", "mcc")], summary.loc[("hinge", "mcc")]
    assert focal["replicates"] == 2 and focal["reason"] == "1 of 3 runs failed"
    first, gap, third = focal["runs"].split(";")
    assert gap == "" and focal["mean"] == pytest.approx((float(first) + float(third)) / 2, abs=1e-5)
    assert np.isnan(hinge["mean"]) and hinge["reason"] == "mcc is undefined for 3 of 3 runs"
    assert summary.loc[("hinge", "accuracy")]["reason"] == ""
    compared = compared.set_index(["loss_a", "metric"])
    assert compared.loc[("focal", "mcc")]["reason"] == "focal: 1 of 3 runs failed"
    # It is no better than chance then, as wherever models are tested.
    chance = compared.loc[("hinge", "mcc")]
    assert chance["difference"] == pytest.approx(-summary.loc[("cce", "mcc")]["mean"])
    assert chance["p_value"] < 0.05 and chance["reject"]
    assert chance["reason"] == "hinge: mcc is undefined for 3 of 3 runs"
    # What has no value counts for nothing in Holm's correction.
    assert compared.loc[("focal", "mcc")]["p_adjusted"] <= 1
    found.p[3:6] = np.nan
    summary, compared = replicate_tables(found, models, SIGNIFICANCE, EVALUATION, 1)
    lost = summary[summary["family"] == "focal"]
    assert lost["mean"].isna().all() and lost["reason"].str.startswith("3 of 3 runs failed").all()
    assert compared.loc[compared["loss_a"] == "focal", "p_value"].isna().all()


def test_tables() -> None:
    found, models = study(("cce", "kl_divergence", "focal"), 3)
    summary, compared = replicate_tables(found, models, SIGNIFICANCE, EVALUATION, 1)
    part = summary[(summary["family"] == "cce") & (summary["metric"] == "accuracy")].iloc[0]
    right = [(p.argmax(1) == found.y).mean() for p in found.p[:3]]
    assert part["mean"] == pytest.approx(np.mean(right))
    assert part["sd"] == pytest.approx(np.std(right, ddof=1))
    assert [float(run) for run in part["runs"].split(";")] == pytest.approx(right, abs=1e-6)
    assert "fewer than 5 seeds" in part["warning"] and part["replicates"] == 3
    families = compared[compared["metric"] == "mcc"].set_index(["family", "loss_a"])
    assert ("noise_floor", "kl_divergence") in families.index
    assert ("against_baseline", "focal") in families.index
    holm = compared[compared["family"] == "against_baseline"]
    assert len(holm) == 2 and (holm["p_adjusted"] >= holm["p_value"]).all()


def test_one_run_each_and_a_failed_run() -> None:
    found, models = study(("cce", "focal"), 1)
    summary, compared = replicate_tables(found, models, SIGNIFICANCE, EVALUATION, 1)
    assert summary["sd"].isna().all() and summary["warning"].str.startswith("one seed").all()
    assert summary[["seed_sd", "loss_sd", "seed_to_loss"]].isna().all().all()
    assert summary["means_sd"].notna().all()
    assert summary["reason"].str.startswith("loss_sd is unknown: it takes two runs").all()
    assert compared["se_seed"].isna().all() and compared["ci_low"].notna().all()
    found, models = study(("cce", "focal"), 2)
    found.p[3] = np.nan
    summary, compared = replicate_tables(found, models, SIGNIFICANCE, EVALUATION, 1)
    runs = summary[summary["metric"] == "mcc"].set_index("family")["replicates"]
    assert runs["cce"] == 2 and runs["focal"] == 1
    assert (compared["replicates_a"] == 1).all()
