"""Distributed training, with two processes on this machine."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
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


WORKER = """
import sys
from training.cli import main
for run in sys.argv[1:3]:
    status = main(["fit", "--weights", "none", "--out", run, *sys.argv[3:]])
    print(f"[{status}]", flush=True)
"""


@dataclass(frozen=True)
class Worker:
    """What a process of two runs said and gave back: of one that the other worker cannot share, then of one that both share."""

    refused: str
    trained: str
    run: Path


@pytest.fixture(scope="module")
def two_workers(shapes: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Worker]:
    """Two workers. The first run of one stopped at an epoch, that of the other did not begin."""
    folder = tmp_path_factory.mktemp("workers")
    ahead = folder / "ahead"
    ahead.mkdir()
    (ahead / "recipe.toml").write_text(RECIPE)
    (ahead / "progress.json").write_text('{"stage": 0, "epoch": 1}')
    addresses, started = free_addresses(2), []
    for index, refused in enumerate((ahead, folder / "behind")):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, "-c", WORKER, str(refused), str(folder / str(index)), "--data", str(shapes), "--recipe", str(recipe)]
        environment = os.environ | {"TF_CONFIG": json.dumps(config)}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [worker.communicate(timeout=280)[0] for worker in started]
    ended = [re.fullmatch(r"(.*\[\d\])\n(.*\[\d\])\n.*", text, re.DOTALL) for text in said]
    assert all(ended) and [worker.returncode for worker in started] == [0, 0], said
    return [Worker(found[1], found[2], folder / str(index)) for index, found in enumerate(ended) if found]


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    file.write_text(RECIPE)
    return file


def test_workers_that_stopped_at_different_epochs_are_refused(two_workers: list[Worker]) -> None:
    ahead, behind = two_workers
    assert ahead.refused.endswith("[2]") and behind.refused.endswith("[2]"), two_workers
    assert "goes on after stage 1, epoch 1" in ahead.refused and "all workers need the same" in ahead.refused
    assert "starts from nothing" in behind.refused


def test_two_workers_train_the_same_as_one(two_workers: list[Worker], shapes: Path, recipe: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(alone), "--recipe", str(recipe)]) == 0
    for worker in two_workers:
        assert worker.trained.endswith("[0]"), worker.trained

    runs = (alone, *(worker.run for worker in two_workers))
    losses = [[line["loss"] for line in metrics(run)] for run in runs]
    assert len(losses[0]) == 3
    assert losses[1] == losses[2]
    assert losses[1] == pytest.approx(losses[0], rel=0.02), "the last, smaller batch of an epoch counts a little otherwise"
    networks = [keras.models.load_model(run / "model.keras").get_weights() for run in runs]
    for one, ours, theirs in zip(*networks, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(ours, one, atol=2e-4)


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
