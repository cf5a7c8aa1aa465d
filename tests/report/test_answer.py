"""The first screen: its headline, cards and remarks say what the tables say."""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import report_studies
from markupsafe import Markup
from multiloss import report
from multiloss.evaluation import NEAR_ONE
from multiloss.job.errors import UserError
from multiloss.report import templates
from multiloss.report.blocks import Html, Section, Table
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.results import Results
from multiloss.study import Study as Models
from report_studies import complete, statistics
from synthetic_results import Study, make

Config = dict[str, Any]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """Three seeds of five losses, two of one objective."""
    made = made_study(
        tmp_path_factory.mktemp("three"),
        ["cce", "kl_divergence", "focal", "hinge", "calibrated_cce"],
        replicates=3,
    )
    return made.results, statistics(made, made.config)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """One run of three losses, nothing trained twice."""
    made = made_study(tmp_path_factory.mktemp("once"), ["cce", "focal", "hinge"], with_tables=True)
    return made.results, complete(made.config)


@pytest.fixture
def free(three: tuple[Path, Config], tmp_path: Path) -> tuple[Path, Config]:
    return copied(three, tmp_path)


@pytest.fixture
def free_once(once: tuple[Path, Config], tmp_path: Path) -> tuple[Path, Config]:
    return copied(once, tmp_path)


def made_study(folder: Path, losses: list[str], **options: Any) -> Study:
    given = {"gradcam": False, "save_images": False, "with_tables": False, "test_images": 60}
    return make(folder, losses=losses, **{**given, **options})


def copied(study: tuple[Path, Config], folder: Path) -> tuple[Path, Config]:
    """The study with a copy of its results, free to be changed."""
    results = folder / "results" / study[0].name
    shutil.copytree(study[0], results)
    return results, copy.deepcopy(study[1])


def rewrite(results: Path, name: str, change: Any) -> None:
    table = pd.read_csv(results / name, keep_default_na=False, na_values=[""])
    changed = change(table)
    (table if changed is None else changed).to_csv(results / name, index=False)


def facts_of(study: tuple[Path, Config]) -> Facts:
    return Facts(Results(study[0]), study[1])


def section(study: tuple[Path, Config]) -> Section:
    facts = facts_of(study)
    return templates.section("10_answer.html.j2", facts, Figures(facts), {})


def markup(study: tuple[Path, Config]) -> str:
    return "".join(block.text for block in section(study).blocks if isinstance(block, Html))


def plain(text: str) -> str:
    return " ".join(Markup(text).striptags().split())


def words(study: tuple[Path, Config]) -> str:
    return plain(markup(study))


def card(study: tuple[Path, Config], name: str) -> tuple[str, str]:
    """The verdict of a card, and what stands below it."""
    found = re.search(rf'aria-labelledby="card-{name}">(.*?)</section>', markup(study), re.S)
    assert found
    verdict, *rest = re.findall(r"<p[^>]*>(.*?)</p>", found[1], re.S)
    return plain(verdict), plain(" ".join(rest))


def banner(study: tuple[Path, Config]) -> str:
    """What the page says above all sections of images that are made up."""
    found = re.search(r'<(\w+) class="banner".*?<strong>(.*?)</strong>', report.build(*study), re.S)
    return plain(found[2]) if found else ""


def headline(study: tuple[Path, Config]) -> str:
    return plain(section(study).finding)


def decide(study: tuple[Path, Config], **verdicts: float) -> None:
    """Losses over seeds get these differences, as tests that reject; the others do not."""

    def change(table: pd.DataFrame) -> None:
        rows = (table["metric"] == "mcc") & (table["family"] == "against_baseline")
        assert set(verdicts) <= set(table.loc[rows, "loss_a"])
        for column in ("reject", "p_adjusted", "difference"):
            table[column] = table[column].astype(object)
        table.loc[rows, ["reject", "p_adjusted"]] = [False, 0.6]
        for loss, difference in verdicts.items():
            values = [True, 0.004, difference]
            own = rows & (table["loss_a"] == loss)
            table.loc[own, ["reject", "p_adjusted", "difference"]] = values

    rewrite(study[0], "tables/replicate_comparisons.csv", change)


