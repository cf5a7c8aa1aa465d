"""The tables of the study: every metric of every model with its interval, and what plots need.

All functions take `Predictions` (many models on the same images) and the parts of the config,
and return data frames; nothing here reads or writes files. Resamples of patients are common
to all models of a split, so differences between rows are paired.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss import calibration, metrics
from multiloss.ensembles.combiners import COMBINERS
from multiloss.ensembles.predictions import Predictions
from multiloss.seeds import derive
from multiloss.statistics import bootstrap

Array = npt.NDArray[np.float64]
Models = Mapping[str, Mapping[str, Any]]
Options = Mapping[str, Any]

SPLITS = ("val", "ensemble", "test")
CHOICE_SPLIT = "ensemble"
FAILED = "no probabilities: its training failed"
FLATTERED = "fitted or chosen on this split, so it flatters"
TEMPERATURE_SUFFIX = "-temperature"
# Where all images agree, resampling cannot vary, but a proportion still has an interval.
PROPORTIONS = ("accuracy", "recall", "precision", "sensitivity", "specificity")
CURVE_GRID = np.linspace(0.0, 1.0, 101)


def family(model: str) -> str:
    """A model's name without its replicate: `focal-r0` -> `focal`."""
    head, dash, tail = model.removesuffix(TEMPERATURE_SUFFIX).rpartition("-r")
    return head if dash and tail.isdigit() else model.removesuffix(TEMPERATURE_SUFFIX)


def splits_of(found: Predictions) -> list[str]:
    """The splits that the predictions hold, in the order of the study."""
    present = set(found.rows["split"])
    return [split for split in SPLITS if split in present]


@dataclass(frozen=True)
class Resamples:
    """Patients of one split, resampled within strata of their label sets."""

    patients: npt.NDArray[Any]
    strata: npt.NDArray[np.intp]
    weights: Array

    @property
    def n_patients(self) -> int:
        return len(set(self.patients.tolist()))

    @property
    def freedom(self) -> float:
        return self.n_patients - len(set(self.strata.tolist()))


def resample(found: Predictions, options: Options, seed: int, split: str) -> Resamples:
    """The resamples of one split (of `found.only(split)`): the same for every caller."""
    strata = bootstrap.label_strata(found.patients, found.y)
    rng = np.random.default_rng(derive(seed, "bootstrap", split))
    weights = bootstrap.patient_weights(found.patients, strata, options["resamples"], rng)
    return Resamples(found.patients, strata, weights)


def failed(p: Array) -> bool:
    """Whether a model has no probabilities, (N, K)."""
    return bool(np.isnan(p).any())


def operating_points(
    found: Predictions, models: Models, options: Options
) -> tuple[pd.DataFrame, dict[str, Array]]:
    """Thresholds of each model and class, chosen on the `ensemble` split alone.

    Returns the table (model, kind, class, rule, split, threshold, sensitivity, specificity, n,
    n_positive, reason; the rates are those where it was chosen) and thresholds (K,) by model.
    """
    part = found.only(CHOICE_SPLIT)
    rule, y = options["operating_point"], part.y
    rows, thresholds = [], {}
    for model, p in zip(part.models, part.p, strict=True):
        chosen = []
        for k, label in enumerate(part.classes):
            if failed(p):
                point = calibration.Threshold(nan, nan, nan, FAILED)
            else:
                point = calibration.choose_threshold(y == k, p[:, k], rule)
            chosen.append(point.value)
            rows.append(
                {
                    "model": model,
                    "kind": models[model]["kind"],
                    "class": label,
                    "rule": rule,
                    "split": CHOICE_SPLIT,
                    "threshold": point.value,
                    "sensitivity": point.sensitivity,
                    "specificity": point.specificity,
                    "n": len(y),
                    "n_positive": int((y == k).sum()),
                    "reason": point.reason,
                }
            )
        thresholds[model] = np.array(chosen)
    return pd.DataFrame(rows), thresholds


