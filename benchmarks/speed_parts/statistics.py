"""How long the tables of a study take, and how much memory those of many images.

Made-up predictions of three classes. First the resampled metrics alone: one to three images a
patient, 2,000 resamples of the patients, on one thread. Seconds per image and model rise somewhat
with the number of images, as their arrays outgrow the processor's cache; sorting counts for little.

Then all that rules compute from the predictions of a wide study, as Snakemake runs it on two cores:
each rule a process of its own that reads them all. As many images in `val` and `ensemble` as the
published data set has with the default shares. Seconds of single rules are those of a clock, the
runs of a rule added up, while another rule has the other core.
"""

import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from multiloss import evaluation
from multiloss.predictions import Predictions
from speed import ROOT, Measurement, at_most

MODELS, IMAGES, MANY_IMAGES = 25, 624, 25_000
CLASSES = ("normal", "bacterial", "viral")
VARIANTS, REPLICATES, OTHER_IMAGES = 60, 5, 785
# Of the rules after the trainings those that need no network, and what of theirs is asked for.
RULES = [
    "rank",
    "ensemble",
    "ensemble_tables",
    "seed_ensemble",
    "evaluate",
    "calibration",
    "usefulness",
    "significance",
    "replicates",
    "against_baseline",
    "verdicts",
    "diversity",
    "optimism",
    "prediction_sets",
]
TABLES = [
    "metrics",
    "calibration",
    "net_benefit",
    "significance",
    "replicates",
    "against_baseline",
    "verdicts",
    "diversity",
    "optimism",
    "prediction_sets",
]
OPTIONS = {"resamples": 2000, "interval": "auto", "confidence": 0.95, "ece_bins": 15}


def measure() -> list[Measurement]:
    """CPU and peak memory of `evaluation.metrics_table`, each size in a process of its own, and
    how long all tables of a wide study take."""
    usual, _ = _apart(MODELS, IMAGES)
    half, _ = _apart(1, MANY_IMAGES // 2)
    whole, memory = _apart(1, MANY_IMAGES)
    return [
        at_most(f"{MODELS} models, n = {IMAGES}", usual, "s of CPU", 10),
        Measurement(f"1 model, n = {MANY_IMAGES // 2:,}", half, "s of CPU"),
        Measurement(f"1 model, n = {MANY_IMAGES:,}", whole, "s of CPU"),
        # Within 15% of linear.
        at_most("twice the images take so many times as long", whole / half, "times", 2.3),
        at_most(f"peak memory, n = {MANY_IMAGES:,}", memory, "GB", 1.5),
        *wide_study(VARIANTS, REPLICATES, IMAGES, OTHER_IMAGES),
    ]


def made_up(models: int, images: int) -> Predictions:
    """Predictions of the test split by models of some skill."""
    rng = np.random.default_rng(0)
    sizes = rng.choice([1, 1, 1, 2, 3], images)
    patient = np.repeat(np.arange(images), sizes)[:images]
    label = rng.integers(0, len(CLASSES), images)[patient]
    score = np.exp(rng.normal(size=(models, images, 3)) + 1.5 * np.eye(3)[label])
    rows = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(images)],
            "patient_id": [f"p{k}" for k in patient],
            "split": "test",
            "label": np.array(CLASSES)[label],
        }
    )
    p = score / score.sum(axis=2, keepdims=True)
    return Predictions(rows, [f"m{k}" for k in range(models)], list(CLASSES), p)


def wide_study(variants: int, replicates: int, test: int, others: int) -> list[Measurement]:
    """The whole evaluation of a study on two cores, against three minutes, and of each rule.

    `test`: images of the test split, `others`: of `val` and of `ensemble`.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    from synthetic_results import LOSSES, make

    losses = [
        {"name": LOSSES[k % len(LOSSES)]} | ({"as": f"variant{k}"} if k >= len(LOSSES) else {})
        for k in range(variants)
    ]
    named = f"{variants} variants x {replicates} replicates"
    with tempfile.TemporaryDirectory() as folder:
        made = make(
            Path(folder),
            test_images=test,
            counts={"val": others, "ensemble": others},
            losses=losses,
            replicates=replicates,
            gradcam=False,
            save_images=False,
            with_tables=False,
        )
        # Made up as well.
        shutil.rmtree(made.results / "benchmarks")
        config = Path(folder, "study.yaml")
        config.write_text(yaml.safe_dump(made.config), encoding="utf-8")
        tables = [f"results/{made.config['study']}/tables/{name}.csv" for name in TABLES]
        command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
        command += ["--directory", folder, "--configfile", config, "--cores", "2"]
        command += ["--allowed-rules", *RULES, "--", *tables]
        begun, before = time.monotonic(), os.times()
        subprocess.run(command, capture_output=True, check=True)
        seconds, after = time.monotonic() - begun, os.times()
        by_rule: Counter[str] = Counter()
        for path in (made.results / "benchmarks").rglob("*.tsv"):
            rule = path.relative_to(made.results / "benchmarks").parts[0].removesuffix(".tsv")
            with open(path, encoding="utf-8") as file:
                by_rule[rule] += sum(
                    float(row["s"]) for row in csv.DictReader(file, delimiter="\t")
                )
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return [
        at_most(f"evaluation of {named}, 2 cores", seconds, "s", 180),
        Measurement(f"evaluation of {named}, Snakemake with its jobs", used, "s of CPU"),
        *(Measurement(f"{named}: {rule}", took, "s") for rule, took in by_rule.most_common()),
    ]


def _apart(models: int, images: int) -> tuple[float, float]:
    """Seconds of CPU and the peak of memory in GB, of a new process."""
    code = f"import speed_parts.statistics as part; part.tell({models}, {images})"
    path = f"import sys; sys.path[:0] = {[str(ROOT / name) for name in ('workflow', 'benchmarks')]}"
    done = subprocess.run(
        [sys.executable, "-c", f"{path}; {code}"], capture_output=True, text=True, check=True
    )
    seconds, memory = done.stdout.split()
    return float(seconds), float(memory)


def tell(models: int, images: int) -> None:
    """Print seconds of CPU and the peak of memory in GB of this process."""
    found = made_up(models, images)
    entries = {
        model: {"kind": "single", "family": model, "variant": model, "replicate": 0}
        for model in found.models
    }
    before = time.process_time()
    evaluation.metrics_table(found, entries, OPTIONS, 1)
    seconds = time.process_time() - before
    # In kilobytes; macOS alone counts bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)
