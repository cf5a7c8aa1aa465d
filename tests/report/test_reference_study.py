"""The pages of the reference study, and README's paragraph, say what its tables say."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from multiloss.job.errors import UserError
from multiloss.report.facts import Facts
from multiloss.report.results import Results
from synthetic_results import Study, configuration, make

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import reference_study  # noqa: E402
from reference_study import Published  # noqa: E402

LOSSES = ["cce", "kl_divergence", "focal", "hinge", "calibrated_cce"]
READINGS = pd.DataFrame(
    [
        ("kermany", "number", True, 5840, 3200, 428, 170, 457),
        ("kermany", "number_and_kind", False, 5840, 3500, 428, 0, 0),
    ],
    columns=["source", "reading", "used", "images", "patients", "test_patients",
             "recurring_patients", "recurring_images"],
)  # fmt: skip
EXAMPLE = {
    "study": "real-mini",
    "config": "tests/studies/real-mini.yaml",
    "size": 96,
    "images": 1140,
    "patients": 812,
    "runs": 1,
    "epochs": 18,
    "answer": "No loss was shown to beat cross-entropy.",
    "chosen": "focal loss",
    "mcc": [0.7149, 0.6, 0.805],
    "test": "240 images of 154 patients",
    "detectable": 0.123,
}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three runs of five losses with all that a study can have."""
    made = make(tmp_path_factory.mktemp("three"), losses=LOSSES, replicates=3, further_seeds=True,
                test_images=60, save_images=False)  # fmt: skip
    READINGS.to_csv(made.results / "tables/patient_readings.csv", index=False)
    return made


@pytest.fixture(scope="module")
def page(three: Study) -> Path:
    """The folder that is made of it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return published(three, monkeypatch)


@pytest.fixture
def free(three: Study, tmp_path: Path) -> Study:
    """The same, free to be changed."""
    results = tmp_path / "results" / "fake"
    shutil.copytree(three.results, results)
    return Study(tmp_path, results, three.config, three.singles, three.ensembles)


def published(study: Study, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is made of a study, without pictures."""
    config = study.folder / "own.yaml"
    config.write_text(yaml.safe_dump({"study": "fake"}))
    (study.results / "report.html").touch()
    monkeypatch.setattr(reference_study, "ROOT", study.folder)
    monkeypatch.setattr(reference_study, "settings_of", lambda paths: study.config)
    monkeypatch.setattr(reference_study, "take_pictures", lambda *given: None)
    folder = study.folder / "published"
    reference_study.publish(study.results, [config], folder)
    return folder


def words(folder: Path) -> str:
    """The page with single blanks between words."""
    return " ".join((folder / "README.md").read_text(encoding="utf-8").split())


def rewrite(study: Study, name: str, change: Any) -> None:
    path = study.results / name
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    for column in {"reject", "p_adjusted", "difference"} & set(table.columns):
        table[column] = table[column].astype(object)
    change(table)
    table.to_csv(path, index=False)


def decide(study: Study, **verdicts: float) -> None:
    """These losses differ so from the baseline, by tests that reject; no ensemble does."""

    def losses(table: pd.DataFrame) -> None:
        rows = (table["metric"] == "mcc") & (table["family"] == "against_baseline")
        table.loc[rows, ["reject", "p_adjusted"]] = [False, 0.6]
        for loss, difference in verdicts.items():
            own = rows & (table["loss_a"] == loss)
            table.loc[own, ["reject", "p_adjusted", "difference"]] = [True, 0.004, difference]

    def ensembles(table: pd.DataFrame) -> None:
        rows = (table["metric"] == "mcc") & (table["against"] == "best_member")
        table.loc[rows, ["reject", "p_adjusted"]] = [False, 0.7]

    rewrite(study, "tables/replicate_comparisons.csv", losses)
    rewrite(study, "tables/ensemble_comparisons.csv", ensembles)


