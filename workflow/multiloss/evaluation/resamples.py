"""The images of one split, and their resamples by patient, common to all models of the split."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from multiloss.data.tables import REDRAWN_SPLITS, predicted_splits
from multiloss.job.seeds import derive
from multiloss.predictions import Predictions
from multiloss.statistics import bootstrap, metrics

Array = npt.NDArray[np.float64]
Models = Mapping[str, Mapping[str, Any]]
Options = Mapping[str, Any]

CHOICE_SPLIT = "ensemble"
FAILED = "no probabilities: its training failed"
UNMADE = "no probabilities: ensembles/candidates.csv says why"
LOST_SEED = "no probabilities: the training of one of its seeds failed"
# The column of tables that tells of temperature-scaled rows which model was scaled.
SCALED_FROM = "scaled_from"


def splits_of(found: Predictions) -> list[str]:
    """The splits that the predictions hold: those of the study in its order, external ones last."""
    common = predicted_splits(found.rows)
    # These stand before the test split, which is common to all runs.
    redrawn = [name for name in REDRAWN_SPLITS if name in found.splits and name not in common]
    return redrawn + common


def parts_of(found: Predictions) -> list[tuple[str, Predictions]]:
    """The images of each split, those of each division apart."""
    return [(split, part) for split in splits_of(found) for part in found.parts(split)]


@dataclass(frozen=True)
class Resamples:
    """Patients of one split, resampled within strata of their label sets."""

    patients: npt.NDArray[Any]
    strata: npt.NDArray[np.intp]
    weights: Array
    classes: int = 0

    @cached_property
    def weightings(self) -> metrics.Weightings:
        """The weights as metrics of this many classes take them, made once for all models."""
        return metrics.Weightings(self.weights, self.classes)

    @cached_property
    def n_patients(self) -> int:
        return len(set(self.patients.tolist()))

    @cached_property
    def n_effective(self) -> float:
        """As many patients with equally many images as tell as much."""
        return bootstrap.effective_patients(self.patients)

    @cached_property
    def df(self) -> float:
        return bootstrap.degrees_of_freedom(self.patients, self.strata)


def resample(found: Predictions, options: Options, seed: int, split: str) -> Resamples:
    """The resamples of one split (of `found.only(split)`): the same for every caller."""
    strata = bootstrap.label_strata(found.patients, found.y)
    rng = np.random.default_rng(derive(seed, "bootstrap", split))
    weights = bootstrap.patient_weights(found.patients, strata, options["resamples"], rng)
    return Resamples(found.patients, strata, weights, len(found.classes))


def failed(p: Array) -> bool:
    """Whether a model has no probabilities, (N, K)."""
    return bool(np.isnan(p).any())


def missing(entry: Mapping[str, Any]) -> str:
    """Why a model has no probabilities, by its kind."""
    if entry["kind"] == "seed_ensemble":
        return LOST_SEED
    return UNMADE if entry["kind"] == "ensemble" else FAILED


def drawn_values(
    wanted: Sequence[str],
    sample: metrics.Sample,
    resamples: Resamples,
    classes: Sequence[str],
    biased: bool = True,
) -> Array:
    """Resampled values (R, M) of some metrics; without `biased` those of such metrics are NaN."""
    if biased:
        return metrics.compute_many(wanted, sample, resamples.weightings, classes)
    used = [k for k, name in enumerate(wanted) if not metrics.lookup(name, classes).metric.biased]
    drawn = np.full((len(resamples.weights), len(wanted)), nan)
    names = [wanted[place] for place in used]
    drawn[:, used] = metrics.compute_many(names, sample, resamples.weightings, classes)
    return drawn


def resampled_values(
    found: Predictions,
    resamples: Resamples,
    wanted: Sequence[str],
    options: Options,
    threads: int = 1,
    biased: bool = True,
) -> tuple[Array, Array]:
    """Values (models, M) and resampled values (models, R, M) of some metrics on one split.

    NaN for failed models; without `biased` also the resampled values of biased metrics, where no
    more than intervals are made of them, which those have not.
    """
    y = found.y
    values = np.full((len(found.models), len(wanted)), nan)
    drawn = np.full((len(found.models), len(resamples.weights), len(wanted)), nan)

    def fill(place: int) -> None:
        sample = metrics.Sample(y, found.p[place], bins=options["ece_bins"])
        values[place] = metrics.compute_many(wanted, sample, None, found.classes)[0]
        drawn[place] = drawn_values(wanted, sample, resamples, found.classes, biased)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, [place for place, p in enumerate(found.p) if not failed(p)]))
    return values, drawn
