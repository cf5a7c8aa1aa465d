"""The answer of the study in sentences, each computed from the tables."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from multiloss.evaluation import families
from multiloss.methods import ensemble_methods
from multiloss.report import faults
from multiloss.report.blocks import (
    Block,
    Bullets,
    Column,
    Heading,
    Note,
    Section,
    code,
    interval,
    is_true,
    listed,
    metric_columns,
    number,
    plural,
    signed,
    table,
    value_cell,
)
from multiloss.report.facts import (
    BEST_MEMBER,
    BEST_SINGLE,
    HIGH,
    NEAR_ONE,
    SEED_ENSEMBLE,
    SMALL_SPLIT,
    Comparison,
    Estimate,
    Facts,
    percent,
)
from multiloss.statistics.crossed import ENOUGH_SEEDS
from multiloss.statistics.metrics import CLASS_METRICS, METRICS


@dataclass
class Answer:
    """The verdict in a few sentences, the evidence behind it, and what limits it.

    `faults`: what models that tell no classes apart did; it stands before all else.
    """

    faults: list[Markup] = field(default_factory=list)
    short: list[Markup] = field(default_factory=list)
    headline: list[Markup] = field(default_factory=list)
    loss: list[Markup] = field(default_factory=list)
    ensemble: list[Markup] = field(default_factory=list)
    calibration: list[Markup] = field(default_factory=list)
    certainty: list[Markup] = field(default_factory=list)
    caveats: list[Markup] = field(default_factory=list)


def listed_codes(names: list[str]) -> Markup:
    """'a, b and c', each as a name that the machine knows."""
    return Markup(listed([code(name) for name in names]))


def with_interval(found: Estimate, facts: Facts) -> Markup:
    """'0.812 (95% interval 0.774 to 0.850)'."""
    ends = interval(found.low, found.high)
    note = f" ({facts.confidence} interval {ends})" if ends else ""
    return Markup("{}{}").format(number(found.value), note)


def scored(model: str, facts: Facts) -> Markup:
    """'a test MCC of 0.812 (95% interval ...)', or that it has none and what the model did."""
    found, value = facts.degenerate().get(model), facts.value(model)
    if math.isnan(value.value):
        did = f", since it {faults.phrase(found)}" if found and found.dominant else ""
        return Markup("a test MCC that is not defined and counts as 0{}").format(did)
    text = Markup("a test MCC of {}").format(with_interval(value, facts))
    return text + (f" (it {faults.phrase(found)})" if found else "")


def difference_text(test: Comparison, facts: Facts) -> Markup:
    """'+0.012 (95% interval -0.020 to +0.041; p 0.46, 1.000 after Holm over 12 tests)'."""
    ends = interval(test.low, test.high)
    parts = [f"{facts.confidence} interval {ends}"] if ends else []
    over = f" over {plural(test.tests, 'test')}" if test.tests else ""
    parts.append(f"p {facts.p(test.p_value)}, {facts.p(test.p_adjusted)} after Holm{over}")
    return Markup("{} ({})").format(signed(test.difference), "; ".join(parts))


def answer(facts: Facts) -> Answer:
    """Which loss, which ensemble, how sure, against what, and with what caveats."""
    result = Answer(faults.lines(facts))
    if not facts.singles:
        result.headline.append(
            Markup("This study has no evaluated models yet, so it has no answer.")
        )
        return result
    _loss(facts, result)
    _ensemble(facts, result)
    calibrated = calibration_text(facts)
    if calibrated is not None:
        differences = _calibration_differences(facts)
        result.calibration += [Markup.escape(calibrated), *([differences] if differences else [])]
    _certainty(facts, result)
    _caveats(facts, result)
    return result


def method_caveats(facts: Facts, models: Iterable[str]) -> str:
    """That what some ensemble methods give are no probabilities, where these models use them."""
    used = {facts.planned[name].method for name in models if name in facts.planned}
    return "".join(
        f" What {method.title} gives are {method.caveat}: log loss, Brier score and calibration "
        "errors of such a model are not those of a model with probabilities."
        for name, method in ensemble_methods().items()
        if name in used and method.caveat
    )


def _chosen(what: str, model: str, facts: Facts) -> Markup:
    """'The ensemble chosen on the ensemble split is ..., with ...', and if it is no good there."""
    text = Markup("The {} chosen on the ensemble split is {}, with {}.").format(
        what, code(model), scored(model, facts)
    )
    there = facts.degenerate("ensemble").get(model)
    if there is not None:
        text += Markup(" It was chosen although on that split it {}.").format(
            faults.phrase(there, "images")
        )
    return text


def _loss(facts: Facts, result: Answer) -> None:
    chosen = facts.chosen("single") or facts.singles[0]
    loss = facts.family(chosen)
    baseline = code(facts.baseline_loss)
    if facts.crossed:
        tests = facts.crossed
        over = f", over {facts.replicates} seeds, counting both seeds and {facts.unit}s as chance"
    else:
        tests = facts.against_baseline([name for name in facts.singles if name != facts.baseline])
        over = ""
    own = {facts.family(test.a): test for test in tests}.get(loss)
    head = _chosen("single model", chosen, facts)
    if not facts.runs(facts.baseline_loss):
        head += Markup(" It was compared with no baseline: {} has no results.").format(baseline)
        result.headline.append(head)
        result.short.append(
            Markup("no loss could be compared with the baseline {}, which has no results").format(
                baseline
            )
        )
        return
    if loss == facts.baseline_loss:
        head += Markup(" Its loss is the baseline {} itself.").format(baseline)
    elif facts.is_same_objective(loss, facts.baseline_loss):
        head += Markup(
            " Its loss {} is the same objective as the baseline {}, so they differ by the training "
            "run alone."
        ).format(code(loss), baseline)
    elif own is None:
        head += Markup(" Its loss was not tested against the baseline {}.").format(baseline)
    elif not facts.tells(own):
        head += Markup(
            " Neither it nor the baseline {} tells the classes apart, so they were not compared."
        ).format(baseline)
    elif own.verdict == "open":
        head += Markup(" Its loss {} is not shown to differ from the baseline {}{}: {}.").format(
            code(loss), baseline, over, difference_text(own, facts)
        )
    else:
        whose = ("Its loss", "the baseline") if facts.crossed else ("This run of", "the run of")
        head += Markup(" {} {} is {} than {} {}{}: {}.").format(
            whose[0], code(loss), own.verdict, whose[1], baseline, over, difference_text(own, facts)
        )
    result.headline.append(head)
    others = [
        test
        for test in tests
        if not facts.is_same_objective(facts.family(test.a), facts.baseline_loss)
    ]
    if facts.replicates > 1 and not facts.crossed and others:
        result.loss.append(
            Markup(
                "The losses' means over the seeds could not be compared, since a run of the "
                "baseline {} has no MCC; single runs are compared instead."
            ).format(baseline)
        )
    _losses(facts, result, others, over)
    top = facts.singles[0]
    if facts.value(top).value <= 0 or math.isnan(facts.value(top).value):
        result.loss.append(Markup("No single model has a test MCC above 0, which is chance."))
    elif top != chosen:
        result.loss.append(
            Markup(
                "The highest MCC of a single model on the test split is that of {}, {}; it is "
                "named for completeness only, since a choice made on the test split flatters."
            ).format(code(top), number(facts.value(top).value))
        )


def _losses(facts: Facts, result: Answer, tests: list[Comparison], over: str) -> None:
    """What the tests of the other losses against the baseline say together."""
    told = [test for test in tests if facts.tells(test)]
    baseline = code(facts.baseline_loss)
    idle = facts.collapsed(facts.baseline_loss)
    if idle:
        result.loss.append(
            Markup(
                "The baseline {} itself tells no classes apart on the test split: to do better "
                "than it is no merit of a loss."
            ).format(baseline)
        )
    if len(told) < len(tests):
        result.loss.append(
            Markup("Not compared, since neither model tells the classes apart: {}.").format(
                listed_codes([t.a for t in tests if not facts.tells(t)])
            )
        )
    if not told:
        return
    # Single runs cannot stand for their losses.
    runs = "" if facts.crossed else "the run of "
    names = [test.a for test in told]
    better = sorted({n for n, t in zip(names, told, strict=True) if t.verdict == "better"})
    worse = sorted({n for n, t in zip(names, told, strict=True) if t.verdict == "worse"})
    if better:
        result.short.append(
            Markup("{} shown to be better than {}the baseline {}{}").format(
                _codes(better, "is", "are"),
                runs,
                baseline,
                ", which itself tells no classes apart" if idle else "",
            )
        )
    else:
        result.short.append(
            Markup("No loss is shown to be better than the baseline {}").format(baseline)
        )
    counts = Markup("Of {} of {} with {}{} (test MCC, paired, Holm-corrected{}), ").format(
        plural(len(told), "comparison"),
        "one run of another loss" if runs else "another loss",
        runs,
        baseline,
        over,
    )
    said = [
        Markup("{} {}").format(_codes(group, "is", "are"), word)
        for group, word in ((better, "better"), (worse, "worse"))
        if group
    ]
    if said:
        counts += Markup("{}; no other is shown to differ.").format(Markup(" and ").join(said))
        if runs:
            counts += Markup(" That is said of these runs: another seed may differ as much.")
    else:
        counts += Markup("none rejects: no loss is shown to be better or worse than {}.").format(
            baseline
        )
    result.loss.append(counts)


def _codes(names: list[str], one: str, many: str) -> Markup:
    return Markup("{} {}").format(listed_codes(names), one if len(names) == 1 else many)


# What an ensemble is, by the kind of its members: one, many.
ENSEMBLES = {
    "losses": ("ensemble of different losses", "ensembles of different losses"),
    "ensembles": ("average of ensembles", "averages of ensembles"),
    "seeds": ("average of seeds of one loss", "averages of seeds of one loss"),
}


def _ensemble(facts: Facts, result: Answer) -> None:
    if not facts.ensembles:
        result.ensemble.append(Markup("This study builds no ensembles."))
        return
    chosen = facts.chosen("ensemble") or facts.ensembles[0]
    member = facts.best_member(chosen)
    test = facts.compare(chosen, member, BEST_MEMBER)
    head = _chosen("ensemble", chosen, facts) + Markup(" ")
    if test is None or math.isnan(test.difference):
        head += Markup("It was not tested against its best member, so no gain is claimed.")
    elif not facts.tells(test):
        head += Markup(
            "Neither it nor its best member {} tells the classes apart, so no gain is claimed."
        ).format(code(str(member)))
    else:
        claim = {
            "better": Markup("It is better than its best member {}: {}."),
            "worse": Markup("It is worse than its best member {}: {}."),
            "open": Markup("It is not shown to be better than its best member {}: {}."),
        }[test.verdict]
        head += claim.format(code(str(member)), difference_text(test, facts))
    single = next(
        (
            found
            for name in facts.singles
            if (found := facts.compare(chosen, name, BEST_SINGLE)) is not None
        ),
        None,
    )
    if single is not None and facts.tells(single):
        claim = "is not shown to differ from" if single.verdict == "open" else "is {} than"
        head += Markup(" Its members are ensembles; it {} the best single model {}: {}.").format(
            claim.format(single.verdict), code(single.b), difference_text(single, facts)
        )
    result.headline.append(head)
    for level, (one, many) in ENSEMBLES.items():
        tests = [t for t in facts.against_best_member() if facts.level(t.a) == level]
        told = [t for t in tests if facts.tells(t)]
        if not told:
            continue
        better = [t.a for t in told if t.verdict == "better"]
        worse = [t.a for t in told if t.verdict == "worse"]
        if level == "losses":
            result.short.append(
                Markup("{} of {} {} shown to be better than {} best member").format(
                    len(better) or "none",
                    plural(len(told), one, many),
                    *(("is", "its") if len(better) < 2 else ("are", "their")),
                )
            )
        if len(told) == 1:
            verdict = {
                "better": "is better",
                "worse": "is worse",
                "open": "is not shown to be better",
            }
            text = Markup("{}, the {}, {} than its best member {}: {}").format(
                code(told[0].a),
                f"one {one}" if len(tests) == 1 else f"{one} that can be compared",
                verdict[told[0].verdict],
                code(told[0].b),
                difference_text(told[0], facts),
            )
        else:
            text = Markup("Of {} tested against their best member, {} better{}").format(
                plural(len(told), one, many),
                _codes(better, "is", "are") if better else "none is shown to be",
                Markup(" and {} worse").format(_codes(worse, "is", "are")) if worse else "",
            )
        if len(told) < len(tests):
            text += Markup(" ({} left out, since it and its member tell no classes apart)").format(
                plural(len(tests) - len(told), "more was", "more were")
            )
        result.ensemble.append(text + Markup("."))
    seeds = _as_many_seeds(facts, chosen)
    if seeds is not None:
        result.ensemble.append(
            _seeds_text(seeds, facts.compare(chosen, seeds, SEED_ENSEMBLE), facts)
        )
    overall = facts.chosen("overall")
    if overall is not None:
        rows = facts.chosen_table
        rule = rows.loc[rows["what"] == "overall"].get("rule", pd.Series(dtype=str)).dropna()
        note = f": {rule.iloc[0]}" if len(rule) else ""
        result.ensemble.append(
            Markup(
                "Of single models and ensembles together, {} was chosen on the ensemble split{}."
            ).format(code(overall), note)
        )


def _as_many_seeds(facts: Facts, chosen: str | None) -> str | None:
    """Of the ensembles of seeds, the one of as many models as the chosen ensemble, or any."""
    return min(
        sorted(facts.seed_ensembles),
        key=lambda name: facts.compare(chosen, name, SEED_ENSEMBLE) is None,
        default=None,
    )


def _repeated_loss(facts: Facts, seeds: str) -> str:
    """The variant whose seeds an ensemble averages."""
    return str(facts.planned[seeds].variant) if seeds in facts.planned else facts.baseline_loss


def _averaged(facts: Facts, seeds: str | None) -> str:
    if seeds is None:
        return ""
    loss = _repeated_loss(facts, seeds)
    return f"seeds of {'the baseline' if loss == facts.baseline_loss else loss}, averaged"


def _seeds_text(seeds: str, against: Comparison | None, facts: Facts) -> Markup:
    """What the same compute reaches with one loss alone, and how far its runs lie apart."""
    loss = _repeated_loss(facts, seeds)
    text = Markup(
        "For the same compute one can train {} several times: the average of its seeds, {}, has {}"
    ).format(code(loss), code(seeds), scored(seeds, facts))
    if against is not None and facts.tells(against):
        text += Markup("; the chosen ensemble differs from it by {}").format(
            difference_text(against, facts)
        )
    values = facts.seed_values
    if len(values) > 1 and max(values) <= 0:
        text += Markup(". Alone, none of its {} has one above 0, which is chance").format(
            facts.seeds_told
        )
    elif len(values) > 1:
        text += Markup(
            ". Alone, its {} have a test MCC of {} to {}: so far apart lie models that differ by "
            "nothing but luck"
        ).format(
            facts.seeds_told,
            number(min(values)),
            number(max(values)),
        )
    return text + Markup(".")


def calibration_text(facts: Facts) -> str | None:
    """Whether the calibrated losses are better calibrated; None where none can be compared."""
    every, corrected = facts.calibration_pairs("raw"), facts.calibration_pairs("prior_corrected")
    if every.empty:
        return None
    # A model that names one class can look calibrated: its confidence is that class's share.
    void = facts.uncalibrated(every)
    raw = every.drop(index=void)
    corrected = corrected.drop(index=void, errors="ignore")
    size = f"ECE on the test split, n = {facts.size('test')}, paired over {facts.unit}s"
    size += " and seeds" if facts.replicates > 1 else ", one run of each loss"
    size += f", Holm-corrected over the {len(every)}" if len(every) > 1 else ""
    left = (
        f" Left out: {listed(void)}, since a run of "
        f"{'it' if len(void) == 1 else 'each'} or of its plain form tells no classes apart."
        if void
        else ""
    )
    if raw.empty:
        return f"That cannot be told ({size}).{left}"
    rejects = raw["reject"].map(is_true)
    names = list(raw.index[rejects & (raw["difference"] < 0)])
    helps = len(names)
    harms = int((rejects & (raw["difference"] > 0)).sum())
    losses = plural(len(raw), "calibrated loss", "calibrated losses")
    if helps == len(raw):
        text = f"Yes: all {losses} are" if helps > 1 else "Yes: the one calibrated loss is"
        text += " shown to have a lower calibration error"
    elif helps:
        text = f"In part: {helps} of {losses} {'is' if helps == 1 else 'are'}"
        text += f" shown to have a lower calibration error, {listed(names)}"
    else:
        text = "That is not shown for "
        text += f"any of {losses}" if len(raw) > 1 else "the one calibrated loss"
    if harms:
        text += f"; {harms} {'is' if harms == 1 else 'are'} shown to have a higher one"
    text += f" ({size}).{left}"
    if len(corrected):
        below = int((corrected["ci_high"] < 0).sum())
        above = int((corrected["ci_low"] > 0).sum())
        text += (
            " With probabilities corrected for the class shares the interval of the difference "
            f"lies below 0 for {below} and above 0 for {above} of {len(corrected)}."
        )
    return text


def _calibration_differences(facts: Facts) -> Markup | None:
    """Differences in ECE of the pairs that tell classes apart, raw and with shares corrected."""
    raw, corrected = facts.calibration_pairs("raw"), facts.calibration_pairs("prior_corrected")
    raw = raw.drop(index=facts.uncalibrated(raw))
    said = []
    for loss, row in raw.iterrows():
        text = Markup("{} minus {} {}").format(code(loss), code(row["plain"]), _ends(row))
        if loss in corrected.index:
            text += Markup(", corrected {}").format(_ends(corrected.loc[loss]))
        said.append(text)
    if not said:
        return None
    return Markup(
        "Differences in ECE with {} intervals, and with class shares corrected: {}."
    ).format(facts.confidence, Markup("; ").join(said))


def _ends(row: pd.Series) -> str:
    ends = interval(row["ci_low"], row["ci_high"])
    return signed(row["difference"]) + (f" ({ends})" if ends else "")


def _noise_floor(facts: Facts) -> Markup | None:
    """How far models of one objective differ, and how many losses differ by more than that."""
    if facts.crossed_floor:
        pairs, tests = facts.crossed_floor, facts.crossed
        over = f" (means over {facts.replicates} seeds)"
    else:
        pairs, over = facts.noise_floor(), ""
        tests = facts.against_baseline(facts.singles)
    if not pairs:
        return None
    baseline = facts.baseline_loss
    tests = [
        t
        for t in tests
        if facts.tells(t) and not facts.is_same_objective(facts.family(t.a), baseline)
    ]
    largest = max(abs(test.difference) for test in pairs)
    said = [
        Markup("{} minus {}: {}").format(code(test.a), code(test.b), _floor_text(test, facts))
        for test in pairs[:4]
    ]
    text = Markup(
        "Noise floor: models of one objective under two names differ by the training run alone. "
        "Their differences in test MCC{} are {}{}. "
    ).format(over, Markup("; ").join(said), f" and {len(pairs) - 4} more" if len(pairs) > 4 else "")
    if not tests:
        return text
    within = sum(abs(test.difference) <= largest for test in tests)
    whose = Markup("the {} between another loss and {}").format(
        plural(len(tests), "difference"), code(baseline)
    )
    if within:
        text += Markup(
            "{} of {} {} no larger than the largest of these ({}): that much the training run "
            "alone can do."
        ).format(within, whose, "is" if within == 1 else "are", number(largest))
    else:
        text += Markup(
            "Of {} each is larger in size than the largest of these ({}); from {} that is a rough "
            "guide, not a test."
        ).format(whose, number(largest), plural(len(pairs), "difference"))
    values = facts.seed_values
    if len(values) > 1 and not over:
        width = max(values) - min(values)
        text += Markup(
            " Another measure of the same luck: the {} seeds of {} lie up to {} apart, and {} of "
            "these differences {} no larger than that."
        ).format(
            len(values),
            code(facts.study.repeated),
            number(width),
            (within := sum(abs(test.difference) <= width for test in tests)),
            "is" if within == 1 else "are",
        )
    return text


def _floor_text(test: Comparison, facts: Facts) -> str:
    ends = interval(test.low, test.high)
    return signed(test.difference) + (f" ({facts.confidence} interval {ends})" if ends else "")


def _lower_first(text: Markup) -> Markup:
    return Markup(text[:1].lower() + text[1:]) if not text.startswith("<") else text


# Of more tests that reject than this the first are named.
TESTS_NAMED = 8


def _tests(facts: Facts) -> Markup | None:
    """How many primary tests reject, and which others do."""
    primary = facts.made[facts.made.index.isin(facts.primary.index)]
    if primary.empty:
        return None
    rejecting = int(primary["reject"].map(is_true).sum())
    others = facts.secondary
    hits = others[others["reject"].map(is_true)].sort_values("p_adjusted", kind="stable")
    # Two models that tell nothing apart may differ, say in calibration, but no loss deserves it.
    idle = [
        facts.collapsed(row["model_a"]) and facts.collapsed(str(row["model_b"]))
        for row in hits.to_dict("records")
    ]
    told = hits[[not own for own in idle]]
    text = Markup("Of {} (permutation by {}, MCC) {} {} after Holm correction").format(
        plural(len(primary), "primary test"),
        facts.unit,
        rejecting or "none",
        "rejects" if rejecting < 2 else "reject",
    )
    if rejecting:
        counts = primary.loc[primary["reject"].map(is_true), "family"].value_counts(sort=False)
        said = [f"{families.label(name, facts.unit)}: {n}" for name, n in counts.items()]
        text += Markup(" ({})").format("; ".join(said))
    text += Markup("; of the {} on other metrics or of other kinds {} {}").format(
        plural(len(others), "secondary test"),
        len(hits) or "none",
        "does" if len(hits) < 2 else "do",
    )
    if any(idle):
        text += Markup(" ({} of two models that do not tell the classes apart)").format(sum(idle))
    if told.empty:
        return text + Markup(".")
    found_by: dict[tuple[str, str], list[str]] = {}
    for row in told.head(TESTS_NAMED).to_dict("records"):
        other = "" if pd.isna(row["model_b"]) else row["model_b"]
        kind = families.test_label(row["test"])
        found = f"{facts.metric(row['metric']).title}, {kind}: p {facts.p(row['p_adjusted'])}"
        found_by.setdefault((row["model_a"], other), []).append(found)
    listing = [
        (Markup("{} against {} ({})") if b else Markup("{}{} ({})")).format(
            code(a), code(b) if b else "", "; ".join(found)
        )
        for (a, b), found in found_by.items()
    ]
    more = len(told) - TESTS_NAMED
    if more > 0:
        listing.append(Markup("{} more").format(more))
    return text + Markup(": {}. Where the primary test does not reject, these are hints.").format(
        Markup(listed(listing))
    )


def _rank(facts: Facts) -> Markup | None:
    """Between which ranks the chosen single model may lie by the tests of all pairs."""
    found = facts.ranking(facts.chosen("single") or next(iter(facts.singles), None))
    if found is None:
        return None
    single = found.first == found.last
    text = Markup(
        "By tests of all {} ({}s resampled, Holm-corrected), {} {} {} of {} by MCC"
    ).format(
        plural(found.pairs, "pair"),
        facts.unit,
        code(found.model),
        "ranks" if single else "may rank from",
        found.first if single else f"{found.first} to {found.last}",
        plural(found.models, "single model")
        + (" of its replicate" if facts.replicates > 1 else ""),
    )
    if (found.first, found.last) == (1, found.models):
        text += Markup(": the test split does not tell its rank")
    return text + Markup(". That is said of these training runs.")


def _certainty(facts: Facts, result: Answer) -> None:
    result.certainty.append(
        Markup(
            "The test split has {}, in {}; in this run it was used once, after all choices."
        ).format(
            facts.size("test"),
            plural(len(facts.classes), "class", "classes"),
        )
    )
    tests = _tests(facts)
    if tests is not None:
        result.certainty.append(tests)
    rank = _rank(facts)
    if rank is not None:
        result.certainty.append(rank)
    floor = _noise_floor(facts)
    if floor is not None:
        result.certainty.append(floor)
    spread = facts.seed_spread()
    if spread is not None:
        text = Markup(
            "Between seeds of one loss the test MCC has a standard deviation of {}; between the "
            "losses, after taking that out, one of {} (ratio {}){}."
        ).format(
            number(spread.seed),
            number(spread.loss),
            number(spread.ratio, 2),
            ": as estimated here, which seed was drawn matters more than which loss"
            if spread.seed > spread.loss
            else "",
        )
        text += Markup(" Both are estimates without an interval.")
        if spread.warning:
            text += Markup(" The table warns: {}.").format(spread.warning)
        result.certainty.append(text)


def _caveats(facts: Facts, result: Answer) -> None:
    say = result.caveats.append
    if facts.phantom:
        say(
            Markup(
                "<strong>Phantom images are not patients.</strong> {} classified images come from "
                "a generator. The numbers show that the workflow works; they say nothing about "
                "which loss is better on radiographs."
            ).format("The" if facts.generated else "Some of the")
        )
    unknown = facts.unknown()
    if unknown:
        say(
            Markup(
                "<strong>{}</strong> {} taken as independent of all others: intervals and p values "
                "may be too narrow and too small, and one patient may be in several splits."
            ).format(
                "Patients are unknown."
                if unknown == 1
                else f"The patient of {percent(unknown)} of the images is unknown.",
                "Images were" if unknown == 1 else "Such an image was",
            )
        )
    if facts.missing_models:
        say(
            Markup(
                "<strong>The study has gaps.</strong> {} without results: {}. Choices were made "
                "among the others."
            ).format(
                plural(len(facts.missing_models), "model is", "models are"),
                listed_codes(facts.missing_models),
            )
        )
    if facts.replicates == 1:
        ideas = ["the noise floor"] if facts.noise_floor() else []
        ideas += ["the range of the seeds of one loss"] if len(facts.seed_values) > 1 else []
        idea = "nothing in this study tells by how much"
        if ideas:
            idea = f"{listed(ideas)} {'gives' if len(ideas) == 1 else 'give'} an idea of how much"
        say(
            Markup(
                "Each loss was trained once. What differs between two losses may be the training "
                "run, not the loss; {}."
            ).format(idea)
        )
    elif facts.replicates < ENOUGH_SEEDS:
        say(
            Markup(
                "Each loss was trained with {} seeds only; fewer than {} give a poor estimate of "
                "the run-to-run spread."
            ).format(facts.replicates, ENOUGH_SEEDS)
        )
    if facts.images("test") < SMALL_SPLIT:
        say(
            Markup(
                "With {} in the test split, intervals are wide: a difference that is not shown "
                "may still be there."
            ).format(facts.size("test"))
        )
    tests = facts.significance
    if "family" in tests.columns and len(tests):
        tests = tests[tests["p_value"].notna()]
        say(
            Markup(
                "{} were made, in {} (Holm correction within each). The correction does not "
                "reach across families, metrics or other tests of this page."
            ).format(
                plural(len(tests), "test"),
                plural(tests["family"].nunique(), "family", "families"),
            )
        )
    high = {
        metric: [name for name in facts.singles + facts.ensembles
                 if facts.value(name, metric).value >= HIGH]
        for base in NEAR_ONE
        for metric in ([base, *map(CLASS_METRICS[base].of, facts.classes)]
                       if base == "auroc" else [base])
    }  # fmt: skip
    high = {metric: names for metric, names in high.items() if names}
    if high:
        counts = [
            f"{facts.metric(metric).title} for {plural(len(names), 'model')}"
            for metric, names in high.items()
        ]
        say(
            Markup(
                "<strong>Some scores are close to 1</strong> ({} or more on the test split: {}). "
                "Their intervals are known to be too narrow: they cover the truth less often than "
                "{} of the time."
            ).format(HIGH, "; ".join(counts), facts.confidence)
        )
    if len(facts.losses) > 1:
        say(
            Markup(
                "This is one data set. Whether a loss is better in general takes several, each of "
                "which would count as one observation."
            )
        )
    where = "Nothing here was tested on images from another hospital or device; performance there"
    if facts.shipped_test and not facts.generated:
        where = (
            "Whether the test images are from other hospitals or devices than the others, the "
            "workflow does not know; performance elsewhere"
        )
    say(Markup("{} is unknown, and no model of this study is fit for clinical use.").format(where))


KEY_METRICS = ("mcc", "accuracy", "auroc", "log_loss", "ece")


def section(facts: Facts) -> Section:
    """The first section of the page."""
    found = answer(facts)
    blocks: list[Block] = [Note(line, "warning") for line in found.faults]
    if found.short:
        over = " on generated images" if facts.generated else ""
        over = " on images of which some are generated" if facts.phantom and not over else over
        said = Markup(", and ").join(found.short)
        blocks.append(
            Note(
                Markup("<strong>In short: {} (test MCC{}, {}).</strong>").format(
                    _lower_first(said), over, facts.size("test")
                ),
                "verdict",
            )
        )
    blocks += [Note(paragraph, "verdict") for paragraph in found.headline]
    for title, paragraphs in (
        ("Which loss?", found.loss),
        ("Which ensemble?", found.ensemble),
        ("Are the calibrated losses better calibrated?", found.calibration),
        ("How sure is that?", found.certainty),
    ):
        if paragraphs:
            blocks += [Heading(title), Bullets(list(paragraphs))]
    roles: dict[str, list[str]] = {}
    chosen = facts.chosen("ensemble")
    seeds = _as_many_seeds(facts, chosen)
    for role, model in (
        ("baseline", facts.baseline),
        ("chosen single model", facts.chosen("single")),
        ("best member of the chosen ensemble", facts.best_member(chosen) if chosen else None),
        ("chosen ensemble", chosen),
        (_averaged(facts, seeds), seeds),
    ):
        if model and facts.runs(model):
            roles.setdefault(model, []).append(role)
    rows = [
        {
            "role": listed(said),
            "model": model,
            **{metric: value_cell(facts.value(model, metric)) for metric in KEY_METRICS},
        }
        for model, said in roles.items()
    ]
    if rows:
        columns = [Column("role", "Role"), Column("model", "Model", code=True, model=True)]
        columns += metric_columns(METRICS[name] for name in KEY_METRICS)
        blocks.append(
            table(
                "key",
                "The models that the answer speaks of",
                f"Metrics on the test split (n = {facts.size('test')}) with {facts.confidence} "
                f"intervals from resampling {facts.unit}s. MCC, accuracy and AUROC are better when "
                "larger; log loss and calibration error (ECE) when smaller. Overlapping intervals "
                "do not mean that two models are equal: they saw the same images, so the paired "
                "tests decide." + method_caveats(facts, roles),
                pd.DataFrame(rows),
                columns,
                source="tables/metrics.csv",
            )
        )
    if found.caveats:
        blocks += [Heading("What to keep in mind"), Bullets(list(found.caveats))]
    return Section("answer", "The answer", blocks)
