"""Fit and predict all prediction-level ensembles of one replicate, and judge them."""

import pandas as pd
from multiloss import predictions
from multiloss.ensembles import build
from multiloss.job.files import by_name, write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    singles = predictions.read(snakemake.input.predictions, params.classes)
    paths = snakemake.input.get("model_level")
    model_level = predictions.read(paths, params.classes) if paths else None
    made = build.build(
        singles,
        pd.read_csv(snakemake.input.ranking),
        model_level,
        params.ensembles,
        params.options,
        params.folds,
        params.seed,
        build.Interval(params.resamples, params.confidence),
    )
    for name, path in by_name(snakemake.output.predictions).items():
        write_csv(predictions.table(singles.rows, made.p[name], params.classes), path)
    write_csv(made.weights, snakemake.output.weights)
    write_csv(made.candidates, snakemake.output.candidates)


run(main, globals().get("snakemake"))
