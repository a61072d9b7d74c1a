"""`converter verify`, on good and damaged bundles."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.cli import main
from converter.data.training_run import read_run
from converter.tflite.flatbuffer import read_model
from converter.verify import verification
from converter.verify.report import Verification
from device.vision.inference.bundle import INFO_FILE, MODEL_FILE, BundleError, read_bundle, write_bundle

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def own_bundle(shapes_bundle: Path, tmp_path: Path) -> Path:
    """A copy of `shapes_bundle` that a test may change."""
    return Path(shutil.copytree(shapes_bundle, tmp_path / "own"))


@pytest.fixture
def litert_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a computer with ai-edge-litert only, to save time."""
    monkeypatch.setattr(verification, "PACKAGES", ("ai-edge-litert",))


def lines(bundle: Path, capfd: Captured, *more: str, status: int) -> list[str]:
    assert main(["verify", str(bundle), *more]) == status
    captured = capfd.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def wrong(bundle: Path, capfd: Captured, *more: str) -> str:
    """The only line that starts with WRONG."""
    found = [line for line in lines(bundle, capfd, *more, status=1) if line.startswith("WRONG")]
    assert len(found) == 1, found
    return found[0]


def test_a_good_bundle_passes_on_every_runtime(shapes_bundle: Path, capfd: Captured) -> None:
    found = lines(shapes_bundle, capfd, status=0)
    assert found[-1].endswith(": good") and not any(line.startswith("WRONG") for line in found)
    asked = [line for line in found if "golden output" in line]
    assert len(asked) == 4
    for way in ("ai-edge-litert", "tflite-runtime"):
        assert sum(way in line for line in asked) == 2
    assert any("builtin: exact" in line for line in asked)


def test_photos_and_run_give_accuracies_and_agreement(
    shapes_bundle: Path, shapes_run: Path, photos: Path, capfd: Captured, litert_alone: None
) -> None:
    assert main(["verify", str(shapes_bundle), "--data", str(photos), "--run", str(shapes_run), "--json"]) == 0
    found = msgspec.json.decode(capfd.readouterr().out, type=Verification)
    info = read_bundle(shapes_bundle).info
    assert found.good and found.digest == info.digest
    assert found.photos is not None and found.photos.float32 is not None
    assert found.photos.n == len(read_run(shapes_run, photos).val) == 24
    assert found.photos.int8.share == found.photos.claimed.share == info.metrics.int8.accuracy
    assert found.photos.float32.share == info.metrics.float32.accuracy
    assert found.photos.agreement == info.metrics.agreement
    ships, exact = found.runtimes
    assert ships.name == found.photos.ships == info.metrics.int8.runtime
    assert ships.agreement == 1 and ships.differs_steps == 0
    assert exact.off_steps == exact.allowed_steps == 0
    assert exact.accuracy is not None and exact.differs is not None and exact.differs_steps is not None
    assert {check.name: check.good for check in found.checks if check.name in ("photos", "accuracy", "float", "loss")} == {
        "photos": True,
        "accuracy": True,
        "float": True,
        "loss": True,
    }


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_in_any_file_is_found(own_bundle: Path, capfd: Captured, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(own_bundle.iterdir())), label="file")
    content = file.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1), label="position")
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255), label="xor")
    file.write_bytes(changed)
    try:
        assert str(own_bundle) in wrong(own_bundle, capfd)
    finally:
        file.write_bytes(content)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_file_is_found(own_bundle: Path, capfd: Captured, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(own_bundle.iterdir())), label="file")
    content = file.read_bytes()
    file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1), label="kept")])
    try:
        assert "files" in wrong(own_bundle, capfd)
    finally:
        file.write_bytes(content)


def test_any_changed_bit_of_bundle_json_is_found(own_bundle: Path) -> None:
    file = own_bundle / INFO_FILE
    content = file.read_bytes()
    accepted = []
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        try:
            read_bundle(own_bundle)
        except BundleError:
            continue
        accepted.append(position)
    assert accepted == []


@pytest.mark.parametrize("name", ["bundle.json", "labels.txt", "model_int8.tflite", "reference.npz", "MODEL_CARD.md"])
def test_a_missing_file_is_named(own_bundle: Path, capfd: Captured, name: str) -> None:
    (own_bundle / name).unlink()
    assert f"{own_bundle / name}: No such file" in wrong(own_bundle, capfd)


def test_an_extra_file_is_named_but_not_wrong(own_bundle: Path, capfd: Captured, litert_alone: None) -> None:
    (own_bundle / "notes.txt").write_text("mine")
    assert "no part of it: notes.txt" in lines(own_bundle, capfd, status=0)[0]


