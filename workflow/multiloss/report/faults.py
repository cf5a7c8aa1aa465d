"""Models that never name some class, or do no better than chance, in words."""

from collections.abc import Sequence

from markupsafe import Markup

from multiloss.report.blocks import DAGGER, Table, code, listed, mark
from multiloss.report.facts import Degenerate, Facts, percent

# Of more models than this the first are named.
NAMED = 8

NOTE = (
    f"{DAGGER} On the test split the model never names some class, names one class for nearly all "
    "images, or does no better than chance; of a loss, at least one of its runs. Point at the "
    "mark, or see the first lines of the answer."
)


def named(models: Sequence[str]) -> Markup:
    """'a, b and c', of many the first and how many more there are."""
    models = list(models)
    shown = [code(name) for name in models[:NAMED]]
    if len(models) > NAMED:
        shown.append(Markup("{} more").format(len(models) - NAMED))
    return Markup(listed(shown))


def phrase(found: Degenerate, images: str = "test images") -> str:
    """ "recognised none of the 41 'normal' test images": what the model did on a split."""
    if found.share == 1:
        return f"called all {images} '{found.dominant}'"
    said = []
    if found.never:
        missed = [f"none of the {n:,} '{name}'" for name, n in found.never.items()]
        said.append(f"recognised {listed(missed)} {images}")
    if found.dominant:
        said.append(f"called {percent(found.share)} of all {images} '{found.dominant}'")
    if found.collapsed and not found.dominant:
        said.append("did no better than chance")
    return listed(said)


def lines(facts: Facts) -> list[Markup]:
    """What the answer opens with: every such model, those that did the same together."""
    found = facts.degenerate()
    if not found:
        return []
    said = []
    singles = facts.singles
    collapsed = [name for name in singles if facts.collapsed(name)]
    if len(collapsed) > 1 or len(collapsed) == len(singles) == 1:
        if len(collapsed) == len(singles):
            who = f"No single model of {len(singles)} tells the classes apart"
        else:
            who = f"{len(collapsed)} of {len(singles)} single models do not tell the classes apart"
        said.append(
            Markup(
                "<strong>{}</strong>: on the test split their MCC is at or below 0, or they call "
                "over 90% of the images one class. Their scores say nothing of their losses."
            ).format(who)
        )
    groups: dict[str, list[str]] = {}
    for name in sorted(found, key=lambda name: (not found[name].collapsed, name)):
        groups.setdefault(phrase(found[name]), []).append(name)
    for text, models in groups.items():
        said.append(Markup("{} {}.").format(named(models), text))
    return said


def mark_all(facts: Facts, tables: Sequence[Table]) -> None:
    """Mark such models, and the losses of such runs, in every table that names models."""
    names: dict[str, str] = {}
    for model, found in facts.degenerate().items():
        known = facts.planned[model]
        names[model] = phrase(found)
        if known.replicate is not None:
            family, told = known.family, f"run {known.replicate} {phrase(found)}"
            names[family] = f"{names[family]}; {told}" if family in names else told
    for table in tables:
        mark(table, names, NOTE)
