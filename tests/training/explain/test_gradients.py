"""Explanations of networks whose reasons are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from device.common.errors import SortbinError
from device.vision.inference.preprocess import to_float
from training.explain.gradients import first_features, grad_cam, guided_backpropagation, last_features


def picture(colour: tuple[int, int, int], top: int, left: int) -> np.ndarray:
    """A coloured square of 8 x 8 on grey, as the network takes it."""
    pixels = np.full((32, 32, 3), 128, np.uint8)
    pixels[top : top + 8, left : left + 8] = colour
    return to_float(pixels)


BLUE_ABOVE = picture((0, 0, 255), 4, 4)
RED_BELOW = picture((255, 0, 0), 20, 16)


def test_grad_cam_points_at_what_speaks_for_the_label(network: keras.Model) -> None:
    both = BLUE_ABOVE.copy()
    both[16:] = RED_BELOW[16:]
    heat = grad_cam(network, np.stack([both, both]), [0, 1])
    assert heat.shape == (2, 32, 32)
    assert heat.min() >= 0 and heat.max() == pytest.approx(1, abs=0.05)
    for one, (top, left) in zip(heat, ((4, 4), (20, 16)), strict=True):
        assert one[top : top + 8, left : left + 8].sum() / one.sum() > 0.75


def test_nothing_speaks_for_a_label_that_is_nowhere(network: keras.Model) -> None:
    assert not grad_cam(network, BLUE_ABOVE[None], [1]).any()


def test_grad_cam_behind_mean_pooling_is_the_class_activation_map(network: keras.Model) -> None:
    """Zhou et al. 2016: there, the weights of Grad-CAM are the head's own."""
    features = keras.Model(network.input, last_features(network))(RED_BELOW[None]).numpy()[0]
    weights = network.get_layer("head").get_weights()[0][0, 0, :, 1]
    wanted = np.maximum(features @ weights, 0)
    wanted = tf.image.resize((wanted / wanted.max())[..., None], (32, 32)).numpy()[..., 0]
    np.testing.assert_allclose(grad_cam(network, RED_BELOW[None], [1])[0], wanted, atol=1e-5)


def test_guided_backpropagation_finds_the_pixels_and_their_sign(network: keras.Model) -> None:
    found = guided_backpropagation(network, np.stack([BLUE_ABOVE, RED_BELOW]), [0, 1])
    assert found.shape == (2, 32, 32, 3)
    blue, red = found
    assert blue[4:12, 4:12, 2].max() > 0 > blue[4:12, 4:12, 0].min()
    assert red[20:28, 16:24, 0].max() > 0 > red[20:28, 16:24, 2].min()
    outside = np.ones((32, 32), bool)
    outside[4:12, 4:12] = False
    assert not blue[outside].any()


@pytest.mark.parametrize("activation", ["layer", "argument", "relu6"])
def test_only_positive_gradients_pass_back_through_a_relu(activation: str) -> None:
    """By hand: y = 2 relu(x) - 3 relu(-x) has gradient 2 for x > 0 and 3 for x < 0; the rule stops the second, whose way back is negative."""
    image = keras.Input((4, 4, 1))
    if activation == "argument":
        split = keras.layers.Conv2D(2, 1, activation="relu", name="split")(image)
    else:
        linear = keras.layers.Conv2D(2, 1, name="split")(image)
        split = keras.layers.ReLU(6.0 if activation == "relu6" else None)(linear)
    summed = keras.layers.Conv2D(1, 1, name="sum")(split)
    logits = keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D(keepdims=True)(summed))
    network = keras.Model(image, {"logits": logits})
    network.get_layer("split").set_weights([np.array([[[[1, -1]]]], np.float32), np.zeros(2, np.float32)])
    network.get_layer("sum").set_weights([np.array([[[[2], [-3]]]], np.float32), np.zeros(1, np.float32)])
    signs = np.where(np.eye(4) > 0, -1.0, 1.0).astype(np.float32)[None, ..., None]
    found = guided_backpropagation(network, signs, [0])[0, ..., 0] * 16
    np.testing.assert_allclose(found, np.where(np.eye(4) > 0, 0.0, 2.0), atol=1e-6)
    before = network(signs)["logits"].numpy()
    assert before == pytest.approx((12 * 2 - 4 * 3) / 16), "the network itself is as it was"


def test_smooth_activations_are_guided_too() -> None:
    image = keras.Input((4, 4, 1))
    hidden = keras.layers.Conv2D(3, 1, activation="gelu")(image)
    logits = keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D(keepdims=True)(keras.layers.Conv2D(2, 1)(hidden)))
    found = guided_backpropagation(keras.Model(image, {"logits": logits}), np.ones((1, 4, 4, 1), np.float32), [1])
    assert np.isfinite(found).all()


def test_first_features_are_those_after_norm_and_activation(network: keras.Model) -> None:
    maps = first_features(network, BLUE_ABOVE[None])
    assert maps.shape == (1, 16, 16, 2)
    assert maps[0, 2:6, 2:6, 0].min() > 1 and not maps[0, ..., 1].any()
    image = keras.Input((8, 8, 3))
    normed = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3)(image))
    last = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(keras.layers.ReLU()(normed)))
    other = first_features(keras.Model(image, last), np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32))
    assert other.shape == (1, 6, 6, 2) and other.min() == 0


def test_a_network_without_places_is_refused() -> None:
    image = keras.Input((3,))
    flat = keras.Model(image, {"logits": keras.layers.Dense(2)(image)})
    for look in (lambda: last_features(flat), lambda: first_features(flat, np.zeros((1, 3), np.float32))):
        with pytest.raises(SortbinError, match="this network has no"):
            look()