def with_temperatures(
    found: Predictions, models: Models
) -> tuple[Predictions, dict[str, dict[str, Any]], dict[str, float]]:
    """Add `{model}-temperature` for each model, one temperature each fitted on `ensemble`.

    Returns the predictions of the scaled models alone, their entries (kind `temperature`,
    the rest as the model's) and the temperatures.
    """
    part = found.only(CHOICE_SPLIT)
    y, names, arrays, entries, temperatures = part.y, [], [], {}, {}
    for model, p, everything in zip(part.models, part.p, found.p, strict=True):
        if failed(everything):
            continue
        name = model + TEMPERATURE_SUFFIX
        temperatures[name] = calibration.fit_temperature(y, p)
        names.append(name)
        arrays.append(calibration.apply_temperature(everything, temperatures[name]))
        entries[name] = {**models[model], "kind": "temperature"}
    stacked = np.stack(arrays) if arrays else np.empty((0, *found.p.shape[1:]))
    return Predictions(found.rows, names, found.classes, stacked), entries, temperatures


def join(first: Predictions, second: Predictions) -> Predictions:
    """Both sets of models on the same images."""
    return Predictions(
        first.rows,
        [*first.models, *second.models],
        first.classes,
        np.concatenate([first.p, second.p]),
    )


# -- intervals ---------------------------------------------------------------------------


