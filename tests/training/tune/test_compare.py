"""Comparing recipes: trained or loaded, sorted, measured in INT8."""

import argparse
import json
import shutil
from pathlib import Path

import pytest

from converter.data.photos import read_part, read_split
from device.common.errors import UsageError
from training.cli import main
from training.commands import compare as command
from training.commands.compare import weights_by_recipe
from training.evaluate.measures import proportion
from training.tune.compare import HEAD, CompareError, ComparisonRow, compare, read_test_part, table

RECIPE = """
backbone = "scratch_cnn"
first_phase = {phase}
scratch = {{ layers = 2, features = {features}, kernel = 3, activation = "relu" }}
[[stage]]
size = 32
epochs = 1
learning_rate = 1e-3
batch = 16
"""


def recipes(folder: Path) -> list[Path]:
    files = [folder / "raw.toml", folder / "fitted.toml"]
    files[0].write_text(RECIPE.format(phase="false", features=4))
    files[1].write_text(RECIPE.format(phase="true", features=8))
    return files


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    asked = parser.parse_args(["compare", *arguments])
    return int(asked.run(asked))


def test_recipes_are_trained_once_sorted_and_measured_in_int8(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, out = recipes(tmp_path), tmp_path / "out"
    arguments = [*map(str, files), "--data", str(shapes), "--weights", "none", "--out", str(out)]
    assert run(*arguments) == 0
    found = json.loads((out / "compare.json").read_text())["rows"]
    assert {row["name"] for row in found} == {"raw", "fitted"}
    shares = [row["accuracy"]["share"] for row in found]
    assert shares == sorted(shares, reverse=True)
    sizes = {row["name"]: (row["parameters"], row["int8"]["size_bytes"]) for row in found}
    assert sizes["raw"] < sizes["fitted"]
    for row in found:
        assert row["accuracy"]["n"] == row["int8"]["accuracy"]["n"] == 6
        assert 0 < row["int8"]["median_ms"] <= row["int8"]["p95_ms"]
        assert (row["train"]["n"], row["test"], row["epochs"]) == (30, None, [1, 1])
    page = (out / "compare.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "://" not in page
    assert (out / "curves.png").is_file() and "How they were trained" in page
    first = {name: (out / name / "model.keras").stat().st_mtime_ns for name in ("raw", "fitted")}

    assert run(*arguments) == 0
    assert "raw: finished already" in capsys.readouterr().out
    assert first == {name: (out / name / "model.keras").stat().st_mtime_ns for name in ("raw", "fitted")}

    files[0].write_text(RECIPE.format(phase="false", features=16))
    with pytest.raises(CompareError, match="expected a run trained by"):
        compare({"raw": files[0]}, {"raw": None}, read_split(shapes), shapes, out, print)


def test_the_test_part_of_the_data_is_found(shapes: Path, tmp_path: Path) -> None:
    assert not read_test_part(shapes)
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / "splits").mkdir()
    (data / "splits" / "test.txt").write_text("red box/00.png\n")
    assert [photo.name for photo in read_test_part(data)] == ["red box/00.png"]
    assert main(["prepare", str(shapes), "--out", str(tmp_path / "set"), "--test-share", "0.3"]) == 0
    assert read_test_part(tmp_path / "set") == read_part(tmp_path / "set", "test")


def test_a_row_without_an_int8_model_says_why() -> None:
    (row,) = table([ComparisonRow("mish", proportion(5, 6), 100, 32, None, "tf.Softplus is not supported")])
    assert len(row) == len(HEAD)
    assert row[-1] == "refused: tf.Softplus is not supported"


def test_weights_are_for_a_named_recipe_or_all_others() -> None:
    assert weights_by_recipe(["a=x=y.weights.h5", "none"], ["a", "b"]) == {"a": "x=y.weights.h5", "b": None}
    with pytest.raises(UsageError, match="none for recipe b"):
        weights_by_recipe(["a=none"], ["a", "b"])
    with pytest.raises(UsageError, match="for all others"):
        weights_by_recipe(["none", "imagenet"], ["a", "b"])
