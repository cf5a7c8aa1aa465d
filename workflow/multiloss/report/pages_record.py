"""Sections that let someone repeat the study: configuration, versions, rules, run times."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml
from markupsafe import Markup

from multiloss.progress import clock
from multiloss.report import rulegraph
from multiloss.report.blocks import (
    Cell,
    Code,
    Column,
    Drawing,
    Note,
    Section,
    Text,
    count,
    listed,
    number,
    plural,
    sort_key,
    table,
)
from multiloss.report.facts import Facts
from multiloss.report.figures import Figures
from multiloss.report.results import Results
from multiloss.summary import step_times

MAIN_PACKAGES = (
    "python",
    "snakemake",
    "tensorflow",
    "keras",
    "segmentation-models",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "statsmodels",
    "opencv-python-headless",
    "matplotlib",
)


def configuration(facts: Facts) -> Section:
    """The whole config with every default filled in."""
    # By way of JSON: Snakemake's config may hold its own kinds of mappings.
    plain = json.loads(json.dumps(facts.config))
    if not facts.study.segmented:
        # Nothing of it was used.
        plain = {key: value for key, value in plain.items() if key not in ("segmentation", "crop")}
    text = yaml.safe_dump(
        plain, sort_keys=False, allow_unicode=True, width=88, default_flow_style=False
    )
    return Section(
        "configuration",
        "Configuration",
        [
            Text(
                [
                    Markup(
                        "Every setting of this study, defaults included. Saved as a file and given "
                        "to Snakemake with <code>--configfile</code>, it repeats the study. "
                        "Passwords and queries of addresses are left out."
                    )
                ]
            ),
            Code("The configuration in full", text),
        ],
    )


def versions(
    results: Results, analysis: Mapping[str, str], locked: Mapping[str, Sequence[str]]
) -> Section:
    """Software that took part, as each training noted it and as this page's job found it.

    Said are packages whose version is not the same in all trainings, and those that ran in
    another version than the lock file pins.
    """
    patterns = ("segmentation/models/*", "models/*/*", "ensembles/models/*")
    files = [name for part in patterns for name in results.names(f"{part}.versions.json")]
    trainings: dict[str, Counter[str]] = {}
    for name in files:
        for package, version in results.json(name).items():
            trainings.setdefault(package, Counter())[str(version)] += 1
    if not trainings and not analysis:
        return Section("versions", "Software", [Note("Versions were not handed to the report.")])

    def spoken(package: str) -> str | None:
        found = sorted(trainings.get(package, Counter()).items())
        if len(found) < 2:
            return found[0][0] if found else None
        return ", ".join(f"{version} ({plural(n, 'training')})" for version, n in found)

    mixed = [f"{name} {spoken(name)}" for name in sorted(trainings) if len(trainings[name]) > 1]
    others = [
        f"{name} {version} instead of {' or '.join(locked[name])}"
        for name in sorted(locked)
        for version in sorted({*trainings.get(name, ()), *filter(None, [analysis.get(name)])})
        if version not in locked[name]
    ]
    notes = []
    if mixed:
        text = f"Not all trainings ran with the same versions: {'; '.join(mixed)}."
        notes.append(Note(f"{text} Their models may differ for that reason alone.", "warning"))
    if others:
        text = f"Other versions ran than the lock file pins: {', '.join(others)}."
        notes.append(Note(text, "warning"))
    names = sorted(
        {*trainings, *analysis, *locked}, key=lambda name: (name not in MAIN_PACKAGES, name.lower())
    )
    rows = [
        {
            "name": name,
            "trainings": spoken(name),
            "analysis": analysis.get(name),
            "locked": " or ".join(locked[name]) if name in locked else None,
        }
        for name in names
    ]
    main = sum(name in MAIN_PACKAGES for name in names)
    columns = {
        "name": "Package",
        "trainings": "Trainings",
        "analysis": "Analysis",
        "locked": "Lock file",
    }
    return Section(
        "versions",
        "Software",
        [
            *notes,
            table(
                "versions-table",
                "Versions",
                f"Python and packages: as {plural(len(files), 'training')} noted them, as this "
                "page's job found them, and as the lock file of the workflow pins them; the main "
                "ones first. Where nothing stands, a package was not used there or not noted.",
                pd.DataFrame(rows, columns=list(columns)),
                [Column(key, title, code=True) for key, title in columns.items()],
                shown=main or len(rows),
            ),
        ],
    )


def rules(edges: Iterable[tuple[str, str]]) -> Section:
    """The steps and what each waits for."""
    pairs = sorted({(str(rule), str(dependency)) for rule, dependency in edges})
    if not pairs:
        return Section("rules", "Steps", [Note("The rule graph was not handed to the report.")])
    names = sorted({name for pair in pairs for name in pair})
    drawing = rulegraph.draw(pairs)
    rows = []
    for name in names:
        needs = sorted({dependency for rule, dependency in pairs if rule == name} - {name})
        rows.append({"rule": name, "needs": listed(needs) or "nothing: it comes first"})
    return Section(
        "rules",
        "Steps",
        [
            Drawing(
                "rulegraph",
                "Rule graph",
                f"The {plural(len(names), 'rule')} of the workflow; an arrow leads from a step to "
                "one that uses its output. Arrows that others imply are left out. A rule may run "
                "many times, for example train once for each loss and seed.",
                Markup(drawing),
            ),
            table(
                "rules-table",
                "The same in words",
                "Each rule and those whose output it needs.",
                pd.DataFrame(rows),
                [Column("rule", "Rule", code=True), Column("needs", "Needs")],
                folded=True,
            ),
        ],
    )


def _spoken(seconds: float) -> str:
    """'2 h 5 min', '12 min' or '45 s'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def run_times(results: Path, figures: Figures) -> Section:
    """What each step took; the one section that differs when nothing else does."""
    steps = step_times(results)
    if not steps:
        note = Note("No run times were recorded for this study.")
        return Section("times", "Run times", [note], exempt=True)
    total = sum(step.seconds for step in steps)
    jobs = sum(step.jobs for step in steps)
    frame = pd.DataFrame(
        [
            {
                "rule": step.rule,
                "jobs": step.jobs,
                "total": Cell(clock(step.seconds), sort_key(step.seconds)),
                "longest": Cell(clock(step.longest_seconds), sort_key(step.longest_seconds)),
                "memory": math.nan if step.max_rss is None else step.max_rss,
            }
            for step in steps
        ]
    )
    return Section(
        "times",
        "Run times",
        [
            Text(
                [
                    f"{plural(jobs, 'measured job')} that were done when this page was written, "
                    f"itself not counted, took {_spoken(total)} together. Jobs run side by side, "
                    "so the study took less than that on a machine with several cores."
                ]
            ),
            table(
                "times-table",
                "Time and memory of each step",
                "Wall-clock time from Snakemake's benchmark files, summed over the jobs of a rule, "
                "the longest single job, and the largest resident memory of any job. These numbers "
                "depend on the machine and its load.",
                frame,
                [
                    Column("rule", "Rule", code=True),
                    Column("jobs", "Jobs", count),
                    Column("total", "Together", number),
                    Column("longest", "Longest job", number),
                    Column("memory", "Memory, MiB", lambda value: number(value, 0)),
                ],
                source="benchmarks/",
            ),
            *figures.rest("Cost"),
        ],
        exempt=True,
    )
