"""Files that the page carries with it: what a reader saves as PDF or CSV.

Each is a `<script type="application/octet-stream" data-file="NAME">`, which no browser runs; the
page's scripts read it by `unpacked(name)` when it is asked for.
"""

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from multiloss.report.blocks import Figure, Gallery, Section, Table
from multiloss.report.results import Results

# Packed bytes of a table; of a larger one the rows shown are saved.
MAX_CSV = 80_000
# Packed bytes of one PDF, and of all together; of another the page makes one from the picture.
MAX_PDF, MAX_PDFS = 100_000, 1_500_000
# A page is passed on more freely than the study's folder: no files with names of people.
PERSONAL = {"patient_id", "image_id", "path"}


@dataclass(frozen=True)
class Attachment:
    """A file by its name in the study's folder: deflated (zlib), in base64."""

    name: str
    data: str


def carried(sections: Iterable[Section], results: Results) -> list[Attachment]:
    """The files of the page's figures and tables, each once, in the order of the page."""
    names: dict[str, None] = {}
    for section in sections:
        for block in section.blocks:
            shown = [*block.shown, *block.folded] if isinstance(block, Gallery) else [block]
            for one in shown:
                if isinstance(one, Figure):
                    stem = one.source.rpartition(".")[0]
                    names |= dict.fromkeys([f"{stem}.csv", f"{stem}.pdf"])
                elif isinstance(one, Table) and one.rows:
                    names[one.source] = None
    found, left = [], MAX_PDFS
    for name in names:
        path = results.path(name) if name.endswith((".csv", ".pdf")) else None
        if path is None:
            continue
        # No time is spent on what no packing makes small enough.
        if path.stat().st_size > 20 * MAX_CSV:
            continue
        if name.endswith(".csv") and PERSONAL & set(results.table(name).columns):
            continue
        packed = zlib.compress(path.read_bytes(), 9)
        if len(packed) > (min(MAX_PDF, left) if name.endswith(".pdf") else MAX_CSV):
            continue
        left -= len(packed) if name.endswith(".pdf") else 0
        found.append(Attachment(name, base64.b64encode(packed).decode("ascii")))
    return found
