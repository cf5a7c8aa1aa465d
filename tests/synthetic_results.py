"""A made-up results folder with every table of the contract, in seconds and without training.

Figures and report are tested on it: any number of classes, losses and replicates, with the
optional steps on or off. Predictions are drawn from a simple model of skill and difficulty; the
workflow's own modules compute the tables from them, with few resamples. Made up are besides what
networks would leave behind: masks, histories, heat maps and their measures.

    python tests/synthetic_results.py FOLDER [--classes 7] [--replicates 10] [--test 4000]
"""

import argparse
import dataclasses
import functools
import itertools
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pandas as pd
from multiloss import config as study_config
from multiloss import evaluation, predictions, study
from multiloss.data import folds
from multiloss.data.tables import external_split
from multiloss.ensembles import crossfit, diversity, optimism, selection
from multiloss.evaluation import (
    families,
    mask_checks,
    prediction_sets,
    segmentation_scores,
    usefulness,
)
from multiloss.evaluation.runs import Runs
from multiloss.job.files import digest_of, write_csv

# Grey levels of the structure in pictures as large as real ones: small copies of these take as many
# bytes a pixel as `multiloss.cases` expects of radiographs.
GRAIN = 9.0
LOSSES = [
    "cce",
    "cce_entropy",
    "kl_divergence",
    "focal",
    "hinge",
    "label_smoothed_cce",
    "label_smoothed_focal",
    "calibrated_cce",
    "calibrated_kl_divergence",
    "calibrated_focal",
    "calibrated_hinge",
    "calibrated_negative_entropy",
]
SEGMENTATION_LOSSES = ["bce", "bce_dice", "focal", "tversky", "focal_tversky"]
METHODS = ["majority_vote", "simple_average", "weighted_average", "stacking", "model_level"]
CLASS_NAMES = {
    2: ["normal", "pneumonia"],
    3: ["normal", "bacterial", "viral"],
    7: [
        "normal",
        "bacterial pneumonia",
        "viral pneumonia",
        "pleural effusion",
        "tuberculosis",
        "cardiomegaly",
        "pneumothorax",
    ],
}
SPLITS = ["train", "val", "ensemble", "test"]
# Values of columns that tell groups of patients apart; of few patients, and hard to show.
GROUPS = {
    "sex": ["F", "M", "M", ""],
    "source": [""],
    "view": ["PA"] * 40 + ["AP"] * 25 + ["lateral"],
    "<b>site</b> & $x_1$": [
        "a" * 200,
        "\u05d1\u05d9\u05ea \u05d7\u05d5\u05dc\u05d9\u05dd",
        "<i>C</i>",
        "1",
    ],
}


@dataclasses.dataclass(frozen=True)
class Study:
    """Where a made-up study lies and what it was made from."""

    folder: Path  # the working directory that paths in the tables are relative to
    results: Path  # folder/results/STUDY
    config: dict[str, Any]
    singles: list[str]
    ensembles: list[str]


def configuration(
    study: str = "fake",
    classes: int | list[str] = 3,
    losses: list[str] | None = None,
    replicates: int = 1,
    ensembles: bool = True,
    gradcam: bool = True,
    ablations: tuple[str, ...] = (),
    further_seeds: bool = False,
    external: tuple[str, ...] = (),
    folds: int | None = None,
    subgroups: tuple[Any, ...] = (),
    lungs: bool = True,
) -> dict[str, Any]:
    """A config as scripts see it: validated, with every default filled in.

    Without `lungs`, one of photographs in folders, which nothing is segmented in.
    """
    losses = losses or LOSSES
    sizes = [k for k in (3, 5) if ensembles and k <= len(losses)]
    source = {"layout": "phantom", "url": "phantom", "license": "made up", "citation": "none"}
    sources = [
        {"name": "phantom-cxr", "role": "classification", **source},
        {"name": "phantom-lungs-train", "role": "lungs_train", **source},
        {"name": "phantom-lungs-test", "role": "lungs_test", **source},
        *({"name": name, "role": "external_test", **source} for name in external),
    ]
    if not lungs:
        own = {"name": "photographs", "layout": "folders", "url": "photographs"}
        sources = [{**sources[0], **own, "patient_pattern": "(p.*)_"}]
    return study_config.validate(
        {
            "study": study,
            "seed": 20211202,
            "replicates": replicates,
            "classes": CLASS_NAMES[classes] if isinstance(classes, int) else list(classes),
            "data": {"sources": sources},
            "splits": {
                "folds": folds,
                "test": 1 / folds if folds else "shipped" if lungs else 0.25,
            },
            "segmentation": {"losses": SEGMENTATION_LOSSES, "image_size": 64},
            "classification": {"losses": losses, "image_size": 64},
            "ablations": list(ablations),
            "ensembles": {
                "top_k": sizes,
                "methods": METHODS if sizes else [],
                "seed_ensemble": {"further_seeds": further_seeds and bool(sizes)},
            },
            "evaluation": {"subgroups": list(subgroups)},
            "significance": {"permutations": 10000},
            "gradcam": {"enabled": gradcam, "images_per_outcome": 2},
        }
    )


