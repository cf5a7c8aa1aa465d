"""What the simulations of the statistics share: command line, page, tables.

A simulation is a script beside this one. It has a function that computes everything and returns
the page and the claims of the documentation that do not hold; `main` does the rest.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from multiloss.job.files import write_text

SEED = 20211202  # of every simulation

logger = logging.getLogger("simulation")
_STARTED = time.monotonic()


def main(
    words: str,
    simulate: Callable[..., tuple[str, Sequence[str]]],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Run a simulation as its command line says, write its page, and exit.

    `words`: the script's docstring; `simulate`: gets `quick`, and whatever else `options` (of
    `ArgumentParser.add_argument`, by flag) add, by name. Exits with 1 if a claim does not hold.
    """
    parser = argparse.ArgumentParser(description=words.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--quick", action="store_true", help="few draws, for a smoke test")
    for flag, option in (options or {}).items():
        parser.add_argument(flag, **option)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    # What the workflow would tell of every simulated study is not wanted.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    page, failures = simulate(**arguments)
    if str(out).startswith("/dev/"):
        out.write_text(page)
    else:
        write_text(page, out)
    for failure in failures:
        logger.error("does not hold: %s", failure)
    raise SystemExit(1 if failures else 0)


def tell(words: str, *values: object) -> None:
    """Say on the screen what was found, and after how many seconds."""
    logger.info(f"%4.0f s: {words}", time.monotonic() - _STARTED, *values)


def written_by(script: str, quick: bool) -> str:
    """The line of a page that says how it was made; `script`: the path of the simulation."""
    name = Path(script).stem
    flag = " --quick" if quick else ""
    page = name.replace("_", "-")
    return (
        f"Written by `python benchmarks/{name}.py{flag} --out docs/{page}.md`; not edited by hand."
    )


def percent(value: float) -> str:
    """A share in percent without the sign; nothing for NaN."""
    return "" if np.isnan(value) else f"{100 * value:.1f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, with an empty one below."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]
