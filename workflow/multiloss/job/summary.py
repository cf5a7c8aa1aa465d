"""Closing messages of a run: where the report is and what took long, or what failed and why.

Snakemake's own `show-failed-logs` prints a job's whole log where it failed, which with
`keep-going` is hours of output above the end, and also of jobs that a retry has mended.

The Snakefile imports this on every start, also on a cluster's login node, so it uses the
standard library only.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from multiloss.job.progress import clock

LONGEST_SHOWN = 5
LOG_LINES_SHOWN = 12

_RULE_OF_ERROR = re.compile(r"^\s*Error in rule (?P<rule>\w+)[^:]*:")
_MISSING_OUTPUT = re.compile(r"^MissingOutputException in rule (?P<rule>\w+)\b")
_MISSING_OUTPUT_JOB = re.compile(r"^Job (?P<jobid>\d+)\s+completed successfully, but")
_FINISHED = re.compile(r"^Finished job(?:id)?:? (?P<jobid>\d+)\b")
_FIELD = re.compile(r"^\s{4,}(?P<key>jobid|log): (?P<value>.*)$")
_LOG_HINT = re.compile(r" \(check log file\(s\) for error details\)$")


@dataclass(frozen=True)
class StepTime:
    """What the benchmark files say of one rule: seconds, and mebibytes of resident memory."""

    rule: str
    jobs: int
    seconds: float
    longest_job: str
    longest_seconds: float
    max_rss: float | None


@dataclass
class Failure:
    """One failed job as Snakemake's own log tells it."""

    rule: str
    jobid: str = ""
    logs: tuple[str, ...] = ()
    reason: str = ""


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:  # Snakemake writes NA or - for what it could not measure
        return None


