"""Fake quantization: rounds as the converter does, repairs a network that INT8 damages, and gives an ordinary network."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.lite.python import schema_py_generated as schema

from converter.common.accuracy import kl_divergence
from converter.common.silence import silenced
from converter.data.photos import Photo, Split, read_split
from converter.quantization.calibration_photos import NetworkInputs
from converter.quantization.float_network import read_network
from converter.quantization.tf_converter import exported, to_int8
from converter.quantization.trial_model import TrialModel
from device.common.shipped_files import shipped
from device.vision.inference.preprocess import Pixels, to_float
from training.cli import main
from training.fit.checkpoint import TrainingProgress
from training.fit.distributed import WorkersError
from training.fit.job import TrainingJob
from training.fit.metrics import predict
from training.fit.provenance import ProvenanceError
from training.fit.recipe import RecipeError, Stage, TrainingRecipe, read_recipe
from training.fit.trainer import fit
from training.models.backbones import set_noise_statistics
from training.models.batch_norm_folding import fold_batch_norm
from training.models.fake_quantization import (
    FixedRangeRounding,
    TrackedRangeRounding,
    copy_weights_back,
    fake_quantize,
    measure_ranges,
    round_activations,
    round_weights,
)
from training.models.network import add_heads, resized
from training.models.scratch_cnn import scratch_cnn
from training.models.scratch_options import ScratchCnnOptions

QUICK = {"backbone": "scratch_cnn", "scratch": ScratchCnnOptions(layers=3, features=16, kernel=3, activation="relu"), "seed": 5}
HANDED_ON = {"QUANTIZE", "PAD", "RESHAPE", "MAX_POOL_2D", "AVERAGE_POOL_2D"}
SIZE = 32

AXES = {"convolution": (0, 1, 2), "depthwise": (0, 1), "dense": (0, 1)}

layers = keras.layers
Trunk = Callable[[], keras.Model]


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def split(shapes: Path) -> Split:
    return read_split(shapes, seed=3)


@pytest.fixture(scope="module")
def learned(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that predicts every photo right."""
    run = tmp_path_factory.mktemp("learned")
    recipe = TrainingRecipe(stage=(Stage(size=SIZE, epochs=8, learning_rate=1e-2, batch=6, mixup=0.0, ema=0.0),), first_phase=False, **QUICK)
    assert fit(TrainingJob(recipe, split), run, None, silent).accuracy == 1.0
    return run


def squeezed() -> keras.Model:
    """A block with squeeze and excitation, written as in MobileNetV3."""
    source = keras.Input((SIZE, SIZE, 3))
    signal = layers.Activation("hard_swish")(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(source)))
    shares = layers.GlobalAveragePooling2D(keepdims=True)(layers.ReLU()(layers.DepthwiseConv2D(3)(signal)))
    shares = layers.Conv2D(8, 1)(layers.ReLU()(layers.Conv2D(4, 1)(shares)))
    shares = layers.ReLU(6.0)(shares + 3.0) * (1.0 / 6.0)
    return keras.Model(source, layers.Multiply()([signal, shares]))


def excited() -> keras.Model:
    """A block with squeeze and excitation, written as in EfficientNet: activations inside convolutions."""
    source = keras.Input((SIZE, SIZE, 3))
    signal = layers.Activation("silu")(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(source)))
    shares = layers.GlobalAveragePooling2D()(signal)
    shares = layers.Conv2D(4, 1, activation="silu")(layers.Reshape((1, 1, 8))(shares))
    return keras.Model(source, layers.Multiply()([signal, layers.Conv2D(8, 1, activation="sigmoid")(shares)]))


def preactivated() -> keras.Model:
    """A residual block whose batch norms cannot be folded, as in ResNetV2."""
    source = keras.Input((SIZE, SIZE, 3))
    before = layers.Conv2D(8, 3, strides=2)(layers.ZeroPadding2D(1)(source))
    signal = layers.Activation("relu")(layers.BatchNormalization()(before))
    signal = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(signal)))
    signal = layers.Add()([layers.MaxPooling2D(1)(before), layers.Conv2D(8, 1)(signal)])
    return keras.Model(source, layers.Activation("relu")(layers.BatchNormalization()(signal)))


