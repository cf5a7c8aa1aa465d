"""Figure of what the study cost to compute, from Snakemake's benchmark files."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from multiloss.figures.drawing import Drawing, Inputs, message
from multiloss.figures.style import Style, count
from multiloss.progress import clock
from multiloss.summary import step_times


def compute_cost(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Summed wall-clock time and largest memory of each rule's jobs."""
    found = step_times(inputs.path("metrics").parents[1])
    # Figures are drawn while this one is: how many have a time by now is chance.
    times = [step for step in found if step.rule not in ("figure", "report")]
    if not times:
        return message(style, "No benchmark files: nothing was measured.")
    canvas = style.figure(22 + len(times) * style.line_mm * 1.5)
    left, right = canvas.subplots(1, 2, sharey=True)
    places = np.arange(len(times))
    size = style.font_size - 0.5
    minutes = [step.seconds / 60 for step in times]
    bars = left.barh(places, minutes, 0.7, color=style.colours[0])
    left.bar_label(bars, [clock(step.seconds) for step in times], padding=2, fontsize=size)
    left.set_xlabel("summed wall-clock time, minutes")
    memory = [(step.max_rss or 0) / 1024 for step in times]
    bars = right.barh(places, memory, 0.7, color=style.colours[5])
    # Jobs of less than a second end before their memory is seen.
    texts = [f"{value:.2f}" if value >= 0.005 else "not measured" for value in memory]
    right.bar_label(bars, texts, padding=2, fontsize=size)
    right.set_xlabel("largest resident memory of a job, GiB")
    names = [f"{step.rule} ({count(step.jobs, 'job')})" for step in times]
    left.set_yticks(places, names)
    left.invert_yaxis()
    right.tick_params(left=False)
    for axes in (left, right):
        axes.margins(x=0.16, y=0.02)
        axes.grid(axis="y", visible=False)
    total = sum(step.seconds for step in times)
    jobs = sum(step.jobs for step in times)
    left.set_title(f"{count(jobs, 'job')}, {clock(total)} in all (h:mm:ss)", loc="left")
    return Drawing(canvas, f"{count(jobs, 'measured job')}, {clock(total)} in all.")
