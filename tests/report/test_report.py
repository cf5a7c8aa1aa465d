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
import report_studies
from markupsafe import Markup
from multiloss import report
from multiloss.evaluation import families
from multiloss.figures import catalog
from multiloss.job.errors import UserError
from multiloss.report import blocks, templates
from multiloss.report.facts import Comparison, Facts
from multiloss.report.results import Results
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
        # What scripts hold is no word of a section.
        if tag == "script":
            self._current = []
        # The cards of the answer are sections within it.
        if tag == "section" and "id" in dict(attrs):
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
def present(*without: str) -> list[str]:
    """The sections of a study, but for those and those that only some studies ask for."""
    asked = {"cases", "external", "subgroups", "folds", *without}
    files = sorted(path.name for path in templates.FOLDER.glob("[0-9]*"))
    names = [name.removesuffix(templates.ENDING).partition("_")[2] for name in files]
    assert asked <= set(names)
    return [name for name in names if name not in asked]


def test_sections_stand_in_the_order_of_the_study(page: str) -> None:
    assert list(parsed(page).sections) == present()


def test_page_needs_nothing_from_outside(page: str) -> None:
    for tag, attributes in parsed(page).tags:
        for key in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(key) or ""
            places = ("data:", "#")
            # A link that a reader may follow.
            places += ("https://doi.org/", "https://arxiv.org/abs/") if tag == "a" else ()
            assert value.startswith(places) or not value, (tag, key, value[:80])
    assert "default-src 'none'" in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_every_image_and_table_is_described(page: str) -> None:
    tags = parsed(page).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert not [tag for tag, _ in tags if tag == "img"]
    drawings = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(drawings) == len(re.findall("<figure ", page)) > 0
    for drawing in drawings:
        # What it is, and what of the data it shows.
        assert drawing["role"] == "img"
        assert (drawing["aria-label"] or "").endswith(". n = 120 images of 103 patients.")
    regions = [attributes for _, attributes in tags if attributes.get("class") == "scroll"]
    assert len(regions) == page.count("<caption>") > 0
    for region in regions:
        assert region["tabindex"] == "0" and re.fullmatch(r"Table \d+", region["aria-label"] or "")
    all_ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(all_ids) == len(set(all_ids))
    links = [a["href"] for tag, a in tags if tag == "a" and a.get("href")]
    assert {link[1:] for link in links if link.startswith("#")} <= ids


def test_every_figure_of_the_catalogue_is_shown_once(
    page: str, study: tuple[Study, dict[str, Any]]
) -> None:
    made, _ = study
    names = sorted(path.stem for path in (made.results / "figures").glob("*.svg"))
    shown = re.findall(r'<figure id="figure-([^"]+)"', page)
    assert sorted(shown) == names


def test_captions_hold_the_facts_of_the_data(page: str) -> None:
    """What the drawing functions found out stands at the end of each caption."""
    captions = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", page, re.DOTALL)
    assert captions
    for caption in captions:
        assert "n = 120 images of 103 patients." in caption


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
    largest = max(abs(mean) for mean in means.values())
    assert f"the largest of these ({largest:.2f})" in words_of(page, "answer")


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
    told = f"{difference:+.2f} (KL divergence − cross-entropy).".replace("-0.", "−0.")
    assert f"Their MCC differs by {told}" in said
    (other,) = facts.against_baseline(["focal-r0"])
    larger = abs(other.difference) > abs(difference)
    compared = "The one difference between another loss and cross-entropy is"
    assert f"{compared} {'larger than' if larger else 'no larger than'} the" in said


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
    assert "1 model is without results: focal loss (run 1)." in words_of(text, "answer")
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
        "None of the 3 other objectives differs significantly from cross-entropy in MCC: "
        f"differences are {min(sizes, key=float)} to {max(sizes, key=float)}; all adjusted "
        f"p \u2265 {least:.3f}."
    ).replace(" -", " \N{MINUS SIGN}")
    rewrite(results, "tables/replicate_comparisons.csv", of_losses(focal=-0.2))
    assert finding_of(results, config, "singles") == (
        "Focal loss is significantly worse than cross-entropy in MCC, with a difference of "
        "\u22120.20 (95% CI \u22120.30 to \u22120.10; adjusted p = 0.012); the other 2 comparisons "
        "are not significant."
    )
    rewrite(results, "tables/replicate_comparisons.csv", of_losses(calibrated_cce=0.3))
    assert finding_of(results, config, "singles") == (
        "Calibrated cross-entropy is significantly better than cross-entropy in MCC, and focal "
        "loss is significantly worse; the other comparison is not significant."
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
    assert difference["cross-entropy"] == blocks.DASH


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
        "1 of 18 training runs failed, since the loss was not a number any more: focal loss "
        "(run 1)."
    )


# ---- other sections -----------------------------------------------------------------------


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


