"""The U-Net and encoders of segmentation-models, and the loading of models with their layers.

The package reads its Keras flavour from the environment when it is imported, and registers
the activations that a saved model names: so it is imported here, and only here.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from multiloss.backend import keras
from multiloss.errors import UserError

os.environ.setdefault("SM_FRAMEWORK", "tf.keras")
with contextlib.redirect_stdout(io.StringIO()):  # it announces itself on import
    import segmentation_models
    from segmentation_models.backbones.backbones_factory import Backbones

# Where the classifier leaves the encoder: the last block of stage five, at 1/16 of the input.
CUT_LAYER = {"efficientnetb0": "block5c_add"}
# Mean and standard deviation of the channels of ImageNet in [0, 1], by which its networks see.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
    with _checked("segmentation", backbone, weights):
        model = segmentation_models.Unet(
            backbone,
            input_shape=(image_size, image_size, 3),
            classes=1,
            activation="sigmoid",
            encoder_weights=None if weights is None else str(weights),
            decoder_filters=decoder_filters,
        )
    model.layers[-1].dtype_policy = "float32"
    return model


def encoder(backbone: str, image_size: int, weights: str | Path | None = None) -> keras.Model:
    """The backbone without its head on (S, S, 3) images in [0, 1], one flat functional model.

    Its first layer takes off the mean of ImageNet's channels and divides by their deviation, as
    published weights expect it. `weights` is a file, or None for a random start; raises UserError
    as `unet` does.
    """
    keras_modules = {
        "backend": keras.backend,
        "layers": keras.layers,
        "models": keras.models,
        "utils": keras.utils,
    }
    with _checked("classification", backbone, weights):
        plain = Backbones.get_backbone(
            backbone,
            input_shape=(image_size, image_size, 3),
            weights=None if weights is None else str(weights),
            include_top=False,
            **keras_modules,
        )
    normalise = keras.layers.Normalization(
        mean=IMAGENET_MEAN,
        variance=[deviation**2 for deviation in IMAGENET_DEVIATION],
        name="imagenet_normalisation",
    )

    # Put in only now: files of weights go by the layers that the backbone itself has.
    def call(layer: keras.layers.Layer, image: keras.KerasTensor, *others, **options):
        first = layer.name == plain.layers[1].name
        return layer(normalise(image) if first else image, *others, **options)

    found = keras.models.clone_model(plain, call_function=call)
    found.set_weights(plain.get_weights())
    return found


@contextlib.contextmanager
def _checked(section: str, backbone: str, weights: str | Path | None) -> Iterator[None]:
    """Building a network from a file of weights that may be missing or of another network."""
    key = f"{section}.encoder_weights"
    remedy = f"set {key} to 'none' or to the path of a weights file"
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"{key}: no file '{weights}'; {remedy}")
    try:
        yield
    except Exception as error:
        if weights is None:
            raise
        raise UserError(
            f"{key}: '{weights}' is no weights file of {backbone} ({_first_line(error)}); {remedy}"
        ) from error


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
