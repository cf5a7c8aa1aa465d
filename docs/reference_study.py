"""The reference study: its pages in docs/reference-study/, and what README says of it.

    .venv/bin/python docs/reference_study.py results/kermany-224 workflow/studies/kermany-224.yaml

takes the tables, figures and first screen of a finished study (further configs lie over the first,
as for Snakemake) and writes docs/reference-study/: the text from reference_study.md.j2, every
number in it as facts.json, the tables behind it. With `--evaluated FOLDER` they are those of the
same trainings in a clone of later code, which is told beside the code that trained.
Without arguments only the texts are written, from the tables that are there. Nothing of single
images or patients is copied.
"""

import argparse
import dataclasses
import filecmp
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

import pandas as pd  # noqa: E402
import yaml  # noqa: E402
from markupsafe import Markup  # noqa: E402
from multiloss import config as study_config  # noqa: E402
from multiloss import references  # noqa: E402
from multiloss.data.sources import addresses  # noqa: E402
from multiloss.evaluation import families  # noqa: E402
from multiloss.figures import catalog  # noqa: E402
from multiloss.job.errors import UserError  # noqa: E402
from multiloss.job.files import write_csv, write_text  # noqa: E402
from multiloss.report import cards, glossary, templates  # noqa: E402
from multiloss.report.calibration import Calibration  # noqa: E402
from multiloss.report.facts import Comparison, Estimate, Facts, PrimaryFamily  # noqa: E402
from multiloss.report.figures import Figures  # noqa: E402
from multiloss.report.names import Names  # noqa: E402
from multiloss.report.results import Results  # noqa: E402
from multiloss.report.software import Software  # noqa: E402
from multiloss.study import BEST_SINGLE  # noqa: E402

FOLDER = ROOT / "docs" / "reference-study"
PAPER = Path(__file__).with_name("rajaraman2021.yaml")
# The settings that were tried with the first run of the baseline loss before the study ran.
TRIED = Path(__file__).with_name("reference_study_settings.csv")
TEXT, BLOCK = "reference_study.md.j2", "reference_study_block.md.j2"
MARKS = ("<!-- study: written by docs/reference_study.py -->", "<!-- /study -->")
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
SCREEN = (1280, 1000)
# Pixels that a figure is wide, and bytes up to which its SVG is copied, too.
WIDTH, SMALL = 1400, 150_000
# Tables of points, which the figures draw and nobody reads; and columns that name images.
POINTS = {"curves", "calibration_curves", "calibration_histograms", "net_benefit"}
POINTS |= {"net_benefit_differences", "probabilities"}
NAMING = {"image_id", "patient_id", "path"}
# Of the largest tables no rows of these splits, which are no results.
BESIDE = ("train", "val", "ensemble")
OTHERS = (
    *("data/models.csv", "ensembles/chosen.csv", "ensembles/members.csv"),
    *("ensembles/weights.csv", "segmentation/scores.csv"),
)
LOSS_FAMILIES = (families.BASELINE, families.REPEATED_BASELINE, families.NOISE_FLOOR)
COUNTS, TIMES = "data/images.csv", "data/times.csv"


class Published(Facts):
    """A study as docs/reference-study/ has it: images are counted there, not listed."""

    def __init__(self, folder: Path) -> None:
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        super().__init__(Results(folder, sorted(folder.rglob("*.csv"))), settings)

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """As many images and patients as there were, without their names."""
        rows = []
        for split, counts in self.results.table(COUNTS).groupby("split", sort=False):
            labels = counts["label"].repeat(counts["images"]).tolist()
            patients, unknown = (int(counts[key].iloc[0]) for key in ("patients", "unknown"))
            rows += [
                (label, split, f"{split} {number % patients}", number >= unknown)
                for number, label in enumerate(labels)
            ]
        return pd.DataFrame(rows, columns=["label", "split", "patient_id", "patient_known"])

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        return self.results.table(TIMES).to_dict("records")


def settings_of(paths: Sequence[Path]) -> dict[str, Any]:
    """The config that Snakemake takes from these files, each over those before."""
    from snakemake.utils import update_config

    given = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for path in paths:
        update_config(given, yaml.safe_load(path.read_text(encoding="utf-8")))
    return study_config.validate(given)


