"""Average several seeds of one loss: the ensemble that costs the same and mixes no losses.

Where each seed has a division of its own, of the images that they have in common.
"""

from multiloss import predictions
from multiloss.ensembles import combiners
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    classes = snakemake.params.classes
    seeds = predictions.read(
        snakemake.input.predictions, classes, divisions=snakemake.params.divisions
    )
    p = combiners.SimpleAverage().predict(seeds.p)
    write_csv(predictions.table(seeds.rows, p, classes), snakemake.output.predictions)


run(main, globals().get("snakemake"))
