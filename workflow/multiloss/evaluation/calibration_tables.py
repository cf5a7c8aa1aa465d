"""How far probabilities can be trusted: raw, temperature-scaled, corrected for class shares."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation.comparisons import adjust
from multiloss.evaluation.families import HOLM
from multiloss.evaluation.intervals import intervals
from multiloss.evaluation.resamples import (
    CHOICE_SPLIT,
    Models,
    Options,
    Resamples,
    failed,
    resample,
    resampled_values,
)
from multiloss.evaluation.scores import method_note
from multiloss.evaluation.thresholds import NO_DIVISION, with_temperatures
from multiloss.job.seeds import derive
from multiloss.methods import ensemble_methods
from multiloss.predictions import Predictions
from multiloss.statistics import calibration, calibration_slope, metrics, paired
from multiloss.statistics import calibration_measures as measures
from multiloss.statistics.calibration_error import debiased_error, expected_errors
from multiloss.statistics.calibration_slope import Estimate, Fitted
from multiloss.statistics.crossed import SeedVariance, crossed_comparison, seed_variance
from multiloss.study import TRAINED
from multiloss.study import scaled as scaled_name

Array = npt.NDArray[np.float64]

CALIBRATION_METRICS = (
    "ece",
    "classwise_ece",
    "brier",
    "brier_reliability",
    "brier_resolution",
    "brier_uncertainty",
    "brier_within_bin",
    "log_loss",
)
# Measures that a comparison may decide by, the primary one first. Differences of the others are
# described alone: errors in bins grow with the noise of a bin, so that the sharper of two perfectly
# calibrated models looks the better calibrated (docs/calibration-simulation.md).
PRIMARY = measures.DISTANCE.name
TESTED = (PRIMARY, measures.ROOT.name, "log_loss", "brier")
DESCRIBED = "described only: the errors of bins differ by sharpness, too"
INSIDE, ABOVE = "inside", "above"
RAW, SCALED, CORRECTED, BOTH = (
    "raw",
    "temperature",
    "prior_corrected",
    "temperature_prior_corrected",
)


def class_shares(labels: npt.ArrayLike, classes: Sequence[str]) -> Array:
    """The share (K,) of each class among labels."""
    return np.array([np.mean(np.asarray(labels) == label) for label in classes])


def trained_shares(
    models: Models,
    members: Mapping[str, Sequence[str]],
    class_weights: Mapping[str | None, str],
    train: Mapping[int, Array],
    ensemble: Mapping[int, Array],
) -> dict[str, Array]:
    """By model the class shares (K,) that its probabilities assume.

    Uniform after balanced class weights, those of `train` without, those of `ensemble` for a
    method that learns them there, such as stacking; both by the number of the run. Averages assume
    the mean of what their `members` do. `class_weights`: by variant, and for None those of
    model-level heads.
    """

    def of(model: str) -> Array:
        entry = models[model]
        method = ensemble_methods().get(entry["method"])
        if method and method.trained_on == CHOICE_SPLIT:
            return ensemble[entry["replicate"]]
        if entry["kind"] in ("ensemble", "seed_ensemble") and entry["level"] != "model":
            parts = [of(member) for member in members[model]]
            # Equal shares stay what they are to the last digit.
            same = all(np.array_equal(part, parts[0]) for part in parts)
            return parts[0] if same else np.mean(parts, axis=0)
        balanced = class_weights[entry["variant"]] == "balanced"
        shares = train[entry["replicate"]]
        return np.full(len(shares), 1 / len(shares)) if balanced else shares

    return {model: of(model) for model in models}


def _versions(
    found: Predictions,
    models: Models,
    options: Options,
    assumed: Mapping[str, Array],
) -> tuple[dict[str, Predictions], dict[str, float]]:
    """The test predictions raw, temperature-scaled, prior-corrected, and both.

    `assumed`: as from `trained_shares`. Prior correction moves probabilities from those class
    shares to those of the test split, which a user would know as prevalence;
    it is the one place where test labels change probabilities, so it is for description only.
    """
    test = found.only("test")
    size = len(found.classes)
    shares = np.bincount(test.y, minlength=size) / len(test.y)
    scaled, _, temperatures = with_temperatures(found, models)
    by_name = dict(zip(scaled.models, scaled.only("test").p, strict=True))
    unscaled = np.full(test.p.shape[1:], nan)
    after = np.stack([by_name.get(scaled_name(model), unscaled) for model in test.models])

    def corrected(arrays: Array) -> Array:
        return np.stack(
            [
                calibration.adjust_to_prevalence(p, assumed[m], shares)
                for m, p in zip(test.models, arrays, strict=True)
            ]
        )

    versions = {RAW: test.p, CORRECTED: corrected(test.p)}
    if options["temperature_scaling"]:
        versions |= {SCALED: after, BOTH: corrected(after)}
    return {
        name: Predictions(test.rows, test.models, test.classes, p) for name, p in versions.items()
    }, temperatures


@dataclass(frozen=True)
class _Part:
    """One version of the predictions on the test split, and what is common to its models."""

    found: Predictions
    resamples: Resamples
    options: Options
    seed: int
    # For labels that agree between models as far as their probabilities do, where they are kept.
    uniform: Array | None = None

    def sample(self, place: int) -> metrics.Sample:
        return metrics.Sample(self.found.y, self.found.p[place], bins=self.options["ece_bins"])

    @property
    def labels(self) -> np.random.Generator | Array:
        """What draws labels from probabilities: the same for every model."""
        return self.uniform if self.uniform is not None else _labels(self.seed)


# Uniform numbers that are kept for all models, if there are no more: 128 MB.
MOST_KEPT = 2**24


def _labels(seed: int) -> np.random.Generator:
    return np.random.default_rng(derive(seed, "perfect calibration", "test"))


class _Score(NamedTuple):
    """One value of calibration_scores.csv, as far as it does not say what it is of."""

    value: float
    ci_low: float = nan
    ci_high: float = nan
    ci_method: str = ""
    reason: str = ""
    expected: float = nan
    expected_p95: float = nan

    @property
    def range(self) -> str:
        """Where the value lies against what perfect calibration would show."""
        if np.isnan(self.expected_p95) or np.isnan(self.value):
            return ""
        return INSIDE if self.value <= self.expected_p95 else ABOVE


JACKKNIFE, CLUSTERS, INVERTED = "jackknife", "clusters", "noncentral chi-square"


def _with_interval(found: Estimate, part: _Part, method: str) -> _Score:
    """An estimate with Student's t over patients."""
    from scipy.special import stdtrit

    df = part.resamples.df
    if np.isnan(found.value) or np.isnan(found.error) or df < 1:
        few = "" if np.isnan(found.value) else "too few patients for an interval"
        return _Score(found.value, reason=found.reason or few)
    margin = float(stdtrit(df, (1 + part.options["confidence"]) / 2)) * found.error
    return _Score(found.value, found.value - margin, found.value + margin, method, found.reason)


