"""A source, a place for the data set, and the command as a person types it."""

import argparse
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.device.conftest import tiny_bundle
from tests.training.prepare.pictures import drawn, fill
from training.commands import prepare as command

__all__ = ["tiny_bundle"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder for each of three labels, with eight pictures."""
    return fill(tmp_path / "photos")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def prepare() -> Callable[..., int]:
    """Runs `training prepare` with these arguments; errors come through."""

    def run(*arguments: object) -> int:
        parser = argparse.ArgumentParser()
        command.add_parser(parser.add_subparsers())
        parsed = parser.parse_args(["prepare", *map(str, arguments)])
        return int(parsed.run(parsed))

    return run


@pytest.fixture
def cifar100(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A stand-in for Keras's loader. `pictures`, `numbers`: of the pictures, the first `training` of which are for training."""
    small = types.SimpleNamespace(pictures=np.stack([drawn(seed, 32, 32) for seed in range(6)]), numbers=[0, 99, 0, 41, 99, 41], training=4)

    def load_data(label_mode: str) -> object:
        assert label_mode == "fine"
        numbers = np.array(small.numbers)[:, np.newaxis]
        cut = small.training
        return (small.pictures[:cut], numbers[:cut]), (small.pictures[cut:], numbers[cut:])

    datasets = types.ModuleType("keras.datasets")
    datasets.cifar100 = small.module = types.SimpleNamespace(load_data=load_data)
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", datasets)
    return small
