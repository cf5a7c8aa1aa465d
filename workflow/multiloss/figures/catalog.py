"""The figures of a study: what each is drawn from, by which function, and what it says.

A new figure is one entry here and one function. The Snakefile imports this on every start, so
it uses the standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multiloss.study import Study

Config = Mapping[str, Any]
Inputs = dict[str, str | list[str]]

# Sections of the report, in the order of the study.
CATEGORIES = [
    "Data",
    "Lung masks and crops",
    "Training",
    "Performance",
    "Comparisons",
    "Calibration",
    "Ensembles",
    "Grad-CAM",
    "Cost",
]

_TABLES = {
    name: f"tables/{name}.csv"
    for name in (
        "calibration",
        "calibration_comparisons",
        "confusion",
        "curves",
        "degenerate",
        "diversity",
        "leakage",
        "localisation",
        "metrics",
        "optimism",
        "rank",
        "replicate_comparisons",
        "replicates",
        "significance",
    )
}
# What is resampled, in the words of captions.
_UNITS = "patients (single images where patients are unknown)"
# The two ends of each scale of differences, in words.
_ENDS = {"PuOr": ("orange", "purple"), "RdBu": ("red", "blue"), "BrBG": ("brown", "blue-green")}
_MANIFEST = {"manifest": "data/manifest.csv"}
_BOXES = {"boxes": "crops/boxes.csv"}
_CHOSEN = {"chosen": "ensembles/chosen.csv"}
_MODELS = {"models": "data/models.csv"}
# For the daggers behind the names of models, and for what is known of patients. Figures of one
# model alone and of the trainings do without: they are there before the ensembles are, and a
# change in another model leaves them be.
_ON_MODELS = {"degenerate": _TABLES["degenerate"], **_MODELS, **_MANIFEST}


@dataclass(frozen=True)
class Figure:
    """One figure: `function` is `module.function` below multiloss.figures.

    `inputs` are paths below results/STUDY; `params` is what of the config the drawing depends
    on beside the style, so that another change redraws nothing.
    """

    name: str
    function: str
    inputs: Inputs
    title: str
    category: str
    caption: str
    params: dict[str, Any] = field(default_factory=dict)


def names_of(losses: list[Any]) -> list[str]:
    """Names of a config's list of segmentation losses, whose entries are names or mappings."""
    return [loss if isinstance(loss, str) else loss["name"] for loss in losses]


def figures(config: Config, units: str = _UNITS) -> dict[str, Figure]:
    """Every figure of a study by name, in the order of the report.

    What the config switches off has no figure: ensembles, Grad-CAM, more than one replicate.
    `units` are, in captions, what is resampled and divided: patients, or images where none is
    known, which the config does not tell.
    """
    found = [
        *_data(config),
        *_segmentation(config),
        *_training(config),
        *_performance(config, units),
        *_comparisons(config, units),
        *_calibration(config, units),
        *_ensembles(config),
        *_gradcam(config, units),
        *_cost(config),
    ]
    return {figure.name: figure for figure in found}


def _common(config: Config) -> dict[str, Any]:
    return {
        "classes": list(config["classes"]),
        "losses": list(Study(config).listed),
        "baseline": Study(config).baseline,
        "replicates": config["replicates"],
        "percent": _percent(config),
    }


def _phantoms(config: Config) -> list[str]:
    """Names of the sources whose images are made up, which pictures of them say."""
    return [source["name"] for source in config["data"]["sources"] if source["layout"] == "phantom"]


def _of_phantoms(config: Config) -> str:
    """A sentence for captions of pictures, in studies that may show phantoms."""
    words = "Pictures marked PHANTOM come from the generator and show no patient."
    return f" {words}" if _phantoms(config) else ""


def _has_ensembles(config: Config) -> bool:
    return bool(config["ensembles"]["methods"] and config["ensembles"]["top_k"])


def _has_prediction_level(config: Config) -> bool:
    return _has_ensembles(config) and bool(set(config["ensembles"]["methods"]) - {"model_level"})


def _further_seeds(config: Config) -> bool:
    """Whether one loss is trained more often than the others, for its ensembles of seeds."""
    return bool(Study(config).select(["seed"]))


def _shown(config: Config) -> dict[str, Any]:
    """How pictures are drawn: whose sources are phantoms, and whether in colour."""
    return {"phantoms": _phantoms(config), "rgb": Study(config).rgb}


