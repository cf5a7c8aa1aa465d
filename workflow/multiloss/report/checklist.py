"""Reporting checklists: `checklist.yaml`, with the answers that hold for a study."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from multiloss import __version__
from multiloss.report.facts import Facts
from multiloss.report.methods import Methods

PATH = Path(__file__).parent / "checklist.yaml"
STATUSES = ("answered", "in part", "for the authors", "does not apply")


@dataclass(frozen=True)
class Item:
    """One topic with its numbers in both lists, and what this study can say."""

    claim: str
    tripod: str
    topic: str
    status: str
    answer: Markup
    section: str


def items(facts: Facts, environment: jinja2.Environment, say: Any) -> list[Item]:
    """All topics in the order of a paper, each with its first answer that holds for the study.

    `say`: the study in words, `templates.in_words`.
    """
    known = {
        "config": facts.config,
        "facts": facts,
        "methods": Methods(facts),
        "say": say,
        "subgroups": [entry["column"] for entry in facts.config["evaluation"].get("subgroups", [])],
        "published": defaultdict(str, facts.publishers_say),
        "version": __version__,
    }
    found = []
    for entry in yaml.safe_load(PATH.read_text(encoding="utf-8")):
        answer = next(
            each
            for each in entry["answers"]
            if "when" not in each or environment.compile_expression(each["when"])(**known)
        )
        found.append(
            Item(
                claim=entry.get("claim", ""),
                tripod=entry.get("tripod", ""),
                topic=entry["topic"],
                status=answer["status"],
                # Its names are escaped already.
                answer=Markup(environment.from_string(answer["text"]).render(known)),
                section=answer.get("section", entry.get("section", "")),
            )
        )
    return found
