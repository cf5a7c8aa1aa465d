"""The encoders that a study may choose, one class a family, and the U-Nets built on them.

A new family is one subclass of `Family` here; config, networks and report take all they need from
it. Importing this module imports no Keras, so that a config can be checked.
The published study used segmentation-models: another decoder would have other layers and numbers.
"""

import contextlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from multiloss.job.errors import UserError

if TYPE_CHECKING:
    from multiloss.backend import keras


# Mean and standard deviation of the channels of ImageNet in [0, 1], by which its networks see.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """One member of a family: what the config calls it, and what is to be known of it.

    `cut_layer`: where the classifier leaves the encoder, at 1/16 of the input's size. `imagenet`:
    address and SHA-256 of ImageNet weights without the classification layers, or None. `cites`:
    keys of report/references.yaml.
    """

    name: str
    title: str
    cut_layer: str
    imagenet: tuple[str, str] | None
    cites: tuple[str, ...]
    family: "type[Family]"


class Family:
    """Encoders of one design.

    `members`: by the name in configs, title, layer to cut at, and ImageNet weights. All networks of
    the study see images in [0, 1]; a family that wants other numbers has a layer for that.
    """

    members: ClassVar[Mapping[str, tuple[str, str, tuple[str, str] | None]]]
    cites: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def unet(
        name: str, image_size: int, weights: str | None, decoder_filters: tuple[int, ...]
    ) -> "keras.Model":
        """The U-Net on (S, S, 3) images with one sigmoid output channel, decoder untrained."""
        raise NotImplementedError

    @staticmethod
    def encoder(name: str, image_size: int, weights: str | None) -> "keras.Model":
        """The encoder without its head on (S, S, 3) images, one flat functional model, with the
        layers that bring values to what published weights expect."""
        raise NotImplementedError


class EfficientNet(Family):
    """EfficientNet, as segmentation-models builds it."""

    members = {
        "efficientnetb0": (
            "EfficientNet-B0",
            "block5c_add",  # the last block of stage five
            (
                "https://github.com/Callidior/keras-applications/releases/download/efficientnet/"
                "efficientnet-b0_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5",
                "c1421ad80a9fc67c2cc4000f666aa50789ce39eedb4e06d531b0c593890ccff3",
            ),
        )
    }
    cites = ("tan2019",)

    @staticmethod
    def unet(
        name: str, image_size: int, weights: str | None, decoder_filters: tuple[int, ...]
    ) -> "keras.Model":
        return _segmentation_models().Unet(
            name,
            input_shape=(image_size, image_size, 3),
            classes=1,
            activation="sigmoid",
            encoder_weights=weights,
            decoder_filters=decoder_filters,
        )

    @staticmethod
    def encoder(name: str, image_size: int, weights: str | None) -> "keras.Model":
        from multiloss.backend import keras

        factory = _segmentation_models().backbones.backbones_factory.Backbones
        plain = factory.get_backbone(
            name,
            input_shape=(image_size, image_size, 3),
            weights=weights,
            include_top=False,
            backend=keras.backend,
            layers=keras.layers,
            models=keras.models,
            utils=keras.utils,
        )
        normalise = keras.layers.Normalization(
            mean=IMAGENET_MEAN,
            variance=[deviation**2 for deviation in IMAGENET_DEVIATION],
            name="imagenet_normalisation",
        )

        # Put in only now: files of weights go by the layers that the backbone itself has.
        def call(layer: Any, image: Any, *others: Any, **options: Any) -> Any:
            first = layer.name == plain.layers[1].name
            return layer(normalise(image) if first else image, *others, **options)

        found = keras.models.clone_model(plain, call_function=call)
        found.set_weights(plain.get_weights())
        return found


@cache
def known() -> dict[str, Backbone]:
    """Every encoder that a config may name."""
    return {
        name: Backbone(name, title, cut_layer, imagenet, family.cites, family)
        for family in Family.__subclasses__()
        for name, (title, cut_layer, imagenet) in family.members.items()
    }


def get(name: str) -> Backbone:
    """The encoder of that name; raises UserError with the known names."""
    if name not in known():
        raise UserError(f"unknown backbone '{name}': use one of {', '.join(known())}")
    return known()[name]


@cache
def _segmentation_models() -> ModuleType:
    """The package, which reads its Keras flavour from the environment when it is imported, and
    registers the activations that a saved model names."""
    os.environ.setdefault("SM_FRAMEWORK", "tf.keras")
    from multiloss.backend import keras  # noqa: F401  sets Keras up first

    with contextlib.redirect_stdout(io.StringIO()):  # it announces itself on import
        import segmentation_models
    return segmentation_models


def unet(
    backbone: str,
    image_size: int,
    weights: str | Path | None = None,
    decoder_filters: tuple[int, ...] = (256, 128, 64, 32, 16),
) -> "keras.Model":
    """U-Net on (S, S, 3) images in [0, 1] with one sigmoid output channel.

    `weights` is a file of encoder weights, or None for a random start. Raises UserError when the
    file is not there or does not fit: a random start is never silent. The output is float32
    under any policy: in half precision a certain pixel would be exactly 0 or 1, where the losses
    have no slope.
    """
    with _checked("segmentation", backbone, weights):
        start = None if weights is None else str(weights)
        model = get(backbone).family.unet(backbone, image_size, start, decoder_filters)
    model.layers[-1].dtype_policy = "float32"
    return model


def encoder(backbone: str, image_size: int, weights: str | Path | None = None) -> "keras.Model":
    """The backbone without its head on (S, S, 3) images in [0, 1], one flat functional model.

    `weights` is a file, or None for a random start; raises UserError as `unet` does.
    """
    with _checked("classification", backbone, weights):
        start = None if weights is None else str(weights)
        return get(backbone).family.encoder(backbone, image_size, start)


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


def cut(model: "keras.Model", backbone: str) -> "keras.Model":
    """The encoder of a segmenter, or of `encoder`, as far as classifiers go: to its `cut_layer`."""
    from multiloss.backend import keras

    return keras.Model(model.inputs[0], model.get_layer(get(backbone).cut_layer).output)


def load_model(path: str | Path) -> "keras.Model":
    """A saved model, without compiling it and without executing code that it might carry.

    Raises UserError for a file that is damaged or asks for code of its own.
    """
    from multiloss.backend import keras

    with _loading(path):
        _segmentation_models()  # knows the activations of its networks
        return keras.models.load_model(path, compile=False, safe_mode=True)


def load_weights(model: "keras.Model", path: str | Path) -> None:
    """Give `model` the weights of a saved model of the same architecture.

    Raises UserError for a file that is damaged or of another network.
    """
    weights = "model.weights.h5"
    with _loading(path), tempfile.TemporaryDirectory() as folder:
        # Where they lie in the archive Keras reads them slower than it builds a whole model.
        with zipfile.ZipFile(path) as archive:
            archive.extract(weights, folder)
        model.load_weights(Path(folder, weights))


@contextlib.contextmanager
def _loading(path: str | Path) -> Iterator[None]:
    if Path(path).suffix != ".keras":
        raise UserError(f"{path}: models are loaded from .keras files alone")
    try:
        yield
    except Exception as error:
        raise UserError(
            f"{path}: not a model that can be loaded safely ({_first_line(error)}); "
            "delete it and run again"
        ) from error
