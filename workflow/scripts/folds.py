"""Set the folds beside each other, put them together, and compare over them."""

import pandas as pd
from multiloss import evaluation, predictions
from multiloss.data.tables import read_manifest
from multiloss.ensembles import build, crossfit
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params, given, output = snakemake.params, snakemake.input, snakemake.output
    paths = dict(zip(params.models, given.predictions, strict=True))
    rankings, candidates = (
        pd.concat([pd.read_csv(path) for path in paths_of], ignore_index=True)
        for paths_of in (given.rankings, given.candidates)
    )
    ensembles = {
        name: entry for name, entry in params.models.items() if entry["kind"] == "ensemble"
    }
    parts, chosen = [], []
    for number in params.runs:
        own = [path for name, path in paths.items() if params.models[name]["replicate"] == number]
        parts.append(predictions.read(own, params.classes, splits=["test"]))
        # Of a run's own images alone: those that it tests on had no part in it.
        chosen.append(crossfit.choose(candidates[candidates["replicate"] == number]))
    runs = evaluation.fold_runs(
        parts,
        [read_manifest(path, params.classes) for path in given.manifests],
        build.member_table(ensembles, rankings, candidates, {}),
        chosen,
        params.folds,
    )
    folds = evaluation.Folds(runs, params.models, params.significance, params.evaluation)
    compared = evaluation.fold_comparisons_table(folds, params.significance, params.variants)
    write_csv(evaluation.folds_table(folds), output.folds)
    write_csv(evaluation.pooled_table(folds, params.seed, snakemake.threads), output.folds_pooled)
    write_csv(compared, output.fold_comparisons)


run(main, globals().get("snakemake"))
