"""Batches: which views teachers are asked about, and the loss of their answers."""

from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from converter.data.photos import Split, read_split
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import to_float
from training.fit.augment import AUGMENTATIONS, Augmentation
from training.fit.batches import BatchSpec, TrainingBatches, TrainingExamples
from training.fit.distillation import distillation_loss

LABELS = 3
CARD = np.full(3, 225, np.uint8)


def batches(
    split: Split,
    teach: Callable[[Float32Array], Float32Array],
    *,
    untaught: int = 0,
    mixup: float = 0.0,
    augmentation: Augmentation = AUGMENTATIONS["none"],
) -> TrainingBatches:
    photos = split.train
    targets = np.eye(LABELS, dtype=np.float32)[[split.labels.index(photo.label) for photo in photos]]
    widths, weights = {"logits": LABELS}, np.ones(len(photos), np.float32)
    spec = BatchSpec(32, 8, mixup, 0.0, augmentation, seed=1)
    return TrainingBatches(TrainingExamples(photos, targets, widths, weights, untaught), spec, teach=teach)


def fair(inputs: Float32Array) -> Float32Array:
    return np.full((len(inputs), LABELS), 1 / LABELS, np.float32)


@pytest.fixture
def item_photos(tmp_path: Path) -> Path:
    """Twelve photos a label: a block of one colour on pale card."""
    for label, colour in enumerate([(30, 30, 200), (30, 160, 30), (200, 60, 20)]):
        (tmp_path / f"label{label}").mkdir()
        for number in range(12):
            photo = np.full((64, 64, 3), CARD, np.uint8)
            photo[20 : 36 + number % 5, 22:44] = colour
            cv2.imwrite(str(tmp_path / f"label{label}" / f"{number}.png"), photo)
    return tmp_path


@pytest.fixture
def split(shapes: Path) -> Split:
    return read_split(shapes, seed=3)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_teachers_are_not_asked_about_extra_photos(split: Split, mixup: float) -> None:
    asked: list[int] = []

    def counted(inputs: Float32Array) -> Float32Array:
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


def test_teachers_are_not_asked_about_pasted_items(item_photos: Path) -> None:
    split, asked = read_split(item_photos, seed=3), []

    def remembered(inputs: Float32Array) -> Float32Array:
        asked.extend(inputs)
        return fair(inputs)

    elsewhere = msgspec.structs.replace(AUGMENTATIONS["none"], elsewhere_share=0.5)
    made = batches(split, remembered, augmentation=elsewhere)
    inputs, heard = zip(*((inputs, targets["logits"][:, -1] == 1) for inputs, targets, _ in (made[index] for index in range(len(made)))), strict=True)
    on_card = [np.abs(view[[0, 0, -1, -1], [0, -1, 0, -1]] - to_float(CARD)).max() < 0.02 for view in np.concatenate(inputs)]
    np.testing.assert_array_equal(np.concatenate(heard), on_card)
    assert 0 < len(asked) == sum(on_card) < len(on_card)


def test_without_a_teachers_answer_only_the_label_counts() -> None:
    logits = np.array([[2.0, 0.0, -1.0]] * 2, np.float32)
    label, answer = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    heard, unheard = np.asarray(distillation_loss(0.0, 0.6, 1.0)(np.array([[*label, *answer, 1.0], [*label, 0, 0, 0, 0.0]], np.float32), logits))
    nll = np.log(np.exp(logits[0]).sum()) - logits[0]
    assert unheard == pytest.approx(nll[0], rel=1e-5)
    assert heard == pytest.approx(0.4 * nll[0] + 0.6 * nll[1], rel=1e-5)
