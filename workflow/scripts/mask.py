"""Lung masks of all classification images: the best segmenters, combined by AND."""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from multiloss.data.images import in_threads, read_unchanged, resize, write_png
from multiloss.data.tables import read_manifest
from multiloss.job.progress import progress
from multiloss.job.script import run
from multiloss.networks import training
from multiloss.networks.segmenter import Segmenter
from multiloss.segmentation.masks import combine_by_and, mask_at

# Small images go through the networks in batches of so many pixels, larger than those of training:
# to begin an operation takes as long as its work.
PIXELS = 2**17


def main(snakemake) -> None:
    params = snakemake.params
    # One more than the networks have: these, or a GPU, need not wait for files.
    threads = snakemake.threads + 1
    training.configure_tensorflow(params.tensorflow_threads, snakemake.resources)
    manifest = read_manifest(snakemake.input.manifest)
    chosen = pd.read_csv(snakemake.input.chosen)["loss"]
    batch_size = max(params.batch_size, PIXELS // params.image_size**2)
    segmenter = Segmenter({loss: snakemake.input[loss] for loss in chosen}, batch_size)

    folder = Path(snakemake.output.masks)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)

    def read(row: Any) -> np.ndarray:
        return resize(read_unchanged(row.path, row.sha256, row.bits), params.image_size)

    def predicted() -> Iterator[tuple[Any, list[np.ndarray]]]:
        """The images with their probabilities by each segmenter."""
        images = in_threads(read, manifest.itertuples(), threads)
        rows = manifest.itertuples()
        while batch := list(islice(images, batch_size)):
            found = segmenter.probabilities(np.stack(batch)).values()
            yield from zip(islice(rows, len(batch)), zip(*found, strict=True), strict=True)

    def write(found: tuple[Any, list[np.ndarray]]) -> None:
        row, probabilities = found
        masks = [mask_at(probability, row.height, row.width) for probability in probabilities]
        write_png(combine_by_and(masks), temporary / f"{row.image_id}.png")

    for _ in progress(in_threads(write, predicted(), threads), len(manifest), "lung masks"):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


run(main, globals().get("snakemake"))
