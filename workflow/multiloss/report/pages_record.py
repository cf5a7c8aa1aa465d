"""What lets someone repeat the study: configuration, versions, run times."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from multiloss.job.progress import clock
from multiloss.job.summary import step_times
from multiloss.report.blocks import (
    Cell,
    Column,
    Note,
    Section,
    plural,
    sort_key,
    table,
)
from multiloss.report.facts import Facts
from multiloss.report.results import Results

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


def configuration(facts: Facts) -> str:
    """The whole config with every default filled in, as YAML."""
    # By way of JSON: Snakemake's config may hold its own kinds of mappings.
    plain = json.loads(json.dumps(facts.config))
    if not facts.study.segmented:
        # Nothing of it was used.
        plain = {key: value for key, value in plain.items() if key not in ("segmentation", "crop")}
    return yaml.safe_dump(
        plain, sort_keys=False, allow_unicode=True, width=88, default_flow_style=False
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


def _spoken(seconds: float) -> str:
    """'2 h 5 min', '12 min' or '45 s'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def run_times(results: Path) -> dict[str, Any]:
    """What each step took: `steps` (rows of a table), `jobs`, and `together` in words."""
    steps = step_times(results)
    rows = [
        {
            "rule": step.rule,
            "jobs": step.jobs,
            "total": Cell(clock(step.seconds), sort_key(step.seconds)),
            "longest": Cell(clock(step.longest_seconds), sort_key(step.longest_seconds)),
            "memory": math.nan if step.max_rss is None else round(step.max_rss),
        }
        for step in steps
    ]
    return {
        "steps": rows,
        "jobs": sum(step.jobs for step in steps),
        "together": _spoken(sum(step.seconds for step in steps)),
    }
