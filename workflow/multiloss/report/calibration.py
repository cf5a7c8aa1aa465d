"""What the section on calibration says: whether probabilities can be believed, in sentences."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from multiloss.evaluation.calibration_tables import ABOVE, INSIDE
from multiloss.methods import ensemble_methods
from multiloss.report.blocks import (
    Cell,
    code,
    interval,
    is_true,
    listed,
    number,
    plural,
    signed,
    value_cell,
)
from multiloss.report.facts import Estimate, Facts, percent
from multiloss.statistics import calibration_measures as measures
from multiloss.statistics.metrics import BRIER, METRICS, shown

RAW, CORRECTED = "raw", "prior_corrected"
# The confidence that a sentence asks after.
EXAMPLE = 0.8
# Beside the raw ECE, by version of the probabilities.
VERSIONS = {
    "temperature": "ECE, temperature-scaled",
    "prior_corrected": "ECE, class shares corrected",
    "temperature_prior_corrected": "ECE, both",
}


def _counted(facts: Facts, measure: str = measures.DISTANCE.name) -> pd.DataFrame:
    """The pairs that answer, by one measure: two names of one objective count once."""
    pairs = facts.calibration_pairs(RAW, measure)
    if pairs.empty:
        return pairs
    primary = facts.calibration_pairs(RAW)
    return pairs[pairs.index.isin(primary.index[primary["primary"].map(is_true)])]


def _told(pairs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Losses that a measure shows to be better calibrated than their plain forms, and worse."""
    rejects = pairs["reject"].map(is_true)
    below, above = rejects & (pairs["difference"] < 0), rejects & (pairs["difference"] > 0)
    return [str(n) for n in pairs.index[below]], [str(n) for n in pairs.index[above]]


def _tests(pairs: pd.DataFrame) -> int:
    """Over how many hypotheses Holm's correction of these pairs goes."""
    told = pairs["hypotheses"].dropna()
    return int(told.max()) if len(told) else 0


def finding(facts: Facts) -> str | None:
    """Whether the calibrated losses are better calibrated; None where none can be compared."""
    every = _counted(facts)
    if every.empty:
        return None
    # A model that names one class can look calibrated: its confidence is that class's share.
    void = facts.uncalibrated(every)
    without = [str(loss) for loss in every.index[every["difference"].isna()] if loss not in void]
    pairs = every.drop(index=[*void, *without])
    left = ""
    if void:
        left += (
            f" Left out: {listed(void)}, since a run of {'it' if len(void) == 1 else 'each'} or of "
            "its plain form tells no classes apart."
        )
    if without:
        left += f" No slope could be compared for {listed(without)}."
    tests = _tests(every)
    over = f"n = {facts.size('test')}, paired over {facts.unit}s"
    over += " and seeds" if facts.spread is not None else ""
    over += ", one run of each loss" if facts.replicates == 1 else ""
    over += f", Holm-corrected over {plural(tests, 'objective')}" if tests else ""
    if pairs.empty:
        return f"That cannot be told ({over}).{left}"
    better, worse = _told(pairs)
    losses = plural(len(pairs), "calibrated loss", "calibrated losses")
    runs = "" if facts.replicates > 1 else " in this run" if len(better) == 1 else " in these runs"
    nearer = f"nearer to 1{runs}"
    if len(better) == len(pairs):
        text = f"Yes: the calibration {'slopes' if len(better) > 1 else 'slope'} of "
        text += f"all {losses} are shown to be " if len(better) > 1 else "the one calibrated loss "
        text += nearer if len(better) > 1 else f"is shown to be {nearer}"
    elif better:
        text = (
            f"In part: of {losses}, {len(better)} {'is' if len(better) == 1 else 'are'} shown to "
        )
        text += f"have a calibration slope {nearer}, {listed(better)}"
    else:
        text = "That is not shown for "
        text += f"any of {losses}" if len(pairs) > 1 else "the one calibrated loss"
        text += " by the calibration slope"
    if worse:
        text += f"; {listed(worse)} {'is' if len(worse) == 1 else 'are'} shown to have one further "
        text += "from 1"
    text += f" ({over}).{_by_log_loss(facts, void)}"
    if facts.replicates < 2 and (better or worse):
        text += " That is said of these runs: another seed may differ as much."
    return text + left


