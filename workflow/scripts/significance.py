"""Compare models on the test split by paired tests that respect the patients."""

import logging

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.evaluation import families
from multiloss.job.files import write_csv
from multiloss.job.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    params = snakemake.params
    found = predictions.read(snakemake.input.predictions, params.classes, splits=["test"])
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    table = evaluation.significance_table(
        found,
        models,
        pd.read_csv(snakemake.input.members),
        params.significance,
        params.evaluation,
        params.seed,
        params.variants,
        params.folds,
    )
    for loss, reason in families.plain_forms(params.variants)[1].items():
        logger.info("No calibrated against plain comparison of %s: %s", loss, reason)
    write_csv(table, snakemake.output.significance)


run(main, globals().get("snakemake"))
