"""What acting on a model is worth on the test split: net benefit, predictive values, cost.

Nothing is chosen on the test split: thresholds are a grid, follow from the costs that the config
states, or were chosen on `ensemble`. Intervals hold for the class shares of the test images.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.resamples import (
    CHOICE_SPLIT,
    Models,
    Options,
    Resamples,
    failed,
    missing,
    resample,
)
from multiloss.evaluation.scores import method_note
from multiloss.evaluation.thresholds import NO_DIVISION, with_temperatures
from multiloss.predictions import Predictions
from multiloss.statistics import calibration, metrics, usefulness
from multiloss.statistics.usefulness import TIE, Decisions, Rates
from multiloss.study import ANY_FINDING, scaled

Array = npt.NDArray[np.float64]

RAW, SCALED = "raw", "temperature"
# Of the models that are looked at closely, and of all others.
GRID = np.arange(1, 100) / 100
POINTS = np.array([0.05, 0.1, 0.2, 0.3, 0.5])
# Prevalences beside that of the test images where the config says none.
PREVALENCES = (0.05, 0.1, 0.3)
OF_TEST, STATED = "test", "stated"
BINS = 20
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
# Models that are looked at closely, and which pairs of them are compared.
CHOSEN_SINGLE, CHOSEN_ENSEMBLE = "chosen_single", "chosen_ensemble"
BEST_MEMBER, BASELINE = "best_member", "baseline"
PAIRS = (
    (CHOSEN_SINGLE, BASELINE),
    (CHOSEN_ENSEMBLE, CHOSEN_SINGLE),
    (CHOSEN_ENSEMBLE, BEST_MEMBER),
    (CHOSEN_ENSEMBLE, BASELINE),
)
NO_THRESHOLD = "at no threshold from 1% to 99% is it shown to be worth more"
_MODEL = ["model", "kind", "version", "class"]
_SIZE = ["n", "n_positive", "n_patients", "reason"]
COLUMNS = {
    "net_benefit": [*_MODEL, "threshold", "net_benefit", "ci_low", "ci_high", "standardised"]
    + ["treat_all", "gain", "gain_low", "gain_high", "sensitivity", "specificity", *_SIZE],
    "net_benefit_differences": ["model_a", "model_b", "against", "version", "class", "threshold"]
    + ["difference", "ci_low", "ci_high", *_SIZE],
    "useful_thresholds": ["role", *_MODEL, "low", "high", *_SIZE],
    "predictive_values": ["model", "kind", "class", "rule", "threshold", "prevalence", "source"]
    + ["measure", "value", "ci_low", "ci_high", *_SIZE],
    "expected_cost": [*_MODEL, "ratio", "threshold", "cost", "ci_low", "ci_high", "treat_all"]
    + ["treat_none", "relative", "relative_low", "relative_high", *_SIZE],
    "probabilities": [*_MODEL, "label", "mean", *QUANTILES]
    + [f"from_{100 * k // BINS:02d}" for k in range(BINS)]
    + ["n", "n_patients", "reason"],
}


@dataclass(frozen=True)
class Outcomes:
    """What may be found in an image: a class against the rest, and any finding against none."""

    classes: Sequence[str]
    negative: str | None = None

    @property
    def names(self) -> list[str]:
        """Any finding first; of two classes it is the one that is not the negative one."""
        if self.negative is None:
            return list(self.classes)
        if len(self.classes) == 2:
            return sorted(self.classes, key=lambda name: name == self.negative)
        return [ANY_FINDING, *self.classes]

    def positive(self, y: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Who has each, (N, O), from class indices (N,)."""
        return np.stack(
            [
                y != self._place(self.negative) if name == ANY_FINDING else y == self._place(name)
                for name in self.names
            ],
            axis=1,
        )

    def score(self, p: Array) -> Array:
        """Probability of each, (N, O), from those of the classes (N, K)."""
        return np.stack(
            [
                1 - p[:, self._place(self.negative)]
                if name == ANY_FINDING
                else p[:, self._place(name)]
                for name in self.names
            ],
            axis=1,
        )

    def _place(self, name: str | None) -> int:
        assert name is not None
        return list(self.classes).index(name)


