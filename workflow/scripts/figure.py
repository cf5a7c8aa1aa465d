"""Rule `figure`: one figure of the catalogue from its declared inputs."""

from typing import Any

from multiloss.figures.drawing import draw
from multiloss.job.script import run


def main(snakemake: Any) -> None:
    params = snakemake.params
    inputs = dict(snakemake.input.items())
    draw(params.draw, params.params, inputs, params.style, *snakemake.output)


run(main, globals().get("snakemake"))
