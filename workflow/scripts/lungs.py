"""Decode and resize the lung images and masks once, into arrays that training streams."""

import logging

import numpy as np
from multiloss.data.images import ImageError, read_mask_for, read_unchanged, resize
from multiloss.data.stored import writing
from multiloss.data.tables import read_lungs
from multiloss.job.errors import UserError
from multiloss.job.files import atomic
from multiloss.job.progress import progress
from multiloss.job.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    lungs = read_lungs(snakemake.input.lungs)
    size = snakemake.params.size
    with (
        atomic(snakemake.output.images) as images_path,
        atomic(snakemake.output.masks) as masks_path,
        writing(images_path, np.uint8, (len(lungs), size, size)) as images,
        writing(masks_path, np.uint8, (len(lungs), size, size)) as masks,
    ):
        rows = lungs[["path", "sha256", "bits", "mask_paths"]].itertuples()
        for row in progress(rows, len(lungs), "decoding lung images"):
            image = read_unchanged(row.path, row.sha256, row.bits)
            images.append(resize(image, size))
            try:
                mask = read_mask_for(image.shape, row.mask_paths.split(";")).astype(np.uint8)
            except ImageError as error:
                raise UserError(
                    f"{row.path}: {error}: put the file back, or take the images as they are now "
                    "with `snakemake --forcerun download`"
                ) from None
            masks.append((resize(mask * 255, size) > 127).astype(np.uint8))


run(main, globals().get("snakemake"))
