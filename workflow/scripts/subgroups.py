"""Judge the key models in groups of the test patients, and the gaps between these."""

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
    chosen = pd.read_csv(snakemake.input.chosen)
    attributes = pd.read_csv(snakemake.input.attributes, dtype=str, keep_default_na=False)
    tables = evaluation.subgroup_tables(
        found,
        models,
        evaluation.external_roles(chosen, models, params.baseline),
        attributes,
        params.evaluation,
        params.significance,
        params.seed,
    )
    for name, table in tables.items():
        write_csv(table, snakemake.output[name])


run(main, globals().get("snakemake"))
