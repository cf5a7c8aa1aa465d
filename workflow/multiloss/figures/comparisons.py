"""Figures that compare models: paired tests, ranks, spread between training runs."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from multiloss.evaluation import families
from multiloss.figures.degenerate import IN_THE_PICTURE, Degenerate
from multiloss.figures.drawing import Drawing, Inputs, message, page_of, parts
from multiloss.figures.performance import no_mark
from multiloss.figures.sizes import sizes
from multiloss.figures.style import (
    INK,
    MUTED,
    ClassNames,
    Style,
    count,
    fold,
    gap,
    ink_on,
    lines_of,
    of_model,
    offsets,
    text_mm,
)
from multiloss.statistics.metrics import lookup
from multiloss.study import ModelTable

# Columns below these widths have room for two digits of a p value, or for none.
CROWDED_MM, NARROWEST_MM = 7.5, 5.7


def significance(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Differences and adjusted p values of every model against the baseline and best member."""
    table = inputs.table(
        "significance",
        ["difference", "p_value", "p_adjusted", "n", "hypotheses"],
        text=["model_a", "model_b", "metric", "test", "reject", "family", "correction"],
    )
    planned, models = table, inputs.models
    table = table[table["model_b"] != ""]
    table = table.assign(
        reject=table["reject"].str.lower().isin(["true", "1", "1.0"]),
        # Replicates and tests other than the primary one are families of their own.
        group=[families.of_column(name)[0] for name in table["family"]],
        family_a=[models[name].family for name in table["model_a"]],
        run=[models[name].replicate or 0 for name in table["model_a"]],
    )
    # Compared by calibration metrics: shown beside the calibration errors, not here.
    table = table[table["group"] != families.CALIBRATION_FAMILY]
    blocks = _blocks(table, params, models.label_of(params["baseline"]))
    if not blocks:
        return message(style, "No comparison could be made.")
    table = pd.concat([part for _, part in blocks])
    blocks = _on_page(blocks, params)
    weak = Degenerate.of(inputs, params["replicates"])
    columns = list(dict.fromkeys(zip(table["metric"], table["test"], strict=True)))
    # The test that answers the study's question first.
    columns.sort(key=lambda column: column not in _primary(table))
    width = (style.double_column_mm - 62) / len(columns)
    turned = len(columns) > 6
    names = style.class_names(params["classes"], 40 if turned else width - 14, 1)
    heads = [
        _head(metric, test, names, None if turned else width, style) for metric, test in columns
    ]
    small = style.small
    header = max(
        text_mm(head, small) if turned else lines_of(head) * style.line_mm for head in heads
    )
    runs = table["run"].nunique()
    if width < NARROWEST_MM:
        numbers = "star: the test rejects" + (", in most runs" if runs > 1 else "")
    elif runs > 1:
        numbers = "numbers: runs in which the test rejects, framed where most do"
    else:
        numbers = "numbers: adjusted p value, framed where the test rejects"
    sign = any(weak.mark("", *part["model_a"]) for _, part in blocks)
    foot, foot_mm = names.note(
        f"test split, {sizes(inputs, table)}; {numbers}{f'; {IN_THE_PICTURE}' if sign else ''}"
    )
    rows = sum(part["family_a"].nunique() for _, part in blocks)
    # As close as a page makes them, but no closer than a line.
    step = style.line_mm * 1.35
    canvas = style.figure(
        rows * step + (2 * style.line_mm + 3) * len(blocks) + header + 19 + foot_mm
    )
    heights = [part["family_a"].nunique() for _, part in blocks]
    axes = canvas.subplots(len(blocks), 1, squeeze=False, height_ratios=heights).ravel()
    largest = max(float(table["difference"].abs().max()), 1e-3)
    scale = Normalize(-largest, largest)
    colours = plt.get_cmap(style.diverging)
    for number, (place, (title, part)) in enumerate(zip(axes, blocks, strict=True)):
        rows = list(dict.fromkeys(part["family_a"]))
        place.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        place.grid(False)
        for spine in place.spines.values():
            spine.set_visible(False)
        place.tick_params(length=0)
        place.set_title(title[:1].upper() + title[1:], loc="left", fontweight="bold")
        place.set_yticks(range(len(rows)), [_row_label(name, part, weak, models) for name in rows])
        place.set_xticks([])
        cells = part.groupby(["family_a", "metric", "test"])
        for (name, metric, test), cell in cells:
            x, y = columns.index((metric, test)), rows.index(name)
            mean = float(cell["difference"].mean())
            fill = colours(scale(mean)) if mean == mean else (1, 1, 1, 1)
            place.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=fill, linewidth=0))
            rejected = bool(cell["reject"].mean() > 0.5)
            ink = ink_on(fill)
            place.text(
                x,
                y,
                _cell_text(cell, params["alpha"], crowded=width < CROWDED_MM)
                if width >= NARROWEST_MM
                else "*" * rejected,
                ha="center",
                va="center",
                color=ink,
                fontweight="bold" if rejected else "normal",
                fontsize=small,
            )
            if rejected:
                frame = Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, ec=ink, lw=0.9)
                place.add_patch(frame)
        if number == 0:
            place.xaxis.tick_top()
            place.set_xticks(
                range(len(columns)),
                heads,
                rotation=90 if turned else 0,
                ha="center",
                va="bottom",
            )
            place.tick_params(axis="x", length=0)
    bar = canvas.colorbar(
        plt.cm.ScalarMappable(scale, style.diverging),
        ax=list(axes),
        location="bottom",
        shrink=0.45,
        aspect=40,
        pad=0.01,
    )
    bar.set_label("difference, model minus the other")
    bar.locator = MaxNLocator(5)
    bar.outline.set_visible(False)
    canvas.supxlabel(foot, fontsize=style.font_size)
    made = table[table["p_value"].notna()]
    rejected = int(made["reject"].sum())
    facts = (
        f"{count(len(made), 'test')}, of which {rejected:,} "
        f"{'rejects' if rejected == 1 else 'reject'} at {params['alpha']:g} after correction "
        "within its family" + (f"; {runs} training runs." if runs > 1 else ".")
    )
    return Drawing(
        canvas,
        f"{facts}{_left_out(planned, table)}{_of_hypotheses(table)}{weak.note()}",
        pd.concat([part for _, part in blocks]),
    )


