"""The answer of the study in sentences, each computed from the tables."""

import math
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from multiloss.evaluation import families
from multiloss.report import calibration, faults
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
    SEED_ENSEMBLE,
    Comparison,
    Estimate,
    Facts,
    PrimaryFamily,
    percent,
)
from multiloss.statistics.crossed import ENOUGH_SEEDS
from multiloss.statistics.metrics import METRICS


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
    """'+0.012 (95% interval -0.020 to +0.041; p 0.46, 1.000 corrected for 11 hypotheses, Holm)'."""
    ends = interval(test.low, test.high)
    parts = [f"{facts.confidence} interval {ends}"] if ends else []
    parts.append(f"p {facts.p(test.p_value)}" + _corrected(test, facts))
    return Markup("{} ({})").format(signed(test.difference), "; ".join(parts))


def corrected(test: Comparison | PrimaryFamily) -> str:
    """'corrected for 11 hypotheses by step-down max-T'."""
    over = plural(test.hypotheses, "hypothesis", "hypotheses")
    return f"corrected for {over} by {families.CORRECTIONS[test.correction]}"


def _corrected(test: Comparison, facts: Facts) -> str:
    """', 0.040 corrected for 11 hypotheses by ...'; nothing where there is one alone."""
    if test.hypotheses < 2:
        return ""
    return f", {facts.p(test.p_adjusted)} {corrected(test)}"


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
    result.calibration += calibration.answer(facts)
    _certainty(facts, result)
    _caveats(facts, result)
    return result


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
    own = facts.loss_test(loss)
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
    else:
        head += Markup(" {} {} {} {}{}: {}.").format(
            "Its loss" if own.runs_a > 1 else "This run of",
            code(loss),
            "is not shown to differ from" if own.verdict == "open" else f"is {own.verdict} than",
            _opponent(own, facts),
            _chance(own, facts),
            difference_text(own, facts),
        )
        if not own.seeds:
            head += Markup(" Of the losses themselves one run of each says nothing.")
    result.headline.append(head)
    others = facts.loss_tests
    if facts.replicates > 1 and not facts.crossed and others:
        result.loss.append(
            Markup(
                "The losses' means over the seeds could not be compared, since a run of the "
                "baseline {} has no {}; single runs are compared instead."
            ).format(baseline, facts.metric(facts.tested).title)
        )
    _losses(facts, result, others)
    spread = spread_text(facts)
    if spread is not None:
        result.loss.append(spread)
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


def _opponent(test: Comparison, facts: Facts) -> Markup:
    """What a loss is compared with: 'the baseline cce', 'the 5 runs of the baseline cce'."""
    baseline = Markup("the baseline {}").format(code(facts.baseline_loss))
    if not test.seeds:
        return Markup("the run of {}").format(baseline)
    if test.runs_a > 1:
        return baseline
    return Markup("the {} of {}").format(plural(test.runs_b, "run"), baseline)


def _chance(test: Comparison, facts: Facts) -> str:
    """What a comparison counts as chance beside the patients, after a comma."""
    if not test.seeds:
        return ""
    one = "run" if facts.redrawn else "seed"
    over = f"over {plural(test.runs_a, one)}, " if test.runs_a > 1 else ""
    return f", {over}counting both {facts.run_chance} and {facts.unit}s as chance"


def _losses(facts: Facts, result: Answer, tests: list[Comparison]) -> None:
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
    of_losses = all(test.runs_a > 1 for test in told)
    one, against = told[0], _opponent(told[0], facts)
    better, worse = (
        sorted({test.a for test in told if test.verdict == verdict})
        for verdict in ("better", "worse")
    )
    if better:
        text = Markup("{} shown to be better than {}{}").format(
            _codes(better, "is", "are") if of_losses else _runs_of(better, facts),
            against,
            ", which itself tells no classes apart" if idle else "",
        )
    elif of_losses:
        text = Markup("No loss is shown to be better than {}").format(against)
    else:
        text = Markup("No run of another loss is shown to be better than {}").format(against)
    result.short.append(text)
    counts = Markup("Of {} of {} with {} (test {}, paired{}{}), ").format(
        plural(len(told), "comparison"),
        "another loss" if of_losses else "one run of another loss",
        against,
        facts.metric(facts.tested).title,
        _chance(one, facts),
        f", {corrected(one)}" if one.hypotheses > 1 else "",
    )
    said = [
        Markup("{} {}").format(_codes(group, "is", "are"), word)
        for group, word in ((better, "better"), (worse, "worse"))
        if group
    ]
    what = "loss" if of_losses else "run"
    if said:
        counts += Markup("{}; no other is shown to differ.").format(Markup(" and ").join(said))
        if not one.seeds:
            counts += Markup(" That is said of these runs: another seed may differ as much.")
    else:
        counts += Markup("none rejects: no {} is shown to be better or worse than {}.").format(
            what, against
        )
    result.loss.append(counts)


