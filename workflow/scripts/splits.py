"""List all images of all sources, check each, and divide the patients."""

from pathlib import Path

import cv2
import pandas as pd
from multiloss import layouts, manifest, splits
from multiloss.files import write_csv
from multiloss.script import run


def main(snakemake) -> None:
    params = snakemake.params
    # One image a thread: OpenCV's own threads would only crowd in.
    cv2.setNumThreads(1)
    found = {
        source["name"]: layouts.records(Path(folder), source)
        for source, folder in zip(params.sources, snakemake.input.sources, strict=True)
    }
    roles = {source["name"]: source["role"] for source in params.sources}
    bits = {source["name"]: source.get("bits") for source in params.sources}

    def of(*wanted: str) -> dict[str, layouts.Found]:
        return {name: own for name, own in found.items() if roles[name] in wanted}

    images, rejected_images = manifest.build(
        of(layouts.CLASSIFICATION), params.classes, snakemake.threads, bits
    )
    lungs, rejected_lungs = manifest.build_lungs(
        of(layouts.LUNGS_TRAIN, layouts.LUNGS_TEST), snakemake.threads, bits
    )
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
        pd.concat([rejected_images, rejected_lungs], ignore_index=True), snakemake.output.rejected
    )
    write_csv(
        pd.concat([dropped_images, dropped_lungs], ignore_index=True), snakemake.output.dropped
    )


run(main, globals().get("snakemake"))
