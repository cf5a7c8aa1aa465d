"""Measure calibration: raw, temperature-scaled and corrected for the class shares."""

import numpy as np
from multiloss import evaluation
from multiloss.ensembles import predictions
from multiloss.evaluation.families import plain_forms
from multiloss.files import write_csv
from multiloss.script import run
from multiloss.tables import read_manifest


def main(snakemake) -> None:
    params = snakemake.params
    options, models, classes = params.evaluation, params.models, params.classes
    found = predictions.read(snakemake.input.predictions, classes)
    manifest = read_manifest(snakemake.input.manifest, classes)
    labels = manifest.loc[manifest["split"] == "train", "label"]
    train = np.array([(labels == label).mean() for label in classes])
    everything, entries = found, dict(models)
    if options["temperature_scaling"]:
        scaled, added, _ = evaluation.with_temperatures(found, models)
        everything, entries = evaluation.join(found, scaled), entries | added
    write_csv(
        evaluation.reliability_table(everything, entries, options), snakemake.output.calibration
    )
    scores, compared = evaluation.calibration_tables(
        found,
        models,
        options,
        params.seed,
        params.class_weights,
        train,
        plain_forms(params.losses)[0],
        snakemake.threads,
    )
    write_csv(scores, snakemake.output.calibration_scores)
    write_csv(compared, snakemake.output.calibration_comparisons)


run(main, globals().get("snakemake"))
