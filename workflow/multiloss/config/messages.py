"""One line for what is wrong with a configuration: the key, the fault, and what would be right."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from multiloss.config.values import Section
from multiloss.job.errors import UserError, did_you_mean

# Keys of older versions and where they went: `old.path: new.path`, `[]` for any place in a list.
# A key that was renamed or moved is entered here; those of 0.1.0 and 0.2.0 are all where they were.
MOVED: dict[str, str] = {}

_TYPES = {
    "string_type": "string",
    "int_type": "integer",
    "float_type": "number",
    "bool_type": "boolean",
    "list_type": "array",
    "model_type": "object",
    "dict_type": "object",
}
_BOUNDS = {
    "greater_than_equal": "is less than the minimum of {ge}",
    "greater_than": "is less than or equal to the minimum of {gt}",
    "less_than_equal": "is greater than the maximum of {le}",
    "less_than": "is greater than or equal to the maximum of {lt}",
    "multiple_of": "is not a multiple of {multiple_of}",
    "finite_number": "is not a finite number",
    "too_long": "is too long",
    "string_too_short": "should be non-empty",
}


def refuse_moved(config: Mapping[str, Any]) -> None:
    """Raise UserError for a key of an older version, with its new place."""
    for path, shown in _paths(config):
        if path in MOVED:
            raise UserError(
                f"config: key '{shown}' is '{MOVED[path]}' in this version: move it there"
            )


def _paths(value: Any, path: str = "", shown: str = "") -> Iterator[tuple[str, str]]:
    """Every key below a value: with `[]` for places in lists, and with their numbers."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            deeper = f"{path}.{key}".lstrip("."), f"{shown}.{key}".lstrip(".")
            yield deeper
            yield from _paths(part, *deeper)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _paths(part, f"{path}[]", f"{shown}.{place}")


def one_line(error: ValidationError, model: type[Section], given: Mapping[str, Any]) -> str:
    """The message for the fault that tells most: an unknown key, else the deepest one.

    A misspelt key is often the reason why another one is missing.
    """
    order = ["extra_forbidden", "invalid_key"]
    first = min(
        error.errors(include_url=False),
        key=lambda each: (
            each["type"] not in order,
            each["type"] == "missing",
            -len(each["loc"]),
        ),
    )
    entry, key = _place(first["loc"], given)
    return f"config: {entry}{_message(first, key, model)}".replace("\n", " ")


def _place(path: tuple[str | int, ...], given: Any) -> tuple[str, str]:
    """The entry of a list by its name, where the fault lies deeper in it, and the key."""
    for depth, part in enumerate(path):
        given = given[part] if depth < len(path) - 1 else None
        if isinstance(part, int) and depth < len(path) - 2 and isinstance(given, Mapping):
            name = given.get("as", given.get("name"))
            if isinstance(name, str):
                place = ".".join(map(str, path[:depth]))
                return f"{place}: {name!r}: ", ".".join(map(str, path[depth + 1 :]))
    return "", ".".join(map(str, path)) or "file"


def _message(error: Mapping[str, Any], key: str, model: type[Section]) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in ("extra_forbidden", "invalid_key"):
        known = list(_section_at(model, error["loc"][:-1]).fields())
        return f"unknown key '{key}'; {_hint(error['loc'][-1], known)}"
    if kind == "missing":
        return f"key '{key}' is missing{'' if len(error['loc']) > 1 else _WHERE}"
    if kind == "fault":
        return f"{key}: {context['text']}"
    if kind == "not_known":
        name, known = context["name"], context["known"]
        return f"{key}: {name!r} is not known; {_hint(name, known)}"
    # There may be a password in an address.
    secret = "://" in str(value)
    if secret and kind in _TYPES:
        return f"{key}: its value does not fit 'type' of the schema: '{_TYPES[kind]}'"
    shown = "its value" if secret else _shortened(repr(value))
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", context["expected"])
        return f"{key}: {shown} is not known; {_hint(value, choices)}"
    if kind in _TYPES:
        return f"{key}: {shown} is not of type '{_TYPES[kind]}'{_quotes(kind, value)}"
    if kind == "too_short":
        few = "is too short" if value else "should be non-empty"
        return f"{key}: {shown} {few}"
    if kind in _BOUNDS:
        return f"{key}: {shown} {_BOUNDS[kind].format(**context)}"
    return f"{key}: {shown} {context.get('text') or 'is wrong: ' + error['msg']}"


_WHERE = ": give it in the study's file, or in the `config:` of the module that is this workflow"


def _quotes(kind: str, value: Any) -> str:
    """What to do where quotes, or none, made another type of a value."""
    if kind == "string_type" and not isinstance(value, list | Mapping | None):
        return (
            "; YAML takes yes, no, on, off, numbers and dates for that: put names in quotes, on "
            "the command line in two pairs, --config 'study=\"2021_12\"'"
        )
    if isinstance(value, str):
        try:
            meant = yaml.safe_load(value)
        except yaml.YAMLError:
            meant = value
        if not isinstance(meant, str):
            return (
                "; write it without quotes. Within --config 'key={...}' Snakemake takes every "
                "value for text: put it into a file for --configfile"
            )
    return ""


def _shortened(text: str, length: int = 120) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _hint(word: Any, known: list[str]) -> str:
    return did_you_mean(word, known) or _shortened(f"known: {', '.join(known)}", 180)


def _section_at(model: type[Section], path: Iterable[str | int]) -> type[Section]:
    """The section that a path leads to; numbers are places in lists."""
    for part in path:
        if isinstance(part, str):
            model = _section_in(model.model_fields[model.fields()[part]].annotation)
    return model


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
