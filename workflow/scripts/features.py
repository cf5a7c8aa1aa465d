"""Features of the members of model-level ensembles, computed once for all of them."""

from pathlib import Path

import numpy as np
import pandas as pd
from multiloss.data.stored import writing
from multiloss.data.tables import read_array
from multiloss.ensembles import selection
from multiloss.job import records
from multiloss.job.files import atomic
from multiloss.job.progress import progress
from multiloss.job.script import run
from multiloss.networks import model_level, prediction, training
from multiloss.networks.backbones import load_weights


def main(snakemake) -> None:
    params = snakemake.params
    training.configure_tensorflow(params.tensorflow_threads, snakemake.resources)
    images = read_array(snakemake.input.images)
    ranking = pd.read_csv(snakemake.input.ranking)
    folder = Path(snakemake.output.features)
    folder.mkdir(parents=True, exist_ok=True)
    members = selection.members(ranking, params.largest_k)
    # All have one architecture: it is built once, and its graph traced once.
    model = prediction.load_model(snakemake.input[members[0]])
    extractor = model_level.feature_extractor(model)
    run_batch = prediction.forward(extractor, params.batch_size)
    shape = (len(images), *extractor.output_shape[1:])
    for member in members:
        load_weights(model, snakemake.input[member])
        with (
            atomic(folder / f"{member}.npy") as temporary,
            writing(temporary, np.float16, shape) as features,
        ):
            starts = range(0, len(images), params.batch_size)
            for start in progress(starts, len(starts), f"features of {member}, batches"):
                batch = images[start : start + params.batch_size]
                features.append(run_batch(batch).astype(np.float16))
    # The rule's output is their folder, of which the frame keeps no record.
    records.write(folder.glob("*.npy"))


run(main, globals().get("snakemake"))
