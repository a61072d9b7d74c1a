"""A low-rank covariance behaves as the full matrix."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.vision.inference.covariance import LowRankCovariance


@given(features=st.integers(1, 12), strong=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_solve_and_variance_match_the_full_matrix(features: int, strong: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    moments = LowRankCovariance(rng.normal(size=(strong, features)), rng.uniform(0, 2, features))
    matrix = moments.strong.T @ moments.strong + np.diag(moments.rest)
    rows, ridge = rng.normal(size=(3, features)), rng.uniform(0.5, 2, features)
    np.testing.assert_allclose(moments.solve(rows, ridge), rows @ np.linalg.inv(matrix + np.diag(ridge)), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(moments.variance_along(rows), np.einsum("ij,jk,ik->i", rows, matrix, rows), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moments.trace, np.trace(matrix), atol=1e-12)