def _by_log_loss(facts: Facts, void: list[str]) -> str:
    """What the log loss that recalibration would save says of the same pairs."""
    pairs = _counted(facts, measures.ROOT.name)
    tests = _tests(pairs) if len(pairs) else 0
    pairs = pairs.drop(index=void, errors="ignore")
    pairs = pairs[pairs["difference"].notna()] if len(pairs) else pairs
    if pairs.empty:
        return ""
    better, worse = _told(pairs)
    said = [f"better for {listed(better)}"] * bool(better)
    said += [f"worse for {listed(worse)}"] * bool(worse)
    verdict = listed(said) if said else "not shown to differ for any"
    return (
        f" By the part of the log loss that recalibration would save it is {verdict} "
        f"(a second measure, Holm over its own {tests})."
    )


def differences(facts: Facts) -> Markup | None:
    """The differences of the pairs in |log slope| with their intervals and p values."""
    pairs = _counted(facts)
    if pairs.empty:
        return None
    pairs = pairs.drop(index=facts.uncalibrated(pairs))
    said = [
        Markup("{} minus {} {}").format(code(str(loss)), code(row["plain"]), _evidence(row, facts))
        for loss, row in pairs.iterrows()
        if not math.isnan(row["difference"])
    ]
    if not said:
        return None
    return Markup(
        "Differences in the distance of the calibration slope from 1 (|log slope|; below 0: the "
        "calibrated loss is nearer), with {} intervals: {}."
    ).format(facts.confidence, Markup("; ").join(said))


def _evidence(row: Mapping[str, Any], facts: Facts) -> str:
    ends = interval(row["ci_low"], row["ci_high"])
    parts = [ends] if ends else []
    if not pd.isna(row["p_adjusted"]):
        tests = plural(int(row["hypotheses"]), "objective")
        parts.append(f"p {facts.p(row['p_adjusted'])} after Holm over {tests}")
    return signed(row["difference"]) + (f" ({'; '.join(parts)})" if parts else "")


def by_chance(facts: Facts) -> str | None:
    """How many models have an ECE that perfect calibration would show, too."""
    scores = _scores(facts)
    if scores.empty:
        return None
    part = scores[(scores["metric"] == "ece") & (scores["version"] == RAW)]
    part = part[part["model"].isin([*facts.singles, *facts.ensembles, *facts.seed_ensembles])]
    inside, above = ((part["range"] == word).sum() for word in (INSIDE, ABOVE))
    if not inside + above:
        return None
    return (
        "The calibration error (ECE) is described only, since in a finite sample it is above 0 for "
        f"perfect models, too: of {plural(int(inside + above), 'model')}, {inside} "
        f"{'has' if inside == 1 else 'have'} one within what labels drawn from their own "
        "probabilities show (up to the 95th percentile, images taken as independent), "
        f"{above} a larger one."
    )


def answer(facts: Facts) -> list[Markup]:
    """The bullets of the page's answer; none where no loss is compared."""
    text = finding(facts)
    if text is None:
        return []
    said = [text, differences(facts), by_chance(facts)]
    return [Markup.escape(one) for one in said if one]


def _scores(facts: Facts) -> pd.DataFrame:
    table = facts.results.table("tables/calibration_scores.csv")
    return table if {"version", "range"} <= set(table.columns) else pd.DataFrame()


