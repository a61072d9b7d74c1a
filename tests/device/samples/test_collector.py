"""The sample collector: which frames it stores, in what form, and that they never fill the disk."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from device.samples.collector import KeepSettings, Sample, SampleCollector, run_lengths
from device.samples.store import SampleNote, read_samples
from device.vision.inference.preprocess import Pixels

RNG = np.random.default_rng(0)
CLEAR = np.zeros((60, 80), np.uint8)
CLEAR[20:40, 30:50] = 255


def sample(number: int, reason: str, *, mask: Pixels | None = CLEAR, embedding: np.ndarray | None = None) -> Sample:
    note = SampleNote(
        item=f"item{number}",
        label="glass",
        p=0.8,
        probabilities={"glass": 0.8, "metal": 0.2},
        bin="rest",
        reason=reason,
        bundle="tiny",
        time=f"2026-11-21T10:00:{number:02}.000Z",
    )
    pixels = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return Sample(pixels, mask, (RNG.random(32) if embedding is None else embedding).astype(np.float32), note)


def stored(folder: Path, *samples: Sample, most_mib: float = 50.0) -> list[SampleNote]:
    """The notes in the folder after these samples were offered."""
    collector = SampleCollector(KeepSettings(str(folder), most_mib))
    for each in samples:
        collector.offer(each)
    collector.close(20.0)
    found = read_samples(folder)
    assert found.problems == ()
    return [frame.note for frame in found.samples if frame.note is not None]


def test_rejected_items_are_stored_and_can_be_read_back(tmp_path: Path) -> None:
    notes = stored(tmp_path, *(sample(i, reason) for i, reason in enumerate(("unsure", "unknown", "safe_mode"))))
    assert [note.reason for note in notes] == ["unsure", "unknown", "safe_mode"]
    assert notes[0].mask is not None and sum(notes[0].mask) == 60 * 80 and sum(notes[0].mask[1::2]) == 400
    assert notes[0].embedding is not None and len(notes[0].embedding) == 32


def test_sorted_items_are_stored_only_if_unlike_stored_ones(tmp_path: Path) -> None:
    one, other = np.eye(32)[0] + 0.1, np.eye(32)[1] + 0.1
    notes = stored(tmp_path, *(sample(i, "confident", embedding=each) for i, each in enumerate((one, 2 * one, other, other))))
    assert [(note.item, note.reason) for note in notes] == [("item0", "unlike"), ("item2", "unlike")]


def test_hands_and_frames_without_isolation_are_never_stored(tmp_path: Path) -> None:
    arm = CLEAR.copy()
    arm[25:35, 30:] = 255
    only = sample(2, "unknown")
    assert [note.item for note in stored(tmp_path, sample(0, "unknown", mask=arm), sample(1, "unknown", mask=None), only)] == ["item2"]


def test_other_pictures_in_the_folder_are_neither_counted_nor_deleted(tmp_path: Path) -> None:
    holiday = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8))[1].tobytes()
    (tmp_path / "holiday.jpg").write_bytes(holiday)
    assert len(stored(tmp_path, *(sample(i, "unsure") for i in range(3)), most_mib=len(holiday) / 2**20)) == 3
    assert (tmp_path / "holiday.jpg").read_bytes() == holiday


def test_oldest_samples_are_deleted_to_stay_within_the_quota(tmp_path: Path) -> None:
    stored(tmp_path, *(sample(i, "unsure") for i in range(3)))
    one = sum(file.stat().st_size for file in tmp_path.iterdir()) / 3
    notes = stored(tmp_path, *(sample(i, "unsure") for i in range(3, 8)), most_mib=4.5 * one / 2**20)
    assert [note.item for note in notes] == ["item4", "item5", "item6", "item7"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4.5 * one


def test_nothing_is_stored_unless_a_folder_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    collector = SampleCollector(KeepSettings())
    collector.offer(sample(0, "unknown"))
    collector.close()
    assert list(tmp_path.iterdir()) == []


def test_write_errors_are_logged_and_collecting_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    collector = SampleCollector(KeepSettings(str(tmp_path / "file" / "below")))
    for i in range(3):
        collector.offer(sample(i, "unknown"))
    collector.close(20.0)
    assert caplog.text.count("a frame was not stored for review") == 3


@given(arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_run_lengths_cover_every_pixel(item: np.ndarray) -> None:
    lengths = run_lengths(item)
    assert np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).tolist() == item.ravel().tolist()
    assert all(lengths[1:])
