"""A covariance matrix of many features in low-rank form; the full matrix is never built."""

from dataclasses import dataclass

import numpy as np

from device.common.arrays import Float64Array


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    """The matrix strong.T @ strong + diag(rest), features x features. strong: k x features; rest: features, at least 0; float64."""

    strong: Float64Array
    rest: Float64Array

    @property
    def trace(self) -> float:
        """The sum of the diagonal."""
        return float(np.square(self.strong).sum() + self.rest.sum())

    def solve(self, rows: Float64Array, ridge: Float64Array) -> Float64Array:
        """rows @ inverse(self + diag(ridge)), by Woodbury's identity. rows: n x features; ridge: features, at least 0."""
        diagonal = self.rest + ridge
        scaled = self.strong / diagonal
        small = np.eye(len(scaled)) + scaled @ self.strong.T
        return np.asarray(rows / diagonal - (rows @ scaled.T) @ np.linalg.solve(small, scaled), np.float64)

    def variance_along(self, rows: Float64Array) -> Float64Array:
        """The variance along each row: the diagonal of rows @ self @ rows.T. rows: n x features."""
        return np.asarray(np.square(rows @ self.strong.T).sum(axis=1) + np.square(rows) @ self.rest, np.float64)
