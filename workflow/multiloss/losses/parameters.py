"""What the losses are called, take and mean, told without importing Keras.

The config is checked, and the jobs are planned, in processes that must not spend seconds on
starting TensorFlow. So all is read from the source of the loss classes, which stay the only place
where a loss is described (see `multiloss.registry`).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multiloss import registry
from multiloss.job.errors import UserError, did_you_mean
from multiloss.registry import Described, Parameter, public_name

KINDS = ("classification", "segmentation")
SOURCES = {kind: Path(__file__).with_name(f"{kind}.py") for kind in KINDS}


# How a loss stands to others, as its decorator says. `same_as`: the loss that it is where a
# parameter is 0, by that parameter; with the key "" the one that it always is, since labels are
# one-hot. The parameters that are left are that one's. `plain`: the nearest loss without the
# calibration gap, whose weight is the parameter `beta`. `negligible`: the largest weights with
# which further terms do not count when the two are compared.
Relations = Mapping[str, Any]


def described(kind: str) -> dict[str, Described]:
    """Title, sentence, citation keys and parameters of all losses of a kind, by name.

    `kind` is "classification" or "segmentation" (else ValueError). Order: that of the classes in
    the source.
    """
    if kind not in KINDS:
        raise ValueError(f"kind of loss {kind!r}: it is one of {', '.join(KINDS)}")
    return registry.described(SOURCES[kind], "loss")


def catalog(kind: str) -> dict[str, dict[str, Any]]:
    """Names of all losses of a kind with their parameters and defaults, as in `described`."""
    return {
        name: {parameter: known.default for parameter, known in loss.parameters.items()}
        for name, loss in described(kind).items()
    }


def relations(names: Iterable[str] | None = None) -> dict[str, Relations]:
    """Of classification losses, and of those that they lead to, how they stand to others."""
    known = described("classification")
    pending, found = list(known if names is None else names), {}
    while pending:
        name = pending.pop(0)
        if name in found or name not in known:
            continue
        words = known[name].keywords
        same = words.get("same_as", {})
        same = {"": same} if isinstance(same, str) else dict(same)
        found[name] = {
            "same_as": same,
            "plain": words.get("plain", ""),
            "negligible": words.get("negligible", {}),
        }
        pending += same.values()
    return found


def calibrated() -> dict[str, str]:
    """The losses with a calibration gap, each with its plain form."""
    return {name: known["plain"] for name, known in relations().items() if known["plain"]}


def check(kind: str, name: str, parameters: Mapping[str, Any]) -> None:
    """Raise UserError, in one line, for an unknown loss, an unknown parameter or a bad value.

    No Keras is imported, so that a config can be refused before any job starts.
    """
    losses = described(kind)
    if name not in losses:
        raise UserError(
            f"unknown {kind} loss '{name}'{_hint(name, losses)}: it is one of {', '.join(losses)}"
        )
    known = losses[name].parameters
    for parameter, value in parameters.items():
        parameter = public_name(parameter)
        if parameter not in known:
            takes = ", ".join(known) or "no parameters"
            raise UserError(
                f"{kind} loss '{name}' has no parameter '{parameter}'"
                f"{_hint(parameter, known)}: it takes {takes}"
            )
        if not known[parameter].holds(value):
            raise UserError(
                f"parameter '{parameter}' of {kind} loss '{name}' is {value!r}: "
                f"it must be {known[parameter].range}"
            )


def _hint(word: str, known: Mapping[str, Described] | Mapping[str, Parameter]) -> str:
    hint = did_you_mean(word, known)
    return f" ({hint})" if hint else ""