def roles(
    chosen: pd.DataFrame, members: pd.DataFrame, models: Models, baseline: str
) -> dict[str, str]:
    """The models that are looked at closely, by what they are in the study.

    `chosen`: ensembles/chosen.csv; `members`: ensembles/members.csv, where rank 1 is the best
    member; `baseline`: the variant whose first run is taken.
    """
    what = dict(zip(chosen["what"], chosen["model"], strict=True))
    found = {CHOSEN_SINGLE: what.get("single"), CHOSEN_ENSEMBLE: what.get("ensemble")}
    best = members[(members["rank"] == 1) & (members["ensemble"] == found[CHOSEN_ENSEMBLE])]
    found[BEST_MEMBER] = best["member"].iloc[0] if len(best) else None
    found[BASELINE] = next(
        (
            model
            for model, entry in models.items()
            if entry["kind"] == "single"
            and entry["variant"] == baseline
            and entry["replicate"] == 0
        ),
        None,
    )
    return {role: model for role, model in found.items() if model is not None}


@dataclass(frozen=True)
class _Split:
    """The test images as all models share them."""

    outcomes: Outcomes
    y: npt.NDArray[np.intp]
    resamples: Resamples
    options: Options

    @property
    def names(self) -> list[str]:
        return self.outcomes.names

    @cached_property
    def positive(self) -> npt.NDArray[np.bool_]:
        return self.outcomes.positive(self.y)

    @cached_property
    def patients(self) -> npt.NDArray[np.intp]:
        """How many patients have images without and with each outcome, (O, 2)."""
        found = pd.DataFrame(self.positive).assign(patient=self.resamples.patients)
        counts = found.melt("patient").drop_duplicates().groupby(["variable", "value"]).size()
        return counts.unstack(fill_value=0).reindex(columns=[False, True], fill_value=0).to_numpy()

    @property
    def z(self) -> float:
        from scipy.special import ndtri

        return float(ndtri((1 + self.options["confidence"]) / 2))

    @cached_property
    def sizes(self) -> list[dict[str, Any]]:
        size = {"n": len(self.y), "n_patients": self.resamples.n_patients}
        return [size | {"n_positive": int(count)} for count in self.positive.sum(axis=0)]

    @cached_property
    def faults(self) -> list[str]:
        """Why nothing is defined of an outcome, or an empty text."""
        shares = self.positive.mean(axis=0)
        told = {0.0: "no test image is of it", 1.0: "all test images are of it"}
        return [told.get(float(share), "") for share in shares]


@dataclass(frozen=True)
class _Judged:
    """One version of one model: its decisions at G thresholds of each outcome, (O, G)."""

    model: str
    kind: str
    version: str
    note: str
    thresholds: Array
    rates: Rates
    prevalence: Array
    drawn: Decisions | None = None

    @property
    def net_benefit(self) -> Array:
        return usefulness.net_benefit(
            self.rates.sensitivity, self.rates.specificity, self.thresholds, self.prevalence
        )

    @property
    def drawn_net_benefit(self) -> Array:
        """In the resamples, at the prevalence of the test images, (R, O, G)."""
        assert self.drawn is not None
        return usefulness.net_benefit(
            self.drawn.sensitivity, self.drawn.specificity, self.thresholds, self.prevalence
        )

    def interval(self, z: float | Array) -> tuple[Array, Array]:
        """Of the net benefit, z standard errors wide."""
        return usefulness.net_benefit_interval(self.rates, self.thresholds, self.prevalence, z)

    def at(self, columns: slice) -> "_Judged":
        """At some of the thresholds."""
        rates = Rates(*(getattr(self.rates, name)[:, columns] for name in vars(self.rates)))
        drawn = self.drawn and replace(
            self.drawn,
            true=self.drawn.true[..., columns],
            false=self.drawn.false[..., columns],
        )
        return replace(self, thresholds=self.thresholds[:, columns], rates=rates, drawn=drawn)

    def row(self, name: str) -> dict[str, Any]:
        return {"model": self.model, "kind": self.kind, "version": self.version, "class": name}


def _judge(split: _Split, p: Array, thresholds: Array, keep: bool, **told: Any) -> _Judged:
    """A model (N, K) at thresholds (O, G), in any order."""
    order = np.argsort(thresholds, axis=1, kind="stable")
    ascending = np.take_along_axis(thresholds, order, axis=1)
    back = np.argsort(order, axis=1, kind="stable")
    found = []
    for weights in (None, split.resamples.weights):
        counted = usefulness.decisions(split.positive, split.outcomes.score(p), ascending, weights)
        found.append(
            replace(
                counted,
                true=np.take_along_axis(counted.true, back[None], axis=2),
                false=np.take_along_axis(counted.false, back[None], axis=2),
            )
        )
    once, drawn = found
    rates = Rates.of(once, drawn, split.patients)
    return _Judged(
        thresholds=thresholds,
        rates=rates,
        prevalence=once.prevalence[0],
        drawn=drawn if keep else None,
        **told,
    )


