from pathlib import Path

import numpy as np
import pytest

from benchmarks.several import KINDS, PAIRS, CutOut, StagedPicture, main, shown, summed
from device.policy.decision import Choice, Reason
from device.policy.rules import default_rules, read_rules
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
RULES = read_rules(default_rules(), LABELS)
COLOURS = {label: (40 * number + 20, 200 - 30 * number, 90) for number, label in enumerate(LABELS)}


def things() -> list[CutOut]:
    """Four discs of each label, each label in a colour of its own."""
    row, column = np.mgrid[:90, :120]
    mask = np.where(np.hypot((row - 45) / 44, (column - 60) / 59) < 1, 255, 0).astype(np.uint8)
    return [CutOut(label, np.full((90, 120, 3), COLOURS[label], np.uint8), mask) for label in LABELS for _ in range(4)]


def places() -> list[tuple[Pixels, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(rng.normal(brightness, 3, (240, 320, 3)).clip(0, 255).astype(np.uint8) for _ in range(4)) for brightness in (60, 120, 180, 240)]


def test_each_kind_occurs_as_often_as_asked_and_repeats_with_its_seed() -> None:
    made = [list(shown(things(), places(), RULES, 2, seed)) for seed in (1, 1, 2)]
    assert [(a.frame == b.frame).all() for a, b in zip(made[0], made[1], strict=True)] == [True] * len(made[0])
    assert not any((a.frame == b.frame).all() for a in made[0] for b in made[2])
    assert {picture.kind for picture in made[0]} == set(KINDS)
    assert all(len(picture.labels) == (2 if picture.kind in PAIRS else 1) for picture in made[0])
    assert all(sum(picture.kind == kind for picture in made[0]) <= 4 for kind in KINDS)
    assert all(picture.frame.shape == (240, 320, 3) and picture.frame.dtype == np.uint8 for picture in made[0])


def test_the_figures_count_what_was_chosen() -> None:
    def choice(into: str, reason: Reason) -> Choice:
        return Choice(into, "glass", 0.9, 0.9, 0.9, 0.1, reason)

    def picture(kind: str, *labels: str) -> StagedPicture:
        return StagedPicture(kind, labels, np.zeros((4, 4, 3), np.uint8), BackgroundModel())

    sure, apart = choice("glass", "confident"), choice("trash", "several")
    rows = summed(
        [
            (picture("one", "glass"), sure, sure),
            (picture("one", "metal"), sure, apart),
            (picture("apart", "glass", "metal"), sure, apart),
            (picture("apart", "glass", "glass"), sure, sure),
        ],
        RULES,
    )
    assert [(row.kind, row.mixed, row.n, row.right, row.confident, row.several) for row in rows] == [
        ("one", False, 2, (1, 1), (2, 1), 1),
        ("apart", False, 1, (1, 1), (1, 1), 0),
        ("apart", True, 1, (0, 0), (1, 0), 1),
    ]


def test_places_without_empty_views_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.several", "--places", str(tmp_path)])
    assert main() == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"benchmarks.several: {tmp_path}: expected folders of places")
