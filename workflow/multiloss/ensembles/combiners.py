"""Combine the class probabilities of M models into one: one class per method.

A new method is one class here with `@register("its_name", complexity=...)`, whose docstring
begins with a sentence on what it is; configs, jobs, cross-fitting, the optimism table and the
report find it by that name. The decorator's other words are those of `methods.Method`; the
config may set what `__init__` takes with a default and a range. Arrays: `p` (M, N, K) float64 in
[0, 1] with rows that sum to 1, `y` (N,) class indices; M models, N images, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from multiloss.job.errors import UserError
from multiloss.registry import Count, NonNegative

# Added to probabilities inside logarithms: smooth, unlike clipping, so the gradient stays right.
EPSILON = 1e-12


class Combiner(ABC):
    """What every prediction-level method does; of equal scores the less complex method wins."""

    name: ClassVar[str]
    complexity: ClassVar[int]
    fitted: ClassVar[bool]

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @classmethod
    def fits(cls, y: np.ndarray, classes: int) -> bool:
        """Whether the method can be fitted on labels (N,): what is fitted must see every class."""
        return not cls.fitted or len(np.unique(y)) == classes

    @property
    def weights(self) -> np.ndarray | None:
        """The members' fitted weights (M,), or None where there are no such numbers."""
        return None

    @abstractmethod
    def fit(self, p: np.ndarray, y: np.ndarray) -> Self:
        """Learn from labelled probabilities; returns itself."""

    @abstractmethod
    def predict(self, p: np.ndarray) -> np.ndarray:
        """The combined probabilities (N, K); rows sum to 1."""


# Methods that combine stored probabilities.
COMBINERS: dict[str, type[Combiner]] = {}


def register(
    name: str,
    *,
    complexity: int,
    fitted: bool = False,
    level: str = "prediction",
    title: str = "",
    cites: tuple[str, ...] = (),
    trained_on: str = "",
    fits_a_network: bool = False,
    caveat: str = "",
) -> Callable[[type], type]:
    """Make a method known under the name that configs use.

    All words are literals, which `methods.ensemble_methods` reads from the source: see
    `methods.Method`.
    """

    def add(cls: type) -> type:
        cls.name, cls.complexity, cls.fitted = name, complexity, fitted
        if issubclass(cls, Combiner):
            COMBINERS[name] = cls
        return cls

    return add


def combiner(method: str, seed: int, **options: Any) -> Combiner:
    """A fresh combiner by its config name, with the config's options for it."""
    if method not in COMBINERS:
        raise UserError(
            f"ensembles.methods: '{method}' is unknown; one of {', '.join(COMBINERS)} is needed"
        )
    return COMBINERS[method](seed=seed, **options)


@register(
    "majority_vote",
    complexity=1,
    caveat="shares of votes, not probabilities that a network gives",
)
class MajorityVote(Combiner):
    """The class that most members name.

    p = (votes + mean probability) / (M + 1). Most votes win and a tie goes to the class with the
    larger mean probability: means differ by at most one vote. Both parts sum to M + 1, so rows
    sum to 1.
    """

    def fit(self, p: np.ndarray, y: np.ndarray) -> Self:
        return self

    def predict(self, p: np.ndarray) -> np.ndarray:
        votes = (p.argmax(axis=2)[..., None] == np.arange(p.shape[2])).sum(axis=0)
        return (votes + p.mean(axis=0)) / (len(p) + 1)


@register("simple_average", complexity=0)
class SimpleAverage(Combiner):
    """The mean of the members' probabilities."""

    def fit(self, p: np.ndarray, y: np.ndarray) -> Self:
        return self

    def predict(self, p: np.ndarray) -> np.ndarray:
        return p.mean(axis=0)


