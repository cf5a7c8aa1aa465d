"""Seeds and patients as crossed factors: by hand, against scipy, and in known cases."""

import numpy as np
import pytest
from multiloss.statistics import crossed, gains
from scipy import stats


def test_combine_by_hand() -> None:
    part = crossed.Part(mean_square=0.010, interaction=0.004, share=0.5, df=8)
    found = crossed.combine(0.2, 0.006, [part], 40)
    assert found.se_patient**2 == pytest.approx(0.006)
    assert found.se_seed**2 == pytest.approx(0.003)
    assert found.se**2 == pytest.approx(0.009)
    # The mean square, not the remainder, has the 8 degrees.
    df = 0.009**2 / (0.006**2 / 40 + (0.5 * 0.010) ** 2 / 8)
    assert found.df == pytest.approx(df)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.2 / np.sqrt(0.009), df))
    assert found.ci_low == pytest.approx(0.2 - stats.t.ppf(0.975, df) * np.sqrt(0.009))
    # Resampling within strata, and finitely often.
    wider = crossed.combine(0.2, 0.006, [part], 40, 0.95, 200, 1.1)
    assert wider.se**2 == pytest.approx(0.0066 + 0.5 * (0.010 - 0.0044))
    spread = 0.0066**2 * (1 / 40 + 1 / 199) + (0.5 * 0.010) ** 2 / 8
    assert wider.df == pytest.approx(wider.se**4 / spread)


def test_seeds_that_differ_less_than_patients_alone_explain_add_nothing() -> None:
    part = crossed.Part(0.001, 0.004, 1.0, 12)
    found = crossed.combine(0.1, 0.006, [part], 40)
    assert found.se_seed == 0 and found.se**2 == pytest.approx(0.006)
    assert found.df == pytest.approx(0.006**2 / (0.006**2 / 40 + 0.001**2 / 12))


def test_two_runs_alone_leave_one_degree_of_freedom() -> None:
    """Two runs that agree by luck must not make a difference look sure."""
    found = crossed.combine(0.1, 0.0009, [crossed.Part(1e-6, 0.0015, 0.5, 1)], 80)
    assert found.df == 1 and found.p_value > 0.15
    three = crossed.combine(0.1, 0.0009, [crossed.Part(1e-6, 0.0015, 0.5, 2)], 80)
    assert three.df == pytest.approx(0.0009**2 / (0.0009**2 / 80 + (0.5 * 0.0015) ** 2 / 2))


def runs(rng: np.random.Generator, counts: list[int], sd: float = 1.0):
    values = {loss: rng.normal(0, sd, count) for loss, count in enumerate(counts)}
    drawn = {
        loss: own + rng.normal(0, 0.3, (200, 1)) + rng.normal(0, 0.2, (200, len(own)))
        for loss, own in values.items()
    }
    return values, drawn


def test_variance_is_pooled_by_degrees_of_freedom_and_tested_as_scipy_does() -> None:
    values, drawn = runs(np.random.default_rng(0), [2, 5, 1, 3])
    found = crossed.seed_variance(values, drawn)
    squares = [values[k].var(ddof=1) for k in (0, 1, 3)]
    assert found.df == 7 and found.variants == 3
    assert found.variance == pytest.approx(np.average(squares, weights=[1, 4, 2]))
    assert found.equal_p == pytest.approx(stats.bartlett(values[0], values[1], values[3]).pvalue)
    interaction = []
    for k in (0, 1, 3):
        own = drawn[k] - drawn[k].mean(axis=1, keepdims=True)
        count = len(values[k])
        interaction.append(own.var(axis=0, ddof=1).mean() * count / (count - 1))
    assert found.interaction == pytest.approx(np.average(interaction, weights=[1, 4, 2]))
    assert found.interaction == pytest.approx(0.2**2, rel=0.2)


def test_runs_that_tell_nothing_are_not_pooled() -> None:
    values, drawn = runs(np.random.default_rng(1), [3, 3])
    before = crossed.seed_variance(values, drawn)
    values |= {"constant": np.zeros(3), "undefined": np.array([1.0, np.nan, 2.0])}
    drawn |= {"constant": np.zeros((200, 3)), "undefined": np.zeros((200, 3))}
    assert crossed.seed_variance(values, drawn) == before
    none = crossed.seed_variance({"a": [1.0]}, {"a": np.zeros((5, 1))})
    assert none.df == 0 and np.isnan(none.variance) and none.reason == crossed.UNKNOWN
    alone = crossed.seed_variance({0: values[0]}, {0: drawn[0]})
    assert np.isnan(alone.equal_p) and alone.reason and alone.pooled


