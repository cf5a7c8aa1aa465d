"""Crop every image to its lungs: PNG files, a table of boxes, and the array for training."""

import logging
import os
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd
from multiloss.data.crops import Box, bounding_box, crop
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
    manifest = read_manifest(snakemake.input.manifest, columns=["bits"])
    masks = Path(snakemake.input.masks)
    folder = Path(snakemake.output.boxes).parent
    folder.mkdir(parents=True, exist_ok=True)
    shape = packed_shape(len(manifest), params.image_size, params.rgb)
    # Numbers in place, not an object for each image.
    kinds = [(field.name, np.dtype(field.type)) for field in fields(Box)]
    boxes = np.empty(len(manifest), kinds)
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
            boxes[row.Index] = astuple(box)
    expected = set(manifest["image_id"])
    with os.scandir(folder) as found:
        for file in found:
            stem, ending = os.path.splitext(file.name)
            if ending == ".png" and stem not in expected:
                os.unlink(file)
    table = pd.DataFrame(boxes)
    table.insert(0, "image_id", manifest["image_id"])
    if table["fallback"].any():
        logger.warning("%d images without lung keep their whole area", table["fallback"].sum())
    write_csv(table, snakemake.output.boxes)


run(main, globals().get("snakemake"))
