"""The model card and the datasheet say what is known of a study, and that the rest is not."""

import copy
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from multiloss.report import cards
from report_studies import facts_of
from report_studies import size as size_of
from synthetic_results import Study, configuration, make, tables

NEEDED = ["metrics", "degenerate", "calibration_scores", "calibration_comparisons", "external",
          "external_comparisons"]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make(
        tmp_path_factory.mktemp("cards"),
        losses=["cce", "focal", "hinge"],
        classes=["normal", "a|b <i>*x*"],
        external=("hospital-b",),
        gradcam=False,
        with_tables=False,
    )
    tables(made.results, made.config, 50, only=NEEDED)
    return made


def rows(text: str, heading: str) -> list[list[str]]:
    """The table below a heading; a bar within a cell is quoted."""
    part = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_model_card_is_what_the_tables_say(study: Study) -> None:
    card = cards.write(study.results, study.config)["model_card"]
    facts = facts_of(study.results, study.config)
    chosen = pd.read_csv(study.results / "ensembles/chosen.csv").set_index("what")["model"]
    model = chosen["overall"]
    assert f"- **Which**: {facts.label(model)} (`{model}`), the overall choice" in card
    metrics = pd.read_csv(study.results / "tables/metrics.csv")
    own = metrics[(metrics["model"] == model) & (metrics["split"] == "test")].set_index("metric")
    head, _, *found = rows(card, "Performance on the test split")
    assert head[:2] == ["model", "MCC"] and head[-1] == r"recall, a\|b \<i\>\*x\*"
    (line,) = [line for line in found if "(chosen)" in line[0]]
    for place, metric in ((1, "mcc"), (2, "balanced_accuracy"), (5, "recall_normal")):
        row = own.loc[metric].iloc[0] if own.loc[[metric]].shape[0] > 1 else own.loc[metric]
        told = f"{row['value']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
        assert line[place].replace("\N{MINUS SIGN}", "-") == told
    assert any("(baseline)" in line[0] for line in found)
    scores = pd.read_csv(study.results / "tables/calibration_scores.csv")
    raw = scores[(scores["model"] == model) & (scores["version"] == "raw")].set_index("metric")
    slope = raw.loc["calibration_slope"]
    assert f"- Calibration slope {slope['value']:.2f} ({slope['ci_low']:.2f} to" in card
    external = pd.read_csv(study.results / "tables/external.csv")
    there = external[(external["model"] == model) & (external["metric"] == "mcc")].iloc[0]
    assert (
        f"- hospital-b, {size_of(facts, 'external_hospital-b')}: MCC {there['value']:.2f}" in card
    )
    assert "**No model of this study is fit for clinical use**" in card


def test_both_cards_count_the_images_of_each_split(study: Study) -> None:
    manifest = pd.read_csv(study.results / "data/manifest.csv")
    counts = manifest.groupby(["split", "label"]).size()
    for text, heading in zip(
        cards.write(study.results, study.config).values(), ("Data", "Composition"), strict=True
    ):
        head, _, *found = rows(text, heading)
        assert head == ["split", "normal", r"a\|b \<i\>\*x\*", "images", "patients"]
        assert [line[0] for line in found] == [
            "train", "val", "ensemble", "test", "external\\_hospital-b",
        ]  # fmt: skip
        for line in found:
            split = line[0].replace("\\", "")
            assert line[1] == str(counts[split, "normal"])
            assert line[3] == str((manifest["split"] == split).sum())


def test_nothing_is_claimed_of_own_images(study: Study) -> None:
    assert all("images are generated." in text for text in
               cards.write(study.results, study.config).values())  # fmt: skip
    own = copy.deepcopy(study.config)
    for source in own["data"]["sources"]:
        source |= {"layout": "table", "url": "/data/mine.csv", "license": "", "citation": ""}
    card, sheet = cards.write(Path("nowhere"), own).values()
    assert "enerated" not in card + sheet
    assert "no model has been evaluated yet" in card.lower()
    assert sheet.count("not known to the workflow") + sheet.count("Not known to the workflow") > 10
    assert "licence: not known to the workflow" in sheet
    assert "- **Consent, ethics**: not known to the workflow." in sheet
    public = copy.deepcopy(study.config)
    public["data"]["sources"][0] |= {"layout": "kermany"}
    sheet = cards.write(study.results, public)["datasheet"]
    assert "- **Labels**: Graded by two physicians" in sheet
    assert "- **Who was included**: Children of one to five years" in sheet


@pytest.mark.parametrize(
    "options",
    [
        {"classes": 2, "losses": ["cce"], "ensembles": False},
        {"classes": 7, "losses": ["cce", "focal", "hinge"], "replicates": 2, "test_images": 140},
        {"losses": ["cce", "focal"], "collapsed": ("cce", "focal"), "unknown": 1.0},
    ],
    ids=["one-loss", "seven-classes", "collapsed"],
)
def test_other_studies_have_cards_too(tmp_path: Path, options: dict[str, Any]) -> None:
    made = make(tmp_path, gradcam=False, save_images=False, with_tables=False, **options)
    tables(made.results, made.config, 20, only=["metrics", "degenerate"])
    found = cards.write(made.results, made.config)
    assert found == cards.write(made.results, made.config) and list(found) == list(cards.NAMES)
    for text in found.values():
        assert not re.search(r"\b(nan|None|NaT)\b|\n\n\n|[ \t]\n|<(span|a|div)", text)
        assert text.endswith("\n") and text.startswith("# ")
    if "collapsed" in options:
        assert "Patients are unknown for 100% of the images" in found["model_card"]
        assert "† Names some class never" in found["model_card"]
        assert "unknown; every image counts as one of its own" in found["datasheet"]


def test_an_empty_folder_has_cards_that_say_so() -> None:
    card, sheet = cards.write(Path("nowhere"), configuration(losses=["cce"])).values()
    assert "No model has been evaluated yet" in card
    assert "The images have not been read yet." in sheet and "were not checked" in sheet
