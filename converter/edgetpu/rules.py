"""The rules by which the Edge TPU's compiler maps single operations.

The operations and most limits are from Coral's page on models (coral.ai/docs/edgetpu/models-intro, runtime 14). The newest version of each operation
is that of TensorFlow 2.5, which compiler 16 was built with (tensorflow/lite/tools/versioning). Limits that were found in compiled models of Google
are marked. The compiler's source is not public; it has undocumented size limits.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from converter.edgetpu import compiler_status as status
from converter.edgetpu.graph import Graph, GraphTensor, Operation

_SOFTMAX_ELEMENTS = 16_000
_MEAN_CHANNELS = 4
"""a mean over channels needs a multiple of this number of channels"""
_RESIZE_FACTOR = 8
"""published models map a factor of 2 and leave 15.5 and 33 on the CPU; the exact limit is not known"""
_RESIZE_SIDE = 256
"""users report that 128 is mapped and 512 is not (google-coral/edgetpu issue 31); the exact limit is not known"""


class Refusal(NamedTuple):
    """Why an operation stays on the CPU. status: in the compiler's words. reason: the details."""

    status: str
    reason: str


Rule = Callable[[Graph, Operation], Refusal | None]


def refusal(graph: Graph, operation: Operation) -> Refusal | None:
    """Why this operation stays on the CPU, regardless of the operations before it; None if it is mapped."""
    if operation.custom:
        return Refusal(status.DATA_TYPE, f"{operation.name} is a custom operation")
    if operation.name == "DEQUANTIZE":
        return Refusal(status.DATA_TYPE, "its result is floating point")
    support = SUPPORTED.get(operation.name)
    if support is None:
        return Refusal(status.NOT_SUPPORTED, "the Edge TPU has no such operation")
    if operation.version > support.newest:
        return Refusal(status.VERSION, f"version {operation.version}; the compiler knows up to {support.newest}")
    return next((found for rule in (*COMMON, *support.rules) if (found := rule(graph, operation))), None)


def _eight_bits(graph: Graph, operation: Operation) -> Refusal | None:
    for tensor in _data_tensors(graph, operation):
        if tensor.dtype not in ("int8", "uint8"):
            words = status.LIMITATION if operation.name == "QUANTIZE" else status.DATA_TYPE
            return Refusal(words, f"works on {tensor.dtype}; the Edge TPU takes int8 and uint8")
    weights = [tensor for tensor in _parameter_tensors(graph, operation)[:1] if operation.name in _WEIGHTED]
    wrong = next((tensor.dtype for tensor in weights if tensor.dtype not in ("int8", "uint8")), None)
    return Refusal(status.DATA_TYPE, f"its weights are {wrong}; the Edge TPU takes int8 and uint8") if wrong else None


def _constant_parameters(graph: Graph, operation: Operation) -> Refusal | None:
    if all(tensor.constant for tensor in _parameter_tensors(graph, operation)):
        return None
    return Refusal(status.NOT_CONSTANT, "a parameter (weights, bias, size, axes) is computed while the model runs")


def _fixed_sizes(graph: Graph, operation: Operation) -> Refusal | None:
    if any(tensor.dynamic for tensor in _data_tensors(graph, operation)):
        return Refusal(status.LIMITATION, "a size along some dimension is open; the Edge TPU needs all of them fixed")
    return None


def _batch_of_one(graph: Graph, operation: Operation) -> Refusal | None:
    for tensor in _data_tensors(graph, operation):
        if any(size > 1 for size in tensor.shape[:-3]):
            return Refusal(
                status.RANK, f"a tensor of {_shape_text(tensor)}: only the three innermost dimensions may be above 1, so the batch must be 1"
            )
    return None


def _no_activation(graph: Graph, operation: Operation) -> Refusal | None:
    return Refusal(status.LIMITATION, "has a fused activation") if operation.option("fused_activation_function") else None


def _same_dilation(graph: Graph, operation: Operation) -> Refusal | None:
    across, down = (operation.option(name) for name in ("dilation_w_factor", "dilation_h_factor"))
    return None if across == down else Refusal(status.LIMITATION, f"dilated {down} down and {across} across; both must be the same")


def _one_dimension_out(graph: Graph, operation: Operation) -> Refusal | None:
    out = graph.tensors[operation.outputs[0]]
    return None if _sides_above_one(out) <= 1 else Refusal(status.LIMITATION, f"gives {_shape_text(out)}; only one dimension may be above 1")


