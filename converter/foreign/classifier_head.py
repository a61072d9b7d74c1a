"""Where a classifier's graph ends: the value of each label before any softmax or sigmoid, and the features that its last layer weighs."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from converter.foreign.graph_edits import GraphError

_PASSED_OVER = {"Identity", "IdentityN", "NoOp", "Reshape", "Squeeze", "ExpandDims", "Cast"}
_PROBABILITIES = {"Softmax", "LogSoftmax", "Sigmoid"}
_LOOPS = {"Enter", "While", "StatelessWhile", "Switch", "If", "StatelessIf", "Case"}
"""loops and branches, as LSTM and GRU layers make them; TensorFlow's quantizer crashes on them"""
_WEIGHED = {"MatMul", "BatchMatMulV2", "Conv2D", "Einsum"}

AUGMENTS = "exported while it augments pictures; give the .keras file, or export it with training=False (docs/converter.md)"
"""what is said of a graph that draws random numbers"""
MOST_FEATURES = 4096
"""features beyond which the mean over a map is taken instead of every place of it: what is kept of training photos grows with them"""


@dataclass(frozen=True, eq=False)
class ClassifierHead:
    """Tensors of a graph. scores: one value a label, or one for both of two. last: the operation that made probabilities of them, empty for none."""

    scores: Any
    embedding: Any
    last: str


def find_head(output: Any, image: Any) -> ClassifierHead:
    """Follow a graph back from its output. image: its input.

    Raises GraphError where it draws random numbers or loops, or where nothing on the way weighs features.
    """
    live = _depending(image)
    found = _behind(output)
    if found.dtype.is_integer:
        raise GraphError(f"gives whole numbers ({found.op.type}), not a value for each label; save it without its last step")
    last = found.op.type if found.op.type in _PROBABILITIES else ""
    scores = found.op.inputs[0] if last else found
    embedding = None
    for tensor in _backwards(scores, live):
        if _is_random(tensor.op):
            raise GraphError(AUGMENTS)
        if tensor.op.type in _LOOPS:
            raise GraphError("runs in loops or branches, as LSTM and GRU layers do, which cannot be quantized; replace that layer")
        if embedding is None and tensor.op.type in _WEIGHED:
            behind = [given for given in tensor.op.inputs if given.op in live]
            embedding = behind[0] if len(behind) == 1 else None
    if embedding is None:
        raise GraphError(f"no dense layer or convolution before its output, which is {output.op.type}")
    return ClassifierHead(scores, _small(embedding), last)


def _depending(image: Any) -> set[Any]:
    """The operations that depend on the picture, and those that draw random numbers."""
    waiting = [image.op, *filter(_is_random, image.graph.get_operations())]
    live = set(waiting)
    while waiting:
        for made in waiting.pop().outputs:
            further = [operation for operation in made.consumers() if operation not in live]
            live.update(further)
            waiting += further
    return live


def _is_random(operation: Any) -> bool:
    return "Random" in operation.type


def _backwards(tensor: Any, live: set[Any]) -> Iterator[Any]:
    """Tensors that depend on the picture, breadth first."""
    seen = {tensor.op}
    waiting = deque([tensor])
    while waiting:
        found = waiting.popleft()
        yield found
        for given in found.op.inputs:
            if given.op in live and given.op not in seen:
                seen.add(given.op)
                waiting.append(given)


def _behind(tensor: Any) -> Any:
    while tensor.op.type in _PASSED_OVER:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


def _small(embedding: Any) -> Any:
    """The map behind a flattened embedding of too many features."""
    features = embedding.shape.num_elements()
    behind = _behind(embedding)
    return behind if features is not None and features > MOST_FEATURES and behind.shape.rank == 4 else embedding
