"""The report: what it says is what the tables say, and nothing is needed that is not there."""

import copy
import html.parser
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup
from multiloss import references, report
from multiloss.evaluation import NEAR_ONE, families
from multiloss.figures import catalog
from multiloss.job.errors import UserError
from multiloss.report import answer, blocks, checklist, faults, methods, templates
from multiloss.report.facts import Comparison, Facts
from multiloss.report.figures import Figures
from multiloss.report.results import MAX_PNG_BYTES, MAX_WIDTH, Results, inline
from multiloss.statistics import metrics
from multiloss.study import Study as Models
from report_studies import CITATION, VERSIONS, complete, statistics
from synthetic_results import Study, make

LOSSES = [
    "cce",
    "kl_divergence",
    "focal",
    "calibrated_cce",
    "calibrated_kl_divergence",
    "calibrated_focal",
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, Any]]:
    """Three seeds of six losses, with the statistics of the workflow's own modules."""
    made = make(
        tmp_path_factory.mktemp("study"),
        losses=LOSSES,
        replicates=3,
        ablations=("without_crop",),
        save_images=False,
        placeholder_figures=True,
        with_tables=False,
    )
    return made, statistics(made, made.config)


@pytest.fixture
def changed(study: tuple[Study, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of its results folder, free to be changed."""
    made, config = study
    results = tmp_path / "results" / "fake"
    shutil.copytree(made.results, results)
    return results, copy.deepcopy(config)


@pytest.fixture(scope="module")
def page(study: tuple[Study, dict[str, Any]]) -> str:
    made, config = study
    return report.build(made.results, config, versions=VERSIONS, citation=CITATION)


class _Text(html.parser.HTMLParser):
    """The words of a page by section, with blanks made plain."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: dict[str, list[str]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._current: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._current = self.sections.setdefault(str(dict(attrs)["id"]), [])

    def handle_data(self, data: str) -> None:
        self._current.append(data)


def parsed(page: str) -> _Text:
    reader = _Text()
    reader.feed(page)
    return reader


def words_of(page: str, section: str) -> str:
    return " ".join("".join(parsed(page).sections[section]).split())


def section_of(results: Path, config: dict[str, Any], name: str) -> blocks.Section:
    parts = report.sections(results, config, versions=VERSIONS)
    return next(part for part in parts if part.id == name)


def table_of(section: blocks.Section, name: str) -> blocks.Table:
    """A table of a section by its name in tables.yaml."""
    return next(b for b in section.blocks if isinstance(b, blocks.Table) and b.id == name)


def finding_of(results: Path, config: dict[str, Any], name: str) -> str:
    """What a section says that it found, as words."""
    return " ".join(Markup(section_of(results, config, name).finding).striptags().split())


def facts_of(results: Path, config: dict[str, Any]) -> Facts:
    return Facts(Results(results), config)


def rewrite(results: Path, name: str, change: Any) -> None:
    """Change one table in place."""
    table = pd.read_csv(results / name, keep_default_na=False, na_values=[""])
    change(table).to_csv(results / name, index=False)


# ---- the page as a whole ------------------------------------------------------------------
ORDER = [
    "answer", "data", "segmentation", "crops", "training", "singles", "ensembles", "significance",
    "verdicts", "calibration", "usefulness", "prediction_sets", "optimism", "replicates",
    "diversity", "gradcam", "configuration", "versions", "times", "checklist", "methods", "cite",
]  # fmt: skip


def test_sections_stand_in_the_order_of_the_study(page: str) -> None:
    assert list(parsed(page).sections) == ORDER


def test_page_needs_nothing_from_outside(page: str) -> None:
    for tag, attributes in parsed(page).tags:
        for key in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(key) or ""
            assert value.startswith(("data:", "#")) or not value, (tag, key, value[:80])
    assert "default-src 'none'" in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_every_image_and_table_is_described(page: str) -> None:
    tags = parsed(page).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == len(re.findall("<figure ", page)) > 0
    for image in images:
        assert image["alt"] and image["aria-describedby"] in ids
        assert int(image["width"] or 0) > 0 and int(image["height"] or 0) > 0
    regions = [attributes for _, attributes in tags if attributes.get("class") == "scroll"]
    assert regions
    for region in regions:
        assert region["tabindex"] == "0" and region["aria-labelledby"] in ids
    all_ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(all_ids) == len(set(all_ids))
    links = {a["href"][1:] for tag, a in tags if tag == "a" and a.get("href")}
    assert links <= ids


def test_every_figure_of_the_catalogue_is_shown_once(
    page: str, study: tuple[Study, dict[str, Any]]
) -> None:
    made, _ = study
    names = sorted(path.stem for path in (made.results / "figures").glob("*.png"))
    shown = re.findall(r'<figure id="figure-([^"]+)"', page)
    assert sorted(shown) == names


def test_captions_hold_the_facts_of_the_data(page: str) -> None:
    """What the drawing functions found out stands at the end of each caption."""
    captions = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", page, re.DOTALL)
    assert captions
    for caption in captions:
        assert "n = 120 images of 103 patients. <span" in caption


def test_same_inputs_same_bytes(study: tuple[Study, dict[str, Any]], page: str) -> None:
    made, config = study
    again = report.build(made.results, config, versions=VERSIONS, citation=CITATION)
    assert again == page


def test_run_times_are_the_only_part_that_varies(
    changed: tuple[Path, dict[str, Any]], page: str
) -> None:
    results, config = changed
    for path in (results / "benchmarks").rglob("*.tsv"):
        path.write_text("s\tmax_rss\n12.5\t99\n")
    again = report.build(results, config, versions=VERSIONS, citation=CITATION)
    assert again != page

    def without(text: str) -> str:
        return re.sub(r'<section [^>]*data-varies="yes".*?</section>', "", text, flags=re.S)

    assert without(again) == without(page)


def test_markup_in_names_is_shown_not_run(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    config["data"]["sources"][0]["citation"] = "<script>alert(1)</script>"
    rewrite(
        results,
        "data/rejected.csv",
        lambda table: table.assign(reason="<img src=x onerror=alert(2)>"),
    )
    text = report.build(results, config)
    assert "<script>alert(1)" not in text and "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(2)&gt;" in text


def test_files_of_an_older_config_stay_out(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    declared = [
        results / "data/manifest.csv",
        results / "tables/metrics.csv",
        results / "figures/forest_mcc.png",
    ]
    text = report.build(results, config, files=declared)
    assert re.findall(r'<figure id="figure-([^"]+)"', text) == ["forest_mcc"]
    assert "n = 120 images of 103 patients." in text
    assert "Optimism was not computed" in text
    assert "The paired tests of this study are not there." in text


# ---- the answer ---------------------------------------------------------------------------
def test_answer_names_the_choice_of_the_ensemble_split(
    page: str, study: tuple[Study, dict[str, Any]]
) -> None:
    made, _ = study
    chosen = pd.read_csv(made.results / "ensembles/chosen.csv").set_index("what")["model"]
    metrics = pd.read_csv(made.results / "tables/metrics.csv")
    said = words_of(page, "answer")
    for what in ("single", "ensemble"):
        row = metrics[
            (metrics["model"] == chosen[what])
            & (metrics["split"] == "test")
            & (metrics["metric"] == "mcc")
            & (metrics["ci_method"] != "binomial")
        ].iloc[0]
        low, high = (f"{row[end]:.3f}" for end in ("ci_low", "ci_high"))
        name = "single model" if what == "single" else "ensemble"
        assert (
            f"The {name} chosen on the ensemble split is {chosen[what]}, with a test MCC of "
            f"{row['value']:.3f} (95% interval {low} to {high})" in said
        )


def decide(results: Path, config: dict[str, Any], **values: Any) -> str:
    """The headline after the gain of the chosen ensemble's kind was given these values."""
    facts = facts_of(results, config)
    kind = facts.family(str(facts.chosen("ensemble")))

    def change(table: pd.DataFrame) -> pd.DataFrame:
        rows = (
            (table["ensemble"] == kind)
            & (table["against"] == "best_member")
            & (table["metric"] == "mcc")
        )
        assert rows.sum() == 1
        for column, value in values.items():
            table[column] = table[column].astype(object)
            table.loc[rows, column] = value
        return table

    rewrite(results, "tables/ensemble_comparisons.csv", change)
    found = answer.answer(facts_of(results, config))
    return " ".join(str(found.headline[1]).replace("<wbr>", "").split())


def test_ensemble_is_better_only_when_its_gain_over_seeds_rejects(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    said = decide(
        results,
        config,
        difference=0.2,
        p_value=0.004,
        p_adjusted=0.09,
        reject=False,
        hypotheses=11,
        correction="Holm",
    )
    assert "is not shown to be better than its best member, over 3 seeds, counting both" in said
    assert "+0.200" in said
    assert "p 0.004, 0.090 corrected for 11 hypotheses by Holm&#39;s method" in said
    said = decide(results, config, difference=0.2, p_adjusted=0.01, reject=True)
    assert "is better than its best member" in said
    said = decide(results, config, difference=-0.2, p_adjusted=0.01, reject=True)
    assert "is worse than its best member" in said


def test_with_one_run_each_the_page_speaks_of_runs(tmp_path: Path) -> None:
    """Of the losses nothing is said, however small the p value; seeds are not known."""
    made = make(tmp_path, losses=["cce", "focal", "hinge"], replicates=1, gradcam=False)
    config = complete(made.config)

    def decided(table: pd.DataFrame) -> pd.DataFrame:
        rows = (table["metric"] == "mcc") & (table["test"] == "permutation")
        for column, value in (("reject", True), ("p_adjusted", 0.001), ("difference", 0.3)):
            table[column] = table[column].astype(object)
            table.loc[rows, column] = value
        return table

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["what"] == "single", "model"] = "focal-r0"
        return table

    rewrite(made.results, "tables/significance.csv", decided)
    rewrite(made.results, "ensembles/chosen.csv", chosen)
    facts = facts_of(made.results, config)
    assert not facts.crossed and facts.spread is None
    found = answer.answer(facts)
    head = str(found.headline[0])
    assert "This run of <code>focal</code> is better than the run of the baseline" in head
    assert "Of the losses themselves one run of each says nothing." in head
    everything = " ".join(map(str, [*found.short, *found.headline, *found.loss]))
    assert "Its loss" not in everything and "loss is" not in everything
    assert "the runs of <code>focal</code> and <code>hinge</code> are shown" in everything


def test_one_run_each_is_held_against_the_seeds_of_the_baseline(tmp_path: Path) -> None:
    losses = ["cce", "focal", "hinge"]
    made = make(tmp_path, losses=losses, replicates=1, gradcam=False, with_tables=False)
    config = statistics(made, made.config)
    facts = facts_of(made.results, config)
    assert {(test.runs_a, test.runs_b) for test in facts.crossed} == {(1, 3)}
    assert [family.name for family in facts.primary_families] == [
        "against_baseline",
        "against_best_member",
    ]
    found = answer.answer(facts)
    said = " ".join(map(str, [*found.short, *found.loss])).replace("<wbr>", "")
    assert "the 3 runs of the baseline <code>cce</code>" in said
    spread = facts.spread
    assert spread is not None and (spread.df, spread.count) == (2, 3)
    assert f"the 3 runs of <code>cce</code> one of {spread.seeds:.3f}." in said
    words = "Taken together the losses differ" if spread.p_value <= 0.05 else "not shown to differ"
    assert words in said


def test_best_member_test_is_taken_from_its_own_family(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    """The best member can be the baseline; the correction differs between the two families."""
    results, config = changed
    facts = facts_of(results, config)
    chosen = str(facts.chosen("ensemble"))
    replicate = chosen.rpartition("-r")[2]

    def two_families(table: pd.DataFrame) -> pd.DataFrame:
        primary = (
            (table["model_a"] == chosen)
            & (table["model_b"] == f"cce-r{replicate}")
            & (table["metric"] == "mcc")
            & (table["test"] == "permutation")
        )
        row = table[primary].iloc[[0]]
        ours = row.assign(family="against_best_member", p_adjusted=0.2, reject=False)
        theirs = row.assign(family="ensembles_against_baseline", p_adjusted=0.001, reject=True)
        return pd.concat([theirs, ours, table[~primary]])

    rewrite(results, "tables/significance.csv", two_families)
    facts = facts_of(results, config)
    for family, adjusted in (("against_best_member", 0.2), ("against_baseline", 0.001)):
        found = facts.compare(chosen, f"cce-r{replicate}", family)
        assert found is not None and found.p_adjusted == adjusted


def test_same_objective_as_the_baseline_is_noise_not_a_finding(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["what"] == "single", "model"] = "kl_divergence-r1"
        return table

    def rejects(table: pd.DataFrame) -> pd.DataFrame:
        table["reject"] = table["loss_a"] == "kl_divergence"
        return table

    rewrite(results, "ensembles/chosen.csv", chosen)
    rewrite(results, "tables/replicate_comparisons.csv", rejects)
    found = answer.answer(facts_of(results, config))
    assert "is the same objective as the baseline" in str(found.headline[0])
    assert "better than the baseline" not in str(found.headline[0])
    assert "none rejects" in str(found.loss[0])


def test_noise_floor_is_the_difference_of_the_pairs(
    page: str, study: tuple[Study, dict[str, Any]]
) -> None:
    made, config = study
    facts = facts_of(made.results, config)
    pairs = facts.noise_floor()
    assert {(test.a, test.b) for test in pairs} == {
        (f"{again}-r{replicate}", f"{loss}-r{replicate}")
        for again, loss in (
            ("kl_divergence", "cce"),
            ("calibrated_kl_divergence", "calibrated_cce"),
        )
        for replicate in range(3)
    }
    for test in pairs:
        difference = facts.value(test.a).value - facts.value(test.b).value
        assert test.difference == pytest.approx(difference, abs=1e-9)
    # With several seeds the answer speaks of their means, with the crossed interval.
    by_pair: dict[str, list[float]] = {}
    for test in pairs:
        by_pair.setdefault(test.a.rpartition("-r")[0], []).append(test.difference)
    means = {name: float(np.mean(values)) for name, values in by_pair.items()}
    # The further seeds of the baseline count, too.
    again = [facts.value(f"kl_divergence-r{replicate}").value for replicate in range(3)]
    means["kl_divergence"] = float(np.mean(again) - np.mean(facts.seed_values))
    assert {test.a: pytest.approx(test.difference) for test in facts.crossed_floor} == means
    said = words_of(page, "answer")
    largest = max(abs(mean) for mean in means.values())
    assert re.search(rf"largest of these \({largest:.3f}\)", said)
    ends = facts.crossed_floor[0]
    assert f"{ends.low:.3f}".replace("-", "−") in said


def test_noise_floor_of_one_seed_is_told_by_runs(tmp_path: Path) -> None:
    losses = ["cce", "focal", "kl_divergence"]
    made = make(
        tmp_path, losses=losses, replicates=1, ensembles=False, gradcam=False, with_tables=False
    )
    config = statistics(made, made.config)
    facts = facts_of(made.results, config)
    (test,) = facts.noise_floor()
    a, b, difference = test.a, test.b, test.difference
    assert (a, b) == ("kl_divergence-r0", "cce-r0")
    said = words_of(report.build(made.results, config), "answer")
    assert f"{a} minus {b}: {difference:+.3f}".replace("-0.", "−0.") in said
    larger = [
        t for t in facts.against_baseline(["focal-r0"]) if abs(t.difference) > abs(difference)
    ]
    assert ("is larger in size" in said) == (len(larger) == 1)


def test_caveats_follow_from_the_study(page: str, changed: tuple[Path, dict[str, Any]]) -> None:
    said = words_of(page, "answer")
    assert "Phantom images are not patients." in said
    assert "trained with 3 seeds only; fewer than 5" in said
    assert "would have been found with a power of 80%, after correction, if it was" in words_of(
        page, "answer"
    )
    results, config = changed
    for source in config["data"]["sources"]:
        source["layout"] = "kermany"
    config["replicates"] = 1
    kept = set(Models(config).models)
    for name, columns in (
        ("metrics", ["model"]),
        ("degenerate", ["model"]),
        ("significance", ["model_a", "model_b"]),
    ):
        rewrite(
            results,
            f"tables/{name}.csv",
            lambda table, columns=columns: table[table[columns].isin(kept).all(axis=1)],
        )
    found = " ".join(answer.answer(facts_of(results, config)).caveats)
    assert "Phantom" not in found
    assert "Each loss was trained once." in found

    def nearly_perfect(table: pd.DataFrame) -> pd.DataFrame:
        near_one = table["metric"].str.startswith("auroc") | (table["metric"] == "accuracy")
        table.loc[near_one, "value"] = 0.5
        rows = (table["metric"] == "auroc_viral") & (table["model"] == "focal-r0")
        table.loc[rows, "value"] = 0.985
        table["reason"] = ""
        near = f"{NEAR_ONE} with 9 patients of the class: the interval may be too narrow"
        table.loc[rows & (table["split"] == "test"), "reason"] = near
        return table

    rewrite(results, "tables/metrics.csv", nearly_perfect)
    found = " ".join(answer.answer(facts_of(results, config)).caveats)
    assert "with few patients of the class: AUROC, viral for 1 model." in found


def test_a_failed_training_is_a_gap_that_the_page_names(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed

    def fail(table: pd.DataFrame) -> pd.DataFrame:
        rows = table["model"] == "focal-r1"
        table.loc[rows, ["value", "ci_low", "ci_high"]] = np.nan
        table.loc[rows, "reason"] = "no probabilities: its training failed"
        return table

    rewrite(results, "tables/metrics.csv", fail)
    facts = facts_of(results, config)
    assert facts.missing_models == ["focal-r1"]
    assert "focal-r1" not in facts.singles
    text = report.build(results, config)
    assert "1 model is without results: focal-r1." in words_of(text, "answer")
    assert "1 model has no results" in words_of(text, "training")
    assert "its training failed" in words_of(text, "singles")


# ---- sections on the models ---------------------------------------------------------------
def cells_of(table: blocks.Table, key: str) -> dict[str, str]:
    """A column of a table as text, by the words of the first column."""
    place = [column.key for column in table.columns].index(key)
    return {
        Markup(row[0].text).striptags(): Markup(row[place].text).striptags() for row in table.rows
    }


def shown(value: float, low: float, high: float, signed: bool = False) -> str:
    first = f"{value:+.3f}" if signed else f"{value:.3f}"
    return f"{first} ({low:.3f} to {high:.3f})".replace("-", "\N{MINUS SIGN}")


def of_losses(**losses: float) -> Any:
    """Let the tests of these losses against the baseline reject at that difference."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        for loss, difference in losses.items():
            rows = (table["loss_a"] == loss) & table["primary"]
            table.loc[rows, ["difference", "reject", "p_adjusted"]] = [difference, True, 0.012]
            table.loc[rows, ["ci_low", "ci_high"]] = [difference - 0.1, difference + 0.1]
        return table

    return change


def test_losses_open_with_what_their_tests_say(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    tests = facts_of(results, config).loss_tests
    assert len(tests) == 3 and not any(test.reject for test in tests)
    sizes = [f"{test.difference:+.2f}" for test in tests]
    least = min(test.p_adjusted for test in tests)
    assert finding_of(results, config, "singles") == (
        "None of the 3 other objectives differs significantly from CCE in MCC: differences are "
        f"{min(sizes, key=float)} to {max(sizes, key=float)}; all adjusted p \u2265 {least:.3f}."
    ).replace("-", "\N{MINUS SIGN}")
    rewrite(results, "tables/replicate_comparisons.csv", of_losses(focal=-0.2))
    assert finding_of(results, config, "singles") == (
        "focal is significantly worse than CCE in MCC, with a difference of \u22120.20 (95% CI "
        "\u22120.30 to \u22120.10; adjusted p = 0.012); the other 2 comparisons are not "
        "significant."
    )
    rewrite(results, "tables/replicate_comparisons.csv", of_losses(calibrated_cce=0.3))
    assert finding_of(results, config, "singles") == (
        "calibrated CCE is significantly better than CCE in MCC, and focal is significantly worse; "
        "the other comparison is not significant."
    )


def test_the_table_of_losses_joins_runs_and_comparisons(
    study: tuple[Study, dict[str, Any]],
) -> None:
    made, config = study
    table = table_of(section_of(made.results, config, "singles"), "singles-test")
    assert [c.label for c in table.columns if not c.more][:4] == [
        "Loss", "MCC", "Difference in MCC from baseline", "Adjusted p",
    ]  # fmt: skip
    assert sum(not column.more for column in table.columns) <= 6
    facts = facts_of(made.results, config)
    mcc, difference = cells_of(table, "mcc"), cells_of(table, "difference")
    adjusted = cells_of(table, "adjusted")
    for loss in LOSSES:
        runs = [facts.value(f"{loss}-r{run}").value for run in range(3)]
        label = facts.label(loss)
        assert mcc[label] == shown(float(np.mean(runs)), min(runs), max(runs))
    for test in facts.crossed + facts.crossed_floor[:1]:
        label = facts.label(test.a)
        assert difference[label] == shown(test.difference, test.low, test.high, signed=True)
        own = test in facts.crossed
        assert adjusted[label] == (facts.p(test.p_adjusted) if own else blocks.DASH)
    assert difference["CCE"] == blocks.DASH


def test_what_a_comparison_says_turned_round() -> None:
    test = Comparison("a", "b", "mcc", 0.2, -0.1, 0.5, 0.3, 0.6, False, "f", runs_a=1, runs_b=5)
    turned = test.turned
    assert (turned.a, turned.b, turned.runs_a, turned.runs_b) == ("b", "a", 5, 1)
    assert (turned.difference, turned.low, turned.high) == (-0.2, -0.5, 0.1)
    assert turned.size == test.size == 0.2 and turned.turned == test


def test_operating_points_of_key_models(study: tuple[Study, dict[str, Any]]) -> None:
    """Any finding is called where 'normal' is not, so that its two rates change places."""
    made, config = study
    facts = facts_of(made.results, config)
    assert facts.key_models["cce-r0"][0] == "baseline"
    points = {point["class"]: point for point in facts.operating_points("cce-r0")}
    assert list(points) == ["any finding", *config["classes"]]
    finding, normal = points["any finding"], points["normal"]
    assert finding["sensitivity"] == normal["specificity"]
    assert finding["specificity"] == normal["sensitivity"]
    assert finding["threshold"] == pytest.approx(1 - normal["threshold"])
    assert finding["images"] + normal["images"] == facts.images("test")
    values = pd.read_csv(made.results / "tables/predictive_values.csv")
    same = values[(values["model"] == "cce-r0") & (values["class"] == "any finding")]
    assert finding["threshold"] == pytest.approx(same["threshold"].iloc[0])
    table = pd.read_csv(made.results / "tables/operating_points.csv")
    own = table[(table["model"] == "cce-r0") & (table["class"] == "viral")].set_index("split")
    assert points["viral"]["of_patients"].value == own.loc["test", "sensitivity"]
    assert points["viral"]["spared_patients"].high == own.loc["test", "specificity_high"]
    assert points["viral"]["patients"] == own.loc["test", "n_positive"]
    assert points["viral"]["sensitivity"] == facts.value("cce-r0", "sensitivity_viral")


def test_ensembles_open_with_the_tests_against_their_best_members(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    said = finding_of(results, config, "ensembles")
    assert said.startswith(
        "None of the 10 ensembles of different losses is significantly better than its best member"
    )
    assert "None of the 2 averages of runs of one loss is" in said
    facts = facts_of(results, config)
    table = table_of(section_of(results, config, "ensembles"), "ensembles-test")
    assert sum(not column.more for column in table.columns) <= 6
    difference = cells_of(table, "difference")
    for gain in facts.gains("best_member"):
        text = shown(gain.difference, gain.low, gain.high, signed=True)
        assert difference[" ".join(facts.label(gain.a).split())] == text

    def rejects(table: pd.DataFrame) -> pd.DataFrame:
        rows = (table["ensemble"] == "stacking-top3") & table["primary"]
        table.loc[rows, ["difference", "reject"]] = [-0.3, True]
        rows = (table["ensemble"] == "majority_vote-top5") & table["primary"]
        table.loc[rows, ["difference", "reject"]] = [0.3, True]
        return table

    rewrite(results, "tables/ensemble_comparisons.csv", rejects)
    assert finding_of(results, config, "ensembles").startswith(
        "1 of the 10 ensembles of different losses is significantly better than its best member "
        "(majority vote, top 5); stacking, top 3 is worse."
    )


def test_one_table_has_all_tests_the_primary_ones_first(
    study: tuple[Study, dict[str, Any]],
) -> None:
    made, config = study
    facts = facts_of(made.results, config)
    tests = facts.all_tests
    over = [
        pd.read_csv(made.results / f"tables/{name}.csv")
        for name in ("replicate_comparisons", "ensemble_comparisons")
    ]
    made_over = sum(int(table["p_value"].notna().sum()) for table in over)
    assert len(tests) == len(facts.significance) + made_over
    primary = [test["primary"] for test in tests]
    count = sum(family.hypotheses for family in facts.primary_families)
    assert primary.count(True) == count and all(primary[:count])
    for part in (tests[:count], tests[count:]):
        adjusted = [test["adjusted"] for test in part if test["adjusted"] >= 0]
        assert adjusted == sorted(adjusted)
    section = section_of(made.results, config, "significance")
    assert len(table_of(section, "all-tests").rows) == len(tests)
    hits = int(facts.secondary["reject"].map(blocks.is_true).sum())
    assert (
        f"{hits or 'none'} of the {len(facts.secondary):,} secondary tests between runs"
        in Markup(section.finding)
    )


def test_noise_is_told_by_the_runs_of_each_loss(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    spread = pd.read_csv(results / "tables/replicates.csv")
    sd = spread.loc[(spread["metric"] == "mcc") & (spread["kind"] == "single"), "sd"]
    said = finding_of(results, config, "replicates")
    assert said.startswith(
        "The SD of MCC between runs that differ only in the random seed is "
        f"{sd.min():.2f} to {sd.max():.2f} (3 runs of each loss)."
    )
    config["splits"]["redraw"] = True
    said = finding_of(results, config, "replicates")
    assert "differ only in seed and division" in said
    text = words_of(report.build(results, config), "training")
    assert "each with a seed and a division of the patients of its own" in text


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("significance", "hypotheses"),
        ("replicate_comparisons", "primary"),
        ("replicates", "minimum"),
        ("operating_points", "threshold"),
        ("diversity", "disagreement"),
    ],
)
def test_a_missing_column_is_named(
    changed: tuple[Path, dict[str, Any]], name: str, column: str
) -> None:
    results, config = changed
    rewrite(results, f"tables/{name}.csv", lambda table: table.drop(columns=column))
    facts = facts_of(results, config)
    with pytest.raises(UserError, match=rf"{name}\.csv has no column '{column}'"):
        _ = facts.all_tests, facts.over_runs("single"), facts.operating_points("cce-r0")
        _ = facts.pairs


def test_text_with_markup_is_escaped_once() -> None:
    frame = pd.DataFrame({"a": [Markup("<b>x</b>"), "<i>"]}, dtype=object)
    table = blocks.table("t", "T", "", frame, [blocks.Column("a", "A")])
    assert [str(Markup.escape(row[0].text)) for row in table.rows] == ["<b>x</b>", "&lt;i&gt;"]


def test_a_failed_run_opens_the_section_on_training(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    assert finding_of(results, config, "training").startswith(
        "All 18 training runs ran to the end."
    )

    def stop(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table.index[-1], "loss"] = np.nan
        return table

    rewrite(results, "models/focal/1.history.csv", stop)
    assert finding_of(results, config, "training").startswith(
        "1 of 18 training runs failed, since the loss was not a number any more: focal (run 1)."
    )


# ---- other sections -----------------------------------------------------------------------
def test_calibration_answer_counts_what_holm_rejects(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed

    def two_of_three(table: pd.DataFrame) -> pd.DataFrame:
        table["reject"] = table["reject"].astype(object)
        for metric, p in (
            ("abs_log_slope", [0.001, 0.002]),
            ("log_loss_miscalibration_root", [1, 1]),
        ):
            rows = (table["metric"] == metric) & (table["version"] == "raw")
            rows &= table["replicate"].astype(str) == "mean"
            # One of the three is the same objective as another.
            assert rows.sum() == 3 and table.loc[rows, "p_adjusted"].notna().sum() == 2
            rows &= table["p_adjusted"].notna()
            table.loc[rows, "difference"] = [-0.1, 0.1]
            table.loc[rows, "p_adjusted"] = p
            table.loc[rows, "reject"] = [value < 0.05 for value in p]
        return table

    rewrite(results, "tables/calibration_comparisons.csv", two_of_three)
    page = report.build(results, config)
    for section in ("calibration", "answer"):
        said = words_of(page, section)
        assert (
            "In part: of 2 calibrated losses, 1 is shown to have a calibration slope nearer to 1, "
            "calibrated_cce; calibrated_focal is shown to have one further from 1" in said
        )
        assert "paired over patients and seeds, Holm-corrected over 2 objectives" in said
        assert "another seed may differ" not in said
        assert "it is not shown to differ for any (a second measure, Holm over its own 2)" in said
        assert "The calibration error (ECE) is described only" in said
    front = words_of(page, "answer")
    assert "calibrated_cce minus cce −0.100 (" in front
    assert "p 0.001 after Holm over 2 objectives" in front


def test_optimism_is_labelled_no_result(page: str) -> None:
    said = words_of(page, "optimism")
    assert "(not a result)" in said and "These numbers are not results." in said


def test_leaks_are_told_loudly(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    rows = [("patients_in_two_splits", "patient", 3, 100, "patients: p-1", "leak")]
    columns = ["check", "level", "count", "n", "detail", "verdict"]
    pd.DataFrame(rows, columns=columns).to_csv(results / "tables/leakage.csv", index=False)
    said = words_of(report.build(results, config), "data")
    assert "The audit found a leak (patients in two splits)" in said


def test_provenance_shows_digest_licence_and_where_it_is_from(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    config["data"]["sources"][0] |= {"layout": "kermany", "license": "", "citation": ""}
    record = {
        "url": "https://example.org/a.zip",
        "sha256": "ab" * 32,
        "size": 1235512464,
        "verified": "recorded",
        "license": "CC BY 4.0",
        "citation": "Kermany 2018",
        "masks_url": "https://example.org/masks.zip",
        "masks_sha256": "cd" * 32,
        "masks_size": 7,
        "masks_verified": "known",
    }
    (results / "data/downloads/phantom-cxr.json").write_text(json.dumps(record))
    said = words_of(report.build(results, config), "data")
    for text in ("https://example.org/a.zip", "ab" * 32, "1,235,512,464", "CC BY 4.0", "cd" * 32):
        assert text in said
    assert "digest recorded at the first download" in said


def test_page_shows_no_password_or_token(changed: tuple[Path, dict[str, Any]]) -> None:
    """Also not those that an earlier version put into the records of the downloads."""
    results, config = changed
    url = "https://user:hunter2@host/a.zip?X-Amz-Signature=hunter2"
    config["data"]["sources"][0] |= {"url": url, "masks_url": url, "layout": "kermany"}
    config["segmentation"]["encoder_weights"] = "https://host/b0.h5?token=hunter2"
    record = {"url": url, "masks_url": url, "sha256": "ab" * 32, "verified": "known"}
    for records in (record, {}):
        (results / "data/downloads/phantom-cxr.json").write_text(json.dumps(records))
        page = report.build(results, config)
        assert "hunter2" not in page
        assert words_of(page, "data").count("https://host/a.zip") == 2
        assert "https://host/b0.h5" in words_of(page, "configuration")
    assert config["data"]["sources"][0]["url"] == url


def test_configuration_is_whole_and_readable_back(
    page: str, study: tuple[Study, dict[str, Any]]
) -> None:
    import html as entities

    import yaml

    text = re.search(r'<section id="configuration".*?<pre[^>]*>(.*?)</pre>', page, re.S)
    assert text is not None
    assert yaml.safe_load(entities.unescape(text[1])) == study[1]


def test_families_say_how_many_tests_were_made(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    facts = facts_of(results, config)
    before = facts.significance
    # Each replicate is a family of its own.
    of_replicate = before["family"].str.fullmatch("against_best_member(, r0)?")
    family = before.loc[of_replicate, "family"].iloc[0]

    def none_made(table: pd.DataFrame) -> pd.DataFrame:
        rows = table["family"] == family
        table.loc[rows, ["p_value", "p_adjusted"]] = np.nan
        table.loc[rows, "reject"] = False
        return table

    rewrite(results, "tables/significance.csv", none_made)
    page = report.build(results, config)
    told = table_of(section_of(results, config, "significance"), "test-families")
    counts = {row[0].text: [cell.text for cell in row[1:3]] for row in told.rows}
    planned = int((before["family"] == family).sum())
    assert counts[families.label(family, "patient")] == ["0", f"{planned}"]
    for name, part in before[before["family"] != family].groupby("family"):
        made_here = f"{part['p_value'].notna().sum()}"
        assert counts[families.label(name, "patient")] == [made_here, f"{len(part)}"]
    made = before[before["p_value"].notna() & (before["family"] != family)]
    tests, count = len(made), made["family"].nunique()
    assert f"{tests:,} tests were made between runs, in {count} families" in words_of(
        page, "answer"
    )


def seen(results: Path, config: dict[str, Any], **values: Any) -> str:
    """What the page says could have been seen, after comparisons of losses got these values."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        rows = table["question"] == "loss"
        for column, value in values.items():
            table[column] = table[column].astype(object)
            table.loc[rows, column] = value
        return table[table["question"] != "ensemble"]

    rewrite(results, "tables/verdicts.csv", change)
    return words_of(report.build(results, config), "verdicts")


def test_the_page_says_what_could_have_been_seen(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    shared = {"detectable_corrected": 0.3, "hypotheses": 11, "basis": "these runs"}
    said = seen(results, config, verdict="inconclusive", **shared)
    size = facts_of(results, config).size("test")
    assert (
        f"With {size} and 3 training runs of each loss, this study would have "
        "found a difference in MCC of 0.300 between a loss and the baseline with a power of 80%, "
        "at a level of 0.05 over 11 hypotheses, between these training runs alone and not between "
        "losses. None of the 3 comparisons shows a difference; smaller ones may exist."
    ) in said
    assert "place the difference within 0.02" in said
    more = {"verdict": ["better", "inconclusive", "equivalent"]}
    shared |= {"detectable_corrected": [0.2, 0.3, 0.1], "basis": "seeds and patients"}
    said = seen(results, config, **shared, **more)
    assert "a difference in MCC of 0.100 to 0.300 between" in said
    assert "11 hypotheses, seeds and patients counted as chance. Of 3 comparisons, " in said
    assert "1 shows a difference and 1 is equivalent; for the others" in said


def test_without_a_margin_nothing_is_called_equivalent(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    config["significance"]["equivalence_margin"] = None
    said = words_of(report.build(results, config), "verdicts")
    assert "No margin of equivalence was stated." in said and "P(within margin)" not in said


def test_methods_tell_how_networks_were_trained(study: tuple[Study, dict[str, Any]]) -> None:
    made, config = study
    config = copy.deepcopy(config)
    config["segmentation"]["encoder_weights"] = "imagenet"
    config["ablations"] = ["without_crop"]
    config["classification"]["training"] |= {
        "optimizer": {"name": "sgd", "learning_rate": 0.0001, "momentum": 0.9, "nesterov": True,
                      "decay": 0.000001},
        "warmup_fraction": 0.1, "early_stopping": {"patience": 10}, "monitor": "val_accuracy",
        "epochs": 64, "keep": "best",
    }  # fmt: skip
    text = " ".join(methods.paragraphs(facts_of(made.results, config))[0])
    assert "with EfficientNet-B0 [2] as its encoder that started from ImageNet weights" in text
    assert "(learning rate 0.0001, Nesterov momentum 0.9, decay 0.000001 for each step)" in text
    assert "for at most 64 epochs" in text and "over the first 10% of the steps" in text
    assert "early stopping after 10 epochs without better validation accuracy" in text
    assert "focal with gamma 2;" in text and "cut at block5c_add" in text
    assert "cce was also trained without the crop to the lungs." in text
    config["classification"]["training"]["early_stopping"] = None
    text = " ".join(methods.paragraphs(facts_of(made.results, config))[0])
    assert "for 64 epochs" in text


def test_methods_cite_in_order_and_follow_the_config(
    study: tuple[Study, dict[str, Any]],
) -> None:
    made, config = study
    text, references = methods.paragraphs(facts_of(made.results, config))
    cited = [int(n) for group in re.findall(r"\[([\d, ]+)\]", " ".join(text))
             for n in group.split(", ")]  # fmt: skip
    first_seen = list(dict.fromkeys(cited))
    assert first_seen == list(range(1, len(references) + 1))
    joined = " ".join(text)
    assert text[0].startswith(
        "Images to classify, lung masks for training and lung masks for testing came from a "
        "generator of phantom radiographs. 480 images of"
    )
    assert "each of 3 seeds" in joined and "6 losses" in joined
    assert "480 images of" in joined
    assert any("Grad-CAM" in reference for reference in references)
    off = copy.deepcopy(config)
    off["gradcam"]["enabled"] = False
    off["ensembles"]["methods"] = []
    text, references = methods.paragraphs(facts_of(made.results, off))
    assert not any("Selvaraju" in reference for reference in references)
    assert "Ensembles were built" not in " ".join(text)


def test_methods_cite_what_the_registries_name(study: tuple[Study, dict[str, Any]]) -> None:
    """A loss cites its own sources, whatever its name has in it."""
    made, config = study
    for loss, authors in (
        ("hinge", {"Crammer"}),
        ("calibrated_negative_entropy", {"Pereyra", "Liang"}),
        ("label_smoothed_focal", {"Lin T-Y", "Szegedy"}),
    ):
        one = copy.deepcopy(config)
        one["classification"]["losses"] = [{"name": "cce"}, {"name": loss}]
        one["segmentation"]["losses"] = [{"name": "bce"}]
        cited = " ".join(methods.paragraphs(facts_of(made.results, one))[1])
        known = ("Crammer", "Pereyra", "Liang", "Lin T-Y", "Szegedy")
        assert {name for name in known if name in cited} == authors, loss
    text = " ".join(methods.paragraphs(facts_of(made.results, config))[0])
    assert "majority vote (the class that most members name)" in text
    assert re.search(r"stacking \(a small network on [^)]*\) \[\d+\]", text)


def test_references_are_written_in_one_style() -> None:
    assert references.cited("delong1988").endswith(
        "a nonparametric approach. Biometrics 1988;44(3):837-845. doi:10.2307/2531595"
    )
    assert references.cited("tan2019").endswith("ICML 2019. arXiv:1905.11946")
    assert references.cited("ronneberger2015").endswith(
        "MICCAI 2015, LNCS 9351:234-241. doi:10.1007/978-3-319-24574-4_28"
    )
    for key, entry in references.known().items():
        assert key.rstrip("abc").endswith(str(entry["year"])), key
        assert {"authors", "title", "year"} <= set(entry)
        written = references.cited(key)
        assert not written.endswith(".") and "  " not in written and ".." not in written


def test_a_new_metric_stands_in_the_table_of_metrics(
    study: tuple[Study, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, config = study
    new = metrics.Metric("error_rate", "Error rate", "Proportion wrong", False, show=metrics.MAIN)
    monkeypatch.setitem(metrics.METRICS, "error_rate", new)
    facts = facts_of(made.results, config)
    rows = facts.all_metrics[facts.all_metrics["metric"] == "accuracy"].assign(metric="error_rate")
    facts.__dict__["all_metrics"] = pd.concat([facts.all_metrics, rows], ignore_index=True)
    figures = Figures(facts)
    found = templates.sections(facts, figures, {"configuration": "", "steps": []})
    columns = table_of(found[12], "singles-runs").columns
    heads = {column.key: column for column in columns}
    assert heads["error_rate"].label == "Error rate"
    assert heads["error_rate"].help == "Proportion wrong; lower is better"
    assert heads["error_rate"].more and not heads["mcc"].more
    assert list(heads)[:2] == ["model", "mcc"] and "brier_reliability" not in heads


def test_citation_agrees_with_the_citation_file(page: str, root: Path) -> None:
    import yaml

    asked = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    said = words_of(page, "cite")
    article = asked["preferred-citation"]
    for text in (asked["title"], f"Version {asked['version']}", asked["authors"][0]["name"]):
        assert text in said
    for text in (article["title"], article["journal"], article["doi"], article["start"]):
        assert str(text) in said
    # The list of references writes the article in the same way.
    assert references.cited("rajaraman2021") in said


def test_trainings_tell_which_weights_were_kept_and_what_failed(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed

    def stop(table: pd.DataFrame) -> pd.DataFrame:
        table = table.iloc[:4].copy()
        table.loc[table.index[-1], ["loss", "val_loss"]] = np.nan
        return table

    rewrite(results, "models/focal/1.history.csv", stop)
    config["classification"]["training"] |= {"keep": "last", "early_stopping": None}
    said = words_of(report.build(results, config), "training")
    assert "The weights of the last epoch were kept." in said
    assert "failed: the loss was not a finite number" in said


def test_the_use_of_val_is_told_as_the_config_has_it(root: Path) -> None:
    """The published study and the default one, and every setting by itself."""
    import yaml
    from multiloss import config as study_config

    default = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    paper = yaml.safe_load((root / "workflow/studies/paper.yaml").read_text(encoding="utf-8"))

    def merged(base: Any, more: Any) -> Any:
        if not isinstance(base, dict) or not isinstance(more, dict):
            return more
        keys = {**base, **more}
        return {k: merged(base[k], more[k]) if k in base and k in more else keys[k] for k in keys}

    def role(config: dict[str, Any]) -> str:
        return Facts(Results(Path("none")), config).role("val")

    config = study_config.validate(default)
    assert role(config) == "picks the best epoch of the model-level heads"
    assert role(study_config.validate(merged(default, paper))) == (
        "stops the trainings, lowers the learning rate of the trainings, picks the best epoch of "
        "the trainings, stops the model-level heads, lowers the learning rate of the model-level "
        "heads and picks the best epoch of the model-level heads"
    )
    config["ensembles"]["model_level"]["training"]["keep"] = "last"
    assert role(config) == "watches the trainings and decides nothing"
    training = config["classification"]["training"]
    training["keep"] = "best"
    assert role(config) == "picks the best epoch of the trainings"
    training |= {"keep": "last", "early_stopping": {"patience": 5, "min_delta": 0.0}}
    assert role(config) == "stops the trainings"
    training |= {"early_stopping": None, "reduce_on_plateau": {"factor": 0.5, "patience": 5,
                 "min_delta": 0.0, "min_learning_rate": 0.0}}  # fmt: skip
    assert role(config) == "lowers the learning rate of the trainings"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schedule": "constant", "warmup_fraction": 0.0}, "with a constant learning rate"),
        (
            {"schedule": "constant", "warmup_fraction": 0.1},
            "a learning rate that rises linearly over the first 10% of the steps and then stays",
        ),
        ({"schedule": "cosine", "warmup_fraction": 0.0}, "with a cosine schedule of the learning"),
        (
            {"schedule": "cosine", "warmup_fraction": 0.2},
            "over the first 20% of the steps and then falls to 0 by a cosine schedule",
        ),
        (
            {"reduce_on_plateau": {"factor": 0.5, "patience": 3, "min_delta": 0.0,
                                   "min_learning_rate": 0.00001}},
            "the learning rate multiplied by 0.5 after 3 epochs without better validation loss, "
            "down to 0.00001",
        ),
    ],
    ids=["constant", "warm-up", "cosine", "cosine-after-warm-up", "plateau"],
)  # fmt: skip
@pytest.mark.parametrize("section", ["segmentation", "classification"])
def test_methods_tell_the_schedule_as_the_config_has_it(
    study: tuple[Study, dict[str, Any]], section: str, settings: dict[str, Any], said: str
) -> None:
    made, config = study
    config = copy.deepcopy(config)
    config[section]["training"] |= settings
    place = {"segmentation": 1, "classification": 2}[section]
    assert said in methods.paragraphs(facts_of(made.results, config))[0][place]


def test_checklist_covers_both_lists(study: tuple[Study, dict[str, Any]]) -> None:
    made, config = study
    found = checklist.items(facts_of(made.results, config))
    claim = [int(n) for item in found for n in re.findall(r"\d+", item.claim)]
    assert claim == list(range(1, 45))
    tripod = {int(n) for item in found for n in re.findall(r"\d+", item.tripod)}
    assert tripod == set(range(1, 28))
    assert {item.section for item in found if item.section} <= set(ORDER)
    assert {item.status for item in found} <= set(checklist.STATUSES)


def answers_of(results: Path, config: dict[str, Any], **source: str) -> dict[str, checklist.Item]:
    """The checklist of a study whose images come from a source with these keys, by topic."""
    config = copy.deepcopy(config)
    for entry in config["data"]["sources"]:
        if entry["role"] == "classification":
            entry.update(source)
    return {item.topic: item for item in checklist.items(facts_of(results, config))}


# Topics that only the people behind the images know.
PEOPLE = [
    "Prospective or retrospective", "Dates of data", "De-identification", "Image acquisition",
    "Reference standard", "Source of the annotations", "Annotation of the test set",
    "Variability between and within raters", "Differences between hospitals or devices",
    "Demographics and clinical characteristics", "Fairness", "Ethics",
]  # fmt: skip


def test_checklist_claims_nothing_of_own_images(study: tuple[Study, dict[str, Any]]) -> None:
    made, config = study
    own = answers_of(made.results, config, layout="table", url="/data/mine.csv")
    assert {own[topic].status for topic in PEOPLE} == {"for the authors"}
    assert "generated" not in " ".join(item.answer for item in own.values())
    assert "archive" not in " ".join(own[topic].answer for topic in PEOPLE)
    public = answers_of(made.results, config, layout="kermany")
    assert public["Reference standard"].answer.startswith("Graded by two physicians")
    assert public["Demographics and clinical characteristics"].status == "for the authors"
    phantom = answers_of(made.results, config, layout="phantom")
    assert phantom["Demographics and clinical characteristics"].status == "does not apply"


def test_checklist_tells_unknown_patients(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    topics = "Level at which partitions are disjoint", "Uncertainty and significance"
    level, tests = (answers_of(results, config)[topic] for topic in topics)
    assert (level.status, tests.status) == ("answered", "answered")
    rewrite(results, "data/manifest.csv", lambda table: table.assign(patient_known=False))
    level, tests = (answers_of(results, config)[topic] for topic in topics)
    assert level.status == "in part" and level.answer.startswith("Images: patients are unknown")
    assert tests.status == "in part" and "intervals may be too narrow" in tests.answer


# ---- models that tell no classes apart -------------------------------------------------------
COLLAPSE = ["cce", "focal", "hinge", "calibrated_cce"]


def collapsed_study(folder: Path, collapsed: tuple[str, ...]) -> tuple[Path, dict[str, Any]]:
    made = make(
        folder,
        losses=COLLAPSE,
        collapsed=collapsed,
        test_images=60,
        gradcam=False,
        save_images=False,
        with_tables=False,
    )
    made.config["ensembles"] |= {"top_k": [3], "methods": ["majority_vote", "stacking"]}
    for name, column in (("chosen", "model"), ("members", "ensemble"), ("weights", "ensemble")):
        planned = Models(made.config).models
        rewrite(
            made.results,
            f"ensembles/{name}.csv",
            lambda table, column=column, planned=planned: table[table[column].isin(planned)],
        )
    return made.results, statistics(made, made.config)


def plain(found: Any) -> str:
    return " ".join(str(found).replace("<wbr>", "").split())


def test_all_models_collapsed_is_the_first_line_and_nothing_is_concluded(tmp_path: Path) -> None:
    results, config = collapsed_study(tmp_path, tuple(COLLAPSE))
    facts = facts_of(results, config)
    assert all(facts.collapsed(name) for name in facts.singles)
    page = report.build(results, config)
    first = re.search(r'<section id="answer".*?<p class="note (\w+)">(.*?)</p>', page, re.S)
    assert first is not None and first[1] == "warning"
    assert plain(first[2]).startswith(
        "<strong>No single model of 4 tells the classes apart</strong>"
    )
    said = words_of(page, "answer")
    assert "called all test images 'normal'" in said
    for wrong in ("test MCC of –", "0.000 (p", "In short", "Yes:", "is shown to be better", "nan"):
        assert wrong not in said, wrong
    assert "a test MCC that is not defined and counts as 0, since it called all" in said
    assert "No single model has a test MCC above 0, which is chance." in said
    assert "That cannot be told (n = " in said
    assert "Left out: calibrated_cce" in said
    # Tests between such models are counted, and none of them is told as a hint.
    hits = facts.secondary[facts.secondary["reject"].map(blocks.is_true)]
    sound = [
        not (facts.collapsed(row.model_a) and facts.collapsed(str(row.model_b)))
        for row in hits.itertuples()
    ]
    if not all(sound):
        assert f"({sound.count(False)} of two models that do not tell the classes apart)" in said


def test_some_collapsed_models_are_named_and_left_out(tmp_path: Path) -> None:
    results, config = collapsed_study(tmp_path, ("hinge", "calibrated_cce"))
    facts = facts_of(results, config)
    assert [name for name in facts.singles if facts.collapsed(name)] == [
        "calibrated_cce-r0",
        "hinge-r0",
    ]
    page = report.build(results, config)
    said = words_of(page, "answer")
    assert "2 of 4 single models do not tell the classes apart: on the test split" in said
    assert "calibrated_cce-r0 and hinge-r0 called all test images 'normal'." in said
    # Their pair says nothing of calibration, however large its difference.
    assert "That cannot be told" in said and "Yes:" not in said
    assert "left out: a run tells no classes apart" in words_of(page, "calibration")
    # One of them against the baseline is a comparison like any other.
    assert "Of 3 comparisons" in said


def test_daggers_stand_in_every_table_that_names_such_a_model(tmp_path: Path) -> None:
    results, config = collapsed_study(tmp_path, ("hinge",))
    page = report.build(results, config)
    marked = 0
    for part in page.split('<div class="table" id="table-')[1:]:
        id_ = part[: part.index('"')]
        cells = re.findall(r"<t[hd][^>]*><code>hinge-<wbr>r0</code>(.*?)</t[hd]>", part)
        for mark in cells:
            assert mark == '<abbr title="called all test images &#39;normal&#39;">†</abbr>', id_
        assert ("† On the test split the model never names" in part) == bool(cells) or (
            "<code>hinge</code><abbr" in part
        ), id_
        named = re.findall(r'data-model="hinge(?:-r0)?"[^>]*>[^<]*</span>(.{10})', part)
        assert set(named) <= {'<a class="'}, id_
        marked += bool(cells or named)
    assert marked >= 6
    assert "on the test split it called all images 'normal'" in words_of(page, "training")
    assert "hinge† called all images 'normal'" in words_of(page, "singles")
    # Sorting by name is not disturbed by the mark.
    assert 'data-v="hinge"' in page


def test_what_such_a_model_did_is_told_by_its_rows(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    rows = [
        ("stacking-top3-r0", "ensemble", "test", "class_never_predicted", "normal", 41),
        ("focal-r1", "single", "test", "class_never_predicted", "normal", 41),
        ("focal-r1", "single", "test", "class_never_predicted", "viral", 1026),
        ("focal-r1", "single", "test", "one_class_dominates", "bacterial", 0.996),
        ("focal-r1", "single", "test", "no_better_than_chance", "", -0.01),
        ("cce-r2", "single", "test", "no_better_than_chance", "", 0.0),
        ("cce-r1", "single", "ensemble", "no_better_than_chance", "", -0.2),
    ]
    columns = ["model", "kind", "split", "problem", "class", "value"]
    table = pd.DataFrame(rows, columns=columns).assign(n=110, n_patients=86)
    table.to_csv(results / "tables/degenerate.csv", index=False)

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["what"] == "single", "model"] = "cce-r1"
        return table

    rewrite(results, "ensembles/chosen.csv", chosen)
    facts = facts_of(results, config)
    assert {name: facts.collapsed(name) for name in ("stacking-top3-r0", "focal-r1", "cce-r2")} == {
        "stacking-top3-r0": False,
        "focal-r1": True,
        "cce-r2": True,
    }
    assert not facts.collapsed("focal")  # its other runs are sound
    assert facts.uncalibrated(facts.calibration_pairs("raw")) == [
        "calibrated_cce",
        "calibrated_focal",
    ]
    page = report.build(results, config)
    said = words_of(page, "answer")
    assert "stacking-top3-r0 recognised none of the 41 'normal' test images." in said
    assert (
        "focal-r1 recognised none of the 41 'normal' and none of the 1,026 'viral' test images "
        "and called more than 99% of all test images 'bacterial'."
    ) in said
    assert "cce-r2 did no better than chance." in said
    assert "It was chosen although on that split it did no better than chance." in said
    assert "On the ensemble split CCE (run 1) did no better than chance." in words_of(
        page, "ensembles"
    )


def test_no_table_and_an_empty_one_mean_that_all_is_well(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    before = report.build(results, config)
    (results / "tables/degenerate.csv").unlink()
    assert report.build(results, config) == before
    assert "†" not in before and "do not tell the classes apart" not in before


# ---- unknown patients ------------------------------------------------------------------------
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_unknown_patients_are_called_unknown(tmp_path: Path, share: float) -> None:
    made = make(
        tmp_path,
        losses=["cce", "focal"],
        ensembles=False,
        gradcam=False,
        save_images=False,
        unknown=share,
    )
    page = report.build(made.results, complete(made.config))
    sections = {name: words_of(page, name) for name in ("answer", "data", "methods", "singles")}
    everything = " ".join(sections.values())
    if share == 1:
        assert "Patients are unknown. Images were taken as independent" in sections["answer"]
        assert "n = 120 images (patients unknown)" in sections["singles"]
        losses = section_of(made.results, complete(made.config), "singles")
        how = table_of(losses, "singles-test").how
        assert "bootstrap on a transformed scale over images" in how
        assert "were divided by image, stratified by class" in sections["methods"]
        assert "Patients were not known; these were taken as independent" in sections["methods"]
        assert "Patients are unknown. Each image was taken" in sections["data"]
        assert not re.search(r"\d patients?\b", sections["answer"] + sections["singles"])
    else:
        assert "The patient of 25% of the images is unknown." in sections["answer"]
        assert re.search(
            r"480 images of at most \d+ patients \(unknown for 25% of the images\)", everything
        )
        assert "Images of unknown patients" in sections["data"]


def test_left_out_files_are_told_by_kind(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    reasons = {
        "a": "damaged",
        "b": "class 'x' is not in the config, which has 'X': give both one spelling",
        "c": "identical copy of an image that is used",
        "d": "identical copy of an image that is used",
        "e": "image kept, lesion_mask not used: damaged",
        "f": "image kept, but the very same image has several labels: 'x', 'y'",
    }
    rows = [{"image_id": k, "path": f"{k}.png", "source": "s", "reason": v, "label": ""}
            for k, v in reasons.items()]  # fmt: skip
    rows.append({**rows[4], "reason": "image kept, lung_mask not used: damaged"})
    pd.DataFrame(rows).to_csv(results / "data/rejected.csv", index=False)
    pd.DataFrame(
        [("a1", "p1", "normal", "r"), ("a2", "p1", "normal", "r"), ("l1", "q1", "", "r")],
        columns=["image_id", "patient_id", "label", "reason"],
    ).to_csv(results / "data/dropped.csv", index=False)
    page = report.build(results, config)
    told = (
        "4 files were left out (2 further copies of images, 1 of a class that is not asked for "
        "and 1 unusable)."
    )
    left = (
        "2 images were left out of training, since their patients are in the test split, too. 1 "
        "image with a lung mask was left out of training, since its patient is in the "
        "segmentation test set, too."
    )
    data = words_of(page, "data")
    assert f"{told} 2 images are used with a remark. {left}" in data
    assert "n = 7 rows, each with its reason" in data
    assert "n = 3 images left out of training, each" in data
    assert "is the same child" not in data  # said of the published set alone
    assert f"{told} {left}" in words_of(page, "methods")
    assert "4 files left out as unusable, not needed or copies, 2 images of test patients" in (
        words_of(page, "checklist")
    )
    for name in ("rejected", "dropped"):
        rewrite(results, f"data/{name}.csv", lambda table: table.iloc[:0])
    data = words_of(report.build(results, config), "data")
    assert "No file was left out as unusable, foreign or a copy. No image was left out" in data


@pytest.mark.parametrize(
    ("splits", "told", "checked"),
    [
        ({"test": "shipped"}, "The test split is the one that the sources name", True),
        (
            {"test": "shipped", "recurring_patients": "resplit"},
            "a test split of their size was drawn anew",
            False,
        ),
        ({"test": 0.2}, "The test split is a share of 0.20 of the patients.", False),
    ],
)
def test_the_test_split_is_told_as_the_config_has_it(
    changed: tuple[Path, dict[str, Any]], splits: dict[str, Any], told: str, checked: bool
) -> None:
    results, config = changed
    config["splits"] |= splits
    page = report.build(results, config)
    assert told in words_of(page, "data")
    own = "but for the test split, which is the sources' own"
    assert (own in words_of(page, "methods")) == checked
    own = "The test split is the one that the sources name; the other patients"
    assert (own in words_of(page, "checklist")) == checked


def test_tests_on_own_images_are_not_called_internal(study: tuple[Study, dict[str, Any]]) -> None:
    made, config = study
    elsewhere = "Nothing here was tested on images from another hospital"
    unsure = "Whether the test images are from other hospitals"
    assert any(elsewhere in text for text in answer.answer(facts_of(made.results, config)).caveats)
    own = copy.deepcopy(config)
    own["data"]["sources"][0] |= {"layout": "table", "url": "x.csv"}
    said = answer.answer(facts_of(made.results, own)).caveats
    assert any(text.startswith(unsure) for text in said)
    assert not any("Phantom" in text for text in said)
    mixed = copy.deepcopy(config)
    mixed["data"]["sources"].append({**own["data"]["sources"][0], "name": "own"})
    said = answer.answer(facts_of(made.results, mixed)).caveats
    assert any("Some of the classified images come from a generator" in text for text in said)


def test_figures_stand_in_the_sections_of_their_subjects(page: str) -> None:
    for figure, section in (
        ("diversity", "diversity"),
        ("rank", "replicates"),
        ("replicates", "replicates"),
        ("optimism", "optimism"),
        ("significance_heatmap", "significance"),
    ):
        before = page[: page.index(f'<figure id="figure-{figure}"')]
        assert before.rpartition('<section id="')[2].startswith(f'{section}"'), figure


def test_a_new_figure_is_shown_without_being_listed(
    changed: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the section of its category; a new category is a section."""
    results, config = changed
    categories = {"new_ensembles": "Ensembles", "new_room": "Rooms & <doors>", "new_too": "Other"}
    known = catalog._catalog()
    added = [
        {**known["figures"][0], "name": name, "title": name, "category": category}
        for name, category in categories.items()
    ]
    extended = {**known, "figures": [*added, *known["figures"]]}
    monkeypatch.setattr(catalog, "_catalog", lambda: extended)
    for name in categories:
        for ending in ("png", "svg", "json"):
            shutil.copy(results / f"figures/splits.{ending}", results / f"figures/{name}.{ending}")
    parts = report.sections(results, config, versions=VERSIONS)
    shown = {
        block.id: section
        for section in parts
        for block in section.blocks
        if isinstance(block, blocks.Figure)
    }
    assert shown["figure-new_ensembles"].id == "ensembles"
    titles = [section.title for section in parts]
    end = titles.index("Grad-CAM and localisation")
    assert titles[end + 1 : end + 3] == ["Rooms & <doors>", "Other"]
    assert shown["figure-new_room"].title == "Rooms & <doors>"
    assert shown["figure-new_too"].title == "Other"
    assert len({section.id for section in parts}) == len(parts)


def test_seeds_of_another_loss_are_not_called_the_baseline(
    study: tuple[Study, dict[str, Any]],
) -> None:
    made, config = study
    other = copy.deepcopy(config)
    other["ensembles"]["seed_ensemble"]["loss"] = "focal"
    facts = facts_of(made.results, other)
    assert answer._averaged(facts, "seed_average-focal-top3") == "seeds of focal, averaged"
    same = facts_of(made.results, config)
    assert answer._averaged(same, "seed_average-cce-top3") == "seeds of the baseline, averaged"


def test_class_weights_are_blamed_only_where_there_are_any(
    changed: tuple[Path, dict[str, Any]], page: str
) -> None:
    results, config = changed
    assert "Two things besides the loss can move calibration." in words_of(page, "calibration")
    config["classification"]["class_weights"] = "none"
    without = report.build(results, config)
    assert "Besides the loss, class shares move calibration" in words_of(without, "calibration")
    assert "Class weights" not in words_of(without, "calibration").replace("With class", "")
    assert "Class weights act" not in words_of(without, "training")


def test_methods_speak_of_ensembles_and_thresholds_as_the_config_has_them(
    study: tuple[Study, dict[str, Any]],
) -> None:
    made, config = study
    other = copy.deepcopy(config)
    other["ensembles"]["methods"] = []
    other["evaluation"]["operating_point"] = "specificity_95"
    other["segmentation"]["ensemble_size"] = 1
    text = " ".join(methods.paragraphs(facts_of(made.results, other))[0])
    assert "thresholds chosen for a specificity of 95% on the ensemble split" in text
    assert "Two runs were compared by sign-flip permutation by patient" in text
    assert "The one with the best mean Dice on validation images" in text
    text = " ".join(methods.paragraphs(facts_of(made.results, config))[0])
    assert "the threshold with the largest Youden index" in text
    assert (
        "The primary hypotheses were fixed before any result, by the test MCC alone: Each loss "
        "against the baseline (3 hypotheses); Each ensemble against its best member (11 hypotheses)"
    ) in text
    assert "the variance between runs pooled over the losses" in text


def test_verdicts_of_the_audit_are_explained(page: str) -> None:
    data = words_of(page, "data")
    for verdict in ("pass, nothing was found", "leak, test", "note, worth", "unknown, nothing was"):
        assert verdict in data


def test_known_patients_need_no_word(page: str) -> None:
    said = words_of(page, "answer") + words_of(page, "data") + words_of(page, "methods")
    assert "atients unknown" not in said and "atients are unknown" not in said
    assert "atient of" not in said and "Patients, at most" not in said


# ---- what follows the tables and the config, not names ----------------------------------------
def test_the_same_objective_is_what_the_tables_compare_as_such(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    """With another beta the calibrated pair is two objectives, and has no such rows."""
    results, config = changed
    assert facts_of(results, config).same_objective == [
        ("kl_divergence", "cce"),
        ("calibrated_kl_divergence", "calibrated_cce"),
    ]

    def without(column: str) -> Any:
        return lambda table: table[
            ~(
                table["family"].map(lambda value: families.of_column(value)[0] == "noise_floor")
                & table[column].str.startswith("calibrated_kl_divergence")
            )
        ]

    rewrite(results, "tables/significance.csv", without("model_a"))
    rewrite(results, "tables/replicate_comparisons.csv", without("loss_a"))
    facts = facts_of(results, config)
    assert facts.same_objective == [("kl_divergence", "cce")]
    assert facts.is_same_objective("cce", "kl_divergence")
    assert not facts.is_same_objective("calibrated_cce", "calibrated_kl_divergence")
    page = report.build(results, config)
    assert "calibrated_kl_divergence minus calibrated_cce" not in words_of(page, "answer")
    same = {variant["name"]: variant["same"] for variant in facts.variants if variant["same"]}
    assert same == {"kl_divergence": "cce", "cce": "kl_divergence"}
    told = table_of(section_of(results, config, "training"), "losses")
    place = [column.key for column in told.columns].index("same")
    assert [row[place].text != "" for row in told.rows].count(True) == 2


def test_other_parameters_make_no_pairs(tmp_path: Path) -> None:
    made = make(
        tmp_path,
        losses=LOSSES,
        ensembles=False,
        gradcam=False,
        save_images=False,
        with_tables=False,
    )
    for entry in made.config["classification"]["losses"]:
        if entry["name"] == "calibrated_focal":
            entry["gamma"] = 3.0
        if entry["name"] == "calibrated_kl_divergence":
            entry["beta"] = 2.0
    config = statistics(made, made.config)
    page = report.build(made.results, config)
    assert facts_of(made.results, config).same_objective == [("kl_divergence", "cce")]
    assert "calibrated_kl_divergence-r0 minus calibrated_cce-r0" not in words_of(page, "answer")
    said = words_of(page, "calibration")
    assert "for any of 2 calibrated losses by the calibration slope" in said
    assert (
        "Without a plain form to compare with: calibrated_focal (focal is there with other "
        "parameters)." in said
    )


def test_without_the_baseline_no_loss_is_compared(tmp_path: Path) -> None:
    made = make(tmp_path, losses=["cce", "kl_divergence", "focal"], gradcam=False,
                ensembles=False, save_images=False, with_tables=False)  # fmt: skip
    path = made.results / "predictions" / "cce-r0.csv"
    table = pd.read_csv(path)
    table.loc[:, table.columns.str.startswith("p_")] = np.nan
    table.to_csv(path, index=False)
    config = statistics(made, made.config)
    said = words_of(report.build(made.results, config), "answer")
    assert "In short: no loss could be compared with the baseline cce, which has no results" in said
    assert "It was compared with no baseline: cce has no results." in said
    assert "same objective as the baseline" not in said
    assert "The study has gaps. 1 model is without results: cce-r0." in said


def test_gaps_are_all_models_that_the_config_lists(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    gone = {
        "cce_without_crop-r1",
        "weighted_average-model_level-r0",
        "seed_average-cce-top5",
        "cce-r3",
        "stacking-top3-r2",
    }
    assert gone <= set(Models(config).models) and not facts_of(results, config).missing_models

    def fail(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["model"].isin(gone), ["value", "ci_low", "ci_high"]] = np.nan
        return table

    rewrite(results, "tables/metrics.csv", fail)
    assert set(facts_of(results, config).missing_models) == gone
    said = words_of(report.build(results, config), "answer")
    assert "The study has gaps. 5 models are without results:" in said
    assert all(name in said for name in gone)


def test_secondary_tests_that_reject_are_listed(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed

    def one_rejects(table: pd.DataFrame) -> pd.DataFrame:
        table["reject"] = False
        rows = (table["model_a"] == "focal-r0") & (table["model_b"] == "cce-r0")
        rows &= table["test"] == "delong"
        first = table.index[rows & (table["metric"] == "auroc_viral")][0]
        table["p_adjusted"] = 1.0
        table.loc[first, ["reject", "p_adjusted"]] = [True, 0.0497]
        return table

    rewrite(results, "tables/significance.csv", one_rejects)
    # With several replicates the primary hypotheses are in the tables over seeds.
    made = facts_of(results, config).made
    said = words_of(report.build(results, config), "answer")
    assert (
        "Tests that were planned as primary and reject at a corrected p of 0.05: Each loss" in said
    )
    assert (
        f"Of the {len(made):,} secondary tests 1 does: focal-r0 against cce-r0 "
        "(AUROC, viral, DeLong: p 0.0497)."
    ) in said


def test_ensembles_are_counted_by_what_their_members_are(
    page: str, study: tuple[Study, dict[str, Any]]
) -> None:
    """Three replicates of 5 methods and 2 sizes, 3 averages of ensembles, 2 averages of seeds."""
    made, config = study
    facts = facts_of(made.results, config)
    levels = [facts.level(test.a) for test in facts.against_best_member()]
    assert {level: levels.count(level) for level in set(levels)} == {
        "losses": 30,
        "ensembles": 3,
        "seeds": 2,
    }
    # Over seeds a kind of ensemble is one hypothesis, however many replicates there are.
    assert " of 10 kinds of ensembles of different losses " in words_of(page, "answer")


def test_heat_maps_open_with_their_verdict_against_a_uniform_map(
    changed: tuple[Path, dict[str, Any]],
) -> None:
    results, config = changed
    columns = ["model", "kind", "metric", "value", "ci_low", "ci_high"]
    rows = [
        ("uniform", "baseline", "energy_pointing_game", 0.240, 0.218, 0.262),
        ("cce-r0", "single", "energy_pointing_game", 0.254, 0.229, 0.280),
        ("focal-r0", "single", "energy_pointing_game", 0.247, 0.224, 0.270),
    ]

    def verdict(rows: list[tuple[Any, ...]]) -> str:
        table = pd.DataFrame(rows, columns=columns)
        table = table.assign(threshold=np.nan, n=60, n_flat=0, grid="4 x 4", reason="")
        table.to_csv(results / "tables/localisation.csv", index=False)
        return words_of(report.build(results, config), "gradcam")

    said = verdict(rows)
    assert said.partition(" ")[2].startswith(
        "Grad-CAM and localisation The share of heat in lesions is 0.247 to 0.254 over "
        "2 models, against 0.240 for a map of the same heat everywhere; the two could not be "
        "compared image by image."
    )
    assert "The maps are of 4 x 4 cells" in said
    page = report.build(results, config)
    table = re.search(r'<table id="rows-localisation".*?</table>', page, re.S)
    assert table is not None and re.findall(r"<th scope=row[^>]*><code>(\w+)", table[0]) == [
        "uniform",
        "cce",
        "focal",
    ]
    # The differences image by image see what overlapping intervals hide; after correction.
    columns += ["p_value", "p_adjusted"]
    rows = [(*row, np.nan, np.nan) for row in rows]
    rows += [
        ("cce-r0", "single", "energy_pointing_game_minus_uniform", 0.014, 0.003, 0.025, 0.01, 0.02),
        ("focal-r0", "single", "energy_pointing_game_minus_uniform", 0.01, 0.0, 0.018, 0.04, 0.06),
        (
            "focal-r0",
            "single",
            "energy_pointing_game_minus_baseline",
            -0.007,
            -0.01,
            0.0,
            0.03,
            0.03,
        ),
    ]
    said = verdict(rows)
    assert "image by image it is shown to be larger for 1 of them and smaller for none" in said
    assert "(t tests by patient, Holm-corrected over 2 models)" in said
    assert "not shown to point" not in said
    assert (
        "Compared with the baseline cce in the same way, it is shown to be larger for none of "
        "1 model and smaller for 1."
    ) in said
    assert "Shares of heat, image by image" in said
    rows[3] = (*rows[3][:6], 0.06, 0.12)
    said = verdict(rows)
    assert "larger for none of them and smaller for none" in said
    assert "The maps are not shown to point at lesions more than chance does" in said


# ---- studies of other shapes ----------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {"classes": 2, "losses": ["cce", "focal"], "ensembles": False, "gradcam": False},
        {"classes": 7, "losses": ["cce", "hinge", "focal"], "lesions": False, "test_images": 210},
        {"replicates": 10, "losses": ["cce", "focal"]},
        {"losses": ["cce"], "ensembles": False, "gradcam": False},
    ],
    ids=["two-classes-no-options", "seven-classes", "ten-replicates", "one-loss"],
)
def test_other_studies(tmp_path: Path, options: dict[str, Any]) -> None:
    options = {"save_images": False, "placeholder_figures": True} | options
    made = make(tmp_path, **options)
    text = report.build(made.results, complete(made.config))
    assert list(parsed(text).sections) == ORDER
    for section, said in parsed(text).sections.items():
        if section == "configuration":
            continue
        # "None" may begin a sentence.
        joined = "".join(said).replace("None of ", "").replace("None in ", "")
        for bad in ("nan", "None", "<NA>", "NaT", "{}"):
            assert not re.search(rf"(?<![\w-]){re.escape(bad)}(?![\w-])", joined), (section, bad)
    if not options.get("gradcam", True):
        assert "Grad-CAM is switched off" in text
    if not options.get("ensembles", True):
        assert "Ensembles are switched off" in text
    if options.get("classes") == 7:
        assert "Lesion masks are not known" in text
        assert "known lesions" not in words_of(text, "methods")
        assert "tuberculosis" in words_of(text, "singles")
    if options.get("replicates") == 10:
        assert "10 times from different seeds" in words_of(text, "training")


def test_an_empty_results_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    config = make(tmp_path / "other", losses=["cce"], save_images=False).config
    text = report.build(tmp_path / "nothing", complete(config))
    assert list(parsed(text).sections) == ORDER
    assert "This study has no evaluated models yet" in text


def test_damaged_files_are_named(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    (results / "data/downloads/phantom-cxr.json").write_text("{")
    with pytest.raises(UserError, match=r"phantom-cxr\.json is not readable JSON"):
        report.build(results, config)
    shutil.rmtree(results / "data/downloads")
    (results / "figures/splits.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"splits\.png is not a readable image"):
        report.build(results, config)
    (results / "figures/splits.png").unlink()
    (results / "tables/diversity.csv").write_bytes(b'a,b\n"1\n')
    with pytest.raises(UserError, match=r"diversity\.csv is not a readable table"):
        report.build(results, config)


# ---- parts ----------------------------------------------------------------------------------
def test_every_table_is_there_once_with_all_its_rows(
    page: str, study: tuple[Study, dict[str, Any]]
) -> None:
    made, config = study
    parts = report.sections(made.results, config, versions=VERSIONS, citation=CITATION)
    tables = [b for part in parts for b in part.blocks if isinstance(b, blocks.Table) and b.rows]
    assert sum(table.long for table in tables) >= 3
    shown = re.findall(r'<table id="rows-([^"]+)" class="sortable"( data-shown="12")?>', page)
    assert shown == [(t.id, ' data-shown="12"' if t.long else "") for t in tables]
    for table in tables:
        html = re.search(rf'<table id="rows-{table.id}".*?</table>', page, re.S)
        assert html is not None and html[0].count("<tr>") == len(table.rows) + 1


def test_a_table_is_long_from_25_rows_and_only_outside_a_fold() -> None:
    def long(rows: int, **options: Any) -> bool:
        frame = pd.DataFrame({"a": range(rows)})
        columns = [blocks.Column("a", "A", blocks.count)]
        return blocks.table("t", "T", "", frame, columns, **options).long

    assert [long(13), long(24), long(25), long(40)] == [False, False, True, True]
    assert not long(40, folded=True) and not long(40, shown=40)


def test_numbers_for_reading() -> None:
    assert blocks.number(-0.1234) == "\N{MINUS SIGN}0.123"
    assert blocks.number(-0.0001) == "0.000"
    assert blocks.number(math.nan) == "\N{EN DASH}"
    assert blocks.signed(0.05) == "+0.050"
    assert blocks.signed(0.0) == "0.000"
    assert blocks.p_value(0.0001) == "< 0.001"
    assert blocks.p_value(0.04) == "0.040"
    # No rounding to alpha: the reader must see on which side a value is.
    assert blocks.p_value(0.0497) == "0.0497" and blocks.p_value(0.0504) == "0.0504"
    assert blocks.p_value(0.05) == "0.050" and blocks.p_value(0.049996) == "0.049996"
    assert blocks.p_value(0.0497, 0.01) == "0.050" and blocks.p_value(0.0096, 0.01) == "0.0096"
    assert blocks.sort_key(-math.inf) == "-Infinity" and blocks.sort_key(math.nan) == ""
    assert blocks.interval(math.nan, 1) == ""
    assert blocks.interval(0.1, 0.2).split() == ["0.100", "to", "0.200"]
    assert blocks.listed(["a"]) == "a" and blocks.listed(["a", "b", "c"]) == "a, b and c"


def test_comparison_verdict_needs_a_rejection() -> None:
    def verdict(difference: float, reject: bool) -> str:
        return Comparison("a", "b", "mcc", difference, 0, 1, 0.01, 0.01, reject, "x").verdict

    assert [verdict(0.1, True), verdict(-0.1, True), verdict(0.1, False), verdict(0, True)] == [
        "better",
        "worse",
        "open",
        "open",
    ]


def test_large_images_are_packed_and_small_ones_kept(tmp_path: Path) -> None:
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (900, 2 * MAX_WIDTH, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "big.png"), noise)
    cv2.imwrite(str(tmp_path / "small.png"), noise[:20, :20])
    big, small = inline(tmp_path / "big.png"), inline(tmp_path / "small.png")
    assert (tmp_path / "big.png").stat().st_size > MAX_PNG_BYTES
    assert big.uri.startswith("data:image/webp;base64,") and big.width == MAX_WIDTH
    assert big.height == 450
    assert small.uri.startswith("data:image/png;base64,") and small.width == 20


def test_names_that_look_like_numbers_stay_text(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.csv").write_text(
        "image_id,label,patient_id,split,patient_known\n"
        "a,0,001,test,True\nb,1,1,test,True\nc,1,1.0,train,True\n"
    )
    facts = Facts(Results(tmp_path), {})
    assert facts.patients() == 3
    assert facts.patients("test") == 2

    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/degenerate.csv").write_text(
        "model,kind,split,problem,class,value,n,n_patients\n"
        "cce-r0,single,test,one_class_dominates,1,1,18,17\n"
        "cce-r0,single,test,no_better_than_chance,,0,18,17\n"
    )
    found = Facts(Results(tmp_path), {}).degenerate()["cce-r0"]
    assert faults.phrase(found) == "called all test images '1'"
