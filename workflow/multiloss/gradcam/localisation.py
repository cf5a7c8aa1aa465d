"""Where the heat of Grad-CAM lies, measured on the original image, and whether it means anything.

No TensorFlow here: maps come from stored arrays. A map of low resolution covers what the network
saw, a crop or the whole image; stretched to its box it lies on the original image, and outside the
box there is no heat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.data.images import ImageError, in_threads, read_mask_for, read_own_mask
from multiloss.gradcam.heat import to_original
from multiloss.job.errors import UserError
from multiloss.job.progress import progress
from multiloss.job.seeds import derive
from multiloss.statistics import bootstrap
from multiloss.statistics.metrics import MAIN, Metric
from multiloss.statistics.paired import holm

# A map without any preference, measured like the others: what chance gives.
UNIFORM = "uniform"
# Suffix of a metric over the correctly classified images alone.
CORRECT = "_correct"
# Percentiles of the resamples of fewer patients than this are too narrow: those of 6 images hold
# the true mean in 86% of the cases.
FEW_PATIENTS = 20
# Suffix of a point of a deletion or insertion curve; its threshold is the share of the pixels.
CURVE = "_curve"

COLUMNS = [
    "model",
    "kind",
    "metric",
    "threshold",
    "value",
    "ci_low",
    "ci_high",
    "ci_method",
    "n",
    "n_patients",
    "n_flat",
    "grid",
    "reason",
    "p_value",
    "p_adjusted",
    "hypotheses",
    "correction",
]

# Suffixes of a share of heat less that of the uniform map, and of the baseline's, image by image.
GAIN, AGAINST_BASELINE = "_minus_uniform", "_minus_baseline"
PAIRED = (GAIN, AGAINST_BASELINE)
COMPARED = ("lung_share", "energy_pointing_game")


def _measure(name: str, title: str, sentence: str, **words: Any) -> tuple[str, Metric]:
    return name, Metric(name, title, sentence, **{"show": MAIN, **words})


# The measures in the order in which a reader wants them; without `show` they stand in the table
# alone.
MEASURES: dict[str, Metric] = dict(
    [
        _measure("lung_share", "Heat inside the lungs", "Share of the heat that lies in the lungs"),
        _measure(
            "pointing_game",
            "Pointing game",
            "Proportion of images whose hottest pixel lies in the lesion",
            cites=("zhang2018",),
        ),
        _measure(
            "energy_pointing_game",
            "Heat inside lesions",
            "Share of the heat that lies in the lesion (energy-based pointing game)",
            cites=("wang2020",),
        ),
        _measure("iou", "IoU with lesions", "Intersection over union of hot pixels and lesion"),
        _measure("dice", "Dice with lesions", "Overlap of hot pixels and lesion", show=""),
        _measure(
            "deletion_auc",
            "Deletion",
            "Area under the curve when hot pixels are removed",
            higher_is_better=False,
            cites=("petsiuk2018",),
        ),
        _measure(
            "insertion_auc",
            "Insertion",
            "Area under the curve when hot pixels are added",
            cites=("petsiuk2018",),
        ),
        _measure(
            "random_auc", "Insertion at random", "The same with pixels in random order", show=""
        ),
        _measure(
            "randomised_head_correlation",
            "Correlation, random head",
            "Rank correlation with the map after the head's weights were made random",
            higher_is_better=False,
            low=-1.0,
            chance=0.0,
            cites=("adebayo2018",),
        ),
        _measure(
            "randomised_weights_correlation",
            "Correlation, random weights",
            "Rank correlation with the map of a network with random weights",
            higher_is_better=False,
            low=-1.0,
            chance=0.0,
            cites=("adebayo2018",),
        ),
        _measure(
            "lung_share_reference",
            "Heat inside reference lungs",
            "Share of the heat that lies in reference lung masks",
            show="",
        ),
        _measure(
            "flat_share",
            "Flat maps",
            "Proportion of images whose map is empty",
            higher_is_better=False,
            show="",
        ),
    ]
)
# A metric and its threshold, if it has one.
Key = tuple[str, float | None]


def heat_share(heat: np.ndarray, region: np.ndarray) -> float:
    """Share of the heat that lies in a region, in [0, 1]; NaN for a map without heat.

    For the lesion this is the energy-based pointing game (Wang H et al. 2020, Score-CAM,
    CVPR workshops, arXiv:1910.01279). `heat` (H, W), `region` bool (H, W).
    """
    total = float(heat.sum(dtype=np.float64))
    return float(heat[region].sum(dtype=np.float64)) / total if total > 0 else nan


def pointing_game(heat: np.ndarray, region: np.ndarray, tolerance: float = 0.0) -> float:
    """1 if the hottest pixel lies in the region or at most `tolerance` pixels from it, else 0.

    Where several pixels are hottest, the share of them that hits; NaN for a map without heat.
    `heat` (H, W), `region` bool (H, W), not empty.
    Zhang J et al. (2018), Top-down neural attention by excitation backprop, IJCV,
    arXiv:1608.00507.
    """
    top = heat.max()
    if top <= 0:
        return nan
    return float(within(region, tolerance)[heat == top].mean())


def within(region: np.ndarray, distance: float) -> np.ndarray:
    """The region and all pixels whose distance to it is at most `distance`, bool (H, W)."""
    if distance <= 0:
        return region
    away = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return away <= distance


def overlap(heat: np.ndarray, region: np.ndarray, threshold: float) -> tuple[float, float]:
    """IoU and Dice of the pixels of at least `threshold` heat with a region, both in [0, 1].

    NaN for a map without heat. `heat` (H, W) in [0, 1], `region` bool (H, W), not empty.
    """
    if heat.max() <= 0:
        return nan, nan
    hot = heat >= threshold
    both, hot_area, area = (int(np.count_nonzero(x)) for x in (hot & region, hot, region))
    return both / (hot_area + area - both), 2 * both / (hot_area + area)


def area_under(curves: npt.ArrayLike) -> np.ndarray:
    """Area under curves (n, steps + 1) over equal steps from 0 to 1, by trapezoids: (n,)."""
    values = np.asarray(curves, np.float64)
    return np.trapezoid(values, dx=1 / (values.shape[1] - 1), axis=1)


def rank_correlations(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman correlation of two sets of maps (n, h, w), map by map: (n,).

    NaN where one of the two is constant.
    """
    from scipy.stats import spearmanr  # costly to import, and most users of this module need none

    return np.array(
        [
            spearmanr(a, b, axis=None).statistic if np.ptp(a) > 0 and np.ptp(b) > 0 else nan
            for a, b in zip(maps, others, strict=True)
        ]
    )


