"""What a run prints, and its estimate, on made-up runs with a clock of their own."""

import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from multiloss.job import console
from multiloss.job.console import Console
from multiloss.job.estimate import USUAL, Estimate
from snakemake_interface_logger_plugins.common import LogEvent


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(text: str | None = None, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", level, "", 0, text, None, None)
    made.__dict__.update(extra)
    return made


def started(job: int, rule: str, message: str | None = "Working") -> logging.LogRecord:
    return record(event=LogEvent.JOB_INFO, jobid=job, rule_name=rule, rule_msg=message)


def finished(job: int) -> logging.LogRecord:
    return record(event=LogEvent.JOB_FINISHED, job_id=job)


# ---- the estimate ------------------------------------------------------------------------
def test_the_rest_is_what_the_jobs_done_say_over_those_that_run_side_by_side() -> None:
    run = Estimate({"train": 4})
    assert run.left(0) is None and run.share(0) == 0
    run.started(1, "train", 0)
    run.started(2, "train", 0)
    assert run.left(5) is None  # nothing is measured yet
    run.finished(1, 30)
    run.finished(2, 50)
    # Two left of 40 s each; two ran side by side: 80 s of work in 50 s.
    assert run.left(50) == pytest.approx(2 * 40 / (80 / 50))
    assert run.share(50) == pytest.approx(80 / 160)
    run.started(3, "train", 50)
    # 10 s later, 30 and 40 s of work are left; 90 s were worked in 60 s.
    assert run.left(60) == pytest.approx(70 / (90 / 60))
    assert run.jobs == (2, 4)


def test_the_share_goes_by_cost_not_by_count() -> None:
    run = Estimate({"figure": 30, "train": 2}, earlier={"figure": 1.0, "train": 100.0})
    for job in range(30):
        run.started(job, "figure", job)
        run.finished(job, job + 1)
    assert run.jobs == (30, 32)
    assert run.share(30) == pytest.approx(30 / 230)
    assert run.left(30) == pytest.approx(200)


def test_nothing_is_promised_while_the_costly_rules_are_unknown() -> None:
    run = Estimate({"models": 1, "train": 10})
    run.started(1, "models", 0)
    run.finished(1, 2)
    assert run.left(2) is None
    # The share may be told: a machine half as fast as usual takes twice as long for all.
    assert run.share(2) == pytest.approx(2 / (2 + 10 * 2 * USUAL["train"] / USUAL["models"]))


def test_a_job_that_takes_longer_than_others_is_not_counted_below_nothing() -> None:
    run = Estimate({"train": 2}, earlier={"train": 10.0})
    run.started(1, "train", 0)
    run.started(2, "train", 0)
    run.finished(1, 10)
    assert run.left(50) == 0
    run.finished(2, 60)
    assert run.left(60) == 0 and run.share(60) == 1
    run.finished(7, 61)  # a job that never began here
    assert run.jobs == (2, 2)


# ---- what is printed ---------------------------------------------------------------------
def test_a_run_in_plain_words() -> None:
    clock, stream = Clock(), io.StringIO()
    shown = Console({}, stream, clock)
    stats = {"train": 2, "train_segmenter": 1, "all": 1, "total": 4}
    shown.handle(record("Job stats", event=LogEvent.RUN_INFO, stats=stats))
    shown.handle(record("Execute 1 jobs...", event=LogEvent.JOB_STARTED, jobs=[1]))
    shown.handle(started(1, "train", "Training a classifier with loss hinge"))
    clock.now += 40
    shown.handle(finished(1))
    shown.handle(record(None, event=LogEvent.PROGRESS, done=1, total=4))
    shown.handle(started(2, "train", "Training a classifier with loss focal"))
    shown.handle(started(0, "all", None))
    # 40 s of work, the segmenter unknown: two thirds of what is left were measured.
    clock.now += 20
    shown.handle(finished(2))
    assert stream.getvalue().splitlines() == [
        "3 jobs to do, among them the training of 1 segmenter and 2 classifiers",
        "   0:00  Training a classifier with loss hinge",
        "   0:40  ... 33% done (1 of 3 jobs), about 1:20 left",
        "   0:40  Training a classifier with loss focal",
        "   1:00  ... 66% done (2 of 3 jobs)",
    ]


@pytest.mark.parametrize(
    ("made", "ours"),
    [
        (record("Building DAG of jobs..."), True),
        (record("Select jobs to execute..."), True),
        (record("Complete log(s): /x"), True),
        (record("Nothing to be done (all requested files are present and up to date)."), False),
        (record("Creating conda environment envs/analysis.yaml..."), False),
        (record("Trying to restart job 3."), False),
        (record("Building DAG of jobs...", logging.WARNING), False),
        (record("Error in rule train", logging.ERROR, event=LogEvent.JOB_ERROR), False),
        (record("Error in group", logging.ERROR, event=LogEvent.GROUP_ERROR), False),
        (record(None, event=LogEvent.SHELLCMD), False),
    ],
    ids=["dag", "select", "log", "nothing", "conda", "restart", "warning", "job", "group", "shell"],
)
def test_chatter_is_taken_over_and_all_else_left(made: logging.LogRecord, ours: bool) -> None:
    """Each record is said once: by the console or by Snakemake's own handler."""
    logger = logging.Logger("made up", logging.INFO)
    said = io.StringIO()
    screen = logging.StreamHandler(said)
    screen.name = "DefaultStreamHandler"
    logger.addHandler(screen)
    console.take_over(logger, settings(), {})
    (other,) = [handler for handler in logger.handlers if isinstance(handler, Console)]
    assert bool(other.filter(made)) == ours
    screen.handle(made)
    assert bool(said.getvalue()) != ours


def settings(**changed: Any) -> SimpleNamespace:
    usual = {"dryrun": False, "verbose": False, "printshellcmds": False, "quiet": set()}
    return SimpleNamespace(**usual | changed)


@pytest.mark.parametrize("option", ["dryrun", "verbose", "printshellcmds", "quiet"])
def test_who_asks_for_snakemakes_words_gets_them(option: str) -> None:
    logger = logging.Logger("made up", logging.INFO)
    screen = logging.StreamHandler(io.StringIO())
    screen.name = "DefaultStreamHandler"
    logger.addHandler(screen)
    console.take_over(logger, settings(**{option: {"rules"} if option == "quiet" else True}), {})
    console.take_over(logger, None, {})
    assert logger.handlers == [screen] and not screen.filters