# ---- what is copied from a finished study ----------------------------------------------------
def copy_tables(facts: Facts, folder: Path) -> None:
    """Tables without a row for each image, and how many images and patients there were."""
    results = facts.results.root
    for path in sorted((results / "tables").glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if path.stem in POINTS or NAMING & set(table.columns):
            continue
        if path.stem == "leakage":  # its remarks give examples by name
            table["detail"] = ""
        elif path.stem in ("metrics", "calibration_scores"):
            table = table[~table["split"].isin(BESIDE)]
        write_csv(table, folder / "tables" / path.name)
    for name in OTHERS:
        if facts.results.path(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(results / name, folder / name)
    counts = [
        {"split": split, "label": label, "images": number, "patients": facts.patients(split),
         "unknown": round(facts.unknown(split) * facts.images(split))}
        for split in facts.class_counts
        for label, number in facts.class_sizes(split).items()
    ]  # fmt: skip
    write_csv(pd.DataFrame(counts), folder / COUNTS)
    write_csv(pd.DataFrame(facts.steps), folder / TIMES)
    local = without_places(facts.config)
    write_text(yaml.safe_dump(local, sort_keys=False, allow_unicode=True), folder / "config.yaml")


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config; of a file on this machine its name alone."""
    return _renamed(json.loads(json.dumps(addresses.without_secrets(config))))


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _place(one) if key in addresses.KEYS and isinstance(one, str) else _renamed(one)
        for key, one in value.items()
    }


def _place(url: str) -> str:
    return url if addresses.is_remote(url) else Path(url).name


def run_of(facts: Facts, trained: Path, configs: Sequence[Path]) -> dict[str, Any]:
    """What was run, which no table has: versions, digests, sources, files left out."""
    results = trained.resolve()
    main = configs[0].resolve()
    clone = _git(results, "rev-parse", "--show-toplevel")
    told = {package.name: package for package in Software(facts.results, {}, {}).packages}
    root = clone if clone and main.is_relative_to(clone) else ROOT
    if not main.is_relative_to(root):
        raise UserError(f"{configs[0]}: give the config of the repository that was run")
    return {
        "config": main.relative_to(root).as_posix(),
        "config_sha256": hashlib.sha256(main.read_bytes()).hexdigest(),
        **code_of(results),
        "versions": {
            name: list(told[name].trainings)
            for name in ("python", "tensorflow", "keras")
            if name in told
        },
        "dropped": len(facts.dropped()),
        "left_out": facts.left_out_kinds,
        "epochs": [one["epochs"] for one in facts.trainings()],
        "failed": [one["model"] for one in facts.trainings() if one["failed"]],
        "sources": sources_of(facts, settings_of(configs[:1])),
    }


def code_of(results: Path) -> dict[str, Any]:
    """The clone that holds the results: its `commit` and `tag`, git's digest of the `code`, and
    whether files of it were `changed`; empty where there is none."""
    clone = Path(_git(results, "rev-parse", "--show-toplevel") or results)
    return {
        "commit": _git(clone, "rev-parse", "HEAD"),
        "tag": _git(clone, "describe", "--tags", "--exact-match"),
        "code": _git(clone, "rev-parse", "HEAD:workflow"),
        "changed": bool(_git(clone, "status", "--porcelain", "--", "workflow", "config.yaml")),
    }


def sources_of(facts: Facts, named: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where images came from; `instead_of`: the address that the published config names."""
    public = {one["name"]: addresses.public(one["url"]) for one in named["data"]["sources"]}
    found = []
    for one in map(facts.provenance, facts.sources()):
        own = {key: one.get(key) for key in ("name", "role", "sha256", "license", "citation")}
        own["file"] = _place(str(one["url"]))
        other = public.get(one["name"], "")
        own["instead_of"] = other if addresses.is_remote(other) and other != one["url"] else ""
        found.append(own)
    return found


def _git(folder: Path, *arguments: str) -> str:
    """What git says of the clone that holds a folder; empty where it says nothing."""
    command = ["git", "-C", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def take_pictures(results: Path, settings: Mapping[str, Any], folder: Path) -> None:
    """The main figures, narrow enough for a page, and the report's first screen."""
    import cv2

    (folder / "figures").mkdir(exist_ok=True)
    for name in main_figures(settings):
        path = results / "figures" / f"{name}.png"
        if not path.is_file():
            continue
        image = cv2.imread(str(path))
        if image.shape[1] > WIDTH:
            height = round(image.shape[0] * WIDTH / image.shape[1])
            image = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
        options = [cv2.IMWRITE_PNG_COMPRESSION, 9]
        cv2.imwrite(str(folder / "figures" / path.name), image, options)
        drawing = path.with_suffix(".svg")
        if drawing.is_file() and drawing.stat().st_size <= SMALL:
            shutil.copyfile(drawing, folder / "figures" / drawing.name)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError("no Chromium, which takes the first screen: install one")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--force-color-profile=srgb"]
    size = f"--window-size={SCREEN[0]},{SCREEN[1]}"
    picture = f"--screenshot={folder / 'first-screen.png'}"
    page = (results / "report.html").resolve().as_uri()
    subprocess.run([browser, *options, size, picture, page], check=True, capture_output=True)


def main_figures(settings: Mapping[str, Any]) -> dict[str, str]:
    """Titles of the figures for a paper by their names, in the order of their numbers."""
    found = [figure for figure in catalog.figures(settings).values() if figure.main is not None]
    return {figure.name: figure.title for figure in sorted(found, key=lambda one: one.main)}


# ---- numbers of the text ---------------------------------------------------------------------
def optimism_of(facts: Facts) -> list[dict[str, Any]]:
    """By kind of ensemble, and of the best single model, means over runs of optimism.csv."""
    table = facts.results.table("tables/optimism.csv")
    if table.empty:
        return []
    table = table[table["metric"] == facts.tested]
    keys = ["ours", "out_of_bag", "as_published", "optimism"]
    means = table.groupby(["method", "k"], sort=False)[keys].mean().reset_index()
    kinds = {(m.method, m.k): m.family for m in facts.planned.values() if m.level == "prediction"}
    return [
        row | {"kind": "" if row["method"] == BEST_SINGLE else kinds[row["method"], row["k"]]}
        for row in means.to_dict("records")
    ]


def claims_of(facts: Facts) -> dict[str, dict[str, int]]:
    """What comparing the published intervals of single runs, as published, would have claimed.

    By question how many comparisons there are (`of`), and in how many the first model's interval
    lies wholly above (`better`) or below (`worse`) the second's.
    """
    pairs = {
        "loss": [(name, facts.study.run(facts.baseline_loss, facts.planned[name].replicate).name)
                 for name in facts.singles if facts.planned[name].family != facts.baseline_loss],
        "ensemble": [(name, facts.best_member(name)) for name in facts.ensembles
                     if facts.level(name) == "losses"],
    }  # fmt: skip
    found = {}
    for question, compared in pairs.items():
        known = [(facts.published.get(a), facts.published.get(b)) for a, b in compared]
        told = [(a, b) for a, b in known if a and b and a.low == a.low and b.low == b.low]
        found[question] = {
            "of": len(told),
            "better": sum(a.low > b.high for a, b in told),
            "worse": sum(a.high < b.low for a, b in told),
        }
    return found


def verdicts_of(facts: Facts) -> dict[str, dict[str, int]]:
    """By question how many primary comparisons have each verdict of verdicts.csv."""
    table = facts.results.table("tables/verdicts.csv")
    if table.empty:
        return {}
    table = table[table["verdict"].notna()]
    return {
        str(question): part["verdict"].value_counts(sort=False).to_dict()
        for question, part in table.groupby("question", sort=False)
    }


def counterpart(facts: Facts) -> str | None:
    """The first run's average of model-level ensembles, which is the paper's best model."""
    averages = (name for name in facts.ensembles if facts.level(name) == "ensembles")
    return min(averages, key=lambda name: facts.planned[name].replicate, default=None)


def mask_of(facts: Facts) -> dict[str, Any] | None:
    """The row of the combined lung mask on the segmentation test set."""
    rows = facts.results.table("segmentation/scores.csv")
    if rows.empty:
        return None
    networks = [entry["name"] for entry in facts.config["segmentation"]["losses"]]
    rows = rows[(rows["split"] == "test") & ~rows["loss"].isin(networks)]
    return None if rows.empty else rows.to_dict("records")[0]


def paper() -> dict[str, Any]:
    """The original study's results; `cited`: where they are from."""
    known = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    return known | {"cited": references.cited(known["source"])}


def tried(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings that were tried for a config, and the MCC of each on val and ensemble."""
    table = pd.read_csv(TRIED)
    return table[table["config"] == run["config"]].to_dict("records")


def numbers(facts: Facts, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every number of the text by name: its `value`, and the `table` that has it."""
    found: dict[str, dict[str, Any]] = {}

    def take(name: str, value: Any, table: str) -> None:
        for key, one in _leaves(name, value):
            found[key] = {"value": one, "table": table}

    settings, training = facts.config, facts.config["classification"]["training"]
    told = {
        "replicates": facts.replicates,
        "losses": len(facts.losses),
        "image_size": settings["classification"]["image_size"],
        "epochs": training["epochs"],
        "top_k": settings["ensembles"]["top_k"],
        "alpha": facts.alpha,
        "confidence": settings["evaluation"]["confidence"],
        "power": 0.8,
        "margin": settings["significance"]["equivalence_margin"],
    }
    take("settings", told, "config.yaml")
    for split in (None, *facts.class_counts):
        own = {"images": facts.images(split), "patients": facts.patients(split)}
        own |= {"classes": facts.class_images(split)}
        take(f"images.{split or 'all'}", own, COUNTS)
    for step in facts.steps:
        own = {"jobs": step["jobs"], "hours": step["seconds"] / 3600}
        take(f"hours.{step['rule']}", own, TIMES)
    take("hours.all", sum(step["seconds"] for step in facts.steps) / 3600, TIMES)
    take("hours.jobs", sum(step["jobs"] for step in facts.steps), TIMES)

    kinds = {"loss": "single", "ensemble": "ensemble"}
    for what, kind in kinds.items():
        for family, row in facts.over_runs(kind).items():
            keys = ("replicates", "mean", "sd", "minimum", "maximum")
            take(f"{what}.{family}", {key: row[key] for key in keys}, "tables/replicates.csv")
    for name in facts.models("single", "ensemble", "seed_ensemble"):
        take(f"model.{name}.mcc", facts.value(name), "tables/metrics.csv")
        take(f"model.{name}.published", facts.published.get(name), "tables/metrics.csv")
    compared = {role: facts.chosen(role) for role in ("single", "ensemble")}
    for role, model in (compared | {"counterpart": counterpart(facts)}).items():
        if model:
            for metric in (*paper()["metrics"], facts.tested):
                take(f"{role}.{metric}", facts.value(model, metric), "tables/metrics.csv")
    for test in [*facts.loss_tests, *facts.crossed_repeated]:
        take(f"loss.{test.a}.test", _test(test), _source_of(facts, test))
    for against in ("best_member", "seed_average"):
        for name in [*facts.over_runs("ensemble"), *facts.ensembles, *facts.seed_ensembles]:
            if test := facts.ensemble_test(name, against):
                take(f"ensemble.{test.a}.{against}", _test(test), _source_of(facts, test))
    for role in ("single", "ensemble"):
        if facts.chosen(role) and (test := facts.against_single(facts.chosen(role))):
            take(f"{role}.best_single", _test(test), "tables/significance.csv")
    for family in facts.primary_families:
        own = {"hypotheses": family.hypotheses, "rejected": family.rejected}
        take(f"family.{family.name}", own, _source_of(facts, family))
    take("secondary.tests", len(facts.secondary), "tables/significance.csv")
    take("secondary.hits", [hit.p_value for hit in facts.hits[:3]], "tables/significance.csv")
    take("secondary.significant", len(facts.hits), "tables/significance.csv")
    take("secondary.further", max(0, len(facts.hits) - 3), "tables/significance.csv")
    if floor := facts.floor:
        source = _source_of(facts, floor.pairs[0])
        take("floor.pairs", [test.difference for test in floor.pairs], source)
        told = {"largest": floor.largest, "others": floor.others, "within": floor.within}
        take("floor", told, source)
    take("spread", facts.spread, "tables/seed_spread.csv")
    take("seeds", facts.seed_values, "tables/metrics.csv")
    take("seeds.runs", len(facts.seed_values), "tables/metrics.csv")
    verdicts = verdicts_of(facts)
    take("verdicts", verdicts, "tables/verdicts.csv")
    for what, names in (("comparisons", None), ("differ", {"better", "worse"})):
        told = [n for part in verdicts.values() for name, n in part.items()
                if names is None or name in names]  # fmt: skip
        take(f"verdicts.{what}", sum(told), "tables/verdicts.csv")
    for question, part in verdicts.items():
        take(f"verdicts.{question}.comparisons", sum(part.values()), "tables/verdicts.csv")
    for question in kinds:
        take(f"detectable.{question}", facts.detectable(question), "tables/verdicts.csv")
    claims = facts.results.table("tables/verdicts.csv")
    if not claims.empty:
        claims = claims[claims["question"] == "claim"]
        keys = ["p_false_claim", "p_false_claim_clustered"]
        take("claims", claims[keys].to_dict("records"), "tables/verdicts.csv")

    calibration = Calibration(facts)
    source = "tables/calibration_comparisons.csv"
    take("calibration.errors", calibration.errors, "tables/calibration_scores.csv")
    if told := calibration.compared():
        words = ("losses", "better", "worse", "void")
        take("calibration", {key: len(getattr(told, key)) for key in words}, source)
        take("calibration.hypotheses", told.hypotheses, source)
    for row in calibration.differences():
        keys = ("difference", "ci_low", "ci_high", "p_adjusted")
        take(f"calibration.{row['loss']}", {key: row[key] for key in keys}, source)
    for model in calibration.key_models:
        scores = calibration.scores(model)
        for metric in ("mean_confidence", "overconfidence", "calibration_slope", "ece"):
            if metric in scores:
                own = {key: scores[metric][key] for key in ("value", "ci_low", "ci_high")}
                take(f"calibration.{model}.{metric}", own, "tables/calibration_scores.csv")
        take(f"calibration.{model}.accuracy", facts.value(model, "accuracy"), "tables/metrics.csv")
    for measure in ("energy_pointing_game", "lung_share"):
        take(f"heat.{measure}", facts.heat(measure), "tables/localisation.csv")
    take("diversity", facts.disagreement, "tables/diversity.csv")
    for row in facts.results.table("segmentation/scores.csv").to_dict("records"):
        if row["split"] == "test":
            own = {key: value for key, value in row.items() if key.startswith(("n", "dice"))}
            take(f"masks.{row['loss']}", own, "segmentation/scores.csv")
    take("optimism", facts.optimism, "tables/optimism.csv")
    for row in optimism_of(facts):
        take(f"optimism.{row['kind'] or 'best_single'}", row, "tables/optimism.csv")
    take("overlap", claims_of(facts), "tables/metrics.csv")
    audit = facts.results.table("tables/leakage.csv")
    if not audit.empty:
        verdicts = audit["verdict"].value_counts(sort=False).to_dict()
        take("leakage", verdicts | {"checks": len(audit)}, "tables/leakage.csv")
    readings = "tables/patient_readings.csv"
    for row in facts.results.table(readings).to_dict("records"):
        take(f"patients.{row['source']}.{row['reading']}", row, readings)
    for model, entry in facts.degenerate().items():
        told = {"never": entry.never, "share": entry.share, "chance": entry.chance}
        take(f"degenerate.{model}", told, "tables/degenerate.csv")
    take("degenerate", {"collapsed": len(facts.collapsed_singles), "singles": len(facts.singles)},
         "tables/degenerate.csv")  # fmt: skip
    take("tried", tried(run), f"../{TRIED.name}")
    take("seeds.enough", facts.enough_seeds, "config.yaml")
    take("missing", len(facts.missing_models), "tables/metrics.csv")
    known = paper()
    take("paper", {key: known[key] for key in ("image_size", "test_images")}, f"../{PAPER.name}")
    take("paper", known["metrics"], f"../{PAPER.name}")
    return found


def _source_of(facts: Facts, test: Comparison | PrimaryFamily) -> str:
    """The table that has a test, or a family of them."""
    if not test.seeds:
        return "tables/significance.csv"
    if facts.folds:
        return "tables/fold_comparisons.csv"
    name = test.family if isinstance(test, Comparison) else test.name
    of_losses = families.of_column(name)[0] in LOSS_FAMILIES
    return f"tables/{'replicate' if of_losses else 'ensemble'}_comparisons.csv"


def _test(test: Comparison) -> dict[str, float]:
    told = {"difference": test.difference, "low": test.low, "high": test.high}
    return told | {"p_adjusted": test.p_adjusted, "hypotheses": test.hypotheses}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """The numbers within a value by their names; text and what is not defined has none."""
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        items = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(number), one) for number, one in enumerate(value)]
    else:
        if not isinstance(value, str | bool) and value is not None and not pd.isna(value):
            plain = float(f"{float(value):.10g}")
            yield name, int(plain) if plain.is_integer() else plain
        return
    for key, one in items:
        yield from _leaves(f"{name}.{key}", one)


# ---- texts -----------------------------------------------------------------------------------
class _Plain(Names):
    """Names of models without markup, with a dagger where they tell no classes apart."""

    def __call__(self, name: str) -> Markup:
        return Markup(super().__call__(name).striptags())


def text(facts: Facts, run: Mapping[str, Any]) -> str:
    """The two pages, as Markdown."""
    names = _Plain(facts)

    def finding(file: str) -> str:
        """What a section of the report found, in plain words."""
        found = templates.section(f"{file}{templates.ENDING}", facts, Figures(facts), {})
        return " ".join(Markup(found.finding).striptags().split())

    given = {
        "run": run,
        "finding": finding,
        "name": names,
        "names": names.listed,
        "term": lambda key, words="": words or glossary.known()[key]["term"],
        "table_ref": lambda name: "`tables/significance.csv`",
        "optimism": optimism_of(facts),
        "claims": claims_of(facts),
        "mask": mask_of(facts),
        "paper": paper(),
        "tried": tried(run),
        "pictures": main_figures(facts.config),
        "counterpart": counterpart(facts),
        "verdicts": verdicts_of(facts),
    }
    folders = [Path(__file__).parent, templates.FOLDER, cards.FOLDER]
    filters = {"md": cards.quoted}
    return reflowed(templates.markdown(folders, TEXT, facts, filters, given))


def summary(facts: Facts, run: Mapping[str, Any]) -> dict[str, Any]:
    """What README's paragraph says."""
    chosen, able = facts.chosen("single"), facts.detectable("loss")
    mcc = facts.value(chosen) if chosen else Estimate(math.nan, math.nan, math.nan)
    answer = templates.section(f"10_answer{templates.ENDING}", facts, Figures(facts), {}).finding
    return {
        "study": facts.config["study"],
        "config": run["config"],
        "size": facts.config["classification"]["image_size"],
        "images": len(facts.divided),
        "patients": facts.patients(),
        "runs": facts.replicates,
        "epochs": facts.config["classification"]["training"]["epochs"],
        "answer": " ".join(Markup(answer).striptags().split()),
        "chosen": facts.label(chosen) if chosen else None,
        "mcc": [mcc.value, mcc.low, mcc.high],
        "test": str(templates.words(f"study{templates.ENDING}", "size", facts, "test")),
        "detectable": None if able is None else able[0],
    }


def block(told: Mapping[str, Any], folder: str) -> str:
    """README's paragraph of a study, whose pictures lie in `folder`; see `summary`."""
    made = templates.environment(Path(__file__).parent, escape=False)
    words = made.get_template(BLOCK).render(told, folder=folder)
    return reflowed(words).rstrip()


def reflowed(markdown: str) -> str:
    """Paragraphs and items in lines of up to 100 letters; tables, headings and pictures as is."""
    found = []
    for part in re.split(r"\n\s*\n", markdown.strip()):
        lines = [line.strip() for line in part.strip().splitlines() if line.strip()]
        if not lines:
            continue
        if lines[0].startswith(("|", "#", "[![", "!", "    ")) or part.startswith("    "):
            found.append("\n".join(lines if lines[0][0] in "|#[!" else part.splitlines()))
            continue
        items = re.split(r"\n(?=- )", "\n".join(lines))
        found.append("\n".join(_filled(" ".join(item.split())) for item in items))
    # Rows of a table stand together.
    return re.sub(r"\n{2,}(?=\|)(?<=\|\n\n)", "\n", "\n\n".join(found)) + "\n"


def _filled(words: str) -> str:
    indent = "  " if words.startswith("- ") else ""
    return textwrap.fill(
        words, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def write_texts() -> None:
    """The pages of the study that is there, its facts, and README's paragraph."""
    run, facts = known_run(FOLDER), Published(FOLDER)
    write_text(dumped(run, numbers(facts, run)), FOLDER / "facts.json")
    write_text(text(facts, run), FOLDER / "README.md")
    write_readme(readme_block())


def readme_block() -> str:
    """README's paragraph of the reference study."""
    told = summary(Published(FOLDER), known_run(FOLDER))
    return block(told, FOLDER.relative_to(ROOT).as_posix())


def known_run(folder: Path) -> dict[str, Any]:
    """What facts.json says of what was run."""
    return json.loads((folder / "facts.json").read_text(encoding="utf-8"))["run"]


def dumped(run: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The text of facts.json."""
    lines = [f"  {json.dumps(name)}: {json.dumps(fact)}" for name, fact in found.items()]
    told = json.dumps(run, indent=1, ensure_ascii=False)
    return f'{{"run": {told},\n"numbers": {{\n' + ",\n".join(lines) + "\n}}\n"


def write_readme(words: str) -> None:
    path = ROOT / "README.md"
    known = path.read_text(encoding="utf-8")
    between = re.compile(f"(?<={re.escape(MARKS[0])}\n).*?(?={re.escape(MARKS[1])})", re.DOTALL)
    path.write_text(between.sub(lambda _: f"{words}\n", known), encoding="utf-8")


def publish(
    trained: Path, configs: Sequence[Path], folder: Path, evaluated: Path | None = None
) -> None:
    """Fill the folder from a finished study; what was there stays until that has worked.

    `evaluated`: the study `trained` in another clone, whose tables and figures are taken. Raises
    UserError where the study has no report, its first screen cannot be taken, or something is
    predicted otherwise in `evaluated`.
    """
    results = evaluated or trained
    if not (results / "report.html").is_file():
        raise UserError(f"{results} has no report.html: finish the study first")
    for path in [trained / "data/manifest.csv", *sorted((trained / "predictions").glob("*.csv"))]:
        other = results / path.relative_to(trained)
        if not other.is_file() or not filecmp.cmp(path, other, shallow=False):
            raise UserError(f"{other} is not {path}: give the same trainings, evaluated otherwise")
    settings = settings_of(configs)
    facts = Facts(Results(results), settings)
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    copy_tables(facts, made)
    run, told = run_of(facts, trained, configs), Published(made)
    run["evaluated"] = code_of(evaluated) if evaluated else None
    if told.patients() != facts.patients():
        raise UserError(f"{results}/data/manifest.csv: a patient is in two splits")
    write_text(dumped(run, numbers(told, run)), made / "facts.json")
    write_text(text(told, run), made / "README.md")
    take_pictures(results, settings, made)
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="?", help="folder of the finished study")
    parser.add_argument("configs", type=Path, nargs="*", help="its configuration files")
    parser.add_argument(
        "--evaluated", type=Path, metavar="FOLDER", help="the same trainings, by later code"
    )
    options = parser.parse_args()
    if options.results:
        publish(options.results, options.configs, FOLDER, options.evaluated)
    write_texts()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
