"""Separate what the loss does from what the seed does."""

from multiloss import evaluation, predictions, study
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    found = predictions.read(snakemake.input.predictions, params.classes, splits=["test"])
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    summary, compared = evaluation.replicate_tables(
        found, models, params.significance, params.evaluation, params.seed, params.variants
    )
    write_csv(summary, snakemake.output.replicates)
    write_csv(compared, snakemake.output.replicate_comparisons)


run(main, globals().get("snakemake"))
