"""What keys of a configuration ask of one another, and the values that follow from others."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from multiloss.config.values import Section
from multiloss.data.sources import addresses
from multiloss.job.errors import UserError, did_you_mean
from multiloss.networks import backbones, encoder_weights
from multiloss.study import ANY_FINDING, LUNG_ROLES, SEGMENTER, negative_class

if TYPE_CHECKING:
    from multiloss.config.models import Classification, Segmentation, Source, StudyConfig


def resolved(config: "StudyConfig") -> "StudyConfig":
    """The configuration with what follows from other keys filled in.

    Raises UserError for values that contradict each other.
    """
    _refuse_twice("segmentation", [entry.name for entry in config.segmentation.losses])
    remedy = "; give one a name of its own with `as`"
    _refuse_twice("classification", config.variants, remedy)
    _check_sources(config)
    weights = config.classification.encoder_weights
    if weights is None:
        weights = SEGMENTER if config.has_lungs else "imagenet"
    settings = config.classification
    entries = [
        entry.model_copy(
            update={
                key: _merged(getattr(settings, key), change)
                for key in ("training", "augmentation")
                if (change := getattr(entry, key)) is not None
            }
        )
        for entry in settings.losses
    ]
    settings = settings.model_copy(update={"encoder_weights": weights, "losses": entries})
    config = config.model_copy(update={"classification": settings})
    _check_outcomes(config)
    _check_names(config)
    _check_networks(config)
    _check_monitors(config)
    _check_redraw(config)
    _check_folds(config)
    return config


def fault_of_source(source: "Source", layouts: list[str]) -> str:
    """What is wrong with a source, or an empty text."""
    if source.layout not in layouts:
        name = addresses.public(source.layout)
        return f"layout '{name}' is not known; {_hint(name, layouts)}"
    if (source.layout == "phantom") != (source.url == "phantom"):
        return "layout and url must both be 'phantom', or neither"
    if source.patients != "number" and source.layout != "kermany":
        return f"patients: {source.patients} is for layout kermany alone; leave the key out"
    for key in ("url", "masks_url"):
        if wrong := _fault_of_address(getattr(source, key)):
            return f"{key}: {wrong}"
    if source.masks_sha256 and not source.masks_url:
        return "masks_sha256 without a masks_url"
    return ""


def _fault_of_address(url: str | None) -> str:
    try:
        addresses.check(url or "")
    except UserError as error:
        return str(error)
    return ""


def _hint(word: str, known: Iterable[str]) -> str:
    known = list(known)
    return did_you_mean(word, known) or f"known: {', '.join(known)}"


def _merged(base: Section, change: Section) -> Section:
    """`change` with the values of `base` for the keys that it leaves out."""
    given = {}
    for name in change.model_fields_set:
        old, new = getattr(base, name), getattr(change, name)
        both = isinstance(old, Section) and isinstance(new, Section)
        given[name] = _merged(old, new) if both else new
    whole = {name: getattr(base, name) for name in type(base).model_fields} | given
    return type(base).model_construct(_fields_set=set(given), **whole)


def _repeated(names: list[str]) -> list[str]:
    """Names that stood there before, also in other letters: some file systems tell no case."""
    lower = [name.lower() for name in names]
    return [name for place, name in enumerate(names) if name.lower() in lower[:place]]


def _refuse_twice(section: str, names: list[str], remedy: str = "") -> None:
    for name in _repeated(names):
        raise UserError(f"config: {section}.losses: '{name}' is listed twice{remedy}")


def _check_sources(config: "StudyConfig") -> None:
    for name in _repeated([source.name for source in config.data.sources]):
        raise UserError(f"config: data.sources: two sources are named '{name}'")
    roles = {source.role for source in config.data.sources}
    if "classification" not in roles:
        raise UserError("config: data.sources: no source with role 'classification'")
    missing = [role for role in LUNG_ROLES if role not in roles]
    if len(missing) == 1:
        raise UserError(
            f"config: data.sources: no source with role '{missing[0]}': lungs are segmented with "
            "sources of both roles, lungs_train and lungs_test, or not at all"
        )
    if missing and "without_crop" in config.ablations:
        raise UserError(
            "config: ablations: 'without_crop' leaves nothing out, since a study without sources "
            "of lungs crops nothing"
        )


def _check_outcomes(config: "StudyConfig") -> None:
    """Keys that name a class, or any finding at all."""
    classes, given = config.classes, config.negative_class
    if given is not None and given not in (*classes, "none"):
        raise UserError(
            f"config: negative_class: '{addresses.public(given)}' is not in classes; "
            f"{_hint(given, [*classes, 'none'])}"
        )
    negative = negative_class(classes, given)
    if ANY_FINDING in classes and negative is not None:
        raise UserError(
            f"config: classes: '{ANY_FINDING}' is what tables call all classes but '{negative}' "
            "together; rename it, or give negative_class: none"
        )
    known = [*classes, ANY_FINDING] if negative is not None else classes
    for name in config.evaluation.prevalences:
        if name not in known:
            raise UserError(
                f"config: evaluation.prevalences: '{addresses.public(name)}' is none of the "
                f"classes; {_hint(name, known)}"
            )


def _check_names(config: "StudyConfig") -> None:
    """Keys that name a variant, and how many of them are asked for."""
    variants = config.variants
    wanted = {
        "significance.baseline": config.significance.baseline,
        "ensembles.seed_ensemble.loss": config.ensembles.seed_ensemble.loss,
    }
    for key, name in wanted.items():
        if name is not None and name not in variants:
            name = addresses.public(name)
            raise UserError(
                f"config: {key}: '{name}' is not in classification.losses; {_hint(name, variants)}"
            )
    for k in config.ensembles.top_k:
        if k > len(variants):
            raise UserError(
                f"config: ensembles.top_k: {k} members asked for, but classification.losses has "
                f"{len(variants)}"
            )


def _check_networks(config: "StudyConfig") -> None:
    segmentation, classification = config.segmentation, config.classification
    shared = classification.encoder_weights == SEGMENTER
    if shared and not config.has_lungs:
        raise UserError(
            "config: classification.encoder_weights: 'segmenter' needs sources of lungs; without "
            "them give imagenet, none, an http(s) address, or the path of a weights file"
        )
    if config.has_lungs:
        _check_weights("segmentation", segmentation)
    if not shared:
        _check_weights("classification", classification)
    segmenters = len(segmentation.losses)
    if segmentation.ensemble_size > segmenters:
        raise UserError(
            f"config: segmentation.ensemble_size: more than the {segmenters} segmentation.losses"
        )
    if shared and classification.backbone != segmentation.backbone:
        raise UserError(
            "config: classification.backbone: must be segmentation.backbone, since the classifier "
            "starts from the segmenter's encoder; or give classification.encoder_weights"
        )


def _check_weights(section: str, settings: "Segmentation | Classification") -> None:
    key, weights = f"config: {section}.encoder_weights", settings.encoder_weights
    if weights == "imagenet" and backbones.get(settings.backbone).imagenet is None:
        raise UserError(
            f"{key}: no ImageNet weights of {settings.backbone} are known: give none, or the path "
            "or address of a weights file"
        )
    if wrong := _fault_of_address(weights):
        raise UserError(f"{key}: {wrong}")
    if set("{}") & set(weights):
        raise UserError(
            f"{key}: '{addresses.public(weights)}' has curly brackets, which Snakemake takes for "
            "a wildcard: rename the file"
        )
    path = encoder_weights.local_weights(weights)
    if path is not None and not path.is_file():
        raise UserError(
            f"{key}: {path} is no file: give imagenet, none, an http(s) address, or the path of a "
            "weights file (relative to the checkout)"
        )


def _check_redraw(config: "StudyConfig") -> None:
    """A division for each run takes several runs."""
    ensembles = config.ensembles
    further = ensembles.seed_ensemble.further_seeds and ensembles.methods
    if config.splits.redraw and max(config.replicates, *(ensembles.top_k if further else [1])) < 2:
        raise UserError(
            "config: splits.redraw: a division for each run takes two runs or more: set replicates "
            "to 2 or more, or splits.redraw to false"
        )


def _check_folds(config: "StudyConfig") -> None:
    """Each pass over the folds takes a run for each of them."""
    folds, runs = config.splits.folds, config.replicates
    if folds and runs % folds:
        nearest = max(1, round(runs / folds)) * folds
        raise UserError(
            f"config: replicates: {runs} cannot take turns with splits.folds: {folds}, which asks "
            f"for a multiple of it: set replicates to {nearest}, or splits.folds to null"
        )


def _check_monitors(config: "StudyConfig") -> None:
    trainings = {
        "segmentation": config.segmentation.training,
        "classification": config.classification.training,
        "ensembles.model_level": config.ensembles.model_level.training,
    }
    trainings |= {
        f"classification.losses: '{entry.variant}'": entry.training
        for entry in config.classification.losses
        if entry.training is not None
    }
    for place, training in trainings.items():
        wrong = ("val_accuracy", "val_mcc") if place == "segmentation" else ("val_dice",)
        if training.monitor in wrong:
            between = ": " if ":" in place else "."
            raise UserError(
                f"config: {place}{between}training.monitor: '{training.monitor}' does not exist "
                "there"
            )
