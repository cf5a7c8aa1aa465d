"""Every key of a configuration: its type, default, range and choices, and what it means.

The one place for them: the JSON schema (`workflow/schemas/config.schema.yaml`) and the reference
(`docs/reference/config.md`) are written from it by `make reference`. Names of losses, layouts,
methods and backbones are their registries'.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema

from multiloss import losses, study
from multiloss.config import checks
from multiloss.config.values import (
    Bounds,
    ClassName,
    Colour,
    Count,
    InnerShare,
    Name,
    NotNegative,
    OneLine,
    OneOf,
    Positive,
    Rising,
    Section,
    Sha256,
    Share,
    Unique,
    VariantName,
    fault,
    not_known,
    unfit,
)
from multiloss.data import layouts
from multiloss.figures.journals import JOURNALS
from multiloss.job.errors import UserError
from multiloss.methods import Method, ensemble_methods
from multiloss.networks import backbones
from multiloss.registry import Parameter

Backbone = Annotated[str, OneOf(lambda: backbones.known())]
ClassWeights = Literal["balanced", "none"]


# ---- trainings -------------------------------------------------------------------------------
class Optimizer(Section):
    """How weights move."""

    name: Literal["sgd", "adam"] = "adam"
    """Optimiser."""
    learning_rate: Positive = 0.0001
    """Base learning rate."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov momentum of SGD."""
    decay: NotNegative = 0.0
    """Time-based decay: rate / (1 + decay * step)."""


class ReduceOnPlateau(Section):
    """Lower the learning rate when the monitored value stands still."""

    factor: InnerShare = 0.5
    """Factor on the rate."""
    patience: Count = 5
    """Epochs without improvement."""
    min_delta: NotNegative = 0.0001
    """Smallest change that counts."""
    min_learning_rate: NotNegative = 0.0
    """Floor of the rate."""


class EarlyStopping(Section):
    """Stop when the monitored value stands still."""

    patience: Count = 5
    """Epochs without improvement."""
    min_delta: NotNegative = 0.0
    """Smallest change that counts."""


class Training(Section):
    """Training of a network."""

    epochs: Count = 64
    """At most this many passes over the training images."""
    batch_size: Count = 16
    """Images per step."""
    optimizer: Optimizer = Optimizer()
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate over all epochs."""
    warmup_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of the steps over which the rate rises linearly."""
    reduce_on_plateau: ReduceOnPlateau | None = None
    """Lower the rate when the monitored value stands still; null for never."""
    early_stopping: EarlyStopping | None = None
    """Stop when the monitored value stands still; null for never."""
    monitor: Literal["val_loss", "val_accuracy", "val_mcc", "val_dice"] = "val_loss"
    """Value on the validation split that is watched; `val_dice` for segmenters alone, accuracy and
    MCC for classifiers alone."""
    keep: Literal["best", "last"] = "best"
    """Weights of the best epoch by the monitored value or of the last."""
    batch_norm_momentum: InnerShare | None = None
    """Momentum of the moving statistics; null leaves the backbone's 0.99."""
    mixed_precision: bool = False
    """Half precision where the hardware gains from it."""
    xla: bool | Literal["auto"] = False
    """Steps compiled by XLA: the first takes a minute, the others on a GPU a quarter of their time,
    on a CPU more than before; `auto` compiles on a GPU where the steps are many enough to gain."""


class Augmentation(Section):
    """Random changes of the images of a training."""

    rotation_degrees: NotNegative = 0.0
    """Largest rotation."""
    shift: NotNegative = 0.0
    """Largest shift as a share of the side."""
    shear: NotNegative = 0.0
    """Largest shear."""
    zoom: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Largest change of scale."""
    horizontal_flip: bool = False
    """Mirror half of the images."""
    contrast: Share = 0.0
    """Largest change of contrast."""
    brightness: Share = 0.0
    """Largest change of brightness."""
    gamma: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Largest change of the logarithm of gamma."""


