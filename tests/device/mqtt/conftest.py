"""Fixtures: brokers that can be killed, a subscriber, and a TCP forwarder that can be cut."""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as paho
import pytest

from device.common.clock import Clock
from device.ledger.ledger import Ledger
from device.mqtt.backoff import Backoff
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings

WAIT_S = 20.0
"""longest wait for anything"""
ROOT = Path(__file__).parents[3]
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Broker(Protocol):
    port: int

    def start(self) -> None: ...
    def kill(self) -> None: ...


class _Process:
    """A broker in a process of its own, on the same port after each restart."""

    ready = ""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self._process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if self.ready in line:
                return
        raise AssertionError(f"{self.command()[0]} did not start: {''.join(said)}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)
            assert self._process.stdout is not None
            self._process.stdout.close()


class Mosquitto(_Process):
    ready = " running"

    def __init__(self, folder: Path, *lines: str) -> None:
        super().__init__()
        self._file = folder / f"mosquitto-{self.port}.conf"
        user = ["user root"] if os.geteuid() == 0 else []
        said = ["log_dest stderr", "log_type error", "log_type warning", "log_type information", "connection_messages false"]
        own = [*user, *said, "max_inflight_messages 0", f"listener {self.port} 127.0.0.1", *(lines or ["allow_anonymous true"])]
        self._file.write_text("\n".join(own) + "\n")

    def command(self) -> list[str]:
        assert MOSQUITTO is not None
        return [MOSQUITTO, "-c", str(self._file)]

    def freeze(self, frozen: bool) -> None:
        """Stop it in the middle of whatever it does, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def reload(self) -> None:
        """Reload its files, as `systemctl reload mosquitto` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)


class Amqtt(_Process):
    ready = "ready"

    def command(self) -> list[str]:
        program = (
            "import sys, threading\n"
            "from device.simulation.broker import EmbeddedBroker\n"
            "broker = EmbeddedBroker(int(sys.argv[1]))\n"
            "print('ready', flush=True)\n"
            "threading.Event().wait(300)\n"
        )
        return [sys.executable, "-c", program, str(self.port)]


class Subscriber:
    """Receives everything below `sortbin/`, or of another pattern, from its creation on, in the order of arrival.

    session: name of a client for which the broker keeps what it misses (QoS 1), and which connects again; empty: none.
    """

    def __init__(self, port: int, session: str = "", pattern: str = "sortbin/#") -> None:
        self.heard: list[paho.MQTTMessage] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        kept = {"client_id": session, "clean_session": False} if session else {}
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=bool(session), **kept)
        self._client.on_connect = lambda client, *_: client.subscribe(pattern, qos=1 if session else 0)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    def _hear(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._news:
            self.heard.append(message)
            self._news.notify_all()

    def payloads(self, name: str) -> list[Any]:
        """What was received on the topic that ends in `name`: parsed JSON, or text where it is no JSON."""
        return [_decoded(message.payload) for message in list(self.heard) if message.topic.endswith(f"/{name}")]

    def wait_for(self, name: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Wait until what was received on a topic is enough."""
        with self._news:
            assert self._news.wait_for(lambda: enough(self.payloads(name)), WAIT_S), f"{name}: {self.payloads(name)[-3:]}"
        return self.payloads(name)

    def until(self, enough: Callable[[], bool]) -> None:
        """Wait until something is so; looked at with each message, and several times a second."""
        deadline_s = time.monotonic() + WAIT_S
        with self._news:
            while not enough():
                assert time.monotonic() < deadline_s, [(message.topic, message.payload[:80]) for message in self.heard[-5:]]
                self._news.wait(0.05)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Road:
    """A TCP forwarder. While closed, it drops all connections. slow: it carries 256 bytes at a time, with pauses."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self.slow = False
        self._open = True
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._welcome, daemon=True).start()

    def open(self) -> None:
        self._open = True

    def shut(self) -> None:
        self._open = False
        with self._lock:
            for end in self._ends:
                _hang_up(end)

    def close(self) -> None:
        self.shut()
        _hang_up(self._door)
        self._door.close()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to_port), WAIT_S) if self._open else None
                except OSError:
                    far = None
                if far is None:
                    near.close()
                    continue
                far.settimeout(None)
                with self._lock:
                    self._ends |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(256 if self.slow else 65536):
                sink.sendall(data)
                if self.slow:
                    time.sleep(0.004)
        _hang_up(source)
        _hang_up(sink)


class Log(logging.Handler):
    """The log lines of the link, to wait for."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._news = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._news:
            self.lines.append(record.getMessage())
            self._news.notify_all()

    def wait_for(self, words: str, times: int = 1) -> None:
        with self._news:
            assert self._news.wait_for(lambda: sum(words in line for line in self.lines) >= times, WAIT_S), self.lines


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode()


@pytest.fixture
def link_log() -> Iterator[Log]:
    handler, logger = Log(), logging.getLogger("device.mqtt.reconnecting_link")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Makes mosquitto brokers with given settings; skips where mosquitto is not installed."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    made: list[Mosquitto] = []

    def make(*lines: str) -> Mosquitto:
        made.append(Mosquitto(tmp_path, *lines))
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A running broker of each kind."""
    if request.param == "mosquitto":
        made: _Process = request.getfixturevalue("mosquitto")()
    else:
        pytest.importorskip("amqtt")
        made = Amqtt()
    made.start()
    yield made
    made.kill()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "state", "bin1", Clock())
    yield opened
    opened.close(WAIT_S)


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def make(port: int, session: str = "") -> Subscriber:
        made.append(Subscriber(port, session))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


@pytest.fixture
def road() -> Iterator[Callable[[int], Road]]:
    made: list[Road] = []

    def make(to_port: int) -> Road:
        made.append(Road(to_port))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def version(request: pytest.FixtureRequest) -> int:
    """The MQTT version for the broker of this test: amqtt does not answer to MQTT 5."""
    parameters = getattr(request.node, "callspec", None)
    return 3 if parameters is not None and "amqtt" in parameters.params.values() else 5


@pytest.fixture
def connect(ledger: Ledger, version: Any) -> Iterator[Callable[..., Link]]:
    """Makes links with very short waits between attempts."""
    made: list[Link] = []

    def make(port: int, **settings: Any) -> Link:
        mqtt = MqttSettings(host="127.0.0.1", port=port, version=version, **settings)
        made.append(Link(mqtt, "bin1", ledger, backoff=Backoff(0.02, 0.1)))
        return made[-1]

    yield make
    for link in made:
        link.stop(1.0)
