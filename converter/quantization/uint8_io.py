"""Gives a model a uint8 input and whole-number outputs, whatever it computes in between.

TensorFlow's converter does this for INT8 models. Here every other model gets the same input and outputs, so that the device treats all alike. The
zero point is 127, but the middle of 0 and 255 is 127.5: all models see -1..1 shifted by 1/255.
"""

from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converter.tflite.metadata import pack_model, unpack_model
from device.vision.inference.classifier import RAW_SCALE, RAW_ZERO_POINT

_LARGEST = 32767


def with_uint8_io(model: bytes, largest: Mapping[str, float]) -> bytes:
    """The model with a uint8 input of scale 1/127.5 and zero point 127, and with int16 outputs in place of float32 ones.

    model: one input, float32 or int8 over -1..1. largest: the largest magnitude of each output, by its name in the signature; its step is a 32,767th
    of that. Outputs of whole numbers stay unchanged. Raises ValueError for an int8 input of another range.
    """
    parsed = unpack_model(model)
    graph = parsed.subgraphs[0]
    (signature,) = parsed.signatureDefs
    image = int(graph.inputs[0])
    if graph.tensors[image].type == schema.TensorType.UINT8:
        return model
    raw = _add_tensor(parsed, "raw_image", graph.tensors[image], schema.TensorType.UINT8, RAW_SCALE, RAW_ZERO_POINT)
    if graph.tensors[image].type == schema.TensorType.INT8:
        quantization = graph.tensors[image].quantization
        if not np.isclose(quantization.scale[0], RAW_SCALE, rtol=1e-3) or int(quantization.zeroPoint[0]) != RAW_ZERO_POINT - 128:
            raise ValueError(f"input of scale {quantization.scale[0]:.6g} and zero point {quantization.zeroPoint[0]}")
        quantization.scale, quantization.zeroPoint = [RAW_SCALE], [RAW_ZERO_POINT - 128]
        first = _make_operator(parsed, schema.BuiltinOperator.QUANTIZE, raw, image)
    else:
        first = _make_operator(parsed, schema.BuiltinOperator.DEQUANTIZE, raw, image)
    graph.operators = [first, *graph.operators]
    graph.inputs = [raw]
    signature.inputs[0].tensorIndex = raw

    for output in signature.outputs:
        inner = int(output.tensorIndex)
        if graph.tensors[inner].type != schema.TensorType.FLOAT32:
            continue
        name = output.name.decode()
        outer = _add_tensor(parsed, f"{name}_int16", graph.tensors[inner], schema.TensorType.INT16, largest[name] / _LARGEST, 0)
        graph.operators = [*graph.operators, _make_operator(parsed, schema.BuiltinOperator.QUANTIZE, inner, outer)]
        graph.outputs = [outer if int(index) == inner else int(index) for index in graph.outputs]
        output.tensorIndex = outer
    return pack_model(parsed)


def _add_tensor(model: schema.ModelT, name: str, like: schema.TensorT, dtype: int, scale: float, zero_point: int) -> int:
    graph = model.subgraphs[0]
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name.encode(), like.shape, dtype
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
    tensor.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT())
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _make_operator(model: schema.ModelT, builtin: int, source: int, target: int) -> schema.OperatorT:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [source], [target]
    return operator
