"""Divide the patients of all usable images."""

import pandas as pd
from multiloss import layouts, manifest, splits
from multiloss.files import write_csv
from multiloss.script import run


def main(snakemake) -> None:
    params = snakemake.params
    images, lungs, rejected = (
        pd.read_csv(path, dtype=str, keep_default_na=False)
        for path in (snakemake.input.images, snakemake.input.lungs, snakemake.input.rejected)
    )
    roles = params.roles
    lung_sources = [name for name, role in roles.items() if role != layouts.CLASSIFICATION]
    manifest.refuse_empty(images, lungs, rejected, params.classes, lung_sources)
    division = params.splits
    images, dropped_images = splits.assign(
        images,
        division["ratios"],
        division["test"],
        division["recurring_patients"],
        params.seed,
        params.classes,
    )
    lungs, dropped_lungs = splits.assign_lungs(lungs, roles, params.val_fraction, params.seed)
    write_csv(images, snakemake.output.manifest)
    write_csv(lungs, snakemake.output.lungs)
    write_csv(
        pd.concat([dropped_images, dropped_lungs], ignore_index=True), snakemake.output.dropped
    )


run(main, globals().get("snakemake"))
