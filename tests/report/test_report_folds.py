"""Folds on the page: one section in numbers, the answer from them, and nothing without folds."""

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import report_studies
from multiloss.evaluation import families
from multiloss.report.facts import Facts
from multiloss.report.results import Results
from synthetic_results import configuration, make, tables

NEEDED = ["metrics", "degenerate", "significance", "replicate_comparisons", "ensemble_comparisons",
          "folds", "folds_pooled", "fold_comparisons", "verdicts", "planning"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    study = make(
        tmp_path_factory.mktemp("folds"), losses=["cce", "focal", "hinge", "kl_divergence"],
        folds=3, replicates=6, test_images=100, gradcam=False, save_images=False,
        with_tables=False,
    )  # fmt: skip
    tables(study.results, study.config, 50, 199, NEEDED)
    return study.results, study.config


def facts_of(results: Path, config: dict[str, Any]) -> Facts:
    return Facts(Results(results, None), config)


def sections(facts: Facts) -> dict[str, str]:
    """What each section says outside its tables and figures, the finding first."""
    found = report_studies.sections(facts).items()
    return {name: words(report_studies.said(own)) for name, own in found}


def words(text: Any) -> str:
    return " ".join(re.sub("<[^>]*>", "", str(text)).replace("\N{MINUS SIGN}", "-").split())


def rewritten(made: tuple[Path, dict[str, Any]], folder: Path, change: Any) -> Facts:
    """The study with its comparisons over folds changed."""
    results, config = made
    table = pd.read_csv(results / "tables/fold_comparisons.csv")
    for path in results.rglob("*.csv"):
        other = folder / path.relative_to(results)
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(path.read_bytes())
    change(table).to_csv(folder / "tables/fold_comparisons.csv", index=False)
    return facts_of(folder, config)


def test_the_first_sentence_counts_what_rejects(made: Any, tmp_path: Path) -> None:
    def changed(table: pd.DataFrame) -> pd.DataFrame:
        losses = table["family"] == families.BASELINE
        members = table["family"] == families.BEST_MEMBER
        table["reject"] = False
        table.loc[losses, "difference"] = [0.1, -0.2]
        table.loc[losses, "reject"] = True
        table.loc[members, "reject"] = [True] + [False] * (members.sum() - 1)
        table.loc[members, "difference"] = 0.05
        return table

    facts = rewritten(made, tmp_path, changed)
    count = (pd.read_csv(made[0] / "tables/fold_comparisons.csv")["family"]
             == families.BEST_MEMBER).sum()  # fmt: skip
    text = sections(facts)["folds"]
    assert text.startswith(
        f"In 2 passes over 3 folds of {report_studies.size(facts)}, of 2 losses 1 is better and 1 "
        f"is worse than the baseline, and of {count} ensembles 1 is better than its best member. "
    )
    tests = (
        "corrected resampled t tests of MCC, Holm-adjusted within each family, at a level of 0.05."
    )
    assert f"The tests are {tests}" in text
    assert "all other sections are of run 0 alone" in text
    assert "Bouckaert" in text and "1 / 6" in text and "poorly known" not in text
    families_told = {own.name: own.rejected for own in facts.primary_families}
    assert families_told == {families.BEST_MEMBER: 1, families.BASELINE: 2}
    assert all(own.seeds for own in facts.primary_families)


def test_where_nothing_is_shown_it_says_so(made: Any, tmp_path: Path) -> None:
    def changed(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["family"] == families.BASELINE].assign(reject=False)

    text = sections(rewritten(made, tmp_path / "two", changed))["folds"]
    assert "patients, of 2 losses none is shown to differ from the baseline. " in text
    one = rewritten(made, tmp_path / "one", lambda table: changed(table).iloc[:1])
    said = "patients, the one loss is not shown to differ from the baseline. "
    assert said in sections(one)["folds"]
    one = rewritten(
        made, tmp_path / "same", lambda table: changed(table).assign(p_value=float("nan"))
    )
    assert "patients, no loss could be compared with the baseline. " in sections(one)["folds"]
    one = rewritten(made, tmp_path / "no", lambda table: table.iloc[:0])
    assert "patients, there is nothing to compare. " in sections(one)["folds"]


def test_a_failed_run_is_named(made: Any, tmp_path: Path) -> None:
    results, config = made
    copied = tmp_path / "results" / results.name
    shutil.copytree(results, copied)
    table = pd.read_csv(copied / "tables/folds.csv", keep_default_na=False, na_values=[""])
    lost = table["model"] == "focal-r1"
    table["reason"] = table["reason"].astype(object)
    table.loc[lost, ["value", "reason"]] = [float("nan"), "no probabilities: its training failed"]
    assert lost.any() and "Without results" not in sections(facts_of(*made))["folds"]
    table.to_csv(copied / "tables/folds.csv", index=False)
    text = sections(facts_of(copied, config))["folds"]
    assert "Without results, and left out of what is compared: focal loss in run 1." in text


def test_a_single_loss_with_two_folds_has_tables_and_a_section(tmp_path: Path) -> None:
    study = make(
        tmp_path, losses=["cce"], folds=2, replicates=2, test_images=60, gradcam=False,
        save_images=False, ensembles=False, with_tables=False,
    )  # fmt: skip
    tables(study.results, study.config, 20, 199, NEEDED)
    assert pd.read_csv(study.results / "tables/fold_comparisons.csv").empty
    text = sections(facts_of(study.results, study.config))["folds"]
    assert text.startswith("In 1 pass over 2 folds of ") and "there is nothing to compare" in text
    assert "With 2 runs the spread between folds is poorly known" in text


def test_the_answer_is_that_of_the_folds(made: Any) -> None:
    facts = facts_of(*made)
    compared = pd.read_csv(made[0] / "tables/fold_comparisons.csv").set_index("a")
    tests = {test.a: test for test in facts.loss_tests}
    assert set(tests) == {"focal", "hinge"}
    for name, test in tests.items():
        row = compared.loc[name]
        assert (test.difference, test.p_adjusted) == (row["difference"], row["p_adjusted"])
        assert (test.runs_a, test.seeds, test.b) == (6, True, "cce")
    assert [test.a for test in facts.crossed_floor] == ["kl_divergence"]
    gain = facts.gain("simple_average-top3-r0", "best_member")
    assert gain is not None and gain.difference == compared.loc["simple_average-top3", "difference"]
    assert (facts.folds, facts.replicates, facts.redrawn) == (3, 1, False)
    assert facts.run_chance == "folds" and "division" not in facts.shared
    chance = report_studies.templates.words("study.html.j2", "chance", facts)
    assert chance == "folds (training patients and seed)"
    assert not facts.shipped_test
    assert facts.missing_models == []


def test_runs_of_folds_are_never_called_seeds(made: Any) -> None:
    """A run that tests on other patients is no further seed, which one section says."""
    for name, text in sections(facts_of(*made)).items():
        text = text.replace("is no further seed", "")
        found = re.findall(r"[^.]*\b(?:[0-9]+ seeds|new seeds|runs? of one loss)\b[^.]*", text)
        assert not found, (name, found)


def test_the_runs_of_a_loss_are_not_told_as_one_training(made: Any) -> None:
    text = sections(facts_of(*made))["replicates"]
    assert "trained once" not in text and "Set replicates" not in text
    assert "tested on different folds" in text


def test_what_could_have_been_seen_is_of_all_folds(made: Any) -> None:
    facts = facts_of(*made)
    text = sections(facts)["verdicts"]
    assert text.startswith("With a power of 80%, this study would have found MCC differences of ")
    assert (
        f"That holds for {report_studies.size(facts)} and 2 passes over 3 folds, at a level of 0.05"
        in text
    )
    assert "folds (training patients and seed) and patients counted as chance" in text


def test_without_folds_there_is_nothing_of_them(made: Any) -> None:
    config = configuration(losses=["cce", "focal", "hinge", "kl_divergence"], gradcam=False)
    facts = facts_of(made[0], config)
    assert facts.folds == 0 and "folds" not in sections(facts)