def _plain_weights(graph: Graph, operation: Operation) -> Refusal | None:
    return Refusal(status.LIMITATION, "weights in a shuffled format") if operation.option("weights_format") else None


def _softmax_size(graph: Graph, operation: Operation) -> Refusal | None:
    given = graph.tensors[operation.inputs[0]]
    if _sides_above_one(given) <= 1 and math.prod(given.shape) <= _SOFTMAX_ELEMENTS:
        return None
    return Refusal(status.LIMITATION, f"works on {_shape_text(given)}; only one dimension may be above 1, up to {_SOFTMAX_ELEMENTS} numbers")


def _zero_padding_only(graph: Graph, operation: Operation) -> Refusal | None:
    given = [graph.tensors[index] for index in operation.inputs]
    constants = [tensor for tensor in given if tensor.constant]
    if not constants or (len(given) == 2 and all(tensor.zeros for tensor in constants)):
        return None
    return Refusal(status.LIMITATION, "joins a constant that is not all zeros, or more than one tensor with it")


def _not_the_batch(graph: Graph, operation: Operation) -> Refusal | None:
    """For reductions, whose second input holds the axes."""
    given = graph.tensors[operation.inputs[0]]
    axes = _normalized_axes(graph.tensors[operation.inputs[1]], len(given.shape))
    return Refusal(status.LIMITATION, "works along the batch") if len(given.shape) == 4 and 0 in axes else None


def _mean_channels(graph: Graph, operation: Operation) -> Refusal | None:
    given = graph.tensors[operation.inputs[0]]
    axes = _normalized_axes(graph.tensors[operation.inputs[1]], len(given.shape))
    if len(given.shape) == 4 and 3 in axes and given.shape[3] % _MEAN_CHANNELS:
        return Refusal(status.LIMITATION, f"takes the mean over {given.shape[3]} channels; it must be a multiple of {_MEAN_CHANNELS}")
    return None


def _no_batch_padding(graph: Graph, operation: Operation) -> Refusal | None:
    paddings = graph.tensors[operation.inputs[1]]
    values = paddings.values or ()
    return Refusal(status.LIMITATION, "pads the batch") if len(values) == 8 and any(values[:2]) else None


def _no_batch_split(graph: Graph, operation: Operation) -> Refusal | None:
    rank = len(graph.tensors[operation.inputs[1]].shape)
    axes = _normalized_axes(graph.tensors[operation.inputs[0]], rank)
    return Refusal(status.LIMITATION, "splits the batch") if rank == 4 and 0 in axes and len(operation.outputs) > 1 else None


def _no_batch_pack(graph: Graph, operation: Operation) -> Refusal | None:
    rank = len(graph.tensors[operation.outputs[0]].shape)
    return Refusal(status.LIMITATION, "packs along the batch") if rank == 4 and operation.option("axis") % rank == 0 else None


def _modest_resize(graph: Graph, operation: Operation) -> Refusal | None:
    before, after = graph.tensors[operation.inputs[0]].shape, graph.tensors[operation.outputs[0]].shape
    sides = list(zip(before[1:3], after[1:3], strict=True))
    if any(new > _RESIZE_FACTOR * old for old, new in sides) or any(new > _RESIZE_SIDE for _, new in sides):
        return Refusal(
            status.LIMITATION,
            f"resizes {before[1]}x{before[2]} to {after[1]}x{after[2]}: large factors (above about {_RESIZE_FACTOR}) and sizes (above about "
            f"{_RESIZE_SIDE}) are left out for loss of precision",
        )
    return None


def _unit_strides(graph: Graph, operation: Operation) -> Refusal | None:
    strides = graph.tensors[operation.inputs[3]].values or ()
    if any(stride != 1 for stride in strides) or operation.option("ellipsis_mask") or operation.option("new_axis_mask"):
        return Refusal(status.LIMITATION, "takes every so many-th value, or uses an ellipsis or a new axis")
    return None


def _alpha_per_channel(graph: Graph, operation: Operation) -> Refusal | None:
    alpha = graph.tensors[operation.inputs[1]]
    return None if all(size == 1 for size in alpha.shape[:-1]) else Refusal(status.LIMITATION, "its alpha differs from place to place")


class OperationSupport(NamedTuple):
    """What the Edge TPU supports of an operation. newest: its highest version. parameters: positions of inputs that must be constant."""

    newest: int
    parameters: tuple[int, ...] = ()
    rules: tuple[Rule, ...] = ()


