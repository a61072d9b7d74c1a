"""Fake quantization: training computes with the rounding of INT8, while weights stay float (Jacob et al. 2018, section 3).

Every tensor that TensorFlow's converter stores in 8 bits is rounded to the same grid, and gradients ignore the rounding (straight-through estimator;
Bengio et al. 2013, Krishnamoorthi 2018, section 2.4):

- the input as camera bytes: scale 1/127.5, zero point -1;
- kernels: symmetric, one scale an output channel in convolutions, one scale in dense layers; biases, of 32 bits, are not rounded;
- the output of each layer, behind the activation that is fused into it: asymmetric, one scale a tensor. Its range is a running average of the
  smallest and largest value of each batch (Jacob et al. 2018, section 3.1), widened so that 0 is on the grid;
- inside activations that become several operations (silu, mish), and inside a batch norm that could not be folded: likewise.

Pooling, padding and reshaping keep the grid of their input.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from converter.data.photos import Photo
from converter.quantization.calibration_photos import NetworkInputs, choose_photos
from device.vision.inference.preprocess import to_float

ops = keras.ops
Tensor = Any

MOMENTUM = 0.99
"""momentum of the running average of ranges; the first batches are averaged equally"""
RANGE_PHOTOS = 64
RANGE_BATCH = 16
LEAST_SCALE = 1e-12
LEAST_LOGARITHM = 1e-3
"""lower limit inside the logarithm of mish: its argument is at least 1, but a coarse grid may round it to 0"""


def fake_quantize(network: keras.Model) -> keras.Model:
    """A network of the same weights, layer names and outputs that computes as its INT8 model does, for training.

    Its ranges are additional, untrainable weights: `measure_ranges` sets them, and training updates them. Without ranges activations are not rounded.
    Untrainable layers stay untrainable. Batch norm is in inference mode.
    """
    fused = _fused(network)
    source = keras.Input(network.input_shape[1:])
    rounded_input = InputRounding(name="camera_bytes")(source)
    originals: dict[int, keras.Operation] = {}

    def clone(operation: keras.Operation) -> keras.Operation:
        kind = _QUANTIZED.get(type(operation), type(operation))
        config = operation.get_config()
        if type(operation) in _WITH_KERNEL and not _is_fusible(operation.activation):
            config["activation"] = "linear"
        copy = kind.from_config(config)
        originals[id(copy)] = operation
        return copy

    def call(copy: keras.Operation, *given: Any, **options: Any) -> Tensor:
        operation = originals[id(copy)]
        given = keras.tree.map_structure(lambda tensor: rounded_input if tensor is source else tensor, given)
        if isinstance(operation, keras.layers.Activation):
            return _activated(given[0], operation.activation, operation.name)
        signal = copy(*given, **options)
        if isinstance(operation, _KEEPS_GRID) or operation.name in fused:
            return signal
        if type(operation) in _WITH_KERNEL and not _is_fusible(operation.activation):
            return _activated(TrackedRangeRounding(name=f"{operation.name}_sum_range")(signal), operation.activation, operation.name)
        return TrackedRangeRounding(name=f"{operation.name}_range")(signal)

    copy = keras.models.clone_model(network, input_tensors=source, clone_function=clone, call_function=call)
    by_path = {weight.path: weight for weight in copy.weights}
    for weight in network.weights:
        by_path[weight.path].assign(weight)
    return copy


def copy_weights_back(quantized: keras.Model, network: keras.Model) -> None:
    """Copy the weights of a network made by `fake_quantize` into the network that it was made of, or a copy of it. Ranges are not copied."""
    by_path = {weight.path: weight for weight in quantized.weights}
    for weight in network.weights:
        weight.assign(by_path[weight.path])


def measure_ranges(quantized: keras.Model, photos: Sequence[Photo], seed: int) -> None:
    """Set the ranges by some of the photos, without augmentation, drawn equally over the labels as the converter does."""
    size = quantized.input_shape[1]
    inputs = [to_float(picture) for picture in NetworkInputs(choose_photos(photos, RANGE_PHOTOS, seed), size)]
    for start in range(0, len(inputs), RANGE_BATCH):
        quantized(np.stack(inputs[start : start + RANGE_BATCH]), training=True)


def round_weights(weights: Tensor, axis: tuple[int, ...]) -> Tensor:
    """Round to -127..127 steps of one scale for all values along `axis`; gradients pass unchanged."""
    scale = ops.maximum(ops.max(ops.abs(weights), axis=axis, keepdims=True) / 127, LEAST_SCALE)
    return weights + ops.stop_gradient(ops.round(weights / scale) * scale - weights)


def round_activations(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Round to the 256 steps of an int8 tensor whose range is `low` to `high`, widened to hold 0, and shifted so that 0 is a step.

    Gradients pass unchanged for values within the range. Values outside are clipped, and their gradient is 0.
    """
    return keras.quantizers.fake_quant_with_min_max_vars(values, ops.minimum(low, 0.0), ops.maximum(high, 0.0))


