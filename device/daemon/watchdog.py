"""Heartbeats of the daemon's threads, and the messages to systemd. The watchdog is fed only while every heartbeat is fresh."""

import os
import socket
import threading
from collections.abc import Iterable, Mapping

HEARTBEAT_TIMEOUT_S = 5.0
"""A thread without a heartbeat for longer counts as hung or dead: the watchdog is no longer fed, and systemd restarts the daemon."""


class Heartbeats:
    """The last heartbeat of each thread. Thread safe; times are monotonic seconds."""

    def __init__(self, threads: Iterable[str], now_s: float) -> None:
        """threads: their names; each counts as having a heartbeat now."""
        self._beats = dict.fromkeys(threads, now_s)
        self._lock = threading.Lock()

    def beat(self, thread: str, now_s: float) -> None:
        """Note that a thread made progress."""
        with self._lock:
            self._beats[thread] = now_s

    def silent(self, now_s: float) -> list[str]:
        """Names of the threads whose last heartbeat is older than HEARTBEAT_TIMEOUT_S, sorted."""
        with self._lock:
            return sorted(thread for thread, beat_s in self._beats.items() if now_s - beat_s > HEARTBEAT_TIMEOUT_S)


class SystemdNotifier:
    """Sends sd_notify(3) datagrams to `$NOTIFY_SOCKET`. Does nothing where that is not set; errors are ignored."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = int(environment["WATCHDOG_USEC"]) / 1e6 if "WATCHDOG_USEC" in environment else None
        self._feed_at_s = float("-inf")
        self._status = ""
        self._ready = False

    def ready(self) -> None:
        """Send READY=1, start-up is over; the first call only."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def stopping(self) -> None:
        """Send STOPPING=1."""
        self._send("STOPPING=1")

    def alive(self, now_s: float) -> None:
        """Send WATCHDOG=1 three times per watchdog period at most. Call it at every step of the control loop."""
        if self._watchdog_s is not None and now_s >= self._feed_at_s:
            self._feed_at_s = now_s + self._watchdog_s / 3
            self._send("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Send the line that `systemctl status` shows, where it has changed."""
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(0.2)
                sender.sendto(message.encode(), self._address)
        except OSError:
            return
