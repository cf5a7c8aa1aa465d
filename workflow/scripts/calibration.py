"""Measure calibration: raw, temperature-scaled and corrected for the class shares."""

import itertools

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.data.tables import read_manifest
from multiloss.evaluation.families import plain_forms, same_objective
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    options, classes = params.evaluation, params.classes
    found = predictions.read(snakemake.input.predictions, classes, divisions=params.divisions)
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    manifests = [read_manifest(path, classes) for path in snakemake.input.manifests]
    train, ensemble = (
        {
            run: evaluation.class_shares(table.loc[table["split"] == split, "label"], classes)
            for run, table in zip(params.runs, itertools.cycle(manifests), strict=False)
        }
        for split in ("train", "ensemble")
    )
    members = pd.read_csv(snakemake.input.members)
    assumed = evaluation.trained_shares(
        models,
        members.groupby("ensemble", sort=False)["member"].agg(list).to_dict(),
        params.class_weights,
        train,
        ensemble,
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
