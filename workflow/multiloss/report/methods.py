"""A methods paragraph ready for a paper, with its references, from the config and the tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from multiloss import __version__
from multiloss.evaluation.families import CALIBRATED
from multiloss.report import words
from multiloss.report.blocks import Block, Bullets, Heading, Section, Text, listed, number, plural
from multiloss.report.facts import Facts, differences, loss_parameters, percent
from multiloss.report.pages_data import dropped_text, left_out_text
from multiloss.study import Variant

CITATION = Path(__file__).resolve().parents[3] / "CITATION.cff"
REFERENCES: dict[str, str] = {
    "rajaraman2021": (
        "Rajaraman S, Zamzmi G, Antani SK. Novel loss functions for ensemble-based medical image "
        "classification. PLoS ONE 2021;16(12):e0261307. doi:10.1371/journal.pone.0261307"
    ),
    "kermany2018": (
        "Kermany D, Zhang K, Goldbaum M. Labeled Optical Coherence Tomography (OCT) and Chest "
        "X-Ray Images for Classification. Mendeley Data 2018, version 2. "
        "doi:10.17632/rscbjbr9sj.2"
    ),
    "jaeger2014": (
        "Jaeger S, Candemir S, Antani S, Wáng Y-XJ, Lu P-X, Thoma G. Two public chest X-ray "
        "datasets for computer-aided screening of pulmonary diseases. Quant Imaging Med Surg "
        "2014;4(6):475-477. doi:10.3978/j.issn.2223-4292.2014.11.20"
    ),
    "stirenko2018": (
        "Stirenko S, Kochura Y, Alienin O, et al. Chest X-ray analysis of tuberculosis by deep "
        "learning with segmentation and augmentation. IEEE ELNANO 2018:422-428. "
        "doi:10.1109/ELNANO.2018.8477564"
    ),
    "ronneberger2015": (
        "Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image "
        "segmentation. MICCAI 2015, LNCS 9351:234-241. doi:10.1007/978-3-319-24574-4_28"
    ),
    "tan2019": (
        "Tan M, Le QV. EfficientNet: rethinking model scaling for convolutional neural networks. "
        "ICML 2019. arXiv:1905.11946"
    ),
    "kingma2015": (
        "Kingma DP, Ba J. Adam: a method for stochastic optimization. ICLR 2015. arXiv:1412.6980"
    ),
    "milletari2016": (
        "Milletari F, Navab N, Ahmadi S-A. V-Net: fully convolutional neural networks for "
        "volumetric medical image segmentation. 3DV 2016:565-571. doi:10.1109/3DV.2016.79"
    ),
    "salehi2017": (
        "Salehi SSM, Erdogmus D, Gholipour A. Tversky loss function for image segmentation using "
        "3D fully convolutional deep networks. MLMI 2017, LNCS 10541:379-387. "
        "doi:10.1007/978-3-319-67389-9_44"
    ),
    "abraham2019": (
        "Abraham N, Khan NM. A novel focal Tversky loss function with improved attention U-Net "
        "for lesion segmentation. IEEE ISBI 2019:683-687. doi:10.1109/ISBI.2019.8759329"
    ),
    "lin2017": (
        "Lin T-Y, Goyal P, Girshick R, He K, Dollár P. Focal loss for dense object detection. "
        "ICCV 2017:2999-3007. doi:10.1109/ICCV.2017.324"
    ),
    "pereyra2017": (
        "Pereyra G, Tucker G, Chorowski J, Kaiser Ł, Hinton G. Regularizing neural networks by "
        "penalizing confident output distributions. 2017. arXiv:1701.06548"
    ),
    "szegedy2016": (
        "Szegedy C, Vanhoucke V, Ioffe S, Shlens J, Wojna Z. Rethinking the Inception "
        "architecture for computer vision. CVPR 2016:2818-2826. doi:10.1109/CVPR.2016.308"
    ),
    "liang2020": (
        "Liang G, Zhang Y, Wang X, Jacobs N. Improved trainable calibration method for neural "
        "networks on medical imaging classification. BMVC 2020. arXiv:2009.04057"
    ),
    "wolpert1992": (
        "Wolpert DH. Stacked generalization. Neural Networks 1992;5(2):241-259. "
        "doi:10.1016/S0893-6080(05)80023-1"
    ),
    "kraft1988": (
        "Kraft D. A software package for sequential quadratic programming. DFVLR-FB 88-28, "
        "Köln, 1988"
    ),
    "gorodkin2004": (
        "Gorodkin J. Comparing two K-category assignments by a K-category correlation "
        "coefficient. Comput Biol Chem 2004;28(5-6):367-374. "
        "doi:10.1016/j.compbiolchem.2004.09.006"
    ),
    "field2007": (
        "Field CA, Welsh AH. Bootstrapping clustered data. J R Stat Soc B 2007;69(3):369-390. "
        "doi:10.1111/j.1467-9868.2007.00593.x"
    ),
    "efron1987": (
        "Efron B. Better bootstrap confidence intervals. J Am Stat Assoc 1987;82(397):171-185. "
        "doi:10.1080/01621459.1987.10478410"
    ),
    "holm1979": (
        "Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat "
        "1979;6(2):65-70"
    ),
    "mcnemar1947": (
        "McNemar Q. Note on the sampling error of the difference between correlated proportions "
        "or percentages. Psychometrika 1947;12(2):153-157. doi:10.1007/BF02295996"
    ),
    "delong1988": (
        "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more "
        "correlated receiver operating characteristic curves: a nonparametric approach. "
        "Biometrics 1988;44(3):837-845. doi:10.2307/2531595"
    ),
    "obuchowski1997": (
        "Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics "
        "1997;53(2):567-578. doi:10.2307/2533958"
    ),
    "cochran1950": (
        "Cochran WG. The comparison of percentages in matched samples. Biometrika "
        "1950;37(3-4):256-266. doi:10.1093/biomet/37.3-4.256"
    ),
    "guo2017": (
        "Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. ICML "
        "2017. arXiv:1706.04599"
    ),
    "brier1950": (
        "Brier GW. Verification of forecasts expressed in terms of probability. Mon Weather Rev "
        "1950;78(1):1-3"
    ),
    "youden1950": "Youden WJ. Index for rating diagnostic tests. Cancer 1950;3(1):32-35",
    "kuncheva2003": (
        "Kuncheva LI, Whitaker CJ. Measures of diversity in classifier ensembles and their "
        "relationship with the ensemble accuracy. Mach Learn 2003;51(2):181-207. "
        "doi:10.1023/A:1022859003006"
    ),
    "selvaraju2017": (
        "Selvaraju RR, Cogswell M, Das A, Vedantam R, Parikh D, Batra D. Grad-CAM: visual "
        "explanations from deep networks via gradient-based localization. ICCV 2017:618-626. "
        "doi:10.1109/ICCV.2017.74"
    ),
    "adebayo2018": (
        "Adebayo J, Gilmer J, Muelly M, Goodfellow I, Hardt M, Kim B. Sanity checks for saliency "
        "maps. NeurIPS 2018. arXiv:1810.03292"
    ),
    "petsiuk2018": (
        "Petsiuk V, Das A, Saenko K. RISE: randomized input sampling for explanation of "
        "black-box models. BMVC 2018. arXiv:1806.07421"
    ),
    "zhang2018": (
        "Zhang J, Bargal SA, Lin Z, Brandt J, Shen X, Sclaroff S. Top-down neural attention by "
        "excitation backprop. Int J Comput Vis 2018;126(10):1084-1102. "
        "doi:10.1007/s11263-017-1059-x"
    ),
    "wang2020": (
        "Wang H, Wang Z, Du M, et al. Score-CAM: score-weighted visual explanations for "
        "convolutional neural networks. CVPR Workshops 2020:111-119. "
        "doi:10.1109/CVPRW50498.2020.00020"
    ),
    "molder2021": (
        "Mölder F, Jablonski KP, Letcher B, et al. Sustainable data analysis with Snakemake. "
        "F1000Research 2021;10:33. doi:10.12688/f1000research.29032.2"
    ),
    "tejani2024": (
        "Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical "
        "Imaging (CLAIM): 2024 update. Radiol Artif Intell 2024;6(4):e240300. "
        "doi:10.1148/ryai.240300"
    ),
    "collins2024": (
        "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for "
        "reporting clinical prediction models that use regression or machine learning methods. "
        "BMJ 2024;385:e078378. doi:10.1136/bmj-2023-078378"
    ),
}

SEGMENTATION_SOURCES = {
    "bce_dice": ("milletari2016",),
    "focal": ("lin2017",),
    "tversky": ("salehi2017",),
    "focal_tversky": ("abraham2019",),
}


MONITORED = {"mcc": "MCC", "dice": "Dice"}


class Citer:
    """Numbers references in the order in which the text cites them."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, *keys: str) -> str:
        for key in keys:
            if key not in self.keys:
                self.keys.append(key)
        return "[" + ", ".join(str(self.keys.index(key) + 1) for key in keys) + "]"

    @property
    def references(self) -> list[str]:
        return [REFERENCES[key] for key in self.keys]


