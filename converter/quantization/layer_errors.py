"""The error of each layer of an INT8 model: its output compared with that of the float network, on photos."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from converter.tflite.metadata import unpack_model
from device.common.arrays import Float64Array
from device.vision.inference.preprocess import Pixels, to_float

_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


@dataclass(frozen=True)
class LayerError:
    """The error of one layer. name: of its output tensor. op: such as CONV_2D.

    error: relative root-mean-square error of the INT8 output, 0 is perfect: for each channel the mean square of the difference over the mean
    square of the float output, at most 1; then the root of the mean over channels. All channels have the same weight, so that one with large values
    does not hide the others. added: error minus the largest error among the layer's inputs.
    """

    name: str
    op: str
    error: float
    added: float


def layer_errors(float32: bytes, int8: bytes, pictures: Iterable[Pixels]) -> list[LayerError]:
    """Compare an INT8 and a float conversion of one network layer by layer. The layer that adds most error comes first.

    pictures: size x size x 3 uint8. Layers whose output has no tensor of the same name and shape in the float model are left out.
    """
    ours, theirs = _TracedModel(int8), _TracedModel(float32)
    shared = {name for name in ours.outputs if name in theirs.outputs and ours.shape(name) == theirs.shape(name)}
    off, size = {name: np.zeros(theirs.shape(name)[-1:]) for name in shared}, {name: np.zeros(theirs.shape(name)[-1:]) for name in shared}
    for picture in pictures:
        ours.run(picture)
        theirs.run(to_float(picture))
        for name in shared:
            wanted, found = theirs.values(name), ours.values(name)
            over = tuple(range(wanted.ndim - 1))
            off[name] = off[name] + np.square(found - wanted).sum(axis=over)
            size[name] = size[name] + np.square(wanted).sum(axis=over)
    errors = {name: float(np.sqrt(np.minimum(off[name] / np.maximum(size[name], 1e-30), 1.0).mean())) for name in shared}
    layers = [
        LayerError(name, op, errors[name], errors[name] - max((errors[source] for source in sources if source in errors), default=0.0))
        for name, (op, sources) in ours.outputs.items()
        if name in shared
    ]
    return sorted(layers, key=lambda layer: -layer.added)


class _TracedModel:
    """A model whose tensors can all be read after a run. outputs: for each output tensor, its operator and the operator's inputs, by name."""

    def __init__(self, model: bytes) -> None:
        parsed = unpack_model(model)
        graph = parsed.subgraphs[0]
        names = [tensor.name.decode() for tensor in graph.tensors]
        self._index = {name: number for number, name in enumerate(names)}
        self.outputs = {
            names[operator.outputs[0]]: (
                _NAMES.get(parsed.operatorCodes[operator.opcodeIndex].builtinCode, "CUSTOM"),
                [names[source] for source in operator.inputs if source >= 0],
            )
            for operator in graph.operators
        }
        self._interpreter = Interpreter(
            model_content=model,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        self._details = {details["index"]: details for details in self._interpreter.get_tensor_details()}

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(int(side) for side in self._details[self._index[name]]["shape"])

    def run(self, values: npt.NDArray[np.generic]) -> None:
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], values[None])
        self._interpreter.invoke()

    def values(self, name: str) -> Float64Array:
        index = self._index[name]
        raw: Float64Array = self._interpreter.get_tensor(index).astype(np.float64)
        scale, zero_point = self._details[index]["quantization"]
        return (raw - zero_point) * scale if scale else raw