def decide_ensembles(study: tuple[Path, Config], kinds: int, difference: float = 0.2) -> list[str]:
    """So many kinds of ensembles of losses reject against their best members."""
    facts = facts_of(study)
    names = [test.a for test in facts.ensembles_of("losses")][:kinds]

    def change(table: pd.DataFrame) -> None:
        rows = (table["metric"] == "mcc") & (table["against"] == "best_member")
        for column in ("reject", "p_adjusted", "difference"):
            table[column] = table[column].astype(object)
        table.loc[rows, ["reject", "p_adjusted"]] = [False, 0.7]
        own = rows & table["ensemble"].isin(names)
        table.loc[own, ["reject", "p_adjusted", "difference"]] = [True, 0.01, difference]

    rewrite(study[0], "tables/ensemble_comparisons.csv", change)
    return names


def ensembles_asked(study: tuple[Path, Config]) -> int:
    """How many hypotheses the family of ensembles has."""
    table = pd.read_csv(study[0] / "tables/ensemble_comparisons.csv")
    table = table[(table["metric"] == "mcc") & (table["against"] == "best_member")]
    return int(table["hypotheses"].dropna().iloc[0])


def test_nothing_shown_is_the_headline(free: tuple[Path, Config]) -> None:
    decide(free)
    decide_ensembles(free, 0)
    assert headline(free) == (
        "No loss was shown to beat cross-entropy, and no ensemble its best member."
    )
    # The pair with one objective is no hypothesis.
    verdict, below = card(free, "loss")
    assert verdict == "Not shown: none of 3 comparisons with cross-entropy is significant."
    assert "(run" not in verdict and "-r0" not in words(free)
    verdict, _ = card(free, "ensemble")
    kinds = ensembles_asked(free)
    assert verdict == (
        f"Not shown: none of {kinds} kinds of ensembles is significantly better than its best "
        "member."
    )


def test_a_clear_winner_is_the_headline(free: tuple[Path, Config]) -> None:
    decide(free, focal=0.21, hinge=-0.3)
    decide_ensembles(free, 2)
    kinds = ensembles_asked(free)
    assert headline(free) == (
        f"Focal loss beat cross-entropy, and 2 of {kinds} kinds of ensembles beat their best "
        "member, though none beats as many averaged runs of cross-entropy."
    )
    assert card(free, "loss")[0] == "Better than cross-entropy: focal loss. Worse: hinge loss."
    verdict = card(free, "ensemble")[0]
    assert verdict.startswith(f"2 of {kinds} kinds of ensembles are better than their best member:")
    decide(free, focal=0.21, calibrated_cce=0.1)
    decide_ensembles(free, 0)
    assert headline(free) == (
        "Focal loss and calibrated cross-entropy beat cross-entropy, but no ensemble its best "
        "member."
    )
    decide(free, hinge=-0.3)
    decide_ensembles(free, 1)
    assert headline(free) == (
        f"No loss was shown to beat cross-entropy, but 1 of {kinds} kinds of ensembles beat its "
        "best member, though it does not beat as many averaged runs of cross-entropy."
    )
    assert card(free, "loss")[0] == "None is shown to be better; worse is hinge loss."