def _runs_of(names: list[str], facts: Facts) -> Markup:
    """'the run of focal is', of runs or of losses with one run each."""
    runs = "the run" if len(names) == 1 else "the runs"
    losses = listed_codes([facts.family(name) for name in names])
    return Markup("{} of {} {}").format(runs, losses, "is" if len(names) == 1 else "are")


def _codes(names: list[str], one: str, many: str) -> Markup:
    return Markup("{} {}").format(listed_codes(names), one if len(names) == 1 else many)


SHOWN = {"better": "is better", "worse": "is worse", "open": "is not shown to be better"}
# What ensemble_comparisons.csv calls what a kind of ensemble is compared with.
MEMBER, SEEDS = "best_member", "seed_average"
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
    gain = facts.gain(chosen, MEMBER)
    head = _chosen("ensemble", chosen, facts) + Markup(" ")
    if test is None or math.isnan(test.difference):
        head += Markup("It was not tested against its best member, so no gain is claimed.")
    elif not facts.tells(test):
        head += Markup(
            "Neither it nor its best member {} tells the classes apart, so no gain is claimed."
        ).format(code(str(member)))
    elif gain is not None:
        head += Markup("{} {} than its best member{}: {}.").format(
            code(gain.a), SHOWN[gain.verdict], _chance(gain, facts), difference_text(gain, facts)
        )
    else:
        head += Markup("This ensemble {} than its best member {}: {}.").format(
            SHOWN[test.verdict], code(str(member)), difference_text(test, facts)
        )
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
        said = _level(facts, level, one, many)
        if said is None:
            continue
        short, text = said
        if level == "losses":
            result.short.append(short)
        result.ensemble.append(text)
    seeds = _as_many_seeds(facts, chosen)
    if seeds is not None:
        result.ensemble.append(
            _seeds_text(
                seeds,
                facts.gain(chosen, SEEDS) or facts.compare(chosen, seeds, SEED_ENSEMBLE),
                facts,
            )
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


def _level(facts: Facts, level: str, one: str, many: str) -> tuple[Markup, Markup] | None:
    """What the tests of the ensembles of one level against their best members say together."""
    over_seeds = [t for t in facts.gains(MEMBER) if facts.level_of_family(t.a) == level]
    tests = over_seeds or [t for t in facts.against_best_member() if facts.level(t.a) == level]
    told = [t for t in tests if facts.tells(t)]
    if not told:
        return None
    better = [t.a for t in told if t.verdict == "better"]
    worse = [t.a for t in told if t.verdict == "worse"]
    kinds = ("kind of ", "kinds of ") if over_seeds else ("", "")
    one, many = f"{kinds[0]}{one}", f"{kinds[1]}{many}"
    short = Markup("{} of {} {} shown to be better than {} best member").format(
        len(better) or "none",
        plural(len(told), one, many),
        *(("is", "its") if len(better) < 2 else ("are", "their")),
    )
    if len(told) == 1:
        text = Markup("{}, the {}, {} than its best member{}: {}").format(
            code(told[0].a),
            f"one {one}" if len(tests) == 1 else f"{one} that can be compared",
            SHOWN[told[0].verdict],
            Markup("") if told[0].seeds else Markup(" {}").format(code(told[0].b)),
            difference_text(told[0], facts),
        )
    else:
        text = Markup("Of {} tested against their best member{}{}, {} better{}").format(
            plural(len(told), one, many),
            _chance(told[0], facts),
            f" ({corrected(told[0])})",
            _codes(better, "is", "are") if better else "none is shown to be",
            Markup(" and {} worse").format(_codes(worse, "is", "are")) if worse else "",
        )
    if len(told) < len(tests):
        text += Markup(" ({} left out, since it and its member tell no classes apart)").format(
            plural(len(tests) - len(told), "more was", "more were")
        )
    return short, text + Markup(".")


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
        text += Markup("; {} differs from it by {}").format(
            "over the replicates this kind of ensemble" if against.seeds else "the chosen ensemble",
            difference_text(against, facts),
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


def _noise_floor(facts: Facts) -> Markup | None:
    """How far models of one objective differ, and how many losses differ by more than that."""
    if facts.crossed_floor and facts.replicates > 1:
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
    return text


def _floor_text(test: Comparison, facts: Facts) -> str:
    ends = interval(test.low, test.high)
    return signed(test.difference) + (f" ({facts.confidence} interval {ends})" if ends else "")


def _lower_first(text: Markup) -> Markup:
    return Markup(text[:1].lower() + text[1:]) if not text.startswith("<") else text


# What verdicts.csv asks, in words.
DETECTABLE = {"loss": "a loss and the baseline", "ensemble": "an ensemble and its best member"}
# Of more tests that reject than this the first are named.
TESTS_NAMED = 8


def _tests(facts: Facts) -> Markup | None:
    """What the hypotheses that were said beforehand came to, and which other tests reject."""
    primary, others = facts.primary_families, facts.secondary
    if not primary and others.empty:
        return None
    hits = others[others["reject"].map(is_true)].sort_values("p_adjusted", kind="stable")
    # Two models that tell nothing apart may differ, say in calibration, but no loss deserves it.
    idle = [
        facts.collapsed(row["model_a"]) and facts.collapsed(str(row["model_b"]))
        for row in hits.to_dict("records")
    ]
    told = hits[[not own for own in idle]]
    said = [
        "{}: {} ({})".format(
            families.label(family.name, facts.unit), family.rejected or "none", corrected(family)
        )
        for family in primary
    ]
    text = Markup("Tests that were planned as primary and reject at a corrected p of {:g}: {}. ")
    text = text.format(facts.alpha, "; ".join(said) or "none could be made")
    text += Markup("Of the {} {} {}").format(
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
    return text + Markup(": {}. Where no primary test rejects, these are hints.").format(
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
    for question, what in DETECTABLE.items():
        able = facts.detectable(question)
        if able is None:
            continue
        metric = facts.metric(facts.tested).title
        if able[0] > 1:
            result.certainty.append(
                Markup(
                    "No true difference in {} between {} would have been found with a power of "
                    "80%, after correction, however large."
                ).format(metric, what)
            )
            continue
        ends = ["more than 1" if end > 1 else number(end, 2) for end in able]
        result.certainty.append(
            Markup(
                "A true difference in {} between {} would have been found with a power of 80%, "
                "after correction, if it was {} or more. A smaller one may be there all the same."
            ).format(metric, what, ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}")
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


def spread_text(facts: Facts) -> Markup | None:
    """Whether the losses differ more than the seeds of one of them do; None where unknown."""
    spread = facts.spread
    if spread is None or math.isnan(spread.p_value):
        return None
    metric = facts.metric(facts.tested).title
    if facts.replicates > 1:
        one = "run" if facts.redrawn else "seed"
        seeds = f"the {plural(facts.replicates, one)} of one loss, pooled over the losses,"
        losses = f"the means of the {spread.count} losses of different objectives"
    else:
        seeds = Markup("the {} runs of {}").format(spread.df + 1, code(facts.study.repeated))
        losses = f"the runs of the {spread.count} losses of different objectives"
    text = Markup(
        "Is it the loss or the seed? On the test split {} have a standard deviation in {} of {}, "
        "{} one of {}. {} (F {}, p {}); here {} alone are chance."
    ).format(
        losses,
        metric,
        number(spread.losses),
        seeds,
        number(spread.seeds),
        "Taken together the losses differ by more than seeds do; which of them, the comparisons "
        "with the baseline say"
        if spread.p_value <= facts.alpha
        else "The losses are not shown to differ by more than seeds do",
        number(spread.statistic, 2),
        facts.p(spread.p_value),
        facts.run_chance,
    )
    return text + (Markup(" Remark: {}.").format(spread.remark) if spread.remark else Markup(""))


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
    say(Markup.escape(_conditions(facts)))
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
    tests = facts.significance
    if "family" in tests.columns and len(tests):
        tests = tests[tests["p_value"].notna()]
        say(
            Markup(
                "{} were made between runs, in {}, corrected within each. The correction does not "
                "reach across families, metrics or other tests of this page."
            ).format(
                plural(len(tests), "test"),
                plural(tests["family"].nunique(), "family", "families"),
            )
        )
    high = facts.near_one
    if high:
        counts = [
            f"{facts.metric(metric).title} for {plural(count, 'model')}"
            for metric, count in high.items()
        ]
        say(
            Markup(
                "<strong>Some scores are close to 1</strong>, with few {}s of the class: {}. Their "
                "intervals are known to be too narrow: they cover the truth less often than {} of "
                "the time."
            ).format(facts.unit, "; ".join(counts), facts.confidence)
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
    if facts.external:
        tests = "the external test" if len(facts.external) == 1 else "the external tests"
        where = f"Performance elsewhere than in {listed(facts.study.external)}, {tests},"
    say(Markup("{} is unknown, and no model of this study is fit for clinical use.").format(where))


def _conditions(facts: Facts) -> str:
    """What intervals and tests take as given, and whom they tell of."""
    seeds = " and, where runs are averaged, of new seeds" if facts.replicates > 1 else ""
    text = (
        f"Intervals and tests tell of new test {facts.unit}s{seeds}, not of other training data: "
        f"all trainings shared {listed(facts.shared)}."
    )
    if facts.redrawn:
        text += (
            " The division into train, val and ensemble was drawn anew for each run, so that "
            "comparisons over runs count it as chance."
        )
    return text


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
                "tests decide." + calibration.method_caveats(facts, roles),
                pd.DataFrame(rows),
                columns,
                source="tables/metrics.csv",
            )
        )
    if found.caveats:
        blocks += [Heading("What to keep in mind"), Bullets(list(found.caveats))]
    return Section("answer", "The answer", blocks)
