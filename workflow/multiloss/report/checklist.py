"""Reporting checklists, filled in as far as the workflow knows the answers.

Numbers refer to CLAIM (Mongan 2020; its update of 2024 numbers some topics otherwise) and TRIPOD+AI
(Collins 2024); the topics are worded anew.
"""

from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from multiloss import __version__
from multiloss.report.blocks import (
    Bullets,
    Cell,
    Column,
    Section,
    Text,
    listed,
    number,
    plural,
    table,
)
from multiloss.report.facts import Facts
from multiloss.report.methods import REFERENCES

HERE, PART, OPEN, NONE = "answered", "in part", "for the authors", "does not apply"

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
    anchor: str = ""


def items(facts: Facts) -> list[Item]:
    """All topics in the order of a paper."""
    config = facts.config
    manifest = facts.manifest
    patients = manifest["patient_id"].nunique() if len(manifest) else 0
    rejected = len(facts.results.table("data/rejected.csv"))
    dropped = len(facts.results.table("data/dropped.csv"))
    sources = [source["name"] for source in facts.sources()]
    stated = all(
        source.get("citation") and source.get("license")
        for source in map(facts.provenance, facts.sources())
    )
    phantom = facts.phantom
    audit = not facts.results.table("tables/leakage.csv").empty
    maps = not facts.results.table("tables/localisation.csv").empty
    ablations = config.get("ablations") or []
    scaled = config.get("evaluation", {}).get("temperature_scaling", False)
    imbalance = config["classification"].get("class_weights", "none")
    known_patients = bool(len(manifest)) and manifest["patient_id"].notna().all()
    person = NONE if phantom else OPEN
    generated = "Images are generated; there are no patients."

    def human(text: str) -> str:
        return generated if phantom else text

    return [
        Item("1", "1", "Title names the AI method and what it predicts", OPEN,
             "Title of the paper."),
        Item("2", "2", "Structured summary", PART,
             "The first section states the findings.", "answer"),
        Item("3", "3a-c", "Background, intended use, known inequalities", OPEN,
             "Clinical role and intended users are not known to the workflow."),
        Item("4", "4", "Objectives", HERE,
             "Which loss to train with under class imbalance, and whether ensembles of models "
             "trained with different losses beat their best member.", "answer"),
        Item("5", "5a", "Prospective or retrospective", person,
             human("Existing images are analysed again (retrospective).")),
        Item("6", "4", "Goal of the study", HERE, "Comparison of training methods; not a device."),
        Item("7", "5a", "Data sources", HERE if stated else PART,
             f"{plural(len(sources), 'source')} ({listed(sources)}) with address, digest, licence "
             "and citation" + ("." if stated else "; some of these are not in the config."),
             "data"),
        Item("8", "6a-c", "Eligibility, setting, treatments", person,
             human("As in the publications of the sources; the workflow adds no criterion.")),
        Item("", "5b", "Dates of data", person,
             human("Not part of the public archives.")),
        Item("9", "7", "Preprocessing", HERE,
             f"Grey scale, lung crop, {config['classification']['image_size']} pixels.", "crops"),
        Item("10", "11", "Choice of subsets, omitted data", HERE,
             f"{plural(rejected, 'file')} rejected, {plural(dropped, 'image')} dropped, each "
             "listed with its reason.", "data"),
        Item("11", "8a", "Outcome and data elements defined", PART,
             f"Classes as the sources label them: {listed(facts.classes)}.", "data"),
        Item("", "9a-c", "Predictors", HERE,
             "The pixels of one image; no other variable is used.", "crops"),
        Item("12", "", "De-identification", person,
             human("Done by the publishers of the sources; file names only are read here.")),
        Item("13", "11", "Missing data", HERE,
             "Unreadable files are left out and listed; no value is filled in.", "data"),
        Item("14, 15, 16", "8a-c", "Reference standard, its source and rationale", person,
             "True by construction of the generator." if phantom
             else "Labels of the sources are taken as they are."),
        Item("17", "", "Annotation tools", person, human("Those of the sources.")),
        Item("18", "", "Variability between readers", person,
             human("Not published for each image.")),
        Item("19", "10", "Sample size", PART,
             f"{plural(len(manifest), 'image')} of {plural(patients, 'patient')}, all that the "
             "sources have; intervals show what this size can tell.", "data"),
        Item("20", "12a", "Assignment to partitions", HERE,
             "At random with the study's seed, stratified by class"
             + ("; the test folder is the source's own."
                if config.get("splits", {}).get("test") == "shipped" else "."), "data"),
        Item("21", "12a", "Level at which partitions are disjoint",
             HERE if known_patients else PART,
             "Patients." + (" An audit for shared patients and images is included."
                            if audit else "") +
             ("" if known_patients else " Some images have no patient number."), "data"),
        Item("22", "12b-c, 22", "Model in detail", HERE,
             "Network, layers and losses are in the methods paragraph, all settings in the "
             "configuration.", "methods"),
        Item("23", "", "Software", HERE,
             f"multiloss {__version__} and the versions listed.", "versions"),
        Item("24", "12c", "Initial weights", HERE,
             "Segmenter's encoder: "
             f"{config['segmentation'].get('encoder_weights', 'none')}; classifiers start from "
             "the best segmenter's encoder.", "configuration"),
        Item("25", "12c", "Training", HERE, "Settings and learning curves.", "training"),
        Item("26", "12c", "Choice of the final model", HERE,
             "By MCC on a split of its own (ensemble), never on the test split.", "ensembles"),
        Item("27", "12c", "Ensembles", HERE if facts.ensembles else NONE,
             "Members, weights and methods are listed." if facts.ensembles
             else "No ensembles in this study.", "ensembles"),
        Item("", "13", "Class imbalance", HERE,
             f"Class weights: {imbalance}. They tilt the probabilities; calibration is reported "
             "with that caveat.", "calibration"),
        Item("28", "12e", "Performance measures", HERE,
             "MCC (primary), accuracy, AUROC, AUPRC, precision, recall, F1, kappa, log loss, "
             "Brier score, calibration error.", "singles"),
        Item("29", "12e", "Uncertainty and significance", HERE,
             "Intervals and paired tests that respect patients, corrected by Holm's method.",
             "significance"),
        Item("30", "", "Robustness and sensitivity analyses", HERE if ablations else PART,
             (f"Ablations: {listed(ablations)}. " if ablations else "No ablations. ")
             + f"{plural(facts.replicates, 'seed')} for each loss.", "replicates"),
        Item("", "12g", "How predictions were calculated", HERE,
             "By the saved networks, one pass for each image; the files predictions/*.csv hold "
             "the probability of each class.", "methods"),
        Item("", "15", "Output of the model and thresholds", HERE,
             "A probability for each class; the class with the highest one is the answer. "
             "Operating points are chosen on the ensemble split.", "singles"),
        Item("31", "", "Explanation of outputs", HERE if maps else NONE,
             "Grad-CAM with measures of where the heat lies." if maps
             else "Grad-CAM is switched off.", "gradcam"),
        Item("32", "", "External test data", OPEN,
             "None in this study: train and test images are of the same source."),
        Item("", "16, 20c", "Differences between development and test data", PART,
             "Class and patient counts, and lung shares, of each split stand side by side.",
             "data"),
        Item("", "12d, 23b", "Differences between hospitals or devices", person,
             human("The sources do not tell hospitals or devices apart.")),
        Item("33", "20a, 21", "Flow of participants, numbers in each analysis", HERE,
             "Images and patients of each split, with those left out.", "data"),
        Item("34", "20b", "Demographics", person,
             human("Age and sex are not part of the public archives.")),
        Item("", "14", "Fairness", person,
             human("Groups of patients cannot be told apart in these data.")),
        Item("35", "23a", "Performance on all partitions", HERE,
             "val, ensemble and test; training images are not scored.", "singles"),
        Item("36", "23a", "Diagnostic accuracy with precision", HERE,
             f"With {facts.confidence} intervals, also for each class.", "singles"),
        Item("37", "", "Errors looked into", PART,
             "Confusion matrices, and heat maps of wrong images.",
             "gradcam" if maps else "singles"),
        Item("38", "26", "Limitations", PART, "The caveats of the first section.", "answer"),
        Item("39", "25, 27a-c", "Meaning for practice, usability", OPEN,
             "Not claimed here: no model of this study is fit for clinical use."),
        Item("40", "18d", "Registration", OPEN, "Number of a registration, if any."),
        Item("41", "18c, 18e, 18f", "Protocol, data, code", PART,
             "The configuration on this page, the digests of the data and the version of the code "
             "repeat the study.", "configuration"),
        Item("42", "18a-b", "Funding and conflicts of interest", OPEN, "Statement of the authors."),
        Item("", "17", "Ethics", person, human("Statement of the authors on use of the data.")),
        Item("", "19", "Patient and public involvement", person,
             human("Statement of the authors.")),
        Item("", "12f, 24", "Model updating", PART if scaled else NONE,
             "Temperatures fitted on the ensemble split are shown beside the raw values; nothing "
             "else is updated." if scaled else "Models are not updated.",
             "calibration" if scaled else ""),
    ]  # fmt: skip