def test_ensembles_no_better_than_as_many_runs_are_said_to_be_so(free: tuple[Path, Config]) -> None:
    """Who beats a weak best member has not yet beaten the same compute spent on one loss."""
    decide(free)
    names = decide_ensembles(free, 2)
    beaten = (
        f"but 2 of {ensembles_asked(free)} kinds of ensembles beat their best "
        "member, though none beats as many averaged runs of cross-entropy."
    )

    def against_seeds(table: pd.DataFrame, count: int) -> None:
        rows = (table["metric"] == "mcc") & (table["against"] == "seed_average")
        rows &= table["ensemble"].isin(names)
        assert rows.sum() == 2
        table["reject"] = table["reject"].astype(object)
        table.loc[rows, "reject"] = [True] * count + [False] * (2 - count)
        table.loc[rows, ["difference", "p_value"]] = [0.1, 0.01]

    rewrite(free[0], "tables/ensemble_comparisons.csv", lambda table: against_seeds(table, 0))
    assert headline(free).endswith(beaten)
    rewrite(free[0], "tables/ensemble_comparisons.csv", lambda table: against_seeds(table, 1))
    assert headline(free).endswith("kinds of ensembles beat their best member.")


def test_cards_hold_the_numbers_of_the_tables(three: tuple[Path, Config]) -> None:
    facts = facts_of(three)
    chosen = pd.read_csv(three[0] / "ensembles/chosen.csv").set_index("what")["model"]
    metrics = pd.read_csv(three[0] / "tables/metrics.csv")
    metrics = metrics[(metrics["split"] == "test") & (metrics["ci_method"] != "binomial")]
    for what, name in (("single", "loss"), ("ensemble", "ensemble")):
        own = metrics[(metrics["model"] == chosen[what]) & (metrics["metric"] == "mcc")].iloc[0]
        low, high = (f"{own[end]:.2f}" for end in ("ci_low", "ci_high"))
        assert (
            f"Chosen before testing: {plain(facts.label(chosen[what]))}, MCC {own['value']:.2f} "
            f"(95% CI {low} to {high})"
        ) in card(three, name)[1]
    gains = pd.read_csv(three[0] / "tables/ensemble_comparisons.csv")
    gain = gains[
        (gains["ensemble"] == facts.family(chosen["ensemble"]))
        & (gains["against"] == "best_member")
        & (gains["metric"] == "mcc")
    ].iloc[0]
    told = f"difference from its best member {gain['difference']:+.2f}".replace("-", "\u2212")
    assert told in card(three, "ensemble")[1]
    verdicts = pd.read_csv(three[0] / "tables/verdicts.csv")
    able = verdicts.loc[verdicts["question"] == "loss", "detectable_corrected"].dropna()
    told = f"below about {able.min():.2f} would probably have been missed."
    assert told in card(three, "sure")[0]


def test_with_one_run_each_only_runs_are_spoken_of(free_once: tuple[Path, Config]) -> None:
    """Of the losses nothing is said, however small the p value; seeds are not known."""

    def decided(table: pd.DataFrame) -> None:
        rows = (table["metric"] == "mcc") & (table["test"] == "permutation")
        for column, value in (("reject", True), ("p_adjusted", 0.001), ("difference", 0.3)):
            table[column] = table[column].astype(object)
            table.loc[rows, column] = value

    rewrite(free_once[0], "tables/significance.csv", decided)
    facts = facts_of(free_once)
    assert not facts.crossed and facts.spread is None
    assert headline(free_once).startswith("Runs of focal loss and hinge loss beat cross-entropy, ")
    verdict, below = card(free_once, "loss")
    assert verdict == ("Better than the run of cross-entropy: runs of focal loss and hinge loss.")
    assert "Single runs say nothing of their losses." in below
    assert "Each loss was trained once." in words(free_once)


def test_one_run_each_is_held_against_the_seeds_of_the_baseline(tmp_path: Path) -> None:
    made = made_study(tmp_path, ["cce", "focal", "hinge"])
    study = made.results, statistics(made, made.config)
    facts = facts_of(study)
    assert {(test.runs_a, test.runs_b) for test in facts.crossed} == {(1, 3)}
    assert [family.name for family in facts.primary_families] == [
        "against_baseline",
        "against_best_member",
    ]
    assert "the 3 runs of cross-entropy" in card(study, "loss")[0]
    assert "Each other loss was trained once." in card(study, "loss")[1]
    low, high = min(facts.seed_values), max(facts.seed_values)
    told = f"3 runs of cross-entropy ranged from {low:.2f} to {high:.2f}"
    assert told in card(study, "sure")[1]
    spread = facts.spread
    assert spread is not None and (spread.df, spread.count) == (2, 3)
    said = words(study)
    assert f"{spread.losses:.3f} between 3 objectives against {spread.seeds:.3f}" in said
    found = "losses differ by more" if spread.p_value <= 0.05 else "Losses are not shown to differ"
    assert found in said