def _on_page(
    blocks: list[tuple[str, pd.DataFrame]], params: Mapping[str, Any]
) -> list[tuple[str, pd.DataFrame]]:
    """What of the blocks stands on this page: rows are divided, titles repeated."""
    rows = [(title, name) for title, part in blocks for name in part["family_a"].unique()]
    here = page_of(rows, params)
    found = [
        (title, part[part["family_a"].isin([name for of, name in here if of == title])])
        for title, part in blocks
    ]
    return [(title, part) for title, part in found if len(part)]


def _primary(table: pd.DataFrame) -> set[tuple[str, str]]:
    """Metric and test of the families that a question has to itself."""
    plain = [not families.of_column(name)[1] for name in table["family"]]
    rows = table[np.array(plain, bool)]
    return set(zip(rows["metric"], rows["test"], strict=True))


def _hypotheses(number: int) -> str:
    return f"{number:,} {'hypothesis' if number == 1 else 'hypotheses'}"


def _of_hypotheses(table: pd.DataFrame) -> str:
    """The study's questions: of how many hypotheses how many are rejected, by which correction."""
    said = ""
    made = table[table["p_value"].notna()]
    for question in families.QUESTIONS:
        plain = np.array([families.of_column(name) == (question, "") for name in made["family"]])
        rows = made[plain.astype(bool)]
        if rows.empty:
            continue
        of_run = rows.groupby("family", sort=False)
        rejected = ", ".join(str(int(run["reject"].sum())) for _, run in of_run)
        most = int(rows["hypotheses"].max())
        each = "" if of_run.ngroups == 1 else " in each run"
        said += (
            f" {families.FAMILIES[question]}, {lookup(rows['metric'].iloc[0]).title}: {rejected} "
            f"of {_hypotheses(most)}{each} rejected, corrected by "
            f"{families.CORRECTIONS[rows['correction'].iloc[0]]}."
        )
    return said


