"""The network: batch norm folding keeps the function, and the head takes a linear classifier."""

import keras
import numpy as np

from tests.training.runs import build_network
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import resized, set_head


def test_folding_batch_norm_keeps_the_function() -> None:
    keras.utils.set_random_seed(0)
    trunk = keras.applications.MobileNetV2(input_shape=(48, 48, 3), alpha=0.35, include_top=False, weights=None)
    rng = np.random.default_rng(0)
    for layer in trunk.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            width = layer.get_weights()[0].shape
            layer.set_weights([rng.uniform(0.5, 1.5, width), rng.normal(0, 0.2, width), rng.normal(0, 0.1, width), rng.uniform(0.5, 2, width)])
    folded = fold_batch_norm(trunk)
    inputs = rng.uniform(-1, 1, (4, 48, 48, 3)).astype(np.float32)
    np.testing.assert_allclose(folded.predict(inputs, verbose=0), trunk.predict(inputs, verbose=0), atol=1e-4)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)


def test_another_input_size_keeps_every_weight() -> None:
    network = build_network(4, 32, width=0.35)
    larger = resized(network, 64)
    assert larger.input_shape == (None, 64, 64, 3)
    assert larger.output["logits"].shape == (None, 4)
    for ours, theirs in zip(larger.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_head_takes_a_linear_classifier() -> None:
    network = build_network(3, 32, width=0.35)
    rng = np.random.default_rng(1)
    coefficients, intercepts = rng.normal(size=(3, 1280)), rng.normal(size=3)
    set_head(network, coefficients, intercepts)
    outputs = network.predict(rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32), verbose=0)
    np.testing.assert_allclose(outputs["logits"], outputs["embedding"] @ coefficients.T + intercepts, atol=1e-3)
