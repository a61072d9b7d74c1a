"""Checks of the inputs and outputs of a Keras file."""

from pathlib import Path

import pytest

from converter.common.silence import silenced


def save(folder: Path, shape: tuple[int | None, ...], *, named: bool = True, logits: int = 3, inputs: int = 1) -> Path:
    """A network of one pooling layer."""
    import keras

    images = [keras.Input(shape) for _ in range(inputs)]
    pooled = keras.layers.GlobalAveragePooling2D()(images[0] if inputs == 1 else keras.layers.Add()(images))
    ends = {"logits": keras.layers.Dense(logits)(pooled), "embedding": pooled}
    with silenced():
        keras.Model(images if inputs > 1 else images[0], ends if named else [*ends.values()]).save(folder / "model.keras")
    return folder / "model.keras"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": (None, None, 3)}, "with a fixed size, found"),
        ({"shape": (16, 24, 3)}, r"\(batch, size, size, 3\)"),
        ({"shape": (16, 16, 1)}, r"found \(None, 16, 16, 1\)"),
        ({"shape": (16, 16, 3), "inputs": 2}, "expected one input, found 2"),
        ({"shape": (16, 16, 3), "named": False}, "expected the outputs logits and embedding in a dict, found 2 without names"),
        ({"shape": (16, 16, 3), "logits": 4}, r"expected 3 logits, one per label, found \(4,\)"),
    ],
)
def test_a_network_without_the_needed_outputs_is_refused(tmp_path: Path, given: dict, message: str) -> None:
    from converter.quantization.float_network import NetworkError, read_network

    with pytest.raises(NetworkError, match=message):
        read_network(save(tmp_path, **given), 3)


def test_predictions_do_not_depend_on_batching(tmp_path: Path) -> None:
    import numpy as np

    from converter.quantization.float_network import predict, read_network

    network = read_network(save(tmp_path, (16, 16, 3)), 3)
    pictures = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    together = predict(network, pictures)
    assert together["embedding"].shape == (40, 3)
    np.testing.assert_allclose(together["logits"][37], predict(network, pictures[37:38])["logits"][0], rtol=1e-4, atol=1e-5)
