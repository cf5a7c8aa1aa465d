"""Pairwise measures of error, by hand and against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import simulated
from multiloss.ensembles import diversity
from multiloss.predictions import Predictions
from multiloss.statistics import agreement, bootstrap
from multiloss.study import Model, models_text
from scipy import special, stats
from sklearn.metrics import matthews_corrcoef


def cells(a, b, c, d):
    """Two models with a images both right, b and c one alone right, d both wrong."""
    first = np.repeat([1, 1, 0, 0], [a, b, c, d])
    second = np.repeat([1, 0, 1, 0], [a, b, c, d])
    return np.stack([first, second]).astype(bool)


def measures(right, weights=None):
    return dict(
        zip(
            agreement.MEASURES,
            agreement.pairwise_agreement(right, [(0, 1)], weights)[0, 0],
            strict=True,
        )
    )


def test_by_hand():
    found = measures(cells(50, 10, 20, 20))
    assert found["q_statistic"] == pytest.approx((1000 - 200) / (1000 + 200))
    assert found["disagreement"] == pytest.approx(0.30)
    assert found["double_fault"] == pytest.approx(0.20)
    # (ad - bc) / sqrt(60 * 40 * 70 * 30)
    assert found["error_correlation"] == pytest.approx(800 / 2244.994)


def test_the_correlation_is_that_of_scikit_learn():
    right = np.random.default_rng(0).random((2, 80)) < 0.7
    assert measures(right)["error_correlation"] == pytest.approx(matthews_corrcoef(*right))


def test_identical_and_opposite_models():
    one = np.array([1, 1, 1, 0, 0], dtype=bool)
    same = measures(np.stack([one, one]))
    assert (same["q_statistic"], same["error_correlation"]) == pytest.approx((1, 1))
    assert (same["disagreement"], same["double_fault"]) == pytest.approx((0, 0.4))
    opposite = measures(np.stack([one, ~one]))
    assert (opposite["q_statistic"], opposite["error_correlation"]) == pytest.approx((-1, -1))
    assert (opposite["disagreement"], opposite["double_fault"]) == pytest.approx((1, 0))


def test_a_model_without_errors_leaves_both_associations_undefined():
    found = measures(np.stack([np.ones(6, bool), np.array([1, 1, 0, 0, 1, 0], bool)]))
    assert np.isnan(found["q_statistic"]) and np.isnan(found["error_correlation"])
    assert (found["disagreement"], found["double_fault"]) == (0.5, 0)


def test_the_order_of_models_does_not_matter():
    right = np.random.default_rng(1).random((2, 60)) < 0.6
    np.testing.assert_allclose(
        agreement.pairwise_agreement(right, [(0, 1)]), agreement.pairwise_agreement(right, [(1, 0)])
    )


def test_weights_are_repeated_images():
    rng = np.random.default_rng(2)
    right = rng.random((3, 40)) < 0.6
    weights = rng.integers(0, 4, size=(5, 40))
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = agreement.pairwise_agreement(right, pairs, weights)
    assert found.shape == (3, 5, 4)
    for row, times in enumerate(weights):
        repeated = agreement.pairwise_agreement(np.repeat(right, times, axis=1), pairs)
        np.testing.assert_allclose(found[:, row], repeated[:, 0])


def test_pairs_differ_in_one_thing():
    models = [
        Model(f"{name}-r{run}", "single", name, name, name, name, run)
        for run in (0, 1)
        for name in ("cce", "focal")
    ]
    assert diversity.model_pairs(models) == [
        (0, 1, "losses"),
        (0, 2, "seeds"),
        (1, 3, "seeds"),
        (2, 3, "losses"),
    ]


def table(data, seed=0, resamples=300):
    return diversity.table(
        data, simulated.models_of(data), "test", resamples, 0.95, np.random.default_rng(seed)
    )


def test_table():
    data = simulated.predictions(0, models=4)
    found = table(data)
    assert len(found) == 6 and set(found["differs"]) == {"losses"}
    assert set(found["n"]) == {90} and found["n_patients"][0] < 90
    part = data.only("test")
    right = part.p.argmax(axis=2) == part.y
    row = found.set_index(["model_a", "model_b"]).loc[("loss1-r0", "loss3-r0")]
    assert row["error_correlation"] == pytest.approx(matthews_corrcoef(right[1], right[3]))
    assert row["disagreement"] == pytest.approx((right[1] != right[3]).mean())
    for name in agreement.MEASURES:
        assert (found[f"{name}_ci_low"] <= found[name] + 1e-12).all()
        assert (found[name] <= found[f"{name}_ci_high"] + 1e-12).all()
    assert (found["reason"] == "").all()
    assert found.equals(table(data)) and not found.equals(table(data, seed=1))


def test_intervals_are_on_a_scale_without_bounds():
    """The logit of a share and Fisher's z of a correlation, with t of the effective patients."""
    data = simulated.predictions(0, models=2)
    part = data.only("test")
    right = part.p.argmax(axis=2) == part.y
    row = table(data, resamples=2000).iloc[0]
    strata = bootstrap.label_strata(part.patients, part.y)
    images = part.rows["patient_id"].value_counts()
    df = images.sum() ** 2 / (images**2).sum() - len(set(strata.tolist()))
    weights = bootstrap.patient_weights(part.patients, strata, 2000, np.random.default_rng(1))
    found = agreement.pairwise_agreement(right, [(0, 1)], weights)[0]
    for name, scale, back in (
        ("disagreement", special.logit, special.expit),
        ("error_correlation", np.arctanh, np.tanh),
    ):
        drawn = scale(found[:, agreement.MEASURES.index(name)])
        margin = stats.t.ppf(0.975, df) * drawn.std(ddof=1)
        ends = back(scale(row[name]) + np.array([-margin, margin]))
        # Two sets of 2,000 resamples: the standard error of a standard deviation is 1.6%.
        assert row[[f"{name}_ci_low", f"{name}_ci_high"]].to_numpy(float) == pytest.approx(
            ends, abs=0.01
        )


