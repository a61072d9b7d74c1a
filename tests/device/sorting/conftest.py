"""A bin with plain photos as items, and a head that renames labels."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converter.bundle.embedding_stats import fit_embedding_stats
from device.vision.fewshot.examples import EmbeddedPhoto, to_examples
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier, Outputs
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import paint
from tests.device.virtual import Bench, BenchSetup, photos


@pytest.fixture
def bench(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> Iterator[Callable[..., Bench]]:
    """`bench("glass", "paper")`: a bin into which these labels are thrown one after the other."""
    opened: list[Bench] = []

    def make(*labels: str, **more: Any) -> Bench:
        things = photos(tmp_path, painted, labels)
        opened.append(Bench(tiny_bundle, tmp_path / "state", things, BenchSetup(**more)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def taught_as(renamed: dict[str, str], tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> FewshotHead:
    """Teach each label's colour under another name."""
    classifier, rng = Classifier(tiny_bundle), np.random.default_rng(0)

    def outputs(label: str) -> Outputs:
        noisy = painted(label, 48, 64) * rng.uniform(0.85, 1) + rng.normal(0, 6, (48, 64, 3))
        mask = np.zeros((48, 64), np.uint8)
        mask[4:44, 5:59] = 255
        return classifier.outputs(paint(np.clip(noisy, 0, 255).astype(np.uint8), mask, tiny_bundle.info.ground))

    labels = tiny_bundle.info.labels
    trained = [(number, outputs(label)) for number, label in enumerate(labels) for _ in range(12)]
    reference = fit_embedding_stats(np.stack([made.embedding for _, made in trained]), np.array([number for number, _ in trained]), len(labels))
    shown = [EmbeddedPhoto(renamed.get(label, label), [outputs(label)], isolated=True) for label in labels for _ in range(8)]
    return teach(to_examples(shown, tiny_bundle), tiny_bundle, reference, None, only=False)
