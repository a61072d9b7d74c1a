"""Refused starts: the first ends at once, later ones wait longer each time, until somebody changes something."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.daemon.refused_start_backoff import FILE, RestartBackoff

Run = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "sortbin.toml"
    file.write_text("[device]\nid = 7\n", encoding="utf-8")
    return file


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which systemd receives messages of the service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60.0)
        yield listener


@pytest.fixture
def run(tmp_path: Path, config: Path, manager: socket.socket) -> Iterator[Run]:
    """`run()` starts the service as systemd does."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "device.cli", "run", "--config", str(config)]
        environment = os.environ | {"RUNTIME_DIRECTORY": str(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def test_each_refused_start_waits_longer_up_to_a_minute(tmp_path: Path) -> None:
    starts = [RestartBackoff(tmp_path) for _ in range(9)]
    assert [start.add() for start in starts] == [0, 2, 4, 8, 16, 32, 60, 60, 60]
    starts[0].reset()
    assert starts[0].add() == 0


@pytest.mark.parametrize("text", ["", "x", "-3", "9" * 400])
def test_a_damaged_count_waits_a_minute_at_most(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    assert 0 <= RestartBackoff(tmp_path).add() <= 60


def test_without_a_folder_for_the_count_nothing_waits(tmp_path: Path) -> None:
    starts = RestartBackoff(tmp_path / "missing")
    assert [starts.add(), starts.add()] == [0, 0]


def test_the_first_refused_start_ends_at_once_with_its_reason(run: Run, tmp_path: Path) -> None:
    process = run()
    assert process.wait(60) == 2
    assert process.stderr is not None
    assert process.stderr.read() == f"ERROR {tmp_path}/sortbin.toml: device.id: expected text, found a whole number\n"


def waiting(run: Run, manager: socket.socket, tmp_path: Path) -> "subprocess.Popen[str]":
    """A start that was refused for the eighth time and waits."""
    (tmp_path / FILE).write_text("7\n")
    process = run()
    while b"tries again in 60 s" not in manager.recv(4096):
        pass
    assert process.poll() is None
    return process


def test_a_signal_ends_the_wait_and_resets_the_count(run: Run, manager: socket.socket, tmp_path: Path) -> None:
    process = waiting(run, manager, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert run().wait(60) == 2, "and ends at once"
    assert (tmp_path / FILE).read_text() == "1\n"


def test_a_command_that_cannot_be_imported_waits_too(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text("raise ImportError('half an upgrade')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    first = run()
    assert first.wait(60) == 2
    assert first.stderr is not None
    assert "half an upgrade" in first.stderr.read()
    assert (tmp_path / FILE).read_text() == "1\n"
    (tmp_path / FILE).write_text("7\n")
    second = run()
    while (tmp_path / FILE).read_text() != "8\n":
        time.sleep(0.01)
    second.send_signal(signal.SIGTERM)
    assert second.wait(10) == 2
    assert not (tmp_path / FILE).exists()


def test_changed_settings_end_the_wait(run: Run, manager: socket.socket, config: Path, tmp_path: Path) -> None:
    process = waiting(run, manager, tmp_path)
    config.write_text("[device]\nid = 8\n", encoding="utf-8")
    assert process.wait(10) == 2
    assert not (tmp_path / FILE).exists()