def test_losses_beyond_the_band_of_further_runs_are_named(free: tuple[Path, Config]) -> None:
    def spread(table: pd.DataFrame) -> None:
        rows = (table["row"] == "loss") & (table["metric"] == "mcc")
        table.loc[rows, ["low", "high"]] = 0.5, 0.7
        table.loc[rows, "mean"] = 0.6
        table.loc[rows & (table["variant"] == "focal"), "mean"] = 0.41
        table.loc[rows & (table["variant"] == "hinge"), "mean"] = 0.72

    rewrite(free[0], "tables/seed_spread.csv", spread)
    assert (
        "Outside of where the mean of 3 further runs of cross-entropy would lie (95% prediction "
        "interval, 0.50 to 0.70; each loss taken alone): focal loss (0.41), hinge loss (0.72)."
    ) in words(free)


def test_the_same_objective_is_noise_not_a_finding(free: tuple[Path, Config]) -> None:
    def chosen(table: pd.DataFrame) -> None:
        table.loc[table["what"] == "single", "model"] = "kl_divergence-r1"

    def rejects(table: pd.DataFrame) -> None:
        table["reject"] = table["loss_a"] == "kl_divergence"

    rewrite(free[0], "ensembles/chosen.csv", chosen)
    rewrite(free[0], "tables/replicate_comparisons.csv", rejects)
    assert headline(free).startswith("No loss was shown to beat cross-entropy")
    assert (
        "which is the same objective as cross-entropy: only the training run differs."
        in card(free, "loss")[1]
    )


def test_noise_floor_is_the_difference_of_the_pairs(three: tuple[Path, Config]) -> None:
    facts = facts_of(three)
    floor = facts.floor
    assert floor is not None and [(test.a, test.b) for test in floor.pairs] == [
        ("kl_divergence", "cce")
    ]
    again = [facts.value(f"kl_divergence-r{replicate}").value for replicate in range(3)]
    # The further seeds of the baseline count, too.
    mean = float(np.mean(again) - np.mean(facts.seed_values))
    assert floor.pairs[0].difference == pytest.approx(mean)
    assert floor.largest == pytest.approx(abs(mean))
    sizes = [abs(test.difference) for test in facts.crossed]
    assert (floor.others, floor.within) == (3, sum(size <= abs(mean) for size in sizes))
    told = f"{mean:+.2f}".replace("-", "\u2212")
    assert f"{told} (KL divergence \u2212 cross-entropy)" in words(three)


def test_secondary_tests_that_reject_are_listed(free: tuple[Path, Config]) -> None:
    def one_rejects(table: pd.DataFrame) -> None:
        table["reject"] = False
        rows = (table["model_a"] == "focal-r0") & (table["model_b"] == "cce-r0")
        rows &= table["test"] == "delong"
        first = table.index[rows & (table["metric"] == "auroc_viral")][0]
        table["p_adjusted"] = 1.0
        table.loc[first, ["reject", "p_adjusted"]] = [True, 0.0497]

    rewrite(free[0], "tables/significance.csv", one_rejects)
    count = len(facts_of(free).made)
    said = words(free)
    assert f"1 of {count} secondary tests is significant." in card(free, "sure")[1]
    told = re.sub(r" \(see [^)]*\)", "", said)
    assert (
        f"Of the {count} secondary tests, 1 is significant: focal loss (run 0) against "
        "cross-entropy (run 0) (AUROC, viral, DeLong: p = 0.0497). Where no primary test is "
        "significant, these are hints."
    ) in told


