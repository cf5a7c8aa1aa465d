"""Heads of model-level ensembles on stored features against running the frozen members each epoch.

Five members, 20 epochs, 64 pixels, batches of 16, one thread; seconds without the first epoch, in
which graphs are made; medians of three. The features are computed once, whose time is told apart:
it is paid once for all heads of a replicate.
"""

import statistics

from network_runs import run
from speed import Measurement, at_least, at_most


def measure() -> list[Measurement]:
    runs = [run("heads", size=64, images=128, members=5, epochs=20) for _ in range(3)]
    middle = {key: statistics.median(own[key] for own in runs) for key in runs[0]}
    return [
        Measurement("with the members run", middle["frozen"], "s"),
        Measurement("on stored features", middle["stored"], "s"),
        Measurement("computing the features", middle["extraction"], "s"),
        at_least("times as fast", middle["frozen"] / middle["stored"], "times", 30),
        Measurement(
            "times as fast, the features counted",
            middle["frozen"] / (middle["stored"] + middle["extraction"]),
            "times",
        ),
        at_most("weights of the heads", middle["apart"], "apart", 1e-4),
    ]
