"""Figures of what the study shows and could have shown, and of what a next one takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from multiloss.evaluation import planning as plan
from multiloss.evaluation import verdicts as judged
from multiloss.figures.degenerate import Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.forest import ARROWS, far, leaves
from multiloss.figures.performance import no_mark
from multiloss.figures.sizes import all_sizes, sizes
from multiloss.figures.style import INK, MUTED, Style, count, gap, text_mm
from multiloss.statistics import effects
from multiloss.statistics.metrics import lookup
from multiloss.study import ModelTable

# Behind the rows, in colours that letters and lines stand out on.
BAND, REACH = "#cfe3d6", "#d9d9d9"
_ENDS = ("difference", "ci_low", "ci_high")
STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
TITLES = {
    judged.LOSS: "losses against {baseline}",
    judged.ENSEMBLE: "ensembles against their best member",
}


def verdicts(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Each primary comparison with its interval, the margin, what it could find, its verdict."""
    numbers = ["difference", "ci_low", "ci_high", "margin", "p_positive", "detectable_corrected"]
    numbers += ["hypotheses", "n"]
    table = inputs.table(
        "verdicts", numbers, text=["question", "a", "b", "metric", "basis", "verdict"]
    )
    table = table[table["question"].isin(TITLES)]
    if table.empty:
        return message(style, "No primary comparison was planned.")
    models, weak = inputs.models, Degenerate.of(inputs, params["replicates"])
    planned, table = table, table.loc[page_of(table.index, params)]
    blocks = [(name, part) for name, part in table.groupby("question", sort=False)]
    step = style.line_mm * 1.5
    canvas = style.figure(len(table) * step + 9 * len(blocks) + 22)
    axes = canvas.subplots(
        len(blocks), 1, squeeze=False, sharex=True, height_ratios=[len(p) + 0.4 for _, p in blocks]
    ).ravel()
    widest = _widest(table)
    limits = (-1.06 * widest, 1.06 * widest)
    margin = table["margin"].iloc[0]
    for place, (question, part) in zip(axes, blocks, strict=True):
        title = TITLES[question].format(baseline=models.label_of(params["baseline"]))
        basis = " / ".join(dict.fromkeys(part["basis"]))
        tests = part["hypotheses"].max()
        asked = f"; alpha over {int(tests)}" if tests == tests else ""
        place.set_title(f"{title} ({basis}{asked})", loc="left")
        if margin > 0:
            place.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
        place.axvline(0, color=INK, linewidth=0.8, zorder=1)
        for row_place, row in enumerate(part.itertuples()):
            _row(place, row_place, row, limits, style)
        labels = [_label(row, weak, models, params["replicates"]) for row in part.itertuples()]
        place.set_yticks(range(len(part)), labels)
        place.set_ylim(len(part) - 0.4, -0.6)
        place.tick_params(left=False)
        place.grid(axis="y", visible=False)
    # Room at the right for what is written there.
    share = (text_mm(effects.INCONCLUSIVE, style.font_size) + 16) / 110
    axes[0].set_xlim(limits[0], limits[1] * (1 + 2 * share / (1 - share)))
    ticks = [tick for tick in axes[0].get_xticks() if abs(tick) <= limits[1]]
    axes[0].set_xticks(ticks)
    for place in axes[:-1]:
        place.tick_params(labelbottom=False)
    title = lookup(str(table["metric"].iloc[0])).metric.title
    folds = (table["basis"] == judged.FOLDS).any()
    tested = f"all folds, {all_sizes(inputs)}" if folds else f"test split, {sizes(inputs, table)}"
    axes[-1].set_xlabel(f"difference in {title}; {tested}", loc="left")
    axes[0].text(
        0.995, 1.0, "P(> 0)", transform=axes[0].transAxes, ha="right", va="bottom", color=MUTED
    )
    look = {"color": style.colours[0], "linewidth": 1.3}
    handles = [
        axes[0].plot([], [], "o-", label=f"difference, {params['percent']} interval", **look)[0],
        Patch(color=REACH, linewidth=0, label="could not have been found"),
    ]
    if margin > 0:
        label = f"does not matter: within {margin:g}"
        handles.append(Patch(color=BAND, linewidth=0, label=label))
    handles += [no_mark()] * weak.any
    canvas.legend(handles=handles, loc="outside lower center", ncols=2 if weak.any else 3)
    said = [_counted(planned), _found(planned)]
    beyond = (table["ci_low"] < limits[0]) | (table["ci_high"] > limits[1])
    said += [ARROWS] * bool(beyond.any())
    return Drawing(canvas, " ".join(filter(None, said)) + weak.note(), table)


def _widest(table: pd.DataFrame) -> float:
    """How far panels reach to either side of 0; an interval far wider than usual does not count."""
    near = table[~far(table, _ENDS, "question")]
    ends = near[["ci_low", "ci_high", "detectable_corrected"]].abs().to_numpy().ravel()
    # Beyond 1 nothing is left to be found.
    return max(min(1.0, np.nanmax([0.01, *ends])), *table["difference"].abs().fillna(0))


