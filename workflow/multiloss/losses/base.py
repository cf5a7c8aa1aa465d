"""What all losses share: registration by name, checked parameters and shapes, float32."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np

from multiloss.backend import keras, ops
from multiloss.losses.parameters import check
from multiloss.registry import public_name

Loss = type["StudyLoss"]


class StudyLoss(keras.losses.Loss):
    """A loss with one value for each image, and perhaps one term for the whole batch.

    `loss(y_true, y_pred, sample_weight=w)` is (1/B) sum_i w_i l_i + batch term: the weights
    (class weights) act on the part of each image, the batch term is added once. Computed in
    float32 whatever the inputs are, so that mixed precision neither overflows nor rounds
    logarithms away.

    Parameters are attributes, lists of numbers as float32 arrays.

    A subclass gives `kind`, `check_shapes`, `prepare` and `per_image`; `batch_term` if it has
    one, and `see_class_counts` if it depends on how many images each class has.
    """

    kind: ClassVar[str]
    loss_name: ClassVar[str]

    def __init__(
        self, name: str | None = None, reduction: str = "sum_over_batch_size", **parameters: Any
    ) -> None:
        check(self.kind, self.loss_name, parameters)
        super().__init__(name=name or self.loss_name, reduction=reduction, dtype="float32")
        self.parameters = parameters
        for argument, value in parameters.items():
            many = isinstance(value, list | tuple)
            setattr(self, argument, np.asarray(value, np.float32) if many else value)

    def see_class_counts(self, counts: np.ndarray) -> None:
        """Told once, before a training: the images of each class in the train split, (K,) ints.

        Nothing here; a loss for imbalanced classes keeps what it makes of them.
        """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The scalar loss (with `reduction=None`: the (B,) values, each plus the batch term)."""
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        y_pred = ops.cast(ops.convert_to_tensor(y_pred), self.dtype)
        loss = super().__call__(y_true, y_pred, sample_weight)
        term = self.batch_term(y_true, self.prepare(y_pred))
        return loss if term is None else loss + term

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The values of the images, (B,), without weights and without the batch term."""
        self.check_shapes(_shape(y_true), _shape(y_pred))
        return self.per_image(y_true, self.prepare(y_pred))

    def check_shapes(self, true: tuple[int | None, ...], pred: tuple[int | None, ...]) -> None:
        """Raise ValueError when labels and predictions do not belong together."""
        raise NotImplementedError

    def prepare(self, y_pred: Any) -> Any:
        """The predictions as `per_image` and `batch_term` want them."""
        return y_pred

    def per_image(self, y_true: Any, p: Any) -> Any:
        """The loss of each image, (B,)."""
        raise NotImplementedError

    def batch_term(self, y_true: Any, p: Any) -> Any | None:
        """A scalar that belongs to the batch as a whole, or None."""
        return None

    def raise_shape_error(
        self, true: tuple[int | None, ...], pred: tuple[int | None, ...], expected: str
    ) -> NoReturn:
        raise ValueError(
            f"{self.kind} loss '{self.loss_name}' expects {expected}; "
            f"got labels {true} and predictions {pred}"
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.parameters

    def __repr__(self) -> str:
        values = ", ".join(f"{public_name(key)}={value}" for key, value in self.parameters.items())
        return f"<{self.kind} loss {self.loss_name}({values})>"


def clip(p: Any) -> Any:
    """Probabilities in [eps, 1 - eps], eps = 1e-7: their logarithms and 1/p stay finite."""
    epsilon = keras.config.epsilon()
    return ops.clip(p, epsilon, 1.0 - epsilon)


def shapes_match(true: tuple[int | None, ...], pred: tuple[int | None, ...]) -> bool:
    """Same rank and same sizes, as far as they are known while a graph is built."""
    return len(true) == len(pred) and all(
        a == b or a is None or b is None for a, b in zip(true, pred, strict=True)
    )


def _shape(tensor: Any) -> tuple[int | None, ...]:
    return tuple(tensor.shape)


def registrar(losses: dict[str, Loss]) -> Callable[..., Callable[[Loss], Loss]]:
    """The decorator `@loss("name", ...)` that puts a class into `losses` and lets Keras load it.

    Its keywords are literals, which `losses.parameters` reads from the source: `title` (the name
    for people), `cites` (keys of report/references.yaml) and the relations to other losses,
    `same_as`, `plain` and `negligible` (see `parameters.Relations`). No result depends on them
    but which losses are compared with which.
    """

    def loss(
        name: str,
        *,
        title: str = "",
        cites: tuple[str, ...] = (),
        same_as: str | Mapping[str, str] = "",
        plain: str = "",
        negligible: Mapping[str, float] | None = None,
    ) -> Callable[[Loss], Loss]:
        def register(cls: Loss) -> Loss:
            if name in losses:
                raise ValueError(f"two {cls.kind} losses are called '{name}'")
            cls.loss_name = name
            losses[name] = cls
            package = f"multiloss.{cls.kind}"
            return keras.saving.register_keras_serializable(package, name)(cls)

        return register

    return loss
