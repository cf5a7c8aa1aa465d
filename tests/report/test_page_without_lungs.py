"""The page of photographs says nothing of lungs, chests and radiographs."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from multiloss import cases, predictions, report
from multiloss.job.files import digest_of
from report_studies import CITATION, VERSIONS
from synthetic_results import Study, make

WORDS = re.compile(r".{0,80}\b(?:lung|chest|radiograph|x-ray)s?\b.{0,40}", re.IGNORECASE)


def with_cases(study: Study) -> None:
    """Give a study the images that the page shows one by one, a heat map on each."""
    config, results = study.config, study.results
    manifest = pd.read_csv(results / "data/manifest.csv", keep_default_na=False)
    images = manifest[manifest["split"] == "test"].copy()
    images["path"] = [str(study.folder / path) for path in images["path"]]
    images["lesion_mask"] = [path and str(study.folder / path) for path in images["lesion_mask"]]
    images["sha256"] = [digest_of(Path(path)) for path in images["path"]]
    name = study.singles[0]
    found = predictions.read([results / f"predictions/{name}.csv"], config["classes"], ["test"])
    heat = cases.Heat(images["image_id"].tolist(), np.ones((len(images), 2, 2), np.float16))
    made = cases.cases(
        images, found, {name: name}, {name: heat}, None, None, most=20, seed=1, rgb=False
    )
    (results / "cases.json").write_text(json.dumps(made), encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with every section and figure that such a study has."""
    study = make(
        tmp_path_factory.mktemp("photographs"),
        lungs=False,
        losses=["cce", "focal", "calibrated_cce"],
        replicates=2,
        test_images=60,
        placeholder_figures=True,
    )
    with_cases(study)
    text = report.build(study.results, study.config, versions=VERSIONS, citation=CITATION)
    return re.sub(r'data:[a-z/+]*;base64,[^"]*', "", text)


def test_it_is_the_whole_page(page: str) -> None:
    sections = re.findall(r'<section id="(\w+)"', page)
    assert {"cases", "gradcam", "methods", "checklist", "glossary", "configuration"} <= {*sections}
    assert not {"segmentation", "crops"} & {*sections}
    assert 'id="data-cases"' in page and "heat map" in page


def test_it_speaks_of_no_lungs(page: str) -> None:
    assert not WORDS.findall(page)
