"""Backbones by name: inputs -1..1, and clear errors for what they cannot do."""

import keras
import numpy as np
import pytest

from training.models.backbones import BACKBONES, SCRATCH, BackboneError, WeightsError, build_trunk
from training.models.batch_norm_folding import fold_batch_norm, freeze_batch_norm
from training.models.network import HiddenLayers, add_heads
from training.models.scratch_options import ScratchCnnOptions

QUICK = ("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_v2_b0", "efficientnet_lite0", "resnet18", SCRATCH)


@pytest.mark.parametrize("name", QUICK)
def test_no_trunk_rescales_its_input_and_folding_keeps_its_function(name: str) -> None:
    keras.utils.set_random_seed(0)
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")  # random weights amplify the rounding of float32
    try:
        trunk = build_trunk(name, 32)
        assert not {type(layer).__name__ for layer in trunk.layers} & {"Rescaling", "Normalization"}
        assert trunk.input_shape == (None, 32, 32, 3)
        inputs = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3))
        wanted = trunk.predict_on_batch(inputs)
        found = fold_batch_norm(trunk).predict_on_batch(inputs)
    finally:
        keras.config.set_dtype_policy(usual)
    assert found.dtype == np.float64
    assert np.linalg.norm(found - wanted) < 1e-9 * np.linalg.norm(wanted)


def test_mobilenet_v3_is_built_without_rescaling() -> None:
    theirs = keras.applications.MobileNetV3Small(input_shape=(32, 32, 3), include_top=False, weights=None)
    assert any(isinstance(layer, keras.layers.Rescaling) for layer in theirs.layers)


@pytest.mark.parametrize(("name", "named"), [("efficientnet_v2_b0", "EfficientNetV2B0"), ("efficientnet_lite0", "efficientnet_lite0")])
def test_a_width_is_refused_where_there_is_only_one(name: str, named: str) -> None:
    with pytest.raises(BackboneError, match=rf"width: expected 1\.0 with backbone {named}"):
        build_trunk(name, 32, width=0.5)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BackboneError, match=r"expected one of mobilenet_v2, .*scratch_cnn, found vgg"):
        build_trunk("vgg", 32)
    assert len(BACKBONES) == 10


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_imagenet_is_refused_where_there_are_no_weights_to_download(name: str) -> None:
    with pytest.raises(WeightsError, match=rf"expected none or a \.weights\.h5 file: there are no ImageNet weights of {name}"):
        build_trunk(name, 32, weights="imagenet")


def test_the_scratch_cnn_has_the_reported_number_of_parameters() -> None:
    options = ScratchCnnOptions(layers=5, features=64, strategy="same", kernel=5, activation="mish", batch_norm=True)
    trunk = build_trunk(SCRATCH, 32, scratch=options)
    network = add_heads(trunk, 9, hidden=HiddenLayers((128,)))
    convolutions = 5 * 5 * 3 * 64 + 64 + 4 * (5 * 5 * 64 * 64 + 64)
    assert sum(layer.count_params() for layer in network.layers if isinstance(layer, keras.layers.Conv2D)) == pytest.approx(
        convolutions + 64 * 128 + 128 + 128 * 9 + 9 - 5 * 64, abs=0
    )


@pytest.mark.parametrize(("strategy", "features"), [("same", [32, 32, 32]), ("doubling", [32, 64, 128]), ("halving", [32, 16, 8])])
def test_strategies_set_the_filters_of_each_layer(strategy: str, features: list[int]) -> None:
    trunk = build_trunk(SCRATCH, 32, scratch=ScratchCnnOptions(layers=3, features=32, strategy=strategy))
    assert [layer.filters for layer in trunk.layers if isinstance(layer, keras.layers.Conv2D)] == features


def test_frozen_batch_norm_learns_no_statistics() -> None:
    trunk = build_trunk("resnet18", 32)
    freeze_batch_norm(trunk)
    norm = next(layer for layer in trunk.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = np.array(norm.moving_mean)
    trunk(np.ones((4, 32, 32, 3), np.float32), training=True)
    np.testing.assert_array_equal(norm.moving_mean, before)
