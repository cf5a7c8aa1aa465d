"""Every model beside the baseline: rows of other tables where they have them, else by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation
from multiloss.evaluation import runs_on_test
from multiloss.job.errors import UserError
from multiloss.predictions import Predictions
from scipy import stats

CLASSES = ["a", "b"]
EVALUATION = {"resamples": 200, "interval": "auto", "confidence": 0.95, "ece_bins": 5}
SIGNIFICANCE = {"permutations": 200, "alpha": 0.05, "baseline": "cce", "metric": "accuracy"}
LOSSES = ("cce", "focal", "kl_divergence")


def study(runs: int, further: int = 0) -> tuple[Predictions, dict[str, Any], pd.DataFrame]:
    """Runs of three losses, further seeds of cce, averages of both kinds.

    The best member of each ensemble is cce, so that it meets the baseline for two reasons.
    """
    rng = np.random.default_rng(4)
    y = np.arange(80) % 2
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(80)],
            "patient_id": [f"p{k // 2}" for k in range(80)],
            "split": "test",
            "label": [CLASSES[k] for k in y],
        }
    )
    models = {
        f"{loss}-r{r}": simulated.entry(variant=loss, replicate=r)
        for loss in LOSSES
        for r in range(runs)
    }
    models |= {f"cce-r{r}": simulated.entry("seed", "cce", r) for r in range(runs, runs + further)}
    p = np.exp(rng.normal(size=(len(models), 80, 2)) + np.eye(2)[y])
    p /= p.sum(axis=2, keepdims=True)
    of = dict(zip(models, p, strict=True))
    members = []
    for r in range(runs):
        name = f"simple_average-top3-r{r}"
        of[name] = np.mean([of[f"{loss}-r{r}"] for loss in LOSSES], axis=0)
        models[name] = simulated.entry(
            "ensemble", None, r, family="simple_average-top3", method="simple_average", k=3,
            level="prediction",
        )  # fmt: skip
        members += [(name, f"{loss}-r{r}", rank) for rank, loss in enumerate(LOSSES, start=1)]
    if runs + further > 2:
        name = "seed_average-cce-top3"
        of[name] = np.mean([of[f"cce-r{r}"] for r in range(3)], axis=0)
        models[name] = simulated.entry(
            "seed_ensemble", "cce", None, family=name, method="seed_average", k=3
        )
    found = Predictions(rows, list(of), CLASSES, np.stack(list(of.values())))
    return found, models, pd.DataFrame(members, columns=["ensemble", "member", "rank"])


class Made:
    """The table of a study, and those that it is made from."""

    def __init__(self, found, models, members, significance=SIGNIFICANCE) -> None:
        self.found, self.models = found, models
        self.significance = significance
        runs = runs_on_test(found, models, significance, EVALUATION, 1)
        self.tables = {
            "metrics": evaluation.metrics_table(found, models, EVALUATION, 1),
            "significance": evaluation.significance_table(
                found, models, members, significance, EVALUATION, 1
            ),
            "replicate_comparisons": evaluation.replicate_comparisons_table(runs, significance, 1),
        }
        self.gains = evaluation.ensemble_comparisons_table(runs, members, significance)
        self.rows = self.again()

    def again(self) -> pd.DataFrame:
        args = (self.found, self.models, self.tables, self.significance, EVALUATION, 1)
        return evaluation.against_baseline_table(*args).set_index("family")

    def accuracy(self, model: str) -> float:
        p = self.found.p[self.found.models.index(model)]
        return float((p.argmax(axis=1) == self.found.y).mean())


def paired(made: Made, a: str, b: str, family: str) -> pd.Series:
    table = made.tables["significance"]
    (at,) = np.flatnonzero(
        (table["model_a"] == a) & (table["model_b"] == b) & (table["family"] == family)
    )
    return table.iloc[at]


def test_single_runs_have_the_rows_of_metrics_and_significance() -> None:
    made = Made(*study(1))
    assert list(made.rows["row"]) == ["baseline", "loss", "loss", "ensemble"]
    metrics = made.tables["metrics"].query("metric == 'accuracy'").set_index("model")
    for family, row in made.rows.iterrows():
        own = metrics.loc[f"{family}-r0"]
        for name in ("value", "ci_low", "ci_high"):
            assert row[name] == pytest.approx(own[name])
        assert row["replicates"] == 1
    for family, kind in (
        ("focal", "against_baseline"),
        ("kl_divergence", "noise_floor"),
        ("simple_average-top3", "ensembles_against_baseline"),
    ):
        row, source = made.rows.loc[family], paired(made, f"{family}-r0", "cce-r0", kind)
        assert row["basis"] == "these runs"
        assert row["difference"] == source["difference"]
        assert row["difference_low"] == source["ci_low"]
        assert row["difference_high"] == source["ci_high"]
        assert row["p_adjusted"] == source["p_adjusted"]
        assert row["primary"] == (kind == "against_baseline")
    # As its best member the baseline is what a primary test compares the ensemble with.
    best = paired(made, "simple_average-top3-r0", "cce-r0", "against_best_member")
    assert best["primary"] and not made.rows.loc["simple_average-top3", "primary"]
    assert made.rows.loc["kl_divergence", "same_objective"] == "cce"
    assert made.rows[["band_low", "band_high"]].isna().all(axis=None)


@pytest.mark.parametrize(("runs", "further"), [(3, 0), (3, 2), (1, 4)])
def test_differences_are_those_of_the_means(runs: int, further: int) -> None:
    made = Made(*study(runs, further))
    base = np.mean([made.accuracy(f"cce-r{r}") for r in range(runs + further)])
    rows = made.rows
    assert rows.loc["cce", "value"] == pytest.approx(base)
    assert rows.loc["cce", "replicates"] == runs + further
    for family in ("focal", "kl_divergence", "simple_average-top3"):
        mean = np.mean([made.accuracy(f"{family}-r{r}") for r in range(runs)])
        assert rows.loc[family, "value"] == pytest.approx(mean)
        assert rows.loc[family, "difference"] == pytest.approx(mean - base)
    alone = made.accuracy("seed_average-cce-top3")
    assert rows.loc["seed_average-cce-top3", "difference"] == pytest.approx(alone - base)
    assert rows.loc["seed_average-cce-top3", "basis"] == "these runs"
    crossed = made.tables["replicate_comparisons"].query("metric == 'accuracy'")
    for source in crossed.itertuples():
        row = rows.loc[source.loss_a]
        assert row["difference_low"] == source.ci_low
        assert row["difference_high"] == source.ci_high
        assert row["p_adjusted"] == source.p_adjusted and row["basis"] == "seeds and patients"
    basis = "seeds and patients" if runs > 1 else "these runs"
    assert rows.loc["simple_average-top3", "basis"] == basis
    assert (rows["ci_low"] <= rows["value"]).all() and (rows["value"] <= rows["ci_high"]).all()
    assert rows["ci_high"].max() <= 1


def test_an_ensemble_is_paired_with_the_baselines_run_of_its_replicate() -> None:
    """Where the baseline is its best member in every replicate, both tables say the same."""
    made = Made(*study(3))
    row = made.rows.loc["simple_average-top3"]
    best = made.gains[(made.gains["against"] == "best_member")]
    best = best[best["metric"] == "accuracy"].iloc[0]
    assert best["opponent"] == "cce"
    for name, other in (("difference_low", "ci_low"), ("difference_high", "ci_high")):
        assert row[name] == pytest.approx(best[other], abs=1e-12)


@pytest.mark.parametrize(("runs", "further"), [(1, 4), (3, 2), (4, 0)])
def test_the_band_is_the_prediction_for_as_many_further_runs(runs: int, further: int) -> None:
    made = Made(*study(runs, further))
    own = np.array([made.accuracy(f"cce-r{r}") for r in range(runs + further)])
    t = stats.t.ppf(0.975, len(own) - 1)
    half = t * own.std(ddof=1) * np.sqrt(1 / runs + 1 / len(own))
    row = made.rows.loc["cce"]
    assert row["band_runs"] == runs
    assert [row["band_low"], row["band_high"]] == pytest.approx([-half, half])


def test_intervals_on_one_degree_of_freedom_end_where_the_metric_does() -> None:
    """Two runs of the baseline, one right in all images, one in none."""
    found, models, members = study(2)
    truth = np.eye(2)[found.y]
    for run, p in enumerate((truth, 1 - truth)):
        found.p[found.models.index(f"cce-r{run}")] = 0.98 * p + 0.01
    made = Made(found, models, members)
    row = made.rows.loc["cce"]
    assert row[["value", "ci_low", "ci_high"]].tolist() == [0.5, 0, 1]
    # The mean of further runs lies in [0, 1] as well, which is half a unit from that of these.
    assert [row["band_low"], row["band_high"]] == [-0.5, 0.5]
    crossed = made.tables["replicate_comparisons"].set_index(["loss_a", "metric"])
    widest = {"accuracy": 1, "mcc": 2}
    for metric, limit in widest.items():
        own = crossed.loc[("focal", metric)]
        assert [own["ci_low"], own["ci_high"]] == [-limit, limit]
        # Only the ends are cut, not what they come from.
        assert stats.t.ppf(0.975, own["df"]) * own["se"] > limit
    for family in ("focal", "simple_average-top3"):
        own = made.rows.loc[family]
        assert [own["difference_low"], own["difference_high"]] == [-1, 1]


def test_a_pair_that_a_table_has_the_other_way_round_is_turned() -> None:
    turned = Made(*study(3), SIGNIFICANCE | {"baseline": "kl_divergence"})
    source = turned.tables["replicate_comparisons"].query("metric == 'accuracy'")
    (source,) = source[source["loss_b"] == "cce"].itertuples()
    assert source.loss_a == "kl_divergence"
    row = turned.rows.loc["cce"]
    assert row["row"] == "loss" and turned.rows.loc["kl_divergence", "row"] == "baseline"
    assert row["difference"] == -source.difference
    assert (row["difference_low"], row["difference_high"]) == (-source.ci_high, -source.ci_low)
    assert turned.rows.loc["kl_divergence", "same_objective"] == ""
    assert row["same_objective"] == "kl_divergence"


def test_failed_and_undefined_models() -> None:
    found, models, members = study(1)
    found.p[found.models.index("focal-r0")] = np.nan
    found.p[found.models.index("kl_divergence-r0")] = [0.9, 0.1]
    made = Made(found, models, members, SIGNIFICANCE | {"metric": "mcc"})
    focal, constant = made.rows.loc["focal"], made.rows.loc["kl_divergence"]
    assert focal["replicates"] == 0 and focal["reason"] == "1 of 1 runs failed"
    assert np.isnan(focal["value"]) and np.isnan(focal["difference"])
    # No better than chance, as wherever models are tested.
    assert np.isnan(constant["value"]) and "MCC is undefined" in constant["reason"]
    assert constant["difference"] == pytest.approx(-made.rows.loc["cce", "value"])
    found, models, members = study(1)
    found.p[found.models.index("cce-r0")] = np.nan
    rows = Made(found, models, members).rows
    assert rows["difference"].isna().all()
    assert rows.loc["focal", "reason"] == "the baseline has no result"


def test_tables_of_an_older_version_are_refused() -> None:
    made = Made(*study(1))
    made.tables["significance"] = made.tables["significance"].drop(columns="primary")
    with pytest.raises(UserError, match=r"significance\.csv: column 'primary' is missing"):
        made.again()
