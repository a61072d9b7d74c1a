"""A bundle's INT8 model back in float: a run folder like the one it was made from, with weights rounded to eight bits.

Weights are scale * (integer - zero point), by channel (Jacob et al. 2018, section 2.1); activations stay float. A bundle whose run is lost, or that
somebody else made, can so be trained further, averaged, explained and quantized again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import numpy.typing as npt
import tomlkit

from converter.bundle.photo_list import listed_split
from converter.common.atomic_directory import atomic_directory
from converter.data.photos import Split, read_split
from converter.tflite.flatbuffer import ModelFile, Operator, Tensor, read_model
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.vision.inference.bundle import Bundle
from training.models.network import HEAD, add_heads, set_head

FILE = "dequantized.json"

_ACTIVATIONS: Mapping[int, float | None] = {1: None, 3: 6.0}
"""upper limit of each fused activation, by TensorFlow Lite's number: RELU and RELU6"""
_PADDINGS = ("same", "valid")


class DequantizeError(SortbinError, ValueError):
    """A bundle whose model cannot be dequantized, or photos of other labels. The message names the file and what was expected."""


def write_dequantized(bundle: Bundle, data: Path, seed: int, out: Path) -> tuple[keras.Model, bool]:
    """Write the run folder `out`, which must not exist. Returns the network, and whether the photos and their split are those of the bundle.

    data: photos of the bundle's labels. seed: of their split, where neither the folder nor the bundle says it. Raises DequantizeError,
    ModelFileError, PhotosError, OutputError.
    """
    if bundle.info.precision is not msgspec.UNSET:
        raise DequantizeError(f"{bundle.folder}: expected a bundle that computes in INT8; this one does in {bundle.info.precision}")
    listed = listed_split(bundle, data)
    split = listed or read_split(data, seed=seed)
    if set(split.labels) != set(bundle.info.labels):
        raise DequantizeError(f"{data}: expected photos of {', '.join(bundle.info.labels)}, found {', '.join(split.labels)}")
    network = dequantize(read_model(bundle.model), str(bundle.model))
    made_of = {"bundle": str(bundle.folder), "model_sha256": bundle.info.files[bundle.model.name], "its_photos": listed is not None}
    with atomic_directory(out) as folder:
        network.save(folder / "model.keras")
        _write_lists(folder, bundle, split)
        (folder / "recipe.toml").write_text(tomlkit.dumps({"size": bundle.info.input.size, "seed": seed}), encoding="utf-8")
        (folder / FILE).write_text(json.dumps(made_of, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return network, listed is not None


def dequantize(model: ModelFile, name: str) -> keras.Model:
    """The network of a bundle's model in float32, with the layer names of the run. name: what errors call the model.

    Supports the operators of MobileNet V1 and V2, ResNet-18 and plain convolutional networks, with one head without hidden layers. Raises
    DequantizeError.
    """
    return _NetworkRebuilder(model, name).network()


class _NetworkRebuilder:
    """Builds a Keras network from the operators of a graph, in their order."""

    def __init__(self, model: ModelFile, name: str) -> None:
        self._graph = model.main
        self._name = name
        self._signals: dict[int, keras.KerasTensor] = {}
        self._names: set[str] = set()
        self._weights: list[tuple[keras.Layer, list[Float32Array]]] = []
        self._outputs = {name: index for signature in model.signatures for name, index in signature.outputs.items()}

    def network(self) -> keras.Model:
        """The network, with its weights."""
        if not {"logits", "embedding"} <= set(self._outputs) or len(self._graph.inputs) != 1:
            raise DequantizeError(f"{self._name}: expected one input, and outputs named logits and embedding")
        (source,) = self._graph.inputs
        image = self._signals[source] = keras.Input(self._graph.tensors[source].shape[1:])
        operators = list(self._graph.operators)
        pools = [number for number, operator in enumerate(operators) if operator.name == "MEAN"]
        if len(pools) != 1:
            raise DequantizeError(f"{self._name}: expected one MEAN, of the features, found {len(pools)}")
        for operator in operators[: pools[0]]:
            self._signals[operator.outputs[0]] = self._layer_output(operator)
        features = self._signals[operators[pools[0]].inputs[0]]
        heads = [operator for operator in operators[pools[0] :] if operator.name in ("CONV_2D", "FULLY_CONNECTED")]
        if len(heads) != 1:
            raise DequantizeError(f"{self._name}: expected one head and no hidden layers behind the features, found {len(heads)} layers")
        kernel, bias = self._constants(heads[0])
        network = add_heads(keras.Model(image, features), len(bias))
        for layer, weights in self._weights:
            layer.set_weights(weights)
        set_head(network, kernel.reshape(len(bias), -1), bias, HEAD)
        return network

    def _layer_output(self, operator: Operator) -> keras.KerasTensor:
        """Add the layer of a trunk operator; returns its output."""
        inputs = [self._signals[index] for index in operator.inputs if index in self._signals]
        match operator.name:
            case "QUANTIZE":
                return inputs[0]
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                signal = self._convolved(operator, inputs[0])
            case "ADD" if len(inputs) == 2:
                signal = keras.layers.Add(name=self._unique_name(operator.outputs[0]))(inputs)
            case "CONCATENATION" if len(inputs) == len(operator.inputs):
                signal = keras.layers.Concatenate(name=self._unique_name(operator.outputs[0]))(inputs)
            case "PAD" if len(inputs) == 1:
                edges = self._constant(self._graph.tensors[operator.inputs[1]])
                signal = keras.layers.ZeroPadding2D(tuple(tuple(int(side) for side in pair) for pair in edges[1:3]))(inputs[0])
            case "MAX_POOL_2D":
                window = _pair(operator, "filter_height", "filter_width")
                signal = keras.layers.MaxPooling2D(window, _pair(operator, "stride_h", "stride_w"), _padding(operator))(inputs[0])
            case "RELU" | "RELU6":
                signal = keras.layers.ReLU(6.0 if operator.name == "RELU6" else None)(inputs[0])
            case _:
                raise DequantizeError(f"{self._name}: holds {operator.name}, which cannot be turned back into a Keras layer here")
        return self._activated(operator, signal)

    def _convolved(self, operator: Operator, signal: keras.KerasTensor) -> keras.KerasTensor:
        kernel, bias = self._constants(operator)
        shape = {
            "kernel_size": kernel.shape[1:3],
            "strides": _pair(operator, "stride_h", "stride_w"),
            "padding": _padding(operator),
            "dilation_rate": _pair(operator, "dilation_h_factor", "dilation_w_factor"),
            "name": self._unique_name(operator.inputs[1]),
        }
        if operator.name == "CONV_2D":
            layer = keras.layers.Conv2D(kernel.shape[0], **shape)
            kernel = kernel.transpose(1, 2, 3, 0)
        else:
            channels = signal.shape[-1]
            layer = keras.layers.DepthwiseConv2D(depth_multiplier=kernel.shape[-1] // channels, **shape)
            kernel = kernel.reshape(*kernel.shape[1:3], channels, -1)
        self._weights.append((layer, [kernel, bias]))
        return layer(signal)

    def _activated(self, operator: Operator, signal: keras.KerasTensor) -> keras.KerasTensor:
        kind = operator.options.get("fused_activation_function", 0)
        assert isinstance(kind, int)
        if not kind:
            return signal
        if kind not in _ACTIVATIONS:
            raise DequantizeError(f"{self._name}: {operator.name} with an activation (number {kind}) that is neither ReLU nor ReLU6")
        return keras.layers.ReLU(_ACTIVATIONS[kind])(signal)

    def _constants(self, operator: Operator) -> tuple[Float32Array, Float32Array]:
        """Kernel in TensorFlow Lite's order (outputs first; depthwise 1 x height x width x channels), and bias."""
        tensors = [self._graph.tensors[index] for index in operator.inputs[1:3]]
        if len(tensors) < 2:
            raise DequantizeError(f"{self._name}: {operator.name} without a bias")
        kernel, bias = (self._real(tensor) for tensor in tensors)
        return kernel, bias

    def _real(self, tensor: Tensor) -> Float32Array:
        stored, quantization = self._constant(tensor), tensor.quantization
        if quantization is None:
            raise DequantizeError(f"{self._name}: {tensor.name}: expected a constant in whole numbers with a scale")
        along = [1] * stored.ndim
        along[quantization.axis] = -1
        scales, zero_points = (np.array(values, np.float64).reshape(along) for values in (quantization.scales, quantization.zero_points))
        real: Float32Array = (scales * (stored - zero_points)).astype(np.float32)
        return real

    def _constant(self, tensor: Tensor) -> npt.NDArray[Any]:
        stored = tensor.values()
        if stored is None:
            raise DequantizeError(f"{self._name}: {tensor.name}: expected a constant in whole numbers with a scale")
        return stored

    def _unique_name(self, index: int) -> str:
        """Name of the Keras layer, taken from the tensor's: `block_2_add` of `sortbin_1/block_2_add_1/Add`. A name used before gets a number."""
        path = self._graph.tensors[index].name.split(";")[0].split("/")
        name = path[-2] if len(path) > 2 else f"tensor{index}"
        if path[0].endswith("_1"):  # the converter exports a copy of the network; Keras appends _1 to the copied layers too
            name = name.removesuffix("_1")
        name = name if name not in self._names else f"{name}_{index}"
        self._names.add(name)
        return name


def _padding(operator: Operator) -> str:
    number = operator.options["padding"]
    assert isinstance(number, int)
    return _PADDINGS[number]


def _pair(operator: Operator, *names: str) -> tuple[Any, ...]:
    return tuple(operator.options[name] for name in names)


def _write_lists(folder: Path, bundle: Bundle, split: Split) -> None:
    lists = {
        "labels.txt": bundle.info.labels,
        "train.txt": [photo.name for photo in split.train],
        "val.txt": [photo.name for photo in split.val],
    }
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
