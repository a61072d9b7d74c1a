"""Checkpoints: the average of the weights."""

from pathlib import Path

import keras
import numpy as np
import pytest

from training.fit.checkpoint import WeightAverage


def one_weight(value: float) -> keras.Model:
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(value))
    return keras.Sequential([keras.Input((1,)), layer])


def epoch(average: WeightAverage, model: keras.Model, number: int, batches: int) -> None:
    average.set_model(model)
    average.on_train_begin()
    for batch in range(batches):
        average.on_train_batch_end(batch)
    average.on_epoch_end(number)


@pytest.mark.parametrize("batches", [1, 7, 8, 9, 20])
def test_every_batch_counts_however_rarely_the_average_is_updated(batches: int) -> None:
    model = one_weight(0.0)
    average = WeightAverage(0.9)
    average.set_model(model)
    average.on_train_begin()
    model.set_weights([np.array([[1.0]], np.float32)])
    epoch(average, model, 0, batches)
    assert average.weights[0].item() == pytest.approx(1 - 0.9**batches, rel=1e-5)


def test_momentum_0_gives_the_weights_bit_for_bit() -> None:
    model = one_weight(0.1)
    average = WeightAverage(0.0)
    average.set_model(model)
    average.on_train_begin()
    model.set_weights([np.array([[0.3]], np.float32)])
    epoch(average, model, 0, 3)
    np.testing.assert_array_equal(average.weights[0], model.get_weights()[0])


def test_a_saved_average_goes_on_after_loading(tmp_path: Path) -> None:
    model = one_weight(1.0)
    whole, first = WeightAverage(0.9), WeightAverage(0.9)
    for average in (whole, first):
        average.set_model(model)
        average.on_train_begin()
    model.set_weights([np.array([[2.0]], np.float32)])
    epoch(whole, model, 0, 5)
    epoch(whole, model, 1, 5)
    epoch(first, model, 0, 5)
    first.save(tmp_path / "average.npz")
    again = WeightAverage(0.9)
    again.load(tmp_path / "average.npz")
    epoch(again, model, 1, 5)
    np.testing.assert_array_equal(again.weights[0], whole.weights[0])
