"""Loads a Keras file or a SavedModel as a frozen graph that takes one picture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from converter.common.exception_text import first_sentence
from converter.common.network_error import NetworkError
from converter.foreign.classifier_head import AUGMENTS
from converter.foreign.graph_edits import GraphError, convert_to_float32, draws_random_numbers, graph_function, set_input_shape
from converter.foreign.load_errors import why_not_loaded


@dataclass(frozen=True, eq=False)
class FrozenModel:
    """A frozen graph. function: can be pruned to a part of the graph. image: its input, 1 x height x width x channels float32. output: the chosen
    output.

    shape: height, width, channels. whole_numbers: whether it was saved for integer pixels of 0 to 255.
    """

    function: Any
    image: Any
    output: Any
    shape: tuple[int, int, int]
    whole_numbers: bool


@dataclass(frozen=True, eq=False)
class _LoadedClassifier:
    """A classifier before freezing. spec: of its input. outputs: shapes by name. call: computes the output of a name."""

    spec: Any
    outputs: dict[str, tuple[int | None, ...]]
    call: Callable[[Any, str], Any]


def load_frozen(path: Path, output: str | None, size: int | None) -> FrozenModel:
    """Read a `.keras` or `.h5` file or the folder of a SavedModel. output: a name if it has several. size: side of its input if that is open.

    Raises NetworkError for any error while loading.
    """
    try:
        source = _load_saved_model(path) if path.is_dir() else _load_keras(path)
    except NetworkError:
        raise
    except Exception as error:
        raise NetworkError(f"{path}: {why_not_loaded(path, error)}") from error
    try:
        return _freeze(source, _choose_output(source, output), size)
    except GraphError as error:
        raise NetworkError(f"{path}: {error}") from error
    except Exception as error:
        raise NetworkError(f"{path}: does not run: {first_sentence(error)}") from error


def _load_keras(path: Path) -> _LoadedClassifier:
    network = keras.models.load_model(path, compile=False, custom_objects=_KERAS_2_LAYERS)
    inputs = getattr(network, "inputs", None)
    if not inputs:
        raise NetworkError(f"{path}: its input was never given a size; call it on a picture or build it, and save it again")
    if len(inputs) != 1:
        raise NetworkError(f"{path}: expected one input, found {len(inputs)}")
    given = inputs[0]
    answered = network(keras.KerasTensor(given.shape, given.dtype), training=False)
    outputs = tf.nest.flatten(answered)
    if isinstance(answered, dict):
        names = sorted(answered)  # the order of tf.nest.flatten
    else:
        names = list(getattr(network, "output_names", ()))
        names = names if len(names) == len(outputs) else [f"output_{number}" for number in range(len(outputs))]

    def call(image: Any, name: str) -> Any:
        return tf.nest.flatten(network(image, training=False))[names.index(name)]

    shapes = {name: tuple(found.shape) for name, found in zip(names, outputs, strict=True)}
    return _LoadedClassifier(tf.TensorSpec(given.shape, given.dtype), shapes, call)


def _load_saved_model(path: Path) -> _LoadedClassifier:
    loaded = tf.saved_model.load(str(path))
    signatures = dict(loaded.signatures)
    if "serving_default" not in signatures and len(signatures) != 1:
        found = f"found {', '.join(signatures) or 'none'}"
        raise NetworkError(f"{path}: expected the signature serving_default, {found}; write it with model.export('folder')")
    signature = signatures.get("serving_default") or next(iter(signatures.values()))
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise NetworkError(f"{path}: expected one input, found {len(inputs)}")
    ((given, spec),) = inputs.items()
    outputs = {name: tuple(found.shape) if found.shape.rank is not None else () for name, found in signature.structured_outputs.items()}
    # The closure keeps `loaded` alive; the signature needs it.
    return _LoadedClassifier(spec, outputs, lambda image, name: (loaded, signature(**{given: image})[name])[1])


def _choose_output(source: _LoadedClassifier, output: str | None) -> str:
    names = ", ".join(f"{name} ({shape[-1] if shape else '?'})" for name, shape in source.outputs.items())
    if output is None and len(source.outputs) > 1:
        raise GraphError(f"expected one output, found {len(source.outputs)}: {names}; name one with --output")
    if output is not None and output not in source.outputs:
        raise GraphError(f"--output {output}: expected one of {names}")
    return output or next(iter(source.outputs))


def _freeze(source: _LoadedClassifier, name: str, size: int | None) -> FrozenModel:
    spec = source.spec
    height, width, channels = _input_shape(spec, size)
    batch = (spec.shape[0] if spec.shape.rank else None) or 1
    traced = tf.function(lambda image: source.call(image, name)).get_concrete_function(tf.TensorSpec((batch, height, width, channels), spec.dtype))
    try:
        frozen = convert_variables_to_constants_v2(traced)
    except ValueError as error:
        # Random layers have a state, which cannot be frozen.
        raise GraphError(AUGMENTS if draws_random_numbers(traced.graph.as_graph_def()) else first_sentence(error)) from error
    graph = frozen.graph.as_graph_def()
    image, output = frozen.inputs[0].name, frozen.outputs[0].name
    convert_to_float32(graph)
    set_input_shape(graph, image.split(":")[0], (height, width, channels), batch)
    function = graph_function(graph)
    found = function.graph.as_graph_element
    return FrozenModel(function, found(image), found(output), (height, width, channels), spec.dtype.is_integer)


def _input_shape(spec: Any, size: int | None) -> tuple[int, int, int]:
    """Height, width and channels of the input. Raises GraphError."""
    if spec.dtype == tf.string:
        raise GraphError("takes text or encoded pictures; export it with an input of pixels, (batch, height, width, 3)")
    shape: tuple[Any, ...] = tuple(spec.shape) if spec.shape.rank is not None else (None, None, None, 3)
    text = f"({', '.join('any' if side is None else str(side) for side in shape)})"
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3, None):
        raise GraphError(f"takes channels first, {text}; expected (batch, height, width, 3)")
    if len(shape) != 4 or shape[3] not in (1, 3, None):
        raise GraphError(f"expected an input of (batch, height, width, 3) or grey ones of 1, found {text}")
    if None in shape[1:3] and size is None:
        raise GraphError(f"takes pictures of any size, {text}; name the side it was trained on with --size")
    if None not in shape[1:3] and size is not None:
        raise GraphError(f"--size {size}: takes pictures of {shape[1]} x {shape[2]} and no others; leave --size out")
    side = size or 0
    return shape[1] or side, shape[2] or side, shape[3] or 3


class _DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """Accepts `groups`, always 1, as files of Keras 2 have it, among them Teachable Machine's keras_model.h5."""

    def __init__(self, *arguments: Any, groups: int = 1, **options: Any) -> None:
        super().__init__(*arguments, **options)


class _SeparableConv2D(keras.layers.SeparableConv2D):  # type: ignore[misc]
    """The same for separable convolutions."""

    def __init__(self, *arguments: Any, groups: int = 1, **options: Any) -> None:
        super().__init__(*arguments, **options)


_KERAS_2_LAYERS = {"DepthwiseConv2D": _DepthwiseConv2D, "SeparableConv2D": _SeparableConv2D}
