"""What a study trains and judges: its variants, its models, and the one place that names them.

A `Variant` is one way of training a classifier, a `Model` anything that has predictions. Only this
module makes a model's name; everyone else looks a model up, here or in data/models.csv. Read by
the Snakefile, so it uses the standard library only.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from multiloss import losses
from multiloss.data.layouts import EXTERNAL_TEST
from multiloss.job.errors import UserError
from multiloss.losses.parameters import Relations
from multiloss.methods import MODEL_LEVEL, ensemble_methods

# Patterns of names, for Snakemake's wildcards too; nothing reads them backwards.
OF_VARIANT = "{variant}-r{replicate}"
OF_FAMILY = "{family}-r{replicate}"
OF_MODEL_LEVEL = MODEL_LEVEL + "-top{k}-r{replicate}"
OF_SEEDS = "seed_average-{variant}-top{k}"
SCALED = "{model}-temperature"

SEED_AVERAGE, BEST_SINGLE = "seed_average", "best_single"
# The steps that the baseline may be trained without, in words.
ABLATIONS = {
    "without_crop": "without the crop to the lungs",
    "without_class_weights": "without class weights",
}


class Kind(NamedTuple):
    """A kind of model in words: one, and several."""

    one: str
    many: str


KINDS = {
    "single": Kind("single model", "single models"),
    "ablation": Kind("ablation of the baseline", "ablations of the baseline"),
    "ensemble": Kind("ensemble", "ensembles"),
    "seed": Kind("additional seed", "additional seeds of one loss"),
    "seed_ensemble": Kind("average of seeds", "averages of seeds of one loss"),
}
# What tables tell beside the models: the same model after its probabilities were scaled.
TEMPERATURE = "temperature"
TRAINED = ("single", "ablation", "seed")
# Roles of sources that make a study one with lungs; it has both or none.
LUNG_ROLES = ("lungs_train", "lungs_test")
# What `classification.encoder_weights` calls the encoder of the best lung segmenter.
SEGMENTER = "segmenter"
# What tables call all classes but the negative one together.
ANY_FINDING = "any finding"
# Names that a class of images without a finding bears, in any letters; the plainest first.
NEGATIVE_NAMES = ("normal", "no finding", "no findings", "healthy", "negative", "benign")
LEVELS = (None, "prediction", "model", "model_average")
# Convolutions whose maps are the last with a place: of a classifier, of a model-level ensemble.
LAYER, LAYER_OF_MODEL_LEVEL = "dcl", "ensemble_conv"
# What an entry of `classification.losses` may say beside its loss and the loss's parameters.
OWN_KEYS = ("as", "class_weights", "training", "augmentation")


def variant_label(name: str, loss: str) -> str:
    """A variant as a reader sees it: the loss's title, then what its name adds to the loss's."""
    known = losses.described("classification").get(loss)
    ours = known is not None and (name == loss or name.startswith(f"{loss}_"))
    text = known.title + name.removeprefix(loss) if ours else name
    return text.replace("_", " ")


def method_label(method: str) -> str:
    """An ensemble method as a reader sees it."""
    return ensemble_methods()[method].title


@dataclass(frozen=True)
class Variant:
    """One way of training a classifier; `name` is the {variant} of its files.

    `loss`: name and all parameters. `training` and `augmentation` are complete: the study's with
    the entry's own keys. `crop`: whether it sees crops to the lungs or whole images. `ablation`:
    the step that is left out of the baseline, or None. `relations`: how the loss stands to others,
    as from `losses.relations`.
    """

    name: str
    loss: Mapping[str, Any]
    class_weights: str
    training: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    crop: bool = True
    ablation: str | None = None
    relations: Mapping[str, Relations] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The variant as a reader sees it."""
        return variant_label(self.name, self.loss["name"])

    @property
    def val_decides(self) -> bool:
        """Whether the val split has a say in the weights of this training."""
        return val_decides(self.training)


