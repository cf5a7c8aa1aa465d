"""Figures of differences in rows: every model beside the baseline, and what ensembles gain."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patches import Patch

from multiloss.evaluation import against_baseline as beside
from multiloss.evaluation import ensembles_over_seeds as over_seeds
from multiloss.evaluation import families
from multiloss.figures.degenerate import DAGGER, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of
from multiloss.figures.sizes import sizes, test_patients
from multiloss.figures.style import (
    INK,
    MUTED,
    NO_RESULT,
    Style,
    count,
    fold,
    gap,
    of_model,
    text_mm,
)
from multiloss.statistics.metrics import lookup
from multiloss.study import ModelTable

BAND = "#dadada"
SAME, SIGNIFICANT = "\N{DOUBLE DAGGER}", "*"
MINUS, DELTA = "\N{MINUS SIGN}", "\N{GREEK CAPITAL LETTER DELTA}"
NOT_COMPARED = "not compared"
NOT_DEFINED = "not defined"
# An interval so many times as wide as usual leaves the panel, so that the others can be read.
FAR = 6
ARROWS = "Arrows: the interval goes on beyond the panel."
# Share of a figure's width that labels of rows may take; longer ones have two lines.
LABELS = 0.37
_TESTED = ("p_adjusted", "hypotheses")
_VALUES = ("value", "ci_low", "ci_high")
_ENDS = ("difference", "difference_low", "difference_high")


def signed(value: float) -> str:
    """A difference with two decimals and its sign, as in +0.09, \N{MINUS SIGN}0.16 and 0.00."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", MINUS)


def difference(value: float, low: float, high: float) -> str:
    """A difference with its interval, or that there is none."""
    if value != value:
        return ""
    if low != low or high != high:
        return f"{signed(value)} (no interval)"
    return f"{signed(value)} ({signed(low)} to {signed(high)})"


def p_value(value: float) -> str:
    """A p value with two digits; three below 0.1, where the level lies."""
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def true(column: pd.Series) -> pd.Series:
    """Which cells say true: columns with gaps hold text."""
    return column.astype(str).str.lower() == "true"


def unit_of(inputs: Inputs) -> str:
    """What intervals take for drawn at random."""
    return "images" if test_patients(inputs) == "unknown patients" else "patients"


def chosen_families(inputs: Inputs, models: ModelTable) -> dict[str, str]:
    """Families of the chosen single model and ensemble, and the chosen model of each."""
    chosen = inputs.table("chosen", text=["what", "model"])
    names = chosen.loc[chosen["what"].isin(["single", "ensemble"]), "model"]
    return {models[name].family: name for name in names if name in models}


