"""Nothing dies after the trainings: tables of studies with as little as a study can have."""

import warnings

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation
from multiloss.ensembles import build, crossfit, diversity, optimism
from multiloss.evaluation.families import named, plain_forms
from multiloss.predictions import Predictions

EVALUATION = {
    "resamples": 20,
    "interval": "auto",
    "confidence": 0.95,
    "ece_bins": 5,
    "operating_point": "youden",
    "temperature_scaling": True,
}
SIGNIFICANCE = {"permutations": 50, "alpha": 0.05, "baseline": "cce"}
VARIANTS = named(["cce", "kl_divergence", "calibrated_cce"])
METHODS = ("majority_vote", "simple_average", "weighted_average", "stacking")


def tiny(trial: int) -> tuple[Predictions, list[str]]:
    """A study of few patients, each with images of any classes; models may know nothing.

    Every class is in every split, as `splits` sees to, if only in one patient.
    """
    rng = np.random.default_rng(trial)
    classes = ["a", "b", "c"][: int(rng.integers(2, 4))]
    rows = []
    for split in ("val", "ensemble", "test"):
        labels = [*range(len(classes)), *rng.integers(len(classes), size=int(rng.integers(0, 5)))]
        count = int(rng.integers(1, len(labels) + 1))
        rows += [
            (f"{split}-{k}", f"{split}-{int(rng.integers(count))}", split, classes[label])
            for k, label in enumerate(labels)
        ]
    table = pd.DataFrame(rows, columns=["image_id", "patient_id", "split", "label"])
    p = rng.dirichlet(np.ones(len(classes)), size=(len(VARIANTS), len(table)))
    for model in p:
        kind = rng.integers(5)
        if kind == 0:
            model[:] = np.nan
        elif kind == 1:
            model[:] = 0.2 / (len(classes) - 1)
            model[:, 0] = 0.8
        elif kind == 2:
            model[:] = np.eye(len(classes))[table["label"].map(classes.index)]
    return Predictions(table, [f"{loss}-r0" for loss in VARIANTS], classes, p), classes


@pytest.mark.parametrize("interval", ["auto", "percentile", "bca"])
@pytest.mark.parametrize("trial", range(12))
def test_tiny_studies_have_all_their_tables(
    trial: int, interval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimism, "RESTARTS", 2)
    singles, classes = tiny(trial)
    options = EVALUATION | {"interval": interval}
    entries = {
        f"{method}-top2-r0": {
            "method": method,
            "k": 2,
            "replicate": 0,
            "level": "prediction",
            "members": (),
        }
        for method in METHODS
    }
    methods = {"weighted_average": {"starts": 2}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranking = simulated.ranked(singles)
        made = build.build(singles, ranking, None, entries, methods, 5, 1, build.Interval(20))
        members = build.member_table(entries, ranking, made.candidates, {})
        chosen = crossfit.choose(made.candidates)
        found = evaluation.join(
            singles,
            Predictions(singles.rows, list(made.p), classes, np.stack(list(made.p.values()))),
        )
        models = {f"{variant}-r0": simulated.entry(variant=variant) for variant in VARIANTS}
        models |= {
            name: simulated.entry("ensemble", family=name[:-3], **entry)
            for name, entry in entries.items()
        }
        scaled, added, _ = evaluation.with_temperatures(found, models)
        everything, about = evaluation.join(found, scaled), models | added
        points, thresholds = evaluation.operating_points(everything, about, options)
        metrics = evaluation.metrics_table(everything, about, options, 1, thresholds)
        evaluation.curves_table(found, options, 1)
        ranks = evaluation.rank_table(found, models, options, 1)
        degenerate = evaluation.degenerate_table(found, models)
        tests = evaluation.significance_table(
            found, models, members, SIGNIFICANCE, options, 1, VARIANTS
        )
        evaluation.reliability_table(found, models, options)
        scores, compared = evaluation.calibration_tables(
            found, models, options, 1, dict.fromkeys(models, np.ones(len(classes)) / len(classes)),
            plain_forms(VARIANTS)[0],
        )  # fmt: skip
        trained = evaluation.runs_on_test(found, models, SIGNIFICANCE, options, 1)
        runs = evaluation.replicates_table(trained)
        over_seeds = evaluation.replicate_comparisons_table(trained, SIGNIFICANCE, 1, VARIANTS)
        spread = evaluation.seed_spread_table(trained, SIGNIFICANCE, VARIANTS)
        gains = evaluation.ensemble_comparisons_table(trained, members, SIGNIFICANCE)
        agreement = diversity.table(
            singles, simulated.models_of(singles), "test", 20, 0.95, np.random.default_rng(0)
        )
        settings = optimism.Settings(resamples=3, network_resamples=2)
        flattery = optimism.table(singles, entries, methods, 1, settings)
    for table, value in (
        (metrics, "value"), (points, "threshold"), (tests, "p_value"), (compared, "p_value"),
        (runs, "mean"), (made.candidates, "log_loss"), (ranking, "score"),
        (agreement, "q_statistic"), (flattery, "difference"), (scores, "value"),
        (over_seeds, "p_value"), (spread[spread["row"] != "pooled"], "mean"), (gains, "p_value"),
    ):  # fmt: skip
        assert (table.loc[table[value].isna(), "reason"] != "").all(), value
    failed = [m for m, p in zip(found.models, found.p, strict=True) if np.isnan(p).any()]
    assert not set(failed) & (set(chosen["model"]) | set(ranks["model"]) | set(degenerate["model"]))
    # Whoever could be judged and is chosen is at least as good as chance, or it is said.
    for _, row in chosen.iterrows():
        at_chance = not row["score"] > 0
        assert ("not above that of chance" in row["rule"]) == at_chance
    # No image gets a probability of 0 for a class that a fit has not seen.
    stacked = found.of(["stacking-top2-r0"])[0]
    assert np.isnan(stacked).all() or (stacked > 0).all()
