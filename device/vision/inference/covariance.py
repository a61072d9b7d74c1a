"""A covariance of thousands of features in few numbers: no matrix of that side is made."""

from dataclasses import dataclass

import numpy as np

from device.common.arrays import Float64Array


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    """A matrix features x features of the form strong.T @ strong + diag(rest). strong: few x features; rest: one a feature, at least 0; float64."""

    strong: Float64Array
    rest: Float64Array

    @property
    def trace(self) -> float:
        """The sum of its diagonal."""
        return float(np.square(self.strong).sum() + self.rest.sum())

    def solve(self, rows: Float64Array, ridge: Float64Array) -> Float64Array:
        """rows @ inverse(this + diag(ridge)), by Woodbury's identity. rows: n x features; ridge: one a feature, at least 0."""
        diagonal = self.rest + ridge
        scaled = self.strong / diagonal
        small = np.eye(len(scaled)) + scaled @ self.strong.T
        return np.asarray(rows / diagonal - (rows @ scaled.T) @ np.linalg.solve(small, scaled), np.float64)

    def variance_along(self, rows: Float64Array) -> Float64Array:
        """The diagonal of rows @ this @ rows.T: the variance along each row. rows: n x features."""
        return np.asarray(np.square(rows @ self.strong.T).sum(axis=1) + np.square(rows) @ self.rest, np.float64)
