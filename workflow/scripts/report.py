"""Rule `report`: one page from the study's tables and figures, and what lies beside it."""

from pathlib import Path
from typing import Any

from multiloss import report
from multiloss.job import versions
from multiloss.job.files import write_text
from multiloss.job.script import run
from multiloss.report import cards


def main(snakemake: Any) -> None:
    given, output, params = snakemake.input, snakemake.output, snakemake.params
    results = Path(output.page).parent
    files = [*given.tables, *given.figures, *given.cases]
    made = report.write(
        results,
        params.config,
        files=files,
        versions=versions.installed(params.locked),
        locked=params.locked,
        citation=params.citation,
    )
    write_text(made.page, output.page)
    write_text(f"{made.finding}\n", output.answer)
    for name, card in cards.write(results, params.config, files=files).items():
        write_text(card, output[name])


run(main, globals().get("snakemake"))
