"""Average the scores of the segmenters over the images, with intervals by patient."""

import pandas as pd
from multiloss.evaluation import segmentation_scores
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    per_image = pd.read_csv(
        snakemake.input.per_image,
        dtype={"image_id": str, "patient_id": str},
        keep_default_na=False,
    )
    chosen = pd.read_csv(snakemake.input.chosen)["loss"].tolist()
    summary = segmentation_scores.summarise(
        per_image, params.losses, chosen, params.resamples, params.seed, params.confidence
    )
    write_csv(summary, snakemake.output.scores)


run(main, globals().get("snakemake"))
