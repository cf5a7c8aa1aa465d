"""Check the lung masks of all images, and what their crops keep of known lungs and lesions."""

import logging
from pathlib import Path

import pandas as pd
from multiloss.data.tables import read_manifest
from multiloss.evaluation import mask_checks
from multiloss.job.files import write_csv
from multiloss.job.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    manifest = read_manifest(snakemake.input.manifest)
    boxes = pd.read_csv(snakemake.input.boxes, dtype={"image_id": str}, keep_default_na=False)
    masks = Path(snakemake.input.masks)
    checks = mask_checks.table(manifest, boxes, masks, snakemake.threads)
    flagged = int((checks["flags"] != "").sum())
    logger.info("%d of %d lung masks are implausible", flagged, len(checks))
    write_csv(checks, snakemake.output.checks)
    write_csv(mask_checks.summarise(checks), snakemake.output.summary)


run(main, globals().get("snakemake"))