@dataclass(frozen=True)
class Model:
    """Anything that has predictions; `name` is that of its file.

    `kind`: `single`, `ablation`, `ensemble`, `seed_ensemble` (k seeds of one variant averaged) or
    `seed` (the further trainings of that variant where k is more than the replicates). `family`:
    the name that its replicates share; `label`: the family in words. `level` of an ensemble:
    `prediction`, `model`, or `model_average` for the average of the model-level ensembles.
    `members`: of an ensemble whose members are known before any job runs (an average of seeds or of
    model-level ensembles). `cropped`: whether it sees crops or whole images.
    """

    name: str
    kind: str
    family: str
    label: str
    variant: str | None = None
    loss: str | None = None
    replicate: int | None = None
    method: str | None = None
    k: int | None = None
    level: str | None = None
    members: tuple[str, ...] = ()
    cropped: bool = True

    @property
    def label_of_run(self) -> str:
        """The model in words, with the number of its run."""
        return self.label if self.replicate is None else f"{self.label} (run {self.replicate})"

    @property
    def trained(self) -> bool:
        """Whether it is a classifier of its own, not made from others."""
        return self.kind in TRAINED

    @property
    def explained_layer(self) -> str:
        """The layer that Grad-CAM looks at."""
        return LAYER_OF_MODEL_LEVEL if self.level == "model" else LAYER


Models = Mapping[str, Model]