def section(facts: Facts) -> Section:
    """The table of topics."""
    found = items(facts)
    counts = pd.Series([item.status for item in found]).value_counts()
    said = [f"{counts.get(status, 0)} {status}" for status in (HERE, PART, OPEN, NONE)]
    rows = []
    for item in found:
        answer: Markup | str = item.answer
        if item.anchor:
            answer = Markup('{} See <a href="#{}">{}</a>.').format(
                item.answer, item.anchor, SECTIONS.get(item.anchor, item.anchor)
            )
        rows.append(
            {
                "claim": item.claim or pd.NA,
                "tripod": item.tripod or pd.NA,
                "topic": item.topic,
                "status": item.status,
                "answer": Cell(answer, item.answer),
            }
        )
    share = number(100 * counts.get(HERE, 0) / len(found), 0)
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
                "Columns CLAIM and TRIPOD+AI give the number of the topic in each list, CLAIM as "
                "of 2020 (its update of 2024 numbers some topics otherwise); topics are in our "
                "words, so read the lists themselves before submitting. An empty number: the list "
                "has no such topic of its own.",
                pd.DataFrame(rows),
                [
                    Column("claim", "CLAIM"),
                    Column("tripod", "TRIPOD+AI"),
                    Column("topic", "Topic"),
                    Column("status", "Status"),
                    Column("answer", "Answer"),
                ],
                shown=len(rows),
            ),
            Bullets([REFERENCES["mongan2020"], REFERENCES["collins2024"]]),
        ],
    )
