"""The U-Net of segmentation-models and the loading of models that were saved with its layers.

The published study used this package: another decoder would have other layers and other numbers.

The package reads its Keras flavour from the environment when it is imported, and registers
the activations that a saved model names: so it is imported here, and only here.
"""

import contextlib
import io
import os
from pathlib import Path

from multiloss.backend import keras
from multiloss.errors import UserError

os.environ.setdefault("SM_FRAMEWORK", "tf.keras")
with contextlib.redirect_stdout(io.StringIO()):  # it announces itself on import
    import segmentation_models

# Where the classifier leaves the encoder: the last block of stage five, at 1/16 of the input.
CUT_LAYER = {"efficientnetb0": "block5c_add"}


def unet(
    backbone: str,
    image_size: int,
    weights: str | Path | None = None,
    decoder_filters: tuple[int, ...] = (256, 128, 64, 32, 16),
) -> keras.Model:
    """U-Net on (S, S, 3) images in [0, 1] with one sigmoid output channel.

    `weights` is a file of encoder weights, or None for a random start. Raises UserError when the
    file is not there or does not fit: a random start is never silent. The output is float32
    under any policy: in half precision a certain pixel would be exactly 0 or 1, where the losses
    have no slope.
    """
    remedy = "set segmentation.encoder_weights to 'none' or to the path of a weights file"
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"segmentation.encoder_weights: no file '{weights}'; {remedy}")
    try:
        model = segmentation_models.Unet(
            backbone,
            input_shape=(image_size, image_size, 3),
            classes=1,
            activation="sigmoid",
            encoder_weights=None if weights is None else str(weights),
            decoder_filters=decoder_filters,
        )
    except Exception as error:
        if weights is None:
            raise
        raise UserError(
            f"segmentation.encoder_weights: '{weights}' is no weights file of {backbone} "
            f"({_first_line(error)}); {remedy}"
        ) from error
    model.layers[-1].dtype_policy = "float32"
    return model


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def load_model(path: str | Path) -> keras.Model:
    """A saved model, without compiling it and without executing code that it might carry.

    Raises UserError for a file that is damaged or asks for code of its own.
    """
    if Path(path).suffix != ".keras":
        raise UserError(f"{path}: models are loaded from .keras files alone")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise UserError(
            f"{path}: not a model that can be loaded safely ({_first_line(error)}); "
            "delete it and run again"
        ) from error
