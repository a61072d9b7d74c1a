"""Frames that are kept: which, how they are written, and that they never fill the disk."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from device.samples.collector import KeepSettings, Sample, SampleCollector, runs
from device.samples.store import SampleNote, read_samples
from device.vision.inference.preprocess import Pixels

RNG = np.random.default_rng(0)
CLEAR = np.zeros((60, 80), np.uint8)
CLEAR[20:40, 30:50] = 255


def sighting(number: int, reason: str, *, mask: Pixels | None = CLEAR, embedding: np.ndarray | None = None) -> Sample:
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


def kept(folder: Path, *sightings: Sample, most_mib: float = 50.0) -> list[SampleNote]:
    """The notes of what is in the folder after these."""
    keeper = SampleCollector(KeepSettings(str(folder), most_mib))
    for each in sightings:
        keeper.offer(each)
    keeper.close(20.0)
    found = read_samples(folder)
    assert found.problems == ()
    return [frame.note for frame in found.frames if frame.note is not None]


def test_unsure_rejected_and_unknown_items_are_kept_and_can_be_read_back(tmp_path: Path) -> None:
    notes = kept(tmp_path, *(sighting(i, reason) for i, reason in enumerate(("unsure", "unknown", "safe_mode"))))
    assert [note.reason for note in notes] == ["unsure", "unknown", "safe_mode"]
    assert notes[0].mask is not None and sum(notes[0].mask) == 60 * 80 and sum(notes[0].mask[1::2]) == 400
    assert notes[0].embedding is not None and len(notes[0].embedding) == 32


def test_of_sorted_items_only_those_unlike_the_kept_ones_are_kept(tmp_path: Path) -> None:
    one, other = np.eye(32)[0] + 0.1, np.eye(32)[1] + 0.1
    notes = kept(tmp_path, *(sighting(i, "confident", embedding=each) for i, each in enumerate((one, 2 * one, other, other))))
    assert [(note.item, note.reason) for note in notes] == [("item0", "unlike"), ("item2", "unlike")]


def test_a_hand_or_a_frame_that_could_not_be_isolated_is_never_kept(tmp_path: Path) -> None:
    arm = CLEAR.copy()
    arm[25:35, 30:] = 255
    only = sighting(2, "unknown")
    assert [note.item for note in kept(tmp_path, sighting(0, "unknown", mask=arm), sighting(1, "unknown", mask=None), only)] == ["item2"]


def test_pictures_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    holiday = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8))[1].tobytes()
    (tmp_path / "holiday.jpg").write_bytes(holiday)
    assert len(kept(tmp_path, *(sighting(i, "unsure") for i in range(3)), most_mib=len(holiday) / 2**20)) == 3
    assert (tmp_path / "holiday.jpg").read_bytes() == holiday


def test_the_oldest_make_room_and_the_quota_holds(tmp_path: Path) -> None:
    kept(tmp_path, *(sighting(i, "unsure") for i in range(3)))
    one = sum(file.stat().st_size for file in tmp_path.iterdir()) / 3
    notes = kept(tmp_path, *(sighting(i, "unsure") for i in range(3, 8)), most_mib=4.5 * one / 2**20)
    assert [note.item for note in notes] == ["item4", "item5", "item6", "item7"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4.5 * one


def test_nothing_is_kept_unless_a_folder_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keeper = SampleCollector(KeepSettings())
    keeper.offer(sighting(0, "unknown"))
    keeper.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    keeper = SampleCollector(KeepSettings(str(tmp_path / "file" / "below")))
    for i in range(3):
        keeper.offer(sighting(i, "unknown"))
    keeper.close(20.0)
    assert caplog.text.count("a frame was not kept") == 3


@given(arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_runs_say_every_pixel(item: np.ndarray) -> None:
    lengths = runs(item)
    assert np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).tolist() == item.ravel().tolist()
    assert all(lengths[1:])
