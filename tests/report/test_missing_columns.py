"""A table without one of its columns is an error that names both, never a gap in the page."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from multiloss.job.errors import UserError
from multiloss.report.calibration import Calibration
from multiloss.report.facts import Facts
from multiloss.report.methods import Methods
from multiloss.report.results import Results
from report_studies import facts_of
from synthetic_results import Study, make, tables

# What reads each table, beside the tables of the page, whose columns tables.yaml lists.
READERS: dict[str, Callable[[Facts], Any]] = {
    "tables/metrics.csv": lambda f: (
        *(f.models("single"), f.value("cce-r0"), f.published, f.undefined("single")),
        *(f.interval_methods, f.near_one, f.few_patients),
    ),
    "tables/significance.csv": lambda f: (
        *(f.all_tests, f.test_families, f.hits, f.same_objective, f.primary_families),
        *(f.permutations, f.against_best_member(), len(f.made), len(f.secondary)),
        *(Methods(f).tests, Methods(f).corrections),
    ),
    "tables/replicate_comparisons.csv": lambda f: (
        f.crossed_floor,
        f.all_tests,
        f.same_objective,
    ),
    "tables/ensemble_comparisons.csv": lambda f: (f.gains("best_member"), f.all_tests),
    "tables/replicates.csv": lambda f: f.mean_scores("single", "focal"),
    "tables/seed_spread.csv": lambda f: f.spread,
    "tables/diversity.csv": lambda f: (len(f.pairs), f.disagreement),
    "tables/operating_points.csv": lambda f: f.operating_points("cce-r0"),
    "tables/calibration_scores.csv": lambda f: (
        Calibration(f).scores("cce-r0")["ece"]["value"],
        Calibration(f).errors,
    ),
    "tables/calibration_curves.csv": lambda f: Calibration(f).point("cce-r0"),
    "tables/calibration_comparisons.csv": lambda f: Calibration(f).pairs(),
    "ensembles/chosen.csv": lambda f: (f.chosen("single"), f.overall_rule),
    "ensembles/members.csv": lambda f: f.best_member("majority_vote-top3-r0"),
    "models/cce/0.history.csv": lambda f: f.trainings(),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make(
        tmp_path_factory.mktemp("columns"), test_images=60, gradcam=False, save_images=False,
        losses=["cce", "focal", "calibrated_cce"], replicates=2, with_tables=False,
    )  # fmt: skip
    wanted = {Path(file).stem for file in READERS if file.startswith("tables/")}
    tables(made.results, made.config, only=sorted(wanted))
    return made


@pytest.mark.parametrize("file", READERS)
def test_each_column_that_is_read_is_missed(study: Study, tmp_path: Path, file: str) -> None:
    """Without it the readers say the same as before, or which column the table lacks."""
    whole = repr(READERS[file](facts_of(study.results, study.config)))
    results = shutil.copytree(study.results, tmp_path / "study")
    table, missed = pd.read_csv(study.results / file, dtype=str, keep_default_na=False), []
    for column in table.columns:
        table.drop(columns=column).to_csv(results / file, index=False)
        try:
            assert repr(READERS[file](facts_of(results, study.config))) == whole, column
        except UserError as error:
            assert f"{results / file} has no column '{column}'" in str(error)
            missed.append(column)
    assert len(missed) >= 3


def test_only_a_table_that_is_not_made_has_defaults(tmp_path: Path) -> None:
    results = Results(tmp_path)
    assert results.table("none.csv").get("a", "default") == "default"
    (tmp_path / "one.csv").write_text("a\n1\n", encoding="utf-8")
    assert results.table("one.csv").get("a", "default").tolist() == [1]
    with pytest.raises(UserError, match=r"one\.csv has no column 'b'"):
        results.table("one.csv").get("b", "default")
