"""Divide the patients of all usable images."""

import pandas as pd
from multiloss.data import folds, layouts, manifest, splits
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    images, rejected = _read(snakemake.input.images), _read(snakemake.input.rejected)
    roles = params.roles
    lung_sources = [name for name, role in roles.items() if role not in layouts.CLASSIFIED]
    external_sources = [name for name, role in roles.items() if role == layouts.EXTERNAL_TEST]
    lungs = _read(snakemake.input.lungs) if lung_sources else images.iloc[:0]
    manifest.refuse_empty(images, lungs, rejected, params.classes, lung_sources, external_sources)
    division = params.splits
    external = images["split"] != ""
    own = images[~external].reset_index(drop=True)
    ratios, test, drawn = division["ratios"], division["test"], (params.seed, params.classes)
    if division["folds"]:
        divided = folds.assign(own, ratios, test, division["folds"], *drawn)
        dropped = pd.DataFrame(columns=splits.DROPPED_COLUMNS)
    else:
        recurring = division["recurring_patients"]
        divided, dropped = splits.assign(own, ratios, test, recurring, *drawn)
    splits.tell_external(images[external], params.classes)
    # What is tested on apart has no part in the division, and stands below it.
    images = pd.concat([divided, images[external]], ignore_index=True)
    write_csv(images, snakemake.output.manifest)
    if lung_sources:
        lungs, dropped_lungs = splits.assign_lungs(lungs, roles, params.val_fraction, params.seed)
        write_csv(lungs, snakemake.output.lungs)
        dropped = pd.concat([dropped, dropped_lungs], ignore_index=True)
    write_csv(dropped, snakemake.output.dropped)


def _read(path: str) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


run(main, globals().get("snakemake"))
