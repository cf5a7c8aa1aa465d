"""The answer of the study in sentences, each computed from the tables."""

import math
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from multiloss.report import words
from multiloss.report.blocks import (
    Block,
    Bullets,
    Column,
    Heading,
    Note,
    Section,
    code,
    interval,
    listed,
    number,
    p_value,
    plural,
    signed,
    table,
    value_cell,
)
from multiloss.report.facts import (
    BEST_MEMBER,
    FEW_SEEDS,
    HIGH_ACCURACY,
    SEED_ENSEMBLE,
    SMALL_SPLIT,
    Comparison,
    Estimate,
    Facts,
    split_model,
)


@dataclass
class Answer:
    """The verdict in a few sentences, the evidence behind it, and what limits it."""

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


def difference_text(test: Comparison, facts: Facts) -> Markup:
    """'+0.012 (95% interval -0.020 to +0.041; p 0.46, 1.000 after Holm)'."""
    ends = interval(test.low, test.high)
    parts = [f"{facts.confidence} interval {ends}"] if ends else []
    parts.append(f"p {p_value(test.p_value)}, {p_value(test.p_adjusted)} after Holm")
    return Markup("{} ({})").format(signed(test.difference), "; ".join(parts))


def answer(facts: Facts) -> Answer:
    """Which loss, which ensemble, how sure, against what, and with what caveats."""
    result = Answer()
    if not facts.singles:
        result.headline.append(
            Markup("This study has no evaluated models yet, so it has no answer.")
        )
        return result
    _loss(facts, result)
    _ensemble(facts, result)
    calibrated = calibration_text(facts)
    if calibrated is not None:
        result.calibration += [Markup.escape(calibrated), _calibration_differences(facts)]
    _certainty(facts, result)
    _caveats(facts, result)
    return result


def _loss(facts: Facts, result: Answer) -> None:
    chosen = facts.chosen("single") or facts.singles[0]
    loss, _ = split_model(chosen)
    baseline = code(facts.baseline_loss)
    if facts.crossed:
        tests = facts.crossed
        over = f", over {facts.replicates} seeds, counting both seeds and patients as chance"
    else:
        tests = facts.against_baseline([name for name in facts.singles if name != facts.baseline])
        over = ""
    by_loss = {split_model(test.a)[0]: test for test in tests}
    own = by_loss.get(loss)
    head = Markup("The single model chosen on the ensemble split is {}, with a test MCC of {}.")
    head = head.format(code(chosen), with_interval(facts.value(chosen), facts))
    if loss == facts.baseline_loss:
        head += Markup(" Its loss is the baseline {} itself.").format(baseline)
    elif words.same_objective(loss, facts.baseline_loss):
        head += Markup(
            " Its loss {} is the same objective as the baseline {}, so they differ by the training "
            "run alone."
        ).format(code(loss), baseline)
    elif own is None:
        head += Markup(" Its loss was not tested against the baseline {}.").format(baseline)
    else:
        verdict = {
            "better": "is better than",
            "worse": "is worse than",
            "open": "is not shown to differ from",
        }[own.verdict]
        head += Markup(" Its loss {} {} the baseline {}{}: {}.").format(
            code(loss), verdict, baseline, over, difference_text(own, facts)
        )
    result.headline.append(head)
    by_loss = {
        name: test
        for name, test in by_loss.items()
        if not words.same_objective(name, facts.baseline_loss)
    }
    if by_loss:
        better = sorted(name for name, test in by_loss.items() if test.verdict == "better")
        worse = sorted(name for name, test in by_loss.items() if test.verdict == "worse")
        counts = Markup(
            "Of {} of another loss with {} (test MCC, paired, Holm-corrected{}), "
        ).format(plural(len(by_loss), "comparison"), baseline, over)
        verdict = Markup("No loss is shown to be better than the baseline {}").format(baseline)
        if better:
            verdict = Markup("{} shown to be better than the baseline {}").format(
                _codes(better, "is", "are"), baseline
            )
        result.short.append(verdict)
        said = []
        if better:
            said.append(Markup("{} better").format(_codes(better, "is", "are")))
        if worse:
            said.append(Markup("{} worse").format(_codes(worse, "is", "are")))
        if said:
            counts += Markup("{}; no other loss is shown to differ.").format(
                Markup(" and ").join(said)
            )
        else:
            counts += Markup(
                "none rejects: no loss is shown to be better or worse than {}."
            ).format(baseline)
        result.loss.append(counts)
    top = facts.singles[0]
    if top != chosen:
        result.loss.append(
            Markup(
                "The highest MCC of a single model on the test split is that of {}, {}; it is "
                "named for completeness only, since a choice made on the test split flatters."
            ).format(code(top), number(facts.value(top).value))
        )
    ranks = facts.results.table("tables/rank.csv")
    if {"model", "kind", "split", "metric", "p_best"} <= set(ranks.columns):
        part = ranks[
            (ranks["kind"] == "single") & (ranks["split"] == "test") & (ranks["metric"] == "mcc")
        ]
        if len(part):
            by_name = part.assign(loss=[split_model(name)[0] for name in part["model"]])
            shares = by_name.groupby("loss", sort=True)["p_best"].mean()
            best = shares.idxmax()
            result.loss.append(
                Markup(
                    "When the test patients are drawn anew, {} has the highest MCC most often, in "
                    "{}% of the resamples{}."
                ).format(
                    code(best),
                    number(100 * shares[best], 0),
                    "" if shares[best] >= 0.5 else ": no loss leads in half of them",
                )
            )


