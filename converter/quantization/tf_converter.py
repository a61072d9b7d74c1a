"""TensorFlow's converter: from a Keras network to `.tflite` files that name their outputs."""

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from converter.common.exception_text import first_sentence
from converter.quantization import float_network as networks
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels, to_float

_OPERATION = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op|failed to legalize operation 'tfl?\.(\w+)'")


def why_not_converted(error: BaseException) -> str:
    """Why TensorFlow's converter refused a network."""
    found = _OPERATION.search(str(error))
    if found:
        return f"TensorFlow Lite has no operation {next(filter(None, found.groups()))}, which it uses; replace that layer"
    return f"TensorFlow's converter refuses it: {first_sentence(error)}"


class ConversionError(SortbinError, ValueError):
    """A network that TensorFlow's converter refuses. The message says why; it does not name the network's file."""


class KerasNetwork:
    """A network that `training fit` made, as something to quantize. size: side of its square input in pixels."""

    def __init__(self, file: Path, label_count: int) -> None:
        """Raises NetworkError for a file whose inputs and outputs are not a bundle's."""
        self._network = networks.read_network(file, label_count)
        self.size: int = self._network.inputs[0].shape[1]

    def predict(self, pictures: Iterable[Pixels]) -> dict[str, Float32Array]:
        """Outputs by name, one row a picture of size x size x 3 uint8."""
        return networks.predict(self._network, pictures)

    def exported(self) -> contextlib.AbstractContextManager[Path]:
        """The network as a SavedModel in a temporary folder."""
        return exported(self._network)


@contextlib.contextmanager
def exported(network: keras.Model) -> Iterator[Path]:
    """The network as a SavedModel in a temporary folder: input `image` of 1 x size x size x 3, outputs under the network's own names.

    The batch is fixed here: Keras leaves it open, and the Edge TPU takes static shapes only.
    """
    size = network.inputs[0].shape[1]
    with tempfile.TemporaryDirectory(prefix="sortbin-") as folder:
        network.export(folder, verbose=False, input_signature=[tf.TensorSpec((1, size, size, 3), tf.float32, name="image")])
        yield Path(folder)


def to_float32(saved: Path) -> bytes:
    """Convert without quantizing."""
    return _converted(tf.lite.TFLiteConverter.from_saved_model(str(saved)))


def to_int8(saved: Path, pictures: Iterable[Pixels]) -> bytes:
    """Quantize fully, weights per channel: uint8 input, int8 outputs. All of it is left to TensorFlow.

    pictures: size x size x 3 uint8, seen one after the other to set each tensor's range. Over all of them they must hold the values 0 and
    255: only then does the input take camera bytes untouched.
    """
    return _converted(_int8_converter(saved, pictures))


def to_calibrated(saved: Path, pictures: Iterable[Pixels]) -> bytes:
    """The float model that `quantize_calibrated` takes: that of `to_float32`, with the range of each tensor over `pictures`."""
    converter = _int8_converter(saved, pictures)
    converter._experimental_calibrate_only = True
    return _converted(converter)


def quantize_calibrated(model: bytes) -> bytes:
    """Quantize what `to_calibrated` gave, as `to_int8` does, by the ranges that stand in it."""
    try:
        return bytes(mlir_quantize(model, input_data_type=tf.uint8, output_data_type=tf.int8, disable_per_channel_for_dense_layers=True))
    except (RuntimeError, ValueError) as error:
        raise ConversionError(why_not_converted(error)) from error


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    try:
        return bytes(converter.convert())
    except SortbinError:
        raise
    except Exception as error:  # what TensorFlow raises here is documented nowhere
        raise ConversionError(why_not_converted(error)) from error


def _int8_converter(saved: Path, pictures: Iterable[Pixels]) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([to_float(picture)[None]] for picture in pictures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    # One scale for a whole dense layer: software older than FULLY_CONNECTED 4 reads only the first of many without a word.
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
    """Convert with weights in half precision; what they are multiplied with stays float32."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _converted(converter)


def to_dynamic(saved: Path) -> bytes:
    """Convert with weights in 8 bits and activations quantized as they come, each time anew."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # FULLY_CONNECTED 12 would not load in tflite-runtime 2.14
    return _converted(converter)
