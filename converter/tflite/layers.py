"""Linear layers of a `.tflite` file: finds them, reads their outputs, and changes their biases."""

from collections.abc import Collection
from copy import copy
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converter.tflite.metadata import pack_model, unpack_model
from device.common.arrays import Float64Array

_SUMS = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED}


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer without activation. name: of its output tensor. output, bias: indices of tensors."""

    name: str
    output: int
    bias: int


def linear_layers(model: bytes) -> list[Layer]:
    """The convolutions and dense layers with a bias and without activation, in execution order."""
    parsed = unpack_model(model)
    graph = parsed.subgraphs[0]
    return [
        Layer(graph.tensors[operator.outputs[0]].name.decode(), int(operator.outputs[0]), int(operator.inputs[2]))
        for operator in graph.operators
        if parsed.operatorCodes[operator.opcodeIndex].builtinCode in _SUMS
        and operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE
        and len(operator.inputs) == 3
        and operator.inputs[2] >= 0
    ]


def cut_after(model: schema.ModelT, layers: Collection[Layer]) -> bytes:
    """The model up to the last of `layers`. Its outputs are those of `layers`, in that order; it has no signature.

    model: from `unpack_model`; it stays as it is.
    """
    cut, graph = copy(model), copy(model.subgraphs[0])
    graph.outputs = [layer.output for layer in layers]
    last = max(number for number, operator in enumerate(graph.operators) if operator.outputs[0] in graph.outputs)
    graph.operators = graph.operators[: last + 1]
    cut.subgraphs, cut.signatureDefs = [graph], None
    return pack_model(cut)


def add_to_bias(model: bytes, layer: Layer, change: Float64Array) -> bytes:
    """The INT8 model with `change`, one real number per output channel, added to the bias of `layer`. All other bytes stay the same.

    A bias is int32; its scale is much finer than that of the layer's output.
    """
    content = bytearray(model)
    root = schema.Model.GetRootAsModel(content, 0)
    tensor = root.Subgraphs(0).Tensors(layer.bias)
    bias = root.Buffers(tensor.Buffer()).DataAsNumpy().view(np.int32)
    bias += np.rint(change / tensor.Quantization().ScaleAsNumpy()).astype(np.int32)
    return bytes(content)