class Calibration:
    """What the template of the section shows."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def verdict(self) -> str:
        """The first sentence of the section."""
        text = finding(self._facts)
        losses = [f"{n} ({why})" for n, why in self._facts.without_plain_form().items()]
        alone = f" Without a plain form to compare with: {listed(losses)}." if losses else ""
        if text is None:
            return (
                "This study compares no loss with its calibrated form, so it cannot say whether "
                f"the calibration term helps.{alone}"
            )
        question = "Are the calibrated losses better calibrated than their plain forms?"
        return f"{question} {text}{alone}"

    def by_chance(self) -> str:
        return by_chance(self._facts) or ""

    def in_words(self) -> list[Markup]:
        """Of the models that the answer speaks of: as often right as they say?"""
        facts = self._facts
        names = [facts.chosen("single"), facts.chosen("ensemble"), facts.baseline]
        said = [self._of(name) for name in dict.fromkeys(names) if name]
        return [text for text in said if text is not None]

    def _of(self, model: str) -> Markup | None:
        scores = self._by_metric(model)
        mean, over, slope = (
            scores.get(m.name)
            for m in (measures.CONFIDENCE, measures.OVERCONFIDENCE, measures.SLOPE)
        )
        accuracy = self._facts.value(model, "accuracy").value
        if mean is None or over is None or math.isnan(accuracy):
            return None
        text = Markup("{} gives the class that it names {} on average and is right in {}").format(
            code(model), percent(mean["value"]), percent(accuracy)
        )
        if not math.isnan(over["ci_low"]):
            known = "too sure" if over["ci_low"] > 0 else "too timid" if over["ci_high"] < 0 else ""
            text += f": {known} on the whole" if known else ", a difference that chance may make"
        point = self._point(model)
        if point is not None:
            text += Markup("; where it says {}, it is right in {} ({} to {})").format(
                *(percent(point[key]) for key in ("p", "observed", "ci_low", "ci_high"))
            )
        text += "."
        if slope is not None and not math.isnan(slope["value"]):
            ends = interval(slope["ci_low"], slope["ci_high"], 2)
            text += f" Its calibration slope is {number(slope['value'], 2)}"
            text += f" ({ends})" if ends else ""
            if not math.isnan(slope["ci_low"]):
                text += (
                    ": probabilities too extreme."
                    if slope["ci_high"] < 1
                    else ": probabilities not extreme enough."
                    if slope["ci_low"] > 1
                    else ", not shown to differ from 1."
                )
            else:
                text += "."
        method = ensemble_methods().get(self._facts.planned[model].method or "")
        if method and method.caveat:
            text += f" (What it gives are {method.caveat}.)"
        return text

    def _by_metric(self, model: str, version: str = RAW) -> dict[str, dict[str, Any]]:
        scores = _scores(self._facts)
        if scores.empty:
            return {}
        part = scores[(scores["model"] == model) & (scores["version"] == version)]
        return {row["metric"]: row for row in part.to_dict("records")}

    def _point(self, model: str) -> Mapping[str, Any] | None:
        """The point of the model's curve whose confidence is nearest to the example."""
        curves = self._facts.results.table("tables/calibration_curves.csv")
        if not {"class", "p"} <= set(curves.columns):
            return None
        part = curves[(curves["model"] == model) & curves["class"].isna() & curves["p"].notna()]
        if part.empty or not part["p"].min() <= EXAMPLE <= part["p"].max():
            return None
        return part.loc[(part["p"] - EXAMPLE).abs().idxmin()].to_dict()

    def pairs(self) -> list[dict[str, Any]]:
        """Rows of the table of pairs."""
        facts = self._facts
        slope = facts.calibration_pairs(RAW)
        if slope.empty:
            return []
        saved, error = (
            facts.calibration_pairs(RAW, measure) for measure in (measures.ROOT.name, "ece")
        )
        corrected = facts.calibration_pairs(CORRECTED, measures.ROOT.name)
        void = facts.uncalibrated(slope)
        rows = []
        for loss, row in slope.iterrows():
            remark = "" if pd.isna(row["reason"]) else str(row["reason"])
            remark = "left out: a run tells no classes apart" if loss in void else remark
            rows.append(
                {
                    "loss": loss,
                    "plain": row["plain"],
                    "slope": _difference(row),
                    "slope_p": Cell(facts.p(row["p_adjusted"])),
                    "saved": _difference(saved.loc[loss]),
                    "saved_p": Cell(facts.p(saved.loc[loss]["p_adjusted"])),
                    "corrected": _difference(corrected.loc[loss])
                    if loss in corrected.index
                    else None,
                    "ece": signed(error.loc[loss]["difference"]),
                    "remark": remark,
                }
            )
        return rows

    def tests(self) -> int:
        """Over how many objectives the corrections go."""
        pairs = _counted(self._facts)
        return _tests(pairs) if len(pairs) else 0

    def models(self) -> list[dict[str, Any]]:
        """Rows of the table of all models, the slope nearest to 1 first."""
        facts, rows = self._facts, []
        for model in [*facts.singles, *facts.ensembles, *facts.seed_ensembles]:
            scores = self._by_metric(model)
            row: dict[str, Any] = {"model": model, "order": math.inf}
            for name in (
                measures.SLOPE.name,
                measures.OVERCONFIDENCE.name,
                measures.DEBIASED.name,
                "log_loss",
                "brier",
            ):
                row[name] = _cell(scores.get(name), signed if "over" in name else number)
            for name in (measures.MISCALIBRATION.name, "ece"):
                row[name] = _against(scores.get(name))
            for version in VERSIONS:
                row[version] = _against(self._by_metric(model, version).get("ece"))
            slope = scores.get(measures.SLOPE.name, {}).get("value", math.nan)
            if slope > 0:
                row["order"] = abs(math.log(slope))
            rows.append(row)
        return sorted(rows, key=lambda row: row["order"])

    def columns(self) -> dict[str, str]:
        """Those of the table of all models."""
        return {
            "model": "Model",
            measures.SLOPE.name: "Slope (1 is perfect)",
            measures.OVERCONFIDENCE.name: "Confidence minus accuracy",
            "ece": "ECE (if perfect: mean, 95%)",
            measures.DEBIASED.name: "Error without bias",
            measures.MISCALIBRATION.name: "Log loss saved (if perfect: mean, 95%)",
            "log_loss": "Log loss",
            "brier": "Brier",
        } | {version: label for version, label in VERSIONS.items() if self._has(version)}

    def _has(self, version: str) -> bool:
        scores = _scores(self._facts)
        return not scores.empty and bool((scores["version"] == version).any())

    def of_classes(self) -> list[dict[str, Any]]:
        """Rows of the table of the classes, for the models that the answer speaks of."""
        facts, rows = self._facts, []
        names = [facts.chosen("single"), facts.chosen("ensemble"), facts.baseline]
        for model in dict.fromkeys(name for name in names if name):
            scores = self._by_metric(model)
            for label in facts.classes:
                row = {m.name: scores.get(m.of(label)) for m in measures.OF_CLASS}
                if any(row.values()):
                    cells = {name: _cell(found, signed) for name, found in row.items()}
                    slope = measures.CLASS_SLOPE.name
                    cells[slope] = _cell(row[slope], number)
                    rows.append({"model": model, "class": label, **cells})
        return rows

    def parts(self) -> list[dict[str, Any]]:
        """Rows of the table of the Brier score's parts."""
        facts = self._facts
        names = ["brier", *shown(BRIER)]
        return [
            {"model": model} | {name: value_cell(facts.value(model, name)) for name in names}
            for model in [*facts.singles, *facts.ensembles, *facts.seed_ensembles]
        ]

    def part_columns(self) -> dict[str, str]:
        return {"model": "Model"} | {n: METRICS[n].title for n in ("brier", *shown(BRIER))}

    def shares(self) -> str:
        """What of the class shares moves calibration in this study."""
        if self._facts.config["classification"]["class_weights"] == "none":
            text = (
                "Besides the loss, class shares move calibration: probabilities are tilted towards "
                "the classes that are more frequent in training than in the test split."
            )
        else:
            text = (
                "Two things besides the loss can move calibration. Class weights make rare classes "
                "count more in training, so probabilities are tilted towards them by design. And "
                "the class shares of the test split may differ from those that training saw."
            )
        return text + (
            " They move the intercepts, not the common slope, which is why the slope answers. "
            "Other values that are corrected for the class shares stand beside the raw ones; the "
            "correction uses the test split's own shares, so it describes and is no result."
        )

    def caveats(self) -> str:
        """That what some ensemble methods give are no probabilities."""
        return method_caveats(self._facts, self._facts.ensembles)


