"""Which classes a source file registers, told without importing what they need to run.

The Snakefile is read in an environment that may hold Snakemake alone, so names come from
the source: a class under `@decorator("name")` is known by that name.
"""

import ast
from pathlib import Path


def registered_classes(tree: ast.Module, decorator: str) -> dict[str, ast.ClassDef]:
    """Registered name and class, in the order of the source."""
    return {
        ast.literal_eval(call.args[0]): node
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == decorator
    }


def parse(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