def _row(axes: Axes, place: int, row: Any, limits: tuple[float, float], style: Style) -> None:
    """One comparison, what it could have found, and its verdict at the right."""
    if pd.isna(row.difference):
        gap(axes, place)
        return
    reach = min(row.detectable_corrected, limits[1])
    if reach == reach:
        axes.plot([-reach, reach], [place] * 2, color=REACH, linewidth=6, solid_capstyle="butt")
    look = {"color": style.colours[0]}
    at = (row.difference, row.ci_low, row.ci_high)
    # What is written at the right is no part of the panel.
    axes.plot(np.clip(at[1:], *limits), [place] * 2, linewidth=1.3, zorder=3, **look)
    leaves(axes, limits, place, at, style.colours[0])
    shown = row.verdict != effects.INCONCLUSIVE
    fill = look["color"] if shown else "white"
    axes.plot(row.difference, place, "o", ms=4.0, mfc=fill, mew=0.9, zorder=4, **look)
    beside = {"xycoords": ("axes fraction", "data"), "va": "center", "ha": "right"}
    probability = "" if pd.isna(row.p_positive) else f"{row.p_positive:.2f}"
    axes.annotate(probability, (0.995, place), color=MUTED, **beside)
    axes.annotate(
        row.verdict,
        (0.995, place),
        xytext=(-26, 0),
        textcoords="offset points",
        fontweight="bold" if shown else "normal",
        **beside,
    )


def _label(row: Any, weak: Degenerate, models: ModelTable, replicates: int) -> str:
    """The first of a comparison: a loss or an ensemble, or one run where there are several."""
    if row.a in models:
        model = models[row.a]
        return weak.mark(model.label_of_run if replicates > 1 else model.label, row.a)
    return weak.mark(models.label_of(row.a), *(model.name for model in models.families[row.a]))


def _counted(table: pd.DataFrame) -> str:
    made = table[table["difference"].notna()]
    numbers = made["verdict"].value_counts()
    told = [f"{numbers[name]} {name}" for name in effects.VERDICTS if name in numbers]
    return f"{count(len(table), 'comparison')}: {', '.join(told) or 'none could be made'}."


def _found(table: pd.DataFrame) -> str:
    least = table["detectable_corrected"].dropna()
    if least.empty:
        return ""
    low, high = (f"{end:.2f}" if end <= 1 else "more than 1" for end in (least.min(), least.max()))
    return (
        "With a power of 80% each would have found a difference of "
        f"{low if low == high else f'{low} to {high}'}."
    )


def planning(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """The smallest difference that is found against patients, a line for each seed number."""
    table = inputs.table(
        "planning",
        ["value", "seeds", "hypotheses", "patients", "n", "n_patients"],
        text=["kind", "question", "metric"],
    )
    table = table[table["kind"] == plan.DETECTABLE]
    if table["value"].isna().all():
        return message(style, "The spread between patients is unknown: nothing can be planned.")
    blocks = [
        (name, part[part["hypotheses"] == part["hypotheses"].max()])
        for name, part in table.groupby("question", sort=False)
    ]
    canvas = style.figure(74)
    axes = canvas.subplots(1, len(blocks), squeeze=False, sharey=True).ravel()
    title = lookup(str(table["metric"].iloc[0])).metric.title
    lines: dict[str, Any] = {}
    for place, (question, part) in zip(axes, blocks, strict=True):
        look = {"color": INK, "linewidth": 0.8, "linestyle": "--", "zorder": 1}
        now = place.axvline(float(table["n_patients"].iloc[0]), **look)
        for seeds, rows in part.groupby("seeds", dropna=False):
            number = 6 if pd.isna(seeds) else plan.SEED_NUMBERS.index(int(seeds))
            label = "fixed networks" if pd.isna(seeds) else count(int(seeds), "run")
            label += " (their spread known)" if seeds == 1 else ""
            look = {"color": style.colours[number], "marker": "osD^vo*"[number], "label": label}
            lines.setdefault(label, place.plot(rows["patients"], rows["value"], ms=3.0, **look)[0])
        place.set_xscale("log")
        place.set_yscale("log")
        place.set_xticks(plan.PATIENTS, [f"{number:,}" for number in plan.PATIENTS], rotation=40)
        for axis in (place.xaxis, place.yaxis):
            axis.set_minor_locator(NullLocator())
        place.set_xlabel("patients in the test split")
        name = TITLES[question].format(baseline=params["baseline_label"])
        tests = int(part["hypotheses"].max())
        place.set_title(f"{name}\n(alpha {params['alpha']:g} over {tests})", loc="left")
    axes[0].set_ylim(top=min(1.0, axes[0].get_ylim()[1]))
    low, high = axes[0].get_ylim()
    steps = [step for step in STEPS if low <= step <= high]
    axes[0].set_yticks(steps, [f"{step:g}" for step in steps])
    axes[0].set_ylabel(f"difference in {title} found with 80% power")
    lines[f"this study, {sizes(inputs, table)}"] = now
    canvas.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4)
    smallest = table[table["hypotheses"] == table["hypotheses"].max()]["value"].min()
    return Drawing(
        canvas,
        f"This study: {sizes(inputs, table)}. The smallest difference of any line is "
        f"{smallest:.3f}.",
        pd.concat([part for _, part in blocks]),
    )