def _network_training(settings: Mapping[str, Any], cite: Citer) -> str:
    """How one kind of network was trained, in one or two sentences."""
    training = settings["training"]
    monitor = training["monitor"].removeprefix("val_")
    monitor = f"validation {MONITORED.get(monitor, monitor)}"
    plateau, stopping = training["reduce_on_plateau"], training["early_stopping"]
    most = "at most " if stopping else ""
    result = (
        f"with {_optimizer(training['optimizer'], cite)} in batches of {training['batch_size']} "
        f"for {most}{plural(training['epochs'], 'epoch')}"
    )
    extras = [_schedule(training)]
    if plateau:
        floor = plateau["min_learning_rate"]
        extras.append(
            f"the learning rate multiplied by {plateau['factor']:g} after "
            f"{plural(plateau['patience'], 'epoch')} without better {monitor}"
            + (f", down to {_decimal(floor)}" if floor else "")
        )
    if stopping:
        extras.append(
            f"early stopping after {plural(stopping['patience'], 'epoch')} without better {monitor}"
        )
    if training["batch_norm_momentum"] is not None:
        extras.append(
            f"a momentum of {training['batch_norm_momentum']:g} of batch normalisation's statistics"
        )
    result += f", with {listed(extras)}"
    if training["keep"] == "best":
        result += f"; the weights of the epoch with the best {monitor} were kept"
    else:
        result += "; the weights of the last epoch were kept"
    changes = [
        "mirroring"
        if isinstance(value, bool)
        else f"rotation up to {value:g} degrees"
        if key == "rotation_degrees"
        else f"{key.replace('_', ' ')} up to {value:g}"
        for key, value in (settings.get("augmentation") or {}).items()
        if value
    ]
    if changes:
        result += f". Training images were changed at random ({', '.join(changes)})"
    return result


