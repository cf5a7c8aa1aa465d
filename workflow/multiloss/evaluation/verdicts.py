"""What each primary comparison shows, what it could have shown, and how likely claims are false."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.evaluation import families
from multiloss.evaluation.resamples import Models, Options, failed, resample, resampled_values
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive
from multiloss.predictions import Predictions
from multiloss.statistics import claims, effects
from multiloss.statistics.mcc import mcc_or_chance
from multiloss.statistics.paired import STATISTICS

Array = npt.NDArray[np.float64]

LOSS, ENSEMBLE, CLAIM = "loss", "ensemble", "claim"
SEEDS, RUNS, FOLDS = "seeds and patients", "these runs", "folds"
# The claims that are looked at, by what is said of the first model.
CHOSEN_SINGLE = "the chosen single model against the baseline"
CHOSEN_ENSEMBLE = "the chosen ensemble against its best member"
CHOSEN_AGAINST_SINGLE = "the chosen ensemble against the chosen single model"
SECOND = "the highest of the test split against the second highest"
OTHERS = "the highest of the test split against all others"
FROM_TEST = "picked as the highest of the test split: the probability is too low by that choice"
TRIVIAL = "the difference is not 0, but within the margin"

_SHARED = ("metric", "difference", "ci_low", "ci_high", "p_adjusted", "reject", "reason")
_ADDED = ("se", "df", "hypotheses", "correction", "primary")
NEEDED = {
    "significance": ("model_a", "model_b", *_SHARED, *_ADDED),
    "replicate_comparisons": (
        *("loss_a", "loss_b", "se_seed", "se_patient", "replicates_a", "replicates_b", "warning"),
        *(*_SHARED, *_ADDED),
    ),
    "ensemble_comparisons": (
        *("ensemble", "against", "opponent", "se_seed", "se_patient", "replicates", "warning"),
        *(*_SHARED, *_ADDED),
    ),
    "fold_comparisons": ("a", "b", "family", "n", "n_patients", "warning", *_SHARED, *_ADDED),
}
COLUMNS = [
    *("question", "a", "b", "metric", "basis", "difference", "se", "df", "ci_low", "ci_high"),
    *("p_adjusted", "reject", "hypotheses", "correction", "margin", "verdict", "p_tost"),
    *("p_positive", "p_better", "p_equivalent", "p_worse"),
    *("p_outperforms", "p_outperforms_low", "p_outperforms_high"),
    *("detectable", "detectable_corrected", "p_false_claim", "p_false_claim_clustered"),
    *("n", "n_patients", "reason"),
]


@dataclass(frozen=True)
class Comparison:
    """One primary comparison as its table has it.

    `se_seed`, `se_patient`: the parts of its error, NaN where only these runs are compared;
    `runs`: how many of each; `paired`: whether these belong together by replicate.
    """

    question: str
    a: str
    b: str
    basis: str
    values: Mapping[str, Any] = field(repr=False)
    se_seed: float = nan
    se_patient: float = nan
    runs: tuple[int, int] = (1, 1)
    paired: bool = False

    @property
    def se(self) -> float:
        return float(self.values["se"])


def primary_rows(tables: Mapping[str, pd.DataFrame], name: str) -> list[dict[str, Any]]:
    """The rows of the primary families of one table, none of a table without rows.

    Raises UserError naming table and column for one that an older version wrote.
    """
    table = tables.get(name, pd.DataFrame())
    if table.empty:
        return []
    missing = [column for column in NEEDED[name] if column not in table]
    if missing:
        raise UserError(
            f"tables/{name}.csv: column '{missing[0]}' is missing: delete the file and run again"
        )
    return [row for row in table.to_dict("records") if _true(row["primary"])]


def primary_comparisons(tables: Mapping[str, pd.DataFrame], models: Models) -> list[Comparison]:
    """The comparisons that carry the study's answer, each on the widest basis that it has.

    Over seeds and patients where the spread between seeds is known; else of these runs alone.
    `tables`: significance, replicate_comparisons and ensemble_comparisons by name; and, of a study
    with folds, fold_comparisons, which then alone has primary rows.
    """
    asked = {families.BASELINE: LOSS, families.BEST_MEMBER: ENSEMBLE}
    found = [
        Comparison(asked[row["family"]], str(row["a"]), str(row["b"]), FOLDS, row)
        for row in primary_rows(tables, "fold_comparisons")
    ]
    lesser: list[Comparison] = []
    for row in primary_rows(tables, "replicate_comparisons"):
        runs = (int(row["replicates_a"]), int(row["replicates_b"]))
        made = _crossed(LOSS, str(row["loss_a"]), str(row["loss_b"]), row, runs, False)
        (found if made.basis == SEEDS else lesser).append(made)
    for row in primary_rows(tables, "ensemble_comparisons"):
        runs = (int(row["replicates"]),) * 2
        made = _crossed(ENSEMBLE, str(row["ensemble"]), str(row["opponent"]), row, runs, True)
        (found if made.basis == SEEDS else lesser).append(made)
    answered = {(made.question, made.a) for made in found}
    for row in primary_rows(tables, "significance"):
        a, b = str(row["model_a"]), str(row["model_b"])
        single = models[a]["kind"] in ("single", "ablation")
        question = LOSS if single else ENSEMBLE
        if (question, models[a]["family"]) not in answered:
            found.append(Comparison(question, a, b, RUNS, row))
    told = answered | {(made.question, models[made.a]["family"]) for made in found
                       if made.basis == RUNS}  # fmt: skip
    # What only one table has, though without its seeds.
    found += [made for made in lesser if (made.question, made.a) not in told]
    return sorted(found, key=lambda made: (LOSS, ENSEMBLE).index(made.question))


def _crossed(
    question: str, a: str, b: str, row: dict[str, Any], runs: tuple[int, int], paired: bool
) -> Comparison:
    error, seed, patient = (float(row[name]) for name in ("se", "se_seed", "se_patient"))
    basis = SEEDS if isfinite(error) and isfinite(seed) else RUNS
    return Comparison(question, a, b, basis, row, seed, patient, runs, paired)


def verdicts_table(
    found: Predictions,
    models: Models,
    comparisons: Sequence[Comparison],
    members: pd.DataFrame,
    chosen: pd.DataFrame,
    significance: Options,
    options: Options,
    seed: int,
) -> pd.DataFrame:
    """tables/verdicts.csv: one row a primary comparison, then one a claim about single networks.

    `comparisons`: from `primary_comparisons`; `members`, `chosen`: the tables of ensembles/;
    `significance`, `options`: the config's `significance` and `evaluation`.
    question (loss, ensemble or claim), a, b, metric, basis (`seeds and patients`, `these runs` or
    `folds`), difference with its error and interval, p_adjusted, reject, hypotheses and correction
    as in the table of the comparison, margin, verdict, p_tost, probabilities of the true
    difference (p_positive: above 0; p_better, p_equivalent, p_worse: above the margin, within it,
    below minus it), p_outperforms (that a further run of a beats one of b) with its interval,
    detectable and detectable_corrected (found with 80% power at alpha, and at alpha over the
    hypotheses), p_false_claim (that whichever of two networks has the higher metric is not the
    more accurate one, images taken as independent) and p_false_claim_clustered (that its metric
    is not the higher one, by patient). What is empty is told in `reason`.
    """
    part = found.only("test")
    metric, alpha = significance.get("metric", "mcc"), float(significance["alpha"])
    margin = significance.get("equivalence_margin")
    teller = _Claims(part, models, metric, options["resamples"], seed)
    runs = _Runs(part, models, members, metric, options, seed)
    size = {"n": len(part.rows), "n_patients": len(set(part.patients.tolist()))}
    rows = []
    for made in comparisons:
        row = made.values
        judged = _judged(row, margin, alpha)
        reasons = [text_of(row["reason"]), text_of(row.get("warning", "")), judged.pop("reason")]
        of_runs, of_size = effects.Outperformance(nan), size
        if made.basis == FOLDS:
            # No two runs have one test split to win on; claims about two networks have one.
            false = {}
            of_size = {name: row[name] for name in size}
        elif made.basis == SEEDS:
            of_runs, why = runs.outperformance(made)
            reasons.append(why)
            false = {}
        else:
            *of_claim, why = teller.false(made.a, made.b, float(row["difference"]))
            false = dict(zip(("p_false_claim", "p_false_claim_clustered"), of_claim, strict=True))
            reasons.append(why)
        rows.append(
            {
                "question": made.question,
                "a": made.a,
                "b": made.b,
                "metric": row["metric"],
                "basis": made.basis,
                **{name: row[name] for name in ("difference", "se", "df", "ci_low", "ci_high")},
                **{name: row[name] for name in ("p_adjusted", "reject")},
                **{name: row[name] for name in ("hypotheses", "correction")},
                "margin": nan if margin is None else margin,
                **judged,
                "p_outperforms": of_runs.probability,
                "p_outperforms_low": of_runs.ci_low,
                "p_outperforms_high": of_runs.ci_high,
                **false,
                **of_size,
                "reason": "; ".join(dict.fromkeys(filter(None, reasons))),
            }
        )
    rows += [row | size for row in teller.rows(chosen, members, significance["baseline"])]
    return pd.DataFrame(rows, columns=COLUMNS)


def _judged(row: Mapping[str, Any], margin: float | None, alpha: float) -> dict[str, Any]:
    """The verdict on one comparison, what it could have found, and probabilities."""
    difference, se, df = (float(row[name]) for name in ("difference", "se", "df"))
    reject = _true(row["reject"])
    tost = nan if margin is None else float(effects.equivalence_p_value(difference, se, df, margin))
    told = effects.verdict(difference, reject, tost, alpha)
    known = effects.posterior(difference, se, df, margin or 0.0)
    hypotheses = float(row["hypotheses"])
    first = alpha / hypotheses if hypotheses >= 1 else nan
    reason = "no standard error, so no verdict but that of the test" if not se > 0 else ""
    if told == effects.EQUIVALENT and reject:
        reason = TRIVIAL
    return {
        "verdict": told if isfinite(difference) else "",
        "p_tost": tost,
        "p_positive": float(known.positive),
        "p_better": float(known.better),
        "p_equivalent": nan if margin is None else float(known.equivalent),
        "p_worse": float(known.worse),
        "detectable": float(effects.detectable_difference(se, df, alpha)),
        "detectable_corrected": float(effects.detectable_difference(se, df, first)),
        "reason": reason,
    }


class _Claims:
    """How probable claims about single networks are false, from the test split's predictions."""

    def __init__(
        self, part: Predictions, models: Models, metric: str, draws: int, seed: int
    ) -> None:
        self.part, self.models, self.draws, self.seed = part, models, draws, seed
        self.metric = metric
        self.y, self.predicted = part.y, part.p.argmax(axis=2)
        self.place = {model: k for k, model in enumerate(part.models)}

    def _failed(self, *names: str) -> str:
        for name in names:
            if name not in self.place or failed(self.part.p[self.place[name]]):
                return f"{name} has no probabilities"
        return ""

    def value(self, model: str) -> float:
        """The metric of one model, if classes alone decide it; else NaN."""
        if self.metric not in STATISTICS or self._failed(model):
            return nan
        classes = len(self.part.classes)
        cells = self.y * classes + self.predicted[self.place[model]]
        counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        return float(STATISTICS[self.metric](counts.astype(float)))

    def false(self, a: str, b: str, difference: float) -> tuple[float, float, str]:
        """P(the claim is false) for images and by patient; the claim is for the higher metric."""
        if why := self._failed(a, b):
            return nan, nan, why
        if not difference or np.isnan(difference):
            return nan, nan, "no difference to claim"
        winner, loser = (a, b) if difference > 0 else (b, a)
        first, second = (self.predicted[self.place[name]] for name in (winner, loser))
        right, wrong = first == self.y, second == self.y
        published = float(claims.false_claim((right & ~wrong).sum(), (wrong & ~right).sum()))
        if self.metric not in STATISTICS:
            return published, nan, f"by patient there is none of {self.metric}"
        clustered = claims.false_claim_by_patient(
            *(self.y, first, second, self.part.patients, len(self.part.classes), self.draws),
            np.random.default_rng(derive(self.seed, "claim", winner, loser)),
            self.metric,
        )
        return published, clustered, ""

    def rows(
        self, chosen: pd.DataFrame, members: pd.DataFrame, baseline: str
    ) -> list[dict[str, Any]]:
        """One row for each claim that a paper would make."""
        first = chosen_models(chosen)
        ranked = members.sort_values("rank", kind="stable").drop_duplicates("ensemble")
        best = dict(zip(ranked["ensemble"], ranked["member"], strict=True))
        single, ensemble = first.get("single"), first.get("ensemble")
        replicate = self.models[single]["replicate"] if single in self.models else 0
        base = run_of(self.models, baseline, replicate)
        planned = [(CHOSEN_SINGLE, single, base), (CHOSEN_ENSEMBLE, ensemble, best.get(ensemble))]
        if best.get(ensemble) != single:
            planned.append((CHOSEN_AGAINST_SINGLE, ensemble, single))
        rows = [self._row(what, a, b) for what, a, b in planned if a and b and a != b]
        return rows + self._highest()

    def _highest(self) -> list[dict[str, Any]]:
        """The claims of a paper that picks its winner on the test split, of the first replicate."""
        singles = [
            name
            for name, entry in self.models.items()
            if entry["kind"] == "single" and entry["replicate"] == 0 and not self._failed(name)
        ]
        values = {name: self.value(name) for name in singles}
        if len(singles) < 2 or np.isnan(list(values.values())).any():
            return []
        highest, second, *_ = sorted(singles, key=lambda name: -values[name])
        rows = [self._row(SECOND, highest, second, FROM_TEST)]
        if len(singles) > 2:
            drawn = claims.posterior_values(
                *(self.y, self.predicted[[self.place[name] for name in singles]]),
                *(self.part.patients, len(self.part.classes), self.draws),
                np.random.default_rng(derive(self.seed, "claim", "highest")),
                self.metric,
            )
            everyone = f"the other {len(singles) - 1} single models"
            row = self._row(OTHERS, highest, everyone, FROM_TEST)
            row["p_false_claim_clustered"] = claims.not_best(drawn, singles.index(highest))
            rows.append(row)
        return rows

    def _row(self, what: str, a: str, b: str, caveat: str = "") -> dict[str, Any]:
        difference = self.value(a) - self.value(b)
        many = b not in self.models
        published, clustered, why = (nan, nan, "") if many else self.false(a, b, difference)
        if difference < 0:
            why = "; ".join(filter(None, [why, "b has the higher value: the claim is b's"]))
        return {
            "question": CLAIM,
            "a": a,
            "b": b,
            "metric": self.metric,
            "basis": RUNS,
            "difference": difference,
            "p_false_claim": published,
            "p_false_claim_clustered": clustered,
            "reason": "; ".join(filter(None, [what, why, caveat])),
        }


