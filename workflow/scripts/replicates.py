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
    write_csv(evaluation.replicates_table(runs), output.replicates)
    compared = evaluation.replicate_comparisons_table(runs, tests, params.seed, variants)
    write_csv(compared, output.replicate_comparisons)
    write_csv(evaluation.seed_spread_table(runs, tests, variants), output.seed_spread)
    gains = evaluation.ensemble_comparisons_table(runs, pd.read_csv(snakemake.input.members), tests)
    write_csv(gains, output.ensemble_comparisons)


run(main, globals().get("snakemake"))
