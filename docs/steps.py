"""Write steps.md: the rules of the default study and what each waits for, told by Snakemake."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import networkx

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_suffix(".md")
HEAD = """# The steps of a study

Each box is a rule of the default study; an arrow leads to a rule that uses its output. Arrows that
others imply are left out. Many rules run more than once, `train` for example once for each loss
and replicate; `snakemake -n` lists the jobs of your own study. `make reference` writes this page.
"""


def graph() -> networkx.DiGraph:
    """Snakemake's own rule graph without `all` and without what longer ways imply."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--directory", folder, "--rulegraph", "dot"],
            capture_output=True,
            text=True,
            check=True,
        )
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', done.stdout))
    edges = re.findall(r"(\d+) -> (\d+)", done.stdout)
    found = networkx.DiGraph((names[before], names[after]) for before, after in edges)
    found.remove_node("all")
    return networkx.transitive_reduction(found)


def page() -> str:
    """The text of steps.md."""
    arrows = [f"    {before} --> {after}" for before, after in sorted(graph().edges)]
    return "\n".join([HEAD, "```mermaid", "flowchart TB", *arrows, "```", ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
