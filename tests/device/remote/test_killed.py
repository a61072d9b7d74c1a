"""A real daemon with a real broker, killed amid commands: each is done at most once, and each answer stays."""

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import paho.mqtt.client as paho
import pytest

from device.common.clock import Clock
from device.events import AnyEvent, BinEmptied, CommandAccepted, ItemInterrupted, ItemRejected, ItemSorted, decode
from device.ledger.ledger import Ledger
from device.ledger.reader import read_events
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels

pytestmark = pytest.mark.slow

BINS = ("paper", "glass", "metal", "plastic", "trash")
KILLS = 12
WAIT_S = 60.0
COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("emptied", {"bin": "glass"}),
    ("pause", {}),
    ("resume", {}),
    ("resume", {}),
    ("relearn", {}),
    ("test_gate", {"bin": "metal"}),
    ("clear_fault", {}),
)


class Operator:
    """Sends commands and collects all that a bin says."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._news = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("sortbin/#", qos=1)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, name: str, args: dict[str, Any], id_: str) -> None:
        self._client.publish(f"sortbin/bench/cmd/{name}", json.dumps({"id": id_, "args": args}), qos=1)

    def results(self) -> list[dict[str, Any]]:
        with self._news:
            return [json.loads(payload) for topic, payload in self.heard if topic.endswith("/cmd_result")]

    def wait_for(self, enough: Callable[[list[tuple[str, bytes]]], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: enough(self.heard), WAIT_S), self.heard[-3:]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._news:
            self.heard.append((message.topic, message.payload))
            self._news.notify_all()


class Daemon:
    """`sortbin run` on a replay, whose gates are simulated."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, operator: Operator) -> None:
        """Start it and wait until it listens."""
        before = len(operator.heard)
        self._process = subprocess.Popen([sys.executable, "-m", "device.cli", "run", "--config", str(self._config)], stderr=subprocess.DEVNULL)
        operator.wait_for(lambda heard: ("sortbin/bench/availability", b"online") in heard[before:])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(WAIT_S)


@pytest.fixture
def operator(mosquitto: Callable[..., Any]) -> Iterator[Operator]:
    broker = mosquitto()
    broker.start()
    made = Operator(broker.port)
    made.port = broker.port  # type: ignore[attr-defined]
    yield made
    made.close()


@pytest.fixture
def daemon(tiny_bundle: Bundle, painted: Callable[..., Pixels], operator: Any, tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "pictures").mkdir()
    empty = painted("", 240, 320)
    with_item = empty.copy()
    with_item[20:220, 26:294] = painted("glass", 200, 268)
    for number, pixels in enumerate([empty, with_item]):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
    config = tmp_path / "sortbin.toml"
    config.write_text(
        f'[device]\nid = "bench"\nstate = "{tmp_path / "state"}"\n[model]\nbundle = "{tiny_bundle.folder}"\n'
        f'[camera]\nkind = "replay"\npath = "{tmp_path / "pictures"}"\nhold_s = 1.0\n{gates}'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {operator.port}\ncommands = true\nimages = true\n',
        encoding="utf-8",
    )
    made = Daemon(config)
    yield made
    made.kill()


def events_of(folder: Path) -> list[AnyEvent]:
    return [decode(payload) for _, payload in read_events(folder)]


def test_of_twelve_kills_amid_commands_none_does_one_twice(operator: Operator, daemon: Daemon, tmp_path: Path) -> None:
    rng = random.Random(7)
    sent: list[tuple[str, dict[str, Any], str]] = []
    for kill in range(KILLS + 1):
        daemon.start(operator)
        for number in range(4):
            sent.append((*rng.choice(COMMANDS), f"{kill}-{number}"))
            operator.send(*sent[-1])
            time.sleep(rng.uniform(0, 0.15))
        for again in rng.sample(sent, min(4, len(sent))):
            operator.send(*again)
        time.sleep(rng.uniform(0, 4.0))
        if kill < KILLS:
            daemon.kill()
    time.sleep(10.0)  # the bucket that limits commands fills again
    for again in sent[::6]:
        operator.send(*again)
        operator.wait_for(lambda _, id_=again[2]: any(result["id"] == id_ for result in operator.results()))  # type: ignore[misc]
    operator.wait_for(lambda _: operator.results()[-1]["id"] == sent[::6][-1][2])
    daemon.kill()
    events = events_of(tmp_path / "state")
    accepted = [event for event in events if isinstance(event, CommandAccepted)]
    assert len(accepted) >= KILLS and max(Counter(event.id for event in accepted).values()) == 1
    assert {event.id for event in accepted} <= {id_ for _, _, id_ in sent}
    emptied = [event for event in events if isinstance(event, BinEmptied)]
    assert len(emptied) <= sum(event.command == "emptied" for event in accepted)
    codes: dict[str, set[str]] = {}
    for result in operator.results():
        if result["code"] != "too_many":
            codes.setdefault(result["id"], set()).add(result["code"])
    assert {id_: found for id_, found in codes.items() if len(found) > 1} == {}
    assert {event.id for event in accepted} >= {id_ for id_, found in codes.items() if found == {"done"}}
    ledger = Ledger(tmp_path / "state", "bench", Clock())
    totals = {name: (each.sorted, each.rejected, each.interrupted) for name, each in ledger.totals().items()}
    ledger.close(10.0)
    ends = [event for event in events_of(tmp_path / "state") if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted)]
    counted = Counter((event.bin, type(event)) for event in ends)
    assert ends, "items came meanwhile"
    assert totals == {name: (counted[name, ItemSorted], counted[name, ItemRejected], counted[name, ItemInterrupted]) for name in totals}


def test_a_pause_lasts_over_a_kill_and_restart_ends_the_daemon(operator: Operator, daemon: Daemon, tmp_path: Path) -> None:
    daemon.start(operator)
    operator.send("pause", {}, "p")
    operator.wait_for(lambda _: any(result["id"] == "p" and result["ok"] for result in operator.results()))
    daemon.kill()
    before = len(operator.heard)
    daemon.start(operator)
    operator.wait_for(lambda heard: any(topic.endswith("/state") and json.loads(payload)["mode"] == "paused" for topic, payload in heard[before:]))
    operator.send("capture", {}, "c")
    operator.wait_for(lambda heard: any(topic.endswith("/image/last") and payload[:2] == b"\xff\xd8" for topic, payload in heard))
    operator.send("restart", {}, "r")
    assert daemon.wait() == 0, "systemd starts it again after any status"
    operator.wait_for(lambda _: operator.results()[-1]["id"] == "r")
    assert operator.results()[-1]["ok"]
    operator.wait_for(lambda heard: heard[-1] == ("sortbin/bench/availability", b"offline"))
