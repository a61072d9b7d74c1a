"""Discovery messages over a real broker: noted, taken back, and published again when Home Assistant starts."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from device.common.clock import Clock
from device.home_assistant.described_bin import DescribedBin
from device.home_assistant.discovery import FILE, Discovery
from device.home_assistant.settings import HomeAssistantSettings
from device.ledger.ledger import Ledger
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings
from tests.device.home_assistant.test_messages import PLAIN
from tests.device.mqtt.conftest import WAIT_S, Mosquitto, Subscriber, mosquitto

__all__ = ["mosquitto"]

DEVICE, OLD, OFF = HomeAssistantSettings(enabled=True), HomeAssistantSettings(enabled=True, form="components"), HomeAssistantSettings()
TOPIC = "homeassistant/device/bin-1/sortbin-bin-1/config"


@pytest.fixture
def broker(mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    made = mosquitto()
    made.start()
    return made


class Runs:
    """One bin, started and stopped again and again, with one state folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._mqtt = folder, MqttSettings(host="127.0.0.1", port=port)
        self._ledger = Ledger(folder, "bin-1", Clock())
        self._link: Link | None = None
        self.drawn: list[tuple[float, float]] = []
        self.discovery: Discovery | None = None

    def start(self, settings: HomeAssistantSettings, bin_: DescribedBin = PLAIN) -> Discovery:
        self._link = Link(self._mqtt, "bin-1", self._ledger)
        self.discovery = Discovery(bin_, settings, self._link, self._folder, self._draw)
        return self.discovery

    def until_arrived(self) -> None:
        """Wait until the broker has everything."""
        deadline_s = time.monotonic() + WAIT_S
        while self.discovery is None or not self.discovery.has_arrived:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    def _draw(self, least: float, most: float) -> float:
        self.drawn.append((least, most))
        return most

    def stop(self) -> None:
        if self._link is not None and self.discovery is not None:
            self.discovery.close()
            self._link.stop(2.0)
        self._link = None

    def close(self) -> None:
        self.stop()
        self._ledger.close(WAIT_S)


@pytest.fixture
def runs(tmp_path: Path, broker: Mosquitto) -> Iterator[Runs]:
    made = Runs(tmp_path / "state", broker.port)
    yield made
    made.close()


class Configs(Subscriber):
    """What Home Assistant hears of discovery."""

    def payloads(self, name: str) -> list[Any]:
        return [message.payload for message in list(self.heard) if message.topic == name]

    def kept(self) -> dict[str, bytes]:
        """Topics that hold a message."""
        newest = {message.topic: message.payload for message in list(self.heard) if message.topic.endswith("/config")}
        return {topic: payload for topic, payload in newest.items() if payload}


@pytest.fixture
def home(broker: Mosquitto) -> Iterator[Configs]:
    made = Configs(broker.port, pattern="homeassistant/#")
    yield made
    made.close()


def test_the_message_stays_at_the_broker_and_is_noted(runs: Runs, home: Configs, broker: Mosquitto, tmp_path: Path) -> None:
    runs.start(DEVICE)
    home.wait_for(TOPIC, bool)
    late = Configs(broker.port, pattern="homeassistant/#")
    (payload,) = late.wait_for(TOPIC, bool)
    assert late.heard[0].retain and b'paper_level"' in payload
    late.close()
    assert TOPIC in (tmp_path / "state" / FILE).read_text()


def test_without_the_table_nothing_is_published_or_written(runs: Runs, tmp_path: Path) -> None:
    runs.start(OFF)
    runs.stop()
    assert not (tmp_path / "state" / FILE).exists()


@pytest.mark.parametrize("form", [DEVICE, OLD])
def test_switched_off_all_is_taken_back_and_forgotten(form: HomeAssistantSettings, runs: Runs, home: Configs, tmp_path: Path) -> None:
    discovery = runs.start(form)
    home.until(lambda: len(home.kept()) == len(discovery.topics))
    runs.stop()
    runs.start(OFF)
    home.until(lambda: not home.kept())
    runs.until_arrived()
    runs.stop()
    assert not (tmp_path / "state" / FILE).exists()


def test_another_form_takes_the_messages_of_the_first_back(runs: Runs, home: Configs) -> None:
    runs.start(OLD)
    home.until(lambda: len(home.kept()) > 20)
    runs.stop()
    runs.start(DEVICE)
    home.until(lambda: set(home.kept()) == {TOPIC})


def test_a_bin_that_left_the_pack_leaves_home_assistant_too(runs: Runs, home: Configs) -> None:
    runs.start(DEVICE)
    home.wait_for(TOPIC, bool)
    runs.stop()
    fewer = replace(PLAIN, bins={"trash": "Residual waste"}, measured=frozenset())
    runs.start(DEVICE, fewer)
    home.wait_for(TOPIC, lambda heard: b'"sortbin-bin-1-paper_level":{"platform":"sensor"}' in heard[-1])
    runs.until_arrived()
    runs.stop()
    runs.start(DEVICE, fewer)
    home.wait_for(TOPIC, lambda heard: b"paper_level" not in heard[-1])


def test_after_the_birth_message_it_comes_again_a_while_later(runs: Runs, home: Configs, broker: Mosquitto) -> None:
    discovery = runs.start(DEVICE)
    home.wait_for(TOPIC, bool)
    runs.until_arrived()
    sender = paho.Client(paho.CallbackAPIVersion.VERSION2)
    sender.connect("127.0.0.1", broker.port)
    sender.loop_start()
    for word in ("offline", "online"):
        sender.publish("homeassistant/status", word, qos=1).wait_for_publish(WAIT_S)
    sender.disconnect()
    sender.loop_stop()
    seconds = itertools.count()

    def again() -> bool:
        discovery.update(float(next(seconds)))
        return len(home.payloads(TOPIC)) == 2

    home.until(again)
    assert runs.drawn == [(1.0, 10.0)], "once, for many bins must not answer at once"
    assert len(set(home.payloads(TOPIC))) == 1


@pytest.mark.parametrize("text", ["", "{", '{"topics": 3}', "\udcff"])
def test_a_damaged_note_is_no_obstacle(text: str, runs: Runs, home: Configs, tmp_path: Path) -> None:
    (tmp_path / "state" / FILE).write_bytes(text.encode(errors="surrogateescape"))
    runs.start(DEVICE)
    home.wait_for(TOPIC, bool)