def usefulness_tables(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    close: Mapping[str, str],
    negative: str | None = None,
    threads: int = 1,
) -> dict[str, pd.DataFrame]:
    """The tables of what acting on the models is worth, by name (`COLUMNS`), on the test split.

    `close`: models that are looked at closely by their role, as from `roles`: at 99 thresholds,
    with differences and distributions; the others are judged at a few. `negative`: the class
    without a finding. `version`: raw probabilities, or scaled by a temperature that was fitted on
    `ensemble`. What is not defined is NaN with its reason.
    """
    test, outcomes = found.only("test"), Outcomes(found.classes, negative)
    split = _Split(outcomes, test.y, resample(test, options, seed, "test"), options)
    ratios = np.array(options["cost_ratios"], float)
    costs = usefulness.cost_threshold(ratios)
    versions = {RAW: dict(zip(test.models, test.p, strict=True))}
    if options["temperature_scaling"]:
        after = with_temperatures(found, models)[0].only("test")
        of = dict(zip(after.models, after.p, strict=True))
        versions[SCALED] = {m: of[scaled(m)] for m in test.models if scaled(m) in of}
    points = _operating_points(found, models, options["operating_point"], outcomes)
    detailed = list(dict.fromkeys(close.values()))
    jobs = [(version, m, p) for version, part in versions.items() for m, p in part.items()]

    def judged(job: tuple[str, str, Array]) -> tuple[dict[str, list[dict[str, Any]]], Any]:
        version, model, p = job
        told = {"model": model, "kind": models[model]["kind"], "version": version}
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
        if failed(p):
            empty = told | {"reason": missing(models[model])}
            for name in ("net_benefit", "predictive_values", "expected_cost"):
                rows[name] = [empty | {"class": label} for label in split.names]
            return rows, None
        grid = GRID if model in detailed else POINTS
        operating = np.array([[point.value] for point in points[model]])
        shared = np.tile(np.r_[grid, costs], (len(split.names), 1))
        note = method_note(metrics.METRICS["brier"], models[model])
        whole = _judge(
            split, p, np.hstack([shared, operating]), model in detailed, note=note, **told
        )
        curve = whole.at(slice(len(grid)))
        rows["net_benefit"] = _net_benefit_rows(split, curve)
        rows["expected_cost"] = _cost_rows(split, whole.at(slice(len(grid), -1)), ratios)
        if version == RAW:
            at_point = whole.at(slice(-1, None))
            rows["predictive_values"] = _predictive_rows(split, at_point, points[model])
        if model in detailed:
            rows["useful_thresholds"] = _useful_rows(split, curve, close)
            rows["probabilities"] = _distribution_rows(split, p, note, told)
        return rows, curve if model in detailed else None

    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(judged, jobs))
    collected: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for rows, _ in done:
        for name, part in rows.items():
            collected[name] += part
    curves = {(curve.version, curve.model): curve for _, curve in done if curve is not None}
    collected["net_benefit_differences"] = _difference_rows(split, curves, close, versions)
    return {
        name: pd.DataFrame(collected[name], columns=columns) for name, columns in COLUMNS.items()
    }


def _operating_points(
    found: Predictions, models: Models, rule: str, outcomes: Outcomes
) -> dict[str, list[calibration.Threshold]]:
    """By model the threshold of each outcome, chosen on `ensemble` alone."""
    chosen = {}
    for model in found.models:
        part = found.of_model(model, CHOICE_SPLIT)
        if part is None or failed(part.p[0]):
            why = NO_DIVISION if part is None else missing(models[model])
            chosen[model] = [calibration.Threshold(nan, nan, nan, why)] * len(outcomes.names)
            continue
        positive, score = outcomes.positive(part.y), outcomes.score(part.p[0])
        chosen[model] = [
            calibration.choose_threshold(positive[:, k], score[:, k], rule)
            for k in range(positive.shape[1])
        ]
    return chosen


