"""What the system refuses is told in one line, whichever command meets it."""

import errno
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from converter.commandline import run


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[OSError]:
    """A package with one command, `write`, which ends with the error put into this list."""
    errors: list[OSError] = []

    def fail(arguments: object) -> int:
        raise errors[0]

    write = ModuleType("commands.write")
    write.add_parser = lambda commands: commands.add_parser("write").set_defaults(run=fail)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "commands", ModuleType("commands"))
    monkeypatch.setitem(sys.modules, "commands.write", write)
    return errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "there/x"), "program write: there/x: Permission denied\n"),
        (FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), Path("there")), "program write: there: File exists\n"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "program write: No space left on device\n"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(failing: list[OSError], error: OSError, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(error)
    assert run("program", "", "commands", ["write"], ["write"]) == 2
    assert capsys.readouterr().err == said


def test_what_is_no_mistake_of_a_user_is_not_hidden(failing: list[OSError]) -> None:
    failing.append(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    with pytest.raises(OSError, match="Bad file descriptor"):
        run("program", "", "commands", ["write"], ["write"])
