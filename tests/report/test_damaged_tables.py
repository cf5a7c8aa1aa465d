"""What becomes of the page when one of its tables is damaged, whichever it is.

An error of one line that names the file, what it lacks and the remedy; or a page that says what
is left out of it. Never a traceback, and never another answer.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from multiloss import report
from multiloss.job.errors import UserError
from multiloss.report import templates
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.methods import Citation
from multiloss.report.results import MAY_BE_BARE, Results
from multiloss.report.results import Table as Read
from multiloss.report.software import Software
from synthetic_results import Study, make

SECTIONS = sorted(path.name for path in templates.FOLDER.glob(f"[!_]*{templates.ENDING}"))
# Of what each section says, how it is held in memory does not count.
ADDRESS = re.compile(r"0x[0-9a-f]+")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One with all that makes tables: seeds, a collapsed loss, another hospital, groups."""
    return make(
        tmp_path_factory.mktemp("damaged"), test_images=60, losses=["cce", "focal", "hinge"],
        collapsed=("hinge",), external=("hospital-b",), subgroups=("sex",), replicates=2,
        save_images=False, placeholder_figures=True,
    )  # fmt: skip


class Spy(Results):
    """Remembers which tables were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, [path for path in root.rglob("*") if path.is_file()])
        self.read: set[str] = set()

    def table(self, name: str, needed: tuple[str, ...] = ()) -> Read:
        table = super().table(name, needed)
        self.read |= {name} if table.file else set()
        return table


def told(study: Study, section: str) -> tuple[str, set[str]]:
    """A section on its own, and the tables that it reads."""
    results = Spy(study.results)
    facts = Facts(results, study.config)
    given = {"software": Software(results, {}, {}), "citation": Citation("")}
    made = templates.section(section, facts, Figures(facts), given)
    return ADDRESS.sub("", repr(made)), results.read


@pytest.fixture(scope="module")
def readers(study: Study) -> dict[str, dict[str, str]]:
    """By table: the sections that read it, and what they tell. One history stands for all."""
    found: dict[str, dict[str, str]] = {}
    for section in SECTIONS:
        text, tables = told(study, section)
        for table in tables:
            found.setdefault(table, {})[section] = text
    histories = sorted(table for table in found if table.startswith("models/"))
    return {name: found[name] for name in sorted(found) if name not in histories[1:]}


@pytest.fixture
def kept(study: Study) -> Iterator[None]:
    """The study's tables are as they were when a test has changed one."""
    before = {path: path.read_bytes() for path in study.results.rglob("*.csv")}
    yield
    for path, data in before.items():
        path.write_bytes(data)


def page(study: Study) -> str:
    files = [path for path in study.results.rglob("*") if path.is_file()]
    return report.build(study.results, study.config, files=files)


def test_a_table_that_is_absent_or_empty_is_named(
    study: Study, readers: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    assert len(readers) > 35
    for name in readers:
        path = tmp_path / name
        results = Results(tmp_path, [path])
        with pytest.raises(UserError, match=re.escape(f"{path} is not there: run again")):
            results.table(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with pytest.raises(UserError, match=re.escape(f"{path} is empty")):
            results.table(name)
        # A head alone is told of, but where it says something.
        shutil.copy(study.results / name, path)
        assert results.table(name).file == path and not results.bare
        path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")
        assert results.table(name).empty
        assert (name in results.bare) != (name in MAY_BE_BARE)


@pytest.mark.usefixtures("kept")
def test_a_head_alone_is_told_or_refused(study: Study) -> None:
    """What the answer rests on is refused: the page would give another answer."""
    before = page(study)
    assert "no rows:" not in before
    for name in ("rank", "operating_points"):
        bare(study.results / f"tables/{name}.csv")
    text = page(study)
    assert (
        "tables/operating_points.csv and tables/rank.csv have no rows: what they would show is "
        "left out of this page."
    ) in text
    for name in ("metrics", "significance", "replicate_comparisons"):
        path = study.results / f"tables/{name}.csv"
        whole = bare(path)
        with pytest.raises(UserError, match=re.escape(f"{path} has no rows: delete it and run")):
            page(study)
        path.write_bytes(whole)


def bare(path: Path) -> bytes:
    """Leaves the head of a table alone, and returns what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole.split(b"\n")[0] + b"\n")
    return whole


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("name", "column", "section"),
    [
        ("tables/crops.csv", "area_median", "34_crops.html.j2"),  # of rows shown as they are
        ("tables/optimism.csv", "ours", "44_optimism.html.j2"),  # one of several at once
        ("tables/calibration_curves.csv", "observed", "16_calibration.html.j2"),  # of one row
    ],
)
def test_a_column_that_is_missed_is_named(
    study: Study, name: str, column: str, section: str
) -> None:
    path = study.results / name
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(UserError, match=f"{name} has no column '{column}': delete it and run"):
        told(study, section)


@pytest.mark.slow
@pytest.mark.usefixtures("kept")
def test_each_column_is_named_where_it_is_missed(
    study: Study, readers: dict[str, dict[str, str]]
) -> None:
    """A section that reads a table says the same without a column, or names it.

    Two of the sections that read a table look at each of its columns.
    """
    rng, wrong = np.random.default_rng(0), []
    for name, sections in readers.items():
        path = study.results / name
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for column in table.columns:
            table.drop(columns=column).to_csv(path, index=False)
            for section in rng.permutation(sorted(sections))[:2].tolist():
                try:
                    if told(study, section)[0] != sections[section]:
                        wrong.append((name, column, section, "tells something else"))
                except UserError as error:
                    if f"{name} has no column '{column}': delete it and run" not in str(error):
                        wrong.append((name, column, section, str(error)))
                except Exception as error:
                    wrong.append((name, column, section, repr(error)))
        table.to_csv(path, index=False)
    assert not wrong, "\n".join(map(str, wrong))
