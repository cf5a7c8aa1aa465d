"""Digests of the code behind a job: what an edit touches is computed again, and nothing else.

Snakemake knows a script by its date alone, which every clone sets anew, and the modules behind it
not at all. Each job's parameters therefore hold a digest of both, and `rerun-triggers` in the
profiles leaves the dates of scripts out. Comments, docstrings, layout, dates and places do not
count, and every Python gives the same digest. Read by the Snakefile, so it uses the standard
library only, and is quick.
"""

import ast
import copy
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from multiloss import registry

PACKAGE = Path(__file__).resolve().parents[1]
# The generator of the default study's images, a package beside this one.
PHANTOM = "phantom"
# Files whose docstrings are words of the report.
REGISTRIES = (
    "losses/classification.py",
    "losses/segmentation.py",
    "ensembles/combiners.py",
    "statistics/metrics.py",
)
# They say, time and place what is done; no result depends on them.
WITHOUT_RESULTS = frozenset(
    {"networks.checkpoints", "networks.devices"}
    | {f"job.{name}" for name in ("errors", "locks", "progress", "records", "script", "versions")}
)


@functools.cache
def digest(
    script: Path,
    modules: frozenset[str],
    losses: frozenset[tuple[str, str]] = frozenset(),
) -> str:
    """Digest of a script, of modules with all they import, and of losses.

    Modules are named from below the package (`data.images`), those of the generator with it
    (`phantom.tissue`). `losses` are (kind, name): a new loss beside them changes nothing.
    """
    wanted, definitions = set(modules), []
    for kind, name in sorted(losses):
        path = PACKAGE / "losses" / f"{kind}.py"
        wanted |= imports(path)
        definitions.append(_definition(path, name))
    files = [script, *sorted(_behind(wanted))]
    parts = [_content(path) for path in files] + definitions
    if PACKAGE / "report" / "__init__.py" in files:
        parts += [_words(PACKAGE / name) for name in REGISTRIES]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Modules of ours that a file imports, wherever in it, with the packages above."""
    found: set[str] = set()
    for node in _statements(_tree(path).body):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{each.name}" for each in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] in (PACKAGE.name, PHANTOM):
                parts = parts if parts[0] == PHANTOM else parts[1:]
                found |= {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return frozenset(name for name in found if _file(name) is not None)


def _statements(nodes: list) -> Iterator[ast.AST]:
    """Statements and those within them: imports are nowhere else, and this is quick."""
    for node in nodes:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, part, []))


@functools.cache
def _file(module: str) -> Path | None:
    parts = module.split(".")
    path = (PACKAGE.parent if parts[0] == PHANTOM else PACKAGE).joinpath(*parts)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() else None


def _behind(modules: set[str]) -> set[Path]:
    """Files of these modules, of all they import, and what else lies in their packages."""
    found: set[Path] = set()
    seen = set(WITHOUT_RESULTS)
    while modules:
        name = modules.pop()
        path = _file(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        found.add(path)
        modules |= imports(path)
        found |= _beside(path)
    return found


@functools.cache
def _beside(module: Path) -> frozenset[Path]:
    """Text files of a module: catalog.yaml of catalog.py, and of a package those of no module.

    Templates and styles, for example; not what an editor or a system leaves behind.
    """
    package = module.name == "__init__.py"

    def counts(path: Path) -> bool:
        litter = path.name.startswith(".") or path.name.endswith("~")
        of_another = package and path.with_suffix(".py").is_file()
        return path.is_file() and not (path.suffix.startswith(".py") or litter or of_another)

    found = module.parent.rglob("*") if package else module.parent.glob(f"{module.stem}.*")
    return frozenset(filter(counts, found))


@functools.cache
def _content(path: Path) -> str:
    if path.suffix == ".py":
        return _shape(_tree(path))
    # Read from a git host, files lose the end of their last line.
    return path.read_text(encoding="utf-8").rstrip("\n")


def _shape(node: object) -> str:
    """A syntax tree as text, without what has no effect and what differs between Pythons."""
    if isinstance(node, list):
        return f"[{','.join([_shape(part) for part in node])}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    text = type(node).__name__
    for field in node._fields:
        # A newer Python knows further fields, which are empty where its new syntax is not used.
        value = None if field in ("ctx", "kind") else getattr(node, field, None)
        if value is None:
            continue
        if isinstance(value, list):
            value = [part for part in value if not _is_idle(part, node)]
            if not value:
                continue
        text += f" {field}={_shape(value)}"
    return f"({text})"


def _is_idle(node: object, above: ast.AST) -> bool:
    """Whether it has no effect: a docstring, or the empty end that Python 3.12 gives a format."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(above, ast.JoinedStr) and isinstance(node, ast.Constant) and node.value == ""


def _words(path: Path) -> str:
    """A registry with the docstrings of what it registers, which the report shows."""
    tree = _tree(path)
    told = [
        ast.get_docstring(n) or ""
        for n in tree.body
        if isinstance(n, ast.ClassDef | ast.FunctionDef)
    ]
    return "\0".join([_shape(tree), *told])


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
    return _shape([_unregistered(node) for node in tree.body if id(node) in found])


def _unregistered(node: ast.stmt) -> ast.stmt:
    """Without what `@loss(...)` says: its words and relations change no training."""
    if not isinstance(node, ast.ClassDef):
        return node
    bare = copy.copy(node)
    bare.decorator_list = []
    return bare


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
