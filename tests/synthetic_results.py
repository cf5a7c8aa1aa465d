"""A made-up results folder with every table of the contract, in seconds and without training.

Figures and report are tested on it: any number of classes, losses and replicates, with the
optional steps on or off. Predictions are drawn from a simple model of skill and difficulty;
tables are computed from them, so that they agree with each other.

    python tests/synthetic_results.py FOLDER [--classes 7] [--replicates 10] [--test 4000]
"""

import argparse
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from multiloss import study
from multiloss.evaluation.families import CALIBRATED

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
    lesions: bool = True,
    further_seeds: bool = False,
) -> dict[str, Any]:
    """A config as scripts see it: validated, with every default filled in."""
    names = CLASS_NAMES[classes] if isinstance(classes, int) else list(classes)
    source = {"layout": "phantom", "url": "phantom", "license": "made up", "citation": "none"}
    return {
        "study": study,
        "seed": 20211202,
        "replicates": replicates,
        "classes": names,
        "data": {
            "strict_leakage": False,
            "sources": [
                {"name": "phantom-cxr", "role": "classification", **source},
                {"name": "phantom-lungs-train", "role": "lungs_train", **source},
                {"name": "phantom-lungs-test", "role": "lungs_test", **source},
            ],
        },
        "images": {"channels": "grey"},
        "splits": {
            "test": "shipped",
            "ratios": {"train": 0.70, "val": 0.15, "ensemble": 0.15},
            "recurring_patients": "drop",
        },
        "segmentation": {
            "losses": [{"name": name} for name in SEGMENTATION_LOSSES],
            "backbone": "efficientnetb0",
            "encoder_weights": "none",
            "image_size": 64,
            "ensemble_size": 3,
            "val_fraction": 0.15,
        },
        "classification": {
            "losses": [{"name": name} for name in (losses or LOSSES)],
            "backbone": "efficientnetb0",
            "encoder_weights": "segmenter",
            "class_weights": "balanced",
            "image_size": 64,
            "training": {},
            "augmentation": {},
        },
        "ablations": list(ablations),
        "ensembles": {
            "top_k": [3, 5] if ensembles else [],
            "methods": METHODS if ensembles else [],
            "seed_ensemble": {"loss": None, "further_seeds": further_seeds and ensembles},
        },
        "evaluation": {
            "resamples": 2000,
            "interval": "percentile",
            "confidence": 0.95,
            "ece_bins": 15,
            "operating_point": "youden",
            "temperature_scaling": True,
        },
        "significance": {"permutations": 10000, "alpha": 0.05, "baseline": "cce"},
        "gradcam": {
            "enabled": gradcam,
            "images_per_outcome": 2,
            "threshold": 0.2,
            "lesions": lesions,
        },
        "figures": {},
    }


