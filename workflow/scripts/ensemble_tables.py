"""Gather members, weights and scores of all replicates, and choose on the `ensemble` split."""

import pandas as pd
from multiloss import predictions
from multiloss.ensembles import build, crossfit, selection
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    rankings, weights, candidates = (
        pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
        for paths in (
            snakemake.input.rankings,
            snakemake.input.weights,
            snakemake.input.candidates,
        )
    )
    if snakemake.input.seeds:
        seeds = predictions.read(
            snakemake.input.seeds,
            snakemake.params.classes,
            splits=[selection.SPLIT],
            divisions=snakemake.params.divisions,
        )
        ranked = [
            selection.rank(part, snakemake.params.seeds) for part in seeds.parts(selection.SPLIT)
        ]
        rankings = pd.concat([rankings, *ranked], ignore_index=True)
    members = build.member_table(
        snakemake.params.ensembles, rankings, candidates, snakemake.params.seed_ensembles
    )
    write_csv(members, snakemake.output.members)
    write_csv(weights, snakemake.output.weights)
    write_csv(candidates, snakemake.output.candidates)
    write_csv(crossfit.choose(candidates, snakemake.params.families), snakemake.output.chosen)


run(main, globals().get("snakemake"))