def _boxes(config: Config) -> dict[str, str]:
    """The crop boxes, where the study has them."""
    return _BOXES if Study(config).segmented else {}


def _percent(config: Config) -> str:
    return f"{100 * config['evaluation']['confidence']:g}%"


def _runs(config: Config, many: str) -> str:
    """A sentence that only studies with several training runs need."""
    return f" {many}" if config["replicates"] > 1 else ""


def _data(config: Config) -> list[Figure]:
    classes = {"classes": list(config["classes"])}
    return [
        Figure(
            "splits",
            "data.splits",
            dict(_MANIFEST),
            "Images and patients of each split",
            "Data",
            "How many images and, where they are known, patients of each class each split has. No "
            "known patient is in two splits. The networks learn on train and are watched on val; "
            "what is chosen or fitted after the trainings rests on ensemble; test is read once, at "
            "the end. Bars of unequal length within a split show the class imbalance.",
            classes,
        ),
        Figure(
            "samples",
            "data.samples",
            dict(_MANIFEST),
            "Examples of each class",
            "Data",
            "Training images as they came, one row for each class. They were drawn at random "
            "with the study's seed, at most one of a known patient, not picked by eye. Frames of "
            "equal size: the pixel size differs between images." + _of_phantoms(config),
            {**classes, "seed": config["seed"], **_shown(config)},
        ),
    ]


def _segmentation(config: Config) -> list[Figure]:
    if not Study(config).segmented:
        return []
    losses = names_of(config["segmentation"]["losses"])
    return [
        Figure(
            "segmentation_dice",
            "segmentation.dice",
            {
                "per_image": "segmentation/scores_per_image.csv",
                "scores": "segmentation/scores.csv",
            },
            "Agreement of the lung masks with the drawn ones",
            "Lung masks and crops",
            "Dice coefficient of each image of the segmentation test set (points), for one U-Net "
            "per loss and for the combined mask: a pixel is lung where all chosen networks say "
            "so. Boxes span the quartiles with the median as a line, whiskers reach the last "
            "point within 1.5 box lengths; the diamond is the mean with its "
            f"{_percent(config)} interval. Filled boxes mark the networks that were "
            "combined; they were chosen on validation images. 1 is perfect agreement.",
            {"losses": losses, "percent": _percent(config)},
        ),
        Figure(
            "segmentation_overlays",
            "segmentation.overlays",
            {
                "examples": "segmentation/examples.npz",
                "cases": "segmentation/examples.csv",
                "scores": "segmentation/scores.csv",
                "lungs": "data/lungs.csv",
            },
            "Best, median and worst lung masks",
            "Lung masks and crops",
            "Images of the segmentation test set with the highest, the median and the lowest "
            "Dice of the combined mask: the image alone, then with the drawn outline (solid) and "
            "the predicted one (dashed). Where the two lines part, the mask is wrong."
            + _of_phantoms(config),
            {"phantoms": _phantoms(config)},
        ),
        Figure(
            "crop_overview",
            "data.crop_overview",
            {**_MANIFEST, **_BOXES, "masks": "masks"},
            "Lung masks and crop boxes",
            "Lung masks and crops",
            "Images with the outline of the predicted lung mask and the box that is cut out for "
            "the classifiers. They stand at equal steps of the lungs' share of the image, from "
            "smallest to largest, so that failures at either end are seen. Images whose mask was "
            "empty fall back to the whole image; such cases, if any, come first and are marked."
            + _of_phantoms(config),
            {"classes": list(config["classes"]), **_shown(config)},
        ),
        Figure(
            "learning_curves_segmentation",
            "training.segmentation_curves",
            {
                "histories": [f"segmentation/models/{loss}.history.csv" for loss in losses],
                "images": "data/lungs.csv",
            },
            "Training of the lung segmenters",
            "Lung masks and crops",
            "Loss of each U-Net on its training and validation images after each epoch (below) "
            "and Dice coefficient on the validation images (above). Each panel has its own "
            "loss and scale (logarithmic where losses fall far), so the lower axes cannot be "
            "compared between panels; the upper ones can. A "
            "validation line that rises while the training line falls shows overfitting.",
            {"losses": losses},
        ),
    ]


