"""The training runs of a study on the test split, with what its tables over seeds share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from multiloss.evaluation.resamples import (
    Models,
    Options,
    Resamples,
    failed,
    resample,
    resampled_values,
)
from multiloss.predictions import Predictions
from multiloss.statistics import metrics
from multiloss.statistics.crossed import SeedVariance, seed_variance
from multiloss.statistics.mcc import mcc_or_chance

Array = npt.NDArray[np.float64]

METRICS = ("mcc", "accuracy", "auroc", "log_loss", "brier", "ece")
TRAINED = ("single", "ablation", "seed")


def primary_of(significance: Options) -> str:
    """The metric that the study's answer rests on."""
    return significance.get("metric", "mcc")


def family_of(family: str, metric: str, primary: str) -> str:
    """The column `family`: one metric is primary and has the plain name, the others have theirs."""
    return family if metric == primary else f"{family} ({metric})"


@dataclass(frozen=True)
class Runs:
    """All models on the test split: `values` (models, M), `drawn` (models, B, M) by resamples of
    the patients; NaN for models without probabilities."""

    part: Predictions
    models: Models
    metrics: tuple[str, ...]
    resamples: Resamples
    values: Array
    drawn: Array
    options: Options

    @cached_property
    def place(self) -> dict[str, int]:
        return {model: place for place, model in enumerate(self.part.models)}

    @cached_property
    def lost(self) -> list[bool]:
        return [failed(p) for p in self.part.p]

    @cached_property
    def trained(self) -> dict[str, list[int]]:
        """Places of all runs of each way of training, in the order of replicates; of the repeated
        loss with its further seeds."""
        found: dict[str, list[tuple[int, int]]] = {}
        for place, model in enumerate(self.part.models):
            entry = self.models[model]
            if entry["kind"] in TRAINED:
                found.setdefault(entry["family"], []).append((entry["replicate"] or 0, place))
        return {name: [place for _, place in sorted(places)] for name, places in found.items()}

    @cached_property
    def ran(self) -> dict[str, list[int]]:
        """`trained` without the runs that failed."""
        return {
            name: [place for place in places if not self.lost[place]]
            for name, places in self.trained.items()
        }

    @property
    def inflation(self) -> float:
        """By how much resampling within strata makes the variance of the patients too small.

        N / (N - strata) of N patients, whatever their images: how much these make the variance
        itself uncertain is in the degrees of freedom, `resamples.df`.
        """
        patients = self.resamples.n_patients
        free = patients - len(set(self.resamples.strata.tolist()))
        return patients / free if free > 0 else 1.0

    @property
    def size(self) -> dict[str, int]:
        return {"n": len(self.part.rows), "n_patients": self.resamples.n_patients}

    def tested(self, metric: str) -> tuple[Array, Array]:
        """A metric's values (models,) and resampled values (models, B) for tests.

        An undefined MCC counts as 0, what chance gives. Resamples in which some model has no value
        are left out for all.
        """
        column = self.metrics.index(metric)
        values, drawn = self.values[:, column].copy(), self.drawn[:, :, column].copy()
        ran = [place for place, gone in enumerate(self.lost) if not gone]
        if metric == "mcc":
            values[ran], drawn[ran] = mcc_or_chance(values[ran]), mcc_or_chance(drawn[ran])
        defined = [place for place in ran if not np.isnan(values[place])]
        usable = ~np.isnan(drawn[defined]).any(axis=0)
        return values, drawn[:, usable]

    @cached_property
    def _seeds(self) -> dict[str, SeedVariance]:
        found = {}
        for metric in self.metrics:
            values, drawn = self.tested(metric)
            found[metric] = seed_variance(
                {name: values[places] for name, places in self.ran.items()},
                {name: drawn[places].T for name, places in self.ran.items()},
            )
        return found

    def seeds(self, metric: str) -> SeedVariance:
        """The variance between the seeds of one way of training, pooled over all."""
        return self._seeds[metric]

    def reason(self, places: Sequence[int], metric: str, of: str = "runs") -> str:
        """Why some of these models do not count, or do not count in full."""
        gone = sum(self.lost[place] for place in places)
        column = self.metrics.index(metric)
        undefined = sum(
            bool(np.isnan(self.values[place, column])) for place in places if not self.lost[place]
        )
        said = [f"{gone} of {len(places)} {of} failed" if gone else ""]
        if undefined:
            title = metrics.title(metric, self.part.classes)
            said.append(f"{title} is undefined for {undefined} of {len(places)} {of}")
        return "; ".join(filter(None, said))


def runs_on_test(
    found: Predictions,
    models: Models,
    significance: Options,
    options: Options,
    seed: int,
    threads: int = 1,
    metrics: tuple[str, ...] = (),
) -> Runs:
    """All models of the study on the test split and on the resamples that all tables use.

    `metrics`: METRICS and the primary one where none are given.
    """
    part = found.only("test")
    metrics = metrics or tuple(dict.fromkeys((*METRICS, primary_of(significance))))
    resamples = resample(part, options, seed, "test")
    values, drawn = resampled_values(part, resamples, metrics, options, threads)
    known: dict[str, Any] = {model: models[model] for model in part.models}
    return Runs(part, known, metrics, resamples, values, drawn, options)
