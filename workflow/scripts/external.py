"""Set the chosen models' results on external tests beside those on the test split."""

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
    metrics = pd.read_csv(snakemake.input.metrics, keep_default_na=False, na_values=[""])
    wanted = evaluation.external_roles(chosen, models, params.baseline)
    compared = evaluation.external_comparisons(
        found, models, chosen, wanted, params.evaluation, params.significance, params.seed
    )
    write_csv(evaluation.external_table(found, metrics, models, wanted), snakemake.output.external)
    write_csv(compared, snakemake.output.external_comparisons)


run(main, globals().get("snakemake"))
