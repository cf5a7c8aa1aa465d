"""The names that the machine uses, in words a reader knows."""

METRICS: dict[str, tuple[str, str]] = {
    "mcc": ("MCC", "Matthews correlation coefficient; 1 is perfect, 0 is chance"),
    "accuracy": ("Accuracy", "share of images classified right"),
    "balanced_accuracy": ("Balanced accuracy", "mean of the sensitivities of the classes"),
    "precision": ("Precision", "positive predictive value, weighted by class size"),
    "precision_macro": ("Precision (macro)", "mean of the classes"),
    "recall": ("Recall", "sensitivity, weighted by class size; equals accuracy"),
    "recall_macro": ("Recall (macro)", "mean of the classes"),
    "f1": ("F1", "harmonic mean of precision and recall, weighted by class size"),
    "f1_macro": ("F1 (macro)", "mean of the classes"),
    "kappa": ("Cohen's kappa", "agreement beyond chance"),
    "auroc": ("AUROC", "area under the ROC curve over all image-class pairs (micro)"),
    "auroc_macro": ("AUROC (macro)", "mean of the classes"),
    "auprc": ("AUPRC", "average precision over all image-class pairs (micro)"),
    "auprc_macro": ("AUPRC (macro)", "mean of the classes"),
    "log_loss": ("Log loss", "mean negative log probability of the true class; lower is better"),
    "brier": ("Brier score", "mean squared error of the probabilities; lower is better"),
    "ece": ("ECE", "expected calibration error, equal-mass bins; lower is better"),
    "classwise_ece": ("Classwise ECE", "mean of the classes' calibration errors; lower is better"),
    "brier_reliability": ("Reliability", "miscalibration part of the Brier score; lower is better"),
    "brier_resolution": ("Resolution", "how far cases are told apart; higher is better"),
    "brier_uncertainty": ("Uncertainty", "of the classes themselves; the same for all models"),
    "lung_share_reference": ("Heat inside known lungs", "share of the heat in known lung masks"),
    "random_auc": ("Insertion at random", "the same with pixels added in random order"),
    "flat_share": ("Share of flat maps", "share of images whose map is empty"),
    "randomised_weights_correlation": (
        "Similarity after random weights",
        "rank correlation with the map of a network with random weights; near 0 is good",
    ),
    "randomised_head_correlation": (
        "Similarity after a random head",
        "rank correlation with the map after the head's weights were made random; near 0 is good",
    ),
    "sensitivity": ("Sensitivity", "at the operating point chosen on the ensemble split"),
    "specificity": ("Specificity", "at the operating point chosen on the ensemble split"),
    "dice": ("Dice", "overlap of predicted and drawn mask; 1 is perfect"),
    "iou": ("IoU", "intersection over union; 1 is perfect"),
    "lung_share": ("Heat inside the lungs", "share of the heat map's sum that lies in the lungs"),
    "pointing_game": ("Pointing game", "share of images whose hottest pixel is in the lesion"),
    "energy_pointing_game": ("Energy pointing game", "share of the heat inside the lesion"),
    "deletion_auc": ("Deletion", "area under the curve when hot pixels are removed; low is good"),
    "insertion_auc": ("Insertion", "area under the curve when hot pixels are added; high is good"),
}

# One line each; the formulas with their sources are in the docstrings of multiloss.losses.
CLASSIFICATION_LOSSES: dict[str, str] = {
    "cce": "categorical cross-entropy: minus the log probability of the true class",
    "cce_entropy": "cross-entropy minus a reward for uncertain outputs (confidence penalty)",
    "kl_divergence": "Kullback-Leibler divergence from the label to the output",
    "focal": "cross-entropy that counts images the model already gets right less",
    "hinge": "margin between the true class and the strongest other class, on probabilities",
    "label_smoothed_cce": "cross-entropy with part of the label spread evenly over the classes",
    "label_smoothed_focal": "focal loss with part of the label spread evenly over the classes",
    "calibrated_cce": "cross-entropy plus the batch's gap between accuracy and confidence",
    "calibrated_kl_divergence": "Kullback-Leibler divergence plus the batch's calibration gap",
    "calibrated_focal": "focal loss plus the batch's calibration gap",
    "calibrated_hinge": "hinge loss plus the batch's calibration gap",
    "calibrated_negative_entropy": (
        "cross-entropy with a small confidence penalty, plus the batch's calibration gap"
    ),
}

