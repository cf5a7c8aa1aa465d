"""Metrics against scikit-learn with sample weights, hand-computed values, and their edges."""

import numpy as np
import pytest
import simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss import evaluation, references
from multiloss.job.errors import UserError
from multiloss.statistics import metrics
from multiloss.statistics.mcc import mcc, mcc_of_confusion
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

CLASSES = ["normal", "bacterial", "viral"]


def draw(seed: int = 0, n: int = 90, ties: bool = False) -> tuple[np.ndarray, ...]:
    """Labels, probabilities and seven weightings, the first of them all ones."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[0, 1, 2, rng.integers(0, 3, n - 3)])
    p = rng.dirichlet([1, 1, 1], n)
    p[np.arange(n), y] += 0.4
    if ties:
        p = np.round(p * 5) + 0.5
    p /= p.sum(axis=1, keepdims=True)
    weights = np.vstack([np.ones(n), rng.integers(0, 4, (3, n)), rng.random((3, n))])
    return y, p, weights.astype(float)


def scikit(name: str, y: np.ndarray, p: np.ndarray, w: np.ndarray) -> float:
    """The same metric by scikit-learn."""
    predicted, onehot = p.argmax(axis=1), np.eye(3)[y]
    average = "macro" if name.endswith("_macro") else "weighted"
    base = name.removesuffix("_macro")
    label = next((k for k, c in enumerate(CLASSES) if name.endswith(f"_{c}")), None)
    if label is not None:
        base = name.rsplit("_", 1)[0]
        score, truth = p[:, label], y == label
        called = score >= 0.4
        binary = {
            "auroc": lambda: reference.roc_auc_score(truth, score, sample_weight=w),
            "auprc": lambda: reference.average_precision_score(truth, score, sample_weight=w),
            "sensitivity": lambda: reference.recall_score(truth, called, sample_weight=w),
            "specificity": lambda: reference.recall_score(~truth, ~called, sample_weight=w),
        }
        if base in binary:
            return binary[base]()
        function = getattr(reference, f"{base}_score")
        return function(truth, predicted == label, sample_weight=w)
    if base in ("precision", "recall", "f1"):
        function = getattr(reference, f"{base}_score")
        return function(y, predicted, average=average, sample_weight=w)
    areas = {"auroc": reference.roc_auc_score, "auprc": reference.average_precision_score}
    if base in areas:
        if average == "macro":
            return np.mean([areas[base](y == k, p[:, k], sample_weight=w) for k in range(3)])
        return areas[base](onehot.ravel(), p.ravel(), sample_weight=np.repeat(w, 3))
    return {
        "accuracy": lambda: reference.accuracy_score(y, predicted, sample_weight=w),
        "balanced_accuracy": lambda: reference.balanced_accuracy_score(
            y, predicted, sample_weight=w
        ),
        "mcc": lambda: reference.matthews_corrcoef(y, predicted, sample_weight=w),
        "kappa": lambda: reference.cohen_kappa_score(y, predicted, sample_weight=w),
        "log_loss": lambda: reference.log_loss(y, p, sample_weight=w),
        "brier": lambda: reference.brier_score_loss(y, p, sample_weight=w, scale_by_half=False),
    }[base]()


# What has no weighted counterpart there, or is new, needs a value by hand elsewhere in this file.
IN_SCIKIT = [
    name
    for name, row in metrics.rows(CLASSES).items()
    if row.metric.name
    in {
        *("accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc", "kappa", "auroc"),
        *("auprc", "precision_macro", "recall_macro", "f1_macro", "auroc_macro", "auprc_macro"),
        *("sensitivity", "specificity", "log_loss", "brier"),
    }
]


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("name", IN_SCIKIT)
def test_agrees_with_scikit_learn(name: str, ties: bool) -> None:
    y, p, weights = draw(1, ties=ties)
    ours = metrics.compute(name, y, p, weights, classes=CLASSES, thresholds=[0.4] * 3)
    theirs = [scikit(name, y, p, w) for w in weights]
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("name", metrics.names(CLASSES))
def test_integer_weights_are_repetitions(name: str) -> None:
    y, p, weights = draw(2, ties=True)
    count = weights[1].astype(int)
    arguments = {"classes": CLASSES, "thresholds": [0.3, 0.4, 0.5], "bins": 7}
    repeated = metrics.compute(name, np.repeat(y, count), np.repeat(p, count, axis=0), **arguments)
    assert metrics.compute(name, y, p, weights[1], **arguments) == pytest.approx(repeated)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    y, p, weights = draw(3)
    sample = metrics.Sample(y, p)
    wanted = metrics.names(["0", "1", "2"])
    whole = metrics.compute_many(wanted, sample, weights)
    monkeypatch.setattr(metrics, "CHUNK_ELEMENTS", 2 * p.size)
    chunked = metrics.compute_many(wanted, sample, weights)
    assert np.allclose(whole, chunked, rtol=1e-13, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize("n", [60, 624, 25_000])
def test_chunks_are_bounded(n: int) -> None:
    rng = np.random.default_rng(0)
    sample = metrics.Sample(rng.integers(0, 3, n), np.full((n, 3), 1 / 3))
    weights = np.broadcast_to(np.ones(n), (2000, n))
    sizes = [len(part.weights) for _, part in metrics.chunks(sample, weights)]
    assert sum(sizes) == 2000
    assert max(sizes) * 3 * n <= max(metrics.CHUNK_ELEMENTS, metrics.FEWEST_RESAMPLES * 3 * n)


@pytest.mark.parametrize("which", [0, 2, "micro"])
@pytest.mark.parametrize("ties", [False, True])
def test_ranked_metrics_by_counting_pairs(which: int | str, ties: bool) -> None:
    y, p, weights = draw(4, 40, ties)
    r = metrics.Weighted(metrics.Sample(y, p), weights)
    onehot = np.eye(3)[y].astype(bool)
    one = which != "micro"
    score, positive = (p[:, which], onehot[:, which]) if one else (p.ravel(), onehot.ravel())
    for row, image in enumerate(weights):
        w = image if one else np.repeat(image, 3)
        pairs = np.outer(w[positive], w[~positive])
        above = np.subtract.outer(score[positive], score[~positive])
        area = (pairs * ((above > 0) + 0.5 * (above == 0))).sum() / pairs.sum()
        assert metrics._area_under_roc(r, which)[row] == pytest.approx(area, abs=1e-12)
        thresholds = np.unique(score)[::-1]
        true = np.array([w[positive & (score >= t)].sum() for t in thresholds])
        false = np.array([w[~positive & (score >= t)].sum() for t in thresholds])
        upto = r.sample.ranking(which).positives_upto
        found = r.running(which, "positives")[upto, row]
        np.testing.assert_allclose(found, true, atol=1e-12)
        ends = np.searchsorted(np.sort(-score), -thresholds, "right")
        np.testing.assert_allclose(
            r.running(which, "negatives")[ends - upto, row], false, atol=1e-12
        )
        steps = np.diff(true, prepend=0)
        precision = np.divide(true, true + false, out=np.zeros(len(true)), where=true > 0)
        average = (steps * precision).sum() / w[positive].sum()
        assert metrics._average_precision(r, which)[row] == pytest.approx(average, abs=1e-12)


def test_mcc_of_a_small_table_by_hand() -> None:
    # [[2, 1], [1, 3]]: (2*3 - 1*1) / sqrt(3 * 3 * 4 * 4) = 5 / 12
    y = np.array([0, 0, 0, 1, 1, 1, 1])
    predicted = np.array([0, 0, 1, 0, 1, 1, 1])
    assert mcc(y, predicted) == pytest.approx(5 / 12)
    assert mcc_of_confusion([[2, 1], [1, 3]]) == pytest.approx(5 / 12)


def test_calibration_error_by_hand() -> None:
    # Confidences .6 .7 | .8 .9; right 0 1 | 1 1: |.5 - .65| / 2 + |1 - .85| / 2 = .15
    confidence = np.array([0.9, 0.6, 0.8, 0.7])
    p = np.column_stack([confidence, 1 - confidence])
    y = np.array([0, 1, 0, 0])
    assert metrics.compute("ece", y, p, bins=2) == pytest.approx(0.15)
    assert metrics.compute("ece", y, p, bins=1) == pytest.approx(0.0)


def test_bins_agree_with_scikit_learn() -> None:
    y, p, _ = draw(4, n=200)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    rate, mean = calibration_curve(right, confidence, n_bins=10, strategy="quantile")
    expected = np.abs(rate - mean).mean()  # 20 images in each bin
    assert metrics.compute("ece", y, p, bins=10) == pytest.approx(expected)


@pytest.mark.parametrize("ties", [False, True])
def test_bins_of_weighted_images_counted_one_by_one(ties: bool) -> None:
    # 60 images in 15 bins: many middles lie exactly where a bin ends.
    y, p, weights = draw(3, 60, ties)
    sample = metrics.Sample(y, p, bins=15)
    for kind in (slice(0, 4), slice(4, None)):  # whole numbers, fractions
        found = metrics.Weighted(sample, weights[kind]).binned(1)
        for row, w in enumerate(weights[kind]):
            expected = np.zeros((3, 15))
            for score in np.unique(p[:, 1]):
                own = p[:, 1] == score
                twice = w[p[:, 1] > score].sum() + w[p[:, 1] >= score].sum()
                place = int((twice * (15 / w.sum() / 2) >= np.arange(1, 15)).sum())
                expected[:, place] += [w[own].sum(), w[own].sum() * score, w[own & (y == 1)].sum()]
            for kept, value in zip(found, expected, strict=True):
                np.testing.assert_allclose(kept[row], value, atol=1e-9)


def test_equal_confidences_share_a_bin() -> None:
    y = np.array([0, 1] * 10)
    p = np.tile([0.75, 0.25], (20, 1))
    assert metrics.compute("ece", y, p, bins=15) == pytest.approx(0.25)


def test_brier_decomposition_of_grouped_forecasts() -> None:
    """Murphy (1973): with one forecast value to a bin the three parts are the whole score."""
    p1 = np.repeat([0.1, 0.4, 0.8], [10, 20, 10])
    y = np.r_[np.ones(2), np.zeros(8), np.ones(7), np.zeros(13), np.ones(7), np.zeros(3)]
    p = np.column_stack([1 - p1, p1])
    parts = {
        name: metrics.compute(f"brier_{name}", y.astype(int), p, bins=4)
        for name in ("reliability", "resolution", "uncertainty", "within_bin")
    }
    rates, share, base = np.array([0.2, 0.35, 0.7]), np.array([0.25, 0.5, 0.25]), 16 / 40
    # Both classes count, so each part is twice that of the single event.
    assert parts["reliability"] == pytest.approx(2 * share @ (rates - [0.1, 0.4, 0.8]) ** 2)
    assert parts["resolution"] == pytest.approx(2 * share @ (rates - base) ** 2)
    assert parts["uncertainty"] == pytest.approx(2 * base * (1 - base))
    assert parts["within_bin"] == pytest.approx(0, abs=1e-12)


def test_perfect_and_reversed() -> None:
    y = np.array([0, 1, 2, 0, 1, 2])
    p = np.eye(3)[y]
    for name in ("accuracy", "mcc", "kappa", "auroc", "auprc", "f1", "balanced_accuracy"):
        assert metrics.compute(name, y, p) == 1.0
    for name in ("log_loss", "brier", "ece", "classwise_ece"):
        assert metrics.compute(name, y, p) == pytest.approx(0.0, abs=1e-12)
    assert metrics.compute("auroc_0", y, 1 - p) == 0.0


def test_undefined_is_nan_with_a_reason() -> None:
    y = np.array([0, 0, 1, 1])
    constant = metrics.Sample(y, np.tile([0.6, 0.3, 0.1], (4, 1)))
    values = dict(
        zip(
            metrics.names(CLASSES),
            metrics.compute_many(metrics.names(CLASSES), constant, None, CLASSES)[0],
            strict=True,
        )
    )
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert {"mcc", "precision", "balanced_accuracy", "auroc_macro"} <= undefined
    assert values["kappa"] == 0.0  # agreement exactly as by chance is a value
    assert {"auroc_viral", "recall_viral", "precision_bacterial"} <= undefined
    assert values["accuracy"] == 0.5 and values["auroc_normal"] == 0.5
    assert values["f1_bacterial"] == 0.0 and values["recall_bacterial"] == 0.0
    reasons = {name: metrics.undefined_reason(name, constant, CLASSES) for name in undefined}
    assert reasons["mcc"] == "one class only is predicted"
    assert reasons["balanced_accuracy"] == "no image of class 'viral'"
    assert reasons["precision_bacterial"] == "class 'bacterial' is never predicted"
    assert reasons["sensitivity_normal"] == "no operating point for class 'normal'"
    single = metrics.Sample(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert metrics.undefined_reason("auroc_b", single, ["a", "b"]) == (
        "all images are of class 'b'"
    )
    assert metrics.undefined_reason("mcc", single, ["a", "b"]) == "all images are of one class"


def test_names_and_lookup() -> None:
    known = metrics.names(CLASSES)
    assert len(known) == len(set(known))
    contract = "accuracy balanced_accuracy precision recall f1 mcc kappa auroc auprc log_loss"
    assert set([*contract.split(), "brier", "ece", "f1_macro", "auroc_macro"]) <= set(known)
    assert metrics.lookup("auroc_a_b", ["b", "a_b"]) == (
        metrics.CLASS_METRICS["auroc"],
        1,
        "a_b",
    )
    assert metrics.title("recall_viral", CLASSES) == "Recall, viral"
    assert metrics.title("recall", CLASSES) == "Recall (weighted)"
    with pytest.raises(UserError, match="unknown metric 'acuracy'"):
        metrics.compute("acuracy", [0, 1], np.eye(2))
    with pytest.raises(UserError, match="ambiguous"):
        metrics.names(["macro", "other"])


def test_a_class_named_like_a_part_of_a_metric_is_no_other_metric() -> None:
    """What a name means depends on the classes, so nothing else takes names apart."""
    classes = ["2", "loss", "ece", "auroc", "top"]
    found = metrics.rows(classes)
    assert len(found) == len(metrics.METRICS) + len(classes) * len(metrics.CLASS_METRICS)
    assert found["f1_2"] == (metrics.CLASS_METRICS["f1"], 0, "2")
    assert found["log_loss"] == (metrics.METRICS["log_loss"], None, None)
    assert found["classwise_ece"].label is None
    assert found["auroc_auroc"].title == "AUROC, auroc" and found["ece_ece"].index == 2
    assert metrics.title("auroc_macro", classes) == "AUROC (macro)"
    for name, message in (("macro", "ambiguous"), ("micro", "call all classes together")):
        with pytest.raises(UserError, match=message):
            metrics.rows(["other", name])
    assert all(row.name == name for name, row in found.items())


def test_every_metric_carries_its_words() -> None:
    for metric in (*metrics.METRICS.values(), *metrics.CLASS_METRICS.values()):
        assert metric.title and metric.sentence and metric.low < metric.high
        assert metric.direction in metric.help and {metric.best, metric.worst} == {
            metric.low,
            metric.high,
        }
        assert set(metric.cites) <= set(references.known())
    assert metrics.METRICS["mcc"].help == (
        "Matthews correlation coefficient. Correlation of true and predicted class, for any number "
        "of classes (Gorodkin 2004); higher is better; 0 is chance"
    )
    assert metrics.METRICS["log_loss"].best == 0 and metrics.METRICS["mcc"].worst == -1
    assert metrics.shown(metrics.MAIN)[:2] == ["mcc", "accuracy"]
    assert metrics.shown(metrics.OF_CLASS)[-2:] == ["sensitivity", "specificity"]
    # Only what takes probabilities at their word changes with a temperature.
    y, p, _ = draw(6)
    sharper = p**3 / (p**3).sum(axis=1, keepdims=True)
    for name, metric in metrics.METRICS.items():
        same = metrics.compute(name, y, p) == pytest.approx(metrics.compute(name, y, sharper))
        pooled = name in ("auroc", "auprc") or name.endswith("_macro")
        assert pooled or same != metric.of_probabilities, name


def test_proportions_are_the_metric_itself() -> None:
    y, p, _ = draw(7)
    sample = metrics.Sample(y, p, thresholds=[0.3, 0.4, 0.5])
    checked = 0
    for name, row in metrics.rows(CLASSES).items():
        if row.metric.proportion is not None:
            inside, success = row.metric.proportion(sample, row.index)
            value = metrics.compute_many([name], sample, None, CLASSES)[0, 0]
            assert success[inside].mean() == pytest.approx(value), name
            checked += 1
    assert checked == 2 + 4 * len(CLASSES)


def test_a_new_metric_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "METRICS", dict(metrics.METRICS))

    @metrics.metric("error_rate", "Error rate", higher_is_better=False)
    def _error_rate(r: metrics.Weighted) -> np.ndarray:
        """Proportion of images classified wrongly.

        One minus the accuracy.
        """
        return 1 - metrics.compute_many(["accuracy"], r.sample, r.weights)[:, 0]

    try:
        y, p, _ = draw(8)
        assert metrics.compute("error_rate", y, p) == pytest.approx(
            1 - metrics.compute("accuracy", y, p)
        )
        assert "error_rate" in metrics.names(CLASSES) and "error_rate" in metrics.shown("main")
        assert metrics.METRICS["error_rate"].help == (
            "Proportion of images classified wrongly; lower is better"
        )
        # It is in tables/metrics.csv, with an interval.
        data = simulated.predictions(3, {"ensemble": 60, "test": 60}, 2)
        models = {name: simulated.entry("single", name, 0) for name in data.models}
        options = {
            "resamples": 20, "interval": "auto", "confidence": 0.95, "ece_bins": 5,
        }  # fmt: skip
        table = evaluation.metrics_table(data, models, options, 1)
        rows = table[(table["metric"] == "error_rate") & (table["split"] == "test")]
        assert len(rows) == 2 and (rows["ci_low"] <= rows["value"]).all()
    finally:
        metrics._rows.cache_clear()


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1, 1], np.eye(2), "expected y_true"),
        ([0, 3], np.eye(2), r"in \[0, 2\)"),
        ([0.0, 1.0], np.eye(2), "class indices"),
        ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "finite"),
        ([], np.empty((0, 2)), "expected y_true"),
    ],
)
def test_wrong_arrays_are_refused(y: list, p: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.compute("accuracy", np.array(y), p)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_properties(seed: int, scale: float) -> None:
    """Image order and the unit of the weights are irrelevant; ranking metrics see ranks only."""
    y, p, weights = draw(seed, n=30)
    wanted = metrics.names(["0", "1", "2"])
    order = np.random.default_rng(seed).permutation(len(y))
    base = metrics.compute_many(wanted, metrics.Sample(y, p), weights)
    shuffled = metrics.compute_many(wanted, metrics.Sample(y[order], p[order]), weights[:, order])
    assert np.allclose(base, shuffled, equal_nan=True)
    scaled = metrics.compute_many(wanted, metrics.Sample(y, p), weights[:4] * 2)
    assert np.allclose(base[:4], scaled, equal_nan=True)
    for name in ("auroc_0", "auprc_2", "mcc", "accuracy"):
        column = wanted.index(name)
        one = metrics.compute(name, y, p, weights * scale)
        assert np.allclose(one, base[:, column], equal_nan=True)
    monotone = np.argsort(np.argsort(p, axis=None)).reshape(p.shape) / p.size
    for name in ("auroc", "auprc", "auroc_1"):
        assert metrics.compute(name, y, monotone) == pytest.approx(base[0, wanted.index(name)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_mcc_is_symmetric_and_blind_to_class_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, predicted = rng.integers(0, 3, (2, 40))
    value = mcc(y, predicted)
    swap = rng.permutation(3)
    assert mcc(predicted, y) == pytest.approx(value, nan_ok=True)
    assert mcc(swap[y], swap[predicted]) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "ends", "of_values", "of_differences"),
    [
        ("mcc", (-1.4, 2.5), (-1, 1), (-1.4, 2)),
        ("accuracy", (-1.4, 2.5), (0, 1), (-1, 1)),
        ("accuracy", (0.2, 0.7), (0.2, 0.7), (0.2, 0.7)),
        ("brier", (-3.0, 1.5), (0, 1.5), (-2, 1.5)),
        ("log_loss", (-3.0, 9.0), (0, 9), (-3, 9)),
        ("mcc", (np.nan, 2.5), (np.nan, 1), (np.nan, 2)),
    ],
)
def test_intervals_end_where_the_metric_does(
    name: str,
    ends: tuple[float, float],
    of_values: tuple[float, float],
    of_differences: tuple[float, float],
) -> None:
    known = metrics.METRICS[name]
    assert known.within(*ends) == pytest.approx(of_values, nan_ok=True)
    assert known.difference_within(*ends) == pytest.approx(of_differences, nan_ok=True)


def test_import_stays_light() -> None:
    """The config's validation asks for the names; that must not cost an import of SciPy."""
    import subprocess
    import sys
    from pathlib import Path

    code = "import sys; from multiloss.statistics import metrics; metrics.names(['a']);"
    code += "print('scipy' in sys.modules)"
    folder = Path(metrics.__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "False"
