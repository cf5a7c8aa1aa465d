"""The training loop against the published way of training with a calibrated loss.

The published way, written anew from the paper (doi:10.1371/journal.pone.0261307): an eager loss
that goes over the images of a batch in Python, and files decoded and resized in every epoch.
Images per second of an epoch after the first, medians of three in turn. Both sides see the same
images in the same order from the same start; how far their weights are apart after two steps is the
largest difference of a variable's sum or sum of squares, as a share of 1 + its size.
"""

import statistics

from network_runs import run
from speed import Measurement, at_least, at_most

ROUNDS = 3
# Side in pixels, steps of 16 images, times as fast.
SIZES = ((96, 10, 3.0), (224, 5, 1.8))
BATCH = 16


def measure() -> list[Measurement]:
    found = []
    for size, steps, limit in SIZES:
        speeds: dict[str, list[float]] = {"published_way": [], "loop_calibrated": []}
        for _ in range(ROUNDS):
            for side, values in speeds.items():
                values.append(run(side, size=size, batch=BATCH, steps=steps)["images_per_second"])
        theirs, ours = (statistics.median(values) for values in speeds.values())
        found += [
            Measurement(f"{size} px: the published way", theirs, "images/s"),
            Measurement(f"{size} px: the loop", ours, "images/s"),
            at_least(
                f"{size} px: the loop against the published way", ours / theirs, "times", limit
            ),
        ]
    ends = [run(side, size=64, batch=8, steps=1)["weights"] for side in speeds]
    apart = max(abs(a - b) / (1 + abs(b)) for a, b in zip(*ends, strict=True))
    return [*found, at_most("weights after two steps", apart, "apart", 1e-5)]
