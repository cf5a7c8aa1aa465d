"""Which models are compared with which, and in which families the tests are corrected."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from multiloss.evaluation.resamples import Models
from multiloss.losses import catalog, relations
from multiloss.losses.parameters import Relations
from multiloss.statistics.metrics import lookup

# By the name that files and tables use, the fields of a `study.Variant` as a mapping; `loss` is
# the loss's entry in the config, its `name` and parameters, `relations` how it stands to others
# (without it: as the losses themselves say).
Variants = Mapping[str, Mapping[str, Any]]

# Metrics of the permutation test beside `significance.metric`, which alone is primary.
TESTED = ("mcc", "accuracy")
# Not the calibration errors in bins, whose differences favour the sharper model.
CALIBRATION = ("brier", "log_loss")
BEST_MEMBER, SEED_ENSEMBLE = "against_best_member", "against_seed_ensemble"
BEST_SINGLE = "against_best_single"
BASELINE, NOISE_FLOOR = "against_baseline", "noise_floor"
CHOSEN = "chosen_ensemble_against_chosen_single"
ENSEMBLES_BASELINE = "ensembles_against_baseline"
SEEDS_BASELINE, SEEDS_BEST_MEMBER = (
    "seed_averages_against_baseline",
    "seed_averages_against_best_member",
)
REPEATED_BASELINE = "repeated_objectives_against_baseline"
ABLATIONS, CALIBRATION_FAMILY = "ablations", "calibrated_against_plain"
SINGLES = "single_models"
# What a family compares, in words.
FAMILIES = {
    BEST_MEMBER: "Each ensemble against its best member",
    BEST_SINGLE: "Each ensemble of ensembles against the best single model",
    SEED_ENSEMBLE: "Each ensemble against an average of as many seeds of one loss",
    SEEDS_BEST_MEMBER: "Each average of seeds against its best member",
    CHOSEN: "The ensemble that each fold chose against the single model that it chose",
    BASELINE: "Each loss against the baseline",
    REPEATED_BASELINE: "Losses whose objective another one stands for, against the baseline",
    ENSEMBLES_BASELINE: "Each ensemble against the baseline",
    SEEDS_BASELINE: "Each average of seeds against the baseline",
    ABLATIONS: "The baseline with a step left out against the baseline",
    NOISE_FLOOR: "Two trainings with the same objective",
    CALIBRATION_FAMILY: "Each calibrated loss against its plain form",
    SINGLES: "All single models at once",
}
# The questions of the study; each has a primary family by `significance.metric`.
QUESTIONS = (BASELINE, BEST_MEMBER)
# Where a comparison of that family's kind stands, whatever kind of model the first one is.
ALSO = {
    BASELINE: (BASELINE, REPEATED_BASELINE, ENSEMBLES_BASELINE, SEEDS_BASELINE, NOISE_FLOOR),
    BEST_MEMBER: (BEST_MEMBER, SEEDS_BEST_MEMBER),
}
MAX_T, HOLM = "max-T", "Holm"
# The corrections of the column `correction`, in words.
CORRECTIONS = {MAX_T: "step-down max-T", HOLM: "Holm's method"}
# The tests of the column `test`: short, and in full with what is resampled.
TESTS = {
    "permutation": ("permutation", "permutation by {unit}"),
    "bootstrap": ("bootstrap", "paired bootstrap by {unit}"),
    "delong": ("DeLong", "DeLong's test, adjusted for {unit}s"),
    "mcnemar": ("McNemar", "McNemar's test, image level"),
    "cochran_q": ("Cochran's Q", "Cochran's Q"),
}

Pair = tuple[str, str, str]


def column(family: str, *beside: str, replicate: int | None = None, metric: str = "mcc") -> str:
    """The value of the column `family`, each of which is one family of the correction.

    `beside`: a test, a metric or both, left out where they are the primary ones: the permutation
    test, Cochran's Q, and `metric`. `replicate`: where each replicate is a family of its own.
    """
    primary = ("permutation", "cochran_q", metric)
    told = [part for part in beside if part not in primary and family != CALIBRATION_FAMILY]
    value = family if replicate is None else f"{family}, r{replicate}"
    return f"{value} ({', '.join(told)})" if told else value


def of_column(value: str) -> tuple[str, str]:
    """A value of the column `family` taken apart; the second is "" for the primary test."""
    family, _, beside = value.partition(" (")
    return family.partition(", r")[0], beside.removesuffix(")")


def label(value: str, unit: str) -> str:
    """A value of the column `family` in words: Each loss against the baseline: DeLong's test.

    `unit` is 'patient', or 'image' where no patient is known.
    """
    family, beside = of_column(value)
    text = FAMILIES[family]
    replicate = value.partition(" (")[0].partition(", r")[2]
    if replicate:
        text = f"{text}, replicate {replicate}"
    parts = [
        test_label(part, unit) if part in TESTS else lookup(part).title
        for part in filter(None, beside.split(", "))
    ]
    return f"{text}: {', '.join(parts)}" if parts else text


def test_label(test: str, unit: str = "") -> str:
    """A test in words: short without a unit of resampling."""
    short, full = TESTS[test]
    if not unit:
        return short
    # Adjusted for nothing where every image stands alone.
    return "DeLong's test" if (test, unit) == ("delong", "image") else full.format(unit=unit)


def named(losses: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Variants of a study that gives no parameters and trains all losses alike."""
    return {name: {"loss": {"name": name}} for name in losses}