@dataclass(frozen=True)
class Study:
    """The validated config with its variants and models."""

    config: Mapping[str, Any]

    @property
    def segmented(self) -> bool:
        """Whether the study has lung masks to learn from, and so segmenters, masks and crops."""
        return any(source["role"] in LUNG_ROLES for source in self.config["data"]["sources"])

    @property
    def external(self) -> list[str]:
        """Names of the sources of external tests."""
        sources = self.config["data"]["sources"]
        return [source["name"] for source in sources if source["role"] == EXTERNAL_TEST]

    @property
    def rgb(self) -> bool:
        """Whether the classifiers see colour, or grey values."""
        return self.config["images"]["channels"] == "rgb"

    @property
    def encoder_weights(self) -> str:
        """What classifiers start from: segmenter, imagenet, none, or a weights file."""
        return self.config["classification"]["encoder_weights"]

    @property
    def from_segmenter(self) -> bool:
        """Whether the classifiers start from the best segmenter's encoder."""
        return self.encoder_weights == SEGMENTER

    @property
    def negative_class(self) -> str | None:
        """The class of images without a finding, or None; see the key `negative_class`."""
        return negative_class(self.config["classes"], self.config["negative_class"])

    @cached_property
    def listed(self) -> dict[str, Variant]:
        """The variants of `classification.losses` by name, in its order."""
        settings = self.config["classification"]
        found = {}
        for entry in settings["losses"]:
            loss = {key: value for key, value in entry.items() if key not in OWN_KEYS}
            name = variant_name(entry)
            found[name] = Variant(
                name,
                loss,
                entry.get("class_weights", settings["class_weights"]),
                {**settings["training"], **entry.get("training", {})},
                {**settings["augmentation"], **entry.get("augmentation", {})},
                crop=self.segmented,
                relations=losses.relations([loss["name"]]),
            )
        return found

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """All ways of training a classifier: those listed, and the baseline's ablations."""
        base = self.listed[self.baseline]
        found = dict(self.listed)
        for ablation in self.config["ablations"]:
            name = f"{base.name}_{ablation}"
            weights = "none" if ablation == "without_class_weights" else base.class_weights
            found[name] = Variant(
                name,
                base.loss,
                weights,
                base.training,
                base.augmentation,
                crop=self.segmented and ablation != "without_crop",
                ablation=ablation,
            )
        return found

    @property
    def baseline(self) -> str:
        """Name of the variant that all others are compared with."""
        return self.config["significance"]["baseline"]

    @property
    def repeated(self) -> str:
        """Name of the variant whose seeds are averaged."""
        return self.config["ensembles"]["seed_ensemble"]["loss"] or self.baseline

    @property
    def replicates(self) -> range:
        """Numbers of the training runs of each variant."""
        return range(self.config["replicates"])

    @cached_property
    def runs(self) -> range:
        """Numbers of all training runs: a variant whose seeds are averaged may have more."""
        return range(1 + max(model.replicate for model in self.select(TRAINED)))

    @property
    def folds(self) -> int:
        """How many folds each pass of runs tests on in turn; 0 where all runs have one test split.

        Run r tests on fold r % folds of pass r // folds, and each pass draws folds of its own.
        """
        return self.config["splits"]["folds"] or 0

    @cached_property
    def shown(self) -> "Study":
        """The study as all tables but those of the folds tell it.

        Runs that test on other folds are no further seeds on the same test images, so these tables
        are of the first run alone, whose test split is the first fold of the first pass. Without
        folds it is the study itself.
        """
        if not self.folds:
            return self
        splits = {**self.config["splits"], "redraw": False}
        return Study({**self.config, "replicates": 1, "splits": splits})

    @property
    def redrawn(self) -> bool:
        """Whether each run has its own train, val and ensemble split."""
        return self.config["splits"]["redraw"] or (self.folds > 0 and len(self.replicates) > 1)

    @property
    def test_drawn(self) -> bool:
        """Whether chance decides who is in the test split, and so how common each class is."""
        return self.folds > 0 or self.config["splits"]["test"] != "shipped"

    @property
    def divisions(self) -> dict[str, int | None] | None:
        """By model the run whose val and ensemble images it predicts; None where all have the same.

        A model of several runs, such as an average of seeds, has the common splits alone (None).
        """
        if not self.redrawn:
            return None
        return {model.name: model.replicate for model in self.models.values()}

    @cached_property
    def models(self) -> dict[str, Model]:
        """Every model of the study by name, in the order of the config."""
        found = [self._single(v, r) for v in self.variants.values() for r in self.replicates]
        methods, sizes = self.config["ensembles"]["methods"], self.config["ensembles"]["top_k"]
        for replicate in self.replicates:
            for method in methods:
                found += [self._ensemble(method, k, replicate) for k in sizes]
            if MODEL_LEVEL in methods and "weighted_average" in methods:
                found.append(self._average_of_model_level(replicate))
        if self.folds:
            # What one run tests on, others were trained on: there is nothing to average.
            return {model.name: model for model in found}
        further = bool(self.config["ensembles"]["seed_ensemble"]["further_seeds"] and methods)
        repeated = self.listed[self.repeated]
        if further:
            seeds = range(len(self.replicates), max(sizes, default=0))
            found += [self._single(repeated, seed, "seed") for seed in seeds]
        found += [
            self._average_of_seeds(repeated, k)
            for k in sizes
            if further or len(self.replicates) >= k
        ]
        return {model.name: model for model in found}

    def _single(self, variant: Variant, replicate: int, kind: str | None = None) -> Model:
        return Model(
            OF_VARIANT.format(variant=variant.name, replicate=replicate),
            kind or ("ablation" if variant.ablation else "single"),
            variant.name,
            variant.label,
            variant.name,
            variant.loss["name"],
            replicate,
            cropped=variant.crop,
        )

    def _ensemble(self, method: str, k: int, replicate: int) -> Model:
        family = f"{method}-top{k}"
        return Model(
            of_replicate(family, replicate),
            "ensemble",
            family,
            # The non-breaking space keeps the number beside its word when a line is broken.
            f"{method_label(method)}, top\N{NO-BREAK SPACE}{k}",
            replicate=replicate,
            method=method,
            k=k,
            level=ensemble_methods()[method].level,
            cropped=self.segmented,
        )

    def _average_of_model_level(self, replicate: int) -> Model:
        family, sizes = f"weighted_average-{MODEL_LEVEL}", self.config["ensembles"]["top_k"]
        return Model(
            of_replicate(family, replicate),
            "ensemble",
            family,
            f"{method_label('weighted_average')} of {method_label(MODEL_LEVEL)}s",
            replicate=replicate,
            method="weighted_average",
            k=len(sizes),
            level="model_average",
            members=tuple(OF_MODEL_LEVEL.format(k=k, replicate=replicate) for k in sizes),
            cropped=self.segmented,
        )

    def _average_of_seeds(self, variant: Variant, k: int) -> Model:
        name = OF_SEEDS.format(variant=variant.name, k=k)
        return Model(
            name,
            "seed_ensemble",
            name,
            f"{k} seeds of {variant.label} averaged",
            variant.name,
            variant.loss["name"],
            method=SEED_AVERAGE,
            k=k,
            members=tuple(OF_VARIANT.format(variant=variant.name, replicate=r) for r in range(k)),
            cropped=variant.crop,
        )

    def select(
        self,
        kinds: Iterable[str] = KINDS,
        replicate: int | None = None,
        levels: Iterable[str | None] = LEVELS,
    ) -> list[Model]:
        """The models of some kinds and levels, of one replicate where it is given."""
        kinds, levels = set(kinds), set(levels)
        return [
            model
            for model in self.models.values()
            if model.kind in kinds
            and model.level in levels
            and (replicate is None or model.replicate == replicate)
        ]

    def run(self, variant: str, replicate: int) -> Model:
        """A training run of a variant."""
        return self.models[OF_VARIANT.format(variant=variant, replicate=replicate)]

    @cached_property
    def explained(self) -> list[Model]:
        """Models with Grad-CAM maps: classifiers (no further seeds) and model-level ensembles."""
        if not self.config["gradcam"]["enabled"]:
            return []
        return [
            model
            for replicate in self.replicates
            for model in self.select(["single", "ablation", "ensemble"], replicate)
            if model.level in (None, "model")
        ]

    @property
    def heads_decided_on_val(self) -> bool:
        """Whether the val split has a say in the weights of model-level heads."""
        return val_decides(self.config["ensembles"]["model_level"]["training"])

    @property
    def decided_on_val(self) -> list[str]:
        """Names of the models whose weights, or those of a possible member, val had a say in."""
        single = {name: variant.val_decides for name, variant in self.variants.items()}
        member = any(single[name] for name in self.listed)
        heads = self.heads_decided_on_val
        return [
            model.name
            for model in self.models.values()
            if (single[model.variant] if model.variant else member)
            or (heads and model.level in ("model", "model_average"))
        ]