def _training(config: Config) -> list[Figure]:
    variants, runs = Study(config).listed, range(config["replicates"])
    return [
        Figure(
            "learning_curves",
            "training.classification_curves",
            {
                "histories": [
                    f"models/{name}/{run}.history.csv" for name in variants for run in runs
                ],
                "images": _MANIFEST["manifest"],
            },
            "Training of the classifiers",
            "Training",
            "Each loss after each epoch: MCC and accuracy on the validation split (above; the "
            "same axes in all panels) and the loss on training and validation images (below; "
            "each loss has its own scale, logarithmic where losses fall far, so levels cannot be "
            "compared between panels). A "
            "validation loss that rises while the training loss falls shows overfitting."
            + _runs(config, "Thin lines are the single training runs."),
            {"labels": {name: variant.label for name, variant in variants.items()}},
        )
    ]


def _chosen_text(config: Config) -> str:
    single = "the single model" + (" and the ensemble" if _has_ensembles(config) else "")
    return f"{single} chosen on the ensemble split, and the baseline"


def _performance(config: Config, units: str) -> list[Figure]:
    common = _common(config)
    chosen = _chosen_text(config)
    percent = _percent(config)
    several = ""
    if config["replicates"] > 1 or _further_seeds(config):
        several = (
            " Where a row has several training runs, the small marks are the runs, each with its "
            "own interval; the diamond is their mean; numbers are the mean and, after the sign, "
            "the standard deviation of the runs."
        )
    if _further_seeds(config):
        several += (
            f" All seeds: the loss {Study(config).repeated}, the run above included, trained again "
            "from other random numbers; how far they lie apart is what luck alone does."
        )
    forest = (
        "of every model on the test split, with "
        f"{percent} intervals from resampling {units}. Models are grouped by kind and sorted. "
        f"The line {'is the mean of' if config['replicates'] > 1 else 'and band are'} the baseline "
        f"loss{'' if config['replicates'] > 1 else ' with its interval'}; overlapping intervals do "
        "not mean that two models are equal, since they are tested on the same images: the "
        "paired tests are in the significance figure." + several
    )
    result = [
        Figure(
            "forest_mcc",
            "performance.forest",
            {"metrics": _TABLES["metrics"], **_ON_MODELS},
            "MCC of all models",
            "Performance",
            f"Matthews correlation coefficient (1 perfect, 0 chance) {forest}",
            {**common, "metric": "mcc"},
        ),
        Figure(
            "forest_accuracy",
            "performance.forest",
            {"metrics": _TABLES["metrics"], **_ON_MODELS},
            "Accuracy of all models",
            "Performance",
            f"Share of images classified rightly {forest}",
            {**common, "metric": "accuracy"},
        ),
        Figure(
            "confusion_matrices",
            "performance.confusion_chosen",
            {
                "confusion": _TABLES["confusion"],
                "metrics": _TABLES["metrics"],
                **_CHOSEN,
                **_ON_MODELS,
            },
            "Confusion matrices of the chosen models",
            "Performance",
            f"Test images by true class (rows) and predicted class (columns) for {chosen}. "
            "Numbers are images; the colour, and the percentage where there is room, is the "
            "share of the true class. The diagonal is right, everything else an error.",
            common,
        ),
        Figure(
            "confusion_matrices_all",
            "performance.confusion_all",
            {"confusion": _TABLES["confusion"], **_ON_MODELS},
            "Confusion matrices of all models",
            "Performance",
            "As the confusion matrices of the chosen models, for every model: true class in "
            "rows, predicted class in columns, both in the order given. Colour, and number "
            "where there is room, is the percentage of the true class."
            + (" Further seeds of one loss are left out." if _further_seeds(config) else "")
            + _runs(config, "Images of all training runs are counted together."),
            common,
        ),
    ]
    for name, axes, meaning, chance in (
        (
            "roc",
            "Receiver operating characteristic",
            "Sensitivity against false positive rate when the threshold on a class's "
            "probability moves",
            "The diagonal is guessing; the closer to the upper left corner, the better.",
        ),
        (
            "pr",
            "Precision and recall",
            "Precision against recall when the threshold on a class's probability moves",
            "The dotted line is the class's share of the images, which guessing reaches; the "
            "closer to the upper right corner, the better.",
        ),
    ):
        result.append(
            Figure(
                name,
                f"performance.{name}",
                {
                    "curves": _TABLES["curves"],
                    "metrics": _TABLES["metrics"],
                    "confusion": _TABLES["confusion"],
                    **_CHOSEN,
                    **_ON_MODELS,
                },
                axes,
                "Performance",
                f"{meaning}, one panel for each class against the rest, and micro: all classes "
                f"pooled. Lines are {chosen}; bands are pointwise {percent} intervals from "
                f"resampling {units}; numbers are areas under the curves with their intervals. "
                f"Thin grey lines in the micro panel are all other models. {chance}",
                common,
            )
        )
    return result