def _setting(variant: Mapping[str, Any]) -> str:
    """All that a variant's training depends on beside its loss and the random numbers."""
    return json.dumps({k: v for k, v in variant.items() if k not in ("name", "loss", "relations")})


def _relations(variant: Mapping[str, Any]) -> Mapping[str, Relations]:
    return variant.get("relations") or relations([variant["loss"]["name"]])


def parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a loss's entry in the config; those that it leaves out have defaults."""
    given = {key: value for key, value in entry.items() if key != "name"}
    return catalog("classification").get(entry["name"], {}) | given


def objective(
    entry: Mapping[str, Any], known: Mapping[str, Relations] | None = None
) -> tuple[str, frozenset[tuple[str, Any]]]:
    """What a loss minimises: the simplest loss that it equals, and that one's parameters.

    `known`: the relations of the loss and of those that it leads to.
    """
    name, left = entry["name"], parameters(entry)
    known = relations([name]) if known is None else known
    reduced = True
    while reduced:
        reduced = False
        for parameter, other in known.get(name, {}).get("same_as", {}).items():
            if not parameter or left.get(parameter) == 0:
                left.pop(parameter, None)
                name, reduced = other, True
                break
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in left.items()}
    return name, frozenset(values.items())


def same_objective(variants: Variants) -> list[tuple[str, str]]:
    """Pairs of variants with one objective, trained alike: they differ by noise alone.

    The second is the one whose loss bears the objective's own name, or else the first listed.
    """
    groups: dict[tuple[Any, str], list[str]] = {}
    for name, variant in variants.items():
        minimised = objective(variant["loss"], _relations(variant))
        groups.setdefault((minimised, _setting(variant)), []).append(name)
    found = []
    for ((plainest, _), _), names in groups.items():
        reference = next((n for n in names if variants[n]["loss"]["name"] == plainest), names[0])
        found += [(name, reference) for name in names if name != reference]
    return found


def plain_forms(variants: Variants) -> tuple[dict[str, str], dict[str, str]]:
    """The plain form of each variant with a calibrated loss, and why one has none.

    They differ by the calibration gap alone: the parameters that both have are equal, the gap has
    a weight, no other term has one to speak of, and both are trained alike.
    """
    plain_of, left_out = {}, {}
    for name, variant in variants.items():
        entry = variant["loss"]
        relation = _relations(variant).get(entry["name"], {})
        plain, own = relation.get("plain"), parameters(entry)
        if not plain:
            continue
        large = [key for key, most in relation["negligible"].items() if own[key] > most]
        there = {
            other: parameters(candidate["loss"])
            for other, candidate in variants.items()
            if candidate["loss"]["name"] == plain
        }
        alike = [
            other
            for other, theirs in there.items()
            if all(own[key] == theirs[key] for key in own.keys() & theirs.keys())
        ]
        equal = [other for other in alike if _setting(variants[other]) == _setting(variant)]
        if own.get("beta") == 0:
            left_out[name] = "the weight of its calibration gap is 0"
        elif large:
            left_out[name] = f"its term of {large[0]} has a weight of {own[large[0]]:g}"
        elif equal:
            plain_of[name] = equal[0]
        elif alike:
            left_out[name] = f"{alike[0]} is trained otherwise"
        elif there:
            left_out[name] = f"{plain} is there with other parameters"
        else:
            left_out[name] = f"{plain} is not in the study"
    return plain_of, left_out


def _by_variant(models: Models, kinds: Sequence[str]) -> dict[tuple[str, int], str]:
    return {
        (entry["variant"], entry["replicate"]): model
        for model, entry in models.items()
        if entry["kind"] in kinds
    }


