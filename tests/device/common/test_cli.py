"""Every command: an error of the system is one line, and any text can be printed."""

import argparse
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from device.common.cli import float_range, int_range, run


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


def test_a_bug_is_not_hidden(failing: list[OSError]) -> None:
    failing.append(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    with pytest.raises(OSError, match="Bad file descriptor"):
        run("program", "", "commands", ["write"], ["write"])


def test_a_package_that_cannot_be_imported_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As OpenCV or TensorFlow Lite with a NumPy that they were not built for."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/write.py").write_text("raise ValueError('numpy.dtype size changed,\\nmay indicate binary incompatibility')")
    monkeypatch.syspath_prepend(tmp_path)
    assert run("program", "", "broken", ["write"], ["write"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("program write: cannot be loaded (ValueError: numpy.dtype size changed, may indicate") and said.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_can_be_printed_in_any_terminal(encoding: str, tmp_path: Path) -> None:
    said = ["Müll", "可回收物", "\U0001f5d1", "\udcff"]
    (tmp_path / "package").mkdir()
    (tmp_path / "package/say.py").write_text(
        f"import json\ndef run(arguments):\n    print(json.dumps({said!r}, ensure_ascii=False))\n    return 0\n"
        "def add_parser(commands):\n    commands.add_parser('say').set_defaults(run=run)\n",
        encoding="utf-8",
    )
    (tmp_path / "main.py").write_text("import sys\nfrom device.common.cli import run\nsys.exit(run('program', '', 'package', ['say'], None))")
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, tmp_path / "main.py", "say"], env=environment, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout.decode(encoding)) == said


@pytest.mark.parametrize(
    ("parse", "accepted", "refused", "expected"),
    [
        (int_range(2), "2", "1", "a whole number of at least 2"),
        (int_range(0, 255), "255", "256", "a whole number from 0 to 255"),
        (int_range(0), "0", "1.5", "a whole number of at least 0"),
        (float_range(ge=0, le=10, unit="seconds"), "10", "10.1", "a number of seconds from 0 to 10"),
        (float_range(gt=0, unit="seconds"), "0.1", "0", "a number of seconds above 0"),
        (float_range(ge=0, lt=1), "0", "1", "a number of at least 0 and below 1"),
        (float_range(unit="points"), "-3.5", "inf", "a number of points"),
        (float_range(ge=0), "1e3", "few", "a number of at least 0"),
    ],
)
def test_options_refuse_numbers_outside_their_range(parse: Callable[[str], float], accepted: str, refused: str, expected: str) -> None:
    assert parse(accepted) == float(accepted)
    with pytest.raises(argparse.ArgumentTypeError) as error:
        parse(refused)
    assert str(error.value) == f"expected {expected}, found {refused}"