def test_runs_that_tie_by_luck_do_not_make_variances_unequal() -> None:
    values, drawn = runs(np.random.default_rng(2), [2, 2, 2])
    values[0] = np.array([0.5, 0.5])
    found = crossed.seed_variance(values, drawn)
    assert found.df == 3 and found.equal_p == pytest.approx(
        stats.bartlett(values[1], values[2]).pvalue
    )
    assert np.isnan(crossed.bartlett_p([0.0, 1.0], [1, 1]))


def test_unequal_variances_fall_back_to_the_two_losses_own() -> None:
    rng = np.random.default_rng(3)
    values, drawn = runs(rng, [10, 10, 10], 0.05)
    wide, wide_drawn = runs(rng, [10], 4.0)
    values[3], drawn[3] = wide[0], wide_drawn[0]
    pool = crossed.seed_variance(values, drawn)
    assert pool.equal_p < 1e-4 and not pool.pooled
    arguments = values[0], values[1], drawn[0], drawn[1], 80
    own = crossed.crossed_comparison(*arguments, seeds=pool)
    assert own.method == "own" and own.se_seed < 0.1
    asked = crossed.crossed_comparison(*arguments, seeds=pool, method="pooled")
    assert asked.method == "pooled" and asked.se_seed > 0.5
    # One run has no variance of its own, and may not borrow that of the others.
    one = crossed.crossed_comparison(values[0][:1], values[1], drawn[0][:, :1], drawn[1], 80,
                                     seeds=pool)  # fmt: skip
    assert np.isnan(one.p_value) and "unequal" in one.reason and one.method == ""


def test_one_run_against_five_uses_the_pooled_variance() -> None:
    values, drawn = runs(np.random.default_rng(4), [1, 5, 4])
    pool = crossed.seed_variance(values, drawn)
    found = crossed.crossed_comparison(values[0], values[1], drawn[0], drawn[1], 80, seeds=pool)
    assert found.se_seed**2 == pytest.approx((pool.variance - pool.interaction) * 1.2)
    assert found.method == "pooled" and "7 degrees of freedom" in found.warning


def test_f_and_prediction_are_those_of_the_textbook() -> None:
    values, drawn = runs(np.random.default_rng(5), [3, 5, 2])
    pool = crossed.seed_variance(values, drawn)
    f, df, p = crossed.f_of_means(values, pool)
    expected = stats.f_oneway(*values.values())
    assert (f, p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert df == 2
    low, high, t, p = crossed.prediction(values[1], values[0])
    same = stats.ttest_ind(values[0], values[1])  # other variance, so other t: the same mean
    assert np.sign(t) == np.sign(same.statistic)
    se = values[1].std(ddof=1) * np.sqrt(1 / 3 + 1 / 5)
    assert t == pytest.approx((values[0].mean() - values[1].mean()) / se)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 4) * se)
    assert p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert np.isnan(crossed.prediction([1.0], [2.0])).all()
    assert crossed.sd_interval(2.0, 9) == pytest.approx(
        (2 * np.sqrt(9 / stats.chi2.ppf(0.975, 9)), 2 * np.sqrt(9 / stats.chi2.ppf(0.025, 9)))
    )
    assert np.isnan(crossed.sd_interval(np.nan, 0)).all()
    assert np.isnan(crossed.f_of_means({0: [1.0]}, pool)).all()


def test_the_prediction_covers_a_further_run() -> None:
    rng = np.random.default_rng(6)
    inside = []
    for _ in range(4000):
        own = rng.normal(size=6)
        low, high, _, p = crossed.prediction(own[:5], own[5:])
        inside.append(low <= own[5] <= high)
        assert (p > 0.05) == inside[-1]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_step_down_in_known_cases() -> None:
    rng = np.random.default_rng(7)
    p = np.array([0.01, np.nan, 0.04, 0.2])
    df = np.full(4, 1e6)
    free = crossed.step_down(p, df, np.eye(4), rng, 200_000)
    # Independent: Sidak's, stepping down.
    assert free[[0, 2, 3]] == pytest.approx([1 - 0.99**3, 1 - 0.96**2, 0.2], abs=0.004)
    assert np.isnan(free[1])
    # One and the same test: nothing to correct.
    same = crossed.step_down([0.01, 0.01, 0.01], df[:3], np.ones((3, 3)), rng, 200_000)
    assert same == pytest.approx([0.01] * 3, abs=0.002)
    assert crossed.step_down([0.03], [5.0], np.eye(1), rng)[0] == pytest.approx(0.03)
    holm = crossed.step_down([1e-9, 0.5], [50.0, 50.0], np.eye(2), rng)
    assert holm == pytest.approx([2e-9, 0.5])
    assert np.isnan(crossed.step_down([np.nan], [np.nan], np.eye(1), rng)).all()