def test_a_new_metric_stands_in_the_table_of_metrics(
    study: tuple[Study, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, config = study
    new = metrics.Metric("error_rate", "Error rate", "Proportion wrong", False, show=metrics.MAIN)
    monkeypatch.setitem(metrics.METRICS, "error_rate", new)
    facts = facts_of(made.results, config)
    rows = facts.all_metrics[facts.all_metrics["metric"] == "accuracy"].assign(metric="error_rate")
    facts.__dict__["all_metrics"] = pd.concat([facts.all_metrics, rows], ignore_index=True)
    columns = table_of(report_studies.sections(facts)["singles"], "singles-runs").columns
    heads = {column.key: column for column in columns}
    assert heads["error_rate"].label == "Error rate"
    assert heads["error_rate"].help == "Proportion wrong; lower is better"
    assert heads["error_rate"].more and not heads["mcc"].more
    assert list(heads)[:2] == ["model", "mcc"] and "brier_reliability" not in heads


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


def test_without_the_collapsed_nothing_is_said_of_calibration(tmp_path: Path) -> None:
    results, config = collapsed_study(tmp_path, ("hinge", "calibrated_cce"))
    facts = facts_of(results, config)
    assert facts.collapsed_singles == ["calibrated_cce-r0", "hinge-r0"]
    # Their pair says nothing of calibration, however large its difference.
    said = words_of(report.build(results, config), "calibration")
    assert "Whether the calibration term helps cannot be told here" in said
    assert (
        "Left out: calibrated cross-entropy†, since a run of it or of its plain form tells no "
        "classes apart"
    ) in said


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
    assert "on the test split it called all images ‘normal’" in words_of(page, "training")
    assert "hinge loss† called all images ‘normal’" in words_of(page, "singles")
    # Sorting by name is not disturbed by the mark.
    assert 'data-v="hinge loss"' in page


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
    assert "none of the 41 ‘normal’ and none of the 1,026 ‘viral’ test images" in said
    assert "On the ensemble split cross-entropy (run 1) did no better than chance." in words_of(
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
        assert "Patients are unknown. Images were treated as independent" in sections["answer"]
        assert "n = 120 images (patients unknown)" in sections["singles"]
        losses = section_of(made.results, complete(made.config), "singles")
        how = table_of(losses, "singles-test").how
        assert "bootstrap on a transformed scale over images" in how
        assert "were divided by image, stratified by class" in sections["methods"]
        assert (
            "Patients were unknown; these images were assumed to be independent"
            in (sections["methods"])
        )
        assert "Patients are unknown. Each image counts as" in sections["data"]
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
        "4 files were excluded (2 duplicates of images, 1 of a class outside this study and 1 "
        "unusable)."
    )
    left = (
        "2 images were excluded from training because their patients are also in the test split. "
        "1 lung image was excluded from training because its patient is also in the segmentation "
        "test set."
    )
    data = words_of(page, "data")
    assert f"{told} 2 images were kept with a remark. {left}" in data
    assert "7 rows, each with its reason" in data
    assert "3 images excluded from training because the patient" in data
    assert "is the same child" not in data  # said of the published set alone
    assert (
        "4 files were excluded (2 duplicates of images, 1 of a class outside this study and 1 "
        "unusable). 2 images were excluded from training because their patients are also in the "
        "test split. 1 lung image was excluded from training because its patient is also in the "
        "segmentation test set."
    ) in words_of(page, "methods")
    assert "4 files left out as unusable, not needed or copies, 2 images of test patients" in (
        words_of(page, "checklist")
    )
    for name in ("rejected", "dropped"):
        rewrite(results, f"data/{name}.csv", lambda table: table.iloc[:0])
    data = words_of(report.build(results, config), "data")
    assert "No file was excluded as unusable, a duplicate or of another class. No image had" in data


@pytest.mark.parametrize(
    ("splits", "told", "checked"),
    [
        ({"test": "shipped"}, "The test split is the one supplied with the data", True),
        (
            {"test": "shipped", "recurring_patients": "resplit"},
            "so a new test split of its size was drawn at random",
            False,
        ),
        ({"test": 0.2}, "The test split is a random 20% of the patients", False),
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
    end = titles.index("Heat maps")
    assert titles[end + 1 : end + 3] == ["Rooms & <doors>", "Other"]
    assert shown["figure-new_room"].title == "Rooms & <doors>"
    assert shown["figure-new_too"].title == "Other"
    assert len({section.id for section in parts}) == len(parts)


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
    assert "none of the 2 calibrated losses is significantly better calibrated" in said
    assert (
        "Without a plain form to compare with: calibrated focal loss (focal is there with other "
        "parameters)." in said
    )


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
    assert " of 11 kinds of ensembles " in words_of(page, "answer")


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
    absent = [] if options.get("gradcam", True) else ["heat_maps"]
    assert list(parsed(text).sections) == present(*absent)
    for section, said in parsed(text).sections.items():
        if section == "configuration":
            continue
        # "None" may begin a sentence.
        joined = re.sub(r"\bNone(?=\s+[a-z])", "", "".join(said))
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
    assert list(parsed(text).sections) == present("heat_maps")
    assert "This study has no evaluated models yet" in text


def test_damaged_files_are_named(changed: tuple[Path, dict[str, Any]]) -> None:
    results, config = changed
    (results / "data/downloads/phantom-cxr.json").write_text("{")
    with pytest.raises(UserError, match=r"phantom-cxr\.json is not readable JSON"):
        report.build(results, config)
    shutil.rmtree(results / "data/downloads")
    (results / "figures/splits.svg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"splits\.svg is not a readable SVG"):
        report.build(results, config)
    (results / "figures/splits.svg").unlink()
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
    shown = re.findall(r'<table id="rows-([^"]+)" class="sortable"( data-shown="12")?', page)
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
