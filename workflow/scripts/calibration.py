"""Measure calibration: raw, temperature-scaled and corrected for the class shares."""

import numpy as np
import pandas as pd
from multiloss import evaluation, study
from multiloss.ensembles import predictions
from multiloss.evaluation.families import plain_forms
from multiloss.files import write_csv
from multiloss.script import run
from multiloss.tables import read_manifest


def main(snakemake) -> None:
    params = snakemake.params
    options, classes = params.evaluation, params.classes
    found = predictions.read(snakemake.input.predictions, classes)
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    manifest = read_manifest(snakemake.input.manifest, classes)
    labels = manifest.loc[manifest["split"] == "train", "label"]
    train = np.array([(labels == label).mean() for label in classes])
    chosen = np.bincount(found.only("ensemble").y, minlength=len(classes))
    members = pd.read_csv(snakemake.input.members)
    assumed = evaluation.trained_shares(
        models,
        members.groupby("ensemble", sort=False)["member"].agg(list).to_dict(),
        params.class_weights,
        train,
        chosen / chosen.sum(),
    )
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
        assumed,
        plain_forms(params.variants)[0],
        snakemake.threads,
        params.alpha,
    )
    write_csv(scores, snakemake.output.calibration_scores)
    write_csv(compared, snakemake.output.calibration_comparisons)


run(main, globals().get("snakemake"))