@dataclass(frozen=True)
class Explained:
    """The stored maps of one model for the N test images.

    `maps` float16 (N, h, w); `class_index`, `flat`, `image_id` (N,). Of subsets of the rows:
    `deletion`, `insertion`, `random` (n, steps + 1) with `faithfulness_rows`; maps after
    weights were randomised (n, h, w) by stage, with `randomised_rows`.
    """

    name: str
    kind: str
    cropped: bool
    maps: np.ndarray
    class_index: np.ndarray
    flat: np.ndarray
    image_id: np.ndarray
    faithfulness_rows: np.ndarray
    curves: dict[str, np.ndarray]
    randomised_rows: np.ndarray
    randomised: dict[str, np.ndarray]


CURVES = ("deletion", "insertion", "random")
STAGES = ("head", "weights")


def load(path: str | Path, name: str, kind: str, cropped: bool = True) -> Explained:
    """Read the arrays of one model. Raises UserError for a damaged or incomplete file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Explained(
                name,
                kind,
                cropped,
                file["maps"],
                file["class_index"],
                file["flat"],
                file["image_id"],
                file["faithfulness_rows"],
                {curve: file[curve] for curve in CURVES},
                file["randomised_rows"],
                {stage: file[f"randomised_{stage}"] for stage in STAGES},
            )
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{path}: not the stored maps of a model ({error}); delete it and run again"
        ) from None


def uniform(like: Explained) -> Explained:
    """The same images with one and the same heat everywhere in what the network saw."""
    return Explained(
        UNIFORM,
        "baseline",
        like.cropped,
        np.ones((len(like.maps), 1, 1), np.float16),
        np.full(len(like.maps), -1),
        np.zeros(len(like.maps), bool),
        like.image_id,
        np.empty(0, int),
        {},
        np.empty(0, int),
        {},
    )


@dataclass(frozen=True)
class Options:
    """`thresholds` of IoU and Dice on the [0, 1] map; `tolerance` of the pointing game as a
    share of the image's shorter side; `resamples` of patients; `confidence` of intervals."""

    thresholds: Sequence[float]
    tolerance: float
    resamples: int
    confidence: float


