"""Fixtures of the few-shot tests: statistics, novelty model and a taught head over synthetic embeddings."""

import numpy as np
import pytest

from converter.bundle.embedding_stats import fit_embedding_stats
from converter.bundle.novelty import fit_novelty_model
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import NoveltyModel
from tests.device.vision.fewshot.synthetic import WORLD


@pytest.fixture(scope="module")
def reference() -> EmbeddingStats:
    targets = np.repeat(np.arange(6), 60)
    return fit_embedding_stats(WORLD.photos(targets, 1).astype(np.float32), targets, 6)


@pytest.fixture(scope="module")
def familiar() -> NoveltyModel:
    targets = np.repeat(np.arange(6), 60)
    trained, unseen = WORLD.photos(targets, 1), WORLD.photos(targets, 2)
    return fit_novelty_model(trained.astype(np.float32), targets, unseen.astype(np.float32), WORLD.before(unseen))


@pytest.fixture(scope="module")
def taught(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> FewshotHead:
    """A head with two new labels beside the six old ones: ten photos of each new label at another site, those of `pet` isolated."""
    can, pet = (WORLD.examples((label,), np.repeat([target], 10), 3, isolated=label == "pet") for label, target in (("can", 6), ("pet", 7)))
    return teach(can.followed_by(pet), tiny_bundle, reference, familiar, only=False)
