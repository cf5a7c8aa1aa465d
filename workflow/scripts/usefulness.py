"""Weigh what acting on the models is worth: net benefit, predictive values, expected cost."""

import logging

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.job.files import write_csv
from multiloss.job.script import run

logger = logging.getLogger(__name__)


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
    if params.negative is None:
        logger.warning(
            "Any finding is not set against none, since no class is known to be without a finding: "
            "config key negative_class can name it"
        )
    else:
        logger.info("Any finding is set against '%s' (config: negative_class)", params.negative)
    tables = evaluation.usefulness_tables(
        found, models, params.evaluation, params.seed, close, params.negative, snakemake.threads
    )
    for name, table in tables.items():
        write_csv(table, snakemake.output[name])


run(main, globals().get("snakemake"))
