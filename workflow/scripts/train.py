"""Train one classifier: one variant, one replicate; predict every split but train with it."""

from pathlib import Path

import numpy as np
from multiloss.backend import keras
from multiloss.data.tables import prediction_rows, read_array, read_manifest
from multiloss.job import versions
from multiloss.job.files import atomic, write_csv
from multiloss.job.script import run
from multiloss.job.seeds import derive
from multiloss.networks import backbones, checkpoints, classifier, prediction, training


def main(snakemake) -> None:
    params = snakemake.params
    options = params.training
    training.configure_tensorflow(
        params.tensorflow_threads, snakemake.resources, options["mixed_precision"]
    )
    manifest = read_manifest(snakemake.input.manifest, params.classes)
    images = read_array(snakemake.input.images, len(manifest))
    labels, train, val = classifier.training_labels(manifest, params.classes)
    weights = classifier.weights_of(params.class_weights, labels[train], len(params.classes))

    variant, replicate = snakemake.wildcards.variant, snakemake.wildcards.replicate
    seed = derive(params.seed, "classification", variant, replicate)
    # Before loading: the encoder's dropout layers draw their seeds when they are made.
    keras.utils.set_random_seed(seed)
    if params.from_segmenter:
        source = prediction.load_model(snakemake.input.encoder)
    else:
        start = snakemake.input.encoder or None
        source = backbones.encoder(params.backbone, images.shape[1], start)
    model = classifier.build_classifier(
        source, params.backbone, len(params.classes), images.shape[1], seed
    )
    loss = classifier.training_loss(params.loss, labels[train], len(params.classes))
    identity = training.fingerprint(
        params.get("code"), params.loss, options, params.augmentation, params.class_weights, seed,
        (images, train), labels[train], (images, val), labels[val], *source.get_weights(),
    )  # fmt: skip
    del source
    output = Path(snakemake.output.model)
    checkpoint = training.Checkpoint(output.with_suffix(checkpoints.ENDING), identity)
    # One graph for validation and predictions: tracing it takes longer than either.
    predict = prediction.predictor(model, images, options["batch_size"])
    history = training.fit(
        model,
        loss,
        classifier.training_set(images, labels, train, weights, params.augmentation),
        classifier.validation(predict, loss, labels, val, weights),
        options,
        seed,
        checkpoint,
        params.name,
    )
    probabilities = predict(prediction_rows(manifest))
    if training.diverged(history):
        probabilities[:] = np.nan  # a gap that tables and figures show
    with atomic(snakemake.output.probabilities) as path, open(path, "wb") as file:
        np.save(file, probabilities)
    write_csv(history, snakemake.output.history)
    versions.write(snakemake.output.versions)
    # Last: where a model is, its checkpoint is no longer needed (`checkpoints.forget`).
    prediction.save_model(model, output)


run(main, globals().get("snakemake"))