def lite() -> keras.Model:
    """Layers as in EfficientNet-Lite: a 5 x 5 depthwise convolution, `same` padding at stride 2, a linear bottleneck, ReLU6."""
    source = keras.Input((SIZE, SIZE, 3))
    signal = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(source))
    signal = layers.DepthwiseConv2D(5, strides=2, padding="same", use_bias=False)(layers.ReLU(6.0)(signal))
    signal = layers.Conv2D(12, 1, use_bias=False)(layers.ReLU(6.0)(layers.BatchNormalization()(signal)))
    signal = layers.Conv2D(24, 1, use_bias=False)(layers.BatchNormalization()(signal))
    return keras.Model(source, layers.ReLU(6.0)(layers.BatchNormalization()(signal)))


def scratch(activation: str) -> Trunk:
    return lambda: scratch_cnn((SIZE, SIZE, 3), ScratchCnnOptions(layers=3, features=16, kernel=3, activation=activation))


def pictures(count: int) -> list[Pixels]:
    """Coarse colours with noise; the first one holds 0 and 255."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 236, (count, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    made = list((coarse + rng.integers(-20, 20, coarse.shape)).astype(np.uint8))
    made[0][0, 0], made[0][0, 1] = 0, 255
    return made


def int8_model(network: keras.Model, shown: object) -> bytes:
    with silenced(), exported(network) as saved:
        return to_int8(saved, shown)


def stored_scales(model: bytes) -> list[float]:
    """The scale of each tensor that an operation computes, in order of execution."""
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(model), 0))
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    graph = parsed.subgraphs[0]
    return [
        float(graph.tensors[operator.outputs[0]].quantization.scale[0])
        for operator in graph.operators
        if names[parsed.operatorCodes[operator.opcodeIndex].builtinCode] not in HANDED_ON
    ]


def used_scales(quantized: keras.Model) -> list[float]:
    """The scale of each rounded tensor, in the same order."""
    bounds = [
        (float(layer.low), float(layer.high)) if isinstance(layer, TrackedRangeRounding) else (layer.low, layer.high)
        for layer in quantized._flatten_layers()
        if isinstance(layer, (TrackedRangeRounding, FixedRangeRounding))
    ]
    return [(max(high, 0.0) - min(low, 0.0)) / 255 for low, high in bounds]


def rms(differences: np.ndarray) -> float:
    return float(np.sqrt((differences**2).mean()))


@pytest.mark.parametrize(
    ("trunk", "in_place"),
    [(scratch("relu"), 0), (scratch("mish"), 0), (squeezed, 0), (excited, 0), (preactivated, 1), (lite, 0)],
    ids=["relu", "mish", "squeezed", "excited", "preactivated", "lite"],
)
def test_fake_quantization_rounds_as_the_converter(trunk: Trunk, in_place: int, tmp_path: Path) -> None:
    """in_place: tensors that an operation overwrites; TensorFlow's calibration counts the result as theirs too."""
    keras.utils.set_random_seed(1)
    plain = trunk()
    set_noise_statistics(plain)
    network = add_heads(fold_batch_norm(plain), 4, dropout=0.0)
    shown = pictures(48)
    inputs = np.stack([to_float(picture) for picture in shown])
    int8 = int8_model(network, shown)
    quantized = fake_quantize(network)
    quantized(inputs, training=True)
    scales, theirs = used_scales(quantized), stored_scales(int8)
    assert len(scales) == len(theirs)
    assert np.sum(np.abs(np.divide(scales, theirs) - 1) > 0.12) <= in_place

    floating, fake = (model.predict_on_batch(inputs)["embedding"] for model in (network, quantized))
    real = TrialModel(int8, "abcd", SIZE, tmp_path).embeddings(shown)
    assert rms(real - fake) < 0.8 * rms(real - floating)