# ---- losses ----------------------------------------------------------------------------------
class LossEntry(Section):
    """A loss: its name, or a mapping of its name and parameters."""

    model_config = {"extra": "allow"}
    __pydantic_extra__: dict[str, Any]
    kind: ClassVar[str]

    name: str
    """Loss."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """The mapping, with defaults for the parameters that it leaves out."""
        given = {"name": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping):
            raise unfit("is none of: string or object")
        name, catalog = given.get("name"), losses.catalog(cls.kind)
        if not isinstance(name, str):
            return given
        if name not in catalog:
            raise not_known(name, catalog)
        return {"name": name, **catalog[name], **given}

    @model_validator(mode="after")
    def _check(self) -> "LossEntry":
        try:
            losses.check(self.kind, self.name, self.parameters)
        except UserError as error:
            raise fault(str(error)) from None
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters of the loss, in its order."""
        return dict(self.model_extra)

    def plain(self, given: Any) -> dict[str, Any]:
        given = given if isinstance(given, Mapping) else {}
        own = {key: given.get(key, value) for key, value in self.parameters.items()}
        return {"name": self.name} | own

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        own = handler.resolve_ref_schema(handler(schema))["properties"]
        entries = []
        for name, known in losses.described(cls.kind).items():
            keys: dict[str, Any] = {"name": {"const": name}}
            for key, parameter in known.parameters.items():
                keys[key] = {"default": parameter.default} | _schema_of(parameter)
            entries.append({"properties": keys})
        entry = {"type": "object", "required": ["name"], "properties": own, "anyOf": entries}
        return {
            "description": cls.__doc__,
            "anyOf": [
                {"enum": list(losses.catalog(cls.kind))},
                # Parameters are known where the entry of their loss is.
                entry | {"unevaluatedProperties": False},
            ],
        }


def _schema_of(parameter: Parameter) -> dict[str, Any]:
    """The values of a parameter that a class declares, as a JSON schema."""
    allowed = parameter.range
    low = "minimum" if allowed.low_included else "exclusiveMinimum"
    high = "maximum" if allowed.high_included else "exclusiveMaximum"
    kinds = ["array" if allowed.many else "integer" if allowed.whole else "number"]
    kinds += ["null"] * (parameter.default is None)
    bounds = {low: allowed.low} | ({high: allowed.high} if math.isfinite(allowed.high) else {})
    if allowed.many:
        bounds = {"items": {"type": "integer" if allowed.whole else "number"} | bounds}
    return {"type": kinds if len(kinds) > 1 else kinds[0]} | bounds


def _declared(parameter: Parameter) -> Any:
    """The type of a parameter that a class declares."""

    def check(value: Any) -> Any:
        if not parameter.holds(value):
            raise unfit(f"must be {parameter.range}")
        return value

    class Shown:
        @classmethod
        def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: Any) -> dict[str, Any]:
            return _schema_of(parameter)

    return Annotated[Any, AfterValidator(check), Shown]


class SegmentationLoss(LossEntry):
    """A segmentation loss."""

    kind = "segmentation"


class VariantEntry(LossEntry):
    """One way of training a classifier: a loss, its parameters, and what differs from the study."""

    kind = "classification"

    as_: VariantName | None = Field(None, alias="as")
    """Name of the variant in files and tables, the loss's when left out; so that a loss can be
    listed twice."""
    class_weights: ClassWeights | None = None
    """Instead of the study's."""
    training: Training | None = None
    """Keys that differ from the study's `classification.training`."""
    augmentation: Augmentation | None = None
    """Keys that differ from the study's `classification.augmentation`."""

    @model_validator(mode="after")
    def _check_name(self) -> "VariantEntry":
        if self.as_ is not None:
            wrong = study.fault_of_name(self.as_, self.name, losses.catalog(self.kind))
            if wrong:
                raise fault(f"as: '{self.as_}' cannot be a variant's name: {wrong}")
        return self

    @property
    def variant(self) -> str:
        """Name of the variant."""
        return self.as_ or self.name

    def plain(self, given: Any) -> dict[str, Any]:
        given = given if isinstance(given, Mapping) else {}
        found = super().plain(given)
        for key in study.OWN_KEYS:
            value = getattr(self, self.fields()[key])
            if isinstance(value, Section):
                whole = value.plain(given.get(key))
                found[key] = {each: whole[each] for each in given.get(key, {})}
            elif value is not None:
                found[key] = value
        return found


