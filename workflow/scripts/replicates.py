"""Separate what the loss does from what the seed does."""

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params, output = snakemake.params, snakemake.output
    found = predictions.read(snakemake.input.predictions, params.classes, splits=["test"])
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    tests, variants = params.significance, params.variants
    runs = evaluation.runs_on_test(
        found, models, tests, params.evaluation, params.seed, snakemake.threads
    )
    members = pd.read_csv(snakemake.input.members)
    tables = {
        "replicates": evaluation.replicates_table(runs),
        "replicate_comparisons": evaluation.replicate_comparisons_table(
            runs, tests, params.seed, variants
        ),
        "seed_spread": evaluation.seed_spread_table(runs, tests, variants),
        "ensemble_comparisons": evaluation.ensemble_comparisons_table(runs, members, tests),
    }
    for name, table in tables.items():
        write_csv(evaluation.of_one_fold(table) if params.folds else table, output[name])


run(main, globals().get("snakemake"))
