"""What surrounds the sections: style, scripts and their hashes, and the files that are carried."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from multiloss.report import attachments
from multiloss.report.blocks import Section
from multiloss.report.facts import Facts
from multiloss.report.results import Results

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
# Before anything is shown; the others run once the page is there.
EARLY = SCRIPTS / "early.js"


def around(
    parts: Iterable[Section], config: Mapping[str, Any], results: Results
) -> dict[str, object]:
    """What page.html.j2 needs beside the sections and the names of the study."""
    early, script = EARLY.read_text(encoding="utf-8"), _script()
    return {
        "generated": _generated(config),
        "attachments": attachments.carried(parts, results),
        "style": Markup((HERE / "style.css").read_text(encoding="utf-8")),
        "early": Markup(early),
        "script": Markup(script),
        "hashes": Markup(" ".join(f"'sha256-{_digest(text)}'" for text in (early, script))),
    }


def _generated(config: Mapping[str, Any]) -> str:
    """Whether 'all' classified images, 'some' or 'none' come from the generator."""
    facts = Facts(Results(Path()), config)
    return "all" if facts.generated else "some" if facts.phantom else "none"


def _script() -> str:
    """The scripts in the order of their names, as one that shares nothing with the page."""
    paths = sorted(path for path in SCRIPTS.glob("*.js") if path != EARLY)
    texts = "".join(path.read_text(encoding="utf-8") for path in paths)
    return f'(() => {{\n"use strict";\n{texts}}})();'


def _digest(script: str) -> str:
    """The hash by which the page's policy knows its own script, and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
