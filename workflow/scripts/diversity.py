"""Measure for each pair of single models whether they err on the same test images."""

import numpy as np
from multiloss import predictions, study
from multiloss.ensembles import diversity
from multiloss.job.files import write_csv
from multiloss.job.script import run
from multiloss.job.seeds import derive


def main(snakemake) -> None:
    params = snakemake.params
    singles = predictions.read(snakemake.input.predictions, params.classes, splits=["test"])
    models = study.read_models(snakemake.input.models)
    rng = np.random.default_rng(derive(params.seed, "diversity"))
    write_csv(
        diversity.table(singles, models, "test", params.resamples, params.confidence, rng),
        snakemake.output.table,
    )


run(main, globals().get("snakemake"))