def _schedule(training: Mapping[str, Any]) -> str:
    """The course of the learning rate before any plateau lowers it."""
    cosine = training["schedule"] == "cosine"
    warmup = training["warmup_fraction"]
    if not warmup:
        return "a cosine schedule of the learning rate" if cosine else "a constant learning rate"
    return (
        f"a learning rate that rises linearly over the first {number(100 * warmup, 0)}% of the "
        f"steps and then {'falls to 0 by a cosine schedule' if cosine else 'stays as it is'}"
    )


def _optimizer(optimizer: Mapping[str, Any], cite: Citer) -> str:
    """'Adam [3] (learning rate 0.001)'."""
    name = optimizer["name"]
    text = f"Adam {cite('kingma2015')}" if name == "adam" else "stochastic gradient descent"
    details = [f"learning rate {_decimal(optimizer['learning_rate'])}"]
    if name == "sgd" and optimizer["momentum"]:
        nesterov = "Nesterov " if optimizer["nesterov"] else ""
        details.append(f"{nesterov}momentum {optimizer['momentum']:g}")
    if optimizer["decay"]:
        details.append(f"decay {_decimal(optimizer['decay'])} for each step")
    return f"{text} ({', '.join(details)})"


def _decimal(value: float) -> str:
    """0.000001 rather than 1e-06."""
    return f"{value:.10f}".rstrip("0").rstrip(".")


