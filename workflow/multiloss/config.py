"""The configuration, validated and completed with its defaults.

Read by the Snakefile, so nothing here imports more than Snakemake itself brings along.
"""

import copy
import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from multiloss import addresses, encoder_weights, ensembles, layouts, losses, study
from multiloss.errors import UserError

SCHEMA = Path(__file__).resolve().parents[1] / "schemas" / "config.schema.yaml"


def _with_defaults(validator: type) -> type:
    """A validator class that fills in the schema's defaults before it looks at a value."""
    check_properties = validator.VALIDATORS["properties"]

    def fill(instance_of, properties, instance, schema):
        if isinstance(instance, dict):
            for key, part in properties.items():
                if "default" in part:
                    instance.setdefault(key, copy.deepcopy(part["default"]))
        yield from check_properties(instance_of, properties, instance, schema)

    def one_of(instance_of, alternatives, instance, schema):
        # A trial of an alternative must leave no defaults behind unless it is the one that fits.
        for alternative in alternatives:
            trial = copy.deepcopy(instance)
            if instance_of.evolve(schema=alternative).is_valid(trial):
                if isinstance(instance, dict):
                    instance.update(trial)
                return
        # A mapping was meant as the alternative that is one: say what is wrong within.
        for alternative in alternatives:
            if isinstance(instance, dict) and alternative.get("type") == "object":
                yield from instance_of.descend(copy.deepcopy(instance), alternative)
                return
        allowed = " or ".join(
            str(alternative.get("const", alternative.get("type"))) for alternative in alternatives
        )
        yield jsonschema.ValidationError(f"{instance!r} is none of: {allowed}")

    return jsonschema.validators.extend(validator, {"properties": fill, "oneOf": one_of})


def _nearest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(words)


def _message(error: jsonschema.ValidationError) -> str:
    """One line for a schema error: the key, what is wrong, what would be right."""
    key = ".".join(str(part) for part in error.absolute_path)
    if "://" in error.message:  # it shows the value, and a password in it
        return f"config: {key or 'file'}: does not fit '{error.validator}' of the schema"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [name for name in error.instance if name not in known]
        name = ".".join(filter(None, [key, str(unknown[0])]))
        return f"config: unknown key '{name}'; {_nearest(unknown[0], known)}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"config: key '{'.'.join(filter(None, [key, missing[0]]))}' is missing"
    if error.validator == "enum":
        choices = [str(value) for value in error.validator_value]
        return (
            f"config: {key}: '{error.instance}' is not known; {_nearest(error.instance, choices)}"
        )
    if error.validator == "pattern":
        return f"config: {key}: {error.instance!r} is not {error.schema['title']}"[:250]
    if error.validator == "type":
        return f"config: {key or 'file'}: {error.message[:200]}{_quotes(error)}"
    return f"config: {key or 'file'}: {error.message.splitlines()[0][:200]}"


def _quotes(error: jsonschema.ValidationError) -> str:
    """What to do where quotes, or none, made another type of a value."""
    wanted, given = error.validator_value, error.instance
    if "string" in wanted and not isinstance(given, list | Mapping | None):
        return (
            "; YAML takes yes, no, on, off, numbers and dates for that: put names in quotes, on "
            "the command line in two pairs, --config 'study=\"2021_12\"'"
        )
    if isinstance(given, str):
        try:
            meant = yaml.safe_load(given)
        except yaml.YAMLError:
            meant = given
        if not isinstance(meant, str):
            return (
                "; write it without quotes. Within --config 'key={...}' Snakemake takes every "
                "value for text: put it into a file for --configfile"
            )
    return ""


def load_schema() -> dict[str, Any]:
    """The JSON schema of the configuration."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def validate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with all defaults filled in.

    Raises UserError with one line that names the key for anything that cannot be run: an
    unknown key, loss, parameter, layout or method, or values that contradict each other.
    """
    config = copy.deepcopy(dict(config))
    validator = _with_defaults(jsonschema.Draft202012Validator)(load_schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(config), key=_depth)
    if error is not None:
        raise UserError(_message(error))
    _refuse_endless(config)
    config["segmentation"]["losses"] = [
        _check_loss(entry, "segmentation", "segmentation")
        for entry in config["segmentation"]["losses"]
    ]
    _refuse_twice("segmentation", [entry["name"] for entry in config["segmentation"]["losses"]])
    config["classification"]["losses"] = [
        _check_variant(entry, config["classification"])
        for entry in config["classification"]["losses"]
    ]
    names = [study.variant_name(entry) for entry in config["classification"]["losses"]]
    _refuse_twice("classification", names, "; give one a name of its own with `as`")
    _check_sources(config)
    if config["classification"]["encoder_weights"] is None:
        segmented = study.Study(config).segmented
        config["classification"]["encoder_weights"] = study.SEGMENTER if segmented else "imagenet"
    for section in ("segmentation", "classification"):
        weights = config[section]["encoder_weights"]
        _check_address(f"{section}.encoder_weights", weights)
    _check_consistency(config)
    return config


