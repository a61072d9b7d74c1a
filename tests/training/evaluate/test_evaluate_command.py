"""`training evaluate`: from the command line to the report page."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from converter.bundle.photo_list import photo_list
from converter.common.progress import Progress
from converter.data.isolated_view import can_be_isolated, isolated_view
from converter.data.photos import read_photos
from converter.data.training_run import read_run
from device.policy.rules import find_rules, read_rules
from tests.training.evaluate.conftest import LABELS
from training.evaluate import plots
from training.evaluate.corruptions import CORRUPTIONS
from training.evaluate.evaluation import EvaluationOptions, EvaluationReport, evaluate
from training.evaluate.models import open_model
from training.evaluate.photo_selection import select_photos
from training.evaluate.report import summary

Command = Callable[..., int]


@pytest.fixture(scope="module")
def few(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photos of each label."""
    data = tmp_path_factory.mktemp("few") / "few"
    for folder in discs.iterdir():
        (data / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:5]:
            shutil.copy(file, data / folder.name)
    return data


def measured(model: Path, data: Path, split: str = "all", *, rules: str = "", corruptions: bool = False) -> EvaluationReport:
    """The report without its plots."""
    opened, progress = open_model(model), Progress()
    pack = read_rules(find_rules(rules), opened.labels) if rules else None
    chosen = select_photos(data, split, opened)
    return evaluate(opened, chosen, EvaluationOptions(pack, corruptions=corruptions), progress).report


