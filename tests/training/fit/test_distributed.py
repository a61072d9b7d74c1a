"""Distributed training, with two processes on this machine."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.cli import main
from training.fit.batches import worker_share
from training.fit.mixup import Batch

RECIPE = """
backbone = "scratch_cnn"
scratch = { layers = 2, features = 8, kernel = 3, activation = "relu" }
dropout = 0.0
seed = 3

[[stage]]
size = 32
epochs = 2
learning_rate = 1e-3
batch = 7

[[stage]]
size = 48
epochs = 1
learning_rate = 1e-3
batch = 8
cutmix = 0.5
"""


def free_addresses(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    for listening in sockets:
        listening.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{listening.getsockname()[1]}" for listening in sockets]
    for listening in sockets:
        listening.close()
    return addresses


def start(shapes: Path, run: Path, recipe: Path, workers: list[str], index: int) -> "subprocess.Popen[str]":
    config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    command = [sys.executable, "-m", "training.cli", "fit", "--data", str(shapes), "--weights", "none", "--out", str(run), "--recipe", str(recipe)]
    environment = os.environ | {"TF_CONFIG": json.dumps(config)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    file.write_text(RECIPE)
    return file


def test_two_workers_train_the_same_as_one(shapes: Path, recipe: Path, tmp_path: Path) -> None:
    alone, first, second = tmp_path / "alone", tmp_path / "first", tmp_path / "second"
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(alone), "--recipe", str(recipe)]) == 0
    addresses = free_addresses(2)
    workers = [start(shapes, run, recipe, addresses, index) for index, run in enumerate((first, second))]
    for worker in workers:
        said, _ = worker.communicate(timeout=240)
        assert worker.returncode == 0, said

    losses = [[line["loss"] for line in metrics(run)] for run in (alone, first, second)]
    assert len(losses[0]) == 3
    assert losses[1] == losses[2]
    assert losses[1] == pytest.approx(losses[0], rel=0.02), "the last, smaller batch of an epoch counts a little otherwise"
    networks = [keras.models.load_model(run / "model.keras").get_weights() for run in (alone, first, second)]
    for one, ours, theirs in zip(*networks, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(ours, one, atol=2e-4)


def test_workers_that_stopped_at_different_epochs_are_refused(shapes: Path, recipe: Path, tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    ahead.mkdir()
    (ahead / "recipe.toml").write_text(RECIPE)
    (ahead / "progress.json").write_text('{"stage": 0, "epoch": 1}')
    addresses = free_addresses(2)
    workers = [start(shapes, run, recipe, addresses, index) for index, run in enumerate((ahead, tmp_path / "behind"))]
    said = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [2, 2], said
    assert "goes on after stage 1, epoch 1" in said[0] and "all workers need the same" in said[0]
    assert "starts from nothing" in said[1]


@pytest.mark.parametrize(
    "told", ["{", "[]", '{"cluster": {"worker": ["a:1"]}}', '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}']
)
def test_a_wrong_tf_config_gives_one_clear_line(
    told: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_CONFIG", told)
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "TF_CONFIG: expected" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@given(size=st.integers(1, 20), count=st.integers(1, 6))
def test_worker_shares_hold_every_picture_once_with_the_same_mean_loss(size: int, count: int) -> None:
    rng = np.random.default_rng(size)
    losses = rng.uniform(0, 3, size).astype(np.float32)
    batch = Batch(np.arange(size, dtype=np.float32), losses, rng.uniform(0.5, 2, size).astype(np.float32))
    shares = [worker_share(batch, index, count) for index in range(count)]
    means = [float((part.targets * part.weights).mean()) for part in shares]
    assert np.mean(means) == pytest.approx(float((batch.targets * batch.weights).mean()), rel=1e-5)
    assert sorted(np.concatenate([part.inputs[part.weights > 0] for part in shares])) == list(range(size))