def test_step_down_is_dunnetts_for_one_control() -> None:
    rng = np.random.default_rng(8)
    groups = [rng.normal(size=8) for _ in range(5)]
    groups[1] += 1.2
    control, others = groups[0], groups[1:]
    within = np.mean([g.var(ddof=1) for g in groups])
    t = np.array([(g.mean() - control.mean()) / np.sqrt(within / 4) for g in others])
    p = 2 * stats.t.sf(np.abs(t), 35)
    correlation = np.full((4, 4), 0.5) + 0.5 * np.eye(4)
    found = crossed.step_down(p, np.full(4, 35.0), correlation, rng, 200_000)
    dunnett = stats.dunnett(*others, control=control, rng=np.random.default_rng(0)).pvalue
    first = int(np.argmin(p))
    assert found[first] == pytest.approx(dunnett[first], abs=0.004)
    assert (found <= dunnett + 0.004).all()


def test_correlation_of_differences_that_share_the_baseline() -> None:
    rng = np.random.default_rng(9)
    means = rng.normal(size=(100_000, 3))
    none = crossed.SeedVariance(np.nan, np.nan, 0, np.nan, 0)
    found = crossed.correlation(means, [1, 1, 1], [(1, 0), (2, 0)], none)
    assert found[0, 1] == pytest.approx(0.5, abs=0.01)
    # Five seeds of the baseline, one of the others: seeds alone would give 0.2 / 1.2.
    seeds = crossed.SeedVariance(1e6, 0.0, 4, np.nan, 1)
    found = crossed.correlation(means, [5, 1, 1], [(1, 0), (2, 0)], seeds)
    assert found[0, 1] == pytest.approx(1 / 6, abs=0.001)


# -- ensembles ---------------------------------------------------------------------------


def test_sets_of_seeds_hold_each_run_as_often() -> None:
    assert gains.seed_sets(range(3), 3) == [(0, 1, 2)]
    found = gains.seed_sets(range(5), 3)
    assert len(found) == 5 and all(sum(r in s for s in found) == 3 for r in range(5))
    whole, without = gains.sets_of_jackknife([0, 1, 2], 3)
    assert whole == [(0, 1, 2)] and without == [[(1, 2)], [(0, 2)], [(0, 1)]]


def test_pseudo_values_of_a_mean_are_the_runs() -> None:
    values = np.random.default_rng(10).normal(size=(4, 6))
    left_out = np.stack([np.delete(values, r, axis=1).mean(axis=1) for r in range(6)], axis=1)
    assert gains.pseudo_values(values.mean(axis=1), left_out) == pytest.approx(values)


def test_paired_gain_takes_seeds_as_one_sample() -> None:
    rng = np.random.default_rng(11)
    gain = rng.normal(0.1, 1, 6)
    drawn = gain + rng.normal(0, 0.1, (300, 6))
    found = gains.paired_gain(gain, drawn, 1e9)
    square, interaction = crossed.mean_square(gain, drawn)
    patients = drawn.mean(axis=1).var(ddof=1)
    assert found.se**2 == pytest.approx(patients + (square - interaction) / 6)
    # Seeds are nearly all there is: the t test of six values.
    assert found.p_value == pytest.approx(stats.ttest_1samp(gain, 0).pvalue, rel=0.1)
    one = gains.paired_gain(gain[:1], drawn[:, :1], 50)
    assert np.isnan(one.p_value) and one.ci_low < one.ci_high and "one replicate" in one.reason


def test_what_both_sides_share_cancels() -> None:
    """An 'ensemble' that is the run itself differs from the mean of the same runs by nothing."""
    rng = np.random.default_rng(12)
    own, drawn = rng.normal(size=5), rng.normal(size=(100, 5))
    pairs = [(r, r) for r in range(5)]
    average = float(own.mean()), drawn.mean(axis=1)
    same = gains.gain_over_average(own, drawn, *average, own, drawn, pairs, 50)
    assert same.difference == pytest.approx(0) and same.se == pytest.approx(0, abs=1e-9)
    # Not paired, it is the difference of two independent means.
    free = gains.gain_over_average(own, drawn * 0 + own, own.mean(), own.mean() + 0 * drawn[:, 0],
                                   own, drawn * 0 + own, [], 50)  # fmt: skip
    assert free.se**2 == pytest.approx(2 * own.var(ddof=1) / 5)


def test_there_is_never_less_than_one_degree_of_freedom() -> None:
    """A mean square that is all interaction adds nothing, and must not blow the interval up."""
    for df in (3.0, 1.0):
        part = crossed.Part(mean_square=4.0, interaction=4.0, share=1.0, df=df)
        found = crossed.combine(0.1, 0.01, [part], 80.0)
        assert found.df == 1.0 and found.se_seed == 0.0
        assert found.ci_high - found.ci_low == pytest.approx(2 * stats.t.ppf(0.975, 1) * 0.1)
