"""Terms that the page explains: glossary.yaml."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from markupsafe import Markup

from multiloss.job.errors import UserError

PATH = Path(__file__).with_suffix(".yaml")


@cache
def known() -> Mapping[str, Mapping[str, str]]:
    """The terms and their texts by key."""
    return yaml.safe_load(PATH.read_text(encoding="utf-8"))


def term(key: str, words: str = "") -> Markup:
    """The term, or other words for it, as a link to the glossary that the script shows in place.

    Raises UserError for a key that glossary.yaml lacks.
    """
    if key not in known():
        raise UserError(f"report/glossary.yaml: there is no term '{key}'")
    return Markup('<a class="term" href="#term-{}">{}</a>').format(
        key, words or known()[key]["term"]
    )
