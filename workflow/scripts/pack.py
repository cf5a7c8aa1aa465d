"""Decode all images and stretch them to the classifiers' size once, into an array."""

import numpy as np
from multiloss.data.images import read_unchanged, resize
from multiloss.data.stored import writing
from multiloss.data.tables import packed_shape, read_manifest
from multiloss.job.files import atomic
from multiloss.job.progress import progress
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    manifest = read_manifest(snakemake.input.manifest, columns=["bits"])
    shape = packed_shape(len(manifest), params.image_size, params.rgb)
    with atomic(snakemake.output.images) as path, writing(path, np.uint8, shape) as images:
        for row in progress(manifest.itertuples(), len(manifest), "packing"):
            image = read_unchanged(row.path, row.sha256, row.bits, params.rgb)
            images.append(resize(image, params.image_size))


run(main, globals().get("snakemake"))
