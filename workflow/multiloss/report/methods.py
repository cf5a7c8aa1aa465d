"""A methods paragraph ready for a paper, with its references, from the config and the tables."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from multiloss import __version__, references
from multiloss.data import layouts
from multiloss.data.tables import SPLITS
from multiloss.evaluation import families
from multiloss.losses import calibrated
from multiloss.losses import described as losses_of
from multiloss.methods import Method, ensemble_methods
from multiloss.networks import backbones
from multiloss.registry import Described
from multiloss.report.blocks import (
    Block,
    Bullets,
    Heading,
    Note,
    Section,
    Text,
    listed,
    lowered,
    number,
    number_text,
    plural,
)
from multiloss.report.facts import Facts, differences, loss_parameters, percent
from multiloss.report.templates import said as said_by
from multiloss.statistics.metrics import PRIMARY
from multiloss.study import ABLATIONS, Variant

MONITORED = {"mcc": "MCC", "dice": "Dice"}


class Citer:
    """Numbers references in the order in which the text cites them."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, *keys: str) -> str:
        for key in keys:
            if key not in self.keys:
                self.keys.append(key)
        return "[" + ", ".join(str(self.keys.index(key) + 1) for key in keys) + "]"

    @property
    def references(self) -> list[str]:
        return [references.cited(key) for key in self.keys]


def _network_training(settings: Mapping[str, Any], cite: Citer) -> str:
    """How one kind of network was trained, in one or two sentences."""
    training = settings["training"]
    monitor = training["monitor"].removeprefix("val_")
    monitor = f"validation {MONITORED.get(monitor, monitor)}"
    plateau, stopping = training["reduce_on_plateau"], training["early_stopping"]
    most = "at most " if stopping else ""
    result = (
        f"with {_optimizer(training['optimizer'], cite)} in batches of {training['batch_size']} "
        f"for {most}{plural(training['epochs'], 'epoch')}"
    )
    extras = [_schedule(training)]
    if plateau:
        floor = plateau["min_learning_rate"]
        extras.append(
            f"the learning rate multiplied by {plateau['factor']:g} after "
            f"{plural(plateau['patience'], 'epoch')} without better {monitor}"
            + (f", down to {_decimal(floor)}" if floor else "")
        )
    if stopping:
        extras.append(
            f"early stopping after {plural(stopping['patience'], 'epoch')} without better {monitor}"
        )
    if training["batch_norm_momentum"] is not None:
        extras.append(
            f"a momentum of {training['batch_norm_momentum']:g} of batch normalisation's statistics"
        )
    result += f", with {listed(extras)}"
    if training["keep"] == "best":
        result += f"; the weights of the epoch with the best {monitor} were kept"
    else:
        result += "; the weights of the last epoch were kept"
    changes = [
        "mirroring"
        if isinstance(value, bool)
        else f"rotation up to {value:g} degrees"
        if key == "rotation_degrees"
        else f"{key.replace('_', ' ')} up to {value:g}"
        for key, value in (settings.get("augmentation") or {}).items()
        if value
    ]
    if changes:
        result += f". Training images were changed at random ({', '.join(changes)})"
    return result


def _schedule(training: Mapping[str, Any]) -> str:
    """The course of the learning rate before any plateau lowers it."""
    cosine = training["schedule"] == "cosine"
    warmup = training["warmup_fraction"]
    if not warmup:
        return "a cosine schedule of the learning rate" if cosine else "a constant learning rate"
    return (
        f"a learning rate that rises linearly over the first {number(100 * warmup, 0)}% of the "
        f"steps and then {'falls to 0 by a cosine schedule' if cosine else 'stays as it is'}"
    )


def _optimizer(optimizer: Mapping[str, Any], cite: Citer) -> str:
    """'Adam [3] (learning rate 0.001)'."""
    name = optimizer["name"]
    text = f"Adam {cite('kingma2015')}" if name == "adam" else "stochastic gradient descent"
    details = [f"learning rate {_decimal(optimizer['learning_rate'])}"]
    if name == "sgd" and optimizer["momentum"]:
        nesterov = "Nesterov " if optimizer["nesterov"] else ""
        details.append(f"{nesterov}momentum {optimizer['momentum']:g}")
    if optimizer["decay"]:
        details.append(f"decay {_decimal(optimizer['decay'])} for each step")
    return f"{text} ({', '.join(details)})"


def _decimal(value: float) -> str:
    """0.000001 rather than 1e-06."""
    return f"{value:.10f}".rstrip("0").rstrip(".")


