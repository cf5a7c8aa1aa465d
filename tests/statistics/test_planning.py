"""Numbers of patients and images: against published formulas, explicit searches and simulation."""

import numpy as np
import pytest
from multiloss.statistics import planning
from multiloss.statistics.paired import auroc_standard_error
from scipy import stats


def test_the_auroc_of_the_published_software() -> None:
    """4,252 for C = 0.8, prevalence 0.018, width 0.1: the example of pmvalsampsize's manual."""
    assert planning.images_for_auroc(0.8, 0.05, 0.018) == pytest.approx(4252, abs=1)


@pytest.mark.parametrize("auroc, share", [(0.77, 0.43), (0.82, 0.22), (0.95, 0.05)])
def test_the_least_number_is_the_first_that_will_do(auroc: float, share: float) -> None:
    n = np.arange(2, 20_000)
    variance = auroc * (1 - auroc) * (
        1 + (n / 2 - 1) * (1 - auroc) / (2 - auroc) + (n / 2 - 1) * auroc / (1 + auroc)
    ) / (n**2 * share * (1 - share))  # fmt: skip
    first = n[1.959964 * np.sqrt(variance) <= 0.05].min()
    assert planning.images_for_auroc(auroc, 0.05, share) == pytest.approx(first, abs=1)


def test_that_many_images_have_the_stated_error() -> None:
    rng, share = np.random.default_rng(0), 0.3
    area = float(stats.norm.cdf(1.2 / np.sqrt(2)))
    n = int(planning.images_for_auroc(area, 0.05, share))
    positive = np.arange(n) < share * n
    errors = [
        auroc_standard_error(positive, rng.normal(size=n) + 1.2 * positive)[1] for _ in range(50)
    ]
    assert 1.96 * np.mean(errors) == pytest.approx(0.05, rel=0.05)


def test_proportions() -> None:
    # 1.96^2 * 0.25 / 0.05^2 = 384.15
    assert planning.images_for_proportion(0.5, 0.05) == 385
    assert planning.images_for_proportion(0.5, 0.05, share=0.5) == 769
    for nothing in (0.0, 1.0):
        assert np.isnan(planning.images_for_proportion(nothing, 0.05))
        assert np.isnan(planning.images_for_auroc(nothing, 0.05, 0.5))
    assert np.isnan(planning.images_for_proportion(0.5, 0.05, share=0.0))


def test_design_effect() -> None:
    # Each image four times: as much as one of it.
    values, patients = np.tile([0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 4), np.tile(np.arange(6), 4)
    assert planning.design_effect(values, patients) == pytest.approx(4 * 6 / 5)
    n = 500
    rng = np.random.default_rng(0)
    alone = planning.design_effect(rng.random(n) < 0.7, np.arange(n))
    assert alone == pytest.approx(n / (n - 1))
    # 1 + (m - 1) ICC for patients of m images.
    of_patient = np.repeat(rng.normal(0, 1, 2000), 3)
    values = of_patient + rng.normal(0, 1, 6000)
    found = planning.design_effect(values, np.repeat(np.arange(2000), 3))
    assert found == pytest.approx(1 + 2 * 0.5, abs=0.07)
    # Never fewer than independent images.
    assert planning.design_effect([0, 1] * 50, np.repeat(np.arange(50), 2)) == 1.0
    assert np.isnan(planning.design_effect([1.0, 1.0], [0, 1]))
    assert np.isnan(planning.design_effect([0.0, 1.0], [0, 0]))
    assert np.isnan(planning.design_effect([], []))


def test_patients_needed_by_hand_and_the_first_that_will_do() -> None:
    # Without seeds: n = c (t + t)^2 / d^2, about 2.8016^2 with many patients.
    needed = planning.patients_needed(0.02, 1, 1.0, 0.0)
    assert needed == pytest.approx(2.80158**2 / 0.02**2, rel=1e-3)
    for seeds in (2, 3, 10):
        needed = planning.patients_needed(0.2, seeds, 0.5, 0.03**2, losses=12, alpha=0.005)
        for patients, found in ((needed, True), (needed - 1, False)):
            error = planning.comparison_error(patients, seeds, 0.5, 0.03**2, 12)
            assert (planning.detectable_difference(*error, 0.005) <= 0.2) == found


def test_more_patients_cannot_make_up_for_too_few_seeds() -> None:
    floor = 2.8 * np.sqrt(2 * 0.06**2 / 5)
    assert np.isnan(planning.patients_needed(0.9 * floor, 5, 0.5, 0.06**2, losses=12))
    assert planning.patients_needed(1.2 * floor, 5, 0.5, 0.06**2, losses=12) > 100
    assert np.isnan(planning.patients_needed(0.1, 5, np.nan, 0.0))


def test_more_seeds_and_larger_differences_need_fewer_patients() -> None:
    by_seeds = [planning.patients_needed(0.15, r, 0.5, 0.02**2, 12) for r in (2, 3, 5, 10)]
    assert by_seeds == sorted(by_seeds, reverse=True)
    by_size = [planning.patients_needed(d, 5, 0.5, 0.02**2, 12) for d in (0.05, 0.1, 0.2)]
    assert by_size == sorted(by_size, reverse=True)


def test_few_replicates_have_few_degrees_of_freedom_though_their_part_be_0() -> None:
    se, df = planning.comparison_error(100, 3, 1.0, 0.0, 1, interaction=0.9)
    assert se == pytest.approx(0.1)
    # (1 / 100)^2 over (1 / 100)^2 / 99 + (2 * 0.009 / 3)^2 / 2
    assert df == pytest.approx(0.01**2 / (0.01**2 / 99 + 0.006**2 / 2))
    # As many patients as there may be leave the replicates as few as they are.
    assert planning.comparison_error(100_000, 3, 1.0, 0.0, 1, interaction=0.9)[1] < 6
    assert planning.comparison_error(100, 2, 1.0, 0.0, 1, interaction=9.0)[1] == 1
    assert planning.comparison_error(100, 2, 1.0, 0.0, 1)[1] == pytest.approx(99)


def test_a_planned_study_has_its_power() -> None:
    """Patients and seeds drawn anew, both variances estimated as the comparison does."""
    rng, seeds, losses, truth = np.random.default_rng(0), 3, 12, 0.12
    of_patients, of_seeds = 0.5, 0.03**2
    n = int(planning.patients_needed(truth, seeds, of_patients, of_seeds, losses))
    studies, df_seeds = 20_000, losses * (seeds - 1)
    difference = rng.normal(truth, np.sqrt(of_patients / n + 2 * of_seeds / seeds), studies)
    patients = of_patients / n * rng.chisquare(n - 1, studies) / (n - 1)
    parts = 2 * of_seeds / seeds * rng.chisquare(df_seeds, studies) / df_seeds
    df = (patients + parts) ** 2 / (patients**2 / (n - 1) + parts**2 / df_seeds)
    p_values = 2 * stats.t.sf(np.abs(difference) / np.sqrt(patients + parts), df)
    assert (p_values <= 0.05).mean() == pytest.approx(0.8, abs=0.015)
