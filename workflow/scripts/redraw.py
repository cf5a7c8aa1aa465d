"""Divide the patients anew for one training run: with folds all, else those outside the test."""

from multiloss.data import folds
from multiloss.data.redraw import redraw
from multiloss.data.tables import read_manifest
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    manifest = read_manifest(snakemake.input.manifest, params.classes)
    number = int(snakemake.wildcards.replicate)
    drawn = (number, params.seed, params.classes)
    if params.folds:
        divided = folds.divide(manifest, params.ratios, params.folds, *drawn)
    else:
        divided = redraw(manifest, params.ratios, *drawn)
    write_csv(divided, snakemake.output.manifest)


run(main, globals().get("snakemake"))
