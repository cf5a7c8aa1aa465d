"""Seeds and patients as crossed factors: against simulation, and in the tables."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation
from multiloss.evaluation import runs_on_test
from multiloss.predictions import Predictions
from multiloss.statistics import crossed as seeds
from scipy import stats

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
    assert np.isnan(one.se_seed) and "one run" in one.warning
    assert np.isnan(one.p_value) and one.reason.startswith("the spread between runs is unknown")
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


def replicate_tables(
    found: Predictions, models: dict[str, Any], significance: dict[str, Any] = SIGNIFICANCE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = runs_on_test(found, models, significance, EVALUATION, 1)
    return (
        evaluation.replicates_table(runs),
        evaluation.replicate_comparisons_table(runs, significance, 1),
    )


def spread_table(found: Predictions, models: dict[str, Any]) -> pd.DataFrame:
    runs = runs_on_test(found, models, SIGNIFICANCE, EVALUATION, 1)
    return evaluation.seed_spread_table(runs, SIGNIFICANCE)


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
    summary, compared = replicate_tables(found, models)
    summary = summary.set_index(["family", "metric"])
    focal, hinge = summary.loc[("focal", "mcc")], summary.loc[("hinge", "mcc")]
    assert focal["replicates"] == 2 and focal["reason"] == "1 of 3 runs failed"
    first, gap, third = focal["runs"].split(";")
    assert gap == "" and focal["mean"] == pytest.approx((float(first) + float(third)) / 2, abs=1e-5)
    assert np.isnan(hinge["mean"]) and hinge["reason"] == "MCC is undefined for 3 of 3 runs"
    assert summary.loc[("hinge", "accuracy")]["reason"] == ""
    compared = compared.set_index(["loss_a", "metric"])
    assert compared.loc[("focal", "mcc")]["reason"] == "focal: 1 of 3 runs failed"
    # It is no better than chance then, as wherever models are tested.
    chance = compared.loc[("hinge", "mcc")]
    assert chance["difference"] == pytest.approx(-summary.loc[("cce", "mcc")]["mean"])
    # Its own runs do not vary at all; those of the two others give the spread (3 df).
    assert chance["df"] < 12 and 0.04 < chance["p_value"] < 0.07 and chance["method"] == "pooled"
    assert chance["reason"] == "hinge: MCC is undefined for 3 of 3 runs"
    # What has no value counts for nothing in Holm's correction.
    assert compared.loc[("focal", "mcc")]["p_adjusted"] <= 1
    found.p[3:6] = np.nan
    summary, compared = replicate_tables(found, models)
    lost = summary[summary["family"] == "focal"]
    assert lost["mean"].isna().all() and lost["reason"].str.startswith("3 of 3 runs failed").all()
    assert compared.loc[compared["loss_a"] == "focal", "p_value"].isna().all()


def test_tables() -> None:
    found, models = study(("cce", "kl_divergence", "focal"), 3)
    summary, compared = replicate_tables(found, models)
    part = summary[(summary["family"] == "cce") & (summary["metric"] == "accuracy")].iloc[0]
    right = [(p.argmax(1) == found.y).mean() for p in found.p[:3]]
    assert part["mean"] == pytest.approx(np.mean(right))
    assert part["sd"] == pytest.approx(np.std(right, ddof=1))
    assert [float(run) for run in part["runs"].split(";")] == pytest.approx(right, abs=1e-6)
    assert "fewer than 5 runs" in part["warning"] and part["replicates"] == 3
    families = compared[compared["metric"] == "mcc"].set_index(["family", "loss_a"])
    assert ("noise_floor", "kl_divergence") in families.index
    assert ("against_baseline", "focal") in families.index
    # The one with the baseline's objective says nothing new against it; one metric is primary.
    primary = compared[compared["family"] == "against_baseline"]
    assert primary[["loss_a", "metric"]].values.tolist() == [["focal", "mcc"]]
    assert compared["primary"].sum() == 1 and primary["primary"].all()
    assert primary["hypotheses"].tolist() == [1]
    assert (compared["hypotheses"] == 1).all() and (compared["method"] == "pooled").all()
    assert compared["p_adjusted"].to_numpy() == pytest.approx(compared["p_value"].to_numpy())


def test_one_run_each_and_a_failed_run() -> None:
    found, models = study(("cce", "focal"), 1)
    summary, compared = replicate_tables(found, models)
    assert summary["sd"].isna().all() and summary["warning"].str.startswith("one run").all()
    assert summary[["seed_sd", "loss_sd", "seed_to_loss"]].isna().all().all()
    assert summary["means_sd"].notna().all()
    assert summary["reason"].str.startswith("loss_sd is unknown: it takes two runs").all()
    assert compared["se_seed"].isna().all() and compared["ci_low"].notna().all()
    found, models = study(("cce", "focal"), 2)
    found.p[3] = np.nan
    summary, compared = replicate_tables(found, models)
    runs = summary[summary["metric"] == "mcc"].set_index("family")["replicates"]
    assert runs["cce"] == 2 and runs["focal"] == 1
    assert (compared["replicates_a"] == 1).all()


def test_seeds_that_only_the_baseline_has_serve_for_all() -> None:
    """One run of each loss, and further seeds of the baseline: the prediction of one more run."""
    found, models = study(("cce", "focal", "hinge", "kl_divergence"), 5)
    for name, entry in models.items():
        if not name.endswith("-r0") and entry["family"] == "cce":
            entry["kind"] = "seed"
    kept = [n for n, e in models.items() if e["family"] == "cce" or n.endswith("-r0")]
    found, models = found.subset(kept), {name: models[name] for name in kept}
    _, compared = replicate_tables(found, models)
    row = compared[(compared["loss_a"] == "focal") & (compared["metric"] == "accuracy")].iloc[0]
    right = np.array([(p.argmax(1) == found.y).mean() for p in found.p])
    at = {name: place for place, name in enumerate(found.models)}
    base = right[[at[f"cce-r{r}"] for r in range(5)]]
    assert row["difference"] == pytest.approx(right[at["focal-r0"]] - base.mean())
    assert (row["replicates_a"], row["replicates_b"]) == (1, 5)
    assert row["method"] == "pooled" and row["p_value"] > 0 and "4 degrees" in row["warning"]
    assert row["se"] ** 2 == pytest.approx(row["se_seed"] ** 2 + row["se_patient"] ** 2)
    table = spread_table(found, models)
    assert table["metric"].iloc[0] == "mcc"
    table = table[table["metric"] == "accuracy"].set_index(["row", "variant"])
    seeds_row, focal = table.loc["seeds", "cce"], table.loc["loss", "focal"]
    sd = base.std(ddof=1)
    assert (seeds_row["sd"], seeds_row["df_seeds"]) == (pytest.approx(sd), 4)
    margin = stats.t.ppf(0.975, 4) * sd * np.sqrt(1.2)
    assert (seeds_row["low"], seeds_row["high"]) == pytest.approx(
        (base.mean() - margin, base.mean() + margin)
    )
    t = (right[at["focal-r0"]] - base.mean()) / (sd * np.sqrt(1.2))
    assert focal["statistic"] == pytest.approx(t)
    assert focal["p_value"] == pytest.approx(2 * stats.t.sf(abs(t), 4))
    # kl_divergence is cce again: no loss of its own in the F test, and said so beside its run.
    distinct = table.loc["losses"].iloc[0]
    groups = [base, right[[at["focal-r0"]]], right[[at["hinge-r0"]]]]
    within = ((base - base.mean()) ** 2).sum() / 4
    grand = np.concatenate(groups).mean()
    between = sum(len(g) * (g.mean() - grand) ** 2 for g in groups) / 2
    assert distinct["statistic"] == pytest.approx(between / within)
    assert (distinct["df"], distinct["df_seeds"], distinct["replicates"]) == (2, 4, 3)
    assert distinct["p_value"] == pytest.approx(stats.f.sf(between / within, 2, 4))
    assert "same objective" in table.loc["loss", "kl_divergence"]["reason"]


def test_nothing_trained_twice_gives_no_p_value_and_says_why() -> None:
    found, models = study(("cce", "focal", "hinge"), 1)
    _, compared = replicate_tables(found, models)
    assert compared["p_value"].isna().all() and (compared["reject"] == "").all()
    assert compared["reason"].str.startswith("the spread between runs is unknown").all()
    assert (compared["hypotheses"] == 0).all() and compared["ci_low"].notna().all()
    table = spread_table(found, models).set_index("row")
    assert table.loc[["seeds", "pooled"], "sd"].isna().all()
    assert table.loc[["seeds", "losses", "loss"], "reason"].astype(bool).all()
    assert table.loc["losses", "p_value"].isna().all() and table.loc["losses", "sd"].notna().all()


def test_one_run_beside_five_and_a_failed_one_borrow_the_others_seeds() -> None:
    found, models = study(("cce", "focal", "hinge"), 5)
    found.p[6:10] = np.nan  # of focal one run is left
    found.p[14] = np.nan  # of hinge four
    _, compared = replicate_tables(found, models)
    rows = compared[compared["metric"] == "accuracy"].set_index("loss_a")
    assert rows["replicates_a"].to_dict() == {"focal": 1, "hinge": 4}
    right = [(p.argmax(1) == found.y).mean() for p in found.p]
    runs = runs_on_test(found, models, SIGNIFICANCE, EVALUATION, 1)
    pool = runs.seeds("accuracy")
    squares = 4 * np.var(right[:5], ddof=1) + 3 * np.var(right[10:14], ddof=1)
    assert pool.df == 7 and pool.variance == pytest.approx(squares / 7)
    surplus = max(0.0, pool.variance - runs.inflation * pool.interaction)
    assert rows["se_seed"].to_dict() == pytest.approx(
        {"focal": np.sqrt(1.2 * surplus), "hinge": np.sqrt(0.45 * surplus)}
    )


def test_images_of_a_patient_do_not_widen_what_patients_vary_by() -> None:
    """The variance of the resamples is corrected for their strata, N / (N - strata) patients, and
    for nothing else: one patient with half of the images is in the degrees of freedom alone."""
    found, models = study(("cce", "focal"), 3)
    found.rows["patient_id"] = ["heavy"] * 40 + [f"p{k}" for k in range(40)]
    _, compared = replicate_tables(found, models)
    row = compared[compared["metric"] == "accuracy"].iloc[0]
    # Strata: the heavy patient, of both classes, joins one of the two others.
    runs = runs_on_test(found, models, SIGNIFICANCE, EVALUATION, 1)
    assert runs.inflation == pytest.approx(41 / 39) and runs.resamples.df < 3
    _, drawn = runs.tested("accuracy")
    means = drawn[runs.ran["focal"]].mean(axis=0) - drawn[runs.ran["cce"]].mean(axis=0)
    assert row["se_patient"] == pytest.approx(np.sqrt(means.var(ddof=1) * 41 / 39))


def test_primary_family_is_adjusted_by_step_down() -> None:
    losses = ("cce", "focal", "hinge", "calibrated_cce", "calibrated_kl_divergence")
    found, models = study(losses, 3)
    _, compared = replicate_tables(found, models)
    part = compared[compared["primary"]]
    assert part["loss_a"].tolist() == ["focal", "hinge", "calibrated_cce"]
    assert (part["correction"] == "max-T").all() and (part["hypotheses"] == 3).all()
    holm = stats_holm(part["p_value"].to_numpy())
    assert (part["p_adjusted"] <= holm + 1e-12).all()
    assert (part["p_adjusted"] >= part["p_value"]).all()
    again = compared[compared["family"] == "repeated_objectives_against_baseline"]
    assert again["loss_a"].tolist() == ["calibrated_kl_divergence"]
    _, by_accuracy = replicate_tables(found, models, SIGNIFICANCE | {"metric": "accuracy"})
    assert set(by_accuracy.loc[by_accuracy["primary"], "metric"]) == {"accuracy"}


def stats_holm(p: np.ndarray) -> np.ndarray:
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, method="holm")[1]


def ensembles(
    runs: int, further: int = 0
) -> tuple[Predictions, dict[str, dict[str, Any]], pd.DataFrame]:
    """Averages of three losses, and of three runs of cce."""
    found, models = study(("cce", "focal", "hinge"), max(runs, further))
    for entry in models.values():
        if entry["replicate"] >= runs:
            entry["kind"] = "seed"
    kept = [n for n, e in models.items() if e["family"] == "cce" or e["kind"] == "single"]
    found, models = found.subset(kept), {name: models[name] for name in kept}
    at = {name: place for place, name in enumerate(found.models)}
    extra, names, rows = [], [], []
    for r in range(runs):
        members = [f"{loss}-r{r}" for loss in ("cce", "focal", "hinge")]
        name = f"simple_average-top3-r{r}"
        extra.append(found.p[[at[m] for m in members]].mean(axis=0))
        names.append(name)
        models[name] = simulated.entry(
            "ensemble", None, r, family="simple_average-top3", method="simple_average", k=3,
            level="prediction",
        )  # fmt: skip
        rows += [(name, member, rank + 1) for rank, member in enumerate(members)]
    seeds_of = [f"cce-r{r}" for r in range(3)]
    if set(seeds_of) <= set(at):
        extra.append(found.p[[at[m] for m in seeds_of]].mean(axis=0))
        names.append("seed_average-cce-top3")
        models[names[-1]] = simulated.entry(
            "seed_ensemble", "cce", None, family=names[-1], method="seed_average", k=3
        )
    p = np.concatenate([found.p, np.stack(extra)])
    members = pd.DataFrame(rows, columns=["ensemble", "member", "rank"])
    return Predictions(found.rows, [*found.models, *names], CLASSES, p), models, members


def ensemble_table(found: Predictions, models: dict[str, Any], members: pd.DataFrame):
    runs = runs_on_test(found, models, SIGNIFICANCE, EVALUATION, 1)
    table = evaluation.ensemble_comparisons_table(runs, members, SIGNIFICANCE)
    return table.set_index(["against", "metric"])


def accuracy(found: Predictions, p: np.ndarray) -> float:
    return float((p.argmax(axis=-1) == found.y).mean())


def test_gains_of_ensembles_are_paired_by_replicate() -> None:
    found, models, members = ensembles(3)
    table = ensemble_table(found, models, members)
    at = {name: place for place, name in enumerate(found.models)}

    def of(name: str) -> float:
        return accuracy(found, found.p[at[name]])

    best = table.loc["best_member", "accuracy"]
    gains = [of(f"simple_average-top3-r{r}") - of(f"cce-r{r}") for r in range(3)]
    assert best["difference"] == pytest.approx(np.mean(gains))
    assert (best["replicates"], best["opponent"]) == (3, "cce") and best["p_value"] <= 1
    average = table.loc["seed_average", "accuracy"]
    ensemble_mean = np.mean([of(f"simple_average-top3-r{r}") for r in range(3)])
    assert average["difference"] == pytest.approx(ensemble_mean - of("seed_average-cce-top3"))
    assert average["opponent"] == "seed_average-cce-top3"
    # One hypothesis a method and size, in one family for each opponent; one of them is primary.
    assert (table["hypotheses"] == 1).all()
    assert table[table["primary"]].index.tolist() == [("best_member", "mcc")]
    assert set(table["family"]) == {
        "against_best_member", "against_best_member (accuracy)",
        "against_seed_ensemble", "against_seed_ensemble (accuracy)",
    }  # fmt: skip


def test_all_runs_of_the_repeated_loss_are_averaged_alike() -> None:
    found, models, members = ensembles(2, further=5)
    table = ensemble_table(found, models, members)
    at = {name: place for place, name in enumerate(found.models)}
    runs = [found.p[at[f"cce-r{r}"]] for r in range(5)]
    sets = [[r, (r + 1) % 5, (r + 2) % 5] for r in range(5)]
    expected = np.mean([accuracy(found, np.mean([runs[r] for r in s], axis=0)) for s in sets])
    own = np.mean([accuracy(found, found.p[at[f"simple_average-top3-r{r}"]]) for r in range(2)])
    assert table.loc["seed_average", "accuracy"]["difference"] == pytest.approx(own - expected)


def test_one_replicate_of_an_ensemble_has_no_p_value() -> None:
    table = ensemble_table(*ensembles(1, further=5))
    assert table["p_value"].isna().all() and table["ci_low"].notna().all()
    assert table["reason"].str.contains("one replicate").all() and table["se_seed"].isna().all()
    found, models, members = ensembles(1)
    without = ensemble_table(found, models, members).loc["seed_average"]
    assert without["difference"].isna().all()
    assert without["reason"].str.contains("no average of 3 seeds").all()


def test_a_lost_ensemble_leaves_its_replicate_out() -> None:
    found, models, members = ensembles(4)
    found.p[found.models.index("simple_average-top3-r1")] = np.nan
    table = ensemble_table(found, models, members)
    assert (table["replicates"] == 3).all()
    assert table["reason"].str.startswith("1 of 4 replicates left out").all()
    assert table["p_value"].notna().all()
