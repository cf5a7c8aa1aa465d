"""Probabilities that claims are false: against the published formula and Monte Carlo."""

import numpy as np
import pytest
from multiloss.statistics import claims
from scipy import integrate, stats
from sklearn.metrics import matthews_corrcoef


@pytest.mark.parametrize("n, only_a, only_b", [(110, 14, 9), (40, 3, 3), (624, 30, 11), (20, 2, 0)])
def test_the_closed_form_is_the_integral_of_the_published_density(
    n: int, only_a: int, only_b: int
) -> None:
    """The Dirichlet density over shares of (A alone, B alone, rest), where A's is the smaller."""
    density = stats.dirichlet([only_a + 1, only_b + 1, n - only_a - only_b + 2]).pdf
    area, _ = integrate.dblquad(
        lambda a, b: density([a, b, 1 - a - b]), 0, 1, 0, lambda b: min(b, 1 - b), epsabs=1e-6
    )
    assert claims.false_claim(only_a, only_b) == pytest.approx(area, abs=5e-4)
    draws = np.random.default_rng(n).dirichlet(
        [only_a + 1, only_b + 1, n - only_a - only_b + 2], 400_000
    )
    share = (draws[:, 0] <= draws[:, 1]).mean()
    assert claims.false_claim(only_a, only_b) == pytest.approx(share, abs=0.0025)


def test_known_values() -> None:
    assert claims.false_claim(0, 0) == pytest.approx(0.5)
    # One image alone: Beta(2, 1) below 1/2.
    assert claims.false_claim(1, 0) == pytest.approx(0.25)
    assert claims.false_claim([5, 2], [2, 5]).sum() == pytest.approx(1)


def models(seed: int, n: int, patients: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    a, b = (np.where(rng.random(n) < skill, y, rng.integers(0, 3, n)) for skill in (0.7, 0.6))
    return y, a, b, np.arange(n) % patients if patients < n else np.arange(n)


@pytest.mark.parametrize("n", [12, 90])
def test_one_image_a_patient_and_accuracy_is_the_published_probability(n: int) -> None:
    y, a, b, patients = models(3, n, n)
    only_a, only_b = ((a == y) & (b != y)).sum(), ((b == y) & (a != y)).sum()
    found = claims.false_claim_by_patient(
        y, a, b, patients, 3, 100_000, np.random.default_rng(0), "accuracy"
    )
    assert found == pytest.approx(float(claims.false_claim(only_a, only_b)), abs=0.005)


def test_patients_of_several_images_make_claims_less_sure() -> None:
    y, b, a, _ = models(3, 60, 60)
    rng = np.random.default_rng(0)
    one = claims.false_claim_by_patient(y, a, b, np.arange(60), 3, 20_000, rng, "accuracy")
    # Each image six times, as six images of one patient or of six patients.
    more = [np.repeat(values, 6) for values in (y, a, b)]
    same = claims.false_claim_by_patient(
        *more, np.repeat(np.arange(60), 6), 3, 20_000, rng, "accuracy"
    )
    apart = claims.false_claim_by_patient(*more, np.arange(360), 3, 20_000, rng, "accuracy")
    assert same == pytest.approx(one, abs=0.015)
    assert apart < same - 0.1


def test_draws_are_metrics_of_weighted_patients() -> None:
    """Against an explicit loop over patients, without the prior's part."""
    y, a, b, patients = models(5, 600, 200)
    rng = np.random.default_rng(7)
    found = claims.posterior_values(y, [a, b], patients, 3, 400, rng)
    means = [matthews_corrcoef(y, p) for p in (a, b)]
    assert found.mean(axis=0) == pytest.approx(means, abs=0.02)
    rng, weights = (
        np.random.default_rng(7),
        np.random.default_rng(7).standard_exponential((400, 200)),
    )
    alone = [matthews_corrcoef(y, a, sample_weight=row[patients]) for row in weights[:50]]
    assert np.corrcoef(found[:50, 0], alone)[0, 1] > 0.9


def test_neither_order_nor_names_of_patients_matter_beyond_the_draws() -> None:
    y, a, b, patients = models(2, 60, 20)
    args = (3, 4000)
    plain = claims.false_claim_by_patient(y, a, b, patients, *args, np.random.default_rng(0))
    renamed = claims.false_claim_by_patient(
        y, a, b, [f"p{p}" for p in patients], *args, np.random.default_rng(0)
    )
    assert renamed == plain
    order = np.random.default_rng(1).permutation(60)
    shuffled = claims.false_claim_by_patient(
        y[order], a[order], b[order], patients[order], *args, np.random.default_rng(0)
    )
    assert shuffled == pytest.approx(plain, abs=0.04)
    swapped = claims.false_claim_by_patient(y, b, a, patients, *args, np.random.default_rng(0))
    assert swapped == pytest.approx(1 - plain, abs=0.03)


def test_many_draws_in_little_memory_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    y, a, b, patients = models(2, 60, 20)
    plain = claims.posterior_values(y, [a, b], patients, 3, 3000, np.random.default_rng(0))
    monkeypatch.setattr(claims, "CHUNK_ELEMENTS", 500)
    parts = claims.posterior_values(y, [a, b], patients, 3, 3000, np.random.default_rng(0))
    assert parts.mean(axis=0) == pytest.approx(plain.mean(axis=0), abs=0.01)


def test_a_single_discordant_patient_does_not_settle_a_claim() -> None:
    y = np.arange(30) % 3
    a, b = y.copy(), y.copy()
    b[0] = (b[0] + 1) % 3
    rng = np.random.default_rng(0)
    found = claims.false_claim_by_patient(y, a, b, np.arange(30), 3, 20_000, rng, "accuracy")
    assert found == pytest.approx(0.25, abs=0.01)
    assert 0.1 < claims.false_claim_by_patient(y, a, b, np.arange(30), 3, 20_000, rng) < 0.4


def test_the_best_of_many_is_less_sure_than_the_better_of_two() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    p = [np.where(rng.random(120) < 0.7, y, rng.integers(0, 3, 120)) for _ in range(6)]
    values = claims.posterior_values(y, p, np.arange(120), 3, 4000, rng, "accuracy")
    best = int(np.argmax([(row == y).mean() for row in p]))
    pairs = [claims.not_best(values, best, [k]) for k in range(6) if k != best]
    assert claims.not_best(values, best) >= max(pairs)
    assert claims.not_best(values, best) <= sum(pairs)
    total = sum(1 - claims.not_best(values, k) for k in range(6))
    assert total == pytest.approx(1, abs=1e-9)


def test_a_class_of_six_patients_and_a_patient_with_half_of_the_images() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [50, 44, 6])
    a, b = (np.where(rng.random(100) < 0.7, y, 0) for _ in range(2))
    patients = np.where(np.arange(100) % 2 == 0, 0, np.arange(100))
    found = claims.posterior_values(y, [a, b], patients, 3, 1000, rng)
    assert np.isfinite(found).all()
    spread = claims.posterior_values(y, [a, b], np.arange(100), 3, 1000, rng)
    assert (found[:, 0] - found[:, 1]).std() > 1.2 * (spread[:, 0] - spread[:, 1]).std()
