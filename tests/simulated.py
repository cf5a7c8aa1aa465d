"""Predictions of made-up models, for tests of everything that starts from prediction files."""

import runpy
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jobs import Named
from multiloss import study
from multiloss.ensembles import selection
from multiloss.job.files import write_csv
from multiloss.predictions import Predictions
from multiloss.predictions import table as prediction_table
from multiloss.study import Model, of_replicate

CLASSES = ("normal", "bacterial", "viral")
PREDICTION_LEVEL = ("majority_vote", "simple_average", "weighted_average", "stacking")


def predictions(
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    models: int = 6,
    signal: float = 1.5,
    classes: Sequence[str] = CLASSES,
    replicate: int = 0,
) -> Predictions:
    """`models` single models with correlated errors; signal 0 makes them pure noise.

    Patients have one image or more of one class and lie in one split.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for split, size in (sizes or {"val": 12, "ensemble": 80, "test": 90}).items():
        label_of: dict[int, int] = {}
        for image in range(size):
            # The first images give every class several patients.
            sure = image < 4 * len(classes)
            patient = image if sure else int(rng.integers(size))
            drawn = image % len(classes) if sure else int(rng.integers(len(classes)))
            label = classes[label_of.setdefault(patient, drawn)]
            rows.append((f"{split}-{image}", f"{split}-{patient}", split, label))
    table = pd.DataFrame(rows, columns=["image_id", "patient_id", "split", "label"])
    y = table["label"].map(list(classes).index).to_numpy()
    shared = signal * np.eye(len(classes))[y] + rng.normal(size=(len(y), len(classes)))
    logits = shared + 0.7 * rng.normal(size=(models, *shared.shape))
    p = np.exp(logits * rng.uniform(0.5, 2, (models, 1, 1)))
    names = [f"loss{model}-r{replicate}" for model in range(models)]
    return Predictions(table, names, list(classes), p / p.sum(axis=2, keepdims=True))


def entry(kind: str = "single", variant: str | None = None, replicate: int | None = 0, **more):
    """What `study.entries` tells of a model, as far as tables look at it."""
    family = more.pop("family", variant or "")
    name = of_replicate(family, replicate) if replicate is not None else family
    about = {"loss": variant, **more}
    return asdict(Model(name, kind, family, family, variant, replicate=replicate, **about))


def models_of(predictions: Predictions) -> dict[str, Model]:
    """The single models of `predictions`."""
    replicate = int(predictions.models[0][-1])
    names = [name[: -len("-r0")] for name in predictions.models]
    return {
        model: Model(model, "single", name, name, name, name, replicate)
        for model, name in zip(predictions.models, names, strict=True)
    }


def ranked(predictions: Predictions) -> pd.DataFrame:
    """The ranking of single models."""
    return selection.rank(predictions, study.entries(models_of(predictions).values()))


def entries(
    methods: Sequence[str] = PREDICTION_LEVEL, top_k: Sequence[int] = (3, 5), replicate: int = 0
) -> dict[str, dict[str, object]]:
    """Ensembles as the config lists them."""
    return {
        f"{method}-top{k}-r{replicate}": {
            "method": method,
            "k": k,
            "replicate": replicate,
            "level": "model" if method == "model_level" else "prediction",
            "members": (),
        }
        for method in methods
        for k in top_k
    }


def write(data: Predictions, folder: Path) -> list[str]:
    """Prediction files as the workflow has them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{model}.csv" for model in data.models]
    for path, p in zip(paths, data.p, strict=True):
        write_csv(prediction_table(data.rows, p, data.classes), path)
    return [str(path) for path in paths]


def run_script(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, **parts: Mapping[str, Any]
) -> None:
    """Run a rule's script in this process; `parts` are input, output and params."""
    snakemake = types.SimpleNamespace(**{part: Named(**values) for part, values in parts.items()})
    snakemake.threads = 1
    snakemake.input.get = lambda key: getattr(snakemake.input, key, None)
    monkeypatch.setattr("multiloss.job.script.run", lambda main, _: main(snakemake))
    runpy.run_path(str(root / "workflow" / "scripts" / f"{name}.py"))
