"""tables/verdicts.csv and tables/planning.csv: from tables made by hand and made-up predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss import evaluation
from multiloss.evaluation import verdicts
from multiloss.evaluation.resamples import resample, resampled_values
from multiloss.job.errors import UserError
from multiloss.job.files import write_csv
from multiloss.predictions import Predictions
from multiloss.statistics import claims, effects, planning
from multiloss.study import Model, models_text
from scipy import stats

SIGNIFICANCE = {"alpha": 0.05, "baseline": "loss0", "metric": "mcc", "equivalence_margin": 0.02}
OPTIONS = {"resamples": 400, "confidence": 0.95, "ece_bins": 5}
LOSSES = 3


def study(runs: int = 1, failed: str = "") -> tuple[Predictions, dict[str, dict[str, Any]]]:
    """`runs` of three losses, and one ensemble of each replicate: the mean of all losses."""
    parts = [
        simulated.predictions(0, models=LOSSES, replicate=r, signal=1 + r) for r in range(runs)
    ]
    rows, names, p, models = parts[0].rows, [], [], {}
    for replicate, part in enumerate(parts):
        ensemble = f"simple_average-top3-r{replicate}"
        names += [*part.models, ensemble]
        p += [*part.p, part.p.mean(axis=0)]
        for name in part.models:
            loss = name.rpartition("-r")[0]
            models[name] = simulated.entry("single", loss, replicate, family=loss)
        models[ensemble] = simulated.entry(
            "ensemble", None, replicate, family="simple_average-top3"
        )
    stacked = np.stack(p)
    if failed:
        stacked[names.index(failed)] = np.nan
    return Predictions(rows, names, parts[0].classes, stacked), models


def members(runs: int = 1) -> pd.DataFrame:
    rows = [
        (f"simple_average-top3-r{r}", f"loss{k}-r{r}", rank)
        for r in range(runs)
        for rank, k in ((2, 0), (1, 1), (3, 2))
    ]
    return pd.DataFrame(rows, columns=["ensemble", "member", "rank"])


CHOSEN = pd.DataFrame(
    {
        "what": ["single", "ensemble", "overall"],
        "model": ["loss1-r0", "simple_average-top3-r0", "simple_average-top3-r0"],
    }
)
NOTHING = pd.DataFrame({"what": [], "model": []})


def row(difference: float = 0.1, se: float = 0.05, **more: Any) -> dict[str, Any]:
    return {
        "metric": "mcc",
        "difference": difference,
        "ci_low": difference - 2 * se,
        "ci_high": difference + 2 * se,
        "p_adjusted": 0.2,
        "reject": False,
        "reason": np.nan,
        "se": se,
        "df": 80.0,
        "hypotheses": 2,
        "correction": "Holm",
        "primary": True,
        **more,
    }


def of_runs(a: str, b: str, **more: Any) -> dict[str, Any]:
    return row(model_a=a, model_b=b, **more)


def over_seeds(a: str, b: str, seed: float = 0.03, patient: float = 0.04, **more: Any):
    more = {"replicates_a": 3, "replicates_b": 3, "warning": np.nan, **more}
    error = float(np.hypot(seed, patient)) if seed == seed else patient
    return row(loss_a=a, loss_b=b, se=error, se_seed=seed, se_patient=patient, **more)


def of_ensembles(seed: float = 0.03, patient: float = 0.04, **more: Any) -> dict[str, Any]:
    more = {"replicates": 3, "warning": np.nan, **more}
    return row(
        ensemble="simple_average-top3",
        against="best_member",
        opponent="best member",
        se=float(np.hypot(seed, patient)),
        se_seed=seed,
        se_patient=patient,
        **more,
    )


def tables(significance=(), crossed=(), ensembles=()) -> dict[str, pd.DataFrame]:
    named = {"significance": significance, "replicate_comparisons": crossed}
    named["ensemble_comparisons"] = ensembles
    return {name: pd.DataFrame(rows) for name, rows in named.items()}


def judge(
    given: dict[str, pd.DataFrame],
    runs: int = 1,
    failed: str = "",
    chosen: pd.DataFrame = CHOSEN,
    **significance: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    found, models = study(runs, failed)
    compared = evaluation.primary_comparisons(given, models)
    config = SIGNIFICANCE | significance
    judged = evaluation.verdicts_table(
        found, models, compared, members(runs), chosen, config, OPTIONS, 1
    )
    return judged, evaluation.planning_table(found, models, compared, chosen, config, OPTIONS)


def without_claims(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["question"] != "claim"].reset_index(drop=True)


def test_a_row_holds_what_follows_from_difference_and_error() -> None:
    judged, _ = judge(tables([of_runs("loss1-r0", "loss0-r0", reject=True, p_adjusted=0.01)]))
    assert list(judged) == verdicts.COLUMNS
    only = without_claims(judged).iloc[0]
    assert (only["question"], only["basis"], only["verdict"]) == ("loss", "these runs", "better")
    assert only["p_tost"] == pytest.approx(stats.t.cdf(0.08 / 0.05, 80))
    assert only["p_positive"] == pytest.approx(stats.t.cdf(2, 80))
    assert only["p_better"] == pytest.approx(stats.t.cdf(0.08 / 0.05, 80))
    assert only["p_worse"] == pytest.approx(stats.t.sf(0.12 / 0.05, 80))
    assert only[["p_better", "p_equivalent", "p_worse"]].sum() == pytest.approx(1)
    for column, level in (("detectable", 0.05), ("detectable_corrected", 0.025)):
        assert only[column] == pytest.approx(effects.detectable_difference(0.05, 80, level))
    assert (only["n"], only["hypotheses"], only["correction"]) == (90, 2, "Holm")
    found, _ = study()
    assert only["n_patients"] == found.only("test").rows["patient_id"].nunique()


@pytest.mark.parametrize(
    "margin, difference, reject, verdict",
    [
        (0.2, 0.01, False, "equivalent"),
        (0.2, 0.01, True, "equivalent"),
        (0.2, 0.3, True, "better"),
        (0.2, -0.3, True, "worse"),
        (0.02, 0.01, False, "inconclusive"),
        (0.0, 0.0, False, "inconclusive"),
        (None, 0.0, False, "inconclusive"),
        (None, 0.3, True, "better"),
    ],
)
def test_verdicts_by_margin(
    margin: float | None, difference: float, reject: bool, verdict: str
) -> None:
    given = tables([of_runs("loss1-r0", "loss0-r0", difference=difference, reject=reject)])
    only = judge(given, equivalence_margin=margin)[0].iloc[0]
    assert only["verdict"] == verdict
    assert pd.isna(only["p_tost"]) == pd.isna(only["p_equivalent"]) == (margin is None)
    assert (verdicts.TRIVIAL in only["reason"]) == (verdict == "equivalent" and reject)


def test_seeds_are_preferred_where_their_spread_is_known() -> None:
    given = tables(
        [of_runs(f"loss{k}-r0", "loss0-r0") for k in (1, 2)],
        [over_seeds("loss1", "loss0"), over_seeds("loss2", "loss0", seed=np.nan)],
    )
    judged = without_claims(judge(given, runs=3)[0])
    assert judged["a"].tolist() == ["loss1", "loss2-r0"]
    assert judged["basis"].tolist() == ["seeds and patients", "these runs"]
    # What only the table of the seeds has is not lost for their spread being unknown.
    judged = without_claims(judge(tables([], given["replicate_comparisons"]), runs=3)[0])
    assert judged["a"].tolist() == ["loss1", "loss2"]
    assert judged["basis"].tolist() == ["seeds and patients", "these runs"]


def test_rows_that_are_not_primary_are_left_out() -> None:
    rows = [of_runs("loss1-r0", "loss0-r0", primary=value) for value in (False, "False", np.nan)]
    assert without_claims(judge(tables(rows))[0]).empty


@pytest.mark.parametrize("column", ["se", "df", "hypotheses", "primary"])
@pytest.mark.parametrize(
    "name, made",
    [
        ("significance", of_runs("loss1-r0", "loss0-r0")),
        ("replicate_comparisons", over_seeds("loss1", "loss0")),
        ("ensemble_comparisons", of_ensembles()),
    ],
)
def test_a_table_without_its_column_is_named(name: str, made: dict, column: str) -> None:
    given = tables() | {name: pd.DataFrame([made]).drop(columns=column)}
    with pytest.raises(UserError, match=rf"tables/{name}.csv: column '{column}' is missing"):
        judge(given)


def test_claims_are_those_of_networks_and_agree_with_the_formula() -> None:
    judged, _ = judge(tables([of_runs("loss1-r0", "loss0-r0")]))
    part = study()[0].only("test")
    right = part.p.argmax(axis=2) == part.y
    claimed = judged[judged["question"] == "claim"]

    def of(claim: str) -> pd.Series:
        (row,) = [row for _, row in claimed.iterrows() if row["reason"].startswith(claim)]
        return row

    single = of(verdicts.CHOSEN_SINGLE)
    assert (single["a"], single["b"]) == ("loss1-r0", "loss0-r0")
    # It is not the higher one, so the claim would be the other's.
    assert single["difference"] < 0 and "the claim is b's" in single["reason"]
    counts = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    assert single["p_false_claim"] == pytest.approx(float(claims.false_claim(*counts)))
    assert 0 < single["p_false_claim_clustered"] < 1
    # The best member by rank, and not by the order of the table.
    assert of(verdicts.CHOSEN_ENSEMBLE)["b"] == "loss1-r0"
    # The chosen single model is that member: one claim, not two.
    assert not claimed["reason"].str.contains(verdicts.CHOSEN_AGAINST_SINGLE).any()
    others, second = of(verdicts.OTHERS), of(verdicts.SECOND)
    assert others["b"] == "the other 2 single models"
    assert "too low" in others["reason"] and "too low" in second["reason"]
    assert others["p_false_claim_clustered"] > second["p_false_claim_clustered"] - 0.05


def test_the_order_of_models_and_rows_changes_no_row() -> None:
    rows = [of_runs(f"loss{k}-r0", "loss0-r0") for k in (1, 2)]
    first, second = (judge(tables(part))[0] for part in (rows, rows[::-1]))
    shared = [*first.columns[:-1]]
    pd.testing.assert_frame_equal(
        first[shared].sort_values(["question", "a", "b"], ignore_index=True),
        second[shared].sort_values(["question", "a", "b"], ignore_index=True),
    )


def test_further_runs_are_those_that_did_not_fail() -> None:
    given = tables([], [over_seeds("loss1", "loss0", replicates_b=2)])
    judged = judge(given, runs=3, failed="loss0-r1")[0].iloc[0]
    found, models = study(3, "loss0-r1")
    part = found.only("test")
    values, _ = resampled_values(part, resample(part, OPTIONS, 1, "test"), ["mcc"], OPTIONS)
    of = {name: values[k, 0] for k, name in enumerate(part.models)}
    wins = [of[f"loss1-r{i}"] > of[f"loss0-r{j}"] for i in range(3) for j in (0, 2)]
    assert judged["p_outperforms"] == pytest.approx(np.mean(wins))
    assert judged["p_outperforms_low"] <= judged["p_outperforms"] <= judged["p_outperforms_high"]
    # A claim about networks has no place beside a comparison of losses.
    assert np.isnan(judged["p_false_claim"]) and np.isnan(judged["p_false_claim_clustered"])


def test_one_run_left_has_no_further_ones() -> None:
    given = tables([], [over_seeds("loss1", "loss0", replicates_b=1)])
    judged = judge(given, runs=2, failed="loss0-r1")[0].iloc[0]
    assert judged["basis"] == "seeds and patients"
    assert np.isnan(judged["p_outperforms"]) and "two runs of each" in judged["reason"]


def test_ensembles_meet_the_best_member_of_their_own_replicate() -> None:
    judged = judge(tables(ensembles=[of_ensembles()]), runs=3)[0].iloc[0]
    assert (judged["question"], judged["a"]) == ("ensemble", "simple_average-top3")
    part = study(3)[0].only("test")
    values, _ = resampled_values(part, resample(part, OPTIONS, 1, "test"), ["mcc"], OPTIONS)
    of = {name: values[k, 0] for k, name in enumerate(part.models)}
    wins = [
        np.sign(of[f"simple_average-top3-r{r}"] - of[f"loss1-r{r}"]) / 2 + 0.5 for r in range(3)
    ]
    assert judged["p_outperforms"] == pytest.approx(np.mean(wins))


def test_a_failed_model_has_no_claims() -> None:
    given = tables([of_runs("loss1-r0", "loss0-r0", difference=np.nan, se=np.nan, df=np.nan)])
    judged, planned = judge(given, failed="loss1-r0")
    assert judged.iloc[0]["verdict"] == ""
    assert "loss1-r0 has no probabilities" in judged.iloc[0]["reason"]
    assert set(planned["kind"]) == {"precision"}


def test_no_comparison_and_no_choice_leave_what_the_predictions_tell() -> None:
    judged, planned = judge(tables(), chosen=NOTHING)
    assert set(judged["question"]) == {"claim"}
    assert set(planned["kind"]) == {"precision"}
    # Without a choice the baseline is planned for.
    assert set(planned["model"]) == {"loss0-r0"}


def test_a_family_of_one_has_nothing_to_correct() -> None:
    judged, planned = judge(tables([of_runs("loss1-r0", "loss0-r0", hypotheses=1)]))
    assert judged.loc[0, "detectable"] == judged.loc[0, "detectable_corrected"]
    assert set(planned["hypotheses"].dropna()) == {1}


def test_planning_uses_the_variances_of_the_comparisons() -> None:
    given = tables([], [over_seeds("loss1", "loss0"), over_seeds("loss2", "loss0")])
    judged, planned = judge(given, runs=3)
    patients = judged.loc[0, "n_patients"]
    spread = (0.04**2 * patients, 0.03**2 * 3 / 2)
    part = planned[(planned["kind"] == "difference") & (planned["hypotheses"] == 2)]
    assert len(part) == 5 * 7
    cells = part.set_index(["seeds", "target"])["patients"]
    for seeds in (1, 2, 10):
        for difference in (0.05, 0.1, 0.2):
            expected = planning.patients_needed(difference, seeds, *spread, 3, 0.025)
            assert cells[seeds, difference] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(cells[2, 0.01])
    few = part[part["patients"].isna()]
    assert few["reason"].str.contains("so few runs").all()
    one = part[(part["seeds"] == 1) & part["patients"].notna()]
    assert one["reason"].str.contains("known from elsewhere").all()
    gains = judge(tables(ensembles=[of_ensembles()]), runs=3)[1]
    gains = gains[(gains["kind"] == "detectable") & (gains["hypotheses"] == 1)]
    # One ensemble's replicates: two degrees of freedom for three of them.
    gain = gains[(gains["seeds"] == 3) & (gains["patients"] == 100)]["value"].item()
    error = planning.comparison_error(100, 3, *spread, 1)
    assert gain == pytest.approx(float(effects.detectable_difference(*error)))
    other = planned[(planned["kind"] == "detectable") & (planned["hypotheses"] == 1)]
    row = other[(other["seeds"] == 5) & (other["patients"] == 500)].iloc[0]
    error = planning.comparison_error(500, 5, *spread, 3)
    assert row["value"] == pytest.approx(float(effects.detectable_difference(*error)))


def test_unknown_seeds_leave_plans_for_fixed_networks() -> None:
    judged, planned = judge(tables([of_runs("loss1-r0", "loss0-r0")]))
    part = planned[(planned["kind"] == "difference") & (planned["hypotheses"] == 1)]
    assert part["seeds"].isna().all() and part["reason"].str.contains("not for losses").all()
    patients = judged.loc[0, "n_patients"]
    expected = planning.patients_needed(0.1, 1, 0.05**2 * patients, 0.0)
    assert part.set_index("target").loc[0.1, "patients"] == expected


def test_precision_is_planned_for_the_chosen_model() -> None:
    planned = judge(tables())[1]
    part = study()[0].only("test")
    assert planned["metric"].tolist() == [
        "accuracy",
        *(f"recall_{name}" for name in part.classes),
        *(f"auroc_{name}" for name in part.classes),
    ]
    p = part.of(["simple_average-top3-r0"])[0]
    right = p.argmax(axis=1) == part.y
    first = planned.iloc[0]
    effect = planning.design_effect(right, part.patients)
    assert (first["model"], first["value"]) == ("simple_average-top3-r0", right.mean())
    images = planning.images_for_proportion(right.mean(), 0.05)
    assert first["images"] == np.ceil(images * effect)
    assert first["patients"] == np.ceil(first["images"] * first["n_patients"] / first["n"])


def test_a_class_that_is_always_right_has_no_sample_size() -> None:
    found, models = study()
    p = found.p.copy()
    p[:, found.y == 0] = [0.9, 0.05, 0.05]
    sure = Predictions(found.rows, found.models, found.classes, p)
    planned = evaluation.planning_table(sure, models, [], CHOSEN, SIGNIFICANCE, OPTIONS)
    row = planned.set_index("metric").loc[f"recall_{found.classes[0]}"]
    assert row["value"] == 1 and np.isnan(row["images"]) and "at 0 or 1" in row["reason"]


def test_the_script_writes_both_tables(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, models = study(2)
    paths = {name: tmp_path / f"{name}.csv" for name in ("members", "chosen", "models")}
    write_csv(members(2), paths["members"])
    write_csv(CHOSEN, paths["chosen"])
    paths["models"].write_text(models_text(Model(**entry) for entry in models.values()))
    given = tables(
        [of_runs("simple_average-top3-r0", "loss1-r0")],
        [over_seeds("loss1", "loss0", replicates_a=2, replicates_b=2)],
    )
    for name in ("significance", "replicate_comparisons"):
        paths[name] = tmp_path / f"{name}.csv"
        write_csv(given[name], paths[name])
    out = {name: tmp_path / "out" / f"{name}.csv" for name in ("verdicts", "planning")}
    out["verdicts"].parent.mkdir()
    texts = []
    for _ in range(2):
        simulated.run_script(
            root,
            monkeypatch,
            "verdicts",
            input={
                "predictions": simulated.write(found, tmp_path / "predictions"),
                "ensemble_comparisons": [],
                **{name: str(path) for name, path in paths.items()},
            },
            output={name: str(path) for name, path in out.items()},
            params={
                "classes": found.classes,
                "significance": SIGNIFICANCE,
                "evaluation": OPTIONS,
                "seed": 1,
            },
        )
        texts.append([path.read_bytes() for path in out.values()])
    assert texts[0] == texts[1]
    written = pd.read_csv(out["verdicts"])
    assert written["question"].tolist()[:2] == ["loss", "ensemble"]
    assert pd.read_csv(out["planning"])["kind"].nunique() == 3
