"""Rule `report`: one page from the study's tables and figures."""

from pathlib import Path
from typing import Any

from multiloss import report
from multiloss.job import versions
from multiloss.job.files import write_text
from multiloss.job.script import run


def main(snakemake: Any) -> None:
    page = Path(snakemake.output.page)
    files = [
        *snakemake.input.get("tables", []),
        *snakemake.input.get("figures", []),
        *snakemake.input.get("cases", []),
    ]
    made = report.write(
        page.parent,
        snakemake.params.config,
        files=files,
        versions=versions.installed(snakemake.params.locked),
        locked=snakemake.params.locked,
        citation=snakemake.params.citation,
    )
    write_text(made.page, page)
    write_text(f"{made.finding}\n", Path(snakemake.output.answer))


run(main, globals().get("snakemake"))