def test_failed_trainings_are_gaps_by_name(free: tuple[Path, Config]) -> None:
    gone = {"kl_divergence-r1", "weighted_average-model_level-r0", "cce-r3", "stacking-top3-r2"}
    assert gone <= set(Models(free[1]).models) and not facts_of(free).missing_models

    def fail(table: pd.DataFrame) -> None:
        table.loc[table["model"].isin(gone), ["value", "ci_low", "ci_high"]] = np.nan

    rewrite(free[0], "tables/metrics.csv", fail)
    assert set(facts_of(free).missing_models) == gone
    said = markup(free)
    assert "The study has gaps.</strong> 4 models are without results:" in said
    assert all(f'data-model="{name}"' in said for name in gone)


def test_without_the_baseline_no_loss_is_compared(tmp_path: Path) -> None:
    made = made_study(tmp_path, ["cce", "kl_divergence", "focal"], ensembles=False)
    path = made.results / "predictions" / "cce-r0.csv"
    table = pd.read_csv(path)
    table.loc[:, table.columns.str.startswith("p_")] = np.nan
    table.to_csv(path, index=False)
    study = made.results, statistics(made, made.config)
    assert headline(study) == "No loss could be compared with cross-entropy."
    assert card(study, "loss")[0] == "Not known: the baseline cross-entropy has no results."
    assert card(study, "ensemble")[0] == "Not asked: this study builds no ensembles."
    assert "1 model is without results: cross-entropy" in words(study)


@pytest.mark.parametrize("collapsed", [("hinge", "calibrated_cce"), "all"])
def test_collapsed_models_are_told_before_all_else(tmp_path: Path, collapsed: Any) -> None:
    losses = ["cce", "focal", "hinge", "calibrated_cce"]
    chosen = tuple(losses) if collapsed == "all" else collapsed
    made = made_study(tmp_path, losses, collapsed=chosen)
    made.config["ensembles"] |= {"top_k": [3], "methods": ["majority_vote", "stacking"]}
    table = pd.read_csv(made.results / "ensembles/chosen.csv")
    table = table[table["model"].isin(Models(made.config).models)]
    table.to_csv(made.results / "ensembles/chosen.csv", index=False)
    study = made.results, statistics(made, made.config)
    said, facts = words(study), facts_of(study)
    assert "nan" not in said
    if collapsed == "all":
        assert facts.collapsed_singles == facts.singles
        assert headline(study) == "No single model tells the classes apart."
        assert "No single model tells the classes apart (of 4): on the test split" in said
        assert "No single model has an MCC above 0, which is chance." in card(study, "loss")[1]
        assert card(study, "loss")[0].startswith("Not known")
    else:
        assert facts.collapsed_singles == ["calibrated_cce-r0", "hinge-r0"]
        assert "2 of 4 single models tell no classes apart" in said
        assert (
            "calibrated cross-entropy† and hinge loss† classified all test images as ‘normal’."
            in said
        )
        # One of them against the baseline is a comparison like any other.
        assert card(study, "loss")[0] == (
            "None is shown to be better; worse are runs of hinge loss† and calibrated "
            "cross-entropy†."
        )