def _every(kind: type[LossEntry]) -> list[LossEntry]:
    return [kind.model_validate(name) for name in losses.catalog(kind.kind)]


# ---- data ------------------------------------------------------------------------------------
class ClassShares(Section):
    """Shares of the classes among phantoms."""

    normal: NotNegative
    """Share of healthy children."""
    bacterial: NotNegative
    """Share of bacterial pneumonia."""
    viral: NotNegative
    """Share of viral pneumonia."""

    @model_validator(mode="after")
    def _check(self) -> "ClassShares":
        if not self.normal + self.bacterial + self.viral:
            raise unfit("gives no class a share")
        return self


class Shares(Section):
    """Shares of the classes in the two folders; by default those of the published set."""

    only_given = True

    train: ClassShares = ClassShares(normal=1349, bacterial=2538, viral=1345)
    """Of the train folder, and of a source of lungs for training."""
    test: ClassShares = ClassShares(normal=234, bacterial=242, viral=148)
    """Of the test folder, of a source of lungs for testing, and of an external test."""


def _some_share(shares: list[float]) -> list[float]:
    if not sum(shares):
        raise unfit("gives no number of images a share")
    return shares


class GeneratorOptions(Section):
    """The generator of phantom radiographs."""

    only_given = True

    train: Count = 300
    """Classification images of the train folder."""
    test: Count = 120
    """Classification images of the test folder."""
    images: Count | None = None
    """Images of a source of lungs or of an external test; null: 60 to train, 24 to test, 80 of an
    external test."""
    shares: Shares = Shares()
    """Shares of the classes; by default those of the published set."""
    size: Bounds[Annotated[int, Field(ge=64)]] = [192, 320]
    """Smallest and largest side in pixels."""
    colour: Share = 0.05
    """Share of RGB files."""
    repeats: Annotated[list[NotNegative], Field(min_length=1), AfterValidator(_some_share)] = [
        *(0.7, 0.2, 0.1)
    ]
    """Shares of patients with 1, 2, ... images."""
    severity: Bounds[Share] = [0.45, 1.0]
    """Range of how plain the findings are."""
    mimics: Share = 0.12
    """Share of patients with a faint sign of another class."""
    confounders: Share = 0.15
    """Share of patients with acquisition artefacts that mean nothing."""
    noise: NotNegative = 1.0
    """Acquisition noise relative to the default."""
    blur: Positive = 1.0
    """Unsharpness relative to the default."""
    contrast: Positive = 1.0
    """Contrast relative to the default."""
    quality: Annotated[int, Field(ge=1, le=100)] = 92
    """JPEG quality."""


class Source(Section):
    """Where images come from, and what they are for."""

    name: Name
    """Folder name of the source."""
    role: Literal["classification", "lungs_train", "lungs_test", "external_test"]
    """What the images are for; one source to classify at least; lungs to train and to test the
    segmenter, both or none; external tests, any number, which are predicted and evaluated apart and
    have no part in any choice."""
    layout: Annotated[str, Field(json_schema_extra=lambda schema: schema.update(enum=_layouts()))]
    """How the files lie."""
    url: Annotated[str, Field(min_length=1)]
    """http(s), file or path of an archive or folder; `phantom` for the generator."""
    sha256: Sha256 | None = None
    """Digest of the archive; recorded at the first download when null."""
    masks_url: str | None = None
    """Archive of the masks where they are apart."""
    masks_sha256: Sha256 | None = None
    """Digest of that archive."""
    table: str | None = None
    """Name of the CSV where the folder holds several (`table`)."""
    patient_pattern: str | None = None
    """Regular expression whose first group is the patient in a file name (`folders`)."""
    patients: Literal["number", "number_and_kind"] = "number"
    """Who is one patient (`kermany`): all images of a number, the reading that cannot leak, or of a
    number and kind of pneumonia."""
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits that values in 16-bit files use; null: what the files state, or the smallest of 8, 10,
    12, 14, 16 that holds the largest value of the source."""
    license: str = ""
    """Licence of the data."""
    citation: str = ""
    """How the data are cited."""
    homepage: str = ""
    """Where the data are described."""
    phantom: GeneratorOptions = GeneratorOptions()
    """Options of the generator."""

    @model_validator(mode="after")
    def _check(self) -> "Source":
        if wrong := checks.fault_of_source(self, _layouts()):
            raise fault(f"'{self.name}': {wrong}")
        return self


def _layouts() -> list[str]:
    return list(layouts.names())


class Data(Section):
    """Where the images come from."""

    strict_leakage: bool = False
    """Stop when the leakage audit finds a patient or an image on two sides."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Images to classify, and lung masks to train and test the segmenter where wanted."""


