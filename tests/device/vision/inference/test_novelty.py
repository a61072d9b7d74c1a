"""The novelty score and its model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.bundle.novelty import PROTOTYPES, fit_novelty_model
from device.vision.inference.bundle import Bundle, BundleError, read_bundle, write_bundle
from device.vision.inference.novelty import (
    FILE,
    NoveltyModel,
    expected_novelty,
    fit_novelty,
    head_doubts,
    normalize,
    prototype_distances,
    read_novelty_model,
)

FEATURES = 40
MIDDLES = np.abs(np.random.default_rng(0).normal(size=(4, FEATURES)))


def photos(count: int, seed: int, labels: tuple[int, ...] = (0, 1, 2)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings near the middles of these labels, their labels, and probabilities of the first three labels, less sure away from the middles."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(labels, count)
    embeddings = (MIDDLES[targets] + rng.normal(0, 0.3, (count, FEATURES))).astype(np.float32)
    logits = -((embeddings[:, np.newaxis] - MIDDLES[:3]) ** 2).sum(axis=2) / 4
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return embeddings, targets, powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def known() -> NoveltyModel:
    embeddings, targets, _ = photos(200, 1)
    unseen, _, probabilities = photos(600, 2)
    return fit_novelty_model(embeddings, targets, unseen, probabilities)


def scores(known: NoveltyModel, *drawn: object) -> np.ndarray:
    embeddings, _, probabilities = photos(*drawn)  # type: ignore[arg-type]
    return np.array([known.score(*pair) for pair in zip(embeddings, probabilities, strict=True)])


def test_scores_of_known_photos_are_quantiles(known: NoveltyModel) -> None:
    found = scores(known, 2000, 3)
    for share in (0.25, 0.5, 0.9, 0.95):
        assert (found > share).mean() == pytest.approx(1 - share, abs=0.06)


def test_items_unlike_every_label_score_higher(known: NoveltyModel) -> None:
    assert scores(known, 100, 4, (3,)).min() > 0.98


def test_scores_rise_up_to_1_beyond_the_strangest_known_photo(known: NoveltyModel) -> None:
    away = np.random.default_rng(5).normal(size=FEATURES)
    embeddings = [MIDDLES[0] + far * away for far in (0, 1, 2, 4, 8)]
    found = [known.score(embedding, np.array([0.5, 0.3, 0.2])) for embedding in embeddings]
    assert found == sorted(found)
    assert 0 <= found[0] < found[-1] <= 1
    assert known.score(np.zeros(FEATURES), np.array([1.0, 0.0, 0.0])) <= 1


@given(nats=st.lists(st.floats(0, 14), min_size=2, max_size=2).map(sorted))
def test_excluded_evidence_raises_the_score_above_the_usual(known: NoveltyModel, nats: list[float]) -> None:
    embeddings, _, probabilities = photos(60, 6)
    parts = prototype_distances(embeddings, known.prototypes), head_doubts(probabilities)
    after = replace(fit_novelty(known.prototypes, *parts), usual=1.5)
    of = [after.score(embeddings[0], probabilities[0], out) for out in (0.0, *nats)]
    assert of[0] <= of[1] <= of[2]
    assert of[0] == of[1] or nats[0] > 1.5
    assert of[2] > 0.98 or nats[1] < 12
    assert known.score(embeddings[0], probabilities[0], nats[1]) == known.score(embeddings[0], probabilities[0])


@given(more=st.floats(0, 20), score=st.floats(0, 0.998))
def test_tolerating_more_strangeness_moves_the_scores(known: NoveltyModel, more: float, score: float) -> None:
    bound = known.strangeness_at(score)
    far = np.array([known.distance[0] + bound * known.distance[1]], np.float64)
    nothing = np.zeros(1)
    assert known.scores(far, nothing + known.doubt[0], nothing)[0] == pytest.approx(score, abs=0.01)
    further = far + more * known.distance[1]
    assert known.tolerating(more).scores(further, nothing + known.doubt[0], nothing)[0] == pytest.approx(score, abs=0.01)


@given(far=st.floats(0, 1), p=st.floats(0.3, 0.999), excluded=st.floats(0, 10), count=st.integers(1, 30))
def test_a_taught_site_grows_more_familiar_with_every_photo(far: float, p: float, excluded: float, count: int) -> None:
    """With the expected model, which does not depend on the photos, only the nearest of them counts."""
    embeddings = photos(31, 8)[0].astype(np.float64)
    item = embeddings[-1] + far * np.random.default_rng(9).normal(size=FEATURES)
    fewer, all_of_them = (expected_novelty(normalize(embeddings[:number]), 0.15, 0.04, 1.0) for number in (count, 30))
    scores = [model.score(item, np.array([p, 1 - p]), excluded) for model in (fewer, all_of_them)]
    assert scores[1] <= scores[0] + 1e-6


def test_prototypes_are_few_and_reproducible(known: NoveltyModel) -> None:
    assert known.prototypes.shape == (3 * PROTOTYPES, FEATURES)
    embeddings, targets, _ = photos(200, 1)
    unseen, _, probabilities = photos(600, 2)
    again = fit_novelty_model(embeddings, targets, unseen, probabilities)
    assert (again.prototypes == known.prototypes).all() and (again.quantiles == known.quantiles).all()


def test_a_damaged_novelty_file_is_refused(known: NoveltyModel, tiny_copy: Bundle) -> None:
    assert read_novelty_model(tiny_copy) is None
    known.write(tiny_copy.folder / FILE)
    bundle = write_bundle(tiny_copy.folder, tiny_copy.info)
    read = read_novelty_model(read_bundle(bundle.folder))
    assert read is not None and (read.prototypes == known.prototypes).all() and int(read.photos) == 600
    Path(bundle.folder / FILE).write_bytes(b"PK no archive")
    with pytest.raises(BundleError, match=r"known\.npz"):
        read_novelty_model(write_bundle(bundle.folder, bundle.info))