def _with_parameters(kind: str, entry: Mapping[str, Any]) -> str:
    """'focal with gamma 2': a loss and the parameters that were used."""
    used = loss_parameters(kind, entry)
    said = [f"{key} {number_text(value)}" for key, value in used.items() if value is not None]
    return f"{entry['name']} with {listed(said)}" if said else str(entry["name"])


def _variant(variant: Variant, settings: Mapping[str, Any]) -> str:
    """'focal_3 (focal with gamma 3; trained with epochs 2)'."""
    text = _with_parameters("classification", variant.loss)
    changed = differences(variant, settings)
    if changed:
        text += f"; trained with {listed(changed)}"
    if variant.name != variant.loss["name"]:
        return f"{variant.name} ({text})"
    return f"{text}" if not changed else text.replace("; ", " (", 1) + ")"


def _sources(things: Iterable[Described | Method], cite: Citer) -> str:
    """The citations of losses or methods, each once, after a blank; "" without one."""
    keys = dict.fromkeys(key for thing in things for key in thing.cites)
    return f" {cite(*keys)}" if keys else ""


def _seed_ensembles(facts: Facts) -> str:
    """What stands beside the ensembles at the same cost."""
    averages = [facts.planned[name] for name in facts.seed_ensembles]
    if not averages:
        return ""
    sizes = listed(sorted({str(model.k) for model in averages}, key=int))
    loss = averages[0].variant
    text = f" Beside them stand averages of {sizes} training runs of the loss {loss}"
    further = len(facts.study.select(["seed"]))
    if further:
        text += f", for which it was trained {plural(further, 'further time')}"
    return text + "."


def paragraphs(facts: Facts) -> tuple[list[str], list[str]]:
    """Methods in paragraphs, and the references they cite by number."""
    cite = Citer()
    config = facts.config
    found = [_data(facts, cite)]
    found += [_segmentation(facts, cite)] if facts.study.segmented else []
    found.append(_classification(facts, cite))
    ensembles = config["ensembles"]
    if ensembles.get("methods") and ensembles.get("top_k"):
        said = []
        for method in map(ensemble_methods().get, ensembles["methods"]):
            text = f"{method.title} ({lowered(method.sentence)}){_sources([method], cite)}"
            head = ensembles["model_level"]
            if method.level == "model":
                text += (
                    f" (a 1 x 1 convolution with {head['filters']} filters, global average "
                    f"pooling, softmax), trained {_network_training(head, cite)}"
                )
            said.append(text)
        sizes = listed([str(k) for k in ensembles["top_k"]])
        found.append(
            f"Ensembles were built from the {sizes} single models with the highest Matthews "
            f"correlation coefficient (MCC) on the ensemble split, by {'; '.join(said)}. The best "
            f"ensemble was chosen there by cross-fitting over folds of {facts.unit}s"
            + (", by its mean over the runs." if facts.redrawn else ".")
            + _seed_ensembles(facts)
        )
    found.append(_statistics(facts, cite))
    if config.get("gradcam", {}).get("enabled", True):
        text = (
            f"Class activation maps were computed by Grad-CAM {cite('selvaraju2017')} for the "
            "predicted class at the deepest convolutional layer"
        )
        measured = facts.results.table("tables/localisation.csv")
        # Of lesions that nobody knows the table has rows without a value.
        measured = measured[measured["value"].notna()] if "value" in measured else measured
        metrics = set(measured["metric"].astype(str)) if "metric" in measured else set()
        judged = ["by the share of heat inside the lungs"] if facts.study.segmented else []
        if any("pointing" in metric for metric in metrics):
            judged.append(
                f"by the pointing game {cite('zhang2018')} and its energy-based form "
                f"{cite('wang2020')} on known lesions"
            )
        if any("deletion" in metric for metric in metrics):
            judged.append(f"by deletion and insertion curves {cite('petsiuk2018')}")
        if any("random" in metric for metric in metrics):
            judged.append(f"against networks with random weights {cite('adebayo2018')}")
        if judged:
            text += f", and judged {listed(judged)}"
        found.append(text + ".")
    found.append(
        f"The study was run with Snakemake {cite('molder2021')} and multiloss {__version__}; all "
        f"random numbers derive from the seed {config['seed']}."
    )
    return found, cite.references