@dataclass
class Rows:
    """Rows with headings, one below the other; `canvas` and panels are made by `panels`."""

    style: Style
    places: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    bold: list[bool] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    headings: list[tuple[float, str]] = field(default_factory=list)
    next: float = 0.0

    def heading(self, text: str) -> None:
        """A heading above the rows that follow."""
        self.next += 0.35 if self.places else 0.0
        self.headings.append((self.next, text))
        self.next += 1.0

    def row(self, label: str, model: str, bold: bool = False, tall: float = 1.0) -> float:
        """The place of a row, `tall` rows high, of this model (or of a family's runs)."""
        label = fold(label, LABELS * self.style.double_column_mm, self.style.small, bold)
        tall = max(tall, 1 + 0.85 * label.count("\n"))
        self.places.append(self.next + (tall - 1.0) / 2)
        self.labels.append(label)
        self.models.append(model)
        self.bold.append(bold)
        self.next += tall
        return self.places[-1]

    @property
    def height_mm(self) -> float:
        return self.next * self.style.line_mm * 1.12

    def label(self, axes: Axes) -> None:
        """Labels at the left of a panel; headings begin where the longest label does."""
        axes.set_yticks(self.places, self.labels)
        labels = zip(axes.get_yticklabels(), self.models, self.bold, strict=True)
        for tick, model, bold in labels:
            tick.set_fontweight("bold" if bold else "normal")
            of_model(model, tick)
        for place, text in self.headings:
            axes.annotate(
                text,
                (0, place),
                xycoords=("axes fraction", "data"),
                xytext=(-self.width_mm * 72 / 25.4 - 4, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold",
            )
        axes.tick_params(axis="y", length=0)

    @property
    def width_mm(self) -> float:
        """Width of the labels and headings."""
        widths = [
            text_mm(line, self.style.small, bold)
            for label, bold in zip(self.labels, self.bold, strict=True)
            for line in label.split("\n")
        ]
        size = self.style.font_size
        return max(widths + [text_mm(text, size, True) for _, text in self.headings])

    def limits(self, axes: Axes) -> None:
        """All rows in view, the first above; lines across would cut through labels."""
        axes.set_ylim(self.next - 0.4, -0.6)
        axes.grid(axis="y", visible=False)


def number_column(axes: Axes, rows: Rows, texts: Sequence[str], title: str) -> None:
    """A column of texts at the right of a panel, one for each row, below its title."""
    twin = axes.twinx()
    twin.set_ylim(axes.get_ylim())
    twin.set_yticks(rows.places, texts)
    for tick, model in zip(twin.get_yticklabels(), rows.models, strict=True):
        of_model(model, tick)
    twin.tick_params(length=0)
    twin.grid(False)
    twin.annotate(
        title,
        (1, 1),
        xycoords="axes fraction",
        xytext=(4, 3),
        textcoords="offset points",
        fontweight="bold",
    )


def directions(axes: Axes) -> None:
    """Say above a panel of differences which side is better."""
    axes.set_title("\N{LEFTWARDS ARROW} worse", loc="left", color=MUTED)
    axes.set_title("better \N{RIGHTWARDS ARROW}", loc="right", color=MUTED)
    axes.axvline(0, color=INK, linewidth=0.8)


def mark(
    axes: Axes,
    place: float,
    at: Sequence[float],
    colour: str,
    model: str,
    chosen: bool,
    small: bool = False,
) -> None:
    """A model's value (value, low, high) with its interval; filled where it was chosen."""
    value, low, high = at
    if low == low and high == high:
        line = {"color": colour, "lw": 0.7 if small else 1.2, "zorder": 3}
        of_model(model, *axes.plot([low, high], [place] * 2, **line))
    look: dict[str, Any] = {"color": colour, "zorder": 4, "mew": 0.7 if small else 1.0}
    look |= {"marker": "D", "ms": 4.2} if chosen else {"marker": "o", "ms": 4.0, "mfc": "white"}
    look["ms"] -= 1.6 * small
    if value == value:
        of_model(model, *axes.plot([value], [place], **look))


def far(table: pd.DataFrame, ends: Sequence[str], kind: str) -> pd.Series:
    """Which rows have an interval so much wider than usual that it would squeeze the others.

    `ends`: the columns of value, low and high. Intervals are compared with those of the rows of
    the same `kind` (a column), of which the widest kind counts.
    """
    wide = (table[ends[2]] - table[ends[1]]).where(table[ends[0]].notna())
    usual = wide.groupby(table[kind]).median().max()
    return (wide > FAR * usual) & (usual > 0)


def narrowed(table: pd.DataFrame, ends: Sequence[str], *more: float) -> tuple[float, float] | None:
    """The limits of a panel that some intervals leave; None where all have room.

    `ends`: the columns of value, low and high; `more`: what else must be in view.
    """
    leaving = far(table, ends, "row")
    if not leaving.any():
        return None
    near = table[~leaving]
    seen = [*table[ends[0]], *near[ends[1]], *near[ends[2]], *more]
    low, high = np.nanmin(seen), np.nanmax(seen)
    pad = 0.05 * (high - low)
    return low - pad, high + pad


def leaves(
    axes: Axes, limits: tuple[float, float], place: float, at: Sequence[float], colour: str
) -> list[Line2D]:
    """Arrows where an interval (value, low, high) goes on beyond the limits of its panel."""
    drawn = []
    for end, limit, sign in zip(at[1:], limits, (-1, 1), strict=True):
        if sign * (end - limit) > 0:
            tip = CARETRIGHT if sign > 0 else CARETLEFT
            drawn += axes.plot([limit], [place], marker=tip, color=colour, ms=3.0, mew=0, zorder=3)
    return drawn


def chosen_handle() -> Line2D:
    """The entry of the legend for chosen models."""
    return Line2D([], [], color=INK, marker="D", ms=4.2, lw=0, label="chosen on the ensemble split")


def counted(table: pd.DataFrame, which: str) -> str:
    """How many of the tested differences are significant, after which correction.

    `table`: rows of one family with p_adjusted, reject and correction; `which`: from what they are.
    """
    made = table[table["p_adjusted"].notna()]
    what = f"primary differences from {which}"
    if made.empty:
        return f"No test of the {what} could be made."
    found, total = int(true(made["reject"]).sum()), len(made)
    by = families.CORRECTIONS[str(made["correction"].iloc[0])]
    smallest = p_value(float(made["p_adjusted"].min()))
    if total == 1:
        said = "is" if found else "is not"
        return f"The only primary difference from {which} {said} significant ({smallest})."
    number = "None" if not found else "All" if found == total else str(found)
    verb = "is" if found < 2 and number != "All" else "are"
    subject = f"All {total} {what}" if number == "All" else f"{number} of the {total} {what}"
    better = int((made.loc[true(made["reject"]), "difference"] > 0).sum())
    ways = f"{better} better, {found - better} worse; " if found else ""
    return f"{subject} {verb} significant ({ways}correction: {by}; smallest adjusted {smallest})."


def foot(canvas: Canvas, style: Style, text: str) -> None:
    """Notes below a figure."""
    canvas.supxlabel(text, fontsize=style.small, x=0.01, ha="left")


def foot_text(style: Style, lines: Iterable[str]) -> str:
    """Notes, each folded to the width of a figure."""
    width = style.double_column_mm - 6
    return "\n".join(fold(line, width, style.small) for line in lines if line)


def forest(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Two panels: the metric of every model, and its paired difference from the baseline."""
    needed = ["replicates", "value", "ci_low", "ci_high", *_ENDS, *_TESTED, "band_low", "n"]
    text = ["row", "family", "metric", "runs", "basis", "same_objective", "correction"]
    table = inputs.table("beside", [*needed, "band_high", "band_runs"], text=text)
    if not (table["replicates"] > 0).any():
        return message(style, "No model has a result.")
    models, weak = inputs.models, Degenerate.of(inputs, params["replicates"])
    title = lookup(table["metric"].iloc[0]).metric.title
    chosen = chosen_families(inputs, models)
    base = table[table["row"] == beside.BASELINE].iloc[0]
    reference = models.label_of(base["family"])
    colours = {
        beside.BASELINE: INK,
        beside.LOSS: style.colours[0],
        beside.ABLATION: style.colours[3],
        beside.ENSEMBLE: style.colours[1],
        beside.SEED_ENSEMBLE: style.colours[2],
    }
    rows, drawn, numbers, headings = Rows(style), [], [], _headings(table, models)
    listed = table.sort_values("value", ascending=False, kind="stable", na_position="last")
    listed = listed.sort_values("row", key=lambda row: row.map(list(headings).index), kind="stable")
    listed = listed.loc[page_of(listed.index, params)]
    for group, part in listed.groupby("row", sort=False):
        rows.heading(headings[group])
        for row in part.to_dict("records"):
            label = _label(row, models, weak, chosen, params["replicates"])
            is_chosen = row["family"] in chosen
            bold = is_chosen or group == beside.BASELINE
            place = rows.row(label, models.name_of(row["family"]), bold)
            drawn.append((place, row, colours[group], is_chosen))
            numbers.append(_number(row, group))
    in_view = (0.0, base["band_low"], base["band_high"])
    leaving = any(far(table, ends, "row").any() for ends in (_VALUES, _ENDS))
    lines = _notes(inputs, table, title, reference, weak, params["replicates"])
    lines += [ARROWS] * leaving
    notes = foot_text(style, lines)
    foot_mm = (notes.count("\n") + 1) * style.line_mm
    canvas = style.figure(rows.height_mm + 24 + foot_mm)
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=[1, 1.15])
    for place, row, colour, is_chosen in drawn:
        at, model = [row["value"], row["ci_low"], row["ci_high"]], models.name_of(row["family"])
        runs = [float(value) for value in row["runs"].split(";") if value]
        if not row["replicates"]:
            gap(left, place)
        elif row["value"] != row["value"]:
            say(left, place, NOT_DEFINED)
        mark(left, place, at, colour, model, is_chosen)
        if len(runs) > 1:
            look = {"color": colour, "ms": 2.0, "linestyle": "none", "mew": 0}
            of_model(model, *left.plot(runs, np.full(len(runs), place + 0.33), "o", **look))
        if row["row"] == beside.BASELINE:
            continue
        if row["difference"] == row["difference"]:
            mark(right, place, [row[name] for name in _ENDS], colour, model, is_chosen)
        elif row["replicates"]:
            say(right, place, NOT_COMPARED)
    if base["value"] == base["value"]:
        left.axvline(base["value"], color=INK, linewidth=0.8, linestyle="--", zorder=1)
    rows.limits(left)
    rows.label(left)
    right.tick_params(axis="y", length=0, labelleft=False)
    right.grid(axis="y", visible=False)
    directions(right)
    handles: list[Any] = [chosen_handle()] if chosen else []
    handles += _band(right, base, reference, params["percent"])
    if (table["replicates"] > 1).any():
        handles.append(Line2D([], [], color=INK, marker="o", ms=2.0, lw=0, label="a training run"))
    of_numbers = f"{DELTA}{title} ({params['percent']} interval)"
    column_mm = max(text_mm(text, style.font_size, True) for text in (*numbers, of_numbers))
    panel_mm = (style.double_column_mm - rows.width_mm - column_mm - 8) / 2
    for axes, text in ((left, f"{title} ({params['percent']} interval)"),
                       (right, f"difference from {reference}")):  # fmt: skip
        axes.set_xlabel(fold(text, panel_mm, style.font_size))
    number_column(right, rows, numbers, of_numbers)
    for axes, values in ((left, table["value"]), (right, table["difference"])):
        axes.locator_params(axis="x", nbins=5)
        if values.isna().all():
            axes.set_xticks([])
        elif np.ptp(values.dropna()) < 1e-6 and axes is right:
            axes.set_xlim(-0.1, 0.1)
    runs = [float(value) for text in table["runs"] for value in text.split(";") if value]
    panels = ((left, _VALUES, runs), (right, _ENDS, in_view))
    for axes, ends, more in panels:
        limits = narrowed(table, ends, *more)
        if limits is None:
            continue
        axes.set_xlim(limits)
        for place, row, colour, _ in drawn:
            at = [row[name] for name in ends]
            of_model(models.name_of(row["family"]), *leaves(axes, limits, place, at, colour))
    canvas.legend(handles=handles, loc="outside upper center", ncols=3)
    foot(canvas, style, notes)
    facts = f"Test split, {sizes(inputs, table)}. {_primary(table, reference)}"
    return Drawing(canvas, facts + weak.note(), listed)


def _headings(table: pd.DataFrame, models: ModelTable) -> dict[str, str]:
    """The groups that a study has, in order, with their headings."""
    listed = [models.families[name][0] for name in table.loc[table["row"] == "loss", "family"]]
    # A way of training that bears another name than its loss differs by more than the loss.
    losses = all(model.variant == model.loss for model in listed)
    trained = "losses" if losses else "ways of training"
    of_seeds = [m for m in models.values() if m.kind == beside.SEED_ENSEMBLE]
    alone = models.label_of(of_seeds[0].variant or "") if of_seeds else ""
    words = {
        beside.BASELINE: "Reference",
        beside.LOSS: f"Other {trained}",
        beside.ABLATION: "The reference with a step left out",
        beside.ENSEMBLE: f"Ensembles of different {trained}",
        beside.SEED_ENSEMBLE: f"Ensembles of {alone} alone",
    }
    return {group: text for group, text in words.items() if (table["row"] == group).any()}


def _label(
    row: Mapping[str, Any],
    models: ModelTable,
    weak: Degenerate,
    chosen: Mapping[str, str],
    replicates: int,
) -> str:
    family = row["family"]
    members = models.families[family]
    text = weak.mark(models.label_of(family), *(model.name for model in members))
    text += f" {SAME}" if row["same_objective"] else ""
    if row["replicates"] and row["replicates"] != (replicates if len(members) > 1 else 1):
        text += f", {count(int(row['replicates']), 'run')}"
    if family in chosen:
        run = models[chosen[family]].replicate
        # Of several runs one was chosen.
        text += f" (run {run} chosen)" if replicates > 1 and run is not None else " (chosen)"
    return text


def _number(row: Mapping[str, Any], group: str) -> str:
    if group == beside.BASELINE:
        return "reference"
    if not row["replicates"]:
        return NO_RESULT
    star = f" {SIGNIFICANT}" if _significant(row) else ""
    return f"{difference(*(row[name] for name in _ENDS))}{star}" or NOT_COMPARED


def _significant(row: Mapping[str, Any]) -> bool:
    return str(row["reject"]).lower() == "true"


def say(axes: Axes, place: float, text: str) -> None:
    """Words in the place of a mark that there is not."""
    axes.annotate(
        text,
        (0, place),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        color=MUTED,
        fontstyle="italic",
    )


def _band(axes: Axes, base: pd.Series, reference: str, percent: str) -> list[Any]:
    """Where further runs of the reference would lie; without a handle where that is unknown."""
    if pd.isna(base["band_low"]):
        return []
    axes.axvspan(base["band_low"], base["band_high"], color=BAND, linewidth=0, zorder=0)
    further = int(base["band_runs"])
    which = "one further run" if further == 1 else f"the mean of {further} further runs"
    label = f"{which} of {reference} ({percent} prediction interval)"
    return [Patch(color=BAND, linewidth=0, label=label)]


def _primary(table: pd.DataFrame, reference: str) -> str:
    planned = table[true(table["primary"])]
    if planned.empty:
        return f"No difference from {reference} is a primary comparison of this study."
    return counted(planned, reference)


def _notes(
    inputs: Inputs,
    table: pd.DataFrame,
    title: str,
    reference: str,
    weak: Degenerate,
    replicates: int,
) -> list[str]:
    """What stands below the figure: sizes, verdict, bases and signs."""
    base, models = table[table["row"] == beside.BASELINE].iloc[0], inputs.models
    notes = [f"Test split, {sizes(inputs, table)}. {_primary(table, reference)}"]
    secondary = table[~true(table["primary"]) & (table["row"] != beside.BASELINE)]
    if len(secondary) and true(table["primary"]).any():
        kinds = dict.fromkeys(secondary["row"])
        words = {
            beside.LOSS: "losses that share an objective",
            beside.ABLATION: "models with a step left out",
            beside.ENSEMBLE: "ensembles",
            beside.SEED_ENSEMBLE: "averages of seeds",
        }
        named = _listed([words[kind] for kind in kinds])
        notes[0] += f" Differences of {named} are secondary and not counted."
    if true(table["reject"]).any():
        notes.append(f"{SIGNIFICANT} significant after the correction of its own family of tests.")
    units = unit_of(inputs)
    bases = table.loc[table["difference"].notna(), ["row", "basis"]].drop_duplicates()
    if bases["basis"].nunique() > 1:
        alone = table[(table["basis"] == beside.RUNS) & table["difference"].notna()]
        words = {
            beside.LOSS: "some losses",
            beside.ABLATION: "models with a step left out",
            beside.ENSEMBLE: "ensembles",
            beside.SEED_ENSEMBLE: "averages of seeds",
        }
        named = _listed([words[kind] for kind in dict.fromkeys(alone["row"])])
        notes.append(
            f"Intervals of differences: other {units} and other runs; of {named} other {units} "
            "alone, with these training runs."
        )
    elif (bases["basis"] == beside.RUNS).any():
        notes.append(
            f"Intervals of differences: other {units}, with these training runs; what other runs "
            "would change is not in them."
        )
    elif len(bases):
        notes.append(f"Intervals of differences: other {units} and other runs.")
    if _limited(table, base):
        known = lookup(base["metric"]).metric
        ends = (f"{end:g}".replace("-", MINUS) for end in (known.low, known.high))
        notes.append(f"Intervals and band end where {title} does: {' and '.join(ends)}.")
    if pd.isna(base["band_low"]):
        notes.append(
            f"{reference} was trained once: how far two runs of it differ is unknown (no band)."
        )
    if replicates > 1:
        notes.append(f"Means of {replicates} training runs where the label has no other number.")
    same = table[table["same_objective"] != ""]
    if len(same):
        pairs = [
            f"{models.label_of(row.family)} as {models.label_of(row.same_objective)}"
            for row in same.itertuples()
        ]
        notes.append(f"{SAME} same objective, so differing by chance alone: {'; '.join(pairs)}.")
    if weak.any:
        notes.append(f"{DAGGER} degenerate model, see the caption.")
    undefined = table["value"].isna() & (table["replicates"] > 0) & table["difference"].notna()
    if undefined.any():
        notes.append(f"An undefined {title} counts as 0 in differences.")
    return notes


def _limited(table: pd.DataFrame, base: pd.Series) -> bool:
    """Whether an interval of means, of differences or of further runs was cut at the range."""
    known = lookup(base["metric"]).metric
    widest, several = known.high - known.low, table[table["replicates"] > 1]
    at_ends = [
        several["ci_low"] == known.low,
        several["ci_high"] == known.high,
        table["difference_low"] == -widest,
        table["difference_high"] == widest,
        np.isclose(base["value"] + [base["band_low"], base["band_high"]], [known.low, known.high]),
    ]
    return any(reached.any() for reached in at_ends)


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


# Groups of the figure of gains: families of comparisons, and what `against` calls them over seeds.
_GAINS = {
    families.BEST_MEMBER: over_seeds.BEST_MEMBER,
    families.BEST_SINGLE: over_seeds.BEST_SINGLE,
    families.SEED_ENSEMBLE: over_seeds.SEED_AVERAGE,
    families.SEEDS_BEST_MEMBER: "",
}
_AGAINST = {
    families.BEST_MEMBER: "Ensembles against their best member",
    families.BEST_SINGLE: "Against the best single model",
    families.SEED_ENSEMBLE: "Against as many seeds, averaged",
    families.SEEDS_BEST_MEMBER: "Seeds, averaged, against their best run",
}


def gains(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """What ensembles gain: against their best member, and against as many seeds of one loss."""
    models, weak = inputs.models, Degenerate.of(inputs, params["replicates"])
    table = _gains(inputs, params["metric"], params["replicates"] > 1)
    # Without an opponent there is no row to draw; the reason stands below.
    lacking = table[(table["opponent"] == "") & ~table["ensemble"].map(_of_ensembles(models))]
    table = table[table["opponent"] != ""]
    if table.empty:
        return message(style, "No ensemble has anything to be compared with.")
    title, chosen = lookup(params["metric"]).metric.title, chosen_families(inputs, models)
    trainings = _Trainings.of(inputs, models, len(params["losses"]))
    rows, drawn, numbers = Rows(style), [], []
    groups = list(_AGAINST)
    listed = table.sort_values("difference", ascending=False, kind="stable", na_position="last")
    listed = listed.sort_values("group", key=lambda group: group.map(groups.index), kind="stable")
    listed = listed.loc[page_of(listed.index, params)]
    for group, part in listed.groupby("group", sort=False):
        rows.heading(_AGAINST[group])
        colour = style.colours[(1, 1, 0, 2)[groups.index(group)]]
        for row in part.to_dict("records"):
            family = row["ensemble"]
            text = weak.mark(models.label_of(family), *(m.name for m in models.families[family]))
            text += " (chosen)" if family in chosen else ""
            text = f"{text}: {trainings.told(family)}"
            place = rows.row(text, models.name_of(family), family in chosen)
            drawn.append((place, row, colour, family in chosen))
            at = [row[name] for name in ("difference", "ci_low", "ci_high")]
            star = f" {SIGNIFICANT}" if _significant(row) else ""
            numbers.append(f"{difference(*at)}{star}" or NOT_COMPARED)
    text = foot_text(style, _notes_of_gains(inputs, params, table, lacking, weak.any))
    canvas = style.figure(rows.height_mm + 22 + (text.count("\n") + 1) * style.line_mm)
    axes = canvas.subplots()
    for place, row, colour, is_chosen in drawn:
        at = [row[name] for name in ("difference", "ci_low", "ci_high")]
        mark(axes, place, at, colour, models.name_of(row["ensemble"]), is_chosen)
        if at[0] != at[0]:
            say(axes, place, NOT_COMPARED)
    rows.limits(axes)
    rows.label(axes)
    directions(axes)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"difference in {title} ({params['percent']} interval)")
    number_column(axes, rows, numbers, f"{DELTA}{title} ({params['percent']} interval)")
    if chosen:
        canvas.legend(handles=[chosen_handle()], loc="outside upper right")
    foot(canvas, style, text)
    return Drawing(canvas, _verdict_on_gains(inputs, table) + weak.note(), listed)


def _verdict_on_gains(inputs: Inputs, table: pd.DataFrame) -> str:
    said = f"Test split, {sizes(inputs, table)}."
    planned = table[true(table["primary"])]
    if len(planned):
        said += f" {counted(planned, 'the best member')}"
    return said


def _notes_of_gains(
    inputs: Inputs,
    params: Mapping[str, Any],
    table: pd.DataFrame,
    lacking: pd.DataFrame,
    degenerate: bool,
) -> list[str]:
    models = inputs.models
    notes = [_verdict_on_gains(inputs, table)]
    against: dict[str, list[str]] = {}
    best = table[table["group"] == families.BEST_MEMBER]
    usual = best["opponent"].mode()
    for row in best.itertuples():
        if row.opponent != usual.iloc[0]:
            against.setdefault(row.opponent, []).append(models.label_of(row.ensemble))
    if len(best):
        said = [f"Best member: {_opponents(usual.iloc[0], models)}"]
        said += [
            f"of {_listed(names)}: {_opponents(name, models)}" for name, names in against.items()
        ]
        notes.append(f"{'; '.join(said)}.")
    seeds = [models[name].variant or "" for name in models if models[name].kind == "seed_ensemble"]
    if seeds:
        notes.append(f"Seeds: training runs of {models.label_of(seeds[0])}.")
    units = unit_of(inputs)
    if params["replicates"] > 1:
        notes.append(
            f"Means of up to {params['replicates']} replicates; intervals: other {units} and, but "
            "for averages of runs of one loss, other runs."
        )
    else:
        notes.append(f"Intervals: other {units}, with these training runs.")
    notes.append(
        "Trainings: of all losses that members were picked from; heads join them at the level of "
        "features."
    )
    notes += [f"{reason}." for reason in dict.fromkeys(lacking["reason"])]
    if true(table["reject"]).any():
        notes.append(f"{SIGNIFICANT} significant after the correction of its own family of tests.")
    return [*notes, *[f"{DAGGER} degenerate model, see the caption."] * degenerate]


def _of_ensembles(models: ModelTable) -> dict[str, bool]:
    """By family whether it is an average of ensembles, beside which no seeds are planned."""
    return {model.family: model.level == "model_average" for model in models.values()}


def _gains(inputs: Inputs, metric: str, replicates: bool) -> pd.DataFrame:
    """Paired differences of ensembles by `metric`: over seeds where there are replicates."""
    shared = ["difference", "ci_low", "ci_high", "p_adjusted", "n"]
    text = ["metric", "family", "reject", "reason", "correction"]
    paired = inputs.table("significance", shared, text=[*text, "model_a", "model_b", "test"])
    paired = paired[(paired["metric"] == metric) & (paired["test"] == "permutation")]
    paired = paired.assign(
        group=[families.of_column(name)[0] for name in paired["family"]],
        ensemble=[_family(inputs.models, name) for name in paired["model_a"]],
        opponent=[_family(inputs.models, name) for name in paired["model_b"]],
    )
    paired = paired[paired["group"].isin(_GAINS)]
    if not replicates:
        return paired
    named = ["ensemble", "against", "opponent"]
    crossed = inputs.table("over_seeds", shared, text=[*text, *named])
    crossed = crossed[crossed["metric"] == metric]
    groups = {against: group for group, against in _GAINS.items() if against}
    crossed = crossed.assign(group=crossed["against"].map(groups))
    # Averages of seeds have no replicates.
    alone = paired[paired["group"] == families.SEEDS_BEST_MEMBER]
    return pd.concat([crossed, alone], ignore_index=True)


def _family(models: ModelTable, name: str) -> str:
    return models[name].family if name in models else ""


def _opponents(names: str, models: ModelTable) -> str:
    """Opponents in words; of several replicates there may be several."""
    return ", ".join(models.label_of(name) for name in names.split(";"))


@dataclass(frozen=True)
class _Trainings:
    """What an ensemble took: members are picked from all candidates, so each was trained."""

    members: Mapping[str, Sequence[str]]
    models: ModelTable
    candidates: int

    @classmethod
    def of(cls, inputs: Inputs, models: ModelTable, candidates: int) -> "_Trainings":
        table = inputs.table("members", text=["ensemble", "member"])
        found = {name: list(part["member"]) for name, part in table.groupby("ensemble")}
        return cls(found, models, candidates)

    def heads(self, name: str) -> int:
        """Model-level heads that were trained beside the networks."""
        own = int(self.models[name].level == "model")
        return own + sum(self.heads(member) for member in self.members.get(name, ()))

    def told(self, family: str) -> str:
        """`12 trainings`, with the heads; of several replicates the first."""
        first = self.models.families[family][0]
        if first.kind == beside.SEED_ENSEMBLE:
            return count(len(first.members), "training")
        heads = self.heads(first.name)
        return count(self.candidates, "training") + (f", {count(heads, 'head')}" if heads else "")
