"""Resampling of patients and intervals, against SciPy, published examples and their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import bootstrap
from scipy import stats


def clustered(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients; some patients have images of two classes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, n), rng.integers(0, n // 2, n)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_resamples_keep_patients_strata_and_classes(seed: int) -> None:
    y, patients = clustered(seed)
    strata = bootstrap.label_strata(patients, y)
    weights = bootstrap.patient_weights(patients, strata, 40, np.random.default_rng(seed))
    for patient in np.unique(patients):
        of_patient = weights[:, patients == patient]
        assert (of_patient == of_patient[:, :1]).all()
    for stratum in np.unique(strata):
        first = [np.flatnonzero(patients == p)[0] for p in np.unique(patients[strata == stratum])]
        assert (weights[:, first].sum(axis=1) == len(first)).all()
    for label in np.unique(y):
        assert (weights[:, y == label].sum(axis=1) > 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_names_of_patients_do_not_matter(seed: int) -> None:
    y, patients = clustered(seed)
    renamed = np.array([f"child {(7 * p) % 61}" for p in patients])
    strata = bootstrap.label_strata(patients, y)
    assert np.array_equal(strata, bootstrap.label_strata(renamed, y))
    one, two = (
        bootstrap.patient_weights(names, strata, 5, np.random.default_rng(1))
        for names in (patients, renamed)
    )
    assert np.array_equal(one, two)


def test_strata_are_label_sets_and_a_lone_patient_joins_the_largest_that_shares_a_class() -> None:
    patients = np.array([1, 1, 2, 3, 3, 4, 5, 6, 7, 8])
    y = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 0])
    strata = bootstrap.label_strata(patients, y)
    of = {p: strata[list(patients).index(p)] for p in set(patients.tolist())}
    assert of[1] == of[2] == of[8] == of[3]  # patient 3 is {0, 1}, alone with that set
    assert of[4] == of[5] and of[6] == of[7]
    assert len({of[1], of[4], of[6]}) == 3


def test_a_lone_patient_stays_alone_when_a_class_depends_on_it() -> None:
    patients, y = np.array([1, 2, 3, 3]), np.array([0, 0, 0, 1])
    strata = bootstrap.label_strata(patients, y)
    assert strata[2] != strata[0]
    weights = bootstrap.patient_weights(patients, strata, 200, np.random.default_rng(0))
    assert (weights[:, 3] == 1).all()


def test_a_patient_in_two_strata_is_refused() -> None:
    with pytest.raises(ValueError, match="one stratum"):
        bootstrap.patient_weights([1, 1], [0, 1], 10, np.random.default_rng(0))


def test_resampled_mean_has_the_variance_of_clustered_data() -> None:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(50), 4)
    values = np.repeat(rng.normal(size=50), 4)
    weights = bootstrap.patient_weights(patients, None, 20_000, rng)
    means = weights @ values / weights.sum(axis=1)
    assert means.std() == pytest.approx(values[::4].std() / np.sqrt(50), rel=0.02)


def test_percentile_and_bca_agree_with_scipy() -> None:
    rng = np.random.default_rng(4)
    values = rng.exponential(size=40)
    count = 40_000
    weights = bootstrap.patient_weights(np.arange(40), None, count, rng)
    means = (weights @ values / 40)[:, None]
    left_out = bootstrap.leave_one_out_weights(np.arange(40))
    speed = bootstrap.acceleration((left_out @ values / 39)[:, None], np.arange(40))
    for method, ours in (
        ("percentile", bootstrap.percentile_interval(means)),
        ("BCa", bootstrap.bca_interval(means, [values.mean()], speed)),
    ):
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=count, method=method, rng=rng
        ).confidence_interval
        assert [ours[0][0], ours[1][0]] == pytest.approx([theirs.low, theirs.high], abs=0.01)


def test_acceleration_of_the_mean_is_a_sixth_of_the_scaled_skewness() -> None:
    """Efron (1987), section 6: for a mean, a = skewness / (6 sqrt(n))."""
    values = np.random.default_rng(5).exponential(size=200)
    left_out = (values.sum() - values) / 199
    found = bootstrap.acceleration(left_out[:, None], np.arange(200))[0]
    assert found == pytest.approx(stats.skew(values) / (6 * np.sqrt(200)), rel=1e-9)


def test_wilson_interval_of_newcombe() -> None:
    """Newcombe (1998, Statistics in Medicine 17:857), 81 of 263: 0.2553 to 0.3662."""
    success = np.r_[np.ones(81), np.zeros(182)]
    low, high = bootstrap.proportion_interval(success, np.arange(263))
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_repeated_images_add_no_information_to_a_proportion() -> None:
    rng = np.random.default_rng(6)
    success, patients = rng.random(80) < 0.7, np.arange(80)
    once = bootstrap.proportion_interval(success, patients)
    thrice = bootstrap.proportion_interval(np.repeat(success, 3), np.repeat(patients, 3))
    assert thrice == pytest.approx(once, abs=1e-3)
    everything = bootstrap.proportion_interval(np.ones(30), np.repeat(np.arange(10), 3))
    # Wilson at 10 of 10: n / (n + z^2)
    assert everything == pytest.approx((10 / (10 + stats.norm.ppf(0.975) ** 2), 1.0))


def test_transformed_interval_by_hand() -> None:
    rng = np.random.default_rng(7)
    logits = 2 + 0.3 * rng.standard_normal(4000)
    share = 1 / (1 + np.exp(-logits))
    rates = np.exp(0.2 * rng.standard_normal(4000))
    resampled = np.column_stack([share, 2 * share - 1, rates])
    estimate = np.array([1 / (1 + np.exp(-2)), 2 / (1 + np.exp(-2)) - 1, 1.0])
    low, high = bootstrap.transformed_interval(resampled, estimate, [0, -1, 0], [1, 1, np.inf], 1e9)
    half = 1.959964 * logits.std(ddof=1)
    assert low[0] == pytest.approx(1 / (1 + np.exp(-2 + half)))
    assert high[0] == pytest.approx(1 / (1 + np.exp(-2 - half)))
    # Between -1 and 1 this is Fisher's z: tanh(atanh(r) +- half / 2).
    assert low[1] == pytest.approx(np.tanh(1 - half / 2))
    assert high[2] == pytest.approx(np.exp(1.959964 * np.log(rates).std(ddof=1)))


def test_intervals_of_a_constant_or_undefined_statistic() -> None:
    resampled = np.column_stack([np.full(50, 0.4), np.full(50, np.nan), np.ones(50)])
    low, high = bootstrap.transformed_interval(resampled, [0.4, np.nan, 1.0], [0] * 3, [1] * 3, 9)
    assert np.isnan(low).all() and np.isnan(high).all()
    low, high = bootstrap.percentile_interval(resampled)
    assert (low[0], high[0]) == (0.4, 0.4) and np.isnan(low[1])
    assert bootstrap.acceleration(np.ones((9, 1)), np.arange(9))[0] == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), confidence=st.sampled_from([0.8, 0.9, 0.95]))
def test_more_confidence_is_a_wider_interval(seed: int, confidence: float) -> None:
    rng = np.random.default_rng(seed)
    drawn, estimate = rng.beta(20, 5, (500, 1)), [0.8]
    for method in (
        lambda c: bootstrap.percentile_interval(drawn, c),
        lambda c: bootstrap.bca_interval(drawn, estimate, [0.02], c),
        lambda c: bootstrap.transformed_interval(drawn, estimate, [0.0], [1.0], 50, c),
    ):
        low, high = method(confidence)
        wider_low, wider_high = method(0.99)
        assert wider_low[0] <= low[0] <= high[0] <= wider_high[0]


def test_effective_patients_and_degrees_of_freedom_by_hand() -> None:
    """One patient with 36 of 120 images and 84 with one: 14400 / 1380."""
    heavy = np.r_[np.zeros(36, int), np.arange(1, 85)]
    assert bootstrap.effective_patients(heavy) == pytest.approx(14400 / 1380)
    assert bootstrap.largest_share(heavy) == pytest.approx(0.3)
    y = np.arange(120) % 3
    y[:36] = 0
    strata = bootstrap.label_strata(heavy, y)
    assert bootstrap.degrees_of_freedom(heavy, strata) == pytest.approx(14400 / 1380 - 3)
    # All alike: patients, and patients minus strata.
    alike = np.repeat(np.arange(20), 3)
    assert bootstrap.effective_patients(alike) == pytest.approx(20)
    assert bootstrap.degrees_of_freedom(alike, np.repeat([0, 1], 30)) == pytest.approx(18)
    # One patient with nearly everything still leaves one degree; one patient alone leaves none.
    most = np.r_[np.zeros(100, int), [1, 2]]
    assert bootstrap.degrees_of_freedom(most, np.zeros(102)) == 1
    assert bootstrap.degrees_of_freedom(np.zeros(5), np.zeros(5)) == 0


def test_leaving_one_out_in_parts() -> None:
    patients = ["b", "a", "b", "c"]
    whole = bootstrap.leave_one_out_weights(patients)
    assert whole.tolist() == [[0, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 0]]
    assert np.array_equal(bootstrap.leave_one_out_weights(patients, slice(1, 3)), whole[1:])


def test_few_patients_are_left_out_one_by_one() -> None:
    patients = np.array(["b", "a", "b", "c", "d"])
    groups = bootstrap.jackknife_groups(patients, [0, 0, 0, 1, 1])
    # A patient's images stay together, and each patient is a group.
    assert groups[0] == groups[2] and len(set(groups.tolist())) == 4


def test_groups_of_many_patients_give_nearly_the_same_acceleration() -> None:
    rng = np.random.default_rng(3)
    strata = np.repeat([0, 1], [900, 300])
    patients, value = np.arange(1200), rng.exponential(size=1200)

    def accelerated(groups: np.ndarray) -> float:
        # The mean has influence values in closed form: leaving out is subtracting.
        count = groups.max() + 1
        sums, sizes = np.bincount(groups, value), np.bincount(groups)
        left = (value.sum() - sums) / (len(value) - sizes)
        order = np.unique(groups, return_index=True)[1]
        assert count == len(order)
        # As from `leave_one_out_weights`: in order of first appearance.
        first = groups[np.sort(order)]
        return float(bootstrap.acceleration(left[first, None], groups, strata)[0])

    exact = accelerated(bootstrap.jackknife_groups(patients, strata, most=5000))
    grouped = bootstrap.jackknife_groups(patients, strata, most=300)
    assert len(set(grouped.tolist())) == 300
    # No group reaches over two strata, and they are of nearly equal size.
    assert all(len(set(strata[grouped == one].tolist())) == 1 for one in range(300))
    assert set(np.bincount(grouped).tolist()) == {4}
    found = [accelerated(bootstrap.jackknife_groups(patients, strata, most=m)) for m in (300, 600)]
    assert exact > 0
    assert found == pytest.approx([exact, exact], rel=0.5)


def test_blocks_draw_what_one_call_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    patients, strata = np.repeat(np.arange(30), 2), np.repeat([0, 1, 1], 20)
    rng = np.random.default_rng(5)
    expected = np.zeros((50, 30))
    for members in (np.arange(10), np.arange(10, 30)):
        size = len(members)
        expected[:, members] = rng.multinomial(size, np.full(size, 1 / size), size=50)
    monkeypatch.setattr(bootstrap, "BLOCK_ELEMENTS", 130)
    found = bootstrap.patient_weights(patients, strata, 50, np.random.default_rng(5))
    np.testing.assert_array_equal(found, np.repeat(expected, 2, axis=1))


@pytest.mark.parametrize("width", [1, 624, 25_000, bootstrap.BLOCK_ELEMENTS])
def test_blocks_are_bounded_and_cover_all_rows(width: int) -> None:
    blocks = bootstrap._blocks(2000, width)
    assert max(part.stop - part.start for part in blocks) * width <= bootstrap.BLOCK_ELEMENTS
    rows = np.concatenate([np.arange(part.start, part.stop) for part in blocks])
    np.testing.assert_array_equal(rows, np.arange(2000))