def test_another_network_with_valid_hashes_fails_the_golden_output(own_bundle: Path, capfd: Captured, litert_alone: None) -> None:
    info, file = read_bundle(own_bundle).info, own_bundle / MODEL_FILE
    weights = max((tensor.data for tensor in read_model(file).main.tensors if tensor.data is not None), key=len)
    content = file.read_bytes()
    at = content.index(weights.tobytes())
    file.write_bytes(content[:at] + bytes(np.roll(weights, 17)) + content[at + len(weights) :])
    write_bundle(own_bundle, info)
    found = [line for line in lines(own_bundle, capfd, status=1) if line.startswith("WRONG")]
    assert len(found) == 2 and all("do not run the bundle on it" in line for line in found)


def test_an_exaggerated_accuracy_claim_is_wrong(own_bundle: Path, own_photos: Path, shapes_run: Path, capfd: Captured, litert_alone: None) -> None:
    # Labels in another order: the network is the same, and right about nothing but its golden output.
    info = read_bundle(own_bundle).info
    write_bundle(own_bundle, msgspec.structs.replace(info, labels=info.labels[::-1]))
    (own_photos / "splits").mkdir()
    for name in ("train.txt", "val.txt"):
        shutil.copy(shapes_run / name, own_photos / "splits" / name)
    found = "\n".join(lines(own_bundle, capfd, "--data", str(own_photos), status=1))
    assert "WRONG accuracy     INT8 0." in found
    assert "too much below what the bundle claims" in found


def test_a_run_of_other_photos_is_wrong(shapes_bundle: Path, own_photos: Path, shapes_run: Path, capfd: Captured, litert_alone: None) -> None:
    first = sorted((own_photos / "disc").iterdir())[1]
    first.write_bytes(sorted((own_photos / "disc").iterdir())[2].read_bytes())
    found = "\n".join(lines(shapes_bundle, capfd, "--data", str(own_photos), "--run", str(shapes_run), status=1))
    assert "WRONG photos       the run's photos have sha256" in found
    assert "-     float        not measured: another run's network" in found


def test_other_photos_are_measured_but_not_judged(shapes_bundle: Path, photos: Path, capfd: Captured, litert_alone: None) -> None:
    found = "\n".join(lines(shapes_bundle, capfd, "--data", str(photos), "--split", "all", status=0))
    assert "of 24 other photos" in found and "of 72, 95 % interval" in found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os; os.kill(os.getpid(), 11)", "tflite-runtime default: crashed with SIGSEGV"),
        ("import time; time.sleep(600)", "tflite-runtime default: no answer within 2 s, ended"),
        ("raise ImportError('built for another numpy')", "built for another numpy"),
    ],
)
def test_a_crashing_or_hanging_runtime_is_one_line(
    shapes_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured, body: str, message: str
) -> None:
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(verification, "PACKAGES", ("tflite-runtime",))
    found = lines(shapes_bundle, capfd, "--timeout", "2" if "sleep" in body else "60", status=1)
    assert message in "\n".join(line for line in found if line.startswith("WRONG"))


def test_a_runtime_that_is_not_installed_is_reported(shapes_bundle: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "PACKAGES", ("no-such-runtime",))
    found = lines(shapes_bundle, capfd, status=1)
    assert "-     golden output no-such-runtime default: not installed" in found
    assert "no runtime gave it" in found[-2]


def test_bad_usage_of_verify_is_refused(shapes_bundle: Path, own_photos: Path, shapes_run: Path, tmp_path: Path, capfd: Captured) -> None:
    def refused(*order: str) -> str:
        assert main(["verify", *order]) == 2
        captured = capfd.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        return line

    data = ["--data", str(own_photos)]
    assert "expected the folder of a bundle" in refused(str(tmp_path / "none"))
    assert "--run: name the photos" in refused(str(shapes_bundle), "--run", str(shapes_run))
    (own_photos / "tüte").mkdir()
    strange = own_photos / "tüte" / "a.png"
    shutil.copy(next((own_photos / "disc").iterdir()), strange)
    assert "tüte/a.png is labelled tüte, which" in refused(str(shapes_bundle), *data, "--split", "all")
    strange.unlink()
    broken = sorted((own_photos / "disc").iterdir())[0]
    broken.write_bytes(b"no picture")
    assert f"{broken}: not a picture" in refused(str(shapes_bundle), *data, "--run", str(shapes_run))
