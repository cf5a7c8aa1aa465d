"""How long the resampled metrics of many models take, and how much memory those of many images.

Made-up predictions of three classes, one to three images a patient, 2,000 resamples of the
patients, on one thread. Seconds per image and model rise somewhat with the number of images, as
their arrays outgrow the processor's cache; sorting counts for little.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from multiloss import evaluation
from multiloss.predictions import Predictions
from speed import ROOT, Measurement, at_most

MODELS, IMAGES, MANY_IMAGES = 25, 624, 25_000
CLASSES = ("normal", "bacterial", "viral")
OPTIONS = {"resamples": 2000, "interval": "auto", "confidence": 0.95, "ece_bins": 15}


def measure() -> list[Measurement]:
    """CPU and peak memory of `evaluation.metrics_table`, each size in a process of its own."""
    usual, _ = _apart(MODELS, IMAGES)
    half, _ = _apart(1, MANY_IMAGES // 2)
    whole, memory = _apart(1, MANY_IMAGES)
    return [
        at_most(f"{MODELS} models, n = {IMAGES}", usual, "s of CPU", 10),
        Measurement(f"1 model, n = {MANY_IMAGES // 2:,}", half, "s of CPU"),
        Measurement(f"1 model, n = {MANY_IMAGES:,}", whole, "s of CPU"),
        Measurement("twice the images take so many times as long", whole / half, "times"),
        at_most(f"peak memory, n = {MANY_IMAGES:,}", memory, "GB", 1.5),
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
