"""Gaps between groups of patients: by hand, by an independent test, and where they cannot be."""

import itertools

import numpy as np
import pytest
from multiloss.statistics import subgroups
from scipy.stats import norm


def made(
    seed: int, patients: int = 60, groups: int = 2, classes: int = 3, right: float = 0.75
) -> tuple[np.ndarray, ...]:
    """Labels, predictions (1, N), patients with 1 to 3 images of one class, and their groups."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, patients)
    of = np.repeat(np.arange(patients), sizes)
    y = rng.integers(0, classes, patients)[of]
    group = rng.integers(0, groups, patients)[of]
    predicted = np.where(rng.random(len(y)) < right, y, (y + 1) % classes)
    return y, predicted[None], of, group


def judge(data: tuple[np.ndarray, ...], permutations: int = 199, seed: int = 0, **more):
    y, predicted, patients, group = data
    compared = sorted(set(group[group >= 0].tolist()))
    classes = more.pop("classes", sorted(set(y.tolist())))
    rng = np.random.default_rng(seed)
    return subgroups.gap_tests(
        y, predicted, patients, group, compared, classes, permutations, rng, **more
    )


def by_hand(
    y: np.ndarray, right: np.ndarray, patients: np.ndarray, inside: np.ndarray, classes: list[int]
) -> tuple[float, float]:
    """Balanced accuracy and its squared standard error, patient by patient."""
    recalls, shares = [], {}
    added = 0.0
    for k in classes:
        here = inside & (y == k)
        n, x = here.sum(), right[here].sum()
        sizes = np.array([(here & (patients == i)).sum() for i in set(patients[here])])
        size = (sizes**2).sum() / n
        rate, scale = (x + size) / (n + 2 * size), np.sqrt(n * (n + 2 * size))
        for i in set(patients[here]):
            mine = here & (patients == i)
            shares[i] = shares.get(i, 0.0) + (right[mine] - rate).sum() / scale
        added += ((size * (1 - rate)) ** 2 + (size * rate) ** 2) / scale**2
        recalls.append(x / n)
    square = (sum(value**2 for value in shares.values()) + added) / len(classes) ** 2
    return float(np.mean(recalls)), square


@pytest.mark.parametrize("mixed", [False, True])
def test_differences_and_their_errors_are_those_of_a_loop_over_patients(mixed: bool) -> None:
    y, predicted, patients, group = made(3, groups=3)
    if mixed:
        # Patients with images of several classes: their parts are correlated.
        y = np.random.default_rng(1).integers(0, 3, len(y))
    right = (predicted[0] == y).astype(float)
    (gap,) = judge((y, predicted, patients, group))
    each = [by_hand(y, right, patients, group == g, [0, 1, 2]) for g in range(3)]
    assert gap.values == pytest.approx([value for value, _ in each])
    best, worst = np.argmax(gap.values), np.argmin(gap.values)
    assert (gap.best, gap.worst, gap.gap) == (best, worst, np.ptp(gap.values))
    largest = max(
        abs(a[0] - b[0]) / np.sqrt(a[1] + b[1]) for a, b in itertools.combinations(each, 2)
    )
    assert gap.statistic == pytest.approx(largest)
    for g in range(3):
        rest = by_hand(y, right, patients, group != g, [0, 1, 2])
        assert gap.against[g] == pytest.approx(each[g][0] - rest[0])
        assert gap.against_statistic[g] == pytest.approx(
            (each[g][0] - rest[0]) / np.sqrt(each[g][1] + rest[1])
        )


def test_p_is_that_of_all_exchanges_or_of_a_normal_deviate() -> None:
    """Seven patients of either class: all 35 x 35 exchanges within classes by hand."""
    y = np.repeat([0, 1], 7)
    y, patients = np.r_[y, y[:3]], np.r_[np.arange(14), np.arange(3)]
    group = np.isin(patients, [0, 1, 2, 7, 8, 9, 10]).astype(int)
    right = np.isin(np.arange(17), [0, 4, 5, 6, 8, 11, 12, 13, 14])
    predicted = np.where(right, y, 1 - y)[None]

    def statistic(first: set[int]) -> float:
        inside = np.isin(patients, list(first))
        a, b = (
            by_hand(y, right.astype(float), patients, each, [0, 1]) for each in (inside, ~inside)
        )
        return abs(a[0] - b[0]) / np.sqrt(a[1] + b[1])

    every = [
        statistic({*of_0, *of_1})
        for of_0 in itertools.combinations(range(7), 3)
        for of_1 in itertools.combinations(range(7, 14), 4)
    ]
    own = statistic({0, 1, 2, 7, 8, 9, 10})
    exact = np.mean(np.array(every) >= own - 1e-9)
    wanted = max(exact, 2 * norm.sf(own))
    (gap,) = judge((y, predicted, patients, group), 20_000)
    assert gap.p_value == pytest.approx(wanted, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert gap.movable == 14


def test_two_groups_are_one_comparison() -> None:
    (gap,) = judge(made(5))
    assert gap.against[0] == pytest.approx(-gap.against[1])
    assert gap.gap == pytest.approx(abs(gap.against[0]))
    assert gap.p_value == pytest.approx(gap.against_p[0]) == pytest.approx(gap.against_adjusted[1])
    assert gap.gap_high == pytest.approx(max(abs(gap.against_low[0]), abs(gap.against_high[0])))


def test_intervals_leave_out_0_exactly_where_the_tests_reject() -> None:
    rejected = 0
    for seed in range(60):
        y, predicted, patients, group = made(seed, groups=3, patients=90)
        wrong = (group == 2) & (np.random.default_rng(seed).random(len(y)) < 0.3)
        (gap,) = judge((y, np.where(wrong, (y + 1) % 3, predicted), patients, group), seed=seed)
        assert (gap.gap_low > 0) == (gap.p_value <= 0.05)
        away = (gap.against_low > 0) | (gap.against_high < 0)
        assert (away == (gap.against_adjusted <= 0.05)).all()
        assert gap.gap_low <= gap.gap <= gap.gap_high <= 1
        rejected += gap.p_value <= 0.05
    assert 10 < rejected < 60


def test_other_class_shares_alone_are_no_gap() -> None:
    """Every class is recognised equally well in both groups, and the MCC is not the same."""
    y = np.r_[np.repeat([0, 1], [80, 20]), np.repeat([0, 1], [20, 80])]
    group = np.repeat([0, 1], 100)
    right = np.ones(200, bool)
    # Recalls of 0.9 and 0.6 in both groups.
    for g, k, wrong in ((0, 0, 8), (0, 1, 8), (1, 0, 2), (1, 1, 32)):
        right[np.flatnonzero((group == g) & (y == k))[:wrong]] = False
    (gap,) = judge((y, np.where(right, y, 1 - y)[None], np.arange(200), group))
    assert gap.gap == pytest.approx(0)
    assert gap.p_value == 1 and gap.gap_low == 0


def test_order_of_images_models_and_names_of_groups_change_nothing_but_the_draws() -> None:
    y, predicted, patients, group = made(8, groups=3)
    second = np.where(np.arange(len(y)) % 4 == 0, (y + 1) % 3, y)
    both = np.stack([predicted[0], second])
    one = judge((y, both, patients, group))
    order = np.random.default_rng(0).permutation(len(y))
    other = judge((y[order], both[::-1][:, order], patients[order], 2 - group[order]))
    for gap, again in zip(one, other[::-1], strict=True):
        assert again.values == pytest.approx(gap.values[::-1])
        assert again.statistic == pytest.approx(gap.statistic)
        assert again.against_statistic == pytest.approx(gap.against_statistic[::-1])
        assert again.p_value == pytest.approx(gap.p_value, abs=0.12)
    # Models share the permutations: each has the numbers that it has alone.
    alone = judge((y, both[1:], patients, group))[0]
    assert alone.p_value == one[1].p_value and alone.gap_low == one[1].gap_low


def test_who_is_in_several_groups_or_alone_in_a_stratum_is_not_exchanged() -> None:
    y = np.array([0, 1] * 6)
    patients = np.repeat(np.arange(6), 2)
    group = np.array([0, 1] * 6)
    group[0:2] = 0
    predicted = np.where(np.arange(12) < 5, 1 - y, y)[None]
    group[2:] = np.tile([0, 1, 1, 0], 3)[:10]
    (gap,) = judge((y, predicted, patients, group))
    assert gap.movable == 0 and gap.p_value == 1
    right = (predicted[0] == y).astype(float)
    for g in range(2):
        recalls = [right[(group == g) & (y == k)].mean() for k in range(2)]
        assert gap.values[g] == pytest.approx(np.mean(recalls))


def test_images_of_other_groups_and_classes_have_no_part() -> None:
    y, predicted, patients, group = made(2, groups=3)
    keep = (group < 2) & (y != 1)
    rng = np.random.default_rng(0)
    whole = subgroups.gap_tests(y, predicted, patients, group, [0, 1], [0, 2], 99, rng)[0]
    part = judge((y[keep], predicted[:, keep], patients[keep], group[keep]), 99)[0]
    assert whole.p_value == part.p_value and whole.gap == part.gap


def test_which_groups_and_classes_can_be_compared() -> None:
    # Patients of each class: group 0 has 6, 6, 6; 1 has 6, 6, 0; 2 has 12, 0, 0; 3 has 2, 2, 2.
    counts = [[6, 6, 6], [6, 6, 0], [12, 0, 0], [2, 2, 2]]
    rows = [(g, k) for g, row in enumerate(counts) for k, n in enumerate(row) for _ in range(n)]
    group, y = np.array(rows).T
    patients = np.arange(len(y))
    size = 3, 4
    found = subgroups.patient_counts(y, patients, group, *size)
    assert found.tolist() == [[*row, sum(row)] for row in counts]
    # The third class has enough in one group only and is left out, then group 2 lacks the second.
    assert subgroups.comparable(y, patients, group, *size, 10, 5) == ([0, 1], [0, 1])
    assert subgroups.comparable(y, patients, group, *size, 6, 2) == ([0, 3], [0, 1, 2])
    assert subgroups.comparable(y, patients, group, *size, 10, 7) == ([], [])
    assert subgroups.comparable(y, patients, np.full(len(y), -1), *size, 2, 1) == ([], [])
    # A patient counts once in a class, however many images.
    twice = subgroups.patient_counts(
        np.r_[y, y], np.r_[patients, patients], np.r_[group, group], *size
    )
    assert (twice == found).all()


def test_too_few_permutations_leave_no_interval() -> None:
    (gap,) = judge(made(4), 10)
    assert np.isnan(gap.gap_low) and np.isnan(gap.against_high).all()
    assert 0 < gap.p_value <= 1


def test_what_cannot_be_tested() -> None:
    y, predicted, patients, group = made(1)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two groups"):
        subgroups.gap_tests(y, predicted, patients, group, [0], [0, 1, 2], 99, rng)
    lacking = np.where(y == 2, 0, group)
    with pytest.raises(ValueError, match="lacks one of the classes"):
        subgroups.gap_tests(y, predicted, patients, lacking, [0, 1], [0, 1, 2], 99, rng)


def test_a_planted_gap_is_found_and_a_perfect_model_has_none() -> None:
    y, _, patients, group = made(6, patients=120)
    worse = np.where((group == 1) & (np.arange(len(y)) % 3 > 0), (y + 1) % 3, y)
    found, none = judge((y, np.stack([worse, y]), patients, group), 499)
    assert found.p_value < 0.01 and found.gap_low > 0.4 and (found.best, found.worst) == (0, 1)
    assert none.p_value == 1 and none.gap == 0 and 0 < none.gap_high < 0.15
