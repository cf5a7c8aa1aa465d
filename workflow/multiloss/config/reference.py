"""Write the JSON schema and the page of all keys from the models: `make reference`.

`python -m multiloss.config.reference`; the same models give the same bytes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from multiloss.config.models import LossEntry, StudyConfig

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
PAGE = ROOT / "docs/reference/config.md"
NOTE = "Written by `make reference` from workflow/multiloss/config/models.py: change it there."


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: CoreSchema) -> bool:
        return False

    def encode_default(self, default: Any) -> Any:
        if isinstance(default, list):
            names = [entry.name for entry in default if isinstance(entry, LossEntry)]
            return names or super().encode_default(default)
        return super().encode_default(default)


class _Dumper(yaml.SafeDumper):
    """Writes out what the schema says twice, instead of a reference of YAML's."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def schema() -> dict[str, Any]:
    """The JSON schema of the configuration."""
    found = StudyConfig.model_json_schema(schema_generator=_Schema)
    defined = found.pop("$defs")
    for section in [found, *defined.values()]:
        section.pop("title", None)
        for key in section.get("properties", {}).values():
            if "$ref" not in key:
                continue
            part = defined[_name(key)]
            key.setdefault("description", part["description"])
            if "default" in key and "required" not in part:
                key["default"] = {}  # each of its keys has one of its own
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "multiloss configuration"}
    whole = head | found | {"$defs": defined}
    _join_lines(whole)
    return whole


def _name(key: dict[str, Any]) -> str:
    return key["$ref"].rsplit("/", 1)[1]


def _join_lines(part: Any) -> None:
    """Descriptions have the line breaks of the source."""
    for value in part.values() if isinstance(part, dict) else part:
        if isinstance(value, dict | list):
            _join_lines(value)
    if isinstance(part, dict) and isinstance(part.get("description"), str):
        part["description"] = " ".join(part["description"].split())


def schema_text() -> str:
    """The file of the JSON schema."""
    text = yaml.dump(
        schema(),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=None,
    )
    return f"# {NOTE}\n{text}"


# ---- the page --------------------------------------------------------------------------------
def sections(whole: dict[str, Any]) -> dict[str, list[str]]:
    """Every section by name, with the paths of the keys that hold it; the whole has no name."""
    found: dict[str, list[str]] = {}
    pending = [("", "")]
    while pending:
        name, path = pending.pop(0)
        found.setdefault(name, []).append(path)
        below = [
            (child, f"{path}.{key}{ending}".lstrip("."))
            for key, value in _properties(whole["$defs"][name] if name else whole).items()
            for child, ending in _children(value)
        ]
        pending = below + pending
    return found


def keys(whole: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every key by its path, `[]` for places in lists, with its part of the schema."""
    return {
        f"{place}.{key}".lstrip("."): value
        for name, places in sections(whole).items()
        for key, value in _properties(whole["$defs"][name] if name else whole).items()
        for place in places
    }


def _properties(part: dict[str, Any]) -> dict[str, Any]:
    """The keys of a section, those included that only some entries of a list have."""
    found = dict(part.get("properties", {}))
    for each in part.get("anyOf", []):
        found |= {key: value for key, value in _properties(each).items() if key not in found}
    return found


def _children(value: Any, ending: str = "") -> Iterator[tuple[str, str]]:
    """Names of the sections that a key holds, and `[]` where it holds a list of them."""
    if "$ref" in value:
        yield _name(value), ending
    for part in value.get("anyOf", []):
        yield from _children(part, ending)
    if "items" in value:
        yield from _children(value["items"], f"{ending}[]")


def page() -> str:
    """The page of all keys, as Markdown."""
    whole = schema()
    places = sections(whole)
    titles = {name: _title(name, at) for name, at in places.items()}
    lines = [
        "# Every key of a study",
        "",
        f"<!-- {NOTE} -->",
        "",
        "A study file gives what differs from `config.yaml`; lists are replaced as a whole. What "
        "neither gives has the default below; keys without one must be given. An unknown key, or "
        "a value that cannot be, stops the study with one line before any job.",
    ]
    for name in sorted(places, key=lambda name: len(places[name]) > 1):
        part = whole["$defs"][name] if name else whole
        lines += ["", f"## {titles[name]}", "", part["description"]]
        if len(places[name]) > 1:
            lines += ["", "Keys of " + ", ".join(f"`{place}`" for place in places[name]) + "."]
        if "properties" in part:
            lines += _table(part["properties"], part.get("required", []), titles)
        else:
            lines += _losses(part, titles)
    return "\n".join(lines) + "\n"


def _title(name: str, places: list[str]) -> str:
    """The path of a section that stands once, else what its key is always called."""
    if not name:
        return "Top level"
    called = {place.rpartition(".")[2] for place in places}
    return f"`{places[0] if len(places) == 1 else called.pop()}`" if len(called) == 1 else name


def _table(properties: dict[str, Any], required: list[str], titles: dict[str, str]) -> list[str]:
    lines = [
        "",
        "| key | type | default | range or choices | what it is |",
        "|---|---|---|---|---|",
    ]
    for key, value in properties.items():
        has_default = key not in required and value.get("default") != {}
        default = f"`{_text(value.get('default'))}`" if has_default else ""
        cells = [f"`{key}`", _type(value, titles), default, _range(value), value["description"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _losses(part: dict[str, Any], titles: dict[str, str]) -> list[str]:
    """The losses with their parameters, and the keys that an entry has besides."""
    entry = part["anyOf"][1]
    lines = ["", "| `name` | parameters, their defaults and ranges |", "|---|---|"]
    for loss in entry["anyOf"]:
        name, *parameters = loss["properties"].items()
        words = [
            f"`{key}: {_text(value['default'])}` ({_range(value)})" for key, value in parameters
        ]
        lines.append(f"| `{name[1]['const']}` | {', '.join(words)} |")
    own = {key: value for key, value in entry["properties"].items() if key != "name"}
    return lines + (_table(own, [], titles) if own else [])


def _text(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
    )


def _type(value: dict[str, Any], titles: dict[str, str]) -> str:
    names = {"string": "text", "boolean": "true or false", "object": "mapping"}
    if "$ref" in value:
        title = titles[_name(value)]
        anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        return f"[{title}](#{anchor})"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(part, titles) for part in value["anyOf"]))
    if value.get("type") == "array":
        return f"list: {_type(value['items'], titles)}"
    if "enum" in value or "const" in value:
        return "choice"
    return names.get(value["type"], value["type"])


def _range(value: dict[str, Any]) -> str:
    """Range, choices or form of a value in words."""
    found = [words for part in value.get("anyOf", []) if (words := _range(part))]
    if "enum" in value:
        found.append(", ".join(f"`{choice}`" for choice in value["enum"]))
    if "const" in value:
        found.append(f"`{value['const']}`")
    bounds = (
        ("minimum", "at least {}"),
        ("exclusiveMinimum", "above {}"),
        ("maximum", "at most {}"),
        ("exclusiveMaximum", "below {}"),
        ("multipleOf", "multiple of {}"),
        ("title", "{}"),
    )
    found += [words.format(value[key]) for key, words in bounds if key in value]
    if "minItems" in value:
        same = value["minItems"] == value.get("maxItems")
        found.append(f"{'' if same else 'at least '}{value['minItems']} of them")
    if value.get("uniqueItems"):
        found.append("no two the same")
    if "items" in value and (words := _range(value["items"])):
        found.append(f"each {words}")
    return ", ".join(found)


def main() -> None:
    """Write both files."""
    for path, text in ((SCHEMA, schema_text()), (PAGE, page())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
