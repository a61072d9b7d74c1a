"""Edits a frozen TensorFlow graph so that it takes one float32 picture. It may have been saved for half precision, integers or a fixed batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2, types_pb2

_FLOAT = types_pb2.DT_FLOAT
_OTHER_FLOATS = {types_pb2.DT_HALF, types_pb2.DT_BFLOAT16, types_pb2.DT_DOUBLE}
_WHOLE = {types_pb2.DT_UINT8, types_pb2.DT_INT8, types_pb2.DT_INT16, types_pb2.DT_INT32, types_pb2.DT_INT64}
_MOVES = {"Identity", "Reshape", "ExpandDims", "Squeeze", "Transpose", "ReverseV2", "Pad", "StridedSlice", "ResizeNearestNeighbor"}
"""operations whose output has the type of their input"""
_TAKES = {"ResizeBilinear", "ResizeBicubic", "Shape"}
"""operations that take any type and have a fixed output type"""


class GraphError(ValueError):
    """A graph that cannot be edited as needed. The message says why in a few words."""


def convert_to_float32(graph: graph_pb2.GraphDef) -> None:
    """Change half, bfloat16 and double precision to float32, in operations and weights."""
    for node in _all_nodes(graph):
        node.attr.pop("_output_shapes", None)
        node.attr.pop("_gradient_op_type", None)
        for value in node.attr.values():
            if value.type in _OTHER_FLOATS:
                value.type = _FLOAT
            for number, kind in enumerate(value.list.type):
                if kind in _OTHER_FLOATS:
                    value.list.type[number] = _FLOAT
            if value.HasField("tensor") and value.tensor.dtype in _OTHER_FLOATS:
                value.tensor.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(value.tensor).astype(np.float32)))
        if node.op == "Cast" and node.attr["SrcT"].type == node.attr["DstT"].type == _FLOAT:
            _make_identity(node)
    for function in graph.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type in _OTHER_FLOATS:
                argument.type = _FLOAT


def set_input_shape(graph: graph_pb2.GraphDef, image: str, shape: tuple[int, int, int], batch: int) -> None:
    """Give the input the shape 1 x `shape` and the type float32. image: its name. batch: the batch size that the graph was traced with.

    Raises GraphError if the graph computes with integers.
    """
    by_name = {node.name: node for node in graph.node}
    placeholder = by_name[image]
    whole = placeholder.attr["dtype"].type in _WHOLE
    placeholder.attr["dtype"].type = _FLOAT
    sides = (tf.compat.v1.Dimension(side) for side in (1, *shape))
    placeholder.attr["shape"].shape.CopyFrom(tf.TensorShape(list(sides)).as_proto())
    if whole:
        _convert_integer_path(graph, image)
    if batch != 1:
        for node in graph.node:
            if node.op == "Reshape":
                _divide_reshape(by_name[node.input[1].split(":")[0]], batch)


def draws_random_numbers(graph: graph_pb2.GraphDef) -> bool:
    """Whether any operation of the graph is random."""
    return any("Random" in node.op for node in _all_nodes(graph))


def graph_function(graph: graph_pb2.GraphDef) -> Any:
    """The graph as a function that can be pruned to a part of it. Raises GraphError."""
    try:
        return tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), [])
    except (ValueError, TypeError) as error:
        raise GraphError(str(error).strip().splitlines()[0]) from error


def _convert_integer_path(graph: graph_pb2.GraphDef, image: str) -> None:
    """Change all operations that take integers from the input to float32."""
    whole = [image]
    while whole:
        source = whole.pop()
        for node in graph.node:
            if source not in (name.split(":")[0] for name in node.input):
                continue
            if node.op == "Cast":
                further = node.attr["DstT"].type in _WHOLE
                _make_identity(node)
            elif node.op in _MOVES | _TAKES:
                node.attr["T"].type = _FLOAT
                further = node.op in _MOVES
            else:
                raise GraphError(f"computes {node.op} with whole numbers")
            if further:
                whole.append(node.name)


def _make_identity(node: node_def_pb2.NodeDef) -> None:
    node.op = "Identity"
    for name in ("SrcT", "DstT", "Truncate"):
        node.attr.pop(name, None)
    node.attr["T"].type = _FLOAT


def _divide_reshape(sizes: node_def_pb2.NodeDef, batch: int) -> None:
    """Divide the first size of a reshape's constant by the batch size."""
    if sizes.op != "Const":
        return
    wanted = tf.make_ndarray(sizes.attr["value"].tensor)
    if wanted.ndim == 1 and wanted.size and wanted[0] > 0 and wanted[0] % batch == 0:
        wanted = wanted.copy()
        wanted[0] //= batch
        sizes.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(wanted))


def _all_nodes(graph: graph_pb2.GraphDef) -> Iterator[node_def_pb2.NodeDef]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