class FakeQuantLayer(keras.layers.Layer):
    """A layer that keeps the shape of its input."""

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        # Without this Keras runs the layer to find the shape, and on a sparse tensor where a constant was multiplied before.
        return shape


class InputRounding(FakeQuantLayer):
    """Rounds the input -1..1 as the INT8 model reads it: camera byte b stands for (b - 127) / 127.5."""

    def call(self, inputs: Tensor) -> Tensor:
        read = (ops.round((inputs + 1) * 127.5) - 127) / 127.5
        return inputs + ops.stop_gradient(read - inputs)


class TrackedRangeRounding(FakeQuantLayer):
    """Rounds to a grid whose range is a running average in training and fixed at inference.

    measured: values whose range is used in place of that of the inputs. The converter measures all ranges on the float network; inputs on a coarse
    grid may have quite another range.
    """

    def build(self, inputs_shape: tuple[int | None, ...], measured_shape: tuple[int | None, ...] | None = None) -> None:
        self.low, self.high, self.batches = (
            self.add_weight(name=name, shape=(), initializer="zeros", trainable=False) for name in ("low", "high", "batches")
        )

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], measured_shape: tuple[int | None, ...] | None = None
    ) -> tuple[int | None, ...]:
        return inputs_shape

    def call(self, inputs: Tensor, measured: Tensor | None = None, training: bool = False) -> Tensor:
        if training:
            values = ops.stop_gradient(inputs if measured is None else measured)
            self.batches.assign(self.batches + 1)
            share = ops.maximum(1 / self.batches, 1 - MOMENTUM)
            self.low.assign(self.low + share * (ops.min(values) - self.low))
            self.high.assign(self.high + share * (ops.max(values) - self.high))
        return ops.cond(self.batches > 0, lambda: round_activations(inputs, self.low, self.high), lambda: inputs)


class FixedRangeRounding(FakeQuantLayer):
    """Rounds to the fixed grid of an operation."""

    def __init__(self, low: float, high: float, name: str) -> None:
        super().__init__(name=name)
        self.low, self.high = low, high

    def call(self, inputs: Tensor) -> Tensor:
        return round_activations(inputs, self.low, self.high)


class QuantizedConv2D(keras.layers.Conv2D):
    """A convolution with a rounded kernel."""

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return super().convolution_op(inputs, round_weights(kernel, (0, 1, 2)))


class QuantizedDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution, channels last, with a rounded kernel."""

    def call(self, inputs: Tensor) -> Tensor:
        summed = ops.depthwise_conv(
            inputs, round_weights(self.kernel, (0, 1)), strides=self.strides, padding=self.padding, dilation_rate=self.dilation_rate
        )
        return self.activation(summed + self.bias if self.use_bias else summed)


class QuantizedDense(keras.layers.Dense):
    """A dense layer with a rounded kernel."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        summed = ops.matmul(inputs, round_weights(self.kernel, (0, 1)))
        return self.activation(summed + self.bias if self.use_bias else summed)


