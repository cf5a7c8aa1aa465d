"""Fetch the weights that the segmenters' encoders start with."""

from pathlib import Path

from multiloss import download, encoder_weights
from multiloss.errors import UserError
from multiloss.script import run

REMEDY = "set segmentation.encoder_weights to 'none' or to the path of a weights file"


def main(snakemake) -> None:
    weights = Path(snakemake.output.weights)
    fetched = weights.with_suffix(".archive")
    # Not among the parameters, which Snakemake stores: a token may be in the address.
    setting = snakemake.config["segmentation"]["encoder_weights"]
    url, sha256 = encoder_weights.address(snakemake.params.backbone, setting)
    try:
        download.fetch(url, fetched, sha256, name="encoder_weights")
    except UserError as error:
        raise UserError(f"{error}; or {REMEDY}") from None
    fetched.replace(weights)
    download.forget(fetched)


run(main, globals().get("snakemake"))
