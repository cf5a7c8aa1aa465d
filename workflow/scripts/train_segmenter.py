"""Train the lung segmenter of one loss; find the lungs of val and test images with it."""

from pathlib import Path

import numpy as np
from multiloss.backend import keras
from multiloss.data.tables import prediction_rows, read_array, read_lungs
from multiloss.job import versions
from multiloss.job.files import write_csv
from multiloss.job.script import run
from multiloss.job.seeds import derive
from multiloss.losses import segmentation_loss
from multiloss.networks import backbones, checkpoints, prediction, segmenter, training
from multiloss.segmentation.masks import write_masks

# So many images pass before a rewritten graph has made up for the time of its rewriting.
IMAGES_WORTH_REWRITING = 1000


def main(snakemake) -> None:
    params = snakemake.params
    options = params.training
    lungs = read_lungs(snakemake.input.lungs)
    images = read_array(snakemake.input.images, len(lungs))
    masks = read_array(snakemake.input.masks, len(lungs))
    train, val = (np.flatnonzero(lungs["split"] == split) for split in ("train", "val"))
    training.configure_tensorflow(
        params.tensorflow_threads,
        snakemake.resources,
        options["mixed_precision"],
        rewrite_graphs=options["epochs"] * len(train) > IMAGES_WORTH_REWRITING,
    )

    name = params.loss["name"]
    seed = derive(params.seed, "segmentation", name)
    keras.utils.set_random_seed(seed)
    weights = snakemake.input.get("weights") or None
    model = backbones.unet(
        params.backbone, params.image_size, weights, tuple(params.decoder_filters)
    )
    loss = segmentation_loss(**params.loss)
    identity = training.fingerprint(
        params.get("code"), params.loss, options, params.augmentation, seed, *model.get_weights(),
        *((array, rows) for array in (images, masks) for rows in (train, val)),
    )  # fmt: skip
    output = Path(snakemake.output.model)
    checkpoint = training.Checkpoint(output.with_suffix(checkpoints.ENDING), identity)
    # One graph for validation and masks, also of short last batches: tracing it takes a second.
    predict = prediction.forward(model, options["batch_size"])
    history = training.fit(
        model,
        loss,
        segmenter.training_set(images, masks, train, params.augmentation),
        segmenter.validation(predict, loss, images, masks, val, options["batch_size"]),
        options,
        seed,
        checkpoint,
        f"segmenter {name}",
    )
    # One whose training failed has no masks, and is left out where the best are chosen.
    rows = [] if training.diverged(history) else prediction_rows(lungs)
    found = segmenter.predicted_masks(predict, images, lungs, rows, options["batch_size"])
    write_masks(found, snakemake.output.masks)
    prediction.save_model(backbones.cut(model, params.backbone), snakemake.output.encoder)
    write_csv(history, snakemake.output.history)
    versions.write(snakemake.output.versions)
    # Last: where a model is, its checkpoint is no longer needed (`checkpoints.forget`).
    prediction.save_model(model, output)


run(main, globals().get("snakemake"))
