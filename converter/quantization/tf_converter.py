"""Converts a Keras network to `.tflite` files with TensorFlow's converter. Their signatures name the outputs."""

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from converter.common.exception_text import first_sentence
from converter.quantization import float_network as networks
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels, to_float

_OPERATION = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op|failed to legalize operation 'tfl?\.(\w+)'")


def why_not_converted(error: BaseException) -> str:
    """Why TensorFlow's converter refused a network, in one line."""
    found = _OPERATION.search(str(error))
    if found:
        return f"TensorFlow Lite has no operation {next(filter(None, found.groups()))}, which it uses; replace that layer"
    return f"TensorFlow's converter refuses it: {first_sentence(error)}"


class ConversionError(SortbinError, ValueError):
    """A network that a converter refuses. The message says why; it does not name the file of the network."""


class KerasNetwork:
    """A network of `training fit`, to be quantized. size: side of its square input in pixels."""

    def __init__(self, file: Path, label_count: int) -> None:
        """Raises NetworkError for a file without the inputs and outputs that a bundle needs."""
        self._network = networks.read_network(file, label_count)
        self.size: int = self._network.inputs[0].shape[1]

    def predict(self, pictures: Iterable[Pixels]) -> dict[str, Float32Array]:
        """Outputs by name, one row per picture of size x size x 3 uint8."""
        return networks.predict(self._network, pictures)

    def exported(self) -> contextlib.AbstractContextManager[Path]:
        """The network as a SavedModel in a temporary folder."""
        return exported(self._network)


@contextlib.contextmanager
def exported(network: keras.Model) -> Iterator[Path]:
    """The network as a SavedModel in a temporary folder: input `image` of 1 x size x size x 3, outputs with the network's own names.

    The batch size is fixed to 1, because the Edge TPU takes static shapes only. Weights are constants: Keras' own export keeps variables,
    and writing and reading those takes longer than the rest of a conversion.
    """
    size = network.inputs[0].shape[1]
    image = [tf.TensorSpec((1, size, size, 3), tf.float32, name="image")]
    traced = tf.function(lambda image: network(image, training=False), input_signature=image, autograph=False).get_concrete_function()
    names, constant = sorted(traced.structured_outputs), convert_variables_to_constants_v2(traced)  # TensorFlow flattens a dict by sorted keys
    module = tf.Module()
    module.run = tf.function(lambda image: dict(zip(names, constant(image), strict=True)), input_signature=image, autograph=False)
    # Gradients of silu and similar functions are separate functions, which a frozen graph does not contain.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory(prefix="sortbin-") as folder:
        tf.saved_model.save(module, folder, signatures=module.run.get_concrete_function(), options=options)
        yield Path(folder)


def to_float32(saved: Path) -> bytes:
    """Convert without quantizing."""
    return _converted(tf.lite.TFLiteConverter.from_saved_model(str(saved)))


def to_int8(saved: Path, pictures: Iterable[Pixels]) -> bytes:
    """Quantize fully with TensorFlow alone, weights per channel: uint8 input, int8 outputs.

    pictures: size x size x 3 uint8, for calibration. The values 0 and 255 must occur in them; only then can camera bytes go in unchanged.
    """
    return _converted(_int8_converter(saved, pictures))


def to_calibrated(saved: Path, pictures: Iterable[Pixels]) -> bytes:
    """The float model that `quantize_calibrated` takes: that of `to_float32`, with the range of each tensor over `pictures`."""
    converter = _int8_converter(saved, pictures)
    converter._experimental_calibrate_only = True
    return _converted(converter)


def quantize_calibrated(model: bytes) -> bytes:
    """Quantize a model of `to_calibrated` with the ranges in it, as `to_int8` does."""
    try:
        return bytes(mlir_quantize(model, input_data_type=tf.uint8, output_data_type=tf.int8, disable_per_channel_for_dense_layers=True))
    except (RuntimeError, ValueError) as error:
        raise ConversionError(why_not_converted(error)) from error


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    try:
        return bytes(converter.convert())
    except SortbinError:
        raise
    except Exception as error:  # the exceptions of the converter are not documented
        raise ConversionError(why_not_converted(error)) from error


def _int8_converter(saved: Path, pictures: Iterable[Pixels]) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([to_float(picture)[None]] for picture in pictures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    # One scale per dense layer: software older than FULLY_CONNECTED 4 silently uses only the first of several.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter


def to_int16x8(saved: Path, pictures: Iterable[Pixels]) -> bytes:
    """Quantize activations to 16 bits and weights to 8, per channel; input and outputs float32. pictures: as for `to_int8`."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([to_float(picture)[None]] for picture in pictures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    return _converted(converter)


def to_float16(saved: Path) -> bytes:
    """Convert with weights in half precision. Activations stay float32."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _converted(converter)


def to_dynamic(saved: Path) -> bytes:
    """Convert with 8-bit weights. Activations are quantized at run time."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # FULLY_CONNECTED 12 would not load in tflite-runtime 2.14
    return _converted(converter)
