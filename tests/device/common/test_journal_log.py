"""Log lines get a priority in systemd's journal (here a file stands in for it) and are plain elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = """
import logging
from device.common.journal_log import log_to_stderr
log_to_stderr()
logging.getLogger("sortbin").info("connected")
logging.getLogger("device.cameras").warning("no picture")
logging.getLogger("sortbin").error("two\\nlines")
raise ZeroDivisionError("a bug")
"""


def said(script: str, log: Path, *, journal: bool) -> list[str]:
    with log.open("w") as stderr:
        status = os.fstat(stderr.fileno())
        environment = os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino if journal else 1}"}
        subprocess.run([sys.executable, "-c", script], stderr=stderr, env=environment, timeout=60, check=False)
    return log.read_text().splitlines()


def test_each_line_has_its_priority(tmp_path: Path) -> None:
    lines = said(CRASH, tmp_path / "log", journal=True)
    assert lines[:5] == ["<6>INFO connected", "<4>WARNING no picture", "<3>ERROR two", "<3>lines", "<2>CRITICAL crashed"]
    assert lines[-1] == "<2>ZeroDivisionError: a bug"
    assert all(line.startswith("<2>") for line in lines[4:])


def test_on_a_terminal_or_in_a_file_lines_are_plain(tmp_path: Path) -> None:
    assert said(CRASH, tmp_path / "log", journal=False)[:2] == ["INFO connected", "WARNING no picture"]


@pytest.mark.parametrize("journal", [True, False])
def test_what_cannot_be_made_safe_is_an_error(journal: bool, tmp_path: Path) -> None:
    script = f"import sys; from device.cli import main; sys.exit(main(['gate', '--release', '--config', {str(tmp_path / 'none.toml')!r}]))"
    (line,) = said(script, tmp_path / "log", journal=journal)
    assert line.startswith("<3>sortbin gate: " if journal else "sortbin gate: ")
