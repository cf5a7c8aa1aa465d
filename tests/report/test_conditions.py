"""What the page says that its intervals take as given."""

from pathlib import Path
from typing import Any

import pytest
import synthetic_results
from multiloss import config as study_config
from multiloss.report import templates
from multiloss.report.facts import Facts
from multiloss.report.results import Results


def facts(folder: Path, lungs: bool = True, redraw: bool = False, **options: Any) -> Facts:
    config = synthetic_results.configuration(**options)
    config["splits"]["redraw"] = redraw
    if not lungs:
        config["data"]["sources"] = config["data"]["sources"][:1]
        config["classification"]["encoder_weights"] = "none"
    return Facts(Results(folder), config)


def in_words(found: Facts, macro: str) -> str:
    return templates.words("study.html.j2", macro, found)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2, "2"),
        (0.5, "0.5"),
        (None, "none"),
        (True, "yes"),
        (False, "no"),
        ("balanced", "balanced"),
    ],
)
def test_a_setting_is_said_in_words(tmp_path: Path, value: Any, said: str) -> None:
    found = templates.words("study.html.j2", "setting", facts(tmp_path), "class_weights", value)
    assert found == f"class weights {said}"


def test_one_division_of_all_runs_is_said(tmp_path: Path) -> None:
    once = facts(tmp_path)
    assert once.shared == ["division", "pool", "segmenters"]
    assert in_words(once, "shared") == (
        "one division of the patients, one pool of training patients and one set of lung segmenters"
    )
    assert once.run_chance == in_words(once, "chance") == "seeds"


def test_a_division_for_each_run_is_said(tmp_path: Path) -> None:
    redrawn = facts(tmp_path, redraw=True, lungs=False, replicates=3)
    assert in_words(redrawn, "shared") == "one pool of training patients"
    assert redrawn.run_chance == "divisions"
    assert in_words(redrawn, "chance") == "runs (seed and division)"


@pytest.mark.parametrize(("replicates", "further", "wrong"), [(1, False, True), (1, True, False),
                                                              (2, False, False)])  # fmt: skip
def test_redraw_of_a_single_run_is_refused(replicates: int, further: bool, wrong: bool) -> None:
    config = synthetic_results.configuration(replicates=replicates, further_seeds=further)
    config["splits"]["redraw"] = True
    if wrong:
        with pytest.raises(Exception, match="splits.redraw: a division for each run takes two"):
            study_config.validate(config)
    else:
        assert study_config.validate(config)["splits"]["redraw"]