def pairs(
    models: Models, members: pd.DataFrame, baseline: str, variants: Variants | None = None
) -> list[Pair]:
    """All planned comparisons (family, model_a, model_b); differences are a minus b.

    `variants`: those that the config lists, since names alone do not tell which are the same or
    differ by calibration alone; without them all parameters are the defaults.

    `members`: ensembles/members.csv (ensemble, member, rank), where rank 1 is the best member
    on the `ensemble` split. An ensemble whose members are ensembles also meets the best single
    model of its replicate, or it would be called better without having beaten that. Losses,
    ablations and the baseline are paired within a replicate; an ensemble without a replicate
    (of seeds) meets replicate 0.

    Against the baseline each objective is one hypothesis: a variant with that of the baseline
    meets it as noise floor alone, and of several with one objective one stands for all.
    """
    singles = _by_variant(models, ["single"])
    best = {}
    for row in members.sort_values("rank", kind="stable").to_dict("records"):
        best.setdefault(row["ensemble"], row["member"])
    best_single = {
        models[ensemble].get("replicate"): member
        for ensemble, member in best.items()
        if models.get(ensemble, {}).get("kind") == "ensemble"
        and models.get(member, {}).get("kind") == "single"
    }
    if variants is None:
        variants = named(variant for variant, _ in singles)
    same, (plain_of, _) = same_objective(variants), plain_forms(variants)
    stands_for = dict(same)
    of_seeds = {
        entry["k"]: model for model, entry in models.items() if entry["kind"] == "seed_ensemble"
    }
    planned: list[Pair] = []
    for model, entry in models.items():
        kind, replicate = entry["kind"], entry.get("replicate") or 0
        base = singles.get((baseline, replicate))
        if kind in ("ensemble", "seed_ensemble") and model in best:
            family = BEST_MEMBER if kind == "ensemble" else SEEDS_BEST_MEMBER
            planned.append((family, model, best[model]))
            single = best_single.get(entry.get("replicate"))
            if single is not None and models.get(best[model], {}).get("kind") == "ensemble":
                planned.append((BEST_SINGLE, model, single))
        if kind == "ensemble" and entry["k"] in of_seeds:
            planned.append((SEED_ENSEMBLE, model, of_seeds[entry["k"]]))
        if base not in (None, model):
            family = _against_baseline(entry, replicate, baseline, stands_for, singles)
            if family:
                planned.append((family, model, base))
        if kind == "single":
            for variant, other in same:
                if entry["variant"] == variant and (other, replicate) in singles:
                    planned.append((NOISE_FLOOR, model, singles[other, replicate]))
            plain = plain_of.get(entry["variant"])
            if (plain, replicate) in singles:
                planned.append((CALIBRATION_FAMILY, model, singles[plain, replicate]))
    order = list(FAMILIES)
    return sorted(planned, key=lambda pair: order.index(pair[0]))


def _against_baseline(
    entry: Mapping[str, Any],
    replicate: int,
    baseline: str,
    stands_for: Mapping[str, str],
    singles: Mapping[tuple[str, int], str],
) -> str:
    """The family in which a model meets the baseline, "" where the noise floor has the pair.

    `stands_for`: by variant the one that has the same objective and represents it.
    """
    families = {
        "ablation": ABLATIONS,
        "ensemble": ENSEMBLES_BASELINE,
        "seed_ensemble": SEEDS_BASELINE,
    }
    if entry["kind"] != "single":
        return families.get(entry["kind"], "")
    variant = entry["variant"]
    objective = stands_for.get(variant, variant)
    if objective == stands_for.get(baseline, baseline):
        floor = stands_for.get(variant) == baseline or stands_for.get(baseline) == variant
        return "" if floor else REPEATED_BASELINE
    represented = objective != variant and (objective, replicate) in singles
    return REPEATED_BASELINE if represented else BASELINE


def without_seed_ensemble(models: Models, folds: int = 0) -> list[tuple[str, str]]:
    """The ensembles that no ensemble of as many seeds stands beside, and why."""
    sizes = {entry["k"] for entry in models.values() if entry["kind"] == "seed_ensemble"}
    runs = len({entry["replicate"] for entry in models.values() if entry["kind"] == "single"})

    def reason(k: int) -> str:
        if folds:
            return (
                "no ensemble of runs of one loss to compare with: with splits.folds no two runs "
                "of a loss have one test split"
            )
        seeds, replicates = ("seed", "replicate") if k == 1 else ("seeds", "replicates")
        return (
            f"no ensemble of {k} {seeds} of one loss to compare with: it takes {k} {replicates}, "
            f"or ensembles.seed_ensemble.further_seeds; the study has {runs}"
        )

    return [
        (model, reason(entry["k"]))
        for model, entry in models.items()
        if entry["kind"] == "ensemble" and entry["k"] not in sizes
    ]