def table(
    models: Sequence[Explained],
    images: pd.DataFrame,
    boxes: pd.DataFrame | None,
    masks: Path | None,
    classes: Sequence[str],
    options: Options,
    seed: int,
    threads: int = 1,
    baselines: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Every measure of every model with its interval, and those of a uniform map.

    `grid` of a row is the rows and columns of cells of the maps, "4 x 4".

    `baselines`: by model, the model that it is compared with, where it is one of `models`.
    `images` are the N test rows of the manifest, `boxes` the crop boxes, `masks` the folder of
    lung masks, both None where nothing is segmented. Metrics, each the mean over the images that
    have it:

    - `lung_share`: share of the heat inside the lung mask of the workflow, where it makes them;
    - `lung_share_reference`: the same with known lung masks (`lung_mask` of the manifest), where
      the workflow makes its own or some image has one;
    - with `lesion_mask`, over images with a lesion: `pointing_game`, `energy_pointing_game`,
      `iou` and `dice` at each threshold; with `_correct`, over the correctly classified alone;
    - `lung_share_minus_uniform`, `energy_pointing_game_minus_uniform`: the mean of the paired
      differences from the uniform map; `..._minus_baseline`: from the baseline of the replicate,
      over the images for which both maps have heat. These have a p value of the t test whose
      inversion the interval is, and the same after Holm's correction over the `hypotheses` models
      that are compared by this measure;
    - `deletion_auc` (small is good), `insertion_auc` (large is good), `random_auc` (insertion
      in the order of a random map): area under the probability of the explained class;
      `deletion_curve`, `insertion_curve`, `random_curve` are the curves themselves, point by
      point: the threshold is the share of the pixels that are gone, or have come;
    - `randomised_head_correlation`, `randomised_weights_correlation`: Spearman correlation
      with the map after the weights were randomised (near 0 is good);
    - `flat_share`: share of images whose map is empty. Such maps are in no other measure.

    Intervals are percentiles over resampled patients, drawn within strata of their labels, the
    same resamples for all rows; of paired differences, and of fewer than 20 patients, Student's t
    (`mean_interval`). A value or
    an interval that is undefined is NaN with a reason.
    """
    for model in models:
        if list(model.image_id) != list(images["image_id"]):
            raise UserError(
                f"the Grad-CAM maps of {model.name} are of other images than the manifest's "
                "test split: run the gradcam rule again"
            )
    models = [*models, uniform(models[0])]
    values = _measures(models, images, boxes, masks, options, threads)
    labels = images["label"].map(list(classes).index).to_numpy()
    rows = []
    strata = bootstrap.label_strata(images["patient_id"], labels)
    rng = np.random.default_rng(derive(seed, "localisation", "bootstrap"))
    weights = bootstrap.patient_weights(images["patient_id"], strata, options.resamples, rng)
    patients = images["patient_id"].to_numpy()
    own = {model.name: by_key for model, by_key in zip(models, values, strict=True)}
    for model, by_key in zip(models, values, strict=True):
        columns = _columns(model, by_key, model.class_index == labels)
        if model.name != UNIFORM:
            other = (baselines or {}).get(model.name, model.name)
            for suffix, against in ((GAIN, UNIFORM), (AGAINST_BASELINE, other)):
                for key in ((metric, None) for metric in COMPARED):
                    if key in own[UNIFORM] and against in own and against != model.name:
                        columns[key[0] + suffix, None] = by_key[key] - own[against][key]
        matrix = np.stack(list(columns.values()), axis=1)
        for key, value, low, high, column in zip(
            columns, *_means(matrix, weights, options.confidence), matrix.T, strict=True
        ):
            used = ~np.isnan(column)
            count, method, p_value = len(set(patients[used])), "percentile", nan
            paired = key[0].endswith(PAIRED)
            if (paired or count < FEW_PATIENTS) and not np.isnan(low):
                lowest = -1.0 if paired or key[0].endswith("_correlation") else 0.0
                low, high = mean_interval(column[used], patients[used], options.confidence)
                low, high, method = max(low, lowest), min(high, 1.0), "t"
            if paired and not np.isnan(low):
                p_value = mean_p_value(column[used], patients[used])
            rows.append(
                {
                    "grid": " x ".join(map(str, model.maps.shape[1:])),
                    "model": model.name,
                    "kind": model.kind,
                    "metric": key[0],
                    "threshold": nan if key[1] is None else key[1],
                    "value": value,
                    "ci_low": low,
                    "ci_high": high,
                    "ci_method": "" if np.isnan(low) else method,
                    "n": int(used.sum()),
                    "n_patients": count,
                    "n_flat": int(model.flat.sum()),
                    "reason": _reason(key[0], column[used], low, model),
                    "p_value": p_value,
                    "p_adjusted": nan,
                    "hypotheses": nan,
                    "correction": "",
                }
            )
    return _adjusted(pd.DataFrame(rows, columns=COLUMNS))


def _adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Holm's correction over the models, for each paired difference by itself."""
    paired = table[table["metric"].str.endswith(PAIRED)]
    for _, part in paired.groupby("metric", sort=False):
        tested = int(part["p_value"].notna().sum())
        table.loc[part.index, "p_adjusted"] = holm(part["p_value"].to_numpy(float))
        table.loc[part.index, "hypotheses"] = tested
        table.loc[part.index, "correction"] = "Holm"
    return table


def _columns(
    model: Explained, measured: dict[Key, np.ndarray], correct: np.ndarray
) -> dict[Key, np.ndarray]:
    """All measures of a model by metric and threshold, each (N,) with NaN where undefined."""
    columns = dict(measured)
    if model.name == UNIFORM:
        return columns
    lesion = ("pointing_game", "energy_pointing_game", "iou", "dice")
    for (metric, threshold), column in measured.items():
        if metric in lesion:
            columns[metric + CORRECT, threshold] = np.where(correct, column, nan)
    for curve, values in model.curves.items():
        columns[f"{curve}_auc", None] = _spread(
            area_under(values), model.faithfulness_rows, len(model.maps)
        )
        shares = np.linspace(0, 1, values.shape[1]).round(6)
        for share, point in zip(shares.tolist(), values.T, strict=True):
            columns[curve + CURVE, share] = _spread(point, model.faithfulness_rows, len(model.maps))
    for stage, maps in model.randomised.items():
        columns[f"randomised_{stage}_correlation", None] = _spread(
            rank_correlations(model.maps[model.randomised_rows], maps),
            model.randomised_rows,
            len(model.maps),
        )
    columns["flat_share", None] = model.flat.astype(float)
    return columns


def _spread(values: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Values of some rows among NaN for all the others, (count,)."""
    column = np.full(count, nan)
    column[rows] = values
    return column


def _means(
    matrix: np.ndarray, weights: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of the columns of (N, M), NaN left out, and the ends of their intervals: (M,) each.

    No interval where the values do not vary, since resampling cannot show a doubt there.
    """
    known = ~np.isnan(matrix)
    filled = np.where(known, matrix, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = filled.sum(axis=0) / known.sum(axis=0)
        resampled = (weights @ filled) / (weights @ known)
    low, high = (np.full(matrix.shape[1], nan) for _ in range(2))
    varies = np.ptp(np.where(np.isnan(resampled), means, resampled), axis=0) > 1e-12
    if varies.any():
        low[varies], high[varies] = bootstrap.percentile_interval(resampled[:, varies], confidence)
    return means, low, high


def mean_interval(
    values: np.ndarray, patients: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Student's t interval of the mean of values (n,) of images that come in patients (n,).

    mean +- t(P - 1) s, s^2 = P / (P - 1) sum_p d_p^2 / n^2 for P patients, d_p the sum of patient
    p's deviations from the mean: with one image each it is the usual interval. NaN for one patient.
    """
    from scipy.stats import t

    mean, error, df = _mean_error(values, patients)
    half = float(t.ppf((1 + confidence) / 2, df) * error) if df else nan
    return mean - half, mean + half


def mean_p_value(values: np.ndarray, patients: np.ndarray) -> float:
    """Two-sided p of the t test that the mean of values (n,) is 0, with the error of
    `mean_interval`; NaN for one patient and where patients do not vary."""
    from scipy.stats import t

    mean, error, df = _mean_error(values, patients)
    return float(2 * t.sf(abs(mean) / error, df)) if df and error > 0 else nan


def _mean_error(values: np.ndarray, patients: np.ndarray) -> tuple[float, float, int]:
    """Mean of values (n,), its standard error with patients (n,) as clusters, and its degrees of
    freedom, 0 for one patient."""
    codes, count = bootstrap.patient_codes(patients)
    mean = float(values.mean())
    if count < 2:
        return mean, nan, 0
    deviations = np.bincount(codes, values - mean)
    error = np.sqrt(count / (count - 1) * (deviations**2).sum()) / len(values)
    return mean, float(error), count - 1


def _reason(metric: str, used: np.ndarray, low: float, model: Explained) -> str:
    """Why a value, or its interval, is missing; empty if neither is."""
    if len(used):
        return "no interval: the same for all patients" if np.isnan(low) else ""
    if model.flat.all():
        return "all maps are flat"
    if metric.endswith(("_auc", CURVE)) or metric.startswith("randomised"):
        return "not measured, or all maps are flat"
    if metric.endswith(AGAINST_BASELINE):
        return "no image for which both maps have heat and the region is known"
    if metric.removesuffix(GAIN) == "lung_share":
        return "no lungs were found"
    if metric.endswith(CORRECT):
        return "no rightly classified image with a known lesion"
    return "no reference masks are known"


def _measures(
    models: Sequence[Explained],
    images: pd.DataFrame,
    boxes: pd.DataFrame | None,
    masks: Path | None,
    options: Options,
    threads: int,
) -> list[dict[Key, np.ndarray]]:
    """For each model: measures of its maps by metric and threshold, each (N,)."""
    if boxes is None:
        places = [(0, 0, width, height) for width, height in images[["width", "height"]].to_numpy()]
    else:
        boxes = boxes.set_index("image_id")
        missing = set(images["image_id"]) - set(boxes.index)
        if missing:
            raise UserError(
                f"crops/boxes.csv has no box of '{min(missing)}'; make the crops again: "
                "snakemake --forcerun crop"
            )
        places = boxes.loc[images["image_id"], ["xmin", "ymin", "width", "height"]].to_numpy(int)
    with_lungs = masks is not None or bool((images["lung_mask"] != "").any())
    records = images.to_dict("records")

    def work(row: int) -> list[dict[Key, float]]:
        place = tuple(int(side) for side in places[row])
        return _measure_image(models, row, records[row], place, masks, with_lungs, options)

    found = in_threads(work, range(len(images)), threads)
    by_image = list(progress(found, len(images), "Localisation"))
    return [
        {key: np.array([image[m][key] for image in by_image]) for key in by_image[0][m]}
        for m in range(len(models))
    ]


def _measure_image(
    models: Sequence[Explained],
    row: int,
    record: Mapping[str, Any],
    box: tuple[int, int, int, int],
    masks: Path | None,
    with_lungs: bool,
    options: Options,
) -> list[dict[Key, float]]:
    """The measures of all models on one image; NaN where they are not defined."""
    shape = int(record["height"]), int(record["width"])
    shares = {}
    if masks is not None:
        own = masks / f"{record['image_id']}.png"
        shares["lung_share"] = _region(shape, str(own), own=True)
    if with_lungs:
        shares["lung_share_reference"] = _region(shape, record["lung_mask"])
    lesion = _region(shape, record["lesion_mask"])
    tolerance = options.tolerance * min(shape)
    near = None if lesion is None else within(lesion, tolerance)
    shares["energy_pointing_game"] = lesion
    results = []
    for model in models:
        place = box if model.cropped else (0, 0, shape[1], shape[0])
        heat = to_original(model.maps[row], place, shape)
        found: dict[Key, float] = {
            (metric, None): nan if region is None else heat_share(heat, region)
            for metric, region in shares.items()
        }
        found["pointing_game", None] = nan if near is None else pointing_game(heat, near)
        for threshold in options.thresholds:
            pair = (nan, nan) if lesion is None else overlap(heat, lesion, threshold)
            found["iou", threshold], found["dice", threshold] = pair
        results.append(found)
    return results


def _region(shape: tuple[int, int], path: str, own: bool = False) -> np.ndarray | None:
    """A mask as bool (H, W); None where there is none or nothing is marked in it."""
    if not path:
        return None
    try:
        mask = read_own_mask(shape, path) if own else read_mask_for(shape, [path])
    except ImageError as error:
        raise UserError(f"{path}: {error}; mend the file or make the masks again") from None
    return mask if mask.any() else None
