"""References by key: report/references.yaml, written out in one style, and as BibTeX."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).with_name("report") / "references.yaml"
# Where a work appeared, and the type of its entry in BibTeX.
PLACES = {
    "journal": "article",
    "booktitle": "inproceedings",
    "publisher": "book",
    "howpublished": "misc",
    "institution": "techreport",
}


@cache
def known() -> dict[str, dict[str, Any]]:
    """The fields of every reference by key."""
    return yaml.safe_load(SOURCE.read_text(encoding="utf-8"))


def cited(key: str) -> str:
    """A reference in words. Raises KeyError for a key that references.yaml lacks."""
    return written(known()[key])


def bibtex(key: str) -> str:
    """The entry of a reference for BibTeX. Raises KeyError for a key that references.yaml lacks."""
    return entry(key, known()[key])


def entry(key: str, entry: Mapping[str, Any]) -> str:
    """An entry for BibTeX with fields as in references.yaml."""
    place = next((name for name in PLACES if name in entry), "")
    authors = [_author(name) for name in entry["authors"].split(", ")]
    fields = {"author": " and ".join(authors), "title": f"{{{_quoted(entry['title'])}}}"}
    if place:
        fields[place] = _quoted(entry[place])
    fields |= {
        name: str(entry[given])
        for name, given in {
            "year": "year", "volume": "volume", "number": "issue", "series": "series",
            "pages": "pages", "doi": "doi", "eprint": "arxiv", "note": "note",
        }.items()
        if given in entry
    }  # fmt: skip
    if "pages" in fields:
        fields["pages"] = fields["pages"].replace("-", "--")
    if "eprint" in fields:
        fields["archiveprefix"] = "arXiv"
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items()]
    return f"@{PLACES.get(place, 'misc')}{{{key},\n" + ",\n".join(lines) + "\n}"


def _author(name: str) -> str:
    """'Lin T-Y' as 'Lin, T.-Y.'; others of a long list; a group in braces."""
    family, _, initials = name.rpartition(" ")
    if name == "et al":
        return "others"
    if not family or not initials.isupper():
        return f"{{{_quoted(name)}}}"
    given = re.sub(r"(\w)", r"\1. ", initials).strip().replace(" -", "-")
    return f"{family}, {given}"


def _quoted(text: str) -> str:
    return re.sub(r"([&%#_$])", r"\\\1", text)


def written(entry: Mapping[str, Any]) -> str:
    """'Authors. Title. Journal year;volume(issue):pages. doi:...', as far as the fields go."""
    place = " ".join(str(entry[field]) for field in (*PLACES, "year") if field in entry)
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
