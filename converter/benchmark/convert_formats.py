"""Converts a network to every format, in a process that `run_in_subprocess.ask` starts: the process that measures has no TensorFlow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from converter.data.photos import Photo
from device.common.run_in_subprocess import reply

if TYPE_CHECKING:
    import keras

CALIBRATION_PHOTOS, SEED = 200, 1


class ConversionRequest(msgspec.Struct, frozen=True):
    """network: a `.keras` file. calibration: training photos for INT8, in order. keys: of the `.tflite` formats. onnx: whether to write `.onnx` too.
    out: the folder to write into.
    """

    network: str
    label_count: int
    calibration: tuple[str, ...]
    keys: tuple[str, ...]
    onnx: bool
    batches: tuple[int, ...]
    out: str


class ConversionResult(msgspec.Struct, frozen=True):
    """size: side of the network's input in pixels. refused: by file name, why it could not be converted; the other files exist."""

    size: int
    refused: dict[str, str]


def file_name(key: str, suffix: str, batch: int) -> str:
    """The file name of a format for one batch size."""
    return f"{key}{suffix}" if batch == 1 else f"{key}.batch{batch}{suffix}"


def convert(request: ConversionRequest) -> ConversionResult:
    """Convert the network. Raises NetworkError, PhotosError and OSError."""
    from converter.quantization.float_network import read_network

    network = read_network(Path(request.network), request.label_count)
    size, out = int(network.inputs[0].shape[1]), Path(request.out)
    photos = [Photo(path, "", Path(path)) for path in request.calibration]
    refused: dict[str, str] = {}
    for batch in request.batches:
        refused |= _write_tflite(network, size, batch, request.keys, photos, out)
        if request.onnx:
            refused |= _write_onnx(network, size, batch, out)
    return ConversionResult(size, refused)


def _write_tflite(network: "keras.Model", size: int, batch: int, keys: Sequence[str], photos: Sequence[Photo], out: Path) -> dict[str, str]:
    import tempfile

    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    refused = {}
    with tempfile.TemporaryDirectory(prefix="sortbin-") as saved:
        # The batch size is fixed, as in bundles. With an open one XNNPACK is not used, and tflite-runtime is ten times slower.
        network.export(saved, verbose=False, input_signature=[tf.TensorSpec((batch, size, size, 3), tf.float32, name="image")])
        for key in keys:
            name = file_name(key, ".tflite", batch)
            try:
                (out / name).write_bytes(_convert_to(Path(saved), key, batch, size, photos))
            except (ConverterError, RuntimeError, ValueError) as error:
                refused[name] = f"TensorFlow's converter: {str(error).strip().partition(chr(10))[0]}"
    return refused


def _convert_to(saved: Path, key: str, batch: int, size: int, photos: Sequence[Photo]) -> bytes:
    from converter.quantization import tf_converter as tflite
    from converter.quantization.calibration_photos import NetworkInputs

    match key:
        case "float32":
            return tflite.to_float32(saved)
        case "float16":
            return tflite.to_float16(saved)
        case "dynamic":
            return tflite.to_dynamic(saved)
        case _ if batch == 1:
            return tflite.to_int8(saved, NetworkInputs(photos, size, full_range=True))
        case _:
            return _convert_to_int8(saved, batch, size, photos)


def _convert_to_int8(saved: Path, batch: int, size: int, photos: Sequence[Photo]) -> bytes:
    """As `to_int8`, calibrated with whole batches."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _calibration_batches(photos, size, batch)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


def _calibration_batches(photos: Sequence[Photo], size: int, batch: int) -> Iterator[list[npt.NDArray[Any]]]:
    from converter.quantization.calibration_photos import NetworkInputs
    from device.vision.inference.preprocess import to_float

    pending: list[npt.NDArray[Any]] = []
    for picture in NetworkInputs(photos, size, full_range=True):
        pending.append(to_float(picture))
        if len(pending) == batch:
            yield [np.stack(pending)]
            pending = []
    if pending:
        yield [np.stack([*pending, *[pending[-1]] * (batch - len(pending))])]


def _write_onnx(network: "keras.Model", size: int, batch: int, out: Path) -> dict[str, str]:
    import tensorflow as tf

    name = file_name("float32", ".onnx", batch)
    signature = [tf.TensorSpec((batch, size, size, 3), tf.float32, name="image")]
    try:
        network.export(out / name, format="onnx", verbose=False, input_signature=signature)
    except (ImportError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        return {name: f"tf2onnx: {str(error).strip().partition(chr(10))[0]}"}
    return {}


if __name__ == "__main__":
    reply(ConversionRequest, convert)
