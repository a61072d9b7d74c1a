"""Backbones by name. Each takes float32 RGB in -1..1; no network rescales its input.

Keras's pretrained networks of these names were all trained on that range; those with a rescaling layer are built without it.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from device.common.errors import SortbinError
from training.models.efficientnet_lite import efficientnet_lite0
from training.models.scratch_cnn import resnet18, scratch_cnn
from training.models.scratch_options import ScratchCnnOptions

Shape = tuple[int, int, int]
Build = Callable[[Shape, float, str | None], keras.Model]


class WeightsError(SortbinError, ValueError):
    """Weights that are missing, of another architecture, or cannot be downloaded."""


class BackboneError(SortbinError, ValueError):
    """An unknown backbone, or an option that it does not have."""


def _application(name: str, *, wide: bool = False, rescales: bool = False) -> Build:
    def build(shape: Shape, width: float, weights: str | None) -> keras.Model:
        if width != 1.0 and not wide:
            raise BackboneError(f"width: expected 1.0 with backbone {name}, which has no other width")
        options: dict[str, object] = {"alpha": width} if wide else {}
        if rescales:
            options["include_preprocessing"] = False
        model: keras.Model = getattr(keras.applications, name)(input_shape=shape, include_top=False, weights=weights, **options)
        return model

    return build


def _own(network: Callable[[Shape], keras.Model]) -> Build:
    def build(shape: Shape, width: float, weights: str | None) -> keras.Model:
        name = network.__name__
        if width != 1.0:
            raise BackboneError(f"width: expected 1.0 with backbone {name}, which has no other width")
        if weights == "imagenet":
            raise WeightsError(f"weights: expected none or a .weights.h5 file: there are no ImageNet weights of {name} to download")
        return network(shape)

    return build


BACKBONES: Mapping[str, Build] = {
    "mobilenet_v2": _application("MobileNetV2", wide=True),
    "mobilenet": _application("MobileNet", wide=True),
    "mobilenet_v3_small": _application("MobileNetV3Small", wide=True, rescales=True),
    "mobilenet_v3_large": _application("MobileNetV3Large", wide=True, rescales=True),
    "efficientnet_v2_b0": _application("EfficientNetV2B0", rescales=True),
    "efficientnet_v2_s": _application("EfficientNetV2S", rescales=True),
    "resnet101_v2": _application("ResNet101V2"),
    "resnet152_v2": _application("ResNet152V2"),
    "resnet18": _own(resnet18),
    "efficientnet_lite0": _own(efficientnet_lite0),
}
SCRATCH = "scratch_cnn"


def build_trunk(name: str, size: int, *, width: float = 1.0, scratch: ScratchCnnOptions | None = None, weights: str | None = None) -> keras.Model:
    """Build a trunk for size x size inputs.

    weights: a `.weights.h5` file of the network without its top, `imagenet` (Keras downloads it), or None for random weights whose batch norms keep
    the scale of signals from layer to layer (Mishkin & Matas 2016). Raises BackboneError and WeightsError.
    """
    shape = (size, size, 3)
    if name == SCRATCH:
        trunk = scratch_cnn(shape, scratch or ScratchCnnOptions())
    elif name in BACKBONES:
        keras.utils.disable_interactive_logging()  # the progress bar of a download would break up our lines
        try:
            trunk = BACKBONES[name](shape, width, "imagenet" if weights == "imagenet" else None)
        except OSError as error:
            raise WeightsError(f"weights imagenet: cannot be downloaded ({error}); name a .weights.h5 file") from error
    else:
        raise BackboneError(f"backbone: expected one of {', '.join([*BACKBONES, SCRATCH])}, found {name}")
    if weights is None:
        set_noise_statistics(trunk)
    elif weights != "imagenet":
        load_weights(trunk, name, width, Path(weights))
    return trunk


def load_weights(trunk: keras.Model, name: str, width: float, file: Path) -> None:
    """Load the weights of a trunk. Raises WeightsError for a file that is missing or of another network."""
    if not file.is_file():
        raise WeightsError(f"{file}: expected a .weights.h5 file for {name} without top, found none")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of layers that are missing in the file
            trunk.load_weights(file)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{file}: expected weights for {name} width {width} without top: {reason}") from error


def set_noise_statistics(trunk: keras.Model) -> None:
    """Set each batch norm to its statistics on coloured noise, so that a random network keeps the scale of signals when it is folded."""
    norms = [layer for layer in trunk.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    size = trunk.input_shape[1]
    coarse = np.random.default_rng(0).uniform(-1, 1, (32, -(-size // 8), -(-size // 8), 3)).astype(np.float32)
    noise = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :size, :size]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    trunk(noise, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