def test_kernels_are_rounded_as_the_converter_stores_them() -> None:
    rng = np.random.default_rng(2)
    source = keras.Input((SIZE, SIZE, 3))
    signal = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(layers.Conv2D(5, 3, strides=2, name="convolution")(source))
    network = keras.Model(source, {"logits": layers.Dense(7, name="dense")(layers.GlobalAveragePooling2D()(signal))})
    for layer in network.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([(kernel * rng.uniform(0.01, 10, kernel.shape[-1])).astype(np.float32), bias])
    interpreter = Interpreter(model_content=int8_model(network, pictures(4)), num_threads=1)
    stored = {}
    for details in interpreter.get_tensor_details():
        scales, axis = details["quantization_parameters"]["scales"], details["quantization_parameters"]["quantized_dimension"]
        if details["dtype"] == np.int8 and (len(scales) > 1 or tuple(details["shape"]) == (7, 10)):
            values = interpreter.get_tensor(details["index"])
            shape = [len(scales) if number == axis else 1 for number in range(values.ndim)]
            stored[values.shape] = values * scales.reshape(shape)

    rounded = {name: keras.ops.convert_to_numpy(round_weights(network.get_layer(name).kernel, axis)) for name, axis in AXES.items()}
    close = {"rtol": 1e-5, "atol": 1e-7}
    np.testing.assert_allclose(rounded["convolution"].transpose(3, 0, 1, 2), stored[5, 3, 3, 3], **close)
    np.testing.assert_allclose(rounded["depthwise"].reshape(1, 3, 3, 10), stored[1, 3, 3, 10], **close)
    np.testing.assert_allclose(rounded["dense"].T, stored[7, 10], **close)


def test_gradients_ignore_rounding_and_are_0_beyond_the_range() -> None:
    weights, values = tf.Variable(np.float32([[0.3, -0.7], [0.11, 0.9]])), tf.Variable(np.float32([-3.0, -0.4, 0.0, 1.7, 2.5]))
    with tf.GradientTape() as tape:
        result = tf.reduce_sum(3 * round_weights(weights, (0,))) + tf.reduce_sum(2 * round_activations(values, -1.0, 2.0))
    of_weights, of_values = tape.gradient(result, [weights, values])
    np.testing.assert_array_equal(of_weights, np.full((2, 2), 3))
    np.testing.assert_array_equal(of_values, [0, 2, 2, 2, 0])


@given(st.floats(-50, 50), st.floats(0.01, 50), st.lists(st.floats(-60, 60), min_size=1, max_size=8))
@settings(max_examples=40)
def test_rounding_keeps_0_and_errs_by_half_a_step_at_most(low: float, width: float, values: list[float]) -> None:
    high = low + width
    step = (max(high, 0) - min(low, 0)) / 255
    given_values = np.float32([0.0, *values])
    found = keras.ops.convert_to_numpy(round_activations(given_values, low, high))
    assert found[0] == 0
    inside = (given_values >= min(low, 0) + step) & (given_values <= max(high, 0) - step)
    assert np.all(np.abs(found - given_values)[inside] <= step * 0.501)
    steps = found / step
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)
    assert np.ptp(steps) <= 255.01


def test_a_tracked_range_follows_its_batches_slowly() -> None:
    layer = TrackedRangeRounding()
    batches = [np.float32([-1, 0.123, 3]), np.float32([-3, 0.123, 1])]
    np.testing.assert_array_equal(layer(batches[0]), batches[0])
    layer(batches[0], training=True)
    assert (float(layer.low), float(layer.high)) == (-1, 3)
    assert float(layer(batches[0])[1]) == pytest.approx(8 * 4 / 255)
    layer(batches[1], training=True)
    assert (float(layer.low), float(layer.high)) == (-2, 2)
    for _ in range(300):
        layer(batches[1], training=True)
    assert -3 < float(layer.low) < -2.9


def test_weights_are_copied_back_at_any_size(split: Split) -> None:
    network = add_heads(fold_batch_norm(preactivated()), 3)
    quantized = fake_quantize(network)
    measure_ranges(quantized, split.train, seed=1)
    for weight in quantized.trainable_variables:
        weight.assign_add(0.01 * keras.ops.ones_like(weight))
    back = resized(network, 48)
    copy_weights_back(quantized, back)
    assert len(back.trainable_variables) == len(quantized.trainable_variables)
    changes = [np.abs(after - before).max() for before, after in zip(network.get_weights(), back.get_weights(), strict=True)]
    assert changes == pytest.approx([0.01 if weight.trainable else 0 for weight in network.weights], abs=1e-6)


