"""What the source says of registered things, without importing what they need to run.

The Snakefile is read in an environment that may hold Snakemake alone, so names, parameters and
words come from the source: a class under `@decorator("name", title=..., cites=...)` is known by
that name, the keywords are its words and relations, the first sentence of its docstring says what
it is, and the annotated arguments of its `__init__` are its parameters.
"""

import ast
import functools
import inspect
import keyword
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple


class Range(NamedTuple):
    """The values of a parameter: numbers from low to high, the ends included or not.

    `whole`: integers alone; `many`: a list of such numbers, not empty.
    """

    low: float
    high: float = math.inf
    low_included: bool = True
    high_included: bool = False
    whole: bool = False
    many: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is allowed; never for truth values, text, NaN and infinity."""
        if self.many:
            one = self._replace(many=False)
            return isinstance(value, list | tuple) and bool(value) and all(map(one.holds, value))
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        above = value >= self.low if self.low_included else value > self.low
        below = value <= self.high if self.high_included else value < self.high
        return above and below

    def __str__(self) -> str:
        number = "whole number" if self.whole else "number"
        text = f"a list of {number}s" if self.many else f"a {number}"
        if self.high == math.inf:
            return f"{text} {'at least' if self.low_included else 'above'} {self.low:g}"
        left, right = "[("[not self.low_included], "])"[not self.high_included]
        return f"{text} in {left}{self.low:g}, {self.high:g}{right}"


NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, low_included=False)]
Share = Annotated[float, Range(0, 1, high_included=True)]
ShareBelowOne = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1, whole=True)]

# What an annotation may be, also as `list[Share]` and with `| None`.
RANGES: dict[str, Range] = {
    "NonNegative": NonNegative.__metadata__[0],
    "Positive": Positive.__metadata__[0],
    "Share": Share.__metadata__[0],
    "ShareBelowOne": ShareBelowOne.__metadata__[0],
    "Count": Count.__metadata__[0],
}


class Parameter(NamedTuple):
    """Default, range and words of a parameter; a default of None may be given as well."""

    default: float | list[float] | None
    range: Range
    words: str = ""

    def holds(self, value: Any) -> bool:
        """Whether a value may be given."""
        return (value is None and self.default is None) or self.range.holds(value)


@dataclass(frozen=True)
class Described:
    """A registered class: its name, what it is in one sentence, keywords and parameters."""

    name: str
    sentence: str
    keywords: dict[str, Any]
    parameters: dict[str, Parameter]

    @property
    def title(self) -> str:
        """The name for people; without a `title` the name without underscores."""
        return self.keywords.get("title") or self.name.replace("_", " ")

    @property
    def cites(self) -> tuple[str, ...]:
        """Keys of report/references.yaml."""
        return tuple(self.keywords.get("cites", ()))


def parse(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def registered_classes(tree: ast.Module, decorator: str) -> dict[str, ast.ClassDef]:
    """Registered name and class, in the order of the source."""
    return {name: node for name, node, _ in _registered(tree, decorator)}


@functools.cache
def described(path: Path, decorator: str) -> dict[str, Described]:
    """All that a source file registers, by name, in the order of the source.

    Raises ValueError where a keyword of the decorator is no literal. An argument whose annotation
    is none of `RANGES` is no parameter.
    """
    tree = parse(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return {
        name: Described(
            name,
            first_sentence(ast.get_docstring(node)),
            {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg},
            _parameters(node, classes),
        )
        for name, node, call in _registered(tree, decorator)
    }


def _registered(tree: ast.Module, decorator: str) -> list[tuple[str, ast.ClassDef, ast.Call]]:
    return [
        (ast.literal_eval(call.args[0]), node, call)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == decorator
    ]


def first_sentence(docstring: str | None) -> str:
    """The first sentence of a docstring on one line, without its full stop; "" without one."""
    text = " ".join(inspect.cleandoc(docstring or "").split("\n\n")[0].split())
    return re.split(r"\.(?=\s|$)", text, maxsplit=1)[0]


def public_name(argument: str) -> str:
    """The name of an argument in configs: `lambda_` is `lambda` there, as in the formulas."""
    bare = argument.removesuffix("_")
    return bare if keyword.iskeyword(bare) else argument


def argument_name(parameter: str) -> str:
    """The inverse of `public_name`."""
    return f"{parameter}_" if keyword.iskeyword(parameter) else parameter


def _parameters(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Parameter]:
    """The annotated arguments of the class's `__init__`, or else of its first base with one."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            defaults = item.args.defaults
            named = item.args.args[len(item.args.args) - len(defaults) :]
            given = [*zip(named, defaults, strict=True)]
            given += zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True)
            return {
                public_name(name.arg): Parameter(ast.literal_eval(default), known, words)
                for name, default in given
                for node, words in [_annotation(name.annotation)]
                if default is not None and (known := _range(node)) is not None
            }
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            return _parameters(classes[base.id], classes)
    return {}


def _annotation(node: ast.expr | None) -> tuple[ast.expr | None, str]:
    """`Count` and the words of `Annotated[Count, "how many"]`."""
    if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Annotated":
        kind, words = node.slice.elts
        return kind, ast.literal_eval(words)
    return node, ""


def _range(node: ast.expr | None) -> Range | None:
    """That of `Share`, `list[Share]`, either with `| None`; None for what is no parameter."""
    if isinstance(node, ast.BinOp):
        node = node.left
    if isinstance(node, ast.Subscript):
        inner = _range(node.slice)
        return None if inner is None else inner._replace(many=True)
    return RANGES.get(getattr(node, "id", ""))
