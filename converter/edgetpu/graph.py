"""A model in the form that the mapping rules need: operations and tensors without weights, small enough for JSON."""

import math
from typing import Any

import msgspec
import numpy as np

from converter.tflite.flatbuffer import ModelFile, Operator, Tensor

CUSTOM_OP = "edgetpu-custom-op"
"""the custom operator of a compiled model that holds all operations on the Edge TPU"""

_OPTIONS = {
    "fused_activation_function": 0,
    "dilation_w_factor": 1,
    "dilation_h_factor": 1,
    "axis": 0,
    "weights_format": 0,
    "ellipsis_mask": 0,
    "new_axis_mask": 0,
}
"""the options that rules read, with their defaults"""
_KEPT_VALUES = 16
_BITS = {"int4": 4, "int8": 8, "uint8": 8, "bool": 8, "int16": 16, "float16": 16, "int32": 32, "float32": 32, "int64": 64, "float64": 64}


class GraphTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tensor. scales: number of quantization scales. constant: whether its values are in the file. values: the numbers of a small integer constant
    (axes, paddings, sizes), else None. zeros: whether it is a constant of real value 0. dynamic: whether a size other than the batch is open.
    """

    dtype: str
    shape: tuple[int, ...]
    scales: int = 0
    constant: bool = False
    values: tuple[int, ...] | None = None
    zeros: bool = False
    variable: bool = False
    dynamic: bool = False

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return math.prod(self.shape) * _BITS.get(self.dtype, 0) // 8


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation. inputs, outputs: indices of tensors, -1 for an omitted input. options: those that differ from their defaults. folded: whether
    its result is constant once the batch size is 1; a converter then removes the operation.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int] = {}
    custom: bool = False
    folded: bool = False

    def option(self, name: str) -> int:
        """The value of an option: from the file, or its default."""
        return self.options.get(name, _OPTIONS[name])


class Graph(msgspec.Struct, frozen=True):
    """The main graph, with operations in execution order. subgraphs: number of graphs in the file. open_batch: whether the batch size is open in the
    file; here it is 1.
    """

    tensors: tuple[GraphTensor, ...]
    operations: tuple[Operation, ...]
    subgraphs: int
    open_batch: bool = False

    def tensor(self, index: int) -> GraphTensor | None:
        """The tensor at an index, or None for -1, an omitted input."""
        return self.tensors[index] if index >= 0 else None


def build_graph(model: ModelFile) -> Graph:
    """The graph of a model. An open batch size is taken as 1."""
    tensors, operations = list(map(_graph_tensor, model.main.tensors)), list(map(_graph_operation, model.main.operators))
    open_batch = any(tensor.signature[:1] == (-1,) for tensor in model.main.tensors)
    if open_batch:
        _mark_folded(tensors, operations)
    return Graph(tuple(tensors), tuple(operations), len(model.subgraphs), open_batch)


def _mark_folded(tensors: list[GraphTensor], operations: list[Operation]) -> None:
    """Mark operations whose result is known once the batch size is: sizes of tensors, and what is computed from them."""
    for number, operation in enumerate(operations):
        given = [tensors[index] for index in operation.inputs if index >= 0]
        if (operation.name == "SHAPE" and not given[0].dynamic) or (given and all(tensor.constant for tensor in given)):
            operations[number] = msgspec.structs.replace(operation, folded=True)
            for index in operation.outputs:
                tensors[index] = msgspec.structs.replace(tensors[index], constant=True)


def _graph_tensor(tensor: Tensor) -> GraphTensor:
    numbers = tensor.values()
    return GraphTensor(
        dtype=tensor.dtype,
        shape=tensor.shape,
        scales=len(tensor.quantization.scales) if tensor.quantization else 0,
        constant=tensor.data is not None,
        values=None if numbers is None else _small_integers(numbers),
        zeros=numbers is not None and _stands_for_zero(tensor, numbers),
        variable=tensor.variable,
        dynamic=-1 in tensor.signature[1:],
    )


def _small_integers(numbers: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    whole = numbers.dtype.kind == "i" and numbers.dtype.itemsize >= 4
    return tuple(int(number) for number in numbers.ravel()) if whole and numbers.size <= _KEPT_VALUES else None


def _stands_for_zero(tensor: Tensor, numbers: np.ndarray[Any, Any]) -> bool:
    points = tensor.quantization.zero_points if tensor.quantization else ()
    return bool((numbers == (points[0] if len(points) == 1 else 0)).all())


def _graph_operation(operator: Operator) -> Operation:
    found = {name: operator.options.get(name) for name in _OPTIONS}
    options = {name: int(value) for name, value in found.items() if isinstance(value, int) and value != _OPTIONS[name]}
    return Operation(operator.name, operator.version, operator.inputs, operator.outputs, options, operator.custom)