class Images(Section):
    """How images are shown to the networks."""

    channels: Literal["grey", "rgb"] = "grey"
    """`grey` turns colour into luminance, `rgb` keeps it."""


def _shipped_or_share(value: Any, handler: Any) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise unfit("is none of: shipped or a number between 0 and 1") from None


class Ratios(Section):
    """Shares of the patients outside the test split."""

    train: Positive = 0.70
    """Learns the weights."""
    val: Positive = 0.15
    """Early stopping, learning rate, best epoch."""
    ensemble: Positive = 0.15
    """Chooses members and fits ensemble weights."""


class Splits(Section):
    """How patients are divided."""

    test: Annotated[Literal["shipped"] | InnerShare, WrapValidator(_shipped_or_share)] = "shipped"
    """`shipped` takes the source's own test folder; a number is the share of patients drawn as
    test."""
    ratios: Ratios = Ratios()
    recurring_patients: Literal["drop", "resplit"] = "drop"
    """Patients of the train folder that recur in the shipped test folder: leave them out, or divide
    everything anew."""
    redraw: bool = False
    """Whether train, val and ensemble are drawn anew for each training run (the test split stays),
    so that comparisons over runs count the division as chance too."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Test on every patient once: the runs of a loss take turns with this many folds, and train,
    val and ensemble are drawn from the others. `replicates` is a multiple of it; each further pass
    draws other folds. null: one test split."""


# ---- networks --------------------------------------------------------------------------------
class Segmentation(Section):
    """Lung masks by one U-Net per loss; not used where the study has no lungs."""

    losses: Annotated[list[SegmentationLoss], Field(min_length=1)] = _every(SegmentationLoss)
    """Segmentation losses."""
    backbone: Backbone = "efficientnetb0"
    """Encoder of the U-Net."""
    encoder_weights: str = "none"
    """`imagenet` (downloaded), `none` (random), or the path or address of a weights file."""
    decoder_filters: Annotated[list[Count], Field(min_length=5, max_length=5)] = [
        *(256, 128, 64, 32, 16)
    ]
    """Filters of the five decoder stages."""
    image_size: Annotated[int, Field(ge=32, multiple_of=32)] = 512
    """Side of the network's input in pixels."""
    ensemble_size: Count = 3
    """How many segmenters are combined by AND."""
    val_fraction: InnerShare = 0.15
    """Share of the training patients held out for validation."""
    training: Training = Training()
    """Training of the U-Nets."""
    augmentation: Augmentation = Augmentation()
    """Random changes of image and mask."""


class Crop(Section):
    """The box around the lungs."""

    margin: NotNegative = 0.05
    """Widening on each side as a share of the lungs' width and height."""
    png_size: Annotated[int, Field(ge=16)] = 512
    """Side of the crops written as PNG."""


class Classification(Section):
    """One classifier per variant."""

    losses: Annotated[list[VariantEntry], Field(min_length=1)] = _every(VariantEntry)
    """Variants to train, each the name of a loss or a mapping with its parameters and own
    settings."""
    backbone: Backbone = "efficientnetb0"
    """Network of the classifiers; the segmenter's where they start from its encoder."""
    encoder_weights: str | None = None
    """What the classifiers start from: `segmenter` (the encoder of the best U-Net), `imagenet`
    (downloaded), `none` (random), or the path or address of a weights file; null: `segmenter` where
    the study has lungs, else `imagenet`."""
    class_weights: ClassWeights = "balanced"
    """Weight of each class in the per-image part of the loss."""
    image_size: Annotated[int, Field(ge=32)] = 512
    """Side of the network's input in pixels."""
    training: Training = Training()
    """Training of the classifiers."""
    augmentation: Augmentation = Augmentation()
    """Random changes of the images."""