def _with_parameters(kind: str, entry: Mapping[str, Any]) -> str:
    """'focal with gamma 2': a loss and the parameters that were used."""
    used = loss_parameters(kind, entry)
    said = [f"{key} {value:g}" for key, value in used.items() if value is not None]
    return f"{entry['name']} with {listed(said)}" if said else str(entry["name"])


def _variant(variant: Variant, settings: Mapping[str, Any]) -> str:
    """'focal_3 (focal with gamma 3; trained with epochs 2)'."""
    text = _with_parameters("classification", variant.loss)
    changed = differences(variant, settings)
    if changed:
        text += f"; trained with {listed(changed)}"
    if variant.name != variant.loss["name"]:
        return f"{variant.name} ({text})"
    return f"{text}" if not changed else text.replace("; ", " (", 1) + ")"


def _loss_sources(losses: list[str], cite: Citer) -> str:
    keys = []
    for marker, key in (
        ("focal", "lin2017"),
        ("entropy", "pereyra2017"),
        ("smoothed", "szegedy2016"),
        ("calibrated", "liang2020"),
    ):
        if any(marker in loss for loss in losses):
            keys.append(key)
    return f" {cite(*keys)}" if keys else ""


def _seed_ensembles(facts: Facts) -> str:
    """What stands beside the ensembles at the same cost."""
    averages = [facts.planned[name] for name in facts.seed_ensembles]
    if not averages:
        return ""
    sizes = listed(sorted({str(model.k) for model in averages}, key=int))
    loss = averages[0].variant
    text = f" Beside them stand averages of {sizes} training runs of the loss {loss}"
    further = len(facts.study.select(["seed"]))
    if further:
        text += f", for which it was trained {plural(further, 'further time')}"
    return text + "."


def paragraphs(facts: Facts) -> tuple[list[str], list[str]]:
    """Methods in paragraphs, and the references they cite by number."""
    cite = Citer()
    config = facts.config
    found = [_data(facts, cite)]
    found += [_segmentation(facts, cite)] if facts.study.segmented else []
    found.append(_classification(facts, cite))
    ensembles = config["ensembles"]
    if ensembles.get("methods") and ensembles.get("top_k"):
        said = []
        for method in ensembles["methods"]:
            text = method.replace("_", " ")
            if method in words.METHODS:
                text += f" ({words.METHODS[method]})"
            if method == "weighted_average":
                text += f" by sequential least squares programming {cite('kraft1988')}"
            if method == "stacking":
                text += f" {cite('wolpert1992')}"
            head = ensembles.get("model_level") or {}
            if method == "model_level" and "filters" in head:
                text += (
                    f" (a 1 x 1 convolution with {head['filters']} filters, global average "
                    f"pooling, softmax), trained {_network_training(head, cite)}"
                )
            said.append(text)
        sizes = listed([str(k) for k in ensembles["top_k"]])
        found.append(
            f"Ensembles were built from the {sizes} single models with the highest Matthews "
            f"correlation coefficient (MCC) on the ensemble split, by {'; '.join(said)}. The best "
            f"ensemble was chosen there by cross-fitting over folds of {facts.unit}s."
            + _seed_ensembles(facts)
        )
    found.append(_statistics(facts, cite))
    if config.get("gradcam", {}).get("enabled", True):
        text = (
            f"Class activation maps were computed by Grad-CAM {cite('selvaraju2017')} for the "
            "predicted class at the deepest convolutional layer"
        )
        measured = facts.results.table("tables/localisation.csv")
        metrics = set(measured["metric"].astype(str)) if "metric" in measured else set()
        judged = ["by the share of heat inside the lungs"] if facts.study.segmented else []
        if any("pointing" in metric for metric in metrics):
            judged.append(
                f"by the pointing game {cite('zhang2018')} and its energy-based form "
                f"{cite('wang2020')} on known lesions"
            )
        if any("deletion" in metric for metric in metrics):
            judged.append(f"by deletion and insertion curves {cite('petsiuk2018')}")
        if any("random" in metric for metric in metrics):
            judged.append(f"against networks with random weights {cite('adebayo2018')}")
        if judged:
            text += f", and judged {listed(judged)}"
        found.append(text + ".")
    found.append(
        f"The study was run with Snakemake {cite('molder2021')} and multiloss {__version__}; all "
        f"random numbers derive from the seed {config['seed']}."
    )
    return found, cite.references


