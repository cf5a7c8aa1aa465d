"""Judge every model on every split, with intervals by patient; the test labels are read here."""

import logging

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.job.files import write_csv
from multiloss.job.script import run

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    params = snakemake.params
    options, seed = params.evaluation, params.seed
    found = predictions.read(
        snakemake.input.predictions, params.classes, divisions=params.divisions
    )
    models = study.entries(study.read_models(snakemake.input.models, found.models).values())
    everything, entries = evaluation.with_scaled(found, models, options)
    points, thresholds = evaluation.operating_points(everything, entries, options)
    logger.info("Evaluating %d models on %d images", len(everything.models), len(found.rows))
    chosen = pd.read_csv(snakemake.input.chosen)
    single = set(chosen.loc[chosen["what"] == "single", "model"])
    flattered = evaluation.flattered_models(entries, single, params.decided_on_val)
    threads = snakemake.threads
    tables = {
        "metrics": evaluation.metrics_table(
            everything,
            entries,
            options,
            seed,
            thresholds,
            threads,
            flattered,
            params.mixed,
        ),
        "operating_points": evaluation.by_patient(points, everything, options),
        "confusion": evaluation.confusion_table(everything),
        "curves": evaluation.curves_table(found, options, seed, threads),
        "rank": evaluation.rank_table(found, models, options, seed, params.variants),
        "degenerate": evaluation.degenerate_table(found, models),
    }
    _tell(tables["degenerate"])
    for name, table in tables.items():
        write_csv(table, snakemake.output[name])


def _tell(table: pd.DataFrame) -> None:
    """Name the models that learned one class or nothing, and what is wrong with most of them."""
    part = table[table["split"] == "test"]
    for problem, rows in part.groupby("problem", sort=False):
        models = rows["model"].unique()
        shown = ", ".join(models[:5]) + (", ..." if len(models) > 5 else "")
        logger.warning("%s on the test split: %d models (%s)", problem, len(models), shown)


run(main, globals().get("snakemake"))
