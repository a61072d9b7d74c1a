"""Heartbeats, and messages to the service manager."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.daemon.watchdog import HEARTBEAT_TIMEOUT_S, Heartbeats, SystemdNotifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5.0)
        yield listener


def heard(manager: socket.socket) -> list[str]:
    manager.setblocking(False)
    found = []
    try:
        while True:
            found.append(manager.recv(4096).decode())
    except BlockingIOError:
        return found


def test_ready_is_sent_once_and_watchdog_three_times_a_period(manager: socket.socket) -> None:
    notifier = SystemdNotifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000"})
    for step in range(200):
        notifier.ready()
        notifier.alive(50.0 + step * 0.02)
        notifier.status("ready")
    assert heard(manager) == ["READY=1", "WATCHDOG=1", "STATUS=ready", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_missing_service_manager_is_no_error(tmp_path: Path) -> None:
    SystemdNotifier({}).ready()
    gone = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000000"})
    gone.alive(1.0)
    gone.stopping()


def test_an_abstract_socket_gets_the_messages() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0sortbin-test-notify")
        SystemdNotifier({"NOTIFY_SOCKET": "@sortbin-test-notify"}).stopping()
        listener.settimeout(5.0)
        assert listener.recv(100) == b"STOPPING=1"


def test_a_thread_without_a_recent_heartbeat_is_named() -> None:
    beats = Heartbeats(["control", "ledger"], 10.0)
    beats.beat("control", 14.0)
    assert beats.silent(10.0 + HEARTBEAT_TIMEOUT_S) == []
    assert beats.silent(10.1 + HEARTBEAT_TIMEOUT_S) == ["ledger"]


def test_a_thread_without_any_heartbeat_is_named() -> None:
    beats = Heartbeats(["control", "link"], 10.0)
    beats.beat("control", 16.0)
    assert beats.silent(16.0) == ["link"]