def _segmentation(facts: Facts, cite: Citer) -> str:
    settings = facts.config["segmentation"]
    names = [str(entry["name"]) for entry in settings["losses"]]
    losses = [_with_parameters("segmentation", entry) for entry in settings["losses"]]
    sources = [key for name in names for key in SEGMENTATION_SOURCES.get(name, ())]
    backbone = str(settings.get("backbone", "efficientnetb0"))
    return (
        f"Lungs were segmented by a U-Net {cite('ronneberger2015')} with an "
        f"{_network(backbone)} encoder {cite('tan2019')} that started from {_start(settings)}, at "
        f"{settings['image_size']} x {settings['image_size']} pixels, one for each of "
        f"{plural(len(names), 'loss', 'losses')} ({'; '.join(losses)})"
        f"{' ' + cite(*dict.fromkeys(sources)) if sources else ''}, trained "
        f"{_network_training(settings, cite)}. {_combination(settings)} Images were cropped to the "
        f"bounding box of the lungs, widened by {number(100 * facts.config['crop']['margin'], 0)}% "
        "on each side; an image with an empty mask was used whole."
    )


def _network(backbone: str) -> str:
    """A backbone as papers call it."""
    return backbone.replace("efficientnetb", "EfficientNet-B")


def _start(settings: Mapping[str, Any]) -> str:
    """What weights an encoder starts from."""
    weights = str(settings.get("encoder_weights", "none"))
    known = {"none": "random weights", "imagenet": "ImageNet weights"}
    return known.get(weights, f"the weights in {Path(weights).name}")


def _encoder(facts: Facts, cite: Citer) -> str:
    """The encoder of the classifiers, and what it sees."""
    settings = facts.config["classification"]
    if facts.study.from_segmenter:
        return "the encoder of the best segmenter"
    return (
        f"an {_network(str(settings['backbone']))} encoder {cite('tan2019')} that started from "
        f"{_start(settings)} and saw values normalised by ImageNet's channels"
    )


def _seen(facts: Facts) -> str:
    """What of an image the classifiers see."""
    size = facts.config["classification"]["image_size"]
    seen = f"at {size} x {size} pixels"
    if not facts.study.segmented:
        seen += f", to which the whole {'RGB' if facts.study.rgb else 'grey'} images were stretched"
    elif facts.study.rgb:
        seen += " in colour"
    return seen


def _combination(settings: Mapping[str, Any]) -> str:
    """Which segmenters make the masks."""
    share = number(100 * settings["val_fraction"], 0)
    on = f"the best mean Dice on validation images ({share}% of those to train on)"
    if settings["ensemble_size"] == 1:
        return f"The one with {on} made the masks."
    return f"The {settings['ensemble_size']} with {on} were combined by a pixel-wise AND."


