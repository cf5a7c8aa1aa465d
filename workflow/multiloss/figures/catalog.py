"""Reader of catalog.yaml: the figures of a study, and what each is drawn from and says.

The Snakefile imports this on every start, so it needs nothing that Snakemake does not bring.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from multiloss.job.errors import UserError
from multiloss.study import Study

Config = Mapping[str, Any]
Facts = Mapping[str, Any]

CATALOG = Path(__file__).with_suffix(".yaml")
# What is resampled, where it is not known whether the study knows its patients.
UNITS = "patients (single images where patients are unknown)"


@dataclass(frozen=True)
class Figure:
    """One figure of a study.

    `draw`: `module.function` below multiloss.figures; `inputs`: paths below results/STUDY, or
    lists of them, by the function's names for them; `params`: what else the picture depends on
    beside the style. For the reader alone are `title`, `category`, `caption` and `main`, the number
    among the figures of a paper (None: supplement).
    """

    name: str
    title: str
    category: str
    draw: str
    inputs: dict[str, str | list[str]]
    params: dict[str, Any]
    caption: str
    main: int | None = None

    @property
    def module(self) -> str:
        """The module below multiloss.figures that draws it."""
        return self.draw.partition(".")[0]

    def files(self, results: str | Path) -> dict[str, list[str]]:
        """Its inputs by name, in the folder of a study's results."""
        return {
            name: [f"{results}/{path}" for path in ([paths] if isinstance(paths, str) else paths)]
            for name, paths in self.inputs.items()
        }


def figures(config: Config, units: str = UNITS) -> dict[str, Figure]:
    """Every figure of a study by name, in the order of the report.

    `config`: validated, with its defaults; `units`: what captions call that which is resampled.
    Raises UserError naming the entry whose text is wrong or speaks of an unknown fact.
    """
    facts, found = facts_of(config, units), {}
    for entry in _catalog()["figures"]:
        try:
            for figure in _of_entry(entry, facts):
                if figure.name in found:
                    raise UserError("another figure has this name")
                found[figure.name] = figure
        except (jinja2.TemplateError, UserError) as error:
            raise UserError(f"{CATALOG.name}: figure '{entry.get('name')}': {error}") from None
    return found


def facts_of(config: Config, units: str = UNITS) -> Facts:
    """What entries can ask about a study; catalog.yaml tells what each fact is."""
    study, options = Study(config).shown, config["ensembles"]
    return {
        "config": study.config,
        "study": study,
        "seen": "crop" if study.segmented else "image",
        "percent": f"{100 * config['evaluation']['confidence']:g}%",
        "units": units,
        "labels": {name: variant.label for name, variant in study.listed.items()},
        "phantoms": [
            source["name"] for source in config["data"]["sources"] if source["layout"] == "phantom"
        ],
        "ensembles": bool(options["methods"] and options["top_k"]),
        "prediction_level": bool(study.select(["ensemble"], levels=["prediction"])),
        "further_seeds": bool(study.select(["seed"])),
        "ensemble_families": len(
            {model.family for model in study.select(["ensemble", "seed_ensemble"])}
        ),
    }


def _of_entry(entry: Mapping[str, Any], facts: Facts) -> Iterator[Figure]:
    """The figures of an entry: none, one, or one for each item of its `for`."""
    keys = [field.name for field in fields(Figure) if field.name != "main"]
    missing = [key for key in keys if key not in entry]
    unknown = [key for key in entry if key not in (*keys, "main", "when", "for", "pages")]
    if missing or unknown:
        raise UserError(f"no '{missing[0]}'" if missing else f"unknown key '{unknown[0]}'")
    if "when" in entry and not _value(entry["when"], facts):
        return
    for known in _each(entry["for"], facts) if "for" in entry else [facts]:
        paths = {name: _paths(given, known) for name, given in entry["inputs"].items()}
        inputs = {name: path for name, path in paths.items() if path != ""}
        params = {name: _param(given, known) for name, given in entry["params"].items()}
        words = {key: _text(entry[key], known) for key in ("name", "title", "category", "caption")}
        figure = Figure(
            draw=entry["draw"], inputs=inputs, params=params, main=entry.get("main"), **words
        )
        pages = entry.get("pages", {"rows": "0", "most": 1})
        yield from _in_pages(figure, -(-_value(pages["rows"], known) // pages["most"]))


def _in_pages(figure: Figure, number: int) -> Iterator[Figure]:
    """The figure, or its `number` pages: NAME, NAME_2, ..."""
    if number < 2:
        yield figure
        return
    for page in range(1, number + 1):
        yield replace(
            figure,
            name=f"{figure.name}_{page}" if page > 1 else figure.name,
            title=f"{figure.title} ({page} of {number})",
            params={**figure.params, "page": [page, number]},
        )


def _paths(given: str | Mapping[str, str], facts: Facts) -> str | list[str]:
    if isinstance(given, str):
        return _text(given, facts)
    return [_text(given["path"], known) for known in _each(given["for"], facts)]


def _param(given: Any, facts: Facts) -> Any:
    """A value as it stands, or that of the expression in its braces."""
    braces = re.fullmatch(r"\{\{(.*)\}\}", given, re.DOTALL) if isinstance(given, str) else None
    return _value(braces[1], facts) if braces else given


def _each(text: str, facts: Facts) -> list[Facts]:
    """`model in study.explained`: the facts with each model."""
    name, _, items = text.partition(" in ")
    return [{**facts, name: item} for item in _value(items, facts)]


def _value(expression: str, facts: Facts) -> Any:
    value = _compiled(expression)(facts)
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises an error that names what is unknown
    return value


def _text(template: str, facts: Facts) -> str:
    # Not the non-breaking spaces within names.
    return re.sub("[ \n]+", " ", _template(template).render(facts)).strip()


@cache
def _catalog() -> dict[str, Any]:
    return yaml.safe_load(CATALOG.read_text(encoding="utf-8"))


@cache
def _environment() -> jinja2.Environment:
    sentences = jinja2.DictLoader(_catalog()["sentences"])
    return jinja2.Environment(undefined=jinja2.StrictUndefined, loader=sentences)


@cache
def _template(text: str) -> jinja2.Template:
    return _environment().from_string(text)


@cache
def _compiled(expression: str) -> Any:
    return _environment().compile_expression(expression, undefined_to_none=False)
