"""EfficientNet-Lite0: the published size, ImageNet weights in their places, and integer operations that the Edge TPU runs."""

from collections import Counter
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from converter.edgetpu.graph import build_graph
from converter.edgetpu.prediction import predict
from converter.quantization.tf_converter import exported, to_int8
from converter.tflite.flatbuffer import ModelFile, parse_model
from training.fit.dequantize import dequantize
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.efficientnet_lite import efficientnet_lite0
from training.models.network import add_heads

SIZE = 64
SHARED = Path(__file__).parents[4] / "shared"
WEIGHTS = SHARED / "weights" / "efficientnet_lite0_imagenet_notop.weights.h5"
PHOTOS = SHARED / "data" / "trashnet"


def pixels(count: int) -> np.ndarray:
    """Coarse colours with noise, N x SIZE x SIZE x 3 uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 236, (count, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return (coarse + rng.integers(-20, 20, coarse.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return add_heads(fold_batch_norm(build_trunk("efficientnet_lite0", SIZE)), 6)


@pytest.fixture(scope="module")
def int8(network: keras.Model) -> ModelFile:
    with exported(network) as saved:
        return parse_model(to_int8(saved, pixels(4)))


def test_it_has_the_published_shape_and_number_of_parameters() -> None:
    trunk = efficientnet_lite0((224, 224, 3))
    learned = sum(int(np.prod(weight.shape)) for weight in trunk.trainable_weights)
    thousand_labels = 1280 * 1000 + 1000
    assert learned + thousand_labels == 4_652_008, "4.7 million with the top of ImageNet"
    projected = [layer.output.shape[1:] for layer in trunk.layers if layer.name.endswith("project_norm")]
    sides = [112] * 1 + [56] * 2 + [28] * 2 + [14] * 6 + [7] * 5
    filters = [16] * 1 + [24] * 2 + [40] * 2 + [80] * 3 + [112] * 3 + [192] * 4 + [320] * 1
    assert projected == [(side, side, wide) for side, wide in zip(sides, filters, strict=True)]
    kernels = [layer.kernel_size[0] for layer in trunk.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    assert kernels == [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    assert trunk.output_shape == (None, 7, 7, 1280)


def test_its_int8_operations_all_map_to_the_edge_tpu(int8: ModelFile) -> None:
    prediction = predict(build_graph(int8))
    assert (prediction.on_cpu, prediction.cautions, prediction.fits) == ((), (), True)
    kernels = {"CONV_2D": 34, "DEPTHWISE_CONV_2D": 16, "ADD": 9, "MEAN": 1}
    found = Counter(fate.name for fate in prediction.fates)
    assert {name: found.pop(name) for name in kernels} == kernels
    assert set(found) <= {"QUANTIZE", "RESHAPE"}


def test_its_int8_model_is_turned_back_into_the_same_network(network: keras.Model, int8: ModelFile) -> None:
    back = dequantize(int8, "lite0")
    assert [layer.name for layer in back.layers if layer.weights] == [layer.name for layer in network.layers if layer.weights]
    back.set_weights(network.get_weights())  # without the rounding to eight bits
    inputs = pixels(4) / np.float32(127.5) - 1
    seen, wanted = (model.predict_on_batch(inputs) for model in (back, network))
    assert np.abs(wanted["embedding"]).max() > 0.01
    for name in wanted:
        np.testing.assert_allclose(seen[name], wanted[name], rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not WEIGHTS.is_file() or not PHOTOS.is_dir(), reason="needs ImageNet weights and TrashNet in ../shared")
def test_imagenet_weights_find_the_batch_statistics_that_they_learned() -> None:
    trunk = build_trunk("efficientnet_lite0", 224, weights=str(WEIGHTS))
    norms = [layer for layer in trunk.layers if isinstance(layer, keras.layers.BatchNormalization)]
    photos = [cv2.imread(str(file)) for file in sorted(PHOTOS.glob("*/*.jpg"))[::200]]
    inputs = np.stack([cv2.resize(photo, (224, 224))[..., ::-1] for photo in photos]) / np.float32(127.5) - 1
    taken = keras.Model(trunk.input, [norm.input for norm in norms]).predict_on_batch(inputs)
    for norm, signal in zip(norms, taken, strict=True):
        standard = (signal - norm.moving_mean) / np.sqrt(norm.moving_variance + norm.epsilon)
        assert 0.5 < np.sqrt(np.square(standard).mean()) < 1.5, norm.name  # 0.70 to 0.99 measured
