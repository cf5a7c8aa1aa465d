"""Collect the columns of the sources that tell groups of patients apart."""

from pathlib import Path

from multiloss.data import attributes, layouts
from multiloss.data.tables import read_manifest
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params = snakemake.params
    manifest = read_manifest(snakemake.input.manifest)
    folders = {Path(folder).name: Path(folder) for folder in snakemake.input.sources}
    found = {
        source["name"]: layouts.records(folders[source["name"]], source)
        for source in params.sources
    }
    table = attributes.collect(manifest, found, params.subgroups)
    write_csv(table, snakemake.output.attributes)


run(main, globals().get("snakemake"))