class QuantizedBatchNormalization(keras.layers.BatchNormalization):
    """A batch norm in inference mode as the two operations it becomes: times a rounded scale, plus a rounded shift."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        super().build(shape)
        self.product = TrackedRangeRounding(name="product")

    def call(self, inputs: Tensor, training: bool = False, mask: Tensor | None = None) -> Tensor:
        scale = ops.rsqrt(self.moving_variance + self.epsilon)
        scale = scale * self.gamma if self.scale else scale
        shift = (self.beta if self.center else 0.0) - self.moving_mean * scale
        product = self.product(inputs * _round_constant(scale), training=training)
        return product + _round_constant(shift)


_QUANTIZED: Mapping[type, Any] = {
    keras.layers.Conv2D: QuantizedConv2D,
    keras.layers.DepthwiseConv2D: QuantizedDepthwiseConv2D,
    keras.layers.Dense: QuantizedDense,
    keras.layers.BatchNormalization: QuantizedBatchNormalization,
}
_WITH_KERNEL = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
_REMOVED_AT_INFERENCE = (keras.layers.Identity, keras.layers.Dropout)
_KEEPS_GRID = (
    *_REMOVED_AT_INFERENCE,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
)
_FUSIBLE = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)


def _round_constant(values: Tensor) -> Tensor:
    return round_activations(values, ops.min(values), ops.max(values))


def _is_fusible(activation: Callable[[Tensor], Tensor]) -> bool:
    return activation in _FUSIBLE


def _activated(signal: Tensor, activation: Callable[[Tensor], Tensor], name: str) -> Tensor:
    """An activation as the operations that the converter replaces it with."""
    if activation in (keras.activations.sigmoid, keras.activations.softmax):
        return FixedRangeRounding(0.0, 255 / 256, name=f"{name}_range")(keras.layers.Activation(activation)(signal))
    if activation is keras.activations.tanh:
        return FixedRangeRounding(-1.0, 127 / 128, name=f"{name}_range")(keras.layers.Activation(activation)(signal))
    if activation is keras.activations.silu:
        share = FixedRangeRounding(0.0, 255 / 256, name=f"{name}_sigmoid_range")(ops.sigmoid(signal))
        return TrackedRangeRounding(name=f"{name}_range")(signal * share)
    if activation is keras.activations.mish:
        softplus = ops.softplus(signal)
        power = TrackedRangeRounding(name=f"{name}_exp_range")(ops.exp(signal))
        raised = TrackedRangeRounding(name=f"{name}_add_range")(power + 1, ops.exp(signal) + 1)
        logarithm = TrackedRangeRounding(name=f"{name}_log_range")(ops.log(ops.maximum(raised, LEAST_LOGARITHM)), softplus)
        share = FixedRangeRounding(-1.0, 127 / 128, name=f"{name}_tanh_range")(ops.tanh(logarithm))
        return TrackedRangeRounding(name=f"{name}_range")(signal * share, signal * ops.tanh(softplus))
    return TrackedRangeRounding(name=f"{name}_range")(keras.layers.Activation(activation)(signal))


def _fused(network: keras.Model) -> set[str]:
    """Names of the operations whose result is never stored, because the activation or bias behind them is fused into them."""
    consumers: dict[int, list[keras.Operation]] = {}
    for operation in network.operations:
        if not isinstance(operation, keras.layers.InputLayer):
            for tensor in keras.tree.flatten(operation.input):
                consumers.setdefault(id(tensor), []).append(operation)

    def only_consumer(operation: keras.Operation) -> keras.Operation | None:
        found = consumers.get(id(operation.output), [])
        if len(found) != 1:
            return None
        return only_consumer(found[0]) if isinstance(found[0], _REMOVED_AT_INFERENCE) else found[0]

    fused = set()
    for operation in network.operations:
        if isinstance(operation, keras.layers.InputLayer) or isinstance(operation.output, (list, tuple, dict)):
            continue
        consumer = only_consumer(operation)
        with_kernel = type(operation) in _WITH_KERNEL and operation.activation is keras.activations.linear
        sums = with_kernel or isinstance(operation, (keras.layers.Add, keras.layers.BatchNormalization)) or _adds_a_constant(operation)
        if (sums and _is_relu(consumer)) or (with_kernel and _adds_a_constant(consumer)):
            fused.add(operation.name)
    return fused


def _is_relu(operation: keras.Operation | None) -> bool:
    if isinstance(operation, keras.layers.ReLU):
        return operation.max_value in (None, 6) and operation.negative_slope == 0 and operation.threshold == 0
    return isinstance(operation, keras.layers.Activation) and operation.activation in (keras.activations.relu, keras.activations.relu6)


def _adds_a_constant(operation: keras.Operation | None) -> bool:
    if operation is None or isinstance(operation, keras.layers.Layer):
        return False
    return type(operation).__name__ == "Add" and len(keras.tree.flatten(operation.input)) == 1
