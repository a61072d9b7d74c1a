"""A simulated fleet and a real broker: every event arrives, broken connections are made anew, and the command ends cleanly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.cli import main
from device.mqtt import MqttError
from device.mqtt.settings import MqttSettings
from device.policy.rules import default_rules, read_rules
from device.simulation import mqtt_packets as packets
from device.simulation.broker import _free_port
from device.simulation.fleet import Fleet, FleetPlan, FleetReport
from device.simulation.fleet_payloads import FleetModel
from device.vision.inference.bundle import default_bundle, read_bundle

WAIT_S = 20.0
ROOT = Path(__file__).parents[3]
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
PLAN = FleetPlan(bins=8, rate=1.0, seed=4, begin_s=1767603600.0, seconds=300.0, speed=300.0)


class MosquittoProcess:
    """A broker on a port of the loopback interface that stores what it has, and a client with a session that hears everything."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self._file = folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        self._file.write_text(
            f"{user}listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
            f"persistence true\npersistence_location {folder}/\n"
        )
        self.heard: list[tuple[str, bytes]] = []

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self._file)], stderr=subprocess.DEVNULL)
        until_s = time.monotonic() + WAIT_S
        subscribed = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "hears-all", clean_session=False, reconnect_on_failure=False)
        self._client.on_message = lambda client, data, message: self.heard.append((message.topic, message.payload))
        self._client.on_subscribe = lambda *_: subscribed.set()
        while True:
            try:
                self._client.connect("127.0.0.1", self.port)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < until_s
                time.sleep(0.02)
        self._client.loop_start()
        self._client.subscribe("sortbin/#", 1)
        assert subscribed.wait(WAIT_S)

    def stop(self) -> None:
        """End it. What it has not passed on yet comes after the next start."""
        self.process.terminate()
        self.process.wait(WAIT_S)
        wait_for(lambda: not self._client.is_connected())
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, 1).wait_for_publish(WAIT_S)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MosquittoProcess]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    made = MosquittoProcess(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def model() -> FleetModel:
    bundle = read_bundle(default_bundle()).info
    return FleetModel(bundle, read_rules(default_rules(), bundle.labels))


def fleet(model: FleetModel, port: int, plan: FleetPlan = PLAN, **settings: Any) -> Fleet:
    return Fleet(plan, model, MqttSettings(host="127.0.0.1", port=port, **settings))


def never() -> bool:
    return False


def journal(broker: MosquittoProcess) -> dict[str, list[int]]:
    """The numbers of each bin's events as a consumer gets them that drops doubles."""
    seqs: dict[str, dict[int, None]] = {}
    for topic, payload in list(broker.heard):
        if topic.endswith("/journal"):
            event = json.loads(payload)
            seqs.setdefault(event["device"], {})[event["seq"]] = None
    return {device: list(numbers) for device, numbers in seqs.items()}


def wait_for(enough: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not enough():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_every_event_of_every_bin_arrives_in_order(broker: MosquittoProcess, model: FleetModel) -> None:
    offline = {f"sortbin/sim-{number:05}/availability": b"offline" for number in range(1, PLAN.bins + 1)}
    report = fleet(model, broker.port).run(never, lambda _: None)
    # What is not acknowledged at the end belongs to bins that are switched off; the broker may have it.
    wait_for(lambda: sum(map(len, journal(broker).values())) >= report.events.total() - report.unacknowledged)
    assert report.events.total() > 1500
    assert len(journal(broker)) == PLAN.bins
    assert all(seqs == sorted(seqs) for seqs in journal(broker).values())
    wait_for(lambda: {topic: payload for topic, payload in list(broker.heard) if topic.endswith("/availability")} == offline)
    assert report.broken == 0


def test_a_broker_that_comes_back_gets_what_it_missed(broker: MosquittoProcess, model: FleetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.simulation.fleet.AGAIN_S", 0.05)
    restarted: list[int] = []

    def restart_once(report: FleetReport) -> None:
        if not restarted and report.messages > 2000:
            restarted.append(report.messages)
            broker.stop()
            broker.start()

    report = fleet(model, broker.port).run(never, restart_once)
    assert restarted and report.broken > 0
    wait_for(lambda: sum(map(len, journal(broker).values())) >= report.events.total() - report.unacknowledged)
    heard = journal(broker)
    assert all(seqs == sorted(seqs) for seqs in heard.values()) and len(heard) == PLAN.bins


def test_a_command_is_obeyed_and_answered(broker: MosquittoProcess, model: FleetModel) -> None:
    plan = FleetPlan(bins=1, rate=1.0, seed=1, begin_s=0.0, seconds=400.0, speed=20.0, commands=True)

    def send_again(report: FleetReport, sent: list[float] = [0.0]) -> None:  # noqa: B006
        if report.online and report.seconds - sent[0] > 0.2:
            sent[0] = report.seconds
            broker.publish("sortbin/sim-00001/cmd/emptied", b'{"id":"x","args":{"bin":"glass"}}')

    fleet(model, broker.port, plan).run(lambda: any(topic.endswith("cmd_result") for topic, _ in broker.heard), send_again)
    answers = [json.loads(payload) for topic, payload in broker.heard if topic.endswith("/cmd_result")]
    assert answers[0] == {"id": "x", "command": "emptied", "ok": True, "code": "done", "message": ""}
    assert any(b'"bin_emptied"' in payload for topic, payload in broker.heard if topic.endswith("/journal"))


def test_a_broker_that_is_not_there_is_named(model: FleetModel, capsys: pytest.CaptureFixture[str]) -> None:
    port = _free_port()
    with pytest.raises(MqttError, match="nothing listens there"):
        fleet(model, port).run(never, lambda _: None)
    assert main(["fleet-sim", "--bins", "1", "--broker", f"mqtt://127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err.startswith(f"sortbin fleet-sim: broker 127.0.0.1:{port}")


@pytest.mark.parametrize("begin", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "monday"])
def test_a_beginning_out_of_the_calendar_is_refused(begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fleet-sim", "--begin", begin, "--seconds", "1"])
    assert ended.value.code == 2 and "--begin: expected a time" in capsys.readouterr().err


def test_the_command_stops_cleanly_and_says_what_it_did(broker: MosquittoProcess) -> None:
    command = [
        sys.executable,
        "-m",
        "device.cli",
        "fleet-sim",
        "--bins",
        "3",
        "--rate",
        "5",
        "--speed",
        "10",
        "--broker",
        f"mqtt://127.0.0.1:{broker.port}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    wait_for(lambda: len(journal(broker)) == 3)
    process.send_signal(signal.SIGTERM)
    told, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, errors) == (0, "")
    assert told.startswith("3 bins, ")
    assert "0 not acknowledged, 0 connections broken" in told
    assert "item_sorted " in told


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 15), st.binary(max_size=300)), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_packets_are_found_however_they_arrive(sent: list[tuple[int, int, bytes]], sizes: list[int]) -> None:
    stream = b"".join(packets._packet(kind << 4 | flags, body) for kind, flags, body in sent)
    buffer, found, at, turn = bytearray(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        buffer += stream[at : at + size]
        found += list(packets.received(buffer))
        at, turn = at + size, turn + 1
    assert [tuple(packet) for packet in found] == sent
    assert buffer == b""


@given(st.binary(max_size=200))
def test_what_is_no_mqtt_is_refused_or_waited_for(noise: bytes) -> None:
    try:
        for packet in packets.received(bytearray(noise)):
            packets.message(packet)
    except packets.MalformedPackets:
        pass