def _segmentation(facts: Facts, cite: Citer) -> str:
    settings = facts.config["segmentation"]
    names = [str(entry["name"]) for entry in settings["losses"]]
    losses = [_with_parameters("segmentation", entry) for entry in settings["losses"]]
    known = losses_of("segmentation")
    return (
        f"Lungs were segmented by a U-Net {cite('ronneberger2015')} with "
        f"{_network(settings, cite)} as its encoder that started from {_start(settings)}, at "
        f"{settings['image_size']} x {settings['image_size']} pixels, one "
        f"for each of {plural(len(names), 'loss', 'losses')} ({'; '.join(losses)})"
        f"{_sources((known[name] for name in names), cite)}, trained "
        f"{_network_training(settings, cite)}. {_combination(settings)} Images were cropped to the "
        f"bounding box of the lungs, widened by {number(100 * facts.config['crop']['margin'], 0)}% "
        "on each side; an image with an empty mask was used whole."
    )


def _network(settings: Mapping[str, Any], cite: Citer) -> str:
    """A backbone as papers call it, with its reference."""
    backbone = backbones.get(settings["backbone"])
    return backbone.title + (f" {cite(*backbone.cites)}" if backbone.cites else "")


def _start(settings: Mapping[str, Any]) -> str:
    """What weights an encoder starts from."""
    weights = str(settings.get("encoder_weights", "none"))
    known = {"none": "random weights", "imagenet": "ImageNet weights"}
    return known.get(weights, f"the weights in {Path(weights).name}")


def _encoder(facts: Facts, cite: Citer) -> str:
    """The encoder of the classifiers, and what it sees."""
    settings = facts.config["classification"]
    if facts.study.from_segmenter:
        return "the encoder of the best segmenter"
    return (
        f"{_network(settings, cite)} as encoder, which started from {_start(settings)} and saw "
        "values normalised by ImageNet's channels"
    )


def _seen(facts: Facts) -> str:
    """What of an image the classifiers see."""
    size = facts.config["classification"]["image_size"]
    seen = f"at {size} x {size} pixels"
    if not facts.study.segmented:
        seen += f", to which the whole {'RGB' if facts.study.rgb else 'grey'} images were stretched"
    elif facts.study.rgb:
        seen += " in colour"
    return seen


def _combination(settings: Mapping[str, Any]) -> str:
    """Which segmenters make the masks."""
    share = number(100 * settings["val_fraction"], 0)
    on = f"the best mean Dice on validation images ({share}% of those to train on)"
    if settings["ensemble_size"] == 1:
        return f"The one with {on} made the masks."
    return f"The {settings['ensemble_size']} with {on} were combined by a pixel-wise AND."


def _classification(facts: Facts, cite: Citer) -> str:
    settings = facts.config["classification"]
    variants = facts.study.listed.values()
    losses = [_variant(variant, settings) for variant in variants]
    names = [str(variant.loss["name"]) for variant in variants]
    weights = "without class weights"
    if settings.get("class_weights") == "balanced":
        weights = "with class weights inversely proportional to the class sizes"
        if any(name in calibrated() for name in names):
            weights += " (on each image's loss, not on the calibration term of the batch)"
    ablations = [ABLATIONS[name] for name in facts.config["ablations"]]
    return (
        f"Classifiers consisted of {_encoder(facts, cite)}, cut at "
        f"{backbones.get(settings['backbone']).cut_layer}, a 3 x 3 "
        "convolution with 512 filters and ReLU, global average pooling and a softmax layer, "
        f"{_seen(facts)}. One was trained for each of "
        f"{facts.losses_told} ({'; '.join(losses)})"
        f"{_sources((losses_of('classification')[name] for name in names), cite)}"
        + (f" and each of {facts.replicates} seeds" if facts.replicates > 1 else "")
        + f", {weights}, {_network_training(settings, cite)}."
        + (f" The loss {facts.baseline_loss} was also trained {listed(ablations)}."
           if ablations else "")
        + f" The design follows {cite('rajaraman2021')}, with what is chosen or fitted after the "
        "trainings moved from the test split to a split of its own."
    )  # fmt: skip


