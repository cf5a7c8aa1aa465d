"""Measure calibration: raw, temperature-scaled and corrected for the class shares."""

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.data.tables import read_manifest
from multiloss.evaluation.families import plain_forms, same_objective
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    options, classes = params.evaluation, params.classes
    found = predictions.read(snakemake.input.predictions, classes)
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    manifest = read_manifest(snakemake.input.manifest, classes)
    members = pd.read_csv(snakemake.input.members)
    assumed = evaluation.trained_shares(
        models,
        members.groupby("ensemble", sort=False)["member"].agg(list).to_dict(),
        params.class_weights,
        evaluation.class_shares(manifest.loc[manifest["split"] == "train", "label"], classes),
        evaluation.class_shares(found.only("ensemble").rows["label"], classes),
    )
    everything = evaluation.with_scaled(found, models, options)
    bins = evaluation.reliability_table(*everything, options)
    curves, histograms = evaluation.curve_tables(*everything, options)
    scores, compared = evaluation.calibration_tables(
        found,
        models,
        options,
        params.seed,
        assumed,
        plain_forms(params.variants)[0],
        snakemake.threads,
        params.alpha,
        same_objective(params.variants),
    )
    write_csv(bins, snakemake.output.calibration)
    write_csv(curves, snakemake.output.curves)
    write_csv(histograms, snakemake.output.histograms)
    write_csv(scores, snakemake.output.calibration_scores)
    write_csv(compared, snakemake.output.calibration_comparisons)


run(main, globals().get("snakemake"))
