"""Form sets of classes with a stated coverage, and count errors where images stay unanswered."""

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    found = predictions.read(
        snakemake.input.predictions, params.classes, divisions=params.divisions
    )
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    close = evaluation.roles(
        pd.read_csv(snakemake.input.chosen),
        pd.read_csv(snakemake.input.members),
        models,
        params.baseline,
    )
    tables = evaluation.prediction_set_tables(found, models, params.evaluation, params.seed, close)
    for name, table in tables.items():
        write_csv(table, snakemake.output[name])


run(main, globals().get("snakemake"))
