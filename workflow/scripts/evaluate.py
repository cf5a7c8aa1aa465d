"""Judge every model on every split, with intervals by patient; the test labels are read here."""

import logging

from multiloss import evaluation
from multiloss.ensembles import predictions
from multiloss.files import write_csv
from multiloss.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    params = snakemake.params
    options, models, seed = params.evaluation, params.models, params.seed
    found = predictions.read(snakemake.input.predictions, params.classes)
    everything, entries = found, dict(models)
    if options["temperature_scaling"]:
        scaled, added, _ = evaluation.with_temperatures(found, models)
        everything, entries = evaluation.join(found, scaled), entries | added
    points, thresholds = evaluation.operating_points(everything, entries, options)
    logger.info("Evaluating %d models on %d images", len(everything.models), len(found.rows))
    threads = snakemake.threads
    tables = {
        "metrics": evaluation.metrics_table(
            everything, entries, options, seed, thresholds, threads
        ),
        "operating_points": points,
        "confusion": evaluation.confusion_table(everything),
        "curves": evaluation.curves_table(found, options, seed, threads),
        "rank": evaluation.rank_table(found, models, options, seed),
    }
    for name, table in tables.items():
        write_csv(table, snakemake.output[name])


run(main, globals().get("snakemake"))
