"""Reporting checklists, filled in as far as the workflow knows the answers (`checklist.yaml`)."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from multiloss import __version__, references
from multiloss.data import layouts
from multiloss.data.sources import addresses
from multiloss.report.blocks import (
    Bullets,
    Cell,
    Column,
    Section,
    Text,
    is_true,
    listed,
    number,
    plural,
    table,
)
from multiloss.report.facts import Facts

STATUSES = ("answered", "in part", "for the authors", "does not apply")
ANSWERED = STATUSES[0]

# What the links to sections are called, where the name of the section itself will not do.
SECTIONS = {
    "answer": "the answer",
    "singles": "single models",
    "gradcam": "Grad-CAM",
    "replicates": "seeds",
    "versions": "software",
}


@dataclass(frozen=True)
class Item:
    """One topic with its numbers in both lists, and what this study can say."""

    claim: str
    tripod: str
    topic: str
    status: str
    answer: str
    section: str


def items(facts: Facts) -> list[Item]:
    """All topics in the order of a paper, each with its first answer that holds for the study."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    known = context(facts)
    found = []
    text = (Path(__file__).parent / "checklist.yaml").read_text(encoding="utf-8")
    for entry in yaml.safe_load(text):
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
                answer=environment.from_string(answer["text"]).render(known),
                section=answer.get("section", entry.get("section", "")),
            )
        )
    return found


def context(facts: Facts) -> dict[str, Any]:
    """The names that conditions and answers of the checklist may use, with their values."""
    config, manifest = facts.config, facts.divided
    sources = facts.sources()
    known = [is_true(value) for value in manifest.get("patient_known", [])]
    unknown = known.count(False)
    patients = manifest["patient_id"].nunique() if len(manifest) else 0
    of = f" of {plural(patients, 'patient')}" if not unknown else ""
    classified = {source["layout"] for source in facts.sources("classification")}
    archives = [layouts.get(name).published for name in sorted(classified)]
    audit = not facts.results.table("tables/leakage.csv").empty
    start = {"none": "random start", "segmenter": "the encoder of the best U-Net"}
    weights = {
        section: start.get(word, word)
        for section in ("segmentation", "classification")
        for word in [addresses.public(config[section]["encoder_weights"])]
    }
    return {
        "phantom": facts.generated,
        "generated": "Images are generated; there are no patients.",
        # Holds for all images or is not said.
        "published": defaultdict(str, archives[0] if len(archives) == 1 else {}),
        "losses": len(facts.losses),
        "ensembles": bool(facts.ensembles),
        "ablations": listed(config["ablations"]),
        "seeds": plural(facts.replicates, "seed"),
        "sources": f"{plural(len(sources), 'source')} ({listed([s['name'] for s in sources])})",
        "stated": all(
            source.get("citation") and source.get("license")
            for source in map(facts.provenance, sources)
        ),
        "rejected": plural(len(facts.left_out), "file"),
        "dropped": plural(len(facts.dropped()), "image"),
        "classes": listed(facts.classes),
        "images": len(manifest),
        "unknown": unknown,
        "unknown_images": plural(unknown, "image"),
        "size": plural(len(manifest), "image") + of,
        "test_size": facts.size("test"),
        "external": listed(
            [
                f"{facts.size(split)} in {name}"
                for split, name in zip(facts.external, facts.study.external, strict=True)
            ]
        ),
        "subgroups": listed([entry["column"] for entry in config["evaluation"]["subgroups"]]),
        "audit": " An audit for shared patients and images is included." if audit else "",
        "shipped_test": facts.shipped_test,
        "unit": facts.unit,
        "image_size": config["classification"]["image_size"],
        "segmented": facts.study.segmented,
        "from_segmenter": facts.study.from_segmenter,
        "pixels": "8-bit RGB" if facts.study.rgb else "8-bit grey",
        "encoder_weights": weights,
        "class_weights": config["classification"]["class_weights"],
        "temperature_scaling": config["evaluation"]["temperature_scaling"],
        "maps": not facts.results.table("tables/localisation.csv").empty,
        "confidence": facts.confidence,
        "version": __version__,
    }


def section(facts: Facts) -> Section:
    """The table of topics."""
    found = items(facts)
    counts = pd.Series([item.status for item in found]).value_counts()
    said = [f"{counts.get(status, 0)} {status}" for status in STATUSES]
    rows = []
    for item in found:
        answer: Markup | str = item.answer
        if item.section:
            answer = Markup('{} See <a href="#{}">{}</a>.').format(
                item.answer, item.section, SECTIONS.get(item.section, item.section)
            )
        rows.append(
            {
                "topic": item.topic,
                "claim": item.claim or pd.NA,
                "tripod": item.tripod or pd.NA,
                "status": item.status,
                "answer": Cell(answer, item.answer),
            }
        )
    share = number(100 * counts.get(ANSWERED, 0) / len(found), 0)
    return Section(
        "checklist",
        "Reporting checklist",
        [
            Text(
                [
                    "Two checklists for papers on AI in imaging and on prediction models, merged "
                    "and filled in from the config and the tables. What only the authors can know "
                    f"is marked so. Of {len(found)} topics ({share}% answered here): "
                    f"{', '.join(said)}."
                ]
            ),
            table(
                "checklist-table",
                "CLAIM and TRIPOD+AI",
                "Columns CLAIM (update of 2024) and TRIPOD+AI give the number of the item in each "
                "list; topics are in our words, so read the lists themselves before submitting. "
                "An empty number: the list has no such item.",
                pd.DataFrame(rows),
                [
                    Column("topic", "Topic"),
                    Column("claim", "CLAIM"),
                    Column("tripod", "TRIPOD+AI"),
                    Column("status", "Status"),
                    Column("answer", "Answer"),
                ],
                shown=len(rows),
            ),
            Bullets([references.cited("tejani2024"), references.cited("collins2024")]),
        ],
    )
