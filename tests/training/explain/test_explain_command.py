"""`training explain`, from the command line to the pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Command = Callable[..., int]
BLUE, RED = "可回收物_蓝", "有害垃圾_红"


def test_the_worst_of_a_split_are_explained_with_both_labels(
    command: Command, patches_run: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("explain", patches_run, "--data", patches, "--split", "all", "--worst", 3, "--out", tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))
    assert {entry["photo"] for entry in told[:2]} == {f"{BLUE}/0.png", f"{RED}/0.png"}, "the two of the wrong colour come first"
    for entry in told[:2]:
        assert entry["named"] != entry["label"]
        assert [evidence["label"] for evidence in entry["evidence"]] == [entry["named"], entry["label"]]
        assert entry["evidence"][1] == {"label": entry["label"], "x": None, "y": None, "area": None}
    assert [evidence["label"] for evidence in told[2]["evidence"]] == [told[2]["named"]] == [told[2]["label"]]
    picture = cv2.imread(str(tmp_path / "explanation-1.png"))
    assert picture.shape[0] > 3 * 180 and picture.shape[1] > 4 * 180
    assert cv2.imread(str(tmp_path / "first_layer.png")) is not None


def test_the_evidence_is_where_the_item_is(
    command: Command, patches_run: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [patches / RED / f"{number}.png" for number in (1, 2, 3)]
    assert command("explain", patches_run, *pictures, "--out", tmp_path, "--json") == 0
    for file, entry in zip(pictures, json.loads(capsys.readouterr().out), strict=True):
        seen = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
        rows, columns = (seen[..., 2] > 200).nonzero()
        (evidence,) = entry["evidence"]
        assert entry["label"] is None and entry["named"] == RED
        assert evidence["x"] == pytest.approx((columns.mean() + 0.5) / 32, abs=0.15)
        assert evidence["y"] == pytest.approx((rows.mean() + 0.5) / 32, abs=0.15)
        assert evidence["area"] < 0.1


def test_many_photos_go_on_several_pictures(command: Command, patches_run: Path, patches: Path, tmp_path: Path) -> None:
    assert command("explain", patches_run, patches, patches, "--out", tmp_path) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"explanation-1.png", "explanation-2.png", "first_layer.png", "explanation.json"}


def test_a_broken_picture_is_left_out_and_named(
    command: Command, patches_run: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert command("explain", patches_run, broken, patches / RED / "1.png", "--out", tmp_path / "o") == 1
    assert f"left out: {broken}" in capsys.readouterr().err
    assert command("explain", patches_run, broken, "--out", tmp_path / "p") == 2
    assert "broken.png: not a picture" in capsys.readouterr().err


def test_mistakes_of_a_user_are_one_clear_line_each(
    command: Command, patches_run: Path, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tflite = tmp_path / "model.tflite"
    tflite.write_bytes(b"")
    for words, said in (
        ((patches_run,), "expected pictures to explain, or --data"),
        ((tflite, patches), "have no gradients"),
        ((tmp_path, patches), "model.keras is missing"),
        ((patches_run, tmp_path / "gone.jpg"), "gone.jpg: expected a picture"),
        ((patches_run, "--data", patches), "--split all"),
    ):
        assert command("explain", *words, "--out", tmp_path / "o") == 2
        error = capsys.readouterr().err
        assert said in error and error.startswith("training explain: ") and error.count("\n") == 1