def _codes(names: list[str], one: str, many: str) -> Markup:
    return Markup("{} {}").format(listed_codes(names), one if len(names) == 1 else many)


def _ensemble(facts: Facts, result: Answer) -> None:
    if not facts.ensembles:
        result.ensemble.append(Markup("This study builds no ensembles."))
        return
    chosen = facts.chosen("ensemble") or facts.ensembles[0]
    member = facts.best_member(chosen)
    test = facts.compare(chosen, member, BEST_MEMBER)
    head = Markup(
        "The ensemble chosen on the ensemble split is {}, with a test MCC of {}. "
    ).format(code(chosen), with_interval(facts.value(chosen), facts))
    if test is None:
        head += Markup("It was not tested against its best member, so no gain is claimed.")
    else:
        claim = {
            "better": Markup("It is better than its best member {}: {}."),
            "worse": Markup("It is worse than its best member {}: {}."),
            "open": Markup("It is not shown to be better than its best member {}: {}."),
        }[test.verdict]
        head += claim.format(code(member), difference_text(test, facts))
    result.headline.append(head)
    tests = facts.against_best_member()
    if tests:
        better = [t.a for t in tests if t.verdict == "better"]
        worse = [t.a for t in tests if t.verdict == "worse"]
        result.short.append(
            Markup("{} of {} {} shown to be better than {} best member").format(
                len(better) or "none",
                plural(len(tests), "ensemble"),
                *(("is", "its") if len(better) < 2 else ("are", "their")),
            )
        )
        text = Markup("Of {} tested against their best member, {} better{}").format(
            plural(len(tests), "ensemble"),
            _codes(better, "is", "are") if better else "none is shown to be",
            Markup(" and {} worse").format(_codes(worse, "is", "are")) if worse else "",
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


def _seeds_text(seeds: str, against: Comparison | None, facts: Facts) -> Markup:
    """What the same compute reaches with one loss alone, and how far its runs lie apart."""
    loss = seeds.removeprefix("seed_average-").rpartition("-top")[0]
    text = Markup(
        "For the same compute one can train {} several times: the average of its seeds, {}, "
        "reaches a test MCC of {}"
    ).format(code(loss), code(seeds), with_interval(facts.value(seeds), facts))
    if against is not None:
        text += Markup("; the chosen ensemble differs from it by {}").format(
            difference_text(against, facts)
        )
    values = facts.seed_values
    if len(values) > 1:
        text += Markup(
            ". Alone, its {} seeds reach {} to {}: so far apart lie models that differ by nothing "
            "but luck"
        ).format(len(values), number(min(values)), number(max(values)))
    return text + Markup(".")


def calibration_text(facts: Facts) -> str | None:
    """Whether the calibrated losses are better calibrated; None where none can be compared."""
    raw, corrected = facts.calibration_pairs("raw"), facts.calibration_pairs("prior_corrected")
    if raw.empty:
        return None
    rejects = raw["holm"] <= facts.alpha
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
        text = f"That is not shown for any of {losses}"
    if harms:
        text += f"; {harms} {'is' if harms == 1 else 'are'} shown to have a higher one"
    text += (
        f" (ECE on the test split, n = {facts.size('test')}, paired over patients"
        f"{' and seeds' if facts.replicates > 1 else ''}, "
        f"Holm-corrected over the {len(raw)})."
    )
    if len(corrected):
        below = int((corrected["ci_high"] < 0).sum())
        above = int((corrected["ci_low"] > 0).sum())
        text += (
            " With probabilities corrected for the class shares the interval of the difference "
            f"lies below 0 for {below} and above 0 for {above} of {len(corrected)}."
        )
    return text


def _calibration_differences(facts: Facts) -> Markup:
    """Each pair's difference in ECE with its interval, raw and with class shares corrected."""
    raw, corrected = facts.calibration_pairs("raw"), facts.calibration_pairs("prior_corrected")
    said = []
    for loss, row in raw.iterrows():
        text = Markup("{} minus {} {}").format(code(loss), code(row["plain"]), _ends(row))
        if loss in corrected.index:
            text += Markup(", corrected {}").format(_ends(corrected.loc[loss]))
        said.append(text)
    return Markup(
        "Differences in ECE with {} intervals, and with class shares corrected: {}."
    ).format(facts.confidence, Markup("; ").join(said))


def _ends(row: pd.Series) -> str:
    ends = interval(row["ci_low"], row["ci_high"])
    return signed(row["difference"]) + (f" ({ends})" if ends else "")


def _noise_floor(facts: Facts) -> Markup | None:
    """How far models of one objective differ, and how many losses differ by more than that."""
    if facts.crossed_floor:
        pairs = [(test.a, test.b, test.difference, test) for test in facts.crossed_floor]
        tests, over = facts.crossed, f" (means over {facts.replicates} seeds)"
    else:
        pairs, over = facts.noise_floor(), ""
        tests = facts.against_baseline(facts.singles)
    if not pairs:
        return None
    baseline = facts.baseline_loss
    tests = [t for t in tests if not words.same_objective(split_model(t.a)[0], baseline)]
    largest = max(abs(difference) for _, _, difference, _ in pairs)
    within = sum(abs(test.difference) <= largest for test in tests)
    said = [
        Markup("{} minus {}: {}").format(code(a), code(b), _floor_text(difference, test, facts))
        for a, b, difference, test in pairs[:4]
    ]
    text = Markup(
        "Noise floor: models of one objective under two names differ by the training run alone. "
        "Their differences in test MCC{} are {}{}. "
    ).format(over, Markup("; ").join(said), f" and {len(pairs) - 4} more" if len(pairs) > 4 else "")
    if not tests:
        return text
    whose = Markup("the {} between another loss and {}").format(
        plural(len(tests), "difference"), code(baseline)
    )
    if within:
        return text + Markup(
            "{} of {} {} no larger than the largest of these ({}): that much the training run "
            "alone can do."
        ).format(within, whose, "is" if within == 1 else "are", number(largest))
    return text + Markup(
        "Of {} each is larger in size than the largest of these ({}); from {} that is a rough "
        "guide, not a test."
    ).format(whose, number(largest), plural(len(pairs), "difference"))


def _floor_text(difference: float, test: Comparison | None, facts: Facts) -> str:
    ends = interval(test.low, test.high) if test else ""
    return signed(difference) + (f" ({facts.confidence} interval {ends})" if ends else "")


def _lower_first(text: Markup) -> Markup:
    return Markup(text[:1].lower() + text[1:]) if not text.startswith("<") else text


def _certainty(facts: Facts, result: Answer) -> None:
    result.certainty.append(
        Markup("The test split has {}, in {}; it was used once, after all choices.").format(
            facts.size("test"),
            plural(len(facts.classes), "class", "classes"),
        )
    )
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
            ": which seed was drawn matters more than which loss"
            if spread.seed > spread.loss
            else "",
        )
        if spread.warning:
            text += Markup(" The table warns: {}.").format(spread.warning)
        result.certainty.append(text)


