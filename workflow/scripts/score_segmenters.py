"""Score every segmenter per image at the image's own size, choose the best, score their AND."""

import shutil

import numpy as np
import pandas as pd
from multiloss.data.tables import read_lungs
from multiloss.job.errors import UserError
from multiloss.job.files import atomic, write_csv
from multiloss.job.script import run
from multiloss.segmentation import scores as scoring
from multiloss.segmentation.masks import StoredMasks


def main(snakemake) -> None:
    params, given, output = snakemake.params, snakemake.input, snakemake.output
    lungs = read_lungs(given.lungs)
    stored = {loss: StoredMasks(given[f"{loss}.masks"]) for loss in params.losses}
    # Where the training failed there are none.
    segmenters = {loss: masks for loss, masks in stored.items() if len(masks)}
    if not segmenters:
        raise UserError("segmentation.losses: the training of every segmenter failed; see above")
    threads = snakemake.threads
    scores = scoring.scores(segmenters, lungs, "val", threads=threads)
    count = min(params.ensemble_size, len(segmenters))
    choice = scoring.choose(scores, list(segmenters), count)
    chosen = list(choice["loss"])
    scores = pd.concat(
        [scoring.scores(segmenters, lungs, split, chosen, threads) for split in ("val", "test")]
    )
    cases = scoring.cases(scores, scoring.name_of_and(chosen), params.examples)
    with atomic(output.example_arrays) as temporary:
        arrays = scoring.overlays([segmenters[loss] for loss in chosen], lungs, cases["row"])
        np.savez_compressed(temporary, **arrays)
    write_csv(cases.drop(columns="row"), output.examples)
    columns = ["loss", "split", "image_id", "patient_id", "dice", "iou"]
    write_csv(scores[columns], output.per_image)
    write_csv(choice, output.chosen)
    with atomic(output.encoder) as temporary:
        shutil.copyfile(given[f"{chosen[0]}.encoder"], temporary)


run(main, globals().get("snakemake"))
