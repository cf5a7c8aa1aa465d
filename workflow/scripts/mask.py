"""Lung masks of all classification images: the best segmenters, combined by AND."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from multiloss.data.images import read_unchanged, resize, write_png
from multiloss.data.tables import read_manifest
from multiloss.job.progress import progress
from multiloss.job.script import run
from multiloss.networks import prediction, training
from multiloss.networks import segmenter as segmentation


def main(snakemake) -> None:
    params = snakemake.params
    training.configure_tensorflow(params.tensorflow_threads, snakemake.resources)
    manifest = read_manifest(snakemake.input.manifest)
    chosen = pd.read_csv(snakemake.input.chosen)["loss"]
    models = {loss: prediction.load_model(snakemake.input[loss]) for loss in chosen}
    segmenter = segmentation.Segmenter(models, params.image_size, params.batch_size)

    folder = Path(snakemake.output.masks)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    starts = range(0, len(manifest), params.batch_size)
    for start in progress(starts, len(starts), "lung masks, batches"):
        rows = manifest.iloc[start : start + params.batch_size]
        images = np.stack(
            [
                resize(read_unchanged(row.path, row.sha256, row.bits), params.image_size)
                for row in rows.itertuples()
            ]
        )
        found = segmenter.probabilities(images)
        for position, row in enumerate(rows.itertuples()):
            masks = [
                segmentation.mask_at(probability[position], row.height, row.width)
                for probability in found.values()
            ]
            mask = segmentation.combine_by_and(masks)
            write_png(mask.astype(np.uint8) * 255, temporary / f"{row.image_id}.png")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


run(main, globals().get("snakemake"))
