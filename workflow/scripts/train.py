"""Train one classifier: one variant, one replicate."""

from pathlib import Path

import numpy as np
import pandas as pd
from multiloss import backbones, checkpoints, classifier, prediction, training, versions
from multiloss.backend import keras
from multiloss.files import write_csv
from multiloss.losses import classification_loss
from multiloss.script import run
from multiloss.seeds import derive
from multiloss.tables import read_array, read_manifest


def main(snakemake) -> None:
    params = snakemake.params
    options = params.training
    training.configure_tensorflow(
        params.tensorflow_threads, snakemake.resources.gpu, options["mixed_precision"]
    )
    manifest = read_manifest(snakemake.input.manifest, params.classes)
    images = read_array(snakemake.input.images, len(manifest))
    # Rows of other splits get no label at all: nothing here can learn from them.
    known = manifest["split"].isin(["train", "val"])
    labels = manifest["label"].where(known).map(params.classes.index, na_action="ignore")
    labels = labels.fillna(-1).astype(int).to_numpy()
    train, val = (np.flatnonzero(manifest["split"] == split) for split in ("train", "val"))

    variant, replicate = snakemake.wildcards.variant, snakemake.wildcards.replicate
    seed = derive(params.seed, "classification", variant, replicate)
    weights = np.ones(len(params.classes), np.float32)
    if params.class_weights == "balanced":
        weights = classifier.class_weights(labels[train], len(params.classes))
    # Before loading: the encoder's dropout layers draw their seeds when they are made.
    keras.utils.set_random_seed(seed)
    source = _source(snakemake, images.shape[1])
    model = classifier.build_classifier(
        source, params.backbone, len(params.classes), images.shape[1], seed
    )
    loss = classification_loss(**params.loss)
    identity = training.fingerprint(
        params.get("code"), params.loss, options, params.augmentation, params.class_weights, seed,
        (images, train), labels[train], (images, val), labels[val], *source.get_weights(),
    )  # fmt: skip
    del source
    output = Path(snakemake.output.model)
    checkpoint = training.Checkpoint(output.with_suffix(checkpoints.ENDING), identity)
    history = training.fit(
        model,
        loss,
        classifier.training_set(images, labels, train, weights, params.augmentation),
        classifier.validation(model, loss, images, labels, val, weights, options["batch_size"]),
        options,
        seed,
        checkpoint,
        params.name,
    )
    prediction.save_model(model, output)
    write_csv(history, snakemake.output.history)
    versions.write(snakemake.output.versions)


def _source(snakemake, size: int) -> keras.Model:
    """The network whose encoder is the start: the best segmenter by mean Dice, or an encoder."""
    if not snakemake.input.segmenters:
        return backbones.encoder(
            snakemake.params.backbone, size, snakemake.input.get("weights") or None
        )
    best = pd.read_csv(snakemake.input.chosen)["loss"].iloc[0]
    place = snakemake.params.segmentation_losses.index(best)
    return prediction.load_model(snakemake.input.segmenters[place])


run(main, globals().get("snakemake"))
