"""Compare models on the test split by paired tests that respect the patients."""

import pandas as pd
from multiloss import evaluation
from multiloss.ensembles import predictions
from multiloss.files import write_csv
from multiloss.script import run


def main(snakemake) -> None:
    params = snakemake.params
    found = predictions.read(snakemake.input.predictions, params.classes)
    table = evaluation.significance_table(
        found,
        params.models,
        pd.read_csv(snakemake.input.members),
        params.significance,
        params.evaluation,
        params.seed,
    )
    write_csv(table, snakemake.output.significance)


run(main, globals().get("snakemake"))