# ---- ensembles -------------------------------------------------------------------------------
class SeedEnsemble(Section):
    """Average of k seeds of one loss, which costs the same as an ensemble of k losses."""

    loss: str | None = None
    """The variant; null takes the baseline."""
    further_seeds: bool = True
    """Train this loss k times also where there are fewer replicates; else such ensembles are left
    out."""


def _options_of(method: Method) -> type[Section]:
    """A section with the options that the method's class declares."""
    fields = {
        key: (_declared(option), Field(option.default, description=option.words or None))
        for key, option in method.options.items()
    }
    title = "".join(part.title() for part in method.name.split("_"))
    return create_model(title, __base__=Section, __doc__=f"{method.sentence}.", **fields)


def _method_options() -> type[Section]:
    sections = {
        name: _options_of(method) for name, method in ensemble_methods().items() if method.options
    }
    fields = {name: (section, section()) for name, section in sections.items()}
    return create_model("MethodOptions", __base__=Section, __doc__="Options of methods.", **fields)


MethodOptions = _method_options()


class ModelLevel(Section):
    """A new head on the members' features."""

    filters: Count = 512
    """Filters of the 1x1 convolution."""
    loss: Annotated[str, OneOf(lambda: losses.catalog("classification"))] = "cce"
    """Classification loss of the head."""
    training: Training = Training()
    """Training of the head."""


class Ensembles(Section):
    """Combinations of the best single models."""

    top_k: Unique[Annotated[int, Field(ge=2)]] = [3, 5]
    """Numbers of members."""
    methods: Unique[Annotated[str, OneOf(ensemble_methods)]] = list(ensemble_methods())
    """How members are combined."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds by patient in which fitted ensembles are judged."""
    seed_ensemble: SeedEnsemble = SeedEnsemble()
    options: MethodOptions = MethodOptions()
    model_level: ModelLevel = ModelLevel()


# ---- judging and showing ---------------------------------------------------------------------
class Subgroup(Section):
    """A column that tells groups of patients apart."""

    column: OneLine
    """`source`, or a further column of the user's table, in any case."""
    bands: Rising[float] | None = None
    """Where the groups of a column of numbers begin, each up to the next one without it: [18, 65]
    makes under 18, 18 to 65, 65 and over; null: each value is a group."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given


class _OrName:
    """A mapping, or the name of its column alone."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core)]}


def _distinct_columns(entries: list[Subgroup]) -> list[Subgroup]:
    names = [entry.column.casefold() for entry in entries]
    if len(set(names)) < len(names):
        raise fault("a column is listed twice")
    return entries


class Evaluation(Section):
    """Intervals, operating points and calibration of every model, from its predictions."""

    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap resamples of patients behind every interval; a paper needs 2,000."""
    interval: Literal["auto", "percentile", "bca"] = "auto"
    """Interval method; `auto` takes for each metric the one whose coverage held in
    docs/statistics-simulation.md."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of all intervals."""
    ece_bins: Annotated[int, Field(ge=2, le=100)] = 15
    """Equal-mass bins of calibration errors and reliability diagrams."""
    operating_point: Literal[
        "youden", "sensitivity_90", "sensitivity_95", "specificity_90", "specificity_95"
    ] = "youden"
    """Rule that sets each class's threshold on the `ensemble` split: largest sensitivity +
    specificity, or one of them held at 90 or 95 percent."""
    temperature_scaling: bool = True
    """Add rows for each model with a temperature fitted on the `ensemble` split."""
    prevalences: dict[str, Unique[InnerShare]] = {}
    """Shares of a class, or of `any finding`, where a reader works, for predictive values beside
    those at the test images' own share; classes that are not named have 0.05, 0.1 and 0.3."""
    cost_ratios: Annotated[Unique[Positive], Field(min_length=1)] = [1, 5, 20]
    """How many false alarms a missed case costs; each sets a threshold of its own, 1 / (1 +
    ratio)."""
    set_coverage: Annotated[Unique[InnerShare], Field(min_length=1)] = [0.8, 0.9, 0.95]
    """How often sets of classes shall hold the true one, class by class; their limits are set on
    the `ensemble` split."""
    subgroups: Annotated[list[Annotated[Subgroup, _OrName]], AfterValidator(_distinct_columns)] = []
    """Columns whose groups of test patients the key models are judged by, such as [sex, source,
    {column: age, bands: [18, 65]}]."""
    subgroup_minimum: Annotated[int, Field(ge=2)] = 10
    """Patients of a group below which no value of it is given; values of a class, and means over
    the classes, take half as many patients of each such class."""
    optimism_stacking_resamples: Annotated[int, Field(ge=20)] = 50
    """Patient resamples that repeat the published protocol for stacking, which fits a network in
    each; as many fits leave tenths of the test patients out."""
    optimism_resamples: Annotated[int, Field(ge=20)] = 200
    """Patient resamples that repeat the published protocol; as many choices leave tenths of the
    test patients out."""