def binomial_interval(value: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The published study's interval of MCC: value +- z sqrt(value (1 - value) / n).

    It takes MCC for a proportion and images for independent; kept so that the published ends
    can be checked. NaN outside [0, 1].
    """
    from scipy.stats import norm

    if not 0 <= value <= 1:
        return nan, nan
    half = float(norm.ppf((1 + confidence) / 2)) * np.sqrt(value * (1 - value) / n)
    return value - half, value + half


def _members(name: str, sample: metrics.Sample, classes: Sequence[str]) -> Array | None:
    """Which images a proportion is of, and whether each counts as a success: (2, N) or None."""
    metric, k = metrics.lookup(name, classes)
    if metric.name not in PROPORTIONS or (metric.name == "precision" and k is None):
        return None
    right = sample.predicted == sample.y
    if k is None:
        return np.stack([np.ones(sample.n), right]).astype(bool)
    truth, called = sample.y == k, sample.called[:, k] > 0
    return {
        "recall": lambda: np.stack([truth, right]),
        "precision": lambda: np.stack([sample.predicted == k, right]),
        "sensitivity": lambda: np.stack([truth, called]),
        "specificity": lambda: np.stack([~truth, ~called]),
    }[metric.name]()


def _intervals(
    wanted: Sequence[str],
    sample: metrics.Sample,
    values: Array,
    resampled: Array,
    resamples: Resamples,
    options: Options,
    classes: Sequence[str],
) -> tuple[Array, Array, list[str], list[str]]:
    """Ends, method and reason for the interval of each metric."""
    confidence, method = options["confidence"], options["interval"]
    if method == "percentile":
        low, high = bootstrap.percentile_interval(resampled, confidence)
    elif method == "bca":
        out = bootstrap.leave_one_out_weights(resamples.patients)
        speed = bootstrap.acceleration(
            metrics.compute_many(wanted, sample, out, classes),
            resamples.patients,
            resamples.strata,
        )
        low, high = bootstrap.bca_interval(resampled, values, speed, confidence)
    else:
        bounds = [metrics.lookup(name, classes)[0] for name in wanted]
        low, high = bootstrap.transformed_interval(
            resampled,
            values,
            [metric.low for metric in bounds],
            [metric.high for metric in bounds],
            resamples.freedom,
            confidence,
        )
        method = "transformed"
    methods, reasons = [method] * len(wanted), [""] * len(wanted)
    for place, name in enumerate(wanted):
        if np.isnan(values[place]):
            low[place] = high[place] = nan
            methods[place] = ""
            reasons[place] = metrics.undefined_reason(name, sample, classes)
            continue
        drawn = resampled[:, place]
        drawn = drawn[~np.isnan(drawn)]
        if resamples.n_patients < 2:
            low[place] = high[place] = nan
            methods[place], reasons[place] = "", "one patient: no interval"
        elif not len(drawn) or np.ptp(drawn) <= 1e-12:
            methods[place], reasons[place] = "", "the same in every resample: no interval"
            low[place] = high[place] = nan
            pair = _members(name, sample, classes)
            if pair is not None and pair[0].any():
                inside, success = pair
                low[place], high[place] = bootstrap.proportion_interval(
                    success[inside], resamples.patients[inside], confidence
                )
                methods[place], reasons[place] = "wilson", "the same in every resample"
        elif len(drawn) < 0.95 * len(resampled):
            share = 1 - len(drawn) / len(resampled)
            reasons[place] = f"undefined in {share:.0%} of the resamples, which were left out"
    return low, high, methods, reasons


# -- tables ------------------------------------------------------------------------------


def _describe(model: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "kind": entry["kind"],
        "family": family(model),
        "loss": entry.get("loss") or "",
        "replicate": "" if entry.get("replicate") is None else entry["replicate"],
    }


def _flattered(name: str, entry: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """Whether the `ensemble` split has fitted the probabilities or chosen the threshold."""
    method = COMBINERS.get(entry.get("method") or "")
    fitted = entry["kind"] == "temperature" or (method is not None and method.fitted)
    return fitted or metrics.lookup(name, classes)[0].name in ("sensitivity", "specificity")


def _rows_of_model(
    model: str,
    p: Array,
    y: npt.NDArray[np.intp],
    split: str,
    entry: Mapping[str, Any],
    resamples: Resamples,
    thresholds: Array | None,
    options: Options,
    classes: Sequence[str],
    wanted: Sequence[str],
) -> pd.DataFrame:
    size = {"n": len(y), "n_patients": resamples.n_patients}
    described = _describe(model, entry) | {"split": split}
    if failed(p):
        empty = dict.fromkeys(("value", "ci_low", "ci_high"), nan) | {"ci_method": ""}
        rows = [described | {"metric": name} | empty | size | {"reason": FAILED} for name in wanted]
        return pd.DataFrame(rows)
    sample = metrics.Sample(y, p, bins=options["ece_bins"], thresholds=thresholds)
    values = metrics.compute_many(wanted, sample, None, classes)[0]
    resampled = metrics.compute_many(wanted, sample, resamples.weights, classes)
    low, high, methods, reasons = _intervals(
        wanted, sample, values, resampled, resamples, options, classes
    )
    if split == CHOICE_SPLIT:
        reasons = [
            "; ".join(filter(None, [reason, FLATTERED]))
            if _flattered(name, entry, classes) and not np.isnan(value)
            else reason
            for name, reason, value in zip(wanted, reasons, values, strict=True)
        ]
    rows = []
    for place, name in enumerate(wanted):
        row = described | {
            "metric": name,
            "value": values[place],
            "ci_low": low[place],
            "ci_high": high[place],
            "ci_method": methods[place],
            **size,
            "reason": reasons[place],
        }
        rows.append(row)
        if name == "mcc" and not np.isnan(values[place]):
            ends = binomial_interval(values[place], len(y), options["confidence"])
            reason = row["reason"] if not np.isnan(ends[0]) else "not defined for a negative MCC"
            published = {"ci_low": ends[0], "ci_high": ends[1], "ci_method": "binomial"}
            rows.append(row | published | {"reason": reason})
    return pd.DataFrame(rows)


def metrics_table(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    thresholds: Mapping[str, Array] | None = None,
    threads: int = 1,
) -> pd.DataFrame:
    """Every metric of every model and split with its interval: tables/metrics.csv.

    `models`: kind, loss and replicate by model name; `options`: the config's `evaluation`;
    `thresholds`: operating points as from `operating_points`. MCC has a second row with the
    published study's interval (`ci_method` binomial). Undefined values are NaN with a reason.
    Values of the `ensemble` split that were fitted or chosen there say so in `reason`.
    """
    wanted = metrics.names(found.classes)
    jobs = []
    for split in splits_of(found):
        part = found.only(split)
        resamples, y = resample(part, options, seed, split), part.y
        for model, p in zip(part.models, part.p, strict=True):
            points = None if thresholds is None else thresholds.get(model)
            jobs.append((model, p, y, split, models[model], resamples, points))
    with ThreadPoolExecutor(threads) as pool:
        tables = pool.map(
            lambda job: _rows_of_model(*job, options, found.classes, wanted),
            jobs,
        )
        table = pd.concat(list(tables), ignore_index=True)
    order = {model: place for place, model in enumerate(found.models)}
    return table.sort_values("model", key=lambda names: names.map(order), kind="stable")


def confusion_table(found: Predictions) -> pd.DataFrame:
    """Images by true and predicted class: model, split, label, predicted, count."""
    size, rows = len(found.classes), []
    for split in splits_of(found):
        part = found.only(split)
        for model, p in zip(part.models, part.p, strict=True):
            if failed(p):
                continue
            cells = np.bincount(part.y * size + p.argmax(axis=1), minlength=size**2)
            for cell, count in enumerate(cells.tolist()):
                label, predicted = part.classes[cell // size], part.classes[cell % size]
                rows.append((model, split, label, predicted, count))
    return pd.DataFrame(rows, columns=["model", "split", "label", "predicted", "count"])


def curve_on_grid(true: Array, false: Array, curve: str) -> Array:
    """A ROC or precision-recall curve at the 101 points of CURVE_GRID, (R, 101).

    `true`, `false` (R, G): counts above each falling threshold. ROC: sensitivity at a false
    positive rate, linear between thresholds and the upper end of vertical steps. PR: precision
    where that recall is first reached, as in the average precision. NaN without positives (or
    negatives, for ROC).
    """
    rows = len(true)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.pad(true / true[:, -1:], ((0, 0), (1, 0)))
        fall_out = np.pad(false / false[:, -1:], ((0, 0), (1, 0)))
        precision = np.pad(true / (true + false), ((0, 0), (1, 0)), constant_values=np.nan)
    defined = np.isfinite(recall).all(axis=1)
    if curve == "roc":
        defined &= np.isfinite(fall_out).all(axis=1)
    result = np.full((rows, len(CURVE_GRID)), nan)
    width = recall.shape[1]
    # One search for all rows: each is shifted beyond the one before.
    keep = np.flatnonzero(defined)
    if not len(keep):
        return result
    shift = 2.0 * np.arange(len(keep))[:, None]
    start = width * np.arange(len(keep))[:, None]
    if curve == "roc":
        x = fall_out[keep]
        where = np.searchsorted((x + shift).ravel(), (CURVE_GRID + shift + 1e-9).ravel(), "right")
        left = np.clip(where.reshape(len(keep), -1) - 1 - start, 0, width - 1)
        right = np.minimum(left + 1, width - 1)
        at = np.arange(len(keep))[:, None]
        y = recall[keep]
        gap = x[at, right] - x[at, left]
        share = np.divide(CURVE_GRID - x[at, left], gap, out=np.zeros(gap.shape), where=gap > 1e-12)
        share = np.clip(share, 0, 1)
        result[keep] = y[at, left] + share * (y[at, right] - y[at, left])
    else:
        x = recall[keep]
        where = np.searchsorted((x + shift).ravel(), (CURVE_GRID + shift - 1e-9).ravel(), "left")
        place = np.clip(where.reshape(len(keep), -1) - start, 1, width - 1)
        values = precision[keep]
        # Thresholds that nothing in this resample reaches have no precision: take the next.
        filled = pd.DataFrame(values).bfill(axis=1).to_numpy()
        result[keep] = filled[np.arange(len(keep))[:, None], place]
    return result


def _curves_of_model(
    model: str,
    p: Array,
    y: npt.NDArray[np.intp],
    resamples: Resamples,
    classes: Sequence[str],
    confidence: float,
) -> list[pd.DataFrame]:
    sample, parts = metrics.Sample(y, p), []
    tail = (1 - confidence) / 2
    for which, label in [("micro", "micro"), *enumerate(classes)]:
        drawn: dict[str, list[Array]] = {"roc": [], "pr": []}
        for _, weighted in metrics.chunks(sample, resamples.weights):
            true, false = weighted.curve(which)
            for curve, values in drawn.items():
                values.append(curve_on_grid(true, false, curve))
        once = metrics.Weighted(sample, np.ones((1, sample.n))).curve(which)
        for curve, values in drawn.items():
            line = curve_on_grid(*once, curve)[0]
            if np.isnan(line).all():
                continue
            band = np.concatenate(values)
            low, high = bootstrap.percentile_interval(band, 1 - 2 * tail)
            frame = {"model": model, "split": "test", "curve": curve, "class": label}
            frame |= {"x": CURVE_GRID, "y": line, "y_low": low, "y_high": high}
            parts.append(pd.DataFrame(frame))
    return parts


def curves_table(found: Predictions, options: Options, seed: int, threads: int = 1) -> pd.DataFrame:
    """ROC and precision-recall curves of the test split with pointwise bands.

    Columns: model, split, curve (roc, pr), class (micro or a class), x (false positive rate or
    recall), y, y_low, y_high. A curve that is not defined (class absent) is left out.
    """
    part = found.only("test")
    resamples, y = resample(part, options, seed, "test"), part.y
    jobs = [(m, p) for m, p in zip(part.models, part.p, strict=True) if not failed(p)]
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(
            lambda job: _curves_of_model(*job, y, resamples, found.classes, options["confidence"]),
            jobs,
        )
        frames = [frame for frames in parts for frame in frames]
    columns = ["model", "split", "curve", "class", "x", "y", "y_low", "y_high"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def resampled_values(
    found: Predictions,
    resamples: Resamples,
    wanted: Sequence[str],
    options: Options,
    threads: int = 1,
) -> tuple[Array, Array]:
    """Values (models, M) and resampled values (models, R, M) of some metrics on one split.

    NaN for failed models.
    """
    y = found.y
    values = np.full((len(found.models), len(wanted)), nan)
    drawn = np.full((len(found.models), len(resamples.weights), len(wanted)), nan)

    def fill(place: int) -> None:
        sample = metrics.Sample(y, found.p[place], bins=options["ece_bins"])
        values[place] = metrics.compute_many(wanted, sample, None, found.classes)[0]
        drawn[place] = metrics.compute_many(wanted, sample, resamples.weights, found.classes)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, [place for place, p in enumerate(found.p) if not failed(p)]))
    return values, drawn


def rank_shares(values: Array, top: int) -> Array:
    """Chance of each model (R, M) to be among the first `top` when ties are broken by lot."""
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    tied = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.clip((top - better) / np.maximum(tied, 1), 0, 1)


def rank_table(
    found: Predictions, models: Models, options: Options, seed: int, metric: str = "mcc"
) -> pd.DataFrame:
    """How often each model is best, and in the top 3, over resampled test patients.

    Ranked among the models of its kind and replicate; ties share a place. Columns: model,
    kind, replicate, split, metric, value, p_best, p_top3, rank (mean), rank_low, rank_high,
    models, resamples, n, n_patients.
    """
    part = found.only("test")
    resamples = resample(part, options, seed, "test")
    values, drawn = resampled_values(part, resamples, [metric], options)
    groups: dict[tuple[str, Any], list[int]] = {}
    for place, model in enumerate(part.models):
        if not np.isnan(values[place, 0]):
            entry = models[model]
            groups.setdefault((entry["kind"], entry.get("replicate")), []).append(place)
    tail, rows = (1 - options["confidence"]) / 2, []
    for (kind, replicate), places in groups.items():
        if kind not in ("single", "ensemble"):
            continue
        # A resample where the metric is undefined is the worst there is.
        of_group = np.nan_to_num(drawn[places, :, 0].T, nan=-np.inf)
        higher = (of_group[:, None, :] > of_group[:, :, None]).sum(axis=2)
        ranks = 1 + higher + ((of_group[:, None, :] == of_group[:, :, None]).sum(axis=2) - 1) / 2
        best, top = rank_shares(of_group, 1).mean(axis=0), rank_shares(of_group, 3).mean(axis=0)
        for column, place in enumerate(places):
            low, high = np.quantile(ranks[:, column], [tail, 1 - tail])
            rows.append(
                {
                    "model": part.models[place],
                    "kind": kind,
                    "replicate": "" if replicate is None else replicate,
                    "split": "test",
                    "metric": metric,
                    "value": values[place, 0],
                    "p_best": best[column],
                    "p_top3": top[column],
                    "rank": ranks[:, column].mean(),
                    "rank_low": low,
                    "rank_high": high,
                    "models": len(places),
                    "resamples": len(of_group),
                    "n": len(part.rows),
                    "n_patients": resamples.n_patients,
                }
            )
    columns = "model kind replicate split metric value p_best p_top3 rank rank_low rank_high"
    columns += " models resamples n n_patients"
    return pd.DataFrame(rows, columns=columns.split())


# -- calibration -------------------------------------------------------------------------

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
RAW, SCALED, CORRECTED, BOTH = (
    "raw",
    "temperature",
    "prior_corrected",
    "temperature_prior_corrected",
)


def trained_shares(
    entry: Mapping[str, Any], class_weights: str, train: Array, ensemble: Array
) -> Array:
    """The class shares (K,) that a model's probabilities assume.

    Uniform after balanced class weights, those of `train` without, those of `ensemble` for
    stacking, which is fitted there without weights. Averages assume what their members do.
    """
    if entry.get("method") == "stacking":
        return ensemble
    unweighted = str(entry.get("loss") or "").endswith("without_class_weights")
    if class_weights == "balanced" and not unweighted:
        return np.full(len(train), 1 / len(train))
    return train


def calibrated_versions(
    found: Predictions,
    models: Models,
    options: Options,
    class_weights: str,
    train: Array,
) -> tuple[dict[str, Predictions], dict[str, float]]:
    """The test predictions raw, temperature-scaled, prior-corrected, and both.

    `train` (K,): class shares of the train split. Prior correction moves probabilities from
    the shares of training to those of the test split, which a user would know as prevalence;
    it is the one place where test labels change probabilities, so it is for description only.
    """
    test = found.only("test")
    size = len(found.classes)
    shares = np.bincount(test.y, minlength=size) / len(test.y)
    chosen = np.bincount(found.only(CHOICE_SPLIT).y, minlength=size)
    scaled, _, temperatures = with_temperatures(found, models)
    by_name = dict(zip(scaled.models, scaled.only("test").p, strict=True))
    after = np.stack(
        [by_name.get(m + TEMPERATURE_SUFFIX, p) for m, p in zip(test.models, test.p, strict=True)]
    )

    def corrected(arrays: Array) -> Array:
        return np.stack(
            [
                calibration.correct_prior(
                    p,
                    trained_shares(models[m], class_weights, train, chosen / chosen.sum()),
                    shares,
                )
                for m, p in zip(test.models, arrays, strict=True)
            ]
        )

    versions = {RAW: test.p, CORRECTED: corrected(test.p)}
    if options["temperature_scaling"]:
        versions |= {SCALED: after, BOTH: corrected(after)}
    return {
        name: Predictions(test.rows, test.models, test.classes, p) for name, p in versions.items()
    }, temperatures


def reliability_table(found: Predictions, models: Models, options: Options) -> pd.DataFrame:
    """Reliability bins of the predicted class on the test split: tables/calibration.csv.

    Columns: model, kind, split, bin, n, n_patients, confidence, accuracy, ci_low, ci_high.
    """
    part, frames = found.only("test"), []
    for model, p in zip(part.models, part.p, strict=True):
        if not failed(p):
            sample = metrics.Sample(part.y, p, bins=options["ece_bins"])
            bins = calibration.reliability_bins(sample, part.patients, options["confidence"])
            for place, (key, value) in enumerate(
                {"model": model, "kind": models[model]["kind"], "split": "test"}.items()
            ):
                bins.insert(place, key, value)
            frames.append(bins)
    columns = "model kind split bin n n_patients confidence accuracy ci_low ci_high"
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns.split())


def calibration_tables(
    found: Predictions,
    models: Models,
    options: Options,
    seed: int,
    class_weights: str,
    train: Array,
    plain_of: Mapping[str, str],
    threads: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """tables/calibration_scores.csv and tables/calibration_comparisons.csv, on the test split.

    Scores: model, kind, version, split, metric, value, ci_low, ci_high, ci_method,
    temperature, n, n_patients, reason. Comparisons: calibrated loss minus its plain form
    (`plain_of`: plain loss by calibrated loss), for each replicate and for the mean over
    replicates (replicate 'mean'), with the paired interval over patients.
    """
    from multiloss.statistics import comparisons

    versions, temperatures = calibrated_versions(found, models, options, class_weights, train)
    test = versions[RAW]
    resamples = resample(test, options, seed, "test")
    size = {"n": len(test.rows), "n_patients": resamples.n_patients}
    rows, compared = [], []
    for version, part in versions.items():
        values, drawn = resampled_values(part, resamples, CALIBRATION_METRICS, options, threads)
        for place, model in enumerate(part.models):
            if failed(part.p[place]):
                continue
            sample = metrics.Sample(part.y, part.p[place], bins=options["ece_bins"])
            low, high, methods, reasons = _intervals(
                CALIBRATION_METRICS,
                sample,
                values[place],
                drawn[place],
                resamples,
                options,
                part.classes,
            )
            scaled = version in (SCALED, BOTH)
            for column, metric in enumerate(CALIBRATION_METRICS):
                rows.append(
                    {
                        "model": model,
                        "kind": models[model]["kind"],
                        "version": version,
                        "split": "test",
                        "metric": metric,
                        "value": values[place, column],
                        "ci_low": low[column],
                        "ci_high": high[column],
                        "ci_method": methods[column],
                        "temperature": temperatures[model + TEMPERATURE_SUFFIX] if scaled else nan,
                        **size,
                        "reason": reasons[column],
                    }
                )
        places = {
            (models[model]["loss"], models[model]["replicate"]): place
            for place, model in enumerate(part.models)
            if models[model]["kind"] == "single" and not failed(part.p[place])
        }
        for loss, plain in plain_of.items():
            pairs = [
                (replicate, place, places[plain, replicate])
                for (name, replicate), place in places.items()
                if name == loss and (plain, replicate) in places
            ]
            groups: list[tuple[Any, list[int], list[int]]] = [(r, [a], [b]) for r, a, b in pairs]
            if len(pairs) > 1:
                groups.append(("mean", [a for _, a, _ in pairs], [b for _, _, b in pairs]))
            for replicate, first, second in groups:
                for column, metric in enumerate(CALIBRATION_METRICS):
                    if metric == "brier_uncertainty":
                        continue
                    difference = values[first, column].mean() - values[second, column].mean()
                    moved = drawn[first, :, column].mean(0) - drawn[second, :, column].mean(0)
                    result = comparisons.bootstrap_test(
                        moved, float(difference), resamples.freedom, options
                    )
                    compared.append(
                        {
                            "loss": loss,
                            "plain": plain,
                            "replicate": replicate,
                            "version": version,
                            "metric": metric,
                            "difference": result.difference,
                            "ci_low": result.ci_low,
                            "ci_high": result.ci_high,
                            "p_value": result.p_value,
                            "reason": result.reason,
                            **size,
                        }
                    )
    columns = "loss plain replicate version metric difference ci_low ci_high p_value reason"
    columns += " n n_patients"
    return pd.DataFrame(rows), pd.DataFrame(compared, columns=columns.split())
