"""The configuration of a study: read, checked, and completed with its defaults.

`models` has every key with its type, default, range and meaning; `checks` what keys ask of one
another; `messages` the one line for a mistake; `reference` writes the JSON schema and the page of
all keys. Read by the Snakefile, so nothing here imports more than Snakemake itself brings along.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from multiloss.config import messages
from multiloss.config.models import GeneratorOptions, StudyConfig
from multiloss.job.errors import UserError

__all__ = ["StudyConfig", "generator_options", "load", "validate"]


def load(config: Mapping[str, Any]) -> StudyConfig:
    """The configuration as an object, `load(config).classification.training.epochs`.

    Raises UserError with one line that names the key for anything that cannot be run: an
    unknown key, loss, parameter, layout or method, or values that contradict each other.
    """
    messages.refuse_moved(config)
    try:
        return StudyConfig.model_validate(config)
    except ValidationError as error:
        raise UserError(messages.one_line(error, StudyConfig, config)) from None


def validate(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as a mapping with all defaults filled in; raises what `load` raises.

    Keys keep their order, and what was given stays as it was given.
    """
    return load(config).plain(config)


def generator_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The `phantom` of a valid source with the generator's defaults filled in."""
    return GeneratorOptions.model_validate(given).model_dump()