def with_one_loud_channel(run: Path, out: Path) -> Path:
    """The same function in a form that INT8 damages: one channel is 300 times as large as the others on the same grid."""
    shutil.copytree(run, out)
    network = keras.models.load_model(run / "model.keras", compile=False)
    (kernel, bias), (behind, bias_behind) = (network.get_layer(name).get_weights() for name in ("conv0", "conv1"))
    kernel[..., 0], bias[0], behind[:, :, 0] = 300 * kernel[..., 0], 300 * bias[0], behind[:, :, 0] / 300
    network.get_layer("conv0").set_weights([kernel, bias])
    network.get_layer("conv1").set_weights([behind, bias_behind])
    network.save(out / "model.keras")
    return out


def measured(run: Path, split: Split, scratch: Path) -> tuple[float, float]:
    """Accuracy of the run's INT8 model on all photos, and the distance of its probabilities from the float network's."""
    photos: tuple[Photo, ...] = split.train + split.val
    network = read_network(run / "model.keras", len(split.labels))
    int8 = TrialModel(int8_model(network, NetworkInputs(split.train, SIZE, full_range=True)), split.labels, SIZE, scratch).logits(
        NetworkInputs(photos, SIZE)
    )
    targets = [split.labels.index(photo.label) for photo in photos]
    return float((int8.argmax(axis=1) == targets).mean()), kl_divergence(predict(network, photos, SIZE)["logits"].astype(np.float64), int8)


def test_fake_quantization_repairs_a_network_that_int8_damages(learned: Path, split: Split, tmp_path: Path) -> None:
    loud = with_one_loud_channel(learned, tmp_path / "loud")
    stage = Stage(size=SIZE, epochs=8, learning_rate=5e-3, batch=6, warmup_steps=2, mixup=0.0, ema=0.0)
    found = {"before": measured(loud, split, tmp_path)}
    for name, fake in (("without", False), ("with", True)):
        recipe = TrainingRecipe(stage=(msgspec.structs.replace(stage, fake_quantize=fake),), first_phase=False, **QUICK)
        fit(TrainingJob(recipe, split, start=loud), tmp_path / name, None, silent)
        found[name] = measured(tmp_path / name, split, tmp_path)
    accuracy, away = ({name: values[i] for name, values in found.items()} for i in (0, 1))
    assert accuracy["before"] < 0.6
    assert accuracy["with"] > 0.9 and accuracy["with"] >= accuracy["without"]
    assert away["with"] < 0.3 * away["before"] and away["with"] < 0.6 * away["without"]