def _left_out(planned: pd.DataFrame, shown: pd.DataFrame) -> str:
    """What the table of tests holds beside those in the figure, counted by reason."""
    rest = planned[~planned.index.isin(shown.index)]
    parts = []
    made = rest[rest["p_value"].notna()]
    groups = [families.of_column(name)[0] for name in made["family"]]
    calibration = pd.Series(groups, made.index, dtype=str) == families.CALIBRATION_FAMILY
    overall = made["model_b"] == ""
    for rows, reason in (
        (
            calibration,
            "of calibrated losses against plain ones, which the calibration figure shows",
        ),
        (overall & ~calibration, "of all single models at once (Cochran's Q)"),
        (~overall & ~calibration, "of other families"),
    ):
        if rows.any():
            parts.append(f"{int(rows.sum()):,} {reason}")
    said = f" Of all {count(int(planned['p_value'].notna().sum()), 'test')} it leaves out "
    said = f"{said}{'; '.join(parts)}." if parts else ""
    undone = int(planned["p_value"].isna().sum())
    if undone:
        said += f" {count(undone, 'planned comparison')} could not be tested."
    return said


def _head(metric: str, test: str, names: ClassNames, width: float | None, style: Style) -> str:
    """The heading of a column: metric and test, on one line if no `width` (mm) is given."""
    row = lookup(metric, list(names.short))
    text = row.metric.title + (f", {names.in_text(row.label)}" if row.label else "")
    test = f"({families.test_label(test)})"
    if width is None:
        return f"{text} {test}"
    return "\n".join(fold(part, width, style.font_size) for part in (text, test))


def _blocks(
    table: pd.DataFrame, params: Mapping[str, Any], baseline: str
) -> list[tuple[str, pd.DataFrame]]:
    """The comparisons in groups with titles; groups without comparisons are left out."""
    single = table["family_a"].isin(params["losses"])
    baselines = set(families.ALSO[families.BASELINE]) - {families.NOISE_FLOOR}

    def of(*names: str) -> pd.Series:
        return table["group"].isin(names)

    blocks = [
        (f"single models against {baseline}", of(*baselines) & single),
        (f"ensembles against {baseline}", of(*baselines) & ~single),
        (families.FAMILIES[families.BEST_MEMBER], of(*families.ALSO[families.BEST_MEMBER])),
        *(
            (families.FAMILIES[name], of(name))
            for name in (families.BEST_SINGLE, families.SEED_ENSEMBLE)
        ),
        (f"{baseline} with a step left out, against {baseline}", of(families.ABLATIONS)),
        (families.FAMILIES[families.NOISE_FLOOR], of(families.NOISE_FLOOR)),
    ]
    return [(title, table[rows]) for title, rows in blocks if rows.any()]


def _row_label(name: str, part: pd.DataFrame, weak: Degenerate, models: ModelTable) -> str:
    """The model; and the other one too where no title can name it."""
    rows = part[part["family_a"] == name]
    text = weak.mark(models.label_of(name), *rows["model_a"].unique())
    if rows["group"].iloc[0] != families.NOISE_FLOOR:
        return text
    others = rows["model_b"].unique()
    return f"{text} against {weak.mark(models[others[0]].label, *others)}"


def _cell_text(cell: pd.DataFrame, alpha: float, crowded: bool = False) -> str:
    if len(cell) > 1:
        return f"{int(cell['reject'].sum())}/{len(cell)}"
    return p_text(float(cell["p_adjusted"].iloc[0]), alpha, crowded)


def p_text(p: float, alpha: float, crowded: bool = False) -> str:
    """A p value in as many digits as tell on which side of `alpha` it is.

    Three digits below 0.1, two above; `crowded` cells have room for two. A test rejects at
    p <= alpha, so 0.0497 is written .0497 beside an alpha of 0.05, and not .050.
    """
    if p != p:
        return "-"
    low = 0.01 if crowded else 0.001
    if p < low < alpha:
        return f"<{low:g}".replace("0.", ".")
    digits = 2 if p >= 0.1 or crowded else 3
    while digits < 6 and p != alpha and (round(p, digits) - alpha) * (p - alpha) <= 0:
        digits += 1
    text = f"{p:.{digits}f}"
    if crowded and text == "1.00":
        return "1"
    return text.removeprefix("0") if p < 0.1 or crowded else text


