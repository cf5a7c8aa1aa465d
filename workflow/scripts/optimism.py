"""Measure how much choosing and fitting on the test split, as published, would flatter."""

import pandas as pd
from multiloss import optimism, study
from multiloss.ensembles import predictions
from multiloss.files import write_csv
from multiloss.script import run


def main(snakemake) -> None:
    params = snakemake.params
    singles = predictions.read(
        snakemake.input.predictions, params.classes, splits=["ensemble", "test"]
    )
    models = study.read_models(snakemake.input.models)
    settings = optimism.Settings(params.resamples, params.stacking_resamples, params.confidence)
    tables = []
    for replicate in params.replicates:
        ensembles = study.entries(
            models[name] for name in params.ensembles if models[name].replicate == replicate
        )
        part = singles.subset([m for m in singles.models if models[m].replicate == replicate])
        tables.append(
            optimism.table(part, ensembles, params.options, params.seed, settings, replicate)
        )
    write_csv(pd.concat(tables, ignore_index=True), snakemake.output.table)


run(main, globals().get("snakemake"))