def _measured(part: _Part, place: int, fitted: Fitted) -> dict[str, _Score]:
    """What is measured of one model beside the metrics, by name."""
    y, p = part.found.y, part.found.p[place]
    patients, options = part.found.patients, part.options
    top, right = p.max(axis=1), (p.argmax(axis=1) == y).astype(float)
    size = len(part.found.classes)
    slope = calibration_slope.calibration_slope(y, p, patients, fitted)
    saved, reason = calibration_slope.recalibrated(y, p, fitted=fitted)
    expected = calibration_slope.expected_miscalibration(len(y), len(set(y.tolist())))
    over = calibration_slope.mean_with_error(top - right, patients)
    found = {
        measures.SLOPE.name: _with_interval(slope, part, JACKKNIFE),
        measures.MISCALIBRATION.name: _Score(
            float(saved.miscalibration[0]),
            reason=reason or "no interval: it cannot be below 0",
            **({} if reason else dict(zip(("expected", "expected_p95"), expected, strict=True))),
        ),
        measures.CONFIDENCE.name: _with_interval(
            calibration_slope.mean_with_error(top, patients), part, CLUSTERS
        ),
        measures.OVERCONFIDENCE.name: _with_interval(over, part, CLUSTERS),
    }
    groups = {
        measures.DEBIASED.name: ([top], [right]),
        measures.CLASSWISE_DEBIASED.name: (list(p.T), [y == k for k in range(size)]),
    }
    for name, (scores, outcomes) in groups.items():
        error = debiased_error(
            scores, outcomes, patients, options["ece_bins"], options["confidence"]
        )
        ends = np.sqrt([error.low, error.high])
        method = "" if np.isnan(ends[0]) else INVERTED
        found[name] = _Score(error.root, *map(float, ends), method, error.reason)
    multinomial = calibration_slope.calibration_intercepts(y, p, patients)
    for k, label in enumerate(part.found.classes):
        pair, event = calibration_slope.against_the_rest(p, k), (y == k).astype(np.intp)
        of_class = {
            measures.CLASS_SLOPE: calibration_slope.calibration_slope(event, pair, patients),
            measures.CLASS_INTERCEPT: calibration_slope.calibration_intercepts(
                event, pair, patients
            )[1],
            measures.MULTINOMIAL_INTERCEPT: multinomial[k],
        }
        found |= {m.of(label): _with_interval(e, part, JACKKNIFE) for m, e in of_class.items()}
        gap = calibration_slope.mean_with_error(event - p[:, k], patients)
        found[measures.IN_THE_LARGE.of(label)] = _with_interval(gap, part, CLUSTERS)
    return found