class Significance(Section):
    """Paired tests between models on the test split."""

    permutations: Annotated[int, Field(ge=1000)] = 10000
    """Sign-flip permutations by patient; raised where `alpha` needs more."""
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """Level of the corrected tests within a family."""
    baseline: str = "cce"
    """Variant that every other model is compared with."""
    metric: Literal["mcc", "accuracy", "balanced_accuracy", "f1_macro", "kappa"] = "mcc"
    """Metric that decides whether losses and ensembles differ: the one of the primary families.
    Chosen before any result; tests by other metrics stand beside it as secondary."""
    equivalence_margin: Annotated[float, Field(ge=0, lt=1)] | None = 0.02
    """Largest difference of the metric that does not matter, to be decided before any result: two
    models are called equivalent where both one-sided tests place their difference within it. With
    0 they never are; null: no such verdict."""


class GradCam(Section):
    """Heat maps of where the networks look, and how well they point."""

    enabled: bool = True
    """Whether heat maps are made and measured at all."""
    images_per_outcome: Count = 2
    """Right and wrong test images shown of each class in the figure of a model."""
    threshold: Share = 0.2
    """Heat below this, on the map scaled to [0, 1], is not drawn."""
    localisation_thresholds: Annotated[
        Unique[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)
    ] = [0.2, 0.5]
    """Heat from which a pixel counts as pointed at, for IoU and Dice with a lesion mask."""
    pointing_tolerance: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """How far the hottest pixel may lie from a lesion and still hit it, as a share of the image's
    shorter side."""
    faithfulness_images: Annotated[int, Field(ge=0)] = 12
    """Test images, drawn by the seed, whose hottest pixels are deleted and inserted step by step; 0
    leaves this out."""
    faithfulness_steps: Annotated[int, Field(ge=2)] = 10
    """Steps of those curves."""
    randomised_images: Annotated[int, Field(ge=0)] = 24
    """Test images whose maps are compared with those of randomised weights; 0 leaves this out."""
    batch_size: Count = 16
    """Images explained at a time; memory grows with it."""


class Report(Section):
    """The page; a change writes the page alone."""

    cases: Annotated[int, Field(ge=0, le=2000)] = 400
    """Test images that the page shows one by one, drawn at random where there are more; 0 for none.
    Fewer where many models' heat maps of fine grids would make the page too large.
    """


