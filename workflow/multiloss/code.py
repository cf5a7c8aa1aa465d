"""Digests of this package's own code: what an edit touches is computed again, and nothing else.

Snakemake notices a changed script, but not a change in the modules behind it. Each job's
parameters therefore hold a digest of these modules. Comments, docstrings and layout do not
count. Read by the Snakefile, so it uses the standard library only, and is quick.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from multiloss import registry

PACKAGE = Path(__file__).resolve().parent
# They say, time and place what is done; no result depends on them.
WITHOUT_RESULTS = frozenset(
    {"checkpoints", "devices", "errors", "locks", "progress", "records", "script", "versions"}
)

_IMPORT = re.compile(
    r"^\s*from multiloss(?:\.(?P<above>[\w.]+))? import (?P<names>\([^)]*\)|.*)", re.MULTILINE
)


@functools.cache
def digest(
    modules: frozenset[str],
    losses: frozenset[tuple[str, str]] = frozenset(),
    without: frozenset[str] = frozenset(),
) -> str:
    """Digest of modules (names below the package), of all they import, and of loss functions.

    `losses` are (kind, name): a new loss beside them changes nothing. `without` are modules
    that do not count, nor what is imported by them alone.
    """
    wanted, definitions = set(modules), []
    for kind, name in sorted(losses):
        path = PACKAGE / "losses" / f"{kind}.py"
        wanted |= imports(path)
        definitions.append(_definition(path, name))
    contents = [_content(path) for path in sorted(_behind(wanted, without))]
    return hashlib.sha256("\0".join(contents + definitions).encode()).hexdigest()


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Modules of the package that a file imports, wherever in it, with the packages above."""
    found = set()
    for match in _IMPORT.finditer(path.read_text(encoding="utf-8")):
        above = match["above"].split(".") if match["above"] else []
        found |= {".".join(above[:depth]) for depth in range(1, len(above) + 1)}
        found |= {".".join([*above, name]) for name in re.findall(r"\w+", match["names"])}
    return frozenset(name for name in found if _file(name) is not None)


def _file(module: str) -> Path | None:
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() else None


def _behind(modules: set[str], without: frozenset[str]) -> set[Path]:
    """Files of these modules, of all they import, and what else lies in their packages."""
    found: set[Path] = set()
    seen = set(WITHOUT_RESULTS | without)
    while modules:
        name = modules.pop()
        path = _file(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        found.add(path)
        modules |= imports(path)
        if path.name == "__init__.py":
            # Templates and styles, for example.
            beside = (each for each in path.parent.iterdir() if each.is_file())
            found |= {each for each in beside if not each.suffix.startswith(".py")}
    return found


@functools.cache
def _content(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    return _instructions(compile(text, path.name, "exec", dont_inherit=True, optimize=2))


def _instructions(part: Any) -> str:
    """Compiled code without the places of its lines, and constants, as text."""
    if isinstance(part, frozenset):  # its order differs from one process to the next
        return f"frozenset({sorted(map(repr, part))})"
    if not isinstance(part, CodeType):
        return repr(part)
    arguments = (part.co_argcount, part.co_posonlyargcount, part.co_kwonlyargcount, part.co_flags)
    names = (part.co_names, part.co_varnames, part.co_cellvars, part.co_freevars)
    constants = [_instructions(constant) for constant in part.co_consts]
    return repr((part.co_code, part.co_exceptiontable, arguments, names, constants))


def _definition(path: Path, name: str) -> str:
    """The class registered under a name, and all of its file that it refers to."""
    tree = _tree(path)
    named = {defined: node for node in tree.body for defined in _defines(node)}
    pending = [registry.registered_classes(tree, "loss")[name]]
    found: dict[int, ast.stmt] = {}
    while pending:
        node = pending.pop()
        if id(node) not in found:
            found[id(node)] = node
            used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            pending += [named[each] for each in used & set(named)]
    wanted = ast.Module([node for node in tree.body if id(node) in found], type_ignores=[])
    return _instructions(compile(wanted, path.name, "exec", dont_inherit=True, optimize=2))


@functools.cache
def _tree(path: Path) -> ast.Module:
    return registry.parse(path)


def _defines(node: ast.stmt) -> Iterator[str]:
    """Names that a statement of a module gives a meaning, imports aside."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
