"""Finds the head of a classifier's graph: the score of each label before softmax or sigmoid, and the features that its last layer takes."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from converter.foreign.graph_edits import GraphError

_PASSED_OVER = {"Identity", "IdentityN", "NoOp", "Reshape", "Squeeze", "ExpandDims", "Cast"}
_PROBABILITIES = {"Softmax", "LogSoftmax", "Sigmoid"}
_LOOPS = {"Enter", "While", "StatelessWhile", "Switch", "If", "StatelessIf", "Case"}
"""loops and branches, which LSTM and GRU layers use; TensorFlow's quantizer crashes on them"""
_WEIGHED = {"MatMul", "BatchMatMulV2", "Conv2D", "Einsum"}

AUGMENTS = "exported while it augments pictures; give the .keras file, or export it with training=False (docs/converter.md)"
"""the error message for a graph that draws random numbers"""
MOST_FEATURES = 4096
"""with more features, the mean over the feature map is the embedding, because the bundle's statistics grow with the number of features"""


@dataclass(frozen=True, eq=False)
class ClassifierHead:
    """Tensors of a graph. scores: one value per label, or one for two labels. last: the operation that turned them into probabilities, or empty."""

    scores: Any
    embedding: Any
    last: str


def find_head(output: Any, image: Any) -> ClassifierHead:
    """Follow the graph back from its output. image: its input.

    Raises GraphError if it draws random numbers, has loops, or has no dense layer or convolution.
    """
    live = _live_operations(image)
    found = _skip_reshapes(output)
    if found.dtype.is_integer:
        raise GraphError(f"gives whole numbers ({found.op.type}), not a value for each label; save it without its last step")
    last = found.op.type if found.op.type in _PROBABILITIES else ""
    scores = found.op.inputs[0] if last else found
    embedding = None
    for tensor in _tensors_before(scores, live):
        if _is_random(tensor.op):
            raise GraphError(AUGMENTS)
        if tensor.op.type in _LOOPS:
            raise GraphError("runs in loops or branches, as LSTM and GRU layers do, which cannot be quantized; replace that layer")
        if embedding is None and tensor.op.type in _WEIGHED:
            behind = [given for given in tensor.op.inputs if given.op in live]
            embedding = behind[0] if len(behind) == 1 else None
    if embedding is None:
        raise GraphError(f"no dense layer or convolution before its output, which is {output.op.type}")
    return ClassifierHead(scores, _limit_features(embedding), last)


def _live_operations(image: Any) -> set[Any]:
    """The operations that depend on the picture or on random numbers."""
    waiting = [image.op, *filter(_is_random, image.graph.get_operations())]
    live = set(waiting)
    while waiting:
        for tensor in waiting.pop().outputs:
            further = [operation for operation in tensor.consumers() if operation not in live]
            live.update(further)
            waiting += further
    return live


def _is_random(operation: Any) -> bool:
    return "Random" in operation.type


def _tensors_before(tensor: Any, live: set[Any]) -> Iterator[Any]:
    """The tensors before this one that are in `live`, breadth first."""
    visited = {tensor.op}
    waiting = deque([tensor])
    while waiting:
        found = waiting.popleft()
        yield found
        for given in found.op.inputs:
            if given.op in live and given.op not in visited:
                visited.add(given.op)
                waiting.append(given)


def _skip_reshapes(tensor: Any) -> Any:
    """The tensor before operations that do not change values."""
    while tensor.op.type in _PASSED_OVER:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


def _limit_features(embedding: Any) -> Any:
    """The embedding, or the feature map before it if it was flattened to too many features."""
    features = embedding.shape.num_elements()
    behind = _skip_reshapes(embedding)
    return behind if features is not None and features > MOST_FEATURES and behind.shape.rank == 4 else embedding