def _caveats(facts: Facts, result: Answer) -> None:
    say = result.caveats.append
    if facts.phantom:
        say(
            Markup(
                "<strong>Phantom images are not patients.</strong> The classified images come from "
                "a generator. The numbers show that the workflow works; they say nothing about "
                "which loss is better on radiographs."
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
        say(
            Markup(
                "Each loss was trained once. What differs between two losses may be the training "
                "run, not the loss; the noise floor{} of how much."
            ).format(
                " and the further seeds of the baseline give an idea"
                if facts.seed_values
                else " gives an idea"
            )
        )
    elif facts.replicates < FEW_SEEDS:
        say(
            Markup(
                "Each loss was trained with {} seeds only; fewer than {} give a poor estimate of "
                "the run-to-run spread."
            ).format(facts.replicates, FEW_SEEDS)
        )
    if facts.images("test") < SMALL_SPLIT:
        say(
            Markup(
                "With {} in the test split, intervals are wide: a difference that is not shown "
                "may still be there."
            ).format(facts.size("test"))
        )
    families = facts.significance
    if "family" in families.columns and len(families):
        families = families[families["p_value"].notna()]
        say(
            Markup(
                "{} were made, in {} (Holm correction within each). The correction does not "
                "reach across families, metrics or other tests of this page."
            ).format(
                plural(len(families), "test"),
                plural(families["family"].nunique(), "family", "families"),
            )
        )
    high = [name for name in facts.singles + facts.ensembles
            if facts.value(name, "accuracy").value >= HIGH_ACCURACY]  # fmt: skip
    if high:
        say(
            Markup(
                "<strong>Accuracy is close to 1.</strong> {} an accuracy of {} or more on the test "
                "split. Intervals there are known to be too narrow: they cover the truth less "
                "often than {} of the time."
            ).format(plural(len(high), "model has", "models have"), HIGH_ACCURACY, facts.confidence)
        )
    say(
        Markup(
            "Nothing here was tested on images from another hospital or device; performance "
            "there is unknown, and no model of this study is fit for clinical use."
        )
    )


KEY_METRICS = ("mcc", "accuracy", "auroc", "log_loss", "ece")


def section(facts: Facts) -> Section:
    """The first section of the page."""
    found = answer(facts)
    blocks: list[Block] = []
    if found.short:
        over = " on generated images" if facts.phantom else ""
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
    for role, model in (
        ("baseline", facts.baseline),
        ("chosen single model", facts.chosen("single")),
        ("best member of the chosen ensemble", facts.best_member(chosen) if chosen else None),
        ("chosen ensemble", chosen),
        ("seeds of the baseline, averaged", _as_many_seeds(facts, facts.chosen("ensemble"))),
    ):
        if model and not math.isnan(facts.value(model).value):
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
        columns = [Column("role", "Role"), Column("model", "Model", code=True)]
        columns += [
            Column(m, words.metric_label(m), number, help=words.metric_help(m)) for m in KEY_METRICS
        ]
        blocks.append(
            table(
                "key",
                "The models that the answer speaks of",
                f"Metrics on the test split (n = {facts.size('test')}) with {facts.confidence} "
                "intervals from resampling patients. MCC, accuracy and AUROC are better when "
                "larger; log loss and calibration error (ECE) when smaller. Overlapping intervals "
                "do not mean that two models are equal: they saw the same images, so the paired "
                "tests decide.",
                pd.DataFrame(rows),
                columns,
                source="tables/metrics.csv",
            )
        )
    if found.caveats:
        blocks += [Heading("What to keep in mind"), Bullets(list(found.caveats))]
    return Section("answer", "The answer", blocks)