def test_what_a_faulty_model_did_is_told_by_its_rows(free: tuple[Path, Config]) -> None:
    rows = [
        ("stacking-top3-r0", "ensemble", "test", "class_never_predicted", "normal", 41),
        ("focal-r1", "single", "test", "class_never_predicted", "normal", 41),
        ("focal-r1", "single", "test", "class_never_predicted", "viral", 1026),
        ("focal-r1", "single", "test", "one_class_dominates", "bacterial", 0.996),
        ("cce-r2", "single", "test", "no_better_than_chance", "", 0.0),
        ("cce-r1", "single", "ensemble", "no_better_than_chance", "", -0.2),
    ]
    columns = ["model", "kind", "split", "problem", "class", "value"]
    table = pd.DataFrame(rows, columns=columns).assign(n=110, n_patients=86)
    table.to_csv(free[0] / "tables/degenerate.csv", index=False)

    def chosen(table: pd.DataFrame) -> None:
        table.loc[table["what"] == "single", "model"] = "cce-r1"

    rewrite(free[0], "ensembles/chosen.csv", chosen)
    said = words(free)
    assert "recognised none of the 41 ‘normal’ test images." in said
    assert (
        "focal loss (run 1)† recognised none of the 41 ‘normal’ and none of the 1,026 ‘viral’ "
        "test images and classified more than 99% of all test images as ‘bacterial’."
    ) in said
    assert "cross-entropy (run 2)† did no better than chance." in said
    assert (
        "cross-entropy (run 1) was chosen although on the ensemble split it did no better than "
        "chance."
    ) in said
    assert facts_of(free).faulty >= {"focal-r1", "focal", "stacking-top3-r0"}


def test_a_loss_with_one_run_left_stands_for_this_run_alone(free: tuple[Path, Config]) -> None:
    results, _ = free
    decide(free, focal=0.2, hinge=0.2)

    def lost(table: pd.DataFrame) -> None:
        table.loc[table["loss_a"] == "focal", "replicates_a"] = 1

    rewrite(results, "tables/replicate_comparisons.csv", lost)
    assert headline(free).startswith("Hinge loss and a run of focal loss beat cross-entropy")
    verdict, below = card(free, "loss")
    assert verdict == "Better than cross-entropy: hinge loss and a run of focal loss."
    assert "One run alone is left of focal loss, and says little of the loss." in below
    assert "Each other loss was trained once" not in below


def test_unequal_variances_of_runs_are_told_beside_the_comparisons(
    free: tuple[Path, Config],
) -> None:
    def how(reason: str) -> str:
        def change(table: pd.DataFrame) -> None:
            table["reason"] = table["reason"].astype(object)
            table.loc[table["row"] == "losses", "reason"] = reason

        rewrite(free[0], "tables/seed_spread.csv", change)
        found = report_studies.section(facts_of(free), "12_singles")
        return " ".join(str(table.how) for table in report_studies.tables_of(found).values())

    told = "each comparison has the variance of its own two losses"
    assert told in how("the losses' runs vary by unequal amounts (Bartlett's test, p < 0.05)")
    assert told not in how("one loss alone")


def test_few_or_heavy_patients_are_told_where_intervals_rest_on_them(
    free: tuple[Path, Config],
) -> None:
    results, _ = free
    patients = facts_of(free).patients("test")

    def told(number: float) -> str:
        def change(table: pd.DataFrame) -> None:
            table.loc[table["split"] == "test", "n_effective"] = number

        rewrite(results, "tables/metrics.csv", change)
        return words(free)

    assert "rest on few" not in told(30.0)
    assert (
        f"Some test patients have many more images than others: all {patients:,} tell as much as "
        "10 of equal size, so that intervals and tests rest on few."
    ) in told(10.4)


def test_a_family_of_one_is_no_family(free: tuple[Path, Config]) -> None:
    results, _ = free
    table = pd.read_csv(results / "tables/replicate_comparisons.csv", keep_default_na=False,
                        na_values=[""])  # fmt: skip
    one = table["primary"] & (table.index == table.index[table["primary"]][0])
    table.loc[one, "hypotheses"] = 1
    table[~table["primary"] | one].to_csv(results / "tables/replicate_comparisons.csv", index=False)
    said = words(free)
    assert "none of 1 (one hypothesis, so no adjustment)" in said
    assert "none of 1 comparison" not in said
    assert card(free, "loss")[0].startswith("Not shown: the one comparison with ")