def _classification(facts: Facts, cite: Citer) -> str:
    settings = facts.config["classification"]
    variants = facts.study.listed.values()
    losses = [_variant(variant, settings) for variant in variants]
    names = [str(variant.loss["name"]) for variant in variants]
    weights = "without class weights"
    if settings.get("class_weights") == "balanced":
        weights = "with class weights inversely proportional to the class sizes"
        if any(name in CALIBRATED for name in names):
            weights += " (on each image's loss, not on the calibration term of the batch)"
    ablations = [str(name).replace("_", " ") for name in facts.config.get("ablations") or []]
    return (
        f"Classifiers consisted of {_encoder(facts, cite)}, cut at block5c_add, a 3 x 3 "
        "convolution with 512 filters and ReLU, global average pooling and a softmax layer, "
        f"{_seen(facts)}. One was trained for each of "
        f"{facts.losses_told} ({'; '.join(losses)})"
        f"{_loss_sources(names, cite)}"
        + (f" and each of {facts.replicates} seeds" if facts.replicates > 1 else "")
        + f", {weights}, {_network_training(settings, cite)}."
        + (f" The loss {facts.baseline_loss} was also trained {listed(ablations)}."
           if ablations else "")
        + f" The design follows {cite('rajaraman2021')}, with what is chosen or fitted after the "
        "trainings moved from the test split to a split of its own."
    )  # fmt: skip


def _data(facts: Facts, cite: Citer) -> str:
    names = {"classification": "images to classify", "lungs_train": "lung masks for training",
             "lungs_test": "lung masks for testing"}  # fmt: skip
    origins: dict[str, list[str]] = {}
    for role, label in names.items():
        for source in map(facts.provenance, facts.sources(role)):
            if source["layout"] == "phantom":
                origin = "a generator of phantom radiographs"
            else:
                origin = source["name"]
                key = {
                    "kermany": "kermany2018",
                    "montgomery": "jaeger2014",
                    "shenzhen": "jaeger2014",
                }.get(source["layout"])
                if key:
                    keys = [key]
                    if source["layout"] == "shenzhen":
                        keys.append("stirenko2018")
                    origin += f" (layout of {cite(*keys)})"
                elif source.get("citation"):
                    origin += f" ({source['citation']})"
            origins.setdefault(origin, []).append(label)
    said = [
        f"{listed(list(dict.fromkeys(labels)))} came from {origin}"
        for origin, labels in origins.items()
    ]
    text = "; ".join(said) + "."
    text = text[:1].upper() + text[1:]
    manifest = facts.manifest
    if not manifest.empty:
        counts = [f"{split} {facts.size(split)}" for split in words.SPLITS]
        text += (
            f" {facts.size()} in {plural(len(facts.classes), 'class', 'classes')} "
            f"({listed(facts.classes)}) were divided by {facts.unit}, stratified by class"
            + (", but for the test split, which is the sources' own" if facts.shipped_test else "")
            + f": {'; '.join(counts)}."
        )
        unknown = facts.unknown()
        if unknown:
            which = f" for {percent(unknown)} of the images" if unknown < 1 else ""
            text += (
                f" Patients were not known{which}; these were taken "
                "as independent; intervals may be too narrow."
            )
        said = [left_out_text(facts), dropped_text(facts)]
        text += "".join(f" {sentence}" for sentence in said if sentence)
    return text