def _comparisons(config: Config, units: str) -> list[Figure]:
    common = _common(config)
    baseline = common["baseline"]
    worse, better = _ENDS[config["figures"].get("diverging", "PuOr")]
    result = [
        Figure(
            "significance_heatmap",
            "comparisons.significance",
            {"significance": _TABLES["significance"], **_ON_MODELS},
            "Paired comparisons",
            "Comparisons",
            "Each model against the baseline"
            + (", and each ensemble against its best member" if _has_ensembles(config) else "")
            + ", on the same test images; further blocks where the study has them. The noise "
            "floor compares two trainings with the same objective, which differ by luck alone. "
            "Colour: difference of the metric named above the column "
            f"({worse}: worse, {better}: better). Number: p value of the paired test, "
            "adjusted by Holm's method over its family; bold with a frame where it is below "
            f"{config['significance']['alpha']:g}. McNemar's test treats images as independent "
            "and is shown for comparison only."
            + _runs(
                config,
                "With several runs the colour is the mean difference, the number tells in how "
                "many runs the test rejects, and the frame marks those where most do.",
            ),
            {**common, "alpha": config["significance"]["alpha"]},
        )
    ]
    if len(common["losses"]) > 1:
        result.append(
            Figure(
                "rank",
                "comparisons.rank",
                {"rank": _TABLES["rank"], **_ON_MODELS},
                "Rank of each loss, and how often it is best",
                "Comparisons",
                "Left: rank of each loss by MCC among the single models (1 is best) over resampled "
                f"test sets ({units} drawn with replacement): mean and {_percent(config)} "
                "interval. Right: share of those test sets in which the loss has the highest MCC "
                "(dark), or one of the three highest (light). If one loss were surely best, its "
                "dark bar would reach 1; wide intervals and bars of similar length mean that the "
                "test set cannot tell."
                + _runs(
                    config,
                    "Small marks are the training runs, diamonds and bars their means.",
                ),
                common,
            )
        )
    if config["replicates"] > 1:
        result.append(
            Figure(
                "replicates",
                "comparisons.replicates",
                {
                    "replicates": _TABLES["replicates"],
                    "comparisons": _TABLES["replicate_comparisons"],
                    **_ON_MODELS,
                },
                "Spread between training runs",
                "Comparisons",
                "Left: MCC on the test split of each training run (points) of each loss; the bar "
                "is the mean and the line one standard deviation to either side. The runs of a "
                f"loss differ by their seed alone; the band is {baseline} with one standard "
                f"deviation. Right: difference of the mean MCC to {baseline}, with a "
                f"{_percent(config)} interval that counts both the choice of seeds and the choice "
                f"of {units} as chance; filled where the test rejects after Holm's correction. "
                "It is wider than that of a single run where the seeds differ.",
                common,
            )
        )
    return result


