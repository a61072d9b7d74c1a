"""Batches: what teachers are asked about, and what the loss then makes of their answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converter.photos import Split, read_split
from training.augment import AUGMENTATIONS
from training.batches import Batches, Floats
from training.distillation import blended_loss

LABELS = 3


def batches(split: Split, teach: Callable[[Floats], Floats], *, untaught: int, mixup: float = 0.0) -> Batches:
    photos = split.train
    targets = np.eye(LABELS, dtype=np.float32)[[split.labels.index(photo.label) for photo in photos]]
    widths, weights = {"logits": LABELS}, np.ones(len(photos), np.float32)
    views = {"size": 32, "batch": 8, "mixup": mixup, "cutmix": 0.0, "augmentation": AUGMENTATIONS["none"], "seed": 1}
    return Batches(photos, targets, widths, weights, **views, teach=teach, untaught=untaught)


def fair(inputs: Floats) -> Floats:
    return np.full((len(inputs), LABELS), 1 / LABELS, np.float32)


@pytest.fixture
def split(shapes: Path) -> Split:
    return read_split(shapes, seed=3)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_teachers_are_asked_about_photos_of_their_own_kind_alone(split: Split, mixup: float) -> None:
    asked: list[int] = []

    def counted(inputs: Floats) -> Floats:
        asked.append(len(inputs))
        return fair(inputs)

    untaught = len(split.train) // 3
    given = [batches(split, counted, untaught=untaught, mixup=mixup)[index] for index in range(len(split.train) // 8 + 1)]
    heard = np.concatenate([targets["logits"][:, -1] for _, targets, _ in given])
    assert heard.sum() == sum(asked) == len(split.train) - untaught
    for _, targets, _ in given:
        answers = targets["logits"][:, LABELS:-1]
        np.testing.assert_array_equal(answers[targets["logits"][:, -1] == 1], np.float32(1 / LABELS))
        assert not answers[targets["logits"][:, -1] == 0].any()


def test_without_a_teachers_answer_the_label_alone_counts() -> None:
    logits = np.array([[2.0, 0.0, -1.0]] * 2, np.float32)
    label, answer = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    heard, unheard = np.asarray(blended_loss(0.0, 0.6, 1.0)(np.array([[*label, *answer, 1.0], [*label, 0, 0, 0, 0.0]], np.float32), logits))
    nll = np.log(np.exp(logits[0]).sum()) - logits[0]
    assert unheard == pytest.approx(nll[0], rel=1e-5)
    assert heard == pytest.approx(0.4 * nll[0] + 0.6 * nll[1], rel=1e-5)
