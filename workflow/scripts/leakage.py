"""Audit the split: patients or images on two sides, images without a patient."""

import logging

import pandas as pd
from multiloss.data import leakage, patient_readings
from multiloss.data.tables import read_lungs, read_manifest
from multiloss.job.files import write_csv
from multiloss.job.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    manifest = read_manifest(snakemake.input.manifest)
    lungs = read_lungs(snakemake.input.lungs) if snakemake.input.lungs else None
    dropped = pd.read_csv(snakemake.input.dropped, dtype=str, keep_default_na=False)
    checked = pd.read_csv(snakemake.input.checked, dtype=str, keep_default_na=False)
    readings = patient_readings.compare(checked, snakemake.params.sources)
    patient_readings.tell(readings)
    write_csv(readings, snakemake.output.readings)
    further = [read_manifest(path) for path in snakemake.input.redrawn]
    table = leakage.audit(manifest, lungs, dropped, further)
    for row in table[table["verdict"] != "pass"].itertuples():
        logger.warning("%s: %s of %s: %s", row.verdict, row.count, row.n, row.detail)
    if snakemake.params.strict:
        leakage.refuse(table)
    write_csv(table, snakemake.output.table)


run(main, globals().get("snakemake"))
