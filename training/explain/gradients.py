"""Why a network says what it says: gradients of one label's logit, back to the last features (Grad-CAM) and to the pixels (guided).

Inputs are as the network takes them: photos x size x size x 3 float32 in -1..1.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from device.common.arrays import Float32Array
from device.common.errors import SortbinError


class ExplainError(SortbinError, ValueError):
    """A network whose layers give nothing to look at. The message says which are missing."""


def grad_cam(network: keras.Model, inputs: Float32Array, labels: list[int]) -> Float32Array:
    """Where the evidence for a label lies (Selvaraju et al. 2017): photos x size x size, 0..1, the strongest place of each photo 1.

    The last feature maps, each weighed by the mean gradient of the label's logit, summed, negative evidence cut away, and stretched
    to the input's size. All 0 where nothing speaks for the label. labels: the index of the label to explain, one a photo.
    """
    probe = keras.Model(network.input, [last_features(network), network.output["logits"]])
    with tf.GradientTape() as tape:
        features, logits = probe(inputs, training=False)
        score = _of_labels(logits, labels)
    weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1, keepdims=True))
    heat = heat / tf.maximum(tf.reduce_max(heat, axis=(1, 2, 3), keepdims=True), 1e-12)
    return np.asarray(tf.image.resize(heat, inputs.shape[1:3]).numpy()[..., 0], np.float32)


def guided_backpropagation(network: keras.Model, inputs: Float32Array, labels: list[int]) -> Float32Array:
    """Which pixels raise a label's logit (Springenberg et al. 2015): photos x size x size x 3, signed.

    The gradient on its way back passes an activation only where it is positive. labels: as for `grad_cam`.
    """
    guided = _guided(network)
    pixels = tf.convert_to_tensor(inputs)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        score = _of_labels(guided(pixels, training=False)["logits"], labels)
    return np.asarray(tape.gradient(score, pixels).numpy(), np.float32)


def first_features(network: keras.Model, inputs: Float32Array) -> Float32Array:
    """What the first convolution makes of the photos, after its activation: photos x height x width x channels."""
    layers = network.layers
    found = next((i for i, layer in enumerate(layers) if isinstance(layer, keras.layers.Conv2D)), None)
    if found is None:
        raise ExplainError("this network has no convolution whose features could be shown")
    # Norm and activation may be layers of their own, right behind it.
    signal = layers[found].output
    for layer in layers[found + 1 :]:
        if layer.input is not signal or not isinstance(layer, _FOLLOWERS):
            break
        signal = layer.output
    return np.asarray(keras.Model(network.input, signal)(inputs, training=False).numpy(), np.float32)


def last_features(network: keras.Model) -> keras.KerasTensor:
    """The last feature maps that still have places: what is pooled. Raises ExplainError where there are none."""
    for layer in reversed(network.layers):
        shape: tuple[int | None, ...] = layer.output.shape if isinstance(layer.output, keras.KerasTensor) else ()
        if len(shape) == 4 and shape[1] and shape[1] > 1:
            return layer.output
    raise ExplainError("this network has no feature maps before its pooling that Grad-CAM could weigh")


_FOLLOWERS = (keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.ReLU, keras.layers.Identity)


def _of_labels(logits: tf.Tensor, labels: list[int]) -> tf.Tensor:
    return tf.gather(logits, tf.constant(labels), axis=1, batch_dims=1)


class _GuidedLayer(keras.layers.Layer):
    """An activation that lets only positive gradients back."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor], name: str) -> None:
        super().__init__(name=name)
        self._function = _positive_back(function)

    def call(self, signal: tf.Tensor) -> tf.Tensor:
        return self._function(signal)


def _guided(network: keras.Model) -> keras.Model:
    """A copy with the same weights whose activations are guided; the way forward is unchanged."""

    def clone(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.ReLU):
            return _GuidedLayer(layer.call, layer.name)
        copy = layer.__class__.from_config(layer.get_config())
        activation = getattr(copy, "activation", None)
        if activation is not None and activation is not keras.activations.linear:
            copy.activation = _positive_back(activation)
        return copy

    guided = keras.models.clone_model(network, clone_function=clone)
    guided.set_weights(network.get_weights())
    return guided


def _positive_back(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """For ReLU this is the published rule; any other activation's own derivative takes the place of ReLU's."""

    @tf.custom_gradient
    def forward(signal: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def backward(upstream: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(signal)
                again = function(signal)
            return tape.gradient(again, signal, output_gradients=tf.nn.relu(upstream))

        return function(signal), backward

    guided: Callable[[tf.Tensor], tf.Tensor] = forward
    return guided
