"""Intervals of ranks by tests of all pairs: by hand, by double loops, and their promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiloss.statistics import paired, ranks
from scipy.stats import t
from statsmodels.stats.multitest import multipletests


def test_intervals_by_hand():
    values = [0.9, 0.5, 0.4]
    # Holm over three: 0.03, 0.04 and 0.4; a is better than b and c, who are not told apart.
    p = np.array([[1, 0.02, 0.01], [0.02, 1, 0.4], [0.01, 0.4, 1]])
    found = ranks.rank_intervals(values, p, 0.05)
    assert found.hypotheses == 3
    assert list(found.first) == [1, 2, 2] and list(found.last) == [1, 3, 3]
    assert list(found.better) == [0, 1, 1] and list(found.worse) == [2, 0, 0]
    # 2 x 0.02 = 0.04 is above 0.03: b may be the first, too.
    found = ranks.rank_intervals(values, p, 0.03)
    assert list(found.first) == [1, 1, 2] and list(found.last) == [2, 3, 3]


def test_pairs_that_could_not_be_tested_leave_every_rank():
    found = ranks.rank_intervals([0.3, 0.2, 0.1], np.full((3, 3), np.nan), 0.05)
    assert list(found.first) == [1, 1, 1] and list(found.last) == [3, 3, 3]
    assert found.hypotheses == 0
    alone = ranks.rank_intervals([0.3], ranks.pairwise_t_tests([0.3], np.zeros((9, 1)), 5), 0.05)
    assert (list(alone.first), list(alone.last), alone.hypotheses) == ([1], [1], 0)
    assert np.isnan(ranks.pairwise_t_tests([0.3, 0.1], np.zeros((9, 2)), 0)).all()


def test_equal_values_are_not_ordered_whatever_their_p():
    found = ranks.rank_intervals([0.5, 0.5], np.zeros((2, 2)), 0.05)
    assert list(found.first) == [1, 1] and list(found.last) == [2, 2]


def test_tests_are_those_of_the_paired_bootstrap():
    rng = np.random.default_rng(0)
    values = np.array([0.6, 0.5, 0.45, 0.5])
    drawn = values + rng.normal(0, 0.05, (400, 4)) + rng.normal(0, 0.1, (400, 1))
    drawn[:, 3] = drawn[:, 1]
    found = ranks.pairwise_t_tests(values, drawn, 40)
    for a in range(4):
        for b in range(4):
            difference = drawn[:, a] - drawn[:, b]
            p = 1.0
            if difference.std() > 1e-9:
                p = 2 * t.sf(abs(values[a] - values[b]) / difference.std(ddof=1), 40)
            assert found[a, b] == pytest.approx(p)
            one = paired.bootstrap_test(difference, values[a] - values[b], 40, "auto")
            assert found[a, b] == pytest.approx(one.p_value)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), models=st.integers(2, 7))
def test_intervals_follow_from_a_loop_over_pairs_in_any_order(seed, models):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, models)
    p = rng.random((models, models)) ** 6
    p = np.triu(p, 1) + np.triu(p, 1).T
    pairs = [(a, b) for a in range(models) for b in range(a + 1, models)]
    rejected = multipletests([p[pair] for pair in pairs], 0.05, "holm")[0]
    first, last = [1] * models, [models] * models
    for (a, b), shown in zip(pairs, rejected, strict=True):
        better, worse = (a, b) if values[a] > values[b] else (b, a)
        first[worse] += shown
        last[better] -= shown
    found = ranks.rank_intervals(values, p, 0.05)
    assert list(found.first) == first and list(found.last) == last
    order = rng.permutation(models)
    mixed = ranks.rank_intervals(values[order], p[np.ix_(order, order)], 0.05)
    assert list(mixed.first) == list(found.first[order])
    assert list(mixed.last) == list(found.last[order])


def test_of_equal_models_every_rank_is_left_as_often_as_said():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        # Twelve models on 60 patients; the mean is what they are ranked by.
        scores = rng.normal(size=(60, 12)) + rng.normal(size=(60, 1))
        weights = rng.multinomial(60, np.full(60, 1 / 60), size=300) / 60
        p = ranks.pairwise_t_tests(scores.mean(axis=0), weights @ scores, 59)
        found = ranks.rank_intervals(scores.mean(axis=0), p, 0.05)
        held += (found.first == 1).all() and (found.last == 12).all()
    assert held / 300 >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 300)
