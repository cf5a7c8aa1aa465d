"""How time and memory of the steps on images grow with their number: 1,000, 4,000 and 16,000.

Made-up radiographs of 512 pixels, all different, through the manifest, lung masks, crops, packing
and prediction at 224 pixels; `train` trains on a fiftieth of them for an epoch and predicts all
others. Time is CPU seconds of a job; "against linear" compares the largest set with the line through
the two smaller ones. Memory is the most that a job held at once.
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import yaml
from speed import ROOT, Measurement, at_most

COUNTS = tuple(map(int, os.environ.get("GROWTH", "1000,4000,16000").split(",")))
SIDE, SIZE = 512, 224
# The jobs that see every image, by what the study does with them.
CROPPED = ("manifest", "mask", "crop", "train")
WHOLE = ("pack",)
TARGETS = {True: "predictions/cce-r0.csv", False: "data/images.npy"}


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        jobs = [_study(Path(folder), count) for count in COUNTS]
    found = []
    for rule in (*CROPPED, *WHOLE):
        seconds, memory = zip(*(own[rule] for own in jobs), strict=True)
        slope = (seconds[1] - seconds[0]) / (COUNTS[1] - COUNTS[0])
        line = seconds[0] + slope * (COUNTS[2] - COUNTS[0])
        found += [
            Measurement(f"{rule}: {COUNTS[2]:,} images", seconds[2], "s of CPU"),
            at_most(f"{rule}: time against linear", seconds[2] / line, "times", 1.15),
            at_most(
                f"{rule}: memory of most against fewest images", memory[2] / memory[0], "times", 1.2
            ),
            at_most(f"{rule}: memory, {COUNTS[2]:,} images", memory[2] / 1000, "GB", 2),
        ]
    return found


def _study(folder: Path, count: int) -> dict[str, tuple[float, float]]:
    """CPU seconds and largest memory (MB) by rule."""
    images = folder / f"images-{count}"
    _write(images, count)
    found = {}
    for cropped, target in TARGETS.items():
        study = f"growth-{count}-{'crops' if cropped else 'whole'}"
        path = folder / f"{study}.yaml"
        path.write_text(yaml.safe_dump(_config(study, images, cropped)), encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
             "--cores", "2", "--configfile", str(path), "--directory", str(folder),
             f"results/{study}/{target}"],
            check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for own in (folder / "results" / study / "benchmarks").rglob("*.tsv"):
            rule = own.relative_to(folder / "results" / study / "benchmarks").parts[0]
            with open(own, encoding="utf-8", newline="") as file:
                row = list(csv.DictReader(file, delimiter="\t"))[-1]
            found[rule.removesuffix(".tsv")] = float(row["cpu_time"]), float(row["max_rss"])
    return found


def _write(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    lungs = np.exp(-(((x - 0.3) / 0.15) ** 2) - ((y - 0.5) / 0.3) ** 2)
    chest = 190 - 120 * (lungs + lungs[:, ::-1])
    for number in range(count):
        place = (
            folder / ("test" if number % 10 else "train") / ("normal", "viral")[number // 10 % 2]
        )
        place.mkdir(parents=True, exist_ok=True)
        noise = cv2.resize(rng.normal(0, 12, (64, 64)), (SIDE, SIDE))
        image = np.clip(chest + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(place / f"{number:05}.jpg"), image)


def _config(study: str, images: Path, cropped: bool) -> dict:
    short = {"epochs": 1, "batch_size": 16}
    sources = [{"name": "own", "role": "classification", "layout": "folders", "url": str(images)}]
    if cropped:
        sources += [
            {"name": role.replace("_", "-"), "role": role, "layout": "phantom", "url": "phantom",
             "phantom": {"images": 12}}
            for role in ("lungs_train", "lungs_test")
        ]  # fmt: skip
    return {
        "study": study,
        "seed": 1,
        "classes": ["normal", "viral"],
        "data": {"sources": sources},
        "splits": {"ratios": {"train": 0.2, "val": 0.4, "ensemble": 0.4}},
        "segmentation": {
            "losses": ["bce"], "ensemble_size": 1, "image_size": SIZE, "training": short
        },
        "crop": {"png_size": SIZE},
        "classification": {
            "losses": ["cce"], "image_size": SIZE, "training": short,
            "encoder_weights": "segmenter" if cropped else "none",
        },
        "ensembles": {"top_k": []},
        "resources": {"data": {"threads": 2}},
    }  # fmt: skip
