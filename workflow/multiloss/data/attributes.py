"""What else is known of images and patients: sex, age, site.

Kept apart from the manifest, which all trainings read: a question about another column must not
train anything again.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from multiloss.data.groups import KEY, groups, short
from multiloss.data.layouts import Found
from multiloss.data.manifest import relative
from multiloss.job.errors import UserError

logger = logging.getLogger(__name__)

# The column of the manifest that every study has.
SOURCE = "source"


def collect(
    manifest: pd.DataFrame, found: Mapping[str, Found], subgroups: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """The columns of `evaluation.subgroups` as they stand, one row an image: data/attributes.csv.

    `manifest`: data/manifest.csv; `found`: what the layouts find in the sources of its images,
    whose records may have `further` columns. Names are found in any case. A source without a
    column leaves it empty.

    Raises `UserError` naming the columns there are for one that no source has, and as `groups`.
    """
    further = {
        (source, relative(record.path)): record.further
        for source, own in found.items()
        for record in own.records
    }
    rows = [further.get(key, {}) for key in zip(manifest["source"], manifest["path"], strict=True)]
    known = sorted({SOURCE, *(name for record in further.values() for name in record)})
    table = pd.DataFrame({"image_id": manifest["image_id"]})
    for entry in subgroups:
        wanted = entry["column"]
        names = [name for name in known if name.casefold() == wanted.casefold()]
        if not names:
            raise UserError(
                f"{KEY}: no source has a column '{wanted}' (there are: {', '.join(known)}): "
                "correct its name, or add it to the CSV of a source of layout 'table'"
            )
        if names[0] == SOURCE:
            table[wanted] = manifest["source"]
        else:
            table[wanted] = [
                next((row[name] for name in names if row.get(name)), "") for row in rows
            ]
        groups(table[wanted], wanted, entry["bands"])
        _tell_alike(table[wanted], wanted)
    return table


def _tell_alike(values: pd.Series, column: str) -> None:
    """Warn of values that differ only in capitals or spaces: M, m."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for value in values.unique():
        spellings["".join(str(value).casefold().split())].add(value)
    alike = next((sorted(own) for own in spellings.values() if len(own) > 1), None)
    if alike:
        logger.warning(
            "%s: column '%s' has '%s' and '%s', taken for two groups; if they are one, write them "
            "alike",
            *(KEY, column, short(alike[0]), short(alike[1])),
        )