def _statistics(facts: Facts, cite: Citer) -> str:
    settings = facts.config.get("evaluation", {})
    text = f"The primary metric was the multi-class MCC {cite('gorodkin2004')} on the test split, "
    source = f" {cite('efron1987')}" if "accelerated" in facts.interval_method else ""
    text += (
        f"with {facts.confidence} intervals by {facts.interval_method}{source} over resampled "
        f"{facts.unit}s {cite('field2007')}"
    )
    if settings.get("resamples"):
        text += f" ({plural(settings['resamples'], 'resample')})"
    text += (
        f". Calibration was measured by the expected calibration error {cite('guo2017')}, the "
        f"Brier score {cite('brier1950')} and the log loss"
        + (", before and after scaling by a temperature that was fitted on the ensemble split"
           if settings.get("temperature_scaling") else "")
        + "."
    )  # fmt: skip
    if settings.get("operating_point") == "youden":
        text += (
            " Sensitivity and specificity were taken at the threshold with the largest Youden "
            f"index {cite('youden1950')} on the ensemble split."
        )
    else:
        aim, _, level = settings["operating_point"].partition("_")
        text += (
            " Sensitivity and specificity were taken at thresholds chosen for a "
            f"{aim} of {level}% on the ensemble split."
        )
    building = facts.config["ensembles"]["methods"] and facts.config["ensembles"]["top_k"]
    text += (
        " Each model was compared with the baseline "
        f"{facts.baseline_loss}{', and each ensemble with its best member,' if building else ''} "
        f"by sign-flip permutation by {facts.unit}"
    )
    if facts.permutations:
        text += f" (up to {facts.permutations:,} permutations)"
    used = facts.significance
    names = set(used["test"].astype(str).str.lower()) if "test" in used else set()
    others = []
    if any("boot" in name for name in names):
        others.append(f"the paired bootstrap over {facts.unit}s")
    if any("delong" in name for name in names):
        delong = f"DeLong's test {cite('delong1988')}"
        if facts.unit == "patient":
            delong += f" adjusted for clusters {cite('obuchowski1997')}"
        others.append(delong)
    if any("mcnemar" in name for name in names):
        others.append(f"McNemar's exact test {cite('mcnemar1947')} at the level of images")
    if any("cochran" in name for name in names):
        others.append(f"Cochran's Q {cite('cochran1950')} over all single models")
    if others:
        text += f"; {listed(others)} were computed beside it"
    text += (
        f". p values were corrected within each of the {facts.made['family'].nunique()} families "
        f"of tests {cite('holm1979')}; a test rejects at a corrected p of at most {facts.alpha:g}."
        if len(facts.made)
        else "."
    )
    if facts.crossed:
        text += (
            " Losses were also compared by their means over the seeds, with seeds and "
            f"{facts.unit}s as crossed random factors."
        )
    if not facts.results.table("tables/diversity.csv").empty:
        text += (
            " Diversity of the single models was measured by disagreement and the Q statistic "
            f"{cite('kuncheva2003')}."
        )
    return text


def section(facts: Facts) -> Section:
    """The paragraph and its references."""
    text, references = paragraphs(facts)
    blocks: list[Block] = [
        Text(
            [
                "Ready for a paper: generated from the config and the tables, so it says what was "
                "done. Numbers in brackets are the references below."
            ]
        ),
        Text(list(text)),
        Heading("References"),
        Bullets(list(references), ordered=True),
    ]
    return Section("methods", "Methods paragraph", blocks)


def _author(author: Mapping[str, str]) -> str:
    """'Rajaraman S'; the name of a group as it stands."""
    if "name" in author:
        return author["name"]
    initials = "".join(name[0] for name in author["given-names"].split())
    return f"{author['family-names']} {initials}"


def _article(entry: Mapping[str, Any]) -> str:
    """An article of CITATION.cff in the style of the reference list."""
    authors = ", ".join(_author(author) for author in entry["authors"])
    return (
        f"{authors}. {entry['title']}. {entry['journal']} {entry['year']};{entry['volume']}"
        f"({entry['issue']}):{entry['start']}. doi:{entry['doi']}"
    )


def citation(facts: Facts) -> Section:
    """What to cite when results of this page are used, as CITATION.cff asks for it."""
    own = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    authors = listed([_author(author) for author in own["authors"]])
    items = [
        f"This workflow: {authors}. {own['title']}. Version {own['version']} ({own['license']} "
        f"licence); with the name of the study ({facts.config['study']}) and its seed "
        f"({facts.config['seed']}).",
        f"The study it follows: {_article(own['preferred-citation'])}",
        f"The workflow engine: {REFERENCES['molder2021']}",
    ]
    for source in map(facts.provenance, facts.sources()):
        if source.get("citation") and source["layout"] != "phantom":
            terms = f" Licence: {source['license']}." if source.get("license") else ""
            items.append(f"The data source {source['name']}: {source['citation']}.{terms}")
    return Section("cite", "How to cite", [Bullets(list(items))])
