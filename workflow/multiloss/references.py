"""References by key: report/references.yaml, written out in one style."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).with_name("report") / "references.yaml"


@cache
def known() -> dict[str, dict[str, Any]]:
    """The fields of every reference by key."""
    return yaml.safe_load(SOURCE.read_text(encoding="utf-8"))


def cited(key: str) -> str:
    """A reference in words. Raises KeyError for a key that references.yaml lacks."""
    return written(known()[key])


def written(entry: Mapping[str, Any]) -> str:
    """'Authors. Title. Journal year;volume(issue):pages. doi:...', as far as the fields go."""
    place = " ".join(str(entry[field]) for field in ("journal", "year") if field in entry)
    if "series" in entry:
        place += f", {entry['series']}"
    if "volume" in entry:
        place += f";{entry['volume']}"
    if "issue" in entry:
        place += f"({entry['issue']})"
    if "pages" in entry:
        place += f":{entry['pages']}"
    text = f"{entry['authors']}. {entry['title']}. {place}"
    for field, name in (("doi", "doi"), ("arxiv", "arXiv")):
        if field in entry:
            text += f". {name}:{entry[field]}"
    return text