SEGMENTATION_LOSSES: dict[str, str] = {
    "bce": "binary cross-entropy of each pixel",
    "bce_dice": "binary cross-entropy plus Dice loss",
    "focal": "cross-entropy that counts easy pixels less",
    "tversky": "overlap loss that weighs missed lung more than false lung",
    "focal_tversky": "Tversky loss that dwells on badly segmented images",
}

METHODS: dict[str, str] = {
    "majority_vote": "the class that most members name",
    "simple_average": "the mean of the members' probabilities",
    "weighted_average": "their mean with weights fitted on the ensemble split",
    "stacking": "a small network on the members' probabilities, fitted on the ensemble split",
    "model_level": "a new classification head on the members' joined feature maps",
}

KINDS: dict[str, str] = {
    "single": "single model",
    "ensemble": "ensemble",
    "seed_ensemble": "ensemble of seeds",
    "seed": "further seed",
    "ablation": "ablation",
    "temperature": "temperature-scaled",
    "baseline": "baseline",
}

# Families of paired tests, and the kind of test that stands in brackets after them.
FAMILIES: dict[str, str] = {
    "against_best_member": "Each ensemble against its best member",
    "against_best_single": "The average of ensembles against the best single model",
    "against_baseline": "Each model against the baseline",
    "ablations": "The baseline with a step left out against the baseline",
    "noise_floor": "Pairs of the same objective (noise floor)",
    "calibrated_against_plain": "Each calibrated loss against its plain form",
    "against_seed_ensemble": "Each ensemble against the average of seeds",
    "single_models": "All single models at once",
}
TESTS: dict[str, str] = {
    "permutation": "permutation by {unit}",
    "cochran_q": "Cochran's Q",
    "bootstrap": "paired bootstrap by {unit}",
    "delong": "DeLong's test, adjusted for {unit}s",
    "mcnemar": "McNemar's test, image level",
}
# Adjusted for nothing where every image stands alone.
_DELONG_OF_IMAGES = "DeLong's test"

# What each split is for; `Facts.role` tells more of val and ensemble where the config does.
SPLITS: dict[str, str] = {
    "train": "learns the weights of the networks",
    "val": "watches the trainings and decides nothing",
    "ensemble": "chooses and fits what comes after the trainings",
    "test": "is read once, at the end, and only for the results of this page",
}


def metric_label(metric: str) -> str:
    """'mcc' -> 'MCC'; 'recall_viral' -> 'Recall, viral'."""
    if metric in METRICS:
        return METRICS[metric][0]
    for base in sorted(METRICS, key=len, reverse=True):
        if metric.startswith(f"{base}_"):
            return f"{METRICS[base][0]}, {metric[len(base) + 1 :]}"
    return metric.replace("_", " ")


def metric_help(metric: str) -> str:
    """What the metric is, in one line; empty for one that is not known here."""
    return METRICS.get(metric, ("", ""))[1]


def family_label(family: str, unit: str) -> str:
    """'against_baseline (delong)' -> 'Each model against the baseline: DeLong's test, ...'.

    `unit` is 'patient', or 'image' where no patient is known.
    """
    name, _, test = family.partition(" (")
    test = test.removesuffix(")")
    label = FAMILIES.get(name, name.replace("_", " "))
    return f"{label}: {test_label(test, unit)}" if test else label


def test_label(test: str, unit: str) -> str:
    """A kind of test in words."""
    if test == "delong" and unit == "image":
        return _DELONG_OF_IMAGES
    return TESTS.get(test, str(test).replace("_", " ")).format(unit=unit)


def kind_label(kind: str) -> str:
    """A model's kind in words."""
    return KINDS.get(kind, str(kind).replace("_", " "))
