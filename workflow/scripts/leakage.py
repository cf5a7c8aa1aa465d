"""Audit the split: patients or images on two sides, images without a patient."""

import logging

import pandas as pd
from multiloss import leakage
from multiloss.files import write_csv
from multiloss.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    tables = [
        pd.read_csv(path, dtype=str, keep_default_na=False)
        for path in (
            snakemake.input.manifest,
            snakemake.input.lungs,
            snakemake.input.dropped,
        )
    ]
    table = leakage.audit(*tables)
    for row in table[table["verdict"] != "pass"].itertuples():
        logger.warning("%s: %s of %s: %s", row.verdict, row.count, row.n, row.detail)
    if snakemake.params.strict:
        leakage.refuse(table)
    write_csv(table, snakemake.output.table)


run(main, globals().get("snakemake"))