def _together(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def _net_benefit_rows(split: _Split, judged: _Judged) -> list[dict[str, Any]]:
    low, high = judged.interval(split.z)
    everyone = usefulness.treat_all(judged.thresholds, judged.prevalence)
    value, best = judged.net_benefit, np.maximum(everyone, 0.0)
    rows = []
    for k, (name, size, fault) in enumerate(
        zip(split.names, split.sizes, split.faults, strict=True)
    ):
        known = nan if fault else 1.0
        for g, threshold in enumerate(judged.thresholds[k]):
            rows.append(
                judged.row(name)
                | {
                    "threshold": threshold,
                    "net_benefit": known * value[k, g],
                    "ci_low": known * low[k, g],
                    "ci_high": known * high[k, g],
                    "standardised": known * value[k, g] / judged.prevalence[k, 0]
                    if not fault
                    else nan,
                    "treat_all": everyone[k, g],
                    "gain": known * (value - best)[k, g],
                    "gain_low": known * (low - best)[k, g],
                    "gain_high": known * (high - best)[k, g],
                    "sensitivity": judged.rates.sensitivity[k, g],
                    "specificity": judged.rates.specificity[k, g],
                    **size,
                    "reason": _together(fault, judged.note),
                }
            )
    return rows


def _useful_rows(split: _Split, judged: _Judged, close: Mapping[str, str]) -> list[dict[str, Any]]:
    """Where a model is worth more than calling all or none positive, all thresholds together."""
    value, drawn = judged.net_benefit, judged.drawn_net_benefit
    everyone = usefulness.treat_all(judged.thresholds, judged.prevalence)
    confidence = split.options["confidence"]
    z = np.array(
        [
            usefulness.simultaneous_z(value[k], drawn[:, k], confidence)
            if not split.faults[k]
            else nan
            for k in range(len(split.names))
        ]
    )
    better = judged.interval(z[:, None])[0] - np.maximum(everyone, 0.0) > TIE
    role = ";".join(role for role, model in close.items() if model == judged.model)
    rows = []
    for k, (name, size, fault) in enumerate(
        zip(split.names, split.sizes, split.faults, strict=True)
    ):
        ranges = usefulness.runs(better[k])
        grid = judged.thresholds[k]
        for first, last in ranges or [(None, None)]:
            nowhere = first is None
            rows.append(
                {"role": role}
                | judged.row(name)
                | {
                    "low": nan if nowhere else grid[first],
                    "high": nan if nowhere else grid[last],
                    **size,
                    "reason": _together(fault or NO_THRESHOLD * nowhere, judged.note),
                }
            )
    return rows


def _difference_rows(
    split: _Split,
    curves: Mapping[tuple[str, str], _Judged],
    close: Mapping[str, str],
    versions: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Net benefit of one model less another's, on the same resamples."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for first, second in PAIRS:
        if first in close and second in close and close[first] != close[second]:
            pairs.setdefault((close[first], close[second]), []).append(second)
    rows = []
    for version in versions:
        for (first, second), against in pairs.items():
            if (version, first) not in curves or (version, second) not in curves:
                continue
            a, b = curves[version, first], curves[version, second]
            value = a.net_benefit - b.net_benefit
            together = usefulness.correlated(a.drawn_net_benefit, b.drawn_net_benefit)
            low, high = usefulness.difference_interval(
                (a.net_benefit, *a.interval(split.z)),
                (b.net_benefit, *b.interval(split.z)),
                together,
            )
            for k, (name, size, fault) in enumerate(
                zip(split.names, split.sizes, split.faults, strict=True)
            ):
                known = nan if fault else 1.0
                for g, threshold in enumerate(a.thresholds[k]):
                    rows.append(
                        {
                            "model_a": first,
                            "model_b": second,
                            "against": ";".join(against),
                            "version": version,
                            "class": name,
                            "threshold": threshold,
                            "difference": known * value[k, g],
                            "ci_low": known * low[k, g],
                            "ci_high": known * high[k, g],
                            **size,
                            "reason": _together(fault, a.note or b.note),
                        }
                    )
    return rows


def _predictive_rows(
    split: _Split, judged: _Judged, points: Sequence[calibration.Threshold]
) -> list[dict[str, Any]]:
    """Rates at the operating point, and predictive values at each prevalence."""
    rates, z = judged.rates, split.z
    limits = rates.limits(z)
    rows = []
    for k, (name, size, fault) in enumerate(
        zip(split.names, split.sizes, split.faults, strict=True)
    ):
        told = judged.row(name) | size
        told |= {"rule": split.options["operating_point"], "threshold": points[k].value}
        reason = _together(fault or points[k].reason, judged.note)
        undefined = bool(fault or points[k].reason)

        def row(
            measure: str,
            value: float,
            low: float,
            high: float,
            prevalence: float = nan,
            source: str = "",
            told: Mapping[str, Any] = told,
            reason: str = reason,
            undefined: bool = undefined,
        ) -> dict[str, Any]:
            values = dict(zip(("value", "ci_low", "ci_high"), (value, low, high), strict=True))
            if undefined:
                values = dict.fromkeys(values, nan)
            elif np.isnan(value):
                reason = _together(reason, f"no test image is called {_CALLED[measure]}")
            where = {"measure": measure, "prevalence": prevalence, "source": source}
            return {**told, **where, **values, "reason": reason}

        sensitivity, specificity = rates.sensitivity[k, 0], rates.specificity[k, 0]
        rows.append(row("sensitivity", sensitivity, limits[0][k, 0], limits[1][k, 0]))
        rows.append(row("specificity", specificity, limits[2][k, 0], limits[3][k, 0]))
        own = [] if fault else [(float(judged.prevalence[k, 0]), OF_TEST)]
        stated = sorted(split.options["prevalences"].get(name, PREVALENCES))
        for prevalence, source in [*own, *((share, STATED) for share in stated)]:
            values = usefulness.predictive_values(sensitivity, specificity, prevalence)
            ends = usefulness.predictive_intervals(rates, prevalence, z)
            for measure, value, (low, high) in zip(("ppv", "npv"), values, ends, strict=True):
                rows.append(row(measure, float(value), low[k, 0], high[k, 0], prevalence, source))
    return rows


_CALLED = {"ppv": "positive", "npv": "negative", "sensitivity": "", "specificity": ""}


def _cost_rows(split: _Split, judged: _Judged, ratios: Array) -> list[dict[str, Any]]:
    """Expected cost in false alarms, at the threshold that the costs ask for."""
    rates, q = judged.rates, judged.prevalence
    cost = usefulness.expected_cost(rates.sensitivity, rates.specificity, q, ratios)
    low, high = judged.interval(split.z)
    ends = ratios * (q - high), ratios * (q - low)
    rows = []
    for k, (name, size, fault) in enumerate(
        zip(split.names, split.sizes, split.faults, strict=True)
    ):
        for g, ratio in enumerate(ratios):
            everyone, no_one = 1 - q[k, 0], ratio * q[k, 0]
            cheaper = nan if fault else min(everyone, no_one)
            known = nan if fault else 1.0
            rows.append(
                judged.row(name)
                | {
                    "ratio": ratio,
                    "threshold": judged.thresholds[k, g],
                    "cost": known * cost[k, g],
                    "ci_low": known * ends[0][k, g],
                    "ci_high": known * ends[1][k, g],
                    "treat_all": everyone,
                    "treat_none": no_one,
                    "relative": cost[k, g] / cheaper,
                    "relative_low": ends[0][k, g] / cheaper,
                    "relative_high": ends[1][k, g] / cheaper,
                    **size,
                    "reason": _together(fault, judged.note),
                }
            )
    return rows


def _distribution_rows(
    split: _Split, p: Array, note: str, told: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The probability of each outcome among the images of each true class."""
    score, rows = split.outcomes.score(p), []
    for k, name in enumerate(split.names):
        for place, label in enumerate(split.outcomes.classes):
            inside = split.y == place
            values = score[inside, k]
            counts, _ = np.histogram(values, BINS, (0.0, 1.0))
            described = {key: nan for key in ("mean", *QUANTILES)}
            if len(values):
                quantiles = np.quantile(values, list(QUANTILES.values()))
                described = dict(zip(QUANTILES, quantiles, strict=True)) | {"mean": values.mean()}
            rows.append(
                {
                    **told,
                    "class": name,
                    "label": label,
                    **described,
                    **{f"from_{100 * b // BINS:02d}": int(c) for b, c in enumerate(counts)},
                    "n": int(inside.sum()),
                    "n_patients": len(set(split.resamples.patients[inside].tolist())),
                    "reason": _together("" if len(values) else "no test image is of it", note),
                }
            )
    return rows