COMMON: tuple[Rule, ...] = (_eight_bits, _constant_parameters, _fixed_sizes, _batch_of_one)

SUPPORTED: dict[str, OperationSupport] = {
    "ADD": OperationSupport(3),
    "AVERAGE_POOL_2D": OperationSupport(3, rules=(_no_activation,)),
    "CONCATENATION": OperationSupport(3, rules=(_no_activation, _zero_padding_only)),
    "CONV_2D": OperationSupport(5, (1, 2), (_same_dilation,)),
    "DEPTHWISE_CONV_2D": OperationSupport(6, (1, 2), (_same_dilation,)),
    "EXPAND_DIMS": OperationSupport(1, (1,)),
    "FULLY_CONNECTED": OperationSupport(9, (1, 2), (_plain_weights, _one_dimension_out)),
    "L2_NORMALIZATION": OperationSupport(2),
    "LOGISTIC": OperationSupport(3),
    "MAXIMUM": OperationSupport(4),
    "MAX_POOL_2D": OperationSupport(3, rules=(_no_activation,)),
    "MEAN": OperationSupport(3, (1,), (_not_the_batch, _mean_channels)),
    "MINIMUM": OperationSupport(4),
    "MUL": OperationSupport(4),
    "PACK": OperationSupport(3, rules=(_no_batch_pack,)),
    "PAD": OperationSupport(3, (1,), (_no_batch_padding,)),
    "PRELU": OperationSupport(1, (1,), (_alpha_per_channel,)),
    "QUANTIZE": OperationSupport(2),
    "REDUCE_MAX": OperationSupport(3, (1,), (_not_the_batch,)),
    "REDUCE_MIN": OperationSupport(3, (1,), (_not_the_batch,)),
    "RELU": OperationSupport(3),
    "RELU6": OperationSupport(3),
    "RELU_N1_TO_1": OperationSupport(1),
    "RESHAPE": OperationSupport(1, (1,)),
    "RESIZE_BILINEAR": OperationSupport(4, (1,), (_modest_resize,)),
    "RESIZE_NEAREST_NEIGHBOR": OperationSupport(4, (1,), (_modest_resize,)),
    "RSQRT": OperationSupport(2),
    "SLICE": OperationSupport(5, (1, 2)),
    "SOFTMAX": OperationSupport(3, rules=(_softmax_size,)),
    "SPACE_TO_DEPTH": OperationSupport(2),
    "SPLIT": OperationSupport(4, (0,), (_no_batch_split,)),
    "SQUARED_DIFFERENCE": OperationSupport(2),
    "SQUEEZE": OperationSupport(2),
    "STRIDED_SLICE": OperationSupport(5, (1, 2, 3), (_unit_strides,)),
    "SUB": OperationSupport(5),
    "SUM": OperationSupport(2, (1,), (_not_the_batch,)),
    "TANH": OperationSupport(3),
    "TILE": OperationSupport(2, (1,)),  # not on Coral's page; mapped in a model that Google published
    "TRANSPOSE": OperationSupport(5, (1,)),
    "TRANSPOSE_CONV": OperationSupport(3, (1, 0, 3)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": OperationSupport(3, tuple(range(1, 18)) + tuple(range(20, 24))),
}

_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}


def _parameter_tensors(graph: Graph, operation: Operation) -> list[GraphTensor]:
    """The inputs that must be constant, weights first."""
    places = (operation.inputs[place] for place in SUPPORTED[operation.name].parameters if place < len(operation.inputs))
    return [tensor for index in places if (tensor := graph.tensor(index)) is not None]


def _data_tensors(graph: Graph, operation: Operation) -> list[GraphTensor]:
    """The data tensors: inputs that are neither parameters nor variables, then the outputs."""
    parameters = SUPPORTED[operation.name].parameters
    places = [index for place, index in enumerate(operation.inputs) if place not in parameters]
    return [tensor for index in (*places, *operation.outputs) if (tensor := graph.tensor(index)) is not None and not tensor.variable]


def _normalized_axes(tensor: GraphTensor, rank: int) -> set[int]:
    return {axis % rank for axis in tensor.values or ()} if rank else set()


def _sides_above_one(tensor: GraphTensor) -> int:
    return sum(size > 1 for size in tensor.shape)


def _shape_text(tensor: GraphTensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