def of_replicate(family: str, replicate: int) -> str:
    """The name of a family's model of one replicate."""
    return OF_FAMILY.format(family=family, replicate=replicate)


def scaled(model: str) -> str:
    """The name that a model has in tables after its probabilities were scaled by a temperature."""
    return SCALED.format(model=model)


def negative_class(classes: Sequence[str], given: str | None) -> str | None:
    """The class without a finding: the one that is given, or the one of a plain name.

    None where `given` is `none` and no class is called so, or where no name tells.
    """
    if given is not None:
        return given if given in classes else None
    plain = {re.sub(r"[\W_]+", " ", name).strip().casefold(): name for name in reversed(classes)}
    return next((plain[name] for name in NEGATIVE_NAMES if name in plain), None)


def val_decides(training: Mapping[str, Any]) -> bool:
    """Whether val chooses the epoch, ends a training or lowers its learning rate."""
    return (
        training["keep"] == "best"
        or training["early_stopping"] is not None
        or training["reduce_on_plateau"] is not None
    )


def variant_name(entry: Mapping[str, Any]) -> str:
    """The name of an entry of `classification.losses`."""
    return entry.get("as", entry["name"])


def fault_of_file_name(name: str) -> str:
    """Why some file system cannot keep a file or folder of that name, or an empty text."""
    if not name:
        return "it has no letter"
    if len(name) > 100:
        return "it is longer than 100 letters"
    unfit = re.search(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*{}]', name)
    if unfit:
        return f"{unfit[0]!r} is in no file's name"
    if name[0] in ". " or name[-1] in ". ":
        return "a point or space at an end is lost or hides the file"
    if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE):
        return "Windows keeps that name for a device"
    return ""


def fault_of_name(name: str, loss: str, losses: Iterable[str]) -> str:
    """What is wrong with a variant's name, or an empty text.

    Names of models are made from it, so it must not look like a part that is added to it.
    `losses`: the names of all losses; only `loss` itself may have the name.
    """
    if wrong := fault_of_file_name(name):
        return wrong
    known = [*ensemble_methods(), SEED_AVERAGE]
    number = re.search(r"-(r|top)[0-9]+", name)
    if number:
        return f"'{number[0]}' is what names of models add"
    for method in known:
        if name == method or name.startswith(f"{method}-"):
            return f"'{method}' is an ensemble"
    for ending in [*(f"_{ablation}" for ablation in ABLATIONS), f"-{MODEL_LEVEL}", scaled("")]:
        if name.endswith(ending):
            return f"'{ending}' is what names of models add"
    if name in (BEST_SINGLE, "uniform"):
        return "tables have another row of that name"
    if name != loss and name in losses:
        return "it is the name of another loss"
    return ""


