"""Versions are those that ran: noted by each training, listed and compared by the report."""

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from markupsafe import Markup
from multiloss import __version__
from multiloss.job import versions
from multiloss.report import templates
from multiloss.report.blocks import Note, Section, Table
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.results import Results
from multiloss.report.software import Software
from synthetic_results import configuration

LOCKED = {
    "tensorflow": ["2.21.0"],
    "keras": ["3.15.1"],
    "numpy": ["2.4.6"],
    # One for each of two versions of Python.
    "scipy": ["1.16.3", "1.17.1"],
}
ANALYSIS = {"python": "3.11.7", "numpy": "2.4.6", "scipy": "1.17.1"}
RAN = {"python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.4.6"}

HERE = {
    "multiloss": __version__,
    "python": platform.python_version(),
    "numpy": metadata.version("numpy"),
}


def test_what_is_loaded_is_noted_and_nothing_else(root, tmp_path):
    code = "import sys, numpy; from multiloss.job import versions; versions.write(sys.argv[1])"
    path = tmp_path / "0.versions.json"
    subprocess.run([sys.executable, "-c", code, path], cwd=root / "workflow", check=True)
    found = json.loads(path.read_text())
    assert found == HERE


def test_installed_packages_only():
    found = versions.installed(["numpy", "no such package"])
    assert found == HERE


def whole(folder: Path, *trainings: dict[str, str], **changes: list[str]) -> Section:
    """The section of a study with these trainings."""
    for number, found in enumerate(trainings):
        path = folder / f"models/cce/{number}.versions.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    facts = Facts(Results(folder), configuration(losses=["cce"]))
    software = Software(facts.results, ANALYSIS, LOCKED | changes)
    return templates.section("86_versions.html.j2", facts, Figures(facts), {"software": software})


def section(
    folder: Path, *trainings: dict[str, str], **changes: list[str]
) -> tuple[list[str], Table]:
    """The warnings and the first table of that section."""
    blocks = whole(folder, *trainings, **changes).blocks
    notes = [str(block.text) for block in blocks if isinstance(block, Note)]
    return notes, next(block for block in blocks if isinstance(block, Table))


def cells(table: Table) -> dict[str, list[str]]:
    rows = [[Markup(cell.text).striptags() for cell in row] for row in table.rows]
    return {row[0]: row[1:] for row in rows}


def test_trainings_by_two_versions_of_the_workflow_are_told_apart(tmp_path):
    notes, table = section(tmp_path, RAN | {"multiloss": "0.7.0"}, RAN | {"multiloss": "0.9.0"})
    assert notes == [
        "Not all trainings ran with the same versions: multiloss 0.7.0 (1 training), 0.9.0 "
        "(1 training). Their models may differ for that reason alone."
    ]


def test_one_set_of_versions_is_listed_without_a_warning(tmp_path):
    notes, table = section(tmp_path, RAN, RAN)
    assert notes == []
    found = cells(table)
    assert found["tensorflow"][0] == found["tensorflow"][2] == "2.21.0"
    assert found["python"][:2] == ["3.11.7", "3.11.7"]
    assert "1.17.1" not in found["scipy"][0] and found["scipy"][1:] == [
        "1.17.1",
        "1.16.3 or 1.17.1",
    ]


def test_new_lock_file_does_not_change_what_ran(tmp_path):
    notes, table = section(tmp_path, RAN, tensorflow=["2.22.0"])
    assert notes == ["Other versions ran than the lock file pins: tensorflow 2.21.0 instead of "
                     "2.22.0."]  # fmt: skip
    assert cells(table)["tensorflow"][0] == "2.21.0"


def test_mixed_versions_are_warned_of(tmp_path):
    notes, table = section(tmp_path, RAN, RAN, RAN | {"keras": "3.14.0"})
    assert notes == [
        "Not all trainings ran with the same versions: keras 3.14.0 (1 training), 3.15.1 "
        "(2 trainings). Their models may differ for that reason alone.",
        "Other versions ran than the lock file pins: keras 3.14.0 instead of 3.15.1.",
    ]
    assert cells(table)["keras"][0] == "3.14.0 (1 training), 3.15.1 (2 trainings)"


def test_analysis_of_another_version_is_told(tmp_path):
    notes, _ = section(tmp_path, RAN, scipy=["1.18.0"])
    assert notes == ["Other versions ran than the lock file pins: scipy 1.17.1 instead of 1.18.0."]


def test_the_finding_says_whether_versions_agree(tmp_path):
    def finding(*trainings, **changes):
        return " ".join(str(whole(tmp_path, *trainings, **changes).finding).split())

    one = "The training noted its versions; no other version ran than the lock file pins."
    assert finding(RAN) == one
    assert finding(RAN, RAN, numpy=["2.0"]) == (
        "All 2 trainings ran with the same versions; other versions ran than the lock file pins."
    )
    assert finding(RAN, RAN | {"numpy": "2.4.5"}).startswith(
        "The 2 trainings did not all run with the same versions; other versions ran"
    )
