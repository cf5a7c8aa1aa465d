"""Say what each primary comparison shows and could have shown, and what a next study takes."""

import pandas as pd
from multiloss import evaluation, predictions, study
from multiloss.job.files import write_csv
from multiloss.job.script import run


def main(snakemake) -> None:
    params, given = snakemake.params, snakemake.input
    found = predictions.read(given.predictions, params.classes, splits=["test"])
    models = study.entries(study.read_models(given.models, found.models).values())
    tables = {
        "significance": pd.read_csv(given.significance),
        "replicate_comparisons": pd.read_csv(given.replicate_comparisons),
    }
    for name in ("ensemble_comparisons", "fold_comparisons"):
        if given.get(name):
            tables[name] = pd.read_csv(given[name])
    compared = evaluation.primary_comparisons(tables, models)
    members, chosen = pd.read_csv(given.members), pd.read_csv(given.chosen)
    config = params.significance, params.evaluation
    verdicts = evaluation.verdicts_table(
        found, models, compared, members, chosen, *config, params.seed
    )
    planning = evaluation.planning_table(found, models, compared, chosen, *config)
    write_csv(verdicts, snakemake.output.verdicts)
    write_csv(planning, snakemake.output.planning)


run(main, globals().get("snakemake"))
