"""A child process that answers, refuses, crashes or hangs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from device.common.run_in_subprocess import ChildFault, ask, peak_memory_mib

BEGIN = "from device.common.run_in_subprocess import reply\n"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module for the other process and returns its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(body: str) -> str:
        (tmp_path / "asked.py").write_text(BEGIN + body)
        return "asked"

    return write


def test_the_answer_comes_back_whatever_else_is_printed(asked: Callable[[str], str]) -> None:
    module = asked("import os\nprint('noise'); os.write(2, b'more\\n')\nreply(list[int], lambda numbers: {'sum': sum(numbers)})")
    assert ask(module, [1, 2, 39], dict[str, int], timeout_s=60) == {"sum": 42}


def test_a_refusal_keeps_its_message(asked: Callable[[str], str]) -> None:
    module = asked(
        "from device.common.errors import SortbinError\n"
        "def refuse(asked):\n    print('noise')\n    raise SortbinError(f'{asked}: no such thing')\nreply(str, refuse)"
    )
    with pytest.raises(ChildFault, match=r"^Ünique: no such thing$"):
        ask(module, "Ünique", str, timeout_s=60)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os\nprint('last words', flush=True)\nos.kill(os.getpid(), 9)", "^crashed with SIGKILL: last words$"),
        ("import os\nos.write(2, b'cannot map\\n\\n')\nos.abort()", "^crashed with SIGABRT: cannot map$"),
        ("raise RuntimeError('no\\nluck today')", "^failed: luck today$"),
        ("import sys\nsys.exit(7)", "^failed with exit status 7$"),
        ("import time\ntime.sleep(600)", "^no answer within 1 s, ended$"),
    ],
)
def test_a_process_that_does_not_answer_is_one_clear_line(asked: Callable[[str], str], body: str, message: str) -> None:
    with pytest.raises(ChildFault, match=message):
        ask(asked(body), "x" * 300_000, str, timeout_s=1 if "sleep" in body else 60)


def test_peak_memory_is_read_from_the_process_itself(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t    2048 kB\n")
    assert peak_memory_mib(status) == 2
    assert peak_memory_mib(tmp_path / "none") is None