def make(
    folder: Path,
    *,
    test_images: int = 120,
    seed: int = 0,
    save_images: bool = True,
    placeholder_figures: bool = False,
    collapsed: tuple[str, ...] = (),
    unknown: float = 0.0,
    **options: Any,
) -> Study:
    """Write a results folder for `configuration(**options)` below `folder` and describe it.

    `collapsed`: losses whose models name the first class for every image; `unknown`: share of
    the images whose patient is not known.
    """
    config = configuration(**options)
    results = Path(folder) / "results" / config["study"]
    maker = _Maker(Path(folder), results, config, np.random.default_rng(seed), test_images)
    maker.collapsed, maker.unknown = collapsed, unknown
    maker.data(save_images)
    maker.segmentation()
    maker.training()
    models = study.Study(config).models.values()
    (results / "data" / "models.csv").write_text(study.models_text(models), encoding="utf-8")
    maker.predictions()
    maker.tables()
    if config["gradcam"]["enabled"]:
        maker.gradcam()
    maker.benchmarks()
    if placeholder_figures:
        maker.figures()
    return Study(Path(folder), results, config, list(maker.singles), list(maker.ensembles))


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
        self.losses = [entry["name"] for entry in config["classification"]["losses"]]
        self.replicates = range(config["replicates"])
        self.collapsed: tuple[str, ...] = ()
        self.unknown = 0.0
        self.counts = {
            "train": min(2 * test_images, 300),
            "val": min(test_images // 2, 150),
            "ensemble": min(test_images // 2, 150),
            "test": test_images,
        }
        self.singles: dict[str, pd.DataFrame] = {}
        self.ensembles: dict[str, pd.DataFrame] = {}
        self.others: dict[str, tuple[str, pd.DataFrame]] = {}

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
        for split in SPLITS:
            labels = self.rng.choice(len(self.classes), self.counts[split], p=shares)
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
        lesions = self.config["gradcam"]["lesions"]
        base = Path("results") / self.config["study"] / "data" / "sources" / "phantom-cxr"
        (self.folder / base / "lesions").mkdir(parents=True, exist_ok=True)
        for name in ("masks", "crops"):
            (self.results / name).mkdir(parents=True, exist_ok=True)
        boxes, extra = [], []
        for index, row in table.iterrows():
            height, width = (96, 112) if index % 3 else (120, 96)
            label = self.classes.index(row["label"])
            fallback = index % 41 == 40
            image, mask, lesion = self.picture(height, width, label)
            if fallback:
                mask[:] = 0
            box = self.box(mask)
            path = base / f"{row['image_id']}.png"
            lesion_path = base / "lesions" / f"{row['image_id']}.png"
            with_lesion = bool(lesions and lesion.any())
            if save_images:
                cv2.imwrite(str(self.folder / path), image)
                cv2.imwrite(str(self.results / "masks" / f"{row['image_id']}.png"), mask)
                x, y, w, h = box
                crop = cv2.resize(image[y : y + h, x : x + w], (64, 64))
                cv2.imwrite(str(self.results / "crops" / f"{row['image_id']}.png"), crop)
                if with_lesion:
                    cv2.imwrite(str(self.folder / lesion_path), lesion)
            boxes.append((row["image_id"], *box, float((mask > 0).mean()), fallback))
            extra.append(
                {
                    "path": path.as_posix(),
                    "width": width,
                    "height": height,
                    "bits": 8,
                    "sha256": f"{index:064x}",
                    "source": "phantom-cxr",
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
        columns = ["image_id", "xmin", "ymin", "width", "height", "lung_fraction", "fallback"]
        self.boxes = self.csv("crops/boxes.csv", boxes, columns)
        self.csv(
            "data/rejected.csv",
            [("broken-1", f"{base.as_posix()}/broken-1.png", "phantom-cxr", "not readable")],
            ["image_id", "path", "source", "reason"],
        )
        self.csv(
            "data/dropped.csv",
            [("again-1", "p-7", self.classes[0], "patient is in the shipped test folder too")],
            ["image_id", "patient_id", "label", "reason"],
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
        self.csv(
            "tables/leakage.csv",
            [
                ("patients in more than one split", 0, "", "ok"),
                ("byte-identical images across splits", 0, "", "ok"),
                ("near-identical images across splits", 1, "train-0001 = test-0004", "warning"),
            ],
            ["check", "count", "examples", "status"],
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
                cv2.circle(lesion, (int(x), int(y)), 9, 255, -1)
            lesion &= mask
            image[lesion > 0] += 55
        image = cv2.GaussianBlur(image, (5, 5), 0)
        image += self.rng.normal(0, 6, image.shape).astype(np.float32)
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
        rows = []
        for (name, split), part in table.groupby(["loss", "split"], sort=False):
            row = {"loss": name, "split": split, "n": len(part)}
            for metric in ("dice", "iou"):
                mean, spread = part[metric].mean(), part[metric].std()
                half = 1.96 * spread / np.sqrt(len(part))
                row |= {metric: mean, f"{metric}_sd": spread}
                row |= {f"{metric}_ci_low": mean - half, f"{metric}_ci_high": mean + half}
            rows.append(row | {"selected": name in names[:3]})
        self.csv("segmentation/scores.csv", rows)
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
    def predictions(self) -> None:
        part = self.manifest[self.manifest["split"] != "train"].reset_index(drop=True)
        self.rows = part[["image_id", "patient_id", "split", "label"]]
        self.truth = part["label"].map(self.classes.index).to_numpy()
        size = (len(part), len(self.classes))
        target = np.eye(len(self.classes))[self.truth]
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
        if len(seeds) > len(self.losses) and self.config["ensembles"]["methods"]:
            names = [name for name in seeds if name.rpartition("-r")[0] == "cce"][:5]
            mean = np.mean([self.array(seeds[m]) for m in names], axis=0)
            self.others[f"seed_average-cce-top{len(names)}"] = ("seed_ensemble", self.frame(mean))
        everything = {**self.singles, **self.ensembles}
        everything |= {name: frame for name, (_, frame) in self.others.items()}
        for name, frame in everything.items():
            self.csv(f"predictions/{name}.csv", frame)
        if self.config["evaluation"]["temperature_scaling"]:
            for name in everything:
                scaled = self.array(everything[name]) ** 0.7
                frame = self.frame(scaled / scaled.sum(axis=1, keepdims=True))
                self.others[f"{name}-temperature"] = ("temperature", frame)

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

    # ---- tables -----------------------------------------------------------------------
    def kinds(self) -> dict[str, tuple[str, pd.DataFrame]]:
        table = {name: ("single", frame) for name, frame in self.singles.items()}
        table |= {name: ("ensemble", frame) for name, frame in self.ensembles.items()}
        return table | self.others

    def tables(self) -> None:
        metrics, confusion, calibration, bins = [], [], [], []
        everything = self.kinds()
        self.values: dict[tuple[str, str], dict[str, float]] = {}
        for name, (kind, frame) in everything.items():
            scaled_from = name.removesuffix("-temperature") if kind == "temperature" else ""
            family, _, replicate = (scaled_from or name).rpartition("-r")
            for split in ("val", "ensemble", "test"):
                keep = (frame["split"] == split).to_numpy()
                counts = self.confusion(frame, split)
                p, truth = self.array(frame)[keep], self.truth[keep]
                patients = frame["patient_id"][keep].nunique()
                values = self.metrics(counts, p, truth)
                self.values[name, split] = values
                for metric, value in values.items():
                    half = 1.96 * np.sqrt(max(value * (1 - value), 1e-4) / len(p))
                    low, high = value - half, min(value + half, 1.0)
                    row = (name, kind, family or name, replicate, split, metric, value, low, high)
                    metrics.append((*row, "percentile", len(p), patients, "", scaled_from))
                    if metric == "mcc":
                        metrics.append((*row, "binomial", len(p), patients, "", scaled_from))
                for a, b in itertools.product(range(len(self.classes)), repeat=2):
                    cell = (self.classes[a], self.classes[b], int(counts[a, b]))
                    confusion.append((name, split, *cell))
                if split == "test":
                    found = self.reliability(name, split, p, truth)
                    bins += [(*one, scaled_from) for one in found]
                    row = {"model": name, "kind": kind, "split": split}
                    calibration.append(row | {"ece": values["ece"], "brier": values["brier"]})
        columns = "model kind family replicate split metric value ci_low ci_high ci_method"
        columns += " n n_patients reason scaled_from"
        self.csv("tables/metrics.csv", metrics, columns.split())
        columns = ["model", "split", "label", "predicted", "count"]
        self.csv("tables/confusion.csv", confusion, columns)
        columns = ["model", "split", "bin", "n", "confidence", "accuracy", "ci_low", "ci_high"]
        columns.append("scaled_from")
        self.csv("tables/calibration.csv", bins, columns)
        self.curves(everything)
        self.ranks()
        self.spread()
        self.significance()
        self.optimism()
        self.diversity()
        self.degenerate()

    def degenerate(self) -> None:
        """As though the last loss never predicted the first class."""
        name, patients = f"{self.losses[-1]}-r0", self.counts["test"] - 9
        row = (name, "single", "test", "class_never_predicted", self.classes[0], 7)
        columns = "model kind split problem class value n n_patients"
        rows = [(*row, self.counts["test"], patients)] if len(self.losses) > 1 else []
        self.csv("tables/degenerate.csv", rows, columns.split())

    def metrics(self, counts: np.ndarray, p: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        said, total = p.argmax(axis=1), counts.sum()
        right = np.diag(counts)
        recall = right / np.maximum(counts.sum(axis=1), 1)
        precision = right / np.maximum(counts.sum(axis=0), 1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        share = counts.sum(axis=1) / total
        accuracy = right.sum() / total
        chance = counts.sum(axis=1) @ counts.sum(axis=0) / total**2
        target = np.eye(len(self.classes))[truth]
        confidence = p.max(axis=1)
        order = np.array_split(np.argsort(confidence, kind="stable"), 15)
        gaps = [len(i) * abs((said == truth)[i].mean() - confidence[i].mean()) for i in order]
        values = {
            "accuracy": accuracy,
            "balanced_accuracy": recall.mean(),
            "precision": share @ precision,
            "recall": share @ recall,
            "f1": share @ f1,
            "mcc": _mcc(counts),
            "kappa": (accuracy - chance) / (1 - chance),
            "auroc": self.auc(p.ravel(), target.ravel()),
            "auprc": self.average_precision(p.ravel(), target.ravel()),
            "log_loss": -np.log(np.clip((p * target).sum(axis=1), 1e-7, 1)).mean(),
            "brier": ((p - target) ** 2).sum(axis=1).mean(),
            "ece": sum(gaps) / total,
        }
        for k, name in enumerate(self.classes):
            values |= {f"recall_{name}": recall[k], f"precision_{name}": precision[k]}
            values[f"auroc_{name}"] = self.auc(p[:, k], target[:, k])
            values[f"auprc_{name}"] = self.average_precision(p[:, k], target[:, k])
        return {metric: float(value) for metric, value in values.items()}

    @staticmethod
    def auc(score: np.ndarray, positive: np.ndarray) -> float:
        ranks = pd.Series(score).rank().to_numpy()
        n = positive.sum()
        return (ranks[positive > 0].sum() - n * (n + 1) / 2) / (n * (len(positive) - n))

    @staticmethod
    def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
        hits = positive[np.argsort(-score, kind="stable")]
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        return (precision * hits).sum() / hits.sum()

    def reliability(self, name: str, split: str, p: np.ndarray, truth: np.ndarray) -> list[tuple]:
        confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
        rows = []
        for number, index in enumerate(np.array_split(np.argsort(confidence, kind="stable"), 15)):
            rate, half = right[index].mean(), 1.0 / np.sqrt(len(index))
            low, high = max(0.0, rate - half), min(1.0, rate + half)
            row = (name, split, number, len(index), confidence[index].mean(), rate, low, high)
            rows.append(row)
        return rows

    def curves(self, everything: dict[str, tuple[str, pd.DataFrame]]) -> None:
        grid = np.linspace(0, 1, 101 if len(self.replicates) < 4 else 21)
        parts = []
        for name, (kind, frame) in everything.items():
            if kind == "temperature":
                continue
            keep = (frame["split"] == "test").to_numpy()
            p, target = self.array(frame)[keep], np.eye(len(self.classes))[self.truth[keep]]
            arms = {"micro": (p.ravel(), target.ravel())}
            arms |= {c: (p[:, k], target[:, k]) for k, c in enumerate(self.classes)}
            for label, (score, positive) in arms.items():
                hits = positive[np.argsort(-score, kind="stable")]
                true, false = hits.cumsum(), (1 - hits).cumsum()
                recall = np.r_[0, true / true[-1]]
                roc = np.interp(grid, np.r_[0, false / false[-1]], recall)
                precision = np.r_[1, true / (true + false)]
                pr = np.interp(grid, recall, precision)
                for curve, y in (("roc", roc), ("pr", pr)):
                    columns = {"model": name, "split": "test", "curve": curve, "class": label}
                    columns |= {"x": grid, "y": y}
                    columns |= {"y_low": (y - 0.05).clip(0, 1), "y_high": (y + 0.04).clip(0, 1)}
                    parts.append(pd.DataFrame(columns))
        self.csv("tables/curves.csv", pd.concat(parts))

    def ranks(self) -> None:
        rows = []
        for kind, models in (("single", self.singles), ("ensemble", self.ensembles)):
            if not models:
                continue
            value = np.array([self.values[name, "test"]["mcc"] for name in models])
            draws = value + self.rng.normal(0, 0.03, (2000, len(value)))
            rank = (-draws).argsort(axis=1).argsort(axis=1) + 1
            for k, name in enumerate(models):
                row = (name, kind, "test", "mcc", value[k], (rank[:, k] == 1).mean())
                row += ((rank[:, k] <= 3).mean(), rank[:, k].mean())
                row += (*np.quantile(rank[:, k], [0.025, 0.975]), 2000, *self.tested)
                rows.append(row)
        columns = "model kind split metric value p_best p_top3 rank rank_low rank_high resamples"
        columns += " n n_patients"
        self.csv("tables/rank.csv", rows, columns.split())

    @property
    def tested(self) -> tuple[int, int]:
        """Test images, and patients."""
        return self.counts["test"], self.counts["test"] - 9

    def spread(self) -> None:
        rows = []
        families: dict[tuple[str, str], list[str]] = {}
        for kind, models in (("single", self.singles), ("ensemble", self.ensembles)):
            for name in models:
                families.setdefault((kind, name.rpartition("-r")[0]), []).append(name)
        for (kind, family), names in families.items():
            for metric in ("mcc", "accuracy", "ece", "log_loss"):
                values = [self.values[name, "test"][metric] for name in names]
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
                row = (family, kind, "test", metric, len(values), np.mean(values), spread)
                runs = ";".join(f"{value:.6g}" for value in values)
                several = len(values) > 1
                parts = (0.02, 0.03, 2 / 3) if several else (np.nan, 0.03, np.nan)
                warning = "" if several else "one seed: the spread between seeds is unknown"
                row += (min(values), max(values), runs, *parts, warning)
                rows.append((*row, *self.tested))
        columns = [
            "family",
            "kind",
            "split",
            "metric",
            "replicates",
            "mean",
            "sd",
            "minimum",
            "maximum",
            "runs",
            "seed_sd",
            "loss_sd",
            "seed_to_loss",
            "warning",
            "n",
            "n_patients",
        ]
        table = self.csv("tables/replicates.csv", rows, columns)
        self.crossed(table[(table["kind"] == "single") & (table["metric"] == "mcc")])
        self.calibration_pairs()

    def crossed(self, table: pd.DataFrame) -> None:
        """Every loss against the baseline, over the seeds."""
        means = table.set_index("family")["mean"]
        rows = []
        for loss in self.losses[1:]:
            difference = means[loss] - means[self.losses[0]]
            low, high = difference - 0.06, difference + 0.06
            p = 0.04 if low > 0 or high < 0 else 0.6
            row = (loss, self.losses[0], "mcc", difference, low, high, 0.01, 0.03, p, p, p < 0.05)
            runs = len(self.replicates)
            rows.append((*row, "against_baseline", runs, runs, *self.tested, ""))
        columns = (
            "loss_a loss_b metric difference ci_low ci_high se_seed se_patient p_value p_adjusted "
            "reject family replicates_a replicates_b n n_patients warning"
        )
        self.csv("tables/replicate_comparisons.csv", rows, columns.split())

    def calibration_pairs(self) -> None:
        """Calibrated losses against their plain forms, by seed and over the seeds."""
        rows = []
        for loss, plain in CALIBRATED.items():
            if not {loss, plain} <= set(self.losses):
                continue
            names = list(self.replicates)
            errors = [
                [self.values[f"{name}-r{r}", "test"]["ece"] for r in names]
                for name in (loss, plain)
            ]
            differences = dict(zip(names, np.subtract(*errors), strict=True))
            if len(names) > 1:
                differences["mean"] = float(np.mean(list(differences.values())))
            for replicate, difference in differences.items():
                for version, moved in (("raw", 0.0), ("prior_corrected", 0.01)):
                    value = difference + moved
                    row = (loss, plain, replicate, version, "ece", value, value - 0.05)
                    rows.append((*row, value + 0.05, 0.3, "", *self.tested))
        columns = (
            "loss plain replicate version metric difference ci_low ci_high p_value reason n "
            "n_patients"
        )
        self.csv("tables/calibration_comparisons.csv", rows, columns.split())

    def significance(self) -> None:
        rows = []
        members = pd.read_csv(self.results / "ensembles" / "members.csv")
        pairs = [
            ("against_best_member", ensemble, part["member"].iloc[0])
            for ensemble, part in members.groupby("ensemble", sort=False)
        ]
        seeds = [name for name, (kind, _) in self.others.items() if kind == "seed_ensemble"]
        for r in self.replicates:
            mine = [name for name in self.ensembles if name.endswith(f"-r{r}")]
            pairs += [("against_seed_ensemble", a, b) for a in mine for b in seeds]
        for name in [*self.singles, *self.ensembles]:
            r = name.rpartition("-r")[2]
            if name != f"cce-r{r}":
                pairs.append(("against_baseline", name, f"cce-r{r}"))
        ablated = [name for name, (kind, _) in self.others.items() if kind == "ablation"]
        pairs += [("ablations", name, f"cce-r{name.rpartition('-r')[2]}") for name in ablated]
        calibrated = ("cce", "kl_divergence", "focal", "hinge")
        for family, twins in (
            (
                "noise_floor",
                [("kl_divergence", "cce"), ("calibrated_kl_divergence", "calibrated_cce")],
            ),
            ("calibrated_against_plain", [(f"calibrated_{name}", name) for name in calibrated]),
        ):
            for (a, b), r in itertools.product(twins, self.replicates):
                if {a, b} <= set(self.losses):
                    pairs.append((family, f"{a}-r{r}", f"{b}-r{r}"))
        for family, a, b in pairs:
            arms = [(m, t) for t in ("permutation", "bootstrap") for m in ("mcc", "accuracy")]
            arms += [(f"auroc_{name}", "delong") for name in self.classes]
            arms.append(("accuracy", "mcnemar"))
            if family == "calibrated_against_plain":
                arms = [(metric, "bootstrap") for metric in ("ece", "brier", "log_loss")]
            for metric, test in arms:
                difference = self.values[a, "test"][metric] - self.values[b, "test"][metric]
                spread = 0.035 if not metric.startswith("auroc") else 0.02
                z = difference / spread
                p = float(np.clip(np.exp(-0.717 * abs(z) - 0.416 * z * z), 1e-4, 1))
                row = (a, b, metric, difference, difference - 2 * spread, difference + 2 * spread)
                plain = test == "permutation" or family == "calibrated_against_plain"
                rows.append((*row, test, z, p, family if plain else f"{family} ({test})"))
        for r in self.replicates:
            row = (f"{len(self.losses)} single models, r{r}", "", "accuracy", *[np.nan] * 3)
            rows.append((*row, "cochran_q", 21.3, 0.03, "single_models"))
        columns = "model_a model_b metric difference ci_low ci_high test statistic p_value family"
        table = pd.DataFrame(rows, columns=columns.split())
        size = table.groupby("family")["p_value"].transform("size")
        table["p_adjusted"] = (table["p_value"] * size).clip(upper=1.0)
        table["reject"] = table["p_adjusted"] <= self.config["significance"]["alpha"]
        counts = {"n": self.counts["test"], "n_patients": self.counts["test"] - 9}
        table = table.assign(reason="", permutations=10000, **counts)
        order = "model_a model_b metric difference ci_low ci_high test statistic p_value"
        order += " p_adjusted reject family reason permutations n n_patients"
        self.csv("tables/significance.csv", table[order.split()])

    def optimism(self) -> None:
        rows = []
        entries = [(f"best_single-r{r}", "best_single", 1, r) for r in self.replicates]
        for name in self.ensembles:
            method, _, rest = name.partition("-top")
            if rest and method != "model_level":
                k, _, r = rest.partition("-r")
                entries.append((name, method, int(k), int(r)))
        for name, method, k, r in entries:
            model = name if name in self.ensembles else f"{self.losses[0]}-r{r}"
            for metric in ("mcc", "accuracy", "auroc"):
                ours = self.values[model, "test"][metric]
                gap = abs(self.rng.normal(0.015, 0.01))
                row = (name, method, k, r, metric, ours, ours + gap, gap, gap - 0.02, gap + 0.02)
                rows.append((*row, self.counts["test"], self.counts["test"], 200, "", "no result"))
        columns = "ensemble method k replicate metric ours as_published difference ci_low ci_high"
        columns += " n n_patients resamples reason label"
        self.csv("tables/optimism.csv", rows, columns.split())

    def diversity(self) -> None:
        rows = []
        for r in self.replicates:
            names = [f"{loss}-r{r}" for loss in self.losses]
            keep = (self.rows["split"] == "test").to_numpy()
            right = {
                name: self.array(self.singles[name])[keep].argmax(1) == self.truth[keep]
                for name in names
            }
            for a, b in itertools.combinations(names, 2):
                both, neither = (right[a] & right[b]).sum(), (~right[a] & ~right[b]).sum()
                only_a, only_b = (right[a] & ~right[b]).sum(), (~right[a] & right[b]).sum()
                product, cross = both * neither, only_a * only_b
                q = (product - cross) / (product + cross) if product + cross else np.nan
                phi = np.corrcoef(right[a], right[b])[0, 1]
                row = (
                    "test",
                    a,
                    b,
                    "losses",
                    q,
                    (only_a + only_b) / keep.sum(),
                    neither / keep.sum(),
                )
                rows.append((*row, phi, keep.sum(), keep.sum(), ""))
        columns = "split model_a model_b differs q_statistic disagreement double_fault"
        columns += " error_correlation n n_patients reason"
        self.csv("tables/diversity.csv", rows, columns.split())

    # ---- Grad-CAM ---------------------------------------------------------------------
    def gradcam(self) -> None:
        test = self.manifest[self.manifest["split"] == "test"]
        ablated = {name: frame for name, (kind, frame) in self.others.items() if kind == "ablation"}
        frames = {**self.singles, **self.ensembles, **ablated}
        names = [*self.singles, *(n for n in self.ensembles if n.startswith("model_level-top"))]
        names += ablated
        folder = self.results / "gradcam"
        folder.mkdir(parents=True, exist_ok=True)
        size, rows = 8, []
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
            if self.config["gradcam"]["lesions"]:
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
        for metric in ("lung_share", "pointing_game", "energy_pointing_game"):
            if metric == "lung_share" or self.config["gradcam"]["lesions"]:
                row = ("uniform", "baseline", metric, np.nan, 0.3, 0.28, 0.32, "percentile")
                rows.append((*row, len(test), test["patient_id"].nunique(), 0, "1 x 1", ""))
        columns = "model kind metric threshold value ci_low ci_high ci_method n n_patients"
        columns += " n_flat grid reason"
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
