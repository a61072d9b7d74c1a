"""What teaches most is shown first."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.review.frames import read_frames, uncertainty


def test_frames_without_a_guess_come_first_then_the_least_sure(kept: Path) -> None:
    found = read_frames(kept)
    assert [frame.name.removesuffix(".jpg")[-1] for frame in found.frames] == ["e", "d", "c", "b", "a"]
    assert [frame.guess for frame in found.frames] == [None, "metal", "paper", "glass", "glass"]
    assert found.problems == ()


def test_unknown_items_come_before_all_others(kept: Path, frame: Callable, note: Callable) -> None:
    frame(kept, "20261120T0915-u", (9, 9, 9), note("u", {"glass": 0.99, "metal": 0.01}, reason="unknown"))
    assert read_frames(kept).frames[0].name == "20261120T0915-u.jpg"


def test_the_same_picture_twice_is_shown_once_and_said(kept: Path) -> None:
    copy = kept / "copy.jpg"
    copy.write_bytes((kept / "20261120T0915-a.jpg").read_bytes())
    found = read_frames(kept)
    assert len(found.frames) == 5
    assert found.problems == (f"{copy}: the same picture as 20261120T0915-a.jpg; left out",)


def test_a_label_typed_on_another_system_is_the_same_guess(tmp_path: Path, frame: Callable, note: Callable) -> None:
    frame(tmp_path, "x", (9, 9, 9), note("x", {"Cafe\u0301": 1.0}))
    (found,) = read_frames(tmp_path).frames
    assert found.guess == "Caf\u00e9"
    assert found.probabilities == {"Caf\u00e9": 1.0}


@given(st.lists(st.floats(1e-9, 1), min_size=2, max_size=8))
def test_uncertainty_is_a_share_that_only_an_even_posterior_fills(weights: list[float]) -> None:
    posterior = [weight / sum(weights) for weight in weights]
    assert -1e-9 <= uncertainty(posterior) <= 1 + 1e-9
    even = [1 / len(posterior)] * len(posterior)
    assert uncertainty(even) == pytest.approx(1)
    assert uncertainty([1.0, *[0.0] * len(posterior)]) == 0
