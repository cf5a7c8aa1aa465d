"""Rule `figure`: one figure of the catalogue from its declared inputs."""

from typing import Any

from multiloss.figures.drawing import draw
from multiloss.job.script import run


def main(snakemake: Any) -> None:
    params, output = snakemake.params, snakemake.output
    inputs = dict(snakemake.input.items())
    draw(params.draw, params.params, inputs, params.style, output.png, output.svg, output.facts)


run(main, globals().get("snakemake"))
