"""A clock that tests set, and pictures that differ."""

from collections.abc import Callable

import numpy as np
import pytest

from device.vision.inference.preprocess import Pixels


class Clock:
    """A monotonic clock that changes only when a test sets it, or by its `sleep`."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def picture() -> Callable[..., Pixels]:
    """Pictures with noise: `picture(seed, width=, height=)`, H x W x 3 uint8."""

    def make(seed: int, width: int = 64, height: int = 48) -> Pixels:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)

    return make
