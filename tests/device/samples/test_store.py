"""A folder of samples is read as far as possible; what cannot be used is named."""

import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.samples.store import SampleNote, read_samples
from device.vision.inference.images import PictureError

NOTE: dict[str, Any] = {
    "item": "7f3a",
    "label": "glass",
    "p": 0.6,
    "probabilities": {"glass": 0.6, "metal": 0.4},
    "bin": "trash",
    "reason": "unsure",
    "bundle": "trashnet",
    "time": "2026-11-20T09:15:00.000Z",
}


def put(folder: Path, name: str = "20261120T0915-7f3a.jpg", note: bytes | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / name
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    if note is not None:
        picture.with_suffix(".json").write_bytes(note)
    return picture


def test_a_picture_comes_with_the_note_beside_it(tmp_path: Path) -> None:
    picture = put(tmp_path, note=json.dumps(NOTE | {"mask": [100, 20, 2952], "embedding": [0.5, -1.25]}).encode())
    found = read_samples(tmp_path)
    assert found.problems == ()
    (frame,) = found.samples
    assert frame.picture == picture
    assert frame.note is not None
    assert (frame.note.item, frame.note.probabilities, frame.note.reason) == ("7f3a", {"glass": 0.6, "metal": 0.4}, "unsure")
    assert (frame.note.mask, frame.note.embedding) == ((100, 20, 2952), (0.5, -1.25))


def test_a_picture_without_a_note_is_no_problem(tmp_path: Path) -> None:
    put(tmp_path)
    found = read_samples(tmp_path)
    assert [frame.note for frame in found.samples] == [None]
    assert found.problems == ()


def test_subfolders_are_read_and_unknown_keys_ignored(tmp_path: Path) -> None:
    put(tmp_path / "bin-b", note=json.dumps(NOTE | {"sharpness": 0.2}).encode())
    put(tmp_path / "bin-a", note=json.dumps(NOTE).encode())
    found = read_samples(tmp_path)
    assert [frame.picture.parent.name for frame in found.samples] == ["bin-a", "bin-b"]
    assert all(frame.note for frame in found.samples)


@pytest.mark.parametrize(
    ("note", "said"),
    [
        (b"", "truncated"),
        (b'{"item": "7f3a"', "truncated"),
        (b"\xff\xfe", "7f3a.json"),
        (json.dumps({key: value for key, value in NOTE.items() if key != "label"}).encode(), "missing key"),
        (json.dumps(NOTE | {"p": 1.5}).encode(), "p: expected a number of at most 1"),
        (json.dumps(NOTE | {"probabilities": {"metal": 1.0}}).encode(), "probabilities: expected one for the label glass"),
    ],
)
def test_a_damaged_note_is_named_and_its_picture_stays(note: bytes, said: str, tmp_path: Path) -> None:
    put(tmp_path, note=note)
    found = read_samples(tmp_path)
    assert [frame.note for frame in found.samples] == [None]
    (problem,) = found.problems
    assert problem.startswith(str(tmp_path / "20261120T0915-7f3a.json"))
    assert said in problem
    assert "\n" not in problem


@pytest.mark.parametrize("damage", ["empty", "text", "half", "last byte"])
def test_a_damaged_picture_is_named_and_left_out(damage: str, tmp_path: Path) -> None:
    good, bad = put(tmp_path, "good.jpg"), put(tmp_path, "bad.jpg")
    data = bad.read_bytes()
    bad.write_bytes({"empty": b"", "text": b"no picture", "half": data[: len(data) // 2], "last byte": data[:-1]}[damage])
    found = read_samples(tmp_path)
    assert [frame.picture for frame in found.samples] == [good]
    (problem,) = found.problems
    assert problem.startswith(f"{bad}: ")
    assert "\n" not in problem


@pytest.mark.parametrize("what", ["missing", "empty", "a file", "refused by the system"])
def test_a_folder_without_pictures_is_named_and_refused(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    if what == "empty":
        folder.mkdir()
    if what == "a file":
        folder = put(tmp_path)
    if what == "refused by the system":
        folder = tmp_path / ("x" * 300)
    with pytest.raises(PictureError, match=folder.name):
        read_samples(folder)


share = st.floats(0, 1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    probabilities=st.dictionaries(st.text(min_size=1), share, min_size=1, max_size=5),
    words=st.tuples(*[st.text()] * 5),
    mask=st.none() | st.lists(st.integers(0, 10_000)).map(tuple),
    embedding=st.none() | st.lists(st.floats(-1e6, 1e6)).map(tuple),
)
def test_every_note_is_read_back_as_written(
    probabilities: dict[str, float],
    words: tuple[str, ...],
    mask: tuple[int, ...] | None,
    embedding: tuple[float, ...] | None,
    tmp_path: Path,
) -> None:
    item, into, reason, bundle, when = words
    label = max(probabilities, key=lambda name: probabilities[name])
    note = SampleNote(
        item=item,
        label=label,
        p=probabilities[label],
        probabilities=probabilities,
        bin=into,
        reason=reason,
        bundle=bundle,
        time=when,
        mask=mask,
        embedding=embedding,
    )
    put(tmp_path, note=msgspec.json.encode(note))
    assert [frame.note for frame in read_samples(tmp_path).samples] == [note]