def _data(facts: Facts, cite: Citer) -> str:
    names = {"classification": "images to classify", "lungs_train": "lung masks for training",
             "lungs_test": "lung masks for testing", "external_test": "images of external tests",
             }  # fmt: skip
    origins: dict[str, list[str]] = {}
    for role, label in names.items():
        for source in map(facts.provenance, facts.sources(role)):
            if source["layout"] == "phantom":
                origin = "a generator of phantom radiographs"
            else:
                origin = source["name"]
                keys = layouts.get(source["layout"]).cites
                if keys:
                    origin += f" (layout of {cite(*keys)})"
                elif source.get("citation"):
                    origin += f" ({source['citation']})"
            origins.setdefault(origin, []).append(label)
    said = [
        f"{listed(list(dict.fromkeys(labels)))} came from {origin}"
        for origin, labels in origins.items()
    ]
    text = "; ".join(said) + "."
    text = text[:1].upper() + text[1:]
    manifest = facts.manifest
    if not manifest.empty:
        counts = [f"{split} {facts.size(split)}" for split in SPLITS]
        text += (
            f" {facts.size()} in {plural(len(facts.classes), 'class', 'classes')} "
            f"({listed(facts.classes)}) were divided by {facts.unit}, stratified by class"
            + (", but for the test split, which is the sources' own" if facts.shipped_test else "")
            + f": {'; '.join(counts)}."
        )
        if facts.redrawn:
            text += (
                f" Each further training run divided the {facts.unit}s outside the test split anew."
            )
        if facts.external:
            told = [f"{split} {facts.size(split)}" for split in facts.external]
            text += (
                f" {plural(len(told), 'external test')}, without an image or known patient of the "
                f"study, {'was' if len(told) == 1 else 'were'} predicted and evaluated apart, with "
                f"models, weights and thresholds as they were: {'; '.join(told)}."
            )
        unknown = facts.unknown()
        if unknown:
            which = f" for {percent(unknown)} of the images" if unknown < 1 else ""
            text += (
                f" Patients were not known{which}; these were taken "
                "as independent; intervals may be too narrow."
            )
        said = [said_by("_data", macro, facts) for macro in ("left_out", "dropped")]
        text += "".join(f" {sentence}" for sentence in said if sentence)
    return text


def _statistics(facts: Facts, cite: Citer) -> str:
    settings = facts.config.get("evaluation", {})
    tested = facts.metric(facts.tested).title
    text = f"The primary metric was the multi-class MCC {cite('gorodkin2004')} on the test split, "
    if facts.tested != PRIMARY:
        text = f"Models were chosen by the multi-class MCC {cite('gorodkin2004')} and compared by "
        text += f"the {tested} on the test split, "
    source = f" {cite('efron1987')}" if "accelerated" in facts.interval_method else ""
    text += (
        f"with {facts.confidence} intervals by {facts.interval_method}{source} over resampled "
        f"{facts.unit}s {cite('field2007')}"
    )
    if settings.get("resamples"):
        text += f" ({plural(settings['resamples'], 'resample')})"
    text += (
        ". Calibration was measured by the slope and intercepts of logistic recalibration "
        f"{cite('vanhoorde2014', 'vancalster2019')}, the Brier score {cite('brier1950')} and the "
        f"log loss, and described by the expected calibration error {cite('guo2017')} beside what "
        "labels drawn from the model's own probabilities would show"
        + (", before and after scaling by a temperature that was fitted on the ensemble split"
           if settings.get("temperature_scaling") else "")
        + "."
    )  # fmt: skip
    if settings.get("operating_point") == "youden":
        text += (
            " Sensitivity and specificity were taken at the threshold with the largest Youden "
            f"index {cite('youden1950')} on the ensemble split."
        )
    else:
        aim, _, level = settings["operating_point"].partition("_")
        text += (
            " Sensitivity and specificity were taken at thresholds chosen for a "
            f"{aim} of {level}% on the ensemble split."
        )
    text += f" All intervals and tests are conditional on {listed(facts.shared)}."
    text += _tests(facts, cite)
    if not facts.results.table("tables/diversity.csv").empty:
        text += (
            " Diversity of the single models was measured by disagreement and the Q statistic "
            f"{cite('kuncheva2003')}."
        )
    return text


# Where the corrections of p values come from.
CORRECTIONS = {families.HOLM: ("holm1979",), families.MAX_T: ("westfall1993", "romano2005")}


