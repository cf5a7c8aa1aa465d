"""The page of studies at the edges: it says nothing that no person would write."""

import html.parser
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from multiloss import report
from report_studies import CITATION, VERSIONS
from synthetic_results import GROUPS, Study, make, tables

HEBREW = "\u05d1\u05d9\u05ea \u05d7\u05d5\u05dc\u05d9\u05dd"
NAMES = ["<b>x</b> & 'y'", "a" * 200, HEBREW]
SHORT = ["cce", "focal", "hinge"]
STUDIES: dict[str, dict[str, Any]] = {
    "two-classes-one-loss": {"classes": 2, "losses": ["cce"], "ensembles": False},
    "seven-classes": {"classes": 7, "losses": SHORT, "test_images": 105},
    "no-ensembles-three-runs": {"losses": SHORT, "ensembles": False, "replicates": 3},
    "all-collapsed": {"losses": SHORT, "collapsed": tuple(SHORT)},
    "folds": {"losses": SHORT, "folds": 3, "replicates": 3},
    "half-failed": {"losses": [*SHORT, "cce_entropy"], "failed": ("focal", "cce_entropy")},
    "odd-names": {
        "losses": SHORT,
        "classes": NAMES,
        "subgroups": tuple(name for name in GROUPS if name.startswith("<")),
    },
    "numbers-as-names": {"losses": SHORT, "classes": ["1", "02"], "collapsed": ("hinge",)},
}


class Shown(html.parser.HTMLParser):
    """The words of each section that stand outside code, scripts and drawings."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self._hidden, self._section = 0, "page"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "code", "pre", "svg", "template"):
            self._hidden += 1
        if tag == "section" and "id" in dict(attrs):
            self._section = str(dict(attrs)["id"])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "code", "pre", "svg", "template"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.sections[self._section] = self.sections.get(self._section, "") + data


def made(folder: Path, failed: tuple[str, ...] = (), **options: Any) -> Study:
    given = {"gradcam": False, "save_images": False, "with_tables": False, "test_images": 60}
    study = make(folder, **{**given, **options})
    for loss in failed:
        for path in (study.results / "predictions").glob(f"{loss}-r*.csv"):
            table = pd.read_csv(path)
            table.loc[:, table.columns.str.startswith("p_")] = np.nan
            table.to_csv(path, index=False)
    tables(study.results, study.config)
    return study


@pytest.fixture(scope="module", params=STUDIES)
def page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """The name of a study, and its page."""
    study = made(tmp_path_factory.mktemp("odd"), **STUDIES[request.param])
    text = report.build(study.results, study.config, versions=VERSIONS, citation=CITATION)
    return request.param, text


def told(page: str) -> dict[str, str]:
    reader = Shown()
    reader.feed(page)
    return {name: " ".join(text.split()) for name, text in reader.sections.items()}


def test_no_section_shows_what_only_a_program_says(page: tuple[str, str]) -> None:
    found = told(page[1])
    assert len(found) > 15
    for section, text in found.items():
        # "None" may begin a sentence.
        words = re.sub(r"\bNone (?=(of|in|is|was) )", "", text)
        bad = re.findall(
            r".{0,60}(?<![\w-])(?:nan|None|NaT|<NA>|inf|r[0-9])(?![\w-]).{0,40}", words
        )
        bad += re.findall(
            r".{0,60}\w-r[0-9]+\b.{0,40}|.{0,40}[{}]{2}.{0,40}|.{0,40}\[\].{0,40}", words
        )
        assert not bad, (section, bad)


def test_nothing_is_escaped_twice_or_not_at_all(page: tuple[str, str]) -> None:
    twice = re.findall(r".{0,60}&amp;(?:amp|lt|gt|quot|nbsp|#x?[0-9a-f]+);.{0,40}", page[1])
    assert not twice
    assert "<b>x" not in page[1] and "<b>site" not in page[1]
    for section, text in told(page[1]).items():
        assert not re.search(r"&(?:amp|lt|gt|#\d+);", text), section


def test_words_agree_with_what_the_study_is(page: tuple[str, str]) -> None:
    name, text = page
    found = told(text)
    for section, said in found.items():
        one = r".{0,80}(?<![\d.,/])\b1 (?:images|patients|losses|models|runs|tests)\b.{0,40}"
        # Numbers stand in cells of tables beside words.
        bad = re.findall(one, said) if section in ("answer", "singles", "methods") else []
        assert not bad, (section, bad)
    answer = found["answer"]
    if name == "two-classes-one-loss":
        assert "No other loss was tested against cross-entropy" in answer
        assert "Not asked: this study builds no ensembles." in answer
        assert "1 loss ·" in answer
    if name == "all-collapsed":
        assert answer.startswith("No single model tells the classes apart.")
    if name == "half-failed":
        assert "2 single models" not in answer and "The study has gaps." in answer
        assert "focal loss" in answer.partition("without results:")[2].partition(".")[0]
    if name == "odd-names":
        assert "<b>x</b> & 'y'" in answer and HEBREW in answer and "a" * 200 in answer
    if name == "numbers-as-names":
        assert "hinge loss† classified all test images as ‘1’." in answer
        assert "‘1.0’" not in text
    if name == "folds":
        for section, said in found.items():
            said = re.sub("is no further seed", "", said)
            bad = re.findall(r".{0,60}\b(?:\d+ seeds|new seeds|further seeds?)\b.{0,40}", said)
            assert not bad, (section, bad)
