"""Runs that take turns in testing on folds of the patients: each fold, all together, and compared.

No run is a further seed on the images of another, so the folds have tables of their own, and all
others are of the first run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.data.tables import TRAIN
from multiloss.evaluation import families
from multiloss.evaluation.intervals import intervals
from multiloss.evaluation.replicates import corrected, planned
from multiloss.evaluation.resamples import (
    Models,
    Options,
    failed,
    missing,
    resample,
    resampled_values,
)
from multiloss.evaluation.runs import primary_of
from multiloss.job.errors import UserError
from multiloss.predictions import Predictions
from multiloss.statistics import metrics
from multiloss.statistics.mcc import mcc_or_chance
from multiloss.statistics.resampled_t import corrected_resampled_t

Array = npt.NDArray[np.float64]

METRICS = ("mcc", "accuracy", "auroc", "log_loss", "brier")
KINDS = ("single", "ablation", "ensemble")
# What a run's own choice stands under, by what was chosen.
CHOICES = {"single": "chosen single", "ensemble": "chosen ensemble", "overall": "chosen"}
CHOICE = "choice"
# Of these the values of single folds are averaged and no others are given.
BY_RANK = ("auroc", "auroc_macro", "auprc", "auprc_macro")
NOT_POOLED = "not pooled, since networks of different folds do not share a scale of scores"
ENOUGH_RUNS = 5
FEW = f"fewer than {ENOUGH_RUNS} runs: the spread between folds is poorly known"
ELSEWHERE = "runs that test on other folds are in tables/fold_comparisons.csv"

FOLD_COLUMNS = [
    *("family", "kind", "model", "run", "pass", "fold", "metric", "value", "n", "n_patients"),
    *("n_train", "n_train_patients", "reason"),
]
POOLED_COLUMNS = [
    *("family", "kind", "metric", "value", "ci_low", "ci_high", "ci_method", "fold_mean"),
    *("fold_sd", "fold_minimum", "fold_maximum", "folds", "passes", "n", "n_patients", "reason"),
]
COMPARISON_COLUMNS = [
    *("a", "b", "metric", "difference", "ci_low", "ci_high", "p_value", "p_adjusted", "reject"),
    *("family", "hypotheses", "correction", "primary", "folds", "passes", "n", "n_patients"),
    *("se", "df", "statistic", "test_to_train", "wins", "warning", "reason"),
]


@dataclass(frozen=True)
class Run:
    """One run of all models: `part` is its test split, `n_train` its images and patients to train
    on, `best` the best member of each ensemble and `chosen` its choices (single, ensemble, overall)
    on its own `ensemble` split; a missing choice is not there."""

    number: int
    folds: int
    part: Predictions
    n_train: tuple[int, int]
    best: Mapping[str, str]
    chosen: Mapping[str, str]

    @property
    def turn(self) -> tuple[int, int]:
        """Its pass and its fold."""
        return divmod(self.number, self.folds)

    @property
    def n_patients(self) -> int:
        return len(set(self.part.patients.tolist()))


def fold_runs(
    parts: Sequence[Predictions],
    manifests: Sequence[pd.DataFrame],
    members: pd.DataFrame,
    chosen: Sequence[pd.DataFrame],
    folds: int,
) -> list[Run]:
    """The runs of a study, in their order.

    `parts`: by run the predictions of its models for its test split; `manifests`: by run its
    images; `members`: as ensembles/members.csv, of all runs; `chosen`: by run what
    `crossfit.choose` says of its candidates.

    Raises UserError where the tests of a pass do not add up to the images of the study.
    """
    ranked = members.sort_values("rank", kind="stable").drop_duplicates("ensemble")
    best = dict(zip(ranked["ensemble"], ranked["member"], strict=True))
    runs = []
    for number, (part, manifest, choice) in enumerate(zip(parts, manifests, chosen, strict=True)):
        train = manifest[manifest["split"] == TRAIN]
        own = {name: best[name] for name in part.models if name in best}
        size = len(train), train["patient_id"].nunique()
        what = dict(zip(choice["what"], choice["model"], strict=True))
        runs.append(Run(number, folds, part.only("test"), size, own, what))
    images = set().union(*(run.part.rows["image_id"] for run in runs))
    for first in range(0, len(runs), folds):
        tested = [name for run in runs[first : first + folds] for name in run.part.rows["image_id"]]
        if len(tested) != len(images) or set(tested) != images:
            raise UserError(
                f"predictions of runs {first} to {first + folds - 1}: their test splits are not "
                "all images once; delete data/manifests and predictions, and run again"
            )
    return runs


class Folds:
    """The metrics of all models of each run, by family and by what each run chose.

    `series`: by name (a family, or one of `CHOICES`) its kind and by run its model; `values`: by
    name the metrics (runs, metrics) in the runs' order, NaN for a model without probabilities.
    """

    def __init__(
        self, runs: Sequence[Run], models: Models, significance: Options, options: Options
    ) -> None:
        self.runs, self.models, self.options = list(runs), models, options
        self.primary = primary_of(significance)
        self.metrics = tuple(dict.fromkeys((self.primary, *METRICS)))
        self.series: dict[str, tuple[str, dict[int, str]]] = {}
        for run in self.runs:
            for model in run.part.models:
                entry = models[model]
                if entry["kind"] in KINDS:
                    self._add(entry["family"], entry["kind"], run.number, model)
        for what, name in CHOICES.items():
            for run in self.runs:
                if what in run.chosen:
                    self._add(name, CHOICE, run.number, run.chosen[what])
        found = {
            model: self._measured(run.part, p)
            for run in self.runs
            for model, p in zip(run.part.models, run.part.p, strict=True)
        }
        nothing = np.full(len(self.metrics), nan)
        self.values = {
            name: np.stack([found.get(of.get(run.number, ""), nothing) for run in self.runs])
            for name, (_, of) in self.series.items()
        }

    def _add(self, name: str, kind: str, run: int, model: str) -> None:
        self.series.setdefault(name, (kind, {}))[1][run] = model

    def _measured(self, part: Predictions, p: Array) -> Array:
        if failed(p):
            return np.full(len(self.metrics), nan)
        sample = metrics.Sample(part.y, p, bins=self.options["ece_bins"])
        return metrics.compute_many(self.metrics, sample, None, part.classes)[0]

    def lost(self, name: str, run: Run) -> str:
        """Why a series has no probabilities in a run, or an empty text."""
        kind, of = self.series[name]
        model = of.get(run.number)
        if model is None:
            return "nothing could be chosen" if kind == CHOICE else "no such model"
        return missing(self.models[model]) if failed(run.part.of([model])[0]) else ""

    def tested(self, name: str) -> Array:
        """The metric that is tested in each run (runs,); an undefined MCC counts as 0."""
        values = self.values[name][:, self.metrics.index(self.primary)].copy()
        if self.primary == "mcc":
            ran = [not self.lost(name, run) for run in self.runs]
            values[ran] = mcc_or_chance(values[ran])
        return values

    @property
    def passes(self) -> int:
        return len(self.runs) // self.runs[0].folds


def folds_table(folds: Folds) -> pd.DataFrame:
    """tables/folds.csv: every metric of every model in the fold that its run tested on.

    Columns: family (or what was chosen, see `CHOICES`), kind, model, run, pass, fold, metric,
    value, n and n_patients (of the fold), n_train and n_train_patients (of the run), reason.
    """
    rows = []
    for name, (kind, of) in folds.series.items():
        for place, run in enumerate(folds.runs):
            number, fold = run.turn
            why = folds.lost(name, run)
            for column, metric in enumerate(folds.metrics):
                value, reason = folds.values[name][place, column], why
                if np.isnan(value) and not why:
                    sample = metrics.Sample(run.part.y, run.part.of([of[run.number]])[0])
                    reason = metrics.undefined_reason(metric, sample, run.part.classes)
                rows.append(
                    {
                        "family": name,
                        "kind": kind,
                        "model": of.get(run.number, ""),
                        "run": run.number,
                        "pass": number,
                        "fold": fold,
                        "metric": metric,
                        "value": value,
                        "n": len(run.part.rows),
                        "n_patients": run.n_patients,
                        "n_train": run.n_train[0],
                        "n_train_patients": run.n_train[1],
                        "reason": reason,
                    }
                )
    return pd.DataFrame(rows, columns=FOLD_COLUMNS)


def pooled_table(folds: Folds, seed: int, threads: int = 1) -> pd.DataFrame:
    """tables/folds_pooled.csv: every metric on all patients, each predicted where it was tested on.

    `value`: of the predictions of all folds of a pass together, and its mean over the passes, with
    an interval from resamples of the patients; these know nothing of other training data.
    `fold_mean`, `fold_sd`, `fold_minimum`, `fold_maximum`: of the values of single folds, an
    undefined MCC counting as 0. A pass with a failed run is left out of `value`, and the run of
    the others. Metrics by the order of scores are not pooled (Forman and Scholz 2010,
    doi:10.1145/1882471.1882479).
    """
    part, names = _pooled(folds)
    resamples = resample(part, folds.options, seed, "folds")
    values, drawn = resampled_values(part, resamples, folds.metrics, folds.options, threads)
    options = dict(folds.options)
    if folds.passes > 1 and options["interval"] == "bca":
        options["interval"] = "auto"  # no jackknife of a mean over passes
    rows = []
    for name, (kind, _) in folds.series.items():
        places = [
            place for place, own in enumerate(names) if own == name and not failed(part.p[place])
        ]
        lost = [run.number for run in folds.runs if folds.lost(name, run)]
        missed = f"{len(lost)} of {len(folds.runs)} runs have no probabilities" if lost else ""
        low = high = value = np.full(len(folds.metrics), nan)
        methods = why = [""] * len(folds.metrics)
        if places:
            value = values[places].mean(axis=0)
            sample = metrics.Sample(part.y, part.p[places[0]], bins=options["ece_bins"])
            low, high, methods, why = intervals(
                folds.metrics,
                sample,
                value,
                drawn[places].mean(axis=0),
                resamples,
                options,
                part.classes,
            )
        for column, metric in enumerate(folds.metrics):
            single, reasons = folds.values[name][:, column], [missed]
            if metric == "mcc":
                undefined = np.isnan(single) & ~np.isin(np.arange(len(single)), lost)
                single = np.where(undefined, 0.0, single)
                if undefined.any():
                    reasons.append(f"MCC is undefined in {undefined.sum()} folds, where it is 0")
            single = single[~np.isnan(single)]
            pooled = metric not in BY_RANK
            reasons.append(why[column] if pooled else NOT_POOLED)
            rows.append(
                {
                    "family": name,
                    "kind": kind,
                    "metric": metric,
                    "value": value[column] if pooled else nan,
                    "ci_low": low[column] if pooled else nan,
                    "ci_high": high[column] if pooled else nan,
                    "ci_method": methods[column] if pooled else "",
                    "fold_mean": single.mean() if len(single) else nan,
                    "fold_sd": single.std(ddof=1) if len(single) > 1 else nan,
                    "fold_minimum": single.min() if len(single) else nan,
                    "fold_maximum": single.max() if len(single) else nan,
                    "folds": len(single),
                    "passes": len(places) if pooled else 0,
                    "n": len(part.rows),
                    "n_patients": resamples.n_patients,
                    "reason": "; ".join(filter(None, reasons)),
                }
            )
    return pd.DataFrame(rows, columns=POOLED_COLUMNS)


def _pooled(folds: Folds) -> tuple[Predictions, list[str]]:
    """All images with what each series said of them, pass by pass; and the series of each place.

    A pass in which a run of a series failed has NaN.
    """
    per_pass, first = folds.runs[0].folds, folds.runs[: folds.runs[0].folds]
    rows = pd.concat([run.part.rows for run in first], ignore_index=True)
    place = {image: number for number, image in enumerate(rows["image_id"])}
    classes = first[0].part.classes
    names, stacked = [], []
    for name, (_, of) in folds.series.items():
        for start in range(0, len(folds.runs), per_pass):
            p = np.full((len(rows), len(classes)), nan)
            for run in folds.runs[start : start + per_pass]:
                if not folds.lost(name, run):
                    at = [place[image] for image in run.part.rows["image_id"]]
                    p[at] = run.part.of([of[run.number]])[0]
            names.append(name)
            stacked.append(p)
    models = [f"{name}, {number}" for number, name in enumerate(names)]
    return Predictions(rows, models, classes, np.stack(stacked)), names


def fold_comparisons_table(
    folds: Folds, significance: Options, variants: families.Variants | None = None
) -> pd.DataFrame:
    """tables/fold_comparisons.csv: mean differences over folds by the corrected resampled t test.

    Primary are the distinct objectives against the baseline and the ensembles against the best
    member of the same run (`b`: the families of those, joined by ';'), each family corrected by
    Holm's method; the others stand beside them, with what each run chose. `test_to_train`:
    patients tested on over patients trained on, the mean of the runs; `wins`: share of the runs in
    which the first has the higher value, ties half; `folds`: runs that count. For the metric that
    is tested, an undefined MCC counting as 0. `variants`: as in `families.pairs`.
    """
    compared: list[dict[str, Any]] = []
    for family, a, b in planned(folds.models, significance["baseline"], variants):
        if a in folds.series and b in folds.series:
            compared.append(_compared(folds, family, a, b, folds.tested(a), folds.tested(b)))
    for name, (kind, of) in folds.series.items():
        if kind == "ensemble":
            compared += _against_members(folds, name, of)
    single, ensemble = CHOICES["single"], CHOICES["ensemble"]
    if single in folds.series and ensemble in folds.series:
        values = folds.tested(ensemble), folds.tested(single)
        compared.append(_compared(folds, families.CHOSEN, ensemble, single, *values))
    table = pd.DataFrame(compared)
    order = list(families.FAMILIES)
    if len(table):
        table = table.sort_values(
            "family", key=lambda column: column.map(order.index), kind="stable", ignore_index=True
        )
    return corrected(table, significance["alpha"]).reindex(columns=COMPARISON_COLUMNS)


def _against_members(folds: Folds, name: str, of: Mapping[int, str]) -> list[dict[str, Any]]:
    """An ensemble against its best member of each run, and, if that is one itself, against the best
    single model of the run."""
    wanted: dict[str, dict[int, str]] = {families.BEST_MEMBER: {}, families.BEST_SINGLE: {}}
    for run in folds.runs:
        best = run.best.get(of.get(run.number, ""))
        if best is None:
            continue
        wanted[families.BEST_MEMBER][run.number] = best
        if folds.models[best]["kind"] == "ensemble":
            single = next(
                other for other in run.best.values() if folds.models[other]["kind"] == "single"
            )
            wanted[families.BEST_SINGLE][run.number] = single
    rows = []
    for family, opponents in wanted.items():
        if opponents:
            values = np.full(len(folds.runs), nan)
            for place, run in enumerate(folds.runs):
                if run.number in opponents:
                    own = folds.models[opponents[run.number]]["family"]
                    values[place] = folds.tested(own)[place]
            told = ";".join(dict.fromkeys(folds.models[m]["family"] for m in opponents.values()))
            rows.append(_compared(folds, family, name, told, folds.tested(name), values))
    return rows


def _compared(
    folds: Folds, family: str, a: str, b: str, first: Array, second: Array
) -> dict[str, Any]:
    differences = first - second
    used = [run for run, d in zip(folds.runs, differences, strict=True) if not np.isnan(d)]
    tested = sum(run.n_patients for run in used)
    ratio = tested / sum(run.n_train[1] for run in used) if used else 0.0
    confidence = folds.options["confidence"]
    result = corrected_resampled_t(differences, ratio, confidence)
    tested_by = metrics.lookup(folds.primary).metric
    low, high = tested_by.difference_within(result.ci_low, result.ci_high)
    gone = len(folds.runs) - len(used)
    left_out = f"{gone} of {len(folds.runs)} runs left out: no value" if gone else ""
    known = differences[~np.isnan(differences)]
    wins = float(((known > 0) + 0.5 * (known == 0)).mean()) if len(known) else nan
    images = {image for run in used for image in run.part.rows["image_id"]}
    patients = {patient for run in used for patient in run.part.patients.tolist()}
    return {
        "a": a,
        "b": b,
        "metric": folds.primary,
        "difference": result.difference,
        "ci_low": low,
        "ci_high": high,
        "p_value": result.p_value,
        "family": family,
        "primary": family in families.QUESTIONS,
        "folds": len(used),
        "passes": folds.passes,
        "n": len(images),
        "n_patients": len(patients),
        "se": result.se,
        "df": result.df,
        "statistic": result.statistic,
        "test_to_train": ratio if used else nan,
        "wins": wins,
        "warning": FEW if len(used) < ENOUGH_RUNS else "",
        "reason": "; ".join(filter(None, [left_out, result.reason])),
    }


def of_one_fold(table: pd.DataFrame) -> pd.DataFrame:
    """A table over replicates of a study with folds, of which it has one run of each loss.

    None of its rows is primary, and `reason` says where the other runs are.
    """
    told = table["reason"].fillna("").map(lambda reason: f"{reason}; {ELSEWHERE}".lstrip("; "))
    table = table.assign(reason=told)
    return table.assign(primary=False) if "primary" in table else table