@register("weighted_average", complexity=2, fitted=True, cites=("kraft1988",))
class WeightedAverage(Combiner):
    """The mean of the members' probabilities, with weights that sequential least squares
    programming fits on the ensemble split.

    p = sum_m w_m p_m with w >= 0, sum w = 1, minimising the log loss -mean log p[y]. SLSQP with
    the analytic gradient from `starts` points: equal weights first, then random ones spread evenly
    over the simplex. The problem is convex, so the starts guard against a stalled search, not
    against local minima; where several weights are equally good (identical members) the earliest
    start, the equal weights, wins.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        starts: Annotated[Count, "Starting points of the optimiser."] = 50,
    ) -> None:
        super().__init__(seed)
        self.starts = starts

    def fit(self, p: np.ndarray, y: np.ndarray) -> Self:
        losses, weights = self.solutions(p, y)
        # Not simply the minimum: differences below the search's tolerance are no reason to
        # leave an earlier start.
        self._weights = weights[int(np.flatnonzero(losses <= losses.min() + 1e-9)[0])]
        return self

    def solutions(
        self, p: np.ndarray, y: np.ndarray, first: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log loss (S,) and weights (S, M) reached from each start.

        `first` (F, M) are starts to try before the equal weights, such as the solution of a
        similar problem.
        """
        members = len(p)
        random = np.random.default_rng(self.seed).dirichlet(
            np.ones(members), size=max(self.starts - 1, 0)
        )
        starts = [np.full((1, members), 1 / members), random]
        if first is not None:
            starts.insert(0, np.asarray(first, dtype=float))
        # Only the probability of the true class enters the log loss: (N, M).
        true = p[:, np.arange(len(y)), y].T
        found = [mixture_weights(true, start) for start in np.concatenate(starts)]
        return np.array([loss for loss, _ in found]), np.array([w for _, w in found])

    @property
    def weights(self) -> np.ndarray:
        return self._weights

    def predict(self, p: np.ndarray) -> np.ndarray:
        return np.tensordot(self._weights, p, axes=1)


def mixture_weights(true: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
    """SLSQP from one start for the best mixture of true-class probabilities (N, M).

    Returns the log loss -mean log(true @ w + 1e-12) and the weights (M,).
    """
    from scipy.optimize import minimize

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = true @ w + EPSILON
        return -np.log(mixed).mean(), -(true / mixed[:, None]).mean(axis=0)

    found = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(start),
        constraints={
            "type": "eq",
            "fun": lambda w: w.sum() - 1,
            "jac": lambda w: np.ones_like(w),
        },
        options={"maxiter": 200, "ftol": 1e-12},
    )
    weights = np.clip(found.x, 0.0, None) if np.isfinite(found.x).all() else start
    weights = weights / weights.sum()
    return loss(weights)[0], weights


@register(
    "stacking",
    complexity=3,
    fitted=True,
    cites=("wolpert1992",),
    trained_on="ensemble",
    fits_a_network=True,
)
class Stacking(Combiner):
    """A small network on the members' probabilities, fitted on the ensemble split.

    One hidden layer of K x M ReLU units on the concatenated probabilities, then softmax:
    scikit-learn's `MLPClassifier` with L-BFGS, which suits the few hundred images of the
    `ensemble` split. `alpha` is its L2 penalty (alpha / (2 n) |w|^2). The default was found by
    simulation with 60 to 700 images and 3 or 5 members: 3 keeps log loss and MCC level with the
    simple average's where there is nothing to learn; 0.0001, scikit-learn's own, overfits (log
    loss up to 8), 10 underfits below 100 images. Raises ValueError where `y` lacks a class.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        alpha: Annotated[
            NonNegative,
            "L2 penalty of the network, alpha / (2 n) |w|^2; the default suits 60 to 700 images.",
        ] = 3.0,
        max_iter: Annotated[Count, "Most iterations of L-BFGS when it is fitted."] = 5000,
    ) -> None:
        super().__init__(seed)
        self.alpha = alpha
        self.max_iter = max_iter

    def fit(self, p: np.ndarray, y: np.ndarray) -> Self:
        from sklearn.neural_network import MLPClassifier

        members, _, classes = p.shape
        if not self.fits(y, classes):
            raise ValueError("stacking must see every class, or it would never predict the others")
        self._network = MLPClassifier(
            hidden_layer_sizes=(classes * members,),
            activation="relu",
            solver="lbfgs",
            alpha=self.alpha,
            max_iter=self.max_iter,
            random_state=self.seed,
        ).fit(self._features(p), y)
        return self

    def predict(self, p: np.ndarray) -> np.ndarray:
        return self._network.predict_proba(self._features(p))

    @staticmethod
    def _features(p: np.ndarray) -> np.ndarray:
        """The members' probability vectors side by side: (N, M K)."""
        return p.transpose(1, 0, 2).reshape(p.shape[1], -1)


@register("model_level", title="model-level ensemble", complexity=10, level="model")
class ModelLevel:
    """A new classification head on the members' joined feature maps.

    Trained by jobs of its own (`networks.model_level`) on the train split, and only judged
    here: more elaborate than any combination of probabilities.
    """
