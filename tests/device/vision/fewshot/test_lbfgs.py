"""Minimization by limited-memory BFGS."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.vision.fewshot.lbfgs import minimize


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_minimize_finds_the_minimum_of_a_quadratic(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size)) * np.exp(rng.normal(0, 1, size))
    matrix, aim = root @ root.T + 0.1 * np.eye(size), rng.normal(size=size)
    best = np.linalg.solve(matrix, aim)
    found = minimize(lambda x: (0.5 * float(x @ matrix @ x) - float(aim @ x), matrix @ x - aim), np.zeros(size), steps=2000, close=1e-14)
    assert (0.5 * found @ matrix @ found - aim @ found) == pytest.approx(0.5 * best @ matrix @ best - aim @ best, rel=1e-4, abs=1e-6)
