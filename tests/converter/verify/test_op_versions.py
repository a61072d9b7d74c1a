"""The table of operation versions, compared with the installed packages."""

import importlib
import importlib.metadata
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from converter.verify.op_versions import FIRST, LAST, RUNTIMES, runtimes_without
from device.vision.inference.runtime import PACKAGES

CODES = {name: code for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def model_of(code: int, version: int) -> bytes:
    """A model that lists one operation without using it. A runtime that lacks the operation refuses the model."""
    operation = schema.OperatorCodeT()
    operation.builtinCode, operation.deprecatedBuiltinCode, operation.version = code, min(code, 127), version
    tensor = schema.TensorT()
    tensor.shape, tensor.name = [1], "x"
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [operation], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def has(interpreter: Any, name: str, version: int) -> bool:
    try:
        interpreter(model_content=model_of(CODES[name], version))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("package", PACKAGES)
def test_the_installed_runtime_has_the_versions_in_the_table(package: str) -> None:
    module = pytest.importorskip(f"{package.replace('-', '_')}.interpreter")
    installed = f"{package} {importlib.metadata.version(package)}"
    newest = [number for number, runtime in enumerate(RUNTIMES) if runtime.startswith(package)][-1]
    exact = installed in RUNTIMES
    column = RUNTIMES.index(installed) if exact else newest
    for name in CODES:
        first, last = FIRST.get(name, 1), LAST.get(name, (0,) * len(RUNTIMES))[column]
        if last:
            assert has(module.Interpreter, name, first) and has(module.Interpreter, name, last), (name, first, last)
        if exact and name != "CUSTOM":
            assert not has(module.Interpreter, name, last + 1), (name, last + 1)
            assert first == 1 or not has(module.Interpreter, name, first - 1), (name, first - 1)


def test_dynamic_range_dense_layers_are_too_new_for_tflite_runtime() -> None:
    assert runtimes_without("FULLY_CONNECTED", 12) == ["tflite-runtime 2.14.0"]
    assert runtimes_without("FULLY_CONNECTED", 9) == []


def test_an_unknown_operation_is_in_no_runtime() -> None:
    assert runtimes_without("FlexErf", 1) == runtimes_without("BROADCAST_TO", 1) == list(RUNTIMES)
    assert runtimes_without("TFLite_Detection_PostProcess", 1) == []
