"""Rule `figure`: one figure of the catalogue from its declared inputs."""

from typing import Any

from multiloss.figures.catalog import Figure
from multiloss.figures.drawing import draw
from multiloss.script import run


def main(snakemake: Any) -> None:
    figure = Figure(**snakemake.params.figure)
    inputs = {name: snakemake.input.get(name) for name in figure.inputs}
    output = snakemake.output
    draw(figure, inputs, snakemake.params.style, output.png, output.svg, output.facts)


run(main, globals().get("snakemake"))
