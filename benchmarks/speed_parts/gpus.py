"""The training loop on a GPU.

EfficientNet-B0 as rule `train` sets it up, on images in memory, with the kernels that give the same
numbers each time; images per second of the second epoch. Beside it Keras' own `fit` on float arrays
in memory, with whatever kernels; the same steps on a batch that lies on the GPU already, which tell
whether the loop waits for the host; and several trainings on one GPU at once, augmented, together.
Starting up is what the first epoch takes longer than the second: graphs are made and compiled.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from network_runs import run, run_together
from speed import Measurement, gpu

# A file to which each result is added as it comes, one JSON object a line. What it holds is not
# measured again: where time on a GPU is short, a part that was ended is taken up where it was.
KEPT_IN = "MULTILOSS_BENCHMARK_LINES"
STEPS = 60
SHARE_STEPS = 150
Settings = dict[str, Any]


def _loop(size: int, batch: int, **settings: bool) -> tuple[str, Settings]:
    steps = STEPS if size * size * batch < 4e6 else STEPS // 2
    return "gpu_loop", {"size": size, "batch": batch, "steps": steps, **settings}


def _bare(size: int, batch: int) -> tuple[str, Settings]:
    return "bare_fit", {"size": size, "batch": batch, "steps": STEPS, "gpu": True}


def _share(size: int, batch: int, jobs: int) -> tuple[str, Settings]:
    return "gpu_share", {"size": size, "batch": batch, "steps": SHARE_STEPS, "jobs": jobs}


# What tells most comes first.
RUNS = (
    _loop(224, 16),
    _loop(224, 64),
    *(_bare(224, batch) for batch in (16, 64)),
    _loop(512, 16),
    *(_share(64, 8, jobs) for jobs in (1, 2, 4)),
    *(_share(224, 16, jobs) for jobs in (1, 2, 4)),
    _loop(224, 64, mixed_precision=True),
    _loop(512, 64),
    _loop(224, 64, xla=True),
    _loop(512, 64, mixed_precision=True),
    _loop(224, 16, mixed_precision=True),
    _loop(512, 16, mixed_precision=True),
    _loop(224, 16, xla=True),
    _loop(224, 64, xla=True, mixed_precision=True),
    _loop(512, 16, xla=True),
    _loop(512, 64, xla=True),
)


def lacks() -> str | None:
    return None if gpu() else "no GPU is found: nvidia-smi, which comes with its driver, tells none"


def measure() -> list[Measurement]:
    path = os.environ.get(KEPT_IN)
    found = collected(RUNS, Path(path) if path else None, _measured)
    return [row for kind, settings, result in found for row in told(kind, settings, result)]


def collected(
    runs: tuple[tuple[str, Settings], ...],
    path: Path | None,
    measured: Callable[[str, Settings], dict[str, float]],
) -> list[tuple[str, Settings, dict[str, float]]]:
    """The result of each run, from the lines of `path` where it is there, else measured."""
    text = path.read_text(encoding="utf-8") if path and path.is_file() else ""
    # A line that was being written when the part was ended is none.
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if path and not text.endswith("\n"):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = []
    for kind, settings in runs:
        known = [own[2] for own in lines if own[:2] == [kind, settings]]
        result = known[0] if known else measured(kind, settings)
        if path and not known:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps([kind, settings, result]) + "\n")
        found.append((kind, settings, result))
    return found


def _measured(kind: str, settings: Settings) -> dict[str, float]:
    if kind != "gpu_share":
        return run(kind, **settings)
    with tempfile.TemporaryDirectory() as meeting:
        each = [settings | {"meeting": meeting}] * settings["jobs"]
        return {"together": together(run_together(kind, each))}


def together(results: list[dict[str, float]]) -> float:
    """Images per second of trainings at once, from the first that began to the last that ended."""
    begin, end = (min(own["begin"] for own in results), max(own["end"] for own in results))
    return sum(own["images"] for own in results) / (end - begin)


def told(kind: str, settings: Settings, result: dict[str, float]) -> list[Measurement]:
    """A run's numbers, in words."""
    label = f"{settings['size']} px, batches of {settings['batch']}"
    if kind == "bare_fit":
        return [Measurement(f"{label}: Keras' `fit`", result["images_per_second"], "images/s")]
    if kind == "gpu_share":
        jobs = settings["jobs"]
        name = "one training" if jobs == 1 else f"{jobs} trainings on one GPU, together"
        return [Measurement(f"{label}: {name}", result["together"], "images/s")]
    for key, words in (("mixed_precision", "mixed precision"), ("xla", "XLA")):
        label += f", {words}" if settings.get(key) else ""
    return [
        Measurement(f"{label}: the loop", result["still"], "images/s"),
        Measurement(f"{label}: with augmentation", result["moved"], "images/s"),
        Measurement(f"{label}: on a batch that lies on the GPU", result["on_device"], "images/s"),
        Measurement(f"{label}: starting up", result["start_up"], "s"),
    ]
