"""`training average`: averaged weights, measured and written as an ordinary run."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from training.cli import main

FIRST = """
backbone = "scratch_cnn"
scratch = { layers = 3, features = 16, kernel = 3, activation = "relu" }

[[stage]]
size = 32
epochs = 2
learning_rate = 1e-3
"""
FURTHER = "first_phase = false\n[[stage]]\nepochs = 1\nlearning_rate = 1e-3\n"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "first.toml").write_text(FIRST)
    (folder / "wider.toml").write_text(FIRST.replace("16", "24"))
    (folder / "further.toml").write_text(FURTHER)
    return folder


@pytest.fixture(scope="module")
def runs(shapes: Path, recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`first`, `further` trained from it, and `wider` with more filters."""
    folder = tmp_path_factory.mktemp("runs")
    start = ("fit", "--data", shapes, "--recipe")
    assert called(*start, recipes / "first.toml", "--weights", "none", "--out", folder / "first") == 0
    assert called(*start, recipes / "further.toml", "--from", folder / "first", "--also", shapes, "--out", folder / "further") == 0
    assert called(*start, recipes / "wider.toml", "--weights", "none", "--out", folder / "wider") == 0
    return folder


def called(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def weights(run: Path) -> list[np.ndarray]:
    return keras.models.load_model(run / "model.keras", compile=False).get_weights()


def test_averaged_weights_follow_the_shares(runs: Path, recipes: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "between"
    capsys.readouterr()
    assert called("average", f"{runs / 'first'}=3", f"{runs / 'further'}=1", "--data", shapes, "--out", out) == 0
    for between, first, further in zip(weights(out), weights(runs / "first"), weights(runs / "further"), strict=True):
        np.testing.assert_allclose(between, 0.75 * first + 0.25 * further, rtol=1e-5, atol=1e-6)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said[:3]] == [f"{runs / 'first'} 0.750", f"{runs / 'further'} 0.250", "their average"]
    assert all("photos right" in line and "isolated items" in line for line in said[:3])
    assert [made["share"] for made in json.loads((out / "averaged.json").read_text())] == [0.75, 0.25]
    assert (out / "further.txt").read_text() == (runs / "further" / "further.txt").read_text()
    assert called("fit", "--data", shapes, "--recipe", recipes / "further.toml", "--from", out, "--out", tmp_path / "on") == 0, "it is a run"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("first", "further=1"), "first: expected RUN=SHARE with a share above 0, for example runs/first=0.3"),
        (("first=0", "further=1"), "first=0: expected RUN=SHARE with a share above 0"),
        (("first=1",), "first=1: expected at least two runs to average"),
        (("first=1", "first=2"), "first: given twice; expected each run once"),
        (("first=1", "nowhere=1"), "nowhere: expected the folder that `training fit --out` wrote, found none"),
        (("first=1", "wider=1"), "wider/model.keras: expected a network of the same layers as"),
        (("first=1", "relabelled=1"), "relabelled: expected the labels blue can, green jar, red box as"),
        (("first=1", "rechosen=1"), "rechosen: expected the same val.txt as"),
    ],
)
def test_a_mistake_gives_one_line_and_writes_nothing(
    runs: Path, shapes: Path, tmp_path: Path, asked: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("relabelled", "rechosen"):
        shutil.copytree(runs / "first", tmp_path / name)
    (tmp_path / "relabelled" / "labels.txt").write_text("green jar\nblue can\nred box\n")
    train, val = ((runs / "first" / name).read_text().splitlines() for name in ("train.txt", "val.txt"))
    (tmp_path / "rechosen" / "train.txt").write_text("\n".join([*train[1:], val[0]]) + "\n")
    (tmp_path / "rechosen" / "val.txt").write_text("\n".join([*val[1:], train[0]]) + "\n")
    given = [str((tmp_path if text.startswith("re") else runs) / text) for text in asked]
    capsys.readouterr()
    assert called("average", *given, "--data", shapes, "--out", tmp_path / "out") == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
