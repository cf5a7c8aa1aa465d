"""Write data/models.csv: every model of the study once, with all that its name stands for."""

from multiloss import study
from multiloss.job.files import write_text
from multiloss.job.script import run


def main(snakemake) -> None:
    models = [study.Model(**entry) for entry in snakemake.params.models.values()]
    write_text(study.models_text(models), snakemake.output.models)


run(main, globals().get("snakemake"))