def test_a_measure_at_the_end_of_its_range_has_no_interval():
    data = simulated.predictions(0, models=1)
    twice = Predictions(
        data.rows, ["loss0-r0", "loss1-r0"], data.classes, np.concatenate([data.p, data.p])
    )
    (row,) = table(twice).to_dict("records")
    assert row["disagreement"] == 0 and row["q_statistic"] == 1
    assert np.isnan([row["disagreement_ci_low"], row["q_statistic_ci_high"]]).all()
    assert 0 < row["double_fault_ci_low"] < row["double_fault"] < row["double_fault_ci_high"]
    assert row["reason"] == (
        "no interval of q_statistic and disagreement and error_correlation: at the end of the "
        "range, or constant"
    )


def test_undefined_values_are_empty_with_a_reason_and_failed_models_absent():
    data = simulated.predictions(0, models=4)
    part = (data.rows["split"] == "test").to_numpy()
    data.p[0] = np.eye(3)[data.y]
    data.p[1] = np.nan
    found = table(data)
    assert part.any() and set(found["model_a"]) | set(found["model_b"]) == {
        "loss0-r0", "loss2-r0", "loss3-r0",
    }  # fmt: skip
    perfect = found[found["model_a"] == "loss0-r0"]
    assert perfect[["q_statistic", "q_statistic_ci_low", "error_correlation"]].isna().all(None)
    assert perfect["disagreement"].notna().all()
    assert perfect["reason"].str.contains("q_statistic and error_correlation undefined").all()


def test_one_model_makes_an_empty_table_with_columns():
    found = table(simulated.predictions(0, models=1))
    assert len(found) == 0 and "error_correlation" in found


def test_script(root, monkeypatch, tmp_path):
    data = simulated.predictions(0, models=3)
    text = models_text(simulated.models_of(data).values())
    (tmp_path / "models.csv").write_text(text)
    simulated.run_script(
        root, monkeypatch, "diversity",
        input={"predictions": simulated.write(data, tmp_path), "models": tmp_path / "models.csv"},
        params={"classes": data.classes, "seed": 1, "resamples": 50, "confidence": 0.95},
        output={"table": tmp_path / "diversity.csv"},
    )  # fmt: skip
    read = pd.read_csv(tmp_path / "diversity.csv")
    assert len(read) == 3
    np.testing.assert_allclose(read["disagreement"], table(data)["disagreement"])