def rank(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Observed rank of each loss, and the ranks that the tests of all pairs leave possible."""
    table = inputs.table(
        "rank",
        ["rank_observed", "rank_first", "rank_last", "models", "hypotheses", "n"],
        text=["model", "metric", "kind", "split"],
    )
    table = table[(table["metric"] == "mcc") & (table["kind"] == "single")]
    table = table[table["split"] == "test"]
    models = inputs.models
    table = table.assign(family=[models[name].family for name in table["model"]])
    weak = Degenerate.of(inputs, params["replicates"])
    mean = table.groupby("family")[["rank_observed", "rank_last"]].mean()
    mean = mean.sort_values(["rank_observed", "rank_last"], kind="stable")
    missing = [loss for loss in params["losses"] if loss not in mean.index]
    if mean.empty:
        return message(style, "No ranks to show.")
    names = page_of([*mean.index, *missing], params)
    runs = int(table.groupby("family").size().max())
    canvas = style.figure(27 + len(names) * style.line_mm * (1.45 if runs < 4 else 1.9))
    axes = canvas.subplots()
    for place, name in enumerate(names):
        if name in missing:
            gap(axes, place)
            continue
        colour = INK if name == params["baseline"] else style.colours[0]
        _rank_row(axes, place, table[table["family"] == name], colour)
    axes.set_xlim(0.5, len(mean) + len(missing) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=13, integer=True))
    axes.set_xlabel(f"rank by MCC among {count(len(mean), 'model')} (1 is best)")
    axes.set_title(f"test split, {sizes(inputs, table)}", loc="left")
    labels = [
        weak.mark(models.label_of(name), *table.loc[table["family"] == name, "model"])
        for name in names
    ]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for tick, name in zip(axes.get_yticklabels(), names, strict=True):
        of_model(models.name_of(name), tick)
        if name == params["baseline"]:
            tick.set_fontweight("bold")
    axes.grid(axis="y", visible=False)
    reference = models.label_of(params["baseline"])
    look = {"marker": "o", "ms": 4.0, "lw": 3.0, "alpha": 0.8}
    handles = [
        axes.plot([], [], color=colour, label=text, **look)[0]
        for colour, text in (
            (style.colours[0], "observed rank and possible ranks"),
            (INK, f"{reference}, baseline"),
        )
    ]
    handles += [no_mark()] * weak.any
    canvas.legend(handles=handles, loc="outside lower center", ncols=3)
    pairs, best = int(table["hypotheses"].max()), table["rank_first"] == 1
    wide = int((best & (table["rank_last"] == table["models"])).sum())
    return Drawing(
        canvas,
        f"By tests of {count(pairs, 'pair')}, {int(best.sum())} of {count(len(table), 'model')} "
        f"may be the best, and {wide} may have any rank. Test split, {sizes(inputs, table)}."
        f"{weak.note()}",
        table[table["family"].isin(names)],
    )


def _rank_row(axes: Axes, place: float, part: pd.DataFrame, colour: str) -> None:
    """Observed rank and possible ranks of each run of a loss, and the mean of several runs."""
    several = len(part) > 1
    thick = {"linewidth": 1.2, "alpha": 0.45} if several else {"linewidth": 3.0, "alpha": 0.35}
    for offset, row in zip(offsets(len(part), 0.3), part.itertuples(), strict=True):
        ends = [row.rank_first, row.rank_last]
        thick |= {"color": colour, "solid_capstyle": "butt"}
        bar = axes.plot(ends, [place + offset] * 2, **thick)
        look = {"color": colour, "ms": 2.2 if several else 4.0}
        of_model(row.model, *bar, *axes.plot(row.rank_observed, place + offset, "o", **look))
    if several:
        mean = part["rank_observed"].mean()
        look = {"color": colour, "ms": 4.2, "mec": "white", "mew": 0.6, "zorder": 4}
        of_model(part["family"].iloc[0], *axes.plot(mean, place, "D", **look))


def replicates(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """MCC of each training run of each loss, and the losses' differences to the baseline."""
    table = inputs.table(
        "replicates", ["mean", "sd", "n"], text=["family", "kind", "metric", "runs"]
    )
    table = table[(table["metric"] == "mcc") & (table["kind"] == "single")]
    table = table.sort_values("mean", ascending=False, kind="stable", na_position="last")
    if table["mean"].isna().all():
        return message(style, "MCC is not defined for any model.")
    failed = sum(part.split(";").count("") for part in table["runs"])
    table = table[table["family"].isin(page_of(table["family"], params))]
    baseline, models = params["baseline"], inputs.models
    canvas = style.figure(26 + len(table) * style.line_mm * 1.6)
    axes, right = canvas.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    places = {row.family: place for place, row in enumerate(table.itertuples())}
    for row in table.itertuples():
        place, spread = places[row.family], 0.0 if pd.isna(row.sd) else row.sd
        colour = INK if row.family == baseline else style.colours[0]
        axes.plot([row.mean - spread, row.mean + spread], [place] * 2, color=colour, linewidth=1.2)
        axes.plot([row.mean] * 2, [place - 0.33, place + 0.33], color=colour, linewidth=1.6)
        runs = row.runs.split(";")
        if pd.isna(row.mean):
            gap(axes, place)
        values = np.array([float(value) if value else np.nan for value in runs])
        look = {"color": colour, "ms": 2.6, "alpha": 0.55, "mew": 0}
        axes.plot(values, place + offsets(len(values), 0.22), "o", **look)
        if row.family == baseline:
            axes.axvspan(row.mean - spread, row.mean + spread, color=INK, alpha=0.06, linewidth=0)
    weak = Degenerate.of(inputs, params["replicates"])
    labels = [
        weak.mark(
            models.label_of(name), *(m.name for m in models.families[name] if m.kind == "single")
        )
        for name in places
    ]
    axes.set_yticks(range(len(table)), labels)
    for tick, name in zip(axes.get_yticklabels(), places, strict=True):
        if name == baseline:
            tick.set_fontweight("bold")
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("MCC on the test split")
    axes.set_title(f"{params['replicates']} runs of each loss; {sizes(inputs, table)}", loc="left")
    crossed, rejected, tested, correction = _crossed_differences(right, inputs, places, style)
    right.set_title(f"minus {models.label_of(baseline)}; {params['percent']} intervals", loc="left")
    right.set_xlabel("difference of the mean MCC")
    right.tick_params(left=False)
    for place in (axes, right):
        place.grid(axis="y", visible=False)
        place.locator_params(axis="x", nbins=6)
    handles = axes.plot([], [], color=MUTED, linewidth=1.2, label="mean, one standard deviation")
    handles += [no_mark()] * weak.any
    canvas.legend(handles=handles, loc="outside lower center", ncols=2)
    facts = f"{params['replicates']} runs of each loss, {sizes(inputs, table)}"
    facts += f"; {count(failed, 'run')} failed." if failed else "."
    if {"seed_sd", "loss_sd"} <= set(table) and table["seed_sd"].notna().any():
        seed, loss = table["seed_sd"].max(), table["loss_sd"].max()
        facts += (
            f" Standard deviation between the runs of a loss {seed:.3f} (pooled), between the "
            f"losses {loss:.3f} after taking out what the runs explain."
        )
    facts += f" {count(tested, 'difference')}, of which {rejected} rejected{correction}."
    return Drawing(canvas, facts + weak.note(), parts(runs=table, differences=crossed))


def seed_spread(inputs: Inputs, params: Mapping[str, Any], style: Style) -> Drawing:
    """Every run of each loss over the prediction band of one further run of the repeated loss."""
    columns = ["mean", "low", "high", "sd", "statistic", "df", "df_seeds", "p_value", "n"]
    table = inputs.table("spread", columns, text=["metric", "row", "variant", "runs", "reason"])
    table = table[table["metric"] == table["metric"].iloc[0]] if len(table) else table
    title = lookup(table["metric"].iloc[0], []).title if len(table) else ""
    seeds, losses = (table[table["row"] == row] for row in ("seeds", "losses"))
    rows = table[table["row"] == "loss"]
    rows = rows.sort_values("mean", ascending=False, kind="stable", na_position="last")
    if pd.concat([seeds, rows])["mean"].isna().all():
        return message(style, "No training run has a result.")
    single = rows
    rows = pd.concat([seeds, rows[rows["variant"].isin(page_of(rows["variant"], params))]])
    models, weak = inputs.models, Degenerate.of(inputs, params["replicates"])
    canvas = style.figure(20 + len(rows) * style.line_mm * 1.3)
    axes = canvas.subplots()
    for place, row in enumerate(rows.itertuples()):
        colour = INK if row.row == "seeds" else style.colours[0]
        runs = np.array([float(value) for value in row.runs.split(";") if value])
        if pd.isna(row.mean):
            gap(axes, place)
        if len(runs) > 1:
            axes.plot([row.mean] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=1.6)
        axes.plot(runs, np.full(len(runs), place), "o", color=colour, ms=3.6, alpha=0.75, mew=0)
    base = seeds.iloc[0]
    if pd.notna(base["low"]):
        axes.axvspan(base["low"], base["high"], color=INK, alpha=0.08, linewidth=0)
        axes.axvline(base["mean"], color=INK, linewidth=0.8)
    trained = ("single", "seed")
    labels = [
        weak.mark(
            models.label_of(name), *(m.name for m in models.families[name] if m.kind in trained)
        )
        for name in rows["variant"]
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{title} on the test split")
    name = models.label_of(base["variant"])
    if pd.notna(base["low"]):
        what = f"band: one further run of {name}, {params['percent']} prediction interval"
    else:
        what = f"{name} was trained once: how far its runs lie apart is unknown"
    axes.set_title(f"{what}; {sizes(inputs, table)}", loc="left")
    if weak.any:
        canvas.legend(handles=[no_mark()], loc="outside lower center")
    facts = f"{count(int(base['df_seeds']) + 1, 'run')} of {name}, {sizes(inputs, table)}."
    if pd.notna(base["sd"]):
        outside = int(((single["mean"] < single["low"]) | (single["mean"] > single["high"])).sum())
        facts += (
            f" Their standard deviation is {base['sd']:.3f}; outside what as many "
            f"further runs of it would give: {outside} of {len(single)} other "
            f"{'loss' if len(single) == 1 else 'losses'}."
        )
    if len(losses) and pd.notna(losses["p_value"].iloc[0]):
        f = losses.iloc[0]
        facts += (
            f" Standard deviation of the losses {f['sd']:.3f}; against that of runs, F = "
            f"{f['statistic']:.2f} on {f['df']:.0f} and {f['df_seeds']:.0f} degrees of freedom, "
            f"p {'< 0.001' if f['p_value'] < 0.001 else '= {:.3f}'.format(f['p_value'])}."
        )
    return Drawing(canvas, facts + weak.note(), rows)


def _crossed_differences(
    axes: Axes, inputs: Inputs, places: Mapping[str, float], style: Style
) -> tuple[pd.DataFrame, int, int, str]:
    """Draw each loss minus the baseline; the rows drawn, how many tests reject, how many there
    are, and of how many hypotheses by which correction."""
    columns = ["difference", "ci_low", "ci_high"]
    names = ["loss_a", "metric", "family", "reject"]
    table = inputs.table("comparisons", columns, text=names)
    table = table[(table["metric"] == "mcc") & (table["family"] == families.BASELINE)]
    table = table[table["difference"].notna()]
    table = table.assign(reject=table["reject"].str.lower() == "true")
    drawn = table[table["loss_a"].isin(places)]
    axes.axvline(0, color=INK, linewidth=0.8)
    for row in drawn.itertuples():
        look = {"color": style.colours[0]}
        place = places[row.loss_a]
        axes.plot([row.ci_low, row.ci_high], [place] * 2, linewidth=1.3, **look)
        fill = look["color"] if row.reject else "white"
        axes.plot(row.difference, place, "o", ms=4.0, mfc=fill, mew=0.9, **look)
    correction = ""
    if {"hypotheses", "correction"} <= set(table) and len(table):
        most = int(pd.to_numeric(table["hypotheses"]).max())
        by = families.CORRECTIONS[table["correction"].iloc[0]]
        correction = f" (of {_hypotheses(most)}, corrected by {by})"
    return drawn, int(table["reject"].sum()), len(table), correction
