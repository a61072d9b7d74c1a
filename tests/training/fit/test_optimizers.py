"""Optimizers: rate factors of layers, and the cosine schedule."""

import keras
import numpy as np
import pytest

from training.fit.distributed import SingleWorker
from training.fit.optimizers import adamw, cosine, sgd


@pytest.mark.parametrize("make", [adamw, sgd])
def test_the_heads_rate_factor_is_applied(make: object) -> None:
    moved = {}
    for factor in (1.0, 10.0):
        keras.utils.set_random_seed(0)
        trunk = keras.layers.Dense(4, name="trunk")
        model = keras.Sequential([keras.Input((3,)), trunk, keras.layers.Dense(2, name="head")])
        before = model.get_layer("head").get_weights()[0].copy(), trunk.get_weights()[0].copy()
        model.compile(make(cosine(1e-3, 10, 0), 0.0, {"head": factor}, SingleWorker()), "mse", jit_compile=False)
        model.train_on_batch(np.ones((8, 3), np.float32), np.ones((8, 2), np.float32))
        moved[factor] = (
            np.abs(model.get_layer("head").get_weights()[0] - before[0]).max(),
            np.abs(trunk.get_weights()[0] - before[1]).max(),
        )
    assert moved[10.0][0] == pytest.approx(10 * moved[1.0][0], rel=1e-2)
    assert moved[10.0][1] == pytest.approx(moved[1.0][1], rel=1e-3)


def test_the_cosine_warms_up_and_ends_at_a_hundredth() -> None:
    schedule = cosine(1e-3, 100, 10)
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(1e-3)
    assert rates.index(max(rates)) == 10
    assert rates[-1] == pytest.approx(1e-5)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_weight_decay_is_that_of_keras() -> None:
    after = []
    for optimizer in (adamw(cosine(0.1, 10, 0), 0.5, {}, SingleWorker()), keras.optimizers.AdamW(cosine(0.1, 10, 0), weight_decay=0.5)):
        with keras.name_scope("layer"):
            variable = keras.Variable(np.array([1.0, -2.0, 3.0], np.float32), name="kernel")
        for _ in range(3):
            optimizer.apply([keras.ops.zeros(3)], [variable])
        after.append(keras.ops.convert_to_numpy(variable))
    np.testing.assert_array_equal(after[0], after[1])
    assert after[0][0] < 0.9
