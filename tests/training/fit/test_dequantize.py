"""`training dequantize` and `training ungraft`: a bundle becomes a run that is trained further, grafted and quantized again."""

import json
import shutil
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest

from converter.quantization.tf_converter import exported, to_int8
from converter.tflite.flatbuffer import parse_model, read_model
from device.vision.inference.bundle import MODEL_FILE, default_bundle, read_bundle, write_bundle
from device.vision.inference.classifier import Classifier, golden_input
from device.vision.inference.runtime import load_runtime
from tests.training.runs import LABELS, SMALL, STAGE, called, quantized, run_of
from training.fit.dequantize import DequantizeError, dequantize
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import HiddenLayers, add_heads
from training.models.scratch_options import ScratchCnnOptions

PICTURES_16 = np.random.default_rng(4).integers(0, 256, (4, 16, 16, 3), np.uint8)
PICTURES = np.random.default_rng(3).uniform(-1, 1, (4, 48, 48, 3)).astype(np.float32)


def network_of(run: Path) -> keras.Model:
    return keras.models.load_model(run / "model.keras", compile=False)


def small(seed: int, dense: tuple[int, ...] = ()) -> keras.Model:
    keras.utils.set_random_seed(seed)
    scratch = ScratchCnnOptions(layers=3, features=8, kernel=3, activation="relu", batch_norm=False)
    return add_heads(build_trunk("scratch_cnn", 48, scratch=scratch), 3, hidden=HiddenLayers(dense))