def test_a_killed_fake_quantized_run_resumes_to_the_same_plain_network(
    learned: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    stage = Stage(size=48, epochs=2, learning_rate=1e-3, batch=8, fake_quantize=True)
    job = TrainingJob(TrainingRecipe(stage=(stage,), first_phase=False, **QUICK), split, start=learned)
    fit(job, tmp_path / "straight", None, silent)
    written = TrainingProgress.write

    def write_then_die(progress: TrainingProgress, run: Path) -> None:
        written(progress, run)
        if progress == TrainingProgress(0, 1):
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(TrainingProgress, "write", write_then_die)
        with pytest.raises(Killed):
            fit(job, tmp_path / "killed", None, silent)
    with pytest.raises(ProvenanceError, match="was begun with another --from"):
        fit(replace(job, start=None), tmp_path / "killed", None, silent)
    fit(job, tmp_path / "killed", None, silent)

    straight, resumed = (keras.models.load_model(tmp_path / name / "model.keras") for name in ("straight", "killed"))
    for ours, theirs in zip(resumed.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    losses = [[json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("straight", "killed")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)

    before = keras.models.load_model(learned / "model.keras")
    assert [type(layer) for layer in straight.layers] == [type(layer) for layer in before.layers]
    assert straight.count_params() == before.count_params()
    assert json.loads((tmp_path / "straight" / "begun.json").read_text())["--from"][0]["run"] == str(learned)


@pytest.fixture(scope="module")
def with_bins(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the command, with hidden units and a second head that names the bin."""
    folder = tmp_path_factory.mktemp("bins")
    pack = 'name = "two"\nversion = "1"\nresidual = "rest"\n[bins.recycling]\nlabels = ["blue can", "green jar"]\n[bins.rest]\nlabels = ["red box"]\n'
    (folder / "two.toml").write_text(pack)
    (folder / "recipe.toml").write_text(
        f'backbone = "scratch_cnn"\nscratch = {{ layers = 2, features = 8, kernel = 3, activation = "relu" }}\ndense = [8]\n'
        f'rules = "{folder / "two.toml"}"\nfirst_phase = false\n[[stage]]\nsize = 40\nepochs = 1\nlearning_rate = 1e-2\n'
    )
    order = ["fit", "--data", str(shapes), "--weights", "none", "--recipe", str(folder / "recipe.toml")]
    assert main([*order, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_command_trains_a_finished_run_further_on_its_own_photos(with_bins: Path, shapes: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(with_bins, own)
    train, val = ((own / name).read_text().splitlines() for name in ("train.txt", "val.txt"))
    (own / "train.txt").write_text("".join(f"{name}\n" for name in train[1:]))
    (own / "val.txt").write_text("".join(f"{name}\n" for name in [*val, train[0]]))
    recipe = tmp_path / "int8.toml"
    recipe.write_text(shipped("recipes")["int8"].read_text().replace("epochs = 6", "epochs = 1"))
    assert main(["fit", "--data", str(shapes), "--from", str(own), "--recipe", str(recipe), "--out", str(tmp_path / "run")]) == 0

    for name in ("train.txt", "val.txt", "labels.txt"):
        assert (tmp_path / "run" / name).read_text() == (own / name).read_text()
    before, after = (keras.models.load_model(run / "model.keras") for run in (own, tmp_path / "run"))
    assert after.input_shape == (None, 40, 40, 3)
    assert {name: output.shape[-1] for name, output in after.output.items()} == {"logits": 3, "embedding": 8, "bin_logits": 2}
    moved = [np.abs(now - then).max() for now, then in zip(after.get_weights(), before.get_weights(), strict=True)]
    assert 0 < max(moved) < 1e-3, "it starts from the run's weights"
    kept = read_recipe(tmp_path / "run" / "recipe.toml")
    assert (kept.backbone, kept.dense, kept.final_size, kept.stage[0].fake_quantize) == ("scratch_cnn", (8,), 40, True)


@pytest.mark.parametrize(
    ("recipe", "options", "said"),
    [
        ("first_phase = true", [], "first_phase: expected false"),
        ('backbone = "mobilenet_v2"', [], "backbone: expected none, or the value in"),
        ('batch_norm = "train"', [], "batch_norm: expected fold where a stage has fake_quantize, found train"),
        ('precision = "mixed_bfloat16"', [], "precision: expected float32 where a stage has fake_quantize"),
        ("", ["--fold", "1"], "--fold: expected without --from"),
        ("", ["--from", "nowhere"], "nowhere: expected the folder that `training fit --out` wrote"),
    ],
)
def test_a_recipe_that_does_not_fit_the_run_gives_one_clear_line(
    recipe: str, options: list[str], said: str, with_bins: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "int8.toml"
    first = "" if "first_phase" in recipe else "first_phase = false\n"
    file.write_text(f"{first}{recipe}\n[[stage]]\nepochs = 1\nlearning_rate = 1e-4\nfake_quantize = true\n")
    order = ["fit", "--data", str(shapes), "--from", str(with_bins), "--recipe", str(file), "--out", str(tmp_path / "run"), *options]
    assert main(order) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_several_workers_cannot_share_ranges(split: Split, tmp_path: Path) -> None:
    class Two:
        index, count = 0, 2

        def mean(self, tensors: list[object]) -> list[object]:
            raise AssertionError("refused before anything is averaged")

    with pytest.raises(WorkersError, match="fake_quantize: expected no stage with it with several workers"):
        fit(TrainingJob(read_recipe(shipped("recipes")["int8"]), split), tmp_path, None, silent, workers=Two())


def test_a_recipe_made_in_code_is_checked_too() -> None:
    with pytest.raises(RecipeError, match="batch_norm: expected fold"):
        TrainingRecipe(stage=(Stage(epochs=1, learning_rate=1e-4, fake_quantize=True),), batch_norm="frozen")
