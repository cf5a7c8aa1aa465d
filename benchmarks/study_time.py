#!/usr/bin/env python3
"""How long a study takes on some number of GPUs, from the benchmark files of a smaller one.

    python benchmarks/study_time.py results/real-mini tests/studies/real-mini.yaml \
        workflow/studies/paper.yaml --gpus 1 4 16 --speedup 40

The cost of a step that runs a network is taken as start-up + (images passed through it) x
(pixels of an image) x (seconds per pixel as measured); the published study's numbers of images
are those of its public sources. Steps without a network grow with the pixels of the original
images, statistics with the number of test images. Where one step waits for all jobs of another
(scores, ranking), so does the sum; within a step the longest job goes first to the GPU that is
free first. Trainings count with all their epochs, so early stopping makes a study shorter.

`--speedup` is how much faster one GPU is than the `threads` of one job of the measured study.
It is an assumption until you measure: run the small study on your GPU (`resources: training:
gpu: 1`), give its results here, and `--speedup 1`.
"""

import argparse
import heapq
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from multiloss import config as configuration  # noqa: E402
from multiloss.job.summary import step_times  # noqa: E402
from multiloss.study import Study  # noqa: E402

# Seconds of a job of which TensorFlow's start and the compilation of the graphs are the most.
START_UP = {"train_segmenter": 25.0, "train": 15.0, "model_level": 8.0}
OTHER_START_UP = 6.0
# A step of training costs about three passes forward: one forward and two back.
TRAINING_PASS = 3.0


@dataclass(frozen=True)
class Size:
    """Numbers of images of a study, and millions of pixels of an original image on average."""

    train: int
    val: int
    predicted: int
    test: int
    total: int
    megapixels: float
    lungs_train: int
    lungs_val: int
    lungs_test: int
    lungs_megapixels: float


# The public sources: 5,856 images, 5,232 of them for training, divided 70/15/15 and less about
# 170 patients that recur in the shipped test folder are not subtracted (an upper bound). Lungs:
# 566 pairs to learn from (15% of them validate), 138 to test on. Pixels: Kermany about 1,328 x
# 971, Shenzhen about 3,000 x 3,000, Montgomery 4,892 x 4,020.
PUBLISHED = Size(3662, 785, 785 + 785 + 624, 624, 5856, 1.29, 481, 85, 138, 12.0)


def size_of(results: Path) -> Size:
    """The numbers of a study that was run, from its manifests."""
    images = pd.read_csv(results / "data/manifest.csv", usecols=["split", "width", "height"])
    lungs = pd.read_csv(results / "data/lungs.csv", usecols=["split", "width", "height"])

    def megapixels(table: pd.DataFrame) -> float:
        return float((table["width"] * table["height"]).mean() / 1e6)

    n, m = images["split"].value_counts(), lungs["split"].value_counts()
    return Size(
        *(int(n["train"]), int(n["val"]), int(len(images) - n["train"])),
        *(int(n["test"]), len(images), megapixels(images)),
        *(int(m["train"]), int(m["val"]), int(m["test"]), megapixels(lungs)),
    )


def work(config: Mapping[str, Any], size: Size) -> dict[str, float]:
    """What each step has to do in one job, in units that its time is proportional to."""
    segmentation, classification = config["segmentation"], config["classification"]
    small = segmentation["image_size"] ** 2 / 1e6
    crop = classification["image_size"] ** 2 / 1e6
    u_nets, head = segmentation["training"], config["ensembles"]["model_level"]["training"]
    epochs = classification["training"]["epochs"]
    # Heads see features at 1/16 of the side.
    features = crop / 256
    return {
        "train_segmenter": u_nets["epochs"]
        * (TRAINING_PASS * size.lungs_train + size.lungs_val) * small,
        "train": (epochs * (TRAINING_PASS * size.train + size.val) + size.predicted) * crop,
        "model_level": head["epochs"] * (TRAINING_PASS * size.train + size.val) * features,
        "score_segmenters": (2 * size.lungs_val + size.lungs_test) * size.lungs_megapixels,
        "mask": size.total * size.megapixels,
        "crop": size.total * size.megapixels,
        "manifest": size.total * size.megapixels + size.lungs_megapixels * (
            size.lungs_train + size.lungs_val + size.lungs_test
        ),
        "lungs": (size.lungs_train + size.lungs_val + size.lungs_test) * size.lungs_megapixels,
        "features": size.total * crop,
        "gradcam": size.test * crop,
        "localisation": size.test * size.megapixels,
    }  # fmt: skip


