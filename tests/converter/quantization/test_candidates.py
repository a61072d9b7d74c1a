"""Every precision and quantizer gives a bundle that the device runs with camera bytes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from converter.cli import main
from converter.common.progress import Progress
from converter.data.training_run import read_run
from converter.quantization.calibration_photos import CalibrationPhotos, NetworkInputs
from converter.quantization.candidates import CandidateError, CandidateSpec, best_candidate
from converter.quantization.float_network import predict, read_network
from converter.quantization.tf_converter import KerasNetwork
from device.vision.inference.bundle import read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import load_runtime

SIZE = 32
LABELS = ("disc", "frame", "streifen ≡")


def quantized(shapes_run: Path, photos: Path, out: Path, *options: str) -> int:
    return main(["quantize", str(shapes_run), "--data", str(photos), "--out", str(out), "--tolerance", "5", "--calibration", "20", *options])


@pytest.mark.parametrize(("precision", "most_off"), [("int16x8", 0.5), ("float16", 0.15), ("dynamic", 0.8), ("float32", 0.15)])
def test_every_precision_gives_a_valid_bundle(
    precision: str, most_off: float, shapes_run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantized(shapes_run, photos, tmp_path / "bundle", "--precision", precision) == 0
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.info.precision == precision
    assert bundle.model.name == f"model_{precision}.tflite"
    run = read_run(shapes_run, photos)
    wanted = predict(read_network(run.model, 3), NetworkInputs(run.val, SIZE))["logits"]
    for package in ("ai-edge-litert", "tflite-runtime"):
        classifier = Classifier(bundle, load_runtime(bundle, package=package))
        classifier.check_golden_output()
        found = np.stack([classifier.logits(picture) for picture in NetworkInputs(run.val, SIZE)])
        assert np.abs(found - wanted).max() < most_off, "half a step of the input's zero point is in this"
    assert f"| {'TFLite float32' if precision == 'float32' else 'float16' if precision == 'float16' else precision}" in (
        (tmp_path / "bundle" / "MODEL_CARD.md").read_text().replace("INT16x8", "int16x8").replace("dynamic INT8", "dynamic")
    )


def test_both_quantizers_work_and_auto_takes_the_better(shapes_run: Path, photos: Path, tmp_path: Path) -> None:
    strayed = {}
    for recipe in ("tensorflow", "ai-edge-quantizer", "auto"):
        assert quantized(shapes_run, photos, tmp_path / recipe, "--recipe", recipe, "--target", "both") == 0
        card = (tmp_path / recipe / "MODEL_CARD.md").read_text()
        named = next(line for line in card.splitlines() if line.startswith("- Converter: "))
        line = next(line for line in card.splitlines() if line.startswith("- Bias correction: "))
        before, after = map(float, re.findall(r"0\.\d{5}", line))
        strayed[recipe] = (min(before, after), named)
    assert strayed["tensorflow"][1] != strayed["ai-edge-quantizer"][1]
    assert strayed["auto"] == min(strayed["tensorflow"], strayed["ai-edge-quantizer"])


def test_a_network_with_cpu_operations_is_refused_for_the_edge_tpu(photos: Path, shapes_run: Path, tmp_path: Path, capsys) -> None:
    import keras

    trunk = keras.models.load_model(shapes_run / "model.keras", compile=False)
    image = keras.Input((SIZE, SIZE, 3))
    odd = keras.layers.Activation("gelu")(keras.Model(trunk.input, trunk.get_layer("pool").output)(image))
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(odd))).save(tmp_path / "odd.keras")
    (tmp_path / "labels.txt").write_text("disc\nframe\nstreifen ≡\n")
    order = ["quantize", str(tmp_path / "odd.keras"), "--labels", str(tmp_path / "labels.txt"), "--data", str(photos), "--out", str(tmp_path / "out")]
    assert main([*order, "--target", "edgetpu"]) == 2
    error = capsys.readouterr().err
    assert "the Edge TPU would leave" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_conflicting_options_are_named(shapes_run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    assert quantized(shapes_run, photos, tmp_path / "bundle", "--precision", "float16", "--target", "edgetpu") == 2
    assert "--precision float16: cannot be combined with" in capsys.readouterr().err


def test_an_int8_bundle_has_no_precision_key(shapes_bundle: Path) -> None:
    assert "precision" not in json.loads((shapes_bundle / "bundle.json").read_text())


def test_a_conversion_that_changes_the_network_is_refused(shapes_run: Path, photos: Path, tmp_path: Path) -> None:
    class SaysMore(KerasNetwork):
        def predict(self, pictures):
            return {name: values + 0.1 for name, values in super().predict(pictures).items()}

    run = read_run(shapes_run, photos)
    with pytest.raises(CandidateError, match=r"logits of the float model are off by up to 0\.1"):
        best_candidate(
            SaysMore(run.model, 3), LABELS, CandidateSpec("int8", "tensorflow", "cpu"), CalibrationPhotos(run.train[:12]), tmp_path, Progress()
        )