def step_times(results: str | Path) -> list[StepTime]:
    """Times per rule, longest first, from `results/benchmarks/{rule}/**/*.tsv`.

    A file with several rows (repeats) counts with their mean. Unreadable values count as
    nothing measured; a results folder without benchmark files gives an empty list.
    """
    folder = Path(results) / "benchmarks"
    jobs: dict[str, list[tuple[float, str, float | None]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        parts = path.relative_to(folder).with_suffix("").parts
        with open(path, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        seconds = [value for row in rows if (value := _number(row.get("s"))) is not None]
        memory = [value for row in rows if (value := _number(row.get("max_rss"))) is not None]
        if seconds:
            job = "/".join(parts[1:])
            mean = sum(seconds) / len(seconds)
            jobs.setdefault(parts[0], []).append((mean, job, max(memory, default=None)))
    steps = []
    for rule, measured in jobs.items():
        longest_seconds, longest_job, _ = max(measured, key=lambda job: (job[0], job[1]))
        steps.append(
            StepTime(
                rule=rule,
                jobs=len(measured),
                seconds=sum(job[0] for job in measured),
                longest_job=longest_job,
                longest_seconds=longest_seconds,
                max_rss=max((job[2] for job in measured if job[2] is not None), default=None),
            )
        )
    return sorted(steps, key=lambda step: (-step.seconds, step.rule))


def success_message(results: str | Path, seconds: float | None = None) -> str:
    """How long the run took, the steps that took longest; last the answer, and its page.

    `seconds` is the wall-clock time of this run, left out if unknown. The times of the steps
    are those of the benchmark files, so they include jobs that earlier runs have done.
    """
    results = Path(results).resolve()
    took = f" in {clock(seconds)}" if seconds is not None else ""
    lines = [f"Finished{took}."]
    steps = step_times(results)
    if steps:
        total = sum(step.seconds for step in steps)
        jobs = sum(step.jobs for step in steps)
        lines.append(
            f"All measured jobs together: {clock(total)} ({jobs} jobs, earlier runs included)."
            " Longest steps:"
        )
        width = max(len(step.rule) for step in steps[:LONGEST_SHOWN])
        for step in steps[:LONGEST_SHOWN]:
            if step.jobs > 1:
                detail = f"  {step.jobs} jobs, longest {clock(step.longest_seconds)}"
                detail += f" ({step.longest_job})"
            else:
                detail = ""
            lines.append(f"  {step.rule:<{width}}  {clock(step.seconds):>8}{detail}")
    report, answer = results / "report.html", results / "answer.txt"
    if not report.is_file():
        return "\n".join([*lines, f"Results: {results} (this run did not ask for the report)"])
    if answer.is_file():
        lines += ["", answer.read_text(encoding="utf-8").strip()]
    return "\n".join([*lines, report.as_uri()])


def usual_seconds(results: str | Path) -> dict[str, float]:
    """Seconds of one job by rule, where an earlier run of the study has measured some."""
    return {step.rule: step.seconds / step.jobs for step in step_times(results)}


def _parse(lines: Iterable[str]) -> list[Failure]:
    """Jobs that failed and did not succeed on a later attempt, in order of first failure."""
    failures: dict[tuple[str, str], Failure] = {}
    current: Failure | None = None

    def close() -> None:
        nonlocal current
        if current is not None:
            failures[(current.rule, current.jobid)] = current
            current = None

    for raw in lines:
        line = raw.rstrip("\n")
        if match := _RULE_OF_ERROR.match(line):
            close()
            current = Failure(match["rule"])
        elif match := _MISSING_OUTPUT.match(line):
            close()
            current = Failure(match["rule"], reason="the job ended well but left outputs out")
        elif match := _MISSING_OUTPUT_JOB.match(line):
            if current is not None:
                current.jobid = match["jobid"]
                close()
        elif match := _FINISHED.match(line):
            close()
            for key in [key for key in failures if key[1] == match["jobid"]]:
                del failures[key]
        elif current is not None and (match := _FIELD.match(line)):
            if match["key"] == "jobid":
                current.jobid = current.jobid or match["value"].strip()
            elif not current.logs:
                names = _LOG_HINT.sub("", match["value"])
                current.logs = tuple(name.strip() for name in names.split(", ") if name.strip())
        elif current is not None and not line.startswith(" "):
            close()
    close()
    return list(failures.values())


def _tail(path: Path, count: int) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as handle:
        return [line.rstrip() for line in deque(handle, maxlen=count)]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def failure_message(snakemake_log_path: str | Path | list[str]) -> str:
    """Which rule failed, which log says why, and the last lines of that log.

    Takes what Snakemake calls `log` in `onerror`: the path of its own log, or a list of one.
    Jobs that failed and then succeeded on a retry are not named. When no job failed (an error
    in the config or in the plan), the last lines of Snakemake's log are shown instead.
    """
    if isinstance(snakemake_log_path, list | tuple):
        snakemake_log_path = snakemake_log_path[0] if snakemake_log_path else ""
    path = Path(snakemake_log_path)
    if not path.is_file():
        return "The run failed before Snakemake began its log; the error is above."
    with open(path, encoding="utf-8", errors="replace") as handle:
        failures = _parse(handle)
    if not failures:
        head = ["The run failed, but no job did. The last lines of Snakemake's log:"]
        return "\n".join([*head, *_indented(_tail(path, LOG_LINES_SHOWN)), f"Whole log: {path}"])
    lines = []
    for failure in failures:
        lines.append(
            f"Rule '{failure.rule}' failed{': ' if failure.reason else ''}{failure.reason}."
        )
        if not failure.logs:
            lines.append(f"  It has no log of its own; see {path}")
        for name in failure.logs:
            log = Path(name)
            if not log.is_file() or log.stat().st_size == 0:
                lines.append(f"  Log: {log} (empty: the job was ended before it could write)")
                continue
            lines.append(f"  Log: {log}, which ends with:")
            lines.extend(_indented(_tail(log, LOG_LINES_SHOWN)))
    lines.append(
        "What is finished is kept: mend the cause and run the same command again."
        f" Snakemake's own log: {path}"
    )
    return "\n".join(lines)