def told(text: str) -> set[str]:
    """The numbers of a text outside links, code, names of models and of the study, references."""
    text = re.sub(r"^# .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|^    .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"Original study: .*?\n\n", "", text, flags=re.DOTALL)
    # CC BY 4.0 and whatever else a source says of itself
    text = re.sub(r"^\| (images|lungs,|external|Python|TensorFlow|Keras) .*$", "", text,
                  flags=re.MULTILINE)  # fmt: skip
    text = re.sub(r"\(run\s\d+\)|SHA-256|F1|top[ -]\d+", "", text)
    return set(re.findall(r"\d[\d,]*(?:\.\d+)?%?", text))


def sayings(value: float) -> set[str]:
    """What a text can make of a number."""
    size = abs(value)
    found = {f"{size:.{digits}f}" for digits in range(7)} | {f"{size:g}", f"{100 * size:.0f}%"}
    return found | ({f"{int(size):,}"} if float(size).is_integer() else set())


def unknown(text: str, numbers: Mapping[str, Mapping[str, Any]], run: Mapping[str, Any]) -> set:
    """Numbers of a text that no fact has."""
    known = {one for fact in numbers.values() for one in sayings(fact["value"])}
    for one in (run["dropped"], *run["left_out"].values(), *run["epochs"]):
        known |= sayings(one)
    # p < 0.001, p > 99%: ends, no values; '624 test images, 3 of 5' are facts.
    return told(text) - known - {"0.001", "1%", "99%"}


# ---- the study that is published ------------------------------------------------------------
def test_the_published_pages_are_those_of_the_tables() -> None:
    folder = reference_study.FOLDER
    facts, run = Published(folder), reference_study.known_run(folder)
    page = (folder / "README.md").read_text(encoding="utf-8")
    again = "the report's words or the tables changed: run `make reference`"
    assert reference_study.text(facts, run) == page, again
    found = reference_study.numbers(facts, run)
    kept = (folder / "facts.json").read_text(encoding="utf-8")
    assert reference_study.dumped(run, found) == kept, again
    assert unknown(page, found, run) == set()
    assert not run["changed"] and run["commit"]
    for link in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (folder / link).exists(), link
    pictures = [*folder.glob("figures/*"), folder / "first-screen.png"]
    assert len({path.stem for path in pictures}) == 7
    assert sum(path.stat().st_size for path in pictures) < 3e6


def test_readme_holds_the_paragraph_of_the_facts() -> None:
    start, end = reference_study.MARKS
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{start}\n{reference_study.readme_block()}\n{end}" in text


# ---- how a page comes about -----------------------------------------------------------------
def test_a_page_says_what_the_study_found(three: Study, page: Path) -> None:
    text, facts = (page / "README.md").read_text(), Facts(Results(three.results), three.config)
    kept = json.loads((page / "facts.json").read_text())
    assert unknown(text, kept["numbers"], kept["run"]) == set()
    # What the folder has is enough to write it again, byte for byte.
    again, run = Published(page), reference_study.known_run(page)
    assert reference_study.text(again, run) == text
    assert reference_study.numbers(again, kept["run"]) == kept["numbers"]
    sources = {fact["table"] for fact in kept["numbers"].values()} - {"../rajaraman2021.yaml"}
    assert all((page / source).is_file() for source in sources)
    for split in (None, "train", "val", "ensemble", "test"):
        assert again.images(split) == facts.images(split)
        assert again.patients(split) == facts.patients(split)
        assert again.unknown(split) == facts.unknown(split)
        assert again.class_sizes(split or "test") == facts.class_sizes(split or "test")

    said = words(page)
    sizes = facts.class_sizes("test")
    line = " | ".join(str(sizes[name]) for name in three.config["classes"])
    assert f"| test | {line} | 60 | {facts.patients('test')} |" in said
    seconds = sum(step["seconds"] for step in facts.steps)
    assert f"jobs together took {seconds / 3600:.1f} hours, the 15 trainings of class" in said
    assert "5 losses, 3 runs of each with its own seed, at 64 × 64 pixels" in said
    losses = pd.read_csv(three.results / "tables/replicates.csv").query(
        "kind == 'single' and metric == 'mcc'"
    )
    for row in losses.itertuples():
        value = f"{row.mean:.2f} ({row.minimum:.2f} to {row.maximum:.2f})"
        assert f"| {facts.label(row.family)} | {value} |" in said
    assert "KL divergence and cross-entropy are one objective under two names" in said
    assert "the mean of 5 runs of cross-entropy: those beyond the 3 replicates of the study" in said
    # The paper's row beside this study's.
    value = facts.value(facts.chosen("single"))
    own = f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
    assert f"| MCC | 0.9068 (0.8839 to 0.9297) | {own} |" in said
    assert "at 512 × 512 pixels, from ImageNet weights, chosen on its 624 test images" in said
    # What the choice of the patients' names changes.
    assert "Here one number, whatever the kind of pneumonia, is taken for one child, which" in said
    assert "number, whatever the kind of pneumonia | yes | 3,200 | 428 | 170 | 457 |" in said
    assert "number and kind of pneumonia | no | 3,500 | 428 | 0 | 0 |" in said


def test_optimism_is_told_by_kind(three: Study, page: Path) -> None:
    said = words(page)
    table = pd.read_csv(three.results / "tables/optimism.csv").query("metric == 'mcc'")
    for method, k, label in (("best_single", 1, "best single model"),
                             ("stacking", 3, "stacking, top 3")):  # fmt: skip
        own = table[(table["method"] == method) & (table["k"] == k)]
        assert len(own) == 3
        mean = own[["ours", "as_published", "out_of_bag"]].mean()
        cells = " | ".join(f"{value:.2f}" for value in mean)
        assert f"| {label} | {cells} | " in said


def test_published_intervals_are_compared_by_hand(three: Study) -> None:
    facts = Facts(Results(three.results), three.config)
    table = pd.read_csv(three.results / "tables/metrics.csv").query(
        "metric == 'mcc' and split == 'test' and ci_method == 'binomial' and kind == 'single'"
    )
    ends = table.set_index("model")[["ci_low", "ci_high"]]
    better = worse = 0
    for loss in LOSSES[1:]:
        for run in range(3):
            low, high = ends.loc[f"{loss}-r{run}"]
            base_low, base_high = ends.loc[f"cce-r{run}"]
            better += low > base_high
            worse += high < base_low
    found = reference_study.claims_of(facts)["loss"]
    assert found == {"of": 12, "better": better, "worse": worse}


def test_a_winner_and_none(free: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(free, focal=0.21, hinge=-0.3)
    said = words(published(free, monkeypatch))
    assert "**Focal loss beat cross-entropy, but no ensemble its best member.**" in said
    assert "| focal loss |" in said and "| +0.21 (" in said and "| 0.004 |" in said
    assert "each loss against the baseline 2 of 3 (adjusted" in said
    decide(free)
    said = words(published(free, monkeypatch))
    assert "**No loss was shown to beat cross-entropy, and no ensemble its best member.**" in said
    assert "each loss against the baseline none of 3 (adjusted" in said
    assert "What went wrong" not in said


def test_a_failed_training_is_told(free: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    path = free.results / "tables/metrics.csv"
    table = pd.read_csv(path, keep_default_na=False)
    table.loc[table["model"] == "hinge-r1", ["value", "ci_low", "ci_high"]] = math.nan
    table.to_csv(path, index=False)
    history = free.results / "models/hinge/1.history.csv"
    pd.DataFrame({"epoch": [1], "loss": "", "val_loss": "", "val_mcc": ""}).to_csv(
        history, index=False
    )
    said = words(published(free, monkeypatch))
    assert "1 model is without results (hinge loss (run 1)). Choices were made among" in said
    assert "In 1 training the loss became no number: hinge loss (run 1)" in said


def test_collapsed_models_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path, losses=["cce", "focal", "hinge"], collapsed=("hinge",), replicates=3,
                test_images=40, save_images=False, gradcam=False, ensembles=False)  # fmt: skip
    said = words(published(made, monkeypatch))
    assert (
        "- Hinge loss (run 0)†, hinge loss (run 1)† and hinge loss (run 2)† classified all test "
        "images as ‘normal’. † Names some class never, or" in said
    )
    # It has no mean, and is in the table all the same.
    assert "| hinge loss† | not defined |" in said
    assert "Which ensemble?" not in said and "What the published protocol" not in said


def test_one_run_of_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path, classes=2, losses=["cce", "focal"], test_images=40, save_images=False,
                gradcam=False, ensembles=False)  # fmt: skip
    folder = published(made, monkeypatch)
    said, kept = words(folder), json.loads((folder / "facts.json").read_text())
    assert "2 losses, one run of each with its own seed" in said
    assert "| loss | MCC | difference from cross-entropy |" in said
    assert "1 run of a loss estimates that spread poorly; 5 or more are needed" in said
    page = (folder / "README.md").read_text()
    assert unknown(page, kept["numbers"], kept["run"]) == set()


def test_nothing_published_names_an_image(three: Study, page: Path) -> None:
    manifest = pd.read_csv(three.results / "data/manifest.csv")
    names = {*manifest["image_id"], *manifest["patient_id"], *manifest["path"]}
    cells: set[str] = set()
    for path in page.rglob("*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert not reference_study.NAMING & set(table.columns)
        cells |= {cell for column in table for cell in table[column].unique()}
    assert not names & cells
    assert not any("test-0004" in cell for cell in cells)
    assert str(three.folder) not in (page / "config.yaml").read_text()


def test_a_place_on_this_machine_is_left_out() -> None:
    sources = [
        {"name": "a", "url": "../data/images.zip", "masks_url": None},
        {"name": "b", "url": "https://somewhere.org/x.zip", "masks_url": "/data/masks.zip"},
    ]
    config = {"data": {"sources": sources}, "classification": {"encoder_weights": "/x/own.h5"}}
    found = reference_study.without_places(config | {"segmentation": {"encoder_weights": "none"}})
    assert found["classification"] == {"encoder_weights": "own.h5"}
    assert found["segmentation"] == {"encoder_weights": "none"}
    first, second = found["data"]["sources"]
    assert first["url"] == "images.zip"
    assert second["url"] == "https://somewhere.org/x.zip" and second["masks_url"] == "masks.zip"


def test_files_that_stood_for_others_are_told(three: Study) -> None:
    facts = Facts(Results(three.results), three.config)
    names = [one["name"] for one in three.config["data"]["sources"]]
    urls = ["https://me:secret@somewhere.org/all.zip?token=1", "../lungs.zip", "phantom"]
    named = {"data": {"sources": [dict(zip(("name", "url"), one, strict=True))
                                  for one in zip(names, urls, strict=True)]}}  # fmt: skip
    found = [one["instead_of"] for one in reference_study.sources_of(facts, named)]
    assert found == ["https://somewhere.org/all.zip", "", ""]


def test_the_code_is_that_of_the_clone(tmp_path: Path) -> None:
    results = tmp_path / "clone/results/own"
    results.mkdir(parents=True)
    assert not any(reference_study.code_of(results).values())
    clone = tmp_path / "clone"
    (clone / "workflow").mkdir()
    (clone / "workflow/code.py").write_text("a = 1\n")

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", "-C", clone, *who, *arguments], capture_output=True,
                              text=True, check=True)  # fmt: skip
        return done.stdout.strip()

    git("init", "-q")
    git("add", "workflow")
    git("commit", "-qm", "first")
    found = reference_study.code_of(results)
    assert found["commit"] == git("rev-parse", "HEAD") and found["tag"] == ""
    assert found["code"] == git("write-tree", "--prefix=workflow/") and not found["changed"]
    git("tag", "v1")
    (clone / "workflow/code.py").write_text("a = 2\n")
    found = reference_study.code_of(results)
    assert found["tag"] == "v1" and found["changed"]


def test_pictures_are_narrowed_and_the_screen_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, folder, asked = tmp_path / "results/figures", tmp_path / "made", []
    figures.mkdir(parents=True)
    folder.mkdir()
    settings = configuration(losses=LOSSES)
    names = list(reference_study.main_figures(settings))
    assert names == ["splits", "forest_mcc", "gains", "optimism", "recall", "reliability"]
    for name in names:
        cv2.imwrite(str(figures / f"{name}.png"), np.zeros((300, 2800), np.uint8))
        (figures / f"{name}.svg").write_text("<svg/>")
    (figures / "gains.svg").write_text("x" * (reference_study.SMALL + 1))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no Chromium"):
        reference_study.take_pictures(tmp_path / "results", settings, folder)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: asked.append(command))
    reference_study.take_pictures(tmp_path / "results", settings, folder)
    assert cv2.imread(str(folder / "figures/forest_mcc.png")).shape[:2] == (150, 1400)
    assert {path.stem for path in folder.glob("figures/*.svg")} == {*names} - {"gains"}
    assert asked[0][-1].endswith("results/report.html")
    assert f"--screenshot={folder / 'first-screen.png'}" in asked[0]


