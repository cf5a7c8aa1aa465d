"""The table of what one classifier predicted when it was trained: every split but train."""

from multiloss.data.tables import prediction_rows, prediction_table, read_array, read_manifest
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    classes = snakemake.params.classes
    manifest = read_manifest(snakemake.input.manifest, classes)
    rows = prediction_rows(manifest)
    probabilities = read_array(snakemake.input.probabilities, len(rows))[:]
    write_csv(
        prediction_table(manifest, rows, probabilities, classes), snakemake.output.predictions
    )


run(main, globals().get("snakemake"))
