"""The training loop against Keras' own `fit` of the same network on arrays in memory.

Images per second on one thread, without the first epoch, in which graphs are made: medians of three
runs of each side in turn, each in a process of its own. `fit` gets float images and does nothing
else; the loop reads bytes, scales them and, where asked for, augments them.
"""

import statistics

from network_runs import run
from speed import Measurement, at_least

ROUNDS = 3
STEPS = 40
# Side in pixels and images a step.
CLASSIFIERS = ((64, 8), (96, 16), (224, 16))
SEGMENTERS = ((64, 8), (96, 16))


def measure() -> list[Measurement]:
    found = []
    for size, batch in CLASSIFIERS:
        found += _compared("classifier", "bare_fit", "loop", size, batch)
    for size, batch in SEGMENTERS:
        found += _compared("segmenter", "bare_fit_segmenter", "loop_segmenter", size, batch)
    return found


def _compared(name: str, bare: str, loop: str, size: int, batch: int) -> list[Measurement]:
    settings = {"size": size, "batch": batch, "steps": STEPS}
    speeds: dict[str, list[float]] = {"fit": [], "still": [], "moved": []}
    first = []
    for _ in range(ROUNDS):
        own = run(bare, **settings)
        speeds["fit"].append(own["images_per_second"])
        first.append(own["first_step"])
        speeds["still"].append(run(loop, **settings)["images_per_second"])
        speeds["moved"].append(run(loop, augmented=True, **settings)["images_per_second"])
    speed = {key: statistics.median(values) for key, values in speeds.items()}
    label = f"{name}, {size} px, batches of {batch}"
    return [
        Measurement(f"{label}: `fit`", speed["fit"], "images/s"),
        Measurement(f"{label}: the loop", speed["still"], "images/s"),
        at_least(f"{label}: the loop against `fit`", speed["still"] / speed["fit"], "times", 0.95),
        at_least(
            f"{label}: the loop with augmentation against `fit` without",
            *(speed["moved"] / speed["fit"], "times", 0.92),
        ),
    ]