@pytest.fixture(scope="module")
def made(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`stock` and `scion`, two small runs; `grafted` of them; `bundle`, its INT8 bundle; `back`, the dequantized run."""
    folder = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("stock", "scion")):
        run_of(small(seed), folder / name, SMALL + STAGE)
    assert called("graft", folder / "stock", folder / "scion", "--after", "pool1", "--out", folder / "grafted") == 0
    quantized(folder / "grafted", shapes, folder / "bundle")
    assert called("dequantize", folder / "bundle", "--data", shapes, "--out", folder / "back") == 0
    return folder


def test_dequantized_layers_keep_their_names_within_half_a_step(made: Path) -> None:
    before, after = (network_of(made / name) for name in ("grafted", "back"))
    weighted = [layer for layer in before.layers if layer.weights]
    assert [layer.name for layer in after.layers if layer.weights] == [layer.name for layer in weighted]
    for layer in weighted:
        kernel, bias = layer.get_weights()
        found, found_bias = after.get_layer(layer.name).get_weights()
        step = np.abs(kernel).max(axis=(0, 1, 2)) / 127
        assert (np.abs(found - kernel) <= 0.501 * step + 1e-7).all(), layer.name
        assert found_bias.shape == bias.shape


def test_dequantized_network_predicts_as_the_int8_model() -> None:
    bundle = read_bundle(default_bundle())
    network = dequantize(read_model(bundle.model), "trashnet")
    assert {"Conv1", "block_14_add", "Conv_1", "Conv_1_grafted", "both", "pool", "dropout", "head"} <= {layer.name for layer in network.layers}
    picture = golden_input(5, bundle.info.input.size) // 2 + 60
    said = Classifier(bundle, load_runtime(bundle)).outputs(picture)
    found = network.predict_on_batch(picture[None] / np.float32(127.5) - 1)
    for name, whole in said._asdict().items():
        assert np.corrcoef(whole, np.asarray(found[name])[0])[0, 1] > 0.97, name


@pytest.mark.parametrize(("backbone", "width"), [("mobilenet_v2", 0.35), ("mobilenet", 0.25), ("resnet18", 1.0)])
def test_padding_depthwise_and_residual_layers_are_dequantized(backbone: str, width: float) -> None:
    keras.utils.set_random_seed(1)
    before = add_heads(fold_batch_norm(build_trunk(backbone, 64, width=width)), 3)
    pictures = np.random.default_rng(4).integers(0, 256, (4, 64, 64, 3), np.uint8)
    with exported(before) as saved:
        back = dequantize(parse_model(to_int8(saved, pictures)), backbone)
    assert [layer.name for layer in back.layers if layer.weights] == [layer.name for layer in before.layers if layer.weights]
    back.set_weights(before.get_weights())  # without the rounding to eight bits it is the same network
    seen, wanted = (network.predict_on_batch(pictures / np.float32(127.5) - 1) for network in (back, before))
    assert np.abs(wanted["embedding"]).max() > 0.01
    for name in wanted:
        np.testing.assert_allclose(seen[name], wanted[name], rtol=1e-4, atol=1e-5)


def test_a_dequantized_run_is_ungrafted_trained_and_quantized_again(made: Path, shapes: Path, tmp_path: Path) -> None:
    assert json.loads((made / "back" / "dequantized.json").read_text())["its_photos"] is True
    assert called("ungraft", made / "back", "--out", tmp_path / "stock") == 0
    both, alone = (network_of(run).predict_on_batch(PICTURES) for run in (made / "back", tmp_path / "stock"))
    np.testing.assert_allclose(alone["logits"], both["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone["embedding"], both["embedding"][:, :8], rtol=1e-4, atol=1e-5)
    (tmp_path / "gently.toml").write_text("first_phase = false\n" + STAGE)
    assert called("fit", "--data", shapes, "--recipe", tmp_path / "gently.toml", "--from", tmp_path / "stock", "--out", tmp_path / "on") == 0
    quantized(tmp_path / "on", shapes, tmp_path / "again")


def test_other_photos_than_the_bundles_are_reported(made: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = tmp_path / "others"
    for label in LABELS:
        (others / label).mkdir(parents=True)
        for number in range(4):
            (others / label / f"{number}.png").write_bytes((shapes / label / f"{number:02}.png").read_bytes())
    capsys.readouterr()
    assert called("dequantize", made / "bundle", "--data", others, "--out", tmp_path / "out") == 0
    assert f"{others}: not the photos and split that {made / 'bundle'} was made from" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "dequantized.json").read_text())["its_photos"] is False


def test_other_labels_give_one_line_and_write_nothing(made: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("dequantize", "trashnet", "--data", shapes, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{shapes}: expected photos of cardboard, glass, metal, paper, plastic, trash" in said and "found blue can, green jar, red box" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "said"), [("stock", "found no grafted layers"), ("nowhere", "expected the folder that `training fit")])
def test_a_run_without_graft_is_not_ungrafted(made: Path, tmp_path: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("ungraft", made / name, "--out", tmp_path / "out") == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_graft_that_the_head_was_trained_on_is_not_removed(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = network_of(made / "grafted")
    kernel, bias = network.get_layer("head").get_weights()
    network.get_layer("head").set_weights([kernel + 0.1, bias])
    run = run_of(network, tmp_path / "trained", SMALL + STAGE)
    assert called("ungraft", run, "--out", tmp_path / "out") == 2
    assert "its head was trained on the grafted features since" in capsys.readouterr().err.splitlines()[-1]


def test_a_float_bundle_is_refused(made: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = Path(shutil.copytree(made / "bundle", tmp_path / "half"))
    (half / MODEL_FILE).rename(half / "model_float16.tflite")
    write_bundle(half, msgspec.structs.replace(read_bundle(made / "bundle").info, precision="float16"))
    assert called("dequantize", half, "--data", shapes, "--out", tmp_path / "out") == 2
    assert f"{half}: expected a bundle that computes in INT8; this one does in float16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_hidden_layers_are_refused() -> None:
    with exported(small(1, dense=(4,))) as saved:
        model = parse_model(to_int8(saved, np.random.default_rng(4).integers(0, 256, (4, 48, 48, 3), np.uint8)))
    with pytest.raises(DequantizeError, match="hidden: expected one head and no hidden layers behind the features, found 2 layers"):
        dequantize(model, "hidden")


def test_layers_of_one_name_get_different_names() -> None:
    source = keras.Input((16, 16, 3), batch_size=1)
    branches = [keras.Sequential([keras.layers.Conv2D(4, 3, name="look")], name=name)(source) for name in ("near", "far")]
    network = add_heads(keras.Model(source, keras.layers.Add()(branches)), 2)
    with exported(network) as saved:
        back = dequantize(parse_model(to_int8(saved, PICTURES_16)), "twins")
    looks = [layer.name for layer in back.layers if layer.name.startswith("look")]
    assert len(looks) == len(set(looks)) == 2


def test_an_unsupported_operator_is_named() -> None:
    source = keras.Input((16, 16, 3), batch_size=1)
    signal = keras.layers.AveragePooling2D(2)(keras.layers.Conv2D(4, 3)(source))
    network = add_heads(keras.Model(source, signal), 2)
    with exported(network) as saved, pytest.raises(DequantizeError, match="odd: holds AVERAGE_POOL_2D, which cannot be turned back"):
        dequantize(parse_model(to_int8(saved, PICTURES_16)), "odd")