def make(
    folder: Path,
    *,
    test_images: int = 120,
    seed: int = 0,
    save_images: bool = True,
    placeholder_figures: bool = False,
    collapsed: tuple[str, ...] = (),
    unknown: float = 0.0,
    lesions: bool = True,
    with_tables: bool = True,
    counts: Mapping[str, int] | None = None,
    shape: tuple[int, int] | None = None,
    grid: int = 8,
    **options: Any,
) -> Study:
    """Write a results folder for `configuration(**options)` below `folder` and describe it.

    `collapsed`: losses whose models name the first class for every image; `unknown`: share of
    the images whose patient is not known; `lesions`: whether masks of lesions are. `with_tables`:
    whether to compute the tables of what is predicted, which else `tables` does later. `counts`:
    images by split, where they are others than `test_images` implies. `shape`: rows and columns of
    pictures as large as real ones, few that all images share; `grid`: cells of a heat map along a
    side.
    """
    config = configuration(**options)
    planned = study.Study(config)
    results = Path(folder) / "results" / config["study"]
    shown, rng = planned.shown.config, np.random.default_rng(seed)
    maker = _Maker(Path(folder), results, shown, rng, test_images)
    maker.collapsed, maker.unknown, maker.lesions = collapsed, unknown, lesions
    maker.counts |= counts or {}
    maker.shape, maker.grid = shape, grid
    maker.data(save_images)
    if planned.segmented:
        maker.segmentation()
    else:
        maker.without_lungs()
    models = planned.shown.models.values()
    (results / "data" / "models.csv").write_text(study.models_text(models), encoding="utf-8")
    if planned.folds:
        maker.in_turns(planned.folds, planned.replicates)
    else:
        maker.training()
        maker.predictions()
    if with_tables:
        tables(results, config)
    if config["gradcam"]["enabled"]:
        maker.gradcam()
    maker.benchmarks()
    if placeholder_figures:
        maker.figures()
    return Study(Path(folder), results, config, list(maker.singles), list(maker.ensembles))


def tables(
    results: Path,
    config: dict[str, Any],
    resamples: int = 20,
    permutations: int = 199,
    only: Collection[str] | None = None,
) -> None:
    """Write the tables of what is predicted, computed by the workflow's own modules.

    `only`: names of those that are wanted, if not all.
    """
    whole, seed, rng = study.Study(config), config["seed"], np.random.default_rng(0)
    planned = whole.shown
    options = config["evaluation"] | {"resamples": resamples}
    tests = config["significance"] | {"permutations": permutations}
    paths = {name: results / "predictions" / f"{name}.csv" for name in planned.models}
    found = predictions.read([path for path in paths.values() if path.is_file()], config["classes"])
    models = study.entries(planned.models[name] for name in found.models)
    scaled, entries, _ = evaluation.with_temperatures(found, models)
    everything, entries = evaluation.join(found, scaled), models | entries
    points, thresholds = evaluation.operating_points(everything, entries, options)
    singles = found.subset([name for name in models if models[name]["kind"] == "single"])
    variants = {name: dataclasses.asdict(variant) for name, variant in planned.listed.items()}
    uniform = dict.fromkeys(models, np.full(len(config["classes"]), 1 / len(config["classes"])))
    plain = families.plain_forms(variants)[0]
    members = pd.read_csv(results / "ensembles" / "members.csv")
    ensembles = planned.select(["ensemble"], levels=["prediction"])

    @functools.cache
    def measured() -> pd.DataFrame:
        return evaluation.metrics_table(everything, entries, options, seed, thresholds)

    @functools.cache
    def calibrated() -> tuple[pd.DataFrame, pd.DataFrame]:
        return evaluation.calibration_tables(
            found,
            models,
            options,
            seed,
            uniform,
            plain,
            alpha=tests["alpha"],
            same=families.same_objective(variants),
        )

    @functools.cache
    def curved() -> tuple[pd.DataFrame, pd.DataFrame]:
        return evaluation.curve_tables(everything, entries, options)

    @functools.cache
    def runs() -> Runs:
        return evaluation.runs_on_test(found, models, tests, options, seed)

    @functools.cache
    def weighed() -> dict[str, pd.DataFrame]:
        chosen = pd.read_csv(results / "ensembles" / "chosen.csv")
        close = evaluation.roles(chosen, members, models, planned.baseline)
        return evaluation.usefulness_tables(
            found, models, options, seed, close, planned.negative_class
        )

    @functools.cache
    def sets() -> dict[str, pd.DataFrame]:
        chosen = pd.read_csv(results / "ensembles" / "chosen.csv")
        close = evaluation.roles(chosen, members, models, planned.baseline)
        return evaluation.prediction_set_tables(found, models, options, seed, close)

    def optimistic() -> pd.DataFrame:
        quick = {"weighted_average": {"starts": 1}, "stacking": {"max_iter": 2000}}
        with mock.patch.object(optimism, "RESTARTS", 1):
            return pd.concat(
                optimism.table(
                    singles.subset([m for m in singles.models if models[m]["replicate"] == number]),
                    study.entries(model for model in ensembles if model.replicate == number),
                    quick,
                    seed,
                    optimism.Settings(2, 1),
                    number,
                )
                for number in planned.replicates
            )

    made: dict[str, Callable[[], pd.DataFrame]] = {
        "metrics": measured,
        "confusion": lambda: evaluation.confusion_table(everything),
        "curves": lambda: evaluation.curves_table(found, options, seed),
        "calibration": lambda: evaluation.reliability_table(everything, entries, options),
        "operating_points": lambda: evaluation.by_patient(points, everything, options),
        "rank": lambda: evaluation.rank_table(found, models, options, seed, variants),
        "significance": lambda: evaluation.significance_table(
            found, models, members, tests, options, seed, variants, whole.folds
        ),
        "calibration_curves": lambda: curved()[0],
        "calibration_histograms": lambda: curved()[1],
        "calibration_scores": lambda: calibrated()[0],
        "calibration_comparisons": lambda: calibrated()[1],
        "replicates": lambda: evaluation.replicates_table(runs()),
        "replicate_comparisons": lambda: evaluation.replicate_comparisons_table(
            runs(), tests, seed, variants
        ),
        "seed_spread": lambda: evaluation.seed_spread_table(runs(), tests, variants),
        "ensemble_comparisons": lambda: evaluation.ensemble_comparisons_table(
            runs(), members, tests
        ),
        "degenerate": lambda: evaluation.degenerate_table(found, models),
        "diversity": lambda: diversity.table(singles, planned.models, "test", resamples, 0.95, rng),
    }
    made |= {name: lambda name=name: weighed()[name] for name in usefulness.COLUMNS}
    made |= {name: lambda name=name: sets()[name] for name in prediction_sets.COLUMNS}
    if ensembles:
        made["optimism"] = optimistic
    if whole.folds:
        for name in ("replicates", "replicate_comparisons", "seed_spread", "ensemble_comparisons"):
            made[name] = lambda of_run=made[name]: evaluation.of_one_fold(of_run())
        made |= {
            "folds": lambda: evaluation.folds_table(in_turns()),
            "folds_pooled": lambda: evaluation.pooled_table(in_turns(), seed),
            "fold_comparisons": lambda: evaluation.fold_comparisons_table(
                in_turns(), tests, variants
            ),
        }

    @functools.cache
    def in_turns() -> evaluation.Folds:
        return folds_of(results, whole, options, tests)

    made = {name: functools.cache(of_table) for name, of_table in made.items()}

    @functools.cache
    def judged() -> tuple[pd.DataFrame, pd.DataFrame]:
        sources = ["significance", "replicate_comparisons", "ensemble_comparisons"]
        sources += ["fold_comparisons"] if whole.folds else []
        compared = evaluation.primary_comparisons({name: made[name]() for name in sources}, models)
        chosen = pd.read_csv(results / "ensembles" / "chosen.csv")
        return (
            evaluation.verdicts_table(
                found, models, compared, members, chosen, tests, options, seed
            ),
            evaluation.planning_table(found, models, compared, chosen, tests, options),
        )

    made |= {"verdicts": lambda: judged()[0], "planning": lambda: judged()[1]}
    made["against_baseline"] = lambda: evaluation.against_baseline_table(
        found,
        models,
        {name: made[name]() for name in ("metrics", "significance", "replicate_comparisons")},
        tests,
        options,
        seed,
    )
    if planned.external:
        chosen = pd.read_csv(results / "ensembles" / "chosen.csv")
        roles = evaluation.external_roles(chosen, models, planned.baseline)
        made["external"] = lambda: evaluation.external_table(found, measured(), models, roles)
        made["external_comparisons"] = lambda: evaluation.external_comparisons(
            found, models, chosen, roles, options, tests, seed
        )
    if options["subgroups"]:
        chosen = pd.read_csv(results / "ensembles" / "chosen.csv")
        told = pd.read_csv(results / "data/attributes.csv", dtype=str, keep_default_na=False)
        roles = evaluation.external_roles(chosen, models, planned.baseline)
        grouped = functools.cache(
            lambda: evaluation.subgroup_tables(found, models, roles, told, options, tests, seed)
        )
        made["subgroups"] = lambda: grouped()["subgroups"]
        made["subgroup_gaps"] = lambda: grouped()["subgroup_gaps"]
    for name in made if only is None else only:
        write_csv(made[name](), results / "tables" / f"{name}.csv")