def test_later_code_evaluates_the_same_predictions(
    free: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published(free, monkeypatch)
    later, config = tmp_path / "later", free.folder / "own.yaml"
    shutil.copytree(free.results, later)
    (later / "tables/newer.csv").write_text("model\ncce\n")  # which the older code does not make
    taken = []
    monkeypatch.setattr(reference_study, "take_pictures", lambda *given: taken.append(given[0]))
    commits = {free.results: "11aa", later: "33cc"}
    monkeypatch.setattr(
        reference_study,
        "code_of",
        lambda results: {"commit": commits[results], "tag": "", "code": "22bb", "changed": False},
    )
    folder = free.folder / "published"
    reference_study.publish(free.results, [config], folder, later)
    assert taken == [later]
    assert (folder / "tables/newer.csv").is_file()
    assert "commit `11aa`" in words(folder)
    assert "| computed from the predictions of these trainings by commit `33cc` |" in words(folder)
    predicted = later / "predictions" / f"{free.singles[0]}.csv"
    predicted.write_text("image_id\n")
    with pytest.raises(UserError, match=rf"later/predictions/{free.singles[0]}.csv is not .*same"):
        reference_study.publish(free.results, [config], folder, later)
    assert (folder / "README.md").is_file() and len(taken) == 1


def test_what_was_there_stays_where_publishing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(UserError, match="has no report.html: finish the study first"):
        reference_study.publish(tmp_path, [], tmp_path / "old")
    assert (tmp_path / "old").is_dir()


# ---- README's paragraph ----------------------------------------------------------------------
def test_every_number_of_the_paragraph_is_from_the_facts() -> None:
    said = " ".join(reference_study.block(EXAMPLE, "docs/reference-study").split())
    assert said.startswith("On 1,140 real radiographs of 812 patients at 96 × 96 pixels, one run")
    assert "run of each loss of 18 epochs ([`tests" in said
    assert (
        "**No loss was shown to beat cross-entropy.** The model chosen before testing, focal"
        in said
    )
    assert "an MCC of 0.71 (95% CI 0.60 to 0.81) on 240 images of 154 patients. Differences" in said
    assert "below about 0.12 would probably" in said
    assert "docs/reference-study/first-screen.png" in said
    unsure = EXAMPLE | {"detectable": None, "runs": 3}
    said = " ".join(reference_study.block(unsure, "docs/reference-study").split())
    assert "missed" not in said and "3 runs of each loss of 18 epochs" in said
    assert "[The reference study](docs/reference-study/README.md) has every number" in said
    hopeless = reference_study.block(EXAMPLE | {"detectable": 2.84}, "docs/reference-study")
    assert "no difference, however large, would have been found" in " ".join(hopeless.split())
    assert "2.84" not in hopeless
