"""The runtimes behind one interface of three steps: pictures to the runtime's input, the network, the runtime's output to logits.

Pictures are batch x size x size x 3 uint8, RGB; logits are batch x labels float32. A process imports only the library that it measures.
"""

import ctypes
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels, to_float
from device.vision.inference.runtime import EDGETPU_LIBRARY, first_line, is_delegated

Logits = Float32Array


_Loader = Callable[[str, Any, Path, int, int, int], "Engine"]
"""takes the runtime's name and module, a file, the batch, the threads and the number of labels"""


class EngineError(SortbinError, RuntimeError):
    """A runtime that cannot be imported or cannot run a file. The message quotes its error."""


class Engine(NamedTuple):
    """A loaded network. name: runtime and version. prepare, run, finish: the three steps; each takes the result of the one before."""

    name: str
    prepare: Callable[[Pixels], Any]
    run: Callable[[Any], Any]
    finish: Callable[[Any], Logits]


def import_runtime(runtime: str) -> Any:
    """Import the module of a runtime. Raises EngineError."""
    module = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter", "ONNX Runtime": "onnxruntime"}
    try:
        return importlib.import_module(module.get(runtime, runtime.lower()))
    except (ImportError, OSError) as error:
        raise EngineError(f"{runtime} cannot be imported: {first_line(error)}") from error


def load_engine(runtime: str, found: Any, file: Path, *, batch: int, threads: int, label_count: int) -> Engine:
    """Load a file into a runtime. found: the module from `import_runtime`. Raises EngineError for a file or a batch size that it refuses."""
    loaders: dict[str, _Loader] = {"Keras": _load_keras, "ONNX Runtime": _load_onnx, "OpenVINO": _load_openvino}
    into: _Loader = loaders.get(runtime, _load_tflite)
    try:
        return into(runtime, found, file, batch, threads, label_count)
    except SortbinError:
        raise
    except (ValueError, RuntimeError, TypeError, KeyError, OSError, SystemError) as error:
        raise EngineError(f"{runtime} cannot run it: {first_line(error)}") from error


def _load_keras(runtime: str, keras: Any, file: Path, batch: int, threads: int, label_count: int) -> Engine:
    import tensorflow as tf

    from converter.quantization.float_network import read_network

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    network = read_network(file, label_count)
    # As `Model.predict` runs it, without its bookkeeping for each call.
    function = tf.function(lambda picture: network(picture, training=False)["logits"])
    return Engine(f"Keras {keras.__version__}, TensorFlow {tf.__version__}", to_float, function, lambda raw: raw.numpy())


def _load_tflite(runtime: str, package: Any, file: Path, batch: int, threads: int, label_count: int) -> Engine:
    version = importlib.import_module(package.__name__.partition(".")[0]).__version__
    if file.stem.endswith("_edgetpu"):
        ctypes.CDLL(EDGETPU_LIBRARY)
        resolver = package.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        options: dict[str, Any] = {"experimental_delegates": [package.load_delegate(EDGETPU_LIBRARY)], "experimental_op_resolver_type": resolver}
        delegate = " Edge TPU"
    else:
        options, delegate = {"num_threads": threads}, " XNNPACK"
    interpreter = package.Interpreter(model_path=str(file), **options)
    interpreter.allocate_tensors()
    kernels = delegate if is_delegated(interpreter) else ""
    (source,) = interpreter.get_input_details()
    if int(source["shape"][0]) != batch:
        raise EngineError(f"made for batches of {source['shape'][0]}")
    target = _tflite_logits(interpreter, label_count)
    fill, read = interpreter.tensor(source["index"]), interpreter.tensor(target["index"])
    scale, zero_point = target["quantization"]

    def run(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        np.copyto(fill(), values)
        interpreter.invoke()
        answer: npt.NDArray[Any] = read().copy()
        return answer

    return Engine(f"{runtime} {version}{kernels}", _input_conversion(source["dtype"]), run, _output_conversion(scale, zero_point))


def _load_onnx(runtime: str, ort: Any, file: Path, batch: int, threads: int, label_count: int) -> Engine:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    return Engine(f"{runtime} {ort.__version__}", to_float, lambda values: session.run(["logits"], {source: values})[0], np.asarray)


def _load_openvino(runtime: str, ov: Any, file: Path, batch: int, threads: int, label_count: int) -> Engine:
    core = ov.Core()
    model = core.read_model(file)
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        # By default it computes float32 in bfloat16 on processors that can.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", properties)
    source = compiled.inputs[0]
    shape = source.partial_shape
    if shape[0].is_static and shape[0].get_length() != batch:
        raise EngineError(f"made for batches of {shape[0].get_length()}")
    target, scale, zero_point = _openvino_logits(file, compiled.outputs, label_count)
    request = compiled.create_infer_request()
    dtype = np.uint8 if source.element_type == ov.Type.u8 else np.float32
    version = ov.__version__.partition("-")[0]
    return Engine(
        f"{runtime} {version}", _input_conversion(dtype), lambda values: request.infer([values])[target].copy(), _output_conversion(scale, zero_point)
    )


def _tflite_logits(interpreter: Any, label_count: int) -> dict[str, Any]:
    signatures = interpreter.get_signature_list()
    if signatures:
        named: dict[str, dict[str, Any]] = interpreter.get_signature_runner(next(iter(signatures))).get_output_details()
        if "logits" in named:
            return named["logits"]
    right = [entry for entry in interpreter.get_output_details() if int(entry["shape"][-1]) == label_count]
    if len(right) != 1:
        raise EngineError(f"expected one output of {label_count} logits, found {len(right)}")
    return dict(right[0])


def _openvino_logits(file: Path, outputs: Any, label_count: int) -> tuple[Any, float, int]:
    """The output of the logits, its scale and zero point. Of a `.tflite` file OpenVINO has the tensor names but not the signature."""
    if file.suffix == ".onnx":
        return next(output for output in outputs if "logits" in output.get_names()), 0.0, 0
    from converter.tflite.flatbuffer import read_model

    model = read_model(file)
    signature = model.signatures[0]
    tensor = model.subgraphs[signature.subgraph].tensors[signature.outputs["logits"]]
    quantization = tensor.quantization
    scale, zero_point = (quantization.scales[0], quantization.zero_points[0]) if quantization is not None else (0.0, 0)
    found = [output for output in outputs if tensor.name in output.get_names()]
    if len(found) != 1:
        raise EngineError(f"expected one output named {tensor.name}, found {len(found)}")
    return found[0], scale, zero_point


def _input_conversion(dtype: Any) -> Callable[[Pixels], npt.NDArray[Any]]:
    """A uint8 input takes the pictures unchanged; others take floats of -1..1."""
    return (lambda pictures: pictures) if dtype == np.uint8 else to_float


def _output_conversion(scale: float, zero_point: int) -> Callable[[npt.NDArray[Any]], Logits]:
    if not scale:
        return lambda raw: raw.astype(np.float32, copy=False)
    return lambda raw: ((raw.astype(np.int64) - zero_point) * scale).astype(np.float32)


def to_rows(logits: Logits, batch: int) -> Logits:
    """Reshape an output of any shape to batch x labels."""
    return np.asarray(logits, np.float32).reshape(batch, math.prod(logits.shape) // batch)