def method_caveats(facts: Facts, models: Iterable[str]) -> str:
    """That what some ensemble methods give are no probabilities, where these models use them."""
    used = {facts.planned[name].method for name in models if name in facts.planned}
    return "".join(
        f" What {method.title} gives are {method.caveat}: log loss, Brier score and calibration "
        "errors of such a model are not those of a model with probabilities."
        for name, method in ensemble_methods().items()
        if name in used and method.caveat
    )


def _estimate(row: Mapping[str, Any], key: str = "value") -> Estimate:
    return Estimate(row[key], row["ci_low"], row["ci_high"])


def _cell(row: Mapping[str, Any] | None, show: Any) -> Cell | None:
    return None if row is None else value_cell(_estimate(row), show=show)


def _against(row: Mapping[str, Any] | None) -> Cell | None:
    """A value beside what perfect calibration would show: 0.124 (0.134, 0.178), above in bold."""
    if row is None or pd.isna(row["value"]):
        return None
    text = Markup.escape(number(row["value"]))
    if not pd.isna(row["expected"]):
        pair = f"{number(row['expected'])}, {number(row['expected_p95'])}"
        mark = Markup("<strong>{}</strong>") if row["range"] == ABOVE else Markup("{}")
        text = mark.format(text) + Markup(' <span class="ci">({})</span>').format(pair)
    return Cell(text, f"{row['value']:.10g}")


def _difference(row: Mapping[str, Any]) -> Cell:
    return value_cell(_estimate(row, "difference"), show=signed)
