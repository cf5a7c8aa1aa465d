"""The classification losses.

All take one-hot labels y of shape (B, K), K >= 2, and softmax probabilities p of shape
(B, K) (not logits), and return one float32 scalar. p is clipped to [1e-7, 1 - 1e-7]. Each
loss is (1/B) sum_i w_i l_i, plus, for the calibrated ones, beta times the batch's calibration
gap; w_i is the sample weight (class weight) of image i.
"""

from typing import Any

from multiloss.backend import ops
from multiloss.losses.base import StudyLoss, clip, registrar, shapes_match
from multiloss.registry import NonNegative, ShareBelowOne

LOSSES: dict[str, type[StudyLoss]] = {}
loss = registrar(LOSSES)


class ClassificationLoss(StudyLoss):
    """One-hot labels (B, K) against probabilities (B, K)."""

    kind = "classification"

    def check_shapes(self, true: tuple[int | None, ...], pred: tuple[int | None, ...]) -> None:
        if len(true) != 2 or not shapes_match(true, pred) or pred[1] == 1:
            self.raise_shape_error(
                true, pred, "one-hot labels (B, K) and probabilities (B, K) with the same K >= 2"
            )

    def prepare(self, y_pred: Any) -> Any:
        return clip(y_pred)


class Calibrated(ClassificationLoss):
    """A loss with the batch term beta DCA, DCA = |accuracy - mean confidence|.

    Confidence is max_k p_k. The accuracy is piecewise constant, so its gradient is stopped;
    the gradient moves the confidence alone, towards the accuracy of the batch.
    Liang G, Zhang Y, Wang X, Jacobs N (2020), Improved trainable calibration method for neural
    networks on medical imaging classification, BMVC, arXiv:2009.04057.
    """

    beta: float

    def batch_term(self, y_true: Any, p: Any) -> Any:
        correct = ops.equal(ops.argmax(p, axis=-1), ops.argmax(y_true, axis=-1))
        accuracy = ops.stop_gradient(ops.mean(ops.cast(correct, p.dtype)))
        return self.beta * ops.absolute(accuracy - ops.mean(ops.max(p, axis=-1)))


def cross_entropy(y: Any, p: Any) -> Any:
    """-sum_k y_k log p_k for each row, (B,)."""
    return -ops.sum(y * ops.log(p), axis=-1)


def relative_entropy(y: Any, p: Any) -> Any:
    """sum_k y_k log(y_k / p_k) for each row, (B,), with 0 log 0 = 0.

    The logarithm of the ratio is taken as a difference: for one-hot rows the first logarithm
    is exactly 0, and the result is `cross_entropy` to the last bit.
    """
    log_y = ops.log(ops.where(y > 0, y, 1.0))
    return -ops.sum(y * (ops.log(p) - log_y), axis=-1)


def focal_entropy(y: Any, p: Any, gamma: float) -> Any:
    """-sum_k y_k (1 - p_k)^gamma log p_k for each row, (B,)."""
    return -ops.sum(y * ops.power(1.0 - p, gamma) * ops.log(p), axis=-1)


def entropy(p: Any) -> Any:
    """H(p) = -sum_k p_k log p_k for each row, (B,), in nats."""
    return -ops.sum(p * ops.log(p), axis=-1)


def categorical_hinge(y: Any, p: Any) -> Any:
    """max(0, 1 + max_{k: y_k = 0} p_k - sum_k y_k p_k) for each row, (B,)."""
    runner_up = ops.max(ops.where(y > 0, 0.0, p), axis=-1)
    return ops.maximum(0.0, 1.0 + runner_up - ops.sum(y * p, axis=-1))


def smooth(y: Any, s: float) -> Any:
    """y' = y (1 - s) + s / K: rows still sum to 1, for any number of classes K."""
    return y * (1.0 - s) + s / class_count(y)


def class_count(rows: Any) -> Any:
    """K of (B, K) rows, also where a graph is built before it is known."""
    known = rows.shape[-1]
    return ops.cast(ops.shape(rows)[-1], rows.dtype) if known is None else known


@loss("cce", title="cross-entropy", cites=("good1952",))
class CategoricalCrossEntropy(ClassificationLoss):
    """Categorical cross-entropy: minus the log probability of the true class.

    l = -sum_k y_k log p_k.
    y one-hot (B, K), p probabilities (B, K). No parameters.
    Good IJ (1952), Rational decisions, J R Stat Soc B 14(1).
    """

    def per_image(self, y_true: Any, p: Any) -> Any:
        return cross_entropy(y_true, p)


