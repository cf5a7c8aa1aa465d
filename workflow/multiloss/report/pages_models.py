"""Sections on the models: training, results, ensembles."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from multiloss import losses
from multiloss.methods import ensemble_methods
from multiloss.report import calibration, faults
from multiloss.report.answer import MEMBER, SEEDS, listed_codes, spread_text
from multiloss.report.blocks import (
    DAGGER,
    Block,
    Cell,
    Column,
    Heading,
    Note,
    Section,
    Text,
    code,
    count,
    interval,
    listed,
    lowered,
    metric_columns,
    number,
    number_text,
    plural,
    signed,
    table,
    value_cell,
    yes,
)
from multiloss.report.facts import (
    Estimate,
    Facts,
    differences,
    loss_parameters,
)
from multiloss.report.figures import Figures
from multiloss.statistics.bootstrap import PUBLISHED
from multiloss.statistics.crossed import ENOUGH_SEEDS
from multiloss.statistics.metrics import CLASS_METRICS, MACRO, MAIN, METRICS, OF_CLASS, shown
from multiloss.study import ABLATIONS, KINDS


def training(facts: Facts, figures: Figures) -> Section:
    """Which losses, with which parameters, and how the trainings went."""
    settings = facts.config["classification"]
    blocks: list[Block] = [
        Text(
            [
                f"One classifier was trained for each of {facts.losses_told}"
                + (f" and each of {facts.replicates} seeds" if facts.replicates > 1 else "")
                + ". They differ by the loss and the random numbers of the run"
                + (
                    ", and by what the table names; all else is the same."
                    if any(differences(each, settings) for each in facts.study.listed.values())
                    else "; data, settings and network are the same."
                )
            ]
        )
    ]
    same = {name: other for pair in facts.same_objective for name, other in (pair, pair[::-1])}
    rows, known = [], losses.described("classification")
    for name, variant in facts.study.listed.items():
        used = loss_parameters("classification", variant.loss)
        loss, other = variant.loss["name"], same.get(name)
        rows.append(
            {
                "loss": name,
                "what": known[loss].sentence,
                "otherwise": ", ".join(differences(variant, settings)) or pd.NA,
                "parameters": ", ".join(f"{k} {_plain(v)}" for k, v in used.items()) or "none",
                "note": f"the same objective as {other}" if other in facts.losses else "",
            }
        )
    frame = pd.DataFrame(rows)
    frame["note"] = frame["note"].replace("", pd.NA)
    blocks.append(
        table(
            "losses",
            "Losses",
            "What each loss asks of the network, with the parameters that were used."
            + (
                " Losses marked as the same objective are equal for labels that name one class, so "
                "they differ by the training run alone."
                if same
                else ""
            )
            + (
                " Class weights act on the part of each image, not on the calibration term of the "
                "batch."
                if settings["class_weights"] != "none"
                else ""
            ),
            frame,
            [
                Column("loss", "Loss", code=True),
                Column("what", "What it is"),
                Column("parameters", "Parameters"),
                Column("otherwise", "Trained otherwise"),
                Column("note", "Note"),
            ],
        )
    )
    histories = _histories(facts)
    if len(histories):
        blocks.append(
            table(
                "trainings",
                "Trainings",
                "Each training run: epochs run, the epoch with the best validation MCC, that MCC, "
                f"and the losses in the last epoch. {_kept(facts)}"
                "Losses of different kinds have different scales and cannot be compared between "
                "rows.",
                histories,
                [
                    Column("loss", "Loss", code=True),
                    Column("replicate", "Seed", count),
                    Column("epochs", "Epochs", count),
                    Column("best", "Best epoch", count),
                    Column("val_mcc", "Validation MCC, best", number),
                    Column("loss_last", "Training loss, last", number),
                    Column("val_loss_last", "Validation loss, last", number),
                    Column("remark", "Remark"),
                ],
                source="models/",
            )
        )
    if facts.missing_models:
        blocks.append(Note(_gap_text(facts.missing_models), "warning"))
    blocks += figures.take("learning_curves")
    return Section("training", "Losses and training", blocks)


def _kept(facts: Facts) -> str:
    """Which weights of the trainings went on; nothing where that differs, which a table tells."""
    kept = {
        "last epoch"
        if variant.training["keep"] == "last"
        else f"best epoch by {variant.training['monitor']}"
        for variant in facts.study.listed.values()
    }
    return f"The weights of the {kept.pop()} were kept. " if len(kept) == 1 else ""


def _gap_text(names: list[str]) -> Markup:
    return Markup(
        "{} no results, because a training stopped (a loss that is not a number ends its run) "
        "or a step was not done: {}."
    ).format(plural(len(names), "model has", "models have"), listed_codes(names))


def _plain(value: Any) -> str:
    return "as derived" if value is None else number_text(value)


def _histories(facts: Facts) -> pd.DataFrame:
    rows = []
    for model in facts.planned.values():
        if not model.trained:
            continue
        history = facts.results.table(f"models/{model.variant}/{model.replicate}.history.csv")
        if history.empty or "epoch" not in history:
            continue
        row: dict[str, Any] = {"loss": model.variant, "replicate": model.replicate}
        row["epochs"] = len(history)
        if "val_mcc" in history and history["val_mcc"].notna().any():
            best = history["val_mcc"].idxmax()
            row |= {"best": history.at[best, "epoch"], "val_mcc": history.at[best, "val_mcc"]}
        for column in ("loss", "val_loss"):
            if column in history:
                row[f"{column}_last"] = history[column].iloc[-1]
        found = facts.degenerate().get(model.name)
        if "loss" in history and pd.isna(history["loss"].iloc[-1]):
            row["remark"] = "failed: the loss was not a finite number"
        elif found is not None:
            row["remark"] = f"{DAGGER} {faults.phrase(found)}"
        rows.append(row)
    order = {loss: position for position, loss in enumerate(facts.losses)}
    rows.sort(key=lambda row: (order.get(row["loss"], len(order)), row["loss"], row["replicate"]))
    return pd.DataFrame(rows)


def metrics_table(
    facts: Facts,
    models: Iterable[str],
    id: str,
    title: str,
    caption: str,
    split: str = "test",
    metrics: Iterable[str] | None = None,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
    published: bool = False,
    **options: Any,
) -> Block:
    """Models in rows, metrics with their intervals in columns."""
    metrics = shown(MAIN) if metrics is None else list(metrics)
    binomial: dict[str, str] = {}
    if published:
        table_ = facts.all_metrics
        keep = (
            (table_["ci_method"] == PUBLISHED)
            & (table_["metric"] == "mcc")
            & (table_["split"] == split)
        )
        binomial = {
            row["model"]: interval(row["ci_low"], row["ci_high"])
            for row in table_[keep].to_dict("records")
        }
    rows = []
    for model in models:
        row: dict[str, Any] = {"model": model, **(extra or {}).get(model, {})}
        for metric in metrics:
            found = facts.value(model, metric, split)
            row[metric] = pd.NA if math.isnan(found.value) else value_cell(found)
        row["binomial"] = binomial.get(model, pd.NA)
        rows.append(row)
    columns = [Column("model", "Model", code=True, model=True)]
    columns += [Column(name, label) for name, label in (("kind", "Kind"), ("members", "Members"))]
    for metric in metrics:
        columns += metric_columns([METRICS[metric]])
        if metric == "mcc" and published:
            columns.append(
                Column(
                    "binomial",
                    "MCC, interval as published",
                    help="binomial normal approximation, for comparison with the original only",
                )
            )
    frame = pd.DataFrame(rows, columns=["model", *dict.fromkeys(c.key for c in columns[1:])])
    return table(id, title, caption, frame, columns, source="tables/metrics.csv", **options)


def class_table(
    facts: Facts, models: Iterable[str], id: str, title: str, caption: str, **options: Any
) -> Block | None:
    """One row per model and class."""
    rows, metrics = [], shown(OF_CLASS)
    for model in models:
        for name in facts.classes:
            row: dict[str, Any] = {"model": model, "class": name}
            for metric in metrics:
                found = facts.value(model, CLASS_METRICS[metric].of(name))
                row[metric] = pd.NA if math.isnan(found.value) else value_cell(found)
            rows.append(row)
    frame = pd.DataFrame(rows)
    if frame.empty or not frame[metrics].notna().any(axis=None):
        return None
    columns = [Column("model", "Model", code=True, model=True), Column("class", "Class")]
    columns += metric_columns(CLASS_METRICS[metric] for metric in metrics)
    return table(id, title, caption, frame, columns, source="tables/metrics.csv", **options)


def _how(facts: Facts, split: str = "test") -> str:
    return (
        f"n = {facts.size(split)}; "
        f"{facts.confidence} intervals by {facts.interval_method} over {facts.unit}s "
        f"({plural(facts.config['evaluation']['resamples'], 'resample')})"
    )


def _reasons(facts: Facts, kinds: Iterable[str]) -> list[Block]:
    """Values that are undefined, with the reason that the table gives."""
    metrics = facts.all_metrics
    if "reason" not in metrics.columns:
        return []
    part = metrics[
        metrics["value"].isna()
        & metrics["reason"].notna()
        & metrics["kind"].isin(list(kinds))
        & (metrics["split"] == "test")
    ]
    if part.empty:
        return []
    grouped = part.groupby(["metric", "reason"], sort=True)["model"]
    grouped = grouped.agg(lambda names: Cell(listed_codes(sorted(set(names))))).reset_index()
    grouped["metric"] = [facts.metric(name).title for name in grouped["metric"]]
    return [
        table(
            f"undefined-{next(iter(kinds))}",
            "Values that are not defined",
            "A metric that cannot be computed stays empty here; paired tests count such an MCC as "
            "0, which is chance, and say so. For each metric and reason: in which models.",
            grouped,
            [
                Column("metric", "Metric"),
                Column("reason", "Reason"),
                Column("model", "Models", model=True),
            ],
            source="tables/metrics.csv",
        )
    ]


def singles(facts: Facts, figures: Figures) -> Section:
    """Every single model on the test split."""
    blocks: list[Block] = []
    if not facts.singles:
        blocks.append(Note("No single model has been evaluated yet."))
        return Section("singles", "Single models", blocks)
    chosen = facts.chosen("single")
    text = f"{plural(len(facts.singles), 'single model')} on the test split, best MCC first."
    paragraphs: list[Any] = [text]
    if chosen:
        paragraphs = [
            Markup("{} The one chosen on the ensemble split is {}.").format(text, code(chosen))
        ]
    blocks.append(Text(paragraphs))
    blocks.append(
        metrics_table(
            facts,
            facts.singles,
            "singles-test",
            "Single models on the test split",
            f"{_how(facts)}. Precision, recall and F1 are weighted by class size, AUROC and AUPRC "
            "pool all classes (micro). Log loss, Brier score and ECE are better when smaller. The "
            "interval as published is the original paper's formula, kept to check its figures; it "
            "takes images for independent. Differences between rows need the paired tests below.",
            published=True,
        )
    )
    blocks += figures.take(f"forest_{facts.config['significance']['metric']}")
    blocks.append(
        metrics_table(
            facts,
            facts.singles,
            "singles-macro",
            "Single models: means over the classes",
            f"{_how(facts)}. Macro averages count each class alike, however rare it is.",
            metrics=shown(MACRO),
            folded=True,
        )
    )
    per_class = class_table(
        facts,
        facts.singles,
        "singles-classes",
        "Single models, class by class",
        f"{_how(facts)}. Each class against the rest. Sensitivity and specificity are taken at "
        "the operating point that was chosen on the ensemble split.",
    )
    if per_class is not None:
        blocks.append(per_class)
    for split in ("val", "ensemble"):
        if facts.metrics["split"].eq(split).any():
            blocks.append(
                metrics_table(
                    facts,
                    facts.singles,
                    f"singles-{split}",
                    f"Single models on the {split} split",
                    f"{_how(facts, split)}. Not a result: what is chosen or fitted on a split "
                    "looks better there than it is.",
                    split=split,
                    folded=True,
                )
            )
    blocks += _reasons(facts, ["single"])
    blocks += figures.take("confusion_matrices", "roc", "pr", "recall")
    blocks += _ablations(facts)
    return Section("singles", "Single models", blocks)


def _ablations(facts: Facts) -> list[Block]:
    models = facts.models("ablation")
    if not models:
        return []
    full = [facts.study.run(facts.baseline_loss, r).name for r in range(facts.replicates)]
    return [
        Heading("Ablations"),
        metrics_table(
            facts,
            [*[name for name in full if name in facts.singles], *models],
            "ablations",
            "What one step contributes",
            f"{_how(facts)}. The baseline as it is, and trained again with one step left out: "
            f"{listed([ABLATIONS[name] for name in facts.config['ablations']])}.",
        ),
    ]


def ensembles(facts: Facts, figures: Figures) -> Section:
    """Which members, how combined, and how they do on the test split."""
    blocks: list[Block] = []
    if not facts.ensembles:
        blocks.append(Note("Ensembles are switched off in this study's config, or not made yet."))
        return Section("ensembles", "Ensembles", blocks)
    settings = facts.config["ensembles"]
    said = [
        f"{method.title} ({lowered(method.sentence)})"
        for method in map(ensemble_methods().get, settings["methods"])
    ]
    sizes = " and ".join(str(k) for k in settings["top_k"])
    blocks.append(
        Text(
            [
                f"The {sizes} single models with the highest MCC on the ensemble split"
                f"{' of each seed' if facts.replicates > 1 else ''} were "
                f"combined by {'; '.join(said)}. The test split had no part in choosing members "
                "or fitting weights."
            ]
        )
    )
    members = facts.members
    kinds = facts.metrics.drop_duplicates("model").set_index("model")["kind"]
    extra: dict[str, dict[str, Any]] = {
        name: {"kind": KINDS[kinds[name]].one}
        for name in ([*facts.ensembles, *facts.seed_ensembles] if facts.seed_ensembles else [])
    }
    blocks.append(
        metrics_table(
            facts,
            [*facts.ensembles, *facts.seed_ensembles],
            "ensembles-test",
            "Ensembles on the test split",
            f"{_how(facts)}. Best MCC first. An ensemble is called better only where its paired "
            "test against its best member says so (see Significance)."
            + (
                " An ensemble of seeds is the same compute spent on one loss alone."
                if facts.seed_ensembles
                else ""
            )
            + calibration.method_caveats(facts, facts.ensembles),
            extra=extra,
            published=True,
        )
    )
    per_class = class_table(
        facts,
        facts.ensembles,
        "ensembles-classes",
        "Ensembles, class by class",
        f"{_how(facts)}. Each class against the rest, sensitivity and specificity at the operating "
        "point chosen on the ensemble split.",
        folded=True,
    )
    if per_class is not None:
        blocks.append(per_class)
    if len(members):
        blocks.append(
            table(
                "members",
                "Members",
                "Which models form each ensemble, by what score on which split they were chosen, "
                "and their rank by it.",
                members,
                [
                    Column("ensemble", "Ensemble", code=True, model=True),
                    Column("member", "Member", code=True, model=True),
                    Column("rank", "Rank", count),
                    Column("score", "Score", number),
                    Column("score_metric", "Score is", code=True),
                    Column("split", "On split", code=True),
                ],
                source="ensembles/members.csv",
                folded=True,
            )
        )
    weights = facts.results.table("ensembles/weights.csv")
    if len(weights):
        blocks.append(
            table(
                "weights",
                "Fitted weights",
                "Weights of the weighted averages (not negative, sum 1), fitted by log loss on "
                "the ensemble split. A weight of 0 means that the member adds nothing there.",
                weights,
                [
                    Column("ensemble", "Ensemble", code=True, model=True),
                    Column("member", "Member", code=True, model=True),
                    Column("weight", "Weight", number),
                ],
                source="ensembles/weights.csv",
                folded=True,
            )
        )
    chosen = facts.chosen_table
    if len(chosen):
        frame = chosen.copy()
        frame["interval"] = [
            interval(row.get("ci_low", math.nan), row.get("ci_high", math.nan)) or pd.NA
            for row in frame.to_dict("records")
        ]
        blocks.append(
            table(
                "chosen",
                "What was chosen on the ensemble split",
                "The single model, the ensemble and the overall choice with their score on the "
                "ensemble split. Ensembles that are fitted there are scored by cross-fitting over "
                f"folds of {facts.unit}s, so that no image is scored by weights it has shaped. "
                f"Intervals are {facts.confidence} percentiles of resampled {facts.unit}s; for "
                "whether the choice holds, see the test split." + _chance_chosen(facts),
                frame,
                [
                    Column("what", "Choice"),
                    Column("model", "Model", code=True, model=True),
                    Column("metric", "By", code=True),
                    Column("score", "Score", number),
                    Column("interval", "Interval"),
                    Column("rule", "Rule"),
                ],
                source="ensembles/chosen.csv",
            )
        )
    blocks += _reasons(facts, ["ensemble"])
    return Section("ensembles", "Ensembles", blocks)


def _chance_chosen(facts: Facts) -> str:
    """Which choices fell on models that tell no classes apart on the ensemble split."""
    there = facts.degenerate("ensemble")
    names = facts.chosen_table.get("model", [])
    said = [
        f" On the ensemble split {name} {faults.phrase(there[name], 'images')}."
        for name in dict.fromkeys(names)
        if name in there
    ]
    return "".join(said)


def diversity(facts: Facts, figures: Figures) -> Section:
    """Whether the single models err on the same images."""
    pairs = facts.results.table("tables/diversity.csv")
    blocks: list[Block] = []
    if pairs.empty:
        blocks.append(Note("The diversity of the single models was not computed in this study."))
    else:
        pairs = pairs[pairs["split"] == "test"] if "split" in pairs else pairs
        pairs = pairs.sort_values("disagreement", ascending=False, kind="stable")
        said = []
        for what, label in (("losses", "different losses"), ("seeds", "different seeds")):
            part = pairs[pairs["differs"] == what] if "differs" in pairs else pairs[:0]
            if len(part):
                share = number(100 * part["disagreement"].mean(), 1)
                said.append(f"{share}% of the test images for {label}")
        if said:
            text = f"Just one of two models is right on {' and on '.join(said)}, on average. "
        else:
            text = ""
        text += "The less two models err on the same images, the more an ensemble of them can gain."
        blocks.append(Text([text]))
        for measure in ("disagreement", "q_statistic", "error_correlation"):
            ends = [measure, f"{measure}_ci_low", f"{measure}_ci_high"]
            if set(ends) <= set(pairs.columns):
                triples = zip(*(pairs[name] for name in ends), strict=True)
                cells = [value_cell(Estimate(*triple)) for triple in triples]
                pairs[measure] = pd.Series(cells, pairs.index, dtype=object)
        blocks.append(
            table(
                "diversity",
                "Pairs of single models",
                f"n = {facts.images('test')} test images. Disagreement: share of images where "
                "just one of the two is right. Q statistic: 1 when both are right and wrong "
                "together, 0 when independent, negative when they err on different images.",
                pairs,
                [
                    Column("model_a", "Model", code=True, model=True),
                    Column("model_b", "and", code=True, model=True),
                    Column("differs", "They differ in"),
                    Column("disagreement", "Disagreement", number),
                    Column("q_statistic", "Q statistic", number),
                    Column("error_correlation", "Correlation of errors", number),
                ],
                source="tables/diversity.csv",
            )
        )
    blocks += figures.take("gains", "diversity")
    return Section("diversity", "Diversity", blocks)


def _known(facts: Facts) -> str:
    """What is known of the spread between seeds where one loss was trained further times."""
    values = facts.seed_values
    if len(values) < 2:
        return ""
    loss = facts.study.repeated
    return (
        f", except for {loss}: its {facts.seeds_told} have a test MCC of "
        f"{number(statistics.mean(values))} on average, with a standard deviation of "
        f"{number(statistics.stdev(values))}, and lie up to "
        f"{number(max(values) - min(values))} apart"
    )


def replicates(facts: Facts, figures: Figures) -> Section:
    """Runs with different seeds, and whether losses differ by more than they do."""
    blocks: list[Block] = []
    spread = facts.results.table("tables/replicates.csv")
    said = spread_text(facts)
    if said is not None:
        blocks.append(Note(said, "verdict"))
    if facts.replicates == 1:
        blocks.append(
            Note(
                "Each loss was trained once, so the spread between seeds is not known"
                f"{_known(facts)}. Set replicates to {ENOUGH_SEEDS} or more to separate the loss "
                "from the seed.",
                "warning",
            )
        )
    elif facts.replicates < ENOUGH_SEEDS:
        blocks.append(
            Note(
                f"{facts.replicates} seeds give a poor estimate of the spread between seeds; "
                f"{ENOUGH_SEEDS} or more are needed to rely on it.",
                "warning",
            )
        )
    floor = facts.noise_floor()
    if floor:
        rows = [
            {
                "a": test.a,
                "b": test.b,
                "difference": value_cell(
                    Estimate(test.difference, test.low, test.high), show=signed
                ),
                "p": test.p_value,
                "corrected": test.p_adjusted,
                "of": test.hypotheses,
            }
            for test in floor
        ]
        blocks.append(
            table(
                "noise-floor",
                "Noise floor: pairs of the same objective",
                "Two names for the same function: the models of a pair differ by the random "
                "course of their training alone. Differences between other losses that are no "
                "larger than these cannot be told from luck. A test that rejects here says that "
                "two runs of one loss differ, not that two losses do.",
                pd.DataFrame(rows),
                [
                    Column("a", "Model", code=True, model=True),
                    Column("b", "minus", code=True, model=True),
                    Column("difference", "Difference", signed),
                    Column("p", "p", facts.p),
                    Column("corrected", "p, corrected", facts.p),
                    Column("of", "of", count),
                ],
                source="tables/significance.csv",
            )
        )
    if len(spread) and facts.replicates > 1:
        frame = spread[spread["metric"] == "mcc"]
        frame = frame.sort_values("mean", ascending=False, kind="stable")
        blocks.append(
            table(
                "replicates",
                "Test MCC over seeds",
                f"Mean, standard deviation and range over {facts.replicates} seeds of each family "
                "of models, and each run in the order of its seed. The standard deviation is "
                "between seeds; it does not hold the uncertainty from the choice of "
                f"{facts.unit}s.",
                frame.assign(runs=frame["runs"].map(_runs)) if "runs" in frame else frame,
                [
                    Column("family", "Models", code=True, model=True),
                    Column("kind", "Kind"),
                    Column("replicates", "Seeds", count),
                    Column("mean", "Mean", number),
                    Column("sd", "SD between seeds", number),
                    Column("minimum", "Lowest", number),
                    Column("maximum", "Highest", number),
                    Column("runs", "Each run"),
                ],
                source="tables/replicates.csv",
            )
        )
    if facts.crossed:
        rows = [
            {
                "loss": test.a,
                "runs": f"{test.runs_a} and {test.runs_b}",
                "difference": value_cell(
                    Estimate(test.difference, test.low, test.high), show=signed
                ),
                "p": test.p_value,
                "corrected": test.p_adjusted,
                "of": test.hypotheses,
                "correction": test.correction,
                "reject": test.reject,
            }
            for test in facts.crossed
        ]
        blocks.append(
            table(
                "crossed",
                f"Each loss against {facts.baseline_loss}, seeds and {facts.unit}s as chance",
                f"n = {facts.size('test')}. Difference of the mean test "
                f"{facts.metric(facts.tested).title} over the runs of the loss and of "
                f"{facts.baseline_loss}, with a {facts.confidence} interval that counts both the "
                f"choice of {facts.unit}s and the choice of seeds, and p values before and after "
                "correction over the family. This is the comparison to trust: it is about the "
                "loss, not about one run of it.",
                pd.DataFrame(rows),
                [
                    Column("loss", "Loss", code=True, model=True),
                    Column("runs", "Runs"),
                    Column("difference", "Difference of means", signed),
                    Column("p", "p", facts.p),
                    Column("corrected", "p, corrected", facts.p),
                    Column("of", "of", count),
                    Column("correction", "Correction"),
                    Column("reject", "Rejects", yes),
                ],
                source="tables/replicate_comparisons.csv",
            )
        )
    if facts.gains(MEMBER):
        rows = [
            {
                "ensemble": test.a,
                "against": "its best member" if against == MEMBER else test.b,
                "difference": value_cell(
                    Estimate(test.difference, test.low, test.high), show=signed
                ),
                "p": test.p_value,
                "corrected": test.p_adjusted,
                "of": test.hypotheses,
                "reject": test.reject,
            }
            for against in (MEMBER, SEEDS)
            for test in facts.gains(against)
        ]
        blocks.append(
            table(
                "gains",
                f"What each kind of ensemble gains, seeds and {facts.unit}s as chance",
                f"n = {facts.size('test')}. Mean over the replicates of the difference in "
                f"{facts.metric(facts.tested).title} between an ensemble and its best member, or "
                "an average of as many seeds of one loss, paired by replicate. One hypothesis is "
                "one method with one number of members.",
                pd.DataFrame(rows),
                [
                    Column("ensemble", "Kind of ensemble", code=True, model=True),
                    Column("against", "against"),
                    Column("difference", "Difference", signed),
                    Column("p", "p", facts.p),
                    Column("corrected", "p, corrected", facts.p),
                    Column("of", "of", count),
                    Column("reject", "Rejects", yes),
                ],
                source="tables/ensemble_comparisons.csv",
            )
        )
    blocks += figures.take("replicates", "rank")
    if not blocks:
        blocks.append(Note("This study has neither repeated trainings nor pairs of equal losses."))
    return Section("replicates", "Seeds and run-to-run noise", blocks)


def _runs(text: Any) -> str:
    """'0.8123;0.79' -> '0.812, 0.790'."""
    return ", ".join(number(float(run)) if run else "failed" for run in str(text).split(";"))
