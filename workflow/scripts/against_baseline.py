"""Set every way of training and every ensemble beside the baseline."""

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params, given = snakemake.params, snakemake.input
    found = predictions.read(given.predictions, params.classes, splits=["test"])
    models = study.entries(study.read_models(given.models, found.models).values())
    names = ("metrics", "significance", "replicate_comparisons")
    table = evaluation.against_baseline_table(
        found,
        models,
        {name: pd.read_csv(given[name]) for name in names},
        params.significance,
        params.evaluation,
        params.seed,
        snakemake.threads,
    )
    write_csv(table, snakemake.output.against_baseline)


run(main, globals().get("snakemake"))
