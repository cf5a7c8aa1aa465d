"""Rank the single models of one replicate by MCC on the `ensemble` split."""

from multiloss import predictions
from multiloss.ensembles import selection
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    singles = predictions.read(
        snakemake.input.predictions, snakemake.params.classes, splits=[selection.SPLIT]
    )
    write_csv(selection.rank(singles, snakemake.params.models), snakemake.output.ranking)


run(main, globals().get("snakemake"))