def test_remarks_follow_from_the_study(free: tuple[Path, Config]) -> None:
    assert banner(free) == "Demonstration on generated images."
    said = words(free)
    assert "only 3 times; fewer than 5 runs estimate the run-to-run spread poorly" in said
    assert "Nothing was tested on images from another hospital or device" in said
    results, config = free
    mixed = copy.deepcopy(config)
    own = {**config["data"]["sources"][0], "layout": "table", "url": "x.csv", "name": "own"}
    mixed["data"]["sources"].append(own)
    assert banner((results, mixed)) == "Some of the images are generated."
    for source in config["data"]["sources"]:
        source["layout"] = "kermany"
    assert banner(free) == ""
    said = words(free)
    assert "generated" not in said
    assert "Whether the test images are from other hospitals or devices than" in said

    def nearly_perfect(table: pd.DataFrame) -> None:
        near_one = table["metric"].str.startswith("auroc") | (table["metric"] == "accuracy")
        table.loc[near_one, "value"] = 0.5
        rows = (table["metric"] == "auroc_viral") & (table["model"] == "focal-r0")
        table.loc[rows, "value"] = 0.985
        table["reason"] = ""
        near = f"{NEAR_ONE} with 9 patients of the class: the interval may be too narrow"
        table.loc[rows & (table["split"] == "test"), "reason"] = near

    rewrite(results, "tables/metrics.csv", nearly_perfect)
    assert "with few patients of the class: AUROC, viral for 1 model." in words(free)


def test_what_intervals_do_not_count_is_said(free: tuple[Path, Config]) -> None:
    said = words(free)
    assert (
        "Intervals and tests account for new test patients and, where runs are averaged, for new "
        "seeds, not for other training data: all trainings shared one division of the patients, "
    ) in said
    free[1]["splits"]["redraw"] = True
    said = words(free)
    assert "for new runs, not for other training data: all trainings shared one pool" in said
    assert "was drawn anew for each run, so comparisons over runs count it as chance." in said


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_unknown_patients_are_called_unknown(tmp_path: Path, share: float) -> None:
    made = made_study(tmp_path, ["cce", "focal"], ensembles=False, unknown=share, with_tables=True)
    said = words((made.results, complete(made.config)))
    if share == 1:
        assert "Patients are unknown. Images were treated as independent" in said
        assert "tested on 60 images (patients unknown)" in said
        assert not re.search(r"\d patients?\b", said)
    else:
        assert "The patient of 25% of the images is unknown." in said


def test_rank_and_key_models(free: tuple[Path, Config]) -> None:
    facts = facts_of(free)
    chosen = facts.chosen("single")

    def ranked(first: int, last: int) -> str:
        def change(table: pd.DataFrame) -> None:
            table.loc[table["model"] == chosen, ["rank_first", "rank_last"]] = [first, last]

        rewrite(free[0], "tables/rank.csv", change)
        return words(free)

    count = facts.ranking(chosen).models
    assert f"may rank anywhere from 1 to 2 of {count} single models" in ranked(1, 2)
    assert ": the test split does not tell its rank." in ranked(1, count)
    assert f"ranks 2 of {count} single models" in ranked(2, 2)
    (table,) = [block for block in section(free).blocks if isinstance(block, Table)]
    assert [column.key for column in table.columns][:3] == ["role", "model", "mcc"]
    assert len(table.rows) == len(facts.key_models)
    votes = [name for name in facts.key_models if name.startswith("majority_vote")]
    assert ("not those of a model with probabilities" in table.how) == bool(votes)


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("tables/metrics.csv", "ci_low"),
        ("tables/replicate_comparisons.csv", "p_adjusted"),
        ("tables/verdicts.csv", "detectable_corrected"),
        ("ensembles/chosen.csv", "model"),
        ("tables/rank.csv", "rank_first"),
    ],
)
def test_a_missing_column_is_named_with_its_file(
    free: tuple[Path, Config], file: str, column: str
) -> None:
    rewrite(free[0], file, lambda table: table.drop(columns=column))
    with pytest.raises(UserError, match=rf"{file} has no column '{column}': delete it and run"):
        section(free)
