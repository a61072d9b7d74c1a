"""The journal keeps every acknowledged row, whatever ends the process."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from training.review.decisions import Discarded, Labelled, Undone
from training.review.journal import FILE, Journal, JournalError

A, B = "a" * 64, "b" * 64


def labelled(picture: str = A, label: str = "glass") -> Labelled:
    return Labelled(at="2026-11-20T09:15:00.000Z", picture=picture, name="x.jpg", guess="glass", label=label)


def discarded(picture: str = B) -> Discarded:
    return Discarded(at="2026-11-20T09:15:01.000Z", picture=picture, name="y.jpg", guess=None)


ROWS = [labelled(), labelled(label="纸"), discarded(), Undone(at="2026-11-20T09:15:02.000Z")]


def written(folder: Path) -> bytes:
    journal = Journal(folder)
    for row in ROWS:
        journal.append(row)
    journal.close()
    return (folder / FILE).read_bytes()


def reopened(folder: Path) -> list[object]:
    journal = Journal(folder)
    journal.close()
    return list(journal.rows)


def test_rows_come_back_in_order_as_one_line_of_json_each(tmp_path: Path) -> None:
    data = written(tmp_path)
    assert reopened(tmp_path) == ROWS
    assert len(data.splitlines()) == len(ROWS)
    assert "纸" in data.decode()


def test_a_cut_last_line_is_dropped_and_earlier_lines_stay(tmp_path: Path) -> None:
    data = written(tmp_path)
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(data)):
        (tmp_path / FILE).write_bytes(data[:cut])
        assert reopened(tmp_path) == ROWS[:-1]
        assert (tmp_path / FILE).read_bytes() == data[:last]


def test_zeros_that_a_power_cut_left_behind_are_cut_off(tmp_path: Path) -> None:
    data = written(tmp_path)
    (tmp_path / FILE).write_bytes(data + bytes(512))
    assert reopened(tmp_path) == ROWS
    assert (tmp_path / FILE).read_bytes() == data


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{}", "line 5"),
        (b'{"what":"labelled","at":"","picture":"' + A.encode() + b'","name":"x","guess":null,"label":"../up"}', "label ../up"),
        (b'{"what":"discarded","at":"","picture":"../x","name":"x","guess":null}', "picture"),
        (b'{"what":"undone","at":""}\n' * 3 + b'{"what":"undone","at":""}', "nothing to undo"),
        (b"\xff", "line 5"),
    ],
)
def test_a_malformed_line_is_refused_by_number_and_nothing_is_changed(line: bytes, said: str, tmp_path: Path) -> None:
    data = written(tmp_path) + line + b"\n"
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(JournalError, match=FILE) as refused:
        Journal(tmp_path)
    assert said in str(refused.value)
    assert "line " in str(refused.value)
    assert (tmp_path / FILE).read_bytes() == data


def test_a_second_review_of_a_folder_is_refused_while_one_runs(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(JournalError, match="another `training review`"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


def test_a_row_is_on_disk_when_it_counts_as_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def watched(opened: int) -> None:
        fsync(opened)
        synced.append(os.fstat(opened).st_size)

    journal = Journal(tmp_path)
    monkeypatch.setattr(os, "fsync", watched)
    for row in ROWS:
        journal.append(row)
        assert synced[-1] == (tmp_path / FILE).stat().st_size
    assert len(synced) == len(ROWS)
    journal.close()


def test_a_row_on_a_full_disk_is_refused_and_leaves_nothing(tmp_path: Path, limited_to: Callable[[int | None], None]) -> None:
    data = written(tmp_path)
    journal = Journal(tmp_path)
    limited_to(len(data) + 10)
    with pytest.raises(JournalError, match="not stored"):
        journal.append(labelled(B))
    limited_to(None)
    assert (tmp_path / FILE).read_bytes() == data
    assert journal.rows == ROWS
    journal.append(labelled(B))
    journal.close()
    assert reopened(tmp_path) == [*ROWS, labelled(B)]
