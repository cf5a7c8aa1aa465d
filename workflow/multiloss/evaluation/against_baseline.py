"""Every way of training and every ensemble beside the baseline: tables/against_baseline.csv."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.resamples import Models, Options
from multiloss.evaluation.runs import Runs, primary_of, runs_on_test
from multiloss.job.errors import UserError
from multiloss.predictions import Predictions
from multiloss.statistics import gains
from multiloss.statistics.bootstrap import PUBLISHED
from multiloss.statistics.crossed import Crossed, prediction
from multiloss.statistics.metrics import lookup

Array = npt.NDArray[np.float64]

BASELINE, LOSS, ABLATION = "baseline", "loss", "ablation"
ENSEMBLE, SEED_ENSEMBLE = "ensemble", "seed_ensemble"
SEEDS, RUNS = "seeds and patients", "these runs"
COLUMNS = [
    *("row", "family", "metric", "replicates", "runs", "value", "ci_low", "ci_high"),
    *("difference", "difference_low", "difference_high", "basis", "p_adjusted", "reject"),
    *("hypotheses", "correction", "primary", "same_objective", "band_runs", "band_low"),
    *("band_high", "n", "n_patients", "reason"),
]
_SHARED = ("metric", "difference", "ci_low", "ci_high", "p_adjusted", "reject", "reason")
NEEDED = {
    "metrics": ("model", "split", "metric", "value", "ci_low", "ci_high", "ci_method", "reason"),
    "significance": (
        *("model_a", "model_b", "test", "family", *_SHARED),
        *("hypotheses", "correction", "primary"),
    ),
    "replicate_comparisons": (
        *("loss_a", "loss_b", "se_seed", "family", "warning", *_SHARED),
        *("hypotheses", "correction", "primary"),
    ),
}
# The families in which a model meets the baseline; an ensemble may meet it as best member as well.
_FAMILIES = {*families.ALSO[families.BASELINE], families.ABLATIONS}
NOT_COMPARED = "no comparison with the baseline was planned"


def against_baseline_table(
    found: Predictions,
    models: Models,
    tables: Mapping[str, pd.DataFrame],
    significance: Options,
    options: Options,
    seed: int,
    threads: int = 1,
) -> pd.DataFrame:
    """tables/against_baseline.csv: by `significance.metric`, on the test split.

    `tables`: metrics, significance and replicate_comparisons by name, which give what they have:
    the value of a single run and its interval, its paired permutation test, and losses over seeds.
    Computed here is what no table has: intervals of means over runs (for new seeds and patients),
    and ensembles minus the mean of several runs of the baseline.

    row (`baseline`, `loss`, `ablation`, `ensemble`, `seed_ensemble`), family, metric, replicates
    (runs that count), runs (values, joined by ';'), value (their mean) with its interval,
    difference from the mean of the baseline's runs, which include its further seeds, with its
    interval, basis (`seeds and patients`, or `these runs` where the spread between seeds is not
    in the interval), p_adjusted to primary as in the table of the comparison, same_objective (the
    loss that it shares its objective with), and of the baseline the band from band_low to band_high
    around 0: where the mean of `band_runs` further runs of it would lie on these patients, minus
    the mean of its own, as by `crossed.prediction`. In differences an undefined MCC counts as 0.

    Raises UserError naming table and column for one that an older version wrote.
    """
    for name, columns in NEEDED.items():
        missing = [column for column in columns if len(tables[name]) and column not in tables[name]]
        if missing:
            raise UserError(
                f"tables/{name}.csv: column '{missing[0]}' is missing: delete it and run again"
            )
    metric = primary_of(significance)
    runs = runs_on_test(found, models, significance, options, seed, threads, (metric,))
    maker = _Maker(runs, tables, metric, significance["baseline"])
    return pd.DataFrame(maker.rows()).reindex(columns=COLUMNS)


class _Maker:
    """What the rows share. `values` and `drawn` are those of tests, an undefined MCC as 0."""

    def __init__(
        self, runs: Runs, tables: Mapping[str, pd.DataFrame], metric: str, baseline: str
    ) -> None:
        self.all, self.metric, self.baseline = runs, metric, baseline
        self.known = lookup(metric).metric
        self.values, self.drawn = runs.tested(metric)
        self.base = runs.ran.get(baseline, [])
        self.confidence = runs.options["confidence"]
        of_metric = {
            name: table[table["metric"] == metric] if len(table) else table
            for name, table in tables.items()
        }
        level = of_metric["metrics"]
        level = level[(level["split"] == "test") & (level["ci_method"] != PUBLISHED)]
        self.level = level.drop_duplicates("model").set_index("model")
        paired = of_metric["significance"]
        if len(paired):
            family = paired["family"].map(lambda name: families.of_column(str(name))[0])
            paired = paired[(paired["test"] == "permutation") & family.isin(_FAMILIES)]
        self.paired = _by_pair(paired, "model_a", "model_b")
        self.crossed = _by_pair(of_metric["replicate_comparisons"], "loss_a", "loss_b")
        self.same = {
            row["loss_a"]: row["loss_b"]
            for row in self.crossed.values()
            if str(row["family"]).partition(" ")[0] == families.NOISE_FLOOR
        }

    def rows(self) -> list[dict[str, Any]]:
        groups: dict[tuple[str, str], list[int]] = {}
        for place, model in enumerate(self.all.part.models):
            entry = self.all.models[model]
            row = {"single": LOSS, "seed": LOSS}.get(entry["kind"], entry["kind"])
            if row == LOSS and entry["family"] == self.baseline:
                row = BASELINE
            groups.setdefault((row, entry["family"]), []).append(place)
        order = (BASELINE, LOSS, ABLATION, ENSEMBLE, SEED_ENSEMBLE)
        found = sorted(groups.items(), key=lambda item: order.index(item[0][0]))
        return [self.row(row, family, places) for (row, family), places in found]

    def row(self, row: str, family: str, places: Sequence[int]) -> dict[str, Any]:
        kept = [place for place in places if not self.all.lost[place]]
        values = self.all.values[kept, self.all.metrics.index(self.metric)]
        made = {
            "row": row,
            "family": family,
            "metric": self.metric,
            "replicates": len(kept),
            "runs": ";".join("" if np.isnan(value) else f"{value:.6g}" for value in values),
            **self._level(places, kept, values),
            "primary": False,
            "same_objective": self._same_objective(row, family),
            **self.all.size,
        }
        reasons = [self.all.reason(places, self.metric)]
        if row == BASELINE:
            made |= self._band()
        elif kept and self.base:
            compared, why = self._difference(row, family, kept)
            made |= compared
            reasons.append(why)
        elif kept:
            reasons.append("the baseline has no result")
        return made | {"reason": "; ".join(dict.fromkeys(filter(None, reasons)))}

    def _same_objective(self, row: str, family: str) -> str:
        if row not in (BASELINE, LOSS):
            return ""
        if self.same.get(self.baseline) == family:
            return self.baseline
        return "" if row == BASELINE else str(self.same.get(family, ""))

    def _level(self, places: Sequence[int], kept: Sequence[int], values: Array) -> dict[str, float]:
        """The mean of the runs and its interval: of one run as tables/metrics.csv has it."""
        if not kept:
            return {"value": nan}
        if len(kept) == 1:
            own = self.level.loc[self.all.part.models[kept[0]]]
            return {name: float(own[name]) for name in ("value", "ci_low", "ci_high")}
        if np.isnan(values).any():
            return {"value": nan}
        result = gains.paired_gain(values, self.drawn[kept].T, *self._shared)
        low, high = self.known.within(result.ci_low, result.ci_high)
        return {"value": result.difference, "ci_low": low, "ci_high": high}

    @property
    def _shared(self) -> tuple[float, float, float]:
        return self.all.resamples.df, self.confidence, self.all.inflation

    def _difference(self, row: str, family: str, kept: Sequence[int]) -> tuple[dict[str, Any], str]:
        """The difference from the baseline on the widest basis that there is, and what it lacks."""
        one_run = len(kept) == len(self.base) == 1
        if row in (LOSS, ABLATION):
            over_seeds = _of_pair(self.crossed, family, self.baseline)
            if over_seeds and (isfinite(float(over_seeds["se_seed"])) or not one_run):
                return _taken(over_seeds, SEEDS if isfinite(float(over_seeds["se_seed"])) else RUNS)
            if not one_run:
                return {}, NOT_COMPARED
        if one_run:
            own, other = (self.all.part.models[places[0]] for places in (kept, self.base))
            paired = _of_pair(self.paired, own, other)
            return _taken(paired, RUNS) if paired else ({}, NOT_COMPARED)
        result = self._gain(kept)
        low, high = self.known.difference_within(result.ci_low, result.ci_high)
        made = {
            "difference": result.difference,
            "difference_low": low,
            "difference_high": high,
            "basis": SEEDS if isfinite(result.se_seed) else RUNS,
        }
        return made, result.warning

    def _gain(self, kept: Sequence[int]) -> Crossed:
        """Ensembles minus the mean of the baseline's runs, paired where both are of a replicate.

        An average of single runs has these themselves as its pseudo-values.
        """
        base = self.base
        if np.isnan(self.values[[*kept, *base]]).any():
            return gains.NONE
        number = [self.all.models[self.all.part.models[place]]["replicate"] for place in base]
        shared = []
        for at, place in enumerate(kept):
            replicate = self.all.models[self.all.part.models[place]]["replicate"]
            if replicate is not None and replicate in number:
                shared.append((at, number.index(replicate)))
        return gains.gain_over_average(
            self.values[kept],
            self.drawn[kept].T,
            float(self.values[base].mean()),
            self.drawn[base].mean(axis=0),
            self.values[base],
            self.drawn[base].T,
            shared,
            *self._shared,
        )

    def _band(self) -> dict[str, Any]:
        listed = [e for e in self.all.models.values() if e["kind"] == "single"]
        further = len({entry["replicate"] for entry in listed})
        values = self.values[self.base]
        low, high, _, _ = prediction(values, [nan] * further, self.confidence)
        low, high = self.known.within(low, high)
        mean = float(values.mean()) if len(values) else nan
        return {"band_runs": further, "band_low": low - mean, "band_high": high - mean}


def _by_pair(table: pd.DataFrame, a: str, b: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows by the two that they compare; the first where a pair stands in two families."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in table.to_dict("records"):
        found.setdefault((str(row[a]), str(row[b])), row)
    return found


def _of_pair(
    rows: Mapping[tuple[str, str], dict[str, Any]], a: str, b: str
) -> dict[str, Any] | None:
    """The row on a minus b, turned round where the table has b minus a."""
    if (a, b) in rows:
        return rows[a, b]
    if (b, a) not in rows:
        return None
    row = rows[b, a]
    ends = {"difference": "difference", "ci_low": "ci_high", "ci_high": "ci_low"}
    return row | {name: -float(row[other]) for name, other in ends.items()}


def _taken(row: Mapping[str, Any], basis: str) -> tuple[dict[str, Any], str]:
    named = {"difference": "difference", "difference_low": "ci_low", "difference_high": "ci_high"}
    tested = ("p_adjusted", "reject", "hypotheses", "correction", "primary")
    made = {name: float(row[other]) for name, other in named.items()}
    told = [row.get("warning", ""), row["reason"]]
    return (
        made | {name: row[name] for name in tested} | {"basis": basis},
        "; ".join(text for text in told if isinstance(text, str) and text),
    )