def folds_of(
    results: Path, planned: study.Study, options: dict[str, Any], tests: dict[str, Any]
) -> evaluation.Folds:
    """The runs of a study with folds, each with its own choice by scores on its ensemble split."""
    models, classes = study.entries(planned.models.values()), planned.config["classes"]
    parts, manifests, chosen, members = [], [], [], []
    for number in planned.replicates:
        own = [name for name, entry in models.items() if entry["replicate"] == number]
        paths = [results / "predictions" / f"{name}.csv" for name in own]
        part = predictions.read(paths, classes, splits=["ensemble", "test"])
        choice = part.only("ensemble")
        scores = selection.scores(choice.p, choice.y)[:, 0]
        candidates = pd.DataFrame(scores, columns=["score", "log_loss"])
        candidates = candidates.assign(model=own, kind=[models[m]["kind"] for m in own])
        candidates = candidates.assign(k=[models[m]["k"] for m in own], complexity=0)
        chosen.append(crossfit.choose(candidates[candidates["kind"] != "ablation"]))
        parts.append(part)
        name = f"data/manifests/{number}.csv" if number else "data/manifest.csv"
        manifests.append(pd.read_csv(results / name))
        members.append(pd.read_csv(results / f"ensembles/r{number}/members.csv"))
    runs = evaluation.fold_runs(parts, manifests, pd.concat(members), chosen, planned.folds)
    return evaluation.Folds(runs, models, tests, options)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _mcc(counts: np.ndarray) -> float:
    """Multi-class MCC of a confusion matrix (rows: truth)."""
    total, right = counts.sum(), np.trace(counts)
    truth, said = counts.sum(axis=1), counts.sum(axis=0)
    below = np.sqrt(float(total**2 - said @ said)) * np.sqrt(float(total**2 - truth @ truth))
    return float(total * right - truth @ said) / below if below else np.nan


