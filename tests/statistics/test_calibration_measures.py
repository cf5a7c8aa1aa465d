"""Slopes, errors without bias and curves of calibration against independent computations."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import calibration_curve as curve
from multiloss.statistics import calibration_error as error
from multiloss.statistics import calibration_slope as slope
from multiloss.statistics import metrics
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(seed: int, n: int = 300, size: int = 3, sharp: float = 1.0):
    """Labels drawn from probabilities, and these raised to a power."""
    rng = np.random.default_rng(seed)
    scores = 1.5 * rng.normal(size=(n, size))
    y = (softmax(scores).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return y, softmax(sharp * scores)


def test_two_classes_are_logistic_recalibration() -> None:
    y, p = drawn(1, size=2, sharp=1.6)
    logit = np.log(p[:, 1] / p[:, 0])
    both = sm.Logit(y, sm.add_constant(logit)).fit(disp=0, tol=1e-12)
    found = slope.calibration_slope(y, p)
    assert found.value == pytest.approx(both.params[1], rel=1e-8)
    assert found.value < 0.8
    # The jackknife is close to the sandwich, and a little larger.
    robust = sm.Logit(y, sm.add_constant(logit)).fit(disp=0, cov_type="HC0").bse[1]
    assert robust < found.error < 1.05 * robust
    large = sm.GLM(y, np.ones(len(y)), family=sm.families.Binomial(), offset=logit)
    large = large.fit(cov_type="HC0")
    reference, intercept = slope.calibration_intercepts(y, p)
    assert (reference.value, reference.error) == (0.0, 0.0)
    assert intercept.value == pytest.approx(large.params[0], rel=1e-6)
    assert intercept.error == pytest.approx(large.bse[0], rel=0.03)


def test_the_common_slope_maximises_the_likelihood() -> None:
    y, p = drawn(2, sharp=0.6)

    def loss(theta: np.ndarray) -> float:
        q = softmax(theta[0] * np.log(p) + np.r_[0.0, theta[1:]])
        return -np.log(q[np.arange(len(y)), y]).sum()

    best = minimize(loss, [1.0, 0.0, 0.0], method="BFGS", options={"gtol": 1e-8})
    assert slope.calibration_slope(y, p).value == pytest.approx(best.x[0], rel=1e-4)
    found, reason = slope.recalibrated(y, p)
    before = -np.log(p[np.arange(len(y)), y]).mean()
    assert reason == ""
    assert found.miscalibration[0] == pytest.approx(before - best.fun / len(y), rel=1e-5)
    assert found.distance[0] == pytest.approx(abs(np.log(best.x[0])), rel=1e-4)


def test_the_solver_fits_the_full_multinomial_model() -> None:
    y, p = drawn(3, n=400)
    predictors = np.log(p[:, 1:] / p[:, :1])
    theirs = sm.MNLogit(y, sm.add_constant(predictors)).fit(disp=0, tol=1e-12)
    terms = np.c_[np.ones(len(y)), predictors]
    x = np.zeros((len(y), 3, 6))
    x[:, 1, :3], x[:, 2, 3:] = terms, terms
    fit = slope.maximise(x, y)
    assert fit.theta == pytest.approx(theirs.params.T.ravel(), abs=1e-6)
    assert np.linalg.inv(fit.information.sum(axis=0)) == pytest.approx(
        theirs.cov_params(), abs=1e-6
    )


def test_one_step_of_the_bootstrap_is_nearly_the_fit() -> None:
    y, p = drawn(4, n=500, sharp=1.5)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(500, np.full(500, 1 / 500), 40).astype(float)
    found, _ = slope.recalibrated(y, p, weights)
    exact = [slope.calibration_slope(np.repeat(y, w), np.repeat(p, w, axis=0)).value
             for w in weights.astype(int)]  # fmt: skip
    assert found.slope == pytest.approx(exact, rel=0.05)
    unit, _ = slope.recalibrated(y, p, np.ones((1, 500)))
    assert unit.slope[0] == pytest.approx(slope.calibration_slope(y, p).value, rel=1e-6)


def test_patients_with_copies_count_once() -> None:
    y, p = drawn(5)
    one = slope.calibration_slope(y, p)
    copies = slope.calibration_slope(np.tile(y, 3), np.tile(p, (3, 1)), np.tile(np.arange(300), 3))
    assert copies.value == pytest.approx(one.value)
    assert copies.error == pytest.approx(one.error, rel=1e-6)
    mean = slope.mean_with_error(np.tile(p[:, 0], 2), np.tile(np.arange(300), 2))
    assert mean.error == pytest.approx(p[:, 0].std(ddof=1) / np.sqrt(300))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.floats(0.3, 3.0))
def test_a_temperature_divides_the_slope_and_shares_leave_it(seed: int, power: float) -> None:
    y, p = drawn(seed, n=120)
    found = slope.calibration_slope(y, p)
    sharper = p**power / (p**power).sum(axis=1, keepdims=True)
    assert slope.calibration_slope(y, sharper).value == pytest.approx(found.value / power, rel=1e-5)
    other = p * [0.2, 1.0, 3.0]
    other /= other.sum(axis=1, keepdims=True)
    assert slope.calibration_slope(y, other).value == pytest.approx(found.value, rel=1e-5)
    order = np.random.default_rng(seed).permutation(120)
    again = slope.calibration_slope(y[order], p[order])
    assert (again.value, again.error) == pytest.approx((found.value, found.error), rel=1e-6)


def test_what_has_no_slope_says_why() -> None:
    y, p = drawn(6, n=30)
    perfect = np.eye(3)[y]
    for labels, probabilities, reason in (
        (y, perfect, slope.SEPARATED),
        (y, 0.98 * perfect + 0.02 / 3, slope.SEPARATED),
        (y, np.full((30, 3), 1 / 3), slope.CONSTANT),
        (np.zeros(30, int), p, slope.ONE_CLASS),
    ):
        found = slope.calibration_slope(labels, probabilities)
        assert np.isnan(found.value) and found.reason == reason
        resampled, why = slope.recalibrated(labels, probabilities, np.ones((2, 30)))
        assert why == reason and np.isnan(resampled.slope).all()
    backwards = np.roll(perfect, 1, axis=1) * 0.4 + 0.2
    assert slope.recalibrated(y, backwards)[1] in (slope.FLAT, slope.SEPARATED)
    assert slope.calibration_slope(y, p, np.zeros(30)).reason == slope.ONE_PATIENT
    # Saturated probabilities that are now and then wrong have a slope.
    saturated = perfect.copy()
    saturated[:6] = np.roll(perfect[:6], 1, axis=1)
    assert 0 < slope.calibration_slope(y, saturated).value < 0.2


def test_absent_and_rare_classes() -> None:
    y, p = drawn(7, n=200, size=4)
    y[y == 3] = 0
    values = slope.calibration_intercepts(y, p)
    assert [np.isnan(v.value) for v in values] == [False, False, False, True]
    without = p[:, :3] / p[:, :3].sum(axis=1, keepdims=True)
    expected = slope.calibration_slope(y, without).value
    assert slope.calibration_slope(y, p).value == pytest.approx(expected)
    y[np.flatnonzero(y == 2)[6:]] = 1  # a class of six patients
    event = (y == 2).astype(int)
    found = slope.calibration_slope(event, slope.against_the_rest(p, 2))
    assert np.isfinite([found.value, found.error]).all()


def test_bins_are_those_of_the_metric() -> None:
    y, p = drawn(8, n=157)
    top, right = p.max(axis=1), p.argmax(axis=1) == y
    place = error.bins_of(top, 15)
    gaps = [abs((top - right)[place == b].sum()) for b in range(15)]
    assert sum(gaps) / 157 == pytest.approx(metrics.compute("ece", y, p))


def test_expected_errors_are_those_of_labels_drawn_from_the_model() -> None:
    _, p = drawn(9, n=90)
    rng = np.random.default_rng(1)
    found = error.expected_errors(p, 10, 4000, rng)
    names = ("ece", "classwise_ece", "brier_reliability")
    by_hand = []
    for _ in range(800):
        y = (p.cumsum(axis=1) < rng.random((90, 1))).sum(axis=1)
        sample = metrics.Sample(y, p, bins=10)
        by_hand.append(metrics.compute_many(names, sample)[0])
    for values, theirs in zip(np.transpose(by_hand), names, strict=True):
        own = getattr(found, theirs)
        assert own.mean() == pytest.approx(values.mean(), rel=0.03)
        assert np.quantile(own, 0.95) == pytest.approx(np.quantile(values, 0.95), rel=0.06)
    mean, top = slope.expected_miscalibration(90, 3)
    assert (mean, top) == pytest.approx((3 / 180, 7.8147 / 180), rel=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_expected_errors_of_each_draw_are_the_metrics_of_its_labels(classes: int) -> None:
    rng = np.random.default_rng(3)
    p, uniform = rng.dirichlet(np.ones(classes), 60), rng.random((7, 60))
    found = error.expected_errors(p, 6, 7, uniform)
    for draw, row in enumerate(uniform):
        labels = (row[:, None] >= p.cumsum(axis=1)[:, :-1]).sum(axis=1)
        for name in ("ece", "classwise_ece", "brier_reliability"):
            value = metrics.compute(name, labels, p, bins=6)
            assert getattr(found, name)[draw] == pytest.approx(value, abs=1e-12)


def test_the_debiased_error_is_that_of_kumar_for_binned_scores() -> None:
    rng = np.random.default_rng(2)
    score = rng.choice([0.2, 0.5, 0.9], 150, p=[0.2, 0.5, 0.3])
    event = rng.random(150) < np.where(score == 0.5, 0.7, score)
    expected = 0.0
    for value in np.unique(score):
        inside = event[score == value]
        n, rate = len(inside), inside.mean()
        expected += n / 150 * ((rate - value) ** 2 - rate * (1 - rate) / (n - 1))
    found = error.debiased_error([score], [event], np.arange(150), 3)
    assert len(np.unique(error.bins_of(score, 3))) == 3
    assert found.square == pytest.approx(expected)
    assert 0 < found.low < found.square < found.high


def test_pairs_of_one_patient_do_not_count() -> None:
    rng = np.random.default_rng(3)
    score, event, patients = rng.random(40), rng.random(40) < 0.5, rng.integers(0, 15, 40)
    place, gap, total = error.bins_of(score, 3), (rng.random(40) < 0.5) - score, 0.0
    gap = event - score
    for b in range(3):
        inside = np.flatnonzero(place == b)
        products = [gap[i] * gap[j] for i in inside for j in inside if patients[i] != patients[j]]
        total += len(inside) / 40 * np.mean(products)
    found = error.debiased_error([score], [event], patients, 3)
    assert found.square == pytest.approx(total)
    alone = error.debiased_error([score], [event], np.zeros(40), 3)
    assert np.isnan(alone.square) and alone.reason == error.TOO_FEW


def test_the_debiased_error_is_zero_on_average_and_its_interval_reaches_zero() -> None:
    squares, reach = [], []
    for seed in range(150):
        y, p = drawn(100 + seed, n=100)
        found = error.debiased_error([p.max(axis=1)], [p.argmax(axis=1) == y], np.arange(100), 10)
        squares.append(found.square)
        reach.append(found.low == 0)
    assert abs(np.mean(squares)) < 3 * np.std(squares) / np.sqrt(150)
    assert np.mean(reach) > 0.9


def test_natural_spline_is_natural() -> None:
    knots = np.array([-2.0, -0.5, 1.0, 2.5])
    grid = np.linspace(-2, 2.5, 50)
    basis = curve.natural_spline(grid, knots)
    at = curve.natural_spline(knots, knots)
    for column in range(4):
        natural = CubicSpline(knots, at[:, column], bc_type="natural")
        assert natural(grid) == pytest.approx(basis[:, column], abs=1e-9)
    outside = curve.natural_spline([3.0, 4.0, 5.0, -3.0, -4.0, -5.0], knots)
    for part in (outside[:3], outside[3:]):
        assert np.diff(part, n=2, axis=0) == pytest.approx(np.zeros((1, 4)), abs=1e-9)


def test_the_curve_follows_the_truth_and_two_knots_are_logistic() -> None:
    rng = np.random.default_rng(4)
    p = rng.random(6000)
    truth = 1 / (1 + np.exp(-0.5 * np.log(p / (1 - p))))
    found = curve.calibration_curve(rng.random(6000) < truth, p, np.arange(6000))
    at = 1 / (1 + np.exp(-0.5 * np.log(found.p / (1 - found.p))))
    assert found.knots == 5 and np.abs(found.observed - at).max() < 0.06
    assert (found.low <= at).mean() > 0.8 and (at <= found.high).mean() > 0.8
    assert (found.expected_low < found.p).all() and (found.p < found.expected_high).all()
    event = np.r_[np.ones(12, bool), np.zeros(100, bool)]
    few = 0.05 + 0.9 * rng.random(112)
    line = curve.calibration_curve(event, few, np.arange(112))
    logit = np.log(few / (1 - few))
    theirs = sm.Logit(event.astype(int), sm.add_constant(logit)).fit(disp=0)
    expected = theirs.predict(sm.add_constant(np.log(line.p / (1 - line.p))))
    assert line.knots == 2 and line.observed == pytest.approx(expected, abs=1e-6)


def test_curves_that_cannot_be_say_why() -> None:
    p = np.linspace(0.1, 0.9, 40)
    patients = np.arange(40)
    for event, score, who, reason in (
        (p > 0.85, p, patients, curve.TOO_FEW),
        (p > 0.5, np.full(40, 0.5), patients, slope.CONSTANT),
        (p > 0.5, p, patients, slope.SEPARATED),
        (p > 0.5, p, np.zeros(40), slope.ONE_PATIENT),
    ):
        found = curve.calibration_curve(event, score, who)
        assert found.reason == reason and len(found.p) == 0
