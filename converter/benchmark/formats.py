"""The formats that are measured, and the runtimes of each."""

import importlib.util
from dataclasses import dataclass

PYTHON_MODULES = {
    "Keras": "keras",
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
    "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino",
}
"""every runtime and its Python module"""

HOW_TO_INSTALL = {
    "Keras": "pip install 'sortbin[converter]'",
    "ai-edge-litert": "pip install ai-edge-litert",
    "tflite-runtime": "pip install tflite-runtime==2.14.0 'numpy<2', on Python 3.11",
    "ONNX Runtime": "pip install 'sortbin[benchmark]'",
    "OpenVINO": "pip install 'sortbin[benchmark]'",
}

EDGETPU = "TFLite INT8, Edge TPU"
INT8 = "TFLite INT8"
INT16X8 = "TFLite INT16x8"
"""measured only for a bundle of this precision"""


@dataclass(frozen=True)
class Format:
    """A file format. key: part of the file name. runtimes: those of PYTHON_MODULES that can run it."""

    name: str
    key: str
    suffix: str
    runtimes: tuple[str, ...]


_TFLITE = ("ai-edge-litert", "tflite-runtime", "OpenVINO")

KERAS = Format("Keras float32", "float32", ".keras", ("Keras",))
FORMATS = (
    KERAS,
    Format("TFLite float32", "float32", ".tflite", _TFLITE),
    Format("TFLite float16", "float16", ".tflite", _TFLITE),
    Format("TFLite dynamic", "dynamic", ".tflite", _TFLITE),
    Format(INT8, "int8", ".tflite", _TFLITE),
    Format(INT16X8, "int16x8", ".tflite", ("ai-edge-litert", "tflite-runtime")),
    Format(EDGETPU, "int8_edgetpu", ".tflite", ("ai-edge-litert", "tflite-runtime")),
    Format("ONNX float32", "float32", ".onnx", ("ONNX Runtime", "OpenVINO")),
)


def installed(runtime: str) -> bool:
    """Whether the runtime is installed. Nothing is imported."""
    return importlib.util.find_spec(PYTHON_MODULES[runtime]) is not None