class Figures(Section):
    """Look of the figures; a change redraws them and computes nothing again."""

    journal: Literal["none", "plos", "nature", "lancet"] = "none"
    """What sizes, fonts and formats follow (`multiloss/figures/journals.py`)."""
    dpi: Annotated[int, Field(ge=72, le=1200)] | None = None
    """Pixels per inch of the PNG files; null: as the journal asks, 300."""
    font_size: Annotated[float, Field(ge=5, le=14)] | None = None
    """Size of text in points at final size, tick labels may be half a point smaller; null: as
    the journal asks, 7.5 without one."""
    single_column_mm: Annotated[float, Field(ge=60, le=140)] | None = None
    """Width of figures of one column; null: that of the journal, 85 without one."""
    double_column_mm: Annotated[float, Field(ge=120, le=300)] | None = None
    """Width of figures of two columns; null: that of the journal, 180 without one."""
    palette: Literal["okabe_ito", "tol_bright"] = "okabe_ito"
    """Colours of categories; both can be told apart by colour-blind readers."""
    sequential: Literal["cividis", "viridis", "magma", "Greys"] = "cividis"
    """Colours of shares and correlations."""
    diverging: Literal["PuOr", "RdBu", "BrBG"] = "PuOr"
    """Colours of differences."""
    heat: Literal["inferno", "magma", "viridis", "turbo"] = "inferno"
    """Colours of Grad-CAM maps."""
    background: Colour = "#f7f7f7"
    """Ground of the plots."""

    @model_validator(mode="after")
    def _as_the_journal_asks(self) -> "Figures":
        journal = JOURNALS[self.journal]
        bounds = {
            "dpi": (journal.dpi, journal.max_dpi),
            "font_size": (journal.smallest, journal.largest),
            "single_column_mm": (journal.min_width_mm, journal.max_width_mm),
            "double_column_mm": (journal.min_width_mm, journal.max_width_mm),
        }
        for key, (low, high) in bounds.items() if self.journal != "none" else ():
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                end = f"at least {low:g}" if value < low else f"at most {high:g}"
                raise fault(f"{key}: {self.journal} takes {end}, not {value:g}; null follows it")
        return self


class Resource(Section):
    """What a job takes."""

    threads: Count = 1
    """Threads of a job, part of what makes its numbers reproducible."""
    mem_mb: Annotated[int, Field(ge=100)] = 2500
    """Memory in MB at the first attempt."""
    runtime: Count = 60
    """Minutes at the first attempt."""
    gpu: Annotated[int, Field(ge=0, le=1)] = 0
    """GPUs of a job."""


class Resources(Section):
    """What jobs take."""

    data: Resource = Resource()
    """Download, decoding, cropping."""
    training: Resource = Resource()
    """Training of networks."""
    prediction: Resource = Resource()
    """Masks, predictions, features, Grad-CAM."""
    analysis: Resource = Resource()
    """Ensembles, statistics, figures, report."""
    trainings_per_gpu: Count = 1
    """Jobs that share one GPU, each with an equal part of its memory, where networks are small;
    give `--resources gpu=` the number of GPUs times this."""


class StudyConfig(Section):
    """Every key of a study. A study file gives what differs; the rest is config.yaml's."""

    study: Name
    """Name of the study; its outputs go to results/<study>/."""
    seed: Annotated[int, Field(ge=0)]
    """The one number that every random choice derives from."""
    replicates: Count = 1
    """Training runs (seeds) of each variant."""
    classes: Annotated[Unique[ClassName], Field(min_length=2)]
    """Class names in the order of the networks' outputs."""
    negative_class: str | None = None
    """The class of images without a finding, so that any finding can be set against none; null: the
    one called normal, no finding, healthy, negative or benign; `none`: there is none."""
    data: Data
    images: Images = Images()
    splits: Splits = Splits()
    segmentation: Segmentation = Segmentation()
    crop: Crop = Crop()
    classification: Classification = Classification()
    ablations: Unique[Literal["without_crop", "without_class_weights"]] = []
    """Further trainings of the baseline with one step left out."""
    ensembles: Ensembles = Ensembles()
    evaluation: Evaluation = Evaluation()
    significance: Significance = Significance()
    gradcam: GradCam = GradCam()
    figures: Figures = Figures()
    report: Report = Report()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _agree(self) -> "StudyConfig":
        return checks.resolved(self)

    @property
    def has_lungs(self) -> bool:
        """Whether lungs are segmented and images cropped to them."""
        return any(source.role == layouts.LUNGS_TRAIN for source in self.data.sources)

    @property
    def variants(self) -> list[str]:
        """Names of the variants of `classification.losses`."""
        return [entry.variant for entry in self.classification.losses]