def _tests(facts: Facts, cite: Citer) -> str:
    """How models were compared, with the hypotheses that were said beforehand."""
    metric = facts.metric(facts.tested).title
    primary = facts.primary_families
    text = ""
    if primary:
        counts = [
            f"{families.label(family.name, facts.unit)} "
            f"({plural(family.hypotheses, 'hypothesis', 'hypotheses')})"
            for family in primary
        ]
        text += (
            f" The primary hypotheses were fixed before any result, by the test {metric} alone: "
            f"{'; '.join(counts)}. Two losses that are one objective are no hypothesis."
        )
    if facts.crossed:
        pooled = facts.results.table("tables/replicate_comparisons.csv")["method"] == "pooled"
        text += (
            " Losses were compared by the means of their runs, with training runs and "
            f"{facts.unit}s as crossed random factors"
            + (", the variance between runs pooled over the losses" if pooled.any() else "")
            + ", by Student's t with Satterthwaite's degrees of freedom "
            f"{cite('satterthwaite1946')}."
        )
    text += f" Two runs were compared by sign-flip permutation by {facts.unit}"
    if facts.permutations:
        text += f" (up to {facts.permutations:,} permutations)"
    used = facts.significance
    names = set(used["test"].astype(str).str.lower()) if "test" in used else set()
    others = []
    if any("boot" in name for name in names):
        others.append(f"the paired bootstrap over {facts.unit}s")
    if any("delong" in name for name in names):
        delong = f"DeLong's test {cite('delong1988')}"
        if facts.unit == "patient":
            delong += f" adjusted for clusters {cite('obuchowski1997')}"
        others.append(delong)
    if any("mcnemar" in name for name in names):
        others.append(f"McNemar's exact test {cite('mcnemar1947')} at the level of images")
    if any("cochran" in name for name in names):
        others.append(f"Cochran's Q {cite('cochran1950')} over all single models")
    if others:
        text += f"; {listed(others)} were computed beside it"
    text += "."
    tables = [facts.significance, facts.results.table("tables/replicate_comparisons.csv")]
    said = [table["correction"].dropna() for table in tables if "correction" in table]
    corrections = [name for name in CORRECTIONS if any((part == name).any() for part in said)]
    if not facts.results.table("tables/net_benefit.csv").empty:
        text += (
            " What acting on a model is worth was measured by its net benefit "
            f"{cite('vickers2006', 'vancalster2025')}."
        )
    margin = facts.config["significance"]["equivalence_margin"]
    if margin and not facts.results.table("tables/verdicts.csv").empty:
        text += (
            " Two models were called equivalent where both one-sided tests "
            f"{cite('schuirmann1987')} placed their difference within {margin:g}."
        )
    if corrections:
        by = [f"{CORRECTIONS[name][0]} {cite(*CORRECTIONS[name][1:])}" for name in corrections]
        text += (
            f" p values were corrected within each family of hypotheses by {' or '.join(by)}; a "
            f"test rejects at a corrected p of at most {facts.alpha:g}."
        )
    return text


def section(facts: Facts) -> Section:
    """The paragraph and its references."""
    text, references = paragraphs(facts)
    blocks: list[Block] = [
        Text(
            [
                "Ready for a paper: generated from the config and the tables, so it says what was "
                "done. Numbers in brackets are the references below."
            ]
        ),
        Text(list(text)),
        Heading("References"),
        Bullets(list(references), ordered=True),
    ]
    return Section("methods", "Methods paragraph", blocks)


def _author(author: Mapping[str, str]) -> str:
    """'Rajaraman S'; the name of a group as it stands."""
    if "name" in author:
        return author["name"]
    initials = "".join(name[0] for name in author["given-names"].split())
    return f"{author['family-names']} {initials}"


def _article(entry: Mapping[str, Any]) -> str:
    """An article of CITATION.cff in the style of the reference list."""
    authors = ", ".join(_author(author) for author in entry["authors"])
    return references.written({**entry, "authors": authors, "pages": entry["start"]})


def citation(facts: Facts, text: str) -> Section:
    """What to cite when results of this page are used; `text` is that of CITATION.cff."""
    if not text:
        note = Note("How to cite the workflow was not handed to the report.")
        return Section("cite", "How to cite", [note])
    own = yaml.safe_load(text)
    authors = listed([_author(author) for author in own["authors"]])
    items = [
        f"This workflow: {authors}. {own['title']}. Version {own['version']} ({own['license']} "
        f"licence); with the name of the study ({facts.config['study']}) and its seed "
        f"({facts.config['seed']}).",
        f"The study it follows: {_article(own['preferred-citation'])}",
        f"The workflow engine: {references.cited('molder2021')}",
    ]
    for source in map(facts.provenance, facts.sources()):
        if source.get("citation") and source["layout"] != "phantom":
            terms = f" Licence: {source['license']}." if source.get("license") else ""
            items.append(f"The data source {source['name']}: {source['citation']}.{terms}")
    return Section("cite", "How to cite", [Bullets(list(items))])
