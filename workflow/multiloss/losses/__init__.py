"""The loss functions of the study, by name.

`classification_loss(name, **parameters)` and `segmentation_loss(name, **parameters)` build a
`keras.losses.Loss`; `CLASSIFICATION_LOSSES` and `SEGMENTATION_LOSSES` map names to classes.
The other functions tell of names, words and parameters without importing Keras, and so does
importing this package; the uses above do import it.

A new loss is one class in `classification.py` or `segmentation.py`, decorated with
`@loss("name", title=..., cites=...)`, whose docstring begins with a sentence on what it is; it
then appears everywhere by itself.
"""

import importlib
from typing import TYPE_CHECKING, Any

from multiloss.losses.parameters import calibrated, catalog, check, described, relations
from multiloss.registry import argument_name

if TYPE_CHECKING:
    import keras

    CLASSIFICATION_LOSSES: dict[str, type[keras.losses.Loss]]
    SEGMENTATION_LOSSES: dict[str, type[keras.losses.Loss]]

__all__ = [
    "CLASSIFICATION_LOSSES",
    "SEGMENTATION_LOSSES",
    "calibrated",
    "catalog",
    "check",
    "classification_loss",
    "described",
    "relations",
    "segmentation_loss",
]


def classification_loss(name: str, **parameters: Any) -> "keras.losses.Loss":
    """A loss on one-hot labels (B, K) and softmax probabilities (B, K).

    Raises UserError for an unknown name or parameter, or a value out of range.
    """
    return _build("classification", name, parameters)


def segmentation_loss(name: str, **parameters: Any) -> "keras.losses.Loss":
    """A loss on masks and lung probabilities, both (B, H, W, 1).

    Raises UserError for an unknown name or parameter, or a value out of range.
    """
    return _build("segmentation", name, parameters)


def _build(kind: str, name: str, parameters: dict[str, Any]) -> "keras.losses.Loss":
    check(kind, name, parameters)
    arguments = {argument_name(parameter): value for parameter, value in parameters.items()}
    return _classes(kind)[name](**arguments)


def _classes(kind: str) -> "dict[str, type[keras.losses.Loss]]":
    return importlib.import_module(f"{__name__}.{kind}").LOSSES


def __getattr__(attribute: str) -> Any:
    if attribute == "CLASSIFICATION_LOSSES":
        return _classes("classification")
    if attribute == "SEGMENTATION_LOSSES":
        return _classes("segmentation")
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
