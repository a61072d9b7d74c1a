"""`converter quantize`, from a run to a bundle."""

import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from converter.cli import main
from converter.common.silence import silenced
from converter.data.isolated_view import isolated_view
from converter.data.photos import read_pixels
from converter.data.training_run import read_run
from converter.quantization.calibration_photos import NetworkInputs
from converter.quantization.float_network import read_network
from converter.quantization.tf_converter import exported, to_int8
from converter.quantization.trial_model import TrialModel
from converter.verify import verification
from device.vision.inference.bundle import BundleError, IsolatedMetrics, read_bundle, write_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import PACKAGES, RuntimeFault, load_runtime


def quantize(run: Path, photos: Path, out: Path, *more: str) -> int:
    return main(["quantize", str(run), "--data", str(photos), "--out", str(out), *more])


def error_line(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr. More lines fail the test."""
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_the_device_reaches_the_accuracy_in_the_bundle(shapes_bundle: Path, shapes_run: Path, photos: Path) -> None:
    bundle = read_bundle(shapes_bundle)
    classifier = Classifier(bundle)
    val = read_run(shapes_run, photos).val
    right = [classifier.labels[classifier.posterior(read_pixels(photo.path)).argmax()] == photo.label for photo in val]
    measured = bundle.info.metrics.int8
    assert measured.accuracy == np.mean(right) > 0.8
    assert measured.n == len(val) == 24
    assert measured.runtime == classifier.runtime.name
    assert bundle.info.metrics.agreement > 0.9


@pytest.mark.parametrize("kernels", ["builtin", "default"])
@pytest.mark.parametrize("package", PACKAGES)
def test_every_runtime_gives_the_golden_output(shapes_bundle: Path, package: str, kernels: str) -> None:
    bundle = read_bundle(shapes_bundle)
    try:
        runtime = load_runtime(bundle, package=package, kernels=kernels)
    except RuntimeFault as fault:
        pytest.skip(str(fault))
    Classifier(bundle, runtime).check_golden_output()


def test_another_model_fails_the_golden_output(shapes_bundle: Path) -> None:
    bundle = read_bundle(shapes_bundle)
    wrong = tuple(-step for step in bundle.info.known_answer.logits)
    info = msgspec.structs.replace(bundle.info, known_answer=msgspec.structs.replace(bundle.info.known_answer, logits=wrong))
    with pytest.raises(BundleError, match="wrong golden output"):
        Classifier(msgspec.structs.replace(bundle, info=info)).check_golden_output()


def test_the_same_request_gives_the_same_bytes(
    shapes_bundle: Path, shapes_order: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    assert main([*shapes_order, "--out", str(out)]) == 0
    first, second = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in (shapes_bundle, out))
    assert sorted(first) == ["MODEL_CARD.md", "bundle.json", "known.npz", "labels.txt", "model_int8.tflite", "photos.txt", "reference.npz"]
    assert first == second
    captured = capfd.readouterr()
    assert captured.err == ""
    assert re.fullmatch(r"wrote .*again: 0\.\d MB, accuracy INT8 [01]\.\d{4}, float .* of 24 photos, agreement .*, \d+ s\n", captured.out)


def test_photos_with_masks_are_also_used_isolated(
    shapes_bundle: Path, shapes_run: Path, masked_photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PACKAGES", ("ai-edge-litert",))
    out = tmp_path / "bundle"
    assert quantize(shapes_run, masked_photos, out, "--tolerance", "5", "--seed", "4") == 0
    bundle = read_bundle(out)
    assert bundle.info.calibration.isolated == 24 == bundle.info.calibration.n // 2
    found = bundle.info.metrics.isolated
    assert isinstance(found, IsolatedMetrics)
    assert found.items == found.int8.n == found.float32.n == 24
    classifier = Classifier(bundle)
    val = read_run(shapes_run, masked_photos).val
    right = [classifier.labels[classifier.posterior(isolated_view(photo)).argmax()] == photo.label for photo in val]
    assert found.int8.accuracy == np.mean(right)
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "each item cut out of the photo:" in card and "24 of them show the item by itself" in card
    assert f"isolated INT8 {found.int8.accuracy:.4f}, float {found.float32.accuracy:.4f}" in capfd.readouterr().out

    with np.load(out / "reference.npz") as reference:
        assert reference["counts"].tolist() == [32, 32, 32], "isolated training items are counted too"

    plain = read_bundle(shapes_bundle).info
    assert plain.calibration.isolated is plain.metrics.isolated is msgspec.UNSET, "items on noise cannot be isolated without masks"
    assert "by itself" not in (shapes_bundle / "MODEL_CARD.md").read_text(encoding="utf-8")

    verify = ["verify", str(out), "--data", str(masked_photos)]
    assert main([*verify, "--run", str(shapes_run)]) == 0
    assert f"with 24 items by themselves; the bundle claims {found.int8.accuracy:.4f}" in capfd.readouterr().out
    boast = msgspec.structs.replace(found, int8=msgspec.structs.replace(found.int8, accuracy=found.int8.accuracy + 0.2))
    write_bundle(out, msgspec.structs.replace(bundle.info, metrics=msgspec.structs.replace(bundle.info.metrics, isolated=boast)))
    assert main(verify) == 1
    assert next(line for line in capfd.readouterr().out.splitlines() if line.startswith("WRONG")).split()[1] == "isolated"
    shutil.rmtree(masked_photos / "masks" / "disc")
    main(verify)
    assert re.search(r"^-     isolated .* with 16 items by themselves; the bundle claims .* with 24: other masks", capfd.readouterr().out, re.M)


def test_extra_training_photos_count_as_in_distribution(
    shapes_run: Path, masked_photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "places" / "s1-00000"
    shutil.copytree(masked_photos / "disc", place / "items" / "disc")
    shutil.copytree(masked_photos / "masks" / "disc", place / "masks" / "disc")
    out = tmp_path / "bundle"
    assert quantize(shapes_run, masked_photos, out, "--tolerance", "5", "--also", str(tmp_path / "places")) == 0
    with np.load(out / "reference.npz") as reference:
        disc = read_bundle(out).info.labels.index("disc")
        assert reference["counts"][disc] == 32 + len(list((place / "items" / "disc").iterdir()))
    (place / "items" / "disc").rename(place / "items" / "moon")
    assert quantize(shapes_run, masked_photos, tmp_path / "other", "--also", str(tmp_path / "places")) == 2
    assert "places: expected folders named as labels" in capfd.readouterr().err


def test_the_card_holds_the_bundles_figures_and_the_notes(shapes_bundle: Path) -> None:
    info = read_bundle(shapes_bundle).info
    card = (shapes_bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert info.name == "formen ◯"
    assert card.startswith("# formen ◯\n") and card.endswith("Drawn by a test, CC0.\n")
    assert "--name 'formen ◯' --tolerance 5 --calibration 48 --seed 4" in card
    assert f"| INT8 | {info.metrics.int8.accuracy:.4f} (" in card
    assert info.data_fingerprint in card and info.calibration.sha256 in card
    assert f"(a score above {info.unknown_above:g} by `known.npz`), a bin takes it for unknown" in card


def test_embedding_stats_hold_means_of_int8_embeddings(shapes_bundle: Path, shapes_run: Path, photos: Path) -> None:
    classifier = Classifier(read_bundle(shapes_bundle))
    run = read_run(shapes_run, photos)
    first = [classifier.outputs(read_pixels(photo.path)).embedding for photo in run.train if photo.label == run.labels[0]]
    with np.load(shapes_bundle / "reference.npz") as reference:
        assert reference["counts"].tolist() == [16, 16, 16]
        np.testing.assert_allclose(reference["means"][0], np.mean(first, axis=0), rtol=1e-5)


def test_too_much_loss_is_refused_and_nothing_written(own_run: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import keras

    network = keras.models.load_model(own_run / "model.keras", compile=False)
    # The same function with one channel far louder than the others: eight bits for all of them leave the others nothing.
    narrow, second = network.get_layer("narrow"), network.get_layer("second")
    (into, bias), (onward, onward_bias) = narrow.get_weights(), second.get_weights()
    into[..., 0] *= 3e4
    bias[0] *= 3e4
    onward[:, :, 0] /= 3e4
    narrow.set_weights([into, bias])
    second.set_weights([onward, onward_bias])
    network.save(own_run / "model.keras")

    (tmp_path / "out").mkdir()
    assert quantize(own_run, photos, tmp_path / "out" / "bundle") == 1
    assert list((tmp_path / "out").iterdir()) == []
    line, _, worst, *_, advice = capfd.readouterr().err.splitlines()
    assert re.search(r"refused: INT8 is right on 0\.\d{4} .* of 24 validation photos, float on [01]\.\d{4}: .* points lost, 0\.5 allowed", line)
    assert re.search(r"recall .*(disc|frame|streifen ≡) [01]\.\d{3} -> [01]\.\d{3} of 8", line)
    assert "CONV_2D" in worst and "narrow" in worst
    assert advice.startswith("try `training fit --data DATA --from RUN")


def test_an_existing_folder_is_not_touched(shapes_run: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "kept.txt").write_text("mine")
    assert quantize(shapes_run, photos, tmp_path / "bundle") == 2
    assert "exists already" in error_line(capfd)
    assert [file.read_text() for file in (tmp_path / "bundle").iterdir()] == ["mine"]


@pytest.mark.parametrize("listed", ["train.txt", "val.txt"])
def test_a_broken_photo_is_named(shapes_run: Path, own_photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], listed: str) -> None:
    name = (shapes_run / listed).read_text().splitlines()[0]
    (own_photos / name).write_bytes(b"no picture")
    (tmp_path / "out").mkdir()
    assert quantize(shapes_run, own_photos, tmp_path / "out" / "bundle", "--tolerance", "100") == 2
    assert f"{own_photos / name}: not a picture" in error_line(capfd)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_network_is_named(own_run: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (own_run / "model.keras").write_bytes((own_run / "model.keras").read_bytes()[:5000])
    assert quantize(own_run, photos, tmp_path / "bundle") == 2
    assert f"{own_run / 'model.keras'}: not a Keras model that can be read" in error_line(capfd)


def test_a_model_that_needs_other_input_bytes_is_refused(shapes_run: Path, photos: Path, tmp_path: Path) -> None:
    run = read_run(shapes_run, photos)
    network = read_network(run.model, len(run.labels))
    grey = [np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 160, np.uint8)]
    with silenced(), exported(network) as saved:
        narrow, full = to_int8(saved, grey), to_int8(saved, NetworkInputs(run.train[:4], 32, full_range=True))
        TrialModel(full, run.labels, 32, tmp_path)
        with pytest.raises(BundleError, match=r"expected scale 1/127\.5 and zero point 127"):
            TrialModel(narrow, run.labels, 32, tmp_path)