@loss(
    "cce_entropy", title="cross-entropy + entropy", cites=("pereyra2017",), same_as={"beta": "cce"}
)
class EntropyPenalisedCrossEntropy(ClassificationLoss):
    """Cross-entropy minus a reward for uncertain outputs (confidence penalty).

    l = cce - beta H(p) / K.
    y one-hot (B, K), p probabilities (B, K). beta >= 0; 0 gives `cce`. Its minimum is not at
    a perfect prediction and may be negative, since an uncertain answer is rewarded.
    Pereyra G, Tucker G, Chorowski J, Kaiser L, Hinton G (2017), Regularizing neural networks
    by penalizing confident output distributions, arXiv:1701.06548.
    """

    def __init__(self, beta: NonNegative = 2.0, **options: Any) -> None:
        super().__init__(beta=beta, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return cross_entropy(y_true, p) - self.beta * entropy(p) / class_count(p)


@loss("kl_divergence", title="KL divergence", cites=("kullback1951",), same_as="cce")
class KullbackLeiblerDivergence(ClassificationLoss):
    """Kullback-Leibler divergence from the label to the output.

    l = sum_k y_k log(y_k / p_k).
    y one-hot (B, K), or rows of probabilities; p probabilities (B, K). No parameters. Equal
    to `cce` for one-hot labels.
    Kullback S, Leibler RA (1951), On information and sufficiency, Ann Math Stat 22(1).
    """

    def per_image(self, y_true: Any, p: Any) -> Any:
        return relative_entropy(y_true, p)


@loss("focal", title="focal loss", cites=("lin2017",), same_as={"gamma": "cce"})
class Focal(ClassificationLoss):
    """Cross-entropy that counts images the model already gets right less.

    Focal loss: l = -sum_k y_k (1 - p_k)^gamma log p_k.
    y one-hot (B, K), p probabilities (B, K). gamma >= 0; 0 gives `cce`.
    Lin TY, Goyal P, Girshick R, He K, Dollar P (2017), Focal loss for dense object detection,
    ICCV, arXiv:1708.02002.
    """

    def __init__(self, gamma: NonNegative = 2.0, **options: Any) -> None:
        super().__init__(gamma=gamma, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return focal_entropy(y_true, p, self.gamma)


@loss("hinge", title="hinge loss", cites=("crammer2001",))
class Hinge(ClassificationLoss):
    """Margin between the true class and the strongest other class, on probabilities.

    Categorical hinge: l = max(0, 1 + max_{k: y_k = 0} p_k - sum_k y_k p_k).
    y one-hot (B, K), p probabilities (B, K). No parameters. On probabilities the outer
    maximum never binds, so l is linear in p.
    Crammer K, Singer Y (2001), On the algorithmic implementation of multiclass kernel-based
    vector machines, JMLR 2.
    """

    def per_image(self, y_true: Any, p: Any) -> Any:
        return categorical_hinge(y_true, p)


@loss(
    "label_smoothed_cce",
    title="label-smoothed cross-entropy",
    cites=("szegedy2016",),
    same_as={"s": "cce"},
)
class LabelSmoothedCrossEntropy(ClassificationLoss):
    """Cross-entropy with part of the label spread evenly over the classes.

    l = -sum_k y'_k log p_k, y' = y (1 - s) + s / K.
    y one-hot (B, K), p probabilities (B, K). 0 <= s < 1; 0 gives `cce`. Its minimum is at
    p = y', where it is the entropy of y', not 0.
    Szegedy C, Vanhoucke V, Ioffe S, Shlens J, Wojna Z (2016), Rethinking the Inception
    architecture for computer vision, CVPR, arXiv:1512.00567.
    """

    def __init__(self, s: ShareBelowOne = 0.2, **options: Any) -> None:
        super().__init__(s=s, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return cross_entropy(smooth(y_true, self.s), p)


@loss(
    "label_smoothed_focal",
    title="label-smoothed focal loss",
    cites=("lin2017", "szegedy2016"),
    same_as={"s": "focal", "gamma": "label_smoothed_cce"},
)
class LabelSmoothedFocal(ClassificationLoss):
    """Focal loss with part of the label spread evenly over the classes.

    l = -sum_k y'_k (1 - p_k)^gamma log p_k.
    y' = y (1 - s) + s / K; y one-hot (B, K), p probabilities (B, K). 0 <= s < 1 and
    gamma >= 0; s = 0 gives `focal`, gamma = 0 gives `label_smoothed_cce`.
    Lin et al. (2017), arXiv:1708.02002, with the labels of Szegedy et al. (2016),
    arXiv:1512.00567.
    """

    def __init__(self, s: ShareBelowOne = 0.2, gamma: NonNegative = 2.0, **options: Any) -> None:
        super().__init__(s=s, gamma=gamma, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return focal_entropy(smooth(y_true, self.s), p, self.gamma)


@loss(
    "calibrated_cce",
    title="calibrated cross-entropy",
    cites=("liang2020",),
    same_as={"beta": "cce"},
    plain="cce",
)
class CalibratedCrossEntropy(Calibrated):
    """Cross-entropy plus the batch's gap between accuracy and confidence.

    l = cce, plus beta DCA once for the batch.
    y one-hot (B, K), p probabilities (B, K). beta >= 0; 0 gives `cce`. DCA: see `Calibrated`.
    Liang et al. (2020), arXiv:2009.04057.
    """

    def __init__(self, beta: NonNegative = 1.0, **options: Any) -> None:
        super().__init__(beta=beta, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return cross_entropy(y_true, p)


@loss(
    "calibrated_kl_divergence",
    title="calibrated KL divergence",
    cites=("liang2020",),
    same_as="calibrated_cce",
    plain="kl_divergence",
)
class CalibratedKullbackLeiblerDivergence(Calibrated):
    """Kullback-Leibler divergence plus the batch's calibration gap.

    l = kl_divergence, plus beta DCA once for the batch.
    y one-hot (B, K), p probabilities (B, K). beta >= 0; 0 gives `kl_divergence`. Equal to
    `calibrated_cce` for one-hot labels.
    Rajaraman S, Zamzmi G, Antani SK (2021), PLoS ONE 16(12): e0261307.
    """

    def __init__(self, beta: NonNegative = 1.0, **options: Any) -> None:
        super().__init__(beta=beta, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return relative_entropy(y_true, p)


@loss(
    "calibrated_focal",
    title="calibrated focal loss",
    cites=("lin2017", "liang2020"),
    same_as={"beta": "focal", "gamma": "calibrated_cce"},
    plain="focal",
)
class CalibratedFocal(Calibrated):
    """Focal loss plus the batch's calibration gap.

    l = focal, plus beta DCA once for the batch.
    y one-hot (B, K), p probabilities (B, K). beta >= 0 and gamma >= 0; beta = 0 gives
    `focal`, gamma = 0 gives `calibrated_cce`.
    Rajaraman S, Zamzmi G, Antani SK (2021), PLoS ONE 16(12): e0261307.
    """

    def __init__(self, beta: NonNegative = 1.0, gamma: NonNegative = 2.0, **options: Any) -> None:
        super().__init__(beta=beta, gamma=gamma, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return focal_entropy(y_true, p, self.gamma)


@loss(
    "calibrated_hinge",
    title="calibrated hinge loss",
    cites=("liang2020",),
    same_as={"beta": "hinge"},
    plain="hinge",
)
class CalibratedHinge(Calibrated):
    """Hinge loss plus the batch's calibration gap.

    l = hinge, plus beta DCA once for the batch.
    y one-hot (B, K), p probabilities (B, K). beta >= 0; 0 gives `hinge`.
    Rajaraman S, Zamzmi G, Antani SK (2021), PLoS ONE 16(12): e0261307.
    """

    def __init__(self, beta: NonNegative = 1.0, **options: Any) -> None:
        super().__init__(beta=beta, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return categorical_hinge(y_true, p)


# The entropy term's usual weight of 0.001 is nothing beside the 2 / K of `cce_entropy`: a pair with
# that one would compare entropy penalties, so the plain form is `cce`.
@loss(
    "calibrated_negative_entropy",
    cites=("pereyra2017", "liang2020"),
    same_as={"lambda": "calibrated_cce"},
    plain="cce",
    negligible={"lambda": 0.001},
)
class CalibratedNegativeEntropy(Calibrated):
    """Cross-entropy with a small confidence penalty, plus the batch's calibration gap.

    l = cce - lambda H(p), plus beta DCA once for the batch.
    y one-hot (B, K), p probabilities (B, K). lambda >= 0 (`lambda_` in Python, `lambda` in
    configs) and beta >= 0; lambda = 0 gives `calibrated_cce`. An uncertain answer is rewarded, so
    the minimum lies beside the perfect prediction and below 0.
    Rajaraman S, Zamzmi G, Antani SK (2021), PLoS ONE 16(12): e0261307.
    """

    def __init__(
        self, lambda_: NonNegative = 0.001, beta: NonNegative = 1.0, **options: Any
    ) -> None:
        super().__init__(lambda_=lambda_, beta=beta, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return cross_entropy(y_true, p) - self.lambda_ * entropy(p)
