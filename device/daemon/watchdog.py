"""Whether the daemon is alive: a heartbeat for each loop, and systemd told only while all of them are fresh."""

import os
import socket
import threading
from collections.abc import Iterable, Mapping

HEARTBEAT_TIMEOUT_S = 5.0
"""A loop that was silent for longer is taken for hung: the watchdog is no longer fed and systemd restarts the daemon."""


class Heartbeats:
    """When each of the `loops` last said that it made progress, counted from `now_s` on. Thread safe; times are monotonic seconds."""

    def __init__(self, loops: Iterable[str], now_s: float) -> None:
        self._beats = dict.fromkeys(loops, now_s)
        self._lock = threading.Lock()

    def beat(self, loop: str, now_s: float) -> None:
        """Note that `loop` made progress."""
        with self._lock:
            self._beats[loop] = now_s

    def silent(self, now_s: float) -> list[str]:
        """Names of the loops whose last beat is older than HEARTBEAT_TIMEOUT_S."""
        with self._lock:
            return sorted(loop for loop, beat_s in self._beats.items() if now_s - beat_s > HEARTBEAT_TIMEOUT_S)


class SystemdNotifier:
    """The service manager's ear: datagrams to `$NOTIFY_SOCKET` (sd_notify(3)). Where nobody listens, nothing is sent."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = int(environment["WATCHDOG_USEC"]) / 1e6 if "WATCHDOG_USEC" in environment else None
        self._feed_at_s = float("-inf")
        self._status = ""
        self._ready = False

    def ready(self) -> None:
        """Start-up is over: READY=1, once."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self, now_s: float) -> None:
        """Feed the watchdog, WATCHDOG=1, as often as it needs and no oftener. Call it at every step of the control loop."""
        if self._watchdog_s is not None and now_s >= self._feed_at_s:
            self._feed_at_s = now_s + self._watchdog_s / 3
            self._send("WATCHDOG=1")

    def status(self, line: str) -> None:
        """The line that `systemctl status` shows; sent when it changes."""
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
