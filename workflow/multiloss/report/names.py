"""Models as a reader meets them: in words, marked where they tell no classes apart."""

import re
from collections.abc import Sequence
from functools import cached_property

from markupsafe import Markup

from multiloss.report.blocks import DAGGER, listed
from multiloss.report.facts import Facts


class Names:
    """Names of models, and of losses for all their runs, in words.

    The name that files and tables have is kept as `data-model`, for the script, and as the title.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    @property
    def alpha(self) -> float:
        """The level of the tests, which p values are not rounded to."""
        return self._facts.alpha

    def label(self, name: str) -> str:
        """The model in words; the number of its run where its loss was trained more than once."""
        return self._facts.label(name)

    def __call__(self, name: str) -> Markup:
        """The model in words, with a dagger where `Facts.faulty` knows it."""
        sign = Markup('<a class="dagger" href="#degenerate-models">{}</a>').format(DAGGER)
        return Markup('<span class="model" data-model="{}" title="{}">{}</span>{}').format(
            name, name, self.label(name), sign if name in self._facts.faulty else ""
        )

    def within(self, text: str) -> str:
        """A remark of a table, the names of models and losses in it in words."""
        return self._named.sub(lambda found: self.label(found[0]), text)

    @cached_property
    def _named(self) -> re.Pattern[str]:
        planned = self._facts.planned
        known = sorted({*planned, *planned.families}, key=len, reverse=True)
        return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, known))})(?![\w-])")

    def listed(self, names: Sequence[str], most: int = 8) -> Markup:
        """'a, b and c'; of more than `most` the first, and how many more there are."""
        shown = [self(name) for name in names[:most]]
        if len(names) > most:
            shown.append(Markup("{} more").format(len(names) - most))
        return Markup(listed(shown))
