"""The training loop against the published way of training with a calibrated loss.

The published way, written anew from the paper (doi:10.1371/journal.pone.0261307): Keras' `fit` on
files of crops of about 512 pixels, decoded and resized in every epoch, batches of 16, steps that
run eagerly, as a loss with a loop over the images in Python asks for. Network, Keras and TensorFlow
are the same on both sides, but the published way has Keras' own layers; also told is what it
would reach with the arithmetic of layers that the loop has. Assumed are PNG files, and no
augmentation. Images per second of an epoch after the first, medians of three in turn.

The network's own steps, compiled and repeated on one batch in memory, are what no loop over images
can exceed; "at most" is their speed against the published way. Decoding is told as CPU of its
thread; nearly all else of the published way are its eager steps.

Both sides see the same images in the same order from the same start; how far their weights are
apart after two steps is the largest difference of a variable's sum or sum of squares, as a share of
1 + its size.
"""

import statistics

from network_runs import run
from speed import Measurement, at_least, at_most

ROUNDS = 3
# Side in pixels, steps of 16 images, times as fast.
SIZES = ((96, 10, 3.0), (224, 5, 1.8))
BATCH = 16
SIDES = ("published_way", "loop_calibrated")
FLOOR = "network_alone"


def measure() -> list[Measurement]:
    found = []
    for size, steps, limit in SIZES:
        speeds: dict[str, list[float]] = {name: [] for name in (*SIDES, FLOOR)}
        decoding, quick = [], []
        for _ in range(ROUNDS):
            for name, values in speeds.items():
                own = run(name, size=size, batch=BATCH, steps=steps)
                values.append(own["images_per_second"])
                if "decoding" in own:
                    decoding.append(own["decoding"])
            own = run(SIDES[0], size=size, batch=BATCH, steps=steps, quick=True)
            quick.append(own["images_per_second"])
        theirs, ours, network = (statistics.median(values) for values in speeds.values())
        share = 100 * statistics.median(decoding)
        found += [
            Measurement(f"{size} px: the published way", theirs, "images/s"),
            Measurement(
                f"{size} px: the published way with the loop's arithmetic of layers",
                *(statistics.median(quick), "images/s"),
            ),
            Measurement(f"{size} px: decoding and resizing in the published way", share, "%"),
            Measurement(f"{size} px: the loop", ours, "images/s"),
            Measurement(
                f"{size} px: the network's own steps alone, on a batch in memory",
                *(network, "images/s"),
            ),
            at_least(
                f"{size} px: the loop against the published way", ours / theirs, "times", limit
            ),
            Measurement(f"{size} px: at most, by the network alone", network / theirs, "times"),
        ]
    ends = [run(side, size=64, batch=8, steps=1)["weights"] for side in SIDES]
    apart = max(abs(a - b) / (1 + abs(b)) for a, b in zip(*ends, strict=True))
    return [*found, at_most("weights after two steps", apart, "apart", 1e-5)]
