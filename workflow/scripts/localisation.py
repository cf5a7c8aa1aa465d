"""Measure where the heat of every model's Grad-CAM maps lies."""

from pathlib import Path

import pandas as pd
from multiloss.data.tables import read_manifest
from multiloss.gradcam import localisation
from multiloss.job.files import by_name, write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    manifest = read_manifest(snakemake.input.manifest, params.classes)
    images = manifest[manifest["split"] == "test"].reset_index(drop=True)
    boxes, masks = None, None
    if snakemake.input.masks:
        masks = Path(snakemake.input.masks)
        text = {"image_id": str}
        boxes = pd.read_csv(snakemake.input.boxes, dtype=text, keep_default_na=False)
    maps = by_name(snakemake.input.maps)
    models = [
        localisation.load(maps[name], name, model["kind"], model["cropped"])
        for name, model in params.models.items()
    ]
    options = localisation.Options(
        params.gradcam["localisation_thresholds"],
        params.gradcam["pointing_tolerance"],
        params.evaluation["resamples"],
        params.evaluation["confidence"],
    )
    table = localisation.table(
        models,
        images,
        boxes,
        masks,
        params.classes,
        options,
        params.seed,
        snakemake.threads,
        _baselines(params.models, params.baseline),
    )
    write_csv(table, snakemake.output.table)


def _baselines(models, baseline: str) -> dict[str, str]:
    """The run of the baseline in the replicate of each model."""
    runs = {
        model["replicate"]: name
        for name, model in models.items()
        if model["kind"] == "single" and model["variant"] == baseline
    }
    return {
        name: runs[model["replicate"]]
        for name, model in models.items()
        if model["replicate"] in runs
    }


run(main, globals().get("snakemake"))