def seconds_of_jobs(
    measured: Path, measured_config: Mapping[str, Any], config: Mapping[str, Any], size: Size
) -> dict[str, float]:
    """Expected seconds of one job of each step on the machine that was measured."""
    before, after = work(measured_config, size_of(measured)), work(config, size)
    test_images = size.test / size_of(measured).test
    expected = {}
    for step in step_times(measured):
        start_up = START_UP.get(step.rule, OTHER_START_UP)
        each = step.seconds / step.jobs
        growth = after[step.rule] / before[step.rule] if step.rule in after else test_images
        expected[step.rule] = min(start_up, each) + max(0.0, each - start_up) * growth
    return expected


def makespan(jobs: Iterable[float], machines: int) -> float:
    """Time until all jobs are done, the longest first on the machine that is free first."""
    ends = [0.0] * machines
    for job in sorted(jobs, reverse=True):
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)


# In the order in which one waits for the other, with the number of jobs of each.
GPU_STAGES = (
    ("train_segmenter",), ("mask",), ("train",), ("features",), ("model_level",), ("gradcam",),
)  # fmt: skip
CPU_STAGES = (
    "manifest", "splits", "lungs", "score_segmenters", "crop", "ensemble", "evaluate",
    "significance", "calibration", "localisation", "optimism", "figure", "report",
)  # fmt: skip


def hours(
    config: Mapping[str, Any], seconds: Mapping[str, float], gpus: int, speedup: float
) -> float:
    """Hours of the whole study; on the CPU as many jobs run at a time as are ready."""
    models = Study(config).models
    kinds = [model.kind for model in models.values()]
    explained = sum(kind in ("single", "ablation") for kind in kinds)
    trained = explained + kinds.count("seed")
    heads = sum(model.level == "model" for model in models.values())
    number = {
        "train_segmenter": len(config["segmentation"]["losses"]),
        "train": trained,
        "features": config["replicates"],
        "model_level": heads,
        "gradcam": explained + heads,
    }
    total = sum(seconds.get(stage, 0.0) for stage in CPU_STAGES)
    for stages in GPU_STAGES:
        total += makespan(
            [seconds.get(s, 0.0) / speedup for s in stages for _ in range(number.get(s, 1))], gpus
        )
    return total / 3600


def load(path: Path) -> dict[str, Any]:
    """A study's configuration, completed as Snakemake completes it."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(config, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    return configuration.validate(config)


def main() -> None:
    """Print the expected times as a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", type=Path, help="results folder of the study that was run")
    parser.add_argument("measured_config", type=Path, help="its configuration file")
    parser.add_argument("config", type=Path, help="configuration file of the study to come")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--speedup", type=float, default=40.0)
    options = parser.parse_args()
    config = load(options.config)
    seconds = seconds_of_jobs(options.measured, load(options.measured_config), config, PUBLISHED)
    print(f"`{config['study']}`, {config['replicates']} training run(s) of each loss, "
          f"one GPU taken as {options.speedup:g} times one measured job:\n")  # fmt: skip
    print("| GPUs | hours, at most | |\n|---|---|---|")
    for gpus in options.gpus:
        found = hours(config, seconds, gpus, options.speedup)
        print(f"| {gpus} | {found:.0f} | {found / 24:.1f} days |")
    train = seconds["train"] / options.speedup / 3600
    print(f"\nOne training of a classifier: {train:.1f} hours with all its epochs.")


if __name__ == "__main__":
    main()