def _depth(error: jsonschema.ValidationError) -> int:
    return -len(error.absolute_path)


def _check_loss(entry: str | Mapping[str, Any], section: str, kind: str) -> dict[str, Any]:
    """A loss with all its parameters, the defaults filled in."""
    entry = {"name": entry} if isinstance(entry, str) else dict(entry)
    catalog = losses.catalog(kind)
    name = entry.pop("name")
    if name not in catalog:
        raise UserError(
            f"config: {section}.losses: loss '{name}' is not known; {_nearest(name, list(catalog))}"
        )
    for parameter in entry:
        if parameter not in catalog[name]:
            remedy = _nearest(parameter, list(catalog[name])) if catalog[name] else "it takes none"
            raise UserError(
                f"config: {section}.losses: '{name}' has no parameter '{parameter}'; {remedy}"
            )
    try:
        losses.check(kind, name, entry)
    except UserError as error:
        raise UserError(f"config: {section}.losses: {error}") from None
    return {"name": name, **catalog[name], **entry}


def _refuse_twice(section: str, names: list[str], remedy: str = "") -> None:
    """Not even in other letters: some file systems take focal and Focal for the same."""
    for place, name in enumerate(names):
        if name.lower() in [other.lower() for other in names[:place]]:
            raise UserError(f"config: {section}.losses: '{name}' is listed twice{remedy}")


