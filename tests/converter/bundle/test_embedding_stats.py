"""`reference.npz`: statistics of the embeddings."""

from pathlib import Path

import numpy as np
import pytest

from converter.bundle.embedding_stats import DIRECTIONS, fit_embedding_stats
from device.vision.inference.embedding_stats import EmbeddingStats

FEATURES = 100


@pytest.fixture(scope="module")
def reference() -> EmbeddingStats:
    rng = np.random.default_rng(2)
    targets = np.repeat(np.arange(3), [200, 100, 20])
    spread = rng.normal(0, 1, (FEATURES, FEATURES)) * np.exp(-np.arange(FEATURES) / 10)[:, np.newaxis]
    embeddings = rng.normal(0, 1, (320, FEATURES)) @ spread + 3 * rng.normal(0, 1, (3, FEATURES))[targets]
    fitted = fit_embedding_stats(embeddings.astype(np.float32), targets, 3)
    around = embeddings - np.stack([embeddings[targets == i].mean(axis=0) for i in range(3)])[targets]
    np.testing.assert_allclose(restored(fitted), around.T @ around / 317, atol=0.05)
    return fitted


def restored(reference: EmbeddingStats) -> np.ndarray:
    """The covariance matrix that the statistics describe."""
    directions = reference.directions.astype(np.float64)
    return directions.T @ np.diag(reference.variances) @ directions + np.diag(reference.rest)


def test_directions_are_unit_vectors_strongest_first(reference: EmbeddingStats) -> None:
    assert reference.directions.shape == (DIRECTIONS, FEATURES)
    np.testing.assert_allclose(np.linalg.norm(reference.directions.astype(float), axis=1), 1, atol=2e-3)
    assert (np.diff(reference.variances) <= 0).all() and (reference.rest >= 0).all()
    assert reference.counts.tolist() == [200, 100, 20]


def test_the_file_is_reproducible_and_numpy_reads_it(reference: EmbeddingStats, tmp_path: Path) -> None:
    reference.write(tmp_path / "a.npz")
    reference.write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert sorted(stored.files) == ["counts", "directions", "means", "rest", "variances"]
        for name in stored.files:
            np.testing.assert_array_equal(stored[name], getattr(reference, name))


def test_fewer_photos_than_directions_are_enough() -> None:
    fitted = fit_embedding_stats(np.eye(4, 10, dtype=np.float32), np.array([0, 0, 1, 1]), 2)
    assert fitted.directions.shape == (2, 10)
    assert np.isfinite(fitted.directions).all()


@pytest.mark.parametrize("photos", [60, 140], ids=["fewer photos than features", "more photos than features"])
def test_directions_are_eigenvectors_of_the_covariance(photos: int) -> None:
    rng = np.random.default_rng(5)
    embeddings = (rng.normal(0, 1, (photos, FEATURES)) * np.exp(-np.arange(FEATURES) / 15)).astype(np.float32)
    targets = np.arange(photos) % 2
    fitted = fit_embedding_stats(embeddings, targets, 2)
    around = embeddings - np.stack([embeddings[targets == i].mean(axis=0) for i in range(2)])[targets]
    covariance = around.astype(np.float64).T @ around / (photos - 2)
    kept = len(fitted.variances)
    assert kept == min(DIRECTIONS, photos - 2)
    np.testing.assert_allclose(fitted.variances, np.linalg.eigvalsh(covariance)[::-1][:kept], rtol=1e-4)
    strongest = fitted.directions[:10].astype(np.float64)
    np.testing.assert_allclose(strongest @ covariance, fitted.variances[:10, None] * strongest, atol=0.01)
    np.testing.assert_allclose(restored(fitted).diagonal(), covariance.diagonal(), rtol=2e-3)
