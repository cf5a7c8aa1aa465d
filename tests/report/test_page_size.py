"""The page of a study as large as a published one: how many bytes, and how soon it is shown.

Its images are few, under many names: what they take is true, and made in minutes.
"""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from browser import Browser
from multiloss import cases, predictions, report
from multiloss.data.tables import read_manifest
from multiloss.figures import catalog, drawing
from multiloss.study import Study
from report_studies import CITATION, VERSIONS
from synthetic_results import Study as Made
from synthetic_results import make, tables

IMAGES, MOST_BYTES = 4000, 15_000_000
# Radiographs of a usual size; a network that sees 512 x 512 pixels has maps of 32 x 32 cells.
SHAPE, GRID = (1100, 1400), 32


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of twelve losses with all ensembles, figures, heat maps and cases."""
    folder = tmp_path_factory.mktemp("large")
    made = make(folder, test_images=IMAGES, shape=SHAPE, grid=GRID, with_tables=False)
    tables(made.results, made.config, 20, 99)
    before = Path.cwd()
    os.chdir(folder)  # the manifest names images from here
    try:
        write_cases(made)
        draw(made)
        text = report.build(made.results, made.config, versions=VERSIONS, citation=CITATION)
    finally:
        os.chdir(before)
    page = made.results / "report.html"
    page.write_text(text, encoding="utf-8")
    return page


def write_cases(made: Made) -> None:
    """cases.json, as its rule has it made."""
    results, config = made.results, made.config
    models = Study(config).shown.models.values()
    kinds = ("single", "ensemble", "seed_ensemble")
    labels = {m.name: m.label for m in models if m.kind in kinds and m.replicate == 0}
    maps = {name: results / f"gradcam/{name}.npz" for name in labels}
    manifest = read_manifest(results / "data/manifest.csv", config["classes"])
    files = [results / f"predictions/{name}.csv" for name in labels]
    found = cases.cases(
        manifest[manifest["split"] == "test"],
        predictions.read(files, config["classes"], ["test"]),
        labels,
        {name: cases.read_heat(path) for name, path in maps.items() if path.is_file()},
        pd.read_csv(results / "crops/boxes.csv", dtype={"image_id": str}),
        results / "masks",
        most=config["report"]["cases"],
        seed=config["seed"],
        rgb=False,
    )
    assert len(found["heat"]) == 14 and len(found["images"]) == config["report"]["cases"]
    (results / "cases.json").write_text(json.dumps(found, separators=(",", ":")))


def draw(made: Made) -> None:
    """All figures of the study, with what is written beside them."""
    (made.results / "figures").mkdir(exist_ok=True)
    for name, figure in catalog.figures(made.config).items():
        ends = ("png", "svg", "pdf", "csv", "json")
        files = [made.results / f"figures/{name}.{end}" for end in ends]
        given = figure.files(made.results)
        drawing.draw(figure.draw, figure.params, given, made.config["figures"], *files)


@pytest.mark.slow
def test_four_thousand_test_images_fit_into_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert f"{IMAGES:,} images" in text and text.count("<figure") > 40
    assert page.stat().st_size < MOST_BYTES


@pytest.mark.slow
def test_it_is_shown_soon(browser: Browser, page: Path) -> None:
    """The best of five, since other work may share the machine."""
    times = []
    for _ in range(5):
        browser.open(page.as_uri())
        entry = "performance.getEntriesByType('navigation')[0]"
        times.append(browser.value(f"{entry}.loadEventEnd - {entry}.startTime"))
    assert min(times) < 3000
