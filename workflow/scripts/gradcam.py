"""Grad-CAM maps of one model for all test images, and what their quality is judged by."""

import logging

import numpy as np
import pandas as pd
from multiloss.data.tables import read_array, read_manifest
from multiloss.gradcam import maps as gradcam
from multiloss.job.files import atomic
from multiloss.job.script import run
from multiloss.job.seeds import derive
from multiloss.networks import prediction, training

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    params = snakemake.params
    options = params.gradcam
    training.configure_tensorflow(params.tensorflow_threads, snakemake.resources)
    manifest = read_manifest(snakemake.input.manifest)
    rows = np.flatnonzero(manifest["split"] == "test")
    images = read_array(snakemake.input.images, len(manifest))
    model = prediction.load_model(snakemake.input.model)
    size = options["batch_size"]
    explain = gradcam.explainer(model, params.layer)
    found = gradcam.heatmaps(
        model, images, params.layer, rows=rows, batch_size=size, explain=explain
    )
    if training.diverged(pd.read_csv(snakemake.input.history)):
        found = gradcam.no_evidence(found)
    if found.flat.any():
        logger.warning("%d of %d maps are flat: no evidence", found.flat.sum(), len(rows))

    def subset(purpose: str) -> np.ndarray:
        """Places among the test images: the same for all models, so that they compare."""
        count = min(options[f"{purpose}_images"], len(rows))
        rng = np.random.default_rng(derive(params.seed, "gradcam", purpose))
        return np.sort(rng.choice(len(rows), count, replace=False))

    # A flat map has no order of pixels and nothing to correlate.
    faithful = np.array([place for place in subset("faithfulness") if not found.flat[place]], int)
    curves = gradcam.faithfulness(
        gradcam.outputs_of(explain, model, size),
        np.asarray(images[rows[faithful]]),
        found.maps[faithful],
        found.class_index[faithful],
        options["faithfulness_steps"],
        derive(params.seed, "gradcam", "order"),
        size,
    )
    places = subset("randomised")
    randomised = gradcam.randomised_heatmaps(
        model,
        images,
        params.layer,
        found.class_index[places],
        rows[places],
        derive(params.seed, "gradcam", "weights"),
        size,
        explain,
    )
    with atomic(snakemake.output.maps) as temporary:
        np.savez_compressed(
            temporary,
            maps=found.maps.astype(np.float16),
            class_index=found.class_index,
            flat=found.flat,
            image_id=manifest["image_id"].to_numpy(dtype=str)[rows],
            faithfulness_rows=faithful,
            **curves._asdict(),
            randomised_rows=places,
            **{f"randomised_{k}": maps.maps.astype(np.float16) for k, maps in randomised.items()},
        )


run(main, globals().get("snakemake"))
