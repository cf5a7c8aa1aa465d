"""The segmentation losses.

All take masks y of shape (B, H, W, 1), 1 on the lung and 0 elsewhere, and probabilities p of
the lung of the same shape (sigmoid output, not logits), and return one float32 scalar,
(1/B) sum_i w_i l_i. Every l_i is of one image alone: Dice and Tversky are ratios of sums over
its pixels, so that a small lung counts as much as a large one.

Where a logarithm is taken, p is clipped to [1e-7, 1 - 1e-7]; the ratios take p as it is, since
even 1e-7 on each of a quarter of a million empty pixels would be seen in them.
"""

from typing import Any, NamedTuple

from multiloss.backend import ops
from multiloss.losses.base import StudyLoss, clip, registrar, shapes_match
from multiloss.registry import NonNegative, Positive, Share

LOSSES: dict[str, type[StudyLoss]] = {}
loss = registrar(LOSSES)

PIXELS = (1, 2, 3)
# At this distance from a perfect overlap, focal Tversky counts the overlap as perfect.
SMALLEST_LOSS = 1e-7


class SegmentationLoss(StudyLoss):
    """Masks (B, H, W, 1) against probabilities (B, H, W, 1)."""

    kind = "segmentation"

    def check_shapes(self, true: tuple[int | None, ...], pred: tuple[int | None, ...]) -> None:
        if len(true) != 4 or not shapes_match(true, pred) or true[3] not in (1, None):
            self.raise_shape_error(
                true, pred, "masks (B, H, W, 1) and probabilities of the same shape"
            )


class Overlap(NamedTuple):
    """Soft counts of true positive, false negative and false positive pixels, each (B,)."""

    tp: Any
    fn: Any
    fp: Any


def overlap(y: Any, p: Any) -> Overlap:
    return Overlap(
        ops.sum(y * p, axis=PIXELS),
        ops.sum(y * (1.0 - p), axis=PIXELS),
        ops.sum((1.0 - y) * p, axis=PIXELS),
    )


def binary_cross_entropy(y: Any, p: Any) -> Any:
    """Mean over the pixels of -y log p - (1 - y) log(1 - p), (B,)."""
    p = clip(p)
    return -ops.mean(y * ops.log(p) + (1.0 - y) * ops.log(1.0 - p), axis=PIXELS)


def dice_loss(y: Any, p: Any, smoothing: float) -> Any:
    """1 - (2 sum yp + smoothing) / (sum y + sum p + smoothing) for each image, (B,).

    Written as misses over everything, which loses no digits near a perfect overlap.
    """
    tp, fn, fp = overlap(y, p)
    return (fn + fp) / (2.0 * tp + fn + fp + smoothing)


def tversky_loss(y: Any, p: Any, alpha: float, beta: float, smoothing: float) -> Any:
    """1 - TI, TI = (TP + smoothing) / (TP + alpha FN + beta FP + smoothing), (B,)."""
    tp, fn, fp = overlap(y, p)
    wrong = alpha * fn + beta * fp
    return wrong / (tp + wrong + smoothing)


@loss("bce", title="BCE", cites=("good1952",))
class BinaryCrossEntropy(SegmentationLoss):
    """Binary cross-entropy of each pixel.

    l = mean over pixels of -y log p - (1 - y) log(1 - p).
    y mask (B, H, W, 1), p probabilities (B, H, W, 1). No parameters.
    Good IJ (1952), Rational decisions, J R Stat Soc B 14(1).
    """

    def per_image(self, y_true: Any, p: Any) -> Any:
        return binary_cross_entropy(y_true, p)


