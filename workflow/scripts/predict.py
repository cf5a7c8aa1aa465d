"""Class probabilities of one trained classifier for every split but train."""

import numpy as np
import pandas as pd
from multiloss.data.tables import read_array, read_manifest
from multiloss.job.files import write_csv
from multiloss.job.script import run
from multiloss.networks import prediction, training


def main(snakemake) -> None:
    params = snakemake.params
    training.configure_tensorflow(params.tensorflow_threads, snakemake.resources.gpu)
    manifest = read_manifest(snakemake.input.manifest, params.classes)
    images = read_array(snakemake.input.images, len(manifest))
    model = prediction.load_model(snakemake.input.model)
    rows = prediction.prediction_rows(manifest)
    probabilities = prediction.predictor(model, images, params.batch_size)(rows)
    if training.diverged(pd.read_csv(snakemake.input.history)):
        probabilities[:] = np.nan  # a gap that tables and figures show
    write_csv(
        prediction.prediction_table(manifest, rows, probabilities, params.classes),
        snakemake.output.predictions,
    )


run(main, globals().get("snakemake"))