def _check_variant(entry: str | Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `classification.losses`: the loss with all its parameters, and what else it says.

    `settings`: the config's `classification`, whose training and augmentation the entry changes;
    of both it keeps the keys that it gives, each complete.
    """
    entry = {"name": entry} if isinstance(entry, str) else dict(entry)
    own = {key: entry.pop(key) for key in study.OWN_KEYS if key in entry}
    loss = _check_loss(entry, "classification", "classification")
    if "as" in own:
        fault = study.fault_of_name(own["as"], loss["name"], losses.catalog("classification"))
        if fault:
            raise UserError(
                f"config: classification.losses: as: '{own['as']}' cannot be a variant's name: "
                f"{fault}"
            )
    name = study.variant_name({**loss, **own})
    for key in ("training", "augmentation"):
        if key in own:
            merged = {key: _merged(settings[key], own[key])}
            schema = load_schema()
            part = {"$ref": f"#/$defs/{key}"}
            checker = {"type": "object", "properties": {key: part}, "$defs": schema["$defs"]}
            validator = _with_defaults(jsonschema.Draft202012Validator)(checker)
            error = jsonschema.exceptions.best_match(validator.iter_errors(merged), key=_depth)
            if error is not None:
                where = f"config: classification.losses: '{name}': "
                raise UserError(_message(error).replace("config: ", where, 1))
            own[key] = {changed: merged[key][changed] for changed in own[key]}
    return {**loss, **own}


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `base` with the keys of `change`, mappings within mappings likewise."""
    merged = copy.deepcopy(dict(base))
    for key, value in change.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _check_sources(config: Mapping[str, Any]) -> None:
    sources = config["data"]["sources"]
    names = [source["name"] for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"config: data.sources: two sources are named '{name}'")
    for source in sources:
        known = list(layouts.names())
        if source["layout"] not in known:
            raise UserError(
                f"config: data.sources: layout '{source['layout']}' of '{source['name']}' is not "
                f"known; {_nearest(source['layout'], known)}"
            )
        if (source["layout"] == "phantom") != (source["url"] == "phantom"):
            raise UserError(
                f"config: data.sources: '{source['name']}': layout and url must both be 'phantom', "
                "or neither"
            )
        for key in ("url", "masks_url"):
            _check_address(f"data.sources: '{source['name']}': {key}", source[key])
        if source["masks_sha256"] and not source["masks_url"]:
            raise UserError(
                f"config: data.sources: '{source['name']}': masks_sha256 without a masks_url"
            )
    roles = {source["role"] for source in sources}
    needed = study.LUNG_ROLES if roles & set(study.LUNG_ROLES) else ()
    for role in ("classification", *needed):
        if role not in roles:
            raise UserError(f"config: data.sources: no source with role '{role}'")


def _check_address(key: str, url: str | None) -> None:
    try:
        addresses.check(url or "")
    except UserError as error:
        raise UserError(f"config: {key}: {error}") from None


def _refuse_endless(value: Any, key: str = "") -> None:
    """JSON has no infinite numbers and no NaN; YAML does, and no limit of the schema stops NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"config: {key}: {value} is not a finite number")
    parts = value.items() if isinstance(value, Mapping) else ()
    parts = enumerate(value) if isinstance(value, list) else parts
    for name, part in parts:
        _refuse_endless(part, f"{key}.{name}".lstrip("."))


def _check_consistency(config: Mapping[str, Any]) -> None:
    names = [study.variant_name(entry) for entry in config["classification"]["losses"]]
    baseline = config["significance"]["baseline"]
    if baseline not in names:
        raise UserError(
            f"config: significance.baseline: '{baseline}' is not in classification.losses; "
            f"{_nearest(baseline, names)}"
        )
    for k in config["ensembles"]["top_k"]:
        if k > len(names):
            raise UserError(
                f"config: ensembles.top_k: {k} members asked for, but classification.losses has "
                f"{len(names)}"
            )
    known = list(ensembles.method_names())
    for method in config["ensembles"]["methods"]:
        if method not in known:
            raise UserError(
                f"config: ensembles.methods: '{method}' is not known; {_nearest(method, known)}"
            )
    head = config["ensembles"]["model_level"]["loss"]
    known = list(losses.catalog("classification"))
    if head not in known:
        raise UserError(
            f"config: ensembles.model_level.loss: '{head}' is not known; {_nearest(head, known)}"
        )
    repeated = config["ensembles"]["seed_ensemble"]["loss"]
    if repeated is not None and repeated not in names:
        raise UserError(
            f"config: ensembles.seed_ensemble.loss: '{repeated}' is not in classification.losses; "
            f"{_nearest(repeated, names)}"
        )
    known = study.Study(config)
    if known.from_segmenter and not known.segmented:
        raise UserError(
            "config: classification.encoder_weights: 'segmenter' needs sources of the roles "
            "lungs_train and lungs_test; give imagenet, none, or a weights file"
        )
    if "without_crop" in config["ablations"] and not known.segmented:
        raise UserError(
            "config: ablations: 'without_crop' needs sources of the roles lungs_train and "
            "lungs_test: without them no image is cropped"
        )
    for section in ("segmentation", "classification"):
        weights = config[section]["encoder_weights"]
        if set("{}") & set(weights):
            raise UserError(
                f"config: {section}.encoder_weights: '{addresses.public(weights)}' has curly "
                "brackets, which Snakemake takes for a wildcard: rename the file"
            )
        path = encoder_weights.local_weights(weights)
        if path is not None and not path.is_file():
            raise UserError(
                f"config: {section}.encoder_weights: {path} is no file: give imagenet, none, an "
                "http(s) address, or the path of a weights file (relative to the checkout)"
            )
    segmenters = len(config["segmentation"]["losses"])
    if config["segmentation"]["ensemble_size"] > segmenters:
        raise UserError(
            f"config: segmentation.ensemble_size: more than the {segmenters} segmentation.losses"
        )
    same = config["classification"]["backbone"] == config["segmentation"]["backbone"]
    if known.from_segmenter and not same:
        raise UserError(
            "config: classification.backbone: must be segmentation.backbone, since the classifier "
            "starts from the segmenter's encoder"
        )
    allowed = {"segmentation": "val_accuracy val_mcc", "classification": "val_dice"}
    for section, wrong in allowed.items():
        monitor = config[section]["training"]["monitor"]
        if monitor in wrong.split():
            raise UserError(f"config: {section}.training.monitor: '{monitor}' does not exist there")
    for entry in config["classification"]["losses"]:
        if entry.get("training", {}).get("monitor") == "val_dice":
            raise UserError(
                f"config: classification.losses: '{study.variant_name(entry)}': training.monitor: "
                "'val_dice' does not exist there"
            )
