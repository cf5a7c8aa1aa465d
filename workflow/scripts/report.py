"""Rule `report`: one page from the study's tables and figures, and the cards beside it."""

from pathlib import Path
from typing import Any

from multiloss import report
from multiloss.job import versions
from multiloss.job.files import write_text
from multiloss.job.script import run
from multiloss.report import cards


def main(snakemake: Any) -> None:
    page = Path(snakemake.output[0])
    files = [*snakemake.input.get("tables", []), *snakemake.input.get("figures", [])]
    text = report.build(
        page.parent,
        snakemake.params.config,
        files=files,
        versions=versions.installed(snakemake.params.locked),
        locked=snakemake.params.locked,
        citation=snakemake.params.citation,
    )
    write_text(text, page)
    for name, card in cards.write(page.parent, snakemake.params.config, files=files).items():
        write_text(card, Path(snakemake.output[name]))


run(main, globals().get("snakemake"))