def test_a_run_is_measured_on_its_validation_photos(
    command: Command, discs_run: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert command("evaluate", discs_run, "--data", discs, "--rules", "four-bins", "--out", out, "--json") == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=EvaluationReport)
    assert report.data.n == 40 and report.data.split == "val" and report.data.trained_on == 0
    assert report.accuracy.share > 0.6
    assert report.top[1] == report.accuracy and report.top[2].right >= report.accuracy.right
    assert np.array(report.confusion).sum() == 40 and np.trace(report.confusion) == report.accuracy.right
    assert len(report.mistakes) == 40 - report.accuracy.right
    assert [entry.p_label for entry in report.mistakes] == sorted(entry.p_label for entry in report.mistakes)
    assert report.calibration.source == "fitted"
    assert report.sorting is not None and report.sorting.pack == "four-bins"
    assert report.robustness is None
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["accuracy"]["n"] == 40

    rows = list(csv.DictReader((out / "photos.csv").open(encoding="utf-8", newline="")))
    assert sum(int(row["right"]) for row in rows) == report.accuracy.right
    assert {"confusion.png", "labels.png", "entropy.png", "reliability.png", "risk_coverage.png", "samples.jpg"} <= {
        file.name for file in out.iterdir()
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "可回收物_鼠标" in page and "://" not in page and "<script" not in page
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"}


def test_isolated_items_are_measured_and_shown(
    command: Command, discs_run: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert command("evaluate", discs_run, "--data", discs, "--isolated", "--out", out, "--json") == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=EvaluationReport)
    photos = read_run(discs_run, discs).val
    told = [photo for photo in photos if can_be_isolated(photo)]
    assert report.data.isolated == len(told) > 20
    judged = open_model(discs_run).judge([isolated_view(photo) for photo in photos]).logits.argmax(axis=1)
    assert report.accuracy.right == sum(LABELS[index] == photo.label for index, photo in zip(judged, photos, strict=True))
    assert f"The items of {len(told)} photos were shown by themselves" in (out / "report.html").read_text(encoding="utf-8")
    assert f"{len(told)} of the 40 photos isolated" in summary(report)
    assert command("evaluate", discs_run, "--data", discs, "--out", tmp_path / "whole") == 0
    alone, whole = (cv2.imread(str(folder / "samples.jpg")) for folder in (out, tmp_path / "whole"))
    assert alone.shape == whole.shape and (np.abs(alone.astype(int) - whole) > 30).mean() > 0.05, (
        "the sample shows what was judged, the items close up"
    )
    assert measured(discs_run, discs, "val").data.isolated is None


def test_corruptions_are_refused_with_isolated(command: Command, discs_run: Path, discs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", discs_run, "--data", discs, "--isolated", "--corruptions") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--corruptions" in said


def test_float_and_int8_are_measured_alike_and_nearly_agree(discs_tflite: Path, discs: Path) -> None:
    floating, int8 = (measured(discs_tflite / f"{name}.tflite", discs) for name in ("float32", "int8"))
    assert (floating.model.kind, int8.model.kind) == ("float32", "int8")
    assert floating.data.sha256 == int8.data.sha256
    assert abs(floating.accuracy.share - int8.accuracy.share) < 0.06
    assert floating.data.trained_on is None
    assert int8.sorting is None


def test_corruptions_are_measured_level_by_level(discs_tflite: Path, few: Path, tmp_path: Path) -> None:
    for folder in few.iterdir():
        (tmp_path / folder.name).mkdir()
        shutil.copy(folder / "00.png", tmp_path / folder.name)
    report = measured(discs_tflite / "int8.tflite", tmp_path, corruptions=True)
    robustness = report.robustness
    assert robustness is not None
    assert [corruption.name for corruption in robustness.corruptions] == [corruption.name for corruption in CORRUPTIONS]
    levels = [entry.accuracy for corruption in robustness.corruptions for entry in corruption.levels]
    assert all(accuracy.n == robustness.n == 4 for accuracy in levels)
    assert len({accuracy.right for accuracy in levels}) > 1
    assert robustness.clean == report.accuracy
    assert robustness.corrupted == pytest.approx(np.mean([corruption.mean for corruption in robustness.corruptions]))
    assert robustness.both == pytest.approx((robustness.clean.share + robustness.corrupted) / 2)
    texts = {text.get_text() for text in plots.robustness(robustness).axes[0].get_yticklabels()}
    assert texts == {corruption.name for corruption in CORRUPTIONS}
    assert "corrupted" in summary(report)


def test_without_json_a_summary_with_n_is_printed(
    command: Command, discs_tflite: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("evaluate", discs_tflite / "int8.tflite", "--data", few, "--split", "all") == 0
    said = capsys.readouterr().out
    assert re.search(r"accuracy +0\.\d{4} \(\d+ of 20, 95 % interval", said)
    assert said.endswith("wrote evaluation/int8-all/report.html\n")
    assert (tmp_path / "evaluation" / "int8-all" / "report.json").is_file()


def test_a_photo_that_cannot_be_decoded_is_left_out_and_named(
    command: Command, discs_tflite: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(few, tmp_path / "data"))
    broken = data / "其他垃圾_毛巾" / "02.png"
    broken.write_bytes(b"no picture")
    assert command("evaluate", discs_tflite / "int8.tflite", "--data", data, "--split", "all", "--out", tmp_path / "o", "--json") == 0
    said = capsys.readouterr()
    report = msgspec.json.decode(said.out, type=EvaluationReport)
    assert report.data.n == 19 and len(report.data.left_out) == 1
    assert "left out" in said.err and str(broken) in said.err
    for file in data.rglob("*.png"):
        file.write_bytes(b"no picture")
    assert command("evaluate", discs_tflite / "int8.tflite", "--data", data, "--split", "all", "--out", tmp_path / "o") == 2
    assert "no photo of data, split all, can be decoded" in capsys.readouterr().err


def test_a_run_measured_on_its_training_photos_is_reported(discs_run: Path, discs: Path) -> None:
    report = measured(discs_run, discs, "train")
    assert report.data.trained_on == report.data.n == 40
    assert "trained on 40 of these 40 photos" in summary(report)


def test_a_bundle_measured_on_its_training_photos_is_reported(discs_tflite: Path, discs: Path, few: Path) -> None:
    listed = read_photos(few)
    bundle = replace(open_model(discs_tflite / "int8.tflite"), photo_list=photo_list(listed[::2], listed[1::2]))
    for data in (few, discs):  # whatever their names
        report = evaluate(bundle, select_photos(data, "all", bundle), EvaluationOptions(), Progress()).report
        assert report.data.trained_on == 10 and report.data.n == len(read_photos(data))
    assert select_photos(few, "val", bundle).photos == tuple(listed[1::2])


def test_a_second_head_is_measured_with_its_rule_pack(discs_run: Path, discs: Path, tmp_path: Path) -> None:
    import keras

    run = Path(shutil.copytree(discs_run, tmp_path / "two heads"))
    one_head = keras.models.load_model(run / "model.keras")
    head = keras.layers.Conv2D(4, 1, name="bin_head")
    of_bins = keras.layers.Flatten(name="bin_logits")(head(one_head.get_layer("pool").output))
    # The bins of the pack are recyclable, kitchen, hazardous, other; the labels have another order.
    order = [2, 1, 3, 0]
    kernel, bias = one_head.get_layer("head").get_weights()
    head.set_weights([kernel[..., order], bias[order]])
    keras.Model(one_head.input, one_head.output | {"bin_logits": of_bins}).save(run / "model.keras")
    (run / "recipe.toml").write_text('rules = "four-bins"\n', encoding="utf-8")

    two_bins = 'name="p"\nversion="1"\nresidual="all"\n[bins.all]\nlabels=["可回收物_*","其他垃圾_*","有害垃圾_*","厨余垃圾_*"]\n'
    (tmp_path / "other.toml").write_text(two_bins, encoding="utf-8")
    learned, another = (measured(run, discs, "val", rules=pack).sorting for pack in ("four-bins", str(tmp_path / "other.toml")))
    assert learned is not None and learned.bin_head == learned.likeliest
    assert another is not None and another.bin_head is None


def test_each_user_mistake_gives_one_clear_line(
    command: Command, discs_run: Path, discs_tflite: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "pack.toml"
    pack.write_text('name="p"\nversion="1"\nresidual="other"\n[bins.other]\nlabels=["其他垃圾_毛巾"]\n', encoding="utf-8")
    taken = tmp_path / "taken"
    taken.write_text("a file where the folder of the report should be")
    int8 = discs_tflite / "int8.tflite"
    for words, said in (
        ((discs_run, "--data", discs, "--rules", pack), "no bin for the label"),
        ((discs_run, "--data", discs, "--rules", "nine-bins"), "nine-bins: expected the file of a rule pack"),
        ((int8, "--data", discs), "--split all"),
        ((int8, "--data", tmp_path / "gone"), "gone: expected a folder"),
        ((discs, "--data", discs), "model.keras is missing"),
        ((int8, "--data", discs, "--split", "all", "--out", taken), "taken"),
    ):
        assert command("evaluate", *words, *(() if "--out" in words else ("--out", tmp_path / "o"))) == 2
        error = capsys.readouterr().err
        assert said in error and error.startswith("training evaluate: ") and error.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("option", "value"), [("--error", "0"), ("--error", "1"), ("--error", "two"), ("--seed", "-1")])
def test_numbers_out_of_range_are_refused(option: str, value: str, command: Command, discs_run: Path, discs: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        command("evaluate", discs_run, "--data", discs, f"{option}={value}")
    assert caught.value.code == 2


def test_the_page_of_a_run_has_its_training_curves(command: Command, discs_run: Path, few: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(discs_run, tmp_path / "run"))
    lines = [{"stage": 1, "epoch": epoch, "loss": 1 / epoch, "val_accuracy": 0.5, "val_nll": 0.9} for epoch in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert command("evaluate", run, "--data", few, "--split", "all", "--out", tmp_path / "report") == 0
    assert cv2.imread(str(tmp_path / "report" / "curves.png")).std() > 1
    assert "How it was trained" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