@loss("bce_dice", title="BCE + Dice", cites=("milletari2016",))
class BinaryCrossEntropyDice(SegmentationLoss):
    """Binary cross-entropy plus Dice loss.

    l = a bce + d (1 - Dice).
    Dice = (2 sum yp + smoothing) / (sum y + sum p + smoothing) over the pixels of the image.
    y mask (B, H, W, 1), p probabilities (B, H, W, 1). bce_weight a >= 0, dice_weight d >= 0,
    smoothing > 0 (an empty mask met by an empty prediction then has Dice 1).
    Milletari F, Navab N, Ahmadi SA (2016), V-Net, 3DV, arXiv:1606.04797.
    """

    def __init__(
        self,
        bce_weight: NonNegative = 1.0,
        dice_weight: NonNegative = 1.0,
        smoothing: Positive = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(
            bce_weight=bce_weight, dice_weight=dice_weight, smoothing=smoothing, **options
        )

    def per_image(self, y_true: Any, p: Any) -> Any:
        return self.bce_weight * binary_cross_entropy(y_true, p) + self.dice_weight * dice_loss(
            y_true, p, self.smoothing
        )


@loss("focal", cites=("lin2017",))
class FocalMask(SegmentationLoss):
    """Cross-entropy that counts easy pixels less.

    Binary focal loss: l = mean over pixels of
    -alpha y (1 - p)^gamma log p - (1 - alpha) (1 - y) p^gamma log(1 - p).

    y mask (B, H, W, 1), p probabilities (B, H, W, 1). gamma >= 0; alpha in [0, 1] weighs the
    lung, 1 - alpha the background; gamma = 0 and alpha = 0.5 give half of `bce`.
    Lin TY, Goyal P, Girshick R, He K, Dollar P (2017), Focal loss for dense object detection,
    ICCV, arXiv:1708.02002.
    """

    def __init__(self, gamma: NonNegative = 2.0, alpha: Share = 0.25, **options: Any) -> None:
        super().__init__(gamma=gamma, alpha=alpha, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        p = clip(p)
        lung = self.alpha * y_true * ops.power(1.0 - p, self.gamma) * ops.log(p)
        rest = (1.0 - self.alpha) * (1.0 - y_true) * ops.power(p, self.gamma) * ops.log(1.0 - p)
        return -ops.mean(lung + rest, axis=PIXELS)


class TverskyBase(SegmentationLoss):
    """The Tversky index with alpha on false negatives and beta on false positives."""

    def one_minus_index(self, y_true: Any, p: Any) -> Any:
        beta = 1.0 - self.alpha if self.beta is None else self.beta
        return tversky_loss(y_true, p, self.alpha, beta, self.smoothing)


@loss("tversky", title="Tversky", cites=("salehi2017",))
class Tversky(TverskyBase):
    """Overlap loss that weighs missed lung more than false lung.

    l = 1 - TI, TI = (TP + smoothing) / (TP + alpha FN + beta FP + smoothing).
    TP, FN, FP are soft counts over the pixels of the image. y mask (B, H, W, 1), p
    probabilities (B, H, W, 1). alpha in [0, 1] weighs missed lung, beta in [0, 1] false lung;
    beta None is 1 - alpha. alpha = beta = 0.5 is the Dice loss with twice the smoothing.
    Salehi SSM, Erdogmus D, Gholipour A (2017), Tversky loss function for image segmentation
    using 3D fully convolutional deep networks, MLMI, arXiv:1706.05721.
    """

    def __init__(
        self,
        alpha: Share = 0.7,
        beta: Share | None = None,
        smoothing: Positive = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, smoothing=smoothing, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        return self.one_minus_index(y_true, p)


@loss("focal_tversky", title="focal Tversky", cites=("abraham2019",))
class FocalTversky(TverskyBase):
    """Tversky loss that dwells on badly segmented images.

    l = (1 - TI)^gamma.
    TI and the parameters alpha, beta and smoothing are those of `tversky`; gamma > 0. For
    gamma < 1 the slope at TI = 1 is infinite: from 1 - TI = 1e-7 down the overlap counts as
    perfect, loss and gradient are 0. gamma = 1 gives `tversky`.
    Abraham N, Khan NM (2019), A novel focal Tversky loss function with improved attention
    U-Net for lesion segmentation, ISBI, arXiv:1810.07842.
    """

    def __init__(
        self,
        alpha: Share = 0.7,
        beta: Share | None = None,
        gamma: Positive = 0.75,
        smoothing: Positive = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(alpha=alpha, beta=beta, gamma=gamma, smoothing=smoothing, **options)

    def per_image(self, y_true: Any, p: Any) -> Any:
        loss = self.one_minus_index(y_true, p)
        # The power sees a harmless number where it is not used, or its infinite slope times
        # the 0 of the branch not taken would be NaN.
        safe = ops.where(loss > SMALLEST_LOSS, loss, 1.0)
        return ops.where(loss > SMALLEST_LOSS, ops.power(safe, self.gamma), 0.0)
