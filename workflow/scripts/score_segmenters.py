"""Score every segmenter per image at the image's own size, choose the best, score their AND."""

import numpy as np
import pandas as pd
from multiloss.data.tables import read_array, read_lungs
from multiloss.job.errors import UserError
from multiloss.job.files import atomic, write_csv
from multiloss.job.script import run
from multiloss.networks import backbones, prediction, training
from multiloss.networks import segmenter as segmentation


def main(snakemake) -> None:
    params, given, output = snakemake.params, snakemake.input, snakemake.output
    training.configure_tensorflow(params.tensorflow_threads, snakemake.resources)
    lungs = read_lungs(given.lungs)
    images = read_array(given.images, len(lungs))
    models = {
        loss: prediction.load_model(given[loss])
        for loss in params.losses
        if not training.diverged(pd.read_csv(given[f"{loss}.history"]))
    }
    if not models:
        raise UserError("segmentation.losses: the training of every segmenter failed; see above")
    segmenter = segmentation.Segmenter(models, images.shape[1], params.batch_size)
    scores = segmentation.scores(segmenter, images, lungs, "val")
    choice = segmentation.choose(scores, list(models), min(params.ensemble_size, len(models)))
    chosen = list(choice["loss"])
    scores = pd.concat(
        [segmentation.scores(segmenter, images, lungs, split, chosen) for split in ("val", "test")]
    )
    cases = segmentation.cases(scores, segmentation.name_of_and(chosen), params.examples)
    with atomic(output.example_arrays) as temporary:
        arrays = segmentation.overlays(segmenter, images, lungs, cases["row"], chosen)
        np.savez_compressed(temporary, **arrays)
    write_csv(cases.drop(columns="row"), output.examples)
    columns = ["loss", "split", "image_id", "patient_id", "dice", "iou"]
    write_csv(scores[columns], output.per_image)
    write_csv(choice, output.chosen)
    encoder = backbones.cut(models[chosen[0]], params.backbone)
    prediction.save_model(encoder, output.encoder)


run(main, globals().get("snakemake"))