def _calibration(config: Config, units: str) -> list[Figure]:
    common = _common(config)
    percent = _percent(config)
    scaled = config["evaluation"].get("temperature_scaling", False)
    hollow = (
        " Hollow marks: after temperature scaling fitted on the ensemble split." if scaled else ""
    )
    return [
        Figure(
            "reliability",
            "calibration.reliability",
            {
                "bins": _TABLES["calibration"],
                "metrics": _TABLES["metrics"],
                **_CHOSEN,
                **_ON_MODELS,
            },
            "Reliability diagrams",
            "Calibration",
            "Share of right answers against the confidence (probability of the predicted class), "
            f"in bins that hold the same number of test images, for {_chosen_text(config)}. "
            f"Vertical lines are {percent} intervals; bins of fewer than 20 images are not "
            "joined by a line. On the diagonal a model is as often right "
            f"as it says; below it, it is overconfident.{hollow}",
            {**common, "bins": config["evaluation"]["ece_bins"]},
        ),
        Figure(
            "calibration",
            "calibration.losses",
            {
                "metrics": _TABLES["metrics"],
                "pairs": _TABLES["calibration_comparisons"],
                **_ON_MODELS,
            },
            "Calibration error by loss",
            "Calibration",
            "Expected calibration error (mean distance between confidence and share of right "
            f"answers, 0 is perfect) on the test split with {percent} intervals. A calibrated "
            "loss stands below the nearest loss without the calibration term. Right: the "
            "difference within each pair on the same images, calibrated minus plain, with its "
            "paired interval; left of 0 the calibration term helps. Squares: the same after the "
            "probabilities were corrected for the class shares of the test split, which describes "
            "and is no result. With class weights, and with "
            "other class shares in the test split than in training, no loss can be expected to "
            f"reach 0.{hollow}"
            + _runs(
                config,
                "On the left each mark is the mean over runs and the line spans their intervals; "
                "on the right are differences of the means over the runs, whose interval is over "
                f"{units}.",
            ),
            {**common, "scaled": scaled},
        ),
    ]


def _ensembles(config: Config) -> list[Figure]:
    common = _common(config)
    result = []
    if len(common["losses"]) > 1:
        result.append(
            Figure(
                "diversity",
                "ensembles.diversity",
                {"diversity": _TABLES["diversity"], **_ON_MODELS},
                "Do the single models err on the same images?",
                "Ensembles",
                "For each pair of single models: correlation of their errors on the test split "
                "(lower left; 1: the same images are wrong, 0: independent errors) and share of "
                "images where just one of the two is right (upper right). Ensembles gain from "
                "models that err on different images."
                + _runs(config, "Values are means over the training runs."),
                common,
            )
        )
    if _has_prediction_level(config):
        result.append(
            Figure(
                "optimism",
                "ensembles.optimism",
                {"optimism": _TABLES["optimism"], **_ON_MODELS},
                "Optimism of choosing on the test split",
                "Ensembles",
                "Each ensemble with its members chosen and its weights fitted on the test split, "
                "as in the original publication, minus the same as done here, in MCC and accuracy, "
                f"with {_percent(config)} intervals that repeat the selection in every resample. A "
                "choice made on the test split flatters there; made on other images, it may also "
                "be a better or a worse one. This is a difference between protocols, not a result.",
                common,
            )
        )
    return result


