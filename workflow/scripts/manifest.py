"""List all images of all sources, check each, and say what cannot be used."""

from pathlib import Path

import cv2
import pandas as pd
from multiloss.data import layouts, manifest
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    # One image a thread: OpenCV's own threads would only crowd in.
    cv2.setNumThreads(1)
    folders = {Path(folder).name: Path(folder) for folder in snakemake.input.sources}
    found = {
        source["name"]: layouts.records(folders[source["name"]], source)
        for source in params.sources
    }
    roles = {source["name"]: source["role"] for source in params.sources}
    images = {name: own for name, own in found.items() if roles[name] == layouts.CLASSIFICATION}
    external = {name: own for name, own in found.items() if roles[name] == layouts.EXTERNAL_TEST}
    lungs = {name: own for name, own in found.items() if name not in {*images, *external}}
    bits = {source["name"]: source.get("bits") for source in params.sources}
    manifest_table, rejected_images = manifest.build(
        images, params.classes, snakemake.threads, bits, params.rgb
    )
    rejected, lung_table = [rejected_images], None
    if external:
        # Below the study's own, whose rows stay what they are without external tests.
        external_table, rejected_external = manifest.build_external(
            external, manifest_table, params.classes, snakemake.threads, bits, params.rgb
        )
        manifest_table = pd.concat([manifest_table, external_table], ignore_index=True)
        rejected.append(rejected_external)
    if lungs:
        lung_table, rejected_lungs = manifest.build_lungs(lungs, snakemake.threads, bits)
        rejected.append(rejected_lungs)
    rejected = pd.concat(rejected, ignore_index=True)
    manifest.tell(rejected)
    write_csv(manifest_table, snakemake.output.images)
    if lungs:
        write_csv(lung_table, snakemake.output.lungs)
    write_csv(rejected, snakemake.output.rejected)


run(main, globals().get("snakemake"))