# ---- data/models.csv ------------------------------------------------------------------------
_FIRST = "model"
COLUMNS = [_FIRST, *(field.name for field in fields(Model)[1:])]


def models_text(models: Iterable[Model]) -> str:
    """data/models.csv: one row a model; what it does not have is empty, members joined by ';'."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for model in models:
        values = asdict(model) | {
            "members": ";".join(model.members),
            "cropped": str(model.cropped).lower(),
        }
        table.writerow("" if value is None else value for value in values.values())
    return text.getvalue()


class ModelTable(dict[str, Model]):
    """The models of data/models.csv by name; a name that it lacks is refused."""

    def __init__(self, models: Iterable[Model], path: str | Path = "data/models.csv") -> None:
        super().__init__((model.name, model) for model in models)
        self.path = path
        self.families: dict[str, list[Model]] = {}
        for model in self.values():
            self.families.setdefault(model.family, []).append(model)

    def __missing__(self, name: str) -> Model:
        raise UserError(
            f"{self.path}: no model '{name}', which another table has: delete both and run again"
        )

    def label_of(self, family: str) -> str:
        """A family in words. Raises UserError for one that has no model."""
        if family not in self.families:
            return self[family].label
        return self.families[family][0].label

    def name_of(self, family: str) -> str:
        """What tables call all of a family: its only model, or the family where it has several."""
        members = self.families.get(family, [])
        return members[0].name if len(members) == 1 else family

    def refuse_other(self, predicted: Sequence[str]) -> None:
        """Raise UserError where the predictions are not those of all its models."""
        for name in predicted:
            self[name]
        missing = [name for name in self if name not in set(predicted)]
        if missing:
            raise UserError(
                f"{self.path}: model '{missing[0]}' has no predictions ({len(missing)} such in "
                "all): delete the file and run again"
            )


def read_models(path: str | Path, predicted: Sequence[str] | None = None) -> ModelTable:
    """data/models.csv; `predicted`: the models that there are predictions of, if all are at hand.

    Raises UserError naming file and line for what this module did not write, and for other models
    than those predicted.
    """
    remedy = "delete the file and run again"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable table ({error}): {remedy}") from None
    header = rows.pop(0) if rows else []
    for column in COLUMNS:
        if column not in header:
            raise UserError(f"{path}: column '{column}' is missing: {remedy}")
    models: list[Model] = []
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(
                f"{path}: line {line} has {len(row)} fields instead of {len(header)}: {remedy}"
            )
        cells = dict(zip(header, row, strict=True))
        values: dict[str, Any] = {name: cells[name] or None for name in COLUMNS[1:]}
        for name in ("replicate", "k"):
            if cells[name] and not cells[name].isdecimal():
                raise UserError(f"{path}: line {line}: {name} '{cells[name]}' is no number")
            values[name] = int(cells[name]) if cells[name] else None
        for name, known in (("kind", KINDS), ("level", LEVELS)):
            if values[name] not in known:
                raise UserError(f"{path}: line {line}: {name} '{cells[name]}' is not known")
        if any(model.name == cells[_FIRST] for model in models):
            raise UserError(f"{path}: line {line}: model '{cells[_FIRST]}' is listed twice")
        values["members"] = tuple(filter(None, cells["members"].split(";")))
        values["cropped"] = cells["cropped"] == "true"
        models.append(Model(cells[_FIRST], **values))
    table = ModelTable(models, path)
    if predicted is not None:
        table.refuse_other(predicted)
    return table


def entries(models: Iterable[Model]) -> dict[str, dict[str, Any]]:
    """Models by name as plain mappings, for the params of jobs and for tables."""
    return {model.name: asdict(model) for model in models}
