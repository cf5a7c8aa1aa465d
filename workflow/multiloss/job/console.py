"""What a run prints: what each job does, in plain words, and how long the rest takes.

Snakemake's own lines (reasons, counts of jobs, dates) stay in its log file, and on the screen with
`--verbose`, `--printshellcmds` and in dry runs. Its errors and warnings always pass. A logger
plugin would have to be installed into every environment that starts Snakemake.

The Snakefile imports this on every start, so it uses the standard library and Snakemake only.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from snakemake_interface_logger_plugins.common import LogEvent

from multiloss.job.estimate import Estimate
from multiloss.job.progress import clock

# Lines without an event that tell nothing about the study; all other lines pass.
CHATTER = (
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Complete log(s):",
    "Conda environments: ignored",
    "Elapsed time:",
    "Group jobs: inactive",
    "Select jobs to execute",
    "Singularity containers: ignored",
    "Using shell:",
)
OURS = (
    LogEvent.WORKFLOW_STARTED, LogEvent.RUN_INFO, LogEvent.RESOURCES_INFO, LogEvent.JOB_STARTED,
    LogEvent.JOB_INFO, LogEvent.JOB_FINISHED, LogEvent.PROGRESS,
)  # fmt: skip
# A line on how far the run is follows at least so many seconds after the last one.
BETWEEN = 20.0


class Console(logging.Handler):
    """A handler for Snakemake's logger; `earlier`: seconds of one job by rule, where known."""

    def __init__(
        self,
        earlier: Mapping[str, float],
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.INFO)
        self._stream = stream or sys.stderr
        self._now, self._earlier = now, earlier
        self._begin = self._told = now()
        self._run = Estimate({}, earlier)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is one of those that this handler speaks for."""
        event = getattr(record, "event", None)
        chatter = event is None and str(record.msg).strip().startswith(CHATTER)
        return record.levelno <= logging.INFO and (event in OURS or chatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record)
            if line:
                print(line, file=self._stream, flush=True)
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        event, now = getattr(record, "event", None), self._now()
        if event == LogEvent.RUN_INFO:
            planned = {rule: n for rule, n in record.stats.items() if rule not in ("total", "all")}
            self._run = Estimate(planned, self._earlier)
            return plan(planned)
        if event == LogEvent.JOB_INFO:
            self._run.started(record.jobid, record.rule_name, now)
            return f"{clock(now - self._begin):>7}  {record.rule_msg}" if record.rule_msg else ""
        if event == LogEvent.JOB_FINISHED:
            self._run.finished(record.job_id, now)
            done, planned = self._run.jobs
            if done < planned and now - self._told >= BETWEEN:
                self._told = now
                return self._progress(now)
        return ""

    def _progress(self, now: float) -> str:
        done, planned = self._run.jobs
        left = self._run.left(now)
        rest = "" if left is None else f", about {clock(round(left, -1) or 10)} left"
        share = min(99, int(100 * self._run.share(now)))
        return f"{clock(now - self._begin):>7}  ... {share}% done ({done} of {planned} jobs){rest}"


def take_over(logger: logging.Logger, settings: Any, earlier: Mapping[str, float]) -> None:
    """Let a console say what Snakemake's own handler says on the screen, if that is all it does.

    `settings`: `workflow.output_settings`. Whoever asks for less, for more, or for a dry run gets
    what Snakemake has to say.
    """
    if settings is None or settings.dryrun or settings.verbose or settings.printshellcmds:
        return
    screens = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
    if settings.quiet or not screens:
        return
    console = Console(earlier)
    screens[0].addFilter(lambda record: not console.filter(record))
    logger.addHandler(console)


def plan(planned: Mapping[str, int]) -> str:
    """What a run is going to do, in one line."""
    trainings = {
        "train_segmenter": "segmenter",
        "train": "classifier",
        "model_level": "ensemble head",
    }
    parts = [
        f"{planned[rule]} {noun}{'' if planned[rule] == 1 else 's'}"
        for rule, noun in trainings.items()
        if planned.get(rule)
    ]
    total = sum(planned.values())
    jobs = f"{total} job{'' if total == 1 else 's'} to do"
    if not parts:
        return jobs
    last = f" and {parts[-1]}" if len(parts) > 1 else parts[-1]
    return f"{jobs}, among them the training of {', '.join(parts[:-1])}{last}"
