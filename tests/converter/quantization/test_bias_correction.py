"""Bias correction of an INT8 model."""

from pathlib import Path

import numpy as np

from converter.common.accuracy import kl_divergence
from converter.data.photos import Photo
from converter.data.training_run import read_run
from converter.quantization.calibration_photos import NetworkInputs
from converter.quantization.trial_model import TrialModel

LABELS = ["a", "b", "c"]


def test_shifted_biases_are_corrected(converted: tuple[bytes, bytes], shapes_run: Path, photos: Path, tmp_path: Path) -> None:
    from converter.quantization.bias_correction import correct_biases
    from converter.quantization.float_network import predict, read_network
    from converter.tflite.layers import add_to_bias, linear_layers

    float32, int8 = converted
    narrow, head = linear_layers(int8)
    rng = np.random.default_rng(1)
    spoiled = add_to_bias(add_to_bias(int8, narrow, rng.normal(0, 0.3, 8)), head, np.array([1.0, -1.0, 0.5]))
    run = read_run(shapes_run, photos)
    mended = correct_biases(spoiled, float32, NetworkInputs(run.train[::2], 32), tmp_path)

    others: tuple[Photo, ...] = run.train[1::2]
    wanted = predict(read_network(run.model, 3), NetworkInputs(others, 32))["logits"].astype(np.float64)
    off = {
        name: kl_divergence(wanted, TrialModel(model, LABELS, 32, tmp_path).logits(NetworkInputs(others, 32)))
        for name, model in (("plain", int8), ("spoiled", spoiled), ("mended", mended))
    }
    assert off["spoiled"] > 10 * off["mended"]
    assert off["mended"] < 2 * off["plain"]


def test_layers_with_other_names_stay_unchanged(converted: tuple[bytes, bytes], tmp_path: Path) -> None:
    from converter.quantization.bias_correction import correct_biases

    float32, int8 = converted
    renamed = float32.replace(b"narrow", b"worran").replace(b"head", b"daeh")
    assert correct_biases(int8, renamed, [np.zeros((32, 32, 3), np.uint8)], tmp_path) == int8
