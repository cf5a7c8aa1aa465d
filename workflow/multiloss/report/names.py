"""Models as a reader meets them: in words, marked where they tell no classes apart."""

from collections.abc import Sequence

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

    def listed(self, names: Sequence[str], most: int = 8) -> Markup:
        """'a, b and c'; of more than `most` the first, and how many more there are."""
        shown = [self(name) for name in names[:most]]
        if len(names) > most:
            shown.append(Markup("{} more").format(len(names) - most))
        return Markup(listed(shown))
