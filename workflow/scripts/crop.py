"""Crop every image to its lungs: PNG files, a table of boxes, and the array for training."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from multiloss.data.crops import bounding_box, crop
from multiloss.data.images import ImageError, read_own_mask, read_unchanged, write_png
from multiloss.data.stored import writing
from multiloss.data.tables import packed_shape, read_manifest
from multiloss.job.errors import UserError
from multiloss.job.files import atomic, write_csv
from multiloss.job.progress import progress
from multiloss.job.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    params = snakemake.params
    manifest = read_manifest(snakemake.input.manifest)
    masks = Path(snakemake.input.masks)
    folder = Path(snakemake.output.boxes).parent
    folder.mkdir(parents=True, exist_ok=True)
    shape = packed_shape(len(manifest), params.image_size, params.rgb)
    boxes = []
    with (
        atomic(snakemake.output.images) as crops_path,
        writing(crops_path, np.uint8, shape) as crops,
    ):
        for row in progress(manifest.itertuples(), len(manifest), "cropping"):
            mask_path = masks / f"{row.image_id}.png"
            image = read_unchanged(row.path, row.sha256, row.bits, params.rgb)
            try:
                mask = read_own_mask(image.shape[:2], mask_path)
            except ImageError as error:
                raise UserError(
                    f"{mask_path}: {error}: make the masks again with `snakemake --forcerun mask`"
                ) from None
            box = bounding_box(mask, params.margin)
            write_png(crop(image, box, params.png_size), folder / f"{row.image_id}.png")
            crops.append(crop(image, box, params.image_size))
            boxes.append({"image_id": row.image_id, **asdict(box)})
    expected = {f"{image_id}.png" for image_id in manifest["image_id"]}
    for stale in folder.glob("*.png"):
        if stale.name not in expected:
            stale.unlink()
    table = pd.DataFrame(boxes)
    if table["fallback"].any():
        logger.warning("%d images without lung keep their whole area", table["fallback"].sum())
    write_csv(table, snakemake.output.boxes)


run(main, globals().get("snakemake"))
