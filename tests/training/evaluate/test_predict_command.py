"""`training predict`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., int]
LABEL = "可回收物_鼠标"


def test_a_picture_gets_labels_and_a_bin(command: Command, discs_run: Path, discs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = discs / LABEL / "00.png"
    assert command("predict", picture, "--model", discs_run, "--rules", "four-bins") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{picture}: {LABEL} ")
    assert "-> " in said and said.count("\n") == 1


def test_json_lists_the_most_likely_labels_first(command: Command, discs_tflite: Path, discs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", discs / LABEL, "--model", discs_tflite / "int8.tflite", "--top", 2, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 20
    for line in lines:
        assert list(line) == ["image", "label", "p", "likeliest", "bin", "decision"]
        (first, p), (_, second_p) = line["likeliest"].items()
        assert (first, p) == (line["label"], line["p"])
        assert p >= second_p
        assert line["bin"] is None
    assert [line["image"] for line in lines] == sorted(line["image"] for line in lines)


def test_a_broken_picture_does_not_stop_the_others(
    command: Command, discs_tflite: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    shutil.copy(discs / LABEL / "00.png", tmp_path / "b.png")
    assert command("predict", tmp_path, "--model", discs_tflite / "int8.tflite", "--json") == 1
    said = capsys.readouterr()
    broken, good = (json.loads(line) for line in said.out.splitlines())
    assert "error" in broken and good["image"].endswith("b.png")
    assert "a.png: not a picture" in said.err


def test_no_pictures_give_one_clear_line(command: Command, discs_tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", tmp_path / "gone.jpg", "--model", discs_tflite / "int8.tflite") == 2
    assert "gone.jpg: expected a picture" in capsys.readouterr().err
    assert command("predict", __file__, "--model", tmp_path) == 2
    assert "model.keras is missing" in capsys.readouterr().err
