"""Divide the patients outside the test split anew, for one training run."""

from multiloss.data.redraw import redraw
from multiloss.data.tables import read_manifest
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    manifest = read_manifest(snakemake.input.manifest, params.classes)
    number = int(snakemake.wildcards.replicate)
    divided = redraw(manifest, params.ratios, number, params.seed, params.classes)
    write_csv(divided, snakemake.output.manifest)


run(main, globals().get("snakemake"))