def _scores(
    part: _Part, place: int, values: Array, drawn: Array, fitted: Fitted
) -> dict[str, _Score]:
    """All scores of one model by name: the metrics, `values` (M,) and `drawn` (R, M), and more."""
    found = part.found
    low, high, methods, reasons = intervals(
        CALIBRATION_METRICS,
        part.sample(place),
        values,
        drawn,
        part.resamples,
        part.options,
        found.classes,
    )
    draws = part.options["resamples"]
    null = expected_errors(found.p[place], part.options["ece_bins"], draws, part.labels)
    scores = {}
    for column, metric in enumerate(CALIBRATION_METRICS):
        errors = getattr(null, metric, None)
        known = () if errors is None else (float(errors.mean()), float(np.quantile(errors, 0.95)))
        ends = float(low[column]), float(high[column])
        scores[metric] = _Score(
            float(values[column]), *ends, methods[column], reasons[column], *known
        )
    return scores | _measured(part, place, fitted)


def _duplicates(losses: Iterable[str], same: Mapping[str, str]) -> dict[str, str]:
    """Of calibrated losses, those whose objective another of them stands for, and which one."""
    stands: dict[str, str] = {}
    for loss in sorted(losses, key=lambda name: same.get(name, name) != name):
        stands.setdefault(same.get(loss, loss), loss)
    return {
        loss: stands[same.get(loss, loss)]
        for loss in losses
        if stands[same.get(loss, loss)] != loss
    }


