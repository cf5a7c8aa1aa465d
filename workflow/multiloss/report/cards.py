"""The model card and the datasheet of a study as Markdown: what is known, and that the rest is not.

After Mitchell M, Wu S, Zaldivar A, et al. (2019), Model cards for model reporting, FAT*, and
Gebru T, Morgenstern J, Vecchione B, et al. (2021), Datasheets for datasets, Commun ACM
64(12):86-92.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multiloss.data.sources import addresses
from multiloss.report import templates
from multiloss.report.facts import Facts
from multiloss.report.results import Results

FOLDER = Path(__file__).parent / "cards"
NAMES = ("model_card", "datasheet")


def write(
    results: Path, config: Mapping[str, Any], *, files: Iterable[str | Path] | None = None
) -> dict[str, str]:
    """The text of each card by its name; arguments as of `report.build`.

    The same inputs give the same text. Raises UserError for a damaged table.
    """
    facts = Facts(Results(results, files), addresses.without_secrets(config))
    own = {"md": quoted, "label": facts.label, "code": lambda name: f"`{name}`"}
    return {name: _tidy(templates.markdown(FOLDER, f"{name}.md.j2", facts, own)) for name in NAMES}


def quoted(text: Any) -> str:
    """A text of a user within Markdown: no markup, one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _tidy(text: str) -> str:
    """Without blanks at the ends of lines, and one empty line where there were more."""
    lines = re.sub(r"[ \t]+$", "", text.strip(), flags=re.MULTILINE)
    # Rows of a table stand together.
    lines = re.sub(r"\n{2,}(?=\|)(?<=\|\n\n)", "\n", lines)
    return re.sub(r"\n{3,}", "\n\n", lines) + "\n"