class _Runs:
    """The metric of every training run, and in resamples of the patients."""

    def __init__(
        self,
        part: Predictions,
        models: Models,
        members: pd.DataFrame,
        metric: str,
        options: Options,
        seed: int,
    ) -> None:
        self.part, self.models, self.metric = part, models, metric
        self.options, self.seed = options, seed
        ranked = members.sort_values("rank", kind="stable").drop_duplicates("ensemble")
        self.best = dict(zip(ranked["ensemble"], ranked["member"], strict=True))
        self.resamples = resample(part, options, seed, "test")
        self._drawn: dict[str, tuple[float, Array]] = {}

    def of(self, model: str) -> tuple[float, Array]:
        """A model's value and its values in the resamples (R,); an undefined MCC counts as 0."""
        if model not in self._drawn:
            values, drawn = resampled_values(
                self.part.subset([model]), self.resamples, [self.metric], self.options
            )
            pair = (values[0], drawn[0, :, 0])
            if self.metric == "mcc":
                pair = (mcc_or_chance(pair[0]), mcc_or_chance(pair[1]))
            self._drawn[model] = float(pair[0][0]), pair[1]
        return self._drawn[model]

    def outperformance(self, made: Comparison) -> tuple[effects.Outperformance, str]:
        """P(A > B) of further runs, and why there is none."""
        first = self._family(made.a)
        if made.paired:
            pairs = [(name, self.best.get(name)) for name in first]
            pairs = [(a, b) for a, b in pairs if b in self.models and not self._lost(b)]
            first, second = [a for a, _ in pairs], [b for _, b in pairs]
        else:
            second = self._family(made.b)
        if min(len(first), len(second)) < 2:
            none = "no probability for further runs: it takes two runs of each"
            return effects.Outperformance(nan), none
        (a, of_a), (b, of_b) = (self._stacked(names) for names in (first, second))
        usable = ~np.isnan(of_a).any(axis=1) & ~np.isnan(of_b).any(axis=1)
        if not usable.any() or np.isnan([*a, *b]).any():
            return effects.Outperformance(nan), f"{self.metric} is undefined for some run"
        rng = np.random.default_rng(derive(self.seed, "outperformance", made.a, made.b))
        confidence = self.options["confidence"]
        return (
            effects.outperformance(a, b, of_a[usable], of_b[usable], rng, confidence, made.paired),
            "",
        )

    def _stacked(self, names: Sequence[str]) -> tuple[Array, Array]:
        found = [self.of(name) for name in names]
        return np.array([value for value, _ in found]), np.stack([d for _, d in found], axis=1)

    def _lost(self, model: str) -> bool:
        return model not in self.part.models or failed(self.part.of([model])[0])

    def _family(self, family: str) -> list[str]:
        """Runs of a loss or an ensemble that did not fail, further seeds among them."""
        kinds = ("single", "seed", "ablation", "ensemble")
        return [
            name
            for name, entry in self.models.items()
            if entry["family"] == family and entry["kind"] in kinds and not self._lost(name)
        ]


def chosen_models(chosen: pd.DataFrame) -> dict[str, str]:
    """What was chosen on the ensemble split: single, ensemble, overall; as far as there is any."""
    return dict(zip(chosen["what"], chosen["model"], strict=True))


def run_of(models: Models, variant: str, replicate: int) -> str | None:
    """The run of a listed variant in a replicate."""
    wanted = ("single", variant, replicate)
    for name, entry in models.items():
        if (entry["kind"], entry["variant"], entry["replicate"]) == wanted:
            return name
    return None


def text_of(value: Any) -> str:
    """A cell that holds text, empty where the table has nothing."""
    return value if isinstance(value, str) else ""


def _true(value: Any) -> bool:
    """Whether a cell says true: columns with gaps hold text."""
    return str(value).strip().lower() in ("true", "1", "1.0")
