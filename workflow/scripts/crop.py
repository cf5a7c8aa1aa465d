"""Crop every image to its lungs: PNG files, a table of boxes, and the array for training."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from multiloss.crops import bounding_box, crop
from multiloss.errors import UserError
from multiloss.files import atomic, write_csv
from multiloss.images import ImageError, read_own_mask, read_unchanged, resize, write_png
from multiloss.progress import progress
from multiloss.script import run
from multiloss.tables import read_manifest

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    params = snakemake.params
    manifest = read_manifest(snakemake.input.manifest)
    masks = Path(snakemake.input.masks)
    folder = Path(snakemake.output.boxes).parent
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(manifest), params.image_size, params.image_size)
    boxes = []
    with (
        atomic(snakemake.output.images) as crops_path,
        atomic(snakemake.output.whole) as whole_path,
    ):
        crops = np.lib.format.open_memmap(crops_path, "w+", np.uint8, shape)
        # Uncropped images are stored only for a study that trains on them.
        whole_shape = shape if params.keep_whole else (0, *shape[1:])
        whole = np.lib.format.open_memmap(whole_path, "w+", np.uint8, whole_shape)
        for row in progress(manifest.itertuples(), len(manifest), "cropping"):
            mask_path = masks / f"{row.image_id}.png"
            image = read_unchanged(row.path, row.sha256, row.bits)
            try:
                mask = read_own_mask(image.shape, mask_path)
            except ImageError as error:
                raise UserError(
                    f"{mask_path}: {error}: make the masks again with `snakemake --forcerun mask`"
                ) from None
            box = bounding_box(mask, params.margin)
            write_png(crop(image, box, params.png_size), folder / f"{row.image_id}.png")
            crops[row.Index] = crop(image, box, params.image_size)
            if params.keep_whole:
                whole[row.Index] = resize(image, params.image_size)
            boxes.append({"image_id": row.image_id, **asdict(box)})
        crops.flush()
        whole.flush()
    expected = {f"{image_id}.png" for image_id in manifest["image_id"]}
    for stale in folder.glob("*.png"):
        if stale.name not in expected:
            stale.unlink()
    table = pd.DataFrame(boxes)
    if table["fallback"].any():
        logger.warning("%d images without lung keep their whole area", table["fallback"].sum())
    write_csv(table, snakemake.output.boxes)


run(main, globals().get("snakemake"))
