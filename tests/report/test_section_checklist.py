"""The reporting checklists claim what is known of a study, and nothing else."""

import copy
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from multiloss.report import checklist, templates
from multiloss.report.facts import Facts
from report_studies import cells, checklist_of, facts_of, section, tables_of, words
from synthetic_results import configuration

NOWHERE = Path("nowhere")
# TRIPOD+AI as published: items with their parts.
TRIPOD = (
    "1, 2, 3a-c, 4, 5a-b, 6a-c, 7, 8a-c, 9a-c, 10, 11, 12a-g, 13, 14, 15, 16, 17, 18a-f, 19, "
    "20a-c, 21, 22, 23a-b, 24, 25, 26, 27a-c"
)
# Sections that are not templates yet.
OTHERS = {"answer", "data", "singles", "ensembles", "gradcam", "crops", "training", "replicates",
          "significance", "versions", "subgroups"}  # fmt: skip


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(configuration(losses=["cce", "focal"]))


def manifest(known: list[bool]) -> pd.DataFrame:
    return pd.DataFrame(
        {"image_id": range(len(known)), "patient_id": range(len(known)), "label": "normal",
         "split": "train", "patient_known": known}
    )  # fmt: skip


def study(config: dict[str, Any], known: list[bool] | None = None, **source: Any) -> Facts:
    """Facts where the classified images are of a source with these keys."""
    for entry in config["data"]["sources"]:
        if entry["role"] == "classification":
            entry.update(source)
    facts = facts_of(NOWHERE, config)
    facts.__dict__["manifest"] = manifest(known or [True] * 4)
    return facts


def parts(numbers: str) -> list[str]:
    """'12b-c, 22' as its parts: 12b, 12c, 22."""
    found = []
    for part in filter(None, numbers.split(", ")):
        item, first, last = re.fullmatch(r"(\d+)([a-z]?)(?:-([a-z]))?", part).groups()
        letters = range(ord(first), ord(last or first) + 1) if first else []
        found += [f"{item}{chr(letter)}" for letter in letters] or [item]
    return found


def test_it_covers_both_lists(config: dict[str, Any]) -> None:
    found = list(checklist_of(study(config)).values())
    claim = [int(n) for item in found for n in re.findall(r"\d+", item.claim)]
    assert claim == list(range(1, 45))
    assert {part for item in found for part in parts(item.tripod)} == set(parts(TRIPOD))
    ids = {path.name.split("_", 1)[1].removesuffix(templates.ENDING)
           for path in templates.FOLDER.glob("[0-9]*.j2")}  # fmt: skip
    assert {item.section for item in found if item.section} <= ids | OTHERS
    assert {item.status for item in found} <= set(checklist.STATUSES)


def test_every_topic_has_an_answer_without_a_condition() -> None:
    entries = yaml.safe_load(checklist.PATH.read_text(encoding="utf-8"))
    for entry in entries:
        assert set(entry) <= {"topic", "claim", "tripod", "section", "answers"}, entry["topic"]
        assert "when" not in entry["answers"][-1], entry["topic"]
        assert all("when" in answer for answer in entry["answers"][:-1]), entry["topic"]
        for answer in entry["answers"]:
            assert set(answer) <= {"when", "status", "text", "section"}, entry["topic"]
            assert answer["text"] and answer["status"] in checklist.STATUSES


def test_the_section_counts_and_links_its_answers(config: dict[str, Any]) -> None:
    facts = study(config)
    found = section(facts, "64_checklist")
    items = checklist_of(facts).values()
    counts = [sum(item.status == status for item in items) for status in checklist.STATUSES]
    assert words(found.finding) == (
        f"Of {len(items)} topics of CLAIM and TRIPOD+AI, {counts[0]} are answered here and "
        f"{counts[1]} in part; {counts[2]} are for the authors and {counts[3]} do not apply."
    )
    table = tables_of(found)["checklist"]
    assert all(cells(table, "Topic")) and len(table.rows) == len(items)
    assert cells(table, "Answer")[1] == "The first section states the findings. See the answer."
    assert '<a href="#answer">the answer</a>' in table.rows[1][4].text


