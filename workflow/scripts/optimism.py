"""Measure how much choosing and fitting on the test split, as published, would flatter."""

from multiloss import predictions, study
from multiloss.ensembles import optimism
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    singles = predictions.read(
        snakemake.input.predictions,
        params.classes,
        splits=["ensemble", "test"],
        divisions=params.divisions,
    )
    models = study.read_models(snakemake.input.models)
    settings = optimism.Settings(params.resamples, params.stacking_resamples, params.confidence)
    table = optimism.tables(
        singles, models, params.ensembles, params.options, params.seed, settings
    )
    write_csv(table, snakemake.output.table)


run(main, globals().get("snakemake"))