class _Comparer:
    """Calibrated losses against their plain forms, of one version of the predictions."""

    def __init__(
        self, part: _Part, models: Models, plain_of: Mapping[str, str], same: Mapping[str, str]
    ) -> None:
        self.part, self.plain_of = part, plain_of
        self.places = {
            (models[model]["variant"], models[model]["replicate"]): place
            for place, model in enumerate(part.found.models)
            if models[model]["kind"] == "single" and not failed(part.found.p[place])
        }
        # Whatever was trained twice tells how far runs lie apart.
        self.runs: dict[str, list[int]] = {}
        for place, model in enumerate(part.found.models):
            if models[model]["kind"] in TRAINED and not failed(part.found.p[place]):
                self.runs.setdefault(models[model]["variant"], []).append(place)
        self.pairs = {
            loss: [
                (replicate, place, self.places[plain, replicate])
                for (name, replicate), place in self.places.items()
                if name == loss and (plain, replicate) in self.places
            ]
            for loss, plain in plain_of.items()
        }
        self.duplicate_of = _duplicates([loss for loss, p in self.pairs.items() if p], same)
        repeated = [runs for runs in self.runs.values() if len(runs) > 1 and self.pairs]
        paired_runs = [pair[1:] for pairs in self.pairs.values() for pair in pairs]
        # The models that any comparison is about.
        self.compared = {place for places in (*repeated, *paired_runs) for place in places}
        self.recalibrated: dict[int, tuple[dict[str, tuple[float, Array]], str]] = {}

    def recalibrate(self, place: int, fitted: Fitted) -> None:
        """Note what recalibration gives of a model, (value, resampled values) by measure."""
        y, p = self.part.found.y, self.part.found.p[place]
        whole, reason = calibration_slope.recalibrated(y, p, fitted=fitted)
        drawn, _ = calibration_slope.recalibrated(y, p, self.part.resamples.weights, fitted)
        self.recalibrated[place] = (
            {
                measures.DISTANCE.name: (float(whole.distance[0]), drawn.distance),
                measures.ROOT.name: (float(whole.root[0]), drawn.root),
            },
            reason,
        )

    def rows(self, version: str, values: Array, drawn: Array) -> list[dict[str, Any]]:
        """`values` (models, M) and `drawn` (models, R, M) of the metrics."""
        rows = []
        described = [
            metric
            for metric in CALIBRATION_METRICS
            if metrics.METRICS[metric].of_probabilities and metric not in TESTED
        ]
        spread = {metric: self.seeds(metric, values, drawn) for metric in TESTED if self.pairs}
        for loss, pairs in self.pairs.items():
            groups: list[tuple[Any, list[int], list[int]]] = [(r, [a], [b]) for r, a, b in pairs]
            if len(pairs) > 1:
                groups.append(("mean", [a for _, a, _ in pairs], [b for _, _, b in pairs]))
            for replicate, first, second in groups:
                answers = replicate == groups[-1][0]
                twin = self.duplicate_of.get(loss, "")
                for metric in (*TESTED, *described):
                    seeds = spread[metric] if answers and metric in TESTED else None
                    result = self.result(metric, first, second, values, drawn, seeds)
                    low, high = result.ci_low, result.ci_high
                    if metric in metrics.METRICS:
                        low, high = metrics.METRICS[metric].difference_within(low, high)
                    counts = answers and metric in TESTED and not twin
                    note = f"the same objective as {twin}, which answers for both"
                    said = [result.reason, note if twin and answers and metric in TESTED else ""]
                    rows.append(
                        {
                            "loss": loss,
                            "plain": self.plain_of[loss],
                            "replicate": replicate,
                            "version": version,
                            "metric": metric,
                            "difference": result.difference,
                            "ci_low": low,
                            "ci_high": high,
                            "p_value": result.p_value,
                            "reason": "; ".join(filter(None, said)),
                            "n": len(self.part.found.rows),
                            "n_patients": self.part.resamples.n_patients,
                            "family": f"{version} {metric}" if counts else None,
                            "primary": counts and (version, metric) == (RAW, PRIMARY),
                        }
                    )
        return rows

    def measured(
        self, metric: str, places: Sequence[int], values: Array, drawn: Array
    ) -> tuple[Array, Array, str]:
        """A measure of some runs, (runs,) and resampled (runs, R), or why one has none."""
        if metric in CALIBRATION_METRICS:
            column = CALIBRATION_METRICS.index(metric)
            return values[places, column], drawn[places, :, column], ""
        found = [self.recalibrated[place] for place in places]
        return (
            np.array([known[metric][0] for known, _ in found]),
            np.stack([known[metric][1] for known, _ in found]),
            next((reason for _, reason in found if reason), ""),
        )

    def seeds(self, metric: str, values: Array, drawn: Array) -> SeedVariance:
        """What runs of one loss differ by in a measure, pooled over the losses."""
        repeated = {
            variant: self.measured(metric, places, values, drawn)
            for variant, places in self.runs.items()
            if len(places) > 1
        }
        usable = {name: found for name, found in repeated.items() if not found[2]}
        return seed_variance(
            {name: found[0] for name, found in usable.items()},
            {name: found[1].T for name, found in usable.items()},
        )

    def result(
        self,
        metric: str,
        first: list[int],
        second: list[int],
        values: Array,
        drawn: Array,
        seeds: SeedVariance | None,
    ) -> paired.Result:
        """The difference of two losses' means by one measure over the runs at these places.

        Over `seeds` and patients where these are given and known, else over patients alone.
        """
        a, drawn_a, why_a = self.measured(metric, first, values, drawn)
        b, drawn_b, why_b = self.measured(metric, second, values, drawn)
        if why_a or why_b:
            return paired.Result(nan, nan, nan, reason=why_a or why_b)
        if metric in CALIBRATION_METRICS and metric not in TESTED:
            return paired.Result(float(a.mean() - b.mean()), nan, nan, reason=DESCRIBED)
        df, options = self.part.resamples.df, self.part.options
        if seeds is None or not seeds.df:
            return paired.bootstrap_test(
                drawn_a.mean(axis=0) - drawn_b.mean(axis=0),
                float(a.mean() - b.mean()),
                df,
                options["interval"],
                options["confidence"],
            )
        found = crossed_comparison(
            a, b, drawn_a.T, drawn_b.T, df, options["confidence"], seeds=seeds
        )
        said = found.warning if found.reason == "" else found.reason
        return paired.Result(
            found.difference, found.difference, found.p_value, found.ci_low, found.ci_high, said
        )