# Topics that only the people behind the images know.
PEOPLE = [
    "Prospective or retrospective", "Dates of data", "De-identification", "Image acquisition",
    "Reference standard", "Reason for this reference standard", "Source of the annotations",
    "Annotation of the test set", "Variability between and within raters",
    "Inclusion and exclusion criteria, setting, treatments",
    "Differences between hospitals or devices", "Demographics and clinical characteristics",
    "Fairness", "Ethics", "Patient and public involvement",
]  # fmt: skip


def test_it_claims_nothing_of_own_images(config: dict[str, Any]) -> None:
    own = checklist_of(study(copy.deepcopy(config), layout="table", url="/data/mine.csv"))
    assert {own[topic].status for topic in PEOPLE} == {"for the authors"}
    assert "enerated" not in " ".join(item.answer for item in own.values())
    assert "archive" not in " ".join(own[topic].answer for topic in PEOPLE)
    public = checklist_of(study(copy.deepcopy(config), layout="kermany"))
    assert public["Reference standard"].answer.startswith("Graded by two physicians")
    assert public["Demographics and clinical characteristics"].status == "for the authors"
    phantom = checklist_of(study(copy.deepcopy(config), layout="phantom"))
    assert phantom["Demographics and clinical characteristics"].status == "does not apply"
    # What holds for one archive is not said of two.
    config["data"]["sources"].append({**config["data"]["sources"][0], "layout": "table"})
    config["data"]["sources"][0]["layout"] = "kermany"
    mixed = checklist_of(facts_of(NOWHERE, config))
    assert mixed["Reference standard"].status == "for the authors"


def test_it_tells_unknown_patients(config: dict[str, Any]) -> None:
    topics = "Level at which partitions are disjoint", "Uncertainty and significance"

    def told(known: list[bool]) -> list[checklist.Item]:
        found = checklist_of(study(config, known))
        return [found[topic] for topic in topics]

    level, tests = told([True] * 4)
    assert (level.status, tests.status) == ("answered", "answered")
    assert level.answer == "Patients."
    level, tests = told([False] * 4)
    assert level.status == "in part" and level.answer.startswith("Images: patients are unknown")
    assert tests.status == "in part" and "intervals may be too narrow" in tests.answer
    level, tests = told([True, True, False, False])
    assert "2 images without a known patient were taken for" in level.answer
    assert "2 images without a known patient count as a patient each" in tests.answer


def test_answers_follow_the_config(config: dict[str, Any]) -> None:
    found = checklist_of(study(config))
    assert found["Class imbalance"].answer.startswith("Class weights: balanced.")
    assert found["Aims and hypotheses"].status == "answered"
    assert found["Data sources"].status == "answered"
    assert found["Robustness and sensitivity analyses"].answer.endswith(
        "1 training run for each loss."
    )
    assert found["Performance measures"].answer.startswith("MCC (primary), accuracy")
    config["classification"]["class_weights"] = "none"
    config["significance"]["metric"] = "balanced_accuracy"
    config["data"]["sources"][0]["license"] = ""
    config["replicates"] = 3
    found = checklist_of(study(config))
    assert found["Class imbalance"].answer.startswith("No class weights")
    assert found["Data sources"].status == "in part"
    assert found["Robustness and sensitivity analyses"].answer.endswith(
        "3 training runs for each loss."
    )
    assert found["Performance measures"].answer.startswith("Balanced accuracy (primary), MCC,")
    config["evaluation"]["subgroups"] = [{"column": "sex", "bands": None}]
    own = checklist_of(study(config, layout="table"))
    assert (own["Fairness"].status, own["Fairness"].section) == ("in part", "subgroups")
