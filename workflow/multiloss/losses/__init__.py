"""The loss functions of the study, by name.

`classification_loss(name, **parameters)` and `segmentation_loss(name, **parameters)` build a
`keras.losses.Loss`; `CLASSIFICATION_LOSSES` and `SEGMENTATION_LOSSES` map names to classes.
`catalog` and `check` answer for the names and parameters alone. Importing this package does
not import Keras; the first three kinds of use above do.

A new loss is one class in `classification.py` or `segmentation.py`, decorated with
`@loss("name")`; it then appears everywhere by itself.
"""

import importlib
from typing import TYPE_CHECKING, Any

from multiloss.losses.parameters import Range, argument_name, catalog, check, specification

if TYPE_CHECKING:
    import keras

    CLASSIFICATION_LOSSES: dict[str, type[keras.losses.Loss]]
    SEGMENTATION_LOSSES: dict[str, type[keras.losses.Loss]]

__all__ = [
    "CLASSIFICATION_LOSSES",
    "SEGMENTATION_LOSSES",
    "Range",
    "catalog",
    "check",
    "classification_loss",
    "segmentation_loss",
    "specification",
]


def classification_loss(name: str, **parameters: float) -> "keras.losses.Loss":
    """One of the twelve losses on one-hot labels (B, K) and softmax probabilities (B, K).

    Raises UserError for an unknown name or parameter, or a value out of range.
    """
    return _build("classification", name, parameters)


def segmentation_loss(name: str, **parameters: float) -> "keras.losses.Loss":
    """One of the five losses on masks and lung probabilities, both (B, H, W, 1).

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
