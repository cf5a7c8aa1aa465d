"""Fetch the weights that encoders start with: the segmenters' or the classifiers'."""

from pathlib import Path

from multiloss.data.sources import addresses, download
from multiloss.job.errors import UserError
from multiloss.job.script import run
from multiloss.networks import encoder_weights

# What a file of weights, which is HDF5, begins with.
SIGN = b"\x89HDF\r\n\x1a\n"


def main(snakemake) -> None:
    section = snakemake.wildcards.section
    remedy = f"set {section}.encoder_weights to 'none' or to the path of a weights file"
    weights = Path(snakemake.output.weights)
    fetched = weights.with_suffix(".archive")
    setting = snakemake.params.encoder_weights
    if addresses.is_remote(setting):
        # Not among the parameters, which Snakemake stores: a token may be in the address.
        setting = snakemake.config[section]["encoder_weights"]
    url, sha256 = encoder_weights.address(snakemake.params.backbone, setting)
    try:
        download.fetch(url, fetched, sha256, name="encoder_weights")
    except UserError as error:
        raise UserError(f"{error}; or {remedy}") from None
    with open(fetched, "rb") as file:
        sign = file.read(len(SIGN))
    if sign != SIGN:
        # A web page that asks for a login, say: kept, it would be taken for the weights ever after.
        download.forget(fetched)
        raise UserError(
            f"source 'encoder_weights': {addresses.public(url)} gives no file of weights (HDF5): "
            f"check the address and whether the site asks for a login; or {remedy}"
        )
    fetched.replace(weights)
    download.forget(fetched)


run(main, globals().get("snakemake"))