def calibration_tables(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    assumed: Mapping[str, Array],
    plain_of: Mapping[str, str],
    threads: int = 1,
    alpha: float = 0.05,
    same: Iterable[tuple[str, str]] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """tables/calibration_scores.csv and tables/calibration_comparisons.csv, on the test split.

    Scores: model, kind, version, split, metric, value, ci_low, ci_high, ci_method, temperature,
    n, n_patients, reason, expected, expected_p95, range. Beside metrics of the registry there are
    the measures of `statistics.calibration_measures`. `expected` and `expected_p95`: mean and 95th
    percentile of what a perfectly calibrated model with these probabilities would show; `range`:
    whether the value lies inside that or above.

    Comparisons: calibrated loss minus its plain form (`plain_of`: plain variant by calibrated one),
    below 0 where it is better, for each replicate with the paired interval over patients, and for
    the mean over replicates (replicate 'mean') over patients and seeds. Of each loss the row of the
    mean, or else of its only replicate, has `p_adjusted`, by Holm's method over the losses within a
    version and measure (`hypotheses` of them), and `reject` (p_adjusted <= alpha). `same`: pairs of
    variants with one objective, as from `families.same_objective`; one of them answers for both.
    `primary` rows, |log slope| of the probabilities as they are, carry the study's answer.
    `assumed`: class shares by model, as from `trained_shares`.
    """
    versions, temperatures = _versions(found, models, options, assumed)
    test = versions[RAW]
    resamples = resample(test, options, seed, "test")
    rows, compared = [], []
    shape = options["resamples"], len(test.rows)
    uniform = _labels(seed).random(shape) if np.prod(shape) <= MOST_KEPT else None
    for version, predicted in versions.items():
        part = _Part(predicted, resamples, options, seed, uniform)
        comparer = _Comparer(part, models, plain_of, dict(same))
        values, drawn = resampled_values(
            predicted, resamples, CALIBRATION_METRICS, options, threads, biased=False
        )
        present = [place for place, p in enumerate(predicted.p) if not failed(p)]

        def scored(
            place: int, part: _Part = part, comparer=comparer, values=values, drawn=drawn
        ) -> Any:
            fitted = calibration_slope.fitted_slope(part.found.y, part.found.p[place])
            if place in comparer.compared:
                comparer.recalibrate(place, fitted)
            return _scores(part, place, values[place], drawn[place], fitted)

        with ThreadPoolExecutor(threads) as pool:
            scores = list(pool.map(scored, present))
        for place, by_name in zip(present, scores, strict=True):
            model = predicted.models[place]
            temperature = nan
            if version in (SCALED, BOTH):
                temperature = temperatures[scaled_name(model)]
            for metric, score in by_name.items():
                known = metrics.METRICS.get(metric)
                note = method_note(known.of_probabilities if known else True, models[model])
                rows.append(
                    {
                        "model": model,
                        "kind": models[model]["kind"],
                        "version": version,
                        "split": "test",
                        "metric": metric,
                        **score._asdict(),
                        "temperature": temperature,
                        "n": len(test.rows),
                        "n_patients": resamples.n_patients,
                        "reason": "; ".join(filter(None, [score.reason, note])),
                        "range": score.range,
                    }
                )
        rows += [
            {
                "model": model,
                "kind": models[model]["kind"],
                "version": version,
                "split": "test",
                "metric": metric,
                "n": len(test.rows),
                "n_patients": resamples.n_patients,
                "reason": f"no temperature: {NO_DIVISION}",
            }
            for place, model in enumerate(predicted.models)
            if failed(predicted.p[place]) and not failed(test.p[place])
            for metric in CALIBRATION_METRICS
        ]
        compared += comparer.rows(version, values, drawn)
    columns = "model kind version split metric value ci_low ci_high ci_method temperature"
    columns += " n n_patients reason expected expected_p95 range"
    return pd.DataFrame(rows, columns=columns.split()), _answered(compared, alpha)


def _answered(rows: list[dict[str, Any]], alpha: float) -> pd.DataFrame:
    """The comparisons with Holm's correction and the number of hypotheses that it goes over."""
    columns = "loss plain replicate version metric difference ci_low ci_high p_value reason"
    columns += " n n_patients p_adjusted reject hypotheses correction primary"
    if not rows:
        return pd.DataFrame(columns=columns.split())
    table = adjust(pd.DataFrame(rows), alpha)
    table["hypotheses"] = table.groupby("family")["p_value"].transform("count").astype("Int64")
    table["correction"] = np.where(table["p_adjusted"].notna(), HOLM, "")
    return table.reindex(columns=columns.split())