def _gradcam(config: Config, units: str) -> list[Figure]:
    models = Study(config).explained
    if not models:
        return []
    segmented = Study(config).segmented
    classes = list(config["classes"])
    threshold = config["gradcam"]["threshold"]
    heat = (
        "The heat map shows where the last convolutional layer drives the score of the "
        "predicted class: 0 nothing, 1 the image's strongest spot. It is drawn on the original "
        "image{}; heat below "
        f"{threshold:g} is not drawn, and a line surrounds heat of at least half the strongest. "
        "The figure tells the map's true resolution: nothing finer is known, whether it is drawn "
        "as cells or interpolated. "
    )
    whole = heat.format(", of which the network saw all")
    heat = heat.format(" inside the crop box, which is all that the network saw")
    places = (
        "Where lesions are known, pointing game and IoU with them are better when larger (Dice is "
        "in the table), and the first row and the dashed line there are"
    )
    if segmented:
        places = (
            "The share of heat inside the lungs, and pointing game and IoU with the known "
            "lesions, are better when larger (Dice is in the table). The first row and the dashed "
            "line are"
        )
    seen = "crop" if segmented else "image"
    outline = "A dashed outline is the known lesion, where there is one. "
    outline += f"{_of_phantoms(config).strip()} " if _phantoms(config) else ""
    result = [
        Figure(
            f"gradcam_{model.name}",
            "gradcam.model",
            {
                "maps": f"gradcam/{model.name}.npz",
                "predictions": f"predictions/{model.name}.csv",
                **_MANIFEST,
                **_boxes(config),
            },
            f"Grad-CAM of {model.name}",
            "Grad-CAM",
            "For each true class, test images that the model gets right (left) and wrong "
            "(right): original, heat map, overlay. The images stand at equal steps of the "
            "model's confidence among all right or all wrong ones of the class; none was picked "
            f"by eye. {heat if model.cropped else whole}{outline}A map without any positive "
            "value is marked flat and not stretched to full heat.",
            {
                "label": model.label_of_run if config["replicates"] > 1 else model.label,
                "layer": model.explained_layer,
                "classes": classes,
                "images_per_outcome": config["gradcam"]["images_per_outcome"],
                "threshold": threshold,
                **_shown(config),
                "cropped": model.cropped,
            },
        )
        for model in models
    ]
    first = [model.name for model in models if model.replicate == 0 and model.cropped == segmented]
    but = " but the one without the crop" if "without_crop" in config["ablations"] else ""
    result.append(
        Figure(
            "gradcam_montage",
            "gradcam.montage",
            {
                "maps": [f"gradcam/{model}.npz" for model in first],
                "predictions": [f"predictions/{model}.csv" for model in first],
                **_MANIFEST,
                **_boxes(config),
                **_ON_MODELS,
            },
            "Grad-CAM of all models on the same images",
            "Grad-CAM",
            "One test image of each class, drawn at random with the study's seed, and the "
            f"overlay of every model{but} on it. {heat if segmented else whole}{outline}The "
            "frame and the sign tell whether the model's class is right (solid, +) or wrong "
            "(dashed, -); below stands the class where it is wrong, and its probability."
            + _runs(config, "Models of training run 0."),
            {
                "models": first,
                "classes": classes,
                "threshold": threshold,
                **_shown(config),
                "seed": config["seed"],
            },
        )
    )
    result.append(
        Figure(
            "localisation",
            "gradcam.localisation",
            {"localisation": _TABLES["localisation"], **_ON_MODELS},
            "Where the heat lies",
            "Grad-CAM",
            "Measures of the heat maps of the test images, one panel for each, with "
            f"{_percent(config)} intervals from resampling {units}. {places} a "
            f"uniform map, equal heat all over the {seen}: a model whose interval holds the line "
            "was not shown to say more of the place than that. Insertion: the class's probability "
            "while the hottest pixels are uncovered first in a blurred image; deletion: while they "
            "are blurred first; the short upright lines are the same with the pixels in random "
            "order. "
            "Correlation with the maps of the same network with its weights shuffled should be "
            "near the line at 0: maps that do not change show the image, not the model."
            + _runs(config, "Points are the training runs."),
            {"percent": _percent(config), "seen": seen},
        )
    )
    result.append(
        Figure(
            "faithfulness",
            "gradcam.faithfulness",
            {"localisation": _TABLES["localisation"], **_ON_MODELS},
            "Do the heat maps show what the models use?",
            "Grad-CAM",
            "Mean probability of the explained class while an image's hottest pixels are blurred "
            "first (deletion, dashed) and while they are uncovered first in the blurred image "
            "(insertion, solid), against the share of the pixels; dotted is uncovering in a "
            "random order. If a map shows what its model uses, deletion falls at once and "
            "insertion rises above the dotted line. "
            + (
                "Thin lines are the single training runs."
                if config["replicates"] > 1
                else f"Bands are pointwise {_percent(config)} intervals from resampling {units}."
            )
            + " The areas under the curves are in the figure of where the heat lies.",
            {"percent": _percent(config)},
        )
    )
    return result


def _last_tables(config: Config) -> list[str]:
    """Tables that no other step but drawing reads: when they are there, all else has run."""
    names = ["leakage", "significance", "calibration", "replicates", "diversity"]
    if _has_prediction_level(config):
        names.append("optimism")
    if Study(config).explained:
        names.append("localisation")
    last = [_TABLES[name] for name in names]
    return [*last, "segmentation/scores.csv"] if Study(config).segmented else last


def _cost(config: Config) -> list[Figure]:
    return [
        Figure(
            "compute_cost",
            "cost.compute_cost",
            {"metrics": _TABLES["metrics"], "after": _last_tables(config)},
            "What the study cost to compute",
            "Cost",
            "Wall-clock time summed over the jobs of each step (left) and the largest resident "
            "memory of any one job (right), measured while the study ran. Drawing the figures and "
            "writing the report come after and are left out. Jobs run side by side, so the sum "
            "exceeds the time that passed. These numbers change with the machine and from run to "
            "run.",
        )
    ]
