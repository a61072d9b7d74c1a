"""Choosing at random among things that are not numbers."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Thing = TypeVar("Thing")


def pick(rng: np.random.Generator, things: Sequence[Thing]) -> Thing:
    """One of them, each as likely. A thing listed twice is twice as likely."""
    return things[int(rng.integers(len(things)))]


def toss(rng: np.random.Generator, probability: float) -> bool:
    """True with this probability."""
    return bool(rng.random() < probability)