class _Maker:
    def __init__(
        self,
        folder: Path,
        results: Path,
        config: dict[str, Any],
        rng: np.random.Generator,
        test_images: int,
    ) -> None:
        self.folder, self.results, self.config, self.rng = folder, results, config, rng
        self.classes = config["classes"]
        self.losses = [study.variant_name(entry) for entry in config["classification"]["losses"]]
        self.replicates = range(config["replicates"])
        self.collapsed: tuple[str, ...] = ()
        self.unknown = 0.0
        self.lesions = True
        self.shape: tuple[int, int] | None = None
        self.grid = 8
        self.counts = {
            "train": min(2 * test_images, 300),
            "val": min(test_images // 2, 150),
            "ensemble": min(test_images // 2, 150),
            "test": test_images,
        }
        self.external = {external_split(name): name for name in study.Study(config).external}
        self.counts |= dict.fromkeys(self.external, 80)
        self.singles: dict[str, pd.DataFrame] = {}
        self.ensembles: dict[str, pd.DataFrame] = {}
        self.others: dict[str, tuple[str, pd.DataFrame]] = {}

    def attributes(self, manifest: pd.DataFrame) -> None:
        """Sex, age and the like of every patient, where the config asks for groups."""
        entries, rng = self.config["evaluation"]["subgroups"], np.random.default_rng(1)
        told = {"image_id": manifest["image_id"]}
        names = manifest["patient_id"].unique()
        of_patient = manifest["patient_id"].map({name: n for n, name in enumerate(names)})
        for entry in entries:
            column = entry["column"]
            values = [str(age) for age in range(1, 90)] if entry["bands"] else GROUPS[column]
            drawn = rng.choice(np.array(values, dtype=object), len(names))[of_patient.to_numpy()]
            told[column] = manifest["source"] if column == "source" else drawn
        if entries:
            self.csv("data/attributes.csv", pd.DataFrame(told))

    def csv(self, name: str, rows: Any, columns: list[str] | None = None) -> pd.DataFrame:
        table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=columns)
        path = self.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
        return table

    # ---- data -------------------------------------------------------------------------
    def data(self, save_images: bool) -> None:
        shares = np.linspace(1.0, 1.9, len(self.classes))
        shares /= shares.sum()
        rows = []
        for split in [*SPLITS, *self.external]:
            own = shares**3 / (shares**3).sum() if split in self.external else shares
            labels = self.rng.choice(len(self.classes), self.counts[split], p=own)
            labels[: 2 * len(self.classes)] = np.arange(2 * len(self.classes)) % len(self.classes)
            for number, label in enumerate(labels):
                image_id = f"{split}-{number:04d}"
                rows.append(
                    {
                        "image_id": image_id,
                        "label": self.classes[label],
                        # Every seventh image is a second one of the patient before.
                        "patient_id": f"p-{split}-{label}-{number - (number % 7 == 6) * 1:04d}",
                        "split": split,
                    }
                )
        table = pd.DataFrame(rows)
        base = Path("results") / self.config["study"] / "data" / "sources" / "phantom-cxr"
        (self.folder / base / "lesions").mkdir(parents=True, exist_ok=True)
        for name in ("masks", "crops"):
            (self.results / name).mkdir(parents=True, exist_ok=True)
        own_source = self.config["data"]["sources"][0]["name"]
        boxes, extra, checks = [], [], []
        shared: dict[Any, Any] = {}
        written: dict[Any, Path] = {}
        digest = functools.cache(digest_of)

        def write(path: Path, key: Any, pixels: np.ndarray) -> None:
            """A picture that there is already is the same file under another name."""
            if key in written:
                os.link(written[key], path)
            else:
                cv2.imwrite(str(path), pixels)
                written[key] = path

        for index, row in table.iterrows():
            height, width = self.shape or ((96, 112) if index % 3 else (120, 96))
            label = self.classes.index(row["label"])
            fallback = index % 41 == 40
            key = (label, index % 4, fallback) if self.shape else index
            if key not in shared:
                image, mask, lesion = self.picture(height, width, label)
                if fallback:
                    mask[:] = 0
                found = dataclasses.asdict(mask_checks.shape(mask > 0))
                shared = shared if self.shape else {}
                shared[key] = image, mask, lesion, found
            image, mask, lesion, found = shared[key]
            box = self.box(mask)
            path = base / f"{row['image_id']}.png"
            lesion_path = base / "lesions" / f"{row['image_id']}.png"
            with_lesion = bool(self.lesions and lesion.any())
            if save_images:
                file = f"{row['image_id']}.png"
                write(self.folder / path, ("image", key), image)
                write(self.results / "masks" / file, ("mask", key), mask)
                x, y, w, h = box
                crop = cv2.resize(image[y : y + h, x : x + w], (64, 64))
                write(self.results / "crops" / file, ("crop", key), crop)
                if with_lesion:
                    write(self.folder / lesion_path, ("lesion", key), lesion)
            boxes.append((row["image_id"], *box, float((mask > 0).mean()), fallback))
            inside = (box[0], box[1], box[2] - 10 * (index % 13 == 12), box[3])
            checks.append(
                {
                    "image_id": row["image_id"],
                    "split": row["split"],
                    **found,
                    "reference_dice": np.nan,
                    "reference_kept": np.nan,
                    "lesion_kept": mask_checks.kept(lesion > 0, inside) if with_lesion else np.nan,
                }
            )
            extra.append(
                {
                    "path": path.as_posix(),
                    "width": width,
                    "height": height,
                    "bits": 8,
                    "sha256": digest(written["image", key]) if save_images else f"{index:064x}",
                    "source": self.external.get(row["split"], own_source),
                    "shipped_split": "test" if row["split"] == "test" else "train",
                    "group": row["patient_id"],
                    "lung_mask": "",
                    "lesion_mask": lesion_path.as_posix() if with_lesion else "",
                }
            )
        table = pd.concat([table, pd.DataFrame(extra)], axis=1)
        table["patient_known"] = np.arange(len(table)) >= round(self.unknown * len(table))
        table["patient_id"] = table["patient_id"].where(table["patient_known"], table["image_id"])
        order = "image_id path label patient_id split width height bits sha256 source"
        order += " shipped_split patient_known group lung_mask lesion_mask"
        self.manifest = self.csv("data/manifest.csv", table[order.split()])
        self.attributes(table)
        columns = ["image_id", "xmin", "ymin", "width", "height", "lung_fraction", "fallback"]
        self.boxes = self.csv("crops/boxes.csv", boxes, columns)
        checked = self.csv("tables/mask_checks.csv", mask_checks.judged(pd.DataFrame(checks)))
        self.csv("tables/crops.csv", mask_checks.summarise(checked))
        self.csv(
            "data/rejected.csv",
            [("broken-1", f"{base.as_posix()}/broken-1.png", "phantom-cxr", "not readable")],
            ["image_id", "path", "source", "reason"],
        )
        self.csv(
            "data/dropped.csv",
            [
                ("again-1", "p-7", self.classes[0], "phantom-cxr", "train")
                + ("patient is in the shipped test set",)
            ],
            ["image_id", "patient_id", "label", "source", "shipped_split", "reason"],
        )
        lungs = [
            (f"lung-{n:03d}", f"lungs/{n}.png", f"lungs/{n}_mask.png", f"q{n}", split, 96, 96)
            + (8, f"{n:064x}", source)
            for n, (split, source) in enumerate(
                [("train", "phantom-lungs-train")] * 34
                + [("val", "phantom-lungs-train")] * 6
                + [("test", "phantom-lungs-test")] * 20
            )
        ]
        columns = "image_id path mask_paths patient_id split width height bits sha256 source"
        self.csv("data/lungs.csv", lungs, columns.split())
        for source in self.config["data"]["sources"]:
            path = self.results / "data" / "downloads" / f"{source['name']}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {
                **{key: source[key] for key in ("name", "url", "license", "citation")},
                "sha256": f"{len(source['name']):064x}",
                "size": 123456,
                "verified": "recorded",
            }
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        near = "near-identical images: train-0001 = test-0004"
        self.csv(
            "tables/leakage.csv",
            [
                ("patients_across_splits", "patient", 0, 300, "patients in two splits", "pass"),
                ("identical_images_across_splits", "image", 0, 400, "identical images", "pass"),
                ("near_identical_images_across_splits", "image", 1, 400, near, "note"),
            ],
            ["check", "level", "count", "n", "detail", "verdict"],
        )

    def picture(
        self, height: int, width: int, label: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A body with two dark lungs; a bright blob (the lesion) unless the label is 0."""
        image = np.full((height, width), 150.0, np.float32)
        mask = np.zeros((height, width), np.uint8)
        lesion = np.zeros_like(mask)
        shift = self.rng.integers(-4, 5, 2)
        for side in (-1, 1):
            middle = (int(width / 2 + side * width * 0.2 + shift[0]), int(height / 2 + shift[1]))
            axes = (int(width * 0.14), int(height * 0.33))
            cv2.ellipse(mask, middle, axes, 4 * side, 0, 360, 255, -1)
        image[mask > 0] = 60
        if label:
            spots = np.argwhere(mask > 0)
            for _ in range(1 + label % 3):
                y, x = spots[self.rng.integers(len(spots))]
                cv2.circle(lesion, (int(x), int(y)), max(9, height // 14), 255, -1)
            lesion &= mask
            image[lesion > 0] += 55
        image = cv2.GaussianBlur(image, (5, 5), 0)
        image += self.rng.normal(0, 6, image.shape).astype(np.float32)
        if self.shape:
            # What ribs and vessels are in radiographs: structure that small copies keep.
            for cell in (8, 16, 32, 64):
                grain = self.rng.normal(0, GRAIN, (height // cell, width // cell))
                image += cv2.resize(grain.astype(np.float32), (width, height))
        return np.clip(image, 0, 255).astype(np.uint8), mask, lesion

    @staticmethod
    def box(mask: np.ndarray) -> tuple[int, int, int, int]:
        if not mask.any():
            return 0, 0, mask.shape[1], mask.shape[0]
        x, y, w, h = cv2.boundingRect(mask)
        dx, dy = round(0.05 * w), round(0.05 * h)
        x0, y0 = max(0, x - dx), max(0, y - dy)
        return (
            x0,
            y0,
            min(mask.shape[1], x + w + dx) - x0,
            min(mask.shape[0], y + h + dy) - y0,
        )

    # ---- segmentation -----------------------------------------------------------------
    CASES = (
        *(("best", 0.97), ("best", 0.965), ("median", 0.93), ("median", 0.931)),
        *(("worst", 0.71), ("worst", 0.74)),
    )

    def segmentation(self) -> None:
        names = [entry["name"] for entry in self.config["segmentation"]["losses"]]
        per_image = []
        for level, name in enumerate([*names, "and_top3"]):
            for split, number in (("val", 6), ("test", 20)):
                dice = np.clip(self.rng.beta(40, 3 + 0.3 * level, number), 0, 1)
                for n, value in enumerate(dice):
                    row = (name, split, f"lung-{n:03d}", f"q{n}", value, value / (2 - value))
                    per_image.append(row)
            if name != "and_top3":
                self.history(f"segmentation/models/{name}.history.csv", 24, dice=True)
        columns = ["loss", "split", "image_id", "patient_id", "dice", "iou"]
        table = self.csv("segmentation/scores_per_image.csv", per_image, columns)
        scores = segmentation_scores.summarise(table, names, names[:3], 100, 0, 0.95)
        self.csv("segmentation/scores.csv", scores)
        arrays, cases = {}, []
        for index, (case, dice) in enumerate(self.CASES):
            image, mask, _ = self.picture(128, 112, 0)
            kernel = np.ones((3, 3), np.uint8)
            arrays[f"image_{index}"] = image
            arrays[f"truth_{index}"] = mask
            arrays[f"prediction_{index}"] = cv2.erode(mask, kernel, iterations=index + 1)
            cases.append((case, f"lung-{index:03d}", dice, index))
        np.savez(self.results / "segmentation" / "examples.npz", **arrays)
        self.csv("segmentation/examples.csv", cases, ["case", "image_id", "dice", "index"])

    def without_lungs(self) -> None:
        """Take back what `data` wrote of lungs."""
        for name in ("masks", "crops"):
            shutil.rmtree(self.results / name)
        for name in ("tables/mask_checks.csv", "tables/crops.csv", "data/lungs.csv"):
            (self.results / name).unlink()

    def history(self, name: str, epochs: int, dice: bool = False) -> None:
        epoch = np.arange(1, epochs + 1)
        fall = np.exp(-epoch / 8)
        noise = self.rng.normal(0, 0.02, (4, epochs))
        columns: dict[str, Any] = {
            "epoch": epoch,
            "loss": 0.25 + fall + noise[0] / 2,
            "val_loss": 0.4 + fall + noise[1],
        }
        if dice:
            columns |= {"dice": 0.96 - fall / 2 + noise[2] / 3, "val_dice": 0.94 - fall / 2}
        else:
            columns |= {
                "val_accuracy": 0.82 - fall / 3 + noise[2],
                "val_mcc": 0.72 - fall / 2 + noise[3],
            }
        columns["learning_rate"] = 1e-3 * 0.5 ** (epoch // 10)
        self.csv(name, pd.DataFrame(columns))

    def training(self) -> None:
        for loss in self.losses:
            for replicate in self.replicates:
                epochs = int(self.rng.integers(14, 28))
                self.history(f"models/{loss}/{replicate}.history.csv", epochs)

    # ---- predictions ------------------------------------------------------------------
    def in_turns(self, count: int, runs: range) -> None:
        """Each run on a division of its own; the first comes last, and what all share is of it."""
        whole, ratios = self.manifest, {"train": 0.7, "val": 0.15, "ensemble": 0.15}
        for run in reversed(runs):
            seed = self.config["seed"]
            own = folds.divide(whole, ratios, count, run, seed, self.classes)
            name = f"data/manifests/{run}.csv" if run else "data/manifest.csv"
            self.manifest, self.replicates = self.csv(name, own), range(run, run + 1)
            self.singles, self.ensembles, self.others = {}, {}, {}
            self.training()
            self.predictions()
            members = pd.read_csv(self.results / "ensembles/members.csv")
            self.csv(f"ensembles/r{run}/members.csv", members)

    def predictions(self) -> None:
        part = self.manifest[self.manifest["split"] != "train"].reset_index(drop=True)
        self.rows = part[["image_id", "patient_id", "split", "label"]]
        self.truth = part["label"].map(self.classes.index).to_numpy()
        size = (len(part), len(self.classes))
        target = np.eye(len(self.classes))[self.truth]
        # What was learned here counts for less elsewhere.
        target[part["split"].isin(self.external)] *= 0.5
        hard = self.rng.normal(0, 1.0, size)  # shared by all models: their errors correlate
        logits = {}
        for number, loss in enumerate(self.losses):
            skill = 2.3 + 0.5 * np.sin(1.7 * number)
            sharp = 1.8 if "calibrated" not in loss and "smooth" not in loss else 1.0
            for replicate in self.replicates:
                name = f"{loss}-r{replicate}"
                own = self.rng.normal(0, 0.8, size)
                score = sharp * ((skill + 0.1 * self.rng.normal()) * target + hard + own)
                if loss in self.collapsed:
                    score = np.eye(len(self.classes))[0] + 0.05 * own
                logits[name] = score
                self.singles[name] = self.frame(_softmax(score))
        for ablation, r in itertools.product(self.config["ablations"], self.replicates):
            weaker = logits[f"cce-r{r}"] - 0.8 * target
            self.others[f"cce_{ablation}-r{r}"] = ("ablation", self.frame(_softmax(weaker)))
        self.members()
        seeds = dict(self.singles)
        if self.config["ensembles"]["seed_ensemble"]["further_seeds"]:
            for replicate in range(len(self.replicates), max(self.config["ensembles"]["top_k"])):
                score = logits["cce-r0"] + self.rng.normal(0, 0.8, size)
                seeds[f"cce-r{replicate}"] = self.frame(_softmax(score))
                self.others[f"cce-r{replicate}"] = ("seed", seeds[f"cce-r{replicate}"])
        members = [pd.read_csv(self.results / "ensembles/members.csv")]
        for model in study.Study(self.config).select(["seed_ensemble"]):
            mean = np.mean([self.array(seeds[member]) for member in model.members], axis=0)
            self.others[model.name] = ("seed_ensemble", self.frame(mean))
            rows = {"ensemble": model.name, "method": model.method, "k": model.k}
            more = pd.DataFrame(rows | {"member": model.members, "rank": range(1, model.k + 1)})
            members.append(more)
        self.csv("ensembles/members.csv", pd.concat(members))
        everything = {**self.singles, **self.ensembles}
        everything |= {name: frame for name, (_, frame) in self.others.items()}
        for name, frame in everything.items():
            self.csv(f"predictions/{name}.csv", frame)

    def frame(self, p: np.ndarray) -> pd.DataFrame:
        columns = {f"p_{name}": p[:, k] for k, name in enumerate(self.classes)}
        return pd.concat([self.rows, pd.DataFrame(columns)], axis=1)

    def array(self, frame: pd.DataFrame) -> np.ndarray:
        return frame[[f"p_{name}" for name in self.classes]].to_numpy()

    def confusion(self, frame: pd.DataFrame, split: str) -> np.ndarray:
        keep = (frame["split"] == split).to_numpy()
        said = self.array(frame)[keep].argmax(axis=1)
        size = len(self.classes)
        return np.bincount(size * self.truth[keep] + said, minlength=size**2).reshape(size, size)

    def score(self, frame: pd.DataFrame) -> float:
        """MCC on the ensemble split; one that is not defined counts as 0."""
        return float(np.nan_to_num(_mcc(self.confusion(frame, "ensemble"))))

    def members(self) -> None:
        members, weights = [], []
        methods, sizes = self.config["ensembles"]["methods"], self.config["ensembles"]["top_k"]
        for r in self.replicates:
            names = [f"{loss}-r{r}" for loss in self.losses]
            scores = {n: self.score(self.singles[n]) for n in names}
            names.sort(key=lambda name, scores=scores: -scores[name])
            ranking = [
                (name, name.rsplit("-r", 1)[0], r, "mcc", scores[name], 0.5, rank + 1, "ensemble")
                for rank, name in enumerate(names)
            ]
            columns = ["model", "loss", "replicate", "metric", "score", "log_loss", "rank", "split"]
            self.csv(f"ensembles/r{r}/ranking.csv", ranking, columns)
            arms = list(itertools.product(methods, sizes))
            for method, k in arms:
                ensemble = f"{method}-top{k}-r{r}"
                chosen = names[:k]
                share = self.rng.dirichlet(np.full(len(chosen), 3.0))
                if method != "weighted_average":
                    share = np.full(len(chosen), 1 / len(chosen))
                p = np.tensordot(share, [self.array(self.singles[m]) for m in chosen], 1)
                if method in ("stacking", "model_level"):
                    p = p ** (1.2 + 0.4 * self.rng.random())
                    p /= p.sum(axis=1, keepdims=True)
                self.ensembles[ensemble] = self.frame(p)
                for rank, (member, weight) in enumerate(zip(chosen, share, strict=True)):
                    common = (ensemble, method, k, r, member, rank + 1, scores[member], "mcc")
                    members.append((*common, "ensemble"))
                    if method == "weighted_average":
                        weights.append((ensemble, r, member, weight))
            if "model_level" in methods:
                ensemble = f"weighted_average-model_level-r{r}"
                parts = [f"model_level-top{k}-r{r}" for k in sizes]
                p = np.mean([self.array(self.ensembles[name]) for name in parts], axis=0)
                self.ensembles[ensemble] = self.frame(p)
                for rank, part in enumerate(parts):
                    common = (ensemble, "weighted_average", len(parts), r, part, rank + 1)
                    members.append((*common, 0.6, "mcc", "ensemble"))
                    weights.append((ensemble, r, part, 1 / len(parts)))
        columns = [
            "ensemble",
            "method",
            "k",
            "replicate",
            "member",
            "rank",
            "score",
            "score_metric",
            "split",
        ]
        self.csv("ensembles/members.csv", members, columns)
        self.csv("ensembles/weights.csv", weights, ["ensemble", "replicate", "member", "weight"])
        score = {
            name: self.score(frame) for name, frame in {**self.singles, **self.ensembles}.items()
        }
        best = {"single": max(self.singles, key=score.__getitem__)}
        if self.ensembles:
            best["ensemble"] = max(self.ensembles, key=score.__getitem__)
        best["overall"] = max(best.values(), key=score.__getitem__)
        rows = [
            (what, name, "mcc", "ensemble", score[name], score[name] - 0.08, score[name] + 0.07)
            + ("highest cross-fitted MCC on the ensemble split",)
            for what, name in best.items()
        ]
        columns = ["what", "model", "metric", "split", "score", "ci_low", "ci_high", "rule"]
        self.csv("ensembles/chosen.csv", rows, columns)
        self.best = best

    # ---- Grad-CAM ---------------------------------------------------------------------
    def gradcam(self) -> None:
        test = self.manifest[self.manifest["split"] == "test"]
        ablated = {name: frame for name, (kind, frame) in self.others.items() if kind == "ablation"}
        frames = {**self.singles, **self.ensembles, **ablated}
        names = [*self.singles, *(n for n in self.ensembles if n.startswith("model_level-top"))]
        names += ablated
        folder = self.results / "gradcam"
        folder.mkdir(parents=True, exist_ok=True)
        size, rows = self.grid, []
        grid = f"{size} x {size}"
        yy, xx = np.mgrid[0:size, 0:size]
        centres = self.lesion_centres(test, size)
        for number, name in enumerate(names):
            frame = frames[name]
            p = self.array(frame[frame["split"] == "test"])
            middle = self.rng.uniform(1, size - 2, (len(test), 2))
            middle[list(centres)] = np.array(list(centres.values())).reshape(-1, 2)
            middle += self.rng.normal(0, 0.7, middle.shape)
            square = (yy - middle[:, :1, None]) ** 2 + (xx - middle[:, 1:, None]) ** 2
            maps = np.exp(-square / 4.0)
            flat = np.zeros(len(test), bool)
            flat[number % 7 :: 29] = True
            maps[flat] = 0
            np.savez(
                folder / f"{name}.npz",
                maps=maps.astype(np.float16),
                class_index=p.argmax(axis=1).astype(np.int64),
                flat=flat,
                image_id=test["image_id"].to_numpy().astype(str),
            )
            shares = {
                "lung_share": 0.72,
                "deletion_auc": 0.4,
                "insertion_auc": 0.7,
                "random_auc": 0.5,
                "randomised_head_correlation": 0.3,
                "randomised_weights_correlation": 0.1,
            }
            if not study.Study(self.config).segmented:
                del shares["lung_share"]
            if self.lesions:
                shares |= {"pointing_game": 0.6, "energy_pointing_game": 0.35, "iou": 0.25}
            kind = {**dict.fromkeys(self.singles, "single"), **dict.fromkeys(ablated, "ablation")}
            kind = kind.get(name, "ensemble")
            for share in np.linspace(0, 1, 6).round(6):
                curves = {
                    "deletion": 0.1 + 0.7 * np.exp(-4 * share),
                    "insertion": 0.8 - 0.6 * np.exp(-4 * share),
                    "random": 0.2 + 0.6 * share,
                }
                for curve, value in curves.items():
                    value += 0.03 * self.rng.normal()
                    row = (name, kind, f"{curve}_curve", share, value, value - 0.1, value + 0.1)
                    rows.append((*row, "percentile", 6, 6, int(flat.sum()), grid, ""))
            for metric, value in shares.items():
                for threshold in (0.2, 0.5) if metric == "iou" else (np.nan,):
                    value += 0.05 * self.rng.normal()
                    row = (name, kind, metric, threshold, value, value - 0.05, value + 0.05)
                    row += ("percentile", len(test), test["patient_id"].nunique())
                    rows.append((*row, int(flat.sum()), grid, ""))
                if metric in ("lung_share", "energy_pointing_game"):
                    row = (name, kind, f"{metric}_minus_uniform", np.nan, value - 0.3)
                    row += (value - 0.35, value - 0.25, "t", len(test))
                    row += (test["patient_id"].nunique(), int(flat.sum()), grid, "")
                    rows.append((*row, 0.001, 0.001 * len(names), len(names), "holm"))
        for metric in ("lung_share", "pointing_game", "energy_pointing_game"):
            if metric in shares:
                row = ("uniform", "baseline", metric, np.nan, 0.3, 0.28, 0.32, "percentile")
                rows.append((*row, len(test), test["patient_id"].nunique(), 0, "1 x 1", ""))
        columns = "model kind metric threshold value ci_low ci_high ci_method n n_patients"
        columns += " n_flat grid reason p_value p_adjusted hypotheses correction"
        width = len(columns.split())
        rows = [(*row, *[""] * (width - len(row))) for row in rows]
        self.csv("tables/localisation.csv", rows, columns.split())

    def lesion_centres(self, test: pd.DataFrame, size: int) -> dict[int, np.ndarray]:
        """Middle of the lesions of some test images (row by number) in cells of a map."""
        boxes, found = self.boxes.set_index("image_id"), {}
        for row, image in enumerate(test.iloc[:200].itertuples()):
            path = self.folder / image.lesion_mask
            if image.lesion_mask and path.is_file():
                points = np.argwhere(cv2.imread(str(path), 0) > 0)
                box = boxes.loc[image.image_id, ["ymin", "xmin", "height", "width"]].to_numpy(float)
                found[row] = (points.mean(axis=0) - box[:2]) / box[2:] * size - 0.5
        return found

    # ---- costs ------------------------------------------------------------------------
    def benchmarks(self) -> None:
        names = ["crop/all", "mask/all", "split/all", "evaluate/all", "significance/all"]
        segmenters = [entry["name"] for entry in self.config["segmentation"]["losses"]]
        names += [f"train_segmenter/{loss}" for loss in segmenters]
        arms = list(itertools.product(self.losses, self.replicates))
        for rule in ("train", "predict", "gradcam"):
            names += [f"{rule}/{loss}-r{replicate}" for loss, replicate in arms]
        header = [
            "s",
            "h:m:s",
            "max_rss",
            "max_vms",
            "max_uss",
            "max_pss",
            "io_in",
            "io_out",
            "mean_load",
            "cpu_time",
        ]
        for name in names:
            seconds = self.rng.lognormal(4.5 if name.startswith("train") else 2.0, 0.2)
            memory = self.rng.normal(1800 if "t" in name[:1] else 600, 60)
            row = [f"{seconds:.4f}", "0:00:09", f"{memory:.2f}", "9.0", "9.0", "9.0", "0.0", "0.0"]
            row += ["95.00", f"{1.2 * seconds:.2f}"]
            path = self.results / "benchmarks" / f"{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = ["\t".join(header), "\t".join(row)]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def figures(self) -> None:
        """Grey placeholders under the names of the catalogue, for tests of the report alone."""
        from multiloss.figures import catalog

        (self.results / "figures").mkdir(parents=True, exist_ok=True)
        for name in catalog.figures(self.config):
            path = self.results / "figures" / name
            cv2.imwrite(f"{path}.png", np.full((120, 240), 200, np.uint8))
            drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="240" height="120"/>\n'
            Path(f"{path}.svg").write_text(drawing, encoding="utf-8")
            Path(f"{path}.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
            Path(f"{path}.csv").write_text("n\n120\n", encoding="utf-8")
            facts = {"facts": "n = 120 images of 103 patients."}
            Path(f"{path}.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=3, choices=sorted(CLASS_NAMES))
    parser.add_argument("--replicates", type=int, default=1)
    parser.add_argument("--test", type=int, default=120)
    options = parser.parse_args()
    study = make(
        options.folder,
        classes=options.classes,
        replicates=options.replicates,
        test_images=options.test,
    )
    print(study.results)


if __name__ == "__main__":
    main()
