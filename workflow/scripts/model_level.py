"""Train the head of one model-level ensemble on stored features; save and run the ensemble."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from multiloss.data.tables import (
    prediction_rows,
    prediction_table,
    read_array,
    read_manifest,
)
from multiloss.ensembles import selection
from multiloss.job import records, versions
from multiloss.job.files import write_csv
from multiloss.job.script import run
from multiloss.job.seeds import derive
from multiloss.networks import checkpoints, classifier, model_level, prediction, training

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    params = snakemake.params
    options = params.training
    training.configure_tensorflow(
        params.tensorflow_threads, snakemake.resources, options["mixed_precision"]
    )
    manifest = read_manifest(snakemake.input.manifest, params.classes)
    labels, train, val = classifier.training_labels(manifest, params.classes)
    weights = classifier.weights_of(params.class_weights, labels[train], len(params.classes))

    ranking = pd.read_csv(snakemake.input.ranking)
    k = int(snakemake.wildcards.k)
    members = selection.members(ranking, k)
    lost = selection.failed(ranking, members)
    folder = Path(snakemake.input.features)
    stored = [folder / f"{member}.npy" for member in members]
    records.check(stored)
    features = [read_array(path, len(manifest)) for path in stored]
    seed = derive(params.seed, "model_level", k, snakemake.wildcards.replicate)
    head = model_level.build_head(
        [array.shape[1:] for array in features], params.filters, len(params.classes), seed
    )
    loss = classifier.training_loss(params.loss, labels[train], len(params.classes))
    identity = training.fingerprint(
        params.get("code"), params.loss, options, params.class_weights, params.filters, seed,
        members, *((array, rows) for array in features for rows in (train, val)),
        labels[train], labels[val],
    )  # fmt: skip
    output = Path(snakemake.output.model)
    checkpoint = training.Checkpoint(output.with_suffix(checkpoints.ENDING), identity)
    name = output.stem
    if lost:
        # A gap, like a failed training: nothing can be learned from features of no meaning.
        logger.warning("%s is not trained: %s has no probabilities", name, ", ".join(lost))
        history = training.untrained()
    else:
        history = training.fit(
            head,
            loss,
            model_level.training_set(features, labels, train, weights),
            model_level.validation(
                head, loss, features, labels, val, weights, options["batch_size"]
            ),
            options,
            seed,
            checkpoint,
            name,
        )
    write_csv(history, snakemake.output.history)
    versions.write(snakemake.output.versions)

    rows = prediction_rows(manifest)
    probabilities = model_level.predictor(head, features, options["batch_size"])(rows)
    if training.diverged(history):
        probabilities[:] = np.nan  # a gap that tables and figures show
    write_csv(
        prediction_table(manifest, rows, probabilities, params.classes),
        snakemake.output.predictions,
    )
    networks = [prediction.load_model(snakemake.input[member]) for member in members]
    # Last: where a model is, its checkpoint is no longer needed (`checkpoints.forget`).
    prediction.save_model(model_level.assemble(networks, members, head), output)


run(main, globals().get("snakemake"))
