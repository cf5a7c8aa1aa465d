"""One training of the default study as its job runs it, and the CPU of its phases as JSON.

`_training_job.py CHECKOUT FOLDER`: FOLDER has the results of the default study; what is written
goes elsewhere. Times are CPU seconds of the process, which begin with it.
"""

import json
import os
import runpy
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

SPENT: dict[str, float] = defaultdict(float)


def timed(owner: Any, name: str, phase: str) -> None:
    """Let a function tell how long it takes."""
    inner = getattr(owner, name)

    def outer(*args: Any, **options: Any) -> Any:
        begun = time.process_time()
        try:
            return inner(*args, **options)
        finally:
            SPENT[phase] += time.process_time() - begun

    setattr(owner, name, outer)


class Named(SimpleNamespace):
    """Files or parameters by name, and one after the other."""

    def __iter__(self):
        yield from vars(self).values()

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def job(root: Path, results: Path, out: Path) -> SimpleNamespace:
    """What Snakemake hands to the script."""
    from multiloss import config as configuration
    from multiloss.study import Study

    config = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    config = configuration.validate(config)
    variant = Study(config).variants["cce"]
    threads = config["resources"]["training"]["threads"]
    return SimpleNamespace(
        rule="train",
        wildcards=Named(variant="cce", replicate="0"),
        log=[],
        resources={"gpu": 0},
        input=Named(
            manifest=results / "data/manifest.csv",
            images=results / "crops/images.npy",
            encoder=results / "segmentation/encoder.keras",
        ),
        output=Named(
            model=out / "0.keras",
            history=out / "0.history.csv",
            versions=out / "0.versions.json",
            probabilities=out / "0.probabilities.npy",
        ),
        params=Named(
            name="cce-r0", loss=variant.loss, class_weights=variant.class_weights,
            classes=config["classes"], backbone=config["classification"]["backbone"],
            from_segmenter=True, training=variant.training, augmentation=variant.augmentation,
            seed=config["seed"], tensorflow_threads=threads,
        ),
    )  # fmt: skip


def watch() -> None:
    """Have the phases of a training told apart; to be called when all is imported."""
    from multiloss.networks import classifier, prediction, training

    timed(prediction, "load_model", "build")
    timed(classifier, "build_classifier", "build")
    timed(training.Checkpoint, "save", "checkpoints")
    timed(prediction, "save_model", "writing")
    timed(training, "fit", "fit")
    validation, batches = classifier.validation, training.ahead

    def watched(*args: Any) -> Callable[[], dict[str, float]]:
        holder = SimpleNamespace(validate=validation(*args))
        timed(holder, "validate", "validation")
        return holder.validate

    def first_apart(given: Any):
        for step, batch in enumerate(batches(given)):
            begun = time.process_time()
            yield batch
            if step == 0 and "trace and first step" not in SPENT:
                SPENT["trace and first step"] = time.process_time() - begun

    classifier.validation, training.ahead = watched, first_apart


def main(root: Path, results: Path) -> None:
    sys.path[:0] = [str(root / "workflow")]
    import multiloss.networks.classifier
    import multiloss.networks.training  # noqa: F401

    SPENT["import"] = time.process_time()
    watch()
    with tempfile.TemporaryDirectory() as out:
        os.chdir(out)  # where the frame of scripts puts its records
        given = job(root, results, Path(out))
        begun = time.process_time()
        runpy.run_path(str(root / "workflow/scripts/train.py"), {"snakemake": given})
        whole = time.process_time() - begun
    phases = dict(SPENT)
    # Within `fit` lie validation and checkpoints; the model itself is written after it.
    checkpoints = phases.pop("checkpoints")
    inside = phases["trace and first step"] + phases["validation"] + checkpoints
    phases["steps"] = phases.pop("fit") - inside
    phases["writing"] += checkpoints
    phases["the rest"] = whole + phases["import"] - sum(phases.values())
    print(json.dumps(phases))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) / "results" / "demo")
