"""Average the scores of the segmenters over the images, with intervals by patient."""

import pandas as pd
from multiloss import segmentation_scores
from multiloss.files import write_csv
from multiloss.script import run


def main(snakemake) -> None:
    params = snakemake.params
    per_image = pd.read_csv(
        snakemake.input.per_image,
        dtype={"image_id": str, "patient_id": str},
        keep_default_na=False,
    )
    chosen = pd.read_csv(snakemake.input.chosen)["loss"].tolist()
    summary = segmentation_scores.summarise(
        per_image, chosen, params.resamples, params.seed, params.confidence
    )
    gaps = [
        {"loss": loss, "split": split, "n": 0, "n_patients": 0, "selected": False}
        for split in ("val", "test")
        for loss in params.losses
        if loss not in set(per_image["loss"])
    ]
    write_csv(pd.concat([summary, pd.DataFrame(gaps)]), snakemake.output.scores)


run(main, globals().get("snakemake"))
