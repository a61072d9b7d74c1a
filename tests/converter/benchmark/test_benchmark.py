"""`converter benchmark`."""

import hashlib
import importlib.util
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from converter.benchmark import benchmark, formats
from converter.benchmark.formats import FORMATS, PYTHON_MODULES
from converter.benchmark.report import BenchmarkReport, BenchmarkRow, reference_row, speed_up
from converter.cli import main
from converter.data.training_run import read_run
from device.vision.inference.bundle import MODEL_FILE, read_bundle

Captured = pytest.CaptureFixture[str]
QUICK = ("--queries", "3", "--seconds", "0")


@pytest.fixture(scope="session")
def measured(shapes_bundle: Path, shapes_run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark of every format and runtime."""
    out = tmp_path_factory.mktemp("benchmark") / "shapes"
    order = ["benchmark", str(shapes_bundle), "--run", str(shapes_run), "--data", str(photos), *QUICK, "--threads", "1", "--out", str(out)]
    assert main(order) == 0
    return out


def read(folder: Path) -> BenchmarkReport:
    return msgspec.json.decode((folder / "report.json").read_bytes(), type=BenchmarkReport)


def row_of(report: BenchmarkReport, form: str, runtime: str) -> BenchmarkRow:
    (found,) = [row for row in report.rows if (row.format, row.runtime) == (form, runtime)]
    return found


def only(monkeypatch: pytest.MonkeyPatch, form: str, runtime: str) -> None:
    """Limit the benchmark to one format on one runtime, to save time."""
    (kept,) = [each for each in FORMATS if each.name == form]
    monkeypatch.setattr(benchmark, "FORMATS", (formats.Format(kept.name, kept.key, kept.suffix, (runtime,)),))


def test_every_format_on_every_runtime_is_measured_or_named_as_missing(measured: Path) -> None:
    report = read(measured)
    expected = {(form.name, runtime) for form in FORMATS if form.name != formats.INT16X8 for runtime in form.runtimes}
    assert {(row.format, row.runtime) for row in report.rows} == expected
    for row in report.rows:
        there = importlib.util.find_spec(PYTHON_MODULES[row.runtime]) is not None
        if row.state == "missing":
            assert row.why and row.measured is None
            assert there == ("is not installed: pip install" not in row.why)
        else:
            assert row.state == "measured" and there, row
    table = (measured / "table.md").read_text(encoding="utf-8")
    for row in report.with_state("missing"):
        assert row.why in table
    assert "for orientation only" in table and not report.mlperf
    assert (measured / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_speed_up_is_relative_to_float_at_same_batch_and_threads(measured: Path) -> None:
    report = read(measured)
    rows = report.with_state("measured")
    keras, int8 = row_of(report, "Keras float32", "Keras"), row_of(report, "TFLite INT8", "ai-edge-litert")
    assert reference_row(rows) == keras and speed_up(keras, rows, keras) == 1.0
    assert keras.measured is not None and int8.measured is not None
    assert speed_up(int8, rows, keras) == keras.measured.p90_ms / int8.measured.p90_ms
    assert speed_up(msgspec.structs.replace(int8, threads=3), rows, keras) is None
    without = [row for row in rows if not row.format.endswith("float32")]
    assert reference_row(without) is None and speed_up(int8, without, None) is None
    assert "speed-up against Keras float32 on Keras" in (measured / "table.md").read_text(encoding="utf-8")


def test_a_row_has_time_memory_and_accuracy_of_one_file(measured: Path, shapes_bundle: Path, shapes_run: Path, photos: Path) -> None:
    report, info = read(measured), read_bundle(shapes_bundle).info
    assert report.photos == len(read_run(shapes_run, photos).val) == 24
    keras, int8 = row_of(report, "Keras float32", "Keras"), row_of(report, "TFLite INT8", "ai-edge-litert")
    assert keras.accuracy is not None and keras.accuracy.share == info.metrics.float32.accuracy
    assert keras.agreement == 1 and keras.differs == 0
    assert int8.accuracy is not None and int8.accuracy.share == info.metrics.int8.accuracy
    assert int8.agreement == info.metrics.agreement
    assert int8.sha256 == info.files[MODEL_FILE]
    half = row_of(report, "TFLite float16", "ai-edge-litert")
    assert half.sha256 == hashlib.sha256((measured / "models" / half.file).read_bytes()).hexdigest()
    assert half.size_bytes is not None and keras.size_bytes is not None and half.size_bytes < keras.size_bytes
    for row in report.with_state("measured"):
        found = row.measured
        assert found is not None and found.queries == 3
        assert 0 < found.p50_ms <= found.p90_ms <= found.p99_ms
        assert min(found.import_ms, found.load_ms, found.first_ms, found.images_per_s) > 0
        assert found.peak_mib is None or 10 < found.peak_mib < 5000


def test_a_second_benchmark_replaces_the_first(
    measured: Path, shapes_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    out = Path(shutil.copytree(measured, tmp_path / "again"))
    only(monkeypatch, "TFLite INT8", "ai-edge-litert")
    assert main(["benchmark", str(shapes_bundle), *QUICK, "--threads", "1", "--out", str(out), "--json"]) == 0
    report = read(out)
    assert msgspec.json.decode(capfd.readouterr().out, type=BenchmarkReport) == report
    assert report.data is None and len(report.rows) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again"] and list((out / "models").iterdir()) == []


def test_a_bundle_without_its_run_lists_what_is_missing(
    shapes_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    monkeypatch.setattr(benchmark, "FORMATS", tuple(formats.Format(form.name, form.key, form.suffix, form.runtimes[:1]) for form in FORMATS[:5]))
    assert main(["benchmark", str(shapes_bundle), *QUICK, "--batch", "1", "2", "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    printed = capfd.readouterr().out
    report = read(tmp_path / "out")
    assert [row.format for row in report.with_state("measured")] == ["TFLite INT8"]
    assert printed.count("missing: made from a training run; name it with --run (Keras float32 on Keras") == 1
    assert "missing: the bundle's file is for batches of 1" in printed


def test_each_batch_size_has_its_own_file_and_the_same_accuracy(
    shapes_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "TFLite INT8", "ai-edge-litert")
    out = tmp_path / "out"
    order = ["benchmark", str(shapes_run), "--data", str(photos), *QUICK, "--batch", "1", "5", "--threads", "1", "--out", str(out)]
    assert main(order) == 0
    one, five = read(out).with_state("measured")
    assert (one.file, five.file) == ("int8.tflite", "int8.batch5.tflite")
    assert one.accuracy == five.accuracy and five.batch == 5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "crashed with SIGKILL"),
        ("import time; time.sleep(600)", "no answer within 2 s, ended"),
        ("raise ImportError('built for another numpy')", "tflite-runtime cannot be imported: built for another numpy"),
    ],
)
def test_a_runtime_that_crashes_hangs_or_cannot_be_loaded_is_a_failed_row(
    shapes_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured, body: str, message: str
) -> None:
    only(monkeypatch, "TFLite INT8", "tflite-runtime")
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    limit = "2" if "sleep" in body else "60"
    assert main(["benchmark", str(shapes_bundle), *QUICK, "--threads", "1", "--timeout", limit, "--out", str(tmp_path / "out")]) == 1
    (row,) = read(tmp_path / "out").rows
    assert row.state == "failed" and message in row.why
    assert f"failed: TFLite INT8 on tflite-runtime, batch 1, threads 1: {row.why}" in capfd.readouterr().out


def test_a_runtimes_refusal_is_quoted(shapes_bundle: Path, tmp_path: Path) -> None:
    from converter.benchmark.engines import EngineError, import_runtime, load_engine

    broken = tmp_path / "model.tflite"
    broken.write_bytes((shapes_bundle / MODEL_FILE).read_bytes()[:900])
    with pytest.raises(EngineError, match="ai-edge-litert cannot run it: "):
        load_engine("ai-edge-litert", import_runtime("ai-edge-litert"), broken, batch=1, threads=1, label_count=3)
    with pytest.raises(EngineError, match="made for batches of 1"):
        load_engine("ai-edge-litert", import_runtime("ai-edge-litert"), shapes_bundle / MODEL_FILE, batch=2, threads=1, label_count=3)


def test_engines_and_device_give_the_same_logits(shapes_bundle: Path) -> None:
    from converter.benchmark.engines import import_runtime, load_engine
    from device.vision.inference.classifier import Classifier

    engine = load_engine("ai-edge-litert", import_runtime("ai-edge-litert"), shapes_bundle / MODEL_FILE, batch=1, threads=1, label_count=3)
    picture = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = engine.finish(engine.run(engine.prepare(picture[None])))
    np.testing.assert_array_equal(found[0], Classifier(read_bundle(shapes_bundle)).logits(picture))


def test_bad_usage_is_refused_in_one_line(
    shapes_bundle: Path, shapes_run: Path, own_run: Path, own_photos: Path, tmp_path: Path, capfd: Captured
) -> None:
    def refused(*order: str) -> str:
        assert main(["benchmark", *order, *QUICK, "--out", str(tmp_path / "out" / "benchmark")]) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
        (line,) = printed.err.splitlines()
        return line

    assert "expected the folder of a bundle or of a training run" in refused(str(tmp_path / "none"))
    assert "--run: goes with a BUNDLE" in refused(str(shapes_run), "--run", str(shapes_run))
    (own_run / "labels.txt").write_text("disc\nframe\nother\n")
    assert "its labels are disc, frame, other" in refused(str(shapes_bundle), "--run", str(own_run))
    (own_run / "model.keras").write_bytes(b"no network")
    assert "model.keras: " in refused(str(own_run))
    name = (shapes_run / "val.txt").read_text().splitlines()[3]
    (own_photos / name).write_bytes(b"no picture")
    assert f"{own_photos / name}: not a picture" in refused(str(shapes_bundle), "--data", str(own_photos), "--run", str(shapes_run))
    (tmp_path / "mine").mkdir()
    assert main(["benchmark", str(shapes_bundle), "--out", str(tmp_path / "mine")]) == 2
    assert "exists already" in capfd.readouterr().err
