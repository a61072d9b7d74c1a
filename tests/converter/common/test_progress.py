"""Progress on a terminal, and silenced libraries."""

import os
import select
import sys

import pytest

from converter.common.progress import Progress
from converter.common.silence import silenced
from device.common.errors import SortbinError

CLEAR = "\r\x1b[K"


def test_steps_are_shown_on_a_terminal_while_libraries_are_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        progress = Progress()
        with silenced():
            assert [*progress.track(["a", "b"], "looking at")] == ["a", "b"]
        progress.close()
        seen = ""
        while not seen.endswith(f"2/2{CLEAR}") and select.select([master], [], [], 5)[0]:
            seen += os.read(master, 1000).decode()
    os.close(master)
    assert seen == f"{CLEAR}looking at 1/2{CLEAR}looking at 2/2{CLEAR}"


def test_without_a_terminal_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.step("working")
    assert len(progress.track([1, 2, 3], "counting")) == 3
    progress.close()
    assert capfd.readouterr() == ("", "")


def test_library_output_is_shown_only_on_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced():
        os.write(2, b"chatter")
    with pytest.raises(SortbinError), silenced():
        os.write(1, b"chatter")
        raise SortbinError("the user's mistake")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RuntimeError), silenced():
        os.write(2, b"the reason")
        raise RuntimeError
    assert capfd.readouterr().err == "the reason"
