"""`training graft`: the logits stay, the embedding holds both networks' features, and the result is an ordinary run."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from device.vision.inference.bundle import read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.embedding_stats import read_embedding_stats
from device.vision.inference.runtime import load_runtime
from tests.training.runs import SMALL, STAGE, build_network, called, quantized, run_of
from training.models.backbones import build_trunk
from training.models.network import HiddenLayers, add_heads
from training.models.scratch_options import ScratchCnnOptions

AFTER = "block_14_add"
NARROW = "width = 0.35\n[[stage]]\nsize = 48\nepochs = 1\nlearning_rate = 1e-3\n"
PICTURES = np.random.default_rng(3).uniform(-1, 1, (4, 48, 48, 3)).astype(np.float32)


def network_of(seed: int, *, labels: int = 3, width: float = 0.35) -> keras.Model:
    keras.utils.set_random_seed(seed)
    network = build_network(labels, 48, width=width, seed=seed)
    for layer in network.layers:  # initial weights give almost constant features
        if layer.weights:
            layer.set_weights([weight * 1.2 if weight.ndim > 1 else weight for weight in layer.get_weights()])
    return network


def late_layers(network: keras.Model) -> set[str]:
    names = [layer.name for layer in network.layers]
    return {layer.name for layer in network.layers[names.index(AFTER) + 1 :] if layer.weights}


@pytest.fixture(scope="module")
def stock() -> keras.Model:
    return network_of(1)


@pytest.fixture(scope="module")
def runs(stock: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`stock`, and `scion` with two labels: the same weights before AFTER, others behind it."""
    folder = tmp_path_factory.mktemp("runs")
    scion = network_of(2, labels=2)
    for layer in scion.layers:
        if layer.weights and layer.name not in late_layers(scion):
            layer.set_weights(stock.get_layer(layer.name).get_weights())
    run_of(stock, folder / "stock", NARROW)
    run_of(scion, folder / "scion", NARROW, ("a", "b"))
    assert called("graft", folder / "stock", folder / "scion", "--out", folder / "grafted") == 0
    return folder


@pytest.fixture(scope="module")
def unfit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that cannot be grafted: `narrow`, of another width, `hidden`, with a hidden layer, and `strange`, not made by `training fit`."""
    folder = tmp_path_factory.mktemp("unfit")
    run_of(network_of(3, width=0.5), folder / "narrow", NARROW)
    run_of(add_heads(build_trunk("mobilenet_v2", 48, width=0.35), 3, hidden=HiddenLayers((8,))), folder / "hidden", NARROW)
    source = keras.Input((48, 48, 3))
    flat = keras.layers.GlobalAveragePooling2D()(source)
    run_of(keras.Model(source, {"logits": keras.layers.Dense(3)(flat), "embedding": flat}), folder / "strange", NARROW)
    return folder


def seen(run: Path) -> dict[str, np.ndarray]:
    network = keras.models.load_model(run / "model.keras", compile=False)
    return {name: np.asarray(value) for name, value in network.predict_on_batch(PICTURES).items()}


def test_a_graft_keeps_the_stocks_logits_and_holds_both_features(runs: Path) -> None:
    stock, scion, both = (seen(runs / name) for name in ("stock", "scion", "grafted"))
    np.testing.assert_allclose(both["logits"], stock["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both["embedding"], np.concatenate([stock["embedding"], scion["embedding"]], axis=1), rtol=1e-4, atol=1e-5)
    assert np.abs(stock["embedding"] - scion["embedding"]).max() > 0.01
    noted = json.loads((runs / "grafted" / "grafted.json").read_text())
    assert noted["after"] == AFTER and noted["scion"]["run"] == str(runs / "scion")
    assert (runs / "grafted" / "val.txt").read_text() == (runs / "stock" / "val.txt").read_text()


def test_a_graft_is_trained_averaged_and_quantized_like_any_run(shapes: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("stock", "scion")):
        keras.utils.set_random_seed(number)
        trunk = build_trunk("scratch_cnn", 48, scratch=ScratchCnnOptions(layers=3, features=8, kernel=3, activation="relu", batch_norm=False))
        run_of(add_heads(trunk, 3), tmp_path / name, SMALL + STAGE)
    start = tmp_path / "grafted"
    assert called("graft", tmp_path / "stock", tmp_path / "scion", "--after", "pool1", "--out", start) == 0
    (tmp_path / "gently.toml").write_text("first_phase = false\n" + STAGE)
    assert called("fit", "--data", shapes, "--recipe", tmp_path / "gently.toml", "--from", start, "--out", tmp_path / "on") == 0
    assert called("average", f"{start}=1", f"{tmp_path / 'on'}=1", "--data", shapes, "--out", tmp_path / "between") == 0
    quantized(tmp_path / "between", shapes, tmp_path / "bundle")
    bundle = read_bundle(tmp_path / "bundle")
    outputs = Classifier(bundle, load_runtime(bundle)).outputs(np.full((48, 48, 3), 120, np.uint8))
    assert outputs.embedding.shape == (16,) and outputs.logits.shape == (3,)
    assert read_embedding_stats(bundle).means.shape == (3, 16)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("stock", "nowhere"), "nowhere: expected the folder that `training fit --out` wrote, found none"),
        (("stock", "scion", "--after", "head"), "head: expected a layer of the trunk that is not its last, as block_14_add; the last ones are"),
        (("stock", "scion", "--after", "out_relu"), "out_relu: expected a layer of the trunk that is not its last"),
        (
            ("stock", "scion", "--after", "block_5_expand"),
            "block_5_expand: expected a layer that all later layers depend on alone, as block_14_add; block_5_add has another input",
        ),
        (("stock", "narrow"), "block_14_add: expected layers of the same shape in both networks, found (None, 2, 2, 56) and (None, 2, 2, 80)"),
        (("hidden", "scion"), "hidden/model.keras: expected one head and no hidden layers, found dense0, head"),
        (("strange", "scion"), "strange/model.keras: expected a network that `training fit` made, found no layer dropout"),
    ],
)
def test_a_mistake_gives_one_line_and_writes_nothing(
    runs: Path, unfit: Path, tmp_path: Path, given: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {folder.name: folder for folder in (*runs.iterdir(), *unfit.iterdir())}
    capsys.readouterr()
    assert called("graft", *(folders.get(text, text) for text in given), "--out", tmp_path / "out") == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
