"""Where the weights come from that an encoder starts with.

The config names `none` (a random start), `imagenet`, an http(s) address or a file, for classifiers
also `segmenter`. What is not on this machine is fetched by a job of its own, once for all networks:
jobs that fetched it themselves would write over each other's file, and often run where there is no
network.
"""

from pathlib import Path

from multiloss.data.sources.addresses import is_remote, local_path, public
from multiloss.networks import backbones


def address(backbone: str, setting: str) -> tuple[str, str | None] | None:
    """The address to fetch with its sha256 where that is known; None if nothing is fetched."""
    if setting == "imagenet":
        return backbones.get(backbone).imagenet
    return (setting, None) if is_remote(setting) else None


def local_weights(setting: str) -> Path | None:
    """The weights file on this machine, as `url` of a source means it; None for all else."""
    if setting in ("none", "imagenet", "segmenter") or is_remote(setting):
        return None
    return local_path(setting)


def ending(setting: str) -> str:
    """The ending of the fetched file, by which Keras tells its two formats of weights apart."""
    return ".weights.h5" if public(setting).endswith(".weights.h5") else ".h5"
