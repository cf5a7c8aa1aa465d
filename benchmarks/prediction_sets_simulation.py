"""Do sets of classes hold the true one as often as they say, with several images a patient?

    python benchmarks/prediction_sets_simulation.py --out docs/prediction-sets-simulation.md
    python benchmarks/prediction_sets_simulation.py --quick --out /dev/stdout

Simulates three classes of which one is rare, and patients whose images are alike and the plainer
the more there are, and writes the result as a Markdown table. Exits with 1 if a claim of the
documentation does not hold.
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.job.seeds import derive
from multiloss.statistics import conformal
from simulation import SEED, main, percent, table, written_by

Array = npt.NDArray[np.float64]

SHARES = (0.6, 0.32, 0.08)  # of the patients
RARE = len(SHARES) - 1
CLUSTERS, CLUSTER_SHARES = (1, 2, 4, 8), (0.6, 0.2, 0.1, 0.1)
SIGNAL, SHARPNESS = 1.5, 2.0
PATIENTS = (40, 150, 600)  # of the ensemble split
TESTED = 400  # patients of each class in a test split
COVERAGE = 0.9
MODELS = 12
SCENARIOS = ("one image per patient", "several images, correlation 0.8", "the best of 12 models")
RULES = ("by class and patient", "by class, images as if independent", "all classes together")
FULL, QUICK = 1500, 60


def images(
    rng: np.random.Generator, labels: npt.NDArray[np.intp], scenario: str, models: int
) -> tuple[Array, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Probabilities (M, N, K), labels (N,) and patients (N,) of patients of those classes."""
    sizes = np.ones(len(labels), dtype=int)
    if scenario != SCENARIOS[0]:
        sizes = rng.choice(CLUSTERS, len(labels), p=CLUSTER_SHARES)
    patients = np.repeat(np.arange(len(labels)), sizes)
    y, rho = labels[patients], 0.8 if scenario != SCENARIOS[0] else 0.0
    shape = (len(SHARES),)
    noise = np.sqrt(rho) * rng.normal(size=(len(labels), *shape))[patients]
    noise = noise + np.sqrt(1 - rho) * rng.normal(size=(len(y), *shape))
    # Who has many images is plainly ill.
    signal = SIGNAL * (0.8 + 0.1 * sizes[patients])[:, None] * np.eye(len(SHARES))[y]
    own = rng.normal(size=(models, len(y), *shape)) if models > 1 else np.zeros((1, len(y), *shape))
    # A network that has learned how rare each class is.
    powers = np.exp(SHARPNESS * (signal + noise + 0.5 * own) + np.log(SHARES))
    return powers / powers.sum(axis=2, keepdims=True), y, patients


def covered(scenario: str, count: int, number: int) -> dict[str, Array]:
    """Of one ensemble split, the share of each class that is covered in a test split, (K,)."""
    rng = np.random.default_rng(derive(SEED, "sets", scenario, count, number))
    models = MODELS if scenario == SCENARIOS[2] else 1
    labels = rng.choice(len(SHARES), count, p=SHARES)
    labels[: len(SHARES)] = np.arange(len(SHARES))
    p, y, patients = images(rng, labels, scenario, models)
    best = int(np.argmax((p.argmax(axis=2) == y).mean(axis=1)))
    tested = np.repeat(np.arange(len(SHARES)), TESTED)
    p_test, y_test, patients_test = images(rng, tested, scenario, models)
    alone = np.arange(len(y))
    pooled, _ = conformal.class_limits(
        p[best][alone, y][:, None], np.zeros(len(y), int), alone, COVERAGE
    )
    limits = {
        RULES[0]: conformal.class_limits(p[best], y, patients, COVERAGE)[0],
        RULES[1]: conformal.class_limits(p[best], y, alone, COVERAGE)[0],
        RULES[2]: np.repeat(pooled, len(SHARES)),
    }
    inside = p_test[best][np.arange(len(y_test)), y_test]
    shares = conformal.image_shares(patients_test) / TESTED
    return {
        rule: np.bincount(y_test, shares * (inside >= found[y_test]))
        for rule, found in limits.items()
    }


Cells = dict[tuple[str, int], dict[str, tuple[Array, Array]]]


def failures_of(cells: Cells) -> list[str]:
    """Claims that do not hold: mean coverage of each class by the rule that is used."""
    return [
        f"class {k + 1} is covered in {percent(mean[k])}% ({scenario}, {count} patients)"
        for (scenario, count), found in cells.items()
        if scenario != SCENARIOS[2]
        for mean, error in [found[RULES[0]]]
        for k in range(len(SHARES))
        if mean[k] < COVERAGE - 2.5 * error[k]
    ]


def report(cells: Cells, sets: int, failures: list[str], quick: bool) -> str:
    """The Markdown page."""
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    lines = [
        "# Do sets of classes hold the true one?",
        "",
        written_by(__file__, quick),
        "",
        f"Patients of three classes ({shares}); limits for a coverage of {COVERAGE:.0%} are set on "
        "an ensemble split with the stated number of patients, and judged on "
        f"{TESTED} new patients of each class. With several images a patient has 1, 2, 4 or 8 "
        f"({', '.join(f'{share:.0%}' for share in CLUSTER_SHARES)}), alike to a correlation of 0.8 "
        "beyond the class, and the more there are, the plainer they are. The models have learned "
        "how rare each class is. Best of 12 models: the one "
        "with the highest accuracy on the ensemble split itself, as the study chooses.",
        "",
        f"Mean over {sets} ensemble splits of the percent of new patients whose class is in the "
        "set, each patient counted once, for the rarest class and for the class that is covered "
        "least; in brackets the Monte Carlo standard error. `by class and patient` is what the "
        "workflow does.",
        "",
    ]
    rows = []
    for (scenario, count), found in cells.items():
        cells_of = []
        for rule in RULES:
            mean, error = found[rule]
            least = int(np.argmin(mean))
            cells_of.append(
                f"{percent(mean[RARE])} ({percent(error[RARE])}) / "
                f"{percent(mean[least])} ({percent(error[least])})"
            )
        rows.append([scenario, str(count), *cells_of])
    lines += table(["images", "patients", *RULES], rows)
    lines += ["## Claims", ""]
    lines += (
        [f"- does not hold: {failure}" for failure in failures]
        if failures
        else [
            "All hold: limits by class and patient cover every class, the rarest too, at least as "
            "often as asked for, within 2.5 Monte Carlo standard errors. Nothing is claimed where "
            "the model was chosen on the split that sets the limits; the last rows say what that "
            "costs."
        ]
    )
    return "\n".join(lines) + "\n"


def simulate_all(quick: bool) -> tuple[str, list[str]]:
    """The page, and the claims that do not hold."""
    sets = QUICK if quick else FULL
    cells: Cells = {}
    for scenario in SCENARIOS:
        for count in PATIENTS:
            values = [covered(scenario, count, number) for number in range(sets)]
            cells[scenario, count] = {
                rule: (
                    np.mean([value[rule] for value in values], axis=0),
                    np.std([value[rule] for value in values], axis=0, ddof=1) / np.sqrt(sets),
                )
                for rule in RULES
            }
    failures = failures_of(cells)
    return report(cells, sets, failures, quick), failures


if __name__ == "__main__":
    main(__doc__, simulate_all)
