"""What the losses are called and which parameters they take, told without importing Keras.

The config is checked, and the jobs are planned, in processes that must not spend seconds on
starting TensorFlow. So the names, defaults and ranges are read from the source of the loss
classes: `@loss("name")` above the class, and the annotated keyword arguments of `__init__`.
The classes stay the only place where a loss is described.
"""

import ast
import functools
import keyword
import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from multiloss import registry
from multiloss.errors import UserError, did_you_mean

KINDS = ("classification", "segmentation")


class Range(NamedTuple):
    """The values that a parameter may have: from low to high, the ends included or not."""

    low: float
    high: float
    low_included: bool = True
    high_included: bool = True

    def holds(self, value: float) -> bool:
        above = value >= self.low if self.low_included else value > self.low
        below = value <= self.high if self.high_included else value < self.high
        return above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'at least' if self.low_included else 'above'} {self.low:g}"
        left, right = "[("[not self.low_included], "])"[not self.high_included]
        return f"in {left}{self.low:g}, {self.high:g}{right}"


NonNegative = Annotated[float, Range(0, math.inf, high_included=False)]
Positive = Annotated[float, Range(0, math.inf, low_included=False, high_included=False)]
Share = Annotated[float, Range(0, 1)]
ShareBelowOne = Annotated[float, Range(0, 1, high_included=False)]

RANGES: dict[str, Range] = {
    "NonNegative": NonNegative.__metadata__[0],
    "Positive": Positive.__metadata__[0],
    "Share": Share.__metadata__[0],
    "ShareBelowOne": ShareBelowOne.__metadata__[0],
}


class Parameter(NamedTuple):
    """One parameter of a loss; a default of None may be given by the user as well."""

    default: float | None
    range: Range


def public_name(argument: str) -> str:
    """The name of an argument in configs: `lambda_` is `lambda` there, as in the formulas."""
    bare = argument.removesuffix("_")
    return bare if keyword.iskeyword(bare) else argument


def argument_name(parameter: str) -> str:
    """The inverse of `public_name`."""
    return f"{parameter}_" if keyword.iskeyword(parameter) else parameter


def read_source(path: Path) -> dict[str, dict[str, Parameter]]:
    """Losses and parameters of one source file, in the order of its classes."""
    tree = registry.parse(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return {
        name: _parameters(node, classes)
        for name, node in registry.registered_classes(tree, "loss").items()
    }


def _parameters(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Parameter]:
    """The annotated arguments of the class's `__init__`, or else of its first base with one."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            names = item.args.args[1:]
            defaults = item.args.defaults
            return {
                public_name(name.arg): Parameter(
                    ast.literal_eval(default), RANGES[_annotation(name.annotation)]
                )
                for name, default in zip(names, defaults, strict=True)
            }
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            return _parameters(classes[base.id], classes)
    return {}


def _annotation(node: ast.expr | None) -> str:
    """`Share` of both `Share` and `Share | None`."""
    return node.left.id if isinstance(node, ast.BinOp) else node.id


@functools.cache
def _specification(kind: str) -> dict[str, dict[str, Parameter]]:
    if kind not in KINDS:
        raise ValueError(f"kind of loss {kind!r}: it is one of {', '.join(KINDS)}")
    return read_source(Path(__file__).with_name(f"{kind}.py"))


def specification(kind: str) -> dict[str, dict[str, Parameter]]:
    """Like `catalog`, with the range of each parameter beside its default."""
    return dict(_specification(kind))


def catalog(kind: str) -> dict[str, dict[str, float | None]]:
    """Names of all losses of a kind with their parameters and defaults.

    `kind` is "classification" or "segmentation" (else ValueError). Order: that of the classes
    in the source. No Keras is imported.
    """
    return {
        name: {parameter: described.default for parameter, described in parameters.items()}
        for name, parameters in _specification(kind).items()
    }


def check(kind: str, name: str, parameters: dict[str, Any]) -> None:
    """Raise UserError, in one line, for an unknown loss, an unknown parameter or a bad value.

    No Keras is imported, so that a config can be refused before any job starts.
    """
    losses = _specification(kind)
    if name not in losses:
        raise UserError(
            f"unknown {kind} loss '{name}'{_hint(name, losses)}: it is one of {', '.join(losses)}"
        )
    known = losses[name]
    for parameter, value in parameters.items():
        parameter = public_name(parameter)
        if parameter not in known:
            takes = ", ".join(known) or "no parameters"
            raise UserError(
                f"{kind} loss '{name}' has no parameter '{parameter}'"
                f"{_hint(parameter, known)}: it takes {takes}"
            )
        default, allowed = known[parameter]
        if value is None and default is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and allowed.holds(value)):
            raise UserError(
                f"parameter '{parameter}' of {kind} loss '{name}' is {value!r}: "
                f"it must be a number {allowed}"
            )


def _hint(word: str, known: dict[str, Any]) -> str:
    hint = did_you_mean(word, known)
    return f" ({hint})" if hint else ""
