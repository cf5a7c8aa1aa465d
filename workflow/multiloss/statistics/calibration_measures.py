"""Measures of calibration that tables/calibration_scores.csv has beside the metrics, in words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One measure; `perfect`: its value under perfect calibration; `per_class`: one for each."""

    name: str
    title: str
    sentence: str
    perfect: float = 0.0
    per_class: bool = False

    def of(self, label: str) -> str:
        """The name that tables give this measure of one class."""
        return f"{self.name}_{label}"


SLOPE = Measure(
    "calibration_slope",
    "Calibration slope",
    "Slope of the labels on the log probabilities, common to all classes: 1 is perfect, below 1 "
    "the probabilities are too extreme, above 1 too timid",
    1.0,
)
CONFIDENCE = Measure(
    "mean_confidence",
    "Mean confidence",
    "Mean probability of the predicted class",
    float("nan"),
)
OVERCONFIDENCE = Measure(
    "overconfidence",
    "Confidence minus accuracy",
    "Mean probability of the predicted class minus share of right answers",
)
MISCALIBRATION = Measure(
    "log_loss_miscalibration",
    "Log loss saved by recalibration",
    "Log loss (nats) minus that after recalibration with one slope and an intercept a class",
)
DEBIASED = Measure(
    "ece_debiased",
    "Debiased calibration error",
    "Root mean square over bins of accuracy minus confidence, less what chance adds",
)
CLASSWISE_DEBIASED = Measure(
    "classwise_ece_debiased",
    "Debiased classwise error",
    "The same of each class against the rest, over all classes",
)
CLASS_SLOPE = Measure(
    "calibration_slope",
    "Calibration slope",
    "Slope of the class against the rest on the logit of its probability",
    1.0,
    per_class=True,
)
CLASS_INTERCEPT = Measure(
    "calibration_intercept",
    "Calibration intercept",
    "Intercept of the class against the rest with the slope held at 1: above 0 its probabilities "
    "are too low",
    per_class=True,
)
MULTINOMIAL_INTERCEPT = Measure(
    "multinomial_intercept",
    "Multinomial intercept",
    "Intercept against the first class, all classes together, with the slope held at 1",
    per_class=True,
)
IN_THE_LARGE = Measure(
    "calibration_in_the_large",
    "Frequency minus mean probability",
    "Share of the class among the images minus its mean probability",
    per_class=True,
)
OVERALL = (SLOPE, MISCALIBRATION, CONFIDENCE, OVERCONFIDENCE, DEBIASED, CLASSWISE_DEBIASED)
OF_CLASS = (CLASS_SLOPE, CLASS_INTERCEPT, MULTINOMIAL_INTERCEPT, IN_THE_LARGE)

# What calibrated losses and their plain forms are compared by; below 0: the calibrated is better.
DISTANCE = Measure(
    "abs_log_slope",
    "|log slope|",
    "Distance of the calibration slope from 1: |log slope|, the same for 2 and 1/2",
)
ROOT = Measure(
    "log_loss_miscalibration_root",
    "Root of the log loss saved by recalibration",
    "Square root of the part of the log loss that recalibration would save",
)
